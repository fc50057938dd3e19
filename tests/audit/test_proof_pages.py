"""Pages and addresses of the sealed log: search by person, proofs, checkpoints, bundles, what is public."""

import datetime as dt
import json
import re

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from audit import merkle, notes, proof_views, proofs, trail, verify
from audit.models import Event
from institutions import crypto
from tests import factories
from tests.audit.sealing import AT, act, seal

NUMBER = "999999197404010126"


@pytest.fixture(autouse=True)
def own(settings, tmp_path, db):
    settings.SEAL_KEY_FILE = str(tmp_path / "seal.pem")


@pytest.fixture
def auditor() -> Client:
    return factories.log_in(Client(), factories.user("auditor", factories.region("nantong")))


def bundle(client: Client, tmp_path, **query: str) -> tuple[int, str]:
    reply = client.post(reverse("trail-bundle"), query)
    path = tmp_path / "bundle.jsonl"
    path.write_bytes(b"".join(reply.streaming_content))
    return verify.verify(path)


# --- search ---


def test_a_person_is_found_by_the_number_which_stays_out_of_the_address(auditor: Client):
    act(1, person_hash=crypto.person_hash(NUMBER))
    act(2)
    answer = auditor.post(reverse("trail-person"), {"credential": f" {NUMBER.lower()} "})
    assert NUMBER not in answer["Location"]
    table = auditor.get(answer["Location"]).context["table"]
    assert [row.cells[3].sub for row in table.rows] == ["claim:1"]


def test_looking_for_a_person_is_an_event_about_that_person(auditor: Client):
    digest = crypto.person_hash(NUMBER)
    auditor.get(reverse("trail"), {"person": digest.hex()})
    event = Event.objects.get(action="trail.person")
    assert bytes(event.person_hash) == digest
    assert NUMBER not in bytes(event.body).decode()
    auditor.get(reverse("trail"))
    assert Event.objects.filter(action="trail.person").count() == 1


@pytest.mark.parametrize("number", ["", "1", "999999197404010127"])
def test_what_is_no_number_is_told(auditor: Client, number: str):
    answer = auditor.post(reverse("trail-person"), {"credential": number}, follow=True)
    assert answer.redirect_chain == [(reverse("trail"), 302)]
    assert answer.context["messages"]


def test_an_action_is_chosen_by_its_chinese_word(auditor: Client):
    """Codes that are called the same are found together."""
    act(1, action="batch.confirm", subject="batch:1")
    act(2, action="batch.confirmed", subject="batch:2")
    act(3, action="batch.pause", subject="batch:3")
    page = auditor.get(reverse("trail"), {"action": "batch.confirm"})
    assert [row.cells[3].sub for row in page.context["table"].rows] == ["batch:2", "batch:1"]
    assert re.search(
        r'<optgroup label="批次">.*?<option value="batch.confirm" selected>确认提交',
        page.content.decode(),
        re.DOTALL,
    )


# --- one event ---


def test_an_event_shows_its_place_and_its_proof(auditor: Client):
    events = [act(number) for number in range(5)]
    seal()
    page = auditor.get(reverse("trail-event", args=[events[3].pk]), {"check": "1"})
    assert (page.context["whole"], page.context["signed"], len(page.context["way"])) == (
        True,
        True,
        3,
    )
    assert "校验通过" in page.content.decode()


def test_an_event_that_waits_says_so(auditor: Client):
    page = auditor.get(reverse("trail-event", args=[act(1).pk]))
    assert "待封存" in page.content.decode()


def test_a_signature_that_does_not_fit_is_told(auditor: Client, monkeypatch):
    event = act(1)
    seal()
    monkeypatch.setattr(notes, "verify", lambda note, pem: False)
    text = auditor.get(reverse("trail-event", args=[event.pk]), {"check": "1"}).content.decode()
    assert "校验未通过" in text


# --- checkpoints ---


def test_checkpoints_are_listed_and_two_of_them_compared(auditor: Client):
    for number in range(6):
        act(number)
        seal(number)
    page = auditor.get(reverse("checkpoints"), {"old": "2", "new": "5"})
    assert [row.cells[0].text for row in page.context["table"].rows] == [
        "6",
        "5",
        "4",
        "3",
        "2",
        "1",
    ]
    assert page.context["compared"]["ok"] is True
    assert "较晚的日志以较早的 2 条为开头" in page.content.decode()


