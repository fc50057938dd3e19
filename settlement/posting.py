"""PURE. From line results to money: totals per claim and the legs of its double entry, vectorised.

One claim and a batch of a hundred thousand are posted by the same code. Amounts in fen.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pricing.policy import Rules
from pricing.rules import CODES, REASON_NO
from settlement.columns import FLAG, Columns
from settlement.kernel import NO_RULE, PAYABLE, REJECT, REVIEW, Results

#: Totals of a claim and values of a line result, as their tables name them.
TOTALS = (
    "fee", "in_scope", "over_cap", "out_of_scope", "held", "fund", "account", "cash", "hospital",
    "deductible", "first_self_pay", "major", "assistance",
)  # fmt: skip
RESULT = (
    "decision", "reason", "check_no", "flags", "fee", "in_scope", "over_cap", "overcharge",
    "first_self_pay", "deductible", "fund", "major", "assistance", "drug_list",
)  # fmt: skip
#: Claim states by code; position = `Posted.state`.
STATES = ("payable", "reject", "review", "no_rule", "partial", "reversed")
MIXED, REVERSED = STATES.index("partial"), STATES.index("reversed")

#: Ledger accounts (settlement.models.Leg.Account).
(POOLED_FUND, PERSONAL_ACCOUNT, PATIENT_CASH, OVER_CAP, OUT_OF_SCOPE, INSTITUTION_PAYABLE,
 INSTITUTION_COLLECTED) = range(1, 8)  # fmt: skip
MAJOR_ILLNESS, ASSISTANCE, REGIONAL_CLEARING, PERSON_PAYABLE = range(13, 17)


@dataclass
class Posted:
    """Totals per claim (length n) and its legs: `leg_claim`, `leg_account`, `leg_amount` (debit > 0).

    fee = in_scope + over_cap + out_of_scope + held
        = fund + major + assistance + account + cash + hospital + held.
    `first_self_pay` and `deductible` are parts of what the person bears of in_scope. `fund` of lines
    that pay nothing is 0. `offsite`: other regions' funds pay. What a reviewer cut of a paid line is
    out of scope and the institution's.
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
    first_self_pay: np.ndarray
    major: np.ndarray
    assistance: np.ndarray
    example: np.ndarray
    offsite: np.ndarray
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

    order = np.argsort(at, kind="stable") if (at[1:] < at[:-1]).any() else slice(None)
    claim = at[order]
    starts = np.flatnonzero(np.concatenate([[True], claim[1:] != claim[:-1]]))[: len(at)]

    def total(amounts: np.ndarray, lines: np.ndarray) -> np.ndarray:
        sums = np.zeros(n_claims, np.int64)
        given = np.where(lines, amounts, 0)[order]
        sums[claim[starts]] = np.add.reduceat(given, starts) if len(starts) else 0
        return sums

    own = results.in_scope - results.fund - results.major - results.assistance
    in_scope_self, over_cap = total(own, paid), total(results.over_cap, paid)
    out_of_scope = total(fee, refused)
    hospital = total(fee, refused & ~_chargeable(facts, results, releases, which))
    cut = total(facts["review_cut"], paid) if "review_cut" in facts else 0
    out_of_scope, hospital = out_of_scope + cut, hospital + cut
    fund, deductible = total(results.fund, paid), total(results.deductible, paid)
    major, assistance = total(results.major, paid), total(results.assistance, paid)
    manual = _manual(facts, releases, which, n_claims)
    use_scope, use_over = _account_rules(facts, releases, which, n_claims)
    use_scope, use_over = use_scope & ~manual, use_over & ~manual
    from settlement.folds import draw  # compiled: a process that settles nothing never loads it

    from_scope = draw(account_key, np.where(use_scope, in_scope_self, 0), account_left)
    from_over = draw(account_key, np.where(use_over, over_cap, 0), account_left)
    account = from_scope + from_over
    offsite = _offsite(facts, releases, which, n_claims)
    sides = {
        POOLED_FUND: fund,
        PERSONAL_ACCOUNT: account,
        PATIENT_CASH: in_scope_self - from_scope,
        OVER_CAP: over_cap - from_over,
        OUT_OF_SCOPE: out_of_scope - hospital,
    }
    cash = sides[PATIENT_CASH] + sides[OVER_CAP] + sides[OUT_OF_SCOPE]
    sides |= {INSTITUTION_PAYABLE: -(fund + account + major + assistance)}
    sides |= {INSTITUTION_COLLECTED: -cash, MAJOR_ILLNESS: major, ASSISTANCE: assistance}
    _others_pay(sides, offsite, manual)
    leg_claim, leg_account, leg_amount = _legs(sides)
    return Posted(
        state=_states(at, results.decision, n_claims),
        fee=total(fee, np.ones(len(fee), bool)) + cut,
        in_scope=total(results.in_scope, paid),
        over_cap=over_cap,
        out_of_scope=out_of_scope,
        held=total(fee, held),
        fund=fund,
        account=account,
        cash=cash,
        hospital=hospital,
        deductible=deductible,
        first_self_pay=total(results.first_self_pay, paid),
        major=major,
        assistance=assistance,
        offsite=offsite,
        example=total(results.flags & FLAG["EXAMPLE_PARAMETER"], paid) > 0,
        leg_claim=leg_claim,
        leg_account=leg_account,
        leg_amount=leg_amount,
    )


