"""门诊慢特病认定: the list, a new application or renewal, one application with its steps and materials."""

from typing import Any
from urllib.parse import quote

from django.contrib import messages
from django.core.paginator import Paginator
from django.db import transaction
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from agreements.forms import StepForm
from agreements.views.refusing import refuse
from audit import clock, trail
from audit.access import requires
from audit.models import Move
from audit.moves import offered
from audit.procedure import PROCEDURES, Procedure, Refused
from audit.tables import Action, Cell, Column, Pages, Row, Table
from institutions.access import PortalRequest
from institutions.documents import content_of
from institutions.handbook import words_of
from institutions.models import PERSONAL, Document, Region
from institutions.naming import Login, named
from institutions.refusals import Refusal, refused
from settlement import filings
from settlement.models import ChronicDisease, DiseaseFiling, InsuredPerson
from settlement.person_forms import FilingForm, FilingQuery, PapersForm
from settlement.register import commands

SIZE = 20
CRUMBS = [{"label": "结算", "url": ""}]
ENDS = ("refused", "withdrawn", "ended")


def _table() -> Procedure:
    return PROCEDURES[filings.TABLE]


@requires("diseases.view")
@require_GET
def listing(request: PortalRequest) -> HttpResponse:
    """Applications inside the reader's scope, open ones first."""
    visible = DiseaseFiling.objects.visible_to(request.user)
    codes = visible.order_by("code").values_list("code", "name").distinct()
    states = [(state.key, state.label) for state in _table().states.values()]
    form = FilingQuery(request.GET, states=states, codes=dict(codes).items())
    rows = visible.none()
    if form.is_valid():
        given = form.cleaned_data
        rows = visible.filter(**{key: given[key] for key in ("state", "code") if given[key]})
        if given["q"]:
            rows = rows.filter(number__icontains=given["q"].strip())
    rows = rows.select_related("person").order_by("-closed_at", "-opened_at", "-pk")
    page = Paginator(rows, SIZE).get_page(request.GET.get("page"))
    may = request.user.may(filings.FILE)
    return render(request, "settlement/filings.html", named({
        "breadcrumbs": [*CRUMBS, {"label": "慢特病认定", "url": ""}], "form": form,
        "table": Table(
            id="filings", caption="门诊慢特病认定",
            columns=[Column(label="认定号"), Column(label="参保人"), Column(label="病种", wide=True),
                     Column(label="有效期"), Column(label="申请"), Column(label="状态")],
            rows=[_row(row) for row in page],
            pages=Pages(total=page.paginator.count, page=page.number, size=SIZE, sizes=(SIZE,)),
            toolbar=[Action(label="申请认定", url=reverse("disease-filing-new"), icon="plus",
                            tone="primary")] if may else (),
            empty_title="没有慢特病认定", empty_text="参保人员的门诊慢特病认定申请在此办理。",
        ),
    }))  # fmt: skip


def _row(row: DiseaseFiling) -> Row:
    state = _table().states[row.state]
    address = filings.place(row)
    return Row(
        key=str(row.pk), label=row.number,
        cells=[
            Cell(text=row.number, url=address, code=True, sub="续期" if row.renews_id else ""),
            Cell(text=row.person.name_masked, sub=row.person.id_masked),
            Cell(text=row.name, sub=row.code),
            Cell(text=f"{row.valid_from} 至 {row.valid_until or '长期'}" if row.valid_from else "—"),
            Cell(text=f"{clock.local(row.opened_at):%Y-%m-%d}", sub=Login(row.opened_by)),
            Cell(text=state.label, tone=state.tone, sub=f"期限 {row.due}" if row.due else ""),
        ],
        actions=[Action(label="查看", url=address)],
    )  # fmt: skip


# --- A new one ---


