"""Monthly reports upward: counted once per row, moved by two persons and the region above, due by days."""

import datetime as dt
import hashlib
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.urls import reverse

from audit import reports, trail
from audit.models import Event, Task
from audit.procedure import PROCEDURES, Refused, checked
from institutions.access import EVERYTHING, set_scope
from institutions.models import Institution, Region, User
from institutions.refusals import Refusal
from settlement import adjustments
from settlement.models import Adjustment, Deduction, Statement
from supervision import cases, monthly, monthly_counts
from supervision.models import (
    CaseEvidence,
    Complaint,
    Finding,
    MonthlyReport,
    MonthlyVersion,
    PointEntry,
    Restriction,
    Review,
    ReviewLine,
)
from supervision.monthly_counts import Place as Area
from supervision.reports import orders
from tests import factories
from tests.settlement import money
from tests.settlement.money import NOVEMBER, at
from tests.settlement.test_pages import AT
from tests.supervision.casework import TODAY, Office

MADE = at(12, 3)
PROVINCE, CITY, COUNTY = "330000", "330300", "330381"


class Bureaus:
    """Wenzhou and its county Ruian, each with a hospital that settled in November, and their people."""

    def __init__(self) -> None:
        set_scope(EVERYTHING)
        self.city_place = money.Place("wenzhou")
        province = Region.objects.create(
            code=PROVINCE, name="浙江省", level="province", policy_region="none"
        )
        self.city = Region.objects.get(pk=CITY)
        self.city.parent = province
        self.city.save()
        self.county = Region.objects.create(
            code=COUNTY, name="瑞安市", level="county", policy_region="wenzhou", parent=self.city
        )
        self.county_place = money.Place("wenzhou")
        Institution.objects.filter(pk=self.county_place.code).update(region=self.county)
        self.county_place.region = COUNTY
        self.maker = factories.user("reviewer", self.county)
        self.submitter = factories.user("supervisor", self.county)
        self.receiver = factories.user("supervisor", self.city)
        self.city_maker = factories.user("reviewer", self.city)
        self.city_place.claim(fund=10_000, cash=500)
        self.county_place.claim(fund=3_000, cash=200)
        self.county_place.reverse(self.county_place.claim(fund=700))

    def make(self, who: User | None = None, when: dt.datetime = MADE) -> MonthlyReport:
        person = who or self.maker
        place = Region.objects.get(pk=person.region_id)
        return monthly.make(region=place, month=NOVEMBER, who=person, by=person.username, at=when)

    def take(self, row: MonthlyReport, step: str, who: User, **more: Any) -> None:
        given = {"at": MADE, **more}
        monthly.take(report=row, step=step, who=who, by=who.username, **given)

    def submitted(self) -> MonthlyReport:
        row = self.make()
        self.take(row, "submit", self.submitter)
        return row

    def received(self) -> MonthlyReport:
        row = self.submitted()
        self.take(row, "receive", self.receiver)
        return row


@pytest.fixture
def bureaus(db) -> Bureaus:
    return Bureaus()


def figures(row: MonthlyReport) -> dict[str, Any]:
    return monthly.current(row).figures


# --- What is counted ---


