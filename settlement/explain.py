"""What a line's result means: the answer of contracts/trial.md, shared by trial, claims, page and PDF."""

from dataclasses import dataclass

import numpy as np

from audit.text import rate
from institutions.money import yuan
from pricing.benefits import MODE_FIXED, MODE_RATIO, Benefit
from pricing.document import RATIO_ONE
from pricing.policy import Rules
from pricing.rules import CODES, DECISIONS, REASONS, REVIEWED
from settlement.columns import category_of, flag_names
from settlement.kernel import NO_RULE, OPEN, PAYABLE, REJECT

MANUAL_CHANNEL = "manual"
BY_HAND = "online_permitted"  #: the check whose failing leaves the manual channel open

STANDINGS = {
    "arrears": "欠费暂停", "waiting": "等待期", "stopped": "终止参保", "deceased": "死亡",
    "absent": "当日没有参保登记",
}  # fmt: skip

#: Keys of the contract that only some answers fill.
NOT_APPLICABLE: dict[str, object] = dict.fromkeys(
    ("category", "settlement_channel", "requires", "allowed_channels", "charge_count",
     "charge_total", "record_in")
)  # fmt: skip


@dataclass(frozen=True)
class Line:
    """One line's result with the facts that explaining it needs. Amounts in fen, OPEN = undecided."""

    rules: Rules
    service: str
    row: int
    ownership: str
    price_class: int
    scheme: str
    nonprofit: int
    charges: int
    decision: int
    reason: int
    check_no: int
    flags: int
    fee: int
    in_scope: int
    over_cap: int
    overcharge: int
    first_self_pay: int
    deductible: int
    fund: int
    major: int
    assistance: int
    standing: str = ""
    home: Rules | None = None

    @property
    def benefits(self) -> Rules:
        """Whose benefits the person has: the own region's for a person insured elsewhere."""
        return self.home or self.rules

    @property
    def benefit(self) -> Benefit:
        return self.benefits.benefits.get((self.scheme, self.price_class)) or Benefit()

    @property
    def others(self) -> int:
        """What the funds after the basic one pay."""
        return self.major + self.assistance


def line_of(results, i: int, rules: Rules, record, service: str, home: Rules | None = None) -> Line:
    """Line `i` of kernel results, with the claim's facts record."""
    names = ("row", "decision", "reason", "check_no", "flags", "fee", "in_scope", "over_cap",
             "overcharge", "first_self_pay", "deductible", "fund", "major", "assistance")  # fmt: skip
    return Line(
        rules=rules,
        home=home,
        standing=CODES["standing"][record["standing"]],
        service=service,
        ownership=CODES["ownership"][record["ownership"]],
        price_class=int(record["price_class"]),
        scheme=CODES["scheme"][record["scheme"]],
        nonprofit=int(record["nonprofit"]),
        charges=int(record["provincial_hospitals"]),
        **{name: int(getattr(results, name)[i]) for name in names},
    )


def amount(fen: int) -> str | None:
    """A decimal string in yuan, or None where nothing decides the amount."""
    return None if fen == OPEN else yuan(fen)


def answer(line: Line) -> dict:
    """The answer of the contract for one line (without `assumed` and channel)."""
    undecided = line.decision in (REJECT, NO_RULE)
    self_pay = OPEN
    if OPEN not in (line.in_scope, line.fund):
        self_pay = line.in_scope - line.fund - line.others
    known_fund = line.fund != OPEN and line.fee != OPEN
    answer: dict = {
        "decision": DECISIONS[line.decision],
        "reason": REASONS[line.reason] or None,
        "reason_text": reason_text(line),
        "in_scope_amount": None if undecided else amount(line.in_scope),
        "over_cap_self_pay": None if undecided else amount(line.over_cap),
        "fund_pay": amount(line.fund),
        "major_illness_pay": amount(line.major),
        "assistance_pay": amount(line.assistance),
        "first_self_pay": None if undecided else amount(line.first_self_pay),
        "in_scope_self_pay": None if undecided else amount(self_pay),
        "patient_total": amount(line.fee - line.fund - line.others)
        if known_fund and not undecided
        else None,
        "overcharge": None if undecided else amount(line.overcharge),
        "flags": flag_names(line.flags),
        "patient_may_be_charged": may_be_charged(line),
        "personal_account_allowed": account_allowed(line.benefits, line.scheme, "in_scope"),
        "canonical_code": line.rules.row_code[line.row] or None,
        **NOT_APPLICABLE,
        "category": category_of(line.flags)[0] or None,
        "clauses": clauses(line),
        "explanation": [] if undecided else waterfall(line),
        "release": {
            "id": line.rules.release_id,
            "document": line.rules.policy.document,
            "sm3": line.rules.release_sm3,
        },
    }
    if line.service == "remote_consult":
        answer |= _remote(line)
    return answer


