"""Role → permissions: the one table. May (this person) is here; can (this state) is in procedures.

三权分立 (等保三级): system, security and audit administrators share no permission but to log in.
"""

from dataclasses import dataclass

BUREAU, AGENCY, HOSPITAL, HEALTH, ADMIN = "医保行政", "医保经办", "医疗机构", "卫生健康", "系统管理"


@dataclass(frozen=True)
class Role:
    label: str
    side: str
    permissions: frozenset[str]
    scope: str = "region"  #: region · institution · none


def _role(label: str, side: str, permissions: str, scope: str = "region") -> Role:
    return Role(label, side, frozenset(permissions.split()), scope)


SEE_CLAIMS = "workbench.view claims.view persons.view institutions.view prices.view trials.run"

SEE_AGREEMENTS = "applications.view agreements.view registry.view documents.view assessments.view"

SEE_MONEY = (
    "statements.view medicines.view reimbursements.view adjustments.view reconciliations.view "
    "budgets.view payments.view"
)
SEE_JILIN = "consultations.view lines.view"
#: findings of the rules, reviews, inspections and cases, reports
SEE_WATCH = (
    "findings.view reviews.view inspections.view cases.view reports.view reports.make monthly.view"
)

ROLES: dict[str, Role] = {
    "policy_staff": _role(
        "政策管理", BUREAU,
        "workbench.view claims.view institutions.view prices.view trials.run releases.view "
        f"releases.draft releases.publish batches.view {SEE_AGREEMENTS} applications.open_payment "
        "forms.view forms.fill forms.approve waves.view waves.plan calendar.import tasks.oversee "
        f"{SEE_MONEY} budgets.set drugs.draft drugs.publish periods.reopen findings.view rules.tune "
        "reports.view reports.make disclosures.publish",
    ),
    "reviewer": _role(
        "经办审核", AGENCY,
        f"{SEE_CLAIMS} claims.review releases.view batches.view {SEE_AGREEMENTS} "
        "applications.review registry.maintain registry.check assessments.score waves.view "
        f"{SEE_MONEY} {SEE_JILIN} persons.reveal diseases.view diseases.review statements.deduct "
        f"reconciliations.handle {SEE_WATCH} findings.decide rules.run reviews.decide reviews.plan "
        "inspections.plan inspections.carry complaints.handle monthly.make cases.open cases.agreement",
    ),
    "signing_officer": _role(
        "经办签约", AGENCY,
        f"workbench.view institutions.view prices.view {SEE_AGREEMENTS} agreements.sign "
        "agreements.decide tasks.oversee waves.view cases.view inspections.view",
    ),
    "settlement_clerk": _role(
        "经办结算", AGENCY,
        f"{SEE_CLAIMS} claims.reverse batches.view batches.run releases.view registry.view "
        f"agreements.view documents.view accounts.reveal {SEE_MONEY} {SEE_JILIN} persons.maintain "
        "persons.reveal diseases.view diseases.file "
        "reimbursements.handle requests.handle statements.prepare payments.prepare adjustments.propose "
        "corrections.propose reconciliations.handle outages.accept",
    ),
    "finance_officer": _role(
        "经办财务", AGENCY,
        f"{SEE_CLAIMS} batches.view releases.view registry.view agreements.view documents.view "
        f"accounts.reveal persons.reveal diseases.view {SEE_MONEY} {SEE_JILIN} "
        "periods.close periods.reopen payments.approve reimbursements.approve "
        "adjustments.approve corrections.approve reports.view reports.make",
    ),
    "information": _role(
        "信息部门", BUREAU,
        "workbench.view institutions.view prices.view trials.run releases.view batches.view "
        f"{SEE_AGREEMENTS} applications.test mappings.check waves.view",
    ),
    "supervisor": _role(
        "基金监管", BUREAU,
        f"{SEE_CLAIMS} releases.view batches.view trail.view {SEE_AGREEMENTS} waves.view "
        f"tasks.oversee diseases.view {SEE_MONEY} {SEE_JILIN} {SEE_WATCH} findings.decide rules.run "
        "rules.tune reviews.second reviews.plan inspections.plan inspections.carry cases.open cases.handle "
        "cases.decide complaints.handle conduct.view disclosures.publish archive.borrow "
        "monthly.make monthly.submit monthly.receive",
    ),
    "auditor": _role(
        "审计人员", BUREAU,
        f"{SEE_CLAIMS} releases.view batches.view trail.view {SEE_AGREEMENTS} waves.view "
        f"forms.view diseases.view {SEE_MONEY} {SEE_JILIN} {SEE_WATCH} samples.draw conduct.view "
        "archive.borrow",
    ),
    "hospital": _role(
        "医院医保办", HOSPITAL,
        "workbench.view claims.view claims.enter claims.reverse institutions.view prices.view "
        f"trials.run batches.view batches.run {SEE_AGREEMENTS} applications.apply agreements.countersign "
        "registry.file accounts.reveal waves.view statements.view statements.confirm medicines.view "
        "medicines.return reconciliations.view reconciliations.upload outages.report budgets.view "
        "diseases.view diseases.file persons.view findings.view reviews.view reviews.object "
        f"inspections.view cases.view cases.answer {SEE_JILIN} consultations.record lines.pay",
        scope="institution",
    ),
    "health_commission": _role(
        "卫生健康委", HEALTH,
        "workbench.view institutions.view prices.view releases.view registry.view "
        f"applications.view waves.view {SEE_JILIN} lines.maintain",
    ),
    "telemedicine_centre": _role(
        "远程医疗服务中心", HEALTH,
        f"workbench.view institutions.view prices.view trials.run {SEE_JILIN} lines.maintain "
        "lines.collect",
    ),
    "system_admin": _role("系统管理员", ADMIN, "system.configure accounts.manage", scope="none"),
    "security_admin": _role("安全管理员", ADMIN, "grants.manage clients.manage", scope="none"),
    "audit_admin": _role("审计管理员", ADMIN, "trail.view conduct.view"),
}  # fmt: skip

PERMISSIONS = frozenset().union(*(role.permissions for role in ROLES.values()))
