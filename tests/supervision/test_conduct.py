"""Internal control: what is found in the trail, what is not, and who acknowledges it."""

import datetime as dt
import re
from typing import Any

import pytest
from django.db import Error, IntegrityError, transaction
from django.test import Client
from django.urls import reverse

from audit import trail, words
from audit.models import Event, Task
from audit.procedure import PROCEDURES
from institutions.access import EVERYTHING, set_scope
from institutions.holidays import NATIONAL, import_year, national_year
from institutions.models import User
from institutions.refusals import Refusal
from supervision import conduct, tasks
from supervision.models import ConductFlag
from tests import factories
from tests.factories import ZONE

pytestmark = pytest.mark.django_db
DAY = dt.date(2021, 6, 15)  # a Tuesday
NIGHT = dt.datetime(2021, 6, 16, 2, tzinfo=ZONE)


@pytest.fixture
def people() -> tuple[User, User]:
    factories.policies("nantong")
    set_scope(EVERYTHING)
    import_year(year=2021, region=NATIONAL, rows=national_year(2021), by="x", at=NIGHT)
    place = factories.region("nantong")
    return factories.user("settlement_clerk", place), factories.user("finance_officer", place)


def act(who: User, action: str, subject: str = "adjustment:1", *, hour: int = 10,
        day: dt.date = DAY, origin: str = "10.0.0.1", region: str = "320600") -> Event:  # fmt: skip
    token = trail.ORIGIN.set(origin)
    try:
        return trail.record(
            by=who.username, at=dt.datetime.combine(day, dt.time(hour), ZONE), action=action,
            subject=subject, region_code=region,
        )  # fmt: skip
    finally:
        trail.ORIGIN.reset(token)


def watch(day: dt.date = DAY) -> list[tuple[str, str]]:
    conduct.watch(on=day, by="system:beat", at=NIGHT)
    return list(ConductFlag.objects.order_by("pk").values_list("kind", "actor"))


def test_both_sides_of_a_pair_from_one_address(people: tuple[User, User]) -> None:
    clerk, finance = people
    first = act(clerk, "adjustment.propose")
    second = act(finance, "adjustment.posted")
    assert watch() == [("self_dealing", clerk.username)]
    row = ConductFlag.objects.get()
    assert (row.other, row.evidence) == (finance.username, [str(first.pk), str(second.pk)])
    assert Task.objects.get(permission="conduct.view").region_code == "320600"


def test_the_first_act_may_be_of_an_earlier_day(people: tuple[User, User]) -> None:
    clerk, finance = people
    later = DAY + dt.timedelta(days=1)
    first = act(clerk, "payment.prepare", "payment:1")
    act(clerk, "payment.prepare", "payment:2")
    second = act(finance, "payment.approve", "payment:1", day=later)
    act(finance, "payment.approve", "payment:2", day=later, origin="10.0.0.2")
    assert watch() == []
    assert watch(later) == [("self_dealing", clerk.username)]
    row = ConductFlag.objects.get()
    assert (row.day, row.evidence) == (later, [str(first.pk), str(second.pk)])


