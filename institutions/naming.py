"""What people are called on a page: pages keep log-in names, readers want names.

A view marks what is a log-in name (`Login`, `Told`, the key `by`) and hands what it shows to `named`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from audit.tables import Cell, Row, Table
from institutions.models import ApiClient, Institution, Region, User

#: What nobody of flesh and blood did: the name that such acts carry, in words.
MACHINES = {
    "system": "系统", "system:beat": "系统定时任务", "system:worker": "系统后台任务",
    "system:command": "系统管理命令",
}  # fmt: skip
CLIENT = "client:"  #: acts of an OAuth client: this and its id


def shown_names(usernames: Iterable[str]) -> dict[str, str]:
    """What people, interfaces and the system's own tasks are called; an unknown name stays as it is."""
    wanted = set(usernames)
    found = {row.username: str(row) for row in User.objects.filter(username__in=wanted)}
    if codes := {name.removeprefix(CLIENT) for name in wanted if name.startswith(CLIENT)}:
        clients = ApiClient.objects.filter(client_id__in=codes)
        found |= {CLIENT + row.client_id: str(row) for row in clients}
    return {name: found.get(name) or MACHINES.get(name, name) for name in wanted}


class Login(str):
    """A login name in what a page shows, to be shown as the person's name (`named`)."""

    __slots__ = ()


class Told(str):
    """Words with logins among them, `Told(day, " ", Login(by))`; `named` calls those by name."""

    parts: tuple[str, ...]

    def __new__(cls, *parts: str) -> "Told":
        made = super().__new__(cls, "".join(parts))
        made.parts = parts
        return made


def listed(usernames: Iterable[str], between: str = "、") -> Told:
    """People, or what is told of them, in a row, to be called by name."""
    parts: list[str] = []
    for name in usernames:
        parts += (between, name if isinstance(name, Told) else Login(name))
    return Told(*parts[1:])


def named(shown: Any) -> Any:
    """What a page shows with people called by name, in one query.

    Names stand under `by` and wherever a `Login` is; lists, dicts and tables are looked through.
    """
    names = shown_names(_logins(shown))
    return _called(shown, names)


def _logins(shown: Any) -> Iterator[str]:
    if isinstance(shown, dict):
        if isinstance(by := shown.get("by"), str):
            yield by
    elif isinstance(shown, Login):
        yield shown
    for value in _within(shown):
        yield from _logins(value)


def _within(shown: Any) -> Iterable[Any]:
    """What of a page can hold names."""
    if isinstance(shown, dict):
        return shown.values()
    if isinstance(shown, Told):
        return shown.parts
    if isinstance(shown, Table):
        return shown.rows
    if isinstance(shown, Row):
        return shown.cells
    if isinstance(shown, Cell):
        return (shown.text, shown.sub)
    return shown if isinstance(shown, list | tuple) else ()


def _called(shown: Any, names: dict[str, str]) -> Any:
    if isinstance(shown, dict):
        return {
            key: names[value] if key == "by" and isinstance(value, str) else _called(value, names)
            for key, value in shown.items()
        }
    if isinstance(shown, Login):
        return names[shown]
    found = [_called(value, names) for value in _within(shown)]
    if isinstance(shown, Told):
        return "".join(found)
    if isinstance(shown, Table):
        return replace(shown, rows=found)
    if isinstance(shown, Row):
        return replace(shown, cells=found)
    if isinstance(shown, Cell):
        return replace(shown, text=found[0], sub=found[1])
    return found if isinstance(shown, list) else tuple(found) if type(shown) is tuple else shown


def trail_names(actors: set[str], places: set[str]) -> tuple[dict[str, str], dict[str, str]]:
    """What the people and the places (areas, institutions) of events are called (settings.TRAIL_NAMES)."""
    return shown_names(actors), place_names(places)


def place_names(codes: set[str]) -> dict[str, str]:
    """What areas and institutions are called, by code."""
    found = dict(Region.objects.filter(pk__in=codes).values_list("pk", "name"))
    return found | dict(Institution.objects.filter(pk__in=codes).values_list("pk", "name"))
