"""The statement's page links to its kept PDF reports, loaded by their address; who may not sees none."""

import pytest
from django.test import Client
from django.urls import reverse

from institutions.access import EVERYTHING, set_scope
from institutions.models import User
from settlement import closing
from settlement.models import Statement
from settlement.statement_steps import send_all
from supervision.models import ReportOrder
from supervision.reports import orders
from tests import factories
from tests.settlement import money
from tests.settlement.money import NOVEMBER, at


@pytest.fixture
def place(db) -> money.Place:
    set_scope(EVERYTHING)
    found = money.Place("wenzhou")
    found.claim(fund=10_000, account=500, cash=100)
    period = closing.begin_closing(pool="wenzhou", month=NOVEMBER, by="finance", at=at(12, 2))
    send_all(period=period, who=found.user("settlement_clerk"), by="clerk", at=at(12, 2))
    return found


def client_of(user: User) -> Client:
    return factories.log_in(Client(), user)


def test_a_report_is_made_from_the_statement_and_found_there_again(place) -> None:
    row = Statement.objects.get()
    client = client_of(place.user("finance_officer"))
    panel = reverse("statement-report-panel", args=[row.pk])
    page = client.get(reverse("statement", args=[row.pk])).content.decode()
    assert f'hx-get="{panel}"' in page
    assert "还没有编制过正式报告" in client.get(panel).content.decode()
    made = client.post(reverse("statement-report-new", args=[row.pk]))
    order = ReportOrder.objects.get()
    assert made.headers["Location"] == reverse("report", args=[order.pk])
    assert (order.kind, order.institution_code) == ("statement", place.code)
    waiting = client.get(panel).content.decode()
    assert "排队" in waiting
    assert reverse("report-file", args=[order.pk]) not in waiting
    assert orders.make_now(order_id=order.pk, at=at(12, 3)).state == "done"
    done = client.get(panel).content.decode()
    assert reverse("report-file", args=[order.pk]) in done
    paper = client.get(reverse("report-file", args=[order.pk]))
    assert paper.content.startswith(b"%PDF")


def test_who_reads_no_reports_is_shown_no_panel(place) -> None:
    row = Statement.objects.get()
    for role in ("hospital", "settlement_clerk"):
        client = client_of(place.user(role))
        page = client.get(reverse("statement", args=[row.pk])).content.decode()
        assert "statement-reports" not in page
        assert reverse("statement-report-panel", args=[row.pk]) not in page
        assert client.get(reverse("statement-report-panel", args=[row.pk])).status_code == 403


def test_another_region_has_no_such_statement(place) -> None:
    row = Statement.objects.get()
    client = client_of(factories.user("supervisor", factories.region("nantong")))
    assert client.get(reverse("statement-report-panel", args=[row.pk])).status_code == 404
    assert client.post(reverse("statement-report-new", args=[row.pk])).status_code == 404
