"""Physicians, pharmacists and nurses: licence, dated titles, the agreements that bind them."""

import datetime as dt
import re
from collections.abc import Collection, Mapping
from typing import Any

from django.db import transaction
from django.urls import reverse

from audit import tasks
from institutions.commands.facts import DAY, locked, noted
from institutions.commands.records import touching
from institutions.law import law_for
from institutions.models import Institution, Physician, PhysicianAgreement, PhysicianTitle, Post
from institutions.refusals import Refusal, refused

CODE = re.compile(r"^[A-Z0-9]{6,20}$")
AREA = re.compile(r"^\d{6}$")
CHECK = "practitioner"  #: the tasks of checking what an institution registers
COMPARE = "registry.check"  #: who compares a registration with the papers
ELSEWHERE = "该编码已在其他机构登记"  #: all that one hears of what others registered
CORRECTABLE = ("name", "licence_no", "licence_until", "registered_area", "independent_since")
Title = PhysicianTitle.Title
#: which titles a kind of practitioner can hold
TITLES: dict[str, tuple[str, ...]] = {
    Physician.Kind.PHYSICIAN: (
        Title.RESIDENT, Title.ATTENDING, Title.ASSOCIATE_CHIEF, Title.CHIEF, Title.EXPERT,
    ),
    Physician.Kind.PHARMACIST: (
        Title.PHARMACIST, Title.PHARMACIST_IN_CHARGE, Title.ASSOCIATE_CHIEF_PHARMACIST,
        Title.CHIEF_PHARMACIST,
    ),
    Physician.Kind.NURSE: (),
}  # fmt: skip


@transaction.atomic
def register_practitioner(
    *, institution: Institution, code: str, name: str, licence_no: str,
    independent_since: dt.date, by: str, at: dt.datetime, kind: str = Physician.Kind.PHYSICIAN,
    title: str = "", title_since: dt.date | None = None, licence_until: dt.date | None = None,
    registered_area: str = "", is_clinician: bool = True, joined_on: dt.date | None = None,
    checked: bool = False, is_demo: bool = False,
) -> Physician:  # fmt: skip
    """Register a practitioner of an institution with licence and first title. (温医保办〔2021〕6号 二十)

    One who left another institution moves here with the earlier post kept. `checked`: the agency
    registers; otherwise the agency checks before it counts.
    """
    found = locked(institution)
    code, name = code.strip().upper(), name.strip()
    area = registered_area.strip() or found.region_id
    sound_practitioner(code, name, kind, licence_no, area)
    held = Physician.objects.select_for_update(of=("self",)).filter(pk=code).first()
    own = {"name": name, "kind": kind, "is_clinician": is_clinician,
           "independent_since": independent_since}  # fmt: skip
    state = {"institution": found, "licence_no": licence_no.strip(), "registered_area": area,
             "licence_until": licence_until, "joined_on": joined_on, "recorded_by": by,
             **_checked(checked, by, at)}  # fmt: skip
    if held is None:
        made = Physician.objects.create(code=code, is_demo=is_demo, **own, **state)
        first = title_since or independent_since
    else:
        made = _moved(held, movable(held, found, own, joined_on), state, by, at)
        first = title_since or joined_on or independent_since
    noted(found, "physician.register", by=by, at=at, subject=f"physician:{code}", kind=kind,
          licence_until=licence_until, independent_since=independent_since, joined_on=joined_on,
          checked=checked)  # fmt: skip
    if title and not (held and held.titles.counted().in_force(on=first).filter(title=title)):
        record_title(physician=made, title=title, valid_from=first, checked=checked, by=by, at=at)
    if not checked:
        _ask_check(made, by, at)
    return made


def movable(
    held: Physician, institution: Institution, own: Mapping[str, object], joined_on: dt.date | None
) -> dt.date:
    """The last day of the post that the same person left; a refusal tells nothing of what stands there."""
    if held.left_on is None:
        raise taken(held, institution)
    if joined_on is None or joined_on <= held.left_on:
        raise refused("joined_on", "POST_OVERLAPS", "该人员曾在册，请填写晚于原离职日的到岗日",
                      "the day of joining must follow the last post", status=409)  # fmt: skip
    for key, value in own.items():
        if getattr(held, key) != value:
            raise refused(key, "NOT_THE_SAME", "与该编码的登记不一致，请与医保经办机构核对",
                          "differs from the registered person", status=409)  # fmt: skip
    return held.left_on


def taken(held: Physician, institution: Institution) -> Refusal:
    """The refusal of a code that is in use, here or elsewhere; never says where."""
    here = held.institution_id == institution.pk
    told = f"国家编码{held.code}已经登记" if here else ELSEWHERE
    return refused("code", "CODE_KNOWN", told, "the code is registered already", status=409)


