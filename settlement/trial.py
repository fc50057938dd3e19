"""Trial settlement (contracts/trial.md): stated facts in, the answer out, nothing stored.

The same rules and kernel as a real claim; only the facts come from JSON instead of from records.
"""

import datetime as dt
import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation

import numpy as np

from institutions.money import MoneyError, fen
from pricing.benefits import REMAINING
from pricing.document import RATIO_ONE
from pricing.formulary import Formulary
from pricing.policy import Check, Rules
from pricing.releases import Catalogue
from pricing.rules import CODES, SERVICES
from settlement import explain, kernel
from settlement.columns import NO_DAY, TRISTATE, Columns, blank, day_number, filed, spread
from settlement.fault import FactError

#: In a trial only, these are true when absent, and listed in `assumed`.
ASSUMED_TRUE = (
    "patient_facing", "is_medical_treatment", "provider_is_clinician", "institution_filed",
    "agreement_in_force", "online_settlement", "prescription_issued", "credential_verified",
    "person_matched", "included_in_pool", "inpatient",
)  # fmt: skip
#: Facts that only records know: a trial may state them and is never asked for them.
RECORDED = frozenset({
    "standing", "assistance", "prescription_record", "drug_listed", "drug_for_disease",
    "online_permitted", "physician_permitted", "department_permitted", "pharmacist_permitted",
})  # fmt: skip
LINE_KEYS = ("encounter_id", "line_no", "institution")
OTHER = "other"
DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
QUESTIONS = ("personal_account_allowed",)
MAX_LINES = 200


def run(given: object, catalogue: Catalogue, *, examples: bool = False) -> dict:
    """Answer one trial object: facts, or {"lines": [facts, …]} judged together. Raises FactError."""
    if not isinstance(given, dict):
        raise FactError("", "应为一个 JSON 对象")
    if "lines" not in given:
        return _answers([_Facts(given, catalogue, examples)])[0]
    lines = given["lines"]
    if not isinstance(lines, list) or not 1 <= len(lines) <= MAX_LINES:
        raise FactError("lines", f"应为 1 至 {MAX_LINES} 行的数组")
    shared = {key: value for key, value in given.items() if key != "lines"}
    facts = []
    for number, line in enumerate(lines):
        if not isinstance(line, dict):
            raise FactError(f"lines/{number}", "应为一个 JSON 对象")
        try:
            facts.append(_Facts(shared | line, catalogue, examples))
        except FactError as error:
            raise FactError(f"lines/{number}/{error.field}", error.reason) from error
    answers = _answers(facts)
    funds = [answer["fund_pay"] for answer in answers]
    known = None not in funds
    total = sum(fen(fund) for fund in funds) if known else kernel.OPEN
    return {"lines": answers, "fund_pay_total": explain.amount(total)}


def _answers(facts: list["_Facts"]) -> list[dict]:
    releases = list({id(f.rules): f.rules for f in facts}.values())
    which = np.array([next(k for k, r in enumerate(releases) if r is f.rules) for f in facts])
    years = [(f.record["scheme"][0], f.day.year) for f in facts]
    keys = np.array([years.index(year) for year in years])
    encounters = list(dict.fromkeys(f.encounter for f in facts))
    columns = Columns(
        np.concatenate([f.record for f in facts]),
        np.arange(len(facts)),
        service=np.array([f.service for f in facts]),
        item=np.array([f.item for f in facts]),
        service_type=np.array([f.service_type for f in facts]),
        fee=np.array([f.fee for f in facts], np.int64),
        encounter=np.array(
            [encounters.index(f.encounter) + 1 if f.encounter else 0 for f in facts]
        ),
        **_said_of_drugs(facts),
    )
    results = kernel.settle(columns, releases, which=which, keys=keys, strict=False)
    answers = []
    for number, fact in enumerate(facts):
        line = explain.line_of(results, number, fact.rules, fact.record[0], fact.name)
        answer = explain.answer(line) | {"assumed": fact.assumed}
        answer |= explain.channel_of(line, int(fact.record["online_settlement"][0]))
        answers.append(answer)
    return answers


