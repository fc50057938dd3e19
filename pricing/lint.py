"""PURE. Lint rules of a policy text: what a schema cannot say. Each yields (key path, message)."""

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pricing.benefits import ASSISTANCE
from pricing.document import RATIO_ONE, Policy
from pricing.rules import CATEGORIES, VOCABULARY
from pricing.watching import NEAR, NUMBERS

KeyPath = tuple[str | int, ...]
Fault = tuple[KeyPath, str]


@dataclass(frozen=True)
class LintRule:
    """A rule and the sections it reads; it is skipped while one of them has not its shape."""

    check: Callable[[Policy], Iterator[Fault]]
    sections: tuple[str, ...]


RULES: list[LintRule] = []
MOST = 10**12  #: fen; more is a slip of the pen
HOURS = 24


def lint(*sections: str) -> Callable:
    """Register a rule that reads these sections."""

    def register(check: Callable[[Policy], Iterator[Fault]]) -> Callable:
        RULES.append(LintRule(check, sections))
        return check

    return register


def _entries(policy: Policy, section: str) -> Iterator[tuple[int, dict]]:
    yield from enumerate(policy.section(section, ()))


@lint("effective")
def dates_in_order(policy: Policy) -> Iterator[Fault]:
    first, last = policy.effective
    if last is not None and last < first:
        yield ("effective", "until"), f"止日 {last} 早于起日 {first}"


@lint("rows")
def rows_do_not_overlap(policy: Policy) -> Iterator[Fault]:
    spans: dict[str, list[tuple[dt.date, dt.date, int]]] = {}
    for number, row in _entries(policy, "rows"):
        last = row["until"] or dt.date.max
        if last < row["from"]:
            yield ("rows", number, "until"), f"止日 {last} 早于起日 {row['from']}"
        for first_other, last_other, other in spans.get(row["key"], ()):
            if row["from"] <= last_other and first_other <= last:
                message = f"{row['key']} 与第 {other + 1} 行的有效期重叠"
                yield ("rows", number, "from"), message
        spans.setdefault(row["key"], []).append((row["from"], last, number))


@lint("rows")
def row_values_in_bounds(policy: Policy) -> Iterator[Fault]:
    for number, row in _entries(policy, "rows"):
        for ending, check in SHAPES.items():
            if row["key"].endswith(ending):
                yield from check(row["value"], ("rows", number, "value"))
                break


def _rising(value: object, path: KeyPath) -> Iterator[Fault]:
    """Warning lines: rising shares; above the whole is allowed."""
    rows = value if isinstance(value, list) and value else [None]
    if not all(_whole(row) and row for row in rows) or rows != sorted(set(rows)):
        yield path, f"应为递增的正整数（万分比），现为 {value!r}"


def _by_score(value: object, path: KeyPath) -> Iterator[Fault]:
    """[{from, ratio}, …] from the highest score down to 0."""
    rows = value if isinstance(value, list) else []
    sound = all(
        isinstance(row, dict) and _whole(row.get("ratio"), RATIO_ONE) and _whole(row.get("from"))
        for row in rows
    )
    starts = [row["from"] for row in rows] if sound else []
    if not starts or starts[-1] != 0 or starts != sorted(set(starts), reverse=True):
        yield path, "应为 [{from, ratio}, …]，from（万分制得分）递减到 0"


def _sharing(value: object, path: KeyPath) -> Iterator[Fault]:
    """How a surplus and an overrun are shared, each in tiers of the indicator from 0 on."""
    if not isinstance(value, dict) or value.keys() != {"surplus", "overrun"}:
        yield path, "应有 surplus 和 overrun"
        return
    for side, tiers in value.items():
        faults = list(_tiers(tiers, (*path, side)))
        yield from faults
        if not faults and (not tiers or tiers[0]["above"]):
            yield (*path, side), "第一档应从 0 起"


def _ratio(value: object, path: KeyPath) -> Iterator[Fault]:
    yield from _numbers(value, RATIO_ONE, f"比例应为 0 与 {RATIO_ONE} 之间的整数", path)


def _amount(value: object, path: KeyPath) -> Iterator[Fault]:
    yield from _numbers(value, MOST, "金额应为不小于 0 的整数（分）", path)


FUNDS = ("basic", "major_illness", "assistance")  #: that a one-stop order may name


def _order(value: object, path: KeyPath) -> Iterator[Fault]:
    if not isinstance(value, list) or value[:1] != ["basic"] or not _once(value, FUNDS):
        yield path, f"应为列表，以 basic 开头，只含 {'、'.join(FUNDS)}，各至多一次"


