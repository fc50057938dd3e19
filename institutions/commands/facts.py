"""Institutions and their dated facts. Nothing is overwritten: a row is replaced by rows recorded later.

Every fact has two times, when it is valid and when it was recorded; settlement reads what was known
at its own moment (`FactsQuerySet.facts_on`).
"""

import datetime as dt
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from django.db import transaction
from django.db.models import F, Q

from audit import clock, trail
from institutions.credit_code import CreditCodeError, credit_code
from institutions.crypto import keyed_hash
from institutions.models import Institution, InstitutionFacts, Region
from institutions.refusals import Refusal, refused

CODE = re.compile(r"^[A-Z0-9]{12}$")
PRICE_CLASS = re.compile(r"^[0-9A-Z]{1,2}$")
DAY = dt.timedelta(days=1)
#: facts that a span holds, in the order in which they are shown
FIELDS: dict[str, str] = {
    "name": "机构名称", "internet_hospital_name": "互联网医院名称",
    "price_class": "价格类别", "hospital_grade": "等级", "ownership": "所有制",
    "nonprofit": "互联网医院非营利", "physical_nonprofit": "实体机构非营利",
    "representative": "法定代表人", "address": "地址", "filed_on": "备案日",
    "online_settlement": "可联网结算", "offline_departments": "线下诊疗科目",
    "internet_departments": "互联网诊疗科目",
}  # fmt: skip
PERSONAL = frozenset({"representative"})  #: names of persons: in the trail a keyed hash only
NEEDED = ("ownership", "nonprofit")  #: a first span cannot do without
Values = Mapping[str, Any]


def locked(institution: Institution) -> Institution:
    """The institution, locked against every other command on its registry until the commit.

    Weaker than FOR UPDATE: claims that refer to the institution go on.
    """
    rows = Institution.objects.select_for_update(no_key=True, of=("self",))
    return rows.select_related("region").get(pk=institution.pk)


def noted(
    institution: Institution, action: str, *, by: str, at: dt.datetime, subject: str = "",
    **detail: object,
) -> None:  # fmt: skip
    """One event of the registry of an institution."""
    trail.record(
        by=by, at=at, action=action, subject=subject or f"institution:{institution.code}",
        region_code=institution.region_id, institution_code=institution.code, detail=detail,
    )  # fmt: skip


def _traced(given: Values) -> dict[str, Any]:
    """Values as the trail keeps them: of a person only what proves that it was the same name."""
    return {
        key: keyed_hash(key, str(value)).hex() if key in PERSONAL and value else value
        for key, value in given.items()
    }


# --- Registration ---


@transaction.atomic
def register_institution(
    *, code: str, name: str, region: Region, by: str, at: dt.datetime, valid_from: dt.date,
    facts: Values, kind: str = Institution.Kind.MEDICAL, credit: str = "",
    tier: str = "", aliases: Iterable[str] = (), internet_hospital_name: str = "",
    parent: Institution | None = None, source: str = "", is_demo: bool = False,
) -> Institution:  # fmt: skip
    """Register a party (institution, pharmacy, logistics company) with its first dated facts.

    Refusal: code not of 12 characters or known, wrong credit code or that of another party.
    """
    code, name = code.strip().upper(), name.strip()
    registrable(code, name, kind, parent)
    if Institution.objects.filter(pk=code).exists():
        raise refused("code", "CODE_KNOWN", f"机构编码{code}已经登记",
                      "the code is registered already", status=409)  # fmt: skip
    number = free_credit_code(credit, name=name)
    second = internet_hospital_name.strip()
    made = Institution.objects.create(
        code=code, name=name, kind=kind, region=region, credit_code=number, tier=tier,
        aliases=[alias.strip() for alias in aliases if alias.strip()], parent=parent,
        internet_hospital_name=second, is_demo=is_demo,
    )  # fmt: skip
    noted(made, "institution.register", by=by, at=at, name=name, kind=kind, credit_code=number)
    record_facts(
        institution=made, valid_from=valid_from, source=source, by=by, at=at,
        changes={**facts, "internet_hospital_name": second} if second else facts,
    )  # fmt: skip
    return made


