"""The trial calculator's form: its fields follow what the document asks for."""

import datetime as dt
from typing import Any

from django import forms

from institutions.money import MoneyError, fen, yuan
from pricing.policy import Rules
from pricing.releases import Catalogue
from pricing.rules import CODES, SERVICES
from settlement import words
from settlement.columns import TRISTATE
from settlement.trial import ASSUMED_TRUE, FactError, excluded_names, needed_facts, run

YES_NO = [("yes", "是"), ("no", "否")]
UNSTATED = ("", "未说明")
MONTHS_MOST = 999
#: The order of the form; facts not named here follow their group in this order of words.FACTS.
GROUPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("费用", ("region", "service", "service_date", "item_code", "service_type", "fee")),
    ("医疗机构", ("price_class", "ownership", "nonprofit", "agreement_state", "charged_by",
                "provincial_hospitals")),
    ("参保人", ("scheme", "insured_area", "consent", "explained_item_and_price")),
    ("就诊", ("visit_type", "business_type", "condition", "department_in_scope", "disease_in_list",
            "last_offline_visit", "same_disease")),
    ("医师与处方", ("doctor_title", "doctor_independent_months", "doctor_esigned",
                 "pharmacist_reviewed")),
)  # fmt: skip
#: What stands in a field until somebody says otherwise: the plain case that is paid.
DEFAULTS: dict[str, str] = {
    "fee": "35.00", "price_class": "3", "ownership": "public",
    "nonprofit": "yes", "scheme": "resident", "insured_area": "local", "visit_type": "revisit",
    "condition": "chronic", "business_type": "internet", "doctor_title": "chief",
    "doctor_independent_months": "120", "service_type": "other", "charged_by": "inviting",
    "agreement_state": "", "provincial_hospitals": "省级医院一\n省级医院二",
}  # fmt: skip
#: Facts offered though no check of the document needs them: the payment depends on them.
ALWAYS = {
    "consult": ("price_class", "ownership"),
    "drug": ("price_class", "ownership"),
    "remote_consult": ("scheme", "provincial_hospitals"),
}
#: Examples: one press fills the form.
EXAMPLES: tuple[tuple[str, dict[str, str]], ...] = (
    ("南通 · 居民 · 三类 · 主任医师 35 元", {
        "region": "nantong", "item_code": "111102003", "fee": "35.00", "doctor_title": "chief"}),
    ("南通 · 居民 · 二类 · 普通诊察 10 元", {
        "region": "nantong", "item_code": "111102001", "fee": "10.00", "price_class": "2",
        "doctor_title": "attending", "doctor_independent_months": "60"}),
    ("南通 · 首诊（不予支付）", {
        "region": "nantong", "item_code": "111102003", "fee": "35.00", "visit_type": "first"}),
    ("温州 · 职工 · 复诊 10 元", {
        "region": "wenzhou", "fee": "10.00", "scheme": "employee", "examples": "on"}),
    ("温州 · 超过三个月复诊", {
        "region": "wenzhou", "fee": "10.00", "scheme": "resident", "months_ago": "4",
        "examples": "on"}),
    ("吉林 · 远程会诊 · 两家省级医院", {
        "region": "jilin", "service": "remote_consult", "fee": "", "scheme": "employee",
        "examples": "on"}),
)  # fmt: skip


#: The first region of the calculator for people without one of their own.
PREFERRED = ("nantong",)


