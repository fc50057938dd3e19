"""Acts on claims: receive (and settle), reverse; one transaction with its event.

The caller has set the scope (institutions.access.scoped) and so opened the transaction; a Refusal
leaves nothing behind. The clock is the caller's.
"""

import datetime as dt
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from django.db import IntegrityError, connection, transaction

from audit import prepared, trail
from audit.models import Event
from institutions import crypto
from institutions.access import EVERYTHING, scoped
from institutions.models import Scope
from institutions.refusals import Fault, Refusal
from pricing import releases
from settlement import answer, bookings, contract, facts, invoices, ledger, prescriptions, watching
from settlement.columns import Columns
from settlement.facts import Claimant
from settlement.failpoints import failpoint
from settlement.kernel import Results, check_lines, settle
from settlement.models import Reimbursement
from settlement.periods import month_of, posting_month
from settlement.posting import RESULT, TOTALS, Posted, post
from settlement.records import RECORDS, Known

CREATED = 201


@dataclass(frozen=True)
class Key:
    """An Idempotency-Key and the SM3 of the body that came with it."""

    text: str
    body_sm3: bytes


@dataclass(frozen=True)
class Receipt:
    """What a POST answers, as stored: a replay is equal byte for byte."""

    status: int
    body: bytes
    replayed: bool = False


#: The key, or the one who has it; the month to post to and the version of the law are asked with it.
GATE = """WITH gate AS (SELECT pg_try_advisory_xact_lock(hashtextextended(%(lock)s, 0)) AS mine),
put AS (INSERT INTO settlement_idempotencykey (institution_code, key, body_sm3, created_at)
    SELECT %(institution)s, %(key)s, %(body)s, %(at)s FROM gate WHERE mine
    ON CONFLICT DO NOTHING RETURNING 1)
SELECT (SELECT mine FROM gate), EXISTS (SELECT 1 FROM put), FIRST"""
KEYLESS = "SELECT true, true, FIRST"
FIRST = f"settlement_posting_month(%(area)s, %(month)s), {releases.VERSION}"
GATE, KEYLESS = GATE.replace("FIRST", FIRST), KEYLESS.replace("FIRST", FIRST)
REPLAY = """SELECT body_sm3, status, answer FROM settlement_idempotencykey
    WHERE institution_code = %s AND key = %s"""
KEEP = """UPDATE settlement_idempotencykey SET status = %s, answer = %s
    WHERE institution_code = %s AND key = %s"""


def receive(
    *, institution: Claimant, claim: dict, by: str, at: dt.datetime, key: Key | None = None,
    request: str = "", scope: Scope | None = None,
) -> Receipt:  # fmt: skip
    """Store and settle a claim (checked by settlement.contract), or replay the answer of its key.

    `request` is the reimbursement that a manual claim is entered for: it holds the invoice already.
    With a `scope` it opens the transaction itself; the scope then goes with the first statement.

    Order: key, records and rules, person-year lock, kernel (lines by number), ledger, trail.
    Raises Refusal: 409 for a key in flight or a known claim number; 422 for another body, an
    unknown person, no rules.
    """
    with _opened(institution, claim, key, at, scope) as (mine, inserted, period, version, *records):
        replay = _replay(institution, key, mine, inserted) if key else None
        if replay is not None:
            return replay
        failpoint("receive.keyed")
        claim = claim | {"lines": sorted(claim["lines"], key=lambda line: line["line_no"])}
        day = contract.local_day(claim["encounter"]["started_at"])
        catalogue = releases.catalogue_at(releases.stamp(version))
        rules = catalogue.rules(institution.policy_region, day, examples=facts.examples_allowed())
        if rules is None:
            raise Refusal(
                422,
                "NO_POLICY",
                ("本统筹区没有已发布的政策文件", "no policy is published for the region"),
            )
        known = facts.completed(Known(*records), institution, claim, rules, at=at)
        _refuse_known(claim, known)
        if claim["channel"] == invoices.MANUAL:
            invoices.use_for_claim(institution, claim, rules, request=request, at=at)
        settled = _Settling(institution, claim, known, facts.Law.of(catalogue, rules, known, day))
        return settled.store(catalogue, period=period, by=by, at=at, key=key)


