"""门诊慢特病认定: applications for a person, their review, what they decide, their renewal.

Only listed diseases are paid for (温医保办〔2021〕6号 十三). The list, the time of review, the years of
validity and the materials are the region's parameters: what no data gives is not asked and not counted.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.urls import reverse

from agreements import deadlines
from agreements.clocks import parameter_row
from audit import clock, moves, procedure, tasks, trail
from audit.models import Move
from audit.procedure import Due, Handbook, Pauses, Procedure, Refused, State, Turn
from institutions import documents, news
from institutions.calendar import MissingYear, add_months
from institutions.holidays import load_calendar
from institutions.models import PERSONAL, Document, Institution, Region, User
from institutions.refusals import Refusal, refused
from pricing.releases import current
from settlement.models import ChronicDisease, DiseaseFiling, InsuredPerson

TABLE = "diseasefiling"
FILE, REVIEW = "diseases.file", "diseases.review"
#: the list that a region keeps without a document that pays by it
LISTED = "chronic_disease_list"
DAY = dt.timedelta(days=1)
File = tuple[str, str, bytes]  #: material, name and content of an upload
#: what is asked for where the region lists no materials
ANY = {"evidence": "证明材料"}


@dataclass(frozen=True)
class Law:
    """What a region's data says of recognising chronic diseases on a day; empty where it is silent.

    `document`, `clause`: what pays by the list (温州 十三), else what the list itself is referred to.
    """

    diseases: Mapping[str, str]
    materials: Mapping[str, str]
    months: int | None
    example: bool
    document: str = ""
    clause: str = ""

    @classmethod
    def of(cls, region_code: str, day: dt.date) -> "Law":
        """The region's list of diseases (as claims are judged by), materials and years of validity."""
        region = Region.objects.get(pk=region_code)
        policy = current().policy(region.policy_region, day)
        section = policy.policy.section("disease_list", {}) if policy else {}
        named = section.get("parameter", LISTED)
        rows = {
            key: parameter_row(region, key, day)
            for key in (named, "disease_filing_materials", "disease_filing_months")
        }  # fmt: skip
        listed, wanted, months = (rows.get(key) for key in (
            named, "disease_filing_materials", "disease_filing_months"))  # fmt: skip
        return cls(
            diseases={row["code"]: row["name"] for row in _value(listed)},
            materials={row["key"]: row["name"] for row in _value(wanted)} or ANY,
            months=months.value if months and isinstance(months.value, int) else None,
            example=any(row is not None and row.example for row in rows.values()),
            document=policy.policy.document if policy else "",
            clause=section.get("clause") or (listed.clause if listed else ""),
        )


def table_of(region_code: str, day: dt.date) -> Procedure:
    """The table as a region reads it: it cites the region's own document, never another's."""
    table, law = procedure.PROCEDURES[TABLE], Law.of(region_code, day)
    if law.document == table.document:
        return table
    return replace(
        table, document=law.document,
        states={key: replace(row, clause=law.clause) for key, row in table.states.items()},
        steps=tuple(replace(row, clause=law.clause) for row in table.steps),
    )  # fmt: skip


def _value(row: Any) -> Sequence[Mapping[str, str]]:
    return row.value if row is not None and isinstance(row.value, list) else ()


# --- Filing ---


@transaction.atomic
def apply(
    *, person: InsuredPerson, code: str, by: str, at: dt.datetime, files: Sequence[File] = (),
    reason: str = "", institution: Institution | None = None, renews: ChronicDisease | None = None,
) -> DiseaseFiling:  # fmt: skip
    """Apply for a person: by the agency's clerk, or by a hospital on the person's behalf."""
    InsuredPerson.objects.select_for_update(no_key=True).get(pk=person.pk)
    today = clock.local(at).date()
    law = Law.of(person.region_code, today)
    if not law.diseases:
        raise refused("code", "NO_DISEASE_LIST", "本统筹区没有已发布的慢特病目录",
                      "no list of diseases is published", clause=law.clause)  # fmt: skip
    if code not in law.diseases:
        raise refused("code", "DISEASE_UNKNOWN", "病种不在本统筹区目录内", "not a listed disease",
                      clause=law.clause)  # fmt: skip
    _free(person, code, today, renews)
    series = f"MB{person.region_code[:4]}-{today.year}"
    filing = DiseaseFiling(
        number=f"{series}-{tasks.next_number(series):05d}", person=person, code=code,
        name=law.diseases[code], reason=reason.strip(), renews=renews, procedure=TABLE,
        state=procedure.PROCEDURES[TABLE].first.key, entered_on=today,
        region_code=person.region_code, institution_code=institution.code if institution else "",
        opened_at=at, opened_by=by,
    )  # fmt: skip
    filing.save()
    attach(filing=filing, files=files, by=by, at=at)
    trail.record(
        by=by, at=at, action="diseasefiling.open", subject=filing.subject,
        region_code=filing.region_code, institution_code=filing.institution_code,
        person_hash=bytes(person.id_hash), detail={"number": filing.number, "code": code,
                                                   "renews": renews.pk if renews else None},
    )  # fmt: skip
    moves.opened(
        case=filing, procedure=table_of(filing.region_code, today), handbook=HANDBOOK, by=by, at=at,
        on=today, note=filing.reason,
    )  # fmt: skip
    return filing


