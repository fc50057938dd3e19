"""Deductions on claims of persons insured elsewhere: the money goes back to the region that paid it.

The treating region keeps nothing of it: it pays its institution that much less and asks that much less of the
insured region, which owes less and has the deduction in its own book. (docs/decisions/offsite.md)
"""

from collections.abc import Mapping
from typing import Any

from django.db import connection

from settlement.models import Leg, Statement
from settlement.regional_transfers import post_pair

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
    """Post the shares of other regions, each in both books; `given` is what every voucher says."""
    for pool, amount in amounts.items():
        post_pair(
            region_code=statement.region_code, institution_code=statement.institution_code,
            other=pool, payee=Account.INSTITUTION_PAYABLE, source=Account.DEDUCTION, amount=amount,
            effect=effect, **given,
        )  # fmt: skip
