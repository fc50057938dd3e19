"""PURE. Chinese words of facts, decisions, states and flags: chosen once, shown on every page."""

#: Facts of contracts/trial.md.
FACTS: dict[str, str] = {
    "region": "统筹地区", "service": "费用类别", "service_date": "服务日期", "item_code": "价格项目",
    "fee": "实际发生费用（元）", "price_class": "价格类别", "ownership": "所有制",
    "nonprofit": "经营性质", "institution_filed": "机构已备案",
    "agreement_in_force": "服务日补充协议有效", "agreement_state": "补充协议状态",
    "main_agreement_suspended_from": "定点协议中止日", "scheme": "险种", "insured_area": "参保地",
    "insured_local": "本统筹区参保", "visit_type": "初诊或复诊", "condition": "病情",
    "disease_in_list": "病种在支付目录内", "same_disease": "与线下诊疗同种疾病",
    "department_in_scope": "诊疗科目在范围内", "last_offline_visit": "最近一次线下诊疗",
    "provider_is_clinician": "由医务人员提供", "patient_facing": "直接面向患者",
    "is_medical_treatment": "属于诊疗活动", "service_type": "服务内容",
    "doctor_title": "医师职称", "doctor_independent_months": "独立临床工作月数",
    "business_type": "业务类型", "prescription_issued": "已开具处方",
    "doctor_esigned": "医师已电子签名", "pharmacist_reviewed": "药师已审核",
    "credential_verified": "电子凭证已核验", "person_matched": "人证相符",
    "online_settlement": "可联网结算", "consent": "知情同意",
    "explained_item_and_price": "已说明项目与收费", "charged_by": "收费方",
    "provincial_hospitals": "受邀省级医院", "other_hospitals": "其他受邀医院",
    "prescription_record": "处方记录",
    "included_in_pool": "当地已纳入支付", "inpatient": "住院期间", "pay_from_account": "用个人账户支付",
    "uploaded_in_time": "断网补传及时",
    "online_permitted": "联网结算未被暂停", "physician_permitted": "医师医保服务资格未被暂停",
    "department_permitted": "就诊科室医药服务未被暂停",
    "pharmacist_permitted": "审方和调配药师医保服务资格未被暂停",
    "standing": "参保状态", "assistance": "医疗救助对象", "manual": "手工报销",
    "drug_listed": "药品在目录内", "drug_for_disease": "限定病种已认定",
}  # fmt: skip

#: Values of coded facts.
VALUES: dict[str, dict[str, str]] = {
    "service": {
        "consult": "诊察费", "drug": "药品费", "delivery": "药品配送费",
        "unapproved_item": "未批准项目", "self_defined_item": "自设项目",
        "remote_consult": "远程会诊", "other": "其他",
    },
    "ownership": {"public": "公立", "private": "非公立"},
    "scheme": {"employee": "职工医保", "resident": "居民医保", "lixiu": "离休统筹"},
    "visit_type": {"revisit": "复诊", "first": "首诊"},
    "condition": {"chronic": "慢性病", "common": "常见病", "acute_not_common": "急症，非常见病"},
    "business_type": {"internet": "“互联网+”业务", "normal": "正常业务", "offsite": "异地业务"},
    "doctor_title": {
        "resident_doctor": "住院医师", "attending": "主治医师", "associate_chief": "副主任医师",
        "chief": "主任医师", "special_allowance_expert": "享受政府特殊津贴专家",
    },
    "agreement_state": {
        "active": "生效", "signed": "已签署", "online_signed_paper_pending": "网上互签待补签",
        "suspended": "中止", "terminated": "解除", "expired": "到期", "filed": "已备案",
        "other": "其他",
    },
    "charged_by": {"inviting": "邀请方", "invited": "受邀方"},
    "prescription_record": {
        "sound": "相符", "claimed": "已申报", "elsewhere": "已流转或由他处调配",
        "undispensed": "未按数量调配", "undesignated": "药店非定点", "expired": "已过期",
        "withdrawn": "已撤回", "other_person": "患者不符",
    },
    "standing": {
        "active": "正常参保", "arrears": "欠费暂停", "waiting": "等待期", "stopped": "终止参保",
        "deceased": "死亡", "absent": "当日没有参保登记",
    },
    "assistance": {
        "extreme_poverty": "特困人员", "subsistence": "低保对象", "marginal": "低保边缘家庭成员",
        "relapse": "防止返贫监测对象",
    },
    "price_class": {"3": "三类", "2": "二类", "1": "一类"},
    "nonprofit": {"True": "非营利性", "False": "营利性"},
}  # fmt: skip

