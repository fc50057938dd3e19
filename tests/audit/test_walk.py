"""What `check_trail` recomputes beside leaves and roots; who is told of an event that was altered before sealing."""

import hashlib
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from audit import proven, sealer, trail, watch
from audit.models import Event, Task
from tests import factories
from tests.audit.sealing import AT, act, seal, superuser


@pytest.fixture
def log(committed_db, settings, tmp_path) -> Path:
    """Thirteen entries under two checkpoints."""
    settings.SEAL_KEY_FILE = str(tmp_path / "seal.pem")
    for number in range(13):
        act(number)
        if number == 7:
            seal(60)
    seal(61)
    return tmp_path


@pytest.mark.parametrize(
    ("statement", "where"),
    [
        ("UPDATE audit_node SET hash = sha256('') WHERE level = 1 AND idx = 2", "第 4 至 5 条的节点哈希"),
        ("DELETE FROM audit_node WHERE level = 3 AND idx = 0", "第 0 至 7 条的节点哈希"),
        ("DELETE FROM audit_node WHERE level = 2", "第 0 至 3 条的节点哈希.*另有 2 个"),
    ],
)  # fmt: skip
def test_kept_hashes_of_subtrees_are_computed_anew(log, statement: str, where: str) -> None:
    """Proofs are made of them; leaves and checkpoints are as they were."""
    call_command("check_trail")
    with superuser() as cursor:
        cursor.execute(statement)
    with pytest.raises(CommandError, match=f"不一致 1 处，第一处：{where}"):
        call_command("check_trail")


def test_every_signature_is_checked_on_demand(log) -> None:
    with superuser() as cursor:
        cursor.execute(
            "UPDATE audit_checkpoint SET text = replace(text, 'at 2021', 'at 2020') WHERE size = 8"
        )
    assert proven.walk().faults == ()
    with pytest.raises(CommandError, match="不一致 1 处，第一处：检查点 8 的签名无效"):
        call_command("check_trail", signatures=True)


@pytest.fixture
def altered(db, settings, tmp_path) -> Event:
    """An event whose body was changed before it was sealed; sealed now."""
    settings.SEAL_KEY_FILE = str(tmp_path / "seal.pem")
    event = trail.event_row(by="clerk", at=AT, action="claim.receive", subject="claim:1")
    event.leaf = hashlib.new("sm3", b"other").digest()
    event.save(force_insert=True)
    seal()
    return event


def test_an_altered_event_is_an_alarm_until_somebody_says_what_was_found(altered) -> None:
    task = Task.objects.get(subject=sealer.ALTERED)
    assert (task.permission, task.state, task.clause) == ("trail.view", "open", sealer.CLAUSE)
    sentence = f"封存时发现 1 条操作记录的正文被改动，第一条 {altered.pk}；请保存现场并核查"
    assert task.title == sentence
    admin = factories.user("audit_admin", factories.region("nantong"))
    client = factories.log_in(Client(), admin)
    for name in ("trail", "checkpoints"):
        assert sentence in client.get(reverse(name)).content.decode()
    ending = reverse("trail-altered")
    assert "请写明核查结果" in client.post(ending, {"note": " "}, follow=True).content.decode()
    assert watch.altered() == sentence
    page = client.post(ending, {"note": "数据库主机被入侵，已隔离"}, follow=True).content.decode()
    assert ("核查结果已写入留痕" in page, sentence in page) == (True, False)
    task.refresh_from_db()
    assert (task.state, task.closed_by) == ("done", admin.username)
    event = Event.objects.get(action="trail.explained")
    assert trail.said_of(event)["detail"] == {"note": "数据库主机被入侵，已隔离"}
    client.post(ending, {"note": "再一次"})
    assert Event.objects.filter(action="trail.explained").count() == 1


def test_only_who_may_see_the_trail_ends_the_alarm(altered) -> None:
    clerk = factories.log_in(
        Client(), factories.user("settlement_clerk", factories.region("nantong"))
    )
    assert clerk.post(reverse("trail-altered"), {"note": "x"}).status_code == 403
    assert watch.altered()
