"""评估: what an institution and a scheme did before and after a day, side by side (NT-17).

(通医保发〔2020〕25号 四（三）: 疫情结束后及时评估和总结)
"""

import datetime as dt
from collections.abc import Mapping
from typing import Any

from django.db.models import Count, Q, QuerySet

from audit.text import yuan
from institutions.models import User
from settlement.models import Settlement
from supervision.models import Finding
from supervision.reports.book import Book, change, day_name
from supervision.reports.money import added, each, part, sums, totals
from supervision.reports.wish import SCHEMES, Wish, named, rule_name, spans

ROWS = ("fee", "in_scope", "over_cap", "fund", "account", "cash")


def gather(wish: Wish, user: User) -> dict[str, Any]:
    """Sums by institution and scheme of the two spans; findings by behaviour and state."""
    day = wish.day or wish.until
    rows = wish.within(Settlement.objects.visible_to(user)).filter(
        spans("service_date", wish), period__gte=wish.since.replace(day=1)
    )
    sides = {
        "before": rows.filter(service_date__lt=day),
        "after": rows.filter(service_date__gte=day),
    }
    groups = {side: _groups(part_of) for side, part_of in sides.items()}
    keys = sorted(groups["before"].keys() | groups["after"].keys())
    names = named({code for code, _ in keys})
    return {
        "day": f"{day}", "days": {"before": (day - wish.since).days, "after": _days(day, wish.until)},
        "totals": {side: totals(part_of) for side, part_of in sides.items()},
        "groups": [
            {"code": code, "name": names.get(code, code), "scheme": scheme,
             **{side: groups[side].get((code, scheme)) or added(()) for side in sides}}
            for code, scheme in keys
        ],
        "findings": _findings(wish, user), "example": rows.filter(example=True).exists(),
    }  # fmt: skip


def _days(first: dt.date, last: dt.date) -> int:
    return (last - first).days + 1


def _groups(rows: QuerySet[Settlement]) -> dict[tuple[str, str], dict[str, Any]]:
    found = {}
    for row in sums(rows, "institution_code", "scheme"):
        key = (row.pop("institution_code"), row.pop("scheme"))
        found[key] = row
    return found


def _findings(wish: Wish, user: User) -> list[dict[str, Any]]:
    """By rule; one that was merged counts with the one it was merged into."""
    rows = wish.within(Finding.objects.visible_to(user)).filter(spans("first_day", wish))
    rows = rows.exclude(state=Finding.State.MERGED)
    counted = rows.order_by("rule").values("rule").annotate(
        found=Count("pk"), confirmed=Count("pk", filter=Q(state="confirmed")),
        refuted=Count("pk", filter=Q(state="refuted")),
    )  # fmt: skip
    return list(counted)


def lay(figures: Mapping[str, Any], book: Book) -> None:
    """The whole, by scheme, by institution, supervision, conclusion by figures."""
    day = day_name(figures["day"])
    _overall(figures, day, book)
    _schemes(figures["groups"], book)
    _places(figures["groups"], book)
    _watched(figures["findings"], book)


def _net(row: Mapping[str, Any]) -> int:
    return row["claims"] - row["reversals"]


