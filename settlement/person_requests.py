"""参保人申请: an application for a chronic disease, or a place at a counter, handed in without log-in.

Whoever hands in proves nothing and is told nothing of the register: a clerk compares name and number with
it, and only then there is a filing (settlement.filings), reviewed by another person as any other. What is
handed in is read with its number and a code that is shown once.
(温医保办〔2021〕6号 十三; 通医保发〔2020〕25号 三（三）)
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.urls import reverse

from audit import clock, tasks, trail
from audit.models import Move
from audit.procedure import PROCEDURES
from institutions import crypto, documents, receipts
from institutions.documents import content_of
from institutions.models import PERSONAL, Document, Region
from institutions.refusals import Refusal, refused
from settlement import appointments, filings
from settlement.filings import File
from settlement.models import AppointmentSlot, DiseaseFiling, PersonRequest, Reimbursement
from settlement.register import commands as register

HANDLE = "requests.handle"
APPLICANT = "参保人"  #: the actor of what is handed in: nobody is proven yet
MOST_FILES = 20  #: files of one request
Kind, State = PersonRequest.Kind, PersonRequest.State
SERIES = {Kind.DISEASE: "SQ", Kind.BOOKING: "YY"}


@dataclass(frozen=True)
class Somebody:
    """Who hands in, by their own word."""

    id_number: str
    name: str
    phone: str


# --- Handed in ---


@transaction.atomic
def apply(
    *, region: Region, who: Somebody, code: str, hospital: str, reason: str,
    files: Sequence[File], at: dt.datetime,
) -> tuple[PersonRequest, str]:  # fmt: skip
    """Take an application for a listed disease; it and the code, which is stored as a hash only."""
    listed = filings.Law.of(region.pk, clock.local(at).date()).diseases
    if code not in listed:
        raise refused("code", "DISEASE_UNKNOWN", "病种不在本统筹区目录内", "not a listed disease")
    return _kept(
        region, Kind.DISEASE, who, at, files, code=code, name=listed[code],
        hospital=hospital.strip()[:120], reason=reason.strip()[:500],
    )  # fmt: skip


@transaction.atomic
def book(
    *, region: Region, who: Somebody, slot_id: int, at: dt.datetime
) -> tuple[PersonRequest, str]:
    """Take a place of a time at a counter of the region; one at a time for a number."""
    slot = appointments.book(
        slot_id=slot_id, region_code=region.pk, at=at, on=clock.local(at).date()
    )
    digest = crypto.person_hash(register.checked_number(who.id_number))
    rows = PersonRequest.objects.filter(kind=Kind.BOOKING, slot=slot, state=State.RECEIVED)
    if rows.filter(id_hash=digest).exists():
        raise refused("slot", "BOOKED_ALREADY", "这一时段已用该证件号码预约", "booked", status=409)
    return _kept(region, Kind.BOOKING, who, at, (), slot=slot)


def _kept(
    region: Region, kind: str, who: Somebody, at: dt.datetime, files: Sequence[File], **more: Any
) -> tuple[PersonRequest, str]:
    series = f"{SERIES[Kind(kind)]}{region.pk}-{clock.local(at).year}"
    number, code = f"{series}-{tasks.next_number(series):05d}", receipts.new_code()
    made = PersonRequest.objects.create(
        number=number, query_hash=receipts.hash_of("request", number, code), kind=kind,
        region_code=region.pk, received_at=at, **_sealed(number, who), **more,
    )  # fmt: skip
    _store(made, files, at)
    _event(made, "receive", by=APPLICANT, at=at, kind=kind, code=made.code)
    _wait(made, at)
    return made, code


def _sealed(number: str, who: Somebody) -> dict[str, Any]:
    given = register.checked_number(who.id_number)
    return {
        "id_hash": crypto.person_hash(given), "id_masked": crypto.mask_id(given),
        "id_cipher": crypto.encrypt(given, bound_to=_bound(number, "id")),
        "name_masked": crypto.mask_name(who.name.strip()),
        "name_cipher": crypto.encrypt(who.name.strip(), bound_to=_bound(number, "name")),
        "phone_tail": who.phone[-4:],
        "phone_cipher": crypto.encrypt(who.phone, bound_to=_bound(number, "phone")),
    }  # fmt: skip


def _bound(number: str, key: str) -> str:
    return f"personrequest:{number}:{key}"


def _store(row: PersonRequest, files: Sequence[File], at: dt.datetime) -> None:
    """Keep materials under neutral names, as those of a filing."""
    if materials(row).count() + len(files) > MOST_FILES:
        raise refused(
            "papers", "TOO_MANY_FILES", f"一份申请至多 {MOST_FILES} 个文件", "too many files"
        )
    names = filings.Law.of(row.region_code, clock.local(at).date()).materials
    for material, name, content in files:
        if material not in names:
            raise refused("material", "MATERIAL_UNKNOWN", "没有这一类材料", "unknown material")
        documents.store(
            content=content, name=f"{names[material]}.{name.rpartition('.')[2][:9]}",
            kind=f"{PERSONAL}{material}"[:40], subject=row.subject, by=APPLICANT, at=at,
            region_code=row.region_code,
        )  # fmt: skip


def materials(row: PersonRequest) -> QuerySet[Document]:
    """What was handed in, oldest first."""
    return Document.objects.filter(subject=row.subject).order_by("pk")


def _wait(row: PersonRequest, at: dt.datetime) -> None:
    tasks.open_task(
        subject=row.subject, permission=HANDLE, at=at, region_code=row.region_code,
        title=f"核对参保人申请 {row.number}（{row.get_kind_display()}）", procedure="personrequest",
        status=row.get_state_display(), url=reverse("person-request", args=[row.pk]),
    )  # fmt: skip


# --- With number and code ---


def found(number: str, code: str) -> PersonRequest | None:
    """The request of a number whose code is right."""
    row = PersonRequest.objects.filter(number=number.strip().upper()).first()
    if row is None or bytes(row.query_hash) != receipts.hash_of("request", row.number, code):
        return None
    return row


def wants_papers(row: PersonRequest) -> bool:
    """Whether more materials are taken: until it is taken up, then while its filing is open."""
    if row.kind != Kind.DISEASE:
        return False
    return row.filing.closed_at is None if row.filing else row.state in PersonRequest.OPEN


def told(row: PersonRequest) -> tuple[str, str]:
    """(state, what it means) in words: after a filing was made, those of the filing."""
    if row.filing is None:
        return row.get_state_display(), row.answer
    case = row.filing
    last = Move.objects.filter(subject=case.subject).order_by("-pk").first()
    asked = last.facts.get("missing", ()) if last and case.state == "notice" else ()
    span = f"有效期 {case.valid_from} 至 {case.valid_until or '长期'}" if case.valid_from else ""
    refusal = last.note if last and case.state == "refused" else ""
    words = "；".join(filter(None, (*asked, span, refusal)))
    return PROCEDURES[filings.TABLE].states[case.state].label, words


@transaction.atomic
def add(*, request: PersonRequest, files: Sequence[File], at: dt.datetime) -> None:
    """Hand in more materials; a request that waited for them waits for the clerk again."""
    row = _locked(request)
    if not wants_papers(row):
        raise refused(
            "papers", "REQUEST_OVER", "该申请已办结，不能再补充材料", "it is over", status=409
        )
    if row.filing is not None:
        filings.attach(filing=row.filing, files=files, by=APPLICANT, at=at)
    else:
        _store(row, files, at)
        row.state = State.RECEIVED
        row.save(update_fields=["state"])
        _wait(row, at)
    _event(row, "add", by=APPLICANT, at=at, files=len(files))


@transaction.atomic
def withdraw(*, request: PersonRequest, at: dt.datetime) -> PersonRequest:
    """Take back what nobody has taken up; a booked place is free again."""
    return _ended(request, State.WITHDRAWN, "", by=APPLICANT, at=at)


# --- At the agency ---


@transaction.atomic
def ask(*, request: PersonRequest, answer: str, by: str, at: dt.datetime) -> PersonRequest:
    """Say which materials are missing; the person hands them in with number and code."""
    row = _locked(request, State.RECEIVED)
    if row.kind != Kind.DISEASE:
        raise refused(
            "answer", "NO_MATERIALS", "预约不需要材料", "a booking needs none", status=409
        )
    row.state, row.answer, row.handled_by = State.ASKED, _reason(answer), by
    row.save(update_fields=["state", "answer", "handled_by"])
    tasks.close(subject=row.subject, by=by, at=at)
    _event(row, "ask", by=by, at=at)
    return row


@transaction.atomic
def take(*, request: PersonRequest, by: str, at: dt.datetime) -> DiseaseFiling:
    """Name and number are those of a person of the register: the application goes to review.

    It stays the person's own: whoever compared may not be told from others, and reviews it like them.
    """
    row = _locked(request, *PersonRequest.OPEN)
    if row.kind != Kind.DISEASE:
        raise refused(
            "", "NOT_AN_APPLICATION", "预约在窗口登记手工报销时办结", "a booking", status=409
        )
    who = opened(row)
    person = register.known(who.id_number, who.name)
    area = Region.objects.get(pk=row.region_code).prefix
    if person is None or not person.region_code.startswith(area):
        raise refused(
            "", "PERSON_UNKNOWN", "参保登记中没有此人，或参保地不在本统筹区", "unknown", status=409
        )
    files = [(doc.kind.removeprefix(PERSONAL), doc.name, content_of(doc)) for doc in materials(row)]
    made = filings.apply(
        person=person, code=row.code, by=APPLICANT, at=at, files=files, reason=row.reason
    )
    row.state, row.filing, row.answer, row.handled_by = State.TAKEN, made, "", by
    row.save(update_fields=["state", "filing", "answer", "handled_by"])
    tasks.close(subject=row.subject, by=by, at=at)
    _event(row, "take", by=by, at=at, filing=made.number)
    return made


@transaction.atomic
def decline(*, request: PersonRequest, answer: str, by: str, at: dt.datetime) -> PersonRequest:
    """Do not take it up, with a reason that says nothing of the register."""
    return _ended(request, State.DECLINED, _reason(answer), by=by, at=at)


def opened(row: PersonRequest) -> Somebody:
    """Who handed in, in plain."""
    return Somebody(*(
        crypto.decrypt(bytes(cipher), bound_to=_bound(row.number, key))
        for key, cipher in (("id", row.id_cipher), ("name", row.name_cipher), ("phone", row.phone_cipher))
    ))  # fmt: skip


@transaction.atomic
def reveal(*, request: PersonRequest, reason: str, by: str, at: dt.datetime) -> Somebody:
    """Who handed in, in plain, for a reason that stands in the trail."""
    _event(request, "reveal", by=by, at=at, reason=_reason(reason))
    return opened(request)


def booked_by(digest: bytes, slot_id: int) -> PersonRequest | None:
    """The booking of a person for a time, locked."""
    rows = PersonRequest.objects.select_for_update(of=("self",)).select_related("slot")
    return rows.filter(
        kind=Kind.BOOKING, state=State.RECEIVED, id_hash=digest, slot_id=slot_id
    ).first()


def came(booking: PersonRequest, case: Reimbursement, *, by: str, at: dt.datetime) -> None:
    """Who booked has come: the place is the reimbursement's from now on."""
    booking.state, booking.reimbursement, booking.handled_by = State.TAKEN, case, by
    booking.save(update_fields=["state", "reimbursement", "handled_by"])
    tasks.close(subject=booking.subject, by=by, at=at)
    _event(booking, "take", by=by, at=at, reimbursement=case.number)


