"""Applications, conditions, cascade, publication and filing: cases, and what must not be answered."""

import copy
import datetime as dt

import pytest

from agreements.facts import CaseError, Unanswerable, ask
from agreements.standing import SUBJECTS, conditions, effect_of, filing_of, shortcomings
from institutions.calendar import Calendar, MissingYear
from tests.agreements.law import cases_of, check, document, national

CASES = cases_of(SUBJECTS)
WENZHOU, NANTONG = document("wenzhou"), document("nantong")
CONDITIONS = {str(n): True for n in range(1, 8)}


def put(subject, facts, law=WENZHOU):
    return ask(SUBJECTS, subject, facts, law=law, calendar=national())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_case(case):
    check(case, SUBJECTS, document(case["region"]))


@pytest.mark.parametrize("subject", sorted(SUBJECTS))
def test_every_subject_has_cases(subject):
    assert len([case for case in CASES if case["subject"] == subject]) >= 3


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
@pytest.mark.parametrize(
    "law", [None, {}, {"procedures": {}}, {"procedures": {"cascade": {}}}], ids=str
)
def test_without_policy_data_nothing_is_answered(case, law):
    with pytest.raises(CaseError):
        ask(SUBJECTS, case["subject"], case["input"], law=law, calendar=national())


@pytest.mark.parametrize(
    ("subject", "facts", "key"),
    [
        ("weather", {}, "weather"),
        ("application", {"main_designated": True, "applies": ["supplementary"], "moon": 1}, "moon"),
        ("conditions", {"conditions": CONDITIONS | {"8": True}}, "conditions.8"),
        ("conditions", {"conditions": CONDITIONS, "moon": 1}, "moon"),
        ("cascade", {"event": "main_suspended", "date": "2021-08-02", "moon": 1}, "moon"),
        ("publication", {"signed": "2021-05-13", "moon": 1}, "moon"),
        ("filing", {"online_filed": "2020-03-02", "moon": 1}, "moon"),
    ],
    ids=str,
)
def test_an_unknown_key_is_named(subject, facts, key):
    with pytest.raises(Unanswerable) as refused:
        put(subject, facts, NANTONG if subject == "filing" else WENZHOU)
    assert refused.value.key == key


@pytest.mark.parametrize(
    ("subject", "facts"),
    [
        ("application", {"applies": ["supplementary"]}),
        ("application", {"main_designated": "no", "applies": ["supplementary"]}),
        ("application", {"main_designated": True}),
        ("application", {"main_designated": True, "applies": "supplementary"}),
        ("application", {"main_designated": True, "applies": ["main"]}),
        ("application", {"main_designated": True, "applies": [["main"]]}),
        ("application", {"main_designated": True, "applies": ["supplementary", "third"]}),
        ("application", {"main_designated": True, "applies": ["supplementary", "supplementary"]}),
        (
            "application",
            {"main_designated": True, "applies": ["supplementary"], "sign_order": ["x"]},
        ),
        (
            "application",
            {"main_designated": True, "applies": ["supplementary"], "sign_order": "main"},
        ),
        ("conditions", {}),
        ("conditions", {"conditions": ["1"]}),
        ("conditions", {"conditions": CONDITIONS | {"3": "yes"}}),
        ("cascade", {}),
        ("cascade", {"date": "2021-08-02"}),
        ("cascade", {"event": "main_suspended"}),
        ("cascade", {"event": "main_suspended", "date": None}),
        ("cascade", {"event": "main_expired", "date": "2021-08-02"}),
        ("cascade", {"event": "main_married", "date": "2021-08-02"}),
        ("cascade", {"event": "main_suspended", "date": "2021-08-02", "today": "2021-08-03"}),
        ("cascade", {"event": "main_suspended", "date": "2021-08-02", "main_end": "2021-12-31"}),
        ("cascade", {"main_end": "2021-12-31", "supplementary_signed": "2022-01-01"}),
        (
            "cascade",
            {"main_end": "2021-12-31", "supplementary_signed": "2021-05-13", "today": "2021-05-12"},
        ),
        ("cascade", {"main_end": None, "supplementary_signed": "2021-05-13"}),
        ("cascade", {"main_renewed_to": "2022-12-31"}),
        ("cascade", {"main_renewed_to": "2021-12-31", "supplementary_end": "2021-12-31"}),
        ("publication", {}),
        ("publication", {"signed": "soon"}),
        ("publication", {"signed": 1}),
    ],
    ids=str,
)
def test_a_contradiction_is_an_error(subject, facts):
    with pytest.raises(CaseError):
        put(subject, facts)


