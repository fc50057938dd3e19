"""A short kill sweep with real workers: whatever dies where, the ledger is that of the calm run.

`make faults` runs every point, several seeds, and the outages of the servers themselves.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
from django.conf import settings
from django.db import connections

from config.celery import app
from pricing.releases import catalogue_at
from settlement.faults import material, runs
from settlement.faults.place import URLS, Place
from tests import factories

PATIENTS = 170  # three chunks


@dataclass
class Field:
    place: Place
    template: str
    outside: runs.Outside
    calm: str = ""

    def settled(self, fault: runs.Fault) -> runs.Outcome:
        return runs.settled(self.place, self.template, fault, self.outside, seed=1, calm=self.calm)

    def received(self, fault: runs.Fault, calm: str = "") -> runs.Outcome:
        return runs.received(self.place, self.template, fault, seed=1, calm=calm)


@pytest.fixture
def field(committed_db: str, broker: str, tmp_path: Path, monkeypatch) -> Iterator[Field]:
    """A confirmed batch that nobody has loaded yet, as a template of many runs."""
    catalogue_at.cache_clear()
    factories.policies("wenzhou")
    made = material.prepared(patients=PATIENTS, posts=6)
    (tmp_path / "posts.json").write_text(json.dumps(made.posts))
    connections.close_all()
    number = app.conf.broker_url.rpartition("virtual_host=")[2] or "0"
    client = redis.Redis.from_url(settings.REDIS_URL, db=int(number))

    def flush() -> None:
        client.flushdb()

    place = Place({name: os.environ[name] for name in URLS}, broker, tmp_path)
    found = Field(place, committed_db, runs.Outside(flush, {"flushall": flush}))
    calm = found.settled(runs.CALM)
    assert calm.state == "closed"
    found.calm = calm.sm3
    yield found
    client.close()


def test_whatever_dies_where_the_ledger_is_the_same(field: Field) -> None:
    outcomes = [
        field.settled(runs.Fault("load.frozen", "kill")),
        field.settled(runs.Fault("chunk.copied.leg", "kill", 2)),
        field.settled(runs.Fault("chunk.done", "crash", processes=2)),
        field.settled(runs.Fault("chunk.read", "sleep", outside="sessions")),
        field.settled(runs.Fault("lease.taken", "stop")),
        field.settled(runs.Fault("", "", outside="messages", processes=2)),
    ]
    assert [(o.fault, o.notes) for o in outcomes if not o.sound] == []
    assert max(o.seconds for o in outcomes) < 60
    calm = field.received(runs.CALM)
    post = field.received(runs.Fault("receive.stored", "kill", 3), calm.sm3)
    assert (calm.state, post.sound, post.restarts) == ("closed", True, 1)
