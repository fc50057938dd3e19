"""REST of a hospital's own affairs: payments, consultations, lines and bills, a patient's entitlement.

Every address is asked by a second hospital too: it sees nothing of the first.
"""

import datetime as dt
import json
from collections.abc import Iterator

import pytest
from django.test import Client

from audit.models import Event
from institutions.access import EVERYTHING, scoped
from institutions.models import Institution
from settlement import lines
from settlement.models import Consultation, Entitlement, Leg, Voucher
from settlement.vouchers import post_voucher, reverse_voucher
from tests import factories
from tests.settlement.jilin import CONSENT, agreed, at, hospital
from tests.settlement.test_line_bills import SIGNED, bill_of, opened

API = "/api/v1"
DAY = dt.date(2021, 4, 12)


@pytest.fixture
def today(db, time_machine) -> Iterator[None]:
    time_machine.move_to(at(DAY), tick=False)
    factories.policies("jilin")
    with scoped(EVERYTHING):
        yield


class Caller:
    """A hospital's system; its key counts up."""

    def __init__(self, place: Institution, scope: str = factories.SCOPES):
        self.place, self.calls = place, 0
        self.headers = {"Authorization": f"Bearer {factories.token(place, scope)}"}
        self.client = Client(raise_request_exception=False)

    def get(self, path: str, status: int = 200) -> dict:
        answer = self.client.get(API + path, headers=self.headers)
        assert answer.status_code == status, answer.content.decode()
        return answer.json()

    def post(self, path: str, body: dict, status: int = 200, key: str = "") -> dict:
        self.calls += 1
        headers = self.headers | {"Idempotency-Key": key or f"k{self.calls}"}
        answer = self.client.post(
            API + path, json.dumps(body), content_type="application/json", headers=headers
        )
        assert answer.status_code == status, answer.content.decode()
        return answer.json()


def ids(listed: dict) -> list[int]:
    return [row["id"] for row in listed["results"]]


# --- Payments ---


def paid(place: Institution, amount: int, kind: str = "payment", number: int = 1) -> Voucher:
    account = Leg.Account
    return post_voucher(
        kind=Voucher.Kind(kind), effect=f"order:{number}/{kind}", subject="statement:7",
        legs={account.INSTITUTION_PAYABLE: amount, account.BANK: -amount},
        region_code=place.region_id, institution_code=place.pk, scheme="employee",
        reason="2021年3月结算款", by="finance", approved_by="clerk", at=at(DAY),
        detail={"order": "ZF1", "list": "QD1", "serial": "B-1", "account": "**** 6021"},
    )  # fmt: skip


def test_a_hospital_sees_what_it_was_paid_and_what_came_back(today) -> None:
    place, other = hospital("示例一院"), hospital("示例二院")
    first = paid(place, 96_20)
    paid(other, 50_00, number=2)
    returned = reverse_voucher(voucher=first, reason="账号有误", by="finance", at=at(DAY, 11))
    caller = Caller(place)
    listed = caller.get("/payments?period=2021-04")
    assert [(row["id"], row["amount"], row["reversed"]) for row in listed["results"]] == [
        (returned.pk, "-96.20", False), (first.pk, "96.20", True),
    ]  # fmt: skip
    assert caller.get(f"/payments/{first.pk}") == {
        "id": first.pk, "number": first.number, "kind": "payment", "kind_label": "拨付",
        "amount": "96.20", "scheme": "employee", "period": "2021-04",
        "posted_at": "2021-04-12T09:00:00+08:00", "purpose": "2021年3月结算款", "statement": 7,
        "order": "ZF1", "bank_serial": "B-1", "account": "**** 6021", "reversed": True,
    }  # fmt: skip
    page = caller.get("/payments?limit=1")
    assert ids(caller.get(f"/payments?limit=1&after={page['next']}")) == [first.pk]
    assert caller.get("/payments?period=2021-03")["results"] == []
    caller.get("/payments?period=2021-13", 400)
    caller.get("/payments?month=2021-04", 400)
    stranger = Caller(other)
    assert first.pk not in ids(stranger.get("/payments"))
    stranger.get(f"/payments/{first.pk}", 404)
    caller.get(f"/payments/{2**64}", 404)


def test_every_address_asks_for_its_scope(today) -> None:
    caller = Caller(hospital("示例一院"), "claims:read claims:write")
    for path in ("/payments", "/consultations", "/lines", "/line-bills"):
        caller.get(path, 403)
    caller.post("/entitlements", {}, 403)
    reader = Caller(hospital("示例二院"), "consultations:read")
    reader.get("/consultations")
    reader.post("/consultations", {}, 403)


