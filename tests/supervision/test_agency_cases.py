"""The agency's own cases by the agreement: opened, inquired into and closed by it, on Article 13, no enforcement."""

from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse

from audit.models import Task
from audit.procedure import PROCEDURES, Refused
from institutions.access import EVERYTHING, set_scope
from institutions.refusals import Refusal
from settlement.models import Deduction
from supervision import case_papers, cases, disclosures, recusals, sanctions
from supervision.models import SupervisionCase
from supervision.writs import AGREEMENT
from tests import factories
from tests.settlement.test_pages import AT
from tests.supervision.casework import ACTED, SERVED, SIGNED, TODAY, Office

pytestmark = pytest.mark.django_db


class Agency(Office):
    """The same house, whose cases the agency's reviewers inquire into and its signing officer heads."""

    def __init__(self) -> None:
        super().__init__()
        self.handler, self.second = self.reviewer, factories.user("reviewer", self.region)
        set_scope(EVERYTHING)

    def inquired(self, **given: Any) -> SupervisionCase:
        case = self.open(**given)
        self.take(case, "accept", self.agency)
        for person, lead in ((self.handler, True), (self.second, False)):
            cases.name_inspector(
                case=case, username=person.username, lead=lead, by=self.handler.username, at=AT
            )
        claim, fund = self.claim()
        cases.add_claim(case=case, claim_no=claim.claim_no, loss=fund, note="重复收费",
                        by=self.handler.username, at=AT)  # fmt: skip
        return case

    def told(self, case: SupervisionCase, loss: int) -> None:
        facts = {"found": "查明属实", "loss": f"{loss / 100:.2f}"} | SIGNED
        self.take(case, "notify", self.handler, facts=facts)


@pytest.fixture
def agency(settings) -> Agency:
    settings.DEMO_TODAY = TODAY
    return Agency()


def test_the_agency_takes_its_own_case_from_opening_to_the_archive(agency: Agency) -> None:
    case = agency.inquired()
    assert (case.procedure, case.route, case.number) == (
        AGREEMENT, "agreement", "南通医保经立〔2021〕1号",
    )  # fmt: skip
    loss = cases.loss_of(case)
    agency.propose(case, "recovery", amount=loss, scheme="resident")
    agency.propose(case, "interview")
    agency.told(case, loss)
    agency.take(case, "answer", agency.hospital, facts={"text": "愿意退回"})
    agency.take(case, "consider", agency.handler, note="采纳")
    assert Task.objects.get(subject=case.subject, state="open").permission == "agreements.decide"
    agency.take(case, "decide_agreement", agency.agency, note="同意")
    agency.take(case, "serve", agency.handler, facts=SIGNED)
    assert {row.state for row in agency.execute(case)} == {"done"}
    assert Deduction.objects.get().amount == loss
    agency.take(case, "close", agency.agency, note="执行完毕")
    agency.take(case, "archive", agency.handler, note="一册")
    case.refresh_from_db()
    assert (case.state, case.archive_no) == ("archived", "320600-XY-2021-0001")
    papers = list(case.papers.all())
    assert [row.kind for row in papers] == [
        "filing", "notice", "evidence", "receipt", "decision", "receipt", "talk", "receipt", "minutes",
        "closing",
    ]  # fmt: skip
    assert {row.content["issuer"] for row in papers} == {"南通市医疗保险服务经办机构"}
    assert "第29条" not in "".join(f"{case_papers.context_of(row)}" for row in papers)
    for row in papers:
        assert case_papers.pdf_of(row).startswith(b"%PDF")


def test_its_papers_rest_on_the_agreement_and_name_no_certificate(agency: Agency) -> None:
    case = agency.inquired()
    agency.told(case, 0)
    agency.take(case, "waive", agency.hospital)
    agency.take(case, "decide_agreement", agency.agency, note="同意")
    said = "".join(f"{row.content}{case_papers.context_of(row)}" for row in case.papers.all())
    assert not [words for words in ("第29条", "第31条", "听证", "执法证") if words in said]
    notice, decision = (case.papers.get(kind=kind).content for kind in ("notice", "decision"))
    number = agency.place.agreements.get(kind="supplementary").number
    for paper in (notice, decision):
        assert paper["article"].startswith(
            "《医疗保障基金使用监督管理条例》（国务院令第735号）第13条和"
        )
        assert number in paper["article"]
    assert notice["times"]["statement"]["clause"] == "国务院令第735号 第13条"
    clauses = {entry.clause for entry in (*PROCEDURES[AGREEMENT].steps,
                                          *PROCEDURES[AGREEMENT].states.values())}  # fmt: skip
    assert clauses == {"国务院令第735号 第13条"}


