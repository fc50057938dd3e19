"""定点医疗机构年度档案: register, agreements, work, statements, deductions, assessment, findings.

(温医保办〔2021〕6号 二十一、二十二、二十四)
"""

from collections.abc import Mapping
from typing import Any

from django.db.models import Count, Sum

from agreements.models import Assessment
from audit.procedure import PROCEDURES
from audit.text import rate, yuan
from institutions.models import (
    Institution,
    InstitutionFacts,
    PaymentFreeze,
    PhysicianTitle,
    Qualification,
    User,
)
from settlement import statements
from settlement.models import Deduction, Statement
from supervision.models import Finding
from supervision.reports import agreements
from supervision.reports.book import Book, day_name, month_labels, month_name
from supervision.reports.money import each, part, plain, settlements, sums, table, totals
from supervision.reports.wish import SCHEMES, Wish, rule_name, spans

CLASSES = {"1": "一类", "2": "二类", "3": "三类"}
STATEMENT = ("declared", "deducted", "deposit", "set_off", "assessment", "payable")
FINDING_STATES = dict(Finding.State.choices)


def gather(wish: Wish, user: User) -> dict[str, Any]:
    """What is known of one institution on the last day, and what happened in the span."""
    place = wish.institutions(user).select_related("region", "parent").get()
    rows = settlements(wish, user)
    filed = agreements.gather(wish, user)
    return {
        "identity": _identity(place, wish), "qualifications": _qualifications(place, wish),
        "physicians": _physicians(place, wish), "agreements": filed["agreements"],
        "applications": filed["applications"], "moves": filed["moves"],
        "totals": totals(rows), "months": plain(sums(rows, "period"), "period"),
        "schemes": sums(rows, "scheme"), "statements": _statements(wish, user),
        "deductions": _deductions(wish, user), "findings": _findings(place, wish, user),
        "assessments": _assessments(place, wish), "freezes": _freezes(place, wish),
        "example": rows.filter(example=True).exists(),
    }  # fmt: skip


def _identity(place: Institution, wish: Wish) -> dict[str, Any]:
    facts = (
        InstitutionFacts.objects.known().in_force(on=wish.until).filter(institution=place).first()
    )
    found: dict[str, Any] = {
        "code": place.pk, "name": place.name, "internet": place.internet_hospital_name,
        "region": place.region.name, "credit_code": place.credit_code, "tier": place.tier,
        "parent": place.parent.name if place.parent else "",
    }  # fmt: skip
    if facts is None:
        return found
    return found | {
        "class": facts.price_class, "grade": facts.hospital_grade, "address": facts.address,
        "ownership": facts.get_ownership_display(), "nonprofit": facts.nonprofit,
        "filed_on": f"{facts.filed_on or ''}", "online": facts.online_settlement,
    }  # fmt: skip


def _qualifications(place: Institution, wish: Wish) -> list[dict[str, Any]]:
    rows = Qualification.objects.known().in_force(on=wish.until).filter(institution=place)
    return [
        {"kind": row.get_kind_display(), "number": row.number, "from": f"{row.valid_from}",
         "until": f"{row.valid_until or ''}", "checked": row.checked_at is not None}
        for row in rows.order_by("kind", "number")
    ]  # fmt: skip


def _physicians(place: Institution, wish: Wish) -> list[dict[str, Any]]:
    rows = PhysicianTitle.objects.in_force(on=wish.until).filter(physician__institution=place)
    return list(
        rows.order_by("title").values("title").annotate(number=Count("physician", distinct=True))
    )


def _statements(wish: Wish, user: User) -> list[dict[str, Any]]:
    rows = list(
        wish.within(statements.seen_by(user)).filter(**wish.months).order_by("period", "scheme")
    )
    paid = statements.paid_of(rows)
    labels = PROCEDURES["statement"].states
    return [
        {"number": row.number, "period": f"{row.period:%Y-%m}", "scheme": row.scheme,
         "state": labels[row.state].label, "final": row.state in Statement.FINAL,
         "paid": paid.get(row.pk, 0), **{name: getattr(row, name) for name in STATEMENT}}
        for row in rows
    ]  # fmt: skip


