"""The file of one institution as of a day, as known then or now; its parts are tabs.

Panels of other apps load by their addresses.
"""

import datetime as dt
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.db.models import Prefetch
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.http import require_GET

from audit import clock
from audit.access import requires
from audit.tables import Action, Cell, Column, Row, Table
from institutions.access import PortalRequest
from institutions.calendar import whole_months
from institutions.commands.practitioners import to_compare
from institutions.commands.records import MLPS
from institutions.forms import OnDayAsKnown
from institutions.law import RegistryLaw, law_for
from institutions.models import (
    BankAccount,
    Contact,
    Document,
    Institution,
    PaymentFreeze,
    Physician,
    PhysicianAgreement,
    PhysicianTitle,
    PlatformConnection,
    Post,
    Qualification,
    ServiceSuspension,
)
from institutions.naming import Login, Told, named
from institutions.views.cases import SIZE, change_table, mapping_table, page_of
from institutions.views.file import Standpoint, frozen_words, overview, span

TABLES = "institutions/tables.html"


@dataclass(frozen=True)
class Tab:
    key: str
    label: str
    permission: str
    context: Callable[[PortalRequest, Standpoint], dict]
    template: str = TABLES


@requires("institutions.view")
@require_GET
def institution(request: PortalRequest, code: str) -> HttpResponse:
    """Identity and facts of the day, or another part of the file (`?tab=`)."""
    form = OnDayAsKnown(request.GET)
    form.is_valid()
    given = form.cleaned_data
    found = get_object_or_404(
        Institution.objects.visible_to(request.user).select_related("region", "parent"), code=code
    )
    view = Standpoint(found, request.user, given.get("on") or clock.today(), given.get("known"))
    tab = TABS.get(request.GET.get("tab", "")) or TABS[""]
    if not request.user.may(tab.permission):
        raise PermissionDenied(tab.permission)
    shown = OnDayAsKnown(
        {"on": view.on.isoformat(), "known": view.known_on and view.known_on.isoformat()},
        auto_id="day_%s",
    )  # fmt: skip
    return render(request, "institutions/institution.html", named({
        "institution": found, "on": view.on, "known_on": view.known_on, "day_form": shown,
        "frozen": frozen_words(found, on=view.on, known_at=view.known_at),
        "tab": tab.key, "panel": tab.template, "tabs": _tabs(request, tab.key),
        "breadcrumbs": [{"label": "政策与机构", "url": ""},
                        {"label": "医疗机构", "url": reverse("institutions")},
                        {"label": found.name, "url": ""}],
        **tab.context(request, view),
    }))  # fmt: skip


def _tabs(request: PortalRequest, current: str) -> list[dict]:
    rows = []
    for key, tab in TABS.items():
        query = request.GET.copy()
        for name in ("page", "tab"):
            query.pop(name, None)
        if key:
            query["tab"] = key
        if request.user.may(tab.permission):
            text = query.urlencode()
            rows.append({"label": tab.label, "current": key == current,
                         "url": f"{request.path}?{text}" if text else request.path})  # fmt: skip
    return rows


def validity(row, on: dt.date, *, warn: int) -> Cell:
    """How long something holds, as seen from a day: not yet, valid, ending soon, over."""
    words = span(row.valid_from, row.valid_until)
    if row.valid_from > on:
        return Cell(text="尚未生效", sub=words, tone="wait")
    if row.valid_until is None:
        return Cell(text="有效", sub=words, tone="ok")
    return ends(row.valid_until, on, warn=warn, words=words)


def ends(until: dt.date, on: dt.date, *, warn: int, words: str = "") -> Cell:
    """A last day as seen from a day, with the days that are left."""
    left = (until - on).days
    words = words or f"至 {until}"
    if left < 0:
        return Cell(text=f"已过期 {-left} 天", sub=words, tone="bad")
    if left <= warn:
        return Cell(text=f"剩余 {left} 天" if left else "今日到期", sub=words, tone="warn")
    return Cell(text="有效", sub=words, tone="ok")


def _recorded(row) -> Cell:
    return Cell(text=f"{clock.local(row.recorded_at):%Y-%m-%d}", sub=Login(row.recorded_by))


