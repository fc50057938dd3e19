"""Batches of a notice: who is admitted when, which platforms come before docking, how far each one is.

What a hospital has done is read from the moves of its application and the table's `onboarding`
(move → step of the flow), never entered by hand. (宁医保发〔2021〕152号 二、四第2款、附件1、附件2)
"""

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from agreements import clocks
from agreements.facts import CaseError
from agreements.models import Application, WavePlace
from agreements.onboarding import Flow, Wave, Waves, connections_missing
from audit import clock
from audit.models import Move
from audit.procedure import PROCEDURES, Procedure, Refused, Turn
from institutions.holidays import load_calendar
from institutions.models import Institution, Region

DOCKING, LISTING = "start_docking", "listing"
#: how a document calls a level of bureaus → how the portal does
LEVELS = {"county": "county", "prefecture_city": "prefecture", "region": "province"}


def read_waves(region: Region, on: dt.date) -> Waves:
    """The batches of the policy in force in a region; Refused 409 without them."""
    try:
        return Waves.read(clocks.law_of(region, on), calendar=load_calendar(region.pk))
    except CaseError as error:
        raise Refused(409, "NO_WAVES", f"没有生效的分批名单：{error}") from None


def waves_of(turn: Turn) -> Waves:
    """The batches that hold for the case of a step."""
    return read_waves(turn.case.institution.region, turn.on)


def wave_of(waves: Waves, institution: Institution) -> Wave | None:
    """The batch that lists an institution under its name or an alias."""
    found = listed_as(waves, institution)
    return found[0] if found else None


def listed_as(waves: Waves, institution: Institution) -> tuple[Wave, str] | None:
    """The batch and the name under which the document lists an institution."""
    for name in (institution.name, *institution.aliases):
        if found := waves.find(name):
            return found[0], found[1].name
    return None


# --- Admission ---


def admitted(turn: Turn) -> None:
    """Listed hospitals in their batch; others after all of them, or earlier with a reason. (四第2款)

    Who is not listed must meet the condition of being listed, whatever the reason. (二)
    """
    waves, institution = waves_of(turn), turn.case.institution
    if wave_of(waves, institution):
        return
    platforms_joined(turn, LISTING)
    if str(turn.facts.get("override_reason") or "").strip():
        return
    flow = Flow.read(clocks.law_of(institution.region, turn.on))
    if not waves.admits(institution.name, listed_all_done=all_listed_done(waves, flow)):
        raise Refused(
            409, "NOT_ADMITTED", "名单内医院尚未全部完成对接；如须提前办理，请填写理由",
            clause=f"{turn.procedure.document} {waves.law['admission']['clause']}",
            field="override_reason",
        )  # fmt: skip


def all_listed_done(waves: Waves, flow: Flow) -> bool:
    """Whether every listed hospital has gone live: its whole flow is done, optional steps apart."""
    names = {hospital.name for wave in waves.batches for hospital in wave.hospitals}
    places = WavePlace.objects.filter(batch__isnull=False)
    listed = dict(places.values_list("institution_id", "listed_name"))
    reached = progress_of(listed)
    live = {name for code, name in listed.items() if reached[code].live_on(flow)}
    return names <= live


def take_wave_place(turn: Turn) -> None:
    """The institution's place in its batch, with the batch's last day; made once."""
    institution = turn.case.institution
    found = listed_as(waves_of(turn), institution)
    WavePlace.objects.get_or_create(
        institution=institution,
        defaults={
            "policy_region": institution.region.policy_region,
            "batch": found[0].number if found else None,
            "listed_name": found[1] if found else institution.name,
            "deadline": found[0].deadline if found else None,
            "override_reason": str(turn.facts.get("override_reason") or ""),
            "recorded_at": turn.at, "recorded_by": turn.by,
        },
    )  # fmt: skip


# --- Platforms ---


def docking_platforms_joined(turn: Turn) -> None:
    """Supervision and prescription-review platforms are joined, data on- and offline too. (二)"""
    platforms_joined(turn, DOCKING)


