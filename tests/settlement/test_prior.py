"""Earlier charges of an encounter: the statement that follows the rows finds what a join finds."""

import datetime as dt

import pytest
from django.db import connections, transaction
from django.utils import timezone

from institutions.access import EVERYTHING, scoped
from pricing.releases import catalogue_at
from settlement.batch.chunk import settle_chunk
from settlement.batch.lookup import CONSULT, PRIOR
from settlement.bench import data
from settlement.models import Batch, Chunk, Settlement
from settlement.periods import posting_month
from tests import factories

#: The same question as one plain join over the whole ledger.
JOIN = """SELECT c.encounter_key, c.person_id, hashtextextended(l.item_code, 0)
    FROM settlement_claim c
    JOIN settlement_claimline l ON l.claim_id = c.id AND l.period = c.period
    JOIN settlement_lineresult r
        ON r.claim_id = l.claim_id AND r.line_no = l.line_no AND r.version = 1
    WHERE c.encounter_key = ANY (%s::bigint[]) AND c.batch_id IS DISTINCT FROM %s
        AND l.service = %s AND r.decision IN (0, 2)
        AND NOT EXISTS (SELECT FROM settlement_settlement s
            WHERE s.claim_id = c.id AND s.version = 2)"""
KEYS = "SELECT encounter_key FROM settlement_claim WHERE batch_id = %s ORDER BY id LIMIT 150"
REVERSED = 7  #: claims of the first batch that are taken back


def asked(statement: str, keys: list[int], *own: int) -> list[tuple]:
    with connections["settler"].cursor() as cursor:
        cursor.execute(statement, [keys, *own, CONSULT])
        return sorted(cursor.fetchall())


def reverse_some(batch: Batch) -> None:
    """A second, negative version of the first claims."""
    rows = Settlement.objects.using("settler").filter(batch_id=batch.pk).order_by("claim_id")
    for row in rows[:REVERSED]:
        row.version, row.state, row.reason = 2, Settlement.State.REVERSED, "x"
        for name in ("fee", "in_scope", "over_cap", "out_of_scope", "held", "fund", "account",
                     "cash", "hospital", "deductible"):  # fmt: skip
            setattr(row, name, -getattr(row, name))
        row.save(using="settler", force_insert=True)


@pytest.mark.usefixtures("committed_db")
def test_following_the_rows_finds_what_a_join_finds() -> None:
    catalogue_at.cache_clear()
    factories.policies("wenzhou")
    with scoped(EVERYTHING):
        data.region()
    with transaction.atomic(using="settler"), connections["settler"].cursor() as cursor:
        for at in (data.AT, timezone.now(), timezone.now() - dt.timedelta(days=40)):
            posting_month(data.REGION, at, cursor=cursor)
    batches = [data.loaded_batch(300, seed=1, tag=tag) for tag in "AB"]  # the same encounters
    for chunk in Chunk.objects.using("settler").values_list("pk", flat=True):
        settle_chunk(chunk, by="clerk", at=timezone.now())
    reverse_some(batches[0])
    with connections["settler"].cursor() as cursor:
        cursor.execute(KEYS, [batches[0].pk])
        keys = [row[0] for row in cursor.fetchall()]
    found = {
        batch: asked(PRIOR, keys, batch, 0, 2**62) for batch in (batches[0].pk, batches[1].pk, 0)
    }
    assert found == {batch: asked(JOIN, keys, batch) for batch in found}
    assert 0 < len(found[batches[1].pk]) <= len(keys) - REVERSED + 1
    assert len(found[0]) == len(found[batches[0].pk]) + len(found[batches[1].pk])
