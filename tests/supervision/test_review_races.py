"""Reviews with real threads and commits: two people decide at once, one wins; money moves once."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.db import connection, connections, transaction

from audit.procedure import Refused
from institutions.access import EVERYTHING, scoped, set_scope
from institutions.models import User
from institutions.refusals import Refusal
from settlement import commands, ledger
from settlement.facts import Claimant
from settlement.models import Settlement
from supervision import review_steps, reviews
from supervision.models import Review
from supervision.review_sources import collect
from tests.settlement.hospital import forget_databases
from tests.supervision.test_reviews import AT, Bureau


@pytest.fixture
def bureau(committed_db: str) -> Bureau:
    forget_databases()
    return Bureau()


def together(*acts: Callable[[], object]) -> list[str]:
    """Run acts at the same moment, each in its own transaction; what each came to."""
    start = Barrier(len(acts))

    def run(act: Callable[[], object]) -> str:
        try:
            connection.ensure_connection()
            start.wait(timeout=60)
            with transaction.atomic(), scoped(EVERYTHING):
                act()
        except (Refused, Refusal) as refused:
            return refused.code
        finally:
            connections.close_all()
        return "done"

    with ThreadPoolExecutor(len(acts)) as pool:
        return sorted(pool.map(run, acts))


def step(case: Review, key: str, who: User, **facts: str) -> Callable[[], object]:
    version = case.version
    return lambda: review_steps.take(
        case=Review.objects.get(pk=case.pk), step=key, who=who, by=who.username, at=AT, facts=facts,
        version=version,
    )  # fmt: skip


def versions(case: Review) -> list[int]:
    set_scope(EVERYTHING)
    rows = Settlement.objects.filter(claim_id=case.claim_id).order_by("version")
    return list(rows.values_list("version", flat=True))


def told(bureau: Bureau) -> Review:
    with scoped(EVERYTHING):
        case = bureau.collected()
        bureau.mark(case)
        return case


def test_of_two_who_decide_at_once_one_wins(bureau: Bureau) -> None:
    case = told(bureau)
    acts = [step(case, "decide", who) for who in (bureau.first, bureau.colleague)]
    assert together(*acts) == ["CASE_MOVED", "done"]
    with scoped(EVERYTHING):
        assert Review.objects.get(pk=case.pk).state == "told"


def test_two_acceptances_post_once_and_a_reversal_meets_either_all_or_nothing(bureau) -> None:
    case = told(bureau)
    with scoped(EVERYTHING):
        bureau.take(case, "decide", bureau.first)
    acts = [step(case, "accept", bureau.office, signed_name="张三") for _ in range(3)]
    assert together(*acts) == ["CASE_MOVED", "CASE_MOVED", "done"]
    with scoped(EVERYTHING):
        assert versions(case) == [1, 2, 3]
        case = bureau.collected("16.00")
        bureau.mark(case, reviews.Marking("cut", 400, "overcharge"))
        bureau.take(case, "decide", bureau.first)
    place = Claimant.of(bureau.hospital.row)
    accept = step(case, "accept", bureau.office, signed_name="张三")

    def reverse() -> object:
        return commands.reverse(
            institution=place, claim_id=case.claim_id, reason="录入错误", by="h", at=AT
        )

    found = together(accept, reverse)
    with scoped(EVERYTHING):
        assert (found, versions(case)) in (
            (["CLAIM_CHANGED", "done"], [1, 2]),
            (["done", "done"], [1, 2]),  # the review of a claim that is gone has lapsed
            (["done", "done"], [1, 2, 3, 4]),
        )
        assert ledger.balance().sound


def test_two_collectors_open_one_review(bureau: Bureau) -> None:
    with scoped(EVERYTHING):
        bureau.held()
    since = AT.date().replace(year=2020)
    acts = [lambda: collect(since=since, by="system", at=AT) for _ in range(3)]
    assert together(*acts) == ["done"] * 3
    with scoped(EVERYTHING):
        assert Review.objects.count() == 1
