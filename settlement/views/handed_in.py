"""参保人申请 without log-in: which area, an application, a booking, and what became of it."""

from typing import Any

from django import forms
from django.db import transaction
from django.db.models import F
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods

from agreements.views.refusing import refuse
from audit import clock
from audit.access import public
from institutions import receipts
from institutions.access import EVERYTHING, scoped
from institutions.models import Region, Scope
from institutions.refusals import Refusal
from settlement import filings, person_requests
from settlement.models import AppointmentSlot, PersonRequest
from settlement.request_forms import ApplyForm, BookForm, FollowForm, MorePapersForm

TOO_MANY = 429
OFTEN = "提交过于频繁，请一小时后再试，或到当地经办窗口办理。"
SLOTS_SHOWN = 200


def _area(code: str) -> Region:
    found = next((row for row in receipts.areas() if row.code == code), None)
    if found is None:
        raise Http404(code)
    return found


def _free(region: Region) -> list[AppointmentSlot]:
    """The times of an area that still have a place, the next first."""
    with scoped(Scope(regions=(region.prefix,))):
        rows = AppointmentSlot.objects.filter(
            region_code__within=region.prefix, day__gte=clock.today(), booked__lt=F("capacity")
        )
        return list(rows.select_related("office").order_by("day", "starts", "office")[:SLOTS_SHOWN])


@public
@require_GET
def areas(request: HttpRequest) -> HttpResponse:
    """Where what may be handed in; a page shows no more than that there are free times."""
    today = clock.today()
    rows = [
        {"name": row.name,
         "apply": reverse("public-disease", args=[row.code])
         if filings.Law.of(row.code, today).diseases else "",
         "book": reverse("public-booking", args=[row.code]) if _free(row) else ""}
        for row in receipts.areas()
    ]  # fmt: skip
    return render(request, "public/requests.html", {
        "areas": [row for row in rows if row["apply"] or row["book"]],
        "others": [row["name"] for row in rows if not row["apply"] and not row["book"]],
    })  # fmt: skip


@public
@never_cache
@require_http_methods(["GET", "POST"])
def disease(request: HttpRequest, region: str) -> HttpResponse:
    """Apply for the recognition of a disease."""
    area = _area(region)
    law = filings.Law.of(area.code, clock.today())
    form = ApplyForm(
        *((request.POST, request.FILES) if request.method == "POST" else ()),
        diseases=law.diseases.items(), materials=law.materials.items(),
    )  # fmt: skip
    status, made = 200, None
    if request.method == "POST":
        status, made = _kept(form, lambda: person_requests.apply(
            region=area, who=form.who(), code=form.cleaned_data["code"],
            hospital=form.cleaned_data["hospital"], reason=form.cleaned_data["reason"],
            files=form.papers(), at=clock.now(),
        ), area)  # fmt: skip
    return render(request, "public/request_new.html", {
        "area": area, "form": form, "made": made, "listed": bool(law.diseases), "law": law,
        "title": "门诊慢特病认定申请",
    }, status=status)  # fmt: skip


@public
@never_cache
@require_http_methods(["GET", "POST"])
def booking(request: HttpRequest, region: str) -> HttpResponse:
    """Book a place of a free time for a manual reimbursement."""
    area = _area(region)
    slots = _free(area)
    form = BookForm(request.POST if request.method == "POST" else None, slots=slots)
    status, made = 200, None
    if request.method == "POST":
        status, made = _kept(form, lambda: person_requests.book(
            region=area, who=form.who(), slot_id=form.cleaned_data["slot"], at=clock.now()
        ), area)  # fmt: skip
    return render(request, "public/request_new.html", {
        "area": area, "form": form, "made": made, "listed": bool(slots), "title": "手工报销预约",
    }, status=status)  # fmt: skip


def _kept(form: forms.Form, act: Any, area: Region) -> tuple[int, dict[str, str] | None]:
    """(status, number and code) of what was handed in."""
    if not form.is_valid():
        return 422, None
    if not receipts.room():
        form.add_error(None, OFTEN)
        return TOO_MANY, None
    try:
        with scoped(Scope(regions=(area.prefix,))), transaction.atomic():
            row, code = act()
    except Refusal as error:
        return refuse(form, error), None
    return 200, {"number": row.number, "code": code, "what": str(row.slot or row.name)}


@public
@never_cache
@require_http_methods(["GET", "POST"])
def progress(request: HttpRequest) -> HttpResponse:
    """What became of it, for whoever has number and code; more materials; taking it back."""
    form = FollowForm(request.POST if request.method == "POST" else None)
    context: dict[str, Any] = {"form": form}
    status = 200
    if request.method == "POST":
        status = 422
        if form.is_valid():
            if not receipts.room():
                form.add_error(None, OFTEN)
                status = TOO_MANY
            else:
                with scoped(EVERYTHING):
                    status = _followed(request, form, context)
    return render(request, "public/request_progress.html", context, status=status)


def _followed(request: HttpRequest, form: FollowForm, context: dict[str, Any]) -> int:
    given = form.cleaned_data
    row = person_requests.found(**given)
    if row is None:
        form.add_error(None, "申请号或查询码不正确。")
        return 404
    status = 200
    materials = filings.Law.of(row.region_code, clock.today()).materials.items()
    papers = MorePapersForm(initial=given, materials=materials)
    act = request.POST.get("act", "")
    if act == "add":
        papers = MorePapersForm(request.POST, request.FILES, materials=materials)
        status = _added(row, papers)
        if status == 200:
            context["done"] = "已收到补充的材料。"
            papers = MorePapersForm(initial=given, materials=materials)
    elif act == "withdraw":
        try:
            with transaction.atomic():
                person_requests.withdraw(request=row, at=clock.now())
            context["done"] = "已取消。"
        except Refusal as error:
            status = refuse(form, error)
    row = person_requests.found(**given) or row
    context |= {
        "found": _told(row),
        "given": given,
        "may_withdraw": row.state in PersonRequest.OPEN,
        "papers": papers if person_requests.wants_papers(row) else None,
    }
    return status


def _added(row: PersonRequest, papers: MorePapersForm) -> int:
    if not papers.is_valid():
        return 422
    given = papers.cleaned_data
    files = [(given["material"], part.name or "", part.read()) for part in given["papers"]]
    try:
        with transaction.atomic():
            person_requests.add(request=row, files=files, at=clock.now())
    except Refusal as error:
        return refuse(papers, error)
    return 200


def _told(row: PersonRequest) -> list[dict[str, Any]]:
    state, words = person_requests.told(row)
    slot = row.slot
    facts: list[dict[str, Any]] = [
        {"label": "申请号", "value": row.number, "code": True},
        {"label": "事项", "value": row.get_kind_display(),
         "sub": slot.office.name if slot else row.name},
        {"label": "时段", "value": str(slot or "")},
        {"label": "收到", "value": f"{clock.local(row.received_at):%Y-%m-%d %H:%M}"},
        {"label": "办理状态", "value": state},
        {"label": "材料", "value": f"{person_requests.materials(row).count()} 个文件"
         if row.kind == PersonRequest.Kind.DISEASE else ""},
        {"label": "告知", "value": words, "wide": True},
    ]  # fmt: skip
    return [fact for fact in facts if fact["value"]]
