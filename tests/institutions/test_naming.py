"""Pages keep log-in names and show what people are called."""

import pytest

from audit.tables import Cell, Column, Row, Table
from institutions import naming
from institutions.models import ApiClient
from institutions.naming import Login, Told, listed, named
from tests import factories

pytestmark = pytest.mark.django_db


def person(name: str) -> str:
    return factories.user("reviewer", factories.region(), display_name=name).username


def test_people_are_called_by_name_wherever_a_page_names_them(django_assert_num_queries):
    who = person("王审核")
    shown = {
        "timeline": [{"by": who, "text": who}, {"by": "nobody"}, {"by": ""}],
        "facts": [{"label": "建立", "sub": Login(who)}], "total": 3,
    }  # fmt: skip
    with django_assert_num_queries(1):
        found = named(shown)
    assert found == {
        "timeline": [{"by": "王审核", "text": who}, {"by": "nobody"}, {"by": ""}],
        "facts": [{"label": "建立", "sub": "王审核"}], "total": 3,
    }  # fmt: skip
    with django_assert_num_queries(0):
        assert named(None) is None


def test_people_in_tables_and_in_sentences_are_called_by_name(django_assert_num_queries):
    first, second = person("王审核"), person("李复核")
    table = Table(
        id="t", caption="检查", columns=[Column(label="人员")],
        rows=[Row(key="1", label="1", cells=[
            Cell(text=listed([first, second]), sub=Told("2021-12-01 ", Login(second))),
            Cell(text=first),
        ])],
    )  # fmt: skip
    with django_assert_num_queries(1):
        found = named({"table": table, "pair": (Login(first), 1)})
    cells = found["table"].rows[0].cells
    assert [(cell.text, cell.sub) for cell in cells] == [
        ("王审核、李复核", "2021-12-01 李复核"), (first, ""),
    ]  # fmt: skip
    assert found["pair"] == ("王审核", 1)
    assert listed([]) == ""


def test_interfaces_and_the_systems_own_tasks_have_names_too():
    ApiClient.objects.create(
        client_id="demo-x", name="示例医院 接口", client_type="confidential",
        authorization_grant_type="password",
    )  # fmt: skip
    assert naming.shown_names(["client:demo-x", "client:gone", "system:beat"]) == {
        "client:demo-x": "示例医院 接口", "client:gone": "client:gone", "system:beat": "系统定时任务",
    }  # fmt: skip
