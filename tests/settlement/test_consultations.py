"""Remote consultations: who may do what when, the money of both sides, refusals, isolation."""

import datetime as dt
import json
import threading
from datetime import date

import pytest
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.urls import reverse

from audit.models import Event, Move, Task
from audit.procedure import PROCEDURES, Refused, checked
from institutions.access import EVERYTHING, scoped
from institutions.models import Institution, Notification
from institutions.refusals import Refusal
from settlement import consultations, ledger
from settlement.consultation_statement import statements
from settlement.consultation_steps import HANDBOOK
from settlement.models import Consultation, Leg, Participant, Receipt, SplitAgreement, Voucher
from tests import factories
from tests.settlement.hospital import Hospital
from tests.settlement.jilin import Story, agreed, at, balances, code_of, hospital, person

DAY = date(2021, 4, 12)
Account = Leg.Account


@pytest.fixture
def law(db):
    factories.policies("jilin")


@pytest.fixture
def here(law) -> Institution:
    return hospital("示例市医院", "municipal", "220200")


@pytest.fixture
def province(law) -> Institution:
    return hospital("示例省级医院", area="220100")


REFUSALS = (Refusal, Refused)


def test_the_table_names_nothing_that_does_not_exist():
    checked(HANDBOOK, [PROCEDURES["consultation"]])


def test_from_the_request_to_the_settled_split(here, province):
    """一: consent, one charge per provincial hospital, full revenue, share, receipt, reduced revenue."""
    agreed(here, province)
    story = Story.begin(here, province).to("charged")
    case = story.case
    assert (case.charge_count, case.unit_price, case.amount, case.example) == (
        1,
        40000,
        40000,
        True,
    )
    assert balances(story) == {
        Account.CONSULTATION_COLLECTED: 40000, Account.CONSULTATION_REVENUE: -40000,
    }  # fmt: skip
    story.to("distributed")
    story.pay(province, DAY)
    assert balances(story) == {
        Account.CONSULTATION_COLLECTED: 12000, Account.CONSULTATION_REVENUE: -40000,
        Account.INVITED_PAYABLE: 28000,
    }  # fmt: skip
    story.receipt(province, DAY)
    story.reduce(province, DAY)
    assert balances(story) == {
        Account.CONSULTATION_COLLECTED: 12000, Account.CONSULTATION_REVENUE: -12000,
    }  # fmt: skip
    assert (case.state, case.settled_on, case.due) == ("settled", DAY, None)
    assert ledger.balance().sound
    steps = list(Move.objects.filter(subject=case.subject).values_list("step", flat=True))
    assert steps == [
        "open",
        "consent",
        "confirm",
        "hold",
        "enter",
        "collect",
        "distribute",
        "settle",
    ]
    assert Task.objects.filter(state="open").count() == 0


def test_the_patient_is_a_hash_and_the_moves_hold_nothing_of_the_illness(here, province):
    number = factories.id_number()
    story = Story.begin(here, province, id_number=number).to("held")
    assert number not in str(vars(story.case))
    move = Move.objects.get(subject=story.case.subject, step="hold")
    assert "summary" not in move.facts
    assert not any(b"summary" in bytes(event.body) for event in Event.objects.all())


def test_two_provincial_hospitals_are_charged_twice_and_a_municipal_one_is_open(here, province):
    """I-JL-1: once per provincial hospital and session; others wait for a rule."""
    other, city = hospital("示例省级二院"), hospital("示例市二院", "municipal")
    for row, ratio in ((province, 7000), (other, 5000)):
        agreed(here, row, ratio)
    story = Story.begin(here, province, other, city, experts=3).to("distributed")
    assert (story.case.charge_count, story.case.amount) == (2, 80000)
    shares = dict(story.case.participants.values_list("hospital_id", "share"))
    assert shares == {province.pk: 28000, other.pk: 20000, city.pk: None}


