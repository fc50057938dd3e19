"""The file of an institution: its parts, its forms, what is hidden, and that nobody sees another's."""

import datetime as dt

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from audit.models import Event
from institutions import commands
from institutions.documents import store
from institutions.models import Change, CodeMapping, Document, Institution, Office
from institutions.registry_acts import ACTS
from institutions.views.tabs import TABS
from tests import factories

Day = dt.date
NUMBER, PHONE = "622200001111", "051381234567"
PDF = b"%PDF-1.4 paper"
WHEN = {"by": "somebody", "at": dt.datetime(2021, 6, 1, 9, tzinfo=factories.ZONE)}


@pytest.fixture(autouse=True)
def fixed_day(settings, tmp_path):
    settings.DEMO_TODAY = Day(2021, 6, 15)
    settings.MEDIA_ROOT = tmp_path


@pytest.fixture
def hospital(db) -> Institution:
    return factories.institution("nantong", agreements=False)


@pytest.fixture
def filled(hospital: Institution) -> Institution:
    """A hospital with something in every part of its file."""
    place = {"institution": hospital}
    scan = store(content=PDF, name="许可证.pdf", kind="scan", subject="x", **place, **WHEN)
    commands.add_qualification(
        kind="practice_licence", number="Z1", valid_from=Day(2021, 1, 1),
        valid_until=Day(2021, 7, 1), document=scan, **place, **WHEN,
    )  # fmt: skip
    commands.set_account(holder="测试医院", bank="示例银行", number=NUMBER,
                         valid_from=Day(2021, 1, 1), **place, **WHEN)  # fmt: skip
    commands.add_contact(purpose="医保结算", name="李四", phone=PHONE, valid_from=Day(2021, 1, 1),
                         **place, **WHEN)  # fmt: skip
    factories.physician(hospital)
    commands.submit_mapping(kind="drug", local_code="YP1", local_name="药", national_code="X1",
                            valid_from=Day(2021, 6, 1), **place, **WHEN)  # fmt: skip
    commands.file_change(kind="address", effective_from=Day(2021, 6, 1), files=[("证.pdf", PDF)],
                         content={"address": "新路1号"}, **place, **WHEN)  # fmt: skip
    return hospital


def client(role: str, place) -> Client:
    return factories.log_in(Client(), factories.user(role, place))


@pytest.fixture
def reviewer(hospital: Institution) -> Client:
    return client("reviewer", hospital.region)


@pytest.fixture
def filer(hospital: Institution) -> Client:
    return client("hospital", hospital)


def act(hospital: Institution, key: str, row: object = None) -> str:
    args = [hospital.code, key] + ([row] if row is not None else [])
    return reverse("registry-row-act" if row is not None else "registry-act", args=args)


def message(answer) -> str:
    return " ".join(str(note) for note in answer.context["messages"])


# --- Looking ---


@pytest.mark.parametrize("tab", TABS)
def test_every_part_of_the_file_and_its_number_of_queries(
    filled, reviewer, filer, tab: str, django_assert_max_num_queries
):
    address = reverse("institution", args=[filled.code])
    asked = {"tab": tab} if tab else {}
    reviewer.get(address, asked)  # what a process loads once is loaded
    for _ in range(3):
        factories.physician(filled)
    with django_assert_max_num_queries(22):
        page = reviewer.get(address, asked)
    assert page.status_code == 200
    assert [entry["label"] for entry in page.context["tabs"] if entry["current"]] == [
        TABS[tab].label
    ]
    text = page.content.decode()
    assert NUMBER not in text
    assert PHONE not in text
    assert filer.get(address, {"tab": tab}).status_code == 200


def test_other_hospitals_see_nothing(filled):
    other = client("hospital", factories.institution("nantong", agreements=False))
    away = client("reviewer", factories.region("wenzhou"))
    change, mapping = Change.objects.get(), CodeMapping.objects.get()
    addresses = [
        *(reverse("institution", args=[filled.code]) + f"?tab={tab}" for tab in TABS),
        reverse("registry-change", args=[change.pk]), reverse("registry-mapping", args=[mapping.pk]),
        reverse("contact-reveal", args=[filled.contacts.get().pk]),
        *(reverse("document", args=[row.pk]) for row in Document.objects.all()),
        act(filled, "qualification"), act(filled, "contact-end", filled.contacts.get().pk),
    ]  # fmt: skip
    for visitor in (other, away):
        codes = {(where, visitor.get(where).status_code) for where in addresses}
        assert {code for _, code in codes} <= {403, 404}, codes
        assert {code for _, code in codes} & {404}
        for name in ("registry-changes", "registry-mappings", "registry-expiries"):
            assert visitor.get(reverse(name)).context["table"].rows == []


