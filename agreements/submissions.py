"""Official forms on their way: filled in by a bureau, sealed by the province, reported together.

由申请地市（省级）医疗保障部门填写，省医疗保障局汇总后统一上报. Restricted values lie encrypted (SM4),
bound to their form; every look at them in clear is an event. (宁医保发〔2021〕152号 附件3)
"""

import datetime as dt
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.urls import reverse

from agreements import clocks, papers
from agreements.models import FormSubmission
from agreements.official_forms import (
    Field,
    Filled,
    Form,
    blank_form,
    cleaned,
    forms_of,
    joined,
    lacking,
    masked,
    split,
)
from agreements.waves import LEVELS
from audit import pdf, sheets, trail
from audit.models import Move
from audit.moves import advance, opened
from audit.procedure import PROCEDURES, Handbook, Procedure, Refused, State, Turn, at_level
from institutions import crypto, documents, news
from institutions.models import Institution, Office, Region, User
from institutions.refusals import Fault, Refusal

SUBJECT = "formsubmission"
VIEW, FILL, APPROVE, REVEAL = "forms.view", "forms.fill", "forms.approve", "accounts.reveal"
APPROVED, COLLECTED = "approved", "collected"
SEALED = (APPROVED, COLLECTED)
PROVINCE = Region.Level.PROVINCE
LONGEST_TITLE = 31  #: of a sheet in a workbook
MOST = 2_000  #: forms in one file
STYLES = (*pdf.STYLES, "css/forms_paper.css")


def procedure_of(region: Region) -> Procedure:
    """The procedure of the official forms of a region; Refused 404 without one."""
    for table in PROCEDURES.values():
        if table.subject == SUBJECT and table.region == region.policy_region:
            return table
    raise Refused(404, "NO_FORMS", f"{region.name}没有官方申请表")


def form_of(submission: FormSubmission) -> Form:
    """The form as the document prints it on the day when it was opened."""
    return printed([submission])[submission.pk]


def printed(rows: Sequence[FormSubmission]) -> dict[int, Form]:
    """Each of some forms as it was printed when it was opened; every law is looked up once."""
    regions = Region.objects.in_bulk({row.region_code for row in rows})
    laws: dict[tuple[str, dt.date], dict[str, Form]] = {}
    found = {}
    for row in rows:
        key = row.region_code, papers.today_of(row.opened_at)
        if key not in laws:
            laws[key] = forms_of(clocks.law_of(regions[row.region_code], key[1]))
        found[row.pk] = laws[key][row.form]
    return found


def bounded(rows: QuerySet[FormSubmission]) -> list[FormSubmission]:
    """The rows of a file; Refused when they are too many for one."""
    found = list(rows[: MOST + 1])
    if len(found) > MOST:
        raise Refused(422, "EXPORT_TOO_LARGE", f"超过 {MOST:,} 份，请缩小查询范围后再导出")
    return found


def filled_of(submission: FormSubmission) -> Filled:
    """Everything that stands in a form, in clear. Callers mask it, or record that it was seen."""
    clear = Filled.of(submission.content)
    if submission.restricted is None:
        return clear
    text = crypto.decrypt(bytes(submission.restricted), bound_to=_bound(submission))
    return joined(clear, Filled.of(json.loads(text)))


def shown(submission: FormSubmission, form: Form) -> Filled:
    """What screens, lists and files show: restricted values masked."""
    return masked(form, filled_of(submission))


def may_fill(who: User, law: Mapping[str, Any]) -> bool:
    """Whether somebody fills in forms: the bureau of a level that the document names."""
    levels = {LEVELS[level] for level in (law.get("forms") or {})["filing"]["filled_by"]}
    return who.may(FILL) and who.level in levels


def may_see(who: User, submission: FormSubmission) -> bool:
    """Whether somebody may see restricted values in clear (against a reason or on the sealed form)."""
    return who.may(REVEAL) or (who.may(APPROVE) and who.level == PROVINCE)


