"""Deductions on claims of persons insured elsewhere: the money goes back to the region that paid it.

The treating region keeps nothing of it: it pays its institution that much less and asks that much less of the
insured region, which owes less and has the deduction in its own book. (docs/decisions/offsite.md)
"""

from collections.abc import Mapping
from typing import Any

from django.db import connection

from institutions.access import EVERYTHING, scoped
from settlement.models import Leg, Statement
from settlement.periods import region_code_of
from settlement.regional_transfers import HELD, OWED
from settlement.vouchers import post_voucher

Account = Leg.Account
#: Every version of a claim names the same region.
SHARES = """SELECT s.insured_pool, sum(d.amount)::bigint FROM settlement_deduction d
JOIN settlement_settlement s ON s.claim_id = d.claim_id AND s.version = 1
WHERE d.statement_id = %s AND d.state <> 'withdrawn' AND s.insured_pool <> ''
GROUP BY 1 HAVING sum(d.amount) <> 0 ORDER BY 1"""


def shares(statement: Statement) -> dict[str, int]:
    """Insured region → what is deducted of its claims in a statement (fen; below zero: given back)."""
    with connection.cursor() as cursor:
        cursor.execute(SHARES, [statement.pk])
        return dict(cursor.fetchall())


def post(
    statement: Statement, amounts: Mapping[str, int], *, effect: str, **given: Any
) -> None:  # fmt: skip
    """Post the shares of other regions, each in both books; `given` is what every voucher of the step says.

    The voucher over there names no institution: the treating hospital does not see it.
    """
    detail = given.pop("detail")
    for pool, amount in amounts.items():
        with scoped(EVERYTHING):
            code = region_code_of(pool)
        for side, other, place, legs in (
            (HELD, pool, (statement.region_code, statement.institution_code),
             {Account.INSTITUTION_PAYABLE: amount, Account.REGIONAL_CLEARING: -amount}),
            (OWED, statement.pool, (code, ""),
             {Account.REGIONAL_CLEARING: amount, Account.DEDUCTION: -amount}),
        ):  # fmt: skip
            with scoped(EVERYTHING):
                post_voucher(
                    effect=f"{effect}/{pool}/{side}", region_code=place[0], institution_code=place[1],
                    legs=legs, detail=detail | {"side": side, "other": other}, **given,
                )  # fmt: skip
