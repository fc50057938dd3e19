"""Credit scores: the list of a year, one subject with its explained sum and its versions."""

from django import forms
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.http import require_GET

from audit import clock
from audit.access import requires
from audit.tables import Action, Cell, Column, Pages, Row, Table
from institutions.access import PortalRequest
from institutions.models import Institution, Physician
from settlement.looks import looked
from settlement.models import InsuredPerson
from supervision.case_forms import ANY
from supervision.models import CreditScore
from supervision.views.cases import CRUMBS, SIZE


class CreditQuery(forms.Form):
    """Which scores."""

    q = forms.CharField(label="对象编码", required=False, max_length=64)
    kind = forms.ChoiceField(
        label="对象类别", required=False, choices=[ANY, *CreditScore.Subject.choices]
    )
    year = forms.IntegerField(label="年度", required=False, min_value=2000, max_value=2100)


def _latest(request: PortalRequest):
    rows = CreditScore.objects.visible_to(request.user)
    return rows.order_by("subject_kind", "subject_code", "year", "-version").distinct(
        "subject_kind", "subject_code", "year"
    )


@requires("cases.view")
@require_GET
def listing(request: PortalRequest) -> HttpResponse:
    """The last version of every subject, the lowest score first."""
    form = CreditQuery(request.GET)
    rows = CreditScore.objects.none()
    if form.is_valid():
        given = form.cleaned_data
        rows = CreditScore.objects.filter(pk__in=_latest(request).values("pk"))
        rows = rows.filter(year=given["year"] or clock.today().year)
        if given["kind"]:
            rows = rows.filter(subject_kind=given["kind"])
        if text := given["q"].strip():
            rows = rows.filter(subject_code__icontains=text)
    page = Paginator(rows.order_by("score", "-pk"), SIZE).get_page(request.GET.get("page"))
    names = names_of(list(page))
    return render(request, "supervision/list.html", {
        "breadcrumbs": [*CRUMBS, {"label": "信用评价", "url": ""}], "form": form,
        "title": "信用评价", "target": "credit",
        "subtitle": "基准分减去已生效的处理决定、查实的疑点、记分和暂停，每一项都可以点开核对。",
        "table": Table(
            id="credit", caption="信用评价",
            columns=[Column(label="对象", wide=True), Column(label="类别"),
                     Column(label="年度"), Column(label="得分", numeric=True), Column(label="等级")],
            rows=[_row(row, names) for row in page],
            pages=Pages(total=page.paginator.count, page=page.number, size=SIZE, sizes=(SIZE,)),
            empty_title="没有信用评价", empty_text="统筹区定有评价标准的，每日按已生效的记录计算。",
        ),
    })  # fmt: skip


def names_of(rows: list[CreditScore]) -> dict[str, str]:
    """Names by code; persons masked."""
    codes = [row.subject_code for row in rows]
    found = dict(Institution.objects.filter(pk__in=codes).values_list("pk", "name"))
    found |= dict(Physician.objects.filter(pk__in=codes).values_list("pk", "name"))
    persons = InsuredPerson.objects.filter(pk__in=persons_of(rows))
    found |= {row.subject: str(row) for row in persons}
    return found


def persons_of(rows: list[CreditScore]) -> list[int]:
    """The ids of the persons among the subjects."""
    codes = [row.subject_code for row in rows if row.subject_kind == CreditScore.Subject.PERSON]
    return [int(code.partition(":")[2]) for code in codes]


def _row(row: CreditScore, names: dict[str, str]) -> Row:
    address = reverse("credit-score", args=[row.pk])
    name = names.get(row.subject_code, row.subject_code)
    return Row(
        key=str(row.pk), label=name,
        cells=[
            Cell(text=name, url=address,
                 sub="" if row.subject_kind == "person" else row.subject_code),
            Cell(text=row.get_subject_kind_display()), Cell(text=str(row.year)),
            Cell(text=str(row.score)),
            Cell(text=row.level, sub="示例参数" if row.example else ""),
        ],
        actions=[Action(label="查看", url=address)],
    )  # fmt: skip


@requires("cases.view")
@require_GET
def one(request: PortalRequest, pk: int) -> HttpResponse:
    """A version of a score: every part of the sum, the versions of the year; of a person, an event."""
    rows = CreditScore.objects.visible_to(request.user)
    row = get_object_or_404(rows, pk=min(pk, 2**63 - 1))
    looked(
        persons=persons_of([row]), by=request.user.username, at=clock.now(), action="credit.read",
        subject=f"credit:{row.pk}", region_code=row.region_code,
        institution_code=row.institution_code,
    )  # fmt: skip
    name = names_of([row]).get(row.subject_code, row.subject_code)
    others = rows.filter(
        subject_kind=row.subject_kind, subject_code=row.subject_code, year=row.year
    )
    return render(request, "supervision/inspection.html", {
        "breadcrumbs": [*CRUMBS, {"label": "信用评价", "url": reverse("credit")},
                        {"label": name, "url": ""}],
        "facts_title": "评价", "title": name, "number": f"{row.year}年度 第{row.version}版",
        "kind": "信用评价",
        "back": reverse("credit"), "badge": {"word": f"{row.level} {row.score}分", "tone": "info"},
        "facts": [
            {"label": "对象类别", "value": row.get_subject_kind_display()},
            {"label": "得分", "value": f"{row.score}", "sub": _sum(row)},
            {"label": "依据", "value": row.clause, "sub": "示例参数" if row.example else ""},
            {"label": "计算", "value": f"{clock.local(row.made_at):%Y-%m-%d %H:%M}"},
        ],
        "tasks_title": "得分构成", "tasks": _parts(row),
        "events_title": "历次版本", "events": _versions(list(others.order_by("-version"))),
    })  # fmt: skip


def _sum(row: CreditScore) -> str:
    """The sum as it is written: 100 − 10 − 3 ＝ 87."""
    signs = "".join(f" {'＋' if part['points'] > 0 else '−'} {abs(part['points'])}"
                    for part in row.parts)  # fmt: skip
    return f"{row.start}{signs} → {row.score}（不低于0，不高于{row.start}）"


def _parts(row: CreditScore) -> Table:
    return Table(
        id="parts", caption="各项得分", show_caption=False, actions=False,
        columns=[Column(label="项目", wide=True), Column(label="次数", numeric=True),
                 Column(label="每次", numeric=True), Column(label="分值", numeric=True)],
        rows=[
            Row(key="start", label="基准分", cells=[
                Cell(text="基准分"), Cell(text="—"), Cell(text="—"), Cell(text=str(row.start))]),
            *(Row(key=part["key"], label=part["label"], cells=[
                Cell(text=part["label"]), Cell(text=str(part["count"])),
                Cell(text=f"{part['each']:+d}"), Cell(text=f"{part['points']:+d}"),
            ]) for part in row.parts),
        ],
    )  # fmt: skip


def _versions(rows: list[CreditScore]) -> Table:
    return Table(
        id="versions", caption="各版得分", show_caption=False, actions=False,
        columns=[Column(label="版本"), Column(label="时间"), Column(label="得分", numeric=True),
                 Column(label="等级")],
        rows=[Row(key=str(row.pk), label=str(row.version), cells=[
            Cell(text=f"第{row.version}版", url=reverse("credit-score", args=[row.pk])),
            Cell(text=f"{clock.local(row.made_at):%Y-%m-%d %H:%M}"), Cell(text=str(row.score)),
            Cell(text=row.level),
        ]) for row in rows],
    )  # fmt: skip
