"""Log-ins of the demonstration, one per role and place, and an API client per hospital."""

from dataclasses import dataclass

from django.conf import settings
from django.contrib.auth.hashers import make_password

from config.demo import CLIENT_KEY, LOGIN_KEY, TODAY, moment
from config.demo.applicants import APPLICANTS, code_of
from config.demo.hospitals import HOSPITALS
from config.roles import ROLES
from institutions.models import ApiClient, Institution, User

PHARMACY = "定点零售药店"


@dataclass(frozen=True)
class Account:
    """A log-in: `place` is an area code, a hospital's key, a pharmacy's code, or empty."""

    username: str
    role: str
    place: str = ""


ACCOUNTS = (
    Account("policy.nantong", "policy_staff", "320600"),
    Account("policy2.nantong", "policy_staff", "320600"),
    Account("policy.wenzhou", "policy_staff", "330300"),
    Account("policy2.wenzhou", "policy_staff", "330300"),
    Account("policy.ningxia", "policy_staff", "640000"),
    Account("policy.yinchuan", "policy_staff", "640100"),
    Account("reviewer.nantong", "reviewer", "320600"),
    Account("reviewer.haimen", "reviewer", "320614"),
    Account("reviewer.wenzhou", "reviewer", "330300"),
    Account("reviewer.jilin", "reviewer", "220000"),
    Account("reviewer.yinchuan", "reviewer", "640100"),
    Account("signer.nantong", "signing_officer", "320600"),
    Account("signer.wenzhou", "signing_officer", "330300"),
    Account("signer.yinchuan", "signing_officer", "640100"),
    Account("clerk.nantong", "settlement_clerk", "320600"),
    Account("clerk.wenzhou", "settlement_clerk", "330300"),
    Account("clerk.jilin", "settlement_clerk", "220000"),
    Account("finance.nantong", "finance_officer", "320600"),
    Account("finance.wenzhou", "finance_officer", "330300"),
    Account("finance.jilin", "finance_officer", "220000"),
    Account("information.wenzhou", "information", "330300"),
    Account("information.yinchuan", "information", "640100"),
    Account("supervisor.nantong", "supervisor", "320600"),
    Account("supervisor2.nantong", "supervisor", "320600"),
    Account("supervisor.wenzhou", "supervisor", "330300"),
    Account("supervisor.ruian", "supervisor", "330381"),
    Account("supervisor2.ruian", "supervisor", "330381"),
    Account("supervisor.lucheng", "supervisor", "330302"),
    Account("auditor.nantong", "auditor", "320600"),
    Account("auditor.jilin", "auditor", "220000"),
    Account("hospital.nantong1", "hospital", "nt1"),
    Account("hospital.nantong2", "hospital", "nt2"),
    Account("hospital.wenzhou1", "hospital", "wz1"),
    *(Account(f"hospital.wenzhou{n}", "hospital", f"wz{n}") for n in (4, 6, 7, 8, 10, 12, 13)),
    Account("hospital.ningxia3", "hospital", "nx3"),
    Account("hospital.ningxia6", "hospital", "nx6"),
    Account("hospital.jilin1", "hospital", "jl1"),
    *(Account(f"hospital.jilin{n}", "hospital", f"jl{n}") for n in (2, 3, 4)),
    Account("health.jilin", "health_commission", "220000"),
    Account("centre.jilin", "telemedicine_centre", "220000"),
    Account("pharmacy.wenzhou1", "hospital", "P33030299201"),
    Account("pharmacy.wenzhou2", "hospital", "P33038199203"),
    Account("system.admin", "system_admin"),
    Account("security.admin", "security_admin"),
    Account("audit.admin", "audit_admin", "320600"),
)


def make_users(*, pharmacies: bool = False) -> int:
    """Store the log-ins; they share one password, hashed once. Pharmacies are registered later."""
    shared = make_password(LOGIN_KEY)
    accounts = [one for one in ACCOUNTS if one.place.startswith("P") == pharmacies]
    User.objects.bulk_create(
        User(
            username=account.username,
            password=shared,
            display_name=_called(account, pharmacies=pharmacies),
            role=account.role,
            region_id=account.place if account.place.isdigit() else None,
            institution_id=account.place if pharmacies else code_of(account.place) or None,
            password_changed_at=moment(TODAY),
        )
        for account in accounts
    )
    return len(accounts)


def _called(account: Account, *, pharmacies: bool) -> str:
    """The role; of two people in one office the second is told apart by a letter."""
    role = PHARMACY if pharmacies else ROLES[account.role].label
    return f"{role}{'乙' if account.username.split('.')[0].endswith('2') else ''}（示例）"


#: Offices whose systems read reports over the interface.
OFFICES = {"nantong": ("320600", "南通市"), "wenzhou": ("330300", "温州市")}


def make_api_clients() -> int:
    """Store one OAuth client per invented hospital and two of offices; one secret, hashed once."""
    shared = make_password(CLIENT_KEY)
    holders = HOSPITALS | APPLICANTS
    ApiClient.objects.bulk_create(
        ApiClient(
            client_id=client_id(key),
            client_secret=shared,
            client_type=ApiClient.CLIENT_CONFIDENTIAL,
            authorization_grant_type=ApiClient.GRANT_CLIENT_CREDENTIALS,
            name=f"{hospital.name} 接口（示例）",
            institution_id=hospital.code,
            purpose="医院信息系统（示例）",
            issued_at=moment(TODAY),
            issued_by="security.admin",
        )
        for key, hospital in holders.items()
    )
    ApiClient.objects.bulk_create(
        ApiClient(
            client_id=client_id(f"office-{name}"),
            client_secret=shared,
            client_type=ApiClient.CLIENT_CONFIDENTIAL,
            authorization_grant_type=ApiClient.GRANT_CLIENT_CREDENTIALS,
            name=f"{label}医保部门系统（示例）",
            region_id=code,
            rate=ApiClient.Rate.LOW.value,
            purpose="监督报告与月报（示例）",
            issued_at=moment(TODAY),
            issued_by="security.admin",
        )
        for name, (code, label) in OFFICES.items()
    )
    return len(holders) + len(OFFICES)


def client_id(key: str) -> str:
    """The OAuth client id of a demonstration hospital."""
    return f"demo-{key}"


def logins() -> list[dict[str, str]]:
    """Log-ins for the log-in page: username, role, place; empty unless this is a demonstration.

    `scope` repeats the place under the name that the page uses.
    """
    if settings.PRODUCTION or settings.DEMO_TODAY is None:
        return []
    rows = User.objects.filter(
        username__in=[account.username for account in ACCOUNTS], is_active=True
    ).select_related("region", "institution")
    found = {row.username: row for row in rows}
    return [_login(found[account.username]) for account in ACCOUNTS if account.username in found]


def _login(user: User) -> dict[str, str]:
    place = str(user.institution or user.region or "全系统")
    pharmacy = user.institution is not None and user.institution.kind == Institution.Kind.PHARMACY
    return {
        "username": user.username,
        "role": PHARMACY if pharmacy else ROLES[user.role].label,
        "place": place,
        "scope": place,
        "password": LOGIN_KEY,
    }
