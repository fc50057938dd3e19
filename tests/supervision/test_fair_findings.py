"""A finding is decided by another person, counts once, and against whom it is about, each for its own share."""

import hashlib
import io
import json
from typing import Any

import numpy as np
import pikepdf
import pytest
from django.test import Client
from django.urls import reverse

from audit.models import Event
from audit.procedure import Refused
from institutions.access import EVERYTHING, set_scope
from institutions.refusals import Refusal
from pricing.releases import current
from pricing.watching import Switch
from settlement.columns import day_number
from supervision import assessing, cases, credit, findings, inspections, sanctions, suspicions
from supervision.credit import Who
from supervision.models import Finding, FindingClaim
from supervision.reports import institution, wish
from supervision.rules import RULES, Visits
from supervision.rules.data import Found
from supervision.suspicions import Cited, Looked, Names, Place
from supervision.told_api import _finding as told
from supervision.views import case_acts
from tests import factories
from tests.settlement.test_pages import AT
from tests.supervision.casework import ACTED, TODAY, Office
from tests.supervision.printed import text_of
from tests.supervision.test_inspections import announced, drawn, drawn_one, seen

pytestmark = pytest.mark.django_db


@pytest.fixture
def office(settings) -> Office:
    settings.DEMO_TODAY = TODAY
    return Office()


def found(office: Office, **given: Any) -> Finding:
    values: dict[str, Any] = {
        "region_code": office.region.pk, "institution_code": office.place.pk,
        "rule": "duplicate_charge", "behaviour": "duplicate_charge", "severity": 3,
        "clause": "示例", "message": "重复收取诊察费", "moment": "audit", "subject_kind": "claim",
        "subject_code": "1", "first_day": ACTED, "last_day": ACTED, "claims": 1, "fee": 0,
        "fund": 0, "key": hashlib.sha256(str(Finding.objects.count()).encode()).digest(),
        "found_at": AT,
    }  # fmt: skip
    return Finding.objects.create(**values | given)


def on_claims(office: Office, *claims: tuple[int, int], **given: Any) -> Finding:
    """A finding on claims of the hospital: (claim, what the fund paid)."""
    made = found(office, claims=len(claims), fund=sum(fund for _, fund in claims), **given)
    FindingClaim.objects.bulk_create(
        FindingClaim(finding=made, claim_id=claim, region_code=made.region_code,
                     institution_code=made.institution_code) for claim, _ in claims
    )  # fmt: skip
    return made


# --- Another person decides ---


def test_an_inspector_does_not_confirm_what_they_found_themselves(office: Office) -> None:
    task = drawn(office, wanted=1).tasks.get()
    announced(office, task)
    inspector = drawn_one(office, task)
    inspections.record(task=task, seen=seen(), who=inspector, at=AT)
    made = Finding.objects.get()
    event = Event.objects.get(action="finding.record", subject=f"finding:{made.pk}")
    assert (event.actor, json.loads(bytes(event.body))["detail"]) == (
        inspector.username, {"inspection": task.number, "behaviour": "substituted_item"},
    )  # fmt: skip
    for act in (findings.confirm, findings.refute):
        with pytest.raises(Refusal, match="SAME_PERSON"):
            act(finding=made, reason="属实", by=inspector.username, at=AT)
    findings.confirm(finding=made, reason="属实", by=office.reviewer.username, at=AT)
    assert findings.precision(Finding.objects.all()) == []


def test_who_found_it_on_the_spot_is_known_from_its_figures_too(office: Office) -> None:
    made = found(office, rule="inspection", moment="manual", figures={"by": "jiancha"})
    with pytest.raises(Refusal, match="SAME_PERSON"):
        findings.confirm(finding=made, reason="属实", by="jiancha", at=AT)


# --- A loss counts once ---


