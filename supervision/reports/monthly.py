"""监管月报: what a region tells the one above of a month of supervision, from the figures of a version.

(通医保发〔2020〕25号 四（三）；温医保办〔2021〕6号 二十三、二十四、二十七、二十八)
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from audit import clock
from audit.procedure import PROCEDURES
from audit.text import yuan
from institutions.calendar import add_months
from institutions.models import User
from institutions.refusals import refused
from supervision import law
from supervision.models import (
    ConductFlag,
    InspectionTask,
    MonthlyReport,
    MonthlyVersion,
    PointEntry,
    Restriction,
    Review,
    SupervisionCase,
)
from supervision.monthly_counts import OFFLINE, ONLINE, Sheet, total
from supervision.reports.book import Book, day_name, month_name
from supervision.reports.wish import Wish, rule_name

CHANNELS = {ONLINE: "线上（“互联网+”）", OFFLINE: "线下"}
SOURCES = {"case": "监管案件", "review": "费用审核"}
#: what a line of figures by area shows: section, measure, word, whether it is money
BY_AREA = (
    ("volume", "fund", "统筹基金", True), ("findings", "found", "新增疑点", False),
    ("findings", "confirmed", "查实", False), ("cases", "opened", "立案", False),
    ("cases", "decided", "处理决定", False), ("recoveries", "amount", "追回金额", True),
    ("complaints", "received", "举报", False), ("deadlines", "late", "逾期办理", False),
)  # fmt: skip


def find(wish: Wish, user: User) -> MonthlyVersion:
    """The version of `number#version`, or the latest of a number, inside the reader's scope."""
    number, _, version = wish.subject.partition("#")
    found = MonthlyReport.objects.visible_to(user).filter(number=number).first()
    asked = version or (str(found.latest) if found else "")
    row = found.versions.filter(version=int(asked)).first() if found and asked.isdigit() else None
    if row is None:
        raise refused("subject", "SUBJECT", "没有此监管月报", "no such monthly report")
    return row


def about(wish: Wish, user: User) -> Wish:
    """The days of the month, the region that reports."""
    row = find(wish, user)
    month = row.report.month
    last = add_months(month, 1).toordinal() - 1
    return replace(
        wish, since=month, until=month.fromordinal(last), region=row.region_code, institution="",
        scheme="", subject=f"{row.report.number}#{row.version}",
    )  # fmt: skip


def gather(wish: Wish, user: User) -> dict[str, Any]:
    """The figures as they were counted when the version was made."""
    return figures_of(find(wish, user))


def figures_of(row: MonthlyVersion) -> dict[str, Any]:
    """What a version says, with its number and day."""
    return {
        **row.figures, "number": row.report.number, "version": row.version, "digest": row.digest,
        "made_at": f"{clock.local(row.made_at):%Y-%m-%d}",
    }  # fmt: skip


def lay(figures: Mapping[str, Any], book: Book) -> None:
    """Summary, money by channel, findings, reviews and inspections, cases, people, deadlines, areas."""
    sheet = figures["whole"]
    _summary(figures, sheet, book)
    _volume(sheet, book)
    _findings(sheet, book)
    _checks(sheet, book)
    _cases(sheet, book)
    _people(sheet, book)
    _deadlines(sheet, book)
    _areas(figures, book)


def _summary(figures: Mapping[str, Any], sheet: Sheet, book: Book) -> None:
    volume, findings, cases = sheet["volume"], sheet["findings"], sheet["cases"]
    book.heading("总体情况")
    book.text(
        f"{month_name(figures['month'])}，{figures['name']}共结算{total(volume, 'claims'):,}笔，统筹基金支付"
        f"{yuan(total(volume, 'fund'))}元，其中线上{volume[ONLINE]['claims']:,}笔、"
        f"{yuan(volume[ONLINE]['fund'])}元。新增疑点{total(findings, 'found'):,}条，"
        f"查实{total(findings, 'confirmed'):,}条；立案{total(cases, 'opened'):,}件，"
        f"作出处理决定{total(cases, 'decided'):,}件；追回基金"
        f"{yuan(total(sheet['recoveries'], 'amount'))}元；逾期办理"
        f"{total(sheet['deadlines'], 'late'):,}项。"
    )
    book.note(
        f"月报编号{figures['number']}，第{figures['version']}版，数据于{day_name(figures['made_at'])}取定。"
    )


