"""手工报销 and payments of the demonstration: requests in every state, slots, lists, a bank's answers."""

import datetime as dt
from itertools import count
from typing import Any

from config.demo import TODAY, moment
from config.demo.claims import Maker, Visit
from institutions.models import Institution, Office, Region, User
from settlement import appointments, bank_files, payments, reimbursements, sealed
from settlement.models import AppointmentSlot, PaymentList, Reimbursement
from settlement.payment_sources import owed

REGION, HOSPITAL = "320600", "nt6"  #: the hospital of Nantong that cannot settle online
PAPER = b"%PDF-1.4\n% \xe7\xa4\xba\xe4\xbe\x8b\n"
SPANS = [(dt.time(9), dt.time(10)), (dt.time(10), dt.time(11)), (dt.time(14), dt.time(15))]
SLOT_DAYS, CAPACITY = 11, 4
CLAUSE = "通医保发〔2020〕25号 三（三）第2款"
#: how far each request has come, and its kind
STORIES = (
    ("submitted", "mail"), ("submitted", "appointment"), ("submitted", "deferred"),
    ("supplement", "mail"), ("accepted", "mail"), ("calculated", "mail"), ("calculated", "deferred"),
    ("approved", "mail"), ("approved", "mail"), ("paid", "mail"), ("paid", "mail"),
    ("returned", "mail"), ("refused", "mail"), ("withdrawn", "appointment"),
)  # fmt: skip


class Agency:
    """The clerk and the finance officer of Nantong, who do everything here."""

    def __init__(self, maker: Maker):
        self.maker = maker
        self.region = Region.objects.get(pk=REGION)
        self.clerk = User.objects.get(username="clerk.nantong")
        self.finance = User.objects.get(username="finance.nantong")
        self.serial = count(1)

    def submitted(self, kind: str, *, days_ago: int) -> tuple[Reimbursement, Visit, dict]:
        """A request for a visit of the last weeks; returns it with the visit and its claim."""
        day = TODAY - dt.timedelta(days=days_ago + 9)
        visit = self.maker.visit("nantong", hospital=HOSPITAL, day=day)
        while visit.person.scheme != "resident":  # the fund pays residents from the first fen
            visit = self.maker.visit("nantong", hospital=HOSPITAL, day=day)
        body = self.maker.nantong(visit).body
        provider = Institution.objects.select_related("region").get(pk=visit.hospital.code)
        serial = next(self.serial)
        slot = AppointmentSlot.objects.filter(region_code=REGION, day__gte=TODAY).first()
        asked = reimbursements.Request(
            kind=kind, credential=visit.person.credential, provider=provider, cause="no_function",
            service_date=visit.day, e_invoice_no=f"32060121-{serial:010d}",
            amount=sum(int(line["fee"].replace(".", "")) for line in body["lines"]),
            account=sealed.Account(visit.person.name, "示例银行南通分行", f"62220211000{serial:08d}"),
            phone=f"1390000{serial:04d}", tracking_no=f"SL{serial:09d}" if kind == "mail" else "",
            deferred_until=TODAY + dt.timedelta(days=20) if kind == "deferred" else None,
            slot_id=slot.pk if slot and kind == "appointment" else None,
        )  # fmt: skip
        at = moment(TODAY - dt.timedelta(days=days_ago), 9, serial)
        case = reimbursements.submit(
            asked=asked, region=self.region, by=self.clerk.username, at=at,
            files=[("electronic_invoice", "电子发票（示例）.pdf", PAPER)],
        )  # fmt: skip
        return case, visit, body

    def step(self, case: Reimbursement, step: str, who: User, hour: int, **more: Any) -> None:
        reimbursements.take_step(
            case=case, step=step, who=who, by=who.username, at=self._at(case, hour), **more
        )

    def _at(self, case: Reimbursement, hour: int) -> dt.datetime:
        return moment(case.entered_on, hour, case.opened_at.minute)

    def come_to(self, story: str, case: Reimbursement, body: dict) -> None:
        """Move a request as far as its story goes; payments follow for all at once."""
        clerk, basis = self.clerk, {"basis": CLAUSE}
        if story == "submitted":
            return
        if story == "withdrawn":
            self.step(case, "withdraw", clerk, 10, note="改为持电子凭证补联网结算")
            return
        self.step(case, "accept", clerk, 10)
        if story == "supplement":
            self.step(case, "notify", clerk, 11, facts={"items": ["fee_list", "record"]})
        elif story == "refused":
            self.step(case, "refuse", clerk, 11, note="发票为体检费用，不属于诊疗", facts=basis)
        elif story != "accepted":
            reimbursements.calculate(
                case=case, claim=body, who=clerk, by=clerk.username, at=self._at(case, 14)
            )
            if story != "calculated" and case.payable:
                self.step(case, "approve", self.finance, 15, note="材料齐全，计算无误")

    def paid(self, cases: list[Reimbursement], *, returned: Reimbursement) -> PaymentList:
        """A list of yesterday that the bank has answered: paid, but for one account that was wrong."""
        day = TODAY - dt.timedelta(days=3)
        made = payments.prepare(
            subjects=[case.subject for case in cases], region=self.region, note="手工报销支付",
            by=self.clerk.username, at=moment(day, 16),
        )  # fmt: skip
        payments.approve(made=made, by=self.finance.username, at=moment(day, 16, 30))
        payments.export(made=made, form="csv", by=self.finance.username, at=moment(day, 17))
        answers = [
            bank_files.Answer(
                number=order.number,
                amount=order.amount,
                on=day,
                serial=f"YH{order.pk:010d}",
                state="returned" if order.subject == returned.subject else "paid",
                reason="户名与账号不符" if order.subject == returned.subject else "",
            )
            for order in made.orders.all()
        ]
        payments.take_results(
            made=made, answers=answers, by=self.finance.username, at=moment(TODAY, 9)
        )
        return made


def make_reimbursements(maker: Maker) -> str:
    """Slots, requests in every state, one list that the bank answered and one that waits."""
    agency = Agency(maker)
    office = Office.objects.get(region=REGION, kind=Office.Kind.AGENCY)
    slots = appointments.open_slots(
        office=office, first=TODAY, last=TODAY + dt.timedelta(days=SLOT_DAYS), spans=SPANS,
        capacity=CAPACITY, by=agency.clerk.username, at=moment(TODAY, 8),
    )  # fmt: skip
    made: dict[str, list[Reimbursement]] = {}
    for number, (story, kind) in enumerate(STORIES):
        late = story in ("paid", "returned", "approved")
        case, _, body = agency.submitted(kind, days_ago=(8 if late else 1) + number % 4)
        agency.come_to(story, case, body)
        case.refresh_from_db()
        made.setdefault(story, []).append(case)
    done = [case for case in (*made["paid"], *made["returned"]) if case.state == "approved"]
    if done:
        agency.paid(done, returned=done[-1])
    waiting = [item.subject for item in owed(region_code=REGION, on=TODAY) if not item.hold]
    if waiting:
        payments.prepare(
            subjects=waiting[:20], region=agency.region, note="待复核的拨付清单（示例）",
            by=agency.clerk.username, at=moment(TODAY, 9, 30),
        )  # fmt: skip
    lists = PaymentList.objects.count()
    return f"预约时段 {slots} 个，手工报销 {len(STORIES)} 件，拨付清单 {lists} 张"
