"""What of a case its party does not read: words said inside, loans of the file, internal evidence."""

import datetime as dt

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.urls import reverse

from institutions.access import EVERYTHING, scoped, set_scope
from institutions.documents import store
from supervision import cases, disclosures
from supervision.models import ArchiveLoan, CaseEvidence
from tests import factories
from tests.settlement.test_pages import AT
from tests.supervision.casework import PDF, TODAY, Office

pytestmark = pytest.mark.django_db


@pytest.fixture
def office() -> Office:
    return Office()


def test_the_words_of_a_transfer_and_of_closing_are_the_offices(office: Office) -> None:
    case = office.inquired()
    office.notify(case, "transfer")
    office.take(case, "answer", office.hospital, facts={"text": "不认可", "waived": True})
    office.take(case, "consider", office.handler, note="不予采纳")
    office.take(
        case, "transfer", office.chief, note="涉嫌诈骗，待控制嫌疑人", facts={"organ": "市公安局"}
    )
    office.take(case, "confirm_transfer", office.handler, note="公安拟传唤院长",
                facts={"receiver": "李某"})  # fmt: skip
    office.take(case, "close", office.chief, note="结案意见内部")
    office.take(case, "archive", office.handler, note="副卷另存")
    address = reverse("case", args=[case.pk])
    inside = ("待控制嫌疑人", "公安拟传唤院长", "结案意见内部", "副卷另存")
    chief = factories.log_in(Client(), office.chief).get(address).content.decode()
    assert all(words in chief for words in inside)
    set_scope(EVERYTHING)
    page = factories.log_in(Client(), office.hospital).get(address).content.decode()
    assert not [words for words in inside if words in page]
    assert "不予采纳" in page


def test_a_loan_of_the_file_and_a_proposed_disclosure_are_the_offices(office: Office) -> None:
    case = office.inquired()
    office.decided(case, "agreement")
    office.take(case, "close", office.chief, note="结案")
    office.take(case, "archive", office.handler, note="一册")
    case.refresh_from_db()
    disclosures.ask_loan(case=case, purpose="纪检调阅", until=TODAY + dt.timedelta(days=3),
                         who=office.third, at=AT)  # fmt: skip
    shown = disclosures.propose(case=case, text="已责令整改。", by=office.handler.username, at=AT)
    hospital, address = factories.log_in(Client(), office.hospital), reverse("case", args=[case.pk])
    page = hospital.get(address).content.decode()
    assert "纪检调阅" not in page
    assert "待审批" not in page
    set_scope(EVERYTHING)
    assert "纪检调阅" in factories.log_in(Client(), office.chief).get(address).content.decode()
    set_scope(EVERYTHING)
    disclosures.approve(disclosure=shown, who=office.chief, at=AT)
    assert "已公布" in hospital.get(address).content.decode()
    set_scope(EVERYTHING)
    connection.cursor().execute("SET ROLE mip_app")
    with scoped(office.hospital.scope_codes()):
        assert not ArchiveLoan.objects.exists()
    assert ArchiveLoan.objects.exists()
    connection.cursor().execute("RESET ROLE")


def test_internal_evidence_is_neither_named_nor_given_to_the_party(office: Office) -> None:
    case, by = office.inquired(), office.handler.username
    secret = cases.add_file(case=case, title="证人赵六的询问笔录", file=PDF, kind="record",
                            internal=True, by=by, at=AT)  # fmt: skip
    open_one = cases.add_file(case=case, title="现场笔录", file=PDF, by=by, at=AT)
    office.notify(case, "agreement")
    listed = case.papers.get(kind="evidence").content["items"]
    assert [(row["title"], row["reference"]) for row in listed[1:]] == [
        ("内部材料，不向当事人公开", ""), ("现场笔录", open_one.reference),
    ]  # fmt: skip
    assert listed[1]["sm3"] == secret.digest
    hospital, chief = (factories.log_in(Client(), who) for who in (office.hospital, office.chief))
    page, file = reverse("case", args=[case.pk]), {
        row: reverse("case-evidence", args=[case.pk, row.pk]) for row in (secret, open_one)
    }  # fmt: skip
    assert "赵六" not in hospital.get(page).content.decode()
    assert [hospital.get(file[row]).status_code for row in file] == [404, 200]
    set_scope(EVERYTHING)
    assert "赵六" in chief.get(page).content.decode()
    assert chief.get(file[secret]).status_code == 200
    set_scope(EVERYTHING)
    connection.cursor().execute("SET ROLE mip_app")
    with scoped(office.hospital.scope_codes()):
        assert not CaseEvidence.objects.filter(internal=True).exists()
        assert CaseEvidence.objects.filter(pk=open_one.pk).exists()
    connection.cursor().execute("RESET ROLE")


def test_only_a_file_without_a_loss_is_internal(office: Office) -> None:
    case = office.inquired()
    kept = store(content=PDF[1], name="x.pdf", kind="case_evidence", subject=case.subject,
                 region_code=case.region_code, by="x", at=AT)  # fmt: skip
    values = {"case": case, "kind": "record", "reference": "x", "title": "x", "content": {},
              "digest": "0" * 64, "taken_at": AT, "taken_by": "x", "internal": True}  # fmt: skip
    for no, given in ((8, {"document": kept, "loss": 1}), (9, {"loss": 0})):
        with pytest.raises(IntegrityError, match="internal_file"), transaction.atomic():
            CaseEvidence.objects.create(no=no, **values | given)


def test_a_file_is_marked_internal_in_the_browser(office: Office) -> None:
    case = office.inquired()
    client = factories.log_in(Client(), office.handler)
    file = SimpleUploadedFile(*PDF, content_type="application/pdf")
    given = {"kind": "record", "title": "证人笔录", "internal": "on", "file": file}
    assert client.post(reverse("case-act", args=[case.pk, "file"]), given).status_code == 302
    set_scope(EVERYTHING)
    assert case.evidence.get(internal=True).title == "证人笔录"
