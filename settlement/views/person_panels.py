"""The parts of a person's page, prepared: entitlement, filings, person-years, claims with their why."""

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from django.core.paginator import Paginator
from django.urls import reverse

from audit import clock
from audit.procedure import PROCEDURES
from audit.tables import Cell, Column, Pages, Row, Table
from audit.text import yuan
from institutions.models import Institution, Region, User
from institutions.naming import Login
from pricing.releases import current
from settlement import persons, words
from settlement.models import (
    ChronicDisease,
    Claim,
    DiseaseFiling,
    Entitlement,
    InsuredPerson,
    OfflineVisit,
    OnlineSuspension,
    Reimbursement,
    Settlement,
)
from settlement.personal_accounts import left_of

CLAIMS_PAGE, MOVES_PAGE, FILINGS, REQUESTS = 10, 20, 5, 5
Standing = Entitlement.Standing
TONES = {
    Standing.ACTIVE: "ok", Standing.ARREARS: "bad", Standing.WAITING: "wait",
    Standing.STOPPED: "mute", Standing.DECEASED: "mute",
}  # fmt: skip
#: what may be recorded of a person: key, title
ACTS = (
    ("standing", "变更参保状态"), ("convert", "险种转换"), ("death", "死亡登记"),
    ("correct", "更正参保登记"), ("identity", "更正姓名电话"),
    ("balance", "登记个人账户余额"),
)  # fmt: skip
TABS = (("", "概览"), ("usage", "累计与限额"), ("claims", "单据与原因"), ("history", "登记沿革"))
PARTS = (("fund", "统筹基金"), ("account", "个人账户"), ("cash", "个人现金"))
STATES = dict(Settlement.State.choices) | {"received": "已受理"}


@dataclass
class Page:
    """A person as one reader looks at them: as of a day, as known until the end of another."""

    person: InsuredPerson
    user: User
    on: dt.date
    known: dt.date | None = None
    query: Mapping[str, str] = field(default_factory=dict)

    @property
    def known_at(self) -> dt.datetime | None:
        """The last moment that counts."""
        return dt.datetime.combine(self.known, dt.time.max, clock.ZONE) if self.known else None

    @cached_property
    def entitlement(self) -> Entitlement | None:
        return persons.entitled(self.person, self.on, self.known_at)

    @cached_property
    def suspensions(self) -> list[OnlineSuspension]:
        """Days without online settlement (第41条)."""
        return persons.suspensions(self.person, self.known_at)

    @cached_property
    def visits(self) -> list[OfflineVisit]:
        return list(persons.visits(self.person, self.user))

    @cached_property
    def regions(self) -> dict[str, str]:
        return dict(Region.objects.values_list("code", "name"))

    def number(self, name: str) -> int:
        """A page number of the query."""
        text = self.query.get(name, "")
        return max(int(text), 1) if text.isascii() and text.isdigit() and len(text) < 7 else 1


def standing_badge(row: Entitlement | None) -> dict[str, str]:
    """The standing as word and colour."""
    if row is None:
        return {"label": "该日无参保登记", "tone": "bad"}
    return {"label": row.get_standing_display(), "tone": TONES[Standing(row.standing)]}


# --- 概览 ---


def overview(page: Page) -> dict[str, Any]:
    """Entitlement of the day, schemes over time, filings, this year's use, reimbursements, visits."""
    hospital = bool(page.user.institution_id)
    return {
        "entitlement": _entitlement(page), "timeline": _timeline(page),
        "diseases": _diseases(page), "filings": _filings(page),
        "may_file": page.user.may("diseases.file"),
        "new_filing": reverse("disease-filing-new"),
        "years": [] if hospital else _this_year(page),
        "usage_url": f"{reverse('person', args=[page.person.pk])}?tab=usage",
        "requests": _requests(page), "visits": _visits(page),
        "acts": _acts(page), "show_money": not hospital,
    }  # fmt: skip


def _entitlement(page: Page) -> list[dict[str, Any]]:
    row = page.entitlement
    if row is None:
        return []
    badge = standing_badge(row)
    return [
        {"label": "时点", "value": page.on.isoformat()},
        {"label": "险种", "value": row.get_scheme_display()},
        {"label": "参保状态", "value": badge["label"], "tone": badge["tone"]},
        {"label": "参保地", "value": page.regions.get(row.region_code, row.region_code)},
        {"label": "起止", "value": span_words(row)},
        _online(page),
        {"label": "依据", "value": row.source},
        {"label": "登记", "value": f"{clock.local(row.recorded_at):%Y-%m-%d %H:%M}",
         "sub": Login(row.recorded_by)},
        {"label": "电话", "value": page.person.phone_masked},
        *([] if page.user.institution_id else [_account(page)]),
    ]  # fmt: skip


