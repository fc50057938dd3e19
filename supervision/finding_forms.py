"""Forms of findings, audits and thresholds."""

import datetime as dt
from typing import Any

import django_filters
from django import forms
from django.db.models import Q, QuerySet

from institutions.models import Institution, User
from institutions.news import roles_with
from pricing.watching import BEHAVIOURS
from supervision.findings import DECIDE
from supervision.models import Finding
from supervision.rules import RULES

DAY = forms.DateInput({"type": "date"}, format="%Y-%m-%d")
RULE_CHOICES = [(code, rule.message) for code, rule in RULES.items()]
ORDERS = (
    ("-severity", "程度优先"),
    ("-fund", "涉及基金优先"),
    ("-id", "最新优先"),
)


class FindingsQuery(django_filters.FilterSet):
    """The query bar of findings."""

    state = django_filters.ChoiceFilter(
        label="状态", choices=Finding.State.choices, empty_label="全部"
    )
    rule = django_filters.ChoiceFilter(label="规则", choices=RULE_CHOICES, empty_label="全部")
    institution = django_filters.CharFilter(
        label="医疗机构", method="by_institution", max_length=80,
        widget=forms.TextInput({"placeholder": "名称或编码"}),
    )  # fmt: skip
    severity = django_filters.ChoiceFilter(
        label="程度", choices=Finding.Severity.choices, empty_label="全部"
    )
    behaviour = django_filters.ChoiceFilter(
        label="行为", choices=list(BEHAVIOURS.items()), empty_label="全部"
    )
    moment = django_filters.ChoiceFilter(
        label="环节", choices=Finding.Moment.choices, empty_label="全部"
    )
    physician = django_filters.CharFilter(
        label="医师编码", field_name="physician_code", max_length=20
    )
    since = django_filters.DateFilter(
        label="服务日期起", field_name="last_day", lookup_expr="gte", widget=DAY
    )
    until = django_filters.DateFilter(
        label="服务日期止", field_name="first_day", lookup_expr="lte", widget=DAY
    )
    mine = django_filters.BooleanFilter(
        label="交给我的", method="of_me", widget=forms.CheckboxInput
    )
    order = django_filters.ChoiceFilter(
        label="排序", choices=ORDERS, method="in_order", empty_label=None
    )

    class Meta:
        model = Finding
        fields = ()

    def by_institution(self, rows: QuerySet, name: str, value: str) -> QuerySet:
        named = Institution.objects.visible_to(self.request.user).filter(
            Q(code=value.upper()) | Q(name__icontains=value) | Q(aliases__icontains=value)
        )
        return rows.filter(institution_code__in=list(named.values_list("code", flat=True)[:200]))

    def of_me(self, rows: QuerySet, name: str, value: bool) -> QuerySet:
        return rows.filter(assignee=self.request.user.username) if value else rows

    def in_order(self, rows: QuerySet, name: str, value: str) -> QuerySet:
        return rows.order_by(value, "-id") if value != "-id" else rows.order_by("-id")

    def found(self) -> QuerySet:
        """The findings of a valid query; one with an error finds nothing."""
        return self.qs if self.form.is_valid() else Finding.objects.none()


class ReasonForm(forms.Form):
    """Why a finding is true, or not."""

    reason = forms.CharField(
        label="认定理由", max_length=400, widget=forms.Textarea({"rows": 3}),
        help_text="写明核查了哪些材料、事实如何；记入全程留痕。",
        error_messages={"required": "请写明认定理由。"},
    )  # fmt: skip


class MergeForm(forms.Form):
    """Into which finding."""

    into = forms.IntegerField(
        label="并入疑点编号", min_value=1, max_value=2**62,
        error_messages={"required": "请填写疑点编号。", "invalid": "应为编号。"},
    )  # fmt: skip


class HandOverForm(forms.Form):
    """To whom."""

    to = forms.ModelChoiceField(
        label="经办人", queryset=User.objects.none(), to_field_name="username", empty_label="请选择",
        error_messages={"required": "请选择经办人。", "invalid_choice": "请选择有权认定的人员。"},
    )  # fmt: skip

    def __init__(self, *args: Any, people: QuerySet, **options: Any):
        super().__init__(*args, **options)
        field = self.fields["to"]
        if isinstance(field, forms.ModelChoiceField):
            field.queryset = people


class NoticedForm(forms.Form):
    """What a person noticed on a claim."""

    behaviour = forms.ChoiceField(label="行为", choices=list(BEHAVIOURS.items()))
    severity = forms.TypedChoiceField(label="程度", coerce=int, choices=Finding.Severity.choices)
    clause = forms.CharField(
        label="条款", max_length=160, help_text="如“温医保办〔2021〕6号 二十四”。"
    )
    message = forms.CharField(
        label="发现的情况", max_length=400, min_length=5, widget=forms.Textarea({"rows": 3})
    )


class AuditForm(forms.Form):
    """The service days of an audit."""

    pool = forms.ChoiceField(label="统筹区")
    first = forms.DateField(label="服务日期起", widget=DAY)
    last = forms.DateField(label="服务日期止", widget=DAY)

    def __init__(self, *args: Any, pools: list[tuple[str, str]], today: dt.date, **options: Any):
        super().__init__(*args, **options)
        field = self.fields["pool"]
        if isinstance(field, forms.ChoiceField):
            field.choices = pools
        self.fields["first"].initial = today.replace(day=1)
        self.fields["last"].initial = today


class ReplayForm(AuditForm):
    """An audit with other numbers of one rule, on trial."""

    def __init__(self, *args: Any, numbers: dict[str, int], words: dict[str, str], **options: Any):
        super().__init__(*args, **options)
        self.numbers = tuple(numbers)
        for name, value in numbers.items():
            self.fields[name] = forms.IntegerField(
                label=words.get(name, name), min_value=0, max_value=1_000_000, initial=value,
                help_text=f"现为 {value}",
            )  # fmt: skip

    def given(self) -> dict[str, int]:
        return {name: self.cleaned_data[name] for name in self.numbers}


def deciders(finding: Finding) -> QuerySet:
    """The people who may decide a finding: those of the permission inside whose scope it lies."""
    prefixes = Q(region__isnull=True)
    for end in range(1, len(finding.region_code) + 1):
        prefixes |= Q(region_id=finding.region_code[:end].ljust(6, "0"))
    return User.objects.filter(
        prefixes, role__in=roles_with(DECIDE), is_active=True, institution__isnull=True,
        region__isnull=False,
    ).order_by("username")  # fmt: skip
