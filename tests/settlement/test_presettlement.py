"""Pre-settlement: the settlement's answer without the settlement."""

from audit.models import Event
from institutions.access import EVERYTHING, set_scope
from settlement import ledger
from settlement.models import Accumulator, Claim, ClaimKey, Leg, Settlement
from tests import factories
from tests.factories import line
from tests.settlement.hospital import URL, Hospital

AMOUNTS = ("state", "totals", "national", "lines", "flags", "release", "service_date")


def ask(hospital: Hospital, body: dict):
    return hospital.post(body, url=f"{URL}/presettlement")


def test_it_answers_as_the_settlement_does_and_keeps_nothing(db) -> None:
    factories.policies("nantong")
    hospital = Hospital(scheme="employee")
    hospital.patient = factories.person("nantong", "employee", account_balance=700)
    for n in range(3):
        body = hospital.body(line(fee="12.00"), pay_from_account=n == 1)
        before = Settlement.objects.count(), Accumulator.objects.count()
        dry = ask(hospital, body)
        assert dry.status_code == 200, dry.content.decode()
        assert (dry.json()["stored"], dry.json()["id"]) == (False, None)
        set_scope(EVERYTHING)
        assert (Settlement.objects.count(), Accumulator.objects.count()) == before
        assert not Claim.objects.filter(claim_no=body["claim_no"]).exists()
        assert not ClaimKey.objects.filter(claim_no=body["claim_no"]).exists()
        settled = hospital.post(body).json()
        assert {k: dry.json()[k] for k in AMOUNTS} == {k: settled[k] for k in AMOUNTS}
    set_scope(EVERYTHING)
    assert Event.objects.filter(action="claim.presettle").count() == 3
    assert Leg.objects.exists()
    assert ledger.balance().sound


def test_what_a_settlement_refuses_is_refused(db) -> None:
    factories.policies("nantong")
    hospital = Hospital()
    body = hospital.body()
    assert hospital.post(body).status_code == 201
    again = ask(hospital, body)
    assert (again.status_code, again.json()["code"]) == (409, "CLAIM_NUMBER_USED")
    wrong = ask(hospital, body | {"lines": []})
    assert wrong.status_code == 400
    assert ask(hospital, hospital.body(line(fee="12.01"))).json()["state"] == "review"