def _volume(sheet: Sheet, book: Book) -> None:
    book.heading("结算与基金支付")
    names = ("fee", "in_scope", "fund", "account", "cash")
    rows = sheet["volume"]
    book.grid(
        "线上线下结算与支付", ["业务", "净结算笔数", "费用总额", "政策范围内", "统筹基金", "个人账户",
                          "个人现金"],
        [_line(CHANNELS[key], rows[key], names) for key in CHANNELS], align="lrrrrrr",
        unit="金额单位：元",
        foot=_line("合计", {n: total(rows, n) for n in ("claims", *names)}, names),
    )  # fmt: skip


def _line(label: str, row: Mapping[str, int], names: Sequence[str]) -> list[str]:
    return [label, f"{row['claims']:,}", *(yuan(row[name]) for name in names)]


def _findings(sheet: Sheet, book: Book) -> None:
    book.heading("审核疑点")
    names = ("found", "confirmed", "refuted", "merged", "open")
    rows = sheet["findings"]
    book.grid(
        "疑点按规则和核查结果", ["规则", "新增", "查实", "排除", "并案", "月末待核查", "查实涉及基金"],
        [[rule_name(key), *_counts(rows[key], names), yuan(rows[key]["fund"])]
         for key in sorted(rows)],
        align="lrrrrrr", unit="单位：条、元", empty="本月没有疑点。",
        foot=["合计", *(f"{total(rows, name):,}" for name in names), yuan(total(rows, "fund"))],
    )  # fmt: skip


def _counts(row: Mapping[str, int], names: Sequence[str]) -> list[str]:
    return [f"{row.get(name, 0):,}" for name in names]


def _checks(sheet: Sheet, book: Book) -> None:
    book.heading("费用审核与稽核检查")
    words = dict(Review.Source.choices)
    rows = sheet["reviews"]
    book.grid(
        "办结的费用审核", ["来源", "办结", "其中申诉", "审核费用", "核减"],
        [[words.get(key, key), *_counts(row, ("done", "objected")), yuan(row["fee"]),
          yuan(row["cut"])] for key, row in sorted(rows.items())],
        align="lrrrr", unit="单位：件、元",
    )  # fmt: skip
    results = dict(InspectionTask.Result.choices)
    book.grid(
        "稽核检查", ["结果", "机构次数"],
        [[results.get(key, key), f"{row['visited']:,}"]
         for key, row in sorted(sheet["inspections"].items())],
        align="lr", unit="单位：家次",
    )  # fmt: skip


def _cases(sheet: Sheet, book: Book) -> None:
    book.heading("案件、处理与追回")
    routes = {**dict(SupervisionCase.Route.choices), "": "途径未定"}
    book.grid(
        "案件按途径", ["途径", "立案", "处理决定", "办结", "认定损失"],
        [[routes.get(key, key), *_counts(row, ("opened", "decided", "closed")), yuan(row["loss"])]
         for key, row in sorted(sheet["cases"].items())],
        align="lrrrr", unit="单位：件、元",
    )  # fmt: skip
    states = PROCEDURES["case"].states
    book.grid(
        "月末案件所处环节", ["环节", "件数"],
        [[states[key].label if key in states else key, f"{row['cases']:,}"]
         for key, row in sheet["states"].items()],
        align="lr", unit="单位：件",
    )  # fmt: skip
    measures = law.measures()
    book.grid(
        "处理措施", ["措施", "决定", "决定金额", "执行", "执行金额"],
        [[measures[key].label if key in measures else key, f"{row['ordered']:,}",
          yuan(row["amount"]), f"{row['done']:,}", yuan(row["paid"])]
         for key, row in sorted(sheet["sanctions"].items())],
        align="lrrrr", unit="单位：项、元",
    )  # fmt: skip
    book.grid(
        "追回基金", ["来源", "件数", "金额"],
        [[SOURCES.get(key, key), f"{row['times']:,}", yuan(row["amount"])]
         for key, row in sorted(sheet["recoveries"].items())],
        align="lrr", unit="单位：件、元",
    )  # fmt: skip


