"""What happens to a signed agreement: its states by day, and what follows for the other agreement.

A decision never rewrites a state: rows are superseded and written anew, so that the answer of any
past day stays askable. What follows from what is the policy's `cascade`: 实体协议中止或解除的，补充协议
同时中止或解除；反之由经办机构决定. (温医保办〔2021〕6号 七、二十二)
"""

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.urls import reverse

from agreements.models import Agreement, AgreementState, Application, Contract
from audit import tasks, trail
from audit.models import Task
from audit.procedure import PROCEDURES, SYSTEM
from institutions import news
from institutions.models import Document, Institution
from institutions.refusals import refused
from pricing.releases import current

State, Kind = AgreementState.State, Agreement.Kind
OPEN = (State.ACTIVE, State.SIGNED, State.PAPER_PENDING)
GONE = (State.TERMINATED, State.EXPIRED)
#: decision → state it leads to, the states it may be taken in
DECISIONS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "suspended": (State.SUSPENDED, OPEN),
    "resumed": (State.ACTIVE, (State.SUSPENDED,)),
    "terminated": (State.TERMINATED, (*OPEN, State.SUSPENDED)),
}
WORDS = {"suspended": "中止", "resumed": "恢复", "terminated": "解除", "renewed": "续签"}
DECIDE = "agreements.decide"
TOLD = "agreements.countersign"  #: whoever signs for an institution is told of its agreements
RENEWAL = "renewal"
SIGNING = "renewal_signing"  #: the task of a renewal that waits for signatures
#: question (of the policy's cascade, or about an end that is near) → title of its task
QUESTIONS = {
    "decide_main_agreement": "补充协议已{word}，请决定定点协议是否{word}",
    "decide_supplementary_resume": "定点协议已恢复，请决定补充协议是否恢复",
    "renew_supplementary": "定点协议已续签，请办理补充协议续签",
    RENEWAL: "{kind}即将到期，请办理续签或到期终止",
}
#: decision → the questions it answers; a termination answers all of them
ANSWERS = {
    "suspended": ("decide_main_agreement", "decide_supplementary_resume"),
    "resumed": ("decide_supplementary_resume",),
    "terminated": (*QUESTIONS, SIGNING),
    "expired": ("decide_main_agreement", "decide_supplementary_resume", RENEWAL),
    "renewed": (RENEWAL, "renew_supplementary", SIGNING),
}
DAY = dt.timedelta(days=1)


def state_on(agreement: Agreement, day: dt.date) -> AgreementState | None:
    """The known state of an agreement on a day."""
    return agreement.states.known().in_force(on=day).first()


def version_of(agreement: Agreement) -> int:
    """Grows with every state that is written: what a person saw when deciding."""
    last = agreement.states.order_by("-pk").values_list("pk", flat=True).first()
    return last or 0


@transaction.atomic
def set_state(
    *, agreement: Agreement, state: str, on: dt.date, reason: str, by: str, at: dt.datetime,
    clause: str = "",
) -> AgreementState:  # fmt: skip
    """From a day to the end of the term the agreement has a state; rows before keep their days.

    Rows that reach past the day are superseded; what they said of earlier days is written anew. A
    termination that is known for a later day stays.
    """
    if on < agreement.valid_from or (agreement.valid_until and on > agreement.valid_until):
        raise refused(
            "on",
            "DAY_OUTSIDE_TERM",
            f"日期{on}不在协议期（{agreement.valid_from} 至 {agreement.valid_until or '长期'}）内",
            "the day lies outside the agreement's term",
        )
    until = agreement.valid_until
    ended = agreement.states.known().filter(state=State.TERMINATED, valid_from__gt=on).first()
    if ended is not None and state != State.TERMINATED:
        until = ended.valid_from - DAY
    _clear(agreement, on, None if state == State.TERMINATED else until, by, at)
    return write(agreement, state, on, until, reason, clause, by, at)


