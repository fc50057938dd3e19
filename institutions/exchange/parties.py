"""Sheets of institutions (pharmacies, logistics companies) and of their dated facts."""

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from django.db.models import Prefetch

from institutions import commands
from institutions.commands.facts import (
    FIELDS,
    checked_facts,
    complete_facts,
    credit_code_taken,
    registrable,
    sound_credit_code,
)
from institutions.commands.identity import TIERS
from institutions.commands.practitioners import ELSEWHERE
from institutions.exchange.columns import Column, Record, code, day, flag, labels, several
from institutions.exchange.kinds import CHANGE, CREATE, SAME, Kind, homes
from institutions.forms import CLASSES
from institutions.models import Institution, InstitutionFacts, InstitutionQuerySet, Region, User

CODES = {label: value for value, label in CLASSES.items()}


def price_class(text: str) -> str:
    """三类 → 3; a class of another scheme stands as written."""
    return CODES.get(text, text)


class PriceClass(Column):
    """The class by which the annex prices, in words or as recorded."""

    def text(self, value: Any) -> str:
        return CLASSES.get(value, value or "")


SECOND = Column("internet_hospital_name", "互联网医院名称", limit=160)
IDENTITY = (
    Column("code", "机构编码", code, True, "H32060000001", "国家医保 12 位机构编码"),
    Column("kind", "机构类型", example="医疗机构", choices=labels(Institution.Kind.choices)),
    Column("name", "机构名称", str, True, "示例医院", limit=120),
    Column("aliases", "别名", several, example="示例总院；示例总医院", help="多个以分号分隔"),
    SECOND,
    Column("region", "行政区划代码", code, True, "320600", "6 位国家行政区划代码"),
    Column("credit_code", "统一社会信用代码", code, help="18 位，GB 32100"),
    Column("tier", "层级", choices={label: value for value, label in TIERS.items()}),
    Column("parent", "实体机构编码", code, help="本机构即实体机构的留空"),
)
FACTS = (
    PriceClass("price_class", "价格类别", price_class, example="三类", help="不是医院等级", limit=10),
    Column("hospital_grade", "等级", example="三级甲等", limit=10),
    Column("ownership", "所有制", example="公立", choices=labels(InstitutionFacts.Ownership.choices)),
    Column("nonprofit", "互联网医院非营利", flag, example="是"),
    Column("physical_nonprofit", "实体机构非营利", flag, example="是"),
    Column("representative", "法定代表人", limit=40),
    Column("address", "地址"),
    Column("filed_on", "备案日", day, example="2021-01-01"),
    Column("online_settlement", "可联网结算", flag, example="是"),
)  # fmt: skip
DEPARTMENTS = (
    Column("offline_departments", "线下诊疗科目", several, example="A03；A04", limit=2_000,
           help="科目代码或名称，多个以分号分隔"),
    Column("internet_departments", "互联网诊疗科目", several, example="A03", limit=2_000,
           help="科目代码或名称，多个以分号分隔"),
)  # fmt: skip
FROM = Column("valid_from", "生效日期", day, True, "2021-01-01", "从哪一天起是这样")
SOURCE = Column("source", "依据", example="执业许可证副本", limit=120)
HOME = Column("institution", "机构编码", code, True, "H32060000001", "已登记的机构")


