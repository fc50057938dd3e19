"""PURE. Which rules of supervision a document switches on, when they speak and what they may do.

The vocabulary is written once here with the numbers that each rule needs; `supervision.rules` holds one
class per name (the house test proves that both lists are the same). A document's section
`supervision_rules` switches rules on with its clause; numbers that it does not print come from the
parameter `supervision_numbers`. (通医保发〔2020〕25号 四（三）；温医保办〔2021〕6号 二十四、二十五)
"""

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

KEY = "supervision_numbers"
SECTION = "supervision_rules"
MOMENTS = ("remind", "watch", "audit")
WATCHES = ("pay", "hold", "refuse")
SEVERITIES = (1, 2, 3)
#: The behaviours of the documents, by the words of the glossary.
BEHAVIOURS = {
    "fictitious_service": "虚构医药服务", "split_service": "分解服务", "forced_service": "强制服务",
    "inflated_price": "虚报价格", "substituted_item": "串换项目", "duplicate_charge": "重复收费",
    "other": "其他不符合规定的行为",
}  # fmt: skip
#: Checks of supervision are numbered from here in the results of settlement.
FIRST_NUMBER = 1_000

#: Rule → the numbers it needs. Shares are per ten thousand, `z` is in tenths.
NUMBERS: dict[str, tuple[str, ...]] = {
    # 虚构医药服务
    "overlapping_sessions": ("minutes",),
    "sessions_per_hour": ("most",),
    "outside_licence": (),
    "shared_device": ("persons",),
    "shared_address": ("persons",),
    "delivery_without_dispensing": (),
    "dense_network": ("visits", "persons"),
    # 分解服务
    "split_visits": ("visits", "days"),
    "duplicate_charge": (),
    # 强制服务
    "no_consent": (),
    "bundled_item": ("visits", "share", "peers_share"),
    # 虚报价格
    "over_price": (),
    "price_above_peers": ("above", "institutions"),
    # 串换项目
    "rank_mismatch": (),
    "drug_not_prescribed": (),
    # 复诊、处方、追溯
    "first_visit_as_revisit": (),
    "disease_window": ("months",),
    "prescription_unreviewed": (),
    "early_refill": ("grace_days", "times"),
    "missing_trace_codes": ("share", "lines"),
    # 统计离群
    "physician_fee_outlier": ("z", "visits", "peers"),
    "physician_volume_outlier": ("z", "visits", "peers"),
    "institution_fee_outlier": ("z", "visits", "peers"),
}
#: Rules that one visit and its neighbourhood can decide: they may remind and watch.
NEAR = frozenset((
    "overlapping_sessions", "sessions_per_hour", "outside_licence", "split_visits", "duplicate_charge",
    "no_consent", "over_price", "rank_mismatch", "drug_not_prescribed", "first_visit_as_revisit",
    "disease_window", "prescription_unreviewed", "early_refill", "missing_trace_codes",
    "delivery_without_dispensing",
))  # fmt: skip


@dataclass(frozen=True)
class Law:
    """The statute that punishes what a rule finds, beside the document that switches it on."""

    document: str
    title: str
    first: dt.date


@dataclass(frozen=True)
class Switch:
    """A rule as a document of a day switches it on: when it speaks, how grave, with which numbers."""

    number: int
    rule: str
    behaviour: str
    severity: int
    clause: str
    moments: tuple[str, ...]
    watch: str
    article: str = ""
    charge: bool | None = None
    numbers: Mapping[str, int] = field(default_factory=dict)
    example: bool = False

    def speaks(self, moment: str) -> bool:
        return moment in self.moments


def entries(section: Mapping[str, Any] | None) -> Iterator[tuple[int, dict]]:
    """The rules of a section with their numbers in results: their place never changes in a text."""
    yield from enumerate((section or {}).get("rules", ()), FIRST_NUMBER)


def switched(section: Mapping[str, Any] | None, parameter: Any) -> tuple[Switch, ...]:
    """The rules that a document switches on; one whose numbers are nowhere given stays off.

    `parameter` is the parameter row of KEY in force (pricing.policy.Parameter), or None.
    """
    given: Mapping[str, Mapping[str, int]] = parameter.value if parameter is not None else {}
    found = []
    for number, entry in entries(section):
        name = entry["rule"]
        referred = given.get(name, {})
        values = {**referred, **entry.get("numbers", {})}
        if set(NUMBERS[name]) - values.keys():
            continue
        found.append(Switch(
            number=number, rule=name, behaviour=entry["behaviour"], severity=entry["severity"],
            clause=entry["clause"], moments=tuple(entry["moments"]),
            watch=entry.get("watch", "pay"), article=entry.get("article", ""),
            charge=entry.get("patient_may_be_charged"),
            numbers={key: values[key] for key in NUMBERS[name]},
            example=bool(referred) and parameter.example,
        ))  # fmt: skip
    return tuple(found)


def law_of(section: Mapping[str, Any] | None, on: dt.date) -> Law | None:
    """The statute beside a document, once it is in force."""
    found = (section or {}).get("law")
    if not found or on < found["from"]:
        return None
    return Law(found["document"], found["title"], found["from"])
