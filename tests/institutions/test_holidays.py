"""Importing a year, local overrides, and the clear stop when a year is missing."""

import datetime as dt
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from audit.models import Event
from institutions.calendar import IncompleteYear, MissingYear
from institutions.holidays import (
    DayRow,
    import_year,
    load_calendar,
    national_year,
    notice_addresses,
    notice_known,
    notice_of,
)
from institutions.models import CalendarDay

AT = dt.datetime(2021, 1, 4, 9, tzinfo=dt.UTC)
LOCAL = DayRow(dt.date(2021, 5, 13), working=False, label="开斋节", notice="自治区放假通知（示例）")


def store(year, *, region="", rows=None):
    rows = national_year(year) if rows is None else rows
    return import_year(year=year, region=region, rows=rows, by="policy.zhang", at=AT)


def test_rows_of_a_year_carry_their_notice():
    rows = {row.day: row for row in national_year(2021)}
    assert len(rows) == 365
    assert rows[dt.date(2021, 10, 1)] == (
        dt.date(2021, 10, 1), False, "国庆节", "国办发明电〔2020〕27号",
    )  # fmt: skip
    assert rows[dt.date(2021, 10, 9)].label == "调休上班"
    assert rows[dt.date(2021, 3, 6)].label == "周末"
    assert rows[dt.date(2021, 3, 8)].label == ""


def test_the_extended_spring_festival_names_both_notices():
    assert notice_of(2020) == "国办发明电〔2019〕16号、国办发明电〔2020〕1号"
    assert len(notice_addresses(2020)) == 2


def test_an_unregistered_notice_is_said():
    assert not notice_known(2019)
    assert "补录" in notice_of(2019)
    assert notice_addresses(2019) == []


def test_a_year_beyond_the_package_stops():
    with pytest.raises(MissingYear, match="2040"):
        national_year(2040)


def test_import_is_whole_recorded_and_repeatable(db):
    assert store(2021) == 365
    assert store(2021) == 365
    assert CalendarDay.objects.filter(day__year=2021).count() == 365
    acts = Event.objects.filter(action="calendar.import")
    assert [(act.actor, act.subject) for act in acts] == [
        ("policy.zhang", "calendar:national:2021")
    ] * 2


def test_a_local_holiday_holds_in_its_area_only(db):
    store(2021)
    store(2021, region="640000", rows=[LOCAL])
    assert not load_calendar("640100", [2021]).is_working_day(LOCAL.day)
    assert load_calendar("330300", [2021]).is_working_day(LOCAL.day)
    assert load_calendar().is_working_day(LOCAL.day)


def test_the_nearest_area_wins(db):
    store(2021)
    store(2021, region="640000", rows=[LOCAL])
    store(2021, region="640100", rows=[LOCAL._replace(working=True)])
    assert load_calendar("640102").is_working_day(LOCAL.day)
    assert not load_calendar("640200").is_working_day(LOCAL.day)


def test_a_missing_year_stops_the_loading(db):
    store(2021)
    with pytest.raises(MissingYear, match="2022"):
        load_calendar("330300", [2021, 2022])
    with pytest.raises(MissingYear, match="2022"):
        load_calendar("330300").is_working_day(dt.date(2022, 1, 4))


def test_nonsense_is_not_imported(db):
    with pytest.raises(IncompleteYear):
        store(2021, rows=national_year(2021)[:-1])
    with pytest.raises(ValueError, match="不属于2022年"):
        store(2022, rows=national_year(2021))
    with pytest.raises(MissingYear):
        store(2022, rows=[])
    assert not CalendarDay.objects.exists()


def test_the_command_imports_and_says_what_is_unknown(db):
    out, err = StringIO(), StringIO()
    call_command("import_calendar", "2021", "2019", stdout=out, stderr=err)
    assert "2021：365天，依据：国办发明电〔2020〕27号" in out.getvalue()
    assert "2019：请补录" in err.getvalue()
    with pytest.raises(CommandError, match="2040"):
        call_command("import_calendar", "2040")