def registrable(code: str, name: str, kind: str, parent: Institution | None) -> None:
    """Refusal for an identity that no party can have, whoever is registered."""
    if not CODE.match(code):
        raise refused("code", "CODE_INVALID", "机构编码应为12位大写字母或数字",
                      "an institution code has 12 letters or digits")  # fmt: skip
    if not name:
        raise refused("name", "NAME_MISSING", "请填写机构名称", "a name is needed")
    if kind not in Institution.Kind.values:
        raise refused("kind", "KIND_UNKNOWN", f"没有“{kind}”这一机构类型", "unknown kind")
    if parent is not None and parent.kind != kind:
        raise refused(
            "parent", "PARENT_KIND", "实体机构与本机构类型不同", "the parent differs in kind"
        )


def free_credit_code(text: str, *, name: str, but: str = "") -> str:
    """A sound credit code that no party of another name has (branches share one); `but`: a code."""
    number = sound_credit_code(text)
    others = Institution.objects.filter(credit_code=number).exclude(name=name).exclude(pk=but)
    other = others.first() if number else None
    if other is not None:
        raise credit_code_taken(other.name)
    return number


def sound_credit_code(text: str) -> str:
    """The credit code in upper case (none stays none); Refusal for a wrong one."""
    if not text.strip():
        return ""
    try:
        return credit_code(text)
    except CreditCodeError as error:
        raise refused(
            "credit_code", "CREDIT_CODE_INVALID", f"统一社会信用代码：{error}",
            "the unified social credit code is wrong", clause="GB 32100-2015",
        ) from None  # fmt: skip


def credit_code_taken(name: str) -> Refusal:
    """The refusal of a credit code under which another party is registered."""
    return refused(
        "credit_code", "CREDIT_CODE_KNOWN", f"该信用代码已由“{name}”登记",
        "the credit code belongs to another party", status=409,
    )  # fmt: skip


# --- Dated facts ---


@transaction.atomic
def record_facts(
    *, institution: Institution, valid_from: dt.date, changes: Values, source: str, by: str,
    at: dt.datetime,
) -> InstitutionFacts:  # fmt: skip
    """From a day on something else is true; returns the span that begins on that day.

    The span of that day is split. A later span takes a new value over as long as it had the old one:
    what a later span changed itself, stays.
    """
    found = locked(institution)
    given = checked_facts(found, changes)
    if "name" in given:
        _rename(found, valid_from, given["name"], at=at)
    rows = _known(found)
    held = next((row for row in rows if _holds(row, valid_from)), None)
    if held is None:
        made = _first_span(found, rows, valid_from, given, source=source, by=by, at=at)
        _follow(found, given, at=at)
        return made
    old = {key: getattr(held, key) for key in given}

    def changed(row: InstitutionFacts) -> Values:
        if row.valid_from <= held.valid_from:
            return given
        for key in list(old):
            if getattr(row, key) != old[key]:
                del old[key]
        return {key: given[key] for key in old}

    _replace(rows, valid_from, None, changed, source=source, by=by, at=at)
    _follow(found, given, at=at)
    noted(found, "facts.record", by=by, at=at, valid_from=valid_from, source=source,
          changes=_traced(given))  # fmt: skip
    return found.facts.known().in_force(on=valid_from).get()


@transaction.atomic
def correct_facts(
    *, institution: Institution, valid_from: dt.date, changes: Values, source: str, by: str,
    at: dt.datetime, valid_until: dt.date | None = None,
) -> tuple[InstitutionFacts, ...]:  # fmt: skip
    """What was recorded for a span of days was wrong; returns the corrected spans.

    What was recorded before stays and can be asked (`facts_on(day, known_at=…)`).
    """
    if not source.strip():
        raise refused("source", "SOURCE_MISSING", "请填写更正依据", "a correction needs its reason")
    if valid_until is not None and valid_until < valid_from:
        raise refused(
            "valid_until", "DATES_REVERSED", "止日不得早于起日", "the end precedes the start"
        )
    found = locked(institution)
    given = checked_facts(found, changes)
    rows = [row for row in _known(found) if _touches(row, valid_from, valid_until)]
    if not rows:
        raise refused(
            "valid_from", "NO_FACTS", "该期间没有登记信息，无可更正", "nothing is recorded then"
        )
    made = _replace(rows, valid_from, valid_until, lambda row: given, source=source, by=by, at=at)
    _follow(found, given, at=at)
    noted(found, "facts.correct", by=by, at=at, valid_from=valid_from, valid_until=valid_until,
          source=source, changes=_traced(given))  # fmt: skip
    return tuple(made)