class TrialForm(forms.Form):
    """Facts of one trial; nothing is stored.

    `today` gives the default service date and last visit, `home` the region that is chosen at first.
    """

    def __init__(self, data: Any, *, catalogue: Catalogue, today: dt.date, home: str = ""):
        self.catalogue = catalogue
        self.regions = catalogue.regions()
        first = next(
            (region for region in (home, *PREFERRED, *self.regions) if region in self.regions), ""
        )
        self.region = _chosen(data, "region", self.regions, first)
        self.day = _day(data.get("service_date"), today)
        self.examples = data.get("examples") == "on"
        self.rules = catalogue.rules(self.region, self.day, examples=self.examples)
        self.offered = offered_services(self.rules) if self.rules else ["consult"]
        self.service = _chosen(data, "service", self.offered, self.offered[0])
        self.needed = needed_facts(self.rules, self.service) if self.rules else set()
        filled = self._defaults(today) | {k: v for k, v in data.items() if k in self._keys()}
        filled |= {"region": self.region, "service": self.service}
        if data:
            filled["examples"] = "on" if self.examples else ""
        super().__init__(filled)
        if not self.rules:
            return
        self.fields.update(self._fields())
        self.fields["examples"] = forms.BooleanField(
            label="使用示例参数", required=False,
            help_text="文件只引用、未印出的数字（支付比例、起付线等）用示例值代替，结果不得用于实际支付。",
        )  # fmt: skip

    def groups(self) -> list[dict[str, Any]]:
        """The form's fieldsets that have fields: label and bound fields."""
        groups = [(label, [self[n] for n in names if n in self.fields]) for label, names in GROUPS]
        return [{"label": label, "fields": fields} for label, fields in groups if fields]

    def assumable(self) -> list[forms.BoundField]:
        """Facts that a trial takes as given unless stated otherwise."""
        return [self[name] for name in ASSUMED_TRUE if name in self.fields]

    def answer(self) -> dict[str, Any] | None:
        """The trial's answer; errors go beside their fields and give None."""
        if not self.rules or not self.is_valid():
            return None
        try:
            return run(self._given(), self.catalogue, examples=self.examples)
        except FactError as error:
            name = error.field.partition("/")[0]
            self.add_error(name if name in self.fields else None, error.reason)
            return None

    def clean_fee(self) -> str:
        """An amount in yuan; empty where the service is priced by count."""
        text = self.cleaned_data["fee"]
        try:
            return yuan(fen(text)) if text else ""
        except MoneyError:
            raise forms.ValidationError("应为金额，单位元，至多两位小数，如 35.00。") from None

    def _keys(self) -> set[str]:
        return {*words.FACTS, "examples"}

    def _names(self) -> list[str]:
        wanted = self.needed | {"region", "service", "service_date", "fee"}
        wanted |= set(ALWAYS.get(self.service, ()))
        if self.rules and self.service != "remote_consult":
            wanted.discard("provincial_hospitals")
        if self._items_listed():
            wanted.add("item_code")
        ordered = [name for _, names in GROUPS for name in names if name in wanted]
        return ordered + [name for name in ASSUMED_TRUE if name in wanted]

    def _items_listed(self) -> bool:
        """Whether a code may be named: of the document's items, or of a drug where a list is in force."""
        if self.rules is None:
            return False
        if self.service == "drug":
            return self.catalogue.formulary(self.region, self.day) is not None
        return bool(self.rules.policy.section("items", ())) and self.service == "consult"

    def _defaults(self, today: dt.date) -> dict[str, str]:
        items = _items(self.rules) if self.rules and self.service == "consult" else []
        return DEFAULTS | {
            "region": self.region,
            "service": self.service,
            "service_date": self.day.isoformat(),
            "item_code": next((code for code, _ in items if code == "111102003"), ""),
            "last_offline_visit": (self.day - dt.timedelta(days=30)).isoformat(),
            **{name: "yes" for name in TRISTATE if name not in ASSUMED_TRUE},
        }

    def _fields(self) -> dict[str, forms.Field]:
        return {name: self._field(name) for name in self._names()}

    def _field(self, name: str) -> forms.Field:
        label = words.FACTS[name]
        if name in CODES or name in ("region", "service", "price_class", "insured_area"):
            return _choice(label, self._choices(name), required=name in self.needed)
        if name == "item_code" and self.service == "drug":
            return forms.CharField(
                label="药品编码", required=False, max_length=30,
                help_text="按服务日有效的药品目录判断；不填则不区分药品。",
            )  # fmt: skip
        if name == "item_code":
            return _choice(label, _items(self.rules) if self.rules else [], required=True)
        if name == "service_type":
            names = (
                [(n, f"{n}（除外服务）") for n in excluded_names(self.rules)] if self.rules else []
            )
            return _choice(label, [("other", "一般诊疗"), *names], required=False)
        return _typed(name, label)

    def _choices(self, name: str) -> list[tuple[str, str]]:
        if name == "region":
            return [(code, words.REGIONS.get(code, code)) for code in self.regions]
        if name == "insured_area":
            return [("local", "本统筹区"), ("other", "其他统筹区")]
        if name == "price_class" and self.rules:
            classes = self.rules.policy.section("price_classes", ())
            return [(c["class"], c["name"]) for c in classes] or list(words.VALUES[name].items())
        known = list(words.VALUES[name].items())
        if name == "service":
            return [(code, words.VALUES[name][code]) for code in self.offered]
        return known

    def _given(self) -> dict[str, Any]:
        """The cleaned form in the words of the contract; unstated facts are left out."""
        given: dict[str, Any] = {}
        for name, value in self.cleaned_data.items():
            if name == "examples" or value in ("", None):
                continue
            given[name] = self._stated(name, value)
        if "last_offline_visit" in self.fields:
            given.setdefault("last_offline_visit", None)
        return given

    def _stated(self, name: str, value: Any) -> Any:
        if isinstance(value, dt.date):
            return value.isoformat()
        if name == "insured_area":
            return self.region if value == "local" else "other"
        if name == "price_class":
            return int(value)
        if name == "provincial_hospitals":
            return [line.strip() for line in value.splitlines() if line.strip()]
        return value == "yes" if name in TRISTATE else value


