"""手工报销: from a request to a payment by the same kernel, its invoice once for ever, its clock by date."""

import datetime as dt
import threading

import pytest
from django.db import DatabaseError, connections, transaction

from audit.models import Event, Move, Task
from audit.procedure import Refused
from institutions.access import EVERYTHING, scoped, set_scope
from institutions.models import Office, Scope
from institutions.refusals import Refusal
from settlement import appointments, invoices, ledger, person_requests, reimbursements, reviewed
from settlement.models import AppointmentSlot, EInvoice, Leg, Reimbursement, Settlement
from tests import factories
from tests.factories import line
from tests.settlement.agency import AT, CARD, DAY, TODAY, Agency, calendar
from tests.settlement.hospital import Hospital

CLAUSE = "通医保发〔2020〕25号 三（三）第2款"


@pytest.fixture
def agency(db) -> Agency:
    factories.policies("nantong")
    calendar(2021)
    return Agency()


def refusal_of(call, *args: object, **more: object) -> Refusal | Refused:
    with pytest.raises((Refusal, Refused)) as refusal, transaction.atomic():
        call(*args, **more)
    return refusal.value


# --- The way of a request ---


def test_a_request_goes_from_paper_to_approval(agency: Agency) -> None:
    case = agency.submitted()
    assert (case.state, case.number[:7], case.account_masked) == (
        "submitted",
        "BX3206-",
        "**** 3334",
    )
    assert (
        Task.objects.get(subject=case.subject, state="open").permission == "reimbursements.handle"
    )
    agency.calculated(case)
    assert (case.state, case.payable, case.calculated_by) == (
        "calculated",
        600,
        agency.clerk.username,
    )
    agency.step(case, "approve", agency.finance)
    case.refresh_from_db()
    assert (case.state, case.approved_by) == ("approved", agency.finance.username)
    steps = Move.objects.filter(subject=case.subject).values_list("step", flat=True)
    assert list(steps) == ["open", "accept", "calculate", "approve"]
    assert Task.objects.get(subject=case.subject, state="open").permission == "payments.prepare"


def test_the_kernel_settles_it_and_the_ledger_owes_the_person(agency: Agency) -> None:
    case = agency.calculated()
    legs = dict(Leg.objects.filter(claim_id=case.claim_id).values_list("account", "amount"))
    assert legs[Leg.Account.PERSON_PAYABLE] == -600
    assert Leg.Account.INSTITUTION_PAYABLE not in legs
    assert Settlement.objects.get(claim_id=case.claim_id).fund == 600
    assert ledger.balance().sound


def test_who_calculates_does_not_approve(agency: Agency) -> None:
    case = agency.calculated()
    agency.clerk.role = "finance_officer"
    assert refusal_of(agency.step, case, "approve", agency.clerk).code == "SAME_PERSON"
    with pytest.raises(DatabaseError), transaction.atomic():
        Reimbursement.objects.filter(pk=case.pk).update(approved_by=agency.clerk.username)


def test_a_calculation_without_its_claim_is_no_step(agency: Agency) -> None:
    case = agency.submitted()
    agency.step(case, "accept")
    assert refusal_of(agency.step, case, "calculate").code == "CLAIM_MISSING"


def test_lines_that_do_not_add_up_to_the_invoice_are_refused(agency: Agency) -> None:
    case = agency.submitted(amount=1300)
    assert refusal_of(agency.calculated, case).code == "AMOUNT_DIFFERS"
    assert not Settlement.objects.exists()


def test_a_visit_of_another_day_is_refused(agency: Agency) -> None:
    case = agency.submitted(service_date=DAY - dt.timedelta(days=1))
    assert refusal_of(agency.calculated, case).code == "DAY_DIFFERS"


def test_given_back_the_claim_is_reversed_and_calculated_anew(agency: Agency) -> None:
    case = agency.calculated()
    first = case.claim_id
    agency.step(case, "recalculate", agency.finance, note="明细有误")
    case.refresh_from_db()
    assert (case.state, case.claim_id, case.payable) == ("accepted", None, None)
    assert Settlement.objects.filter(claim_id=first).count() == 2
    reimbursements.calculate(
        case=case, claim=agency.claim(), who=agency.clerk, by=agency.clerk.username, at=AT
    )
    assert (case.payable, case.claim_id != first) == (600, True)
    assert ledger.balance().sound


