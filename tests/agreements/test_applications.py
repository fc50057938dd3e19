"""Applications from the first draft to their end, as the tables of the regions say."""

import datetime as dt

import pytest

from agreements import commands, lifecycle, signing, terms
from agreements.models import (
    Agreement,
    AgreementState,
    Application,
    Objection,
    SigningKey,
)
from audit.models import Event, Move
from audit.procedure import Refused
from institutions import documents
from institutions.models import Institution
from tests.agreements.cast import Cast, moment, open_tasks, refused

Day = dt.date
pytestmark = pytest.mark.django_db


def test_wenzhou_from_draft_to_agreement():
    cast = Cast(main_until=Day(2021, 12, 31))
    cast.keys()
    case = cast.apply(Day(2021, 3, 8))
    assert case.number == "WZ-申-2021-0001"
    assert [row.no for row in case.requirements.all()] == ["1", "2", "3", "4", "5", "6", "7"]
    cast.go(case, "submit", "hospital", Day(2021, 3, 8))
    cast.go(case, "accept", "reviewer", Day(2021, 3, 8))
    assert open_tasks(case) == [("applications.review", "材料审核", Day(2021, 3, 15), False)]
    cast.judge(case, Day(2021, 3, 12))
    cast.go(case, "pass_review", "reviewer", Day(2021, 3, 12))
    cast.go(case, "deliver_pass", "reviewer", Day(2021, 3, 15), facts={"delivery": "direct"})
    assert (case.state, case.due) == ("rebuilding", Day(2021, 6, 15))
    cast.go(case, "request_test", "hospital", Day(2021, 6, 1))
    assert (case.state, case.due) == ("testing", Day(2021, 6, 16))
    cast.judge(case, Day(2021, 6, 16), part="acceptance", role="information")
    cast.go(case, "pass_test_publish", "information", Day(2021, 6, 16))
    assert (case.state, case.due) == ("publicity", Day(2021, 6, 23))
    cast.go(case, "end_publicity", "reviewer", Day(2021, 6, 24))
    assert (case.state, case.due) == ("signing", Day(2021, 7, 1))
    cast.go(case, "sign_institution", "hospital", Day(2021, 6, 28))
    cast.go(case, "sign_agency", "signing_officer", Day(2021, 6, 30))
    assert (case.state, case.due, open_tasks(case)) == ("active", None, [])
    agreement = Agreement.objects.get(kind="supplementary")
    assert case.agreement == agreement
    assert (agreement.valid_from, agreement.valid_until) == (Day(2021, 6, 30), Day(2021, 12, 31))
    [contract] = case.contracts.all()
    assert contract.complete
    file = contract.signatures.get(side="agency").document
    content = documents.content_of(file)
    roots = list(SigningKey.objects.filter(side="authority").values_list("certificate", flat=True))
    assert signing.verify(content, roots=roots).valid
    middle = len(content) // 3
    changed = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    assert not signing.verify(changed, roots=roots).valid
    signed = Event.objects.filter(action="contract.sign", subject=case.subject)
    assert any(file.digest in bytes(event.body).decode() for event in signed)
    assert [move.step for move in Move.objects.filter(subject=case.subject)] == [
        "open", "submit", "accept", "pass_review", "deliver_pass", "request_test",
        "pass_test_publish", "end_publicity", "sign_institution", "sign_agency",
    ]  # fmt: skip


