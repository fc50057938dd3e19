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

from audit import tasks
from audit.models import Event, Task
from config.roles import ROLES
from institutions import deadlines_file, duties, inbox, overdue
from institutions.holidays import import_year, national_year
from institutions.inbox import MANY, Inbox, Wanted, working_days_left
from institutions.models import Delegation, Notification, Region, User
from institutions.refusals import Refusal
from tests import factories
from tests.factories import ZONE

TODAY = dt.date(2021, 12, 20)  # a Monday
AT = dt.datetime(2021, 12, 20, 9, tzinfo=ZONE)
REVIEW = "applications.review"


@pytest.fixture(autouse=True)
def _monday(settings) -> None:
    settings.DEMO_TODAY = TODAY


def task(number: int, **more: object) -> Task:
    standard = {
        "subject": f"application:{number}", "title": f"申请{number}：材料待审核", "permission": REVIEW,
        "region_code": "330300", "procedure": "wenzhou", "status": "待审核", "created_at": AT,
        "due": TODAY + dt.timedelta(days=3), "clause": "五（三）", "url": f"/applications/{number}/",
    }  # fmt: skip
    return Task.objects.create(**(standard | more))


def wenzhou() -> Region:
    return factories.region("wenzhou")


def reviewer(**more: object) -> User:
    return factories.user("reviewer", wenzhou(), **more)


def titles(user: User, **wanted: object) -> list[str]:
    return [row.title for row in Inbox(user, today=TODAY, wanted=Wanted(**wanted)).page().rows]


def county() -> Region:
    return Region.objects.get_or_create(
        code="330381",
        defaults={"name": "瑞安市", "level": "county", "policy_region": "wenzhou",
                  "parent": wenzhou()},
    )[0]  # fmt: skip


def province() -> Region:
    return Region.objects.get_or_create(
        code="330000",
        defaults={"name": "浙江省", "level": "province", "policy_region": "wenzhou"},
    )[0]


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


# --- Who does it ---


def test_take_and_give_back(db) -> None:
    mine, other = reviewer(), reviewer()
    rows = [task(1), task(2)]
    keys = [row.pk for row in rows]
    given = {"by": mine.username, "at": AT, "who": mine}
    assert duties.take(keys=keys, **given) == 2
    assert duties.take(keys=keys, **given) == 0
    assert {row.assignee for row in Task.objects.all()} == {mine.username}
    for command in (duties.take, duties.give_back):
        with pytest.raises(Refusal) as refused:
            command(keys=keys, who=other, by=other.username, at=AT)
        assert refused.value.status in (403, 409)
    assert duties.give_back(keys=keys[:1], **given) == 1
    with pytest.raises(Refusal, match="TASK_FREE"):
        duties.give_back(keys=keys[:1], **given)
    events = Event.objects.filter(subject="application:1").order_by("at", "id")
    assert sorted(event.action for event in events) == ["task.return", "task.take"]


@pytest.mark.parametrize("act", ["take", "assign"])
def test_all_or_nothing_and_nothing_of_other_places(db, act: str) -> None:
    overseer = factories.user("signing_officer", wenzhou())
    near, far = task(1, permission="agreements.sign"), task(2, region_code="320600")
    done = task(3, state="done", permission="agreements.sign")
    more = {"to": overseer} if act == "assign" else {}
    for keys in ([near.pk, far.pk], [near.pk, done.pk], [near.pk, 10**15], []):
        with pytest.raises(Refusal):
            getattr(duties, act)(keys=keys, who=overseer, by=overseer.username, at=AT, **more)
    assert not Task.objects.exclude(assignee="").exists()


def test_an_overseer_assigns_to_whoever_may_do_it(db) -> None:
    overseer, fit = factories.user("supervisor", wenzhou()), reviewer()
    local = factories.user("reviewer", county())
    foreign = factories.user("reviewer", factories.region("nantong"))
    clerk, gone = factories.user("settlement_clerk", wenzhou()), reviewer(is_active=False)
    rows = [task(1), task(2)]
    assert list(duties.candidates(rows)) == [fit]
    assert list(duties.candidates([task(3, region_code=county().code)])) == [fit, local]
    given = {"keys": [row.pk for row in rows], "at": AT}
    for person in (local, foreign, clerk, gone, overseer):
        with pytest.raises(Refusal, match="ASSIGNEE_UNFIT"):
            duties.assign(to=person, who=overseer, by=overseer.username, **given)
    with pytest.raises(Refusal, match="ASSIGN_NOT_PERMITTED"):
        duties.assign(to=fit, who=fit, by=fit.username, **given)
    assert duties.assign(to=fit, who=overseer, by=overseer.username, **given) == 2
    assert titles(fit, holder="me") == ["申请1：材料待审核", "申请2：材料待审核"]
    told = Notification.objects.get(user=fit)
    assert told.text.endswith("等2项分派给您")
    assert duties.give_back(who=overseer, by=overseer.username, **given) == 2