def _document(document: Document | None) -> Cell:
    if document is None:
        return Cell(text="无扫描件", tone="mute")
    return Cell(text=document.name, url=reverse("document", args=[document.pk]))


def _checked(row: Qualification | PlatformConnection) -> Cell:
    if row.checked_at is None:
        return Cell(text="未核验", tone="wait")
    return Cell(
        text="已核验",
        tone="ok",
        sub=Told(f"{clock.local(row.checked_at):%Y-%m-%d} ", Login(row.checked_by)),
    )


def _known(rows, view: Standpoint):
    return rows.known() if view.known_at is None else rows.known_at(view.known_at)


# --- Qualifications ---


def qualifications(request: PortalRequest, view: Standpoint) -> dict:
    """Licences, certificates and protection evidence, as seen from the day."""
    found = _known(view.institution.qualifications, view).select_related("document")
    rows = list(found.order_by("kind", "-valid_from"))
    law = law_for(view.institution, on=view.on)
    return {"warning": _protection(rows, law, view), "tables": [Table(
        id="qualifications", caption="资质与等级保护材料",
        toolbar=view.acts("qualification"),
        columns=[Column(label="资质"), Column(label="编号"), Column(label="级别"), Column(label="有效期"),
                 Column(label="扫描件", wide=True), Column(label="核验"), Column(label="登记")],
        rows=[_qualification(row, law, view) for row in rows],
        empty_title="没有登记的资质",
        empty_text="登记执业许可、互联网医院执业登记、等级保护备案证明和测评报告，到期前自动提醒。",
    )]}  # fmt: skip


def _protection(rows: list[Qualification], law: RegistryLaw, view: Standpoint) -> str:
    """What is missing of the protection evidence that the policy asks of institutions."""
    if law.protection_level is None or view.institution.kind != Institution.Kind.MEDICAL:
        return ""
    held = {row.kind for row in rows if _on(row, view.on) and row.level not in law.too_low}
    missing = [str(kind.label) for kind in (Qualification.Kind.MLPS_RECORD, Qualification.Kind.MLPS_REPORT)
               if kind not in held]  # fmt: skip
    if not missing:
        return ""
    return (f"须落实{law.level_asked}等级保护，当日缺少有效且级别足够的{'、'.join(missing)}"
            f"（{law.protection_clause}）")  # fmt: skip


def _level(row: Qualification, law: RegistryLaw, view: Standpoint) -> Cell:
    """The level of protection evidence; one below the law's does not count."""
    medical = view.institution.kind == Institution.Kind.MEDICAL
    if medical and row.kind in MLPS and row.level in law.too_low:
        return Cell(text="级别不足", sub=f"{row.level}，须为{law.level_asked}", tone="bad",
                    title=law.protection_clause)  # fmt: skip
    return Cell(text=row.level or "—")


def _qualification(row: Qualification, law: RegistryLaw, view: Standpoint) -> Row:
    acts = ["qualification-correct"]
    if row.checked_at is None and row.document_id and row.recorded_by != view.user.username:
        acts.insert(0, "qualification-check")
    return Row(
        key=str(row.pk), label=str(row), actions=view.row_acts(row.pk, *acts),
        cells=[
            Cell(text=row.get_kind_display(), sub=row.issuer),
            Cell(text=row.number, code=True), _level(row, law, view),
            validity(row, view.on, warn=settings.REGISTRY_WARN_DAYS), _document(row.document),
            _checked(row), _recorded(row),
        ],
    )  # fmt: skip


# --- Platforms, account, contacts ---


def account(request: PortalRequest, view: Standpoint) -> dict:
    """Platforms, the account (masked), days without payment, contacts."""
    found = view.institution
    law = law_for(found, on=view.on)
    platforms = _known(found.platforms, view).select_related("document").order_by("-valid_from")
    accounts = _known(found.accounts, view).order_by("-valid_from")
    freezes = found.freezes.order_by("-valid_from")
    return {
        "tables": [
            _accounts(accounts, view), _freezes(freezes, view), _platforms(platforms, law, view),
            _contacts(found.contacts.order_by("purpose", "-valid_from"), view),
        ],
    }  # fmt: skip


def _on(row: PaymentFreeze | Qualification, day: dt.date) -> bool:
    return row.valid_from <= day and (row.valid_until is None or day <= row.valid_until)


