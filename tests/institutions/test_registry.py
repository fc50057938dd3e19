"""The registry's commands: dated facts in two times, records with validity, what is refused and why."""

import datetime as dt

import pytest
from django.db import IntegrityError, transaction

from audit.models import Event
from institutions import commands
from institutions.credit_code import (
    LETTERS,
    CreditCodeError,
    credit_check,
    credit_code,
    organisation_check,
)
from institutions.documents import store
from institutions.models import (
    BankAccount,
    Contact,
    Institution,
    InstitutionFacts,
    PhysicianAgreement,
    PlatformConnection,
    Qualification,
)
from tests import factories
from tests.institutions.registry import FIRST, LAST, LATER, MID_MAY, Day, refusal

#: codes of companies and institutions that everybody can look up
REAL = ("91440300708461136T", "91330100799655058B")


@pytest.fixture
def hospital(db) -> Institution:
    return factories.institution("nantong", agreements=False)


# --- Unified social credit codes ---


@pytest.mark.parametrize("code", REAL)
def test_a_real_credit_code_is_taken(code: str):
    assert credit_code(f" {code.lower()} ") == code


@pytest.mark.parametrize("code", REAL)
@pytest.mark.parametrize("place", range(18))
def test_a_wrong_character_at_any_place_is_found(code: str, place: int):
    for letter in LETTERS:
        if letter != code[place]:
            with pytest.raises(CreditCodeError):
                credit_code(code[:place] + letter + code[place + 1 :])


@pytest.mark.parametrize("code", REAL)
@pytest.mark.parametrize("place", range(17))
def test_two_characters_that_changed_places_are_found(code: str, place: int):
    swapped = code[:place] + code[place + 1] + code[place] + code[place + 2 :]
    if swapped != code:
        with pytest.raises(CreditCodeError):
            credit_code(swapped)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "应为18位，实为0位"),
        ("91440300708461136", "应为18位，实为17位"),
        ("9144030070846113II", "第17位“I”不是可用字符"),
        ("９1440300708461136T", "第1位"),
        ("91A40300708461136T", "第3至8位"),
        ("91440300708461137T", "第17位组织机构代码校验码不符"),
        ("91440300708461136U", "第18位校验码不符"),
    ],
)
def test_a_wrong_credit_code_says_which_rule_it_breaks(text: str, words: str):
    with pytest.raises(CreditCodeError, match=words):
        credit_code(text)


def test_check_characters():
    assert (organisation_check("70846113"), credit_check("91440300708461136")) == ("6", "T")


# --- Registration ---


def register(**more):
    given = {
        "code": "p32061300001", "name": "测试药房", "kind": "retail_pharmacy", "credit": REAL[0],
        "region": factories.region("nantong"), "valid_from": Day(2021, 1, 1),
        "facts": {"ownership": "private", "nonprofit": False}, **FIRST,
    }  # fmt: skip
    return commands.register_institution(**(given | more))


def test_a_pharmacy_is_a_registered_party(db):
    made = register()
    facts = made.facts.facts_on(Day(2021, 1, 1))
    assert (made.code, made.kind, made.credit_code) == (
        "P32061300001", "retail_pharmacy", REAL[0])  # fmt: skip
    assert (facts.price_class, facts.ownership, facts.recorded_by) == ("", "private", "reviewer")
    assert made.facts.facts_on(Day(2020, 12, 31)) is None
    actions = Event.objects.filter(institution_code=made.code).values_list("action", flat=True)
    assert sorted(actions) == ["facts.record", "institution.register"]


@pytest.mark.parametrize(
    ("more", "code", "field"),
    [
        ({"code": "P3206130001"}, "CODE_INVALID", "code"),
        ({"name": " "}, "NAME_MISSING", "name"),
        ({"kind": "bank"}, "KIND_UNKNOWN", "kind"),
        ({"credit": REAL[0][:-1] + "A"}, "CREDIT_CODE_INVALID", "credit_code"),
        ({"facts": {"ownership": "private"}}, "FACTS_INCOMPLETE", "nonprofit"),
        ({"facts": {"ownership": "owned", "nonprofit": True}}, "OWNERSHIP_UNKNOWN", "ownership"),
        ({"kind": "medical"}, "FACTS_INCOMPLETE", "price_class"),
        ({"facts": {"ownership": "private", "nonprofit": False, "price_class": "3"}},
         "PRICE_CLASS_INVALID", "price_class"),
        ({"facts": {"beds": 9}}, "FIELD_UNKNOWN", "beds"),
    ],
)  # fmt: skip
def test_what_cannot_be_registered(db, more: dict, code: str, field: str):
    with refusal(code, field), transaction.atomic():
        register(**more)
    assert not Institution.objects.filter(name="测试药房").exists()


