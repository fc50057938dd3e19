"""A chunk's digest computed once more from the rows as they stand, against the digest sealed in its event;
for a claim that came alone, the digest of its own rows. Later versions, vouchers: settlement.batch.later.

Version 1 of a claim never changes: whoever rewrites an amount, a decision or a leg of it, with all triggers
off, is found here, since the digest stands in the trail under a signed root. Both sides are walked: rows that
no event speaks of are told, and events whose rows are gone. (docs/decisions/merkle-trail.md)
"""

import datetime as dt
import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
from django.db.models import Q

from audit import clock, proven, trail
from audit.models import Event
from audit.text import yuan
from institutions.models import Institution
from settlement import bookings
from settlement.batch.frozen import Span
from settlement.batch.layout import SCHEMA_VERSION
from settlement.batch.parts import SETTLER
from settlement.batch.results import DECIDED, POSTED, canonical
from settlement.copy import columns, copy_out
from settlement.models import Batch, Chunk, Claim, ClaimKey, ResettlementItem
from settlement.posting import STATES
from settlement.words import TOTALS

ACTION, RECEIVED = "batch.chunk", "claim.receive"
SETTLED = columns(id="int8", state="int4", **dict.fromkeys(POSTED, "int8"))
RESULT = columns(claim_id="int8", line_no="int8", **dict.fromkeys(DECIDED, "int8"))
LEG = columns(claim_id="int8", account="int8", amount="int8")
READ_SETTLED = """SELECT claim_id, coalesce(array_position(%s::text[], state::text), 0) - 1, NAMES
    FROM settlement_settlement WHERE claim_id BETWEEN %s AND %s AND version = 1 AND batch_id = %s
        AND (%s::bigint IS NULL OR person_id BETWEEN %s AND %s) ORDER BY claim_id""".replace(
    "NAMES", ", ".join(f"{name}::int::int8" if name == "example" else name for name in POSTED)
)
READ_RESULTS = """SELECT claim_id, line_no::int8, NAMES
    FROM settlement_lineresult WHERE claim_id BETWEEN %s AND %s AND version = 1
    ORDER BY claim_id, line_no""".replace("NAMES", ", ".join(f"{name}::int8" for name in DECIDED))
READ_LEGS = """SELECT claim_id, account::int8, amount FROM settlement_leg
    WHERE claim_id BETWEEN %s AND %s AND version = 1 ORDER BY claim_id, account"""
APPLIED = """SELECT DISTINCT coalesce(release.sm3, '') || '/' || line.parameters_id
    FROM settlement_settlement claim
    JOIN settlement_lineresult line ON line.claim_id = claim.claim_id AND line.version = 1
    LEFT JOIN pricing_release release ON release.id = line.release_id
    WHERE claim.claim_id BETWEEN %s AND %s AND claim.version = 1 AND claim.batch_id = %s
        AND (%s::bigint IS NULL OR claim.person_id BETWEEN %s AND %s)"""
ALONE = """SELECT claim_id, state, NAMES FROM settlement_settlement
    WHERE version = 1 AND batch_id IS NULL AND (%s::date IS NULL OR period = %s)
    ORDER BY claim_id""".replace("NAMES", ", ".join(TOTALS))
#: Receipts (of days) whose settlement is not there any more.
GONE = """SELECT event.subject FROM audit_event event
    WHERE event.action = %s AND event.outcome = 'ok'
        AND event.at >= coalesce(%s, '-infinity'::timestamptz)
        AND event.at < coalesce(%s, 'infinity'::timestamptz)
        AND NOT EXISTS (SELECT FROM settlement_settlement claim
            WHERE claim.claim_id = substring(event.subject from '^claim:([0-9]{1,18})$')::bigint
                AND claim.version = 1)
    ORDER BY event.at, event.subject"""
#: Rows of a batch: how many lie outside the ids of its chunks, the first of them, how many are too many.
STRAY = """WITH chunks AS (SELECT batch_id, range_agg(int8range(first_claim, last_claim, '[]')) AS ids,
        sum(claims) AS claims
    FROM settlement_chunk WHERE state = ANY(%(states)s) GROUP BY batch_id),
given AS (SELECT batch_id, claim, coalesce(NOT claim <@ ids, true) AS outside, claims
    FROM (ROWS) every LEFT JOIN chunks USING (batch_id)
    WHERE batch_id IS NOT NULL
        AND (%(batches)s::bigint[] IS NULL OR batch_id = ANY(%(batches)s::bigint[])))
SELECT batch_id, count(*) FILTER (WHERE outside), min(claim) FILTER (WHERE outside),
    count(*) - max(claims)
FROM given GROUP BY batch_id HAVING bool_or(outside) OR count(*) > max(claims) ORDER BY batch_id"""
CLAIMS = "SELECT batch_id, id AS claim FROM settlement_claim"
SETTLEMENTS = "SELECT batch_id, claim_id AS claim FROM settlement_settlement WHERE version = 1"
PIECE = 1_000  #: claims compared at once
UNSAID = "事件没有写明可重算的内容（早于本核对），不能重算"
ARCHIVED = "封存其内容的事件正文已归档，未比对"
LOST = "留痕记有其受理，但结算已不存在"


