"""What the page, the PDF and the API show of a statement: its chain with clauses, its lines, its vouchers.

Amounts are fen here and text in what is returned for templates.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet, Sum

from audit import charts
from audit.text import rate, yuan
from institutions.money import yuan as plain
from settlement.models import (
    ClaimKey,
    Deduction,
    EnteredClaim,
    InsuredPerson,
    Leg,
    Settlement,
    Statement,
    Voucher,
)
from settlement.payers import LABELS, PAYERS

AMOUNTS = ("fee", *PAYERS, "cash", "held")
LINES_HEAD = (
    "单据号", "版本", "参保人", "服务日期", "费用", *LABELS.values(), "个人现金", "待审金额", "审核扣款",
    "状态", "结算时间",
)  # fmt: skip
TONES = {"fund": "fund", "major": "e", "assistance": "f", "account": "account"}
ONLY = {
    "": "全部", "paid": "已结算", "deducted": "有扣款", "reversed": "冲正", "held": "待审",
}  # fmt: skip


@dataclass(frozen=True)
class Step:
    """One step of the chain: its amount as it acts on what is owed, how it was worked out, the clause."""

    key: str
    label: str
    amount: int
    kind: str
    note: str = ""
    clause: Mapping[str, str] | None = None
    example: bool = False
    tone: str = ""
    parts: Sequence[Mapping[str, Any]] = ()


def steps_of(row: Statement, paid: int) -> list[Step]:
    """申报 → 审核扣款 → 保证金 → 预付冲抵 → 考核系数 → (特殊调整 · 上期结转) → 应付 → 实付."""
    kept = row.deductions.exclude(state=Deduction.State.WITHDRAWN)
    of_account = kept.aggregate(sum=Sum("account", default=0))["sum"]
    base = max(row.fund - row.deducted + of_account, 0)
    basis = row.basis
    shares = {name: amount for name, amount in paid_by([row])[row.pk].items() if amount}
    funds = "、".join(LABELS[name] for name in shares if name != "account") or LABELS["fund"]

    def step(key: str, label: str, amount: int, kind: str, note: str = "", **more: Any) -> Step:
        found = basis.get(key, {})
        return Step(key, label, amount, kind, note, found.get("clause"),
                    bool(found.get("example")), **more)  # fmt: skip

    steps = [
        step("declared", "申报金额", row.declared, "total",
             "，".join((f"结算{row.claims}笔、冲正{row.reversals}笔", *told(shares))),
             tone="total", parts=[
                 {"label": LABELS[name], "amount": amount, "tone": TONES[name]}
                 for name, amount in shares.items()]),
        step("deducted", "审核扣款", row.deducted, "less" if row.deducted >= 0 else "more",
             "医保已支付而查实不予支付的部分" if row.deducted >= 0 else "冲正单据的扣款退回",
             tone="over"),
        step("deposit", "质量保证金", row.deposit, "less",
             f"（{funds}－扣款）{yuan(base)} × {rate(row.deposit_ratio)}", tone="f"),
        step("set_off", "预付款冲抵", row.set_off, "less",
             f"预付余额以内，不超过余额应付的{rate(row.set_off_ratio)}", tone="e"),
        step("assessment", "考核扣减", row.assessment, "less",
             f"（{funds}－扣款）{yuan(base)} × （1－考核系数{rate(row.coefficient)}）", tone="d"),
    ]  # fmt: skip
    if row.adjustments:
        kind = "more" if row.adjustments > 0 else "less"
        steps.append(step("adjustments", "特殊调整", row.adjustments, kind,
                          "手工调整、年终清算、保证金返还等凭证", tone="account"))  # fmt: skip
    if row.carried:
        steps.append(
            step("carried", "上期结转", row.carried, "less", "上期应付为负，结转本期", tone="f")
        )
    steps.append(step("payable", "应付金额", row.payable, "total",
                      "为负，结转下期，不拨付" if row.payable < 0 else "", tone="scope"))  # fmt: skip
    steps.append(step("paid", "实付金额", paid, "total", "银行拨付减退票", tone="fund"))
    return steps


def chart(row: Statement, steps: Sequence[Step]) -> dict[str, Any] | None:
    """The chain as a picture; None where a level would lie below zero (the table tells it all)."""
    level = 0
    for step in steps:
        size = abs(step.amount)
        level = size if step.kind == "total" else level + (size if step.kind == "more" else -size)
        if level < 0 or (step.kind == "total" and step.amount < 0):
            return None
    shown = [
        {"label": step.label, "amount": abs(step.amount), "kind": step.kind, "tone": step.tone,
         "note": f"{step.note}{'（示例参数）' if step.example else ''}",
         "clauses": [step.clause] if step.clause else [],
         **({"parts": step.parts} if step.parts and min(p["amount"] for p in step.parts) >= 0 else {})}
        for step in steps
    ]  # fmt: skip
    return charts.waterfall(title="从申报到实付", steps=shown, identity=identity(row))


def identity(row: Statement) -> str:
    """The sentence that proves the sum."""
    signs = (
        ("审核扣款", -row.deducted), ("质量保证金", -row.deposit), ("预付款冲抵", -row.set_off),
        ("考核扣减", -row.assessment), ("特殊调整", row.adjustments), ("上期结转", row.carried),
    )  # fmt: skip
    parts = "".join(
        f" {'＋' if amount > 0 else '－'} {label} {yuan(abs(amount))}"
        for label, amount in signs
        if amount
    )
    return f"申报 {yuan(row.declared)}{parts} ＝ 应付 {yuan(row.payable)}"


def table_of(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """The chain as rows: label, amount with its sign, how, clause; each opens its lines."""
    opens = {
        "declared": "?only=paid#lines", "deducted": "?only=deducted#lines", "deposit": "#vouchers",
        "set_off": "#vouchers", "assessment": "#vouchers", "adjustments": "#vouchers",
        "paid": "#vouchers",
    }  # fmt: skip
    rows = []
    for step in steps:
        less = (step.kind == "less" and step.amount > 0) or (
            step.kind == "more" and step.amount < 0
        )
        amount = -abs(step.amount) if less else step.amount
        rows.append({
            "label": step.label, "amount": yuan(abs(amount) if step.kind == "more" else amount),
            "note": step.note, "example": step.example, "clause": step.clause,
            "total": step.kind == "total", "url": opens.get(step.key, ""),
        })  # fmt: skip
    return rows


# --- Lines ---


#: What the ledger owes the institution for a version; 手工报销 is owed to the person instead.
OWED = Leg.objects.filter(
    claim_id=OuterRef("claim_id"), version=OuterRef("version"), period=OuterRef("period"),
    account=Leg.Account.INSTITUTION_PAYABLE,
)  # fmt: skip


def lines(row: Statement, only: str = "") -> QuerySet[Settlement]:
    """The claims of a statement: the month's settlements, reversals as rows of their own.

    Those that are "paid" add up to what is declared.
    """
    rows = _settled([row]).order_by("claim_id", "version")
    if only == "reversed":
        return rows.filter(state=Settlement.State.REVERSED)
    if only == "paid":
        return rows.filter(Exists(OWED))
    if only == "held":
        return rows.exclude(held=0)
    if only == "deducted":
        return rows.filter(claim_id__in=row.deductions.values("claim_id"))
    return rows


def paid_by(rows: Sequence[Statement]) -> dict[int, dict[str, int]]:
    """Statement → what each payer pays for its claims (fen), together what is declared; one query."""
    sums = (
        _settled(rows)
        .filter(Exists(OWED))
        .values_list("institution_code", "period", "scheme")
        .annotate(**{f"of_{name}": Sum(name) for name in PAYERS})
    )
    found = {
        (code, period, scheme): dict(zip(PAYERS, paid, strict=True))
        for code, period, scheme, *paid in sums
    }
    return {
        row.pk: found.get((row.institution_code, row.period, row.scheme), dict.fromkeys(PAYERS, 0))
        for row in rows
    }


def _settled(rows: Sequence[Statement]) -> QuerySet[Settlement]:
    """What was posted in the months, institutions and schemes of statements, but for persons' requests."""
    return Settlement.objects.filter(
        institution_code__in={row.institution_code for row in rows},
        period__in={row.period for row in rows}, scheme__in={row.scheme for row in rows},
    ).exclude(claim_id__in=EnteredClaim.ids()).order_by()  # fmt: skip


