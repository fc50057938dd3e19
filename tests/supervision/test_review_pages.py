"""The pages of fee reviews: queue, visit, verdicts without a script, bulk, samples; the hospital's side."""

import json
import re

import pytest
from django.test import Client
from django.urls import reverse

from audit.models import Event
from institutions.access import EVERYTHING, set_scope
from settlement.models import (
    Claim,
    Delivery,
    DeliveryEvent,
    Dispensing,
    Evidence,
    Prescription,
)
from supervision.models import Review, SamplingPlan
from supervision.review_sources import open_by_hand
from tests import factories
from tests.factories import line
from tests.settlement.hospital import Hospital
from tests.supervision.test_reviews import AT, DAY, Bureau, finding

API = "/api/v1/reviews"


@pytest.fixture
def bureau(db, settings) -> Bureau:
    settings.DEMO_TODAY = DAY
    return Bureau()


def client_of(user) -> Client:
    return factories.log_in(Client(), user)


def page(client: Client, name: str, *args: object, status: int = 200, **query: str) -> str:
    answer = client.get(reverse(name, args=args), query)
    assert answer.status_code == status
    return answer.content.decode()


def send(client: Client, name: str, *args: object, **data: object):
    return client.post(reverse(name, args=args), data)


def fresh(case: Review) -> Review:
    set_scope(EVERYTHING)
    return Review.objects.get(pk=case.pk)


def test_the_queue_takes_in_what_is_held_and_shows_it_by_urgency(bureau: Bureau) -> None:
    claim = bureau.held()
    first = client_of(bureau.first)
    assert "没有符合条件的审核" in page(first, "reviews")
    assert send(first, "reviews-collect").status_code == 302
    text = page(first, "reviews")
    assert claim["claim_no"] in text
    assert "剩 10 个工作日" in text
    assert claim["claim_no"] not in page(first, "reviews", source="sample")
    assert claim["claim_no"] in page(first, "reviews", institution=bureau.hospital.row.code)
    assert claim["claim_no"] not in page(first, "reviews", late="1")
    assert "没有符合条件的审核" in page(client_of(bureau.office), "reviews")
    assert send(client_of(bureau.second), "reviews-collect").status_code == 403


def test_a_review_works_without_a_script_from_verdict_to_money(bureau: Bureau) -> None:
    case = bureau.collected()
    first, office = client_of(bureau.first), client_of(bureau.office)
    text = page(first, "review", case.pk)
    assert "测*" in text
    assert bureau.hospital.patient.credential not in text
    assert "末次线下就诊" in text
    assert "收费高于公布的价格" in text
    assert "data-pass" in text
    looked = Event.objects.filter(action="review.read", subject=case.subject)
    assert [bytes(e.person_hash) for e in looked] == [bytes(bureau.hospital.patient.id_hash)]
    page(office, "review", case.pk, status=404)
    answer = send(first, "review-line", case.pk, 1, verdict="pass")
    assert answer.status_code == 422
    assert "须先核减" in answer.content.decode()
    answer = send(
        first, "review-line", case.pk, 1, verdict="cut", amount="3.00", wording="overcharge"
    )
    assert answer.headers["Location"].endswith("#decision")
    text = page(first, "review", case.pk)
    assert re.search(r"data-total[^>]*>3\.00", text)
    assert "审核并告知机构" in text
    assert "四（三）" in text
    answer = send(first, "review-step", case.pk, "decide", version=0)
    assert answer.status_code == 409
    assert "您的操作没有保存" in answer.content.decode()
    version = fresh(case).version
    assert send(first, "review-step", case.pk, "decide", version=version).status_code == 302
    assert fresh(case).state == "told"
    text = page(office, "review", case.pk)
    assert "核减" in text
    assert "规则命中" in text
    assert "该参保人近期就诊" not in text  # other visits are not the hospital's to read here
    assert (
        send(office, "review-step", case.pk, "accept", version=fresh(case).version).status_code
        == 422
    )
    send(office, "review-step", case.pk, "accept", version=fresh(case).version, signed_name="张三")
    case = fresh(case)
    assert (case.state, case.posted_version) == ("done", 3)
    assert "已办结" in page(first, "review", case.pk)
    assert case.claim_no in page(first, "reviews", state="done")


