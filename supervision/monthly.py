"""Monthly supervision reports: made by a region, submitted by a second person, received above.

The figures of a version are counted once and kept. A region's own report takes over what it received
from the regions directly below and counts the rest itself, so that every row counts once. What is due
when is the region's parameter. (通医保发〔2020〕25号 四（三）；温医保办〔2021〕6号 二十四、二十五)
"""

import datetime as dt
import hashlib
from collections.abc import Mapping
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.urls import reverse

from agreements.clocks import parameter_row
from audit import clock, moves, procedure, tasks, trail
from audit.access import Person
from audit.models import Move
from audit.moves import advance, refresh
from audit.procedure import Due, Handbook, Pauses, Refused, State, Turn
from institutions import news
from institutions.calendar import MissingYear, add_months
from institutions.holidays import load_calendar
from institutions.models import Region, User
from institutions.refusals import refused
from supervision import monthly_counts
from supervision.models import MonthlyReport, MonthlyVersion, ReportOrder
from supervision.monthly_counts import Place
from supervision.reports import orders
from supervision.reports.wish import Wish

TABLE = "monthly"
MAKE, SUBMIT, RECEIVE, VIEW = "monthly.make", "monthly.submit", "monthly.receive", "monthly.view"


# --- Making ---


@transaction.atomic
def make(*, region: Region, month: dt.date, who: User, by: str, at: dt.datetime) -> MonthlyReport:
    """Make a region's report of a month that is over; its figures are version 1."""
    today = clock.local(at).date()
    if not who.may(MAKE) or who.region_id != region.pk:
        raise refused("region", "NOT_YOUR_REGION", "只能编制本级的监管月报", "the own region only",
                      status=403)  # fmt: skip
    if region.parent_id is None:
        raise refused("region", "NO_REGION_ABOVE", "本级没有上级区域，无需报送", "nobody above")
    if month.day != 1 or add_months(month, 1) > today:
        raise refused("month", "MONTH_NOT_OVER", "该月尚未结束", "the month is not over")
    row = MonthlyReport(
        number=_number(region, today), month=month, to_region=region.parent_id, made_by=by,
        region_code=region.pk, procedure=TABLE, state=_table().first.key, entered_on=today,
        opened_at=at, opened_by=by, latest=1,
    )  # fmt: skip
    try:
        with transaction.atomic():
            row.save()
    except IntegrityError as error:
        raise refused("month", "MADE_BEFORE", "该月的月报已经编制", "made before",
                      status=409) from error  # fmt: skip
    _keep(row, region, who=who, by=by, at=at)
    moves.opened(case=row, procedure=_table(), handbook=HANDBOOK, by=by, at=at, on=today)
    tasks.close(subject=_wanted(region, month), by=by, at=at)
    return row


def _table() -> procedure.Procedure:
    return procedure.PROCEDURES[TABLE]


def _number(region: Region, day: dt.date) -> str:
    name = orders.short_name(region)
    serial = tasks.next_number(f"monthly:{region.pk}:{day.year}")
    return f"{name}医保监报〔{day.year}〕{serial}号"


def _keep(
    row: MonthlyReport, region: Region, *, who: User, by: str, at: dt.datetime
) -> MonthlyVersion:
    """Count the month anew as the report's latest version, and have it printed."""
    figures = figures_of(region, row.month)
    plain = trail.canonical(figures)
    made = MonthlyVersion.objects.create(
        report=row, version=row.latest, region_code=row.region_code, figures=figures,
        digest=hashlib.new("sm3", plain).hexdigest(), made_at=at, made_by=by,
    )  # fmt: skip
    trail.record(
        by=by, at=at, action="monthlyreport.count", subject=row.subject,
        region_code=row.region_code, institution_code="",
        detail={"number": row.number, "version": made.version, "sm3": made.digest},
    )  # fmt: skip
    last = add_months(row.month, 1) - dt.timedelta(days=1)
    about = Wish(since=row.month, until=last, region=row.region_code, subject=subject_of(made))
    orders.order(kind=TABLE, wish=about, user=who, by=by, at=at)
    return made


def subject_of(version: MonthlyVersion) -> str:
    """What the printed report of a version is ordered by."""
    return f"{version.report.number}#{version.version}"


def printed(version: MonthlyVersion) -> ReportOrder | None:
    """The printed report of a version."""
    rows = ReportOrder.objects.filter(kind=TABLE, region_code=version.region_code)
    return rows.filter(parameters__subject=subject_of(version)).order_by("-pk").first()


