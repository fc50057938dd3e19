"""Case files: every shipped case passes; nothing unknown is ever skipped."""

import datetime as dt
import json
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from institutions.holidays import NATIONAL, import_year, national_year
from pricing.commands import load_shipped
from pricing.releases import Catalogue, current
from settlement import cases

FILES = sorted((Path(__file__).parents[1] / "policies").glob("*.json"))
AT = dt.datetime(2026, 1, 5, 9, tzinfo=dt.UTC)

pytestmark = pytest.mark.django_db


@pytest.fixture
def court() -> cases.Courtroom:
    load_shipped(by="甲", at=AT)
    for year in range(2020, 2025):
        import_year(year=year, region=NATIONAL, rows=national_year(year), by="甲", at=AT)
    return cases.Courtroom(current())


def run(path: Path | str, *more: object) -> tuple[int, list[str]]:
    out = StringIO()
    try:
        call_command("cases", str(path), *map(str, more), stdout=out)
    except SystemExit as stopped:
        return stopped.code, out.getvalue().splitlines()
    return 0, out.getvalue().splitlines()


def test_every_case_file_passes(court):
    code, lines = run(*FILES)
    assert [line for line in lines if not line.startswith("ok ")] == [
        f"{len(lines) - 1} passed, 0 failed"
    ]
    assert code == 0


DEADLINE = {"id": "D", "subject": "deadline", "region": "wenzhou",
            "input": {"step": "material_review", "received": "2021-03-08"},
            "expected": {"due": "2021-03-15"}}  # fmt: skip
TRIAL = json.loads(FILES[-1].read_text(encoding="utf-8"))["cases"][0]


def verdict(court: cases.Courtroom, case: dict, **changes) -> str:
    changed = case | {k: (case[k] | v if isinstance(v, dict) else v) for k, v in changes.items()}
    return str(cases.judge(changed, court))


def test_comparison_by_the_rules_of_the_contract(court):
    assert verdict(court, TRIAL, expected={"fund_pay": "6"}) == "ok NT-R01"
    assert verdict(court, TRIAL, expected={"fund_pay": "6.0", "patient_total": None}) == "ok NT-R01"
    assert verdict(court, TRIAL, expected={"fund_pay": "6.01"}) == "FAIL NT-R01 fund_pay 6.01 6.00"
    assert (
        verdict(court, TRIAL, expected={"release": {"document": "通医保发〔2020〕25号"}})
        == "ok NT-R01"
    )
    assert verdict(court, TRIAL, expected={"flags": ["ZERO_FEE"]}).startswith("FAIL NT-R01 flags")
    assert verdict(court, TRIAL, expected={"patient_may_be_charged": 1}).startswith("FAIL")


@pytest.mark.parametrize(
    ("changes", "start"),
    [
        ({"subject": "weather"}, "FAIL D subject"),
        ({"subject": ["x"]}, "FAIL D subject"),
        ({"input": {"colour": "red"}}, "FAIL D input/colour"),
        ({"input": {"working_days": 6}}, "FAIL D input"),
        ({"input": {"working_days": 5}}, "ok D"),
        ({"expected": {"weekday": None}}, "FAIL D weekday"),
        ({"expected": "x"}, "FAIL D expected"),
        ({"region": "atlantis"}, "FAIL D region"),
        ({"region": None}, "FAIL D region"),
        ({"input": {"received": "2019-03-08"}}, "FAIL D region"),
        ({"input": {"received": "2021-02-30"}}, "FAIL D region"),
        ({"input": {"received": "2035-03-08"}}, "FAIL D input"),
    ],
)
def test_nothing_unknown_is_skipped(court, changes, start):
    assert verdict(court, DEADLINE, **changes).startswith(start)


def test_without_policy_data_every_deadline_fails():
    assert str(cases.judge(DEADLINE, cases.Courtroom(Catalogue([])))).startswith("FAIL D region")


@pytest.mark.parametrize(
    "path", [path for path in FILES if "agreements" in path.name], ids=lambda p: p.name
)
def test_without_policy_data_no_agreement_case_passes(path):
    outcomes = list(cases.run_file(path, cases.Courtroom(Catalogue([]))))
    assert {outcome.key for outcome in outcomes} == {"region"}


def test_example_rows_are_not_loaded(court):
    case = TRIAL | {
        "input": TRIAL["input"] | {"scheme": "employee"},
        "expected": {"fund_pay": "6.50"},
    }
    assert str(cases.judge(case, court)) == "FAIL NT-R01 fund_pay 6.50 null"


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"cases": []}', '{"cases": 1}'])
def test_a_file_without_cases_fails(court, tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    code, lines = run(tmp_path / "x.json")
    assert (code, lines[-1]) == (1, "0 passed, 1 failed")


def test_a_failing_case_exits_with_one_and_is_counted(court, tmp_path):
    wrong = DEADLINE | {"expected": {"due": "2021-03-16"}}
    (tmp_path / "x.json").write_text(
        json.dumps({"meta": {"region": "wenzhou"}, "cases": [DEADLINE, wrong, 7]})
    )
    code, lines = run(tmp_path / "x.json", tmp_path / "absent.json")
    assert lines[:2] == ["ok D", "FAIL D due 2021-03-16 2021-03-15"]
    assert (code, lines[-1]) == (1, "1 passed, 3 failed")


def test_an_empty_database_says_what_to_do():
    with pytest.raises(CommandError, match="make run"):
        call_command("cases", str(FILES[0]))
