"""Register extracts: every error at once, nothing by halves, ten thousand rows, differences worked off."""

import csv
import datetime as dt
import io
import json
import time
from itertools import count

import pytest
import xlsxwriter
from django.db import connection
from django.test.utils import CaptureQueriesContext
from python_calamine import CalamineWorkbook

from audit.models import Event, Task
from institutions import crypto
from institutions.models import User
from institutions.refusals import Refusal
from settlement.models import (
    Entitlement,
    InsuredPerson,
    PersonalAccount,
    RegisterDifference,
    RegisterSheet,
)
from settlement.register import commands, compare, intake
from settlement.tasks import run_register, sweep_register
from tests import factories

AT = dt.datetime(2021, 12, 20, 9, tzinfo=factories.ZONE)
LATER = dt.datetime(2021, 12, 21, 9, tzinfo=factories.ZONE)
ON = dt.date(2021, 12, 20)
_serial = count(1)


def number() -> str:
    body = f"999999197001{next(_serial):05d}"
    return body + crypto.check_digit(body)


def row(**more: str) -> dict[str, str]:
    standard = {"证件号码": number(), "姓名": "张示例", "险种": "职工医保", "生效日": "2021-01-01"}
    return standard | more


def sheet(*rows: dict[str, str], encoding: str = "utf-8") -> bytes:
    head = list(dict.fromkeys(key for line in rows for key in line))
    out = io.StringIO()
    writer = csv.DictWriter(out, head)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode(encoding)


