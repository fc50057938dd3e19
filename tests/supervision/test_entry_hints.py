"""A claim typed in by a hospital: the rules' hints load beside the form and never hold it up."""

import datetime as dt
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from audit.models import Event
from institutions.access import EVERYTHING, set_scope
from settlement.models import Claim
from tests import factories
from tests.settlement.test_pages import DAY, House


@pytest.fixture
def house(db, settings) -> House:
    settings.DEMO_TODAY = DAY + dt.timedelta(days=1)
    set_scope(EVERYTHING)
    factories.policies("nantong")
    found = House()
    factories.offline_visit(found.patient, found.row)
    return found


def typed(house: House, **more: Any) -> dict[str, Any]:
    given = {
        "claim_no": "W-1", "credential": house.patient.credential, "encounter": "E-1",
        "physician": house.doctor.pk, "started": f"{DAY}T09:30", "ended": f"{DAY}T09:45",
        "department_code": "A03", "medium": "video", "visit_type": "revisit",
        "condition": "chronic", "diagnosis_code": "I10.x00x002", "diagnosis_name": "高血压",
        "matched": "on", "consented": "on", "lines-TOTAL_FORMS": "1", "lines-INITIAL_FORMS": "0",
        "lines-0-kind": "consult", "lines-0-item_code": "111102003", "lines-0-quantity": "1",
        "lines-0-unit_price": "35.00",
    }  # fmt: skip
    return {key: value for key, value in (given | more).items() if value is not None}


def test_the_form_loads_the_hints_of_what_is_typed(house: House) -> None:
    client = factories.log_in(Client(), house.staff)
    page = client.get(reverse("claim-new")).content.decode()
    assert f'hx-post="{reverse("precheck-panel")}"' in page
    assert " checked" not in page  # identity and consent are said by whoever enters the claim
    panel = reverse("precheck-panel")
    assert "填写完整后" in client.post(panel, typed(house, claim_no=None)).content.decode()
    silent = client.post(panel, typed(house, consented=None)).content.decode()
    assert "提醒只供核对，不影响提交" in silent
    assert Event.objects.filter(action="visit.precheck").count() == 1
    assert "没有提醒" in client.post(panel, typed(house)).content.decode()
    assert not Claim.objects.exists()


def test_a_hint_does_not_hold_a_claim_up(house: House) -> None:
    client = factories.log_in(Client(), house.staff)
    answer = client.post(reverse("claim-new"), typed(house, consented=None))
    claim = Claim.objects.get()
    assert answer.headers["Location"] == reverse("claim", args=[claim.pk])
    assert (claim.claim_no, claim.fee, claim.received_by) == ("W-1", 3_500, house.staff.username)
    again = client.post(reverse("claim-new"), typed(house))
    assert again.status_code == 422
    assert Claim.objects.count() == 1


def test_what_the_contract_refuses_is_told_on_the_form(house: House) -> None:
    client = factories.log_in(Client(), house.staff)
    for wrong in ({"ended": f"{DAY}T09:00"}, {"lines-0-item_code": ""},
                  {"credential": "999999199001011231"}, {"lines-0-unit_price": ""}):  # fmt: skip
        answer = client.post(reverse("claim-new"), typed(house, **wrong))
        assert answer.status_code == 422, wrong
        assert client.post(reverse("precheck-panel"), typed(house, **wrong)).status_code == 200
    assert not Claim.objects.exists()


def test_only_an_institution_types_in_claims(house: House) -> None:
    bureau = factories.log_in(Client(), factories.user("reviewer", factories.region("nantong")))
    assert bureau.get(reverse("claim-new")).status_code == 403
    assert bureau.post(reverse("precheck-panel"), typed(house)).status_code == 403
