"""The official forms of 附件3: sealed, printed and reported together."""

import json
from contextlib import closing

import pypdfium2
import pytest

from agreements import submissions
from agreements.models import FormSubmission
from audit.models import Event, Task
from audit.procedure import Refused
from institutions.models import Notification
from tests.agreements.cast import moment
from tests.agreements.ningxia import TODAY
from tests.agreements.paperwork import (
    ACCOUNT,
    AT,
    CREDIT,
    FORMS,
    ID_NUMBER,
    PHONE,
    complete,
    filled,
    opened,
    plain,
    rows_of,
    sealed,
    step,
    text_of,
)
from tests.factories import log_in

# --- The seal and the paper ---


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
