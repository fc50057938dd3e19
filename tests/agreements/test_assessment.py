"""The yearly assessment: whole-number arithmetic, corrections with history, who sees and scores."""

import datetime as dt

import pytest
from django.test import Client
from django.urls import reverse

from agreements import assessment
from agreements.models import Assessment
from audit.models import Event
from institutions.models import Institution
from institutions.refusals import Refusal
from tests import factories
from tests.factories import ZONE

AT = dt.datetime(2021, 12, 20, 10, tzinfo=ZONE)
KEYS = ("follow_up", "records", "price", "deadlines", "findings", "satisfaction")
GOOD = dict(zip(KEYS, (96, 92, 100, 90, 88, 95), strict=True))
GRADES = [
    {"from": 0, "name": "不合格", "coefficient": 9000, "renewal": "不建议续签"},
    {"from": 6000, "name": "合格", "coefficient": 10000, "renewal": "建议续签"},
]


@pytest.fixture
def hospital(db) -> Institution:
    factories.policies("wenzhou")
    return factories.institution("wenzhou")


def record(hospital: Institution, scores: dict[str, int] = GOOD, **more) -> Assessment:
    given = {"year": 2021, "remark": "", "by": "reviewer", "at": AT} | more
    return assessment.record_assessment(institution=hospital, scores=scores, **given)


def scheme(*weights: int, full: int = 100, **more) -> assessment.Scheme:
    rows = [
        {"key": f"k{no}", "name": f"指标{no}", "weight": weight}
        for no, weight in enumerate(weights)
    ]
    data = {"version": "试", "full": full, "indicators": rows, "grades": GRADES} | more
    return assessment.read_scheme(data, example=True)


# --- Arithmetic ---


@pytest.mark.parametrize(
    ("weights", "full", "scores", "total"),
    [
        ((10000,), 100, (100,), 10000), ((10000,), 100, (0,), 0), ((5000, 5000), 100, (87, 88), 8750),
        ((3333, 3333, 3334), 3, (1, 1, 1), 3333), ((5000, 5000), 3, (1, 0), 1667),
        ((9999, 1), 2, (0, 1), 1),
    ],
)  # fmt: skip
def test_the_total_is_rounded_once_half_up(weights, full, scores, total):
    found = scheme(*weights, full=full)
    assert found.total({f"k{no}": score for no, score in enumerate(scores)}) == total


def test_a_grade_begins_at_its_total():
    found = scheme(10000)
    assert [found.grade(total).name for total in (0, 5999, 6000, 10000)] == [
        "不合格", "不合格", "合格", "合格"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "wrong",
    [{"grades": GRADES[1:]}, {"grades": []}, {"full": 0},
     {"indicators": [{"key": "a", "name": "甲", "weight": 9999}]},
     {"indicators": [{"key": "a", "name": "甲", "weight": 5000}] * 2}],
)  # fmt: skip
def test_what_is_no_scheme_is_refused(wrong):
    with pytest.raises(ValueError, match="考核"):
        scheme(10000, **wrong)


def test_the_shipped_scheme_adds_up_and_is_an_example(hospital):
    found = assessment.scheme_of(hospital, year=2021)
    assert found is not None
    assert sum(one.weight for one in found.indicators) == assessment.WHOLE
    assert (found.example, "示例" in found.label, found.version) == (True, True, "示例2021")


# --- Recording ---


def test_a_result_is_recorded_once_and_corrected_with_a_reason(hospital):
    first = record(hospital)
    assert (first.total, first.coefficient, first.renewal) == (9385, 10000, "建议续签")
    assert first.example
    with pytest.raises(Refusal) as silent:
        record(hospital, GOOD | {"price": 40})
    assert silent.value.code == "REASON_MISSING"
    second = record(hospital, GOOD | {"price": 0}, remark="收费核查结果更正", seen=first.pk)
    assert (second.total, second.coefficient) == (7385, 9500)
    first.refresh_from_db()
    assert first.superseded_at == AT
    assert assessment.coefficient_of(hospital, year=2021) == 9500
    assert assessment.coefficient_of(hospital, year=2020) is None
    events = Event.objects.filter(action="assessment.record", institution_code=hospital.pk)
    assert set(events.values_list("subject", flat=True)) == {
        f"assessment:{first.pk}", f"assessment:{second.pk}"
    }  # fmt: skip


def test_of_two_officers_one_is_told(hospital):
    record(hospital, seen=0)
    with pytest.raises(Refusal) as late:
        record(hospital, remark="更正", seen=0)
    assert (late.value.status, late.value.code) == (409, "CHANGED_MEANWHILE")


