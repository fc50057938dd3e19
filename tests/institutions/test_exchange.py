"""Registry sheets: every error at once, nothing by halves, what goes out comes back unchanged."""

import csv
import datetime as dt
import io
import json
import threading
import zipfile

import pytest
import python_calamine
from django.db import connection, transaction

from audit.models import Event
from institutions import commands
from institutions.access import EVERYTHING, scoped
from institutions.exchange import export, intake
from institutions.exchange.intake import KINDS
from institutions.models import (
    CodeMapping,
    Import,
    Institution,
    InstitutionFacts,
    Physician,
    PhysicianTitle,
    Qualification,
    User,
)
from institutions.refusals import Refusal
from institutions.tasks import run_import, sweep_imports
from tests import factories
from tests.institutions.sheets import AT, MAPPED, NEW, ON, check, sheet, write, xlsx

pytestmark = pytest.mark.usefixtures("no_broker")


def errors(found: Import) -> list[tuple[int, str, str]]:
    return [(error["row"], error["column"], error["value"]) for error in found.errors]


def counts(found: Import) -> tuple[int, int, int, int]:
    return tuple(found.counts[key] for key in ("create", "change", "same", "errors"))


def registered() -> list[int]:
    models = (Institution, InstitutionFacts, Physician, PhysicianTitle, Qualification, CodeMapping)
    return [model.objects.count() for model in models]


def exported(key: str, ending: str, user: User) -> bytes:
    content, _ = export.export(
        kind=KINDS[key], institutions=Institution.objects.visible_to(user), on=ON, ending=ending,
        wanted={}, user=user, by=user.username, at=AT,
    )  # fmt: skip
    return content


# --- Reading ---


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gbk", "gb18030", "utf-16"])
def test_every_encoding_is_recognised(clerk: User, encoding: str) -> None:
    found = check(clerk, "institutions", sheet(NEW, encoding=encoding))
    assert (found.errors, counts(found)) == ([], (1, 0, 0, 0))
    assert write(clerk, found).state == "done"
    assert Institution.objects.get(pk="H32060099991").name == "崇川示例医院"


def test_eighteen_digits_stay_text_and_spoilt_ones_are_refused(clerk: User) -> None:
    home = factories.institution("nantong").code
    row = {"机构编码": home, "资质": "其他资质", "有效期起日": "2021-01-01"}
    number = "123456789012345678"
    good = check(clerk, "qualifications", xlsx(row | {"证照编号": number}), "a.xlsx")
    assert write(clerk, good).state == "done"
    assert Qualification.objects.get().number == number
    spoilt = [
        ("a.xlsx", xlsx(row | {"证照编号": int(number)})),
        ("a.xlsx", xlsx(row | {"证照编号": "1.23456789012345E+17"})),
        ("a.csv", sheet(row | {"证照编号": "1.23E+17"})),
    ]
    for name, content in spoilt:
        (error,) = check(clerk, "qualifications", content, name).errors
        assert (error["row"], error["column"]) == (2, "证照编号")
        assert "末位" in error["reason"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "空"),
        ("机构编码\nH1\n".encode(), "缺少列"),
        (sheet({**NEW, "价格": "1"}), "不认识的列：价格"),
        (sheet(NEW).splitlines()[0], "没有数据行"),
        (b"\0\1", "编码"),
        (sheet(NEW).replace("机构名称".encode(), "机构编码".encode()), "缺少列"),
    ],
)
def test_what_is_no_sheet_is_refused(clerk: User, content: bytes, message: str) -> None:
    with pytest.raises(Refusal) as refusal:
        check(clerk, "institutions", content)
    assert message in refusal.value.detail[0]
    assert not Import.objects.exists()


def test_the_template_has_text_cells_and_can_be_sent_back_filled_in(clerk: User) -> None:
    for key, kind in KINDS.items():
        content, _ = export.template(kind, "xlsx")
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            assert b'formatCode="@"' in archive.read("xl/styles.xml") or b'numFmtId="49"' in (
                archive.read("xl/styles.xml")
            )
        book = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(content))
        head = book.get_sheet_by_index(0).to_python()[0]
        assert head == [column.label for column in kind.columns]
        assert len(book.get_sheet_by_index(1).to_python()) == len(head) + 2
        with pytest.raises(Refusal, match="cannot be read"):
            check(clerk, key, export.template(kind, "csv")[0])


# --- Judging ---