def test_the_tables_say_who_must_be_another(db) -> None:
    """Every check that keeps persons apart makes pairs; those of commands are real acts."""
    found = conduct.pairs()
    assert found["review.agree_tell"] == found["review.agree_pass"] >= {"review.submit"}
    assert found["review.rule"] >= {"review.tell", "review.submit", "review.agree_tell"}
    assert found["supervisioncase.accept"] == {"supervisioncase.open"}
    for route in ("decide_agreement", "decide_penalty", "transfer"):
        assert "supervisioncase.notify" in found[f"supervisioncase.{route}"]
    assert "supervisioncase.accept" not in found["supervisioncase.decide_penalty"]
    assert found["reimbursement.approve"] >= {"reimbursement.calculate"}
    assert found["disclosure.publish"] == {"disclosure.propose"}
    steps = [(p, s) for p in PROCEDURES.values() for s in p.steps]
    for procedure, step in steps:
        if set(step.checks) & set(conduct.APART):
            assert found[f"{procedure.subject}.{step.key}"], step.key
    apart = {
        name for _, step in steps for name in step.checks
        if re.search("another|person|handler|clerk", name)
    }  # fmt: skip
    assert apart == set(conduct.APART)
    named = {act for act in conduct.COMMANDS if act in words.ACTS}
    assert named == set(conduct.COMMANDS)
    assert {second for seconds in conduct.COMMANDS.values() for second in seconds} <= set(
        words.ACTS
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("review.submit", "review.agree_tell"),
        ("review.submit", "review.agree_pass"),
        ("review.agree_tell", "review.rule"),
        ("disclosure.propose", "disclosure.publish"),
        ("supervisioncase.notify", "supervisioncase.transfer"),
        ("repair.propose", "repair.approve"),
    ],
)
def test_incompatible_duties_from_one_address(
    people: tuple[User, User], first: str, second: str
) -> None:
    act(people[0], first, "x:1")
    act(people[1], second, "x:1")
    assert watch() == [("self_dealing", people[0].username)]


def test_two_places_other_subjects_and_one_login_are_no_self_dealing(
    people: tuple[User, User],
) -> None:
    clerk, finance = people
    act(clerk, "adjustment.propose", "adjustment:1")
    act(finance, "adjustment.posted", "adjustment:1", origin="10.0.0.2")
    act(finance, "adjustment.posted", "adjustment:2")
    assert watch() == []


def test_one_name_under_two_logins(people: tuple[User, User]) -> None:
    clerk, finance = people
    User.objects.filter(pk__in=[clerk.pk, finance.pk]).update(display_name="王小明")
    act(clerk, "payment.prepare", "payment:1")
    act(finance, "payment.approve", "payment:1", origin="10.0.0.2")
    assert watch() == [("self_dealing", clerk.username)]
    assert "同一姓名" in ConductFlag.objects.get().message


@pytest.mark.parametrize(("times", "found"), [(19, 0), (20, 1)])
def test_many_reveals_in_a_day(people: tuple[User, User], times: int, found: int) -> None:
    for number in range(times):
        act(people[0], "person.reveal", f"person:{number}")
    assert len(watch()) == found


@pytest.mark.parametrize(
    ("hour", "day", "found"),
    [
        (6, DAY, 1),
        (7, DAY, 0),
        (19, DAY, 0),
        (20, DAY, 1),
        (10, dt.date(2021, 6, 14), 1),  # Dragon boat festival
        (10, dt.date(2021, 9, 18), 0),  # a Saturday that is worked
    ],
)
def test_grave_acts_outside_working_hours(
    people: tuple[User, User], hour: int, day: dt.date, found: int
) -> None:
    act(people[0], "adjustment.propose", hour=hour, day=day)
    act(people[0], "claim.read", hour=hour, day=day)
    assert len(watch(day)) == found


def test_a_second_look_finds_nothing_new(people: tuple[User, User]) -> None:
    act(people[0], "adjustment.propose", hour=23)
    assert len(watch()) == 1
    assert len(watch()) == 1


def test_nights_in_which_nothing_ran_are_made_up_for(people: tuple[User, User], settings) -> None:
    act(people[0], "adjustment.propose", hour=23)
    act(people[1], "adjustment.posted", hour=23, day=DAY + dt.timedelta(days=1), origin="10.0.0.2")
    settings.DEMO_TODAY = DAY + dt.timedelta(days=4)
    assert tasks.watch_conduct() == 2
    assert tasks.watch_conduct() == 0
    days = ConductFlag.objects.order_by("day").values_list("day", flat=True)
    assert list(days) == [DAY, DAY + dt.timedelta(days=1)]


def test_staff_of_institutions_are_not_our_own(people: tuple[User, User]) -> None:
    hospital = factories.user("hospital", factories.institution("nantong"))
    act(hospital, "adjustment.propose", hour=23)
    assert watch() == []


@pytest.fixture
def admins(people: tuple[User, User]) -> tuple[User, User]:
    """Administrators of the portal, who have no region."""
    return factories.user("system_admin"), factories.user("security_admin")


