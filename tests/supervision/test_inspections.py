"""Inspections: a draw that anybody can repeat, recusal by the same draw, a visit by those drawn, a case."""

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest
from django.db import Error, IntegrityError, connection, transaction

from audit.models import Task
from institutions.access import scoped
from institutions.models import Notification, User
from institutions.refusals import Refusal
from supervision import inspection_papers, inspection_recusals, inspections
from supervision.inspection_papers import Visit
from supervision.inspections import Seen, Wanted
from supervision.models import (
    Finding,
    InspectionInspector,
    InspectionPaper,
    InspectionPlan,
    InspectionTask,
)
from supervision.writs import Service
from tests import factories
from tests.settlement.test_pages import AT
from tests.supervision.casework import SERVED, TODAY, Office

pytestmark = pytest.mark.django_db
LINES = ({"key": "c1", "text": "实名就医"}, {"key": "c2", "text": "处方审核"})


@pytest.fixture
def office() -> Office:
    made = Office()
    for _ in range(5):
        factories.institution("nantong")
    return made


def planned(office: Office, who: User | None = None, **given: Any) -> InspectionPlan:
    values: dict[str, Any] = {
        "title": "互联网诊疗专项检查", "side": "bureau", "reason": "诊察费收取", "first_day": TODAY,
        "last_day": TODAY + dt.timedelta(days=30), "service_from": dt.date(2021, 1, 1),
        "service_until": TODAY, "wanted": 2, "per_task": 2, "checklist": LINES,
    }  # fmt: skip
    return inspections.plan(region=office.region, wanted=Wanted(**values | given),
                            who=who or office.handler, at=AT)  # fmt: skip


def drawn(office: Office, **given: Any) -> InspectionPlan:
    plan = planned(office, **given)
    inspections.decide(plan=plan, approve=True, note="", who=office.chief, at=AT)
    inspections.draw(plan=plan, seed="双色球2021068", who=office.handler, at=AT)
    plan.refresh_from_db()
    return plan


def visit_of(
    task: InspectionTask, on: dt.date = TODAY, prepare: str = "电子病历、处方和收费明细"
) -> Visit:
    """What a notice says; each inspector shows a certificate."""
    coming = task.inspectors.filter(recused_at__isnull=True).values_list("pk", flat=True)
    return Visit(on, prepare, {key: f"F{number}" for number, key in enumerate(coming, 1)})


def announced(office: Office, task: InspectionTask) -> InspectionPaper:
    """The notice of a task, served today."""
    visit = visit_of(task)
    notice = inspection_papers.notify(task=task, visit=visit, who=office.handler, at=AT)
    inspection_papers.serve(task=task, service=SERVED, who=office.handler, at=AT)
    return notice


def stands_back(office: Office, row: InspectionInspector, **given: Any) -> InspectionPaper:
    """Somebody declares the own recusal, and another who was not drawn decides on it."""
    own = User.objects.get(username=row.username)
    inspection_recusals.ask(inspector=row, reason="亲属在该院任职", who=own, at=AT)
    head = factories.user("supervisor", office.region)
    values: dict[str, Any] = {"grant": True, "reason": "属实", "service": SERVED, "who": head}
    return inspection_recusals.decide(inspector=row, at=AT, **values | given)


def drawn_one(office: Office, task: InspectionTask) -> User:
    """One of those who were drawn for a task."""
    names = set(task.inspectors.values_list("username", flat=True))
    people = (office.handler, office.second, office.third, office.chief)
    return next(person for person in people if person.username in names)


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


