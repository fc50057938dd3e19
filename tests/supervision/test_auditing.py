"""审计台: the same seed draws the same claims; one claim is followed to its proof; the bundle verifies elsewhere."""

import datetime as dt
import hashlib
import io
import json
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from django.db import DatabaseError, connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from hypothesis import given
from hypothesis import strategies as st

from audit import sealer, trail
from audit.models import Event
from institutions.access import EVERYTHING, set_scope
from institutions.commands import set_account
from institutions.models import Region
from institutions.refusals import Refusal
from settlement import bank_files, closing, payments
from settlement.models import Claim, PaymentOrder, Settlement, Statement
from settlement.statement_steps import send_all, take
from supervision import auditing, follow
from supervision.auditing import Drawn, Frame, Population
from supervision.models import Sample, SampledClaim
from tests import factories
from tests.audit.sealing import superuser
from tests.settlement import money
from tests.settlement.hospital import Hospital
from tests.settlement.money import at

NOW = at(12, 20)


def claims(*fees: int) -> Population:
    """Claims 1, 2, … of these fees."""
    return Population(np.arange(1, len(fees) + 1), np.array(fees, dtype=np.int64))


CLAIMS = claims(500, 0, 9_000, 100, 400)


# --- Drawing ---


def test_simple_random_is_the_order_of_the_hashes() -> None:
    ranks = sorted(
        range(1, 6), key=lambda number: hashlib.new("sm3", f"种子\n{number}".encode()).digest()
    )
    drawn = auditing.simple(CLAIMS, seed="种子", size=2)
    assert [row.claim_id for row in drawn] == sorted(ranks[:2])


def test_monetary_units_are_drawn_at_equal_steps() -> None:
    """10,000 fen in 4 steps of 2,500: claim 3 holds the units [500, 9500)."""
    start = int.from_bytes(hashlib.new("sm3", "种子\n10000\n4".encode()).digest()) % 2_500
    points = [start + step * 2_500 for step in range(4)]
    hits = [sum(begin <= point < end for point in points)
            for begin, end in ((0, 500), (500, 500), (500, 9_500), (9_500, 9_600), (9_600, 10_000))]  # fmt: skip
    drawn = auditing.monetary(CLAIMS, seed="种子", size=4)
    assert [(row.claim_id, row.hits) for row in drawn] == [
        (number, hit) for number, hit in enumerate(hits, 1) if hit
    ]
    assert sum(row.hits for row in drawn) == 4


@given(
    st.lists(st.integers(0, 10**6), min_size=1, max_size=40),
    st.text("种子0123", max_size=8),
    st.integers(1, 40),
)
def test_a_sample_is_a_part_of_its_population_and_the_same_again(fees, seed, size) -> None:
    population = claims(*fees)
    rows = [Drawn(*row) for row in population]
    size = min(size, len(rows))
    drawn = auditing.simple(population, seed=seed, size=size)
    assert len(drawn) == size
    assert drawn == auditing.simple(claims(*fees), seed=seed, size=size)
    assert {row.claim_id for row in drawn} <= {row.claim_id for row in rows}
    if sum(fees) >= size:
        by_value = auditing.monetary(population, seed=seed, size=size)
        assert sum(row.hits for row in by_value) == size
        assert all(row.fee for row in by_value)
        step = sum(fees) // size
        certain = {row.claim_id for row in rows if row.fee >= 2 * step}
        assert certain - {row.claim_id for row in by_value} <= _tail(rows, step, size)


def _tail(rows: list[Drawn], step: int, size: int) -> set[int]:
    """Claims in the remainder behind the last full step: no unit of it is drawn for certain."""
    passed, found = 0, set()
    for row in rows:
        passed += row.fee
        if passed > step * size:
            found.add(row.claim_id)
    return found


# --- Commands ---


@pytest.fixture
def place(db) -> money.Place:
    set_scope(EVERYTHING)
    found = money.Place("wenzhou")
    for number in range(8):
        found.claim(fund=100 * (number + 1), cash=50, number=f"WZ-{number}")
    found.reverse(found.claim(fund=7_777, number="WZ-reversed"))
    return found


