"""Remote consultations: who may do what when, the money of both sides, refusals, isolation."""

import datetime as dt
import threading
from datetime import date

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction

from audit.models import Event, Move, Task
from audit.procedure import PROCEDURES, Refused, checked
from institutions.access import EVERYTHING, scoped
from institutions.models import Institution
from institutions.refusals import Refusal
from settlement import consultations, ledger
from settlement.consultation_steps import HANDBOOK
from settlement.models import Consultation, Leg, Participant, Receipt, SplitAgreement, Voucher
from tests import factories
from tests.settlement.hospital import Hospital
from tests.settlement.jilin import Story, agreed, at, hospital, person

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


def balances(story: Story) -> dict[int, int]:
    """Net amount of every account touched by a consultation."""
    ids = Voucher.objects.filter(subject=story.case.subject).values("pk")
    found: dict[int, int] = {}
    for account, amount in Leg.objects.filter(claim_id__in=ids).values_list("account", "amount"):
        found[account] = found.get(account, 0) + amount
    return {account: amount for account, amount in found.items() if amount}


def code_of(stopped: pytest.ExceptionInfo) -> str:
    return stopped.value.code


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


def test_an_invoice_is_used_once(here, province):
    story, again = (Story.begin(here, province).to("entered") for _ in range(2))
    story.step("collect", DAY, 13, **story.collected())
    with pytest.raises(Refused) as stopped:
        again.step("collect", DAY, 13, **story.collected())
    assert code_of(stopped) == "INVOICE_TAKEN"


def test_no_ratio_no_distribution(here, province):
    """Only a confirmed agreement in force on the day of the consultation counts."""
    story = Story.begin(here, province).to("charged")
    agreement = agreed(here, province, since=date(2021, 4, 1), confirmed=False)
    with pytest.raises(Refused) as stopped:
        story.step("distribute", DAY, 13)
    assert code_of(stopped) == "AGREEMENT_MISSING"
    assert province.name in stopped.value.detail
    who = person(province)
    consultations.confirm_agreement(agreement=agreement, who=who, by=who.username, at=at(DAY, 13))
    story.step("distribute", DAY, 14)
    assert story.participant(province).agreement == agreement


def test_an_agreement_is_confirmed_by_the_other_side_and_does_not_overlap(here, province):
    row = agreed(here, province, confirmed=False)
    with pytest.raises(Refused):
        consultations.confirm_agreement(agreement=row, who=person(here), by="x", at=at(DAY))
    with pytest.raises(Refusal) as stopped:
        agreed(here, province, 5000, since=date(2021, 1, 1))
    assert code_of(stopped) == "AGREEMENT_OVERLAPS"
    who = person(here)
    consultations.end_agreement(
        agreement=row, last=date(2020, 12, 31), who=who, by=who.username, at=at(DAY)
    )
    agreed(here, province, 5000, since=date(2021, 1, 1))


@pytest.mark.parametrize("ratio", [-1, 10_001])
def test_a_ratio_is_a_part_of_hundred(here, province, ratio):
    with pytest.raises(Refusal) as stopped:
        agreed(here, province, ratio)
    assert code_of(stopped) == "RATIO_NOT_100"


def test_a_share_of_nothing_is_settled_at_once(here, province):
    agreed(here, province, 0)
    story = Story.begin(here, province).to("distributed")
    assert story.case.state == "settled"


def test_payments_are_whole_and_once(here, province):
    agreed(here, province)
    story = Story.begin(here, province).to("distributed")
    for amount in (27999, 28001, 0):
        with pytest.raises(Refusal) as stopped:
            story.pay(province, DAY, amount)
        assert code_of(stopped) == "AMOUNT_DIFFERS"
    story.pay(province, DAY)
    with pytest.raises(Refusal) as stopped:
        story.pay(province, DAY)
    assert code_of(stopped) == "ALREADY_PAID"


def test_the_receipt_is_the_ground_of_the_reversal(here, province):
    """一第2款: no receipt, another amount, before the payment, used twice: no reversal."""
    agreed(here, province)
    story = Story.begin(here, province).to("distributed")
    with pytest.raises(Refusal) as stopped:
        story.receipt(province, DAY)
    assert code_of(stopped) == "NOT_PAID"
    story.pay(province, DAY)
    with pytest.raises(Refusal) as stopped:
        story.reduce(province, DAY)
    assert code_of(stopped) == "RECEIPT_MISSING"
    with pytest.raises(Refusal) as stopped:
        story.receipt(province, DAY, 28001)
    assert code_of(stopped) == "RECEIPT_AMOUNT_MISMATCH"
    part = story.receipt(province, DAY, 20000, "SJ1")
    with pytest.raises(Refusal) as stopped:
        story.reduce(province, DAY)
    assert code_of(stopped) == "RECEIPT_AMOUNT_MISMATCH"
    with pytest.raises(Refusal) as stopped:
        story.receipt(province, DAY, 8000, "SJ1")
    assert code_of(stopped) == "RECEIPT_TAKEN"
    story.receipt(province, DAY, 8000, "SJ2")
    who = person(province)
    consultations.void_receipt(
        receipt=part, reason="金额有误", who=who, by=who.username, at=at(DAY, 15)
    )
    with pytest.raises(Refusal):
        story.reduce(province, DAY)
    story.receipt(province, DAY, 20000, "SJ3")
    story.reduce(province, DAY)
    assert story.case.state == "settled"
    with pytest.raises(Refusal):
        story.reduce(province, DAY)