def _major(value: object, path: KeyPath) -> Iterator[Fault]:
    yield from _fund(value, {"deductible", "tiers"}, path)
    if isinstance(value, dict):
        yield from _tiers(value.get("tiers"), (*path, "tiers"))


def _assistance(value: object, path: KeyPath) -> Iterator[Fault]:
    if not isinstance(value, dict) or not _once(list(value), ASSISTANCE[1:]):
        yield path, f"应为键值表，键为 {'、'.join(ASSISTANCE[1:])} 之一"
        return
    for name, part in value.items():
        yield from _fund(part, {"ratio"}, (*path, name))


def _yes_no(value: object, path: KeyPath) -> Iterator[Fault]:
    if not isinstance(value, bool):
        yield path, "应为 true 或 false"


def _once(names: list, known: tuple[str, ...]) -> bool:
    return bool(names) and len(set(names)) == len(names) and set(names) <= set(known)


def _fund(value: Any, needed: set[str], path: KeyPath) -> Iterator[Fault]:
    if not isinstance(value, dict) or not needed <= value.keys() <= needed | {"annual_limit"}:
        yield path, f"应有 {'、'.join(sorted(needed))}，可另有 annual_limit"
        return
    for name in ("deductible", "annual_limit"):
        if name in value and not _whole(value[name]):
            yield (*path, name), "金额应为不小于 0 的整数（分）"
    if "ratio" in value and not _whole(value["ratio"], RATIO_ONE):
        yield (*path, "ratio"), f"比例应为 0 与 {RATIO_ONE} 之间的整数"


def _numbers(value: object, most: int, expected: str, path: KeyPath) -> Iterator[Fault]:
    for number in _by_class(value):
        if not _whole(number, most):
            yield path, f"{expected}，现为 {number!r}"


def _durations(value: object, path: KeyPath) -> Iterator[Fault]:
    for number in _by_class(value):
        if not _whole(number) or number == 0:
            yield path, f"工作日数应为不小于 1 的整数，现为 {number!r}"


def _by_class(value: object) -> list:
    return list(value.values()) if isinstance(value, dict) else [value]


def _whole(value: object, most: int = MOST) -> bool:
    return type(value) is int and 0 <= value <= most


def _tiers(tiers: object, path: KeyPath) -> Iterator[Fault]:
    if not isinstance(tiers, list) or not all(isinstance(tier, dict) for tier in tiers):
        yield path, "应为 [{above, ratio}, …]"
        return
    before = -1
    for number, tier in enumerate(tiers):
        above = tier.get("above")
        if not _whole(tier.get("ratio"), RATIO_ONE) or not _whole(above):
            yield (*path, number), f"应有 above（分）和 0 与 {RATIO_ONE} 之间的 ratio"
            return
        if above <= before:
            yield (*path, number, "above"), f"分段起点应递增，{above} 不大于 {before}"
        before = above


def _limits(value: object, path: KeyPath) -> Iterator[Fault]:
    """What each level may approve, rising; null is without limit."""
    levels = ("county", "prefecture", "province")
    if not isinstance(value, dict) or value.keys() != set(levels):
        yield path, "应有 county、prefecture、province"
        return
    amounts = [MOST if value[level] is None else value[level] for level in levels]
    if not all(_whole(amount) for amount in amounts) or amounts != sorted(amounts):
        yield path, "各级限额应为整数（分），由低到高不减；不限为 null"


def _classes(value: object, path: KeyPath) -> Iterator[Fault]:
    """Reason classes of adjustments: code, name, subjects, direction; each code once."""
    rows = value if isinstance(value, list) and value else [None]
    subjects, directions = {"institution", "person", "claim"}, {"pay", "take", "any"}
    sound = all(
        isinstance(row, dict) and row.keys() == {"code", "name", "subjects", "direction"}
        and set(row["subjects"]) <= subjects and row["subjects"] and row["direction"] in directions
        for row in rows
    )  # fmt: skip
    if not sound or len({row["code"] for row in rows if row}) != len(rows):
        yield path, "应为 [{code, name, subjects, direction}, …]，code 不重复"


#: How a parameter's key ends → what its value must be like.
def _months(value: object, path: KeyPath) -> Iterator[Fault]:
    if not _whole(value) or value == 0:
        yield path, f"月数应为不小于 1 的整数，现为 {value!r}"


