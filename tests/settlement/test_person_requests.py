"""参保人申请: handed in without log-in, told to nobody without the code, compared with the register by staff."""

import datetime as dt

import pytest
from django.core.cache import cache
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse

from audit.models import Event, Task
from institutions.holidays import NATIONAL, import_year, national_year
from institutions.models import Document, Office
from institutions.refusals import Refusal
from settlement import appointments, filings, person_requests
from settlement.models import DiseaseFiling, InsuredPerson, PersonRequest
from settlement.register import commands as register
from tests import factories
from tests.factories import DAY, ZONE

AT = dt.datetime.combine(DAY, dt.time(9), ZONE)
PDF = b"%PDF-1.4 scan"
PHONE = "13800001111"
CODE = "M01600"


class Area:
    """Wenzhou with a clerk, a reviewer, a hospital, an insured person, and a stranger's number."""

    def __init__(self) -> None:
        factories.policies("wenzhou")
        self.hospital = factories.institution("wenzhou")
        self.region = self.hospital.region
        self.clerk = factories.user("settlement_clerk", self.region)
        self.reviewer = factories.user("reviewer", self.region)
        self.staff = factories.user("hospital", self.hospital)
        self.person = factories.person("wenzhou")
        named = register.named(bytes(self.person.id_hash), "张三丰")
        InsuredPerson.objects.filter(pk=self.person.pk).update(**named)
        for year in (2021, 2022):
            import_year(year=year, region=NATIONAL, rows=national_year(year), by="test", at=AT)
        self.client = Client()

    def given(self, **more: object) -> dict:
        return {
            "name": "张三丰", "id_number": self.person.credential, "phone": PHONE, "code": CODE,
            "hospital": "某市第一医院", "reason": "", **more,
            **{f"file_{key}": SimpleUploadedFile("张三丰病历.pdf", PDF) for key in ("record", "report")},
        }  # fmt: skip

    def hand_in(self, **more: object) -> tuple[PersonRequest, str]:
        page = self.client.post(
            reverse("public-disease", args=[self.region.code]), self.given(**more)
        )
        assert page.status_code == 200, page.content.decode()
        made = page.context["made"]
        return PersonRequest.objects.get(number=made["number"]), made["code"]

    def follow(self, row: PersonRequest, code: str, **more: object):
        return self.client.post(
            reverse("public-request-progress"), {"number": row.number, "code": code, **more}
        )

    def slot(self, capacity: int = 1) -> int:
        office = Office.objects.create(
            region=self.region, kind=Office.Kind.AGENCY, name="窗口"
        )  # fmt: skip
        appointments.open_slots(
            office=office, first=DAY, last=DAY + dt.timedelta(days=4), capacity=capacity,
            spans=[(dt.time(9), dt.time(10))], by="clerk", at=AT,
        )  # fmt: skip
        return office.slots.order_by("day").last().pk


@pytest.fixture
def area(db, settings) -> Area:
    settings.DEMO_TODAY = DAY
    settings.REPORTS_PER_HOUR = 100
    cache.clear()
    return Area()


def as_staff(area: Area, user=None) -> Client:
    return factories.log_in(Client(), user or area.clerk)


def test_an_application_is_kept_sealed_and_waits_for_the_clerk(area: Area) -> None:
    row, code = area.hand_in()
    stored = repr(PersonRequest.objects.filter(pk=row.pk).values().get())
    for secret in (area.person.credential, "张三丰", PHONE, code):
        assert secret not in stored
        assert all(secret.encode() not in bytes(event.body) for event in Event.objects.all())
    assert [paper.name for paper in Document.objects.filter(subject=row.subject)] == [
        "近期病历或出院小结.pdf", "检查检验报告.pdf"
    ]  # fmt: skip
    task = Task.objects.get(subject=row.subject)
    assert (task.permission, task.region_code) == ("requests.handle", area.region.code)
    page = as_staff(area).get(reverse("person-requests")).content.decode()
    assert row.number in page
    assert "张**" in page
    assert area.person.credential not in page
    assert as_staff(area, area.staff).get(reverse("person-requests")).status_code == 403


