"""PURE. A policy document compiled with the parameters of a day to lookup tables.

Everything settlement needs to know about a document is in the `Rules` that `compile_rules` returns:
the ordered checks and the tables of prices, caps and benefits. No number of any document is here.
"""

import datetime as dt
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from pricing.benefits import (
    BenefitTables,
    OneStop,
    benefit_tables,
    benefits_of,
    one_stop_of,
)
from pricing.document import EPOCH, MAX_CLASS, NONE, UNLIMITED, Parameter, Policy
from pricing.rules import (
    CATEGORIES,
    CODES,
    GROUPS,
    LOOKS_AT,
    NUMBERED_LAST,
    SERVICES,
    SUSPENSIONS,
    VOCABULARY,
    WATCHED,
    Rule,
)
from pricing.watching import KEY as WATCHING_NUMBERS
from pricing.watching import SECTION as WATCHING
from pricing.watching import Switch, entries, switched

OWNERSHIPS = CODES["ownership"]
TITLES = CODES["doctor_title"]
AGREEMENT_STATES = CODES["agreement_state"]
CATEGORY_B = CATEGORIES.index("乙类")


@dataclass(frozen=True)
class Check:
    """A requirement as a document switches it on: its rule, clause, decision and numbers.

    `statute` is the document and article of the statute that it applies, where it names one.
    """

    number: int
    rule: Rule
    clause: str
    decision: str
    services: tuple[bool, ...]
    when_given: bool
    charge: bool | dict[str, bool] | None = None
    numbers: dict = field(default_factory=dict)
    statute: tuple[str, str] | None = None

    @cached_property
    def for_everything(self) -> bool:
        return all(self.services[1:])

    @cached_property
    def applies(self) -> np.ndarray:
        """`services` as a table to be looked up by many lines at once."""
        return np.array(self.services)


@dataclass(frozen=True)
class Rules:
    """A document compiled with the parameters of some days. Tables are indexed by row and class.

    A row is a price item (1…k) or a service without items (k+1…); row 0 is an unknown item. Class 0
    is an unknown price class. Amounts in fen, NONE where the law gives no number.
    """

    policy: Policy
    release_id: int
    release_sm3: str
    parameters_id: int
    first_day: int
    last_day: int
    checks: tuple[Check, ...]
    codes: tuple[str, ...]
    row_of_code: np.ndarray
    is_alias: np.ndarray
    row_of_service: np.ndarray
    row_code: tuple[str, ...]
    row_clause: tuple[str, ...]
    billable: np.ndarray
    title_min: np.ndarray
    title_max: np.ndarray
    price: np.ndarray
    price_limit: np.ndarray
    cap: np.ndarray
    cap_clause: dict
    count_price: int
    example_rows: np.ndarray
    benefits: dict
    benefit_tables: "BenefitTables"
    payable_states: np.ndarray
    paper_states: np.ndarray
    account_rules: tuple
    known_services: np.ndarray
    category: np.ndarray  #: by row: position in CATEGORIES
    first_share: np.ndarray  #: by row: first self-pay share (先行自付)
    one_stop: "OneStop"
    offsite: bool  #: persons insured elsewhere are settled here, with the benefits of their region
    watching: tuple[Switch, ...]  #: the rules of supervision that are on

    @cached_property
    def by_number(self) -> dict[int, Check]:
        """Every check by the number that results keep; those of supervision after the law's."""
        return {check.number: check for check in (*self.checks, *_watched(self.policy))}

    @cached_property
    def watched(self) -> tuple[Switch, ...]:
        """The rules of supervision that look at a claim while it is settled."""
        return tuple(switch for switch in self.watching if switch.speaks("watch"))

    def check(self, number: int) -> Check | None:
        return self.by_number.get(number)

    def has(self, rule: str) -> bool:
        return any(check.rule.name == rule for check in self.checks)


def compile_rules(
    policy: Policy,
    parameters: dict[str, Parameter] | None = None,
    *,
    release_id: int = 0,
    release_sm3: str = "",
    parameters_id: int = 0,
    until: dt.date | None = None,
) -> Rules:
    """Compile a document with the parameters of a day. Pure: same input, same tables.

    `until` is the release's last day when a person or a later release ended it before the text does.
    """
    builder = _Tables(policy, parameters or {})
    first, last = policy.effective
    last = min((day for day in (last, until) if day), default=None)
    benefits = benefits_of(policy, parameters or {})
    states = policy.section("agreement_states", {})
    payable = states.get("payable", ["active", "signed"])
    return Rules(
        policy=policy,
        release_id=release_id,
        release_sm3=release_sm3,
        parameters_id=parameters_id,
        first_day=(first - EPOCH).days,
        last_day=(last - EPOCH).days if last else 2**31 - 1,
        checks=_checks(policy),
        payable_states=np.array([name in payable for name in AGREEMENT_STATES]),
        paper_states=np.array([n in states.get("paper_pending", ()) for n in AGREEMENT_STATES]),
        known_services=np.array([n in policy.section("services", {}) for n in SERVICES]),
        account_rules=tuple(policy.section("personal_account", ())),
        benefits=benefits,
        benefit_tables=benefit_tables(benefits),
        one_stop=one_stop_of(parameters or {}),
        offsite=_offsite(policy, parameters or {}),
        watching=switched(policy.section(WATCHING, {}), (parameters or {}).get(WATCHING_NUMBERS)),
        **builder.tables(),
    )


