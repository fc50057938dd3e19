"""A settlement names every parameter set that it used, whatever is published later."""

import datetime as dt

import pytest
from django.db import Error, connection, transaction
from django.test import Client
from django.urls import reverse

from institutions.access import EVERYTHING, set_scope
from pricing import commands
from pricing.models import Combination, Release
from pricing.releases import current
from settlement import answer, ledger, replay
from settlement.models import Period, Settlement
from settlement.periods import held_claims
from tests import factories
from tests.factories import line
from tests.settlement.hospital import Hospital

NOW = factories.RECORDED
HEAD = """format: 1
kind: parameters
slug: {slug}
document: 示例参数（非官方）
title: 示例参数（仅供演示，非官方）
region: nantong
effective: {{from: {since}, until: null}}
area_code: "320600"
rows:
  - {{key: {key}, value: {value}, from: {since}, until: null, source_kind: example,
     source_ref: 示例（自拟，非官方）, label: 示例：数字, clause: 二（二）第1款}}
"""


def publish(slug: str, key: str, value: int, since: str = "2020-02-25") -> Release:
    made = commands.draft(
        text=HEAD.format(slug=slug, key=key, value=value, since=since), by="drafter", at=NOW
    )
    evidence = {"sm3": made.sm3, "cases": {"passed": 1, "failed": 0}}
    return commands.publish(release=made, evidence=evidence, by="publisher", at=NOW)


@pytest.fixture
def hospital(db) -> Hospital:
    factories.policies("nantong")
    return Hospital(scheme="employee")


def benefit(claim: dict) -> tuple[int, int]:
    set_scope(EVERYTHING)
    stored = answer.read(claim["id"])
    assert stored is not None
    found = answer.rules_of(stored, current()).benefits["employee", 3]
    return found.ratio, found.deductible


def test_several_sets_are_named_by_one_number_and_stay_pinned(hospital: Hospital) -> None:
    alone = hospital.settled()
    shipped = Release.objects.get(kind="parameters")
    assert alone["release"]["parameters_id"] == shipped.pk
    ratio = publish("parameters-nantong-ratio", "employee_fund_ratio", 7000)
    both = Combination.objects.get()
    assert (both.releases, both.sm3) == (
        [shipped.pk, ratio.pk], commands.sm3(f"{shipped.sm3} {ratio.sm3}"),
    )  # fmt: skip
    claim = hospital.settled()
    assert claim["release"]["parameters_id"] == both.pk
    publish("parameters-nantong-deductible", "employee_deductible", 0)
    assert (benefit(alone), benefit(claim)) == ((6500, 2000), (7000, 2000))
    assert benefit(hospital.settled()) == (7000, 0)
    for kept in (alone, claim):
        assert hospital.get(kept["links"]["self"]).json() == kept
    release = claim["release"]["id"]
    rules = replay.rules_for(current(), "nantong", factories.DAY, release, both.pk)
    assert (rules.benefits["employee", 3].ratio, rules.benefits["employee", 3].deductible) == (
        7000, 2000,
    )  # fmt: skip
    client = Client()
    client.force_login(factories.user("reviewer", hospital.row.region))
    page = client.get(reverse("claim", args=[claim["id"]])).content.decode()
    assert [f"版本 {key} · SM3" in page for key in (release, shipped.pk, ratio.pk)] == [True] * 3
    assert "示例参数（仅供演示，非官方）" in page
    set_scope(EVERYTHING)
    assert ledger.balance().sound


def test_every_day_on_which_sets_meet_has_its_number(hospital: Hospital) -> None:
    shipped = Release.objects.get(kind="parameters")
    first = publish("parameters-a", "employee_deductible", 100, "2021-01-01")
    second = publish("parameters-b", "employee_fund_ratio", 7000, "2021-03-01")
    commands.end(release=first, until=dt.date(2021, 4, 30), reference="文件", by="c", at=NOW)
    later = publish("parameters-b", "employee_fund_ratio", 7100, "2021-06-01")
    sets = {tuple(row) for row in Combination.objects.values_list("releases", flat=True)}
    assert sets == {
        (shipped.pk, first.pk), (shipped.pk, first.pk, second.pk), (shipped.pk, second.pk),
        (shipped.pk, later.pk),
    }  # fmt: skip
    catalogue = current()
    for day, used in (
        (dt.date(2020, 12, 31), (shipped,)), (dt.date(2021, 1, 1), (shipped, first)),
        (dt.date(2021, 4, 30), (shipped, first, second)), (dt.date(2021, 5, 1), (shipped, second)),
        (dt.date(2021, 6, 1), (shipped, later)),
    ):  # fmt: skip
        rules = catalogue.rules("nantong", day)
        named = catalogue.sets_of(rules.parameters_id)
        assert [release.id for release in named] == [release.pk for release in used], day


def test_a_combination_never_changes(hospital: Hospital) -> None:
    publish("parameters-a", "employee_deductible", 100)
    for spoil in (
        lambda: Combination.objects.update(sm3="0"),
        lambda: Combination.objects.all().delete(),
        lambda: Combination.objects.create(releases=[1], sm3="0"),
        lambda: Combination.objects.create(releases=Combination.objects.get().releases, sm3="0"),
    ):
        with pytest.raises(Error), transaction.atomic():
            spoil()
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pricing_release WHERE id = ANY (%s)",
                       [list(Combination.objects.values_list("id", flat=True))])  # fmt: skip
        assert cursor.fetchone()[0] == 0


# --- What a month leaves held ---


def test_a_month_lists_what_its_last_version_holds(hospital: Hospital) -> None:
    held, settled, again = (
        hospital.settled(line(fee=fee)) for fee in ("12.01", "12.00", "12.01")
    )  # fmt: skip
    set_scope(EVERYTHING)
    month = Settlement.objects.get(claim_id=held["id"]).period
    period = Period(pool="nantong", month=month)
    assert set(held_claims(period).values_list("claim_id", flat=True)) == {held["id"], again["id"]}
    first = Settlement.objects.get(claim_id=again["id"], version=1)
    _version(first, 2, state="reversed", minus=True)
    assert list(held_claims(period).values_list("claim_id", flat=True)) == [held["id"]]
    _version(first, 3)
    found = held_claims(period).order_by("claim_id").values_list("claim_id", "version")
    assert list(found) == [(held["id"], 1), (again["id"], 3)]
    assert settled["id"] not in {claim for claim, _ in found}


def _version(row: Settlement, number: int, *, state: str = "", minus: bool = False) -> None:
    """Another version of a claim of which nothing was posted."""
    given = {f.name: getattr(row, f.name) for f in row._meta.concrete_fields}
    money = {name: -given[name] if minus else given[name] for name in (*ledger.TOTALS,)}
    Settlement(**given | money | {"version": number, "state": state or row.state}).save(
        force_insert=True
    )
