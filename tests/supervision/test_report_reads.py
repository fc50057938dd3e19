"""Who may take which report away, over REST too; whose data it holds is in the event; what an auditor takes along."""

import io
import json
import zipfile

import pytest
from django.test import Client
from django.urls import reverse

from audit import sealer
from audit.models import Event
from audit.text import mask_id
from institutions.models import Region
from settlement.models import InsuredPerson
from settlement.register.commands import named, reached
from supervision import cases
from supervision.models import ReportOrder, SupervisionCase
from supervision.reports.wish import Wish
from tests import factories
from tests.settlement.test_looks import looks
from tests.settlement.test_pages import AT
from tests.supervision.casework import PDF, TODAY, Office
from tests.supervision.printed import figures_in, made, text_of, wish
from tests.supervision.test_auditing import NOW, Claim, one_claim, paid, visited
from tests.supervision.test_told_api import Reader

__all__ = ["visited"]


@pytest.fixture
def office(db, settings) -> Office:
    settings.DEMO_TODAY = TODAY
    return Office()


def case_report(office: Office) -> ReportOrder:
    """The kept file of a case about the hospital's patient."""
    person = office.house.patient
    case = office.inquired(subject_kind="person", subject_code=person.subject, person=person)
    about = Wish(
        since=case.acted_from, until=case.acted_until, region="320600", subject=case.number
    )
    return made("case", office.handler, about)[0]


def test_taking_the_file_of_a_person_s_case_away_is_an_event_about_the_person(office) -> None:
    row = case_report(office)
    client = factories.log_in(Client(), office.handler)
    assert client.get(reverse("report-file", args=[row.pk])).content[:4] == b"%PDF"
    for ending in ("json", "xlsx", "csv"):
        assert client.get(reverse("report-data", args=[row.pk, ending])).status_code == 200
    digest = bytes(office.house.patient.id_hash)
    assert (
        looks("report.read") == [(f"report:{row.report_id}", office.handler.username, digest)] * 4
    )


def test_a_report_about_nobody_is_taken_away_with_one_event(place) -> None:
    user = place.user("supervisor")
    row, _ = made("fund", user, wish(place))
    factories.log_in(Client(), user).get(reverse("report-file", args=[row.pk]))
    assert looks("report.read") == [(f"report:{row.report_id}", user.username, b"")]


def test_files_of_cases_and_of_the_trail_are_not_for_systems(office, place) -> None:
    """A system has a scope and no role: what only some roles may read stays in the portal."""
    case = case_report(office)
    extract, _ = made("trail", place.user("auditor"), wish(place))
    fund, _ = made("fund", place.user("supervisor"), wish(place))
    nantong = Reader(factories.office_token(Region.objects.get(pk="320600")))
    wenzhou = Reader(factories.office_token(Region.objects.get(pk="330300")))
    assert nantong.json("reports")["results"] == []
    assert [row["id"] for row in wenzhou.json("reports")["results"]] == [fund.pk]
    for reader, row in ((nantong, case), (wenzhou, extract)):
        assert reader.json(f"reports?kind={row.kind}", 400)["code"] == "PARAMETER"
        for form in ("pdf", "data"):
            assert reader.json(f"reports/{row.pk}/{form}", 404)["code"] == "NOT_FOUND"
    assert wenzhou.get(f"reports/{fund.pk}/pdf").status_code == 200


def test_free_texts_of_a_case_hide_the_person_that_it_is_about(office) -> None:
    """Name, ID number and telephone; every other ID number, too."""
    person = factories.person("nantong")
    number, digest = person.credential, person.id_hash
    InsuredPerson.objects.filter(pk=person.pk).update(
        **named(digest, "钱大明"), **reached(digest, "13800001111")
    )
    said = f"钱大明（{number}，电话13800001111）与32060119900101002X串通"
    case = office.inquired(
        subject_kind="person", subject_code=person.subject, person=person, title="钱大明冒名就医",
        summary=said,
    )  # fmt: skip
    cases.add_file(case=case, title="钱大明询问笔录", file=PDF, by=office.handler.username, at=AT)
    SupervisionCase.objects.filter(pk=case.pk).update(facts=said, statement=said)
    about = Wish(
        since=case.acted_from, until=case.acted_until, region="320600", subject=case.number
    )
    _, content = made("case", office.handler, about)
    figures = figures_in(content)
    hidden = f"钱*明（{mask_id(number)}，电话{mask_id('13800001111')}）与{mask_id('32060119900101002X')}串通"
    assert [figures[name] for name in ("summary", "facts", "statement")] == [hidden] * 3
    assert (figures["title"], figures["evidence"][1]["title"]) == ("钱*明冒名就医", "钱*明询问笔录")
    text = text_of(content)
    assert not [clear for clear in ("钱大明", number, "13800001111") if clear in text]


def test_free_texts_of_a_case_hide_the_patients_of_its_evidence(office) -> None:
    patient = office.house.patient
    InsuredPerson.objects.filter(pk=patient.pk).update(**named(patient.id_hash, "孙小红"))
    case = office.inquired(summary="孙小红同日两次收费")
    about = Wish(
        since=case.acted_from, until=case.acted_until, region="320600", subject=case.number
    )
    _, content = made("case", office.handler, about)
    assert figures_in(content)["summary"] == "孙*红同日两次收费"


# --- What an auditor looks at and takes along ---


def test_a_refused_verdict_shows_the_chain_and_is_a_look_too(visited) -> None:
    auditor = factories.user("auditor", Region.objects.get(pk="320600"))
    sample = one_claim(auditor)
    claim = sample.claims.get().claim_id
    client = factories.log_in(Client(), auditor)
    answer = client.post(reverse("claim-chain", args=[sample.pk, claim]), {})
    assert (answer.status_code, "费用与明细" in answer.content.decode()) == (422, True)
    digest = bytes(visited.patient.id_hash)
    assert looks("sample.follow") == [(f"claim:{claim}", auditor.username, digest)]


def test_the_bundle_goes_from_the_receipt_to_the_voucher(visited) -> None:
    """Statement, payment list and voucher of the drawn claim are in it, and proven."""
    auditor = factories.user("auditor", Region.objects.get(pk="320600"))
    sample = one_claim(auditor)
    claim = Claim.objects.get(pk=sample.claims.get().claim_id)
    statement, order = paid(visited, claim.period)
    sealer.seal(at=NOW, machine=NOW, everything=True)
    client = factories.log_in(Client(), auditor)
    content = client.get(reverse("sample-bundle", args=[sample.pk])).content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        lines = archive.read("bundle.jsonl").decode().splitlines()
    rows = [json.loads(line) for line in lines]
    acts = {(row["body"]["subject"], row["body"]["action"]) for row in rows if row.get("body")}
    assert {
        (f"claim:{claim.pk}", "claim.receive"), (statement.subject, "statement.confirm"),
        (order.list.subject, "payment.approve"), (order.list.subject, "payment.results"),
    } - acts == set()  # fmt: skip
    vouchers = {subject for subject, action in acts if action == "voucher.payment"}
    assert vouchers == set(
        Event.objects.filter(action="voucher.payment").values_list("subject", flat=True)
    )
    assert len(vouchers) == 1
    page = client.get(reverse("claim-chain", args=[sample.pk, claim.pk])).content.decode()
    assert "拨付入账" in page
