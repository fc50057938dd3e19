"""Points: their repair by two persons, the queues of practitioners and persons, pharmacists, nurses."""

import datetime as dt
import json
from importlib import import_module
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.test import Client
from django.urls import reverse

from audit.models import Event, Task
from institutions import commands as registry
from institutions.models import Physician, User
from institutions.refusals import Refusal
from supervision import lifting, repairs, subjects
from supervision.models import PointEntry, PointRepair, Restriction
from tests import factories
from tests.settlement.test_pages import AT
from tests.supervision.casework import PDF, TODAY, Office

pytestmark = pytest.mark.django_db


@pytest.fixture
def office(settings) -> Office:
    settings.DEMO_TODAY = TODAY
    return Office()


def client_of(user: User) -> Client:
    return factories.log_in(Client(), user)


def text(response) -> str:
    assert response.status_code == 200, response.status_code
    return response.content.decode()


def pointed(office: Office, points: int, who: Physician | None = None, source: str = "a"):
    return subjects.add_points(
        practitioner=who or office.house.doctor, points=points, behaviour="违规开药",
        clause="示例", source=source, on=TODAY, proposed_by=office.handler.username,
        by=office.chief.username, at=AT,
    )  # fmt: skip


def proposed(office: Office, **more: Any) -> PointRepair:
    given = {
        "practitioner": office.house.doctor, "points": 2, "course": "培训考核合格", "file": PDF,
        "by": office.handler.username, "at": AT,
    }  # fmt: skip
    return repairs.propose(**given | more)


# --- Repair ---


def test_a_repair_is_proposed_with_its_paper_and_approved_by_another(office: Office) -> None:
    pointed(office, 4)
    row = proposed(office)
    assert subjects.total_of(office.house.doctor.pk, TODAY.year) == 4
    task = Task.objects.get(subject=f"pointrepair:{row.pk}", state="open")
    assert (task.permission, task.region_code) == ("cases.decide", office.region.code)
    with pytest.raises(Refusal, match="REPAIR_OPEN"):
        proposed(office, points=1)
    with pytest.raises(Refusal, match="SAME_PERSON"):
        repairs.decide(repair=row, approve=True, note="", who=office.handler, at=AT)
    done = repairs.decide(repair=row, approve=True, note="同意", who=office.chief, at=AT)
    entry = PointEntry.objects.get(kind="repair")
    assert (done.state, done.entry, entry.points, entry.source) == (
        "approved", entry, -2, f"repair:{row.pk}",
    )  # fmt: skip
    assert (entry.proposed_by, entry.entered_by) == (
        office.handler.username, office.chief.username,
    )  # fmt: skip
    assert subjects.total_of(office.house.doctor.pk, TODAY.year) == 2
    assert not Task.objects.filter(subject=f"pointrepair:{row.pk}", state="open").exists()
    acts = Event.objects.filter(subject=f"pointrepair:{row.pk}").values_list("action", flat=True)
    assert sorted(acts) == ["repair.approve", "repair.propose"]
    with pytest.raises(Refusal, match="DECIDED_BEFORE"):
        repairs.decide(repair=row, approve=True, note="", who=office.second, at=AT)


def test_a_repair_is_refused_with_a_reason_and_changes_no_points(office: Office) -> None:
    pointed(office, 4)
    row = proposed(office)
    with pytest.raises(Refusal, match="REQUIRED"):
        repairs.decide(repair=row, approve=False, note=" ", who=office.chief, at=AT)
    repairs.decide(repair=row, approve=False, note="材料不符", who=office.chief, at=AT)
    assert subjects.total_of(office.house.doctor.pk, TODAY.year) == 4
    assert proposed(office, points=1).state == "proposed"