def _checks(policy: Policy) -> tuple[Check, ...]:
    before = policy.section("before_effective", {})
    entries = [
        {"rule": "in_force", "clause": before.get("clause", ""), "decision": before.get("decision")}
    ]
    by_items = [
        name for name, s in policy.section("services", {}).items() if s["priced_by"] == "items"
    ]
    item_clause = next(
        (s["clause"] for s in policy.section("services", {}).values() if s["priced_by"] == "items"),
        "",
    )
    for name in ("item_known", "item_billable", "class_offered"):
        entry: dict = {"rule": name, "clause": item_clause, "services": by_items}
        if name == "class_offered":
            entry["patient_may_be_charged"] = False
        entries.append(entry)
    entries += policy.section("requires", ())
    unpriced = policy.section("payment_rules", {}).get("clause", "")
    price_clause = next((s["clause"] for s in policy.section("services", {}).values()), unpriced)
    entries += [
        {"rule": name, "clause": price_clause} for name in ("tariff_known", "no_overcharge")
    ]
    named = {entry["rule"] for entry in entries}
    watched = policy.section("supervision", {}).get("clause") or price_clause
    entries += [
        {"rule": name, "clause": watched if name in SUSPENSIONS else price_clause,
         "when_fact_given": name in SUSPENSIONS, "services": LOOKS_AT.get(name)}
        for name in NUMBERED_LAST if name not in named
    ]  # fmt: skip
    order = {group: position for position, group in enumerate(GROUPS)}
    entries.sort(key=lambda entry: order[VOCABULARY[entry["rule"]].group])
    last = {name: place for place, name in enumerate(NUMBERED_LAST, 1)}
    numbered = sorted(entries, key=lambda entry: last.get(entry["rule"], 0))
    numbers = {id(entry): number for number, entry in enumerate(numbered, 1)}
    law = (policy.section(WATCHING, {}).get("law") or {}).get("document", "")
    return tuple(_check(numbers[id(entry)], entry, law) for entry in entries)


def _watched(policy: Policy) -> tuple[Check, ...]:
    """What a document's rules of supervision decide at submit."""
    return tuple(
        Check(
            number, WATCHED[entry["watch"]], entry["clause"], WATCHED[entry["watch"]].decision,
            tuple(True for _ in SERVICES), False, entry.get("patient_may_be_charged"),
        )
        for number, entry in entries(policy.section(WATCHING, {}))
        if entry.get("watch") in WATCHED
    )  # fmt: skip


def _check(number: int, entry: dict, law: str) -> Check:
    rule = VOCABULARY[entry["rule"]]
    named = entry.get("services")
    if rule.name == "payable_services":
        named = None
    known = {"rule", "clause", "services", "decision", "patient_may_be_charged", "when_fact_given",
             "article"}  # fmt: skip
    return Check(
        number=number,
        rule=rule,
        clause=entry["clause"],
        decision=entry.get("decision") or rule.decision,
        services=tuple(named is None or service in named for service in SERVICES),
        when_given=entry.get("when_fact_given", False),
        charge=entry.get("patient_may_be_charged"),
        numbers={k: v for k, v in entry.items() if k not in known}
        | ({"services": entry["services"]} if rule.name == "payable_services" else {}),
        statute=(law, entry["article"]) if law and "article" in entry else None,
    )


