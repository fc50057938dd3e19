"""Every later version of a claim and every voucher against the event of its posting.

Each posting says in its event which entries it wrote, with one SM3 over them (settlement.bookings). Both
sides are walked: the entries of each event are read and digested once more, and entries that no event speaks
of are told. Of two events that name one entry the one sealed first counts. (docs/decisions/merkle-trail.md)
"""

import datetime as dt
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from audit import proven
from audit.models import Event
from settlement import bookings
from settlement.batch.recheck import ARCHIVED, UNSAID, Verdict, detail_of
from settlement.bookings import Entry, Key
from settlement.models import Voucher

ACTIONS = (
    "claim.reverse", "claim.reviewed", "resettlement.claims", "batch.chunk_reversed",
    *(f"voucher.{kind}" for kind in Voucher.Kind.values),
)  # fmt: skip
#: Events of postings in the order of the log; what waits for the sealer comes last.
POSTINGS = """SELECT event.id FROM audit_event event LEFT JOIN audit_leaf leaf ON leaf.event = event.id
    WHERE event.outcome = 'ok' AND event.action = ANY(%(actions)s)
        AND (%(subjects)s::text[] IS NULL OR event.subject = ANY(%(subjects)s::text[]))
    ORDER BY leaf.seq NULLS LAST, event.at, event.id"""
#: Entries that must stand in an event of a posting (of a month); legs and lines of no entry at all.
ENTRIES = """SELECT claim_id, version, settled_at FROM settlement_settlement
    WHERE version > 1 AND (%(month)s::date IS NULL OR period = %(month)s)
UNION ALL SELECT id, 1, posted_at FROM settlement_voucher
    WHERE %(month)s::date IS NULL OR period = %(month)s
ORDER BY 1, 2"""
PLACED = "claim_id, version, period, region_code, institution_code"
LOOSE = """SELECT DISTINCT claim_id, version FROM (
    SELECT PLACED FROM settlement_leg WHERE %(month)s::date IS NULL OR period = %(month)s
    UNION ALL SELECT PLACED FROM settlement_lineresult
    WHERE %(month)s::date IS NULL OR period = %(month)s) part
WHERE NOT EXISTS (SELECT FROM settlement_settlement s
        WHERE s.claim_id = part.claim_id AND s.version = part.version AND s.period = part.period
            AND s.region_code = part.region_code AND s.institution_code = part.institution_code)
    AND NOT EXISTS (SELECT FROM settlement_voucher v
        WHERE v.id = part.claim_id AND part.version = 1 AND v.period = part.period
            AND v.region_code = part.region_code AND v.institution_code = part.institution_code)
ORDER BY 1, 2""".replace("PLACED", PLACED)
OF_CLAIM = """SELECT claim_id, version, settled_at FROM settlement_settlement
    WHERE claim_id = %s AND version > 1"""
PIECE = 500  #: events proven at once
MOST_KEYS = 5_000  #: entries read at once, unless one event has more
Stored = tuple[int, int, dt.datetime]  #: an entry, and when it was posted
Told = tuple[Event, Mapping[str, Any]]  #: a posting, and what its body says


def subject_of(key: Key) -> str:
    """An entry as it is told: `claim:7/3` is version 3 of claim 7; a voucher has version 1 alone."""
    return f"claim:{key[0]}/{key[1]}" if key[1] > 1 else f"voucher:{key[0]}"