def test_nothing_tells_whether_somebody_is_insured(area: Area) -> None:
    known, known_code = area.hand_in()
    unknown, unknown_code = area.hand_in(id_number=factories.id_number(997), name="李四光")
    pages = []
    for row, code in ((known, known_code), (unknown, unknown_code)):
        page = area.follow(row, code).content.decode()
        for own in (row.number, code):
            page = page.replace(own, "…")
        pages.append(page.split("<main")[-1].split("csrfmiddlewaretoken")[0])
    assert pages[0] == pages[1]
    assert area.follow(known, unknown_code).status_code == 404
    assert area.follow(known, "").status_code == 422


def test_who_agrees_with_the_register_goes_to_review_as_the_persons_own(area: Area) -> None:
    row, code = area.hand_in()
    client = as_staff(area)
    client.post(reverse("person-request-take", args=[row.pk]))
    row.refresh_from_db()
    filing = DiseaseFiling.objects.get()
    assert (row.state, row.filing_id, filing.opened_by) == ("taken", filing.pk, "参保人")
    assert filings.materials(filing).count() == 2
    shown = as_staff(area, area.reviewer).get(reverse("disease-filing", args=[filing.pk]))
    assert "参保人" in shown.content.decode()
    assert "待审核" in area.follow(row, code).content.decode()
    filings.take_step(
        filing=filing, step="notice", who=area.reviewer, by=area.reviewer.username, at=AT,
        facts={"missing": ["诊断证明"]},
    )  # fmt: skip
    assert "诊断证明" in area.follow(row, code).content.decode()
    more = area.follow(
        row, code, act="add", material="proof", papers=SimpleUploadedFile("x.pdf", PDF)
    )
    assert "已收到补充的材料" in more.content.decode()
    assert filings.materials(filing).count() == 3
    client.post(reverse("person-request-take", args=[row.pk]))
    assert DiseaseFiling.objects.count() == 1


@pytest.mark.parametrize("wrong", [{"name": "张三"}, {"id_number": factories.id_number(996)}])
def test_who_does_not_agree_is_not_taken_up(area: Area, wrong: dict) -> None:
    row, code = area.hand_in(**wrong)
    with pytest.raises(Refusal) as error, transaction.atomic():
        person_requests.take(request=row, by="clerk", at=AT)
    assert error.value.status == 409
    address = reverse("person-request-act", args=[row.pk, "decline"])
    assert as_staff(area).post(address, {"answer": ""}).status_code == 422
    as_staff(area).post(address, {"answer": "请携带证件到窗口办理"})
    page = area.follow(row, code).content.decode()
    assert "不予受理" in page
    assert "请携带证件到窗口办理" in page
    assert not Task.objects.filter(subject=row.subject, state="open").exists()
    with pytest.raises(IntegrityError, match="decided once"), transaction.atomic():
        PersonRequest.objects.filter(pk=row.pk).update(state="received")


def test_materials_that_are_asked_for_are_handed_in_with_the_code(area: Area) -> None:
    row, code = area.hand_in()
    as_staff(area).post(
        reverse("person-request-act", args=[row.pk, "ask"]), {"answer": "缺诊断证明"}
    )
    assert "缺诊断证明" in area.follow(row, code).content.decode()
    wrong = area.follow(
        row, code, act="add", material="proof", papers=SimpleUploadedFile("x.pdf", b"MZ program")
    )
    assert wrong.status_code == 422
    assert "只接受" in wrong.content.decode()
    right = area.follow(
        row, code, act="add", material="proof", papers=SimpleUploadedFile("x.pdf", PDF)
    )
    assert right.status_code == 200
    row.refresh_from_db()
    assert row.state == "received"
    assert Task.objects.filter(subject=row.subject, state="open").count() == 1
    for _ in range(6):
        area.follow(row, code, act="add", material="proof", papers=[
            SimpleUploadedFile(f"{k}.pdf", PDF) for k in range(5)])  # fmt: skip
    assert person_requests.materials(row).count() <= person_requests.MOST_FILES