def _free(person: InsuredPerson, code: str, today: dt.date, renews: ChronicDisease | None) -> None:
    """One application at a time; what is recognised without an end, or for long, needs none."""
    waiting = person.filings.filter(code=code, closed_at__isnull=True).first()
    if waiting is not None:
        raise refused("code", "FILING_WAITING", f"该病种的认定{waiting.number}尚在办理",
                      "an application is under way", status=409)  # fmt: skip
    held = person.diseases.known().filter(code=code).exclude(valid_until__lt=today).first()
    if renews is None and held is not None:
        raise refused("code", "DISEASE_FILED",
                      f"已认定，有效期至{held.valid_until or '长期'}，需要延长的请办理续期",
                      "the disease is recognised already", status=409)  # fmt: skip
    if renews is None:
        return
    if (renews.person_id, renews.code, renews.superseded_at) != (person.pk, code, None):
        raise refused("code", "RENEWS_ANOTHER", "续期的病种与原认定不符", "another recognition")
    if renews.valid_until is None:
        raise refused("code", "NO_END", "该认定长期有效，无须续期", "it has no end", status=409)


@transaction.atomic
def attach(*, filing: DiseaseFiling, files: Sequence[File], by: str, at: dt.datetime) -> None:
    """Keep materials of an open application under neutral names: file names tell whose they are."""
    if filing.closed_at is not None:
        raise refused("papers", "FILING_CLOSED", "该认定已办结，不能再补充材料", "it is closed",
                      status=409)  # fmt: skip
    names = Law.of(filing.region_code, clock.local(at).date()).materials
    for material, name, content in files:
        if material not in names:
            raise refused("material", "MATERIAL_UNKNOWN", "没有这一类材料", "unknown material")
        try:
            documents.store(
                content=content, name=f"{names[material]}{PurePath(name).suffix[:10]}",
                kind=f"{PERSONAL}{material}"[:40], subject=filing.subject, by=by, at=at,
                region_code=filing.region_code,
            )  # fmt: skip
        except Refusal as error:
            raise refused(f"file_{material}", error.code, *error.detail) from error


def materials(filing: DiseaseFiling) -> QuerySet[Document]:
    """The stored materials, oldest first."""
    return Document.objects.filter(subject=filing.subject).order_by("uploaded_at", "pk")


def missing(filing: DiseaseFiling, law: Law) -> list[str]:
    """Listed materials of which nothing is stored."""
    there = {kind.removeprefix(PERSONAL) for kind in
             materials(filing).values_list("kind", flat=True)}  # fmt: skip
    return [name for key, name in law.materials.items() if key not in there]


def take_step(
    *, filing: DiseaseFiling, step: str, who: User | None, by: str, at: dt.datetime,
    on: dt.date | None = None, note: str = "", facts: Mapping[str, Any] | None = None,
    version: int | None = None,
) -> Move:  # fmt: skip
    """Move an application; Refused when it may not, cannot, or lacks something."""
    table = table_of(filing.region_code, clock.local(at).date())
    return moves.advance(
        case=filing, procedure=table, handbook=HANDBOOK, step=step, who=who,
        level=who.level if who else "", by=by, at=at, on=on, note=note, facts=facts,
        version=version,
    )  # fmt: skip


# --- Checks ---


def another_person(turn: Turn) -> None:
    """Who applied does not review."""
    if turn.by == turn.case.opened_by:
        raise Refused(403, "SAME_PERSON", "申请人不能审核自己提交的认定", clause=turn.step.clause)


def disease_listed(turn: Turn) -> None:
    """The disease is still on the region's list."""
    if turn.case.code not in Law.of(turn.case.region_code, turn.on).diseases:
        raise Refused(422, "DISEASE_UNKNOWN", "病种已不在本统筹区目录内", clause=turn.step.clause)


def materials_complete(turn: Turn) -> None:
    """Every listed material is there; all that are missing are named at once."""
    lacking = missing(turn.case, Law.of(turn.case.region_code, turn.on))
    if lacking:
        raise Refused(422, "MATERIAL_MISSING", f"缺少材料：{'、'.join(lacking)}",
                      clause=turn.step.clause)  # fmt: skip