def frame(place: money.Place, **more) -> Frame:
    days = {"first_day": dt.date(2021, 11, 1), "last_day": dt.date(2021, 11, 30)}
    return Frame(**{"region": place.region, **days, **more})


def drawn(place: money.Place, **more) -> Sample:
    given = {"frame": frame(place), "method": "random", "seed": "2021-12-20 双色球 17", "size": 3,
             "note": "年度审计", "user": place.user("auditor"), "by": "auditor", "at": NOW}  # fmt: skip
    return auditing.draw(**given | more)


def test_a_draw_keeps_seed_digest_and_claims_and_can_be_drawn_again(place) -> None:
    sample = drawn(place)
    assert (sample.population, sample.value, sample.number) == (8, 4_000, "SJ20211220-001")
    listed = "".join(
        f"{claim}:{fee}\n" for claim, fee in Settlement.objects.exclude(fund=7_777)
        .filter(fund__gt=0).order_by("claim_id").values_list("claim_id", "fee")
    )  # fmt: skip
    assert sample.population_sm3 == hashlib.new("sm3", listed.encode()).hexdigest()
    assert auditing.select(
        auditing.population(frame(place), place.user("auditor")),
        method="random",
        seed=sample.seed,
        size=3,
    ) == [Drawn(row.claim_id, row.fee) for row in sample.claims.all()]
    assert {row.institution_code for row in sample.claims.all()} == {place.code}
    detail = json.loads(bytes(Event.objects.get(action="sample.draw").body))["detail"]
    assert detail["claims"] == list(sample.claims.values_list("claim_id", flat=True))
    assert detail["seed"] == "2021-12-20 双色球 17"
    same = auditing.redraw(sample=sample, user=place.user("auditor"), by="auditor", at=NOW)
    assert (same.same_population, same.same_claims) == (True, True)
    place.claim(fund=900)
    changed = auditing.redraw(sample=sample, user=place.user("auditor"), by="auditor", at=NOW)
    assert (changed.same_population, changed.population) == (False, 9)


def test_a_draw_reads_two_numbers_of_each_claim_and_no_more_than_it_may(place, monkeypatch) -> None:
    user = place.user("auditor")
    monkeypatch.setattr(auditing, "READ", 3)
    with CaptureQueriesContext(connection) as asked:
        found = auditing.population(frame(place), user)
    wanted, *_ = (sql["sql"] for sql in asked if "settlement_settlement" in sql["sql"])
    shown = wanted[wanted.index("SELECT") : wanted.index(" FROM ")]
    assert shown.count(" AS ") == shown.count('"claim_id"') == 2
    assert shown.endswith('"claim_id" AS "claim_id", "settlement_settlement"."fee" AS "fee"')
    assert (len(found), found.value, found.ids.nbytes) == (8, 4_000, 64)
    assert [fee for _, fee in found] == [100 * (number + 1) + 50 for number in range(8)]
    sample = drawn(place)
    monkeypatch.setattr(auditing, "MOST_IN_FRAME", 7)
    with pytest.raises(Refusal, match="TOO_MANY"):
        drawn(place)
    client = factories.log_in(Client(), user)
    page = client.post(reverse("sample-redraw", args=[sample.pk]), follow=True).content.decode()
    assert "总体超过7笔，请缩短期间或选择医疗机构" in page


def test_a_monetary_sample_counts_hits(place) -> None:
    sample = drawn(place, method="monetary", size=8)
    assert sum(sample.claims.values_list("hits", flat=True)) == 8
    assert sample.claims.count() < 8


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"size": 9}, "TOO_FEW"), ({"size": 0}, "SIZE"), ({"size": auditing.MOST + 1}, "SIZE"),
        ({"region": "320600"}, "SCOPE"), ({"institutions": ("H32060000001",)}, "SCOPE"),
        ({"last_day": dt.date(2021, 10, 1)}, "SPAN"),
    ],
)  # fmt: skip
def test_refused_draws(place, given, code) -> None:
    asked = {key: given[key] for key in ("size",) if key in given}
    about = replace(frame(place), **{key: value for key, value in given.items() if key != "size"})
    with pytest.raises(Refusal, match=code):
        drawn(place, frame=about, **asked)
    assert not Sample.objects.exists()


