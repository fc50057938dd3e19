"""The panel of an institution's file: what is agreed as known then, what is under way now, by whom."""

import datetime as dt

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse

from agreements import lifecycle
from agreements.models import Agreement, AgreementState, Assessment
from audit.models import Task
from institutions.models import Institution, User
from tests.agreements.cast import Cast, moment
from tests.agreements.ningxia import country, hospital, place

Day = dt.date
MONDAY, TODAY = Day(2021, 6, 7), Day(2021, 6, 10)
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def today(monkeypatch) -> None:
    monkeypatch.setattr(settings, "DEMO_TODAY", TODAY)


def panel(who: User, found: Institution, **query: str):
    client = Client()
    client.force_login(who)
    answer = client.get(reverse("agreement-panel", args=[found.pk]), query)
    assert answer.status_code == 200
    return answer


def fact(entry: dict, label: str) -> tuple:
    (found,) = [row for row in entry["facts"] if row["label"] == label]
    return found["value"], found.get("sub", "")


def test_what_is_under_way_with_clock_clause_and_holder():
    cast = Cast()
    case = cast.reviewing(MONDAY)
    for role in ("reviewer", "hospital"):
        answer = panel(cast.people[role], cast.hospital)
        (entry,) = answer.context["running"]
        assert (entry["state"], entry["url"]) == (
            "材料审核",
            reverse("application", args=[case.pk]),
        )
        assert fact(entry, "办理时限") == (
            "剩余 2 个工作日",
            "期限 2021-06-15 · 温医保办〔2021〕6号 七",
        )
        assert fact(entry, "由谁办理")[1] == "审核申请材料"
        assert "正在办理" in answer.content.decode()
    Task.objects.filter(subject=case.subject).update(assignee="王经办")
    (entry,) = panel(cast.people["reviewer"], cast.hospital).context["running"]
    assert fact(entry, "由谁办理")[0] == "王经办"
    cast.go(case, "withdraw", "hospital", TODAY)
    assert panel(cast.people["reviewer"], cast.hospital).context["running"] == []


def test_who_may_not_see_applications_sees_none():
    cast = Cast()
    cast.reviewing(MONDAY)
    answer = panel(cast.person("telemedicine_centre"), cast.hospital)
    assert (answer.context["running"], answer.context["results"]) == ([], [])


def test_a_place_in_the_batches():
    who = country()["policy.province"]
    found = hospital("测试总医院")
    assert panel(who, found).context["wave"] == {}
    row = place(found, 1, Day(2021, 12, 31))
    wave = panel(who, found).context["wave"]
    assert wave["url"] == reverse("wave", args=[row.pk])
    assert fact(wave, "批次") == ("第 1 批", "")
    assert fact(wave, "完成时限") == ("2021-12-31", "")


def test_the_file_as_it_was_known_before():
    cast = Cast(main_until=None)
    cast.reviewing(MONDAY, includes_main=True)
    made = Agreement.objects.create(
        institution=cast.hospital, kind="supplementary", number="S-1", valid_from=Day(2021, 3, 1)
    )
    for state, day in (("active", Day(2021, 3, 1)), ("suspended", Day(2021, 5, 10))):
        lifecycle.set_state(
            agreement=made, state=state, on=day, reason="核查", by="签约员", at=moment(day)
        )
    Assessment.objects.create(
        institution=cast.hospital, year=2020, scheme="s", scores={}, total=9000, coefficient=10000,
        renewal="续签", recorded_at=moment(Day(2021, 5, 10)), recorded_by="test",
    )  # fmt: skip
    assert AgreementState.objects.count() == 3  # the first state was superseded
    who = cast.people["reviewer"]

    def seen(**query: str) -> tuple:
        context = panel(who, cast.hospital, on="2021-05-20", **query).context
        return (
            [entry["state"] for entry in context["agreements"]],
            len(context["results"]),
            len(context["running"]),
        )

    assert seen() == (["中止"], 1, 1)
    assert seen(known="2021-05-10") == (["中止"], 1, 0)
    assert seen(known="2021-05-09") == (["生效"], 0, 0)
    assert seen(known="2021-02-28") == ([], 0, 0)


def test_the_file_hands_its_standpoint_on():
    cast = Cast()
    client = Client()
    client.force_login(cast.people["reviewer"])
    address = reverse("institution", args=[cast.hospital.pk])
    query = {"on": "2021-05-20", "known": "2021-05-09"}
    assert "agreements/?on=2021-05-20&amp;known=2021-05-09" in client.get(
        address, query).content.decode()  # fmt: skip
