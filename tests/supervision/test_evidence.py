"""The records that a finding names: what each rule says of a claim that it found."""

import datetime as dt
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from institutions.access import EVERYTHING, set_scope
from institutions.models import Region
from settlement.models import Claim, Delivery, Dispensing, Prescription
from supervision import evidence
from supervision.evidence import NOTES, Read
from supervision.models import Finding, FindingClaim
from supervision.rules import RULES
from tests import factories
from tests.factories import line
from tests.settlement.hospital import Hospital

DAY = dt.date(2021, 6, 15)
RX = {
    "no": "CF1", "signed_by": "D1", "signed_at": "2021-06-15T09:35:00+08:00", "reviewed_by": None,
    "reviewed_at": None, "lines": [{"drug_code": "X1", "days_supply": 28, "quantity": "1"}],
}  # fmt: skip


def read(**more: Any) -> Read:
    given: dict[str, Any] = {
        "encounter": {
            "id": "E1", "started_at": "2021-06-15T09:30:00+08:00",
            "ended_at": "2021-06-15T09:40:00+08:00",
            "session": {"medium": "video", "device": "phone-7", "address": "10.1.2.3"},
        },
        "consent": {}, "prescriptions": [RX], "day": DAY, "goods": [], "visit": None,
        "lines": {1: ("A1", 10_000, 600, 0, ""), 2: ("A1", 10_000, 600, 0, ""),
                  3: ("X1", 10_000, 2000, 0, "CF1")},
    }  # fmt: skip
    return Read(**given | more)


MET = "就诊 E1 视频 06-15 09:30–06-15 09:40"


@pytest.mark.parametrize(
    ("rule", "line_no", "more", "said"),
    [
        ("overlapping_sessions", 0, {}, MET),
        ("shared_device", 0, {}, f"{MET} 设备 phone-7"),
        ("shared_address", 0, {}, f"{MET} 网络地址 10.1.2.3"),
        ("duplicate_charge", 2, {}, "就诊 E1 项目 A1 金额 6.00 元，与第1行相同"),
        ("over_price", 1, {}, "就诊 E1 项目 A1 金额 6.00 元"),
        ("no_consent", 0, {}, f"{MET} 知情同意：未说明项目和价格，无同意记录"),
        ("first_visit_as_revisit", 0, {}, "就诊 E1 2021-06-15；没有线下就诊记录"),
        ("disease_window", 0, {"visit": ("2021-01-04", "I10")},
         "就诊 E1 2021-06-15；最近线下就诊 2021-01-04 诊断 I10"),
        ("prescription_unreviewed", 3, {}, "处方 CF1 医师签名 D1 06-15 09:35 无药师审核"),
        ("early_refill", 3, {}, "处方 CF1 药品 X1 2021-06-15 配取 用药28天"),
        ("drug_not_prescribed", 3, {"prescriptions": []}, "药品 X1 没有对应的处方"),
        ("missing_trace_codes", 3, {"goods": ["调配单 FY1"]},
         "处方 CF1 药品 X1 追溯码0个；调配单 FY1"),
        ("delivery_without_dispensing", 0, {"goods": ["运单 SF1"]},
         "处方 CF1、运单 SF1；没有调配（购药）记录"),
    ],
)  # fmt: skip
def test_a_note_names_the_record(rule: str, line_no: int, more: dict, said: str) -> None:
    assert NOTES[rule](read(**more), line_no) == said


def test_every_rule_names_its_records_or_compares_practices() -> None:
    compare = {"physician_fee_outlier", "physician_volume_outlier", "institution_fee_outlier"}
    assert set(NOTES) | compare == set(RULES)
    assert all(RULES[code].statistical for code in compare)


def test_the_page_shows_the_records_and_leads_to_the_way_of_the_prescription(db) -> None:
    factories.policies("wenzhou")
    hospital = Hospital("wenzhou", "employee")
    drug = line(2, kind="drug", item="D1", fee="20.00", prescription_no="P1")
    made = hospital.settled(line(), drug)
    set_scope(EVERYTHING)
    claim = Claim.objects.get(pk=made["id"])
    held = Prescription.objects.get(number="P1")
    place = {"region_code": claim.region_code, "institution_code": claim.institution_code}
    issuer = {"issuer_region": claim.region_code, "issuer_code": claim.institution_code}
    now = timezone.now()
    parcel = Dispensing.objects.create(
        prescription=held, number="FY1", dispensed_at=now, recorded_at=now, recorded_by="x",
        content_sm3="0" * 64, **place, **issuer,
    )  # fmt: skip
    Delivery.objects.create(
        dispensing=parcel, logistics_code="L", waybill="SF1", recorded_at=now, recorded_by="x"
    )
    said = evidence.notes("delivery_without_dispensing", [(claim.pk, 0)])
    assert said == {(claim.pk, 0): "处方 P1、调配单 FY1、运单 SF1"}
    said = evidence.notes("missing_trace_codes", [(claim.pk, 2)])
    assert said == {(claim.pk, 2): "处方 P1 药品 D1 追溯码0个；调配单 FY1、运单 SF1"}
    assert evidence.notes("physician_fee_outlier", [(claim.pk, 0)]) == {}
    found = Finding.objects.create(
        rule="missing_trace_codes", severity=1, clause="示例", message="没有追溯码", moment="audit",
        subject_kind="institution", subject_code=claim.institution_code,
        first_day=claim.service_date, last_day=claim.service_date, claims=1, fee=1, fund=1,
        key=b"x" * 32, found_at=now, **place,
    )  # fmt: skip
    FindingClaim.objects.create(
        finding=found, claim_id=claim.pk, line_no=2, note=said[claim.pk, 2], **place
    )
    user = factories.user("reviewer", Region.objects.get(pk="330300"))
    page = factories.log_in(Client(), user).get(reverse("finding", args=[found.pk]))
    text = page.content.decode()
    assert "追溯码0个；调配单 FY1、运单 SF1" in text
    assert reverse("claim-flow", args=[claim.pk]) in text
