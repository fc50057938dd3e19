"""An agency as payments meet it: its people, a person who asks for reimbursement, statements to pay."""

import datetime as dt

from institutions import crypto
from institutions.commands import set_account
from institutions.models import CalendarDay, Institution, User
from settlement import payments, reimbursements, sealed
from settlement.models import (
    InsuredPerson,
    Leg,
    PaymentList,
    PaymentOrder,
    Reimbursement,
    Statement,
    Voucher,
)
from settlement.reimbursements import Request
from settlement.vouchers import post_voucher
from tests import factories
from tests.factories import line

AT = dt.datetime(2021, 12, 20, 2, tzinfo=dt.UTC)
TODAY = dt.date(2021, 12, 20)
DAY = factories.DAY
CARD = "6222021111222233334"
PAPER = b"%PDF-1.4 invoice"


def calendar(*years: int) -> None:
    """Every day from Monday to Friday is worked, in these years."""
    for year in years:
        first = dt.date(year, 1, 1)
        CalendarDay.objects.bulk_create(
            CalendarDay(day=day, working=day.weekday() < 5)
            for n in range((dt.date(year + 1, 1, 1) - first).days)
            for day in [first + dt.timedelta(days=n)]
        )


class Agency:
    """An agency of Nantong with a clerk and two officers, and a hospital that cannot settle online."""

    def __init__(self) -> None:
        self.region = factories.region("nantong")
        self.hospital: Institution = factories.institution("nantong", online_settlement=False)
        self.doctor = factories.physician(self.hospital)
        self.person: InsuredPerson = factories.person("nantong", "resident")
        self.employee: InsuredPerson = factories.person(
            "nantong", "employee", account_balance=1_000
        )
        self.clerk = self.user("settlement_clerk")
        self.finance = self.user("finance_officer")
        self.invoices = 0

    def user(self, role: str) -> User:
        return factories.user(role, self.region)

    def invoice(self) -> str:
        self.invoices += 1
        return f"32060121-{self.invoices:010d}"

    def asked(self, **more: object) -> Request:
        standard: dict = {
            "kind": "mail", "credential": self.person.credential, "provider": self.hospital,
            "cause": "no_function", "service_date": DAY, "e_invoice_no": self.invoice(),
            "amount": 1200, "account": sealed.Account("测试", "示例银行南通分行", CARD),
            "phone": "13900001234", "tracking_no": "SF100",
        }  # fmt: skip
        return Request(**(standard | more))

    def submitted(self, *, at: dt.datetime = AT, **more: object) -> Reimbursement:
        return reimbursements.submit(
            asked=self.asked(**more), region=self.region, by=self.clerk.username, at=at,
            files=[("electronic_invoice", "发票.pdf", PAPER)],
        )  # fmt: skip

    def step(self, case: Reimbursement, step: str, who: User | None = None, **more: object):
        person = who or self.clerk
        return reimbursements.take_step(
            case=case, step=step, who=person, by=person.username, at=AT, **more
        )

    def claim(self, *lines: dict, **more: object) -> dict:
        """What a clerk types in for a claim."""
        return factories.body(self.person, self.doctor, *(lines or [line()]), **more)

    def of_employee(self) -> dict:
        """A claim of the employee that pays 1.30: (22.00 - 20.00) x 65 %."""
        doctor = factories.physician(self.hospital, "associate_chief")
        return factories.body(self.employee, doctor, line(item="111102002", fee="22.00"))

    def calculated(self, case: Reimbursement | None = None, *lines: dict) -> Reimbursement:
        case = case or self.submitted()
        self.step(case, "accept")
        own = case.person_id == self.person.pk
        claim = self.claim(*lines) if own else self.of_employee()
        return reimbursements.calculate(
            case=case, claim=claim, who=self.clerk, by=self.clerk.username, at=AT
        )

    def to_account(self) -> dict[str, object]:
        """What asks for payment to the personal account of the employee."""
        return {"credential": self.employee.credential, "amount": 2200, "way": "account",
                "account": None}  # fmt: skip

    def approved(self, **more: object) -> Reimbursement:
        case = self.calculated(self.submitted(**more))
        self.step(case, "approve", self.finance)
        return case

    def statement(
        self, payable: int = 500_000, hospital: Institution | None = None, **more: object
    ):
        """A final statement of a hospital with an account."""
        found = hospital or self.hospital
        if not found.accounts.exists():
            set_account(
                institution=found, holder=found.name, bank="示例银行", number="3206001234567890",
                valid_from=factories.LONG_AGO, by="clerk", at=AT,
            )  # fmt: skip
        standard: dict = {
            "scheme": "resident", "period": dt.date(2021, 11, 1), "pool": "nantong",
            "institution_code": found.pk, "region_code": found.region_id, "state": "decided",
            "procedure": "statement", "entered_on": TODAY, "opened_at": AT, "opened_by": "clerk",
            "finalised_at": AT, "fund": payable, "declared": payable, "payable": payable,
        }  # fmt: skip
        return Statement.objects.create(**(standard | more))

    def listed(self, *subjects: str) -> PaymentList:
        return payments.prepare(
            subjects=subjects, region=self.region, by=self.clerk.username, at=AT
        )

    def sent(self, *subjects: str) -> PaymentList:
        made = payments.approve(made=self.listed(*subjects), by=self.finance.username, at=AT)
        payments.export(made=made, form="csv", by=self.clerk.username, at=AT)
        made.refresh_from_db()
        return made


def id_of(person: InsuredPerson) -> bytes:
    return crypto.person_hash(person.credential)


def records(place: Institution, *, at: dt.datetime) -> tuple[Reimbursement, PaymentOrder, Voucher]:
    """A request, a payment order on a list, and a voucher at a place, as rows only."""
    person = factories.person(place.region.policy_region)
    case = Reimbursement.objects.create(
        number=f"BX-{place.pk}", kind="mail", person=person, provider=place, cause="no_function",
        service_date=at.date(), e_invoice_no=f"FP{place.pk}", amount=100, way="account",
        credential_cipher=b"x", procedure="reimbursement", state="submitted",
        entered_on=at.date(), region_code=place.region_id, opened_at=at, opened_by="someone",
    )  # fmt: skip
    made = PaymentList.objects.create(
        number=f"ZF-{place.pk}", region_code=place.region_id, count=1, total=100, prepared_at=at,
        prepared_by="someone",
    )  # fmt: skip
    order = PaymentOrder.objects.create(
        list=made, number=f"{made.number}-1", region_code=place.region_id, subject=case.subject,
        payee="person", payee_person=person, purpose="x", way="account", amount=100,
    )  # fmt: skip
    voucher = post_voucher(
        kind=Voucher.Kind.DEPOSIT, effect=f"test:{place.pk}", subject="statement:1",
        legs={Leg.Account.INSTITUTION_PAYABLE: 100, Leg.Account.DEPOSIT: -100},
        region_code=place.region_id, institution_code=place.pk, by="someone", at=at,
    )  # fmt: skip
    return case, order, voucher
