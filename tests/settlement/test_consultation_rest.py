"""REST: two hospitals without any page agree on a split, finish a consultation and read its statement."""

import datetime as dt
from collections.abc import Iterator

import pytest

from audit.models import Event
from institutions.access import EVERYTHING, scoped
from institutions.models import Institution
from settlement.models import Consultation
from tests import factories
from tests.settlement.jilin import Story, at, balances, hospital
from tests.settlement.test_consultation_money import Account
from tests.settlement.test_hospital_api import Caller, ids

DAY = dt.date(2021, 4, 12)
OWN = "/consultations/agreements"


@pytest.fixture
def here(db, time_machine) -> Iterator[Institution]:
    time_machine.move_to(at(DAY, 16), tick=False)
    factories.policies("jilin")
    with scoped(EVERYTHING):
        yield hospital("邀请医院", "county", "220200")


@pytest.fixture
def there(here) -> Institution:
    return hospital("省级医院")


def terms(there: Institution, **more: object) -> dict:
    return {
        "invited": there.pk, "number": "XY1", "ratio_inviting": "30", "ratio_invited": "70",
        "valid_from": "2021-04-01",
    } | more  # fmt: skip


def test_a_consultation_is_settled_over_rest_alone(here, there):
    inviting, invited = Caller(here), Caller(there)
    made = inviting.post(OWN, terms(there), 201)
    assert (made["ratio_invited"], made["confirmed_at"]) == ("70.00", None)
    inviting.post(f"{OWN}/{made['id']}/confirm", {}, 403)
    confirmed = invited.post(f"{OWN}/{made['id']}/confirm", {})
    assert confirmed["confirmed_at"] == "2021-04-12T16:00:00+08:00"
    story = Story.begin(here, there, day=DAY).to("distributed", DAY)
    story.pay(there, DAY)
    path = f"/consultations/{story.case.pk}"
    told = {"number": "SJ1", "amount": "279.00", "issued_on": "2021-04-12"}
    invited.post(f"{path}/receipts", told)
    refused = inviting.post(f"{path}/reductions", {"hospital": there.pk}, 409)
    assert refused["code"] == "RECEIPT_AMOUNT_MISMATCH"
    voiding = {"number": "SJ1", "reason": "金额有误"}
    inviting.post(f"{path}/receipts/void", voiding, 422)
    invited.post(f"{path}/receipts/void", voiding | {"number": "SJ9"}, 422)
    shown = invited.post(f"{path}/receipts/void", voiding)["participants"][0]["receipts"]
    assert [(row["number"], row["amount"], row["void"]) for row in shown] == [
        ("SJ1", "279.00", True)
    ]
    invited.post(f"{path}/receipts", told | {"number": "SJ2", "amount": "280.00"})
    invited.post(f"{path}/reductions", {"hospital": there.pk}, 403)
    done = inviting.post(f"{path}/reductions", {"hospital": there.pk})
    assert (done["state"], done["links"]["reductions"]) == ("settled", f"/api/v1{path}/reductions")
    assert balances(story) == {
        Account.CONSULTATION_COLLECTED: 12000, Account.CONSULTATION_REVENUE: -12000,
    }  # fmt: skip
    assert Event.objects.filter(action="participant.reduce", outcome="refused").count() == 2
    for caller in (inviting, invited):
        statement = caller.get("/consultations/statements?month=2021-04")
        (pair,) = statement["results"]
        (entry,) = pair.pop("entries")
        assert pair == {
            "inviting": here.pk, "invited": there.pk, "sessions": 1, "collected": "400.00",
            "share": "280.00", "paid": "280.00", "receipted": "280.00", "open": "0.00",
        }  # fmt: skip
        assert (entry["state"], entry["receipts"]) == ("settled", ["SJ2"])