def _materials(value: object, path: KeyPath) -> Iterator[Fault]:
    """[{key, name}, …]: what is to be handed in, each key once."""
    rows = value if isinstance(value, list) else []
    keys = [row.get("key") for row in rows if isinstance(row, dict) and row.get("name")]
    if not keys or len(keys) != len(rows) or len(set(keys)) != len(keys) or None in keys:
        yield path, "应为 [{key, name}, …]，key 不重复"


def _watching(value: object, path: KeyPath) -> Iterator[Fault]:
    """{rule: {number: whole}}: exactly the numbers that the rule needs, shares within the whole."""
    rules = value if isinstance(value, dict) else {"": value}
    for name, numbers in rules.items():
        needed = set(NUMBERS.get(name, ()))
        if not needed or not isinstance(numbers, dict) or numbers.keys() != needed:
            yield (*path, name), f"应为规则及其数值：{'、'.join(sorted(needed)) or '不认识的规则'}"
            continue
        for key, number in numbers.items():
            if not _whole(number, RATIO_ONE if key.endswith("share") else MOST):
                yield (*path, name, key), f"应为不小于 0 的整数，现为 {number!r}"


def _wordings(value: object, path: KeyPath) -> Iterator[Fault]:
    """Standard wordings of reviewers: code, text, category, clause; each code once."""
    rows = value if isinstance(value, list) and value else [None]
    sound = all(
        isinstance(row, dict) and row.keys() == {"code", "text", "category", "clause"}
        and all(isinstance(text, str) and text for text in row.values())
        for row in rows
    )  # fmt: skip
    if not sound or len({row["code"] for row in rows if row}) != len(rows):
        yield path, "应为 [{code, text, category, clause}, …]，code 不重复"


def _points_lead(value: object, path: KeyPath) -> Iterator[Fault]:
    """Points: {suspend: {from, months}, terminate: {from}, repair: {most}}, terminating last."""
    wanted = {"suspend": {"from", "months"}, "terminate": {"from"}, "repair": {"most"}}
    sound = (
        isinstance(value, dict)
        and value.keys() == wanted.keys()
        and all(isinstance(value[key], dict) and value[key].keys() == parts
                and all(_whole(number) for number in value[key].values())
                for key, parts in wanted.items())
        and 0 < value["suspend"]["from"] < value["terminate"]["from"]
        and value["suspend"]["months"] > 0
    )  # fmt: skip
    if not sound:
        yield (
            path,
            "应为 {suspend: {from, months}, terminate: {from}, repair: {most}}，解除的分值高于暂停",
        )


def _reward(value: object, path: KeyPath) -> Iterator[Fault]:
    """A reward: {share, least, most}, share per ten thousand, amounts in fen."""
    sound = (
        isinstance(value, dict)
        and value.keys() == {"share", "least", "most"}
        and _whole(value["share"], RATIO_ONE)
        and all(_whole(value[key]) for key in ("least", "most"))
        and value["least"] <= value["most"]
    )
    if not sound:
        yield path, "应为 {share, least, most}，最低不高于最高"


def _conduct(value: object, path: KeyPath) -> Iterator[Fault]:
    """Limits of conduct: {reveals, first_hour, last_hour}, hours of a day in order."""
    sound = (
        isinstance(value, dict)
        and value.keys() == {"reveals", "first_hour", "last_hour"}
        and all(_whole(number) for number in value.values())
        and value["reveals"] > 0
        and value["first_hour"] < value["last_hour"] <= HOURS
    )
    if not sound:
        yield path, "应为 {reveals, first_hour, last_hour}，时刻在0至24之间"


def _credit(value: object, path: KeyPath) -> Iterator[Fault]:
    """{start, worth: {part: points}, levels: [{from, name}, …]}: levels from the highest down to 0."""
    worth = {"case", "finding", "point", "restriction", "clean"}
    sound = (
        isinstance(value, dict)
        and value.keys() == {"start", "worth", "levels"}
        and _whole(value["start"])
        and isinstance(value["worth"], dict)
        and value["worth"].keys() == worth
        and all(type(number) is int for number in value["worth"].values())
    )
    rows = value["levels"] if isinstance(value, dict) and sound else []
    least: list[int] = [
        row["from"] for row in rows
        if isinstance(row, dict) and row.get("name") and _whole(row.get("from"))
    ]  # fmt: skip
    if not sound or not least or len(least) != len(rows) or least[-1] != 0:
        yield path, "应为 {start, worth, levels}，levels 由高到低，末级为0"
    elif least != sorted(set(least), reverse=True):
        yield path, "levels 应由高到低，不重复"


