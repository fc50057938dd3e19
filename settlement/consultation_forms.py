"""Forms of remote consultations and of the fees of lines; amounts are yuan on screen, fen inside."""

import datetime as dt
import re
from collections.abc import Sequence
from typing import Any

from django import forms
from django.db.models import QuerySet

from agreements.forms import StepForm
from institutions import crypto
from institutions.forms import day_field
from institutions.models import Institution
from institutions.money import MoneyError, fen
from settlement.models import NetworkLine, Participant
from settlement.models.consultations import RATIO_ONE

PERCENT = re.compile(r"^\d{1,3}(\.\d{1,2})?$")
SEPARATORS = re.compile(r"[、,，;；\s]+")
WRONG_AMOUNT = "应为金额（元），至多两位小数，如 12.00。"
MONTH = re.compile(r"^\d{4}-(0[1-9]|1[0-2])$")


class AmountField(forms.CharField):
    """Yuan as text, fen as value."""

    def __init__(self, **options: Any):
        options.setdefault("max_length", 20)
        options.setdefault(
            "widget", forms.TextInput({"inputmode": "decimal", "autocomplete": "off"})
        )
        super().__init__(**options)

    def clean(self, value: Any) -> Any:
        text = super().clean(value).replace(",", "").replace("，", "")
        if not text:
            return None
        try:
            return fen(text)
        except MoneyError:
            raise forms.ValidationError(WRONG_AMOUNT) from None


class PercentField(forms.CharField):
    """Per cent with at most two digits as text, per ten thousand as value."""

    def __init__(self, **options: Any):
        options.setdefault(
            "widget", forms.TextInput({"inputmode": "decimal", "autocomplete": "off"})
        )
        super().__init__(max_length=10, **options)

    def clean(self, value: Any) -> int:
        text = super().clean(value).rstrip("%％ ")
        if not PERCENT.match(text):
            raise forms.ValidationError("应为百分数，至多两位小数。")
        whole, _, part = text.partition(".")
        return int(whole) * 100 + int(part.ljust(2, "0"))


def required_day(label: str, help_text: str = "") -> forms.DateField:
    field = day_field(label)
    field.required, field.help_text = True, help_text
    field.error_messages["required"] = f"请填写{label}。"
    return field


def month_of(text: str | None, today: dt.date) -> dt.date:
    """The month of an address (2021-04), else that of today."""
    if text and MONTH.match(text):
        return dt.date(int(text[:4]), int(text[5:]), 1)
    return today.replace(day=1)


class HospitalField(forms.CharField):
    """A hospital by its code or its exact name."""

    def clean(self, value: Any) -> Any:
        text = super().clean(value).strip()
        if not text:
            return None
        rows = Institution.objects.filter(kind=Institution.Kind.MEDICAL).select_related("region")
        found = rows.filter(code=text.upper()).first() or rows.filter(name=text).first()
        if found is None:
            raise forms.ValidationError("没有这家医疗机构，请从列表中选择。")
        return found