def _account(page: Page) -> dict[str, Any]:
    """What is left on the personal account now; hospitals are not told."""
    reported = page.person.account_balance
    return {"label": "个人账户余额", "value": f"{yuan(left_of(page.person))} 元",
            "sub": f"上次报送 {yuan(reported)} 元"}  # fmt: skip


def _online(page: Page) -> dict[str, Any]:
    """Whether the person may settle online on the day; the manual channel is open either way."""
    found = [row for row in page.suspensions if row.covers(page.on)]
    if not found:
        return {"label": "联网结算", "value": "可以联网结算"}
    return {"label": "联网结算", "value": "已暂停", "tone": "bad",
            "sub": f"{span_words(found[0])}，手工报销不受影响。{found[0].clause}"}  # fmt: skip


def span_words(row: Entitlement | ChronicDisease | OnlineSuspension) -> str:
    """`2019-01-01 至 2021-06-30`, `2021-07-01 起`."""
    return f"{row.valid_from} 至 {row.valid_until}" if row.valid_until else f"{row.valid_from} 起"


def _timeline(page: Page) -> list[dict[str, Any]]:
    """Schemes and standings as known at the moment in question, newest first."""
    rows = Entitlement.objects.filter(person=page.person)
    rows = rows.known() if page.known_at is None else rows.known_at(page.known_at)
    told = [
        (row.valid_from, {
            "at": span_words(row), "tone": TONES[Standing(row.standing)],
            "title": f"{row.get_scheme_display()} · {row.get_standing_display()}",
            "text": row.source})
        for row in rows
    ]  # fmt: skip
    told += [
        (row.valid_from, {"at": span_words(row), "tone": "bad", "title": "暂停联网结算",
                          "text": row.clause})
        for row in page.suspensions
    ]  # fmt: skip
    return [entry for _, entry in sorted(told, key=lambda pair: pair[0], reverse=True)]


def _diseases(page: Page) -> list[dict[str, Any]]:
    """Recognised diseases as known then; whether they hold on the day."""
    rows = page.person.diseases.all()
    rows = rows.known() if page.known_at is None else rows.known_at(page.known_at)
    return [
        {"name": row.name, "code": row.code, "span": span_words(row),
         "badge": _holds(row, page.on),
         "renew": f"{reverse('disease-filing-new')}?renews={row.pk}"
         if row.valid_until and row.valid_until >= page.on and page.user.may("diseases.file")
         and not page.user.institution_id else ""}
        for row in rows.order_by("name", "-valid_from")
    ]  # fmt: skip


def _holds(row: ChronicDisease, on: dt.date) -> dict[str, str]:
    if row.valid_from > on:
        return {"label": "未到生效日", "tone": "wait"}
    if row.valid_until and row.valid_until < on:
        return {"label": "已到期", "tone": "mute"}
    return {"label": "有效", "tone": "ok"}


def _filings(page: Page) -> list[dict[str, Any]]:
    """The last applications that this reader may see."""
    rows = DiseaseFiling.objects.visible_to(page.user).filter(person=page.person)
    states = PROCEDURES["diseasefiling"].states
    return [
        {"title": f"{row.name}（{row.number}）", "state": states[row.state].label,
         "tone": states[row.state].tone, "url": reverse("disease-filing", args=[row.pk]),
         "at": f"{clock.local(row.opened_at):%Y-%m-%d}"}
        for row in rows[:FILINGS]
    ]  # fmt: skip


def _this_year(page: Page) -> list[dict[str, Any]]:
    found = [row for row in persons.years(page.person, current()) if row.year == page.on.year]
    return [
        {"title": f"{row.year} 年 {persons.scheme_word(row.scheme)}", "items": [
            {"label": "起付线已用", "value": f"{yuan(row.deductible_used)} 元",
             "sub": bound("起付线", row.deductible)},
            {"label": "统筹基金已付", "value": f"{yuan(row.fund_used)} 元",
             "sub": bound("封顶线", row.limit)},
            {"label": "政策范围内累计", "value": f"{yuan(row.in_scope_used)} 元"},
            {"label": "大病保险已付", "value": f"{yuan(row.major_used)} 元",
             "sub": counted(row, "major_illness")},
            {"label": "医疗救助已付", "value": f"{yuan(row.assistance_used)} 元",
             "sub": counted(row, "assistance")},
        ]}
        for row in found
    ]  # fmt: skip


def counted(year: persons.Year, fund: str) -> str:
    """How a fund counts the year of a person who changed scheme."""
    return "年度内各险种合并累计" if fund in year.goes_over else "按险种分别累计"


def bound(name: str, amounts: tuple[int, ...]) -> str:
    """`起付线 800.00 元`; several by price class, or that there is none."""
    if not amounts:
        return f"没有{name}"
    return f"{name} {'／'.join(yuan(amount) for amount in amounts)} 元"