def test_a_code_and_a_credit_code_belong_to_one_party(db):
    register()
    with refusal("CODE_KNOWN", "code", 409):
        register()
    with refusal("CREDIT_CODE_KNOWN", "credit_code", 409):
        register(code="P32061300002", name="另一家药房")
    assert register(code="P32061300003").credit_code == REAL[0]  # the same owner's second party


# --- Qualifications ---


def qualify(hospital: Institution, **more) -> Qualification:
    given = {"institution": hospital, "kind": "practice_licence", "number": "Z1",
             "valid_from": Day(2021, 1, 1), "valid_until": Day(2021, 12, 31), **FIRST}  # fmt: skip
    return commands.add_qualification(**(given | more))


def test_a_renewed_licence_follows_and_overlaps_never(hospital: Institution):
    qualify(hospital)
    with refusal("QUALIFICATION_OVERLAPS", "valid_from", 409):
        qualify(hospital, valid_from=Day(2021, 12, 31), valid_until=None)
    renewed = qualify(hospital, valid_from=Day(2022, 1, 1), valid_until=None)
    assert hospital.qualifications.known().in_force(on=Day(2022, 6, 1)).get() == renewed


@pytest.mark.parametrize(
    ("more", "code", "field", "clause"),
    [
        ({"kind": "mlps_record"}, "LEVEL_MISSING", "level", "通医保发〔2020〕25号 三（四）"),
        ({"kind": "mlps_report", "level": "第三级", "valid_until": None}, "END_MISSING",
         "valid_until", "通医保发〔2020〕25号 三（四）"),
        ({"number": ""}, "NUMBER_MISSING", "number", ""),
        ({"kind": "diploma"}, "KIND_UNKNOWN", "kind", ""),
        ({"valid_until": Day(2020, 1, 1)}, "DATES_REVERSED", "valid_until", ""),
    ],
)  # fmt: skip
def test_qualifications_that_are_refused(hospital, more: dict, code: str, field: str, clause: str):
    factories.policies("nantong")
    with refusal(code, field) as info:
        qualify(hospital, **more)
    assert info.value.faults[0].clause == clause


def test_a_corrected_qualification_stays_in_the_history(hospital: Institution):
    wrong = qualify(hospital)
    right = commands.correct_qualification(
        qualification=wrong, valid_from=Day(2021, 1, 1), valid_until=Day(2022, 12, 31), **LATER
    )
    assert list(hospital.qualifications.known()) == [right]
    assert list(
        hospital.qualifications.known_at(dt.datetime(2021, 6, 1, tzinfo=factories.ZONE))
    ) == [wrong]
    with refusal("REPLACED_BEFORE", status=409):
        commands.correct_qualification(qualification=wrong, valid_from=Day(2021, 1, 1), **LATER)


