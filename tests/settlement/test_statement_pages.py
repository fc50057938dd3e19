"""The pages of months, statements, advances, budgets and clearings: what they show, who may act."""

import csv
import datetime as dt
import hashlib
import json
import re
from decimal import Decimal

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from audit.models import Event
from institutions.access import EVERYTHING, set_scope
from institutions.models import User
from settlement import budgets, closing, payers, statement_page
from settlement.models import (
    Advance,
    BudgetEntry,
    Deduction,
    HospitalLedger,
    Period,
    Scheme,
    Statement,
)
from settlement.statement_steps import deduct, send_all
from tests import factories
from tests.settlement import money
from tests.settlement.money import NOVEMBER, at


@pytest.fixture
def place(db) -> money.Place:
    set_scope(EVERYTHING)
    return money.Place("wenzhou")


@pytest.fixture(autouse=True)
def december(settings) -> None:
    settings.DEMO_TODAY = dt.date(2021, 12, 3)


def client_of(place: money.Place, role: str) -> Client:
    return factories.log_in(Client(), place.user(role))


def sent(place: money.Place) -> Statement:
    claim = place.claim(fund=10_000, account=500, cash=100, number="WZ-1")
    place.claim(fund=0, held=700)
    deduct(
        claim_id=claim, amount=400, reason="records", note="缺病历", by="reviewer", at=at(11, 30)
    )
    period = closing.begin_closing(pool=place.pool, month=NOVEMBER, by="finance", at=at(12, 1))
    send_all(period=period, who=place.user("settlement_clerk"), by="clerk", at=at(12, 1))
    return Statement.objects.get()


def step(row: Statement, key: str) -> str:
    return reverse("statement-step", args=[row.pk, key])


def move(place: money.Place, key: str) -> str:
    return reverse("period-move", args=[place.pool, "2021-11", key])


def text(answer) -> str:
    return answer.content.decode()


def test_the_statement_shows_its_chain_with_clauses_and_lines(place) -> None:
    row = sent(place)
    clerk = client_of(place, "settlement_clerk")
    page = text(clerk.get(reverse("statement", args=[row.pk])))
    for word in ("申报 105.00 － 审核扣款 4.00 － 质量保证金 4.81 ＝ 应付 96.19", "温医保办〔2021〕6号", "二十四",
                 "示例参数", "WZ-1", "缺病历", "请于 2021-12-15 前确认", "三方核对"):  # fmt: skip
        assert word in page
    held = text(clerk.get(reverse("statement", args=[row.pk]), {"only": "held"}))
    assert "WZ-1</a>" not in held.split('id="lines"')[-1]
    assert "待人工审核" in held
    listed = text(clerk.get(reverse("statements")))
    assert "96.19" in listed
    assert place.hospital.name in listed
    assert "关账中" in listed
    assert "96.19" not in text(
        clerk.get(reverse("statements"), {"period": "2021-11", "scheme": "lixiu"})
    )


def test_of_a_sent_statement_a_deduction_is_kept_only(place) -> None:
    row, reviewer = sent(place), client_of(place, "reviewer")
    cut = reverse("deduction", args=[Deduction.objects.get().pk])
    page = text(reviewer.get(reverse("statement", args=[row.pk])))
    assert ('value="keep"' in page, 'value="withdraw"' in page) == (True, False)
    told = reviewer.post(cut, {"answer": "材料已补齐", "decision": "withdraw"}, follow=True)
    assert "结算单已送机构确认，扣款不能撤销" in text(told)
    assert Deduction.objects.get().state == "made"


