"""Auditing a period: what was planted is found, once; honest practice is left alone."""

import datetime as dt
from dataclasses import replace

import pytest
from django.core.management import call_command

from pricing.commands import SHIPPED
from pricing.document import parse
from pricing.policy import compile_rules
from pricing.releases import Catalogue, Published
from pricing.watching import NEAR, NUMBERS
from settlement.bench.data import AT
from settlement.columns import day_number, day_of
from supervision import audits, evidence
from supervision.bench import measure
from supervision.bench.plants import PLANTS, plant
from supervision.bench.practice import practice
from supervision.bench.store import POOL, as_visits
from supervision.models import Finding, FindingClaim, Run
from supervision.rules import RULES
from supervision.suspicions import Cited
from tests import factories
from tests.settlement.test_resettlement import publish

N, SEED = 5_000, 7
STATUTE = dt.date(2021, 5, 1)  #: 国务院令第735号 is in force
STATISTICAL = {code for code, rule in RULES.items() if rule.statistical}
#: Rules that one plant in sixty people's data may miss or hit besides; all others must be exact.
LEAST_RECALL, LEAST_PRECISION = 0.75, 0.75


def wenzhou():
    policy, numbers = (
        parse((SHIPPED / f"{name}.yaml").read_text())
        for name in ("wenzhou-2021-6", "parameters-wenzhou")
    )
    return compile_rules(policy, numbers.parameters(dt.date(2021, 6, 1), examples=True))


@pytest.fixture(scope="module")
def switches():
    return measure.all_rules({"wenzhou": wenzhou()})


def test_every_rule_of_the_vocabulary_is_a_class_with_a_message() -> None:
    assert set(RULES) == set(NUMBERS) == set(PLANTS)
    assert all(rule.message and len(rule.message) <= 400 for rule in RULES.values())
    assert {code for code, rule in RULES.items() if rule.near} == NEAR
    assert not NEAR & STATISTICAL


@pytest.mark.parametrize("rule", sorted(RULES))
def test_what_is_planted_is_found(rule, switches) -> None:
    made = plant(practice(N, seed=SEED), k=20, seed=SEED, only=[rule])
    one = measure.in_columns(made, as_visits(made), switches)[rule]
    assert one.planted >= (2 if rule == "institution_fee_outlier" else 19)
    if rule in STATISTICAL:
        assert (one.recall, one.precision) >= (LEAST_RECALL, LEAST_PRECISION)
    else:
        assert (one.recall, one.false) == (1.0, 0)


def test_honest_practice_is_left_alone(switches) -> None:
    made = practice(20_000, seed=SEED)
    found = measure.in_columns(made, as_visits(made), switches)
    false = {rule: one.false for rule, one in found.items() if one.false}
    assert set(false) <= STATISTICAL | {"early_refill"}
    assert sum(false.values()) <= 5


def test_an_audit_stores_each_suspicion_once(committed_db) -> None:
    factories.policies("nantong", "wenzhou")
    made, ids = measure.year(N, seed=SEED, k=4)
    done = measure.audited(made, ids)
    exact = {rule: one for rule, one in done.rules.items() if rule not in STATISTICAL}
    assert {rule: one.recall for rule, one in exact.items()} == dict.fromkeys(exact, 1.0)
    assert sum(one.false for one in exact.values()) == 0
    run = Run.objects.get()
    assert (run.state, run.claims) == ("done", made.n)
    before = Finding.objects.count()
    assert before == sum(counts["new"] for counts in run.found.values()) > 60
    claims = FindingClaim.objects.filter(finding__rule="duplicate_charge")
    assert all(row.line_no == 4 for row in claims)
    for rule in set(run.found) & set(evidence.NOTES):
        rows = FindingClaim.objects.filter(finding__rule=rule)
        assert not rows.filter(note="").exists(), rule
    for rule in set(run.found) - set(evidence.NOTES):
        assert not FindingClaim.objects.filter(finding__rule=rule).exclude(note="").exists()
    outlier = Finding.objects.filter(rule="physician_fee_outlier").first()
    assert outlier is not None
    assert sum(outlier.figures["picture"]["counts"]) == outlier.figures["peers"]
    assert outlier.fee > outlier.fund > 0
    assert outlier.clause.endswith("国务院令第735号 第三十八条（二）")
    early, late = (
        Finding.objects.filter(**{f"last_day__{side}": STATUTE}) for side in ("lt", "gte")
    )
    assert early.exists()
    assert not early.filter(clause__contains="国务院令").exists()
    assert late.filter(clause__contains="国务院令第735号").exists()
    measure.audited(made, ids)
    assert Finding.objects.count() == before


def test_what_was_done_before_a_statute_is_not_judged_by_it() -> None:
    """国务院令第735号 第五十条: in force from 2021-05-01."""
    rules = wenzhou()
    switch = next(switch for switch in rules.watching if switch.article)
    cited = Cited(rules.policy)
    before, after = (cited.clause(switch, dt.date(2021, *day)) for day in ((4, 30), (5, 1)))
    assert after == f"{before}；国务院令第735号 {switch.article}"
    assert before == f"温医保办〔2021〕6号 {switch.clause}"


