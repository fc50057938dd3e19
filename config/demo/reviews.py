"""Fee reviews of the demonstration: held claims in every state, some late, and a drawn sample.

Real commands on the demonstration's own claims; deadlines, amounts and wordings are examples (示例).
"""

import datetime as dt
from collections.abc import Iterator

from config.demo import TODAY, moment
from config.demo.corrections import RAISED_FROM, RAISED_UNTIL
from config.demo.hospitals import HOSPITALS
from institutions.models import Region, User
from institutions.refusals import Refusal
from settlement.models import Claim, Settlement
from settlement.reviewed import standing
from settlement.statement_steps import paid_to_person
from supervision import review_steps, reviews, sampling
from supervision.models import Review, ReviewLine
from supervision.review_sources import collect, open_by_hand
from supervision.reviews import Kind, Mark, Marking

FIRST, SECOND, HOSPITAL = "reviewer.nantong", "supervisor.nantong", "hospital.nantong1"
REGION, PLACE, SIGNER = "320600", "nt1", "示例确认人"
#: how many held claims were collected how many days ago: the first are late by now
ROUNDS = (("3206", 34, 6), ("3206", 12, 18), ("3303", 8, 14))
#: how far each case of the hospital with an account has come
STORIES = ("done", "done", "told", "objected", "returned", "waiting")


def make_reviews() -> str:
    """Collect, decide some, draw a sample; says how many."""
    for area, days, most in ROUNDS:
        collect(since=dt.date(2021, 1, 1), area=area, most=most, by="system:beat",
                at=moment(TODAY - dt.timedelta(days=days), 6))  # fmt: skip
    people = User.objects.in_bulk([FIRST, SECOND, HOSPITAL], field_name="username")
    for number, (story, case) in enumerate(zip(STORIES, _own_cases(), strict=False)):
        _tell(story, case, people, moment(TODAY, 8, 5 * number))
    plan = sampling.make_plan(
        region=Region.objects.get(pk=REGION), name="11月费用抽审（示例）", seed="示例种子 20211220",
        first_day=dt.date(2021, 11, 1), last_day=dt.date(2021, 11, 30),
        shares=sampling.Shares(50, {HOSPITALS[PLACE].code: 150}, {}, ((2000, 400),)), by=FIRST,
        at=moment(TODAY, 9),
    )  # fmt: skip
    return f"{Review.objects.count()} 张，其中抽样 {plan.drawn} 张"


def _own_cases() -> Iterator[Review]:
    """Reviews of the hospital that has an account: its held claims, then paid ones by hand."""
    code = HOSPITALS[PLACE].code
    yield from list(
        Review.objects.filter(institution_code=code, state="waiting").order_by("pk")[:4]
    )
    paid = Settlement.objects.filter(
        institution_code=code, version=1, state="payable", fund__gt=0,
        service_date__range=(dt.date(2021, 12, 6), TODAY),
    ).exclude(service_date__range=(RAISED_FROM, RAISED_UNTIL))  # fmt: skip
    for row in paid.order_by("claim_id")[:6]:
        if standing(row.claim_id) is None or paid_to_person(row.claim_id):
            continue  # reversed since, or not the hospital's money
        yield open_by_hand(
            claim=Claim.objects.get(pk=row.claim_id), reason="患者来电反映收费与服务不符（示例）",
            severity=2, by=FIRST, at=moment(TODAY, 7),
        )  # fmt: skip


def _tell(story: str, case: Review, people: dict[str, User], at: dt.datetime) -> None:
    """Move a case as far as its story goes."""
    first, office = people[FIRST], people[HOSPITAL]
    if story == "waiting":
        return
    if story == "returned":
        _take(case, "return", first, at, note="请补传当日电子病历和处方（示例）")
        return
    for row in case.lines.all():
        reviews.mark(line=row, marking=_verdict(case, row), who=first, by=FIRST, at=at)
    _take(case, "decide", first, at)
    if case.state != "told":
        return
    if story == "done":
        _take(case, "accept", office, at, signed_name=SIGNER)
    if story == "objected":
        _take(
            case, "object", office, at, signed_name=SIGNER, reason="病历已补充上传，请复核（示例）"
        )


def _verdict(case: Review, row: ReviewLine) -> Marking:
    """What a reviewer would say to a line: cut what was overcharged, refuse what lacks records."""
    if row.kind == Kind.PAID:
        return Marking(Mark.CUT, max(row.fund // 2, 1), "duplicate")
    if row.held_for == "OVERCHARGE":
        cut = Marking(Mark.CUT, row.overcharge, "overcharge")
        return cut if _comes_out(case, row, cut) else Marking(Mark.REFUSE, wording="records")
    return Marking(Mark.REFUSE, wording="records")


def _comes_out(case: Review, row: ReviewLine, marking: Marking) -> bool:
    """Whether the law lets a verdict come out: a later requirement may refuse the line."""
    settled = standing(case.claim_id)
    if settled is None:
        return False
    try:
        reviews.outcome_of(settled, row, marking)
    except Refusal:
        return False
    return True


def _take(case: Review, step: str, who: User, at: dt.datetime, **facts: str) -> None:
    case.refresh_from_db()
    review_steps.take(case=case, step=step, who=who, by=who.username, at=at,
                      note=facts.pop("note", ""), facts=facts)  # fmt: skip
    case.refresh_from_db()
