"""Jilin's money in the demonstration: consultations at every stage, agreements, lines, bills. All 示例."""

import datetime as dt
from functools import partial

from config.demo import ACTOR, TODAY, identity, moment
from config.demo.hospitals import HOSPITALS
from institutions.models import Institution, User
from settlement import consultation_statement, consultations, line_payments, lines, maintenance
from settlement.consultations import Invited
from settlement.models import Consultation, FeeBill

Day = dt.date
INVITING, INVITED = ("jl1", "jl2"), ("jl3", "jl4")
#: (inviting, invited …, day of the consultation, how far it came)
STORIES = (
    ("jl1", ("jl3",), Day(2021, 8, 10), "settled"),
    ("jl1", ("jl3", "jl4"), Day(2021, 9, 16), "distributed"),
    ("jl2", ("jl4",), Day(2021, 9, 2), "charged"),
    ("jl1", ("jl4",), Day(2021, 10, 21), "settled"),
    ("jl2", ("jl3",), Day(2021, 11, 8), "paid"),
    ("jl1", ("jl3",), Day(2021, 11, 25), "receipted"),
    ("jl1", ("jl4",), Day(2021, 12, 1), "refunded"),
    ("jl2", ("jl1",), Day(2021, 12, 6), "unpriced"),
    ("jl1", ("jl3", "jl4"), Day(2021, 12, 15), "entered"),
    ("jl1", ("jl3",), Day(2021, 12, 20), "invited"),
    ("jl2", ("jl4",), Day(2021, 12, 20), "draft"),
)
RATIOS = {"jl3": 7000, "jl4": 6500}
STAGES = (
    "draft",
    "invited",
    "held",
    "entered",
    "charged",
    "distributed",
    "paid",
    "receipted",
    "settled",
)
PURPOSE = "示例：多发磨玻璃结节，请省级专家会诊指导诊断与治疗。"
#: hospital, service, bandwidth, tier, opened, number of lines
LINES = (
    ("jl1", "multi", 40, "municipal", Day(2018, 6, 1), 1),
    ("jl1", "single", 20, "municipal", Day(2018, 6, 1), 1),
    ("jl2", "single", 20, "county", Day(2018, 9, 10), 2),
    ("jl2", "single", 4, "township", Day(2020, 3, 15), 5),
    ("jl4", "single", 8, "community", Day(2020, 6, 1), 1),
    ("jl3", "multi", 40, "provincial", Day(2017, 11, 20), 1),
    ("jl4", "multi", 40, "provincial", Day(2017, 12, 5), 1),
)
CONTRACTS = (
    ("jl1", 8_000_000, 1200, Day(2018, 8, 20)),
    ("jl3", 12_000_000, 1500, Day(2018, 8, 20)),
)


def make_jilin() -> str:
    """Agreements, consultations, lines and bills by the commands that people use."""
    places = {
        key: Institution.objects.select_related("region").get(pk=HOSPITALS[key].code)
        for key in (*INVITING, *INVITED)
    }
    people = {key: _person(place) for key, place in places.items()}
    _agreements(places, people)
    for number, story in enumerate(STORIES, 1):
        _tell(number, story, places, people)
    consultation_statement.report_account(
        institution=places["jl1"], month=Day(2021, 11, 1), account_name="示例会诊专账",
        staff_pay=9000, note="示例：会诊医师劳务补贴", by=people["jl1"].username, at=moment(TODAY),
    )  # fmt: skip
    return f"会诊 {len(STORIES)} 次；专线 {_lines(places)} 处，账单 {_bills()} 份"


def _person(place: Institution) -> User:
    """Whoever acts for a hospital: its log-in."""
    return User.objects.get(institution=place, role="hospital")


def _agreements(places: dict[str, Institution], people: dict[str, User]) -> None:
    since = Day(2021, 4, 1)
    for first, ours in enumerate(INVITING):
        for second, theirs in enumerate(INVITED, start=1):
            row = consultations.record_agreement(
                inviting=places[ours], invited=places[theirs],
                number=f"示例会诊协议-{len(INVITED) * first + second:02d}",
                ratio_invited=RATIOS[theirs], valid_from=since, by=people[ours].username,
                at=moment(since),
            )  # fmt: skip
            consultations.confirm_agreement(
                agreement=row, who=people[theirs], by=people[theirs].username, at=moment(since, 10)
            )