def test_files_made_anew_take_the_place_of_signed_ones():
    """The main agreement was renewed while the papers lay there: new files, signed by both again."""
    cast = Cast(main_until=Day(2021, 3, 31))
    cast.keys()
    case = cast.testing(Day(2021, 3, 8), Day(2021, 3, 9), Day(2021, 3, 10))
    cast.judge(case, Day(2021, 3, 11), part="acceptance", role="information")
    cast.go(case, "pass_test_publish", "information", Day(2021, 3, 11))
    cast.go(case, "end_publicity", "reviewer", Day(2021, 3, 31))
    cast.go(case, "sign_institution", "hospital", Day(2021, 3, 31))
    late = (cast.go, case, "sign_agency", "signing_officer", Day(2021, 4, 1))
    assert refused(*late)[1] == "MAIN_NOT_IN_FORCE"
    main = Agreement.objects.get(kind="main")
    terms.renew(
        agreement=main, number="M2", valid_until=Day(2022, 3, 31), signed_on=Day(2021, 4, 1),
        by="x", at=moment(Day(2021, 4, 1)),
    )  # fmt: skip
    assert refused(*late)[1] == "TERM_OVER"
    due = case.due
    cast.go(case, "remake_contract", "reviewer", Day(2021, 4, 1), note="定点协议已续签")
    assert (case.state, case.due) == ("signing", due)
    assert refused(*late)[0] == 409
    cast.go(case, "sign_institution", "hospital", Day(2021, 4, 2))
    cast.go(case, "sign_agency", "signing_officer", Day(2021, 4, 2))
    assert case.agreement.valid_until == Day(2022, 3, 31)
    assert list(case.contracts.order_by("pk").values_list("complete", flat=True)) == [False, True]


# --- Applying ---


def test_only_the_physical_institution_itself_applies(quick):
    cast = Cast()
    act = {"at": moment(Day(2021, 4, 1)), "procedure": "wenzhou", "institution": cast.hospital}
    reviewer, hospital = cast.people["reviewer"], cast.people["hospital"]
    clause = "温医保办〔2021〕6号 五第1款"
    assert refused(commands.apply, **act, who=reviewer, by="r") == (403, "NOT_APPLICANT", clause)
    other = {**act, "procedure": "nantong"}
    assert refused(commands.apply, **other, who=hospital, by="h")[:2] == (
        422, "PROCEDURE_OTHER_REGION",
    )  # fmt: skip
    Institution.objects.filter(pk=cast.hospital.pk).update(kind="retail_pharmacy")
    cast.hospital.refresh_from_db()
    assert refused(commands.apply, **act, who=hospital, by="h")[:2] == (422, "NOT_PHYSICAL")


def test_no_application_before_the_document_is_in_force(quick):
    cast = Cast()
    assert refused(cast.apply, Day(2021, 3, 5))[:2] == (409, "RULE_NOT_IN_FORCE")


def test_one_application_at_a_time_and_none_beside_an_agreement(quick):
    cast = Cast()
    cast.apply(Day(2021, 4, 1))
    assert refused(cast.apply, Day(2021, 4, 2))[:2] == (409, "ALREADY_APPLIED")
    cast.next_hospital()
    made = Agreement.objects.create(
        institution=cast.hospital, kind="supplementary", number="S", valid_from=Day(2021, 3, 9)
    )
    lifecycle.set_state(
        agreement=made, state="active", on=Day(2021, 3, 9), reason="", by="x",
        at=moment(Day(2021, 3, 9)),
    )  # fmt: skip
    assert refused(cast.apply, Day(2021, 4, 1))[:2] == (409, "AGREEMENT_EXISTS")


def test_without_a_main_agreement_both_are_applied_for_together():
    """温医保办〔2021〕6号 五第2款: the main agreement is signed first, the terms are the same."""
    cast = Cast(main_until=None)
    cast.keys()
    assert refused(cast.apply, Day(2021, 4, 1)) == (
        422, "MAIN_MISSING", "温医保办〔2021〕6号 五第2款",
    )  # fmt: skip
    case = cast.apply(Day(2021, 4, 1), includes_main=True)
    first = case.requirements.get(no="1")
    assert (first.met, first.statement) == (True, "与定点协议一并申请，定点协议先行签订")
    cast.go(case, "submit", "hospital", Day(2021, 4, 1))
    cast.go(case, "accept", "reviewer", Day(2021, 4, 1))
    cast.judge(case, Day(2021, 4, 2))
    cast.go(case, "pass_review", "reviewer", Day(2021, 4, 2))
    cast.go(case, "deliver_pass", "reviewer", Day(2021, 4, 2), facts={"delivery": "portal"})
    cast.go(case, "request_test", "hospital", Day(2021, 4, 6))
    cast.judge(case, Day(2021, 4, 7), part="acceptance", role="information")
    cast.go(case, "pass_test_publish", "information", Day(2021, 4, 7))
    cast.go(case, "end_publicity", "reviewer", Day(2021, 4, 15))
    cast.go(case, "sign_institution", "hospital", Day(2021, 4, 15))
    cast.go(case, "sign_agency", "signing_officer", Day(2021, 4, 16))
    found = Agreement.objects.order_by("pk").values_list(
        "kind", "valid_from", "valid_until", "states__state"
    )
    assert list(found) == [
        ("main", Day(2021, 4, 16), Day(2022, 4, 14), "active"),
        ("supplementary", Day(2021, 4, 16), Day(2022, 4, 14), "active"),
    ]
    assert case.agreement.kind == "supplementary"
    assert case.contracts.count() == 2