def _clear(
    agreement: Agreement, on: dt.date, until: dt.date | None, by: str, at: dt.datetime
) -> None:
    """Supersede what is known of the days from `on` to `until`; days before `on` keep their state."""
    rows = agreement.states.known().filter(Q(valid_until__isnull=True) | Q(valid_until__gte=on))
    if until is not None:
        rows = rows.filter(valid_from__lte=until)
    for row in list(rows.order_by("valid_from")):
        AgreementState.objects.filter(pk=row.pk).update(superseded_at=at)
        if row.valid_from < on:
            write(agreement, row.state, row.valid_from, on - DAY, row.reason, row.clause, by, at)


def write(
    agreement: Agreement, state: str, since: dt.date, until: dt.date | None, reason: str,
    clause: str, by: str, at: dt.datetime,
) -> AgreementState:  # fmt: skip
    """One more row; the days must be free."""
    return AgreementState.objects.create(
        agreement=agreement, state=state, valid_from=since, valid_until=until, reason=reason,
        clause=clause, recorded_at=at, recorded_by=by,
    )  # fmt: skip


# --- Agreements that belong together ---


def main_of(institution: Institution, *, on: dt.date) -> Agreement | None:
    """The main agreement of an institution (or of its parent) that is open on a day, if any."""
    rows = Agreement.objects.filter(institution__in=_owners(institution), kind=Kind.MAIN)
    for row in rows.in_force(on=on).order_by("-valid_from"):
        known = state_on(row, on)
        if known is not None and known.state not in GONE:
            return row
    return None


def _owners(institution: Institution) -> list[str]:
    """The institution and the physical one whose second name it is."""
    return [institution.pk, *([institution.parent_id] if institution.parent_id else [])]


def lock_family(agreement: Agreement) -> Agreement:
    """The agreement as it is now; until the commit nobody else decides on it or on its other one."""
    owner = agreement.institution
    family = Q(institution__in=_owners(owner)) | Q(institution__parent=owner)
    if owner.parent_id:
        family |= Q(institution__parent=owner.parent_id)
    rows = Agreement.objects.filter(family).select_for_update(of=("self",)).order_by("pk")
    found = {row.pk: row for row in rows.select_related("institution__region")}
    return found[agreement.pk]


def others(agreement: Agreement, on: dt.date) -> list[Agreement]:
    """The agreements of the other kind that hang together with this one from a day on."""
    institution, main = agreement.institution, agreement.kind == Kind.MAIN
    owners = _owners(institution)
    if main:
        owners = [institution.pk, *institution.institution_set.values_list("pk", flat=True)]
    rows = Agreement.objects.filter(
        Q(valid_until__isnull=True) | Q(valid_until__gte=on), institution__in=owners,
        kind=Kind.SUPPLEMENTARY if main else Kind.MAIN,
    )  # fmt: skip
    if agreement.valid_until is not None:
        rows = rows.filter(valid_from__lte=agreement.valid_until)
    return list(rows.select_related("institution__region").order_by("valid_from"))


def terms_from(agreement: Agreement) -> Iterator[Agreement]:
    """The agreement and the terms for which it was renewed."""
    term: Agreement | None = agreement
    while term is not None:
        yield term
        term = term.next.select_related("institution__region").order_by("valid_from").first()


def cascade_of(agreement: Agreement, event: str, on: dt.date) -> Mapping[str, Any]:
    """What the policy of the region says of an event (`main_suspended` …); empty when it is silent.

    `clause` comes with the name of the document.
    """
    release = current().policy(agreement.institution.region.policy_region, on)
    if release is None or not release.covers(on):
        return {}
    rules: Mapping[str, Any] = release.policy.section("procedures", {})
    found = rules.get("cascade", {}).get(event)
    if not found:
        return {}
    return found | {"clause": f"{release.policy.data['document']} {found['clause']}"}


# --- Beginning ---


