"""PURE. From line results to money: totals per claim and the legs of its double entry, vectorised.

One claim and a batch of a hundred thousand are posted by the same code. Amounts in fen.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pricing.policy import Rules
from pricing.rules import CODES
from settlement.columns import FLAG, Columns
from settlement.kernel import NO_RULE, PAYABLE, REJECT, REVIEW, Results, draw

#: Claim states by code; position = `Posted.state`.
STATES = ("payable", "reject", "review", "no_rule", "partial", "reversed")
MIXED, REVERSED = STATES.index("partial"), STATES.index("reversed")

#: Ledger accounts (settlement.models.Leg.Account).
(POOLED_FUND, PERSONAL_ACCOUNT, PATIENT_CASH, OVER_CAP, OUT_OF_SCOPE, INSTITUTION_PAYABLE,
 INSTITUTION_COLLECTED) = range(1, 8)  # fmt: skip


@dataclass
class Posted:
    """Totals per claim (length n) and its legs: `leg_claim`, `leg_account`, `leg_amount` (debit > 0).

    fee = in_scope + over_cap + out_of_scope + held = fund + account + cash + hospital + held.
    `fund` of lines that pay nothing is 0; `in_scope_used` is what the accumulator counts.
    """

    state: np.ndarray
    fee: np.ndarray
    in_scope: np.ndarray
    over_cap: np.ndarray
    out_of_scope: np.ndarray
    held: np.ndarray
    fund: np.ndarray
    account: np.ndarray
    cash: np.ndarray
    hospital: np.ndarray
    deductible: np.ndarray
    example: np.ndarray
    leg_claim: np.ndarray
    leg_account: np.ndarray
    leg_amount: np.ndarray


def post(
    facts: Columns,
    results: Results,
    releases: Sequence[Rules],
    which: np.ndarray,
    n_claims: int,
    account_key: np.ndarray,
    account_left: np.ndarray,
) -> Posted:
    """Post settled lines of `n_claims` claims; `facts.claim_of_line` says whose each line is.

    `account_key[claim]` is the claim's position in `account_left` (fen still on the personal accounts),
    which is drawn down in place, in the order of the claims.
    """
    at = facts.claim_of_line
    paid, refused = results.decision == PAYABLE, results.decision == REJECT
    held = (results.decision == REVIEW) | (results.decision == NO_RULE)
    fee = results.fee

    def total(amounts: np.ndarray, lines: np.ndarray) -> np.ndarray:
        sums = np.zeros(n_claims, np.int64)
        np.add.at(sums, at[lines], amounts[lines])
        return sums

    own = results.in_scope - results.fund
    in_scope_self, over_cap = total(own, paid), total(results.over_cap, paid)
    out_of_scope = total(fee, refused)
    hospital = total(fee, refused & ~_chargeable(facts, results, releases, which))
    fund, deductible = total(results.fund, paid), total(results.deductible, paid)
    use_scope, use_over = _account_rules(facts, releases, which, n_claims)
    from_scope = draw(account_key, np.where(use_scope, in_scope_self, 0), account_left)
    from_over = draw(account_key, np.where(use_over, over_cap, 0), account_left)
    account = from_scope + from_over
    sides = {
        POOLED_FUND: fund,
        PERSONAL_ACCOUNT: account,
        PATIENT_CASH: in_scope_self - from_scope,
        OVER_CAP: over_cap - from_over,
        OUT_OF_SCOPE: out_of_scope - hospital,
    }
    cash = sides[PATIENT_CASH] + sides[OVER_CAP] + sides[OUT_OF_SCOPE]
    sides |= {INSTITUTION_PAYABLE: -(fund + account), INSTITUTION_COLLECTED: -cash}
    leg_claim, leg_account, leg_amount = _legs(sides)
    return Posted(
        state=_states(at, results.decision, n_claims),
        fee=total(fee, np.ones(len(fee), bool)),
        in_scope=total(results.in_scope, paid),
        over_cap=over_cap,
        out_of_scope=out_of_scope,
        held=total(fee, held),
        fund=fund,
        account=account,
        cash=cash,
        hospital=hospital,
        deductible=deductible,
        example=total(results.flags & FLAG["EXAMPLE_PARAMETER"], paid) > 0,
        leg_claim=leg_claim,
        leg_account=leg_account,
        leg_amount=leg_amount,
    )


def _states(at: np.ndarray, decision: np.ndarray, n: int) -> np.ndarray:
    """Worst first: review, then no_rule; payable or rejected when all lines are; else partial."""
    some = [np.bincount(at[decision == code], minlength=n) > 0 for code in range(4)]
    return np.select(
        [some[REVIEW], some[NO_RULE], ~some[REJECT], ~some[PAYABLE]],
        [REVIEW, NO_RULE, PAYABLE, REJECT],
        MIXED,
    ).astype(np.int16)


def _chargeable(
    facts: Columns, results: Results, releases: Sequence[Rules], which: np.ndarray
) -> np.ndarray:
    """Lines that the patient may be charged for: all but those whose clause says no."""
    allowed = np.ones(facts.n, bool)
    for number, rules in enumerate(releases):
        mine = which == number
        for check in rules.checks:
            if check.charge in (None, True):
                continue
            here = mine & (results.check_no == check.number)
            if isinstance(check.charge, dict):
                status = facts["nonprofit"]
                for value, name in ((1, "nonprofit"), (0, "for_profit")):
                    if check.charge.get(name) is False:
                        allowed[here & (status == value)] = False
            else:
                allowed[here] = False
    return allowed


def _account_rules(
    facts: Columns, releases: Sequence[Rules], which: np.ndarray, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """Per claim: may the personal account pay the in-scope part, and the 丙2 part?"""
    release_of = np.zeros(n, np.int64)
    release_of[facts.claim_of_line] = which
    scheme, wanted = facts.claims["scheme"], facts.claims["pay_from_account"] != 0
    scope, over = np.zeros(n, bool), np.zeros(n, bool)
    for number, rules in enumerate(releases):
        for rule in rules.account_rules:
            schemes = [CODES["scheme"].index(name) for name in rule["schemes"]]
            here = wanted & (release_of == number) & np.isin(scheme, schemes)
            scope |= here & bool(rule["in_scope"])
            over |= here & bool(rule["over_cap"])
    return scope, over


def _legs(sides: dict[int, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Non-zero legs ordered by claim, then account."""
    accounts = np.array(list(sides), np.int16)
    amounts = np.stack(list(sides.values()), axis=1)
    claim, column = np.nonzero(amounts)
    return claim, accounts[column], amounts[claim, column]