@pytest.mark.parametrize(("old", "new"), [("5", "2"), ("3", "9"), ("x", "2"), ("", "2")])
def test_sizes_that_were_not_signed_are_refused(auditor: Client, old: str, new: str):
    for number in range(5):
        act(number)
        seal(number)
    page = auditor.get(reverse("checkpoints"), {"old": old, "new": new})
    assert (page.status_code, page.context["compared"]) == (200, None)
    assert page.context["form"].errors


def test_a_signed_text_is_given_as_it_is(auditor: Client):
    act(1)
    found = seal().checkpoint
    reply = auditor.get(reverse("checkpoint", args=[1]))
    assert reply.content.decode() == found.text
    assert auditor.get(reverse("checkpoint", args=[2])).status_code == 404


# --- bundles ---


def test_what_a_query_finds_is_exported_with_proofs_and_recorded(auditor: Client, tmp_path):
    for number in range(7):
        act(number, by="clerk.two" if number in (2, 5) else "clerk.one")
    seal()
    status, _ = bundle(auditor, tmp_path, actor="clerk.two")
    lines = [json.loads(line) for line in (tmp_path / "bundle.jsonl").read_text().splitlines()]
    assert (status, [line["seq"] for line in lines if "seq" in line]) == (verify.OK, [2, 5])
    detail = json.loads(bytes(Event.objects.get(action="trail.bundle").body))["detail"]
    assert detail == {"query": {"actor": "clerk.two"}, "entries": 2, "checkpoint": 7}


def test_nothing_outside_the_scope_is_exported(auditor: Client, tmp_path):
    act(1)
    act(2, region_code="330302", institution_code="H33030200001")
    seal()
    bundle(auditor, tmp_path)
    text = (tmp_path / "bundle.jsonl").read_text()
    assert ("claim:1" in text, "claim:2" in text) == (True, False)


def test_one_event_is_exported_by_its_key(auditor: Client, tmp_path):
    events = [act(number) for number in range(4)]
    seal()
    assert bundle(auditor, tmp_path, event=str(events[2].pk))[0] == verify.OK
    assert (tmp_path / "bundle.jsonl").read_text().count('"seq"') == 1


def test_a_bundle_proves_the_growth_from_an_older_checkpoint(auditor: Client, tmp_path):
    """The number that is printed on a paper goes into the form, its signed text to the verifier."""
    act(1)
    act(2)
    kept = tmp_path / "kept.txt"
    kept.write_text(seal().checkpoint.text, encoding="utf-8")
    act(3)
    seal(5)
    assert 'name="older"' in auditor.get(reverse("trail")).content.decode()
    path = tmp_path / "bundle.jsonl"
    assert bundle(auditor, tmp_path, actor="clerk.one")[0] == verify.OK
    assert verify.verify(path, None, [kept])[0] == verify.NOT_COMPARABLE
    assert bundle(auditor, tmp_path, actor="clerk.one", older="2")[0] == verify.OK
    assert verify.verify(path, None, [kept])[0] == verify.OK
    kinds = [json.loads(bytes(e.body))["detail"].get("older")
             for e in Event.objects.filter(action="trail.bundle")]  # fmt: skip
    assert sorted(map(str, kinds)) == ["None", "[2]"]


@pytest.mark.parametrize("older", ["7", "0", "x", "-2"])
def test_a_size_that_was_never_signed_is_told_at_the_form(auditor: Client, older: str):
    act(1)
    seal()
    query = {"actor": "clerk.one", "older": older}
    answer = auditor.post(reverse("trail-bundle"), query, follow=True)
    assert answer.redirect_chain == [(f"{reverse('trail')}?actor=clerk.one", 302)]
    assert "较早检查点：" in answer.content.decode()
    assert not Event.objects.filter(action="trail.bundle").exists()


def test_an_export_that_would_leave_something_out_is_refused(auditor: Client, monkeypatch):
    """The newest hit waits for the sealer: it counts like the others."""
    monkeypatch.setattr(proof_views, "MOST", 2)
    for number in range(2):
        act(number)
    seal()
    whole = auditor.post(reverse("trail-bundle"), {"subject": "claim:"})
    assert (whole.status_code, b"".join(whole.streaming_content).count(b'"seq"')) == (200, 2)
    act(3)
    assert auditor.post(reverse("trail-bundle"), {"subject": "claim:"}).status_code == 403