def test_what_was_drawn_never_changes(place) -> None:
    sample = drawn(place)
    first = sample.claims.first()
    for change in (
        lambda: Sample.objects.filter(pk=sample.pk).update(seed="x"),
        lambda: SampledClaim.objects.filter(pk=first.pk).update(claim_id=1),
        lambda: SampledClaim.objects.filter(pk=first.pk).update(verdict="doubt", judged_by="x"),
    ):
        with pytest.raises(DatabaseError), transaction.atomic():
            change()
    auditing.judge(sampled_id=first.pk, verdict="clean", remark="", by="auditor", at=NOW)
    with pytest.raises(Refusal, match="REQUIRED"):
        auditing.judge(sampled_id=first.pk, verdict="doubt", remark=" ", by="auditor", at=NOW)
    with pytest.raises(Refusal, match="VERDICT"):
        auditing.judge(sampled_id=first.pk, verdict="", remark="", by="auditor", at=NOW)
    auditing.judge(sampled_id=first.pk, verdict="doubt", remark="缺处方", by="auditor", at=NOW)
    first.refresh_from_db()
    assert (first.verdict, first.remark, first.judged_by) == ("doubt", "缺处方", "auditor")
    assert Event.objects.filter(action="sample.judge").count() == 2


def test_another_region_sees_no_sample(place) -> None:
    sample = drawn(place)
    theirs = factories.user("auditor", factories.region("nantong"))
    client = factories.log_in(Client(), theirs)
    claim = sample.claims.first().claim_id
    for name, more in (("sample", ()), ("sample-bundle", ()), ("claim-chain", (claim,))):
        assert client.get(reverse(name, args=[sample.pk, *more])).status_code == 404
    assert client.post(reverse("sample-redraw", args=[sample.pk])).status_code == 404
    assert sample.number not in client.get(reverse("audit-desk")).content.decode()
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('app.scope', 'R:3206', true)")
    assert (Sample.objects.count(), SampledClaim.objects.count()) == (0, 0)


# --- Pages: draw, follow, take away ---


@pytest.fixture
def visited(db, settings) -> Hospital:
    """A Nantong hospital with two settled claims, seen on the day after."""
    set_scope(EVERYTHING)
    return two_claims(settings)


def two_claims(settings) -> Hospital:
    settings.DEMO_TODAY = factories.DAY + dt.timedelta(days=2)
    factories.policies("nantong")
    hospital = Hospital("nantong")
    factories.offline_visit(hospital.patient, hospital.row)
    hospital.settled(factories.line(fee="12.00"))
    hospital.settled(factories.line(fee="12.00"), day=factories.DAY + dt.timedelta(days=1))
    return hospital


def test_a_claim_is_followed_from_fee_to_proof_and_the_bundle_verifies(visited, tmp_path) -> None:
    auditor = factories.user("auditor", Region.objects.get(pk="320600"))
    client = factories.log_in(Client(), auditor)
    form = client.get(reverse("sample-new")).content.decode()
    assert visited.row.name in form
    given = {"region": "320600", "first_day": f"{factories.DAY}", "size": "2", "seed": "42",
             "last_day": f"{factories.DAY + dt.timedelta(days=5)}", "method": "random", "scheme": "",
             "note": "穿行测试", "institutions": [visited.row.code]}  # fmt: skip
    assert client.post(reverse("sample-new"), given | {"size": "5"}).status_code == 422
    answer = client.post(reverse("sample-new"), given)
    sample = Sample.objects.get()
    assert answer["Location"] == reverse("sample", args=[sample.pk])
    page = client.get(answer["Location"]).content.decode()
    assert "穿行测试" in page
    assert sample.population_sm3 in page
    assert "暂不能导出" in page
    sealer.seal(at=NOW, machine=NOW, everything=True)
    first = sample.claims.first()
    chain = reverse("claim-chain", args=[sample.pk, first.claim_id])
    seen = client.get(chain).content.decode()
    for word in ("费用与明细", "明细之和等于申报费用", "结算版本", "每一版本借贷相抵", "月结算单与扣款",
                 "拨付清单与凭证", "银行结果与退回", "留痕与证明", "日志位置", "包含证明",
                 reverse("claim", args=[first.claim_id])):  # fmt: skip
        assert word in seen, word
    assert visited.patient.credential not in seen
    look = Event.objects.get(action="sample.follow")
    assert (look.subject, bytes(look.person_hash)) == (
        f"claim:{first.claim_id}", bytes(visited.patient.id_hash)
    )  # fmt: skip
    refused = client.post(chain, {"verdict": "doubt", "remark": ""})
    assert refused.status_code == 422
    assert client.post(chain, {"verdict": "clean", "remark": "相符"}).status_code == 302
    again = client.post(reverse("sample-redraw", args=[sample.pk]), follow=True).content.decode()
    assert "总体与样本完全一致" in again
    _verified(client.get(reverse("sample-bundle", args=[sample.pk])).content, tmp_path, sample)
    assert Event.objects.filter(action="sample.export", subject=sample.subject).exists()


