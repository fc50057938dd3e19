"""From the claims of a file to columns: every fault of every row, the facts in one statement.

The statement, the packing of a record and the checks are those of a single claim (settlement.facts,
settlement.contract); here they are asked for thousands of claims at once.
"""

import datetime as dt
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
from django.db import connections

from institutions import crypto, shape
from institutions.models import Institution
from institutions.refusals import Fault
from pricing.policy import Rules
from pricing.releases import Catalogue, current
from settlement import contract, invoices, prescriptions, sheets
from settlement.batch import load
from settlement.columns import FACTS
from settlement.commands import document
from settlement.facts import (
    Claimant,
    Lists,
    encounter_key,
    examples_allowed,
    main_diagnosis,
    pack,
    revisit_anywhere,
    service_of,
)
from settlement.failpoints import failpoint
from settlement.models import Batch
from settlement.periods import posting_month
from settlement.records import ICD_CATEGORY, RECORDS, Known
from settlement.sheets import Entry, RowError

PIECE = 2_000  #: claims of a file in memory at once
#: The statement of a single claim with each parameter taken from a row of `given`.
SET_WISE = (
    RECORDS.replace("nextval('settlement_claim_id_seq')", "given.n").replace(
        "FROM (SELECT 1) one",
        """FROM unnest(%(ns)s::int[], %(claim_nos)s::text[], %(days)s::date[],
            %(starteds)s::timestamptz[], %(physicians)s::text[], %(persons)s::bytea[],
            %(categories)s::text[], %(anywheres)s::boolean[], %(departments)s::text[])
        AS given (n, claim_no, day, started, physician, person, category, anywhere, department)""",
    )
    % {
        "claim_no": "given.claim_no", "day": "given.day", "started": "given.started",
        "physician": "given.physician", "department": "given.department",
        "person": "given.person", "category": "given.category", "anywhere": "given.anywhere",
        **{name: f"%({name})s" for name in (
            "institution", "own", "region", "at", "ns", "claim_nos", "days", "starteds", "physicians",
            "persons", "categories", "anywheres", "departments")},
    }
)  # fmt: skip


@dataclass
class Checked:
    """What a dry run found: errors, and how many claims and lines the file has."""

    errors: list[RowError] = field(default_factory=list)
    claims: int = 0
    lines: int = 0


@dataclass
class Gathered:
    """A file as columns, piece by piece, and what is to be noted once its claims are stored."""

    claims: list[dict[str, np.ndarray]] = field(default_factory=list)
    lines: list[dict[str, np.ndarray]] = field(default_factory=list)
    charges: list[str] = field(default_factory=list)
    manual: list[tuple[str, str]] = field(default_factory=list)


class UnsoundError(Exception):
    """The records changed since the dry run: `errors` say how."""

    def __init__(self, errors: list[RowError]):
        super().__init__(f"{len(errors)} errors")
        self.errors = errors


def dry_run(name: str, content: bytes, institution: Institution, *, at: dt.datetime) -> Checked:
    """Every error of every row: cells, contract, identity numbers, claim numbers, persons, law.

    A piece of the file is in memory at a time. Raises SheetError.
    """
    unread: list[RowError] = []
    found, laws = Checked(), Laws(Claimant.of(institution), current())
    numbers, invoices_met = _Numbers(), _Invoices()
    for piece in _pieces(sheets.stream(name, content, unread)):
        sound = []
        for entry in piece:
            found.claims += 1
            found.lines += len(entry.rows)
            faults = list(_entry_faults(entry, at))
            found.errors += [_row_error(entry.place(f.pointer), f) for f in faults]
            found.errors += numbers.repeated(entry)
            if not faults:
                sound.append(entry)
        invoices_met.note(sound)
        found.errors += record_errors(sound, read_all(laws, sound, at=at), laws)
    found.errors += invoices_met.errors()
    spoken = {(error.row, error.column) for error in unread}
    found.errors = unread + [e for e in found.errors if (e.row, e.column) not in spoken]
    return found