@contextmanager
def _opened(
    institution: Claimant, claim: dict, key: Key | None, at: dt.datetime, scope: Scope | None
) -> Iterator[tuple]:
    """The transaction of a claim, with the row of its first statement: the key, the month, the version
    of the law, and what the records say. In somebody else's transaction without a scope."""
    given = _first(institution, key, at) | facts.asked(institution, claim, at)
    statement = (GATE if key else KEYLESS) + RECORDS.replace("SELECT", ",", 1)
    if scope is not None:
        with scoped(scope, first=(statement, given)) as row:
            yield row or ()
        return
    with transaction.atomic(savepoint=False), connection.cursor() as cursor:
        prepared.execute(cursor, statement, given)
        yield cursor.fetchone()


class _Dry(Exception):
    """Everything that was written on the way to an answer is undone."""


def presettle(*, institution: Claimant, claim: dict, by: str, at: dt.datetime) -> dict:
    """What `receive` would answer now (预结算): the same facts, kernel and locks; nothing is kept.

    The way is the settlement's own, undone at its end, so that both give the same amounts. That
    somebody's claim was looked at is an event. Raises the Refusals of `receive`.
    """
    try:
        with transaction.atomic():
            found = json.loads(receive(institution=institution, claim=claim, by=by, at=at).body)
            raise _Dry
    except _Dry:
        trail.record(
            by=by, at=at, action="claim.presettle", subject="claim",
            region_code=institution.region_code, institution_code=institution.code,
            person_hash=crypto.person_hash(claim["person"]["credential"]),
            detail={"claim_no": claim["claim_no"], "state": found["state"],
                    "totals": found["totals"]},
        )  # fmt: skip
    return found | {"id": None, "stored": False, "versions": [], "links": {}}


def enter(institution: Claimant, key: Key, at: dt.datetime) -> Receipt | None:
    """Insert the key first. In somebody else's transaction it means 409, stored a replay."""
    with connection.cursor() as cursor:
        prepared.execute(cursor, GATE, _first(institution, key, at))
        mine, inserted, *_ = cursor.fetchone()
    return _replay(institution, key, mine, inserted)


def _first(institution: Claimant, key: Key | None, at: dt.datetime) -> dict[str, Any]:
    """The values of GATE, or of KEYLESS."""
    given: dict[str, Any] = {"institution": institution.code, "area": institution.region_code,
                             "at": at, "month": month_of(at)}  # fmt: skip
    if key is not None:
        lock = f"key:{institution.code}/{key.text}"
        given |= {"lock": lock, "key": key.text, "body": key.body_sm3}
    return given


def _replay(institution: Claimant, key: Key, mine: bool, inserted: bool) -> Receipt | None:
    """None for a key that GATE entered; the stored answer of one that was known before."""
    if inserted:
        return None
    if not mine:
        detail = (
            "同一幂等键的请求正在处理，请稍后重试",
            "a request with this key is in flight",
        )
        raise Refusal(409, "IDEMPOTENCY_IN_FLIGHT", detail)
    with connection.cursor() as cursor:
        cursor.execute(REPLAY, [institution.code, key.text])
        body_sm3, status, stored = cursor.fetchone()
    _refuse_other_body(key, body_sm3)
    return Receipt(status, bytes(stored), replayed=True)


def _refuse_other_body(key: Key, body_sm3: bytes) -> None:
    if bytes(body_sm3) != key.body_sm3:
        detail = ("该幂等键已用于另一请求体", "this key was used with another body")
        raise Refusal(422, "IDEMPOTENCY_BODY_DIFFERS", detail)


