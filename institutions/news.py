"""Telling people: messages inside the portal, and what leaves it by mail and webhook.

Commands call `tell` with the permission of whoever has to know; nothing is sent here: rows of
`Dispatch` wait for `outbox.deliver`, which a worker runs.
"""

import datetime as dt
from collections.abc import Iterable

from django.conf import settings
from django.db.models import Q, QuerySet
from django.utils.module_loading import import_string

from institutions import outbox
from institutions.holidays import areas_above
from institutions.models import Dispatch, Notification, User, Webhook

LONGEST = 300


def tell(
    *, permission: str, region_code: str, institution_code: str, text: str, url: str, subject: str,
    at: dt.datetime,
) -> int:  # fmt: skip
    """Tell everybody who has the permission where this happens; how many people were told.

    An institution's own systems hear (webhooks) whatever its people hear, and nothing else.
    """
    roles = roles_with(permission)
    people = list(
        User.objects.filter(
            _within(region_code, institution_code), is_active=True, role__in=roles
        ).only("pk", "email", "mail_news")
    )
    mails = _notify(people, text=text, url=url, subject=subject, at=at)
    calls = []
    if institution_code and any(_of_institutions(role) for role in roles):
        hooks = Webhook.objects.filter(institution_id=institution_code, active=True)
        calls = [outbox.call(hook, text=text, url=url, subject=subject, at=at) for hook in hooks]
    outbox.queue([*mails, *calls])
    return len(people)


def tell_people(
    *, people: Iterable[User], text: str, url: str, subject: str, at: dt.datetime
) -> None:
    """Tell certain people (a task was given to them, a delegation begins)."""
    outbox.queue(_notify(list(people), text=text, url=url, subject=subject, at=at))


def unread(user: User) -> QuerySet[Notification]:
    """The messages of a person that were not opened yet."""
    return Notification.objects.filter(user=user, read_at=None)


def mark_read(*, user: User, at: dt.datetime, pk: int | None = None) -> int:
    """Mark one message of a person as read, or all of them; how many there were."""
    rows = unread(user)
    return (rows if pk is None else rows.filter(pk=pk)).update(read_at=at)


def roles_with(permission: str) -> list[str]:
    """The roles that have a permission."""
    table = import_string(settings.ROLE_TABLE)
    return [name for name, role in table.items() if permission in role.permissions]


def _of_institutions(role: str) -> bool:
    return import_string(settings.ROLE_TABLE)[role].scope == "institution"


def _within(region_code: str, institution_code: str) -> Q:
    """People whose scope covers a place: its offices up to the province, the institution itself."""
    if not region_code and not institution_code:
        return Q(region__isnull=False)
    inside = Q(region__in=areas_above(region_code))
    return inside | Q(institution=institution_code) if institution_code else inside


def _notify(
    people: list[User], *, text: str, url: str, subject: str, at: dt.datetime
) -> list[Dispatch]:
    text = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    Notification.objects.bulk_create(
        Notification(user=person, subject=subject, text=text, url=url, at=at) for person in people
    )
    if not settings.MAIL_LEAVES:
        return []
    return [
        outbox.mail(person.email, text=text, url=url, subject=subject, at=at)
        for person in people
        if person.email and person.mail_news
    ]
