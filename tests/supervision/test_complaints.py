"""Complaints: without log-in, anonymous or named as ciphertext, limited, answered, rewarded by two persons."""

import pytest
from django.core.cache import cache
from django.db import Error, IntegrityError, connection, transaction
from django.test import Client
from django.urls import reverse

from audit.models import Event
from institutions.access import scoped
from institutions.refusals import Refusal
from supervision import complaints
from supervision.complaints import Report
from supervision.models import Complaint
from tests import factories
from tests.settlement.test_pages import AT
from tests.supervision.casework import ACTED, TODAY, Office

pytestmark = pytest.mark.django_db
NAMED = Report(about="某院", text="重复收费", name="张三丰", phone="13800001234")


@pytest.fixture
def office(settings) -> Office:
    settings.DEMO_TODAY = TODAY
    cache.clear()
    return Office()


def received(office: Office, report: Report = NAMED) -> Complaint:
    return complaints.receive(region=office.region, report=report, at=AT)[0]


def test_a_named_report_is_ciphertext_until_a_reveal_with_a_reason(office: Office) -> None:
    row = received(office)
    stored = b"".join(map(bytes, (row.name_cipher or b"", row.phone_cipher or b"")))
    assert "张三丰".encode() not in stored
    assert (row.name_masked, row.phone_masked) == ("张**", "***1234")
    with pytest.raises(Refusal, match="REQUIRED"):
        complaints.reveal(complaint=row, reason=" ", by="x", at=AT)
    found = complaints.reveal(complaint=row, reason="回访", by=office.reviewer.username, at=AT)
    assert found == ("张三丰", "13800001234")
    event = Event.objects.get(action="complaint.reveal")
    assert "张三丰" not in bytes(event.body).decode()


def test_progress_needs_number_and_code(office: Office) -> None:
    row, code = complaints.receive(region=office.region, report=NAMED, at=AT)
    assert complaints.progress(number=row.number, code=code.lower()) == row
    assert complaints.progress(number=row.number, code="AAAAAAAAAA") is None
    assert complaints.progress(number="JB0", code=code) is None


def test_an_anonymous_report_has_no_reward_and_nothing_to_reveal(office: Office) -> None:
    row = received(office, Report(about="某院", text="挂床"))
    with pytest.raises(Refusal, match="ANONYMOUS"):
        complaints.reveal(complaint=row, reason="x", by="x", at=AT)
    complaints.accept(complaint=row, by=office.reviewer.username, at=AT)
    complaints.answer(complaint=row, state="proven", text="已处理", recovered=100_000,
                      by=office.reviewer.username, at=AT)  # fmt: skip
    with pytest.raises(Refusal, match="NO_REWARD"):
        complaints.propose_reward(complaint=row, by=office.reviewer.username, at=AT)


@pytest.mark.parametrize(
    ("recovered", "reward"), [(100_000, 20_000), (10_000_000, 200_000), (10**10, 10_000_000)]
)
def test_a_reward_by_the_parameter_within_floor_and_cap(
    office: Office, recovered: int, reward: int
) -> None:
    row = received(office)
    complaints.accept(complaint=row, by=office.reviewer.username, at=AT)
    complaints.answer(complaint=row, state="proven", text="已处理", recovered=recovered,
                      by=office.reviewer.username, at=AT)  # fmt: skip
    row = complaints.propose_reward(complaint=row, by=office.handler.username, at=AT)
    assert (row.reward, row.reward_example) == (reward, True)
    with pytest.raises(Refusal, match="SAME_PERSON"):
        complaints.approve_reward(complaint=row, who=office.handler, at=AT)
    with pytest.raises(IntegrityError), transaction.atomic():
        Complaint.objects.filter(pk=row.pk).update(reward_approved_by=office.handler.username)
    complaints.approve_reward(complaint=row, who=office.chief, at=AT)


def test_a_case_from_a_report_does_not_name_the_reporter(office: Office) -> None:
    report = Report(
        about="某院", text="重复收费", name="张三丰", institution_code=office.place.code
    )
    row = received(office, report)
    complaints.accept(complaint=row, by=office.reviewer.username, at=AT)
    case = complaints.open_case(
        complaint=row, title="涉嫌重复收费", acted_from=ACTED, acted_until=TODAY,
        by=office.handler.username, at=AT,
    )  # fmt: skip
    assert (case.origin_ref, "张三丰" in case.summary) == (row.number, False)
    with pytest.raises(Refusal, match="CASE_OPENED"):
        complaints.open_case(
            complaint=row, title="x", acted_from=ACTED, acted_until=TODAY, by="x", at=AT
        )


def test_the_institution_never_sees_what_is_reported_of_it(office: Office) -> None:
    received(office, Report(about="某院", text="x", institution_code=office.place.code))
    connection.cursor().execute("SET ROLE mip_app")
    with scoped(office.hospital.scope_codes()):
        assert not Complaint.objects.exists()
    connection.cursor().execute("RESET ROLE")


def test_what_was_reported_stays(office: Office) -> None:
    row = received(office)
    with pytest.raises(Error, match="stays"), transaction.atomic():
        Complaint.objects.filter(pk=row.pk).update(text="别的")
    with pytest.raises(IntegrityError), transaction.atomic():
        Complaint.objects.filter(pk=row.pk).update(state="proven")


# --- Pages ---


def given(office: Office, **more: str) -> dict[str, str]:
    return {"region": office.region.code, "about": "某院互联网门诊", "text": "重复收费"} | more


def test_anybody_reports_without_log_in_and_follows_it(office: Office) -> None:
    client = Client()
    page = client.post(reverse("public-report"), given(office, name="李四", phone="13800001111"))
    row = Complaint.objects.get()
    assert page.status_code == 200
    assert row.number in page.content.decode()
    code = page.context["made"]["code"]
    told = client.post(
        reverse("public-report-progress"), {"number": row.number, "code": code}
    ).content.decode()
    assert "待受理" in told
    assert "李四" not in told
    wrong = client.post(reverse("public-report-progress"), {"number": row.number, "code": "A"})
    assert wrong.status_code == 404


def test_reports_of_one_address_are_limited(office: Office, settings) -> None:
    settings.REPORTS_PER_HOUR = 2
    client = Client()
    found = [client.post(reverse("public-report"), given(office)).status_code for _ in range(3)]
    assert found == [200, 200, 429]
    assert Complaint.objects.count() == 2


def test_pages_inside(office: Office) -> None:
    row = received(office)
    client = factories.log_in(Client(), office.reviewer)
    assert row.number in client.get(reverse("complaints")).content.decode()
    page = client.get(reverse("complaint", args=[row.pk])).content.decode()
    assert "张**" in page
    assert "张三丰" not in page
    opened = client.post(reverse("complaint-reveal", args=[row.pk]), {"text": "回访核实"})
    assert "张三丰" in opened.content.decode()
    done = client.post(reverse("complaint-act", args=[row.pk, "accept"]))
    assert done.status_code == 302
    refused = client.post(reverse("complaint-act", args=[row.pk, "case"]), {})
    assert refused.status_code == 403
    assert client.post(reverse("complaint-act", args=[row.pk, "nothing"])).status_code == 404