def _accounts(rows, view: Standpoint) -> Table:
    return Table(
        id="accounts", caption="结算账户", toolbar=view.acts("account", "change"),
        columns=[Column(label="账号"), Column(label="开户行", wide=True), Column(label="有效期"),
                 Column(label="登记")],
        rows=[_account(row, view) for row in rows],
        empty_title="没有登记的结算账户", empty_text="首次登记由经办机构办理，此后以变更备案调整。",
    )  # fmt: skip


def _account(row: BankAccount, view: Standpoint) -> Row:
    actions = []
    if view.user.may("accounts.reveal"):
        actions.append(Action(label="查看完整账号", url=reverse("account-reveal", args=[row.pk])))
    return Row(
        key=str(row.pk), label=str(row), actions=actions,
        cells=[Cell(text=f"**** **** {row.number_tail}", code=True), Cell(text=row.bank),
               validity(row, view.on, warn=0), _recorded(row)],
    )  # fmt: skip


def _freezes(rows, view: Standpoint) -> Table:
    return Table(
        id="freezes", caption="暂停拨付", toolbar=view.acts("freeze"),
        columns=[Column(label="期间"), Column(label="原因", wide=True), Column(label="登记")],
        rows=[Row(key=str(row.pk), label=row.reason, actions=_resume(row, view), cells=[
            Cell(text=span(row.valid_from, row.valid_until)), Cell(text=row.reason), _recorded(row),
        ]) for row in rows],
        empty_title="没有暂停拨付", empty_text="变更结算账户期间自动暂停拨付；经办机构也可决定暂停。",
    )  # fmt: skip


def _resume(row: PaymentFreeze, view: Standpoint) -> list[Action]:
    """A freeze by decision is ended by hand; one of a change ends with it."""
    over = row.valid_until is not None and row.valid_until < clock.today()
    return [] if row.subject or over else view.row_acts(row.pk, "unfreeze")


def _platforms(rows, law: RegistryLaw, view: Standpoint) -> Table:
    names = law.platforms
    joined = {row.platform for row in rows if row.valid_from <= view.on
              and (row.valid_until is None or view.on <= row.valid_until)}  # fmt: skip
    missing = [entry.name for key, entry in names.items() if key not in joined]
    return Table(
        id="platforms", caption="平台接入", toolbar=view.acts("platform"),
        columns=[Column(label="平台", wide=True), Column(label="接入"), Column(label="证明", wide=True),
                 Column(label="核验")],
        rows=[_platform(row, names, view) for row in rows] + [
            Row(key=f"missing-{name}", label=name, cells=[
                Cell(text=name), Cell(text="未接入", tone="mute"), Cell(text=""), Cell(text=""),
            ]) for name in missing
        ],
        empty_title="本统筹区政策没有列明平台", empty_text="政策文件列明平台后，在此登记接入情况。",
    )  # fmt: skip


def _platform(row: PlatformConnection, names, view: Standpoint) -> Row:
    entry = names.get(row.platform)
    acts = ["platform-end"] if row.valid_until is None else []
    if row.checked_at is None and row.document_id and row.recorded_by != view.user.username:
        acts.insert(0, "platform-check")
    return Row(
        key=str(row.pk), label=entry.name if entry else row.platform,
        actions=view.row_acts(row.pk, *acts),
        cells=[Cell(text=entry.name if entry else row.platform, sub=entry.clause if entry else ""),
               validity(row, view.on, warn=0), _document(row.document), _checked(row)],
    )  # fmt: skip


def _contacts(rows, view: Standpoint) -> Table:
    return Table(
        id="contacts", caption="联系人", toolbar=view.acts("contact"),
        columns=[Column(label="事务"), Column(label="姓名"), Column(label="电话"),
                 Column(label="邮箱"), Column(label="期间")],
        rows=[_contact(row, view) for row in rows],
        empty_title="没有登记的联系人", empty_text="登记医保结算、信息系统等事务的联系人。",
    )  # fmt: skip


