"""Supervision cases to their end: who may what, what the database refuses, what a decision does."""

from typing import Any

import pytest
from django.db import Error, IntegrityError, connection, transaction

from agreements import lifecycle
from agreements.models import Agreement
from audit.models import Event, Task
from audit.procedure import PROCEDURES, Refused, checked
from institutions.access import EVERYTHING, scoped, set_scope
from institutions.holidays import NATIONAL, import_year, national_year
from institutions.models import Notification
from institutions.refusals import Refusal
from settlement import adjustments
from settlement.models import Adjustment, Deduction, Settlement
from supervision import case_papers, case_steps, cases, recusals, sanctions, writs
from supervision.models import (
    CaseEvidence,
    CaseInspector,
    CasePaper,
    Restriction,
    Sanction,
    SupervisionCase,
)
from tests import factories
from tests.settlement.test_pages import AT
from tests.supervision.casework import ACTED, PDF, SERVED, SIGNED, TODAY, Office

pytestmark = pytest.mark.django_db


@pytest.fixture
def office() -> Office:
    return Office()


def test_the_table_names_only_what_is_in_the_handbook() -> None:
    checked(case_steps.HANDBOOK, [PROCEDURES[writs.TABLE]])


# --- The whole way ---


def test_a_case_on_the_way_of_the_agreement_to_its_archive(office: Office) -> None:
    case = office.inquired()
    fund = cases.loss_of(case)
    office.propose(case, "recovery", amount=fund, scheme="resident")
    office.propose(case, "interview", note="约谈负责人")
    office.propose(case, "suspend_agreement", note="整改期间")
    loss = f"{fund // 100}.{fund % 100:02d}"
    office.notify(case, "agreement", loss=loss)
    office.take(case, "answer", office.hospital,
                facts={"text": "系统重复上传，愿意退回", "waived": True})  # fmt: skip
    office.take(case, "consider", office.handler, note="部分采纳")
    assert Task.objects.get(subject=case.subject, state="open").permission == "agreements.decide"
    office.take(case, "decide_agreement", office.agency, note="同意")
    office.take(case, "serve", office.handler, facts={"method": "direct", "receiver": "王某"})
    for row in case.sanctions.all():
        if row.kind == "interview":
            office.interviewed(row)
            continue
        who = office.agency if row.kind == "suspend_agreement" else office.handler
        sanctions.execute(sanction=row, on=TODAY, record="已办理", who=who, at=AT)
    office.take(case, "close", office.chief, note="执行完毕")
    office.take(case, "archive", office.handler, note="正卷一册，保管十年")
    case.refresh_from_db()
    cut = Deduction.objects.get()
    agreement = Agreement.objects.get(institution=office.place, kind="supplementary")
    state = lifecycle.state_on(agreement, TODAY)
    assert {
        "state": case.state, "final": case.final_on, "archive": case.archive_no,
        "decided": case.decided_by, "cut": (cut.amount, cut.clause),
        "agreement": state.state if state else None,
        "papers": list(case.papers.values_list("kind", flat=True)),
        "statement": case.statement, "tasks": Task.objects.filter(state="open",
                                                                 subject=case.subject).count(),
    } == {
        "state": "archived", "final": TODAY, "archive": "320600-JG-2021-0001",
        "decided": office.agency.username, "cut": (fund, "通医保发〔2020〕25号 四（三）"),
        "agreement": "suspended",
        "papers": ["filing", "notice", "evidence", "receipt", "decision", "receipt", "talk",
                   "receipt", "minutes", "closing"],
        "statement": "系统重复上传，愿意退回", "tasks": 0,
    }  # fmt: skip


