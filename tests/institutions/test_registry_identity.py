"""Identity and internet hospital's name, regions and offices, protection levels, frozen payments."""

import datetime as dt
import json
from io import StringIO

import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from audit.models import Event, Task
from institutions import commands, expiries
from institutions.expiries import ending, watch
from institutions.models import Institution, Office, Region
from institutions.refusals import Refusal
from institutions.regions import load_regions, shipped
from settlement.models import Batch
from tests import factories

Day = dt.date
REAL = ("91440300708461136T", "91330100799655058B")
TODAY = Day(2021, 6, 15)
WHEN = {"by": "reviewer", "at": dt.datetime(2021, 6, 1, 9, tzinfo=factories.ZONE)}
WHY = {"source": "执业许可证", "reason": "录入有误"}


@pytest.fixture(autouse=True)
def fixed_day(settings, tmp_path):
    settings.DEMO_TODAY = TODAY
    settings.MEDIA_ROOT = tmp_path


@pytest.fixture
def hospital(db) -> Institution:
    return factories.institution("nantong", agreements=False)


def client(role: str, place) -> Client:
    return factories.log_in(Client(), factories.user(role, place))


def refused_as(code: str, act, **given) -> Refusal:
    with pytest.raises(Refusal) as info:
        act(**given)
    assert info.value.code == code
    return info.value


def detail(event: Event) -> dict:
    return json.loads(bytes(event.body))["detail"]


# --- Identity ---


def test_a_corrected_identity_keeps_what_stood_before_in_its_event(hospital):
    above = factories.institution("nantong", agreements=False)
    commands.correct_identity(
        institution=hospital, **WHY, **WHEN,
        changes={"credit_code": REAL[0].lower(), "tier": "county", "parent": above,
                 "aliases": ["老名", " 老名 ", "", hospital.name]},
    )  # fmt: skip
    hospital.refresh_from_db()
    assert (hospital.credit_code, hospital.tier, hospital.aliases, hospital.parent) == (
        REAL[0], "county", ["老名"], above)  # fmt: skip
    event = Event.objects.get(action="institution.correct")
    assert event.institution_code == hospital.pk
    assert detail(event) == WHY | {
        "before": {"credit_code": "", "tier": "", "parent": None, "aliases": []},
        "after": {
            "credit_code": REAL[0],
            "tier": "county",
            "parent": above.pk,
            "aliases": ["老名"],
        },
    }


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"credit_code": REAL[0][:-1] + "U"}, "CREDIT_CODE_INVALID", "credit_code"),
        ({"credit_code": REAL[1]}, "CREDIT_CODE_KNOWN", "credit_code"),
        ({"tier": "galactic"}, "TIER_UNKNOWN", "tier"),
        ({"aliases": ["长" * 121]}, "TOO_LONG", "aliases"),
        ({"name": "新名"}, "FIELD_UNKNOWN", "name"),
        ({"tier": ""}, "NOTHING_CHANGED", ""),
        ({}, "NOTHING_CHANGED", ""),
    ],
)
def test_corrections_of_an_identity_that_are_refused(hospital, changes, code, field):
    other = factories.institution("nantong", agreements=False)
    Institution.objects.filter(pk=other.pk).update(credit_code=REAL[1])
    found = refused_as(code, commands.correct_identity, institution=hospital, changes=changes,
                       **WHY, **WHEN)  # fmt: skip
    assert found.faults[0].pointer == f"/{field}"
    assert not Event.objects.filter(action="institution.correct").exists()


def test_nobody_belongs_to_itself_or_to_another_kind(hospital):
    child = factories.institution("nantong", agreements=False)
    pharmacy = factories.institution("nantong", agreements=False)
    Institution.objects.filter(pk=pharmacy.pk).update(kind="retail_pharmacy")
    pharmacy.refresh_from_db()
    Institution.objects.filter(pk=child.pk).update(parent=hospital)
    child.refresh_from_db()
    for parent, code in (
        (hospital, "PARENT_CIRCLE"), (child, "PARENT_CIRCLE"), (pharmacy, "PARENT_KIND"),
    ):  # fmt: skip
        refused_as(code, commands.correct_identity, institution=hospital,
                   changes={"parent": parent}, **WHY, **WHEN)  # fmt: skip
    for missing in ("source", "reason"):
        refused_as(f"{missing.upper()}_MISSING", commands.correct_identity, institution=hospital,
                   changes={"tier": "county"}, **(WHY | {missing: " "}), **WHEN)  # fmt: skip


