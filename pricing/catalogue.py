"""PURE. What a document says a service costs and who pays for it, as words for pages and files.

Read from the compiled `Rules` that settle claims, so what is disclosed is what is applied. What a
document does not print is a `gap` and is shown as one.
"""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence

from audit.text import rate, yuan
from pricing.benefits import MODE_FIXED, MODE_OPEN, Benefit
from pricing.disclosure import (
    NOT_OFFERED,
    ClassRow,
    Condition,
    Disclosure,
    Entry,
    Gap,
    Heading,
    ParameterRow,
    Reference,
    Tariff,
    Value,
)
from pricing.document import UNLIMITED, Parameter, Policy
from pricing.parameter_words import parameter_text
from pricing.policy import Rules
from pricing.rules import VOCABULARY

SCHEMES = {"resident": "居民医保", "employee": "职工医保", "lixiu": "离休统筹"}
OWNERSHIPS = {"public": "公立", "private": "非公立", "any": "各类"}
SERVICES = {
    "consult": "诊察费",
    "drug": "药品费",
    "delivery": "药品配送费",
    "unapproved_item": "未经批准的项目",
    "self_defined_item": "自设项目",
    "remote_consult": "远程会诊",
}
DECISIONS = {
    "reject": ("不予支付", "bad"),
    "review": ("转人工审核", "warn"),
    "no_rule": ("未作规定", "mute"),
}
OVER_PRICE = {"overcharge": "超出部分应退还", "self_pay": "超出部分由个人负担"}
SOURCES = {"official": ("正式", "ok"), "imported": ("导入", "info"), "example": ("示例", "warn")}
PER = {"provincial_hospital": "每个省级医院每次会诊"}
NOT_PRINTED = "文件未载明"
BLANK = "—"


def region_name(policy: Policy) -> str:
    """The place of a policy region as its issuer names it: 南通市医疗保障局、… → 南通市."""
    issuer = str(policy.data.get("issuer") or policy.region).split("、")[0]
    for office in ("医疗保障局", "卫生健康委员会"):
        issuer = issuer.replace(office, "")
    return issuer


def parameter_rows(sets: Sequence[Policy], on: dt.date) -> list[dict]:
    """The raw rows of parameter sets in force on a day."""
    rows = [row for policy in sets for row in policy.section("rows", ())]
    return [
        row
        for row in rows
        if row["from"] <= on and (row.get("until") is None or on <= row["until"])
    ]


def disclose(
    rules: Rules,
    *,
    rows: Sequence[Mapping],
    titles: Mapping[str, str],
    price_class: str = "",
    file_url: str = "",
) -> Disclosure:
    """The disclosure of compiled rules; `rows` are the parameter rows that they were compiled with.

    `titles` are the words for physician titles, `price_class` keeps one class, `file_url` leads to
    the official file.
    """
    return _Writer(rules, rows, titles, price_class, file_url).disclosure()


