"""Practitioners: what hospitals say counts when checked, corrections, moves, and who hears of whom."""

import datetime as dt
import json

import pytest
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse

from audit.models import Event, Task
from institutions import commands
from institutions.exchange import intake
from institutions.models import Institution, Physician, PhysicianTitle
from institutions.refusals import Refusal
from tests import factories
from tests.institutions.test_exchange import check, counts, errors, sheet, write

Day = dt.date
CODE = "D320600000001"
SINCE, PROMOTED = Day(2015, 7, 1), Day(2021, 5, 17)


def moment(month: int, day: int) -> dt.datetime:
    return dt.datetime(2021, month, day, 9, tzinfo=factories.ZONE)


MAY, JUNE, JULY = moment(5, 20), moment(6, 20), moment(7, 20)


@pytest.fixture
def hospital(db) -> Institution:
    return factories.institution("nantong", agreements=False)


@pytest.fixture
def other(hospital: Institution) -> Institution:
    return factories.institution("nantong", agreements=False)


def register(hospital: Institution, *, at=MAY, by="hospital", **more) -> Physician:
    given = {"institution": hospital, "code": CODE, "name": "赵医师", "licence_no": "110320600000001",
             "independent_since": SINCE, "title": "attending", "title_since": Day(2018, 1, 1),
             "by": by, "at": at}  # fmt: skip
    return commands.register_practitioner(**(given | more))


def judged(doctor: Physician, *, by="reviewer", at=JUNE, agreed=True, reason="", titles=None):
    seen = doctor.titles.proposed().values_list("pk", flat=True) if titles is None else titles
    commands.check_practitioner(
        physician=doctor, titles=list(seen), agreed=agreed, reason=reason, by=by, at=at
    )
    doctor.refresh_from_db()


def known(doctor: Physician, at: dt.datetime, day: Day = PROMOTED) -> list[str]:
    rows = doctor.titles.known_at(at).filter(checked_at__lte=at).in_force(on=day)
    return [row.title for row in rows]


def told(action: str) -> dict:
    """The detail of the only event of an act."""
    return json.loads(bytes(Event.objects.get(action=action).body))["detail"]


def refused(code: str):
    class Expected:
        def __enter__(self):
            self.raises = pytest.raises(Refusal)
            self.info = self.raises.__enter__()
            self.point = transaction.atomic()
            self.point.__enter__()
            return self.info

        def __exit__(self, *error):
            self.point.__exit__(*error)
            done = self.raises.__exit__(*error)
            assert self.info.value.code == code
            return done

    return Expected()


# --- Titles in two times, counted when checked ---


def test_a_title_of_a_hospital_counts_from_its_check_on(hospital):
    doctor = register(hospital)
    (task,) = Task.objects.filter(state=Task.State.OPEN)
    assert (task.subject, task.permission) == (f"practitioner:{CODE}", "registry.check")
    assert not doctor.titles.counted().exists()
    assert (doctor.checked_at, known(doctor, MAY)) == (None, [])
    judged(doctor)
    assert (doctor.checked_at, doctor.checked_by) == (JUNE, "reviewer")
    assert (known(doctor, MAY), known(doctor, JUNE)) == ([], ["attending"])
    assert not Task.objects.filter(state=Task.State.OPEN).exists()
    assert Event.objects.filter(action="physician.check", subject=f"physician:{CODE}").exists()
    with refused("CHECKED_BEFORE"):
        judged(doctor)


def test_a_proposal_leaves_the_counted_title_until_it_is_checked(hospital):
    doctor = register(hospital, by="reviewer", checked=True)
    commands.record_title(
        physician=doctor, title="chief", valid_from=PROMOTED, by="hospital", at=JUNE
    )
    assert known(doctor, JUNE) == ["attending"]
    judged(doctor, at=JULY)
    assert (known(doctor, JUNE), known(doctor, JULY)) == (["attending"], ["chief"])
    spans = doctor.titles.counted().order_by("valid_from").values_list("title", "valid_until")
    assert list(spans) == [("attending", Day(2021, 5, 16)), ("chief", None)]
    (before,) = doctor.titles.filter(superseded_at__isnull=False)
    assert (before.valid_until, before.superseded_at) == (None, JULY)


