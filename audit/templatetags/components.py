"""The design system's tags and filters; contexts are described in ``docs/design.md``.

Every tag draws one template of ``templates/components/`` from data that a view has prepared.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from django import template
from django.forms import BoundField, Form
from django.forms.widgets import CheckboxInput, CheckboxSelectMultiple, RadioSelect, Textarea
from django.template import Context
from heroicons.templatetags.heroicons import heroicon_mini, heroicon_outline

from audit import text
from audit.tables import Pages, Table

register = template.Library()

TONE_ICONS = {
    "ok": "check-circle",
    "info": "information-circle",
    "wait": "clock",
    "warn": "exclamation-triangle",
    "bad": "x-circle",
    "mute": "minus-circle",
}
# Colours of shapes where no style sheet reaches them (PDF); in a browser charts.css overrides them.
INKS = {
    "a": "#0f7680",
    "b": "#c98a1b",
    "c": "#3f72b8",
    "d": "#b75a4e",
    "e": "#7560bd",
    "f": "#6d7d84",
    "total": "#2c4a54",
    "scope": "#7d9aa1",
    "over": "#c98a1b",
    "less": "#c98a1b",
    "fund": "#0f7680",
    "account": "#3f72b8",
    "cash": "#7a5ea8",
}
STEP_ICONS = {"done": "check", "failed": "x-mark", "paused": "pause"}
BLANK = "—"


@register.filter
def yuan(fen: int | None) -> str:
    """Write fen as yuan, ``1,234.56``; None is an em dash (the law leaves it open)."""
    return BLANK if fen is None else text.yuan(fen)


@register.filter
def yuan_signed(fen: int | None) -> str:
    """Write a difference in fen with its sign, ``+12.00`` or ``−12.00``."""
    return BLANK if fen is None else text.yuan(fen, sign=True)


@register.filter
def rate(per_ten_thousand: int | None) -> str:
    """Write a rate per ten thousand as per cent, 6500 → ``65%``."""
    return BLANK if per_ten_thousand is None else text.rate(per_ten_thousand)


@register.filter
def count(number: int | None) -> str:
    """Write a count with thousands separated."""
    return BLANK if number is None else f"{number:,}"


@register.filter
def mask_id(number: str | None) -> str:
    """Hide an identity number but for its first three and last two characters."""
    return text.mask_id(number) if number else BLANK


@register.filter
def mask_name(name: str | None) -> str:
    """Hide a personal name but for its first (and from three characters on its last) character."""
    return text.mask_name(name) if name else BLANK


@register.filter
def mask_account(number: str | None) -> str:
    """Hide a bank account, card or telephone number but for its last four characters."""
    return text.mask_account(number) if number else BLANK


@register.filter
def ink(tone: str) -> str:
    """Colour of a chart's tone on paper."""
    return INKS[tone]


@register.simple_tag
def icon(name: str, size: int = 20) -> str:
    """Draw a heroicon; it is decoration, the words beside it carry the meaning."""
    draw = heroicon_mini if size <= 20 else heroicon_outline
    return draw(name, size=size, **{"class": "icon"})


@register.inclusion_tag("components/badge.html")
def badge(label: str, tone: str = "mute") -> dict[str, Any]:
    """A state: word, icon and colour. ``tone``: ok info wait warn bad mute."""
    return {"label": label, "tone": tone, "icon_name": TONE_ICONS[tone]}


@register.inclusion_tag("components/deadline.html")
def deadline(
    days_left: int | None,
    due: Any = None,
    clause: str = "",
    *,
    stopped: bool = False,
    unit: str = "个工作日",
) -> dict[str, Any]:
    """A legal clock: days left (negative: overdue, None: the calendar lacks that year)."""
    if stopped or days_left is None:
        tone = "mute"
    else:
        tone = "bad" if days_left < 0 else "warn" if days_left <= 2 else "ok"
    return {
        "days_left": days_left,
        "late": abs(days_left or 0),
        "due": due,
        "clause": clause,
        "stopped": stopped,
        "unit": unit,
        "tone": tone,
    }


@register.inclusion_tag("components/notice.html")
def notice(message: str, tone: str = "info", title: str = "") -> dict[str, Any]:
    """A message that stays in the page; warnings and errors are announced."""
    return {
        "message": message,
        "tone": tone,
        "title": title,
        "icon_name": TONE_ICONS[tone],
        "role": "alert" if tone in {"bad", "warn"} else "status",
    }


@register.inclusion_tag("components/case_step.html", takes_context=True)
def case_step(
    context: Context,
    title: str,
    form: Form,
    *,
    opened: bool = True,
    tone: str = "primary",
    url: str = "",
    two: bool = False,
    name: str = "",
    value: str = "",
    hint: str = "",
    warning: str = "",
    button: str = "",
) -> dict[str, Any]:
    """One act that can be taken here, folded: its form and its button.

    ``tone``: of the button: danger, plain, else primary; ``url``: where it is sent, empty: this
    page; ``name``, ``value``: which act it is; ``two``: fields in two columns.
    """
    return {
        "csrf_token": context.get("csrf_token", ""),
        "title": title,
        "form": form,
        "opened": opened or bool(form.errors),
        "tone": {"danger": "danger", "plain": ""}.get(tone, "primary"),
        "url": url,
        "two": two,
        "name": name,
        "value": value,
        "hint": hint,
        "warning": warning,
        "button": button or title,
    }


