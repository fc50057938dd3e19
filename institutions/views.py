"""The file of one institution as of a day. Panels of other apps load by their addresses."""

import datetime as dt

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.http import require_GET

from audit import clock
from audit.access import requires
from audit.tables import Cell, Column, Pages, Row, Table
from institutions.access import PortalRequest
from institutions.calendar import whole_months
from institutions.forms import CLASSES, OnDay
from institutions.models import Institution, InstitutionFacts, Physician

TIERS = {
    "provincial": "省级",
    "municipal": "市级",
    "county": "县级",
    "township": "乡镇",
    "community": "社区",
}
PHYSICIANS = 20  #: rows of a page


def day_of(request: HttpRequest) -> dt.date:
    """The day that `?on=` names, else today (the demonstration's fixed day)."""
    form = OnDay(request.GET)
    return (form.is_valid() and form.cleaned_data["on"]) or clock.today()


@requires("institutions.view")
@require_GET
def institution(request: PortalRequest, code: str) -> HttpResponse:
    """Identity, facts of the day with their history, departments, physicians, API clients."""
    on = day_of(request)
    found = get_object_or_404(
        Institution.objects.visible_to(request.user).select_related("region", "parent"), code=code
    )
    history = list(found.facts.order_by("-valid_from", "-recorded_at"))
    facts = next((row for row in history if row.superseded_at is None and _holds(row, on)), None)
    return render(request, "institutions/institution.html", {
        "institution": found,
        "on": on,
        "day_form": OnDay({"on": on.isoformat()}, auto_id="day_%s"),
        "identity": _identity(found, found.api_clients.count()),
        "facts": _facts(facts) if facts else [],
        "departments": _departments(facts) if facts else [],
        "history": [_event(row, current=row is facts) for row in history],
        "physicians": _physicians(request, found, on),
        "breadcrumbs": [{"label": "政策与机构", "url": ""},
                        {"label": "医疗机构", "url": reverse("institutions")},
                        {"label": found.name, "url": ""}],
    })  # fmt: skip


def _holds(row, on: dt.date) -> bool:
    return row.valid_from <= on and (row.valid_until is None or on <= row.valid_until)


def _identity(found: Institution, clients: int) -> list[dict]:
    parent = found.parent
    names = [
        {"label": "互联网医院名称", "value": found.internet_hospital_name, "wide": True},
        {"label": "别名", "value": "、".join(found.aliases), "wide": True},
    ]
    return [
        {"label": "机构编码", "value": found.code, "code": True},
        {"label": "统一社会信用代码", "value": found.credit_code, "code": bool(found.credit_code)},
        {"label": "所在区域", "value": found.region.name, "sub": found.region.code},
        {"label": "层级", "value": TIERS.get(found.tier, found.tier)},
        {"label": "实体医疗机构", "value": parent.name if parent else "本机构",
         "url": reverse("institution", args=[parent.code]) if parent else ""},
        {"label": "接口客户端", "value": f"{clients} 个", "sub": "以机构身份报送费用的系统"},
        *(name for name in names if name["value"]),
    ]  # fmt: skip


def _facts(row: InstitutionFacts) -> list[dict]:
    return [
        {"label": "价格类别", "value": price_class(row)},
        {"label": "医院等级", "value": row.hospital_grade},
        {"label": "所有制", "value": row.get_ownership_display(),
         "sub": "非营利性" if row.nonprofit else "营利性"},
        {"label": "医保备案", "value": f"{row.filed_on} 备案" if row.filed_on else "未备案",
         "tone": "ok" if row.filed_on else "mute"},
        {"label": "联网结算", "value": "可联网结算" if row.online_settlement else "手工报销",
         "tone": "ok" if row.online_settlement else "warn"},
        {"label": "有效期", "value": span(row.valid_from, row.valid_until)},
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
        {"label": label, "names": [(name, name in both) for name in names]}
        for label, names in (
            ("线下诊疗科目", row.offline_departments),
            ("互联网诊疗科目", row.internet_departments),
        )
    ]


def _event(row: InstitutionFacts, *, current: bool) -> dict:
    words = [price_class(row), row.hospital_grade, row.get_ownership_display(),
             "非营利性" if row.nonprofit else "营利性",
             f"{row.filed_on} 备案" if row.filed_on else "未备案",
             "" if row.online_settlement else "不可联网结算"]  # fmt: skip
    known = f"登记于 {clock.local(row.recorded_at):%Y-%m-%d}"
    if row.superseded_at:
        known += f"，{clock.local(row.superseded_at):%Y-%m-%d} 更正"
    return {
        "at": known,
        "title": span(row.valid_from, row.valid_until) + ("（所选时点）" if current else ""),
        "text": " · ".join(filter(None, words)),
        "tone": "ok" if current else "warn" if row.superseded_at else "mute",
    }


def _physicians(request: HttpRequest, found: Institution, on: dt.date) -> Table:
    rows = Physician.objects.of(found, on=on)
    total = rows.count()
    asked = request.GET.get("page", "")
    last = max(-(-total // PHYSICIANS), 1)
    page = min(max(int(asked), 1), last) if asked.isascii() and asked.isdigit() else 1
    shown = rows[(page - 1) * PHYSICIANS : page * PHYSICIANS]
    return Table(
        id="physicians", caption="医师",
        columns=[Column(label="姓名"), Column(label="医师编码"), Column(label="职称"),
                 Column(label="独立临床经验", numeric=True), Column(label="执业证书"),
                 Column(label="类别")],
        rows=[_physician(row, on) for row in shown],
        pages=Pages(total=total, size=PHYSICIANS, page=page, sizes=(PHYSICIANS,)),
        empty_title="没有登记的医师", empty_text="医师登记后，这里显示所选时点的职称与经验。",
    )  # fmt: skip


def _physician(row: Physician, on: dt.date) -> Row:
    title = row.titles_on[0] if row.titles_on else None
    months = whole_months(row.independent_since, on)
    return Row(
        key=row.code, label=row.name,
        cells=[
            Cell(text=row.name),
            Cell(text=row.code, code=True),
            Cell(text=title.get_title_display() if title else "当日无职称",
                 sub=span(title.valid_from, title.valid_until) if title else ""),
            Cell(text=_experience(months), sub=f"{row.independent_since} 起"),
            Cell(text=row.licence_no, code=bool(row.licence_no)),
            Cell(text="医师") if row.is_clinician else Cell(text="非医务人员", tone="mute"),
        ],
    )  # fmt: skip


def _experience(months: int) -> str:
    if months < 0:
        return "尚未开始"
    years, rest = divmod(months, 12)
    return " ".join(
        filter(None, [f"{years} 年" if years else "", f"{rest} 个月" if rest or not years else ""])
    )