class RequestForm(forms.Form):
    """A request: the patient, why, when, and up to four invited hospitals with their experts."""

    MOST = 4
    id_number = forms.CharField(
        label="患者身份证号", max_length=40, help_text="只保存加密摘要和脱敏号码。",
        widget=forms.TextInput({"autocomplete": "off", "spellcheck": "false"}),
    )  # fmt: skip
    inpatient_no = forms.CharField(label="住院号", max_length=40)
    department = forms.CharField(label="申请科室", max_length=40)
    wanted_on = required_day("拟会诊日期")
    purpose = forms.CharField(label="会诊目的", max_length=2000, widget=forms.Textarea({"rows": 3}))

    def __init__(self, *args: Any, hospitals: QuerySet[Institution], own: str = "", **options: Any):
        super().__init__(*args, **options)
        self.own = own  #: code of the inviting hospital
        self.names = list(hospitals.values_list("name", flat=True))
        for number in range(1, self.MOST + 1):
            self.fields[f"hospital_{number}"] = HospitalField(
                label=f"受邀医院 {number}", required=number == 1, max_length=120,
                widget=forms.TextInput({"list": "hospitals", "placeholder": "名称或编码"}),
            )  # fmt: skip
            self.fields[f"experts_{number}"] = forms.CharField(
                label=f"专家 {number}", required=number == 1, max_length=200,
                widget=forms.TextInput({"placeholder": "姓名，多人用顿号分开"}),
            )  # fmt: skip

    def clean_id_number(self) -> str:
        try:
            return crypto.id_number(self.cleaned_data["id_number"].strip())
        except crypto.IdNumberError as error:
            raise forms.ValidationError(f"{error}。") from None

    def clean(self) -> dict[str, Any]:
        """A hospital comes with its experts, each once; what is wrong is told at its field."""
        given = super().clean() or {}
        named: set[str] = {self.own} - {""}
        for n in range(1, self.MOST + 1):
            hospital, experts = given.get(f"hospital_{n}"), given.get(f"experts_{n}")
            self._pair(n, hospital, experts)
            if hospital is not None and hospital.pk in named:
                mine = hospital.pk == self.own
                self.add_error(
                    f"hospital_{n}",
                    "这是本院，请填写受邀的医院。" if mine else "这家医院已在前面填写。",
                )
            named |= {hospital.pk} if hospital is not None else set()
        return given

    def _pair(self, n: int, hospital: Institution | None, experts: str | None) -> None:
        """Neither of the two blanks of an invited hospital without the other."""
        if hospital is not None and experts is not None and not names_of(experts):
            if f"experts_{n}" not in self.errors:
                self.add_error(f"experts_{n}", "每家受邀医院至少写一名专家。")
        elif experts and hospital is None and f"hospital_{n}" not in self.errors:
            self.add_error(f"hospital_{n}", "请填写专家所在的医院。")

    def invited(self) -> list[tuple[Institution, tuple[str, ...]]]:
        """The hospitals named, with their experts."""
        given = self.cleaned_data
        return [
            (given[f"hospital_{n}"], names_of(given.get(f"experts_{n}", "")))
            for n in range(1, self.MOST + 1)
            if given.get(f"hospital_{n}")
        ]


def names_of(text: str) -> tuple[str, ...]:
    """Names divided by commas, semicolons or blanks."""
    return tuple(name[:40] for name in SEPARATORS.split(text.strip()) if name)


class ConsultationStepForm(StepForm):
    """A step as its table asks it; who came is chosen among the hospitals that said yes."""

    def __init__(self, data: Any = None, *, accepted: Sequence[Participant], **options: Any):
        super().__init__(data, **options)
        if asked := self.fields.get("attended"):
            self.fields["attended"] = forms.MultipleChoiceField(
                label=asked.label, help_text=asked.help_text, widget=forms.CheckboxSelectMultiple,
                error_messages=asked.error_messages,
                choices=[(row.hospital_id, row.hospital.name) for row in accepted],
            )  # fmt: skip

    def clean_attended(self) -> str:
        return "\n".join(self.cleaned_data["attended"])


class AnswerForm(forms.Form):
    experts = forms.CharField(label="参加专家", max_length=200, required=False,
                              help_text="多人用顿号分开；不填则为邀请方所列专家。")  # fmt: skip

    def names(self) -> tuple[str, ...]:
        return names_of(self.cleaned_data["experts"])


class DeclineForm(forms.Form):
    note = forms.CharField(label="婉拒原因", max_length=200)


class PayForm(forms.Form):
    amount = AmountField(label="付款金额（元）")
    payment_no = forms.CharField(label="付款凭据号", max_length=60)


class ReceiptForm(forms.Form):
    number = forms.CharField(label="医疗收费票据号", max_length=40)
    amount = AmountField(label="票据金额（元）")
    issued_on = required_day("开票日")


class ReduceForm(forms.Form):
    late_reason = forms.CharField(label="逾期原因", max_length=200, required=False,
                                  help_text="超过结算期限的须说明。")  # fmt: skip


class VoidForm(forms.Form):
    reason = forms.CharField(label="作废原因", max_length=200)


class LinkForm(forms.Form):
    claim_no = forms.CharField(label="结算单据号", max_length=40)