def test_a_scan_is_checked_by_a_second_person(hospital: Institution, settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path
    bare = qualify(hospital)
    with refusal("SCAN_MISSING", "document"):
        commands.check_record(record=bare, by="second", at=LATER["at"])
    scan = scan_of(hospital)
    row = qualify(hospital, number="Z2", document=scan)
    with refusal("SAME_PERSON", status=403):
        commands.check_record(record=row, **LATER)
    commands.check_record(record=row, by="second", at=LATER["at"])
    row.refresh_from_db()
    assert (row.checked_by, row.checked_at) == ("second", LATER["at"])
    with refusal("CHECKED_BEFORE", status=409):
        commands.check_record(record=row, by="third", at=LAST["at"])


def scan_of(hospital: Institution):
    return store(content=b"%PDF-1.4 x", name="扫描.pdf", kind="scan", institution=hospital, **FIRST)


# --- Platforms, account, contacts ---


def test_only_platforms_that_the_policy_names(db):
    factories.policies("wenzhou")
    hospital = factories.institution("wenzhou", agreements=False)
    with refusal("PLATFORM_UNKNOWN", "platform") as info:
        commands.connect_platform(
            institution=hospital, platform="cloud", valid_from=MID_MAY, **FIRST
        )
    assert "国家移动支付" in info.value.detail[0]
    row = commands.connect_platform(
        institution=hospital, platform="mobile_payment", valid_from=MID_MAY, **FIRST
    )
    with refusal("PLATFORM_OVERLAPS", status=409):
        commands.connect_platform(
            institution=hospital, platform="mobile_payment", valid_from=Day(2022, 1, 1), **FIRST
        )
    ended = commands.disconnect_platform(connection=row, on=Day(2021, 7, 31), **LATER)
    assert ended.valid_until == Day(2021, 7, 31)
    assert hospital.platforms.known_at(FIRST["at"]).get().valid_until is None


def account(hospital: Institution, **more) -> BankAccount:
    given = {"institution": hospital, "holder": "测试医院", "bank": "示例银行", "valid_from": MID_MAY,
             "number": "6222 0000-1111 2222", **FIRST}  # fmt: skip
    return commands.set_account(**(given | more))


def test_an_account_is_stored_encrypted_and_revealed_as_an_event(hospital: Institution):
    row = account(hospital)
    stored = bytes(row.number_encrypted) + bytes(row.holder_encrypted) + bytes(row.number_hash)
    assert b"6222000011112222" not in stored
    assert (row.number_tail, str(row)) == ("2222", "示例银行 尾号2222")
    with refusal("REASON_MISSING", "reason"):
        commands.reveal_account(account=row, reason=" ", by="clerk", at=LATER["at"])
    seen = commands.reveal_account(account=row, reason="核对拨付", by="clerk", at=LATER["at"])
    assert seen == {"number": "6222000011112222", "holder": "测试医院"}
    event = Event.objects.get(action="bankaccount.reveal")
    assert (event.actor, event.institution_code) == ("clerk", hospital.code)
    assert not any(b"6222000011112222" in bytes(e.body) for e in Event.objects.all())


def test_the_account_of_a_day(hospital: Institution):
    first = account(hospital)
    second = account(hospital, number="80000001", valid_from=Day(2021, 8, 10), **LATER)
    days = (Day(2021, 8, 9), Day(2021, 8, 10))
    known = hospital.accounts.known()
    assert [known.in_force(on=day).get().number_tail for day in days] == ["2222", "0001"]
    assert commands.reveal_account(account=second, reason="x", **LATER)["number"] == "80000001"
    ended = known.in_force(on=days[0]).get()
    assert commands.reveal_account(account=ended, reason="x", **LATER)["holder"] == "测试医院"
    first.refresh_from_db()
    assert first.superseded_at == LATER["at"]


@pytest.mark.parametrize(
    ("more", "code", "field"),
    [
        ({"number": "1234567"}, "ACCOUNT_INVALID", "number"),
        ({"number": "1" * 33}, "ACCOUNT_INVALID", "number"),
        ({"number": "6222X00011112222"}, "ACCOUNT_INVALID", "number"),
        ({"holder": ""}, "HOLDER_MISSING", "holder"),
        ({"bank": " "}, "BANK_MISSING", "bank"),
    ],
)
def test_accounts_that_are_refused(hospital: Institution, more: dict, code: str, field: str):
    with refusal(code, field):
        account(hospital, **more)


def contact(hospital: Institution, **more) -> Contact:
    given = {"institution": hospital, "purpose": "医保结算", "name": "李四",
             "phone": "0513-81234567", "valid_from": MID_MAY, **FIRST}  # fmt: skip
    return commands.add_contact(**(given | more))


def test_contacts_follow_each_other(hospital: Institution):
    first = contact(hospital)
    second = contact(hospital, name="王五", phone="13800001234", valid_from=Day(2021, 9, 1))
    first.refresh_from_db()
    assert (first.valid_until, second.phone_tail) == (Day(2021, 8, 31), "1234")
    assert b"13800001234" not in bytes(second.phone_encrypted)
    assert commands.reveal_contact(contact=second, reason="核实", **LATER) == "13800001234"
    with refusal("CONTACT_LATER", status=409):
        contact(hospital, valid_from=Day(2021, 9, 1))
    commands.end_contact(contact=second, on=Day(2021, 12, 31), **LATER)
    with refusal("ENDED_BEFORE", status=409):
        commands.end_contact(contact=second, on=Day(2021, 12, 31), **LATER)


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"phone": "12"}, "PHONE_INVALID"),
        ({"name": ""}, "MISSING"),
        ({"email": "a@b"}, "EMAIL_INVALID"),
    ],
)
def test_contacts_that_are_refused(hospital: Institution, more: dict, code: str):
    with refusal(code):
        contact(hospital, **more)


# --- Practitioners ---


def practitioner(hospital: Institution, **more):
    given = {"institution": hospital, "code": "D320600000001", "name": "赵医师",
             "licence_no": "110320600000001", "independent_since": Day(2015, 7, 1),
             "title": "attending", "title_since": Day(2018, 1, 1), "checked": True,
             **FIRST}  # fmt: skip
    return commands.register_practitioner(**(given | more))