def test_a_penalty_is_fined_within_its_article_and_decided_by_the_bureau(office: Office) -> None:
    case = office.inquired()
    fund = cases.loss_of(case)
    loss = f"{fund // 100}.{fund % 100:02d}"
    with pytest.raises(Refusal, match="OUT_OF_RANGE"):
        office.propose(case, "fine", article="38", amount=2 * fund + 1)
    row = office.propose(case, "fine", article="38", amount=2 * fund)
    with pytest.raises(Refusal, match="DEPARTMENT_UNKNOWN"):
        office.propose(case, "suspend_department", article="38", months=6, target="全科医学科")
    stop: dict[str, Any] = {"article": "38", "months": 6, "target": "A03"}
    with pytest.raises(Refusal, match="OUT_OF_RANGE"):
        office.propose(case, "suspend_department", **stop)
    with pytest.raises(Refusal, match="REQUIRED"):
        office.propose(case, "suspend_department", condition="defiance", **stop)
    office.propose(case, "suspend_department", condition="defiance", note="逾期未改正", **stop)
    office.notify(case, "penalty", "38", loss)
    office.take(case, "waive", office.hospital)
    with pytest.raises(Refused, match="不适用"):
        office.take(case, "decide_agreement", office.agency, note="同意")
    office.take(case, "decide_penalty", office.chief, note="同意")
    office.take(case, "serve", office.handler, facts={"method": "post", "receiver": "王某"})
    with pytest.raises(Refused, match="还有2项"):
        office.take(case, "close", office.chief, note="结案")
    office.execute(case)
    office.take(case, "close", office.chief, note="结案")
    paper = case.papers.get(kind="decision")
    assert paper.content["measures"][0]["size"] == f"{2 * fund / 100:.2f}元"
    assert row.clause == "《医疗保障基金使用监督管理条例》（国务院令第735号）第38条"
    assert [row["target"] for row in paper.content["measures"][1:]] == ["内科 A03"]
    made = Restriction.objects.get()
    assert made.valid_until.isoformat() == "2021-12-14"
    known = office.place.department_suspensions.get()
    assert (known.department, known.valid_from, known.valid_until, known.source, known.clause) == (
        "A03", TODAY, made.valid_until, f"restriction:{made.pk}", row.clause,
    )  # fmt: skip
    heard = Notification.objects.filter(user=office.hospital, subject=f"restriction:{made.pk}")
    assert heard.get().text == "科室暂停医药服务：内科 A03，自2021-06-15起"


def test_a_recovery_beyond_the_claims_waits_for_a_second_person_in_the_ledger(
    office: Office,
) -> None:
    case = office.inquired()
    finding_loss = 5_000
    CaseEvidence.objects.create(
        case=case, no=2, kind="record", reference="document:0", title="清点笔录", content={},
        digest="0" * 64, loss=finding_loss, taken_at=AT, taken_by=office.handler.username,
    )  # fmt: skip
    total = cases.loss_of(case)
    office.propose(case, "recovery", amount=total, scheme="resident")
    office.decided(case, "agreement", loss=f"{total // 100}.{total % 100:02d}")
    office.execute(case)
    waiting = Adjustment.objects.get()
    assert (waiting.amount, waiting.state) == (-finding_loss, "proposed")
    with pytest.raises(Refused, match="没有执行或入账"):
        office.take(case, "close", office.chief, note="结案")
    adjustments.approve(adjustment=waiting, who=office.finance, at=AT)
    office.take(case, "close", office.chief, note="结案")


def test_a_transfer_to_the_police(office: Office) -> None:
    case = office.inquired()
    office.notify(case, "transfer")
    office.take(case, "waive", office.hospital)
    office.take(case, "transfer", office.chief, note="涉嫌诈骗", facts={"organ": "市公安局"})
    office.take(case, "confirm_transfer", office.handler, note="已立案", facts={"receiver": "李某"})
    office.take(case, "close", office.chief, note="结案")
    assert case.papers.get(kind="transfer").addressee == "市公安局"


