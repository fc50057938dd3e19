"""Who may open what: one table of addresses and roles; every address declares a policy."""

from collections.abc import Iterator

import pytest
from django.test import Client
from django.urls import get_resolver
from django.urls.resolvers import URLPattern

from audit.access import DECLARED, PUBLIC, SIGNED_IN
from config.menu import MENU
from config.roles import PERMISSIONS, ROLES
from institutions.models import Institution, Region
from tests import factories, records

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
    "system-status":           "l nnnnnnnnnnnynn",
    "clients":                 "l nnnnnnnnnnnnyn",
    "client-new":              "l nnnnnnnnnnnnyn",
    "client":                  "l nnnnnnnnnnnnyn",
    "reports":                 "l yynnynyynnnnnn",
    "report-new":              "l yynnynyynnnnnn",
    "report":                  "l yynnynyynnnnnn",
    "foreign report":          "l xxnnxnxxnnnnnn",
    "claim-new":               "l nnnnnnnnynnnnn",
    "monthly":                 "l nynnnnyynnnnnn",
    "monthly-new":             "l nynnnnynnnnnnn",
    "monthly-report":          "l nynnnnyynnnnnn",
    "foreign monthly":         "l nxnnnnxxnnnnnn",
    "audit-desk":              "l nnnnnnnynnnnnn",
    "sample-new":              "l nnnnnnnynnnnnn",
    "sample":                  "l nnnnnnnynnnnnn",
    "foreign sample":          "l nnnnnnnxnnnnnn",
    "trail-event":             "l nnnnnnyynnnnny",
    "foreign event":           "l nnnnnnxxnnnnnx",
    "trail-export":            "l nnnnnnyynnnnny",
    "checkpoints":             "l nnnnnnyynnnnny",
    "api-checkpoints":         "l nnnnnnyynnnnny",
    "public-verifier":         "y yyyyyyyyyyyyyy",
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
    "statements":              "l yynyynyyynnnnn",
    "periods":                 "l yynyynyyynnnnn",
    "advances":                "l yynyynyyynnnnn",
    "budgets":                 "l yynyynyyynnnnn",
    "clearings":               "l yynyynyyynnnnn",
    "statement":               "l yynyynyyynnnnn",
    "statement-report-panel":  "l yynnynyynnnnnn",
    "foreign report panel":    "l xxnnxnxxnnnnnn",
    "foreign statement":       "l xxnxxnxxxnnnnn",
    "period":                  "l yynyynyyynnnnn",
    "foreign period":          "l xxnxxnxxxnnnnn",
    "budget":                  "l yynyynyyynnnnn",
    "foreign budget":          "l xxnxxnxxxnnnnn",
    "drug-lists":              "l yyyyyyyyyyynnn",
    "drug-list":               "l yyyyyyyyyyynnn",
    "drug-template":           "l ynnnnnnnnnnnnn",
    "prescriptions":           "l yynyynyyynnnnn",
    "prescription":            "l yynyynyyynnnnn",
    "foreign prescription":    "l xxnxxnxxxnnnnn",
    "drug-return":             "l nnnnnnnnynnnnn",
    "foreign drug-return":     "l nnnnnnnnxnnnnn",
    "prescription-dispense":   "l nnnnnnnnynnnnn",
    "foreign dispense":        "l nnnnnnnnxnnnnn",
    "dispensing-delivery":     "l nnnnnnnnynnnnn",
    "foreign delivery":        "l nnnnnnnnxnnnnn",
    "delivery-step":           "l nnnnnnnnynnnnn",
    "foreign step":            "l nnnnnnnnxnnnnn",
    "evidence-gaps":           "l yynyynyyynnnnn",
    "webhooks":                "l nnnnnnnnynnnnn",
    "findings":                "l yynnnnyyynnnnn",
    "finding":                 "l yynnnnyyynnnnn",
    "foreign finding":         "l xxnnnnxxxnnnnn",
    "finding-paper":           "l yynnnnyyynnnnn",
    "finding-notice":          "l nxnnnnxnnnnnnn",
    "rules-quality":           "l yynnnnyyxnnnnn",
    "audits":                  "l nynnnnynnnnnnn",
    "audit-run":               "l yynnnnyyxnnnnn",
    "foreign run":             "l xxnnnnxxxnnnnn",
    "tuning":                  "l ynnnnnynnnnnnn",
    "precheck-sample":         "l yynyyyyyynynnn",
    "assess-list":             "l nynnnnnnnnnnnn",
    "foreign assess":          "l nxnnnnnnnnnnnn",
    "reviews":                 "l nynnnnyyynnnnn",
    "recoveries":              "l nynnnnyyynnnnn",
    "foreign review":          "l nxnnnnxxxnnnnn",
    "sampling-plans":          "l nynnnnynnnnnnn",
    "sampling-plan":           "l nynnnnynnnnnnn",
    "foreign sampling-plan":   "l nxnnnnxnnnnnnn",
    "resettlements":           "l yynyynyynnnnnn",
    "adjustments":             "l yynyynyynnnnnn",
    "adjustment-new":          "l nnnynnnnnnnnnn",
    "adjustments-csv":         "l yynyynyynnnnnn",
    "reconciliations":         "l yynyynyyynnnnn",
    "reconciliation-template": "l yynyynyyynnnnn",
    "reconciliation":          "l yynyynyyynnnnn",
    "foreign reconciliation":  "l xxnxxnxxxnnnnn",
    "outages":                 "l yynyynyyynnnnn",
    "foreign outage":          "l xxnxxnxxxnnnnn",
    "document":                "l yyyyyyyyynnnnn",
    "foreign document":        "l xxxxxxxxxnnnnn",
    "reimbursements":          "l yynyynyynnnnnn",
    "reimbursement-new":       "l nnnynnnnnnnnnn",
    "reimbursement-slots":     "l yynyynyynnnnnn",
    "reimbursement":           "l yynyynyynnnnnn",
    "foreign reimbursement":   "l xxnxxnxxnnnnnn",
    "reimbursement-reveal":    "l nnnynnnnnnnnnn",
    "payments":                "l yynyynyynnnnnn",
    "payments-due":            "l yynyynyynnnnnn",
    "payment":                 "l yynyynyynnnnnn",
    "foreign payment":         "l xxnxxnxxnnnnnn",
    "payment-order":           "l yynyynyynnnnnn",
    "refund-new":              "l nnnynnnnnnnnnn",
    "refunds":                 "l yynyynyynnnnnn",
    "regional":                "l yynyynyynnnnnn",
    "regional-csv":            "l yynyynyynnnnnn",
    "vouchers":                "l yynyynyynnnnnn",
    "vouchers-csv":            "l yynyynyynnnnnn",
    "voucher":                 "l yynyynyynnnnnn",
    "foreign voucher":         "l xxnxxnxxnnnnnn",
    "consultations":           "l nynyynyyyyynnn",
    "consultation-new":        "l nnnnnnnnynnnnn",
    "split-agreements":        "l nynyynyyyyynnn",
    "split-agreement-new":     "l nnnnnnnnynnnnn",
    "consultation-statements": "l nynyynyyyyynnn",
    "consultation":            "l nynyynyyyyynnn",
    "foreign consultation":    "l nxnxxnxxxxxnnn",
    "lines":                   "l nynyynyyyyynnn",
    "line-new":                "l nnnnnnnnnyynnn",
    "line-contracts":          "l nynyynyyyyynnn",
    "line-contract-new":       "l nnnnnnnnnyynnn",
    "line-contract":           "l nynyynyyyyynnn",
    "foreign contract":        "l nxnxxnxxxxxnnn",
    "fee-bills":               "l nynyynyyyyynnn",
    "fee-bill":                "l nynyynyyyyynnn",
    "foreign fee-bill":        "l nxnxxnxxxxxnnn",
    "persons":                 "l nynyynyyynnnnn",
    "person":                  "l nynyynyyxnnnnn",
    "foreign person":          "l nxnxxnxxxnnnnn",
    "person-reveal":           "l nynyynnnnnnnnn",
    "person-new":              "l nnnynnnnnnnnnn",
    "register":                "l nnnynnnnnnnnnn",
    "disease-filings":         "l nynyynyyynnnnn",
    "disease-filing":          "l nynyynyyynnnnn",
    "foreign filing":          "l nxnxxnxxxnnnnn",
    "disease-filing-new":      "l nnnynnnnynnnnn",
    "person-requests":         "l nnnynnnnnnnnnn",
    "public-requests":         "y yyyyyyyyyyyyyy",
    "public-request-progress": "y yyyyyyyyyyyyyy",
    "public-prices":           "y yyyyyyyyyyyyyy",
    "public-drugs":            "y yyyyyyyyyyyyyy",
    "public-institutions":     "y yyyyyyyyyyyyyy",
    "public-notices":          "y yyyyyyyyyyyyyy",
    "public-interface":        "y yyyyyyyyyyyyyy",
    "public-report":           "y yyyyyyyyyyyyyy",
    "public-report-progress":  "y yyyyyyyyyyyyyy",
    "public-cases":            "y yyyyyyyyyyyyyy",
    "cases":                   "l nyynnnyyynnnnn",
    "archive":                 "l nnnnnnyynnnnnn",
    "archive-loans":           "l nnnnnnyynnnnnn",
    "case-new":                "l nynnnnynnnnnnn",
    "case":                    "l nyynnnyyxnnnnn",
    "foreign case":            "l nxxnnnxxxnnnnn",
    "inspections":             "l nyynnnyyynnnnn",
    "inspection-new":          "l nynnnnynnnnnnn",
    "inspection-plan":         "l nyynnnyyxnnnnn",
    "foreign plan":            "l nxxnnnxxxnnnnn",
    "points":                  "l nyynnnyyynnnnn",
    "restricted-persons":      "l nyynnnyyynnnnn",
    "practitioner-points":     "l nyynnnyyynnnnn",
    "foreign points":          "l nxxnnnxxxnnnnn",
    "restrictions":            "l nyynnnyyynnnnn",
    "restriction":             "l nyynnnyyynnnnn",
    "foreign restriction":     "l nxxnnnxxxnnnnn",
    "credit":                  "l nyynnnyyynnnnn",
    "complaints":              "l nynnnnynnnnnnn",
    "complaint-new":           "l nynnnnynnnnnnn",
    "complaint":               "l nynnnnynnnnnnn",
    "foreign complaint":       "l nxnnnnxnnnnnnn",
    "conduct":                 "l nnnnnnyynnnnny",
    "conduct-flag":            "l nnnnnnyynnnnny",
    "foreign flag":            "l nnnnnnxxnnnnnx",
}  # fmt: skip
LETTERS = {200: "y", 403: "n", 404: "x", 302: "l"}


@pytest.fixture
def addresses(db) -> dict[str, str]:
    return records.addresses()


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
