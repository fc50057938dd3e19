"""Re-settlement: a release with past validity, replayed, approved by a second person, posted once."""

import datetime as dt

import pytest
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from audit.models import Task
from institutions.access import EVERYTHING, set_scope
from institutions.models import Notification
from institutions.refusals import Refusal
from pricing import commands as law
from pricing.models import Release
from settlement import ledger, resettlement, resettlement_lists
from settlement.models import (
    Accumulator,
    LineResult,
    PersonalAccount,
    Resettlement,
    ResettlementItem,
    Settlement,
)
from settlement.replay import replay
from settlement.tasks import draw_resettlement
from tests import factories
from tests.factories import line
from tests.settlement.hospital import Hospital

FIRST, LAST = dt.date(2021, 1, 1), dt.date(2021, 12, 31)
NOW = timezone.now()


def publish(old: str, new: str, *, since: str = "2021-01-01", region: str = "nantong") -> Release:
    """A parameter set with one number changed, in force from a day that is past."""
    shipped = Release.objects.filter(kind="parameters", region=region).order_by("pk").first()
    text = shipped.text.replace("effective: {from: 2020-02-25", f"effective: {{from: {since}")
    assert old in text
    made = law.draft(text=text.replace(old, new), by="drafter", at=NOW)
    evidence = {"sm3": made.sm3, "cases": {"passed": 1, "failed": 0}}
    return law.publish(release=made, evidence=evidence, by="publisher", at=NOW)


RATIO = ("key: employee_fund_ratio, value: 6500", "key: employee_fund_ratio, value: 7000")
DEDUCTIBLE = ("key: employee_deductible, value: 2000", "key: employee_deductible, value: 1000")
RAISED = ("key: employee_deductible, value: 2000", "key: employee_deductible, value: 3000")
LIMIT = ("key: employee_annual_limit, value: 600000", "key: employee_annual_limit, value: 2000")


@pytest.fixture
def hospital(db) -> Hospital:
    factories.policies("nantong")
    made = Hospital(scheme="employee")
    made.patient = factories.person("nantong", "employee", account_balance=500)
    return made


def ask(hospital: Hospital, **more) -> Resettlement:
    set_scope(EVERYTHING)
    given = {"first_day": FIRST, "last_day": LAST, "reason": "比例调整追溯"} | more
    return resettlement_lists.propose(region=hospital.row.region, by="clerk", at=NOW, **given)


def draw(made: Resettlement) -> Resettlement:
    """The list as workers leave it."""
    resettlement_lists.draw_all(resettlement_id=made.pk, by="system:worker", at=NOW)
    set_scope(EVERYTHING)
    made.refresh_from_db()
    return made


def propose(hospital: Hospital, **more) -> Resettlement:
    return draw(ask(hospital, **more))


def post(made: Resettlement) -> int:
    set_scope(EVERYTHING)
    resettlement.approve(resettlement=made, by="finance", at=NOW)
    return resettlement.post_all(resettlement_id=made.pk, by="system:worker", at=NOW)


def versions(claim: dict) -> list[tuple]:
    set_scope(EVERYTHING)
    rows = Settlement.objects.filter(claim_id=claim["id"]).order_by("version")
    return [(row.version, row.state, row.fund, row.account, row.cash) for row in rows]


def year() -> tuple[int, int, int, int]:
    set_scope(EVERYTHING)
    return used(Accumulator.objects.get())


def used(row: Accumulator) -> tuple[int, int, int, int]:
    left = PersonalAccount.objects.get(person=row.person).account_left
    return row.deductible_used, row.in_scope_used, row.fund_used, left


def test_a_replay_under_the_same_law_changes_nothing(hospital: Hospital) -> None:
    expert = factories.physician(hospital.row, "chief")
    for n in range(4):
        hospital.settled(line(fee="12.00"), pay_from_account=n % 2 == 0)
    hospital.settled(line(fee="12.01"))
    hospital.settled(line(item="111102003", fee="35.00"), line(2, item="999", fee="5.00"),
                     physician={"code": expert.code})  # fmt: skip
    twice = hospital.body(line(fee="12.00"))
    assert hospital.post(twice).status_code == 201
    again = hospital.post(twice | {"claim_no": "C-again"})
    assert again.json()["state"] == "reject"
    set_scope(EVERYTHING)
    from django.db import connection

    from pricing.releases import current

    rows = Settlement.objects.order_by("claim_id")
    key = (rows[0].person_id, 2021)
    for start in (rows[0].claim_id, rows[3].claim_id):
        with connection.cursor() as cursor:
            found = replay(cursor, current(), {key: [start]})
        assert found is not None
        assert not found.changed.any()
        assert len(found.claims) == rows.filter(claim_id__gte=start).count()


