"""PURE. 为什么没报、少报: one plain sentence about a settled claim, to be said on the telephone.

Made of what was decided: the decision and reason of each line, its clause, the amounts, and what the
person had used of the year before. Amounts are fen; nothing is computed that was not settled.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from audit.text import yuan

RECEIVED, REVERSED = "received", "reversed"
PAYABLE, REJECT, REVIEW, NO_RULE = "payable", "reject", "review", "no_rule"

#: Reasons as one says them to a patient; a reason without an entry is told by its rule's message.
PLAIN: dict[str, str] = {
    "RULE_NOT_IN_FORCE": "就诊那天还没有（或已经不再有）有效的互联网医疗支付政策",
    "DELIVERY_FEE": "药品配送费不在医保支付范围内",
    "ITEM_NOT_APPROVED": "这个收费项目没有经过批准",
    "OUT_OF_PAYMENT_SCOPE": "这类费用不在医保支付范围内",
    "ITEM_UNKNOWN": "医院上传的项目编码不在价格目录里",
    "ITEM_NOT_BILLABLE": "医院上传的编码只是分类标题，不能收费",
    "CLASS_NOT_OFFERED": "这个类别的医院没有此项目的价格",
    "INSTITUTION_NOT_FILED": "这家医院的互联网服务没有在医保部门备案",
    "NO_AGREEMENT": "就诊那天这家医院没有生效的“互联网+”医保协议",
    "AGREEMENT_SUSPENDED": "就诊那天这家医院的医保协议正被中止",
    "NOT_LOCAL_INSURED": "您不在本统筹区参保",
    "NOT_ENTITLED": "就诊那天您的医保待遇不在享受期内",
    "CREDENTIAL_MISSING": "就诊时没有用医保电子凭证完成实名核验，或人证不符",
    "NO_CONSENT": "没有查到您的知情同意记录",
    "BUSINESS_TYPE_MISSING": "医院没有注明这笔费用是不是“互联网+”业务",
    "FIRST_VISIT": "互联网诊疗只报复诊，这次是首诊",
    "NOT_COMMON_OR_CHRONIC": "互联网诊疗只报常见病、慢性病的复诊",
    "DEPARTMENT_OUT_OF_SCOPE": "就诊科室不在医院登记的线下和互联网科目之内",
    "DISEASE_NOT_LISTED": "病种不在慢性病支付目录内，或您还没有办理该病种的认定",
    "REVISIT_WINDOW": "离上一次线下就诊已超过规定的时间",
    "REVISIT_DISEASE_MISMATCH": "这次看的病与上一次线下就诊不是同一种",
    "CHARGED_BY_WRONG_PARTY": "远程会诊费应由邀请您会诊的医院收取",
    "EXCLUDED_SERVICE": "这项服务不属于医保支付的诊疗服务",
    "NOT_MEDICAL_STAFF": "提供服务的不是医务人员",
    "DOCTOR_EXPERIENCE": "接诊医师的独立工作年限不够",
    "DOCTOR_RANK_MISMATCH": "接诊医师的职称与收费项目不符",
    "DEPARTMENT_SUSPENDED": "就诊那天这家医院的就诊科室正被责令暂停使用医保基金的医药服务",
    "PHARMACIST_SUSPENDED": "审核或调配这张处方的药师当天的医保服务资格正被暂停或已被终止",
    "PHYSICIAN_SUSPENDED": "就诊那天接诊医师的医保服务资格正被暂停或已被终止",
    "NO_PRESCRIPTION": "这次复诊没有开处方",
    "DOCTOR_SIGNATURE_MISSING": "处方没有医师的电子签名",
    "PHARMACIST_REVIEW_MISSING": "处方没有经过药师审核",
    "DUPLICATE_CHARGE": "同一次就诊重复收了诊察费",
    "NO_CAP_FOR_NON_PUBLIC": "文件只规定了公立医院的支付标准",
    "CATEGORY_SELF_PAID": "这是丙类项目或药品，由个人全额自费",
    "DRUG_NOT_LISTED": "药品不在就诊那天有效的医保药品目录内",
    "DRUG_NOT_FOR_DISEASE": "药品不在您已认定病种的用药范围内",
    "PRESCRIPTION_PERSON": "处方不是为您开具的",
    "PRESCRIPTION_WITHDRAWN": "处方已经撤回",
    "PRESCRIPTION_EXPIRED": "处方已经过了有效期",
    "PRESCRIPTION_ELSEWHERE": "这张处方已经流转或在别处取过药",
    "PRESCRIPTION_CLAIMED": "同一张处方申报的数量超过了处方开具的数量",
    "PHARMACY_NOT_DESIGNATED": "取药那天这家药店不是医保定点药店",
    "NOT_DISPENSED": "药店申报的数量超过了实际按处方调配的数量",
    "UPLOAD_LATE": "医院断网期间的费用超过期限才补传",
    "NO_TARIFF": "还没有可用的价格或支付标准",
    "OVERCHARGE": "医院收费高于公布的价格，多收的部分应当退给您",
}


@dataclass(frozen=True)
class Line:
    """One charge as it was decided. `clause` names document and clause; `charge`: may it be charged."""

    what: str
    decision: str
    reason: str = ""
    message: str = ""
    clause: str = ""
    fee: int = 0
    in_scope: int = 0
    over_cap: int = 0
    first_self_pay: int = 0
    deductible: int = 0
    fund: int = 0
    major: int = 0
    assistance: int = 0
    charge: bool | None = None


@dataclass(frozen=True)
class Told:
    """A claim as it counts now, and the year before it. `limit` None: there is none."""

    state: str
    fee: int
    lines: Sequence[Line] = ()
    fund: int = 0
    account: int = 0
    how: str = ""
    over_clause: str = ""
    deductible: int = 0
    deductible_before: int = 0
    limit: int | None = None
    fund_before: int = 0
    reversed_because: str = ""

    def paid(self, name: str) -> int:
        """An amount summed over the lines that are paid."""
        return sum(getattr(line, name) for line in self.lines if line.decision == PAYABLE)


def sentence(told: Told) -> str:
    """Why this much and not more, in one sentence that ends with a full stop."""
    if told.state == RECEIVED:
        return f"这笔{_money(told.fee)}的费用已经收到，还没有结算，请稍后再查。"
    if told.state == REVERSED:
        why = f"（{told.reversed_because}）" if told.reversed_because else ""
        return f"这笔{_money(told.fee)}的结算已经冲正{why}，原来支付的钱按原渠道退回，年度累计也已恢复。"
    reasons = [*_unpaid(told), *_less(told)]
    if not reasons:
        return f"费用{_money(told.fee)}全部由统筹基金支付，没有少报。"
    lead = f"费用{_money(told.fee)}，统筹基金支付{_money(told.fund)}"
    if not told.fund:
        lead = f"费用{_money(told.fee)}，统筹基金没有支付"
    return f"{lead}：{'；'.join(reasons)}。"


def plain(line: Line) -> str:
    """A line's reason in words that need no explanation, with its clause."""
    words = PLAIN.get(line.reason) or line.message or "没有说明原因"
    return f"{words}（{line.clause}）" if line.clause else words