def test_the_form_of_the_identity_records_what_was_changed(hospital):
    visitor = client("reviewer", hospital.region)
    url = reverse("registry-act", args=[hospital.code, "identity"])
    seen = visitor.get(url).context["form"]["seen"].value()
    sent = {
        "credit_code": "",
        "tier": "county",
        "aliases": "甲院、乙院",
        "parent": "",
        "seen": seen,
    }
    foreign = factories.institution("wenzhou", agreements=False)
    wrong = visitor.post(url, sent | WHY | {"parent": foreign.code})
    assert wrong.status_code == 422
    assert "没有这一机构编码" in wrong.content.decode()
    assert visitor.post(url, sent | WHY).status_code == 302
    hospital.refresh_from_db()
    assert (hospital.tier, hospital.aliases) == ("county", ["甲院", "乙院"])
    assert detail(Event.objects.get(action="institution.correct"))["after"] == {
        "tier": "county", "aliases": ["甲院", "乙院"]}  # fmt: skip
    late = visitor.post(url, sent | WHY | {"tier": "municipal"})
    assert late.status_code == 409
    assert "已被他人更正" in late.content.decode()


# --- The internet hospital's name ---


def test_the_internet_hospitals_name_is_dated(hospital):
    given = {"institution": hospital, "source": "执业登记", **WHEN}
    commands.record_facts(valid_from=Day(2021, 3, 1), changes={"internet_hospital_name": "云上一院"},
                          **given)  # fmt: skip
    hospital.refresh_from_db()
    assert hospital.internet_hospital_name == "云上一院"
    commands.record_facts(valid_from=Day(2021, 7, 1), changes={"internet_hospital_name": "云上二院"},
                          **given)  # fmt: skip
    hospital.refresh_from_db()
    assert hospital.internet_hospital_name == "云上一院"
    names = [hospital.facts.facts_on(day).internet_hospital_name
             for day in (Day(2021, 2, 28), Day(2021, 3, 1), Day(2021, 7, 1))]  # fmt: skip
    assert names == ["", "云上一院", "云上二院"]
    page = client("reviewer", hospital.region).get(
        reverse("institution", args=[hospital.code]), {"on": "2021-02-28"}
    )
    assert "互联网医院名称" not in [row["label"] for row in page.context["identity"]]
    assert commands.adopt_names(on=Day(2021, 7, 1), **WHEN) == 1
    hospital.refresh_from_db()
    assert hospital.internet_hospital_name == "云上二院"
    assert commands.adopt_names(on=Day(2021, 7, 1), **WHEN) == 0


def test_a_corrected_internet_hospitals_name_of_today_is_found(hospital):
    commands.correct_facts(
        institution=hospital, valid_from=Day(2021, 1, 1), source="核对",
        changes={"internet_hospital_name": "云上医院"}, **WHEN,
    )  # fmt: skip
    assert Institution.objects.search("云上").get() == hospital


def test_a_new_party_has_its_second_name_from_its_first_day(db):
    made = commands.register_institution(
        code="H32060099999", name="新院", region=factories.region("nantong"), credit=REAL[0],
        valid_from=Day(2021, 1, 1), internet_hospital_name=" 新院互联网医院 ",
        facts={"price_class": "3", "ownership": "public", "nonprofit": True}, **WHEN,
    )  # fmt: skip
    assert (
        made.facts.get().internet_hospital_name == made.internet_hospital_name == "新院互联网医院"
    )


# --- Regions and offices ---


def test_the_shipped_regions_are_loaded_once_and_corrected(db):
    count = len(shipped())
    assert load_regions(**WHEN) == count
    assert load_regions(**WHEN) == 0
    assert Region.objects.filter(pk="320681").values_list(
        "name", "level", "parent", "policy_region"
    ).get() == ("启东市", "county", "320600", "nantong")
    assert set(Region.objects.filter(parent=None).values_list("policy_region", flat=True)) == {
        "", "jilin", "ningxia"}  # fmt: skip
    Region.objects.filter(pk="320681").update(name="启东县")
    Region.objects.create(code="990100", name="虚构市", level="prefecture", policy_region="x")
    assert load_regions(by="loader", at=WHEN["at"] + dt.timedelta(days=1)) == 1
    assert detail(Event.objects.filter(action="regions.load").latest("at"))["changed"] == {
        "320681": ["启东县", "county", "320600", "nantong"]}  # fmt: skip
    assert Region.objects.count() == count + 1


def test_a_new_installation_starts_with_regions(db):
    for _ in range(2):
        call_command("prepare", stdout=StringIO(), stderr=StringIO())
    assert Region.objects.count() == len(shipped())
    assert Event.objects.filter(action="regions.load").count() == 1


def test_every_shipped_region_has_its_parent_and_a_published_policy(db):
    factories.policies()
    rows = {row.code: row for row in shipped()}
    assert all(row.parent_id is None or row.parent_id in rows for row in rows.values())
    assert {row.policy_region for row in rows.values()} == {
        "", "nantong", "wenzhou", "jilin", "ningxia"}  # fmt: skip


