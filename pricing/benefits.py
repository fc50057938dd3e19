"""PURE. What the funds pay in scope: benefits by scheme and price class, and what pays after them.

Compiled from `fund_pays` of a document and the parameters that it refers to.
"""

from dataclasses import dataclass

import numpy as np

from pricing.document import MAX_CLASS, UNLIMITED, Parameter, Policy
from pricing.rules import CODES

SCHEMES = CODES["scheme"]
ASSISTANCE = CODES["assistance"]

#: What a person still has of a year, stated in a trial: it stands for the benefit's own number.
REMAINING = {"deductible_remaining": "deductible", "annual_limit_remaining": "annual_limit"}

MODE_OPEN, MODE_FIXED, MODE_RATIO = 0, 1, 2

#: What a benefit that is no fixed amount is made of: each for every class, or `<name>_by_class`.
VALUES = ("ratio", "tiers", "deductible", "annual_limit")


@dataclass(frozen=True)
class Benefit:
    """How a scheme pays in scope at a price class: a fixed amount or a ratio (or left open)."""

    mode: int = MODE_OPEN
    fixed: int = 0
    ratio: int = 0
    deductible: int = 0
    limit: int = UNLIMITED
    tiers: tuple[tuple[int, int], ...] = ()
    clause: str = ""
    example: bool = False


@dataclass(frozen=True)
class BenefitTables:
    """Benefits as arrays [scheme, class]; tiers are slices of `above`/`rate`."""

    mode: np.ndarray
    fixed: np.ndarray
    ratio: np.ndarray
    deductible: np.ndarray
    limit: np.ndarray
    tier_start: np.ndarray
    tier_count: np.ndarray
    above: np.ndarray
    rate: np.ndarray
    example: np.ndarray


@dataclass(frozen=True)
class OneStop:
    """What pays after the basic fund: major illness by scheme, assistance by category of the person.

    Amounts in fen; a ratio or limit of 0 pays nothing. Tiers lie on the year's own part above the
    deductible and are slices of `above`/`rate`. A fund that goes over counts a year over all schemes.
    """

    assistance_first: bool
    goes_over: tuple[str, ...]
    deductible: np.ndarray
    limit: np.ndarray
    tier_start: np.ndarray
    tier_count: np.ndarray
    above: np.ndarray
    rate: np.ndarray
    help_ratio: np.ndarray
    help_limit: np.ndarray
    major_clause: dict
    help_clause: str
    example: bool


def benefits_of(policy: Policy, parameters: dict[str, Parameter]) -> dict:
    """(scheme, class) → Benefit for every entry of `fund_pays`; class 0 stands for any class."""
    table: dict[tuple[str, int], Benefit] = {}
    for entry in policy.section("fund_pays", ()):
        scheme = entry["scheme"]
        if "per_visit_by_class" in entry:
            for price_class, amount in entry["per_visit_by_class"].items():
                table[scheme, int(price_class)] = Benefit(
                    MODE_FIXED, fixed=amount, clause=entry["clause"]
                )
            continue
        values, example = _benefit_values(entry, parameters)
        for price_class in range(MAX_CLASS + 1):
            own = _of_class(values, str(price_class))
            table[scheme, price_class] = _benefit(entry["clause"], own, example)
    return table


def _of_class(values: dict, price_class: str) -> dict:
    """The values of one class; nothing where a table by class leaves the class out."""
    found = {}
    for name in VALUES:
        table = values.get(f"{name}_by_class")
        if name in values or table is None:
            found[name] = values.get(name)
        elif price_class in table:
            found[name] = table[price_class]
        else:
            return {}
    return found


def _benefit_values(entry: dict, parameters: dict[str, Parameter]) -> tuple[dict, bool]:
    stated = {REMAINING[key]: p.value for key, p in parameters.items() if key in REMAINING}
    if entry.get("refer_to") != "parameters":
        return entry | stated, False
    names = dict(zip(VALUES, ("fund_ratio", *VALUES[1:]), strict=True))
    found = {key: parameters.get(f"{entry['scheme']}_{name}") for key, name in names.items()}
    present = {key: parameter for key, parameter in found.items() if parameter is not None}
    values: dict = {}
    for key, parameter in present.items():
        if isinstance(parameter.value, dict):
            values[f"{key}_by_class"] = {str(k): v for k, v in parameter.value.items()}
        else:
            values[key] = parameter.value
    return values | stated, any(parameter.example for parameter in present.values())