def test_the_page_shows_prescription_purchase_delivery_and_real_name(db, settings) -> None:
    settings.DEMO_TODAY = DAY
    factories.policies("wenzhou")
    hospital = Hospital("wenzhou", "employee")
    factories.offline_visit(hospital.patient, hospital.row)
    pharmacist = factories.physician(hospital.row, kind="pharmacist")
    body = hospital.body(
        line(fee="15.00"), line(2, kind="drug", item="D1", fee="20.00", prescription_no="P1")
    )
    body["prescriptions"][0]["reviewed_by"] = pharmacist.pk
    made = hospital.post(body).json()
    set_scope(EVERYTHING)
    claim = Claim.objects.get(pk=made["id"])
    place = {"region_code": claim.region_code, "institution_code": claim.institution_code}
    issuer = {"issuer_region": claim.region_code, "issuer_code": claim.institution_code}
    given = Dispensing.objects.create(
        prescription=Prescription.objects.get(number="P1"), number="FY1", dispensed_at=AT,
        pharmacist_code=pharmacist.pk, recorded_at=AT, recorded_by="x", content_sm3="0" * 64,
        **place, **issuer,
    )  # fmt: skip
    parcel = Delivery.objects.create(
        dispensing=given, logistics_code="L", waybill="SF1", recorded_at=AT, recorded_by="x"
    )
    DeliveryEvent.objects.create(
        delivery=parcel, kind="signed", at=AT, relation="self", recorded_at=AT, recorded_by="x"
    )
    Evidence.objects.create(
        encounter_id=claim.encounter_id, encounter_key=claim.encounter_key, kind="realname",
        content_hash=bytes(32), at=AT, reference="real-name-1", received_at=AT, received_by="x",
        **place,
    )  # fmt: skip
    case = open_by_hand(claim=claim, reason="抽查", by="x", at=AT)
    text = page(client_of(factories.user("reviewer", hospital.row.region)), "review", case.pk)
    for said in (
        "处方号 P1", f"{hospital.doctor.name} 已签名", f"{pharmacist.name} 审核通过", "调配 1 次",
        "配送 1 件，签收 1 件", "人证相符", "有实名记录",
    ):  # fmt: skip
        assert said in text, said
    bare = hospital.settled(prescriptions=[])
    set_scope(EVERYTHING)
    other = open_by_hand(claim=Claim.objects.get(pk=bare["id"]), reason="抽查", by="x", at=AT)
    text = page(client_of(factories.user("reviewer", hospital.row.region)), "review", other.pk)
    for said in ("本次没有处方", "本次没有购药", "没有实名记录"):
        assert said in text, said


def test_people_take_cases_and_the_next_one_follows(bureau: Bureau) -> None:
    one, two = bureau.collected(), bureau.collected("16.00")
    first, colleague = client_of(bureau.first), client_of(bureau.colleague)
    assert send(first, "review-take", one.pk, act="take").status_code == 302
    assert str(bureau.first) in page(colleague, "review", one.pk)
    send(colleague, "review-line", one.pk, 1, verdict="hold")
    assert fresh(one).lines.get().verdict == ""
    send(first, "review-line", one.pk, 1, verdict="refuse", wording="records")
    answer = send(first, "review-step", one.pk, "decide", version=fresh(one).version, next="1")
    assert answer.headers["Location"] == reverse("review", args=[two.pk])
    send(first, "review-step", two.pk, "return", version=fresh(two).version, note="请补传病历")
    office = client_of(bureau.office)
    assert "退回补充材料" in page(office, "reviews")
    assert "请补传病历" in page(office, "review", two.pk)
    send(office, "review-step", two.pk, "supply", version=fresh(two).version, text="已补传")
    assert "已补传" in page(first, "review", two.pk)


def test_similar_lines_are_previewed_then_marked(bureau: Bureau) -> None:
    cases = [bureau.collected(fee) for fee in ("15.00", "14.00")]
    first = client_of(bureau.first)
    given = {"verdict": "cut", "amount": "3.00", "wording": "overcharge"}
    text = send(first, "review-alike", cases[0].pk, 1, **given).content.decode()
    assert all(case.claim_no in text for case in cases)
    assert "5.00" in text
    digest = re.search(r'name="digest" value="([0-9a-f]+)"', text)
    assert digest
    send(first, "review-alike", cases[0].pk, 1, digest=digest[1], **given)
    assert [fresh(case).lines.get().amount for case in cases] == [300, 200]
    text = send(first, "review-alike", cases[0].pk, 1, verdict="cut", amount="99").content.decode()
    assert "没有可以这样审核的同类明细" in text


def test_by_hand_from_a_finding_and_what_is_taken_back(bureau: Bureau) -> None:
    claim, other = bureau.paid(), bureau.paid()
    first = client_of(bureau.first)
    found = finding(bureau, claim)
    send(first, "review-finding", found.pk)
    case = Review.objects.get(claim_id=claim["id"])
    assert "重复收费" in page(first, "review", case.pk)
    send(first, "review-open", institution=bureau.hospital.row.code, claim_no="nothing", severity=2,
         reason="举报")  # fmt: skip
    assert "没有此单据" in page(first, "reviews")
    send(first, "review-open", institution=bureau.hospital.row.name, claim_no=other["claim_no"],
         severity=3, reason="举报核查")  # fmt: skip
    assert Review.objects.get(claim_id=other["id"]).source == "manual"
    send(first, "review-line", case.pk, 1, verdict="cut", amount="2.50", wording="duplicate")
    send(first, "review-step", case.pk, "decide", version=fresh(case).version)
    office = client_of(bureau.office)
    send(office, "review-step", case.pk, "accept", version=fresh(case).version, signed_name="张三")
    text = page(first, "recoveries")
    assert claim["claim_no"] in text
    assert "待下一张结算单扣回" in text
    send(first, "review-rest", Review.objects.get(claim_id=other["id"]).pk)
    assert fresh(Review.objects.get(claim_id=other["id"])).lines.get().verdict == "pass"


