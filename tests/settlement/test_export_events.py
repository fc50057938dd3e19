"""Whoever takes a list out of the portal leaves an event that names it."""

import json

import pytest
from django.test import Client
from django.urls import reverse

from audit.models import Event
from audit.words import act
from tests import factories
from tests.settlement.test_resettlement import ask, hospital

__all__ = ["hospital"]
pytestmark = pytest.mark.django_db


def told(action: str) -> tuple[str, str, dict]:
    """(actor, subject, detail) of the one event of an action."""
    event = Event.objects.get(action=action)
    return event.actor, event.subject, json.loads(bytes(event.body))["detail"]


@pytest.mark.parametrize(
    ("name", "role", "action", "subject"),
    [
        ("consultations-csv", "reviewer", "consultation.export", "consultation:"),
        ("adjustments-csv", "finance_officer", "adjustment.export", "adjustment:"),
        ("adjustments-pdf", "finance_officer", "adjustment.export", "adjustment:"),
        ("regional-csv", "finance_officer", "regionaltransfer.export", "regionaltransfer:"),
        ("vouchers-csv", "finance_officer", "voucher.export", "voucher:"),
    ],
)
def test_a_list_that_is_taken_away_leaves_an_event(name, role, action, subject) -> None:
    person = factories.user(role, factories.region("nantong"))
    answer = factories.log_in(Client(), person).get(reverse(name), {"state": "posted"})
    assert answer.status_code == 200
    actor, about, detail = told(action)
    assert (actor, about, detail["query"]) == (person.username, subject, "state=posted")
    assert act(action) != action


def test_a_list_of_a_resettlement_that_is_taken_away_leaves_an_event(hospital) -> None:
    row = ask(hospital)
    person = factories.user("finance_officer", hospital.row.region)
    answer = factories.log_in(Client(), person).get(reverse("resettlement-csv", args=[row.pk]))
    assert answer.status_code == 200
    assert told("resettlement.export")[:2] == (person.username, f"resettlement:{row.pk}")


def test_the_statements_of_a_month_that_are_taken_away_leave_an_event(db) -> None:
    person = factories.user("reviewer", factories.region("nantong"))
    address = reverse("consultation-statements-csv")
    answer = factories.log_in(Client(), person).get(address, {"month": "2021-11"})
    assert answer.status_code == 200
    assert told("consultation.statement") == (
        person.username, "consultation:2021-11", {"form": "csv", "pairs": 0}
    )  # fmt: skip
