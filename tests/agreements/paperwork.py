"""Forms of 附件3 for tests: opened, filled, sealed; what a paper and a workbook say."""

import io
import re
from contextlib import closing

import pypdfium2
import python_calamine

from agreements import submissions
from agreements.models import FormSubmission
from agreements.official_forms import Filled, forms_of
from config.demo.identity import credit_code, id_number
from tests.agreements.cast import moment
from tests.agreements.ningxia import LAW, TODAY

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


def rows_of(book: bytes) -> list[list]:
    reader = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(book))
    return reader.get_sheet_by_index(0).to_python()
