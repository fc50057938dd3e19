"""An institution as it is looked at: on which day, as known when; the first part of its file."""

import datetime as dt
from dataclasses import dataclass

from django.http import HttpRequest
from django.urls import reverse

from audit import clock
from audit.tables import Action
from institutions.access import PortalRequest
from institutions.commands.identity import TIERS
from institutions.departments import department
from institutions.forms import CLASSES, OnDay
from institutions.models import Institution, InstitutionFacts, User
from institutions.naming import named
from institutions.registry_acts import ACTS

END_OF_DAY = dt.time(23, 59, 59, 999_999)


def day_of(request: HttpRequest) -> dt.date:
    """The day that `?on=` names, else today (the demonstration's fixed day)."""
    form = OnDay(request.GET)
    return (form.is_valid() and form.cleaned_data["on"]) or clock.today()


@dataclass(frozen=True)
class Standpoint:
    """A file as it is looked at: whose, by whom, on which day, with the knowledge of which moment."""

    institution: Institution
    user: User
    on: dt.date
    known_on: dt.date | None

    @property
    def known_at(self) -> dt.datetime | None:
        """The end of the day until which what was recorded counts; None: everything."""
        if self.known_on is None:
            return None
        return dt.datetime.combine(self.known_on, END_OF_DAY, clock.ZONE)

    def acts(self, *keys: str) -> list[Action]:
        """Buttons of what this person may do here (`institutions.registry_acts.ACTS`)."""
        return [
            Action(label=ACTS[key].title, icon=ACTS[key].icon,
                   url=reverse("registry-act", args=[self.institution.code, key]))
            for key in keys if ACTS[key].allowed(self.user)
        ]  # fmt: skip

    def row_acts(self, pk: object, *keys: str) -> list[Action]:
        """Links of what this person may do with one row."""
        return [
            Action(label=ACTS[key].short or ACTS[key].title, tone=ACTS[key].tone,
                   url=reverse("registry-row-act", args=[self.institution.code, key, pk]))
            for key in keys if ACTS[key].allowed(self.user)
        ]  # fmt: skip


def overview(request: PortalRequest, view: Standpoint) -> dict:
    """Identity, facts of the day with their history, departments."""
    found, on = view.institution, view.on
    history = list(found.facts.order_by("-valid_from", "-recorded_at"))
    facts = next((row for row in history if _told(row, view.known_at) and _holds(row, on)), None)
    return {
        "identity": _identity(found, facts, found.api_clients.count()),
        "facts": _facts(facts) if facts else [],
        "departments": _departments(facts) if facts else [],
        "stopped": _stopped(view),
        "history": named([_event(row, current=row is facts) for row in history]),
        "actions": view.acts("facts", "correction", "identity", "change"),
    }


def _holds(row, on: dt.date) -> bool:
    return row.valid_from <= on and (row.valid_until is None or on <= row.valid_until)


def _told(row, moment: dt.datetime | None) -> bool:
    """Whether a row was knowledge at a moment (None: now)."""
    if moment is None:
        return row.superseded_at is None
    return row.recorded_at <= moment and (row.superseded_at is None or row.superseded_at > moment)


def frozen_words(found: Institution, *, on: dt.date, known_at: dt.datetime | None = None) -> str:
    """Why nothing is paid to an institution on a day, as known at a moment; empty: it is paid."""
    rows = found.freezes.in_force(on=on).order_by("valid_from")
    if known_at is not None:
        rows = rows.filter(recorded_at__lte=known_at)
    return "；".join(f"{span(row.valid_from, row.valid_until)}：{row.reason}" for row in rows)