def test_a_designated_institution_does_not_apply_for_the_main_agreement_again(quick):
    cast = Cast()
    assert refused(cast.apply, Day(2021, 4, 1), includes_main=True)[:2] == (422, "MAIN_EXISTS")


def test_the_attempt_before_is_the_institutions_own(quick):
    cast = Cast()
    foreign = cast.apply(Day(2021, 4, 1))
    cast.next_hospital()
    answer = refused(cast.apply, Day(2021, 4, 2), previous=foreign)
    assert answer[:2] == (422, "PREVIOUS_FOREIGN")


# --- Checklists ---


def test_submission_needs_every_statement_and_names_what_is_missing(quick):
    cast = Cast()
    case = cast.apply(Day(2021, 4, 1))
    cast.state(case, "6", Day(2021, 4, 1), text=" ")
    with pytest.raises(Refused, match="第6项（信息系统区分正常、异地、互联网") as caught:
        cast.go(case, "submit", "hospital", Day(2021, 4, 1))
    assert (caught.value.status, caught.value.field) == (422, "requirements")


def test_checklists_are_open_to_their_holders_in_their_states_only(quick):
    cast = Cast()
    case = cast.reviewing(Day(2021, 4, 1))
    act = {"application": case, "part": "materials", "at": moment(Day(2021, 4, 2))}
    people = cast.people
    judge = {**act, "no": "2", "met": True}
    for role in ("hospital", "information", "signing_officer", "auditor"):
        answer = refused(commands.judge_requirement, **judge, who=people[role], by="x")
        assert answer[:2] == (403, "NOT_JUDGE")
    state = {**act, "no": "2", "statement": "x", "documents": []}
    assert refused(commands.state_requirement, **state, who=people["reviewer"], by="x")[0] == 403
    late = refused(commands.state_requirement, **state, who=people["hospital"], by="x")
    assert late == (409, "CHECKLIST_CLOSED", "温医保办〔2021〕6号 六")
    unmet = {**judge, "met": False, "who": people["reviewer"], "by": "x"}
    assert refused(commands.judge_requirement, **unmet)[1] == "REMARK_MISSING"
    unknown = {**judge, "no": "99", "who": people["reviewer"], "by": "x"}
    assert refused(commands.judge_requirement, **unknown)[:2] == (404, "LINE_UNKNOWN")
    applicant = {**judge, "who": people["reviewer"], "by": case.opened_by}
    assert refused(commands.judge_requirement, **applicant)[:2] == (403, "SAME_PERSON")


def test_evidence_is_the_institutions_own(quick):
    cast = Cast()
    case = cast.apply(Day(2021, 4, 1))
    own = cast.scan(Day(2021, 4, 1), "hospital")
    cast.next_hospital()
    foreign = cast.scan(Day(2021, 4, 1), "hospital")
    who = Application.objects.get(pk=case.pk).institution.users.get()
    act = {
        "application": case, "part": "materials", "no": "2", "statement": "", "who": who,
        "by": who.username, "at": moment(Day(2021, 4, 1)),
    }  # fmt: skip
    assert commands.state_requirement(**act, documents=[own]).documents.get() == own
    assert refused(commands.state_requirement, **act, documents=[foreign])[1] == "DOCUMENT_FOREIGN"