def test_titles_are_dated(hospital: Institution):
    doctor = practitioner(hospital)
    assert doctor.registered_area == hospital.region_id
    commands.record_title(
        physician=doctor, title="associate_chief", valid_from=MID_MAY, checked=True, **LATER
    )
    days = (Day(2017, 12, 31), Day(2021, 5, 16), MID_MAY)
    found = [doctor.titles.counted().in_force(on=day).first() for day in days]
    assert [row and row.title for row in found] == [None, "attending", "associate_chief"]
    with refusal("TITLE_LATER", status=409):
        commands.record_title(
            physician=doctor, title="chief", valid_from=MID_MAY, checked=True, **LATER
        )


@pytest.mark.parametrize(
    ("more", "code", "field"),
    [
        ({"code": "D-1"}, "CODE_INVALID", "code"),
        ({"licence_no": ""}, "LICENCE_MISSING", "licence_no"),
        ({"registered_area": "3206"}, "AREA_INVALID", "registered_area"),
        ({"kind": "pharmacist"}, "TITLE_UNFIT", "title"),
        ({"title": "chief_pharmacist"}, "TITLE_UNFIT", "title"),
        ({"kind": "nurse"}, "TITLE_UNFIT", "title"),
        ({"name": ""}, "NAME_MISSING", "name"),
    ],
)
def test_practitioners_that_are_refused(hospital, more: dict, code: str, field: str):
    with refusal(code, field), transaction.atomic():
        practitioner(hospital, **more)
    assert not hospital.physicians.exists()


def test_a_pharmacist_has_a_licence_and_titles_of_her_own(hospital: Institution):
    row = practitioner(
        hospital, code="Y320600000001", kind="pharmacist", title="pharmacist_in_charge"
    )
    assert row.titles.get().get_title_display() == "主管药师"
    commands.renew_licence(physician=row, licence_until=Day(2023, 1, 1), **FIRST)
    with refusal("NOT_LATER", "licence_until"):
        commands.renew_licence(physician=row, licence_until=Day(2023, 1, 1), **LATER)


def test_the_three_agreements_are_those_of_the_policy(db):
    factories.policies("wenzhou")
    hospital = factories.institution("wenzhou", agreements=False)
    doctor = practitioner(hospital)
    dates = {"signed_on": MID_MAY, "valid_from": MID_MAY}
    with refusal("AGREEMENT_UNKNOWN", "name") as info:
        commands.sign_physician_agreement(physician=doctor, name="保密协议", **dates, **FIRST)
    assert info.value.faults[0].clause == "温医保办〔2021〕6号 二十"
    assert "医疗保障服务医师附加协议" in info.value.detail[0]
    name = "医疗保障服务医师附加协议"
    commands.sign_physician_agreement(physician=doctor, name=name, **dates, **FIRST)
    with refusal("AGREEMENT_OVERLAPS", status=409):
        commands.sign_physician_agreement(physician=doctor, name=name, **dates, **FIRST)
    commands.leave(physician=doctor, on=Day(2021, 12, 31), **LATER)
    doctor.refresh_from_db()
    assert (doctor.left_on, doctor.agreements.get().valid_until) == (Day(2021, 12, 31),) * 2
    with refusal("LEFT", status=409):
        commands.renew_licence(physician=doctor, licence_until=Day(2030, 1, 1), **LATER)


# --- The database refuses what slips past the commands ---


def test_the_database_refuses_overlaps(hospital: Institution):
    doctor = practitioner(hospital)
    recorded = {"institution": hospital, "valid_from": MID_MAY, "recorded_at": FIRST["at"]}
    by = recorded | {"recorded_by": "x"}
    account_row = {
        "bank": "b",
        "number_encrypted": b"",
        "holder_encrypted": b"",
        "number_hash": b"",
    }
    doubles = (
        (
            InstitutionFacts,
            recorded | {"price_class": "3", "ownership": "public", "nonprofit": True},
        ),
        (Qualification, by | {"kind": "other", "number": "1"}),
        (PlatformConnection, by | {"platform": "mobile_payment"}),
        (BankAccount, by | account_row),
        (
            PhysicianAgreement,
            {"physician": doctor, "name": "a", "signed_on": MID_MAY, "valid_from": MID_MAY},
        ),
    )
    hospital.facts.all().delete()
    for model, values in doubles:
        model.objects.create(**values)
        with pytest.raises(IntegrityError, match="no_overlap"), transaction.atomic():
            model.objects.create(**values | {"valid_from": Day(2022, 1, 1)})