def _said_of_drugs(facts: list["_Facts"]) -> dict[str, np.ndarray]:
    """Line columns: what the drug list in force on the service day says of the drugs that are named.

    As for a claim, but a trial states neither a quantity, so that no ceiling applies, nor the person's
    filed diseases, so that a drug limited to diseases is assumed to be for one of them.
    """
    found: dict[str, np.ndarray] = {}
    for number, fact in enumerate(facts):
        drug = fact.given.get("item_code")
        if fact.formulary is None or not drug or fact.name != "drug":
            continue
        place = fact.formulary.places([drug])
        said = fact.formulary.judge(place, np.zeros(1, np.int64), filed(fact.record))
        said.pop("ceiling", None)
        if place[0] >= 0 and fact.formulary.restricted[place[0]]:
            fact.assumed.append("drug_for_disease")
        spread(said, np.array([number]), found, len(facts))
    return found


class _Facts:
    """One trial line: its facts as a kernel record, checked; what was assumed; its rules."""

    def __init__(self, given: dict, catalogue: Catalogue, examples: bool):
        self.given = given
        self.assumed: list[str] = []
        self._refuse_unknown_keys()
        region = self._text("region")
        self.day = self._date("service_date")
        self.name = given.get("service", "consult")
        if self.name not in SERVICES[1:]:
            raise FactError("service", f"应为 {'、'.join(SERVICES[1:])} 之一")
        self.service = SERVICES.index(self.name)
        self.rules = self._rules(region, catalogue, examples)
        self.formulary = _formulary(region, self.day, catalogue, examples)
        self.needed = needed_facts(self.rules, self.name)
        self.record = blank()
        self.record["service_day"] = day_number(self.day)
        self._codes()
        self._tristate(region)
        self._numbers()
        self.fee = self._fee()
        self.item = self._item()
        self.service_type = self._service_type()
        self.encounter = self._encounter()

    def _refuse_unknown_keys(self) -> None:
        for key in self.given:
            if key not in KNOWN_KEYS:
                raise FactError(key, "契约中没有这个事实")
        if self.given.get("ask") not in (None, *QUESTIONS):
            raise FactError("ask", f"应为 {'、'.join(QUESTIONS)}")

    def _encounter(self) -> tuple[str, str] | None:
        """The encounter that lines may share; None stands alone."""
        self._whole("line_no", 10**6)
        names = [self.given.get(key) or "" for key in ("institution", "encounter_id")]
        for key, name in zip(("institution", "encounter_id"), names, strict=True):
            if not isinstance(name, str):
                raise FactError(key, "应为文本")
        return (names[0], names[1]) if names[1] else None

    def _text(self, key: str) -> str:
        value = self.given.get(key)
        if not isinstance(value, str) or not value:
            raise FactError(key, "缺少此事实，应为文本")
        return value

    def _date(self, key: str) -> dt.date:
        value = self._text(key)
        try:
            if DAY.fullmatch(value):
                return dt.date.fromisoformat(value)
        except ValueError:
            pass
        raise FactError(key, "应为日期 YYYY-MM-DD")

    def _rules(self, region: str, catalogue: Catalogue, examples: bool) -> Rules:
        parameters = self.given.get("parameters")
        if parameters is None:
            rules = catalogue.rules(region, self.day, examples=examples)
        else:
            rules = catalogue.with_parameters(region, self.day, _parameters(parameters))
        if rules is None:
            raise FactError("region", f"没有地区“{region}”的已发布政策文件")
        return rules

    def _codes(self) -> None:
        for name, values in CODES.items():
            value = self.given.get(name)
            if value is None:
                if name in self.needed and name not in self.given:
                    raise FactError(name, "缺少此事实")
                continue
            if name == "agreement_state" and isinstance(value, str) and value not in values:
                value = OTHER
            if value not in values[1:]:
                raise FactError(name, f"应为 {'、'.join(values[1:])} 之一")
            self.record[name] = values.index(value)

    def _tristate(self, region: str) -> None:
        area = self.given.get("insured_area")
        if area is None and "insured_area" in self.needed:
            raise FactError("insured_area", "缺少此事实")
        if area is not None:
            self.record["insured_local"] = self._text("insured_area") == region
        for name in TRISTATE:
            if name == "insured_local":
                continue
            value = self.given.get(name)
            if value is None:
                self._absent(name)
            elif isinstance(value, bool):
                self.record[name] = value
            else:
                raise FactError(name, "应为 true 或 false")

    def _absent(self, name: str) -> None:
        if name in ASSUMED_TRUE:
            self.record[name] = 1
            if name in self.needed:
                self.assumed.append(name)
        elif name in self.needed:
            raise FactError(name, "缺少此事实")

    def _numbers(self) -> None:
        self.record["price_class"] = self._whole("price_class", 9)
        if "doctor_independent_months" in self.given or self._experience_needed():
            months = self._whole("doctor_independent_months", 999, required=True)
            self.record["experience_months"] = months
        last = self.given.get("last_offline_visit")
        if last is not None:
            self.record["last_offline_day"] = day_number(self._date("last_offline_visit"))
        elif "last_offline_visit" in self.given:
            self.record["last_offline_day"] = NO_DAY
        elif "last_offline_visit" in self.needed:
            raise FactError("last_offline_visit", "缺少此事实（没有线下诊疗时写 null）")
        if self.given.get("main_agreement_suspended_from") is not None:
            day = day_number(self._date("main_agreement_suspended_from"))
            self.record["suspended_from_day"] = day
        self._hospitals()

    def _experience_needed(self) -> bool:
        if "doctor_independent_months" not in self.needed:
            return False
        checks = [c for c in self.rules.checks if c.rule.name == "physician_experience"]
        row = self.rules.row_of_code[self._item()]
        code = self.rules.row_code[row]
        return any(not c.numbers.get("items") or code in c.numbers["items"] for c in checks)

    def _whole(self, key: str, most: int, *, required: bool = False) -> int:
        value = self.given.get(key)
        if value is None:
            if required or key in self.needed:
                raise FactError(key, "缺少此事实")
            return 0
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
            raise FactError(key, f"应为 0 至 {most} 的整数")
        return value

    def _hospitals(self) -> None:
        experts = self.given.get("experts") or []
        named = self.given.get("provincial_hospitals")
        if not isinstance(experts, list) or any(
            not isinstance(e, list | tuple) or len(e) != 2 for e in experts
        ):
            raise FactError("experts", "应为 [[医院, 专家], …]")
        if named is not None and not isinstance(named, list):
            raise FactError("provincial_hospitals", "应为医院名称的数组")
        if self.name == "remote_consult" and named is None and not experts:
            raise FactError("provincial_hospitals", "缺少此事实")
        provincial = {str(h) for h in (named if named is not None else [e[0] for e in experts])}
        self.record["provincial_hospitals"] = min(len(provincial), 255)
        others = {str(e[0]) for e in experts} - provincial
        self.record["other_hospitals"] = min(len(others), 255)

    def _fee(self) -> int:
        if self.given.get("fee") is None:
            if self.name == "remote_consult":
                return kernel.OPEN
            raise FactError("fee", "缺少此事实")
        try:
            return fen(self.given["fee"])
        except MoneyError as error:
            raise FactError("fee", str(error)) from None

    def _item(self) -> int:
        code = self.given.get("item_code")
        if code is None:
            if "item_code" in self.needed:
                raise FactError("item_code", "缺少此事实")
            return 0
        if not isinstance(code, str):
            raise FactError("item_code", "应为文本")
        return self.rules.codes.index(code) + 1 if code in self.rules.codes else 0

    def _service_type(self) -> int:
        name = self.given.get("service_type")
        if name is None:
            if "service_type" in self.needed:
                self.assumed.append("service_type")
            return 0
        if name == OTHER:
            return 0
        names = excluded_names(self.rules)
        if name not in names and "service_type" in self.needed:
            raise FactError("service_type", f"应为列名的除外服务之一或 other：{'、'.join(names)}")
        return names.index(name) + 1 if name in names else 0


