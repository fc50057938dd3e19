"""Inspections drawn by lot (双随机): a plan, a second person's approval, a draw that anybody can repeat.

Who is drawn follows from the seed and the lists only: each name is ranked by SM3 of seed and name. The
lists and the seed are kept with the plan. A recused inspector is replaced by the next of the same draw.
(温医保办〔2021〕6号 四、二十四；国务院令第735号 第29条)
"""

import datetime as dt
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from agreements.models import AgreementState
from audit import clock, tasks, trail
from institutions import news
from institutions.models import Institution, Region, User
from institutions.refusals import Refusal, refused
from supervision import cases, findings, inspection_papers, law
from supervision.hands import covers
from supervision.inspection_papers import place, subject_of, task_place
from supervision.models import (
    Finding,
    InspectionInspector,
    InspectionPlan,
    InspectionTask,
    SupervisionCase,
)

PLAN, CARRY = "inspections.plan", "inspections.carry"
State, Side, Result = InspectionPlan.State, InspectionPlan.Side, InspectionTask.Result


@dataclass(frozen=True)
class Wanted:
    """What a plan says: matter, days of inspection, days of service looked at, how many of each."""

    title: str
    side: str
    reason: str
    first_day: dt.date
    last_day: dt.date
    service_from: dt.date
    service_until: dt.date
    wanted: int
    per_task: int
    checklist: Sequence[Mapping[str, str]]


def ranked(seed: str, names: Iterable[str]) -> list[str]:
    """Names in the order of the draw: by SM3 of the seed and the name, whoever computes it."""

    def rank(name: str) -> tuple[bytes, str]:
        return hashlib.new("sm3", f"{seed}\n{name}".encode()).digest(), name

    return sorted(set(names), key=rank)


# --- Sides ---


def side_of(user: User) -> str:
    """For which side somebody plans and inspects; empty for others."""
    return next((side.key for side in law.sides().values() if side.role == user.role), "")


def approves(plan: InspectionPlan, user: User) -> bool:
    """Whether somebody may approve plans of this side: each side approves its own."""
    return user.may(law.sides()[plan.side].approves)


def own_side(side: str, who: User) -> None:
    """Refuse whoever is of another side."""
    if side_of(who) != side:
        raise refused("side", "OTHER_SIDE", "经办稽核巡查由经办机构办理，行政执法检查由行政部门办理",
                      "the other side does this", status=403)  # fmt: skip


# --- Planning ---


@transaction.atomic
def plan(*, region: Region, wanted: Wanted, who: User, at: dt.datetime) -> InspectionPlan:
    """Draw up a plan of the own side; a second person of it approves before anything is drawn."""
    own_side(wanted.side, who)
    _sound(wanted)
    by, side, day = who.username, law.sides()[wanted.side], clock.local(at).date()
    series = f"{side.series}{region.code}-{day.year}"
    made = InspectionPlan.objects.create(
        number=f"{series}-{tasks.next_number(series):03d}", region_code=region.code,
        title=wanted.title.strip(), side=wanted.side, reason=wanted.reason.strip(),
        first_day=wanted.first_day, last_day=wanted.last_day, service_from=wanted.service_from,
        service_until=wanted.service_until, wanted=wanted.wanted, per_task=wanted.per_task,
        checklist=[dict(row) for row in wanted.checklist], made_at=at, made_by=by,
    )  # fmt: skip
    _event(made, "plan", by, at, wanted=wanted.wanted, per_task=wanted.per_task)
    tasks.open_task(
        subject=subject_of(made), permission=side.approves, at=at, region_code=region.code,
        title=f"审批检查计划 {made.number}：{made.title}", procedure="inspection",
        status=made.get_state_display(), url=place(made),
        clause=inspection_papers.basis(made.side, region, day),
    )  # fmt: skip
    return made


