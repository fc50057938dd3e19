"""The institution pages: filters, the file as of a day, and that hospital A never sees B."""

import datetime as dt

import pytest
from django.test import Client
from django.urls import reverse

from agreements.models import AgreementState
from institutions.calendar import whole_months
from institutions.models import InstitutionFacts
from tests import factories

NEW = dt.date(2021, 7, 1)


@pytest.fixture
def reviewer(db) -> Client:
    return factories.log_in(Client(), factories.user("reviewer", factories.region("nantong")))


@pytest.fixture
def hospitals(db) -> list:
    """Three hospitals of Nantong that differ, and one of Wenzhou."""
    first = factories.institution("nantong")
    second = factories.institution("nantong", agreements=False, price_class="2")
    second.aliases, second.name = ["江海医院"], "第二医院"
    second.save()
    third = factories.institution("nantong", ownership="private", nonprofit=False, agreements=False)
    factories.agreement(third, "supplementary", "suspended")
    return [first, second, third, factories.institution("wenzhou")]


@pytest.mark.parametrize(
    ("query", "which"),
    [
        ({}, [0, 1, 2]),
        ({"price_class": "2"}, [1]),
        ({"ownership": "private"}, [2]),
        ({"agreement": "active"}, [0]),
        ({"agreement": "suspended"}, [2]),
        ({"agreement": "none"}, [1]),
        ({"q": "江海"}, [1]),
        ({"q": "第二"}, [1]),
        ({"q": "h320600"}, [0, 1, 2]),
        ({"q": "江海", "price_class": "3"}, []),
        ({"on": "2018-12-31", "price_class": "3"}, []),
        ({"on": "not a day"}, []),
        ({"region": "330300"}, []),  # not a place of this reader
        ({"sort": "-code"}, [2, 1, 0]),
        ({"sort": "password", "page": "99"}, [0, 1, 2]),
    ],
)
def test_what_a_query_finds(reviewer: Client, hospitals: list, query: dict, which: list[int]):
    table = reviewer.get(reverse("institutions"), query).context["table"]
    assert [row.key for row in table.rows] == [hospitals[n].code for n in which]


def test_a_hospital_sees_only_itself(hospitals: list):
    mine, other = hospitals[:2]
    client = factories.log_in(Client(), factories.user("hospital", mine))
    assert [row.key for row in client.get(reverse("institutions")).context["table"].rows] == [
        mine.code
    ]
    for name in ("institution", "agreement-panel"):
        assert client.get(reverse(name, args=[mine.code])).status_code == 200
        assert client.get(reverse(name, args=[other.code])).status_code == 404


def values(items: list[dict]) -> dict[str, str]:
    return {item["label"]: item["value"] for item in items}


def test_the_file_tells_what_was_true_on_the_day(reviewer: Client, hospitals: list):
    code = hospitals[0].code
    facts = hospitals[0].facts.get()
    facts.valid_until = NEW - dt.timedelta(days=1)
    facts.save()
    InstitutionFacts.objects.create(
        institution_id=code, valid_from=NEW, recorded_at=factories.RECORDED, price_class="2",
        ownership="public", nonprofit=True, online_settlement=False,
    )  # fmt: skip
    address = reverse("institution", args=[code])
    pages = [reviewer.get(address, {"on": day}).context for day in ("2021-06-30", "2021-07-01")]
    seen = [
        {key: values(page["facts"])[key] for key in ("价格类别", "联网结算", "医保备案")}
        for page in pages
    ]
    assert seen == [
        {"价格类别": "三类", "联网结算": "可联网结算", "医保备案": "2019-01-01 备案"},
        {"价格类别": "二类", "联网结算": "手工报销", "医保备案": "未备案"},
    ]
    assert [len(page["history"]) for page in pages] == [2, 2]
    before = reviewer.get(address, {"on": "2018-12-31"})
    assert "当日没有登记信息" in before.content.decode()


def test_a_corrected_fact_stays_in_the_history_only(reviewer: Client, hospitals: list):
    facts = hospitals[0].facts.get()
    facts.superseded_at = factories.RECORDED
    facts.save()
    page = reviewer.get(reverse("institution", args=[hospitals[0].code]))
    assert page.context["facts"] == []
    assert "更正" in page.context["history"][0]["at"]


def test_physicians_have_title_and_experience_of_the_day(reviewer: Client, hospitals: list):
    doctor = factories.physician(hospitals[0], "attending", independent_since=dt.date(2018, 7, 2))
    doctor.titles.update(valid_until=NEW - dt.timedelta(days=1))
    factories.physician_title(doctor, "associate_chief", valid_from=NEW)
    address = reverse("institution", args=[hospitals[0].code])
    seen = []
    for day in ("2021-06-30", "2021-07-01", "2021-07-02", "2018-07-01"):
        (row,) = (
            reviewer.get(address, {"on": day, "tab": "practitioners"}).context["physicians"].rows
        )
        seen.append((row.cells[2].text, row.cells[3].text))
    assert seen == [
        ("主治医师", "2 年 11 个月"), ("副主任医师", "2 年 11 个月"), ("副主任医师", "3 年"),
        ("当日无职称", "尚未开始"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("start", "day", "months"),
    [
        ("2020-01-31", "2020-02-28", 0),
        ("2020-01-31", "2020-02-29", 1),
        ("2018-07-02", "2021-07-01", 35),
        ("2018-07-02", "2021-07-02", 36),
        ("2021-07-02", "2021-07-01", -1),
    ],
)
def test_whole_months(start: str, day: str, months: int):
    assert whole_months(dt.date.fromisoformat(start), dt.date.fromisoformat(day)) == months


def test_the_agreement_panel_is_a_part_or_a_page(reviewer: Client, hospitals: list):
    agreement = hospitals[0].agreements.get(kind="supplementary")
    agreement.states.update(valid_until=NEW - dt.timedelta(days=1))
    AgreementState.objects.create(
        agreement=agreement, state="suspended", valid_from=NEW, recorded_at=factories.RECORDED,
        recorded_by="clerk", reason="整改",
    )  # fmt: skip
    address = reverse("agreement-panel", args=[hospitals[0].code])
    part = reviewer.get(address, {"on": "2021-07-01"}, headers={"HX-Request": "true"})
    assert [(a["kind"], a["state"]) for a in part.context["agreements"]] == [
        ("定点协议", "生效"), ("补充协议", "中止")]  # fmt: skip
    assert "<html" not in part.content.decode()
    assert "<html" in reviewer.get(address).content.decode()
    assert "没有签订协议" in reviewer.get(
        reverse("agreement-panel", args=[hospitals[1].code])).content.decode()  # fmt: skip


def test_the_number_of_queries_does_not_grow(
    reviewer: Client, hospitals: list, django_assert_num_queries
):
    for _ in range(12):
        factories.physician(factories.institution("nantong"))
        factories.physician(hospitals[0])
    frame = 11  #: session, user, scope and back, header's place, what waits, saving; 2 transactions
    with django_assert_num_queries(frame + 5):  # choices, count, rows, facts, states
        reviewer.get(reverse("institutions"))
    # institution, facts, suspended departments, clients, freezes, two of names
    with django_assert_num_queries(frame + 7):
        reviewer.get(reverse("institution", args=[hospitals[0].code]))