class Known:
    """The facts on record of many institutions, in one statement; rows of a file come on top."""

    def __init__(self, codes: set[str]):
        self.spans: dict[str, list[InstitutionFacts]] = {code: [] for code in codes}
        rows = InstitutionFacts.objects.known().filter(institution__in=codes)
        for row in rows.order_by("valid_from"):
            self.spans[row.institution_id].append(row)
        self.stated: dict[str, list[tuple[dt.date, dict]]] = {}

    def on(self, institution: Institution, first: dt.date) -> dict[str, Any] | None:
        """What holds on a day by record and by the rows before; None when nothing does."""
        found = next(
            (row for row in self.spans.get(institution.code, ())
             if row.valid_from <= first and (row.valid_until is None or first <= row.valid_until)),
            None,
        )  # fmt: skip
        held: dict[str, Any] | None = None
        if found is not None:
            held = {key: getattr(found, key) for key in FIELDS}
            held["name"] = held["name"] or institution.name
        for since, values in self.stated.get(institution.code, ()):
            if since <= first and (found is None or found.valid_from <= since):
                held = (held or {}) | values
        return held

    def plan(self, record: Record, institution: Institution) -> None:
        """Judge the facts of a row against what holds on its day."""
        stated = {key: value for key, value in record.values.items() if key in FIELDS}
        if not stated:
            if not record.errors:
                record.wrong("", "除机构和生效日期外没有填写任何内容")
            return
        given = record.judge(checked_facts, institution, stated)
        first = record.values.get("valid_from")
        if given is None or first is None:
            return
        held = self.on(institution, first)
        if held is None:
            record.judge(complete_facts, institution, first, given)
        if record.errors:
            return
        record.changes = {key: value for key, value in given.items()
                          if held is None or held.get(key) != value}  # fmt: skip
        if held is None:
            record.decide(CREATE, f"{first} 起登记")
        elif record.changes:
            record.decide(CHANGE, f"{first} 起 {record.told(record.changes, held)}")
        else:
            record.decide(SAME)
            return
        self.stated.setdefault(institution.code, []).append((first, dict(record.changes)))


class Parties(Kind):
    """机构: identity and first facts; of a party that is registered only the facts can change."""

    key = "institutions"
    title = "机构登记"
    hint = "新机构连同首次登记的情况；已登记机构按生效日期记录变化，编码、区划等身份信息不能由导入改变。"
    permissions = frozenset({"registry.maintain"})
    columns = (*IDENTITY, FROM, *FACTS, *DEPARTMENTS, SOURCE)
    once = ("code",)
    notes = ("区域", "有效期止日")

    def plan(self, records: Sequence[Record], user: User) -> None:
        codes = {record.get("code") for record in records} - {""}
        self.known = {row.code: row for row in Institution.objects.filter(pk__in=codes)}
        visible = Institution.objects.visible_to(user)
        self.visible = set(visible.filter(pk__in=self.known).values_list("code", flat=True))
        self.facts = Known(self.visible)
        prefixes = user.scope_codes().regions
        wanted = {record.get("region") for record in records}
        self.regions = {row.code: row for row in Region.objects.filter(pk__in=wanted)
                        if row.code.startswith(prefixes)}  # fmt: skip
        parents = {record.get("parent") for record in records} - {""}
        self.parents = {row.code: row for row in Institution.objects.filter(pk__in=parents)}
        numbers = {record.get("credit_code").upper() for record in records} - {""}
        holders = Institution.objects.filter(credit_code__in=numbers)
        self.holders = dict(holders.values_list("credit_code", "name"))
        nameable = visible.filter(credit_code__in=numbers)
        self.nameable = set(nameable.values_list("credit_code", flat=True))
        for record in records:
            self._plan(record)

    def _plan(self, record: Record) -> None:
        region = self.regions.get(record.get("region"))
        if "region" in record.values and region is None:
            record.wrong("region", "没有此行政区划代码，或不在您的数据范围内")
        found = self.known.get(record.get("code"))
        if found is not None and found.code not in self.visible:
            record.wrong("code", ELSEWHERE)
            return
        if found is not None:
            self._registered(record, found)
        else:
            found = self._new(record, region)
        record.found = found
        self.facts.plan(record, found)
        if found.code not in self.known and not record.errors:
            self.parents.setdefault(found.code, found)
            record.changes.pop("name", None)
            record.decide(CREATE, f"登记{found.name}，{record.values['valid_from']} 起")

    def _registered(self, record: Record, found: Institution) -> None:
        held = {
            "kind": found.kind, "aliases": found.aliases, "region": found.region_id,
            "credit_code": found.credit_code, "tier": found.tier, "parent": found.parent_id,
        }  # fmt: skip
        for key in record.differs(held):
            shown = record.columns[key].text(held[key]) or "空"
            record.wrong(key, f"机构已登记为“{shown}”，导入不能改变")

    def _new(self, record: Record, region: Region | None) -> Institution:
        kind = record.get("kind", Institution.Kind.MEDICAL)
        name, wanted = record.get("name"), record.get("parent")
        parent = self.parents.get(wanted)
        if wanted and parent is None:
            record.wrong("parent", "没有登记此实体机构；同一文件中的请排在前面的行")
        number = record.get("code").upper()
        if number and name:
            record.values["code"] = number
            record.judge(registrable, number, name, kind, parent)
        number = record.judge(sound_credit_code, record.get("credit_code"))
        if number:
            known = number in self.holders
            if self.holders.setdefault(number, name) != name:
                if known and number not in self.nameable:
                    record.wrong("credit_code", "该信用代码已由其他机构登记", "GB 32100-2015")
                else:
                    record.refused(credit_code_taken(self.holders[number]))
            record.values["credit_code"] = number
        return Institution(
            code=record.get("code"), name=name, kind=kind, region=region, parent=parent
        )

    def write(self, record: Record, *, by: str, at: dt.datetime) -> None:
        values, found = record.values, record.found
        if record.verdict == CHANGE:
            _record_facts(record, found, by=by, at=at)
            return
        commands.register_institution(
            code=found.code, name=found.name, region=found.region, kind=found.kind,
            valid_from=values["valid_from"], facts=record.changes, credit=record.get("credit_code"),
            tier=record.get("tier"), aliases=record.get("aliases", []), parent=found.parent,
            source=record.get("source"), by=by, at=at,
        )  # fmt: skip

    def held(
        self, institutions: InstitutionQuerySet, on: dt.date
    ) -> Iterator[tuple[dict[str, Any], list[str]]]:
        for found in institutions.with_facts(on=on).select_related("region"):
            values = {
                "code": found.code, "kind": found.kind, "name": found.name,
                "aliases": found.aliases, "region": found.region_id, "tier": found.tier,
                "credit_code": found.credit_code, "parent": found.parent_id,
            }  # fmt: skip
            facts = found.facts_on[0] if found.facts_on else None
            yield values | (_span(facts, found) if facts else {}), [
                found.region.name, _end(facts)]  # fmt: skip