def _moved(
    held: Physician, until: dt.date, state: Mapping[str, Any], by: str, at: dt.datetime
) -> Physician:
    Post.objects.create(
        physician=held, institution_id=held.institution_id, valid_from=held.joined_on,
        valid_until=until, checked_at=held.checked_at, checked_by=held.checked_by,
        recorded_at=at, recorded_by=by,
    )  # fmt: skip
    for key, value in state.items():
        setattr(held, key, value)
    held.left_on = None
    held.save()
    return held


def _checked(checked: bool, by: str, at: dt.datetime) -> dict[str, Any]:
    return {"checked_at": at if checked else None, "checked_by": by if checked else ""}


def _ask_check(physician: Physician, by: str, at: dt.datetime) -> None:
    """The agency's task to compare what an institution says with the papers."""
    place = physician.institution
    tasks.replace(
        subject=f"practitioner:{physician.code}", by=by, at=at, permission="registry.check",
        title=f"{place}{physician.get_kind_display()}登记核验：{physician.name}"[:200],
        procedure=CHECK, status="待核验", region_code=place.region_id, institution_code=place.code,
        url=f"{reverse('institution', args=[place.code])}?tab=practitioners",
    )  # fmt: skip


def sound_practitioner(code: str, name: str, kind: str, licence_no: str, area: str) -> None:
    """Refusal for what no register can hold, whoever is in it."""
    if not CODE.match(code):
        raise refused("code", "CODE_INVALID", "国家编码应为6至20位大写字母或数字", "wrong code")
    if not name:
        raise refused("name", "NAME_MISSING", "请填写姓名", "a name is needed")
    if kind not in Physician.Kind.values:
        raise refused("kind", "KIND_UNKNOWN", f"没有“{kind}”这一类别", "unknown kind")
    if not licence_no.strip():
        raise refused("licence_no", "LICENCE_MISSING", "请填写执业证书编号", "a licence is needed",
                      clause="温医保办〔2021〕6号 二十")  # fmt: skip
    if not AREA.match(area):
        raise refused(
            "registered_area", "AREA_INVALID", "执业注册地应为6位行政区划代码", "wrong area"
        )


@transaction.atomic
def record_title(
    *, physician: Physician, title: str, valid_from: dt.date, by: str, at: dt.datetime,
    checked: bool = False,
) -> PhysicianTitle:  # fmt: skip
    """A title from a day on; the title before ends on the day before, what was known is kept.

    `checked`: the agency records it. A title that an institution files counts when it is checked.
    """
    place = locked(physician.institution)
    if title not in TITLES[physician.kind]:
        raise refused("title", "TITLE_UNFIT", f"{physician.get_kind_display()}没有这一职称",
                      "no title of this kind of practitioner")  # fmt: skip
    rivals = physician.titles.counted() if checked else physician.titles.known()
    if rivals.filter(valid_from__gte=valid_from).exists():
        raise refused("valid_from", "TITLE_LATER", "已登记同日或更晚起算的职称",
                      "a later title is recorded", status=409)  # fmt: skip
    made = PhysicianTitle.objects.create(
        physician=physician, title=title, valid_from=valid_from, recorded_at=at, recorded_by=by
    )
    if checked:
        same = physician.titles.proposed().filter(valid_from=valid_from).exclude(pk=made.pk)
        same.update(superseded_at=at)
        _count(made, by, at)
    noted(place, "physician.title", by=by, at=at, subject=f"physician:{physician.code}",
          title=title, valid_from=valid_from, checked=checked)  # fmt: skip
    if not checked:
        _ask_check(physician, by, at)
    return made


def _count(row: PhysicianTitle, by: str, at: dt.datetime) -> None:
    """From now on a title counts; the one before is replaced by one that ends the day before."""
    counted = row.physician.titles.counted()
    later = counted.filter(valid_from__gt=row.valid_from).order_by("valid_from").first()
    row.valid_until = later.valid_from - DAY if later else None
    for old in touching(counted, row.valid_from, row.valid_until):
        PhysicianTitle.objects.filter(pk=old.pk).update(superseded_at=at)
        PhysicianTitle.objects.create(
            physician=row.physician, title=old.title, valid_from=old.valid_from,
            valid_until=row.valid_from - DAY, recorded_at=at, recorded_by=by, checked_at=at,
            checked_by=by,
        )  # fmt: skip
    row.checked_at, row.checked_by = at, by
    row.save(update_fields=["valid_until", "checked_at", "checked_by"])


