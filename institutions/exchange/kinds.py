"""What a kind of registry sheet can do: plan its rows, write them, list what is registered."""

import datetime as dt
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

from institutions.exchange.columns import NOTE, Column, Record
from institutions.models import Institution, InstitutionQuerySet, User

CREATE, CHANGE, SAME = "create", "change", "same"
VERDICTS = {CREATE: "新增", CHANGE: "修改", SAME: "不变"}


class Kind(ABC):
    """A kind of sheet. Nothing is written but by the commands of the registry."""

    key: ClassVar[str]
    title: ClassVar[str]
    hint: ClassVar[str]
    permissions: ClassVar[frozenset[str]]
    columns: ClassVar[tuple[Column, ...]]
    once: ClassVar[tuple[str, ...]]  #: the columns by which a row may stand in a file only once
    notes: ClassVar[tuple[str, ...]] = ()  #: columns of exports that are never imported

    @abstractmethod
    def plan(self, records: Sequence[Record], user: User) -> None:
        """Say what would become of each row, or what is wrong: reads many rows at once, writes none."""

    @abstractmethod
    def write(self, record: Record, *, by: str, at: dt.datetime) -> None:
        """Write a row that is planned as new or changed."""

    @abstractmethod
    def held(
        self, institutions: InstitutionQuerySet, on: dt.date
    ) -> Iterator[tuple[dict[str, Any], list[str]]]:
        """What is registered of these institutions on a day: values by column, texts of the notes."""

    def open_to(self, user: User) -> bool:
        """Whether a person may import this kind."""
        return any(user.may(permission) for permission in self.permissions)

    def head(self) -> list[str]:
        """The titles of an export."""
        return [column.label for column in self.columns] + [NOTE + note for note in self.notes]

    def rows(self, institutions: InstitutionQuerySet, on: dt.date) -> Iterator[list[str]]:
        """The rows of an export, as texts that an import reads back."""
        for values, notes in self.held(institutions, on):
            yield [column.text(values.get(column.key)) for column in self.columns] + notes

    def single(self, records: Iterable[Record]) -> None:
        """A row that stands twice in the file is wrong where it comes again."""
        seen: dict[tuple, int] = {}
        for record in records:
            key = tuple(record.values.get(name) for name in self.once)
            if None in key:
                continue
            if key in seen:
                record.wrong(self.once[-1], f"与第 {seen[key]} 行重复")
            seen.setdefault(key, record.row)


def homes(records: Iterable[Record], user: User) -> dict[str, Institution]:
    """The institutions that rows name, inside the scope of a person; rows of others are wrong."""
    records = list(records)
    codes = {record.values["institution"] for record in records if "institution" in record.values}
    visible = Institution.objects.visible_to(user).filter(pk__in=codes)
    found = {row.code: row for row in visible.select_related("region")}
    for record in records:
        code = record.values.get("institution")
        if code is not None and code not in found:
            record.wrong("institution", "没有登记此机构，或不在您的数据范围内")
    return found