def test_a_person_is_suspended_from_online_settlement(office: Office) -> None:
    person = office.house.patient
    case = office.inquired(
        subject_kind="person", subject_code=f"person:{person.pk}", institution_code="",
        person=person, title="出借医保凭证",
    )  # fmt: skip
    with pytest.raises(Refusal, match="OUT_OF_RANGE"):
        office.propose(case, "suspend_person", article="41", months=2)
    with pytest.raises(Refusal, match="MEASURE_NOT_FOR_SUBJECT"):
        office.propose(case, "suspend_agreement")
    office.propose(case, "suspend_person", article="41", months=3)
    office.notify(case, "penalty", "41")
    assert Task.objects.get(subject=case.subject, state="open").permission == "cases.handle"
    office.take(case, "record", office.handler, facts={"text": "承认出借", "waived": True})
    office.take(case, "consider", office.handler, note="采纳")
    office.take(case, "decide_penalty", office.chief, note="同意")
    office.take(case, "serve", office.handler, facts={"method": "direct", "receiver": "本人"})
    office.execute(case)
    assert person.suspensions.facts_on(TODAY).clause.endswith("（国务院令第735号）第41条")
    assert person.suspensions.facts_on(TODAY.replace(month=12)) is None


# --- Who may, who may not ---


def test_who_opens_does_not_approve_and_who_handles_does_not_decide(office: Office) -> None:
    case = office.open()
    with pytest.raises(Refused, match="不能审批立案"):
        office.take(case, "accept", office.handler)
    case = office.inquired()
    office.notify(case, "agreement")
    office.take(case, "waive", office.hospital)
    for person in (office.handler, office.second):
        with pytest.raises(Refused, match="不能对本案作出决定"):
            office.take(case, "dismiss", person, note="算了", facts=SIGNED)
    with pytest.raises(Refused, match="不能办理"):
        office.take(case, "decide_agreement", office.chief, note="行政部门不作协议决定")
    with pytest.raises(IntegrityError), transaction.atomic():
        SupervisionCase.objects.filter(pk=case.pk).update(
            decided_by=office.handler.username, decided_on=TODAY
        )


def test_one_inspector_no_evidence_or_an_open_recusal_stop_the_notice(office: Office) -> None:
    case = office.open()
    office.take(case, "accept", office.chief)
    name = {"case": case, "certificate": "苏F-01", "by": office.handler.username, "at": AT}
    lead = cases.name_inspector(username=office.handler.username, lead=True, **name)
    with pytest.raises(Refused, match="2名以上"):
        office.notify(case, "agreement")
    other = cases.name_inspector(username=office.second.username, **name)
    with pytest.raises(Refused, match="证据清单为空"):
        office.notify(case, "agreement")
    cases.add_file(case=case, title="现场笔录", file=PDF, by=office.handler.username, at=AT)
    recusals.ask(inspector=other, reason="其配偶在该院任职", who=office.hospital, at=AT)
    with pytest.raises(Refused, match="回避申请尚未决定"):
        office.notify(case, "agreement")
    for person in (office.second, office.handler):
        with pytest.raises(Refusal, match="SAME_PERSON"):
            recusals.decide(
                inspector=other, grant=False, reason="x", service=SERVED, who=person, at=AT
            )
    with pytest.raises(Refusal, match="REQUIRED"):
        recusals.decide(
            inspector=other, grant=True, reason=" ", service=SERVED, who=office.chief, at=AT
        )
    paper = recusals.decide(
        inspector=other, grant=True, reason="属实", service=SERVED, who=office.chief, at=AT
    )
    assert (paper.number, paper.content["granted"], paper.content["opinion"]) == (
        "南通医保监避〔2021〕1号", True, "属实",
    )  # fmt: skip
    with pytest.raises(Refused, match="2名以上"):
        office.notify(case, "agreement")
    with pytest.raises(Refusal, match="INSPECTOR_TWICE"):
        cases.name_inspector(username=office.second.username, **name)
    made = cases.replace_inspector(
        inspector=other, username=office.third.username, certificate="苏F-03",
        by=office.handler.username, at=AT,
    )  # fmt: skip
    office.notify(case, "agreement")
    assert (lead.role, made.role, case.inspectors.count()) == ("lead", "member", 3)


