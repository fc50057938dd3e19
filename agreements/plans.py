"""Places and plans of the batches: made from the notice in force, counted back, changed by hand.

各市、县（区）根据上线时间要求拟定工作计划，倒排工期. No duration is printed: what the plan is counted with is
a parameter of the region, an example one is said to be so. (宁医保发〔2021〕152号 四第1款、附件1)
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from agreements import clocks
from agreements.handbook import HANDBOOK
from agreements.models import Application, WavePlace
from agreements.onboarding import STEP_DAYS, Flow, Waves
from agreements.waves import LEVELS, listed_as, read_waves
from audit import trail
from audit.moves import refresh
from audit.procedure import PROCEDURES
from institutions.calendar import Calendar, MissingYear
from institutions.holidays import load_calendar
from institutions.models import Institution, Region, User
from institutions.refusals import Fault, Refusal

PLAN = "waves.plan"
PROVINCE = Region.Level.PROVINCE
Spans = Mapping[str, tuple[dt.date, dt.date]]
Calendars = dict[str, Calendar]  #: area code → its calendar, read once


@dataclass(frozen=True)
class Lengths:
    """Working days of each step, and whether they are an example."""

    days: Mapping[str, int]
    example: bool


@dataclass(frozen=True)
class Made:
    """What making the places found: new ones, changed ones, listed names without an institution."""

    made: int
    changed: int
    missing: tuple[str, ...]


def lengths_of(region: Region, on: dt.date) -> Lengths | None:
    """The durations that the region plans with on a day; None when nobody fixed them."""
    row = clocks.parameter_row(region, STEP_DAYS, on)
    if row is None or not isinstance(row.value, Mapping):
        return None
    return Lengths(row.value, row.example)


# --- Places ---


@transaction.atomic
def make_places(*, who: User, on: dt.date, by: str, at: dt.datetime) -> Made:
    """A place for every listed hospital that is registered, by name or alias, each with a plan.

    Done again it takes over what the notice in force says now; plans that exist stay.
    """
    region = who.region
    if region is None or region.level != PROVINCE or not who.may(PLAN):
        raise _refusal(403, "NOT_REGION", "分批名单由自治区（省级）医保部门建立")
    waves = read_waves(region, on)
    flow = Flow.read(clocks.law_of(region, on))
    known = {
        place.institution_id: place
        for place in WavePlace.objects.select_for_update(of=("self",)).filter(
            policy_region=region.policy_region
        )
    }
    listed = _registered(region, waves)
    made = changed = 0
    calendars: Calendars = {}
    for institution in listed.values():
        place = known.get(institution.pk)
        made += place is None
        changed += place is not None and _differs(place, waves, institution)
        _place(institution, place, waves, flow, calendars, on=on, by=by, at=at)
    for code in known.keys() - {row.pk for row in listed.values()}:
        changed += _off_the_list(known[code], by=by, at=at)
    missing = tuple(name for name in _names(waves) if name not in listed)
    trail.record(
        by=by, at=at, action="waves.make", subject=f"waves:{region.policy_region}",
        region_code=region.pk, detail={"made": made, "changed": changed, "missing": list(missing)},
    )  # fmt: skip
    return Made(made, changed, missing)


def _names(waves: Waves) -> list[str]:
    return [hospital.name for wave in waves.batches for hospital in wave.hospitals]


def _registered(region: Region, waves: Waves) -> dict[str, Institution]:
    """Listed name → the registered medical institution of the policy's area."""
    rows = Institution.objects.filter(
        region__policy_region=region.policy_region, kind=Institution.Kind.MEDICAL, parent=None
    )
    found: dict[str, Institution] = {}
    for row in rows.select_related("region").order_by("code"):
        if match := listed_as(waves, row):
            found.setdefault(match[1], row)
    return found


def _differs(place: WavePlace, waves: Waves, institution: Institution) -> bool:
    wave, name = _listing(waves, institution)
    now = (place.batch, place.deadline, place.listed_name)
    return now != (wave.number, wave.deadline, name)


def _listing(waves: Waves, institution: Institution) -> tuple[Any, str]:
    found = listed_as(waves, institution)
    if found is None:
        raise LookupError(institution.name)
    return found


