"""Reconciliation with a hospital: dry run, three keys, classes, working off, 已对平."""

import csv
import datetime as dt
import io
import re

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse

from audit import clock
from audit.models import Task
from institutions.access import EVERYTHING, set_scope
from institutions.refusals import Refusal
from settlement import hospital_ledgers, ledger, reconciliation
from settlement.models import (
    Claim,
    Discrepancy,
    HospitalLedger,
    LedgerRow,
    Period,
    Settlement,
    Statement,
)
from settlement.periods import month_of
from tests import factories
from tests.factories import line
from tests.settlement.hospital import Hospital

HEAD = [label for label, _, _ in hospital_ledgers.COLUMNS.values()]
State = HospitalLedger.State


@pytest.fixture
def hospital(db) -> Hospital:
    factories.policies("nantong")
    made = Hospital(scheme="employee")
    made.claims = [
        made.settled(line(fee="12.00"), line(2, item="999", fee="5.00")) for _ in range(4)
    ]
    assert made.reverse(made.claims[3]).status_code == 201
    set_scope(EVERYTHING)
    return made


def row(hospital: Hospital, claim: dict, n: int = 0, **more) -> dict:
    found = claim["lines"][n]
    return {
        "单据号": claim["claim_no"], "行号": str(found["line_no"]),
        "证件号码": hospital.patient.credential, "服务日期": claim["service_date"],
        "项目编码": found["item_code"], "金额": found["fee"],
        "统筹基金": found["fund_pay"] or "0.00", "状态": "已结算", **more,
    }  # fmt: skip


def rows(hospital: Hospital) -> list[dict]:
    """The hospital's ledger when everything agrees."""
    return [
        row(hospital, claim, n, 状态="已冲正" if claim is hospital.claims[3] else "已结算")
        for claim in hospital.claims for n in range(2)
    ]  # fmt: skip


def content(lines: list[dict]) -> bytes:
    sink = io.StringIO()
    writer = csv.DictWriter(sink, HEAD)
    writer.writeheader()
    writer.writerows(lines)
    return sink.getvalue().encode("utf-8-sig")


def period() -> dt.date:
    return month_of(clock.now())


def uploaded(hospital: Hospital, lines: list[dict]) -> HospitalLedger:
    set_scope(EVERYTHING)
    return reconciliation.check(
        institution=hospital.row, period=period(), file_name="10月.csv", content=content(lines),
        by="hospital", at=clock.now(),
    )  # fmt: skip


def matched(hospital: Hospital, lines: list[dict]) -> HospitalLedger:
    made = uploaded(hospital, lines)
    assert made.errors == []
    return reconciliation.match(ledger=made, by="hospital", at=clock.now())


def standing(hospital: Hospital) -> reconciliation.Standing:
    return reconciliation.state_of(hospital.row.code, period())


def test_what_agrees_is_balanced(hospital: Hospital) -> None:
    assert standing(hospital).state == "none"
    made = matched(hospital, rows(hospital))
    assert list(made.differences.values_list("kind", "claim_no", "line_no")) == []
    assert made.state == State.BALANCED
    assert standing(hospital).label == "已对平"
    assert made.totals["fund_ours"] == made.totals["fund_theirs"] > 0


