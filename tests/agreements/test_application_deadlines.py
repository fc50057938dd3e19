"""Every deadline of the case files through the real models: days of moves in, `due` out.

Also both year ends, make-up days, a year that nobody has imported yet, and its import.
"""

import datetime as dt
import json
from contextlib import suppress
from pathlib import Path

import pytest

from agreements import commands, papers
from agreements.models import Agreement, Application
from audit.models import Event, Task
from audit.procedure import Refused
from institutions.holidays import DayRow, import_year, national_year
from tests.agreements.cast import PDF, Cast, calendar, moment

Day = dt.date
FILES = Path(__file__).parents[1] / "policies"
pytestmark = pytest.mark.django_db


def cases(*subjects: str) -> list[dict]:
    """The cases of Wenzhou on some subjects, of both files."""
    found = []
    for name in ("agreements.json", "agreements-branches.json"):
        rows = json.loads((FILES / name).read_text(encoding="utf-8"))["cases"]
        found += [
            row for row in rows if row["subject"] in subjects and row.get("region") == "wenzhou"
        ]
    return found


def day(text: str | None) -> dt.date | None:
    return None if text is None else Day.fromisoformat(text)


@pytest.fixture(autouse=True)
def quick(monkeypatch, settings) -> None:
    """Papers of a few bytes, and no public notice between acceptance and signing."""
    monkeypatch.setattr(papers.pdf, "render", lambda *args, **kwargs: PDF)
    settings.EXAMPLE_PARAMETERS = False


@pytest.fixture
def cast() -> Cast:
    return Cast(years=(2021, 2022, 2023, 2024, 2025))


def signing(cast: Cast, passed: dt.date) -> Application:
    """An application whose test was passed on a day."""
    case = cast.testing(passed, passed, passed)
    cast.judge(case, passed, part="acceptance", role="information")
    cast.go(case, "pass_test", "information", passed)
    return case


def at_step(cast: Cast, step: str, start: dt.date) -> Application:
    """An application of a new hospital in the state whose clock began on a day."""
    cast.next_hospital()
    return {
        "material_review": lambda: cast.reviewing(start),
        "rebuild": lambda: cast.rebuilding(start, start),
        "acceptance_test": lambda: cast.testing(start, start, start),
        "sign": lambda: signing(cast, start),
    }[step]()


def start_of(facts: dict) -> dt.date:
    keys = ("received", "review_passed", "acceptance_passed")
    return Day.fromisoformat(next(facts[key] for key in keys if key in facts))


def test_deadlines_of_the_case_files(cast):
    given = cases("deadline")
    assert len(given) >= 16
    got, expected = {}, {}
    for row in given:
        case = at_step(cast, row["input"]["step"], start_of(row["input"]))
        nominal = day(row["expected"].get("last_day_before_rollover"))
        got[row["id"]] = (case.due, case.due_nominal if nominal else None)
        expected[row["id"]] = (day(row["expected"]["due"]), nominal)
    assert got == expected


def test_what_is_done_on_the_last_day_is_in_time(cast):
    """AG-S02, OWN-D06: “内” includes the last day; later is recorded as late, not lost."""
    ends = {"material_review": ("pass_review", "materials", "reviewer"),
            "acceptance_test": ("pass_test", "acceptance", "information")}  # fmt: skip
    got = {}
    for row in cases("deadline"):
        if row["input"]["step"] not in ends or "completed" not in row["input"]:
            continue
        step, part, role = ends[row["input"]["step"]]
        answers = []
        for text in row["input"]["completed"]:
            case = at_step(cast, row["input"]["step"], start_of(row["input"]))
            cast.judge(case, Day.fromisoformat(text), part=part, role=role)
            answers.append(cast.go(case, step, role, Day.fromisoformat(text)).on_time)
        got[row["id"]] = answers
    assert got == {"AG-S02": [True, False], "OWN-D06": [True, False]}


