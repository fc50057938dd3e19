"""A merged finding's claims go on with the other; a complaint's deadline waits for its calendar."""

import datetime as dt

import pytest
from django.db import Error, transaction
from django.test import Client
from django.urls import reverse

from audit.models import Task
from institutions.access import EVERYTHING, set_scope
from institutions.holidays import NATIONAL, import_year, national_year
from institutions.refusals import Refusal
from supervision import cases, complaints, findings
from supervision.complaints import Report
from supervision.models import Complaint, Finding
from tests import factories
from tests.settlement.test_pages import AT
from tests.supervision.casework import ACTED, TODAY, Office
from tests.supervision.test_fair_findings import found, on_claims

pytestmark = pytest.mark.django_db


@pytest.fixture
def office(settings) -> Office:
    settings.DEMO_TODAY = TODAY
    return Office()


def test_the_claims_of_a_merged_finding_go_on_with_the_other(office: Office) -> None:
    (one, fund), (two, other) = office.claim(), office.claim()
    target = on_claims(office, (one.pk, fund), fee=one.fee)
    merged = on_claims(office, (one.pk, fund), (two.pk, other), rule="over_price",
                       fee=one.fee + two.fee, first_day=ACTED - dt.timedelta(days=2))  # fmt: skip
    findings.merge(finding=merged, into=target, by="x", at=AT)
    target.refresh_from_db()
    assert (target.claims, target.fee, target.fund) == (2, one.fee + two.fee, fund + other)
    assert (target.first_day, target.last_day) == (ACTED - dt.timedelta(days=2), ACTED)
    assert set(target.evidence.values_list("claim_id", flat=True)) == {one.pk, two.pk}
    assert "shares" not in target.parameters
    case = office.inquired()
    start = cases.loss_of(case)
    cases.add_finding(case=case, finding=target, by=office.handler.username, at=AT)
    assert cases.loss_of(case) == start + fund + other


def test_another_institutions_claims_stay_its_share(office: Office) -> None:
    elsewhere = factories.institution("nantong")
    (one, fund), (two, other) = office.claim(), office.claim()
    target = on_claims(office, (one.pk, fund), fee=one.fee)
    merged = on_claims(office, rule="over_price")
    merged.evidence.create(claim_id=two.pk, region_code=elsewhere.region_id,
                           institution_code=elsewhere.pk)  # fmt: skip
    findings.merge(finding=merged, into=target, by="x", at=AT)
    target.refresh_from_db()
    assert target.share_of(office.place.pk) == (1, one.fee, fund)
    assert target.share_of(elsewhere.pk) == (1, two.fee, other)
    assert target.fund == fund + other


def test_nothing_is_merged_into_what_is_refuted_or_told(office: Office) -> None:
    row, refuted, told = (found(office) for _ in range(3))
    findings.refute(finding=refuted, reason="误报", by="x", at=AT)
    findings.confirm(finding=told, reason="属实", by="x", at=AT)
    findings.tell(finding=told, by="x", at=AT)
    for into, code in ((refuted, "MERGE_TARGET"), (told, "MERGE_TOLD"), (row, "MERGE_TARGET")):
        with pytest.raises(Refusal, match=code):
            findings.merge(finding=row, into=into, by="x", at=AT)


@pytest.mark.parametrize(
    "given", [{"fund": -1}, {"clause": "x"}, {"parameters": {"by": "x"}}, {"claims": 0}]
)
def test_a_finding_only_grows_and_only_by_merging(office: Office, given: dict) -> None:
    target, merged = found(office), found(office)
    with pytest.raises(Error, match="keeps its content"), transaction.atomic():
        Finding.objects.filter(pk=target.pk).update(fee=1)
    findings.merge(finding=merged, into=target, by="x", at=AT)
    Finding.objects.filter(pk=target.pk).update(fee=1)
    with pytest.raises(Error, match="keeps its content"), transaction.atomic():
        Finding.objects.filter(pk=target.pk).update(**given)


# --- The deadline of a complaint ---


def test_a_complaints_deadline_is_known_when_its_calendar_comes(office: Office) -> None:
    row, code = complaints.receive(
        region=office.region, report=Report(about="某医院", text="重复收费"), at=AT
    )
    assert (row.due, row.due_unknown) == (None, 2021)
    told = {"number": row.number, "code": code}
    asked = Client().post(reverse("public-report-progress"), told).content.decode()
    assert "待2021年工作日历公布后推定" in asked
    set_scope(EVERYTHING)
    done, _ = complaints.receive(
        region=office.region, report=Report(about="某医院", text="重复收费"), at=AT
    )
    complaints.answer(complaint=done, state="declined", text="不属医保", by="x", at=AT)
    import_year(year=2021, region=NATIONAL, rows=national_year(2021), by="x", at=AT)
    row.refresh_from_db()
    assert row.due is not None
    assert row.due > TODAY
    assert row.due_unknown is None
    task = Task.objects.get(subject=f"complaint:{row.pk}")
    assert (task.due, task.due_unknown) == (row.due, None)
    assert Complaint.objects.get(pk=done.pk).due is None
    later, _ = complaints.receive(
        region=office.region, report=Report(about="某医院", text="重复收费"), at=AT
    )
    assert later.due == row.due
