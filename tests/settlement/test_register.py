"""The insured register: dated entitlement in two times, one write path, refusals, spans as pure data."""

import datetime as dt

import pytest
from django.db import IntegrityError, connection, transaction

from audit.models import Event, Task
from institutions import crypto
from institutions.access import EVERYTHING, scoped
from institutions.models import Region, Scope
from institutions.refusals import Refusal
from settlement.models import Entitlement, InsuredPerson
from settlement.register import commands, store
from settlement.register.timeline import Span, adds_nothing, changed, over, put
from tests import factories
from tests.factories import ZONE
from tests.settlement.hospital import Hospital

Day = dt.date
AT = dt.datetime(2021, 12, 20, 9, tzinfo=ZONE)
LATER = dt.datetime(2021, 12, 22, 9, tzinfo=ZONE)
SIGN = {"by": "clerk", "at": AT}


def span(
    first: str, last: str | None, standing: str = "active", key: int = 0, scheme: str = "employee"
):
    return Span(Day.fromisoformat(first), Day.fromisoformat(last) if last else None, scheme,
                standing, "320600", "", key)  # fmt: skip


# --- Spans ---


def test_a_span_is_laid_over_others_and_the_rest_stays():
    held = [span("2019-01-01", "2020-12-31", key=1), span("2021-01-01", None, key=2)]
    new = span("2020-06-01", "2021-03-31", "arrears")
    after = put(held, new)
    assert after == [
        span("2019-01-01", "2020-05-31"), new, span("2021-04-01", None),
    ]  # fmt: skip
    assert changed(held, after) == ([1, 2], after)


def test_what_is_said_already_changes_nothing():
    held = [span("2019-01-01", "2020-12-31", key=1), span("2021-01-01", None, key=2)]
    assert adds_nothing(held, span("2020-06-01", None))
    assert put(held, span("2020-06-01", "2022-01-01")) == held
    assert not adds_nothing(held, span("2018-06-01", "2020-01-01"))
    assert not adds_nothing(held[:1], span("2020-06-01", None))
    assert not adds_nothing([], span("2020-06-01", None))


def test_a_standing_over_two_schemes_keeps_each():
    held = [span("2019-01-01", "2020-12-31"), span("2021-02-01", None, scheme="resident")]
    parts = over(held, span("2020-12-01", "2021-02-28", "arrears"))
    assert [(str(p.first), str(p.last), p.scheme) for p in parts] == [
        ("2020-12-01", "2020-12-31", "employee"), ("2021-01-01", "2021-01-31", "employee"),
        ("2021-02-01", "2021-02-28", "resident"),
    ]  # fmt: skip
    after = over([span("2019-01-01", "2020-12-31")], span("2021-06-01", None))
    assert [(str(p.first), p.last) for p in after] == [("2021-06-01", None)]


# --- Acts ---


@pytest.fixture
def person(db) -> InsuredPerson:
    factories.region("nantong")
    return enrol()


def enrol(**more: object) -> InsuredPerson:
    standard = {
        "number": factories.id_number(), "name": "张示例", "region_code": "320600",
        "scheme": "employee", "valid_from": Day(2019, 1, 1), "source": "参保登记表",
    }  # fmt: skip
    return commands.enrol(**(standard | SIGN | more))


def told(person: InsuredPerson, known_at: dt.datetime | None = None) -> list[tuple]:
    rows = Entitlement.objects.filter(person=person)
    rows = rows.known() if known_at is None else rows.known_at(known_at)
    return [(row.scheme, row.standing, str(row.valid_from), str(row.valid_until or ""))
            for row in rows.order_by("valid_from")]  # fmt: skip


def code(error) -> str:
    return error.value.code


def test_enrolment_is_dated_masked_and_recorded(person):
    assert told(person) == [("employee", "active", "2019-01-01", "")]
    assert (person.name_masked, person.id_masked[3:-4]) == ("张**", "*" * 11)
    assert commands.opened(person, "name", person.name_cipher) == "张示例"
    event = Event.objects.get(action="person.enrol")
    assert bytes(event.person_hash) == bytes(person.id_hash)
    assert "张示例" not in bytes(event.body).decode()


def test_a_waiting_period_comes_before_the_benefits(db):
    factories.region("nantong")
    person = enrol(waiting_until=Day(2019, 6, 30))
    assert told(person) == [
        ("employee", "waiting", "2019-01-01", "2019-06-30"),
        ("employee", "active", "2019-07-01", ""),
    ]  # fmt: skip


def test_arrears_end_and_what_was_known_before_can_be_asked(person):
    commands.change_standing(
        person=person, standing="arrears", valid_from=Day(2021, 10, 1),
        valid_until=Day(2021, 11, 30), by="clerk", at=LATER,
    )  # fmt: skip
    assert told(person) == [
        ("employee", "active", "2019-01-01", "2021-09-30"),
        ("employee", "arrears", "2021-10-01", "2021-11-30"),
        ("employee", "active", "2021-12-01", ""),
    ]  # fmt: skip
    assert told(person, AT) == [("employee", "active", "2019-01-01", "")]
    day = Day(2021, 10, 15)
    rows = Entitlement.objects.filter(person=person)
    assert rows.facts_on(day).standing == "arrears"
    assert rows.facts_on(day, AT).standing == "active"


