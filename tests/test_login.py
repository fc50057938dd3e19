"""Log-in: it is recorded, wrong passwords lock, nobody signs up, everybody lands."""

import json

import pytest
from django.test import Client
from django.urls import reverse

from audit.models import Event
from tests import factories

LOGIN = "/accounts/login/"


def enter(client: Client, name: str, password: str = factories.PASSWORD):
    return client.post(LOGIN, {"login": name, "password": password})


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("role", "where"),
    [("reviewer", "workbench"), ("audit_admin", "trail"), ("system_admin", "system-status")],
)
def test_everybody_lands_on_a_page_that_the_role_may_open(role: str, where: str):
    person, client = factories.user(role), Client()
    assert enter(client, person.username).url == reverse(where)
    assert client.get(reverse(where)).status_code == 200
    event = Event.objects.get(action="account.login")
    assert (event.actor, event.outcome) == (person.username, "ok")
    assert json.loads(bytes(event.body))["origin"] == "127.0.0.1"


@pytest.mark.django_db
def test_five_wrong_passwords_lock_the_account():
    person = factories.user("reviewer")
    for _ in range(5):
        enter(Client(), person.username, "Wrong-Password-1")
    assert enter(Client(), person.username).status_code in (403, 429)
    assert 1 <= Event.objects.filter(action="account.login", outcome="refused").count() <= 5


@pytest.mark.django_db
def test_an_unknown_name_leaves_no_event():
    assert enter(Client(), "nobody").status_code == 200
    assert not Event.objects.exists()


@pytest.mark.django_db
def test_anonymous_visitors_of_the_first_page_go_to_log_in():
    assert Client().get("/").url.startswith(LOGIN)


@pytest.mark.django_db
def test_nobody_signs_up():
    client = Client()
    client.post("/accounts/signup/", {"username": "x", "password1": factories.PASSWORD,
                                      "password2": factories.PASSWORD})  # fmt: skip
    assert not factories.User.objects.filter(username="x").exists()


@pytest.mark.django_db
def test_the_password_is_changed_and_log_out_ends_the_session():
    person, client = factories.user("reviewer"), Client()
    enter(client, person.username)
    new = {"password1": "Xin-Mima-2022", "password2": "Xin-Mima-2022"}
    client.post(reverse("account_change_password"), {"oldpassword": factories.PASSWORD} | new)
    person.refresh_from_db()
    assert person.check_password("Xin-Mima-2022")
    assert client.get(reverse("workbench"))["Cache-Control"] == "no-store"
    client.post(reverse("account_logout"))
    assert client.get(reverse("account_change_password")).status_code == 302


@pytest.mark.django_db
def test_demonstration_log_ins_are_listed_in_a_demonstration_only(settings):
    settings.DEMO_TODAY = None
    assert Client().get(LOGIN).context["demo_logins"] == []
