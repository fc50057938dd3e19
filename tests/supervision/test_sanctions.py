"""Points, restrictions, and what an institution and settlement hear of a case."""

import datetime as dt
import hashlib
from importlib import import_module

import pytest
from django.apps import apps
from django.db import connection

from audit.models import Event
from institutions.access import EVERYTHING, set_scope
from institutions.refusals import Refusal
from supervision import cases, findings, law, lifting, subjects
from supervision.models import (
    Finding,
    PointEntry,
    Restriction,
    SupervisionCase,
)
from tests.settlement.test_pages import AT
from tests.supervision.casework import ACTED, TODAY, Office

pytestmark = pytest.mark.django_db


@pytest.fixture
def office() -> Office:
    return Office()


def test_points_lead_to_suspension_and_termination_and_begin_anew(office: Office) -> None:
    doctor = office.house.doctor
    given = {"practitioner": doctor, "behaviour": "违规开药", "clause": "示例", "at": AT,
             "proposed_by": office.handler.username, "by": office.chief.username}  # fmt: skip
    subjects.add_points(points=8, source="a", on=TODAY, **given)
    assert doctor.suspensions.facts_on(TODAY) is None
    subjects.add_points(points=1, source="b", on=TODAY, **given)
    found = doctor.suspensions.facts_on(TODAY)
    assert found is not None
    assert found.valid_until.isoformat() == "2021-09-14"
    subjects.repair(
        practitioner=doctor, points=3, course="学习考试合格", source="r1", on=TODAY, at=AT,
        proposed_by=office.handler.username, by=office.chief.username,
    )  # fmt: skip
    assert subjects.total_of(doctor.pk, 2021) == 6
    with pytest.raises(Refusal, match="REPAIR_TOO_LARGE"):
        subjects.repair(
            practitioner=doctor, points=1, course="再学", source="r2", on=TODAY, at=AT,
            proposed_by=office.handler.username, by=office.chief.username,
        )  # fmt: skip
    subjects.add_points(points=6, source="c", on=TODAY, **given)
    assert Restriction.objects.filter(kind="terminated").count() == 1
    assert subjects.total_of(doctor.pk, 2022) == 0


def test_points_need_a_second_person_and_come_once_from_a_source(office: Office) -> None:
    doctor = office.house.doctor
    given = {"practitioner": doctor, "points": 2, "behaviour": "x", "clause": "示例", "at": AT,
             "on": TODAY, "source": "a", "by": office.chief.username}  # fmt: skip
    with pytest.raises(Refusal, match="SAME_PERSON"):
        subjects.add_points(proposed_by=office.chief.username, **given)
    subjects.add_points(proposed_by=office.handler.username, **given)
    with pytest.raises(Refusal, match="POINTS_TWICE"):
        subjects.add_points(proposed_by=office.handler.username, **given)


def test_points_of_a_case_are_the_act_of_whoever_carries_them_out(office: Office) -> None:
    doctor = office.house.doctor
    for who, second in ((office.third, office.agency), (office.chief, office.handler)):
        case = office.inquired()
        office.propose(case, "points", target=doctor.pk, points=9)
        office.decided(case, "agreement")
        if who == office.chief:  # a decider may carry out: then the proposer is the other
            SupervisionCase.objects.filter(pk=case.pk).update(decided_by=who.username)
        office.execute(case, who)
        entry = PointEntry.objects.get(source=case.subject)
        assert (entry.entered_by, entry.proposed_by) == (who.username, second.username)
    acted = Event.objects.filter(action="practitioner.points").values_list("actor", flat=True)
    assert set(acted) == {office.third.username, office.chief.username}
    made = Restriction.objects.get(kind="practitioner")
    assert made.made_by == office.third.username
    event = Event.objects.get(action="restriction.practitioner", subject=f"restriction:{made.pk}")
    assert event.actor == office.third.username