def _contact(row: Contact, view: Standpoint) -> Row:
    actions = view.row_acts(row.pk, "contact-end") if row.valid_until is None else []
    if view.user.may("accounts.reveal") or view.user.may("registry.maintain"):
        address = reverse("contact-reveal", args=[row.pk])
        actions.insert(0, Action(label="查看电话", url=address))
    return Row(
        key=str(row.pk), label=str(row), actions=actions,
        cells=[Cell(text=row.purpose), Cell(text=row.name),
               Cell(text=f"*** **** {row.phone_tail}", code=True), Cell(text=row.email),
               validity(row, view.on, warn=0)],
    )  # fmt: skip


# --- Practitioners ---


def practitioners(request: PortalRequest, view: Standpoint) -> dict:
    """Physicians, pharmacists and nurses with the title, licence and agreements of the day."""
    rows = Physician.objects.of(view.institution, on=view.on).prefetch_related(
        Prefetch("agreements", PhysicianAgreement.objects.in_force(on=view.on), "agreements_on"),
        Prefetch("titles", PhysicianTitle.objects.proposed().order_by("valid_from"), "proposed"),
        Prefetch("suspensions", ServiceSuspension.objects.known().in_force(on=view.on), "stopped"),
    )
    pages = page_of(request, rows.count())
    names = law_for(view.institution, on=view.on).physician_agreements
    shown = rows[pages.first_row - 1 : pages.first_row - 1 + SIZE]
    waiting = to_compare([row.code for row in shown])
    table = Table(
        id="physicians", caption="医师与药师", toolbar=view.acts("practitioner"), pages=pages,
        columns=[Column(label="姓名"), Column(label="国家编码"), Column(label="职称"),
                 Column(label="独立临床经验", numeric=True), Column(label="执业证书"),
                 Column(label="类别"), Column(label="医师协议")],
        rows=[_physician(row, names, view, waiting) for row in shown],
        empty_title="没有登记的医师", empty_text="医师登记后，这里显示所选时点的职称与经验。",
    )  # fmt: skip
    former = view.institution.former_posts.select_related("physician").order_by("-valid_until")
    return {"tables": [table, *_former(former[:SIZE])], "physicians": table}


def _former(posts: Iterable[Post]) -> list[Table]:
    """Who left and was registered again, with the days of the post that ended."""
    rows = [
        Row(key=str(post.pk), label=post.physician.code, cells=[
            Cell(text=post.physician.code, code=True),
            Cell(text=post.physician.get_kind_display()),
            Cell(text=span(post.valid_from, post.valid_until) if post.valid_from
                 else f"至 {post.valid_until}"),
        ])
        for post in posts
    ]  # fmt: skip
    columns = [Column(label="国家编码"), Column(label="类别"), Column(label="在本机构期间")]
    table = Table(id="former", caption="曾在本机构执业", columns=columns, rows=rows)
    return [table] if rows else []


def _physician(row, names: tuple[str, ...], view: Standpoint, waiting: set[str]) -> Row:
    on = view.on
    title = row.titles_on[0] if row.titles_on else None
    months = whole_months(row.independent_since, on)
    left = row.left_on is not None and row.left_on < on
    waits = row.checked_at is None or row.proposed
    acts: tuple[str, ...] = ("practitioner-check",) if waits else ()
    acts += ("practitioner-compare",) if row.code in waiting else ()
    acts += ("practitioner-correct",)
    acts += () if row.left_on else ("title", "licence", "physician-agreement", "leave")
    return Row(
        key=row.code, label=row.name, actions=view.row_acts(row.pk, *acts),
        cells=[
            Cell(text=row.name, sub="，".join(filter(None, [
                 f"{row.left_on} 离职" if row.left_on else "",
                 *(f"医保服务资格已暂停 {one}" if one.valid_until else "医保服务资格已终止"
                   for one in row.stopped[:1]),
                 "登记待核验" if row.checked_at is None else ""]))),
            Cell(text=row.code, code=True),
            Cell(text=title.get_title_display() if title else "当日无职称",
                 sub="；".join([
                     *([span(title.valid_from, title.valid_until)] if title else []),
                     *(f"待核验：{new} {new.valid_from} 起" for new in row.proposed)])),
            Cell(text=_experience(months), sub=f"{row.independent_since} 起"),
            _licence(row, on),
            Cell(text="已离职", tone="mute") if left else Cell(text=row.get_kind_display())
            if row.is_clinician else Cell(text="非医务人员", tone="mute"),
            _bound(row, names if row.kind == Physician.Kind.PHYSICIAN else ()),
        ],
    )  # fmt: skip


