"""Waves and steps of Ningxia: cases, refusals, and the plan counted back from a deadline."""

import copy
import datetime as dt

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from agreements.facts import CaseError, Unanswerable, ask
from agreements.onboarding import STEP_DAYS, SUBJECTS, Flow, Waves, connections_missing
from institutions.calendar import MissingYear
from pricing.document import parse
from tests.agreements.law import ROOT, cases_of, check, document, national

CASES = cases_of(SUBJECTS)
NINGXIA = document("ningxia")
ROW = yaml.safe_load(
    (ROOT / "pricing/policies/parameters-ningxia.yaml").read_text(encoding="utf-8")
)["rows"][0]
STEP_LENGTHS = ROW["value"]
FLOW = Flow.read(NINGXIA)
WAVES = Waves.read(NINGXIA, calendar=national())
ONE = dt.timedelta(days=1)


def put(subject, facts, law=NINGXIA):
    return ask(SUBJECTS, subject, facts, law=law, calendar=national())


def day(text):
    return dt.date.fromisoformat(text)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_case(case):
    check(case, SUBJECTS, NINGXIA)


@pytest.mark.parametrize("subject", sorted(SUBJECTS))
def test_every_subject_has_cases(subject):
    assert len([case for case in CASES if case["subject"] == subject]) >= 2


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
@pytest.mark.parametrize("law", [None, {}, {"waves": None, "onboarding": {}}, document("wenzhou")])
def test_without_policy_data_nothing_is_answered(case, law):
    with pytest.raises((CaseError, Unanswerable)):
        ask(SUBJECTS, case["subject"], case["input"], law=law, calendar=national())


@pytest.mark.parametrize(
    ("subject", "facts", "key"),
    [
        ("weather", {}, "weather"),
        ("wave_plan", {"moon": 1}, "moon"),
        ("wave", {"batch": 1, "today": "2022-01-01"}, "today"),
        ("prerequisites", {"step": 1, "done": [], "moon": 1}, "moon"),
        (
            "docking",
            {"action": "start_docking", "integrated_platform": True},
            "integrated_platform",
        ),
        ("promotion", {"hospitals": ["自治区人民医院"], "moon": 1}, "moon"),
        ("admission", {"hospital": "x", "moon": 1}, "moon"),
    ],
    ids=str,
)
def test_an_unknown_key_is_named(subject, facts, key):
    with pytest.raises(Unanswerable) as refused:
        put(subject, facts)
    assert refused.value.key == key


@pytest.mark.parametrize(
    ("subject", "facts"),
    [
        ("wave_plan", {"counts": [5, 10, 10, 12]}),
        ("wave_plan", {"counts": [38]}),
        ("wave_plan", {"counts": 38}),
        ("wave", {}),
        ("wave", {"batch": 5, "go_live": "2021-12-31"}),
        ("wave", {"batch": "1", "go_live": "2021-12-31"}),
        ("wave", {"batch": 2, "hospital": "宁夏医科大学总院", "go_live": "2021-12-31"}),
        ("wave", {"batch": 1, "hospital": "某医院", "go_live": "2021-12-31"}),
        ("wave", {"batch": 1, "go_live": "2021-12-32"}),
        ("prerequisites", {"step": 9, "done": []}),
        ("prerequisites", {"step": "1", "done": []}),
        ("prerequisites", {"step": 1, "done": [0]}),
        ("prerequisites", {"step": 1, "done": [True]}),
        ("prerequisites", {"step": 1, "done": 1}),
        ("prerequisites", {"step": 6, "done": [], "actor_level": "village"}),
        ("prerequisites", {"done": [], "actor_level": "county"}),
        ("prerequisites", {"step": 6, "done": [7], "applies_major_disease": False}),
        ("prerequisites", {"step": 6, "done": [], "applies_major_disease": "no"}),
        ("docking", {}),
        ("docking", {"action": "land"}),
        ("docking", {"action": "start_docking", "supervision_platform": "yes"}),
        ("promotion", {}),
        ("promotion", {"hospitals": []}),
        ("promotion", {"hospitals": ["某医院"]}),
        ("promotion", {"hospitals": [1]}),
        ("admission", {"listed_all_done": True}),
        ("admission", {"hospital": "某医院"}),
        ("admission", {"hospital": "某医院", "listed_all_done": "yes"}),
    ],
    ids=str,
)
def test_a_contradiction_is_an_error(subject, facts):
    with pytest.raises(CaseError):
        put(subject, facts)


