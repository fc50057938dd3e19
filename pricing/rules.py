"""PURE. The vocabulary of requirements: written once here, switched on with its numbers by a document.

A rule is its code and its message. `settlement.kernel` holds one predicate per name; the house test
proves that both lists are the same. A document's `requires:` entry may change the decision and says
whether the patient may be charged all the same.
"""

from dataclasses import dataclass

#: The order in which the first failing rule gives its reason (contracts: trial).
GROUPS = (
    "rule", "item", "institution", "agreement", "person", "visit", "exclusion", "physician",
    "prescription", "duplicate", "cap",
)  # fmt: skip


#: Facts with a small code; position in the tuple, 0 = unknown.
CODES: dict[str, tuple[str, ...]] = {
    "ownership": ("", "public", "private"),
    "scheme": ("", "employee", "resident", "lixiu"),
    "visit_type": ("", "first", "revisit"),
    "condition": ("", "chronic", "common", "acute_not_common"),
    "business_type": ("", "internet", "normal", "offsite"),
    "doctor_title": (
        "", "resident_doctor", "attending", "associate_chief", "chief", "special_allowance_expert",
    ),
    "agreement_state": (
        "", "active", "signed", "online_signed_paper_pending", "suspended", "terminated", "expired",
        "filed", "other",
    ),
    "charged_by": ("", "inviting", "invited"),
    #: the worst that the records say of a claim's prescriptions; a later word is worse
    "prescription_record": (
        "", "sound", "claimed", "elsewhere", "undispensed", "undesignated", "expired", "withdrawn",
        "other_person",
    ),
    "standing": ("", "active", "arrears", "waiting", "stopped", "deceased", "absent"),
    "assistance": ("", "extreme_poverty", "subsistence", "marginal", "relapse"),
}  # fmt: skip

#: Categories of what is paid (甲、乙、丙); the position is the number that tables and results keep.
CATEGORIES = ("", "甲类", "乙类", "丙类")

SERVICES = (
    "", "consult", "drug", "delivery", "unapproved_item", "self_defined_item", "remote_consult",
)  # fmt: skip


@dataclass(frozen=True)
class Rule:
    """One requirement: `code` is the reason, `message` is shown to the user, `facts` it reads.

    `numbers` are the keys that a document must supply; `decision` is what failing means by default.
    """

    name: str
    group: str
    code: str
    message: str
    facts: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    decision: str = "reject"


def _rules(*rules: Rule) -> dict[str, Rule]:
    return {rule.name: rule for rule in rules}


