"""Nantong's filing and Ningxia's docking: other tables of the same mechanism."""

import datetime as dt

import pytest

from agreements import lifecycle, papers
from agreements.models import WavePlace
from audit.models import Move
from audit.procedure import PROCEDURES
from institutions.models import Institution, PlatformConnection, Region
from tests.agreements.cast import PDF, Cast, moment, open_tasks, refused
from tests.factories import REGIONS

Day = dt.date
pytestmark = pytest.mark.django_db


@pytest.fixture
def quick(monkeypatch) -> None:
    """Papers of a few bytes: what is in them, other tests look at."""
    monkeypatch.setattr(papers.pdf, "render", lambda *args, **kwargs: PDF)


def test_nantong_from_filing_to_paper():
    """通医保发〔2020〕25号 三（一）: operation begins with the online signatures, paper follows."""
    cast = Cast("nantong", main_until=Day(2021, 12, 31))
    cast.keys()
    case = cast.apply(Day(2020, 3, 2))
    assert case.requirements.get(no="1").text == "已纳入本地医保协议管理"
    cast.go(case, "submit", "hospital", Day(2020, 3, 2))
    assert (case.due, case.due_unknown) == (None, None)
    cast.judge(case, Day(2020, 3, 2))
    cast.go(case, "file", "reviewer", Day(2020, 3, 2))
    assert cast.hospital.facts.known().in_force(on=Day(2020, 3, 2)).get().filed_on == Day(
        2020, 3, 2
    )
    assert refused(cast.go, case, "sign_agency", "signing_officer", Day(2020, 3, 3))[0] == 409
    cast.go(case, "sign_institution", "hospital", Day(2020, 3, 3))
    yesterday = {"on": Day(2020, 3, 3)}
    answer = refused(cast.go, case, "sign_agency", "signing_officer", Day(2020, 3, 4), **yesterday)
    assert answer[1] == "DAY_IS_TODAY"
    cast.go(case, "sign_agency", "signing_officer", Day(2020, 3, 4))
    agreement = case.agreement
    assert (case.state, lifecycle.state_on(agreement, Day(2020, 3, 4)).state) == (
        "online_signed_paper_pending", "online_signed_paper_pending",
    )  # fmt: skip
    paper = cast.scan(Day(2020, 5, 6))
    assert refused(cast.go, case, "sign_paper", "reviewer", Day(2020, 5, 6))[1] == "INPUT_MISSING"
    strange = refused(
        cast.go, case, "sign_paper", "reviewer", Day(2020, 5, 6), facts={"files": [10**6]}
    )
    assert strange[1] == "DOCUMENT_UNKNOWN"
    cast.go(case, "sign_paper", "reviewer", Day(2020, 5, 6), facts={"files": [paper]})
    agreement.refresh_from_db()
    assert (case.state, agreement.paper) == ("signed", paper)
    assert lifecycle.state_on(agreement, Day(2020, 5, 6)).state == "signed"


@pytest.fixture
def yinchuan(monkeypatch) -> Cast:
    """The first hospital of the first batch of 附件1."""
    Region.objects.create(code="640100", name="银川市", level="prefecture", policy_region="ningxia")
    monkeypatch.setitem(REGIONS, "ningxia", ("640100", "银川市"))
    cast = Cast("ningxia", years=(2021, 2022))
    Institution.objects.filter(pk=cast.hospital.pk).update(name="银川市第一人民医院")
    cast.hospital.refresh_from_db()
    return cast


def join(cast: Cast, *platforms: str) -> None:
    for platform in platforms:
        PlatformConnection.objects.create(
            institution=cast.hospital, platform=platform, valid_from=Day(2021, 11, 18),
            recorded_at=moment(Day(2021, 11, 18)), recorded_by="x",
            checked_at=moment(Day(2021, 11, 19)), checked_by="checker",
        )  # fmt: skip


@pytest.mark.parametrize(
    "order", [("apply", "prepare_last"), ("prepare", "apply_last")], ids=lambda order: order[0]
)
def test_ningxia_takes_steps_two_and_three_in_either_order(yinchuan, order, quick):
    cast, day = yinchuan, Day(2021, 11, 22)
    case = cast.apply(day)
    place = WavePlace.objects.get()
    assert (place.batch, case.state, case.due) == (1, "joining", Day(2021, 12, 31))
    go = (cast.go, case, "qualify", "hospital", day)
    assert refused(*go)[1] == "QUALIFICATION_MISSING"
    cast.qualify()
    join(cast, "supervision_platform")
    assert refused(*go)[:2] == (422, "PLATFORM_MISSING")
    join(cast, "prescription_review_platform", "online_offline_synced")
    cast.go(*go[1:])
    assert refused(cast.go, case, "pass_test", "information", day)[0] == 409
    for step in order:
        cast.go(case, step, "hospital", day)
    assert case.state == "ready"
    cast.judge(case, day, role="information")
    cast.go(case, "pass_test", "information", day)
    assert (case.state, case.due) == ("signing", Day(2021, 12, 31))


def test_ningxia_to_the_end_with_outpatient_major_diseases(yinchuan):
    cast, day = yinchuan, Day(2021, 11, 22)
    cast.keys()
    cast.qualify()
    join(cast, "supervision_platform", "prescription_review_platform", "online_offline_synced")
    case = cast.apply(day)
    for step in ("qualify", "apply", "prepare_last"):
        cast.go(case, step, "hospital", day)
    cast.go(case, "fail_test", "information", day)
    assert case.state == "applied"
    cast.go(case, "prepare_last", "hospital", day)
    cast.judge(case, day, role="information")
    cast.go(case, "pass_test", "information", day)
    cast.go(case, "sign_institution", "hospital", day)
    cast.go(case, "sign_agency", "signing_officer", day)
    assert (case.state, case.agreement.states.get().state) == ("agreed", "signed")
    cast.go(case, "open_payment", "policy_staff", day)
    assert case.closed_at is not None
    cast.go(case, "apply_major", "hospital", day)
    assert case.closed_at is None
    cast.go(case, "refuse_major", "policy_staff", day)
    cast.go(case, "apply_major", "hospital", day)
    cast.go(case, "open_major", "policy_staff", day)
    assert (case.state, open_tasks(case)) == ("major_open", [])


def test_a_hospital_off_the_list_comes_after_all_of_it_or_with_a_reason(yinchuan, quick):
    cast = yinchuan
    cast.next_hospital()
    join(cast, "integrated_platform")
    answer = refused(cast.apply, Day(2021, 11, 22))
    assert answer == (409, "NOT_ADMITTED", "宁医保发〔2021〕152号 四第2款")
    case = cast.apply(Day(2021, 11, 22), override_reason="自治区统一安排")
    assert (case.due, WavePlace.objects.get().override_reason) == (None, "自治区统一安排")
    assert Move.objects.get(subject=case.subject).note == "自治区统一安排"


def test_every_region_has_one_procedure_of_the_same_mechanism():
    tables = [table for table in PROCEDURES.values() if table.subject == "application"]
    assert sorted(table.region for table in tables) == ["nantong", "ningxia", "wenzhou"]