def _deductions(wish: Wish, user: User) -> list[dict[str, Any]]:
    rows = wish.within(Deduction.objects.visible_to(user)).exclude(state="withdrawn")
    rows = rows.filter(
        statement__period__gte=wish.since.replace(day=1), statement__period__lte=wish.until
    )
    words = dict(Deduction.Reason.choices)
    counted = rows.order_by("reason").values("reason").annotate(
        number=Count("pk"), sum=Sum("amount")
    )  # fmt: skip
    return [
        {"reason": words[row["reason"]], "number": row["number"], "amount": row["sum"]}
        for row in counted
    ]


def _findings(place: Institution, wish: Wish, user: User) -> list[dict[str, Any]]:
    """By rule and state; of a finding over several institutions this one's share."""
    rows = wish.within(Finding.objects.visible_to(user)).filter(spans("first_day", wish))
    found: dict[tuple[str, str], list[int]] = {}
    for row in rows.order_by("rule", "state"):
        mine = found.setdefault((row.rule, row.state), [0, 0])
        mine[0] += 1
        mine[1] += row.share_of(place.pk)[2]
    return [
        {"rule": rule, "state": state, "number": number, "fund": fund}
        for (rule, state), (number, fund) in found.items()
    ]


def _assessments(place: Institution, wish: Wish) -> list[dict[str, Any]]:
    rows = Assessment.objects.filter(
        institution=place, superseded_at__isnull=True, year__gte=wish.since.year - 1,
        year__lte=wish.until.year,
    ).order_by("year")  # fmt: skip
    return [
        {"year": row.year, "total": row.total, "coefficient": row.coefficient,
         "renewal": row.renewal, "example": row.example} for row in rows
    ]  # fmt: skip


def _freezes(place: Institution, wish: Wish) -> list[dict[str, Any]]:
    rows = PaymentFreeze.objects.filter(institution=place, valid_from__lte=wish.until)
    return [
        {"from": f"{row.valid_from}", "until": f"{row.valid_until or ''}", "reason": row.reason}
        for row in rows.order_by("valid_from")
        if row.valid_until is None or row.valid_until >= wish.since
    ]


def lay(figures: Mapping[str, Any], book: Book) -> None:
    """Seven chapters."""
    _basics(figures, book)
    _contracts(figures, book)
    _work(figures, book)
    _month_ends(figures, book)
    _deducted(figures["deductions"], book)
    _assessed(figures, book)
    _found(figures["findings"], book)


def _basics(figures: Mapping[str, Any], book: Book) -> None:
    who = figures["identity"]
    book.heading("基本情况")
    book.facts([
        ("机构名称", who["name"]), ("医保编码", who["code"]), ("互联网医院", who["internet"]),
        ("统一社会信用代码", who["credit_code"]), ("所在区域", who["region"]),
        ("实体医疗机构", who["parent"]), ("价格类别", CLASSES.get(who.get("class", ""), "")),
        ("医院等级", who.get("grade", "")), ("所有制", who.get("ownership", "")),
        ("经营性质", {True: "非营利", False: "营利"}.get(who.get("nonprofit"), "")),
        ("地址", who.get("address", "")), ("备案日", who.get("filed_on", "")),
        ("联网结算", {True: "可联网结算", False: "手工报销渠道"}.get(who.get("online"), "")),
    ])  # fmt: skip
    book.grid(
        "资质证照", ["资质", "证照编号", "有效期起", "有效期止", "核验"],
        [[row["kind"], row["number"], row["from"], row["until"] or "长期",
          "已核验" if row["checked"] else "未核验"] for row in figures["qualifications"]],
        align="lxccc",
    )  # fmt: skip
    staff = sum(row["number"] for row in figures["physicians"])
    book.text(f"报告期末登记职称的医师药师共{staff:,}人次。")


