"""Jilin's case files through the real records: consultations, receipts, lines and bills, read back.

The pure answers are tested with all case files (test_cases); here commands make records from the same
inputs and the answers come from what is stored.
"""

import datetime as dt
import json
import shutil
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from audit.models import Move
from audit.procedure import Refused
from institutions.models import Institution
from institutions.money import fen, yuan
from institutions.refusals import Refusal
from pricing.commands import SHIPPED, load_shipped
from settlement import line_fees, line_payments, lines, maintenance
from settlement.consultation_forms import AgreementForm
from settlement.models import (
    FeeBill,
    FeeItem,
    Leg,
    MaintenanceContract,
    NetworkLine,
    Participant,
    Voucher,
)
from tests import factories
from tests.settlement.jilin import Story, agreed, at, hospital

FILES = ("jilin.json", "jilin-branches.json")
CASES = [
    case
    for name in FILES
    for case in json.loads(
        (Path(__file__).parents[1] / "policies" / name).read_text(encoding="utf-8")
    )["cases"]
]
#: What a case asks and the records do not hold, with the reason.
UNANSWERED = {
    "municipal_charge": "the notice prints no price for other hospitals: no field holds one"
}
DAY, LATER = date(2021, 4, 12), date(2030, 1, 1)
SIGNED = {"by": "centre", "at": at(LATER)}


def of(subject: str) -> list[dict]:
    return [case for case in CASES if case["subject"] == subject]


def published(price: str | None, folder: Path) -> None:
    """The notice, and the example parameters with this price of a consultation."""
    for path in SHIPPED.glob("*jilin*.yaml"):
        shutil.copy(path, folder)
    target = folder / "parameters-jilin.yaml"
    kept = target.read_text(encoding="utf-8").splitlines()
    row = next(number for number, line in enumerate(kept) if "key: mdt_price" in line)
    if price is None:
        kept.pop(row)
    else:
        kept[row] = kept[row].replace("value: 40000", f"value: {fen(price)}")
    target.write_text("\n".join(kept), encoding="utf-8")
    load_shipped(by="loader", at=factories.RECORDED, folder=folder)


def compared(case: dict, got: dict) -> tuple[dict, dict]:
    """Expected and found, key by key; a key without an answer fails unless it is named above."""
    expected = {key: value for key, value in case["expected"].items() if key not in UNANSWERED}
    missing = sorted(expected.keys() - got.keys())
    assert (case["id"], missing) == (case["id"], [])
    return expected, {key: _like(got[key], value) for key, value in expected.items()}


def _like(got: object, expected: object) -> object:
    """Of an object only the keys that are asked for."""
    if isinstance(expected, dict) and isinstance(got, dict):
        return {key: got[key] for key in expected}
    return got


# --- Consultations ---


class Session:
    """One session of a case, played with hospitals that stand for the letters."""

    def __init__(self, number: str, rows: list[dict], day: date):
        self.inviting = hospital(f"邀请方{number}", "municipal")
        self.names: dict[str, Institution] = {}
        for row in rows:
            if row["hospital"] not in self.names:
                made = hospital(f"{row['hospital']}{number}", row["level"])
                self.names[row["hospital"]] = made
                self._agree(made, row, day)
        came = [self.names[row["hospital"]].pk for row in rows if row["experts"]]
        self.story = Story.begin(self.inviting, *self.names.values(), day=day)
        self.story.to("held", day, hold={"attended": came})
        self.outcome, self.reason = self._play(day)

    def _agree(self, made: Institution, row: dict, day: date) -> None:
        if "ratio_invited" not in row:
            return
        form = AgreementForm({
            "invited": made.name, "number": "1", "valid_from": "2020-01-01",
            "ratio_inviting": row["ratio_inviting"], "ratio_invited": row["ratio_invited"],
        })  # fmt: skip
        if form.is_valid():
            agreed(self.inviting, made, form.cleaned_data["ratio_invited"])

    def _play(self, day: date) -> tuple[str, str | None]:
        case = self.story.case
        if not case.charge_count:
            self.story.step("close_open", day, 12, entry="1")
            return "no_rule", "NO_TARIFF" if day >= date(2021, 3, 25) else "RULE_NOT_IN_FORCE"
        try:
            self.story.to("distributed", day)
        except Refused as refusal:
            reason = {"PRICE_UNKNOWN": "NO_TARIFF", "AGREEMENT_MISSING": "RATIO_NOT_100"}
            found = reason[refusal.code]
            return "no_rule" if found == "NO_TARIFF" else "reject", found
        return "payable", None


