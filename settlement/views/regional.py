"""异地清算: what regions owe each other by month, and the money that clears it."""

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Q, QuerySet
from django.forms import Form
from django.http import HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from audit import clock, sheets
from audit.access import requires
from audit.tables import Action, Cell, Column, Row, Table
from audit.text import yuan
from institutions.access import PortalRequest
from institutions.handbook import words_of
from institutions.models import Region, User
from institutions.money import yuan as plain_yuan
from institutions.naming import Login, Told, named
from institutions.refusals import Refusal
from settlement import payments, regional_transfers
from settlement.looks import exported
from settlement.models import RegionalTransfer
from settlement.payment_forms import ReasonForm, ReceiptForm, TransferForm
from settlement.regional_transfers import HELD, OWED, SIDES, Line
from settlement.views.payments import CRUMBS, TONES, tabs

PAGE = 50
HEAD = ("统筹区", "对方统筹区", "方向", "月份", "发生额（元）", "已清算（元）", "期末余额（元）")
AGREE = [{"value": "agree", "label": "同意冲销", "tone": "danger"},
         {"value": "refuse", "label": "不同意", "tone": ""}]  # fmt: skip
DECIDE = [{"value": "post", "label": "已到账，入账", "tone": "primary"},
          {"value": "refuse", "label": "退回", "tone": ""}]  # fmt: skip


@requires("payments.view")
@require_http_methods(["GET", "POST"])
def listed(request: PortalRequest) -> HttpResponse:
    """The books of the reader's regions; whoever owes registers what was paid here."""
    lines, names = _book(request.user), _names()
    form = _form(request, lines, names)
    if request.method == "POST":
        if form is None:
            raise PermissionDenied(payments.PREPARE)
        if form.is_valid() and _tried(request, lambda: regional_transfers.record(
            payer=regional_transfers.pool_of(request.user), by=request.user.username,
            at=clock.now(), **form.cleaned_data)):  # fmt: skip
            messages.success(request, "已登记，待收款统筹区核对到账。")
            return redirect("regional")
    transfers = list(_transfers(request.user)[:PAGE])
    return render(request, "settlement/regional.html", named({
        "breadcrumbs": [*CRUMBS, {"label": "异地清算", "url": ""}], "tabs": tabs("regional"),
        "form": form, "stats": _stats(lines), "table": _table(lines, names),
        "acts": [*_acts(request.user, transfers, names),
                 *_undoing(request.user, transfers, names, request.GET.get("undo", ""))],
        "transfers": _sent(request.user, transfers, names),
    }), status=422 if request.method == "POST" else 200)  # fmt: skip


@requires("payments.approve")
@require_POST
def decide(request: PortalRequest, pk: int) -> HttpResponse:
    """A person of the region that was paid says that the money came in, or not."""
    row = get_object_or_404(_transfers(request.user), pk=pk if pk < 2**63 else 0)
    accept = request.POST.get("decision_is") == "post"
    if _tried(request, lambda: regional_transfers.decide(
        transfer=row, accept=accept, reason=request.POST.get("reason", ""), who=request.user,
        at=clock.now())):  # fmt: skip
        messages.success(request, "已入账，两地往来同时清减。" if accept else "已退回。")
    return redirect("regional")


@requires(payments.PREPARE)
@require_POST
def ask_reversal(request: PortalRequest, pk: int) -> HttpResponse:
    """A person of either region asks that a posted transfer be reversed."""
    row = get_object_or_404(_transfers(request.user), pk=pk if pk < 2**63 else 0)
    if _tried(request, lambda: regional_transfers.ask_reversal(
        transfer=row, reason=request.POST.get("reason", ""), who=request.user, at=clock.now())):  # fmt: skip
        messages.success(request, "已申请冲销，待对方统筹区复核。")
    return redirect("regional")


@requires("payments.approve")
@require_POST
def decide_reversal(request: PortalRequest, pk: int) -> HttpResponse:
    """A person of the other region reverses a transfer, or lets it stand."""
    row = get_object_or_404(_transfers(request.user), pk=pk if pk < 2**63 else 0)
    accept = request.POST.get("decision_is") == "agree"
    if _tried(request, lambda: regional_transfers.decide_reversal(
        transfer=row, accept=accept, who=request.user, at=clock.now())):  # fmt: skip
        messages.success(
            request, "已冲销，两地往来同时恢复。" if accept else "未冲销，划款维持入账。"
        )
    return redirect("regional")