@pytest.fixture(autouse=True)
def no_broker(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Doorbells are only noted."""
    rung: list[int] = []
    monkeypatch.setattr(intake, "ring", lambda task, ids: rung.extend(ids))
    return rung


@pytest.fixture
def clerk(db) -> User:
    return factories.user("settlement_clerk", factories.region("nantong"))


def check(clerk: User, content: bytes, name: str = "名册.csv") -> RegisterSheet:
    return intake.check(file_name=name, content=content, who=clerk, by=clerk.username, at=AT)


def imported(clerk: User, content: bytes, at: dt.datetime = AT) -> RegisterSheet:
    made = check(clerk, content)
    assert made.errors == []
    intake.confirm(sheet=made, by=clerk.username, at=at)
    assert intake.run(sheet_id=made.pk, at=at)
    made.refresh_from_db()
    return made


def reasons(made: RegisterSheet) -> list[tuple[int, str, str]]:
    return [(error["row"], error["column"], error["reason"]) for error in made.errors]


def told(person: InsuredPerson) -> list[tuple]:
    return [(e.scheme, e.standing, str(e.valid_from), str(e.valid_until or ""))
            for e in Entitlement.objects.known().filter(person=person).order_by("valid_from")]  # fmt: skip


# --- Dry run ---


def test_every_error_of_every_row_at_once(clerk):
    good = number()
    rows = [
        row(证件号码=good[:-1] + ("0" if good[-1] != "0" else "1")),
        row(证件号码=good[:6] + good[8:17]),
        row(证件号码="９" + good[1:]),
        row(证件号码="9.99999E+17"),
        row(险种="商业保险", 生效日="2021-13-01"),
        row(止日="2020-01-01"),
        row(姓名="", 参保地="999999"),
        row(参保地="330300"),
        row(联系电话="无"),
        (twice := row()), twice,
        row(证件号码=twice["证件号码"], 姓名="李示例", 生效日="2021-06-01"),
    ]  # fmt: skip
    made = check(clerk, sheet(*rows))
    assert reasons(made) == [
        (2, "证件号码", "证件号码校验位不符"),
        (3, "证件号码", "不接受 15 位旧证号"),
        (4, "证件号码", "证件号码含全角或非 ASCII 字符"),
        (5, "证件号码", "以科学计数法保存，末位数字已丢失；请把该列设为文本格式后重新填写"),
        (6, "险种", "应为职工医保、居民医保、离休统筹之一"),
        (6, "生效日", "没有这一天"),
        (7, "止日", "止日早于生效日"),
        (8, "姓名", "必填"),
        (8, "参保地", "不是本统筹区内的区划代码"),
        (9, "参保地", "不是本统筹区内的区划代码"),
        (10, "联系电话", "电话应为 7 至 20 位数字"),
        (12, "生效日", "同一人同一生效日与第 11 行重复"),
        (13, "姓名", "与第 11 行的姓名（张**）不符，请核对证件号码"),
    ]  # fmt: skip
    assert (made.counts["errors"], made.counts["wrong_rows"]) == (13, 11)
    with pytest.raises(Refusal) as error:
        intake.confirm(sheet=made, by=clerk.username, at=AT)
    assert error.value.code == "SHEET_HAS_ERRORS"
    assert InsuredPerson.objects.count() == 0
    kept = str(made.errors) + str([bytes(e.body).decode() for e in Event.objects.all()])
    assert good[:17] not in kept  # errors and events show numbers masked


def test_text_and_lower_case_x_are_taken_a_spoilt_number_is_not(clerk):
    body = next(
        b for b in (f"9999991970010{n:04d}" for n in range(9999)) if crypto.check_digit(b) == "X"
    )
    sink = io.BytesIO()
    with xlsxwriter.Workbook(sink) as book:
        page = book.add_worksheet()
        page.write_row(0, 0, ["证件号码", "姓名", "险种", "生效日"])
        page.write_row(1, 0, [f"{body}x", "张示例", "居民医保", "2021/1/1"])
        page.write_number(2, 0, 999999197001010126)
        page.write_row(2, 1, ["李示例", "居民医保", "20210101"])
    made = check(clerk, sink.getvalue(), "名册.xlsx")
    assert [(row, column) for row, column, _ in reasons(made)] == [(3, "证件号码")]
    assert "末位已丢失" in made.errors[0]["reason"]
    assert made.counts["create"] == 1


@pytest.mark.parametrize("encoding", ["gbk", "utf-8-sig", "utf-16"])
def test_encodings(clerk, encoding):
    assert check(clerk, sheet(row(), encoding=encoding)).counts["create"] == 1


def test_what_is_no_sheet_is_refused(clerk):
    for name, content in (("a.pdf", b"x"), ("a.xlsx", b"x"), ("a.csv", b""),
                          ("a.csv", "姓名\n张".encode())):  # fmt: skip
        with pytest.raises(Refusal) as error:
            check(clerk, content, name)
        assert error.value.code == "FILE_INVALID"
    hospital = factories.user("hospital", factories.institution("nantong"))
    with pytest.raises(Refusal) as error:
        check(hospital, sheet(row()))
    assert error.value.code == "NO_REGION"


# --- Writing ---


def test_an_import_is_confirmed_written_once_and_known_again(clerk, no_broker):
    content = sheet(
        row(联系电话="13800001234"), row(险种="居民医保", 参保状态="等待期", 止日="2021-06-30")
    )
    made = check(clerk, content)
    assert check(clerk, content).pk == made.pk  # judged anew, not twice
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    intake.confirm(sheet=made, by=clerk.username, at=AT)
    with pytest.raises(Refusal) as error:
        intake.confirm(sheet=made, by=clerk.username, at=AT)
    assert error.value.code == "SHEET_STATE"
    assert intake.waiting() == [made.pk]
    sweep_register()
    assert no_broker == [made.pk]
    assert intake.run(sheet_id=made.pk, at=AT)
    assert not intake.run(sheet_id=made.pk, at=AT)
    with pytest.raises(Refusal) as error:
        check(clerk, content)
    assert error.value.code == "FILE_KNOWN"
    assert InsuredPerson.objects.filter(phone_masked="138****1234").count() == 1
    assert Event.objects.filter(action="person.import").count() == 2
    assert sheet(row())[:4] not in bytes(made.file_cipher)


def test_an_import_changes_spans_and_keeps_what_was_known(clerk):
    first = row(依据="年度名册")
    imported(clerk, sheet(first))
    person = InsuredPerson.objects.get()
    second = first | {"险种": "居民医保", "生效日": "2021-07-01"}
    made = check(clerk, sheet(first, second))
    assert made.counts | {"errors": 0} == made.counts
    assert (made.counts["same"], made.counts["change"]) == (1, 1)
    intake.confirm(sheet=made, by=clerk.username, at=LATER)
    assert run_register(made.pk)
    assert told(person) == [
        ("employee", "active", "2021-01-01", "2021-06-30"),
        ("resident", "active", "2021-07-01", ""),
    ]  # fmt: skip
    rows = Entitlement.objects.filter(person=person)
    assert rows.facts_on(dt.date(2021, 8, 1), AT).scheme == "employee"
    person.refresh_from_db()
    assert person.scheme == "resident"
    again = check(clerk, sheet(second, first))
    with pytest.raises(Refusal) as error:
        intake.confirm(sheet=again, by=clerk.username, at=LATER)
    assert error.value.code == "SHEET_EMPTY"


def test_another_name_a_later_record_and_another_region_are_errors(clerk):
    first = row()
    imported(clerk, sheet(first, other := row()))
    person = InsuredPerson.objects.get(id_hash=crypto.person_hash(other["证件号码"]))
    commands.convert_scheme(person=person, scheme="resident", valid_from=dt.date(2022, 1, 1),
                            by="clerk", at=AT)  # fmt: skip
    wenzhou = factories.user("settlement_clerk", factories.region("wenzhou"))
    made = check(clerk, sheet(
        first | {"姓名": "王示例"}, other | {"参保状态": "欠费暂停", "生效日": "2021-12-01"}))  # fmt: skip
    assert [reason for _, _, reason in reasons(made)] == [
        "与登记的姓名（张**）不符，请核对证件号码",
        "自2022-01-01起另有登记，请填写止日；原登记有误的，办理更正",
    ]
    there = check(wenzhou, sheet(first | {"生效日": "2021-12-01"}))
    assert [reason for _, _, reason in reasons(there)] == [
        "这些日期已在其他统筹区参保，须先由转出地终止"
    ]


def test_a_register_that_changed_since_the_dry_run_is_not_written(clerk):
    first = row()
    imported(clerk, sheet(first))
    made = check(clerk, sheet(first | {"险种": "居民医保", "生效日": "2021-07-01"}))
    person = InsuredPerson.objects.get()
    commands.convert_scheme(person=person, scheme="lixiu", valid_from=dt.date(2021, 3, 1),
                            by="clerk", at=AT)  # fmt: skip
    intake.confirm(sheet=made, by=clerk.username, at=AT)
    assert not intake.run(sheet_id=made.pk, at=AT)
    made.refresh_from_db()
    assert (made.state, made.errors[0]["reason"]) == (
        "failed", "登记内容在校验之后有变化，请重新上传校验",
    )  # fmt: skip
    assert len(told(person)) == 2


def test_the_annotated_workbook_says_what_becomes_of_each_row(clerk):
    made = check(clerk, sheet(row(), row(险种="商业保险"), {"姓名": ""}))
    content = intake.annotated(made, by=clerk.username, at=AT)
    rows = CalamineWorkbook.from_filelike(io.BytesIO(content)).get_sheet_by_index(0).to_python()
    assert rows[0][0] == "结果"
    assert rows[1][0].startswith("新增：2021-01-01起：未登记 → 职工医保 正常参保")
    assert rows[2][0] == "险种：应为职工医保、居民医保、离休统筹之一"
    assert Event.objects.filter(action="register.annotated").count() == 1


def balances() -> dict[str, tuple[int, int]]:
    """Name → (balance last reported, what is left)."""
    return {
        row.person.name_masked: (row.person.account_balance, row.account_left)
        for row in PersonalAccount.objects.select_related("person")
    }


def test_a_stated_balance_replaces_what_is_left_an_empty_cell_does_not(clerk):
    one, two = row(姓名="甲示例", 个人账户余额="100.00"), row(姓名="乙示例", 个人账户余额="50")
    imported(clerk, sheet(one, two, row(姓名="丙示例")))
    assert balances() == {"甲**": (10_000, 10_000), "乙**": (5_000, 5_000)}
    PersonalAccount.objects.update(account_left=3_000)  # drawn since
    again = check(clerk, sheet(one, two | {"个人账户余额": ""}))
    assert (again.counts["change"], again.counts["same"]) == (1, 1)
    content = intake.annotated(again, by=clerk.username, at=AT)
    rows = CalamineWorkbook.from_filelike(io.BytesIO(content)).get_sheet_by_index(0).to_python()
    assert rows[1][0] == "变更：个人账户余额：上次报送 100.00 元 → 100.00 元"
    assert rows[2][0] == "不变"
    intake.confirm(sheet=again, by=clerk.username, at=LATER)
    assert intake.run(sheet_id=again.pk, at=LATER)
    assert balances() == {"甲**": (10_000, 10_000), "乙**": (5_000, 3_000)}
    event = Event.objects.filter(action="person.import").order_by("at").last()
    detail = json.loads(bytes(event.body))["detail"]
    assert (detail["spans"], detail["balance"]) == ([], {"left": 3_000, "now": 10_000})
    absent = {key: value for key, value in one.items() if key != "个人账户余额"}
    imported(clerk, sheet(absent, row(姓名="丁示例")))
    assert balances()["甲**"] == (10_000, 10_000)


def test_a_balance_that_is_none_is_an_error_of_its_row(clerk):
    person = row(个人账户余额="1.00", 止日="2021-06-30")
    made = check(clerk, sheet(
        row(个人账户余额="-1.00"), row(个人账户余额="1,000"), row(个人账户余额="1.234"),
        person, person | {"个人账户余额": "2.00", "生效日": "2021-07-01", "止日": ""}))  # fmt: skip
    amount = "应为金额（元），不小于零、至多两位小数，如 1234.56"
    assert reasons(made) == [
        (2, "个人账户余额", amount), (3, "个人账户余额", amount), (4, "个人账户余额", amount),
        (6, "个人账户余额", "与第 5 行同一人的余额不同"),
    ]  # fmt: skip


def test_the_balance_of_who_left_is_reported_by_the_region_of_today(clerk):
    gone = row(止日="2021-06-30", 个人账户余额="1.00")
    wenzhou = factories.user("settlement_clerk", factories.region("wenzhou"))
    imported(clerk, sheet({key: gone[key] for key in gone if key != "个人账户余额"}))
    there = {"生效日": "2021-07-01", "止日": "", "个人账户余额": "7.00"}
    imported(wenzhou, sheet(gone | there))
    assert reasons(check(clerk, sheet(gone))) == [
        (2, "个人账户余额", "参保人现在其他统筹区参保，余额由参保地报送")
    ]
    assert balances() == {"张**": (700, 700)}


def test_ten_thousand_rows(clerk):
    rows = [row(姓名="示例", 个人账户余额="12.50") for _ in range(10_000)]
    content = sheet(*rows)
    began = time.monotonic()
    with CaptureQueriesContext(
        connection,
    ) as queries:
        made = check(clerk, content)
    assert time.monotonic() - began < 20  # a few seconds on a quiet machine
    assert len(queries) < 20
    assert made.counts["create"] == 10_000
    intake.confirm(sheet=made, by=clerk.username, at=AT)
    with CaptureQueriesContext(connection) as queries:
        assert intake.run(sheet_id=made.pk, at=AT)
    assert len(queries) < 60
    assert Entitlement.objects.count() == 10_000
    assert Event.objects.filter(action="person.import").count() == 10_000
    assert PersonalAccount.objects.filter(account_left=1_250).count() == 10_000


# --- Reconciliation ---


def compared(clerk: User, content: bytes, on: dt.date = ON) -> RegisterSheet:
    return compare.compare(
        file_name="省名册.csv", content=content, on=on, who=clerk, by=clerk.username, at=AT
    )


@pytest.fixture
def differing(clerk) -> tuple[RegisterSheet, dict[str, dict[str, str]]]:
    """A register and an extract that differ in every way."""
    rows = {name: row() for name in ("same", "scheme", "standing", "dates", "only_here", "stopped")}
    rows["stopped"]["参保状态"] = "终止参保"
    imported(clerk, sheet(*rows.values()))
    theirs = [
        rows["same"], rows["scheme"] | {"险种": "居民医保"}, rows["standing"] | {"参保状态": "欠费暂停"},
        rows["dates"] | {"生效日": "2021-03-01"}, rows.setdefault("only_there", row(姓名="新示例")),
        row(参保状态="死亡"),
    ]  # fmt: skip
    return compared(clerk, sheet(*theirs)), rows


def test_differences_by_class(clerk, differing):
    made, rows = differing
    found = {d.kind: d for d in made.differences.all()}
    assert sorted(found) == ["dates", "only_here", "only_there", "scheme", "standing"]
    assert made.counts == {
        "only_here": 1, "only_there": 1, "scheme": 1, "standing": 1, "dates": 1, "errors": 0,
        "wrong_rows": 0, "same": 2,
    }  # fmt: skip
    assert (found["only_there"].person, found["only_there"].name_masked) == (None, "新**")
    assert rows["only_there"]["证件号码"] not in str(list(made.differences.values()))
    task = Task.objects.get(subject=f"register:{made.pk}")
    assert (task.permission, "5处差异" in task.title) == ("persons.maintain", True)
    assert compared(clerk, intake.content_of(made)).pk == made.pk


def test_wrong_rows_forbid_the_comparison(clerk):
    made = compared(clerk, sheet(row(险种="商业保险")))
    assert (made.state, made.counts["errors"], made.differences.count()) == ("failed", 1, 0)


def decide(made: RegisterSheet, adopt: bool, *kinds: str, reason: str = "与省平台一致") -> int:
    chosen = RegisterDifference.objects.filter(kind__in=kinds) if kinds else made.differences.all()
    return compare.decide(
        sheet=made, chosen=chosen, adopt=adopt, reason=reason, by="clerk", at=LATER
    )


def test_differences_are_worked_off_with_reasons_each_an_event(clerk, differing):
    made, rows = differing
    assert decide(made, False, "standing") == 1
    with pytest.raises(Refusal) as error:
        decide(made, True, "standing")
    assert error.value.code == "NOTHING_OPEN"
    with pytest.raises(Refusal) as error:
        decide(made, True, reason=" ")
    assert error.value.code == "REASON_MISSING"
    assert decide(made, True) == 4
    persons = {name: InsuredPerson.objects.get(id_hash=crypto.person_hash(given["证件号码"]))
               for name, given in rows.items()}  # fmt: skip
    assert {name: told(person) for name, person in persons.items()} == {
        "same": [("employee", "active", "2021-01-01", "")],
        "scheme": [("resident", "active", "2021-01-01", "")],
        "standing": [("employee", "active", "2021-01-01", "")],
        "dates": [("employee", "stopped", "2021-01-01", "2021-02-28"),
                  ("employee", "active", "2021-03-01", "")],
        "only_here": [("employee", "active", "2021-01-01", "2021-12-19"),
                      ("employee", "stopped", "2021-12-20", "")],
        "stopped": [("employee", "stopped", "2021-01-01", "")],
        "only_there": [("employee", "active", "2021-01-01", "")],
    }  # fmt: skip
    assert persons["scheme"].scheme == "resident"
    assert (
        commands.opened(persons["only_there"], "name", persons["only_there"].name_cipher)
        == "新示例"
    )
    assert Event.objects.filter(action="register.adopted").count() == 4
    assert Event.objects.filter(action="register.kept").count() == 1
    assert Event.objects.filter(action="person.reconcile").count() == 4
    assert not Task.objects.filter(subject=f"register:{made.pk}", state="open").exists()
    assert compared(clerk, intake.content_of(made), dt.date(2021, 12, 21)).differences.count() == 1