def test_the_hospital_objects_and_the_agency_answers_in_the_browser(place) -> None:
    row = sent(place)
    hospital, finance = client_of(place, "hospital"), client_of(place, "finance_officer")
    answer = hospital.post(step(row, "confirm"), {"signed_name": ""})
    assert answer.status_code == 422
    assert "必填" in text(answer)
    assert hospital.post(step(row, "send")).status_code == 302
    assert Statement.objects.get().state == "sent"
    given = {
        "reason": "病历已上传",
        "claims": "WZ-1",
        "signed_name": "李医保",
        "version": row.version,
    }
    assert hospital.post(step(row, "object"), given).status_code == 302
    refused = finance.post(step(row, "answer"), {"answer": "维持"})
    assert refused.status_code == 409
    assert "1笔有异议" in text(refused)
    reviewer = client_of(place, "reviewer")
    reviewer.post(reverse("deduction", args=[Deduction.objects.get().pk]),
                  {"answer": "材料已补齐", "decision": "withdraw"})  # fmt: skip
    assert finance.post(step(row, "answer"), {"answer": "撤销扣款"}).status_code == 302
    row.refresh_from_db()
    assert (row.state, row.deducted, row.round) == ("sent", 0, 2)
    assert hospital.post(step(row, "confirm"), {"signed_name": "王院长"}).status_code == 302
    page = text(hospital.get(reverse("statement", args=[row.pk])))
    assert "王院长" in page
    assert "已确认" in page
    assert "撤销扣款" in page
    assert Event.objects.filter(action="statement.confirm", subject=row.subject).exists()
    assert b"\xe7\x8e\x8b\xe9\x99\xa2\xe9\x95\xbf" not in bytes(
        Event.objects.get(action="statement.confirm").body
    )


def test_what_somebody_else_did_meanwhile_is_refused(place) -> None:
    row = sent(place)
    hospital = client_of(place, "hospital")
    given = {"signed_name": "王院长", "version": row.version - 1}
    answer = hospital.post(step(row, "confirm"), given)
    assert answer.status_code == 409
    assert "请刷新" in text(answer)


def paid_by_four(place: money.Place) -> Statement:
    """Claims paid by one fund alone, by several, by none; one whose money is the person's."""
    place.claim(fund=0, major=4000, cash=100, number="D-1")
    place.claim(fund=0, assistance=50, number="J-1")
    place.claim(fund=1000, major=400, account=30, number="T-1")
    place.claim(fund=700, major=70, to_person=True, number="B-1")
    place.reverse(place.claim(fund=90, number="C-1"))
    place.claim(fund=0, held=700, number="H-1")
    closing.begin_closing(pool=place.pool, month=NOVEMBER, by="finance", at=at(12, 1))
    return Statement.objects.get()


def test_the_lines_that_a_statement_opens_add_up_to_what_it_declares(place) -> None:
    row = paid_by_four(place)
    shown = statement_page.lines(row, "paid")
    paid = {name: sum(getattr(line, name) for line in shown) for name in payers.PAYERS}
    assert paid == {"fund": 1000, "major": 4400, "assistance": 50, "account": 30}
    assert paid == statement_page.paid_by([row])[row.pk]
    assert sum(paid.values()) == row.declared == 5480
    assert not {"B-1", "H-1"} & set(
        statement_page.claim_numbers([x.claim_id for x in shown]).values()
    )
    clerk = client_of(place, "settlement_clerk")
    page = text(clerk.get(reverse("statement", args=[row.pk]), {"only": "paid"}))
    assert "大病保险 44.00 元，医疗救助 0.50 元" in page
    table = page.split('id="lines"')[-1]
    for head in ("统筹基金（元）", "大病保险（元）", "医疗救助（元）", "个人账户（元）"):
        assert head in table
    assert "D-1" in table
    export = clerk.get(reverse("statement-lines", args=[row.pk, "csv"]), {"only": "paid"})
    lines = b"".join(export.streaming_content).decode("utf-8-sig").splitlines()
    heads, *rows = csv.reader(lines)
    named = [dict(zip(heads, cells, strict=True)) for cells in rows]
    summed = sum(Decimal(one[label]) for one in named for label in payers.LABELS.values())
    assert summed == Decimal("54.80")


def test_a_statement_without_major_illness_names_two_payers(place) -> None:
    row = sent(place)
    table = text(client_of(place, "settlement_clerk").get(reverse("statement", args=[row.pk])))
    assert "个人账户（元）" in table
    assert "大病保险" not in table


def test_the_hospitals_pooled_fund_is_compared_with_the_pooled_fund(place) -> None:
    row = paid_by_four(place)
    HospitalLedger.objects.create(
        region_code=place.region, institution_code=place.code, period=NOVEMBER, file_name="x.csv",
        rows=1, file_sm3="0" * 64, uploaded_at=at(12, 1), uploaded_by="h", state="balanced",
        matched_at=at(12, 1), balanced_at=at(12, 1), totals={"schemes": {"resident": 1700}},
    )  # fmt: skip
    page = text(client_of(place, "finance_officer").get(reverse("statement", args=[row.pk])))
    match = page.split('id="match-title"')[1].split("</table>")[0]
    told = " ".join(re.sub(r"<[^>]+>", " ", match).split())
    assert "已对平 x.csv，1 行 17.00 0.00 与中心" in told
    assert "中心结算 统筹基金" in told
    assert ("另大病保险 44.70 元、医疗救助 0.50 元、个人账户 0.30 元；其中 7.70 元付给参保人，不入本单 17.00"
            in told)  # fmt: skip