def test_a_month_of_supervision_is_counted_by_hand(bureaus: Bureaus) -> None:
    place, inside = bureaus.county_place, at(11, 10)
    given = {"region_code": COUNTY, "institution_code": place.code}
    for number, (state, found, decided) in enumerate((
        ("confirmed", at(10, 5), inside), ("refuted", inside, inside), ("open", inside, None),
        ("confirmed", inside, at(12, 2)), ("confirmed", at(9, 1), at(10, 1)),
    )):  # fmt: skip
        done = {"decided_at": decided, "decided_by": "x", "reason": "示例"} if decided else {}
        Finding.objects.create(
            **given, rule="no_consent", severity=1, clause="示例", message="示例", moment="audit",
            subject_kind="claim", subject_code="1", first_day=NOVEMBER, last_day=NOVEMBER, claims=1,
            fee=1, fund=500, key=bytes([number]), found_at=found, state=state, **done,
        )  # fmt: skip
    for number, kind, points in (("a", "points", 3), ("b", "repair", -1)):
        PointEntry.objects.create(
            **given, practitioner_code="D1", year=2021, kind=kind, points=points, behaviour="示例",
            clause="示例", source=number, proposed_by="p", entered_at=inside, entered_by="e",
        )  # fmt: skip
    Restriction.objects.create(
        **given, kind="practitioner", subject_code="D1", valid_from=NOVEMBER, clause="示例", source="c",
        made_at=inside, made_by="x",
    )  # fmt: skip
    for number, answered in enumerate((None, at(11, 20), at(12, 1))):
        said = {"state": "proven", "answer": "查实", "answered_at": answered, "handled_by": "x",
                "recovered": 900} if answered else {}  # fmt: skip
        Complaint.objects.create(
            **given, number=f"J{number}", query_hash=bytes(32), about="示例", text="示例",
            received_at=inside, due=dt.date(2021, 11, 15), **said,
        )  # fmt: skip
    Review.objects.create(
        **given, procedure="review", state="done", entered_on=inside.date(), opened_at=inside,
        opened_by="x", closed_at=inside, claim_id=1, claim_no="C", claim_version=1, person_id=1,
        service_date=NOVEMBER, scheme="resident", source="manual", pool="wenzhou", severity=1,
        reason="示例", fee=2_000, stake=2_000, cut=400, round=1, decided_by="d", decided_at=inside,
    )  # fmt: skip
    sheet, example = monthly_counts.count(Area(COUNTY, NOVEMBER))
    assert not example
    assert sheet["volume"]["offline"] == {
        "claims": 1, "fee": 3_200, "in_scope": 3_200, "fund": 3_000, "account": 0, "cash": 200,
    }  # fmt: skip
    assert sheet["volume"]["online"]["claims"] == 0
    assert sheet["findings"] == {
        "no_consent": {
            "found": 3,
            "confirmed": 1,
            "refuted": 1,
            "merged": 0,
            "open": 2,
            "fund": 500,
        }
    }
    assert sheet["reviews"] == {"manual": {"done": 1, "fee": 2_000, "cut": 400, "objected": 1}}
    assert sheet["recoveries"]["review"] == {
        "times": 0,
        "amount": 0,
    }  # what was held was never paid
    assert sheet["complaints"]["all"] == {
        "received": 3, "answered": 1, "proven": 1, "unproven": 0, "declined": 0, "late": 1,
        "recovered": 900, "reward": 0,
    }  # fmt: skip
    assert sheet["points"] == {
        "points": {"entries": 1, "points": 3}, "repair": {"entries": 1, "points": -1},
        "practitioner": {"entries": 1},
    }  # fmt: skip


def test_online_claims_stand_apart_from_others(db) -> None:
    claim, _ = Office().claim()
    sheet, _ = monthly_counts.count(Area("320600", claim.period))
    assert sheet["volume"]["online"]["claims"] == 1
    assert sheet["volume"]["online"]["fee"] > 0
    assert sheet["volume"]["offline"]["claims"] == 0


def test_cases_measures_and_recoveries_are_counted_by_their_days(db) -> None:
    office = Office()
    case = office.inquired()
    office.propose(case, "recovery", amount=600, scheme="resident")
    office.decided(case, "agreement", loss="6.00")
    sheet, _ = monthly_counts.count(Area(office.region.pk, TODAY.replace(day=1)))
    assert sheet["cases"] == {"agreement": {"opened": 1, "decided": 1, "closed": 0, "loss": 600}}
    assert sheet["states"] == {"executing": {"cases": 1}}
    assert sheet["sanctions"]["recovery"] | {"paid": 0} == {
        "ordered": 1, "amount": 600, "done": 0, "paid": 0,
    }  # fmt: skip


