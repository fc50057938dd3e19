"""Complaints: without log-in, anonymous or named as ciphertext, limited, answered, rewarded by two persons."""

import datetime as dt
from typing import Any

import pytest
from django.core.cache import cache
from django.db import Error, IntegrityError, connection, transaction
from django.test import Client
from django.urls import reverse

from audit.models import Event, Task
from institutions.access import scoped
from institutions.refusals import Refusal
from supervision import assessing, complaints
from supervision.complaints import Report
from supervision.models import Complaint, SupervisionCase
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
    assert found == ("张三丰", "13800001234", "")
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


def test_a_reward_is_paid_once_by_another_and_its_receiver_is_ciphertext(office: Office) -> None:
    row = received(office)
    complaints.accept(complaint=row, by=office.reviewer.username, at=AT)
    complaints.answer(complaint=row, state="proven", text="已处理", recovered=100_000,
                      by=office.reviewer.username, at=AT)  # fmt: skip
    given: dict[str, Any] = {
        "complaint": row, "on": TODAY, "receiver": "张三丰", "receipt": "JL-2021-01", "at": AT,
    }  # fmt: skip
    with pytest.raises(Refusal, match="NOTHING_APPROVED"):
        complaints.pay_reward(who=office.handler, **given)
    complaints.propose_reward(complaint=row, by=office.handler.username, at=AT)
    complaints.approve_reward(complaint=row, who=office.chief, at=AT)
    assert Task.objects.get(subject=f"complaint:{row.pk}", state="open").status == "待发放"
    for who, change, why in (
        (office.chief, {}, "SAME_PERSON"),
        (office.handler, {"receipt": " "}, "REQUIRED"),
        (office.handler, {"on": TODAY + dt.timedelta(days=1)}, "DAY_OUTSIDE"),
    ):
        with pytest.raises(Refusal, match=why):
            complaints.pay_reward(who=who, **given | change)
    client = factories.log_in(Client(), office.handler)
    assert "登记发放" in client.get(reverse("complaint", args=[row.pk])).content.decode()
    done = client.post(reverse("complaint-act", args=[row.pk, "pay"]),
                       {"on": str(TODAY), "receiver": "张三丰", "receipt": "JL-2021-01"})  # fmt: skip
    assert done.status_code == 302
    paid = Complaint.objects.get()
    assert (paid.reward_receiver_masked, paid.reward_paid_on) == ("张**", TODAY)
    assert "张三丰".encode() not in bytes(paid.reward_receiver_cipher or b"")
    page = client.get(reverse("complaint", args=[row.pk])).content.decode()
    assert f"{TODAY}，张**领取" in page
    assert "凭证 JL-2021-01" in page
    event = Event.objects.get(action="complaint.pay_reward")
    assert "张三丰" not in bytes(event.body).decode()
    assert not Task.objects.filter(subject=f"complaint:{row.pk}", state="open").exists()
    with pytest.raises(Refusal, match="NOTHING_APPROVED"):
        complaints.pay_reward(who=office.handler, **given)
    rows = Complaint.objects.filter(pk=row.pk)
    with pytest.raises(Error, match="stays"), transaction.atomic():
        rows.update(reward_receipt="别的")
    assert complaints.reveal(complaint=paid, reason="核对", by="x", at=AT)[2] == "张三丰"


def test_a_payout_is_whole_and_of_another_than_the_approver(office: Office) -> None:
    row = received(office)
    complaints.accept(complaint=row, by=office.reviewer.username, at=AT)
    complaints.answer(complaint=row, state="proven", text="已处理", recovered=100_000,
                      by=office.reviewer.username, at=AT)  # fmt: skip
    rows = Complaint.objects.filter(pk=row.pk)
    whole = {"reward_paid_on": TODAY, "reward_paid_by": "a", "reward_receipt": "1",
             "reward_receiver_cipher": b"x"}  # fmt: skip
    with pytest.raises(IntegrityError, match="complaint_payout_whole"), transaction.atomic():
        rows.update(**whole)  # not approved
    complaints.propose_reward(complaint=row, by=office.handler.username, at=AT)
    complaints.approve_reward(complaint=row, who=office.chief, at=AT)
    for change, why in (({"reward_receipt": ""}, "complaint_payout_whole"),
                        ({"reward_paid_by": office.chief.username},
                         "complaint_payout_another_person")):  # fmt: skip
        with pytest.raises(IntegrityError, match=why), transaction.atomic():
            rows.update(**whole | change)


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
    event = Event.objects.get(action="complaint.case")
    assert (event.subject, case.number in bytes(event.body).decode()) == (
        f"complaint:{row.pk}", True,
    )  # fmt: skip
    with pytest.raises(Error, match="stays"), transaction.atomic():
        Complaint.objects.filter(pk=row.pk).update(institution_code="")
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


