"""What is to be paid, to whom, what keeps it back: statements, advances, reimbursements, adjustments."""

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
    Adjustment,
    Advance,
    InsuredPerson,
    Leg,
    Payee,
    PaymentOrder,
    Reimbursement,
    Settlement,
    Statement,
    Voucher,
    Way,
)
from settlement.personal_accounts import no_account

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
#: what a voucher adds to what came back of its subject by refunds
BACK = Case(
    When(kind=Kind.REFUND, reverses__isnull=True, then=F("amount")),
    When(kind=Kind.REFUND, then=-F("amount")),
    default=Value(0),
    output_field=models.BigIntegerField(),
)
FROZEN = "暂停拨付"
#: source → the column that says what is payable
COLUMN = {"statement": "payable", "advance": "amount"}


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
    holder: Reimbursement | Adjustment | None = None
    bank: str = ""
    hold: str = ""

    @property
    def person_id(self) -> int | None:
        """The insured person who is paid, if it is one."""
        return self.holder.person_id if self.holder else None

    def account(self, on: dt.date) -> sealed.Account | None:
        """The payee's account in clear."""
        if self.institution is not None:
            return sealed.of_institution(self.institution, on=on)
        return sealed.opened(self.holder, bound_to=self.holder.bound_to) if self.holder else None


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
    return Voucher.objects.filter(subject=subject).aggregate(fen=Sum(BACK, default=0))["fen"]


def kept_of(subject: str) -> int:
    """Fen that a payee was paid of a source and has not given back."""
    return paid_of(subject) - refunded_of(subject)


def _unpaid(rows: QuerySet[Any], kind: str) -> QuerySet[Any]:
    """Rows of sources with `due_fen`: what is payable less what was paid of it, above zero."""
    return rows.annotate(due_fen=F(COLUMN[kind]) - _sum(SIGNED, kind)).filter(due_fen__gt=0)


def _adjusted(rows: QuerySet[Adjustment]) -> QuerySet[Any]:
    """Posted adjustments for persons with `due_fen`: their amount less what was paid and not given back,
    above zero; `back_fen` is what was given back."""
    rows = rows.filter(state=Adjustment.State.POSTED, institution_code="", amount__gt=0)
    back = _sum(BACK, "adjustment", "number")
    kept = _sum(SIGNED, "adjustment", "number") - back
    rows = rows.annotate(back_fen=back, due_fen=F("amount") - kept)
    return rows.filter(due_fen__gt=0).order_by("pk")


def _requested(rows: QuerySet[Reimbursement]) -> QuerySet[Any]:
    """Approved requests with `due_fen`: what the ledger owes for their claims now, less what was paid
    and not given back; above zero."""
    legs = Leg.objects.filter(claim_id=OuterRef("claim_id"), account=Leg.Account.PERSON_PAYABLE)
    owes = Subquery(legs.order_by().values("claim_id").annotate(fen=-Sum("amount")).values("fen"))
    ledger = Coalesce(owes, Value(0))
    kept = _sum(SIGNED, "reimbursement") - _sum(BACK, "reimbursement")
    rows = rows.filter(state="approved").select_related("person", "provider")
    return rows.annotate(ledger_fen=ledger, due_fen=ledger - kept).filter(due_fen__gt=0)


def _sum(signed: Case, kind: str, key: str = "pk") -> Coalesce:
    """The vouchers of a source, added up with their signs; zero without any."""
    subject = Concat(Value(f"{kind}:"), Cast(OuterRef(key), models.CharField()))
    vouchers = Voucher.objects.filter(subject=subject).order_by().values("subject")
    return Coalesce(Subquery(vouchers.annotate(fen=Sum(signed)).values("fen")), Value(0))


# --- What is owed ---


def owed_for_claim(claim_id: int | None) -> int:
    """What the ledger owes a person for a claim (account PERSON_PAYABLE), all versions; fen."""
    legs = Leg.objects.filter(claim_id=claim_id or 0, account=Leg.Account.PERSON_PAYABLE)
    return -(legs.aggregate(total=Sum("amount"))["total"] or 0)


def owed(*, region_code: str, on: dt.date) -> list[Owed]:
    """Everything that could be put on a list of a region's agency today, with what keeps it back."""
    inside = Q(region_code__within=area_prefix(region_code))
    rows = _sources(inside)
    return [
        *_of_institutions(rows["statement"].order_by("period", "institution_code", "scheme"), on),
        *_of_institutions(rows["advance"].order_by("pk"), on),
        *_of_requests(rows["reimbursement"], on),
        *_of_adjustments(rows["adjustment"], on),
    ]


def _sources(which: Q) -> dict[str, QuerySet[Any]]:
    """The rows of each kind of source that still owe something."""
    return {
        "statement": _unpaid(Statement.objects.payable().filter(which), "statement"),
        "advance": _unpaid(Advance.objects.filter(which, state="approved"), "advance"),
        "reimbursement": _requested(Reimbursement.objects.filter(which)),
        "adjustment": _adjusted(Adjustment.objects.filter(which)),
    }