@dataclass(frozen=True)
class Verdict:
    """One chunk: the digest in the trail, the one computed now, and what differs (Chinese)."""

    subject: str
    sealed: str = ""
    computed: str = ""
    fault: str = ""
    comparable: bool = True

    @property
    def agrees(self) -> bool:
        """Whether the digest was computed and is the sealed one."""
        return self.comparable and not self.fault

    @property
    def differs(self) -> bool:
        """Whether something is wrong; what cannot be compared is not."""
        return self.comparable and bool(self.fault)


def chunk_of(claim: Claim) -> Chunk | None:
    """The chunk of a claim of a batch, whole or a part, settled or not; None for one that came alone."""
    if claim.batch_id is None:
        return None
    own = Q(first_person__isnull=True) | Q(
        first_person__lte=claim.person_id, last_person__gte=claim.person_id
    )
    return (
        Chunk.objects.filter(
            own, batch_id=claim.batch_id, first_claim__lte=claim.pk, last_claim__gte=claim.pk
        )
        .exclude(state=Chunk.State.SPLIT)
        .first()
    )


def subject_of(chunk: Chunk) -> str:
    """What the event with a chunk's digest is about."""
    return f"batch:{chunk.batch_id}/{chunk.number}"


def recheck(cursor: Any, chunk: Chunk, event: Event | None) -> Verdict:
    """Compute the digest of a chunk from its rows and compare it with that of its event."""
    subject = subject_of(chunk)
    if event is None:
        return Verdict(subject, fault="留痕中没有封存其摘要的事件")
    if not event.body:
        return Verdict(subject, comparable=False, fault=ARCHIVED)
    said = detail_of(event)
    sealed = said.get("digest", "")
    if said.get("schema") != SCHEMA_VERSION:
        return Verdict(subject, sealed, comparable=False, fault=UNSAID)
    head = f"chunk {said['schema']}\n{said['law']}\n"
    computed, totals = _computed(cursor, chunk, head)
    fault = ""
    if computed != sealed:
        fault = f"由入库账目重算的摘要 {computed} 与封存的 {sealed} 不符{_moved(totals, said['totals'])}"
    elif bytes(chunk.digest or b"").hex() != sealed:
        fault = "分片所记的摘要与封存的不符"
    elif chunk.claims != said["totals"]["claims"]:
        fault = "分片所记的笔数与封存的不符"
    elif other := _other_texts(cursor, chunk, said["law"]):
        fault = f"单据所记的政策文本不在封存之列：{other}"
    return Verdict(subject, sealed, computed, fault)


def _first(action: str, subjects: Q) -> dict[str, proven.First]:
    """By subject the event of an act that was sealed first: whoever adds another is not believed."""
    return proven.firsts(Event.objects.filter(subjects, action=action, outcome="ok"))


def _compared(first: proven.First | None, compare: Callable[[Event | None], Verdict]) -> Verdict:
    """The rows against the event sealed first; an event that is not proven is compared with nothing."""
    if first is None:
        return compare(None)
    if not first.proof.holds:
        fault = f"封存其内容的事件不成立：{'；'.join(first.faults)}"
        return Verdict(first.event.subject, fault=fault)
    found = compare(first.event)
    if not first.others:
        return found
    told = "；".join(filter(None, (*first.faults, found.fault)))
    return replace(found, comparable=True, fault=told)


def detail_of(event: Event) -> dict[str, Any]:
    """What the body of an event says beside its columns; empty of one that is archived."""
    return (trail.said_of(event) or {}).get("detail", {})


def _span(chunk: Chunk) -> list[Any]:
    part = Span.of(chunk)
    low, high = part.persons or (None, None)
    return [part.first, part.last, chunk.batch_id, low, low, high]


