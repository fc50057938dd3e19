"""Decided cases in public, told to other authorities, lent from the archive."""

import json

import pytest
from django.db import Error, IntegrityError, connection, transaction
from django.test import Client
from django.urls import reverse

from institutions.access import EVERYTHING, set_scope
from institutions.refusals import Refusal
from supervision import case_papers, disclosures
from supervision.models import ArchiveLoan, Disclosure, SupervisionCase
from tests import factories
from tests.settlement.test_pages import AT
from tests.supervision.casework import TODAY, Office

pytestmark = pytest.mark.django_db


@pytest.fixture
def office(settings) -> Office:
    settings.DEMO_TODAY = TODAY
    return Office()


def closed(office: Office, *, archived: bool = False) -> SupervisionCase:
    case = office.inquired()
    office.propose(case, "interview")
    office.decided(case, "agreement")
    office.execute(case)
    office.take(case, "close", office.chief, note="结案")
    if archived:
        office.take(case, "archive", office.handler, note="一册")
    case.refresh_from_db()
    return case


def test_only_a_final_case_is_published_and_by_two_persons(office: Office) -> None:
    open_one = office.inquired()
    with pytest.raises(Refusal, match="NOT_FINAL"):
        disclosures.propose(case=open_one, text="x", by=office.handler.username, at=AT)
    case = closed(office)
    row = disclosures.propose(
        case=case, text="重复收费，已约谈整改", by=office.handler.username, at=AT
    )
    assert not disclosures.published(on=TODAY).exists()
    with pytest.raises(Refusal, match="SAME_PERSON"):
        disclosures.approve(disclosure=row, who=office.handler, at=AT)
    disclosures.approve(disclosure=row, who=office.chief, at=AT)
    assert str(row.last_day) == "2022-06-14"
    assert disclosures.published(on=row.last_day).exists()
    assert not disclosures.published(on=row.last_day.replace(day=15)).exists()
    with pytest.raises(Error, match="stays"), transaction.atomic():
        Disclosure.objects.filter(pk=row.pk).update(text="别的")
    with pytest.raises(Refusal, match="DISCLOSED_BEFORE"):
        disclosures.propose(case=case, text="x", by=office.handler.username, at=AT)


def test_practitioners_and_persons_are_masked(office: Office) -> None:
    doctor = office.house.doctor
    case = SupervisionCase(
        subject_kind="physician", subject_name=doctor.name, institution_code=office.place.code
    )
    assert disclosures.subject_of(case) == f"{office.place.name}医保服务医师测***"
    person = SupervisionCase(subject_kind="person", subject_name="张*（320**********1234）")
    assert disclosures.subject_of(person) == "参保人员张某"


def test_the_public_reads_what_was_approved_until_it_is_withdrawn(office: Office) -> None:
    row = disclosures.propose(
        case=closed(office), text="重复收费，已约谈整改", by=office.handler.username, at=AT
    )
    page, data = reverse("public-cases"), reverse("public-cases-json")
    connection.cursor().execute("SET ROLE mip_app")
    connection.cursor().execute("SELECT set_config('app.scope', '', true)")
    assert "没有公示的案件" in Client().get(page).content.decode()
    set_scope(EVERYTHING)
    disclosures.approve(disclosure=row, who=office.chief, at=AT)
    connection.cursor().execute("SELECT set_config('app.scope', '', true)")
    shown = Client().get(page).content.decode()
    assert office.place.name in shown
    assert "已约谈整改" in shown
    assert len(json.loads(Client().get(data).content)["cases"]) == 1
    assert row.decision_no in Client().get(reverse("public-cases-csv")).content.decode()
    set_scope(EVERYTHING)
    disclosures.withdraw(disclosure=row, reason="决定被撤销", by=office.chief.username, at=AT)
    assert json.loads(Client().get(data).content)["cases"] == []
    connection.cursor().execute("RESET ROLE")


def test_other_authorities_are_told_by_a_paper_with_its_own_number(office: Office) -> None:
    case = closed(office)
    paper = disclosures.inform(
        case=case, organ="health", text="请依法处理", by=office.handler.username, at=AT
    )
    assert (paper.number, paper.addressee) == ("南通医保监函〔2021〕1号", "南通市卫生健康主管部门")
    assert case_papers.pdf_of(paper).startswith(b"%PDF")
    with pytest.raises(Refusal, match="NOT_DECIDED"):
        disclosures.inform(
            case=office.inquired(), organ="market", text="x", by=office.handler.username, at=AT
        )


def test_a_file_is_lent_by_another_person_and_comes_back(office: Office) -> None:
    with pytest.raises(Refusal, match="NOT_ARCHIVED"):
        disclosures.ask_loan(
            case=closed(office), purpose="审计", until=TODAY, who=office.chief, at=AT
        )
    case = closed(office, archived=True)
    auditor = factories.user("auditor", office.region)
    loan = disclosures.ask_loan(case=case, purpose="审计", until=TODAY, who=auditor, at=AT)
    with pytest.raises(Refusal, match="LENT_OUT"):
        disclosures.ask_loan(case=case, purpose="x", until=TODAY, who=office.chief, at=AT)
    with pytest.raises(Refusal, match="SAME_PERSON"):
        disclosures.lend(loan=loan, who=auditor, at=AT)
    with pytest.raises(IntegrityError), transaction.atomic():
        ArchiveLoan.objects.filter(pk=loan.pk).update(approved_by=auditor.username)
    disclosures.lend(loan=loan, who=office.chief, at=AT)
    disclosures.give_back(loan=loan, by=office.handler.username, at=AT)
    disclosures.ask_loan(case=case, purpose="再查", until=TODAY, who=auditor, at=AT)


def test_what_follows_a_case_in_the_browser(office: Office) -> None:
    case = closed(office, archived=True)
    handler = factories.log_in(Client(), office.handler)
    chief = factories.log_in(Client(), office.chief)

    def act(client: Client, key: str, **given: str) -> int:
        return client.post(reverse("case-act", args=[case.pk, key]), given).status_code

    assert act(handler, "publish", text="已约谈整改") == 302
    assert act(handler, "approve") == 403
    assert act(chief, "approve") == 302
    assert act(handler, "inform", organ="market", text="请依法处理") == 302
    assert act(handler, "borrow", purpose="复查", until=TODAY.isoformat()) == 302
    assert act(chief, "lend") == 302
    assert act(handler, "back") == 302
    page = handler.get(reverse("case", args=[case.pk])).content.decode()
    assert "已公布" in page
    assert "已归还" in page