def test_no_more_is_repaired_than_the_region_allows_nor_of_a_year_that_is_over(
    office: Office,
) -> None:
    with pytest.raises(Refusal, match="REPAIR_TOO_LARGE"):
        proposed(office)  # nothing to repair
    pointed(office, 5)
    with pytest.raises(Refusal, match="REPAIR_TOO_LARGE") as caught:
        proposed(office, points=4)
    assert caught.value.detail[0] == "本年度至多还可修复3分"
    row = proposed(office, points=3)
    with pytest.raises(Refusal, match="YEAR_OVER"):
        repairs.decide(repair=row, approve=True, note="", who=office.chief,
                       at=AT.replace(year=TODAY.year + 1))  # fmt: skip


def test_the_database_keeps_two_persons_and_what_was_proposed(office: Office) -> None:
    pointed(office, 5)
    row = proposed(office)
    rows = PointRepair.objects.filter(pk=row.pk)
    decided = {"state": "refused", "note": "x", "decided_at": AT}
    for change, why in (
        (decided | {"decided_by": row.proposed_by}, "repair_second_person"),
        (decided | {"note": "", "decided_by": "x"}, "repair_decision_whole"),
        ({"state": "approved", "decided_at": AT, "decided_by": "x"}, "repair_decision_whole"),
        ({"points": 1}, "stay"),
    ):
        with pytest.raises((IntegrityError, DatabaseError), match=why), transaction.atomic():
            rows.update(**change)
    with pytest.raises(DatabaseError, match="permission denied"), transaction.atomic():
        _delete_as_app()


def _delete_as_app() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL ROLE mip_app")
        cursor.execute("DELETE FROM supervision_pointrepair")


def test_the_page_of_a_practitioner_takes_a_repair_to_its_end(office: Office) -> None:
    pointed(office, 4)
    doctor = office.house.doctor
    address = reverse("practitioner-points", args=[doctor.pk])
    handler, chief = client_of(office.handler), client_of(office.chief)
    page = text(handler.get(address))
    assert "违规开药" in page
    assert "提出信用修复" in page
    act = {
        key: reverse("practitioner-act", args=[doctor.pk, key]) for key in ("propose", "approve")
    }
    given = {"points": "2", "course": "培训考核合格"}
    file = SimpleUploadedFile(*PDF)
    assert handler.post(act["propose"], given).status_code == 422  # no paper
    assert handler.post(act["propose"], given | {"file": file}).status_code == 302
    assert "批准信用修复" not in text(handler.get(address))
    assert handler.post(act["approve"], {"note": ""}).status_code == 403
    assert "批准信用修复" in text(chief.get(address))
    assert chief.post(act["approve"], {"note": "同意"}).status_code == 302
    page = text(handler.get(address))
    assert "已修复" in page
    assert "−2" in page or "-2" in page
    hospital = text(client_of(office.hospital).get(address))
    assert "信用修复" in hospital
    assert "提出信用修复</" not in hospital
    foreign = factories.physician(factories.institution("wenzhou"))
    assert handler.get(reverse("practitioner-points", args=[foreign.pk])).status_code == 404


# --- Points of pharmacists and nurses ---


@pytest.mark.parametrize("kind", ["pharmacist", "nurse"])
def test_points_of_pharmacists_and_nurses_suspend_terminate_and_begin_anew(
    office: Office, kind: str
) -> None:
    person = factories.physician(office.place, kind=kind)
    pointed(office, 9, person)
    found = person.suspensions.facts_on(TODAY)
    assert (found.valid_from, found.valid_until.isoformat()) == (TODAY, "2021-09-14")
    pointed(office, 3, person, "b")
    row = Restriction.objects.get(kind="terminated", subject_code=person.pk)
    assert row.valid_until is None
    assert subjects.total_of(person.pk, TODAY.year) == 12
    assert subjects.total_of(person.pk, TODAY.year + 1) == 0
    assert "终止" in Task.objects.get(subject=f"comparison:{person.pk}").title


