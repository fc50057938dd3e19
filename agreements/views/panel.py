"""What is agreed and under way with an institution: the panel of its file, or a page."""

import datetime as dt

from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.http import require_GET

from agreements.assessment import known_results
from agreements.models import Agreement, AgreementState, Application, WavePlace
from agreements.views.institutions import TONES
from agreements.views.remaining import Clocks
from audit import clock
from audit.access import requires
from audit.procedure import PROCEDURES
from audit.text import rate, yuan
from institutions.access import PortalRequest
from institutions.forms import OnDayAsKnown
from institutions.inbox import assignees, role_label
from institutions.models import Institution
from institutions.naming import named
from institutions.views import span
from institutions.views.file import Standpoint

MARKS = frozenset({"ok", "info", "wait", "warn", "bad", "mute"})


@requires("institutions.view")
@require_GET
def agreement_panel(request: PortalRequest, code: str) -> HttpResponse:
    """The agreements of an institution on a day, as known now or until `known`, with their history.

    What is under way is told of today only: a file looked at as it was known before has none.
    """
    form = OnDayAsKnown(request.GET)
    form.is_valid()
    given = form.cleaned_data
    found = get_object_or_404(Institution.objects.visible_to(request.user), code=code)
    view = Standpoint(found, request.user, given.get("on") or clock.today(), given.get("known"))
    rows = found.agreements.prefetch_related("states").order_by("kind", "-valid_from")
    shown = [_agreement(row, view) for row in rows]
    return render(
        request,
        "agreements/panel.html",
        {
            "base": "fragment.html" if request.htmx else "base.html",
            "institution": found,
            "on": view.on,
            "known_on": view.known_on,
            "agreements": named([entry for entry in shown if entry]),
            "running": [] if view.known_on else _running(view),
            "wave": {} if view.known_on else _wave(view),
            "results": _results(view),
            "breadcrumbs": [
                {"label": "医疗机构", "url": reverse("institutions")},
                {"label": found.name, "url": reverse("institution", args=[code])},
                {"label": "协议", "url": ""},
            ],
        },
    )


def _running(view: Standpoint) -> list[dict]:
    """Applications that somebody works on now: state, clock with its clause, holder."""
    if not view.user.may("applications.view"):
        return []
    seen = Application.objects.visible_to(view.user).running()
    rows = list(seen.filter(institution=view.institution).order_by("pk"))
    if not rows:
        return []
    clocks = Clocks(rows, today=clock.today())
    assigned = assignees([row.subject for row in rows])
    return [_application(row, clocks, assigned.get(row.subject, "")) for row in rows]


def _application(row: Application, clocks: Clocks, assignee: str) -> dict:
    table = PROCEDURES[row.procedure]
    state = table.states[row.state]
    left = clocks.left(row)
    clause = f"{table.document} {row.due_clause}" if row.due_clause else ""
    due = f"期限 {row.due}" if left and left.days is not None else ""
    return {
        "title": table.title.removesuffix("申请"),
        "state": state.label,
        "tone": state.tone if state.tone in MARKS else "info",
        "url": reverse("application", args=[row.pk]),
        "facts": [
            {"label": "受理编号", "value": row.number, "code": True},
            {"label": "由谁办理", "value": assignee or role_label(state.holder), "sub": state.todo},
            {
                "label": "办理时限",
                "value": left.words if left else "未定期限",
                "sub": " · ".join(filter(None, (due, clause))),
            },
            {"label": "进入本状态", "value": row.entered_on.isoformat()},
        ],
    }


def _wave(view: Standpoint) -> dict:
    """The institution's place in the batches (宁医保发〔2021〕152号 附件1); empty without one."""
    if not view.user.may("waves.view"):
        return {}
    row = WavePlace.objects.visible_to(view.user).filter(institution=view.institution).first()
    if row is None:
        return {}
    return {
        "url": reverse("wave", args=[row.pk]),
        "facts": [
            {"label": "批次", "value": f"第 {row.batch} 批" if row.batch else "名单外"},
            {"label": "名单所列名称", "value": row.listed_name},
            {"label": "完成时限", "value": row.deadline.isoformat() if row.deadline else "未定"},
        ],
    }


def _results(view: Standpoint) -> list[dict]:
    """The yearly results of the online service (温医保办〔2021〕6号 二十一)."""
    if not view.user.may("assessments.view"):
        return []
    return [
        {
            "label": f"{row.year} 年度考核",
            "value": f"{yuan(row.total)} 分",
            "sub": f"支付系数 {rate(row.coefficient)} · {row.renewal}"
            + (" · 示例参数" if row.example else ""),
            "url": reverse("assessment", args=[view.institution.code, row.year]),
        }
        for row in known_results(view.institution, known_at=view.known_at)
    ]


def _agreement(row: Agreement, view: Standpoint) -> dict | None:
    """An agreement with its states as known; None while nothing was recorded of it."""
    known = [state for state in row.states.all() if _known(state, view.known_at)]
    if view.known_at is not None and not known:
        return None
    states = sorted(known, key=lambda state: state.valid_from, reverse=True)
    now = next((state for state in states if _holds(state, view.on)), None)
    return {
        "number": row.number,
        "kind": row.get_kind_display(),
        "state": now.get_state_display() if now else "当日未生效",
        "tone": TONES[now.state] if now else "mute",
        "url": reverse("agreement", args=[row.pk]) if view.user.may("agreements.view") else "",
        "facts": [
            {"label": "协议编号", "value": row.number, "code": True},
            {"label": "协议期", "value": span(row.valid_from, row.valid_until)},
            {"label": "签订日", "value": str(row.signed_on or "")},
            {"label": "依据", "value": row.clause},
        ],
        "history": [
            {
                "at": span(state.valid_from, state.valid_until),
                "title": state.get_state_display(),
                "by": state.recorded_by,
                "text": "；".join(
                    filter(
                        None, (f"登记于 {clock.local(state.recorded_at):%Y-%m-%d}", state.reason)
                    )
                ),
                "tone": TONES[state.state],
            }
            for state in states
        ],
    }


def _holds(state: AgreementState, on: dt.date) -> bool:
    return state.valid_from <= on and (state.valid_until is None or on <= state.valid_until)


def _known(state: AgreementState, moment: dt.datetime | None) -> bool:
    """Whether a state counts: now, or as what was recorded until a moment."""
    if moment is None:
        return state.superseded_at is None
    replaced = state.superseded_at is not None and state.superseded_at <= moment
    return state.recorded_at <= moment and not replaced