@transaction.atomic
def conclude(
    *, application: Application, contract: Contract, on: dt.date, by: str, at: dt.datetime
) -> Agreement:
    """The signed contract becomes an agreement in its first state (the procedure's `contract`)."""
    rules = PROCEDURES[application.procedure].data["contract"]
    clause = f"{PROCEDURES[application.procedure].document} {rules['clause']}"
    before = make_room(
        institution=application.institution, kind=contract.kind, since=contract.valid_from, by=by,
        at=at,
    )  # fmt: skip
    agreement = Agreement.objects.create(
        institution=application.institution, kind=contract.kind, number=contract.number,
        valid_from=contract.valid_from, valid_until=contract.valid_until, signed_on=on,
        clause=clause, previous=before,
    )  # fmt: skip
    main = contract.kind == Kind.MAIN
    set_state(
        agreement=agreement, state=State.ACTIVE if main else rules["state"],
        on=agreement.valid_from, reason=f"{application.number}签约", by=by, at=at, clause=clause,
    )  # fmt: skip
    Contract.objects.filter(pk=contract.pk).update(agreement=agreement, complete=True)
    record(agreement, "conclude", by, at, on, {"application": application.number})
    return agreement


def make_room(
    *, institution: Institution, kind: str, since: dt.date, by: str, at: dt.datetime
) -> Agreement | None:
    """The days from `since` on are free for a new agreement; returns the one before it.

    A terminated agreement whose printed term still runs gives way. Refusal 409 while one is open.
    """
    rows = Agreement.objects.filter(institution=institution, kind=kind).order_by("valid_from")
    found = list(rows.select_for_update(of=("self",)))
    for row in found:
        if row.valid_until is not None and row.valid_until < since:
            continue
        known = state_on(row, max(since, row.valid_from))
        if row.valid_from >= since or known is None or known.state not in GONE:
            raise refused(
                "state",
                "AGREEMENT_EXISTS",
                f"{row.get_kind_display()}{row.number}在协议期内，不能另行签订",
                "an agreement of this kind is open",
                status=409,
            )
        Agreement.objects.filter(pk=row.pk).update(valid_until=since - DAY)
    for row in found:
        _clear(row, since, None, by, at)
    return found[-1] if found else None


@transaction.atomic
def register_paper(
    *, agreement: Agreement, document: Document | None, state: str, on: dt.date, by: str,
    at: dt.datetime,
) -> None:  # fmt: skip
    """The paper signature was given later: scan attached, state follows. (通医保发〔2020〕25号 三（一）)

    Refusal 409 unless the paper is still missing that day.
    """
    locked = lock_family(agreement)
    now = state_on(locked, on)
    if now is None or now.state != State.PAPER_PENDING:
        raise _impossible(on, now, "登记补签的纸质协议")
    Agreement.objects.filter(pk=locked.pk).update(paper=document)
    set_state(
        agreement=locked, state=state, on=on, reason="纸质协议已补签", by=by, at=at,
        clause=locked.clause,
    )  # fmt: skip
    record(locked, "paper", by, at, on, {"document": document.pk if document else None})


# --- Deciding ---


@dataclass(frozen=True)
class Effect:
    """What a decision does to one agreement: a state from a day on, or a question to the agency."""

    agreement: Agreement
    since: dt.date
    clause: str
    state: str = ""
    question: str = ""
    own: bool = False  #: decided, not a consequence

    def replaced(self) -> list[AgreementState]:
        """States recorded for later days that give way."""
        rows = self.agreement.states.known().filter(valid_from__gt=self.since)
        if self.state != State.TERMINATED:
            rows = rows.exclude(state=State.TERMINATED)
        return list(rows.exclude(state=State.EXPIRED)) if self.state else []


def effects_of(
    *, agreement: Agreement, decision: str, on: dt.date, clause: str = ""
) -> list[Effect]:  # fmt: skip
    """Everything that a decision would do, in order; stores nothing.

    Terms that were agreed on already are decided with it. Refusal 409 when the state does not allow it.
    """
    target, sources = DECISIONS[decision]
    now = state_on(agreement, on)
    if now is None or now.state not in sources:
        raise _impossible(on, now, WORDS[decision])
    if decision == "resumed":
        _main_allows(agreement, on)
        target = _state_before(agreement, now) or target
    found = []
    for term in terms_from(agreement):
        since = max(on, term.valid_from)
        known = state_on(term, since)
        if known is None or known.state not in sources:
            break
        found.append(Effect(term, since, clause, state=target, own=True))
        found += _consequences(term, decision, since, ask=term.pk == agreement.pk)
    return found


