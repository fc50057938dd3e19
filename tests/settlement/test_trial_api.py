import datetime as dt
import json

import pytest
from django.test import Client
from django.utils import timezone
from oauth2_provider.models import AccessToken, get_application_model

from institutions.models import User
from pricing.commands import load_shipped

AT = dt.datetime(2026, 1, 5, 9, tzinfo=dt.UTC)
VISIT = {
    "region": "nantong", "service_date": "2020-03-16", "item_code": "111102001", "price_class": 3,
    "ownership": "public", "scheme": "resident", "insured_area": "nantong", "visit_type": "revisit",
    "condition": "chronic", "doctor_title": "attending", "doctor_independent_months": 60,
    "fee": "12.00",
}  # fmt: skip
ADDRESS = "/api/v1/trials"

pytestmark = pytest.mark.django_db


@pytest.fixture
def _law():
    load_shipped(by="张三", at=AT)


@pytest.fixture
def staff(_law) -> Client:
    client = Client()
    client.force_login(User.objects.create(username="li"))
    return client


def post(client: Client, body: object, query: str = "", **headers: str):
    text = body if isinstance(body, str) else json.dumps(body)
    return client.post(ADDRESS + query, text, content_type="application/json", headers=headers)


def test_one_object_and_an_array_answer_in_their_own_shape(staff):
    one = post(staff, VISIT)
    many = post(staff, [VISIT, VISIT | {"fee": "5.00"}])
    assert (one.status_code, one.json()["fund_pay"]) == (200, "6.00")
    assert [answer["fund_pay"] for answer in many.json()] == ["6.00", "5.00"]


def test_example_rows_are_used_only_when_asked_for(staff):
    employee = VISIT | {"scheme": "employee"}
    plain, examples = post(staff, employee).json(), post(staff, employee, "?examples=1").json()
    assert (plain["fund_pay"], plain["flags"]) == (None, [])
    assert (examples["fund_pay"] is not None, examples["flags"]) == (True, ["EXAMPLE_PARAMETER"])


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ([VISIT, VISIT | {"fee": 12.5}, VISIT | {"scheme": "dog"}], ["/1/fee", "/2/scheme"]),
        (VISIT | {"fee": "12.001"}, ["/fee"]),
        (VISIT | {"shoe_size": 42}, ["/shoe_size"]),
        ([VISIT, 7], ["/1"]),
        ([], [""]),
        ({"lines": [VISIT, VISIT | {"price_class": "3"}]}, ["/lines/1/price_class"]),
    ],
)
def test_a_fault_names_its_fact(staff, body, pointers):
    answer = post(staff, body)
    assert (answer.status_code, answer["Content-Type"]) == (422, "application/problem+json")
    problem = answer.json()
    assert problem["trace_id"]
    assert [error["pointer"] for error in problem["errors"]] == pointers
    assert {frozenset(error) for error in problem["errors"]} == {
        frozenset({"pointer", "code", "detail", "clause", "field", "reason"})
    }


@pytest.mark.parametrize(
    "text",
    ["{", "[" * 5000, '{"fee": NaN}', '{"region": "\\ud800"}', '{"fee": "1", "fee": "2"}', "\x00"],
)
def test_a_broken_text_is_400(staff, text):
    assert post(staff, text).status_code == 400


def test_more_than_a_thousand_objects_are_refused(staff):
    assert post(staff, [VISIT] * 1001).status_code == 422


@pytest.mark.usefixtures("_law")
def test_a_stranger_is_refused_and_a_session_needs_its_csrf_token():
    assert post(Client(), VISIT).status_code == 401
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(User.objects.create(username="wang"))
    assert post(strict, VISIT).status_code == 403


@pytest.mark.usefixtures("_law")
@pytest.mark.parametrize(("scope", "status"), [("trial", 200), ("claims", 403)])
def test_a_hospital_needs_a_token_of_the_scope(scope, status):
    application = get_application_model().objects.create(
        name="试算", client_type="confidential", authorization_grant_type="password"
    )
    AccessToken.objects.create(
        token="t", application=application, scope=scope,
        expires=timezone.now() + dt.timedelta(hours=1),
    )  # fmt: skip
    assert post(Client(), VISIT, Authorization="Bearer t").status_code == status


def test_the_schema_documents_the_path():
    from drf_spectacular.generators import SchemaGenerator

    operation = SchemaGenerator().get_schema(request=None, public=True)["paths"][ADDRESS]["post"]
    assert {"200", "400", "401", "403", "415", "422"} <= set(operation["responses"])