DECISIONS = {
    "payable": "予以支付",
    "reject": "不予支付",
    "review": "待人工审核",
    "no_rule": "无支付规则",
}
DECISION_TONES = {"payable": "ok", "reject": "bad", "review": "warn", "no_rule": "wait"}
STATE_TONES = {
    "payable": "ok", "reject": "bad", "review": "warn", "no_rule": "wait", "partial": "info",
    "reversed": "mute",
}  # fmt: skip
BATCH_TONES = {
    "checking": "wait", "checked": "info", "loading": "wait", "running": "info", "paused": "warn",
    "closed": "ok", "failed": "bad", "cancelled": "mute", "reversing": "wait", "reversed": "mute",
}  # fmt: skip
PRESCRIPTION_TONES = {
    "unsigned": "bad", "signed": "wait", "returned": "bad", "reviewed": "ok", "released": "info",
    "partly": "info", "dispensed": "ok", "expired": "mute", "withdrawn": "mute",
}  # fmt: skip
FLAGS = {
    "CODE_ALIAS": "项目编码为旧编码，已换成正式编码", "OVERCHARGE": "收费高于公布价格，多收部分应退还患者",
    "ZERO_FEE": "费用为零", "PAPER_SIGNATURE_PENDING": "协议网上互签，纸质签章待补",
    "EXAMPLE_PARAMETER": "使用了示例参数，不得用于实际支付", "FEE_MISMATCH": "费用与价格乘次数不符",
}  # fmt: skip
TOTALS = {
    "fee": "费用", "in_scope": "政策范围内", "over_cap": "超标准自费", "out_of_scope": "范围外",
    "held": "暂不支付", "fund": "统筹基金", "account": "个人账户", "cash": "个人现金",
    "hospital": "机构承担", "deductible": "起付线", "first_self_pay": "先行自付",
    "major": "大病保险", "assistance": "医疗救助",
}  # fmt: skip
#: Where the parts of a reversed settlement go back to, and how.
REFUNDS = {
    "pooled_fund": "退回统筹基金",
    "personal_account": "退回个人账户",
    "major_illness": "退回大病保险",
    "assistance": "退回医疗救助",
    "cash": "退还患者现金",
}
REFUND_WAYS = {
    "pooled_fund": "冲减应付医疗机构", "personal_account": "恢复账户余额",
    "major_illness": "冲减应付医疗机构",
    "assistance": "冲减应付医疗机构", "cash": "由医疗机构按原支付方式退回",
}  # fmt: skip
REGIONS = {"nantong": "南通市", "wenzhou": "温州市", "jilin": "吉林省", "ningxia": "宁夏回族自治区"}
MEDIA = {"video": "视频", "text": "图文", "voice": "语音"}
CREDENTIALS = {"e_credential": "医保电子凭证", "id_card": "身份证", "card": "社会保障卡"}


def word(fact: str, value: object) -> str:
    """A fact's value in Chinese: 是/否 for yes-no facts, the word of a code, else the text itself."""
    known = VALUES.get(fact, {}).get(str(value))
    if known:
        return known
    if isinstance(value, bool):
        return "是" if value else "否"
    return str(value)