def _sound(wanted: Wanted) -> None:
    least = law.inspectors_needed()
    if not wanted.title.strip() or not wanted.reason.strip():
        raise refused("title", "REQUIRED", "请填写名称和事项", "title and matter are needed")
    if wanted.per_task < least:
        raise refused("per_task", "TOO_FEW_INSPECTORS", f"每家至少{least}名检查人员",
                      f"at least {least} inspectors", clause=law.decree().cite("29"))  # fmt: skip
    if wanted.last_day < wanted.first_day or wanted.service_until < wanted.service_from:
        raise refused(
            "last_day", "DATES_REVERSED", "止日不得早于起日", "the end precedes the start"
        )
    keys = [row["key"] for row in wanted.checklist]
    if not keys or len(set(keys)) != len(keys) or not all(row["text"] for row in wanted.checklist):
        raise refused("checklist", "CHECKLIST_EMPTY", "检查清单为空或重复", "a list is needed")


@transaction.atomic
def decide(
    *, plan: InspectionPlan, approve: bool, note: str, who: User, at: dt.datetime
) -> InspectionPlan:
    """Somebody else approves a plan or does not."""
    found = _locked(plan, State.DRAFT)
    if found.made_by == who.username:
        raise refused("by", "SAME_PERSON", "制定计划的人不能审批", "another person approves",
                      status=403)  # fmt: skip
    if not approves(found, who):
        raise Refusal(403, "NOT_YOURS", ("本类检查计划由本方负责人审批", "not yours to approve"))
    if not approve and not note.strip():
        raise refused("note", "REQUIRED", "请填写理由", "a reason is needed")
    found.state = State.APPROVED if approve else State.REFUSED
    found.approved_at, found.approved_by, found.note = at, who.username, note.strip()[:400]
    found.save()
    tasks.close(subject=subject_of(found), by=who.username, at=at)
    _event(found, "approve" if approve else "refuse", who.username, at, note=found.note)
    return found


# --- The draw ---


@transaction.atomic
def draw(*, plan: InspectionPlan, seed: str, who: User, at: dt.datetime) -> list[InspectionTask]:
    """Draw institutions and inspectors by a stated seed, once; the lists are kept with the plan."""
    found, by = _locked(plan, State.APPROVED), who.username
    own_side(found.side, who)
    if not seed.strip():
        raise refused(
            "seed", "REQUIRED", "请公开约定随机种子，如当日公布的数字", "a seed is needed"
        )
    places, people = places_of(found), people_of(found)
    if len(places) < found.wanted:
        raise refused("wanted", "TOO_FEW_PLACES", f"辖区内只有{len(places)}家协议机构可抽取",
                      "too few institutions", status=409)  # fmt: skip
    if len(people) < found.per_task:
        raise refused("per_task", "TOO_FEW_PEOPLE", f"只有{len(people)}名检查人员可抽取",
                      "too few inspectors", status=409)  # fmt: skip
    found.seed, found.drawn_at, found.drawn_by = seed.strip(), at, by
    found.pool = {"institutions": places, "inspectors": people, "alg": "sm3"}
    found.state = State.DRAWN
    found.save()
    made = [_task(found, number, code, at) for number, code in
            enumerate(drawn(found.seed, places, found.wanted), 1)]  # fmt: skip
    _event(found, "draw", by, at, seed=found.seed, institutions=places, inspectors=people,
           drawn=[row.institution_code for row in made])  # fmt: skip
    return made


def drawn(seed: str, places: Iterable[str], wanted: int) -> list[str]:
    """The institutions that a seed draws from a list."""
    return ranked(seed, places)[:wanted]


def order_for(seed: str, code: str, people: Iterable[str]) -> list[str]:
    """In which order inspectors are drawn for an institution: each institution has its own draw."""
    return ranked(f"{seed}\n{code}", people)


def places_of(plan: InspectionPlan) -> list[str]:
    """From whom is drawn: institutions of the area whose supplementary agreement is in force that day."""
    region = Region.objects.get(pk=plan.region_code)
    rows = Institution.objects.filter(region__code__within=region.prefix)
    states = AgreementState.objects.supplementary(on=plan.first_day)
    open_ones = states.exclude(state__in=("terminated", "expired"))
    return sorted(rows.filter(pk__in=open_ones.values("agreement__institution"))
                  .values_list("pk", flat=True))  # fmt: skip


