"""Watching in the demonstration: cases, a drawn inspection, complaints, flags of conduct.

Everything is done by the real commands and is invented (示例).
"""

import datetime as dt
import json
from collections.abc import Mapping
from typing import Any

from config.demo import TODAY, moment
from config.demo.accounts import client_id
from config.demo.claims import Draft, Maker
from config.demo.hospitals import HOSPITALS
from institutions import crypto
from institutions.models import Institution, Physician, Region, User
from settlement.commands import receive
from settlement.facts import Claimant
from settlement.models import Claim, Deduction, InsuredPerson, Settlement
from supervision import (
    case_steps,
    cases,
    complaints,
    conduct,
    credit,
    disclosures,
    inspection_papers,
    inspections,
    interviews,
    repairs,
    sanctions,
    writs,
)
from supervision.models import (
    Complaint,
    InspectionPlan,
    InspectionTask,
    Sanction,
    SupervisionCase,
)

HANDLER, CHIEF = "supervisor.nantong", "supervisor2.nantong"
SECOND, SIGNER, POLICY = "reviewer.nantong", "signer.nantong", "policy.nantong"
OVER, OPEN, STOPPED = "nt2", "nt1", "nt3"
RECORD = ("询问笔录（示例）.pdf", b"%PDF-1.4\n% \xe7\xa4\xba\xe4\xbe\x8b\n")
TRAINED = ("考核合格证明（示例）.pdf", RECORD[1])
SEED = "示例种子-20211210"
CHECKLIST = (
    "实名就医与人证相符",
    "电子处方经药师审核",
    "诊察费按公布价格收取",
    "购药记录与处方一致",
)


def make_cases(maker: Maker) -> str:
    """Cases, an inspection plan, complaints, flags; says how many."""
    region = Region.objects.get(pk="320600")
    barred = _barred(region, maker)
    made = [row for row in (_archived(region), _running(region)) if row is not None]
    plan = inspections.places_of(_inspected(region))
    _patrol(region)
    _complained(region)
    credit.score_all(region=region, year=TODAY.year, by="system:beat", at=moment(TODAY, 2))
    shut = _shut(region, maker)
    flags = sum(conduct.watch(on=_day(ago), by="system:beat", at=moment(_day(ago - 1), 2))
                for ago in (9, 6, 2))  # fmt: skip
    return (
        f"监管案件 {len(made) + 2} 件（暂停联网结算 1 人，其后申报{barred}；暂停科室 1 个，其后申报{shut}），"
        f"检查计划 2 个（名单 {len(plan)} 家），举报 2 件，内控 {flags} 项"
    )


def _day(ago: int) -> dt.date:
    return TODAY - dt.timedelta(days=ago)


def _user(name: str) -> User:
    return User.objects.get(username=name)


def _step(case: SupervisionCase, step: str, who: str, ago: int, **given: Any) -> None:
    person = _user(who)
    case_steps.take_step(
        case=case, step=step, who=person, by=who, at=moment(_day(ago), 14), **given
    )


def _claims(place: Institution, most: int) -> list[tuple[Claim, int]]:
    """Settled claims of a hospital that the fund paid and nobody cut, with what it paid."""
    cut = Deduction.objects.values("claim_id")
    rows = Settlement.objects.filter(institution_code=place.pk, version=1, fund__gt=0)
    rows = rows.exclude(claim_id__in=cut).order_by("claim_id")
    reversed_ = Settlement.objects.filter(institution_code=place.pk, version=2).values("claim_id")
    found = dict(rows.exclude(claim_id__in=reversed_).values_list("claim_id", "fund")[:most])
    return [(claim, found[claim.pk]) for claim in Claim.objects.filter(pk__in=found)]


def _begun(
    region: Region, key: str, ago: int, *, title: str, line: str, behaviour: str
) -> tuple[SupervisionCase, int] | None:
    """A case that is approved, with its inspectors and claims as evidence; its loss."""
    place = Institution.objects.get(pk=HOSPITALS[key].code)
    claims = _claims(place, 3)
    if not claims:
        return None
    case = cases.open_case(
        region=region, by=HANDLER, at=moment(_day(ago)),
        wanted=cases.Wanted(
            subject_kind="institution", subject_code=place.pk, institution_code=place.pk,
            acted_from=min(claim.service_date for claim, _ in claims),
            acted_until=max(claim.service_date for claim, _ in claims),
            title=title, summary=f"示例：{line}", behaviour=behaviour,
        ),
    )  # fmt: skip
    _step(case, "accept", CHIEF, ago, note="同意立案（示例）")
    at = moment(_day(ago), 16)
    for name, number, lead in ((HANDLER, "示例-0001", True), (SECOND, "示例-0002", False)):
        cases.name_inspector(
            case=case, username=name, certificate=number, lead=lead, by=HANDLER, at=at
        )
    for claim, fund in claims:
        cases.add_claim(case=case, claim_no=claim.claim_no, loss=fund, note="示例：同日重复收取诊察费",
                        by=HANDLER, at=at)  # fmt: skip
    return case, sum(fund for _, fund in claims)


