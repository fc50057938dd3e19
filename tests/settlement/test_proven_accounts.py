"""Personal accounts against the ledger: every night, whatever was reported, drawn, paid in or taken back."""

import datetime as dt
import json
import threading
from importlib import import_module

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, connections

from audit.models import Event, Task
from institutions.access import EVERYTHING, scoped, set_scope
from institutions.refusals import Refusal
from settlement import conserved, ledger, personal_accounts, refunds, tasks
from settlement.models import Accumulator, InsuredPerson, Leg, PersonalAccount
from tests import factories
from tests.audit.sealing import superuser
from tests.factories import line
from tests.settlement.agency import Agency
from tests.settlement.hospital import Hospital, forget_databases
from tests.settlement.test_payments import AT, TODAY, refusal_of, take
from tests.settlement.test_reimbursements import calendar

DIFFERS = "账目自查不符：1个个人账户余额与账目不符"
REASON = {"reason": "手工改错，已核对账目", "by": "operator", "at": AT}


def drawing(balance: int = 1_500) -> Hospital:
    """A hospital whose patient has drawn 12.00 from the account."""
    factories.policies("nantong")
    made = Hospital(scheme="employee")
    made.patient = factories.person("nantong", "employee", account_balance=balance)
    claim = made.settled(line(fee="12.00"), pay_from_account=True)
    assert claim["totals"]["account"] == "12.00"
    made.claim = claim
    set_scope(EVERYTHING)
    return made


def account(person: InsuredPerson) -> tuple[int, int]:
    """What is left, and what was drawn before the balance was last reported."""
    set_scope(EVERYTHING)
    row = PersonalAccount.objects.get(person=person)
    return row.account_left, row.drawn_before


def report(person: InsuredPerson, balance: int) -> None:
    person.account_balance = balance
    person.save()


def said(action: str) -> tuple[Event, dict]:
    """The one event of an action, and its detail."""
    event = Event.objects.get(action=action)
    return event, json.loads(bytes(event.body))["detail"]


def change(amount: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE settlement_personalaccount SET account_left = account_left + %s", [amount]
        )


def test_an_account_follows_from_what_was_reported_and_drawn_since(db: None) -> None:
    made = drawing()
    assert (account(made.patient), ledger.balance().sound) == ((300, 0), True)
    report(made.patient, 9_000)
    assert (account(made.patient), ledger.balance().sound) == ((9_000, 1_200), True)
    assert made.reverse(made.claim).status_code == 201  # drawn before the report, back after it
    assert (account(made.patient), ledger.balance().sound) == ((10_200, 1_200), True)
    report(made.patient, 50)
    assert (account(made.patient), ledger.balance().sound) == ((50, 0), True)
    made.settled(line(fee="12.00"), day=dt.date(2021, 1, 5), pay_from_account=True)
    assert (account(made.patient), ledger.balance().sound) == ((0, 0), True)


def test_a_balance_that_is_reported_first_opens_the_account(db: None) -> None:
    factories.policies("nantong")
    person = factories.person("nantong", "employee")
    set_scope(EVERYTHING)
    report(person, 700)
    assert (account(person), ledger.balance().sound) == ((700, 0), True)


def test_the_same_balance_again_is_a_report_too(db: None) -> None:
    made = drawing(balance=1_500)
    assert account(made.patient) == (300, 0)
    assert personal_accounts.report({made.patient.pk: 1_500}) == {made.patient.pk: 300}
    assert (account(made.patient), ledger.balance().sound) == ((1_500, 1_200), True)
    assert personal_accounts.report({made.patient.pk: 1_500}) == {made.patient.pk: 1_500}
    assert (account(made.patient), ledger.balance().sound) == ((1_500, 1_200), True)


def test_what_is_paid_to_the_account_and_comes_back_is_in_the_proof(db: None) -> None:
    factories.policies("nantong")
    calendar(2021)
    agency = Agency()
    agency.person = factories.person("nantong", "employee", account_balance=1_000)
    agency.doctor = factories.physician(agency.hospital, "associate_chief")
    case = agency.submitted(way="account", account=None, amount=2_200)
    case = agency.calculated(case, line(item="111102002", fee="22.00"))
    agency.step(case, "approve", agency.finance)
    made = agency.sent(case.subject)
    take(agency, made, serial="")
    assert (account(agency.person), ledger.balance().sound) == ((1_130, 0), True)
    report(agency.person, 5_000)
    assert (account(agency.person), ledger.balance().sound) == ((5_000, -130), True)
    row = refunds.record(
        order=made.orders.get(), amount=100, received_on=TODAY, reason="多付退回", bank_serial="",
        by=agency.clerk.username, at=AT,
    )  # fmt: skip
    refunds.decide(refund=row, accept=True, by=agency.finance.username, at=AT)
    assert (account(agency.person), ledger.balance().sound) == ((4_900, -130), True)
    PersonalAccount.objects.update(account_left=4_901)
    assert ledger.balance().sentence == DIFFERS


def test_accounts_of_before_are_proved_from_what_is_left(db: None) -> None:
    made = drawing()
    report(made.patient, 9_000)
    PersonalAccount.objects.update(drawn_before=0)
    assert not ledger.balance().sound
    with connection.cursor() as cursor:
        cursor.execute(import_module("settlement.migrations.0034_proven_accounts").BEGIN)
    assert (account(made.patient), ledger.balance().sound) == ((9_000, 1_200), True)