def test_a_recovery_counts_in_the_month_in_which_the_money_came_back(db) -> None:
    office = Office()
    case = office.inquired()
    fund = cases.loss_of(case)
    office.propose(case, "recovery", amount=fund, scheme="resident")
    office.decided(case, "agreement", loss=f"{fund / 100:.2f}")
    done = office.execute(case)[0]
    june, july = (Area(office.region.pk, dt.date(2021, month, 1)) for month in (6, 7))
    nothing = {"times": 0, "amount": 0}
    for area in (june, july):  # the deduction waits for a statement
        assert monthly_counts.count(area)[0]["recoveries"] == {"case": nothing, "review": nothing}
    waiting = Deduction.objects.get(pk=done.effects[0]["deduction"])
    statement = Statement.objects.create(
        scheme=waiting.scheme, period=dt.date(2021, 6, 1), pool="nantong", state="decided",
        institution_code=waiting.institution_code, region_code=waiting.region_code, fund=fund,
        procedure="statement", entered_on=TODAY, opened_at=MADE, opened_by="clerk",
        finalised_at=dt.datetime(2021, 7, 5, 9, tzinfo=dt.UTC), declared=fund, payable=fund,
    )  # fmt: skip
    Deduction.objects.filter(pk=waiting.pk).update(statement=statement)
    back = {"times": 1, "amount": fund}
    assert monthly_counts.count(june)[0]["recoveries"]["case"] == nothing
    assert monthly_counts.count(july)[0]["recoveries"]["case"] == back
    # the same cut by a fee review is the review's
    review = Review.objects.create(
        region_code=waiting.region_code, institution_code=waiting.institution_code, procedure="review",
        state="done", entered_on=TODAY, opened_at=MADE, opened_by="x", closed_at=MADE,
        claim_id=waiting.claim_id, claim_no="C", claim_version=1, person_id=1, service_date=TODAY,
        scheme="resident", source="manual", pool="nantong", severity=1, reason="示例", fee=fund,
        stake=fund, cut=fund, round=1, decided_by="d", decided_at=MADE,
    )  # fmt: skip
    ReviewLine.objects.create(
        review=review, region_code=waiting.region_code, institution_code=waiting.institution_code,
        line_no=1, kind="paid", item_code="1", fee=fund, fund=fund, verdict="cut", amount=fund,
        category="other", note="示例", clause="示例", marked_by="x", marked_at=MADE,
        deduction_id=waiting.pk,
    )  # fmt: skip
    assert monthly_counts.count(july)[0]["recoveries"]["review"] == back


@pytest.mark.parametrize(("posted", "amount"), [(True, 500), (False, 0)])
def test_an_adjustment_that_waits_or_was_refused_brought_nothing_back(
    db, posted: bool, amount: int
) -> None:
    office = Office()
    case = office.inquired()
    CaseEvidence.objects.create(
        case=case, no=2, kind="record", reference="document:0", title="清点笔录", content={},
        digest="0" * 64, loss=500, taken_at=AT, taken_by=office.handler.username,
    )  # fmt: skip
    loss = cases.loss_of(case)
    office.propose(case, "recovery", amount=loss, scheme="resident")
    office.decided(case, "agreement", loss=f"{loss / 100:.2f}")
    office.execute(case)
    area = Area(office.region.pk, TODAY.replace(day=1))
    nothing = {"times": 0, "amount": 0}
    assert monthly_counts.count(area)[0]["recoveries"]["case"] == nothing
    made = Adjustment.objects.get()
    if posted:
        adjustments.approve(adjustment=made, who=office.finance, at=AT)
    else:
        adjustments.refuse(adjustment=made, who=office.finance, note="依据不足", at=AT)
    assert monthly_counts.count(area)[0]["recoveries"]["case"]["amount"] == amount


def test_a_region_takes_over_what_it_received_and_counts_the_rest_once(bureaus: Bureaus) -> None:
    alone = monthly.figures_of(bureaus.city, NOVEMBER)
    assert (alone["areas"], alone["missing"]) == ([], ["瑞安市"])
    row = bureaus.received()
    with_report = monthly.figures_of(bureaus.city, NOVEMBER)
    assert [area["number"] for area in with_report["areas"]] == [row.number]
    assert with_report["missing"] == []
    assert with_report["whole"]["volume"] == alone["whole"]["volume"]
    assert with_report["whole"]["volume"]["offline"]["fund"] == 13_000
    assert with_report["direct"]["volume"]["offline"]["fund"] == 10_000
    assert with_report["areas"][0]["sheet"]["volume"]["offline"]["claims"] == 1


def test_what_is_received_counts_as_it_was_reported(bureaus: Bureaus) -> None:
    bureaus.received()
    bureaus.county_place.claim(fund=99)
    assert (
        monthly.figures_of(bureaus.city, NOVEMBER)["whole"]["volume"]["offline"]["fund"] == 13_000
    )
    assert monthly_counts.count(Area(CITY, NOVEMBER))[0]["volume"]["offline"]["fund"] == 13_099


# --- Who moves it ---


def test_the_table_names_what_the_handbook_has() -> None:
    checked(monthly.HANDBOOK, [PROCEDURES[monthly.TABLE]])


