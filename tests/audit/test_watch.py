"""The sealer stands still: an alarm, no closing of a month; it runs again: the alarm ends. By a fixed clock."""

import datetime as dt
import json

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from audit import clock, rounds, sealer, watch
from audit.models import Event, SealState, Task
from tests import factories
from tests.audit.sealing import AT, act, seal

STILL = dt.timedelta(seconds=300)


@pytest.fixture(autouse=True)
def own(settings, tmp_path, db):
    settings.SEAL_KEY_FILE = str(tmp_path / "seal.pem")
    settings.SEAL_STILL_SECONDS = 300
    act(1)
    seal()


def look(after: dt.timedelta) -> watch.Health:
    return watch.watch(by="system", at=AT + after, machine=AT + after)


def alarm() -> Task | None:
    return Task.objects.filter(subject=watch.SUBJECT, state="open").first()


@pytest.mark.parametrize(
    ("after", "waits", "still"),
    [(STILL, True, False), (STILL + dt.timedelta(seconds=1), True, True),
     (dt.timedelta(days=9), False, False)],
)  # fmt: skip
def test_it_stands_still_after_five_minutes_with_something_to_seal(after, waits: bool, still: bool):
    if waits:
        act(2)
    found = look(after)
    assert (found.waiting, found.still, alarm() is not None) == (waits, still, still)


def test_an_entry_without_its_checkpoint_waits_too(monkeypatch):
    """Events are sealed, but signing fails: that is no working sealer either."""
    act(2)
    with monkeypatch.context() as without:
        without.setenv("PATH", "/nonexistent")
        with pytest.raises(Exception, match="openssl"):
            seal()
    assert sealer.unsealed() == 0
    assert look(STILL * 2).still


def test_the_alarm_is_one_task_and_one_event_and_ends_when_it_runs():
    act(2)
    look(STILL * 2)
    look(STILL * 3)
    opened = alarm()
    assert (opened.permission, opened.clause) == ("trail.view", watch.CLAUSE)
    assert "15 分" in opened.title
    seal(30)
    look(dt.timedelta(minutes=31))
    assert alarm() is None
    acts = (
        Event.objects.filter(subject=watch.SUBJECT).order_by("at").values_list("action", "outcome")
    )
    assert list(acts) == [("trail.still", "failed"), ("trail.runs", "ok")]


def test_a_month_is_not_closed_until_it_runs(monkeypatch):
    act(2)
    monkeypatch.setattr(clock, "machine", lambda: AT + STILL * 2)
    ((code, sentence),) = watch.hinders_closing(None)
    assert (code, "已停 10 分" in sentence) == ("TRAIL_NOT_SEALED", True)
    seal(10)
    assert watch.hinders_closing(None) == []


def test_closing_asks_the_watch(settings):
    assert "audit.watch.hinders_closing" in settings.PERIOD_CLOSE_CHECKS


def test_the_pages_and_healthz_tell(monkeypatch):
    client = factories.log_in(Client(), factories.user("auditor", factories.region("nantong")))
    act(2)
    monkeypatch.setattr(clock, "machine", lambda: AT + STILL * 2)
    for name in ("trail", "checkpoints"):
        assert "留痕封存已停 10 分" in client.get(reverse(name)).content.decode()
    told = json.loads(Client().get(reverse("healthz")).content)
    assert told["trail"] == "still"
    seal(10)
    assert "留痕封存已停" not in client.get(reverse("trail")).content.decode()
    assert json.loads(Client().get(reverse("healthz")).content)["trail"] == "ok"


def test_the_command_tells_a_watchdog(monkeypatch, capsys):
    act(2)
    monkeypatch.setattr(clock, "machine", lambda: AT + STILL * 2)
    with pytest.raises(CommandError, match="留痕封存已停"):
        call_command("seal", check=True)
    call_command("seal")
    call_command("seal", check=True)
    assert "日志共 2 条" in capsys.readouterr().out


def test_beat_seals_watches_and_looks_at_everything(settings, monkeypatch):
    names = {entry["task"] for entry in settings.CELERY_BEAT_SCHEDULE.values()}
    assert {rounds.seal.name, rounds.watch_seal.name, rounds.seal_everything.name} <= names
    assert settings.CELERY_BEAT_SCHEDULE["seal"]["schedule"] <= 20
    act(2)
    rounds.seal()
    assert sealer.unsealed() == 0
    act(3)
    SealState.objects.update(upper=2**40, open=[])
    rounds.seal()
    assert sealer.unsealed() == 1
    rounds.seal_everything()
    assert sealer.unsealed() == 0
    monkeypatch.setattr(clock, "machine", lambda: AT + dt.timedelta(days=999))
    act(4)
    SealState.objects.update(ran_at=AT)
    rounds.watch_seal()
    assert alarm() is not None


@pytest.mark.parametrize(
    ("role", "page"),
    [("audit_admin", "trail"), ("auditor", "trail"), ("supervisor", "trail"),
     ("system_admin", "system-status"), ("auditor", "inbox"), ("supervisor", "inbox")],
)  # fmt: skip
def test_whoever_has_to_act_sees_the_alarm(role: str, page: str, monkeypatch):
    """The audit administrator and the system administrator have no inbox: their first page says it."""
    act(2)
    look(STILL * 2)
    monkeypatch.setattr(clock, "machine", lambda: AT + STILL * 2)
    place = None if role == "system_admin" else factories.region("nantong")
    reader = factories.log_in(Client(), factories.user(role, place))
    answer = reader.get(reverse(page))
    assert "留痕封存已停 10 分" in answer.content.decode()
    if page != "inbox":
        seal(10)
        assert "留痕封存已停" not in reader.get(reverse(page)).content.decode()
