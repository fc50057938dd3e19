"""PURE. The contract of a claim over REST: schemas (served as OpenAPI) and what none can say."""

import datetime as dt
from collections import Counter
from collections.abc import Iterator
from zoneinfo import ZoneInfo

from institutions.refusals import Fault
from institutions.shape import choice, code, many, moment, nullable, record, scaled, text

LOCAL = ZoneInfo("Asia/Shanghai")
KINDS = ("consult", "drug", "delivery", "remote_consult", "other")
CONDITIONS = ("chronic", "common", "acute_not_common")
EVIDENCE_KINDS = ("record", "prescription", "purchase", "delivery", "realname")
STATES = ("payable", "reject", "review", "no_rule", "partial", "reversed", "received")
MAX_LINES = 200
CLOCK_SKEW = dt.timedelta(minutes=5)
FEE_DIGITS, QUANTITY_DIGITS, PRICE_DIGITS = 2, 4, 6
#: quantity × unit price is in 10^-10 yuan; a fen is 10^-2.
PRODUCT_PER_FEN = 10 ** (QUANTITY_DIGITS + PRICE_DIGITS - FEE_DIGITS)


def decimal(digits: int, whole: int) -> dict:
    message = (
        f"应为十进制字符串，至多 {digits} 位小数",
        f"expected a decimal string, {digits} digits",
    )
    pattern = rf"^[0-9]{{1,{whole}}}(\.[0-9]{{1,{digits}}})?$"
    return {"type": "string", "maxLength": 20, "pattern": pattern, "x-message": message}


BOOLEAN = {"type": "boolean"}
TIME = {
    "type": "string",
    "format": "date-time",
    "maxLength": 40,
    "pattern": (
        r"^(19|20)[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}"
        r"(:[0-9]{2}(\.[0-9]{1,6})?)?(Z|[+-][0-9]{2}:[0-9]{2})$"
    ),
    "x-message": ("应为带时区的 ISO 8601 时间", "expected an ISO 8601 time with offset"),
}
ICD10 = {
    "type": "string",
    "maxLength": 12,
    "pattern": r"^[A-Z][0-9]{2}(\.[0-9x][0-9]{0,2}(x[0-9]{3})?)?[+*]?$",
    "x-message": ("应为 ICD-10 编码", "expected an ICD-10 code"),
}
ENCOUNTER_ID = code(60)

CLAIM = record(
    "claim_no encounter person physician lines channel",
    claim_no=code(40),
    encounter=record(
        "id business_type visit_type started_at ended_at department_code diagnoses session",
        id=ENCOUNTER_ID,
        business_type=choice("internet", "normal", "offsite"),
        visit_type=choice("first", "revisit"),
        condition=choice(*CONDITIONS),
        started_at=TIME,
        ended_at=TIME,
        department_code=code(20),
        diagnoses=many(record("code name main", code=ICD10, name=text(100), main=BOOLEAN), 20, 1),
        session=record(
            "medium", medium=choice("video", "text", "voice"), device=text(200), address=text(200)
        ),
    ),
    person=record(
        "credential_type credential matched",
        credential_type=choice("e_credential", "id_card", "card"),
        credential=text(40),
        verified_at=nullable(TIME),
        matched=BOOLEAN,
    ),
    consent=record(
        "item_and_price_explained", item_and_price_explained=BOOLEAN, given_at=nullable(TIME)
    ),
    physician=record("code", code=code(20)),
    prescriptions=many(
        record(
            "no lines",
            no=code(40),
            signed_by=nullable(code(20)),
            signed_at=nullable(TIME),
            reviewed_by=nullable(code(20)),
            reviewed_at=nullable(TIME),
            lines=many(
                record(
                    "drug_code quantity days_supply unit",
                    drug_code=code(40),
                    quantity=decimal(QUANTITY_DIGITS, 7),
                    days_supply={"type": "integer", "minimum": 0, "maximum": 366},
                    unit=text(20),
                ),
                100,
                1,
            ),
        ),
        50,
    ),
    consultation=record(
        "charged_by hospitals inpatient",
        charged_by=choice("inviting", "invited"),
        hospitals=many(record("name provincial", name=text(120), provincial=BOOLEAN), 50, 1),
        inpatient=BOOLEAN,
    ),
    lines=many(
        record(
            "line_no kind item_code quantity unit_price fee",
            line_no={"type": "integer", "minimum": 1, "maximum": 9999},
            kind=choice(*KINDS),
            item_code=code(30),
            quantity=decimal(QUANTITY_DIGITS, 7),
            unit_price=decimal(PRICE_DIGITS, 9),
            fee=decimal(FEE_DIGITS, 9),
            service_type=nullable(text(40)),
            prescription_no=nullable(code(40)),
            trace_codes=many(code(40), 100),
        ),
        MAX_LINES,
        1,
    ),
    channel=choice("online", "manual"),
    e_invoice_no=nullable(code(40)),
    pay_from_account=BOOLEAN,
)

