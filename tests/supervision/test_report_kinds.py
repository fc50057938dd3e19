"""Every kind of report, by figures worked out by hand."""

import datetime as dt
import subprocess
import sys
from dataclasses import replace

import pytest

from audit import merkle, sealer, trail, verify
from institutions.access import EVERYTHING, set_scope
from institutions.models import Region
from institutions.refusals import Refusal
from settlement import closing as months
from settlement.models import Statement
from settlement.statement_steps import deduct, send_all
from supervision.reports import agreements, binding, orders, press
from supervision.reports.wish import Wish
from tests import factories
from tests.agreements.cast import Cast
from tests.settlement.hospital import Hospital
from tests.settlement.money import NOVEMBER, at
from tests.supervision.casework import Office
from tests.supervision.printed import MADE, figures_in, made, masked, text_of, wish


def test_fund_analysis(place) -> None:
    place.claim(fund=4_000, cash=1_000, month=dt.date(2020, 11, 1))
    _, content = made("fund", place.user("supervisor"), wish(place))
    figures = figures_in(content)
    whole = {
        key: figures["totals"][key] for key in ("claims", "reversals", "fee", "fund", "persons")
    }
    assert whole == {"claims": 4, "reversals": 1, "fee": 16_500, "fund": 12_000, "persons": 1}
    assert figures["before"]["fee"] == 5_000
    text = text_of(content)
    for word in ("净结算3笔", "费用总额165.00元", "统筹基金支付120.00元", "次均费用55.00元",
                 "政策范围内支付比例76.92%", "增长230.0%", place.hospital.name):  # fmt: skip
        assert word in text, word


def test_claims_register_is_masked_and_says_every_version(place) -> None:
    _, content = made("claims", place.user("auditor"), wish(place))
    rows = figures_in(content)["rows"]
    assert [(row[2], row[7], row[8], row[11]) for row in rows] == [
        ("WZ-1", 10_600, 10_000, "payable"), ("WZ-2", 5_000, 2_000, "payable"),
        ("WZ-3", 1_000, 700, "payable"), ("WZ-3", -1_000, -700, "reversed"),
        ("WZ-4", 900, 0, "review"),
    ]  # fmt: skip
    text = text_of(content)
    assert "共5行" in text
    assert "−10.00" in text
    assert place.person.id_masked in text
    masked(content, place)


def test_evaluation_divides_at_the_day(place) -> None:
    place.claim(fund=6_000, cash=2_000, when=at(11, 25), day=dt.date(2021, 11, 25))
    _, content = made(
        "evaluation", place.user("supervisor"), wish(place, day=dt.date(2021, 11, 20))
    )
    figures = figures_in(content)
    (group,) = figures["groups"]
    assert (group["before"]["fund"], group["after"]["fund"]) == (12_000, 6_000)
    assert figures["days"] == {"before": 19, "after": 11}
    text = text_of(content)
    for word in (
        "以2021年11月20日为界，前段19日，后段11日",
        "分险种评估",
        "120.00",
        "60.00",
        "下降50.0%",
    ):
        assert word in text, word


def test_statement_as_a_kept_report(place) -> None:
    claim = place.claim(fund=1_000, major=250, assistance=50, number="WZ-9")
    deduct(
        claim_id=claim, amount=400, reason="records", note="缺病历", by="reviewer", at=at(11, 30)
    )
    period = months.begin_closing(pool=place.pool, month=NOVEMBER, by="finance", at=at(12, 1))
    send_all(period=period, who=place.user("settlement_clerk"), by="clerk", at=at(12, 1))
    row = Statement.objects.get()
    _, content = made("statement", place.user("supervisor"), wish(place, subject=str(row.pk)))
    text = text_of(content)
    for word in (
        "2021年11月医疗保障基金结算单",
        row.number,
        "缺病历",
        "审核扣款明细",
        "大写",
        "示例参数",
    ):
        assert word in text, word
    rows = figures_in(content)["rows"]
    assert len(rows) == 6
    (own,) = (line for line in rows if line[0] == "WZ-9")
    assert own[5:10] == [
        1_300,
        1_000,
        250,
        50,
        0,
    ]  # fee, pooled fund, major illness, assistance, account
    assert "大病保险" in text
    masked(content, place)
    with pytest.raises(Refusal, match="SUBJECT"):
        orders.order(kind="statement", wish=wish(place, subject="999999"),
                     user=place.user("supervisor"), by="x", at=MADE)  # fmt: skip


def test_institution_file_and_agreement_report(place) -> None:
    factories.agreement(place.hospital, "main")
    factories.agreement(place.hospital, "supplementary", "suspended")
    year = {"since": dt.date(2021, 1, 1), "until": dt.date(2021, 12, 31)}
    with pytest.raises(Refusal, match="REQUIRED"):
        orders.order(
            kind="institution", wish=wish(place), user=place.user("supervisor"), by="x", at=MADE
        )
    _, content = made(
        "institution", place.user("supervisor"), wish(place, institution=place.code, **year)
    )
    text = text_of(content)
    for word in ("定点医疗机构年度档案", "（2021年度）", place.hospital.name, place.code, "三类", "净结算3笔",
                 "中止", "一、基本情况", "七、监管疑点"):  # fmt: skip
        assert word in text, word
    _, content = made("agreements", place.user("reviewer"), wish(place, **year))
    figures = figures_in(content)
    states = {row["kind"]: row["state"] for row in figures["agreements"]}
    assert states == {"main": "active", "supplementary": "suspended"}
    assert "存续协议2份" in text_of(content)