def test_without_provincial_experts_nothing_is_charged(here):
    story = Story.begin(here, hospital("示例市二院", "municipal")).to("held")
    with pytest.raises(Refused, match="不适用"):
        story.step("enter", DAY, 12, entry="x")
    story.step("close_open", DAY, 12, entry="病程记录 3")
    assert (story.case.state, story.case.amount, story.case.charge_count) == ("unpriced", None, 0)
    assert not Voucher.objects.exists()


def test_before_the_notice_there_is_no_rule(here, province):
    """I-JL-8: an earlier notice may have paid."""
    story = Story.begin(here, province, day=date(2021, 3, 24)).to("held", date(2021, 3, 24))
    assert (story.case.charge_count, story.case.amount) == (0, None)


def test_nothing_is_charged_without_consent_or_not_in_full(here, province):
    story = Story.begin(here, province)
    with pytest.raises(Refused) as stopped:
        story.step("hold", DAY, session_on=DAY.isoformat(), minutes="30", summary="x")
    assert code_of(stopped) == "STEP_NOT_POSSIBLE"
    with pytest.raises(Refused) as stopped:
        story.step("consent", DAY, consenter="patient", explained=False, agreed=True)
    story.to("entered")
    for facts, code in (
        ({"amount": "399.99"}, "AMOUNT_DIFFERS"), ({"amount": "400.01"}, "AMOUNT_DIFFERS"),
        ({"amount": "四百"}, "AMOUNT"), ({"invoice_no": ""}, "INPUT_MISSING"),
    ):  # fmt: skip
        with pytest.raises(Refused) as stopped:
            story.step("collect", DAY, 13, **(story.collected() | facts))
        assert code_of(stopped) == code


def test_all_decline_and_it_is_over(here, province):
    story = Story.begin(here, province)
    story.to("invited")
    story.answers(DAY, province)
    assert story.case.state == "cancelled"


def test_who_declined_is_not_charged(here, province):
    other = hospital("示例省级二院")
    agreed(here, province)
    story = Story.begin(here, province, other).to("invited")
    story.answers(DAY, other)
    story.to("distributed")
    assert story.case.amount == 40000
    assert story.participant(other).share is None


def test_who_said_yes_and_did_not_come_is_not_charged(here, province):
    """一第3款: the experts that took part are counted, not the invitations that were accepted."""
    other = hospital("示例省级二院")
    for row in (province, other):
        agreed(here, row)
    story = Story.begin(here, province, other).to("scheduled")
    for attended, code in (([], "INPUT_MISSING"), (["H999"], "NOT_INVITED")):
        with pytest.raises(Refused) as stopped:
            story.to("held", hold={"attended": attended})
        assert code_of(stopped) == code
    story.to("distributed", hold={"attended": [province.pk]})
    assert (story.case.charge_count, story.case.amount) == (1, 40000)
    rows = story.case.participants.values_list("hospital_id", "attended", "fee", "share")
    assert list(rows) == [(province.pk, True, 40000, 28000), (other.pk, False, None, None)]
    pairs = statements(person(here), month=DAY.replace(day=1))
    assert [(pair.invited, pair.totals["share"]) for pair in pairs] == [(province, 28000)]


def test_nobody_acts_for_the_other_side(here, province):
    agreed(here, province)
    story = Story.begin(here, province).to("invited")
    row = story.participant(province)
    with pytest.raises(Refused) as stopped:
        consultations.answer(participant=row, accept=True, who=person(here), by="x", at=at(DAY))
    assert (stopped.value.status, code_of(stopped)) == (403, "NOT_YOUR_SIDE")
    story.to("distributed")
    theirs = person(province)
    with pytest.raises(Refused):
        consultations.pay(
            participant=row, amount=28000, payment_no="1", who=theirs, by="x", at=at(DAY)
        )
    with pytest.raises(Refused):
        consultations.take_step(case=story.case, step="refund", who=theirs, by="x", at=at(DAY))
    story.pay(province, DAY)
    with pytest.raises(Refused):
        consultations.issue_receipt(
            participant=row, number="1", amount=28000, issued_on=DAY, who=person(here), by="x",
            at=at(DAY),
        )  # fmt: skip