@transaction.atomic
def check_practitioner(
    *, physician: Physician, titles: Collection[int], agreed: bool, by: str, at: dt.datetime,
    reason: str = "",
) -> None:  # fmt: skip
    """The agency compared a registration and its proposed titles with the papers; a second person.

    `titles` are the proposals that the person saw. Not agreed: they are set aside with a reason.
    """
    place = locked(physician.institution)
    found = Physician.objects.select_for_update().get(pk=physician.pk)
    proposed = list(found.titles.proposed().order_by("valid_from"))
    if found.checked_at is not None and not proposed:
        raise refused("", "CHECKED_BEFORE", "这条登记已核验", "checked before", status=409)
    if {row.pk for row in proposed} != set(titles):
        raise refused("", "CHANGED", "登记内容已变化，请重新核对", "changed meanwhile", status=409)
    people = {row.recorded_by for row in proposed}
    if by in people | ({found.recorded_by} if found.checked_at is None else set()):
        raise refused("", "SAME_PERSON", "登记人不能核验自己的登记", "a second person checks",
                      status=403)  # fmt: skip
    if not agreed and not reason.strip():
        raise refused("reason", "REASON_MISSING", "请说明不一致之处", "a reason is needed")
    told = {"titles": [f"{row.title} {row.valid_from}" for row in proposed], "reason": reason}
    noted(place, "physician.check" if agreed else "physician.refuse", by=by, at=at,
          subject=f"physician:{found.code}", **told)  # fmt: skip
    if not agreed:
        _set_aside(found, place, reason, by, at)
        return
    for row in proposed:
        _count(row, by, at)
    if found.checked_at is None:
        Physician.objects.filter(pk=found.pk).update(checked_at=at, checked_by=by)
    tasks.close(subject=f"practitioner:{found.code}", by=by, at=at)
    end_comparison(found.code, by=by, at=at)


# --- A registration that is to be compared because of what happened to the practitioner ---


def ask_comparison(
    *, physician: Physician, why: str, at: dt.datetime, procedure: str, **fields: Any
) -> None:
    """The agency's task to look into the register.

    It ends when the registration is checked, corrected or ended, or by `compare_registration`.
    """
    place = physician.institution
    tasks.open_task(
        subject=_comparison(physician.code), permission=COMPARE, at=at, procedure=procedure,
        title=f"{physician.name}{why}，请核对医师登记"[:200], region_code=place.region_id,
        institution_code=place.code, **fields,
        url=f"{reverse('institution', args=[place.code])}?tab=practitioners",
    )  # fmt: skip


def to_compare(codes: Collection[str]) -> set[str]:
    """Of some practitioners those whose registration waits to be compared."""
    rows = tasks.open_of(map(_comparison, codes), permission=COMPARE)
    return {subject.partition(":")[2] for subject in rows}


@transaction.atomic
def compare_registration(*, physician: Physician, note: str, by: str, at: dt.datetime) -> None:
    """The register was looked into and nothing is to be changed: the task is done."""
    place = locked(physician.institution)
    if not to_compare([physician.code]):
        raise refused("", "NOTHING_TO_COMPARE", "没有待核对的事项", "nothing waits", status=409)
    if not note.strip():
        raise refused("note", "NOTE_MISSING", "请填写核对情况", "what was found is needed")
    noted(place, "physician.compare", by=by, at=at, subject=f"physician:{physician.code}",
          note=note.strip())  # fmt: skip
    end_comparison(physician.code, by=by, at=at)


def _comparison(code: str) -> str:
    return f"comparison:{code}"


def end_comparison(code: str, *, by: str, at: dt.datetime) -> None:
    """Nothing is to be compared any more."""
    tasks.close(subject=_comparison(code), by=by, at=at)


def _set_aside(found: Physician, place: Institution, reason: str, by: str, at: dt.datetime) -> None:
    """Proposals that do not count are kept as replaced; the institution hears why."""
    found.titles.proposed().update(superseded_at=at)
    tasks.replace(
        subject=f"practitioner:{found.code}", by=by, at=at, permission="registry.file",
        title=f"{found.get_kind_display()}登记核验未通过：{found.name}（{reason.strip()}）"[:200],
        procedure=CHECK, status="核验未通过", region_code=place.region_id,
        institution_code=place.code,
        url=f"{reverse('institution', args=[place.code])}?tab=practitioners",
    )  # fmt: skip