def _remote(line: Line) -> dict:
    service = line.rules.policy.section("services", {}).get("remote_consult", {})
    price = line.rules.count_price
    return {
        "category": service.get("category"),
        "record_in": service.get("record_in"),
        "charge_count": line.charges,
        "charge_total": amount(price * line.charges if price != OPEN else OPEN),
    }


def reason_text(line: Line) -> str | None:
    if reviewed := REVIEWED.get(REASONS[line.reason]):
        return reviewed
    check = line.rules.check(line.check_no)
    if check is None:
        return None
    if check.rule.name == "entitlement_in_force" and line.standing in STANDINGS:
        return f"{check.rule.message}（{STANDINGS[line.standing]}）"
    if by_hand(line):
        return f"{check.rule.message}，不能联网结算，可先行支付后凭电子发票手工报销"
    return check.rule.message


def by_hand(line: Line) -> bool:
    """A line that is refused online alone, in a region with a manual channel."""
    check = line.rules.check(line.check_no)
    manual = line.rules.policy.section("manual_channel", {})
    return check is not None and check.rule.name == BY_HAND and bool(manual)


def may_be_charged(line: Line) -> bool | None:
    """Whether the patient may be charged; None where the clause does not say."""
    code = REASONS[line.reason]
    if code in REVIEWED:
        return code != "REVIEW_REFUSED"
    check = line.rules.check(line.check_no)
    if check is None:
        return True if line.decision == PAYABLE else None
    if isinstance(check.charge, dict):
        return check.charge.get({1: "nonprofit", 0: "for_profit"}.get(line.nonprofit, ""))
    return check.charge


def account_allowed(rules: Rules, scheme: str, part: str) -> bool | None:
    """May the personal account pay `part` (in_scope, over_cap)? None where the document is silent."""
    if not rules.account_rules:
        return None
    for rule in rules.account_rules:
        if scheme in rule["schemes"]:
            return bool(rule[part])
    return False


def cite(rules: Rules, clause: str) -> dict:
    return {
        "document": rules.policy.document,
        "clause": clause,
        "text": rules.policy.clause_text(clause),
    }


def clauses(line: Line) -> list[dict]:
    """The clauses that decided a line, in order."""
    rules, check = line.rules, line.rules.check(line.check_no)
    names = [check.clause] if check else []
    statute = check.statute if check else None
    if line.decision != REJECT and line.row:
        over = rules.policy.section("over_cap", {})
        names += [rules.row_clause[line.row], rules.cap_clause.get((line.row, line.ownership), "")]
        names += [line.benefit.clause, over.get("clause", "") if line.over_cap > 0 else ""]
    first = [{"document": statute[0], "clause": statute[1], "text": ""}] if statute else []
    return first + [cite(rules, name) for name in dict.fromkeys(names) if name]


