"""The personal account (个人账户) as a payee: money of a reimbursement put on it, or taken back."""

import datetime as dt

from django.db.models import F

from institutions.refusals import refused
from settlement.models import InsuredPerson, PersonalAccount


def credit_account(*, person_id: int, amount: int, at: dt.datetime) -> None:
    """Raise what is left on a person's account by fen (below zero: take it back, never below nothing).

    The account is one row for all years, opened with the balance that was last reported.
    """
    person = InsuredPerson.objects.get(pk=person_id)
    opening = PersonalAccount(
        person=person, account_left=person.account_balance, region_code=person.region_code
    )
    PersonalAccount.objects.bulk_create([opening], ignore_conflicts=True)
    rows = PersonalAccount.objects.filter(person=person)
    if rows.select_for_update().get().account_left + amount < 0:
        raise refused(
            "amount", "ACCOUNT_EMPTY", "个人账户余额不足，不能退回", "the account holds less"
        )
    rows.update(account_left=F("account_left") + amount)
