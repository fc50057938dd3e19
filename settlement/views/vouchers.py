"""记账凭证: list, one voucher with its legs and 大写金额, its paper, export."""

from typing import Any
from urllib.parse import quote

from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.http import require_GET

from audit import clock, pdf, sheets, trail
from audit.access import requires
from audit.tables import Action, Cell, Column, Pages, Row, Table
from audit.text import yuan
from audit.words import subject as subject_words
from institutions.access import PortalRequest
from institutions.models import Institution, Office, Region
from institutions.naming import Login, named, shown_names
from settlement import bank_files, export, payments
from settlement.adjustments import classes_of
from settlement.capitals import capitals
from settlement.detail import moment
from settlement.looks import exported
from settlement.models import Adjustment, Leg, Reimbursement, Statement, Voucher
from settlement.payment_forms import VoucherFilter
from settlement.regional_transfers import SIDES
from settlement.views.payments import CRUMBS, tabs

SIZES = (20, 50, 100)
#: kinds whose paper is a 支付凭证: money leaves or comes back to the bank
PAID = (Voucher.Kind.PAYMENT, Voucher.Kind.REIMBURSEMENT, Voucher.Kind.BANK_RETURN,
        Voucher.Kind.REFUND, Voucher.Kind.ADVANCE, Voucher.Kind.REGIONAL_PAID)  # fmt: skip
HEAD = ("凭证号", "会计期间", "类别", "所属事项", "机构编码", "险种", "借方科目", "贷方科目", "金额（元）",
        "大写金额", "摘要", "依据", "制单", "复核", "入账时间", "冲销的凭证")  # fmt: skip
Sides = dict[int, list[tuple[str, int]]]
#: subject → (words, address)
Matters = dict[str, tuple[str, str]]


@requires("payments.view")
@require_GET
def listed(request: PortalRequest) -> HttpResponse:
    """Vouchers of the reader's scope, newest first; by month, kind, institution, matter."""
    found = VoucherFilter(request.GET, queryset=_rows(request), request=request)
    asked = request.GET.get("size", "")
    size = int(asked) if asked in map(str, SIZES) else SIZES[0]
    page = Paginator(found.qs, size).get_page(request.GET.get("page"))
    rows = list(page)
    names = dict(
        Institution.objects.filter(pk__in={row.institution_code for row in rows})
        .values_list("pk", "name")
    )  # fmt: skip
    matters = _matters({row.subject for row in rows})
    query = request.GET.urlencode()
    return render(request, "settlement/payments.html", named({
        "breadcrumbs": [*CRUMBS, {"label": "记账凭证", "url": ""}], "tabs": tabs("vouchers"),
        "title": "记账凭证", "form": found.form, "target": "vouchers",
        "table": Table(
            id="vouchers", caption="记账凭证",
            columns=[Column(label="凭证号"), Column(label="类别"), Column(label="所属事项"),
                     Column(label="医疗机构", wide=True), Column(label="金额（元）", numeric=True),
                     Column(label="摘要", wide=True), Column(label="制单 / 复核")],
            rows=[_row(row, names, matters) for row in rows],
            pages=Pages(total=page.paginator.count, size=size, page=page.number, sizes=SIZES),
            toolbar=[Action(label="导出 CSV", icon="arrow-down-tray",
                            url=f"{reverse('vouchers-csv')}?{query}")],
            empty_title="没有记账凭证",
        ),
    }))  # fmt: skip


def _rows(request: PortalRequest) -> QuerySet[Voucher]:
    return Voucher.objects.visible_to(request.user).order_by("-pk")


def _row(row: Voucher, names: dict[str, str], matters: Matters) -> Row:
    address = reverse("voucher", args=[row.pk])
    matter, place = matters[row.subject]
    return Row(
        key=str(row.pk), label=row.number,
        cells=[
            Cell(text=row.number, url=address, code=True, sub=moment(row.posted_at)[:16]),
            Cell(text=row.get_kind_display(), sub="红字" if row.reverses_id else ""),
            Cell(text=matter, url=place),
            Cell(text=names.get(row.institution_code, "—"), sub=row.institution_code),
            Cell(text=yuan(-row.amount if row.reverses_id else row.amount)),
            Cell(text=row.reason or "—", sub=row.clause),
            Cell(text=Login(row.posted_by), sub=Login(row.approved_by)),
        ],
        actions=[Action(label="查看", url=address)],
    )  # fmt: skip


@requires("payments.view")
@require_GET
def one(request: PortalRequest, pk: int) -> HttpResponse:
    """A voucher: legs with account names, 大写金额, who made and who checked it, its reversal."""
    row = _visible(request, pk)
    return render(request, "settlement/voucher.html", named({
        "breadcrumbs": [*CRUMBS, {"label": "记账凭证", "url": reverse("vouchers")},
                        {"label": row.number, "url": ""}],
        "voucher": row, "legs": _legs(row), "capitals": _capitals(row), "facts": _facts(row),
        "amount": yuan(row.amount), "reversal": _linked(row),
        "detail": [{"label": DETAILS.get(key, key), "value": _told(row, key, value)}
                   for key, value in row.detail.items() if value not in ("", None, [], {})],
    }))  # fmt: skip


