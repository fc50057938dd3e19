"""A claim over REST: decided from records, answered per contract, refused with every fault."""

import datetime as dt
import json

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from agreements.models import AgreementState
from audit.models import Event
from institutions import crypto
from institutions.access import EVERYTHING, set_scope
from institutions.models import InstitutionFacts
from settlement.models import Claim, ClaimLine, Evidence, IdempotencyKey
from tests import factories
from tests.factories import line
from tests.settlement.hospital import URL, Hospital, forget_databases, refusal


@pytest.fixture
def hospital(db) -> Hospital:
    factories.policies("nantong")
    return Hospital()


@pytest.fixture
def wenzhou(db) -> Hospital:
    factories.policies("wenzhou")
    made = Hospital("wenzhou", "employee")
    factories.offline_visit(made.patient, made.row)
    return made


# --- The answer ---


def test_a_claim_is_settled_and_read_back(hospital: Hospital) -> None:
    answer = hospital.post(hospital.body(line(fee="12.00")))
    claim = answer.json()
    assert answer.status_code == 201
    assert claim["state"] == "payable"
    assert claim["totals"] == {
        "fee": "12.00", "in_scope": "12.00", "over_cap": "0.00", "out_of_scope": "0.00",
        "held": "0.00", "fund": "6.00", "account": "0.00", "cash": "6.00", "hospital": "0.00",
        "deductible": "0.00", "first_self_pay": "0.00", "major": "0.00", "assistance": "0.00",
    }  # fmt: skip
    assert claim["national"] == {
        "medfee_sumamt": "12.00", "fulamt_ownpay_amt": "0.00", "overlmt_selfpay": "0.00",
        "preselfpay_amt": "0.00", "inscp_scp_amt": "12.00", "act_pay_dedc": "0.00",
        "fund_pay_sumamt": "6.00", "hifp_pay": "6.00", "hifmi_pay": "0.00", "maf_pay": "0.00",
        "acct_pay": "0.00", "psn_cash_pay": "6.00",
        "psn_part_amt": "6.00", "hosp_part_amt": "0.00",
    }  # fmt: skip
    first = claim["lines"][0]
    assert (first["decision"], first["fund_pay"], first["clauses"][0]["clause"]) == (
        "payable", "6.00", "附件",
    )  # fmt: skip
    assert claim["release"]["document"] == "通医保发〔2020〕25号"
    assert hospital.get(claim["links"]["self"]).json() == claim


@pytest.mark.parametrize(("prescribed", "trips", "statements"), [(False, 4, 7), (True, 4, 10)])
def test_a_claim_takes_few_round_trips(
    committed_db: str, prescribed: bool, trips: int, statements: int
) -> None:
    """Token; scope, key, month, law and records; (prescriptions and) lock; store with event."""
    forget_databases()
    factories.policies("nantong")
    made = Hospital()
    more = {} if prescribed else {"prescriptions": []}
    assert made.post(made.body(**more)).status_code == 201
    with CaptureQueriesContext(connection) as captured:
        assert made.post(made.body(**more)).status_code == 201
    forget_databases()
    sent = [query["sql"] for query in captured.captured_queries]
    assert (sent[1], sent[-1]) == ("BEGIN", "COMMIT")
    asked = [sql for sql in sent if sql not in ("BEGIN", "COMMIT")]
    assert len(asked) == trips, [sql[:90] for sql in asked]
    assert sum(sql.count(";\n") + 1 for sql in asked) == statements


def test_lines_are_decided_one_by_one(hospital: Hospital) -> None:
    claim = hospital.settled(
        line(3, item="999", fee="5.00"),
        line(1, fee="12.00"),
        line(2, kind="other", item="111102001", fee="8.00", service_type="健康咨询"),
    )
    decided = [(row["line_no"], row["decision"], row["reason"]) for row in claim["lines"]]
    assert decided == [
        (1, "payable", None), (2, "reject", "EXCLUDED_SERVICE"), (3, "reject", "ITEM_UNKNOWN"),
    ]  # fmt: skip
    assert claim["state"] == "partial"
    assert (claim["totals"]["fund"], claim["totals"]["out_of_scope"]) == ("6.00", "13.00")