def test_flows_of_the_case_files(cast):
    """All four clocks and the end of the supplementary term, each from its own event."""
    got, expected = {}, {}
    for row in cases("flow"):
        facts, answers = row["input"], {}
        for event, step, key in (
            ("application_received", "material_review", "review_due"),
            ("review_passed", "rebuild", "rebuild_due"),
            ("test_application_received", "acceptance_test", "test_due"),
            ("acceptance_passed", "sign", "sign_due"),
        ):
            if facts.get(event):
                case = at_step(cast, step, Day.fromisoformat(facts[event]))
                answers[key] = case.due.isoformat()
                if step == "sign":
                    answers["supplementary_end"] = _end(cast, facts)
        got[row["id"]] = answers
        expected[row["id"]] = {
            key: value for key, value in row["expected"].items()
            if key in answers or key != "supplementary_end"
        }  # fmt: skip
    assert got == expected


def _end(cast: Cast, facts: dict) -> str:
    """The end of the supplementary contract that is made beside a main agreement of a term."""
    cast.next_hospital()
    until = Day.fromisoformat(facts["main_agreement"]["end"])
    Agreement.objects.filter(institution=cast.hospital).update(valid_until=until)
    case = signing(cast, Day.fromisoformat(facts["acceptance_passed"]))
    return case.contracts.get().valid_until.isoformat()


def test_lapses_of_the_case_files(cast):
    """The state on a day: testing when asked for in time, lapsed by the portal itself afterwards."""
    got, expected = {}, {}
    for row in cases("lapse"):
        facts = row["input"]
        case = at_step(cast, "rebuild", Day.fromisoformat(facts["review_passed"]))
        today, asked = Day.fromisoformat(facts["today"]), day(facts["test_application_received"])
        if asked is not None and asked <= today:
            with suppress(Refused):
                cast.go(case, "request_test", "hospital", asked)
        commands.lapse_overdue(by="beat", at=moment(today))
        case.refresh_from_db()
        ours = {"institution": cast.hospital.pk, "procedure": "wenzhou"}
        got[row["id"]] = (case.state, len(Application.objects.failed(**ours)))
        expected[row["id"]] = (row["expected"]["state"], 0)
    assert got == expected


def fail_times(cast: Cast, deliveries: list[dt.date | None]) -> None:
    """A new hospital with failures delivered on days; None: judged and not delivered."""
    cast.next_hospital()
    for place, delivered in enumerate(deliveries, start=1):
        made = Application.objects.create(
            number=f"{cast.hospital.pk}-{place}", institution=cast.hospital, procedure="wenzhou",
            state="rectifying" if delivered else "review_failed", entered_on=Day(2021, 3, 8),
            region_code=cast.region.pk, institution_code=cast.hospital.pk,
            opened_at=moment(Day(2021, 3, 8)), opened_by="x",
            closed_at=moment(delivered) if delivered else None,
        )  # fmt: skip
        made.notices.create(
            number=f"N{made.pk}", kind="materials", items=[], made_on=delivered or Day(2021, 3, 8),
            made_by="x", delivered_on=delivered,
        )  # fmt: skip


def test_reapplications_of_the_case_files(cast):
    """Who may apply again on which day; an undelivered result is still the running application."""
    got, expected = {}, {}
    for row in cases("reapplication"):
        facts = row["input"]
        if "try_dates" not in facts:
            continue
        if "history" in facts:
            failures = [one for one in facts["history"] if one["kind"] != "lapse"]
            deliveries = [day(one["result_delivered"]) for one in failures]
        else:
            last = day(facts["result_delivered"])
            before = [Day(2021, 3, 9)] * (facts["fail_no"] - 1)
            deliveries = [*before, last]
        fail_times(cast, deliveries)
        got[row["id"]] = [_accepted(cast, Day.fromisoformat(text)) for text in facts["try_dates"]]
        expected[row["id"]] = row["expected"]["accepted"]
    assert got == expected


