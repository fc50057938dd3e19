"""The inbox: what waits for a person, by permission and scope, over the procedures of every package.

One limited look-up per permission and place (LATERAL), each in the order of an index of open tasks:
the cost of a page depends on its size and on the reader's permissions, never on how much waits.
"""

import base64
import binascii
import datetime as dt
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import Exists, OuterRef, QuerySet
from django.urls import NoReverseMatch, Resolver404, resolve, reverse
from django.utils.http import urlencode
from django.utils.module_loading import import_string

from audit.access import DECLARED, PUBLIC, SIGNED_IN
from audit.cursor import CursorPage
from audit.models import Task
from institutions.calendar import Calendar, MissingYear
from institutions.holidays import load_calendars
from institutions.models import Delegation, User, area_prefix
from institutions.naming import shown_names

OVERSEE = "tasks.oversee"
LABELS_SHOWN = 3
MANY = 100  #: counts stop here: “99+”
PROVINCE_DIGITS, AREA_DIGITS, COUNTY_DIGITS = 2, 4, 6
#: Where a task without an address of its own is worked on: url name by the word before the colon.
PLACES = {"claim": "claim", "batch": "batch", "institution": "institution", "release": "release"}
CURSOR = re.compile(r"([<>])(\d{4}-\d{2}-\d{2}|-) (\d{1,18})")

PROVINCE_AREAS = """(SELECT DISTINCT left(code, 4) AS place FROM institutions_region
    WHERE starts_with(code, %(prefix)s) UNION SELECT '')"""
NEAR = {
    "area": "unnest(%(places)s::text[])",
    "region_code": "unnest(%(places)s::text[])",
    "institution_code": "unnest(%(places)s::text[])",
    "province": PROVINCE_AREAS,
}
BY_PERMISSION = """unnest(%(permissions)s::text[]) AS held (permission)
CROSS JOIN {near} AS near (place)
CROSS JOIN LATERAL (
    SELECT * FROM audit_task WHERE state = 'open' AND permission = held.permission
    AND {column} = near.place AND (region_code <> '' OR institution_code = '' OR {own})
    {conditions} ORDER BY due{down}, id{down} LIMIT %(limit)s
) AS t"""
BY_ASSIGNEE = """(
    SELECT username AS name FROM institutions_user WHERE id = %(user)s UNION
    SELECT giver.username FROM institutions_delegation AS given
    JOIN institutions_user AS giver ON giver.id = given.giver_id
    JOIN institutions_user AS taker ON taker.id = given.taker_id
    WHERE given.taker_id = %(user)s AND given.ended_at IS NULL
    AND %(today)s BETWEEN given.valid_from AND given.valid_until AND giver.role = taker.role
    AND giver.region_id IS NOT DISTINCT FROM taker.region_id
    AND giver.institution_id IS NOT DISTINCT FROM taker.institution_id
) AS held
CROSS JOIN LATERAL (
    SELECT * FROM audit_task WHERE state = 'open' AND assignee <> '' AND assignee = held.name
    AND permission = ANY (%(permissions)s) AND {inside}
    {conditions} ORDER BY due{down}, id{down} LIMIT %(limit)s
) AS t"""
WITHIN_INSTITUTION = "institution_code = %(code)s"
WITHIN_AREA = "(starts_with(region_code, %(prefix)s) OR region_code || institution_code = '')"
LATE = "AND due < %(today)s AND NOT stopped"
SOON = "AND due BETWEEN %(today)s AND %(sunday)s AND NOT stopped"
ROWS = "SELECT t.* FROM {tasks} ORDER BY t.due{down}, t.id{down} LIMIT %(limit)s"
COUNT = "SELECT '{name}', count(*) FROM (SELECT 1 FROM {tasks} LIMIT %(limit)s) AS part"
PARAMETER = re.compile(r"%\((\w+)\)s")
BADGE = """SELECT (SELECT count(*) FROM (SELECT 1 FROM {tasks} LIMIT %(limit)s) AS waiting),
(SELECT count(*) FROM {unread})"""
UNREAD_OF = "SELECT 'unread', count(*) FROM"
UNREAD = """(SELECT 1 FROM institutions_notification
    WHERE user_id = %(user)s AND read_at IS NULL LIMIT %(limit)s) AS unread"""