def test_what_is_not_shown_is_not_done():
    assert put("prerequisites", {"step": 2})["missing"] == [1]
    assert connections_missing("listing", {}, law=NINGXIA) == ["integrated_platform"]


def broken(path, value):
    law = copy.deepcopy(NINGXIA)
    node = law
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return law


@pytest.mark.parametrize(
    ("path", "value", "read"),
    [
        (("waves", "total"), 39, lambda law: Waves.read(law, calendar=national())),
        (("waves", "batches", 0, "count"), 6, lambda law: Waves.read(law, calendar=national())),
        (
            ("waves", "batches", 0, "deadline"),
            "soon",
            lambda law: Waves.read(law, calendar=national()),
        ),
        (("onboarding", "steps", 1, "needs"), [4], Flow.read),
        (("onboarding", "steps", 1, "step"), 1, Flow.read),
        (("onboarding", "steps", 6, "when"), "full_moon", Flow.read),
    ],
)
def test_a_document_that_contradicts_itself_is_refused(path, value, read):
    with pytest.raises(CaseError):
        read(broken(path, value))


def test_a_deadline_that_rolls_over_is_the_documents_choice():
    rolled = Waves.read(broken(("waves", "roll_over"), True), calendar=national())
    assert [wave.deadline for wave in rolled.batches][2] == day("2023-01-03")
    assert [wave.deadline for wave in WAVES.batches][2] == day("2022-12-31")


def test_the_board_reads_names_waves_and_promoters():
    assert sum(len(wave.hospitals) for wave in WAVES.batches) == WAVES.total
    wave = WAVES.wave_of(" 宁夏医科大学总院 ")
    assert (wave.number, wave.name, wave.clause) == (1, "第一批", "附件1")
    assert WAVES.find("宁夏医科大学总院")[1].name == "宁夏医科大学总医院"
    assert WAVES.wave_of("某医院") is None
    assert wave.days_late(go_live=None, today=day("2022-01-10")) == 10
    assert wave.days_late(go_live=None, today=day("2021-12-31")) == 0
    assert wave.days_late(go_live=day("2022-01-02"), today=day("2023-01-01")) == 2
    region = WAVES.promoter_of("自治区人民医院")
    assert (region.level, region.bureaus) == ("region", ("自治区医保局", "自治区卫生健康委"))
    assert WAVES.promoter_of("盐池县人民医院").level == "territory"


def test_the_steps_follow_their_needs():
    assert [step.needs for step in FLOW.steps] == [(), (1,), (1,), (2, 3), (4,), (5,), (6,), (7,)]
    for step in FLOW.steps:
        before = FLOW.missing(step.number, done=(), applies_major_disease=True)
        assert before == [n for n in range(1, step.number) if {n, step.number} != {2, 3}]
    assert {step.number: FLOW.required_level(step.number) for step in FLOW.steps}[
        6
    ] == "prefecture_city"
    assert FLOW.required_level(4) is None
    assert [FLOW.may_act(3, level) for level in FLOW.levels] == [True, True, True]
    with pytest.raises(CaseError, match="门诊大病"):
        FLOW.missing(7, done=(), applies_major_disease=False)


def plan(deadline, lengths=STEP_LENGTHS, **more):
    slots = FLOW.schedule(deadline=day(deadline), working_days=lengths, calendar=national(), **more)
    return {slot.step.number: (str(slot.latest_start), str(slot.latest_end)) for slot in slots}


def test_the_first_wave_planned_backward_by_hand():
    """2021-12-31 is a Friday, worked. December has no holiday but weekends; 5/3/15/5/3/3 days."""
    assert plan("2021-12-31") == {
        1: ("2021-11-19", "2021-11-25"),  # Fri 19, 22-25
        2: ("2021-12-14", "2021-12-16"),  # Tue 14, 15, 16: side by side with 3
        3: ("2021-11-26", "2021-12-16"),  # 26, 29-30, 1-3, 6-10, 13-16: fifteen
        4: ("2021-12-17", "2021-12-23"),  # Fri 17, 20-23
        5: ("2021-12-24", "2021-12-28"),  # Fri 24, 27, 28
        6: ("2021-12-29", "2021-12-31"),
    }


def test_a_deadline_on_a_rest_day_is_planned_to_the_last_working_day():
    """2022-12-31 is a Saturday and a holiday: the plan ends on Fri 30, the deadline stays."""
    got = plan("2022-12-31", applies_major_disease=True)
    assert got[8] == ("2022-12-26", "2022-12-30")
    assert got[7] == ("2022-12-21", "2022-12-23")
    assert got[6] == ("2022-12-16", "2022-12-20")