def test_the_agency_plans_approves_and_draws_its_own_patrols(office: Office) -> None:
    """温医保办〔2021〕6号 四: the agency's patrols are its own, apart from the bureau's enforcement."""
    second = factories.user("reviewer", office.region)
    with pytest.raises(Refusal, match="OTHER_SIDE"):
        planned(office, side="agency")
    with pytest.raises(Refusal, match="OTHER_SIDE"):
        planned(office, office.reviewer, side="bureau")
    plan = planned(office, office.reviewer, side="agency")
    assert plan.number == "XC320600-2021-001"
    assert planned(office).number == "JC320600-2021-001"
    task = Task.objects.get(subject=f"inspectionplan:{plan.pk}", state="open")
    assert (task.permission, task.clause) == ("agreements.decide", "通医保发〔2020〕25号 四（三）")
    for person in (office.chief, second):
        with pytest.raises(Refusal, match="NOT_YOURS"):
            inspections.decide(plan=plan, approve=True, note="", who=person, at=AT)
    inspections.decide(plan=plan, approve=True, note="", who=office.agency, at=AT)
    with pytest.raises(Refusal, match="OTHER_SIDE"):
        inspections.draw(plan=plan, seed="1", who=office.handler, at=AT)
    made = inspections.draw(plan=plan, seed="1", who=office.reviewer, at=AT)
    plan.refresh_from_db()
    assert set(plan.pool["inspectors"]) == {office.reviewer.username, second.username}
    visit = visit_of(made[0])
    with pytest.raises(Refusal, match="OTHER_SIDE"):
        inspection_papers.notify(task=made[0], visit=visit, who=office.handler, at=AT)
    notice = inspection_papers.notify(task=made[0], visit=visit, who=office.reviewer, at=AT)
    assert (notice.number, notice.content["basis"]) == (
        "南通医保经检〔2021〕1号", "通医保发〔2020〕25号 四（三）",
    )  # fmt: skip
    first = made[0].inspectors.first()
    assert first is not None
    inspection_papers.serve(task=made[0], service=SERVED, who=office.reviewer, at=AT)
    asked: dict[str, Any] = {"inspector": first, "applicant": "某医院", "reason": "x", "on": TODAY,
                             "at": AT}  # fmt: skip
    with pytest.raises(Refusal, match="OTHER_SIDE"):
        inspection_recusals.record(who=office.handler, **asked)
    other = next(who for who in (office.reviewer, second) if who.username != first.username)
    request = inspection_recusals.record(who=other, **asked)
    assert request.number == "南通医保经检申〔2021〕1号"
    decision: dict[str, Any] = {"inspector": first, "grant": False, "reason": "查无利害关系",
                                "service": SERVED, "at": AT}  # fmt: skip
    with pytest.raises(Refusal, match="NOT_YOURS"):
        inspection_recusals.decide(who=office.chief, **decision)
    paper = inspection_recusals.decide(who=office.agency, **decision)
    assert (paper.number, paper.content["request"]) == (
        "南通医保经检避〔2021〕1号", request.number,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("region", "clause"), [("wenzhou", "温医保办〔2021〕6号 四"), ("jilin", "医保服务协议约定")]
)
def test_a_patrol_rests_on_the_regions_own_clause(region: str, clause: str) -> None:
    factories.policies(region)
    assert inspection_papers.basis("agency", factories.region(region), TODAY) == clause


def test_a_second_person_approves_before_the_draw_and_it_is_drawn_once(office: Office) -> None:
    plan = planned(office)
    with pytest.raises(Refusal, match="PLAN_STATE"):
        inspections.draw(plan=plan, seed="1", who=office.handler, at=AT)
    with pytest.raises(Refusal, match="SAME_PERSON"):
        inspections.decide(plan=plan, approve=True, note="", who=office.handler, at=AT)
    inspections.decide(plan=plan, approve=True, note="", who=office.chief, at=AT)
    inspections.draw(plan=plan, seed="1", who=office.handler, at=AT)
    with pytest.raises(Refusal, match="PLAN_STATE"):
        inspections.draw(plan=plan, seed="2", who=office.handler, at=AT)
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
        inspections.draw(plan=plan, seed="1", who=office.handler, at=AT)


def test_the_next_of_the_same_draw_takes_the_place_of_a_recused_one(office: Office) -> None:
    plan = drawn(office)
    task = plan.tasks.first()
    assert task is not None
    row = task.inspectors.first()
    assert row is not None
    order = inspections.order_for(plan.seed, task.institution_code, plan.pool["inspectors"])
    stands_back(office, row)
    made = task.inspectors.get(username=order[2])
    stands_back(office, made)
    left = task.inspectors.filter(recused_at__isnull=True).first()
    assert left is not None
    with pytest.raises(Refusal, match="NOBODY_LEFT"):
        stands_back(office, left)
    row.refresh_from_db()
    with pytest.raises(IntegrityError), transaction.atomic():
        task.inspectors.filter(pk=row.pk).update(recused_by=row.username)