def test_a_claim_counts_once_in_the_loss_of_a_case(office: Office) -> None:
    (one, fund), (two, other) = office.claim(), office.claim()
    assert fund > 0
    case = office.inquired()  # one more claim, of its own
    start = cases.loss_of(case)
    first = on_claims(office, (one.pk, fund), (two.pk, other))
    second = on_claims(office, (two.pk, other), rule="over_price")
    by = office.handler.username
    for row in (first, second):
        cases.add_finding(case=case, finding=row, by=by, at=AT)
    cases.add_claim(case=case, claim_no=one.claim_no, loss=fund, note="重复收费", by=by, at=AT)
    assert cases.loss_of(case) == start + fund + other
    assert [row.loss for row in case.evidence.all()] == [start, fund + other, 0, 0]
    yuan = f"{fund // 100}.{fund % 100:02d}"
    assert case.evidence.last().title == f"重复收费（其中{yuan}元已由前列证据计入）"
    with pytest.raises(Refusal, match="MORE_THAN_LOST"):
        office.propose(case, "recovery", amount=start + fund + other + 1, scheme="resident")
    office.propose(case, "recovery", amount=start + fund, scheme="resident")
    office.decided(case, "agreement", loss=f"{(start + fund) / 100:.2f}")
    done = office.execute(case)
    assert [part.get("claim") for part in done[0].effects] == [
        case.evidence.first().reference, one.claim_no,
    ]  # fmt: skip
    assert sum(part["amount"] for part in done[0].effects) == start + fund


def test_more_that_is_said_of_a_listed_claim_is_added(office: Office) -> None:
    claim, fund = office.claim()
    case, by = office.inquired(), office.handler.username
    start = cases.loss_of(case)
    cases.add_claim(case=case, claim_no=claim.claim_no, loss=100, note="部分", by=by, at=AT)
    cases.add_finding(case=case, finding=on_claims(office, (claim.pk, fund)), by=by, at=AT)
    assert cases.loss_of(case) == start + fund


# --- Each for its own share ---


def test_each_institution_has_its_own_rows_and_its_own_share(office: Office) -> None:
    other = factories.institution("nantong")
    mine, theirs = Place(office.place.pk, office.region.pk), Place(other.pk, other.region_id)
    (one, paid), (two, _) = office.claim(), office.claim()
    day = day_number(ACTED)
    visits = Visits(
        {"id": np.array([one.pk, two.pk, 77]), "institution": np.array([1, 1, 2]),
         "physician": np.array([5, 5, 5]), "person": np.array([3, 4, 9]),
         "day": np.array([day] * 3), "fee": np.array([1_000, 500, 200]),
         "fund": np.array([600, 300, 70])},
        {"claim": np.zeros(0, np.int64)},
    )  # fmt: skip
    rule = RULES["sessions_per_hour"]
    hits = Found.groups(np.array([0, 1, 2]), np.zeros(3, np.int64), subject=np.array([5]),
                        mark=np.array([day]))  # fmt: skip
    switch = Switch(1_000, rule.code, rule.behaviour, 2, "二十四", ("audit",), "pay")
    names = Names({1: mine, 2: theirs}, {5: "D1"})
    ones = list(suspicions.suspicions(visits, switch, rule, hits, names))
    policy = current().rules("nantong", ACTED, examples=True).policy
    suspicions.store(ones, Looked(Cited(policy), "audit", "night", AT))
    row = Finding.objects.get()
    assert (row.institution_code, row.fund) == (other.pk, 970)
    assert set(row.evidence.values_list("claim_id", "institution_code")) == {
        (one.pk, office.place.pk), (two.pk, office.place.pk), (77, other.pk),
    }  # fmt: skip
    assert row.share_of(other.pk) == (1, 200, 70)
    assert row.share_of(office.place.pk) == (2, 1_500, 900)
    assert row.share_of("H999") == (0, 0, 0)
    asked = wish.Wish(since=ACTED, until=ACTED, region=other.region_id, institution=other.pk)
    assert institution._findings(other, asked, office.chief) == [
        {"rule": "sessions_per_hour", "state": "open", "number": 1, "fund": 70}
    ]

    case = office.inquired()
    assert [key for key, _ in case_acts._findings(case)] == [row.pk]
    item = cases.add_finding(case=case, finding=row, by=office.handler.username, at=AT)
    assert item.loss == 900
    assert {claim for claim, _ in item.content["claims_of"]} == {one.pk, two.pk}
    assert "shares" not in item.content["parameters"]

    findings.confirm(finding=row, reason="属实", by=office.second.username, at=AT)
    office.notify(case, "agreement", loss="9.00")
    row.refresh_from_db()
    assert row.told_at is None  # the notice went to another institution
    findings.tell(finding=row, by=office.second.username, at=AT)
    client = factories.log_in(Client(), factories.user("hospital", other))
    page = client.get(reverse("finding", args=[row.pk])).content.decode()
    assert "0.70 元" in page
    assert "9.70 元" not in page
    assert f"/claims/{one.pk}/" not in page
    paper = client.get(reverse("finding-paper", args=[row.pk])).content
    set_scope(EVERYTHING)
    with pikepdf.Pdf.open(io.BytesIO(paper)) as file:
        held = json.loads(file.attachments["finding.json"].get_file().read_bytes())
    assert "shares" not in held["parameters"]
    assert [line[1] for line in held["evidence"]] == ["77"]
    said = text_of(paper)
    assert "0.70 元" in said
    assert "9.70 元" not in said
    row.refresh_from_db()
    answer = told(row, other.pk)
    assert (answer["claims"], answer["fee"], answer["fund"]) == (
        ["/api/v1/claims/77"], "2.00", "0.70",
    )  # fmt: skip
    assert assessing._findings(office.place, ACTED.year, TODAY).good < 3
    assert paid > 0