@pytest.mark.parametrize("how", ["changed", "lost"])
def test_a_wrong_account_is_an_alarm_and_is_written_anew_by_command(
    committed_db: str, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    forget_databases()
    made = drawing()
    with scoped(EVERYTHING):
        if how == "changed":
            change(100_000)
        else:
            PersonalAccount.objects.all().delete()
    assert tasks.watch_balance() == DIFFERS
    name = f"person:{made.patient.pk} account"
    with scoped(EVERYTHING):
        _, told = said("ledger.differs")
        assert (told["wrong_accounts"], told["first"]) == (1, [name])
        assert PersonalAccount.objects.count() == (how == "changed")  # the night changes nothing
    with pytest.raises(CommandError, match="以上与账目不符"):
        call_command("recompute")
    assert name in capsys.readouterr().out
    with pytest.raises(CommandError, match="--reason"):
        call_command("recompute", person=[made.patient.pk], by="operator")
    call_command("recompute", person=[made.patient.pk], by="operator", reason="误改")
    was = 100_300 if how == "changed" else 1_500
    assert f"{name}：account_left {was} → 300" in capsys.readouterr().out
    call_command("recompute")
    with scoped(EVERYTHING):
        assert account(made.patient) == (300, 0)
        event, told = said("ledger.recomputed")
        assert (event.actor, event.subject) == ("operator", f"person:{made.patient.pk}")
        assert told == {"reason": "误改", "was": {name: {"account_left": was}},
                        "made": {name: {"account_left": 300}}}  # fmt: skip
        assert not Task.objects.filter(subject=conserved.SUBJECT, state=Task.State.OPEN).exists()
    forget_databases()


def test_person_years_are_written_anew_too(db: None) -> None:
    made, other = drawing(), factories.person("nantong", "employee")
    row = Accumulator.objects.get()
    right = {name: getattr(row, name) for name in ledger.COUNTED}
    Accumulator.objects.update(in_scope_used=row.in_scope_used + 7)
    Accumulator.objects.create(
        person=other, year=2021, scheme="employee", own_used=5, region_code="320600"
    )
    assert [one.name for one in conserved.differing()] == [
        f"person:{made.patient.pk} {row.year} employee", f"person:{other.pk} 2021 employee",
    ]  # fmt: skip
    conserved.recompute(persons=[made.patient.pk], **REASON)
    assert Accumulator.objects.filter(pk=row.pk, **right).exists()
    assert ledger.balance().wrong_years == 1  # nobody asked for the other
    conserved.recompute(persons=[other.pk], **REASON)
    assert ledger.balance().sound
    Accumulator.objects.all().delete()
    conserved.recompute(persons=[made.patient.pk], **REASON)
    assert (Accumulator.objects.filter(**right).count(), ledger.balance().sound) == (1, True)


def test_what_the_ledger_does_not_bear_is_not_written(db: None) -> None:
    made = drawing()
    told = refusal_of(conserved.recompute, persons=[made.patient.pk], **(REASON | {"reason": " "}))
    assert told.code == "REASON_MISSING"
    change(100_000)
    made.settled(line(fee="12.00"), day=dt.date(2021, 1, 5), pay_from_account=True)
    set_scope(EVERYTHING)
    told = refusal_of(conserved.recompute, persons=[made.patient.pk], **REASON)
    assert (told.code, "追回" in told.detail[0]) == (
        "NOT_TO_BE_HELD",
        True,
    )  # drawn beyond the balance
    assert ledger.balance().wrong_accounts == 1


def test_nothing_is_made_of_a_ledger_that_differs(committed_db: str) -> None:
    forget_databases()
    made = drawing()
    with superuser() as cursor:
        cursor.execute("UPDATE settlement_leg SET amount = amount + 1 WHERE account = %s",
                       [Leg.Account.PERSONAL_ACCOUNT])  # fmt: skip
    with scoped(EVERYTHING), pytest.raises(Refusal, match="LEDGER_UNSOUND"):
        conserved.recompute(persons=[made.patient.pk], **REASON)
    with pytest.raises(CommandError, match="不符"):
        call_command("recompute", person=[made.patient.pk], by="operator", reason="误改")
    forget_databases()


def test_balances_that_are_reported_while_accounts_are_opened_and_drawn_on(
    committed_db: str,
) -> None:
    """First claims and reports of the same persons at once: in any order the accounts are proved."""
    forget_databases()
    factories.policies("nantong")
    made = Hospital(scheme="employee")
    people = [factories.person("nantong", "employee", account_balance=5_000) for _ in range(24)]
    gate = threading.Barrier(4)

    def claims(half: int) -> None:
        gate.wait()
        for person in people[half::2]:
            body = factories.body(person, made.doctor, line(fee="12.00"), pay_from_account=True)
            made.post(body, key=f"k{person.pk}")
        connections.close_all()

    def reports(half: int) -> None:
        gate.wait()
        for person in people[half::2]:
            with scoped(EVERYTHING):
                report(person, 7_000)
        connections.close_all()

    threads = [
        threading.Thread(target=act, args=(half,)) for act in (claims, reports) for half in (0, 1)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with scoped(EVERYTHING):
        assert set(PersonalAccount.objects.values_list("account_left", flat=True)) <= {5_800, 7_000}
        assert (PersonalAccount.objects.count(), ledger.balance().sentence) == (24, "")
    forget_databases()
