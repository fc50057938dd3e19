"""Calendars by page: a year from the package, a year from a notice, days of a region."""

import datetime as dt

import pytest
from django.test import Client
from django.urls import reverse

from audit import tasks
from audit.models import Event, Task
from institutions.calendar import MissingYear
from institutions.holidays import load_calendar
from institutions.models import CalendarDay, Region
from tests import factories

NOTICE = "示例〔2026〕1号"


@pytest.fixture
def page(db) -> Client:
    return factories.log_in(Client(), factories.user("policy_staff", factories.region("wenzhou")))


def send(client: Client, **given: str):
    return client.post(reverse("registry-calendars"), given)


def test_a_year_of_the_package(page: Client):
    assert send(page, year="2021", source="package").status_code == 302
    calendar = load_calendar("330300", [2021])
    assert not calendar.is_working_day(dt.date(2021, 10, 7))
    assert calendar.is_working_day(dt.date(2021, 10, 9))
    shown = page.get(reverse("registry-calendars")).content.decode()
    assert "全国" in shown
    assert "2021" in shown
    assert Event.objects.get(action="calendar.import").actor.startswith("policy_staff")


def test_a_year_that_the_package_does_not_know_is_entered_from_the_notice(page: Client):
    answer = send(page, year="2027", source="package")
    assert answer.status_code == 422
    assert "尚未收录2027年" in answer.content.decode()
    with pytest.raises(MissingYear):
        load_calendar("", [2027])
    tasks.open_task(
        subject="calendar:330300:2027", permission="calendar.import", at=factories.RECORDED,
        title="导入2027年", procedure="calendar", due_unknown=2027, region_code="330300",
    )  # fmt: skip
    days = "2027-10-01 至 2027-10-07 休 国庆节\n2027-10-09 班\n"
    assert send(page, year="2027", source="notice", notice=NOTICE, days=days).status_code == 302
    calendar = load_calendar("330300", [2027])
    assert not calendar.is_working_day(dt.date(2027, 10, 5))
    assert calendar.is_working_day(dt.date(2027, 10, 9))
    assert not calendar.is_working_day(dt.date(2027, 10, 10))
    assert Task.objects.get(subject="calendar:330300:2027").state == "done"


def test_days_of_a_region_hold_there_only(page: Client):
    send(page, year="2021", source="package")
    days = "2021-05-13 休 示例：本地节日"
    assert send(page, year="2021", source="local", notice=NOTICE, days=days).status_code == 302
    assert not load_calendar("330302").is_working_day(dt.date(2021, 5, 13))
    assert load_calendar("320600").is_working_day(dt.date(2021, 5, 13))


@pytest.mark.parametrize(
    ("days", "reason"),
    [("2021-13-01 休", "不是日历上的日期"), ("明天 休", "应为：日期 休或班 说明"),
     ("2020-12-31 休", "不在2021年内"), ("2021-05-02 至 2021-05-01 休", "先后颠倒"),
     ("2021-05-01 休\n2021-05-01 班", "重复")],
)  # fmt: skip
def test_a_line_that_cannot_be_read_is_named_and_nothing_is_stored(page: Client, days, reason):
    answer = send(page, year="2021", source="notice", notice=NOTICE, days=days)
    assert answer.status_code == 422
    assert reason in answer.content.decode()
    assert days.split("\n")[0] in answer.content.decode()
    assert CalendarDay.objects.count() == 0


def test_only_who_may_import(db):
    client = factories.log_in(Client(), factories.user("reviewer", factories.region("wenzhou")))
    assert client.get(reverse("registry-calendars")).status_code == 200
    assert send(client, year="2021", source="package").status_code == 403
    assert CalendarDay.objects.count() == 0


def test_a_year_is_replaced_only_after_its_changes_were_shown(page: Client):
    send(page, year="2021", source="package")
    given = {"year": "2021", "source": "notice", "notice": NOTICE, "days": "2021-05-13 休"}
    shown = send(page, **given)
    assert shown.status_code == 422
    assert "2021-01-01" in shown.content.decode()
    assert 'name="confirmed" value="on"' in shown.content.decode()
    assert NOTICE in shown.content.decode()
    assert load_calendar("").is_working_day(dt.date(2021, 5, 13))
    assert send(page, **given, confirmed="on").status_code == 302
    assert not load_calendar("").is_working_day(dt.date(2021, 5, 13))


@pytest.mark.parametrize("source", ["notice", "local"])
def test_no_days_are_no_calendar(page: Client, source: str):
    send(page, year="2021", source="package")
    assert send(page, year="2021", source=source, notice=NOTICE, confirmed="on").status_code == 422
    assert not load_calendar("").is_working_day(dt.date(2021, 10, 1))


def test_a_county_does_not_change_the_nation(db):
    factories.region("wenzhou")
    county = Region.objects.create(
        code="330381", name="瑞安市", level="county", parent_id="330300", policy_region="wenzhou"
    )
    client = factories.log_in(Client(), factories.user("policy_staff", county))
    answer = send(client, year="2021", source="package")
    assert answer.status_code == 422
    assert "地市级以上" in answer.content.decode()
    assert CalendarDay.objects.count() == 0