def test_the_personal_account_pays_what_it_holds(db) -> None:
    factories.policies("nantong")
    made = Hospital(scheme="employee")
    made.patient = factories.person("nantong", "employee", account_balance=500)
    doctor = factories.physician(made.row, "associate_chief")
    lines = (line(item="111102002", fee="22.00"),)
    totals = made.settled(*lines, physician={"code": doctor.code}, pay_from_account=True)["totals"]
    assert (totals["account"], totals["cash"], totals["fund"]) == ("5.00", "15.70", "1.30")
    again = made.settled(*lines, physician={"code": doctor.code}, pay_from_account=True)["totals"]
    assert again["account"] == "0.00"


def test_wenzhou_pays_a_revisit_with_its_drugs(wenzhou: Hospital) -> None:
    drug = line(2, kind="drug", item="X001", fee="30.00", prescription_no="P1")
    claim = wenzhou.settled(line(item="110200001", fee="10.00"), drug)
    assert claim["state"] == "payable"
    assert claim["flags"] == ["EXAMPLE_PARAMETER"]
    assert claim["totals"]["fund"] == "22.75"  # (10 + 30 − 5 deductible) × 65 %


# --- Facts come from records ---


def one_reason(hospital: Hospital, *lines: dict, **more: object) -> str | None:
    set_scope(EVERYTHING)
    return hospital.settled(*lines, **more)["lines"][0]["reason"]


def changed(body_part: str, hospital: Hospital, **values: object) -> dict:
    return {body_part: hospital.body()[body_part] | values}


def test_nantong_refuses_what_its_records_do_not_support(hospital: Hospital) -> None:
    encounter = hospital.body()["encounter"]
    resident = factories.physician(hospital.row, independent_since=dt.date(2018, 6, 16))
    stranger = factories.person("wenzhou")
    found = {
        "first": one_reason(hospital, **changed("encounter", hospital, visit_type="first")),
        "acute": one_reason(hospital, encounter=encounter | {"id": "E-acute", "condition": "acute_not_common"}),
        "unregistered": one_reason(hospital, physician={"code": "D9999999"}),
        "35 months": one_reason(hospital, physician={"code": resident.code}),
        "other area": one_reason(
            hospital, **changed("person", hospital, credential=stranger.credential)
        ),
        "same day 36 months": one_reason(
            hospital, physician={"code": factories.physician(
                hospital.row, independent_since=dt.date(2018, 6, 15)).code},
        ),
        "before effective": one_reason(
            hospital, encounter=encounter | {"id": "E-old",
                                             "started_at": "2020-02-24T23:59:59+08:00",
                                             "ended_at": "2020-02-25T00:10:00+08:00"},
        ),
        "midnight in Shanghai": one_reason(
            hospital, encounter=encounter | {"id": "E-new", "started_at": "2020-02-24T16:00:00Z",
                                             "ended_at": "2020-02-24T16:10:00Z"},
        ),
    }  # fmt: skip
    assert found == {
        "first": "FIRST_VISIT",
        "acute": "NOT_COMMON_OR_CHRONIC",
        "unregistered": "NOT_MEDICAL_STAFF",
        "35 months": "DOCTOR_EXPERIENCE",
        "other area": "NOT_LOCAL_INSURED",
        "same day 36 months": None,
        "before effective": "RULE_NOT_IN_FORCE",
        "midnight in Shanghai": None,
    }


def test_institutions_without_filing_agreement_or_facts_are_refused(db) -> None:
    factories.policies("nantong")
    unfiled, unsigned = Hospital(filed_on=None), Hospital()
    AgreementState.objects.filter(agreement__institution=unsigned.row).update(
        valid_until=dt.date(2021, 6, 14)
    )
    suspended = Hospital()
    AgreementState.objects.filter(
        agreement__institution=suspended.row, agreement__kind="main"
    ).update(state="suspended")
    unknown, class_one = Hospital(), Hospital(price_class="1")
    InstitutionFacts.objects.filter(institution=unknown.row).delete()
    cases = (unfiled, unsigned, suspended, unknown, class_one)
    assert [one_reason(made) for made in cases] == [
        "INSTITUTION_NOT_FILED", "NO_AGREEMENT", "AGREEMENT_SUSPENDED", "CLASS_NOT_OFFERED",
        "CLASS_NOT_OFFERED",
    ]  # fmt: skip