def test_the_paper_and_the_exports(place) -> None:
    row = sent(place)
    clerk = client_of(place, "settlement_clerk")
    paper = clerk.get(reverse("statement-paper", args=[row.pk]))
    assert paper.status_code == 200
    assert paper.content.startswith(b"%PDF")
    said = json.loads(bytes(Event.objects.get(action="statement.paper").body))["detail"]
    assert said["sm3"] == hashlib.new("sm3", paper.content).hexdigest()
    lines = b"".join(clerk.get(reverse("statement-lines", args=[row.pk, "csv"])).streaming_content)
    assert lines.decode("utf-8-sig").splitlines()[1].split(",")[:1] == ["WZ-1"]
    assert ",4.00,可支付," in lines.decode()
    book = clerk.get(reverse("statement-lines", args=[row.pk, "xlsx"]))
    assert book.content.startswith(b"PK")
    assert clerk.get(reverse("statement-lines", args=[row.pk, "pdf"])).status_code == 404


def test_a_month_is_closed_in_the_browser(place) -> None:
    place.claim(fund=5000)
    finance, clerk = client_of(place, "finance_officer"), client_of(place, "settlement_clerk")
    assert clerk.post(move(place, "begin")).status_code == 403
    assert finance.post(move(place, "begin")).status_code == 302
    page = text(finance.get(reverse("period", args=[place.pool, "2021-11"])))
    assert "还有1张结算单未经机构确认" in page
    assert finance.post(move(place, "close")).status_code == 409
    assert clerk.post(move(place, "send")).status_code == 302
    row = Statement.objects.get()
    client_of(place, "hospital").post(step(row, "confirm"), {"signed_name": "王院长"})
    assert finance.post(move(place, "close")).status_code == 302
    assert Period.objects.get().state == "closed"
    page = text(finance.get(reverse("period", args=[place.pool, "2021-11"])))
    assert "与总账相符" in page
    assert Period.objects.get().totals_sm3 in page
    assert finance.post(move(place, "reopen"), {"reason": "漏收"}).status_code == 302
    assert finance.post(move(place, "decide"), {"decision_is": "agree"}).status_code == 403
    policy = client_of(place, "policy_staff")
    assert policy.post(move(place, "decide"), {"decision_is": "agree"}).status_code == 302
    assert Period.objects.get().state == "open"
    assert "2021-11" in text(clerk.get(reverse("periods")))


def test_a_closed_month_shows_the_accounts_of_each_scheme(place) -> None:
    october = dt.date(2021, 10, 1)
    place.claim(fund=1000, scheme="lixiu", month=october)
    place.closed(october, (11, 2))
    place.claim(fund=5000, account=200)
    place.claim(fund=3000, cash=40, scheme="lixiu")
    place.closed(NOVEMBER, (12, 2))
    month = Period.objects.get(month=NOVEMBER)
    # the deposit of October's statement, 0.50, is posted in November
    assert month.totals["schemes"] == {
        "lixiu": {"1": 3000, "3": 40, "6": -3000 + 50, "7": -40, "8": -50},
        "resident": {"1": 5000, "2": 200, "6": -5200},
    }
    page = text(client_of(place, "finance_officer").get(
        reverse("period", args=[place.pool, "2021-11"])))  # fmt: skip
    cells = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", page, re.S)
    told = [re.sub(r"<[^>]+>|\s", "", cell) for cell in cells]
    where = told.index("离休统筹")
    assert told[where : where + 4] == ["离休统筹", "统筹基金", "30.00", "40.00"]


def test_others_find_nothing(place) -> None:
    row = sent(place)
    stranger = client_of(money.Place("wenzhou"), "hospital")
    for name, args in (("statement", [row.pk]), ("statement-paper", [row.pk]),
                       ("statement-lines", [row.pk, "csv"]), ("statement", [2**63]),
                       ("period", ["nantong", "2021-11"]), ("period", [place.pool, "2021-13"])):  # fmt: skip
        assert stranger.get(reverse(name, args=args)).status_code == 404
    assert stranger.post(step(row, "confirm"), {"signed_name": "x"}).status_code == 404