# --- Against whom it is about ---


def test_a_finding_counts_against_whom_it_is_about(office: Office) -> None:
    person, doctor = office.house.patient, office.house.doctor
    given: dict[str, Any] = {"person_id": person.pk, "physician_code": doctor.pk}
    rows = [
        found(office, **given),
        found(office, subject_kind="physician", subject_code=doctor.pk, physician_code=doctor.pk),
        found(office, subject_kind="institution", subject_code=office.place.pk, **given),
        found(office, subject_kind="person", behaviour="split_service", **given),
        found(office, subject_kind="person", behaviour="other", **given),
    ]  # fmt: skip
    for row in rows:
        findings.confirm(finding=row, reason="属实", by="x", at=AT)
    place = office.place
    counted = {
        kind: credit._findings(Who(kind, code, place.region_id, "", pk), TODAY.year)
        for kind, code, pk in (
            ("institution", place.pk, None), ("practitioner", doctor.pk, None),
            ("person", f"person:{person.pk}", person.pk),
        )
    }  # fmt: skip
    assert counted == {"institution": 3, "practitioner": 1, "person": 1}


def test_measures_are_told_with_the_loss_once(office: Office) -> None:
    claim, fund = office.claim()
    case, by = office.inquired(), office.handler.username
    start = cases.loss_of(case)
    cases.add_finding(case=case, finding=on_claims(office, (claim.pk, fund)), by=by, at=AT)
    cases.add_claim(case=case, claim_no=claim.claim_no, loss=fund, note="x", by=by, at=AT)
    office.propose(case, "interview")
    with pytest.raises(Refused, match="损失超过证据清单所列金额合计"):
        office.notify(case, "agreement", loss=f"{(start + 2 * fund) / 100:.2f}")
    office.notify(case, "agreement", loss=f"{(start + fund) / 100:.2f}")
    listed = case.papers.get(kind="evidence").content["items"]
    assert sum(row["loss"] for row in listed) == start + fund
    assert sanctions.unfinished(case) == 1
