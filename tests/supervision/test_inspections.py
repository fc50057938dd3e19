"""Inspections: a draw that anybody can repeat, recusal by the same draw, a visit by those drawn, a case."""

import datetime as dt
from typing import Any

import pytest
from django.db import Error, IntegrityError, connection, transaction

from institutions.access import scoped
from institutions.refusals import Refusal
from supervision import inspections
from supervision.inspections import Seen, Wanted
from supervision.models import Finding, InspectionPlan, InspectionTask
from tests import factories
from tests.settlement.test_pages import AT
from tests.supervision.casework import TODAY, Office

pytestmark = pytest.mark.django_db
LINES = ({"key": "c1", "text": "实名就医"}, {"key": "c2", "text": "处方审核"})


@pytest.fixture
def office() -> Office:
    made = Office()
    for _ in range(5):
        factories.institution("nantong")
    return made


def planned(office: Office, **given: Any) -> InspectionPlan:
    values: dict[str, Any] = {
        "title": "互联网诊疗专项检查", "side": "bureau", "reason": "诊察费收取", "first_day": TODAY,
        "last_day": TODAY + dt.timedelta(days=30), "service_from": dt.date(2021, 1, 1),
        "service_until": TODAY, "wanted": 2, "per_task": 2, "checklist": LINES,
    }  # fmt: skip
    return inspections.plan(region=office.region, wanted=Wanted(**values | given),
                            by=office.handler.username, at=AT)  # fmt: skip


def drawn(office: Office, **given: Any) -> InspectionPlan:
    plan = planned(office, **given)
    inspections.decide(plan=plan, approve=True, note="", who=office.chief, at=AT)
    inspections.draw(plan=plan, seed="双色球2021068", by=office.handler.username, at=AT)
    plan.refresh_from_db()
    return plan


def seen(**given: Any) -> Seen:
    values: dict[str, Any] = {"visited_on": TODAY, "answers": {"c1": "符合", "c2": "缺药师审核"},
                              "result": "case", "report": "发现两处问题",
                              "problems": [("substituted_item", "串换诊疗项目三例")]}  # fmt: skip
    return Seen(**values | given)


def test_whoever_has_seed_and_lists_gets_the_same_draw(office: Office) -> None:
    plan = drawn(office)
    codes = list(plan.tasks.values_list("institution_code", flat=True))
    assert codes == inspections.drawn(plan.seed, reversed(plan.pool["institutions"]), 2)
    for task in plan.tasks.all():
        names = [row.username for row in task.inspectors.all()]
        order = inspections.order_for(plan.seed, task.institution_code, plan.pool["inspectors"])
        assert names == order[:2]
    assert set(plan.pool["inspectors"]) == {
        office.handler.username, office.second.username, office.third.username,
        office.chief.username,
    }  # fmt: skip


def test_the_draw_is_known_to_the_letter() -> None:
    """A fixed vector: a change of the algorithm would make old draws unrepeatable."""
    assert inspections.ranked("7", ["a", "b", "c", "d"]) == inspections.ranked("7", "dcba")
    assert "".join(inspections.ranked("7", "abcd")) == "".join(
        sorted("abcd", key=lambda name: _sm3(f"7\n{name}"))
    )


def _sm3(text: str) -> str:
    import hashlib

    return hashlib.new("sm3", text.encode()).hexdigest()


def test_the_agency_draws_its_own_people(office: Office) -> None:
    factories.user("reviewer", office.region)
    plan = drawn(office, side="agency")
    assert all(name.startswith("reviewer") for name in plan.pool["inspectors"])


def test_a_second_person_approves_before_the_draw_and_it_is_drawn_once(office: Office) -> None:
    plan = planned(office)
    with pytest.raises(Refusal, match="PLAN_STATE"):
        inspections.draw(plan=plan, seed="1", by=office.handler.username, at=AT)
    with pytest.raises(Refusal, match="SAME_PERSON"):
        inspections.decide(plan=plan, approve=True, note="", who=office.handler, at=AT)
    inspections.decide(plan=plan, approve=True, note="", who=office.chief, at=AT)
    inspections.draw(plan=plan, seed="1", by=office.handler.username, at=AT)
    with pytest.raises(Refusal, match="PLAN_STATE"):
        inspections.draw(plan=plan, seed="2", by=office.handler.username, at=AT)
    with pytest.raises(Error, match="stays"), transaction.atomic():
        InspectionPlan.objects.filter(pk=plan.pk).update(seed="2")


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"per_task": 1}, "TOO_FEW_INSPECTORS"),
        ({"checklist": ()}, "CHECKLIST_EMPTY"),
        ({"checklist": (LINES[0], LINES[0])}, "CHECKLIST_EMPTY"),
        ({"last_day": TODAY - dt.timedelta(days=1)}, "DATES_REVERSED"),
        ({"title": " "}, "REQUIRED"),
    ],
)
def test_a_plan_is_complete(office: Office, given: dict[str, Any], code: str) -> None:
    with pytest.raises(Refusal, match=code):
        planned(office, **given)