@pytest.mark.parametrize("who", ["nobody", "itself", "twice", "without expert"])
def test_who_can_be_invited(here, province, who):
    invited = {"nobody": [], "itself": [here], "twice": [province, province],
               "without expert": [province]}[who]  # fmt: skip
    with pytest.raises(Refusal):
        Story.begin(here, *invited, experts=0 if who == "without expert" else 1)


@pytest.mark.parametrize("tier", ["", "省级"])
def test_a_hospital_without_a_known_tier_is_not_invited(here, tier):
    """The tier decides what is charged: a provincial hospital is not made a county one."""
    with pytest.raises(Refusal) as stopped:
        Story.begin(here, hospital("示例未登记层级医院", tier))
    assert code_of(stopped) == "TIER_UNKNOWN"
    assert "示例未登记层级医院的机构登记没有“层级”" in stopped.value.detail[0]
    assert Consultation.objects.count() == 0


def test_a_hospital_sees_where_it_invites_or_is_invited(here, province):
    other = hospital("示例无关医院", "municipal")
    second = hospital("示例省级二院")
    agreed(here, province)
    story = Story.begin(here, province, second).to("invited")
    for place, cases, rows in ((here, 1, 2), (province, 1, 1), (second, 1, 1), (other, 0, 0)):
        user = person(place)
        assert Consultation.objects.visible_to(user).count() == cases
        assert Participant.objects.visible_to(user).count() == rows
        with scoped(user.scope_codes()):  # the database says the same
            assert Consultation.objects.count() == cases
            assert Participant.objects.count() == rows
            assert SplitAgreement.objects.count() == (place in (here, province))
    assert story.case.parties == [here.pk, province.pk, second.pk]


def test_a_claim_is_linked_when_hospital_patient_day_and_count_agree(law, province):
    """一第3款: the claim's quantity of remote_consult is the session's charge_count."""
    api = Hospital("jilin")
    api.row.tier = "municipal"
    api.row.save()
    day = factories.DAY
    agreed(api.row, province)

    def claimed(quantity: str, fee: str) -> str:
        charge = factories.line(
            kind="remote_consult", item="JL001", fee=fee, quantity=quantity, unit_price="400.00"
        )
        consulted = {"charged_by": "inviting", "inpatient": True,
                     "hospitals": [{"name": province.name, "provincial": True}]}  # fmt: skip
        return api.settled(charge, consultation=consulted)["claim_no"]

    once, twice = claimed("1", "400.00"), claimed("2", "800.00")
    story, other = (
        Story.begin(api.row, province, day=day, id_number=number).to("charged", day)
        for number in (api.patient.credential, factories.id_number())
    )
    who = person(api.row)

    def link(case: Consultation, claim_no: str) -> str:
        try:
            with transaction.atomic():
                consultations.link_claim(
                    case=case, claim_no=claim_no, who=who, by=who.username, at=at(day)
                )
        except Refusal as refusal:
            return refusal.code
        return "ok"

    assert link(story.case, "X") == "CLAIM_UNKNOWN"
    assert link(story.case, twice) == "CLAIM_DIFFERS"
    assert link(other.case, once) == "CLAIM_DIFFERS"
    assert link(story.case, once) == "ok"
    assert link(story.case, once) == "CLAIM_LINKED"


# --- What was recorded wrongly ---


