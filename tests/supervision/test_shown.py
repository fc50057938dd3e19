"""What pages of supervision show: names of people and places, words of rules, numbers in their unit."""

import datetime as dt

import pytest
from django.test import Client
from django.urls import reverse

from institutions import commands
from supervision.models import ReportOrder, Run
from supervision.reports import institution
from supervision.rules import RULES
from tests import factories
from tests.settlement.test_pages import AT
from tests.supervision.casework import Office
from tests.supervision.test_inspections import drawn

pytestmark = pytest.mark.django_db


@pytest.fixture
def office(settings) -> Office:
    settings.DEMO_TODAY = AT.date()
    made = Office()
    for person, name in ((made.handler, "王承办"), (made.second, "李协办"), (made.chief, "赵审批")):
        person.display_name = name
        person.save()
    return made


def reader(office: Office) -> Client:
    return factories.log_in(Client(), office.handler)


def shown(office: Office, name: str, *args: object) -> str:
    answer = reader(office).get(reverse(name, args=args))
    assert answer.status_code == 200
    return answer.content.decode()


def test_an_inspection_names_its_people_and_the_institutions_of_its_draw(office: Office) -> None:
    plan = drawn(office, wanted=1)
    page = shown(office, "inspection-plan", plan.pk)
    assert "王承办" in page
    assert "赵审批" in page
    assert office.chief.username not in page
    assert f"{office.place.name} {office.place.code}" in page
    task = plan.tasks.get(institution_code=office.place.pk)
    page = shown(office, "inspection-task", task.pk)
    assert all(person.username not in page for person in (office.chief, office.second))


def test_a_run_says_who_asked_how_long_it_took_and_thresholds_in_their_unit(office: Office) -> None:
    run = Run.objects.create(
        pool=office.region.policy_region, region_code=office.region.pk, first_day=AT.date(),
        last_day=AT.date(), asked_at=AT, asked_by="system:beat", state="done", started_at=AT,
        finished_at=AT + dt.timedelta(seconds=2), found={"bundled_item": {"found": 1, "new": 1}},
        rules={"stretches": [{"first": "2021-01-01", "last": "2021-01-31", "example": False,
                              "used": {"bundled_item": {"share": 8000, "visits": 30}}}]},
    )  # fmt: skip
    page = shown(office, "audit-run", run.pk)
    assert "系统定时任务" in page
    assert "比例 80%；次数 30" in page
    assert "bundled_item<" not in page
    before = {"used": {"bundled_item": {"share": 7000}}, "example": True}
    Run.objects.filter(pk=run.pk).update(rules=before)  # as runs of before kept it
    page = shown(office, "audit-run", run.pk)
    assert "比例 70%" in page
    assert "示例参数" in page
    assert "2.0 秒" in page
    assert "hx-trigger" not in page
    Run.objects.filter(pk=run.pk).update(state="running")
    assert "every 2s" in shown(office, "audit-run", run.pk)


def test_the_rule_that_weighs_more_in_a_sample_is_chosen_by_its_words(office: Office) -> None:
    page = shown(office, "sampling-plans")
    assert f'<option value="split_visits">{RULES["split_visits"].message}</option>' in page


def test_a_report_names_its_area_and_who_asked(office: Office) -> None:
    place = office.region
    row = ReportOrder.objects.create(
        kind="fund", title="报告", number="示例〔2021〕9号", region_code=place.pk, asked_at=AT,
        asked_by=office.second.username, parameters={
            "since": "2021-01-01", "until": "2021-06-30", "region": place.pk, "institution": ""},
    )  # fmt: skip
    facts = reader(office).get(reverse("report", args=[row.pk])).context["info"]
    values = {fact["label"]: fact["value"] for fact in facts}
    assert (values["区域"], values["医疗机构"], values["编制人"]) == (place.name, "全部", "李协办")


def test_the_report_on_an_institution_says_rules_in_words() -> None:
    class Book:
        rows: list[list[str]] = []

        def heading(self, text: str) -> None: ...

        def grid(self, title: str, heads: list[str], rows: list[list[str]], **more: str) -> None:
            self.rows = rows

    book = Book()
    row = {"rule": "over_price", "state": "open", "number": 2, "fund": 100}
    institution._found([row], book)
    assert book.rows[0][0] == RULES["over_price"].message


def test_who_filed_a_change_is_called_by_name(office: Office, settings, tmp_path) -> None:
    settings.MEDIA_ROOT = tmp_path
    office.hospital.display_name = "周医保办"
    office.hospital.save()
    commands.file_change(
        institution=office.place, kind="address", effective_from=AT.date(),
        content={"address": "新路1号"}, by=office.hospital.username, at=AT,
    )  # fmt: skip
    (row,) = reader(office).get(reverse("registry-changes")).context["table"].rows
    assert row.cells[-1].sub == "周医保办"
    tab = reader(office).get(reverse("institution", args=[office.place.pk]), {"tab": "changes"})
    assert tab.context["tables"][0].rows[0].cells[-1].sub == "周医保办"
