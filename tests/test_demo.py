"""The demonstration: small, on a database of its own; every reason of the documents occurs."""

import time
from io import StringIO

import pytest
from django.contrib.auth.password_validation import validate_password
from django.core.management import call_command
from django.db import connection

from audit.models import Task
from config.demo import CLIENT_KEY, LOGIN_KEY, TODAY, identity
from config.demo.accounts import ACCOUNTS, logins
from config.demo.hospitals import listed
from config.demo.oddities import ODDITIES
from config.demo.people import population
from config.roles import ROLES
from institutions import crypto
from institutions.models import ApiClient, Institution, User
from pricing.rules import REASONS
from settlement.models import Batch, LineResult, Settlement

CLAIMS, PAUSED = 160, 40


@pytest.fixture
def demo(committed_db, settings):
    """A small demonstration; yields what the command printed."""
    settings.DEMO_TODAY = TODAY
    out = StringIO()
    call_command("demo", claims=CLAIMS, paused=PAUSED, stdout=out)
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('app.scope', '*', false)")
    return out.getvalue()


def test_small_demonstration(demo, client):
    reasons = {REASONS[number] for number in LineResult.objects.values_list("reason", flat=True)}
    assert reasons >= {oddity.reason for oddity in ODDITIES}
    assert reasons >= {"ONLINE_SUSPENDED", "DEPARTMENT_SUSPENDED"}
    settled = Settlement.objects.filter(version=1)
    assert settled.count() >= CLAIMS  # with those of prescriptions and reimbursements
    assert Settlement.objects.filter(version=2).exists()
    assert set(settled.values_list("state", flat=True)) == {
        "payable", "reject", "review", "no_rule", "partial",
    }  # fmt: skip
    assert settled.filter(state="payable", example=True).exists()
    assert set(Batch.objects.values_list("state", flat=True)) == {"closed", "paused"}
    assert Batch.objects.get(state="paused").claims == PAUSED
    assert Task.objects.filter(due__gte=TODAY).exclude(clause="").exists()

    assert [login["username"] for login in logins()] == [account.username for account in ACCOUNTS]
    user = User.objects.get(username="reviewer.nantong")
    assert user.check_password(LOGIN_KEY)
    validate_password(LOGIN_KEY, user)
    assert all(account.username in demo for account in ACCOUNTS)
    assert CLIENT_KEY in demo
    assert Institution.objects.filter(region__code__startswith="64").count() == len(listed())
    assert not Institution.objects.filter(is_demo=False).exists()
    assert ApiClient.objects.filter(client_id="demo-nt1").exists()

    again, began = StringIO(), time.monotonic()
    call_command("demo", stdout=again)
    assert time.monotonic() - began < 1
    assert "已存在" in again.getvalue()


def test_every_role_has_a_log_in():
    assert {account.role for account in ACCOUNTS} == set(ROLES)


def test_logins_are_shown_in_a_demonstration_only(settings):
    settings.DEMO_TODAY = None
    assert logins() == []


def test_numbers_are_valid_and_impossible():
    people = population()
    numbers = {crypto.id_number(person.credential) for person in people}
    assert len(numbers) == len(people) == 2000
    assert all(number.startswith(identity.NOWHERE) for number in numbers)
    assert population() == people


def test_credit_code_check_character():
    """91350100M000100Y43 is the usual example of GB 32100-2015."""
    assert identity.credit_check("91350100M000100Y4") == "3"
    assert identity.credit_code(7)[-1] == identity.credit_check(identity.credit_code(7)[:17])


def test_the_notice_names_38_hospitals():
    assert len(listed()) == len({hospital.code for hospital in listed()}) == 38
