"""Trace codes and deliveries: one meaning when a visit is open, at submit and in an audit."""

import datetime as dt
from typing import Any

import numpy as np
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from institutions.access import EVERYTHING, set_scope
from pricing.models import Drug, DrugList
from pricing.releases import current
from pricing.rules import SERVICES
from settlement.kernel import REJECT
from settlement.models import Claim, Evidence, LineResult
from supervision.load import load
from supervision.models import Finding
from supervision.rules import RULES, Found, Visits
from tests import factories
from tests.factories import line
from tests.settlement.drugs import (
    DRUG,
    Pharmacy,
    as_carried,
    charged,
    dispensing,
    drug_line,
    issuer,
    post,
    prescription,
    released,
    reviewed,
)
from tests.settlement.hospital import Hospital
from tests.supervision.test_prechecks import URL
from tests.supervision.test_watch import WATCH

RULE, GOODS = "missing_trace_codes", "delivery_without_dispensing"
DAYS = dt.date(2021, 6, 1), dt.date(2021, 6, 30)
NUMBERS = {"share": 3_000, "lines": 20}
DELIVERY = line(3, kind="delivery", item="PS1", fee="5.00")


@pytest.fixture
def hospital(db, settings, time_machine) -> Hospital:
    settings.SETTLEMENT_WATCH = WATCH
    return issuer(time_machine)


def body_of(hospital: Hospital, given: dict, *lines: dict) -> dict:
    carried = as_carried(hospital, prescription(hospital, given["no"]))
    body = hospital.body(*(lines or (drug_line(),)), prescriptions=[carried])
    return body | {"encounter": body["encounter"] | {"id": given["encounter_id"]}}


def hints(hospital: Hospital, body: dict) -> dict[str, dict]:
    """What a reminder says of the rules of goods."""
    asked = {key: value for key, value in body.items() if key not in ("claim_no", "channel")}
    answer = hospital.post(asked, url=URL)
    assert answer.status_code == 200, answer.content.decode()
    assert {RULE, GOODS} <= set(answer.json()["checked"])
    return {one["code"]: one for one in answer.json()["hints"] if one["code"] in (RULE, GOODS)}


def audited(rule: str) -> Found:
    """What an audit of the month finds."""
    set_scope(EVERYTHING)
    with connection.cursor() as cursor:
        spans = current().spans("wenzhou", *DAYS)
        visits = load(cursor, "wenzhou", *DAYS, back=0, spans=spans).visits
    return RULES[rule].find(visits, NUMBERS)


def untraced(number: str = "FY1", quantity: str = "2") -> dict:
    return dispensing(number, lines=[{"drug_code": DRUG, "quantity": quantity}])


def test_drugs_that_were_handed_out_without_codes_are_told_found_and_audited(hospital) -> None:
    made = reviewed(hospital)
    body = body_of(hospital, made)
    assert hints(hospital, body) == {}  # not handed out: codes may follow
    post(hospital, untraced(), made["links"]["dispensings"], 201)
    told = hints(hospital, body)[RULE]
    assert (told["lines"], told["clause"]["clause"], told["at_submit"]) == ([2], "二十六", "pay")
    assert told["figures"] == {"lines": 1, "missing": 1, "share": 10_000}
    assert Finding.objects.count() == 0
    answer = post(hospital, body, "/api/v1/claims", 201)
    assert answer["lines"][0]["decision"] != "review"  # found and paid
    set_scope(EVERYTHING)
    found = Finding.objects.get(rule=RULE)
    assert (found.moment, found.subject_code) == ("watch", hospital.row.code)
    assert [(row.claim_id, row.line_no) for row in found.evidence.all()] == [(answer["id"], 2)]
    again = audited(RULE)
    assert again.mark.tolist() == [-answer["id"]]
    assert again.line_no.tolist() == [2]


def test_each_package_needs_its_code_where_the_list_counts_packages(hospital) -> None:
    listed = DrugList.objects.create(
        region="wenzhou", version="1", title="示例", source_kind="example", source_ref="示例",
        valid_from=dt.date(2021, 1, 1), drafted_by="a", drafted_at=factories.RECORDED,
        drugs_count=1,
    )  # fmt: skip
    Drug.objects.create(catalogue=listed, code=DRUG, name="示例", unit="盒", category="A")
    made = reviewed(hospital)
    first = dispensing("FY1", "1")
    post(hospital, first, made["links"]["dispensings"], 201)
    post(hospital, untraced("FY2", "1"), made["links"]["dispensings"], 201)
    DrugList.objects.filter(pk=listed.pk).update(
        state="published", sm3="0" * 64, published_by="b", published_at=factories.RECORDED
    )
    body = body_of(hospital, made)
    assert hints(hospital, body)[RULE]["lines"] == [2]  # two packages, one code
    body["lines"][0]["trace_codes"] = ["81FY10001", "81FY20001"]
    assert hints(hospital, body) == {}  # the message carries them


