"""Forms of the corrections: re-settlement, special adjustments, outages, hospitals' ledgers."""

import datetime as dt
from typing import Any

import django_filters
from django import forms
from django.db.models import QuerySet

from institutions import crypto
from institutions.models import Institution, Region, User
from institutions.money import MoneyError, fen
from settlement import sealed
from settlement.adjustments import Wanted
from settlement.models import (
    Adjustment,
    Discrepancy,
    InsuredPerson,
    ResettlementItem,
    Scheme,
    Way,
)
from settlement.personal_accounts import ways
from settlement.reimbursement_forms import WAY_HELP, day_field, offer, text_field

MOMENT = forms.DateTimeInput({"type": "datetime-local"}, format="%Y-%m-%dT%H:%M")
WHEN = {"required": "请填写时间。", "invalid": "时间不正确。"}
DAY = forms.DateInput({"type": "date"}, format="%Y-%m-%d")


def of_user(user: User) -> Any:
    """The institutions that a person may name."""
    return Institution.objects.visible_to(user).select_related("region").order_by("code")


class ResettlementForm(forms.Form):
    """The span of service days whose claims are recomputed, and why."""

    region = forms.ModelChoiceField(
        label="统筹地区", queryset=Region.objects.none(), empty_label=None,
        error_messages={"required": "请选择统筹地区。", "invalid_choice": "请选择辖区内的统筹地区。"},
    )  # fmt: skip
    first_day = forms.DateField(
        label="服务日起",
        widget=DAY,
        error_messages={"required": "请选择日期。", "invalid": "日期不正确。"},
    )
    last_day = forms.DateField(
        label="服务日止",
        widget=DAY,
        error_messages={"required": "请选择日期。", "invalid": "日期不正确。"},
    )
    institution = forms.ModelChoiceField(
        label="限定医疗机构",
        queryset=Institution.objects.none(),
        required=False,
        empty_label="全部机构",
    )
    reason = forms.CharField(
        label="事由", max_length=200, widget=forms.Textarea({"rows": 2}),
        help_text="写明所依据的文件，如“示例参数自 1 月 1 日起调整”。",
        error_messages={"required": "请填写事由。"},
    )  # fmt: skip

    def __init__(self, *args: Any, user: User, today: dt.date, **kwargs: Any):
        super().__init__(*args, **kwargs)
        institutions = of_user(user)
        offer(self.fields["institution"], institutions)
        regions = Region.objects.filter(institution__in=institutions).distinct().order_by("code")
        if user.region is not None:
            regions = Region.objects.filter(pk=user.region.pk)
        offer(self.fields["region"], regions)
        self.fields["first_day"].initial = today.replace(month=1, day=1)
        self.fields["last_day"].initial = today

    def given(self) -> dict[str, Any]:
        """What `resettlement.propose` is told."""
        data = self.cleaned_data
        chosen = data["institution"]
        return {
            "region": data["region"], "first_day": data["first_day"], "last_day": data["last_day"],
            "reason": data["reason"], "institution_code": chosen.code if chosen else "",
        }  # fmt: skip


class DecisionForm(forms.Form):
    """What the second person says of an act."""

    note = forms.CharField(
        label="意见", max_length=200, required=False, widget=forms.Textarea({"rows": 2}),
        help_text="不同意时必填。",
    )  # fmt: skip


class ItemsQuery(django_filters.FilterSet):
    """The query bar over the claims of a list."""

    claim_no = django_filters.CharFilter(label="单据号", lookup_expr="exact", max_length=40)
    institution_code = django_filters.CharFilter(label="机构编码", max_length=12)
    kind = django_filters.ChoiceFilter(
        label="类别", choices=ResettlementItem.Kind.choices, empty_label="全部"
    )
    state = django_filters.ChoiceFilter(
        label="处理", choices=ResettlementItem.State.choices, empty_label="全部"
    )

    class Meta:
        model = ResettlementItem
        fields = ()


class ReasonForm(forms.Form):
    """Why something is undone or decided: it stands in the ledger and in the trail."""

    reason = forms.CharField(
        label="原因", max_length=200, widget=forms.Textarea({"rows": 2}),
        error_messages={"required": "请填写原因。"},
    )  # fmt: skip