@register.inclusion_tag("components/empty.html")
def empty_state(
    title: str,
    message: str = "",
    action_label: str = "",
    action_url: str = "",
    icon_name: str = "inbox",
) -> dict[str, Any]:
    """Nothing here, why, and what to do."""
    return {
        "title": title,
        "message": message,
        "action_label": action_label,
        "action_url": action_url,
        "icon_name": icon_name,
    }


@register.inclusion_tag("components/clause.html")
def clause(reference: Mapping[str, Any]) -> dict[str, Any]:
    """The law behind a figure: ``document``, ``clause``, ``text`` (our summary), ``url``?."""
    return {
        "document": reference.get("document", ""),
        "clause": reference.get("clause", ""),
        "text": reference.get("text", ""),
        "url": reference.get("url", ""),
    }


@register.inclusion_tag("components/stat.html")
def stat(
    label: str,
    value: str,
    unit: str = "",
    *,
    delta: str = "",
    delta_tone: str = "mute",
    direction: str = "",
    note: str = "",
    spark: Mapping[str, Any] | None = None,
    url: str = "",
    icon_name: str = "",
) -> dict[str, Any]:
    """One figure of the period. ``direction``: up, down or empty; ``spark``: `charts.spark`."""
    return {
        "label": label,
        "value": value,
        "unit": unit,
        "delta": delta,
        "note": note,
        "delta_tone": delta_tone,
        "direction": direction,
        "spark": spark,
        "url": url,
        "icon_name": icon_name,
    }


@register.inclusion_tag("components/descriptions.html")
def descriptions(
    items: Sequence[Mapping[str, Any]], title: str = "", columns: int = 3
) -> dict[str, Any]:
    """A description list. Item: ``label``, ``value``, ``sub url tone clause code wide``?."""
    return {"items": items, "title": title, "columns": columns}


@register.inclusion_tag("components/steps.html")
def steps(items: Sequence[Mapping[str, Any]], label: str = "办理进度") -> dict[str, Any]:
    """A procedure. Item: ``label``, ``state`` (done now next failed paused), ``at note``?."""
    words = {
        "done": "已完成",
        "now": "进行中",
        "next": "未开始",
        "failed": "未通过",
        "paused": "已暂停",
    }
    return {
        "label": label,
        "steps": [
            {**item, "word": words[item["state"]], "icon_name": STEP_ICONS.get(item["state"], "")}
            for item in items
        ],
    }


