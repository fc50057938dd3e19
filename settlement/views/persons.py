"""参保人综合查询: find a person by ID number, the page of one person, the full numbers against a reason."""

import datetime as dt
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from audit import clock, trail
from audit.access import requires
from audit.models import Event
from institutions import crypto
from institutions.access import PortalRequest
from institutions.forms import OnDayAsKnown
from institutions.handbook import words_of
from institutions.naming import named
from institutions.refusals import Refusal
from settlement.models import InsuredPerson
from settlement.person_forms import LookUp, RevealForm
from settlement.register import commands
from settlement.views.person_panels import PANELS, TABS, TEMPLATES, Page, standing_badge

LAST_SEEN = 8
CRUMBS = [{"label": "工作台", "url": "/"}]
NOBODY = "没有找到此参保人，或不在您的数据范围内；查询已记入全程留痕。"


@requires("persons.view")
@require_GET
def persons(request: PortalRequest) -> HttpResponse:
    """Where somebody is looked up; whom this reader opened last."""
    may = request.user.may
    return render(request, "settlement/persons.html", named({
        "breadcrumbs": [*CRUMBS, {"label": "参保人查询", "url": ""}],
        "form": LookUp(), "last": _last(request),
        "may_enrol": may("persons.maintain"), "may_sheets": may("persons.maintain"),
    }))  # fmt: skip


def _last(request: PortalRequest) -> list[dict[str, Any]]:
    """The persons whom this reader opened last, as far as they are still visible."""
    events = Event.objects.filter(actor=request.user.username, action="person.read")
    recent = events.order_by("-at").values_list("subject", "at")[: LAST_SEEN * 6]
    seen: dict[int, dt.datetime] = {}
    for subject, at in recent:
        seen.setdefault(int(subject.partition(":")[2]), at)
    keys = list(seen)[:LAST_SEEN]
    rows = {
        row.pk: row for row in InsuredPerson.objects.visible_to(request.user).filter(pk__in=keys)
    }
    return [
        {"name": rows[key].name_masked, "number": rows[key].id_masked,
         "scheme": rows[key].get_scheme_display(), "url": reverse("person", args=[key]),
         "at": f"{clock.local(seen[key]):%m-%d %H:%M}"}
        for key in keys if key in rows
    ]  # fmt: skip


@requires("persons.view")
@require_POST
def find(request: PortalRequest) -> HttpResponse:
    """The number comes in the body; only the row's key goes on. Looking for nobody is an event too."""
    form = LookUp(request.POST)
    if not form.is_valid():
        messages.error(request, str(form.errors["credential"][0]))
        return redirect("persons")
    digest = crypto.person_hash(form.cleaned_data["credential"])
    found = InsuredPerson.objects.visible_to(request.user).filter(id_hash=digest).first()
    if found is not None:
        return redirect("person", pk=found.pk)
    user = request.user
    trail.record(
        by=user.username, at=clock.now(), action="person.find", subject="person:", outcome="none",
        region_code=user.region_id or "", institution_code=user.institution_id or "",
        person_hash=digest,
    )  # fmt: skip
    messages.warning(request, NOBODY)
    return redirect("persons")


@requires("persons.view")
@require_GET
def person(request: PortalRequest, pk: int) -> HttpResponse:
    """One person: entitlement on a day, filings, what is used, claims and why. Opening it is an event."""
    found = visible(request, pk)
    tab = request.GET.get("tab", "")
    if tab not in PANELS or (request.user.institution_id and tab not in ("", "claims")):
        tab = ""
    form = OnDayAsKnown(request.GET or None)
    given = form.cleaned_data if form.is_bound and form.is_valid() else {}
    page = Page(found, request.user, on=given.get("on") or clock.today(), known=given.get("known"),
                query=request.GET)  # fmt: skip
    panel = PANELS[tab](page)
    commands.looked(person=found, what=tab or "overview", who=request.user, at=clock.now())
    address = reverse("person", args=[found.pk])
    stood = {key: str(value) for key, value in given.items() if value}
    tabs = [
        {"label": label, "url": f"{address}?{urlencode({'tab': key} | stood)}", "current": key == tab}
        for key, label in TABS if not (request.user.institution_id and key not in ("", "claims"))
    ]  # fmt: skip
    answer = render(request, "settlement/person.html", named({
        "breadcrumbs": [*CRUMBS, {"label": "参保人查询", "url": reverse("persons")},
                        {"label": found.name_masked, "url": ""}],
        "person": found, "badge": standing_badge(page.entitlement), "tabs": tabs, "tab": tab,
        "day_form": form if stood else OnDayAsKnown(initial={"on": page.on}),
        "known_on": page.known, "panel": TEMPLATES[tab],
        "reveal": reverse("person-reveal", args=[found.pk])
        if request.user.may("persons.reveal") else "",
        **panel,
    }))  # fmt: skip
    answer["Cache-Control"] = "no-store"
    return answer


@requires("persons.reveal")
@require_http_methods(["GET", "POST"])
def reveal(request: PortalRequest, pk: int) -> HttpResponse:
    """The full ID number, name and telephone, against a reason."""
    found = visible(request, pk)
    form = RevealForm(request.POST if request.method == "POST" else None)
    shown: list[dict[str, Any]] = []
    status = 200
    if request.method == "POST":
        status = 400
        if form.is_valid():
            try:
                seen = commands.reveal(
                    person=found, reason=form.cleaned_data["reason"], by=request.user.username,
                    at=clock.now(),
                )  # fmt: skip
                shown, status = _items(seen), 200
            except Refusal as refusal:
                form.add_error("reason", words_of(refusal))
    back = reverse("person", args=[found.pk])
    answer = render(request, "institutions/reveal.html", named({
        "form": form, "title": "查看完整信息", "items": shown, "back": back,
        "institution": {"name": str(found)},
        "breadcrumbs": [{"label": "参保人查询", "url": reverse("persons")},
                        {"label": found.name_masked, "url": back},
                        {"label": "查看完整信息", "url": ""}],
    }), status=status)  # fmt: skip
    answer["Cache-Control"] = "no-store"
    return answer


def _items(seen: dict[str, str]) -> list[dict[str, Any]]:
    return [{"label": "姓名", "value": seen["name"]},
            {"label": "身份证号", "value": seen["number"], "code": True},
            {"label": "电话", "value": seen["phone"], "code": True}]  # fmt: skip


def visible(request: PortalRequest, pk: int) -> InsuredPerson:
    """A person whom the reader may see; any other does not exist."""
    rows = InsuredPerson.objects.visible_to(request.user)
    return get_object_or_404(rows, pk=min(pk, 2**63 - 1))