Statement = tuple[str, dict[str, Any]]  #: text and values


@dataclass(frozen=True)
class Wanted:
    """The filters of the inbox. `holder`: "" all, "me", "nobody"; `office`: everybody's tasks of
    the own area, for who oversees them; `when`: "" any, "late", "soon" (this week).
    """

    when: str = ""
    procedure: str = ""
    region: str = ""
    holder: str = ""
    words: str = ""
    office: bool = False


@dataclass(frozen=True)
class Place:
    """Where a page begins: after or (`back`) before a row."""

    back: bool
    due: dt.date | None
    key: int


@dataclass(frozen=True)
class Holder:
    """An assignee: the name, and whether the reader stands in by delegation."""

    name: str
    delegated: bool


class Inbox:
    """The open tasks of one reader on a day, the most urgent first, those without a day last."""

    def __init__(self, user: User, *, today: dt.date, wanted: Wanted | None = None) -> None:
        self.user, self.today, self.wanted = user, today, wanted or Wanted()
        self.institution = user.institution_id or ""
        self.prefix = "" if self.institution else _prefix(user, self.wanted.region)
        placed = self.institution or self.prefix
        self.permissions = permissions_of(user, office=self.wanted.office) if placed else []

    def page(self, *, cursor: str = "", size: int = 20) -> CursorPage:
        """One page of tasks; what is no cursor begins at the front."""
        place = _read(cursor)
        back = place is not None and place.back
        found: list[Task] = []
        for conditions, values in _parts(place):
            found += self._rows(conditions, values, back=back, limit=size + 1 - len(found))
            if len(found) > size:
                break
        more, found = len(found) > size, found[:size]
        if back:
            found.reverse()
        if not found:
            return CursorPage([], None, None)
        before, after = (more, True) if back else (place is not None, more)
        return CursorPage(
            found,
            _write("<", found[0]) if before else None,
            _write(">", found[-1]) if after else None,
        )

    def counts(self) -> dict[str, int]:
        """How many wait, are overdue, end this week, are mine, and messages that are unread; each
        counted to MANY.
        """
        kinds = {
            "all": self, "late": self._with(when="late"), "soon": self._with(when="soon"),
            "me": self._with(holder="me"),
        }  # fmt: skip
        parts: list[str] = [f"{UNREAD_OF} {UNREAD}"]
        values: dict[str, Any] = {"user": self.user.pk, "limit": MANY}
        for name, inbox in kinds.items():
            text, given = inbox._from("", limit=MANY)
            parts.append(PARAMETER.sub(rf"%(\1_{name})s", COUNT.format(name=name, tasks=text)))
            values |= {f"{key}_{name}": value for key, value in given.items()}
        with connection.cursor() as cursor:
            cursor.execute(" UNION ALL ".join(parts), values)
            return dict(cursor.fetchall())

    def badge(self) -> tuple[int, int]:
        """For the frame of every page, in one query: tasks that wait, messages that are unread."""
        text, values = self._from("", limit=MANY)
        with connection.cursor() as cursor:
            cursor.execute(BADGE.format(tasks=text, unread=UNREAD), values | {"user": self.user.pk})
            return cursor.fetchone()

    def people(self, tasks: Iterable[Task]) -> dict[str, Holder]:
        """Who the assignees of tasks are, and whether I stand in for them."""
        names = {task.assignee for task in tasks if task.assignee}
        if not names:
            return {}
        rows = User.objects.filter(username__in=names).annotate(
            mine=Exists(delegations_to(self.user, on=self.today).filter(giver=OuterRef("pk")))
        )
        return {row.username: Holder(str(row), row.mine) for row in rows}

    def _with(self, **changes: Any) -> "Inbox":
        return Inbox(self.user, today=self.today, wanted=replace(self.wanted, **changes))

    def _rows(self, conditions: str, values: dict, *, back: bool, limit: int) -> list[Task]:
        down = " DESC" if back else ""
        text, given = self._from(conditions, limit=limit, down=down)
        return list(Task.objects.raw(ROWS.format(tasks=text, down=down), given | values))

    def _from(self, conditions: str, *, limit: int, down: str = "") -> Statement:
        """The rows of this reader as a FROM clause `… AS t`, with the values of its places."""
        more, values = self._filters()
        values |= {"permissions": self.permissions, "limit": limit}
        conditions = f"{conditions} {more}"
        if self.wanted.holder == "me":
            values |= {"user": self.user.pk, "today": self.today, "prefix": self.prefix,
                       "code": self.institution}  # fmt: skip
            inside = WITHIN_INSTITUTION if self.institution else WITHIN_AREA
            return BY_ASSIGNEE.format(inside=inside, conditions=conditions, down=down), values
        name, places = self._near()
        values |= {"places": places, "prefix": self.prefix}
        return BY_PERMISSION.format(
            near=NEAR[name], column="area" if name == "province" else name,
            own="true" if self.institution else "false", conditions=conditions, down=down,
        ), values  # fmt: skip

    def _near(self) -> tuple[str, list[str]]:
        """Which index finds the reader's rows, and its values; tasks of no place are everybody's."""
        if self.institution:
            return "institution_code", [self.institution]
        everywhere = [] if self.wanted.region else [""]
        if len(self.prefix) == COUNTY_DIGITS:
            return "region_code", [self.prefix, *everywhere]
        if len(self.prefix) == AREA_DIGITS:
            return "area", [self.prefix, *everywhere]
        return "province" if self.prefix else "area", []

    def _filters(self) -> Statement:
        wanted, texts = self.wanted, []
        values: dict[str, Any] = {}
        if wanted.when:
            texts.append(LATE if wanted.when == "late" else SOON)
            sunday = self.today + dt.timedelta(days=6 - self.today.weekday())
            values |= {"today": self.today, "sunday": sunday}
        if wanted.procedure:
            texts.append("AND procedure = %(procedure)s")
            values["procedure"] = "" if wanted.procedure == "other" else wanted.procedure
        if wanted.holder == "nobody":
            texts.append("AND assignee = ''")
        if wanted.words:
            texts.append("AND strpos(lower(title), lower(%(words)s)) > 0")
            values["words"] = wanted.words
        return " ".join(texts), values