def _formulary(region: str, day: dt.date, catalogue: Catalogue, examples: bool) -> Formulary | None:
    """The drug list of the region and day; an example only where examples are asked for."""
    found = catalogue.formulary(region, day)
    return None if found is None or (found.example and not examples) else found


def needed_facts(rules: Rules, service: str) -> set[str]:
    """The facts that a document's checks and payment rules read for a service."""
    number, needed = SERVICES.index(service), set()
    for check in rules.checks:
        if check.services[number] and not check.when_given:
            needed |= set(check.rule.facts) - RECORDED
        if check.services[number] and _refuses(check, service):
            return needed
    if service in ("consult", "drug") and rules.benefits:
        needed.add("scheme")
    if rules.policy.section("manual_channel", None):
        needed.add("online_settlement")
    caps = rules.policy.section("caps", [])
    if any(service in cap.get("services", ()) and cap["ownership"] != "any" for cap in caps):
        needed.add("ownership")
    return needed


def _refuses(check: Check, service: str) -> bool:
    """Whether a check refuses the service whatever the facts: nothing after it is asked."""
    if check.rule.name == "payable_services":
        return service not in check.numbers["services"]
    return check.rule.name == "delivery_fee_excluded"


def excluded_names(rules: Rules) -> list[str]:
    """The service names which a document excludes from payment, in its order."""
    for check in rules.checks:
        if check.rule.name == "excluded_services":
            return list(check.numbers["names"])
    return []


