"""价格执行情况: what institutions charged for an item, beside the published price and the cap; drugs
beside their ceilings, and all else that was charged, in `drug_prices`.

Only lines of settlements in force count. (通医保发〔2020〕25号 二（一）（二）；温医保办〔2021〕6号 九)
"""

import datetime as dt
from collections.abc import Mapping
from typing import Any

from django.db import connection

from audit.text import yuan
from institutions.models import InstitutionFacts, Region, User
from institutions.models.places import area_prefix
from pricing.releases import Published, current
from supervision.reports import drug_prices
from supervision.reports.book import Book, Column
from supervision.reports.money import part
from supervision.reports.wish import SCHEMES, Wish, named

MICRO = 10_000  #: a unit price is in 1/1000000 yuan: so many of them are a fen
SERVICES = (1, 6)  #: pricing.rules.SERVICES: consultations, remote consultations
OWNERSHIPS = dict(InstitutionFacts.Ownership.choices)
CLASSES = {"1": "一类", "2": "二类", "3": "三类"}

#: Lines of settlements that no later version has reversed; row level security bounds both tables. An
#: amount below 0 is one that a held line has not got.
BASE = """
FROM settlement_settlement s
JOIN settlement_lineresult r ON r.claim_id = s.claim_id AND r.version = s.version
    AND r.period = s.period
JOIN settlement_claimline l ON l.claim_id = r.claim_id AND l.line_no = r.line_no
WHERE s.version %% 2 = 1 AND s.service_date BETWEEN %(since)s AND %(until)s
    AND s.period >= %(month)s AND s.region_code LIKE %(prefix)s
    AND (%(institution)s = '' OR s.institution_code = %(institution)s)
    AND (%(scheme)s = '' OR s.scheme = %(scheme)s)
    AND NOT EXISTS (SELECT 1 FROM settlement_settlement n
        WHERE n.claim_id = s.claim_id AND n.version = s.version + 1)"""
GROUPS = f"""SELECT s.institution_code, l.item_code, s.service_date, count(*), min(l.unit_price),
    max(l.unit_price), sum(r.fee)::bigint, sum(greatest(r.in_scope, 0))::bigint,
    sum(greatest(r.over_cap, 0))::bigint, count(*) FILTER (WHERE r.over_cap > 0),
    sum(greatest(r.overcharge, 0))::bigint,
    count(*) FILTER (WHERE r.overcharge > 0), bool_or(s.example)
{BASE} AND l.service = ANY(%(services)s) GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"""
OVER = f"""SELECT s.institution_code, k.claim_no, l.line_no, l.item_code, s.scheme, s.service_date,
    l.unit_price, r.fee, r.overcharge
{BASE.replace("WHERE", "JOIN settlement_claimkey k ON k.claim_id = s.claim_id WHERE", 1)}
    AND l.service = ANY(%(services)s) AND r.overcharge > 0
    ORDER BY r.overcharge DESC, s.claim_id, l.line_no"""
NAMES = (
    "code", "item", "day", "lines", "least", "most", "fee", "in_scope", "over_cap", "capped", "overcharge",
    "overcharged", "example",
)  # fmt: skip
SUMS = ("lines", "fee", "in_scope", "over_cap", "capped", "overcharge", "overcharged")