class AdjustmentForm(forms.Form):
    """A special adjustment: class, subject, amount with its sign, file."""

    reason_class = forms.ChoiceField(
        label="事由类别",
        error_messages={"required": "请选择事由类别。", "invalid_choice": "没有此类别。"},
    )
    subject = forms.ChoiceField(label="对象", choices=Adjustment.Subject.choices)
    institution = forms.ModelChoiceField(
        label="医疗机构", queryset=Institution.objects.none(), required=False,
        empty_label="（对象为参保人员时不选）",
    )  # fmt: skip
    claim_no = forms.CharField(
        label="单据号", max_length=40, required=False, help_text="对象为单据时填写该机构的单据号。"
    )
    credential = forms.CharField(
        label="参保人证件号码", max_length=40, required=False,
        widget=forms.TextInput({"autocomplete": "off", "spellcheck": "false"}),
        help_text="对象为参保人员时填写，只用于计算哈希。",
    )  # fmt: skip
    scheme = forms.ChoiceField(label="险种", choices=Scheme.choices)
    direction = forms.ChoiceField(label="方向", choices=[("pay", "补付"), ("take", "收回")])
    amount = forms.CharField(
        label="金额（元）", max_length=16, widget=forms.TextInput({"inputmode": "decimal"}),
        error_messages={"required": "请填写金额。"},
    )  # fmt: skip
    reason = forms.CharField(
        label="说明", max_length=200, widget=forms.Textarea({"rows": 2}),
        error_messages={"required": "请填写说明。"},
    )  # fmt: skip
    way = forms.ChoiceField(
        label="收款方式", required=False, help_text=f"补付给参保人时填写。{WAY_HELP}"
    )
    holder = text_field("户名", 60, required=False)
    bank = text_field("开户行", 120, required=False)
    number = text_field("银行账号", 40, required=False, help_text="加密保存，只显示后四位。")
    document = forms.FileField(
        label="附件", help_text="PDF、JPG、PNG 或 XLSX，至多 8 MB；没有附件不能提交。",
        error_messages={"required": "请附上依据文件。", "empty": "文件是空的。"},
    )  # fmt: skip

    def __init__(
        self, *args: Any, user: User, region: Region, today: dt.date, classes: Any, **kwargs: Any
    ):
        super().__init__(*args, **kwargs)
        offer(self.fields["institution"], of_user(user))
        offer(self.fields["way"], ways(region.policy_region, today))
        offer(self.fields["reason_class"], [(row.code, row.name) for row in classes.values()])

    def clean_amount(self) -> int:
        """Fen, more than zero; the sign is the direction's."""
        try:
            amount = fen(self.cleaned_data["amount"].strip().replace(",", ""))
        except MoneyError:
            raise forms.ValidationError("应为金额（元），至多两位小数，如 12.00。") from None
        if not amount:
            raise forms.ValidationError("金额不能为零。")
        return amount

    def clean_credential(self) -> InsuredPerson | None:
        """The person of an ID number, None when it is left empty."""
        text = self.cleaned_data["credential"]
        if not text.strip():
            return None
        try:
            hashed = crypto.person_hash(crypto.id_number(text))
        except crypto.IdNumberError as error:
            raise forms.ValidationError(f"{error}。") from None
        found = InsuredPerson.objects.filter(id_hash=hashed).first()
        if found is None:
            raise forms.ValidationError("没有登记此证件号码的参保人。")
        return found

    def wanted(self) -> Wanted:
        """What `adjustments.propose` is told."""
        data = self.cleaned_data
        place = data["institution"]
        account = (data["holder"], data["bank"], data["number"])
        return Wanted(
            reason_class=data["reason_class"], reason=data["reason"], subject=data["subject"],
            amount=data["amount"] if data["direction"] == "pay" else -data["amount"],
            scheme=data["scheme"], institution_code=place.code if place else "",
            person=data["credential"], claim_no=data["claim_no"].strip(),
            way=data["way"] or Way.BANK, account=sealed.Account(*account) if any(account) else None,
        )  # fmt: skip

    def file(self) -> tuple[str, bytes]:
        """Name and content of the file."""
        found = self.cleaned_data["document"]
        return found.name, found.read()


