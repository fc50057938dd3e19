"""The official forms of 附件3 on their pages."""

from agreements.models import FormSubmission
from institutions.models import Region
from tests.agreements import ningxia
from tests.agreements.paperwork import FORMS, PHONE, VALUES, filled, opened, step
from tests.factories import log_in

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
