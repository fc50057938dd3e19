"""What the pages of inspections, complaints and restrictions share: an act with its form."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpResponse
from django.shortcuts import redirect

from agreements.views.refusing import refuse, words_of
from audit.procedure import Refused
from institutions.access import PortalRequest
from institutions.models import User
from institutions.refusals import Refusal


@dataclass(frozen=True)
class Act:
    """One act of a page: who may, when it is offered, its form, its one command."""

    key: str
    label: str
    permission: str
    when: Callable[[Any, User], bool]
    form: Callable[..., forms.Form]
    run: Callable[[Any, forms.Form, User], object]
    given: Callable[[Any, User], dict[str, Any]] = lambda row, user: {}
    danger: bool = False

    def offered(self, row: Any, user: User) -> bool:
        """Whether this person can do it now."""
        return user.may(self.permission) and self.when(row, user)

    def shown(self, row: Any, user: User, *data: Any) -> forms.Form:
        """The form of the act."""
        return self.form(*data, auto_id=f"{self.key}_%s", **self.given(row, user))


def entries(
    acts: Mapping[str, Act], row: Any, user: User, typed: forms.Form | None, key: str
) -> list[dict[str, Any]]:
    """The acts that this person can do, each with its form."""
    found = []
    for act in acts.values():
        if act.offered(row, user):
            form = typed if typed is not None and act.key == key else act.shown(row, user)
            found.append({"key": act.key, "title": act.label, "form": form,
                          "tone": "danger" if act.danger else "", "open": bool(form.errors)})  # fmt: skip
    return found


def done(
    request: PortalRequest, acts: Mapping[str, Act], key: str, row: Any, address: str,
    page: Callable[..., HttpResponse],
) -> HttpResponse:  # fmt: skip
    """Do an act and go back to its page, or show the page with what was refused."""
    act = acts.get(key)
    if act is None:
        raise Http404(key)
    if not request.user.may(act.permission):
        raise PermissionDenied(act.permission)
    form = act.shown(row, request.user, request.POST, request.FILES)
    status = 422
    if form.is_valid():
        try:
            with transaction.atomic():
                act.run(row, form, request.user)
        except (Refusal, Refused) as error:
            status = refuse(form, error)
            messages.error(request, f"{words_of(error)}。")
        else:
            messages.success(request, f"已办理“{act.label}”。")
            return redirect(address, pk=row.pk)
    row.refresh_from_db()
    return page(request, row, typed=form, key=key, status=status)