def test_the_lists_show_what_is_inside_the_scope(filled, reviewer):
    rows = {name: reviewer.get(reverse(name)).context["table"].rows
            for name in ("registry-changes", "registry-mappings", "registry-expiries")}  # fmt: skip
    assert [len(found) for found in rows.values()] == [1, 1, 1]
    url = reverse("registry-changes")
    for query, count in (({"q": "BG3206"}, 1), ({"q": "无"}, 0), ({"state": "effective"}, 0),
                         ({"state": "submitted", "kind": "address"}, 1)):  # fmt: skip
        assert len(reviewer.get(url, query).context["table"].rows) == count
    expiring = reverse("registry-expiries")
    assert len(reviewer.get(expiring, {"days": "0"}).context["table"].rows) == 0


def test_the_lists_do_not_ask_more_for_more_rows(filled, reviewer, django_assert_max_num_queries):
    for _ in range(5):
        place = factories.institution("nantong", agreements=False)
        commands.file_change(institution=place, kind="address", effective_from=Day(2021, 6, 1),
                             content={"address": "路"}, **WHEN)  # fmt: skip
    for name in ("registry-changes", "registry-mappings", "registry-expiries", "registry-regions"):
        reviewer.get(reverse(name))
        with django_assert_max_num_queries(20):
            reviewer.get(reverse(name))


def test_regions_with_their_authorities(hospital, reviewer):
    Office.objects.create(region=hospital.region, kind="agency", name="示例经办中心")
    (row,) = reviewer.get(reverse("registry-regions")).context["table"].rows
    assert [cell.text for cell in row.cells][:6] == [
        "南通市", "320600", "地市级", "南通市", "示例经办中心", "1"]  # fmt: skip


def test_what_was_known_then(hospital, reviewer):
    commands.correct_facts(institution=hospital, valid_from=Day(2021, 1, 1), source="核对",
                           changes={"price_class": "2"}, **WHEN)  # fmt: skip
    address = reverse("institution", args=[hospital.code])
    seen = [
        next(item["value"] for item in reviewer.get(address, query).context["facts"]
             if item["label"] == "价格类别")
        for query in ({}, {"known": "2021-05-31"}, {"on": "2020-12-31"}, {"known": "2021-06-01"})
    ]  # fmt: skip
    assert seen == ["二类", "三类", "三类", "二类"]


def test_a_freeze_and_missing_evidence_are_announced(filled, filer, reviewer):
    commands.freeze(institution=filled, on=Day(2021, 6, 10), reason="账户变更中", **WHEN)
    address = reverse("institution", args=[filled.code])
    assert "账户变更中" in filer.get(address, {"tab": "account"}).context["frozen"]
    factories.policies("nantong")
    warning = filer.get(address, {"tab": "qualifications"}).context["warning"]
    assert "第三级" in warning
    assert "通医保发〔2020〕25号 三（四）" in warning


# --- Who may do what ---

#: role → acts of the file; typed apart from the table
MAY = {
    "reviewer": set(ACTS) - {"mapping", "change"},
    "signing_officer": {"freeze", "unfreeze"},
    "hospital": set(ACTS) - {"facts", "correction", "account", "qualification-check",
                             "platform-check", "platform-end", "identity", "freeze", "unfreeze",
                             "practitioner-check", "practitioner-compare",
                             "practitioner-correct"},
}  # fmt: skip


@pytest.mark.parametrize("role", ["reviewer", "hospital", "information", "settlement_clerk",
                                  "auditor", "signing_officer", "health_commission"])  # fmt: skip
def test_who_may_open_which_form(filled, role: str):
    visitor = client(role, filled if role == "hospital" else filled.region)
    allowed = set()
    for key, entry in ACTS.items():
        row = None if entry.model is None else _row_of(filled, key)
        code = visitor.get(act(filled, key, row)).status_code if row != "none" else 403
        assert code in (200, 403), (key, code)
        allowed |= {key} if code == 200 else set()
    rowless = {key for key in ACTS if key.startswith("platform-")}
    assert allowed == MAY.get(role, set()) - rowless


def _row_of(hospital: Institution, key: str):
    if key == "unfreeze":
        freeze = hospital.freezes.first() or commands.freeze(
            institution=hospital, on=Day(2021, 6, 10), reason="核查", **WHEN
        )
        return freeze.pk
    if key.startswith("qualification"):
        return hospital.qualifications.get().pk
    if key.startswith("platform"):
        return "none"
    return hospital.contacts.get().pk if key == "contact-end" else hospital.physicians.get().pk


@pytest.mark.parametrize("key", ["nothing", "title"])
def test_an_act_that_does_not_exist(hospital, reviewer, key: str):
    assert reviewer.get(act(hospital, key)).status_code == 404
    assert reviewer.get(act(hospital, "qualification", 1)).status_code == 404
    assert reviewer.get(act(hospital, "contact-end", "x")).status_code == 404


