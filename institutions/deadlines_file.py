"""Deadlines of the inbox as an iCalendar file (RFC 5545), and the address to subscribe to it.

The address holds a key made from the person's session hash: a new password ends every subscription.
"""

import datetime as dt
from collections.abc import Iterable

from django.utils.crypto import constant_time_compare, salted_hmac
from icalendar import Alarm, Calendar, Event

from audit.models import Task
from institutions.models import User

MOST = 500
SALT = "institutions.deadlines"
REMIND_BEFORE = dt.timedelta(hours=15)  #: nine in the morning of the day before


def token(user: User) -> str:
    """What stands in the subscription's address: the person's key and its proof."""
    return f"{user.pk}-{_proof(user)}"


def user_of(text: str) -> User | None:
    """Whose subscription it is; None when the key is wrong or the password was changed since."""
    key, _, proof = text.partition("-")
    if not key.isascii() or not key.isdigit() or len(key) > 18:
        return None
    user = User.objects.filter(pk=int(key), is_active=True).first()
    if user is None or not constant_time_compare(proof, _proof(user)):
        return None
    return user


def _proof(user: User) -> str:
    text = f"{user.pk}:{user.get_session_auth_hash()}"  # accounts may share one stored password
    return salted_hmac(SALT, text, algorithm="sha256").hexdigest()


def write(
    tasks: Iterable[Task], *, name: str, at: dt.datetime, base: str, addresses: dict
) -> bytes:
    """One all-day event per task on its due day, with a reminder the day before."""
    calendar = Calendar()
    calendar.add("prodid", "-//医保监管与结算平台//期限//CN")
    calendar.add("version", "2.0")
    calendar.add("method", "PUBLISH")
    calendar.add("x-wr-calname", name)
    calendar.add("x-wr-timezone", "Asia/Shanghai")
    calendar.add("refresh-interval", dt.timedelta(hours=6), parameters={"VALUE": "DURATION"})
    for task in tasks:
        if task.due is not None:
            url = addresses.get(task.pk, "")
            calendar.add_component(_event(task, task.due, at, f"{base}{url}" if url else ""))
    return calendar.to_ical()


def _event(task: Task, due: dt.date, at: dt.datetime, url: str) -> Event:
    event = Event()
    event.add("uid", f"task-{task.pk}@portal")
    event.add("dtstamp", at.astimezone(dt.UTC))
    event.add("dtstart", due)
    event.add("dtend", due + dt.timedelta(days=1))
    event.add("summary", task.title)
    words = [task.status, task.clause, f"经办：{task.assignee}" if task.assignee else ""]
    event.add("description", "\n".join(word for word in words if word))
    event.add("transp", "TRANSPARENT")
    event.add("categories", ["法定期限"])
    if url:
        event.add("url", url)
    alarm = Alarm()
    alarm.add("action", "DISPLAY")
    alarm.add("description", f"明日到期：{task.title}")
    alarm.add("trigger", -REMIND_BEFORE)
    event.add_component(alarm)
    return event
