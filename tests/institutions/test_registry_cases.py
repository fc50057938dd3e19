"""变更备案, 对码 and expiries: who may take which step, what it does, what waits for whom."""

import datetime as dt

import pytest
from django.conf import settings as portal
from django.db import transaction

from audit.models import Event, Move, Task
from audit.procedure import PROCEDURES, Refused, checked
from config.roles import ROLES
from institutions import commands
from institutions.expiries import ending, watch
from institutions.handbook import HANDBOOK
from institutions.models import Change, CodeMapping, Institution, Notification, User
from institutions.refusals import Refusal
from institutions.tasks import watch_registry
from tests import factories

Day = dt.date
PAPER = [("任命文件.pdf", b"%PDF-1.4 paper")]
SOON = Day(2021, 12, 31)


def at(day: int, month: int = 6) -> dt.datetime:
    return dt.datetime(2021, month, day, 10, tzinfo=factories.ZONE)


@pytest.fixture(autouse=True)
def private_storage(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path


@pytest.fixture
def hospital(db) -> Institution:
    return factories.institution("nantong", agreements=False)


@pytest.fixture
def reviewer(hospital: Institution) -> User:
    return factories.user("reviewer", hospital.region)


@pytest.fixture
def filer(hospital: Institution) -> User:
    return factories.user("hospital", hospital)


@pytest.fixture
def checker(hospital: Institution) -> User:
    return factories.user("information", hospital.region)


def file(hospital: Institution, who: User, kind: str = "representative", **more) -> Change:
    content = {"representative": "新院长"} if kind == "representative" else {}
    given = {"institution": hospital, "kind": kind, "effective_from": Day(2021, 6, 17),
             "content": content, "files": PAPER, "by": who.username, "at": at(10)}  # fmt: skip
    return commands.file_change(**(given | more))


def step(case, key: str, who: User | None, day: int = 15, **more):
    name = who.username if who else "系统"
    return commands.take_step(case=case, step=key, who=who, by=name, at=at(day), **more)


def waiting(case) -> list[tuple[str, str]]:
    rows = Task.objects.filter(subject=case.subject, state="open")
    return list(rows.values_list("permission", "status"))


def refused(code: str, status: int):
    class Expected:
        def __enter__(self):
            self.raises = pytest.raises(Refused)
            self.info = self.raises.__enter__()
            return self.info

        def __exit__(self, *error):
            done = self.raises.__exit__(*error)
            assert (self.info.value.code, self.info.value.status) == (code, status)
            return done

    return Expected()


def test_every_name_in_the_tables_is_in_the_handbook():
    checked(HANDBOOK, [PROCEDURES["change"], PROCEDURES["mapping"]])


# --- Changes ---


def test_a_change_is_filed_checked_and_dated(hospital, filer, reviewer):
    change = file(hospital, filer)
    assert change.number == "BG3206-2021-00001"
    assert waiting(change) == [("registry.check", "待核对")]
    step(change, "accept", reviewer)
    days = (Day(2021, 6, 16), Day(2021, 6, 17))
    found = [hospital.facts.facts_on(day) for day in days]
    assert [(row.representative, row.source) for row in found] == [
        ("", ""), ("新院长", f"变更备案{change.number}")]  # fmt: skip
    assert (change.state, waiting(change)) == ("effective", [])
    assert [(row.step, row.by) for row in Move.objects.filter(subject=change.subject)] == [
        ("open", filer.username), ("accept", reviewer.username)]  # fmt: skip
    assert Notification.objects.filter(user=filer, subject=change.subject).count() == 1


def test_a_change_goes_back_until_it_has_evidence(hospital, filer, reviewer):
    change = file(hospital, filer, files=())
    with refused("EVIDENCE_MISSING", 422):
        step(change, "accept", reviewer)
    with refused("INPUT_MISSING", 422):
        step(change, "return", reviewer)
    step(change, "return", reviewer, note="请上传任命文件")
    assert waiting(change) == [("registry.file", "退回补正")]
    commands.attach(case=change, files=PAPER, by=filer.username, at=at(15))
    step(change, "resubmit", filer, note="已补")
    step(change, "accept", reviewer)
    assert hospital.facts.facts_on(Day(2021, 6, 17)).representative == "新院长"
    with pytest.raises(Refusal, match="CHANGE_CLOSED"):
        commands.attach(case=change, files=PAPER, by=filer.username, at=at(16))


#: (state, role) → the steps of a change; typed apart from the table, everything else is refused
PERMITTED = {
    ("submitted", "reviewer"): {"return", "accept", "refuse"},
    ("submitted", "hospital"): {"withdraw"},
    ("returned", "hospital"): {"resubmit", "withdraw"},
}


@pytest.mark.parametrize("state", ["submitted", "returned"])
def test_who_may_take_which_step_of_a_change(hospital, filer, reviewer, state: str):
    change = file(hospital, filer)
    if state == "returned":
        step(change, "return", reviewer, note="补正")
    for role in ROLES:
        who = with_role(role, hospital, filer)
        done = {key for key in ("return", "resubmit", "accept", "refuse", "withdraw")
                if possible(change, key, who)}  # fmt: skip
        assert (role, done) == (role, PERMITTED.get((state, role), set()))


def with_role(role: str, hospital: Institution, filer: User) -> User:
    if role == "hospital":
        return filer
    place = hospital.region if ROLES[role].scope != "none" else None
    return User.objects.create(username=f"only-{role}", role=role, region=place)


class Undo(Exception):
    """Takes a step back that was only tried."""


def possible(case, key: str, who: User) -> bool:
    try:
        with transaction.atomic():
            step(type(case).objects.get(pk=case.pk), key, who, note="理由")
            raise Undo
    except Undo:
        return True
    except Refused as error:
        return error.status not in (403, 409)


def test_who_filed_cannot_accept(hospital, reviewer):
    change = file(hospital, reviewer)
    with refused("SAME_PERSON", 403):
        step(change, "accept", reviewer)


def test_two_officers_at_once_one_hears_who_was_first(hospital, filer, reviewer):
    change = file(hospital, filer)
    seen = change.version
    step(change, "return", reviewer, note="补正")
    with refused("CASE_MOVED", 409) as info:
        step(change, "accept", factories.user("reviewer", hospital.region), version=seen)
    assert reviewer.username in info.value.detail


def test_one_change_of_a_kind_at_a_time(hospital, filer):
    file(hospital, filer)
    with pytest.raises(Refusal, match="CHANGE_WAITING"):
        file(hospital, filer)


@pytest.mark.parametrize(
    ("kind", "content", "code"),
    [
        ("representative", {}, "NOTHING_CHANGED"),
        ("representative", {"representative": " "}, "CONTENT_MISSING"),
        ("representative", {"address": "路"}, "FIELD_UNKNOWN"),
        ("boss", {}, "KIND_UNKNOWN"),
        ("price_class", {"price_class": ""}, "PRICE_CLASS_MISSING"),
        ("account", {"number": "12"}, "ACCOUNT_INVALID"),
    ],
)
def test_changes_that_cannot_be_filed(hospital, filer, kind: str, content: dict, code: str):
    with pytest.raises(Refusal, match=code):
        file(hospital, filer, kind, content=content)
    assert not Change.objects.exists()


ACCOUNT = {"holder": "测试医院", "bank": "新银行", "number": "622299990000"}


def frozen(hospital: Institution, *days: Day) -> list[bool]:
    return [hospital.freezes.in_force(on=day).exists() for day in days]


@pytest.mark.parametrize(
    ("effective", "thawed"),
    [(Day(2021, 6, 12), Day(2021, 6, 15)), (Day(2021, 7, 1), Day(2021, 7, 1))],
)
def test_nothing_is_paid_while_the_account_changes(hospital, filer, reviewer, effective, thawed):
    commands.set_account(
        institution=hospital, holder="测试医院", bank="旧银行", number="11111111",
        valid_from=Day(2021, 1, 1), by="x", at=at(1),
    )  # fmt: skip
    change = file(hospital, filer, "account", content=ACCOUNT, effective_from=effective)
    assert "622299990000" not in str(change.content)
    assert frozen(hospital, Day(2021, 6, 9), Day(2021, 6, 10), Day(2021, 9, 9)) == [
        False,
        True,
        True,
    ]
    step(change, "accept", reviewer)
    eve = thawed - dt.timedelta(days=1)
    assert frozen(hospital, Day(2021, 6, 10), eve, thawed) == [True, True, False]
    known = hospital.accounts.known()
    days = (effective - dt.timedelta(days=1), effective)
    assert [known.in_force(on=day).get().bank for day in days] == ["旧银行", "新银行"]
    actions = set(Event.objects.values_list("action", flat=True))
    assert {"paymentfreeze.start", "paymentfreeze.end", "bankaccount.set"} <= actions


@pytest.mark.parametrize(("key", "role"), [("refuse", "reviewer"), ("withdraw", "hospital")])
def test_the_freeze_ends_when_the_account_stays(hospital, filer, reviewer, key: str, role: str):
    change = file(hospital, filer, "account", content=ACCOUNT)
    step(change, key, reviewer if role == "reviewer" else filer, note="不变更")
    assert frozen(hospital, Day(2021, 6, 14), Day(2021, 6, 15)) == [True, False]
    assert not hospital.accounts.exists()


# --- Mappings ---


def mapped(hospital: Institution, who: User, **more) -> CodeMapping:
    given = {"institution": hospital, "kind": "item", "local_code": "ZC1", "local_name": "门诊",
             "national_code": "111102001", "valid_from": Day(2021, 6, 1), "by": who.username,
             "at": at(10)}  # fmt: skip
    return commands.submit_mapping(**(given | more))


@pytest.mark.parametrize(
    ("kind", "code", "known"),
    [
        ("item", "111102001", True),
        ("item", "111020004", True),  # as the annex prints it (I-NT-4)
        ("item", "999", False),
        ("drug", "anything", True),  # no list of drugs is published here
        ("physician", "D0000000", False),
        ("department", "A03", True),
        ("department", "A99", False),
    ],
)
def test_the_national_code_must_be_known(hospital, filer, checker, kind, code, known):
    if kind == "item":
        factories.policies("nantong")
    row = mapped(hospital, filer, kind=kind, national_code=code)
    if known:
        step(row, "approve", checker)
        assert row.state == "approved"
    else:
        with refused("NATIONAL_CODE_UNKNOWN", 422):
            step(row, "approve", checker)


def test_a_physician_of_another_hospital_is_unknown_here(hospital, filer, checker):
    other = factories.physician(factories.institution("nantong", agreements=False))
    own = factories.physician(hospital)
    with refused("NATIONAL_CODE_UNKNOWN", 422):
        step(
            mapped(hospital, filer, kind="physician", national_code=other.code), "approve", checker
        )
    step(mapped(hospital, filer, kind="physician", local_code="Y2", national_code=own.code),
         "approve", checker)  # fmt: skip


def test_a_local_code_stands_for_one_national_code_at_a_time(hospital, filer, checker):
    factories.policies("nantong")
    first = mapped(hospital, filer)
    with pytest.raises(Refusal, match="MAPPING_WAITING"):
        mapped(hospital, filer)
    step(first, "approve", checker)
    second = mapped(hospital, filer, national_code="111102002", valid_from=Day(2021, 7, 1))
    with refused("MAPPING_TAKEN", 409):
        step(second, "approve", checker)
    with refused("STEP_NOT_PERMITTED", 403):
        step(first, "end", checker, day=30, note="停用")
    step(first, "end", filer, day=30, note="停用")
    step(second, "approve", checker, day=30)
    days = (Day(2021, 6, 30), Day(2021, 7, 1))
    found = [hospital.mappings.valid(on=day).get().national_code for day in days]
    assert found == ["111102001", "111102002"]


def test_who_may_check_a_mapping(hospital, filer):
    row = mapped(hospital, filer, kind="department", national_code="A03")
    who = {role for role in ROLES if possible(row, "approve", with_role(role, hospital, filer))}
    assert who == {"information"}


def test_only_the_portal_lets_a_mapping_expire_and_only_when_it_is_over(hospital, filer, checker):
    row = mapped(hospital, filer, kind="drug", valid_until=Day(2021, 6, 20))
    step(row, "approve", checker)
    with refused("MAPPING_VALID", 409):
        step(row, "expire", None, day=20)
    with refused("STEP_NOT_PERMITTED", 403):
        step(row, "expire", checker, day=21)
    assert watch(on=Day(2021, 6, 21), days=0, by="系统", at=at(21))["expired"] == 1
    row.refresh_from_db()
    assert row.state == "expired"


# --- What ends soon ---


@pytest.fixture
def ending_things(hospital: Institution) -> Institution:
    factories.policies("nantong")
    given = {"institution": hospital, "by": "x", "at": at(1)}
    for number, until in (("A", Day(2021, 8, 1)), ("B", Day(2021, 8, 30)), ("C", SOON)):
        commands.add_qualification(
            kind="other" if number != "C" else "practice_licence", number=number,
            valid_from=Day(2021, 1, 1), valid_until=until, **given,
        )  # fmt: skip
    factories.physician(hospital, licence_until=Day(2021, 8, 10))
    factories.physician(hospital, licence_until=Day(2021, 8, 10), left_on=Day(2021, 7, 1))
    commands.add_qualification(
        kind="mlps_report", number="M", level="第三级", valid_from=Day(2021, 1, 1),
        valid_until=Day(2021, 6, 30), **given,
    )  # fmt: skip
    commands.freeze(on=Day(2021, 7, 1), until=Day(2021, 8, 5), reason="调查", **given)
    return hospital


def test_what_ends_within_the_days_or_has_ended(ending_things: Institution):
    found = ending(on=Day(2021, 7, 15), days=30)
    assert [(entry.kind, entry.until, entry.clause) for entry in found] == [
        ("资质", Day(2021, 6, 30), "通医保发〔2020〕25号 三（四）"),
        ("暂停拨付", Day(2021, 8, 5), ""),
        ("医师执业证书", Day(2021, 8, 10), ""),
    ]  # "A" of the same kind is followed by "B", which lasts longer
    assert found[0].days_left(Day(2021, 7, 15)) == -15


def test_both_sides_are_warned_once_and_no_more_when_it_is_renewed(ending_things: Institution):
    day = {"on": Day(2021, 7, 15), "days": 30, "by": "系统", "at": at(15, 7)}
    assert watch(**day) == {"found": 3, "opened": 6, "closed": 0, "expired": 0}
    assert watch(**day) == {"found": 3, "opened": 0, "closed": 0, "expired": 0}
    report = Task.objects.filter(subject__startswith="qualification:", state="open")
    assert sorted(report.values_list("permission", "due", "institution_code")) == [
        ("registry.file", Day(2021, 6, 30), ending_things.code),
        ("registry.maintain", Day(2021, 6, 30), ending_things.code),
    ]
    assert "tab=qualifications" in report.first().url
    commands.add_qualification(
        institution=ending_things, kind="mlps_report", number="M2", level="第三级",
        valid_from=Day(2021, 7, 1), valid_until=Day(2022, 6, 30), by="x", at=at(16, 7),
    )  # fmt: skip
    doctor = ending_things.physicians.get(left_on__isnull=True)
    commands.renew_licence(physician=doctor, licence_until=Day(2026, 8, 10), by="x", at=at(16, 7))
    assert watch(**day)["closed"] == 4
    assert not report.exists()


def test_the_daily_task_warns_as_early_as_the_setting_says(ending_things, settings):
    settings.DEMO_TODAY = Day(2021, 7, 15)
    settings.REGISTRY_WARN_DAYS = 0
    assert watch_registry()["found"] == 1
    settings.REGISTRY_WARN_DAYS = 60
    assert watch_registry() == {"found": 4, "opened": 6, "closed": 0, "expired": 0, "renamed": 0}
    assert portal.CELERY_BEAT_SCHEDULE["registry"]["task"] == watch_registry.name