SHAPES: dict[str, Callable[[Any, KeyPath], Iterator[Fault]]] = {
    "_tiers": _tiers, "_fund_ratio": _ratio, "_deposit_ratio": _ratio, "_set_off_ratio": _ratio,
    "_deductible": _amount, "_annual_limit": _amount, "_price": _amount,
    "_working_days": _durations, "_watch_ratios": _rising, "_by_score": _by_score,
    "budget_sharing": _sharing,
    "adjustment_limits": _limits, "adjustment_classes": _classes,
    "_first_self_pay": _ratio, "one_stop_order": _order, "_major_illness": _major,
    "medical_assistance": _assistance, "offsite_settlement": _yes_no,
    "review_second_amount": _amount, "review_wordings": _wordings,
    "_filing_months": _months, "_filing_materials": _materials,
    "supervision_numbers": _watching, "practitioner_points": _points_lead,
    "complaint_reward": _reward, "conduct_limits": _conduct, "credit_score": _credit,
    "disclosure_months": _months,
}  # fmt: skip


WAYS = ("per_visit_by_class", "ratio", "ratio_by_class", "tiers", "refer_to")


@lint("fund_pays")
def one_way_of_paying(policy: Policy) -> Iterator[Fault]:
    seen = set()
    for number, entry in _entries(policy, "fund_pays"):
        path: KeyPath = ("fund_pays", number)
        ways = [key for key in WAYS if key in entry]
        if len(ways) != 1:
            yield path, f"应恰有 {'、'.join(WAYS)} 之一"
        if "per_visit_by_class" in ways and {"deductible", "annual_limit"} & entry.keys():
            yield path, "按次定额不能另有起付线或年度限额"
        if entry["scheme"] in seen:
            yield (*path, "scheme"), f"险种 {entry['scheme']} 重复"
        seen.add(entry["scheme"])
        yield from _tiers(entry.get("tiers", []), (*path, "tiers"))


@lint("items")
def codes_once(policy: Policy) -> Iterator[Fault]:
    seen: set[str] = set()
    for number, item in _entries(policy, "items"):
        for key, codes in (("code", [item["code"]]), ("aliases", item.get("aliases", ()))):
            for code in codes:
                if code in seen:
                    yield ("items", number, key), f"编码 {code} 重复"
                seen.add(code)


@lint("items", "services")
def first_self_pay_has_its_category(policy: Policy) -> Iterator[Fault]:
    for section in ("items", "services"):
        entries = policy.section(section, {})
        named = entries.items() if isinstance(entries, dict) else enumerate(entries)
        for key, entry in named:
            if entry.get("first_self_pay") and entry.get("category") != CATEGORIES[2]:
                message = f"只有{CATEGORIES[2]}有先行自付比例"
                yield (section, key, "first_self_pay"), message


@lint("items", "services")
def billable_items_are_priced(policy: Policy) -> Iterator[Fault]:
    for number, item in _entries(policy, "items"):
        if item.get("billable", True) and "price_by_class" not in item:
            message = "可计价项目缺少 price_by_class（不收费的分类标题写 billable: false）"
            yield ("items", number), message


@lint("items", "caps", "requires")
def items_are_known(policy: Policy) -> Iterator[Fault]:
    known = {item["code"] for item in policy.section("items", ())}
    for section in ("caps", "requires"):
        for number, entry in _entries(policy, section):
            for position, code in enumerate(entry.get("items", ())):
                if code not in known:
                    yield (section, number, "items", position), f"项目 {code} 不在 items 中"


@lint("items", "caps")
def caps_within_prices(policy: Policy) -> Iterator[Fault]:
    prices = {item["code"]: item.get("price_by_class", {}) for item in policy.section("items", ())}
    for number, cap in _entries(policy, "caps"):
        for code in cap.get("items", ()):
            for price_class, amount in (cap.get("by_class") or {}).items():
                price = prices.get(code, {}).get(price_class)
                if amount is not None and price is not None and amount > price:
                    message = f"{code} 的最高支付标准 {amount} 高于价格 {price}"
                    yield ("caps", number, "by_class", price_class), message


@lint("caps")
def caps_are_single(policy: Policy) -> Iterator[Fault]:
    seen: set[tuple[str, str]] = set()
    for number, cap in _entries(policy, "caps"):
        if ("by_class" in cap) == ("parameter" in cap):
            yield ("caps", number), "应恰有 by_class、parameter 之一"
        if ("items" in cap) == ("services" in cap):
            yield ("caps", number), "应恰有 items、services 之一"
        kinds = ("public", "private") if cap["ownership"] == "any" else (cap["ownership"],)
        for name in (*cap.get("items", ()), *cap.get("services", ())):
            for kind in kinds:
                if (name, kind) in seen:
                    yield ("caps", number), f"{name}（{kind}）已有最高支付标准"
                seen.add((name, kind))


