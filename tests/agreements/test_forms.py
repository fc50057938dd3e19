"""The official forms of 附件3: what is printed, prefilled, judged and hidden."""

import json

import pytest

from agreements import submissions
from agreements.models import FormSubmission
from agreements.official_forms import Filled, cleaned, lacking, masked, split
from audit.models import Event
from audit.procedure import PROCEDURES, Refused, checked
from config.demo.identity import organisation_code
from institutions import commands
from institutions.documents import content_of
from institutions.models import Institution
from institutions.refusals import Refusal
from tests.agreements import ningxia
from tests.agreements.ningxia import LAW, TODAY
from tests.agreements.paperwork import (
    ACCOUNT,
    AT,
    CREDIT,
    FORMS,
    ID_NUMBER,
    PHONE,
    VALUES,
    complete,
    filled,
    opened,
    rows_of,
    sealed,
    step,
    text_of,
)
from tests.factories import log_in

# --- What the document prints ---


def test_five_distinct_forms_of_six_printed():
    assert list(FORMS) == ["channel", "institution", "third_party", "d1", "d6"]
    assert (
        sum(row["printed_times"] for row in LAW["forms"]["list"])
        == LAW["forms"]["printed"]["count"]
    )
    assert [[b.name for b in form.columns] for form in FORMS.values()][:3] == [
        ["序号", "渠道应用名称", "对接定点医疗机构编码/名称", "线上业务简称", "联系人", "联系电话",
         "拟接入时间"],
        ["序号", "定点医疗机构名称", "对接渠道名称", "所属省市", "线上业务简称", "联系人", "联系电话",
         "拟接入时间"],
        ["序号", "渠道应用名称", "渠道名称及统一社会信用代码", "覆盖区域（全省/地市）", "覆盖业务", "联系人",
         "联系电话", "拟接入时间", "是否签署整体合作协议", "是否签署本地合作协议"],
    ]  # fmt: skip
    assert [len(form.fields) for form in FORMS.values()] == [6, 3, 6, 10, 14]
    checked(submissions.HANDBOOK, [PROCEDURES["form"]])


# --- What is known already ---


def test_a_form_opens_with_the_printed_words(people):
    case = opened(people, "third_party")
    stored = submissions.filled_of(case)
    assert stored.fields["applying_bureau"] == "宁夏回族自治区医疗保障局"
    (row,) = stored.rows
    assert (row["business"], row["overall_agreement"], row["local_agreement"]) == (
        "线上预约、挂号、门诊缴费、住院结算", "否", "是"
    )  # fmt: skip
    assert (case.number, case.state) == ("NX-表-2021-0001", "draft")


def test_merchants_forms_take_over_the_registry_with_an_event(people, found):
    commands.set_account(
        institution=found, holder="测试医院账户", bank="测试银行", number=ACCOUNT,
        valid_from=TODAY, by="x", at=AT,
    )  # fmt: skip
    commands.add_contact(
        institution=found, purpose="移动支付", name="王测试", phone=PHONE, email="a@b.cn",
        valid_from=TODAY, by="x", at=AT,
    )  # fmt: skip
    d6 = submissions.filled_of(opened(people, "d6", found)).fields
    assert d6 == {
        "filled_on": "2021-12-20", "institution_name": found.name, "business_licence": "",
        "certificate_kind": "社会信用代码", "certificate_number": found.credit_code,
        "representative": "测试法人", "representative_id_kind": "居民身份证",
        "representative_id_number": "", "account_name": "测试医院账户", "account_number": ACCOUNT,
        "account_bank": "测试银行", "contact": "王测试", "contact_details": PHONE, "remark": "",
    }  # fmt: skip
    reveals = Event.objects.filter(action="bankaccount.reveal")
    assert [json.loads(bytes(row.body))["detail"] for row in reveals] == [
        {"reason": "带入NX-表-2021-0001"}
    ]
    d1 = submissions.filled_of(opened(people, "d1", found)).fields
    assert (d1["institution_code"], d1["institution_kind"], d1["pooling_region"]) == (
        found.code, "医疗机构", "银川市"
    )  # fmt: skip
    pharmacy = ningxia.hospital("测试药店")
    Institution.objects.filter(pk=pharmacy.pk).update(kind="retail_pharmacy")
    pharmacy.refresh_from_db()
    kind = submissions.filled_of(opened(people, "d1", pharmacy)).fields["institution_kind"]
    assert kind == "零售药店"