def _benefit(clause: str, values: dict, example: bool) -> Benefit:
    ratio = values.get("ratio")
    tiers = tuple((tier["above"], tier["ratio"]) for tier in values.get("tiers") or ())
    if ratio is None and not tiers:
        return Benefit(clause=clause)
    return Benefit(
        MODE_RATIO,
        ratio=ratio or 0,
        deductible=values.get("deductible") or 0,
        limit=UNLIMITED if values.get("annual_limit") is None else values["annual_limit"],
        tiers=tiers,
        clause=clause,
        example=example,
    )


def benefit_tables(benefits: dict) -> BenefitTables:
    shape = (len(SCHEMES), MAX_CLASS + 1)
    columns = {name: np.zeros(shape, np.int64) for name in ("mode", "fixed", "ratio", "deductible")}
    limit = np.full(shape, UNLIMITED, np.int64)
    start, count = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    example = np.zeros(shape, bool)
    above: list[int] = []
    rate: list[int] = []
    for (scheme, price_class), benefit in benefits.items():
        at = SCHEMES.index(scheme), price_class
        for name, column in columns.items():
            column[at] = getattr(benefit, name)
        limit[at] = benefit.limit
        example[at] = benefit.example
        start[at], count[at] = len(above), len(benefit.tiers)
        above += [edge for edge, _ in benefit.tiers]
        rate += [share for _, share in benefit.tiers]
    return BenefitTables(
        **columns, limit=limit, tier_start=start, tier_count=count, example=example,
        above=np.array([*above, 0], np.int64), rate=np.array([*rate, 0], np.int64),
    )  # fmt: skip


def one_stop_of(parameters: dict[str, Parameter]) -> OneStop:
    """Major illness insurance and medical assistance, as far as parameters switch them on."""
    order = parameters.get("one_stop_order")
    funds = list(order.value) if order is not None and isinstance(order.value, list) else []
    schemes, persons = len(SCHEMES), len(ASSISTANCE)
    table = {
        name: np.zeros(schemes, np.int64) for name in ("deductible", "tier_start", "tier_count")
    }
    limit = np.zeros(schemes, np.int64)
    help_ratio, help_limit = np.zeros(persons, np.int64), np.zeros(persons, np.int64)
    above: list[int] = []
    rate: list[int] = []
    used = [order] if funds else []
    clauses = {}
    for number, scheme in enumerate(SCHEMES):
        major = parameters.get(f"{scheme}_major_illness") if scheme else None
        if major is None or "major_illness" not in funds or not isinstance(major.value, dict):
            continue
        used.append(major)
        clauses[scheme] = major.clause
        table["deductible"][number] = major.value["deductible"]
        limit[number] = _limit(major.value)
        tiers = major.value["tiers"]
        table["tier_start"][number], table["tier_count"][number] = len(above), len(tiers)
        above += [tier["above"] for tier in tiers]
        rate += [tier["ratio"] for tier in tiers]
    helping = parameters.get("medical_assistance") if "assistance" in funds else None
    if helping is not None and isinstance(helping.value, dict):
        used.append(helping)
        for name, part in helping.value.items():
            help_ratio[ASSISTANCE.index(name)] = part["ratio"]
            help_limit[ASSISTANCE.index(name)] = _limit(part)
    over = parameters.get("conversion_goes_over")
    both = {"major_illness", "assistance"} <= set(funds)
    return OneStop(
        assistance_first=both and funds.index("assistance") < funds.index("major_illness"),
        goes_over=tuple(over.value) if over is not None and isinstance(over.value, list) else (),
        **table, limit=limit, above=np.array([*above, 0], np.int64),
        rate=np.array([*rate, 0], np.int64), help_ratio=help_ratio, help_limit=help_limit,
        major_clause=clauses, help_clause=helping.clause if helping else "",
        example=any(parameter.example for parameter in used if parameter is not None),
    )  # fmt: skip


def _limit(value: dict) -> int:
    limit = value.get("annual_limit")
    return UNLIMITED if limit is None else int(limit)