def test_make_up_days_are_used():
    """Back from Tue 2022-10-11: 11, 10, Sun 9 and Sat 8 are worked; 10-01 to 07 are not."""
    lengths = dict.fromkeys(STEP_LENGTHS, 1)
    assert plan("2022-10-11", lengths) == {
        6: ("2022-10-11",) * 2, 5: ("2022-10-10",) * 2, 4: ("2022-10-09",) * 2,
        3: ("2022-10-08",) * 2, 2: ("2022-10-08",) * 2, 1: ("2022-09-30",) * 2,
    }  # fmt: skip


def test_lateness_against_the_plan():
    slots = FLOW.schedule(
        deadline=day("2021-12-31"), working_days=STEP_LENGTHS, calendar=national()
    )
    assert slots[0].days_late(done=day("2021-11-25"), today=day("2022-01-01")) == 0
    assert slots[0].days_late(done=None, today=day("2021-11-30")) == 5


@pytest.mark.parametrize(
    "lengths",
    [
        {},
        STEP_LENGTHS | {"coffee": 1},
        STEP_LENGTHS | {"agreement": 0},
        STEP_LENGTHS | {"agreement": "3"},
        {key: value for key, value in STEP_LENGTHS.items() if key != "preparation"},
    ],
    ids=str,
)
def test_a_plan_needs_a_duration_for_every_step(lengths):
    with pytest.raises(CaseError):
        plan("2021-12-31", lengths)


def test_optional_steps_need_a_duration_only_when_gone_through():
    six = {key: value for key, value in STEP_LENGTHS.items() if not key.startswith("major")}
    assert len(plan("2021-12-31", six)) == 6
    with pytest.raises(CaseError, match="major_disease"):
        plan("2021-12-31", six, applies_major_disease=True)


@pytest.mark.parametrize(("deadline", "year"), [("2027-06-30", 2027), ("2020-01-15", 2019)])
def test_a_plan_into_a_missing_year_says_so(deadline, year):
    with pytest.raises(MissingYear) as missing:
        plan(deadline)
    assert missing.value.year == year


LENGTHS = st.fixed_dictionaries({key: st.integers(1, 20) for key in STEP_LENGTHS})
DEADLINES = st.dates(dt.date(2021, 6, 1), dt.date(2024, 12, 31))


@given(DEADLINES, LENGTHS, st.booleans())
def test_a_plan_keeps_order_length_and_deadline(deadline, lengths, applies):
    slots = FLOW.schedule(
        deadline=deadline, working_days=lengths, calendar=national(), applies_major_disease=applies
    )
    by_number = {slot.step.number: slot for slot in slots}
    assert slots[-1].latest_end == national().previous_working_day(deadline)
    for slot in slots:
        worked = national().working_days_between(slot.latest_start - ONE, slot.latest_end)
        assert worked == lengths[slot.step.key]
        assert national().is_working_day(slot.latest_start)
        for need in slot.step.needs:
            gap = national().working_days_between(by_number[need].latest_end, slot.latest_start)
            assert gap == 1 or (need == 1 and gap >= 1)
    assert (
        min(
            national().working_days_between(by_number[1].latest_end, by_number[n].latest_start)
            for n in (2, 3)
        )
        == 1
    )


@given(DEADLINES, LENGTHS, st.sampled_from(sorted(STEP_LENGTHS)))
def test_a_longer_step_never_begins_later(deadline, lengths, key):
    ask_plan = {"deadline": deadline, "calendar": national(), "applies_major_disease": True}
    before = FLOW.schedule(working_days=lengths, **ask_plan)
    after = FLOW.schedule(working_days=lengths | {key: lengths[key] + 1}, **ask_plan)
    for one, other in zip(before, after, strict=True):
        assert other.latest_start <= one.latest_start


def test_the_durations_are_a_labelled_example():
    assert (ROW["key"], ROW["source_kind"]) == (STEP_DAYS, "example")
    assert ROW["label"].startswith("示例")
    text = (ROOT / "pricing/policies/parameters-ningxia.yaml").read_text(encoding="utf-8")
    policy = parse(text)
    assert STEP_DAYS not in policy.parameters(day("2022-01-01"), examples=False)
    parameter = policy.parameters(day("2022-01-01"), examples=True)[STEP_DAYS]
    assert (parameter.value, parameter.example) == (STEP_LENGTHS, True)
