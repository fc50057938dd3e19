"""What follows a decided case: making it public, telling other authorities, lending its file.

A case is made public when its decision is final, masked, by two persons, for the region's time.
(温医保办〔2021〕6号 二十七；国务院令第735号 第34条)
"""

import datetime as dt
import re
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet

from agreements.clocks import parameter_row
from audit import clock, tasks, trail
from institutions import crypto
from institutions.calendar import add_months
from institutions.crypto import mask_name
from institutions.models import Physician, Region, User
from institutions.refusals import refused
from settlement.models import Claim, InsuredPerson
from settlement.register.commands import opened
from supervision import case_losses, case_steps, law, sanctions, writs
from supervision.hands import handle_of, head_of, refuse_recused
from supervision.models import ArchiveLoan, CasePaper, Disclosure, SupervisionCase

PUBLISH, BORROW = "disclosures.publish", "archive.borrow"
TIME = "disclosure_months"
DAY = dt.timedelta(days=1)
IDENTITY = re.compile(r"\d{17}[\dXx]")
Subject = SupervisionCase.Subject
#: to whom a decided case is told
ORGANS = {"health": "卫生健康主管部门", "market": "市场监督管理部门"}


# --- In public ---


@transaction.atomic
def propose(*, case: SupervisionCase, text: str, by: str, at: dt.datetime) -> Disclosure:
    """Propose to make a final case public; the text is what the public reads, without names."""
    found = SupervisionCase.objects.select_for_update().get(pk=case.pk)
    refuse_recused(found, by)
    if found.final_on is None or found.decided_on is None:
        raise refused("case", "NOT_FINAL", "处理决定尚未生效结案，不能公开", "the decision is not final",
                      status=409, clause=law.decree().cite("34"))  # fmt: skip
    if not text.strip():
        raise refused("text", "REQUIRED", "请填写公开内容", "a text is needed")
    names = _names(found)
    _refuse_names(found, text, names)
    paper = found.papers.filter(kind__in=("decision", "transfer")).latest("pk")
    first = clock.local(at).date()
    last, example = _time(found, first)
    try:
        with transaction.atomic():
            made = Disclosure.objects.create(
                case=found, region_code=found.region_code, institution_code=found.institution_code,
                subject=subject_of(found), subject_kind=found.subject_kind,
                title=_masked(found, found.title, names)[:120],
                decision_no=paper.number, decided_on=found.decided_on, text=text.strip()[:2000],
                measures=[_measure(row) for row in found.sanctions.filter(state="done")],
                first_day=first, last_day=last, example=example, proposed_by=by, proposed_at=at,
            )  # fmt: skip
    except IntegrityError as error:
        raise refused("case", "DISCLOSED_BEFORE", "本案已提出公开", "proposed before",
                      status=409) from error  # fmt: skip
    _event(found, "disclosure.propose", by, at, last=last)
    tasks.open_task(
        subject=f"disclosure:{made.pk}", permission=PUBLISH, at=at, region_code=found.region_code,
        title=f"审批案件公开 {found.number}", procedure="disclosure", status="待审批",
        url=case_steps.place(found), clause=case_steps.document("34"),
    )  # fmt: skip
    return made


def _names(case: SupervisionCase) -> list[str]:
    """Whom the public must not read of: practitioners there, persons of the case and of its claims."""
    place = case.institution_code
    doctors = Physician.objects.filter(Q(institution=place) | Q(posts__institution=place))
    found = set(doctors.values_list("name", flat=True)) if place else set()
    if case.subject_kind not in (Subject.INSTITUTION, Subject.PERSON):
        found.add(case.subject_name)
    claims = case_losses.claims_of(case.evidence.all())
    people = set(Claim.objects.filter(pk__in=claims).values_list("person_id", flat=True))
    people |= {case.person_id} if case.person_id else set()
    for row in InsuredPerson.objects.filter(pk__in=people):
        found.add(opened(row, "name", row.name_cipher))
    return sorted((name for name in found if len(name) > 1), key=len, reverse=True)


def _besides(case: SupervisionCase, text: str) -> list[str]:
    """A text between the institution's names, which may be public even where a person's is in them."""
    place = writs.institution_of(case.institution_code)
    own = (place.name, place.internet_hospital_name) if place else ()
    known = "|".join(re.escape(name) for name in own if name)
    return re.split(f"({known})", text) if known else [text]