def _known(institution: Institution) -> list[InstitutionFacts]:
    return list(institution.facts.known().select_for_update().order_by("valid_from"))


def _holds(row: InstitutionFacts, day: dt.date) -> bool:
    return row.valid_from <= day and (row.valid_until is None or day <= row.valid_until)


def _touches(row: InstitutionFacts, first: dt.date, last: dt.date | None) -> bool:
    return (last is None or row.valid_from <= last) and (
        row.valid_until is None or row.valid_until >= first
    )


def _replace(
    rows: Sequence[InstitutionFacts], first: dt.date, last: dt.date | None,
    changed: Callable[[InstitutionFacts], Values], *, source: str, by: str, at: dt.datetime,
) -> list[InstitutionFacts]:  # fmt: skip
    """Replace the spans that touch [first, last]: outside of it they stay, inside they change."""
    made = []
    for row in rows:
        if not _touches(row, first, last):
            continue
        values = changed(row)
        if all(getattr(row, key) == value for key, value in values.items()):
            continue
        if row.recorded_at > at:
            raise refused("at", "RECORDED_LATER", "已有更晚登记的记录，请刷新后重试",
                          "a later record exists", status=409)  # fmt: skip
        InstitutionFacts.objects.filter(pk=row.pk).update(superseded_at=at)
        before, after = row.valid_from < first, last is not None and (
            row.valid_until is None or row.valid_until > last
        )  # fmt: skip
        if before:
            _copy(row, valid_until=first - DAY, recorded_at=at)
        made.append(
            _copy(
                row,
                **values,
                valid_from=first if before else row.valid_from,
                valid_until=last if after else row.valid_until,
                source=source,
                recorded_by=by,
                recorded_at=at,
            )
        )
        if after and last is not None:
            _copy(row, valid_from=last + DAY, recorded_at=at)
    return made


def _copy(row: InstitutionFacts, **values: Any) -> InstitutionFacts:
    kept = {
        field.attname: getattr(row, field.attname)
        for field in InstitutionFacts._meta.concrete_fields
        if not field.primary_key
    }
    return InstitutionFacts.objects.create(**(kept | {"superseded_at": None} | values))


def _first_span(
    institution: Institution, rows: Sequence[InstitutionFacts], valid_from: dt.date, given: Values,
    *, source: str, by: str, at: dt.datetime,
) -> InstitutionFacts:  # fmt: skip
    """Facts for days of which nothing was recorded: they last until the next span begins."""
    complete_facts(institution, valid_from, given)
    following = next((row.valid_from for row in rows if row.valid_from > valid_from), None)
    made = InstitutionFacts.objects.create(
        institution=institution, valid_from=valid_from, recorded_at=at, recorded_by=by,
        valid_until=following - DAY if following else None, source=source, **given,
    )  # fmt: skip
    noted(institution, "facts.record", by=by, at=at, valid_from=valid_from, source=source,
          changes=_traced(given))  # fmt: skip
    return made


def complete_facts(institution: Institution, valid_from: dt.date, given: Values) -> None:
    """Refusal for first facts of a span that leave out what every span needs."""
    missing = [FIELDS[key] for key in _needed(institution) if given.get(key) in (None, "")]
    if missing:
        raise refused(
            next(key for key in _needed(institution) if given.get(key) in (None, "")),
            "FACTS_INCOMPLETE", f"{valid_from}尚无登记信息，须同时填写：{'、'.join(missing)}",
            "nothing is recorded on that day: the first facts must be complete",
        )  # fmt: skip


