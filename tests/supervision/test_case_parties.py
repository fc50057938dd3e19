"""What a party of a case may do: be told until when, ask for a recusal or a hearing; who decides on it."""

import datetime as dt
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from audit.models import Task
from audit.procedure import Refused
from institutions.holidays import NATIONAL, import_year, national_year
from institutions.refusals import Refusal
from supervision import case_clocks, case_papers, case_steps, cases, recusals
from supervision.models import CaseInspector, SupervisionCase
from supervision.writs import Service
from tests import factories
from tests.settlement.test_pages import AT
from tests.supervision.casework import PDF, SERVED, SIGNED, TODAY, Office

pytestmark = pytest.mark.django_db
DAY = dt.timedelta(days=1)
HELD = {"held_on": "2021-06-20", "place": "上午9时，302会议室"} | SIGNED


@pytest.fixture
def office() -> Office:
    return Office()


def test_whoever_declares_a_recusal_stops_and_the_head_decides_on_paper(office: Office) -> None:
    case = office.inquired()
    lead = case.inspectors.get(role="lead")
    recusals.ask(inspector=lead, reason="与负责人是亲属", who=office.handler, at=AT)
    for stopped in (
        lambda: office.propose(case, "interview"),
        lambda: cases.add_file(case=case, title="x", file=PDF, by=office.handler.username, at=AT),
        lambda: office.notify(case, "agreement"),
    ):
        with pytest.raises((Refusal, Refused), match=r"RECUSED|已回避或已提出回避"):
            stopped()
    with pytest.raises(Refusal, match="SAME_PERSON"):
        recusals.decide(inspector=lead, grant=True, reason="x", service=SERVED, who=office.handler,
                        at=AT)  # fmt: skip
    with pytest.raises(Refusal, match="NOT_YOURS"):
        recusals.decide(inspector=lead, grant=True, reason="x", service=SERVED, who=office.agency,
                        at=AT)  # fmt: skip
    with pytest.raises(IntegrityError), transaction.atomic():
        CaseInspector.objects.filter(pk=lead.pk).update(
            recused=True, decided_by=office.handler.username, decision_reason="x"
        )
    recusals.decide(inspector=lead, grant=True, reason="属实", service=SERVED, who=office.chief,
                    at=AT)  # fmt: skip
    made = cases.replace_inspector(
        inspector=lead, username=office.third.username, certificate="苏F-03",
        by=office.chief.username, at=AT,
    )  # fmt: skip
    case.refresh_from_db()
    assert (made.role, case.handled_by) == ("lead", office.third.username)
    assert list(case.papers.values_list("kind", flat=True)) == [
        "filing", "request", "recusal", "receipt",
    ]  # fmt: skip
    with pytest.raises(Refused, match="已回避或已提出回避"):
        office.notify(case, "agreement")
    assert not case_steps.active(case).filter(username=office.handler.username).exists()


def test_a_recusal_of_a_person_is_recorded_by_the_clerk_and_may_be_refused(office: Office) -> None:
    case = office.inquired(
        subject_kind="person", subject_code=office.house.patient.subject, institution_code="",
        person=office.house.patient, title="出借医保凭证",
    )  # fmt: skip
    office.notify(case, "agreement")
    member = case.inspectors.get(role="member")
    given: dict[str, Any] = {"inspector": member, "applicant": "当事人本人", "at": AT}
    with pytest.raises(Refusal, match="NOT_YOURS"):
        recusals.record(reason="有过节", on=TODAY, who=office.agency, **given)
    with pytest.raises(Refusal, match="OWN_RECUSAL"):
        recusals.record(reason="有过节", on=TODAY, who=office.second, **given)
    with pytest.raises(Refusal, match="DAY_OUTSIDE"):
        recusals.record(reason="x", on=TODAY.replace(year=2022), who=office.handler, **given)
    recusals.record(reason="有过节", on=TODAY, who=office.handler, **given)
    asked = case.papers.get(kind="request").content
    assert (asked["applicant"], asked["asked_on"]) == ("当事人本人", "2021-06-15")
    task = Task.objects.get(subject=f"caseinspector:{member.pk}", state="open")
    assert task.permission == "cases.decide"
    office.take(case, "record", office.handler, facts={"text": "承认", "waived": True})
    with pytest.raises(Refused, match="回避申请尚未决定"):
        office.take(case, "consider", office.handler, note="采纳")
    decision: dict[str, Any] = {"inspector": member, "grant": False, "reason": "查无利害关系",
                                "who": office.chief, "at": AT}  # fmt: skip
    for service, code in ((Service("direct", " ", TODAY), "REQUIRED"),
                          (Service("direct", "王某", TODAY - DAY), "DAY_OUTSIDE")):  # fmt: skip
        with pytest.raises(Refusal, match=code):
            recusals.decide(service=service, **decision)
    paper = recusals.decide(service=SERVED, **decision)
    told = case.papers.get(serves=paper)
    assert (told.number, told.content["receiver"]) == ("南通医保监送〔2021〕2号", "王某")
    assert paper.content["inspector"].endswith("（执法证号 苏F-01）")
    assert case_papers.pdf_of(paper).startswith(b"%PDF")
    office.take(case, "consider", office.handler, note="采纳")


