"""What happened to signed agreements in the demonstration: decisions, questions, ends, assessments."""

import datetime as dt
from collections.abc import Mapping

from django.conf import settings

from agreements import lifecycle, terms
from agreements.assessment import record_assessment
from agreements.models import Agreement
from config.demo import ACTOR, TODAY, moment
from config.demo.applicants import code_of
from institutions.models import Institution

Day = dt.date
SIGNER, REVIEWER = "signer.wenzhou", "reviewer.wenzhou"
INDICATORS = ("follow_up", "records", "price", "deadlines", "findings", "satisfaction")
#: whose, scores in the order of INDICATORS, why it was corrected, on which day
SCORES: tuple[tuple[str, tuple[int, ...], str, Day], ...] = (
    ("wz1", (96, 94, 100, 92, 90, 95), "示例：年度现场考核", Day(2021, 12, 14)),
    ("wz3", (78, 74, 85, 60, 70, 80), "", Day(2021, 12, 13)),
    ("wz3", (78, 74, 65, 60, 55, 80), "示例：收费核查与疑点查实结果更正", Day(2021, 12, 17)),
)


def make_agreements() -> str:
    """Decisions and results by their own commands; what there is in words."""
    _decide("wz14", "main", "suspended", Day(2021, 12, 13), Day(2021, 12, 13),
            "示例：等级保护测评报告过期，整改期间中止", "示例定点协议 第三十条")  # fmt: skip
    _decide("wz5", "supplementary", "suspended", Day(2021, 12, 21), Day(2021, 12, 17),
            "示例：电子处方流转记录不完整，整改期间中止", "示例补充协议 第十二条")  # fmt: skip
    for key, scores, remark, on in SCORES:
        given: Mapping[str, int] = dict(zip(INDICATORS, scores, strict=True))
        record_assessment(
            institution=_hospital(key), year=TODAY.year, scores=given, remark=remark, by=REVIEWER,
            at=moment(on, 15),
        )  # fmt: skip
    within = settings.AGREEMENT_WARN_DAYS
    done = terms.watch(on=TODAY, within=within, by=ACTOR, at=moment(TODAY, 0, 10))
    return f"中止决定 2 项，待决定 1 项，将到期 {done['asked']} 份，考核 2 家"


def _hospital(key: str) -> Institution:
    return Institution.objects.select_related("region").get(pk=code_of(key))


def _decide(
    key: str, kind: str, decision: str, on: Day, recorded: Day, reason: str, clause: str
) -> None:
    """A decision valid from a day, recorded on another."""
    row = Agreement.objects.filter(institution=_hospital(key), kind=kind).in_force(on=on).get()
    lifecycle.decide(
        agreement=row, decision=decision, on=on, reason=reason, clause=clause, by=SIGNER,
        at=moment(recorded, 11),
    )  # fmt: skip
