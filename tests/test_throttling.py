"""Asking too often: 429 with Retry-After in Chinese, no statement more, nobody refused by a dead cache."""

import json

import pytest
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from redis.exceptions import ConnectionError as CacheGone

from institutions import throttling
from institutions.throttling import Rate, wait_for
from tests.settlement.hospital import Hospital

NOON = 1_639_972_800.0  #: a whole minute


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    cache.clear()
    throttling.forget()
    monkeypatch.setattr(throttling.time, "time", lambda: NOON)
    yield
    throttling.forget()


@pytest.mark.parametrize("text", ["60", "0/minute", "x/minute", "5/day", ""])
def test_a_rate_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Rate.of(text)


def test_so_many_and_no_more_until_the_next_window(settings, monkeypatch) -> None:
    settings.THROTTLES = {"client": "5/minute"}
    assert [wait_for("client", "a") for _ in range(6)] == [0, 0, 0, 0, 0, 60]
    assert wait_for("client", "b") == 0
    monkeypatch.setattr(throttling.time, "time", lambda: NOON + 59.5)
    assert wait_for("client", "a") == 1
    monkeypatch.setattr(throttling.time, "time", lambda: NOON + 60)
    assert wait_for("client", "a") == 0


def test_processes_share_what_the_window_has(settings) -> None:
    settings.THROTTLES = {"client": "100/minute"}
    passed = 0
    for _ in range(30):  # a process that comes new takes a block, here of two
        throttling.forget()
        passed += [wait_for("client", "a") for _ in range(3)].count(0)
    throttling.forget()
    passed += [wait_for("client", "a") for _ in range(50)].count(0)
    assert passed <= 100
    assert wait_for("client", "a") == 60


def test_most_requests_do_not_touch_the_cache(settings, monkeypatch) -> None:
    settings.THROTTLES = {"client": "60000/minute"}
    asked = []
    count = cache.incr
    monkeypatch.setattr(cache, "incr", lambda *given: asked.append(1) or count(*given))
    assert not any(wait_for("client", "a") for _ in range(2_400))
    assert len(asked) == 2


def test_a_cache_that_does_not_answer_refuses_nobody(settings, monkeypatch) -> None:
    settings.THROTTLES = {"client": "2/minute"}

    def gone(*given: object, **more: object) -> None:
        raise CacheGone

    monkeypatch.setattr(cache, "add", gone)
    assert not any(wait_for("client", "a") for _ in range(10))


def test_a_client_that_asks_too_often_is_told_until_when_to_wait(db, settings) -> None:
    hospital = Hospital()
    settings.THROTTLES = {"client": "1/minute"}
    assert hospital.get("/api/v1/claims").status_code == 200
    answer = hospital.get("/api/v1/claims")
    told = json.loads(answer.content)
    assert (answer.status_code, answer["Retry-After"]) == (429, "60")
    assert answer["Content-Type"] == "application/problem+json"
    assert (told["code"], told["title"]) == ("TOO_MANY_REQUESTS", "请求过于频繁")
    assert "Retry-After" in told["detail"]
    assert Hospital().get("/api/v1/claims").status_code == 200


def test_the_limit_costs_no_statement(db, settings) -> None:
    hospital = Hospital()
    hospital.get("/api/v1/claims")
    with CaptureQueriesContext(connection) as without:
        hospital.get("/api/v1/claims")
    settings.THROTTLES = {"client": "60000/minute"}
    with CaptureQueriesContext(connection) as limited:
        hospital.get("/api/v1/claims")
    assert len(limited) == len(without)


@pytest.mark.parametrize(
    ("name", "address"),
    [("login", "/accounts/login/"), ("public", "/public/interface/"), ("token", "/api/v1/oauth/token")],
)  # fmt: skip
def test_an_address_that_opens_public_pages_too_often(db, settings, name, address) -> None:
    settings.THROTTLES = {name: "2/minute"}
    client = Client(REMOTE_ADDR="192.0.2.7")
    assert 429 not in [client.get(address).status_code for _ in range(2)]
    answer = client.get(address)
    assert (answer.status_code, answer["Retry-After"]) == (429, "60")
    assert "过于频繁" in answer.content.decode()
    assert Client(REMOTE_ADDR="192.0.2.8").get(address).status_code != 429