def test_the_whole_number_is_seen_for_a_reason_only(area: Area) -> None:
    row, _ = area.hand_in()
    client, address = as_staff(area), reverse("person-request-reveal", args=[row.pk])
    assert client.post(address, {"answer": ""}).status_code == 422
    page = client.post(address, {"answer": "电话核实"}).content.decode()
    assert area.person.credential in page
    assert PHONE in page
    assert Event.objects.filter(action="personrequest.reveal", subject=row.subject).count() == 1
    paper = person_requests.materials(row)[0]
    assert client.get(reverse("person-request-file", args=[row.pk, paper.pk])).content == PDF
    other = factories.user("settlement_clerk", factories.region("nantong"))
    for name, more in (("person-request", ()), ("person-request-file", (paper.pk,))):
        assert as_staff(area, other).get(reverse(name, args=[row.pk, *more])).status_code == 404


def test_so_many_an_hour_from_one_address(area: Area, settings) -> None:
    settings.REPORTS_PER_HOUR = 2
    address = reverse("public-disease", args=[area.region.code])
    found = [area.client.post(address, area.given()).status_code for _ in range(3)]
    assert found == [200, 200, 429]
    assert PersonRequest.objects.count() == 2


@pytest.mark.parametrize(
    ("more", "told"),
    [({"id_number": "330300199001010000"}, "校验"), ({"code": "M99999"}, "M99999"),
     ({"phone": "x"}, "电话"), ({"name": ""}, "该字段")],
)  # fmt: skip
def test_what_is_wrong_is_told_at_its_field(area: Area, more: dict, told: str) -> None:
    page = area.client.post(reverse("public-disease", args=[area.region.code]), area.given(**more))
    assert page.status_code == 422
    assert told in page.content.decode()
    assert not PersonRequest.objects.exists()


# --- Bookings ---


def booked(area: Area, slot: int, **more: object):
    return area.client.post(
        reverse("public-booking", args=[area.region.code]),
        {"slot": slot, "name": "张三丰", "id_number": area.person.credential, "phone": PHONE}
        | more,
    )


def test_a_place_is_booked_once_and_free_again_when_cancelled(area: Area) -> None:
    slot = area.slot()
    made = booked(area, slot).context["made"]
    row = PersonRequest.objects.get()
    assert row.slot is not None
    assert row.slot.booked == 1
    assert booked(area, slot, id_number=factories.id_number(995)).status_code == 422  # not offered
    assert "10:00" in area.follow(row, made["code"]).content.decode()
    page = area.follow(row, made["code"], act="withdraw").content.decode()
    assert "已取消" in page
    assert area.follow(row, made["code"], act="withdraw").status_code == 409
    row.slot.refresh_from_db()
    assert row.slot.booked == 0
    assert booked(area, slot).status_code == 200


def test_one_place_of_a_time_for_a_number(area: Area) -> None:
    slot = area.slot(capacity=3)
    assert [booked(area, slot).status_code for _ in range(2)] == [200, 409]
    assert PersonRequest.objects.get().slot.booked == 1


def test_the_clerk_registers_who_booked_at_that_time(area: Area) -> None:
    slot = area.slot()
    booked(area, slot)
    row = PersonRequest.objects.get()
    page = as_staff(area).get(reverse("person-request", args=[row.pk])).content.decode()
    assert f"?slot={slot}" in page


def test_the_pages_offer_what_an_area_has(area: Area) -> None:
    page = area.client.get(reverse("public-requests")).content.decode()
    assert "申请慢特病认定" in page
    address = reverse("public-booking", args=[area.region.code])
    assert address not in page
    assert "暂不能网上办理" in area.client.get(address).content.decode()
    area.slot()
    assert address in area.client.get(reverse("public-requests")).content.decode()
    assert area.client.get(reverse("public-disease", args=["999999"])).status_code == 404