def waterfall(line: Line) -> list[dict]:
    """Ordered steps fee → 丙2 → in scope → first self-pay → deductible → funds → self.

    Each has label, amount, clause and note.
    """
    rules = line.rules
    cap_clause = rules.cap_clause.get((line.row, line.ownership), "")
    over_clause = rules.policy.section("over_cap", {}).get("clause") or cap_clause
    steps: list[Step] = [("fee", "实际发生费用", line.fee, rules.row_clause[line.row], "")]
    if line.over_cap > 0:
        steps.append(("over_cap", "超标准自费（丙2类）", line.over_cap, over_clause, ""))
    if line.overcharge > 0:
        note = "高于公布价格，应退还患者"
        steps.append(
            ("overcharge", "其中超标准收费", line.overcharge, rules.row_clause[line.row], note)
        )
    steps.append(("in_scope", "政策范围内", line.in_scope, cap_clause, cap_note(line)))
    steps += _paid_steps(line)
    return [
        {"key": key, "label": label, "amount": amount(fen), "clause": clause, "note": note,
         "text": rules.policy.clause_text(clause)}
        for key, label, fen, clause, note in steps
    ]  # fmt: skip


Step = tuple[str, str, int, str, str]


def _paid_steps(line: Line) -> list[Step]:
    """From the amount in scope to what the person bears of it."""
    clause, stop = line.benefit.clause, line.benefits.one_stop
    steps = []
    category, share = category_of(line.flags)
    if line.first_self_pay > 0:
        where = line.rules.row_clause[line.row]
        note = f"{category}，先行自付 {rate(share)}"
        steps.append(("first_self_pay", "先行自付", line.first_self_pay, where, note))
    if line.deductible > 0:
        steps.append(("deductible", "起付线", line.deductible, clause, ""))
    steps.append(("fund", "统筹基金支付", line.fund, clause, benefit_note(line)))
    if line.major > 0:
        own = stop.major_clause.get(line.scheme, "")
        steps.append(("major", "大病保险支付", line.major, own, "按年度累计个人负担分段支付"))
    if line.assistance > 0:
        steps.append(("assistance", "医疗救助支付", line.assistance, stop.help_clause, ""))
    if OPEN not in (line.in_scope, line.fund):
        rest = line.in_scope - line.fund - line.others
        steps.append(("self", "范围内个人负担", rest, clause, ""))
    return steps


def cap_note(line: Line) -> str:
    ownership = CODES["ownership"].index(line.ownership)
    cap = int(line.rules.cap[line.row, ownership, line.price_class])
    return f"最高支付标准 {yuan(cap)} 元" if 0 <= cap < 2**59 else ""


def benefit_note(line: Line) -> str:
    benefit = line.benefit
    if benefit.mode == MODE_FIXED:
        return f"每次定额 {yuan(benefit.fixed)} 元，不超过范围内金额"
    if benefit.mode == MODE_RATIO:
        share = f"{benefit.ratio * 100 / RATIO_ONE:g}%"
        if benefit.tiers:
            parts = (f"{yuan(above)} 元以上 {rate(part)}" for above, part in benefit.tiers)
            share = f"分段比例（{'、'.join(parts)}）"
        mark = "（示例参数）" if benefit.example else ""
        return f"起付线以上按 {share} 支付{mark}"
    return "文件未印支付比例，须由参数给出"


def channel_of(line: Line, online_settlement: int) -> dict:
    """The channel of a line that is paid, or that would be by hand; nothing of any other."""
    if line.decision == PAYABLE:
        return channel(line.rules, online_settlement)
    return channel(line.rules, 0) if by_hand(line) else {}


def channel(rules: Rules, online_settlement: int) -> dict:
    """How the money is settled: online, or the manual channel with what it requires."""
    manual = rules.policy.section("manual_channel", {})
    if online_settlement == 0 and manual:
        return {
            "settlement_channel": MANUAL_CHANNEL,
            "requires": list(manual["requires"]),
            "allowed_channels": list(manual["channels"]),
        }
    return {"settlement_channel": "online", "requires": [], "allowed_channels": ["online"]}


def total(amounts: np.ndarray) -> int:
    """Sum of amounts, OPEN when any is open."""
    return OPEN if (amounts == OPEN).any() else int(amounts.sum())
