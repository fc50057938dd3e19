"""Pages of cases, inspections and restrictions: who sees what, what can be done there."""

import pytest
from django.test import Client
from django.urls import reverse

from audit.models import Event
from institutions.models import Region, User
from supervision import cases, inspections, subjects
from supervision.models import InspectionPlan, SupervisionCase
from tests import factories
from tests.settlement.test_pages import AT
from tests.supervision.casework import PDF, TODAY, Office
from tests.supervision.test_inspections import announced, drawn, drawn_one

pytestmark = pytest.mark.django_db


@pytest.fixture
def office(settings) -> Office:
    settings.DEMO_TODAY = TODAY
    return Office()


def client_of(user: User) -> Client:
    return factories.log_in(Client(), user)


def text(response) -> str:
    assert response.status_code == 200, response.status_code
    return response.content.decode()


def test_a_case_is_opened_and_walked_through_in_the_browser(office: Office) -> None:
    handler, chief = client_of(office.handler), client_of(office.chief)
    made = handler.post(reverse("case-new"), {
        "title": "涉嫌重复收费", "subject_kind": "institution", "institution": office.place.code,
        "acted_from": "2021-06-01", "acted_until": "2021-06-15", "origin": "hand",
        "summary": "线索",
    })  # fmt: skip
    case = SupervisionCase.objects.get()
    assert made.status_code == 302

    def step(client: Client, key: str, **given: str) -> int:
        case.refresh_from_db()
        address = reverse("case-step", args=[case.pk, key])
        return client.post(address, {"version": case.version} | given).status_code

    def act(client: Client, key: str, **given: object) -> int:
        return client.post(reverse("case-act", args=[case.pk, key]), given).status_code

    assert step(handler, "accept") == 403
    assert step(chief, "accept") == 302
    assert act(handler, "name", username=office.handler.username, certificate="1", lead="on") == 302
    assert act(handler, "name", username=office.second.username, certificate="2") == 302
    assert act(handler, "name", username="nobody", certificate="2") == 422
    claim, fund = office.claim()
    assert act(handler, "claim", claim_no=claim.claim_no, loss="9999", note="重复") == 422
    assert act(handler, "claim", claim_no=claim.claim_no, loss="1.00", note="重复") == 302
    assert act(handler, "measure", kind="recovery", amount="1.00", scheme="resident") == 302
    assert act(handler, "measure", kind="interview") == 302
    stop = {"kind": "suspend_department", "article": "38", "months": "6", "condition": "grave",
            "note": "造成严重后果：涉及患者众多"}  # fmt: skip
    assert act(handler, "measure", **stop) == 422
    assert act(handler, "measure", department="A04", **stop) == 422
    page = text(handler.get(reverse("case", args=[case.pk])))
    assert '<option value="A03">内科 A03</option>' in page
    assert act(handler, "measure", department="A03", **stop) == 302
    assert "责令科室暂停医药服务 内科 A03 6个月、造成严重后果" in text(
        handler.get(reverse("case", args=[case.pk]))
    )
    stopped = case.sanctions.get(kind="suspend_department")
    assert (stopped.target, act(handler, "drop", sanction=stopped.pk)) == ("A03", 302)
    facts = {"route": "agreement", "found": "属实", "loss": "1.00", "method": "portal",
             "receiver": "王某", "on": "2021-06-15"}  # fmt: skip
    hospital = client_of(office.hospital)
    assert hospital.get(reverse("case", args=[case.pk])).status_code == 404
    assert step(handler, "notify", **facts) == 302
    assert step(hospital, "answer", text="愿意退回", waived="on") == 302
    assert step(handler, "consider", note="采纳") == 302
    assert step(client_of(office.agency), "decide_agreement", note="同意") == 302
    assert step(handler, "serve", method="direct", receiver="王某", on="2021-06-15") == 302
    talk = case.sanctions.get(kind="interview")
    given = {"sanction": talk.pk, "on": "2021-06-15", "record": "已办理"}
    assert act(handler, "execute", **given) == 422  # only its minutes carry it out
    for row in case.sanctions.filter(state="ordered").exclude(pk=talk.pk):
        assert act(handler, "execute", **given | {"sanction": row.pk}) == 302
    office.interviewed(talk)
    assert step(chief, "close", note="结案") == 302
    assert step(handler, "archive", note="一册") == 302
    page = text(handler.get(reverse("case", args=[case.pk])))
    assert "已归档" in page
    assert "愿意退回" in page
    assert fund > 100


