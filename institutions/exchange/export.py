"""Sheets out: empty ones to fill in, and what is registered, as XLSX, CSV or JSON."""

import datetime as dt
import json
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

from audit import trail
from audit.sheets import CSV, XLSX, Guide, csv_lines, workbook
from institutions.exchange.columns import Column, code, day, flag, several
from institutions.exchange.kinds import Kind
from institutions.models import InstitutionQuerySet, User
from institutions.refusals import refused

MOST = 50_000
JSON = "application/json"
ENDINGS = ("xlsx", "csv", "json")
GUIDE_HEAD = ("列", "必填", "填写要求", "示例")
WORDS: dict[Callable[[str], Any], str] = {
    code: "编码，按文本填写",
    day: "日期，如 2021-12-01",
    flag: "是 或 否",
    several: "多个以分号分隔",
}


def template(kind: Kind, ending: str) -> tuple[bytes, str]:
    """An empty sheet of a kind: (content, media type). Its cells are text: long numbers stay whole."""
    head = [column.label for column in kind.columns]
    if ending == "csv":
        return "".join(csv_lines(head, ())).encode(), CSV
    choices = {
        at: tuple(_words(column)) for at, column in enumerate(kind.columns) if _words(column)
    }
    guide = Guide(
        choices, "填写说明", [GUIDE_HEAD, *map(_explained, kind.columns), ("", "", kind.hint, "")]
    )
    return workbook(kind.title, head, (), guide), XLSX


def _words(column: Column) -> Sequence[str]:
    return ("是", "否") if column.read is flag else tuple(column.choices)


def _explained(column: Column) -> tuple[str, ...]:
    words = [column.help, WORDS.get(column.read, "") if not column.choices else "",
             f"可选：{'、'.join(column.choices)}" if column.choices else ""]  # fmt: skip
    return (column.label, "是" if column.required else "", "；".join(filter(None, words)),
            column.example)  # fmt: skip


def export(
    *, kind: Kind, institutions: InstitutionQuerySet, on: dt.date, ending: str, wanted: Mapping[str, str],
    user: User, by: str, at: dt.datetime,
) -> tuple[bytes, str]:  # fmt: skip
    """(content, media type) of what is registered of some institutions; the export is an event.

    `wanted` is the query that was asked, as it stands in the event.
    """
    rows = list(islice(kind.rows(institutions, on), MOST + 1))
    if len(rows) > MOST:
        raise refused("", "EXPORT_TOO_LARGE", f"超过 {MOST:,} 行，请缩小查询范围后再导出",
                      "too many rows: narrow the query")  # fmt: skip
    place = user.institution
    trail.record(
        by=by, at=at, action="registry.export", subject=f"registry:{kind.key}",
        region_code=place.region_id if place else user.region_id or "",
        institution_code=place.code if place else "",
        detail={"format": ending, "rows": len(rows), "on": on, "query": dict(wanted)},
    )  # fmt: skip
    return _written(kind, rows, ending, wanted=wanted, on=on, at=at)


def _written(
    kind: Kind, rows: list[list[str]], ending: str, *, wanted: Mapping[str, str], on: dt.date,
    at: dt.datetime,
) -> tuple[bytes, str]:  # fmt: skip
    if ending == "csv":
        return "".join(csv_lines(kind.head(), rows)).encode(), CSV
    if ending == "xlsx":
        return workbook(kind.title, kind.head(), rows), XLSX
    keys = [*(column.key for column in kind.columns), *kind.notes]
    body = {
        "kind": kind.key, "title": kind.title, "on": on.isoformat(), "exported_at": at.isoformat(),
        "query": dict(wanted), "columns": dict(zip(keys, kind.head(), strict=True)),
        "rows": [dict(zip(keys, row, strict=True)) for row in rows],
    }  # fmt: skip
    return json.dumps(body, ensure_ascii=False, indent=1).encode(), JSON