REVERSAL = record("reason", reason=text(200))

EVIDENCE = record(
    "kind content_hash at reference",
    kind=choice(*EVIDENCE_KINDS),
    alg=choice("sm3", "sha256"),
    content_hash={
        "type": "string",
        "maxLength": 64,
        "pattern": r"^[0-9a-f]{64}$",
        "x-message": ("应为 64 位小写十六进制摘要", "expected 64 lower-case hexadecimal digits"),
    },
    at=TIME,
    reference=text(200),
)


def inconsistencies(claim: dict, *, at: dt.datetime) -> Iterator[Fault]:
    """What a well-formed claim says against itself or against the clock (`at`, the receipt)."""
    yield from _times(claim["encounter"], at)
    mains = sum(diagnosis["main"] for diagnosis in claim["encounter"]["diagnoses"])
    if mains != 1:
        yield Fault(
            "/encounter/diagnoses", "MAIN_DIAGNOSIS",
            ("应恰有一个主要诊断", "exactly one diagnosis is the main one"),
        )  # fmt: skip
    numbers = Counter(line["line_no"] for line in claim["lines"])
    issued = Counter(prescription["no"] for prescription in claim.get("prescriptions", ()))
    for position, prescription in enumerate(claim.get("prescriptions", ())):
        if issued[prescription["no"]] > 1:
            yield _repeated(f"/prescriptions/{position}/no")
        yield from prescribed_nothing(prescription, f"/prescriptions/{position}")
    for position, line in enumerate(claim["lines"]):
        pointer = f"/lines/{position}"
        if numbers[line["line_no"]] > 1:
            yield _repeated(f"{pointer}/line_no")
        yield from _line(line, pointer, issued)
        if line["kind"] == "remote_consult" and "consultation" not in claim:
            yield Fault(
                "/consultation", "REQUIRED", ("远程会诊行须有此项", "remote consultations need it")
            )


def prescribed_nothing(prescription: dict, pointer: str) -> Iterator[Fault]:
    """A prescription of nothing of a drug."""
    for number, line in enumerate(prescription["lines"]):
        if quantity(line) == 0:
            detail = ("应大于零", "expected more than zero")
            yield Fault(f"{pointer}/lines/{number}/quantity", "RANGE", detail)


def _repeated(pointer: str) -> Fault:
    return Fault(pointer, "REPEATED", ("编号在本单中重复", "the number comes twice in this claim"))


def _times(encounter: dict, at: dt.datetime) -> Iterator[Fault]:
    started, ended = moment(encounter["started_at"]), moment(encounter["ended_at"])
    if started and ended and ended < started:
        yield Fault("/encounter/ended_at", "ORDER", ("早于开始时间", "earlier than the start"))
    if started and started > at + CLOCK_SKEW:
        yield Fault("/encounter/started_at", "FUTURE", ("晚于接收时间", "later than the receipt"))


def _line(line: dict, pointer: str, issued: Counter) -> Iterator[Fault]:
    if quantity(line) == 0:
        yield Fault(f"{pointer}/quantity", "RANGE", ("应大于零", "expected more than zero"))
    if product_fen(line) != fee(line):
        detail = (
            "单价 × 数量四舍五入后与金额不等",
            "unit price × quantity, rounded half up, differs",
        )
        yield Fault(f"{pointer}/fee", "FEE_MISMATCH", detail)
    number = line.get("prescription_no")
    if number and number not in issued:
        detail = ("处方不在本单中", "the prescription is not in this claim")
        yield Fault(f"{pointer}/prescription_no", "PRESCRIPTION_UNKNOWN", detail)


def fee(line: dict) -> int:
    """Fen."""
    return scaled(line["fee"], FEE_DIGITS)


def quantity(line: dict) -> int:
    """1/10000 of a unit."""
    return scaled(line["quantity"], QUANTITY_DIGITS)


def unit_price(line: dict) -> int:
    """1/1000000 yuan."""
    return scaled(line["unit_price"], PRICE_DIGITS)


def product_fen(line: dict) -> int:
    """Unit price × quantity in fen, rounded half up."""
    return (unit_price(line) * quantity(line) + PRODUCT_PER_FEN // 2) // PRODUCT_PER_FEN


def local_day(text_of_time: str) -> dt.date:
    """The calendar day in Asia/Shanghai of an ISO 8601 time."""
    return dt.datetime.fromisoformat(text_of_time).astimezone(LOCAL).date()
