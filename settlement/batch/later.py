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
ENTRIES = """SELECT claim_id, version FROM settlement_settlement
    WHERE version > 1 AND (%(month)s::date IS NULL OR period = %(month)s)
UNION ALL SELECT id, 1 FROM settlement_voucher WHERE %(month)s::date IS NULL OR period = %(month)s
ORDER BY 1, 2"""
LOOSE = """SELECT DISTINCT claim_id, version FROM (
    SELECT claim_id, version FROM settlement_leg WHERE %(month)s::date IS NULL OR period = %(month)s
    UNION ALL SELECT claim_id, version FROM settlement_lineresult
    WHERE %(month)s::date IS NULL OR period = %(month)s) part
WHERE NOT EXISTS (SELECT FROM settlement_settlement s
        WHERE s.claim_id = part.claim_id AND s.version = part.version)
    AND NOT EXISTS (SELECT FROM settlement_voucher v WHERE v.id = part.claim_id AND part.version = 1)
ORDER BY 1, 2"""
OF_CLAIM = "SELECT claim_id, version FROM settlement_settlement WHERE claim_id = %s AND version > 1"
PIECE = 500  #: events proven at once


def subject_of(key: Key) -> str:
    """An entry as it is told: `claim:7/3` is version 3 of claim 7; a voucher has version 1 alone."""
    return f"claim:{key[0]}/{key[1]}" if key[1] > 1 else f"voucher:{key[0]}"


class _Walk:
    """Postings met so far, in the order of the log."""

    def __init__(self, cursor: Any, month: dt.date | None = None) -> None:
        self.cursor, self.month = cursor, month
        self.met: set[Key] = set()
        self.unsaid: set[int] = set()  #: claims and vouchers of events that name no entries

    def events(self, subjects: Collection[str] | None = None) -> Iterator[Verdict]:
        """Each posting (about `subjects`) against its entries as they stand."""
        given = list(subjects) if subjects is not None else None
        self.cursor.execute(POSTINGS, {"actions": list(ACTIONS), "subjects": given})
        ids = [key for (key,) in self.cursor.fetchall()]
        for start in range(0, len(ids), PIECE):
            rows = Event.objects.in_bulk(ids[start : start + PIECE])
            ordered = [(rows[key], detail_of(rows[key])) for key in ids[start : start + PIECE]]
            shown = proven.proofs_of(list(rows.values()))
            named = {key for _, said in ordered for key in _keys(said)}
            entries = bookings.read(self.cursor, named)
            for event, said in ordered:
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
            self.unsaid |= {*said.get("claims", ()), *_numbers(event.subject)}
            why = UNSAID if event.body else ARCHIVED
            yield Verdict(event.subject, comparable=False, fault=why)
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
        if self.month and found and all(one.period != self.month for one in found.values()):
            return
        gone = [key for key in keys if key not in found]
        computed = bookings.sm3(found)
        fault = ""
        if gone:
            fault = f"留痕记有其入账，但账目已不存在（共 {len(gone)} 笔）"
        elif computed != sealed:
            fault = f"由入库账目重算的摘要 {computed} 与封存的 {sealed} 不符"
        yield Verdict(subject_of(gone[0]) if gone else event.subject, sealed, computed, fault)

    def strays(self, keys: Sequence[Key]) -> Iterator[Verdict]:
        """Entries that no posting speaks of."""
        for key in keys:
            if key not in self.met and key[0] not in self.unsaid:
                yield Verdict(subject_of(key), fault="入库账目在留痕中没有入账的事件")


def _keys(said: Mapping[str, Any]) -> list[Key]:
    """The entries that a posting says it wrote."""
    return [(number, version) for number, version in said.get("booked", {}).get("keys", ())]


def _numbers(subject: str) -> set[int]:
    kind, _, key = subject.partition(":")
    return {int(key)} if kind in ("claim", "voucher") and key.isdecimal() else set()


def postings(cursor: Any, month: dt.date | None) -> Iterator[Verdict]:
    """Every posting (of a month) but the first versions of claims, then what none speaks of."""
    walk = _Walk(cursor, month)
    yield from walk.events()
    cursor.execute(ENTRIES, {"month": month})
    yield from walk.strays(cursor.fetchall())
    cursor.execute(LOOSE, {"month": month})
    for number, version in cursor.fetchall():
        yield Verdict(f"claim:{number}/{version}", fault="分录或明细没有所属的结算或凭证")


def of_claim(cursor: Any, claim_id: int, subjects: Collection[str]) -> list[Verdict]:
    """The later versions of one claim; `subjects` are what its postings stand under."""
    cursor.execute(OF_CLAIM, [claim_id])
    keys = cursor.fetchall()
    walk = _Walk(cursor)
    return [*walk.events(subjects), *walk.strays(keys)]
