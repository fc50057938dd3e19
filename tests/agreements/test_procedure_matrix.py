"""Every (state, step, role) of every table: allowed or refused exactly as typed here.

The lists below were typed from the documents, not from the tables: step, from, to, role, levels.
"""

import datetime as dt
import itertools
from typing import Any

import pytest
from django.db import transaction

from agreements import commands, submissions
from agreements.handbook import HANDBOOK, tables
from agreements.models import Application, FormSubmission
from audit.moves import advance, offered
from audit.procedure import PROCEDURES, Handbook, Procedure, Refused, checked
from config.docs import shipped
from config.roles import PERMISSIONS, ROLES
from institutions import handbook as registry
from institutions.models import Change, CodeMapping, User
from supervision.law import decree
from tests.agreements.cast import Cast, moment

Day = dt.date
LEVELS = ("", "county", "prefecture", "province")
LOCAL = ("county", "prefecture")
DAY = Day(2021, 6, 1)
ARTICLES_OF_PENALTIES = 86  #: of 行政处罚法 (2021)

WENZHOU = """
submit draft submitted hospital
withdraw draft,submitted,reviewing,completing,rebuilding,signing withdrawn hospital
accept submitted reviewing reviewer
return_for_completion reviewing completing reviewer
complete completing reviewing hospital
pass_review reviewing review_passed reviewer
fail_review reviewing review_failed reviewer
deliver_pass review_passed rebuilding reviewer
deliver_review_notice review_failed rectifying reviewer
deliver_review_ban review_failed banned_1y reviewer
acknowledge_review_notice review_failed rectifying hospital
acknowledge_review_ban review_failed banned_1y hospital
request_test rebuilding testing hospital
lapse rebuilding lapsed -
pass_test testing signing information
pass_test_publish testing publicity information
fail_test testing test_failed information
deliver_test_notice test_failed rectifying reviewer
deliver_test_ban test_failed banned_1y reviewer
acknowledge_test_notice test_failed rectifying hospital
acknowledge_test_ban test_failed banned_1y hospital
end_publicity publicity signing reviewer
uphold_objection publicity objection_upheld reviewer
remake_contract signing,countersigning signing reviewer
sign_institution signing countersigning hospital
sign_agency countersigning active signing_officer
"""
NANTONG = """
submit draft submitted hospital
withdraw draft,submitted,completing,signing withdrawn hospital
return_for_completion submitted completing reviewer
complete completing submitted hospital
file submitted signing reviewer
refuse submitted refused reviewer
remake_contract signing,countersigning signing reviewer
sign_institution signing countersigning hospital
sign_agency countersigning online_signed_paper_pending signing_officer
sign_paper online_signed_paper_pending signed reviewer
"""
NINGXIA = """
qualify joining qualified hospital
apply qualified applied hospital
prepare qualified prepared hospital
prepare_last applied ready hospital
apply_last prepared ready hospital
withdraw joining,qualified,applied,prepared,signing withdrawn hospital
pass_test ready signing information county,prefecture
fail_test ready applied information county,prefecture
remake_contract signing,countersigning signing reviewer
sign_institution signing countersigning hospital
sign_agency countersigning agreed signing_officer county,prefecture
open_payment agreed open policy_staff prefecture
apply_major open major_applied hospital
refuse_major major_applied open policy_staff county,prefecture
open_major major_applied major_open policy_staff county,prefecture
"""
FORM = """
submit draft submitted policy_staff prefecture,province
withdraw draft,submitted withdrawn policy_staff
return submitted draft policy_staff province
approve submitted approved policy_staff province
collect approved collected policy_staff province
"""
CHANGE = """
return submitted returned reviewer
resubmit returned submitted hospital
accept submitted effective reviewer
refuse submitted refused reviewer
withdraw submitted,returned withdrawn hospital
"""
MAPPING = """
return submitted returned information
resubmit returned submitted hospital
approve submitted approved information
expire approved expired -
withdraw submitted,returned withdrawn hospital
end approved expired hospital
"""
DISEASE_FILING = """
notice submitted notice reviewer
supplement notice resubmitted hospital,settlement_clerk
approve submitted,resubmitted approved reviewer
refuse submitted,resubmitted refused reviewer
withdraw submitted,notice,resubmitted withdrawn hospital,settlement_clerk
end approved ended reviewer
expire approved expired -
"""
REIMBURSEMENT = """
accept submitted accepted settlement_clerk
notify accepted supplement settlement_clerk
supplemented supplement accepted settlement_clerk
calculate accepted calculated settlement_clerk
recalculate calculated accepted finance_officer
approve calculated approved finance_officer
redirect calculated calculated settlement_clerk
deny calculated refused finance_officer
refuse submitted,accepted,supplement refused settlement_clerk
withdraw submitted,accepted,supplement withdrawn settlement_clerk
revise calculated,approved,paid calculated -
settled calculated,approved paid -
list approved paying -
unlist paying approved -
pay paying paid -
bounce paying,paid returned -
correct approved,returned account_check settlement_clerk
confirm account_check approved finance_officer
decline account_check returned finance_officer
"""
STATEMENT = """
send draft sent settlement_clerk
confirm sent confirmed hospital
object sent objected hospital
answer objected sent finance_officer
decide sent,objected decided finance_officer
reopen sent,objected,confirmed,decided draft finance_officer,policy_staff
"""
REVIEW = """
return waiting returned reviewer
supply returned waiting hospital
unsupplied returned waiting -
submit waiting second reviewer
tell waiting told reviewer
pass waiting done reviewer
send_back second waiting supervisor
agree_tell second told supervisor
agree_pass second done supervisor
accept told done hospital
object told objected hospital
expire told done -
rule objected done supervisor
lapse waiting,second,returned,told,objected lapsed -
"""
CONSULTATION = """
consent draft invited hospital
confirm invited scheduled -
decline invited cancelled -
hold scheduled held hospital
enter held entered hospital
close_open held unpriced hospital
collect entered charged hospital
distribute charged distributed hospital
settle distributed settled -
refund charged,distributed,settled refunded hospital
correct held,entered,unpriced scheduled hospital
withdraw draft,invited,scheduled,held,entered cancelled hospital
"""
CASE = """
accept proposed investigating supervisor
decline proposed declined supervisor
notify investigating statement supervisor
answer statement answered hospital
record statement answered supervisor
waive statement deciding hospital
lapse statement deciding supervisor
ask_hearing statement,answered hearing_asked hospital
record_hearing statement,answered hearing_asked supervisor
grant_hearing hearing_asked hearing supervisor
change_hearing hearing hearing supervisor
refuse_hearing hearing_asked statement supervisor
refuse_hearing_spoken hearing_asked answered supervisor
hear hearing answered supervisor
consider answered deciding supervisor
supplement deciding investigating supervisor
supplement_agreement deciding investigating signing_officer
decide_agreement deciding decided signing_officer
decide_penalty deciding decided supervisor
transfer deciding transferred supervisor
dismiss deciding dismissed supervisor
dismiss_agreement deciding dismissed signing_officer
serve decided executing supervisor
confirm_transfer transferred executing supervisor
close executing closed supervisor
close_agreement executing closed signing_officer
archive closed archived supervisor
"""
AGREEMENT_CASE = """
accept proposed investigating signing_officer
decline proposed declined signing_officer
notify investigating statement reviewer
answer statement answered hospital
record statement answered reviewer
waive statement deciding hospital
lapse statement deciding reviewer
consider answered deciding reviewer
supplement deciding investigating signing_officer
decide_agreement deciding decided signing_officer
dismiss deciding dismissed signing_officer
serve decided executing reviewer
close executing closed signing_officer
archive closed archived reviewer
"""
MONTHLY = """
remake made,returned made reviewer,supervisor
submit made submitted supervisor
receive submitted received supervisor
return submitted,received returned supervisor
"""
#: Procedures of money: who may take a step is typed here, what each brings about is in tests/settlement.
MONEY = {"diseasefiling": DISEASE_FILING, "reimbursement": REIMBURSEMENT, "statement": STATEMENT,
         "consultation": CONSULTATION, "review": REVIEW, "case": CASE,
         "agreement_case": AGREEMENT_CASE, "monthly": MONTHLY}  # fmt: skip
