"""Pages and acts of findings; the computed assessment; asking for audits and replays."""

import datetime as dt
import hashlib

import pytest
from django.db import Error, transaction
from django.test import Client
from django.urls import reverse

from agreements.models import Assessment
from audit.models import Event
from institutions.refusals import Refusal
from settlement.models import Claim
from supervision import findings as commands
from supervision.models import Finding, FindingClaim, Run
from tests import factories
from tests.settlement.hospital import Hospital

pytestmark = pytest.mark.django_db
AT = dt.datetime(2021, 12, 1, 9, tzinfo=dt.UTC)
DAY = dt.date(2021, 6, 15)


def found(place, rule: str = "no_consent", **more: object) -> Finding:
    given = {
        "region_code": place.region_id, "institution_code": place.pk, "rule": rule,
        "behaviour": "forced_service", "severity": 2, "clause": "温医保办〔2021〕6号 二十五",
        "message": "没有知情同意", "moment": "audit", "subject_kind": "claim", "subject_code": "1",
        "first_day": DAY, "last_day": DAY, "claims": 1, "fee": 1_000, "fund": 600,
        "key": hashlib.sha256(f"{rule}{Finding.objects.count()}".encode()).digest(),
        "found_at": AT,
    }  # fmt: skip
    return Finding.objects.create(**(given | more))


@pytest.fixture
def place():
    factories.policies("wenzhou")
    return factories.institution("wenzhou")


@pytest.fixture
def supervisor(place):
    return factories.log_in(Client(), factories.user("supervisor", place.region))


def test_confirming_needs_a_reason_and_happens_once(place) -> None:
    row = found(place)
    with pytest.raises(Refusal, match="REASON_MISSING"):
        commands.confirm(finding=row, reason=" ", by="a", at=AT)
    commands.confirm(finding=row, reason="病历中没有记录", by="a", at=AT)
    row.refresh_from_db()
    assert (row.state, row.decided_by) == ("confirmed", "a")
    assert Event.objects.filter(action="finding.confirm", subject=f"finding:{row.pk}").exists()
    with pytest.raises(Refusal, match="FINDING_DECIDED"):
        commands.refute(finding=row, reason="误报", by="b", at=AT)


def test_merging_stays_inside_an_institution(place) -> None:
    one, two = found(place), found(place)
    other = found(factories.institution("wenzhou"))
    with pytest.raises(Refusal, match="MERGE_ELSEWHERE"):
        commands.merge(finding=one, into=other, by="a", at=AT)
    with pytest.raises(Refusal, match="MERGE_TARGET"):
        commands.merge(finding=one, into=one, by="a", at=AT)
    commands.merge(finding=one, into=two, by="a", at=AT)
    one.refresh_from_db()
    assert (one.state, one.merged_into_id) == ("merged", two.pk)


def test_a_person_is_handed_only_what_they_may_decide(place) -> None:
    row = found(place)
    reviewer = factories.user("reviewer", place.region)
    clerk = factories.user("settlement_clerk", place.region)
    with pytest.raises(Refusal, match="MAY_NOT_DECIDE"):
        commands.hand_over(finding=row, to=clerk, by="a", at=AT)
    commands.hand_over(finding=row, to=reviewer, by="a", at=AT)
    row.refresh_from_db()
    assert row.assignee == reviewer.username


def test_what_a_person_noticed_is_decided_by_another(place) -> None:
    hospital = Hospital("wenzhou")
    claim = Claim.objects.get(pk=hospital.settled()["id"])
    row = commands.record(
        claim=claim, behaviour="other", severity=2, message="病历与处方不符", clause="二十四",
        by="finder", at=AT,
    )  # fmt: skip
    assert row.evidence.get().claim_id == claim.pk
    with pytest.raises(Refusal, match="SAME_PERSON"):
        commands.confirm(finding=row, reason="属实", by="finder", at=AT)
    commands.confirm(finding=row, reason="属实", by="another", at=AT)


def test_precision_counts_what_people_decided(place) -> None:
    rows = [found(place) for _ in range(4)]
    for row in rows[:2]:
        commands.confirm(finding=row, reason="属实", by="a", at=AT)
    commands.refute(finding=rows[2], reason="误报", by="a", at=AT)
    one = commands.precision(Finding.objects.all())[0]
    assert (one["total"], one["open"], one["confirmed"], one["refuted"]) == (4, 1, 2, 1)
    assert one["precision"] == 6_667


def test_the_list_filters_and_the_page_shows_its_distribution(place, supervisor) -> None:
    picture = {"low": 1_000, "width": 500, "counts": [5, 8, 3, 0, 1], "own": 4}
    row = found(
        place, "physician_fee_outlier", subject_kind="physician", subject_code="D1",
        physician_code="D1", figures={"value": 3_100, "median": 1_600, "mad": 100, "z": 101,
                                      "peers": 17, "visits": 40, "picture": picture},
        parameters={"numbers": {"z": 60, "visits": 30, "peers": 8}, "example": True},
    )  # fmt: skip
    found(place)
    listed = supervisor.get(reverse("findings"), {"rule": "physician_fee_outlier"})
    assert listed.context["table"].pages.total == 1
    page = supervisor.get(reverse("finding", args=[row.pk]))
    text = page.content.decode()
    assert page.context["chart"]["kind"] == "bars"
    assert "10.1" in text
    assert "示例参数" in text
    assert "31.00 元" in text


