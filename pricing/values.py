"""PURE. What the value of a parameter must be like, by how its key ends. Each yields (key path, message)."""

from collections.abc import Callable, Iterator
from typing import Any

from pricing.benefits import ASSISTANCE
from pricing.document import RATIO_ONE
from pricing.watching import NUMBERS

KeyPath = tuple[str | int, ...]
Fault = tuple[KeyPath, str]
MOST = 10**12  #: fen; more is a slip of the pen
HOURS = 24


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
    for side, rows in value.items():
        faults = list(tiers(rows, (*path, side)))
        yield from faults
        if not faults and (not rows or rows[0]["above"]):
            yield (*path, side), "第一档应从 0 起"


def _ratio(value: object, path: KeyPath) -> Iterator[Fault]:
    yield from _numbers(value, RATIO_ONE, f"比例应为 0 与 {RATIO_ONE} 之间的整数", path)


def _amount(value: object, path: KeyPath) -> Iterator[Fault]:
    yield from _numbers(value, MOST, "金额应为不小于 0 的整数（分）", path)


FUNDS = ("basic", "major_illness", "assistance")  #: that a one-stop order may name


def _order(value: object, path: KeyPath) -> Iterator[Fault]:
    if not isinstance(value, list) or value[:1] != ["basic"] or not _once(value, FUNDS):
        yield path, f"应为列表，以 basic 开头，只含 {'、'.join(FUNDS)}，各至多一次"


def _goes_over(value: object, path: KeyPath) -> Iterator[Fault]:
    """Which funds count a year over every scheme of a person; the basic fund's year is its scheme's."""
    if not isinstance(value, list) or not _once(value, FUNDS[1:]):
        yield path, f"应为列表，只含 {'、'.join(FUNDS[1:])}，各至多一次"


def _major(value: object, path: KeyPath) -> Iterator[Fault]:
    yield from _fund(value, {"deductible", "tiers"}, path)
    if isinstance(value, dict):
        yield from tiers(value.get("tiers"), (*path, "tiers"))


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


def tiers(rows: object, path: KeyPath) -> Iterator[Fault]:
    """[{above, ratio}, …]: where each tier begins (fen), rising, and its share."""
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        yield path, "应为 [{above, ratio}, …]"
        return
    before = -1
    for number, tier in enumerate(rows):
        above = tier.get("above")
        if not _whole(tier.get("ratio"), RATIO_ONE) or not _whole(above):
            yield (*path, number), f"应有 above（分）和 0 与 {RATIO_ONE} 之间的 ratio"
            return
        if above <= before:
            yield (*path, number, "above"), f"分段起点应递增，{above} 不大于 {before}"
        before = above


def _class_tiers(value: object, path: KeyPath) -> Iterator[Fault]:
    """Tiers, or {class: tiers}."""
    for price_class, rows in value.items() if isinstance(value, dict) else [("", value)]:
        yield from tiers(rows, (*path, str(price_class)) if price_class != "" else path)


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


#: How a parameter's key ends → what its value must be like.
SHAPES: dict[str, Callable[[Any, KeyPath], Iterator[Fault]]] = {
    "_tiers": _class_tiers, "_fund_ratio": _ratio, "_deposit_ratio": _ratio, "_set_off_ratio": _ratio,
    "_deductible": _amount, "_annual_limit": _amount, "_price": _amount,
    "_working_days": _durations, "_watch_ratios": _rising, "_by_score": _by_score,
    "budget_sharing": _sharing,
    "adjustment_limits": _limits, "adjustment_classes": _classes,
    "_first_self_pay": _ratio, "one_stop_order": _order,
    "conversion_goes_over": _goes_over, "_major_illness": _major,
    "medical_assistance": _assistance, "offsite_settlement": _yes_no,
    "review_second_amount": _amount, "review_wordings": _wordings,
    "_filing_months": _months, "_filing_materials": _materials,
    "supervision_numbers": _watching, "practitioner_points": _points_lead,
    "complaint_reward": _reward, "conduct_limits": _conduct, "credit_score": _credit,
    "disclosure_months": _months,
}  # fmt: skip
