"""Keys of the interface, of institutions and of offices: the list, a new one, one with its acts."""

import datetime as dt
from collections.abc import Callable
from typing import Any, TypeVar

from django import forms
from django.contrib import messages
from django.db.models import F, Q, QuerySet
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from audit import clock
from audit.access import requires
from audit.tables import Action, Cell, Column, Row, Table
from institutions import clients
from institutions.access import PortalRequest
from institutions.client_forms import (
    SIDES,
    ClientQuery,
    EndForm,
    IssueForm,
    RotateForm,
    rate_words,
)
from institutions.grants import scopes_of
from institutions.models import ApiClient
from institutions.naming import Login, Told, named
from institutions.refusals import Refusal
from institutions.views.acts import show
from institutions.views.cases import SIZE, page_of

MAY = "clients.manage"
Made = TypeVar("Made")
FOUND_BY = ("purpose", "client_id", "institution__name", "institution__code", "region__name",
            "region__code")  # fmt: skip


@requires(MAY)
@require_GET
def listing(request: PortalRequest) -> HttpResponse:
    """Every key: whose, what for, when used last."""
    form = ClientQuery(request.GET, auto_id="client_%s")
    form.is_valid()
    rows = _asked(form.cleaned_data)
    pages = page_of(request, rows.count())
    start = pages.first_row - 1
    return render(request, "institutions/clients.html", named({
        "breadcrumbs": _crumbs(), "form": form,
        "table": Table(
            id="clients", caption="接口密钥",
            columns=[Column(label="持有方", wide=True), Column(label="用途", wide=True),
                     Column(label="频率"), Column(label="发放"),
                     Column(label="最近使用", hint="最近一次领取令牌的时间，令牌有效 1 小时"),
                     Column(label="状态")],
            rows=[_row(row) for row in rows[start : start + SIZE]], pages=pages,
            toolbar=[Action(label="发放密钥", url=reverse("client-new"), icon="plus",
                            tone="primary")],
            empty_title="没有符合条件的密钥",
            empty_text="医保部门、医疗机构的系统须持密钥领取令牌后才能使用接口。",
        ),
    }))  # fmt: skip


def _asked(given: dict[str, Any]) -> QuerySet[ApiClient]:
    rows = ApiClient.objects.select_related("institution", "region")
    if words := given.get("q", "").strip():
        found = Q()
        for name in FOUND_BY:
            found |= Q(**{f"{name}__icontains": words})
        rows = rows.filter(found)
    if side := given.get("side"):
        rows = rows.filter(**{f"{'region' if side == 'office' else 'institution'}__isnull": False})
    states: dict[str, dict[str, Any]] = {
        "used": {"ended_at": None, "used_at__isnull": False},
        "unused": {"ended_at": None, "used_at": None}, "ended": {"ended_at__isnull": False},
    }  # fmt: skip
    rows = rows.filter(**states.get(given.get("state", ""), {}))
    return rows.order_by(
        F("ended_at").desc(nulls_first=True), "region_id", "institution_id", "purpose", "pk"
    )


def _row(row: ApiClient) -> Row:
    address = reverse("client", args=[row.pk])
    return Row(
        key=str(row.pk), label=f"{row.holder.name} {row.purpose}",
        cells=[
            Cell(text=row.holder.name, sub=row.holder.pk),
            Cell(text=row.purpose or "—", sub=row.client_id, url=address),
            Cell(text=ApiClient.Rate(row.rate).label),
            Cell(text=_day(row.issued_at), sub=Login(row.issued_by)),
            Cell(text=_moment(row.used_at) or "从未"), _state(row),
        ],
        actions=[Action(label="查看", url=address)],
    )  # fmt: skip


def _state(row: ApiClient) -> Cell:
    if row.ended_at is not None:
        return Cell(text="已停用", tone="mute", sub=_day(row.ended_at))
    return Cell(text="在用" if row.used_at else "未使用", tone="ok" if row.used_at else "info")


@requires(MAY)
@never_cache
@require_http_methods(["GET", "POST"])
def new(request: PortalRequest) -> HttpResponse:
    """Issue a key; the answer shows its secret, this once."""
    side = request.GET.get("side", "office")
    side = side if side in SIDES else "office"
    form = IssueForm(request.POST if request.method == "POST" else None, side=side)
    status = 200
    if request.method == "POST":
        made, status = _try(form, lambda: clients.issue(
            **form.cleaned_data, by=request.user.username, at=clock.now()
        ))  # fmt: skip
        if made:
            return _page(request, *made)
    return render(request, "institutions/client_new.html", {
        "breadcrumbs": _crumbs("发放密钥"), "form": form, "back": reverse("clients"),
        "tabs": [{"label": label, "url": f"{reverse('client-new')}?side={key}",
                  "current": key == side} for key, label in SIDES.items()],
    }, status=status)  # fmt: skip


