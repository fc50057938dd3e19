"""Every view that hands out a file leaves an event: all addresses are walked, a new one is found by itself.

What a view does is read from its code: the functions of ours that it can reach, by the names that it uses.
"""

import inspect
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

from django.urls import get_resolver

from audit import trail
from audit.access import DECLARED, PUBLIC
from tests.test_house import LINE, patterns

RECORDS = {trail.record, trail.event_row}
HEADER, ANSWERS = "Content-Disposition", {"FileResponse"}
MEDIA = ("application/pdf", "application/zip", "application/vnd.openxmlformats", "text/csv")
#: Files without anybody's data: (name of the address, why it leaves no event).
FREE = {
    "batch-template": "an empty form", "api-batch-template": "an empty form",
    "drug-template": "an empty form", "register-template": "an empty form",
    "registry-template": "an empty form", "reconciliation-template": "an empty form",
    "deadlines": "the reader's own inbox",
}  # fmt: skip


def codes(function: FunctionType) -> Iterator[CodeType]:
    """The code of a function and of everything that is defined inside it."""
    waiting = [inspect.unwrap(function).__code__]
    for code in waiting:
        yield code
        waiting += [inner for inner in code.co_consts if isinstance(inner, CodeType)]


def functions(thing: Any) -> Iterator[FunctionType]:
    """Our functions behind a name: itself, the methods of a class, what a table holds."""
    if isinstance(thing, dict | list | tuple):
        for one in thing.values() if isinstance(thing, dict) else thing:
            yield from functions(one)
    elif isinstance(thing, FunctionType | type) and thing.__module__.partition(".")[0] in LINE:
        members = [thing] if isinstance(thing, FunctionType) else vars(thing).values()
        yield from (inspect.unwrap(one) for one in members if isinstance(one, FunctionType))


def used(function: FunctionType) -> Iterator[Any]:
    """What the names of a function stand for: globals, and members of modules."""
    for code in codes(function):
        for name in code.co_names:
            found = function.__globals__.get(name)
            yield found
            if isinstance(found, ModuleType):
                yield from (vars(found).get(member) for member in code.co_names)


def reached(view: Any) -> set[FunctionType]:
    """Our functions that a view can come to."""
    kind = getattr(view, "cls", None) or getattr(view, "view_class", None)
    begin = (
        [getattr(kind, verb) for verb in ("get", "post") if hasattr(kind, verb)] if kind else [view]
    )
    waiting = [function for one in begin for function in functions(one)]
    found: set[FunctionType] = set()
    while waiting:
        function = waiting.pop()
        if function not in found:
            found.add(function)
            waiting += [one for thing in used(function) for one in functions(thing)]
    return found


def hands_out(function: FunctionType) -> bool:
    """Whether a function answers with a file."""
    texts = [text for code in codes(function) for text in _texts(code.co_consts)]
    texts += [thing for thing in used(function) if isinstance(thing, str)]
    names = {name for code in codes(function) for name in code.co_names}
    return bool(ANSWERS & names) or any(text == HEADER or text.startswith(MEDIA) for text in texts)


def _texts(constants: tuple) -> Iterator[str]:
    for one in constants:
        if isinstance(one, str):
            yield one
        elif isinstance(one, tuple):
            yield from _texts(one)


def downloads() -> dict[str, set[FunctionType]]:
    """Name of the address → what its view reaches, of every view behind a log-in that hands out a file."""
    found = {}
    for where, pattern in patterns(get_resolver()):
        if getattr(pattern.callback, DECLARED, None) != PUBLIC:
            ours = reached(pattern.callback)
            if any(map(hands_out, ours)):
                found[pattern.name or where] = ours
    return found


def test_every_download_leaves_an_event() -> None:
    found = downloads()
    assert [name for name, ours in found.items() if not RECORDS & ours and name not in FREE] == []
    assert set(FREE) <= set(found)


def test_the_walk_finds_the_downloads() -> None:
    """Of each kind of view one that is known: tables of writers, classes, answers made elsewhere."""
    assert {
        "waves-export", "fee-bill-pdf", "consultation-statements-csv", "api-batch-result", "report-data",
        "sample-bundle", "trail-bundle", "payment-export", "registry-annotated", "document",
    } <= set(downloads())  # fmt: skip
