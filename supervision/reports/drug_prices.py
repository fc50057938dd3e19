"""What price reports tell beside consultation fees: all that was charged by kind, and drugs beside the
ceiling (支付限价) of the list of their day.

Lines of settlements in force, as `supervision.reports.prices`. (温医保办〔2021〕6号 九、二十三（一）)
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from audit.text import yuan
from pricing.models import Drug
from pricing.releases import current
from pricing.rules import SERVICES
from supervision.reports.book import Book

DRUG = SERVICES.index("drug")
#: Kinds of lines as a report names them, by their number.
KINDS = {
    1: "诊察费", 2: "药品", 3: "配送费", 4: "未经批准的项目", 5: "自定项目", 6: "远程会诊",
}  # fmt: skip
MOST_ROWS = 500  #: drugs that one table lists
MICRO = 1_000_000

KINDS_OF = """SELECT s.institution_code, l.service, count(*), sum(r.fee)::bigint,
    sum(greatest(r.in_scope, 0))::bigint {base} GROUP BY 1, 2 ORDER BY 1, 2"""
DRUGS_OF = """SELECT s.institution_code, l.item_code, s.service_date, count(*), sum(r.fee)::bigint,
    min(l.unit_price), max(l.unit_price), count(*) FILTER (WHERE r.over_cap > 0),
    sum(greatest(r.over_cap, 0))::bigint
    {base} AND l.service = %(drug)s GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"""


def kinds(rows: Sequence[tuple], names: Mapping[str, str]) -> list[list[Any]]:
    """[institution, kind, lines, fee, in scope] (fen) of what `KINDS_OF` found."""
    return [[names[code], *more] for code, *more in rows if code in names]


def drugs(rows: Sequence[tuple], region: str, names: Mapping[str, str]) -> dict[str, Any]:
    """Of what `DRUGS_OF` found: sums by institution, and each drug charged above a ceiling."""
    places: dict[str, dict[str, int]] = {}
    above: dict[tuple, dict[str, Any]] = {}
    ceilings, lists = _Ceilings(region), set()
    for code, drug, day, lines, fee, least, most, capped, over in rows:
        if code not in names:
            continue
        found = ceilings.of(drug, day)
        lists.add(found["list"])
        place = places.setdefault(names[code], dict.fromkeys(PLACE, 0))
        _count(place, lines=lines, fee=fee, limited=lines * (found["ceiling"] is not None),
               unlisted=lines * (not found["listed"]), capped=capped, over=over)  # fmt: skip
        if capped:
            key = (names[code], drug, found["ceiling"])
            row = above.setdefault(key, {"name": found["name"], "first": f"{day}", "least": least,
                                         "most": most, "lines": 0, "capped": 0, "over": 0})  # fmt: skip
            _count(row, lines=lines, capped=capped, over=over)
            row["last"], row["least"] = f"{day}", min(row["least"], least)
            row["most"] = max(row["most"], most)
    listed = [
        {"place": place, "code": drug, "ceiling": ceiling} | row
        for (place, drug, ceiling), row in above.items()
    ]
    return {
        "places": [[place, *(row[name] for name in PLACE)] for place, row in places.items()],
        "above": sorted(listed, key=lambda row: (-row["over"], row["place"], row["code"])),
        "lists": sorted(lists - {""}),
    }  # fmt: skip


PLACE = ("lines", "fee", "limited", "unlisted", "capped", "over")


def _count(into: dict[str, Any], **more: int) -> None:
    for name, amount in more.items():
        into[name] += amount


class _Ceilings:
    """The ceiling of a drug on a day by the region's published list; each list is asked once a drug."""

    def __init__(self, region: str) -> None:
        self.region, self.catalogue = region, current()
        self.known: dict[int, dict[str, tuple[str, int | None]]] = {}

    def of(self, code: str, day: dt.date) -> dict[str, Any]:
        """Name, ceiling (1/1000000 yuan a unit; None: none), whether a list has it, and which list."""
        listed = self.catalogue.formulary(self.region, day)
        if listed is None:
            return {"name": "", "ceiling": None, "listed": True, "list": ""}
        if listed.id not in self.known:
            rows = Drug.objects.filter(catalogue=listed.id).values_list("code", "name", "ceiling")
            self.known[listed.id] = {drug: (name, ceiling) for drug, name, ceiling in rows}
        name, ceiling = self.known[listed.id].get(code, ("", None))
        return {"name": name, "ceiling": ceiling, "listed": code in self.known[listed.id],
                "list": f"{listed.title}（{listed.version}）"}  # fmt: skip


def lay_kinds(rows: Sequence[Sequence[Any]], book: Book) -> None:
    """All that was charged, by institution and kind."""
    book.heading("收费构成")
    book.grid(
        "分机构、分类别收费", ["医疗机构", "类别", "笔数", "金额", "政策范围内"],
        [[place, KINDS.get(kind, "—"), f"{lines:,}", yuan(fee), yuan(scope)]
         for place, kind, lines, fee, scope in rows],
        align="llrrr", unit="金额单位：元", empty="报告期内没有收费。",
    )  # fmt: skip


def lay_drugs(figures: Mapping[str, Any], book: Book) -> None:
    """Drugs beside their ceilings."""
    book.heading("药品支付限价执行情况")
    lists = "、".join(figures["lists"])
    book.text(
        f"对照{lists}。"
        if lists
        else "本地区在报告期内没有已发布的药品目录，药品没有支付限价可以对照。"
    )
    book.grid(
        "分机构药品收费",
        ["医疗机构", "笔数", "金额", "有限价笔数", "目录外笔数", "超限价笔数", "超限价金额"],
        [[place, f"{lines:,}", yuan(fee), f"{limited:,}", f"{unlisted:,}", f"{capped:,}", yuan(over)]
         for place, lines, fee, limited, unlisted, capped, over in figures["places"]],
        align="lrrrrrr", unit="金额单位：元", empty="报告期内没有药品收费。",
    )  # fmt: skip
    shown = figures["above"][:MOST_ROWS]
    book.grid(
        "超支付限价的药品",
        ["医疗机构", "药品", "服务日期", "支付限价", "最低单价", "最高单价", "超限价笔数", "超限价金额"],
        [[row["place"], row["name"] or row["code"], _days(row), _unit(row["ceiling"]), _unit(row["least"]),
          _unit(row["most"]), f"{row['capped']:,}", yuan(row["over"])] for row in shown],
        align="llcrrrrr", unit="金额单位：元", empty="报告期内没有超过支付限价的药品。",
    )  # fmt: skip
    if len(figures["above"]) > MOST_ROWS:
        book.note(
            f"另有{len(figures['above']) - MOST_ROWS:,}种未列示，按超限价金额由高到低列前{MOST_ROWS:,}种。"
        )
    book.note(
        "超过支付限价的部分由参保人个人负担（丙2类）；限价按每计价单位，以服务当日有效的药品目录为准。"
    )


def _days(row: Mapping[str, Any]) -> str:
    return row["first"] if row["first"] == row["last"] else f"{row['first']} 至 {row['last']}"


def _unit(micro: int | None) -> str:
    """A price of a unit in yuan: two digits, more only where there are some."""
    if micro is None:
        return "—"
    whole, rest = divmod(micro, MICRO)
    return f"{whole:,}.{f'{rest:06}'.rstrip('0'):0<2}"
