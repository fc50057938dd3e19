"""Releases: four eyes, evidence bound to the text, immutability, one successor, loading again."""

import datetime as dt
import json
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction

from audit.models import Event
from pricing import commands
from pricing.models import Release
from pricing.releases import current

AT = dt.datetime(2026, 1, 5, 9, tzinfo=dt.UTC)
TEXT = (Path(__file__).parents[1] / "policies" / "invented-city.yaml").read_text(encoding="utf-8")
OPEN_TEXT = TEXT.replace("until: 2024-12-31", "until: null")
LATER = OPEN_TEXT.replace("from: 2022-03-01", "from: 2023-01-01").replace(
    "months: 2,", "months: 4,"
)

pytestmark = pytest.mark.django_db


def proof(release: Release) -> dict:
    return {"sm3": release.sm3, "cases": {"passed": 3, "failed": 0}}


def drafted(text: str = OPEN_TEXT, by: str = "甲") -> Release:
    return commands.draft(text=text, by=by, at=AT)


def published(text: str = OPEN_TEXT) -> Release:
    release = drafted(text)
    return commands.publish(release=release, evidence=proof(release), by="乙", at=AT)


def acts(release: Release) -> list[tuple[str, str]]:
    events = Event.objects.filter(subject=f"release:{release.pk}").order_by("at", "pk")
    return sorted((event.action, event.actor) for event in events)


def test_a_second_person_publishes_and_every_act_is_on_the_trail():
    release = published()
    assert (release.state, release.drafted_by, release.published_by) == ("published", "甲", "乙")
    assert acts(release) == [("release.draft", "甲"), ("release.publish", "乙")]
    event = Event.objects.get(action="release.publish")
    detail = json.loads(bytes(event.body))["detail"]
    assert (detail["sm3"], detail["evidence"]["cases"]["passed"]) == (release.sm3, 3)
    assert event.region_code == "990100"


@pytest.mark.parametrize("by", ["甲", "丙"])
def test_whoever_wrote_any_of_it_cannot_publish(by):
    release = drafted()
    release = commands.edit_draft(release=release, text=LATER, by="丙", at=AT)
    with pytest.raises(commands.ReleaseError, match="第二人"):
        commands.publish(release=release, evidence=proof(release), by=by, at=AT)


@pytest.mark.parametrize(
    ("evidence", "message"),
    [
        ({}, "SM3"),
        ({"sm3": "0" * 64, "cases": {"passed": 1, "failed": 0}}, "SM3"),
        ({"cases": {"passed": 1, "failed": 1}}, "failed"),
        ({"cases": {"passed": 0, "failed": 0}}, "passed"),
        ({"cases": None}, "passed"),
    ],
)
def test_evidence_must_be_of_this_text_and_passed(evidence, message):
    release = drafted()
    given = evidence if message == "SM3" else {"sm3": release.sm3} | evidence
    with pytest.raises(commands.ReleaseError, match=message):
        commands.publish(release=release, evidence=given, by="乙", at=AT)


def test_editing_a_draft_makes_its_evidence_worthless():
    release = drafted()
    evidence = proof(release)
    commands.edit_draft(release=release, text=LATER, by="甲", at=AT)
    with pytest.raises(commands.ReleaseError, match="SM3"):
        commands.publish(release=release, evidence=evidence, by="乙", at=AT)


def test_a_text_with_faults_may_be_a_draft_but_is_never_published():
    release = drafted(OPEN_TEXT.replace("ratio: 4000", "ratio: 40000"))
    with pytest.raises(commands.ReleaseError) as refused:
        commands.publish(release=release, evidence=proof(release), by="乙", at=AT)
    assert [p.path for p in refused.value.problems] == ["fund_pays/1/tiers/0/ratio"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "- 1",
        "kind: policy",
        "kind: policy\nslug: x\nregion: y\ndocument: z\neffective: {from: soon}",
    ],
)
def test_a_draft_must_say_what_it_is(text):
    with pytest.raises(commands.ReleaseError):
        drafted(text)


def test_a_later_release_ends_the_earlier_the_day_before():
    first, second = published(), published(LATER)
    first.refresh_from_db()
    assert (first.valid_until, second.valid_from) == (dt.date(2022, 12, 31), dt.date(2023, 1, 1))
    law = current()
    assert law.policy("invented", dt.date(2022, 12, 31)).id == first.pk
    assert law.policy("invented", dt.date(2023, 1, 1)).id == second.pk
    assert ("release.end", "乙") in acts(first)


def test_an_overlap_is_refused_in_words_and_by_the_database():
    published(TEXT)
    release = drafted(LATER)
    with pytest.raises(commands.ReleaseError, match="重叠"):
        commands.publish(release=release, evidence=proof(release), by="乙", at=AT)
    row = Release.objects.filter(state="published").values().get()
    row |= {"id": None, "valid_from": dt.date(2023, 6, 1)}
    with pytest.raises(IntegrityError, match="release_no_overlap"), transaction.atomic():
        Release.objects.create(**row)


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE pricing_release SET text = 'x'",
        "UPDATE pricing_release SET state = 'draft'",
        "UPDATE pricing_release SET valid_from = '2020-01-01'",
        "DELETE FROM pricing_release",
    ],
)
def test_a_published_release_never_changes(sql):
    published()
    with pytest.raises(IntegrityError, match="never changes"), transaction.atomic():
        connection.cursor().execute(sql)


