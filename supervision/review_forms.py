"""Query bars and forms of fee reviews and samples."""

import datetime as dt
from typing import Any

import django_filters
from django import forms
from django.db.models import QuerySet

from institutions.money import to_fen
from settlement.models import Deduction
from settlement.statement_forms import LONG, amount_field, named
from settlement.terms import WHOLE
from supervision.finding_forms import RULE_CHOICES
from supervision.models import Review, ReviewLine
from supervision.review_steps import PROCEDURE
from supervision.sampling import Shares

DAY = forms.DateInput({"type": "date"}, format="%Y-%m-%d")
PER_CENT = WHOLE // 100
CATEGORIES = [row for row in Deduction.Reason.choices if row[0] != Deduction.Reason.RETURNED]


class ReviewFilter(django_filters.FilterSet):
    """The query bar of the queue."""

    state = django_filters.ChoiceFilter(
        label="状态", choices=[(row.key, row.label) for row in PROCEDURE.states.values()],
        empty_label="未办结", method="by_state",
    )  # fmt: skip
    source = django_filters.ChoiceFilter(
        label="来源", choices=Review.Source.choices, empty_label="全部"
    )
    severity = django_filters.ChoiceFilter(
        label="程度", choices=Review.Severity.choices, empty_label="全部"
    )
    institution = django_filters.CharFilter(
        label="医疗机构", method="by_institution", max_length=120,
        widget=forms.TextInput({"placeholder": "名称或编码"}),
    )  # fmt: skip
    claim_no = django_filters.CharFilter(label="单据号", max_length=40)
    reason = django_filters.CharFilter(label="事由", lookup_expr="icontains", max_length=60)
    since = django_filters.DateFilter(
        label="服务日期起", field_name="service_date", lookup_expr="gte", widget=DAY
    )
    until = django_filters.DateFilter(
        label="服务日期止", field_name="service_date", lookup_expr="lte", widget=DAY
    )

    class Meta:
        model = Review
        fields = ()

    def by_state(self, rows: QuerySet, name: str, value: str) -> QuerySet:
        return rows.filter(state=value)

    def by_institution(self, rows: QuerySet, name: str, value: str) -> QuerySet:
        return rows.filter(institution_code__in=named(self.request.user, value))

    def found(self) -> QuerySet:
        """The reviews of a valid query; without a state those that are open."""
        if not self.form.is_valid():
            return Review.objects.none()
        rows = self.qs
        return rows if self.form.cleaned_data.get("state") else rows.filter(closed_at=None)


class MarkForm(forms.Form):
    """A verdict on a line: amount in yuan, wording or own words."""

    verdict = forms.ChoiceField(
        label="审核意见", choices=[("", "撤回"), *ReviewLine.Verdict.choices], required=False
    )
    amount = amount_field(label="核减金额（元）", required=False, min_value=0)
    wording = forms.CharField(label="标准用语", max_length=40, required=False)
    category = forms.ChoiceField(
        label="违规类别", choices=[("", "按标准用语"), *CATEGORIES], required=False
    )
    note = forms.CharField(label="审核意见", max_length=200, required=False)
    clause = forms.CharField(label="依据", max_length=120, required=False)

    def clean_amount(self) -> int:
        """Fen, exactly."""
        value = self.cleaned_data["amount"]
        return to_fen(value) if value is not None else 0


class OpenForm(forms.Form):
    """A review by hand: whose claim, and why."""

    institution = forms.CharField(label="医疗机构", max_length=120)
    claim_no = forms.CharField(label="单据号", max_length=40)
    severity = forms.TypedChoiceField(
        label="程度", choices=Review.Severity.choices, coerce=int, initial=2
    )
    reason = forms.CharField(label="事由", max_length=400, widget=LONG)


class NoteForm(forms.Form):
    """A step that needs a sentence."""

    note = forms.CharField(label="说明", max_length=500, widget=LONG)


class SupplyForm(forms.Form):
    """What the institution says to what it was asked for."""

    text = forms.CharField(label="补充说明", max_length=500, widget=LONG)


class SignedForm(forms.Form):
    """The institution agrees, with a name."""

    signed_name = forms.CharField(label="确认人姓名", max_length=60)


class ObjectForm(forms.Form):
    """The institution objects, with a name."""

    reason = forms.CharField(label="申诉理由", max_length=500, widget=LONG)
    signed_name = forms.CharField(label="提出人姓名", max_length=60)


class AnswerForm(forms.Form):
    """The third person's answer."""

    answer = forms.CharField(label="复审答复", max_length=500, widget=LONG)


class PlanForm(forms.Form):
    """A sample: span, seed, base share in per cent, and one heavier stratum of each kind."""

    name = forms.CharField(label="方案名称", max_length=80)
    first_day = forms.DateField(label="服务日期起", widget=DAY)
    last_day = forms.DateField(label="服务日期止", widget=DAY)
    seed = forms.CharField(
        label="随机种子",
        max_length=80,
        help_text="与方案一并公开，任何人可据此重新抽取出同一结果。",
    )
    base = forms.DecimalField(
        label="基本比例（%）", min_value=0, max_value=100, decimal_places=2, max_digits=5
    )
    institution = forms.CharField(label="仅抽此机构", max_length=120, required=False)
    heavy_institution = forms.CharField(label="加重机构", max_length=120, required=False)
    heavy_institution_share = forms.DecimalField(
        label="该机构比例（%）", min_value=0, max_value=100, decimal_places=2, max_digits=5,
        required=False,
    )  # fmt: skip
    rule = forms.ChoiceField(
        label="命中规则", choices=[("", "不加重"), *RULE_CHOICES], required=False
    )
    rule_share = forms.DecimalField(
        label="命中规则的比例（%）", min_value=0, max_value=100, decimal_places=2, max_digits=5,
        required=False,
    )  # fmt: skip
    amount = amount_field(label="统筹基金高于（元）", required=False, min_value=0)
    amount_share = forms.DecimalField(
        label="高于该金额的比例（%）", min_value=0, max_value=100, decimal_places=2, max_digits=5,
        required=False,
    )  # fmt: skip

    def clean_amount(self) -> int | None:
        """Fen, exactly; nothing when no amount weighs more."""
        value = self.cleaned_data["amount"]
        return to_fen(value) if value is not None else None

    def shares(self, heavy: str) -> Shares:
        """The shares as the sample is drawn by; `heavy` is the code of the heavier institution."""
        data = self.cleaned_data
        part: dict[str, Any] = {
            name: int((data[name] or 0) * PER_CENT)
            for name in ("base", "heavy_institution_share", "rule_share", "amount_share")
        }
        return Shares(
            part["base"],
            {heavy: part["heavy_institution_share"]} if heavy else {},
            {data["rule"].strip(): part["rule_share"]} if data["rule"].strip() else {},
            ((data["amount"], part["amount_share"]),) if data["amount"] is not None else (),
        )


def month_before(today: dt.date) -> tuple[dt.date, dt.date]:
    """First and last day of the month before."""
    last = today.replace(day=1) - dt.timedelta(days=1)
    return last.replace(day=1), last
