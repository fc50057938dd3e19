"""Drug catalogue by version: read from sheets, compared, published by a second person, unchangeable."""

import datetime as dt
import io

import pytest
import xlsxwriter
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse

from audit.models import Event
from audit.sheets import rows_of
from institutions.refusals import Refusal
from pricing import drug_lists
from pricing.models import Drug, DrugList
from tests import factories

AT = dt.datetime(2021, 6, 15, 9, tzinfo=factories.ZONE)
HEAD = "药品编码,药品名称,规格,计价单位,类别,先行自付比例,支付限价,限定病种"
SOUND = f"""{HEAD}
XC08CAA000A001010100001,苯磺酸氨氯地平片,5mg×7片,盒,甲类,,36.5,M03900
XA10BBA000A001010100002,盐酸二甲双胍片,0.5g×20片,盒,乙类,10%,12.345678,M01600；M03900
XN02BEA000A001010100003,对乙酰氨基酚片,,盒,丙,,,
"""


def drafted(text: str = SOUND, *, name: str = "drugs.csv", coding: str = "utf-8", **more: object):
    given = {
        "region": "wenzhou", "version": "2021-1", "title": "示例药品目录", "source_kind": "example",
        "source_ref": "示例（自拟）", "clause": "", "valid_from": dt.date(2021, 3, 8),
        "file_name": name, "content": text.encode(coding), "by": "drafter", "at": AT,
    }  # fmt: skip
    return drug_lists.draft(**(given | more))


def published(**more: object) -> DrugList:
    return drug_lists.publish(drugs=drafted(**more), by="publisher", at=AT)


def errors(found: DrugList) -> set[tuple[int, str]]:
    return {(error["row"], error["column"]) for error in found.errors}