def _needed(institution: Institution) -> tuple[str, ...]:
    if institution.kind == Institution.Kind.MEDICAL:
        return ("price_class", *NEEDED)
    return NEEDED


def _rename(institution: Institution, valid_from: dt.date, name: str, *, at: dt.datetime) -> None:
    """Spans recorded so far say their name; the name of today becomes the institution's own."""
    institution.facts.filter(name="").update(name=institution.name)
    if valid_from <= clock.local(at).date():
        adopt_name(institution, name)


def _follow(institution: Institution, given: Values, *, at: dt.datetime) -> None:
    """The internet hospital's name of today is what searches look at."""
    if "internet_hospital_name" in given:
        held = institution.facts.facts_on(clock.local(at).date())
        if held is not None:
            _adopt_second(institution, held.internet_hospital_name)


def _adopt_second(institution: Institution, name: str) -> None:
    institution.internet_hospital_name = name
    institution.save(update_fields=["internet_hospital_name"])


@transaction.atomic
def adopt_names(*, on: dt.date, by: str, at: dt.datetime) -> int:
    """Names recorded ahead become the institutions' own on their day; how many did."""
    known = InstitutionFacts.objects.known().in_force(on=on).select_related("institution")
    renamed = ~Q(name="") & ~Q(name=F("institution__name"))
    second = ~Q(internet_hospital_name=F("institution__internet_hospital_name"))
    rows = list(known.filter(renamed | second))
    for row in rows:
        adopt_name(row.institution, row.name or row.institution.name)
        _adopt_second(row.institution, row.internet_hospital_name)
        noted(row.institution, "institution.rename", by=by, at=at, name=row.institution.name,
              internet_hospital_name=row.internet_hospital_name)  # fmt: skip
    return len(rows)


def adopt_name(institution: Institution, name: str) -> None:
    """Call the institution by a new name; the old one is found as an alias."""
    if institution.name == name:
        return
    institution.aliases = [*dict.fromkeys([*institution.aliases, institution.name])]
    institution.name = name
    institution.save(update_fields=["name", "aliases"])


def checked_facts(institution: Institution, changes: Values) -> dict[str, Any]:
    """The changes, cleaned; Refusal for an unknown field or a value that cannot be."""
    if not changes:
        raise refused("changes", "NOTHING_CHANGED", "没有填写任何变化", "nothing is changed")
    for key in changes:
        if key not in FIELDS:
            raise refused(key, "FIELD_UNKNOWN", f"没有“{key}”这一登记项目", "unknown field")
    given = {key: _clean(key, value) for key, value in changes.items()}
    medical = institution.kind == Institution.Kind.MEDICAL
    price_class = given.get("price_class")
    if price_class and not (medical and PRICE_CLASS.match(price_class)):
        raise refused("price_class", "PRICE_CLASS_INVALID",
                      "价格类别只用于医疗机构，为1至2位数字或大写字母",
                      "a price class has one or two characters")  # fmt: skip
    if medical and "price_class" in given and not price_class:
        raise refused("price_class", "PRICE_CLASS_MISSING", "医疗机构须登记价格类别（不是医院等级）",
                      "a medical institution needs a price class")  # fmt: skip
    if "ownership" in given and given["ownership"] not in InstitutionFacts.Ownership.values:
        raise refused(
            "ownership", "OWNERSHIP_UNKNOWN", "所有制应为公立或非公立", "unknown ownership"
        )
    if "name" in given and not given["name"]:
        raise refused("name", "NAME_MISSING", "请填写机构名称", "a name is needed")
    return given


def _clean(key: str, value: Any) -> Any:
    if key.endswith("_departments"):
        return [*dict.fromkeys(part.strip() for part in value if part.strip())]
    field = InstitutionFacts._meta.get_field(key)
    if isinstance(value, str):
        value = value.strip()
        limit = getattr(field, "max_length", None)
        if limit and len(value) > limit:
            raise refused(key, "TOO_LONG", f"{FIELDS[key]}不得超过{limit}个字符", "too long")
    return value
