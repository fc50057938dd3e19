"""The region's terms of paying institutions: ratios, days and tiers, each with its clause.

No document prints the deposit's share, the set-off's share, the days for confirming a statement, how a
surplus or an overrun is shared, or when a budget's use is a warning; 温医保办〔2021〕6号 十八、二十一、二十四
say that there are such things. They are parameters; an example one stamps every paper that used it.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from audit.procedure import Due
from institutions.calendar import MissingYear
from institutions.holidays import load_calendar
from pricing.releases import current

DEPOSIT = "quality_deposit_ratio"
SET_OFF = "advance_set_off_ratio"
CONFIRMATION = "statement_confirmation_working_days"
DEPOSIT_RETURN = "deposit_return_by_score"
SHARING = "budget_sharing"
WATCH = "budget_watch_ratios"
ADJUSTMENT_CLASSES, ADJUSTMENT_LIMITS = "adjustment_classes", "adjustment_limits"
OUTAGE_CLOCK = "outage_upload_working_days"
#: fee reviews (supervision): clocks, what one person may decide, standard wordings
REVIEW_CLOCK, REVIEW_OBJECTION = "review_working_days", "review_objection_working_days"
REVIEW_SUPPLEMENT, REVIEW_SECOND = "review_supplement_working_days", "review_second_amount"
REVIEW_WORDINGS = "review_wordings"
KEYS = (DEPOSIT, SET_OFF, CONFIRMATION, DEPOSIT_RETURN, SHARING, WATCH, ADJUSTMENT_CLASSES,
        ADJUSTMENT_LIMITS, OUTAGE_CLOCK, REVIEW_CLOCK, REVIEW_OBJECTION, REVIEW_SUPPLEMENT,
        REVIEW_SECOND, REVIEW_WORDINGS)  # fmt: skip
WHOLE = 10_000  #: ratios are per ten thousand


@dataclass(frozen=True)
class Term:
    """One parameter: its value, where it comes from, and whether it is an example (示例)."""

    value: Any
    label: str
    clause: str
    document: str
    text: str
    example: bool

    @property
    def reference(self) -> dict[str, str]:
        """As the clause component shows it."""
        return {"document": self.document, "clause": self.clause, "text": self.text}


Terms = Mapping[str, Term]


def terms_of(pool: str, day: dt.date) -> dict[str, Term]:
    """The terms of a pooling region in force on a day; a key that nobody fixed is absent."""
    catalogue = current()
    law = catalogue.policy(pool, day)
    found: dict[str, Term] = {}
    for release in catalogue.parameters:
        if release.policy.region != pool or not release.covers(day):
            continue
        for row in release.policy.section("rows", ()):
            example = row["source_kind"] == "example"
            in_force = row["from"] <= day and (row.get("until") is None or day <= row["until"])
            if row["key"] in KEYS and in_force and (settings.EXAMPLE_PARAMETERS or not example):
                found[row["key"]] = Term(
                    row["value"], row["label"], row["clause"],
                    law.policy.document if law else release.policy.document,
                    law.policy.clause_text(row["clause"]) if law else "", example,
                )  # fmt: skip
    return found


def cite(pool: str, day: dt.date, clause: str) -> dict[str, str] | None:
    """A clause of the region's document, if the document has it."""
    law = current().policy(pool, day)
    text = law.policy.clause_text(clause) if law else ""
    return (
        {"document": law.policy.document, "clause": clause, "text": text} if law and text else None
    )


def ratio(terms: Terms, key: str) -> int:
    """A ratio per ten thousand; 0 when the region has none."""
    term = terms.get(key)
    return int(term.value) if term else 0


def working_days_due(pool: str, region_code: str, key: str, start: dt.date) -> Due:
    """The last of the working days that a term gives; no day without it or without a calendar."""
    term = terms_of(pool, start).get(key)
    if term is None:
        return Due(None)
    clause = f"{term.document} {term.clause}"
    try:
        day = load_calendar(region_code).add_working_days(start, int(term.value))
    except MissingYear as missing:
        return Due(None, clause=clause, unknown=missing.year)
    return Due(day, day, clause)


def half_up(amount: int, per_ten_thousand: int) -> int:
    """A share of an amount that is not negative, rounded half up to the fen."""
    return (2 * amount * per_ten_thousand + WHOLE) // (2 * WHOLE)
