"""Messages to a person, and the webhooks of an institution."""

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from audit import clock, cursor, trail
from audit.access import requires
from audit.tables import Cell, Column, Pages, Row, Table
from institutions import news, webhooks
from institutions.access import PortalRequest
from institutions.inbox_forms import WebhookForm
from institutions.models import Dispatch, Institution, Notification, User, Webhook
from institutions.refusals import Refusal

CRUMBS = [{"label": "工作台", "url": "/"}]
SHOWN = 20


@requires("workbench.view")
@require_GET
def notifications(request: PortalRequest) -> HttpResponse:
    """The messages of this person, newest first."""
    rows = Notification.objects.filter(user=request.user)
    page = cursor.page(rows, cursor=request.GET.get("cursor", ""))
    return render(request, "inbox/notifications.html", {
        "breadcrumbs": [*CRUMBS, {"label": "通知", "url": ""}],
        "rows": page.rows, "unread": news.unread(request.user).exists(),
        "pages": Pages(previous=page.previous, next=page.next, sizes=()),
        "hooks_url": reverse("webhooks") if request.user.may("registry.file") else "",
        "mail": request.user.mail_news, "address": request.user.email,
    })  # fmt: skip


@requires("workbench.view")
@require_POST
def open_notification(request: PortalRequest, pk: int) -> HttpResponse:
    """Mark a message as read and go to what it is about."""
    row = get_object_or_404(Notification, pk=pk, user=request.user)
    news.mark_read(user=request.user, at=clock.now(), pk=pk)
    safe = row.url and url_has_allowed_host_and_scheme(row.url, allowed_hosts=None)
    return redirect(row.url if safe else "notifications")


@requires("workbench.view")
@require_POST
def read_all(request: PortalRequest) -> HttpResponse:
    """Mark every message as read."""
    number = news.mark_read(user=request.user, at=clock.now())
    messages.success(request, f"已将 {number} 条通知标为已读。")
    return redirect("notifications")


@requires("workbench.view")
@require_POST
def mail_news(request: PortalRequest) -> HttpResponse:
    """Whether messages also come by mail."""
    wanted = request.POST.get("mail") == "1"
    user = request.user
    User.objects.filter(pk=user.pk).update(mail_news=wanted)
    trail.record(
        by=user.username, at=clock.now(), action="news.mail", subject=f"user:{user.pk}",
        region_code=(user.institution.region_id if user.institution else user.region_id) or "",
        institution_code=user.institution_id or "", detail={"wanted": wanted},
    )  # fmt: skip
    messages.success(request, "通知将同时发送邮件。" if wanted else "通知不再发送邮件。")
    return redirect("notifications")


@requires("registry.file")
@require_http_methods(["GET", "POST"])
def hooks(request: PortalRequest) -> HttpResponse:
    """The addresses at which the institution's systems are told; a POST registers one."""
    institution = request.user.institution
    form = WebhookForm(request.POST if request.method == "POST" else None)
    secret, status = "", 200
    if request.method == "POST" and institution is not None:
        status = 422
        if form.is_valid():
            try:
                _, secret = webhooks.register(
                    institution=institution, url=form.cleaned_data["url"],
                    by=request.user.username, at=clock.now(),
                )  # fmt: skip
                form, status = WebhookForm(), 200
            except Refusal as refusal:
                form.add_error("url", f"{refusal.detail[0]}。")
                status = refusal.status
    return render(request, "inbox/webhooks.html", {
        "breadcrumbs": [*CRUMBS, {"label": "回调通知", "url": ""}], "form": form, "secret": secret,
        "hooks": Webhook.objects.filter(institution=institution).order_by("-active", "-pk"),
        "table": _sent(institution),
    }, status=status)  # fmt: skip


@requires("registry.file")
@require_POST
def hook_act(request: PortalRequest, pk: int, action: str) -> HttpResponse:
    """Send a test message to an address, or switch it off."""
    hook = get_object_or_404(Webhook, pk=pk, institution=request.user.institution)
    by, at = request.user.username, clock.now()
    try:
        if action == "test":
            webhooks.try_out(webhook=hook, by=by, at=at)
            messages.success(request, "测试消息已排队发送，稍候刷新本页查看结果。")
        else:
            webhooks.switch_off(webhook=hook, by=by, at=at)
            messages.success(request, "回调地址已停用。")
    except Refusal as refusal:
        messages.error(request, f"{refusal.detail[0]}。")
    return redirect("webhooks")


def _sent(institution: Institution | None) -> Table:
    rows = Dispatch.objects.filter(webhook__institution=institution).order_by("-pk")[:SHOWN]
    return Table(
        id="dispatches", caption=f"最近{SHOWN}条发送记录",
        columns=[Column(label="时间"), Column(label="内容", wide=True), Column(label="地址", wide=True),
                 Column(label="尝试", numeric=True), Column(label="结果")],
        rows=[
            Row(key=str(row.pk), label=f"消息 {row.pk}", cells=[
                Cell(text=f"{clock.local(row.created_at):%Y-%m-%d %H:%M}", sub=f"编号 {row.pk}"),
                Cell(text=row.body["text"]), Cell(text=row.address, code=True),
                Cell(text=str(row.attempts)), _result(row),
            ])
            for row in rows
        ],
        empty_title="还没有发送记录", empty_text="登记地址后，可以发送一条测试消息。",
    )  # fmt: skip


def _result(row: Dispatch) -> Cell:
    facts: dict[str, Any] = {"sub": row.error}
    if row.sent_at:
        return Cell(text="已送达", tone="ok")
    if row.next_at is None:
        return Cell(text="未送达", tone="bad", **facts)
    return Cell(text="待重试" if row.attempts else "排队中", tone="wait", **facts)