def test_made_submitted_by_another_received_above(bureaus: Bureaus) -> None:
    row = bureaus.make()
    assert (row.number, row.state, row.due) == (
        "瑞安医保监报〔2021〕1号",
        "made",
        dt.date(2021, 12, 10),
    )
    with pytest.raises(Refused, match="编制人不能"):
        monthly.take(
            report=row, step="submit", who=bureaus.submitter, by=bureaus.maker.username, at=MADE
        )
    with pytest.raises(Refused, match="本级办理"):
        bureaus.take(row, "submit", bureaus.receiver)
    bureaus.take(row, "submit", bureaus.submitter, note="已核对")
    task = Task.objects.get(subject=row.subject, state="open")
    assert (task.permission, task.region_code, task.due) == ("monthly.receive", CITY, row.due)
    assert row.due == dt.date(2021, 12, 10)
    with pytest.raises(Refused, match="上级办理"):
        bureaus.take(row, "receive", bureaus.submitter)
    bureaus.take(row, "receive", bureaus.receiver)
    row.refresh_from_db()
    assert (row.state, row.received_by) == ("received", bureaus.receiver.username)
    assert not Task.objects.filter(subject=row.subject, state="open").exists()
    acted = Event.objects.filter(subject=row.subject).order_by("at", "id")
    assert {event.action for event in acted} == {
        "monthlyreport.open", "monthlyreport.count", "monthlyreport.submit", "monthlyreport.receive"
    }  # fmt: skip


def test_a_returned_report_is_counted_anew_as_the_next_version(bureaus: Bureaus) -> None:
    row = bureaus.submitted()
    with pytest.raises(Refused, match="退回理由"):
        bureaus.take(row, "return", bureaus.receiver)
    bureaus.take(row, "return", bureaus.receiver, note="漏计一笔")
    row.refresh_from_db()
    assert (row.state, row.returned_for) == ("returned", "漏计一笔")
    bureaus.county_place.claim(fund=99)
    bureaus.take(row, "remake", bureaus.submitter)
    row.refresh_from_db()
    assert (row.state, row.latest, row.submitted_by) == ("made", 2, "")
    funds = [one.figures["whole"]["volume"]["offline"]["fund"] for one in row.versions.all()]
    assert funds == [3_099, 3_000]
    with pytest.raises(Refused, match="编制人不能"):
        bureaus.take(row, "submit", bureaus.submitter)
    second = factories.user("supervisor", bureaus.county)
    bureaus.take(row, "submit", second)
    bureaus.take(row, "receive", bureaus.receiver)
    bureaus.take(row, "return", bureaus.receiver, note="上级汇总时发现差错")
    row.refresh_from_db()
    assert (row.state, row.received_by, row.closed_at) == ("returned", "", None)


def test_what_cannot_be_made(bureaus: Bureaus) -> None:
    def refused(code: str, region: Region, month: dt.date, who: User) -> None:
        with pytest.raises(Refusal, match=code):
            monthly.make(region=region, month=month, who=who, by=who.username, at=MADE)

    refused("NOT_YOUR_REGION", bureaus.county, NOVEMBER, bureaus.city_maker)
    refused("MONTH_NOT_OVER", bureaus.county, dt.date(2021, 12, 1), bureaus.maker)
    refused("MONTH_NOT_OVER", bureaus.county, dt.date(2021, 11, 2), bureaus.maker)
    top = Region.objects.get(pk=PROVINCE)
    refused("NO_REGION_ABOVE", top, NOVEMBER, factories.user("supervisor", top))
    refused("NOT_YOUR_REGION", bureaus.county, NOVEMBER, factories.user("auditor", bureaus.county))
    bureaus.make()
    refused("MADE_BEFORE", bureaus.county, NOVEMBER, bureaus.maker)


def test_regions_that_report_are_asked_once_a_month(bureaus: Bureaus) -> None:
    assert monthly.remind(on=dt.date(2021, 12, 1), by="beat", at=MADE) == 2
    assert monthly.remind(on=dt.date(2021, 12, 2), by="beat", at=MADE) == 0
    task = Task.objects.get(region_code=COUNTY, permission="monthly.make", state="open")
    assert (task.title, task.due) == ("编制瑞安市2021年11月监管月报", dt.date(2021, 12, 10))
    bureaus.make()
    task.refresh_from_db()
    assert task.state == "done"
    assert monthly.remind(on=dt.date(2021, 12, 3), by="beat", at=MADE) == 0


# --- What the database keeps ---


def test_the_database_refuses_what_the_table_would_not_do(bureaus: Bureaus) -> None:
    row = bureaus.submitted()
    rows = MonthlyReport.objects.filter(pk=row.pk)
    for wrong in (
        {"submitted_by": row.made_by}, {"submitted_by": ""}, {"month": dt.date(2021, 11, 2)},
        {"to_region": COUNTY}, {"state": "received"}, {"state": "returned", "returned_for": ""},
    ):  # fmt: skip
        with pytest.raises(IntegrityError), transaction.atomic():
            rows.update(**wrong)
    version = monthly.current(row)
    for act in (lambda: version.delete(), lambda: row.versions.update(figures={})):
        with pytest.raises(Exception, match="permission denied"), transaction.atomic():
            act()