def test_the_bundle_of_a_sample_proves_the_growth_from_an_older_checkpoint(
    visited, tmp_path
) -> None:
    auditor = factories.user("auditor", Region.objects.get(pk="320600"))
    client = factories.log_in(Client(), auditor)
    kept = sealer.seal(at=NOW, machine=NOW, everything=True).checkpoint
    assert kept is not None
    (tmp_path / "kept.txt").write_text(kept.text, encoding="utf-8")
    sample = one_claim(auditor)
    sealer.seal(at=NOW, machine=NOW, everything=True)
    address = reverse("sample-bundle", args=[sample.pk])
    page = client.get(reverse("sample", args=[sample.pk])).content.decode()
    assert (f'action="{address}"' in page, 'name="older"' in page) == (True, True)
    refused = client.get(address, {"older": "999999"}, follow=True)
    assert "没有条数为 999999 的检查点" in refused.content.decode()
    assert not Event.objects.filter(action="sample.export").exists()
    for older, status in (({}, 2), ({"older": str(kept.size)}, 0)):
        with zipfile.ZipFile(io.BytesIO(client.get(address, older).content)) as archive:
            archive.extractall(tmp_path)
        command = [sys.executable, "-I", "verify.py", "bundle.jsonl", "--older", "kept.txt"]
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
        assert result.returncode == status, result.stdout.decode()


def one_claim(auditor) -> Sample:
    """A sample of the one claim of the first day."""
    frame = Frame(region="320600", first_day=factories.DAY, last_day=factories.DAY)
    return auditing.draw(frame=frame, method="monetary", seed="7", size=1, note="", user=auditor,
                         by=auditor.username, at=NOW)  # fmt: skip


def last_station(auditor) -> dict:
    claim = Claim.objects.order_by("pk").first()
    assert claim is not None
    return follow.Chain.of(claim, user=auditor).stations()[-1]


BROKEN = [
    ("UPDATE audit_event SET body = '{}' WHERE action = 'claim.receive'", "正文与叶哈希不符"),
    ("UPDATE audit_event SET at = at - interval '1 day' WHERE action = 'claim.receive'", "时间"),
    ("UPDATE audit_event SET person_hash = NULL WHERE action = 'claim.receive'", "参保人哈希"),
    ("UPDATE audit_leaf SET hash = sha256('')", "叶哈希与日志所封存的不符"),
    ("UPDATE audit_checkpoint SET root = sha256('')", "推不出检查点的树根"),
    ("DELETE FROM audit_node", "日志缺少计算包含证明所需的哈希"),
    ("DELETE FROM audit_leaf", "日志中没有它的位置"),
]
TABLES = ("audit_event", "audit_leaf", "audit_checkpoint", "audit_node")


