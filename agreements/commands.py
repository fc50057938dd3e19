"""Applications: made, stated, judged, moved, objected to. Every act is one command in one transaction.

What is permitted stands in the tables (agreements/procedures/), what it takes in checks.py. An
institution sees and moves its own applications only; the agency those of its area.
"""

import datetime as dt
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.db import IntegrityError, transaction

from agreements import clocks, lifecycle, papers
from agreements.handbook import HANDBOOK, lapse_day, procedure_of, tables
from agreements.models import Application, Objection, Requirement
from audit import trail
from audit.access import Person
from audit.models import Move
from audit.moves import advance, opened, refresh
from audit.procedure import PROCEDURES, SYSTEM, Procedure, Refused, Step, Turn
from institutions.models import Document, Institution, User

log = logging.getLogger(__name__)
APPLY, REVIEW, TEST = "applications.apply", "applications.review", "applications.test"
Part = Requirement.Part
JUDGES = {Part.MATERIALS: (REVIEW, TEST), Part.ACCEPTANCE: (TEST,)}


# --- Applying ---


@transaction.atomic
def apply(
    *, institution: Institution, procedure: str, who: User, by: str, at: dt.datetime,
    includes_main: bool = False, intention: str = "", previous: Application | None = None,
    override_reason: str = "", on: dt.date | None = None,
) -> Application:  # fmt: skip
    """Open an application of an institution in its region's procedure, as a draft.

    Voluntary, by the physical institution itself. Refused with field, reason and clause.
    """
    table = procedure_of(institution)
    _may_apply(institution, table, procedure, who)
    day = _today(on, at)
    locked = Institution.objects.select_for_update(no_key=True, of=("self",))
    owner = locked.select_related("region__parent").get(pk=institution.pk)
    if clocks.policy_of(owner.region, day) is None:
        raise Refused(409, "RULE_NOT_IN_FORCE", f"{day}没有生效的政策文件，不能申请")
    case = Application(
        institution=owner, procedure=table.slug, includes_main=includes_main, previous=previous,
        intention=intention.strip(), region_code=owner.region_id, institution_code=owner.pk,
        opened_at=at, opened_by=by, state=table.first.key, entered_on=day,
    )  # fmt: skip
    turn = _opening_turn(case, table, override_reason, who, by, at, day)
    rules = table.data.get("opening") or {}
    for name in rules.get("checks", ()):
        HANDBOOK.checks[name](turn)
    case.previous = _before(owner, table, previous)
    case.number = papers.number_of(table.slug, "application", on=day)
    _store(case)
    for name in rules.get("effects", ()):
        HANDBOOK.effects[name](turn)
    _checklist(case, table, day, at)
    opened(
        case=case, procedure=table, handbook=HANDBOOK, by=by, at=at, on=day,
        note=override_reason.strip(),
    )  # fmt: skip
    return case


def may_apply(
    *, institution: Institution, who: User, at: dt.datetime, includes_main: bool = False
) -> None:  # fmt: skip
    """Refused with reason, day and clause while `apply` would be; stores nothing."""
    table, day = procedure_of(institution), papers.today_of(at)
    _may_apply(institution, table, table.slug, who)
    case = Application(
        institution=institution, procedure=table.slug, includes_main=includes_main,
        region_code=institution.region_id, institution_code=institution.pk,
        state=table.first.key, entered_on=day,
    )  # fmt: skip
    turn = _opening_turn(case, table, "", who, who.username, at, day)
    for name in (table.data.get("opening") or {}).get("checks", ()):
        HANDBOOK.checks[name](turn)


def _may_apply(institution: Institution, table: Procedure, procedure: str, who: User) -> None:
    clause = f"{table.document} {(table.data.get('opening') or {}).get('clause', '')}".strip()
    if not who.may(APPLY) or who.institution_id != institution.pk:
        raise Refused(403, "NOT_APPLICANT", "只能由机构自愿为本机构提出申请", clause=clause)
    if procedure != table.slug:
        raise Refused(
            422,
            "PROCEDURE_OTHER_REGION",
            f"本机构适用的办理程序为“{table.title}”",
            field="procedure",
        )
    if institution.kind != table.data.get("applicant") or institution.parent_id:
        raise Refused(
            422, "NOT_PHYSICAL", "申请人须为实体医疗机构", clause=clause, field="institution"
        )


def _opening_turn(
    case: Application, table: Procedure, reason: str, who: User, by: str, at: dt.datetime,
    day: dt.date,
) -> Turn:  # fmt: skip
    clause = (table.data.get("opening") or {}).get("clause", "")
    step = Step(
        key="open",
        label="申请",
        source=("",),
        target=table.first.key,
        permission=APPLY,
        clause=clause,
    )
    return Turn(
        case=case, procedure=table, step=step, by=by, at=at, on=day, who=who,
        facts={"override_reason": reason.strip()},
    )  # fmt: skip