def read_back(sessions: list[Session]) -> dict:
    cases = [session.story.case for session in sessions]
    rows = Participant.objects.filter(consultation__in=cases).select_related("hospital")
    by_code = {row.pk: name for session in sessions for name, row in session.names.items()}
    shares: dict[str, int | None] = {}
    for row in rows:
        name = by_code[row.hospital_id]
        before = shares.get(name, 0)
        shares[name] = None if None in (before, row.share) else before + row.share
    charged = [case for case in cases if case.charge_count]
    known = all(case.amount for case in charged)
    total = sum(case.amount for case in charged) if known else None
    is_open = any(row.fee is None for row in rows) or not charged
    paid = sum(share or 0 for share in shares.values())
    refused = [s for s in sessions if s.outcome == "reject"]
    told = next((s for s in sessions if s.outcome == "payable"), sessions[0])
    return {
        "charge_count": sum(case.charge_count for case in cases),
        "mdt_total": yuan(total) if total is not None else None,
        "patient_total": yuan(total) if total is not None and not is_open else None,
        "invited": {name: None if share is None else yuan(share) for name, share in shares.items()},
        "inviting": yuan(total - paid) if total is not None and not refused else None,
        "decision": told.outcome, "reason": told.reason,
    }  # fmt: skip


def sessions_of(case: dict) -> list[Session]:
    given = case["input"]
    rows = given.get("sessions") or [
        {"date": DAY.isoformat(), "participants": given["participants"]}
    ]
    days = [date.fromisoformat(row["date"]) for row in rows]
    return [
        Session(f"{case['id']}-{number}", row["participants"], day)
        for number, (row, day) in enumerate(zip(rows, days, strict=True))
    ]


PRICES = sorted({case["input"]["mdt_price"] or "" for case in of("consultation_split")})


@pytest.mark.parametrize("price", PRICES)
def test_splits_of_recorded_consultations(db, tmp_path, price):
    published(price or None, tmp_path)
    for case in of("consultation_split"):
        if (case["input"]["mdt_price"] or "") == price:
            expected, got = compared(case, read_back(sessions_of(case)))
            assert (case["id"], got) == (case["id"], expected)


def revenue(story: Story) -> int:
    ids = Voucher.objects.filter(subject=story.case.subject).values("pk")
    legs = Leg.objects.filter(claim_id__in=ids, account=Leg.Account.CONSULTATION_REVENUE)
    return -sum(legs.values_list("amount", flat=True))


