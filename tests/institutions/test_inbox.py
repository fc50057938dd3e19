"""The inbox: what waits for whom, at a cost that does not grow; assignment, delegation, overdue."""

import datetime as dt
import json
import os
from collections.abc import Callable
from contextlib import closing

import icalendar
import psycopg2
import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from audit import clock
from audit.models import Task
from audit.tasks import open_task
from config.roles import ROLES
from institutions import deadlines_file, inbox
from institutions.holidays import import_year, national_year
from institutions.inbox import MANY, Inbox, Wanted, working_days_left
from institutions.models import User
from tests import factories
from tests.institutions.inbox import (
    AT,
    TODAY,
    county,
    province,
    reviewer,
    task,
    titles,
    wenzhou,
)


@pytest.fixture(autouse=True)
def _monday(settings) -> None:
    settings.DEMO_TODAY = TODAY


# --- Who sees what, in which order ---


def test_by_permission_and_scope_the_most_urgent_first_and_undated_last(db) -> None:
    hospital = factories.institution("wenzhou", agreements=False)
    task(1, title="三天")
    task(2, title="逾期", due=TODAY - dt.timedelta(days=4))
    task(3, title="不计期限", due=None)
    task(4, title="缺日历", due=None, due_unknown=2027)
    task(5, title="县级", region_code=county().code, institution_code=hospital.code)
    task(6, title="省级", region_code=province().code)
    task(7, title="南通", region_code="320600")
    task(8, title="全国", region_code="")
    task(9, title="别人的岗位", permission="agreements.sign")
    task(10, title="已办", state="done")
    task(11, title="医院的事", permission="applications.apply", region_code=county().code,
         institution_code=hospital.code)  # fmt: skip
    own = ["逾期", "三天", "县级", "全国", "不计期限", "缺日历"]
    assert titles(reviewer()) == own
    assert titles(factories.user("reviewer", county())) == ["县级", "全国"]
    everything = ["逾期", "三天", "县级", "省级", "全国", "不计期限", "缺日历"]
    assert titles(factories.user("reviewer", province())) == everything
    assert titles(factories.user("hospital", hospital)) == ["医院的事"]
    assert titles(factories.user("hospital", factories.institution("wenzhou"))) == []
    assert titles(reviewer(is_active=False)) == []
    assert titles(factories.user("security_admin")) == []
    overseer = factories.user("supervisor", wenzhou())
    assert titles(overseer) == []
    assert titles(overseer, office=True) == ["逾期", "三天", "县级", "全国", "别人的岗位", "医院的事",
                                             "不计期限", "缺日历"]  # fmt: skip
    assert titles(reviewer(), office=True) == own  # only overseers see the whole office


def test_filters(db) -> None:
    reader = reviewer()
    task(1, title="今天", due=TODAY)
    task(2, title="周日", due=TODAY + dt.timedelta(days=6), procedure="change")
    task(3, title="下周一", due=TODAY + dt.timedelta(days=7), assignee=reader.username)
    task(4, title="昨天", due=TODAY - dt.timedelta(days=1), assignee="somebody")
    task(5, title="昨天停表", due=TODAY - dt.timedelta(days=1), stopped=True)
    task(6, title="县100%_", due=None, region_code=county().code, procedure="")
    assert titles(reader, when="late") == ["昨天"]
    assert titles(reader, when="soon") == ["今天", "周日"]
    assert titles(reader, procedure="change") == ["周日"]
    assert titles(reader, procedure="other") == ["县100%_"]
    assert titles(reader, region="330381") == ["县100%_"]
    assert titles(reader, region="320600") == titles(reader)  # not a place of this reader
    assert titles(reader, holder="me") == ["下周一"]
    assert "昨天" not in titles(reader, holder="nobody")
    assert titles(reader, words="0%_") == ["县100%_"]
    counts = Inbox(reader, today=TODAY).counts()
    assert counts == {"all": 6, "late": 1, "soon": 2, "me": 1, "unread": 0}
    assert Inbox(reader, today=TODAY).badge() == (6, 0)