def _parameters(given: object) -> dict[str, object]:
    """Stated parameters in the house's units: ratios per ten thousand, amounts in fen."""
    if not isinstance(given, dict):
        raise FactError("parameters", "应为一个 JSON 对象")
    parsed: dict[str, object] = {}
    for key, value in given.items():
        if key == "label":
            continue
        reader = _parameter_reader(key)
        if reader is None:
            raise FactError(f"parameters/{key}", "契约中没有这个参数")
        try:
            parsed[key] = reader(value)
        except (MoneyError, InvalidOperation, ValueError, TypeError) as error:
            raise FactError(f"parameters/{key}", str(error)) from None
    return parsed


def _ratio(value: object) -> int:
    """`"0.65"` → 6500; at most four decimal places, between 0 and 1."""
    if not isinstance(value, str):
        raise ValueError('应为十进制字符串，如 "0.65"')
    scaled = Decimal(value) * RATIO_ONE
    if not scaled.is_finite() or scaled != scaled.to_integral_value():
        raise ValueError("比例至多四位小数")
    if not 0 <= scaled <= RATIO_ONE:
        raise ValueError("比例应在 0 与 1 之间")
    return int(scaled)


def _parameter_reader(key: str) -> Callable[[object], object] | None:
    if key in ("public_ordinary_consult_price", "mdt_price", *REMAINING):
        return fen
    scheme, _, rest = key.partition("_")
    if scheme in CODES["scheme"][1:]:
        return {"fund_ratio": _ratio, "deductible": fen, "annual_limit": fen}.get(rest)
    return None


KNOWN_KEYS = frozenset(
    {
        "region", "service", "service_date", "item_code", "fee", "price_class", "insured_area",
        "main_agreement_suspended_from", "last_offline_visit", "service_type",
        "doctor_independent_months", "ask", "parameters", "provincial_hospitals", "experts",
        *LINE_KEYS, *CODES, *(name for name in TRISTATE if name != "insured_local"),
    }
)  # fmt: skip
