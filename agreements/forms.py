"""Queries of pages that show institutions with their agreements."""

from django import forms

from agreements.models import AgreementState
from institutions.forms import InstitutionQuery

NOT_SIGNED = "none"


class AgreementQuery(InstitutionQuery):
    """Which institutions by the state of their supplementary agreement on the day, too."""

    agreement = forms.ChoiceField(
        label="补充协议", required=False,
        choices=[("", "全部"), *AgreementState.State.choices, (NOT_SIGNED, "未签订")],
    )  # fmt: skip
    field_order = ("q", "agreement", "on", "region", "price_class", "ownership")
