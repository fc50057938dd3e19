"""What the pages of fee reviews share: names, tones, how a deadline and a recovery are told."""

from collections.abc import Sequence
from typing import Any

from django.urls import reverse

from audit import clock
from institutions.holidays import load_calendars
from institutions.inbox import days_left
from institutions.models import Institution
from pricing.rules import REVIEWED, VOCABULARY
from supervision import review_steps
from supervision.models import Review

CRUMBS = [{"label": "工作台", "url": "/"}]
HERE = {"label": "费用审核", "url": "/reviews/"}
BIGGEST_ID = 2**63 - 1
PAGE = 20
STATES = review_steps.PROCEDURE.states
SEVERITY_TONES = {1: "info", 2: "warn", 3: "bad"}
VERDICT_TONES = {"pass": "ok", "cut": "warn", "hold": "wait", "refuse": "bad", "self_paid": "warn"}
MESSAGES = {rule.code: rule.message for rule in VOCABULARY.values()} | REVIEWED


def left_of(rows: Sequence[Review]) -> dict[int, int | None]:
    """Working days left of each review; None without a deadline."""
    calendars = load_calendars({row.region_code for row in rows if row.due})
    today = clock.today()
    return {
        row.pk: days_left(calendars[row.region_code], today, row.due) if row.due else None
        for row in rows
    }


def due_text(row: Review, left: int | None) -> str:
    """How many working days are left."""
    if row.due is None or row.closed_at:
        return "—"
    if left is None:
        return str(row.due)
    return f"逾期 {-left} 个工作日" if left < 0 else f"剩 {left} 个工作日"


def places_of(rows: Sequence[Review]) -> dict[str, str]:
    """The names of the institutions of reviews."""
    codes = {row.institution_code for row in rows}
    return dict(Institution.objects.filter(pk__in=codes).values_list("pk", "name"))


def recovery(found: dict[str, Any] | None) -> dict[str, str] | None:
    """Where what is taken back stands."""
    if found is None:
        return None
    words_ = {"waiting": "待下一张结算单扣回", "listed": "已列入结算单，待确认", "final": "已扣回",
              "withdrawn": "已撤销"}  # fmt: skip
    statement = found["statement"]
    return {"text": words_[found["state"]], "tone": "ok" if found["state"] == "final" else "wait",
            "number": statement.number if statement else "",
            "url": reverse("statement", args=[statement.pk]) if statement else ""}  # fmt: skip