def _people(sheet: Sheet, book: Book) -> None:
    book.heading("举报、记分与内控")
    row = sheet["complaints"]["all"]
    words = (("received", "受理登记"), ("answered", "答复"), ("proven", "查实"), ("unproven", "未查实"),
             ("declined", "不予受理"), ("late", "逾期答复"))  # fmt: skip
    book.facts([
        *((f"举报{label}（件）", f"{row[name]:,}") for name, label in words),
        ("查实金额（元）", yuan(row["recovered"])), ("批准奖励（元）", yuan(row["reward"])),
    ])  # fmt: skip
    kinds = {**dict(PointEntry.Kind.choices), **dict(Restriction.Kind.choices)}
    book.grid(
        "记分、修复与暂停", ["事项", "人次", "分值"],
        [[kinds.get(key, key), f"{found['entries']:,}",
          f"{found['points']:,}" if "points" in found else "—"]
         for key, found in sorted(sheet["points"].items())],
        align="lrr", unit="单位：人次、分",
    )  # fmt: skip
    flags = dict(ConductFlag.Kind.choices)
    book.grid(
        "内控发现", ["类别", "发现", "移交处理"],
        [[flags.get(key, key), f"{found['found']:,}", f"{found['referred']:,}"]
         for key, found in sorted(sheet["conduct"].items())],
        align="lrr", unit="单位：项",
    )  # fmt: skip


def _deadlines(sheet: Sheet, book: Book) -> None:
    book.heading("办理时限")
    rows = sheet["deadlines"]
    book.grid(
        "按期与逾期办理", ["程序", "有期限的办理", "逾期"],
        [[PROCEDURES[key].title if key in PROCEDURES else key, *_counts(row, ("due", "late"))]
         for key, row in sorted(rows.items())],
        align="lrr", unit="单位：项", empty="本月没有带期限的办理。",
        foot=["合计", f"{total(rows, 'due'):,}", f"{total(rows, 'late'):,}"],
    )  # fmt: skip


def by_area(figures: Mapping[str, Any]) -> list[tuple[str, str, list[int]]]:
    """(name, report number, key figures) of every area of a report, what it counted itself last."""
    rows = [(area["name"], area["number"], key_figures(area["sheet"])) for area in figures["areas"]]
    own = f"{figures['name']}（本级统计）" if rows else figures["name"]
    return [*rows, (own, "", key_figures(figures["direct"]))]


def key_figures(sheet: Sheet) -> list[int]:
    """The figures of a sheet that a line by area shows."""
    return [total(sheet.get(section, {}), measure) for section, measure, _, _ in BY_AREA]


def _areas(figures: Mapping[str, Any], book: Book) -> None:
    if not figures["areas"] and not figures["missing"]:
        return
    book.heading("分地区情况")
    rows = by_area(figures)
    book.grid(
        "分地区主要指标", ["地区", "月报文号", *(word for _, _, word, _ in BY_AREA)],
        [[name, number or "—", *figure_texts(numbers)] for name, number, numbers in rows],
        align="lx" + "r" * len(BY_AREA), unit="金额单位：元",
        foot=["合计", "", *figure_texts([sum(column) for column in
                                       zip(*(numbers for _, _, numbers in rows), strict=True)])],
    )  # fmt: skip
    book.note("已接收下级月报的地区取月报数，其余由本级直接统计，每一笔只计一次。")
    if figures["missing"]:
        book.text(f"尚未接收月报的下级：{'、'.join(figures['missing'])}，其数据列入本级统计。")


def figure_texts(numbers: Sequence[int]) -> list[str]:
    """The key figures of an area as text."""
    return [
        yuan(number) if money else f"{number:,}"
        for number, (_, _, _, money) in zip(numbers, BY_AREA, strict=True)
    ]