def people_of(plan: InspectionPlan) -> list[str]:
    """Who can be drawn: those of the plan's own side and area who may inspect."""
    roles = set(news.roles_with(CARRY)) & {law.sides()[plan.side].role}
    rows = User.objects.filter(role__in=roles, is_active=True).select_related("region")
    return sorted(row.username for row in rows if covers(row, plan.region_code))


def _task(plan: InspectionPlan, number: int, code: str, at: dt.datetime) -> InspectionTask:
    region = Institution.objects.get(pk=code).region_id
    row = InspectionTask.objects.create(
        plan=plan, number=f"{plan.number}-{number:02d}", region_code=region,
        institution_code=code, draw_no=number,
    )  # fmt: skip
    order = order_for(plan.seed, code, plan.pool["inspectors"])
    InspectionInspector.objects.bulk_create(
        InspectionInspector(task=row, username=name) for name in order[: plan.per_task]
    )
    tasks.open_task(
        subject=subject_of(row), permission=CARRY, at=at, region_code=region,
        title=f"检查 {row.number}：{plan.title}", procedure="inspection", status="待检查",
        url=task_place(row), due=plan.last_day,
        clause=inspection_papers.basis(plan.side, Region.objects.get(pk=region), plan.first_day),
    )  # fmt: skip
    return row


# --- Inspecting ---


@dataclass(frozen=True)
class Seen:
    """What was seen on the spot: answers by key of the checklist, the result, the report."""

    visited_on: dt.date
    answers: Mapping[str, str]
    result: str
    report: str
    problems: Sequence[tuple[str, str]] = ()  #: (behaviour, what was found): findings by hand


@transaction.atomic
def record(*, task: InspectionTask, seen: Seen, who: User, at: dt.datetime) -> InspectionTask:
    """Record an inspection by one of its inspectors; problems become findings by hand."""
    row = InspectionTask.objects.select_for_update(of=("self",)).select_related("plan").get(
        pk=task.pk)  # fmt: skip
    if row.state != InspectionTask.State.OPEN:
        raise refused("state", "DONE_BEFORE", "该检查已登记", "recorded before", status=409)
    if not row.inspectors.filter(username=who.username, recused_at__isnull=True).exists():
        raise Refusal(403, "NOT_AN_INSPECTOR", ("只有抽取的检查人员可以登记", "not drawn for it"))
    _seen(row, seen, clock.local(at).date())
    inspection_papers.refuse_unannounced(row, seen.visited_on)
    if inspection_papers.requests_open(row):
        raise refused("state", "RECUSAL_OPEN", "有回避申请尚未决定", "a recusal is open", status=409,
                      clause=law.decree().cite("29"))  # fmt: skip
    found = [_finding(row, behaviour, text, who.username, at) for behaviour, text in seen.problems]
    row.state, row.visited_on, row.answers = "done", seen.visited_on, dict(seen.answers)
    row.result, row.report = seen.result, seen.report.strip()
    row.done_at, row.done_by = at, who.username
    row.save()
    tasks.close(subject=subject_of(row), by=who.username, at=at)
    _event(row.plan, "record", who.username, at, task=row.number, result=row.result,
           findings=[made.pk for made in found])  # fmt: skip
    return row


def _seen(row: InspectionTask, seen: Seen, today: dt.date) -> None:
    if seen.visited_on > today or seen.visited_on < row.plan.first_day:
        raise refused(
            "visited_on", "DAY_OUTSIDE", "检查日应在计划起日与今天之间", "the day is outside"
        )
    missing = [line["text"] for line in row.plan.checklist if not seen.answers.get(line["key"])]
    if missing:
        raise refused("answers", "ANSWERS_MISSING", f"清单未填完：{'、'.join(missing)}",
                      "the checklist is not complete")  # fmt: skip
    if seen.result not in Result.values or not seen.report.strip():
        raise refused("report", "REQUIRED", "请填写结果和检查报告", "result and report are needed")
    if (seen.result == Result.CLEAN) == bool(seen.problems):
        raise refused("problems", "RESULT_DIFFERS", "结果与发现的问题不一致",
                      "the result does not fit what was found")  # fmt: skip