def _consequences(
    agreement: Agreement, decision: str, on: dt.date, *, ask: bool
) -> Iterator[Effect]:
    """What the policy says of the other agreement: it follows by itself, or the agency is asked."""
    rule = cascade_of(agreement, f"{agreement.kind}_{decision}", on)
    for other in others(agreement, on) if rule else ():
        since = max(on, other.valid_from)
        if rule.get("automatic"):
            if _touched(other, since, rule[other.kind]):
                yield Effect(other, since, rule["clause"], state=rule[other.kind])
        elif ask and "task" in rule:
            known = state_on(other, since)
            if known is not None and known.state in DECISIONS[decision][1]:
                yield Effect(other, since, rule["clause"], question=rule["task"])


def _touched(agreement: Agreement, since: dt.date, state: str) -> bool:
    """Whether an agreement has another open state on any day from `since` on."""
    rows = agreement.states.known().filter(Q(valid_until__isnull=True) | Q(valid_until__gte=since))
    known = state_on(agreement, since)
    open_now = known is not None and known.state not in GONE
    return open_now and rows.exclude(state__in=(state, *GONE)).exists()


@transaction.atomic
def decide(
    *, agreement: Agreement, decision: str, on: dt.date, reason: str, by: str, at: dt.datetime,
    clause: str = "", seen: int | None = None,
) -> AgreementState:  # fmt: skip
    """Suspend, resume or terminate an agreement from a day; the policy says what follows.

    `seen` is the `version_of` what the person saw. Refusal 409 when the state does not allow it or has
    changed since, 422 without a reason.
    """
    locked = lock_family(agreement)
    unchanged_since(locked, seen)
    _given("reason", "理由", reason, AgreementState, needed=True)
    _given("clause", "依据条款", clause, AgreementState)
    for effect in effects_of(agreement=locked, decision=decision, on=on, clause=clause.strip()):
        if effect.question:
            ask(
                agreement=effect.agreement, question=effect.question, word=WORDS[decision],
                clause=effect.clause, at=at,
            )  # fmt: skip
        else:
            _carry_out(effect, decision, reason.strip(), by, at)
    written = state_on(locked, on)
    if written is None:
        raise LookupError("the state that was just written is not there")
    return written


def _carry_out(effect: Effect, decision: str, reason: str, by: str, at: dt.datetime) -> None:
    agreement, word = effect.agreement, WORDS[decision]
    if not effect.own:
        reason, by = f"定点协议{word}，补充协议同时{word}", SYSTEM
    set_state(
        agreement=agreement, state=effect.state, on=effect.since, reason=reason, by=by, at=at,
        clause=effect.clause,
    )  # fmt: skip
    detail = {"reason": reason, "clause": effect.clause, "automatic": not effect.own}
    record(agreement, decision, by, at, effect.since, detail)
    answered(agreement, decision, by=by, at=at)
    institution = agreement.institution
    news.tell(
        permission=TOLD, region_code=institution.region_id, institution_code=institution.pk,
        text=f"{agreement.get_kind_display()}{agreement.number}自{effect.since}起{word}"[:300],
        url=address(agreement), subject=subject_of(agreement), at=at,
    )  # fmt: skip


def unchanged_since(agreement: Agreement, seen: int | None) -> None:
    """Refusal 409 when somebody decided in the meantime."""
    if seen is not None and seen != version_of(agreement):
        raise refused(
            "state",
            "CHANGED_MEANWHILE",
            "协议状态刚刚被他人更新，请核对后再办理",
            "the agreement was changed meanwhile",
            status=409,
        )


def _given(name: str, label: str, text: str, model: Any, *, needed: bool = False) -> None:
    limit = model._meta.get_field(name).max_length
    if needed and not text.strip():
        raise refused(name, f"{name.upper()}_MISSING", f"请写明{label}", f"{name} is needed")
    if len(text.strip()) > limit:
        raise refused(name, "TOO_LONG", f"{label}不超过{limit}字", f"at most {limit} characters")


