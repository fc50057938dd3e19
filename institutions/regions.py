"""The areas that the shipped documents cover, from `regions.yaml` into the database."""

import datetime as dt
from pathlib import Path

import yaml
from django.db import transaction

from audit import trail
from institutions.models import Region

SHIPPED = Path(__file__).with_name("regions.yaml")
NO_POLICY = "none"  #: the key of areas without a policy of their own
Level = Region.Level
ORDER = (Level.PROVINCE, Level.PREFECTURE, Level.COUNTY)


def level_of(code: str) -> Region.Level:
    """The administrative level of an area code."""
    if code.endswith("0000"):
        return Level.PROVINCE
    return Level.PREFECTURE if code.endswith("00") else Level.COUNTY


def parent_of(code: str) -> str | None:
    """The area code one level up; None for a province."""
    parents = {Level.COUNTY: f"{code[:4]}00", Level.PREFECTURE: f"{code[:2]}0000"}
    return parents.get(level_of(code))


def shipped(path: Path = SHIPPED) -> list[Region]:
    """The regions of the file, not stored, those above before those below."""
    areas = yaml.safe_load(path.read_text(encoding="utf-8"))
    rows = [
        Region(
            code=code, name=name, level=level_of(code), parent_id=parent_of(code),
            policy_region="" if policy == NO_POLICY else policy,
        )
        for policy, names in areas.items() for code, name in names.items()
    ]  # fmt: skip
    return sorted(rows, key=lambda row: (ORDER.index(row.level), row.code))


@transaction.atomic
def load_regions(*, by: str, at: dt.datetime, path: Path = SHIPPED) -> int:
    """Store what is missing of the file and what it says differently; how many that were.

    Regions that the file does not name stay. Safe to repeat.
    """
    held = {row.code: _told(row) for row in Region.objects.all()}
    rows = [row for row in shipped(path) if held.get(row.code) != _told(row)]
    if not rows:
        return 0
    Region.objects.bulk_create(
        rows, update_conflicts=True, unique_fields=["code"],
        update_fields=["name", "level", "parent", "policy_region"],
    )  # fmt: skip
    trail.record(
        by=by, at=at, action="regions.load", subject="registry:regions",
        detail={"count": len(rows), "codes": [row.code for row in rows],
                "changed": {row.code: held[row.code] for row in rows if row.code in held}},
    )  # fmt: skip
    return len(rows)


def _told(row: Region) -> list[str | None]:
    return [row.name, str(row.level), row.parent_id, row.policy_region]
