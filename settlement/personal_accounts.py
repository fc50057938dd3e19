"""The personal account (个人账户): its balance as reported; money of a person put on it, or taken back.

A region puts money on the accounts of its own insured alone, of the schemes that its rules let draw on one:
anywhere else it could never be drawn, or would be another region's debt.
"""

import datetime as dt
from collections.abc import Collection, Mapping

from django.db import connection
from django.db.models import F

from institutions.models import Region
from institutions.refusals import Refusal, refused
from pricing.releases import current
from settlement import ledger
from settlement.models import InsuredPerson, PersonalAccount, Scheme, Way

#: Who has no account yet gets one, as a claim opens it; whoever comes second waits for the first.
OPEN = """INSERT INTO settlement_personalaccount (person_id, account_left, region_code)
    SELECT id, account_balance, region_code FROM settlement_insuredperson
    WHERE id = ANY (%s::bigint[]) ORDER BY id ON CONFLICT (person_id) DO NOTHING"""
#: A balance that changes replaces what is left, by trigger; one that is the same as the last does not.
REPORTED = """UPDATE settlement_insuredperson p SET account_balance = g.balance
    FROM unnest(%s::bigint[], %s::bigint[]) AS g (id, balance) WHERE p.id = g.id"""
SAME_AGAIN = """UPDATE settlement_personalaccount a
    SET account_left = p.account_balance, drawn_before = settlement_drawn(p.id)
    FROM settlement_insuredperson p WHERE p.id = a.person_id AND p.id = ANY (%s::bigint[])
        AND a.account_left <> p.account_balance"""


def locked(persons: Collection[int]) -> dict[int, int]:
    """Person → what is left (fen); opened with the balance last reported where absent, and locked as
    claims lock it."""
    with connection.cursor() as cursor:
        cursor.execute(OPEN, [sorted(persons)])
    ledger.lock_persons(sorted(persons))
    rows = PersonalAccount.objects.filter(person__in=persons)
    return dict(rows.values_list("person_id", "account_left"))


def report(balances: Mapping[int, int]) -> dict[int, int]:
    """Reported balances (person → fen) replace what is left now; what was left before.

    A claim draws either before, and is part of what the report replaces, or after, from what was reported.
    """
    left = locked(balances)
    with connection.cursor() as cursor:
        cursor.execute(REPORTED, [list(balances), list(balances.values())])
        cursor.execute(SAME_AGAIN, [list(balances)])
    return left


def left_of(person: InsuredPerson) -> int:
    """What is left on a person's account now (fen)."""
    row = PersonalAccount.objects.filter(person=person).first()
    return row.account_left if row else person.account_balance


def schemes_of(pool: str, on: dt.date) -> tuple[set[str], str]:
    """The schemes that have a personal account in a region on a day, and the document with its clause."""
    found = current().policy(pool, on)
    if found is None or not found.covers(on):
        return set(), ""
    rules = found.policy.section("personal_account", ())
    clauses = " ".join([found.policy.document, *dict.fromkeys(rule["clause"] for rule in rules)])
    return {scheme for rule in rules for scheme in rule["schemes"]}, clauses


def ways(pool: str, on: dt.date) -> list[tuple[str, str]]:
    """The ways of payment to persons that a form of the region can offer."""
    known, _ = schemes_of(pool, on)
    return [(way.value, str(way.label)) for way in Way if way != Way.ACCOUNT or known]


def no_account(*, person: InsuredPerson, region_code: str, on: dt.date) -> Refusal | None:
    """Why a region cannot put money on somebody's account on a day; None where it can."""
    insured = person.entitlements.facts_on(on) or person
    pools = Region.objects.filter(pk__in=(region_code, insured.region_code))
    found = dict(pools.values_list("pk", "policy_region"))
    schemes, clause = schemes_of(found[region_code], on)
    words = ""
    if found.get(insured.region_code) != found[region_code]:
        words = "参保人不在本统筹区参保，不能收入个人账户，请改用银行账户"
    elif insured.scheme not in schemes:
        words = f"{Scheme(insured.scheme).label}没有个人账户，不能收入个人账户，请改用银行账户"
    if not words:
        return None
    return refused("way", "NO_PERSONAL_ACCOUNT", words, "no account to put it on", clause=clause)


def credit_account(*, person_id: int, amount: int, at: dt.datetime) -> None:
    """Raise what is left on a person's account by fen (below zero: take it back, never below nothing)."""
    if locked([person_id])[person_id] + amount < 0:
        raise refused(
            "amount", "ACCOUNT_EMPTY", "个人账户余额不足，不能退回", "the account holds less"
        )
    rows = PersonalAccount.objects.filter(person=person_id)
    rows.update(account_left=F("account_left") + amount)