def owed_for(
    subjects: Sequence[str], *, region_code: str, on: dt.date, lock: bool = False
) -> list[Owed]:
    """What these sources of a region's agency owe today, in their order; unknown ones are left out."""
    numbers = [subject.removeprefix("adjustment:") for subject in subjects]
    keys: dict[str, list[int]] = {"statement": [], "advance": [], "reimbursement": []}
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
        adjustments = Adjustment.objects.filter(number__in=numbers).order_by("pk")
        list(adjustments.select_for_update(of=("self",)).values_list("pk"))
    inside = Q(region_code__within=area_prefix(region_code))
    every = _sources(inside)
    sources = {kind: every[kind].filter(pk__in=keys[kind]) for kind in keys}
    found = {
        item.subject: item
        for item in (
            *_of_institutions(sources["statement"], on), *_of_institutions(sources["advance"], on),
            *_of_requests(sources["reimbursement"], on),
            *_of_adjustments(every["adjustment"].filter(number__in=numbers), on),
        )
    }  # fmt: skip
    return [found[subject] for subject in subjects if subject in found]


def owing(subject: str) -> int:
    """Fen that the ledger still owes a person for a request, whatever was approved, or an adjustment."""
    kind, _, key = subject.partition(":")
    if kind == "adjustment":
        found = _adjusted(Adjustment.objects.filter(number=key)).first()
        return found.due_fen if found else 0
    case = Reimbursement.objects.get(pk=int(key))
    return owed_for_claim(case.claim_id) - kept_of(subject)


def _of_institutions(rows: Iterable[Any], on: dt.date) -> Iterator[Owed]:
    """What final statements or approved advances owe."""
    found = list(rows)
    codes = {row.institution_code for row in found}
    institutions = Institution.objects.select_related("region").in_bulk(list(codes))
    frozen = _freezes(codes, on)
    accounts = _accounts(codes, on)
    listed = live(row.subject for row in found)
    for row in found:
        code = row.institution_code
        hold = _first(
            (row.subject in listed, f"已在清单 {listed.get(row.subject, '')}"),
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


def _of_requests(rows: Iterable[Any], on: dt.date) -> Iterator[Owed]:
    found = list(rows)
    listed = live(row.subject for row in found)
    schemes = dict(
        Settlement.objects.filter(claim_id__in=[row.claim_id for row in found])
        .order_by("version").values_list("claim_id", "scheme")
    )  # fmt: skip
    for row in found:
        hold = _first(
            (row.subject in listed, f"已在清单 {listed.get(row.subject, '')}"),
            (row.ledger_fen != row.payable, "结算已变动，须重新复核"),
        ) or _barred(row, row.person, on)
        yield Owed(
            subject=row.subject, amount=row.due_fen, scheme=schemes.get(row.claim_id, ""),
            payee=Payee.PERSON, way=row.way, label=f"{row.person.name_masked} {row.number}",
            purpose=f"手工报销 {row.number}", holder=row, hold=hold,
            bank=f"{row.bank} {row.account_masked}" if row.way == Way.BANK else Way.ACCOUNT.label,
        )  # fmt: skip


def _of_adjustments(rows: Iterable[Any], on: dt.date) -> Iterator[Owed]:
    found = list(rows)
    listed = live(row.bound_to for row in found)
    people = InsuredPerson.objects.in_bulk([row.person_id for row in found])
    for row in found:
        bank = row.way == Way.BANK
        hold = _first(
            (row.bound_to in listed, f"已在清单 {listed.get(row.bound_to, '')}"),
            (bool(row.reversal_asked_by), "已申请冲销"),
            (row.back_fen > 0, "款项已退回，须全部退回后冲销"),
            (bank and not row.bank, "没有收款账户，请冲销后重新提出"),
        ) or _barred(row, people[row.person_id], on)
        yield Owed(
            subject=row.bound_to, amount=row.due_fen, scheme=row.scheme, payee=Payee.PERSON,
            way=row.way, label=f"{people[row.person_id].name_masked} {row.number}",
            purpose=f"特殊调整 {row.number}", holder=row, hold=hold,
            bank=f"{row.bank} {row.account_masked}" if bank else Way.ACCOUNT.label,
        )  # fmt: skip


def _barred(row: Reimbursement | Adjustment, person: InsuredPerson, on: dt.date) -> str:
    """Why it cannot go to the person's account today, where it should."""
    if row.way != Way.ACCOUNT:
        return ""
    refusal = no_account(person=person, region_code=row.region_code, on=on)
    return refusal.detail[0] if refusal else ""


def _first(*reasons: tuple[bool, str]) -> str:
    return next((words for holds, words in reasons if holds), "")


def live(subjects: Iterable[str]) -> dict[str, str]:
    """Source → number of the list that it stands on."""
    rows = PaymentOrder.objects.filter(subject__in=list(subjects), state__in=PaymentOrder.LIVE)
    return dict(rows.values_list("subject", "list__number"))


def list_of(subject: str) -> str:
    """The number of the payment list that a source stands on; empty where it stands on none."""
    return live([subject]).get(subject, "")


def _freezes(codes: Iterable[str], on: dt.date) -> dict[str, str]:
    """Institution → why nothing is paid to it today."""
    rows = PaymentFreeze.objects.in_force(on=on).filter(institution__in=list(codes))
    return {row.institution_id: f"{FROZEN}：{row.reason}（自{row.valid_from}起）" for row in rows}


def _accounts(codes: Iterable[str], on: dt.date) -> dict[str, str]:
    """Institution → its registered account as a page shows it."""
    rows = BankAccount.objects.known().in_force(on=on).filter(institution__in=list(codes))
    return {row.institution_id: f"{row.bank} **** {row.number_tail}" for row in rows}