def test_wenzhou_checks_the_visit_before_and_the_credential(wenzhou: Hospital) -> None:
    consult = line(item="110200001", fee="10.00")
    late = dt.date(2021, 8, 21)
    eczema = [{"code": "L30.900", "name": "湿疹", "main": True}]
    unfiled = factories.person("wenzhou", "employee")
    unfiled.diseases.all().delete()
    factories.offline_visit(unfiled, wenzhou.row)
    found = {
        "window": one_reason(wenzhou, consult, day=late),
        "last day": one_reason(wenzhou, consult, day=late - dt.timedelta(days=1)),
        "disease": one_reason(wenzhou, consult, **changed("encounter", wenzhou, diagnoses=eczema)),
        "list": one_reason(
            wenzhou, consult, **changed("person", wenzhou, credential=unfiled.credential)
        ),
        "department": one_reason(
            wenzhou, consult, **changed("encounter", wenzhou, department_code="B1")
        ),
        "card": one_reason(wenzhou, consult, **changed("person", wenzhou, credential_type="card")),
        "no prescription": one_reason(wenzhou, consult, prescriptions=[]),
        "overcharge": one_reason(wenzhou, line(item="110200001", fee="10.01")),
    }
    assert found == {
        "window": "REVISIT_WINDOW",
        "last day": None,
        "disease": "REVISIT_DISEASE_MISMATCH",
        "list": "DISEASE_NOT_LISTED",
        "department": "DEPARTMENT_OUT_OF_SCOPE",
        "card": "CREDENTIAL_MISSING",
        "no prescription": "NO_PRESCRIPTION",
        "overcharge": "OVERCHARGE",
    }


def test_a_second_charge_in_an_encounter_is_refused_until_the_first_is_reversed(
    hospital: Hospital,
) -> None:
    encounter = hospital.body()["encounter"]
    first = hospital.settled(encounter=encounter)
    assert one_reason(hospital, encounter=encounter) == "DUPLICATE_CHARGE"
    assert hospital.reverse(first).status_code == 201
    assert one_reason(hospital, encounter=encounter) is None


# --- Idempotency ---


def test_the_same_key_and_body_replays_byte_for_byte(hospital: Hospital) -> None:
    body = json.dumps(hospital.body())
    first, again = (hospital.post(body, key="k") for _ in range(2))
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again["Idempotency-Replayed"] == "true"
    changed_body = body.replace("12.00", "12.01")
    assert refusal(hospital.post(changed_body, key="k"))[:2] == (422, "IDEMPOTENCY_BODY_DIFFERS")
    one_fen_more = body.replace('"fee": "12.00"', '"fee": "12.01"')  # no sound claim, and not ours
    for other_body in (one_fen_more, "{"):
        assert refusal(hospital.post(other_body, key="k"))[:2] == (422, "IDEMPOTENCY_BODY_DIFFERS")
    set_scope(EVERYTHING)
    assert Claim.objects.count() == 1
    other = Hospital()
    theirs = other.post(other.body(), key="k")
    assert theirs.status_code == 201
    assert theirs.json()["id"] != first.json()["id"]


def test_a_refused_claim_leaves_its_key_free(hospital: Hospital) -> None:
    body = hospital.body()
    unknown = body | {"person": body["person"] | {"credential": factories.id_number()}}
    assert refusal(hospital.post(unknown, key="k"))[:2] == (422, "PERSON_UNKNOWN")
    set_scope(EVERYTHING)
    assert not IdempotencyKey.objects.exists()
    assert hospital.post(body, key="k").status_code == 201


@pytest.mark.parametrize("key", ["", "a\u200b", "\u0430bc", "two words", "k" * 121, "é"])
def test_odd_keys_are_refused(hospital: Hospital, key: str) -> None:
    answer = hospital.post(hospital.body(), key=key)
    assert refusal(answer)[:2] == (400, "IDEMPOTENCY_KEY_INVALID")