def _told(row: Voucher, key: str, value: Any) -> str:
    """A detail in words: what an adjustment concerns and by which class it is called."""
    if key == "of":
        return dict(Adjustment.Subject.choices).get(value, str(value))
    if key == "class":
        pool = Region.objects.get(pk=row.region_code).policy_region
        found = classes_of(pool, clock.local(row.posted_at).date()).get(value)
        return found.name if found else str(value)
    if key == "step":
        return STEPS.get(value, str(value))
    if key == "side":
        return SIDES.get(value, str(value))
    if isinstance(value, bool):
        return "是" if value else "否"
    return str(value)


def _matters(subjects: set[str]) -> Matters:
    """What vouchers are about, as people call it, and where that stands."""
    keys: dict[str, set[str]] = {}
    for text in subjects:
        kind, _, key = text.partition(":")
        keys.setdefault(kind, set()).add(key)
    requests = Reimbursement.objects.filter(pk__in=_numbers(keys.get("reimbursement", set())))
    statements = Statement.objects.filter(pk__in=_numbers(keys.get("statement", set())))
    adjustments = Adjustment.objects.filter(number__in=keys.get("adjustment", set()))
    told = {f"reimbursement:{row.pk}": (f"手工报销 {row.number}", reverse("reimbursement", args=[row.pk]))
            for row in requests}  # fmt: skip
    told |= {
        f"statement:{row.pk}": (f"{row.period:%Y年%m月}结算单 {row.get_scheme_display()}",
                                reverse("statement", args=[row.pk]))
        for row in statements
    }  # fmt: skip
    told |= {f"adjustment:{row.number}": (f"特殊调整 {row.number}", reverse("adjustment", args=[row.pk]))
             for row in adjustments}  # fmt: skip
    return {
        text: told.get(text, (subject_words(text), payments.place_of(text))) for text in subjects
    }


def _numbers(keys: set[str]) -> list[int]:
    return [int(key) for key in keys if key.isascii() and key.isdigit()]


DETAILS = {"order": "支付指令", "list": "拨付清单", "serial": "银行流水号", "account": "收款账户",
           "bank": "开户行", "refund": "退款单", "way": "途径", "claim": "单据编号",
           "version": "结算版本", "claim_no": "单据号", "institution": "就医机构",
           "treating": "就医地", "side": "往来方向", "other": "对方统筹区",
           "of": "调整对象", "class": "事由类别",
           "period": "结算期", "step": "结算单项目", "example": "示例参数", "year": "年度"}  # fmt: skip
#: columns of a statement that a voucher posts
STEPS = {"deducted": "审核扣款", "deposit": "质量保证金", "set_off": "预付冲抵", "assessment": "考核扣减",
         "declared": "申报", "adjustments": "特殊调整", "carried": "上期结转"}  # fmt: skip


def _visible(request: PortalRequest, pk: int) -> Voucher:
    """A voucher inside the user's scope; any other does not exist."""
    rows = Voucher.objects.visible_to(request.user).select_related("reverses", "reversed_by")
    return get_object_or_404(rows, pk=pk if pk < 2**63 else 0)


def _capitals(row: Voucher) -> str:
    return capitals(-row.amount if row.reverses_id else row.amount)


def _legs(row: Voucher) -> list[dict[str, str]]:
    """Debits first. A reversal (红字) is the legs of the voucher before with the other sign."""
    legs = Leg.objects.filter(claim_id=row.pk, period=row.period).order_by("account")
    return [
        {"account": leg.get_account_display(), "no": f"{leg.account:02d}",
         "debit": yuan(leg.amount) if leg.amount > 0 else "",
         "credit": yuan(-leg.amount) if leg.amount < 0 else ""}
        for leg in sorted(legs, key=lambda leg: (leg.amount < 0, leg.account))
    ]  # fmt: skip


def _facts(row: Voucher) -> list[dict[str, Any]]:
    institution = Institution.objects.filter(pk=row.institution_code).first()
    matter, place = _matters({row.subject})[row.subject]
    return [
        {"label": "凭证号", "value": row.number, "code": True},
        {"label": "会计期间", "value": f"{row.period:%Y年%m月}"},
        {"label": "类别", "value": row.get_kind_display()},
        {"label": "所属事项", "value": matter, "url": place},
        {"label": "医疗机构", "value": str(institution or ""), "sub": row.institution_code},
        {"label": "险种", "value": row.get_scheme_display()},
        {"label": "摘要", "value": row.reason}, {"label": "依据", "value": row.clause},
        {"label": "制单", "value": Login(row.posted_by), "sub": moment(row.posted_at)},
        {"label": "复核", "value": Login(row.approved_by)},
    ]  # fmt: skip