# --- Consultations ---


def request(*invited: Institution, **more: object) -> dict:
    return {
        "credential": factories.id_number(), "inpatient_no": "ZY001", "department": "呼吸内科",
        "purpose": "疑难病例", "wanted_on": DAY.isoformat(),
        "invited": [{"hospital": row.pk, "experts": ["专家一"]} for row in invited],
    } | more  # fmt: skip


def test_a_consultation_over_rest_from_request_to_receipt(today) -> None:
    here, there, apart = (
        hospital("邀请医院", "county", "220200"),
        hospital("省级医院"),
        hospital("旁院"),
    )
    agreed(here, there, 7000)
    inviting, invited, stranger = Caller(here), Caller(there), Caller(apart)
    body = request(there)
    made = inviting.post("/consultations", body, 201, key="one")
    assert inviting.post("/consultations", body, 201, key="one") == made
    inviting.post("/consultations", body | {"purpose": "其他"}, 422, key="one")
    assert Consultation.objects.count() == 1
    assert (made["side"], made["state"], made["invited"]) == ("inviting", "draft", [there.pk])
    assert body["credential"] not in json.dumps(made)
    assert [step["step"] for step in made["next_steps"]] == ["consent", "withdraw"]
    path = f"/consultations/{made['id']}"

    def step(key: str, status: int = 200, **facts: object) -> dict:
        version = inviting.get(path)["version"]
        given = {"step": key, "version": version, "facts": facts}
        return inviting.post(f"{path}/steps", given, status)

    refused = step("consent", 422, consenter="patient", explained=True)
    assert refused["errors"][0]["pointer"] == "/facts/agreed"
    assert step("consent", 422, **CONSENT, entry="x")["errors"][0]["code"] == "UNKNOWN"
    assert step("consent", **CONSENT)["state"] == "invited"
    inviting.post(f"{path}/answer", {"answer": "accept"}, 422)
    assert invited.post(f"{path}/answer", {"answer": "accept", "experts": ["专家甲"]})["state"] == (
        "scheduled"
    )
    invited.post(f"{path}/answer", {"answer": "decline", "note": "x"}, 409)
    held = {"session_on": DAY.isoformat(), "minutes": "45", "summary": "建议"}
    assert step("hold", 422, **held)["errors"][0]["pointer"] == "/facts/attended"
    assert (
        step("hold", 422, **held, attended=[apart.pk])["errors"][0]["pointer"] == "/facts/attended"
    )
    assert step("hold", **held, attended=[there.pk])["participants"][0]["attended"] is True
    entered = step("enter", entry="病程记录 12")
    step("collect", invoice_no="PJ1", amount=entered["amount"])
    shared = step("distribute")["participants"][0]
    pay = {"hospital": there.pk, "amount": shared["share"], "payment_no": "FK1"}
    invited.post(f"{path}/payments", pay, 403)
    inviting.post(f"{path}/payments", pay | {"hospital": apart.pk}, 422)
    inviting.post(f"{path}/payments", pay)
    inviting.post(f"{path}/payments", pay, 409)
    told = {"number": "SJ1", "amount": shared["share"], "issued_on": DAY.isoformat()}
    inviting.post(f"{path}/receipts", told, 422)
    receipt = invited.post(f"{path}/receipts", told)["participants"][0]["receipts"]
    assert receipt == [{"number": "SJ1", "amount": shared["share"], "issued_on": "2021-04-12",
                        "void": False}]  # fmt: skip
    assert ids(invited.get("/consultations?state=distributed&since=2021-04-01")) == [made["id"]]
    assert invited.get(path)["next_steps"] == []
    assert ids(stranger.get("/consultations")) == []
    stranger.get(path, 404)
    stranger.post(f"{path}/receipts", told, 404)
    reads = Event.objects.filter(action="consultation.read", actor__startswith="client:")
    assert reads.filter(institution_code=there.pk).count() == 1
    assert Event.objects.filter(outcome="refused", subject=f"consultation:{made['id']}").exists()


def test_a_request_names_hospitals_of_the_region(today) -> None:
    here, there = hospital("邀请医院"), hospital("省级医院")
    caller = Caller(here)
    wrong = request(there)
    wrong["invited"][0]["hospital"] = "NOBODY"
    assert caller.post("/consultations", wrong, 422)["code"] == "HOSPITAL_UNKNOWN"
    assert caller.post("/consultations", request(here), 422)["code"] == "INVITED_TWICE"
    caller.post("/consultations", request(there, credential="1"), 400)
    caller.post("/consultations", request(there, wanted_on="2021-02-30"), 400)
    caller.get("/consultations?state=nothing", 400)
    caller.get("/consultations?since=soon", 400)