# --- Filling in ---


@transaction.atomic
def open_form(
    *, form: str, who: User, on: dt.date, by: str, at: dt.datetime,
    institution: Institution | None = None,
) -> FormSubmission:  # fmt: skip
    """A new form of the reader's bureau, prefilled from the document and from the registry."""
    if who.region is None:
        raise Refused(403, "NOT_FILLER", "申请表由地市或省级医疗保障部门填写")
    table, law = procedure_of(who.region), clocks.law_of(who.region, on)
    chosen = forms_of(law).get(form)
    if chosen is None:
        raise Refused(404, "FORM_UNKNOWN", "没有这一申请表")
    _may_fill(who, law, chosen)
    _served(chosen, institution, who)
    number = papers.number_of(table.slug, "submission", on=on)
    case = FormSubmission(
        number=number, form=form, institution=institution, procedure=table.slug,
        state=table.first.key, entered_on=on, region_code=who.region.pk,
        institution_code=institution.pk if institution else "", opened_at=at, opened_by=by,
    )  # fmt: skip
    _store(case, chosen, blank_form(chosen, institution, on=on, number=number, by=by, at=at))
    case.save(force_insert=True)
    opened(case=case, procedure=table, handbook=HANDBOOK, by=by, at=at, on=on)
    return case


def _may_fill(who: User, law: Mapping[str, Any], form: Form) -> None:
    if not may_fill(who, law):
        raise Refused(403, "NOT_FILLER", "申请表由地市或省级医疗保障部门填写",
                      clause=f"{law.get('document', '')} {form.clause}")  # fmt: skip


def _served(form: Form, institution: Institution | None, who: User) -> None:
    """A merchant's form belongs to an institution of the bureau's area; others may name one."""
    if institution is None:
        if form.serves:
            raise Refused(422, "INSTITUTION_MISSING", "请选择医疗机构或零售药店",
                          field="institution")  # fmt: skip
        return
    if not Institution.objects.visible_to(who).filter(pk=institution.pk).exists():
        raise Refused(404, "INSTITUTION_UNKNOWN", "没有这一机构", field="institution")
    kinds = {"institution": Institution.Kind.MEDICAL}
    if form.serves and institution.kind not in [kinds.get(kind, kind) for kind in form.serves]:
        raise Refused(422, "INSTITUTION_KIND", "本表只适用于医疗机构和零售药店",
                      field="institution")  # fmt: skip


@transaction.atomic
def fill(
    *, submission: FormSubmission, filled: Filled, who: User, version: int, by: str, at: dt.datetime
) -> FormSubmission:
    """Save a draft. Blanks may stay empty; what is filled in must be right, every fault is told.

    A restricted value that is left out stays as it was (rows are known by their `id`).
    """
    case, form = _draft(submission, who, version)
    kept, faults = cleaned(form, _kept(form, filled, filled_of(case)))
    if faults:
        raise Refusal(422, "FORM_INVALID", ("填写有误，请按提示修改", "the form has faults"),
                      tuple(faults))  # fmt: skip
    _store(case, form, kept)
    case.version += 1
    case.save(update_fields=["content", "restricted", "version"])
    _event(case, "fill", by, at, {"rows": len(kept.rows)})
    return case


def _draft(submission: FormSubmission, who: User, version: int) -> tuple[FormSubmission, Form]:
    case = _held(submission, who)
    form = form_of(case)
    _may_fill(who, clocks.law_of(_region(case), papers.today_of(case.opened_at)), form)
    table = PROCEDURES[case.procedure]
    if case.state != table.first.key:
        label = table.states[case.state].label
        raise Refused(409, "FORM_CLOSED", f"当前状态为“{label}”，不能修改")
    if case.version != version:
        raise Refused(409, "CASE_MOVED", "本表已被他人修改，请刷新后再改；您的修改没有保存")
    return case, form


