"""The pages of the trail: scope, filters, cursor pages, hashes on screen, exports."""

import csv
import datetime as dt
import io
import json

import pytest
from django.test import Client
from django.urls import reverse

from audit import cursor, trail
from audit.models import Event
from institutions import crypto
from tests import factories

FIRST = dt.datetime(2021, 6, 1, 1, tzinfo=dt.UTC)
NANTONG = {"region_code": "320613", "institution_code": "H32061300001"}


def act(number: int = 0, **more: object) -> Event:
    return trail.record(**({
        "by": "clerk.one", "at": FIRST + dt.timedelta(minutes=number), "action": "claim.settle",
        "subject": f"claim:{number}", **NANTONG} | more))  # fmt: skip


@pytest.fixture
def auditor(db) -> Client:
    return factories.log_in(Client(), factories.user("auditor", factories.region("nantong")))


def found(client: Client, **query: str) -> list[str]:
    """The subjects (as codes) that a query shows."""
    table = client.get(reverse("trail"), query).context["table"]
    return [row.cells[3].sub for row in table.rows]


@pytest.mark.parametrize(
    ("query", "subjects"),
    [
        ({}, ["claim:3", "release:9", "claim:1", "claim:0"]),
        ({"actor": "clerk.two"}, ["claim:3"]),
        ({"action": "claim.settle"}, ["claim:3", "claim:1", "claim:0"]),
        ({"subject": "release:"}, ["release:9"]),
        ({"subject": "claim"}, ["claim:3", "claim:1", "claim:0"]),
        ({"subject": "claim:"}, ["claim:3", "claim:1", "claim:0"]),
        ({"subject": "claim:1"}, ["claim:1"]),
        ({"institution": "H32061300001"}, ["claim:3", "claim:1", "claim:0"]),
        ({"outcome": "refused"}, ["claim:3"]),
        ({"since": "2021-06-02"}, ["claim:3"]),
        ({"until": "2021-06-01"}, ["release:9", "claim:1", "claim:0"]),
        ({"since": "2021-06-02", "until": "2021-06-01"}, []),
        ({"since": "yesterday"}, []),
        ({"cursor": "nonsense"}, ["claim:3", "release:9", "claim:1", "claim:0"]),
    ],
)
def test_what_a_query_finds(auditor: Client, query: dict, subjects: list[str]):
    act(0)
    act(1)
    act(2, action="release.publish", subject="release:9", institution_code="")
    act(
        3, by="clerk.two", outcome="refused", at=FIRST + dt.timedelta(hours=15)
    )  # 2 June in Shanghai
    act(4, region_code="330302", institution_code="H33030200001", subject="claim:elsewhere")
    assert found(auditor, **query) == subjects


def test_a_subject_is_found_with_its_parts_and_without_its_neighbours(auditor: Client):
    for number, subject in enumerate(("batch:1", "batch:1/2", "batch:12", "batch:12/1")):
        act(number, subject=subject)
    assert found(auditor, subject="batch:1") == ["batch:1/2", "batch:1"]
    assert found(auditor, subject="batch:12/") == ["batch:12/1"]


def test_cursor_pages_lead_there_and_back(auditor: Client):
    for number in range(45):
        act(number, at=FIRST)  # the same moment: only the key orders them
    rows = Event.objects.all()
    first = cursor.page(rows, size=20)
    second = cursor.page(rows, cursor=first.next, size=20)
    last = cursor.page(rows, cursor=second.next, size=20)
    back = cursor.page(rows, cursor=last.previous, size=20)
    seen = [event.pk for page in (first, second, last) for event in page.rows]
    assert len(set(seen)) == 45
    assert (first.previous, last.next) == (None, None)
    assert [e.pk for e in back.rows] == [e.pk for e in second.rows]
    assert [e.pk for e in cursor.page(rows, cursor=back.previous, size=20).rows] == seen[:20]
    page = auditor.get(reverse("trail"), {"actor": "clerk.one"})
    assert "actor=clerk.one&amp;cursor=" in page.content.decode()


def test_an_event_shows_its_hash_as_matching(auditor: Client):
    event = act(5, detail={"note": "第一行\n第二行\u202e", "markup": "<script>"})
    page = auditor.get(reverse("trail-event", args=[event.pk]))
    text = page.content.decode()
    assert page.context["whole"] is True
    assert bytes(event.leaf).hex() in text
    assert "第一行\\n第二行\\u202e" in text
    assert "&lt;script&gt;" in text
    assert "\u202e" not in text


OTHER = {"leaf": b"\x00" * 32, "person_hash": b"\x07" * 32, "at": FIRST + dt.timedelta(days=400)}
SEARCHED = {"actor": "操作人", "action": "动作", "subject": "对象", "outcome": "结果",
            "region_code": "区域", "at": "时间", "person_hash": "参保人哈希"}  # fmt: skip