@pytest.mark.parametrize(("step", "facts"), [("recalculate", {}), ("deny", {"basis": CLAUSE})])
def test_a_held_claim_that_a_request_gave_up_is_never_paid(agency: Agency, step, facts) -> None:
    case = agency.calculated(agency.submitted(amount=1500), line(fee="15.00"))
    held = case.claim_id
    agency.step(case, step, agency.finance, note="明细有误", facts=facts)
    assert [row.version for row in Settlement.objects.filter(claim_id=held)] == [1, 2]
    with pytest.raises(Refusal) as refusal, transaction.atomic():
        reviewed.post(claim_id=held, version=1, verdicts={1: reviewed.Verdict("passed", 300)},
                      reason="人工审核", by="reviewer", at=AT)  # fmt: skip
    assert refusal.value.code == "CLAIM_CHANGED"
    assert ledger.balance().sound


def test_nothing_payable_is_denied_with_reason_and_clause(agency: Agency) -> None:
    case = agency.calculated(agency.submitted(amount=500), line(item="999", fee="5.00"))
    assert case.payable == 0
    assert refusal_of(agency.step, case, "approve", agency.finance).code == "NOTHING_PAYABLE"
    assert (
        refusal_of(agency.step, case, "deny", agency.finance, note="不在目录").code
        == "INPUT_MISSING"
    )
    facts = {"basis": CLAUSE}
    agency.step(case, "deny", agency.finance, note="项目不在目录", facts=facts)
    case.refresh_from_db()
    move = Move.objects.get(subject=case.subject, step="deny")
    assert (case.state, move.note, move.facts["basis"]) == ("refused", "项目不在目录", CLAUSE)


def test_lines_that_wait_for_review_hold_the_approval(agency: Agency) -> None:
    case = agency.calculated(agency.submitted(amount=1201), line(fee="12.01"))
    assert refusal_of(agency.step, case, "approve", agency.finance).code == "LINES_HELD"


def test_what_is_missing_is_told_once(agency: Agency) -> None:
    case = agency.submitted()
    agency.step(case, "accept")
    agency.step(case, "notify", facts={"items": ["record", "fee_list"]})
    agency.step(case, "supplemented", note="病历")
    more = {"items": ["diagnosis"]}
    assert refusal_of(agency.step, case, "notify", facts=more).code == "TOLD_BEFORE"
    agency.step(case, "notify", facts={"items": ["fee_list"]})
    agency.step(case, "refuse", note="逾期未补正", facts={"basis": CLAUSE})
    case.refresh_from_db()
    assert case.state == "refused"


@pytest.mark.parametrize(
    ("more", "field", "code"),
    [
        ({"e_invoice_no": " - "}, "/e_invoice_no", "INVOICE_MISSING"),
        ({"tracking_no": ""}, "/tracking_no", "MISSING"),
        ({"kind": "appointment"}, "/slot", "MISSING"),
        ({"kind": "deferred"}, "/deferred_until", "MISSING"),
        ({"account": None}, "/number", "ACCOUNT_MISSING"),
        ({"amount": 0}, "/amount", "AMOUNT"),
        ({"phone": "call me"}, "/phone", "PHONE_INVALID"),
        ({"credential": "123"}, "/credential", "CREDENTIAL_INVALID"),
        ({"credential": factories.id_number(998)}, "/credential", "PERSON_UNKNOWN"),
        ({"service_date": TODAY + dt.timedelta(days=1)}, "/service_date", "DAY_IN_FUTURE"),
    ],
)
def test_what_a_request_must_hold(agency: Agency, more: dict, field: str, code: str) -> None:
    refusal = refusal_of(agency.submitted, **more)
    assert (refusal.faults[0].pointer, refusal.code) == (field, code)
    assert not Reimbursement.objects.exists()


def test_an_institution_that_settles_online_needs_another_cause(agency: Agency) -> None:
    online = factories.institution("nantong")
    refusal = refusal_of(agency.submitted, provider=online)
    assert (refusal.code, refusal.faults[0].clause) == ("SETTLES_ONLINE", CLAUSE)
    assert agency.submitted(provider=online, cause="outage").state == "submitted"


