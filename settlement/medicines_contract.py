"""PURE. Contracts over REST of prescriptions, dispensings, deliveries, pharmacies' claims."""

import datetime as dt
from collections import Counter
from collections.abc import Iterator

from institutions.refusals import Fault
from institutions.shape import choice, code, many, moment, nullable, record, text
from settlement.contract import (
    CLAIM,
    CLOCK_SKEW,
    EVIDENCE,
    FEE_DIGITS,
    PRICE_DIGITS,
    QUANTITY_DIGITS,
    TIME,
    decimal,
    fee,
    prescribed_nothing,
    product_fen,
    quantity,
)

ENCOUNTER, PERSON = CLAIM["properties"]["encounter"], CLAIM["properties"]["person"]
DRUG_LINE = CLAIM["properties"]["prescriptions"]["items"]["properties"]["lines"]["items"]
CREDENTIAL = PERSON["properties"]["credential"]
HASH = EVIDENCE["properties"]["content_hash"]
RELATIONS = ("self", "family", "agent", "station")
STEPS = ("picked_up", "delivered", "signed", "returned")
REASONS = ("quality", "wrong", "refused", "undelivered", "recall", "changed")
STATES = (
    "unsigned", "signed", "returned", "reviewed", "released", "partly", "dispensed", "expired",
    "withdrawn",
)  # fmt: skip

PRESCRIPTION = record(
    "no encounter person signed_by signed_at signature lines",
    no=code(40),
    encounter=ENCOUNTER,
    person=record(
        "credential_type credential",
        credential_type=PERSON["properties"]["credential_type"],
        credential=CREDENTIAL,
    ),
    signed_by=code(20),
    signed_at=TIME,
    signature=HASH,
    lines=many(DRUG_LINE, 100, 1),
)
REVIEW = record(
    "reviewed_by reviewed_at passed",
    reviewed_by=code(20),
    reviewed_at=TIME,
    passed={"type": "boolean"},
    reason=nullable(text(200)),
)
WITHDRAWAL = record("reason", reason=text(200))
RELEASE = record("pharmacy", pharmacy=code(12))
DISPENSING = record(
    "no dispensed_at lines",
    no=code(40),
    dispensed_at=TIME,
    pharmacist=nullable(code(20)),
    lines=many(
        record(
            "drug_code quantity",
            drug_code=code(40),
            quantity=decimal(QUANTITY_DIGITS, 7),
            trace_codes=many(code(40), 500),
        ),
        100,
        1,
    ),
)
RETURN = record(
    "no returned_at reason lines",
    no=code(40),
    returned_at=TIME,
    reason=choice(*REASONS),
    note=nullable(text(200)),
    pharmacist=nullable(code(20)),
    lines=DISPENSING["properties"]["lines"],
)
DELIVERY = record("logistics waybill", logistics=code(12), waybill=code(40))
STEP = record("kind at", kind=choice(*STEPS), at=TIME, relation=nullable(choice(*RELATIONS)))
PHARMACY_CLAIM = record(
    "claim_no person lines",
    claim_no=code(40),
    person=PERSON,
    lines=many(
        record(
            "line_no item_code quantity unit_price fee",
            line_no={"type": "integer", "minimum": 1, "maximum": 9999},
            item_code=code(30),
            quantity=decimal(QUANTITY_DIGITS, 7),
            unit_price=decimal(PRICE_DIGITS, 9),
            fee=decimal(FEE_DIGITS, 9),
            trace_codes=many(code(40), 100),
        ),
        100,
        1,
    ),
    e_invoice_no=nullable(code(40)),
    pay_from_account={"type": "boolean"},
)
FILE_FIELDS = record(
    "kind at", kind=EVIDENCE["properties"]["kind"], at=TIME, content_hash=nullable(HASH)
)


def wrong_prescription(given: dict, *, at: dt.datetime) -> Iterator[Fault]:
    """What a well-formed prescription says against itself or the clock."""
    encounter = given["encounter"]
    if sum(diagnosis["main"] for diagnosis in encounter["diagnoses"]) != 1:
        detail = ("应恰有一个主要诊断", "exactly one diagnosis is the main one")
        yield Fault("/encounter/diagnoses", "MAIN_DIAGNOSIS", detail)
    started, signed = moment(encounter["started_at"]), moment(given["signed_at"])
    if started and signed and signed < started:
        yield Fault("/signed_at", "ORDER", ("早于就诊开始", "earlier than the encounter"))
    if signed and signed > at + CLOCK_SKEW:
        yield Fault("/signed_at", "FUTURE", ("晚于接收时间", "later than the receipt"))
    yield from prescribed_nothing(given, "")
    yield from _repeated([line["drug_code"] for line in given["lines"]], "drug_code")


def wrong_dispensing(given: dict) -> Iterator[Fault]:
    """Nothing of a drug, a drug or a package twice."""
    yield from prescribed_nothing(given, "")
    yield from _repeated([line["drug_code"] for line in given["lines"]], "drug_code")
    codes = Counter(trace for line in given["lines"] for trace in line.get("trace_codes", ()))
    for position, line in enumerate(given["lines"]):
        if any(codes[trace] > 1 for trace in line.get("trace_codes", ())):
            detail = ("追溯码在本单中重复", "a trace code comes twice")
            yield Fault(f"/lines/{position}/trace_codes", "REPEATED", detail, "二十六")


def wrong_claim(given: dict) -> Iterator[Fault]:
    """Line numbers twice, quantities of nothing, fees that are not price × quantity."""
    yield from _repeated([line["line_no"] for line in given["lines"]], "line_no")
    for position, line in enumerate(given["lines"]):
        pointer = f"/lines/{position}"
        if quantity(line) == 0:
            yield Fault(f"{pointer}/quantity", "RANGE", ("应大于零", "expected more than zero"))
        if product_fen(line) != fee(line):
            detail = ("单价 × 数量四舍五入后与金额不等", "unit price × quantity differs")
            yield Fault(f"{pointer}/fee", "FEE_MISMATCH", detail)


def _repeated(values: list, name: str) -> Iterator[Fault]:
    counts = Counter(values)
    for position, value in enumerate(values):
        if counts[value] > 1:
            detail = ("在本单中重复", "comes twice")
            yield Fault(f"/lines/{position}/{name}", "REPEATED", detail)
