"""A hospital as the API meets it: its token, a physician, a patient, and how it calls."""

import json

from django.test import Client

from pricing import releases
from tests import factories

URL = "/api/v1/claims"


def forget_databases() -> None:
    """Clones follow each other under one name: what is known of it is not true of them."""
    releases.catalogue_at.cache_clear()


class Hospital:
    def __init__(self, region: str = "nantong", scheme: str = "resident", **facts: object):
        self.row = factories.institution(region, **facts)
        self.doctor = factories.physician(self.row)
        self.patient = factories.person(region, scheme)
        self.token = factories.token(self.row)
        self.client = Client(raise_request_exception=False)
        self.calls = 0

    def post(self, body: object, *, key: str | None = None, url: str = URL, **headers: str):
        self.calls += 1
        data = body if isinstance(body, bytes | str) else json.dumps(body)
        standard = {
            "Authorization": f"Bearer {self.token}",
            "Idempotency-Key": f"key-{self.calls}" if key is None else key,
        }
        return self.client.post(
            url, data, content_type="application/json", headers=standard | headers
        )

    def get(self, url: str, **headers: str):
        return self.client.get(url, headers={"Authorization": f"Bearer {self.token}", **headers})

    def body(self, *lines: dict, **more: object) -> dict:
        return factories.body(self.patient, self.doctor, *lines, **more)

    def settled(self, *lines: dict, **more: object) -> dict:
        """Post a claim that is taken, and its answer."""
        answer = self.post(self.body(*lines, **more))
        assert answer.status_code == 201, answer.content.decode()
        return answer.json()

    def reverse(self, claim: dict, reason: str = "录入错误"):
        return self.post({"reason": reason}, url=claim["links"]["reversal"])


def refusal(answer) -> tuple[int, str, dict[str, str]]:
    """Status, code and the faults by pointer of a problem."""
    assert answer["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert problem["trace_id"]
    assert problem["status"] == answer.status_code
    faults = {fault["pointer"]: fault["code"] for fault in problem["errors"]}
    return answer.status_code, problem["code"], faults
