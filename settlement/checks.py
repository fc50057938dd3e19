"""PURE. The requirements of the law as predicates over columns: True where a line fails.

One function per rule of the vocabulary (`pricing.rules`), with the numbers of the document's entry.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pricing.benefits import MODE_OPEN
from pricing.document import NONE
from pricing.policy import Check, Rules
from pricing.rules import CATEGORIES, CODES, SERVICES
from settlement.columns import NO_DAY, UNKNOWN_DAY, Columns

CONSULT, REMOTE = SERVICES.index("consult"), SERVICES.index("remote_consult")
UNAPPROVED = np.array([name in ("unapproved_item", "self_defined_item") for name in SERVICES])
PUBLIC = CODES["ownership"].index("public")
SUSPENDED = CODES["agreement_state"].index("suspended")
ACTIVE = CODES["standing"].index("active")
SELF_PAID = CATEGORIES.index("丙类")

#: Facts of the contract whose column has another name.
COLUMN_OF = {"insured_area": "insured_local"}

Mask = np.ndarray
PREDICATES: dict[str, Callable[["Lines", Check], Mask]] = {}


@dataclass
class Lines:
    """Lines under one `Rules`: the facts, their table row and the amounts known so far."""

    facts: Columns
    rules: Rules
    strict: bool
    row: np.ndarray
    decided: np.ndarray
    releases: Sequence[Rules] = ()

    def __getitem__(self, name: str) -> np.ndarray:
        return self.facts[name]

    @cached_property
    def cap(self) -> np.ndarray:
        """The highest payable amount: the document's, and no more than the drug list's ceiling."""
        cap = self.rules.cap[self.row, self["ownership"], self["price_class"]]
        ceiling = self["ceiling"]
        return np.where((ceiling != NONE) & (cap != NONE), np.minimum(cap, ceiling), cap)

    @cached_property
    def category(self) -> tuple[np.ndarray, np.ndarray]:
        """Category and first self-pay share: the drug list's where the drug is on it, else the row's."""
        listed, rules = self["drug_listed"] == 1, self.rules
        category = np.where(listed, self["category"], rules.category[self.row])
        return category, np.where(listed, self["first_share"], rules.first_share[self.row])

    @cached_property
    def homes(self) -> list[tuple[Rules | None, np.ndarray]]:
        """Lines of persons insured elsewhere, by the release of their region (None: not loaded)."""
        home = self["home"]
        numbers = np.unique(home[home != 0]).tolist() if np.count_nonzero(home) else []
        return [
            (self.releases[number - 1] if number > 0 else None, np.flatnonzero(home == number))
            for number in numbers
        ]


def predicate(function: Callable) -> Callable:
    """Register the vectorised test of a vocabulary rule: True where a line fails it."""
    PREDICATES[function.__name__] = function
    return function


def _not_true(name: str) -> None:
    """A requirement on a yes/no fact fails unless the fact is yes; unknown is not yes."""

    def failing(lines: Lines, check: Check) -> Mask:
        fact = lines[COLUMN_OF.get(check.rule.facts[0], check.rule.facts[0])]
        return fact == 0 if check.when_given else fact != 1

    failing.__name__ = name
    predicate(failing)


for _name in (
    "institution_filed", "department_in_scope", "disease_in_list", "same_disease",
    "included_in_pool", "inpatient_only", "patient_facing", "medical_treatment", "clinician_only",
    "prescription_issued", "physician_signature", "pharmacist_review", "uploaded_in_time",
    "drug_listed", "drug_for_disease", "physician_permitted", "department_permitted",
    "pharmacist_permitted",
):  # fmt: skip
    _not_true(_name)


@predicate
def in_force(lines: Lines, check: Check) -> Mask:
    day = lines["service_day"]
    return (day < lines.rules.first_day) | (day > lines.rules.last_day)


@predicate
def delivery_fee_excluded(lines: Lines, check: Check) -> Mask:
    return np.ones(lines.facts.n, bool)


@predicate
def approved_items_only(lines: Lines, check: Check) -> Mask:
    return UNAPPROVED[lines["service"]] & (lines["nonprofit"] != 0)


@predicate
def payable_services(lines: Lines, check: Check) -> Mask:
    payable = np.array([name in check.numbers["services"] for name in SERVICES])
    return ~payable[lines["service"]]


@predicate
def item_known(lines: Lines, check: Check) -> Mask:
    return lines.row == 0


@predicate
def item_billable(lines: Lines, check: Check) -> Mask:
    return ~lines.rules.billable[lines.row]


@predicate
def class_offered(lines: Lines, check: Check) -> Mask:
    return lines.rules.price[lines.row, lines["price_class"]] == NONE


@predicate
def agreement_in_force(lines: Lines, check: Check) -> Mask:
    state = lines["agreement_state"]
    unpayable = (state > 0) & (state != SUSPENDED) & ~lines.rules.payable_states[state]
    return (lines["agreement_in_force"] != 1) | unpayable


@predicate
def agreement_not_suspended(lines: Lines, check: Check) -> Mask:
    since = lines["suspended_from_day"]
    day = lines["service_day"]
    return (lines["agreement_state"] == SUSPENDED) | ((since != NO_DAY) & (since <= day))


@predicate
def credential_verified(lines: Lines, check: Check) -> Mask:
    return (lines["credential_verified"] != 1) | (lines["person_matched"] != 1)


@predicate
def local_insured(lines: Lines, check: Check) -> Mask:
    """A person insured elsewhere passes where the region settles off-site persons (异地)."""
    local = lines["insured_local"]
    return (local != 1) & ~((local == 0) & (lines["insured_pool"] != 0) & lines.rules.offsite)


@predicate
def entitlement_in_force(lines: Lines, check: Check) -> Mask:
    standing = lines["standing"]
    failing = (standing != 0) & (standing != ACTIVE)
    return failing if check.when_given else failing | (standing == 0)


@predicate
def online_permitted(lines: Lines, check: Check) -> Mask:
    """Only settling online is suspended: whoever paid by hand may claim by hand."""
    fact = lines["online_permitted"]
    return ((fact == 0) if check.when_given else (fact != 1)) & (lines["manual"] == 0)


@predicate
def category_covered(lines: Lines, check: Check) -> Mask:
    """丙类 is paid by the person wholly; it counts towards nothing."""
    return lines.category[0] == SELF_PAID


@predicate
def consent(lines: Lines, check: Check) -> Mask:
    return (lines["consent"] != 1) | (lines["explained_item_and_price"] != 1)


PREDICATES["consult_consent"] = consent


@predicate
def business_type_separated(lines: Lines, check: Check) -> Mask:
    return lines["business_type"] == 0


@predicate
def follow_up_only(lines: Lines, check: Check) -> Mask:
    return lines["visit_type"] != CODES["visit_type"].index("revisit")


@predicate
def common_or_chronic(lines: Lines, check: Check) -> Mask:
    condition = lines["condition"]
    failing = condition == CODES["condition"].index("acute_not_common")
    return failing if check.when_given else failing | (condition == 0)


@predicate
def revisit_window(lines: Lines, check: Check) -> Mask:
    last, day = lines["last_offline_day"], lines["service_day"]
    known = (last != UNKNOWN_DAY) & (last != NO_DAY)
    window_end = add_months(np.where(known, last, 0), check.numbers["months"])
    return ~known | (day < last) | (day > window_end)


@predicate
def charged_by_inviting(lines: Lines, check: Check) -> Mask:
    return lines["charged_by"] != CODES["charged_by"].index("inviting")


@predicate
def excluded_services(lines: Lines, check: Check) -> Mask:
    return lines["service_type"] != 0


@predicate
def physician_experience(lines: Lines, check: Check) -> Mask:
    failing = lines["experience_months"] < check.numbers["months"]
    if items := check.numbers.get("items"):
        failing = failing & np.isin(lines.row, _rows(lines.rules, items))
    return failing


@predicate
def physician_title(lines: Lines, check: Check) -> Mask:
    """A rank below the item's is refused; a rank above it goes to review (I-NT-7), see `kernel._decide`."""
    title = lines["doctor_title"]
    return (title < lines.rules.title_min[lines.row]) | (title > lines.rules.title_max[lines.row])


