"""contracts/trial.md at its edges: facts of any kind answer or are named, never crash."""

import datetime as dt
import io
import json
from pathlib import Path

import pytest
from django.core.management import call_command
from hypothesis import given, settings
from hypothesis import strategies as st

from pricing import releases
from pricing.commands import SHIPPED, load_shipped
from pricing.document import parse
from pricing.releases import Catalogue, Published
from settlement import trial
from settlement.fault import FactError, read_json
from settlement.trial_form import TrialForm
from tests import factories
from tests.settlement.benefits import drug_list

AT = dt.datetime(2026, 1, 5, 9, tzinfo=dt.UTC)
POLICIES = [parse(path.read_text(encoding="utf-8")) for path in sorted(SHIPPED.glob("*.yaml"))]
LAW = Catalogue(
    [Published(n, "-", policy, *policy.effective) for n, policy in enumerate(POLICIES, 1)]
)
CASES = [
    case["input"] | {"region": case["region"]}
    for name in ("settlement", "branches")
    for case in json.loads((Path(__file__).parents[1] / "policies" / f"{name}.json").read_text())[
        "cases"
    ]
    if case["subject"] == "trial"
]
VISIT = CASES[0]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
    | st.sampled_from(["12.00", "2021-03-10", "other", "2020-02-30", "-1.00", "1e3", "９"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(CASES), st.sampled_from([*sorted(trial.KNOWN_KEYS), "lines", "x"]), JSON)
def test_any_value_of_any_fact_is_answered_or_named(facts, key, value):
    try:
        said, shown = True, trial.run(facts | {key: value}, LAW)
    except FactError as fault:
        said, shown = fault.reason, fault.field
    assert said
    json.dumps(shown, allow_nan=False)


@pytest.mark.parametrize("facts", CASES, ids=str)
def test_identities_and_no_float(facts):
    def walk(node):
        assert not isinstance(node, float)
        if isinstance(node, dict | list):
            for part in node.values() if isinstance(node, dict) else node:
                walk(part)

    answer = trial.run(facts, LAW, examples=True)
    walk(answer)
    for line in answer.get("lines", [answer]):
        if line["decision"] == "reject":
            assert line["fund_pay"] == "0.00"
        if line["decision"] == "payable" and line["fund_pay"] and line["patient_total"]:
            fen = {
                k: int(line[k].replace(".", ""))
                for k in (
                    "in_scope_amount",
                    "over_cap_self_pay",
                    "fund_pay",
                    "in_scope_self_pay",
                    "patient_total",
                )
            }
            assert fen["in_scope_amount"] == fen["fund_pay"] + fen["in_scope_self_pay"]
            assert fen["patient_total"] == fen["in_scope_self_pay"] + fen["over_cap_self_pay"]


@pytest.mark.parametrize("key", ["visit_type", "condition", "scheme", "insured_area", "price_class", "fee",
                                 "item_code", "service_date", "ownership", "doctor_title",
                                 "doctor_independent_months", "region"])  # fmt: skip
def test_a_missing_fact_is_named(key):
    with pytest.raises(FactError) as error:
        trial.run({k: v for k, v in VISIT.items() if k != key}, LAW)
    assert error.value.field == key


def test_what_was_assumed_is_listed():
    given = {
        k: v for k, v in VISIT.items() if k not in ("institution_filed", "provider_is_clinician")
    }
    assert set(trial.run(given, LAW)["assumed"]) == {
        "service_type", "patient_facing", "is_medical_treatment", "provider_is_clinician",
        "institution_filed", "agreement_in_force", "online_settlement",
    }  # fmt: skip
    assert "institution_filed" not in trial.run(VISIT, LAW)["assumed"]


def test_an_example_row_is_flagged_and_a_stated_parameter_is_not():
    employee = VISIT | {"scheme": "employee"}
    stated = employee | {"parameters": {"employee_fund_ratio": "0.65"}}
    assert trial.run(employee, LAW, examples=True)["flags"] == ["EXAMPLE_PARAMETER"]
    assert trial.run(stated, LAW, examples=True)["flags"] == []


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"employee_fund_ratio": 0.65}, "parameters/employee_fund_ratio"),
        ({"employee_fund_ratio": "1.01"}, "parameters/employee_fund_ratio"),
        ({"employee_fund_ratio": "0.65001"}, "parameters/employee_fund_ratio"),
        ({"employee_fund_ratio": "NaN"}, "parameters/employee_fund_ratio"),
        ({"mdt_price": 400}, "parameters/mdt_price"),
        ({"moon_phase": "1"}, "parameters/moon_phase"),
        ([], "parameters"),
    ],
)
def test_faulty_parameters_are_named(parameters, field):
    with pytest.raises(FactError) as error:
        trial.run(VISIT | {"parameters": parameters}, LAW)
    assert error.value.field == field


@pytest.mark.parametrize(
    "text", ["{", "NaN", '{"a": 1, "a": 2}', "[" * 40 + "]" * 40, '"\\ud800"', "[" * 100_000]
)
def test_broken_json_is_named(text):
    with pytest.raises(FactError):
        read_json(text)