def _kept(form: Form, filled: Filled, stored: Filled) -> Filled:
    """Restricted values that were left out, from what is stored."""
    before = {row.get("id"): row for row in stored.rows}
    return Filled(
        _with(form.fields, filled.fields, stored.fields),
        [_with(form.columns, row, before.get(row.get("id"), {})) for row in filled.rows],
    )


def _with(blanks: Sequence[Field], given: dict[str, str], stored: Mapping[str, str]) -> dict:
    kept = {
        blank.key: stored[blank.key]
        for blank in blanks
        if blank.restricted and not given.get(blank.key) and stored.get(blank.key)
    }
    return {**given, **kept}


def _store(case: FormSubmission, form: Form, filled: Filled) -> None:
    clear, hidden = split(form, filled)
    case.content = clear.data()
    text = json.dumps(hidden.data(), ensure_ascii=False, sort_keys=True)
    case.restricted = crypto.encrypt(text, bound_to=_bound(case))


def _bound(case: FormSubmission) -> str:
    return f"formsubmission:{case.number}:restricted"


# --- Moving ---


@transaction.atomic
def take_step(
    *, submission: FormSubmission, step: str, who: User, by: str, at: dt.datetime,
    on: dt.date | None = None, note: str = "", version: int | None = None,
) -> Move:  # fmt: skip
    """Take a step of the table with a form inside the reader's area."""
    case = _held(submission, who)
    move = advance(
        case=case, procedure=PROCEDURES[case.procedure], handbook=HANDBOOK, step=step, who=who,
        level=who.level, on=on, note=note, version=version, by=by, at=at,
    )  # fmt: skip
    submission.refresh_from_db()
    return move


@transaction.atomic
def collect(
    *, submissions: Sequence[FormSubmission], who: User, on: dt.date, by: str, at: dt.datetime
) -> int:
    """Mark sealed forms of one kind as reported together; all or none."""
    if not submissions:
        raise Refused(422, "NOTHING_CHOSEN", "请选择要上报的申请表", field="selected")
    if len({row.form for row in submissions}) > 1:
        raise Refused(422, "FORMS_MIXED", "一次只能汇总同一种申请表", field="selected")
    numbers = [row.number for row in submissions]
    for row in submissions:
        take_step(submission=row, step="collect", who=who, on=on, by=by, at=at)
    trail.record(
        by=by, at=at, action="formsubmission.collected", subject=f"forms:{submissions[0].form}",
        region_code=who.region_id or "", detail={"numbers": numbers, "on": on},
    )  # fmt: skip
    return len(numbers)


def _held(submission: FormSubmission, who: User) -> FormSubmission:
    rows = FormSubmission.objects.visible_to(who).select_for_update(of=("self",))
    case = rows.filter(pk=submission.pk).first() if who.may(VIEW) else None
    if case is None:
        raise Refused(404, "FORM_UNKNOWN", "没有这一申请表")
    return case


# --- Looking ---


@transaction.atomic
def reveal(
    *, submission: FormSubmission, reason: str, who: User, by: str, at: dt.datetime
) -> Filled:
    """Everything in clear, against a reason; the look is an event."""
    case = _held(submission, who)
    _event(case, "reveal", by, at, {"reason": _justified([case], who, reason)})
    return filled_of(case)


def _justified(cases: Sequence[FormSubmission], who: User, reason: str) -> str:
    """The reason for which restricted values are shown in clear; Refused without the right or one."""
    if not all(may_see(who, case) for case in cases):
        raise Refused(403, "NOT_REVEALED", "您的角色不能查看完整号码")
    if not reason.strip():
        raise Refused(422, "REASON_MISSING", "请填写查看原因", field="reason")
    return reason.strip()