def _identity(found: Institution, facts: InstitutionFacts | None, clients: int) -> list[dict]:
    parent = found.parent
    names = [
        {"label": "当日名称", "wide": True,
         "value": facts.name if facts and facts.name != found.name else ""},
        {"label": "互联网医院名称", "wide": True,
         "value": facts.internet_hospital_name if facts else ""},
        {"label": "别名", "value": "、".join(found.aliases), "wide": True},
    ]  # fmt: skip
    return [
        {"label": "机构编码", "value": found.code, "code": True},
        {"label": "统一社会信用代码", "value": found.credit_code, "code": bool(found.credit_code)},
        {"label": "类型", "value": found.get_kind_display()},
        {"label": "所在区域", "value": found.region.name, "sub": found.region.code},
        {"label": "层级", "value": TIERS.get(found.tier, found.tier)},
        {"label": "实体医疗机构", "value": parent.name if parent else "本机构",
         "url": reverse("institution", args=[parent.code]) if parent else ""},
        {"label": "接口客户端", "value": f"{clients} 个", "sub": "以机构身份报送费用的系统"},
        *(name for name in names if name["value"]),
    ]  # fmt: skip


def _facts(row: InstitutionFacts) -> list[dict]:
    physical = {True: "非营利性", False: "营利性", None: ""}[row.physical_nonprofit]
    return [
        {"label": "价格类别", "value": price_class(row)},
        {"label": "医院等级", "value": row.hospital_grade},
        {"label": "所有制", "value": row.get_ownership_display()},
        {"label": "经营性质", "value": f"互联网医院{'非营利性' if row.nonprofit else '营利性'}",
         "sub": f"实体机构{physical}" if physical else ""},
        {"label": "法定代表人", "value": row.representative},
        {"label": "地址", "value": row.address},
        {"label": "医保备案", "value": f"{row.filed_on} 备案" if row.filed_on else "未备案",
         "tone": "ok" if row.filed_on else "mute"},
        {"label": "联网结算", "value": "可联网结算" if row.online_settlement else "手工报销",
         "tone": "ok" if row.online_settlement else "warn"},
        {"label": "有效期", "value": span(row.valid_from, row.valid_until), "sub": row.source},
    ]  # fmt: skip


def price_class(row: InstitutionFacts) -> str:
    """The price class in words; a class of another scheme is shown as recorded."""
    return CLASSES.get(row.price_class, row.price_class)


def span(first: dt.date, last: dt.date | None) -> str:
    """A span of days in words."""
    return f"{first} 至 {last}" if last else f"{first} 起"


def _departments(row: InstitutionFacts) -> list[dict]:
    both = set(row.offline_departments) & set(row.internet_departments)
    return [
        {"label": label, "names": [(department(name), name in both) for name in names]}
        for label, names in (
            ("线下诊疗科目", row.offline_departments),
            ("互联网诊疗科目", row.internet_departments),
        )
    ]


def _stopped(view: Standpoint) -> str:
    """The departments that are suspended on the day, as known at the moment; empty: none."""
    rows = view.institution.department_suspensions.in_force(on=view.on)
    return "；".join(
        f"{department(row.department)} {span(row.valid_from, row.valid_until)}（{row.clause}）"
        for row in rows if _told(row, view.known_at)
    )  # fmt: skip


def _event(row: InstitutionFacts, *, current: bool) -> dict:
    words = [row.name, row.internet_hospital_name, price_class(row), row.hospital_grade,
             row.get_ownership_display(),
             "非营利性" if row.nonprofit else "营利性",
             row.representative and f"法定代表人{row.representative}",
             f"{row.filed_on} 备案" if row.filed_on else "未备案",
             "" if row.online_settlement else "不可联网结算",
             f"线下科目{len(row.offline_departments)}个、互联网科目{len(row.internet_departments)}个",
             row.source and f"依据：{row.source}"]  # fmt: skip
    known = f"登记于 {clock.local(row.recorded_at):%Y-%m-%d}"
    if row.superseded_at:
        known += f"，{clock.local(row.superseded_at):%Y-%m-%d} 更正或接续"
    return {
        "at": known,
        "by": row.recorded_by,
        "title": span(row.valid_from, row.valid_until) + ("（所选时点）" if current else ""),
        "text": " · ".join(filter(None, words)),
        "tone": "ok" if current else "warn" if row.superseded_at else "mute",
    }