def _told(loss: int) -> Mapping[str, str]:
    return {"route": "agreement", "found": "示例：经核对就诊记录与收费明细，所列单据系重复收费。",
            "loss": f"{loss // 100}.{loss % 100:02d}", "method": "portal",
            "receiver": "示例医保办"}  # fmt: skip


def _archived(region: Region) -> SupervisionCase | None:
    """From the line to the archive, then made public."""
    begun = _begun(region, OVER, 60, title="示例：重复收取诊察费", line="审核发现同日两次收取诊察费。",
                   behaviour="duplicate_charge")  # fmt: skip
    if begun is None:
        return None
    case, loss = begun
    doctor = Physician.objects.filter(institution=case.institution_code, kind="physician").first()
    at = moment(_day(55))
    give: dict[str, Any] = {"case": case, "by": HANDLER, "at": at}
    sanctions.propose(kind="recovery", amount=loss, scheme="resident", **give)
    sanctions.propose(kind="interview", note="示例：约谈医保办负责人", **give)
    if doctor is not None:
        sanctions.propose(kind="points", points=3, target=doctor.pk, **give)
    _step(case, "notify", HANDLER, 54, facts=_told(loss))
    _step(
        case,
        "record",
        HANDLER,
        50,
        facts={"text": "示例：系接口重复上传，愿意退回。", "waived": True},
    )
    _step(case, "consider", HANDLER, 49, note="示例：部分采纳，已考虑其主动退回。")
    _step(case, "decide_agreement", SIGNER, 45, note="示例：责令退回并约谈。")
    _step(case, "serve", HANDLER, 44, facts={"method": "direct", "receiver": "示例医保办"})
    for row in case.sanctions.filter(state="ordered").exclude(kind=interviews.KIND):
        sanctions.execute(sanction=row, on=_day(40), record="示例：已办理", who=_user(HANDLER),
                          at=moment(_day(40)))  # fmt: skip
    _interviewed(case.sanctions.get(kind=interviews.KIND))
    if doctor is not None:
        _repaired(doctor)
    _step(case, "close", CHIEF, 35, note="示例：执行完毕，同意结案。")
    _step(case, "archive", HANDLER, 34, note="示例：正卷一册。")
    case.refresh_from_db()
    shown = disclosures.propose(case=case, text="示例：该院同日重复收取诊察费，已责令退回并约谈负责人。",
                                by=HANDLER, at=moment(_day(33)))  # fmt: skip
    disclosures.approve(disclosure=shown, who=_user(POLICY), at=moment(_day(32)))
    disclosures.inform(case=case, organ="health", text="示例：请依法处理。", by=HANDLER,
                       at=moment(_day(31)))  # fmt: skip
    return case


def _interviewed(row: Sanction) -> None:
    """An interview from its notice to the minutes that the second inspector confirms."""
    handler, day = _user(HANDLER), _day(40)
    interviews.notify(
        sanction=row, who=handler, at=moment(_day(43)),
        wanted=interviews.Appointment(
            day, "上午9时，示例会议室", "示例医保办负责人", "示例：同日重复收取诊察费"
        ),
        service=writs.Service("direct", "示例医保办", _day(43)),
    )  # fmt: skip
    made = interviews.record(
        sanction=row, who=handler, at=moment(day, 16),
        minutes=interviews.Minutes(day, "示例医保办负责人、示例检查人员", "示例：系接口重复上传。",
                                   "示例：七日内完成接口整改。"),
    )  # fmt: skip
    interviews.confirm(interview=made, agree=True, reason="", who=_user(SECOND), at=moment(day, 17))


