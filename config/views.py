"""Pages that belong to no single application: the front door, the search box, icon, gallery."""

import re

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.templatetags.static import static
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_GET, require_POST

from audit import clock, trail, watch
from audit.access import public, requires, signed_in
from config import gallery as samples
from config import health
from config.menu import home
from institutions import crypto
from institutions.access import PortalRequest
from institutions.models import Institution
from settlement.models import ClaimKey, InsuredPerson
from settlement.views.workbench import workbench

PAGE_SIZES = (20, 50, 100)
LONGEST = 120
LIKE_ID_NUMBER = re.compile(r"^\d{15}$|^\d{17}[\dXx]$")
WORKS = {"ok": "正常", "down": "无响应", "still": "停止"}
UNKNOWN = "没有找到。请输入机构名称或编码、完整的单据号或 18 位身份证号；只查找您数据范围内的记录。"


@signed_in
@require_GET
def front(request: PortalRequest) -> HttpResponse:
    """The workbench; whoever has none begins at the first page that the role may open."""
    if request.user.may("workbench.view"):
        return workbench(request)
    return redirect(home(request.user))


@signed_in
@require_POST
def find(request: PortalRequest) -> HttpResponse:
    """The one search box. The words come in the body: an ID number never stands in an address."""
    text = request.POST.get("q", "").replace("\0", "").strip()[:LONGEST]
    try:
        place = _claims(request, text) or _persons(request, text) or _institutions(request, text)
    except crypto.IdNumberError as error:
        messages.error(request, f"{error}。")
        return redirect(home(request.user))
    if not place:
        messages.warning(request, UNKNOWN)
    return redirect(place or home(request.user))


def _claims(request: PortalRequest, text: str) -> str:
    """A claim by its number; empty when it is none."""
    if not text or not request.user.may("claims.view"):
        return ""
    codes = Institution.objects.visible_to(request.user).values("code")
    keys = ClaimKey.objects.filter(institution_code__in=codes, claim_no=text)
    found = list(keys.values_list("claim_id", flat=True)[:2])
    if len(found) == 1:
        return reverse("claim", args=found)
    if found:
        return f"{reverse('claims')}?{urlencode({'claim_no': text})}"
    return ""


def _persons(request: PortalRequest, text: str) -> str:
    """The page of a person by ID number; without that permission, or in nobody's register, the claims.

    A number that is not found is an event, as it is where persons are looked up.
    """
    if not LIKE_ID_NUMBER.match(text):
        return ""
    digest, user = crypto.person_hash(crypto.id_number(text)), request.user
    if user.may("persons.view"):
        found = InsuredPerson.objects.visible_to(user).filter(id_hash=digest).first()
        if found is not None:
            return reverse("person", args=[found.pk])
        trail.record(
            by=user.username, at=clock.now(), action="person.find", subject="person:",
            outcome="none", region_code=user.region_id or "",
            institution_code=user.institution_id or "", person_hash=digest,
        )  # fmt: skip
    if user.may("claims.view"):
        return f"{reverse('claims')}?{urlencode({'person': digest.hex()})}"
    return ""


def _institutions(request: PortalRequest, text: str) -> str:
    """An institution by code, name or alias; several: their list."""
    if not text or not request.user.may("institutions.view") or LIKE_ID_NUMBER.match(text):
        return ""
    found = list(Institution.objects.visible_to(request.user).search(text)[:2])
    if len(found) == 1:
        return reverse("institution", args=[found[0].code])
    return f"{reverse('institutions')}?{urlencode({'q': text})}" if found else ""


@requires("system.configure")
@require_GET
def status(request: PortalRequest) -> HttpResponse:
    """Whether the servers answer and the trail is sealed: for whoever has to mend them."""
    now = clock.machine()
    found, sealing = health.state(), watch.health(at=now)
    ran = f"{clock.local(sealing.ran_at):%Y-%m-%d %H:%M:%S}" if sealing.ran_at else ""
    return render(request, "system.html", {
        "breadcrumbs": [{"label": "系统", "url": ""}, {"label": "运行状态", "url": ""}],
        "alarm": sealing.sentence, "now": f"{clock.local(now):%Y-%m-%d %H:%M:%S}",
        "facts": [
            {"label": label, "value": WORKS.get(found[key], found[key]),
             "tone": "ok" if found[key] == "ok" else "bad", "sub": sub}
            for key, label, sub in (("database", "数据库", ""), ("broker", "任务队列", ""),
                                    ("trail", "留痕封存", f"最近一次 {ran}" if ran else "尚未运行"))
        ],
    })  # fmt: skip


@public
@require_GET
def favicon(request: HttpRequest) -> HttpResponse:
    """Pages without a head of their own (files, JSON) are asked for this address."""
    return redirect(static("img/mark.svg"))


@public
def gallery(request: HttpRequest) -> HttpResponse:
    """Every component of the design system in every state; it shows no real data."""
    size = _whole(request.GET.get("size"), 20)
    context = samples.context(
        page=_whole(request.GET.get("page"), 1),
        size=size if size in PAGE_SIZES else PAGE_SIZES[0],
        sort=request.GET.get("sort", "-date"),
    )
    return render(request, "gallery.html", context)


def _whole(text: str | None, default: int) -> int:
    return int(text) if text and text.isascii() and text.isdigit() else default
