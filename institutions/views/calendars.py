"""Working-day calendars by year: imported whole for the nation, adjusted by a region's own days.

(国务院《全国年节及纪念日放假办法》第四条: minority areas set holidays of their own; I-NX-7)
"""

import datetime as dt
import re
from collections.abc import Iterator, Sequence

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Max, Q
from django.db.models.functions import ExtractYear
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from audit import clock
from audit.access import requires
from audit.tables import Cell, Column, Row, Table
from institutions.access import PortalRequest
from institutions.calendar import IncompleteYear, MissingYear, days_of_year
from institutions.holidays import NATIONAL, SATURDAY, DayRow, import_year, national_year, notice_of
from institutions.models import CalendarDay, Region, User
from institutions.views.cases import registry_tabs

IMPORT = "calendar.import"
FIRST_YEAR = 2004  #: the first year of the package chinesecalendar
LINE = re.compile(r"(\d{4}-\d{2}-\d{2})(?:\s*(?:至|~|～)\s*(\d{4}-\d{2}-\d{2}))?\s+(休|班)\s*(.*)")
LONGEST = 40  #: characters of a day's label
SHOWN = 8  #: changed days that a warning names


class YearForm(forms.Form):
    """A year of the nation, or the days that differ in the own region."""

    year = forms.IntegerField(label="年份", min_value=FIRST_YEAR, max_value=2100)
    source = forms.ChoiceField(
        label="来源", choices=(
            ("package", "全国：日历数据包（国务院已公布的年份）"),
            ("notice", "全国：按放假通知录入（数据包尚未收录的年份）"),
            ("local", "本地：本统筹区自行规定的放假与调休"),
        ),
    )  # fmt: skip
    notice = forms.CharField(
        label="依据文号", max_length=200, required=False,
        help_text="按通知录入全国年份或本地调整时必填，如 国办发明电〔2020〕27号",
    )  # fmt: skip
    days = forms.CharField(
        label="放假与调休", required=False,
        widget=forms.Textarea({"rows": 8, "spellcheck": "false"}),
        help_text="每行一天或一段：2021-10-01 至 2021-10-07 休 国庆节；2021-10-09 班。其余按周末休息推定。",
    )  # fmt: skip

    confirmed = forms.BooleanField(required=False, widget=forms.HiddenInput)

    def clean(self):
        given = super().clean() or {}
        if given.get("source") == "package":
            return given
        for name, reason in (("notice", "请填写依据文号"), ("days", "请逐行填写放假与调休的日期")):
            if not given.get(name) and name not in self.errors:
                self.add_error(name, reason)
        try:
            given["rows"] = list(_lines(given.get("days", ""), given.get("year")))
        except ValueError as error:
            self.add_error("days", str(error))
        return given


def _lines(text: str, year: int | None) -> Iterator[tuple[dt.date, bool, str]]:
    """(day, worked, label) of every line; ValueError names the line that cannot be read."""
    seen: set[dt.date] = set()
    for number, line in enumerate(filter(str.strip, text.splitlines()), start=1):
        found = LINE.fullmatch(line.strip())
        if found is None:
            raise ValueError(f"第{number}行“{line.strip()}”应为：日期 休或班 说明")
        try:
            first = dt.date.fromisoformat(found[1])
            last = dt.date.fromisoformat(found[2]) if found[2] else first
        except ValueError:
            raise ValueError(f"第{number}行“{line.strip()}”不是日历上的日期") from None
        if last < first or first.year != year or last.year != year:
            raise ValueError(f"第{number}行“{line.strip()}”不在{year}年内，或先后颠倒")
        for offset in range((last - first).days + 1):
            day = first + dt.timedelta(days=offset)
            if day in seen:
                raise ValueError(f"第{number}行：{day}重复")
            seen.add(day)
            yield day, found[3] == "班", found[4][:LONGEST]


@requires("registry.view")
@require_http_methods(["GET", "POST"])
def calendars(request: PortalRequest) -> HttpResponse:
    """Which years are there, from which notice; whoever may import adds one."""
    may = request.user.may(IMPORT)
    form = YearForm(request.POST or None, initial={"year": request.GET.get("year", "")})
    status = 200
    if request.method == "POST":
        if not may:
            form.add_error(None, "您的角色不能导入工作日历")
            status = 403
        elif form.is_valid() and _store(request, form):
            return redirect("registry-calendars")
        else:
            status = 422
    return render(request, "institutions/calendars.html", {
        "title": "工作日历", "tabs": registry_tabs("registry-calendars"), "table": _years(request.user),
        "form": form if may else None,
        "breadcrumbs": [{"label": "机构登记", "url": ""}, {"label": "工作日历", "url": ""}],
    }, status=status)  # fmt: skip