def platforms_joined(turn: Turn, action: str) -> None:
    """The platforms that the notice wants for an action are joined, and the agency checked it. (二)"""
    institution = turn.case.institution
    law = clocks.law_of(institution.region, turn.on)
    rows = institution.platforms.known().in_force(on=turn.on)
    checked = {row.platform: row.checked_at is not None for row in rows}
    missing = connections_missing(
        action, {key: True for key, sound in checked.items() if sound}, law=law
    )
    if missing:
        known = {row["key"]: row for row in law["platforms"]}
        groups = {"尚未接入": [key for key in missing if key not in checked],
                  "已登记但未核验": [key for key in missing if key in checked]}  # fmt: skip
        words = [
            f"{word}：{'、'.join(known[key]['name'] for key in keys)}"
            for word, keys in groups.items()
            if keys
        ]
        raise Refused(
            422, "PLATFORM_MISSING", "；".join(words), field="platforms",
            clause=f"{turn.procedure.document} {known[missing[0]]['clause']}",
        )  # fmt: skip


# --- Progress ---


@dataclass(frozen=True)
class Progress:
    """How far an institution is: its last application and the day on which each step was done."""

    application: Application | None = None
    days: Mapping[int, dt.date] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The state of the application."""
        if self.application is None:
            return "尚未申请"
        return PROCEDURES[self.application.procedure].states[self.application.state].label

    def live_on(self, flow: Flow) -> dt.date | None:
        """The day on which the last step that everybody goes through was done; None before."""
        if not flow.complete(set(self.days), applies_major_disease=False):
            return None
        return max(
            self.days[step.number] for step in flow.applying(applies_major_disease=False)
        )  # fmt: skip

    def began(self, number: int, flow: Flow) -> dt.date | None:
        """From when a step could be worked on: its prerequisites done, an application opened."""
        if self.application is None:
            return None
        needs = flow.step(number).needs
        if any(need not in self.days for need in needs):
            return None
        before: Iterable[dt.date] = (self.days[need] for need in needs)
        return max(before, default=opened_on(self.application))


def opened_on(application: Application) -> dt.date:
    """The day on which an application was opened."""
    return clock.local(application.opened_at).date()


def progress_of(codes: Iterable[str]) -> dict[str, Progress]:
    """Institution code → progress, from the last application that goes through a flow. Two queries."""
    tables = {table.slug: table for table in PROCEDURES.values() if "onboarding" in table.data}
    found = {code: Progress() for code in codes}
    rows = Application.objects.filter(institution__in=list(found), procedure__in=tables)
    last = {row.institution_id: row for row in rows.order_by("pk")}
    moves: dict[str, list[Move]] = {row.subject: [] for row in last.values()}
    for move in Move.objects.filter(subject__in=list(moves)).order_by("pk"):
        moves[move.subject].append(move)
    for code, row in last.items():
        found[code] = Progress(row, _days(row, tables[row.procedure], moves[row.subject]))
    return found


def _days(application: Application, table: Procedure, moves: Iterable[Move]) -> dict[int, dt.date]:
    numbers: Mapping[str, int] = table.data["onboarding"]
    done = done_in(table)[application.state]
    return {
        numbers[move.step]: move.on for move in moves if numbers.get(move.step) in done
    }  # fmt: skip


def done_in(table: Procedure) -> dict[str, frozenset[int]]:
    """State → the steps of the flow that are done there, whichever way a case came to it.

    The greatest solution of: done(target) = the meet over every move into it of done(source) with
    the step that the move completes. What a failed test sends back to is therefore not done.
    """
    numbers: Mapping[str, int] = table.data["onboarding"]
    everything = frozenset(numbers.values())
    done = dict.fromkeys(table.states, everything)
    done[table.first.key] = frozenset()
    stable = False
    while not stable:
        before = dict(done)
        for step in table.steps:
            gained: Any = {numbers[step.key]} if step.key in numbers else set()
            for source in step.source:
                done[step.target] &= done[source] | gained
        stable = before == done
    return done