@requires("diseases.file")
@require_http_methods(["GET", "POST"])
def new(request: PortalRequest) -> HttpResponse:
    """Apply for a person; `renews` names the recognition that is to be prolonged."""
    renewed = _renewed(request)
    law = filings.Law.of(_region(request, renewed), clock.today())
    form = FilingForm(
        *((request.POST, request.FILES) if request.method == "POST" else ()),
        diseases=law.diseases.items(), materials=law.materials.items(), known=renewed is not None,
    )  # fmt: skip
    status = 200
    if request.method == "POST":
        status = 422
        if form.is_valid():
            try:
                with transaction.atomic():
                    made = _applied(request, form, renewed)
            except (Refusal, Refused) as error:
                status = refuse(form, error)
            else:
                messages.success(request, f"已提交认定申请 {made.number}。")
                return redirect("disease-filing", pk=made.pk)
    if renewed and request.method == "GET":
        subject = renewed.filing.subject if renewed.filing else renewed.person.subject
        _looked(request, subject, renewed.person, request.user.institution_id or "")
    return render(request, "settlement/filing_new.html", named({
        "breadcrumbs": [*CRUMBS, {"label": "慢特病认定", "url": reverse("disease-filings")},
                        {"label": "续期" if renewed else "申请认定", "url": ""}],
        "form": form, "renewed": _told(renewed) if renewed else None, "law": law,
        "title": "慢特病认定续期" if renewed else "申请门诊慢特病认定",
        "listed": bool(law.diseases),
    }), status=status)  # fmt: skip


def _region(request: PortalRequest, renewed: ChronicDisease | None) -> str:
    """Where the list is taken from: the person's region, the clerk's, the hospital's."""
    if renewed is not None:
        return renewed.person.region_code
    user = request.user
    return user.institution.region_id if user.institution else user.region_id or ""


