"""Applications that fail: the notice, waiting times and ban, what lapses and is no failure."""

import datetime as dt

import pytest

from agreements import commands
from agreements.models import (
    Agreement,
    Application,
    Notice,
)
from agreements.tasks import watch_clocks
from audit.models import Move
from audit.procedure import Refused
from institutions import documents
from tests.agreements.cast import Cast, moment, open_tasks, refused

Day = dt.date
pytestmark = pytest.mark.django_db


def test_the_notice_tells_everything_at_once_and_runs_from_delivery():
    cast = Cast()
    case = cast.failed(Day(2021, 3, 15), Day(2021, 3, 18))
    notice = Notice.objects.get()
    assert [(item["no"], item["clause"], item["remark"]) for item in notice.items] == [
        ("5", "六（五）", "须改进"), ("6", "六（六）", "须改进"),
    ]  # fmt: skip
    assert (notice.number, notice.made_on, notice.delivered_on, notice.delivery) == (
        "WZ-告-2021-0001", Day(2021, 3, 15), Day(2021, 3, 18), "mail",
    )  # fmt: skip
    assert documents.content_of(notice.document).startswith(b"%PDF-")
    assert (case.state, notice.document.institution) == ("rectifying", cast.hospital)
    assert case.closed_at is not None


def test_an_undelivered_notice_is_not_yet_the_institutions(quick):
    cast = Cast()
    case = cast.reviewing(Day(2021, 3, 15))
    cast.judge(case, Day(2021, 3, 15), "2")
    cast.go(case, "fail_review", "reviewer", Day(2021, 3, 15))
    assert Notice.objects.get().document.institution is None
    assert refused(cast.apply, Day(2021, 9, 1))[1] == "ALREADY_APPLIED"  # awaiting delivery
    early = {"facts": {"delivery": "mail"}, "on": Day(2021, 3, 14)}
    late = refused(cast.go, case, "deliver_review_notice", "reviewer", Day(2021, 3, 16), **early)
    assert late[1] == "DAY_TOO_EARLY"


def test_after_a_failure_three_months_after_the_second_a_year(quick):
    """AG-F01, AG-F05: the first possible day is the one after the corresponding day (I-WZ-2)."""
    cast = Cast()
    first = cast.failed(Day(2021, 3, 10), Day(2021, 3, 15))
    clause = "温医保办〔2021〕6号 七"
    assert refused(cast.apply, Day(2021, 6, 15)) == (409, "REAPPLY_TOO_EARLY", clause)
    second = cast.reviewing(Day(2021, 6, 16))
    assert second.previous == first
    cast.judge(second, Day(2021, 6, 17), "5")
    cast.go(second, "fail_review", "reviewer", Day(2021, 6, 17))
    delivery = {"facts": {"delivery": "direct"}}
    wrong = refused(
        cast.go, second, "deliver_review_notice", "reviewer", Day(2021, 7, 5), **delivery
    )
    assert wrong[1] == "STEP_NOT_POSSIBLE"
    cast.go(second, "deliver_review_ban", "reviewer", Day(2021, 7, 5), **delivery)
    assert second.state == "banned_1y"
    with pytest.raises(Refused, match="2022-07-06起方可再次申请"):
        cast.apply(Day(2022, 7, 5))
    third = cast.apply(Day(2022, 7, 6))
    assert third.state == "draft"


def test_a_failed_test_is_a_failure_too_and_a_success_forgets_earlier_ones(quick, monkeypatch):
    cast = Cast()
    first = cast.testing(Day(2021, 3, 10), Day(2021, 3, 12), Day(2021, 4, 1))
    cast.judge(first, Day(2021, 4, 2), "6", part="acceptance", role="information")
    cast.go(first, "fail_test", "information", Day(2021, 4, 2))
    assert first.notices.get().kind == "acceptance"
    facts = {"delivery": "public"}
    cast.go(first, "deliver_test_notice", "reviewer", Day(2021, 4, 6), facts=facts)
    assert first.state == "rectifying"
    failed = Application.objects.failed
    ours = {"institution": cast.hospital.pk, "procedure": "wenzhou"}
    assert [(case.pk, case.delivered_on) for case in failed(**ours)] == [
        (first.pk, Day(2021, 4, 6))
    ]
    success = cast.apply(Day(2021, 8, 1))
    made = Agreement.objects.create(
        institution=cast.hospital, kind="supplementary", number="S", valid_from=Day(2021, 9, 1)
    )
    Application.objects.filter(pk=success.pk).update(
        agreement=made, closed_at=moment(Day(2021, 9, 1))
    )
    assert failed(**ours) == []


def test_a_conversion_not_finished_in_time_lapses_and_is_no_failure(quick):
    """OWN-L02, I-WZ-2: 2021-07-01 + 3 months = 10-01, rolled over to 10-08."""
    cast = Cast()
    case = cast.rebuilding(Day(2021, 6, 28), Day(2021, 7, 1))
    assert (case.due, case.due_nominal) == (Day(2021, 10, 8), Day(2021, 10, 1))
    assert commands.lapse_overdue(by="beat", at=moment(Day(2021, 10, 8))) == 0
    late = refused(cast.go, case, "request_test", "hospital", Day(2021, 10, 9))
    assert late == (409, "TOO_LATE", "温医保办〔2021〕6号 七")
    assert commands.lapse_overdue(by="beat", at=moment(Day(2021, 10, 11))) == 1
    case.refresh_from_db()
    assert (case.state, case.entered_on, open_tasks(case)) == ("lapsed", Day(2021, 10, 9), [])
    assert commands.lapse_overdue(by="beat", at=moment(Day(2021, 10, 12))) == 0
    assert cast.apply(Day(2021, 10, 12)).previous == case


def test_one_broken_application_stops_no_other(quick, monkeypatch, caplog):
    cast = Cast()
    broken = cast.rebuilding(Day(2021, 6, 28), Day(2021, 7, 1))
    cast.next_hospital()
    sound = cast.rebuilding(Day(2021, 6, 28), Day(2021, 7, 1))
    whole = commands.lapse_day

    def day_of(case: Application) -> dt.date:
        if case.pk == broken.pk:
            raise ZeroDivisionError("a row that nobody foresaw")
        return whole(case)

    monkeypatch.setattr(commands, "lapse_day", day_of)
    assert commands.lapse_overdue(by="beat", at=moment(Day(2021, 10, 11))) == 1
    for case, state in ((broken, "rebuilding"), (sound, "lapsed")):
        case.refresh_from_db()
        assert case.state == state
    assert f"application {broken.number} could not lapse" in caplog.text


def test_the_daily_watch_lapses_what_is_over(quick, settings):
    cast = Cast()
    case = cast.rebuilding(Day(2021, 6, 28), Day(2021, 7, 1))
    settings.DEMO_TODAY = Day(2021, 10, 9)
    assert watch_clocks() == 1
    case.refresh_from_db()
    move = Move.objects.filter(subject=case.subject).last()
    assert (case.state, move.by, move.on) == ("lapsed", "system:beat", Day(2021, 10, 9))


def test_on_the_last_day_the_test_is_still_requested(quick):
    cast = Cast()
    case = cast.rebuilding(Day(2021, 6, 28), Day(2021, 7, 1))
    move = cast.go(case, "request_test", "hospital", Day(2021, 10, 8))
    assert (case.state, move.due, move.on_time) == ("testing", Day(2021, 10, 8), True)