@requires("payments.view")
@require_GET
def export_csv(request: PortalRequest) -> StreamingHttpResponse:
    """The books as CSV."""
    names = _names()
    rows = [
        (names.get(line.own, line.own), names.get(line.other, line.other), SIDES[line.side],
         f"{line.month:%Y-%m}", plain_yuan(line.arisen), plain_yuan(line.cleared),
         plain_yuan(line.balance))
        for line in _book(request.user)
    ]  # fmt: skip
    exported(user=request.user, at=clock.now(), action="regionaltransfer.export",
             subject="regionaltransfer:", query=request.GET.urlencode(), rows=len(rows))  # fmt: skip
    return StreamingHttpResponse(
        sheets.csv_lines(HEAD, rows), content_type=sheets.CSV,
        headers={"Content-Disposition": 'attachment; filename="regional.csv"'},
    )  # fmt: skip


def _book(user: User) -> list[Line]:
    return regional_transfers.book(_areas(user, "code").values_list("code", flat=True))


def _areas(user: User, column: str) -> QuerySet[Any]:
    """Areas of the reader's scope."""
    scope = user.scope_codes()
    rows = Region.objects.exclude(policy_region="")
    return rows if scope.everything else rows.filter(_inside(scope.regions, column))


def _inside(prefixes: tuple[str, ...], *columns: str) -> Q:
    found = Q(pk__in=())
    for column in columns:
        for prefix in prefixes:
            found |= Q(**{f"{column}__startswith": prefix})
    return found


def _transfers(user: User) -> QuerySet[RegionalTransfer]:
    """What was paid by or to the reader's regions."""
    scope = user.scope_codes()
    rows = RegionalTransfer.objects.all()
    if scope.everything:
        return rows
    return rows.filter(_inside(scope.regions, "region_code", "receiver_code"))


def _names() -> dict[str, str]:
    """Pooling region → name of its highest area."""
    found: dict[str, str] = {}
    for row in Region.objects.exclude(policy_region="").order_by("code"):
        found.setdefault(row.policy_region, row.name)
    return found


def _form(request: PortalRequest, lines: list[Line], names: dict[str, str]) -> TransferForm | None:
    """Where the reader's region owes something."""
    if not request.user.may(payments.PREPARE):
        return None
    own = regional_transfers.pool_of(request.user)
    owed = [
        (other, f"{names.get(other, other)}（应付 {yuan(left)} 元）")
        for (pool, other, side), left in regional_transfers.balances(lines).items()
        if (pool, side) == (own, OWED) and left > 0
    ]  # fmt: skip
    return TransferForm(request.POST or None, receivers=owed) if owed else None


def _stats(lines: list[Line]) -> list[dict[str, str]]:
    sums = dict.fromkeys((HELD, OWED), 0)
    for (_, _, side), left in regional_transfers.balances(lines).items():
        sums[side] += left
    return [{"label": f"{SIDES[side]}余额", "value": yuan(fen), "note": "元"}
            for side, fen in sums.items()]  # fmt: skip


def _acts(user: User, rows: list[RegionalTransfer], names: dict[str, str]) -> list[dict[str, Any]]:
    if not user.may(payments.APPROVE):
        return []
    own = regional_transfers.pool_of(user)
    return [
        {"key": f"transfer-{row.pk}", "version": None, "danger": False, "buttons": DECIDE,
         "open": False, "url": reverse("regional-decide", args=[row.pk]),
         "title": f"{names.get(row.payer, row.payer)}付来异地清算款 {yuan(row.amount)} 元",
         "hint": Told(f"{row.paid_on}，银行流水 {row.bank_serial}，登记人 ", Login(row.recorded_by)),
         "form": ReceiptForm(auto_id=f"id_{row.pk}_%s")}
        for row in rows
        if row.state == "recorded" and row.receiver == own and row.recorded_by != user.username
    ]  # fmt: skip