@requires(MAY)
@require_GET
def client(request: PortalRequest, pk: int) -> HttpResponse:
    """One key; its secret is not known any more."""
    return _page(request, _one(pk))


@requires(MAY)
@never_cache
@require_POST
def rotate(request: PortalRequest, pk: int) -> HttpResponse:
    """Another secret for a key; the answer shows it, this once."""
    row, form = _one(pk), RotateForm(request.POST)
    made, status = _try(form, lambda: clients.rotate(
        client=row, **form.cleaned_data, by=request.user.username, at=clock.now()
    ))  # fmt: skip
    return _page(request, *made) if made else _page(request, row, rotating=form, status=status)


@requires(MAY)
@require_POST
def end(request: PortalRequest, pk: int) -> HttpResponse:
    """The key is of no use any more."""
    row, form = _one(pk), EndForm(request.POST)
    _, status = _try(form, lambda: clients.end(
        client=row, **form.cleaned_data, by=request.user.username, at=clock.now()
    ))  # fmt: skip
    if status != 200:
        return _page(request, row, ending=form, status=status)
    messages.success(request, "密钥已停用，已领取的令牌同时失效。")
    return redirect("client", pk)


def _try(form: forms.Form, do: Callable[[], Made]) -> tuple[Made | None, int]:
    """Do it, if the form is in order; what came of it and 200, or the refusal's status."""
    if not form.is_valid():
        return None, 422
    try:
        return do(), 200
    except Refusal as error:
        show(form, error)
        return None, error.status


def _one(pk: int) -> ApiClient:
    return get_object_or_404(ApiClient.objects.select_related("institution", "region"), pk=pk)


def _page(
    request: PortalRequest, row: ApiClient, secret: str = "", *, rotating: forms.Form | None = None,
    ending: forms.Form | None = None, status: int = 200,
) -> HttpResponse:  # fmt: skip
    state = _state(row)
    open_ = row.ended_at is None
    return render(request, "institutions/client.html", named({
        "breadcrumbs": _crumbs(row.purpose or row.client_id), "back": reverse("clients"),
        "title": row.purpose or row.client_id, "holder": row.holder.name,
        "badge": {"word": state.text, "tone": state.tone}, "secret": secret,
        "client_id": row.client_id, "facts": _facts(row),
        "rotating": (rotating or RotateForm(initial={"seen": row.secret_no})) if open_ else None,
        "ending": (ending or EndForm()) if open_ else None,
        "rotate_open": rotating is not None, "end_open": ending is not None,
        "rotate_url": reverse("client-rotate", args=[row.pk]),
        "end_url": reverse("client-end", args=[row.pk]),
    }), status=status)  # fmt: skip


def _facts(row: ApiClient) -> list[dict[str, Any]]:
    words = scopes_of(office=row.region_id is not None)
    shown = [words.get(scope, scope) for scope in row.scopes or words]
    ended: list[dict[str, Any]] = [
        {"label": "停用", "value": _moment(row.ended_at), "sub": Login(row.ended_by)},
        {"label": "停用事由", "value": row.ended_for, "wide": True},
    ]
    return [
        {"label": "持有方", "value": row.holder.name, "sub": row.holder.pk},
        {"label": "客户端编号", "value": row.client_id, "code": True},
        {"label": "频率", "value": rate_words(ApiClient.Rate(row.rate))},
        {"label": "发放", "value": _moment(row.issued_at) or "—", "sub": Login(row.issued_by)},
        {"label": "换发", "value": _moment(row.rotated_at) or "未换发",
         "sub": Told(Login(row.rotated_by), f" · 第 {row.secret_no} 个密钥") if row.rotated_at else ""},
        {"label": "最近使用", "value": _moment(row.used_at) or "从未", "sub": "按领取令牌的时间"},
        {"label": "授权范围", "value": "；".join(shown), "wide": True},
        *(ended if row.ended_at else ()),
    ]  # fmt: skip


def _day(at: dt.datetime | None) -> str:
    return f"{clock.local(at):%Y-%m-%d}" if at else "—"


def _moment(at: dt.datetime | None) -> str:
    return f"{clock.local(at):%Y-%m-%d %H:%M}" if at else ""


def _crumbs(last: str = "") -> list[dict[str, str]]:
    rows = [{"label": "系统", "url": ""},
            {"label": "接口密钥", "url": reverse("clients") if last else ""}]  # fmt: skip
    return [*rows, {"label": last, "url": ""}] if last else rows