def test_a_recusal_is_asked_for_and_decided_by_another_on_paper(office: Office) -> None:
    task = drawn(office, wanted=6).tasks.get(institution_code=office.place.code)
    row = task.inspectors.first()
    assert row is not None
    own = User.objects.get(username=row.username)
    given: dict[str, Any] = {"inspector": row, "reason": "亲属在该院任职", "at": AT}
    for stranger in (office.hospital, office.agency):
        with pytest.raises(Refusal, match="NOT_THE_PARTY"):
            inspection_recusals.ask(who=stranger, **given)
    announced(office, task)
    with pytest.raises(Refusal, match="OWN_RECUSAL"):
        inspection_recusals.record(who=own, applicant="某医院", on=TODAY, **given)
    task.refresh_from_db()
    connection.cursor().execute("SET ROLE mip_app")
    with scoped(office.hospital.scope_codes()):
        mine = InspectionInspector.objects.get(pk=row.pk)
        request = inspection_recusals.ask(who=office.hospital, **given | {"inspector": mine})
    connection.cursor().execute("RESET ROLE")
    assert (request.content["applicant"], request.content["kind"]) == (
        office.place.name, "当事人申请回避",
    )  # fmt: skip
    waiting = Task.objects.get(subject=f"inspectioninspector:{row.pk}", state="open")
    assert waiting.permission == "cases.decide"
    with pytest.raises(Refusal, match="RECUSAL_ASKED"):
        inspection_recusals.ask(who=own, **given)
    with pytest.raises(Refusal, match="RECUSAL_OPEN"):
        inspections.record(task=task, seen=seen(), who=own, at=AT)
    head = factories.user("supervisor", office.region)
    decision: dict[str, Any] = {"inspector": row, "grant": True, "service": SERVED, "at": AT}
    for who, reason, code in ((own, "属实", "SAME_PERSON"), (office.agency, "属实", "NOT_YOURS"),
                              (head, " ", "REQUIRED")):  # fmt: skip
        with pytest.raises(Refusal, match=code):
            inspection_recusals.decide(who=who, reason=reason, **decision)
    paper = inspection_recusals.decide(who=head, reason="属实", **decision)
    row.refresh_from_db()
    receipt = InspectionPaper.objects.get(serves=paper)
    assert (row.recused_by, paper.number, receipt.content["paper"]) == (
        head.username, "南通医保监检避〔2021〕1号", "回避决定书",
    )  # fmt: skip
    for made in (request, paper, receipt):
        assert inspection_papers.pdf_of(made).startswith(b"%PDF")
    assert not Task.objects.filter(subject=f"inspectioninspector:{row.pk}", state="open").exists()
    with pytest.raises(Refusal, match="NOT_OPEN"):
        inspection_recusals.ask(who=own, **given)


def test_a_visit_becomes_findings_and_a_case(office: Office) -> None:
    plan = drawn(office)
    task = plan.tasks.first()
    assert task is not None
    names = set(task.inspectors.values_list("username", flat=True))
    people = {person.username: person for person in
              (office.handler, office.second, office.third, office.chief)}  # fmt: skip
    outsider = next(person for name, person in people.items() if name not in names)
    inspector = next(person for name, person in people.items() if name in names)
    with pytest.raises(Refusal, match="NOTICE_NOT_SERVED"):
        inspections.record(task=task, seen=seen(), who=inspector, at=AT)
    announced(office, task)
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
        inspections.close(plan=plan, result="x", who=inspector, at=AT)


