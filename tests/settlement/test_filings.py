"""门诊慢特病认定: the table is sound, another person reviews, validity is dated twice, what ends is told."""

import datetime as dt
import json

import pytest
from django.db import IntegrityError, transaction

from audit.models import Event, Task
from audit.procedure import PROCEDURES, Refused, checked
from institutions.access import EVERYTHING, scoped
from institutions.holidays import NATIONAL, import_year, national_year
from institutions.models import PERSONAL, Document, Region
from institutions.refusals import Refusal
from settlement import commands, filings
from settlement.facts import Claimant
from settlement.models import ChronicDisease, DiseaseFiling, LineResult
from settlement.tasks import watch_register
from tests import factories
from tests.factories import DAY, ZONE

AT = dt.datetime(2021, 6, 10, 9, tzinfo=ZONE)
PDF = b"%PDF-1.4 scan"
CODE = "M01600"


def at(day: str, hour: int = 9) -> dt.datetime:
    return dt.datetime.combine(dt.date.fromisoformat(day), dt.time(hour), ZONE)


class Office:
    """Wenzhou: a clerk, a hospital, a reviewer, an insured person."""

    def __init__(self):
        factories.policies("wenzhou")
        self.hospital = factories.institution("wenzhou")
        place = self.hospital.region
        self.clerk = factories.user("settlement_clerk", place)
        self.staff = factories.user("hospital", self.hospital)
        self.reviewer = factories.user("reviewer", place)
        self.person = factories.person("wenzhou")
        for year in (2021, 2022):
            import_year(year=year, region=NATIONAL, rows=national_year(year), by="test", at=AT)

    def papers(self, *names: str) -> list[tuple[str, str, bytes]]:
        return [(name, "张三病历.pdf", PDF) for name in names or ("record", "report", "proof")]

    def apply(self, **more: object) -> DiseaseFiling:
        standard = {
            "person": self.person, "code": CODE, "by": self.clerk.username, "at": AT,
            "files": self.papers(),
        }  # fmt: skip
        return filings.apply(**(standard | more))

    def step(self, filing: DiseaseFiling, step: str, who=None, when: dt.datetime = AT, **given):
        who = who or self.reviewer
        return filings.take_step(
            filing=filing, step=step, who=who, by=who.username, at=when,
            note=given.pop("note", ""), facts=given,
        )  # fmt: skip

    def approved(self, **more: object) -> DiseaseFiling:
        filing = self.apply(**more)
        self.step(filing, "approve", valid_from="2021-06-10", valid_until="2022-06-09")
        return filing


@pytest.fixture
def office(db) -> Office:
    return Office()


def refusal(call, *args, **given) -> tuple[int, str]:
    with pytest.raises((Refused, Refusal)) as error, transaction.atomic():
        call(*args, **given)
    return error.value.status, error.value.code


def test_the_table_names_only_what_the_handbook_holds():
    checked(filings.HANDBOOK, [PROCEDURES[filings.TABLE]])


def test_an_application_waits_for_review_within_the_parameter(office):
    filing = office.apply()
    assert (filing.number, filing.state, filing.name) == (
        "MB3303-2021-00001",
        "submitted",
        "糖尿病",
    )
    assert filing.due == dt.date(2021, 6, 25)  # ten working days, the Dragon Boat holiday between
    task = Task.objects.get(subject=filing.subject)
    assert (task.permission, task.region_code, task.due) == (
        "diseases.review",
        "330300",
        filing.due,
    )
    assert "测*糖尿病慢特病认定" in task.title


def test_without_a_parameter_there_is_no_deadline(office, settings):
    settings.EXAMPLE_PARAMETERS = False
    with pytest.raises(Refusal):  # the list itself is an example here
        office.apply()