@pytest.mark.parametrize(
    "facts",
    [
        {"online_filed": "2020-03-03", "online_signed": "2020-03-02"},
        {"online_filed": "2020-03-02", "online_signed": "2020-03-03", "paper_signed": "2020-03-01"},
        {"online_filed": None, "online_signed": "2020-03-02"},
        {"online_filed": True},
    ],
    ids=str,
)
def test_a_filing_out_of_order_is_an_error(facts):
    with pytest.raises(CaseError):
        put("filing", facts, NANTONG)


def test_a_document_answers_only_what_it_regulates():
    with pytest.raises(CaseError):
        put("filing", {"online_filed": "2021-03-09"})
    with pytest.raises(CaseError):
        put("cascade", {"event": "main_suspended", "date": "2020-08-02"}, NANTONG)
    with pytest.raises(CaseError, match="conditions"):
        put("conditions", {"conditions": {}}, NANTONG)


def changed(law, *path, **values):
    law = copy.deepcopy(law)
    node = law
    for key in path:
        node = node[key]
    node |= values
    return law


def test_the_policy_decides():
    together = changed(WENZHOU, "procedures", "application", may_apply_together=["supplementary"])
    both = {"main_designated": False, "applies": ["main", "supplementary"]}
    assert put("application", both, together)["accepted_application"] is False
    first = changed(WENZHOU, "procedures", "application", sign_order=["supplementary", "main"])
    assert put("application", both, first)["sign_supplementary_before_main"] is True
    manual = changed(
        WENZHOU, "procedures", "cascade", "main_suspended",
        supplementary="active", automatic=False, task="decide_supplementary",
    )  # fmt: skip
    got = put("cascade", {"event": "main_suspended", "date": "2021-08-02"}, manual)
    assert (got["supplementary_state"], got["supplementary_from"]) == ("active", None)
    assert (got["automatic"], got["task"]) == (False, "decide_supplementary")
    fewer = WENZHOU | {"conditions": WENZHOU["conditions"][:2]}
    assert put("conditions", {"conditions": {"1": True, "2": True}}, fewer)["review"] == "pass"
    other_term = changed(WENZHOU, "procedures", "supplementary_term", end="own")
    with pytest.raises(CaseError, match="期限"):
        put("cascade", {"main_end": "2021-12-31"}, other_term)


def test_printed_days_would_be_counted():
    """A region that prints days for publishing or paper gets deadlines, without new code."""
    days = changed(WENZHOU, "procedures", "publication", working_days=3)
    assert put("publication", {"signed": "2021-04-30"}, days)["deadline"] == "2021-05-08"
    with pytest.raises(MissingYear, match="2025"):
        put("publication", {"signed": "2024-12-30"}, days)
    paper = changed(NANTONG, "procedures", paper_deadline={"months": 1, "clause": "x"})
    facts = {"online_filed": "2020-03-02", "online_signed": "2020-03-03"}
    assert put("filing", facts, paper)["paper_deadline"] == "2020-04-03"
    assert put("filing", {"online_filed": "2020-03-02"}, paper)["paper_deadline"] is None
    paper_only = changed(NANTONG, "procedures", operational_from="paper_signed")
    assert put("filing", facts, paper_only)["operational"] is False


def test_commands_get_words_and_clauses():
    missing = shortcomings({"1": True, "6": False}, law=WENZHOU)
    assert [condition.no for condition in missing] == ["2", "3", "4", "5", "6", "7"]
    assert missing[4].clause == "六（六）"
    assert len(conditions(WENZHOU)) == 7
    assert effect_of("main_terminated", procedures=WENZHOU["procedures"]).clause == "二十二第1款"
    filing = filing_of(
        filed=dt.date(2020, 3, 2), signed=None, paper=None,
        procedures=NANTONG["procedures"], calendar=Calendar.build([]),
    )  # fmt: skip
    assert (filing.state, filing.operational, filing.clause) == ("filed", False, "三（一）")