def _finding(row: InspectionTask, behaviour: str, text: str, by: str, at: dt.datetime) -> Finding:
    key = hashlib.new("sm3", f"inspection\n{row.number}\n{behaviour}\n{text}".encode()).digest()
    made = Finding.objects.create(
        region_code=row.region_code, institution_code=row.institution_code, rule="inspection",
        behaviour=behaviour, severity=Finding.Severity.DOUBT, clause=inspection_papers.basis_of(row),
        message=text.strip()[:400], moment=Finding.Moment.MANUAL,
        subject_kind=Finding.Subject.INSTITUTION, subject_code=row.institution_code,
        first_day=row.plan.service_from, last_day=row.plan.service_until, claims=0, fee=0, fund=0,
        figures={"inspection": row.number}, parameters={"by": by}, key=key, found_at=at,
    )  # fmt: skip
    findings.event(made, "record", {"inspection": row.number, "behaviour": behaviour}, by=by, at=at)
    return made


@transaction.atomic
def lead_to_case(*, task: InspectionTask, title: str, by: str, at: dt.datetime) -> SupervisionCase:
    """Open a case from an inspection that says so; its findings are the first evidence."""
    row = InspectionTask.objects.select_for_update(of=("self",)).select_related("plan").get(
        pk=task.pk)  # fmt: skip
    if row.result != Result.CASE or row.case_id:
        raise refused("result", "NO_CASE", "该检查结果不移交立案，或已立案", "no case is due",
                      status=409)  # fmt: skip
    found = list(Finding.objects.filter(
        institution_code=row.institution_code, moment=Finding.Moment.MANUAL,
        figures__inspection=row.number))  # fmt: skip
    made = cases.open_case(
        region=Region.objects.get(pk=row.region_code), by=by, at=at, findings=found,
        wanted=cases.Wanted(
            title=title, subject_kind="institution", subject_code=row.institution_code,
            institution_code=row.institution_code, summary=row.report,
            acted_from=row.plan.service_from,
            acted_until=min(row.plan.service_until, clock.local(at).date()),
            origin=SupervisionCase.Origin.INSPECTION, origin_ref=row.number,
            behaviour=found[0].behaviour if found else "",
            because=f"检查{row.number}的结果移交立案",
        ),
    )  # fmt: skip
    row.case = made
    row.save(update_fields=["case"])
    return made


@transaction.atomic
def close(*, plan: InspectionPlan, result: str, who: User, at: dt.datetime) -> InspectionPlan:
    """Sum up a plan when every drawn institution was inspected."""
    found = _locked(plan, State.DRAWN)
    own_side(found.side, who)
    left = found.tasks.filter(state=InspectionTask.State.OPEN).count()
    if left:
        raise refused("state", "TASKS_OPEN", f"还有{left}家没有检查", "tasks are open", status=409)
    if not result.strip():
        raise refused("result", "REQUIRED", "请填写总结", "a summary is needed")
    found.state, found.result = State.CLOSED, result.strip()[:2000]
    found.save()
    _event(found, "close", who.username, at)
    return found


# --- Shared ---


def _locked(plan: InspectionPlan, state: str) -> InspectionPlan:
    found = InspectionPlan.objects.select_for_update().get(pk=plan.pk)
    if found.state != state:
        raise Refusal(409, "PLAN_STATE", (f"计划{found.get_state_display()}，不能办理",
                                          f"the plan is {found.state}"))  # fmt: skip
    return found


def _event(plan: InspectionPlan, what: str, by: str, at: dt.datetime, **detail: Any) -> None:
    trail.record(
        by=by, at=at, action=f"inspection.{what}", subject=subject_of(plan),
        region_code=plan.region_code, detail={"number": plan.number, **detail},
    )  # fmt: skip
