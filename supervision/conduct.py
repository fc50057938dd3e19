"""内部控制: acts of our own people in the trail that need an explanation (温医保办〔2021〕6号 二十九).

Three things are looked for, each evening, from events only: both sides of a four-eyes pair done from one
place or under one name, many reveals of personal data in a day, and grave acts outside working hours.
Limits are the region's parameter `conduct_limits`; without one nothing is looked for. Who has no region,
as administrators of the portal have none, is watched by the limits of the region where the acts were.
"""

import datetime as dt
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial

from django.db import transaction
from django.db.models import Q
from django.urls import reverse

from agreements.clocks import parameter_row
from audit import clock, tasks, trail
from audit.models import Event
from audit.procedure import PROCEDURES, Procedure, Step
from institutions.calendar import MissingYear
from institutions.holidays import load_calendar
from institutions.models import Region, User
from institutions.refusals import refused
from supervision.models import ConductFlag

VIEW = "conduct.view"
KEY = "conduct_limits"
CLAUSE = "二十九"
Kind, State = ConductFlag.Kind, ConductFlag.State
#: Checks of the procedures that keep persons apart → whose acts the step's person may not have done:
#: `open`: of whoever opened the case, `before`: of whoever held it before under another permission,
#: `all`: of everybody who held it before.
APART: Mapping[str, str] = {
    "another_person": "open before", "another_than_opener": "open", "another_clerk": "before",
    "second_person": "open before", "not_handler": "before", "third_person": "all",
}  # fmt: skip
#: Two-person acts outside the procedures' tables: act of the first → acts of the second.
COMMANDS: Mapping[str, tuple[str, ...]] = {
    "adjustment.collect": ("adjustment.collected", "adjustment.uncollected"),
    "adjustment.propose": ("adjustment.posted",),
    "adjustment.ask_reversal": ("adjustment.reverse",),
    "advance.ask_withdrawal": ("advance.withdraw",),
    "advance.propose": ("advance.approve", "advance.pay"),
    "archive.ask": ("archive.lend",),
    "budget.propose": ("budget.approve",),
    "clearing.propose": ("clearing.approve",),
    "clearing.approve": ("clearing.reverse",),
    "complaint.approve_reward": ("complaint.pay_reward",),
    "complaint.propose_reward": ("complaint.approve_reward",),
    "deduction.make": ("deduction.keep", "deduction.withdraw"),
    "disclosure.propose": ("disclosure.publish",),
    "druglist.draft": ("druglist.publish",),
    "finding.record": ("finding.confirm", "finding.refute"),
    "inspection.plan": ("inspection.approve",),
    "interview.record": ("interview.confirm", "interview.return"),
    "maintenancecontract.record": ("maintenancecontract.void",),
    "networkline.open": ("networkline.void",),
    "outage.report": ("outage.accepted", "outage.refused"),
    "payment.prepare": ("payment.approve",),
    "period.reopening": ("period.reopen", "period.stay_closed"),
    "physician.register": ("physician.check",),
    "platformconnection.add": ("platformconnection.check",),
    "platformconnection.replace": ("platformconnection.check",),
    "qualification.add": ("qualification.check",),
    "qualification.replace": ("qualification.check",),
    "refund.record": ("refund.post",),
    "regionaltransfer.ask_reversal": ("regionaltransfer.reverse",),
    "regionaltransfer.record": ("regionaltransfer.post",),
    "release.draft": ("release.publish",),
    "repair.propose": ("repair.approve",),
    "resettlement.propose": ("resettlement.approved",),
    "restriction.ask_review": ("restriction.review",),
    "restriction.department": ("restriction.lift", "restriction.review"),
    "restriction.online": ("restriction.lift", "restriction.review"),
    "restriction.practitioner": ("restriction.lift",),
    "restriction.terminated": ("restriction.lift",),
    "supervisioncase.recusal": ("supervisioncase.recusal_decided",),
}
REVEALS = ".reveal"
#: Grave acts without a second person: months that close, keys to the portal that administrators give out.
ALONE = frozenset({"period.close", "period.reopen", "apiclient.issue", "apiclient.rotate"})


def _before(procedure: Procedure, step: Step) -> Iterator[Step]:
    """The steps of persons after which a case can come to where a step is taken."""
    known, wanted = set(step.source), list(step.source)
    while wanted:
        state = wanted.pop()
        for one in procedure.steps:
            if one.target == state:
                new = set(one.source) - known
                known |= new
                wanted += new
    for one in procedure.steps:
        own_desk = set(one.source) & set(step.source)
        if not one.automatic and one.target in known and not own_desk:
            yield one


def _firsts(procedure: Procedure, step: Step) -> Iterator[str]:
    """Acts whose persons the checks of a step keep away from it."""
    kept = " ".join(APART[name] for name in step.checks if name in APART).split()
    if "open" in kept:
        yield f"{procedure.subject}.open"
    for one in _before(procedure, step) if {"before", "all"} & set(kept) else ():
        if "all" in kept or one.permission != step.permission:
            yield f"{procedure.subject}.{one.key}"