TYPED = {"wenzhou": WENZHOU, "nantong": NANTONG, "ningxia": NINGXIA, "form": FORM, "change": CHANGE,
         "mapping": MAPPING}  # fmt: skip
#: Lengths that no document prints: example parameters (docs/decisions/example-parameters.md).
CLOCKS_OF_PARAMETERS = {"confirmation", "review", "reimbursement", "objection", "supplement"}
FINAL = {
    "wenzhou": {
        "active", "rectifying", "banned_1y", "lapsed", "objection_upheld", "withdrawn",
    },
    "nantong": {"signed", "refused", "withdrawn"},
    "ningxia": {"open", "major_open", "withdrawn"},
    "form": {"collected", "withdrawn"},
    "change": {"effective", "refused", "withdrawn"},
    "mapping": {"approved", "expired", "withdrawn"},
}  # fmt: skip


def rows(slug: str) -> list[tuple]:
    """(step, sources, target, role, levels) of a typed list."""
    found = []
    for line in TYPED[slug].strip().splitlines():
        step, sources, target, role, levels = (*line.split(), "")[:5]
        found.append((step, set(sources.split(",")), target, role, set(levels.split(",")) - {""}))
    return found


@pytest.mark.parametrize("table", PROCEDURES.values(), ids=lambda table: table.slug)
def test_tables_cite_clauses_permissions_and_clocks_that_exist(table):
    """Every clause is one of the document, every clock one of its procedures or of the table."""
    law = next((policy.data for policy in shipped() if policy.document == table.document), {})
    decreed = table.document == decree().document
    assert law or decreed or not table.document
    entries = [*table.states.values(), *table.steps]
    cited = {entry.clause for entry in entries} | {
        row["clause"] for row in table.data.get("acceptance", ())
    }  # fmt: skip
    clauses = set(law.get("clauses", ()))
    if decreed:
        clauses = {f"第{number}条" for number in decree().articles}
    elif not table.document:  # every clause names its own law
        clauses = {f"{decree().document} 第{number}条" for number in decree().articles}
        clauses |= {f"行政处罚法 第{number}条" for number in range(1, ARTICLES_OF_PENALTIES + 1)}
    assert cited - clauses - {""} == set()
    held = {state.holder for state in table.states.values()}
    assert (held | {step.permission for step in table.steps}) - PERMISSIONS - {""} == set()
    clocks = {key for state in table.states.values() for key in (state.within, state.stops)}
    known = set(law.get("procedures") or ()) | set(table.data.get("clocks", ()))
    known |= set(law.get("distribution") or ()) | CLOCKS_OF_PARAMETERS
    assert clocks - known - {""} == set()
    for step in table.steps:
        assert set(step.levels) <= set(LEVELS)