def test_materials_are_kept_under_neutral_names_off_the_general_door(office):
    filing = office.apply()
    names = [row.name for row in filings.materials(filing)]
    assert names == ["近期病历或出院小结.pdf", "检查检验报告.pdf", "诊断证明.pdf"]
    assert "张三" not in "".join(bytes(e.body).decode() for e in Event.objects.all())
    assert (
        not Document.objects.visible_to(office.reviewer).filter(kind__startswith=PERSONAL).exists()
    )
    status = refusal(filings.attach, filing=filing, files=[("other", "a.pdf", PDF)], by="c", at=AT)
    assert status == (422, "MATERIAL_UNKNOWN")


def test_what_cannot_be_applied_for(office):
    assert refusal(office.apply, code="M99999") == (422, "DISEASE_UNKNOWN")
    assert refusal(office.apply, code="M03900") == (409, "DISEASE_FILED")
    office.apply()
    assert refusal(office.apply) == (409, "FILING_WAITING")
    factories.region("nantong")
    elsewhere = factories.person("nantong")
    assert refusal(office.apply, person=elsewhere) == (422, "NO_DISEASE_LIST")


def test_the_reviewer_is_another_person_and_may(office):
    filing = office.apply(by=office.reviewer.username)
    given = {"valid_from": "2021-06-10"}
    assert refusal(office.step, filing, "approve", **given) == (403, "SAME_PERSON")
    assert refusal(office.step, filing, "approve", office.clerk, **given) == (
        403,
        "STEP_NOT_PERMITTED",
    )


def test_a_notice_is_given_once_and_stops_the_clock(office):
    filing = office.apply(files=office.papers("record"), by=office.staff.username,
                          institution=office.hospital)  # fmt: skip
    assert refusal(office.step, filing, "approve", valid_from="2021-06-10") == (
        422,
        "MATERIAL_MISSING",
    )
    office.step(filing, "notice", when=at("2021-06-11"), missing=["检查检验报告", "诊断证明"])
    assert (filing.state, filing.stopped, filing.due) == ("notice", True, None)
    task = Task.objects.get(subject=filing.subject, state="open")
    assert (task.permission, task.institution_code) == ("diseases.file", office.hospital.code)
    filings.attach(filing=filing, files=office.papers("report", "proof"), by="h", at=AT)
    office.step(filing, "supplement", office.staff, when=at("2021-06-18"), note="已补齐")
    assert filing.state == "resubmitted"
    assert filing.due > dt.date(2021, 6, 25)
    assert refusal(office.step, filing, "notice", when=at("2021-06-18"), missing=["再补"]) == (
        409, "STEP_NOT_POSSIBLE")  # fmt: skip
    office.step(filing, "approve", when=at("2021-06-21"), valid_from="2021-06-10")
    assert (filing.state, filings.missing(filing, filings.Law.of("330300", DAY))) == (
        "approved",
        [],
    )


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"valid_from": "2021-06-09"}, "VALID_TOO_EARLY"),
        ({"valid_from": "2021-06-10", "valid_until": "2021-06-09"}, "DATES_REVERSED"),
        ({"valid_from": "2021-06-10", "valid_until": "2023-06-10"}, "VALID_TOO_LONG"),
        ({"valid_from": "soon"}, "DAY_WRONG"),
    ],
)
def test_validity_in_order(office, given, wanted):
    assert refusal(office.step, office.apply(), "approve", **given) == (422, wanted)


def test_an_approval_recognises_from_then_on_and_by_the_years_of_the_region(office):
    filing = office.apply()
    office.step(filing, "approve", when=at("2021-06-15", 15), valid_from="2021-06-10")
    row = ChronicDisease.objects.get(code=CODE)
    assert (row.valid_from, row.valid_until, row.filing) == (
        dt.date(2021, 6, 10), dt.date(2023, 6, 9), filing)  # fmt: skip
    assert row.recorded_at == at("2021-06-15", 15)
    assert ChronicDisease.objects.facts_on(dt.date(2021, 6, 12), at("2021-06-15")) != row