def test_a_region_without_manual_channel_takes_none(agency: Agency) -> None:
    factories.policies("wenzhou")
    elsewhere = factories.institution("wenzhou", online_settlement=False)
    assert refusal_of(agency.submitted, provider=elsewhere).code == "NO_MANUAL_CHANNEL"


def test_personal_data_is_encrypted_and_a_reveal_is_an_event(agency: Agency) -> None:
    case = agency.submitted()
    row = Reimbursement.objects.filter(pk=case.pk).values().get()
    stored = repr(row)
    assert CARD not in stored
    assert agency.person.credential not in stored
    assert "13900001234" not in stored
    told = {"by": agency.clerk.username, "at": AT}
    assert refusal_of(reimbursements.reveal, case=case, reason=" ", **told).code == "REASON_MISSING"
    shown = reimbursements.reveal(case=case, reason="核对账户", **told)
    assert (shown["number"], shown["phone"]) == (CARD, "13900001234")
    event = Event.objects.get(action="reimbursement.reveal")
    assert bytes(event.person_hash) == bytes(agency.person.id_hash)
    assert CARD.encode() not in bytes(event.body)


# --- Invoices ---


def test_an_invoice_pays_once_for_ever(agency: Agency) -> None:
    case = agency.submitted(e_invoice_no="3206-0001")
    for spelling in ("32060001", "3206-0001", "3206 0001"):
        refusal = refusal_of(agency.submitted, e_invoice_no=spelling)
        assert (refusal.status, refusal.code) == (409, "INVOICE_USED")
    agency.calculated(case)
    agency.step(case, "deny", agency.finance, note="撤销", facts={"basis": CLAUSE})
    assert refusal_of(agency.submitted, e_invoice_no="3206-0001").code == "INVOICE_USED"


def test_a_request_withdrawn_before_a_claim_frees_its_invoice(agency: Agency) -> None:
    case = agency.submitted(e_invoice_no="3206-0001")
    agency.step(case, "withdraw", note="改为联网结算")
    again = agency.submitted(e_invoice_no="3206-0001")
    assert list(EInvoice.objects.order_by("pk").values_list("holder", flat=True)) == [
        case.subject, again.subject,
    ]  # fmt: skip


def test_the_use_of_an_invoice_is_never_changed(agency: Agency) -> None:
    agency.submitted()
    rows = EInvoice.objects.all()
    for change in ({"holder": "reimbursement:9"}, {"number": "X"}):
        with pytest.raises(DatabaseError), transaction.atomic():
            rows.update(**change)
    with pytest.raises(DatabaseError), transaction.atomic():
        rows.delete()


def test_a_manual_claim_over_rest_carries_its_invoice_once(agency: Agency) -> None:
    hospital = Hospital(online_settlement=False)
    without = hospital.post(hospital.body(channel="manual"))
    fault = without.json()["errors"][0]
    assert (without.status_code, fault["pointer"], fault["code"]) == (
        422, "/e_invoice_no", "INVOICE_MISSING",
    )  # fmt: skip
    assert fault["clause"] == CLAUSE
    given = {"channel": "manual", "e_invoice_no": "3206-7"}
    assert hospital.post(hospital.body(**given)).status_code == 201
    again = hospital.post(hospital.body(channel="manual", e_invoice_no="32067"))
    assert (again.status_code, again.json()["code"]) == (409, "INVOICE_USED")
    set_scope(EVERYTHING)
    assert Settlement.objects.count() == 1


def test_a_claim_that_the_institution_uploaded_is_taken_over(agency: Agency) -> None:
    hospital = Hospital(online_settlement=False)
    claim = hospital.settled(channel="manual", e_invoice_no="3206-8")
    set_scope(EVERYTHING)
    asked = {"provider": hospital.row, "e_invoice_no": "3206-8"}
    assert refusal_of(agency.submitted, **asked).code == "INVOICE_USED"  # of another person
    agency.person = hospital.patient
    case = agency.submitted(**asked)
    agency.step(case, "accept")
    reimbursements.calculate(
        case=case, claim=None, who=agency.clerk, by=agency.clerk.username, at=AT
    )
    assert (case.claim_id, case.payable) == (claim["id"], 600)
    assert refusal_of(agency.submitted, **asked).code == "INVOICE_USED"