# --- Doing ---


def test_a_party_is_registered_inside_the_own_area(hospital, reviewer, filer):
    url = reverse("registry-register")
    assert filer.get(url).status_code == 403
    given = {"code": "P32061300001", "title": "测试药房", "kind": "retail_pharmacy",
             "region": "320600", "credit_code": "91440300708461136T", "valid_from": "2021-01-01",
             "ownership": "private", "nonprofit": "no"}  # fmt: skip
    wrong = reviewer.post(url, given | {"credit_code": "91440300708461136U"})
    assert wrong.status_code == 422
    assert "GB 32100-2015" in wrong.context["form"].errors["credit_code"][0]
    assert wrong.context["form"]["title"].value() == "测试药房"
    assert reviewer.post(url, given | {"region": "330300"}).status_code == 422
    assert reviewer.post(url, given, follow=True).context["institution"].name == "测试药房"
    assert Institution.objects.get(pk="P32061300001").facts.get().nonprofit is False


def test_only_what_was_changed_in_the_form_is_recorded(hospital, reviewer):
    page = reviewer.get(act(hospital, "facts"))
    form = page.context["form"]
    shown = {bound.name: bound.value() or "" for bound in form}
    shown |= {key: "、".join(value) for key, value in shown.items() if isinstance(value, list)}
    sent = shown | {"valid_from": "2021-05-17", "source": "通卫〔2021〕1号", "price_class": "2",
                    "internet_departments": "A03，A50"}  # fmt: skip
    assert reviewer.post(act(hospital, "facts"), sent).status_code == 302
    row = hospital.facts.facts_on(Day(2021, 5, 17))
    assert (row.price_class, row.internet_departments, row.hospital_grade) == (
        "2",
        ["A03", "A50"],
        "",
    )
    event = Event.objects.get(action="facts.record")
    assert b'"changes":{"internet_departments":["A03","A50"],"price_class":"2"}' in bytes(
        event.body
    )


def test_a_qualification_with_its_scan_and_its_check(hospital, reviewer, filer):
    sent = {"kind": "practice_licence", "number": "Z9", "valid_from": "2021-01-01",
            "scan": SimpleUploadedFile("许可证.pdf", PDF)}  # fmt: skip
    answer = filer.post(act(hospital, "qualification"), sent, follow=True)
    assert "已登记" in message(answer)
    row = hospital.qualifications.get()
    assert (row.document.media_type, row.document.institution) == ("application/pdf", hospital)
    assert reviewer.post(act(hospital, "qualification-check", row.pk), {}).status_code == 422
    assert reviewer.post(
        act(hospital, "qualification-check", row.pk), {"agreed": "on"}).status_code == 302  # fmt: skip
    row.refresh_from_db()
    assert row.checked_by.startswith("reviewer")


def test_a_refusal_keeps_what_was_typed_and_stores_nothing(hospital, filer):
    sent = {"kind": "mlps_report", "number": "M1", "level": "第三级", "valid_from": "2021-01-01",
            "scan": SimpleUploadedFile("报告.pdf", PDF)}  # fmt: skip
    answer = filer.post(act(hospital, "qualification"), sent)
    assert answer.status_code == 422
    assert "测评报告须填写有效期止日" in answer.context["form"].errors["valid_until"][0]
    assert answer.context["form"]["number"].value() == "M1"
    assert not Document.objects.exists()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [("a.pdf", b"MZ program", "只接受"), ("a.pdf", b"", "空"), ("a.png", b"<svg/>", "只接受")],
)
def test_a_file_is_what_it_is_not_what_it_is_called(hospital, filer, name, content, words):
    sent = {"kind": "evidence", "papers": SimpleUploadedFile(name, content)}
    answer = filer.post(act(hospital, "document"), sent)
    assert answer.status_code in (415, 422)
    assert words in str(answer.context["form"].errors)


