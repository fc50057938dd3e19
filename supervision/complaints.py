"""Complaints (举报): received without log-in, handled, answered, rewarded by the region's parameter.

Who reports stays unknown or, if named, is ciphertext that only a recorded reveal opens. A query code
that is shown once tells the reporter how it goes on. (温医保办〔2021〕6号 二十五 社会监督)
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet
from django.urls import reverse

from agreements import deadlines
from agreements.clocks import parameter_row
from agreements.models import Agreement
from audit import clock, tasks, trail
from audit.models import Task
from institutions import crypto, receipts
from institutions.calendar import MissingYear
from institutions.holidays import load_calendar
from institutions.models import Institution, Region, User
from institutions.refusals import Refusal, refused
from settlement.models import InsuredPerson
from settlement.terms import half_up
from supervision import cases
from supervision.models import Complaint, SupervisionCase

HANDLE = "complaints.handle"
REPORTER = "举报人"  #: the actor of a report: nobody is named
KIND = "complaint"
CLOCK, REWARD = "complaint_working_days", "complaint_reward"
State = Complaint.State


@dataclass(frozen=True)
class Report:
    """What somebody reports; name and phone only if the reporter gives them."""

    about: str
    text: str
    institution_code: str = ""
    behaviour: str = ""
    name: str = ""
    phone: str = ""
    channel: str = Complaint.Channel.WEB


@dataclass(frozen=True)
class Reward:
    """What a proven report earns in a region (fen), and by which row."""

    amount: int
    basis: str
    example: bool


# --- Receiving ---


def places(region: Region, on: dt.date) -> QuerySet[Institution]:
    """The institutions of an area that have, or had, an agreement by a day."""
    signed = Agreement.objects.filter(valid_from__lte=on).values("institution")
    return Institution.objects.filter(region__code__within=region.prefix, pk__in=signed)


def place_named(text: str, region: Region, on: dt.date) -> Institution:
    """The one institution of an area that a code or a whole name means."""
    name = text.strip()
    meant = Q(pk=name.upper()) | Q(name=name) | Q(internet_hospital_name=name)
    found = list(places(region, on).filter(meant)[:2])
    if len(found) != 1:
        raise refused("institution", "INSTITUTION_UNKNOWN",
                      "名单中没有这一机构，或有同名机构，请填写机构全称或编码",
                      "no such institution, or several")  # fmt: skip
    return found[0]


@transaction.atomic
def receive(
    *, region: Region, report: Report, at: dt.datetime, by: str = REPORTER
) -> tuple[Complaint, str]:
    """Keep a report, entered by whoever took the call or opened the letter unless it came by itself.

    Returns it with the query code, which is stored as a keyed hash only.
    """
    if not report.about.strip() or not report.text.strip():
        raise refused("text", "REQUIRED", "请填写被举报对象和举报内容", "say whom and what")
    if report.phone and not report.name:
        raise refused("name", "NAME_MISSING", "实名举报请填写姓名", "a name is needed")
    day = clock.local(at).date()
    series = f"JB{region.code}-{day.year}"
    code = receipts.new_code()
    number = f"{series}-{tasks.next_number(series):05d}"
    due, clause, unknown = _due(region, day)
    place = report.institution_code and place_named(report.institution_code, region, day).pk
    made = Complaint.objects.create(
        number=number, query_hash=receipts.hash_of(KIND, number, code), region_code=region.code,
        institution_code=place, about=report.about.strip()[:120], channel=report.channel,
        behaviour=report.behaviour, text=report.text.strip()[:4000], received_at=at, due=due,
        due_unknown=unknown, clause=clause, **_sealed(number, report),
    )  # fmt: skip
    _event(made, "receive", by, at, named=made.named, channel=made.channel, institution=place)
    tasks.open_task(
        subject=subject_of(made), permission=HANDLE, at=at, region_code=region.code,
        title=f"办理举报 {number}", procedure="complaint", status="待受理", due=due, clause=clause,
        due_unknown=unknown,
        url=reverse("complaint", args=[made.pk]),
    )  # fmt: skip
    return made, code


def _sealed(number: str, report: Report) -> dict[str, Any]:
    if not report.name:
        return {"named": False}
    sealed: dict[str, Any] = {
        "named": True, "name_masked": crypto.mask_name(report.name),
        "name_cipher": crypto.encrypt(report.name, bound_to=_bound(number, "name")),
    }  # fmt: skip
    if report.phone:
        sealed |= {
            "phone_masked": f"***{report.phone[-4:]}",
            "phone_cipher": crypto.encrypt(report.phone, bound_to=_bound(number, "phone")),
        }
    return sealed


def _bound(number: str, key: str) -> str:
    return f"complaint:{number}:{key}"


def _due(region: Region, day: dt.date) -> tuple[dt.date | None, str, int | None]:
    """Until when it is answered by the region's parameter, its clause, the year whose calendar is missing.

    Without a parameter there is no deadline.
    """
    row = parameter_row(region, CLOCK, day)
    if row is None or not isinstance(row.value, int):
        return None, "", None
    rule = {CLOCK: {"working_days": row.value, "clause": row.clause}}
    try:
        found = deadlines.clock(step=CLOCK, start=day, pauses=(), procedures=rule,
                                calendar=load_calendar(region.code))  # fmt: skip
    except MissingYear as gap:
        return None, row.clause, gap.year
    return found.day, row.clause, None


def refresh_unknown(*, year: int, by: str, at: dt.datetime) -> int:
    """A calendar year came in: deadlines that waited for one are computed anew; how many are known now."""
    rows = Complaint.objects.filter(due=None, state__in=(State.RECEIVED, State.ACCEPTED))
    moved = 0
    for row in rows.exclude(clause="").select_for_update():
        region = Region.objects.get(pk=row.region_code)
        row.due, _, row.due_unknown = _due(region, clock.local(row.received_at).date())
        row.save(update_fields=["due", "due_unknown"])
        Task.objects.filter(subject=subject_of(row), state=Task.State.OPEN).update(
            due=row.due, due_unknown=row.due_unknown
        )
        if row.due:
            moved += 1
            _event(row, "due", by, at, due=row.due)
    return moved


def progress(*, number: str, code: str) -> Complaint | None:
    """What the reporter is told: the report of a number whose code is right."""
    row = Complaint.objects.filter(number=number.strip().upper()).first()
    if row is None or bytes(row.query_hash) != receipts.hash_of(KIND, row.number, code):
        return None
    return row


# --- Handling ---


@transaction.atomic
def accept(*, complaint: Complaint, by: str, at: dt.datetime) -> Complaint:
    """Take a report up."""
    row = _locked(complaint, State.RECEIVED)
    row.state, row.handled_by = State.ACCEPTED, by
    row.save()
    _event(row, "accept", by, at)
    return row


@transaction.atomic
def attribute(
    *, complaint: Complaint, institution: Institution, by: str, at: dt.datetime
) -> Complaint:
    """Say which institution of the area a report is about, until a case is opened against it."""
    row = _locked(complaint, State.RECEIVED, State.ACCEPTED, State.PROVEN)
    if row.case_id:
        raise refused("institution", "CASE_OPENED", "该举报已立案", "there is a case", status=409)
    region = Region.objects.get(pk=row.region_code)
    place = place_named(institution.pk, region, clock.local(at).date())
    before, row.institution_code = row.institution_code, place.pk
    row.save(update_fields=["institution_code"])
    _event(row, "attribute", by, at, institution=place.pk, before=before)
    return row


@transaction.atomic
def answer(
    *, complaint: Complaint, state: str, text: str, by: str, at: dt.datetime, recovered: int = 0
) -> Complaint:
    """Answer a report: proven, not proven, or not taken up; what was proven may be rewarded."""
    sources = (State.RECEIVED,) if state == State.DECLINED else (State.ACCEPTED,)
    row = _locked(complaint, *sources)
    if state not in (State.PROVEN, State.UNPROVEN, State.DECLINED) or not text.strip():
        raise refused("text", "REQUIRED", "请填写结果和答复", "result and answer are needed")
    row.state, row.answer, row.answered_at = state, text.strip()[:1000], at
    row.handled_by, row.recovered = row.handled_by or by, recovered if state == State.PROVEN else 0
    row.save()
    tasks.close(subject=subject_of(row), by=by, at=at)
    _event(row, state, by, at, recovered=row.recovered)
    return row


@transaction.atomic
def open_case(
    *, complaint: Complaint, title: str, acted_from: dt.date, acted_until: dt.date, by: str,
    at: dt.datetime, person: InsuredPerson | None = None,
) -> SupervisionCase:  # fmt: skip
    """A case from a report about an institution or an insured person; the reporter is not named in it."""
    row = _locked(complaint, State.ACCEPTED)
    if row.case_id:
        raise refused("case", "CASE_OPENED", "该举报已立案", "there is a case", status=409)
    if not row.institution_code and person is None:
        raise refused("title", "SUBJECT_UNKNOWN", "请先指明被举报的机构，或者填写被举报的参保人，再提请立案",
                      "nobody is named")  # fmt: skip
    made = cases.open_case(
        region=Region.objects.get(pk=row.region_code), by=by, at=at,
        wanted=cases.Wanted(
            title=title, person=person, subject_kind="person" if person else "institution",
            subject_code=person.subject if person else row.institution_code,
            institution_code=row.institution_code, summary=row.text[:2000],
            acted_from=acted_from, acted_until=acted_until, behaviour=row.behaviour,
            origin=SupervisionCase.Origin.COMPLAINT, origin_ref=row.number,
        ),
    )  # fmt: skip
    row.case = made
    row.save(update_fields=["case"])
    _event(row, "case", by, at, case=made.number, institution=row.institution_code)
    return made


@transaction.atomic
def reveal(*, complaint: Complaint, reason: str, by: str, at: dt.datetime) -> tuple[str, str, str]:
    """Name and phone of a named reporter, and who took the reward, for a reason the trail keeps."""
    if not complaint.named or complaint.name_cipher is None:
        raise refused(
            "reason", "ANONYMOUS", "匿名举报，没有举报人信息", "it is anonymous", status=409
        )
    if not reason.strip():
        raise refused("reason", "REQUIRED", "请填写查看理由", "a reason is needed")
    _event(complaint, "reveal", by, at, reason=reason.strip())
    sealed = {
        "name": complaint.name_cipher, "phone": complaint.phone_cipher,
        "receiver": complaint.reward_receiver_cipher,
    }  # fmt: skip
    name, phone, receiver = (
        crypto.decrypt(bytes(text), bound_to=_bound(complaint.number, key)) if text else ""
        for key, text in sealed.items()
    )
    return name, phone, receiver


# --- Rewards ---


def reward_of(complaint: Complaint, day: dt.date) -> Reward | None:
    """What a proven named report earns: a share of what was proven, between floor and cap."""
    row = parameter_row(Region.objects.get(pk=complaint.region_code), REWARD, day)
    if row is None or not isinstance(row.value, Mapping) or not complaint.recovered:
        return None
    share, least, most = (row.value[key] for key in ("share", "least", "most"))
    amount = min(max(half_up(complaint.recovered, share), least), most)
    return Reward(amount, f"{row.label}（{row.clause}）", row.example)


@transaction.atomic
def propose_reward(*, complaint: Complaint, by: str, at: dt.datetime) -> Complaint:
    """Propose the reward that the region's parameter gives."""
    row = _locked(complaint, State.PROVEN)
    found = reward_of(row, clock.local(at).date())
    if not row.named or row.reward or found is None:
        raise refused("reward", "NO_REWARD", "匿名举报、没有查实金额、本统筹区没有奖励标准，或已提出奖励",
                      "no reward is due", status=409)  # fmt: skip
    row.reward, row.reward_basis, row.reward_example = found.amount, found.basis, found.example
    row.reward_proposed_by = by
    row.save()
    _event(row, "propose_reward", by, at, amount=row.reward)
    tasks.open_task(
        subject=subject_of(row), permission="cases.decide", at=at, region_code=row.region_code,
        title=f"审批举报奖励 {row.number}", procedure="complaint", status="待审批",
        url=reverse("complaint", args=[row.pk]), clause=row.clause,
    )  # fmt: skip
    return row