def test_a_report_names_its_institution_by_name_or_code_or_not_at_all(office: Office) -> None:
    client, address = Client(), reverse("public-report")
    assert office.place.name in client.get(address).content.decode()
    foreign = factories.institution("wenzhou")
    for text in ("没有这家医院", foreign.code, foreign.name):
        wrong = client.post(address, given(office, institution=text))
        assert wrong.status_code == 422
        assert "名单中没有这一机构" in wrong.content.decode()
    for text in (office.place.code, f" {office.place.name} ", ""):
        assert client.post(address, given(office, institution=text)).status_code == 200
    codes = list(Complaint.objects.order_by("pk").values_list("institution_code", flat=True))
    assert codes == [office.place.code, office.place.code, ""]


def test_a_report_without_an_institution_is_attributed_becomes_a_case_and_counts(
    office: Office,
) -> None:
    office.claim()
    assert Client().post(reverse("public-report"), given(office)).status_code == 200
    row = Complaint.objects.get()
    handler = factories.log_in(Client(), office.handler)
    page, act = reverse("complaint", args=[row.pk]), {
        key: reverse("complaint-act", args=[row.pk, key])
        for key in ("accept", "place", "case", "answer")
    }  # fmt: skip
    case = {"title": "涉嫌重复收费", "acted_from": str(ACTED), "acted_until": str(TODAY)}
    assert handler.post(act["accept"]).status_code == 302
    shown = handler.get(page).content.decode()
    assert ("指明机构" in shown, "提请立案</" in shown) == (True, True)
    refused = handler.post(act["case"], case)
    assert "请先指明被举报的机构" in refused.content.decode()
    assert handler.post(act["place"], {"institution": "没有这家"}).status_code == 422
    assert handler.post(act["place"], {"institution": office.place.name}).status_code == 302
    event = Event.objects.get(action="complaint.attribute")
    assert office.place.code in bytes(event.body).decode()
    assert act["case"] in handler.get(page).content.decode()
    before = assessing._satisfaction(office.place, TODAY.year, TODAY)
    assert handler.post(act["case"], case).status_code == 302
    assert act["place"] not in handler.get(page).content.decode()
    with pytest.raises(Refusal, match="CASE_OPENED"):
        complaints.attribute(complaint=row, institution=office.place, by="x", at=AT)
    assert SupervisionCase.objects.get().institution_code == office.place.code
    proven = {"state": "proven", "recovered": "20.00", "text": "查实，已立案"}
    assert handler.post(act["answer"], proven).status_code == 302
    after = assessing._satisfaction(office.place, TODAY.year, TODAY)
    assert (before.good - after.good, after.total) == (1, before.total)


def test_staff_enter_a_report_that_came_by_telephone(office: Office) -> None:
    client = factories.log_in(Client(), office.reviewer)
    address = reverse("complaint-new")
    assert address in client.get(reverse("complaints")).content.decode()
    entered = given(office, channel="phone", name="李四", phone="13800001111",
                    institution=office.place.code)  # fmt: skip
    assert client.post(address, entered | {"channel": "web"}).status_code == 422
    elsewhere = entered | {"region": factories.region("wenzhou").code}
    assert client.post(address, elsewhere).status_code == 422
    page = client.post(address, entered)
    row = Complaint.objects.get()
    assert (row.channel, row.institution_code, row.name_masked) == (
        "phone", office.place.code, "李*",
    )  # fmt: skip
    assert page.context["made"]["code"] in page.content.decode()
    assert complaints.progress(number=row.number, code=page.context["made"]["code"]) == row
    event = Event.objects.get(action="complaint.receive")
    assert event.actor == office.reviewer.username
    assert "电话" in client.get(reverse("complaint", args=[row.pk])).content.decode()
    with pytest.raises(Error, match="stays"), transaction.atomic():
        Complaint.objects.update(channel="letter")


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