def test_a_session_recorded_wrongly_is_corrected(here, province):
    """Who came and when is recorded anew; consent and answers stay, nobody pays for the mistake."""
    other = hospital("示例省级二院")
    story = Story.begin(here, province, other, day=date(2021, 4, 10)).to(
        "scheduled", date(2021, 4, 10)
    )
    story.to("entered", DAY, hold={"attended": [other.pk]})
    assert (story.case.session_on, story.case.amount) == (DAY, 40000)
    with pytest.raises(Refused) as stopped:
        story.step("correct", DAY, 13)
    assert (code_of(stopped), stopped.value.field) == ("INPUT_MISSING", "note")
    told = Notification.objects.count()
    story.step("correct", DAY, 13, note="到会医院勾选有误")
    case = story.case
    assert (case.state, case.session_on, case.entered_at, case.charge_count, case.amount) == (
        "scheduled", None, None, None, None,
    )  # fmt: skip
    assert set(case.participants.values_list("answer", "attended", "fee")) == {
        ("accepted", None, None)
    }
    assert statements(person(here), month=DAY.replace(day=1)) == []
    event = Event.objects.get(action="consultation.correct", subject=case.subject)
    assert json.loads(bytes(event.body))["detail"]["note"] == "到会医院勾选有误"
    assert Notification.objects.count() == told + 2  # both invited hospitals
    held = {"session_on": "2021-04-11", "attended": [province.pk, other.pk]}
    story.to("charged", DAY, hold=held)
    assert (case.session_on, case.charge_count, case.amount) == (date(2021, 4, 11), 2, 80000)
    assert case.due == date(2021, 7, 11)


def test_a_session_that_was_not_charged_by_mistake_is_corrected(here, province):
    city = hospital("示例市二院", "municipal")
    story = Story.begin(here, province, city).to("held", hold={"attended": [city.pk]})
    story.step("close_open", DAY, 12, entry="病程记录 3")
    story.step("correct", DAY, 13, note="省级医院到会未勾选")
    assert (story.case.state, story.case.closed_at) == ("scheduled", None)
    assert story.to("entered").case.amount == 80000 // 2


@pytest.mark.parametrize("stage", ["held", "entered"])
def test_a_consultation_is_withdrawn_before_it_is_charged(here, province, stage, settings):
    """JL-04: nothing of it stays in the list; both hospitals know; a new record can be made."""
    settings.DEMO_TODAY = DAY
    absent = hospital("示例省级二院")
    story = Story.begin(here, province, absent).to(stage, hold={"attended": [province.pk]})
    with pytest.raises(Refused) as stopped:
        story.step("withdraw", DAY, 13)
    assert code_of(stopped) == "INPUT_MISSING"
    story.step("withdraw", DAY, 13, note="登记有误")
    case = story.case
    assert (case.state, case.due, case.session_on, case.entered_at) == (
        "cancelled", None, None, None,
    )  # fmt: skip
    assert not Task.objects.filter(state="open").exists()
    told = Notification.objects.filter(text__endswith="取消会诊")
    assert set(told.values_list("user__institution", flat=True)) == {province.pk, absent.pk}
    assert statements(person(here), month=DAY.replace(day=1)) == []
    client = factories.log_in(Client(), story.who)
    assert client.get(reverse("consultation-list", args=[case.pk, "pdf"])).status_code == 404
    page = client.get(reverse("consultation", args=[case.pk])).content.decode()
    assert ("病程记录 12" in page, "已撤回" in page) == (stage == "entered",) * 2
    assert Story.begin(here, province).to("charged").case.amount == 40000


def test_what_was_collected_is_refunded_not_withdrawn(here, province):
    story = Story.begin(here, province).to("charged")
    for step in ("correct", "withdraw"):
        with pytest.raises(Refused) as stopped:
            story.step(step, DAY, 13, note="登记有误")
        assert code_of(stopped) == "STEP_NOT_POSSIBLE"


