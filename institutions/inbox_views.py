"""The inbox: what waits, who does it, delegations, deadlines for the calendar."""

import datetime as dt
from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from audit import clock
from audit.access import public, requires
from audit.models import Task
from audit.tables import Action, Cell, Column, Pages, Row, Table
from institutions import deadlines_file, duties
from institutions.access import PortalRequest, scoped
from institutions.inbox import (
    MANY,
    OVERSEE,
    Holder,
    Inbox,
    Wanted,
    address,
    capped,
    may_open,
    role_label,
    visible,
    working_days_left,
)
from institutions.inbox_forms import AssignForm, DelegationForm, InboxQuery
from institutions.models import Delegation, Region, User, area_prefix
from institutions.refusals import Refusal

SIZES = (20, 50, 100)
URGENT_DAYS = 2  # the design system's amber: two working days or less
CRUMBS = [{"label": "工作台", "url": "/"}]
HERE = {"label": "待办", "url": "/inbox/"}
ACTS: dict[str, tuple[Callable[..., int], str]] = {
    "take": (duties.take, "已领取 {} 项。"),
    "return": (duties.give_back, "已退回 {} 项，可由其他人员领取。"),
}
TABS: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("全部", "all", {}),
    ("已逾期", "late", {"when": "late"}),
    ("本周到期", "soon", {"when": "soon"}),
    ("由我经办", "me", {"holder": "me"}),
)


@requires("workbench.view")
@require_GET
def inbox(request: PortalRequest) -> HttpResponse:
    """Everything that waits for this person, the most urgent first."""
    today, user = clock.today(), request.user
    form = InboxQuery(request.GET, regions=_regions(user))
    wanted = form.wanted()
    box = Inbox(user, today=today, wanted=wanted)
    size = _size(request.GET.get("size", ""))
    page = box.page(cursor=request.GET.get("cursor", ""), size=size)
    counts = Inbox(user, today=today, wanted=Wanted(office=wanted.office)).counts()
    if not wanted.office:
        request.counted = (counts["all"], counts["unread"])
    oversees = user.may(OVERSEE)
    return render(request, "inbox/inbox.html", {
        "breadcrumbs": [*CRUMBS, HERE | {"url": ""}], "form": form, "today": today,
        "tabs": _tabs(wanted, counts), "oversees": oversees, "office": wanted.office,
        "office_tabs": _office_tabs(wanted) if oversees else [],
        "urgent": counts["late"], "reset_url": _reset(wanted),
        "table": Table(
            id="tasks", caption="待办事项",
            columns=[Column(label="事项", wide=True), Column(label="期限"), Column(label="依据"),
                     Column(label="经办")],
            rows=_rows(page.rows, box, user),
            pages=Pages(previous=page.previous, next=page.next, size=size, sizes=SIZES),
            bulk=_bulk(oversees=oversees), bulk_url=reverse("inbox-act"),
            empty_title="没有待办事项",
            empty_text="需要您处理的事项会按法定期限出现在这里；设有查询条件时，请放宽条件再试。",
        ),
    })  # fmt: skip


@requires("workbench.view")
@require_POST
def act(request: PortalRequest) -> HttpResponse:
    """Take, give back or assign the chosen tasks; assigning asks for the person first."""
    keys = _keys(request.POST)
    action = request.POST.get("action", "")
    if action in ("assign", "assign-to"):
        return _assign(request, keys)
    if action not in ACTS:
        raise Http404
    command, done = ACTS[action]
    try:
        number = command(keys=keys, who=request.user, by=request.user.username, at=clock.now())
    except Refusal as refusal:
        messages.error(request, f"{refusal.detail[0]}。")
    else:
        messages.success(request, done.format(number))
    return redirect(_back(request))


def _assign(request: PortalRequest, keys: list[int]) -> HttpResponse:
    if not request.user.may(OVERSEE):
        messages.error(request, "您的角色不能分派待办。")
        return redirect(_back(request))
    tasks = list(visible(request.user, keys).order_by("due", "pk"))
    chosen = request.POST if request.POST["action"] == "assign-to" else None
    people = duties.candidates(tasks)
    form = AssignForm(chosen, people=people)
    status = 200 if chosen is None else 422
    if chosen is not None and form.is_valid():
        to = form.cleaned_data["to"]
        try:
            number = duties.assign(
                keys=keys, to=to, who=request.user, by=request.user.username, at=clock.now()
            )
        except Refusal as refusal:
            form.add_error(None, f"{refusal.detail[0]}。")
            status = refusal.status
        else:
            messages.success(request, f"已将 {number} 项分派给{to}。")
            return redirect(_back(request))
    elif not tasks or len(tasks) < len(keys):
        messages.error(request, "请选择仍未办结、且在您督办范围内的事项。")
        return redirect(_back(request))
    return render(request, "inbox/assign.html", {
        "breadcrumbs": [*CRUMBS, HERE, {"label": "分派", "url": ""}], "form": form, "tasks": tasks,
        "keys": keys, "back": _back(request), "back_query": _back(request).partition("?")[2],
        "nobody": not people.exists(),
    }, status=status)  # fmt: skip