def test_only_inspectors_of_the_area_are_named(office: Office) -> None:
    case = office.open()
    far = factories.user("supervisor", factories.region("wenzhou"))
    for username in (far.username, office.finance.username, "nobody"):
        with pytest.raises(Refusal, match="NOT_AN_INSPECTOR"):
            cases.name_inspector(
                case=case, username=username, certificate="1", by=office.handler.username, at=AT
            )


def test_only_the_institution_concerned_speaks_for_itself(office: Office) -> None:
    import_year(year=2021, region=NATIONAL, rows=national_year(2021), by="x", at=AT)
    case = office.inquired()
    office.notify(case, "agreement")
    stranger = factories.user("hospital", factories.institution("nantong"))
    with pytest.raises(Refused, match="只有当事机构"):
        office.take(case, "answer", stranger, facts={"text": "我们也有话说"})
    assert str(case.due) == "2021-06-22"  # five working days after 2021-06-15
    with pytest.raises(Refused, match="期限未满"):
        office.take(case, "lapse", office.handler)


# --- Law and evidence ---


def test_measures_belong_to_their_route(office: Office) -> None:
    case = office.inquired()
    fund = cases.loss_of(case)
    office.propose(case, "fine", article="38", amount=fund)
    with pytest.raises(Refused, match="不属于协议处理的措施"):
        office.notify(case, "agreement", loss=f"{fund / 100:.2f}")
    row = case.sanctions.get()
    sanctions.drop(sanction=row, by=office.handler.username, at=AT)
    office.notify(case, "agreement")
    with pytest.raises(Refusal, match="NOT_INVESTIGATING"):
        office.propose(case, "interview")


def test_an_act_before_the_decree_is_not_fined(office: Office) -> None:
    case = office.inquired(acted_from=ACTED.replace(month=4))
    with pytest.raises(Refusal) as caught:
        office.propose(case, "fine", article="39", amount=1_000_000)
    assert "自2021-05-01起施行" in caught.value.detail[0]


@pytest.mark.parametrize(
    ("kind", "given", "code"),
    [
        ("fine", {"article": "38"}, "REQUIRED"),
        ("fine", {"amount": 100}, "REQUIRED"),
        ("points", {"points": 3}, "REQUIRED"),
        ("points", {"points": 3, "target": "D9999999"}, "PRACTITIONER_UNKNOWN"),
        ("recovery", {"amount": 100}, "REQUIRED"),
        ("recovery", {"amount": 10**9, "scheme": "resident"}, "MORE_THAN_LOST"),
        ("exile", {}, "MEASURE_UNKNOWN"),
    ],
)
def test_a_measure_says_how_much_and_against_whom(
    office: Office, kind: str, given: dict[str, Any], code: str
) -> None:
    with pytest.raises(Refusal, match=code):
        office.propose(office.inquired(), kind, **given)


def test_a_loss_reaches_what_the_personal_account_paid(office: Office) -> None:
    case = office.inquired()
    office.house.patient = factories.person("nantong", "employee", account_balance=10_000)
    made = office.house.send(pay_from_account=True)
    set_scope(EVERYTHING)
    settled = Settlement.objects.get(claim_id=made.pk)
    assert settled.account > 0
    given = {"case": case, "claim_no": made.claim_no, "note": "", "by": office.handler.username}
    with pytest.raises(Refusal, match="LOSS_TOO_LARGE"):
        cases.add_claim(loss=settled.fund + settled.account + 1, at=AT, **given)
    row = cases.add_claim(loss=settled.fund + settled.account, at=AT, **given)
    assert row.loss == settled.fund + settled.account