def _renewed(request: PortalRequest) -> ChronicDisease | None:
    """The recognition to prolong: of a person in scope, or applied for by this hospital."""
    text = request.GET.get("renews", "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise Http404(text)
    row = get_object_or_404(ChronicDisease.objects.known().select_related("person", "filing"),
                            pk=text)  # fmt: skip
    mine = row.filing and row.filing.institution_code == (request.user.institution_id or None)
    seen = InsuredPerson.objects.visible_to(request.user).filter(pk=row.person_id).exists()
    if not mine and (request.user.institution_id or not seen):
        raise Http404(text)
    return row


def _told(row: ChronicDisease) -> list[dict[str, Any]]:
    return [
        {"label": "参保人", "value": row.person.name_masked, "sub": row.person.id_masked},
        {"label": "病种", "value": row.name, "sub": row.code},
        {"label": "现有效期", "value": f"{row.valid_from} 至 {row.valid_until or '长期'}"},
    ]  # fmt: skip


def _applied(
    request: PortalRequest, form: FilingForm, renewed: ChronicDisease | None
) -> DiseaseFiling:
    given = form.cleaned_data
    person = renewed.person if renewed else _person(request, given["number"], given["name"])
    return filings.apply(
        person=person, code=renewed.code if renewed else given["code"], reason=given["reason"],
        renews=renewed, institution=request.user.institution, files=form.papers(),
        by=request.user.username, at=clock.now(),
    )  # fmt: skip


def _person(request: PortalRequest, number: str, name: str) -> InsuredPerson:
    """Who is applied for: number and name must be those registered, in the same pooling region.

    A hospital need not have treated the person before; it learns nothing but that both agree.
    """
    user = request.user
    rows = InsuredPerson.objects.all()
    if user.institution is not None:
        place = user.institution.region.policy_region
        codes = Region.objects.filter(policy_region=place).values("code")
        rows = rows.filter(region_code__in=codes)
    else:
        rows = rows.visible_to(user)
    nobody = refused(
        "number", "PERSON_UNKNOWN", "没有此参保人，或证件号码与姓名不符", "no such person"
    )
    try:
        found = commands.known(number, name)
    except Refusal as error:
        if error.code == "NAME_DIFFERS":
            raise nobody from error
        raise
    if found is None or not rows.filter(pk=found.pk).exists():
        raise nobody
    return found


# --- One application ---


def _visible(request: PortalRequest, pk: int) -> DiseaseFiling:
    rows = DiseaseFiling.objects.visible_to(request.user).select_related("person", "renews")
    return get_object_or_404(rows, pk=min(pk, 2**63 - 1))


@requires("diseases.view")
@require_GET
def filing(request: PortalRequest, pk: int) -> HttpResponse:
    """An application: materials, what is missing, moves, and the steps that this person can take.

    Reading it is an event about the person.
    """
    found = _visible(request, pk)
    _looked(request, found.subject, found.person, found.institution_code)
    return _page(request, found)


def _looked(request: PortalRequest, subject: str, person: InsuredPerson, place: str) -> None:
    """Who saw whose recognised disease."""
    trail.record(
        by=request.user.username, at=clock.now(), action="diseasefiling.read", subject=subject,
        region_code=person.region_code, institution_code=place, person_hash=bytes(person.id_hash),
    )  # fmt: skip


def _page(
    request: PortalRequest, found: DiseaseFiling, *, typed: StepForm | None = None,
    papers: PapersForm | None = None, status: int = 200,
) -> HttpResponse:  # fmt: skip
    table, user = filings.table_of(found.region_code, found.entered_on), request.user
    state = table.states[found.state]
    law = filings.Law.of(found.region_code, found.entered_on)
    steps = offered(case=found, procedure=table, handbook=filings.HANDBOOK, who=user,
                    level=user.level)  # fmt: skip
    may_add = found.closed_at is None and user.may(filings.FILE)
    return render(request, "settlement/filing.html", named({
        "breadcrumbs": [*CRUMBS, {"label": "慢特病认定", "url": reverse("disease-filings")},
                        {"label": found.number, "url": ""}],
        "filing": found, "state": state, "facts": _facts(request, found), "deadline": _due(found, table),
        "missing": filings.missing(found, law) if found.closed_at is None else [],
        "files": [_file(found, row, law) for row in filings.materials(found)],
        "papers": (papers or PapersForm(materials=law.materials.items())) if may_add else None,
        "renew": _renewal(request, found),
        "steps": [_step(found, step, typed) for step in
                  sorted(steps, key=lambda step: step.tone == "danger")],
        "moves": [_move(row) for row in
                  Move.objects.filter(subject=found.subject).order_by("-pk")],
    }), status=status)  # fmt: skip


def _renewal(request: PortalRequest, found: DiseaseFiling) -> str:
    """Where whoever applied prolongs what was recognised; empty while there is nothing to prolong."""
    user = request.user
    mine = found.institution_code == (user.institution_id or found.institution_code)
    row = found.diseases.known().first() if found.state == "approved" else None
    if row is None or row.valid_until is None or not (mine and user.may(filings.FILE)):
        return ""
    return f"{reverse('disease-filing-new')}?renews={row.pk}"


def _step(found: DiseaseFiling, step: Any, typed: StepForm | None) -> dict[str, Any]:
    form = typed if typed is not None and typed.step.key == step.key else StepForm(
        step=step, version=found.version, today=clock.today())  # fmt: skip
    if step.key == "approve" and form is not typed:
        form.fields["valid_from"].initial = _first_day(found)
    return {"form": form, "title": step.label, "tone": step.tone, "open": False,
            "url": reverse("disease-filing-step", args=[found.pk, step.key])}  # fmt: skip


def _first_day(found: DiseaseFiling):
    """A renewal goes on where the recognition ends; a first one begins today."""
    last = found.renews.valid_until if found.renews else None
    return last + filings.DAY if last and last >= clock.today() else clock.today()


def _facts(request: PortalRequest, found: DiseaseFiling) -> list[dict[str, Any]]:
    person = found.person
    seen = request.user.may("persons.view") and not request.user.institution_id
    return [
        {"label": "认定号", "value": found.number, "code": True},
        {"label": "参保人", "value": person.name_masked, "sub": person.id_masked,
         "url": reverse("person", args=[person.pk]) if seen else ""},
        {"label": "险种", "value": person.get_scheme_display()},
        {"label": "病种", "value": found.name, "sub": found.code},
        {"label": "事项", "value": "续期" if found.renews_id else "首次认定",
         "sub": f"原有效期至 {found.renews.valid_until}" if found.renews else ""},
        {"label": "申请", "value": f"{clock.local(found.opened_at):%Y-%m-%d %H:%M}",
         "sub": Login(found.opened_by)},
        {"label": "有效期", "value": f"{found.valid_from} 至 {found.valid_until or '长期'}"
         if found.valid_from else ""},
        {"label": "申请说明", "value": found.reason, "wide": True},
    ]  # fmt: skip


def _due(found: DiseaseFiling, table: Procedure) -> dict[str, Any] | None:
    if found.closed_at is not None or not (found.due or found.stopped or found.due_unknown):
        return None
    return {"due": found.due, "stopped": found.stopped, "unknown": found.due_unknown,
            "clause": f"{table.document} {found.due_clause}",
            "example": filings.review_time_is_example(found)}  # fmt: skip


def _file(found: DiseaseFiling, row: Any, law: filings.Law) -> dict[str, Any]:
    material = row.kind.removeprefix(PERSONAL)
    return {
        "name": law.materials.get(material, row.name), "at": clock.local(row.uploaded_at),
        "by": row.uploaded_by, "sm3": row.digest,
        "url": reverse("disease-filing-file", args=[found.pk, row.pk]),
    }  # fmt: skip


def _move(row: Move) -> dict[str, Any]:
    asked = row.facts.get("missing") or ()
    dates = [
        str(row.facts[key]) for key in ("valid_from", "valid_until", "last") if row.facts.get(key)
    ]
    open_ended = row.facts.get("valid_from") and len(dates) == 1
    span = f"{dates[0]} 起，至认定年限届满" if open_ended else " 至 ".join(dates)
    text = "；".join(filter(None, [row.note, *asked, span]))
    return {
        "at": f"{row.on} · 登记 {clock.local(row.at):%Y-%m-%d %H:%M}", "by": row.by,
        "title": row.label, "text": text, "tone": "bad" if row.target in ENDS else "ok",
        "clause": {"document": row.clause, "clause": ""} if row.clause else None,
    }  # fmt: skip


@requires("diseases.view")
@require_POST
def step(request: PortalRequest, pk: int, step: str) -> HttpResponse:
    """Take a step of the table; who may, the table says."""
    found = _visible(request, pk)
    try:
        chosen = _table().step(step)
    except Refused as error:
        raise Http404(step) from error
    form = StepForm(request.POST, request.FILES, step=chosen, version=found.version,
                    today=clock.today())  # fmt: skip
    status = 422
    if form.is_valid():
        try:
            with transaction.atomic():
                move = filings.take_step(
                    filing=found, step=step, who=request.user, by=request.user.username,
                    at=clock.now(), note=form.note, facts=form.facts(),
                    version=form.cleaned_data["version"],
                )  # fmt: skip
        except (Refusal, Refused) as error:
            status = refuse(form, error)
            found.refresh_from_db()
            if chosen not in _table().steps_from(found.state):
                messages.error(request, f"{words_of(error)}。")
        else:
            messages.success(request, f"已办理“{move.label}”。")
            return redirect("disease-filing", pk=found.pk)
    return _page(request, _visible(request, pk), typed=form, status=status)


@requires("diseases.file")
@require_POST
def upload(request: PortalRequest, pk: int) -> HttpResponse:
    """Add materials to an open application."""
    found = _visible(request, pk)
    law = filings.Law.of(found.region_code, found.entered_on)
    form = PapersForm(request.POST, request.FILES, materials=law.materials.items())
    status = 422
    if form.is_valid():
        given = form.cleaned_data
        files = [(given["material"], part.name or "", part.read()) for part in given["papers"]]
        try:
            with transaction.atomic():
                filings.attach(filing=found, files=files, by=request.user.username, at=clock.now())
        except Refusal as error:
            form.add_error("papers", words_of(error))
        else:
            messages.success(request, f"已上传 {len(files)} 个文件。")
            return redirect("disease-filing", pk=found.pk)
    return _page(request, found, papers=form, status=status)


@requires("diseases.view")
@require_GET
def material(request: PortalRequest, pk: int, document: int) -> HttpResponse:
    """A paper about somebody's health: only with its application, and every look is an event."""
    found = _visible(request, pk)
    row = get_object_or_404(filings.materials(found), pk=min(document, 2**63 - 1))
    return shown_file(
        request, row, found.subject, found.region_code, found.institution_code,
        bytes(found.person.id_hash),
    )  # fmt: skip


def shown_file(
    request: PortalRequest, row: Document, of: str, region: str, place: str, person: bytes
) -> HttpResponse:
    """A stored paper about somebody as a download; the look is an event about the person."""
    content = content_of(row)
    trail.record(
        by=request.user.username, at=clock.now(), action="document.read", subject=f"document:{row.pk}",
        region_code=region, institution_code=place, person_hash=person,
        detail={"of": of, "sm3": row.digest},
    )  # fmt: skip
    answer = HttpResponse(content, content_type=row.media_type)
    answer["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(row.name)}"
    answer["X-Content-Type-Options"] = "nosniff"
    answer["Cache-Control"] = "private, no-store"
    answer["Content-Security-Policy"] = "default-src 'none'; sandbox"
    return answer