def _store(request: PortalRequest, form: YearForm) -> bool:
    """Import what the form says; False when it cannot be, with the reason on the form."""
    year = form.cleaned_data["year"]
    try:
        region, rows = _asked(request.user, form)
        changed = _differences(region, year, rows)
    except (MissingYear, IncompleteYear):
        form.add_error("year", f"日历数据包尚未收录{year}年；国务院公布后可选“按放假通知录入”")
        return False
    except PermissionDenied as reason:
        form.add_error("source", str(reason))
        return False
    if changed and not form.cleaned_data["confirmed"]:
        shown = request.POST.copy()
        shown["confirmed"] = "on"
        form.data = shown
        form.add_error(None, f"该年日历已有登记，将改变{len(changed)}天：{_some(changed)}。"
                             "在办期限会随之重新计算；确认替换请再次点击“导入”。")  # fmt: skip
        return False
    count = import_year(
        year=year, region=region, rows=rows, by=request.user.username, at=clock.now()
    )
    place = request.user.region if region else "全国"
    messages.success(
        request, f"已导入{place}{year}年工作日历（{count}天），等待该年日历的期限已重新计算"
    )
    return True


def _asked(user: User, form: YearForm) -> tuple[str, Sequence[DayRow]]:
    """The area ('' the nation) and the days of the form; PermissionDenied says who may instead."""
    given = form.cleaned_data
    if given["source"] == "local":
        if not user.region_id:
            raise PermissionDenied("本账号不属于任何区域，不能录入本地调整")
        return user.region_id, [
            DayRow(day, worked, label, given["notice"]) for day, worked, label in given["rows"]
        ]
    if user.level == Region.Level.COUNTY:
        raise PermissionDenied("全国日历由地市级以上医保局导入，县级只能录入本地调整")
    if given["source"] == "package":
        return NATIONAL, national_year(given["year"])
    return NATIONAL, _whole_year(given["year"], given["rows"], given["notice"])


def _differences(region: str, year: int, rows: Sequence[DayRow]) -> list[dt.date]:
    """The days that an import would change; none where the year was not there before."""
    stored = CalendarDay.objects.filter(region_code=region, day__year=year)
    before = dict(stored.values_list("day", "working"))
    after = {row.day: row.working for row in rows}
    if not before:
        return []
    return sorted(day for day in before.keys() | after.keys() if before.get(day) != after.get(day))


def _some(days: list[dt.date]) -> str:
    """The first few of many days."""
    shown = "、".join(day.isoformat() for day in days[:SHOWN])
    return f"{shown}等" if len(days) > SHOWN else shown


def _whole_year(year: int, given: list[tuple[dt.date, bool, str]], notice: str) -> list[DayRow]:
    """Weekends rest and other days are worked, but for the days that the notice names."""
    named = {day: (worked, label) for day, worked, label in given}
    rows = []
    for day in days_of_year(year):
        weekend = day.weekday() >= SATURDAY
        worked, label = named.get(day, (not weekend, "周末" if weekend else ""))
        rows.append(DayRow(day, worked, label, notice))
    return rows


def _years(user: User) -> Table:
    """The years in the database: national ones and those of the regions around the reader."""
    own = (user.institution.region_id if user.institution else user.region_id) or ""
    areas = ["", *{own[:2].ljust(6, "0"), own[:4].ljust(6, "0"), own}] if own else [""]
    found = (
        CalendarDay.objects.filter(region_code__in=areas)
        .annotate(year=ExtractYear("day"))
        .values("region_code", "year")
        .annotate(
            days=Count("pk"), worked=Count("pk", filter=Q(working=True)), stated=Max("notice")
        )
        .order_by("-year", "region_code")
    )
    return Table(
        id="calendars", caption="已导入的年份", show_caption=False,
        columns=[Column(label="年份"), Column(label="范围"), Column(label="天数", numeric=True),
                 Column(label="工作日", numeric=True), Column(label="依据", wide=True)],
        rows=[
            Row(
                key=f"{row['region_code']}{row['year']}", label=str(row["year"]),
                cells=[Cell(text=str(row["year"])), Cell(text=row["region_code"] or "全国"),
                       Cell(text=str(row["days"])), Cell(text=str(row["worked"])),
                       Cell(text=row["stated"] or notice_of(row["year"]))],
            )
            for row in found
        ],
        empty_title="没有工作日历", empty_text="期限须按工作日历计算，请先导入本年和下一年的日历。",
    )  # fmt: skip
