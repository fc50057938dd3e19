"""The tags draw from data, keep the request's query and need no inline style or script."""

import re

import pytest
from django import forms
from django.template import engines
from django.test import RequestFactory

from audit.tables import Cell, Column, Pages, Row, Table
from audit.templatetags.components import deadline, progress
from config.gallery import claims_table


def draw(source, query="", **context):
    request = RequestFactory().get(f"/x/{query}")
    return engines["django"].from_string("{% load components %}" + source).render(context, request)


def test_links_keep_the_filters_of_the_request():
    html = draw(
        "{% data_table table %}",
        "?state=paid&page=3",
        table=claims_table(page=3, size=20, sort="fee"),
    )
    assert 'href="?state=paid&amp;page=4"' in html
    assert 'href="?state=paid&amp;sort=-fee"' in html
    assert 'aria-sort="ascending"' in html
    assert 'href="?state=paid&amp;size=50"' in html


def test_cursor_pages_and_text_are_escaped():
    table = Table(
        id="t",
        caption="列表",
        columns=[Column(label="名称")],
        pages=Pages(next="abc"),
        rows=[Row(key="1", label="x", cells=[Cell(text="<b>")])],
    )
    html = draw("{% data_table table %}", table=table)
    assert "&lt;b&gt;" in html
    assert 'href="?cursor=abc"' in html
    assert "pager__link--off" in html


def test_a_row_must_fill_every_column():
    table = Table(
        id="t",
        caption="列表",
        columns=[Column(label="a"), Column(label="b")],
        rows=[Row(key="1", label="x", cells=[Cell(text="1")])],
    )
    with pytest.raises(ValueError, match="zip"):
        draw("{% data_table table %}", table=table)


@pytest.mark.parametrize(
    ("page", "numbers"),
    [
        (1, [1, 2, 0, 500]),
        (3, [1, 2, 3, 4, 0, 500]),
        (251, [1, 0, 250, 251, 252, 0, 500]),
        (500, [1, 0, 499, 500]),
    ],
)
def test_page_numbers_of_ten_thousand_rows(page, numbers):
    assert Pages(total=10_000, page=page).numbers() == numbers


@pytest.mark.parametrize(
    ("days", "tone"), [(8, "ok"), (2, "warn"), (0, "warn"), (-1, "bad"), (None, "mute")]
)
def test_a_clock_has_a_word_and_a_tone(days, tone):
    assert deadline(days)["tone"] == tone


def test_progress_of_an_unknown_total():
    assert (progress(0, 0)["known"], progress(6240, 10000)["percent"]) == (False, "62.4%")


def test_the_gallery_obeys_the_content_security_policy(client):
    html = client.get("/gallery/").content.decode()
    assert not re.search(r"\sstyle=|\son\w+=|<style|<script(?![^>]*\ssrc=)", html)


class Query(forms.Form):
    first = forms.CharField(required=False)
    second = forms.CharField(required=False)
    third = forms.CharField(required=False)
    fourth = forms.CharField(required=False)
    order = forms.ChoiceField(choices=[("-age", "oldest"), ("age", "youngest")], required=False)


@pytest.mark.parametrize(
    ("given", "used"), [({"order": "-age"}, 0), ({"order": "age"}, 1), ({"fourth": "x"}, 1)]
)
def test_only_conditions_that_narrow_count_as_used(given: dict, used: int):
    html = draw("{% filter_bar form visible=3 %}", form=Query(given))
    assert ("（已用 1 项）" in html) == bool(used)
    assert ('<details class="filters__more" open' in html) == bool(used)