def test_an_act_whose_proof_does_not_hold_is_shown_as_broken(
    committed_db, settings, tmp_path
) -> None:
    """A place in the log alone proves nothing: every step is computed from the stored row."""
    settings.SEAL_KEY_FILE = str(tmp_path / "seal.pem")
    two_claims(settings)
    auditor = factories.user("auditor", Region.objects.get(pk="320600"))
    client = factories.log_in(Client(), auditor)
    sample = one_claim(auditor)
    sealer.seal(at=NOW, machine=NOW, everything=True)
    assert last_station(auditor)["word"] == "相符"
    address = reverse("claim-chain", args=[sample.pk, sample.claims.get().claim_id])
    with superuser() as cursor:
        for table in TABLES:
            cursor.execute(f"CREATE TABLE kept_{table} AS TABLE {table}")
        for statement, why in BROKEN:
            cursor.execute(statement)
            station = last_station(auditor)
            assert station["word"] == "不符", statement
            assert any(why in row["note"] for row in station["rows"]), station
            page = client.get(address)
            assert (page.status_code, why in page.content.decode()) == (200, True), statement
            if "audit_node" in statement:
                told = client.get(reverse("sample-bundle", args=[sample.pk]), follow=True)
                assert "缺少计算证明所需的哈希" in told.content.decode()
                event = Event.objects.filter(action="claim.receive").latest("at").pk
                told = client.get(reverse("api-inclusion"), {"event": event})
                assert (told.status_code, told.json()) == (409, {"code": "LOG_BROKEN"})
            for table in TABLES:
                cursor.execute(f"DELETE FROM {table}")
                cursor.execute(f"INSERT INTO {table} TABLE kept_{table}")
    assert last_station(auditor)["word"] == "相符"


def test_looks_push_no_act_out_of_sight_and_the_rest_is_counted(visited) -> None:
    auditor = factories.user("auditor", Region.objects.get(pk="320600"))
    claim = Claim.objects.order_by("pk").first()
    assert claim is not None
    about = {"subject": f"claim:{claim.pk}", "region_code": claim.region_code,
             "institution_code": claim.institution_code}  # fmt: skip
    for number in range(60):
        trail.record(by="nosy", at=NOW + dt.timedelta(seconds=number), action="claim.read", **about)
    station = last_station(auditor)
    assert [row["text"] for row in station["rows"]] == [
        f"单据 {claim.pk} 首次结算的摘要（SM3）", station["rows"][1]["text"], "查看 60 次见留痕",
    ]  # fmt: skip
    assert station["rows"][0]["note"].startswith("由入库账目重算，与封存的一致：")
    assert station["rows"][-1]["url"] == f"{reverse('trail')}?subject=claim%3A{claim.pk}"
    for number in range(follow.EVENTS_SHOWN + 3):
        at = NOW + dt.timedelta(minutes=number)
        trail.record(by="clerk", at=at, action="claim.presettle", **about)
    rows = last_station(auditor)["rows"]
    assert len(rows) == follow.EVENTS_SHOWN + 3
    assert rows[1]["text"].startswith("预结算")  # the newest first
    assert rows[-2]["text"] == f"单据 {claim.pk}：其余 4 条见留痕"


