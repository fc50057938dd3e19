"""The published interface specification: made from the description, so it says what is served."""

import hashlib
import json
import re
from io import BytesIO

import pytest
import yaml
from django.conf import settings
from django.test import Client
from django.urls import reverse

from config.problems import TITLES
from institutions.shape import faults
from pricing.rules import VOCABULARY
from settlement import interface
from settlement.contract import CLAIM
from settlement.samples import report as sample
from tests import factories
from tests.settlement.hospital import Hospital

PAGE = "/public/interface/"
CHINESE = re.compile("[\u4e00-\u9fff]")


def page(url: str = PAGE, status: int = 200) -> str:
    reply = Client().get(url)
    assert reply.status_code == status
    return reply.content.decode()


def served() -> dict:
    return json.loads(Client().get(reverse("openapi")).content)


def calls() -> dict[str, tuple[str, str, dict]]:
    """Operation id → method, path, description, as the portal serves it."""
    return {
        told["operationId"]: (method.upper(), path, told)
        for path, methods in served()["paths"].items()
        for method, told in methods.items()
    }


# --- it is the real interface ---


def test_every_operation_is_shown_as_it_is_served(db):
    html = page()
    shown = {
        name: (method, path)
        for name, method, path in re.findall(
            r'<li id="([a-z_]+)">\s*<h3><span class="public-calls__method">([A-Z]+)</span>'
            r' <span class="code">([^<]+)</span>',
            html,
        )
    }
    assert shown == {name: told[:2] for name, told in calls().items()}


def test_every_operation_says_in_chinese_what_it_does_and_which_scope_it_needs(db):
    scopes = settings.OAUTH2_PROVIDER["SCOPES"]
    for one in interface.operations():
        assert CHINESE.search(one.summary), one.id
        assert one.scope in scopes, one.id
    assert len({one.summary for one in interface.operations()}) == len(calls())


@pytest.mark.parametrize(
    ("name", "scope"),
    [("claims_create", "claims:write"), ("claims_list", "claims:read"),
     ("agreements_list", "institution:read"), ("applications_evidence", "institution:write"),
     ("trials_create", "trial")],
)  # fmt: skip
def test_the_scope_is_the_one_that_the_portal_asks_for(db, name: str, scope: str):
    (found,) = [one for one in interface.operations() if one.id == name]
    assert found.scope == scope


def test_parameters_bodies_and_statuses_come_from_the_description(db):
    (told,) = [one for one in interface.operations() if one.id == "claims_create"]
    _, _, raw = calls()["claims_create"]
    assert told.sends == tuple(raw["requestBody"]["content"])
    assert [one["name"] for one in told.parameters] == [p["name"] for p in raw["parameters"]]
    assert {*told.refusals} == {status for status in raw["responses"] if status >= "400"}
    assert told.answers == ("201 application/json",)


def test_version_and_hash_are_those_of_the_description(db):
    described = served()
    text = json.dumps(described, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    html = page()
    assert hashlib.new("sm3", text.encode()).hexdigest() in html
    assert f">{described['info']['version']}<" in html
    assert f"OpenAPI {described['openapi']}" in html


# --- what is written by hand is held against it ---


def test_every_operation_came_with_a_version_and_the_newest_is_served(db):
    """A new or changed operation needs a line under `versions` of settlement/interface.yaml."""
    versions = interface.notes()["versions"]
    told = [name for row in versions for name in row["operations"]]
    assert sorted(told) == sorted(calls())
    assert versions[0]["version"] == served()["info"]["version"]
    assert all(row["changes"] for row in versions)


def test_every_group_and_fault_has_its_name(db):
    tags = {tag for _, _, told in calls().values() for tag in told["tags"]}
    assert set(interface.notes()["groups"]) == tags
    statuses = {int(s) for _, _, told in calls().values() for s in told["responses"] if s >= "400"}
    assert interface.notes()["faults"] == {
        status: TITLES[status][1][0] for status in sorted(statuses)
    }


def test_every_reason_code_is_explained(db):
    html = page()
    assert [rule.code for rule in VOCABULARY.values() if f">{rule.code}<" not in html] == []


def test_the_law_of_connecting_is_told_with_its_clauses(db):
    factories.policies("wenzhou")
    law = yaml.safe_load((factories.SHIPPED / "wenzhou-2021-6.yaml").read_text(encoding="utf-8"))
    html = page()
    times = law["procedures"]
    wanted = [law["document"], f"{times['rebuild']['months']} 个月内",
              f"{times['acceptance_test']['working_days']} 个工作日内",
              *(row["clause"] for row in law["platforms"] if row.get("published_by"))]  # fmt: skip
    assert [words for words in wanted if words not in html] == []


def test_nothing_is_promised_that_does_not_exist(db):
    assert not re.search("国家接口|国家平台接口|两定接口", page())


# --- samples ---


class Connection:
    """Calls of the sample reach this portal."""

    def __init__(self, host: str, timeout: int):
        assert (host, timeout > 0) == ("portal", True)

    def request(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> None:
        kind = headers.pop("Content-Type")
        self.reply = getattr(Client(), method.lower())(
            path, body, content_type=kind, headers=headers
        )

    def getresponse(self) -> BytesIO:
        return BytesIO(self.reply.content)


def test_the_sample_reports_a_claim_and_sends_it_again_unharmed(db, monkeypatch):
    monkeypatch.setattr(sample, "HTTPSConnection", Connection)
    factories.policies("nantong")
    hospital = Hospital()
    client = hospital.row.api_clients.get()
    token = sample.token_of("portal", client.client_id, "s" * 40)
    claim = hospital.body()
    answer = sample.report("portal", token, claim)
    assert (answer["claim_no"], answer["state"]) == (claim["claim_no"], "payable")
    assert sample.report("portal", token, claim)["id"] == answer["id"]
    refused = sample.report("portal", token, claim | {"lines": []})
    assert (refused["status"], refused["trace_id"] != "") == (422, True)


def test_the_sample_claim_fits_the_contract():
    claim = json.loads((interface.HERE / "samples" / "claim.json").read_text(encoding="utf-8"))
    assert list(faults(claim, CLAIM)) == []


def test_samples_are_shown_and_downloaded(db):
    html = page()
    for name in interface.SAMPLES:
        reply = Client().get(reverse("public-sample", args=[name]))
        assert reply.content == (interface.HERE / "samples" / name).read_bytes()
        assert name in reply["Content-Disposition"]
        assert reverse("public-sample", args=[name]) in html
    assert "没有名为“secret.py”的样例" in page(f"{PAGE}secret.py", status=404)


# --- how it is served ---


def test_it_is_for_everybody(db, django_assert_num_queries):
    reply = Client().get(PAGE)
    assert dict(reply.cookies) == {}
    assert "csrf" not in reply.content.decode()
    assert set(reply["Cache-Control"].split(", ")) == {"public", "max-age=300"}
    again = Client().get(PAGE, headers={"If-None-Match": reply["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    with django_assert_num_queries(1):  # version of the catalogue
        page()
    assert f'href="{PAGE}"' in page(reverse("account_login"))
