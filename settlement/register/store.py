"""The one write path of entitlements: for one person and for an import of ten thousand.

Two times: a span that changes is superseded at the moment of the change and its remainder recorded
anew, so that the entitlement of a service day as known on a settlement day can always be asked.
"""

import datetime as dt
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import connection, transaction
from django.urls import reverse

from audit import clock, tasks, trail
from audit.models import Event
from settlement import personal_accounts
from settlement.models import Entitlement, InsuredPerson
from settlement.register.timeline import Span, changed, keeping, put

CHUNK = 2000
RECHECK = "corrections.propose"  #: who looks at claims settled before a change that reaches back

FOLLOW = """UPDATE settlement_insuredperson p SET scheme = e.scheme, region_code = e.region_code
    FROM settlement_entitlement e
    WHERE e.person_id = p.id AND e.superseded_at IS NULL AND e.valid_from <= %(on)s
        AND (e.valid_until IS NULL OR e.valid_until >= %(on)s)
        AND (%(ids)s::bigint[] IS NULL OR p.id = ANY (%(ids)s::bigint[]))
        AND (p.scheme, p.region_code) IS DISTINCT FROM (e.scheme, e.region_code)"""
#: Settled and not reversed claims of these persons on days that a change reaches.
TOUCHED = """SELECT p.id, count(*) FROM unnest(%(ids)s::bigint[], %(first)s::date[], %(last)s::date[])
        AS p (id, first, last)
    JOIN settlement_claim c ON c.person_id = p.id AND c.service_date BETWEEN p.first AND p.last
    JOIN LATERAL (SELECT state FROM settlement_settlement s WHERE s.claim_id = c.id
        ORDER BY version DESC LIMIT 1) s ON s.state <> 'reversed'
    GROUP BY 1"""


@dataclass
class Change:
    """What is to be recorded of one person: spans in order, under which act, with what detail.

    `balance` (fen) is what was reported of the personal account; None: nothing was.
    """

    person: InsuredPerson
    spans: Sequence[Span]
    act: str
    detail: Mapping[str, Any] = field(default_factory=dict)
    balance: int | None = None


def spans_of(rows: Iterable[Entitlement]) -> list[Span]:
    """Stored entitlements as spans."""
    return [
        Span(row.valid_from, row.valid_until, row.scheme, row.standing, row.region_code, row.source,
             row.pk, row.assistance)
        for row in rows
    ]  # fmt: skip


def held(persons: Collection[int]) -> dict[int, list[Span]]:
    """What is known now of each person, in order of days; one query."""
    found: dict[int, list[Span]] = defaultdict(list)
    rows = Entitlement.objects.known().filter(person__in=persons).order_by("valid_from")
    for row in rows:
        found[row.person_id] += spans_of([row])
    return found


def locked(persons: Collection[int]) -> dict[int, InsuredPerson]:
    """The persons, locked in sorted order; claims that refer to them go on."""
    rows = InsuredPerson.objects.filter(pk__in=persons).order_by("pk")
    return {row.pk: row for row in rows.select_for_update(no_key=True)}


@transaction.atomic
def write(changes: Sequence[Change], *, by: str, at: dt.datetime) -> int:
    """Record changes of persons, who are locked meanwhile; how many spans were recorded anew."""
    persons = [change.person.pk for change in changes]
    locked(persons)
    before = held(persons)
    left = _report(changes)
    gone: list[int] = []
    rows: list[Entitlement] = []
    events: list[Event] = []
    for change in changes:
        now = before[change.person.pk]
        after = now
        for span in change.spans:
            for part in keeping(after, span):
                after = put(after, part)
        lost, fresh = changed(now, after)
        gone += lost
        rows += (_row(change.person, span, by, at) for span in fresh)
        events.append(_event(change, left.get(change.person.pk), by, at))
        before[change.person.pk] = after
    Entitlement.objects.filter(pk__in=gone).update(superseded_at=at)
    Entitlement.objects.bulk_create(rows, batch_size=CHUNK)
    Event.objects.bulk_create(events, batch_size=CHUNK)
    today = clock.local(at).date()
    follow(on=today, persons=persons)
    _recheck(changes, today=today, at=at)
    return len(rows)


def _report(changes: Sequence[Change]) -> dict[int, int]:
    """Write the reported balances; person → what was left before."""
    balances = {row.person.pk: row.balance for row in changes if row.balance is not None}
    return personal_accounts.report(balances) if balances else {}


def _row(person: InsuredPerson, span: Span, by: str, at: dt.datetime) -> Entitlement:
    return Entitlement(
        person=person, scheme=span.scheme, standing=span.standing, assistance=span.assistance,
        region_code=span.region,
        valid_from=span.first, valid_until=span.last, source=span.source, recorded_at=at,
        recorded_by=by,
    )  # fmt: skip


def _event(change: Change, left: int | None, by: str, at: dt.datetime) -> Event:
    spans = [
        {"from": span.first, "until": span.last, "scheme": span.scheme, "standing": span.standing,
         "region": span.region, "source": span.source}
        for span in change.spans
    ]  # fmt: skip
    reported = {} if change.balance is None else {"balance": {"left": left, "now": change.balance}}
    return trail.event_row(
        by=by, at=at, action=change.act, subject=change.person.subject,
        region_code=change.person.region_code, person_hash=bytes(change.person.id_hash),
        detail={"spans": spans, **reported, **change.detail},
    )  # fmt: skip


def follow(*, on: dt.date, persons: Collection[int] | None = None) -> int:
    """Bring every person's scheme and region of today in step with the entitlement; how many moved."""
    with connection.cursor() as cursor:
        cursor.execute(FOLLOW, {"on": on, "ids": None if persons is None else list(persons)})
        return cursor.rowcount


def _recheck(changes: Sequence[Change], *, today: dt.date, at: dt.datetime) -> None:
    """A change that reaches back asks a person to look at the claims settled before it was known."""
    back = {
        change.person.pk: (change.person, min(span.first for span in change.spans))
        for change in changes
        if change.spans and min(span.first for span in change.spans) < today
    }
    if not back:
        return
    ids = list(back)
    given: dict[str, Any] = {
        "ids": ids,
        "first": [back[key][1] for key in ids],
        "last": [today] * len(ids),
    }
    with connection.cursor() as cursor:
        cursor.execute(TOUCHED, given)
        touched = cursor.fetchall()
    for key, count in touched:
        person, first = back[key]
        tasks.open_task(
            subject=f"{person.subject}:recheck", permission=RECHECK, at=at,
            title=f"{person.name_masked}的参保登记自{first}起有变化，其后{count}张已结算单据须复核",
            region_code=person.region_code, status="待复核", procedure="register",
            url=f"{reverse('person', args=[key])}?tab=claims",
        )  # fmt: skip
