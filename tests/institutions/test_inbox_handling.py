"""Tasks in hands: taken, given back, assigned, delegated, overdue."""

import datetime as dt

import pytest
from django.test import Client
from django.urls import reverse

from audit import tasks
from audit.models import Event, Task
from institutions import duties, overdue
from institutions.inbox import Inbox, Wanted
from institutions.models import Delegation, Notification
from institutions.refusals import Refusal
from tests import factories
from tests.institutions.inbox import (
    AT,
    REVIEW,
    TODAY,
    county,
    reviewer,
    task,
    titles,
    wenzhou,
)


@pytest.fixture(autouse=True)
def _monday(settings) -> None:
    settings.DEMO_TODAY = TODAY


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
