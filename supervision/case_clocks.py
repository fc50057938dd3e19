"""Until when a party may speak or ask for a hearing, and a decision is carried out.

No document prints these times: they are the region's parameters, counted in its working days from the
day after the notice was served; without a parameter there is no deadline. (国务院令第735号 第31、45条)
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agreements import deadlines
from agreements.clocks import parameter_row
from audit.procedure import PROCEDURES, Due, Pauses, State
from institutions.calendar import MissingYear
from institutions.holidays import load_calendar
from institutions.models import Region
from supervision.models import SupervisionCase
from supervision.writs import AGREEMENT, table_of

NOTHING = Due(None)


@dataclass(frozen=True)
class Allowed:
    """A time with its source: `source` names the parameter and its clause, `example` says 示例."""

    days: int
    due: Due
    source: str
    example: bool


def allowed(
    case: SupervisionCase, key: str, *, start: dt.date, on: dt.date, pauses: Pauses = ()
) -> Allowed | None:
    """The time `key` from `start` by the parameter of the day `on`; None when nobody fixed one."""
    rule = table_of(case).data["clocks"].get(key)
    if rule is None:
        return None
    row = parameter_row(Region.objects.get(pk=case.region_code), rule["parameter"], on)
    if row is None or not isinstance(row.value, int):
        return None
    length = {key: {"working_days": row.value, "clause": rule["clause"]}}
    try:
        found = deadlines.clock(step=key, start=start, pauses=pauses, procedures=length,
                                calendar=load_calendar(case.region_code))  # fmt: skip
        due = Due(found.day, nominal=found.nominal if found.day else None, clause=found.clause)
    except MissingYear as gap:
        due = Due(None, clause=rule["clause"], unknown=gap.year)
    source = f"{row.label} {row.clause}".strip()
    return Allowed(row.value, due, source, row.example)


def due(case: SupervisionCase, state: State, start: dt.date, pauses: Pauses) -> Due:
    """The last day of a state by the region's parameter; without one there is no deadline."""
    key = state.within or state.stops
    found = allowed(case, key, start=start, on=case.entered_on, pauses=pauses)
    if found is None:
        return Due(None, clause=table_of(case).data["clocks"][key]["clause"])
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
    clause = found.due.clause
    if key == "statement" and case.route == case.Route.AGREEMENT:  # whoever inquired into it
        clause = PROCEDURES[AGREEMENT].data["clocks"][key]["clause"]
    return {"days": found.days, "last": str(found.due.day or ""), "unknown": found.due.unknown,
            "clause": f"{table_of(case).document} {clause}", "source": found.source,
            "example": found.example}  # fmt: skip