def _not_recorded_as(name: str, word: str) -> None:
    """A requirement on what the records say of a claim's prescriptions (温州 十四、十五)."""
    number = CODES["prescription_record"].index(word)

    def failing(lines: Lines, check: Check) -> Mask:
        return lines["prescription_record"] == number

    failing.__name__ = name
    predicate(failing)


for _name, _word in (
    ("prescription_of_person", "other_person"), ("prescription_not_withdrawn", "withdrawn"),
    ("prescription_in_time", "expired"), ("prescription_not_elsewhere", "elsewhere"),
    ("prescription_charged_once", "claimed"), ("pharmacy_designated", "undesignated"),
    ("dispensed_first", "undispensed"),
):  # fmt: skip
    _not_recorded_as(_name, _word)


@predicate
def no_duplicate_charge(lines: Lines, check: Check) -> Mask:
    same, other = duplicates(lines)
    return same | other


@predicate
def cap_known(lines: Lines, check: Check) -> Mask:
    return (lines.cap == NONE) & lines.rules.known_services[lines["service"]]


@predicate
def tariff_known(lines: Lines, check: Check) -> Mask:
    """A trial leaves amounts open; a real claim without a number to settle by is not settled."""
    remote = lines["service"] == REMOTE
    failing = ~lines.rules.known_services[lines["service"]]
    failing |= remote & (lines["provincial_hospitals"] == 0)
    if not lines.strict:
        return failing
    no_price = remote & (lines.rules.count_price == NONE)
    return failing | no_price | (lines.cap == NONE) | (benefit_of(lines, "mode") == MODE_OPEN)