NONSENSE = (
    ("UPDATE settlement_consultation SET minutes = 0",
     "consultation_lasts"),
    ("UPDATE settlement_consultation SET amount = 5, charge_count = 1, unit_price = 4",
     "consultation_amount"),
    ("UPDATE settlement_consultation SET invoice_no = 'x'",
     "consultation_charged_by_invoice"),
    ("UPDATE settlement_consultation SET session_on = '2021-04-12', consented_at = NULL",
     "consultation_after_consent"),
    ("UPDATE settlement_consultation SET institution_code = 'x'",
     "consultation_of_inviting"),
    ("UPDATE settlement_participant SET institution_code = hospital_id",
     "participant_is_invited"),
    ("UPDATE settlement_participant SET fee = 5, share = 6",
     "participant_share_by_agreement"),
    ("UPDATE settlement_participant SET paid_at = now()",
     "participant_paid_a_share"),
    ("UPDATE settlement_participant SET reversed_at = now()",
     "participant_reversed_after_payment"),
    ("UPDATE settlement_splitagreement SET ratio_invited = 10001",
     "split_ratio_is_a_part"),
    ("UPDATE settlement_splitagreement SET invited_id = inviting_id",
     "split_between_two_hospitals"),
    ("UPDATE settlement_splitagreement SET valid_until = '2019-01-01'",
     "split_agreement_span"),
    ("UPDATE settlement_splitagreement SET institution_code = 'x'",
     "split_belongs_to_inviting"),
)  # fmt: skip


def test_the_database_refuses_nonsense(here, province):
    agreed(here, province, confirmed=False)
    Story.begin(here, province).to("invited")
    for statement, name in NONSENSE:
        with (
            pytest.raises(IntegrityError, match=name),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(statement)


def test_the_same_receipt_at_the_same_moment_is_registered_once(committed_db):
    factories.policies("jilin")
    here, province = hospital("示例市医院", "municipal"), hospital("示例省级医院")
    agreed(here, province)
    story = Story.begin(here, province).to("distributed")
    story.pay(province, DAY)
    outcomes: list[str] = []

    def issue() -> None:
        try:
            with scoped(EVERYTHING):
                story.receipt(province, DAY, 28000)
            outcomes.append("ok")
        except Refusal as refusal:
            outcomes.append(refusal.code)
        finally:
            connection.close()

    threads = [threading.Thread(target=issue) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["RECEIPT_TAKEN"] * 7 + ["ok"]
    with scoped(EVERYTHING):
        assert Receipt.objects.count() == 1


def test_a_clock_without_its_calendar_year_still_runs(here, province):
    """No roll-over: the three months need no working days."""
    story = Story.begin(here, province, day=date(2034, 11, 30)).to("held", date(2034, 11, 30))
    assert story.case.due == date(2035, 2, 28)


def test_steps_are_refused_where_the_table_has_none(here, province):
    """Forbidden moves are tested too: every state against every step."""
    table = PROCEDURES["consultation"]
    story = Story.begin(here, province)
    for state in table.states:
        Consultation.objects.filter(pk=story.case.pk).update(state=state)
        for step in table.steps:
            if step.automatic or state in step.source:
                continue
            story.case.refresh_from_db()
            with pytest.raises(Refused) as stopped:
                story.step(step.key, DAY)
            assert code_of(stopped) == "STEP_NOT_POSSIBLE"


def test_dates_of_a_session(here, province):
    story = Story.begin(here, province).to("scheduled")
    for day, minutes, code in (
        (date(2021, 4, 11), "30", "DAY_NOT_POSSIBLE"), (date(2021, 4, 13), "30", "DAY_NOT_POSSIBLE"),
        (DAY, "0", "MINUTES"), (DAY, "一小时", "MINUTES"),
    ):  # fmt: skip
        with pytest.raises(Refused) as stopped:
            story.step("hold", DAY, 12, session_on=day.isoformat(), minutes=minutes, summary="x",
                       attended=[province.pk])  # fmt: skip
        assert code_of(stopped) == code
    assert isinstance(DAY, dt.date)
