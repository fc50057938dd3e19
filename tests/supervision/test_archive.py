"""The archive of cases: how long files are kept, who has them, every look an event."""

import datetime as dt

import pytest
from django.test import Client
from django.urls import reverse

from audit.models import Event, Task
from institutions.models import User
from supervision import archive, disclosures
from supervision.models import ArchiveLoan, SupervisionCase
from tests import factories
from tests.supervision.casework import AT, TODAY, Office
from tests.supervision.test_disclosures import closed


@pytest.fixture
def office(db) -> Office:
    return Office()


def lent(office: Office, until: dt.date = TODAY) -> tuple[SupervisionCase, ArchiveLoan, User]:
    """An archived case whose file an auditor has."""
    case = closed(office, archived=True)
    auditor = factories.user("auditor", office.region)
    loan = disclosures.ask_loan(case=case, purpose="专项审计", until=until, who=auditor, at=AT)
    return case, disclosures.lend(loan=loan, who=office.chief, at=AT), auditor


def test_a_file_is_kept_for_the_years_of_the_region(office: Office) -> None:
    case = closed(office, archived=True)
    kept = archive.kept(case, office.region)
    assert kept.until is not None
    assert (kept.until.year - case.entered_on.year, kept.example) == (kept.years, True)
    office.region.policy_region = "jilin"
    assert archive.kept(case, office.region).until is None


def test_a_loan_is_to_be_collected_by_its_day(office: Office) -> None:
    _, loan, _ = lent(office)
    task = Task.objects.get(subject=f"archiveloan:{loan.pk}", state="open")
    assert (task.permission, task.due) == ("cases.handle", TODAY)
    assert archive.standing(loan, TODAY) == ("借出中", "info")
    late = TODAY + dt.timedelta(days=1)
    assert archive.standing(loan, late) == ("逾期未还", "bad")
    rows = archive.loans(office.chief)
    assert (archive.overdue(rows, TODAY).count(), archive.overdue(rows, late).count()) == (0, 1)
    disclosures.give_back(loan=loan, by=office.handler.username, at=AT)
    loan.refresh_from_db()
    assert archive.standing(loan, late) == ("已归还", "mute")
    assert not Task.objects.filter(subject=f"archiveloan:{loan.pk}", state="open").exists()


def test_files_and_the_register_of_borrowing_in_the_browser(office: Office, settings) -> None:
    case, loan, auditor = lent(office)
    settings.DEMO_TODAY = TODAY + dt.timedelta(days=3)
    client = factories.log_in(Client(), auditor)

    def shown(name: str, **query: str) -> str:
        return client.get(reverse(name), query).content.decode()

    assert case.archive_no in shown("archive")
    assert "逾期未还" in shown("archive", where="late")
    assert case.archive_no not in shown("archive", where="in")
    assert "没有案卷" in shown("archive", q="没有这样的案卷")
    assert "专项审计" in shown("archive-loans", state="late")
    disclosures.give_back(loan=loan, by=office.handler.username, at=AT)
    assert "专项审计" not in shown("archive-loans", state="out")
    assert case.archive_no in shown("archive", where="in")
    assert factories.log_in(Client(), office.hospital).get(reverse("archive")).status_code == 403


def test_every_look_into_an_archived_file_is_an_event(office: Office) -> None:
    case, loan, auditor = lent(office)
    client = factories.log_in(Client(), auditor)
    assert client.get(reverse("case", args=[case.pk])).status_code == 200
    look = Event.objects.get(action="supervisioncase.read", subject=case.subject)
    assert look.actor == auditor.username
    assert f'"loan":{loan.pk}' in bytes(look.body).decode()
    paper = case.papers.first()
    assert paper is not None
    client.get(reverse("case-paper", args=[case.pk, paper.pk]))
    assert Event.objects.filter(action="supervisioncase.print", actor=auditor.username).exists()