def told(amounts: Mapping[str, int]) -> list[str]:
    """What payers paid, in words; who paid nothing is left out."""
    return [f"{LABELS[name]} {yuan(amount)} 元" for name, amount in amounts.items() if amount]


def settled_by(row: Statement) -> dict[str, int]:
    """What each payer pays of the month's lines, to whomever: what a hospital's ledger is matched with."""
    return _settled([row]).aggregate(**{name: Sum(name, default=0) for name in PAYERS})


def payers_on(row: Statement) -> tuple[str, ...]:
    """The payers that the lines of a statement name: those for the few who need them only where they paid."""
    few = _settled([row]).filter(~Q(major=0) | ~Q(assistance=0)).exists()
    return PAYERS if few else ("fund", "account")


def claim_numbers(claims: Sequence[int]) -> dict[int, str]:
    """Claim → the number that its institution gave it."""
    rows = ClaimKey.objects.filter(claim_id__in=claims)
    return dict(rows.values_list("claim_id", "claim_no"))


def cuts(row: Statement, claims: Sequence[int]) -> dict[int, int]:
    """Claim → what is deducted for it in this statement (fen)."""
    found = row.deductions.filter(claim_id__in=claims).exclude(state=Deduction.State.WITHDRAWN)
    return {
        claim: amount
        for claim, amount in found.values_list("claim_id").annotate(sum=Sum("amount"))
        if claim is not None
    }


