"""退药: a pharmacy or hospital takes drugs of an own dispensing back; the money follows in the same act."""

from django.contrib import messages
from django.db import transaction
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from audit import clock
from audit.access import requires
from institutions.access import PortalRequest
from institutions.handbook import words_of
from institutions.models import Institution
from institutions.refusals import Refusal
from pricing.models import Drug
from settlement import commands, drug_returns
from settlement.drug_returns import left_of
from settlement.facts import Claimant
from settlement.models import Dispensing
from settlement.return_forms import ReturnForm

RETURN = "medicines.return"
BIGGEST_ID = 2**63 - 1


@requires(RETURN)
@require_http_methods(["GET", "POST"])
def take_back(request: PortalRequest, pk: int) -> HttpResponse:
    """Which drugs come back; over-claimed drug fees are reversed at once."""
    found = _own(request, pk)
    names = dict(
        Drug.objects.filter(code__in=[line.drug_code for line in found.lines.all()])
        .order_by("pk").values_list("code", "name")
    )  # fmt: skip
    form = ReturnForm(request.POST or None, dispensing=found, names=names, at=clock.now())
    home = reverse("prescription", args=[found.prescription_id])
    if request.method == "POST" and form.is_valid() and _done(request, found, form):
        return redirect(home)
    number = found.prescription.number
    return render(request, "institutions/act.html", {
        "breadcrumbs": [{"label": "结算", "url": ""},
                        {"label": "处方与药品", "url": reverse("prescriptions")},
                        {"label": number, "url": home}, {"label": "登记退药", "url": ""}],
        "title": f"登记退药 {found.number}", "institution": request.user.institution,
        "about": f"处方 {number}", "form": form, "button": "登记退药", "danger": True, "back": home,
        "hint": "退回的药品不得再次销售。申报的药品费多于患者留用的，申请随即整单冲正，留用部分重新申报；"
                "在途的配送随整单退药终止。",
    }, status=422 if form.is_bound else 200)  # fmt: skip


def _own(request: PortalRequest, pk: int) -> Dispensing:
    """A dispensing of the reader's institution of which something is still out."""
    if pk > BIGGEST_ID or not request.user.institution_id:
        raise Http404
    found = get_object_or_404(
        Dispensing.objects.select_related("prescription").prefetch_related("lines__returns"),
        pk=pk, institution_code=request.user.institution_id,
    )  # fmt: skip
    if not any(left_of(line) for line in found.lines.all()):
        raise Http404
    return found


def _done(request: PortalRequest, found: Dispensing, form: ReturnForm) -> bool:
    """One call; a refusal stands at its field and becomes an event."""
    row = Institution.objects.select_related("region").get(pk=found.institution_code)
    institution, by, at = Claimant.of(row), request.user.username, clock.now()
    try:
        with transaction.atomic():
            made, _ = drug_returns.take_back(
                institution=institution, dispensing_id=found.pk, given=form.content(), by=by, at=at
            )
    except Refusal as refusal:
        commands.refused(
            institution=institution, action="dispensing.return",
            subject=f"dispensing:{found.pk}", code=refusal.code, by=by, at=at,
        )  # fmt: skip
        form.add_error(_field_of(form, refusal), f"{words_of(refusal)}。")
        return False
    reversed_too = f"，冲正申请 {len(made.claims)} 笔" if made.claims else ""
    messages.success(request, f"退药 {made.number} 已登记{reversed_too}。")
    return True


def _field_of(form: ReturnForm, refusal: Refusal) -> str | None:
    """The form's field that a refusal of the command means."""
    place = refusal.faults[0].pointer.strip("/") if refusal.faults else ""
    own = {"no": "number", "returned_at": "returned_at", "pharmacist": "pharmacist"}
    if place in own:
        return own[place]
    kind, _, rest = place.partition("/")
    index, _, what = rest.partition("/")
    chosen = [drug for drug in form.drugs if form.cleaned_data.get(drug[1])]
    if kind != "lines" or not index.isdigit() or int(index) >= len(chosen):
        return None
    _, quantity, traces = chosen[int(index)]
    return traces if what == "trace_codes" and traces else quantity