class CollectionForm(forms.Form):
    """What a person paid back."""

    received_on = day_field("到账日")
    bank_serial = text_field("银行流水号", 60)


class AdjustmentsQuery(django_filters.FilterSet):
    """The query bar of the report."""

    reason_class = django_filters.ChoiceFilter(label="事由类别", empty_label="全部")
    state = django_filters.ChoiceFilter(
        label="状态", choices=Adjustment.State.choices, empty_label="全部"
    )
    subject = django_filters.ChoiceFilter(
        label="对象", choices=Adjustment.Subject.choices, empty_label="全部"
    )
    institution_code = django_filters.CharFilter(label="机构编码", max_length=12)
    since = django_filters.DateFilter(
        label="经办日期起", field_name="proposed_at__date", lookup_expr="gte", widget=DAY
    )
    until = django_filters.DateFilter(
        label="经办日期止", field_name="proposed_at__date", lookup_expr="lte", widget=DAY
    )

    class Meta:
        model = Adjustment
        fields = ()

    def __init__(self, *args: Any, names: dict[str, str], **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.filters["reason_class"].extra["choices"] = list(names.items())


class OutageForm(forms.Form):
    """An outage that is over: its times, its reason, a proof."""

    began = forms.DateTimeField(label="中断开始", widget=MOMENT, error_messages=WHEN)
    ended = forms.DateTimeField(label="恢复时间", widget=MOMENT, error_messages=WHEN)
    reason = forms.CharField(
        label="原因", max_length=200, error_messages={"required": "请填写原因。"}
    )
    document = forms.FileField(
        label="证明材料", required=False, help_text="运营商或机房的说明，PDF、JPG、PNG 或 XLSX。"
    )

    def file(self) -> tuple[str, bytes] | None:
        """Name and content of the proof."""
        found = self.cleaned_data["document"]
        return (found.name, found.read()) if found else None


class LedgerForm(forms.Form):
    """A hospital's ledger of a month; hospital staff upload for their own."""

    period = forms.CharField(
        label="结算期", widget=forms.TextInput({"type": "month"}),
        error_messages={"required": "请选择结算期。"},
    )  # fmt: skip
    file = forms.FileField(
        label="对账明细", widget=forms.ClearableFileInput({"accept": ".csv,.xlsx"}),
        help_text="CSV 或 XLSX，至多 20 万行；先校验全部行，确认后对账。",
        error_messages={"required": "请选择文件。", "empty": "文件是空的。"},
    )  # fmt: skip

    def clean_period(self) -> dt.date:
        """The first day of the month."""
        try:
            return dt.date.fromisoformat(f"{self.cleaned_data['period']}-01")
        except ValueError:
            raise forms.ValidationError("应为年月，如 2021-11。") from None


class ResolveForm(forms.Form):
    """Why chosen differences are decided so; it belongs to the form of the table below it."""

    reason = forms.CharField(
        label="处理说明", max_length=200, error_messages={"required": "请填写处理说明。"},
        widget=forms.TextInput({"form": "differences-bulk"}),
        help_text="先填写说明，在下表勾选差异（或全部查询结果），再选处理方式；冲正会立即入账。",
    )  # fmt: skip


class DifferencesQuery(django_filters.FilterSet):
    """The query bar over the differences of a ledger."""

    kind = django_filters.ChoiceFilter(
        label="差异类别", choices=Discrepancy.Kind.choices, empty_label="全部"
    )
    open = django_filters.ChoiceFilter(
        label="处理", choices=[("yes", "待处理"), ("no", "已处理")], empty_label="全部",
        method="by_open",
    )  # fmt: skip
    claim_no = django_filters.CharFilter(label="单据号", max_length=40)

    class Meta:
        model = Discrepancy
        fields = ()

    def by_open(self, rows: QuerySet, name: str, value: str) -> QuerySet:
        return rows.filter(resolution="") if value == "yes" else rows.exclude(resolution="")