class _Walk:
    """Postings met so far, in the order of the log."""

    def __init__(self, cursor: Any, month: dt.date | None = None) -> None:
        self.cursor, self.month = cursor, month
        self.met: set[Key] = set()
        self.unsaid: set[int] = set()  #: claims and vouchers of events that name no entries
        self.bare: set[dt.datetime] = set()  #: moments of postings whose bodies are archived

    def events(
        self, subjects: Collection[str] | None = None, about: int | None = None
    ) -> Iterator[Verdict]:
        """Each posting (under `subjects`, that names the claim `about`) against its entries as they stand."""
        given = list(subjects) if subjects is not None else None
        self.cursor.execute(POSTINGS, {"actions": list(ACTIONS), "subjects": given})
        ids = [key for (key,) in self.cursor.fetchall()]
        for start in range(0, len(ids), PIECE):
            rows = Event.objects.in_bulk(ids[start : start + PIECE])
            told = [(rows[key], detail_of(rows[key])) for key in ids[start : start + PIECE]]
            told = [row for row in told if about is None or about in _claims(*row)]
            shown = proven.proofs_of([event for event, _ in told])
            for part in _parts(told):
                entries = bookings.read(
                    self.cursor, {key for _, said in part for key in _keys(said)}
                )
                for event, said in part:
                    yield from self._event(event, said, shown[event.pk], entries)

    def _event(
        self,
        event: Event,
        said: Mapping[str, Any],
        proof: proven.Proof,
        entries: Mapping[Key, Entry],
    ) -> Iterator[Verdict]:
        booked = said.get("booked")
        if not proof.holds:
            fault = f"封存其内容的事件不成立：{'；'.join(proof.faults)}"
            yield Verdict(event.subject, fault=fault)
        elif booked is None or booked["form"] != bookings.FORM:
            self.unsaid |= _claims(event, said)
            self.bare |= set() if event.body else {event.at}
            why = UNSAID if event.body else ARCHIVED
            yield Verdict(event.subject, comparable=False, fault=why)
        elif self.month and str(self.month) not in booked["months"]:
            self.met.update(_keys(said))
        else:
            yield from self._booked(event, _keys(said), booked["sm3"], entries)

    def _booked(
        self, event: Event, keys: Sequence[Key], sealed: str, entries: Mapping[Key, Entry]
    ) -> Iterator[Verdict]:
        again = sorted(self.met.intersection(keys))
        self.met.update(keys)
        if again:
            fault = "留痕中另有同一入账的记录，以最先封存的一条为准"
            yield Verdict(subject_of(again[0]), sealed, fault=fault)
            return
        found = {key: entries[key] for key in keys if key in entries}
        gone = [key for key in keys if key not in found]
        computed = bookings.sm3(found)
        fault = ""
        if gone:
            fault = f"留痕记有其入账，但账目已不存在（共 {len(gone)} 笔）"
        elif computed != sealed:
            fault = f"由入库账目重算的摘要 {computed} 与封存的 {sealed} 不符"
        yield Verdict(subject_of(gone[0]) if gone else event.subject, sealed, computed, fault)

    def strays(self, stored: Sequence[Stored]) -> Iterator[Verdict]:
        """Entries that no posting speaks of."""
        for number, version, at in stored:
            known = (number, version) in self.met or number in self.unsaid or at in self.bare
            if not known:
                yield Verdict(subject_of((number, version)), fault="入库账目在留痕中没有入账的事件")


def _keys(said: Mapping[str, Any]) -> list[Key]:
    """The entries that a posting says it wrote."""
    return [(number, version) for number, version in said.get("booked", {}).get("keys", ())]


def _claims(event: Event, said: Mapping[str, Any]) -> set[int]:
    """The claims or vouchers that a posting is about, in whatever form it names them."""
    kind, _, key = event.subject.partition(":")
    own = [int(key)] if kind in ("claim", "voucher") and key.isdecimal() else []
    vouchers = [row[0] for row in said.get("vouchers", ())]
    return {*own, *vouchers, *said.get("claims", ()), *(number for number, _ in _keys(said))}


def _parts(told: Sequence[Told]) -> Iterator[list[Told]]:
    """Events with some MOST_KEYS entries each."""
    part: list[Told] = []
    count = 0
    for row in told:
        part.append(row)
        count += len(_keys(row[1]))
        if count >= MOST_KEYS:
            yield part
            part, count = [], 0
    yield part


def postings(cursor: Any, month: dt.date | None) -> Iterator[Verdict]:
    """Every posting (of a month) but the first versions of claims, then what none speaks of."""
    cursor.execute(ENTRIES, {"month": month})
    stored = cursor.fetchall()  # before the events: what is posted meanwhile is no stray
    walk = _Walk(cursor, month)
    yield from walk.events()
    yield from walk.strays(stored)
    cursor.execute(LOOSE, {"month": month})
    for number, version in cursor.fetchall():
        yield Verdict(f"claim:{number}/{version}", fault="分录或明细没有所属的结算或凭证")


def of_claim(cursor: Any, claim_id: int, subjects: Collection[str]) -> list[Verdict]:
    """The later versions of one claim; `subjects` are what its postings stand under."""
    cursor.execute(OF_CLAIM, [claim_id])
    stored = cursor.fetchall()
    walk = _Walk(cursor)
    return [*walk.events(subjects, about=claim_id), *walk.strays(stored)]