def test_pages_by_key_forwards_and_back_over_the_undated(db) -> None:
    for number in range(5):
        task(number, title=str(number), due=TODAY + dt.timedelta(days=number // 2))
    for number in range(5, 9):
        task(number, title=str(number), due=None)
    box, cursor, seen, backs = Inbox(reviewer(), today=TODAY), "", [], []
    while True:
        page = box.page(cursor=cursor, size=2)
        seen.append([row.title for row in page.rows])
        backs.append(page.previous)
        if page.next is None:
            break
        cursor = page.next
    assert seen == [["0", "1"], ["2", "3"], ["4", "5"], ["6", "7"], ["8"]]
    assert backs[0] is None
    for number in range(4, 0, -1):
        page = box.page(cursor=backs[number], size=2)
        assert [row.title for row in page.rows] == seen[number - 1]
        assert (page.previous is None) == (number == 1)
        assert page.next is not None
    assert [row.title for row in box.page(cursor="no cursor", size=2).rows] == seen[0]


def test_working_days_that_are_left_by_the_calendar_of_the_place(db) -> None:
    import_year(year=2021, region="", rows=national_year(2021), by="test", at=AT)
    wednesday = [row for row in national_year(2021) if row.day == dt.date(2021, 12, 22)]
    import_year(
        year=2021, region="320600", by="test", at=AT,
        rows=[row._replace(working=False) for row in wednesday],
    )  # fmt: skip
    rows = [
        task(1),
        task(2, region_code="320600"),
        task(3, due=TODAY),
        task(4, due=dt.date(2021, 12, 18)),  # a Saturday
        task(5, due=dt.date(2021, 12, 16)),
        task(6, due=dt.date(2027, 1, 5)),
        task(7, due=None),
    ]
    left = working_days_left(rows, today=TODAY)
    assert [left.get(row.pk) for row in rows] == [3, 2, 0, -1, -2, None, None]


# --- Its cost ---


FILL = """INSERT INTO audit_task (subject, title, permission, region_code, institution_code, procedure,
    status, url, due, stopped, clause, assignee, assigned_by, state, created_at, closed_by)
SELECT %(state)s || ':' || n, '补充协议申请：材料待审核', 'applications.review',
    (ARRAY['330300', '330381'])[1 + n %% 2], '', 'wenzhou', '待审核', '', %(day)s::date + n %% 90,
    false, '五（三）', '', '', %(state)s, %(at)s, ''
FROM generate_series(%(first)s, %(last)s) AS n"""


def fill(first: int, last: int, state: str) -> None:
    values = {"first": first, "last": last, "state": state, "day": TODAY, "at": AT}
    with connection.cursor() as cursor:
        cursor.execute(FILL, values)
    with closing(psycopg2.connect(os.environ["DATABASE_OWNER_URL"])) as owner:
        owner.autocommit = True
        owner.cursor().execute("ANALYZE audit_task")


def scans(node: dict) -> list[dict]:
    """The nodes of a plan that read tasks."""
    below = [found for part in node.get("Plans", ()) for found in scans(part)]
    return [node, *below] if node.get("Relation Name") == "audit_task" else below


def explained(read: Callable) -> tuple[set[str], int, float]:
    """How something is read: (indexes of tasks, rows read, the planner's cost)."""
    with CaptureQueriesContext(connection) as captured:
        read()
    indexes, rows, cost = set(), 0, 0.0
    with connection.cursor() as cursor:
        for query in captured:
            cursor.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + query["sql"].replace("%", "%%"), ())
            plan = cursor.fetchone()[0]
            plan = (json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]
            cost += plan["Total Cost"]
            for node in scans(plan):
                indexes.add(node.get("Index Name", node["Node Type"]))
                each = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
                rows += round(each * node["Actual Loops"])
    return indexes, rows, cost


def reads(user: User) -> dict[str, Callable]:
    """What pages ask for: the first page, one far behind, counts, the badge of the menu."""
    box = Inbox(user, today=TODAY)
    behind = TODAY + dt.timedelta(days=45)
    far = inbox._write(">", Task(pk=1, due=behind))
    return {
        "first": box.page,
        "far": lambda: box.page(cursor=far),
        "back": lambda: box.page(cursor=inbox._write("<", Task(pk=1, due=behind))),
        "counts": box.counts,
        "badge": box.badge,
        "mine": Inbox(user, today=TODAY, wanted=Wanted(holder="me")).page,
    }


def test_a_page_costs_the_same_among_five_hundred_and_five_thousand(committed_db: str) -> None:
    readers = {
        "task_inbox_area": reviewer(),
        "task_inbox_region": factories.user("reviewer", county()),
    }
    upper = factories.user("reviewer", province())
    fill(1, 500, "open")
    few = {
        (index, what): explained(read)
        for index, user in readers.items()
        for what, read in reads(user).items()
    }
    page = factories.log_in(Client(), readers["task_inbox_area"])
    for year in (2021, 2022):
        import_year(year=year, region="", rows=national_year(year), by="test", at=AT)
    page.get(reverse("inbox"))
    with CaptureQueriesContext(connection) as captured:
        page.get(reverse("inbox"))
    before = len(captured)
    fill(501, 5_000, "open")
    fill(1, 50_000, "done")
    for index, user in readers.items():
        for what, read in reads(user).items():
            indexes, rows, cost = explained(read)
            assert indexes <= {index, "task_inbox_assignee"}, (what, indexes)
            assert rows <= 4 * MANY, (what, rows)
            assert cost < 3 * few[index, what][2], what  # estimated, for ten times the rows
        assert explained(reads(user)["first"])[:2] == ({index}, 21)
        assert few[index, "first"][:2] == ({index}, 21)
    indexes, rows, _ = explained(reads(upper)["first"])
    assert indexes == {"task_inbox_area"}
    assert rows <= 4 * MANY
    with CaptureQueriesContext(connection) as captured:
        answer = page.get(reverse("inbox"))
    assert len(captured) == before <= 15, [row["sql"][:80] for row in captured]
    assert len(answer.context["table"].rows) == 20
    assert f'<span class="tabs__count">{MANY - 1}+</span>' in answer.content.decode()


# --- The page ---


def test_the_page_names_term_clause_holder_and_the_next_step(db) -> None:
    import_year(year=2021, region="", rows=national_year(2021), by="test", at=AT)
    user = reviewer()
    user.display_name = "王审核"
    user.save()
    task(1, due=TODAY - dt.timedelta(days=4))
    task(2, due=TODAY + dt.timedelta(days=2), assignee=user.username)
    task(3, stopped=True)
    task(4, due=None, due_unknown=2027)
    task(5, due=None)
    task(6, due=TODAY + dt.timedelta(days=10))
    client = factories.log_in(Client(), user)
    table = client.get(reverse("inbox")).context["table"]
    assert [(row.cells[1].text, row.cells[1].tone) for row in table.rows] == [
        ("逾期 2 个工作日", "bad"), ("剩余 2 个工作日", "warn"), ("停止计时", "mute"),
        ("剩余 8 个工作日", "ok"), ("期限未知（缺2027年日历）", "mute"), ("不计期限", "mute"),
    ]  # fmt: skip
    assert [row.cells[3].text for row in table.rows[:2]] == ["待领取", "王审核"]
    assert table.rows[0].cells[3].sub == ROLES["reviewer"].label
    assert table.rows[0].actions[0].url == "/applications/1/"
    assert [action.value for action in table.bulk] == ["take", "return"]
    shown = client.get(reverse("inbox"), {"when": "late", "cursor": "x", "size": "7"})
    assert len(shown.context["table"].rows) == 1
    empty = client.get(reverse("inbox"), {"words": "没有的文字"}).content.decode()
    assert "没有待办事项" in empty
    menu = client.get(reverse("notifications")).content.decode()
    assert 'class="menu__count">6<' in menu
    assert factories.log_in(Client(), factories.user("audit_admin", wenzhou())).get(
        reverse("inbox")
    ).status_code == 403  # fmt: skip


# --- The calendar file ---


def test_deadlines_as_a_calendar_that_a_new_password_closes(db) -> None:
    user = reviewer()
    task(1, title="期限，分号;和很长的标题" * 5)
    task(2, due=None)
    address = reverse("deadlines-feed", args=[deadlines_file.token(user)])
    answer = Client().get(address)
    assert answer["Content-Type"] == "text/calendar; charset=utf-8"
    (event,) = icalendar.Calendar.from_ical(answer.content).walk("VEVENT")
    assert event["DTSTART"].dt == TODAY + dt.timedelta(days=3)
    assert event["DTEND"].dt == TODAY + dt.timedelta(days=4)
    assert str(event["SUMMARY"]) == "期限，分号;和很长的标题" * 5
    assert str(event["URL"]) == "http://testserver/applications/1/"
    assert "五（三）" in str(event["DESCRIPTION"])
    (alarm,) = event.walk("VALARM")
    assert alarm["TRIGGER"].dt == -dt.timedelta(hours=15)
    client = factories.log_in(Client(), user)
    assert client.get(reverse("deadlines"))["Content-Disposition"].endswith('"deadlines.ics"')
    assert address in client.get(reverse("deadlines-subscription")).content.decode()
    assert Client().get(reverse("deadlines")).status_code == 302
    other = factories.user("reviewer", factories.region("nantong"))
    forged = f"{other.pk}-{deadlines_file.token(user).partition('-')[2]}"
    for key in (forged, f"{user.pk}-", f"{user.pk}", "x-y", "９-1", f"{10**19}-1"):
        assert Client().get(reverse("deadlines-feed", args=[key])).status_code == 404
    user.set_password("Xin-De-Mima-2022")
    user.save()
    assert Client().get(address).status_code == 404


def test_an_overseer_is_given_no_link_to_a_page_that_the_role_may_not_open(db, settings):
    settings.DEMO_TODAY = None
    place = factories.region("nantong")
    open_task(
        subject="review:1", permission="reviews.decide", at=clock.now(), title="费用审核示例",
        region_code=place.code, url="/reviews/1/",
    )  # fmt: skip
    for role, url in (("policy_staff", ""), ("supervisor", "/reviews/1/")):
        reader = factories.log_in(Client(), factories.user(role, place))
        (row,) = reader.get(reverse("inbox"), {"office": "1"}).context["table"].rows
        assert (row.cells[0].url, bool(row.actions)) == (url, bool(url))