def example_query(values: dict[str, str], today: dt.date) -> dict[str, str]:
    """The query of an example: its values on the plain case; `months_ago` dates the last visit."""
    query = {key: value for key, value in values.items() if key != "months_ago"}
    if "months_ago" in values:
        ago = dt.timedelta(days=31 * int(values["months_ago"]))
        query["last_offline_visit"] = (today - ago).isoformat()
    return query


def offered_services(rules: Rules) -> list[str]:
    """Services that a document prices first, then those that its checks name."""
    priced = list(rules.policy.section("services", {}))
    named = [
        name
        for number, name in enumerate(SERVICES)
        if name and any(c.services[number] and not c.for_everything for c in rules.checks)
    ]
    return list(dict.fromkeys([*priced, *named])) or ["consult"]


def _typed(name: str, label: str) -> forms.Field:
    """Dates, whole numbers, text and yes-no facts."""
    if name in ("service_date", "last_offline_visit"):
        widget: forms.Widget = forms.DateInput({"type": "date"}, format="%Y-%m-%d")
        help_text = "没有线下诊疗时留空。" if name == "last_offline_visit" else ""
        required = name == "service_date"
        return forms.DateField(label=label, widget=widget, required=required, help_text=help_text)
    if name == "doctor_independent_months":
        return forms.IntegerField(label=label, min_value=0, max_value=MONTHS_MOST)
    if name == "provincial_hospitals":
        area = forms.Textarea({"rows": 3})
        return forms.CharField(
            label=label, widget=area, max_length=2000, help_text="每行一家医院。"
        )
    if name == "fee":
        widget = forms.TextInput({"inputmode": "decimal", "autocomplete": "off"})
        return forms.CharField(label=label, widget=widget, required=False, max_length=16)
    if name in ASSUMED_TRUE:
        return _choice(label, [("", "默认：是"), *YES_NO], required=False)
    return _choice(label, YES_NO, required=True)


def _choice(label: str, choices: list[tuple[str, str]], *, required: bool) -> forms.Field:
    return forms.ChoiceField(
        label=label, choices=choices if required else _with_blank(choices), required=required
    )


def _with_blank(choices: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return choices if any(value == "" for value, _ in choices) else [UNSTATED, *choices]


def _items(rules: Rules) -> list[tuple[str, str]]:
    return [
        (item["code"], f"{item['code']} {item['name']}")
        for item in rules.policy.section("items", ())
    ]


def _chosen(data: Any, name: str, known: Any, default: str) -> str:
    value = data.get(name)
    return value if value in known else default


def _day(text: Any, default: dt.date) -> dt.date:
    try:
        return dt.date.fromisoformat(text)
    except (TypeError, ValueError):
        return default