def _contracts(figures: Mapping[str, Any], book: Book) -> None:
    book.heading("协议与办理")
    book.grid(
        "报告期末协议", ["协议", "协议编号", "状态", "状态起始日", "到期日"],
        [[agreements.KINDS[row["kind"]], row["number"], agreements.STATES[row["state"]],
          row["since"], row["until"] or "—"] for row in figures["agreements"]],
        align="lxccc",
    )  # fmt: skip
    timed = [row for row in figures["moves"] if row["on_time"] is not None]
    late = [row for row in timed if not row["on_time"]]
    book.text(
        f"报告期内在办申请{len(figures['applications']):,}件，有期限的环节{len(timed):,}次，"
        f"逾期{len(late):,}次。"
    )
    for row in figures["freezes"]:
        until = f"至{day_name(row['until'])}" if row["until"] else "起"
        book.text(f"暂停拨付：{day_name(row['from'])}{until}，{row['reason']}。")


def _work(figures: Mapping[str, Any], book: Book) -> None:
    whole, months = figures["totals"], figures["months"]
    net = whole["claims"] - whole["reversals"]
    book.heading("业务与费用")
    book.text(
        f"报告期内净结算{net:,}笔，涉及参保人员{whole['persons']:,}人，费用总额{yuan(whole['fee'])}元，"
        f"统筹基金支付{yuan(whole['fund'])}元，政策范围内支付比例"
        f"{part(whole['fund'], whole['in_scope'])}，次均费用{each(whole['fee'], net)}元。"
    )
    if months and all(row["fee"] >= 0 and row["fund"] >= 0 for row in months):
        book.bars(
            "分月费用总额与统筹基金（元）", month_labels([row["period"] for row in months]),
            [{"label": "费用总额", "values": [row["fee"] for row in months], "tone": "f"},
             {"label": "统筹基金", "values": [row["fund"] for row in months], "tone": "fund"}],
            money=True,
        )  # fmt: skip
    table(book, "分月结算情况", "月份", [(month_name(row["period"]), row) for row in months])
    table(
        book,
        "分险种结算情况",
        "险种",
        [(SCHEMES[row["scheme"]], row) for row in figures["schemes"]],
    )


def _month_ends(figures: Mapping[str, Any], book: Book) -> None:
    rows = figures["statements"]
    book.heading("月结与拨付")
    names = (*STATEMENT, "paid")
    book.grid(
        "机构月结算单",
        ["结算期", "险种", "申报", "扣款", "保证金", "预付冲抵", "考核扣减", "应付", "实付", "状态"],
        [[row["period"], SCHEMES[row["scheme"]], *(yuan(row[name]) for name in names), row["state"]]
         for row in rows],
        align="ccrrrrrrrc", unit="金额单位：元",
        foot=["合计", "", *(yuan(sum(row[name] for row in rows)) for name in names), ""] if rows else (),
    )  # fmt: skip


def _deducted(rows: list[Mapping[str, Any]], book: Book) -> None:
    book.heading("审核扣款")
    book.grid(
        "按类别的审核扣款", ["类别", "笔数", "金额"],
        [[row["reason"], f"{row['number']:,}", yuan(row["amount"])] for row in rows],
        align="lrr", unit="金额单位：元",
        foot=["合计", f"{sum(row['number'] for row in rows):,}",
              yuan(sum(row["amount"] for row in rows))] if rows else (),
        empty="报告期内没有审核扣款。",
    )  # fmt: skip


def _assessed(figures: Mapping[str, Any], book: Book) -> None:
    book.heading("年度考核")
    book.grid(
        "年度考核结果", ["年度", "得分", "支付系数", "续签建议", "备注"],
        [[str(row["year"]), f"{row['total'] / 100:g}", rate(row["coefficient"]), row["renewal"],
          "示例参数" if row["example"] else ""] for row in figures["assessments"]],
        align="crrcc", empty="尚无考核结果。",
    )  # fmt: skip


def _found(rows: list[Mapping[str, Any]], book: Book) -> None:
    book.heading("监管疑点")
    book.grid(
        "智能审核疑点", ["规则", "状态", "条数", "涉及统筹基金"],
        [[rule_name(row["rule"]), FINDING_STATES[row["state"]],
          f"{row['number']:,}", yuan(row["fund"])] for row in rows],
        align="xcrr", unit="金额单位：元", empty="报告期内没有疑点记录。",
    )  # fmt: skip
