"""Old entries: their bodies move to archive bundles that verify elsewhere; leaves, nodes and proofs stay.

An archive is a stretch of the log, from the end of the one before to a signed checkpoint. It is written,
read back and verified before it is recorded. Bodies are emptied by the owner's function only, and only of
entries whose archive is recorded by a sealed event with the file's SM3. (网络安全法 第二十一条（三）)
"""

import datetime as dt
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from django.conf import settings
from django.db import connection, transaction

from audit import bundles, clock, proven, trail, verify
from audit.models import Archive, Checkpoint, Event, Leaf

FOLDER = "trail-archives"
CHUNK = 10_000  #: bodies emptied in one transaction


class ArchiveError(Exception):
    """Why nothing is archived, in Chinese."""


@cache
def retention() -> dict[str, Any]:
    """How many months entries stay, with the clause that says so."""
    return yaml.safe_load(Path(__file__).with_name("retention.yaml").read_text(encoding="utf-8"))


def write(*, before: dt.date, by: str, at: dt.datetime) -> Archive:
    """Archive the sealed entries from the last archive on to the last checkpoint dated before `before`."""
    months, clause = retention()["months"], retention()["clause"]
    if before > _months_before(at.date(), months):
        latest = _months_before(at.date(), months)
        raise ArchiveError(f"操作记录至少在线留存{months}个月（{clause}），截止日不得晚于{latest}")
    with transaction.atomic():
        first = _end_of_last()
        top = _last_checkpoint(first, before)
        if top is None:
            raise ArchiveError(f"{before} 以前没有新的检查点可作为归档的结尾")
        name = f"trail-{first}-{top.size}.jsonl"
        path = folder() / name
        digest, size = _written(path, first, top, by=by, at=at)
        archive = Archive.objects.create(
            first=first, last=top.size, before=before, name=name, sm3=digest, size=size,
            checkpoint=top, at=at, by=by,
        )  # fmt: skip
        trail.record(
            by=by, at=at, action=proven.ARCHIVED, subject=f"archive:{archive.pk}",
            detail={"first": first, "last": top.size, "before": before, "name": name,
                    "sm3": digest, "clause": clause},
        )  # fmt: skip
    return archive


def folder() -> Path:
    """Where archives are put; from here they are carried to other media."""
    path = Path(settings.TRAIL_ARCHIVE_DIR)
    path.mkdir(parents=True, exist_ok=True, mode=0o750)
    return path


def _written(
    path: Path, first: int, top: Checkpoint, *, by: str, at: dt.datetime
) -> tuple[str, int]:
    """SM3 and size of the finished file; ArchiveError when it does not verify."""
    digest, size = hashlib.new("sm3"), 0
    begun = path.with_suffix(".part")
    with begun.open("wb") as stream:
        for line in bundles.stretch(first=first, top=top, by=by, at=at):
            text = line.encode()
            digest.update(text)
            size += stream.write(text)
    status, sentence = verify.verify(str(begun))
    if status != verify.OK:
        begun.unlink()
        raise ArchiveError(f"归档文件未通过校验，未登记：{sentence}")
    begun.chmod(0o440)
    begun.replace(path)
    return digest.hexdigest(), size


def _end_of_last() -> int:
    last = Archive.objects.order_by("-last").values_list("last", flat=True).first()
    return last or 0


def _last_checkpoint(first: int, before: dt.date) -> Checkpoint | None:
    """The last checkpoint after `first` all of whose entries happened before the day."""
    until = dt.datetime.combine(before, dt.time.min, clock.ZONE)
    sizes = Checkpoint.objects.filter(size__gt=first, at__lt=until).order_by("-size")
    for top in sizes[:100]:
        keys = Leaf.objects.filter(seq__gte=first, seq__lt=top.size).values("event")
        if not Event.objects.filter(pk__in=keys, at__gte=until).exists():
            return top
    return None


def _months_before(day: dt.date, months: int) -> dt.date:
    """The day so many months earlier, the last of the month where there is none."""
    year, month = divmod(day.year * 12 + day.month - 1 - months, 12)
    for last in (day.day, 30, 29, 28):
        try:
            return dt.date(year, month + 1, last)
        except ValueError:
            continue
    raise ValueError(day)


def empty(*, archive: Archive, by: str, at: dt.datetime) -> int:
    """Empty the bodies of an archive's entries (as the owner of the tables); how many."""
    emptied = 0
    for begin in range(archive.first, archive.last, CHUNK):
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT audit_empty_bodies(%s, %s, %s)",
                [archive.pk, begin, min(begin + CHUNK, archive.last)],
            )
            emptied += cursor.fetchone()[0]
    trail.record(
        by=by, at=at, action="trail.empty", subject=f"archive:{archive.pk}",
        detail={"emptied": emptied, "sm3": archive.sm3, "name": archive.name},
    )  # fmt: skip
    return emptied