def test_an_overseer_keeps_the_offices_of_the_own_area(hospital):
    keeper = client("policy_staff", hospital.region)
    (row,) = keeper.get(reverse("registry-regions")).context["table"].rows
    (action,) = row.actions
    page = keeper.get(action.url)
    assert [row.cells[1].text for row in page.context["table"].rows] == ["未登记"] * 4
    url = reverse("registry-office", args=["320600", "agency"])
    assert keeper.post(url, {"name": " "}).status_code == 422
    sent = {
        "name": "南通市医疗保险基金管理中心",
        "address": "世纪大道1号",
        "phone": "0513-12345678",
    }
    assert keeper.post(url, sent).status_code == 302
    assert keeper.post(url, sent | {"phone": "0513-12345679"}).status_code == 302
    assert keeper.post(url, sent | {"phone": "0513-12345679"}).status_code == 422
    office = Office.objects.get()
    assert (office.name, office.address, office.phone) == (*[*sent.values()][:2], "0513-12345679")
    first, second = Event.objects.filter(action="office.set").order_by("at")
    assert (detail(first)["before"], detail(second)["before"]) == ({}, sent)
    assert second.region_code == "320600"


@pytest.mark.parametrize(
    ("role", "code", "kind", "status"),
    [
        ("policy_staff", "330300", "agency", 403),
        ("policy_staff", "999999", "agency", 404),
        ("policy_staff", "320600", "palace", 404),
        ("signing_officer", "320600", "agency", 200),
        ("reviewer", "320600", "agency", 403),
        ("hospital", "320600", "agency", 403),
    ],
)
def test_who_keeps_which_office(hospital, role, code, kind, status):
    factories.region("wenzhou")
    visitor = client(role, hospital if role == "hospital" else hospital.region)
    assert visitor.get(reverse("registry-office", args=[code, kind])).status_code == status
    if kind == "agency":
        assert visitor.get(reverse("registry-offices", args=[code])).status_code == status
    if role in ("reviewer", "hospital"):
        rows = visitor.get(reverse("registry-regions")).context["table"].rows
        assert not any(row.actions for row in rows)


# --- Protection levels ---


def evidence(hospital: Institution, level: str, kind: str = "mlps_report", number: str = "M"):
    return commands.add_qualification(
        institution=hospital, kind=kind, number=number, level=level, valid_from=Day(2021, 1, 1),
        valid_until=Day(2022, 12, 31), **WHEN,
    )  # fmt: skip


def test_a_level_below_the_laws_does_not_count(hospital):
    factories.policies("nantong")
    row = evidence(hospital, "第二级")
    page = client("reviewer", hospital.region).get(
        reverse("institution", args=[hospital.code]), {"tab": "qualifications"}
    )
    assert "网络安全等级测评报告" in page.context["warning"]
    (cells,) = [entry.cells for entry in page.context["tables"][0].rows]
    assert (cells[2].text, cells[2].sub, cells[2].tone) == ("级别不足", "第二级，须为第三级", "bad")
    (found,) = ending(on=TODAY, days=30)
    assert (found.subject, found.fault, found.until, found.clause, found.days_left(TODAY)) == (
        f"protection:{row.pk}", "级别不足", None, "通医保发〔2020〕25号 三（四）", None)  # fmt: skip
    day = {"on": TODAY, "days": 30, "by": "系统", "at": WHEN["at"]}
    assert watch(**day)["opened"] == 2
    assert watch(**day) == {"found": 1, "opened": 0, "closed": 0, "expired": 0}
    task = Task.objects.filter(subject=found.subject, permission="registry.file").get()
    assert (task.status, task.due) == ("级别不足", None)
    assert "级别不足：网络安全等级测评报告（M）为第二级，须为第三级" in task.title
    listed = client("reviewer", hospital.region).get(reverse("registry-expiries"))
    assert "级别不足" in listed.content.decode()
    evidence(hospital, "第三级", number="M2")
    assert watch(**day)["closed"] == 2


def test_where_the_law_asks_no_level_every_level_counts(db):
    hospital = factories.institution("wenzhou", agreements=False)
    factories.policies("wenzhou")
    evidence(hospital, "第一级")
    assert ending(on=TODAY, days=30) == []


def test_a_level_is_one_of_five(hospital):
    refused_as("LEVEL_UNKNOWN", evidence, hospital=hospital, level="三级")
    assert hospital.qualifications.count() == 0


# --- Frozen payments ---


