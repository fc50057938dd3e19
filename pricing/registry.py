"""What the registry of institutions asks of the published law (`settings.REGISTRY_LAW`)."""

import datetime as dt
from functools import partial

from institutions.law import Platform, RegistryLaw
from pricing.document import Policy
from pricing.releases import current


def law_of(policy_region: str, on: dt.date) -> RegistryLaw:
    """Platforms, physicians' agreements and known price items of a region's policy on a day."""
    published = current().policy(policy_region, on)
    if published is None:
        return RegistryLaw()
    policy = published.policy
    physicians = policy.section("physicians", {})
    security = policy.section("information_security", {})
    return RegistryLaw(
        platforms={
            row["key"]: Platform(row["name"], _cited(policy, row.get("clause", "")))
            for row in policy.section("platforms", ())
        },
        physician_agreements=tuple(physicians.get("agreements", ())),
        physicians_clause=_cited(policy, physicians.get("clause", "")),
        protection_level=security.get("protection_level"),
        protection_clause=_cited(policy, security.get("clause", "")),
        knows=partial(_knows, policy),
    )


def _cited(policy: Policy, clause: str) -> str:
    return f"{policy.document} {clause}".strip() if clause else ""


def _knows(policy: Policy, kind: str, code: str) -> bool | None:
    """Whether the region's document prices a code; None: it prints no list of that kind."""
    items = policy.section("items", ())
    if kind != "item" or not items:
        return None
    return any(code == item["code"] or code in item.get("aliases", ()) for item in items)