def test_the_institution_sees_its_case_once_told_without_internal_papers(office: Office) -> None:
    case = office.inquired()
    hospital = client_of(office.hospital)
    assert case.number not in text(hospital.get(reverse("cases")))
    office.notify(case, "agreement")
    assert case.number in text(hospital.get(reverse("cases")))
    page = text(hospital.get(reverse("case", args=[case.pk])))
    assert "处理告知书" in page
    assert "立案审批表" not in page
    assert "线索摘要" not in page
    assert case.summary not in page
    filing, notice = case.papers.get(kind="filing"), case.papers.get(kind="notice")
    assert hospital.get(reverse("case-paper", args=[case.pk, filing.pk])).status_code == 404
    paper = hospital.get(reverse("case-paper", args=[case.pk, notice.pk]))
    assert paper.content.startswith(b"%PDF")
    assert Event.objects.filter(action="supervisioncase.print").count() == 1
    asked = hospital.post(reverse("case-act", args=[case.pk, "recuse"]), {
        "inspector": case.inspectors.get(role="member").pk, "reason": "有利害关系"})  # fmt: skip
    assert asked.status_code == 302
    assert hospital.post(reverse("case-act", args=[case.pk, "measure"]), {}).status_code == 403
    other = client_of(factories.user("hospital", factories.institution("nantong")))
    assert other.get(reverse("case", args=[case.pk])).status_code == 404


def test_a_recorded_recusal_is_decided_by_another_in_the_browser(office: Office) -> None:
    case = office.inquired()
    office.notify(case, "agreement")
    member = case.inspectors.get(role="member")
    handler, chief = client_of(office.handler), client_of(office.chief)
    address = reverse("case", args=[case.pk])
    assert "登记当事人回避申请" in text(handler.get(address))
    asked = handler.post(reverse("case-act", args=[case.pk, "record-recusal"]), {
        "inspector": member.pk, "applicant": office.place.name, "on": "2021-06-15",
        "reason": "有利害关系"})  # fmt: skip
    assert asked.status_code == 302
    decision = {"inspector": member.pk, "grant": "yes", "reason": "属实", "method": "direct",
                "receiver": "王某", "on": "2021-06-15"}  # fmt: skip
    assert handler.post(reverse("case-act", args=[case.pk, "recusal"]), decision).status_code == 422
    assert chief.post(reverse("case-act", args=[case.pk, "recusal"]), decision).status_code == 302
    page = text(chief.get(address))
    assert case.papers.get(kind="recusal").number in page
    assert "决定理由：属实" in page
    stopped = text(client_of(office.second).get(address))
    assert "case-steps" not in stopped


def test_the_agency_makes_its_own_plan_and_the_bureau_only_reads_it(office: Office) -> None:
    made = client_of(office.reviewer).post(reverse("inspection-new"), {
        "title": "协议巡查", "reason": "实名就医", "first_day": "2021-06-15", "wanted": "1",
        "last_day": "2021-07-15", "service_from": "2021-01-01", "service_until": "2021-06-15",
        "per_task": "2", "checklist": "实名就医"})  # fmt: skip
    assert made.status_code == 302
    plan = InspectionPlan.objects.get()
    assert (plan.side, plan.number) == ("agency", "XC320600-2021-001")
    address = reverse("inspection-plan", args=[plan.pk])
    act = reverse("inspection-plan-act", args=[plan.pk, "decide"])
    assert "审批计划" not in text(client_of(office.chief).get(address))
    assert client_of(office.chief).post(act, {"approve": "yes"}).status_code == 403
    signer = client_of(office.agency)
    assert "审批计划" in text(signer.get(address))
    assert signer.post(act, {"approve": "yes"}).status_code == 302


def test_a_file_of_the_evidence_is_read_with_its_case_and_leaves_an_event(office: Office) -> None:
    case = office.open()
    row = cases.add_file(case=case, title="笔录", file=PDF, by=office.handler.username, at=AT)
    found = client_of(office.chief).get(reverse("case-evidence", args=[case.pk, row.pk]))
    assert found.content == PDF[1]
    assert Event.objects.filter(action="document.read").exists()


def test_a_look_at_a_persons_case_is_an_event(office: Office) -> None:
    person = office.house.patient
    case = office.open(subject_kind="person", subject_code=person.subject, person=person,
                       institution_code="")  # fmt: skip
    page = text(client_of(office.chief).get(reverse("case", args=[case.pk])))
    assert person.credential not in page
    event = Event.objects.get(action="supervisioncase.read")
    assert bytes(event.person_hash or b"") == bytes(person.id_hash)


def test_the_list_is_found_by_state_route_and_words(office: Office) -> None:
    case = office.open()
    client = client_of(office.chief)
    for query, there in (("q=重复收取", True), ("state=archived", False), ("route=penalty", False),
                         ("subject=institution", True), ("q=不存在", False)):  # fmt: skip
        assert (case.number in text(client.get(f"{reverse('cases')}?{query}"))) is there


