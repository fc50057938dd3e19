"""The API's description: OpenAPI 3.1, pages without foreign sources, and calls made up from it."""

import json
import re
from collections.abc import Iterator

import pytest
import schemathesis
from django.test import Client
from hypothesis import HealthCheck, Phase, given, settings

from config.wsgi import application
from tests import factories
from tests.settlement.hospital import URL, Hospital, forget_databases

PROBLEM = "application/problem+json"
MADE_UP = 15  #: calls per operation
OURS = re.compile(
    r"/api/v1/(claims|encounters|batches|trials|prescriptions|dispensings|deliveries|payments"
    r"|consultations|lines|line-bills|entitlements|institution|agreements|applications)"
)
CLAIMS = re.compile(r"/api/v1/(claims|encounters)")


@pytest.fixture
def hospital(committed_db: str) -> Iterator[Hospital]:
    forget_databases()
    factories.policies("nantong")
    yield Hospital()
    forget_databases()


def test_the_description_is_complete(db) -> None:
    answer = Client().get("/api/v1/openapi.json")
    described = answer.json()
    assert described["openapi"].startswith("3.1")
    paths = {
        path: sorted(methods) for path, methods in described["paths"].items() if CLAIMS.match(path)
    }
    assert paths == {
        "/api/v1/claims": ["get", "post"],
        "/api/v1/claims/presettlement": ["post"],
        "/api/v1/claims/{claim_id}": ["get"],
        "/api/v1/claims/{claim_id}/reversal": ["post"],
        "/api/v1/encounters/{encounter}/evidence": ["post"],
        "/api/v1/encounters/{encounter}/evidence/files": ["post"],
    }
    post = described["paths"]["/api/v1/claims"]["post"]
    body = post["requestBody"]["content"]["application/json"]["schema"]
    assert body["additionalProperties"] is False
    assert {"201", "400", "409", "422"} <= set(post["responses"])
    assert "x-message" not in answer.content.decode()
    flow = described["components"]["securitySchemes"]["institution"]["flows"]["clientCredentials"]
    assert flow["tokenUrl"] == "/api/v1/oauth/token"


def test_the_pages_keep_the_content_security_policy(db) -> None:
    page = Client().get("/api/v1/docs/")
    html = page.content.decode()
    assert page.status_code == 200
    assert "unsafe" not in page["Content-Security-Policy"]
    assert not re.search(r"<style|style=|<script>|https?://", html)
    assert Client().get("/api/v1/docs/?script").status_code == 200


def made_up(operation, claim_id: int, headers: dict) -> set[int]:
    """Call an operation many times as its description allows; returns the statuses."""
    seen: set[int] = set()
    described = set(operation.definition.raw["responses"])

    @settings(
        max_examples=MADE_UP,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def call(case) -> None:
        if "claim_id" in (case.path_parameters or {}):
            case.path_parameters["claim_id"] = claim_id
        answer = case.call(headers=headers)
        seen.add(answer.status_code)
        assert answer.status_code < 500, (case.as_curl_command(), answer.text)
        assert str(answer.status_code) in described
        kind = answer.headers["content-type"][0]
        if answer.status_code < 300 and kind != "application/json":
            assert kind in operation.definition.raw["responses"]["200"]["content"]
            return
        assert kind == ("application/json" if answer.status_code < 300 else PROBLEM)
        json.loads(answer.content)

    call()
    return seen


def test_calls_made_up_from_the_description_never_fail(hospital: Hospital) -> None:
    """Hostile and fitting calls to every operation: no 5xx, always JSON, as described."""
    claim = hospital.settled()
    schema = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", application)
    bearer = {"Authorization": f"Bearer {hospital.token}"}
    seen: dict[str, set[int]] = {}
    for result in schema.get_all_operations():
        operation = result.ok()
        if OURS.match(operation.path):
            seen[operation.label] = made_up(operation, claim["id"], bearer)
    assert len(seen) == 61
    assert 201 in seen["POST /api/v1/claims/{claim_id}/reversal"]
    assert hospital.get(URL).status_code == 200