def test_the_agency_is_not_held_up_by_proposals(hospital):
    doctor = register(hospital, by="reviewer", checked=True)
    late = {"physician": doctor, "valid_from": PROMOTED}
    commands.record_title(title="chief", by="hospital", at=JUNE, **late)
    with refused("TITLE_LATER"):
        commands.record_title(title="special_allowance_expert", by="hospital", at=JUNE, **late)
    commands.record_title(title="associate_chief", by="reviewer", at=JULY, checked=True, **late)
    assert known(doctor, JULY) == ["associate_chief"]
    assert not doctor.titles.proposed().exists()


def test_an_earlier_proposal_ends_before_the_later_title(hospital):
    doctor = register(hospital, by="reviewer", checked=True)
    commands.record_title(physician=doctor, title="associate_chief", valid_from=Day(2019, 1, 1),
                          by="hospital", at=JUNE)  # fmt: skip
    commands.record_title(physician=doctor, title="chief", valid_from=PROMOTED, by="reviewer",
                          at=JUNE, checked=True)  # fmt: skip
    judged(doctor, by="other", at=JULY)
    days = (Day(2018, 6, 1), Day(2020, 1, 1), PROMOTED)
    assert [known(doctor, JULY, day) for day in days] == [
        ["attending"], ["associate_chief"], ["chief"],
    ]  # fmt: skip


def test_who_checks_and_what_was_seen(hospital):
    doctor = register(hospital)
    with refused("SAME_PERSON"):
        judged(doctor, by="hospital")
    with refused("CHANGED"):
        judged(doctor, titles=[])
    with refused("REASON_MISSING"):
        judged(doctor, agreed=False)
    assert not doctor.titles.counted().exists()


def test_what_is_not_agreed_never_counts_and_the_hospital_hears_why(hospital):
    doctor = register(hospital, by="reviewer", checked=True)
    commands.record_title(
        physician=doctor, title="chief", valid_from=PROMOTED, by="hospital", at=JUNE
    )
    judged(doctor, agreed=False, reason="证书不符", at=JULY)
    assert known(doctor, JULY) == ["attending"]
    (task,) = Task.objects.filter(state=Task.State.OPEN)
    assert (task.permission, "证书不符" in task.title) == ("registry.file", True)
    commands.record_title(
        physician=doctor, title="chief", valid_from=PROMOTED, by="hospital", at=JULY
    )
    (task,) = Task.objects.filter(state=Task.State.OPEN)
    assert task.permission == "registry.check"


def test_the_database_keeps_counted_titles_apart(hospital):
    doctor = factories.physician(hospital)
    factories.physician_title(doctor, "chief", checked_at=None)
    factories.physician_title(doctor, "chief", superseded_at=JUNE)
    with pytest.raises(IntegrityError, match="no_overlap"), transaction.atomic():
        factories.physician_title(doctor, "chief")


# --- Corrections ---


def test_a_correction_keeps_what_stood_before(hospital):
    doctor = register(hospital, title="")
    changes = {"name": "赵一", "independent_since": Day(2016, 7, 1)}
    commands.correct_practitioner(
        physician=doctor, changes=changes, reason="证书核对", by="reviewer", at=JUNE
    )
    doctor.refresh_from_db()
    assert (doctor.name, doctor.independent_since) == ("赵一", Day(2016, 7, 1))
    assert doctor.checked_by == "reviewer"
    detail = told("physician.correct")
    assert detail["before"] == {"name": "赵医师", "independent_since": "2015-07-01"}
    assert detail["after"] == {"name": "赵一", "independent_since": "2016-07-01"}
    assert not Task.objects.filter(state=Task.State.OPEN).exists()


@pytest.mark.parametrize(
    ("changes", "reason", "code"),
    [
        ({"name": "赵一"}, " ", "REASON_MISSING"),
        ({"name": ""}, "核对", "NAME_MISSING"),
        ({"registered_area": "3206"}, "核对", "AREA_INVALID"),
        ({"name": "赵医师"}, "核对", "NOTHING_CHANGED"),
        ({"kind": "nurse"}, "核对", "NOT_CORRECTABLE"),
    ],
)
def test_corrections_that_are_refused(hospital, changes: dict, reason: str, code: str):
    doctor = register(hospital)
    with refused(code):
        commands.correct_practitioner(
            physician=doctor, changes=changes, reason=reason, by="reviewer", at=JUNE
        )


# --- The next institution ---