def test_conversion_moves_the_scheme_of_today(person):
    commands.convert_scheme(
        person=person, scheme="resident", valid_from=Day(2021, 7, 1),
        waiting_until=Day(2021, 9, 30), **SIGN,
    )  # fmt: skip
    assert told(person) == [
        ("employee", "active", "2019-01-01", "2021-06-30"),
        ("resident", "waiting", "2021-07-01", "2021-09-30"),
        ("resident", "active", "2021-10-01", ""),
    ]  # fmt: skip
    assert person.scheme == "resident"


def test_a_conversion_ahead_is_followed_on_its_day(person):
    commands.convert_scheme(person=person, scheme="resident", valid_from=Day(2022, 1, 1), **SIGN)
    assert person.scheme == "employee"
    assert store.follow(on=Day(2021, 12, 31)) == 0
    assert store.follow(on=Day(2022, 1, 1)) == 1
    person.refresh_from_db()
    assert person.scheme == "resident"


def test_death_ends_everything_after_its_day(person):
    commands.convert_scheme(person=person, scheme="resident", valid_from=Day(2022, 1, 1), **SIGN)
    commands.record_death(person=person, died_on=Day(2021, 12, 10), **SIGN)
    assert told(person) == [
        ("employee", "active", "2019-01-01", "2021-12-10"),
        ("employee", "deceased", "2021-12-11", ""),
    ]  # fmt: skip
    with pytest.raises(Refusal) as error:
        commands.change_standing(
            person=person, standing="active", valid_from=Day(2021, 12, 15), **SIGN
        )
    assert code(error) == "DECEASED"
    commands.correct(person=person, scheme="employee", standing="active", reason="同名误登",
                     valid_from=Day(2021, 12, 11), **SIGN)  # fmt: skip
    assert told(person)[-1][1] == "active"


def test_somebody_stopped_enrols_again_under_the_same_number(person):
    number = commands.reveal(person=person, reason="测试", **SIGN)["number"]
    with pytest.raises(Refusal) as error:
        enrol(number=number, valid_from=Day(2021, 6, 1))
    assert code(error) == "INSURED_BEFORE"
    commands.change_standing(person=person, standing="stopped", valid_from=Day(2020, 1, 1), **SIGN)
    again = enrol(number=number, scheme="resident", valid_from=Day(2021, 6, 1))
    assert again.pk == person.pk
    assert told(person) == [
        ("employee", "active", "2019-01-01", "2019-12-31"),
        ("employee", "stopped", "2020-01-01", "2021-05-31"),
        ("resident", "active", "2021-06-01", ""),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"number": "320611197404010126"}, "ID_NUMBER_WRONG"),
        ({"number": "320611740401012"}, "ID_NUMBER_WRONG"),
        ({"number": "３２０６11197404010126"}, "ID_NUMBER_WRONG"),
        ({"name": " "}, "NAME_WRONG"),
        ({"name": "张\u202e三"}, "NAME_WRONG"),
        ({"phone": "电话"}, "PHONE_WRONG"),
        ({"region_code": "999999"}, "REGION_UNKNOWN"),
        ({"scheme": "private"}, "SCHEME_UNKNOWN"),
        ({"waiting_until": Day(2018, 1, 1)}, "DATES_REVERSED"),
    ],
)
def test_what_is_wrong_is_not_enrolled(db, change, wanted):
    factories.region("nantong")
    with pytest.raises(Refusal) as error, transaction.atomic():
        enrol(**change)
    assert code(error) == wanted
    assert InsuredPerson.objects.count() == 0


def test_a_number_with_another_name_is_refused(person):
    number = commands.reveal(person=person, reason="测试", **SIGN)["number"]
    with pytest.raises(Refusal) as error:
        enrol(number=number.lower(), name="李示例")
    assert (code(error), "张**" in error.value.detail[0]) == ("NAME_DIFFERS", True)


def test_an_open_change_does_not_swallow_what_is_recorded_later(person):
    commands.convert_scheme(person=person, scheme="resident", valid_from=Day(2022, 1, 1), **SIGN)
    with pytest.raises(Refusal) as error:
        commands.change_standing(
            person=person, standing="arrears", valid_from=Day(2021, 12, 1), **SIGN
        )
    assert code(error) == "LATER_KNOWN"
    for given, wanted in (
        ({"standing": "active", "valid_from": Day(2021, 1, 1)}, "LATER_KNOWN"),
        ({"standing": "gone", "valid_from": Day(2021, 1, 1)}, "STANDING_UNKNOWN"),
        ({"standing": "active", "valid_from": Day(2018, 1, 1)}, "NEVER_INSURED"),
        ({"standing": "active", "valid_from": Day(2021, 1, 1), "valid_until": Day(2021, 2, 1)},
         "NOTHING_CHANGES"),
        ({"standing": "arrears", "valid_from": Day(2021, 2, 1), "valid_until": Day(2021, 1, 1)},
         "DATES_REVERSED"),
    ):  # fmt: skip
        with pytest.raises(Refusal) as error:
            commands.change_standing(person=person, **given, **SIGN)
        assert code(error) == wanted