@requires("workbench.view")
@require_http_methods(["GET", "POST"])
def delegations(request: PortalRequest) -> HttpResponse:
    """Who does my tasks while I am away, whose I do."""
    user, status = request.user, 200
    people = duties.colleagues(user)
    givers = duties.office_of(user) if user.may(OVERSEE) else None
    form = DelegationForm(
        request.POST if request.method == "POST" else None,
        people=(people if givers is None else givers).select_related("region", "institution"),
        givers=None if givers is None else givers.exclude(pk=user.pk),
        today=clock.today(),
    )  # fmt: skip
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        try:
            duties.delegate(
                giver=given.pop("giver", None) or user, who=user, by=user.username,
                at=clock.now(), on=clock.today(), **given,
            )  # fmt: skip
        except Refusal as refusal:
            form.add_error(None, f"{refusal.detail[0]}。")
            status = refusal.status
        else:
            messages.success(request, "委托已登记，受托人已收到通知。")
            return redirect("delegations")
    rows = Delegation.objects.select_related("giver", "taker").order_by("-valid_from", "-pk")
    theirs = rows.none() if givers is None else rows.filter(giver__in=givers).exclude(giver=user)
    return render(request, "inbox/delegations.html", {
        "breadcrumbs": [*CRUMBS, HERE, {"label": "委托", "url": ""}], "form": form,
        "given": [_delegation(row) for row in rows.filter(giver=user)[:MANY]],
        "taken": [_delegation(row) for row in rows.filter(taker=user)[:MANY]],
        "theirs": [_delegation(row) for row in theirs[:MANY]],
        "alone": givers is None and not people.exists(),
    }, status=status if form.is_valid() or not form.errors or status != 200 else 422)  # fmt: skip


@requires("workbench.view")
@require_POST
def end_delegation(request: PortalRequest, pk: int) -> HttpResponse:
    """Take the work back before the last day."""
    mine = Delegation.objects.filter(giver=request.user)
    if request.user.may(OVERSEE):
        mine |= Delegation.objects.filter(giver__in=duties.office_of(request.user))
    row = get_object_or_404(mine, pk=pk)
    try:
        duties.end_delegation(
            delegation=row, who=request.user, by=request.user.username, at=clock.now()
        )
    except Refusal as refusal:
        messages.error(request, f"{refusal.detail[0]}。")
    else:
        messages.success(request, "委托已结束。")
    return redirect("delegations")


@requires("workbench.view")
@require_GET
def deadlines(request: PortalRequest) -> HttpResponse:
    """The deadlines of the inbox as a file for a calendar program."""
    answer = _calendar(request, request.user)
    answer["Content-Disposition"] = 'attachment; filename="deadlines.ics"'
    return answer


@requires("workbench.view")
@require_GET
def subscription(request: PortalRequest) -> HttpResponse:
    """The personal address at which a calendar program reads the deadlines."""
    key = deadlines_file.token(request.user)
    return render(request, "inbox/subscription.html", {
        "breadcrumbs": [*CRUMBS, HERE, {"label": "日历订阅", "url": ""}],
        "address": request.build_absolute_uri(reverse("deadlines-feed", args=[key])),
    })  # fmt: skip


@public
@require_GET
def feed(request: HttpRequest, key: str) -> HttpResponse:
    """The deadlines of whoever the key belongs to; without log-in, because calendars have none."""
    user = deadlines_file.user_of(key)
    if user is None or not user.may("workbench.view"):
        raise Http404
    with scoped(user.scope_codes()):
        return _calendar(request, user)


def _calendar(request: HttpRequest, user: User) -> HttpResponse:
    tasks = Inbox(user, today=clock.today()).page(size=deadlines_file.MOST).rows
    content = deadlines_file.write(
        tasks, name=f"法定期限 · {user}", at=clock.now(), base=request.build_absolute_uri("/")[:-1],
        addresses={task.pk: address(task) for task in tasks},
    )  # fmt: skip
    return HttpResponse(
        content, content_type="text/calendar; charset=utf-8", headers={"Cache-Control": "private"}
    )