VOCABULARY = _rules(
    Rule("in_force", "rule", "RULE_NOT_IN_FORCE", "服务日没有有效的政策文件", ("service_date",)),
    Rule(
        "uploaded_in_time", "rule", "UPLOAD_LATE", "断网期间的服务超过补传期限上传，需人工审核",
        ("uploaded_in_time",), decision="review",
    ),
    Rule("delivery_fee_excluded", "item", "DELIVERY_FEE", "药品配送费不纳入医保支付范围"),
    Rule(
        "approved_items_only", "item", "ITEM_NOT_APPROVED",
        "非营利性机构未经批准的价格项目不得收费", ("nonprofit",),
    ),
    Rule("payable_services", "item", "OUT_OF_PAYMENT_SCOPE", "该类费用不在医保支付范围内"),
    Rule("item_known", "item", "ITEM_UNKNOWN", "价格项目编码不在目录内", ("item_code",)),
    Rule("item_billable", "item", "ITEM_NOT_BILLABLE", "该编码是分类标题，无计价单位和价格", ("item_code",)),
    Rule(
        "class_offered", "item", "CLASS_NOT_OFFERED", "该机构类别没有此项目的价格",
        ("item_code", "price_class"),
    ),
    Rule(
        "institution_filed", "institution", "INSTITUTION_NOT_FILED",
        "机构未在医保部门备案，未临时纳入支付范围", ("institution_filed",),
    ),
    Rule(
        "department_permitted", "institution", "DEPARTMENT_SUSPENDED",
        "就诊科室在被责令暂停涉及医保基金使用的医药服务的期间内", ("department_permitted",),
    ),
    Rule(
        "agreement_in_force", "agreement", "NO_AGREEMENT", "服务日没有生效的“互联网+”补充协议",
        ("agreement_in_force",),
    ),
    Rule("agreement_not_suspended", "agreement", "AGREEMENT_SUSPENDED", "服务日协议处于中止状态"),
    Rule("local_insured", "person", "NOT_LOCAL_INSURED", "不是本统筹区参保人员", ("insured_area",)),
    Rule(
        "entitlement_in_force", "person", "NOT_ENTITLED", "服务日没有有效的参保待遇", ("standing",)
    ),
    Rule(
        "credential_verified", "person", "CREDENTIAL_MISSING", "未用医保电子凭证完成实名核验或人证不符",
        ("credential_verified", "person_matched"),
    ),
    Rule(
        "consent", "person", "NO_CONSENT", "没有知情同意记录",
        ("consent", "explained_item_and_price"),
    ),
    Rule(
        "consult_consent", "person", "NO_CONSENT", "未向患者说明项目和收费标准并征得同意",
        ("consent", "explained_item_and_price"),
    ),
    Rule(
        "online_permitted", "person", "ONLINE_SUSPENDED",
        "就诊日在参保人员被暂停医疗费用联网结算的期间内", ("online_permitted",),
    ),
    Rule(
        "business_type_separated", "visit", "BUSINESS_TYPE_MISSING",
        "申报费用未区分正常、异地和“互联网+”业务", ("business_type",),
    ),
    Rule("follow_up_only", "visit", "FIRST_VISIT", "仅限复诊，不得用于首诊", ("visit_type",)),
    Rule(
        "common_or_chronic", "visit", "NOT_COMMON_OR_CHRONIC", "仅限常见病、慢性病", ("condition",)
    ),
    Rule(
        "department_in_scope", "visit", "DEPARTMENT_OUT_OF_SCOPE",
        "超出线下或互联网诊疗科目范围", ("department_in_scope",),
    ),
    Rule(
        "disease_in_list", "visit", "DISEASE_NOT_LISTED", "病种不在慢性病医保支付范围内",
        ("disease_in_list",),
    ),
    Rule(
        "revisit_window", "visit", "REVISIT_WINDOW", "距实体医疗机构最近一次诊疗已超过规定月数",
        ("last_offline_visit",), ("months",),
    ),
    Rule(
        "same_disease", "visit", "REVISIT_DISEASE_MISMATCH", "与线下诊疗不是同种疾病",
        ("same_disease",),
    ),
    Rule(
        "charged_by_inviting", "visit", "CHARGED_BY_WRONG_PARTY", "远程会诊费用应由邀请方向患者收取",
        ("charged_by",),
    ),
    Rule(
        "included_in_pool", "visit", "OUT_OF_PAYMENT_SCOPE", "当地尚未将远程会诊项目纳入医保支付",
        ("included_in_pool",),
    ),
    Rule(
        "inpatient_only", "visit", "OUT_OF_PAYMENT_SCOPE", "只规定了住院病历和清单中会诊的支付",
        ("inpatient",), decision="no_rule",
    ),
    Rule(
        "patient_facing", "exclusion", "EXCLUDED_SERVICE", "不直接面向患者的服务不予支付",
        ("patient_facing",),
    ),
    Rule(
        "medical_treatment", "exclusion", "EXCLUDED_SERVICE", "不属于诊疗活动的服务不予支付",
        ("is_medical_treatment",),
    ),
    Rule(
        "clinician_only", "exclusion", "NOT_MEDICAL_STAFF", "非医务人员提供的服务不予支付",
        ("provider_is_clinician",),
    ),
    Rule(
        "excluded_services", "exclusion", "EXCLUDED_SERVICE", "列名的服务不纳入医保支付范围",
        ("service_type",), ("names",),
    ),
    Rule(
        "physician_experience", "physician", "DOCTOR_EXPERIENCE", "医师独立临床工作经验不足规定月数",
        ("doctor_independent_months",), ("months",),
    ),
    Rule(
        "physician_title", "physician", "DOCTOR_RANK_MISMATCH", "医师职称与收费项目不符",
        ("doctor_title",),
    ),
    Rule(
        "physician_permitted", "physician", "PHYSICIAN_SUSPENDED",
        "接诊医师在被暂停或终止医保服务资格的期间内", ("physician_permitted",),
    ),
    Rule(
        "prescription_issued", "prescription", "NO_PRESCRIPTION", "复诊未开具处方，需人工审核",
        ("prescription_issued",), decision="review",
    ),
    Rule(
        "physician_signature", "prescription", "DOCTOR_SIGNATURE_MISSING", "处方没有医师电子签名",
        ("doctor_esigned",),
    ),
    Rule(
        "pharmacist_review", "prescription", "PHARMACIST_REVIEW_MISSING", "处方未经药师审核",
        ("pharmacist_reviewed",),
    ),
    Rule(
        "pharmacist_permitted", "prescription", "PHARMACIST_SUSPENDED",
        "处方由在被暂停或终止医保服务资格期间内的药师审核或调配", ("pharmacist_permitted",),
    ),
    Rule(
        "prescription_of_person", "prescription", "PRESCRIPTION_PERSON",
        "处方不是为该参保人员开具", ("prescription_record",),
    ),
    Rule(
        "prescription_not_withdrawn", "prescription", "PRESCRIPTION_WITHDRAWN", "处方已撤回",
        ("prescription_record",),
    ),
    Rule(
        "prescription_in_time", "prescription", "PRESCRIPTION_EXPIRED", "处方已过有效期",
        ("prescription_record",),
    ),
    Rule(
        "prescription_not_elsewhere", "prescription", "PRESCRIPTION_ELSEWHERE",
        "处方已流转或已由其他机构调配", ("prescription_record",),
    ),
    Rule(
        "prescription_charged_once", "prescription", "PRESCRIPTION_CLAIMED",
        "同一处方累计申报数量超过处方数量", ("prescription_record",), decision="review",
    ),
    Rule(
        "pharmacy_designated", "agreement", "PHARMACY_NOT_DESIGNATED",
        "零售药店在调配日不是定点药店", ("prescription_record",),
    ),
    Rule(
        "dispensed_first", "prescription", "NOT_DISPENSED", "药店申报数量超过其按处方调配的数量",
        ("prescription_record",),
    ),
    Rule(
        "drug_listed", "prescription", "DRUG_NOT_LISTED", "药品不在服务日有效的医保药品目录内",
        ("drug_listed",),
    ),
    Rule(
        "drug_for_disease", "prescription", "DRUG_NOT_FOR_DISEASE",
        "药品限定支付的慢性病种未为参保人认定", ("drug_for_disease",),
    ),
    Rule(
        "category_covered", "prescription", "CATEGORY_SELF_PAID", "丙类项目或药品，由个人全额自费"
    ),
    Rule("no_duplicate_charge", "duplicate", "DUPLICATE_CHARGE", "同一就诊重复收取诊察费"),
    Rule(
        "cap_known", "cap", "NO_CAP_FOR_NON_PUBLIC", "最高支付标准只对公立医疗机构规定",
        ("ownership", "price_class"), decision="no_rule",
    ),
    Rule(
        "tariff_known", "cap", "NO_TARIFF", "没有可用的价格或支付参数，不能结算", decision="no_rule"
    ),
    Rule(
        "no_overcharge", "cap", "OVERCHARGE", "收费高于公布的价格，多收部分应退还，先行暂扣",
        decision="review",
    ),
)  # fmt: skip