def refuse_used(*, institution: Claimant, key: Key) -> None:
    """Refusal (422) when another body is stored under the key; asked for a body that is unsound."""
    with connection.cursor() as cursor:
        cursor.execute(REPLAY, [institution.code, key.text])
        row = cursor.fetchone()
    if row is not None:
        _refuse_other_body(key, row[0])


def keep(institution: Claimant, key: Key, receipt: Receipt) -> None:
    """Store what the key's request answered, in the transaction that entered the key."""
    with connection.cursor() as cursor:
        cursor.execute(KEEP, [receipt.status, receipt.body, institution.code, key.text])


def _refuse_known(claim: dict, known: Known) -> None:
    if known.same_number is not None:
        raise _number_used(claim["claim_no"], known.same_number)
    if known.person_id is None:
        detail = ("没有此参保人员", "no such insured person")
        fault = Fault("/person/credential", "PERSON_UNKNOWN", detail)
        raise Refusal(422, "PERSON_UNKNOWN", detail, (fault,))


def _number_used(claim_no: str, claim_id: int) -> Refusal:
    detail = (
        f"单号 {claim_no} 已用于申请 {claim_id}",
        f"number {claim_no} belongs to claim {claim_id}",
    )
    fault = Fault("/claim_no", "CLAIM_NUMBER_USED", detail)
    return Refusal(
        409, "CLAIM_NUMBER_USED", detail, (fault,), claim=f"{answer.API}/claims/{claim_id}"
    )