def _requests(page: Page) -> list[dict[str, Any]]:
    """Reimbursements asked for and claims that were settled by hand."""
    rows = Reimbursement.objects.visible_to(page.user).filter(person=page.person)
    found = []
    for row in rows.select_related("provider")[:REQUESTS]:
        state = PROCEDURES[row.procedure].states[row.state]
        found.append({
            "title": f"{row.get_kind_display()} {row.number}", "state": state.label,
            "tone": state.tone, "at": f"{clock.local(row.opened_at):%Y-%m-%d}",
            "text": f"{row.provider.name} · 发票 {yuan(row.amount)} 元"
            + (f" · 应付 {yuan(row.payable)} 元" if row.payable is not None else ""),
        })  # fmt: skip
    return found


def _visits(page: Page) -> list[dict[str, Any]]:
    """The last offline visits: what a revisit follows."""
    places = names_of({row.institution_code for row in page.visits})
    return [
        {"day": row.day.isoformat(), "place": places.get(row.institution_code, row.institution_code),
         "diagnosis": row.diagnosis_code}
        for row in page.visits
    ]  # fmt: skip


def names_of(codes: set[str]) -> dict[str, str]:
    """Names of institutions by code."""
    return dict(Institution.objects.filter(pk__in=codes).values_list("code", "name"))


def _acts(page: Page) -> list[dict[str, str]]:
    if not page.user.may("persons.maintain"):
        return []
    return [{"label": label, "url": reverse("person-act", args=[page.person.pk, key])}
            for key, label in ACTS]  # fmt: skip


# --- 累计与限额 ---


def usage(page: Page) -> dict[str, Any]:
    """Person-years, and every movement of the one that is chosen."""
    rows = persons.years(page.person, current())
    chosen = _chosen(page, rows)
    return {
        "years_table": _years_table(page, rows, chosen),
        "moves_table": _moves_table(page, chosen) if chosen else None,
        "outside": _outside(chosen) if chosen else "",
    }  # fmt: skip


def _chosen(page: Page, rows: list[persons.Year]) -> persons.Year | None:
    asked = (page.query.get("year", ""), page.query.get("scheme", ""))
    return next((row for row in rows if (str(row.year), row.scheme) == asked),
                rows[0] if rows else None)  # fmt: skip


def _years_table(page: Page, rows: list[persons.Year], chosen: persons.Year | None) -> Table:
    address = reverse("person", args=[page.person.pk])
    return Table(
        id="years", caption="年度累计", columns=[
            Column(label="年度"), Column(label="险种"), Column(label="起付线已用（元）", numeric=True),
            Column(label="政策范围内（元）", numeric=True), Column(label="统筹基金（元）", numeric=True),
            Column(label="大病保险（元）", numeric=True), Column(label="医疗救助（元）", numeric=True),
        ],
        rows=[
            Row(key=f"{row.year}{row.scheme}", label=f"{row.year}", tone="info" if row is chosen else "",
                cells=[
                    Cell(text=str(row.year),
                         url=f"{address}?tab=usage&year={row.year}&scheme={row.scheme}"),
                    Cell(text=persons.scheme_word(row.scheme)),
                    Cell(text=yuan(row.deductible_used), sub=bound("起付线", row.deductible)),
                    Cell(text=yuan(row.in_scope_used)),
                    Cell(text=yuan(row.fund_used), sub=bound("封顶线", row.limit)),
                    Cell(text=yuan(row.major_used), sub=counted(row, "major_illness")),
                    Cell(text=yuan(row.assistance_used), sub=counted(row, "assistance")),
                ])
            for row in rows
        ],
        empty_title="没有累计", empty_text="该参保人还没有结算的费用。",
    )  # fmt: skip


def _moves_table(page: Page, chosen: persons.Year) -> Table:
    number = page.number("page")
    rows, total = persons.moves(
        page.person, year=chosen.year, scheme=chosen.scheme, page=number, size=MOVES_PAGE
    )
    places = names_of({row.institution_code for row in rows})
    return Table(
        id="moves", caption=f"{chosen.year} 年 {persons.scheme_word(chosen.scheme)}累计明细",
        columns=[
            Column(label="单据号"), Column(label="服务日期"), Column(label="医疗机构", wide=True),
            Column(label="起付线（元）", numeric=True), Column(label="政策范围内（元）", numeric=True),
            Column(label="统筹基金（元）", numeric=True),
        ],
        rows=[
            Row(key=f"{row.claim_id}-{row.version}", label=row.claim_no, cells=[
                Cell(text=row.claim_no, code=True, url=_claim_url(page, row.claim_id),
                     sub=f"第 {row.version} 版 · {STATES.get(row.state, row.state)}"),
                Cell(text=row.service_date.isoformat(),
                     sub=f"{clock.local(row.settled_at):%Y-%m-%d %H:%M}"),
                Cell(text=places.get(row.institution_code, row.institution_code)),
                _amount(row.deductible, row.deductible_sum),
                _amount(row.in_scope, row.in_scope_sum), _amount(row.fund, row.fund_sum),
            ])
            for row in rows
        ],
        pages=Pages(total=total, page=number, size=MOVES_PAGE, sizes=(MOVES_PAGE,)),
        empty_title="没有明细", empty_text="该年度没有计入累计的单据。",
    )  # fmt: skip