@pytest.mark.parametrize("table", tables(), ids=lambda table: table.slug)
def test_every_paper_of_a_table_has_its_number(table):
    needed = {"application", table.data["contract"]["kind"], table.data["contract"].get("together")}
    effects = {effect for step in table.steps for effect in step.effects}
    needed |= {"notice"} if effects & {"deliver_notice", "receive_notice"} else set()
    needed |= {"report"} if "make_report" in effects else set()
    assert needed - {None} == set(table.data["numbers"])


def person(role: str) -> User:
    return User(username=f"{role}.x", role=role, is_active=True)


@pytest.mark.parametrize("slug", MONEY)
def test_the_tables_of_money_say_what_is_typed(slug):
    typed = [line.split() for line in MONEY[slug].strip().splitlines()]
    table = PROCEDURES[slug]
    found = [
        [step.key, ",".join(step.source), step.target,
         ",".join(sorted(name for name, role in ROLES.items()
                         if step.permission and step.permission in role.permissions)) or "-"]
        for step in table.steps
    ]  # fmt: skip
    assert found == typed


def test_every_table_has_its_typed_list():
    assert set(PROCEDURES) == set(TYPED) | set(MONEY)
    checked(HANDBOOK, tables())
    for slug, book in BOOKS.items():
        checked(book, [PROCEDURES[slug]])


