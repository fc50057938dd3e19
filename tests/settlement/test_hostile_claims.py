"""Bodies of a claim that are wrong in every way: each fault is named, nothing is stored."""

import json

import pytest

from institutions import crypto
from tests import factories
from tests.factories import line
from tests.settlement.hospital import Hospital, refusal


@pytest.fixture
def hospital(db) -> Hospital:
    factories.policies("nantong")
    return Hospital()


def test_all_faults_of_a_body_are_named_at_once(hospital: Hospital) -> None:
    body = hospital.body(
        line(1, fee="12.00", unit_price="12.004999"), line(1, fee="12.01", unit_price="12.00"),
        line(2, prescription_no="P9"), line(4, quantity="0", fee="0"),
    )  # fmt: skip
    body["encounter"]["diagnoses"].append(dict(factories.HYPERTENSION))
    body["encounter"]["ended_at"] = "2021-06-15T01:00:00Z"
    body["person"]["credential"] = "99999919700101001" + "0"
    status, code, faults = refusal(hospital.post(body))
    assert (status, code) == (400, "BODY_INVALID")
    assert faults == {
        "/lines/0/line_no": "REPEATED",
        "/lines/1/line_no": "REPEATED",
        "/lines/1/fee": "FEE_MISMATCH",
        "/lines/2/prescription_no": "PRESCRIPTION_UNKNOWN",
        "/lines/3/quantity": "RANGE",
        "/encounter/diagnoses": "MAIN_DIAGNOSIS",
        "/encounter/ended_at": "ORDER",
        "/person/credential": "CREDENTIAL_INVALID",
    }


def test_the_shape_is_checked_strictly(hospital: Hospital) -> None:
    body = hospital.body(line(fee="12.0O"), line(2, fee="1.234"), line(3, kind="gift"), line(0))
    body |= {"__proto__": {}, "channel": None, "e_invoice_no": "a\nb"}
    body["lines"][1]["fee"] = 12.5
    body["encounter"] |= {"started_at": "2021-06-15T09:30:00", "id": "\ud800"}
    del body["physician"]
    found = refusal(hospital.post(body))[2]
    assert found == {
        "/physician": "REQUIRED",
        "/__proto__": "UNKNOWN_FIELD",
        "/channel": "TYPE",
        "/e_invoice_no": "CHARACTER",
        "/encounter/id": "CHARACTER",
        "/encounter/started_at": "FORMAT",
        "/lines/0/fee": "FORMAT",
        "/lines/0/unit_price": "FORMAT",
        "/lines/1/fee": "TYPE",
        "/lines/2/kind": "ENUM",
        "/lines/3/line_no": "RANGE",
    }


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b" ", "JSON_INVALID"),
        (b"{", "JSON_INVALID"),
        (b"\xff\xfe{\x00}\x00", "JSON_INVALID"),
        (b'{"a": ' + b"9" * 5000 + b"}", "JSON_INVALID"),
        (b"[" * 10_000 + b"]" * 10_000, "JSON_TOO_DEEP"),
        (b"[" + b"1," * 600_000 + b"1]", "BODY_TOO_LARGE"),
        (b"[]", "BODY_INVALID"),
        (b"NaN", "BODY_INVALID"),
        (b'{"claim_no": "a", "claim_no": "b"}', "BODY_INVALID"),
    ],
)
def test_bodies_that_are_no_claim(hospital: Hospital, body: bytes, code: str) -> None:
    assert refusal(hospital.post(body))[:2] == (400, code)


def test_a_key_twice_is_named(hospital: Hospital) -> None:
    text = json.dumps(hospital.body()).replace('"fee": "12.00"', '"fee": "12.00", "fee": "12.00"')
    assert refusal(hospital.post(text))[2] == {"/lines/0/fee": "DUPLICATE_KEY"}


@pytest.mark.parametrize("code", ["E11.9", "J06.900", "I10.x00x002", "A17.0+", "L40"])
def test_icd_codes_of_every_edition_and_times_without_seconds_are_read(
    hospital: Hospital, code: str
) -> None:
    body = hospital.body()
    body["encounter"]["diagnoses"][0]["code"] = code
    body["encounter"] |= {"started_at": "2021-06-15T09:30+08:00"}
    assert hospital.post(body).status_code == 201


@pytest.mark.parametrize(
    ("number", "rule"),
    [
        ("999999700101001", "15"),
        ("９９９９９９１９７００１０１００１Ｘ", "全角"),
        ("999999197001010010", "校验位"),
        ("ABC", "18 位"),
    ],
)
def test_each_rule_of_an_id_number_is_told(hospital: Hospital, number: str, rule: str) -> None:
    body = hospital.body()
    body["person"]["credential"] = number
    assert rule in hospital.post(body).json()["errors"][0]["detail"]


def test_a_lower_case_x_is_the_same_person(hospital: Hospital) -> None:
    serial = next(n for n in range(1, 999) if factories.id_number(n).endswith("X"))
    number = factories.id_number(serial)
    hospital.patient.id_hash = crypto.person_hash(number)
    hospital.patient.save()
    body = hospital.body()
    body["person"]["credential"] = number.lower()
    assert hospital.post(body).status_code == 201


def test_half_a_fen_is_rounded_up(hospital: Hospital) -> None:
    half = line(quantity="0.5", unit_price="24.01", fee="12.01")
    assert hospital.post(hospital.body(half)).status_code == 201
    assert refusal(hospital.post(hospital.body(half | {"fee": "12.00"})))[2] == {
        "/lines/0/fee": "FEE_MISMATCH"
    }


def test_two_hundred_lines_and_not_one_more(hospital: Hospital) -> None:
    lines = [line(n, item="999") for n in range(1, 202)]
    assert refusal(hospital.post(hospital.body(*lines)))[2] == {"/lines": "LENGTH"}
    assert len(hospital.settled(*lines[:200])["lines"]) == 200


def test_problems_speak_the_language_asked_for(hospital: Hospital) -> None:
    chinese = hospital.post({}).json()
    english = hospital.post({}, **{"Accept-Language": "en"}).json()
    assert (chinese["title"], english["title"]) == (
        "请求不符合契约", "The request does not fit the contract",
    )  # fmt: skip
    assert english["errors"][0]["detail"] == "this member is missing"