@pytest.mark.django_db
class TestCommand:
    """`manage.py trial`: JSON Lines in and out."""

    @pytest.fixture(autouse=True)
    def _law(self):
        load_shipped(by="甲", at=AT)

    @staticmethod
    def run(*arguments: str) -> tuple[int, list[dict]]:
        out, code = io.StringIO(), 0
        try:
            call_command("trial", *arguments, stdout=out)
        except SystemExit as stopped:
            code = stopped.code
        return code, [json.loads(line) for line in out.getvalue().splitlines()]

    def test_a_file(self, tmp_path):
        path = tmp_path / "facts.jsonl"
        path.write_text("\n".join([json.dumps(VISIT), "", json.dumps(VISIT | {"fee": 12.0}), "{"]))
        code, (first, second, third) = self.run(str(path))
        assert (code, first["fund_pay"]) == (1, "6.00")
        assert (second["status"], second["field"], second["line"]) == (422, "fee", 3)
        assert (third["status"], third["line"]) == (422, 4)

    def test_standard_input_and_examples(self, monkeypatch):
        line = json.dumps(VISIT | {"scheme": "employee"})
        monkeypatch.setattr("sys.stdin", io.StringIO(line))
        code, (answer,) = self.run("-", "--examples")
        assert (code, answer["flags"]) == (0, ["EXAMPLE_PARAMETER"])


# --- Drugs ---

#: A drug in Wenzhou on a day of its document, everything else in order.
DRUG = {
    "region": "wenzhou", "service": "drug", "service_date": "2022-03-10", "fee": "33.35",
    "scheme": "employee", "insured_area": "wenzhou", "visit_type": "revisit",
    "condition": "chronic", "business_type": "internet", "department_in_scope": True,
    "disease_in_list": True, "same_disease": True, "last_offline_visit": "2022-02-01",
    "doctor_esigned": True, "pharmacist_reviewed": True, "price_class": 3, "ownership": "public",
    "nonprofit": True, "agreement_state": "active",
    "parameters": {"employee_fund_ratio": "0.65", "employee_deductible": "0.00"},
}  # fmt: skip


def judged(item: str | None, *, examples: bool = False) -> tuple:
    """Decision, reason, category, first self-pay, fund and what was assumed of a drug."""
    facts = DRUG if item is None else DRUG | {"item_code": item}
    answer = trial.run(facts, releases.current(), examples=examples)
    names = ("decision", "reason", "category", "first_self_pay", "fund_pay")
    return (*(answer[name] for name in names), "drug_for_disease" in answer["assumed"])


@pytest.fixture
def listed(db):
    """A drug list of Wenzhou in force from 2022-03-01."""
    factories.policies("wenzhou")

    def publish(**more: object) -> None:
        drug_list(
            "wenzhou", {"code": "JIA", "category": "A"}, {"code": "BING", "category": "C"},
            {"code": "YI", "category": "B", "first_self_pay": 1_000, "ceiling": 1},
            {"code": "TANG", "category": "A", "diseases": ["M01600"]},
            valid_from=dt.date(2022, 3, 1), **more,
        )  # fmt: skip

    releases.catalogue_at.cache_clear()
    yield publish
    releases.catalogue_at.cache_clear()


def test_a_drug_is_judged_by_the_list_of_its_service_day(listed) -> None:
    before = judged("YI")
    assert before[:3] == ("payable", None, None)  # no list is published: the document alone decides
    listed()
    assert [judged(code) for code in ("JIA", "YI", "BING", "TANG", "WAI")] == [
        ("payable", None, "甲类", "0.00", "21.68", False),
        ("payable", None, "乙类", "3.34", "19.51", False),  # as a claim of the same drug
        ("reject", "CATEGORY_SELF_PAID", "丙类", None, "0.00", False),
        ("payable", None, "甲类", "0.00", "21.68", True),  # limited to a disease: assumed filed
        ("reject", "DRUG_NOT_LISTED", None, None, "0.00", False),
    ]
    assert judged(None) == before  # a drug that is not named is not looked up
    day_before = DRUG | {"item_code": "WAI", "service_date": "2022-02-28"}
    assert trial.run(day_before, releases.current())["decision"] == "payable"


def test_an_example_list_judges_only_where_examples_are_asked_for(listed) -> None:
    listed(example=True)
    assert judged("WAI")[0] == "payable"
    assert judged("WAI", examples=True)[:2] == ("reject", "DRUG_NOT_LISTED")


def test_the_form_asks_for_the_drug_where_a_list_is_in_force(listed) -> None:
    given = {"region": "wenzhou", "service": "drug", "service_date": "2022-03-10"}

    def form() -> TrialForm:
        return TrialForm(given, catalogue=releases.current(), today=dt.date(2022, 3, 10))

    assert "item_code" not in form().fields
    listed()
    assert (form().fields["item_code"].label, form()["item_code"].value()) == ("药品编码", "")


def test_jilins_first_self_pay_is_an_example_that_says_so() -> None:
    """No document prints it: 400.00, 10 % borne first, 70 % of the rest; without examples open."""
    facts = {
        "region": "jilin", "service": "remote_consult", "service_date": "2021-06-01",
        "scheme": "employee", "consent": True, "explained_item_and_price": True,
        "charged_by": "inviting", "provincial_hospitals": ["甲"],
    }  # fmt: skip
    answer = trial.run(facts, LAW, examples=True)
    names = ("in_scope_amount", "first_self_pay", "fund_pay")
    assert [answer[name] for name in names] == ["400.00", "40.00", "252.00"]
    assert "EXAMPLE_PARAMETER" in answer["flags"]
    (step,) = [row for row in answer["explanation"] if row["key"] == "first_self_pay"]
    assert step["note"] == "乙类，先行自付 10%"
