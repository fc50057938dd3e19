"""预约时段: the days to come with what is booked, and opening more of them."""

from itertools import groupby
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST

from audit import clock
from audit.access import requires
from institutions.access import PortalRequest
from institutions.handbook import words_of
from institutions.refusals import Refusal
from institutions.views.acts import show
from settlement import appointments
from settlement.models import AppointmentSlot
from settlement.reimbursement_forms import SlotForm

SHOWN = 400
WEEKDAYS = "一二三四五六日"


@requires("reimbursements.view")
@require_http_methods(["GET", "POST"])
def slots(request: PortalRequest) -> HttpResponse:
    """The times from today on by office and day; clerks open more."""
    handles = request.user.may("reimbursements.handle")
    form = SlotForm(request.POST or None, user=request.user) if handles else None
    status = 200
    if request.method == "POST":
        if form is None:
            raise PermissionDenied("reimbursements.handle")
        status = 422
        if form.is_valid():
            try:
                with transaction.atomic():
                    made = appointments.open_slots(
                        **form.cleaned_data, by=request.user.username, at=clock.now()
                    )
            except Refusal as error:
                show(form, error)
                status = error.status
            else:
                messages.success(request, f"已开放 {made} 个时段。")
                return redirect("reimbursement-slots")
    rows = AppointmentSlot.objects.visible_to(request.user).filter(day__gte=clock.today())
    rows = rows.select_related("office").order_by("office__name", "day", "starts")[:SHOWN]
    return render(request, "settlement/slots.html", {
        "breadcrumbs": [{"label": "工作台", "url": "/"},
                        {"label": "手工报销", "url": reverse("reimbursements")},
                        {"label": "预约时段", "url": ""}],
        "form": form, "offices": _offices(rows, handles=handles), "handles": handles,
    }, status=status)  # fmt: skip


def _offices(rows: Any, *, handles: bool) -> list[dict[str, Any]]:
    return [
        {"name": name, "days": [
            {"label": f"{day:%m月%d日}（周{WEEKDAYS[day.weekday()]}）",
             "slots": [_slot(slot, handles=handles) for slot in times]}
            for day, times in groupby(found, key=lambda slot: slot.day)]}
        for name, found in groupby(rows, key=lambda slot: slot.office.name)
    ]  # fmt: skip


def _slot(slot: AppointmentSlot, *, handles: bool) -> dict[str, Any]:
    left = slot.capacity - slot.booked
    tone = "mute" if not slot.capacity else "bad" if not left else "ok"
    word = "已关闭" if not slot.capacity else "约满" if not left else f"余 {left}"
    return {
        "pk": slot.pk, "time": f"{slot.starts:%H:%M}–{slot.ends:%H:%M}", "word": word, "tone": tone,
        "booked": f"{slot.booked} / {slot.capacity}", "capacity": slot.capacity,
        "book": f"{reverse('reimbursement-new')}?slot={slot.pk}" if handles and left else "",
    }  # fmt: skip


@requires("reimbursements.handle")
@require_POST
def capacity(request: PortalRequest, pk: int) -> HttpResponse:
    """More or fewer places at a time, never fewer than are booked."""
    slot = get_object_or_404(AppointmentSlot.objects.visible_to(request.user), pk=pk)
    wanted = request.POST.get("capacity", "")
    if not (wanted.isascii() and wanted.isdigit() and len(wanted) < 4):
        messages.error(request, "人数应为 0 至 999 的整数。")
        return redirect("reimbursement-slots")
    try:
        with transaction.atomic():
            appointments.set_capacity(
                slot=slot, capacity=int(wanted), by=request.user.username, at=clock.now()
            )
    except Refusal as error:
        messages.error(request, f"{words_of(error)}。")
    else:
        messages.success(request, f"{slot} 已改为 {wanted} 人。")
    return redirect("reimbursement-slots")