def described(row: Statement, part: Sequence[Settlement]) -> list[dict[str, Any]]:
    """Lines with claim number, person (masked) and deduction; three queries for any number."""
    claims = [line.claim_id for line in part]
    numbers = claim_numbers(claims)
    people = dict(
        InsuredPerson.objects.filter(pk__in={line.person_id for line in part})
        .values_list("pk", "name_masked")
    )  # fmt: skip
    cut = cuts(row, claims)
    return [
        {"settlement": line, "number": numbers.get(line.claim_id, str(line.claim_id)),
         "person": people.get(line.person_id, ""),
         "deducted": cut.get(line.claim_id, 0) if line.version % 2 else 0}
        for line in part
    ]  # fmt: skip


def export_rows(row: Statement, only: str = "", size: int = 2000) -> Iterator[list[str]]:
    """Every line as text, part by part: memory holds `size` lines."""
    rows, last = lines(row, only), (0, 0)
    while True:
        after = Q(claim_id__gt=last[0]) | Q(claim_id=last[0], version__gt=last[1])
        part = list(rows.filter(after)[:size])
        for found in described(row, part):
            line = found["settlement"]
            yield [
                found["number"], str(line.version), found["person"], line.service_date.isoformat(),
                *(plain(getattr(line, name)) for name in AMOUNTS),
                plain(found["deducted"]), line.get_state_display(),
                f"{line.settled_at:%Y-%m-%d %H:%M}",
            ]  # fmt: skip
        if len(part) < size:
            return
        last = (part[-1].claim_id, part[-1].version)


def vouchers(row: Statement) -> list[Voucher]:
    """The vouchers of a statement: its steps and what was paid for it."""
    return list(Voucher.objects.filter(subject=row.subject).order_by("pk"))
