"""What the application tables name: checks, guards, effects, clocks and words, and the table of a region.

No name here knows a region. A new region's procedure is a new table of the same words.
"""

import datetime as dt
from collections.abc import Callable, Mapping

from django.urls import reverse

from agreements import checks, clocks, contracts, lifecycle, notices, waves
from agreements.models import Application, Requirement, SigningKey
from audit.procedure import PROCEDURES, Handbook, Procedure, Refused, State, Turn
from institutions import news
from institutions.commands.facts import record_facts
from institutions.models import Document, Institution

SUBJECT = "application"
Part = Requirement.Part


def procedure_of(institution: Institution) -> Procedure:
    """The application procedure of an institution's pooling region; Refused 404 without one."""
    region = institution.region.policy_region
    for procedure in PROCEDURES.values():
        if procedure.subject == SUBJECT and procedure.region == region:
            return procedure
    raise Refused(404, "NO_PROCEDURE", f"{institution.region.name}没有登记“互联网+”协议的办理程序")


def tables() -> tuple[Procedure, ...]:
    """Every application procedure of the portal."""
    return tuple(table for table in PROCEDURES.values() if table.subject == SUBJECT)


# --- Effects ---


def make_notice_materials(turn: Turn) -> None:
    """Everything that the review found wanting, told once."""
    _notice(turn, Part.MATERIALS)


def make_notice_acceptance(turn: Turn) -> None:
    """Everything that the test found wanting, told once."""
    _notice(turn, Part.ACCEPTANCE)


def _notice(turn: Turn, part: str) -> None:
    notices.make(
        application=turn.case, part=part, repeated=checks.repeated_failure(turn.case), on=turn.on,
        by=turn.by, at=turn.at,
    )  # fmt: skip


def deliver_notice(turn: Turn) -> None:
    """The day of delivery: waiting periods run from it."""
    facts = turn.facts
    notices.deliver(
        application=turn.case, method=facts["delivery"], receipt=str(facts.get("receipt") or ""),
        on=turn.on, by=turn.by, at=turn.at,
    )  # fmt: skip


def receive_notice(turn: Turn) -> None:
    """The institution takes the notice from the portal itself: that day is the day of delivery."""
    notices.deliver(
        application=turn.case, method="portal", receipt=str(turn.who or turn.by), on=turn.on,
        by=turn.by, at=turn.at,
    )  # fmt: skip


def acceptance_checklist(turn: Turn) -> None:
    """The lines that the information department tries."""
    section = turn.procedure.data["checklist"]["acceptance"]["section"]
    Requirement.objects.bulk_create(
        Requirement(
            application=turn.case, part=Part.ACCEPTANCE, no=row["no"], text=row["text"],
            clause=row["clause"],
        )
        for row in turn.procedure.data[section]
    )  # fmt: skip


def make_report(turn: Turn) -> None:
    """The report of the acceptance test; the tester is whoever concludes it."""
    rows = turn.case.requirements.filter(part=Part.ACCEPTANCE)
    notices.make_report(
        application=turn.case, passed=not rows.exclude(met=True).exists(), on=turn.on,
        tester=str(turn.who or turn.by), by=turn.by, at=turn.at,
    )  # fmt: skip


def make_contract(turn: Turn) -> None:
    """The files to be signed."""
    contracts.make(application=turn.case, on=turn.on, by=turn.by, at=turn.at)


def sign_institution(turn: Turn) -> None:
    """The institution's signature in every file."""
    contracts.sign(application=turn.case, side=SigningKey.Side.INSTITUTION, by=turn.by, at=turn.at)


def sign_agency(turn: Turn) -> None:
    """The agency's signature in every file."""
    contracts.sign(application=turn.case, side=SigningKey.Side.AGENCY, by=turn.by, at=turn.at)


def conclude(turn: Turn) -> None:
    """Signed and verified: the agreements exist from this day on."""
    turn.case.agreement = contracts.conclude(
        application=turn.case, on=turn.on, by=turn.by, at=turn.at
    )


def record_filing(turn: Turn) -> None:
    """The day of filing becomes a fact of the institution. (通医保发〔2020〕25号 一)"""
    record_facts(
        institution=turn.case.institution, valid_from=turn.on, changes={"filed_on": turn.on},
        source=f"{turn.case.number}备案", by=turn.by, at=turn.at,
    )  # fmt: skip


def register_paper(turn: Turn) -> None:
    """The agreement signed on paper afterwards is attached. (通医保发〔2020〕25号 三（一）)"""
    document = Document.objects.get(pk=turn.facts["files"][0])
    lifecycle.register_paper(
        agreement=turn.case.agreement, document=document,
        state=turn.procedure.data["contract"]["paper"], on=turn.on, by=turn.by, at=turn.at,
    )  # fmt: skip


# --- Words and news ---


def describe(case: Application) -> str:
    """What tasks call an application."""
    return f"{case.institution.name} {case.number}"


def place(case: Application) -> str:
    """The address of its page."""
    return reverse("application", args=[case.pk])


def told(turn: Turn, state: State) -> None:
    """Whoever holds the application now, and the institution at the end, is told; a missing year too."""
    case = turn.case
    clocks.ask_for_year(case, at=turn.at)
    permission = state.holder or "applications.apply"
    until = f"，期限{case.due}" if case.due else ""
    news.tell(
        permission=permission, region_code=case.region_code, institution_code=case.institution_code,
        text=f"{describe(case)}：{state.label}{until}", url=place(case), subject=case.subject,
        at=turn.at,
    )  # fmt: skip


Check = Callable[[Turn], None]

CHECKS: Mapping[str, Check] = {
    check.__name__: check
    for check in (
        checks.main_or_together, checks.reopening_passed, checks.one_running,
        checks.no_agreement_yet, checks.materials_stated, checks.materials_met,
        checks.materials_unmet, checks.acceptance_met, checks.acceptance_unmet,
        checks.another_person, checks.in_time, checks.overdue, checks.publicity_over,
        checks.signed_today, checks.objections_answered, checks.objection_upheld,
        checks.main_agreement_open, checks.qualification_held, checks.signed_by_institution,
        waves.admitted, waves.docking_platforms_joined,
    )
}  # fmt: skip

EFFECTS: Mapping[str, Check] = {
    effect.__name__: effect
    for effect in (
        make_notice_materials, make_notice_acceptance, deliver_notice, receive_notice,
        acceptance_checklist, make_report, make_contract, sign_institution, sign_agency, conclude,
        record_filing, register_paper, waves.take_wave_place,
    )
}  # fmt: skip

HANDBOOK = Handbook(
    guards={
        guard.__name__: guard
        for guard in (
            checks.first_failure, checks.repeated_failure, checks.publicity_required,
            checks.no_publicity,
        )
    },
    checks=CHECKS, effects=EFFECTS, due=clocks.due, describe=describe, place=place, told=told,
)  # fmt: skip


def lapse_day(case: Application) -> dt.date:
    """The day on which an unused period is over: the one after its last."""
    if case.due is None:
        raise Refused(409, "NOT_OVERDUE", "期限尚未届满")
    return case.due + dt.timedelta(days=1)