def term(task: Task, left: int | None) -> Cell:
    """The legal clock of a task as a badge: overdue red, two working days amber."""
    due = f"{task.due:%Y-%m-%d} 止" if task.due else ""
    if task.stopped:
        return Cell(text="停止计时", tone="mute", sub=due)
    if task.due is None:
        year = task.due_unknown
        text = f"期限未知（缺{year}年日历）" if year else "不计期限"
        return Cell(text=text, tone="mute")
    if left is None:
        return Cell(text="缺工作日历", tone="mute", sub=due)
    if left < 0:
        return Cell(text=f"逾期 {-left} 个工作日", tone="bad", sub=due)
    text = f"剩余 {left} 个工作日" if left else "今日到期"
    return Cell(text=text, tone="warn" if left <= URGENT_DAYS else "ok", sub=due)


def _rows(tasks: list[Task], box: Inbox, user: User) -> list[Row]:
    area = user.institution.region_id if user.institution else user.region_id
    left = working_days_left(tasks, today=box.today, area=area or "")
    people = box.people(tasks)
    return [
        _row(task, left.get(task.pk), people.get(task.assignee), may_open(user, address(task)))
        for task in tasks
    ]


def _row(task: Task, left: int | None, holder: Holder | None, url: str) -> Row:
    clock_cell = term(task, left)
    parts = [task.status, f"受{holder.name}委托" if holder and holder.delegated else "",
             "已报督办" if task.escalated_at else ""]  # fmt: skip
    who = holder.name if holder else task.assignee
    return Row(
        key=str(task.pk), label=task.title,
        tone=clock_cell.tone if clock_cell.tone in ("bad", "warn") else "",
        cells=[
            Cell(text=task.title, url=url, sub=" · ".join(part for part in parts if part)),
            clock_cell,
            Cell(text=task.clause),
            Cell(text=who or "待领取", sub=role_label(task.permission)),
        ],
        actions=[Action(label="办理", url=url)] if url else [],
    )  # fmt: skip


def _bulk(*, oversees: bool) -> list[Action]:
    assign = [Action(label="分派", value="assign", icon="user-plus")] if oversees else []
    return [
        Action(label="领取", value="take", icon="hand-raised"),
        Action(label="退回", value="return", icon="arrow-uturn-left"),
        *assign,
    ]


def _tabs(wanted: Wanted, counts: dict[str, int]) -> list[dict[str, Any]]:
    now = "me" if wanted.holder == "me" else wanted.when or "all"
    office = {"office": "1"} if wanted.office else {}
    return [
        {"label": label, "url": _address(query | office), "current": key == now,
         "count": capped(counts[key])}
        for label, key, query in TABS
    ]  # fmt: skip


def _office_tabs(wanted: Wanted) -> list[dict[str, Any]]:
    return [
        {"label": "由我办理", "url": _address({}), "current": not wanted.office},
        {"label": "本辖区全部（督办）", "url": _address({"office": "1"}), "current": wanted.office},
    ]


def _reset(wanted: Wanted) -> str:
    return _address({"office": "1"} if wanted.office else {})


def _address(query: dict[str, str]) -> str:
    address = reverse("inbox")
    return f"{address}?{urlencode(query)}" if query else address


def _regions(user: User) -> list[Region]:
    """The areas that can be chosen: those inside the reader's own."""
    if user.region_id is None:
        return []
    return list(Region.objects.filter(code__within=area_prefix(user.region_id)).order_by("code"))


def _size(text: str) -> int:
    return int(text) if text in map(str, SIZES) else SIZES[0]


def _keys(given: QueryDict) -> list[int]:
    """The chosen tasks; what is no number is nobody's task."""
    texts = given.getlist("selected")[: max(SIZES)]
    return [int(text) for text in texts if text.isascii() and text.isdigit() and len(text) < 19]


def _back(request: PortalRequest) -> str:
    """The list as it was, filters and all."""
    _, mark, query = request.META.get("HTTP_REFERER", "").partition("?")
    query = request.POST.get("back", query if mark else "")
    return f"{reverse('inbox')}?{query}" if query else reverse("inbox")


def _delegation(row: Delegation) -> dict[str, Any]:
    today: dt.date = clock.today()
    if row.ended_at is not None or row.valid_until < today:
        state = ("已结束", "mute")
    else:
        state = ("未开始", "wait") if row.valid_from > today else ("委托中", "ok")
    return {"row": row, "word": state[0], "tone": state[1], "open": state[0] != "已结束"}
