"""Months of money for tests: settled claims of chosen amounts put straight into the ledger."""

import datetime as dt
from typing import Any

from django.db import connection
from django.db.models import F, Sum

from institutions.holidays import NATIONAL, import_year, national_year
from institutions.models import CalendarDay, Institution, Region, User
from pricing.models import Release
from settlement import closing
from settlement.models import (
    Accumulator,
    ClaimKey,
    InsuredPerson,
    Leg,
    Period,
    PersonalAccount,
    Statement,
    Voucher,
)
from settlement.periods import posting_month
from settlement.statement_steps import send_all, take
from settlement.vouchers import post_voucher
from tests import factories

NOVEMBER = dt.date(2021, 11, 1)
Account = Leg.Account

SETTLEMENT = """INSERT INTO settlement_settlement (claim_id, version, state, period, region_code,
    institution_code, person_id, scheme, year, service_date, fee, in_scope, over_cap, out_of_scope,
    held, fund, account, cash, hospital, deductible, example, settled_at, settled_by, reason, insured_pool,
    major, assistance)
VALUES (%(id)s, %(version)s, %(state)s, %(period)s, %(region)s, %(institution)s, %(person)s,
    %(scheme)s, %(year)s, %(day)s, %(fee)s, %(in_scope)s, 0, 0, %(held)s, %(fund)s, %(account)s,
    %(cash)s, 0, 0, false, %(at)s, 'test', '', %(insured_pool)s, %(major)s, %(assistance)s)"""
LEG = """INSERT INTO settlement_leg (claim_id, version, account, amount, period, region_code,
    institution_code) SELECT %s, %s, a, b, %s, %s, %s FROM unnest(%s::smallint[], %s::bigint[]) l (a, b)"""


def at(month: int, day: int, year: int = 2021, hour: int = 10) -> dt.datetime:
    """A moment in Shanghai."""
    return dt.datetime(year, month, day, hour, tzinfo=factories.ZONE)


