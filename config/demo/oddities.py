"""Claims that are not paid, or not in full: one recipe per reason that the documents give.

A recipe makes an ordinary claim and spoils exactly one thing, so that this thing gives the reason.
"""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from config.demo.claims import Draft, Maker, line
from config.demo.hospitals import OFFLINE_ONLY
from config.demo.people import ACUTE, NOT_LISTED, OTHER_DISEASE, STALE
from config.demo.physicians import TECHNICIAN, YOUNG

Day = dt.date
Recipe = Callable[[Maker], list[Draft]]
Spoil = Callable[[dict], None]


@dataclass(frozen=True)
class Oddity:
    """`share` claims of 20,000 come from the recipe; `reason` is what the settlement says.

    An empty reason is a payable claim with something to notice.
    """

    name: str
    reason: str
    share: int
    make: Recipe


def spoiled(
    region: str, spoil: Spoil | None = None, *, days: tuple[Day, Day] | None = None, **where: Any
) -> Recipe:
    """An ordinary claim of a region at a stated place or time, with its body spoiled."""

    def make(maker: Maker) -> list[Draft]:
        day = _between(maker, *days) if days else None
        draft = maker.ordinary[region](maker.visit(region, day=day, **where))
        if spoil is not None:
            spoil(draft.body)
        return [draft]

    return make


def _between(maker: Maker, first: Day, last: Day) -> Day:
    return first + dt.timedelta(days=maker.chance.below((last - first).days + 1))


def setting(*path: str, to: object) -> Spoil:
    """Sets one member of the body."""

    def spoil(body: dict) -> None:
        for key in path[:-1]:
            body = body[key]
        body[path[-1]] = to

    return spoil


def lines(**values: object) -> Spoil:
    """Sets members of every line."""

    def spoil(body: dict) -> None:
        for each in body["lines"]:
            each.update(values)

    return spoil


def first_visit(body: dict) -> None:
    body["encounter"]["visit_type"] = "first"


def acute(body: dict) -> None:
    body["encounter"] |= {
        "condition": ACUTE.condition,
        "diagnoses": [{"code": ACUTE.icd, "name": ACUTE.name, "main": True}],
    }


def without_credential(body: dict) -> None:
    body["person"] |= {"verified_at": None, "matched": False}


def without_prescription(body: dict) -> None:
    """Only the consultation is charged."""
    del body["prescriptions"]
    body["lines"] = body["lines"][:1]


def unsigned(body: dict) -> None:
    body["prescriptions"][0] |= {"signed_by": None, "signed_at": None}


def unreviewed(body: dict) -> None:
    body["prescriptions"][0] |= {"reviewed_by": None, "reviewed_at": None}


def one_more(kind: str, item: str, price: int) -> Spoil:
    """A further line: a delivery, a charge nobody approved."""

    def spoil(body: dict) -> None:
        number = len(body["lines"]) + 1
        body["lines"].append({"line_no": number, **line(kind, item, price)})

    return spoil


def charged_twice(body: dict) -> None:
    body["lines"].append(body["lines"][0] | {"line_no": 2})


def item(code: str, post: str) -> Recipe:
    """An annex item of Nantong billed by a physician of another title (or unknown to the annex)."""

    def make(maker: Maker) -> list[Draft]:
        visit = maker.visit("nantong", post=post)
        code_priced = code if code in maker.prices.items else maker.prices.item_of["attending"]
        fee = maker.prices.of(code_priced, visit.hospital.class_on(visit.day))
        return [maker.nantong(visit, code, fee)]

    return make


def another_physician(maker: Maker) -> list[Draft]:
    """Two claims of one encounter: an attending physician's and an associate chief's fee."""
    first = maker.visit("nantong", post="attending")
    drafts = [maker.nantong(first)]
    doctor = maker.doctors[first.hospital.key]["associate"]
    second = maker.nantong(replace(first, doctor=doctor))
    second.body["encounter"]["id"] = drafts[0].body["encounter"]["id"]
    return [*drafts, second]