def test_reducing_late_asks_for_the_reason(here, there, time_machine):
    inviting, invited = Caller(here), Caller(there)
    made = inviting.post(OWN, terms(there), 201)
    invited.post(f"{OWN}/{made['id']}/confirm", {})
    story = Story.begin(here, there, day=DAY).to("distributed", DAY)
    story.pay(there, DAY)
    story.receipt(there, DAY)
    time_machine.move_to(at(dt.date(2021, 7, 13)), tick=False)
    path = f"/consultations/{story.case.pk}/reductions"
    inviting, late = Caller(here), {"hospital": there.pk, "late_reason": "票据寄送延误"}
    assert inviting.post(path, {"hospital": there.pk}, 422)["code"] == "LATE_REASON_MISSING"
    assert inviting.post(path, late)["late_reason"] == "票据寄送延误"
    assert Consultation.objects.get().state == "settled"


def test_a_wrong_record_is_corrected_and_withdrawn_over_rest(here, there):
    inviting = Caller(here)
    path = f"/consultations/{Story.begin(here, there, day=DAY).to('entered', DAY).case.pk}"
    shown = inviting.get(path)
    assert [step["step"] for step in shown["next_steps"]] == ["collect", "correct", "withdraw"]

    def step(key: str, status: int, **more: object) -> dict:
        given = {
            "step": key,
            "version": inviting.get(path)["version"],
            "facts": {"note": "登记有误"},
        }
        return inviting.post(f"{path}/steps", given | more, status)

    assert step("correct", 422)["code"] == "STEP_INCOMPLETE"
    assert step("correct", 422, confirmed=True, facts={})["code"] == "STEP_INCOMPLETE"
    corrected = step("correct", 200, confirmed=True)
    assert (corrected["state"], corrected["session_on"], corrected["amount"]) == (
        "scheduled", None, None,
    )  # fmt: skip
    session = {
        "session_on": DAY.isoformat(),
        "attended": [there.pk],
        "minutes": "30",
        "summary": "x",
    }
    assert step("hold", 200, facts=session)["amount"] == "400.00"
    assert step("withdraw", 200, confirmed=True)["state"] == "cancelled"


def test_what_is_to_be_collected_is_told_once_the_price_is_known(here, there, settings):
    settings.EXAMPLE_PARAMETERS = False
    case = Story.begin(here, there, day=DAY).to("entered", DAY).case
    inviting = Caller(here)
    assert inviting.get(f"/consultations/{case.pk}")["amount"] is None
    settings.EXAMPLE_PARAMETERS = True
    assert inviting.get(f"/consultations/{case.pk}")["amount"] == "400.00"
    (listed,) = inviting.get("/consultations")["results"]
    assert (listed["amount"], listed["example_parameters"]) == ("400.00", True)


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"ratio_invited": "60"}, "RATIO_NOT_100"), ({"invited": "NOBODY"}, "HOSPITAL_UNKNOWN"),
        ({"valid_until": "2021-03-31"}, "SPAN"),
    ],
)  # fmt: skip
def test_terms_that_cannot_be_are_refused(here, there, more, code):
    assert Caller(here).post(OWN, terms(there, **more), 422)["code"] == code


def test_agreements_are_listed_ended_and_hidden_from_others(here, there):
    inviting, stranger = Caller(here), Caller(hospital("旁院"))
    given = terms(there, ratio_inviting="33.33", ratio_invited="66.67", valid_until="2021-12-31")
    made = inviting.post(OWN, given, 201)
    assert (made["ratio_inviting"], made["valid_until"]) == ("33.33", "2021-12-31")
    assert inviting.post(OWN, given, 409)["code"] == "AGREEMENT_OVERLAPS"
    assert ids(Caller(there).get(OWN)) == [made["id"]]
    assert ids(stranger.get(OWN)) == []
    stranger.post(f"{OWN}/{made['id']}/confirm", {}, 404)
    stranger.post(f"{OWN}/{2**64}/end", {"last": "2021-06-30"}, 404)
    Caller(there).post(f"{OWN}/{made['id']}/end", {"last": "2021-06-30"}, 403)
    ended = inviting.post(f"{OWN}/{made['id']}/end", {"last": "2021-06-30"})
    assert ended["withdrawn_at"] == "2021-04-12T16:00:00+08:00"
    assert stranger.get("/consultations/statements")["results"] == []
    stranger.get("/consultations/statements?month=2021-13", 400)
