"""The trail keeps what was written: no changes, canonical bytes, safe names."""

import datetime as dt
import hashlib
import json
import uuid

import pytest
from django.db import DatabaseError, connection, transaction

from audit import trail
from audit.models import Event

AT = dt.datetime(2021, 12, 1, 9, 30, tzinfo=dt.timezone(dt.timedelta(hours=8)))
ACT = {"by": "clerk", "at": AT, "action": "claim.settle", "subject": "claim:7"}


@pytest.mark.django_db
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_event SET actor = 'nobody'",
        "UPDATE audit_event SET actor = 'nobody' WHERE false",
        "DELETE FROM audit_event",
        "TRUNCATE audit_event",
    ],
)
def test_the_application_cannot_change_the_trail(statement: str):
    event = trail.record(**ACT)
    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
    assert Event.objects.get(pk=event.pk).actor == "clerk"


@pytest.mark.django_db
@pytest.mark.parametrize("operation", ["UPDATE", "DELETE", "TRUNCATE"])
def test_the_trigger_stands_whatever_the_privileges(operation: str):
    """Refusal does not rest on privileges alone: the trigger covers every operation."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgname = 'audit_event_append_only'"
            " AND tgrelid = 'audit_event'::regclass AND tgenabled = 'O'"
        )
        (definition,) = cursor.fetchone()
    assert operation in definition
    assert "FOR EACH STATEMENT" in definition
    assert "refuse_change" in definition


@pytest.mark.django_db
def test_the_body_is_canonical_and_hashed_as_a_leaf():
    event = trail.record(**ACT, detail={"b": 1, "a": [dt.date(2021, 5, 1), b"\x0f"]})
    body = bytes(Event.objects.get(pk=event.pk).body)
    expected = (
        '{"action":"claim.settle","actor":"clerk","at":"2021-12-01T01:30:00+00:00",'
        f'"detail":{{"a":["2021-05-01","0f"],"b":1}},"id":"{event.pk}","institution":"",'
        '"outcome":"ok","person":"","region":"","subject":"claim:7"}'
    )
    assert body == expected.encode()
    assert bytes(event.leaf) == hashlib.new("sm3", b"\x00" + expected.encode()).digest()


def test_order_of_keys_does_not_matter_and_chinese_is_plain_utf8():
    assert trail.canonical({"乙": 1, "甲": "字"}) == trail.canonical({"甲": "字", "乙": 1})
    assert trail.canonical({"甲": "字"}) == '{"甲":"字"}'.encode()


@pytest.mark.parametrize("value", [1.5, object(), {1, 2}])
def test_what_has_no_one_spelling_is_refused(value: object):
    with pytest.raises((TypeError, ValueError)):
        trail.event_row(**ACT, detail={"value": value})


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("a\nb", "a\\u000ab"),
        ("a\r\tb", "a\\u000d\\u0009b"),
        ("evil\u202etxt", "evil\\u202etxt"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("bell\x07", "bell\\u0007"),
        ("欧阳 小明", "欧阳 小明"),
    ],
)
def test_a_name_cannot_forge_a_second_line(name: str, stored: str):
    event = trail.event_row(**(ACT | {"by": name, "subject": name}))
    assert (event.actor, event.subject) == (stored, stored)
    assert json.loads(event.body)["actor"] == name
    assert b"\n" not in bytes(event.body)


@pytest.mark.parametrize("by", ["", None])
def test_an_anonymous_act_raises(by: str | None):
    with pytest.raises(ValueError, match="name"):
        trail.event_row(**(ACT | {"by": by}))


@pytest.mark.django_db
def test_an_act_whose_event_cannot_be_written_does_not_happen():
    def two_acts() -> None:
        with transaction.atomic():
            trail.record(**ACT)
            trail.record(**(ACT | {"action": "x" * 61}))

    with pytest.raises(DatabaseError):
        two_acts()
    assert not Event.objects.exists()


def test_ids_are_new_each_time():
    assert len({trail.event_row(**ACT).pk for _ in range(3)} | {uuid.uuid4()}) == 4