@lint("price_classes", "items", "caps", "fund_pays")
def classes_are_declared(policy: Policy) -> Iterator[Fault]:
    declared = {entry["class"] for entry in policy.section("price_classes", ())}
    keys = ("price_by_class", "by_class", "per_visit_by_class", "ratio_by_class")
    for section in ("items", "caps", "fund_pays"):
        for number, entry in _entries(policy, section):
            for key in keys:
                for price_class in entry.get(key, {}):
                    if price_class not in declared:
                        message = f"类别 {price_class} 未在 price_classes 中声明"
                        yield (section, number, key, price_class), message


@lint("requires")
def rules_have_their_numbers(policy: Policy) -> Iterator[Fault]:
    for number, entry in _entries(policy, "requires"):
        rule = VOCABULARY[entry["rule"]]
        for name in rule.numbers:
            if name not in entry:
                yield ("requires", number), f"规则 {rule.name} 缺少 {name}"
        allowed = {*rule.numbers, *(("items",) if rule.name == "physician_experience" else ())}
        for name in {"months", "names", "items"} & entry.keys() - allowed:
            yield ("requires", number, name), f"规则 {rule.name} 没有 {name}"
        if rule.name == "payable_services" and "services" not in entry:
            yield ("requires", number), "规则 payable_services 缺少 services"


@lint("supervision_rules")
def watching_rules_are_sound(policy: Policy) -> Iterator[Fault]:
    """Each rule once; only rules that one visit can decide remind or watch, and only these may hold."""
    seen: set[str] = set()
    for number, entry in enumerate(policy.section("supervision_rules", {}).get("rules", ())):
        path: KeyPath = ("supervision_rules", "rules", number)
        name = entry["rule"]
        if name in seen:
            yield (*path, "rule"), f"规则 {name} 重复"
        seen.add(name)
        if {"remind", "watch"} & set(entry["moments"]) and name not in NEAR:
            yield (*path, "moments"), f"规则 {name} 须看一段时期的数据，只能用于 audit"
        if entry.get("watch", "pay") != "pay" and "watch" not in entry["moments"]:
            yield (*path, "watch"), "暂缓或拒付的规则须在 moments 中列有 watch"
        for key in entry.get("numbers", {}).keys() - set(NUMBERS[name]):
            yield (*path, "numbers", key), f"规则 {name} 没有 {key}"


@lint("clauses")
def clauses_are_summarised(policy: Policy) -> Iterator[Fault]:
    """Every clause cited in a policy has its summary; parameter files cite another document's."""
    if policy.kind != "policy":
        return
    known = policy.section("clauses", {})
    for path, value in _leaves(policy.data, ()):
        name = str(path[-1])
        cites = name == "clause" or name.endswith("_clause")
        if cites and path[0] != "clauses" and value not in known:
            yield path, f"条款“{value}”不在 clauses 中"


@lint("clauses")
def numbers_have_clauses(policy: Policy) -> Iterator[Fault]:
    """A number stands in a mapping with a clause, or in a list or table of such a mapping."""
    for path, value in _leaves(policy.data, ()):
        if type(value) is int and len(path) > 1 and not _cited(policy.data, path):
            yield path, "数字没有条款依据（所在键值表缺少 clause）"


def _cited(data: dict, path: KeyPath) -> bool:
    node: Any = data
    for part in path[:-1]:
        node = node[part]
        if isinstance(node, dict) and any(str(key).endswith("clause") for key in node):
            return True
    return False


def _leaves(node: object, path: KeyPath) -> Iterator[tuple[KeyPath, object]]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _leaves(value, (*path, key))
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from _leaves(value, (*path, number))
    elif path:
        yield path, node


@lint("waves")
def waves_add_up(policy: Policy) -> Iterator[Fault]:
    waves = policy.section("waves", None)
    if waves is None:
        return
    for number, batch in enumerate(waves["batches"]):
        if batch["count"] != len(batch["hospitals"]):
            message = f"家数 {batch['count']} 与名单 {len(batch['hospitals'])} 不符"
            yield ("waves", "batches", number, "count"), message
    total = sum(batch["count"] for batch in waves["batches"])
    if total != waves["total"]:
        yield ("waves", "total"), f"合计 {waves['total']} 与各批之和 {total} 不符"