def test_two_inspectors_remain_until_the_decision(office: Office) -> None:
    case = office.inquired()
    office.notify(case, "agreement")
    other = case.inspectors.get(role="member")
    recusals.ask(inspector=other, reason="其配偶在该院任职", who=office.hospital, at=AT)
    office.take(case, "waive", office.hospital)
    with pytest.raises(Refused, match="回避申请尚未决定"):
        office.take(case, "decide_agreement", office.agency, note="同意")
    recusals.decide(inspector=other, grant=True, reason="属实", service=SERVED, who=office.chief,
                    at=AT)  # fmt: skip
    with pytest.raises(Refused, match="2名以上"):
        office.take(case, "decide_agreement", office.agency, note="同意")
    cases.replace_inspector(inspector=other, username=office.third.username, certificate="苏F-03",
                            by=office.handler.username, at=AT)  # fmt: skip
    office.take(case, "decide_agreement", office.agency, note="同意")


def test_a_hearing_is_granted_by_the_head_and_not_presided_over_by_an_inspector(
    office: Office,
) -> None:
    case = office.inquired()
    office.notify(case, "agreement")
    office.take(case, "answer", office.hospital, facts={"text": "对金额有异议"})
    office.take(case, "ask_hearing", office.hospital, note="要求当面质证")
    assert Task.objects.get(subject=case.subject, state="open").permission == "cases.decide"
    with pytest.raises(Refused, match="不能对本案作出决定"):
        office.take(case, "grant_hearing", office.handler,
                    facts=HELD | {"presider": office.third.username})  # fmt: skip
    elsewhere = factories.user("supervisor", factories.region("wenzhou"))
    for presider, why in (
        (office.second.username, "不能主持听证"), ("nobody", "没有此账号"),
        (office.hospital.username, "不是本辖区医保部门的人员"),
        (elsewhere.username, "不是本辖区医保部门的人员"),
    ):  # fmt: skip
        with pytest.raises(Refused, match=why):
            office.take(case, "grant_hearing", office.chief, facts=HELD | {"presider": presider})
    office.third.display_name = "周主持"
    office.third.save()
    with pytest.raises(Refused, match="不能早于决定之日"):
        office.take(case, "grant_hearing", office.chief,
                    facts=HELD | {"presider": office.third.username, "held_on": "2021-06-01"})  # fmt: skip
    office.take(
        case, "grant_hearing", office.chief, facts=HELD | {"presider": office.third.username}
    )
    notice = case.papers.get(kind="hearing")
    assert notice.content["presider"].startswith("周主持（")
    assert (notice.content["held_on"], notice.content["reasons"]) == ("2021-06-20", "要求当面质证")
    assert case_papers.pdf_of(notice).startswith(b"%PDF")
    receipt = case.papers.get(serves=notice)
    assert (receipt.content["paper"], receipt.content["receiver"]) == ("听证通知书", "王某")

    def hear(day: int) -> None:
        at = AT + day * DAY
        case_steps.take_step(case=case, step="hear", who=office.handler, at=at, on=at.date(),
                             by=office.handler.username, facts={"text": "双方陈述"})  # fmt: skip

    with pytest.raises(Refused, match="听证日应为南通医保监听〔2021〕1号"):
        hear(0)
    other = HELD | {"presider": office.agency.username, "held_on": "2021-06-21"}
    office.take(case, "change_hearing", office.chief, facts=other)
    with pytest.raises(Refused, match="听证日应为南通医保监听〔2021〕2号"):
        hear(5)
    hear(6)
    case.refresh_from_db()
    assert case.statement == "对金额有异议\n双方陈述"
    with pytest.raises(Refused, match="不能再次申请"):
        case_steps.take_step(case=case, step="ask_hearing", who=office.hospital, at=AT + 6 * DAY,
                             by=office.hospital.username, note="再来一次")  # fmt: skip


