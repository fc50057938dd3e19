"""调配、配送、签收 in the portal: the commands of the interface, as forms on the prescription's page."""

from collections.abc import Callable

from django.contrib import messages
from django.db import transaction
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_http_methods

from audit.access import requires
from institutions.access import PortalRequest
from institutions.refusals import Refusal
from institutions.shape import checked, refuse
from settlement import commands, goods, medicines_contract
from settlement.goods_desk import DISPENSE, SEND, STEP, Desk
from settlement.goods_forms import DeliveryForm, GoodsForm, StepForm
from settlement.models import Delivery, Dispensing
from settlement.views.drug_returns import RETURN
from settlement.views.medicines import desk_of, known, shown

#: One permission for goods, out and back: whoever takes drugs back is whoever hands them out.
HANDLE = RETURN
Command = Callable[[], str]


@requires(HANDLE)
@require_http_methods(["GET", "POST"])
def dispense(request: PortalRequest, pk: int) -> HttpResponse:
    """Hand out drugs of a prescription with the codes of their packages."""
    desk = desk_of(request, pk)
    form = desk.dispensing_form(request.POST or None)

    def command() -> str:
        given = checked(form.content(), medicines_contract.DISPENSING)
        refuse(list(medicines_contract.wrong_dispensing(given)))
        made, _ = goods.dispense(prescription_id=desk.found.pk, given=given, **_mine(request, desk))
        return f"调配 {made.number} 已登记，处方{made.prescription.get_state_display()}。"

    return _handled(request, desk, form, command, key=DISPENSE, offered=desk.dispenses(),
                    action="dispensing.record", subject=f"prescription:{pk}")  # fmt: skip


@requires(HANDLE)
@require_http_methods(["GET", "POST"])
def send(request: PortalRequest, pk: int) -> HttpResponse:
    """Hand an own dispensing to a carrier, which takes it at once or later."""
    rows = Dispensing.objects.filter(institution_code=_own(request))
    desk = desk_of(request, get_object_or_404(rows, pk=known(pk)).prescription_id)
    one = next(one for one in desk.mine if one.pk == pk)
    form = desk.delivery_form(one, request.POST or None)
    return _handled(request, desk, form, lambda: _sent(request, desk, pk, form),
                    key=f"{SEND}-{pk}", offered=desk.sends(one), action="delivery.send",
                    subject=f"dispensing:{pk}")  # fmt: skip


def _sent(request: PortalRequest, desk: Desk, pk: int, form: DeliveryForm) -> str:
    """The parcel and its first step are one act."""
    given = checked(form.content(), medicines_contract.DELIVERY)
    made, _ = goods.send(dispensing_id=pk, given=given, **_mine(request, desk))
    step = checked(form.pick_up(), medicines_contract.STEP)
    goods.step(delivery_id=made.pk, given=step, **_mine(request, desk))
    return f"运单 {made.waybill} 已交付配送。"


@requires(HANDLE)
@require_http_methods(["GET", "POST"])
def step(request: PortalRequest, pk: int) -> HttpResponse:
    """What became of a parcel: signed for, left, refused."""
    rows = Delivery.objects.filter(dispensing__institution_code=_own(request))
    found = get_object_or_404(rows.select_related("dispensing"), pk=known(pk))
    desk = desk_of(request, found.dispensing.prescription_id)
    parcel = next(row for one in desk.mine for row in one.deliveries.all() if row.pk == pk)
    form = desk.step_form(parcel, request.POST or None)
    return _handled(request, desk, form, lambda: _stepped(request, desk, pk, form),
                    key=f"{STEP}-{pk}", offered=desk.follows(parcel), action="delivery.step",
                    subject=f"delivery:{pk}")  # fmt: skip


def _stepped(request: PortalRequest, desk: Desk, pk: int, form: StepForm) -> str:
    given = checked(form.content(), medicines_contract.STEP)
    made, _ = goods.step(delivery_id=pk, given=given, **_mine(request, desk))
    return f"运单 {made.delivery.waybill} 已登记{made.get_kind_display()}。"


def _own(request: PortalRequest) -> str:
    if not request.user.institution_id:
        raise Http404
    return request.user.institution_id


def _mine(request: PortalRequest, desk: Desk) -> dict:
    return {"institution": desk.claimant, "by": request.user.username, "at": desk.at}


def _handled(
    request: PortalRequest, desk: Desk, form: GoodsForm, command: Command, *, key: str,
    offered: bool, action: str, subject: str,
) -> HttpResponse:  # fmt: skip
    """The page with this act open; sent, one call: done, or refused at its fields with nothing lost."""
    if not form.is_bound and not offered:
        raise Http404
    if form.is_valid() and _done(request, desk, form, command, action, subject):
        return redirect("prescription", pk=desk.found.pk)
    desk.bound[key] = form
    return shown(request, desk.found, desk.flow, desk, status=422 if form.is_bound else 200)


def _done(
    request: PortalRequest, desk: Desk, form: GoodsForm, command: Command, action: str,
    subject: str,
) -> bool:  # fmt: skip
    try:
        with transaction.atomic():
            told = command()
    except Refusal as refusal:
        if refusal.status == 404:
            raise Http404 from None
        commands.refused(
            institution=desk.claimant, action=action, subject=subject, code=refusal.code,
            by=request.user.username, at=desk.at,
        )  # fmt: skip
        desk.explain(form, refusal)
        return False
    messages.success(request, told)
    return True