def flags() -> list[tuple[str, str, str]]:
    """(kind, actor, region) of what was found."""
    return list(ConductFlag.objects.order_by("pk").values_list("kind", "actor", "region_code"))


def test_administrators_are_watched_where_they_acted(admins: tuple[User, User]) -> None:
    one, other = admins
    for number in range(20):
        act(one, "person.reveal", f"person:{number}")
    act(one, "payment.prepare", "payment:1")
    act(other, "payment.approve", "payment:1", hour=23)
    watch()
    assert flags() == [
        ("self_dealing", one.username, "320600"), ("mass_reveal", one.username, "320600"),
        ("off_hours", other.username, "320600"),
    ]  # fmt: skip
    assert set(
        Task.objects.filter(permission="conduct.view").values_list("region_code", flat=True)
    ) == {"320600"}


@pytest.mark.parametrize("regions", [("", ""), ("320600", "330300")])
def test_what_concerns_no_single_region_is_told_to_the_highest_office_that_watches(
    admins: tuple[User, User], regions: tuple[str, str]
) -> None:
    """Of two offices of one level that which has limits; nobody can say that nobody could see it."""
    bare, place = factories.region("wenzhou"), factories.region("nantong")
    chief = factories.user("supervisor", place)
    factories.user("supervisor", bare)
    for number, region in enumerate(regions):
        act(admins[1], "apiclient.issue", f"apiclient:{number}", hour=23, region=region)
    watch()
    assert flags() == [("off_hours", admins[1].username, place.pk)]
    row = ConductFlag.objects.get()
    page = factories.log_in(Client(), chief).get(reverse("conduct-flag", args=[row.pk]))
    assert "发放接口密钥" in page.content.decode()
    assert (
        Task.objects.visible_to(chief).get(subject=f"conduct:{row.pk}").permission == conduct.VIEW
    )
    conduct.acknowledge(flag=row, state="explained", note="夜间割接", who=chief, at=NIGHT)


def test_somebody_else_acknowledges(people: tuple[User, User]) -> None:
    act(people[0], "adjustment.propose", hour=23)
    watch()
    row = ConductFlag.objects.get()
    chief = factories.user("supervisor", factories.region("nantong"))
    given: dict[str, Any] = {"flag": row, "state": "explained", "note": "月末加班", "at": NIGHT}
    with pytest.raises(Refusal, match="SAME_PERSON"):
        conduct.acknowledge(who=people[0], **given)
    with pytest.raises(Refusal, match="REQUIRED"):
        conduct.acknowledge(who=chief, **given | {"note": ""})
    conduct.acknowledge(who=chief, **given)
    with pytest.raises(Refusal, match="DECIDED_BEFORE"):
        conduct.acknowledge(who=chief, **given)
    assert not Task.objects.filter(state="open", subject=f"conduct:{row.pk}").exists()
    with pytest.raises(Error, match="stays"), transaction.atomic():
        ConductFlag.objects.filter(pk=row.pk).update(actor="x")
    with pytest.raises(IntegrityError), transaction.atomic():
        ConductFlag.objects.filter(pk=row.pk).update(decided_by=row.actor)


def test_the_queue_in_the_browser(people: tuple[User, User]) -> None:
    act(people[0], "adjustment.propose", hour=23)
    watch()
    row = ConductFlag.objects.get()
    client = factories.log_in(Client(), factories.user("supervisor", factories.region("nantong")))
    assert row.actor in client.get(reverse("conduct")).content.decode()
    page = client.get(reverse("conduct-flag", args=[row.pk])).content.decode()
    assert "提出特殊调整" in page
    assert "10.0.0.1" in page
    done = client.post(reverse("conduct-act", args=[row.pk, "acknowledge"]),
                       {"state": "referred", "note": "移交机关纪委"})  # fmt: skip
    assert done.status_code == 302
    far = factories.log_in(Client(), factories.user("supervisor", factories.region("wenzhou")))
    assert far.get(reverse("conduct-flag", args=[row.pk])).status_code == 404