def freeze(hospital: Institution, on: Day = TODAY, **more):
    given = {"by": "signer", "at": dt.datetime.combine(TODAY, dt.time(9), factories.ZONE)}
    return commands.freeze(institution=hospital, on=on, **({"reason": "核查"} | given | more))


def test_payments_are_frozen_and_go_on_by_decision(hospital):
    visitor = client("signing_officer", hospital.region)
    filer = client("hospital", hospital)
    url = reverse("registry-act", args=[hospital.code, "freeze"])
    assert visitor.post(url, {"on": "2021-06-14", "reason": "核查"}).status_code == 422
    assert visitor.post(url, {"on": "2021-06-15", "reason": "核查疑点"}).status_code == 302
    assert visitor.post(url, {"on": "2021-06-20", "reason": "再次"}).status_code == 409
    file = reverse("institution", args=[hospital.code])
    for tab in ("", "qualifications"):
        assert filer.get(file, {"tab": tab}).context["frozen"] == "2021-06-15 起：核查疑点"
    assert filer.get(file, {"on": "2021-06-14"}).context["frozen"] == ""
    (row,) = visitor.get(file, {"tab": "account"}).context["tables"][1].rows
    (resume,) = row.actions
    assert filer.post(resume.url, {"on": "2021-06-16", "reason": "x"}).status_code == 403
    assert visitor.post(resume.url, {"on": "2021-06-15", "reason": "x"}).status_code == 422
    assert visitor.post(resume.url, {"on": "2021-06-16", "reason": "已查清"}).status_code == 302
    days = [hospital.freezes.in_force(on=day).exists() for day in (TODAY, Day(2021, 6, 16))]
    assert days == [True, False]
    assert visitor.post(resume.url, {"on": "2021-06-18", "reason": "又"}).status_code == 409
    event = Event.objects.get(action="paymentfreeze.end")
    assert (detail(event)["reason"], detail(event)["until"]) == ("已查清", "2021-06-15")


def test_a_freeze_of_a_change_ends_with_the_change_only(hospital):
    made = freeze(hospital, subject="change:1", on=Day(2021, 6, 1))
    with pytest.raises(Refusal, match="FREEZE_OF_CHANGE"):
        commands.unfreeze(freeze=made, on=TODAY, reason="急", **WHEN)
    page = client("reviewer", hospital.region).get(
        reverse("institution", args=[hospital.code]), {"tab": "account"}
    )
    assert page.context["tables"][1].rows[0].actions == []
    freeze(hospital)  # beside it


@pytest.mark.parametrize("reason", ["", " "])
def test_a_freeze_by_decision_has_a_reason(hospital, reason):
    refused_as("REASON_MISSING", freeze, hospital=hospital, reason=reason)
    made = freeze(hospital)
    refused_as("REASON_MISSING", commands.unfreeze, freeze=made, on=Day(2021, 6, 20),
               reason=reason, **WHEN)  # fmt: skip


def test_the_pages_of_batches_say_that_payments_are_frozen(hospital):
    visitor = client("hospital", hospital)
    assert visitor.get(reverse("batches")).context["frozen"] == ""
    freeze(hospital)
    words = "2021-06-15 起：核查。费用照常申报和结算，暂停期间不拨付。"
    made = Batch.objects.create(
        institution_code=hospital.code, region_code=hospital.region_id, file_name="x.csv", state="failed",
        file_sm3="0" * 64, created_by="x", created_at=WHEN["at"],
    )  # fmt: skip
    for url in (reverse("batches"), reverse("batch", args=[made.pk])):
        assert words in visitor.get(url).content.decode()


# --- The daily watch ---


def test_one_broken_mapping_stops_no_other(hospital, monkeypatch, caplog):
    for number in (1, 2):
        mapping = commands.submit_mapping(
            institution=hospital, kind="drug", local_code=f"YP{number}", local_name="药",
            national_code="X1", valid_from=Day(2021, 1, 1), valid_until=Day(2021, 6, 10), **WHEN,
        )  # fmt: skip
        type(mapping).objects.filter(pk=mapping.pk).update(state="approved")
    take_step = expiries.take_step

    def broken(*, case, **given):
        if case.local_code == "YP1":
            case.institution.mappings.filter(pk=case.pk).update(local_name="half done")
            raise ValueError("broken row")
        return take_step(case=case, **given)

    monkeypatch.setattr(expiries, "take_step", broken)
    moment = dt.datetime(2021, 6, 15, 7, tzinfo=factories.ZONE)
    assert watch(on=TODAY, days=0, by="系统", at=moment)["expired"] == 1
    assert sorted(hospital.mappings.values_list("local_code", "state", "local_name")) == [
        ("YP1", "approved", "药"), ("YP2", "expired", "药")]  # fmt: skip
    assert "cannot be ended" in caplog.text
