"""Pages of prescriptions: the list, the three flows with their gaps, missing evidence, who sees what."""

import datetime as dt
import re

import pytest
from django.test import Client
from django.urls import reverse

from audit.models import Event
from pricing.releases import current
from settlement import evidence
from settlement.models import Claim, Prescription
from tests import factories
from tests.settlement.drugs import (
    START,
    Pharmacy,
    carrier,
    charged,
    dispensing,
    drug_line,
    issued,
    issuer,
    moment,
    post,
    prescription,
    released,
    reviewed,
    sent,
)
from tests.settlement.hospital import Hospital
from tests.settlement.test_evidence import ENDED, HOUR, upload


@pytest.fixture
def hospital(db, time_machine) -> Hospital:
    return issuer(time_machine)


@pytest.fixture
def reviewer(hospital: Hospital) -> Client:
    return factories.log_in(Client(), factories.user("reviewer", hospital.row.region))


def words(answer) -> str:
    assert answer.status_code == 200, answer.status_code
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode()))


def page(client: Client, name: str, *args: object, query: str = "") -> str:
    return words(client.get(reverse(name, args=args) + query))


def test_the_whole_way_of_a_prescription_on_one_page(
    hospital: Hospital, reviewer: Client, time_machine
) -> None:
    time_machine.move_to(ENDED + HOUR / 2, tick=False)
    made = reviewed(hospital)
    for kind in ("record", "realname"):
        assert upload(hospital, made["encounter_id"], kind).status_code == 201
    time_machine.move_to(START + dt.timedelta(hours=2), tick=False)
    sent(hospital, prescription(hospital), encounter=_visit(made))
    first = post(hospital, dispensing(), made["links"]["dispensings"], 201)
    parcel = post(
        hospital, {"logistics": carrier().code, "waybill": "SF9"}, first["links"]["deliveries"], 201
    )
    for kind, at, more in (
        ("picked_up", 40, {}), ("delivered", 60, {}), ("signed", 61, {"relation": "family"}),
    ):  # fmt: skip
        post(hospital, {"kind": kind, "at": moment(at), **more}, parcel["links"]["steps"], 201)
    found = page(reviewer, "prescription", made["id"])
    for part in (
        "信息流", "就诊", "实名认证记录", "电子病历", "医师电子签名", "药师审核通过", "资金流", "申报 C",
        "结算：可支付", "物流", "调配 FY1", "81FY10001", "运单号 SF9", "签收（家属）", "药品核对",
    ):  # fmt: skip
        assert part in found, part
    assert hospital.patient.credential not in found
    assert "缺少" not in found
    assert Event.objects.filter(action="prescription.read").count() == 1


def test_a_signed_prescription_waits_for_the_pharmacist(
    hospital: Hospital, reviewer: Client
) -> None:
    """What has its turn still to come is no gap; upload and review stand in the order of time."""
    made = issued(hospital)
    found = page(reviewer, "prescription", made["id"])
    assert "待药师审核" in found
    assert "缺少：药师审核" not in found
    assert found.index("处方上传") < found.index("由医院药师在本院系统中审核")


def _visit(made: dict) -> dict:
    return Prescription.objects.get(pk=made["id"]).visit


def test_gaps_are_shown_as_such(hospital: Hospital, reviewer: Client, time_machine) -> None:
    """What nobody uploaded stands in its flow with the clause; what has time left only waits."""
    sent(hospital, prescription(hospital), drug_line(item="X-NOT-PRESCRIBED"))
    made = Prescription.objects.get()
    early = page(reviewer, "prescription", made.pk)
    assert "待上传：电子病历" in early
    assert "缺少：实名认证记录" in early
    time_machine.move_to(START + dt.timedelta(days=9), tick=False)
    reviewer = factories.log_in(Client(), factories.user("reviewer", hospital.row.region))
    late = page(reviewer, "prescription", made.pk)
    for part in ("缺少：电子病历", "缺少：购药记录", "缺少：调配记录", "处方外药品", "二十六"):
        assert part in late, part