@transaction.atomic
def official_paper(
    *, submission: FormSubmission, who: User, by: str, at: dt.datetime, reason: str | None = None
) -> bytes:
    """The form in its official layout: masked, or against a reason in clear once it is sealed."""
    case = _held(submission, who)
    full = reason is not None
    if full and case.state not in SEALED:
        raise Refused(409, "NOT_SEALED", "申请表盖章后才能出具完整表样")
    detail = {"reason": _justified([case], who, reason)} if reason is not None else {}
    _event(case, "paper", by, at, {"in_clear": full, **detail})
    return paper_of(case, in_clear=full)


def paper_of(case: FormSubmission, *, in_clear: bool) -> bytes:
    """The PDF of a form: the same bytes whenever it is made, at the time of its seal or last move."""
    form = form_of(case)
    filled = filled_of(case) if in_clear else shown(case, form)
    seal = case.content.get("seal")
    last = Move.objects.filter(subject=case.subject).order_by("-pk")[0]
    at = dt.datetime.fromisoformat(seal["at"]) if seal else last.at
    return pdf.render(
        "reports/forms/access.html" if form.columns else "reports/forms/merchant.html",
        _paper(case, form, filled, in_clear=in_clear),
        identifier=pdf.identifier_of(SUBJECT, case.number, at.isoformat(), str(in_clear)),
        at=at, styles=STYLES,
    )  # fmt: skip


def _paper(case: FormSubmission, form: Form, filled: Filled, *, in_clear: bool) -> dict[str, Any]:
    blanks = {blank.key: {"field": blank, "value": filled.fields.get(blank.key, "")}
              for blank in form.fields}  # fmt: skip
    return {
        "form": form, "number": case.number, "blanks": blanks,
        "lines": [row for key, row in blanks.items() if key != "filled_on"],
        "filled_on": _written(filled.fields.get("filled_on", "")),
        "rows": [
            [{"column": column, "value": row.get(column.key, "")} for column in form.columns[1:]]
            for row in filled.rows
        ],
        "seal": case.content.get("seal"), "masked": not in_clear, **_spans(form, len(filled.rows)),
        "demo": settings.DEMO_TODAY is not None,
    }  # fmt: skip


def _spans(form: Form, rows: int) -> dict[str, int]:
    """How many columns and rows the cells of the printed head take."""
    columns = len(form.columns)
    above = 4 if any(blank.key == "third_party_channel" for blank in form.fields) else 2
    left = (columns - 4) // 2
    return {"columns": columns, "wide": columns - 2, "left": columns - 4 - left, "right": left,
            "span": above + 2 + rows}  # fmt: skip


def _bureau(case: FormSubmission) -> str:
    code = at_level(case.region_code, PROVINCE)
    office = Office.objects.filter(region=code, kind=Office.Kind.BUREAU).first()
    return office.name if office else f"{Region.objects.get(pk=code).name}医疗保障局"


def _name(username: str) -> str:
    found = User.objects.filter(username=username).first()
    return str(found) if found else username


def _written(text: str) -> str:
    return papers.written(dt.date.fromisoformat(text)) if text else ""


@transaction.atomic
def workbook_of(
    *, form: Form, submissions: Sequence[FormSubmission], who: User, by: str, at: dt.datetime,
    reason: str | None = None,
) -> bytes:  # fmt: skip
    """Every row of some sealed forms as one workbook of texts: masked, or against a reason in clear."""
    full = reason is not None
    why = {"reason": _justified(submissions, who, reason)} if reason is not None else {}
    blanks = [*form.fields, *form.columns[1:]]
    head = ["编号", *(blank.label for blank in blanks), "盖章单位", "盖章日", "盖章人"]
    rows = [line for case in submissions for line in _sheet_rows(case, form, in_clear=full)]
    trail.record(
        by=by, at=at, action=f"{SUBJECT}.workbook", subject=f"forms:{form.key}",
        region_code=who.region_id or "",
        detail={"in_clear": full, "numbers": [case.number for case in submissions], **why},
    )  # fmt: skip
    return sheets.workbook(form.short[:LONGEST_TITLE], head, rows)