@register.inclusion_tag("components/timeline.html")
def timeline(events: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What happened. Event: ``at``, ``title``, ``by text tone clause url``?."""
    return {
        "events": [
            {
                **event,
                "tone": event.get("tone", "mute"),
                "icon_name": TONE_ICONS[event.get("tone", "mute")],
            }
            for event in events
        ]
    }


@register.inclusion_tag("components/tabs.html")
def tabs(items: Sequence[Mapping[str, Any]], label: str = "页内导航") -> dict[str, Any]:
    """Views of one thing. Item: ``label``, ``url``, ``current``, ``count``?."""
    return {"items": items, "label": label}


@register.inclusion_tag("components/progress.html")
def progress(
    done: int,
    total: int,
    *,
    label: str = "处理进度",
    rate: int | None = None,
    unit: str = "条",
    seconds_left: int | None = None,
    state: str = "running",
    failed: int = 0,
) -> dict[str, Any]:
    """Work under way. ``rate`` per second; ``state``: running paused done failed waiting."""
    words = {
        "running": ("处理中", "info"),
        "paused": ("已暂停", "warn"),
        "done": ("已完成", "ok"),
        "failed": ("有失败", "bad"),
        "waiting": ("排队中", "wait"),
    }
    word, tone = words[state]
    return {
        "done": done,
        "total": max(total, 1),
        "known": total > 0,
        "label": label,
        "percent": text.share(done, total),
        "rate": rate,
        "unit": unit,
        "failed": failed,
        "left": None if seconds_left is None else text.duration(seconds_left),
        "word": word,
        "tone": tone,
        "state": state,
        "icon_name": TONE_ICONS[tone],
    }


@register.inclusion_tag("components/field.html")
def field(bound: BoundField, *, compact: bool = False) -> dict[str, Any]:
    """One form field with label, help and errors tied to it for screen readers."""
    widget = bound.field.widget
    many = isinstance(widget, RadioSelect | CheckboxSelectMultiple)
    return {
        "field": bound,
        "compact": compact,
        "group": many,
        "box": isinstance(widget, CheckboxInput),
        "long": isinstance(widget, Textarea),
        "required": bound.field.required and not bound.form.empty_permitted,
    }


@register.inclusion_tag("components/filter_bar.html", takes_context=True)
def filter_bar(
    context: Context, form: Form, reset_url: str = "", target: str = "", visible: int = 3
) -> dict[str, Any]:
    """The query bar 查询 / 重置: the first ``visible`` fields, the rest under 更多条件.

    ``target`` is the id of the table to replace without loading the page (htmx).
    """
    fields = list(form.visible_fields())
    rest = fields[visible:] if len(fields) > visible + 1 else []
    shown = fields[: len(fields) - len(rest)]
    used = sum(map(_narrows, rest))
    chosen = sum(1 for bound in shown if bound.data) + used
    request = context.get("request")
    kept = [
        (name, request.GET[name])
        for name in ("sort", "size")
        if request and name in request.GET and name not in form.fields
    ]
    return {
        "form": form,
        "kept": kept,
        "shown": shown,
        "rest": rest,
        "open": used > 0,
        "used": used,
        "chosen": chosen,
        "bad": any(bound.errors for bound in fields),
        "hidden": form.hidden_fields(),
        "target": target,
        "reset_url": reset_url or (request.path if request else "?"),
    }


def _narrows(bound: BoundField) -> bool:
    """Whether a field of the query bar says something: the first of its choices is the default."""
    first = next(iter(getattr(bound.field, "choices", ())), ("",))[0]
    return bool(bound.errors or (bound.data and str(bound.data) != str(first)))


@register.inclusion_tag("components/table.html", takes_context=True)
def data_table(context: Context, table: Table) -> dict[str, Any]:
    """A table with toolbar, order, selection, pages and the fixed 操作 column."""
    heads = [
        head | {"url": _query(context, sort=head["next"], page=None, cursor=None)}
        for head in table.heads()
    ]
    rows = [
        {"row": row, "cells": list(zip(table.columns, row.cells, strict=True))}
        for row in table.rows
    ]
    return {
        "table": table,
        "heads": heads,
        "rows": rows,
        "pager": _pager(context, table.pages),
        "csrf_token": context.get("csrf_token"),
        "request": context.get("request"),
        "span": len(table.columns) + bool(table.bulk) + table.has_actions,
    }


@register.inclusion_tag("components/pagination.html", takes_context=True)
def pagination(context: Context, pages: Pages) -> dict[str, Any]:
    """Paging without a table (lists of cards)."""
    return {"pager": _pager(context, pages), "target": ""}


@register.inclusion_tag("components/waterfall.html")
def waterfall(chart: Mapping[str, Any]) -> dict[str, Any]:
    """The way of a fee to those who pay it, every bar with its clause: `charts.waterfall`."""
    return {"chart": chart, "ground": chart["height"]}


@register.inclusion_tag("components/chart.html")
def chart(chart: Mapping[str, Any]) -> dict[str, Any]:
    """Bars or lines over an axis: `charts.bars`, `charts.line`."""
    return {"chart": chart}


@register.inclusion_tag("components/spans.html")
def spans(chart: Mapping[str, Any]) -> dict[str, Any]:
    """Bars along a line of time: `drawings.spans`."""
    return {"chart": chart}


@register.inclusion_tag("components/bipartite.html")
def bipartite(chart: Mapping[str, Any]) -> dict[str, Any]:
    """Who is tied to whom: `drawings.bipartite`."""
    return {"chart": chart}


@register.inclusion_tag("components/ranking.html")
def ranking(chart: Mapping[str, Any]) -> dict[str, Any]:
    """Horizontal bars with long names: `charts.ranking`."""
    return {"chart": chart}


@register.inclusion_tag("components/donut.html")
def donut(chart: Mapping[str, Any]) -> dict[str, Any]:
    """A ring of shares with its legend: `charts.donut`."""
    return {"chart": chart}


@register.inclusion_tag("components/spark.html")
def sparkline(spark: Mapping[str, Any]) -> dict[str, Any]:
    """A line as small as a word: `charts.spark`."""
    return {"spark": spark}


def _pager(context: Context, pages: Pages | None) -> dict[str, Any] | None:
    if pages is None:
        return None
    numbers = (
        [
            {"number": n, "current": n == pages.page, "url": _query(context, **{pages.query: n})}
            for n in pages.numbers()
        ]
        if pages.page
        else []
    )
    numbered = pages.page > 0
    back = pages.page - 1 if numbered and pages.page > 1 else None
    on = pages.page + 1 if numbered and pages.page < pages.last else None
    return {
        "pages": pages,
        "numbers": numbers,
        "previous": _query(context, **{pages.query: back}, cursor=pages.previous)
        if back or pages.previous
        else "",
        "next": _query(context, **{pages.query: on}, cursor=pages.next) if on or pages.next else "",
        "sizes": [
            {
                "size": s,
                "current": s == pages.size,
                "url": _query(context, **{pages.query: None}, size=s, cursor=None),
            }
            for s in pages.sizes
        ],
    }


def _query(context: Context, **changes: str | int | None) -> str:
    """The request's query with some values changed (None removes), ready for ``href``."""
    request = context.get("request")
    if request is None:
        return "?"
    query = request.GET.copy()
    for key, value in changes.items():
        if value is None or value == "":
            query.pop(key, None)
        else:
            query[key] = str(value)
    return f"?{query.urlencode()}"