def test_an_end_is_entered_once_with_its_document():
    release = published()
    with pytest.raises(commands.ReleaseError, match="文件"):
        commands.end(release=release, until=dt.date(2023, 5, 1), reference=" ", by="丙", at=AT)
    commands.end(
        release=release, until=dt.date(2023, 5, 1), reference="某〔2023〕1号", by="丙", at=AT
    )
    rules = current().rules("invented", dt.date(2023, 5, 2))
    assert rules.last_day == (dt.date(2023, 5, 1) - dt.date(1970, 1, 1)).days
    with pytest.raises(commands.ReleaseError, match="截止日"):
        commands.end(release=release, until=dt.date(2023, 6, 1), reference="某号", by="丙", at=AT)
    with pytest.raises(IntegrityError, match="never changes"), transaction.atomic():
        Release.objects.update(valid_until=dt.date(2023, 6, 1))


def test_the_database_wants_two_people():
    row = {"slug": "x", "kind": "policy", "region": "x", "document": "x", "title": "x", "text": "x",
           "sm3": "0", "valid_from": AT.date(), "state": "published", "drafted_by": "甲",
           "drafted_at": AT, "published_at": AT}  # fmt: skip
    for publisher in ("甲", ""):
        with pytest.raises(IntegrityError, match="second_person"), transaction.atomic():
            Release.objects.create(**row, published_by=publisher)


def test_an_act_without_a_name_does_not_happen():
    with pytest.raises(ValueError, match="name"):
        commands.draft(text=TEXT, by="", at=AT)
    assert not Release.objects.exists()


def test_loading_twice_changes_nothing():
    first = commands.load_shipped(by="甲", at=AT)
    events = Event.objects.count()
    second = commands.load_shipped(by="乙", at=AT)
    assert {entry.outcome for entry in first} == {"published"}
    assert {entry.outcome for entry in second} == {"unchanged"}
    assert (Release.objects.count(), Event.objects.count()) == (len(first), events)
    assert all(entry.release.drafted_by != entry.release.published_by for entry in first)


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "invented-city.yaml").write_text(OPEN_TEXT, encoding="utf-8")
    commands.load_shipped(by="甲", at=AT, folder=tmp_path)
    return tmp_path


def reload(folder: Path, text: str) -> commands.Loaded:
    (folder / "invented-city.yaml").write_text(text, encoding="utf-8")
    (loaded,) = commands.load_shipped(by="甲", at=AT, folder=folder)
    return loaded


def test_a_changed_file_for_past_days_waits_for_a_person(folder):
    changed = OPEN_TEXT.replace("months: 2,", "months: 4,")
    loaded = reload(folder, changed)
    assert (loaded.outcome, loaded.release.state) == ("draft", "draft")
    assert reload(folder, changed).outcome == "unchanged"
    assert (
        current().policy("invented", dt.date(2022, 6, 1)).policy.data["requires"][5]["months"] == 2
    )
    dated = changed.replace("from: 2022-03-01", "from: 2026-07-01")
    edited = commands.edit_draft(release=loaded.release, text=dated, by="丙", at=AT)
    assert reload(folder, changed).outcome == "unchanged"
    commands.publish(release=edited, evidence=proof(edited), by="丁", at=AT)
    assert Release.objects.published().count() == 2


def test_a_changed_file_for_days_to_come_is_published(folder):
    loaded = reload(folder, OPEN_TEXT.replace("from: 2022-03-01", "from: 2026-02-01"))
    assert (loaded.outcome, loaded.release.valid_from) == ("published", dt.date(2026, 2, 1))
    first = Release.objects.order_by("valid_from").first()
    assert first.valid_until == dt.date(2026, 1, 31)


def test_a_faulty_file_loads_nothing(tmp_path):
    (tmp_path / "a.yaml").write_text(OPEN_TEXT, encoding="utf-8")
    (tmp_path / "b.yaml").write_text(LATER.replace("ratio: 4000", "ratio: x"), encoding="utf-8")
    with pytest.raises(commands.ReleaseError, match=r"b.yaml:\d+: fund_pays"):
        commands.load_shipped(by="甲", at=AT, folder=tmp_path)
    assert not Release.objects.exists()


def test_the_command_says_what_it_did(capsys):
    call_command("load_policies")
    call_command("load_policies")
    lines = capsys.readouterr().out.splitlines()
    assert sum("：已发布" in line for line in lines) == len(lines) // 2
    assert sum("：已载入，无变化" in line for line in lines) == len(lines) // 2
