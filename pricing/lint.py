"""PURE. Lint rules of a policy text: what a schema cannot say. Each yields (key path, message)."""

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pricing.document import Policy
from pricing.rules import CATEGORIES, VOCABULARY
from pricing.values import SHAPES, Fault, KeyPath, tiers
from pricing.watching import NEAR, NUMBERS


@dataclass(frozen=True)
class LintRule:
    """A rule and the sections it reads; it is skipped while one of them has not its shape."""

    check: Callable[[Policy], Iterator[Fault]]
    sections: tuple[str, ...]


RULES: list[LintRule] = []


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


WAYS = ("per_visit_by_class", "ratio", "ratio_by_class", "tiers", "tiers_by_class", "refer_to")
#: What stands beside a ratio or tiers, for every class or by class.
BESIDE = ("deductible", "annual_limit")


@lint("fund_pays")
def one_way_of_paying(policy: Policy) -> Iterator[Fault]:
    seen = set()
    for number, entry in _entries(policy, "fund_pays"):
        path: KeyPath = ("fund_pays", number)
        ways = [key for key in WAYS if key in entry]
        if len(ways) != 1:
            yield path, f"应恰有 {'、'.join(WAYS)} 之一"
        beside = {*BESIDE, *(f"{name}_by_class" for name in BESIDE)}
        if "per_visit_by_class" in ways and beside & entry.keys():
            yield path, "按次定额不能另有起付线或年度限额"
        if entry["scheme"] in seen:
            yield (*path, "scheme"), f"险种 {entry['scheme']} 重复"
        seen.add(entry["scheme"])
        yield from tiers(entry.get("tiers", []), (*path, "tiers"))
        for price_class, rows in entry.get("tiers_by_class", {}).items():
            yield from tiers(rows, (*path, "tiers_by_class", price_class))


@lint("fund_pays", "price_classes")
def classes_have_what_stands_beside(policy: Policy) -> Iterator[Fault]:
    """A deductible or limit by class names every class that is paid for, and stands alone."""
    declared = {entry["class"] for entry in policy.section("price_classes", ())}
    for number, entry in _entries(policy, "fund_pays"):
        paying = entry.get("ratio_by_class") or entry.get("tiers_by_class") or declared
        for name in BESIDE:
            table = entry.get(f"{name}_by_class")
            if table is None:
                continue
            if name in entry:
                yield ("fund_pays", number, name), f"{name} 与 {name}_by_class 只能有一个"
            for price_class in sorted(set(paying) - table.keys()):
                message = f"类别 {price_class} 没有 {name}"
                yield ("fund_pays", number, f"{name}_by_class"), message


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
    keys = ("price_by_class", "by_class", "per_visit_by_class", "ratio_by_class", "tiers_by_class",
            *(f"{name}_by_class" for name in BESIDE))  # fmt: skip
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
