"""Sheets of qualifications and of code mappings."""

import datetime as dt
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from audit.procedure import PROCEDURES
from institutions import commands
from institutions.commands.cases import sound_mapping
from institutions.commands.records import MLPS, sound_qualification
from institutions.exchange.columns import Column, Record, code, day, labels
from institutions.exchange.kinds import CHANGE, CREATE, SAME, Kind, homes
from institutions.exchange.parties import HOME
from institutions.law import law_for
from institutions.models import CodeMapping, Institution, InstitutionQuerySet, Qualification, User

FROM = Column("valid_from", "有效期起日", day, True, "2021-01-01")
UNTIL = Column("valid_until", "有效期止日", day, example="2025-12-31", help="长期有效的留空")
#: a mapping in one of these states stands for its code, or will
LIVE = ("submitted", "returned", "approved")


def touches(row: Any, first: dt.date, last: dt.date | None) -> bool:
    """Whether the validity of a row shares a day with [first, last]."""
    return (last is None or row.valid_from <= last) and (
        row.valid_until is None or row.valid_until >= first
    )


class Recorded(Kind):
    """Rows of an institution that are found by some of their columns, each with its validity."""

    by_columns: tuple[str, ...]  #: beside the institution

    def plan(self, records: Sequence[Record], user: User) -> None:
        places = homes(records, user)
        known: dict[tuple, list[Any]] = defaultdict(list)
        for row in self.existing(places.values()):
            key = (row.institution_id, *(getattr(row, name) for name in self.by_columns))
            known[key].append(row)
        for record in records:
            place = places.get(record.get("institution"))
            first, last = record.values.get("valid_from"), record.values.get("valid_until")
            record.found = place
            if first is not None:
                self.sound(record, first, last)
            if place is None or first is None or record.errors:
                continue
            rows = known[(place.code, *(record.get(name) for name in self.by_columns))]
            self.compare(record, rows, first, last)

    @abstractmethod
    def existing(self, places: Iterable[Institution]) -> Iterable[Any]:
        """What is recorded of these institutions, in one statement."""

    @abstractmethod
    def sound(self, record: Record, first: dt.date, last: dt.date | None) -> None:
        """Judge the row by itself."""

    @abstractmethod
    def compare(
        self, record: Record, rows: list[Any], first: dt.date, last: dt.date | None
    ) -> None:
        """Judge the row beside what is recorded under the same columns."""


class Qualifications(Recorded):
    """资质证照: licences, certificates and reports; the scan is attached on the institution's page."""

    key = "qualifications"
    title = "资质证照"
    hint = (
        "一个证照一行；同一证照同一起日再次导入即更正止日、发证机关或级别。扫描件在机构档案中上传。"
    )
    permissions = frozenset({"registry.maintain", "registry.file"})
    columns = (
        HOME,
        Column("kind", "资质", str, True, "医疗机构执业许可证",
               choices=labels(Qualification.Kind.choices)),
        Column("number", "证照编号", code, True, "12320600000000001", limit=80),
        Column("issuer", "发证机关", example="示例卫生健康委员会", limit=120),
        Column("level", "级别", example="第三级", help="等级保护材料必填", limit=20),
        FROM, UNTIL,
    )  # fmt: skip
    once = ("institution", "kind", "number", "valid_from")
    notes = ("机构名称", "核验")
    by_columns = ("kind", "number")

    def __init__(self) -> None:
        self.clauses: dict[tuple[str, dt.date], str] = {}

    def existing(self, places: Iterable[Institution]) -> Iterable[Any]:
        return Qualification.objects.known().filter(institution__in=list(places))

    def sound(self, record: Record, first: dt.date, last: dt.date | None) -> None:
        kind, number = record.get("kind"), record.get("number")
        clause = self._clause(record.found, first) if record.found and kind in MLPS else ""
        record.judge(sound_qualification, kind, number, record.get("level"), first, last, clause)

    def _clause(self, institution: Institution, on: dt.date) -> str:
        key = (institution.region_id, on)
        if key not in self.clauses:
            self.clauses[key] = law_for(institution, on=on).protection_clause
        return self.clauses[key]

    def compare(
        self, record: Record, rows: list[Any], first: dt.date, last: dt.date | None
    ) -> None:
        row = next((row for row in rows if row.valid_from == first), None)
        end = last or (row.valid_until if row else None)
        other = next((r for r in rows if r is not row and touches(r, first, end)), None)
        if other is not None:
            span = f"{other.valid_from}至{other.valid_until or '长期'}"
            record.wrong("valid_from", f"同一证照已登记有效期{span}，请先更正")
            return
        if row is None:
            rows.append(Qualification(valid_from=first, valid_until=last))
            record.decide(CREATE, f"登记{record.columns['kind'].text(record.get('kind'))}")
            return
        held = {key: getattr(row, key) for key in ("issuer", "level", "valid_until")}
        record.changes = record.differs(held)
        if record.changes:
            record.changes = {"row": row, "until": end, **record.changes}
            record.decide(CHANGE, f"更正 {record.told(record.changes, held)}")
        else:
            record.decide(SAME)

    def write(self, record: Record, *, by: str, at: dt.datetime) -> None:
        first, values = record.values["valid_from"], record.values
        if record.verdict == CHANGE:
            commands.correct_qualification(
                qualification=record.changes["row"], valid_from=first,
                valid_until=record.changes["until"], issuer=record.get("issuer"),
                level=record.get("level"), by=by, at=at,
            )  # fmt: skip
            return
        commands.add_qualification(
            institution=record.found, kind=values["kind"], number=values["number"],
            issuer=record.get("issuer"), level=record.get("level"), valid_from=first,
            valid_until=values.get("valid_until"), by=by, at=at,
        )  # fmt: skip

    def held(
        self, institutions: InstitutionQuerySet, on: dt.date
    ) -> Iterator[tuple[dict[str, Any], list[str]]]:
        rows = Qualification.objects.known().filter(institution__in=institutions.order_by())
        for row in rows.select_related("institution").order_by(
            "institution_id", "kind", "valid_from"
        ):
            checked = row.checked_at.date().isoformat() if row.checked_at else "未核验"
            yield _values(row, self.columns), [row.institution.name, checked]


