"""What is to be paid, to whom, what keeps it back: final statements, approved advances, reimbursements."""

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import models
from django.db.models import Case, F, OuterRef, Q, QuerySet, Subquery, Sum, Value, When
from django.db.models.functions import Cast, Coalesce, Concat

from institutions.models import BankAccount, Institution, PaymentFreeze, area_prefix
from settlement import sealed
from settlement.models import (
    Advance,
    Payee,
    PaymentOrder,
    Reimbursement,
    Settlement,
    Statement,
    Voucher,
    Way,
)

Kind = Voucher.Kind
PAID = (Kind.PAYMENT, Kind.ADVANCE, Kind.REIMBURSEMENT)
#: what a voucher adds to the paid amount of its subject: payments less returns, reversals the other way
SIGNED = Case(
    When(kind__in=PAID, reverses__isnull=True, then=F("amount")),
    When(kind__in=PAID, then=-F("amount")),
    When(kind=Kind.BANK_RETURN, reverses__isnull=True, then=-F("amount")),
    When(kind=Kind.BANK_RETURN, then=F("amount")),
    default=Value(0),
    output_field=models.BigIntegerField(),
)
FROZEN = "暂停拨付"
#: source → the column that says what is payable
COLUMN = {"statement": "payable", "advance": "amount", "reimbursement": "payable"}


@dataclass(frozen=True, kw_only=True)
class Owed:
    """An amount (fen) that a source owes a payee. `hold` says why it cannot be paid today, or is empty."""

    subject: str
    label: str
    amount: int
    purpose: str
    payee: str
    scheme: str = ""
    way: str = Way.BANK
    institution: Institution | None = None
    request: Reimbursement | None = None
    bank: str = ""
    hold: str = ""

    @property
    def person_id(self) -> int | None:
        """The insured person who is paid, if it is one."""
        return self.request.person_id if self.request else None

    def account(self, on: dt.date) -> sealed.Account | None:
        """The payee's account in clear."""
        if self.institution is not None:
            return sealed.of_institution(self.institution, on=on)
        return sealed.opened(self.request, bound_to=self.request.bound_to) if self.request else None


# --- What was paid ---


def paid_of(subject: str) -> int:
    """Fen paid of a source (`statement:<id>`, `advance:<id>`, `reimbursement:<id>`), less bank returns."""
    return paid_of_many([subject]).get(subject, 0)


def paid_of_many(subjects: Iterable[str]) -> dict[str, int]:
    """Source → fen paid; sources of which nothing was ever paid are absent."""
    rows = Voucher.objects.filter(subject__in=list(subjects), kind__in=(*PAID, Kind.BANK_RETURN))
    totals = rows.order_by().values("subject").annotate(fen=Sum(SIGNED))
    return {row["subject"]: row["fen"] for row in totals}


def refunded_of(subject: str) -> int:
    """Fen that came back from the payee of a source by refund vouchers."""
    rows = Voucher.objects.filter(subject=subject, kind=Kind.REFUND)
    return sum(-row.amount if row.reverses_id else row.amount for row in rows)


def _unpaid(rows: QuerySet[Any], kind: str) -> QuerySet[Any]:
    """Rows of sources with `due_fen`: what is payable less what was paid of it, above zero."""
    subject = Concat(Value(f"{kind}:"), Cast(OuterRef("pk"), models.CharField()))
    vouchers = Voucher.objects.filter(subject=subject).order_by().values("subject")
    paid = Subquery(vouchers.annotate(fen=Sum(SIGNED)).values("fen"))
    return rows.annotate(due_fen=F(COLUMN[kind]) - Coalesce(paid, Value(0))).filter(due_fen__gt=0)


# --- What is owed ---


def owed(*, region_code: str, on: dt.date) -> list[Owed]:
    """Everything that could be put on a list of a region's agency today, with what keeps it back."""
    inside = Q(region_code__within=area_prefix(region_code))
    rows = _sources(inside)
    return [
        *_of_institutions(rows["statement"].order_by("period", "institution_code", "scheme"), on),
        *_of_institutions(rows["advance"].order_by("pk"), on),
        *_of_requests(rows["reimbursement"]),
    ]


def _sources(which: Q) -> dict[str, QuerySet[Any]]:
    """The rows of each kind of source that still owe something."""
    requests = Reimbursement.objects.filter(which, state="approved")
    return {
        "statement": _unpaid(Statement.objects.payable().filter(which), "statement"),
        "advance": _unpaid(Advance.objects.filter(which, state="approved"), "advance"),
        "reimbursement": _unpaid(requests, "reimbursement").select_related("person", "provider"),
    }


