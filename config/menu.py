"""What every page shows around its content: menu by permission, role, scope, the demo's fixed today."""

from dataclasses import dataclass

from django.conf import settings
from django.urls import NoReverseMatch, reverse

from audit import clock
from config.roles import ADMIN, ROLES
from institutions.inbox import Inbox, capped


@dataclass(frozen=True)
class Entry:
    label: str
    url_name: str
    icon: str
    permission: str


MENU: tuple[tuple[str, tuple[Entry, ...]], ...] = (
    (
        "",
        (
            Entry("工作台", "workbench", "home", "workbench.view"),
            Entry("待办", "inbox", "inbox-stack", "workbench.view"),
        ),
    ),
    (
        "结算",
        (
            Entry("申报与结算", "claims", "document-currency-yen", "claims.view"),
            Entry("批量结算", "batches", "queue-list", "batches.view"),
            Entry("手工报销", "reimbursements", "document-arrow-up", "reimbursements.view"),
            Entry("拨付", "payments", "banknotes", "payments.view"),
            Entry("处方与药品", "prescriptions", "clipboard-document-list", "medicines.view"),
            Entry("试算", "trial", "calculator", "trials.run"),
            Entry("重新结算", "resettlements", "arrow-path", "adjustments.view"),
            Entry("特殊调整", "adjustments", "pencil-square", "adjustments.view"),
            Entry("机构对账", "reconciliations", "scale", "reconciliations.view"),
            Entry("断网补传", "outages", "signal-slash", "reconciliations.view"),
            Entry("参保人查询", "persons", "user-circle", "persons.view"),
            Entry("慢特病认定", "disease-filings", "clipboard-document-list", "diseases.view"),
            Entry("参保人申请", "person-requests", "inbox", "requests.handle"),
        ),
    ),
    (
        "远程会诊",
        (
            Entry("会诊与分配", "consultations", "video-camera", "consultations.view"),
            Entry("专线与维保", "lines", "signal", "lines.view"),
        ),
    ),
    (
        "月结与预算",
        (
            Entry("机构月结算单", "statements", "document-text", "statements.view"),
            Entry("结算期", "periods", "lock-closed", "statements.view"),
            Entry("预付款", "advances", "banknotes", "statements.view"),
            Entry("总额预算", "budgets", "chart-pie", "budgets.view"),
            Entry("年终清算", "clearings", "scale", "statements.view"),
        ),
    ),
    (
        "协议与接入",
        (
            Entry("申请办理", "applications", "document-check", "applications.view"),
            Entry("协议", "agreements", "document-text", "agreements.view"),
            Entry("年度考核", "assessments", "chart-bar", "assessments.view"),
            Entry("批次看板", "waves", "calendar-days", "waves.view"),
            Entry("表格填报", "forms-list", "table-cells", "forms.view"),
        ),
    ),
    (
        "政策与机构",
        (
            Entry("价格目录", "prices", "book-open", "prices.view"),
            Entry("药品目录", "drug-lists", "beaker", "prices.view"),
            Entry("医疗机构", "institutions", "building-office-2", "institutions.view"),
            Entry("机构登记", "registry-changes", "identification", "registry.view"),
        ),
    ),
    (
        "监督",
        (
            Entry("审核疑点", "findings", "magnifying-glass-circle", "findings.view"),
            Entry("费用审核", "reviews", "document-magnifying-glass", "reviews.view"),
            Entry("监管案件", "cases", "scale", "cases.view"),
            Entry("案卷档案", "archive", "archive-box", "archive.borrow"),
            Entry("稽核检查", "inspections", "clipboard-document-check", "inspections.view"),
            Entry("记分与暂停", "points", "no-symbol", "cases.view"),
            Entry("信用评价", "credit", "star", "cases.view"),
            Entry("举报投诉", "complaints", "megaphone", "complaints.handle"),
            Entry("监督报告", "reports", "document-chart-bar", "reports.view"),
            Entry("监管月报", "monthly", "calendar-days", "monthly.view"),
            Entry("审计台", "audit-desk", "funnel", "samples.draw"),
            Entry("全程留痕", "trail", "finger-print", "trail.view"),
            Entry("内控监察", "conduct", "eye", "conduct.view"),
        ),
    ),
    (
        "系统",
        (
            Entry("运行状态", "system-status", "server-stack", "system.configure"),
            Entry("接口密钥", "clients", "key", "clients.manage"),
        ),
    ),
)
#: What the search box finds, for whom.
SEARCHED = (
    ("institutions.view", "机构名称"), ("claims.view", "单据号"), ("claims.view", "身份证号"),
)  # fmt: skip


def page(request) -> dict:
    """Context of base.html: menu, user menu, scope, demo banner."""
    context = {"demo_today": settings.DEMO_TODAY}
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return context
    role = ROLES.get(user.role)
    words = [word for permission, word in SEARCHED if user.may(permission)]
    waiting, unread = _badge(request, user)
    return context | {
        "menu": _menu(request, user, waiting),
        "bell": {"url": _url("notifications"), "count": unread} if unread is not None else None,
        "search_url": _url("find") if words else "",
        "search_words": "、".join(words),
        "apart": bool(role and role.side == ADMIN),
        "role_label": role.label if role else "",
        "scope_label": str(user.institution or user.region or ""),
        "user_initial": str(user)[:1],
        "user_menu": [
            {"label": "修改密码", "url": _url("account_change_password"), "icon": "key"},
            {"label": "双因素认证", "url": _url("mfa_index"), "icon": "shield-check"},
        ],
    }


def home(user) -> str:
    """Where a person begins: the first page that the role may open, else the account."""
    for _, entries in MENU:
        for entry in entries:
            if user.may(entry.permission) and (url := _url(entry.url_name)):
                return url
    return _url("mfa_index")


def _badge(request, user) -> tuple[str, str | None]:
    """What waits and what is unread, as the menu and the bell show it: one query per page.

    A page that counted already (the inbox) says so in `request.counted`. The bell is None without
    an inbox.
    """
    if not user.may("workbench.view"):
        return "", None
    counted = getattr(request, "counted", None)
    waiting, unread = counted or Inbox(user, today=clock.today()).badge()
    return (capped(waiting) if waiting else ""), (capped(unread) if unread else "")


def _menu(request, user, waiting: str) -> list[dict]:
    groups = []
    for label, entries in MENU:
        items = [
            {
                "label": entry.label,
                "url": url,
                "icon": entry.icon,
                "count": waiting if entry.url_name == "inbox" else "",
                "current": request.path == url or (url != "/" and request.path.startswith(url)),
            }
            for entry in entries
            if user.may(entry.permission) and (url := _url(entry.url_name))
        ]
        if items:
            groups.append({"label": label, "items": items})
    return groups or [{"label": "账户", "items": _account(request)}]


def _account(request) -> list[dict]:
    """The own account: the menu of whoever has no page of the portal."""
    entries = (
        ("双因素认证", "mfa_index", "shield-check"),
        ("修改密码", "account_change_password", "key"),
    )
    return [
        {"label": label, "url": _url(name), "icon": icon, "current": request.path == _url(name)}
        for label, name, icon in entries
    ]


def _url(name: str) -> str:
    try:
        return reverse(name)
    except NoReverseMatch:
        return ""