def _impossible(on: dt.date, now: AgreementState | None, what: str) -> Exception:
    word = now.get_state_display() if now else "未生效"
    return refused(
        "state",
        "STATE_NOT_POSSIBLE",
        f"{on}协议状态为“{word}”，不能{what}",
        "not possible in the state of that day",
        status=409,
    )


def _state_before(agreement: Agreement, suspended: AgreementState) -> str:
    """What an agreement was before it was suspended: that is what it resumes to."""
    rows = agreement.states.known().filter(valid_from__lt=suspended.valid_from)
    before = rows.exclude(state__in=(State.SUSPENDED, *GONE)).order_by("-valid_from").first()
    return before.state if before is not None else ""


def _main_allows(agreement: Agreement, on: dt.date) -> None:
    """A supplementary agreement that fell with the main one does not rise before it."""
    rule = cascade_of(agreement, "main_suspended", on)
    if agreement.kind == Kind.MAIN or not rule.get("automatic"):
        return
    main = main_of(agreement.institution, on=on)
    known = state_on(main, on) if main else None
    if known is None or known.state == State.SUSPENDED:
        raise refused(
            "state",
            "MAIN_NOT_ACTIVE",
            "定点协议尚未恢复或已失效，补充协议不能恢复",
            "the main agreement is not in force",
            status=409,
            clause=rule["clause"],
        )


# --- Questions to the agency ---


def ask(
    *, agreement: Agreement, question: str, clause: str, at: dt.datetime, word: str = "",
    due: dt.date | None = None,
) -> Task:  # fmt: skip
    """A task for the agency to decide about an agreement (`question`: the policy's own key)."""
    institution, kind = agreement.institution, agreement.get_kind_display()
    title = QUESTIONS[question].format(word=word, kind=kind)
    return tasks.open_task(
        subject=subject_of(agreement, question), permission=DECIDE, at=at,
        title=f"{institution.name}：{title}"[:200], region_code=institution.region_id,
        institution_code=institution.pk, procedure=question.replace("_", "-"), status=kind,
        url=address(agreement), clause=clause, due=due,
    )  # fmt: skip


def questions_about(agreement: Agreement) -> list[Task]:
    """The open questions about an agreement."""
    subjects = [subject_of(agreement, question) for question in QUESTIONS]
    rows = Task.objects.filter(subject__in=subjects, permission=DECIDE, state=Task.State.OPEN)
    return list(rows.order_by("created_at", "pk"))


def answered(agreement: Agreement, decision: str, *, by: str, at: dt.datetime) -> None:
    """Close the questions that a decision answers."""
    for question in ANSWERS[decision]:
        tasks.close(subject=subject_of(agreement, question), by=by, at=at)


@transaction.atomic
def dismiss(
    *, agreement: Agreement, question: str, reason: str, by: str, at: dt.datetime
) -> None:  # fmt: skip
    """The agency decides that nothing follows: the question is closed, the reason is kept."""
    _given("reason", "理由", reason, AgreementState, needed=True)
    if not tasks.close(subject=subject_of(agreement, question), by=by, at=at, permission=DECIDE):
        raise refused(
            "state", "NOTHING_OPEN", "没有待决定的事项", "nothing waits for a decision", status=409
        )
    detail = {"question": question, "reason": reason.strip()}
    record(agreement, "unchanged", by, at, None, detail)


def subject_of(agreement: Agreement, question: str = "") -> str:
    """How tasks and events name an agreement, or one question about it."""
    return f"agreement:{agreement.pk}" + (f":{question}" if question else "")


def address(agreement: Agreement) -> str:
    """The address of its page."""
    return reverse("agreement", args=[agreement.pk])


def record(
    agreement: Agreement, action: str, by: str, at: dt.datetime, on: dt.date | None, detail: dict
) -> None:
    """One act on an agreement, in the trail."""
    trail.record(
        by=by, at=at, action=f"agreement.{action}", subject=subject_of(agreement),
        region_code=agreement.institution.region_id, institution_code=agreement.institution_id,
        detail={"number": agreement.number, "on": on, **detail},
    )  # fmt: skip