@cache
def pairs() -> Mapping[str, frozenset[str]]:
    """Act of a second person → acts of a first whom it must not be: of every table and command."""
    found: dict[str, set[str]] = defaultdict(set)
    for procedure in PROCEDURES.values():
        for step in procedure.steps:
            if firsts := set(_firsts(procedure, step)):
                found[f"{procedure.subject}.{step.key}"] |= firsts
    for first, seconds in COMMANDS.items():
        for second in seconds:
            found[second].add(first)
    return {second: frozenset(firsts) for second, firsts in found.items()}


@cache
def grave() -> frozenset[str]:
    """Acts that nobody does at night without a reason: both sides of every pair, and those by themselves."""
    return frozenset(pairs()).union(*pairs().values(), ALONE)


@dataclass(frozen=True)
class Limits:
    """From how many reveals a day on, and between which hours work is done."""

    reveals: int
    first_hour: int
    last_hour: int
    example: bool

    @classmethod
    def of(cls, region: Region, day: dt.date) -> "Limits | None":
        """The limits of a region on a day."""
        row = parameter_row(region, KEY, day)
        if row is None or not isinstance(row.value, Mapping):
            return None
        value = row.value
        return cls(value["reveals"], value["first_hour"], value["last_hour"], row.example)


@dataclass(frozen=True)
class Suspect:
    """One flag before it is stored."""

    kind: str
    actor: str
    message: str
    events: tuple[Event, ...]
    other: str = ""


@dataclass(frozen=True)
class Staff:
    """Our own people by log-in: name, and the region whose limits hold for them.

    Who has no region answers where the acts were: `places` are all regions by code. Acts of more than one
    region, or of the whole portal, are told to `head`, the highest office that watches at all.
    """

    names: Mapping[str, str]
    regions: Mapping[str, Region]
    places: Mapping[str, Region]
    head: Region | None

    @classmethod
    def all(cls, on: dt.date) -> "Staff":
        """Everybody who works for an authority or for the portal, not for an institution."""
        people = list(User.objects.filter(institution__isnull=True).select_related("region"))
        regions = {row.username: row.region for row in people if row.region}
        watching = {row.region for row in people if row.region and row.may(VIEW)}
        return cls(
            {row.username: row.display_name for row in people}, regions,
            Region.objects.in_bulk(), min(watching, key=partial(_rank, on=on), default=None),
        )  # fmt: skip

    def region_of(self, actor: str, events: Sequence[Event]) -> Region | None:
        """Whose limits hold for some acts of a person, and whose office is told."""
        if own := self.regions.get(actor):
            return own
        codes = {event.region_code for event in events}
        return self.places.get(codes.pop(), self.head) if len(codes) == 1 else self.head


def _rank(place: Region, *, on: dt.date) -> tuple[bool, int, str]:
    """Offices with limits first, then by level."""
    return Limits.of(place, on) is None, Region.Level.values.index(place.level), place.code


def watch(*, on: dt.date, by: str, at: dt.datetime) -> int:
    """Look at a day's events; how many new flags were raised. A second look raises none."""
    staff = Staff.all(on)
    events = list(_events(on, staff.names))
    made = 0
    for suspect in (
        *_pairs(events, staff),
        *_reveals(events, staff, on),
        *_late(events, staff, on),
    ):
        if region := staff.region_of(suspect.actor, suspect.events):
            made += _store(suspect, region, on, by, at)
    return made


def _events(on: dt.date, people: Iterable[str]) -> Iterator[Event]:
    start = dt.datetime.combine(on, dt.time(), clock.ZONE)
    rows = Event.objects.filter(at__gte=start, at__lt=start + dt.timedelta(days=1))
    wanted = Q(action__in=grave()) | Q(action__endswith=REVEALS)
    return rows.filter(wanted, actor__in=list(people)).order_by("at").iterator()


def _pairs(events: Sequence[Event], staff: Staff) -> Iterator[Suspect]:
    """Both sides of a pair about one subject, from one address or under one name.

    The second act is of the day, the first of that day or of any before.
    """
    seconds = [event for event in events if event.action in pairs()]
    done = _firsts_done(seconds, staff.names)
    for event in seconds:
        for first in sorted(pairs()[event.action]):
            for before in done.get((first, event.subject), ()):
                if before.at <= event.at and (why := _same(before, event, staff)):
                    yield Suspect(
                        Kind.SELF_DEALING, before.actor,
                        f"“{event.subject}”的经办与复核由两个账号办理，但{why}",
                        (before, event), event.actor,
                    )  # fmt: skip


def _firsts_done(
    seconds: Iterable[Event], people: Iterable[str]
) -> Mapping[tuple[str, str], list[Event]]:
    """(act, subject) → the acts of our people that some second acts follow, found by subject."""
    firsts = {first for event in seconds for first in pairs()[event.action]}
    rows = Event.objects.filter(
        subject__in={event.subject for event in seconds},
        action__in=firsts,
        actor__in=list(people),
    )
    done: dict[tuple[str, str], list[Event]] = defaultdict(list)
    for event in rows.order_by("at").iterator():
        done[event.action, event.subject].append(event)
    return done