def test_rows_outside_the_scope_do_not_exist(bureaus: Bureaus) -> None:
    bureaus.submitted()
    with connection.cursor() as cursor:
        cursor.execute("SET ROLE mip_app")
        for scope, count in (("R:3303", 1), ("R:330381", 1), ("R:330382", 0), ("R:3206", 0)):
            cursor.execute("SELECT set_config('app.scope', %s, true)", [scope])
            assert (MonthlyReport.objects.count(), MonthlyVersion.objects.count()) == (count, count)
        cursor.execute("RESET ROLE")
    set_scope(EVERYTHING)


def test_those_above_see_a_report_once_it_was_submitted(bureaus: Bureaus) -> None:
    row = bureaus.make()
    seen = MonthlyReport.objects.visible_to
    assert (seen(bureaus.maker).count(), seen(bureaus.receiver).count()) == (1, 0)
    bureaus.take(row, "submit", bureaus.submitter)
    assert seen(bureaus.receiver).count() == 1
    assert seen(factories.user("supervisor", factories.region("nantong"))).count() == 0


# --- The paper and the pages ---


def test_the_paper_says_what_the_version_says(bureaus: Bureaus) -> None:
    row = bureaus.received()
    bureaus.make(bureaus.city_maker)
    above = MonthlyReport.objects.get(region_code=CITY)
    version = monthly.current(above)
    assert version.digest == hashlib.new("sm3", trail.canonical(version.figures)).hexdigest()
    order = monthly.printed(version)
    assert order is not None
    done = orders.make_now(order_id=order.pk, at=MADE)
    assert done.state == "done", done.fault
    assert reports.read(done.report).startswith(b"%PDF")
    inside = reports.content_of(done.report)["figures"]
    assert inside["whole"] == version.figures["whole"]
    assert inside["areas"][0]["number"] == row.number
    assert done.title == "温州市监管月报"


def page(user: User, name: str, *args: object, **query: str) -> str:
    answer = factories.log_in(Client(), user).get(reverse(name, args=args), query)
    assert answer.status_code == 200
    return answer.content.decode()


def test_the_way_upward_in_the_browser(bureaus: Bureaus, settings) -> None:
    settings.DEMO_TODAY = dt.date(2021, 12, 20)
    maker = factories.log_in(Client(), bureaus.maker)
    assert "未编制" in page(bureaus.receiver, "monthly", month="2021-11")
    assert "2021-12-10 逾期" in page(bureaus.receiver, "monthly", month="2021-11", late="1")
    made = maker.post(reverse("monthly-new"), {"month": "2021-11"})
    row = MonthlyReport.objects.get()
    assert made.headers["Location"] == monthly.place(row)
    assert maker.post(reverse("monthly-new"), {"month": "2021-11"}).status_code == 422
    shown = page(bureaus.submitter, "monthly-report", row.pk)
    assert "复核并报送" in shown
    assert "30.00" in shown

    def act(who: User, key: str, **given: str) -> int:
        row.refresh_from_db()
        client = factories.log_in(Client(), who)
        address = reverse("monthly-act", args=[row.pk, key])
        return client.post(address, {"version": str(row.version), **given}).status_code

    assert act(bureaus.maker, "submit") == 403
    assert act(bureaus.submitter, "submit", note="请接收") == 302
    assert act(bureaus.receiver, "return") == 422
    assert act(bureaus.receiver, "return", note="请核对案件数") == 302
    assert "请核对案件数" in page(bureaus.maker, "monthly-report", row.pk)
    assert act(bureaus.maker, "remake") == 302
    assert "第2版" in page(bureaus.maker, "monthly", month="2021-11")
    assert "这是较早的版本" in page(bureaus.maker, "monthly-report", row.pk, version="1")
    assert act(bureaus.submitter, "submit") == 302
    assert act(bureaus.receiver, "receive") == 302
    listed = page(bureaus.receiver, "monthly", month="2021-11")
    assert "已接收的下级月报汇总" in listed
    assert "30.00" in listed
    outsider = factories.user("supervisor", factories.region("nantong"))
    client = factories.log_in(Client(), outsider)
    assert client.get(monthly.place(row)).status_code == 404