@pytest.mark.parametrize("case", of("receipt"), ids=lambda case: case["id"])
def test_receipts_of_recorded_consultations(db, tmp_path, case):
    given = case["input"]
    published(given["collected"], tmp_path)
    collected, paid = fen(given["collected"]), fen(given["invited_paid"] or "280.00")
    here, there = hospital("邀请方", "municipal"), hospital("受邀方")
    agreed(here, there, paid * 10_000 // collected)
    story = Story.begin(here, there).to("distributed")
    gross, reason = revenue(story), None
    if given["invited_paid"] is not None:
        story.pay(there, DAY)
    receipts = given["invited_receipt"]
    rows = receipts if isinstance(receipts, list) else [receipts] if receipts else []
    try:
        for number, row in enumerate(rows):
            story.receipt(there, DAY, fen(row), f"SJ{number}")
        story.reduce(there, DAY)
    except Refusal as refusal:
        reason = {"NOT_PAID": "RECEIPT_AMOUNT_MISMATCH"}.get(refusal.code, refusal.code)
    expected, got = compared(case, {
        "can_reverse": story.participant(there).reversed_at is not None, "reason": reason,
        "inviting_gross_revenue": yuan(gross), "reversal": yuan(gross - revenue(story)),
        "inviting_net_revenue": yuan(revenue(story)),
    })  # fmt: skip
    assert got == expected


def test_clocks_of_recorded_consultations(db, tmp_path):
    """Settled with a reason after the last day too: the limit is soft."""
    published("400.00", tmp_path)
    here, there = hospital("邀请方", "municipal"), hospital("受邀方")
    agreed(here, there, 0)
    for case in of("consultation_clock"):
        consulted = date.fromisoformat(case["input"]["consult_date"])
        timely, stopped, due, nominal = [], [], None, None
        for text in case["input"]["settled_on"]:
            story = Story.begin(here, there, day=consulted).to("charged", consulted)
            due, nominal = story.case.due, story.case.due_nominal
            story.step("distribute", date.fromisoformat(text), 18, late_reason="示例原因")
            stopped.append(story.case.state != "settled")
            timely.append(Move.objects.get(subject=story.case.subject, step="settle").on_time)
        expected, got = compared(case, {
            "due": str(due), "nominal_last_day": str(nominal), "on_time": timely, "hard_stop": any(stopped),
        })  # fmt: skip
        assert (case["id"], got) == (case["id"], expected)


# --- Lines and maintenance ---


def registered(case: dict) -> Institution:
    given = case["input"]
    place = hospital(case["id"], "county")
    for number, row in enumerate(given.get("lines") or [given["line"]]):
        lines.open_line(
            institution=place, number=f"{case['id']}-{number}", service=row["service"],
            bandwidth_mb=row["bandwidth_mb"], count=row["lines"], tier=row["tier"],
            opened_on=date.fromisoformat(row["opened"]), **SIGNED,
        )  # fmt: skip
    return place


def total(items: list[FeeItem], name: str) -> str | None:
    values = [getattr(item, name) for item in items]
    return None if None in values else yuan(sum(values))


def of_years(items: list[FeeItem], given: dict) -> dict:
    numbers = given.get("service_years") or [given["service_year"]]
    sets = [[item for item in items if item.number == number] for number in numbers]
    spans = [[str(part[0].first), str(part[0].last)] for part in sets]
    amounts = [total(part, "amount") for part in sets]
    commission = [total(part, "commission") for part in sets]
    if "service_year" in given:
        return {"period": spans[0], "institution": amounts[0], "commission": commission[0]}
    return {"period": spans, "institution": amounts, "commission": commission}


def payer(items: list[FeeItem], day: date) -> str | None:
    found = [item for item in items if item.first <= day <= item.last]
    return ("commission" if found[0].commission else "institution") if found else None


def through(place: Institution, items: list[FeeItem], last: date) -> dict:
    """The figure by month: of the bills at a year's end, else of the lines as their page says it."""
    begun = [item for item in items if item.first <= last]
    whole = total(begun, "amount")
    law = lines.law_of("jilin", last).policy.data
    if (last.month, last.day) == (12, 31):
        bills = FeeBill.objects.filter(institution=place, year__lte=last.year)
        months = sum(bill.by_month for bill in bills)
    else:
        rows = NetworkLine.objects.filter(institution=place)
        dues = [
            line_fees.by_calendar_month(lines.fact_of(row), row.opened_on, last, law)
            for row in rows
        ]
        months = sum(due.institution for due in dues)
    return {"by_service_year": whole, "by_calendar_month": yuan(months), "institution": whole,
            "default": law["tariffs"]["default_basis"], "commission": total(begun, "commission")}  # fmt: skip


def paid_in_time(case: dict) -> dict:
    """One institution per payment: confirmed, then paid on the day of the case (or never)."""
    timely, due = [], None
    for number, text in enumerate(case["input"]["paid"]):
        place = registered(case | {"id": f"{case['id']}-{number}"})
        lines.make_bills(year=case["input"]["year"], prefix="22", **SIGNED)
        bill = FeeBill.objects.get(institution=place)
        due = bill.due_on
        confirmed = at(due - dt.timedelta(days=20))
        lines.confirm_bill(bill=bill, by="centre", at=confirmed)
        if text:
            day = date.fromisoformat(text)
            line_payments.pay_bill(
                bill=bill, amount=bill.amount, paid_on=day, payment_no=f"{case['id']}-{number}",
                by="centre", at=at(day),
            )  # fmt: skip
        bill.refresh_from_db()
        timely.append(bill.paid_on is not None and bill.paid_on <= bill.due_on)
    return {"due": str(due), "on_time": timely, "institution": yuan(bill.amount)}


def test_fees_of_recorded_lines(db, tmp_path):
    published("400.00", tmp_path)
    cases = [case for case in of("line_fee") if "year" not in case["input"]]
    places = {case["id"]: registered(case) for case in cases}
    for year in range(2018, 2026):
        lines.make_bills(year=year, prefix="22", **SIGNED)
    for case in cases:
        given, place = case["input"], places[case["id"]]
        items = list(FeeItem.objects.filter(bill__institution=place))
        open_one = next((item for item in items if item.amount is None), None)
        answer: dict = {
            "decision": open_one.decision if open_one else "payable",
            "reason": open_one.reason if open_one else None,
        }
        if "service_year" in given or "service_years" in given:
            answer |= of_years(items, given)
        if "on" in given:
            answer["payer"] = [payer(items, date.fromisoformat(day)) for day in given["on"]]
        if "through" in given:
            answer |= through(place, items, date.fromisoformat(given["through"]))
        expected, got = compared(case, answer)
        assert (case["id"], got) == (case["id"], expected)
    assert NetworkLine.objects.count() >= len(cases)


def test_payments_of_recorded_bills(db, tmp_path):
    published("400.00", tmp_path)
    for case in of("line_fee"):
        if "year" in case["input"]:
            expected, got = compared(case, paid_in_time(case))
            assert (case["id"], got) == (case["id"], expected)


def contracted(case: dict, name: str = "", ends_on: date | None = None) -> MaintenanceContract:
    given = case["input"]
    accepted = given.get("acceptance_date")
    return maintenance.record_contract(
        institution=hospital(case["id"] + name, "county"), number=case["id"] + name,
        base=fen(given.get("contract_base", "0.00")), ends_on=ends_on,
        rate=int(Decimal(given.get("rate_percent", "10")) * 100),
        accepted_on=date.fromisoformat(accepted) if accepted else None, **SIGNED,
    )  # fmt: skip


def maintained(case: dict) -> dict:
    """What is billed from the day asked for; a contract that ends that day says why nothing is."""
    given = case["input"]
    asked = given.get("year_starting") or (f"{given['month']}-01" if "month" in given else "")
    try:
        contract = contracted(case)
    except Refusal as refusal:
        return {"decision": "reject", "reason": refusal.code, "fee": None}
    answer: dict = {"maintenance_starts": str(contract.starts_on)}
    if not asked:
        return answer
    reason = None
    try:
        contracted(case, "当日", date.fromisoformat(asked))
    except Refusal as refusal:
        reason = refusal.code
    lines.make_bills(year=int(asked[:4]), prefix="22", **SIGNED)
    items = list(FeeItem.objects.filter(contract=contract, first__lte=asked))
    fee = yuan(sum(item.amount for item in items))
    return answer | {
        "fee": fee, "decision": "reject" if reason else items[0].decision, "reason": reason,
    }  # fmt: skip


def test_maintenance_of_recorded_contracts(db, tmp_path):
    published("400.00", tmp_path)
    for case in of("maintenance_fee"):
        expected, got = compared(case, maintained(case))
        assert (case["id"], got) == (case["id"], expected)
