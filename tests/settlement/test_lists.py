"""Lists of many claims: what is unsettled is found, rare values by an index, estimates fit the rows."""

import json
import os
from contextlib import closing
from typing import Any
from urllib.parse import urlencode

import psycopg2
import pytest
from django.db.models import QuerySet
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from institutions.access import scoped
from institutions.models import Region, Scope, User
from pricing.releases import catalogue_at
from settlement import listing
from settlement.batch.chunk import settle_chunk
from settlement.bench import data, portal
from settlement.models import Batch, Chunk, Claim, Settlement
from tests import factories

CLAIMS = 2_000


@pytest.fixture
def batch(committed_db: str) -> Batch:
    catalogue_at.cache_clear()  # clones have one name
    factories.policies("wenzhou")
    data.region()
    return data.loaded_batch(CLAIMS)


@pytest.fixture
def staff(batch: Batch) -> User:
    return factories.user("reviewer", Region.objects.get(pk=data.REGION))


def chunks(batch: Batch) -> list[Chunk]:
    return list(Chunk.objects.using("settler").filter(batch=batch).order_by("number"))


def settle(some: list[Chunk]) -> None:
    for chunk in some:
        settle_chunk(chunk.pk, by=data.BY, at=timezone.now())


def shown(staff: User, **query: str) -> list[str]:
    client = factories.log_in(Client(), staff)
    table = client.get(f"{reverse('claims')}?{urlencode(query | {'size': '100'})}").context["table"]
    return [row.cells[0].text for row in table.rows]


def listed(**wanted: object) -> list[str]:
    with scoped(Scope(institutions=(data.INSTITUTION,))):
        page = listing.page(data.INSTITUTION, listing.Wanted(**wanted))
    return [row["claim_no"] for row in page["results"]]


def numbers(first: int, last: int) -> set[str]:
    found = Claim.objects.using("settler").filter(pk__range=(first, last))
    return set(found.values_list("claim_no", flat=True))


def test_what_waits_for_settlement_is_found_wherever_it_lies(batch: Batch, staff: User) -> None:
    """All, then what two chunks left between settled ones hold, then nothing: page and interface."""
    every = chunks(batch)
    assert len(every) >= 4
    assert len(shown(staff, state="received")) == 100
    assert len(listed(state="received", limit=200)) == 200
    kept = [every[1], every[3]]
    settle([chunk for chunk in every if chunk not in kept])
    left = set().union(*(numbers(chunk.first_claim, chunk.last_claim) for chunk in kept))
    assert len(left) == sum(chunk.claims for chunk in kept)
    for found in (shown(staff, state="received"), listed(state="received", limit=200)):
        assert len(found) == min(len(left), len(found))
        assert set(found) <= left
    settle(kept)
    assert shown(staff, state="received") == listed(state="received") == []


@pytest.mark.parametrize("state", ["payable", "reject", "review", "partial", "reversed"])
def test_a_state_shows_the_claims_whose_latest_version_has_it(
    batch: Batch, staff: User, state: str
) -> None:
    settle(chunks(batch))
    rows = Settlement.objects.using("settler").filter(state=state).order_by("-claim_id")
    claims = Claim.objects.using("settler").in_bulk(list(rows.values_list("claim_id", flat=True)))
    expected = [claims[key].claim_no for key in sorted(claims, reverse=True)][:100]
    assert shown(staff, state=state) == expected
    assert set(listed(state=state, limit=200)) <= {row.claim_no for row in claims.values()}
    assert len(listed(state=state, limit=200)) == min(len(claims), 200)


def plan(claims: QuerySet) -> dict:
    """How the application's role reads it."""
    found = claims.explain(format="json")
    return json.loads(found)[0]["Plan"]


def indexes(node: dict) -> set[str]:
    own = {node["Index Name"]} if "Index Name" in node else set()
    return own.union(*(indexes(part) for part in node.get("Plans", ())))


@pytest.fixture
def settled(batch: Batch) -> None:
    settle(chunks(batch))
    with closing(psycopg2.connect(os.environ["DATABASE_OWNER_URL"])) as owner:
        owner.autocommit = True
        owner.cursor().execute("ANALYZE")


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ({"item": "999999999"}, "_item_code_claim_id_idx"),
        ({"reason": "UPLOAD_LATE"}, "_reason_claim_id_idx"),
        ({"state": "review"}, "settlement_settlement_state"),
    ],
)
def test_a_rare_value_is_found_by_an_index(
    settled: None, staff: User, query: dict, index: str
) -> None:
    with scoped(staff.scope_codes()):
        used = indexes(plan(portal.claims_found(staff, query).order_by("-pk")[:21]))
    assert any(name.endswith(index) for name in used), used


def test_the_planner_expects_what_a_region_has(settled: None, staff: User) -> None:
    """By the beginning of its code (LIKE) it expected three of 2,000 claims and sorted all of them."""
    with scoped(staff.scope_codes()):
        expected = plan(Claim.objects.visible_to(staff))["Plan Rows"]
        old = plan(Claim.objects.filter(region_code__startswith="3303"))["Plan Rows"]
    assert old < CLAIMS / 100
    assert CLAIMS / 4 < expected <= CLAIMS


def test_the_measured_first_pages(settled: None, settings: Any) -> None:
    """What `make bench` times finds claims, and nothing refuses."""
    settings.DATABASE_OWNER_URL = os.environ["DATABASE_OWNER_URL"]
    assert portal.first_page() > 0
