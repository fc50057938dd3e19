"""Every lint rule: one change to a sound text, and the message with its line that must follow."""

from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command

from pricing.commands import SHIPPED
from pricing.validation import problems

POLICY = (Path(__file__).parents[1] / "policies" / "invented-city.yaml").read_text(encoding="utf-8")
ROW = (
    "  - {key: employee_deductible, value: 100, from: 2022-01-01, until: 2022-12-31, "
    "source_kind: example, source_ref: 示例, label: 示例, clause: 第4条}\n"
)
PARAMETERS = f"""format: 1
kind: parameters
slug: parameters-invented
document: 示例参数
title: 示例参数
region: invented
area_code: "990100"
effective: {{from: 2022-01-01, until: null}}
rows:
{ROW}"""


def found(text: str) -> list[str]:
    return [str(problem) for problem in problems(text, name="f.yaml")]


def line_of(text: str, part: str) -> int:
    return text[: text.index(part)].count("\n") + 1


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_files_are_clean(path):
    assert problems(path.read_text(encoding="utf-8"), name=path.name) == []


@pytest.mark.parametrize(
    ("old", "new", "path", "message"),
    [
        # the shape
        ("format: 1", "format: 2", "format", "应为 1，现为 2"),
        ("region: invented", "region: 虚构", "region", "应为小写字母、数字和连字符，现为 '虚构'"),
        ("dated: 2022-03-01", "dated: 3月", "dated", "应为日期 YYYY-MM-DD，现为 '3月'"),
        ("months: 96", "months: 9.5", "requires/8/months", "应为整数，现为 9.5"),
        ("months: 96", "months: true", "requires/8/months", "应为整数，现为 True"),
        ("    unit: 次\n", "    units: 次\n", "items/0", "不认识的键 units"),
        ("title: 虚构市", "name: 虚构市", "/", "缺少 title"),
        ("scheme: lixiu", "scheme: 离休", "fund_pays/2/scheme", "应为 employee、resident、lixiu 之一，现为 '离休'"),
        ("titles: [chief]", "titles: [boss]", "items/1/titles/0", "应为 resident_doctor、attending、associate_chief、chief、special_allowance_expert 之一，现为 'boss'"),
        # ratio out of bounds
        ('"2": 7000, "1": 8000}', '"2": 10001, "1": 8000}', "fund_pays/0/ratio_by_class/2", "应在 0 与 10000 之间，现为 10001"),
        ("ratio: 4000", "ratio: -1", "fund_pays/1/tiers/0/ratio", "应在 0 与 10000 之间，现为 -1"),
        # dates
        ("until: 2024-12-31", "until: 2021-12-31", "effective/until", "止日 2021-12-31 早于起日 2022-03-01"),
        # cap above price
        ('by_class: {"3": 2400, "1": 1500}', 'by_class: {"3": 3001, "1": 1500}', "caps/0/by_class/3", "990100 的最高支付标准 3001 高于价格 3000"),
        # unknown item
        ('items: ["990200"], ownership', 'items: ["990300"], ownership', "caps/1/items/0", "项目 990300 不在 items 中"),
        ('months: 96, items: ["990200"]', 'months: 96, items: ["1"]', "requires/8/items/0", "项目 1 不在 items 中"),
        # caps once, of one kind
        ('items: ["990200"], ownership: public', 'items: ["990100"], ownership: public', "caps/1", "990100（public）已有最高支付标准"),
        ("services: [drug], ownership: any, by_class", "services: [drug], ownership: any, parameter: p, by_class", "caps/2", "应恰有 by_class、parameter 之一"),
        ("{services: [drug], ownership", '{services: [drug], items: ["990200"], ownership', "caps/2", "应恰有 items、services 之一"),
        # clause missing or not summarised
        ("months: 2, clause: 第8条", "months: 2, clause: 第99条", "requires/5/clause", "条款“第99条”不在 clauses 中"),
        ("  sign: {counts_from: acceptance_passed, working_days: 4, clause: 第11条}", "  sign: {counts_from: acceptance_passed, working_days: 4}", "procedures/sign/working_days", "数字没有条款依据（所在键值表缺少 clause）"),
        # rules
        ("rule: follow_up_only", "rule: follow_me", "requires/4/rule", "应为 "),
        ("rule: revisit_window, months: 2,", "rule: revisit_window,", "requires/5", "规则 revisit_window 缺少 months"),
        ("{rule: follow_up_only,", "{rule: follow_up_only, months: 3,", "requires/4/months", "规则 follow_up_only 没有 months"),
        ("{rule: payable_services, services: [consult, drug],", "{rule: payable_services,", "requires/0", "规则 payable_services 缺少 services"),
        # classes, codes, tiers, ways of paying
        ('  - {class: "1", name: 一类机构}\n', "", "items/0/price_by_class/1", "类别 1 未在 price_classes 中声明"),
        ('aliases: ["990100-A"]', 'aliases: ["990100"]', "items/0/aliases", "编码 990100 重复"),
        ('code: "990200"', 'code: "990100"', "items/1/code", "编码 990100 重复"),
        ("above: 300000", "above: 90000", "fund_pays/1/tiers/2/above", "分段起点应递增，90000 不大于 100000"),
        ("scheme: employee, ratio_by_class", "scheme: employee, ratio: 1, ratio_by_class", "fund_pays/0", "应恰有 per_visit_by_class、ratio、ratio_by_class、tiers、tiers_by_class、refer_to 之一"),
        ("deductible: 20000,", 'deductible_by_class: {"3": 20000, "2": 10000},', "fund_pays/0/deductible_by_class", "类别 1 没有 deductible"),
        ("annual_limit: 350000,", 'annual_limit: 1, annual_limit_by_class: {"3": null, "2": 2, "1": 3},', "fund_pays/0/annual_limit", "annual_limit 与 annual_limit_by_class 只能有一个"),
        ("    deductible: 30000\n", '    deductible_by_class: {"3": 1, "2": 1, "1": 1, "4": 1}\n', "fund_pays/1/deductible_by_class/4", "类别 4 未在 price_classes 中声明"),
        ("    tiers: [{above: 0, ratio: 4000}, {above: 100000, ratio: 5500}, {above: 300000, ratio: 2500}]\n", '    tiers_by_class: {"3": [{above: 9, ratio: 1}, {above: 8, ratio: 2}]}\n', "fund_pays/1/tiers_by_class/3/1/above", "分段起点应递增，8 不大于 9"),
        ("{scheme: lixiu, per_visit", '{scheme: lixiu, deductible_by_class: {"3": 1}, per_visit', "fund_pays/2", "按次定额不能另有起付线或年度限额"),
        ("{scheme: lixiu, per_visit", "{scheme: lixiu, deductible: 1, per_visit", "fund_pays/2", "按次定额不能另有起付线或年度限额"),
        ("scheme: lixiu", "scheme: employee", "fund_pays/2/scheme", "险种 employee 重复"),
        ('    price_by_class: {"3": 9000, "2": 7000, "1": null}\n', "", "items/1", "可计价项目缺少 price_by_class（不收费的分类标题写 billable: false）"),
        # the text itself
        ("manual_channel: null", "manual_channel: null\nover_cap: null", "over_cap", "同一个键重复出现"),
    ],
)  # fmt: skip
def test_a_fault_is_named_with_its_place(old, new, path, message):
    text = POLICY.replace(old, new, 1)
    assert text != POLICY
    assert any(line.partition(": ")[2].startswith(f"{path}：{message}") for line in found(text)), (
        found(text)
    )


