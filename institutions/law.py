"""What the registry asks of the law in force, which stands above it: named by a setting, not imported."""

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from django.conf import settings
from django.utils.module_loading import import_string

from institutions.models import Institution

#: GB/T 22240 等级保护, from the lowest to the highest
LEVELS = ("第一级", "第二级", "第三级", "第四级", "第五级")


@dataclass(frozen=True)
class Platform:
    """A platform that the policy of a region names."""

    name: str
    clause: str = ""


def _unknown(kind: str, code: str) -> bool | None:
    return None


@dataclass(frozen=True)
class RegistryLaw:
    """The part of a region's policy that the registry needs, on a day.

    `knows(kind, code)`: whether a national code exists; None where no catalogue of that kind is
    published. `physician_agreements`: the names of those that bind a physician (温州 二十).
    `protection_level`: which level of 网络安全等级保护 is asked of institutions (南通 三（四）).
    """

    platforms: Mapping[str, Platform] = field(default_factory=dict)
    physician_agreements: tuple[str, ...] = ()
    physicians_clause: str = ""
    protection_level: int | None = None
    protection_clause: str = ""
    knows: Callable[[str, str], bool | None] = _unknown

    @property
    def too_low(self) -> tuple[str, ...]:
        """Levels of protection evidence that do not count here."""
        return LEVELS[: (self.protection_level or 1) - 1]

    @property
    def level_asked(self) -> str:
        """The level of protection that is asked, in words; empty where none is."""
        return LEVELS[self.protection_level - 1] if self.protection_level else ""


def law_for(institution: Institution, *, on: dt.date) -> RegistryLaw:
    """The registry's law at an institution on a day (`settings.REGISTRY_LAW` names the callable)."""
    return law_in(institution.region.policy_region, on=on)


def law_in(policy_region: str, *, on: dt.date) -> RegistryLaw:
    """The registry's law of a policy region on a day."""
    return import_string(settings.REGISTRY_LAW)(policy_region, on)