def test_a_claim_number_is_used_once(hospital: Hospital) -> None:
    first = hospital.settled(claim_no="N-1")
    answer = hospital.post(hospital.body(claim_no="N-1"))
    assert refusal(answer) == (409, "CLAIM_NUMBER_USED", {"/claim_no": "CLAIM_NUMBER_USED"})
    assert answer.json()["claim"] == first["links"]["self"]


# --- Who may ---


def test_tokens_scopes_methods_and_media_types(hospital: Hospital) -> None:
    reader = factories.token(hospital.row, "claims:read")
    bearer = {"Authorization": f"Bearer {hospital.token}"}
    client = Client()
    calls = {
        "none": client.get(URL),
        "wrong": client.get(URL, headers={"Authorization": "Bearer nothing"}),
        "reader": client.post(
            URL, "{}", "application/json", headers={"Authorization": f"Bearer {reader}"}
        ),
        "put": client.put(URL, "{}", "application/json", headers=bearer),
        "options": client.options(URL, headers=bearer),
        "override": client.post(
            f"{URL}/1", "{}", "application/json", headers=bearer | {"X-HTTP-Method-Override": "GET"}
        ),
        "accept": client.get(URL, headers=bearer | {"Accept": "text/html"}),
        "form": client.post(URL, {"a": "b"}, headers=bearer),
        "address": client.get("/api/v1/nothing"),
        "huge id": client.get(f"{URL}/{10**30}", headers=bearer),
    }
    assert {name: refusal(answer)[0] for name, answer in calls.items()} == {
        "none": 401, "wrong": 401, "reader": 403, "put": 405, "options": 405, "override": 405,
        "accept": 406, "form": 415, "address": 404, "huge id": 404,
    }  # fmt: skip
    assert calls["none"]["WWW-Authenticate"].startswith("Bearer")


def test_a_token_is_had_for_client_credentials(hospital: Hospital) -> None:
    from institutions.models import ApiClient

    made = ApiClient.objects.create(
        name="his", client_type="confidential", authorization_grant_type="client-credentials",
        institution=hospital.row, client_secret="s3cret-" * 6, hash_client_secret=False,
    )  # fmt: skip
    form = {"grant_type": "client_credentials", "scope": "claims:read",
            "client_id": made.client_id, "client_secret": "s3cret-" * 6}  # fmt: skip
    granted = Client().post("/api/v1/oauth/token", form).json()
    hospital.token = granted["access_token"]
    assert hospital.get(URL).json() == {"results": [], "next": None}
    assert Client().post("/api/v1/oauth/token", form | {"client_secret": "x"}).status_code == 401


def test_another_hospital_sees_nothing(hospital: Hospital) -> None:
    claim, other = hospital.settled(), Hospital()
    assert refusal(other.get(claim["links"]["self"]))[0] == 404
    assert refusal(other.reverse(claim))[0] == 404
    assert other.get(URL).json()["results"] == []


def test_a_failure_is_a_problem_without_details(hospital: Hospital, monkeypatch) -> None:
    def broken(**act):
        raise RuntimeError("secret 999999197001010013")

    monkeypatch.setattr("audit.trail.event_row", broken)
    monkeypatch.setattr("settlement.commands.refused", lambda **act: None)
    answer = hospital.post(hospital.body())
    assert refusal(answer)[:2] == (500, "INTERNAL_ERROR")
    assert "secret" not in answer.content.decode()
    set_scope(EVERYTHING)
    assert not Claim.objects.exists()  # an act whose event cannot be written does not happen


# --- What is kept ---


def test_personal_data_is_kept_as_hashes_only(hospital: Hospital, caplog) -> None:
    body = hospital.body()
    claim = hospital.post(body).json()
    hospital.post(body | {"claim_no": "again", "channel": "?"})
    set_scope(EVERYTHING)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT row_to_json(c)::text FROM settlement_claim c WHERE id = %s", [claim["id"]]
        )
        kept = cursor.fetchone()[0]
    events = "".join(bytes(event.body).decode() + event.subject for event in Event.objects.all())
    answers = "".join(bytes(key.answer).decode() for key in IdempotencyKey.objects.all())
    everything = kept + events + answers + json.dumps(claim) + caplog.text
    for secret in (hospital.patient.credential, "phone-7", "10.1.2.3", "测试"):
        assert secret not in everything
    stored = Claim.objects.get(id=claim["id"]).document
    assert stored["person"]["credential"] == crypto.person_hash(hospital.patient.credential).hex()
    assert stored["prescriptions"] == body["prescriptions"]
    assert ClaimLine.objects.get(claim_id=claim["id"]).quantity == 10_000