def test_the_line_is_the_line_of_the_fault():
    text = POLICY.replace("months: 2, clause: 第8条", "months: 2, clause: 第99条")
    line = line_of(text, "第99条")
    assert found(text) == [f"f.yaml:{line}: requires/5/clause：条款“第99条”不在 clauses 中"]


def test_all_faults_come_at_once_in_order_of_lines():
    text = POLICY.replace("ratio: 4000", "ratio: 40000").replace("months: 96", "months: x")
    text = text.replace("clause: 第20条}\nbefore", "clause: 第21条}\nbefore")
    lines = [int(line.split(":")[1]) for line in found(text)]
    assert len(lines) == 3
    assert lines == sorted(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "a: [",
            "f.yaml:2: /：不是有效的 YAML：did not find expected node content",
        ),
        ("", "f.yaml:1: /：文本为空"),
        ("- 1", "f.yaml:1: /：应为一个政策文件（kind: policy）或参数集（kind: parameters）"),
        ("a: &x 1\nb: *x", "f.yaml:1: /：不是有效的 YAML：不得使用锚点和引用"),
    ],
)
def test_a_text_that_is_no_document(text, message):
    assert found(text) == [message]


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        (PARAMETERS + ROW.replace("2022-01-01", "2022-12-31"), "rows/1/from", "employee_deductible 与第 1 行的有效期重叠"),
        (PARAMETERS.replace("until: 2022-12-31", "until: 2021-12-31"), "rows/0/until", "止日 2021-12-31 早于起日 2022-01-01"),
        (PARAMETERS.replace("value: 100", "value: -1"), "rows/0/value", "金额应为不小于 0 的整数（分），现为 -1"),
        (PARAMETERS.replace("employee_deductible, value: 100", "employee_fund_ratio, value: 10001"), "rows/0/value", "比例应为 0 与 10000 之间的整数，现为 10001"),
        (PARAMETERS.replace("employee_deductible, value: 100", "employee_tiers, value: [{above: 5, ratio: 1}, {above: 5, ratio: 1}]"), "rows/0/value/1/above", "分段起点应递增，5 不大于 5"),
        (PARAMETERS.replace("employee_deductible, value: 100", "step_working_days, value: {test: 0}"), "rows/0/value", "工作日数应为不小于 1 的整数，现为 0"),
        (PARAMETERS.replace("employee_deductible, value: 100", "quality_deposit_ratio, value: 10001"), "rows/0/value", "比例应为 0 与 10000 之间的整数，现为 10001"),
        (PARAMETERS.replace("employee_deductible, value: 100", "budget_watch_ratios, value: [9000, 8000]"), "rows/0/value", "应为递增的正整数（万分比），现为 [9000, 8000]"),
        (PARAMETERS.replace("employee_deductible, value: 100", "deposit_return_by_score, value: [{from: 10, ratio: 1}]"), "rows/0/value", "应为 [{from, ratio}, …]，from（万分制得分）递减到 0"),
        (PARAMETERS.replace("employee_deductible, value: 100", "budget_sharing, value: {surplus: [{above: 1, ratio: 5}], overrun: [{above: 0, ratio: 5}]}"), "rows/0/value/surplus", "第一档应从 0 起"),
        (PARAMETERS.replace("employee_deductible, value: 100", "budget_sharing, value: {surplus: []}"), "rows/0/value", "应有 surplus 和 overrun"),
        (PARAMETERS.replace(", clause: 第4条", ""), "rows/0", "缺少 clause"),
    ],
)  # fmt: skip
def test_faults_of_parameter_sets(text, path, message):
    assert f"{path}：{message}" in [line.partition(": ")[2] for line in found(text)]


