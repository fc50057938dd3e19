"""Claims of a batch that carry prescriptions: records entered, charges counted, the record's word kept.

A file is no way around a prescription: what one claim charges is charged before the next one.
"""

import datetime as dt
import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connections
from django.test import Client

from institutions.access import EVERYTHING, scoped, set_scope
from institutions.models import Institution, Physician
from settlement import failpoints
from settlement.batch import commands
from settlement.batch.chunk import settle_chunk
from settlement.commands import receive
from settlement.facts import Claimant
from settlement.models import (
    Batch,
    Chunk,
    Claim,
    LineResult,
    Prescription,
    PrescriptionCharge,
    Settlement,
)
from tests import factories
from tests.settlement.drugs import DRUG, OTHER, drug_line
from tests.settlement.hospital import forget_databases

AT = dt.datetime(2021, 6, 20, 2, tzinfo=dt.UTC)


class Sender:
    """A hospital of Wenzhou with a patient, that sends files."""

    def __init__(self) -> None:
        self.row = factories.institution("wenzhou")
        self.doctor = factories.physician(self.row)
        self.pharmacist = factories.physician(self.row, kind=Physician.Kind.PHARMACIST)
        self.patient = self.person()
        self.headers = {"Authorization": f"Bearer {factories.token(self.row)}"}

    def person(self):
        made = factories.person("wenzhou", "employee")
        factories.offline_visit(made, self.row)
        return made

    def claim(self, number: str, *lines: dict, boxes: str = "2", **more: object) -> dict:
        """A claim of boxes at 10 yuan with its prescription."""
        patient = more.pop("patient", self.patient)
        made = factories.body(patient, self.doctor, *(lines or (drug_line(number),)))
        made["prescriptions"][0] |= {
            "no": number, "reviewed_by": self.pharmacist.code,
            "lines": [{"drug_code": DRUG, "quantity": boxes, "days_supply": 28, "unit": "盒"}],
        } | more  # fmt: skip
        return made

    def confirmed(self, *claims: dict) -> int:
        """Upload and confirm; the batch waits to be loaded."""
        content = "\n".join(json.dumps(claim, ensure_ascii=False) for claim in claims).encode()
        answer = Client().post(
            "/api/v1/batches", {"file": SimpleUploadedFile("x.jsonl", content)},
            headers=self.headers,
        )  # fmt: skip
        assert answer.status_code == 201, answer.content.decode()
        key = answer.json()["id"]
        commands.confirm(batch_id=key, by="clerk", at=AT)
        return key

    def settled(self, *claims: dict) -> Batch:
        """Upload, confirm, load and settle without a worker."""
        key = self.confirmed(*claims)
        commands.load(batch_id=key, by="clerk", at=AT)
        chunks = Chunk.objects.using("settler").filter(batch=key)
        for chunk in chunks.values_list("pk", flat=True):
            settle_chunk(chunk, by="clerk", at=AT)
        set_scope(EVERYTHING)
        return Batch.objects.using("settler").get(pk=key)


@pytest.fixture
def sender(committed_db: str, settings) -> Sender:
    settings.DEMO_TODAY = AT.date()
    forget_databases()
    factories.policies("wenzhou")
    yield Sender()
    forget_databases()


def reasons(*claims: dict) -> list[str]:
    """The reason of each claim's first line, by name; empty: paid."""
    found = []
    for claim in claims:
        row = Claim.objects.using("settler").get(claim_no=claim["claim_no"])
        state = Settlement.objects.using("settler").get(claim_id=row.pk).state
        line = LineResult.objects.using("settler").filter(claim_id=row.pk).first()
        found.append("" if state == "payable" else f"{state} {line.reason}")
    return found