def three_sides(hospital: Hospital, state: str = "decided", **more) -> tuple[str, list[list[str]]]:
    """The statement page of the month, and the three sides on it as rows of text."""
    claims = Settlement.objects.filter(period=period(), version__gt=0)
    fund = sum(claims.values_list("fund", flat=True))
    given = {
        "institution_code": hospital.row.code, "scheme": "employee", "period": period(),
        "pool": "nantong", "region_code": hospital.row.region_id, "state": state,
        "procedure": "statement", "entered_on": period(), "opened_at": clock.now(),
        "opened_by": "clerk", "finalised_at": clock.now(), "fund": fund, "declared": fund,
        "payable": fund,
    }  # fmt: skip
    made = Statement.objects.create(**(given | more))
    page = factories.log_in(Client(), factories.user("finance_officer", hospital.row.region))
    html = page.get(reverse("statement", args=[made.pk])).content.decode()
    table = html.split('id="match-title"')[1].split("</table>")[0].split("<tbody>")[1]
    sides = re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)
    return html, [
        [" ".join(re.sub(r"<[^>]+>", " ", cell).split())
         for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", side, re.DOTALL)]
        for side in sides
    ]  # fmt: skip


def test_the_statement_shows_three_amounts_and_their_differences(hospital: Hospital) -> None:
    lines = rows(hospital)
    lines[2]["统筹基金"] = f"{float(lines[2]['统筹基金']) + 0.5:.2f}"  # half a yuan too much
    lines.append(row(hospital, hospital.claims[0], 0, 单据号="UNKNOWN", 统筹基金="1.00"))
    made = matched(hospital, lines)
    set_scope(EVERYTHING)
    fund = sum(Settlement.objects.values_list("fund", flat=True))
    assert made.totals["schemes"] == {"employee": fund + 50, "": 100}
    _, (theirs, centre, bank) = three_sides(hospital)
    amount = f"{fund / 100:.2f}"
    assert (theirs[0], *theirs[2:]) == (
        "医院账 统筹基金", f"{(fund + 50) / 100:.2f}", "+0.50 与中心"
    )  # fmt: skip
    assert "另有 1.00 元的单据不在本期结算中" in theirs[1]
    assert (centre[0], *centre[2:]) == ("中心结算 统筹基金", amount, "—")
    assert (bank[0], *bank[2:]) == ("银行实付 拨付减退票", "0.00", f"−{amount} 与应付")
    assert f"应付 {amount} 元" in bank[1]


def test_a_statement_of_a_month_without_the_hospitals_ledger(hospital: Hospital) -> None:
    html, (theirs, _, _) = three_sides(hospital)
    assert (theirs[0], *theirs[2:]) == ("医院账 统筹基金", "—", "—")
    assert "未上传" in html


def test_a_reversal_of_an_earlier_months_claim_is_taken_back_on_both_sides(
    hospital: Hospital,
) -> None:
    """The hospital lists it as reversed; the fund of the month is less by it on both sides."""
    claim = hospital.claims[0]
    first = Settlement.objects.get(claim_id=claim["id"])
    later = (period() + dt.timedelta(days=32)).replace(day=1)
    Period.objects.create(pool="nantong", month=period(), state="closed")
    assert hospital.reverse(claim).status_code == 201
    set_scope(EVERYTHING)
    assert Settlement.objects.get(claim_id=claim["id"], version=2).period == later
    lines = [row(hospital, claim, n, 状态="已冲正") for n in range(2)]
    made = reconciliation.check(
        institution=hospital.row, period=later, file_name="x.csv", content=content(lines),
        by="hospital", at=clock.now(),
    )  # fmt: skip
    made = reconciliation.match(ledger=made, by="hospital", at=clock.now())
    assert made.totals["schemes"] == {"employee": -first.fund}


def test_a_ledger_names_drugs_by_their_national_code(hospital: Hospital) -> None:
    code = "XA10BAE020A001010300001"
    made = uploaded(hospital, [row(hospital, hospital.claims[0], 项目编码=code)])
    assert (made.errors, LedgerRow.objects.get().item_code) == ([], code)


def test_every_class_of_difference(hospital: Hospital) -> None:
    lines = rows(hospital)
    first, second, third, fourth = hospital.claims
    lines[0]["金额"] = "13.00"
    lines[2] |= {"证件号码": factories.id_number(777)}
    lines[3] |= {"服务日期": "2021-06-14"}
    del lines[4]
    lines[5 - 1]["统筹基金"] = "0.01"
    lines[-2]["状态"] = "已结算"
    lines.append(row(hospital, first, 1))
    lines.append(row(hospital, first, 0, 单据号="UNKNOWN", 项目编码="999"))
    made = matched(hospital, lines)
    found = set(made.differences.values_list("kind", "claim_no", "line_no"))
    assert found == {
        ("amount", first["claim_no"], 1), ("identity", second["claim_no"], 1),
        ("identity", second["claim_no"], 2), ("only_ours", third["claim_no"], 1),
        ("amount", third["claim_no"], 2), ("state", fourth["claim_no"], 1),
        ("duplicate", first["claim_no"], 2), ("only_theirs", "UNKNOWN", 1),
    }  # fmt: skip
    assert len(found) == made.differences.count()
    assert made.state == State.DIFFERENT
    assert standing(hospital).open == 8
    task = Task.objects.get(subject=f"ledger:{made.pk}")
    assert (task.permission, task.state) == ("reconciliations.handle", "open")


def test_a_mistyped_number_is_one_difference_and_no_claim_is_reversed_for_it(hospital) -> None:
    first, second, third = hospital.claims[:3]
    lines = rows(hospital)
    lines[0]["单据号"] = lines[1]["单据号"] = "N0-typed"  # the first visit, its number wrong
    lines[2] |= {"单据号": "N1-typed", "金额": "13.00"}  # one line of the second, its fee as well
    del lines[4:6]  # the third is unknown to the hospital
    made = matched(hospital, lines)
    found = made.differences.values_list(
        "kind", "claim_no", "line_no", "claim_no_theirs", "fee_theirs"
    )
    assert set(found) == {
        ("number", first["claim_no"], 1, "N0-typed/1", 1200),
        ("number", first["claim_no"], 2, "N0-typed/2", 500),
        ("number", second["claim_no"], 1, "N1-typed/1", 1300),
        ("only_ours", third["claim_no"], 1, "", None),
        ("only_ours", third["claim_no"], 2, "", None),
    }
    set_scope(EVERYTHING)
    assert list(made.totals["schemes"]) == ["employee"]  # theirs is money of our claims
    numbers = made.differences.filter(kind="number")
    act = {"ledger": made, "reason": "医院单据号录错", "by": "clerk", "at": clock.now()}
    wrong = {"differences": numbers.values_list("pk", flat=True), "resolution": "reverse"}
    with pytest.raises(Refusal, match="DOES_NOT_FIT"):
        reconciliation.resolve(**wrong, **act)
    done = {"resolution": "reverse", "reason": "x", "resolved_by": "c", "resolved_at": clock.now()}
    with pytest.raises(IntegrityError, match="number_is_settled_once"), transaction.atomic():
        numbers.update(**done)
    kept = numbers.values_list("pk", flat=True)
    assert reconciliation.resolve(differences=list(kept), resolution="ours", **act) == 3
    assert not Settlement.objects.filter(claim_id=first["id"], version=2).exists()
    clerk = factories.log_in(Client(), factories.user("settlement_clerk", hospital.row.region))
    page = clerk.get(reverse("reconciliation", args=[made.pk])).content.decode()
    assert "单据号不一致" in page
    assert "机构账为 N0-typed/1" in page


def test_differences_are_worked_off_until_the_month_is_balanced(hospital: Hospital) -> None:
    first, second = hospital.claims[:2]
    lines = rows(hospital)
    lines[0]["金额"] = "13.00"
    del lines[2:4]
    lines.append(row(hospital, first, 0, 单据号="UNKNOWN", 服务日期="2021-06-01"))
    made = matched(hospital, lines)
    by_kind = {kind: list(made.differences.filter(kind=kind).values_list("pk", flat=True))
               for kind in Discrepancy.Kind.values}  # fmt: skip
    act = {"ledger": made, "by": "clerk", "at": clock.now()}

    def resolve(kind: str, resolution: str, reason: str = "核对电子发票") -> int:
        return reconciliation.resolve(
            differences=by_kind[kind], resolution=resolution, reason=reason, **act
        )

    for kind, resolution, reason, code in (
        ("amount", "nothing", "x", "CHOICE"), ("amount", "ours", " ", "REQUIRED"),
        ("only_theirs", "reverse", "x", "DOES_NOT_FIT"),
    ):  # fmt: skip
        with pytest.raises(Refusal, match=code):
            resolve(kind, resolution, reason)
    assert resolve("only_ours", "reverse") == 2
    assert Settlement.objects.filter(claim_id=second["id"]).count() == 2
    assert resolve("only_theirs", "resend") == 1
    assert standing(hospital).open == 1
    assert resolve("amount", "reverse_resend") == 1
    assert resolve("amount", "ours") == 0 if standing(hospital).state == "open" else True
    assert standing(hospital).state == "balanced"
    resend = Task.objects.get(subject=f"ledger:{made.pk}/resend")
    assert (resend.permission, resend.institution_code) == (
        "reconciliations.upload", hospital.row.code,
    )  # fmt: skip
    reconciliation.resent(ledger=made, by="hospital", at=clock.now())
    resend.refresh_from_db()
    assert resend.state == "done"
    assert Task.objects.get(subject=f"ledger:{made.pk}").state == "done"
    with pytest.raises(Refusal, match="LEDGER_STATE"):
        resolve("amount", "ours")
    assert ledger.balance().sound


def test_a_held_claim_does_not_keep_a_decision_over_many_from_being_carried_out(hospital) -> None:
    held = hospital.settled(line(fee="15.00"))
    made = matched(hospital, rows(hospital)[2:])
    kept = made.differences.values_list("pk", flat=True)
    done = reconciliation.resolve(ledger=made, differences=kept, resolution="reverse",
                                  reason="医院无此单据", by="clerk", at=clock.now())  # fmt: skip
    assert (done, standing(hospital).state) == (3, "balanced")
    gone = Settlement.objects.filter(claim_id__in=(held["id"], hospital.claims[0]["id"]), version=2)
    assert gone.count() == 2


def test_a_later_ledger_of_the_month_replaces_the_one_before(hospital: Hospital) -> None:
    old = matched(hospital, rows(hospital)[:-1])
    new = matched(hospital, rows(hospital))
    old.refresh_from_db()
    assert (old.state, new.state) == (State.SUPERSEDED, State.BALANCED)
    assert standing(hospital).ledger == new.pk
    with pytest.raises(IntegrityError, match="counts_once"), transaction.atomic():
        HospitalLedger.objects.filter(pk=old.pk).update(state="different")
    with pytest.raises(Refusal, match="LEDGER_STATE"):
        reconciliation.match(ledger=new, by="hospital", at=clock.now())


def test_every_row_error_is_told_at_once_and_nothing_is_kept(hospital: Hospital) -> None:
    lines = rows(hospital)
    lines[0] |= {"行号": "x", "金额": "1.234"}
    lines[1]["证件号码"] = "123"
    lines[2]["状态"] = "?"
    lines[3]["服务日期"] = "2999-01-01"
    made = uploaded(hospital, lines)
    assert [(e["row"], e["column"]) for e in made.errors] == [
        (2, "行号"), (2, "金额"), (3, "证件号码"), (4, "状态"), (5, "服务日期"),
    ]  # fmt: skip
    assert not LedgerRow.objects.exists()
    with pytest.raises(Refusal, match="LEDGER_STATE"):
        reconciliation.match(ledger=made, by="hospital", at=clock.now())
    for name, data in (("x.txt", b"a"), ("x.csv", b""), ("x.csv", "甲,乙\n".encode())):
        with pytest.raises(Refusal, match="FILE_INVALID"):
            hospital_ledgers.read(name, data, period=period())
    book = hospital_ledgers.template()
    assert len(hospital_ledgers.read("t.xlsx", book, period=dt.date(2021, 6, 1))) == 1


def test_no_id_number_is_kept(hospital: Hospital) -> None:
    made = uploaded(hospital, rows(hospital))
    kept = bytes(made.lines.first().person_hash)
    assert kept == bytes(hospital.patient.id_hash)


def test_pages_of_both_sides(hospital: Hospital) -> None:
    lines = rows(hospital)
    lines[0]["金额"] = "13.00"
    theirs = factories.log_in(Client(), factories.user("hospital", hospital.row))
    sent = theirs.post(reverse("reconciliations"), {
        "period": f"{period():%Y-%m}", "file": SimpleUploadedFile("账.csv", content(lines)),
    })  # fmt: skip
    set_scope(EVERYTHING)
    made = HospitalLedger.objects.get()
    assert sent.url == reverse("reconciliation", args=[made.pk])
    assert "确认并对账" in theirs.get(sent.url).content.decode()
    assert theirs.post(reverse("reconciliation-match", args=[made.pk])).status_code == 302
    clerk = factories.log_in(Client(), factories.user("settlement_clerk", hospital.row.region))
    page = clerk.get(sent.url).content.decode()
    assert "金额不符" in page
    assert "以中心为准" in page
    assert "以中心为准" not in theirs.get(sent.url).content.decode()
    url = reverse("reconciliation-resolve", args=[made.pk])
    assert theirs.post(url).status_code == 403
    nothing = clerk.post(url, {"reason": "x", "action": "ours"})
    assert nothing.status_code == 422
    done = clerk.post(url, {"reason": "以发票为准", "action": "ours", "all_matching": "1"})
    assert done.status_code == 302
    set_scope(EVERYTHING)
    assert standing(hospital).state == "balanced"
    assert "已对平" in clerk.get(reverse("reconciliations")).content.decode()
    assert clerk.get(reverse("reconciliation-template")).status_code == 200
    assert Claim.objects.count() == 4