@pytest.mark.parametrize(
    ("who", "form", "kind", "status"),
    [
        ("policy.county", "channel", "", 403),
        ("auditor.prefecture", "channel", "", 403),
        ("policy.prefecture", "d6", "", 422),
        ("policy.prefecture", "d6", "logistics_company", 422),
        ("policy.zhongwei", "d6", "medical", 404),
        ("policy.prefecture", "d7", "", 404),
    ],
)
def test_who_may_open_what_for_whom(people, found, who, form, kind, status):
    Institution.objects.filter(pk=found.pk).update(kind=kind or "medical")
    found.refresh_from_db()
    with pytest.raises(Refused) as refused:
        opened(people, form, found if kind else None, who)
    assert refused.value.status == status


# --- Faults ---

WRONG = {
    "phone": ("12", "电话应为7至20位数字，可含区号连字符"),
    "planned_on": ("2022-02-30", "日期应为年-月-日，如2021-12-20"),
    "coverage": ("全国", "应为全省、地市之一"),
    "channel_and_credit_code": (CREDIT, "请先写渠道名称，末尾写18位统一社会信用代码"),
}


def test_every_fault_is_told_at_its_place(people):
    case = opened(people, "third_party")
    stored = submissions.filled_of(case)
    rows = [
        stored.rows[0],
        {"id": "2"} | {key: value for key, (value, _) in WRONG.items()} | {"contact": "王" * 121},
    ]
    who = people["policy.prefecture"]
    with pytest.raises(Refusal) as refused:
        submissions.fill(
            submission=case, who=who, version=case.version, by=who.username, at=AT,
            filled=Filled(stored.fields | {"bureau_phone": "电话"}, rows),
        )  # fmt: skip
    assert {fault.pointer: fault.detail[0] for fault in refused.value.faults} == {
        "/fields/bureau_phone": WRONG["phone"][1], "/rows/1/contact": "不超过120字",
        **{f"/rows/1/{key}": words for key, (_, words) in WRONG.items()},
    }  # fmt: skip
    assert submissions.filled_of(FormSubmission.objects.get(pk=case.pk)) == stored


@pytest.mark.parametrize(
    ("form", "change", "key", "words"),
    [
        ("d1", {"contact_id_number": f"{ID_NUMBER[:17]}0"}, "contact_id_number", "校验位不符"),
        ("d1", {"contact_id_number": "123"}, "contact_id_number", "18 位居民身份号码"),
        ("d1", {"credit_code": CREDIT[:17] + "0"}, "credit_code", "统一社会信用代码第18位校验码不符"),
        ("d1", {"institution_code": "64010000001"}, "institution_code", "1位字母加11位数字"),
        ("d1", {"contact_email": "pay"}, "contact_email", "邮箱地址不正确"),
        ("d1", {"institution_kind": "诊所"}, "institution_kind", "医疗机构、零售药店之一"),
        ("d6", {"account_number": "62AB"}, "account_number", "8至32位数字"),
        ("d6", {"certificate_number": "123"}, "certificate_number", "应为18位"),
        ("d6", {"certificate_kind": "组织机构代码"}, "certificate_number", "组织机构代码应为9位"),
        ("d6", {"representative_id_number": "A123"}, "representative_id_number", "18 位居民身份号码"),
    ],
)  # fmt: skip
def test_values_are_judged_by_their_kind(form, change, key, words):
    start = {b.key: VALUES.get(b.key, "") for b in FORMS[form].fields}
    start |= {"certificate_kind": "社会信用代码", "representative_id_kind": "居民身份证"}
    assert cleaned(FORMS[form], Filled(dict(start)))[1] == []
    faults = cleaned(FORMS[form], Filled(start | change))[1]
    assert [fault.pointer for fault in faults] == [f"/fields/{key}"]
    assert words in faults[0].detail[0]
    assert faults[0].clause == "附件3"


def test_another_certificate_is_taken_as_it_is():
    values = {
        "certificate_kind": "组织机构代码", "certificate_number": organisation_code(3),
        "representative_id_kind": "其他", "representative_id_number": "PASSPORT-1",
    }  # fmt: skip
    assert cleaned(FORMS["d6"], Filled(values))[1] == []


def test_what_lacks_is_told_before_it_goes_out(people):
    case = opened(people, "channel")
    with pytest.raises(Refusal) as refused:
        step(case, "submit", people["policy.prefecture"])
    pointers = [fault.pointer for fault in refused.value.faults]
    assert pointers == [
        "/fields/bureau_contact", "/fields/bureau_phone", "/fields/third_party_channel",
        "/fields/channel_contact", "/fields/channel_phone", "/rows/0/application_name",
        "/rows/0/institution", "/rows/0/contact", "/rows/0/phone", "/rows/0/planned_on",
    ]  # fmt: skip
    none = [fault.pointer for fault in lacking(FORMS["channel"], Filled({}, []))]
    assert none[-1] == "/rows"