def test_the_hospital_files_a_change_and_the_agency_decides(hospital, reviewer, filer):
    start = filer.get(act(hospital, "change"))
    assert "法定代表人" in start.content.decode()
    url = act(hospital, "change") + "?kind=representative"
    assert (
        filer.post(url, {"representative": "", "effective_from": "2021-06-17"}).status_code == 422
    )
    sent = {"representative": "新院长", "effective_from": "2021-06-17", "reason": "任免"}
    assert filer.post(url, sent).status_code == 302
    change = Change.objects.get()
    page = reverse("registry-change", args=[change.pk])
    assert [row["new"] for row in filer.get(page).context["comparison"]] == ["新院长"]
    refused = reviewer.post(page, {"step": "accept", "version": change.version})
    assert (refused.status_code, "没有证明材料" in refused.content.decode()) == (422, True)
    assert filer.post(page, {"step": "accept", "version": change.version}).status_code == 403
    assert reviewer.post(page, {"upload": "1"}).status_code == 403
    paper = SimpleUploadedFile("任命.pdf", PDF)
    assert filer.post(page, {"upload": "1", "papers": paper}).status_code == 302
    back = reviewer.post(page, {"step": "return", "version": change.version, "note": ""})
    assert (back.status_code, "请填写" in back.content.decode()) == (422, True)
    assert reviewer.post(page, {"step": "nothing", "version": 1}).status_code == 404
    stale = reviewer.post(page, {"step": "accept", "version": change.version - 1})
    assert stale.status_code == 409
    assert reviewer.post(page, {"step": "accept", "version": change.version}).status_code == 302
    assert hospital.facts.facts_on(Day(2021, 6, 17)).representative == "新院长"
    done = filer.get(page)
    assert (done.context["steps"], done.context["upload"]) == ([], None)


def test_a_mapping_is_submitted_and_approved(hospital, filer):
    sent = {"kind": "department", "local_code": "K1", "local_name": "内科", "national_code": "A03",
            "valid_from": "2021-06-01"}  # fmt: skip
    assert filer.post(act(hospital, "mapping"), sent).status_code == 302
    again = filer.post(act(hospital, "mapping"), sent)
    assert (again.status_code, "local_code" in again.context["form"].errors) == (409, True)
    row = CodeMapping.objects.get()
    checker = client("information", hospital.region)
    page = reverse("registry-mapping", args=[row.pk])
    assert checker.post(page, {"step": "approve", "version": row.version}).status_code == 302
    assert hospital.mappings.valid(on=Day(2021, 6, 15)).get() == row


# --- What is hidden ---


def test_account_numbers_are_shown_against_a_reason_only(filled, reviewer, filer):
    url = reverse("account-reveal", args=[filled.accounts.get().pk])
    assert reviewer.get(url).status_code == 403
    assert NUMBER not in filer.get(url).content.decode()
    assert filer.post(url, {"reason": ""}).status_code == 422
    assert not Event.objects.filter(action="bankaccount.reveal").exists()
    shown = filer.post(url, {"reason": "核对到账"})
    assert NUMBER in shown.content.decode()
    assert shown["Cache-Control"] == "no-store"
    event = Event.objects.get(action="bankaccount.reveal")
    assert (event.institution_code, NUMBER.encode() in bytes(event.body)) == (filled.code, False)


def test_who_checks_a_filed_account_sees_it_against_a_reason(hospital, reviewer, filer):
    url = act(hospital, "change") + "?kind=account"
    sent = {"holder": "测试医院", "bank": "新银行", "number": NUMBER, "effective_from": "2021-06-20",
            "papers": SimpleUploadedFile("开户.pdf", PDF)}  # fmt: skip
    assert filer.post(url, sent).status_code == 302
    change = Change.objects.get()
    page = reviewer.get(reverse("registry-change", args=[change.pk]))
    assert NUMBER not in page.content.decode()
    reveal = reverse("change-reveal", args=[change.pk])
    assert page.context["reveal"] == reveal
    assert NUMBER in reviewer.post(reveal, {"reason": "核对开户证明"}).content.decode()
    assert Event.objects.filter(action="bankaccount.reveal", subject=change.subject).count() == 1
    assert client("auditor", hospital.region).get(reveal).status_code == 403


def test_phone_numbers_likewise(filled, reviewer):
    url = reverse("contact-reveal", args=[filled.contacts.get().pk])
    assert client("information", filled.region).get(url).status_code == 403
    assert PHONE in reviewer.post(url, {"reason": "联系补正"}).content.decode()
    assert Event.objects.filter(action="contact.reveal").count() == 1


def test_a_document_is_handed_out_safely_and_noted(filled, reviewer):
    row = Document.objects.get(name="许可证.pdf")
    answer = reviewer.get(reverse("document", args=[row.pk]))
    assert answer.content == PDF
    assert answer["Content-Disposition"].startswith("attachment; filename*=UTF-8''%E8")
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert "no-store" in answer["Cache-Control"]
    assert Event.objects.get(action="document.read").subject == f"document:{row.pk}"
    assert client("health_commission", filled.region).get(
        reverse("document", args=[row.pk])).status_code == 403  # fmt: skip


def test_a_changed_or_lost_file_is_not_handed_out(filled, reviewer):
    row = Document.objects.get(name="许可证.pdf")
    with open(row.file.path, "ab") as stream:
        stream.write(b"!")
    url = reverse("document", args=[row.pk])
    assert reviewer.get(url).status_code == 410
    row.file.storage.delete(row.file.name)
    assert reviewer.get(url).status_code == 410
    assert not Event.objects.filter(action="document.read").exists()