def _before(
    institution: Institution, table: Procedure, previous: Application | None
) -> Application | None:
    """The attempt before this one: the one named, which must be the institution's own, else the last."""
    rows = Application.objects.filter(institution=institution, procedure=table.slug)
    if previous is None:
        return rows.order_by("-pk").first()
    if not rows.filter(pk=previous.pk).exists():
        raise Refused(422, "PREVIOUS_FOREIGN", "所续的不是本机构的申请", field="previous")
    return previous


def _store(case: Application) -> None:
    try:
        with transaction.atomic():
            case.save(force_insert=True)
    except IntegrityError:
        raise Refused(409, "ALREADY_APPLIED", "本机构已有申请正在办理，不能重复申请") from None


def _checklist(case: Application, table: Procedure, day: dt.date, at: dt.datetime) -> None:
    """The lines of the law's section that the table names; the main agreement is stated for them."""
    rules = table.data["checklist"]
    rows = list(conditions_of(clocks.law_of(case.institution.region, day), rules["materials"]))
    made = Requirement.objects.bulk_create(
        Requirement(
            application=case, part=Part.MATERIALS, no=row["no"], text=row["text"],
            clause=row["clause"],
        )
        for row in rows
    )  # fmt: skip
    for requirement, row in zip(made, rows, strict=True):
        if row["name"] == rules.get("together"):
            _state_main(case, requirement, day, at)


def _state_main(case: Application, requirement: Requirement, day: dt.date, at: dt.datetime) -> None:
    """The condition of a main agreement: known from the register, or met by applying together."""
    main = lifecycle.main_of(case.institution, on=day)
    if main is not None:
        until = f"至{main.valid_until}" if main.valid_until else ""
        requirement.statement = f"已签订定点协议{main.number}{until}"
    elif case.includes_main:
        requirement.statement = requirement.remark = "与定点协议一并申请，定点协议先行签订"
        requirement.met, requirement.judged_by, requirement.judged_at = True, SYSTEM, at
    requirement.save()


def conditions_of(law: Mapping[str, Any], rule: Mapping[str, Any]) -> Iterable[dict[str, str]]:
    """The rows of a policy's section as a checklist: no, text, clause and the name they go by."""
    found: Any = law
    for key in rule["section"].split("."):
        found = found.get(key, ()) if isinstance(found, Mapping) else ()
    for place, row in enumerate(found, start=1):
        yield {
            "no": str(row.get("no", place)), "text": row.get("text") or row["name"],
            "clause": row["clause"], "name": row.get("key") or row["name"],
        }  # fmt: skip


# --- Checklists ---


@transaction.atomic
def state_requirement(
    *, application: Application, part: str, no: str, statement: str, who: Person, by: str,
    at: dt.datetime, documents: Sequence[Document] = (),
) -> Requirement:  # fmt: skip
    """The institution's statement and evidence on one line; an earlier judgement of it is void."""
    case = _held(application, who)
    if not who.may(APPLY) or who.institution_id != case.institution_id:
        raise Refused(403, "NOT_APPLICANT", "只能由申请机构填写")
    row = _line(case, part, no, "stated", "填写")
    foreign = [file.name for file in documents if file.institution_id != case.institution_id]
    if foreign:
        raise Refused(422, "DOCUMENT_FOREIGN", f"不是本机构的材料：{foreign[0]}", field="documents")
    row.statement, row.met, row.judged_by, row.judged_at = statement.strip(), None, "", None
    row.save(update_fields=["statement", "met", "judged_by", "judged_at"])
    row.documents.set(documents)
    _event(case, "state", by, at, {
        "part": part, "no": no, "statement": row.statement,
        "documents": {str(file.pk): file.digest for file in documents},
    })  # fmt: skip
    return row