def test_deciding_on_the_page(place, supervisor) -> None:
    row = found(place)
    FindingClaim.objects.create(finding=row, claim_id=1, region_code=place.region_id,
                                institution_code=place.pk)  # fmt: skip
    address = reverse("finding-act", args=[row.pk, "confirm"])
    assert supervisor.post(address, {"reason": ""}).status_code == 422
    assert supervisor.post(address, {"reason": "病历中没有记录"}).status_code == 302
    row.refresh_from_db()
    assert row.state == "confirmed"
    assert supervisor.post(address, {"reason": "再次"}).status_code == 409


def test_a_hospital_sees_its_own_confirmed_findings_once_it_was_told(place, supervisor) -> None:
    client = factories.log_in(Client(), factories.user("hospital", place))
    row = found(place)
    assert client.get(reverse("finding", args=[row.pk])).status_code == 404
    commands.confirm(finding=row, reason="属实", by="a", at=AT)
    address = reverse("finding", args=[row.pk])
    assert client.get(address).status_code == 404, "nobody told it yet"
    assert row.message not in client.get(reverse("findings")).content.decode()
    assert "尚未告知" in supervisor.get(address).content.decode()
    assert supervisor.post(reverse("finding-act", args=[row.pk, "tell"])).status_code == 302
    page = client.get(address)
    assert (page.status_code, page.context["acts"]) == (200, [])
    assert row.message in client.get(reverse("findings")).content.decode()
    assert row.message in client.get(reverse("notifications")).content.decode()
    assert supervisor.post(reverse("finding-act", args=[row.pk, "tell"])).status_code == 409
    other = found(factories.institution("wenzhou"))
    commands.confirm(finding=other, reason="属实", by="a", at=AT)
    commands.tell(finding=other, by="a", at=AT)
    assert client.get(reverse("finding", args=[other.pk])).status_code == 404


def test_only_a_confirmed_finding_is_told_and_for_good(place) -> None:
    row = found(place)
    with pytest.raises(Refusal, match="NOT_TO_BE_TOLD"):
        commands.tell(finding=row, by="a", at=AT)
    hospital = factories.user("hospital", place)
    FindingClaim.objects.create(
        finding=row, claim_id=1, region_code=place.region_id, institution_code=place.pk
    )
    with pytest.raises(Error), transaction.atomic():
        Finding.objects.filter(pk=row.pk).update(told_at=AT, told_by="a")
    commands.confirm(finding=row, reason="属实", by="a", at=AT)
    assert not FindingClaim.objects.visible_to(hospital).exists()
    commands.tell(finding=row, by="a", at=AT)
    assert Finding.objects.visible_to(hospital).get() == row
    assert FindingClaim.objects.visible_to(hospital).count() == 1
    with pytest.raises(Error), transaction.atomic():
        Finding.objects.filter(pk=row.pk).update(told_at=None, told_by="")


def test_asking_for_an_audit_and_a_replay(place, supervisor) -> None:
    given = {"pool": "wenzhou", "first": "2021-06-01", "last": "2021-06-30"}
    assert supervisor.post(reverse("audits"), given).status_code == 302
    address = f"{reverse('tuning')}?rule=split_visits"
    page = supervisor.get(address)
    assert page.context["form"].fields["visits"].initial == 3
    answer = supervisor.post(address, given | {"visits": 4, "days": 5})
    run = Run.objects.get(trial=True)
    assert answer.url == reverse("audit-run", args=[run.pk])
    assert run.rules["numbers"] == {"split_visits": {"visits": 4, "days": 5}}
    assert supervisor.get(answer.url).status_code == 200
    wrong = supervisor.post(reverse("audits"), given | {"last": "2021-05-01"})
    assert wrong.status_code == 422


def test_scores_are_computed_and_recorded(place) -> None:
    hospital = Hospital("wenzhou")
    factories.offline_visit(hospital.patient, hospital.row)
    for fee in ("10.00", "10.00", "10.00", "15.00"):
        hospital.settled(factories.line(fee=fee))
    client = factories.log_in(Client(), factories.user("reviewer", hospital.row.region))
    address = reverse("assess", args=[hospital.row.pk, 2021])
    page = client.get(address)
    rows = {row.key: [cell.text for cell in row.cells] for row in page.context["table"].rows}
    assert rows["price"][2:5] == ["3", "4", "75"]
    assert rows["findings"][2:5] == ["4", "4", "100"]
    assert rows["deadlines"][4] == "没有数据"
    assert client.post(address, {"seen": 0, "remark": ""}).status_code == 422
    answer = client.post(address, {"seen": 0, "remark": "", "deadlines": 90})
    assert answer.url == reverse("assessment", args=[hospital.row.pk, 2021])
    made = Assessment.objects.get()
    assert made.scores["price"] == 75
    assert made.scores["deadlines"] == 90
    event = Event.objects.get(action="assessment.compute")
    assert b'"price":[3,4]' in bytes(event.body)


def test_the_sample_page_of_reminding(place) -> None:
    client = factories.log_in(Client(), factories.user("hospital", place))
    address = reverse("precheck-sample")
    page = client.get(address)
    assert b"precheck.js" in page.content
    text = page.context["text"]
    answer = client.post(address, {"visit": text})
    assert "没有向患者说明项目和价格" in answer.content.decode()
    told = client.post(address, {"visit": text}, headers={"Accept": "application/json"}).json()
    assert "no_consent" in [hint["code"] for hint in told["hints"]]
    assert client.post(address, {"visit": "{"}).status_code == 400