def small_class(maker: Maker) -> list[Draft]:
    visit = maker.visit("nantong", hospital="nt7", post="attending")
    code = maker.prices.item_of["attending"]
    return [maker.nantong(visit, code, maker.prices.of(code, "2"))]


def priced(region: str, per_cent: int, **where: Any) -> Recipe:
    """A consultation at another price than the published one."""

    def make(maker: Maker) -> list[Draft]:
        visit = maker.visit(region, **where)
        if region == "wenzhou":
            return [maker.wenzhou(visit, maker.prices.consult * per_cent // 100)]
        code = maker.prices.item_of[visit.doctor.title_on(visit.day)]
        fee = maker.prices.of(code, visit.hospital.class_on(visit.day))
        return [maker.nantong(visit, code, fee * per_cent // 100)]

    return make


def other_level(maker: Maker) -> list[Draft]:
    """Experts of a municipal hospital: their price is not printed (吉林 一第3款)."""
    return [maker.jilin(maker.visit("jilin"), ("jl2",))]


ODDITIES = (
    # 通医保发〔2020〕25号
    Oddity("首诊", "FIRST_VISIT", 70, spoiled("nantong", first_visit)),
    Oddity("非常见病慢性病", "NOT_COMMON_OR_CHRONIC", 50, spoiled("nantong", acute)),
    Oddity("健康咨询", "EXCLUDED_SERVICE", 50, spoiled("nantong", lines(service_type="健康咨询"))),
    Oddity("非医务人员", "NOT_MEDICAL_STAFF", 30, spoiled("nantong", post=TECHNICIAN)),
    Oddity("医师年资不足", "DOCTOR_EXPERIENCE", 60, spoiled("nantong", post=YOUNG)),
    Oddity("职称低于项目", "DOCTOR_RANK_MISMATCH", 40, item("111102002", "attending")),
    Oddity("职称高于项目", "DOCTOR_RANK_MISMATCH", 60, item("111102001", "chief")),
    Oddity(
        "同项重复收费", "DUPLICATE_CHARGE", 60,
        spoiled("nantong", charged_twice, post="attending"),
    ),
    Oddity("同次另级收费", "DUPLICATE_CHARGE", 40, another_physician),
    Oddity("目录外编码", "ITEM_UNKNOWN", 40, item("111102009", "attending")),
    Oddity("分类标题编码", "ITEM_NOT_BILLABLE", 20, item("111102", "attending")),
    Oddity("一类机构", "CLASS_NOT_OFFERED", 40, small_class),
    Oddity("未备案机构", "INSTITUTION_NOT_FILED", 50, spoiled("nantong", hospital="nt8")),
    Oddity("非公立机构", "NO_CAP_FOR_NON_PUBLIC", 70, spoiled("nantong", hospital="nt9")),
    Oddity(
        "协议生效前", "NO_AGREEMENT", 50,
        spoiled("nantong", hospital="nt10", days=(Day(2021, 6, 1), Day(2021, 8, 31))),
    ),
    Oddity(
        "协议中止期间", "AGREEMENT_SUSPENDED", 40,
        spoiled("nantong", hospital="nt5", days=(Day(2021, 5, 1), Day(2021, 6, 30))),
    ),
    Oddity(
        "外地参保", "NOT_LOCAL_INSURED", 50,
        spoiled("nantong", hospital="nt1", insured="wenzhou"),
    ),
    Oddity("超过公布价格", "OVERCHARGE", 60, priced("nantong", 125, post="attending")),
    Oddity("优惠收费", "", 30, priced("nantong", 50)),
    Oddity("免收", "", 10, priced("nantong", 0)),
    Oddity("附件印刷编码", "", 20, item("111020004", "expert")),
    # 温医保办〔2021〕6号
    Oddity(
        "文件施行前", "RULE_NOT_IN_FORCE", 50,
        spoiled("wenzhou", hospital="wz1", days=(Day(2021, 2, 20), Day(2021, 3, 7))),
    ),
    Oddity(
        "配送费", "DELIVERY_FEE", 90,
        spoiled("wenzhou", one_more("delivery", "SL-PS-001", 800)),
    ),
    Oddity(
        "未经批准项目", "ITEM_NOT_APPROVED", 40,
        spoiled("wenzhou", one_more("other", "SL-QT-001", 2000), hospital="wz1"),
    ),
    Oddity(
        "营利机构自设项目", "OUT_OF_PAYMENT_SCOPE", 30,
        spoiled("wenzhou", one_more("other", "SL-ZS-001", 2000), hospital="wz5"),
    ),
    Oddity("无电子凭证", "CREDENTIAL_MISSING", 60, spoiled("wenzhou", without_credential)),
    Oddity("温州首诊", "FIRST_VISIT", 40, spoiled("wenzhou", first_visit)),
    Oddity(
        "超出诊疗科目", "DEPARTMENT_OUT_OF_SCOPE", 40,
        spoiled("wenzhou", setting("encounter", "department_code", to=OFFLINE_ONLY)),
    ),
    Oddity("病种不在目录", "DISEASE_NOT_LISTED", 50, spoiled("wenzhou", cohort=NOT_LISTED)),
    Oddity("超过三个月", "REVISIT_WINDOW", 60, spoiled("wenzhou", cohort=STALE)),
    Oddity(
        "不是同种疾病", "REVISIT_DISEASE_MISMATCH", 50,
        spoiled("wenzhou", cohort=OTHER_DISEASE),
    ),
    Oddity("温州年资不足", "DOCTOR_EXPERIENCE", 40, spoiled("wenzhou", post=YOUNG)),
    Oddity("未开处方", "NO_PRESCRIPTION", 60, spoiled("wenzhou", without_prescription)),
    Oddity("处方无医师签名", "DOCTOR_SIGNATURE_MISSING", 50, spoiled("wenzhou", unsigned)),
    Oddity("处方未经审核", "PHARMACIST_REVIEW_MISSING", 50, spoiled("wenzhou", unreviewed)),
    Oddity(
        "温州外地参保", "NOT_LOCAL_INSURED", 40,
        spoiled("wenzhou", hospital="wz2", insured="nantong"),
    ),
    Oddity("未签补充协议", "NO_AGREEMENT", 30, spoiled("wenzhou", hospital="wz6")),
    Oddity(
        "温州协议中止", "AGREEMENT_SUSPENDED", 30,
        spoiled("wenzhou", hospital="wz4", days=(Day(2021, 8, 1), Day(2021, 8, 31))),
    ),
    Oddity("公立超价", "OVERCHARGE", 30, priced("wenzhou", 150, hospital="wz3")),
    # 吉卫便函〔2021〕3号
    Oddity(
        "文件执行前", "RULE_NOT_IN_FORCE", 20,
        spoiled("jilin", days=(Day(2021, 2, 20), Day(2021, 3, 24))),
    ),
    Oddity(
        "当地未纳入", "OUT_OF_PAYMENT_SCOPE", 20,
        spoiled("jilin", days=(Day(2021, 3, 26), Day(2021, 4, 15))),
    ),
    Oddity(
        "会诊未征得同意", "NO_CONSENT", 30,
        spoiled("jilin", setting("consent", "item_and_price_explained", to=False)),
    ),
    Oddity(
        "受邀方收费", "CHARGED_BY_WRONG_PARTY", 25,
        spoiled("jilin", setting("consultation", "charged_by", to="invited")),
    ),
    Oddity(
        "门诊会诊", "OUT_OF_PAYMENT_SCOPE", 25,
        spoiled("jilin", setting("consultation", "inpatient", to=False)),
    ),
    Oddity("非省级专家", "NO_TARIFF", 25, other_level),
)  # fmt: skip
PER = 20_000


def oddities(maker: Maker, claims: int) -> list[Draft]:
    """All oddities in proportion to the number of claims, each at least once."""
    drafts: list[Draft] = []
    for oddity in ODDITIES:
        wanted = len(drafts) + max(1, oddity.share * claims // PER)
        while len(drafts) < wanted:
            drafts += oddity.make(maker)
    return drafts