def test_every_act_and_refusal_is_in_the_trail(hospital: Hospital) -> None:
    claim = hospital.settled()
    hospital.post({})
    hospital.reverse(claim)
    hospital.reverse(claim)
    set_scope(EVERYTHING)
    events = Event.objects.filter(institution_code=hospital.row.code).order_by("at")
    subject = f"claim:{claim['id']}"
    assert [(e.action, e.subject, e.outcome) for e in events] == [
        ("claim.receive", subject, "ok"), ("claim.receive", "claim", "refused"),
        ("claim.reverse", subject, "ok"), ("claim.reverse", subject, "refused"),
    ]  # fmt: skip


# --- Lists and evidence ---


def test_lists_are_filtered_and_paged(hospital: Hospital) -> None:
    other = factories.person()
    days = [factories.DAY + dt.timedelta(days=n) for n in range(3)]
    claims = [hospital.settled(day=day) for day in days]
    rejected = hospital.settled(line(item="999"), day=days[2])
    hospital.reverse(claims[0])
    foreign = factories.body(other, hospital.doctor, day=days[0])
    theirs = hospital.post(foreign).json()

    def ids(query: str, **headers: str) -> list[int]:
        return [row["id"] for row in hospital.get(f"{URL}{query}", **headers).json()["results"]]

    assert ids("") == [
        rejected["id"],
        claims[2]["id"],
        claims[1]["id"],
        theirs["id"],
        claims[0]["id"],
    ]
    assert ids(f"?from={days[1]}&to={days[1]}") == [claims[1]["id"]]
    assert ids("?state=reversed") == [claims[0]["id"]]
    assert ids("?state=reject") == ids("?item=999") == [rejected["id"]]
    assert ids(f"?claim_no={theirs['claim_no']}") == [theirs["id"]]
    alias = hospital.settled(
        line(item="111020004", fee="50.00"), day=days[2],
        physician={"code": factories.physician(hospital.row, "special_allowance_expert").code},
    )  # fmt: skip
    assert alias["lines"][0]["canonical_code"] == "111102004"
    assert alias["flags"] == ["CODE_ALIAS"]
    assert ids("?item=111102004") == ids("?item=111020004") == [alias["id"]]
    assert ids("", **{"Person-Credential": other.credential}) == [theirs["id"]]
    first = hospital.get(f"{URL}?limit=2").json()
    second = hospital.get(f"{URL}?limit=2&cursor={first['next']}").json()
    third = hospital.get(f"{URL}?limit=2&cursor={second['next']}").json()
    pages = [row["id"] for page in (first, second, third) for row in page["results"]]
    assert (pages, third["next"]) == (ids(""), None)
    wrong = hospital.get(f"{URL}?from=2021-02-30&limit=0&state=x&item=%27&cursor=a&ordering=id")
    assert refusal(wrong)[2] == dict.fromkeys(
        ("from", "limit", "state", "item", "cursor"), "PARAMETER"
    ) | {"ordering": "UNKNOWN_PARAMETER"}


def test_evidence_is_kept_once(hospital: Hospital) -> None:
    claim = hospital.settled()
    piece = {"kind": "record", "content_hash": "ab" * 32, "at": "2021-06-15T09:40:00+08:00",
             "reference": "EMR/2021/7"}  # fmt: skip
    first, again = (hospital.post(piece, url=claim["links"]["evidence"]) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    set_scope(EVERYTHING)
    assert [e.kind for e in Evidence.objects.all()] == ["record"]
    wrong = piece | {"kind": "photo", "content_hash": "AB"}
    assert refusal(hospital.post(wrong, url=claim["links"]["evidence"]))[2] == {
        "/kind": "ENUM", "/content_hash": "FORMAT",
    }  # fmt: skip
    assert hospital.post(piece, url="/api/v1/encounters/%00/evidence").status_code == 404