def gather(wish: Wish, user: User) -> dict[str, Any]:
    """Charged prices by institution, item and the price published for the day of service; every line
    above it."""
    given: dict[str, Any] = {
        "since": wish.since, "until": wish.until, "month": wish.since.replace(day=1),
        "prefix": f"{area_prefix(wish.region)}%", "institution": wish.institution,
        "scheme": wish.scheme, "services": list(SERVICES), "drug": drug_prices.DRUG,
    }  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(GROUPS, given)
        days = [dict(zip(NAMES, row, strict=True)) for row in cursor.fetchall()]
        cursor.execute(OVER, given)
        over = cursor.fetchall()
        cursor.execute(drug_prices.KINDS_OF.replace("{base}", BASE), given)
        kinds = cursor.fetchall()
        cursor.execute(drug_prices.DRUGS_OF.replace("{base}", BASE), given)
        drugs = cursor.fetchall()
    seen = set(wish.institutions(user).values_list("pk", flat=True))
    names = named(seen)
    law, facts = _Laws(wish), _facts(seen, wish)
    groups: dict[tuple, dict[str, Any]] = {}
    for row in days:
        if row["code"] in seen:
            compared = _compared(row, law.on(row["day"]), facts, names)
            key = (row["code"], row["item"], *compared.values())
            _add(groups.setdefault(key, dict.fromkeys(SUMS, 0) | compared), row)
    return {
        "document": "、".join(law.documents), "groups": list(groups.values()),
        "kinds": drug_prices.kinds(kinds, names),
        "drugs": drug_prices.drugs(drugs, law.region, names),
        "example": any(row["example"] for row in groups.values()),
        "over": [
            [names[code], number, line, item, scheme, f"{day}", price // MICRO, fee, excess]
            for code, number, line, item, scheme, day, price, fee, excess in over if code in seen
        ],
    }  # fmt: skip


def _add(group: dict[str, Any], day: Mapping[str, Any]) -> None:
    """The lines of one more day, by the same published price."""
    for name in SUMS:
        group[name] += day[name]
    day_text, least, most = f"{day['day']}", day["least"] // MICRO, day["most"] // MICRO
    group["code"], group["item"] = day["code"], day["item"]
    group["least"] = min(group.get("least", least), least)
    group["most"] = max(group.get("most", most), most)
    group["days"] = [group.get("days", [day_text])[0], day_text]
    group["example"] = group.get("example", False) or day["example"]


class _Laws:
    """The published items of each day: code or alias → name, prices and caps by class (fen)."""

    def __init__(self, wish: Wish) -> None:
        self.region = Region.objects.get(pk=wish.region).policy_region
        self.read: dict[int, dict[str, Any]] = {}
        self.documents: list[str] = []

    def on(self, day: dt.date) -> dict[str, Any]:
        """The law of a day; read once for each text."""
        published = current().policy(self.region, day)
        if published is None:
            return {"items": {}, "caps": {}}
        if published.id not in self.read:
            self.read[published.id] = _law(published)
            if published.policy.document not in self.documents:
                self.documents.append(published.policy.document)
        return self.read[published.id]


def _law(published: Published) -> dict[str, Any]:
    items: dict[str, dict[str, Any]] = {}
    for item in published.policy.section("items", ()):
        for code in (item["code"], *item.get("aliases", ())):
            items[code] = {"name": item["name"], "prices": item.get("price_by_class", {})}
    caps: dict[str, dict[str, int]] = {}
    for cap in published.policy.section("caps", ()):
        for code in cap.get("items", ()):
            caps[code] = cap["by_class"]
    return {"items": items, "caps": caps}


def _facts(codes: set[str], wish: Wish) -> dict[str, list[InstitutionFacts]]:
    """What was true of each institution in the days of the report."""
    found: dict[str, list[InstitutionFacts]] = {}
    rows = InstitutionFacts.objects.known().filter(institution__in=codes)
    for row in rows.filter(valid_from__lte=wish.until).order_by("valid_from"):
        found.setdefault(row.institution_id, []).append(row)
    return found


def _compared(
    row: Mapping[str, Any], law: Mapping[str, Any], facts: Mapping[str, list[InstitutionFacts]],
    names: Mapping[str, str],
) -> dict[str, Any]:  # fmt: skip
    """What was published for an item of an institution on a day."""
    day = row["day"]
    known = next(
        (one for one in facts.get(row["code"], ())
         if one.valid_from <= day and (one.valid_until is None or one.valid_until >= day)), None,
    )  # fmt: skip
    item = law["items"].get(row["item"], {})
    price_class = known.price_class if known else ""
    return {
        "name": names[row["code"]], "item_name": item.get("name", ""), "class": price_class,
        "ownership": known.ownership if known else "",
        "price": item.get("prices", {}).get(price_class),
        "cap": law["caps"].get(row["item"], {}).get(price_class),
    }  # fmt: skip


def verdict(row: Mapping[str, Any]) -> str:
    """What a comparison comes to; private institutions price by the market (温州 九)."""
    if row["price"] is None:
        return "无公布价格"
    if row["most"] <= row["price"]:
        return "相符"
    return "市场调节价" if row["ownership"] == "private" else "超公布价格"


def lay(figures: Mapping[str, Any], book: Book) -> None:
    """The whole, by institution and item, over-cap, the register of overcharged lines."""
    groups = figures["groups"]
    _overall(figures, book)
    if "kinds" in figures:  # reports of older releases know consultations alone
        drug_prices.lay_kinds(figures["kinds"], book)
    book.heading("收费与公布价格对照")
    book.grid(
        "分机构、分项目价格执行情况",
        ["医疗机构", "类别", "项目", "服务日期", "笔数", "公布价格", "最低", "最高", "结论"],
        [[row["name"], CLASSES.get(row["class"], "—"), row["item_name"] or row["item"],
          _days(row), f"{row['lines']:,}", _price(row["price"]), yuan(row["least"]), yuan(row["most"]),
          verdict(row)] for row in groups],
        align="lclcrrrrc", unit="金额单位：元",
    )  # fmt: skip
    book.note(
        "公布价格为服务当日按机构价格类别执行的价格，期间内有变动的分行列示；“—”表示文件没有载明该类别的价格。"
    )
    _capped(groups, book)
    if "drugs" in figures:
        drug_prices.lay_drugs(figures["drugs"], book)
    book.heading("超公布价格收费")
    amounts = sum(row[8] for row in figures["over"])
    if figures["over"]:
        book.text(
            f"共{len(figures['over']):,}笔，超出公布价格{yuan(amounts)}元，逐笔见附表；超出部分应退还患者。"
        )
    else:
        book.text("报告期内没有超出公布价格的收费。")
    book.list_rows(
        "超公布价格收费明细",
        [Column("医疗机构", 56), Column("单据号", 40, "x"), Column("行号", 12, "c"),
         Column("项目编码", 26, "x"), Column("险种", 20, "c"), Column("服务日期", 22, "c"),
         Column("单价", 20, "r"), Column("金额", 20, "r"), Column("超出", 20, "r")],
        [[place, number, str(line), item, SCHEMES[scheme], day, yuan(price), yuan(fee), yuan(excess)]
         for place, number, line, item, scheme, day, price, fee, excess in figures["over"]],
        unit="金额单位：元",
    )  # fmt: skip


def _days(row: Mapping[str, Any]) -> str:
    """The first and last day of service at this price; reports of older releases do not say."""
    first, last = row.get("days", ("", ""))
    return first if first == last else f"{first} 至 {last}"


def _price(fen: int | None) -> str:
    return "—" if fen is None else yuan(fen)


def _overall(figures: Mapping[str, Any], book: Book) -> None:
    groups = figures["groups"]
    lines = sum(row["lines"] for row in groups)
    over = sum(row["overcharged"] for row in groups)
    places = len({row["code"] for row in groups})
    faulty = len({row["code"] for row in groups if row["overcharged"]})
    book.heading("总体情况")
    book.text(
        f"对照{figures['document'] or '已发布文件'}，报告期内{places:,}家机构共收取诊察费{lines:,}笔、"
        f"{yuan(sum(row['fee'] for row in groups))}元。其中超出公布价格{over:,}笔，"
        f"占{part(over, lines)}，涉及{faulty:,}家机构、"
        f"{yuan(sum(row['overcharge'] for row in groups))}元。"
    )


def _capped(groups: list[Mapping[str, Any]], book: Book) -> None:
    book.heading("最高支付标准执行情况")
    rows = [row for row in groups if row["capped"]]
    book.grid(
        "超最高支付标准由个人负担的费用（丙2类）",
        ["医疗机构", "项目", "支付标准", "笔数", "超标准笔数", "范围内金额", "超标准金额"],
        [[row["name"], row["item_name"] or row["item"], _price(row["cap"]), f"{row['lines']:,}",
          f"{row['capped']:,}", yuan(row["in_scope"]), yuan(row["over_cap"])] for row in rows],
        align="llrrrrr", unit="金额单位：元", empty="报告期内没有超出最高支付标准的费用。",
    )  # fmt: skip