def _sheet_rows(case: FormSubmission, form: Form, *, in_clear: bool) -> Iterator[list[str]]:
    filled = filled_of(case) if in_clear else shown(case, form)
    seal = case.content.get("seal", {})
    for row in filled.rows or [{}]:
        yield [
            case.number, *(filled.fields.get(blank.key, "") for blank in form.fields),
            *(row.get(blank.key, "") for blank in form.columns[1:]),
            seal.get("bureau", ""), seal.get("on", ""), seal.get("by", ""),
        ]  # fmt: skip


# --- What the table names ---


def form_complete(turn: Turn) -> None:
    """Every blank of the official form is filled in."""
    form = form_of(turn.case)
    if faults := tuple(lacking(form, filled_of(turn.case))):
        raise Refusal(422, "FORM_INCOMPLETE", ("申请表尚未填写完整", "blanks are empty"), faults)


def another_person(turn: Turn) -> None:
    """Whoever filled in or handed in a form does not seal it."""
    acts = Move.objects.filter(subject=turn.case.subject, step="submit")
    if turn.by == turn.case.opened_by or turn.by in acts.values_list("by", flat=True):
        raise Refused(
            403, "SAME_PERSON", "填表人本人不能审核盖章",
            clause=f"{turn.procedure.document} {turn.step.clause}",
        )  # fmt: skip


def seal_form(turn: Turn) -> None:
    """The mark of approval is set and the form kept masked; a keyed hash proves what it said."""
    case: FormSubmission = turn.case
    case.content = case.content | {"seal": {
        "bureau": _bureau(case), "by": _name(turn.by), "on": papers.written(turn.on),
        "note": turn.note, "number": case.number, "at": turn.at.isoformat(),
    }}  # fmt: skip
    case.document = documents.store(
        content=paper_of(case, in_clear=False), name=f"{case.number}（已遮盖）.pdf",
        kind="official_form", by=turn.by, at=turn.at, subject=case.subject,
        region_code=case.region_code,
    )  # fmt: skip
    _event(case, "seal", turn.by, turn.at, {"content": proof_of(case).hex()})


def proof_of(case: FormSubmission) -> bytes:
    """The keyed hash of everything in a form, as the trail keeps it from the seal on."""
    return crypto.keyed_hash(SUBJECT, trail.canonical(filled_of(case).data()).decode())


def describe(case: FormSubmission) -> str:
    """What tasks call a form."""
    owner = f"（{case.institution.name}）" if case.institution else ""
    return f"{case.number} {form_of(case).short}{owner}"


def place(case: FormSubmission) -> str:
    """The address of its page."""
    return reverse("forms-item", args=[case.pk])


def told(turn: Turn, state: State) -> None:
    """The province hears of a form handed in, the bureau that filled it in of the answer."""
    case: FormSubmission = turn.case
    if turn.step.key == "withdraw":
        return
    permission = state.holder or FILL
    region = at_level(case.region_code, state.level) if state.level else case.region_code
    news.tell(
        permission=permission, region_code=region, institution_code="",
        text=f"{describe(case)}：{state.label}", url=place(case), subject=case.subject, at=turn.at,
    )  # fmt: skip


HANDBOOK = Handbook(
    checks={"form_complete": form_complete, "another_person": another_person},
    effects={"seal_form": seal_form}, describe=describe, place=place, told=told,
)  # fmt: skip


def _region(case: FormSubmission) -> Region:
    return Region.objects.get(pk=case.region_code)


def _event(case: FormSubmission, action: str, by: str, at: dt.datetime, detail: dict) -> None:
    trail.record(
        by=by, at=at, action=f"{SUBJECT}.{action}", subject=case.subject,
        region_code=case.region_code, institution_code=case.institution_code, detail=detail,
    )  # fmt: skip


def faults_of(refusal: Refusal) -> list[Fault]:
    """The faults of a refusal, or the refusal itself as one that belongs to no blank."""
    return list(refusal.faults) or [Fault("/", refusal.code, refusal.detail)]