def _overall(figures: Mapping[str, Any], day: str, book: Book) -> None:
    before, after = figures["totals"]["before"], figures["totals"]["after"]
    book.heading("总体对比")
    book.text(
        f"以{day}为界，前段{figures['days']['before']:,}日，后段{figures['days']['after']:,}日。"
        f"前段净结算{_net(before):,}笔、统筹基金支付{yuan(before['fund'])}元；"
        f"后段净结算{_net(after):,}笔、统筹基金支付{yuan(after['fund'])}元。"
    )
    lines = [
        ["净结算（笔）", f"{_net(before):,}", f"{_net(after):,}", change(_net(after), _net(before))],
        ["日均（笔）", _daily(before, figures["days"]["before"]),
         _daily(after, figures["days"]["after"]), "—"],
        ["参保人员（人）", f"{before['persons']:,}", f"{after['persons']:,}",
         change(after["persons"], before["persons"])],
        *([label, yuan(before[name]), yuan(after[name]), change(after[name], before[name])]
          for name, label in (("fee", "费用总额（元）"), ("in_scope", "政策范围内（元）"),
                              ("over_cap", "超标准自费（元）"), ("fund", "统筹基金（元）"),
                              ("account", "个人账户（元）"), ("cash", "个人现金（元）"))),
        ["次均费用（元）", each(before["fee"], _net(before)), each(after["fee"], _net(after)), "—"],
        ["范围内支付比例", part(before["fund"], before["in_scope"]),
         part(after["fund"], after["in_scope"]), "—"],
    ]  # fmt: skip
    book.grid("前后两段主要指标", ["指标", "前段", "后段", "变化"], lines, align="lrrr")
    book.note("按服务日期划分；金额为结算减冲正的净额。两段天数不同，规模类指标请结合日均判断。")


def _daily(row: Mapping[str, Any], days: int) -> str:
    """Claims a day with two digits, half up."""
    if days <= 0:
        return "—"
    hundredths = (_net(row) * 200 + days) // (2 * days)
    return f"{hundredths // 100:,}.{hundredths % 100:02d}"


def _schemes(groups: list[Mapping[str, Any]], book: Book) -> None:
    book.heading("分险种评估")
    present = [key for key in SCHEMES if any(row["scheme"] == key for row in groups)]
    sides = {
        side: [added(row[side] for row in groups if row["scheme"] == key) for key in present]
        for side in ("before", "after")
    }
    labels = [SCHEMES[key] for key in present]
    if present and all(row["fund"] >= 0 for rows in sides.values() for row in rows):
        book.bars(
            "分险种统筹基金支出（元）", labels,
            [{"label": "前段", "values": [row["fund"] for row in sides["before"]], "tone": "f"},
             {"label": "后段", "values": [row["fund"] for row in sides["after"]], "tone": "fund"}],
            money=True,
        )  # fmt: skip
    rows = [
        [label, side, f"{_net(row):,}", *(yuan(row[name]) for name in ("fee", "in_scope", "fund")),
         part(row["fund"], row["in_scope"])]
        for i, label in enumerate(labels)
        for side, row in (("前段", sides["before"][i]), ("后段", sides["after"][i]))
    ]  # fmt: skip
    book.grid("分险种前后对比", ["险种", "时段", "净结算笔数", "费用总额", "政策范围内", "统筹基金",
                          "范围内支付比例"], rows, align="lcrrrrr", unit="金额单位：元")  # fmt: skip


def _places(groups: list[Mapping[str, Any]], book: Book) -> None:
    book.heading("分机构评估")
    rows = [
        [row["name"], SCHEMES[row["scheme"]], f"{_net(row['before']):,}", f"{_net(row['after']):,}",
         yuan(row["before"]["fund"]), yuan(row["after"]["fund"]),
         change(row["after"]["fund"], row["before"]["fund"])]
        for row in groups
    ]  # fmt: skip
    book.grid("分机构、分险种前后对比", ["医疗机构", "险种", "前段笔数", "后段笔数", "前段统筹基金",
                                "后段统筹基金", "变化"], rows, align="lcrrrrr",
              unit="金额单位：元")  # fmt: skip


def _watched(findings: list[Mapping[str, Any]], book: Book) -> None:
    book.heading("监管情况")
    book.grid(
        "智能审核疑点", ["规则", "疑点", "查实", "排除", "待核查"],
        [[rule_name(row["rule"]), f"{row['found']:,}", f"{row['confirmed']:,}", f"{row['refuted']:,}",
          f"{row['found'] - row['confirmed'] - row['refuted']:,}"] for row in findings],
        align="xrrrr", unit="单位：条", empty="评估期内没有疑点记录。",
    )  # fmt: skip