def figures_of(region: Region, month: dt.date) -> dict[str, Any]:
    """What a region says of a month: each received report of a region below, the rest counted here.

    `missing` names the regions below that report and were not received: their rows are in `direct`.
    """
    received = list(
        MonthlyReport.objects.filter(to_region=region.pk, month=month, state="received")
        .order_by("region_code")
    )  # fmt: skip
    areas = [_area(row) for row in received]
    without = tuple(row.region_code for row in received)
    sheet, example = monthly_counts.count(Place(region.pk, month, without))
    missing = [one.name for one in reporting(below(region)) if one.pk not in without]
    return {
        "month": f"{month:%Y-%m}", "region": region.pk, "name": region.name,
        "direct": sheet, "areas": areas, "missing": missing,
        "whole": monthly_counts.added([sheet, *(area["sheet"] for area in areas)]),
        "example": example or any(area["example"] for area in areas),
    }  # fmt: skip


def _area(row: MonthlyReport) -> dict[str, Any]:
    found = current(row)
    return {
        "code": row.region_code, "name": found.figures["name"], "number": row.number,
        "version": found.version, "digest": found.digest, "sheet": found.figures["whole"],
        "example": found.figures["example"],
    }  # fmt: skip


def current(row: MonthlyReport) -> MonthlyVersion:
    """The version of a report that counts now."""
    return row.versions.get(version=row.latest)


# --- Who reports ---


def below(region: Region) -> QuerySet[Region]:
    """The regions directly below."""
    return Region.objects.filter(parent=region).order_by("pk")


def reporting(regions: QuerySet[Region]) -> QuerySet[Region]:
    """Those of them that have people who make such reports, and somebody above."""
    people = User.objects.filter(role__in=news.roles_with(MAKE), is_active=True)
    return regions.filter(pk__in=people.values("region"), parent__isnull=False)


def due_of(region: Region, month: dt.date) -> Due:
    """The last day on which the report of a month is submitted; none where the region fixed none."""
    return _counted(region, "submit", add_months(month, 1) - dt.timedelta(days=1))


def remind(*, on: dt.date, by: str, at: dt.datetime) -> int:
    """Open the task of last month's report in every region that reports; how many are new."""
    month = add_months(on.replace(day=1), -1)
    made = set(MonthlyReport.objects.filter(month=month).values_list("region_code", flat=True))
    count = 0
    for region in reporting(Region.objects.exclude(pk__in=made)).order_by("pk"):
        subject = _wanted(region, month)
        if tasks.is_open(subject=subject, permission=MAKE):
            continue
        due = due_of(region, month)
        tasks.open_task(
            subject=subject, permission=MAKE, at=at,
            title=f"编制{region.name}{month.year}年{month.month}月监管月报", region_code=region.pk,
            procedure=TABLE, status="待编制", url=f"{reverse('monthly')}?month={month:%Y-%m}",
            due=due.day, due_unknown=due.unknown, clause=due.clause,
        )  # fmt: skip
        count += 1
    return count


def _wanted(region: Region, month: dt.date) -> str:
    return f"monthlywanted:{region.pk}-{month:%Y%m}"


# --- Moving ---


def take(
    *, report: MonthlyReport, step: str, who: Person, by: str, at: dt.datetime, note: str = "",
    version: int | None = None, signed_by: str = "",
) -> Move:  # fmt: skip
    """Take a step of a report; raises Refused. A system names the person who decided: `signed_by`."""
    return advance(
        case=report, procedure=_table(), handbook=HANDBOOK, step=step, who=who, by=by, at=at,
        note=note, version=version, facts={"signed_by": signed_by} if signed_by else None,
    )  # fmt: skip


def offered(report: MonthlyReport, who: User) -> list[str]:
    """The steps that this person can take now: permission, place and the second person."""
    found = moves.offered(case=report, procedure=_table(), handbook=HANDBOOK, who=who)
    return [step.key for step in found if _allowed(step.checks, report, who)]


def _allowed(checks: tuple[str, ...], report: MonthlyReport, who: User) -> bool:
    if "own_region" in checks and who.region_id != report.region_code:
        return False
    if "region_above" in checks and who.region_id != report.to_region:
        return False
    return "second_person" not in checks or who.username != report.made_by


def own_region(turn: Turn) -> None:
    """Only the people of the region that reports."""
    if turn.who is None or turn.who.region_id != turn.case.region_code:
        raise Refused(403, "NOT_YOUR_REGION", "须由编制月报的本级办理")


def region_above(turn: Turn) -> None:
    """Only the people of the region that is reported to."""
    if turn.who is None or turn.who.region_id != turn.case.to_region:
        raise Refused(403, "NOT_THE_REGION_ABOVE", "须由上级办理")