def test_a_list_is_drawn_approved_and_posted_once(hospital: Hospital) -> None:
    before = [hospital.settled(line(fee="12.00"), pay_from_account=n > 0) for n in range(3)]
    publish(*RATIO)
    made = propose(hospital)
    # 12 + 12 + 12 above a deductible of 20: the second has 4, the third 12 in scope above it
    items = list(made.items.order_by("claim_id"))
    assert [(i.claim_id, i.fund, i.account, i.cash) for i in items] == [
        (before[1]["id"], 20, 0, -20), (before[2]["id"], 60, 0, -60),
    ]  # fmt: skip
    assert (made.totals["fund"], made.totals["refund"]) == (80, 80)
    assert (made.claims, made.examined) == (2, 3)
    assert Task.objects.get(subject=f"resettlement:{made.pk}").permission == "corrections.approve"
    with pytest.raises(Refusal, match="SECOND_PERSON"):
        resettlement.approve(resettlement=made, by="clerk", at=NOW)
    boss = factories.user("hospital", hospital.row)
    assert post(made) == 2
    assert resettlement.post_all(resettlement_id=made.pk, by="w", at=NOW) == 0
    made.refresh_from_db()
    assert made.state == Resettlement.State.POSTED
    assert [v[0] for v in versions(before[0])] == [1]
    assert [v[:2] for v in versions(before[2])] == [
        (1, "payable"), (2, "reversed"), (3, "payable"),
    ]  # fmt: skip
    assert versions(before[2])[-1][2] == versions(before[2])[0][2] + 60
    assert ledger.balance().sound
    now = hospital.get(before[2]["links"]["self"]).json()
    assert (now["state"], now["reversal"]) == ("payable", None)
    assert [v["kind"] for v in now["versions"]] == ["settlement", "reversal", "settlement"]
    assert now["totals"]["fund"] == now["versions"][-1]["totals"]["fund"]
    assert now["release"]["parameters_id"] != before[2]["release"]["parameters_id"]
    assert Notification.objects.filter(user=boss, subject=f"resettlement:{made.pk}").exists()
    assert Task.objects.filter(subject=f"resettlement:{made.pk}/{hospital.row.code}").exists()
    assert propose(hospital).state == Resettlement.State.NOTHING


def test_what_stands_after_posting_is_what_the_law_would_have_made(hospital: Hospital) -> None:
    """The replay in order of arrival equals settling the same claims under the new law at once."""
    bodies = [
        hospital.body(line(fee=fee), pay_from_account=fee == "12.00")
        for fee in ("12.00", "9.00", "12.00", "7.50", "12.00")
    ]
    sent = [hospital.post(body).json() for body in bodies]
    assert hospital.reverse(sent[1]).status_code == 201
    publish(*DEDUCTIBLE)
    post(propose(hospital))
    found = [versions(claim)[-1][2:] for claim in sent if claim is not sent[1]]
    left = year()
    other = Hospital(scheme="employee")
    other.patient = factories.person("nantong", "employee", account_balance=500)
    twins = []
    for body in (b for n, b in enumerate(bodies) if n != 1):
        fee = body["lines"][0]["fee"]
        answer = other.settled(line(fee=fee), pay_from_account=body["pay_from_account"])
        twins.append(versions(answer)[-1][2:])
    assert found == twins
    set_scope(EVERYTHING)
    assert left == used(Accumulator.objects.get(person=other.patient))
    assert ledger.balance().sound


def test_later_claims_of_the_year_follow_though_their_own_law_is_unchanged(hospital) -> None:
    june = hospital.settled(line(fee="12.00"))
    late = dt.date(2021, 11, 10)
    november = hospital.post(hospital.body(line(fee="12.00"), day=late)).json()
    set_scope(EVERYTHING)
    publish(*DEDUCTIBLE)
    made = propose(hospital, last_day=dt.date(2021, 10, 31))
    kinds = dict(made.items.values_list("claim_id", "kind"))
    assert kinds == {june["id"]: "direct", november["id"]: "consequent"}
    assert made.totals["consequent"] == 1
    assert post(made) == 2
    release = LineResult.objects.filter(claim_id=november["id"], version=3).values_list(
        "parameters_id", flat=True
    )
    assert list(release) == [november["release"]["parameters_id"]]
    assert ledger.balance().sound