def test_a_conclusion_follows_the_checklist(quick):
    cast = Cast()
    case = cast.reviewing(Day(2021, 4, 1))
    go = (cast.go, case)
    day = Day(2021, 4, 2)
    assert refused(*go, "pass_review", "reviewer", day)[1] == "NOT_ALL_MET"
    assert refused(*go, "fail_review", "reviewer", day)[1] == "NOT_ALL_JUDGED"
    cast.judge(case, day)
    assert refused(*go, "fail_review", "reviewer", day)[1] == "NOTHING_UNMET"
    cast.judge(case, day, "3")
    assert refused(*go, "pass_review", "reviewer", day)[1] == "NOT_ALL_MET"


# --- Stopped clocks, publicity ---


def test_while_materials_are_out_for_completion_the_clock_stands_still(quick):
    cast = Cast()
    case = cast.reviewing(Day(2021, 3, 8))
    assert case.due == Day(2021, 3, 15)
    cast.go(case, "return_for_completion", "reviewer", Day(2021, 3, 10))  # two of five days gone
    assert (case.due, case.stopped) == (None, True)
    assert open_tasks(case) == [("applications.apply", "退回补正", None, True)]
    cast.state(case, "5", Day(2021, 3, 22))
    assert case.requirements.get(no="5").met is None
    cast.go(case, "complete", "hospital", Day(2021, 3, 22))
    assert (case.due, case.stopped) == (Day(2021, 3, 25), False)  # 03-23, 24, 25
    cast.go(case, "return_for_completion", "reviewer", Day(2021, 3, 25))
    cast.go(case, "complete", "hospital", Day(2021, 3, 29))
    assert case.due == Day(2021, 3, 29)  # nothing was left: the day of receipt itself


def publicised(cast: Cast) -> Application:
    case = cast.testing(Day(2021, 3, 8), Day(2021, 3, 9), Day(2021, 3, 10))
    cast.judge(case, Day(2021, 3, 11), part="acceptance", role="information")
    cast.go(case, "pass_test_publish", "information", Day(2021, 3, 11))
    return case


def object_to(case, cast, day, **more) -> Objection:
    who = cast.people["reviewer"]
    return commands.raise_objection(
        application=case, raised_by="某市民", text="信息系统未区分业务", who=who, by=who.username,
        at=moment(day), **more,
    )  # fmt: skip


def answer(objection, cast, day, *, upheld) -> Objection:
    who = cast.people["reviewer"]
    return commands.answer_objection(
        objection=objection, upheld=upheld, answer="经核查", who=who, by=who.username,
        at=moment(day),
    )  # fmt: skip


def test_signing_waits_for_the_public_notice_and_its_objections(quick):
    cast = Cast()
    case = publicised(cast)
    assert case.due == Day(2021, 3, 18)
    early = refused(cast.go, case, "end_publicity", "reviewer", Day(2021, 3, 18))
    assert early == (409, "PUBLICITY_RUNNING", "温医保办〔2021〕6号 十九")
    objection = object_to(case, cast, Day(2021, 3, 18))
    assert refused(object_to, case, cast, Day(2021, 3, 19))[1] == "OBJECTION_LATE"
    go = (cast.go, case, "end_publicity", "reviewer", Day(2021, 3, 19))
    assert refused(*go)[1] == "OBJECTION_OPEN"
    answer(objection, cast, Day(2021, 3, 19), upheld=False)
    assert refused(answer, objection, cast, Day(2021, 3, 19), upheld=True)[1] == "OBJECTION_DECIDED"
    assert (
        refused(cast.go, case, "uphold_objection", "reviewer", Day(2021, 3, 19))[1]
        == "NO_OBJECTION"
    )
    cast.go(case, "end_publicity", "reviewer", Day(2021, 3, 19))
    assert (case.state, case.due) == ("signing", Day(2021, 3, 26))  # five days after the notice


def test_an_objection_upheld_ends_the_application(quick):
    cast = Cast()
    case = publicised(cast)
    objection = object_to(case, cast, Day(2021, 3, 12))
    hospital = cast.people["hospital"]
    act = {"objection": objection, "upheld": False, "answer": "x", "at": moment(Day(2021, 3, 12))}
    assert refused(commands.answer_objection, **act, who=hospital, by="h")[1] == "NOT_REVIEWER"
    answer(objection, cast, Day(2021, 3, 15), upheld=True)
    assert refused(cast.go, case, "end_publicity", "reviewer", Day(2021, 3, 19))[1] == (
        "OBJECTION_UPHELD"
    )
    cast.go(case, "uphold_objection", "reviewer", Day(2021, 3, 16))
    assert (case.state, case.contracts.count()) == ("objection_upheld", 0)