def test_too_few_to_draw_from(office: Office) -> None:
    plan = planned(office, wanted=99)
    inspections.decide(plan=plan, approve=True, note="", who=office.chief, at=AT)
    with pytest.raises(Refusal, match="TOO_FEW_PLACES"):
        inspections.draw(plan=plan, seed="1", by=office.handler.username, at=AT)


def test_the_next_of_the_same_draw_takes_the_place_of_a_recused_one(office: Office) -> None:
    plan = drawn(office)
    task = plan.tasks.first()
    assert task is not None
    row = task.inspectors.first()
    assert row is not None
    order = inspections.order_for(plan.seed, task.institution_code, plan.pool["inspectors"])
    made = inspections.recuse(inspector=row, reason="亲属在该院任职", by=row.username, at=AT)
    assert made.username == order[2]
    inspections.recuse(inspector=made, reason="曾任职", by=made.username, at=AT)
    left = task.inspectors.filter(recused_at__isnull=True).first()
    assert left is not None
    with pytest.raises(Refusal, match="NOBODY_LEFT"):
        inspections.recuse(inspector=left, reason="x", by=left.username, at=AT)


def test_a_visit_becomes_findings_and_a_case(office: Office) -> None:
    plan = drawn(office)
    task = plan.tasks.first()
    assert task is not None
    names = set(task.inspectors.values_list("username", flat=True))
    people = {person.username: person for person in
              (office.handler, office.second, office.third, office.chief)}  # fmt: skip
    outsider = next(person for name, person in people.items() if name not in names)
    inspector = next(person for name, person in people.items() if name in names)
    with pytest.raises(Refusal, match="NOT_AN_INSPECTOR"):
        inspections.record(task=task, seen=seen(), who=outsider, at=AT)
    with pytest.raises(Refusal, match="ANSWERS_MISSING"):
        inspections.record(task=task, seen=seen(answers={"c1": "x"}), who=inspector, at=AT)
    with pytest.raises(Refusal, match="RESULT_DIFFERS"):
        inspections.record(task=task, seen=seen(result="clean"), who=inspector, at=AT)
    inspections.record(task=task, seen=seen(), who=inspector, at=AT)
    finding = Finding.objects.get()
    case = inspections.lead_to_case(
        task=task, title="涉嫌串换诊疗项目", by=inspector.username, at=AT
    )
    assert (finding.moment, finding.behaviour) == ("manual", "substituted_item")
    assert (case.origin, case.origin_ref, case.evidence.count()) == ("inspection", task.number, 1)
    with pytest.raises(Refusal, match="NO_CASE"):
        inspections.lead_to_case(task=task, title="x", by=inspector.username, at=AT)
    with pytest.raises(Refusal, match="TASKS_OPEN"):
        inspections.close(plan=plan, result="x", by=inspector.username, at=AT)


def test_an_institution_does_not_know_that_it_was_drawn(office: Office) -> None:
    plan = drawn(office, wanted=6)
    task = plan.tasks.get(institution_code=office.place.code)
    connection.cursor().execute("SET ROLE mip_app")
    with scoped(office.hospital.scope_codes()):
        assert not InspectionTask.objects.exists()
        assert not InspectionPlan.objects.exists()
    who = next(person for person in (office.handler, office.second, office.third, office.chief)
               if task.inspectors.filter(username=person.username).exists())  # fmt: skip
    inspections.record(task=task, seen=seen(), who=who, at=AT)
    with scoped(office.hospital.scope_codes()):
        assert InspectionTask.objects.visible_to(office.hospital).count() == 1
    connection.cursor().execute("RESET ROLE")


def test_the_database_refuses_half_a_result(office: Office) -> None:
    plan = drawn(office)
    with pytest.raises(IntegrityError), transaction.atomic():
        plan.tasks.update(state="done")
    with pytest.raises(IntegrityError), transaction.atomic():
        InspectionPlan.objects.filter(pk=plan.pk).update(approved_by=plan.made_by)