class _Settling:
    """One claim on its way from resolved facts to stored rows."""

    def __init__(self, institution: Claimant, claim: dict, known: Known, law: facts.Law):
        self.institution, self.claim, self.known, self.law = institution, claim, known, law
        self.rules, self.day = law.rules, law.day
        self.record = facts.pack(institution, claim, known, law.lists)
        self.encounter = claim["encounter"]["id"]
        self.encounter_key = facts.encounter_key(institution.code, self.encounter)

    def store(
        self, catalogue: releases.Catalogue, *, period: dt.date, by: str, at: dt.datetime,
        key: Key | None,
    ) -> Receipt:  # fmt: skip
        claim, known = self.claim, self.known
        entering = None
        if claim.get("prescriptions"):
            entering = prescriptions.entering(
                self.institution, claim, known, catalogue, by=by, at=at
            )
        year = ledger.lock_year(
            entering, person=known.person_id, year=self.day.year, scheme=known.scheme,
            balance=known.account_balance, area=self.institution.region_code,
            encounter_key=self.encounter_key, consult=facts.CONSULT,
        )  # fmt: skip
        if entering is not None:
            held = prescriptions.held(year.beside)
            prescriptions.write(self.record, self.institution, claim, known, held)
        failpoint("receive.locked")
        columns = facts.columns(self.claim, self.record, self.law, year.prior_items)
        releases = self.law.releases
        checked = check_lines(columns, self.rules, releases=releases)
        verdict = self._watch(columns, checked, by, at)
        if verdict is not None and verdict.watched.any():
            columns.add(watched=verdict.watched)
            checked = check_lines(columns, self.rules, releases=releases)
        one = np.zeros(1, np.int64)
        which = np.zeros(columns.n, np.int64)
        results = settle(
            columns, releases, which=which, keys=which, wholes=which + 1, state=year.state(),
            checked=checked,
        )  # fmt: skip
        left = np.array([year.account_left], np.int64)
        posted = post(columns, results, releases, which, 1, one, left)
        values = self._claim_values(columns["service"], period, by, at) | ledger.money(
            posted, results, [line["line_no"] for line in self.claim["lines"]],
            int(self.record["scheme"][0]), self.law.home.policy.region if self.law.home else "",
        )  # fmt: skip
        body = _bytes(self._answer(values, results, at))
        failpoint("receive.settled")
        ledger.store(
            values
            | {"accumulator": year.id, "key": key.text if key else None, "status": CREATED,
               "answer": body, "release": self.rules.release_id,
               "parameters": self.rules.parameters_id}
            | trail.columns(self._event(values, posted, by, at))
        )  # fmt: skip
        if verdict is not None:
            verdict.keep(values["fund"])
        failpoint("receive.stored")
        return Receipt(CREATED, body)

    def _watch(
        self, columns: Columns, checked: Results, by: str, at: dt.datetime
    ) -> watching.Verdict | None:
        """Let supervision look, now that the person is locked."""
        return watching.look(watching.Submitted(
            self.institution, self.claim, self.known, self.record, self.law, columns, checked, by, at
        ))  # fmt: skip

    def _claim_values(
        self, services: np.ndarray, period: dt.date, by: str, at: dt.datetime
    ) -> dict[str, Any]:
        lines = self.claim["lines"]
        return {
            "id": self.known.claim_id,
            "period": period,
            "region": self.institution.region_code,
            "institution": self.institution.code,
            "claim_no": self.claim["claim_no"],
            "person": self.known.person_id,
            "day": self.day,
            "year": self.day.year,
            "facts": self.record.tobytes(),
            "encounter_id": self.encounter,
            "encounter_key": self.encounter_key,
            "shard": self.known.person_id % facts.SHARDS if self.known.person_id else 0,
            "at": at,
            "by": by,
            "document": document(self.claim),
            "line_no": [line["line_no"] for line in lines],
            "service": services.tolist(),
            "item_code": [line["item_code"] for line in lines],
            "service_type": [line.get("service_type") or "" for line in lines],
            "quantity": [contract.quantity(line) for line in lines],
            "unit_price": [contract.unit_price(line) for line in lines],
            "line_fee": [contract.fee(line) for line in lines],
            "prescription_no": [line.get("prescription_no") or "" for line in lines],
            "trace_codes": [",".join(line.get("trace_codes", ())) for line in lines],
        }

    def _answer(self, values: Mapping[str, Any], results: Results, at: dt.datetime) -> dict:
        """The same representation that GET builds from the stored rows."""
        released = {"release_id": self.rules.release_id, "parameters_id": self.rules.parameters_id}
        order = np.argsort(values["line_no"], kind="stable")
        lines = [
            {"line_no": values["line_no"][i], "service": values["service"][i],
             "item_code": values["item_code"][i], "line_fee": values["line_fee"][i], **released,
             **{name: int(getattr(results, name)[i]) for name in RESULT}}
            for i in order
        ]  # fmt: skip
        stored = answer.Stored(
            id=values["id"], claim_no=values["claim_no"], encounter_id=self.encounter,
            region_code=self.institution.region_code, institution_code=self.institution.code,
            person_id=values["person"], service_date=self.day, received_at=at, fee=values["fee"],
            facts=values["facts"], lines=lines,
            legs=[], versions=[{**values, "settled_at": at}],
        )  # fmt: skip
        return answer.represent(stored, self.rules, self.law.home)

    def _event(self, values: Mapping[str, Any], posted: Posted, by: str, at: dt.datetime) -> Event:
        booked = bookings.received(values, self.rules.release_id, self.rules.parameters_id)
        return trail.event_row(
            by=by, at=at, action="claim.receive", subject=f"claim:{values['id']}",
            region_code=self.institution.region_code, institution_code=self.institution.code,
            person_hash=crypto.person_hash(self.claim["person"]["credential"]),
            detail={"claim_no": values["claim_no"], "state": values["state"],
                    "release": self.rules.release_id, "parameters": self.rules.parameters_id,
                    **ledger.totals_of(posted), **bookings.told(dict([booked]))},
        )  # fmt: skip


def document(claim: dict) -> dict:
    """The claim as kept: all but lines and number; credential, device, address as hashes."""
    kept = {name: value for name, value in claim.items() if name not in ("claim_no", "lines")}
    session = dict(claim["encounter"]["session"])
    for name in ("device", "address"):
        if session.get(name):
            session[name] = crypto.keyed_hash(f"session {name}", session[name]).hex()
    person = claim["person"]
    kept["encounter"] = claim["encounter"] | {"session": session}
    kept["person"] = person | {"credential": crypto.person_hash(person["credential"]).hex()}
    return kept