def test_late_is_possible_with_a_reason(here, province):
    """I-JL-3: three months from the consultation, flagged, never a block."""
    agreed(here, province)
    story = Story.begin(here, province).to("charged")
    assert (story.case.due, story.case.due_clause) == (date(2021, 7, 12), "一第2款")
    late = date(2021, 7, 13)
    with pytest.raises(Refused) as stopped:
        story.step("distribute", late)
    assert code_of(stopped) == "LATE_REASON_MISSING"
    story.step("distribute", late, late_reason="患者出院手续延误")
    assert Move.objects.get(subject=story.case.subject, step="distribute").on_time is False
    story.pay(province, late)
    story.receipt(province, late)
    story.reduce(province, late)
    assert (story.case.state, story.case.late_reason) == ("settled", "患者出院手续延误")


def test_late_at_the_last_step_asks_too(here, province):
    agreed(here, province)
    story = Story.begin(here, province).to("distributed")
    story.pay(province, DAY)
    story.receipt(province, DAY)
    late = date(2021, 7, 13)
    with pytest.raises(Refused, match="逾期原因"):
        story.reduce(province, late)
    story.reduce(province, late, "受邀方票据寄送延误")
    assert Move.objects.get(subject=story.case.subject, step="settle").on_time is False


def test_a_refund_before_the_distribution_undoes_the_collection(here, province):
    story = Story.begin(here, province).to("charged")
    story.step("refund", DAY, 13, note="重复收费", refund_no="TF1")
    assert (story.case.state, balances(story)) == ("refunded", {})


def test_a_refund_after_the_split_waits_for_the_money_paid(here, province):
    agreed(here, province)
    story = Story.begin(here, province).to("distributed")
    story.pay(province, DAY)
    story.receipt(province, DAY)
    story.reduce(province, DAY)
    with pytest.raises(Refused) as stopped:
        story.step("refund", DAY, 16, note="重复收费", refund_no="TF1")
    assert code_of(stopped) == "NOT_RETURNED"
    story.step("refund", DAY, 16, note="重复收费", refund_no="TF1", returned=True)
    assert (story.case.state, balances(story)) == ("refunded", {})
    assert story.participant(province).returned_at
    assert Receipt.objects.filter(void_at=None).count() == 0
    assert ledger.balance().sound


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


CHANGES = (
    "UPDATE settlement_consultation SET amount = 80000, charge_count = 2",
    "UPDATE settlement_consultation SET invoice_no = 'x'",
    "UPDATE settlement_participant SET share = 1",
    "UPDATE settlement_receipt SET amount = 1",
    "UPDATE settlement_splitagreement SET ratio_invited = 1",
    "DELETE FROM settlement_receipt",
    "DELETE FROM settlement_consultation",
)


def test_money_that_moved_is_not_changed(here, province):
    agreed(here, province)
    story = Story.begin(here, province).to("distributed")
    story.pay(province, DAY)
    story.receipt(province, DAY)
    for statement in CHANGES:
        with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)


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


def test_revenue_is_reduced_once_by_many_at_once(committed_db):
    factories.policies("jilin")
    here, province = hospital("示例市医院", "municipal"), hospital("示例省级医院")
    agreed(here, province)
    story = Story.begin(here, province).to("distributed")
    story.pay(province, DAY)
    story.receipt(province, DAY)
    who, row = story.who, story.participant(province)
    done: list[str] = []

    def reduce() -> None:
        try:
            with scoped(EVERYTHING):
                consultations.reduce_revenue(
                    participant=row, who=who, by=who.username, at=at(DAY, 15)
                )
            done.append("ok")
        except REFUSALS as refusal:
            done.append(refusal.code)
        finally:
            connection.close()

    threads = [threading.Thread(target=reduce) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done.count("ok") == 1
    with scoped(EVERYTHING):
        assert balances(story)[Account.CONSULTATION_REVENUE] == -12000


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
            story.step("hold", DAY, 12, session_on=day.isoformat(), minutes=minutes, summary="x")
        assert code_of(stopped) == code
    assert isinstance(DAY, dt.date)