def claimed(office: Office, when: dt.datetime) -> str:
    """The reason of a claim of DAY received at a moment; empty when it is paid."""
    doctor = factories.physician(office.hospital)
    factories.offline_visit(office.person, office.hospital)
    body = factories.body(office.person, doctor, factories.line(item="110200001", fee="10.00"))
    receipt = commands.receive(
        institution=Claimant.of(office.hospital), claim=body, by="t", at=when
    )
    return json.loads(receipt.body)["lines"][0]["reason"] or ""


def test_a_later_approval_never_changes_what_was_known_at_an_earlier_settlement(office):
    """WZ 十三: disease_in_list is decided by what was known when the claim was settled."""
    ChronicDisease.objects.all().delete()
    filing = office.apply(at=at("2021-06-10"))
    with scoped(EVERYTHING):
        assert claimed(office, at("2021-06-16")) == "DISEASE_NOT_LISTED"
    reason = LineResult.objects.get().reason
    office.step(filing, "approve", when=at("2021-06-17"), valid_from="2021-06-10")
    with scoped(EVERYTHING):
        assert claimed(office, at("2021-06-16")) == "DISEASE_NOT_LISTED"  # as known then
        assert claimed(office, at("2021-06-18")) != "DISEASE_NOT_LISTED"
    assert LineResult.objects.filter(reason=reason).count() == 2


def test_refusal_and_withdrawal_end_it(office):
    refused = office.apply()
    assert refusal(office.step, refused, "refuse") == (422, "INPUT_MISSING")
    office.step(refused, "refuse", note="未达标准")
    assert (refused.state, Task.objects.filter(subject=refused.subject, state="open").count()) == (
        "refused", 0)  # fmt: skip
    withdrawn = office.apply()
    office.step(withdrawn, "withdraw", office.clerk, note="患者撤回")
    assert withdrawn.state == "withdrawn"
    assert refusal(filings.attach, filing=withdrawn, files=office.papers(), by="c", at=AT) == (
        409, "FILING_CLOSED")  # fmt: skip
    assert not ChronicDisease.objects.filter(code=CODE).exists()


def test_ending_keeps_what_was_known(office):
    filing = office.approved()
    later = at("2021-09-01")
    assert refusal(office.step, filing, "end", when=later, last="2021-08-31", note="x") == (
        422, "DAY_PAST")  # fmt: skip
    assert refusal(office.step, filing, "end", when=later, last="2023-01-01", note="x") == (
        422, "DAY_OUTSIDE")  # fmt: skip
    office.step(filing, "end", when=later, last="2021-09-30", note="不再符合")
    rows = ChronicDisease.objects.filter(code=CODE)
    assert rows.facts_on(dt.date(2021, 10, 1)) is None
    assert rows.facts_on(dt.date(2021, 10, 1), at("2021-08-01")).valid_until == dt.date(2022, 6, 9)


def test_what_ends_soon_is_told_renewed_and_expires(office, settings):
    filing = office.approved()
    settings.DEMO_TODAY = dt.date(2022, 5, 10)
    assert watch_register() == {"expired": 0, "reminded": 1, "moved": 0}
    row = ChronicDisease.objects.get(code=CODE)
    task = Task.objects.get(subject=f"chronicdisease:{row.pk}")
    assert (task.permission, task.due, task.url) == (
        "diseases.file", dt.date(2022, 6, 9), f"/diseases/new/?renews={row.pk}")  # fmt: skip
    moment = at("2022-05-11")
    assert refusal(office.apply, at=moment) == (409, "DISEASE_FILED")
    renewal = office.apply(renews=row, at=moment)
    assert not list(filings.ending(on=dt.date(2022, 5, 11), within=60))
    assert refusal(office.step, renewal, "approve", when=moment, valid_from="2022-06-01",
                   valid_until="2023-06-01") == (409, "DISEASE_FILED")  # fmt: skip
    office.step(renewal, "approve", when=moment, valid_from="2022-06-10", valid_until="2023-06-09")
    assert Task.objects.get(pk=task.pk).state == "done"
    settings.DEMO_TODAY = dt.date(2022, 6, 10)
    assert watch_register()["expired"] == 1
    assert DiseaseFiling.objects.get(pk=filing.pk).state == "expired"
    for given, wanted in (
        ({"renews": row, "code": "M05300"}, "RENEWS_ANOTHER"),
        ({"renews": ChronicDisease.objects.get(code="M03900"), "code": "M03900"}, "NO_END"),
    ):
        assert refusal(office.apply, at=at("2022-06-11"), **given)[1] == wanted