@pytest.mark.parametrize("column", ["leaf", *SEARCHED])
def test_an_event_that_was_tampered_with_is_told(auditor: Client, column: str):
    event = trail.event_row(
        by="clerk", at=FIRST, action="claim.settle", subject="claim:1",
        person_hash=crypto.person_hash("999999197404010126"), **NANTONG,
    )  # fmt: skip
    setattr(event, column, OTHER.get(column, "3206"))
    event.save(force_insert=True)
    page = auditor.get(reverse("trail-event", args=[event.pk]))
    assert page.context["whole"] is False
    assert "核对不一致" in page.content.decode()
    assert page.context["faults"] == (
        f"字段与正文不符（{SEARCHED[column]}）" if column in SEARCHED else "正文与叶哈希不符"
    )


def test_a_person_s_hash_taken_out_of_the_column_is_told(auditor: Client):
    """Without it the search by person no longer finds that somebody looked."""
    event = trail.event_row(by="clerk", at=FIRST, action="claim.read", subject="claim:1",
                            person_hash=b"\x05" * 32, **NANTONG)  # fmt: skip
    event.person_hash = None
    event.save(force_insert=True)
    page = auditor.get(reverse("trail-event", args=[event.pk]))
    assert page.context["faults"] == "字段与正文不符（参保人哈希）"


def test_an_event_of_an_older_release_is_told_as_not_bound(auditor: Client):
    """Its body has no person: there is nothing to compare, and nothing is broken."""
    event = trail.event_row(by="clerk", at=FIRST, action="claim.read", subject="claim:1",
                            person_hash=b"\x05" * 32, **NANTONG)  # fmt: skip
    said = json.loads(bytes(event.body))
    del said["person"]
    event.body = trail.canonical(said)
    event.leaf = trail.leaf_hash(event.body)
    event.save(force_insert=True)
    page = auditor.get(reverse("trail-event", args=[event.pk]))
    assert (page.context["whole"], "该字段未绑定" in page.content.decode()) == (True, True)
    page = auditor.get(reverse("trail-event", args=[act(2).pk]))
    assert (page.context["whole"], "该字段未绑定" in page.content.decode()) == (True, False)


def test_csv_has_one_line_per_event_and_runs_no_formula(auditor: Client):
    act(1, by="=cmd|'/c calc'!A1", subject="line\nbreak")
    reply = auditor.get(reverse("trail-export", args=["csv"]), {"action": "claim.settle"})
    text = b"".join(reply.streaming_content).decode("utf-8")
    rows = list(csv.reader(io.StringIO(text.removeprefix("\ufeff"))))
    assert text.startswith("\ufeff")
    assert [row[1:4] for row in rows[1:]] == [
        ["'=cmd|'/c calc'!A1", "claim.settle", "line\\u000abreak"]
    ]


def test_json_lines_carry_what_a_verifier_needs(auditor: Client):
    events = [act(2), act(1)]
    reply = auditor.get(reverse("trail-export", args=["jsonl"]), {"action": "claim.settle"})
    lines = [json.loads(line) for line in b"".join(reply.streaming_content).splitlines()]
    assert [line["leaf"] for line in lines] == [bytes(event.leaf).hex() for event in events]
    assert [trail.leaf_hash(line["body"].encode()).hex() for line in lines] == [
        line["leaf"] for line in lines
    ]


def test_an_export_is_recorded_itself(auditor: Client):
    b"".join(auditor.get(reverse("trail-export", args=["csv"]), {"actor": "x"}).streaming_content)
    event = Event.objects.get(action="trail.export")
    assert json.loads(bytes(event.body))["detail"] == {
        "format": "csv", "query": {"actor": "x"}, "scope": "R:3206"}  # fmt: skip


@pytest.mark.parametrize("kind", ["csv", "xlsx"])
def test_an_unknown_export_is_not_found(auditor: Client, kind: str):
    query = {"since": "never"} if kind == "csv" else {}
    assert auditor.get(reverse("trail-export", args=[kind]), query).status_code == 404


def test_the_number_of_queries_does_not_grow(auditor: Client, django_assert_num_queries):
    for number in range(30):
        act(number)
    with django_assert_num_queries(QUERIES):
        auditor.get(reverse("trail"))


#: session, user, scope and back, the header's place, what waits, saving, two transactions (11); the
#: events, the sealer's last run and an alarm of altered events (3), what their people, areas and institutions are called (3)
QUERIES = 17


def test_people_and_places_are_called_by_name_with_their_codes_below(auditor: Client):
    who = factories.user("settlement_clerk", factories.region("nantong"), display_name="王结算")
    place = factories.institution("nantong")
    event = act(1, by=who.username, institution_code=place.code, region_code=place.region_id)
    cells = auditor.get(reverse("trail"), {"actor": who.username}).context["table"].rows[0].cells
    assert (cells[1].text, cells[1].sub) == ("王结算", who.username)
    assert (cells[5].text, cells[5].sub) == (place.name, place.code)
    facts = {
        f["label"]: f for f in auditor.get(reverse("trail-event", args=[event.pk])).context["facts"]
    }
    assert facts["操作人"] == {"label": "操作人", "value": "王结算", "sub": who.username}
    assert facts["区域"]["value"] == place.region.name