@pytest.mark.parametrize("slug", TYPED)
def test_table_and_typed_list_say_the_same(slug):
    table = PROCEDURES[slug]
    assert [(step.key, set(step.source), step.target) for step in table.steps] == [
        row[:3] for row in rows(slug)
    ]
    assert {state.key for state in table.states.values() if state.final} == FINAL[slug]


@pytest.mark.parametrize("slug", TYPED)
@pytest.mark.parametrize("role", ROLES)
def test_every_state_step_and_role(slug, role):
    table, who = PROCEDURES[slug], person(role)
    for state, level in itertools.product(table.states, LEVELS):
        expected = {
            step
            for step, sources, _, actor, levels in rows(slug)
            if state in sources and actor == role and (not levels or level in levels)
        }
        assert {step.key for step in table.permitted(state, who, level)} == expected


#: what a case of a table is besides its place in it; an application where nothing is said
CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "form": (FormSubmission, {"number": "x", "form": "channel"}),
    "change": (Change, {"number": "x", "kind": "name", "effective_from": DAY}),
    "mapping": (CodeMapping, {"kind": "item", "local_code": "L", "national_code": "N",
                              "valid_from": DAY}),
}  # fmt: skip
BOOKS = {"form": submissions.HANDBOOK, "change": registry.HANDBOOK, "mapping": registry.HANDBOOK}


def at(state: str, cast: Cast, slug: str = "wenzhou") -> Any:
    """A case that stands in a state without having gone there."""
    model, more = CASES.get(slug) or (Application, {"number": state})
    return model.objects.create(
        institution=cast.hospital, procedure=slug, state=state, entered_on=DAY,
        version=1, region_code=cast.region.pk, institution_code=cast.hospital.pk,
        opened_at=moment(DAY), opened_by="somebody", **more,
    )  # fmt: skip


@pytest.fixture
def cast(db) -> Cast:
    return Cast(years=(), law=False)


@pytest.mark.parametrize("slug", TYPED)
def test_every_state_and_step_is_moved_or_refused_by_the_engine(cast, slug):
    """With every check and effect left out, only the table decides."""
    table, book = PROCEDURES[slug], BOOKS.get(slug, HANDBOOK)
    open_book = Handbook(
        guards=dict.fromkeys(book.guards, lambda case: True),
        checks=dict.fromkeys(book.checks, lambda turn: None),
        effects=dict.fromkeys(book.effects, lambda turn: None),
    )
    for state, line in itertools.product(table.states, rows(slug)):
        step, sources, target, *_ = line
        with transaction.atomic():
            outcome = moved(at(state, cast, slug), table, open_book, line, cast)
            transaction.set_rollback(True)
        expected = target if state in sources else (409, "STEP_NOT_POSSIBLE")
        assert (state, step, outcome) == (state, step, expected)


def moved(case: Any, table: Procedure, book: Handbook, line: tuple, cast: Cast) -> Any:
    """The state in which the engine leaves a case, or (status, code) of its refusal."""
    step, _, _, role, levels = line
    facts = {ask.key: ask.choices[0][0] if ask.choices else "说明" for ask in table.step(step).asks}
    try:
        advance(
            case=case, procedure=table, handbook=book, step=step, by="x", note="说明", facts=facts,
            who=None if role == "-" else cast.people[role], level=next(iter(levels), ""),
            at=moment(DAY),
        )  # fmt: skip
    except Refused as refused:
        return refused.status, refused.code
    return case.state