def _repaired(doctor: Physician) -> None:
    """A repair of points that was approved, and one that waits for its second person."""
    for ago, course in ((20, "示例：参加医保政策培训并考核合格"), (2, "示例：参与处方点评工作")):
        row = repairs.propose(practitioner=doctor, points=1, course=course, file=TRAINED,
                              by=HANDLER, at=moment(_day(ago)))  # fmt: skip
        if ago == 20:
            repairs.decide(repair=row, approve=True, note="示例：同意", who=_user(CHIEF),
                           at=moment(_day(ago - 1)))  # fmt: skip


def _running(region: Region) -> SupervisionCase | None:
    """Told two days ago: the hospital may speak."""
    begun = _begun(region, OPEN, 12, title="示例：涉嫌同日重复收费", line="检查发现同日两次收取诊察费。",
                   behaviour="duplicate_charge")  # fmt: skip
    if begun is None:
        return None
    case, loss = begun
    at = moment(_day(6))
    sanctions.propose(case=case, kind="recovery", amount=loss, scheme="resident", by=HANDLER, at=at)
    sanctions.propose(
        case=case, kind="suspend_agreement", note="示例：整改期间中止", by=HANDLER, at=at
    )
    _step(case, "notify", HANDLER, 3, facts=_told(loss))
    return case


def _barred(region: Region, maker: Maker) -> str:
    """A person suspended from settling online, and a later claim that is refused for it."""
    visit = maker.visit("nantong", hospital=OPEN, day=_day(3))
    draft = maker.nantong(visit)
    found = InsuredPerson.objects.get(id_hash=crypto.person_hash(visit.person.credential))
    case = cases.open_case(
        region=region, by=HANDLER, at=moment(_day(30)),
        wanted=cases.Wanted(
            subject_kind="person", subject_code=found.subject, institution_code="", person=found,
            title="示例：出借医保凭证", summary="示例：将本人医保电子凭证交由他人使用。",
            acted_from=_day(60), acted_until=_day(50),
        ),
    )  # fmt: skip
    _penalised(case, {"kind": "suspend_person", "article": "41", "months": 3}, "本人",
               ("出借凭证属实", "承认出借，表示改正", "暂停联网结算三个月"))  # fmt: skip
    return _received(draft)


def _shut(region: Region, maker: Maker) -> str:
    """A department that is suspended, and a later claim of it that is refused."""
    draft = maker.nantong(maker.visit("nantong", hospital=STOPPED, day=_day(3)))
    draft.body["encounter"]["department_code"] = "A50"
    place = HOSPITALS[STOPPED].code
    case = cases.open_case(
        region=region, by=HANDLER, at=moment(_day(30)),
        wanted=cases.Wanted(
            subject_kind="institution", subject_code=place, institution_code=place,
            title="示例：中医科虚报价格", summary="示例：中医科互联网门诊多次高于公布价格收费，拒不改正。",
            behaviour="inflated_price", acted_from=_day(60), acted_until=_day(50),
        ),
    )  # fmt: skip
    wanted = {"kind": "suspend_department", "article": "38", "months": 6, "target": "A50",
              "condition": "defiance", "note": "示例：责令改正后仍按原价格收费"}  # fmt: skip
    _penalised(case, wanted, "示例医保办",
               ("虚报价格属实，经责令拒不改正", "同意改正", "责令暂停中医科六个月"))  # fmt: skip
    return _received(draft)


def _penalised(
    case: SupervisionCase, measure: Mapping[str, Any], receiver: str, said: tuple[str, str, str]
) -> None:
    """From the opening of a case to its one measure carried out: what was found, answered, decided."""
    found, answer, decision = (f"示例：{words}。" for words in said)
    _step(case, "accept", CHIEF, 29, note="同意立案（示例）")
    at = moment(_day(29), 16)
    for name, number, lead in ((HANDLER, "示例-0001", True), (SECOND, "示例-0002", False)):
        cases.name_inspector(
            case=case, username=name, certificate=number, lead=lead, by=HANDLER, at=at
        )
    cases.add_file(case=case, title="示例：询问笔录", file=RECORD, by=HANDLER, at=at)
    sanctions.propose(case=case, by=HANDLER, at=at, **measure)
    _step(case, "notify", HANDLER, 28, facts={
        "route": "penalty", "article": measure["article"], "found": found, "loss": "0",
        "method": "portal", "receiver": receiver})  # fmt: skip
    _step(case, "record", HANDLER, 25, facts={"text": answer, "waived": True})
    _step(case, "consider", HANDLER, 24, note="示例：采纳。")
    _step(case, "decide_penalty", CHIEF, 22, note=decision)
    _step(case, "serve", HANDLER, 21, facts={"method": "direct", "receiver": receiver})
    for row in case.sanctions.filter(state="ordered"):
        sanctions.execute(sanction=row, on=_day(20), record="示例：已通知经办机构", who=_user(HANDLER),
                          at=moment(_day(20)))  # fmt: skip