def test_an_invited_hospital_sees_its_own_money_only(today) -> None:
    here, there, third = hospital("邀请医院"), hospital("省级医院"), hospital("省级二院")
    inviting = Caller(here)
    made = inviting.post("/consultations", request(there, third), 201)
    assert len(made["participants"]) == 2
    seen = Caller(there).get(f"/consultations/{made['id']}")
    assert [row["hospital"] for row in seen["participants"]] == [there.pk]


# --- Lines ---


def test_own_lines_and_confirmed_bills(today) -> None:
    town, other = hospital("示例卫生院", "township", "220200"), hospital("示例二院", "county")
    row = opened(town, dt.date(2018, 6, 1), "township", bandwidth_mb=4)
    opened(other)
    bill = bill_of(town)
    caller = Caller(town)
    assert ids(caller.get("/line-bills")) == []  # a draft is owed by nobody
    lines.confirm_bill(bill=bill, **SIGNED)
    assert caller.get("/lines")["results"] == [{
        "id": row.pk, "number": row.number, "service": "single", "service_label": "单业务",
        "bandwidth_mb": 4, "count": 1, "tier": "township", "tier_label": "乡镇",
        "opened_on": "2018-06-01", "closed_on": None,
    }]  # fmt: skip
    listed = caller.get("/line-bills?year=2021")["results"]
    assert [(one["id"], one["state"], one["overdue"]) for one in listed] == [
        (bill.pk, "confirmed", False)
    ]
    read = caller.get(f"/line-bills/{bill.pk}")
    assert [item["line"] for item in read["items"]] == [row.number]
    assert caller.get("/line-bills?year=2020")["results"] == []
    caller.get("/line-bills?year=x", 400)
    stranger = Caller(other)
    assert row.pk not in ids(stranger.get("/lines"))
    stranger.get(f"/line-bills/{bill.pk}", 404)


# --- Entitlement ---


def asked(person, verified: dt.datetime | None, **more: object) -> dict:
    return {
        "person": {"credential_type": "e_credential", "credential": person.credential,
                   "verified_at": verified.isoformat() if verified else None, "matched": True},
        "encounter_id": "JZ1",
    } | more  # fmt: skip


def test_the_treating_hospital_learns_the_entitlement_of_a_day(today) -> None:
    caller = Caller(hospital("示例一院"))
    person = factories.person("jilin", "employee")
    Entitlement.objects.filter(person=person).delete()
    Entitlement.objects.create(
        person=person, scheme="employee", standing="active", region_code=person.region_code,
        valid_from=dt.date(2021, 1, 1), recorded_at=at(dt.date(2021, 1, 1)), recorded_by="test",
    )  # fmt: skip
    told = caller.post("/entitlements", asked(person, at(DAY, 8)))
    assert (told["entitled"], told["scheme"]["code"], told["standing"]["label"]) == (
        True, "employee", "正常参保",
    )  # fmt: skip
    assert told["person"] == {"name": person.name_masked, "id": person.id_masked}
    assert person.credential not in json.dumps(told)
    before = caller.post("/entitlements", asked(person, at(DAY, 8), on="2020-12-31"))
    assert (before["entitled"], before["standing"]) == (False, None)
    event = Event.objects.filter(action="person.entitlement").first()
    assert bytes(event.person_hash) == bytes(person.id_hash)


def test_nobody_else_learns_anything_and_every_question_is_an_event(today) -> None:
    caller = Caller(hospital("示例一院"))
    person = factories.person("jilin", "employee")
    stale = at(DAY - dt.timedelta(days=1))
    for body in (
        asked(person, stale), asked(person, None),
        asked(person, at(DAY, 23)),
        asked(person, at(DAY, 8)) | {"person": asked(person, at(DAY, 8))["person"]
                                     | {"matched": False}},
    ):  # fmt: skip
        assert caller.post("/entitlements", body, 403)["code"] == "NOT_TREATED_HERE"
    unknown = asked(person, at(DAY, 8))
    unknown["person"]["credential"] = factories.id_number()
    assert caller.post("/entitlements", unknown, 404)["code"] == "PERSON_UNKNOWN"
    caller.post("/entitlements", asked(person, at(DAY, 8), on="2021-02-30"), 400)
    outcomes = Event.objects.filter(action="person.entitlement").values_list("outcome", flat=True)
    assert sorted(outcomes) == ["none", "refused", "refused", "refused", "refused"]