def _ended(
    request: PersonRequest, state: str, answer: str, *, by: str, at: dt.datetime
) -> PersonRequest:
    row = _locked(request, *PersonRequest.OPEN)
    slot: AppointmentSlot | None = row.slot
    if slot is not None and slot.day >= clock.local(at).date():
        appointments.give_back(slot=slot)
    row.state, row.answer, row.handled_by = state, answer, by
    row.save(update_fields=["state", "answer", "handled_by"])
    tasks.close(subject=row.subject, by=by, at=at)
    _event(row, "withdraw" if state == State.WITHDRAWN else "decline", by=by, at=at)
    return row


def _reason(text: str) -> str:
    if not text.strip():
        raise refused("answer", "REASON_MISSING", "请填写内容", "say what")
    return text.strip()[:500]


def _locked(request: PersonRequest, *states: str) -> PersonRequest:
    rows = PersonRequest.objects.select_for_update(of=("self",)).select_related("filing", "slot")
    row = rows.get(pk=request.pk)
    if states and row.state not in states:
        raise Refusal(
            409, "REQUEST_STATE",
            (f"该申请为“{row.get_state_display()}”，不能这样办理", f"the request is {row.state}"),
        )  # fmt: skip
    return row


def _event(row: PersonRequest, word: str, *, by: str, at: dt.datetime, **detail: Any) -> None:
    trail.record(
        by=by, at=at, action=f"personrequest.{word}", subject=row.subject,
        region_code=row.region_code, person_hash=bytes(row.id_hash),
        detail={"number": row.number} | detail,
    )  # fmt: skip