def test_the_list_is_filtered_and_scoped(hospital: Hospital, reviewer: Client) -> None:
    reviewed(hospital)
    reviewed(hospital, number="CF2")
    assert "CF1" in page(reviewer, "prescriptions")
    only = page(reviewer, "prescriptions", query="?number=CF2&state=reviewed&since=2021-06-01")
    assert "CF2" in only
    assert "CF1" not in only
    assert "没有符合条件的处方" in page(reviewer, "prescriptions", query="?state=expired")
    assert "没有符合条件的处方" in page(reviewer, "prescriptions", query="?since=nonsense")
    paged = page(reviewer, "prescriptions", query="?size=20&cursor=<999999999")
    assert "CF2" in paged
    other = factories.log_in(Client(), factories.user("reviewer", factories.region("nantong")))
    assert "CF1" not in page(other, "prescriptions")
    row = Prescription.objects.get(number="CF1")
    assert other.get(reverse("prescription", args=[row.pk])).status_code == 404


def test_a_pharmacy_sees_what_was_released_to_it(hospital: Hospital) -> None:
    pharmacy = Pharmacy()
    made = released(hospital, pharmacy)
    reviewed(hospital, number="CF2")
    client = factories.log_in(Client(), factories.user("hospital", pharmacy.row))
    listed = page(client, "prescriptions")
    assert "CF1" in listed
    assert "CF2" not in listed
    found = page(client, "prescription", made["id"])
    assert f"流转至 {pharmacy.row.name}" in found
    hidden = Prescription.objects.get(number="CF2").pk
    assert client.get(reverse("prescription", args=[hidden])).status_code == 404


def test_what_a_pharmacy_claimed_is_not_counted_out_of_sight(hospital: Hospital) -> None:
    """The issuing hospital learns that there is a claim, not whether it stands: no number is told."""
    pharmacy = Pharmacy()
    made = released(hospital, pharmacy)
    post(pharmacy, dispensing(), made["links"]["dispensings"], 201)
    post(pharmacy, charged(hospital), made["links"]["claims"], 201)
    own = factories.log_in(Client(), factories.user("hospital", hospital.row))
    found = page(own, "prescription", made["id"])
    assert "另有 1 笔申报" in found
    assert "28 2 0 —" in found
    assert "开具机构" not in page(own, "prescriptions")


def test_a_claim_leads_to_its_flow(hospital: Hospital, reviewer: Client) -> None:
    with_one = hospital.settled(drug_line(), prescriptions=[as_carried(hospital)])
    answer = reviewer.get(reverse("claim-flow", args=[with_one["id"]]))
    made = Prescription.objects.get()
    assert answer.headers["Location"] == reverse("prescription", args=[made.pk])
    without = hospital.settled(prescriptions=[])
    told = page(reviewer, "claim-flow", without["id"])
    assert "本次就诊没有处方" in told
    assert "三流" in page(reviewer, "claim", without["id"])
    assert reviewer.get(reverse("claim-flow", args=[2**63])).status_code == 404
    assert reviewer.get(reverse("prescription", args=[2**63])).status_code == 404


def as_carried(hospital: Hospital) -> dict:
    return {
        "no": "CF1", "signed_by": hospital.doctor.code, "signed_at": moment(5),
        "reviewed_by": hospital.pharmacist.code, "reviewed_at": moment(10),
        "lines": prescription(hospital)["lines"],
    }  # fmt: skip


def test_missing_evidence_is_listed(hospital: Hospital, reviewer: Client) -> None:
    sent(hospital, prescription(hospital))
    assert "没有缺少或迟交的材料" in page(reviewer, "evidence-gaps")
    evidence.watch(catalogue=current(), region="wenzhou", by="test", at=ENDED + 30 * HOUR)
    listed = page(reviewer, "evidence-gaps")
    encounter = Claim.objects.get().encounter_id
    assert listed.count(encounter) >= 3
    assert "迟交" in page(reviewer, "evidence-gaps", query="?state=late&kind=prescription")
    own = factories.log_in(Client(), factories.user("hospital", hospital.row))
    assert encounter in page(own, "evidence-gaps")
    assert "补交就诊材料" in page(own, "inbox")
    stranger = factories.log_in(
        Client(), factories.user("hospital", factories.institution("wenzhou"))
    )
    assert encounter not in page(stranger, "evidence-gaps")


def test_pages_read_a_fixed_number_of_times(
    hospital: Hospital, reviewer: Client, django_assert_max_num_queries
) -> None:
    for number in range(4):
        reviewed(hospital, number=f"CF{number}")
    with django_assert_max_num_queries(16):
        reviewer.get(reverse("prescriptions"))
    made = Prescription.objects.order_by("pk").first()
    with django_assert_max_num_queries(36):
        reviewer.get(reverse("prescription", args=[made.pk]))