def test_an_institution_knows_of_its_inspection_from_the_served_notice_on(office: Office) -> None:
    plan = drawn(office, wanted=6)
    task = plan.tasks.get(institution_code=office.place.code)
    visit = visit_of(task)
    inspection_papers.notify(task=task, visit=visit, who=office.handler, at=AT)

    def known() -> tuple[int, int, int, int]:
        with scoped(office.hospital.scope_codes()):
            return (InspectionTask.objects.count(), InspectionPaper.objects.count(),
                    InspectionPlan.objects.count(),
                    InspectionTask.objects.visible_to(office.hospital).count())  # fmt: skip

    connection.cursor().execute("SET ROLE mip_app")
    assert known() == (0, 0, 0, 0)
    inspection_papers.serve(task=task, service=SERVED, who=office.handler, at=AT)
    assert known() == (1, 2, 0, 1)
    inspections.record(task=task, seen=seen(), who=drawn_one(office, task), at=AT)
    assert known() == (1, 2, 0, 1)
    connection.cursor().execute("RESET ROLE")
    heard = Notification.objects.get(user=office.hospital)
    assert heard.text == "检查通知 南通医保监检〔2021〕1号：2021-06-15"


def test_a_notice_says_who_comes_when_why_and_what_to_have_ready(office: Office) -> None:
    task = drawn(office, wanted=1).tasks.get()
    notice = announced(office, task)
    assert {key: notice.content[key] for key in ("basis", "visit_on", "reason", "prepare", "items")} == {
        "basis": "《医疗保障基金使用监督管理条例》（国务院令第735号）第29条", "visit_on": "2021-06-15",
        "reason": "诊察费收取", "prepare": "电子病历、处方和收费明细", "items": ["实名就医", "处方审核"],
    }  # fmt: skip
    assert notice.content["inspectors"] == inspection_papers.inspectors_of(task)
    assert all("（南通市医疗保障局），证件号 F" in name for name in notice.content["inspectors"])
    receipt = InspectionPaper.objects.get(serves=notice)
    assert (notice.number, receipt.number, receipt.content["receiver"]) == (
        "南通医保监检〔2021〕1号", "南通医保监检送〔2021〕1号", "王某",
    )  # fmt: skip
    for paper in (notice, receipt):
        assert inspection_papers.pdf_of(paper).startswith(b"%PDF")
    assert inspection_papers.pdf_of(notice) == inspection_papers.pdf_of(notice)
    with pytest.raises(Refusal, match="NOTICE_MADE"):
        announced(office, task)
    with pytest.raises(Refusal, match="NOTHING_TO_SERVE"):
        inspection_papers.serve(task=task, service=SERVED, who=office.handler, at=AT)


def test_other_inspectors_need_another_notice(office: Office) -> None:
    task = drawn(office, wanted=1).tasks.get()
    first = announced(office, task)
    row = task.inspectors.first()
    assert row is not None
    stands_back(office, row)
    left = task.inspectors.filter(recused_at__isnull=True).first()
    assert left is not None
    who = User.objects.get(username=left.username)
    with pytest.raises(Refusal, match="NOTICE_OUTDATED"):
        inspections.record(task=task, seen=seen(), who=who, at=AT)
    second = announced(office, task)
    assert second.content["replaces"] == first.number
    inspections.record(task=task, seen=seen(), who=who, at=AT)


@pytest.mark.parametrize(
    ("given", "served", "code"),
    [
        ({"on": TODAY - dt.timedelta(days=1)}, SERVED, "DAY_OUTSIDE"),
        ({"prepare": " "}, SERVED, "REQUIRED"),
        ({"certificates": {}}, SERVED, "CERTIFICATE_MISSING"),
        ({}, Service("pigeon", "王某", TODAY), "REQUIRED"),
        ({}, Service("direct", "王某", TODAY + dt.timedelta(days=1)), "DAY_OUTSIDE"),
    ],
)
def test_a_notice_is_whole(office: Office, given: dict, served: Service, code: str) -> None:
    task = drawn(office, wanted=1).tasks.get()
    visit = replace(visit_of(task), **given)

    def tell() -> None:
        inspection_papers.notify(task=task, visit=visit, who=office.handler, at=AT)
        inspection_papers.serve(task=task, service=served, who=office.handler, at=AT)

    with pytest.raises(Refusal, match=code):
        tell()