def test_all_errors_of_all_rows_at_once_and_nothing_is_stored(clerk: User) -> None:
    other = factories.institution("wenzhou")
    here = factories.institution("nantong")
    before = registered()
    bad = [
        NEW | {"机构编码": "h320", "行政区划代码": "330300", "生效日期": "去年"},
        NEW | {"价格类别": "", "统一社会信用代码": "91320600MA1TEST01Z", "所有制": "国营"},
        NEW | {"机构编码": other.code, "机构名称": ""},
        NEW | {"机构编码": here.code, "机构类型": "零售药店"},
        NEW,
        NEW,
        NEW | {"机构编码": "H32060099992", "价格类别": "", "实体机构编码": "H32060077777"},
    ]
    found = check(clerk, "institutions", sheet(*bad))
    assert errors(found) == [
        (2, "生效日期", "去年"), (2, "行政区划代码", "330300"), (2, "机构编码", "h320"),
        (3, "所有制", "国营"), (3, "统一社会信用代码", "91320600MA1TEST01Z"), (3, "价格类别", ""),
        (4, "机构名称", ""), (4, "机构编码", other.code),
        (5, "机构类型", "零售药店"),
        (6, "机构编码", "H32060099991"),
        (7, "机构编码", "H32060099991"),
        (8, "实体机构编码", "H32060077777"), (8, "价格类别", ""),
    ]  # fmt: skip
    assert counts(found) == (0, 0, 0, 13)
    assert registered() == before
    with pytest.raises(Refusal) as refusal:
        intake.confirm(sheet=found, user=clerk, by=clerk.username, at=AT)
    assert (refusal.value.status, refusal.value.code) == (409, "IMPORT_HAS_ERRORS")


def test_the_annotated_file_shows_every_error_in_red(clerk: User) -> None:
    found = check(
        clerk, "institutions", sheet(NEW, NEW | {"机构编码": "H32060099992", "所有制": "国营"})
    )
    content = intake.annotated(found, clerk, by=clerk.username, at=AT)
    book = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(content))
    rows = book.get_sheet_by_index(0).to_python()
    assert rows[0] == ["结果", *NEW]
    assert rows[1][0].startswith("新增：登记崇川示例医院")
    assert rows[2][0] == "所有制：应为公立、非公立之一"
    assert rows[2][1:] == ["H32060099992", *list(NEW.values())[1:5], "国营", "是"]
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert b"FF9C0006" in archive.read("xl/styles.xml")
    corrected = check(clerk, "institutions", content, "annotated.xlsx")
    assert errors(corrected) == [(3, "所有制", "国营")]


def test_blank_cells_state_nothing_and_a_change_is_told(clerk: User) -> None:
    home = factories.institution("nantong", hospital_grade="二级").code
    first = {"机构编码": home, "生效日期": "2021-06-16", "等级": "三级"}
    then = {"机构编码": home, "生效日期": "2021-09-01", "等级": "三级", "价格类别": "二类"}
    found = check(clerk, "facts", sheet(first, then))
    assert counts(found) == (0, 2, 0, 0)
    notes = [row.note for row in intake.judge(KINDS["facts"], "a.csv", bytes(found.file), clerk)]
    assert notes == ["2021-06-16 起 等级：二级 → 三级", "2021-09-01 起 价格类别：三类 → 二类"]
    write(clerk, found)
    spans = InstitutionFacts.objects.known().filter(institution=home).order_by("valid_from")
    assert [(str(s.valid_from), s.hospital_grade, s.price_class) for s in spans] == [
        ("2019-01-01", "二级", "3"), ("2021-06-16", "三级", "3"), ("2021-09-01", "三级", "2"),
    ]  # fmt: skip
    assert counts(check(clerk, "facts", sheet(first, then))) == (0, 0, 2, 0)


def test_departments_are_lists_from_a_day_on(clerk: User) -> None:
    home = factories.institution("nantong")
    row = {"机构编码": home.code, "生效日期": "2021-07-01", "互联网诊疗科目": "A03；A04;A03"}
    write(clerk, check(clerk, "departments", sheet(row)))
    facts = home.facts.facts_on(dt.date(2021, 7, 1))
    assert (facts.internet_departments, facts.offline_departments) == (["A03", "A04"], ["A03"])