def test_an_invoice_settled_online_is_not_reimbursed(agency: Agency) -> None:
    hospital = Hospital()
    hospital.settled(e_invoice_no="3206-9")
    set_scope(EVERYTHING)
    agency.person = hospital.patient
    refusal = refusal_of(
        agency.submitted, provider=hospital.row, cause="outage", e_invoice_no="3206-9"
    )
    assert refusal.code == "INVOICE_USED"


# --- The optional clock ---


def test_before_the_law_there_is_no_clock(agency: Agency) -> None:
    assert agency.submitted().due is None


def test_thirty_working_days_from_the_day_of_the_law_on(agency: Agency) -> None:
    calendar(2023, 2024)
    eve = dt.datetime(2023, 11, 30, 2, tzinfo=dt.UTC)
    assert agency.submitted(at=eve).due is None
    case = agency.submitted(at=eve + dt.timedelta(days=4))  # a Monday
    assert (case.due, case.due_clause) == (dt.date(2024, 1, 15), "社会保险经办条例 第二十条")


def test_a_missing_year_is_asked_for_and_then_counted(agency: Agency) -> None:
    calendar(2023)
    case = agency.submitted(at=dt.datetime(2023, 12, 4, 2, tzinfo=dt.UTC))
    assert (case.due, case.due_unknown) == (None, 2024)
    assert Task.objects.get(permission="calendar.import", state="open").due_unknown == 2024
    calendar(2024)
    assert reimbursements.refresh_unknown(year=2024, by="clerk", at=AT) == 1
    case.refresh_from_db()
    assert case.due == dt.date(2024, 1, 15)


def test_the_clock_stands_still_while_papers_are_missing(agency: Agency) -> None:
    calendar(2023, 2024)
    at = dt.datetime(2023, 12, 4, 2, tzinfo=dt.UTC)
    case = agency.submitted(at=at)

    def step(name: str, days: int, **more: object) -> None:
        who = agency.clerk
        reimbursements.take_step(
            case=case, step=name, who=who, by=who.username, at=at + dt.timedelta(days=days), **more
        )

    step("accept", 0)
    step("notify", 1, facts={"items": ["record"]})
    assert (case.stopped, case.due) == (True, None)
    step("supplemented", 8, note="病历")  # five working days later
    assert case.due == dt.date(2024, 1, 22)


# --- Appointments ---


@pytest.fixture
def office(agency: Agency) -> Office:
    return Office.objects.create(region=agency.region, kind="agency", name="南通市医保中心（测试）")


SPANS = [(dt.time(9), dt.time(10)), (dt.time(10), dt.time(11))]


def opened(office: Office, *, capacity: int = 2, days: int = 7) -> int:
    return appointments.open_slots(
        office=office, first=TODAY, last=TODAY + dt.timedelta(days=days - 1), spans=SPANS,
        capacity=capacity, by="clerk", at=AT,
    )  # fmt: skip


def test_slots_are_opened_on_working_days_only(agency: Agency, office: Office) -> None:
    assert opened(office) == 10
    assert {slot.day.weekday() for slot in AppointmentSlot.objects.all()} == {0, 1, 2, 3, 4}
    assert refusal_of(opened, office).code == "NOTHING_OPENED"
    assert refusal_of(opened, office, days=30).code == "CALENDAR_MISSING"


def test_a_slot_takes_its_capacity_and_gives_places_back(agency: Agency, office: Office) -> None:
    opened(office, capacity=1)
    slot = AppointmentSlot.objects.first()
    asked = {"kind": "appointment", "tracking_no": "", "slot_id": slot.pk}
    case = agency.submitted(**asked)
    assert refusal_of(agency.submitted, **asked).code == "SLOT_FULL"
    capacity = {"slot": slot, "by": "clerk", "at": AT}
    assert refusal_of(appointments.set_capacity, capacity=0, **capacity).code == "BOOKED"
    agency.step(case, "withdraw", note="改期")
    assert agency.submitted(**asked).slot_id == slot.pk