def test_a_replay_tells_what_other_numbers_would_find(committed_db) -> None:
    factories.policies("nantong", "wenzhou")
    made = plant(practice(1_500, seed=SEED), k=3, seed=SEED, only=["split_visits"])
    measure.register(made)
    measure.store(made)
    period = {"pool": POOL, "first": dt.date(2021, 1, 1), "last": dt.date(2021, 11, 30),
              "by": "jiandu", "at": AT, "wake": False}  # fmt: skip
    run = audits.execute(run_id=audits.ask(**period).pk, by="w", at=AT)
    assert run is not None
    assert run.started_at == AT
    assert AT < run.finished_at < AT + dt.timedelta(minutes=5)  # in the run's own time
    assert run.found["split_visits"] == {"found": 3, "new": 3}
    stricter = audits.ask(**period, trial=True, numbers={"split_visits": {"visits": 4}})
    replay = audits.execute(run_id=stricter.pk, by="w", at=AT)
    assert replay is not None
    assert replay.found["split_visits"] == {"found": 0, "new": 0, "gone": 3}
    assert Finding.objects.filter(rule="split_visits").count() == 3
    assert audits.execute(run_id=stricter.pk, by="w", at=AT) is None


def test_each_day_of_a_period_is_judged_by_the_numbers_of_its_day(committed_db) -> None:
    factories.policies("nantong", "wenzhou")
    made = plant(practice(1_500, seed=SEED), k=3, seed=SEED, only=["split_visits"])
    measure.register(made)
    measure.store(made)
    middle = day_of(
        sorted(int(made.visits["day"][rows[0]]) for rows in made.planted["split_visits"])[1]
    )
    publish("split_visits: {visits: 3,", "split_visits: {visits: 4,", since=middle.isoformat())
    period = {"first": dt.date(2021, 1, 1), "last": dt.date(2021, 11, 30)}
    asked = audits.ask(pool=POOL, **period, by="jiandu", at=AT, wake=False)
    run = audits.execute(run_id=asked.pk, by="w", at=AT)
    assert run is not None
    assert run.claims == int((made.visits["day"] <= day_number(period["last"])).sum())
    assert run.found["split_visits"] == {"found": 1, "new": 1}
    finding = Finding.objects.get(rule="split_visits")
    assert finding.last_day < middle
    assert finding.parameters["numbers"]["visits"] == 3
    told = [
        (one["first"], one["last"], one["used"]["split_visits"]["visits"])
        for one in run.rules["stretches"]
    ]
    assert told == [("2021-01-01", (middle - dt.timedelta(days=1)).isoformat(), 3),
                    (middle.isoformat(), "2021-11-30", 4)]  # fmt: skip


@pytest.mark.django_db
def test_every_night_this_month_and_the_last_are_asked_for() -> None:
    """Wenzhou has rules and a region; Nantong's document is loaded, but nobody is there to see a run."""
    factories.policies("wenzhou", "nantong")
    factories.region("wenzhou")
    made = audits.nightly(by="system:beat", at=dt.datetime(2021, 6, 30, 17, 30, tzinfo=dt.UTC))
    told = [(run.pool, run.first_day, run.last_day, run.state, run.asked_by) for run in made]
    assert told == [("wenzhou", dt.date(2021, 6, 1), dt.date(2021, 7, 1), "waiting", "system:beat")]


@pytest.mark.django_db
def test_the_command_audits_a_region(capsys) -> None:
    factories.policies("wenzhou")
    factories.institution("wenzhou")
    call_command("audit_claims", "--pool", "wenzhou", "--from", "2021-06-01", "--to", "2021-06-30")
    assert "0 张申报" in capsys.readouterr().out


def test_days_between_two_texts_are_judged_by_none(monkeypatch) -> None:
    """A text that ended in June and the same one again in force from August: July has no law."""
    policy, numbers = (
        parse((SHIPPED / f"{name}.yaml").read_text())
        for name in ("wenzhou-2021-6", "parameters-wenzhou")
    )
    days = (dt.date(2021, 4, 1), dt.date(2021, 6, 30)), (dt.date(2021, 8, 1), dt.date(2021, 12, 31))
    texts = [
        Published(
            k, "", replace(policy, data=policy.data | {"effective": {"from": a, "until": b}}), a, b
        )
        for k, (a, b) in enumerate(days)
    ]
    catalogue = Catalogue([*texts, Published(9, "", numbers, dt.date(2020, 1, 1), None)])
    monkeypatch.setattr(audits, "current", lambda: catalogue)
    parts = audits.stretches("wenzhou", dt.date(2021, 1, 1), dt.date(2021, 12, 31))
    assert [(part.first, part.last) for part in parts] == list(days)
