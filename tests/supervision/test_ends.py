"""How a case ends otherwise: a measure that cannot be carried out, a dismissal, letters to others."""

import pytest
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse

from audit.models import Event
from audit.procedure import Refused
from institutions.access import EVERYTHING, set_scope
from institutions.models import Notification
from institutions.refusals import Refusal
from settlement import adjustments
from settlement.models import Adjustment
from supervision import case_papers, cases, disclosures, sanctions
from supervision.models import CasePaper, Sanction, SupervisionCase
from tests import factories
from tests.settlement.test_pages import AT
from tests.supervision.casework import SIGNED, Office
from tests.supervision.test_fair_findings import found

pytestmark = pytest.mark.django_db


@pytest.fixture
def office() -> Office:
    return Office()


def stuck(office: Office) -> tuple[SupervisionCase, Sanction]:
    """A decided case that terminates an agreement which has ended meanwhile."""
    case = office.inquired()
    office.propose(case, "terminate_agreement")
    office.decided(case, "agreement")
    office.place.agreements.filter(kind="supplementary").update(
        valid_until=AT.date().replace(day=1)
    )
    return case, case.sanctions.get()


def test_a_measure_that_became_impossible_is_ended_by_a_decider(office: Office) -> None:
    case, row = stuck(office)
    with pytest.raises(Refusal, match="NO_AGREEMENT"):
        office.execute(case, office.agency)
    with pytest.raises(Refused, match="还有1项"):
        office.take(case, "close_agreement", office.agency, note="结案")
    for who, code in ((office.chief, "NOT_YOURS"), (office.handler, "NOT_YOURS")):
        with pytest.raises(Refusal, match=code):
            sanctions.end(sanction=row, reason="协议已届满", who=who, at=AT)
    with pytest.raises(Refusal, match="REQUIRED"):
        sanctions.end(sanction=row, reason=" ", who=office.agency, at=AT)
    client = factories.log_in(Client(), office.agency)
    page = reverse("case-act", args=[case.pk, "end"])
    assert client.post(page, {"sanction": row.pk, "reason": "协议已届满"}).status_code == 302
    set_scope(EVERYTHING)
    row.refresh_from_db()
    assert (row.state, row.done_by, row.record) == ("ended", office.agency.username, "协议已届满")
    assert Event.objects.filter(action="sanction.end", subject=case.subject).count() == 1
    with pytest.raises(Refusal, match="NOT_TO_BE_ENDED"):
        sanctions.end(sanction=row, reason="再次", who=office.agency, at=AT)
    office.take(case, "close_agreement", office.agency, note="结案")
    closing = case.papers.get(kind="closing")
    assert [line["record"] for line in closing.content["measures"]] == ["终结执行：协议已届满"]
    assert case_papers.pdf_of(closing).startswith(b"%PDF")


def test_whoever_inquired_does_not_end_a_measure(office: Office) -> None:
    case = office.inquired()
    office.propose(case, "interview")
    office.decided(case, "penalty")
    row = case.sanctions.get()
    with pytest.raises(Refusal, match="SAME_PERSON"):
        sanctions.end(sanction=row, reason="对象已注销", who=office.handler, at=AT)
    assert (
        sanctions.end(sanction=row, reason="对象已注销", who=office.chief, at=AT).state == "ended"
    )
    with pytest.raises(IntegrityError), transaction.atomic():
        Sanction.objects.filter(pk=row.pk).update(record="")


def test_a_recovery_that_the_ledger_refused_may_end(office: Office) -> None:
    case = office.inquired()
    cases.add_finding(case=case, finding=found(office, fund=500), by=office.handler.username, at=AT)
    loss = cases.loss_of(case)
    office.propose(case, "recovery", amount=loss, scheme="resident")
    office.decided(case, "agreement", loss=f"{loss / 100:.2f}")
    (row,) = office.execute(case)
    made = Adjustment.objects.get(number=row.effects[-1]["adjustment"])
    assert (made.amount, sanctions.unfinished(case)) == (-500, 1)
    with pytest.raises(Refusal, match="NOT_TO_BE_ENDED"):
        sanctions.end(sanction=row, reason="未获批准", who=office.agency, at=AT)
    adjustments.refuse(adjustment=made, who=office.finance, note="依据不足", at=AT)
    sanctions.end(sanction=row, reason="未获批准", who=office.agency, at=AT)
    row.refresh_from_db()
    assert (row.record, sanctions.unfinished(case)) == ("已办理；未获批准", 0)


# --- Dismissal ---


@pytest.mark.parametrize(("step", "head"), [("dismiss", "chief"), ("dismiss_agreement", "agency")])
def test_a_dismissal_is_a_paper_that_is_served_and_told(
    office: Office, step: str, head: str
) -> None:
    case = office.inquired()
    office.propose(case, "interview")
    office.notify(case, "agreement")
    office.take(case, "waive", office.hospital)
    Notification.objects.all().delete()
    office.take(case, step, getattr(office, head), note="情节轻微并已改正", facts=SIGNED)
    case.refresh_from_db()
    assert (case.state, case.sanctions.get().state) == ("dismissed", "dropped")
    paper = case.papers.get(kind="dismiss")
    assert paper.number == "南通医保监不处〔2021〕1号"
    assert paper.content["reasons"] == "情节轻微并已改正"
    assert paper.content["notice"] == case.papers.get(kind="notice").number
    assert paper.receipt.content["receiver"] == "王某"
    assert case_papers.pdf_of(paper).startswith(b"%PDF")
    assert paper in case_papers.of_party(case.papers.all())
    heard = Notification.objects.get(user=office.hospital)
    assert heard.text == f"监管案件 {case.number}：不予处理"


def test_the_agencys_decider_sends_back_only_what_the_agreement_decides(office: Office) -> None:
    case = office.inquired()
    office.propose(case, "interview")
    office.notify(case, "agreement")
    office.take(case, "waive", office.hospital)
    office.take(case, "supplement_agreement", office.agency, note="补充病历")
    case.refresh_from_db()
    assert case.state == "investigating"
    office.notify(case, "penalty")
    office.take(case, "waive", office.hospital)
    for step in ("supplement_agreement", "dismiss_agreement"):
        with pytest.raises(Refused):
            office.take(case, step, office.agency, note="x", facts=SIGNED)


# --- Letters to others ---


def test_the_party_does_not_read_letters_to_others(office: Office) -> None:
    case = office.inquired()
    office.notify(case, "transfer")
    office.take(case, "waive", office.hospital)
    office.take(case, "transfer", office.chief, note="涉嫌犯罪", facts={"organ": "南通市公安局"})
    office.take(case, "confirm_transfer", office.handler, note="已收", facts={"receiver": "李警官"})
    disclosures.inform(
        case=case, organ="health", text="请依法处理", by=office.handler.username, at=AT
    )
    letters = CasePaper.objects.filter(kind__in=("transfer", "inform"))
    receipt = CasePaper.objects.get(serves__kind="transfer")
    client = factories.log_in(Client(), office.hospital)
    page = client.get(reverse("case", args=[case.pk])).content.decode()
    set_scope(EVERYTHING)
    notice = case.papers.get(kind="notice")
    assert notice.number in page
    for row in (*letters, receipt):
        assert row.number not in page
        assert client.get(reverse("case-paper", args=[case.pk, row.pk])).status_code == 404
        set_scope(EVERYTHING)
    assert client.get(reverse("case-paper", args=[case.pk, notice.pk])).status_code == 200
    set_scope(EVERYTHING)