@transaction.atomic
def approve_reward(*, complaint: Complaint, who: User, at: dt.datetime) -> Complaint:
    """A second person approves the reward."""
    row = _locked(complaint, State.PROVEN)
    if not row.reward or row.reward_approved_by:
        raise refused("reward", "NOTHING_PROPOSED", "没有待审批的奖励", "nothing to approve",
                      status=409)  # fmt: skip
    if who.username == row.reward_proposed_by:
        raise refused("by", "SAME_PERSON", "提出奖励的人不能审批", "another person approves",
                      status=403)  # fmt: skip
    row.reward_approved_by, row.reward_approved_at = who.username, at
    row.save()
    tasks.close(subject=subject_of(row), by=who.username, at=at)
    _event(row, "approve_reward", who.username, at, amount=row.reward)
    tasks.open_task(
        subject=subject_of(row), permission=HANDLE, at=at, region_code=row.region_code,
        title=f"发放举报奖励 {row.number}", procedure="complaint", status="待发放",
        url=reverse("complaint", args=[row.pk]), clause=row.clause,
    )  # fmt: skip
    return row


@transaction.atomic
def pay_reward(
    *, complaint: Complaint, on: dt.date, receiver: str, receipt: str, who: User, at: dt.datetime
) -> Complaint:
    """Record that the approved reward was paid: when, to whom, by which receipt; not by its approver."""
    row = _locked(complaint, State.PROVEN)
    if not row.reward_approved_at or row.reward_paid_on:
        raise refused(
            "reward", "NOTHING_APPROVED", "没有待发放的奖励", "nothing to pay", status=409
        )
    if who.username == row.reward_approved_by:
        raise refused("by", "SAME_PERSON", "审批奖励的人不能登记发放", "another person pays",
                      status=403)  # fmt: skip
    if not receiver.strip() or not receipt.strip():
        raise refused("receiver", "REQUIRED", "请填写领取人和领取凭证号", "receiver and receipt")
    if not clock.local(row.reward_approved_at).date() <= on <= clock.local(at).date():
        raise refused("on", "DAY_OUTSIDE", "发放日应在批准日与今天之间", "the day is outside")
    row.reward_paid_on, row.reward_paid_by = on, who.username
    row.reward_receipt = receipt.strip()[:60]
    row.reward_receiver_masked = crypto.mask_name(receiver.strip())[:20]
    row.reward_receiver_cipher = crypto.encrypt(
        receiver.strip(), bound_to=_bound(row.number, "receiver")
    )
    row.save()
    tasks.close(subject=subject_of(row), by=who.username, at=at)
    _event(row, "pay_reward", who.username, at, amount=row.reward, on=on,
           receipt=row.reward_receipt)  # fmt: skip
    return row


def subject_of(complaint: Complaint) -> str:
    """What events and tasks call it."""
    return f"complaint:{complaint.pk}"


def _locked(complaint: Complaint, *states: str) -> Complaint:
    row = Complaint.objects.select_for_update().get(pk=complaint.pk)
    if row.state not in states:
        raise Refusal(409, "COMPLAINT_STATE", (f"该举报{row.get_state_display()}，不能办理",
                                               f"it is {row.state}"))  # fmt: skip
    return row


def _event(row: Complaint, what: str, by: str, at: dt.datetime, **detail: object) -> None:
    trail.record(
        by=by, at=at, action=f"complaint.{what}", subject=subject_of(row),
        region_code=row.region_code, detail={"number": row.number, **detail},
    )  # fmt: skip