def test_an_advance_is_proposed_with_its_file_and_decided_by_another(place) -> None:
    clerk, finance = client_of(place, "settlement_clerk"), client_of(place, "finance_officer")
    given = {"institution": place.code, "scheme": "resident", "amount": "1000.50", "reason": "周转"}
    assert clerk.post(reverse("advances"), given).status_code == 422  # without a file

    def send(**more: str):
        file = SimpleUploadedFile("预付协议.pdf", b"%PDF-1.4 advance")
        return clerk.post(reverse("advances"), given | {"file": file} | more)

    assert send(amount="1.005").status_code == 422
    assert send().status_code == 302
    row = Advance.objects.get()
    assert row.amount == 100_050
    page = text(finance.get(reverse("advances")))
    assert "1,000.50" in page
    assert "预付协议.pdf" in page
    assert clerk.post(reverse("advance-decide", args=[row.pk])).status_code == 403
    decide = reverse("advance-decide", args=[row.pk])
    finance.post(decide, {"decision_is": "agree"})
    assert Advance.objects.get().state == "approved"
    due = text(clerk.get(reverse("payments-due")))
    assert "居民医保预付款 周转" in due
    assert "没有登记结算账户" in due
    place.advance(5000)
    assert "未冲抵余额" in text(client_of(place, "hospital").get(reverse("advances")))
    assert client_of(place, "hospital").post(reverse("advances"), given).status_code == 403


def test_budgets_are_set_and_seen(place) -> None:
    one, other = client_of(place, "policy_staff"), client_of(place, "policy_staff")
    address = reverse("budget", args=[place.code, 2021])
    given = {
        "scheme": "resident",
        "amount": "100.00",
        "reason": "年初",
        "document": "示例〔2021〕1号",
    }
    assert one.post(address, given | {"document": ""}).status_code == 422
    assert one.post(address, given).status_code == 302
    entry = BudgetEntry.objects.get()
    one.post(reverse("budget-decide", args=[entry.pk]), {"decision_is": "agree"})
    assert BudgetEntry.objects.get().state == "proposed"
    other.post(reverse("budget-decide", args=[entry.pk]), {"decision_is": "agree"})
    place.claim(fund=8500)
    page = text(other.get(address))
    for word in ("100.00", "85.00", "85%", "年初下达", "示例〔2021〕1号", "温医保办〔2021〕6号"):
        assert word in page
    assert "85%" in text(other.get(reverse("budgets"), {"year": 2021}))
    hospital = client_of(place, "hospital")
    assert "85%" in text(hospital.get(address))
    assert hospital.post(address, given).status_code == 403
    assert budgets.watch(pool=place.pool, year=2021, by="system:beat", at=at(12, 3)) == 1


def test_a_clearing_on_its_page(place) -> None:
    factories.user("finance_officer")
    place.claim(fund=5000, month=dt.date(2020, 12, 1), when=at(12, 15, 2020))
    clerk = client_of(place, "settlement_clerk")
    given = {"institution": place.code, "scheme": Scheme.RESIDENT, "year": 2020}
    answer = clerk.post(reverse("clearings"), given)
    assert answer.status_code == 422
    assert "2020年12月尚未关账" in text(answer)
    assert "还没有年终清算" in text(clerk.get(reverse("clearings")))


def test_a_month_in_the_way_is_named_with_its_address_and_listed_however_old(place) -> None:
    """Months are closed in order: the one that is first can be reached from any later one."""
    place.claim(fund=5000, month=dt.date(2020, 3, 1))
    finance = client_of(place, "finance_officer")
    oldest = reverse("period", args=[place.pool, "2020-03"])
    page = text(finance.get(reverse("period", args=[place.pool, "2021-11"])))
    assert oldest in page
    assert move(place, "begin") not in page
    assert oldest in text(finance.get(reverse("periods")))
    assert reverse("period-move", args=[place.pool, "2020-03", "begin"]) in text(
        finance.get(oldest)
    )


def test_people_are_called_by_name_on_a_statement(place) -> None:
    row = sent(place)
    User.objects.create(username="reviewer", display_name="沈审核")
    page = text(client_of(place, "settlement_clerk").get(reverse("statement", args=[row.pk])))
    assert "沈审核" in page
