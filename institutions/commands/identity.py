"""What a party is, whatever the day: its credit code, tier, aliases, the hospital that it belongs to.

These have no days: a correction says what was wrong, and the event keeps what stood there before.
Name and internet hospital's name are dated facts (`facts.record_facts`).
"""

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from django.db import transaction

from institutions.commands.facts import free_credit_code, locked, noted
from institutions.models import Institution
from institutions.refusals import refused

IDENTITY: dict[str, str] = {
    "credit_code": "统一社会信用代码", "tier": "层级", "aliases": "别名", "parent": "实体医疗机构",
}  # fmt: skip
TIERS = {
    "provincial": "省级",
    "municipal": "市级",
    "county": "县级",
    "township": "乡镇",
    "community": "社区",
}
LONGEST_ALIAS = 120


@transaction.atomic
def correct_identity(
    *, institution: Institution, changes: Mapping[str, Any], source: str, reason: str, by: str,
    at: dt.datetime,
) -> Institution:  # fmt: skip
    """Correct what was registered wrongly; Refusal for a wrong or foreign credit code, or no change.

    `changes` by the names of `IDENTITY`; `parent` is an Institution or None.
    """
    for field, value, label in (("source", source, "更正依据"), ("reason", reason, "更正原因")):
        if not value.strip():
            raise refused(field, f"{field.upper()}_MISSING", f"请填写{label}", f"{field} is needed")
    found = locked(institution)
    for key in changes:
        if key not in IDENTITY:
            raise refused(key, "FIELD_UNKNOWN", f"“{key}”不是可更正的身份信息；名称按日期登记变化",
                          "this is no part of the identity")  # fmt: skip
    given = {key: SOUND[key](found, value) for key, value in changes.items()}
    before = {key: getattr(found, key) for key in given}
    changed = {key: value for key, value in given.items() if before[key] != value}
    if not changed:
        raise refused("", "NOTHING_CHANGED", "身份信息没有任何变化", "nothing is changed")
    for key, value in changed.items():
        setattr(found, key, value)
    found.save(update_fields=list(changed))
    noted(
        found, "institution.correct", by=by, at=at, source=source.strip(), reason=reason.strip(),
        before={key: _told(before[key]) for key in changed},
        after={key: _told(value) for key, value in changed.items()},
    )  # fmt: skip
    return found


def _told(value: Any) -> Any:
    return value.pk if isinstance(value, Institution) else value


def _credit_code(found: Institution, value: str) -> str:
    return free_credit_code(value, name=found.name, but=found.pk)


def _tier(found: Institution, value: str) -> str:
    if value and value not in TIERS:
        raise refused("tier", "TIER_UNKNOWN", f"没有“{value}”这一层级", "unknown tier")
    return value


def _aliases(found: Institution, value: Iterable[str]) -> list[str]:
    names = [name for name in dict.fromkeys(part.strip() for part in value) if name]
    for name in names:
        if len(name) > LONGEST_ALIAS:
            raise refused(
                "aliases", "TOO_LONG", f"每个别名不得超过{LONGEST_ALIAS}个字符", "too long"
            )
    return [name for name in names if name != found.name]


def _parent(found: Institution, value: Institution | None) -> Institution | None:
    if value is not None and value.kind != found.kind:
        raise refused(
            "parent", "PARENT_KIND", "实体机构与本机构类型不同", "the parent differs in kind"
        )
    above = value
    while above is not None:
        if above.pk == found.pk:
            raise refused("parent", "PARENT_CIRCLE", "实体机构不能是本机构，也不能隶属于本机构",
                          "an institution does not belong to itself")  # fmt: skip
        above = above.parent
    return value


SOUND: dict[str, Callable[[Institution, Any], Any]] = {
    "credit_code": _credit_code, "tier": _tier, "aliases": _aliases, "parent": _parent,
}  # fmt: skip
