"""Sheets of physicians, pharmacists and nurses: one row per practitioner and title."""

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import Any

from django.db.models import Prefetch

from institutions import commands
from institutions.commands.practitioners import (
    ELSEWHERE,
    TITLES,
    movable,
    sound_practitioner,
)
from institutions.exchange.columns import Column, Record, code, day, flag, labels
from institutions.exchange.kinds import CHANGE, CREATE, SAME, Kind, homes
from institutions.exchange.parties import HOME
from institutions.models import Institution, InstitutionQuerySet, Physician, PhysicianTitle, User

#: what cannot change by importing, once registered
FIXED = ("name", "kind", "institution", "licence_no", "registered_area", "is_clinician",
         "independent_since", "joined_on")  # fmt: skip
PERSON = ("name", "kind", "is_clinician", "independent_since")  #: the same at every institution


class Practitioners(Kind):
    """医师药师: register, add later titles, renew licences, record who left or came from elsewhere.

    What the agency imports counts as checked; what an institution imports waits for the check.
    """

    key = "practitioners"
    title = "医师药师护士"
    hint = "一人有几个职称就有几行，按起算日从早到晚；已登记人员可补充职称、延长执业证书有效期、登记离职；"
    hint += "从其他机构调入的须填写到岗日。机构导入的人员和职称经经办机构核验后方为有效。"
    permissions = frozenset({"registry.maintain", "registry.file"})
    columns = (
        HOME,
        Column("code", "国家编码", code, True, "D320600000001", "医保医师、药师、护士编码"),
        Column("name", "姓名", str, True, "示例", limit=40),
        Column("kind", "类别", example="医师", choices=labels(Physician.Kind.choices)),
        Column("licence_no", "执业证书编号", code, example="110320600000001", limit=30),
        Column("licence_until", "执业证书有效期至", day, example="2025-12-31"),
        Column("registered_area", "执业注册地", code, example="320600", help="默认机构所在地"),
        Column("is_clinician", "医务人员", flag, example="是"),
        Column("independent_since", "独立临床工作起始日", day, True, "2015-07-01"),
        Column("title", "职称", example="主治医师", choices=labels(PhysicianTitle.Title.choices)),
        Column("title_since", "职称起算日", day, example="2018-01-01", help="默认独立临床工作起始日"),
        Column("joined_on", "到岗日", day, help="从其他机构调入的填写"),
        Column("left_on", "离职日", day),
    )  # fmt: skip
    once = ("code", "title_since")
    notes = ("机构名称", "职称止日")

    def plan(self, records: Sequence[Record], user: User) -> None:
        found = homes(records, user)
        codes = {record.get("code").upper() for record in records}
        rows = Physician.objects.filter(pk__in=codes).prefetch_related("titles")
        known = {row.code: row for row in rows.select_related("institution")}
        visible = Institution.objects.visible_to(user)
        self.visible = set(visible.filter(physicians__in=known).values_list("code", flat=True))
        self.checked = user.may("registry.maintain")
        self.moving: set[str] = set()
        #: titles by practitioner as they will be after the rows before
        self.titles = {
            row.code: {
                title.valid_from: title.title
                for title in row.titles.all()
                if title.superseded_at is None
            }
            for row in known.values()
        }
        self.first: dict[str, Record] = {}
        for record in records:
            place = found.get(record.get("institution"))
            if place is not None and {"code", "independent_since"} <= set(record.values):
                self._plan(record, place, known.get(record.get("code").upper()))

    def _plan(self, record: Record, place: Institution, row: Physician | None) -> None:
        record.values["code"] = number = record.get("code").upper()
        first = self.first.setdefault(number, record)
        record.values["checked"] = self.checked
        record.found, record.changes = place, {}
        fresh = row is None or number in self.moving or self._moves(record, row, place)
        if fresh and first is not record:
            self._same_person(record, first)
        elif row is None:
            self._new(record, place)
        elif fresh:
            self._moved(record, row, place)
        elif not self._registered(record, row):
            return
        held = None if fresh else row
        self._title(record, number)
        self._leaving(record, held)
        if record.errors:
            return
        if fresh and first is record:
            record.decide(CREATE, f"{'登记' if row is None else '调入'}{record.get('name')}")
            return
        before = {key: getattr(held, key, None) for key in record.changes}
        told = record.told(record.changes, before)
        record.decide(CHANGE if record.changes else SAME, told)

    def _moves(self, record: Record, row: Physician, place: Institution) -> bool:
        """Whether a row brings back somebody who left, here or at another institution."""
        if row.left_on is None:
            return False
        return row.institution_id != place.code or "joined_on" in record.values

    def _moved(self, record: Record, row: Physician, place: Institution) -> None:
        self.moving.add(row.code)
        record.values.setdefault("kind", row.kind)
        own = {key: record.values[key] for key in PERSON if key in record.values}
        record.judge(movable, row, place, own, record.get("joined_on", None))
        self._new(record, place)

    def _new(self, record: Record, place: Institution) -> None:
        kind = record.values.setdefault("kind", Physician.Kind.PHYSICIAN)
        area = record.get("registered_area", place.region_id)
        record.judge(sound_practitioner, record.get("code"), record.get("name"), kind,
                     record.get("licence_no"), area)  # fmt: skip

    def _registered(self, record: Record, row: Physician) -> bool:
        """Judge a row of somebody in post; False when nothing may be told of the registration."""
        if row.institution_id not in self.visible:
            record.wrong("code", ELSEWHERE)
            return False
        held = {key: getattr(row, key) for key in FIXED if key != "institution"}
        held["institution"] = row.institution_id
        for key in record.differs(held):
            shown = record.columns[key].text(held[key]) or "空"
            if key == "institution":
                shown = "其他机构"
            record.wrong(key, f"该编码已登记为“{shown}”，导入不能改变")
        record.values.setdefault("kind", row.kind)
        until = record.values.get("licence_until")
        if until is None or until == row.licence_until:
            return True
        if row.licence_until is not None and until < row.licence_until:
            record.wrong("licence_until", f"须晚于现有有效期 {row.licence_until}")
        record.changes["licence_until"] = until
        return True

    def _same_person(self, record: Record, first: Record) -> None:
        for key in (*FIXED, "licence_until", "left_on"):
            if key in record.values and record.values[key] != first.get(key, None):
                record.wrong(key, f"与第 {first.row} 行的同一人不一致")
        record.values.setdefault("kind", first.get("kind"))

    def _title(self, record: Record, number: str) -> None:
        title = record.get("title")
        if not title:
            if "title_since" in record.values:
                record.wrong("title", "填写了起算日，没有填写职称")
            return
        if title not in TITLES[record.get("kind")] and not record.spoilt("kind"):
            label = record.columns["kind"].text(record.get("kind"))
            record.wrong("title", f"{label}没有这一职称")
        moving = number in self.moving
        usual = record.get("joined_on", None) if moving else None
        since = record.values.setdefault("title_since", usual or record.values["independent_since"])
        known = self.titles.setdefault(number, {})
        started = max((held for held in known if held <= since), default=None)
        if started is not None and known[started] == title and (moving or started == since):
            return
        if any(held >= since for held in known):
            record.wrong("title_since", "已登记同日或更晚起算的职称")
        known[since] = title
        record.changes |= {"title": title, "title_since": since}

    def _leaving(self, record: Record, row: Physician | None) -> None:
        left = record.values.get("left_on")
        held = row.left_on if row else None
        if left == held or left is None:
            if held and record.changes:
                record.wrong("left_on", f"已于 {held} 离职，不能再登记变化")
            return
        if held:
            record.wrong("left_on", f"已登记于 {held} 离职")
        if left < record.values["independent_since"]:
            record.wrong("left_on", "离职日早于独立临床工作起始日")
        record.changes["left_on"] = left

    def write(self, record: Record, *, by: str, at: dt.datetime) -> None:
        changes, values = record.changes, record.values
        if record.verdict == CREATE:
            row = commands.register_practitioner(
                institution=record.found, code=values["code"], name=values["name"],
                licence_no=values["licence_no"], kind=values["kind"],
                independent_since=values["independent_since"], title=record.get("title"),
                title_since=values.get("title_since"), licence_until=values.get("licence_until"),
                registered_area=record.get("registered_area"),
                is_clinician=record.get("is_clinician", True), joined_on=values.get("joined_on"),
                checked=values["checked"], by=by, at=at,
            )  # fmt: skip
        else:
            row = Physician.objects.select_related("institution__region").get(pk=values["code"])
            if "licence_until" in changes:
                commands.renew_licence(
                    physician=row, licence_until=changes["licence_until"], by=by, at=at
                )
            if "title" in changes:
                commands.record_title(
                    physician=row, title=changes["title"], valid_from=changes["title_since"],
                    checked=values["checked"], by=by, at=at,
                )  # fmt: skip
        if "left_on" in changes and row.left_on is None:
            commands.leave(physician=row, on=changes["left_on"], by=by, at=at)

    def held(
        self, institutions: InstitutionQuerySet, on: dt.date
    ) -> Iterator[tuple[dict[str, Any], list[str]]]:
        titles = PhysicianTitle.objects.counted().order_by("valid_from")
        rows = Physician.objects.filter(institution__in=institutions.order_by())
        rows = rows.select_related("institution").order_by("institution_id", "code")
        for row in rows.prefetch_related(Prefetch("titles", titles, to_attr="all_titles")):
            own = {column.key: getattr(row, column.key, None) for column in self.columns}
            own |= {"institution": row.institution_id, "title_since": None, "title": None}
            dated_titles: list[PhysicianTitle | None] = [*row.all_titles]
            for title in dated_titles or [None]:
                dated = {"title": title.title, "title_since": title.valid_from} if title else {}
                end = title.valid_until.isoformat() if title and title.valid_until else ""
                yield own | dated, [row.institution.name, end]