def test_a_limit_is_never_exceeded_by_a_replay(hospital: Hospital) -> None:
    for _ in range(5):
        hospital.settled(line(fee="12.00"))
    publish(*LIMIT)
    post(propose(hospital))
    assert year()[2] <= 2000
    assert ledger.balance().sound


@pytest.mark.parametrize("meanwhile", ["reversed", "new claim"])
def test_a_claim_that_changed_meanwhile_is_left_out_with_the_reason(hospital, meanwhile) -> None:
    first, second = (hospital.settled(line(fee="12.00")) for _ in range(2))
    publish(*RAISED)
    made = propose(hospital)
    if meanwhile == "reversed":
        assert hospital.reverse(second).status_code == 201
    else:
        hospital.settled(line(fee="12.00"))
    set_scope(EVERYTHING)
    assert post(made) == made.claims
    items = ResettlementItem.objects.filter(resettlement=made)
    assert {item.state for item in items} == {"left_out"}
    assert all("须重新列单" in item.reason for item in items)
    assert [v[0] for v in versions(first)] == [1]
    assert ledger.balance().sound


def test_who_may_do_what_and_when(hospital: Hospital) -> None:
    hospital.settled(line(fee="12.00"))
    assert propose(hospital).state == Resettlement.State.NOTHING
    hospital.settled(line(fee="12.00"))
    publish(*RATIO)
    with pytest.raises(Refusal, match="REQUIRED"):
        propose(hospital, reason=" ")
    with pytest.raises(Refusal, match="SPAN"):
        propose(hospital, first_day=LAST, last_day=FIRST)
    made = propose(hospital)
    with pytest.raises(Refusal, match="RESETTLEMENT_OPEN"):
        propose(hospital)
    with pytest.raises(Refusal, match="OWN_ONLY"):
        resettlement.withdraw(resettlement=made, by="finance", at=NOW)
    resettlement.refuse(resettlement=made, note="依据不足", by="finance", at=NOW)
    with pytest.raises(Refusal, match="RESETTLEMENT_STATE"):
        resettlement.approve(resettlement=made, by="finance", at=NOW)
    assert resettlement.post_all(resettlement_id=made.pk, by="w", at=NOW) == 0
    resettlement.withdraw(resettlement=propose(hospital), by="clerk", at=NOW)


def test_a_list_is_drawn_part_by_part_and_goes_on_where_it_was_left(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resettlement_lists, "PERSON_YEARS", 2)
    for _ in range(5):
        hospital.patient = factories.person("nantong", "employee")
        for _ in range(2):
            hospital.settled(line(fee="12.00"))
    publish(*RATIO)
    whole = propose(hospital)
    assert (whole.claims, whole.person_years, whole.recomputed) == (5, 5, 5)
    resettlement.withdraw(resettlement=whole, by="clerk", at=NOW)

    made = ask(hospital)
    real = resettlement_lists.replay
    calls = []

    def dies_at_the_second(*given):
        calls.append(1)
        if len(calls) == 2:
            raise ConnectionError("the worker is gone")
        return real(*given)

    monkeypatch.setattr(resettlement_lists, "replay", dies_at_the_second)
    with pytest.raises(ConnectionError):
        draw(made)
    set_scope(EVERYTHING)
    made.refresh_from_db()
    assert (made.state, made.recomputed, made.person_years) == ("drawing", 2, 5)
    assert made.items.count() == made.claims == 2
    assert draw(made).claims == 5
    assert made.items.count() == 5
    assert (made.digest, made.totals) == (whole.digest, whole.totals)
    assert resettlement_lists.draw_all(resettlement_id=made.pk, by="w", at=NOW) == 0