def test_practitioners_with_several_titles(clerk: User) -> None:
    home = factories.institution("nantong").code
    base = {"机构编码": home, "国家编码": "D320600099991", "姓名": "王示例", "执业证书编号": "110320600000001",
            "独立临床工作起始日": "2010/7/1"}  # fmt: skip
    rows = [base | {"职称": "主治医师", "职称起算日": "2015年1月1日"},
            base | {"职称": "副主任医师", "职称起算日": "20200101"}]  # fmt: skip
    assert counts(check(clerk, "practitioners", sheet(*rows))) == (1, 1, 0, 0)
    write(clerk, check(clerk, "practitioners", sheet(*rows)))
    titles = PhysicianTitle.objects.counted().filter(physician="D320600099991")
    assert [(t.title, str(t.valid_from), str(t.valid_until)) for t in titles.order_by("valid_from")] == [
        ("attending", "2015-01-01", "2019-12-31"), ("associate_chief", "2020-01-01", "None"),
    ]  # fmt: skip
    wrong = [
        base | {"姓名": "李示例"},
        base | {"职称": "主任药师", "职称起算日": "2021-01-01"},
        base | {"职称": "主任医师", "职称起算日": "2019-01-01"},
        base | {"执业证书有效期至": "2031-01-01", "离职日": "2021-12-01"},
    ]
    found = check(clerk, "practitioners", sheet(*wrong))
    assert [(row, column) for row, column, _ in errors(found)] == [
        (2, "姓名"), (3, "职称"), (4, "职称起算日"),
    ]  # fmt: skip
    write(clerk, check(clerk, "practitioners", sheet(wrong[-1])))
    doctor = Physician.objects.get(pk="D320600099991")
    assert (str(doctor.licence_until), str(doctor.left_on)) == ("2031-01-01", "2021-12-01")


def test_a_hospital_imports_for_itself_only(clerk: User) -> None:
    mine, other = factories.institution("nantong"), factories.institution("nantong")
    user = factories.user("hospital", mine)
    rows = [MAPPED | {"机构编码": mine.code}, MAPPED | {"机构编码": other.code}]
    found = check(user, "mappings", sheet(*rows))
    assert errors(found) == [(3, "机构编码", other.code)]
    with pytest.raises(Refusal) as refusal:
        check(user, "institutions", sheet(NEW))
    assert refusal.value.status == 403
    assert write(user, check(user, "mappings", sheet(rows[0]))).state == "done"
    assert CodeMapping.objects.get().state == "submitted"
    again = check(user, "mappings", sheet(rows[0] | {"国家编码": "111102002"}))
    assert "审核中" in again.errors[0]["reason"]
    assert not Import.objects.visible_to(factories.user("hospital", other)).exists()


# --- Writing ---


def test_what_changed_since_the_dry_run_is_not_written(clerk: User) -> None:
    home = factories.institution("nantong")
    row = {"机构编码": home.code, "生效日期": "2021-06-16", "等级": "三级"}
    found = check(clerk, "facts", sheet(row))
    commands.record_facts(
        institution=home, valid_from=dt.date(2021, 6, 1), changes={"hospital_grade": "二级"},
        source="", by="x", at=AT,
    )  # fmt: skip
    assert write(clerk, found).state == "failed"
    assert "请重新上传" in found.errors[0]["reason"]
    changed = check(clerk, "facts", sheet(row))
    Import.objects.filter(pk=changed.pk).update(file=sheet(row | {"等级": "特级"}))
    assert write(clerk, changed).state == "failed"
    assert "校验时的文件不同" in changed.errors[0]["reason"]
    assert home.facts.facts_on(dt.date(2021, 6, 16)).hospital_grade == "二级"


def test_a_row_refused_while_writing_takes_all_others_back(
    clerk: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = check(clerk, "institutions", sheet(NEW, NEW | {"机构编码": "H32060099992"}))
    real = commands.register_institution

    def refusing(**given: object) -> Institution:
        if given["code"] == "H32060099992":
            raise Refusal(422, "LATE", ("不行", "no"))
        return real(**given)

    monkeypatch.setattr(commands, "register_institution", refusing)
    assert write(clerk, found).state == "failed"
    assert [(error["row"], error["reason"]) for error in found.errors] == [(3, "不行")]
    assert not Institution.objects.filter(pk="H32060099991").exists()


def test_an_import_is_confirmed_once_and_its_acts_are_events(clerk: User, no_broker: list) -> None:
    found = write(clerk, check(clerk, "institutions", sheet(NEW)))
    with pytest.raises(Refusal) as refusal:
        intake.confirm(sheet=found, user=clerk, by=clerk.username, at=AT)
    assert refusal.value.code == "IMPORT_STATE"
    events = Event.objects.filter(subject=f"import:{found.pk}")
    assert sorted(event.action for event in events) == [
        "import.check", "import.confirm", "import.run"]  # fmt: skip
    assert all(found.file_sm3.encode() in bytes(event.body) for event in events)
    same = check(clerk, "institutions", sheet(NEW))
    with pytest.raises(Refusal) as refusal:
        intake.confirm(sheet=same, user=clerk, by=clerk.username, at=AT)
    assert refusal.value.code == "IMPORT_EMPTY"


def test_two_imports_at_once_write_one(committed_db: str, no_broker: list) -> None:
    """Both were judged while the register was empty: the later one is told to judge again."""
    clerk = factories.user("reviewer", factories.region("nantong"))
    ids = []
    for _ in range(2):
        found = check(clerk, "institutions", sheet(NEW))
        intake.confirm(sheet=found, user=clerk, by=clerk.username, at=AT)
        ids.append(found.pk)
    assert no_broker == ids
    assert sweep_imports() == 2
    assert no_broker == ids * 2

    def work(pk: int) -> None:
        try:
            run_import(pk)
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=[pk]) for pk in ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(Import.objects.values_list("state", flat=True)) == ["done", "failed"]
    assert Institution.objects.filter(pk="H32060099991").count() == 1
    assert not run_import(ids[0])