@predicate
def no_overcharge(lines: Lines, check: Check) -> Mask:
    """A trial flags an overcharge; a real line with one is held (I-NT-3)."""
    if not lines.strict:
        return np.zeros(lines.facts.n, bool)
    return overcharge_of(lines, lines["fee"]) > 0


def overcharge_of(lines: Lines, fee: np.ndarray) -> np.ndarray:
    limit = lines.rules.price_limit[lines.row, lines["ownership"], lines["price_class"]]
    return np.where(limit == NONE, 0, np.maximum(fee - limit, 0))


def benefit_of(lines: Lines, column: str) -> np.ndarray:
    """A column of the benefits of each line's scheme and class; mode OPEN where none is loaded."""
    scheme, price_class = lines["scheme"], lines["price_class"]
    found = getattr(lines.rules.benefit_tables, column)[scheme, price_class]
    for rules, at in lines.homes:
        found = found.copy()
        if rules is None:
            found[at] = 0
        else:
            table = getattr(rules.benefit_tables, column)
            found[at] = table[scheme[at], price_class[at]]
    return found


def _rows(rules: Rules, codes: list[str]) -> list[int]:
    return [row for row, code in enumerate(rules.row_code) if code in codes]


def duplicates(lines: Lines) -> tuple[Mask, Mask]:
    """(identical, other level): a second 诊察费 in one encounter, among lines still undecided (I-NT-5).

    The first of identical lines stands; `prior_same`/`prior_other` are charges of earlier claims.
    """
    live = np.flatnonzero(~lines.decided & (lines["service"] == CONSULT))
    same, other = np.zeros(lines.facts.n, bool), np.zeros(lines.facts.n, bool)
    encounter = lines["encounter"][live]
    grouped = live[encounter != 0]
    if grouped.size > 1:
        keys = lines["encounter"][grouped]
        order = np.lexsort((grouped, lines.row[grouped], keys))
        at, key, row = grouped[order], keys[order], lines.row[grouped][order]
        again = key[1:] == key[:-1]
        same[at[1:]] = again & (row[1:] == row[:-1])
        starts = np.flatnonzero(np.r_[True, ~again])
        mixed = np.minimum.reduceat(row, starts) != np.maximum.reduceat(row, starts)
        other[at] = np.repeat(mixed, np.diff(np.r_[starts, at.size]))
    same[live] |= lines["prior_same"][live] != 0
    other[live] |= lines["prior_other"][live] != 0
    return same, other & ~same


def add_months(day: np.ndarray, months: int) -> np.ndarray:
    """The corresponding day `months` later, or the month's end (民法典 202). Days since 1970."""
    first, last = (int(day.min()), int(day.max())) if len(day) else (0, 0)
    if len(day) > 2 * (last - first + 1):  # many lines of few days: each day is computed once
        return add_months(np.arange(first, last + 1), months)[day - first]
    start = day.astype("datetime64[D]")
    month = start.astype("datetime64[M]")
    target = month + months
    length = (target + 1).astype("datetime64[D]") - target.astype("datetime64[D]")
    offset = np.minimum(start - month.astype("datetime64[D]"), length - np.timedelta64(1, "D"))
    return (target.astype("datetime64[D]") + offset).astype("int64")