def _computed(cursor: Any, chunk: Chunk, head: str) -> tuple[str, dict[str, int]]:
    """(digest, sums) of the rows as they stand."""
    claims = copy_out(cursor, READ_SETTLED, SETTLED, [list(STATES), *_span(chunk)])
    span = [chunk.first_claim, chunk.last_claim]
    lines, legs = (
        rows[np.isin(rows["claim_id"], claims["id"])]
        for rows in (copy_out(cursor, READ_RESULTS, RESULT, span), copy_out(cursor, READ_LEGS, LEG, span))
    )  # fmt: skip
    posted: Any = SimpleNamespace(
        **{name: claims[name] for name in ("state", *POSTED)},
        leg_claim=np.searchsorted(claims["id"], legs["claim_id"]),
        leg_account=legs["account"], leg_amount=legs["amount"],
    )  # fmt: skip
    results: Any = SimpleNamespace(**{name: lines[name] for name in DECIDED})
    digest = hashlib.new("sm3", head.encode())
    for part in canonical(claims, lines, results, posted):
        digest.update(part.tobytes())
    sums = {name: int(claims[name].sum()) for name in TOTALS}
    return digest.hexdigest(), sums


def _moved(now: Mapping[str, Any], then: Mapping[str, Any], what: str = "合计") -> str:
    """Which sums are others than those sealed; empty where the change moves none."""
    told = [
        f"{TOTALS[name]}{what} {yuan(now[name])} 元，封存时 {yuan(then.get(name, 0))} 元"
        for name in TOTALS if now[name] != then.get(name, 0)
    ]  # fmt: skip
    return f"（{'；'.join(told)}）" if told else ""


def _other_texts(cursor: Any, chunk: Chunk, law: str) -> str:
    """Releases of lines that the sealed event does not name."""
    cursor.execute(APPLIED, _span(chunk))
    return " ".join(sorted({text for (text,) in cursor.fetchall()} - set(law.split(" "))))


# --- Claims that came alone ---


def receipt(
    claim_id: int, now: Mapping[str, Any] | None, entry: bookings.Entry | None, event: Event | None
) -> Verdict:
    """The first version of a claim (`state` and TOTALS; None: there is none) against its event: totals,
    then the digest of totals, lines and legs as they stand in `entry`."""
    subject = f"claim:{claim_id}"
    if event is None:
        return Verdict(subject, fault="留痕中没有受理此单据的事件")
    if now is None:
        return Verdict(subject, fault=LOST)
    if not event.body:
        return Verdict(subject, comparable=False, fault=ARCHIVED)
    said = detail_of(event)
    if moved := _moved(now, said, "").strip("（）"):
        return Verdict(subject, fault=f"入库金额与受理时封存的不符（{moved}）")
    if said.get("state") != now["state"]:
        return Verdict(subject, fault="入库的结论与受理时封存的不符")
    booked = said.get("booked")
    if booked is None or booked["form"] != bookings.FORM:
        return Verdict(subject, comparable=False, fault=UNSAID)
    computed = bookings.sm3({(claim_id, 1): entry} if entry else {})
    differs = f"由入库账目重算的摘要 {computed} 与封存的 {booked['sm3']} 不符"
    fault = differs if computed != booked["sm3"] else ""
    return Verdict(subject, booked["sm3"], computed, fault)


def alone(cursor: Any, month: dt.date | None) -> Iterator[Verdict]:
    """Every claim that came alone (of a month of posting), its event proven; then those that are gone.

    A deleted row names no month of posting: then the month of its receipt counts.
    """
    cursor.execute(ALONE, [month, month])
    while rows := cursor.fetchmany(PIECE):
        events = _first(RECEIVED, Q(subject__in=[f"claim:{row[0]}" for row in rows]))
        with cursor.db.cursor() as more:
            entries = bookings.read(more, [(row[0], 1) for row in rows])
        for claim, state, *totals in rows:
            now = dict(zip(TOTALS, totals, strict=True)) | {"state": state}
            compare = partial(receipt, claim, now, entries.get((claim, 1)))
            yield _compared(events.get(f"claim:{claim}"), compare)
    cursor.execute(GONE, [RECEIVED, *_days(month)])
    for (subject,) in cursor.fetchall():
        yield Verdict(subject, fault=LOST)


def _days(month: dt.date | None) -> tuple[dt.datetime | None, dt.datetime | None]:
    """The first moment of a month and of the next, by the clock of the bureau."""
    if month is None:
        return None, None
    begin = dt.datetime.combine(month, dt.time.min, tzinfo=clock.ZONE)
    return begin, (begin + dt.timedelta(days=32)).replace(day=1)


# --- Many chunks ---