WAVES = (
    POLICY
    + """waves:
  total: 3
  clause: 第1条
  batches:
    - {batch: 1, name: 第一批, deadline: 2022-06-30, count: 1, hospitals: [{name: 甲}], clause: 第1条}
    - {batch: 2, name: 第二批, deadline: 2022-12-31, count: 2, hospitals: [{name: 乙}, {name: 丙}], clause: 第1条}
"""
)


def test_waves_must_add_up():
    assert found(WAVES) == []
    assert (
        "waves/total：合计 4 与各批之和 3 不符" in found(WAVES.replace("total: 3", "total: 4"))[0]
    )
    assert "waves/batches/0/count：家数 2 与名单 1 不符" in "".join(
        found(WAVES.replace("count: 1", "count: 2"))
    )


def test_a_condition_keeps_its_number():
    """`no` without quotation marks is the boolean false of YAML 1.1: the row would lose its number."""
    rows = "conditions:\n  - {no: '1', name: a, text: b, clause: 第1条}\n"
    assert "缺少 no" in found(POLICY + rows)[0]
    assert found(POLICY + rows.replace("no:", '"no":')) == []


def test_the_command_lists_faults_and_fails(tmp_path):
    path = tmp_path / "broken.yaml"
    path.write_text(POLICY.replace("format: 1", "format: 2"), encoding="utf-8")
    out = StringIO()
    with pytest.raises(SystemExit) as stopped:
        call_command("check_policies", str(path), str(tmp_path / "absent.yaml"), stdout=out)
    assert stopped.value.code == 1
    assert f"{path}:4: format：应为 1，现为 2" in out.getvalue()
    assert "2 个文件，2 处错误" in out.getvalue()