def owed_for(
    subjects: Sequence[str], *, region_code: str, on: dt.date, lock: bool = False
) -> list[Owed]:
    """What these sources of a region's agency owe today, in their order; unknown ones are left out."""
    keys: dict[str, list[int]] = {kind: [] for kind in COLUMN}
    for subject in subjects:
        kind, _, key = subject.partition(":")
        if kind in keys and key.isascii() and key.isdigit() and len(key) < 18:
            keys[kind].append(int(key))
    if lock:  # in the order of their ids: two lists never wait for each other
        tables: dict[str, Any] = {
            "statement": Statement, "advance": Advance, "reimbursement": Reimbursement
        }  # fmt: skip
        for kind, model in tables.items():
            rows = model.objects.filter(pk__in=keys[kind]).order_by("pk")
            list(rows.select_for_update(of=("self",)).values_list("pk"))
    inside = Q(region_code__within=area_prefix(region_code))
    sources = {kind: found.filter(pk__in=keys[kind]) for kind, found in _sources(inside).items()}
    found = {
        item.subject: item
        for item in (
            *_of_institutions(sources["statement"], on), *_of_institutions(sources["advance"], on),
            *_of_requests(sources["reimbursement"]),
        )
    }  # fmt: skip
    return [found[subject] for subject in subjects if subject in found]


def _of_institutions(rows: Iterable[Any], on: dt.date) -> Iterator[Owed]:
    """What final statements or approved advances owe."""
    found = list(rows)
    codes = {row.institution_code for row in found}
    institutions = Institution.objects.select_related("region").in_bulk(list(codes))
    frozen = _freezes(codes, on)
    accounts = _accounts(codes, on)
    live = _live(row.subject for row in found)
    for row in found:
        code = row.institution_code
        hold = _first(
            (row.subject in live, f"已在清单 {live.get(row.subject, '')}"),
            (code in frozen, frozen.get(code, "")),
            (code not in accounts, "没有登记结算账户"),
        )
        scheme = row.get_scheme_display()
        if isinstance(row, Advance):
            label, purpose = f"预付款 {scheme}", f"{scheme}预付款 {row.reason}"[:120]
        else:
            label = f"{row.period:%Y年%m月} {scheme}"
            purpose = f"{row.period:%Y年%m月}{scheme}结算 {row.number}"
        yield Owed(
            subject=row.subject, amount=row.due_fen, scheme=row.scheme, payee=Payee.INSTITUTION,
            label=f"{institutions[code]} {label}", purpose=purpose,
            institution=institutions[code], bank=accounts.get(code, ""), hold=hold,
        )  # fmt: skip


def _of_requests(rows: Iterable[Any]) -> Iterator[Owed]:
    found = list(rows)
    live = _live(row.subject for row in found)
    schemes = dict(
        Settlement.objects.filter(claim_id__in=[row.claim_id for row in found])
        .order_by("version").values_list("claim_id", "scheme")
    )  # fmt: skip
    for row in found:
        hold = f"已在清单 {live[row.subject]}" if row.subject in live else ""
        yield Owed(
            subject=row.subject, amount=row.due_fen, scheme=schemes.get(row.claim_id, ""),
            payee=Payee.PERSON, way=row.way, label=f"{row.person.name_masked} {row.number}",
            purpose=f"手工报销 {row.number}", request=row, hold=hold,
            bank=f"{row.bank} {row.account_masked}" if row.way == Way.BANK else Way.ACCOUNT.label,
        )  # fmt: skip


def _first(*reasons: tuple[bool, str]) -> str:
    return next((words for holds, words in reasons if holds), "")


def _live(subjects: Iterable[str]) -> dict[str, str]:
    """Source → number of the list that it stands on."""
    rows = PaymentOrder.objects.filter(subject__in=list(subjects), state__in=PaymentOrder.LIVE)
    return dict(rows.values_list("subject", "list__number"))


def _freezes(codes: Iterable[str], on: dt.date) -> dict[str, str]:
    """Institution → why nothing is paid to it today."""
    rows = PaymentFreeze.objects.in_force(on=on).filter(institution__in=list(codes))
    return {row.institution_id: f"{FROZEN}：{row.reason}（自{row.valid_from}起）" for row in rows}


def _accounts(codes: Iterable[str], on: dt.date) -> dict[str, str]:
    """Institution → its registered account as a page shows it."""
    rows = BankAccount.objects.known().in_force(on=on).filter(institution__in=list(codes))
    return {row.institution_id: f"{row.bank} **** {row.number_tail}" for row in rows}