def test_who_booked_without_log_in_has_that_place_when_coming(
    agency: Agency, office: Office
) -> None:
    opened(office, capacity=1)
    slot = AppointmentSlot.objects.first()
    who = person_requests.Somebody(agency.person.credential, "测试", "13800001111")
    row, _ = person_requests.book(region=agency.region, who=who, slot_id=slot.pk, at=AT)
    asked = {"kind": "appointment", "tracking_no": "", "slot_id": slot.pk}
    stranger = factories.person("nantong", "resident").credential
    assert refusal_of(agency.submitted, credential=stranger, **asked).code == "SLOT_FULL"
    case = agency.submitted(**asked)
    row.refresh_from_db()
    slot.refresh_from_db()
    assert (row.state, row.reimbursement, slot.booked) == ("taken", case, 1)
    assert not Task.objects.filter(subject=row.subject, state="open").exists()
    assert refusal_of(person_requests.withdraw, request=row, at=AT).code == "REQUEST_STATE"
    agency.step(case, "withdraw", note="改期")
    slot.refresh_from_db()
    assert slot.booked == 0


def test_the_database_overbooks_nothing(agency: Agency, office: Office) -> None:
    opened(office)
    with pytest.raises(DatabaseError), transaction.atomic():
        AppointmentSlot.objects.update(booked=3)


def test_threads_never_book_past_the_capacity(committed_db: str) -> None:
    factories.policies("nantong")
    calendar(2021)
    agency = Agency()
    office = Office.objects.create(region=agency.region, kind="agency", name="医保中心（测试）")
    opened(office, capacity=5)
    slot = AppointmentSlot.objects.first()
    outcomes: list[str] = []
    asked = [agency.asked(kind="appointment", tracking_no="", slot_id=slot.pk) for _ in range(16)]
    gate = threading.Barrier(16)

    def book(request) -> None:
        gate.wait()
        try:
            with scoped(EVERYTHING):
                reimbursements.submit(
                    asked=request, region=agency.region, by=agency.clerk.username, at=AT
                )
            outcomes.append("booked")
        except Refusal as refusal:
            outcomes.append(refusal.code)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=book, args=(request,)) for request in asked]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["SLOT_FULL"] * 11 + ["booked"] * 5
    slot.refresh_from_db()
    assert slot.booked == 5


def test_threads_use_an_invoice_once(committed_db: str) -> None:
    factories.policies("nantong")
    calendar(2021)
    agency = Agency()
    asked = [agency.asked(e_invoice_no="3206-0001") for _ in range(8)]
    outcomes: list[str] = []
    gate = threading.Barrier(8)

    def submit(request) -> None:
        gate.wait()
        try:
            with scoped(EVERYTHING):
                reimbursements.submit(
                    asked=request, region=agency.region, by=agency.clerk.username, at=AT
                )
            outcomes.append("taken")
        except Refusal as refusal:
            outcomes.append(refusal.code)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=submit, args=(request,)) for request in asked]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["INVOICE_USED"] * 7 + ["taken"]
    assert EInvoice.objects.count() == 1


# --- Isolation ---


def test_institutions_and_other_agencies_see_nothing(agency: Agency) -> None:
    case = agency.submitted()
    hospital = factories.user("hospital", agency.hospital)
    other = factories.user("settlement_clerk", factories.region("wenzhou"))
    for user in (hospital, other):
        assert not Reimbursement.objects.visible_to(user).exists()
        set_scope(user.scope_codes())
        assert not Reimbursement.objects.exists()
        set_scope(EVERYTHING)
    set_scope(agency.clerk.scope_codes())
    assert Reimbursement.objects.visible_to(agency.clerk).get() == case
    with pytest.raises(DatabaseError), transaction.atomic():
        Reimbursement.objects.filter(pk=case.pk).update(institution_code=agency.hospital.pk)


def test_without_a_scope_no_invoice_is_seen(agency: Agency) -> None:
    agency.submitted()
    assert invoices.used_among(["320601210000000001"])
    with transaction.atomic():
        set_scope(Scope())
        assert not EInvoice.objects.exists()
        set_scope(EVERYTHING)
