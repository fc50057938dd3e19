"""Physicians, pharmacists and nurses: licence, dated titles, the agreements that bind them."""

import datetime as dt
import re

from django.db import transaction

from institutions.commands.facts import DAY, locked, noted
from institutions.commands.records import touching
from institutions.law import law_for
from institutions.models import Institution, Physician, PhysicianAgreement, PhysicianTitle
from institutions.refusals import refused

CODE = re.compile(r"^[A-Z0-9]{6,20}$")
AREA = re.compile(r"^\d{6}$")
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
    registered_area: str = "", is_clinician: bool = True, is_demo: bool = False,
) -> Physician:  # fmt: skip
    """Register a practitioner of an institution with licence and first title. (温医保办〔2021〕6号 二十)"""
    found = locked(institution)
    code, name = code.strip().upper(), name.strip()
    area = registered_area.strip() or found.region_id
    sound_practitioner(code, name, kind, licence_no, area)
    if Physician.objects.filter(pk=code).exists():
        raise refused("code", "CODE_KNOWN", f"国家编码{code}已经登记", "the code is registered already",
                      status=409)  # fmt: skip
    made = Physician.objects.create(
        code=code, name=name, kind=kind, institution=found, licence_no=licence_no.strip(),
        licence_until=licence_until, registered_area=area, is_clinician=is_clinician,
        independent_since=independent_since, is_demo=is_demo,
    )  # fmt: skip
    noted(found, "physician.register", by=by, at=at, subject=f"physician:{code}", kind=kind,
          licence_until=licence_until, independent_since=independent_since)  # fmt: skip
    if title:
        record_title(
            physician=made, title=title, valid_from=title_since or independent_since, by=by, at=at
        )
    return made


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
    *, physician: Physician, title: str, valid_from: dt.date, by: str, at: dt.datetime
) -> PhysicianTitle:
    """A title from a day on; the title before ends on the day before."""
    place = locked(physician.institution)
    if title not in TITLES[physician.kind]:
        raise refused("title", "TITLE_UNFIT", f"{physician.get_kind_display()}没有这一职称",
                      "no title of this kind of practitioner")  # fmt: skip
    if physician.titles.filter(valid_from__gte=valid_from).exists():
        raise refused("valid_from", "TITLE_LATER", "已登记同日或更晚起算的职称",
                      "a later title is recorded", status=409)  # fmt: skip
    touching(physician.titles.all(), valid_from, None).update(valid_until=valid_from - DAY)
    made = PhysicianTitle.objects.create(physician=physician, title=title, valid_from=valid_from)
    noted(place, "physician.title", by=by, at=at, subject=f"physician:{physician.code}",
          title=title, valid_from=valid_from)  # fmt: skip
    return made


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


def _present(physician: Physician) -> Physician:
    found = Physician.objects.select_for_update(of=("self",)).select_related("institution__region")
    row = found.get(pk=physician.pk)
    if row.left_on is not None:
        raise refused("", "LEFT", f"{row.name}已于{row.left_on}离职", "the practitioner has left",
                      status=409)  # fmt: skip
    return row