def test_a_plan_is_made_drawn_and_recorded_in_the_browser(office: Office) -> None:
    client, chief = client_of(office.handler), client_of(office.chief)
    made = client.post(reverse("inspection-new"), {
        "title": "专项检查", "reason": "诊察费", "first_day": "2021-06-15",
        "last_day": "2021-07-15", "service_from": "2021-01-01", "service_until": "2021-06-15",
        "wanted": "1", "per_task": "2", "checklist": "实名就医\n处方审核",
    })  # fmt: skip
    assert made.status_code == 302
    plan = InspectionPlan.objects.get()

    def act(who: Client, key: str, **given: str) -> int:
        address = reverse("inspection-plan-act", args=[plan.pk, key])
        return who.post(address, given).status_code

    assert act(client, "decide", approve="yes") == 403
    assert act(chief, "decide", approve="yes") == 302
    assert act(client, "draw", seed="2021068") == 302
    assert "2021068" in text(client.get(reverse("inspection-plan", args=[plan.pk])))
    task = plan.tasks.get()
    names = set(task.inspectors.values_list("username", flat=True))
    who = next(person for person in (office.handler, office.second, office.third, office.chief)
               if person.username in names)  # fmt: skip
    address = reverse("inspection-task-act", args=[task.pk, "visit"])
    given = {"visited_on": "2021-06-15", "c1": "符合", "c2": "符合", "result": "clean",
             "report": "未发现问题"}  # fmt: skip
    assert client_of(who).post(address, given).status_code == 409

    def announce(key: str, **given: str) -> int:
        return client.post(reverse("inspection-task-act", args=[task.pk, key]), given).status_code

    whole = {"on": "2021-06-15", "prepare": "电子病历、处方"}
    shown = {f"certificate_{row.pk}": f"苏{row.pk}" for row in task.inspectors.all()}
    assert announce("notify", **whole | {"prepare": ""}, **shown) == 422
    assert announce("notify", **whole) == 422
    assert announce("notify", **whole, **shown) == 302
    assert announce("serve", on="2021-06-15", method="direct", receiver="王某") == 302
    notice = task.papers.get(kind="notice")
    told = "、".join(notice.content["inspectors"])
    assert all(f"，证件号 {number}" in told for number in shown.values())
    paper = reverse("inspection-paper", args=[task.pk, notice.pk])
    assert notice.number in text(client.get(reverse("inspection-task", args=[task.pk])))
    assert client.get(paper).content.startswith(b"%PDF")
    assert Event.objects.filter(action="inspection.print").count() == 1
    assert client_of(who).post(address, given | {"c2": ""}).status_code == 422
    assert client_of(who).post(address, given).status_code == 302
    page = text(client.get(reverse("inspection-task", args=[task.pk])))
    assert "未发现问题" in page
    assert act(client, "close", text="完成") == 302


def test_an_institution_sees_its_inspection_once_told_and_no_plan(office: Office) -> None:
    plan = drawn(office, wanted=1)
    hospital = client_of(office.hospital)
    task = plan.tasks.get()
    address = reverse("inspection-task", args=[task.pk])
    assert hospital.get(address).status_code == 404
    notice = announced(office, task)
    assert notice.number in text(hospital.get(address))
    assert "待检查" in text(hospital.get(reverse("inspections")))
    paper = hospital.get(reverse("inspection-paper", args=[task.pk, notice.pk]))
    assert paper.content.startswith(b"%PDF")
    other = client_of(factories.user("hospital", factories.institution("nantong")))
    assert other.get(reverse("inspection-paper", args=[task.pk, notice.pk])).status_code == 404
    row = task.inspectors.get(username=drawn_one(office, task).username)
    act = reverse("inspection-task-act", args=[task.pk, "recuse"])
    assert hospital.post(act, {"inspector": row.pk, "reason": "有利害关系"}).status_code == 302
    assert hospital.post(act.replace("recuse", "visit"), {}).status_code == 404
    request = task.papers.get(kind="request")
    hidden = reverse("inspection-paper", args=[task.pk, request.pk])
    assert hospital.get(hidden).status_code == 404
    head = client_of(factories.user("supervisor", office.region))
    assert "有利害关系" in text(head.get(address))
    decided = {"inspector": row.pk, "grant": "no", "reason": "查无此事", "method": "direct",
               "receiver": "王某", "on": "2021-06-15"}  # fmt: skip
    assert head.post(act.replace("recuse", "recusal"), decided).status_code == 302
    assert "回避决定书" in text(hospital.get(address))
    who = next(person for person in (office.handler, office.second, office.third, office.chief)
               if task.inspectors.filter(username=person.username).exists())  # fmt: skip
    inspections.record(
        task=task, who=who, at=AT,
        seen=inspections.Seen(TODAY, {"c1": "x", "c2": "x"}, "clean", "未见异常"),
    )  # fmt: skip
    assert task.number in text(hospital.get(reverse("inspections")))
    assert "未见异常" in text(hospital.get(reverse("inspection-task", args=[task.pk])))
    assert hospital.get(reverse("inspection-plan", args=[plan.pk])).status_code == 404