def test_a_presider_is_no_opener_and_no_inspector_of_later(office: Office) -> None:
    case = office.inquired()
    office.notify(case, "agreement")
    office.take(case, "ask_hearing", office.hospital, note="要求当面质证")
    SupervisionCase.objects.filter(pk=case.pk).update(opened_by=office.third.username)
    third = HELD | {"presider": office.third.username, "held_on": str(TODAY)}
    with pytest.raises(Refused, match="不能主持听证"):
        office.take(case, "grant_hearing", office.chief, facts=third)
    SupervisionCase.objects.filter(pk=case.pk).update(opened_by=office.handler.username)
    office.take(case, "grant_hearing", office.chief, facts=third)
    member = case.inspectors.get(role="member")
    recusals.ask(inspector=member, reason="亲属", who=office.hospital, at=AT)
    recusals.decide(inspector=member, grant=True, reason="属实", service=SERVED, who=office.chief,
                    at=AT)  # fmt: skip
    cases.replace_inspector(inspector=member, username=office.third.username, certificate="苏F-03",
                            by=office.handler.username, at=AT)  # fmt: skip
    with pytest.raises(Refused, match="须变更主持人"):
        office.take(case, "hear", office.handler, facts={"text": "双方陈述"})


def test_nothing_is_decided_while_a_hearing_can_be_asked_for(office: Office) -> None:
    import_year(year=2021, region=NATIONAL, rows=national_year(2021), by="x", at=AT)
    case = office.inquired()
    office.notify(case, "agreement")
    office.take(case, "answer", office.hospital, facts={"text": "对金额有异议"})

    def consider(day: int) -> None:
        case_steps.take_step(case=case, step="consider", who=office.handler, at=AT + day * DAY,
                             by=office.handler.username, note="不采纳")  # fmt: skip

    for day in (0, 7):  # until 2021-06-22
        with pytest.raises(Refused, match="当事人可以申请听证至2021-06-22"):
            consider(day)
    consider(8)
    assert case.state == "deciding"


@pytest.mark.parametrize(("step", "who"), [("answer", "hospital"), ("record", "handler")])
def test_whoever_waives_the_hearing_in_writing_is_decided_on_earlier(
    office: Office, step: str, who: str
) -> None:
    case = office.inquired()
    office.notify(case, "agreement")
    office.take(case, step, getattr(office, who), facts={"text": "属实", "waived": True})
    office.take(case, "consider", office.handler, note="采纳")
    office.take(case, "supplement", office.chief, note="再查")
    again = AT + DAY
    facts = {"route": "agreement", "found": "查明属实", "loss": "0"} | SIGNED
    given: dict[str, Any] = {"case": case, "by": office.handler.username, "who": office.handler,
                             "at": again}  # fmt: skip
    case_steps.take_step(step="notify", facts=facts, **given)
    case_steps.take_step(step="record", facts={"text": "有异议"}, **given)
    with pytest.raises(Refused, match="当事人可以申请听证至2021年工作日历公布后"):
        case_steps.take_step(step="consider", note="x", **given)


def test_a_statement_is_considered_after_a_hearing_is_refused(office: Office) -> None:
    case = office.inquired()
    office.notify(case, "agreement")
    office.take(case, "answer", office.hospital, facts={"text": "对金额有异议"})
    office.take(case, "ask_hearing", office.hospital, note="要求当面质证")
    refusal = {"note": "事实清楚", "facts": SIGNED}
    with pytest.raises(Refused, match="不适用"):
        office.take(case, "refuse_hearing", office.chief, **refusal)
    office.take(case, "refuse_hearing_spoken", office.chief, **refusal)
    paper = case.papers.get(kind="nohear")
    assert "已提出的陈述申辩意见将依法复核" in str(case_papers.context_of(paper))
    assert case.papers.get(serves=paper).content["paper"] == "不予听证通知书"
    assert case.state == "answered"
    office.take(case, "consider", office.handler, note="部分采纳")
    office.take(case, "decide_agreement", office.agency, note="同意")
    decision = case.papers.get(kind="decision").content
    assert (decision["statement"], decision["considered"]) == ("对金额有异议", "部分采纳")


def test_a_person_asks_for_a_hearing_on_paper_within_the_time_from_data(office: Office) -> None:
    import_year(year=2021, region=NATIONAL, rows=national_year(2021), by="x", at=AT)
    person = office.house.patient
    case = office.inquired(subject_kind="person", subject_code=person.subject, person=person,
                           institution_code="", title="出借医保凭证")  # fmt: skip
    office.notify(case, "agreement")
    late = AT + dt.timedelta(days=8)
    given: dict[str, Any] = {"case": case, "step": "record_hearing", "who": office.handler,
                             "by": office.handler.username, "note": "要求听证",
                             "facts": {"applicant": "当事人本人"}}  # fmt: skip
    with pytest.raises(Refused, match="申请听证的期限已于2021-06-22届满"):
        case_steps.take_step(at=late, on=late.date(), **given)
    case_steps.take_step(at=late, on=dt.date(2021, 6, 22), **given)
    asked = case.papers.get(kind="request").content
    assert (asked["what"], asked["applicant"], asked["asked_on"]) == (
        "申请听证", "当事人本人", "2021-06-22",
    )  # fmt: skip
    case_steps.take_step(case=case, step="refuse_hearing", who=office.chief, note="事实清楚",
                         facts=SIGNED, by=office.chief.username, at=late)  # fmt: skip
    refusal = case.papers.get(kind="nohear")
    assert refusal.number == "南通医保监不听〔2021〕1号"
    assert "事实清楚" in case_papers.context_of(refusal)["paragraphs"][1]
    assert (case.state, str(case.due)) == ("statement", "2021-06-23")


