"""A single claim typed in by an institution without a system of its own; its lines are `LineForms`."""

from typing import Any

from django import forms

from institutions import crypto
from settlement.reimbursement_forms import ClaimForm, text_field


class EntryForm(ClaimForm):
    """Number, person and encounter of a claim, as the interface has them."""

    claim_no = text_field("单据号", 40, help_text="本机构内不得重复")
    credential = forms.CharField(
        label="参保人证件号码", max_length=40,
        widget=forms.TextInput({"autocomplete": "off", "spellcheck": "false"}),
    )  # fmt: skip
    field_order = ("claim_no", "credential")

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self.fields["encounter"].help_text = "病历上的门诊号"
        self.fields["matched"].label = "已核验参保人实名身份，人证相符"
        self.fields["consented"].label = "已说明项目和价格并取得知情同意"

    def clean_credential(self) -> str:
        """A valid ID number in upper case."""
        try:
            return crypto.id_number(self.cleaned_data["credential"])
        except crypto.IdNumberError as error:
            raise forms.ValidationError(f"{error}。") from None

    def whole(self, lines: list[dict]) -> dict[str, Any]:
        """The claim with its number and person."""
        given = self.claim(lines)
        return given | {
            "claim_no": self.cleaned_data["claim_no"], "channel": "online",
            "person": {
                "credential_type": "id_card", "credential": self.cleaned_data["credential"],
                "verified_at": given["encounter"]["started_at"],
                "matched": self.cleaned_data["matched"],
            },
        }  # fmt: skip