def _same(first: Event, second: Event, staff: Staff) -> str:
    """Why two acts look like one person's; '' when they do not."""
    if first.actor == second.actor:
        return ""
    places = {origin_of(first), origin_of(second)}
    if len(places) == 1 and "" not in places:
        return "来自同一网络地址"
    names = {staff.names.get(first.actor, ""), staff.names.get(second.actor, "")}
    return "两个账号登记为同一姓名" if len(names) == 1 and "" not in names else ""


def origin_of(event: Event) -> str:
    """The network address that an event names; '' for acts of tasks."""
    return json.loads(bytes(event.body)).get("origin", "")


def _by_actor(events: Iterable[Event]) -> dict[str, list[Event]]:
    found: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        found[event.actor].append(event)
    return found


def _reveals(events: Iterable[Event], staff: Staff, on: dt.date) -> Iterator[Suspect]:
    rows = (event for event in events if event.action.endswith(REVEALS))
    for actor, found in _by_actor(rows).items():
        region = staff.region_of(actor, found)
        limits = Limits.of(region, on) if region else None
        if limits is not None and len(found) >= limits.reveals:
            yield Suspect(
                Kind.MASS_REVEAL, actor,
                f"当日查看个人信息{len(found)}次，标准为每日不足{limits.reveals}次", tuple(found),
            )  # fmt: skip


def _late(events: Iterable[Event], staff: Staff, on: dt.date) -> Iterator[Suspect]:
    rows = (event for event in events if event.action in grave())
    for actor, found in _by_actor(rows).items():
        region = staff.region_of(actor, found)
        limits = Limits.of(region, on) if region else None
        if region is None or limits is None:
            continue
        rest = _rest_day(region.code, on)
        late = tuple(event for event in found if rest or not _in_hours(event, limits))
        if late:
            when = "休息日" if rest else f"{limits.first_hour}时至{limits.last_hour}时以外"
            yield Suspect(Kind.OFF_HOURS, actor, f"{when}办理重要事项{len(late)}次", late)


def _in_hours(event: Event, limits: Limits) -> bool:
    return limits.first_hour <= clock.local(event.at).hour < limits.last_hour


def _rest_day(region_code: str, on: dt.date) -> bool:
    try:
        return not load_calendar(region_code).is_working_day(on)
    except MissingYear:
        return False


def _store(suspect: Suspect, region: Region, on: dt.date, by: str, at: dt.datetime) -> int:
    named = "\n".join((suspect.kind, suspect.actor, suspect.other, str(on),
                       suspect.message if suspect.kind == Kind.SELF_DEALING else ""))  # fmt: skip
    limits = Limits.of(region, on)
    row, made = ConductFlag.objects.get_or_create(
        key=hashlib.new("sm3", named.encode()).digest(),
        defaults={
            "region_code": region.code, "kind": suspect.kind, "actor": suspect.actor,
            "other": suspect.other, "day": on, "count": len(suspect.events),
            "message": suspect.message[:300], "found_at": at,
            "example": limits is not None and limits.example
            and suspect.kind != Kind.SELF_DEALING,
            "evidence": [str(event.pk) for event in suspect.events[:200]],
        },
    )  # fmt: skip
    if not made:
        return 0
    trail.record(
        by=by, at=at, action="conduct.flag", subject=f"conduct:{row.pk}", region_code=region.code,
        detail={"kind": row.kind, "actor": row.actor, "count": row.count},
    )  # fmt: skip
    tasks.open_task(
        subject=f"conduct:{row.pk}", permission=VIEW, at=at, region_code=region.code,
        title=f"内控核查：{row.get_kind_display()}（{row.actor}，{on}）", procedure="conduct",
        status=row.get_state_display(), clause=CLAUSE, url=reverse("conduct-flag", args=[row.pk]),
    )  # fmt: skip
    return 1


@transaction.atomic
def acknowledge(
    *, flag: ConductFlag, state: str, note: str, who: User, at: dt.datetime
) -> ConductFlag:
    """Somebody who is not concerned says what it was."""
    row = ConductFlag.objects.select_for_update().get(pk=flag.pk)
    if row.state != State.OPEN:
        raise refused("state", "DECIDED_BEFORE", "已核查", "decided before", status=409)
    if who.username in (row.actor, row.other):
        raise refused("by", "SAME_PERSON", "当事人不能核查自己的行为", "another person", status=403)
    if state not in (State.EXPLAINED, State.REFERRED) or not note.strip():
        raise refused("note", "REQUIRED", "请填写核查意见", "say what it was")
    row.state, row.note, row.decided_at, row.decided_by = (
        state,
        note.strip()[:400],
        at,
        who.username,
    )
    row.save()
    tasks.close(subject=f"conduct:{row.pk}", by=who.username, at=at)
    trail.record(
        by=who.username, at=at, action=f"conduct.{state}", subject=f"conduct:{row.pk}",
        region_code=row.region_code, detail={"actor": row.actor, "note": row.note},
    )  # fmt: skip
    return row