def _tell(
    number: int, story: tuple, places: dict[str, Institution], people: dict[str, User]
) -> None:
    ours, theirs, day, stage = story
    who = people[ours]
    sign = partial(_sign, who)
    case = consultations.request(
        inviting=places[ours], id_number=identity.id_number(Day(1950 + number, 3, 3), 990 + number),
        inpatient_no=f"示例{day:%Y%m}{number:03d}", department="呼吸内科（示例）", purpose=PURPOSE,
        wanted_on=day, invited=[Invited(places[key], (f"示例专家{key[-1]}",)) for key in theirs],
        by=who.username, at=moment(day, 8),
    )  # fmt: skip
    reached = STAGES.index(stage) if stage in STAGES else STAGES.index("charged")
    take = partial(consultations.take_step, case=case, who=who, by=who.username)
    if reached >= STAGES.index("invited"):
        take(step="consent", at=moment(day, 9),
             facts={"consenter": "relative", "explained": True, "agreed": True})  # fmt: skip
    if reached < STAGES.index("held"):
        return
    for row in case.participants.select_related("hospital"):
        other = people[next(key for key in theirs if places[key].pk == row.hospital_id)]
        consultations.answer(participant=row, accept=True, **_sign(other, day, 10))
    case.refresh_from_db()
    take(step="hold", at=moment(day, 15), facts={
        "session_on": day.isoformat(), "minutes": "40", "summary": "示例：建议完善检查后随访。",
        "attended": [places[key].pk for key in theirs]})  # fmt: skip
    entry = {"entry": f"示例病程{number:02d}"}
    if stage == "unpriced":
        take(step="close_open", at=moment(day, 16), facts=entry)
        return
    take(step="enter", at=moment(day, 16), facts=entry)
    if reached >= STAGES.index("charged"):
        _money(case, stage, reached, sign, day, people, {places[key].pk: key for key in theirs})


def _money(
    case: Consultation, stage: str, reached: int, sign: partial, day: Day,
    people: dict[str, User], keys: dict[str, str],
) -> None:  # fmt: skip
    take = partial(consultations.take_step, case=case)
    amount = case.amount or 0
    take(step="collect", **sign(day, 17), facts={
        "invoice_no": f"示例票{case.pk:06d}", "amount": f"{amount // 100}.{amount % 100:02d}"})  # fmt: skip
    if stage == "refunded":
        take(
            step="refund",
            **sign(day, 18),
            note="示例：重复收费",
            facts={"refund_no": f"示例退{case.pk}"},
        )
        return
    if reached < STAGES.index("distributed"):
        return
    later = day + dt.timedelta(days=7)
    take(step="distribute", **sign(later, 9), facts={})
    for row in case.participants.filter(share__gt=0).select_related("hospital"):
        if reached >= STAGES.index("paid"):
            consultations.pay(participant=row, amount=row.share or 0, payment_no=f"示例付{row.pk:05d}",
                              **sign(later, 10))  # fmt: skip
        if reached >= STAGES.index("receipted"):
            consultations.issue_receipt(
                participant=row, number=f"示例收{row.pk:05d}", amount=row.share or 0, issued_on=later,
                **_sign(people[keys[row.hospital_id]], later, 11),
            )  # fmt: skip
        if reached >= STAGES.index("settled"):
            consultations.reduce_revenue(participant=row, **sign(later, 12))


def _sign(who: User, day: Day, hour: int) -> dict:
    return {"who": who, "by": who.username, "at": moment(day, hour)}


def _lines(places: dict[str, Institution]) -> int:
    for number, (key, service, wide, tier, opened, count) in enumerate(LINES, 1):
        built = tier == "township"
        lines.open_line(
            institution=places[key], number=f"示例专线-{number:03d}", service=service,
            bandwidth_mb=wide, count=count, tier=tier, opened_on=opened, by=ACTOR, at=moment(TODAY),
            construction_note="示例：农网改造开通工程" if built else "",
            construction_fee=600_000 if built else None,
            construction_payer="示例：当地政府与运营商协商" if built else "",
        )  # fmt: skip
    for key, base, rate, accepted in CONTRACTS:
        maintenance.record_contract(
            institution=places[key], number=f"示例维保-{key}", base=base, rate=rate,
            accepted_on=accepted, by=ACTOR, at=moment(TODAY),
        )  # fmt: skip
    return len(LINES)


def _bills() -> int:
    """Bills of all years of liability; the first year is paid, one item waits for a decision."""
    by = "centre.jilin"
    for year in (2019, 2020, 2021):
        lines.make_bills(year=year, prefix="22", by=by, at=moment(TODAY, 9))
    confirmed = moment(Day(2021, 12, 1), 9)
    for bill in FeeBill.objects.filter(open_items=0).order_by("pk"):
        lines.confirm_bill(bill=bill, by=by, at=confirmed)
    for number, bill in enumerate(FeeBill.objects.filter(state="confirmed", year=2019), 1):
        line_payments.pay_bill(
            bill=bill, amount=bill.amount, paid_on=Day(2021, 12, 10), payment_no=f"示例缴{number:04d}",
            by=by, at=moment(Day(2021, 12, 10), 9),
        )  # fmt: skip
    return FeeBill.objects.count()