def test_a_missing_calendar_year_is_an_unknown_day_until_it_is_imported(office):
    filing = office.apply(at=at("2022-12-26"))
    assert (filing.due, filing.due_unknown) == (None, 2023)
    import_year(year=2023, region=NATIONAL, rows=national_year(2023), by="test", at=AT)
    filing.refresh_from_db()
    assert (filing.due, filing.due_unknown) == (dt.date(2023, 1, 10), None)


def test_the_database_keeps_one_recognition_of_a_day_and_one_open_application(office):
    row = ChronicDisease.objects.get(code="M03900")
    same = {"person": office.person, "name": "x", "recorded_at": AT, "code": "M03900"}
    with pytest.raises(IntegrityError, match="chronic_disease_no_overlap"), transaction.atomic():
        ChronicDisease.objects.create(valid_from=DAY, **same)
    with pytest.raises(IntegrityError, match="chronic_disease_span"), transaction.atomic():
        ChronicDisease.objects.create(
            valid_from=DAY, valid_until=dt.date(2020, 1, 1), superseded_at=AT, **same
        )
    filing = office.apply()
    for change, name in (({}, "disease_filing_one_open"),
                         ({"valid_from": DAY, "valid_until": dt.date(2020, 1, 1), "closed_at": AT},
                          "disease_filing_span")):  # fmt: skip
        copy = DiseaseFiling.objects.get(pk=filing.pk)
        copy.pk, copy.number = None, f"X-{name}"
        for key, value in change.items():
            setattr(copy, key, value)
        with pytest.raises(IntegrityError, match=name), transaction.atomic():
            copy.save()
    assert row.valid_until is None


def test_filings_are_seen_by_the_own_agency_and_the_filing_hospital(office):
    filing = office.apply(institution=office.hospital, by=office.staff.username)
    other = factories.user("hospital", factories.institution("wenzhou"))
    county, _ = Region.objects.get_or_create(
        pk="330381", defaults={"name": "瑞安市", "level": "county", "policy_region": "wenzhou"})  # fmt: skip
    users = (office.reviewer, office.staff, other, factories.user("reviewer", county))
    assert [DiseaseFiling.objects.visible_to(user).count() for user in users] == [1, 1, 0, 0]
    for user, seen in zip(users, (1, 1, 0, 0), strict=True):
        with scoped(user.scope_codes()):
            assert DiseaseFiling.objects.filter(pk=filing.pk).count() == seen  # row level security


def test_a_region_without_a_paying_list_cites_its_own_document(office):
    """Nantong's notice prints no list: its example list is cited, never Wenzhou's clause."""
    factories.policies("nantong")
    place = factories.region()
    clerk, reviewer = factories.user("settlement_clerk", place), factories.user("reviewer", place)
    filing = office.apply(person=factories.person(), code="M02300", by=clerk.username)
    move = office.step(filing, "approve", who=reviewer, valid_from="2021-06-10")
    task = Task.objects.get(subject=filing.subject)
    assert (filing.number[:6], move.clause, task.clause) == (
        "MB3206", "通医保发〔2020〕25号 一", "通医保发〔2020〕25号 一",
    )  # fmt: skip


def test_a_wrong_file_is_told_at_its_material(office):
    files = [("record", "a.pdf", PDF), ("report", "b.pdf", b"hello")]
    with pytest.raises(Refusal) as error, transaction.atomic():
        office.apply(files=files)
    assert error.value.faults[0].pointer == "/file_report"