def _refuse_names(case: SupervisionCase, text: str, names: list[str]) -> None:
    said = "\n".join("".join(part.split()) for part in _besides(case, text)[::2])
    if any(name in said for name in names) or IDENTITY.search(said):
        raise refused("text", "NAME_IN_TEXT", "公开内容不得写明个人姓名和证件号码",
                      "no personal names or numbers")  # fmt: skip


def _masked(case: SupervisionCase, text: str, names: list[str]) -> str:
    """A text with each name masked."""
    parts = _besides(case, text)
    for name in names:
        parts[::2] = [part.replace(name, mask_name(name)) for part in parts[::2]]
    return IDENTITY.sub(lambda found: crypto.mask_id(found[0]), "".join(parts))


def subject_of(case: SupervisionCase) -> str:
    """The party as the public reads it: institutions by name, everybody else masked."""
    if case.subject_kind == Subject.INSTITUTION:
        return case.subject_name
    if case.subject_kind == Subject.PERSON:
        return f"参保人员{case.subject_name[:1]}某"
    place = writs.institution_of(case.institution_code)
    where = place.name if place else ""
    return f"{where}{case.get_subject_kind_display()}{mask_name(case.subject_name)}"[:120]


def _measure(row: Any) -> dict[str, str]:
    told = sanctions.told(row)
    return {"label": told["label"], "size": told["size"], "clause": told["clause"]}


def _time(case: SupervisionCase, first: dt.date) -> tuple[dt.date | None, bool]:
    """Until when, by the region's parameter; without one until it is withdrawn."""
    row = parameter_row(Region.objects.get(pk=case.region_code), TIME, first)
    if row is None or not isinstance(row.value, int):
        return None, False
    return add_months(first, row.value) - DAY, row.example


@transaction.atomic
def approve(*, disclosure: Disclosure, who: User, at: dt.datetime) -> Disclosure:
    """A second person publishes."""
    row = Disclosure.objects.select_for_update().get(pk=disclosure.pk)
    if row.approved_by or row.withdrawn_at:
        raise refused("state", "DECIDED_BEFORE", "已公开或已撤下", "decided before", status=409)
    if row.proposed_by == who.username:
        raise refused("by", "SAME_PERSON", "提出公开的人不能审批", "another person approves",
                      status=403)  # fmt: skip
    _refuse_names(row.case, f"{row.title}\n{row.text}", _names(row.case))
    row.approved_by, row.approved_at = who.username, at
    row.save()
    tasks.close(subject=f"disclosure:{row.pk}", by=who.username, at=at)
    _event(row.case, "disclosure.publish", who.username, at, decision=row.decision_no)
    return row


@transaction.atomic
def withdraw(*, disclosure: Disclosure, reason: str, by: str, at: dt.datetime) -> Disclosure:
    """Take a disclosure down, for a reason that is kept."""
    row = Disclosure.objects.select_for_update().get(pk=disclosure.pk)
    if row.withdrawn_at or not reason.strip():
        raise refused("reason", "REQUIRED", "请填写撤下理由", "a reason is needed")
    row.withdrawn_at, row.withdrawn_by, row.withdrawn_for = at, by, reason.strip()[:300]
    row.save()
    tasks.close(subject=f"disclosure:{row.pk}", by=by, at=at)
    _event(row.case, "disclosure.withdraw", by, at, reason=row.withdrawn_for)
    return row


def published(*, on: dt.date) -> QuerySet[Disclosure]:
    """What the public reads on a day."""
    rows = Disclosure.objects.exclude(approved_by="").filter(withdrawn_at__isnull=True)
    return rows.filter(Q(last_day__isnull=True) | Q(last_day__gte=on), first_day__lte=on)


# --- To other authorities ---