def test_a_sample_is_drawn_and_proved_on_the_page(bureau: Bureau, settings) -> None:
    settings.DEMO_TODAY = None
    for _ in range(3):
        bureau.paid()
    first = client_of(bureau.first)
    given = {"name": "六月抽审", "first_day": "2021-06-01", "last_day": "2021-06-30", "seed": "abc",
             "base": "50"}  # fmt: skip
    assert "还没有抽样方案" in page(first, "sampling-plans")
    assert first.post(reverse("sampling-plans"), given | {"base": "0"}).status_code == 422
    assert first.post(reverse("sampling-plans"), given | {"institution": "x"}).status_code == 422
    answer = first.post(reverse("sampling-plans"), given)
    plan = SamplingPlan.objects.get()
    assert answer.headers["Location"] == reverse("sampling-plan", args=[plan.pk])
    assert (plan.population, plan.drawn) == (3, 2)
    text = page(first, "sampling-plan", plan.pk)
    assert "abc" in text
    assert "50%" in text
    send(first, "sampling-verify", plan.pk)
    assert "与记录一致" in page(first, "sampling-plan", plan.pk)
    page(client_of(factories.user("reviewer", factories.region("wenzhou"))), "sampling-plan", plan.pk,
         status=404)  # fmt: skip


def test_the_hospitals_system_reads_and_objects(bureau: Bureau) -> None:
    case = bureau.collected()
    hospital = bureau.hospital
    assert hospital.get(API).json() == {"results": [], "next": None}
    assert hospital.get(f"{API}/{case.pk}").status_code == 404
    bureau.mark(case)
    bureau.take(case, "decide", bureau.first)
    (row,) = hospital.get(API).json()["results"]
    assert (row["id"], row["state"], row["cut"], row["answer_by"]) == (
        case.pk, "told", "3.00", "2021-07-08",
    )  # fmt: skip
    read = hospital.get(f"{API}/{case.pk}").json()
    (one,) = read["lines"]
    assert (one["verdict"], one["cut"], one["category"]) == ("cut", "3.00", "inflated")
    assert "四（三）" in one["clause"]
    body = {"signed_name": "张三", "version": row["version"], "reason": "按公示价收费"}
    url = f"{API}/{case.pk}/objection"
    assert hospital.post({**body, "version": 0}, url=url).json()["code"] == "CASE_MOVED"
    answer = hospital.post(body, url=url)
    assert answer.status_code == 200, answer.content.decode()
    assert answer.json()["state"] == "objected"
    assert answer.json()["replies"][0]["text"] == "按公示价收费"
    assert hospital.post(body, url=url).status_code == 409
    other = Client(
        headers={"Authorization": f"Bearer {factories.token(factories.institution('nantong'))}"}
    )
    assert other.get(f"{API}/{case.pk}").status_code == 404
    refused = other.post(url, json.dumps(body), content_type="application/json")
    assert refused.status_code == 404
    assert hospital.get(f"{API}?state=objected").json()["results"][0]["id"] == case.pk
    assert hospital.get(f"{API}?state=x").status_code == 400


def test_a_case_costs_a_fixed_number_of_queries(
    bureau: Bureau, django_assert_max_num_queries
) -> None:
    for fee in ("15.00", "16.00", "17.00"):
        case = bureau.collected(fee)
    first = client_of(bureau.first)
    with django_assert_max_num_queries(75):
        page(first, "review", case.pk)
    bureau.hospital.settled(line(fee="12.00"))
    with django_assert_max_num_queries(25):
        page(first, "reviews")
    assert AT


def test_a_verdict_that_is_refused_keeps_what_was_typed(bureau: Bureau) -> None:
    case = bureau.collected()
    first = client_of(bureau.first)
    given = {"amount": "99999", "wording": "overcharge", "note": "多收部分退回"}
    for verdict, amount in (("cut", "99999"), ("cut", "many")):
        answer = send(
            first, "review-line", case.pk, 1, **given | {"verdict": verdict, "amount": amount}
        )
        text = answer.content.decode()
        assert answer.status_code == 422
        assert f'value="{amount}"' in text
        assert 'value="多收部分退回"' in text
        assert re.search(r'value="overcharge" selected', text)
        assert re.search(r"data-cut open", text)
    assert fresh(case).lines.get(line_no=1).verdict == ""


def test_people_of_a_review_are_called_by_name(bureau: Bureau) -> None:
    case = bureau.collected()
    bureau.first.display_name = "王初审"
    bureau.first.save()
    first = client_of(bureau.first)
    send(first, "review-line", case.pk, 1, verdict="cut", amount="3.00", wording="overcharge")
    send(first, "review-rest", case.pk)
    send(first, "review-step", case.pk, "decide", version="1")
    text = page(first, "review", case.pk)
    assert "王初审" in text
    assert bureau.first.username not in text
