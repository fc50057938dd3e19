"""From the claims of a file to columns: every fault of every row, the facts in one statement.

The statement, the packing of a record and the checks are those of a single claim (settlement.facts,
settlement.contract); here they are asked for thousands of claims at once.
"""

import datetime as dt
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from django.db import connections

from institutions import crypto, shape
from institutions.models import Institution
from institutions.refusals import Fault
from pricing.policy import Rules
from pricing.releases import Catalogue, current
from settlement import contract, invoices, prescriptions
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
from settlement.models import Batch
from settlement.records import ICD_CATEGORY, RECORDS, Known
from settlement.sheets import Entry, Parsed, RowError

PIECE = 2_000
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


def dry_run(parsed: Parsed, institution: Institution, *, at: dt.datetime) -> list[RowError]:
    """Every error of every row: cells, contract, identity numbers, claim numbers, persons, law."""
    errors = list(parsed.errors)
    sound = []
    numbers = Counter(_number(entry) for entry in parsed.entries)
    for entry in parsed.entries:
        found = list(_entry_faults(entry, numbers, at))
        errors += [_row_error(entry, fault) for fault in found]
        if not found:
            sound.append(entry)
    laws = Laws(Claimant.of(institution), current())
    errors += record_errors(sound, read_all(laws, sound, at=at), laws)
    spoken = {(error.row, error.column) for error in parsed.errors}
    return parsed.errors + [
        e for e in errors[len(parsed.errors) :] if (e.row, e.column) not in spoken
    ]


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
            yield _row_error(entry, fault)
    for place, fault in invoices.repeated([entry.claim for entry in entries]):
        yield _row_error(entries[place], fault)


def _number(entry: Entry) -> str:
    return str(entry.claim.get("claim_no"))


def _row_error(entry: Entry, fault: Fault) -> RowError:
    row, column = entry.place(fault.pointer)
    return RowError(row, column, fault.code, fault.detail[0], fault.clause)


def _entry_faults(entry: Entry, numbers: Counter, at: dt.datetime) -> Iterator[Fault]:
    found = list(shape.faults(entry.claim, contract.CLAIM))
    yield from found
    if found:
        return
    yield from contract.inconsistencies(entry.claim, at=at)
    if numbers[_number(entry)] > 1:
        yield Fault(
            "/claim_no", "REPEATED", ("申请单号在文件中重复", "the number comes twice in the file")
        )
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


def read_all(laws: Laws, entries: Sequence[Entry], *, at: dt.datetime) -> Iterator[Known]:
    """What the records say about each claim, in its order; one statement for PIECE claims."""
    claimant = laws.claimant
    for start in range(0, len(entries), PIECE):
        claims = [entry.claim for entry in entries[start : start + PIECE]]
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
            rows = sorted(cursor.fetchall())
        yield from (Known(*row) for row in rows)


def normalise(entries: Iterable[Entry]) -> None:
    """Write identity numbers as they are compared. For entries that a dry run found sound."""
    for entry in entries:
        person = entry.claim["person"]
        person["credential"] = crypto.id_number(person["credential"])


def load_entries(
    cursor: Any,
    batch: Batch,
    entries: list[Entry],
    known: list[Known],
    laws: Laws,
    *,
    by: str,
    at: dt.datetime,
) -> None:
    """Load checked claims with what the records say about each (see `read_all`)."""
    claimant = laws.claimant
    claims = [entry.claim for entry in entries]
    records = [_record(laws, claim, k) for claim, k in zip(claims, known, strict=True)]
    prescriptions.take_many(cursor, claimant, claims, known, records, laws.catalogue, by=by, at=at)
    facts = np.frombuffer(b"".join(record.tobytes() for record in records), FACTS)
    days = facts["service_day"].astype(np.int64)
    fees = [sum(contract.fee(line) for line in claim["lines"]) for claim in claims]
    encounters = [claim["encounter"]["id"] for claim in claims]
    keys = [encounter_key(claimant.code, encounter) for encounter in encounters]
    load.write(
        cursor, batch,
        {
            "claim_no": _texts(claim["claim_no"] for claim in claims),
            "person_id": np.array([k.person_id for k in known], np.int64),
            "service_date": days,
            "fee": np.array(fees, np.int64),
            "facts": load.facts_bytes(facts),
            "encounter_id": _texts(encounters),
            "encounter_key": np.array(keys, np.int64),
            "document": np.array([document_bytes(claim) for claim in claims]),
        },
        _lines(claims, facts), by=by, at=at,
    )  # fmt: skip
    prescriptions.charge_many(cursor, claimant, claims)
    invoices.use_many(cursor, claimant, claims, at=at)


def _record(laws: Laws, claim: dict, known: Known) -> np.ndarray:
    rules, lists = laws.on(contract.local_day(claim["encounter"]["started_at"]))
    if rules is None:
        raise LookupError(laws.claimant.policy_region)
    return pack(laws.claimant, claim, known, lists)


def _lines(claims: list[dict], facts: np.ndarray) -> dict[str, np.ndarray]:
    flat = [(k, line) for k, claim in enumerate(claims) for line in claim["lines"]]
    lines = [line for _, line in flat]
    nonprofit = facts["nonprofit"] != 0
    services = [service_of(line["kind"], nonprofit=bool(nonprofit[k])) for k, line in flat]
    return {
        "claim": np.array([k for k, _ in flat], np.int64),
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