# --- Hidden values ---


def test_restricted_values_are_split_off_and_masked():
    whole = complete("d6", Filled({}))
    clear, hidden = split(FORMS["d6"], whole)
    assert set(hidden.fields) == {
        "representative_id_number", "account_name", "account_number", "account_bank",
        "contact_details",
    }  # fmt: skip
    assert not set(clear.fields) & set(hidden.fields)
    shown = masked(FORMS["d6"], whole).fields
    assert (shown["account_number"], shown["contact_details"]) == (
        "*" * 15 + "9012", "*" * 7 + "0001"
    )  # fmt: skip
    assert shown["account_name"] != whole.fields["account_name"]


def test_a_hidden_value_left_out_stays_and_a_removed_row_is_gone(people):
    case = filled(people, "channel")
    stored = submissions.filled_of(case)
    who = people["policy.prefecture"]
    again = Filled(
        stored.fields | {"bureau_phone": ""},
        [stored.rows[0] | {"phone": ""}, {"id": "2", "application_name": "第二个应用"}],
    )
    kept = submissions.filled_of(submissions.fill(
        submission=case, filled=again, who=who, version=case.version, by=who.username, at=AT
    ))  # fmt: skip
    assert (kept.fields["bureau_phone"], kept.rows[0]["phone"]) == (PHONE, "13909510002")
    assert kept.rows[1]["application_name"] == "第二个应用"
    fresh = FormSubmission.objects.get(pk=case.pk)
    with pytest.raises(Refused) as refused:
        submissions.fill(submission=fresh, filled=again, who=who, version=fresh.version - 1,
                         by=who.username, at=AT)  # fmt: skip
    assert refused.value.status == 409
    only = Filled(stored.fields, [kept.rows[1]])
    left = submissions.fill(
        submission=fresh, filled=only, who=who, version=fresh.version, by=who.username, at=AT
    )
    assert [row["id"] for row in submissions.filled_of(left).rows] == ["2"]


def test_the_account_number_is_nowhere_in_clear(people, found, client):
    case = sealed(people, "d6", found)
    row = FormSubmission.objects.get(pk=case.pk)
    assert ACCOUNT not in json.dumps(row.content) + row.restricted.hex()
    assert ACCOUNT not in text_of(content_of(row.document))
    for who in ("policy.prefecture", "auditor.prefecture", "policy.province"):
        log_in(client, people[who])
        pages = [f"/forms/{case.pk}/", "/forms/", "/forms/export/json/", "/forms/collection/d6/"]
        for address in pages:
            answer = client.get(address)
            assert (address, answer.status_code) == (address, 200)
            for value in (ACCOUNT, ID_NUMBER, PHONE):
                assert value not in answer.content.decode()
        assert ACCOUNT not in text_of(client.get("/forms/export/pdf/").content)
    log_in(client, people["auditor.prefecture"])
    assert ACCOUNT not in text_of(client.get(f"/forms/{case.pk}/paper/").content)
    assert client.get(f"/forms/{case.pk}/reveal/").status_code == 404
    book = client.get("/forms/collection/d6/file/").content
    assert ACCOUNT not in str(rows_of(book))
    trail = b"".join(bytes(event.body) for event in Event.objects.all())
    for value in (ACCOUNT, ID_NUMBER, PHONE):
        assert value.encode() not in trail
    log_in(client, people["policy.county"])
    assert client.get(f"/forms/{case.pk}/").status_code == 404


def test_a_reveal_needs_a_reason_and_is_an_event(people, found, client):
    case = sealed(people, "d6", found)
    log_in(client, people["policy.province"])
    address = f"/forms/{case.pk}/reveal/"
    assert ACCOUNT not in client.get(address).content.decode()
    assert client.post(address, {"reason": ""}).status_code == 422
    answer = client.post(address, {"reason": "核对账户"})
    assert ACCOUNT in answer.content.decode()
    assert answer["Cache-Control"] == "no-store"
    (event,) = Event.objects.filter(action="formsubmission.reveal")
    assert json.loads(bytes(event.body))["detail"] == {"reason": "核对账户"}
    with pytest.raises(Refused) as refused:
        submissions.reveal(submission=case, reason="x", who=people["auditor.prefecture"],
                           by="x", at=AT)  # fmt: skip
    assert refused.value.status == 403