#: What the rules of supervision decide at submit (pricing.watching): by what a document says of them.
WATCHED = {
    "hold": Rule(
        "supervision_holds", "supervision", "SUSPECTED",
        "事中监督发现疑点，暂不支付，转人工核查", decision="review",
    ),
    "refuse": Rule(
        "supervision_refuses", "supervision", "VIOLATION", "事中监督认定不符合规定，不予支付"
    ),
}  # fmt: skip

#: Checks that belong to every document and need no `requires:` entry.
IMPLICIT = (
    "in_force",
    "item_known",
    "item_billable",
    "class_offered",
    "tariff_known",
    "no_overcharge",
    "category_covered",
)
#: Checks that every document has, though one may name them with a clause of its own: whoever is
#: suspended is suspended under texts of before, too.
SUSPENSIONS = (
    "online_permitted", "physician_permitted", "department_permitted", "pharmacist_permitted",
)  # fmt: skip
#: The services that a check of every document looks at; the others look at all.
LOOKS_AT: dict[str, list[str]] = {"pharmacist_permitted": ["drug"]}
#: Implicit checks that came later are numbered after all others: results keep the number.
NUMBERED_LAST = ("category_covered", *SUSPENSIONS)

#: Results keep the position of a reason: a later code goes to the end, none is ever taken away.
REASONS = (
    "", "AGREEMENT_SUSPENDED", "BUSINESS_TYPE_MISSING", "CHARGED_BY_WRONG_PARTY",
    "CLASS_NOT_OFFERED", "CREDENTIAL_MISSING", "DELIVERY_FEE", "DEPARTMENT_OUT_OF_SCOPE",
    "DISEASE_NOT_LISTED", "DOCTOR_EXPERIENCE", "DOCTOR_RANK_MISMATCH", "DOCTOR_SIGNATURE_MISSING",
    "DUPLICATE_CHARGE", "EXCLUDED_SERVICE", "FIRST_VISIT", "INSTITUTION_NOT_FILED",
    "ITEM_NOT_APPROVED", "ITEM_NOT_BILLABLE", "ITEM_UNKNOWN", "NOT_COMMON_OR_CHRONIC",
    "NOT_LOCAL_INSURED", "NOT_MEDICAL_STAFF", "NO_AGREEMENT", "NO_CAP_FOR_NON_PUBLIC", "NO_CONSENT",
    "NO_PRESCRIPTION", "NO_TARIFF", "OUT_OF_PAYMENT_SCOPE", "OVERCHARGE",
    "PHARMACIST_REVIEW_MISSING", "REVISIT_DISEASE_MISMATCH", "REVISIT_WINDOW", "RULE_NOT_IN_FORCE",
    "UPLOAD_LATE", "NOT_ENTITLED", "PRESCRIPTION_PERSON", "PRESCRIPTION_WITHDRAWN",
    "PRESCRIPTION_EXPIRED", "PRESCRIPTION_ELSEWHERE", "PRESCRIPTION_CLAIMED",
    "PHARMACY_NOT_DESIGNATED", "NOT_DISPENSED", "DRUG_NOT_LISTED", "DRUG_NOT_FOR_DISEASE",
    "CATEGORY_SELF_PAID",
    "REVIEW_PASSED", "REVIEW_CUT", "REVIEW_REFUSED", "REVIEW_SELF_PAID", "SUSPECTED", "VIOLATION",
    "ONLINE_SUSPENDED", "PHYSICIAN_SUSPENDED", "DEPARTMENT_SUSPENDED",
    "PHARMACIST_SUSPENDED",
)  # fmt: skip
REASON_NO = {code: number for number, code in enumerate(REASONS)}
DECISIONS = ("payable", "reject", "review", "no_rule")
#: What a reviewer made of a held line (人工审核), and what is said of it.
REVIEWED: dict[str, str] = {
    "REVIEW_PASSED": "人工审核通过，予以支付",
    "REVIEW_CUT": "人工审核核减，核减部分由医疗机构承担",
    "REVIEW_REFUSED": "人工审核查实违规，不予支付，由医疗机构承担",
    "REVIEW_SELF_PAID": "人工审核认定不在支付范围，由个人自费",
}
