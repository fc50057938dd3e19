"""Query bars and forms of months, statements, advances, budgets and clearings."""

from decimal import Decimal
from typing import Any

import django_filters
from django import forms
from django.db.models import QuerySet

from institutions.models import Institution, User
from institutions.money import to_fen
from settlement.models import Deduction, Scheme, Statement
from settlement.statement_steps import PROCEDURE

CENT, MOST = Decimal("0.01"), Decimal(10) ** 10
LONG = forms.Textarea({"rows": 3})


def amount_field(**more: Any) -> forms.DecimalField:
    """An amount in yuan with two digits; more are refused, not rounded."""
    return forms.DecimalField(max_digits=13, decimal_places=2, max_value=MOST, **more)


class AmountForm(forms.Form):
    """A form with an `amount`: typed in yuan, cleaned to fen."""

    def clean_amount(self) -> int:
        """Fen, exactly."""
        return to_fen(self.cleaned_data["amount"])


class StatementFilter(django_filters.FilterSet):
    """The query bar of statements; `months` are those that have statements."""

    period = django_filters.ChoiceFilter(label="结算期", method="by_month", empty_label="全部")
    scheme = django_filters.ChoiceFilter(label="险种", choices=Scheme.choices, empty_label="全部")
    state = django_filters.ChoiceFilter(
        label="状态", choices=[(state.key, state.label) for state in PROCEDURE.states.values()],
        empty_label="全部",
    )  # fmt: skip
    institution = django_filters.CharFilter(
        label="医疗机构", method="by_institution", max_length=120,
        widget=forms.TextInput({"placeholder": "名称或编码"}),
    )  # fmt: skip

    class Meta:
        model = Statement
        fields = ()

    def __init__(self, *args: Any, months: list[str], **more: Any):
        super().__init__(*args, **more)
        self.filters["period"].extra["choices"] = [(month, month) for month in months]

    def by_month(self, rows: QuerySet, name: str, value: str) -> QuerySet:
        return rows.filter(period=f"{value}-01")

    def by_institution(self, rows: QuerySet, name: str, value: str) -> QuerySet:
        return rows.filter(institution_code__in=named(self.request.user, value))

    def found(self) -> QuerySet:
        """The rows of a valid query; a query with an error finds nothing."""
        return self.qs if self.form.is_valid() else Statement.objects.none()


def named(user: User, text: str) -> list[str]:
    """Codes of the visible institutions with this code or a name like it."""
    rows = Institution.objects.visible_to(user)
    found = rows.filter(code=text.upper()) | rows.filter(name__icontains=text)
    return list(found.values_list("code", flat=True)[:200])


def places(form: forms.Form) -> forms.ModelChoiceField:
    """The field of a form in which an institution is chosen."""
    field = form.fields["institution"]
    if not isinstance(field, forms.ModelChoiceField):
        raise TypeError("institution is a choice of rows")
    return field


class ConfirmForm(forms.Form):
    """The institution's person signs the figures."""

    signed_name = forms.CharField(label="确认人姓名", max_length=60)


class ObjectionForm(forms.Form):
    """What is wrong, and with which claims."""

    reason = forms.CharField(label="异议理由", max_length=500, widget=LONG)
    claims = forms.CharField(
        label="涉及单据号", required=False, max_length=4000, widget=LONG,
        help_text="多个单据号以逗号或换行分开；有扣款的单据即作为对该扣款的异议。",
    )  # fmt: skip
    signed_name = forms.CharField(label="提出人姓名", max_length=60)


class AnswerForm(forms.Form):
    """An answer or a decision in words."""

    answer = forms.CharField(label="答复", max_length=500, widget=LONG)


class ReasonForm(forms.Form):
    """Why."""

    reason = forms.CharField(label="理由", max_length=200, widget=LONG)


class DecisionForm(forms.Form):
    """Agree or refuse, with an opinion; the button says which."""

    decision = forms.CharField(label="复核意见", max_length=200, required=False, widget=LONG)


class DeductionForm(AmountForm):
    """What is cut, why and by which clause."""

    amount = amount_field(label="扣款金额（元）", min_value=CENT)
    line_no = forms.IntegerField(
        label="明细行号", required=False, min_value=1, max_value=9999, help_text="留空为整单扣款"
    )
    reason = forms.ChoiceField(
        label="扣款类别",
        choices=[row for row in Deduction.Reason.choices if row[0] != Deduction.Reason.RETURNED],
    )
    note = forms.CharField(label="扣款说明", max_length=200, widget=LONG)
    clause = forms.CharField(
        label="依据", max_length=120, required=False, help_text="留空取本统筹区文件的审核条款"
    )


class AdvanceForm(AmountForm):
    """An advance that finance decides on."""

    institution = forms.ModelChoiceField(
        Institution.objects.none(), label="医疗机构", empty_label="请选择",
        error_messages={"required": "请选择医疗机构。", "invalid_choice": "请选择辖区内的机构。"},
    )  # fmt: skip
    scheme = forms.ChoiceField(label="险种", choices=Scheme.choices)
    amount = amount_field(label="预付金额（元）", min_value=CENT)
    reason = forms.CharField(label="预付事由", max_length=200)
    document = forms.CharField(label="依据文号", max_length=120, required=False)
    file = forms.FileField(
        label="附件", help_text="PDF、JPG、PNG 或 XLSX，至多 8 MB；没有附件不能提交。",
        error_messages={"required": "请附上依据文件。", "empty": "文件是空的。"},
    )  # fmt: skip

    def __init__(self, *args: Any, user: User, **more: Any):
        super().__init__(*args, **more)
        places(self).queryset = Institution.objects.visible_to(user)

    def clean_file(self) -> tuple[str, bytes]:
        """Name and content of the file."""
        found = self.cleaned_data["file"]
        return found.name, found.read()


class BudgetForm(AmountForm):
    """The first indicator of a year, or a change of it."""

    scheme = forms.ChoiceField(label="险种", choices=Scheme.choices)
    amount = amount_field(
        label="金额（元）", min_value=-MOST, help_text="首次为年初指标；以后为调整额，可为负数"
    )
    reason = forms.CharField(label="理由", max_length=200)
    document = forms.CharField(label="依据文件", max_length=120)


class ClearingForm(forms.Form):
    """Whose year is to be cleared."""

    institution = forms.ModelChoiceField(
        Institution.objects.none(), label="医疗机构", empty_label="请选择",
        error_messages={"required": "请选择医疗机构。", "invalid_choice": "请选择辖区内的机构。"},
    )  # fmt: skip
    scheme = forms.ChoiceField(label="险种", choices=Scheme.choices)
    year = forms.IntegerField(label="服务年度", min_value=2000, max_value=2100)

    def __init__(self, *args: Any, user: User, **more: Any):
        super().__init__(*args, **more)
        rows = Institution.objects.visible_to(user).filter(parent__isnull=True)
        places(self).queryset = rows
