"""Who paid an institution for a claim through its statement, and what of it was not deducted yet.

Pooled fund, major illness, assistance and the personal account all pay through the statement; a deduction
takes from each in proportion to what it has left there, by largest remainder. (docs/decisions/statements.md)
"""

from collections.abc import Mapping

from django.db.models import F, QuerySet, Sum

from audit.text import apportion
from settlement.kernel import PAYABLE
from settlement.models import Deduction, LineResult, Settlement

#: The payers in the order of payment; a deduction's part of the first is what the others leave of it.
PAYERS = ("fund", "major", "assistance", "account")
OTHERS = PAYERS[1:]
LABELS = {"fund": "统筹基金", "major": "大病保险", "assistance": "医疗救助", "account": "个人账户"}
Parts = Mapping[str, int]  #: payer → fen


def paid(settled: Settlement) -> dict[str, int]:
    """What each payer paid for a claim."""
    return {name: getattr(settled, name) for name in PAYERS}


def paid_by_line(settled: Settlement) -> dict[int, dict[str, int]]:
    """Payable line → what each payer paid for it; the account's part by the person's share of each line."""
    rows = LineResult.objects.filter(
        claim_id=settled.claim_id, version=settled.version, decision=PAYABLE
    ).order_by("line_no")
    lines = [{name: getattr(row, name) for name in ("fund", "major", "assistance")} for row in rows]
    own = [
        max(row.in_scope + row.over_cap - sum(parts.values()), 0)
        for row, parts in zip(rows, lines, strict=True)
    ]
    accounts = apportion(settled.account, own)
    return {
        row.line_no: parts | {"account": account}
        for row, parts, account in zip(rows, lines, accounts, strict=True)
    }


def left(settled: Settlement, line_no: int | None = None) -> dict[str, int]:
    """What each payer paid for a claim, or for one line, less what was deducted."""
    rows = Deduction.objects.filter(claim_id=settled.claim_id).exclude(
        state=Deduction.State.WITHDRAWN
    )
    found = _less(paid(settled), rows)
    if line_no is None:
        return found
    line = paid_by_line(settled).get(line_no, dict.fromkeys(PAYERS, 0))
    line = _less(line, rows.filter(line_no=line_no))
    return {name: min(found[name], line[name]) for name in PAYERS}


def split(amount: int, among: Parts) -> dict[str, int]:
    """The columns of a deduction: the parts of it that are not the pooled fund's."""
    shares = apportion(amount, [among[name] for name in PAYERS])
    return dict(zip(OTHERS, shares[1:], strict=True))


def _less(parts: Parts, rows: QuerySet[Deduction]) -> dict[str, int]:
    taken = rows.aggregate(
        fund=Sum(F("amount") - F("major") - F("assistance") - F("account"), default=0),
        **{f"{name}_": Sum(name, default=0) for name in OTHERS},
    )
    return {name: max(parts[name] - taken.get(f"{name}_", taken["fund"]), 0) for name in PAYERS}