def test_the_forms_of_assignment(db) -> None:
    overseer, fit = factories.user("signing_officer", wenzhou()), reviewer()
    row = task(1)
    client = factories.log_in(Client(), overseer)
    back = "when=late&office=1"
    chosen = {"action": "assign", "selected": [row.pk]}
    asked = client.post(
        reverse("inbox-act"), chosen, headers={"referer": f"http://testserver/inbox/?{back}"}
    )
    assert asked.context["back_query"] == back
    assert fit.username in asked.content.decode()
    wrong = client.post(reverse("inbox-act"), chosen | {"action": "assign-to", "to": overseer.pk})
    assert wrong.status_code == 422
    sent = chosen | {"action": "assign-to", "to": fit.pk, "back": back}
    answer = client.post(reverse("inbox-act"), sent)
    assert answer["Location"] == f"/inbox/?{back}"
    assert Task.objects.get().assignee == fit.username
    for number, (action, selected) in enumerate(
        (("assign", []), ("take", ["x"]), ("nonsense", [1]))
    ):
        answer = client.post(reverse("inbox-act"), {"action": action, "selected": selected})
        assert answer.status_code == (404 if number == 2 else 302)
    hospital = factories.log_in(Client(), factories.user("hospital", factories.institution()))
    answer = hospital.post(reverse("inbox-act"), sent, follow=True)
    assert "不能分派" in answer.content.decode()


def test_delegation_to_the_same_role_of_the_same_office(db) -> None:
    giver, taker = reviewer(), reviewer()
    elsewhere, clerk = factories.user("reviewer", county()), factories.user("auditor", wenzhou())
    span = {"valid_from": TODAY, "valid_until": TODAY + dt.timedelta(days=2), "reason": "休假"}
    given = {"giver": giver, "who": giver, "by": giver.username, "at": AT, "on": TODAY}
    for unfit in (elsewhere, clerk, giver):
        with pytest.raises(Refusal, match="TAKER_UNFIT"):
            duties.delegate(taker=unfit, **given, **span)
    with pytest.raises(Refusal, match="DELEGATION_NOT_YOURS"):
        duties.delegate(taker=giver, **(given | {"giver": taker}), **span)
    for days in ({"valid_until": TODAY - dt.timedelta(days=1)},
                 {"valid_until": TODAY + dt.timedelta(days=400)}):  # fmt: skip
        with pytest.raises(Refusal):
            duties.delegate(taker=taker, **given, **(span | days))
    row = duties.delegate(taker=taker, **given, **span)
    with pytest.raises(Refusal, match="DELEGATION_OVERLAPS"):
        duties.delegate(taker=taker, **given, **span)
    waiting = task(1, assignee=giver.username)
    assert titles(taker, holder="me") == [waiting.title]
    client = factories.log_in(Client(), taker)
    shown = client.get(reverse("inbox")).context["table"].rows[0]
    assert f"受{giver}委托" in shown.cells[0].sub
    assert Inbox(taker, today=TODAY + dt.timedelta(days=3),
                 wanted=Wanted(holder="me")).page().rows == []  # fmt: skip
    assert duties.take(keys=[waiting.pk], who=taker, by=taker.username, at=AT) == 1
    duties.end_delegation(delegation=row, who=giver, by=giver.username, at=AT)
    Task.objects.update(assignee=giver.username)
    assert titles(taker, holder="me") == []
    with pytest.raises(Refusal, match="DELEGATION_ENDED"):
        duties.end_delegation(delegation=row, who=giver, by=giver.username, at=AT)
    actions = Event.objects.filter(subject=f"delegation:{row.pk}").values_list("action", flat=True)
    assert sorted(actions) == ["delegation.end", "delegation.give"]


def test_the_page_of_delegations(db) -> None:
    giver, taker = reviewer(), reviewer()
    client = factories.log_in(Client(), giver)
    sent = {"taker": taker.pk, "valid_from": "2021-12-20", "valid_until": "2021-12-10"}
    assert client.post(reverse("delegations"), sent).status_code == 422
    assert client.post(reverse("delegations"), sent | {"valid_until": ""}).status_code == 422
    assert (
        client.post(reverse("delegations"), sent | {"valid_until": "2021-12-24"}).status_code == 302
    )
    row = Delegation.objects.get()
    assert "委托中" in client.get(reverse("delegations")).content.decode()
    other = factories.log_in(Client(), taker)
    assert "委托中" in other.get(reverse("delegations")).content.decode()
    assert other.post(reverse("delegation-end", args=[row.pk])).status_code == 404
    assert client.post(reverse("delegation-end", args=[row.pk])).status_code == 302
    assert "已结束" in client.get(reverse("delegations")).content.decode()
    alone = factories.log_in(Client(), factories.user("auditor", wenzhou()))
    assert "没有同岗位" in alone.get(reverse("delegations")).content.decode()


# --- Overdue ---