def test_a_worker_whose_list_moved_meanwhile_leaves_it(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        hospital.settled(line(fee="12.00"))
    publish(*RATIO)
    made = ask(hospital)
    real = resettlement_lists.law_of_days

    def overtaken(*given):
        monkeypatch.setattr(resettlement_lists, "law_of_days", real)
        draw(made)
        return real(*given)

    monkeypatch.setattr(resettlement_lists, "law_of_days", overtaken)
    assert resettlement_lists.draw_all(resettlement_id=made.pk, by="w", at=NOW) == 0
    set_scope(EVERYTHING)
    made.refresh_from_db()
    assert (made.state, made.items.count()) == ("drawn", 1)


def test_the_sweep_rings_for_what_stands_still(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        hospital.settled(line(fee="12.00"))
    publish(*RATIO)
    rung: list[tuple] = []
    monkeypatch.setattr(resettlement, "ring", lambda task, ids: rung.append((task, ids)))
    made = ask(hospital)
    assert resettlement.sweep() == 1
    Resettlement.objects.update(moved_at=timezone.now())
    assert resettlement.sweep() == 0
    draw(made)
    resettlement.approve(resettlement=made, by="finance", at=NOW)
    assert resettlement.sweep() == 1
    assert rung == [(resettlement_lists.DRAW_TASK, [made.pk]), (resettlement.POST_TASK, [made.pk])]


def test_the_list_is_drawn_by_a_worker(hospital: Hospital) -> None:
    for _ in range(2):
        hospital.settled(line(fee="12.00"))
    publish(*RATIO)
    made = ask(hospital)
    draw_resettlement(made.pk)
    set_scope(EVERYTHING)
    made.refresh_from_db()
    assert (made.state, made.claims) == ("drawn", 1)
    draw_resettlement(made.pk + 1)


def test_whoever_asked_takes_the_list_back_while_it_is_drawn(hospital: Hospital) -> None:
    hospital.settled(line(fee="12.00"))
    publish(*RATIO)
    made = ask(hospital)
    with pytest.raises(Refusal, match="RESETTLEMENT_STATE"):
        resettlement.approve(resettlement=made, by="finance", at=NOW)
    resettlement.withdraw(resettlement=made, by="clerk", at=NOW)
    assert draw(made).state == Resettlement.State.WITHDRAWN


def test_an_approved_list_without_its_digest_is_refused_by_the_database(hospital: Hospital) -> None:
    publish(*RATIO)
    made = ask(hospital)
    with (
        pytest.raises(IntegrityError, match="resettlement_drawn_with_digest"),
        transaction.atomic(),
    ):
        Resettlement.objects.filter(pk=made.pk).update(state="approved", decided_by="x")


def test_pages_of_both_persons_and_of_the_institution(hospital: Hospital) -> None:
    for _ in range(2):
        claim = hospital.settled(line(fee="12.00"))
    publish(*RATIO)
    region = hospital.row.region
    clerk = factories.log_in(Client(), factories.user("settlement_clerk", region))
    boss = factories.log_in(Client(), factories.user("finance_officer", region))
    theirs = factories.log_in(Client(), factories.user("hospital", hospital.row))
    sent = clerk.post(reverse("resettlements"), {
        "region": region.pk, "first_day": "2021-01-01", "last_day": "2021-12-31", "reason": "追溯",
    })  # fmt: skip
    set_scope(EVERYTHING)
    made = Resettlement.objects.get()
    own = reverse("resettlement", args=[made.pk])
    assert sent.url == own
    assert "重算并列单" in boss.get(own).content.decode()
    assert "核准并入账" not in boss.get(own).content.decode()
    poll = {"HX-Request": "true", "HX-Target": "list-progress"}
    assert "HX-Refresh" not in boss.get(own, headers=poll).headers
    draw(made)
    assert boss.get(own, headers=poll).headers["HX-Refresh"] == "true"
    assert "须由第二人核准" not in clerk.get(own).content.decode()
    assert "核准并入账" in boss.get(own).content.decode()
    assert clerk.post(f"{own}approve/").status_code == 404
    assert boss.post(f"{own}refuse/", {"note": ""}).status_code == 422
    assert boss.post(f"{own}approve/", {"note": "同意"}).status_code == 302
    assert "逐人入账" in boss.get(own).content.decode()
    assert theirs.get(reverse("resettlement-claims", args=[made.pk])).status_code == 404
    set_scope(EVERYTHING)
    resettlement.post_all(resettlement_id=made.pk, by="system:worker", at=NOW)
    assert "已入账" in boss.get(own).content.decode()
    table = b"".join(boss.get(f"{own}list.csv").streaming_content).decode()
    assert claim["claim_no"] in table
    noted = reverse("resettlement-claims", args=[made.pk])
    assert "已阅知" in theirs.get(noted).content.decode()
    assert theirs.post(noted).status_code == 302
    set_scope(EVERYTHING)
    task = Task.objects.get(subject=f"resettlement:{made.pk}/{hospital.row.code}")
    assert task.state == "done"
    page = theirs.get(reverse("claim", args=[claim["id"]])).content.decode()
    assert "结算版本" in page
    assert "重新结算分录" in page
    listed = theirs.get(reverse("claims"), {"state": "payable"}).content.decode()
    assert claim["claim_no"] in listed
    assert (
        claim["claim_no"]
        not in theirs.get(reverse("claims"), {"state": "reversed"}).content.decode()
    )
