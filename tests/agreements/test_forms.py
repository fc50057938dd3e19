"""The official forms of 附件3: prefilled, judged, hidden values, sealed, printed, reported together."""

import io
import json
import re
from contextlib import closing

import pypdfium2
import pytest
import python_calamine

from agreements import submissions
from agreements.models import FormSubmission
from agreements.official_forms import Filled, cleaned, forms_of, lacking, masked, split
from audit.models import Event, Task
from audit.procedure import PROCEDURES, Refused, checked
from config.demo.identity import credit_code, id_number, organisation_code
from institutions import commands
from institutions.documents import content_of
from institutions.models import Institution, Notification, Region
from institutions.refusals import Refusal
from tests.agreements import ningxia
from tests.agreements.cast import moment
from tests.agreements.ningxia import LAW, TODAY
from tests.factories import log_in

FORMS = forms_of(LAW)
AT = moment(TODAY)
ACCOUNT, PHONE = "6217000123456789012", "13909510001"
ID_NUMBER = id_number(TODAY.replace(year=1980), 7)
CREDIT = credit_code(1)
VALUES = {
    "bureau_contact": "马测试", "bureau_phone": PHONE, "third_party_channel": "测试渠道",
    "channel_contact": "丁测试", "channel_phone": "0951-5160001", "application_name": "测试应用",
    "institution": "H64010000001/测试医院", "contact": "王测试", "phone": "13909510002",
    "planned_on": "2022-01-10", "channel_name": "测试渠道", "province_city": "银川市",
    "institution_name": "测试医院", "coverage": "全省", "channel_and_credit_code": f"测试公司{CREDIT}",
    "institution_code": "H64010000001", "credit_code": CREDIT, "institution_kind": "医疗机构",
    "pooling_region": "银川市", "address": "测试路1号", "contact_id_number": ID_NUMBER,
    "contact_email": "pay@example.org", "certificate_number": CREDIT, "representative": "测试法人",
    "representative_id_number": ID_NUMBER, "account_name": "测试医院", "account_number": ACCOUNT,
    "account_bank": "测试银行营业部", "contact_details": PHONE,
}  # fmt: skip


@pytest.fixture
def people(db, settings):
    settings.DEMO_TODAY = TODAY
    return ningxia.country(2021)


@pytest.fixture
def found(people) -> Institution:
    return ningxia.hospital("银川市第一人民医院")


def opened(people, form: str, found=None, who="policy.prefecture") -> FormSubmission:
    return submissions.open_form(
        form=form, who=people[who], institution=found, on=TODAY, by=people[who].username, at=AT
    )


def complete(form: str, stored: Filled) -> Filled:
    chosen = FORMS[form]
    rows = [
        {"id": row["id"]} | {b.key: row.get(b.key) or VALUES.get(b.key, "") for b in chosen.columns}
        for row in stored.rows
    ]
    fields = {b.key: stored.fields.get(b.key) or VALUES.get(b.key, "") for b in chosen.fields}
    return Filled(fields, rows)


def filled(people, form: str, found=None) -> FormSubmission:
    case = opened(people, form, found)
    who = people["policy.prefecture"]
    return submissions.fill(
        submission=case, filled=complete(form, submissions.filled_of(case)), who=who,
        version=case.version, by=who.username, at=AT,
    )  # fmt: skip


def step(case, key: str, who, note="同意"):
    return submissions.take_step(
        submission=case, step=key, who=who, by=who.username, at=AT, note=note
    )


def sealed(people, form: str, found=None) -> FormSubmission:
    case = filled(people, form, found)
    step(case, "submit", people["policy.prefecture"])
    step(case, "approve", people["policy.province"])
    return FormSubmission.objects.get(pk=case.pk)


def text_of(document: bytes) -> str:
    with closing(pypdfium2.PdfDocument(document)) as pdf:
        words = "".join(page.get_textpage().get_text_bounded() for page in pdf)
    return plain(words)


def plain(words: str) -> str:
    return re.sub(r"\s", "", words).replace("(", "（").replace(")", "）")


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


# --- The seal and the paper ---


def rows_of(book: bytes) -> list[list]:
    reader = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(book))
    return reader.get_sheet_by_index(0).to_python()