def waiting(doctor: Physician) -> list[str]:
    """The open tasks to compare the registration of a practitioner."""
    rows = Task.objects.filter(subject=f"comparison:{doctor.pk}", state="open")
    return list(rows.values_list("title", flat=True))


@pytest.fixture
def suspended(office: Office) -> Physician:
    """A doctor whom nine points suspended, whose registration somebody is to compare."""
    doctor = office.house.doctor
    pointed(office, 9)
    assert waiting(doctor) == [f"{doctor.name}年度记分9分：暂停医保服务资格，请核对医师登记"]
    return doctor


def test_the_task_of_a_suspension_is_done_by_who_compared_the_register(
    office: Office, suspended: Physician
) -> None:
    reviewer = client_of(office.reviewer)
    tab = f"{reverse('institution', args=[office.place.code])}?tab=practitioners"
    assert Task.objects.get(subject=f"comparison:{suspended.pk}").url == tab
    act = reverse(
        "registry-row-act", args=[office.place.code, "practitioner-compare", suspended.pk]
    )
    assert act in text(reviewer.get(tab))
    assert client_of(office.hospital).post(act, {"note": "x"}).status_code == 403
    assert reviewer.post(act, {"note": " "}).status_code == 422
    assert waiting(suspended)
    assert reviewer.post(act, {"note": "与注册信息一致"}).status_code == 302
    assert waiting(suspended) == []
    told = json.loads(bytes(Event.objects.get(action="physician.compare").body))
    assert told["detail"] == {"note": "与注册信息一致"}
    assert act not in text(reviewer.get(tab))
    with pytest.raises(Refusal, match="NOTHING_TO_COMPARE"):
        registry.compare_registration(physician=suspended, note="x", by="x", at=AT)


@pytest.mark.parametrize("change", ["check", "correct", "leave", "lift"])
def test_the_task_of_a_suspension_ends_when_the_register_changes(
    office: Office, suspended: Physician, change: str
) -> None:
    sign = {"by": office.reviewer.username, "at": AT}
    if change == "check":
        registry.record_title(physician=suspended, title="chief", valid_from=TODAY,
                              by=office.hospital.username, at=AT)  # fmt: skip
        assert waiting(suspended)  # what the hospital says is not compared yet
        titles = [row.pk for row in suspended.titles.proposed()]
        registry.check_practitioner(physician=suspended, titles=titles, agreed=True, **sign)
    elif change == "correct":
        registry.correct_practitioner(physician=suspended, reason="核对", **sign,
                                      changes={"licence_no": "9", "registered_area": "320600"})  # fmt: skip
    elif change == "leave":
        registry.leave(physician=suspended, on=TODAY, **sign)
    else:
        row = Restriction.objects.get(subject_code=suspended.pk)
        lifting.lift(restriction=row, on=TODAY, reason="复核", who=office.third, at=AT)
    assert waiting(suspended) == []


def test_a_task_of_before_moves_to_its_practitioner(office: Office, suspended: Physician) -> None:
    """What suspensions opened under their own number is found by whoever compares the register."""
    first = Restriction.objects.get(subject_code=suspended.pk)
    pointed(office, 3, source="b")
    second = Restriction.objects.get(subject_code=suspended.pk, kind="terminated")
    task = Task.objects.get(subject=f"comparison:{suspended.pk}")
    Task.objects.filter(pk=task.pk).update(subject=f"restriction:{second.pk}", url="")
    old = {"permission": "registry.check", "title": "旧", "created_at": AT,
           "region_code": office.region.pk, "institution_code": office.place.pk}  # fmt: skip
    before = Task.objects.create(subject=f"restriction:{first.pk}", **old)
    Task.objects.filter(pk=task.pk).update(created_at=AT)
    moved = import_module("supervision.migrations.0022_interviews").TASKS
    with connection.cursor() as cursor:
        cursor.execute(moved)
    left = Task.objects.filter(pk__in=(task.pk, before.pk), state="open").get()
    assert left.subject == f"comparison:{suspended.pk}"
    assert left.url == f"{reverse('institution', args=[office.place.pk])}?tab=practitioners"