def validity_sound(turn: Turn) -> None:
    """The validity lies in order, within the region's years, and beside what is recognised already."""
    first, last = validity(turn)
    earliest = clock.local(turn.case.opened_at).date()
    if turn.case.renews and turn.case.renews.valid_until:
        earliest = min(earliest, turn.case.renews.valid_until + DAY)
    if first < earliest:
        raise Refused(422, "VALID_TOO_EARLY", f"有效期不能早于{earliest}", field="valid_from")
    if last is not None and last < first:
        raise Refused(422, "DATES_REVERSED", "止日不得早于起日", field="valid_until")
    months = Law.of(turn.case.region_code, turn.on).months
    if months is not None and last is not None and last > add_months(first, months) - DAY:
        raise Refused(422, "VALID_TOO_LONG", f"认定有效期至多{months}个月", field="valid_until",
                      clause=turn.step.clause)  # fmt: skip
    rows = ChronicDisease.objects.known().filter(person=turn.case.person_id, code=turn.case.code)
    rows = rows.exclude(valid_until__lt=first)
    other = (rows if last is None else rows.filter(valid_from__lte=last)).first()
    if other is not None:
        raise Refused(409, "DISEASE_FILED",
                      f"与已有认定（{other.valid_from}至{other.valid_until or '长期'}）重叠",
                      field="valid_from")  # fmt: skip


def validity(turn: Turn) -> tuple[dt.date, dt.date | None]:
    """The span that is approved: without an end the region's years decide, if it has them."""
    first = _day(turn, "valid_from")
    given = turn.facts.get("valid_until")
    if given:
        return first, _day(turn, "valid_until")
    months = Law.of(turn.case.region_code, turn.on).months
    return first, add_months(first, months) - DAY if months else None


def _day(turn: Turn, key: str) -> dt.date:
    try:
        return dt.date.fromisoformat(str(turn.facts.get(key) or ""))
    except ValueError:
        raise Refused(422, "DAY_WRONG", "应为日期，如 2021-12-01", field=key) from None


def end_sound(turn: Turn) -> None:
    """It ends within its own validity, and not before today: what was paid stays paid."""
    last = _day(turn, "last")
    row = _recognition(turn.case)
    if row is None or last < row.valid_from or (row.valid_until and last >= row.valid_until):
        raise Refused(422, "DAY_OUTSIDE", "最后有效日须在原有效期之内", field="last")
    if last < clock.local(turn.at).date():
        raise Refused(
            422, "DAY_PAST", "最后有效日不能早于今天：已结算的费用不因此改变", field="last"
        )


def recognition_over(turn: Turn) -> None:
    """Only what has passed its last day expires by itself."""
    last = turn.case.valid_until
    if last is None or last >= turn.on:
        raise Refused(409, "RECOGNITION_VALID", "该认定仍在有效期内", clause=turn.step.clause)


# --- Effects ---


def recognise(turn: Turn) -> None:
    """The disease is recognised, known from now on: claims settled before were settled without it."""
    first, last = validity(turn)
    case: DiseaseFiling = turn.case
    case.valid_from, case.valid_until = first, last
    ChronicDisease.objects.create(
        person_id=case.person_id, code=case.code, name=case.name, valid_from=first,
        valid_until=last, filing=case, recorded_at=turn.at, recorded_by=turn.by,
    )  # fmt: skip
    if case.renews_id:
        tasks.close(subject=f"chronicdisease:{case.renews_id}", by=turn.by, at=turn.at)


def end_recognition(turn: Turn) -> None:
    """The recognition ends on a day; what was known of it until now stays in the history."""
    case: DiseaseFiling = turn.case
    row = _recognition(case)
    if row is None:
        raise Refused(409, "NOT_RECOGNISED", "没有有效的认定", clause=turn.step.clause)
    row.superseded_at = turn.at
    row.save(update_fields=["superseded_at"])
    case.valid_until = _day(turn, "last")
    ChronicDisease.objects.create(
        person_id=case.person_id, code=case.code, name=case.name, valid_from=row.valid_from,
        valid_until=case.valid_until, filing=case, recorded_at=turn.at, recorded_by=turn.by,
    )  # fmt: skip


def _recognition(case: DiseaseFiling) -> ChronicDisease | None:
    return case.diseases.known().first()


# --- Clock and words ---