# --- Injection ---


def test_formulas_are_text_on_the_way_in_and_out(clerk: User) -> None:
    evil = '=HYPERLINK("http://x","y")'
    found = check(
        clerk, "institutions", xlsx(NEW | {"机构名称": evil, "地址": "@SUM(1)"}), "a.xlsx"
    )
    write(clerk, found)
    assert Institution.objects.get(pk="H32060099991").name == evil
    text = exported("institutions", "csv", clerk).decode("utf-8-sig")
    (row,) = csv.DictReader(io.StringIO(text))
    assert (row["机构名称"], row["地址"]) == (f"'{evil}", "'@SUM(1)")
    assert counts(check(clerk, "institutions", text.encode())) == (0, 0, 1, 0)
    for content in (
        exported("institutions", "xlsx", clerk),
        intake.annotated(found, clerk, by=clerk.username, at=AT),
    ):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            assert b"<f>" not in archive.read("xl/worksheets/sheet1.xml")


# --- Round trip ---


@pytest.mark.parametrize("ending", ["csv", "xlsx"])
@pytest.mark.parametrize("key", list(KINDS))
def test_what_goes_out_comes_back_unchanged(clerk: User, key: str, ending: str) -> None:
    home = factories.institution("nantong", hospital_grade="二级", filed_on=None)
    home.aliases, home.tier, home.credit_code = ["总院", "总医院"], "municipal", ""
    home.save()
    commands.record_facts(
        institution=home, valid_from=dt.date(2021, 6, 16), changes={"hospital_grade": "三级"},
        source="批复", by="x", at=AT,
    )  # fmt: skip
    doctor = factories.physician(home)
    commands.record_title(
        physician=doctor, title="chief", valid_from=dt.date(2021, 1, 1), checked=True, by="x", at=AT
    )
    commands.add_qualification(
        institution=home, kind="mlps_report", number="0012345678901234567", level="第三级",
        valid_from=dt.date(2021, 1, 1), valid_until=dt.date(2022, 1, 1), by="x", at=AT,
    )  # fmt: skip
    commands.submit_mapping(
        institution=home, kind="item", local_code="007", local_name="复诊",
        national_code="111102001", valid_from=dt.date(2021, 1, 1), by="x", at=AT,
    )  # fmt: skip
    content = exported(key, ending, clerk)
    found = check(clerk, key, content, f"a.{ending}")
    assert found.errors == []
    assert counts(found) == (0, 0, found.rows, 0)
    assert found.rows == {"facts": 2, "departments": 2, "practitioners": 2}.get(key, 1)


def test_json_has_the_same_rows_and_the_export_is_an_event(clerk: User) -> None:
    factories.institution("nantong")
    factories.institution("wenzhou")
    body = json.loads(exported("institutions", "json", clerk))
    assert [row["region"] for row in body["rows"]] == ["320600"]
    assert body["columns"]["credit_code"] == "统一社会信用代码"
    event = Event.objects.get(action="registry.export")
    assert json.loads(bytes(event.body))["detail"] == {
        "format": "json", "rows": 1, "on": "2021-12-20", "query": {}}  # fmt: skip


# --- Size ---


def test_a_dry_run_does_not_ask_row_by_row(clerk: User, django_assert_max_num_queries) -> None:
    rows = [NEW | {"机构编码": f"H3206008{n:04d}", "机构名称": f"医院{n}"} for n in range(300)]
    with django_assert_max_num_queries(10):
        assert counts(check(clerk, "institutions", sheet(*rows))) == (300, 0, 0, 0)
    home = factories.institution("nantong").code
    mapped = [MAPPED | {"机构编码": home, "院内编码": f"L{n}"} for n in range(300)]
    with django_assert_max_num_queries(6):
        assert counts(check(clerk, "mappings", sheet(*mapped))) == (300, 0, 0, 0)


def test_the_worker_writes_in_a_transaction_of_its_own(committed_db: str) -> None:
    clerk = factories.user("reviewer", factories.region("nantong"))
    with scoped(EVERYTHING), transaction.atomic():
        found = check(clerk, "institutions", sheet(NEW))
        intake.confirm(sheet=found, user=clerk, by=clerk.username, at=AT)
    assert run_import(found.pk)
    assert Institution.objects.get(pk="H32060099991").facts.get().price_class == "3"