def left(hospital: Institution) -> Physician:
    doctor = register(hospital, by="reviewer", checked=True)
    commands.leave(physician=doctor, on=Day(2021, 6, 10), by="hospital", at=JUNE)
    return doctor


def test_who_left_is_registered_at_the_next_institution(hospital, other):
    left(hospital)
    with refused("POST_OVERLAPS"):
        register(other, at=JULY)
    with refused("POST_OVERLAPS"):
        register(other, at=JULY, joined_on=Day(2021, 6, 10))
    with refused("NOT_THE_SAME") as info:
        register(other, at=JULY, joined_on=Day(2021, 7, 1), independent_since=Day(1990, 1, 1))
    assert "2015" not in info.value.detail[0]
    moved = register(other, at=JULY, joined_on=Day(2021, 7, 1), title_since=None)
    assert (moved.institution, moved.left_on, moved.checked_at) == (other, None, None)
    (post,) = moved.posts.all()
    assert (post.institution, post.valid_from, post.valid_until, post.checked_at) == (
        hospital, None, Day(2021, 6, 10), MAY)  # fmt: skip
    assert moved.titles.count() == 1
    event = Event.objects.filter(action="physician.register").latest("at")
    assert event.institution_code == other.code
    assert hospital.code not in bytes(event.body).decode()


def test_a_code_in_use_elsewhere_says_nothing_of_where(hospital, other):
    register(hospital)
    with refused("CODE_KNOWN") as info:
        register(other, name="李四", licence_no="9")
    assert info.value.detail[0] == "该编码已在其他机构登记"
    with refused("CODE_KNOWN") as info:
        register(hospital)
    assert info.value.detail[0] == f"国家编码{CODE}已经登记"


# --- Sheets ---


@pytest.fixture
def no_broker(monkeypatch):
    monkeypatch.setattr(intake, "ring", lambda task, ids: None)


def row(place: Institution, **more: str) -> dict[str, str]:
    return {"机构编码": place.code, "国家编码": CODE, "姓名": "赵医师", "执业证书编号": "110320600000001",
            "独立临床工作起始日": "2015-07-01", "职称": "主治医师", "职称起算日": "2018-01-01"} | more  # fmt: skip


def test_an_import_of_a_hospital_waits_one_of_the_agency_counts(hospital, other, no_broker):
    filer = factories.user("hospital", hospital)
    write(filer, check(filer, "practitioners", sheet(row(hospital))))
    assert not PhysicianTitle.objects.counted().exists()
    assert Physician.objects.get().checked_at is None
    clerk = factories.user("reviewer", hospital.region)
    write(clerk, check(clerk, "practitioners", sheet(row(other, 国家编码="D320600000002"))))
    assert PhysicianTitle.objects.counted().get().physician_id == "D320600000002"


def test_an_import_tells_nothing_of_another_hospitals_practitioner(hospital, other, no_broker):
    register(hospital)
    filer = factories.user("hospital", other)
    found = check(filer, "practitioners", sheet(row(other, 姓名="李四", 执业证书编号="9",
                                                   职称="主任医师", 离职日="2021-01-01")))  # fmt: skip
    (error,) = found.errors
    assert (error["column"], error["reason"]) == ("国家编码", "该编码已在其他机构登记")


def test_an_import_moves_who_left(hospital, other, no_broker):
    left(hospital)
    filer = factories.user("hospital", other)
    without = check(filer, "practitioners", sheet(row(other)))
    assert errors(without) == [(2, "到岗日", "")]
    strange = check(filer, "practitioners", sheet(row(other, 到岗日="2021-07-01", 姓名="李四")))
    assert [error["column"] for error in strange.errors] == ["姓名"]
    assert "赵" not in str(strange.errors)
    rows = [row(other, 到岗日="2021-07-01"),
            row(other, 到岗日="2021-07-01", 职称="主任医师", 职称起算日="2021-08-01")]  # fmt: skip
    found = check(filer, "practitioners", sheet(*rows))
    assert counts(found) == (1, 1, 0, 0), found.errors
    assert write(filer, found).state == "done"
    doctor = Physician.objects.get()
    assert (doctor.institution, doctor.posts.get().institution) == (other, hospital)
    assert [title.title for title in doctor.titles.proposed()] == ["chief"]