@transaction.atomic
def judge_requirement(
    *, application: Application, part: str, no: str, met: bool, who: User, by: str,
    at: dt.datetime, remark: str = "",
) -> Requirement:  # fmt: skip
    """Whether a line is met; one that is not needs a remark, which the notice repeats."""
    case = _held(application, who)
    table = PROCEDURES[case.procedure]
    holder = table.states[case.state].holder
    if not who.may(holder) or holder not in JUDGES.get(Part(part), ()):
        raise Refused(403, "NOT_JUDGE", "您的角色不能审核这一清单")
    if by == case.opened_by:
        raise Refused(403, "SAME_PERSON", "申请人本人不能审核该申请")
    row = _line(case, part, no, "judged", "审核")
    if not met and not remark.strip():
        raise Refused(422, "REMARK_MISSING", "不符合的，请写明需改进完善的内容", field="remark")
    limit = Requirement._meta.get_field("remark").max_length
    if limit is not None and len(remark.strip()) > limit:
        raise Refused(422, "REMARK_TOO_LONG", f"审核意见不超过{limit}字", field="remark")
    row.met, row.remark, row.judged_by, row.judged_at = met, remark.strip(), by, at
    row.save(update_fields=["met", "remark", "judged_by", "judged_at"])
    _event(case, "judge", by, at, {"part": part, "no": no, "met": met, "remark": row.remark})
    return row


def _line(case: Application, part: str, no: str, what: str, word: str) -> Requirement:
    """A line that may be stated or judged in the present state, locked."""
    table = PROCEDURES[case.procedure]
    rule = table.data["checklist"].get(part, {})
    if case.state not in rule.get(what, ()):
        label = table.states[case.state].label
        raise Refused(
            409, "CHECKLIST_CLOSED", f"当前状态为“{label}”，不能{word}这一清单",
            clause=f"{table.document} {rule.get('clause', '')}".strip(),
        )  # fmt: skip
    rows = Requirement.objects.select_for_update().filter(application=case, part=part, no=no)
    if (row := rows.first()) is None:
        raise Refused(404, "LINE_UNKNOWN", f"清单没有第{no}项")
    return row


def _held(application: Application, who: Person) -> Application:
    """The application, locked; whoever may not see it learns nothing of it."""
    rows = Application.objects.visible_to(who).select_for_update(of=("self",))
    case = rows.select_related("institution__region").filter(pk=application.pk).first()
    if case is None:
        raise Refused(404, "APPLICATION_UNKNOWN", "没有这一申请")
    return case


# --- Moving ---


@transaction.atomic
def take_step(
    *, application: Application, step: str, who: User, by: str, at: dt.datetime,
    on: dt.date | None = None, note: str = "", facts: Mapping[str, Any] | None = None,
    version: int | None = None,
) -> Move:  # fmt: skip
    """Take a step of the table; `version` is what the person saw, `facts` the step's inputs.

    Files are given as documents (or their numbers) of the application's institution or area.
    """
    if not Application.objects.visible_to(who).filter(pk=application.pk).exists():
        raise Refused(404, "APPLICATION_UNKNOWN", "没有这一申请")
    table = PROCEDURES[application.procedure]
    given = _inputs(table.step(step), facts or {}, who)
    move = advance(
        case=application, procedure=table, handbook=HANDBOOK, step=step, who=who, level=who.level,
        on=on, note=note, facts=given, version=version, by=by, at=at,
    )  # fmt: skip
    application.refresh_from_db()
    return move


def _inputs(step: Step, facts: Mapping[str, Any], who: User) -> dict[str, Any]:
    """The inputs that the step asks for and no others; files as numbers of documents."""
    kinds = {ask.key: ask.kind for ask in step.asks}
    if unknown := sorted(set(facts) - set(kinds)):
        raise Refused(
            422, "INPUT_UNKNOWN", f"“{step.label}”没有“{unknown[0]}”这一输入", field=unknown[0]
        )
    return {
        key: _files(key, value, who) if kinds[key] == "files" else value
        for key, value in facts.items()
    }


def _files(key: str, value: Any, who: User) -> list[int]:
    numbers = [int(getattr(file, "pk", file)) for file in value or ()]
    seen = Document.objects.visible_to(who).filter(pk__in=numbers).values_list("pk", flat=True)
    if set(numbers) - set(seen):
        raise Refused(422, "DOCUMENT_UNKNOWN", "没有这一文件，请重新上传", field=key)
    return numbers


# --- Public notice ---


@transaction.atomic
def raise_objection(
    *, application: Application, raised_by: str, text: str, who: User, by: str, at: dt.datetime,
    on: dt.date | None = None,
) -> Objection:  # fmt: skip
    """Register an objection that came in while the public notice stands.

    Name and words stay with the objection: the trail says only that there was one.
    """
    case = _reviewed(application, who)
    day = _today(on, at)
    limit = Objection._meta.get_field("raised_by").max_length or 0
    if not text.strip() or not raised_by.strip():
        raise Refused(422, "OBJECTION_EMPTY", "请填写异议人和异议内容", field="text")
    if len(raised_by.strip()) > limit:
        raise Refused(422, "NAME_TOO_LONG", f"异议人不超过{limit}字", field="raised_by")
    if day < case.entered_on or (case.due is not None and day > case.due):
        raise Refused(
            422, "OBJECTION_LATE", f"异议须在公示期（{case.entered_on}至{case.due}）内提出", field="on",
            clause=f"{PROCEDURES[case.procedure].document} {case.due_clause}".strip(),
        )  # fmt: skip
    made = Objection.objects.create(
        application=case, raised_on=day, raised_by=raised_by.strip(), text=text.strip(),
        recorded_at=at, recorded_by=by,
    )  # fmt: skip
    _event(case, "objection", by, at, {"objection": made.pk, "on": day})
    return made