def _place(
    institution: Institution, place: WavePlace | None, waves: Waves, flow: Flow,
    calendars: Calendars, *, on: dt.date, by: str, at: dt.datetime,
) -> None:  # fmt: skip
    wave, name = _listing(waves, institution)
    moved = place is not None and place.deadline != wave.deadline
    place = place or WavePlace(
        institution=institution, policy_region=institution.region.policy_region, recorded_at=at,
        recorded_by=by,
    )  # fmt: skip
    place.batch, place.listed_name, place.deadline = wave.number, name, wave.deadline
    if not place.plan:
        _draw(place, flow, calendars, major=False, on=on, by=by, at=at)
    place.save()
    if moved:
        _wind_again(place, at=at)


def _off_the_list(place: WavePlace, *, by: str, at: dt.datetime) -> bool:
    """A hospital that the notice lists no more keeps its place without a batch and a deadline."""
    if place.batch is None:
        return False
    place.batch = place.deadline = None
    place.save(update_fields=["batch", "deadline"])
    _wind_again(place, at=at)
    _event(place, "off_the_list", by=by, at=at, detail={})
    return True


def _wind_again(place: WavePlace, *, at: dt.datetime) -> None:
    """The clock of a running application follows the batch's new last day."""
    rows = Application.objects.running().filter(institution=place.institution_id)
    for case in rows.select_for_update(of=("self",)):
        refresh(case=case, procedure=PROCEDURES[case.procedure], handbook=HANDBOOK, at=at)


# --- Plans ---


def may_plan(place: WavePlace, who: User, law: Mapping[str, Any], waves: Waves) -> bool:
    """Whether somebody plans for a hospital: the region for its own three, else the territory. (三)"""
    if not who.may(PLAN) or not Institution.objects.visible_to(who).filter(
        pk=place.institution_id
    ).exists():  # fmt: skip
        return False
    return who.level in planners(place, law, waves)


def planners(place: WavePlace, law: Mapping[str, Any], waves: Waves) -> tuple[str, ...]:
    """The levels of bureaus that plan for a hospital."""
    if waves.find(place.listed_name) and waves.promoter_of(place.listed_name).level == "region":
        return (LEVELS["region"],)
    return tuple(LEVELS[level] for level in law["waves"]["work_plan"]["drawn_up_by"])


@transaction.atomic
def draw_plan(
    *, place: WavePlace, major: bool, who: User, on: dt.date, version: int, by: str, at: dt.datetime
) -> WavePlace:
    """Count the plan back from the deadline anew; `major`: with the steps of 门诊大病."""
    found, flow = _planned(place, who, on, version)
    if found.deadline is None:
        raise _refusal(409, "NO_DEADLINE", "名单外的医院没有批次时限，请逐步填写计划")
    if lengths_of(found.institution.region, on) is None:
        raise _refusal(409, "NO_LENGTHS", "没有登记倒排工期各步骤的工作日数，请逐步填写计划")
    if missing := _draw(found, flow, {}, major=major, on=on, by=by, at=at):
        raise _refusal(409, "CALENDAR_MISSING", f"缺少{missing}年工作日历，不能倒排工期")
    found.save()
    _event(found, "plan", by=by, at=at, detail={"plan": found.plan, "drawn": True})
    return found


@transaction.atomic
def change_plan(
    *, place: WavePlace, spans: Spans, reason: str, who: User, on: dt.date, version: int, by: str,
    at: dt.datetime,
) -> WavePlace:  # fmt: skip
    """Write a plan by hand. Every fault is told at its field (`qualification.end`, `reason`)."""
    found, flow = _planned(place, who, on, version)
    faults = list(_faults(found, flow, spans, reason.strip()))
    if faults:
        raise Refusal(422, "PLAN_INVALID", ("计划有误，请按提示修改", "the plan has faults"),
                      tuple(faults))  # fmt: skip
    plan = {key: {"start": start, "end": end} for key, (start, end) in spans.items()}
    found.plan = {
        key: {"start": span["start"].isoformat(), "end": span["end"].isoformat()}
        for key, span in plan.items()
    }
    found.plan_example, found.plan_reason = False, reason.strip()
    _stamp(found, by=by, at=at)
    found.save()
    _event(found, "plan", by=by, at=at, detail={"plan": found.plan, "reason": found.plan_reason})
    return found