class _Writer:
    def __init__(self, rules, rows, titles, price_class, file_url):
        self.rules, self.policy, self.titles, self.file_url = rules, rules.policy, titles, file_url
        self.rows = rows
        self.parameters = {
            row["key"]: Parameter(row["value"], row["source_kind"] == "example") for row in rows
        }
        self.all_classes = {
            entry["class"]: entry["name"] for entry in self.policy.section("price_classes", ())
        }
        self.classes = {
            key: name for key, name in self.all_classes.items() if price_class in ("", key)
        } or ({} if self.all_classes else {"0": "不分类别"})
        self.pays = self.policy.section("fund_pays", ())

    def disclosure(self) -> Disclosure:
        items = [self._item(item) for item in self.policy.section("items", ())]
        services = [
            self._service(name, service)
            for name, service in self.policy.section("services", {}).items()
            if service["priced_by"] != "items"
        ]
        conditions = [
            (entry, self._condition(entry)) for entry in self.policy.section("requires", ())
        ]
        excluding = {"exclusion", "item"}
        return Disclosure(
            policy=self.policy,
            entries=tuple(entry for entry in items if entry.billable) + tuple(services),
            headings=tuple(entry for entry in items if not entry.billable),
            requirements=tuple(
                c for e, c in conditions if VOCABULARY[e["rule"]].group not in excluding
            ),
            exclusions=tuple(c for e, c in conditions if VOCABULARY[e["rule"]].group in excluding),
            parameters=tuple(self._parameter(row) for row in self.rows),
            gaps=tuple(self._gaps()),
            tariffs=tuple(self._tariffs()),
            facts=tuple(self._facts()),
            classes=self.all_classes,
        )

    def _cite(self, clause: str) -> Reference:
        return Reference(
            self.policy.document, clause, self.policy.clause_text(clause), self.file_url
        )

    # --- entries ---

    def _item(self, item: Mapping) -> Entry:
        caps = [
            cap for cap in self.policy.section("caps", ()) if item["code"] in cap.get("items", ())
        ]
        prices = item.get("price_by_class", {})
        return Entry(
            key=item["code"],
            code=item["code"],
            name=item["name"],
            clause=self._cite(item["clause"]),
            content=item.get("content", ""),
            unit=item.get("unit", ""),
            aliases=tuple(item.get("aliases", ())),
            alias_note=item.get("alias_note", ""),
            note="，".join(filter(None, [_category(item), item.get("note", "")])),
            gap=item.get("gap", ""),
            billable=item.get("billable", True),
            titles=self._titles(item),
            **self._columns(
                {key: self._fixed_price(prices.get(key)) for key in self.classes}, caps
            ),
        )

    def _titles(self, item: Mapping) -> tuple[str, ...]:
        return tuple(self.titles.get(title, title) for title in item.get("titles", ()))

    def _service(self, name: str, service: Mapping) -> Entry:
        caps = [cap for cap in self.policy.section("caps", ()) if name in cap.get("services", ())]
        charge = service.get("charge", {})
        return Entry(
            key=name,
            code="",
            name=service.get("label") or SERVICES.get(name, name),
            clause=self._cite(service["clause"]),
            unit=PER.get(charge.get("per", ""), ""),
            note="，".join(filter(None, [_category(service), service.get("note", "")])),
            gap=service.get("gap", ""),
            **self._columns({key: self._service_price(service, key) for key in self.classes}, caps),
        )

    def _columns(self, prices: Mapping[str, Value], caps: Sequence[Mapping]) -> dict:
        return {
            "cap_heads": tuple(
                Heading(
                    f"{OWNERSHIPS[cap['ownership']]}最高支付标准",
                    self._cite(cap["clause"]),
                    short=OWNERSHIPS[cap["ownership"]],
                )
                for cap in caps
            ),
            "pay_heads": tuple(
                Heading(
                    f"{SCHEMES.get(pay['scheme'], pay['scheme'])}基金支付",
                    self._cite(pay["clause"]),
                    pay.get("gap", ""),
                    SCHEMES.get(pay["scheme"], pay["scheme"]),
                )
                for pay in self.pays
            ),
            "rows": tuple(
                ClassRow(
                    key,
                    label,
                    prices[key],
                    tuple(self._if_offered(prices[key], self._cap(cap, key)) for cap in caps),
                    tuple(self._if_offered(prices[key], self._pay(p, key)) for p in self.pays),
                )
                for key, label in self.classes.items()
            ),
        }

    @staticmethod
    def _if_offered(price: Value, value: Value) -> Value:
        return price if price.gap == NOT_OFFERED else value

    @staticmethod
    def _fixed_price(amount: int | None) -> Value:
        if amount is None:
            return Value(BLANK, gap=NOT_OFFERED)
        return Value(yuan(amount), amount)

    def _service_price(self, service: Mapping, price_class: str) -> Value:
        if service["priced_by"] != "parameter":
            return Value(NOT_PRINTED, gap=service.get("gap", ""))
        return self._from_parameter(service["parameter"], price_class, service.get("gap", ""))

    def _from_parameter(self, key: str, price_class: str, gap: str) -> Value:
        parameter = self.parameters.get(key)
        value = parameter.value if parameter else None
        if isinstance(value, dict):
            value = {str(k): v for k, v in value.items()}.get(price_class)
        if parameter is None or value is None:
            return Value(NOT_PRINTED, gap=gap)
        amount = int(str(value))
        return Value(yuan(amount), amount, example=parameter.example)

    def _cap(self, cap: Mapping, price_class: str) -> Value:
        note = OVER_PRICE.get(cap.get("over_price", ""), "")
        if "by_class" in cap:
            amount = cap["by_class"].get(price_class)
            if amount is None:
                return Value(BLANK, gap="该类别没有规定最高支付标准")
            return Value(yuan(amount), amount, note)
        found = self._from_parameter(cap["parameter"], price_class, NOT_PRINTED)
        return Value(
            found.text, found.amount, note if found.amount else "", found.example, found.gap
        )

    def _pay(self, pay: Mapping, price_class: str) -> Value:
        benefit = self.rules.benefits.get((pay["scheme"], int(price_class)))
        if benefit is None:
            return Value(BLANK, gap="该类别没有规定定额")
        if benefit.mode == MODE_OPEN:
            return Value(NOT_PRINTED, gap=pay.get("gap", ""))
        if benefit.mode == MODE_FIXED:
            return Value(yuan(benefit.fixed), benefit.fixed, "每次定额")
        return _ratio(benefit)

    # --- around the entries ---

    def _condition(self, entry: Mapping) -> Condition:
        rule = VOCABULARY[entry["rule"]]
        label, tone = DECISIONS[entry.get("decision") or rule.decision]
        return Condition(
            message=rule.message,
            decision=label,
            tone=tone,
            clause=self._cite(entry["clause"]),
            details=tuple(_numbers(entry)),
            names=tuple(entry.get("names", ())),
            note=entry.get("note", "") or entry.get("gap", ""),
        )

    def _parameter(self, row: Mapping) -> ParameterRow:
        source, tone = SOURCES[row["source_kind"]]
        until = f"至 {row['until']}" if row.get("until") else "起"
        return ParameterRow(
            key=row["key"],
            label=str(row.get("label") or row["key"]).removeprefix("示例："),
            value=parameter_text(row["key"], self._in_words(row["value"])),
            source=source,
            tone=tone,
            reference=row.get("source_ref", ""),
            span=f"{row['from']} {until}",
            clause=self._cite(row.get("clause", "")),
            example=row["source_kind"] == "example",
        )

    def _in_words(self, value: object) -> object:
        """A table by the steps of the document's onboarding shows their names."""
        steps = self.policy.section("onboarding", {}).get("steps", ())
        names = {step["key"]: step["name"] for step in steps}
        if not isinstance(value, Mapping):
            return value
        return {names.get(key, key): part for key, part in value.items()}

    def _gaps(self) -> Iterator[Gap]:
        seen: set[str] = set()
        for text, clause in _walk(self.policy.data, ""):
            if text not in seen and text != "同上":
                seen.add(text)
                yield Gap(text, self._cite(clause) if clause else None)

    def _tariffs(self) -> Iterator[Tariff]:
        tiers = {
            "county": "县级",
            "municipal": "市级",
            "provincial": "省级",
            "township": "乡镇",
            "community": "社区",
        }
        services = {"single": "单业务", "multi": "多业务"}
        for line in self.policy.section("tariffs", {}).get("lines", ()):
            low, high = line["bandwidth_mb"]["min"], line["bandwidth_mb"]["max"]
            width = f"{low}" if low == high else f"{low}–{high}"
            yield Tariff(
                label=f"{'、'.join(services.get(s, s) for s in line['services'])} {width} 兆专线",
                tiers="、".join(tiers.get(tier, tier) for tier in line["tiers"]),
                amount=line["per_line_year"],
                clause=self._cite(line["clause"]),
            )

    def _facts(self) -> Iterator[dict]:
        over = self.policy.section("over_cap", None)
        if over:
            yield {
                "label": "超过支付标准的部分",
                "value": f"{over['category']}类，由个人负担"
                if over["category"] != "自费"
                else "自费，由个人负担",
                "clause": self._cite(over["clause"]),
            }
        for account in self.policy.section("personal_account", ()):
            parts = [
                word
                for key, word in (("in_scope", "范围内个人负担"), ("over_cap", "超标准部分"))
                if account.get(key)
            ]
            schemes = "、".join(SCHEMES.get(scheme, scheme) for scheme in account["schemes"])
            yield {
                "label": "个人账户可支付",
                "value": f"{schemes}：{'、'.join(parts) or BLANK}",
                "clause": self._cite(account["clause"]),
            }
        maintenance = self.policy.section("maintenance", None)
        if maintenance:
            ratio = maintenance["rate"]
            yield {
                "label": "软件维保费",
                "value": f"{rate(ratio['min'])}–{rate(ratio['max'])}",
                "sub": maintenance["base"].get("gap", ""),
                "clause": self._cite(ratio["clause"]),
            }


