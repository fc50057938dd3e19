"""基金运行分析: what was settled and paid, its structure, who received it, against the year before.

(温医保办〔2021〕6号 十八、二十四)
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from django.db.models import Sum

from audit.text import yuan
from institutions.models import User
from settlement import statements
from settlement.models import Statement
from supervision.reports.book import Book, change, month_labels, month_name
from supervision.reports.money import (
    AMOUNTS,
    PAYERS,
    TONES,
    each,
    part,
    plain,
    settlements,
    sums,
    table,
    totals,
)
from supervision.reports.wish import SCHEMES, Wish, named

SHOWN = 20  #: institutions in the table; the others are one row
CHAIN = ("declared", "deducted", "deposit", "set_off", "assessment", "payable")


def gather(wish: Wish, user: User) -> dict[str, Any]:
    """Net sums by month, scheme and institution; the statements of the months; the year before."""
    rows = settlements(wish, user)
    before = settlements(_year_before(wish), user)
    places = sums(rows, "institution_code")
    names = named({row["institution_code"] for row in places})
    return {
        "totals": totals(rows), "before": totals(before),
        "months": plain(sums(rows, "period"), "period"), "schemes": sums(rows, "scheme"),
        "institutions": [
            row | {"name": names.get(row["institution_code"], row["institution_code"])}
            for row in sorted(places, key=lambda r: (-r["fund"], r["institution_code"]))
        ],
        "chain": _chain(wish, user), "example": rows.filter(example=True).exists(),
    }  # fmt: skip


def _year_before(wish: Wish) -> Wish:
    def back(day: dt.date) -> dt.date:
        last = day.month == 2 and day.day == 29
        return day.replace(year=day.year - 1, day=28 if last else day.day)

    return replace(wish, since=back(wish.since), until=back(wish.until))


def _chain(wish: Wish, user: User) -> dict[str, Any]:
    """The statements of the months, from what was declared to what is paid."""
    rows = wish.within(statements.seen_by(user)).filter(**wish.months)
    found = rows.aggregate(**{name: Sum(name, default=0) for name in CHAIN})
    final = list(rows.filter(state__in=Statement.FINAL))
    paid = sum(statements.paid_of(final).values())
    return found | {"count": rows.count(), "final": len(final), "paid": paid}


def lay(figures: Mapping[str, Any], book: Book) -> None:
    """Four chapters with tables and pictures."""
    whole = figures["totals"]
    _overall(whole, figures["before"], book)
    _months(figures["months"], book)
    _structure(figures, book)
    _places(figures["institutions"], book)
    _payments(figures["chain"], book)


def _overall(whole: Mapping[str, Any], before: Mapping[str, Any], book: Book) -> None:
    book.heading("总体情况")
    net = whole["claims"] - whole["reversals"]
    book.text(
        f"报告期内共结算{whole['claims']:,}笔，冲正{whole['reversals']:,}笔，净结算{net:,}笔，"
        f"涉及参保人员{whole['persons']:,}人。费用总额{yuan(whole['fee'])}元，"
        f"其中政策范围内{yuan(whole['in_scope'])}元，占{part(whole['in_scope'], whole['fee'])}；"
        f"统筹基金支付{yuan(whole['fund'])}元，政策范围内支付比例"
        f"{part(whole['fund'], whole['in_scope'])}，次均费用{each(whole['fee'], net)}元。"
    )
    names = ("fee", "in_scope", "over_cap", "out_of_scope", "held", *PAYERS)
    book.grid(
        "主要指标及与上年同期比较", ["指标", "本期", "上年同期", "同比"],
        [["结算笔数（笔）", f"{whole['claims']:,}", f"{before['claims']:,}",
          change(whole["claims"], before["claims"])],
         ["参保人员（人）", f"{whole['persons']:,}", f"{before['persons']:,}",
          change(whole["persons"], before["persons"])],
         *([f"{AMOUNTS[name]}（元）", yuan(whole[name]), yuan(before[name]),
            change(whole[name], before[name])] for name in names)],
        align="lrrr",
    )  # fmt: skip
    book.note("金额为结算减冲正的净额，按入账月份统计；上年同期没有数据的，同比以“—”表示。")


def _months(months: list[Mapping[str, Any]], book: Book) -> None:
    book.heading("分月情况")
    labels = month_labels([row["period"] for row in months])
    if months and all(row["fee"] >= 0 and row["fund"] >= 0 for row in months):
        book.line(
            "费用总额与统筹基金支出（元）", labels,
            [{"label": "费用总额", "values": [row["fee"] for row in months], "tone": "f"},
             {"label": "统筹基金", "values": [row["fund"] for row in months], "tone": "fund"}],
            money=True,
        )  # fmt: skip
    table(book, "分月结算情况", "月份", [(month_name(row["period"]), row) for row in months])


def _structure(figures: Mapping[str, Any], book: Book) -> None:
    whole = figures["totals"]
    book.heading("费用结构")
    book.sub("费用由谁负担")
    if all(whole[name] >= 0 for name in PAYERS):
        book.donut(
            "费用负担构成（元）",
            [{"label": AMOUNTS[name], "value": whole[name], "tone": TONES[name]} for name in PAYERS],
            money=True, centre="合计",
        )  # fmt: skip
    book.sub("分险种")
    schemes = [(SCHEMES[row["scheme"]], row) for row in figures["schemes"]]
    table(book, "分险种结算情况", "险种", schemes)
    for label, row in schemes:
        book.text(
            f"{label}政策范围内支付比例{part(row['fund'], row['in_scope'])}，"
            f"次均费用{each(row['fee'], row['claims'] - row['reversals'])}元，"
            f"占全部统筹基金支出的{part(row['fund'], whole['fund'])}。"
        )


def _places(places: list[Mapping[str, Any]], book: Book) -> None:
    book.heading("机构情况")
    top = [row for row in places if row["fund"] > 0][:10]
    if top:
        book.ranking(
            "统筹基金支出前十位的医疗机构（元）",
            [{"label": row["name"], "value": row["fund"], "note": f"{row['claims']:,}笔"} for row in top],
            money=True,
        )  # fmt: skip
    shown = [(row["name"], row) for row in places[:SHOWN]]
    if rest := places[SHOWN:]:
        names = ("claims", *AMOUNTS)
        shown.append(
            (f"其余{len(rest)}家", {name: sum(row[name] for row in rest) for name in names})
        )
    table(book, "分机构结算情况", "医疗机构", shown)


def _payments(chain: Mapping[str, Any], book: Book) -> None:
    book.heading("月结与拨付")
    book.text(
        f"报告期内生成机构月结算单{chain['count']:,}张，其中已生效{chain['final']:,}张；"
        f"申报{yuan(chain['declared'])}元，审核扣款{yuan(chain['deducted'])}元，"
        f"应付{yuan(chain['payable'])}元，实付{yuan(chain['paid'])}元。"
    )
    signs = (
        ("申报金额", "declared", 1), ("审核扣款", "deducted", -1), ("质量保证金", "deposit", -1),
        ("预付款冲抵", "set_off", -1), ("考核扣减", "assessment", -1), ("应付金额", "payable", 1),
        ("实付金额", "paid", 1),
    )  # fmt: skip
    book.grid(
        "从申报到实付", ["项目", "金额"],
        [[label, yuan(sign * chain[name])] for label, name, sign in signs] if chain["count"] else [],
        align="lr", unit="金额单位：元",
    )  # fmt: skip
    book.note("应付金额另含特殊调整与上期结转；实付为银行拨付减退票，以总账为准。")