def test_a_notice_prints_how_long_and_until_when_with_the_clause(office: Office) -> None:
    import_year(year=2021, region=NATIONAL, rows=national_year(2021), by="x", at=AT)
    office.handler.display_name = "王承办"
    office.handler.save()
    case = office.inquired()
    office.notify(case, "agreement")
    notice = case.papers.get(kind="notice")
    assert notice.content["times"]["statement"] == {
        "days": 5, "last": "2021-06-22", "unknown": None, "clause": "国务院令第735号 第13条",
        "source": "示例：监管案件陈述申辩期限（工作日） 四（三）", "example": True,
    }  # fmt: skip
    said = case_papers.context_of(notice)["after"]
    assert said[0] == (
        "你单位（你）有权进行陈述和申辩，应当自本告知书送达之日起5个工作日内提出，最后一日为2021年6月22日"
        "（国务院令第735号 第13条；期限取示例参数“示例：监管案件陈述申辩期限（工作日） 四（三）”）。"
    )
    assert said[1].startswith(
        "你单位（你）可以申请听证，应当自本告知书送达之日起5个工作日内提出，最后一日为2021年6月22日"
    )
    assert "王承办（执法证号 苏F-01）" in said[3]
    assert str(case.due) == notice.content["times"]["statement"]["last"]


def test_a_hearing_is_the_laws_before_a_penalty_and_nobodys_before_an_agreement(
    office: Office,
) -> None:
    """行政处罚法（2021年修订）第63、64、85条: 告知后五个工作日内提出."""
    import_year(year=2021, region=NATIONAL, rows=national_year(2021), by="x", at=AT)
    case = office.inquired()
    case.route = "penalty"
    served = dt.date(2021, 8, 2)
    assert case_clocks.on_paper(case, "hearing", served=served) == {
        "days": 5, "last": "2021-08-09", "unknown": None, "source": "", "example": False,
        "clause": "《中华人民共和国行政处罚法》（2021年修订）第63、64条",
    }  # fmt: skip
    assert (
        case_clocks.on_paper(case, "statement", served=served)["clause"] == "国务院令第735号 第31条"
    )
    case.route = "agreement"
    told = case_clocks.on_paper(case, "hearing", served=served)
    assert (told["clause"], told["example"]) == ("所依据的文件未印听证的规定", True)


@pytest.mark.parametrize("route", ["agreement", "penalty"])
def test_a_decision_names_the_organ_and_the_time_of_an_appeal(office: Office, route: str) -> None:
    """国务院令第735号 第13、31、45条；行政复议法 第9、12条；行政诉讼法 第18、46条."""
    case = office.inquired()
    office.propose(case, "interview")
    office.decided(
        case, route, "38" if route == "penalty" else "", loss=f"{cases.loss_of(case) / 100:.2f}"
    )
    after = case_papers.context_of(case.papers.get(kind="decision"))["after"]
    assert after[0].endswith("罚款依法上缴国库（国务院令第735号 第45条）。")
    assert (
        "自收到本决定书之日起60日内向南通市人民政府或者上一级医疗保障行政部门申请行政复议"
        in after[1]
    )
    assert "在6个月内向作出决定的机关所在地人民法院提起行政诉讼" in after[1]
    assert ("协调处理（国务院令第735号 第13条）" in after[1]) == (route == "agreement")


def test_papers_name_people_and_no_log_in(office: Office) -> None:
    people = {office.handler: "王承办", office.second: "李协办", office.chief: "赵审批",
              office.agency: "孙签约"}  # fmt: skip
    for person, name in people.items():
        person.display_name = name
        person.save()
    case = office.inquired()
    office.propose(case, "interview")
    office.decided(case, "agreement")
    office.execute(case)
    office.take(case, "close", office.chief, note="结案")
    told = "".join(str(case_papers.context_of(row)) + str(row.content) for row in case.papers.all())
    assert not [person.username for person in people if person.username in told]
    filing = case.papers.get(kind="filing").content
    assert filing["approved_by"] == "赵审批（南通市医疗保障局）"
    assert filing["opened_by"] == "王承办（南通市医疗保障局）"
    decision = case.papers.get(kind="decision").content
    assert decision["decided_by"] == "孙签约（南通市医疗保险服务经办机构）"
    assert case.papers.filter(kind="receipt").first().content["served_by"] == (
        "王承办（执法证号 苏F-01）"
    )