@transaction.atomic
def answer_objection(
    *, objection: Objection, upheld: bool, answer: str, who: User, by: str, at: dt.datetime,
    on: dt.date | None = None,
) -> Objection:  # fmt: skip
    """Decide on an objection, once, with reasons."""
    case = _reviewed(objection.application, who)
    found = Objection.objects.select_for_update().get(pk=objection.pk)
    if found.outcome != Objection.Outcome.OPEN:
        raise Refused(409, "OBJECTION_DECIDED", f"该异议已由{found.decided_by}处理")
    if not answer.strip():
        raise Refused(422, "ANSWER_MISSING", "请写明处理意见", field="answer")
    day = _today(on, at)
    if day < found.raised_on:
        raise Refused(422, "DAY_TOO_EARLY", "处理日不能早于提出日", field="on")
    found.outcome = Objection.Outcome.UPHELD if upheld else Objection.Outcome.DISMISSED
    found.answer, found.decided_on, found.decided_by = answer.strip(), day, by
    found.save(update_fields=["outcome", "answer", "decided_on", "decided_by"])
    _event(case, "objection_answer", by, at, {"objection": found.pk, "outcome": found.outcome})
    return found


def _reviewed(application: Application, who: User) -> Application:
    """An application in its public notice, seen by a reviewer."""
    case = _held(application, who)
    if not who.may(REVIEW):
        raise Refused(403, "NOT_REVIEWER", "您的角色不能处理异议")
    table = PROCEDURES[case.procedure]
    if table.states[case.state].within != table.data.get("publicity"):
        raise Refused(409, "NO_PUBLICITY", "本申请不在公示期内")
    return case


def _today(on: dt.date | None, at: dt.datetime) -> dt.date:
    today = papers.today_of(at)
    if on is not None and on > today:
        raise Refused(422, "DAY_IN_FUTURE", f"日期不能晚于今天（{today}）", field="on")
    return on or today


# --- Clocks that run out, clocks that wait ---


def lapse_overdue(*, by: str, at: dt.datetime) -> int:
    """Take every automatic step whose day has come; how many. One failure stops no other."""
    today, taken = papers.today_of(at), 0
    for table in tables():
        for step in (step for step in table.steps if step.automatic):
            rows = Application.objects.running().filter(
                procedure=table.slug, state__in=step.source, due__lt=today
            )
            for case in rows.order_by("pk"):
                taken += _lapse(case, table, step, by, at)
    return taken


def _lapse(case: Application, table: Procedure, step: Step, by: str, at: dt.datetime) -> bool:
    """False when somebody moved the case at the same moment, or when it is broken (logged)."""
    try:
        with transaction.atomic():
            advance(
                case=case, procedure=table, handbook=HANDBOOK, step=step.key, on=lapse_day(case),
                version=case.version, by=by, at=at,
            )  # fmt: skip
    except Refused:
        return False
    except Exception:
        log.exception("application %s could not lapse", case.number)
        return False
    return True


@transaction.atomic
def refresh_unknown(*, year: int, by: str, at: dt.datetime) -> int:
    """A calendar year was imported: clocks that waited for it or end in it are computed anew.

    Returns how many changed; each change is an event. The tasks that asked for the year are closed
    once nothing waits for it any more.
    """
    changed = 0
    with clocks.one_calendar_each():
        for case in clocks.touched_by(year):
            before, table = case.due, PROCEDURES[case.procedure]
            if not refresh(case=case, procedure=table, handbook=HANDBOOK, at=at):
                continue
            changed += 1
            clocks.ask_for_year(case, at=at)
            _event(case, "refresh", by, at, {"year": year, "before": before, "due": case.due})
    if not Application.objects.running().filter(due_unknown=year).exists():
        clocks.close_year(year, by=by, at=at)
    return changed


def _event(case: Application, action: str, by: str, at: dt.datetime, detail: dict) -> None:
    trail.record(
        by=by, at=at, action=f"application.{action}", subject=case.subject,
        region_code=case.region_code, institution_code=case.institution_code, detail=detail,
    )  # fmt: skip
