"""Public notices before signing: who stands there, until when, what is disclosed and what is not."""

import datetime as dt

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse

from agreements import papers
from agreements.models import Application
from institutions.commands.facts import record_facts
from tests.agreements.cast import PDF, Cast, moment

Day = dt.date
FIRST, LAST = Day(2021, 6, 15), Day(2021, 6, 22)
PAGE, FILE = reverse("public-notices"), reverse("public-notices-json")


def at(monkeypatch: pytest.MonkeyPatch, day: dt.date) -> None:
    monkeypatch.setattr(settings, "DEMO_TODAY", day)


@pytest.fixture
def case(db, monkeypatch) -> Application:
    """An application whose public notice stands from FIRST to LAST; another is under test."""
    monkeypatch.setattr(papers.pdf, "render", lambda *args, **kwargs: PDF)
    cast = Cast()
    cast.next_hospital()
    cast.testing(Day(2021, 5, 10), Day(2021, 5, 12), Day(2021, 6, 1))
    cast.next_hospital()
    found = cast.testing(
        Day(2021, 5, 10), Day(2021, 5, 12), Day(2021, 6, 1), intention="联系人张某 13800000000"
    )
    cast.judge(found, Day(2021, 6, 10), part="acceptance", role="information")
    cast.go(found, "pass_test_publish", "information", FIRST)
    return found


def data() -> list[dict]:
    return Client().get(FILE).json()["notices"]


@pytest.mark.parametrize(
    ("day", "listed"),
    [
        (FIRST - dt.timedelta(days=1), 0),
        (FIRST, 1),
        (LAST, 1),
        (LAST + dt.timedelta(days=1), 0),
    ],
)
def test_it_stands_from_the_first_to_the_last_day(case, monkeypatch, day, listed):
    at(monkeypatch, day)
    assert len(data()) == listed
    answer = Client().get(PAGE)
    assert len(answer.context["notices"]) == listed
    assert ("今日没有公示" in answer.content.decode()) is not bool(listed)


def test_this_is_disclosed_and_nothing_else(case, monkeypatch):
    at(monkeypatch, FIRST)
    assert data() == [{
        "institution": case.institution.name, "area": "330300", "place": "温州市",
        "subject": "“互联网+”医保服务补充协议", "from": "2021-06-15", "until": "2021-06-22",
        "missing_calendar_year": None, "period_is_example": True,
        "objections_to": {"office": "测试经办机构", "phone": "0577-1", "address": ""},
        "basis": "温医保办〔2021〕6号 十九",
    }]  # fmt: skip
    text = Client().get(PAGE).content.decode()
    for shown in (case.institution.name, "0577-1", "2021-06-22", "如何提出异议", "期限为示例参数"):
        assert shown in text
    for kept in (case.number, "张某", "13800000000", case.opened_by, case.institution.code):
        assert kept not in text


def test_the_name_is_that_of_the_day(case, monkeypatch):
    at(monkeypatch, LAST)
    record_facts(
        institution=case.institution, valid_from=LAST, changes={"name": "瓯江新名医院"},
        source="更名", by="test", at=moment(LAST),
    )  # fmt: skip
    assert [one["institution"] for one in data()] == ["瓯江新名医院"]


def test_a_missing_calendar_year_is_said(case, monkeypatch):
    at(monkeypatch, LAST)
    Application.objects.filter(pk=case.pk).update(due=None, due_unknown=2027)
    (one,) = data()
    assert (one["until"], one["missing_calendar_year"]) == (None, 2027)
    assert "待2027年工作日历公布后确定" in Client().get(PAGE).content.decode()


def test_after_the_decision_it_is_gone_and_every_public_page_links_to_it(case, monkeypatch):
    at(monkeypatch, LAST)
    assert f'href="{PAGE}"' in Client().get(reverse("public-institutions")).content.decode()
    Application.objects.filter(pk=case.pk).update(state="withdrawn", closed_at=moment(LAST))
    assert data() == []
