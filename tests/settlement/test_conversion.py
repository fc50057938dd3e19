"""险种转换 within a year: what goes over and what begins anew, alike in every way of settling."""

import datetime as dt
from collections.abc import Iterator

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from institutions.access import EVERYTHING, set_scope
from pricing import commands as law
from pricing.lint import SHAPES
from pricing.models import Release
from settlement import ledger, resettlement, resettlement_lists
from settlement.models import InsuredPerson, Settlement
from settlement.register import commands
from settlement.register.timeline import Span, keeping
from settlement.reviewed import Verdict, outcome
from tests import factories
from tests.factories import line
from tests.settlement.benefits import both, entitle
from tests.settlement.hospital import Hospital, forget_databases

NOW = timezone.now()
TURN = dt.date(2021, 6, 16)  #: the first day under the other scheme
BEFORE, AFTER = TURN - dt.timedelta(days=1), TURN
OVER = "{key: conversion_goes_over, value: [assistance],"
LIMIT = "key: employee_annual_limit, value: 600000"


@pytest.fixture
def wenzhou(committed_db: str) -> Iterator[Hospital]:
    forget_databases()
    factories.policies("wenzhou")
    made = Hospital("wenzhou", "employee")
    yield made
    forget_databases()


def converted(hospital: Hospital) -> InsuredPerson:
    """Employee until the turn, resident since; a household on subsistence allowance throughout."""
    made = factories.person("wenzhou", "employee")
    factories.offline_visit(made, hospital.row)
    more = {"assistance": "subsistence"}
    entitle(made, scheme="employee", valid_until=BEFORE, **more)
    entitle(made, scheme="resident", valid_from=AFTER, **more)
    return made


def claims(hospital: Hospital, person: InsuredPerson, *asked: tuple[dt.date, str]) -> list[dict]:
    return [
        factories.body(
            person, hospital.doctor,
            line(kind="drug", item="X", fee=fee, unit_price=fee, prescription_no="P1"), day=day,
        )
        for day, fee in asked
    ]  # fmt: skip


def paid(found: list[dict]) -> list[tuple[str, ...]]:
    names = ("fund", "major", "assistance", "cash")
    return [tuple(claim["totals"][name] for name in names) for claim in found]


def publish(*changes: tuple[str, str]) -> None:
    """The parameters of Wenzhou once more, with changes, for all their days."""
    text = Release.objects.filter(kind="parameters", region="wenzhou").get().text
    for old, new in (("effective: {from: 2021-03-08", "effective: {from: 2021-03-09"), *changes):
        assert old in text
        text = text.replace(old, new, 1)
    made = law.draft(text=text, by="drafter", at=NOW)
    evidence = {"sm3": made.sm3, "cases": {"passed": 1, "failed": 0}}
    law.publish(release=made, evidence=evidence, by="publisher", at=NOW)


#: 94000.00 left by the fund, 79000.00 of it above 15000.00: 60 % of 50000.00, 70 % of the rest; 70 % assistance
EMPLOYEE = ("6000.00", "50300.00", "30590.00", "13110.00")


def test_the_limit_of_assistance_goes_over_and_major_illness_begins_anew(wenzhou) -> None:
    asked = ((BEFORE, "100000.00"), (AFTER, "200000.00"), (BEFORE, "1000.00"))
    found = both(
        wenzhou, converted(wenzhou), converted(wenzhou), lambda p: claims(wenzhou, p, *asked)
    )
    # 197000.00 left, 182000.00 above the resident deductible: 30000 + 92400; of 80000.00 assistance
    # 49410.00 are left, 70 % of 74600.00 were more; the late claim finds nothing of it
    assert paid(found) == [
        EMPLOYEE, ("3000.00", "122400.00", "49410.00", "25190.00"),
        ("0.00", "700.00", "0.00", "300.00"),
    ]  # fmt: skip
    set_scope(EVERYTHING)
    assert ledger.balance().sound


