"""What two finance departments settle: consultations of a pair of hospitals and a month, with totals.

Collected, shares, receipts, paid, open; the separate account beside it. (吉卫便函〔2021〕3号 一第2款)
"""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, field

from django.db import transaction
from django.db.models import Prefetch

from audit import trail
from audit.procedure import PROCEDURES
from institutions.calendar import month_end
from institutions.models import Institution, User
from institutions.money import yuan
from institutions.refusals import refused
from settlement.models import AccountReport, Consultation, Participant, Receipt

HEADS = (
    "会诊编号", "会诊日期", "次数", "患者缴费", "受邀方", "分配比例", "应分", "已付", "付款凭据",
    "受邀方票据", "票据金额", "冲减收入日", "未结", "状态", "结算期限", "逾期原因",
)  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One consultation as far as it concerns the pair (fen)."""

    case: Consultation
    row: Participant
    receipts: tuple[Receipt, ...]

    @property
    def collected(self) -> int:
        """What the patient paid for this hospital and did not get back."""
        there = self.case.collected_at and not self.case.refunded_at
        return (self.row.fee or 0) if there else 0

    @property
    def share(self) -> int:
        return self.row.share or 0

    @property
    def paid(self) -> int:
        return self.share if self.row.paid_at and not self.row.returned_at else 0

    @property
    def receipted(self) -> int:
        return sum(receipt.amount for receipt in self.receipts)

    @property
    def open(self) -> int:
        """What is not paid or whose revenue is not reduced yet."""
        return 0 if self.row.reversed_at or self.row.returned_at else self.share

    def late(self, on: dt.date) -> bool:
        return bool(self.case.due and on > self.case.due)


@dataclass
class Statement:
    """A pair of hospitals and a month."""

    inviting: Institution
    invited: Institution
    month: dt.date
    entries: list[Entry] = field(default_factory=list)

    @property
    def totals(self) -> dict[str, int]:
        rows = self.entries
        return {
            "sessions": len(rows), "collected": sum(row.collected for row in rows),
            "share": sum(row.share for row in rows), "paid": sum(row.paid for row in rows),
            "receipted": sum(row.receipted for row in rows), "open": sum(row.open for row in rows),
        }  # fmt: skip


def statements(
    user: User, *, month: dt.date, inviting: str = "", invited: str = ""
) -> list[Statement]:
    """The statements of a month that the user may see, pair by pair in the order of their codes."""
    receipts = Receipt.objects.visible_to(user).filter(void_at=None).order_by("pk")
    rows = (
        Participant.objects.visible_to(user)
        .filter(
            consultation__in=Consultation.objects.visible_to(user),
            consultation__session_on__gte=month, answer=Participant.Answer.ACCEPTED,
            consultation__session_on__lte=month_end(month.year, month.month),
        )
        .exclude(attended=False)
        .select_related("consultation__inviting", "hospital", "agreement")
        .prefetch_related(Prefetch("receipts", receipts))
        .order_by("institution_code", "hospital_id", "consultation__session_on", "pk")
    )  # fmt: skip
    if inviting:
        rows = rows.filter(institution_code=inviting)
    if invited:
        rows = rows.filter(hospital=invited)
    found: dict[tuple[str, str], Statement] = {}
    for row in rows:
        case = row.consultation
        key = (case.inviting_id, row.hospital_id)
        pair = found.setdefault(key, Statement(case.inviting, row.hospital, month))
        pair.entries.append(Entry(case, row, tuple(row.receipts.all())))
    return list(found.values())


def csv_rows(pairs: Iterable[Statement]) -> Iterable[list[str]]:
    """The lines of statements as text, each pair closed by its totals."""
    for pair in pairs:
        for entry in pair.entries:
            yield _line(pair, entry)
        totals = pair.totals
        yield [
            "合计", f"{pair.inviting.name} → {pair.invited.name}", str(totals["sessions"]),
            yuan(totals["collected"]), "", "", yuan(totals["share"]), yuan(totals["paid"]), "", "",
            yuan(totals["receipted"]), "", yuan(totals["open"]), "", "", "",
        ]  # fmt: skip


def _line(pair: Statement, entry: Entry) -> list[str]:
    case, row = entry.case, entry.row
    return [
        case.number, f"{case.session_on}", "1" if row.fee else "", yuan(entry.collected),
        pair.invited.name, percent(row), yuan(entry.share), yuan(entry.paid), row.payment_no,
        "、".join(receipt.number for receipt in entry.receipts), yuan(entry.receipted),
        f"{row.reversed_at:%Y-%m-%d}" if row.reversed_at else "", yuan(entry.open), state_of(case),
        f"{case.due or ''}", case.late_reason,
    ]  # fmt: skip


def percent(row: Participant) -> str:
    """The agreed part as text; empty while nothing is distributed."""
    if row.agreement is None:
        return ""
    whole, rest = divmod(row.agreement.ratio_invited, 100)
    return f"{whole}.{rest:02d}%".replace(".00%", "%")


def state_of(case: Consultation) -> str:
    """The state of a case in words of its table."""
    return PROCEDURES[case.procedure].states[case.state].label


@transaction.atomic
def report_account(
    *, institution: Institution, month: dt.date, account_name: str, staff_pay: int, note: str,
    by: str, at: dt.datetime,
) -> AccountReport:  # fmt: skip
    """What a hospital reports of its separate account in a month; said again, it is corrected."""
    if month.day != 1 or staff_pay < 0:
        raise refused("staff_pay", "AMOUNT", "应为月份和不小于零的金额", "a month and an amount")
    row, _ = AccountReport.objects.update_or_create(
        institution=institution, month=month,
        defaults={"account_name": account_name, "staff_pay": staff_pay, "note": note,
                  "region_code": institution.region_id, "institution_code": institution.pk,
                  "reported_at": at, "reported_by": by},
    )  # fmt: skip
    trail.record(
        by=by, at=at, action="accountreport.report", subject=f"accountreport:{row.pk}",
        region_code=institution.region_id, institution_code=institution.pk,
        detail={"month": month, "staff_pay": staff_pay, "note": note},
    )  # fmt: skip
    return row
