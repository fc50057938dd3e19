"""What the registry asks of the law in force, which stands above it: named by a setting, not imported."""

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from django.conf import settings
from django.utils.module_loading import import_string

from institutions.models import Institution


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


def law_for(institution: Institution, *, on: dt.date) -> RegistryLaw:
    """The registry's law at an institution on a day (`settings.REGISTRY_LAW` names the callable)."""
    return import_string(settings.REGISTRY_LAW)(institution.region.policy_region, on)
