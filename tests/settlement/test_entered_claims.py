"""Claims that the agency enters for a person's request (手工报销) are not the institution's business."""

import pytest
from django.db import DatabaseError, connection, transaction
from django.test import Client
from django.urls import reverse

from institutions.access import EVERYTHING, set_scope
from settlement import commands, reconciliation, statement_page, statements
from settlement.facts import Claimant
from settlement.models import Claim, EnteredClaim, Period, Settlement, Statement
from settlement.periods import differences
from tests import factories
from tests.settlement.agency import AT, Agency, calendar
from tests.settlement.hospital import Hospital
from tests.settlement.test_reconciliation import content, row
from tests.settlement.test_reimbursements import refusal_of


@pytest.fixture
def agency(db) -> Agency:
    factories.policies("nantong")
    calendar(2021)
    return Agency()


@pytest.fixture
def entered(agency: Agency) -> Claim:
    """A claim that was entered for a request, beside one that the hospital uploaded."""
    case = agency.calculated()
    set_scope(EVERYTHING)
    return Claim.objects.get(pk=case.claim_id)


def of_the_hospital(agency: Agency) -> Hospital:
    """The same hospital as the API meets it, with a claim of its own."""
    made = Hospital.__new__(Hospital)
    made.row, made.doctor = agency.hospital, agency.doctor
    made.patient, made.calls = factories.person("nantong", "resident"), 0
    made.token, made.client = (
        factories.token(agency.hospital),
        Client(raise_request_exception=False),
    )
    return made


def log_in(role: str, place: object) -> Client:
    return factories.log_in(Client(), factories.user(role, place))


def text(client: Client, name: str, *args: object, **query: str) -> str:
    return client.get(reverse(name, args=args), query).content.decode()


def test_the_hospital_neither_lists_nor_reads_nor_reverses_it(
    agency: Agency, entered: Claim
) -> None:
    hospital = of_the_hospital(agency)
    own = hospital.settled(channel="manual", e_invoice_no="3206-77")
    theirs = log_in("hospital", agency.hospital)
    listed = text(theirs, "claims")
    assert own["claim_no"] in listed
    assert entered.claim_no not in listed
    assert "渠道" not in listed
    assert (
        entered.claim_no
        not in b"".join(theirs.get(reverse("claims-csv")).streaming_content).decode()
    )
    for name in ("claim", "claim-reverse"):
        assert theirs.get(reverse(name, args=[entered.pk])).status_code == 404
    address = f"/api/v1/claims/{entered.pk}"
    assert hospital.get(address).status_code == 404
    assert hospital.post({"reason": "错"}, url=f"{address}/reversal").status_code == 404
    results = hospital.get("/api/v1/claims").json()["results"]
    assert [row["claim_no"] for row in results] == [own["claim_no"]]
    set_scope(EVERYTHING)
    assert Settlement.objects.filter(claim_id=entered.pk).count() == 1


def test_staff_see_it_with_its_channel_and_do_not_reverse_it(
    agency: Agency, entered: Claim
) -> None:
    staff = log_in("settlement_clerk", agency.region)
    assert "手工报销" in text(staff, "claims")
    assert entered.claim_no in text(staff, "claims", channel="request")
    assert entered.claim_no not in text(staff, "claims", channel="claim")
    page = text(staff, "claim", entered.pk)
    assert "手工报销（参保人申请）" in page
    assert reverse("claim-reverse", args=[entered.pk]) not in page
    answer = staff.post(reverse("claim-reverse", args=[entered.pk]), {"reason": "错"}, follow=True)
    assert "请在申请中退回重算" in answer.content.decode()
    refusal = refusal_of(
        commands.reverse, institution=Claimant.of(agency.hospital), claim_id=entered.pk,
        reason="错", by="clerk", at=AT,
    )  # fmt: skip
    assert refusal.code == "NOT_FOUND"
    set_scope(EVERYTHING)
    assert Settlement.objects.filter(claim_id=entered.pk).count() == 1


def test_the_request_itself_takes_its_claim_back(agency: Agency) -> None:
    case = agency.calculated()
    first = case.claim_id
    agency.step(case, "recalculate", agency.finance, note="明细有误")
    assert Settlement.objects.filter(claim_id=first).count() == 2
    assert list(case.entered.values_list("claim_id", flat=True)) == [first]


def test_statement_and_reconciliation_of_the_hospital_are_without_it(
    agency: Agency, entered: Claim
) -> None:
    set_scope(EVERYTHING)
    period = Period.objects.create(pool="nantong", month=entered.period)
    assert statements.make(period=period, by="clerk", at=AT) == 0
    hospital = of_the_hospital(agency)
    own = hospital.settled(channel="manual", e_invoice_no="3206-78")
    set_scope(EVERYTHING)
    month = Claim.objects.get(pk=own["id"]).period
    period, _ = Period.objects.get_or_create(pool="nantong", month=month)
    statements.make(period=period, by="clerk", at=AT)
    found = Statement.objects.get(period=month)
    lines = statement_page.lines(found)
    assert (found.claims, [row.claim_id for row in lines]) == (1, [own["id"]])
    assert differences(period) == []


def test_a_reconciliation_does_not_miss_it_in_the_hospitals_ledger(
    agency: Agency, entered: Claim
) -> None:
    hospital = of_the_hospital(agency)
    own = hospital.settled(channel="manual", e_invoice_no="3206-79")
    set_scope(EVERYTHING)
    month = Claim.objects.get(pk=own["id"]).period
    EnteredClaim.objects.create(  # as if it had been posted in the same month
        claim_id=own["id"], reimbursement=EnteredClaim.objects.get().reimbursement, entered_at=AT
    )
    set_scope(EVERYTHING)
    made = reconciliation.check(
        institution=agency.hospital, period=month, file_name="x.csv", by="h", at=AT,
        content=content([row(hospital, own, 单据号="UNKNOWN")]),
    )  # fmt: skip
    made = reconciliation.match(ledger=made, by="h", at=AT)
    assert list(made.differences.values_list("kind", "claim_no")) == [("only_theirs", "UNKNOWN")]


@pytest.mark.parametrize(
    "statement",
    ["UPDATE settlement_enteredclaim SET claim_id = 1", "DELETE FROM settlement_enteredclaim",
     "TRUNCATE settlement_enteredclaim"],
)  # fmt: skip
def test_what_was_entered_stays_so(agency: Agency, entered: Claim, statement: str) -> None:
    assert EnteredClaim.objects.get().claim_id == entered.pk
    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