def test_an_import_tells_nothing_of_an_institution_out_of_scope(hospital, no_broker):
    away = factories.institution("wenzhou", agreements=False, hospital_grade="三级甲等")
    Institution.objects.filter(pk=away.pk).update(credit_code="91440300708461136T")
    clerk = factories.user("reviewer", hospital.region)
    given = {"机构编码": away.code, "机构名称": "某院", "行政区划代码": "320600",
             "生效日期": "2021-01-01", "价格类别": "三类", "所有制": "公立", "互联网医院非营利": "是"}  # fmt: skip
    (error,) = check(clerk, "institutions", sheet(given)).errors
    assert (error["column"], error["reason"]) == ("机构编码", "该编码已在其他机构登记")
    taken = given | {"机构编码": "H32060099991", "统一社会信用代码": "91440300708461136T"}
    (error,) = check(clerk, "institutions", sheet(taken)).errors
    assert error["reason"] == "该信用代码已由其他机构登记"
    assert away.name not in str(error)


# --- Pages ---


def act(doctor: Physician, key: str) -> str:
    return reverse("registry-row-act", args=[doctor.institution_id, key, doctor.pk])


def log_in(role: str, place) -> Client:
    return factories.log_in(Client(), factories.user(role, place))


@pytest.fixture
def fixed_day(settings):
    settings.DEMO_TODAY = Day(2021, 6, 15)


def test_registered_by_the_hospital_checked_on_the_page(hospital, fixed_day):
    filer, reviewer = log_in("hospital", hospital), log_in("reviewer", hospital.region)
    given = {"kind": "physician", "code": CODE, "name": "赵医师", "licence_no": "1",
             "independent_since": "2015-07-01", "title": "chief"}  # fmt: skip
    url = reverse("registry-act", args=[hospital.code, "practitioner"])
    assert filer.post(url, given).status_code == 302
    doctor = Physician.objects.get()
    assert doctor.checked_at is None
    panel = {"tab": "practitioners", "on": "2021-06-15"}
    page = filer.get(reverse("institution", args=[hospital.code]), panel)
    (shown,) = page.context["physicians"].rows
    assert "登记待核验" in shown.cells[0].sub
    assert "待核验：主任医师" in shown.cells[2].sub
    assert filer.get(act(doctor, "practitioner-check")).status_code == 403
    form = reviewer.get(act(doctor, "practitioner-check"))
    assert "主任医师" in form.content.decode()
    proposals = form.context["form"].initial["proposals"]
    wrong = reviewer.post(act(doctor, "practitioner-check"),
                          {"agreed": "no", "proposals": proposals})  # fmt: skip
    assert (wrong.status_code, list(wrong.context["form"].errors)) == (422, ["reason"])
    answer = reviewer.post(
        act(doctor, "practitioner-check"), {"agreed": "yes", "proposals": proposals}
    )
    assert answer.status_code == 302
    assert doctor.titles.counted().get().title == "chief"


def test_the_agency_registers_and_corrects_on_the_page(hospital, fixed_day):
    reviewer = log_in("reviewer", hospital.region)
    given = {"kind": "physician", "code": CODE, "name": "赵医师", "licence_no": "1",
             "independent_since": "2015-07-01"}  # fmt: skip
    reviewer.post(reverse("registry-act", args=[hospital.code, "practitioner"]), given)
    doctor = Physician.objects.get()
    assert doctor.checked_at is not None
    reviewer.post(act(doctor, "title"), {"title": "chief", "valid_from": "2021-01-01"})
    assert doctor.titles.counted().get().title == "chief"
    page = reviewer.get(act(doctor, "practitioner-correct"))
    seen = {key: value or "" for key, value in page.context["form"].initial.items()}
    change = seen | {"name": "赵一", "reason": "核对"}
    assert reviewer.post(act(doctor, "practitioner-correct"), change).status_code == 302
    assert told("physician.correct")["after"] == {"name": "赵一"}
    filer = log_in("hospital", hospital)
    assert filer.get(act(doctor, "practitioner-correct")).status_code == 403


def test_the_earlier_hospital_sees_the_post_that_ended(hospital, other, fixed_day):
    left(hospital)
    register(other, at=JULY, joined_on=Day(2021, 7, 1))
    page = log_in("hospital", hospital).get(
        reverse("institution", args=[hospital.code]), {"tab": "practitioners"}
    )
    former = page.context["tables"][1]
    assert [cell.text for cell in former.rows[0].cells] == [CODE, "医师", "至 2021-06-10"]
    assert other.name not in page.content.decode()