def test_what_is_overdue_is_put_before_the_overseer_until_it_is_done(db) -> None:
    overseer = factories.user("supervisor", wenzhou())
    other = factories.user("supervisor", factories.region("nantong"))
    worker = reviewer()
    late = task(1, due=TODAY - dt.timedelta(days=1), assignee=worker.username)
    task(2, due=TODAY)
    task(3, due=TODAY - dt.timedelta(days=9), stopped=True)
    task(4, due=None)
    watch = {"on": TODAY, "by": "system:beat", "at": AT}
    assert overdue.watch(**watch) == 1
    assert overdue.watch(**watch) == 0
    report = Task.objects.get(permission="tasks.oversee")
    assert (report.subject, report.due, report.url) == (late.subject, late.due, late.url)
    assert titles(overseer) == [report.title]
    assert titles(other) == []
    told = Notification.objects.order_by("user")
    assert {row.user for row in told} == {overseer, worker}
    assert Event.objects.filter(action="task.escalate", subject=late.subject).count() == 1
    tasks.close(subject=late.subject, permission=REVIEW, by="x", at=AT)
    report.refresh_from_db()
    assert report.state == "done"


def test_many_at_once_are_one_message(db) -> None:
    overseer = factories.user("supervisor", wenzhou())
    for number in range(3):
        task(number, due=TODAY - dt.timedelta(days=1 + number))
    overdue.watch(on=TODAY, by="system:beat", at=AT)
    told = Notification.objects.get(user=overseer)
    assert told.text.endswith("另有2项同时逾期")
    assert told.url == "/inbox/?when=late&office=1"
    client = factories.log_in(Client(), overseer)
    assert len(client.get(told.url).context["table"].rows) == 6  # the tasks and their reports


@pytest.mark.parametrize("change", [
    {"due": TODAY + dt.timedelta(days=5)}, {"stopped": True}, {"due": None, "due_unknown": 2027},
    {"state": "done"},
])  # fmt: skip
def test_a_report_ends_with_its_reason_and_may_come_again(db, change: dict) -> None:
    row = task(1, due=TODAY - dt.timedelta(days=1))
    watch = {"on": TODAY, "by": "system:beat", "at": AT}
    overdue.watch(**watch)
    Task.objects.filter(pk=row.pk).update(**change)
    overdue.watch(**watch)
    assert Task.objects.get(permission="tasks.oversee").state == "done"
    back = {"due": row.due, "stopped": False, "state": "open", "due_unknown": None}
    Task.objects.filter(pk=row.pk).update(**back)
    Task.objects.filter(pk=row.pk, escalated_at__isnull=False).update(escalated_at=None)
    assert overdue.watch(**watch) == 1


def test_a_new_step_ends_the_report(db) -> None:
    row = task(1, due=TODAY - dt.timedelta(days=1))
    overdue.watch(on=TODAY, by="system:beat", at=AT)
    fields = {"title": "下一步", "region_code": row.region_code, "due": TODAY}
    tasks.replace(subject=row.subject, by="x", at=AT, permission=REVIEW, status="待签约", **fields)
    opened = Task.objects.filter(state="open")
    assert [(found.title, found.escalated_at) for found in opened] == [("下一步", None)]


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


def test_an_overseer_records_and_ends_the_delegation_of_an_absent_colleague(db) -> None:
    absent, taker = reviewer(), reviewer()
    overseer = factories.user("signing_officer", wenzhou())
    client = factories.log_in(Client(), overseer)
    given = {"giver": absent.pk, "taker": taker.pk, "valid_from": TODAY, "valid_until": TODAY}
    assert client.post(reverse("delegations"), given).status_code == 302
    row = Delegation.objects.get()
    assert (row.giver, row.taker, row.recorded_by) == (absent, taker, overseer.username)
    assert str(absent) in client.get(reverse("delegations")).content.decode()
    other = factories.log_in(Client(), reviewer())
    assert other.post(reverse("delegation-end", args=[row.pk])).status_code == 404
    assert other.post(reverse("delegations"), given).status_code == 302
    assert Delegation.objects.latest("pk").giver != absent
    assert client.post(reverse("delegation-end", args=[row.pk])).status_code == 302
    row.refresh_from_db()
    assert row.ended_at is not None


def test_people_are_called_by_name_wherever_a_page_names_them(db, django_assert_num_queries):
    who = factories.user("reviewer", factories.region(), display_name="王审核")
    shown = {
        "timeline": [{"by": who.username, "text": who.username}, {"by": "client:demo"}, {"by": ""}],
        "facts": [{"label": "建立", "sub": inbox.Login(who.username)}], "total": 3,
    }  # fmt: skip
    with django_assert_num_queries(1):
        found = inbox.named(shown)
    assert found == {
        "timeline": [{"by": "王审核", "text": who.username}, {"by": "client:demo"}, {"by": ""}],
        "facts": [{"label": "建立", "sub": "王审核"}], "total": 3,
    }  # fmt: skip
    with django_assert_num_queries(0):
        assert inbox.named(None) is None
