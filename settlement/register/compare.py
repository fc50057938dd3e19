"""Reconciliation of the register with an extract: who differs on a day, and what is decided about it."""

import datetime as dt
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.urls import reverse

from audit import tasks, trail
from institutions import crypto
from institutions.exchange.columns import Record
from institutions.models import User, area_prefix
from institutions.refusals import Refusal, refused
from settlement.models import Entitlement, InsuredPerson, RegisterDifference, RegisterSheet
from settlement.register import commands, intake
from settlement.register.intake import ERRORS_KEPT, Purpose, State
from settlement.register.sheet import Extract, first_day
from settlement.register.store import CHUNK, Change, spans_of, write
from settlement.register.timeline import Span

Kind, Decision = RegisterDifference.Kind, RegisterDifference.State
Standing = Entitlement.Standing
INSURED = (Standing.ACTIVE, Standing.ARREARS, Standing.WAITING)
HANDLE = "persons.maintain"


@transaction.atomic
def compare(
    *, file_name: str, content: bytes, on: dt.date, who: User, by: str, at: dt.datetime
) -> RegisterSheet:  # fmt: skip
    """Compare the register with an extract as of a day. Wrong rows forbid the comparison.

    The same file for the same day leads to the comparison that was made.
    """
    region = intake.region_of(who)
    known = intake.taken(Purpose.COMPARE, region, intake.sm3(content), on)
    if known is not None:
        return known
    extract = intake.extracted(file_name, content, region)
    errors = extract.errors()
    sheet = RegisterSheet(
        purpose=Purpose.COMPARE, **intake.received(file_name, content, region), on=on,
        plan_sm3=intake.plan_of(extract.records), rows=len(extract.records),
        errors=[error.as_dict() for error in errors[:ERRORS_KEPT]],
        state=State.FAILED if errors else State.DONE, created_at=at, created_by=by, finished_at=at,
    )  # fmt: skip
    found = [] if errors else list(differences(extract, on))
    counts = Counter(row.kind for row in found)
    sheet.counts = {str(kind): counts[kind] for kind in Kind.values} | {
        "errors": len(errors), "wrong_rows": sum(1 for r in extract.records if r.errors),
        "same": 0 if errors else len(extract.of_person) - sum(
            count for kind, count in counts.items() if kind != Kind.ONLY_HERE),
    }  # fmt: skip
    sheet.save()
    for row in found:
        row.sheet, row.region_code = sheet, region
    RegisterDifference.objects.bulk_create(found, batch_size=CHUNK)
    if found:
        tasks.open_task(
            subject=f"register:{sheet.pk}", permission=HANDLE, at=at, region_code=region,
            title=f"参保信息核对（{on}）有{len(found)}处差异待处理", procedure="register",
            status="待处理", url=reverse("register-sheet", args=[sheet.pk]),
        )  # fmt: skip
    intake.noted(sheet, "compare", by=by, at=at, outcome="failed" if errors else "ok")
    return sheet


def differences(extract: Extract, on: dt.date) -> Iterator[RegisterDifference]:
    """Who differs on a day: one row per person, classed by what differs first."""
    ours = _ours(extract.region, on)
    for digest, records in extract.of_person.items():
        record = first_day(records, on)
        if record is None:
            continue
        found = _difference_of(extract, digest, record, ours.pop(digest, None))
        if found is not None:
            yield found
    for person, span in ours.values():
        if span.standing in INSURED:
            yield _difference(Kind.ONLY_HERE, person, ours=span)


def _difference_of(
    extract: Extract, digest: bytes, record: Record, held: tuple[InsuredPerson, Span] | None
) -> RegisterDifference | None:
    """How a row of the extract differs from what is held of that person on the day."""
    theirs = extract.span(record)
    if held is not None:
        kind = _kind(held[1], theirs)
        return (
            _difference(kind, held[0], row=record.row, ours=held[1], theirs=theirs)
            if kind
            else None
        )
    if theirs.standing not in INSURED:
        return None
    if person := extract.persons.get(digest):  # registered, but not on that day
        return _difference(Kind.DATES, person, row=record.row, theirs=theirs)
    return RegisterDifference(
        kind=Kind.ONLY_THERE, id_hash=digest, id_masked=crypto.mask_id(record.get("number")),
        name_masked=crypto.mask_name(record.get("name"))[:20], row=record.row, theirs=_told(theirs),
    )  # fmt: skip


def _ours(region: str, on: dt.date) -> dict[bytes, tuple[InsuredPerson, Span]]:
    """Who is registered here on a day, and how; one query."""
    rows = Entitlement.objects.known().in_force(on=on).filter(
        region_code__within=area_prefix(region)).select_related("person")  # fmt: skip
    fields = ("person__id_hash", "person__id_masked", "person__name_masked")
    narrow = ("scheme", "standing", "region_code", "valid_from", "valid_until", "source", "person")
    rows = rows.only(*narrow, *fields)
    return {bytes(row.person.id_hash): (row.person, spans_of([row])[0]) for row in rows}


def _kind(ours: Span, theirs: Span) -> str:
    """The first thing in which two spans differ; empty when they agree."""
    if ours.scheme != theirs.scheme:
        return Kind.SCHEME
    if ours.standing != theirs.standing:
        return Kind.STANDING
    return "" if (ours.first, ours.last) == (theirs.first, theirs.last) else Kind.DATES


def _difference(
    kind: str, person: InsuredPerson, *, row: int | None = None, ours: Span | None = None,
    theirs: Span | None = None,
) -> RegisterDifference:  # fmt: skip
    return RegisterDifference(
        kind=kind, person=person, id_hash=bytes(person.id_hash), id_masked=person.id_masked,
        name_masked=person.name_masked, row=row, ours=_told(ours), theirs=_told(theirs),
    )  # fmt: skip


