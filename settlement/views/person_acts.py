"""What the agency records of insured persons: enrolment and changes, one form each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import messages
from django.db import transaction
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from agreements.views.refusing import refuse
from audit import clock
from audit.access import requires
from institutions.access import PortalRequest
from institutions.models import Region, area_prefix
from institutions.refusals import Refusal
from settlement import person_forms as shapes
from settlement.models import InsuredPerson
from settlement.register import commands
from settlement.views.persons import visible


@dataclass(frozen=True)
class Act:
    """One thing to record: its form, the command, what to know before."""

    title: str
    form: type[forms.Form]
    do: Callable[..., object]
    hint: str = ""
    danger: bool = False
    aside: tuple[str, ...] = ()  #: fields that the command is not given


KEPT = "原登记保留在沿革中，按“当时所知”随时可查；已结算的单据不因此改变，受影响的列入待办复核。"
REPLACED = "登记的余额替换现存余额；此前已结算支付的不再另行扣减，此后的结算从登记的余额中支付。"
ACTS: dict[str, Act] = {
    "standing": Act("变更参保状态", shapes.StandingForm, commands.change_standing, KEPT),
    "convert": Act("险种转换", shapes.ConvertForm, commands.convert_scheme, KEPT),
    "death": Act("死亡登记", shapes.DeathForm, commands.record_death, KEPT, True, ("confirmed",)),
    "correct": Act("更正参保登记", shapes.CorrectForm, commands.correct, KEPT),
    "identity": Act("更正姓名电话", shapes.IdentityForm, commands.correct_identity),
    "balance": Act("登记个人账户余额", shapes.BalanceForm, commands.report_balance, REPLACED),
}


@requires("persons.maintain")
@require_http_methods(["GET", "POST"])
def enrol(request: PortalRequest) -> HttpResponse:
    """参保登记: somebody new, or somebody whose insurance had ended."""
    form = shapes.EnrolForm(request.POST or None, regions=_regions(request))
    status = 200
    if request.method == "POST":
        done = _done(request, form, lambda given: commands.enrol(**given, **_sign(request)))
        if isinstance(done, InsuredPerson):
            messages.success(request, f"已登记{done.name_masked}参保。")
            return redirect("person", pk=done.pk)
        status = done
    return _page(request, form, "参保登记", status, reverse("persons"), button="登记参保")


@requires("persons.maintain")
@require_http_methods(["GET", "POST"])
def act(request: PortalRequest, pk: int, key: str) -> HttpResponse:
    """One act on one person."""
    if key not in ACTS:
        raise Http404(key)
    chosen, person = ACTS[key], visible(request, pk)
    options: dict[str, Any] = (
        {"regions": _regions(request)} if issubclass(chosen.form, shapes.RegionChoice) else {}
    )
    form = chosen.form(request.POST or None, **options)
    back, status = reverse("person", args=[person.pk]), 200
    if request.method == "POST":

        def do(given: dict[str, Any]) -> bool:
            for name in chosen.aside:
                given.pop(name, None)
            chosen.do(person=person, **given, **_sign(request))
            return True

        done = _done(request, form, do)
        if done is True:
            messages.success(request, f"已办理：{chosen.title}。")
            return redirect(f"{back}?tab=history")
        status = done
    return _page(request, form, chosen.title, status, back, person=person, hint=chosen.hint,
                 danger=chosen.danger, button=chosen.title)  # fmt: skip


def _done(request: PortalRequest, form: forms.Form, do: Callable[[dict[str, Any]], Any]) -> Any:
    """What the command answered, or the status of a refused form."""
    if not form.is_valid():
        return 422
    try:
        with transaction.atomic():
            return do({key: value for key, value in form.cleaned_data.items() if value is not None})
    except Refusal as refusal:
        return refuse(form, refusal)


def _sign(request: PortalRequest) -> dict[str, Any]:
    return {"by": request.user.username, "at": clock.now()}


def _regions(request: PortalRequest) -> list[Region]:
    """The areas inside the reader's own region."""
    own = request.user.region_id
    if own is None:
        return []
    return list(Region.objects.filter(pk__startswith=area_prefix(own)).order_by("pk"))


def _page(
    request: PortalRequest, form: forms.Form, title: str, status: int, back: str, *,
    person: InsuredPerson | None = None, hint: str = "", danger: bool = False, button: str,
) -> HttpResponse:  # fmt: skip
    crumbs = [{"label": "参保人查询", "url": reverse("persons")}]
    if person is not None:
        crumbs.append({"label": person.name_masked, "url": back})
    return render(request, "institutions/act.html", {
        "form": form, "title": title, "hint": hint, "danger": danger, "button": button,
        "back": back, "institution": {"name": str(person)} if person else None, "about": "",
        "breadcrumbs": [*crumbs, {"label": title, "url": ""}],
    }, status=status)  # fmt: skip
