"""Until when a party may speak or ask for a hearing, and a decision is carried out.

The days in which a hearing is asked for before a penalty are printed by 行政处罚法 (law/remedies.yaml). The
other times no document prints: they are the region's parameters; without one there is no deadline. All are
counted in working days from the day after the notice was served. (国务院令第735号 第13、31、45条)
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agreements import deadlines
from agreements.clocks import parameter_row
from audit.procedure import Due, Pauses, State
from institutions.calendar import MissingYear
from institutions.holidays import load_calendar
from institutions.models import Region
from supervision import law
from supervision.models import SupervisionCase
from supervision.writs import table_of

NOTHING = Due(None)
UNPRINTED = "所依据的文件未印听证的规定"


@dataclass(frozen=True)
class Allowed:
    """A time with its source: `source` names the parameter and its clause, empty where the law itself
    prints the days; `example` says 示例."""

    days: int
    due: Due
    source: str
    example: bool


def allowed(
    case: SupervisionCase, key: str, *, start: dt.date, on: dt.date, pauses: Pauses = ()
) -> Allowed | None:
    """The time `key` from `start` by the law or the parameter of the day `on`; None when nobody fixed one."""
    days, source, example = _length(case, key, on)
    if not days:
        return None
    clause = clause_of(case, key, on)
    length = {key: {"working_days": days, "clause": clause}}
    try:
        found = deadlines.clock(step=key, start=start, pauses=pauses, procedures=length,
                                calendar=load_calendar(case.region_code))  # fmt: skip
        due = Due(found.day, nominal=found.nominal if found.day else None, clause=found.clause)
    except MissingYear as gap:
        due = Due(None, clause=clause, unknown=gap.year)
    return Allowed(days, due, source, example)


def _length(case: SupervisionCase, key: str, on: dt.date) -> tuple[int, str, bool]:
    """How many days, by which parameter (empty: the law prints them), whether that is an example."""
    right = _hearing(case, on) if key == "hearing" else None
    if right is not None:
        return right.working_days, "", False
    rule = table_of(case).data["clocks"].get(key)
    if rule is None:
        return 0, "", False
    row = parameter_row(Region.objects.get(pk=case.region_code), rule["parameter"], on)
    if row is None or not isinstance(row.value, int):
        return 0, "", False
    return row.value, f"{row.label} {row.clause}".strip(), row.example


def _hearing(case: SupervisionCase, on: dt.date) -> law.Remedy | None:
    """The hearing that the law gives before a penalty; the other routes have none by law."""
    return law.remedy("hearing", on) if case.route == case.Route.PENALTY else None


def clause_of(case: SupervisionCase, key: str, on: dt.date) -> str:
    """The article that gives a right, by the route of the case; what no document prints says so."""
    if key == "hearing":
        right = _hearing(case, on)
        return right.cited if right is not None else UNPRINTED
    rule = table_of(case).data["clocks"][key]
    return str(rule.get(case.route) or rule["clause"])


def due(case: SupervisionCase, state: State, start: dt.date, pauses: Pauses) -> Due:
    """The last day of a state by the region's parameter; without one there is no deadline."""
    key = state.within or state.stops
    found = allowed(case, key, start=start, on=case.entered_on, pauses=pauses)
    if found is None:
        return Due(None, clause=clause_of(case, key, case.entered_on))
    return found.due


def time_is_example(case: SupervisionCase) -> bool:
    """Whether the clock of the present state runs by an example parameter (示例)."""
    key = table_of(case).states[case.state].within
    found = allowed(case, key, start=case.entered_on, on=case.entered_on) if key else None
    return found is not None and found.example


def hearing_until(case: SupervisionCase) -> Due:
    """The last day on which a hearing can be asked for, counted from the notice."""
    if case.told_on is None:
        return NOTHING
    found = allowed(case, "hearing", start=case.told_on, on=case.told_on)
    return found.due if found is not None else NOTHING


def on_paper(case: SupervisionCase, key: str, *, served: dt.date) -> Mapping[str, Any]:
    """A time as a notice prints it: how many days, the last of them, by which clause; empty without."""
    found = allowed(case, key, start=served, on=served)
    if found is None:
        return {}
    return {"days": found.days, "last": str(found.due.day or ""), "unknown": found.due.unknown,
            "clause": found.due.clause, "source": found.source,
            "example": found.example}  # fmt: skip