def test_a_region_without_a_notice_period_signs_at_once(quick, settings):
    settings.EXAMPLE_PARAMETERS = False
    cast = Cast()
    case = cast.testing(Day(2021, 3, 8), Day(2021, 3, 9), Day(2021, 3, 10))
    cast.judge(case, Day(2021, 5, 7), part="acceptance", role="information")
    publish = refused(cast.go, case, "pass_test_publish", "information", Day(2021, 5, 7))
    assert publish[1] == "STEP_NOT_POSSIBLE"
    cast.go(case, "pass_test", "information", Day(2021, 5, 7))
    assert (case.state, case.due) == ("signing", Day(2021, 5, 13))  # AG-S01
    assert not Move.objects.get(subject=case.subject, step="pass_test").on_time


def test_nothing_is_signed_while_the_main_agreement_is_suspended(quick):
    cast = Cast()
    case = cast.testing(Day(2021, 3, 8), Day(2021, 3, 9), Day(2021, 3, 10))
    cast.judge(case, Day(2021, 3, 11), part="acceptance", role="information")
    main = lifecycle.main_of(cast.hospital, on=Day(2021, 3, 11))
    lifecycle.set_state(
        agreement=main, state=AgreementState.State.SUSPENDED, on=Day(2021, 3, 11), reason="x",
        by="x", at=moment(Day(2021, 3, 11)),
    )  # fmt: skip
    answer = refused(cast.go, case, "pass_test_publish", "information", Day(2021, 3, 11))
    assert answer == (409, "MAIN_NOT_IN_FORCE", "温医保办〔2021〕6号 二十二第1款")


# --- Days and inputs that were made up ---


def test_no_step_lies_in_the_future_or_before_the_state(quick):
    cast = Cast()
    case = cast.reviewing(Day(2021, 3, 8))
    cast.judge(case, Day(2021, 3, 9))
    go = (cast.go, case, "pass_review", "reviewer", Day(2021, 3, 9))
    assert refused(*go, on=Day(2021, 3, 10))[:2] == (422, "DAY_IN_FUTURE")
    assert refused(*go, on=Day(2021, 3, 7))[:2] == (422, "DAY_TOO_EARLY")


def test_an_institution_cannot_date_its_own_acts(quick):
    """A request made too late is not made in time by writing another day."""
    cast = Cast()
    case = cast.rebuilding(Day(2021, 3, 8), Day(2021, 3, 15))
    go = (cast.go, case, "request_test", "hospital", Day(2021, 7, 1))
    assert refused(*go, on=Day(2021, 6, 1))[:2] == (422, "DAY_NOT_YOURS")


def test_inputs_that_nobody_asked_for_and_choices_not_offered_are_refused(quick):
    cast = Cast()
    case = cast.reviewing(Day(2021, 3, 8))
    cast.judge(case, Day(2021, 3, 9))
    cast.go(case, "pass_review", "reviewer", Day(2021, 3, 9))
    go = (cast.go, case, "deliver_pass", "reviewer", Day(2021, 3, 9))
    assert refused(*go, facts={})[1] == "INPUT_MISSING"
    assert refused(*go, facts={"delivery": "pigeon"})[1] == "INPUT_UNKNOWN"
    assert refused(*go, facts={"delivery": "mail", "state": "active"})[1] == "INPUT_UNKNOWN"


def test_the_applicant_never_decides_whatever_role_comes_later(quick):
    cast = Cast()
    case = cast.reviewing(Day(2021, 3, 8))
    cast.judge(case, Day(2021, 3, 9))
    act = {"step": "pass_review", "who": cast.people["reviewer"], "by": case.opened_by}
    answer = refused(commands.take_step, application=case, **act, at=moment(Day(2021, 3, 9)))
    assert answer[:2] == (403, "SAME_PERSON")