def test_the_page_says_how_each_fund_counts_the_year(wenzhou) -> None:
    person = wenzhou.patient = converted(wenzhou)
    for body in claims(wenzhou, person, (BEFORE, "100000.00"), (AFTER, "200000.00")):
        assert wenzhou.post(body).status_code == 201
    client = Client()
    client.force_login(factories.user("settlement_clerk", wenzhou.row.region))
    page = client.get(reverse("person", args=[person.pk]), {"tab": "usage"}).content.decode()
    for text in ("30,590.00", "49,410.00", "年度内各险种合并累计", "122,400.00", "按险种分别累计"):
        assert text in page


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        # nothing goes over: 70 % of 74600.00
        ("", ("3000.00", "122400.00", "52220.00", "22380.00")),
        # 94000.00 lie before: 79000.00 to 276000.00 above the deductible at 70 %; 70 % assistance
        ("[major_illness]", ("3000.00", "137900.00", "41370.00", "17730.00")),
    ],
)
def test_what_goes_over_is_data(wenzhou, named: str, expected: tuple[str, ...]) -> None:
    new = OVER.replace("[assistance]", named) if named else OVER.replace("conversion", "spare")
    publish((OVER, new))
    asked = ((BEFORE, "100000.00"), (AFTER, "200000.00"))
    found = both(
        wenzhou, converted(wenzhou), converted(wenzhou), lambda p: claims(wenzhou, p, *asked)
    )
    assert paid(found) == [EMPLOYEE, expected]


def test_a_resettlement_under_one_scheme_reaches_the_other(wenzhou) -> None:
    wenzhou.patient = converted(wenzhou)
    first, second = (
        wenzhou.post(body).json()
        for body in claims(
            wenzhou, wenzhou.patient, (BEFORE, "100000.00"), (AFTER, "200000.00")
        )
    )  # fmt: skip
    publish((LIMIT, LIMIT.replace("600000", "1000000")))
    set_scope(EVERYTHING)
    made = resettlement_lists.propose(
        region=wenzhou.row.region, first_day=BEFORE, last_day=BEFORE, reason="限额调整", by="clerk",
        at=NOW,
    )  # fmt: skip
    resettlement_lists.draw_all(resettlement_id=made.pk, by="w", at=NOW)
    set_scope(EVERYTHING)
    made.refresh_from_db()
    # 4000.00 more by the fund leave 90000.00: 47500.00 and 29750.00, so 50250.00 for the second
    kinds = dict(made.items.values_list("claim_id", "kind"))
    assert kinds == {first["id"]: "direct", second["id"]: "consequent"}
    resettlement.approve(resettlement=made, by="finance", at=NOW)
    assert resettlement.post_all(resettlement_id=made.pk, by="w", at=NOW) == 2
    rows = Settlement.objects.filter(version=3).order_by("claim_id")
    assert list(rows.values_list("fund", "major", "assistance")) == [
        (1_000_000, 4_750_000, 2_975_000), (300_000, 12_240_000, 5_025_000),
    ]  # fmt: skip
    assert ledger.balance().sound


def test_a_review_finds_the_year_as_a_whole(wenzhou) -> None:
    wenzhou.patient = converted(wenzhou)
    _, second = (
        wenzhou.post(body).json()
        for body in claims(
            wenzhou, wenzhou.patient, (BEFORE, "100000.00"), (AFTER, "200000.00")
        )
    )  # fmt: skip
    set_scope(EVERYTHING)
    settled = Settlement.objects.get(claim_id=second["id"])
    told = outcome(settled, {1: Verdict("passed", 1_000_000)})
    # 190000.00: 187000.00 left, 172000.00 above the deductible; still 49410.00 of assistance
    assert [told.after[name] for name in ("fund", "major", "assistance")] == [
        300_000, 11_540_000, 4_941_000,
    ]  # fmt: skip


def test_a_conversion_keeps_the_category_of_assistance(db) -> None:
    factories.region("wenzhou")
    person = factories.person("wenzhou", "employee")
    entitle(person, assistance="subsistence")
    commands.convert_scheme(person=person, scheme="resident", valid_from=AFTER, by="clerk", at=NOW)
    rows = person.entitlements.filter(superseded_at=None).order_by("valid_from")
    assert list(rows.values_list("scheme", "assistance")) == [
        ("employee", "subsistence"), ("resident", "subsistence"),
    ]  # fmt: skip


def test_a_span_over_several_categories_keeps_each() -> None:
    def span(first: int, last: int | None, category: str = "") -> Span:
        days = dt.date(2021, 1, first), last and dt.date(2021, 1, last)
        return Span(*days, "resident", "active", "330300", assistance=category)

    held = [span(1, 9, "marginal"), span(10, 19), span(20, None, "relapse")]
    assert keeping(held, span(5, None)) == [
        span(5, 9, "marginal"), span(10, 19), span(20, None, "relapse"),
    ]  # fmt: skip
    assert keeping(held[:2], span(12, None)) == [span(12, None)]


@pytest.mark.parametrize("value", [["basic"], [], ["assistance", "assistance"], "assistance"])
def test_only_later_funds_go_over(value: object) -> None:
    assert not list(SHAPES["conversion_goes_over"](["assistance"], ()))
    assert [said for _, said in SHAPES["conversion_goes_over"](value, ())]
