"""The only write path of the trail. An act whose event cannot be written does not happen."""

import datetime as dt
import hashlib
import json
import uuid
from contextvars import ContextVar

from django.db import connection
from django.db.models import Field

from audit import prepared
from audit.models import Checkpoint, Event

LEAF_PREFIX = b"\x00"
#: The network address that the present request came from; empty in tasks and commands.
ORIGIN: ContextVar[str] = ContextVar("origin", default="")


def canonical(body: dict) -> bytes:
    """Canonical UTF-8 JSON: sorted keys, no spaces, no floats. Bytes that are hashed and kept."""
    _refuse_floats(body)
    return json.dumps(
        body, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=_plain
    ).encode()


def _refuse_floats(value: object) -> None:
    """A float has no one spelling; JSON would take it without asking `_plain`."""
    if isinstance(value, float):
        raise TypeError("not allowed in a trail event: float")
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for part in value:
            _refuse_floats(part)


def _plain(value):
    if isinstance(value, dt.date | dt.datetime):
        return value.isoformat()
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    if isinstance(value, uuid.UUID):
        return str(value)
    raise TypeError(f"not allowed in a trail event: {type(value).__name__}")


def leaf_hash(body: bytes, alg: str = "sm3") -> bytes:
    """RFC 9162 leaf hash H(0x00 ‖ body) with the named algorithm (SM3 by default)."""
    return hashlib.new(alg, LEAF_PREFIX + body).digest()


def event_row(
    *,
    by: str,
    at: dt.datetime,
    action: str,
    subject: str,
    outcome: str = "ok",
    region_code: str = "",
    institution_code: str = "",
    person_hash: bytes | None = None,
    detail: dict | None = None,
) -> Event:
    """Build an event without storing it (batches insert many at once). Anonymous acts raise.

    Everything that events are searched by is in the body, which is sealed (`differing`). Within a
    request the body names its `origin` too. (GB/T 22239 安全审计 b)
    """
    if not by:
        raise ValueError("every act has a name on it")
    key = uuid.uuid4()
    origin = ORIGIN.get()
    body = canonical(
        {
            "id": key,
            "at": at.astimezone(dt.UTC),
            "actor": by,
            "action": action,
            "subject": subject,
            "outcome": outcome,
            "region": region_code,
            "institution": institution_code,
            "person": person_hash or b"",
            "detail": detail or {},
            **({"origin": origin} if origin else {}),
        }
    )
    return Event(
        id=key,
        at=at,
        actor=one_line(by, 150),
        action=action,
        subject=one_line(subject, 80),
        outcome=outcome,
        region_code=region_code,
        institution_code=institution_code,
        person_hash=person_hash,
        body=body,
        leaf=leaf_hash(body),
    )


#: Columns of texts and the names that the body gives them.
IN_BODY = {
    "actor": "actor",
    "action": "action",
    "subject": "subject",
    "outcome": "outcome",
    "region_code": "region",
    "institution_code": "institution",
}
NO_JSON = "body"


def differing(event: Event) -> list[str]:
    """Columns that do not say what the body says: whoever rewrites them hides acts from searches.

    Texts are compared as columns store them. Where the body names no person (older releases: `bound`)
    there is nothing to compare `person_hash` with.
    """
    said = said_of(event)
    if said is None:
        return [NO_JSON]
    wrong = [
        column
        for column, name in IN_BODY.items()
        if getattr(event, column) != one_line(str(said.get(name, "")), _longest(column))
    ]
    if said.get("id") != str(event.pk):
        wrong.append("id")
    if said.get("at") != event.at.astimezone(dt.UTC).isoformat():
        wrong.append("at")
    if said.get("person", _hex(event.person_hash)) != _hex(event.person_hash):
        wrong.append("person_hash")
    return wrong


def bound(event: Event) -> bool:
    """Whether the body says whose data the act was about; events of older releases do not."""
    return "person" in (said_of(event) or {})


def said_of(event: Event) -> dict | None:
    """What the body says; None when it is no JSON object (emptied, or rewritten)."""
    try:
        said = json.loads(bytes(event.body))
    except ValueError:
        return None
    return said if isinstance(said, dict) else None


def _hex(value: bytes | memoryview | None) -> str:
    return bytes(value or b"").hex()


def _longest(column: str) -> int:
    """How many characters a column of events keeps."""
    field = Event._meta.get_field(column)
    return (field.max_length or 0) if isinstance(field, Field) else 0


#: The insert of an event; `columns` fills it. Statements that write more may hold it in a CTE.
INSERT = """INSERT INTO audit_event (id, at, actor, action, subject, outcome, region_code,
        institution_code, person_hash, alg, body, leaf)
    VALUES (%(event_id)s, %(event_at)s, %(event_actor)s, %(event_action)s, %(event_subject)s,
        %(event_outcome)s, %(event_region_code)s, %(event_institution_code)s,
        %(event_person_hash)s, %(event_alg)s, %(event_body)s, %(event_leaf)s)"""
COLUMNS = tuple(field.attname for field in Event._meta.concrete_fields)


def columns(event: Event) -> dict[str, object]:
    """The values of INSERT."""
    return {f"event_{name}": getattr(event, name) for name in COLUMNS} | {"event_id": str(event.id)}


def record(**act) -> Event:
    """Append one event inside the caller's transaction; see `event_row` for the arguments."""
    event = event_row(**act)
    with connection.cursor() as cursor:
        prepared.execute(cursor, INSERT, columns(event))
    event._state.adding = False
    return event


def checkpoint() -> Checkpoint | None:
    """The newest signed checkpoint, which papers print; None before the first seal."""
    return Checkpoint.objects.select_related("key").order_by("-size", "-pk").first()


def one_line(text: str, limit: int) -> str:
    """Control and bidirectional characters are escaped: a name cannot forge a second line."""
    safe = "".join(c if c.isprintable() and c not in BIDI else f"\\u{ord(c):04x}" for c in text)
    return safe[:limit]


BIDI = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
