"""Who may open what: one table of addresses and roles; every address declares a policy."""

import datetime as dt
from collections.abc import Iterator

import pytest
from django.test import Client
from django.urls import get_resolver, reverse
from django.urls.resolvers import URLPattern

from agreements.models import Application
from audit import trail
from audit.access import DECLARED, PUBLIC, SIGNED_IN
from config.menu import MENU
from config.roles import PERMISSIONS, ROLES
from institutions import documents
from institutions.models import Document, Institution, Region
from pricing.models import Release
from tests import factories

AT = dt.datetime(2021, 12, 1, 9, tzinfo=dt.UTC)
ADMINISTRATORS = ("system_admin", "security_admin", "audit_admin")
#: Roles in the order of the table below.
ORDER = (
    "policy_staff", "reviewer", "signing_officer", "settlement_clerk", "finance_officer", "information", "supervisor", "auditor",
    "hospital", "health_commission", "telemedicine_centre", "system_admin", "security_admin",
    "audit_admin",
)  # fmt: skip
#: Address → who gets what: y 200, n 403, x 404 (not in scope); first the anonymous visitor, who is
#: shown the page (y) or sent to the log-in page (l).
MATRIX = {
    #                      anonymous, then ORDER
    "prices":                  "y yyyyyyyyyyyyyy",
    "prices-csv":              "y yyyyyyyyyyyyyy",
    "prices-json":             "y yyyyyyyyyyyyyy",
    "releases":                "l yynyyyyynynnnn",
    "release":                 "l yynyyyyynynnnn",
    "institutions":            "l yyyyyyyyyyynnn",
    "institution":             "l yyyyyyyyyyynnn",
    "agreement-panel":         "l yyyyyyyyyyynnn",
    "foreign institution":     "l xxxxxxxxxxxnnn",
    "foreign panel":           "l xxxxxxxxxxxnnn",
    "trail":                   "l nnnnnnyynnnnny",
    "trail-event":             "l nnnnnnyynnnnny",
    "foreign event":           "l nnnnnnxxnnnnnx",
    "trail-export":            "l nnnnnnyynnnnny",
    "account_change_password": "l yyyyyyyyyyyyyy",
    "mfa_index":               "l yyyyyyyyyyyyyy",
    "healthz":                 "y yyyyyyyyyyyyyy",
    "inbox":                   "l yyyyyyyyyyynnn",
    "notifications":           "l yyyyyyyyyyynnn",
    "delegations":             "l yyyyyyyyyyynnn",
    "applications":            "l yyynnyyyyynnnn",
    "application-new":         "l nnnnnnnnynnnnn",
    "application":             "l yyynnyyyyynnnn",
    "foreign application":     "l xxxnnxxxxxnnnn",
    "agreements":              "l yyyyyyyyynnnnn",
    "agreement":               "l yyyyyyyyynnnnn",
    "foreign agreement":       "l xxxxxxxxxnnnnn",
    "signing-keys":            "l yyyyyyyyynnnnn",
    "assessments":             "l yyynnyyyynnnnn",
    "waves":                   "l yyynnyyyyynnnn",
    "forms-list":              "l ynnnnnnynnnnnn",
    "registry-changes":        "l yyyyyyyyyynnnn",
    "registry-mappings":       "l yyyyyyyyyynnnn",
    "registry-expiries":       "l yyyyyyyyyynnnn",
    "registry-regions":        "l yyyyyyyyyynnnn",
    "registry-calendars":      "l yyyyyyyyyynnnn",
    "registry-offices":        "l ynynnnynnnnnnn",
    "registry-office":         "l ynynnnynnnnnnn",
    "foreign offices":         "l nnnnnnnnnnnnnn",
    "registry-imports":        "l yyyyyyyyyynnnn",
    "registry-register":       "l nynnnnnnnnnnnn",
    "webhooks":                "l nnnnnnnnynnnnn",
    "document":                "l yyynnyyyynnnnn",
    "foreign document":        "l xxxnnxxxxnnnnn",
    "public-prices":           "y yyyyyyyyyyyyyy",
    "public-institutions":     "y yyyyyyyyyyyyyy",
    "public-notices":          "y yyyyyyyyyyyyyy",
    "public-interface":        "y yyyyyyyyyyyyyy",
}  # fmt: skip
LETTERS = {200: "y", 403: "n", 404: "x", 302: "l"}