def permissions_of(user: User, *, office: bool = False) -> list[str]:
    """What the role may do; for an overseer of the office, what anybody with an inbox may do."""
    table = import_string(settings.ROLE_TABLE)
    role = table.get(user.role)
    if role is None or not user.is_active:
        return []
    if not (office and user.may(OVERSEE)):
        return sorted(role.permissions)
    working = (row.permissions for row in table.values() if "workbench.view" in row.permissions)
    return sorted(set().union(*working))


def role_label(permission: str) -> str:
    """Whose work a permission is, in words: the labels of the roles that have it."""
    table = import_string(settings.ROLE_TABLE)
    labels = [role.label for role in table.values() if permission in role.permissions]
    more = len(labels) > LABELS_SHOWN
    return "、".join(labels[:LABELS_SHOWN]) + (f"等{len(labels)}类岗位" if more else "")


def assignees(subjects: Collection[str]) -> dict[str, str]:
    """Who took the open task of each subject, as people know them."""
    tasks = Task.objects.filter(subject__in=subjects, state=Task.State.OPEN).exclude(assignee="")
    taken = dict(tasks.values_list("subject", "assignee"))
    names = shown_names(taken.values())
    return {subject: names[name] for subject, name in taken.items()}


def delegations_to(user: User, *, on: dt.date) -> QuerySet[Delegation]:
    """Whose tasks a person does on a day: delegations of colleagues in the same role and office."""
    return Delegation.objects.in_force(on=on).filter(
        taker=user, ended_at=None, giver__role=user.role, giver__region=user.region_id,
        giver__institution=user.institution_id,
    )  # fmt: skip


