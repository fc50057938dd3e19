"""What the tables of 变更备案 and 对码 name: their checks and effects."""

import datetime as dt
from typing import Any

from django.urls import NoReverseMatch, reverse

from audit.procedure import Handbook, Refused, State, Turn
from institutions import news
from institutions.commands.facts import noted, record_facts
from institutions.commands.records import touching, use_account
from institutions.law import law_for
from institutions.models import Change, CodeMapping, Document, PaymentFreeze, Physician
from institutions.refusals import Refusal

DAY = dt.timedelta(days=1)


# --- Checks ---


def another_person(turn: Turn) -> None:
    """Who filed a change does not accept it."""
    if turn.by == turn.case.opened_by:
        raise Refused(403, "SAME_PERSON", "提交人不能核对自己的备案", clause=turn.step.clause)


def evidence_attached(turn: Turn) -> None:
    """A change without any document proves nothing."""
    if not Document.objects.filter(subject=turn.case.subject).exists():
        raise Refused(
            422,
            "EVIDENCE_MISSING",
            "没有证明材料，请退回补正",
            clause=turn.step.clause,
            field="papers",
        )


def national_code_known(turn: Turn) -> None:
    """The national code exists, as far as this portal holds a list of that kind."""
    case: CodeMapping = turn.case
    if code_known(case) is False:
        raise Refused(
            422, "NATIONAL_CODE_UNKNOWN",
            f"{case.get_kind_display()}国家编码“{case.national_code}”不在目录中，请退回修改",
            clause=turn.step.clause, field="national_code",
        )  # fmt: skip


def code_known(case: CodeMapping) -> bool | None:
    """Whether the national code of a mapping exists; None: no list of that kind is held here."""
    if case.kind == CodeMapping.Kind.PHYSICIAN:
        return Physician.objects.filter(
            pk=case.national_code, institution=case.institution_id, left_on__isnull=True
        ).exists()
    if case.kind == CodeMapping.Kind.DEPARTMENT:
        facts = case.institution.facts.facts_on(case.valid_from)
        known = [*facts.offline_departments, *facts.internet_departments] if facts else []
        return case.national_code in known
    return law_for(case.institution, on=case.valid_from).knows(case.kind, case.national_code)


def mapping_free(turn: Turn) -> None:
    """A local code stands for one national code at a time."""
    case: CodeMapping = turn.case
    same = CodeMapping.objects.filter(
        institution=case.institution_id, kind=case.kind, local_code=case.local_code,
        state="approved",
    )  # fmt: skip
    if other := touching(same, case.valid_from, case.valid_until).first():
        raise Refused(
            409, "MAPPING_TAKEN",
            f"该院内编码在{other.valid_from}至{other.valid_until or '长期'}"
            f"已对应{other.national_code}，请先停用",
            clause=turn.step.clause,
        )  # fmt: skip


def mapping_over(turn: Turn) -> None:
    """Only a mapping whose last day has passed expires by itself."""
    last = turn.case.valid_until
    if last is None or last >= turn.on:
        raise Refused(409, "MAPPING_VALID", "该对码仍在有效期内", clause=turn.step.clause)


# --- Effects ---


def apply_change(turn: Turn) -> None:
    """The filed values are facts from the day that the change names."""
    case: Change = turn.case
    if case.kind != Change.Kind.ACCOUNT:
        record_facts(
            institution=case.institution, valid_from=case.effective_from, changes=case.content,
            source=f"变更备案{case.number}", by=turn.by, at=turn.at,
        )  # fmt: skip
        return
    use_account(
        institution=case.institution, sealed=case.content, valid_from=case.effective_from,
        by=turn.by, at=turn.at,
    )  # fmt: skip
    _thaw(turn, max(turn.on, case.effective_from) - DAY)


def end_freeze(turn: Turn) -> None:
    """The account stays as it was: payments go on from the day of the decision."""
    _thaw(turn, turn.on - DAY)


def _thaw(turn: Turn, last: dt.date) -> None:
    """The freeze of a change ends; it lasted for the day of filing at least."""
    rows = PaymentFreeze.objects.filter(subject=turn.case.subject, valid_until__isnull=True)
    for row in rows:
        row.valid_until = max(last, row.valid_from)
        row.save(update_fields=["valid_until"])
        noted(turn.case.institution, "paymentfreeze.end", by=turn.by, at=turn.at,
              subject=f"paymentfreeze:{row.pk}", until=row.valid_until)  # fmt: skip


def end_mapping(turn: Turn) -> None:
    """A mapping that is given up holds until the day on which it is."""
    case: CodeMapping = turn.case
    if turn.on < case.valid_from:
        case.valid_until = case.valid_from
    elif case.valid_until is None or case.valid_until > turn.on:
        case.valid_until = turn.on


# --- Words ---


def describe(case: Any) -> str:
    """What the tasks of a change or a mapping are called."""
    if isinstance(case, Change):
        return f"{case.institution}变更{case.get_kind_display()}（{case.number}）"
    return f"{case.institution}{case.get_kind_display()}对码 {case.local_code}"


def place(case: Any) -> str:
    """The address of a change or a mapping."""
    name = "registry-change" if isinstance(case, Change) else "registry-mapping"
    try:
        return reverse(name, args=[case.pk])
    except NoReverseMatch:
        return ""


def told(turn: Turn, state: State) -> None:
    """Whoever has to go on is told; at the end the institution hears the result."""
    case = turn.case
    news.tell(
        permission=state.holder or "registry.file", region_code=case.region_code,
        institution_code=case.institution_code, text=f"{describe(case)}：{turn.step.label}",
        url=place(case), subject=case.subject, at=turn.at,
    )  # fmt: skip


def words_of(error: Refusal | Refused) -> str:
    """A refusal of either kind in one sentence with its clause."""
    if isinstance(error, Refused):
        return f"{error.detail}（{error.clause}）" if error.clause else error.detail
    clause = next((fault.clause for fault in error.faults if fault.clause), "")
    return f"{error.detail[0]}（{clause}）" if clause else error.detail[0]


HANDBOOK = Handbook(
    checks={
        "another_person": another_person, "evidence_attached": evidence_attached,
        "national_code_known": national_code_known, "mapping_free": mapping_free,
        "mapping_over": mapping_over,
    },
    effects={
        "apply_change": apply_change, "end_freeze": end_freeze, "end_mapping": end_mapping,
    },
    describe=describe, place=place, told=told,
)  # fmt: skip