def chunks(cursor: Any, batches: Collection[int] | None) -> Iterator[Verdict]:
    """Every settled chunk of these batches (None: of all), every sealed one that is not there any more,
    and rows of a batch that belong to none of its chunks.

    A digest counts only when its event is shown to stand in the signed log, or still waits for it.
    """
    of_batches = Chunk.objects.using(SETTLER).filter(state=Chunk.State.DONE)
    for batch in sorted(every_batch() if batches is None else batches):
        done = of_batches.filter(batch_id=batch).order_by("number")
        of_subject = {subject_of(chunk): chunk for chunk in done}
        events = _first(ACTION, Q(subject__startswith=f"batch:{batch}/"))
        now = {subject_of(chunk) for chunk in done.all()}  # some may have ended meanwhile
        for subject, chunk in of_subject.items():
            yield _compared(events.get(subject), partial(recheck, cursor, chunk))
        for subject in sorted(events.keys() - of_subject.keys() - now):
            yield Verdict(subject, fault="留痕记有其摘要，但分片已不是“完成”")
    yield from _strays(cursor, batches)


def every_batch() -> set[int]:
    """Every batch that has chunks or had them: the sealed digests name those whose rows were taken away."""
    there = Chunk.objects.using(SETTLER).values_list("batch_id", flat=True).distinct()
    subjects = Event.objects.filter(action=ACTION).values_list("subject", flat=True)
    named = {text.removeprefix("batch:").partition("/")[0] for text in subjects}
    return {*there, *(int(text) for text in named if text.isdecimal())}


def batches_of(month: dt.date) -> list[int]:
    """The batches of a month."""
    return list(Batch.objects.using(SETTLER).filter(period=month).values_list("pk", flat=True))


def _strays(cursor: Any, batches: Collection[int] | None) -> Iterator[Verdict]:
    """Claims of a batch that no chunk has, and settlements that no settled chunk has."""
    whole = [state.value for state in Chunk.State if state != Chunk.State.SPLIT]
    for rows, states, what in (
        (CLAIMS, whole, "单据不在其任何分片内"),
        (SETTLEMENTS, [Chunk.State.DONE.value], "结算不在其任何已完成的分片内"),
    ):
        given = None if batches is None else list(batches)
        cursor.execute(STRAY.replace("ROWS", rows), {"states": states, "batches": given})
        for batch, outside, claim, more in cursor.fetchall():
            first = f"，第一笔 claim:{claim}" if claim else ""
            yield Verdict(f"batch:{batch}", fault=f"{outside or more} 笔{what}{first}")


# --- One claim ---


def of_claim(cursor: Any, claim: Claim, first: Mapping[str, Any] | None) -> Verdict | None:
    """A claim whose first version says `first` (None: there is none) against what was sealed: the digest
    of its chunk, or its own totals. None while it waits in its batch.
    """
    if not claim.batch_id:
        subject = f"claim:{claim.pk}"
        events = _first(RECEIVED, Q(subject=subject))
        entry = bookings.read(cursor, [(claim.pk, 1)]).get((claim.pk, 1))
        return _compared(events.get(subject), partial(receipt, claim.pk, first, entry))
    chunk = chunk_of(claim)
    if chunk is None:
        return Verdict(f"batch:{claim.batch_id}", fault="此单据不在批次的任何分片内")
    subject = subject_of(chunk)
    if chunk.state != Chunk.State.DONE:
        return Verdict(subject, fault="此单据已结算，但分片不是“完成”") if first else None
    return _compared(
        _first(ACTION, Q(subject=subject)).get(subject), partial(recheck, cursor, chunk)
    )


def subjects_of(text: str) -> list[str]:
    """What the acts on a claim stand under, named `claim:N` or by its number: itself, its chunk, the
    lists that settled it anew.

    Numbers are unique within an institution: the index starts with its code. (settings.TRAIL_SUBJECTS)
    """
    kind, _, key = text.partition(":")
    if ":" not in text:
        known = ClaimKey.objects.filter(
            institution_code__in=Institution.objects.values("code"), claim_no=kind
        )
        claims = Claim.objects.filter(pk__in=list(known.values_list("claim_id", flat=True)))
    elif kind == "claim" and key.isdecimal() and len(key) < 19:
        claims = Claim.objects.filter(pk=int(key))
    else:
        return []
    found = []
    for claim in claims.only("person_id", "batch_id").order_by("pk"):
        found += subjects_of_claim(claim)
    return found


def subjects_of_claim(claim: Claim) -> list[str]:
    """What the postings of a claim stand under: itself, its chunk, the lists that settled it anew."""
    chunk = chunk_of(claim)
    posted = ResettlementItem.objects.filter(claim_id=claim.pk, posted_version__isnull=False)
    lists = posted.order_by("resettlement_id").values_list("resettlement_id", flat=True)
    return [
        f"claim:{claim.pk}", *([subject_of(chunk)] if chunk else []),
        *(f"resettlement:{key}" for key in lists),
    ]  # fmt: skip