def test_each_side_touches_its_own_cases_only(agency: Agency) -> None:
    case = agency.open()
    for who in (agency.chief, agency.third):
        with pytest.raises(Refused, match="不能办理"):
            agency.take(case, "accept", who)
    other = factories.user("signing_officer", agency.region)
    set_scope(EVERYTHING)
    agency.take(case, "accept", agency.agency)
    given = {"case": case, "by": agency.handler.username, "at": AT}
    with pytest.raises(Refusal, match="NOT_AN_INSPECTOR"):
        cases.name_inspector(username=agency.third.username, certificate="苏F-01", **given)
    lead = cases.name_inspector(username=agency.handler.username, lead=True, **given)
    cases.add_claim(claim_no=agency.claim()[0].claim_no, loss=0, note="x", **given)
    with pytest.raises(Refused, match="2名以上") as error:
        agency.told(case, 0)
    assert "第13条" in error.value.clause
    recusals.ask(inspector=lead, reason="亲属", who=agency.hospital, at=AT)
    task = Task.objects.get(subject=f"caseinspector:{lead.pk}", state="open")
    assert (task.permission, task.clause) == ("agreements.decide", "国务院令第735号 第13条")
    asked = {"inspector": lead, "grant": False, "reason": "无", "service": SERVED, "at": AT}
    with pytest.raises(Refusal, match="NOT_YOURS"):
        recusals.decide(who=agency.chief, **asked)
    assert recusals.decide(who=other, **asked).number == "南通医保经避〔2021〕1号"
    bureau = Office()
    theirs = bureau.open()
    assert theirs.procedure == "case"
    with pytest.raises(Refused, match="不能办理"):
        agency.take(theirs, "accept", agency.agency)


def test_the_agency_orders_what_the_agreement_allows(agency: Agency) -> None:
    case = agency.inquired()
    loss = cases.loss_of(case)
    row = agency.propose(case, "fine", article="38", amount=loss)
    with pytest.raises(Refused, match="不属于协议处理的措施"):
        agency.told(case, loss)
    sanctions.drop(sanction=row, by=agency.handler.username, at=AT)
    agency.told(case, loss)
    with pytest.raises(Refused, match="没有"):
        agency.take(case, "ask_hearing", agency.hospital, note="x")
    person = agency.house.patient
    with pytest.raises(Refusal, match="NO_AGREEMENT_OF_A_PERSON"):
        agency.open(subject_kind="person", subject_code=person.subject, person=person,
                    institution_code="")  # fmt: skip
    with pytest.raises(IntegrityError, match="case_of_the_agreement"), transaction.atomic():
        SupervisionCase.objects.filter(pk=case.pk).update(route="penalty")


def test_the_agencys_case_goes_its_way_in_the_browser(agency: Agency) -> None:
    handler, head, chief = (
        factories.log_in(Client(), who) for who in (agency.handler, agency.agency, agency.chief)
    )
    assert "提请立案" in handler.get(reverse("cases")).content.decode()
    made = handler.post(reverse("case-new"), {
        "title": "涉嫌重复收费", "subject_kind": "institution", "institution": agency.place.code,
        "acted_from": str(ACTED), "acted_until": str(TODAY), "origin": "hand", "summary": "线索",
    })  # fmt: skip
    set_scope(EVERYTHING)
    case = SupervisionCase.objects.get()
    address = reverse("case", args=[case.pk])
    assert (made.status_code, made["Location"]) == (302, address)
    assert [step["title"] for step in chief.get(address).context["steps"]] == []
    assert "批准立案" in [step["title"] for step in head.get(address).context["steps"]]
    accept = reverse("case-step", args=[case.pk, "accept"])
    assert head.post(accept, {"version": case.version, "note": "同意"}).status_code == 302
    page = handler.get(address).content.decode()
    assert "指定检查人员" in page
    assert "name_certificate" not in page
    assert "第13条" in page
    for person, lead in ((agency.handler, "on"), (agency.second, "")):
        given = {"username": person.username, "lead": lead}
        act = reverse("case-act", args=[case.pk, "name"])
        assert handler.post(act, given).status_code == 302
    assert agency.third.username not in page
    refused = chief.post(reverse("case-act", args=[case.pk, "name"]), {})
    assert refused.status_code == 403


def test_the_file_of_the_agency_is_lent_by_the_agency(agency: Agency) -> None:
    case = agency.inquired()
    agency.told(case, 0)
    agency.take(case, "waive", agency.hospital)
    agency.take(case, "decide_agreement", agency.agency, note="同意")
    agency.take(case, "serve", agency.handler, facts=SIGNED)
    agency.take(case, "close", agency.agency, note="结案")
    agency.take(case, "archive", agency.handler, note="一册")
    case.refresh_from_db()
    loan = disclosures.ask_loan(case=case, purpose="核对", until=TODAY, who=agency.chief, at=AT)
    task = Task.objects.get(subject=f"archiveloan:{loan.pk}", state="open")
    assert task.permission == "agreements.decide"
    disclosures.lend(loan=loan, who=agency.agency, at=AT)
    task = Task.objects.get(subject=f"archiveloan:{loan.pk}", state="open")
    assert task.permission == "cases.agreement"
