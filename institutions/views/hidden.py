"""What is hidden until somebody asks: files, account numbers, phone numbers. Each look is an event."""

from typing import Any
from urllib.parse import quote

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods

from audit import clock, trail
from audit.access import requires
from institutions import commands
from institutions.access import PortalRequest
from institutions.documents import content_of
from institutions.handbook import words_of
from institutions.models import BankAccount, Change, Contact, Document, Institution
from institutions.refusals import Refusal
from institutions.registry_forms import ReasonForm
from institutions.views.acts import file_of, show


@requires("documents.view")
@require_GET
def document(request: PortalRequest, pk: int) -> HttpResponse:
    """Download a stored file, proven by its digest; never shown inside our own pages."""
    found = get_object_or_404(
        Document.objects.visible_to(request.user).select_related("institution"), pk=pk
    )
    try:
        content = content_of(found)
    except Refusal as error:
        return _gone(words_of(error))
    except FileNotFoundError:
        return _gone("文件不在存储中，请联系系统管理员")
    trail.record(
        by=request.user.username, at=clock.now(), action="document.read",
        subject=f"document:{found.pk}", region_code=found.region_code,
        institution_code=found.institution_id or "", detail={"name": found.name, "sm3": found.digest},
    )  # fmt: skip
    answer = HttpResponse(content, content_type=found.media_type)
    answer["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(found.name)}"
    answer["X-Content-Type-Options"] = "nosniff"
    answer["Cache-Control"] = "private, no-store"
    answer["Content-Security-Policy"] = "default-src 'none'; sandbox"
    return answer


def _gone(words: str) -> HttpResponse:
    """What was stored is not there any more as it was stored."""
    return HttpResponse(words, status=410, content_type="text/plain; charset=utf-8")


@requires("accounts.reveal")
@require_http_methods(["GET", "POST"])
def account(request: PortalRequest, pk: int) -> HttpResponse:
    """The full number of an account, against a reason."""
    row = _visible(request, BankAccount, pk)
    return _reveal(
        request, row, "查看银行账号", lambda reason: _account_items(request, row, reason)
    )


@requires("registry.view")
@require_http_methods(["GET", "POST"])
def filed_account(request: PortalRequest, pk: int) -> HttpResponse:
    """The full number of an account that is filed, for whoever compares it with the evidence."""
    if not (request.user.may("accounts.reveal") or request.user.may("registry.check")):
        raise PermissionDenied("accounts.reveal")
    row = _visible(request, Change, pk)
    if row.kind != Change.Kind.ACCOUNT:
        raise Http404(pk)
    return _reveal(request, row, "查看备案账号", lambda reason: _items(
        commands.reveal_filed_account(
            change=row, reason=reason, by=request.user.username, at=clock.now()),
        row.content["bank"],
    ))  # fmt: skip


@requires("registry.view")
@require_http_methods(["GET", "POST"])
def contact(request: PortalRequest, pk: int) -> HttpResponse:
    """The full telephone number of a contact, against a reason."""
    if not (request.user.may("accounts.reveal") or request.user.may("registry.maintain")):
        raise PermissionDenied("accounts.reveal")
    row = _visible(request, Contact, pk)
    return _reveal(request, row, "查看联系电话", lambda reason: [
        {"label": "事务", "value": row.purpose}, {"label": "姓名", "value": row.name},
        {"label": "电话", "code": True, "value": commands.reveal_contact(
            contact=row, reason=reason, by=request.user.username, at=clock.now())},
    ])  # fmt: skip


def _account_items(request: PortalRequest, row: BankAccount, reason: str) -> list[dict]:
    seen = commands.reveal_account(
        account=row, reason=reason, by=request.user.username, at=clock.now()
    )
    return _items(seen, row.bank)


def _items(seen: dict[str, str], bank: str) -> list[dict]:
    return [{"label": "户名", "value": seen["holder"]}, {"label": "开户行", "value": bank},
            {"label": "账号", "value": seen["number"], "code": True}]  # fmt: skip


def _visible(request: PortalRequest, model: Any, pk: int) -> Any:
    visible = Institution.objects.visible_to(request.user)
    rows = model.objects.filter(institution__in=visible).select_related("institution")
    return get_object_or_404(rows, pk=pk)


def _reveal(request: PortalRequest, row: Any, title: str, items: Any) -> HttpResponse:
    form = ReasonForm(request.POST if request.method == "POST" else None)
    shown: list[dict] = []
    status = 200
    if request.method == "POST":
        status = 422
        if form.is_valid():
            try:
                shown, status = items(form.cleaned_data["reason"]), 200
            except Refusal as error:
                show(form, error)
    found = row.institution
    answer = render(request, "institutions/reveal.html", {
        "form": form, "title": title, "items": shown, "institution": found,
        "back": file_of(found, "account"),
        "breadcrumbs": [{"label": "医疗机构", "url": reverse("institutions")},
                        {"label": found.name, "url": file_of(found, "account")},
                        {"label": title, "url": ""}],
    }, status=status)  # fmt: skip
    answer["Cache-Control"] = "no-store"
    return answer