@transaction.atomic
def correct_practitioner(
    *, physician: Physician, changes: Mapping[str, Any], reason: str, by: str, at: dt.datetime
) -> Physician:
    """The agency puts right what was registered wrongly; the event keeps what stood before."""
    place = locked(physician.institution)
    found = Physician.objects.select_for_update().get(pk=physician.pk)
    if strange := set(changes) - set(CORRECTABLE):
        raise refused(min(strange), "NOT_CORRECTABLE", "这一项不能更正", "not correctable")
    if not reason.strip():
        raise refused("reason", "REASON_MISSING", "请填写更正原因", "a reason is needed")
    before = {key: getattr(found, key) for key in changes}
    for key, value in changes.items():
        setattr(found, key, value.strip() if isinstance(value, str) else value)
    sound_practitioner(found.code, found.name, found.kind, found.licence_no, found.registered_area)
    after = {key: getattr(found, key) for key in changes if getattr(found, key) != before[key]}
    if not after:
        raise refused("", "NOTHING_CHANGED", "没有改动任何内容", "nothing differs")
    if found.checked_at is None:
        found.checked_at, found.checked_by = at, by
    found.save(update_fields=[*after, "checked_at", "checked_by"])
    end_comparison(found.code, by=by, at=at)
    noted(place, "physician.correct", by=by, at=at, subject=f"physician:{found.code}",
          before={key: _text(before[key]) for key in after},
          after={key: _text(value) for key, value in after.items()}, reason=reason.strip())  # fmt: skip
    if not found.titles.proposed().exists():
        tasks.close(subject=f"practitioner:{found.code}", by=by, at=at)
    return found


def _text(value: object) -> str:
    return "" if value is None else str(value)


@transaction.atomic
def renew_licence(
    *, physician: Physician, licence_until: dt.date, by: str, at: dt.datetime
) -> None:
    """The licence is valid until a later day."""
    found = _present(physician)
    before = found.licence_until
    if before is not None and licence_until <= before:
        raise refused("licence_until", "NOT_LATER", f"须晚于现有有效期{before}", "not later")
    Physician.objects.filter(pk=found.pk).update(licence_until=licence_until)
    physician.licence_until = licence_until
    noted(found.institution, "physician.licence", by=by, at=at, subject=f"physician:{found.code}",
          before=before, until=licence_until)  # fmt: skip


@transaction.atomic
def sign_physician_agreement(
    *, physician: Physician, name: str, signed_on: dt.date, valid_from: dt.date, by: str,
    at: dt.datetime, number: str = "", valid_until: dt.date | None = None,
) -> PhysicianAgreement:  # fmt: skip
    """One of the agreements that the policy binds physicians by. (温医保办〔2021〕6号 二十)"""
    found = _present(physician)
    law = law_for(found.institution, on=valid_from)
    if name not in law.physician_agreements:
        names = "、".join(law.physician_agreements) or "无"
        raise refused("name", "AGREEMENT_UNKNOWN", f"政策列明的医师协议：{names}",
                      "the policy names other agreements", clause=law.physicians_clause)  # fmt: skip
    if valid_until is not None and valid_until < valid_from:
        raise refused(
            "valid_until", "DATES_REVERSED", "止日不得早于起日", "the end precedes the start"
        )
    same = found.agreements.filter(name=name)
    if touching(same, valid_from, valid_until).exists():
        raise refused("valid_from", "AGREEMENT_OVERLAPS", "同一协议在这一期间已登记",
                      "the agreement is recorded already", status=409)  # fmt: skip
    made = PhysicianAgreement.objects.create(
        physician=found, name=name, number=number.strip(), signed_on=signed_on,
        valid_from=valid_from, valid_until=valid_until,
    )  # fmt: skip
    noted(found.institution, "physician.agreement", by=by, at=at,
          subject=f"physician:{found.code}", name=name, valid_from=valid_from)  # fmt: skip
    return made


@transaction.atomic
def leave(*, physician: Physician, on: dt.date, by: str, at: dt.datetime) -> None:
    """The last day at the institution: warnings end, earlier services stay his."""
    found = _present(physician)
    Physician.objects.filter(pk=found.pk).update(left_on=on)
    touching(found.agreements.filter(valid_from__lte=on), on, None).update(valid_until=on)
    physician.left_on = on
    noted(found.institution, "physician.leave", by=by, at=at, subject=f"physician:{found.code}",
          on=on)  # fmt: skip
    end_comparison(found.code, by=by, at=at)


def _present(physician: Physician) -> Physician:
    found = Physician.objects.select_for_update(of=("self",)).select_related("institution__region")
    row = found.get(pk=physician.pk)
    if row.left_on is not None:
        raise refused("", "LEFT", f"{row.name}已于{row.left_on}离职", "the practitioner has left",
                      status=409)  # fmt: skip
    return row