@pytest.mark.parametrize(
    ("scores", "code"),
    [
        ({key: GOOD[key] for key in KEYS[1:]}, "SCORE_RANGE"), (GOOD | {"x": 1}, "SCORE_UNKNOWN"),
        (GOOD | {"price": 101}, "SCORE_RANGE"), (GOOD | {"price": -1}, "SCORE_RANGE"),
        (GOOD | {"price": 9.5}, "SCORE_RANGE"), (GOOD | {"price": True}, "SCORE_RANGE"),
    ],
)  # fmt: skip
def test_impossible_scores(hospital, scores, code):
    with pytest.raises(Refusal) as refused:
        record(hospital, scores)
    assert (refused.value.status, refused.value.code) == (422, code)
    assert not Assessment.objects.exists()


@pytest.mark.parametrize(
    ("year", "code"), [(2020, "SCHEME_MISSING"), (2022, "YEAR_NOT_BEGUN")]
)  # fmt: skip
def test_years_that_cannot_be_assessed(hospital, year, code):
    with pytest.raises(Refusal) as refused:
        record(hospital, year=year)
    assert refused.value.code == code


def test_whoever_had_no_agreement_is_not_assessed(hospital):
    with pytest.raises(Refusal) as refused:
        record(factories.institution("wenzhou", agreements=False))
    assert (refused.value.status, refused.value.code) == (409, "NO_AGREEMENT")


def test_example_indicators_may_be_switched_off(hospital, settings):
    settings.EXAMPLE_PARAMETERS = False
    with pytest.raises(Refusal) as refused:
        record(hospital)
    assert refused.value.code == "SCHEME_MISSING"


# --- Pages ---


@pytest.fixture
def today(settings) -> None:
    settings.DEMO_TODAY = AT.date()


def client_of(role: str, place) -> Client:
    return factories.log_in(Client(), factories.user(role, place))


def form(**more) -> dict:
    return {f"score_{key}": value for key, value in GOOD.items()} | {
        "seen": 0, "remark": ""
    } | more  # fmt: skip


def test_scores_are_given_on_the_page_and_corrected_there(hospital, today):
    client = client_of("reviewer", hospital.region)
    page, act = (
        reverse(name, args=[hospital.pk, 2021]) for name in ("assessment", "assessment-score")
    )
    assert "评分" in client.get(page).content.decode()
    wrong = client.post(act, form(score_price=101))
    assert wrong.status_code == 422
    assert client.post(act, form()).status_code == 302
    shown = client.get(page).content.decode()
    assert "93.85" in shown
    assert "建议续签" in shown
    assert "示例参数" in shown
    result = assessment.known_result(hospital, year=2021)
    assert result is not None
    unsaid = client.post(act, form(seen=result.pk, score_price=50))
    assert unsaid.status_code == 422
    stale = client.post(act, form(seen=0, remark="晚了"))
    assert stale.status_code == 409
    said = client.post(act, form(seen=result.pk, score_price=50, remark="核查更正"))
    assert said.status_code == 302
    assert "被更正" in client.get(page).content.decode()
    row = client.get(reverse("assessments"), {"year": 2021}).content.decode()
    assert "83.85" in row


def test_the_hospital_reads_its_own_and_nobody_elses(hospital, today):
    record(hospital)
    other = factories.institution("wenzhou")
    client = client_of("hospital", hospital)
    shown = client.get(reverse("assessment", args=[hospital.pk, 2021])).content.decode()
    assert "93.85" in shown
    assert "更正得分" not in shown
    assert client.get(reverse("assessment", args=[other.pk, 2021])).status_code == 404
    act = reverse("assessment-score", args=[hospital.pk, 2021])
    assert client.post(act, form()).status_code == 403
    listed = client.get(reverse("assessments")).content.decode()
    assert hospital.name in listed
    assert other.name not in listed
    panel = client.get(reverse("agreement-panel", args=[hospital.pk])).content.decode()
    assert "2021 年度考核" in panel
    assert "93.85" in panel


def test_a_region_without_indicators_says_so(db, today):
    factories.policies("nantong")
    hospital = factories.institution("nantong")
    client = client_of("reviewer", hospital.region)
    shown = client.get(reverse("assessment", args=[hospital.pk, 2021])).content.decode()
    assert "没有当年的考核指标" in shown
    assert client.post(
        reverse("assessment-score", args=[hospital.pk, 2021]), form()
    ).status_code == 409  # fmt: skip
