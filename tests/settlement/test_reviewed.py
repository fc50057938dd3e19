"""Held lines after a person has decided: reversal and new version, only the decided lines move."""

import pytest
from django.utils import timezone

from institutions.access import EVERYTHING, set_scope
from institutions.refusals import Refusal
from settlement import ledger, reviewed
from settlement.models import Accumulator, Leg, LineResult, Settlement
from settlement.reviewed import Verdict
from tests import factories
from tests.factories import line
from tests.settlement.hospital import Hospital
from tests.settlement.test_resettlement import RATIO, propose, publish
from tests.settlement.test_resettlement import post as post_list

NOW = timezone.now()


@pytest.fixture
def hospital(db) -> Hospital:
    factories.policies("nantong")
    return Hospital(scheme="employee")


def over(fee: str = "15.00", no: int = 1) -> dict:
    """A consultation charged above the published 12.00: held as an overcharge."""
    return line(no, fee=fee)


def post(claim: dict, verdicts: dict[int, Verdict], version: int = 1) -> reviewed.Outcome:
    set_scope(EVERYTHING)
    return reviewed.post(claim_id=claim["id"], version=version, verdicts=verdicts, reason="人工审核",
                         by="reviewer", at=NOW)  # fmt: skip


def stands(claim: dict) -> Settlement:
    set_scope(EVERYTHING)
    return Settlement.objects.filter(claim_id=claim["id"]).order_by("-version")[0]


def test_a_cut_line_pays_the_rest_and_the_institution_bears_the_cut(hospital) -> None:
    hospital.settled(line(fee="12.00"))
    hospital.settled(line(fee="12.00"))
    claim = hospital.settled(over())
    assert claim["state"] == "review"
    told = post(claim, {1: Verdict("passed", 300)})
    assert told.state == "payable"
    row = stands(claim)
    # above the year's deductible of 20.00: 65 % of 12.00
    assert (row.version, row.fee, row.in_scope, row.out_of_scope, row.hospital, row.held) == (
        3, 1500, 1200, 300, 300, 0,
    )  # fmt: skip
    assert row.fund == 780
    result = LineResult.objects.get(claim_id=claim["id"], version=3)
    assert (result.fee, result.fund) == (1200, 780)
    assert ledger.balance().sound
    answer = hospital.get(claim["links"]["self"]).json()
    assert answer["lines"][0]["reason"] == "REVIEW_CUT"
    assert answer["totals"]["hospital"] == "3.00"
    assert [one["kind"] for one in answer["versions"]] == ["settlement", "reversal", "settlement"]


@pytest.mark.parametrize(
    ("verdict", "hospital_part", "cash", "reason"),
    [("refused", 1500, 0, "REVIEW_REFUSED"), ("self_paid", 0, 1500, "REVIEW_SELF_PAID")],
)
def test_a_refused_line_is_borne_by_whom_the_verdict_says(
    hospital, verdict, hospital_part, cash, reason
) -> None:
    claim = hospital.settled(over())
    post(claim, {1: Verdict(verdict)})
    row = stands(claim)
    assert (row.state, row.hospital, row.cash, row.fund, row.held) == (
        "reject", hospital_part, cash, 0, 0,
    )  # fmt: skip
    assert hospital.get(claim["links"]["self"]).json()["lines"][0]["reason"] == reason
    assert ledger.balance().sound


def test_other_lines_and_other_claims_keep_what_they_have(hospital) -> None:
    first = hospital.settled(line(fee="12.00"))
    mixed = hospital.settled(
        line(1, fee="12.00"), line(2, item="111102002", fee="30.00"),
        physician={"code": factories.physician(hospital.row, "chief").code},
    )  # fmt: skip
    later = hospital.settled(line(fee="12.00"))
    set_scope(EVERYTHING)
    held = LineResult.objects.filter(claim_id=mixed["id"], version=1, decision=2)
    assert held.exists(), mixed["lines"]
    before = {
        row.line_no: (row.decision, row.fund, row.deductible)
        for row in LineResult.objects.filter(claim_id=mixed["id"], version=1)
    }
    no = held[0].line_no
    post(mixed, {no: Verdict("passed", max(held[0].overcharge, 0))})
    after = {
        row.line_no: (row.decision, row.fund, row.deductible)
        for row in LineResult.objects.filter(claim_id=mixed["id"], version=3)
    }
    assert {k: v for k, v in after.items() if k != no} == {
        k: v for k, v in before.items() if k != no
    }
    assert after[no][0] == 0
    for claim in (first, later):
        assert stands(claim).version == 1
    year = Accumulator.objects.get()
    totals = Settlement.objects.filter(person_id=year.person_id)
    assert year.fund_used == sum(row.fund for row in totals)
    assert ledger.balance().sound


def test_a_version_that_does_not_count_is_refused(hospital) -> None:
    claim = hospital.settled(over())
    post(claim, {1: Verdict("refused")})
    with pytest.raises(Refusal, match="CLAIM_CHANGED"):
        post(claim, {1: Verdict("passed")})
    again = post(claim, {1: Verdict("passed", 300)}, version=3)  # a re-review changes it
    assert again.state == "payable"
    assert stands(claim).version == 5
    assert ledger.balance().sound


def test_what_the_law_refuses_no_reviewer_passes(hospital) -> None:
    body = hospital.body(over())
    body["encounter"]["visit_type"] = "first"
    claim = hospital.post(body).json()
    with pytest.raises(Refusal, match="LAW_REFUSES"):
        post(claim, {1: Verdict("passed")})
    with pytest.raises(Refusal, match="CUT_TOO_LARGE"):
        post(hospital.settled(over()), {1: Verdict("passed", 1500)})


def test_a_resettlement_keeps_what_reviewers_decided(hospital) -> None:
    """The replay under another law honours the verdicts that stand."""
    hospital.settled(line(fee="12.00"))
    hospital.settled(line(fee="12.00"))
    claim = hospital.settled(over())
    post(claim, {1: Verdict("passed", 300)})
    refused = hospital.settled(over())
    post(refused, {1: Verdict("refused")})
    publish(*RATIO)
    post_list(propose(hospital))
    row = stands(claim)
    assert (row.version, row.in_scope, row.hospital, row.fund) == (5, 1200, 300, 840)
    assert stands(refused).hospital == 1500
    assert ledger.balance().sound
    assert sum(Leg.objects.values_list("amount", flat=True)) == 0