def test_evidence_is_taken_once_with_its_digest_and_stays(office: Office) -> None:
    case = office.inquired()
    row = case.evidence.get()
    with pytest.raises(Refusal, match="EVIDENCE_TWICE"):
        cases.add_claim(case=case, claim_no=row.reference, loss=0, note="",
                        by=office.handler.username, at=AT)  # fmt: skip
    claim, fund = office.claim()
    with pytest.raises(Refusal, match="LOSS_TOO_LARGE"):
        cases.add_claim(case=case, claim_no=claim.claim_no, loss=fund + 1, note="",
                        by=office.handler.username, at=AT)  # fmt: skip
    with pytest.raises(Error, match=r"append-only|permission denied"), transaction.atomic():
        CaseEvidence.objects.filter(pk=row.pk).update(title="别的")
    with pytest.raises(Refused, match="损失超过证据清单"):
        office.notify(case, "agreement", loss=f"{(row.loss + 1) / 100:.2f}")


def test_no_loss_is_told_beyond_the_evidence_and_an_estimate_is_evidence_with_its_amount(
    office: Office,
) -> None:
    """温医保办〔2021〕6号 二十八；国务院令第735号 第三十一条: what is told rests on the list."""
    case = office.open()
    office.take(case, "accept", office.chief)
    by = office.handler.username
    for person, lead in ((office.handler, True), (office.second, False)):
        cases.name_inspector(case=case, username=person.username, certificate="苏F-01", lead=lead,
                             by=by, at=AT)  # fmt: skip
    cases.add_file(case=case, title="询问笔录", file=PDF, by=by, at=AT)
    with pytest.raises(Refused, match=r"损失超过证据清单所列金额合计0\.00元.*测算书"):
        office.notify(case, "agreement", loss="0.01")
    case.refresh_from_db()
    assert (case.state, case.loss, case.told_on) == ("investigating", 0, None)
    estimate = ("测算书.pdf", PDF[1] + b" ")
    with pytest.raises(Refusal, match="LOSS_NEGATIVE"):
        cases.add_file(case=case, title="损失测算书", file=estimate, by=by, at=AT, loss=-1)
    row = cases.add_file(case=case, title="损失测算书", file=estimate, by=by, at=AT, loss=1_250)
    assert (row.loss, row.content["loss"], cases.loss_of(case)) == (1_250, 1_250, 1_250)
    with pytest.raises(Refused, match=r"12\.50元"):
        office.notify(case, "agreement", loss="12.51")
    office.notify(case, "agreement", loss="12.50")
    listed = case.papers.get(kind="evidence").content["items"]
    assert [one["loss"] for one in listed] == [0, 1_250]


def test_papers_are_numbered_by_kind_and_year_and_drawn_again_byte_for_byte(office: Office) -> None:
    first, second = office.inquired(), office.inquired()
    office.notify(first, "agreement")
    office.notify(second, "agreement")
    numbers = (
        CasePaper.objects.filter(kind="notice").order_by("pk").values_list("number", flat=True)
    )
    assert list(numbers) == ["南通医保监告〔2021〕1号", "南通医保监告〔2021〕2号"]
    paper = first.papers.get(kind="notice")
    assert case_papers.pdf_of(paper) == case_papers.pdf_of(paper)
    for made in first.papers.all():
        assert case_papers.pdf_of(made).startswith(b"%PDF")
    with pytest.raises(Error, match=r"append-only|permission denied"), transaction.atomic():
        CasePaper.objects.filter(pk=paper.pk).update(number="1")


def test_a_paper_keeps_its_issuer_whatever_way_the_case_goes(office: Office) -> None:
    """The bureau files; the agency decides by agreement; what was filed before stays the bureau's paper."""
    case = office.inquired()
    filing = case.papers.get(kind=CasePaper.Kind.FILING)
    before = case_papers.pdf_of(filing)
    office.notify(case, "agreement", loss="6.00")
    case.refresh_from_db()
    notice = case.papers.get(kind=CasePaper.Kind.NOTICE)
    filing = case.papers.get(pk=filing.pk)
    bureau = filing.content["issuer"]
    assert case_papers.pdf_of(filing) == before
    assert "经办" in notice.content["issuer"]
    assert case_papers.context_of(notice)["issuer"] == notice.content["issuer"] != bureau
    for paper, issuer in ((filing, bureau), (notice, notice.content["issuer"])):
        paper.content = {key: paper.content[key] for key in paper.content if key != "issuer"}
        assert case_papers.context_of(paper)["issuer"] == issuer  # a paper of before kept none


