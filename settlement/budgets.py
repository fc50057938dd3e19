"""总额预算 (温医保办〔2021〕6号 十八): the indicator, its history, its use and where the year will end.

Online volume counts inside the physical institution's budget: an internet hospital registered apart
(Institution.parent) is added to its parent. Use is what the pooled fund pays by service month, reversals
and what reviews cut taken off; persons whose own region pays (异地) use nothing of it. The forecast goes on
at the daily pace since the first month with use.
"""

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from django.db import connection, transaction
from django.db.models import Sum
from django.urls import reverse

from audit import clock, tasks, trail
from institutions.access import scoped
from institutions.models import Institution, Region, Scope
from institutions.refusals import refused
from settlement.models import BudgetEntry, Scheme
from settlement.terms import WATCH, WHOLE, Term, terms_of

CLAUSE = "十八"
Key = tuple[str, str]  #: physical institution and scheme


@dataclass
class Budget:
    """One indicator and its use (fen): `months` holds what was used in January … December."""

    institution: str
    scheme: str
    year: int
    indicator: int = 0
    months: list[int] = field(default_factory=lambda: [0] * 12)

    @property
    def used(self) -> int:
        return sum(self.months)

    @property
    def share(self) -> int | None:
        """Used of the indicator, per ten thousand, half up; None without an indicator."""
        if self.indicator <= 0:
            return None
        return (2 * max(self.used, 0) * WHOLE + self.indicator) // (2 * self.indicator)

    def forecast(self, on: dt.date) -> int:
        """Where the year ends at the daily pace since the first month with use, half up.

        The year's own figure once it is over; before the first use 0.
        """
        last = dt.date(self.year, 12, 31)
        first = next((n for n, amount in enumerate(self.months, start=1) if amount), 0)
        if on >= last or not first:
            return self.used
        begin = dt.date(self.year, first, 1)
        elapsed = max((on - begin).days + 1, 1)
        days = (last - begin).days + 1
        return max((2 * self.used * days + elapsed) // (2 * elapsed), self.used)

    def running(self, on: dt.date) -> list[int]:
        """Use added up month by month, until the month of `on`."""
        until = 12 if on.year > self.year else on.month if on.year == self.year else 0
        sums, total = [], 0
        for amount in self.months[:until]:
            total += amount
            sums.append(total)
        return sums


# --- The indicator ---


@transaction.atomic
def propose(
    *, institution: Institution, scheme: str, year: int, amount: int, reason: str, document: str,
    by: str, at: dt.datetime,
) -> BudgetEntry:  # fmt: skip
    """Set the indicator of a year, or change an approved one by `amount` (fen, may be below zero).

    Refused: 422 an internet hospital (its parent has the budget), no reason or document, an indicator
    that would not stay above zero; 409 a line of it still waits for the second person.
    """
    _sound(institution, scheme, reason, document)
    Institution.objects.select_for_update(no_key=True).get(pk=institution.pk)
    rows = BudgetEntry.objects.filter(institution_code=institution.pk, scheme=scheme, year=year)
    if rows.filter(state=BudgetEntry.State.PROPOSED).exists():
        raise refused("state", "BUDGET_WAITS", "该指标有一笔变动待复核", "a line waits", status=409)
    now = rows.filter(state=BudgetEntry.State.APPROVED).aggregate(sum=Sum("amount"))["sum"] or 0
    if amount == 0 or now + amount <= 0:
        raise refused("amount", "BUDGET_NOT_POSITIVE", "指标应大于0，调整额不能为0",
                      "the indicator must stay above zero", clause=CLAUSE)  # fmt: skip
    row = BudgetEntry.objects.create(
        region_code=institution.region_id, institution_code=institution.pk, scheme=scheme,
        year=year, amount=amount, reason=reason.strip()[:200], document=document.strip()[:120],
        kind=BudgetEntry.Kind.ADJUSTMENT if now else BudgetEntry.Kind.INITIAL,
        proposed_at=at, proposed_by=by,
    )  # fmt: skip
    tasks.open_task(
        subject=f"budgetentry:{row.pk}", permission="budgets.set", at=at,
        title=f"{institution.name}{year}年{row.get_scheme_display()}总额预算{row.get_kind_display()}待复核",
        region_code=row.region_code, institution_code=row.institution_code,
        url=reverse("budget", args=[institution.pk, year]), status=row.get_state_display(),
    )  # fmt: skip
    _record(row, "budget.propose", by=by, at=at)
    return row


@transaction.atomic
def decide(
    *, entry: BudgetEntry, agree: bool, decision: str, by: str, at: dt.datetime
) -> BudgetEntry:
    """Another person puts a line into force or refuses it; refused lines stay in the history."""
    row = BudgetEntry.objects.select_for_update().get(pk=entry.pk)
    if row.proposed_by == by:
        raise refused("by", "SAME_PERSON", "提出人不能复核自己的指标变动", "another person decides",
                      status=403)  # fmt: skip
    if row.state != BudgetEntry.State.PROPOSED:
        raise refused("state", "ALREADY_DECIDED", "该变动已办结", "decided before", status=409)
    row.state = BudgetEntry.State.APPROVED if agree else BudgetEntry.State.REFUSED
    row.decided_at, row.decided_by, row.decision = at, by, decision.strip()[:200]
    row.save()
    tasks.close(subject=f"budgetentry:{row.pk}", by=by, at=at)
    _record(row, "budget.approve" if agree else "budget.refuse", by=by, at=at)
    return row


# --- Its use ---

#: Services of a year lie in no month before it: the posting is after the service. The fund's part of what
#: final statements deduct is taken off in the month of the claim, never more than it pays for it now.
USE = """SELECT coalesce(i.parent_id, i.code), u.scheme, u.month, sum(u.amount)::bigint FROM (
    SELECT s.institution_code, s.scheme, extract(month FROM s.service_date)::int AS month,
        sum(s.fund) AS amount
    FROM settlement_settlement s
    WHERE s.year = %(year)s AND s.period >= make_date(%(year)s, 1, 1) AND s.insured_pool = ''
        AND s.institution_code = ANY(%(codes)s)
    GROUP BY 1, 2, 3
    UNION ALL
    SELECT d.institution_code, d.scheme, paid.month, -least(d.taken, paid.fund) FROM (
        SELECT d.institution_code, d.scheme, d.claim_id,
            sum(d.amount - d.major - d.assistance - d.account) AS taken
        FROM settlement_deduction d JOIN settlement_statement t ON t.id = d.statement_id
        WHERE d.state <> 'withdrawn' AND t.finalised_at IS NOT NULL
            AND d.institution_code = ANY(%(codes)s)
        GROUP BY 1, 2, 3) d
    CROSS JOIN LATERAL (
        SELECT extract(month FROM s.service_date)::int AS month, greatest(sum(s.fund), 0) AS fund
        FROM settlement_settlement s
        WHERE s.claim_id = d.claim_id AND s.scheme = d.scheme AND s.year = %(year)s
            AND s.insured_pool = '' GROUP BY 1) paid
) u JOIN institutions_institution i ON i.code = u.institution_code
GROUP BY 1, 2, 3"""


def budgets(
    year: int, institutions: Iterable[Institution], *, on: dt.date | None = None
) -> list[Budget]:
    """Indicators and use of physical institutions, by institution and scheme; one query each.

    Rows are as far as the caller's scope lets them be seen; `group_scope` widens an institution's own.
    """
    codes = [row.pk for row in institutions]
    found: dict[Key, Budget] = {}
    for code, scheme, amount in (
        BudgetEntry.objects.filter(
            institution_code__in=codes, year=year, state=BudgetEntry.State.APPROVED
        )
        .values_list("institution_code", "scheme")
        .annotate(sum=Sum("amount"))
        .order_by("institution_code", "scheme")
    ):
        found[code, scheme] = Budget(code, scheme, year, amount)
    group = [*codes, *Institution.objects.filter(parent__in=codes).values_list("pk", flat=True)]
    with connection.cursor() as cursor:
        cursor.execute(USE, {"year": year, "codes": group})
        for code, scheme, month, amount in cursor.fetchall():
            row = found.setdefault((code, scheme), Budget(code, scheme, year))
            row.months[month - 1] += amount
    return [found[key] for key in sorted(found)]


@contextmanager
def group_scope(user: Any) -> Iterator[None]:
    """An institution sees the use of its own internet hospital while its budget is read."""
    if not user.institution_id:
        yield
        return
    own = user.scope_codes()
    children = Institution.objects.filter(parent=user.institution_id).values_list("pk", flat=True)
    with scoped(Scope(institutions=(*own.institutions, *children))):
        yield


def physical(institutions: Iterable[Institution]) -> list[Institution]:
    """The institutions that have a budget of their own: no internet hospital of another."""
    return [row for row in institutions if row.parent_id is None]


# --- Warnings ---


def watch(*, pool: str, year: int, by: str, at: dt.datetime) -> int:
    """A task for each budget over a line that the region has fixed; closed when it is below again."""
    today = clock.local(at).date()
    term = terms_of(pool, min(today, dt.date(year, 12, 31))).get(WATCH)
    if term is None:
        return 0
    places = {row.pk: row for row in Institution.objects.filter(region__policy_region=pool)}
    count = 0
    for row in budgets(year, physical(places.values())):
        subject = f"budget:{row.institution}:{row.scheme}:{year}"
        line = line_reached(row, term)
        if line is None:
            tasks.close(subject=subject, by=by, at=at)
            continue
        place = places[row.institution]
        tasks.open_task(
            subject=subject, permission="budgets.set", at=at,
            title=f"{place.name}{year}年{Scheme(row.scheme).label}总额预算"
                  f"已用{percent(row.share or 0)}，达到{percent(line)}预警线",
            region_code=place.region_id, institution_code=place.pk,
            url=reverse("budget", args=[place.pk, year]),
            status=f"预警线{percent(line)}{'（示例）' if term.example else ''}",
            clause=f"{term.document} {term.clause}",
        )  # fmt: skip
        count += 1
    return count


def watch_all(*, year: int, by: str, at: dt.datetime) -> int:
    """`watch` for every pooling region."""
    pools = Region.objects.exclude(policy_region="").values_list("policy_region", flat=True)
    return sum(watch(pool=pool, year=year, by=by, at=at) for pool in sorted(set(pools)))


def line_reached(row: Budget, term: Term | None) -> int | None:
    """The highest warning line that a budget's use has reached."""
    share = row.share
    if term is None or share is None:
        return None
    return max((line for line in term.value if share >= line), default=None)


def percent(ratio: int) -> str:
    """Per ten thousand as a percentage: 9550 → 95.5%."""
    return f"{ratio / 100:g}%"


def months_of(year: int) -> Sequence[str]:
    """The labels of a year's months."""
    return [f"{month}月" for month in range(1, 13)]


def _sound(institution: Institution, scheme: str, reason: str, document: str) -> None:
    if institution.parent_id is not None:
        raise refused("institution", "BUDGET_OF_PARENT", "互联网医院的费用并入实体医疗机构的总额预算",
                      "online volume counts inside the parent's budget", clause=CLAUSE)  # fmt: skip
    if scheme not in Scheme.values:
        raise refused("scheme", "SCHEME_UNKNOWN", "没有此险种", "no such scheme")
    for name, value, label in (("reason", reason, "理由"), ("document", document, "依据文件")):
        if not value.strip():
            raise refused(name, "REASON_MISSING", f"请填写{label}", f"{name} is needed")


def _record(row: BudgetEntry, action: str, *, by: str, at: dt.datetime) -> None:
    detail: Mapping[str, Any] = {
        "scheme": row.scheme, "year": row.year, "kind": row.kind, "amount": row.amount,
        "reason": row.reason, "document": row.document, "decision": row.decision,
    }  # fmt: skip
    trail.record(
        by=by, at=at, action=action, subject=f"budget:{row.institution_code}:{row.year}",
        region_code=row.region_code, institution_code=row.institution_code, detail=dict(detail),
    )  # fmt: skip