def test_a_restriction_is_listed_and_lifted_by_another_person(office: Office) -> None:
    row = subjects.restrict(
        kind="practitioner", region_code="320600", institution_code=office.place.code,
        subject_code=office.house.doctor.pk, person_id=None, since=TODAY, months=3, clause="示例",
        source="case:1", by=office.chief.username, at=AT,
    )  # fmt: skip
    subjects.add_points(
        practitioner=office.house.doctor, points=2, behaviour="x", clause="示例", source="x",
        on=TODAY, proposed_by=office.handler.username, by=office.chief.username, at=AT,
    )  # fmt: skip
    client = client_of(office.handler)
    page = text(client.get(reverse("restrictions")))
    assert office.house.doctor.name in page
    assert "生效中" in page
    address = reverse("restriction-act", args=[row.pk, "lift"])
    given = {"on": TODAY.isoformat(), "reason": "整改到位"}
    assert client_of(office.chief).post(address, given).status_code == 403
    assert client.post(address, given).status_code == 302
    assert "整改到位" in text(client.get(reverse("restriction", args=[row.pk])))


def test_a_suspended_department_is_named_in_words_with_its_hospital(office: Office) -> None:
    given = {"kind": "department", "region_code": "320600", "institution_code": office.place.code,
             "person_id": None, "months": 6, "clause": "示例", "source": "case:1",
             "by": office.chief.username, "at": AT, "since": TODAY}  # fmt: skip
    row, words = (subjects.restrict(subject_code=name, **given) for name in ("A03", "全科医学科"))
    client = client_of(office.handler)
    for query in ({}, {"q": "内科"}, {"q": "a03"}):
        page = text(client.get(reverse("restrictions"), query))
        assert "内科 A03" in page
        assert office.place.name in page
    assert "内科 A03" not in text(client.get(reverse("restrictions"), {"q": "外科"}))
    page = text(client.get(reverse("restriction", args=[row.pk])))
    assert "期间内该科室及其下二级科目就诊的费用不予支付，其他科室不受影响" in page
    page = text(client.get(reverse("restriction", args=[words.pk])))
    assert "没有对应到已登记的科室或人员，不影响结算" in page
    file = reverse("institution", args=[office.place.pk])
    assert f"内科 A03 {TODAY} 至 2021-12-14" in text(client.get(file, {"on": TODAY.isoformat()}))
    assert "2021-12-14" not in text(client.get(file, {"on": "2021-06-01"}))


def test_people_of_a_case_are_called_by_name_and_evidence_in_words(office: Office) -> None:
    for person, name in (
        (office.handler, "王承办"),
        (office.second, "李协办"),
        (office.chief, "赵审批"),
    ):
        person.display_name = name
        person.save()
    case = office.inquired()
    page = text(client_of(office.handler).get(reverse("case", args=[case.pk])))
    assert "王承办" in page
    assert "李协办" in page
    assert ">" + office.handler.username not in page
    assert "finding:" not in page


def test_a_step_of_another_person_is_told_not_offered(office: Office) -> None:
    case = office.open()
    address = reverse("case", args=[case.pk])
    own = client_of(office.handler).get(address).context
    assert own["steps"] == []
    assert own["barred"][0] == "“批准立案”由他人办理：提请立案的人不能审批立案。"
    chief = client_of(office.chief).get(address).context
    assert chief["barred"] == []
    assert "批准立案" in [step["title"] for step in chief["steps"]]


def test_a_case_bears_the_number_of_the_office_that_opens_it(office: Office) -> None:
    city, _ = Region.objects.get_or_create(
        code="320600",
        defaults={"name": "南通市", "level": "prefecture", "policy_region": "nantong"},
    )
    officer = factories.user("supervisor", city)
    made = client_of(officer).post(reverse("case-new"), {
        "title": "涉嫌重复收费", "subject_kind": "institution", "institution": office.place.code,
        "acted_from": "2021-06-01", "acted_until": "2021-06-15", "origin": "hand",
        "summary": "线索",
    })  # fmt: skip
    assert made.status_code == 302
    case = SupervisionCase.objects.get()
    assert case.region_code == city.code