class _Tables:
    """Prices and caps by row (item or service), ownership and class."""

    def __init__(self, policy: Policy, parameters: dict[str, Parameter]):
        self.caps = policy.section("caps", [])
        self.parameters = parameters
        self.items = policy.section("items", [])
        self.services = policy.section("services", {})
        self.n = 1 + len(self.items) + len(SERVICES)

    def tables(self) -> dict:
        n = self.n
        self.price = np.full((n, MAX_CLASS + 1), NONE, np.int64)
        self.limit = np.full((n, 3, MAX_CLASS + 1), NONE, np.int64)
        self.cap = np.full((n, 3, MAX_CLASS + 1), NONE, np.int64)
        self.example = np.zeros(n, bool)
        self.cap_clause: dict[tuple[int, str], str] = {}
        self.row_of_service = np.zeros(len(SERVICES), np.int64)
        self.row_code = [""] * n
        self.row_clause = [""] * n
        self.category = np.zeros(n, np.int64)
        self.first_share = np.zeros(n, np.int64)
        rows = self._items()
        self._services(rows)
        count_price = self._count_price()
        return {
            "codes": tuple(self.codes),
            "row_of_code": np.array([0, *self.code_rows], np.int64),
            "is_alias": np.array([False, *self.alias], bool),
            "row_of_service": self.row_of_service,
            "row_code": tuple(self.row_code),
            "row_clause": tuple(self.row_clause),
            "billable": self.billable,
            "title_min": self.title_min,
            "title_max": self.title_max,
            "price": self.price,
            "price_limit": self.limit,
            "cap": self.cap,
            "cap_clause": self.cap_clause,
            "count_price": count_price,
            "example_rows": self.example,
            "category": self.category,
            "first_share": self.first_share,
        }

    def _categorise(self, row: int, entry: dict) -> None:
        """Category and first self-pay share of an item or service, as printed or by parameter."""
        self.category[row] = CATEGORIES.index(entry.get("category") or "")
        share = entry.get("first_self_pay")
        if share is None and self.category[row] == CATEGORY_B:
            parameter = self.parameters.get("category_b_first_self_pay")
            if parameter is not None:
                self.example[row] |= parameter.example
                share = int(str(parameter.value))
        self.first_share[row] = share or 0

    def _items(self) -> dict[str, int]:
        self.codes: list[str] = []
        self.code_rows: list[int] = []
        self.alias: list[bool] = []
        self.billable = np.ones(self.n, bool)
        self.title_min = np.zeros(self.n, np.int64)
        self.title_max = np.full(self.n, len(TITLES), np.int64)
        rows = {}
        for row, item in enumerate(self.items, 1):
            rows[item["code"]] = row
            self.row_code[row] = item["code"]
            self.row_clause[row] = item["clause"]
            for position, code in enumerate([item["code"], *item.get("aliases", ())]):
                self.codes.append(code)
                self.code_rows.append(row)
                self.alias.append(position > 0)
            self.billable[row] = item.get("billable", True)
            self._categorise(row, item)
            if titles := [TITLES.index(title) for title in item.get("titles", ())]:
                self.title_min[row], self.title_max[row] = min(titles), max(titles)
            for price_class, amount in item.get("price_by_class", {}).items():
                if amount is not None:
                    self.price[row, int(price_class)] = amount
                    self.limit[row, :, int(price_class)] = amount
        for cap in self.caps:
            for code in cap.get("items", ()):
                self._cap(rows[code], cap)
        return rows

    def _services(self, rows: dict[str, int]) -> None:
        for number, name in enumerate(SERVICES):
            row = 1 + len(self.items) + number
            self.row_of_service[number] = row
            service = self.services.get(name)
            if service is None:
                continue
            if service["priced_by"] == "items":
                self.row_of_service[number] = 0
                continue
            self.row_clause[row] = service["clause"]
            self._categorise(row, service)
            caps = [cap for cap in self.caps if name in cap.get("services", ())]
            if not caps:
                self.cap[row] = UNLIMITED
            for cap in caps:
                self._cap(row, cap)

    def _cap(self, row: int, cap: dict) -> None:
        kinds = [1, 2] if cap["ownership"] == "any" else [OWNERSHIPS.index(cap["ownership"])]
        values = cap.get("by_class")
        if values is None:
            parameter = self.parameters.get(cap["parameter"])
            if parameter is None:
                values = {}
            else:
                self.example[row] |= parameter.example
                values = parameter.value
        if not isinstance(values, dict):
            values = dict.fromkeys(range(MAX_CLASS + 1), values)
        for kind in kinds:
            self.cap_clause[row, OWNERSHIPS[kind]] = cap["clause"]
            for price_class, amount in values.items():
                if amount is None:
                    continue
                self.cap[row, kind, int(price_class)] = amount
                if cap.get("over_price") == "overcharge":
                    self.limit[row, kind, int(price_class)] = amount

    def _count_price(self) -> int:
        service = self.services.get("remote_consult")
        parameter = self.parameters.get(service["parameter"]) if service else None
        if parameter is None:
            return NONE
        row = int(self.row_of_service[SERVICES.index("remote_consult")])
        self.example[row] |= parameter.example
        return int(str(parameter.value))


def _offsite(policy: Policy, parameters: dict[str, Parameter]) -> bool:
    """Whether persons insured elsewhere are settled here: the document's word, or a parameter's."""
    parameter = parameters.get("offsite_settlement")
    if parameter is not None:
        return parameter.value is True
    return bool(policy.section("offsite", {}).get("settled"))