def due(case: DiseaseFiling, state: State, start: dt.date, pauses: Pauses) -> Due:
    """The last day of the review by the region's parameter; without one there is no deadline."""
    key = state.within or state.stops
    rule = procedure.PROCEDURES[TABLE].data["clocks"][key]
    region = Region.objects.get(pk=case.region_code)
    row = parameter_row(region, rule["parameter"], case.entered_on)
    if row is None or not isinstance(row.value, int):
        return Due(None, clause=state.clause)
    law = {key: {"working_days": row.value, "clause": state.clause}}
    try:
        found = deadlines.clock(step=key, start=start, pauses=pauses, procedures=law,
                                calendar=load_calendar(case.region_code))  # fmt: skip
    except MissingYear as gap:
        return Due(None, clause=state.clause, unknown=gap.year)
    return Due(found.day, nominal=found.nominal if found.day else None, clause=found.clause)


def review_time_is_example(case: DiseaseFiling) -> bool:
    """Whether the time of review comes from an example parameter (示例)."""
    key = procedure.PROCEDURES[TABLE].data["clocks"]["review"]["parameter"]
    row = parameter_row(Region.objects.get(pk=case.region_code), key, case.entered_on)
    return row is not None and row.example


def describe(case: DiseaseFiling) -> str:
    """What the tasks of an application are called: the person masked."""
    what = "慢特病续期" if case.renews_id else "慢特病认定"
    return f"{case.person.name_masked}{case.name}{what}（{case.number}）"


def place(case: DiseaseFiling) -> str:
    """The address of an application."""
    return reverse("disease-filing", args=[case.pk])


def told(turn: Turn, state: State) -> None:
    """Whoever has to go on is told; at the end whoever applied."""
    case = turn.case
    news.tell(
        permission=state.holder or FILE, region_code=case.region_code,
        institution_code=case.institution_code, text=f"{describe(case)}：{turn.step.label}",
        url=place(case), subject=case.subject, at=turn.at,
    )  # fmt: skip


HANDBOOK = Handbook(
    checks={
        "another_person": another_person, "disease_listed": disease_listed,
        "materials_complete": materials_complete, "validity_sound": validity_sound,
        "end_sound": end_sound, "recognition_over": recognition_over,
    },
    effects={"recognise": recognise, "end_recognition": end_recognition},
    due=due, describe=describe, place=place, told=told,
)  # fmt: skip


# --- What ends soon ---


def watch(*, on: dt.date, by: str, at: dt.datetime) -> dict[str, int]:
    """Every morning: what is over expires, what ends soon asks to be renewed."""
    rows = DiseaseFiling.objects.filter(state="approved", valid_until__lt=on)
    over = list(rows.select_related("person"))
    for filing in over:
        take_step(filing=filing, step="expire", who=None, by=by, at=at)
        for row in filing.diseases.all():
            tasks.close(subject=f"chronicdisease:{row.pk}", by=by, at=at)
    soon = list(ending(on=on, within=settings.REGISTRY_WARN_DAYS))
    for row in soon:
        remind(row, at=at)
    return {"expired": len(over), "reminded": len(soon)}


def ending(*, on: dt.date, within: int) -> QuerySet[ChronicDisease]:
    """Recognitions that end within some days and are neither renewed nor being renewed."""
    known = ChronicDisease.objects.known()
    after = known.filter(
        person=OuterRef("person"), code=OuterRef("code"), valid_from__gt=OuterRef("valid_until")
    )
    under_way = DiseaseFiling.objects.filter(renews=OuterRef("pk"), closed_at__isnull=True)
    rows = known.filter(valid_until__range=(on, on + dt.timedelta(days=within)))
    rows = rows.filter(~Exists(after), ~Exists(under_way))
    return rows.select_related("person", "filing").order_by("valid_until", "pk")


def remind(row: ChronicDisease, *, at: dt.datetime) -> None:
    """A task for whoever applied: tell the person in time."""
    code = row.filing.institution_code if row.filing else ""
    tasks.open_task(
        subject=f"chronicdisease:{row.pk}", permission=FILE, at=at,
        title=f"{row.person.name_masked}的{row.name}认定将于{row.valid_until}到期，请提醒续期",
        region_code=row.person.region_code, institution_code=code, procedure="expiry",
        status="临近到期", due=row.valid_until,
        clause=Law.of(row.person.region_code, clock.local(at).date()).clause,
        url=f"{reverse('disease-filing-new')}?renews={row.pk}",
    )  # fmt: skip


def refresh_unknown(*, year: int, by: str, at: dt.datetime) -> int:
    """Clocks that waited for a calendar year are computed anew; how many moved."""
    rows = DiseaseFiling.objects.filter(due_unknown=year).select_related("person")
    day = clock.local(at).date()
    return sum(
        moves.refresh(case=row, procedure=table_of(row.region_code, day), handbook=HANDBOOK, at=at)
        for row in rows
    )
