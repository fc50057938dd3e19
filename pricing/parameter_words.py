"""Numbers that a document refers to, in words a reader understands. PURE.

A value of a parameter is a number, a list, or a table of these; its key says what a number is: an
amount, a rate, a count of something.
"""

from collections.abc import Mapping

from audit.text import rate, yuan

#: Endings of keys (the parts of a table are added to its key) and what such a number is.
RATES = ("ratio", "ratios", "_first_self_pay", "_share", "_above")
AMOUNTS = (
    "_price", "_deductible", "_annual_limit", "_second_amount", "_reward_least", "_reward_most",
    "_limits_county", "_limits_prefecture", "_limits_province",
)  # fmt: skip
UNITS = {
    "_working_days": "个工作日", "_days": "日", "_months": "个月", "_hour": "时", "_years": "年",
    "_minutes": "分钟", "_persons": "人", "_visits": "次", "_times": "次", "_institutions": "家",
    "_lines": "条",
}  # fmt: skip
HOURS = "_hours"  #: a table of hours: every part of it is hours
TENTHS = "_z"
#: Shares of a year's budget, told by what part of it was saved or exceeded.
OF_BUDGET = "budget_sharing"
#: The parts of tables. A number's own key is never shown.
PARTS = {
    "version": "版本", "full": "每项满分", "indicators": "指标", "grades": "等次",
    "deductible": "起付线", "annual_limit": "年度限额", "tiers": "分段", "ratio": "支付比例",
    "basic": "基本医疗保险", "major_illness": "大病保险", "assistance": "医疗救助",
    "extreme_poverty": "特困人员", "subsistence": "最低生活保障对象", "marginal": "低保边缘家庭成员",
    "relapse": "防止返贫监测对象",
    "suspend": "暂停", "terminate": "终止", "repair": "修复", "from": "达到", "months": "期限",
    "most": "至多", "least": "至少", "share": "比例", "reveals": "每日查看个人信息次数",
    "first_hour": "工作时间起", "last_hour": "工作时间止", "start": "基准分", "worth": "每项分值",
    "levels": "等级", "case": "生效的处理决定", "finding": "查实的疑点", "point": "每记一分",
    "restriction": "暂停与终止", "clean": "检查未发现问题",
    "county": "县级", "prefecture": "设区的市", "province": "省级",
    "record": "病历", "report": "检查检验报告", "proof": "诊断证明", "prescription": "处方",
    "purchase": "购药凭据", "delivery": "配送签收", "realname": "实名核验",
    "surplus": "结余留用", "overrun": "超支分担",
    "overlapping_sessions": "接诊时间重叠", "sessions_per_hour": "每小时接诊次数",
    "shared_device": "多人共用设备", "shared_address": "多人共用地址",
    "dense_network": "往来密集", "split_visits": "分解就诊", "bundled_item": "捆绑收费",
    "price_above_peers": "价格高于同行", "early_refill": "提前续方",
    "missing_trace_codes": "缺少追溯码", "physician_fee_outlier": "医师次均费用离群",
    "physician_volume_outlier": "医师诊次离群", "institution_fee_outlier": "机构次均费用离群",
    "minutes": "时长", "persons": "人数", "visits": "诊次", "days": "天数",
    "peers_share": "同行比例", "peers": "同行数", "z": "偏离（标准差倍数）", "above": "高出",
    "institutions": "机构数", "grace_days": "宽限", "times": "次数", "lines": "明细数",
}  # fmt: skip


def parameter_text(key: str, value: object, *, inside: bool = False) -> str:
    """The value of a parameter in words; the parts of a table within a table stand in brackets."""
    if isinstance(value, Mapping):
        parts = [_part(key, name, part) for name, part in value.items()]
        return "，".join(parts) if inside else "；".join(parts)
    if isinstance(value, list):
        return "、".join(
            parameter_text(key, row) if isinstance(row, int) else _row(key, row) for row in value
        )
    if isinstance(value, bool):
        return "是" if value else "否"
    if isinstance(value, int):
        return _number(key, value)
    return "不限" if value is None else str(value)


def _part(key: str, name: str, part: object) -> str:
    label = PARTS.get(name, name)
    text = parameter_text(
        f"{key}_{name}" if name in PARTS and not key.endswith(HOURS) else key, part, inside=True
    )
    return f"{label}（{text}）" if isinstance(part, Mapping) else f"{label}：{text}"


def _number(key: str, value: int) -> str:
    if key.endswith(RATES):
        return rate(value)
    if key.endswith(AMOUNTS):
        return f"{yuan(value)} 元"
    if key.endswith(TENTHS):
        return f"{value // 10}.{value % 10}"
    if key.endswith(HOURS):
        return f"{value} 小时"
    unit = next((word for ending, word in UNITS.items() if key.endswith(ending)), "")
    return f"{value} {unit}".strip()


def _row(key: str, row: Mapping | str) -> str:
    """A row of a list parameter: a disease, a tier, an indicator, a grade, a locality, a name."""
    if isinstance(row, str):
        return PARTS.get(row, row)
    if "code" in row:
        name = str(row.get("name") or row.get("text", ""))
        return name if str(row["code"]).islower() else f"{name}（{row['code']}）"
    if "above" in row:
        whence = f"指标 {rate(row['above'])}" if OF_BUDGET in key else f" {yuan(row['above'])}"
        return f"超过{whence} 部分 {rate(row['ratio'])}"
    if "weight" in row:
        return f"{row['name']}（权重 {rate(row['weight'])}）"
    if "coefficient" in row:
        return f"{row['name']}（{rate(row['from'])} 起，系数 {rate(row['coefficient'])}）"
    if "area" in row:
        return f"{row['area']}（自 {row['from']} 起）"
    if "name" in row and "from" in row:
        return f"{row['name']}（{row['from']} 分起）"
    return "，".join(str(part) for name, part in row.items() if name != "key")