class AgreementForm(forms.Form):
    """The contract of two hospitals on the split; the parts add up to 100 per cent."""

    invited = HospitalField(
        label="受邀医院", max_length=120,
        widget=forms.TextInput({"list": "hospitals", "placeholder": "名称或编码"}),
    )  # fmt: skip
    number = forms.CharField(label="协议编号", max_length=60)
    ratio_inviting = PercentField(label="邀请方比例（%）")
    ratio_invited = PercentField(label="受邀方比例（%）")
    valid_from = required_day("起始日")
    valid_until = day_field("终止日")
    paper = forms.FileField(label="协议扫描件", required=False, help_text="PDF 或图片，可不附。")

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        ours, theirs = given.get("ratio_inviting"), given.get("ratio_invited")
        if ours is not None and theirs is not None and ours + theirs != RATIO_ONE:
            self.add_error("ratio_invited", "双方比例之和应为 100%。")
        return given


class EndForm(forms.Form):
    last = required_day("终止日", "协议有效至该日；尚未生效或未确认的协议随即撤销。")


class AccountForm(forms.Form):
    """财务专账: its name and what went to staff in the month."""

    account_name = forms.CharField(label="财务专账名称", max_length=80)
    staff_pay = AmountField(label="本月用于医务人员劳务补贴（元）")
    note = forms.CharField(label="说明", max_length=200, required=False)


# --- Lines ---


class LineForm(forms.Form):
    institution = HospitalField(
        label="医疗机构", max_length=120,
        widget=forms.TextInput({"list": "hospitals", "placeholder": "名称或编码"}),
    )  # fmt: skip
    number = forms.CharField(label="线路编号", max_length=40)
    service = forms.ChoiceField(label="业务", choices=NetworkLine.Service)
    bandwidth_mb = forms.IntegerField(label="带宽（兆）", min_value=1, max_value=100_000)
    count = forms.IntegerField(label="条数", min_value=1, max_value=1000, initial=1)
    tier = forms.ChoiceField(label="层级", choices=NetworkLine.Tier)
    opened_on = required_day("开通日")
    construction_note = forms.CharField(
        label="开通工程",
        max_length=200,
        required=False,
        help_text="特殊地区与当地运营商协调的工程，可不填。",
    )
    construction_fee = AmountField(label="工程费用（元）", required=False)
    construction_payer = forms.CharField(label="工程费用承担方", max_length=80, required=False)


class ContractForm(forms.Form):
    institution = HospitalField(
        label="医疗机构", max_length=120,
        widget=forms.TextInput({"list": "hospitals", "placeholder": "名称或编码"}),
    )  # fmt: skip
    number = forms.CharField(label="合同编号", max_length=60)
    base = AmountField(label="协议金额（元）", help_text="维保费的计费基数。")
    rate = PercentField(label="维保费率（%）")
    accepted_on = day_field("验收合格日")
    ends_on = day_field("终止日")
    paper = forms.FileField(
        label="合同扫描件", required=False, help_text="PDF 或图片，可不附。",
        widget=forms.ClearableFileInput({"accept": ".pdf,.jpg,.jpeg,.png"}),
    )  # fmt: skip


class CloseForm(forms.Form):
    closed_on = required_day("停用日")


class ContractEndForm(forms.Form):
    ends_on = required_day("终止日", "维保至该日；到该日已开始的维保年度仍全额缴纳。")


class YearForm(forms.Form):
    year = forms.IntegerField(label="年度", min_value=2000, max_value=2200)


class BillPaymentForm(forms.Form):
    amount = AmountField(label="缴费金额（元）")
    paid_on = required_day("缴费日")
    payment_no = forms.CharField(label="缴费凭据号", max_length=60)


class CommissionForm(forms.Form):
    paid_on = required_day("支付日")
    payment_no = forms.CharField(label="支付凭据号", max_length=60)


class UndoForm(forms.Form):
    reason = forms.CharField(label="冲销理由", max_length=200, widget=forms.Textarea({"rows": 2}))


class HandleForm(forms.Form):
    note = forms.CharField(label="处理情况", max_length=200, widget=forms.Textarea({"rows": 2}))


class DecideForm(forms.Form):
    amount = AmountField(label="机构承担（元）")
    commission = AmountField(label="省卫健委承担（元）")
    note = forms.CharField(label="认定依据", max_length=200)
