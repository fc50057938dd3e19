"""Stateful property: receive, reverse, re-settle, close and open months in any order.

After every step: the ledger balances, parts add up, person-years are the sums of what counts, and a
claim's versions alternate.
"""

import datetime as dt
from collections import Counter
from contextlib import suppress

import pytest
from django.db import connection, transaction
from django.utils import timezone
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from institutions.access import EVERYTHING, set_scope
from institutions.refusals import Refusal
from pricing import commands as law
from pricing.models import Release
from settlement import commands, ledger, resettlement, resettlement_lists
from settlement.facts import Claimant
from settlement.models import InsuredPerson, Period, Settlement
from settlement.periods import month_of
from tests import factories
from tests.factories import line

EXAMPLES, STEPS = 32, 80  #: some examples end earlier
AT = timezone.now()
SPAN = {"first_day": dt.date(2020, 6, 1), "last_day": dt.date(2021, 12, 31)}
DAYS = (dt.date(2020, 12, 28), dt.date(2021, 3, 3), dt.date(2021, 6, 15), dt.date(2021, 11, 11))
FEES = ("12.00", "12.00", "9.00", "7.50", "0.01", "12.01")
ITEMS = ("111102001", "111102001", "999")
RATIOS, DEDUCTIBLES, LIMITS = (6500, 7000, 5000), (2000, 1000, 3000), (600000, 900)
INVARIANTS = """SELECT count(*) FROM settlement_settlement s
    WHERE s.fee <> s.in_scope + s.over_cap + s.out_of_scope + s.held
        OR s.fee <> s.fund + s.account + s.cash + s.hospital + s.held
        OR (s.version % 2 = 0) <> (s.state = 'reversed')
        OR (s.version > 1 AND NOT EXISTS (SELECT FROM settlement_settlement b
            WHERE b.claim_id = s.claim_id AND b.version = s.version - 1))"""
ACCOUNTS = """SELECT count(*) FROM settlement_personalaccount a
    JOIN settlement_insuredperson p ON p.id = a.person_id
    WHERE a.account_left <> p.account_balance + a.drawn_before - settlement_drawn(p.id)"""
DONE: Counter[str] = Counter()
PLACES: list = []
PATIENTS: list = []