def _accepted(cast: Cast, on: dt.date) -> bool:
    try:
        case = cast.apply(on)
    except Refused as refused:
        return refused.code not in {"REAPPLY_TOO_EARLY", "REAPPLY_BANNED", "ALREADY_APPLIED"}
    Application.objects.filter(pk=case.pk).update(closed_at=case.opened_at)
    return True


# --- A year that is not imported ---


def ask_tasks() -> list[tuple]:
    rows = Task.objects.filter(permission="calendar.import", state=Task.State.OPEN)
    return list(rows.values_list("subject", "region_code", "due_unknown"))


def test_a_missing_year_is_unknown_with_a_task_and_holds_nothing_up():
    """chinesecalendar ends with 2026: what ends in 2027 is computed when 2027 comes in."""
    cast = Cast(years=(2026,), main_until=Day(2028, 12, 31))
    case = cast.reviewing(Day(2026, 12, 29))
    assert (case.due, case.due_unknown, case.due_clause) == (None, 2027, "七")
    assert ask_tasks() == [("calendar:330300:2027", "330300", 2027)]
    cast.judge(case, Day(2026, 12, 30))
    cast.go(case, "pass_review", "reviewer", Day(2026, 12, 30))
    cast.go(case, "deliver_pass", "reviewer", Day(2026, 12, 30), facts={"delivery": "direct"})
    assert (case.state, case.due, case.due_unknown) == ("rebuilding", None, 2027)
    assert commands.lapse_overdue(by="beat", at=moment(Day(2026, 12, 31))) == 0
    weekday = [
        DayRow(row.day.replace(year=2027), row.day.replace(year=2027).weekday() < 5, "", "测试")
        for row in national_year(2026)
    ]
    import_year(year=2027, region="", rows=weekday, by="policy", at=moment(Day(2026, 12, 31)))
    case.refresh_from_db()
    assert (case.due, case.due_unknown) == (Day(2027, 3, 30), None)
    assert ask_tasks() == []
    task = Task.objects.get(subject=case.subject, state=Task.State.OPEN)
    assert (task.due, task.due_unknown) == (Day(2027, 3, 30), None)
    event = Event.objects.get(action="application.refresh")
    assert (event.subject, event.actor) == (case.subject, "policy")
    move = cast.go(case, "request_test", "hospital", Day(2027, 3, 1))
    assert (move.due, move.on_time) == (Day(2027, 3, 30), True)


def test_the_import_of_another_year_leaves_the_clock_waiting():
    cast = Cast(years=(2026,), main_until=None)
    cast.next_hospital()
    case = cast.reviewing(Day(2026, 12, 29))
    calendar(2025)
    case.refresh_from_db()
    assert case.due_unknown == 2027
    assert ask_tasks() == [("calendar:330300:2027", "330300", 2027)]


def test_holidays_that_change_move_the_deadlines_that_run(cast):
    """As in 2020, when the Spring Festival was prolonged: computed anew, task and event follow."""
    case = cast.reviewing(Day(2021, 3, 8))
    rows = [
        row._replace(working=False) if row.day == Day(2021, 3, 12) else row
        for row in national_year(2021)
    ]
    import_year(year=2021, region="", rows=rows, by="policy", at=moment(Day(2021, 3, 9)))
    case.refresh_from_db()
    task = Task.objects.get(subject=case.subject, state=Task.State.OPEN)
    assert (case.due, task.due) == (Day(2021, 3, 16), Day(2021, 3, 16))
    assert b'"before":"2021-03-15"' in bytes(Event.objects.get(action="application.refresh").body)


def test_a_region_works_by_its_own_holidays(cast):
    """I-NX-7: a local day off moves the deadline of that area only."""
    import_year(
        year=2021, region="330300", by="x", at=moment(Day(2021, 3, 1)),
        rows=[DayRow(Day(2021, 3, 15), False, "地方假日", "测试")],
    )  # fmt: skip
    assert cast.reviewing(Day(2021, 3, 8)).due == Day(2021, 3, 16)  # AG-R01 ends on 03-15