def test_conversion_death_and_correction_say_what_is_wrong(person):
    for act, given, wanted in (
        (commands.convert_scheme, {"scheme": "employee", "valid_from": Day(2021, 1, 1)}, "SCHEME_SAME"),
        (commands.record_death, {"died_on": Day(2021, 12, 21)}, "DAY_IN_FUTURE"),
        (commands.correct, {"scheme": "resident", "standing": "active", "reason": " ",
                            "valid_from": Day(2021, 1, 1)}, "REASON_MISSING"),
        (commands.correct, {"scheme": "employee", "standing": "active", "reason": "误登",
                            "valid_from": Day(2021, 1, 1)}, "NOTHING_CHANGES"),
        (commands.correct_identity, {"reason": "更名"}, "NOTHING_CHANGES"),
        (commands.reveal, {"reason": " "}, "REASON_MISSING"),
    ):  # fmt: skip
        with pytest.raises(Refusal) as error:
            act(person=person, **given, **SIGN)
        assert code(error) == wanted


def test_name_and_telephone_are_put_right_and_revealed_against_a_reason(person):
    commands.correct_identity(
        person=person, name="章示例", phone="13800001234", reason="更名", **SIGN
    )
    person.refresh_from_db()
    assert (person.name_masked, person.phone_masked) == ("章**", "138****1234")
    seen = commands.reveal(person=person, reason="来电核实", **SIGN)
    assert (seen["name"], seen["phone"]) == ("章示例", "13800001234")
    event = Event.objects.get(action="person.reveal")
    assert "来电核实" in bytes(event.body).decode()
    bodies = "".join(bytes(row.body).decode() for row in Event.objects.all())
    assert "13800001234" not in bodies
    assert "章示例" not in bodies


def test_a_change_that_reaches_back_asks_to_look_at_settled_claims(db):
    factories.policies("nantong")
    hospital = Hospital()
    person = hospital.patient
    store.write(
        [store.Change(person, [Span(Day(2019, 1, 1), None, "resident", "active", "320600")],
                      "person.enrol")], by="clerk", at=factories.RECORDED,
    )  # fmt: skip
    hospital.settled()
    with scoped(EVERYTHING):
        commands.change_standing(
            person=person, standing="arrears", valid_from=Day(2021, 6, 1), **SIGN
        )
    task = Task.objects.get(subject=f"person:{person.pk}:recheck")
    assert (task.permission, "1张已结算单据" in task.title) == ("corrections.propose", True)
    commands.change_standing(person=person, standing="active", valid_from=Day(2022, 6, 1), **SIGN)
    assert Task.objects.filter(subject=f"person:{person.pk}:recheck").count() == 1


# --- What the database refuses ---


def row(person: InsuredPerson, **more: object) -> Entitlement:
    standard = {
        "person": person, "scheme": "employee", "standing": "active", "region_code": "320600",
        "valid_from": Day(2030, 1, 1), "recorded_at": AT, "recorded_by": "test",
    }  # fmt: skip
    return Entitlement(**(standard | more))


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ({}, "entitlement_no_overlap"),
        ({"superseded_at": AT, "valid_until": Day(2029, 1, 1)}, "entitlement_span"),
    ],
)
def test_the_database_refuses_nonsense(person, more, name):
    with pytest.raises(IntegrityError, match=name), transaction.atomic():
        row(person, **more).save()


def test_without_a_scope_nobody_sees_entitlements(person):
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM settlement_entitlement")
        assert cursor.fetchone()[0] == 1
        cursor.execute("SELECT set_config('app.scope', '', false)")
        cursor.execute("SELECT count(*) FROM settlement_entitlement")
        assert cursor.fetchone()[0] == 0
        cursor.execute("SELECT set_config('app.scope', '*', false)")
    with scoped(Scope(institutions=("H32060000001",))):
        assert Entitlement.objects.count() == 1  # a hospital settles by them


def test_the_register_of_another_region_is_not_seen(person):
    Region.objects.get_or_create(
        pk="330300", defaults={"name": "温州市", "level": "prefecture", "policy_region": "wenzhou"}
    )
    ours = factories.user("settlement_clerk", Region.objects.get(pk="320600"))
    theirs = factories.user("settlement_clerk", Region.objects.get(pk="330300"))
    hospital = factories.user("hospital", factories.institution("nantong"))
    seen = [InsuredPerson.objects.visible_to(user).count() for user in (ours, theirs, hospital)]
    assert seen == [1, 0, 0]
    assert crypto.person_hash("x") == crypto.person_hash("X")