# --- Queues ---


def test_the_queue_of_practitioners_says_where_each_stands_and_what_comes_next(
    office: Office,
) -> None:
    low, nigh, stopped, ended, waits = (
        factories.physician(office.place, kind=kind)
        for kind in ("physician", "nurse", "pharmacist", "physician", "physician")
    )
    for number, (who, points) in enumerate(
        ((low, 1), (nigh, 5), (stopped, 9), (ended, 12), (waits, 2))
    ):
        Physician.objects.filter(pk=who.pk).update(name=f"{'甲乙丙丁戊'[number]}某")
        pointed(office, points, who)
    proposed(office, practitioner=waits, points=1)
    client = client_of(office.handler)

    def names(**query: str) -> str:
        page = text(client.get(reverse("points"), query))
        return "".join(one for one in "甲乙丙丁戊" if f"{one}某" in page)

    assert names() == "甲乙丙丁戊"
    assert names(standing="near") == "乙丙"  # one more like it would suspend, or terminate
    assert names(standing="suspended") == "丙"
    assert names(standing="terminated") == "丁"
    assert names(standing="repair") == "戊"
    assert names(kind="pharmacist") == "丙"
    assert names(q="甲") == "甲"
    page = text(client.get(reverse("points")))
    assert "再记4分暂停；期满重新计算" in page
    assert "2022-01-01" in page
    assert "期满恢复；再记3分终止" in page
    assert "2021-09-15" in page
    assert "没有符合条件的人员" in text(client.get(reverse("points"), {"q": "无此人"}))
    foreign = factories.user("supervisor", factories.region("wenzhou"))
    assert "甲某" not in text(client_of(foreign).get(reverse("points")))


def test_the_queue_of_practitioners_is_paged(office: Office) -> None:
    for number in range(21):
        pointed(office, 1, factories.physician(office.place), f"s{number}")
    client = client_of(office.handler)
    first, second = (
        text(client.get(reverse("points"), {"page": str(page)})) for page in (1, 2)
    )  # fmt: skip
    assert (first.count("再记8分暂停"), second.count("再记8分暂停")) == (20, 1)


def test_the_queue_of_persons_has_what_is_proposed_ordered_running_and_over(
    office: Office,
) -> None:
    people = [factories.person("nantong") for _ in range(2)]
    for number, (person, since) in enumerate(
        zip(people, (TODAY, TODAY - dt.timedelta(days=365)), strict=True)
    ):
        subjects.restrict(
            kind="online", region_code=office.region.code, institution_code="",
            subject_code=f"person:{person.pk}", person_id=person.pk, since=since, months=3,
            clause="第41条", source=f"case:{number}", by=office.chief.username, at=AT,
        )  # fmt: skip
    case = office.inquired(
        subject_kind="person", subject_code=f"person:{office.house.patient.pk}",
        institution_code="", person=office.house.patient, title="出借医保凭证",
    )  # fmt: skip
    office.propose(case, "suspend_person", article="41", months=6)
    client = client_of(office.handler)

    def shown(state: str = "") -> list[str]:
        page = text(client.get(reverse("restricted-persons"), {"state": state}))
        body = page[page.index("<tbody") :] if "<tbody" in page else ""
        return [word for word in ("拟暂停", "待执行", "暂停中", "已届满") if word in body]

    assert shown() == ["拟暂停", "暂停中"]
    assert shown("proposed") == ["拟暂停"]
    assert shown("running") == ["暂停中"]
    assert shown("over") == ["已届满"]
    case.sanctions.update(state="ordered")
    assert shown() == ["待执行", "暂停中"]
    page = text(client.get(reverse("restricted-persons")))
    assert "2021-09-15" in page  # the first day after three months
    assert reverse("case", args=[case.pk]) in page