def _pieces(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    waiting = iter(entries)
    while piece := list(islice(waiting, PIECE)):
        yield piece


class _Numbers:
    """The claim numbers of a file: those that come twice are told at each of their places."""

    def __init__(self) -> None:
        self._first: dict[str, tuple[int, str] | None] = {}

    def repeated(self, entry: Entry) -> Iterator[RowError]:
        number, place = entry.claim.get("claim_no"), entry.place("/claim_no")
        if not isinstance(number, str) or not number:
            return
        if number not in self._first:
            self._first[number] = place
            return
        for row, column in filter(None, (self._first[number], place)):
            yield RowError(row, column, "REPEATED", "申请单号在文件中重复")
        self._first[number] = None


class _Invoices:
    """The invoices of a file's manual claims."""

    def __init__(self) -> None:
        self.places: list[tuple[int, str]] = []
        self.numbers: list[str] = []
        self.used: list[tuple[str, str]] = []  #: with the number of the claim

    def note(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            if entry.claim["channel"] == invoices.MANUAL:
                number = entry.claim.get("e_invoice_no") or ""
                self.places.append(entry.place("/e_invoice_no"))
                self.numbers.append(number)
                self.used.append((number, entry.claim["claim_no"]))

    def errors(self) -> Iterator[RowError]:
        for at, fault in invoices.repeated(self.numbers):
            yield _row_error(self.places[at], fault)


@dataclass(frozen=True)
class Laws:
    """Rules and lists of an institution's region, looked up once per day of service."""

    claimant: Claimant
    catalogue: Catalogue
    _found: dict[dt.date, tuple[Rules | None, Lists]] = field(default_factory=dict)

    def on(self, day: dt.date) -> tuple[Rules | None, Lists]:
        """The rules of a day, None when no document is published, and the lists beside them."""
        if day not in self._found:
            region = self.claimant.policy_region
            rules = self.catalogue.rules(region, day, examples=examples_allowed())
            lists = Lists.of(self.catalogue, rules, day) if rules else Lists()
            self._found[day] = (rules, lists)
        return self._found[day]


def record_errors(
    entries: Sequence[Entry], known: Iterable[Known], laws: Laws
) -> Iterator[RowError]:
    """What records and law say against claims that are sound in themselves."""
    for entry, records in zip(entries, known, strict=True):
        for fault in _record_faults(entry.claim, records, laws):
            yield _row_error(entry.place(fault.pointer), fault)


def _row_error(place: tuple[int, str], fault: Fault) -> RowError:
    return RowError(*place, fault.code, fault.detail[0], fault.clause)


def _entry_faults(entry: Entry, at: dt.datetime) -> Iterator[Fault]:
    found = list(shape.faults(entry.claim, contract.CLAIM))
    yield from found
    if found:
        return
    yield from contract.inconsistencies(entry.claim, at=at)
    try:
        number = crypto.id_number(entry.claim["person"]["credential"])
        entry.claim["person"]["credential"] = number
    except crypto.IdNumberError as error:
        yield Fault("/person/credential", "CREDENTIAL_INVALID", error.texts)


def _record_faults(claim: dict, known: Known, laws: Laws) -> Iterator[Fault]:
    if known.same_number is not None:
        yield Fault(
            "/claim_no",
            "CLAIM_NUMBER_USED",
            ("申请单号已经上报过", "the number was claimed before"),
        )
    if known.person_id is None:
        yield Fault(
            "/person/credential", "PERSON_UNKNOWN",
            ("没有此参保人员的登记信息", "no such insured person is registered"),
        )  # fmt: skip
    day = contract.local_day(claim["encounter"]["started_at"])
    rules = laws.on(day)[0]
    if fault := invoices.missing(claim, rules):
        yield fault
    if rules is None:
        yield Fault(
            "/encounter/started_at", "NO_POLICY",
            ("本地区没有已发布的政策文件", "no policy document is published for the region"),
        )  # fmt: skip


def read_all(laws: Laws, entries: Sequence[Entry], *, at: dt.datetime) -> list[Known]:
    """What the records say about each claim of a piece, in its order; one statement."""
    claimant = laws.claimant
    claims = [entry.claim for entry in entries]
    days = [contract.local_day(claim["encounter"]["started_at"]) for claim in claims]
    rules = [laws.on(day)[0] for day in days]
    given: dict[str, Any] = {
        "institution": claimant.code,
        "own": list(claimant.own),
        "region": claimant.policy_region,
        "at": at,
        "ns": list(range(len(claims))),
        "claim_nos": [claim["claim_no"] for claim in claims],
        "days": days,
        "starteds": [claim["encounter"]["started_at"] for claim in claims],
        "physicians": [claim["physician"]["code"] for claim in claims],
        "persons": [crypto.person_hash(claim["person"]["credential"]) for claim in claims],
        "categories": [main_diagnosis(claim)[:ICD_CATEGORY] for claim in claims],
        "anywheres": [law is not None and revisit_anywhere(law) for law in rules],
        "departments": [claim["encounter"]["department_code"] for claim in claims],
    }
    with connections["settler"].cursor() as cursor:
        cursor.execute(SET_WISE, given)
        return [Known(*row) for row in sorted(cursor.fetchall())]


def normalise(entries: Iterable[Entry]) -> None:
    """Write identity numbers as they are compared. For entries that a dry run found sound."""
    for entry in entries:
        person = entry.claim["person"]
        person["credential"] = crypto.id_number(person["credential"])


def load_file(
    cursor: Any, batch: Batch, entries: Iterable[Entry], laws: Laws, *, by: str, at: dt.datetime
) -> None:
    """Store and freeze the claims of a checked file, a piece of it in memory at a time.

    Raises UnsoundError when the records changed since; the caller undoes what was written till then.
    """
    posting_month(batch.region_code, at, cursor=cursor)  # before anything of claims is locked
    made = _gathered(cursor, entries, laws, by=by, at=at)
    failpoint("load.read")
    load.write(cursor, batch, _joined(made.claims), _joined(made.lines), by=by, at=at)
    for charges in made.charges:
        prescriptions.charge_many(cursor, laws.claimant, charges)
    invoices.use_many(cursor, laws.claimant, made.manual, at=at)


def _gathered(
    cursor: Any, entries: Iterable[Entry], laws: Laws, *, by: str, at: dt.datetime
) -> Gathered:
    made, errors, met = Gathered(), list[RowError](), _Invoices()
    found: dict[str, prescriptions.Held] = {}
    count = 0
    for piece in _pieces(entries):
        normalise(piece)
        known = read_all(laws, piece, at=at)
        errors += record_errors(piece, known, laws)
        met.note(piece)
        if errors:
            continue
        claims = [entry.claim for entry in piece]
        records = [_record(laws, claim, k) for claim, k in zip(claims, known, strict=True)]
        made.charges += filter(None, [prescriptions.take_many(
            cursor, laws.claimant, claims, known, records, laws.catalogue, found, by=by, at=at
        )])  # fmt: skip
        facts = np.frombuffer(b"".join(record.tobytes() for record in records), FACTS)
        made.claims.append(_claims(laws.claimant, claims, known, facts))
        made.lines.append(_lines(claims, facts, count))
        count += len(claims)
    errors += met.errors()
    if errors or not count:
        raise UnsoundError(errors)
    made.manual = met.used
    return made


def _joined(pieces: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


def _claims(
    claimant: Claimant, claims: list[dict], known: list[Known], facts: np.ndarray
) -> dict[str, np.ndarray]:
    fees = [sum(contract.fee(line) for line in claim["lines"]) for claim in claims]
    encounters = [claim["encounter"]["id"] for claim in claims]
    keys = [encounter_key(claimant.code, encounter) for encounter in encounters]
    return {
        "claim_no": _texts(claim["claim_no"] for claim in claims),
        "person_id": np.array([k.person_id for k in known], np.int64),
        "service_date": facts["service_day"].astype(np.int64),
        "fee": np.array(fees, np.int64),
        "facts": load.facts_bytes(facts),
        "encounter_id": _texts(encounters),
        "encounter_key": np.array(keys, np.int64),
        "document": np.array([document_bytes(claim) for claim in claims], object),
    }


def _record(laws: Laws, claim: dict, known: Known) -> np.ndarray:
    rules, lists = laws.on(contract.local_day(claim["encounter"]["started_at"]))
    if rules is None:
        raise LookupError(laws.claimant.policy_region)
    return pack(laws.claimant, claim, known, lists)


def _lines(claims: list[dict], facts: np.ndarray, before: int) -> dict[str, np.ndarray]:
    """The lines of a piece; `before` claims of the file stand before it."""
    flat = [(k, line) for k, claim in enumerate(claims) for line in claim["lines"]]
    lines = [line for _, line in flat]
    nonprofit = facts["nonprofit"] != 0
    services = [service_of(line["kind"], nonprofit=bool(nonprofit[k])) for k, line in flat]
    return {
        "claim": np.array([before + k for k, _ in flat], np.int64),
        "line_no": np.array([line["line_no"] for line in lines], np.int64),
        "service": np.array(services, np.int64),
        "item_code": _texts(line["item_code"] for line in lines),
        "service_type": _texts(line.get("service_type") or "" for line in lines),
        "quantity": np.array([contract.quantity(line) for line in lines], np.int64),
        "unit_price": np.array([contract.unit_price(line) for line in lines], np.int64),
        "fee": np.array([contract.fee(line) for line in lines], np.int64),
        "prescription_no": _texts(line.get("prescription_no") or "" for line in lines),
        "trace_codes": np.array([load.text_array(line.get("trace_codes") or []) for line in lines]),
    }


def _texts(texts: Any) -> np.ndarray:
    return np.array([text.encode() for text in texts])


def document_bytes(claim: dict) -> bytes:
    """The claim as kept, credential and device as hashes."""
    return json.dumps(document(claim), ensure_ascii=False, separators=(",", ":")).encode()
