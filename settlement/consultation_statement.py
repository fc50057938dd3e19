"""What two finance departments settle: consultations of a pair of hospitals and a month, with totals.

Collected, shares, receipts, paid, open; the separate account beside it. (吉卫便函〔2021〕3号 一第2款)
"""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from django.db import transaction
from django.db.models import Case, Count, OuterRef, Prefetch, Q, QuerySet, Subquery, Sum, When
from django.db.models.functions import Coalesce, TruncMonth

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


AMOUNTS = ("collected", "share", "paid", "receipted", "open")
Totals = dict[str, int]


@dataclass(frozen=True)
class Entry:
    """One consultation as far as it concerns the pair; amounts as `sessions` says them (fen)."""

    case: Consultation
    row: Participant
    receipts: tuple[Receipt, ...]
    collected: int
    paid: int
    receipted: int
    open: int

    @property
    def share(self) -> int:
        return self.row.share or 0

    def late(self, on: dt.date) -> bool:
        return bool(self.case.due and on > self.case.due)


@dataclass(frozen=True)
class Statement:
    """A pair of hospitals and a month: its totals, and its consultations or a page of them."""

    inviting: Institution
    invited: Institution
    month: dt.date
    totals: Totals
    entries: Sequence[Entry] = ()


def sessions(
    user: User, *, first: dt.date, last: dt.date | None = None, inviting: str = "",
    invited: str = "",
) -> QuerySet[Participant]:  # fmt: skip
    """Who came to consultations of some months (first days; `last`: of one), with amounts in fen.

    `collected`: what the patient paid for this hospital and did not get back; `paid`: what it was given
    and kept; `receipted`: its receipts; `open`: what is not paid or whose revenue is not reduced yet.
    """
    end = last or first
    receipts = _receipts(user).filter(participant=OuterRef("pk")).order_by().values("participant")
    rows = (
        Participant.objects.visible_to(user)
        .filter(
            consultation__in=Consultation.objects.visible_to(user),
            consultation__session_on__gte=first, answer=Participant.Answer.ACCEPTED,
            consultation__session_on__lte=month_end(end.year, end.month),
        )
        .exclude(attended=False)
        .annotate(
            collected=_where("fee", consultation__collected_at__isnull=False,
                             consultation__refunded_at=None),
            paid=_where("share", paid_at__isnull=False, returned_at=None),
            receipted=Coalesce(Subquery(receipts.annotate(fen=Sum("amount")).values("fen")), 0),
            open=_where("share", reversed_at=None, returned_at=None),
        )
    )  # fmt: skip
    if inviting:
        rows = rows.filter(institution_code=inviting)
    return rows.filter(hospital=invited) if invited else rows


def _where(amount: str, **condition: Any) -> Case:
    return Case(When(Q(**condition), then=Coalesce(amount, 0)), default=0)


def _receipts(user: User) -> QuerySet[Receipt]:
    return Receipt.objects.visible_to(user).filter(void_at=None).order_by("pk")


# --- Sums by the database ---

SUMS = {"sessions": Count("pk"), **{f"{name}_sum": Sum(name) for name in AMOUNTS}}


def _totals(found: Mapping[str, Any]) -> Totals:
    return {
        "sessions": found["sessions"], **{name: found[f"{name}_sum"] or 0 for name in AMOUNTS}
    }  # fmt: skip


def by_month(user: User, *, first: dt.date, last: dt.date) -> dict[dt.date, Totals]:
    """Totals of every month with consultations, by its first day."""
    rows = sessions(user, first=first, last=last).order_by()
    found = rows.values(month=TruncMonth("consultation__session_on")).annotate(**SUMS)
    return {row["month"]: _totals(row) for row in found}


def paired(rows: QuerySet[Participant]) -> QuerySet[Participant, Any]:
    """The pairs of hospitals in the order of their codes, with their sums."""
    pairs = rows.order_by().values("institution_code", "hospital_id").annotate(**SUMS)
    return pairs.order_by("institution_code", "hospital_id")


def summed(pairs: Iterable[Mapping[str, Any]], *, month: dt.date) -> list[Statement]:
    """Statements without their consultations, of rows of `paired`."""
    found = list(pairs)
    named = Institution.objects.in_bulk(
        {row[side] for row in found for side in ("institution_code", "hospital_id")}
    )
    return [
        Statement(named[row["institution_code"]], named[row["hospital_id"]], month, _totals(row))
        for row in found
    ]


# --- One by one ---


def detailed(rows: QuerySet[Participant], user: User) -> QuerySet[Participant]:
    """The rows with all that `entry_of` needs, by pair and day."""
    return (
        rows.select_related("consultation__inviting", "hospital", "agreement")
        .prefetch_related(Prefetch("receipts", _receipts(user)))
        .order_by("institution_code", "hospital_id", "consultation__session_on", "pk")
    )


def entry_of(row: Participant) -> Entry:
    """A row of `detailed` as a line of its statement."""
    amounts = {name: getattr(row, name) for name in AMOUNTS if name != "share"}
    return Entry(row.consultation, row, tuple(row.receipts.all()), **amounts)


def statements(
    user: User, *, month: dt.date, inviting: str = "", invited: str = ""
) -> list[Statement]:
    """The whole statements of a month that the user may see, pair by pair in the order of their codes."""
    rows = sessions(user, first=month, inviting=inviting, invited=invited)
    entries = map(entry_of, detailed(rows, user))
    found = []
    for _, part in groupby(entries, lambda one: (one.row.institution_code, one.row.hospital_id)):
        lines = list(part)
        sums = {name: sum(getattr(line, name) for line in lines) for name in AMOUNTS}
        head = lines[0]
        found.append(Statement(
            head.case.inviting, head.row.hospital, month, {"sessions": len(lines), **sums}, lines
        ))  # fmt: skip
    return found


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