def _linked(row: Voucher) -> dict[str, str] | None:
    """The voucher that this one reverses, or that reverses it."""
    if row.reverses is not None:
        return {"label": "本凭证冲销", "number": row.reverses.number,
                "url": reverse("voucher", args=[row.reverses.pk])}  # fmt: skip
    back = Voucher.objects.filter(reverses=row).first()
    if back is None:
        return None
    return {"label": "已被冲销", "number": back.number, "url": reverse("voucher", args=[back.pk])}


@requires("payments.view")
@require_GET
def paper(request: PortalRequest, pk: int) -> HttpResponse:
    """A voucher in the shape of a 记账凭证 or 支付凭证, under the checkpoint of the day it is printed."""
    row, at = _visible(request, pk), clock.now()
    office = Office.objects.filter(region=row.region_code, kind=Office.Kind.AGENCY).first()
    region = Region.objects.get(pk=row.region_code)
    institution = Institution.objects.filter(pk=row.institution_code).first()
    title = "支付凭证" if row.kind in PAID else "记账凭证"
    linked, people = _linked(row), shown_names({row.posted_by, row.approved_by})
    content = pdf.render("reports/voucher.html", {
        "title": title, "voucher": row, "legs": _legs(row), "capitals": _capitals(row),
        "amount": yuan(row.amount), "issuer": office.name if office else f"{region.name}医疗保险服务经办机构",
        "institution": institution, "kind": row.get_kind_display(), "scheme": row.get_scheme_display(),
        "subject": _matters({row.subject})[row.subject][0], "linked": linked, "red": bool(row.reverses_id),
        "people": [people[row.posted_by], people[row.approved_by]],
        "posted": moment(row.posted_at)[:16], "period": f"{row.period:%Y年%m月}",
        "payee": row.detail.get("account", ""), "bank": row.detail.get("bank", ""),
        "serial": row.detail.get("serial", ""),
        "demo": bool(institution and institution.is_demo),
    }, identifier=pdf.identifier_of("voucher", row.number, at.isoformat()), at=at, attachments=[
        pdf.json_attachment("voucher.json", {
            "number": row.number, "kind": row.kind, "effect": row.effect, "subject": row.subject,
            "legs": _legs(row), "amount_fen": row.amount, "reason": row.reason, "clause": row.clause,
            "posted_by": row.posted_by, "approved_by": row.approved_by,
        }, f"{row.number} 的数据")])  # fmt: skip
    trail.record(
        by=request.user.username, at=at, action="voucher.paper", subject=f"voucher:{row.pk}",
        region_code=row.region_code, institution_code=row.institution_code,
        detail={"number": row.number},
    )  # fmt: skip
    answer = HttpResponse(content, content_type="application/pdf")
    answer["Content-Disposition"] = f"inline; filename*=UTF-8''{quote(row.number)}.pdf"
    return answer


@requires("payments.view")
@require_GET
def export_csv(request: PortalRequest) -> StreamingHttpResponse:
    """The present query as CSV with accounts and 大写金额."""
    found = VoucherFilter(request.GET, queryset=_rows(request), request=request)
    rows = list(found.qs.select_related("reverses")[: export.ROWS_MOST + 1])
    sides, matters = _sides(rows), _matters({row.subject for row in rows})
    people = shown_names({name for row in rows for name in (row.posted_by, row.approved_by)})
    lines = [_line(row, sides.get(row.pk, []), matters[row.subject][0], people) for row in rows]
    exported(user=request.user, at=clock.now(), action="voucher.export", subject="voucher:",
             query=request.GET.urlencode(), rows=min(len(rows), export.ROWS_MOST))  # fmt: skip
    return StreamingHttpResponse(
        sheets.csv_lines(HEAD, export.bounded(lines)), content_type=sheets.CSV,
        headers={"Content-Disposition": 'attachment; filename="vouchers.csv"'},
    )  # fmt: skip


def _sides(rows: list[Voucher]) -> Sides:
    """Voucher → (account, fen) of its legs."""
    found: Sides = {}
    periods = {row.period for row in rows}
    legs = Leg.objects.filter(claim_id__in=[row.pk for row in rows], period__in=periods)
    for leg in legs.order_by("account"):
        found.setdefault(leg.claim_id, []).append((leg.get_account_display(), leg.amount))
    return found


def _line(
    row: Voucher, sides: list[tuple[str, int]], matter: str, people: dict[str, str]
) -> tuple[str, ...]:
    debit = "、".join(f"{name} {bank_files.yuan(fen)}" for name, fen in sides if fen > 0)
    credit = "、".join(f"{name} {bank_files.yuan(-fen)}" for name, fen in sides if fen < 0)
    return (
        row.number, f"{row.period:%Y-%m}", row.get_kind_display(), matter, row.institution_code,
        row.get_scheme_display(), debit, credit, bank_files.yuan(row.amount), _capitals(row),
        row.reason, row.clause, people[row.posted_by], people[row.approved_by], moment(row.posted_at),
        row.reverses.number if row.reverses else "",
    )  # fmt: skip