# --- What the database refuses ---


def test_a_case_keeps_whom_it_is_about(office: Office) -> None:
    case = office.open()
    with pytest.raises(Error, match="stays"), transaction.atomic():
        SupervisionCase.objects.filter(pk=case.pk).update(subject_code="X")


def test_an_ordered_measure_keeps_its_size(office: Office) -> None:
    case = office.inquired()
    office.propose(case, "recovery", amount=cases.loss_of(case), scheme="resident")
    office.decided(case, "agreement", loss=f"{cases.loss_of(case) / 100:.2f}")
    with pytest.raises(Error, match="stays"), transaction.atomic():
        Sanction.objects.filter(case=case).update(amount=1)
    with pytest.raises(IntegrityError), transaction.atomic():
        Sanction.objects.filter(case=case).update(state="done")


@pytest.mark.parametrize(
    "given",
    [
        {"acted_until": ACTED.replace(year=2020)},
        {"loss": -1},
        {"decided_by": "x"},
        {"subject_kind": "person"},
    ],
)
def test_the_database_refuses_half_a_case(office: Office, given: dict[str, Any]) -> None:
    values: dict[str, Any] = {
        "number": "X", "title": "x", "origin": "hand", "subject_kind": "institution",
        "subject_code": office.place.code, "subject_name": "x", "acted_from": ACTED,
        "acted_until": TODAY, "summary": "x", "region_code": "320600", "procedure": "case",
        "institution_code": office.place.code, "state": "proposed", "entered_on": TODAY,
        "opened_at": AT, "opened_by": "x",
    }  # fmt: skip
    with pytest.raises(IntegrityError), transaction.atomic():
        SupervisionCase.objects.create(**values | given)


def test_a_recusal_is_decided_by_another_and_has_one_lead(office: Office) -> None:
    case = office.inquired()
    row = case.inspectors.get(role="member")
    with pytest.raises(IntegrityError), transaction.atomic():
        CaseInspector.objects.filter(pk=row.pk).update(role="lead")
    with pytest.raises(IntegrityError), transaction.atomic():
        CaseInspector.objects.filter(pk=row.pk).update(
            recusal="asked", recusal_reason="r", recusal_by="x", recused=True, decided_by="x"
        )


def test_an_institution_sees_its_case_from_the_notice_on_and_no_other(office: Office) -> None:
    case, other = office.inquired(), Office("wenzhou").open()
    set_scope(EVERYTHING)
    connection.cursor().execute("SET ROLE mip_app")
    with scoped(office.hospital.scope_codes()):
        assert not SupervisionCase.objects.exists()
        assert not CaseEvidence.objects.exists()
    set_scope(EVERYTHING)
    office.notify(case, "agreement")
    with scoped(office.hospital.scope_codes()):
        assert list(SupervisionCase.objects.values_list("pk", flat=True)) == [case.pk]
        assert CaseEvidence.objects.filter(case=case).exists()
        assert not SupervisionCase.objects.filter(pk=other.pk).exists()
    connection.cursor().execute("RESET ROLE")


def test_every_act_is_an_event_without_the_statement(office: Office) -> None:
    case = office.inquired()
    office.notify(case, "agreement")
    office.take(case, "answer", office.hospital, facts={"text": "涉及患者张三的病历"})
    rows = Event.objects.filter(subject=case.subject)
    actions = set(rows.values_list("action", flat=True))
    assert {"supervisioncase.open", "supervisioncase.accept", "supervisioncase.name",
            "supervisioncase.evidence", "supervisioncase.notify",
            "supervisioncase.answer"} <= actions  # fmt: skip
    assert not any("张三" in bytes(row.body).decode() for row in rows)
