"""Audits at night and replays: a dead worker's run goes on, late claims are covered, truth is compared."""

import datetime as dt

import pytest
from django.test import Client
from django.urls import reverse

from institutions.access import EVERYTHING, set_scope
from institutions.models import Region
from settlement.models import Claim
from supervision import audits, credit, findings, tasks
from supervision.bench import measure
from supervision.bench.plants import plant
from supervision.bench.practice import practice
from supervision.bench.store import POOL
from supervision.models import Finding, Run
from tests import factories
from tests.settlement.hospital import Hospital
from tests.supervision.test_audit import SEED

BEAT = "system:beat"
AT = dt.datetime(2021, 12, 2, 1, 30, tzinfo=dt.UTC)
MINUTE = dt.timedelta(minutes=1)


@pytest.fixture
def asked(db) -> Run:
    factories.policies("wenzhou")
    factories.institution("wenzhou")
    set_scope(EVERYTHING)
    days = {"first": dt.date(2021, 11, 1), "last": dt.date(2021, 11, 30)}
    return audits.ask(pool="wenzhou", **days, by="jiandu", at=AT, wake=False)


class Killed(BaseException):
    """What no handler sees."""


def killed(run: Run, monkeypatch, at: dt.datetime) -> None:
    """A worker that is killed in the middle: nothing of it is said."""

    def kill(*given: object, **more: object) -> None:
        raise Killed

    monkeypatch.setattr(audits, "judge", kill)
    with pytest.raises(Killed):
        audits.execute(run_id=run.pk, by="w", at=at)
    monkeypatch.undo()
    run.refresh_from_db()


def test_a_run_whose_worker_died_is_taken_up_again(asked: Run, monkeypatch) -> None:
    killed(asked, monkeypatch, AT)
    rung: list[int] = []
    monkeypatch.setattr(audits, "ring", lambda task, ids: rung.extend(ids))
    assert (asked.state, asked.attempts, asked.alive_at) == ("running", 1, AT)
    soon, late = AT + 44 * MINUTE, AT + 46 * MINUTE
    assert audits.sweep(at=soon) == 0
    assert audits.execute(run_id=asked.pk, by="w", at=soon) is None
    assert audits.sweep(at=late) == 1
    assert rung == [asked.pk]
    done = audits.execute(run_id=asked.pk, by="w", at=late)
    assert done is not None
    assert (done.state, done.attempts, done.started_at) == ("done", 2, late)
    assert audits.sweep(at=late + 46 * MINUTE) == 0


def test_a_run_that_kills_its_workers_is_given_up(asked: Run, monkeypatch) -> None:
    for turn in range(audits.ATTEMPTS):
        killed(asked, monkeypatch, AT + turn * 46 * MINUTE)
    last = AT + audits.ATTEMPTS * 46 * MINUTE
    run = audits.execute(run_id=asked.pk, by="w", at=last)
    assert run is not None
    assert (run.state, run.fault) == ("failed", "3次办理均中断")
    assert audits.sweep(at=last) == 0


@pytest.mark.django_db
def test_the_night_covers_claims_that_came_late() -> None:
    factories.policies("wenzhou")
    hospital = Hospital("wenzhou")
    factories.offline_visit(hospital.patient, hospital.row)
    made = hospital.settled(factories.line(fee="10.00"))  # served 2021-06-15
    set_scope(EVERYTHING)
    arrived = Claim.objects.get(pk=made["id"]).received_at
    first = audits.nightly(by=BEAT, at=arrived - dt.timedelta(hours=2))
    again = audits.nightly(by=BEAT, at=arrived + dt.timedelta(hours=2))
    third = audits.nightly(by=BEAT, at=arrived + dt.timedelta(hours=26))
    fourth = audits.nightly(by=BEAT, at=arrived + dt.timedelta(hours=50))
    days = [
        [(run.first_day, run.last_day) for run in made] for made in (first, again, third, fourth)
    ]
    june = (dt.date(2021, 6, 1), dt.date(2021, 6, 30))
    assert [len(one) for one in days] == [1, 2, 2, 1]
    assert days[1][0] == june
    assert june not in days[0] + days[3]


def test_a_replay_counts_what_was_true_among_what_it_keeps_and_loses(committed_db) -> None:
    factories.policies("nantong", "wenzhou")
    made = plant(practice(1_500, seed=SEED), k=3, seed=SEED, only=["split_visits"])
    measure.register(made)
    measure.store(made)
    period = {"pool": POOL, "first": dt.date(2021, 1, 1), "last": dt.date(2021, 11, 30),
              "by": "jiandu", "at": AT, "wake": False}  # fmt: skip
    first = audits.ask(**period)
    audits.execute(run_id=first.pk, by="w", at=AT)
    set_scope(EVERYTHING)
    # its worker died before it could say that it was done
    Run.objects.filter(pk=first.pk).update(state="running", alive_at=AT - 46 * MINUTE)
    again = audits.execute(run_id=first.pk, by="w", at=AT)
    assert again is not None
    assert again.found["split_visits"] == {"found": 3, "new": 3}
    set_scope(EVERYTHING)
    one, two, _ = Finding.objects.filter(rule="split_visits").order_by("pk")
    findings.confirm(finding=one, reason="属实", by="x", at=AT)
    findings.refute(finding=two, reason="误报", by="x", at=AT)
    same = audits.ask(**period, trial=True, numbers={"split_visits": {"visits": 3}})
    strict = audits.ask(**period, trial=True, numbers={"split_visits": {"visits": 4}})
    for run in (same, strict):
        audits.execute(run_id=run.pk, by="w", at=AT)
        run.refresh_from_db()
    set_scope(EVERYTHING)
    kept, gone = Run.objects.get(pk=same.pk), Run.objects.get(pk=strict.pk)
    assert kept.found["split_visits"] == {
        "found": 3, "new": 0, "gone": 0, "kept_confirmed": 1, "kept_refuted": 1,
    }  # fmt: skip
    assert gone.found["split_visits"] == {
        "found": 0, "new": 0, "gone": 3, "gone_confirmed": 1, "gone_refuted": 1,
    }  # fmt: skip
    client = factories.log_in(
        Client(), factories.user("supervisor", Region.objects.get(pk=kept.region_code))
    )
    cells = {}
    for run in (kept, gone):
        page = client.get(reverse("audit-run", args=[run.pk]))
        rows = {row.key: [cell.text for cell in row.cells] for row in page.context["table"].rows}
        cells[run.pk] = rows["split_visits"][4:]
    assert cells == {kept.pk: ["0", "0／0", "50%", "50%"], gone.pk: ["3", "1／1", "50%", "—"]}


@pytest.mark.django_db
def test_every_subject_is_scored_once_at_night_also_those_of_a_province(monkeypatch) -> None:
    factories.region("nantong")
    province, _ = Region.objects.get_or_create(
        code="320000", defaults={"name": "江苏省", "level": "province"}
    )
    alone, _ = Region.objects.get_or_create(
        code="330382", defaults={"name": "乐清市", "level": "county"}
    )
    set_scope(EVERYTHING)
    walked: list[str] = []
    monkeypatch.setattr(
        credit, "score_all", lambda *, region, **more: walked.append(region.code) or 1
    )
    tasks.score_credit()
    assert province.code in walked
    assert "320600" not in walked
    for code in Region.objects.values_list("code", flat=True):
        inside = [top for top in walked if code.startswith(Region.objects.get(pk=top).prefix)]
        assert len(inside) == 1, code
    assert alone