def signed(turn: Turn) -> None:
    """A system acts on the decision of a person of its office who may take the step, and names them."""
    if turn.who is None or isinstance(turn.who, User):
        return
    name = turn.facts.get("signed_by", "")
    person = User.objects.filter(username=name, region=turn.who.region_id, is_active=True).first()
    if person is None or not person.may(turn.step.permission):
        raise Refused(422, "SIGNER_UNKNOWN", "签发人须为本级有此项权限的在用账号",
                      field="signed_by")  # fmt: skip


def second_person(turn: Turn) -> None:
    """Who made it does not submit it."""
    if turn.case.made_by in (turn.by, turn.facts.get("signed_by")):
        raise Refused(403, "SAME_PERSON", "编制人不能复核报送自己编制的月报")


def count_again(turn: Turn) -> None:
    """The figures of today are the next version."""
    row: MonthlyReport = turn.case
    who = User.objects.get(username=turn.by)
    row.latest, row.made_by, row.submitted_by = row.latest + 1, turn.by, ""
    _keep(row, Region.objects.get(pk=row.region_code), who=who, by=turn.by, at=turn.at)


def keep_submission(turn: Turn) -> None:
    row: MonthlyReport = turn.case
    row.submitted_at, row.submitted_by = turn.at, turn.by


def keep_receipt(turn: Turn) -> None:
    turn.case.received_at, turn.case.received_by = turn.at, turn.by


def keep_return(turn: Turn) -> None:
    row: MonthlyReport = turn.case
    row.received_at, row.received_by, row.returned_for = None, "", turn.note[:400]


# --- Clocks and tasks ---


def due(case: MonthlyReport, state: State, start: dt.date, pauses: Pauses) -> Due:
    """The last day of a state; a report is due so many days after its month, whenever it was made."""
    region = Region.objects.get(pk=case.region_code)
    if state.within == "submit":
        return due_of(region, case.month)
    return _counted(region, state.within, start)


def _counted(region: Region, key: str, start: dt.date) -> Due:
    row = parameter_row(region, _table().data["clocks"][key], start)
    if row is None or not isinstance(row.value, int):
        return Due(None)
    try:
        day = load_calendar(region.pk).add_working_days(start, row.value)
    except MissingYear as missing:
        return Due(None, clause=row.clause, unknown=missing.year)
    return Due(day, day, row.clause)


def is_example(report: MonthlyReport) -> bool:
    """Whether the clock of the present state runs by an example parameter (示例)."""
    state = _table().states[report.state]
    if not state.within:
        return False
    region = Region.objects.get(pk=report.region_code)
    row = parameter_row(region, _table().data["clocks"][state.within], report.entered_on)
    return row is not None and row.example


def refresh_unknown(*, year: int, by: str, at: dt.datetime) -> int:
    """A calendar year came in: deadlines that waited for it are known now; how many moved."""
    rows = MonthlyReport.objects.filter(due_unknown=year)
    return sum(refresh(case=row, procedure=_table(), handbook=HANDBOOK, at=at) for row in rows)


def describe(case: MonthlyReport) -> str:
    """What its tasks are called."""
    name = Region.objects.filter(pk=case.region_code).values_list("name", flat=True).first()
    return f"{name or case.region_code}{case.month.year}年{case.month.month}月监管月报"


def place(case: MonthlyReport) -> str:
    """The address of a report."""
    return reverse("monthly-report", args=[case.pk])


def told(turn: Turn, state: State) -> None:
    """A submitted report waits above; whoever goes on hears of it."""
    row: MonthlyReport = turn.case
    office = row.to_region if state.holder == RECEIVE else row.region_code
    if state.holder == RECEIVE:
        tasks.replace(
            subject=row.subject, by=turn.by, at=turn.at, permission=RECEIVE, region_code=office,
            title=f"{describe(row)}：{state.todo}", institution_code="", procedure=TABLE,
            status=state.label, url=place(row), due=row.due, due_unknown=row.due_unknown,
            clause=row.due_clause,
        )  # fmt: skip
    news.tell(
        permission=state.holder or SUBMIT, region_code=office, institution_code="",
        text=f"{describe(row)}：{turn.step.label}", url=place(row), subject=row.subject, at=turn.at,
    )  # fmt: skip


HANDBOOK = Handbook(
    checks={"own_region": own_region, "region_above": region_above, "signed": signed,
            "second_person": second_person},
    effects={"count_again": count_again, "keep_submission": keep_submission,
             "keep_receipt": keep_receipt, "keep_return": keep_return},
    due=due, describe=describe, place=place, told=told,
)  # fmt: skip


def steps() -> Mapping[str, procedure.Step]:
    """The steps by key."""
    return {step.key: step for step in _table().steps}