class Corrections(RuleBasedStateMachine):
    """Two hospitals, three persons; each example is undone at its end."""

    def __init__(self) -> None:
        super().__init__()
        self.undo = transaction.atomic()
        self.undo.__enter__()

    def teardown(self) -> None:
        transaction.set_rollback(True)
        self.undo.__exit__(None, None, None)

    def _receive(self, place: int, patient: int, day: dt.date, fees: list, account: bool) -> None:
        row, doctor = PLACES[place]
        lines = (line(n, item=item, fee=fee) for n, (item, fee) in enumerate(fees, 1))
        body = factories.body(PATIENTS[patient], doctor, *lines, day=day, pay_from_account=account)
        commands.receive(institution=Claimant.of(row), claim=body, by="h", at=AT)
        DONE["received"] += 1

    given = {
        "place": st.integers(0, 1), "patient": st.integers(0, 2), "day": st.sampled_from(DAYS),
        "fees": st.lists(
            st.tuples(st.sampled_from(ITEMS), st.sampled_from(FEES)), min_size=1, max_size=2
        ),
        "account": st.booleans(),
    }  # fmt: skip
    receive = rule(**given)(_receive)
    receive_more = rule(**given)(lambda self, **more: self._receive(**more))
    receive_again = rule(**given)(lambda self, **more: self._receive(**more))

    @rule(which=st.integers(0, 10**6))
    def reverse(self, which: int) -> None:
        claims = list(Settlement.objects.filter(version=1).order_by("claim_id"))
        if not claims:
            return
        chosen = claims[which % len(claims)]
        row = next(place for place, _ in PLACES if place.code == chosen.institution_code)
        with suppress(Refusal), transaction.atomic():
            commands.reverse(
                institution=Claimant.of(row), claim_id=chosen.claim_id, reason="错", by="h", at=AT
            )
            DONE["reversed"] += 1

    @rule(ratio=st.sampled_from(RATIOS), deductible=st.sampled_from(DEDUCTIBLES),
          limit=st.sampled_from(LIMITS), meanwhile=st.sampled_from(["", "", "reverse"]),
          which=st.integers(0, 99))  # fmt: skip
    def resettle(self, ratio: int, deductible: int, limit: int, meanwhile: str, which: int) -> None:
        """A parameter set of past validity, its list, and perhaps a reversal before it is posted."""
        publish(ratio, deductible, limit)
        with suppress(Refusal), transaction.atomic():
            made = resettlement_lists.propose(
                region=PLACES[0][0].region, reason="追溯", by="clerk", at=AT, **SPAN
            )
            resettlement_lists.draw_all(resettlement_id=made.pk, by="w", at=AT)
            made.refresh_from_db()
            if meanwhile:
                self.reverse(which)
            resettlement.approve(resettlement=made, by="boss", at=AT)
            resettlement.post_all(resettlement_id=made.pk, by="w", at=AT)
            left = made.items.filter(state="left_out").count()
            DONE["left out"] += left
            DONE["anew"] += made.claims - left

    @rule(patient=st.integers(0, 2), balance=st.sampled_from([0, 900, 5_000]))
    def report(self, patient: int, balance: int) -> None:
        """A balance is reported anew: what is left then is the reported one."""
        InsuredPerson.objects.filter(pk=PATIENTS[patient].pk).update(account_balance=balance)
        DONE["reported"] += 1

    @rule(ahead=st.integers(0, 2), state=st.sampled_from(["closed", "open"]))
    def close(self, ahead: int, state: str) -> None:
        month = month_of(AT)
        for _ in range(ahead):
            month = (month + dt.timedelta(days=32)).replace(day=1)
        Period.objects.update_or_create(pool="nantong", month=month, defaults={"state": state})
        DONE[state] += 1

    @invariant()
    def money_is_conserved(self) -> None:
        DONE["steps"] += 1
        found = ledger.balance()
        assert found.sound, found
        with connection.cursor() as cursor:
            for question in (INVARIANTS, ACCOUNTS):
                cursor.execute(question)
                assert cursor.fetchone()[0] == 0, question


def publish(ratio: int, deductible: int, limit: int) -> None:
    """One more parameter set of the region; the latest of a day decides it."""
    text = Release.objects.filter(kind="parameters").order_by("pk").first().text
    number = Release.objects.order_by("-pk").first().pk
    for old, new in (
        ("slug: parameters-nantong", f"slug: parameters-nantong-{number}"),
        ("employee_fund_ratio, value: 6500", f"employee_fund_ratio, value: {ratio}"),
        ("employee_deductible, value: 2000", f"employee_deductible, value: {deductible}"),
        ("employee_annual_limit, value: 600000", f"employee_annual_limit, value: {limit}"),
    ):
        assert old in text
        text = text.replace(old, new)
    made = law.draft(text=text, by="drafter", at=AT)
    evidence = {"sm3": made.sm3, "cases": {"passed": 1, "failed": 0}}
    law.publish(release=made, evidence=evidence, by="publisher", at=AT)


@pytest.mark.usefixtures("db")
def test_money_is_conserved_whatever_is_done() -> None:
    set_scope(EVERYTHING)
    factories.policies("nantong")
    DONE.clear()
    PLACES[:] = [(row, factories.physician(row)) for row in
                 (factories.institution(), factories.institution())]  # fmt: skip
    PATIENTS[:] = [
        factories.person("nantong", scheme, account_balance=balance)
        for scheme, balance in (("employee", 900), ("employee", 0), ("resident", 0))
    ]
    run_state_machine_as_test(
        Corrections,
        settings=settings(
            max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None, database=None,
            derandomize=True, suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip
    assert DONE["steps"] >= 2_000, DONE
    for name in ("reversed", "reported", "anew", "left out", "closed"):
        assert DONE[name], DONE