def _bytes(value: dict) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def claim_of_number(institution: str, claim_no: str) -> Refusal | None:
    """The refusal for a number that another transaction took while ours was under way."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT claim_id FROM settlement_claimkey"
            " WHERE institution_code = %s AND claim_no = %s",
            [institution, claim_no],
        )
        row = cursor.fetchone()
    return _number_used(claim_no, row[0]) if row else None


def reverse(
    *, institution: Claimant, claim_id: int, reason: str, by: str, at: dt.datetime,
    entered: bool = False,
) -> answer.Stored:  # fmt: skip
    """Reverse a claim's current settlement: the next, even version; the person-year is given back (红冲).

    The year and scheme are the settlement's own, whatever year it is now; the posting falls into the
    open month. A claim that posted nothing (every line held or refused) is reversed as well: by an
    empty version, so that nobody passes it afterwards. One that was `entered` for a person's request
    is reversed by that request alone. Raises Refusal: 404 for a claim of nobody or of somebody else;
    409 when it is reversed (a reversal is not reversed) or waits for its settlement.
    """
    with transaction.atomic(savepoint=False):
        period = posting_month(institution.region_code, at)
        first = answer.read(claim_id, institutions=[institution.code], entered=entered)
        if first is None:
            raise Refusal(404, "NOT_FOUND", ("没有此申请", "no such claim"))
        if first.settled is None:
            raise Refusal(
                409, "NOT_SETTLED", ("申请尚未结算", "the claim waits for its settlement")
            )
        settled = first.settled
        ledger.lock_persons([settled["person_id"]])
        stored = answer.read(claim_id, institutions=[institution.code], entered=entered)
        if stored is None:
            raise Refusal(404, "NOT_FOUND", ("没有此申请", "no such claim"))
        if stored.reversal is not None:
            raise Refusal(409, "ALREADY_REVERSED", ("申请已冲正", "the claim was reversed before"))
        if not entered:
            _refuse_requested(claim_id)
        settled = stored.settled or settled
        ledger.reverse([(claim_id, settled["version"], period)], reason=reason, by=by, at=at)
        trail.record(
            by=by, at=at, action="claim.reverse", subject=f"claim:{claim_id}",
            region_code=stored.region_code, institution_code=stored.institution_code,
            detail={"reason": reason, "version": settled["version"] + 1,
                    **{name: -settled[name] for name in TOTALS},
                    **bookings.written([(claim_id, settled["version"] + 1)])},
        )  # fmt: skip
        found = answer.read(claim_id, institutions=[institution.code], entered=entered)
        return found or stored


def _refuse_requested(claim_id: int) -> None:
    """What a person's request is paid by stays, whoever uploaded it."""
    with scoped(EVERYTHING):
        rows = Reimbursement.objects.filter(claim_id=claim_id)
        taken = rows.exclude(state__in=Reimbursement.OVER).exists()
    if taken:
        detail = ("该单据已由参保人申请手工报销，不能冲正；确需更正的请联系经办机构",
                  "the claim is being reimbursed to the person")  # fmt: skip
        raise Refusal(409, "CLAIM_REIMBURSED", detail)


def refused(
    *, institution: Claimant, action: str, subject: str, code: str, by: str, at: dt.datetime
) -> None:
    """Record that an act was refused, in a transaction of its own."""
    with transaction.atomic():
        trail.record(
            by=by, at=at, action=action, subject=subject, outcome="refused",
            region_code=institution.region_code, institution_code=institution.code,
            detail={"code": code},
        )  # fmt: skip


def conflict_of(error: IntegrityError, *, institution: Claimant, claim_no: str) -> Refusal | None:
    """What a broken unique key means: the claim number was taken meanwhile, or (None) another fault."""
    if "settlement_claimkey" not in str(error):
        return None
    return claim_of_number(institution.code, claim_no)
