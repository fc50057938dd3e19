"""Claims of several patients sent one by one and as a file: what both paths make of them."""

import json

from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone

from institutions.access import EVERYTHING, set_scope
from pricing.models import Drug, DrugList
from settlement.batch import commands
from settlement.batch.chunk import settle_chunk
from settlement.ledger import COUNTED
from settlement.models import (
    Accumulator,
    Batch,
    Chunk,
    Claim,
    Entitlement,
    Leg,
    LineResult,
    Settlement,
)
from settlement.posting import RESULT, TOTALS
from tests import factories
from tests.settlement.hospital import Hospital

BY = "clerk"


def drug_list(region: str, *drugs: dict, example: bool = False, **more: object) -> DrugList:
    """A published drug list of a region; a drug has code, category and what else it needs."""
    standard = {
        "region": region, "version": f"第{DrugList.objects.count() + 1}版", "title": "药品目录",
        "source_kind": "example" if example else "official", "source_ref": "测试",
        "valid_from": factories.LONG_AGO, "drafted_by": "a", "drafted_at": factories.RECORDED,
    }  # fmt: skip
    made = DrugList.objects.create(**(standard | more))
    Drug.objects.bulk_create(
        Drug(catalogue=made, **({"name": drug["code"], "category": "A"} | drug)) for drug in drugs
    )
    made.state, made.sm3, made.drugs_count = DrugList.State.PUBLISHED, "1" * 64, len(drugs)
    made.published_by, made.published_at = "b", factories.RECORDED
    made.save()
    return made


def entitle(person: object, standing: str = "active", **more: object) -> Entitlement:
    """An entitlement of a person for all days, known since long ago."""
    standard = {
        "scheme": person.scheme, "region_code": person.region_code,
        "valid_from": factories.LONG_AGO, "recorded_at": factories.RECORDED, "recorded_by": "a",
    }  # fmt: skip
    return Entitlement.objects.create(person=person, standing=standing, **(standard | more))


def outcome(claim_no: str) -> tuple:
    """Everything a claim became, without ids and moments."""
    claim = Claim.objects.using("settler").get(claim_no=claim_no)
    settled = Settlement.objects.using("settler").filter(claim_id=claim.pk).order_by("version")
    lines = LineResult.objects.using("settler").filter(claim_id=claim.pk).order_by("line_no")
    legs = Leg.objects.using("settler").filter(claim_id=claim.pk).order_by("account")
    return (
        bytes(claim.facts),
        list(settled.values_list("version", "state", "insured_pool", "scheme", *TOTALS)),
        list(lines.values_list("line_no", *RESULT)),
        list(legs.values_list("account", "amount")),
    )


def used(person: object) -> list[tuple]:
    """The person's years and what is left on the account."""
    rows = Accumulator.objects.using("settler").filter(person=person).order_by("year", "scheme")
    names = ("year", "scheme", *COUNTED, "person__personal_account__account_left")
    return list(rows.values_list(*names))


def one_by_one(hospital: Hospital, claims: list[dict]) -> list[dict]:
    """The claims posted over REST, and their answers."""
    found = []
    for claim in claims:
        answer = hospital.post(claim)
        assert answer.status_code == 201, answer.content.decode()
        found.append(answer.json())
    return found


def as_file(hospital: Hospital, claims: list[dict]) -> Batch:
    """The claims uploaded as one file, loaded and settled chunk by chunk."""
    content = "\n".join(json.dumps(claim, ensure_ascii=False) for claim in claims).encode()
    answer = Client().post(
        "/api/v1/batches", {"file": SimpleUploadedFile("x.jsonl", content), "start": "true"},
        headers={"Authorization": f"Bearer {hospital.token}"},
    )  # fmt: skip
    assert answer.status_code == 201, answer.content.decode()
    key = answer.json()["id"]
    assert commands.load(batch_id=key, by=BY, at=timezone.now())
    for chunk in Chunk.objects.using("settler").filter(batch_id=key).values_list("pk", flat=True):
        settle_chunk(chunk, by=BY, at=timezone.now())
    batch = Batch.objects.using("settler").get(pk=key)
    assert batch.state == Batch.State.CLOSED
    return batch


def both(hospital: Hospital, one: object, other: object, make: object) -> list[dict]:
    """`make(patient)` gives claims: posted for `one`, filed for `other`; equal to the last fen.

    Returns the answers of the posted ones.
    """
    set_scope(EVERYTHING)
    posted, filed = ([_own_prescription(claim) for claim in make(p)] for p in (one, other))
    answers = one_by_one(hospital, posted)
    batch = as_file(hospital, filed)
    for single, row in zip(posted, filed, strict=True):
        parts = zip(outcome(single["claim_no"]), outcome(row["claim_no"]), strict=True)
        for mine, theirs in parts:
            assert mine == theirs, (mine, theirs)
    assert used(other) == used(one)
    assert batch.totals["fee"] == sum(
        batch.totals[name]
        for name in ("fund", "major", "assistance", "account", "cash", "hospital", "held")
    )
    return answers


def _own_prescription(claim: dict) -> dict:
    """A prescription belongs to one person and is charged once: each claim brings its own."""
    for row in claim["prescriptions"]:
        row["no"] = claim["claim_no"]
    claim["lines"] = [
        row | {"prescription_no": claim["claim_no"]} if "prescription_no" in row else row
        for row in claim["lines"]
    ]
    return claim


def legs(claim: dict) -> dict[int, int]:
    set_scope(EVERYTHING)
    return dict(Leg.objects.filter(claim_id=claim["id"]).values_list("account", "amount"))
