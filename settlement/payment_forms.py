"""Forms of payments: which lists, what the bank answered, what came back, which vouchers."""

from typing import Any

import django_filters
from django import forms
from django.db.models import Q, QuerySet

from institutions.models import Institution
from settlement import bank_files
from settlement.models import PaymentList, PaymentOrder, Reimbursement, Voucher
from settlement.reimbursement_forms import Yuan, day_field, text_field


class ListFilter(django_filters.FilterSet):
    """The query bar of lists."""

    q = django_filters.CharFilter(
        label="清单或指令号", method="by_number", max_length=48,
        widget=forms.TextInput({"placeholder": "ZF…"}),
    )  # fmt: skip
    state = django_filters.ChoiceFilter(
        label="状态", choices=PaymentList.State.choices, empty_label="全部"
    )
    serial = django_filters.CharFilter(label="银行流水号", method="by_serial", max_length=60)

    class Meta:
        model = PaymentList
        fields = ()

    def by_number(self, rows: QuerySet, name: str, value: str) -> QuerySet:
        wanted = value.upper().strip()
        return rows.filter(Q(number=wanted) | Q(orders__number=wanted)).distinct()

    def by_serial(self, rows: QuerySet, name: str, value: str) -> QuerySet:
        return rows.filter(orders__bank_serial=value.strip()).distinct()


class NoteForm(forms.Form):
    """What a list is for."""

    note = text_field("用途", 200, required=False, hint="如 2021年11月结算拨付")


class ReasonForm(forms.Form):
    """Why a list is given back, or an order is taken off."""

    reason = text_field("理由", 200)


class ResultFileForm(forms.Form):
    """The file that a bank sent back."""

    file = forms.FileField(
        label="银行结果文件", widget=forms.FileInput({"accept": ".csv,.xlsx"}),
        help_text="CSV 或 XLSX，列：指令号、金额（元）、处理结果、银行流水号、处理日期、原因。"
        f"至多 {bank_files.MOST_ROWS // 10_000} 万行；有一行不符则整个文件不登记。",
    )  # fmt: skip


class ResultForm(forms.Form):
    """What a bank says of one order."""

    state = forms.ChoiceField(label="处理结果")
    on = day_field("处理日期")
    serial = text_field("银行流水号", 60, required=False, help_text="银行支付成功时填写")
    reason = text_field("原因", 200, required=False, help_text="退票或拒付时填写，如 账号有误")

    def __init__(self, *args: Any, states: Any, **options: Any):
        super().__init__(*args, **options)
        labels = [(state.value, PaymentOrder.State(state).label) for state in states]
        self.fields["state"] = forms.ChoiceField(label="处理结果", choices=labels)


class RefundForm(forms.Form):
    """What a payee gave back."""

    amount = Yuan("退款金额（元）")
    received_on = day_field("到账日")
    bank_serial = text_field("银行流水号", 60, required=False, help_text="原路退回银行账户时填写")
    reason = text_field("退款事由", 200)


class TransferForm(forms.Form):
    """What was paid to another region for the persons whom it treated."""

    receiver = forms.ChoiceField(label="收款统筹区")
    amount = Yuan("金额（元）")
    paid_on = day_field("付款日")
    bank_serial = text_field("银行流水号", 60)

    def __init__(self, *args: Any, receivers: list[tuple[str, str]], **options: Any):
        super().__init__(*args, **options)
        self.fields["receiver"] = forms.ChoiceField(label="收款统筹区", choices=receivers)


class ReceiptForm(forms.Form):
    """Whether the money came in; why not."""

    reason = text_field("退回理由", 200, required=False, help_text="未到账、退回时填写")


class VoucherFilter(django_filters.FilterSet):
    """The query bar of vouchers."""

    q = django_filters.CharFilter(label="凭证号", method="by_number", max_length=40)
    period = django_filters.DateFilter(
        label="会计期间", method="by_month", input_formats=["%Y-%m"],
        widget=forms.DateInput({"type": "month"}, "%Y-%m"),
    )  # fmt: skip
    kind = django_filters.ChoiceFilter(
        label="类别", choices=Voucher.Kind.choices, empty_label="全部"
    )
    institution = django_filters.CharFilter(
        label="医疗机构", method="by_institution", max_length=120,
        widget=forms.TextInput({"placeholder": "名称或编码"}),
    )  # fmt: skip
    subject = django_filters.CharFilter(
        label="所属事项", method="by_subject", max_length=80,
        widget=forms.TextInput({"placeholder": "编号，如 BX…、TZ…"}),
    )  # fmt: skip

    class Meta:
        model = Voucher
        fields = ()

    def by_number(self, rows: QuerySet, name: str, value: str) -> QuerySet:
        return rows.filter(number=value.strip())

    def by_month(self, rows: QuerySet, name: str, value: Any) -> QuerySet:
        return rows.filter(period=value.replace(day=1))

    def by_subject(self, rows: QuerySet, name: str, value: str) -> QuerySet:
        """The number that people know the matter by, or what the ledger keeps (`statement:12`)."""
        number = value.strip()
        request = Reimbursement.objects.filter(number=number).values_list("pk", flat=True).first()
        known = {number, f"adjustment:{number}"} | (
            {f"reimbursement:{request}"} if request else set()
        )
        return rows.filter(subject__in=known)

    def by_institution(self, rows: QuerySet, name: str, value: str) -> QuerySet:
        found = Institution.objects.visible_to(self.request.user).search(value)
        return rows.filter(institution_code__in=list(found.values_list("code", flat=True)[:200]))