@pytest.mark.parametrize("coding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
def test_sheets_of_every_encoding_are_read(db, coding: str) -> None:
    found = drafted(coding=coding)
    assert (found.drugs_count, found.errors) == (3, [])
    second = found.drugs.get(code="XA10BBA000A001010100002")
    assert (second.category, second.first_self_pay, second.ceiling, second.diseases) == (
        "B", 1000, 12_345_678, ["M01600", "M03900"],
    )  # fmt: skip
    assert drug_lists.texts(second)[5:] == ["10%", "12.345678", "M01600；M03900"]


def test_a_workbook_is_read_and_comes_back(db) -> None:
    found = drafted()
    content, _ = drug_lists.export(found, found.drugs.all(), "xlsx")
    again = drafted(name="drugs.xlsx", content=content, version="2021-1b")
    assert drug_lists.difference(found, again) == drug_lists.Difference([], [], [])
    template, _ = drug_lists.template("xlsx")
    assert next(cells for _, cells in rows_of("a.xlsx", template)) == HEAD.split(",")


def test_every_fault_of_every_row_is_told_at_once(db) -> None:
    found = drafted(
        SOUND + "XC08CAA000A001010100001,重复,,,甲类,10%,,\n"
        ",没有编码,,,丁类,110%,-1,M 0\n带空格 的,药,,,乙类,0.1,1.1234567,;;\n"
    )
    assert found.drugs_count == 0
    assert errors(found) == {
        (5, "药品编码"), (5, "先行自付比例"), (6, "药品编码"), (6, "类别"), (6, "先行自付比例"),
        (6, "支付限价"), (6, "限定病种"), (7, "药品编码"), (7, "先行自付比例"), (7, "支付限价"),
    }  # fmt: skip
    with pytest.raises(Refusal, match="SHEET_HAS_ERRORS"):
        drug_lists.publish(drugs=found, by="publisher", at=AT)
    rows = [cells for _, cells in rows_of("a.xlsx", drug_lists.annotated(found))]
    assert rows[0][0] == "结果"
    assert "重复" in rows[4][0]
    assert drug_lists.replace_sheet(
        drugs=found, file_name="b.csv", content=SOUND.encode(), by="other", at=AT
    ).drugs_count == 3  # fmt: skip


def test_a_number_that_a_spreadsheet_spoilt_is_refused(db) -> None:
    sink = io.BytesIO()
    with xlsxwriter.Workbook(sink) as book:
        sheet = book.add_worksheet()
        for at, label in enumerate(HEAD.split(",")):
            sheet.write_string(0, at, label)
        sheet.write_number(1, 0, 86900000000000000000001)
        sheet.write_string(1, 1, "药")
        sheet.write_string(1, 4, "甲类")
    found = drafted(name="a.xlsx", content=sink.getvalue())
    assert errors(found) == {(2, "药品编码")}


@pytest.mark.parametrize("text", ["", HEAD, "药品编码,奇怪的列\n1,2", "\0\0"])
def test_files_that_are_no_such_sheet(db, text: str) -> None:
    with pytest.raises(Refusal, match="FILE_INVALID"):
        drafted(text)


def test_the_difference_to_the_version_before(db) -> None:
    published()
    changed = SOUND.replace("36.5,", "30,").replace("XN02BEA000A001010100003", "XN02BEA000A00101X")
    found = drafted(changed, version="2021-2", valid_from=dt.date(2021, 7, 1))
    change = drug_lists.difference(drug_lists.before(found), found)
    assert [drug.code for drug in change.added] == ["XN02BEA000A00101X"]
    assert [drug.code for drug in change.removed] == ["XN02BEA000A001010100003"]
    assert [(drug.code[:4], parts) for drug, parts in change.changed] == [
        ("XC08", [("支付限价", "36.50", "30.00")]),
    ]  # fmt: skip


def test_a_second_person_publishes_and_the_version_before_ends(db) -> None:
    first, second = published(), drafted(version="2021-2", valid_from=dt.date(2021, 7, 1))
    for writer in ("drafter", "editor"):
        if writer == "editor":
            drug_lists.replace_sheet(
                drugs=second, file_name="b.csv", content=SOUND.encode(), by=writer, at=AT
            )
        with pytest.raises(Refusal, match="SECOND_PERSON"):
            drug_lists.publish(drugs=second, by="drafter", at=AT)
    done = drug_lists.publish(drugs=second, by="publisher", at=AT)
    first.refresh_from_db()
    assert (first.valid_until, done.state) == (dt.date(2021, 6, 30), "published")
    assert done.sm3 == drug_lists.digest(done, done.drugs.all())
    with pytest.raises(Refusal, match="PUBLISHED"):
        drug_lists.publish(drugs=done, by="publisher", at=AT)
    overlapping = drafted(version="2021-0", valid_from=dt.date(2021, 2, 1))
    with pytest.raises(Refusal, match="OVERLAP"):
        drug_lists.publish(drugs=overlapping, by="publisher", at=AT)
    with pytest.raises(Refusal, match="VERSION_USED"):
        drafted()
    events = Event.objects.filter(subject=f"druglist:{done.pk}").values_list("action", flat=True)
    assert sorted(events) == ["druglist.draft", "druglist.edit", "druglist.publish"]


def test_a_published_version_never_changes(db) -> None:
    found = published()
    drug = found.drugs.first()
    forbidden = (
        lambda: found.drugs.update(ceiling=1), found.drugs.all().delete,
        lambda: Drug.objects.create(catalogue=found, code="X", name="x", category="A"),
        lambda: DrugList.objects.filter(pk=found.pk).update(title="x"),
        DrugList.objects.filter(pk=found.pk).delete, drug.delete,
    )  # fmt: skip
    for change in forbidden:
        with pytest.raises(IntegrityError), transaction.atomic():
            change()
    draft = drafted(version="2021-9")
    for wrong in ({"errors": [1]}, {"drugs_count": 0}, {"sm3": ""}, {"published_by": "drafter"}):
        values = {"state": "published", "published_by": "p", "published_at": AT} | wrong
        with pytest.raises(IntegrityError), transaction.atomic():
            DrugList.objects.filter(pk=draft.pk).update(valid_from=dt.date(2030, 1, 1), **values)
    drug_lists.discard(drugs=draft, by="drafter", at=AT)
    assert DrugList.objects.count() == 1


# --- Pages ---


def client_of(role: str, region: str = "wenzhou") -> Client:
    return factories.log_in(Client(), factories.user(role, factories.region(region)))


def upload(client: Client, text: str = SOUND, **more: object):
    form = {
        "region": "wenzhou", "version": "2021-1", "title": "示例药品目录", "source_kind": "example",
        "source_ref": "示例（自拟）", "valid_from": "2021-03-08",
        "file": SimpleUploadedFile("drugs.csv", text.encode("gb18030")),
    }  # fmt: skip
    return client.post(reverse("drug-lists"), form | more)


def test_a_version_is_drafted_compared_and_published_on_its_pages(db) -> None:
    factories.policies("wenzhou")
    drafter, second = client_of("policy_staff"), client_of("policy_staff")
    answer = upload(drafter)
    found = DrugList.objects.get()
    own = reverse("drug-list", args=[found.pk])
    assert answer.headers["Location"] == own
    assert "等待第二人发布" in drafter.get(own).content.decode()
    publish = reverse("drug-list-publish", args=[found.pk])
    drafter.post(publish)
    found.refresh_from_db()
    assert found.state == "draft"
    assert "发布此版本" in second.get(own).content.decode()
    second.post(publish)
    found.refresh_from_db()
    assert found.state == "published"
    reader = client_of("reviewer")
    listed = reader.get(f"{own}?words=二甲&category=B&disease=M01600&chronic=true").content.decode()
    assert "盐酸二甲双胍片" in listed
    assert "苯磺酸氨氯地平片" not in listed
    assert "新增" in reader.get(f"{own}?tab=changes").content.decode()
    for ending in ("csv", "xlsx", "json"):
        file = reader.get(reverse("drug-list-export", args=[found.pk, ending]) + "?category=A")
        assert file.status_code == 200
        assert "attachment" in file.headers["Content-Disposition"]
    taken = Event.objects.filter(action="druglist.export", subject=f"druglist:{found.pk}")
    assert taken.count() == 3
    assert "示例药品目录" in reader.get(reverse("drug-lists")).content.decode()


def test_errors_are_shown_and_the_annotated_sheet_comes_back(db) -> None:
    factories.policies("wenzhou")
    drafter = client_of("policy_staff")
    upload(drafter, SOUND.replace("甲类", "丁类"))
    found = DrugList.objects.get()
    own = reverse("drug-list", args=[found.pk])
    shown = drafter.get(own).content.decode()
    assert "校验未通过" in shown
    assert "应为甲类" in shown
    assert drafter.get(reverse("drug-list-annotated", args=[found.pk])).status_code == 200
    better = SimpleUploadedFile("b.csv", SOUND.encode())
    drafter.post(reverse("drug-list-replace", args=[found.pk]), {"file": better})
    found.refresh_from_db()
    assert found.drugs_count == 3
    drafter.post(reverse("drug-list-discard", args=[found.pk]))
    assert not DrugList.objects.exists()


def test_who_may_draft_and_for_which_region(db) -> None:
    factories.policies("wenzhou", "nantong")
    other = client_of("policy_staff", "nantong")
    assert upload(other).status_code == 422
    assert upload(client_of("reviewer")).status_code == 200
    assert not DrugList.objects.exists()
    found = drafted()
    for name in ("drug-list-publish", "drug-list-discard", "drug-list-replace"):
        assert other.post(reverse(name, args=[found.pk])).status_code == 404
        assert client_of("reviewer").post(reverse(name, args=[found.pk])).status_code == 403
    assert other.get(reverse("drug-list", args=[2**63])).status_code == 404
    assert other.get(reverse("drug-list-export", args=[found.pk, "exe"])).status_code == 404


def test_ten_thousand_drugs_are_paged(db, django_assert_max_num_queries) -> None:
    found = drafted()
    Drug.objects.bulk_create(
        Drug(catalogue=found, code=f"XZ{n:07d}", name=f"药品{n}", category="A")
        for n in range(10_000)
    )
    DrugList.objects.filter(pk=found.pk).update(drugs_count=10_003)
    reader = client_of("reviewer")
    with django_assert_max_num_queries(24):
        shown = reader.get(reverse("drug-list", args=[found.pk]) + "?page=201").content.decode()
    assert "药品9999" in shown
