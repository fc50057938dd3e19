"""What a table component needs, as data that a view prepares.

Templates only show: a view builds a `Table`, the tag ``{% data_table table %}`` draws it. Links
keep the filters of the request; sorting and paging are read back from the query by the view.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column. ``sort`` is its name in the query (``?sort=name``, ``-name``); empty: no sort."""

    label: str
    sort: str = ""
    numeric: bool = False
    wide: bool = False
    hint: str = ""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One value as text. ``tone`` makes it a badge, ``url`` a link, ``sub`` a second quiet line."""

    text: str
    sub: str = ""
    url: str = ""
    tone: str = ""
    code: bool = False
    title: str = ""


@dataclass(frozen=True, kw_only=True)
class Action:
    """One thing to do. A bulk action is sent as ``action=<value>``; others are links to ``url``."""

    label: str
    url: str = ""
    value: str = ""
    icon: str = ""
    tone: str = ""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row: its box sends ``key`` as ``selected``, ``label`` names it to a screen reader."""

    key: str
    label: str
    cells: Sequence[Cell]
    actions: Sequence[Action] = ()
    tone: str = ""


@dataclass(frozen=True, kw_only=True)
class Pages:
    """Paging. Numbered when ``page`` is set, else by cursors (None: there is no such page).

    ``query`` is the name of the page's number in the address; a second table of a page has its own.
    """

    total: int | None = None
    size: int = 20
    page: int = 0
    previous: str | None = None
    next: str | None = None
    sizes: Sequence[int] = (20, 50, 100)
    query: str = "page"

    @property
    def last(self) -> int:
        """The number of the last page, at least 1."""
        return max(-(-(self.total or 0) // self.size), 1)

    @property
    def first_row(self) -> int:
        """The number of the first row on this page, counted from 1."""
        return (self.page - 1) * self.size + 1

    @property
    def last_row(self) -> int:
        """The number of the last row on this page."""
        return min(self.page * self.size, self.total or 0)

    def numbers(self) -> list[int]:
        """Page numbers to offer; 0 stands for a gap: 1 … 4 5 6 … 500."""
        near = {1, self.last, *range(self.page - 1, self.page + 2)}
        shown: list[int] = []
        for number in sorted(n for n in near if 1 <= n <= self.last):
            if shown and number - shown[-1] > 1:
                shown.append(number - 1 if number - shown[-1] == 2 else 0)
            shown.append(number)
        return shown


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table with everything around it.

    ``sort`` is the present order (as in the query). ``bulk`` makes rows selectable; they are posted
    to ``bulk_url``. ``narrow`` says what a telephone shows: ``cards`` or a ``scroll``-able table.
    """

    id: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    sort: str = ""
    pages: Pages | None = None
    toolbar: Sequence[Action] = ()
    bulk: Sequence[Action] = ()
    bulk_url: str = ""
    actions: bool = True
    narrow: str = "cards"
    show_caption: bool = True
    empty_title: str = "没有符合条件的记录"
    empty_text: str = "请放宽查询条件后再试。"
    empty_action: Action | None = None

    @property
    def has_actions(self) -> bool:
        """Whether the fixed 操作 column is shown."""
        return self.actions and any(row.actions for row in self.rows)

    def heads(self) -> list[dict[str, Any]]:
        """Columns with the state of their order: ``aria`` and the value ``next`` for the query."""
        heads = []
        for column in self.columns:
            up, down = self.sort == column.sort, self.sort == f"-{column.sort}"
            aria = "ascending" if up else "descending" if down else "none"
            heads.append(
                {
                    "column": column,
                    "aria": aria if column.sort else "",
                    "next": f"-{column.sort}" if up else column.sort,
                }
            )
        return heads