def _verified(content: bytes, folder: Path, sample: Sample) -> None:
    """The bundle verifies with what is in it; a changed word in it is found."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        archive.extractall(folder)
    told = json.loads((folder / "sample.json").read_text(encoding="utf-8"))
    assert [row["claim"] for row in told["claims"]] == list(
        sample.claims.values_list("claim_id", flat=True)
    )
    command = [sys.executable, "-I", "verify.py", "bundle.jsonl"]
    result = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    assert result.returncode == 0, result.stdout.decode() + result.stderr.decode()
    text = (folder / "bundle.jsonl").read_text(encoding="utf-8")
    (folder / "bundle.jsonl").write_text(
        text.replace("claim.receive", "claim.deceive"), encoding="utf-8"
    )
    assert subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode == 1


def test_a_chain_names_statement_payment_and_bank(visited) -> None:
    """Stations whose time has not come say so."""
    auditor = factories.user("auditor", Region.objects.get(pk="320600"))
    frame = Frame(region="320600", first_day=factories.DAY, last_day=factories.DAY)
    sample = auditing.draw(frame=frame, method="monetary", seed="7", size=1, note="", user=auditor,
                           by=auditor.username, at=NOW)  # fmt: skip
    row = sample.claims.get()
    stations = follow.Chain.of(Claim.objects.get(pk=row.claim_id), user=auditor).stations()
    assert [(one["title"], one["word"]) for one in stations] == [
        ("费用与明细", "相符"), ("结算版本", "相符"), ("总账分录", "相符"), ("月结算单与扣款", "未到"),
        ("拨付清单与凭证", "未到"), ("银行结果与退回", "未到"), ("留痕与证明", "未到"),
    ]  # fmt: skip


def test_a_claim_that_was_paid_shows_every_station(visited) -> None:
    """Its month is closed, its statement paid through a list by two persons, the bank answered."""
    auditor = factories.user("auditor", Region.objects.get(pk="320600"))
    claim = Claim.objects.order_by("pk").first()
    assert claim is not None
    statement, order = paid(visited, claim.period)
    sealer.seal(at=at(7, 20), machine=at(7, 20), everything=True)
    stations = follow.Chain.of(claim, user=auditor).stations()
    assert [(one["title"], one["word"]) for one in stations] == [
        ("费用与明细", "相符"), ("结算版本", "相符"), ("总账分录", "相符"), ("月结算单与扣款", "相符"),
        ("拨付清单与凭证", "相符"), ("银行结果与退回", "相符"), ("留痕与证明", "相符"),
    ]  # fmt: skip
    rows = {one["title"]: one["rows"] for one in stations}
    assert rows["月结算单与扣款"][0]["url"] == reverse("statement", args=[statement.pk])
    listed = rows["拨付清单与凭证"]
    assert listed[0]["text"] == f"清单 {order.list.number}　指令 {order.number}"
    assert f"{statement.payable / 100:,.2f} 元，已支付" in listed[0]["note"]
    assert any(row["text"].startswith("凭证 ") for row in listed)
    assert rows["银行结果与退回"][0]["text"] == "银行流水 S-1"
    assert stations[4]["figure"] == f"已支付 {statement.payable / 100:,.2f} 元"
    proven = rows["留痕与证明"]
    assert any("包含证明" in row["note"] for row in proven)
    assert stations[6]["figure"].endswith(f"{len(proven) - 1} 条已封存")  # and the totals


def paid(hospital: Hospital, month: dt.date) -> tuple[Statement, PaymentOrder]:
    """The hospital's statement of a month, paid: confirmed, on a list, approved, sent, answered."""
    clerk, finance = (
        factories.user(role, factories.region("nantong"))
        for role in ("settlement_clerk", "finance_officer")
    )
    set_account(institution=hospital.row, holder=hospital.row.name, bank="示例银行",
                number="3206001234567890", valid_from=factories.LONG_AGO, by="clerk", at=at(6, 1))  # fmt: skip
    period = closing.begin_closing(pool="nantong", month=month, by=finance.username, at=at(7, 5))
    send_all(period=period, who=clerk, by=clerk.username, at=at(7, 5))
    row = Statement.objects.get(institution_code=hospital.row.pk, period=month)
    signer = factories.user("hospital", hospital.row)
    take(statement=row, step="confirm", who=signer, by=signer.username, at=at(7, 6),
         facts={"signed_name": "王院长"})  # fmt: skip
    closing.close(pool="nantong", month=month, by=finance.username, at=at(7, 8))
    made = payments.prepare(
        subjects=[row.subject], region=clerk.region, by=clerk.username, at=at(7, 9)
    )
    payments.approve(made=made, by=finance.username, at=at(7, 10))
    payments.export(made=made, form="csv", by=clerk.username, at=at(7, 10))
    order = made.orders.get()
    answer = bank_files.Answer(number=order.number, state="paid", amount=order.amount,
                               on=dt.date(2021, 7, 12), serial="S-1", reason="")  # fmt: skip
    payments.take_results(made=made, answers=[answer], by=finance.username, at=at(7, 12))
    row.refresh_from_db()
    order.refresh_from_db()
    return row, order