def _told(span: Span | None) -> dict[str, Any]:
    if span is None:
        return {}
    return {"scheme": span.scheme, "standing": span.standing, "region": span.region,
            "from": span.first.isoformat(), "until": span.last.isoformat() if span.last else None,
            "source": span.source}  # fmt: skip


def _span(told: dict[str, Any]) -> Span:
    until = told["until"]
    return Span(
        dt.date.fromisoformat(told["from"]), dt.date.fromisoformat(until) if until else None,
        told["scheme"], told["standing"], told["region"], told["source"],
    )  # fmt: skip


# --- Working them off ---


@transaction.atomic
def decide(
    *, sheet: RegisterSheet, chosen: QuerySet[RegisterDifference], adopt: bool, reason: str,
    by: str, at: dt.datetime,
) -> int:  # fmt: skip
    """Decide differences, one or many, with one reason: follow the extract, or keep what is here.

    Every difference has its event. Adopting somebody known here alone ends the insurance from the day
    of the comparison on; somebody known there alone is enrolled. Returns how many were decided.
    """
    if not reason.strip():
        raise refused("reason", "REASON_MISSING", "请填写处理理由", "a reason is needed")
    rows = list(
        chosen.filter(sheet=sheet, state=Decision.OPEN).select_related("person").order_by("pk")
        .select_for_update(of=("self",))
    )  # fmt: skip
    if not rows:
        raise Refusal(409, "NOTHING_OPEN", ("所选差异已处理，请刷新", "nothing is open"))
    if adopt:
        _adopt(sheet, rows, by=by, at=at)
    state = Decision.ADOPTED if adopt else Decision.KEPT
    for row in rows:
        row.state, row.reason, row.decided_at, row.decided_by = state, reason.strip(), at, by
    RegisterDifference.objects.bulk_update(
        rows, ["state", "reason", "decided_at", "decided_by", "person"], batch_size=CHUNK
    )
    events = [
        trail.event_row(
            by=by, at=at, action=f"register.{state}", subject=f"difference:{row.pk}",
            region_code=row.region_code, person_hash=bytes(row.id_hash),
            detail={"sheet": sheet.pk, "kind": row.kind, "reason": row.reason, "ours": row.ours,
                    "theirs": row.theirs},
        )
        for row in rows
    ]  # fmt: skip
    type(events[0]).objects.bulk_create(events, batch_size=CHUNK)
    if not sheet.differences.filter(state=Decision.OPEN).exists():
        tasks.close(subject=f"register:{sheet.pk}", by=by, at=at)
    return len(rows)


def _adopt(
    sheet: RegisterSheet, rows: Sequence[RegisterDifference], *, by: str, at: dt.datetime
) -> None:
    """The register says what the extract says."""
    if sheet.on is None:
        raise Refusal(409, "NO_COMPARISON", ("这不是核对表", "not a comparison"))
    _enrol(sheet, [row for row in rows if row.kind == Kind.ONLY_THERE])
    changes = []
    for row in rows:
        if row.person is None:
            continue
        if row.kind == Kind.ONLY_HERE:
            ours = _span(row.ours)
            spans = [Span(sheet.on, None, ours.scheme, Standing.STOPPED, ours.region, _said(sheet))]
        else:
            spans = _aligned(row, _said(sheet))
        changes.append(Change(row.person, spans, "person.reconcile", {"difference": row.pk}))
    write(changes, by=by, at=at)


def _aligned(row: RegisterDifference, source: str) -> list[Span]:
    """The extract's span; days that only our span covered are ended (before) or stopped (after)."""
    theirs = _span(row.theirs)
    spans = [Span(theirs.first, theirs.last, *theirs.says(), source)]
    ours = _span(row.ours) if row.ours else None
    if ours is None:
        return spans
    stop = (ours.scheme, Standing.STOPPED, ours.region, source)
    same = ours.says() == theirs.says()
    if same and ours.first < theirs.first:
        spans.append(Span(ours.first, theirs.first - dt.timedelta(days=1), *stop))
    if same and theirs.last and (ours.last is None or ours.last > theirs.last):
        spans.append(Span(theirs.last + dt.timedelta(days=1), ours.last, *stop))
    return spans


def _said(sheet: RegisterSheet) -> str:
    return f"参保信息核对 {sheet.on} {sheet.file_name}"[:200]


def _enrol(sheet: RegisterSheet, rows: Sequence[RegisterDifference]) -> None:
    """New persons from the rows of the file; their number and name stand nowhere else."""
    if not rows:
        return
    extract = intake.extracted(sheet.file_name, intake.content_of(sheet), sheet.region_code)
    records = {record.row: record for record in extract.records}
    wanted = {bytes(row.id_hash): records[row.row] for row in rows if row.row in records}
    known = {bytes(person.id_hash): person for person in
             InsuredPerson.objects.filter(id_hash__in=list(wanted))}  # fmt: skip
    fresh = [
        InsuredPerson(
            **commands.identity(record.get("number"), record.get("name"), record.get("phone")),
            region_code=sheet.region_code, scheme=record.values["scheme"],
        )
        for digest, record in wanted.items() if digest not in known
    ]  # fmt: skip
    InsuredPerson.objects.bulk_create(fresh, batch_size=CHUNK)
    known |= {bytes(person.id_hash): person for person in fresh}
    for row in rows:
        row.person = known.get(bytes(row.id_hash))