def test_points_that_reach_the_limit_anew_are_entered_and_suspend_longer(office: Office) -> None:
    doctor = office.house.doctor
    given = {"practitioner": doctor, "behaviour": "违规开药", "clause": "示例", "at": AT,
             "proposed_by": office.handler.username, "by": office.chief.username}  # fmt: skip
    subjects.add_points(points=9, source="a", on=TODAY, **given)
    subjects.repair(
        practitioner=doctor, points=3, course="学习考试合格", source="r1", on=TODAY, at=AT,
        proposed_by=office.handler.username, by=office.chief.username,
    )  # fmt: skip
    later = TODAY + dt.timedelta(days=30)
    subjects.add_points(points=3, source="b", on=later, **given)
    assert subjects.total_of(doctor.pk, TODAY.year) == 9
    first, second = Restriction.objects.filter(kind="practitioner").order_by("valid_from")
    assert (str(first.valid_until), str(second.valid_until)) == ("2021-09-14", "2021-10-14")
    lifting.lift(restriction=second, on=later, reason="申诉成立", who=office.handler, at=AT)
    assert doctor.suspensions.facts_on(later + dt.timedelta(days=1)) is not None  # the first runs
    subjects.add_points(points=3, source="c", on=later, **given)
    subjects.add_points(points=1, source="d", on=later, **given)
    assert Restriction.objects.filter(kind="terminated").count() == 1
    assert subjects.total_of(doctor.pk, TODAY.year) == 13


def test_cases_suspend_and_point_the_same_practitioner_and_close(office: Office) -> None:
    doctor = office.house.doctor
    for number in range(2):
        case = office.inquired()
        office.propose(case, "suspend_practitioner", target=doctor.pk, months=3 + number)
        if not number:
            office.propose(case, "points", target=doctor.pk, points=9)
        office.decided(case, "agreement")
        assert {row.state for row in office.execute(case)} == {"done"}
        office.take(case, "close", office.chief, note="结案")
    assert subjects.total_of(doctor.pk, TODAY.year) == 9
    found = Restriction.objects.filter(kind="practitioner", subject_code=doctor.pk)
    assert sorted(str(row.valid_until) for row in found) == [
        "2021-09-14", "2021-09-14", "2021-10-14",
    ]  # fmt: skip


def test_a_restriction_is_lifted_by_another_person_only(office: Office) -> None:
    row = subjects.restrict(
        kind="practitioner", region_code="320600", institution_code=office.place.code,
        subject_code=office.house.doctor.pk, person_id=None, since=TODAY, months=3, clause="x", source="x",
        by=office.chief.username, at=AT,
    )  # fmt: skip
    with pytest.raises(Refusal, match="SAME_PERSON"):
        lifting.lift(restriction=row, on=TODAY, reason="r", who=office.chief, at=AT)
    with pytest.raises(Refusal, match="RESTRICTED_ALREADY"):
        subjects.restrict(
            kind="practitioner", region_code="320600", institution_code=office.place.code,
            subject_code=office.house.doctor.pk, person_id=None, since=TODAY, months=1, clause="x", source="x",
            by="x", at=AT,
        )  # fmt: skip
    lifting.lift(restriction=row, on=TODAY, reason="整改到位", who=office.handler, at=AT)
    row.refresh_from_db()
    assert row.valid_until == TODAY
    doctor = office.house.doctor
    assert doctor.suspensions.facts_on(TODAY + dt.timedelta(days=1)) is None
    assert doctor.suspensions.facts_on(TODAY) is not None
    assert law.routes()["agreement"].permission == "agreements.decide"


# --- What an institution and settlement hear of it ---