class Mappings(Recorded):
    """对码: what local codes stand for, submitted to the information department."""

    key = "mappings"
    title = "对码"
    hint = "一个院内编码一行；导入即提交，由信息部门审核后生效。"
    permissions = frozenset({"registry.maintain", "registry.file"})
    columns = (
        HOME,
        Column("kind", "对码类别", str, True, "医疗服务项目", choices=labels(CodeMapping.Kind.choices)),
        Column("local_code", "院内编码", code, True, "HLW001", limit=60),
        Column("local_name", "院内名称", str, True, "互联网复诊", limit=120),
        Column("national_code", "国家编码", code, True, "111102001", limit=60),
        Column("national_name", "国家名称", example="互联网复诊", limit=120),
        FROM, UNTIL,
    )  # fmt: skip
    once = ("institution", "kind", "local_code")
    notes = ("机构名称", "状态")
    by_columns = ("kind", "local_code")

    def existing(self, places: Iterable[Institution]) -> Iterable[Any]:
        return CodeMapping.objects.filter(institution__in=list(places), state__in=LIVE)

    def sound(self, record: Record, first: dt.date, last: dt.date | None) -> None:
        texts = {
            key: record.get(key)
            for key in ("local_code", "local_name", "national_code", "national_name")
        }
        record.judge(sound_mapping, record.get("kind"), texts, first, last)

    def compare(
        self, record: Record, rows: list[Any], first: dt.date, last: dt.date | None
    ) -> None:
        stated = set(record.values) - {"institution"}
        for row in rows:
            if all(getattr(row, key) == record.values[key] for key in stated):
                record.decide(SAME)
                return
        if any(row.state != "approved" for row in rows):
            record.wrong("local_code", "该院内编码已有对码在审核中")
            return
        other = next((row for row in rows if touches(row, first, last)), None)
        if other is not None:
            span = f"{other.valid_from}至{other.valid_until or '长期'}"
            record.wrong("valid_from", f"该院内编码在{span}已对应{other.national_code}，请先停用")
            return
        record.decide(CREATE, "提交审核")

    def write(self, record: Record, *, by: str, at: dt.datetime) -> None:
        values = record.values
        commands.submit_mapping(
            institution=record.found, kind=values["kind"], local_code=values["local_code"],
            local_name=values["local_name"], national_code=values["national_code"],
            national_name=record.get("national_name"), valid_from=values["valid_from"],
            valid_until=values.get("valid_until"), by=by, at=at,
        )  # fmt: skip

    def held(
        self, institutions: InstitutionQuerySet, on: dt.date
    ) -> Iterator[tuple[dict[str, Any], list[str]]]:
        rows = CodeMapping.objects.filter(institution__in=institutions.order_by(), state__in=LIVE)
        labels_of = {key: state.label for key, state in PROCEDURES["mapping"].states.items()}
        for row in rows.select_related("institution").order_by(
            "institution_id", "kind", "local_code"
        ):
            yield _values(row, self.columns), [row.institution.name, labels_of[row.state]]


def _values(row: Any, columns: Sequence[Column]) -> dict[str, Any]:
    own = {
        column.key: getattr(row, column.key) for column in columns if column.key != "institution"
    }
    return own | {"institution": row.institution_id}