def test_a_notice_that_was_not_served_in_time_is_made_anew_even_after_the_plans_days(
    office: Office,
) -> None:
    task = drawn(office, wanted=1, last_day=TODAY).tasks.get()
    first = inspection_papers.notify(task=task, visit=visit_of(task), who=office.handler, at=AT)
    with pytest.raises(Refusal, match="NOTICE_MADE"):
        inspection_papers.notify(task=task, visit=visit_of(task), who=office.handler, at=AT)
    later = AT + dt.timedelta(days=1)
    service = Service("direct", "王某", later.date())
    with pytest.raises(Refusal, match="SERVED_LATE"):
        inspection_papers.serve(task=task, service=service, who=office.handler, at=later)
    assert inspection_papers.waits_for(task, later.date()) == {"notify", "serve"}
    visit = visit_of(task, later.date())
    again = inspection_papers.notify(task=task, visit=visit, who=office.handler, at=later)
    assert again.content["replaces"] == first.number
    inspection_papers.serve(task=task, service=service, who=office.handler, at=later)
    done = seen(visited_on=later.date())
    inspections.record(task=task, seen=done, who=drawn_one(office, task), at=later)


def test_inspectors_of_one_name_are_told_apart_and_papers_name_no_log_in(office: Office) -> None:
    User.objects.filter(role="supervisor").update(display_name="王芳")
    task = drawn(office, wanted=1).tasks.get()
    notice = announced(office, task)
    row = task.inspectors.first()
    assert row is not None
    assert inspection_papers.certificate_of(row.username) == "F1"  # offered the next time
    assert row.username not in str(notice.content)
    assert [text[-6:] for text in notice.content["inspectors"]] == ["证件号 F1", "证件号 F2"]
    stands_back(office, row)
    names = [[text.partition("，")[0] for text in told] for told in (
        notice.content["inspectors"], inspection_papers.inspectors_of(task))]  # fmt: skip
    assert names[0] == names[1]
    with pytest.raises(Refusal, match="NOTICE_OUTDATED"):
        inspection_papers.refuse_unannounced(task, TODAY)


def test_an_institution_reads_a_replacement_notice_when_it_is_served(office: Office) -> None:
    task = drawn(office, wanted=1).tasks.get()
    announced(office, task)
    row = task.inspectors.first()
    assert row is not None
    stands_back(office, row)
    inspection_papers.notify(task=task, visit=visit_of(task), who=office.handler, at=AT)

    def read(who: User) -> list[str]:
        return [paper.kind for paper in task.papers.all().visible_to(who)]

    served = ["notice", "receipt", "recusal", "receipt"]
    assert read(office.hospital) == served
    assert read(office.handler) == ["notice", "receipt", "request", *served[2:], "notice"]
    inspection_papers.serve(task=task, service=SERVED, who=office.handler, at=AT)
    assert read(office.hospital) == [*served, "notice", "receipt"]


def test_papers_of_an_inspection_stay_and_it_is_told_once(office: Office) -> None:
    task = drawn(office, wanted=1).tasks.get()
    notice = announced(office, task)
    with pytest.raises(Error, match=r"append-only|permission denied"), transaction.atomic():
        InspectionPaper.objects.filter(pk=notice.pk).update(number="1")
    with pytest.raises(Error, match="stays"), transaction.atomic():
        InspectionTask.objects.filter(pk=task.pk).update(told_on=None)
    with pytest.raises(IntegrityError), transaction.atomic():
        InspectionPaper.objects.create(
            task=task, kind="receipt", number="x", addressee="x", content={}, digest="0" * 64,
            made_on=TODAY, made_at=AT, made_by="x",
        )  # fmt: skip


def test_the_database_refuses_half_a_result(office: Office) -> None:
    plan = drawn(office)
    with pytest.raises(IntegrityError), transaction.atomic():
        plan.tasks.update(state="done")
    with pytest.raises(IntegrityError), transaction.atomic():
        InspectionPlan.objects.filter(pk=plan.pk).update(approved_by=plan.made_by)