def test_applications_stand_as_on_the_last_day_of_the_report(db) -> None:
    """What was done since does not rewrite an older report, nor does it leave an application out."""
    cast = Cast(main_until=dt.date(2021, 12, 31))
    case = cast.apply(dt.date(2021, 3, 8))
    cast.go(case, "submit", "hospital", dt.date(2021, 3, 8))
    cast.go(case, "accept", "reviewer", dt.date(2021, 3, 8))
    cast.judge(case, dt.date(2021, 3, 17))
    cast.go(case, "pass_review", "reviewer", dt.date(2021, 3, 17))
    cast.go(case, "deliver_pass", "reviewer", dt.date(2021, 3, 17), facts={"delivery": "direct"})
    cast.go(case, "withdraw", "hospital", dt.date(2021, 4, 6), note="另行申请")

    def told(until: dt.date, since: dt.date = dt.date(2021, 3, 1)) -> list[tuple]:
        set_scope(EVERYTHING)
        about = Wish(since=since, until=until, region="330300")
        rows = agreements.gather(about, cast.people["supervisor"])["applications"]
        return [(row["state"], row["due"], row["late"], row["closed"]) for row in rows]

    assert told(dt.date(2021, 3, 7)) == []
    assert told(dt.date(2021, 3, 15)) == [("材料审核", "2021-03-15", False, "")]
    assert told(dt.date(2021, 3, 16)) == [("材料审核", "2021-03-15", True, "")]
    assert told(dt.date(2021, 3, 31)) == [("系统改造", "2021-06-17", False, "")]
    assert told(dt.date(2021, 4, 30)) == [("已撤回", "", False, "2021-04-06")]
    assert told(dt.date(2021, 5, 31), since=dt.date(2021, 5, 1)) == []


def test_price_compliance_compares_with_the_published_price(db) -> None:
    set_scope(EVERYTHING)
    factories.policies("nantong")
    hospital = Hospital("nantong")
    factories.offline_visit(hospital.patient, hospital.row)
    hospital.settled(factories.line(fee="12.00"))
    hospital.settled(factories.line(fee="15.00"), day=factories.DAY + dt.timedelta(days=1))
    user = factories.user("supervisor", Region.objects.get(pk="320600"))
    about = Wish(since=factories.DAY, until=factories.DAY + dt.timedelta(days=5), region="320600")
    _, content = made("prices", user, about)
    figures = figures_in(content)
    (group,) = figures["groups"]
    found = {key: group[key] for key in ("lines", "price", "cap", "least", "most", "overcharge",
                                         "overcharged")}  # fmt: skip
    assert found == {"lines": 2, "price": 1_200, "cap": 1_200, "least": 1_200, "most": 1_500,
                     "overcharge": 300, "overcharged": 1}  # fmt: skip
    text = text_of(content)
    for word in (
        "超公布价格",
        "共收取诊察费2笔、27.00元",
        "其中超出公布价格1笔，占50%",
        "超公布价格收费明细",
    ):
        assert word in text, word


def test_case_file_shows_the_inquiry_and_its_evidence(db) -> None:
    office = Office("nantong")
    for person, name in (
        (office.handler, "王承办"),
        (office.second, "李协办"),
        (office.chief, "赵审批"),
    ):
        person.display_name = name
        person.save()
    row = office.inquired()
    about = Wish(since=row.acted_from, until=row.acted_until, region="320600", subject=row.number)
    _, content = made("case", office.handler, about)
    text = text_of(content)
    for word in ("监管案件卷宗", row.number, "涉嫌重复收取诊察费", "苏F-01", "主办", "协办", "证据清单",
                 "七、办理过程", office.place.name):  # fmt: skip
        assert word in text, word
    figures = figures_in(content)
    assert sum(one["loss"] for one in figures["evidence"]) == 600
    assert [one["name"] for one in figures["inspectors"]] == ["王承办", "李协办"]
    assert "赵审批（南通市医疗保障局）" in {one["by"] for one in figures["moves"]}
    assert figures["evidence"][0]["by"] == "王承办"
    theirs = factories.user("supervisor", factories.region("wenzhou"))
    with pytest.raises(Refusal, match="SUBJECT"):
        orders.order(
            kind="case", wish=replace(about, region="330300"), user=theirs, by="x", at=MADE
        )


def test_trail_extract_proves_what_is_sealed(place, tmp_path) -> None:
    for number in range(3):
        trail.record(by="clerk", at=MADE, action="claim.receive", subject=f"claim:{number}",
                     region_code=place.region, institution_code=place.code)  # fmt: skip
    sealer.seal(at=MADE, machine=MADE, everything=True)
    _, content = made("trail", place.user("auditor"), wish(place, until=dt.date(2021, 12, 31)))
    figures = figures_in(content)
    proven = [row for row in figures["rows"] if row["proof"] is not None]
    assert proven
    for row in proven:
        path = [bytes.fromhex(node) for node in row["proof"]]
        root = merkle.root_of_inclusion(
            bytes.fromhex(row["leaf"]), row["seq"], figures["size"], path
        )
        assert root.hex() == figures["root"]
    assert "全程留痕摘录" in text_of(content)
    trail.record(by="clerk", at=MADE, action="claim.receive", subject="claim:10",
                 region_code=place.region, institution_code=place.code)  # fmt: skip
    asked = wish(place, until=dt.date(2021, 12, 31), subject="claim:1")
    _, one = made("trail", place.user("auditor"), asked)
    assert [row["subject"] for row in figures_in(one)["rows"]] == ["claim:1"]
    bundle = tmp_path / "bundle.jsonl"
    bundle.write_bytes(binding.attached(content, press.BUNDLE))
    command = [sys.executable, "-I", verify.__file__, str(bundle)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