def _licence(row: Physician, on: dt.date) -> Cell:
    if row.licence_until is None:
        return Cell(text=row.licence_no, code=bool(row.licence_no))
    cell = ends(row.licence_until, on, warn=settings.REGISTRY_WARN_DAYS)
    return Cell(text=cell.text, tone=cell.tone, sub=f"{row.licence_no} {cell.sub}".strip())


def _bound(row, names: tuple[str, ...]) -> Cell:
    """How many of the agreements that the policy names bind the physician that day."""
    if not names:
        return Cell(text="")
    held = {agreement.name for agreement in row.agreements_on}
    missing = [name for name in names if name not in held]
    return Cell(
        text=f"{len(names) - len(missing)}/{len(names)}", tone="ok" if not missing else "warn",
        title="缺：" + "、".join(missing) if missing else "",
    )  # fmt: skip


def _experience(months: int) -> str:
    if months < 0:
        return "尚未开始"
    years, rest = divmod(months, 12)
    return " ".join(
        filter(None, [f"{years} 年" if years else "", f"{rest} 个月" if rest or not years else ""])
    )


# --- Mappings, changes, documents ---


def mappings(request: PortalRequest, view: Standpoint) -> dict:
    """Local codes with their national codes."""
    rows = view.institution.mappings.select_related("institution").order_by("-opened_at", "-pk")
    pages = page_of(request, rows.count())
    shown = list(rows[pages.first_row - 1 : pages.first_row - 1 + SIZE])
    return {"tables": [
        mapping_table(shown, on=view.on, pages=pages, toolbar=view.acts("mapping"), whose=False)
    ]}  # fmt: skip


def changes(request: PortalRequest, view: Standpoint) -> dict:
    """What was filed to be changed, and how far it is."""
    rows = view.institution.changes.select_related("institution").order_by("-opened_at", "-pk")
    pages = page_of(request, rows.count())
    shown = list(rows[pages.first_row - 1 : pages.first_row - 1 + SIZE])
    return {"tables": [
        change_table(shown, pages=pages, toolbar=view.acts("change"), whose=False)
    ]}  # fmt: skip


def documents(request: PortalRequest, view: Standpoint) -> dict:
    """Every file of the institution with its digest."""
    rows = view.institution.documents.order_by("-uploaded_at", "-pk")
    pages = page_of(request, rows.count())
    shown = rows[pages.first_row - 1 : pages.first_row - 1 + SIZE]
    return {"tables": [Table(
        id="documents", caption="材料与往来文书", toolbar=view.acts("document"), pages=pages,
        columns=[Column(label="文件", wide=True), Column(label="类别"), Column(label="大小", numeric=True),
                 Column(label="SM3 摘要"), Column(label="上传")],
        rows=[Row(key=str(row.pk), label=row.name, cells=[
            _document(row), Cell(text=KINDS.get(row.kind, row.kind)),
            Cell(text=f"{-(-row.size // 1024):,} KB"),
            Cell(text=row.digest[:16] + "…", code=True, title=row.digest),
            Cell(text=f"{clock.local(row.uploaded_at):%Y-%m-%d}", sub=Login(row.uploaded_by)),
        ]) for row in shown],
        empty_title="没有材料", empty_text="上传的证明材料、协议和往来文书在此留存。",
    )]}  # fmt: skip


KINDS = {
    "evidence": "证明材料", "notice": "告知书", "scan": "扫描件", "correspondence": "往来文书",
    "agreement": "协议", "acceptance": "验收报告", "report": "报告", "contract": "协议文本",
    "paper": "纸质协议扫描件", "other": "其他",
}  # fmt: skip
TABS: dict[str, Tab] = {
    tab.key: tab
    for tab in (
        Tab("", "概况", "institutions.view", overview, "institutions/overview.html"),
        Tab("qualifications", "资质", "registry.view", qualifications),
        Tab("account", "账户与平台", "registry.view", account),
        Tab("practitioners", "医师药师", "institutions.view", practitioners),
        Tab("mappings", "对码", "registry.view", mappings),
        Tab("changes", "变更备案", "registry.view", changes),
        Tab("documents", "材料", "documents.view", documents),
    )
}