def _unpaid(told: Told) -> Iterator[str]:
    """Lines that are not paid at all, those of one reason together."""
    groups: dict[tuple[str, str], list[Line]] = {}
    for line in told.lines:
        if line.decision != PAYABLE:
            groups.setdefault((line.decision, line.reason), []).append(line)
    for (decision, _), lines in groups.items():
        what = "、".join(dict.fromkeys(line.what for line in lines))
        yield WORDS[decision].format(
            what=f"{what}{_money(sum(line.fee for line in lines))}", why=plain(lines[0]),
            then=_charged(lines[0]),
        )  # fmt: skip


WORDS = {
    REJECT: "{what}不予支付，因为{why}{then}",
    REVIEW: "{what}正在人工审核，因为{why}，审核通过前暂不支付",
    NO_RULE: "{what}暂缓支付，因为{why}，要等医保部门明确",
}


def _charged(line: Line) -> str:
    if line.charge is None:
        return ""
    return "，由个人负担" if line.charge else "，医院也不得向您收取"


OTHERS = (("major", "大病保险"), ("assistance", "医疗救助"))


def _less(told: Told) -> Iterator[str]:
    """Why of what is paid a part is not: above the cap, self-pay first, deductible, the own share."""
    before = [*_taken_first(told)]
    yield from before
    rest = told.paid("in_scope") - told.paid("first_self_pay") - told.paid("deductible")
    rest -= sum(told.paid(name) for name in ("fund", "major", "assistance"))
    if rest > 0:
        yield from _own_share(told, rest, "其余" if before else "")


def _taken_first(told: Told) -> Iterator[str]:
    """What comes off before the person's own share, and what other funds add."""
    if over := told.paid("over_cap"):
        clause = f"（{told.over_clause}）" if told.over_clause else ""
        yield f"{_money(over)}超过最高支付标准，属于丙2类自费{clause}"
    if first := told.paid("first_self_pay"):
        yield f"{_money(first)}按乙类先由个人自付"
    if taken := told.paid("deductible"):
        scope = _money(told.paid("in_scope"))
        yield f"范围内{scope}中{_money(taken)}计入年度起付线（{_deductible(told, taken)}）"
    for name, payer in OTHERS:
        if paid := told.paid(name):
            yield f"{payer}另支付{_money(paid)}"


def _own_share(told: Told, rest: int, lead: str) -> Iterator[str]:
    """The rest of what is in scope: beyond the year's limit, or the share that the law leaves."""
    if told.limit is not None and told.fund_before + told.paid("fund") >= told.limit:
        left = max(told.limit - told.fund_before, 0)
        used = f"只剩{_money(left)}，已付到封顶为止" if left else "此前已用完"
        yield f"年度封顶线{_money(told.limit)}{used}，余下{_money(rest)}由个人负担"
        return
    how = told.how.replace("（", "，").replace("）", "")
    yield f"{lead}{_money(rest)}按规定由个人负担" + (f"（{how}）" if how else "")
    if told.account:
        yield f"个人负担中{_money(told.account)}已由个人账户支付"


def _deductible(told: Told, taken: int) -> str:
    left = told.deductible - told.deductible_before - taken
    words = f"全年{_money(told.deductible)}，此前已累计{_money(told.deductible_before)}"
    return f"{words}，还差{_money(left)}" if left > 0 else f"{words}，至此已满"


def _money(fen: int) -> str:
    return f"{yuan(fen)}元"