def _others_pay(sides: dict[int, np.ndarray], offsite: np.ndarray, manual: np.ndarray) -> None:
    """Where the person's own region pays (异地), its parts are a claim on that region; where the
    person has paid the whole fee (手工报销), the funds' parts are owed to the person."""
    if offsite.any():
        paying = (POOLED_FUND, PERSONAL_ACCOUNT, MAJOR_ILLNESS, ASSISTANCE)
        sides[REGIONAL_CLEARING] = np.where(offsite, sum(sides[name] for name in paying), 0)
        for name in paying:
            sides[name] = np.where(offsite, 0, sides[name])
    if manual.any():
        owed = sides[INSTITUTION_PAYABLE]
        sides[PERSON_PAYABLE] = np.where(manual, owed, 0)
        sides[INSTITUTION_PAYABLE] = np.where(manual, 0, owed)


def _offsite(facts: Columns, releases: Sequence[Rules], which: np.ndarray, n: int) -> np.ndarray:
    """Claims of persons insured elsewhere in a region that settles them."""
    away = facts.claims["insured_local"] == 0
    if not any(rules.offsite for rules in releases) or not away.any():
        return np.zeros(n, bool)
    settles = np.array([rules.offsite for rules in releases])
    found = np.zeros(n, bool)
    found[facts.claim_of_line] = settles[which]
    return found & away & (facts.claims["insured_pool"] != 0)


def _states(at: np.ndarray, decision: np.ndarray, n: int) -> np.ndarray:
    """Worst first: review, then no_rule; payable or rejected when all lines are; else partial."""
    some = [np.bincount(at[decision == code], minlength=n) > 0 for code in range(4)]
    state = np.where(some[REJECT], np.where(some[PAYABLE], MIXED, REJECT), PAYABLE)
    state = np.where(some[NO_RULE], NO_RULE, state)
    return np.where(some[REVIEW], REVIEW, state).astype(np.int16)


def _chargeable(
    facts: Columns, results: Results, releases: Sequence[Rules], which: np.ndarray
) -> np.ndarray:
    """Lines that the patient may be charged for: all but those whose clause says no."""
    allowed = np.ones(facts.n, bool)
    for number, rules in enumerate(releases):
        mine = which == number
        for check in rules.by_number.values():
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
    if "review" in facts:
        allowed[results.reason == REASON_NO["REVIEW_REFUSED"]] = False
        allowed[results.reason == REASON_NO["REVIEW_SELF_PAID"]] = True
    return allowed


def _account_rules(
    facts: Columns, releases: Sequence[Rules], which: np.ndarray, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """Per claim: may the personal account pay the in-scope part, and the 丙2 part?

    The person's own region says so.
    """
    release_of = np.zeros(n, np.int64)
    home = facts["home"]
    release_of[facts.claim_of_line] = np.where(home > 0, home - 1, which)
    scheme = facts.claims["scheme"]
    wanted = facts.claims["pay_from_account"] != 0
    scope, over = np.zeros(n, bool), np.zeros(n, bool)
    for number, rules in enumerate(releases):
        for rule in rules.account_rules:
            schemes = [CODES["scheme"].index(name) for name in rule["schemes"]]
            here = wanted & (release_of == number) & np.isin(scheme, schemes)
            scope |= here & bool(rule["in_scope"])
            over |= here & bool(rule["over_cap"])
    return scope, over


def _manual(facts: Columns, releases: Sequence[Rules], which: np.ndarray, n: int) -> np.ndarray:
    """Per claim: paid in full by the person, who is owed the funds' part (南通 三（三）第2款).

    Claimed through the manual channel, or by an institution that cannot settle where there is one.
    """
    manual = np.zeros(n, bool)
    for number, rules in enumerate(releases):
        if rules.policy.section("manual_channel", {}):
            manual[facts.claim_of_line[which == number]] = True
    unable = facts.claims["online_settlement"] == 0
    return (facts.claims["manual"] != 0) | (manual & unable)


def _legs(sides: dict[int, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Non-zero legs ordered by claim, then account."""
    accounts = np.array(sorted(sides), np.int16)
    amounts = np.stack([sides[account] for account in sorted(sides)], axis=1)
    claim, column = np.nonzero(amounts)
    return claim, accounts[column], amounts[claim, column]
