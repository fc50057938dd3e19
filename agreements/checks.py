"""What must hold before a step is taken: every check and guard that the application tables name.

A check refuses with the field, the reason and the clause; whether a step exists at all is a guard.
"""

from collections.abc import Iterable
from typing import Any

from agreements import clocks, contracts, lifecycle, standing
from agreements.models import AgreementState, Application, Objection, Requirement
from audit import clock
from audit.procedure import PROCEDURES, Refused, Turn
from institutions.models import Qualification

Part = Requirement.Part
GONE = (AgreementState.State.TERMINATED, AgreementState.State.EXPIRED)


def _clause(turn: Turn, clause: str = "") -> str:
    return f"{turn.procedure.document} {clause or turn.step.clause}".strip()


# --- Opening ---


def main_or_together(turn: Turn) -> None:
    """An application rests on a main agreement, in force or applied for together. (温州 五第2款)"""
    case = turn.case
    region = case.institution.region
    rules = clocks.procedures_of(region, turn.on)
    designated = lifecycle.main_of(case.institution, on=turn.on) is not None
    if case.includes_main and designated:
        raise Refused(
            422, "MAIN_EXISTS", "贵机构已签订定点协议，只需申请补充协议", field="includes_main"
        )
    if "application" in rules:
        applies = ["supplementary", *(["main"] if case.includes_main else [])]
        possible = standing.accepted(main_designated=designated, applies=applies, procedures=rules)
        clause = rules["application"]["clause"]
    else:
        possible, clause = designated and not case.includes_main, turn.step.clause
    if not possible:
        raise Refused(
            422, "MAIN_MISSING",
            "申请补充协议须已签订定点协议" + ("，或者同时申请定点协议" if "application" in rules else ""),
            clause=_clause(turn, clause), field="includes_main",
        )  # fmt: skip


def reopening_passed(turn: Turn) -> None:
    """After a failure the waiting period, after a second one the ban must be over. (温州 七, I-WZ-2)"""
    case = turn.case
    failed = Application.objects.failed(
        institution=case.institution_id, procedure=turn.procedure.slug
    )
    if not failed:
        return
    region, delivered = case.institution.region, failed[-1].delivered_on
    answer = clocks.reopening(region, failures=len(failed), delivered=delivered, day=turn.on)
    if answer is None or answer.accepts(turn.on):
        return
    banned = answer.ban_last_day is not None
    word = "禁止申请期" if banned else "整改期"
    raise Refused(
        409, "REAPPLY_BANNED" if banned else "REAPPLY_TOO_EARLY",
        f"第{len(failed)}次不合格的结果于{delivered}送达，{word}未满，{answer.earliest}起方可再次申请",
        clause=_clause(turn, answer.clause),
    )  # fmt: skip


def one_running(turn: Turn) -> None:
    """One application of a procedure at a time."""
    case = turn.case
    running = Application.objects.running().filter(
        institution=case.institution_id, procedure=turn.procedure.slug
    )
    if found := running.first():
        raise Refused(409, "ALREADY_APPLIED", f"申请{found.number}正在办理，不能重复申请")


def no_agreement_yet(turn: Turn) -> None:
    """Whoever has such an agreement renews it and does not apply anew."""
    kind = turn.procedure.data["contract"]["kind"]
    rows = turn.case.institution.agreements.filter(kind=kind).in_force(on=turn.on)
    for agreement in rows:
        state = lifecycle.state_on(agreement, turn.on)
        if state is not None and state.state not in GONE:
            raise Refused(
                409, "AGREEMENT_EXISTS",
                f"{agreement.get_kind_display()}{agreement.number}在协议期内，无需再次申请",
                clause=_clause(turn),
            )  # fmt: skip


# --- Checklists ---


def _rows(turn: Turn, part: str) -> list[Requirement]:
    return list(turn.case.requirements.filter(part=part))


def _names(rows: Iterable[Requirement]) -> str:
    return "、".join(f"第{row.no}项（{row.text}）" for row in rows)


def materials_stated(turn: Turn) -> None:
    """Every condition has a statement or a document before the application goes out."""
    rows = turn.case.requirements.filter(part=Part.MATERIALS).prefetch_related("documents")
    empty = [row for row in rows if not row.statement.strip() and not row.documents.all()]
    if empty:
        raise Refused(
            422, "STATEMENT_MISSING", f"请填写说明或上传材料：{_names(empty)}", field="requirements",
            clause=_clause(turn),
        )  # fmt: skip


def _all_met(turn: Turn, part: str) -> None:
    rows = _rows(turn, part)
    if unmet := [row for row in rows if not row.met]:
        raise Refused(
            422, "NOT_ALL_MET", f"尚未逐项确认符合：{_names(unmet)}", field="requirements",
            clause=_clause(turn),
        )  # fmt: skip


def _some_unmet(turn: Turn, part: str) -> None:
    """A failure is judged in full: one notice tells everything at once. (温州 七)"""
    rows = _rows(turn, part)
    if open_ones := [row for row in rows if row.met is None]:
        raise Refused(
            422, "NOT_ALL_JUDGED", f"须一次性告知全部问题，请先逐项审核：{_names(open_ones)}",
            field="requirements", clause=_clause(turn),
        )  # fmt: skip
    if all(row.met for row in rows):
        raise Refused(
            422, "NOTHING_UNMET", "各项均已确认符合，不能作出不合格的结论", field="requirements",
            clause=_clause(turn),
        )  # fmt: skip


def materials_met(turn: Turn) -> None:
    """Every condition of the application is confirmed."""
    _all_met(turn, Part.MATERIALS)


def materials_unmet(turn: Turn) -> None:
    """The review found something wanting, and judged everything."""
    _some_unmet(turn, Part.MATERIALS)