@pytest.fixture
def addresses(db) -> dict[str, str]:
    """The addresses of the table, for records in Nantong and (foreign) in Wenzhou."""
    factories.policies()
    ours, theirs = factories.institution("nantong"), factories.institution("wenzhou")
    seen, unseen = (
        trail.record(
            by="someone", at=AT, action="claim.receive", subject="claim:1",
            region_code=place.region_id, institution_code=place.code,
        )
        for place in (ours, theirs)
    )  # fmt: skip
    applied, foreign = (_application(place) for place in (ours, theirs))
    scan, hidden = (_document(place) for place in (ours, theirs))
    return {
        **{name: reverse(name) for name in (
            "prices", "prices-csv", "prices-json", "releases", "institutions", "trail",
            "account_change_password", "mfa_index", "healthz", "inbox", "notifications",
            "delegations", "applications", "application-new", "agreements", "assessments", "waves",
            "forms-list", "registry-changes", "registry-mappings", "registry-expiries",
            "registry-regions", "registry-calendars", "registry-imports", "registry-register",
            "webhooks", "signing-keys", "public-prices", "public-institutions", "public-notices",
            "public-interface")},
        "registry-offices": reverse("registry-offices", args=[ours.region_id]),
        "registry-office": reverse("registry-office", args=[ours.region_id, "agency"]),
        "foreign offices": reverse("registry-offices", args=[theirs.region_id]),
        "application": reverse("application", args=[applied.pk]),
        "foreign application": reverse("application", args=[foreign.pk]),
        "agreement": reverse("agreement", args=[ours.agreements.first().pk]),
        "foreign agreement": reverse("agreement", args=[theirs.agreements.first().pk]),
        "document": reverse("document", args=[scan.pk]),
        "foreign document": reverse("document", args=[hidden.pk]),
        "release": reverse("release", args=[Release.objects.order_by("pk").first().pk]),
        "institution": reverse("institution", args=[ours.code]),
        "agreement-panel": reverse("agreement-panel", args=[ours.code]),
        "foreign institution": reverse("institution", args=[theirs.code]),
        "foreign panel": reverse("agreement-panel", args=[theirs.code]),
        "trail-event": reverse("trail-event", args=[seen.pk]),
        "foreign event": reverse("trail-event", args=[unseen.pk]),
        "trail-export": reverse("trail-export", args=["csv"]),
    }  # fmt: skip


def _application(place: Institution) -> Application:
    return Application.objects.create(
        number=f"A-{place.code}", institution=place, procedure=place.region.policy_region,
        state="draft", entered_on=AT.date(), region_code=place.region_id,
        institution_code=place.code, opened_at=AT, opened_by="someone",
    )  # fmt: skip


def _document(place: Institution) -> Document:
    return documents.store(
        content=b"%PDF-1.4 scan", name="scan.pdf", kind="evidence", institution=place, by="someone",
        at=AT,
    )  # fmt: skip


def _person(role: str):
    if role == "hospital":
        return factories.user(role, Institution.objects.get(region_id="320600"))
    place = Region.objects.get(code="320600") if ROLES[role].scope == "region" else None
    return factories.user(role, place)


def test_every_role_is_in_the_table():
    assert set(ORDER) == set(ROLES)


def test_who_gets_what(addresses: dict[str, str]):
    found = {name: "" for name in MATRIX}
    for role in ("", *ORDER):
        client = factories.log_in(Client(), _person(role)) if role else Client()
        for name in MATRIX:
            found[name] += LETTERS.get(client.get(addresses[name]).status_code, "?")
    assert found == {name: row.replace(" ", "") for name, row in MATRIX.items()}


def _patterns(patterns: list, prefix: str = "") -> Iterator[tuple[str, URLPattern]]:
    for pattern in patterns:
        address = prefix + str(pattern.pattern)
        if isinstance(pattern, URLPattern):
            yield address, pattern
        else:
            yield from _patterns(pattern.url_patterns, address)


def _policy(pattern: URLPattern) -> str | None:
    """What a view declares: a permission, public, signed-in, or the classes of a REST view."""
    declared = getattr(pattern.callback, DECLARED, None)
    if declared is None and hasattr(pattern.callback, "cls"):
        names = [entry.__name__ for entry in pattern.callback.cls.permission_classes]
        return "rest" if names else None
    return declared


def test_every_address_declares_a_policy():
    known = {*PERMISSIONS, PUBLIC, SIGNED_IN, "rest"}
    undeclared = [
        address
        for address, pattern in _patterns(get_resolver().url_patterns)
        if _policy(pattern) not in known
    ]
    assert undeclared == []


def test_every_name_belongs_to_one_address():
    names = [pattern.name for _, pattern in _patterns(get_resolver().url_patterns) if pattern.name]
    assert sorted(names) == sorted(set(names))


def test_administrators_share_no_permission_with_each_other():
    """三权分立: system, security and audit administration are three persons' work."""
    owned = [ROLES[name].permissions for name in ADMINISTRATORS]
    assert sum(map(len, owned)) == len(frozenset().union(*owned))


def test_administrators_touch_no_money_and_no_law():
    working = {"claims", "batches", "releases", "trials", "persons"}
    for name in ADMINISTRATORS:
        assert {
            permission.split(".")[0] for permission in ROLES[name].permissions
        } & working == set()


def test_menu_asks_only_for_known_permissions():
    assert {entry.permission for _, entries in MENU for entry in entries} <= PERMISSIONS