def _amount(change: int, running: int) -> Cell:
    return Cell(text=yuan(change, sign=True) if change else "0.00", sub=f"累计 {yuan(running)}")


def _claim_url(page: Page, key: int) -> str:
    return reverse("claim", args=[key]) if page.user.may("claims.view") else ""


def _outside(chosen: persons.Year) -> str:
    """What other regions' claims added, which this reader does not see."""
    if not any(chosen.elsewhere):
        return ""
    deductible, scope, fund = map(yuan, chosen.elsewhere)
    return (
        f"另有数据范围之外的单据计入累计：起付线 {deductible} 元、政策范围内 {scope} 元、"
        f"统筹基金 {fund} 元。"
    )


# --- 单据与原因 ---


def claims(page: Page) -> dict[str, Any]:
    """Claims, newest first, each with the sentence for the telephone."""
    rows = Claim.objects.visible_to(page.user).filter(person_id=page.person.pk)
    rows = rows.order_by("-service_date", "-pk").only("pk", "period")
    found = Paginator(rows, CLAIMS_PAGE).get_page(page.query.get("page"))
    told = persons.explained(page.person, list(found), current())
    places = names_of({entry.stored.institution_code for entry in told})
    return {
        "claims": [_claim(page, entry, places) for entry in told],
        "pages": Pages(total=found.paginator.count, page=found.number, size=CLAIMS_PAGE,
                       sizes=(CLAIMS_PAGE,)),
    }  # fmt: skip


def _claim(page: Page, entry: persons.Explained, places: dict[str, str]) -> dict[str, Any]:
    stored, money = entry.stored, entry.money
    return {
        "number": stored.claim_no, "url": _claim_url(page, stored.id),
        "day": stored.service_date.isoformat(),
        "place": places.get(stored.institution_code, stored.institution_code),
        "state": STATES.get(stored.state, stored.state),
        "tone": words.STATE_TONES.get(stored.state, "info"), "why": entry.why,
        "amounts": [
            {"label": "费用", "value": yuan(stored.fee)},
            *({"label": label, "value": yuan(money[name]) if money else "—"} for name, label in PARTS),
        ],
    }  # fmt: skip


# --- 登记沿革 ---


def history(page: Page) -> dict[str, Any]:
    """Everything that was ever recorded; what was replaced says until when it was our knowledge."""
    rows = persons.history(page.person)
    return {
        "history_table": Table(
            id="history", caption="参保登记沿革", columns=[
                Column(label="起止"), Column(label="险种"), Column(label="状态"), Column(label="参保地"),
                Column(label="依据", wide=True), Column(label="登记"), Column(label="现状"),
            ],
            rows=[
                Row(key=str(row.pk), label=span_words(row), tone="mute" if row.superseded_at else "",
                    cells=[
                        Cell(text=span_words(row)), Cell(text=row.get_scheme_display()),
                        Cell(text=row.get_standing_display(), tone=TONES[Standing(row.standing)]),
                        Cell(text=page.regions.get(row.region_code, row.region_code)),
                        Cell(text=row.source or "—"),
                        Cell(text=f"{clock.local(row.recorded_at):%Y-%m-%d %H:%M}",
                             sub=Login(row.recorded_by)),
                        _standing_now(row),
                    ])
                for row in rows
            ],
            empty_title="没有参保登记", empty_text="可在参保登记中办理，或导入参保名册。",
        ),
    }  # fmt: skip


def _standing_now(row: Entitlement) -> Cell:
    if row.superseded_at is None:
        return Cell(text="现行", tone="ok")
    return Cell(
        text="已被替代", tone="mute", sub=f"{clock.local(row.superseded_at):%Y-%m-%d %H:%M}"
    )


TEMPLATES = {
    "": "settlement/person/overview.html", "usage": "settlement/person/usage.html",
    "claims": "settlement/person/claims.html", "history": "settlement/person/history.html",
}  # fmt: skip
PANELS: dict[str, Callable[[Page], dict[str, Any]]] = {
    "": overview, "usage": usage, "claims": claims, "history": history,
}  # fmt: skip