def acceptance_met(turn: Turn) -> None:
    """Every line of the test is passed."""
    _all_met(turn, Part.ACCEPTANCE)


def acceptance_unmet(turn: Turn) -> None:
    """The test found something wanting, and tried everything."""
    _some_unmet(turn, Part.ACCEPTANCE)


def another_person(turn: Turn) -> None:
    """Whoever filed an application does not decide on it."""
    if turn.by == turn.case.opened_by:
        raise Refused(403, "SAME_PERSON", "申请人本人不能审核该申请", clause=_clause(turn))


# --- Time ---


def in_time(turn: Turn) -> None:
    """Not after the last day; a day that cannot be computed yet holds nobody up."""
    if turn.case.due is not None and turn.on > turn.case.due:
        raise Refused(
            409, "TOO_LATE", f"期限已于{turn.case.due}届满，本申请已失效，可重新申请",
            clause=_clause(turn, turn.case.due_clause),
        )  # fmt: skip


def overdue(turn: Turn) -> None:
    """Only after the last day."""
    if turn.case.due is None or turn.on <= turn.case.due:
        raise Refused(409, "NOT_OVERDUE", "期限尚未届满", clause=_clause(turn))


def publicity_over(turn: Turn) -> None:
    """The public notice has stood for all its days. A period that nobody fixed has none."""
    case = turn.case
    if case.due_unknown is not None:
        raise Refused(
            409, "PERIOD_UNKNOWN", f"公示期末日须待{case.due_unknown}年工作日历导入后确定",
            clause=_clause(turn),
        )  # fmt: skip
    if case.due is not None and turn.on <= case.due:
        raise Refused(
            409, "PUBLICITY_RUNNING", f"公示期至{case.due}，期满次日起方可办理",
            clause=_clause(turn),
        )  # fmt: skip


def signed_today(turn: Turn) -> None:
    """An electronic signature bears the time at which it is made; no other day can be stated."""
    if turn.on != clock.local(turn.at).date():
        raise Refused(
            422, "DAY_IS_TODAY", "电子签名的日期以签署时间为准，不能另填", field="on",
            clause=_clause(turn),
        )  # fmt: skip


# --- Public notice ---


def objections_answered(turn: Turn) -> None:
    """Every objection has an answer and none was upheld."""
    outcomes = set(turn.case.objections.values_list("outcome", flat=True))
    if Objection.Outcome.OPEN in outcomes:
        raise Refused(409, "OBJECTION_OPEN", "尚有异议未处理，不能签约", clause=_clause(turn))
    if Objection.Outcome.UPHELD in outcomes:
        raise Refused(409, "OBJECTION_UPHELD", "异议成立，不能签约", clause=_clause(turn))


def objection_upheld(turn: Turn) -> None:
    """At least one objection was upheld."""
    if not turn.case.objections.filter(outcome=Objection.Outcome.UPHELD).exists():
        raise Refused(409, "NO_OBJECTION", "没有经处理成立的异议", clause=_clause(turn))


# --- Agreements, qualifications, signatures ---


def main_agreement_open(turn: Turn) -> None:
    """The main agreement is in force, unless it is signed together with this one. (温州 二十二第1款)"""
    main = lifecycle.main_of(turn.case.institution, on=turn.on)
    state = lifecycle.state_on(main, turn.on) if main else None
    if state is None and turn.case.includes_main:
        return
    if state is None or state.state in (*GONE, AgreementState.State.SUSPENDED):
        word = state.get_state_display() if state else "未签订或已到期"
        rule = clocks.procedures_of(turn.case.institution.region, turn.on).get("cascade", {})
        clause = rule.get("main_suspended", {}).get("clause", "")
        raise Refused(
            409, "MAIN_NOT_IN_FORCE", f"实体机构的定点协议{word}，不能签订补充协议",
            clause=_clause(turn, clause),
        )  # fmt: skip


def qualification_held(turn: Turn) -> None:
    """One of the qualifications that the table names is valid that day, and the agency checked it."""
    kinds = turn.procedure.data["qualifications"]
    held = turn.case.institution.qualifications.known().in_force(on=turn.on).filter(kind__in=kinds)
    if held.filter(checked_at__isnull=False).exists():
        return
    if found := held.first():
        raise Refused(
            422, "QUALIFICATION_UNCHECKED",
            f"{found.get_kind_display()}（{found.number}）已登记但未核验，须由经办机构核验后方可办理",
            clause=_clause(turn), field="qualifications",
        )  # fmt: skip
    names = "或".join(Qualification.Kind(kind).label for kind in kinds)
    raise Refused(
        422, "QUALIFICATION_MISSING", f"机构档案中没有在有效期内的{names}，请先登记",
        clause=_clause(turn), field="qualifications",
    )  # fmt: skip


def signed_by_institution(turn: Turn) -> None:
    """The files bear the institution's signature and were not changed since."""
    contracts.prove(turn.case, sides=("institution",))


# --- Guards ---


def publicity_required(case: Any) -> bool:
    """Whether the region has fixed a public notice before signing."""
    data = PROCEDURES[case.procedure].data
    rule = data["clocks"][data["publicity"]]
    return clocks.parameter(case.institution.region, rule["parameter"], case.entered_on) is not None


def no_publicity(case: Any) -> bool:
    return not publicity_required(case)


def repeated_failure(case: Any) -> bool:
    """Whether this failure is one that bans (“再次不合格”): earlier ones count since the last success."""
    limit = clocks.bans_from(case.institution.region, case.entered_on)
    failed = Application.objects.failed(institution=case.institution_id, procedure=case.procedure)
    return limit is not None and len(failed) + 1 >= limit


def first_failure(case: Any) -> bool:
    return not repeated_failure(case)