def test_a_notice_tells_the_confirmed_findings_of_its_evidence(office: Office) -> None:
    true, open_one = (_finding(office, text) for text in ("重复收取诊察费", "未经核实的疑点"))
    findings.confirm(finding=true, reason="属实", by=office.second.username, at=AT)
    case = office.inquired()
    for row in (true, open_one):
        cases.add_finding(case=case, finding=row, by=office.handler.username, at=AT)
    assert not Finding.objects.visible_to(office.hospital).exists()
    office.notify(case, "agreement")
    seen = Finding.objects.visible_to(office.hospital).get()
    assert (seen.pk, seen.told_at, seen.told_by) == (true.pk, AT, office.handler.username)
    assert Event.objects.filter(action="finding.tell", subject=f"finding:{true.pk}").exists()


def _finding(office: Office, message: str) -> Finding:
    return Finding.objects.create(
        region_code=office.region.pk, institution_code=office.place.pk, rule="duplicate_charge",
        behaviour="duplicate_charge", severity=3, clause="示例", message=message, moment="audit",
        subject_kind="institution", subject_code=office.place.pk, first_day=ACTED, last_day=ACTED,
        claims=0, fee=0, fund=0, key=hashlib.sha256(message.encode()).digest(), found_at=AT,
    )  # fmt: skip


def test_restrictions_of_before_are_recorded_where_settlement_looks(office: Office) -> None:
    doctor, person = office.house.doctor, office.house.patient
    given = {"region_code": office.region.pk, "valid_from": ACTED, "valid_until": TODAY,
             "clause": "示例", "source": "case:1", "made_at": AT, "made_by": "chief"}  # fmt: skip
    made = [
        Restriction.objects.create(kind=kind, subject_code=code, person_id=key, **given)
        for kind, code, key in (
            ("terminated", doctor.pk, None), ("online", person.subject, person.pk),
            ("department", "内科", None), ("practitioner", "D-UNKNOWN", None),
        )
    ]  # fmt: skip
    text = import_module("supervision.migrations.0011_suspensions").RECORDED
    with connection.cursor() as cursor:
        cursor.execute(text)
    set_scope(EVERYTHING)
    for row, of in ((made[0], doctor), (made[1], person)):
        known = of.suspensions.get()
        assert (known.source, known.valid_until, known.recorded_at, known.recorded_by) == (
            f"restriction:{row.pk}", TODAY, AT, "chief",
        )  # fmt: skip


def test_departments_named_in_words_before_are_known_from_then_on(office: Office) -> None:
    given = {"region_code": office.region.pk, "institution_code": office.place.pk, "person_id": None,
             "kind": "department", "valid_from": ACTED, "valid_until": TODAY, "clause": "示例",
             "source": "case:1", "made_at": AT, "made_by": "chief"}  # fmt: skip
    made = [Restriction.objects.create(subject_code=words, **given)
            for words in ("内科", "A04", "全科医学科")]  # fmt: skip
    record = import_module("supervision.migrations.0014_department_suspensions").record
    for _ in range(2):
        record(apps, None)
    set_scope(EVERYTHING)
    rows = office.place.department_suspensions.order_by("pk")
    assert [(row.department, row.source, row.valid_until) for row in rows] == [
        ("A03", f"restriction:{made[0].pk}", TODAY), ("A04", f"restriction:{made[1].pk}", TODAY),
    ]  # fmt: skip
    assert all(row.recorded_at > AT for row in rows)
    assert [subjects.known_to_settlement(row) for row in made] == [True, True, False]


def test_a_lifted_department_is_free_from_the_next_day_on(office: Office) -> None:
    row = subjects.restrict(
        kind="department", region_code="320600", institution_code=office.place.code,
        subject_code="A03", person_id=None, since=TODAY, months=6, clause="x", source="x",
        by=office.chief.username, at=AT,
    )  # fmt: skip
    lifting.lift(restriction=row, on=TODAY, reason="整改到位", who=office.handler, at=AT)
    rows = office.place.department_suspensions
    assert rows.facts_on(TODAY).recorded_by == office.handler.username
    assert rows.facts_on(TODAY + dt.timedelta(days=1)) is None
    assert rows.count() == 2