def test_nobody_seals_the_own_form_and_only_the_region_seals(people):
    case = opened(people, "channel", who="policy.province")
    region = people["policy.province"]
    submissions.fill(
        submission=case, filled=complete("channel", submissions.filled_of(case)), who=region,
        version=case.version, by=region.username, at=AT,
    )  # fmt: skip
    case.refresh_from_db()
    step(case, "submit", region)
    with pytest.raises(Refused) as refused:
        step(case, "approve", region)
    assert (refused.value.status, refused.value.code) == (403, "SAME_PERSON")
    other = filled(people, "channel")
    step(other, "submit", people["policy.prefecture"])
    with pytest.raises(Refused) as refused:
        step(other, "approve", people["policy.prefecture"])
    assert refused.value.code == "LEVEL_NOT_PERMITTED"
    task = Task.objects.get(subject=other.subject, state="open")
    assert (task.permission, task.region_code) == ("forms.approve", "640000")
    assert Notification.objects.filter(user=region, subject=other.subject).exists()
    step(other, "return", region, note="请补充联系人")
    assert FormSubmission.objects.get(pk=other.pk).state == "draft"


PRINTED = {
    "channel": ["医保电子凭证地方线上身份核验服务-渠道接入申请表", "申请地医疗保障部门", "拟接入渠道应用情况",
                "对接定点医疗机构编码/名称", "线上预约、挂号、门诊缴费、住院结算", "省级医疗保障部门意见", "公章：",
                "统一上报国家医疗保障局规划财务和法规司备案", "医保电子凭证管理部门（地市/省）填写"],
    "institution": ["医保电子凭证地方线上身份核验服务-定点医疗机构接入申请表", "拟接入定点医疗机构情况", "所属省市",
                    "对接渠道名称", "如北京市西城区、福建省厦门市等"],
    "third_party": ["医保电子凭证第三方渠道接入申请表", "渠道名称及统一社会信用代码", "覆盖区域（全省/地市）",
                    "是否签署整体合作协议", "是否签署本地合作协议", "覆盖业务包括但不限于实名实人认证、业务查询等"],
    "d1": ["【D1】医保移动支付两点机构商户线上申请表", "机构编号（国家局编码）", "统一信用代码", "机构所在统筹区",
           "业务联系人身份证号码", "业务联系人邮箱（接受账号与密码）", "日期：2021年12月20日"],
    "d6": ["【D6】宁夏医保移动支付两定商户信息表", "营业执照号码", "☐组织机构代码", "☑社会信用代码",
           "☑居民身份证", "银行结算账户开户行", "法定代表人或负责人证件号码", "备注"],
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_the_paper_has_the_printed_words_and_the_approval(people, found, form):
    case = sealed(people, form, found if FORMS[form].serves else None)
    region = people["policy.province"]
    act = {"submission": case, "who": region, "by": region.username, "reason": "上报国家局"}
    paper = submissions.official_paper(**act, at=AT)
    words = text_of(paper)
    assert [text for text in map(plain, PRINTED[form]) if text not in words] == []
    assert [text for text in ("电子审核章", "同意", "2021年12月20日") if text not in words] == []
    value = ACCOUNT if form == "d6" else ID_NUMBER if form == "d1" else PHONE
    assert value in words
    with closing(pypdfium2.PdfDocument(paper)) as pdf:
        width, height = pdf[0].get_size()
        assert (width > height, len(pdf)) == (bool(FORMS[form].columns), 1)
    (event,) = Event.objects.filter(action="formsubmission.paper")
    assert json.loads(bytes(event.body))["detail"] == {"in_clear": True, "reason": "上报国家局"}
    (seal,) = Event.objects.filter(action="formsubmission.seal")
    proof = json.loads(bytes(seal.body))["detail"]
    assert proof == {"content": submissions.proof_of(case).hex()}
    assert submissions.official_paper(**act, at=moment(TODAY, 18)) == paper
    masked_paper = submissions.official_paper(**act | {"reason": None}, at=AT)
    assert value not in text_of(masked_paper)


def test_a_draft_is_printed_masked_with_an_empty_place_for_the_seal(people):
    case = filled(people, "channel")
    who = people["policy.prefecture"]
    words = text_of(submissions.official_paper(submission=case, who=who, by=who.username, at=AT))
    assert PHONE not in words
    assert "公章：日期：年月日" in words
    assert "电子审核章" not in words


# --- Reported together ---


def test_sealed_forms_are_reported_together_in_one_workbook(people, client):
    first, second = sealed(people, "third_party"), sealed(people, "third_party")
    draft = filled(people, "third_party")
    log_in(client, people["policy.province"])
    answer = client.post("/forms/collection/third_party/file/", {"reason": "上报国家局"})
    head, *rows = rows_of(answer.content)
    assert [row[0] for row in rows] == [first.number, second.number]
    assert rows[0][head.index("渠道名称及统一社会信用代码")] == f"测试公司{CREDIT}"
    assert rows[0][head.index("联系电话")] == "13909510002"
    assert all(isinstance(cell, str) for cell in rows[0])
    page = client.get("/forms/collection/third_party/").content.decode()
    assert draft.number not in page
    answer = client.post("/forms/collection/third_party/", {"selected": []}, follow=True)
    assert "请选择要上报的申请表" in answer.content.decode()
    data = {"action": "collect", "selected": [first.pk, second.pk]}
    answer = client.post("/forms/collection/third_party/", data, follow=True)
    assert "2 份申请表已一并标记为汇总上报" in answer.content.decode()
    states = set(FormSubmission.objects.exclude(pk=draft.pk).values_list("state", flat=True))
    assert states == {"collected"}
    log_in(client, people["policy.prefecture"])
    answer = client.post("/forms/collection/third_party/", data, follow=True)
    assert "请选择要上报的申请表" in answer.content.decode()


def test_long_numbers_stay_text_in_the_workbook(people, found, client):
    sealed(people, "d1", found)
    log_in(client, people["policy.province"])
    head, row = rows_of(client.post("/forms/collection/d1/file/", {"reason": "上报"}).content)
    assert row[head.index("业务联系人身份证号码")] == ID_NUMBER
    assert row[head.index("统一信用代码")] == found.credit_code


def details(action: str) -> list[dict]:
    """What the events of an action tell, masked ones first."""
    found = [json.loads(bytes(row.body))["detail"] for row in Event.objects.filter(action=action)]
    return sorted(found, key=lambda detail: detail["in_clear"])


def test_the_workbook_is_in_clear_only_against_a_reason(people, found, client):
    case = sealed(people, "d6", found)
    address = "/forms/collection/d6/file/"
    log_in(client, people["policy.province"])
    assert "导出完整内容" in client.get("/forms/collection/d6/").content.decode()
    book = client.get(address)
    assert ACCOUNT not in str(rows_of(book.content))
    assert "%E5%B7%B2%E9%81%AE%E7%9B%96" in book["Content-Disposition"]  # 已遮盖
    answer = client.post(address, {"reason": " "})
    assert answer.status_code == 422
    assert "查看原因" in answer.content.decode()
    assert ACCOUNT in str(rows_of(client.post(address, {"reason": "上报国家局"}).content))
    log_in(client, people["auditor.prefecture"])
    assert "导出完整内容" not in client.get("/forms/collection/d6/").content.decode()
    answer = client.post(address, {"reason": "想看"})
    assert (answer.status_code, "不能查看完整号码" in answer.content.decode()) == (403, False)
    assert details("formsubmission.workbook") == [
        {"in_clear": False, "numbers": [case.number]},
        {"in_clear": True, "numbers": [case.number], "reason": "上报国家局"},
    ]


def test_the_official_paper_is_in_clear_only_against_a_reason(people, found, client):
    case = sealed(people, "d6", found)
    draft = filled(people, "d6", found)
    address = f"/forms/{case.pk}/paper/"
    log_in(client, people["policy.province"])
    assert ACCOUNT not in text_of(client.get(address).content)
    page = client.get(f"/forms/{case.pk}/reveal/").content.decode()
    assert f'formaction="{address}"' in page
    assert client.post(address, {"reason": ""}).status_code == 422
    assert ACCOUNT in text_of(client.post(address, {"reason": "寄送国家局"}).content)
    answer = client.post(f"/forms/{draft.pk}/paper/", {"reason": "寄送国家局"})
    assert (answer.status_code, "盖章后才能出具" in answer.content.decode()) == (409, True)
    log_in(client, people["auditor.prefecture"])
    assert client.post(address, {"reason": "想看"}).status_code == 404
    assert details("formsubmission.paper") == [
        {"in_clear": False}, {"in_clear": True, "reason": "寄送国家局"},
    ]  # fmt: skip


def test_a_long_list_is_read_at_once_and_a_longer_one_refused(
    people, client, monkeypatch, django_assert_max_num_queries
):
    for _ in range(6):
        opened(people, "channel")
    log_in(client, people["policy.prefecture"])
    with django_assert_max_num_queries(18) as seen:
        assert len(client.get("/forms/export/json/").json()["forms"]) == 6
    few = len(seen)
    for _ in range(6):
        opened(people, "third_party")
    with django_assert_max_num_queries(few):
        assert len(client.get("/forms/export/json/").json()["forms"]) == 12
    monkeypatch.setattr(submissions, "MOST", 11)
    answer = client.get("/forms/export/json/?form=&q=", follow=True)
    assert "超过 11 份，请缩小查询范围后再导出" in answer.content.decode()
    assert len(client.get("/forms/export/json/?form=channel").json()["forms"]) == 6


# --- Pages ---


def test_rows_come_and_go_without_a_script(people, client):
    log_in(client, people["policy.prefecture"])
    answer = client.post("/forms/new/institution/", {"institution": ""}, follow=True)
    case = FormSubmission.objects.get()
    assert answer.redirect_chain[-1][0] == f"/forms/{case.pk}/"
    address = f"/forms/{case.pk}/content/"
    typed = {"version": case.version, "row_ids": "1", "row-1-institution_name": "甲医院",
             "bureau_contact": "马测试"}  # fmt: skip
    page = client.post(address, typed | {"action": "add"}).content.decode()
    assert 'name="row_ids" value="1,2"' in page
    assert 'name="row-2-business" value="线上预约、挂号、门诊缴费、住院结算"' in page
    assert 'value="甲医院"' in page
    page = client.post(address, typed | {"row_ids": "1,2", "action": "remove-1"}).content.decode()
    assert 'name="row_ids" value="2"' in page
    assert "甲医院" not in page
    assert client.post(address, typed | {"action": "save"}).status_code == 302
    case.refresh_from_db()
    assert case.content["rows"][0]["institution_name"] == "甲医院"


def test_faults_stand_at_their_blanks_on_the_page(people, client):
    case = opened(people, "channel")
    log_in(client, people["policy.prefecture"])
    address = f"/forms/{case.pk}/content/"
    typed = {"version": case.version, "row_ids": "1", "bureau_phone": "12", "row-1-phone": "abc",
             "bureau_contact": "马测试", "action": "save"}  # fmt: skip
    answer = client.post(address, typed)
    page = answer.content.decode()
    assert answer.status_code == 422
    assert page.count("电话应为7至20位数字，可含区号连字符（附件3）") == 2
    assert 'value="马测试"' in page
    sent = {"version": case.version, "row_ids": "1", "action": "submit"}
    answer = client.post(address, sent)
    assert answer.status_code == 422
    assert "请填写第1行“渠道应用名称”（附件3）" in answer.content.decode()
    step_form = {"version": case.version}
    answer = client.post(f"/forms/{case.pk}/steps/submit/", step_form)
    assert answer.status_code == 422
    assert "请填写“第三方渠道名称”（附件3）" in answer.content.decode()
    form = {b.key: VALUES.get(b.key, "") for b in FORMS["channel"].fields}
    form |= {f"row-1-{b.key}": VALUES.get(b.key, "") for b in FORMS["channel"].columns}
    form |= {"applying_bureau": "银川市医疗保障局", "row-1-business": "线上预约"}
    answer = client.post(address, sent | form, follow=True)
    assert "已提交，待省级审核盖章" in answer.content.decode()
    page = client.get(f"/forms/{case.pk}/").content.decode()
    assert "*" * 7 + "0001" in page
    assert PHONE not in page


def test_the_region_seals_from_the_page(people, client):
    case = filled(people, "channel")
    step(case, "submit", people["policy.prefecture"])
    log_in(client, people["policy.province"])
    address = f"/forms/{case.pk}/steps/approve/"
    case.refresh_from_db()
    sent = {"version": case.version, "note": "", "on": "2021-12-20"}
    answer = client.post(address, sent)
    assert (answer.status_code, "请填写“省级医疗保障部门意见”" in answer.content.decode()) == (
        422,
        True,
    )
    answer = client.post(address, sent | {"note": "同意"}, follow=True)
    assert "已盖章待汇总" in answer.content.decode()
    assert client.post(address, sent | {"note": "同意"}).status_code == 409


def test_a_region_without_forms_says_so(people, client):
    place = Region.objects.create(
        code="330300", name="温州市", level="prefecture", policy_region="wenzhou"
    )
    log_in(client, ningxia.person("policy_staff", place))
    assert "本地区没有官方申请表" in client.get("/forms/").content.decode()
    assert client.get("/forms/export/json/").status_code == 404