def _received(draft: Draft) -> str:
    """What becomes of a claim that is sent three days ago."""
    place = Institution.objects.select_related("region").get(pk=draft.hospital.code)
    by = f"client:{client_id(draft.hospital.key)}"
    told = receive(institution=Claimant.of(place), claim=draft.body, by=by, at=moment(_day(3), 23))
    return Settlement.State(json.loads(told.body)["state"]).label


def _inspected(region: Region) -> InspectionPlan:
    """A plan that is drawn, with one of its visits recorded."""
    wanted = inspections.Wanted(
        title="示例：互联网诊疗诊察费专项检查", side="bureau", reason="示例：诊察费收取与处方审核",
        first_day=_day(10), last_day=TODAY + dt.timedelta(days=20),
        service_from=TODAY.replace(month=1, day=1), service_until=_day(11), wanted=2, per_task=2,
        checklist=[{"key": f"c{no}", "text": text} for no, text in enumerate(CHECKLIST, 1)],
    )  # fmt: skip
    plan = inspections.plan(region=region, wanted=wanted, who=_user(HANDLER),
                            at=moment(_day(20)))  # fmt: skip
    inspections.decide(plan=plan, approve=True, note="同意（示例）", who=_user(CHIEF),
                       at=moment(_day(18)))  # fmt: skip
    tasks = inspections.draw(plan=plan, seed=SEED, who=_user(HANDLER), at=moment(_day(10)))
    _announced(tasks[0], 6, 5)
    _announced(tasks[1], 1, -2)
    answers = {f"c{no}": "示例：抽查20份，相符" for no in range(1, len(CHECKLIST) + 1)}
    inspections.record(
        task=tasks[0], who=_user(HANDLER), at=moment(_day(4), 17),
        seen=inspections.Seen(_day(5), answers, "clean", "示例：未发现问题。"),
    )  # fmt: skip
    plan.refresh_from_db()
    return plan


def _announced(task: InspectionTask, ago: int, visit: int) -> None:
    """检查通知书 and its receipt."""
    coming = task.inspectors.filter(recused_at__isnull=True).values_list("pk", flat=True)
    shown = {key: f"示例{number:04d}" for number, key in enumerate(coming, 1)}
    inspection_papers.notify(
        task=task, who=_user(HANDLER), at=moment(_day(ago), 10),
        visit=inspection_papers.Visit(
            _day(visit), "示例：抽查期间的电子病历、处方、收费明细和购药记录。", shown
        ),
    )  # fmt: skip
    inspection_papers.serve(
        task=task, service=writs.Service("direct", "示例医保办", _day(ago)), who=_user(HANDLER),
        at=moment(_day(ago), 15),
    )  # fmt: skip


def _patrol(region: Region) -> None:
    """A patrol of the agency that waits for the agency's own approval."""
    wanted = inspections.Wanted(
        title="示例：互联网诊疗协议履行巡查", side="agency", reason="示例：协议约定的实名就医与票据上传",
        first_day=TODAY, last_day=TODAY + dt.timedelta(days=30), service_from=_day(90),
        service_until=_day(1), wanted=2, per_task=2,
        checklist=[{"key": f"c{no}", "text": text} for no, text in enumerate(CHECKLIST, 1)],
    )  # fmt: skip
    inspections.plan(region=region, wanted=wanted, who=_user(SECOND), at=moment(_day(1)))


def _complained(region: Region) -> None:
    """One that is looked into, one that waits."""
    code = HOSPITALS[OPEN].code
    first, _ = complaints.receive(
        region=region, at=moment(_day(8), 20),
        report=complaints.Report(
            about="示例医院互联网门诊", text="示例：同一天收了两次诊察费。", institution_code=code,
            behaviour="duplicate_charge", name="示例举报人", phone="13800000000"),
    )  # fmt: skip
    complaints.accept(complaint=first, by=SECOND, at=moment(_day(7)))
    complaints.receive(
        region=region, at=moment(_day(1), 15), by=SECOND,
        report=complaints.Report(about="示例药店", text="示例：用医保购买生活用品。",
                                 channel=Complaint.Channel.PHONE),
    )  # fmt: skip