def test_an_export_that_cannot_be_proven_is_told_and_not_recorded(auditor: Client, monkeypatch):
    for number in range(3):
        act(number)
    seal()

    def lost(*args: object, **more: object) -> None:
        raise proofs.MissingNodeError("gone")

    monkeypatch.setattr(proofs, "inclusions", lost)
    answer = auditor.post(reverse("trail-bundle"), {"subject": "claim:"}, follow=True)
    assert "日志缺少计算证明所需的哈希" in answer.content.decode()
    assert answer.redirect_chain == [(f"{reverse('trail')}?subject=claim%3A", 302)]
    assert not Event.objects.filter(action="trail.bundle").exists()


def test_before_the_first_checkpoint_there_is_nothing_to_export(auditor: Client):
    act(1)
    assert auditor.post(reverse("trail-bundle")).status_code == 404


@pytest.mark.parametrize("asked", [{}, {"region": "3206"}, {"actor": "clerk.one"}])
def test_the_command_exports_all_or_a_choice(tmp_path, asked: dict):
    for number in range(5):
        act(number)
    seal()
    path = tmp_path / "all.jsonl"
    call_command("bundle", str(path), by="admin", **asked)
    assert verify.verify(path)[0] == verify.OK
    assert path.read_text().count('"seq"') == 5
    with pytest.raises(CommandError):
        call_command("bundle", str(path), by="admin", since="never")


# --- for everybody ---


def test_everybody_may_keep_the_newest_checkpoint_and_the_key():
    assert Client().get(reverse("public-checkpoint")).status_code == 404
    act(1)
    found = seal().checkpoint
    text = Client().get(reverse("public-checkpoint")).content.decode()
    pem = Client().get(reverse("public-seal-key")).content.decode()
    assert text == found.text
    assert pem == f"# {found.key} sm2-sm3\n{found.key.pem}"
    assert notes.verify(notes.parse(text), found.key.pem)


def test_the_verifier_is_given_away():
    text = Client().get(reverse("public-verifier")).content.decode()
    assert "def verify(path" in text
    assert not re.search(r"^(from|import) (django|audit)", text, re.MULTILINE)


# --- for programs of auditors ---


def test_proofs_by_address_hold(auditor: Client):
    events = [act(number) for number in range(6)]
    first = seal().checkpoint
    act(6)
    newest = seal(1).checkpoint
    told = auditor.get(reverse("api-inclusion"), {"event": str(events[4].pk)}).json()
    assert merkle.included(
        bytes.fromhex(told["leaf"]), told["index"], told["checkpoint"]["size"],
        [bytes.fromhex(part) for part in told["proof"]], bytes(newest.root),
    )  # fmt: skip
    told = auditor.get(reverse("api-consistency"), {"old": "6"}).json()
    assert merkle.consistent(
        6, 7, bytes(first.root), bytes(newest.root),
        [bytes.fromhex(part) for part in told["proof"]],
    )  # fmt: skip
    assert auditor.get(reverse("api-checkpoint")).json()["size"] == 7
    rows = auditor.get(reverse("api-checkpoints"), {"after": "6"}).json()
    assert [row["size"] for row in rows["checkpoints"]] == [7]


@pytest.mark.parametrize(
    ("name", "query"),
    [("api-inclusion", {"event": "x"}), ("api-inclusion", {}), ("api-consistency", {"old": "5"}),
     ("api-consistency", {}), ("api-consistency", {"old": "-1"}), ("api-checkpoints", {"after": "x"})],
)  # fmt: skip
def test_what_is_not_there_is_not_found(auditor: Client, name: str, query: dict):
    act(1)
    seal()
    assert auditor.get(reverse(name), query).status_code == 404


def test_a_body_that_is_no_json_is_given_as_none(auditor: Client, monkeypatch):
    event = act(1)
    seal()
    monkeypatch.setattr(trail, "said_of", lambda row: None)
    given = auditor.get(reverse("api-inclusion"), {"event": str(event.pk)})
    assert (given.status_code, given.json()["body"]) == (200, None)


def test_a_proof_of_another_region_s_event_is_not_found(auditor: Client):
    event = act(1, region_code="330302", institution_code="H33030200001")
    seal()
    query = {"event": str(event.pk)}
    assert auditor.get(reverse("api-inclusion"), query).status_code == 404


def test_dates_of_a_query_are_those_of_shanghai(auditor: Client):
    act(1, at=dt.datetime(2021, 12, 1, 17, tzinfo=dt.UTC))
    rows = auditor.get(reverse("trail"), {"since": "2021-12-02"}).context["table"].rows
    assert len(rows) == 1
    assert AT.date() == dt.date(2021, 12, 1)
