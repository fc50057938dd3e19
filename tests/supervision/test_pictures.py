"""The pictures of findings, drawn from the claims that carry them, on the page and in the paper."""

import datetime as dt

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from audit.models import Event
from institutions.access import EVERYTHING, set_scope
from institutions.models import Region
from settlement.models import Claim
from supervision import pictures
from supervision.models import Finding, FindingClaim
from supervision.pictures import picture_of
from tests import factories
from tests.factories import ZONE, line
from tests.settlement.hospital import Hospital

pytestmark = pytest.mark.django_db


@pytest.fixture
def hospital() -> Hospital:
    factories.policies("wenzhou")
    made = Hospital("wenzhou", "employee")
    factories.offline_visit(made.patient, made.row)
    return made


def sent(hospital: Hospital, *lines: dict, day: dt.date, start: str = "09:30", minutes: int = 10,
         days: int = 28) -> Claim:  # fmt: skip
    """A settled claim of a meeting that began at a time and prescribed for some days."""
    body = hospital.body(*lines, day=day)
    begun = dt.datetime.combine(day, dt.time.fromisoformat(start), ZONE)
    body["encounter"]["started_at"] = begun.isoformat()
    body["encounter"]["ended_at"] = (begun + dt.timedelta(minutes=minutes)).isoformat()
    number = f"P-{body['claim_no']}"
    body["prescriptions"][0]["no"] = number
    body["prescriptions"][0]["lines"][0]["days_supply"] = days
    for row in body["lines"]:
        if row["kind"] == "drug":
            row["prescription_no"] = number
    made = hospital.post(body).json()
    set_scope(EVERYTHING)
    return Claim.objects.get(pk=made["id"])


def found(rule: str, *claims: Claim, line_no: int = 0, **more: object) -> Finding:
    first = claims[0]
    place = {"region_code": first.region_code, "institution_code": first.institution_code}
    days = [claim.service_date for claim in claims]
    made = Finding.objects.create(
        rule=rule, severity=2, clause="示例", message="示例疑点", moment="audit",
        subject_kind="physician", subject_code="x", first_day=min(days), last_day=max(days),
        physician_code=first.document["physician"]["code"], claims=len(claims), fee=1, fund=1,
        key=rule.encode(), found_at=timezone.now(), figures={"minutes": 5}, **place, **more,
    )  # fmt: skip
    for claim in claims:
        FindingClaim.objects.create(
            finding=made, claim_id=claim.pk, line_no=line_no, note="就诊记录", **place
        )
    return made


DAY = factories.DAY


def test_sessions_of_the_day_are_bars_and_the_overlap_is_marked(hospital: Hospital) -> None:
    one = sent(hospital, day=DAY, start="09:30", minutes=20)
    two = sent(hospital, day=DAY, start="09:45", minutes=20)
    sent(hospital, day=DAY, start="14:00")  # the physician's other session of the day
    sent(hospital, day=DAY + dt.timedelta(days=1))
    picture = picture_of(found("overlapping_sessions", one, two))
    assert picture is not None
    chart = picture["chart"]
    assert [(row["text"], row["tone"]) for row in chart["rows"]] == [
        ("09:30–09:50", "d"), ("09:45–10:05", "d"), ("14:00–14:10", "a"),
    ]  # fmt: skip
    assert len(chart["marks"]) == 1
    assert chart["description"] == "共3次诊疗，其中5分钟有两次以上同时进行"


def test_of_a_crowded_day_the_finding_s_own_hour_is_shown(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "MOST", 4)
    for hour in ("08:00", "08:20", "08:40", "09:00", "15:30"):
        sent(hospital, day=DAY, start=hour)
    own = [sent(hospital, day=DAY, start=start) for start in ("16:00", "16:05", "16:20")]
    picture = picture_of(found("sessions_per_hour", *own))
    assert picture is not None
    assert [row["text"] for row in picture["chart"]["rows"]] == [
        "15:30–15:40", "16:00–16:10", "16:05–16:15", "16:20–16:30",
    ]  # fmt: skip
    assert "其中5分钟" in picture["chart"]["description"]


def test_sessions_over_midnight_have_their_length(hospital: Hospital) -> None:
    one = sent(hospital, day=DAY, start="23:50", minutes=20)
    two = sent(hospital, day=DAY, start="23:40", minutes=40)
    before = (dt.datetime.combine(DAY, dt.time(), ZONE) - dt.timedelta(minutes=10)).isoformat()
    document = two.document | {
        "encounter": two.document["encounter"] | {"started_at": before}
    }  # begun on the day before, ended this day
    minute = pictures._minutes_of(DAY)
    span = pictures._span(Claim(document=document))
    assert span is not None
    assert minute(span[0]) == -10
    picture = picture_of(found("overlapping_sessions", one, two))
    assert picture is not None
    chart = picture["chart"]
    assert [row["text"] for row in chart["rows"]] == ["23:40–00:20", "23:50–00:10"]
    assert chart["description"] == "共2次诊疗，其中20分钟有两次以上同时进行"
    assert [row["width"] for row in (*chart["rows"], *chart["marks"])] == ["100%", "50%", "50%"]
    assert [tick["text"] for tick in chart["ticks"]] == ["23:40", "00:00", "00:20"]


def test_refills_are_bars_of_days_and_early_ones_stand_out(hospital: Hospital) -> None:
    drug = line(2, kind="drug", item="D1", fee="20.00", prescription_no="P1")
    days = (DAY, DAY + dt.timedelta(days=10), DAY + dt.timedelta(days=60))
    claims = [sent(hospital, line(), drug, day=day) for day in days]
    picture = picture_of(found("early_refill", *claims, line_no=2))
    assert picture is not None
    assert [row["tone"] for row in picture["chart"]["rows"]] == ["a", "d", "a"]
    assert picture["chart"]["description"] == "3次配取，其中1次在前次药品用完之前"
    assert f"{days[1]} 配取，够用28天" in picture["chart"]["rows"][1]["text"]


def test_a_network_names_persons_masked_and_physicians(hospital: Hospital) -> None:
    claims = [sent(hospital, day=DAY + dt.timedelta(days=n)) for n in range(2)]
    picture = picture_of(found("dense_network", *claims))
    assert picture is not None
    (tie,) = picture["chart"]["ties"]
    assert (tie["left"].startswith("01 测*"), tie["text"]) == (True, "2次")
    assert tie["right"] == f"01 {hospital.doctor.name} {hospital.doctor.code[-4:]}"
    assert tie["left"].endswith(hospital.patient.credential[-4:])
    assert picture_of(found("no_consent", *claims)) is None


def test_the_picture_and_the_records_are_on_the_page_and_in_the_paper(hospital: Hospital) -> None:
    row = found("overlapping_sessions", *(sent(hospital, day=DAY) for _ in range(2)))
    user = factories.user("reviewer", Region.objects.get(pk=row.region_code))
    client = factories.log_in(Client(), user)
    page = client.get(reverse("finding", args=[row.pk])).content.decode()
    assert "该医师的诊疗时间" in page
    assert reverse("finding-paper", args=[row.pk]) in page
    answer = client.get(reverse("finding-paper", args=[row.pk]))
    assert answer.headers["Content-Type"] == "application/pdf"
    assert answer.content.startswith(b"%PDF-")
    assert Event.objects.filter(action="finding.print", subject=f"finding:{row.pk}").count() == 1
    foreign = factories.user("reviewer", factories.region("nantong"))
    address = reverse("finding-paper", args=[row.pk])
    assert factories.log_in(Client(), foreign).get(address).status_code == 404
