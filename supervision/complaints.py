"""Complaints (举报): received without log-in, handled, answered, rewarded by the region's parameter.

Who reports stays unknown or, if named, is ciphertext that only a recorded reveal opens. A query code
that is shown once tells the reporter how it goes on. (温医保办〔2021〕6号 二十五 社会监督)
"""

import datetime as dt
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.urls import reverse

from agreements import deadlines
from agreements.clocks import parameter_row
from audit import clock, tasks, trail
from institutions import crypto
from institutions.calendar import MissingYear
from institutions.holidays import load_calendar
from institutions.models import Institution, Region, User
from institutions.refusals import Refusal, refused
from settlement.terms import half_up
from supervision import cases
from supervision.models import Complaint, SupervisionCase

HANDLE = "complaints.handle"
REPORTER = "举报人"  #: the actor of a report: nobody is named
CLOCK, REWARD = "complaint_working_days", "complaint_reward"
State = Complaint.State
CODE_LETTERS, CODE_LENGTH = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789", 10


@dataclass(frozen=True)
class Report:
    """What somebody reports; name and phone only if the reporter gives them."""

    about: str
    text: str
    institution_code: str = ""
    behaviour: str = ""
    name: str = ""
    phone: str = ""


@dataclass(frozen=True)
class Reward:
    """What a proven report earns in a region (fen), and by which row."""

    amount: int
    basis: str
    example: bool


# --- Receiving ---


@transaction.atomic
def receive(*, region: Region, report: Report, at: dt.datetime) -> tuple[Complaint, str]:
    """Keep a report; returns it with the query code, which is stored as a keyed hash only."""
    if not report.about.strip() or not report.text.strip():
        raise refused("text", "REQUIRED", "请填写被举报对象和举报内容", "say whom and what")
    if report.phone and not report.name:
        raise refused("name", "NAME_MISSING", "实名举报请填写姓名", "a name is needed")
    day = clock.local(at).date()
    series = f"JB{region.code}-{day.year}"
    code = "".join(secrets.choice(CODE_LETTERS) for _ in range(CODE_LENGTH))
    number = f"{series}-{tasks.next_number(series):05d}"
    due, clause = _due(region, day)
    known = Institution.objects.filter(pk=report.institution_code).exists()
    made = Complaint.objects.create(
        number=number, query_hash=_hash(number, code), region_code=region.code,
        institution_code=report.institution_code if known else "", about=report.about.strip()[:120],
        behaviour=report.behaviour, text=report.text.strip()[:4000], received_at=at, due=due,
        clause=clause, **_sealed(number, report),
    )  # fmt: skip
    _event(made, "receive", REPORTER, at, named=made.named)
    tasks.open_task(
        subject=subject_of(made), permission=HANDLE, at=at, region_code=region.code,
        title=f"办理举报 {number}", procedure="complaint", status="待受理", due=due, clause=clause,
        url=reverse("complaint", args=[made.pk]),
    )  # fmt: skip
    return made, code


def _sealed(number: str, report: Report) -> dict[str, Any]:
    if not report.name:
        return {"named": False}
    sealed: dict[str, Any] = {
        "named": True, "name_masked": crypto.mask_name(report.name),
        "name_cipher": crypto.encrypt(report.name, bound_to=f"complaint:{number}:name"),
    }  # fmt: skip
    if report.phone:
        sealed |= {
            "phone_masked": f"***{report.phone[-4:]}",
            "phone_cipher": crypto.encrypt(report.phone, bound_to=f"complaint:{number}:phone"),
        }
    return sealed


def _hash(number: str, code: str) -> bytes:
    return crypto.keyed_hash("complaint", f"{number}:{code.strip().upper()}")


def _due(region: Region, day: dt.date) -> tuple[dt.date | None, str]:
    """Until when it is answered by the region's parameter; without one there is no deadline."""
    row = parameter_row(region, CLOCK, day)
    if row is None or not isinstance(row.value, int):
        return None, ""
    rule = {CLOCK: {"working_days": row.value, "clause": row.clause}}
    try:
        found = deadlines.clock(step=CLOCK, start=day, pauses=(), procedures=rule,
                                calendar=load_calendar(region.code))  # fmt: skip
    except MissingYear:
        return None, row.clause
    return found.day, row.clause


def progress(*, number: str, code: str) -> Complaint | None:
    """What the reporter is told: the report of a number whose code is right."""
    row = Complaint.objects.filter(number=number.strip().upper()).first()
    if row is None or bytes(row.query_hash) != _hash(row.number, code):
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
    at: dt.datetime,
) -> SupervisionCase:  # fmt: skip
    """A case from a report about an institution; the reporter is not named in it."""
    row = _locked(complaint, State.ACCEPTED)
    if row.case_id:
        raise refused("case", "CASE_OPENED", "该举报已立案", "there is a case", status=409)
    made = cases.open_case(
        region=Region.objects.get(pk=row.region_code), by=by, at=at,
        wanted=cases.Wanted(
            title=title, subject_kind="institution", subject_code=row.institution_code,
            institution_code=row.institution_code, summary=row.text[:2000],
            acted_from=acted_from, acted_until=acted_until, behaviour=row.behaviour,
            origin=SupervisionCase.Origin.COMPLAINT, origin_ref=row.number,
        ),
    )  # fmt: skip
    row.case = made
    row.save(update_fields=["case"])
    return made


@transaction.atomic
def reveal(*, complaint: Complaint, reason: str, by: str, at: dt.datetime) -> tuple[str, str]:
    """Name and phone of a named reporter, for a reason that the trail keeps."""
    if not complaint.named or complaint.name_cipher is None:
        raise refused(
            "reason", "ANONYMOUS", "匿名举报，没有举报人信息", "it is anonymous", status=409
        )
    if not reason.strip():
        raise refused("reason", "REQUIRED", "请填写查看理由", "a reason is needed")
    _event(complaint, "reveal", by, at, reason=reason.strip())
    bound = f"complaint:{complaint.number}"
    phone = complaint.phone_cipher
    return (
        crypto.decrypt(bytes(complaint.name_cipher), bound_to=f"{bound}:name"),
        crypto.decrypt(bytes(phone), bound_to=f"{bound}:phone") if phone else "",
    )


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
