"""Forms of reports, samples and what an auditor finds; query bars of their lists."""

import datetime as dt
import re
from typing import Any

import django_filters
from django import forms
from django.db.models import QuerySet

from institutions.models import Institution, Region, User
from institutions.models.places import area_prefix
from settlement.models import Scheme
from supervision.auditing import MOST, Frame
from supervision.models import ReportOrder, Sample, SampledClaim
from supervision.reports.kinds import KINDS, Kind
from supervision.reports.wish import Wish, region_of

STATEMENT = re.compile(r"^JS\d{6}-(\d{7,18})$")
DAY = forms.DateInput({"type": "date"}, format="%Y-%m-%d")
ALL = [("", "全部")]


def institutions_of(user: User, region: str) -> list[tuple[str, str]]:
    """Choices of the medical institutions that a person sees in a region."""
    rows = Institution.objects.visible_to(user).filter(
        kind=Institution.Kind.MEDICAL, region__code__within=area_prefix(region)
    )
    return list(rows.order_by("name").values_list("pk", "name"))


def regions_of(user: User) -> list[tuple[str, str]]:
    """Choices of the own region and those inside it that have institutions."""
    own = region_of(user)
    used = Institution.objects.visible_to(user).values("region")
    rows = Region.objects.filter(pk__in=used) | Region.objects.filter(pk=own)
    return list(rows.distinct().order_by("pk").values_list("pk", "name"))


class WishForm(forms.Form):
    """What a report is about; only what its kind asks for is shown."""

    region = forms.ChoiceField(label="统筹区或区县")
    since = forms.DateField(label="起始日", widget=DAY)
    until = forms.DateField(label="截止日", widget=DAY)
    day = forms.DateField(label="前后分界日", widget=DAY, help_text="分界日当天计入后段")
    institution = forms.ChoiceField(label="医疗机构", required=False)
    scheme = forms.ChoiceField(label="险种", required=False, choices=[*ALL, *Scheme.choices])
    statement = forms.CharField(
        label="结算单号", max_length=40, widget=forms.TextInput({"placeholder": "JS202111-0000001"})
    )
    case = forms.CharField(label="案号", max_length=40)
    monthly = forms.CharField(
        label="月报文号", max_length=60,
        widget=forms.TextInput({"placeholder": "如 瑞安医保监报〔2021〕1号"}),
    )  # fmt: skip
    subject = forms.CharField(
        label="对象（留痕）", required=False, max_length=80,
        widget=forms.TextInput({"placeholder": "如 claim:12 或 statement:"}),
    )  # fmt: skip

    def __init__(self, *args: Any, kind: Kind, user: User, **more: Any):
        super().__init__(*args, **more)
        self.fields["region"] = forms.ChoiceField(
            label="统筹区或区县", choices=regions_of(user), initial=region_of(user)
        )
        places = institutions_of(user, region_of(user))
        self.fields["institution"] = forms.ChoiceField(
            label="医疗机构", required=kind.needs_institution,
            choices=[*([("", "请选择")] if kind.needs_institution else ALL), *places],
        )  # fmt: skip
        asked = {"region", *kind.asks, *(() if kind.about_one else ("since", "until"))}
        for name in set(self.fields) - asked:
            self.fields.pop(name)

    def clean_statement(self) -> str:
        """The number of a statement as printed; its key stands behind the dash."""
        found = STATEMENT.match(self.cleaned_data["statement"].strip())
        if not found:
            raise forms.ValidationError("结算单号形如 JS202111-0000001")
        return str(int(found[1]))

    def wish(self, today: dt.date) -> Wish:
        """The parameters of the order; a statement names its own month."""
        given = self.cleaned_data
        return Wish(
            since=given.get("since") or today, until=given.get("until") or today,
            region=given["region"], institution=given.get("institution", ""),
            scheme=given.get("scheme", ""), day=given.get("day"),
            subject=next(
                (given[name] for name in ("statement", "case", "monthly") if given.get(name)),
                given.get("subject", ""),
            ),
        )  # fmt: skip


class OrderFilter(django_filters.FilterSet):
    """The query bar of reports."""

    kind = django_filters.ChoiceFilter(
        label="种类",
        choices=[(kind.key, kind.title) for kind in KINDS.values()],
        empty_label="全部",
    )
    state = django_filters.ChoiceFilter(
        label="状态", choices=ReportOrder.State.choices, empty_label="全部"
    )
    number = django_filters.CharFilter(
        label="文号", lookup_expr="icontains", max_length=60,
        widget=forms.TextInput({"placeholder": "如 医保报〔2021〕"}),
    )  # fmt: skip

    class Meta:
        model = ReportOrder
        fields = ()

    def found(self) -> QuerySet:
        return self.qs if self.form.is_valid() else ReportOrder.objects.none()


class DrawForm(forms.Form):
    """Period, region, institutions, method, seed and size of a sample."""

    region = forms.ChoiceField(label="统筹区或区县")
    first_day = forms.DateField(label="服务日期起", widget=DAY)
    last_day = forms.DateField(label="服务日期止", widget=DAY)
    scheme = forms.ChoiceField(label="险种", required=False, choices=[*ALL, *Scheme.choices])
    method = forms.ChoiceField(label="抽样方法", choices=Sample.Method.choices)
    size = forms.IntegerField(label="应抽数", min_value=1, max_value=MOST)
    seed = forms.CharField(
        label="随机种子",
        max_length=80,
        help_text="请事先约定并写入审计方案，如公开的开奖号码或双方各报的数字",
    )
    note = forms.CharField(label="用途", required=False, max_length=200)
    institutions = forms.MultipleChoiceField(
        label="医疗机构", required=False, help_text="不选即为全部",
        widget=forms.SelectMultiple({"size": 6}),
    )  # fmt: skip

    def __init__(self, *args: Any, user: User, **more: Any):
        super().__init__(*args, **more)
        own = region_of(user)
        self.fields["region"] = forms.ChoiceField(
            label="统筹区或区县", choices=regions_of(user), initial=own
        )
        self.fields["institutions"] = forms.MultipleChoiceField(
            label="医疗机构", required=False, choices=institutions_of(user, own),
            help_text="不选即为全部；按住 Ctrl 可多选", widget=forms.SelectMultiple({"size": 6}),
        )  # fmt: skip

    def frame(self) -> Frame:
        given = self.cleaned_data
        return Frame(
            region=given["region"], first_day=given["first_day"], last_day=given["last_day"],
            institutions=tuple(sorted(given["institutions"])), scheme=given["scheme"],
        )  # fmt: skip


class JudgeForm(forms.Form):
    """What an auditor found in a claim."""

    verdict = forms.ChoiceField(
        label="核查结论", choices=[pair for pair in SampledClaim.Verdict.choices if pair[0]],
        widget=forms.RadioSelect,
    )  # fmt: skip
    remark = forms.CharField(
        label="核查记录", required=False, max_length=400, widget=forms.Textarea({"rows": 3}),
        help_text="存在疑问的必须写明问题",
    )  # fmt: skip