def _undoing(
    user: User, rows: list[RegionalTransfer], names: dict[str, str], chosen: str
) -> list[dict[str, Any]]:
    """The reversal that the reader chose to ask for, and those that wait for the reader's region."""
    own, found = regional_transfers.pool_of(user), []
    for row in rows:
        title = (f"{names.get(row.payer, row.payer)}付{names.get(row.receiver, row.receiver)} "
                 f"{yuan(row.amount)} 元")  # fmt: skip
        about = {"key": f"undo-{row.pk}", "version": None, "danger": True}
        waits = row.state == "reversing" and own in (row.payer, row.receiver)
        if str(row.pk) == chosen and _may_ask(user, row):
            found.append(about | {
                "title": f"申请冲销异地清算划款：{title}", "buttons": [], "open": True,
                "url": reverse("regional-reversal", args=[row.pk]), "form": ReasonForm(),
                "hint": "两地凭证全部红冲，由对方统筹区复核后生效。",
            })  # fmt: skip
        elif waits and user.may(payments.APPROVE) and own != row.undo_pool:
            found.append(about | {
                "title": f"复核冲销异地清算划款：{title}", "buttons": AGREE, "open": False,
                "url": reverse("regional-reversal-decide", args=[row.pk]), "form": Form(),
                "hint": Told(f"{row.undo_reason}；申请人 ", Login(row.undo_asked_by)),
            })  # fmt: skip
    return found


def _may_ask(user: User, row: RegionalTransfer) -> bool:
    mine = regional_transfers.pool_of(user) in (row.payer, row.receiver)
    return mine and row.state == "posted" and user.may(payments.PREPARE)


def _table(lines: list[Line], names: dict[str, str]) -> Table:
    return Table(
        id="regional", caption="异地清算往来",
        columns=[Column(label="统筹区"), Column(label="对方统筹区"), Column(label="方向"),
                 Column(label="月份"), Column(label="发生额（元）", numeric=True),
                 Column(label="已清算（元）", numeric=True), Column(label="期末余额（元）", numeric=True)],
        rows=[
            Row(key=f"{line.own}-{line.other}-{line.side}-{line.month:%Y%m}", label=line.own, cells=[
                Cell(text=names.get(line.own, line.own)), Cell(text=names.get(line.other, line.other)),
                Cell(text=SIDES[line.side]), Cell(text=f"{line.month:%Y-%m}"),
                Cell(text=yuan(line.arisen)), Cell(text=yuan(line.cleared)),
                Cell(text=yuan(line.balance))])
            for line in lines
        ],
        toolbar=[Action(label="导出 CSV", icon="arrow-down-tray", url=reverse("regional-csv"))],
        empty_title="没有异地清算往来",
        empty_text="异地参保人在本地就医，或本地参保人在异地就医后，在此列出。",
    )  # fmt: skip


def _sent(user: User, rows: list[RegionalTransfer], names: dict[str, str]) -> Table:
    def undo(row: RegionalTransfer) -> list[Action]:
        url = f"{reverse('regional')}?undo={row.pk}#act-undo-{row.pk}"
        return [Action(label="申请冲销", url=url)] if _may_ask(user, row) else []

    return Table(
        id="transfers", caption="异地清算划款",
        columns=[Column(label="付款统筹区"), Column(label="收款统筹区"),
                 Column(label="金额（元）", numeric=True), Column(label="付款日"),
                 Column(label="银行流水号"), Column(label="登记"), Column(label="核对"),
                 Column(label="状态")],
        rows=[
            Row(key=str(row.pk), label=row.bank_serial, actions=undo(row), cells=[
                Cell(text=names.get(row.payer, row.payer)),
                Cell(text=names.get(row.receiver, row.receiver)), Cell(text=yuan(row.amount)),
                Cell(text=row.paid_on.isoformat()), Cell(text=row.bank_serial, code=True),
                Cell(text=Login(row.recorded_by)), Cell(text=Login(row.decided_by) or "—"),
                Cell(text=row.get_state_display(), tone=TONES[row.state], sub=row.undo_reason or row.reason)])
            for row in rows
        ],
        empty_title="没有划款", empty_text="参保地登记划款后在此列出，由就医地核对。",
    )  # fmt: skip


def _tried(request: PortalRequest, call: Callable[[], object]) -> bool:
    """Make the call; a refusal becomes a message."""
    try:
        with transaction.atomic():
            call()
    except Refusal as error:
        messages.error(request, f"{words_of(error)}。")
        return False
    return True
