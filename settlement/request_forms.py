"""Forms of 参保人申请: what anybody hands in, asks after and adds; what a clerk answers."""

from collections.abc import Iterable, Sequence
from typing import Any

from django import forms

from agreements.forms import FilesField
from institutions import crypto
from settlement.models import AppointmentSlot, PersonRequest
from settlement.person_forms import CHOOSE, PapersForm, filing_files
from settlement.person_requests import Somebody
from settlement.register.commands import NAME_MOST

OFF = {"autocomplete": "off", "spellcheck": "false"}


class WhoForm(forms.Form):
    """Who hands in, by their own word."""

    name = forms.CharField(label="姓名", max_length=NAME_MOST, widget=forms.TextInput(OFF))
    id_number = forms.CharField(
        label="身份证号", max_length=18, widget=forms.TextInput(OFF),
        help_text="18 位；加密保存，不公开显示。",
    )  # fmt: skip
    phone = forms.RegexField(
        r"^\+?\d[\d-]{5,18}\d$", label="联系电话", help_text="经办人员据此联系您；加密保存。",
        error_messages={"invalid": "请填写有效的电话号码。"},
    )  # fmt: skip

    def clean_id_number(self) -> str:
        """Its own check digit is all that is looked at."""
        try:
            return crypto.id_number(self.cleaned_data["id_number"])
        except crypto.IdNumberError as error:
            raise forms.ValidationError(error.texts[0]) from error

    def who(self) -> Somebody:
        """Who hands in."""
        given = self.cleaned_data
        return Somebody(given["id_number"], given["name"], given["phone"])


class ApplyForm(WhoForm):
    """An application to recognise a disease."""

    hospital = forms.CharField(
        label="就诊医疗机构", max_length=120, help_text="出具病历和诊断证明的医疗机构全称。"
    )
    reason = forms.CharField(
        label="申请说明", required=False, max_length=500, widget=forms.Textarea({"rows": 3})
    )

    def __init__(
        self, data: Any = None, files: Any = None, *, diseases: Iterable[Any],
        materials: Iterable[tuple[str, str]],
    ):  # fmt: skip
        super().__init__(data, files)
        self.fields["code"] = forms.ChoiceField(label="病种", choices=[CHOOSE, *diseases])
        self.materials = dict(materials)
        for key, label in self.materials.items():
            self.fields[f"file_{key}"] = FilesField(label=label, required=False)
        self.order_fields(["name", "id_number", "phone", "code"])

    def papers(self) -> list[tuple[str, str, bytes]]:
        """What was uploaded, by material."""
        return filing_files(self, self.materials)


class BookForm(WhoForm):
    """A place at a counter."""

    def __init__(self, data: Any = None, *, slots: Sequence[AppointmentSlot]):
        super().__init__(data)
        self.fields["slot"] = forms.TypedChoiceField(
            label="时段", coerce=int,
            choices=[CHOOSE, *((slot.pk, f"{slot.office.name} {slot}") for slot in slots)],
        )  # fmt: skip
        self.order_fields(["slot", "name", "id_number", "phone"])


class FollowForm(forms.Form):
    """Number and code of what was handed in."""

    number = forms.CharField(label="申请号", max_length=40, widget=forms.TextInput(OFF))
    code = forms.CharField(label="查询码", max_length=20, widget=forms.TextInput(OFF))


class MorePapersForm(PapersForm):
    """More materials for what was handed in; number and code say which."""

    number = forms.CharField(max_length=40, widget=forms.HiddenInput())
    code = forms.CharField(max_length=20, widget=forms.HiddenInput())


class RequestQuery(forms.Form):
    """Which requests of persons."""

    kind = forms.ChoiceField(
        label="事项", required=False, choices=[("", "全部"), *PersonRequest.Kind.choices]
    )
    state = forms.ChoiceField(
        label="状态", required=False, choices=[("", "全部"), *PersonRequest.State.choices]
    )
    q = forms.CharField(label="申请号", required=False, max_length=40)


class AnswerForm(forms.Form):
    """What the person is told."""

    answer = forms.CharField(
        label="告知内容", min_length=2, max_length=500, widget=forms.Textarea({"rows": 3})
    )


class AskForm(AnswerForm):
    """Which materials are missing."""


class DeclineForm(AnswerForm):
    """Why a request is not taken up; who asks is not proven, so nothing of the register is said."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self.fields["answer"].initial = "所填信息无法核对，请携带有效身份证件到经办窗口办理。"
        self.fields["answer"].help_text = "查询者的身份未经核实：不要写明是否参保。"


class WhyForm(forms.Form):
    """Why the whole number is looked at."""

    answer = forms.CharField(label="查看理由", min_length=2, max_length=200)