class Facts(Kind):
    """机构情况: facts from a day on, blank cells stay as they are."""

    key = "facts"
    title = "机构情况"
    hint = (
        "已登记机构自某日起的变化，一行一个日期；留空的列不变。名称从该日起改变，原名称留为别名。"
    )
    permissions = frozenset({"registry.maintain"})
    columns: ClassVar[tuple[Column, ...]] = (
        HOME, FROM, Column("name", "机构名称", limit=120), SECOND, *FACTS, *DEPARTMENTS, SOURCE,
    )  # fmt: skip
    once = ("institution", "valid_from")
    notes = ("有效期止日", "登记时间")

    def plan(self, records: Sequence[Record], user: User) -> None:
        found = homes(records, user)
        known = Known(set(found))
        for record in records:
            place = found.get(record.get("institution"))
            if place is not None:
                record.found = place
                known.plan(record, place)

    def write(self, record: Record, *, by: str, at: dt.datetime) -> None:
        _record_facts(record, record.found, by=by, at=at)

    def held(
        self, institutions: InstitutionQuerySet, on: dt.date
    ) -> Iterator[tuple[dict[str, Any], list[str]]]:
        spans = InstitutionFacts.objects.known().order_by("valid_from")
        for found in institutions.prefetch_related(Prefetch("facts", spans, to_attr="spans")):
            for row in found.spans:
                yield {"institution": found.code, **_span(row, found)}, [
                    _end(row), row.recorded_at.date().isoformat()]  # fmt: skip


class Departments(Facts):
    """诊疗科目: departments offline and online from a day on."""

    key = "departments"
    title = "诊疗科目"
    hint = "线下与互联网诊疗科目自某日起的全部内容，一行一个机构和日期；留空的列不变。"
    columns = (HOME, FROM, *DEPARTMENTS, SOURCE)


def _record_facts(record: Record, institution: Institution, *, by: str, at: dt.datetime) -> None:
    commands.record_facts(
        institution=institution, valid_from=record.values["valid_from"], changes=record.changes,
        source=record.get("source"), by=by, at=at,
    )  # fmt: skip


def _span(row: InstitutionFacts, institution: Institution) -> dict[str, Any]:
    values = {key: getattr(row, key) for key in FIELDS}
    return values | {"name": row.name or institution.name, "valid_from": row.valid_from,
                     "source": row.source}  # fmt: skip


def _end(row: InstitutionFacts | None) -> str:
    return row.valid_until.isoformat() if row and row.valid_until else ""
