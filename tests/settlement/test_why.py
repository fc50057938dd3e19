"""为什么没报、少报: one plain sentence for every reason of the vocabulary and every shortfall."""

import pytest

from pricing.rules import REASONS, VOCABULARY
from settlement.why import PLAIN, Line, Told, sentence

CLAUSE = "示例〔2021〕1号 二（一）"


def paid(**more: int) -> Line:
    return Line(**({"what": "诊察费", "decision": "payable", "fee": 3500, "in_scope": 3500} | more))


def told(*lines: Line, **more: object) -> str:
    fund = sum(line.fund for line in lines if line.decision == "payable")
    fee = sum(line.fee for line in lines)
    return sentence(Told(**({"state": "payable", "fee": fee, "lines": lines, "fund": fund} | more)))


@pytest.mark.parametrize("rule", VOCABULARY.values(), ids=lambda rule: rule.name)
def test_every_reason_has_a_sentence_with_its_clause(rule):
    line = Line("药品费", rule.decision, rule.code, rule.message, CLAUSE, 4500, charge=True)
    said = told(line, state=rule.decision)
    assert said.startswith("费用45.00元，统筹基金没有支付：药品费45.00元")
    assert said.endswith("。")
    assert said.count("。") == 1
    assert PLAIN.get(rule.code, rule.message) in said
    assert CLAUSE in said
    assert rule.code not in said  # no code is read out on the telephone


def test_plain_words_belong_to_known_reasons():
    assert set(PLAIN) <= set(REASONS)


@pytest.mark.parametrize(
    ("decision", "words"),
    [
        ("reject", "药品费45.00元不予支付，因为处方没有经过药师审核（示例〔2021〕1号 二（一））"),
        ("review", ("药品费45.00元正在人工审核，因为处方没有经过药师审核（示例〔2021〕1号 二（一）），"
                   "审核通过前暂不支付")),
        ("no_rule", ("药品费45.00元暂缓支付，因为处方没有经过药师审核（示例〔2021〕1号 二（一）），"
                    "要等医保部门明确")),
    ],
)  # fmt: skip
def test_what_is_not_paid(decision, words):
    line = Line("药品费", decision, "PHARMACIST_REVIEW_MISSING", "", CLAUSE, 4500)
    assert told(line) == f"费用45.00元，统筹基金没有支付：{words}。"


def test_who_bears_what_is_refused():
    lines = [Line("配送费", "reject", "DELIVERY_FEE", "", "", 800, charge=charge)
             for charge in (True, False)]  # fmt: skip
    assert "，由个人负担。" in told(lines[0])
    assert "，医院也不得向您收取。" in told(lines[1])


def test_above_the_cap_and_the_fixed_amount():
    line = paid(fee=3500, in_scope=2200, over_cap=1300, fund=600)
    said = told(line, over_clause=CLAUSE, how="每次定额 6.00 元，不超过范围内金额")
    assert said == (
        "费用35.00元，统筹基金支付6.00元：13.00元超过最高支付标准，属于丙2类自费（示例〔2021〕1号 二（一））；"
        "其余16.00元按规定由个人负担（每次定额 6.00 元，不超过范围内金额）。"
    )


def test_the_deductible_is_not_reached_or_just_reached():
    line = paid(deductible=3500)
    assert told(line, deductible=80_000, deductible_before=10_000) == (
        "费用35.00元，统筹基金没有支付：范围内35.00元中35.00元计入年度起付线"
        "（全年800.00元，此前已累计100.00元，还差665.00元）。"
    )
    partly = paid(deductible=1000, fund=1500)
    said = told(partly, deductible=20_000, deductible_before=19_000, how="起付线以上按 60% 支付")
    assert said == (
        "费用35.00元，统筹基金支付15.00元：范围内35.00元中10.00元计入年度起付线"
        "（全年200.00元，此前已累计190.00元，至此已满）；"
        "其余10.00元按规定由个人负担（起付线以上按 60% 支付）。"
    )


def test_the_limit_is_used_up():
    nothing = told(paid(), limit=600_000, fund_before=600_000)
    assert (
        nothing
        == "费用35.00元，统筹基金没有支付：年度封顶线6,000.00元此前已用完，余下35.00元由个人负担。"
    )
    rest = told(paid(fund=500), limit=600_000, fund_before=599_500)
    assert "年度封顶线6,000.00元只剩5.00元，已付到封顶为止，余下30.00元由个人负担" in rest


def test_the_personal_account_paid_a_part():
    assert "个人负担中10.00元已由个人账户支付" in told(paid(fund=600), account=1000)


def test_the_own_share_alone_needs_no_rest():
    said = told(paid(fund=2275), how="起付线以上按 65% 支付（示例参数）")
    assert said == (
        "费用35.00元，统筹基金支付22.75元：12.25元按规定由个人负担（起付线以上按 65% 支付，示例参数）。"
    )


def test_category_b_major_illness_and_assistance():
    line = paid(
        fee=100_000, in_scope=100_000, first_self_pay=10_000, deductible=20_000, fund=40_000,
        major=10_000, assistance=5_000,
    )  # fmt: skip
    said = told(line, deductible=20_000)
    assert said == (
        "费用1,000.00元，统筹基金支付400.00元：100.00元按乙类先由个人自付；"
        "范围内1,000.00元中200.00元计入年度起付线（全年200.00元，此前已累计0.00元，至此已满）；"
        "大病保险另支付100.00元；医疗救助另支付50.00元；其余150.00元按规定由个人负担。"
    )


def test_nothing_is_missing():
    assert told(paid(fund=3500)) == "费用35.00元全部由统筹基金支付，没有少报。"


def test_what_waits_and_what_was_reversed():
    assert sentence(Told(state="received", fee=3500)) == (
        "这笔35.00元的费用已经收到，还没有结算，请稍后再查。"
    )
    said = sentence(Told(state="reversed", fee=3500, reversed_because="录入错误"))
    assert said == (
        "这笔35.00元的结算已经冲正（录入错误），原来支付的钱按原渠道退回，年度累计也已恢复。"
    )


def test_lines_of_one_reason_are_said_together():
    lines = [
        Line("诊察费", "reject", "NO_AGREEMENT", "", CLAUSE, 1200),
        Line("药品费", "reject", "NO_AGREEMENT", "", CLAUSE, 4500),
        paid(what="诊察费", fee=1000, in_scope=1000, fund=1000),
    ]
    said = told(*lines, state="partial")
    assert said.count("不予支付") == 1
    assert "诊察费、药品费57.00元不予支付" in said


def test_a_reason_without_words_is_told_by_its_message():
    line = Line("药品费", "reject", "SOMETHING_NEW", "处方已撤回", "", 100)
    assert "因为处方已撤回" in told(line)
    assert "因为没有说明原因" in told(Line("药品费", "reject", fee=100))