def _category(entry: Mapping) -> str:
    """The category of an item or service with its first self-pay share."""
    if "category" not in entry:
        return ""
    share = entry.get("first_self_pay")
    return f"费用类别：{entry['category']}" + (f"（先行自付 {rate(share)}）" if share else "")


def _ratio(benefit: Benefit) -> Value:
    """A ratio with what stands around it: deductible, annual limit, tiers."""
    around = []
    if benefit.deductible:
        around.append(f"年度起付线 {yuan(benefit.deductible)}")
    if benefit.limit < UNLIMITED:
        around.append(f"年度限额 {yuan(benefit.limit)}")
    around += [f"超过 {yuan(above)} 部分 {rate(share)}" for above, share in benefit.tiers]
    text = rate(benefit.ratio) if benefit.ratio else "分段" if benefit.tiers else rate(0)
    return Value(text, None, "，".join(around), benefit.example)


def _numbers(entry: Mapping) -> Iterator[str]:
    if "months" in entry:
        yield f"{entry['months']} 个月"
    if "items" in entry:
        yield f"项目 {'、'.join(entry['items'])}"
    if "services" in entry:
        yield "、".join(SERVICES.get(service, service) for service in entry["services"])


def _walk(node: object, clause: str) -> Iterator[tuple[str, str]]:
    """Every `gap` of a document with the clause it stands under."""
    if isinstance(node, Mapping):
        here = node.get("clause", clause)
        here = here if isinstance(here, str) else clause
        if isinstance(node.get("gap"), str):
            yield node["gap"], here
        for key, part in node.items():
            if key != "clauses":
                yield from _walk(part, here)
    elif isinstance(node, list):
        for part in node:
            yield from _walk(part, clause)