def _planned(place: WavePlace, who: User, on: dt.date, version: int) -> tuple[WavePlace, Flow]:
    """The place, locked, and its flow; refused for other people and for what moved meanwhile."""
    rows = WavePlace.objects.select_for_update(of=("self",))
    found = rows.select_related("institution__region").get(pk=place.pk)
    region = found.institution.region
    law, waves = clocks.law_of(region, on), read_waves(region, on)
    if not may_plan(found, who, law, waves):
        rule = law["waves"]["work_plan"]
        raise _refusal(
            403, "NOT_PLANNER", "该医院的工作计划由负责推进的医保部门编制，您不能修改",
            clause=f"{law['document']} {rule['clause']}",
        )  # fmt: skip
    if found.plan_version != version:
        raise _refusal(
            409, "PLAN_MOVED", f"{found.planned_by}已修改该计划，请刷新后再改；您的修改没有保存"
        )
    return found, Flow.read(law)


def _faults(place: WavePlace, flow: Flow, spans: Spans, reason: str) -> Any:
    """What is wrong with spans: steps missing, ends before starts, order, the deadline without reason."""
    major = any(step.when and step.key in spans for step in flow.steps)
    steps = flow.applying(applies_major_disease=major)
    by_number = {step.number: step for step in flow.steps}
    for step in steps:
        if step.key not in spans:
            yield _fault(
                f"{step.key}.end", "SPAN_MISSING", f"请填写“{step.name}”的计划", step.clause
            )
            continue
        start, end = spans[step.key]
        if end < start:
            yield _fault(f"{step.key}.end", "SPAN_REVERSED", "完成日不能早于开始日", step.clause)
        for need in step.needs:
            before = by_number[need]
            if before.key in spans and start < spans[before.key][1]:
                yield _fault(
                    f"{step.key}.start", "SPAN_ORDER",
                    f"不能早于“{before.name}”的计划完成日（{spans[before.key][1]}）", step.clause,
                )  # fmt: skip
    last = max((end for _, end in spans.values()), default=None)
    if place.deadline and last and last > place.deadline and not reason:
        yield _fault("reason", "REASON_MISSING",
                     f"计划完成日{last}晚于批次时限{place.deadline}，请写明理由", "附件1")  # fmt: skip


def _draw(
    place: WavePlace,
    flow: Flow,
    calendars: Calendars,
    *,
    major: bool,
    on: dt.date,
    by: str,
    at: dt.datetime,
) -> int | None:
    """Fill in the plan counted back; the year whose calendar is missing leaves it empty."""
    region = place.institution.region
    lengths = lengths_of(region, on)
    if lengths is None or place.deadline is None:
        return None
    if region.pk not in calendars:
        calendars[region.pk] = load_calendar(region.pk)
    try:
        slots = flow.schedule(
            deadline=place.deadline, working_days=lengths.days,
            calendar=calendars[region.pk], applies_major_disease=major,
        )  # fmt: skip
    except MissingYear as missing:
        return missing.year
    place.plan = {
        slot.step.key: {
            "start": slot.latest_start.isoformat(), "end": slot.latest_end.isoformat()
        }
        for slot in slots
    }  # fmt: skip
    place.plan_example, place.plan_reason = lengths.example, ""
    _stamp(place, by=by, at=at)
    return None


def _stamp(place: WavePlace, *, by: str, at: dt.datetime) -> None:
    place.plan_version += 1
    place.planned_by, place.planned_at = by, at


def _event(place: WavePlace, action: str, *, by: str, at: dt.datetime, detail: dict) -> None:
    trail.record(
        by=by, at=at, action=f"waveplace.{action}", subject=f"waveplace:{place.pk}",
        region_code=place.institution.region_id, institution_code=place.institution_id,
        detail=detail,
    )  # fmt: skip


def _fault(field: str, code: str, chinese: str, clause: str) -> Fault:
    return Fault(f"/{field}", code, (chinese, code.replace("_", " ").lower()), clause)


def _refusal(status: int, code: str, chinese: str, *, clause: str = "") -> Refusal:
    detail = (chinese, code.replace("_", " ").lower())
    return Refusal(status, code, detail, (Fault("/", code, detail, clause),) if clause else ())