@transaction.atomic
def inform(*, case: SupervisionCase, organ: str, text: str, by: str, at: dt.datetime) -> CasePaper:
    """案件通报函 to the health or the market authority, with its own number."""
    found = SupervisionCase.objects.select_for_update().get(pk=case.pk)
    refuse_recused(found, by)
    if found.decided_on is None:
        raise refused("case", "NOT_DECIDED", "尚未作出处理决定，不能通报", "nothing is decided",
                      status=409)  # fmt: skip
    if organ not in ORGANS or not text.strip():
        raise refused("text", "REQUIRED", "请选择部门并填写通报内容", "whom and what")
    region = Region.objects.get(pk=found.region_code)
    paper = found.papers.filter(kind__in=("decision", "transfer")).latest("pk")
    made = writs.make_paper(
        found, CasePaper.Kind.INFORM,
        {"case": found.number, "title": found.title, "subject": found.subject_name,
         "decision": paper.number, "text": text.strip()[:2000],
         "measures": [sanctions.told(row) for row in
                      found.sanctions.filter(state__in=("ordered", "done"))]},
        on=clock.local(at).date(), by=by, at=at, addressee=f"{region.name}{ORGANS[organ]}",
    )  # fmt: skip
    _event(found, "supervisioncase.inform", by, at, organ=organ, number=made.number)
    return made


# --- The archive ---


@transaction.atomic
def ask_loan(
    *, case: SupervisionCase, purpose: str, until: dt.date, who: User, at: dt.datetime
) -> ArchiveLoan:
    """Ask for the file of an archived case; one borrower at a time."""
    found = SupervisionCase.objects.select_for_update().get(pk=case.pk)
    if found.state != "archived":
        raise refused("case", "NOT_ARCHIVED", "案卷尚未归档", "not in the archive", status=409)
    if not purpose.strip() or until < clock.local(at).date():
        raise refused("until", "REQUIRED", "请填写事由和不早于今天的应还日", "purpose and a day")
    try:
        with transaction.atomic():
            made = ArchiveLoan.objects.create(case=found, purpose=purpose.strip()[:300],
                                              until=until, asked_by=who.username, asked_at=at)  # fmt: skip
    except IntegrityError as error:
        raise refused(
            "case", "LENT_OUT", "案卷已借出或有人申请", "it is lent", status=409
        ) from error
    _event(found, "archive.ask", who.username, at, archive=found.archive_no, purpose=made.purpose)
    tasks.open_task(
        subject=f"archiveloan:{made.pk}", permission=head_of(found), at=at,
        title=f"审批借阅案卷 {found.archive_no}", region_code=found.region_code,
        procedure="archive", status="待批准", url=case_steps.place(found),
    )  # fmt: skip
    return made


@transaction.atomic
def lend(*, loan: ArchiveLoan, who: User, at: dt.datetime) -> ArchiveLoan:
    """Another person approves a loan."""
    row = ArchiveLoan.objects.select_for_update().get(pk=loan.pk)
    if row.approved_by or row.returned_at:
        raise refused("state", "DECIDED_BEFORE", "已批准或已归还", "decided before", status=409)
    if row.asked_by == who.username:
        raise refused("by", "SAME_PERSON", "借阅人不能批准自己的借阅", "another person", status=403)
    row.approved_by, row.approved_at = who.username, at
    row.save()
    subject = f"archiveloan:{row.pk}"
    tasks.close(subject=subject, by=who.username, at=at)
    tasks.open_task(
        subject=subject, permission=handle_of(row.case), at=at, region_code=row.case.region_code,
        title=f"收回借出的案卷 {row.case.archive_no}", procedure="archive", status="借出中",
        url=case_steps.place(row.case), due=row.until,
    )  # fmt: skip
    _event(row.case, "archive.lend", who.username, at, to=row.asked_by, until=row.until)
    return row


@transaction.atomic
def give_back(*, loan: ArchiveLoan, by: str, at: dt.datetime) -> ArchiveLoan:
    """The file is back."""
    row = ArchiveLoan.objects.select_for_update().get(pk=loan.pk)
    if row.returned_at:
        raise refused("state", "RETURNED", "已归还", "returned before", status=409)
    row.returned_at, row.returned_to = at, by
    row.save()
    tasks.close(subject=f"archiveloan:{row.pk}", by=by, at=at)
    _event(row.case, "archive.return", by, at, of=row.asked_by)
    return row


def _event(case: SupervisionCase, action: str, by: str, at: dt.datetime, **detail: object) -> None:
    trail.record(
        by=by, at=at, action=action, subject=case.subject, region_code=case.region_code,
        institution_code=case.institution_code, detail={"number": case.number, **detail},
    )  # fmt: skip