class Place:
    """A hospital with one insured person per scheme; amounts are fen."""

    def __init__(self, pool: str = "wenzhou", scheme: str = "resident", *, policies: bool = True):
        self.pool, self.scheme = pool, scheme
        self.hospital: Institution = factories.institution(pool, agreements=False)
        self.code, self.region = self.hospital.code, self.hospital.region_id
        self.person: InsuredPerson = factories.person(pool, scheme)
        if policies and not Release.objects.exists():
            factories.policies(pool)
        for year in () if CalendarDay.objects.exists() else (2021, 2022):
            import_year(
                year=year, region=NATIONAL, rows=national_year(year), by="test", at=at(1, 1)
            )

    def user(self, role: str) -> User:
        """A person of the region, or of the hospital."""
        where: Any = self.hospital if role == "hospital" else Region.objects.get(pk=self.region)
        return factories.user(role, where)

    def claim(
        self, *, fund: int, account: int = 0, cash: int = 0, held: int = 0, number: str = "",
        month: dt.date = NOVEMBER, when: dt.datetime | None = None, day: dt.date | None = None,
        scheme: str = "", insured_pool: str = "", major: int = 0, assistance: int = 0,
        to_person: bool = False,
    ) -> int:  # fmt: skip
        """Settle a claim of these amounts; its month is that of `when` or the next open one.

        `insured_pool`: the other region that owes it; no voucher of that region is posted. `to_person`: the
        funds' part is owed to the person (手工报销).
        """
        moment = when or at(month.month, 15, month.year)
        with connection.cursor() as cursor:
            cursor.execute("SELECT nextval('settlement_claim_id_seq')")
            claim_id = cursor.fetchone()[0]
        ClaimKey.objects.create(
            institution_code=self.code, claim_no=number or f"N{claim_id}", claim_id=claim_id
        )
        service = day or moment.date()
        self._store(claim_id, 1, moment, service, scheme or self.scheme,
                    fund=fund, account=account, cash=cash, held=held, insured_pool=insured_pool,
                    major=major, assistance=assistance, to_person=to_person)  # fmt: skip
        return claim_id

    def reverse(self, claim_id: int, when: dt.datetime | None = None) -> None:
        """Reverse a claim."""
        with connection.cursor() as cursor:
            cursor.execute(
                """SELECT fund, account, cash, held, service_date, scheme, insured_pool, major, assistance
                FROM settlement_settlement
                WHERE claim_id = %s AND version = 1""", [claim_id],
            )  # fmt: skip
            fund, account, cash, held, service, scheme, pool, major, assistance = cursor.fetchone()
        self._store(claim_id, 2, when or at(11, 20), service, scheme,
                    fund=-fund, account=-account, cash=-cash, held=-held,
                    insured_pool=pool, major=-major, assistance=-assistance)  # fmt: skip

    def advance(self, amount: int, when: dt.datetime | None = None) -> Voucher:
        """Money paid in advance."""
        return post_voucher(
            kind=Voucher.Kind.ADVANCE, effect=f"advance:{amount}:{self.code}", subject="advance:0",
            region_code=self.region, institution_code=self.code, scheme=self.scheme, by="clerk",
            approved_by="finance", at=when or at(11, 2),
            legs={Account.ADVANCE: amount, Account.BANK: -amount},
        )  # fmt: skip

    def confirmed(self, period: Period, day: tuple[int, ...] = (12, 2)) -> Statement:
        """Confirm a month's statements; the own one."""
        self.confirm_all(period, day)
        return Statement.objects.get(
            institution_code=self.code, scheme=self.scheme, period=period.month
        )

    def confirm_all(self, period: Period, day: tuple[int, ...]) -> None:
        """Send the statements of a month and have the hospital's person confirm them."""
        send_all(period=period, who=self.user("settlement_clerk"), by="clerk", at=at(*day))
        for row in Statement.objects.filter(pool=self.pool, period=period.month, state="sent"):
            take(statement=row, step="confirm", who=self.user("hospital"), by="hospital",
                 at=at(*day), facts={"signed_name": "王院长"})  # fmt: skip

    def closed(self, month: dt.date, day: tuple[int, ...]) -> Period:
        """Close a month from begin to end."""
        period = closing.begin_closing(pool=self.pool, month=month, by="finance", at=at(*day))
        self.confirm_all(period, day)
        return closing.close(pool=self.pool, month=month, by="finance", at=at(*day))

    def owed(self) -> int:
        """What the ledger owes the institution now, claims and vouchers of every month."""
        rows = Leg.objects.filter(institution_code=self.code, account=Account.INSTITUTION_PAYABLE)
        return -(rows.aggregate(sum=Sum("amount"))["sum"] or 0)

    def _store(
        self, claim_id: int, version: int, moment: dt.datetime, service: dt.date, scheme: str, *,
        fund: int, account: int, cash: int, held: int, insured_pool: str = "", major: int = 0,
        assistance: int = 0, to_person: bool = False,
    ) -> None:  # fmt: skip
        period = posting_month(self.region, moment)
        scope = fund + account + cash + major + assistance
        values = {
            "id": claim_id, "version": version, "period": period, "region": self.region,
            "institution": self.code, "person": self.person.pk, "scheme": scheme,
            "year": service.year, "day": service, "fee": scope + held, "in_scope": scope,
            "held": held, "fund": fund, "account": account, "cash": cash, "at": moment,
            "insured_pool": insured_pool, "major": major, "assistance": assistance,
            "state": "reversed" if version % 2 == 0 else "review" if held else "payable",
        }  # fmt: skip
        paid = {1: fund, 2: account, 13: major, 14: assistance}
        owed = sum(paid.values())
        sides = ({15: owed} if insured_pool else paid) | {
            3: cash,
            16 if to_person else 6: -owed,
            7: -cash,
        }
        sides = {key: amount for key, amount in sides.items() if amount}
        with connection.cursor() as cursor:
            cursor.execute(SETTLEMENT, values)
            if sides:
                cursor.execute(LEG, [claim_id, version, period, self.region, self.code,
                                     list(sides), list(sides.values())])  # fmt: skip
        year, _ = Accumulator.objects.get_or_create(
            person=self.person, year=service.year, scheme=scheme,
            defaults={"region_code": self.region},
        )  # fmt: skip
        PersonalAccount.objects.get_or_create(
            person=self.person,
            defaults={
                "region_code": self.region,
                "account_left": 10**9,
                "drawn_before": 10**9 - self.person.account_balance,
            },
        )
        PersonalAccount.objects.filter(person=self.person).update(
            account_left=F("account_left") - account
        )
        Accumulator.objects.filter(pk=year.pk).update(
            fund_used=F("fund_used") + fund,
            in_scope_used=F("in_scope_used") + scope,
            own_used=F("own_used") + scope - fund,
            major_used=F("major_used") + major,
            assistance_used=F("assistance_used") + assistance,
        )