def test_a_file_enters_its_prescriptions_and_their_charges(sender: Sender) -> None:
    first, second = sender.claim("CF1"), sender.claim("CF2", patient=sender.person())
    batch = sender.settled(first, second)
    assert batch.state == Batch.State.CLOSED
    rows = {row.number: row for row in Prescription.objects.all()}
    assert {number: (row.source, row.state) for number, row in rows.items()} == {
        "CF1": ("claim", "reviewed"), "CF2": ("claim", "reviewed"),
    }  # fmt: skip
    charges = PrescriptionCharge.objects.filter(prescription=rows["CF1"])
    assert [(row.drug_code, row.quantity) for row in charges] == [(DRUG, 20_000)]
    assert reasons(first, second) == ["", ""]


def test_one_prescription_is_charged_once_within_a_file_and_across_files(sender: Sender) -> None:
    first, second = sender.claim("CF1"), sender.claim("CF1")
    second["encounter"] = first["encounter"]
    later = sender.claim("CF1")
    later["encounter"] = first["encounter"]
    sender.settled(first, second)
    sender.settled(later)
    assert Prescription.objects.count() == 1
    paid, again, once_more = reasons(first, second, later)
    assert paid == ""
    assert again.startswith("review")
    assert once_more.startswith("review")


def test_a_load_and_a_claim_that_is_the_first_of_its_month(sender: Sender) -> None:
    """The load has read earlier charges of its prescription when a claim comes in: both are taken."""
    first, again = sender.claim("CF1"), sender.claim("CF1", boxes="1")
    again["encounter"] = first["encounter"]
    sender.settled(first)
    key = sender.confirmed(again)
    later = dt.datetime(2023, 7, 1, 2, tzinfo=dt.UTC)

    def load() -> bool:
        try:
            return commands.load(batch_id=key, by="clerk", at=later)
        finally:
            connections.close_all()

    with failpoints.planned("load.read:1:sleep") as plan, ThreadPoolExecutor(1) as pool:
        plan.seconds = 2
        loading = pool.submit(load)
        while not plan.passed["load.read"]:
            assert not loading.done()
            time.sleep(0.01)
        alone = sender.claim("CF3", patient=sender.person())
        claimant = Claimant.of(Institution.objects.select_related("region").get(pk=sender.row.pk))
        with scoped(EVERYTHING):
            receive(institution=claimant, claim=alone, by="clerk", at=later)
        assert loading.result()


def test_the_record_wins_over_what_a_file_says(sender: Sender) -> None:
    stranger = sender.claim("CF1", patient=sender.person())
    unreviewed = sender.claim("CF2", reviewed_by=None, reviewed_at=None)
    same_hand = sender.claim("CF3", reviewed_by=sender.doctor.code)
    sender.settled(sender.claim("CF1"))
    sender.settled(stranger, unreviewed, same_hand)
    assert all(text.startswith("reject") for text in reasons(stranger, unreviewed, same_hand))


def test_a_file_is_settled_as_its_claims_alone_would_be(sender: Sender) -> None:
    in_file = sender.claim("CF1")
    alone = sender.claim("CF2", patient=sender.person())
    sender.settled(in_file)
    answer = Client().post(
        "/api/v1/claims", json.dumps(alone), content_type="application/json",
        headers=sender.headers | {"Idempotency-Key": "one"},
    )  # fmt: skip
    assert answer.status_code == 201, answer.content.decode()
    set_scope(EVERYTHING)
    totals = [
        tuple(getattr(Settlement.objects.get(claim_id=row.pk), name)
              for name in ("state", "fee", "in_scope", "fund", "cash"))
        for row in (Claim.objects.get(claim_no=one["claim_no"]) for one in (in_file, alone))
    ]  # fmt: skip
    assert totals[0] == totals[1]


def test_a_drug_that_nobody_prescribed_stands_on_the_flow_and_no_more(sender: Sender) -> None:
    claim = sender.claim("CF1", drug_line("CF1"), drug_line("CF1", item=OTHER) | {"line_no": 3})
    sender.settled(claim)
    charges = PrescriptionCharge.objects.order_by("drug_code").values_list("drug_code", flat=True)
    assert sorted(charges) == sorted([DRUG, OTHER])
