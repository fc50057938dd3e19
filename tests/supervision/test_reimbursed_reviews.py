"""Fee reviews and deductions of 手工报销: the person's money, never the hospital's, and unseen by it."""

import datetime as dt

import pytest
from django.utils import timezone

from audit.models import Task
from audit.procedure import Refused
from institutions.access import EVERYTHING, set_scope
from institutions.models import Notification
from institutions.refusals import Refusal
from settlement import closing, ledger, statement_steps
from settlement.models import Adjustment, Claim, Deduction, Settlement, Statement
from supervision import cases, review_steps, reviews, sampling
from supervision.models import Review
from supervision.review_sources import collect, open_by_hand
from supervision.reviews import Marking
from tests import factories
from tests.factories import line
from tests.settlement.agency import AT, Agency, calendar
from tests.settlement.hospital import Hospital
from tests.supervision.casework import Office

SINCE = dt.date(2020, 1, 1)


@pytest.fixture
def agency(db) -> Agency:
    factories.policies("nantong")
    calendar(2021)
    return Agency()


def decided(agency: Agency, marking: Marking):
    """A request whose only line was held and has been decided on by one reviewer."""
    case = agency.calculated(agency.submitted(amount=1500), line(fee="15.00"))
    assert collect(since=SINCE, by="system", at=AT) == 1
    review = Review.objects.get(claim_id=case.claim_id)
    reviewer = agency.user("reviewer")
    for row in review.lines.all():
        reviews.mark(line=row, marking=marking, who=reviewer, by=reviewer.username, at=AT)
    review_steps.take(case=review, step="decide", who=reviewer, by=reviewer.username, at=AT)
    review.refresh_from_db()
    case.refresh_from_db()
    return case, review


@pytest.mark.parametrize(
    ("marking", "payable"), [(Marking("cut", 300, "overcharge"), 600),
                             (Marking("refuse", 0, "overcharge"), 0)],
)  # fmt: skip
def test_a_held_line_of_a_request_is_decided_without_the_hospital(
    agency: Agency, marking: Marking, payable: int
) -> None:
    office = factories.user("hospital", agency.hospital)
    case, review = decided(agency, marking)
    assert (review.state, review.institution_code, review.posted_version) == ("done", "", 3)
    assert (case.state, case.payable) == ("calculated", payable)
    assert set(review.lines.values_list("institution_code", flat=True)) == {""}
    assert not reviews.seen_by(office).exists()
    assert not Notification.objects.filter(user=office).exists()
    assert not Task.objects.filter(institution_code=agency.hospital.pk).exists()
    assert ledger.balance().sound


def test_a_review_of_a_request_is_not_sent_to_the_hospital_for_papers(agency: Agency) -> None:
    case = agency.calculated(agency.submitted(amount=1500), line(fee="15.00"))
    collect(since=SINCE, by="system", at=AT)
    review = Review.objects.get(claim_id=case.claim_id)
    reviewer = agency.user("reviewer")
    with pytest.raises(Refused, match="本案不适用“退回补充材料”"):
        review_steps.take(case=review, step="return", who=reviewer, by=reviewer.username, at=AT,
                          note="病历")  # fmt: skip


def test_what_the_fund_paid_a_person_is_neither_sampled_nor_deducted(agency: Agency) -> None:
    hospital = Hospital()
    own = hospital.settled(line(fee="12.00"))
    uploaded = hospital.settled(line(fee="12.00"), channel="manual", e_invoice_no="3206-8")
    set_scope(EVERYTHING)
    case = agency.approved()
    told = {
        "amount": 100,
        "reason": "other",
        "note": "x",
        "clause": "四（三）",
        "by": "r",
        "at": AT,
    }
    for claim in (case.claim_id, uploaded["id"]):
        with pytest.raises(Refusal, match="PAID_TO_PERSON") as refusal:
            statement_steps.deduct(claim_id=claim, **told)
        assert refusal.value.detail[0] == (
            "该单据由基金支付给参保人（手工报销），不能从机构结算单扣款；需收回的请办理特殊调整"
        )
        settled = Settlement.objects.get(claim_id=claim)
        assert (settled.fund, statement_steps.deductible(settled)) == (600, 0)
    with pytest.raises(Refusal, match="NOTHING_TO_REVIEW"):
        open_by_hand(claim=Claim.objects.get(pk=case.claim_id), reason="x", by="r", at=AT)
    plan = sampling.make_plan(
        region=agency.region, name="全查", first_day=dt.date(2021, 1, 1),
        last_day=dt.date(2021, 12, 31), shares=sampling.Shares(10_000, {}, {}, ()), seed="1",
        by="r", at=timezone.now(),
    )  # fmt: skip
    assert set(Review.objects.filter(plan=plan).values_list("claim_id", flat=True)) == {own["id"]}
    assert statement_steps.deduct(claim_id=own["id"], **told).amount == 100


@pytest.mark.parametrize("step", ["approve", "deny"])
def test_a_deduction_of_a_requests_claim_is_on_no_statement_and_unseen(
    agency: Agency, step: str
) -> None:
    office = factories.user("hospital", agency.hospital)
    case = agency.calculated()
    month = Settlement.objects.get().period
    row = Deduction.objects.create(
        region_code=agency.hospital.region_id, institution_code=agency.hospital.pk,
        scheme="resident", claim_id=case.claim_id, amount=600, reason="other", note="x",
        clause="四（三）", made_at=AT, made_by="r",
    )  # fmt: skip
    agency.step(case, step, agency.finance, note="x", facts={"basis": "三（三）第2款"})
    after = dt.datetime(2022, 1, 5, 2, tzinfo=dt.UTC)
    closing.begin_closing(pool="nantong", month=month, by="finance", at=after)
    row.refresh_from_db()
    assert (row.statement_id, Statement.objects.count()) == (None, 0)
    assert Deduction.objects.get().amount == 600  # nothing was taken, nothing is given back
    assert not Deduction.objects.visible_to(office).exists()
    assert Deduction.objects.visible_to(agency.clerk).count() == 1


def test_a_recovery_of_money_paid_to_a_person_is_no_deduction(db, monkeypatch) -> None:
    office = Office()
    send = office.house.send
    monkeypatch.setattr(office.house, "send", lambda: send(channel="manual", e_invoice_no="3206-8"))
    case = office.inquired()
    fund = cases.loss_of(case)
    office.propose(case, "recovery", amount=fund, scheme="resident")
    office.decided(case, "agreement", loss=f"{fund // 100}.{fund % 100:02d}")
    (done,) = office.execute(case)
    made = Adjustment.objects.get()
    assert done.effects == [{"adjustment": made.number, "amount": fund}]
    assert (made.amount, made.state, Deduction.objects.count()) == (-fund, "proposed", 0)