def address(task: Task) -> str:
    """Where a task is worked on; empty when there is no page for it."""
    if task.url:
        return task.url
    kind, key, *_ = [*task.subject.split(":"), ""]
    try:
        return reverse(PLACES[kind], args=[key])
    except (KeyError, NoReverseMatch):
        return ""


def may_open(user: User, url: str) -> str:
    """The address, or nothing where its page is not for this person (an overseer sees all tasks)."""
    if not url:
        return ""
    try:
        needed = getattr(resolve(url.partition("?")[0].partition("#")[0]).func, DECLARED, "")
    except Resolver404:
        return url
    return url if needed in ("", PUBLIC, SIGNED_IN) or user.may(needed) else ""


def capped(number: int) -> str:
    """A count as it is shown: `99+` from a hundred on."""
    return str(number) if number < MANY else f"{MANY - 1}+"


def late_address() -> str:
    """The inbox with what is overdue in the own area."""
    return f"{reverse('inbox')}?{urlencode({'when': 'late', 'office': '1'})}"


def working_days_left(
    rows: Iterable[Task], *, today: dt.date, area: str = ""
) -> dict[int, int | None]:
    """Working days until each task's due day by the calendar of its place; negative when past.

    None where a calendar year is missing. `area`: the place of tasks that name none.
    """
    dated = {row.pk: (row.region_code or area, row.due) for row in rows if row.due is not None}
    if not dated:
        return {}
    calendars = load_calendars({place for place, _ in dated.values()})
    return {key: days_left(calendars[place], today, due) for key, (place, due) in dated.items()}


def visible(user: User, keys: Collection[int], *, office: bool = True) -> QuerySet[Task]:
    """The open tasks of these keys that a person may see: by permission and scope."""
    return Task.objects.visible_to(user).filter(
        pk__in=keys, state=Task.State.OPEN, permission__in=permissions_of(user, office=office)
    )


def days_left(calendar: Calendar | None, today: dt.date, due: dt.date | None) -> int | None:
    """Working days until a day, negative when past (over a holiday too); None where unknown."""
    if calendar is None or due is None:
        return None
    try:
        if due >= today:
            return calendar.working_days_between(today, due)
        return min(-calendar.working_days_between(due, today), -1)
    except MissingYear:
        return None


def _prefix(user: User, region: str) -> str:
    """The area of the reader, or the narrower one that is asked for."""
    own = area_prefix(user.region_id) if user.region_id else ""
    asked = area_prefix(region) if region else ""
    return asked if asked.startswith(own) and asked else own


def _parts(place: Place | None) -> list[Statement]:
    """The stretches of the order that a page runs over: with a day, then without.

    A first page is one stretch, because the index holds rows without a day last.
    """
    if place is None:
        return [("", {})]
    row, beyond = ("(due, id)", "(%(due)s, %(key)s)") if place.due else ("id", "%(key)s")
    side = "<" if place.back else ">"
    kind = "NOT NULL" if place.due else "NULL"
    here = (f"AND due IS {kind} AND {row} {side} {beyond}", {"due": place.due, "key": place.key})
    if place.back == (place.due is not None):
        return [here]  # nothing lies beyond in this direction
    return [here, (f"AND due IS {'NOT NULL' if place.back else 'NULL'}", {})]


def _write(direction: str, task: Task) -> str:
    text = f"{direction}{task.due or '-'} {task.pk}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read(cursor: str) -> Place | None:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
        found = CURSOR.fullmatch(text)
        if found is None:
            return None
        due = None if found[2] == "-" else dt.date.fromisoformat(found[2])
    except (binascii.Error, ValueError):
        return None
    return Place(back=found[1] == "<", due=due, key=int(found[3]))