FORBIDDEN = [
    ("hospital", "submitted", "accept"),
    ("hospital", "reviewing", "pass_review"),
    ("hospital", "reviewing", "fail_review"),
    ("hospital", "review_failed", "deliver_review_notice"),
    ("hospital", "testing", "pass_test"),
    ("hospital", "publicity", "end_publicity"),
    ("hospital", "countersigning", "sign_agency"),
    ("reviewer", "draft", "submit"),
    ("reviewer", "rebuilding", "request_test"),
    ("reviewer", "testing", "pass_test"),
    ("reviewer", "testing", "fail_test"),
    ("reviewer", "signing", "sign_institution"),
    ("reviewer", "countersigning", "sign_agency"),
    ("information", "reviewing", "pass_review"),
    ("information", "countersigning", "sign_agency"),
    ("information", "test_failed", "deliver_test_notice"),
    ("signing_officer", "reviewing", "pass_review"),
    ("signing_officer", "testing", "pass_test"),
    ("signing_officer", "signing", "sign_institution"),
    ("policy_staff", "reviewing", "pass_review"),
    ("supervisor", "reviewing", "pass_review"),
    *(("auditor", state, step) for state, step in (
        ("draft", "submit"), ("submitted", "accept"), ("reviewing", "pass_review"),
        ("testing", "pass_test"), ("countersigning", "sign_agency"), ("rebuilding", "lapse"),
    )),
    *((role, "rebuilding", "lapse") for role in ("reviewer", "hospital", "signing_officer")),
]  # fmt: skip


def test_forbidden_steps_are_refused_by_the_command(cast):
    answers = {}
    for role, state, step in FORBIDDEN:
        with transaction.atomic():
            case = at(state, cast)
            with pytest.raises(Refused) as refused:
                cast.go(case, step, role, DAY, facts={})
            assert step not in {
                one.key
                for one in offered(
                    case=case, procedure=PROCEDURES["wenzhou"], handbook=HANDBOOK,
                    who=cast.people[role], level="prefecture",
                )
            }  # fmt: skip
            transaction.set_rollback(True)
        answers[role, state, step] = (refused.value.status, refused.value.code)
    assert answers == dict.fromkeys(FORBIDDEN, (403, "STEP_NOT_PERMITTED"))


def test_the_portal_takes_automatic_steps_only(cast):
    with pytest.raises(Refused) as refused:
        advance(
            case=at("reviewing", cast), procedure=PROCEDURES["wenzhou"], handbook=HANDBOOK,
            step="pass_review", by="system", at=moment(DAY),
        )  # fmt: skip
    assert (refused.value.status, refused.value.code) == (403, "STEP_NEEDS_PERSON")


@pytest.mark.parametrize(
    ("level", "step", "state", "role"),
    [
        ("county", "open_payment", "agreed", "policy_staff"),
        ("province", "open_payment", "agreed", "policy_staff"),
        ("province", "pass_test", "ready", "information"),
        ("province", "sign_agency", "countersigning", "signing_officer"),
        ("province", "open_major", "major_applied", "policy_staff"),
    ],
)
def test_the_wrong_level_is_refused(cast, level, step, state, role):
    """County and region cannot open mobile payment. (宁医保发〔2021〕152号 附件2 六)"""
    case = at(state, cast)
    with pytest.raises(Refused) as refused:
        advance(
            case=case, procedure=PROCEDURES["ningxia"], handbook=HANDBOOK, step=step,
            who=cast.people[role], level=level, note="x", by="x", at=moment(DAY),
        )  # fmt: skip
    assert (refused.value.status, refused.value.code) == (403, "LEVEL_NOT_PERMITTED")


def test_nobody_outside_the_scope_learns_of_an_application(cast):
    """Another hospital and another region's reviewer: not found, whatever they try."""
    case = at("reviewing", cast)
    other = Cast("nantong", years=(), law=False)
    for role in ("hospital", "reviewer"):
        who = other.people[role]
        with pytest.raises(Refused) as refused:
            commands.take_step(
                application=case, step="withdraw", who=who, by=who.username, at=moment(DAY)
            )
        assert (refused.value.status, refused.value.code) == (404, "APPLICATION_UNKNOWN")