def test_what_came_back_needs_no_code(hospital) -> None:
    made = reviewed(hospital)
    given = post(hospital, untraced(), made["links"]["dispensings"], 201)
    back = {"no": "TY1", "returned_at": dispensing()["dispensed_at"], "reason": "undelivered",
            "lines": [{"drug_code": DRUG, "quantity": "2"}]}  # fmt: skip
    post(hospital, back, given["links"]["returns"], 201)
    assert hints(hospital, body_of(hospital, made)) == {}


def test_a_pharmacy_is_judged_by_what_it_handed_out_itself(hospital) -> None:
    pharmacy = Pharmacy()
    made = released(hospital, pharmacy)
    post(pharmacy, untraced(), made["links"]["dispensings"], 201)
    claim = post(pharmacy, charged(hospital), made["links"]["claims"], 201)
    set_scope(EVERYTHING)
    found = Finding.objects.get(rule=RULE)
    assert (found.institution_code, found.moment) == (pharmacy.row.code, "watch")
    assert audited(RULE).mark.tolist() == [-claim["id"]]


def test_a_delivery_is_told_until_its_dispensing_is_recorded(hospital) -> None:
    made = reviewed(hospital)
    body = body_of(hospital, made, drug_line(), DELIVERY)
    assert hints(hospital, body)[GOODS]["gravity"] == 3
    post(hospital, dispensing(), made["links"]["dispensings"], 201)
    assert hints(hospital, body) == {}


def test_a_recorded_delivery_without_goods_is_found_at_submit_and_by_the_audit(hospital) -> None:
    made = reviewed(hospital)
    body = body_of(hospital, made, drug_line(), DELIVERY)
    place = {"region_code": hospital.row.region_id, "institution_code": hospital.row.code}
    other = hospital.body(drug_line(), claim_no="other", encounter=body["encounter"])
    refused = post(hospital, body, "/api/v1/claims", 201)
    set_scope(EVERYTHING)
    line_of = LineResult.objects.get(claim_id=refused["id"], line_no=3)
    assert line_of.decision == REJECT  # a fee that the law refuses is no delivery
    assert not Finding.objects.filter(rule=GOODS).exists()
    claim = Claim.objects.get(pk=refused["id"])
    Evidence.objects.create(
        encounter_id=claim.encounter_id, encounter_key=claim.encounter_key, kind="delivery",
        content_hash=b"x" * 32, at=claim.received_at, reference="运单 SF1",
        received_at=claim.received_at, received_by="x", **place,
    )  # fmt: skip
    answer = post(hospital, other | {"prescriptions": body["prescriptions"]}, "/api/v1/claims", 201)
    set_scope(EVERYTHING)
    found = Finding.objects.get(rule=GOODS)
    assert (found.moment, found.severity) == ("watch", 3)
    assert sorted(audited(GOODS).subject.tolist()) == [refused["id"], answer["id"]]


def test_goods_cost_no_statement_of_their_own(hospital, settings) -> None:
    made = reviewed(hospital)
    counts = {}
    for name, path in (("warm", WATCH), ("off", ""), ("on", WATCH)):
        settings.SETTLEMENT_WATCH = path
        for kind, lines in (("visit", (line(),)), ("goods", (line(), drug_line(quantity="0.1",
                                                                             fee="1.00")))):  # fmt: skip
            body = body_of(hospital, made, *lines) | {"claim_no": f"{name}-{kind}"}
            with CaptureQueriesContext(connection) as caught:
                assert hospital.post(body).status_code == 201
            counts[name, kind] = len(caught)
    asked = counts["on", "visit"] - counts["off", "visit"]
    assert counts["on", "goods"] - counts["off", "goods"] == asked


def month_of_lines(n: int, bare: int, **columns: Any) -> Found:
    """The rule over `n` claims of one drug line, the first `bare` of them without codes."""
    drug = np.full(n, SERVICES.index("drug"))
    visits = Visits(
        {"id": np.arange(1, n + 1), "institution": np.full(n, 7), "day": np.full(n, 18_800)},
        {"claim": np.arange(n), "line_no": np.ones(n, np.int64), "service": drug,
         "traces": (np.arange(n) >= bare).astype(np.int64)} | columns,
    )  # fmt: skip
    return RULES[RULE].find(visits, NUMBERS)


def test_a_month_of_bare_lines_is_one_suspicion_and_records_make_up_for_them() -> None:
    found = month_of_lines(60, 25)
    assert (len(found), len(found.rows), found.figures["share"].tolist()) == (1, 25, [4_166])
    assert found.mark.tolist() == [617]
    assert len(month_of_lines(60, 25, recorded=np.ones(60, np.int64))) == 0
    short = month_of_lines(60, 19, needed=(np.arange(60) < 2).astype(np.int64))
    assert short.mark.tolist() == [-1, -2]
    whole = month_of_lines(60, 25, needed=(np.arange(60) < 2).astype(np.int64))
    assert whole.mark.tolist() == [617]
