"""Manual claims in files: each names an invoice that nobody used, found at the dry run and at loading."""

import datetime as dt

import pytest

from institutions.access import EVERYTHING, set_scope
from institutions.refusals import Refusal
from settlement import invoices
from settlement.batch import commands, undo
from settlement.batch.chunk import settle_chunk
from settlement.models import Batch, Chunk, EInvoice, Reimbursement, Settlement
from tests import factories
from tests.settlement.agency import records
from tests.settlement.test_batch import Hospital

AT = dt.datetime(2021, 12, 20, 2, tzinfo=dt.UTC)


def test_a_file_names_every_missing_and_repeated_invoice(committed_db: str) -> None:
    hospital = Hospital(2)
    patient, doctor = hospital.patients[0], hospital.doctor
    invoices.use(number="3206-1", holder="reimbursement:1", region_code="320600", at=AT)
    bodies = [
        factories.body(patient, doctor, channel="manual", **more)
        for more in ({}, {"e_invoice_no": "3206-1"}, {"e_invoice_no": "3206-2"},
                     {"e_invoice_no": "32062"}, {"e_invoice_no": "3206-3"})
    ]  # fmt: skip
    shown = hospital.upload(bodies).json()
    assert [(e["row"], e["column"], e["code"]) for e in shown["errors"]] == [
        (1, "电子发票号", "INVOICE_MISSING"),
        (2, "电子发票号", "INVOICE_USED"),
        (3, "电子发票号", "INVOICE_USED"),
        (4, "电子发票号", "INVOICE_USED"),
    ]


def test_a_file_uses_its_invoices_when_it_is_loaded(committed_db: str) -> None:
    hospital = Hospital(2)
    bodies = [
        factories.body(patient, hospital.doctor, channel="manual", e_invoice_no=f"3206-{number}")
        for number, patient in enumerate(hospital.patients)
    ]
    first, second = (hospital.upload(bodies).json() for _ in range(2))
    assert (first["errors"], second["errors"]) == ([], [])
    _load(first["id"])
    set_scope(EVERYTHING)
    assert set(EInvoice.objects.values_list("holder", flat=True)) == {
        f"claim:{hospital.row.pk}/{body['claim_no']}" for body in bodies
    }
    _load(second["id"])
    assert Batch.objects.using("settler").get(pk=second["id"]).state == Batch.State.FAILED
    with pytest.raises(Refusal, match="INVOICE_USED"):
        invoices.use(number="3206-0", holder="reimbursement:9", region_code="320600", at=AT)


def test_a_claim_that_a_request_took_over_is_not_given_back(committed_db: str) -> None:
    hospital = Hospital(2)
    bodies = [
        factories.body(patient, hospital.doctor, channel="manual", e_invoice_no=f"3206-{number}")
        for number, patient in enumerate(hospital.patients)
    ]
    batch = hospital.upload(bodies).json()["id"]
    _load(batch)
    set_scope(EVERYTHING)
    mine, other = Settlement.objects.order_by("claim_id").values_list("claim_id", flat=True)
    case, _, _ = records(hospital.row, at=AT)
    Reimbursement.objects.filter(pk=case.pk).update(claim_id=mine, payable=600, state="calculated")
    found = Batch.objects.using("settler").get(pk=batch)
    for chunk in Chunk.objects.using("settler").filter(batch=batch):
        undo._reverse(found, chunk, by="clerk", at=AT)
    assert undo._given_back(batch) == 1
    set_scope(EVERYTHING)
    stands = {claim: max(rows) for claim in (mine, other) for rows in [
        Settlement.objects.filter(claim_id=claim).values_list("version", flat=True)]}  # fmt: skip
    assert stands == {mine: 1, other: 2}


def _load(batch_id: int) -> None:
    """Confirm, load and settle a batch without a worker."""
    commands.confirm(batch_id=batch_id, by="clerk", at=AT)
    commands.load(batch_id=batch_id, by="clerk", at=AT)
    for key in Chunk.objects.using("settler").filter(batch=batch_id).values_list("pk", flat=True):
        settle_chunk(key, by="clerk", at=AT)


def test_numbers_are_the_same_however_they_are_written() -> None:
    assert {invoices.normal(text) for text in ("3206-a1", "3206 A1", "3206A1")} == {"3206A1"}
