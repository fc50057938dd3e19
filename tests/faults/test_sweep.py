"""A short kill sweep with real workers: whatever dies where, the ledger is that of the calm run.

`make faults` runs every point, several seeds, and the outages of the servers themselves.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from io import StringIO
from pathlib import Path

import pytest
import redis
from django.conf import settings
from django.db import connections

from config.celery import app
from pricing.releases import catalogue_at
from settlement import failpoints
from settlement.faults import material, runs
from settlement.faults.place import URLS, Place
from settlement.management.commands.faults import Command
from tests import factories

PATIENTS = 170  # three chunks
Field = tuple[Place, runs.Outside, runs.Calm]


@pytest.fixture
def field(committed_db: str, broker: str, tmp_path: Path) -> Iterator[Field]:
    """A confirmed batch that nobody has loaded yet, and the same loaded, as templates of many runs."""
    catalogue_at.cache_clear()
    factories.policies("wenzhou", "nantong")
    made = material.prepared(patients=PATIENTS, posts=6)
    (tmp_path / "posts.json").write_text(json.dumps(made.posts))
    connections.close_all()
    number = app.conf.broker_url.rpartition("virtual_host=")[2] or "0"
    urls = {name: os.environ[name] for name in URLS}
    with (
        closing(redis.Redis.from_url(settings.REDIS_URL, db=int(number))) as client,
        Place(urls, broker, tmp_path, committed_db, made.batch) as place,
    ):
        outside = runs.Outside(client.flushdb, {"flushall": client.flushdb})
        yield place, outside, runs.calm_of(place, outside)


def versions(dump: Path) -> Counter[str]:
    """How many settlements of each version a ledger has."""
    rows = [line.split("\t") for line in dump.read_text().splitlines()]
    return Counter(row[3] for row in rows if row[0] == "settlement")


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_sweep_kills_at_every_point(seed: int) -> None:
    killed = {fault.point for fault in runs.planned(seed) if fault.action in runs.KILLS}
    assert killed == set(failpoints.POINTS)


def test_the_report_counts_points_at_which_a_process_was_killed() -> None:
    faults = (
        runs.Fault("undo.begun", "kill"), runs.Fault("undo.begun", "crash"), runs.Fault("chunk.done", "raise"),
        runs.Fault("chunk.read", "sleep", outside="sessions"), runs.Fault("", "", outside="trembling"),
    )  # fmt: skip
    outcomes = [runs.Outcome.of(fault, 1) for fault in (*faults, runs.Fault("load.read", "kill"))]
    for outcome in outcomes:
        outcome.state, outcome.equal, outcome.struck = "closed", True, outcome.kills != "load.read"
    told = StringIO()
    Command(stdout=told).report(outcomes, {"json": ""})
    assert "killed at 1 of 33 points" in told.getvalue()


def test_whatever_dies_where_the_ledger_is_the_same(field: Field) -> None:
    place, outside, calm = field
    for kind in ("batch", "posts"):  # what is compared holds the account between regions
        lines = (place.folder / f"calm-{kind}.dump").read_text().splitlines()
        postings = [row.split("\t") for row in lines if row.startswith("posting\t")]
        assert any(row[3:6] == ["regional", "320600", "15"] for row in postings)
    assert versions(place.folder / "calm-batch.dump") == {"1": PATIENTS * material.CLAIMS_EACH}
    given_back = versions(place.folder / "calm-given_back.dump")
    assert 0 < given_back["1"] == given_back["2"] < PATIENTS * material.CLAIMS_EACH
    outcomes = [
        runs.outcome_of(place, fault, outside, seed=1, calm=calm)
        for fault in (
            runs.Fault("load.frozen", "kill"),
            runs.Fault("chunk.copied.leg", "kill", 2),
            runs.Fault("chunk.done", "crash", processes=2),
            runs.Fault("chunk.read", "sleep", outside="sessions"),
            runs.Fault("lease.taken", "stop"),
            runs.Fault("", "", outside="messages", processes=2),
            runs.Fault("check.stored", "kill", before="send_again"),
            runs.Fault("split.made", "crash", 2, before="tire"),
            runs.Fault("undo.reversed", "kill", 2, before="give_back"),
            runs.Fault("receive.stored", "kill", 3),
        )
    ]
    assert [(o.fault, o.notes) for o in outcomes if not o.sound] == []
    assert max(o.seconds for o in outcomes) < 60
    assert outcomes[-1].restarts == 1
