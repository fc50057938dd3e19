"""Is money conserved? Every night the whole ledger is added up; what differs is a task and an event.

Legs against each other, against what the funds pay, person-years and personal accounts against what made
them: the ledger is the truth, an accumulator only what was remembered of it. What was remembered wrongly
is written anew by a person's decision, never by the night. (docs/decisions/nightly-proof.md)
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import IntegrityError, connection, transaction
from django.urls import reverse

from audit import tasks, trail
from institutions.refusals import Refusal
from settlement import ledger

SUBJECT = "ledger:balance"
PERMISSION = "trail.view"
SHOWN = 20  #: differing person-years and accounts that an event names
#: Each differing person-year, then each account (year 0): what is remembered, what the ledger makes.
DIFFERING = """WITH PROVEN, found AS (
    SELECT person_id, year, scheme, json_build_object(WAS_YEAR) AS was,
        json_build_object(YEAR) AS made FROM wrong_years
    UNION ALL SELECT person_id, 0, '', json_build_object('account_left', was_account_left),
        json_build_object('account_left', account_left) FROM wrong_accounts
)
SELECT * FROM found WHERE %(persons)s::bigint[] IS NULL OR person_id = ANY (%(persons)s)
ORDER BY person_id, year, scheme LIMIT %(most)s"""
#: The lock of persons (settlement.ledger.LOCK); an account that is missing is opened.
LOCK = """INSERT INTO settlement_personalaccount (person_id, account_left, region_code)
    SELECT id, account_balance, region_code FROM settlement_insuredperson
    WHERE id = ANY (%s::bigint[]) ORDER BY id
    ON CONFLICT (person_id) DO UPDATE SET account_left = 0 WHERE false"""
REMEMBER = """WITH PROVEN, of_years AS (
    INSERT INTO settlement_accumulator (person_id, year, scheme, region_code, COUNTED)
    SELECT person_id, year, scheme, region_code, COUNTED FROM wrong_years
    WHERE person_id = ANY (%(persons)s)
    ON CONFLICT (person_id, year, scheme) DO UPDATE SET SUMS
)
UPDATE settlement_personalaccount a SET account_left = w.account_left FROM wrong_accounts w
WHERE a.person_id = w.person_id AND w.person_id = ANY (%(persons)s)"""
for _mark, _names in {
    "WAS_YEAR": [f"'{name}', was_{name}" for name in ledger.COUNTED],
    "YEAR": [f"'{name}', {name}" for name in ledger.COUNTED],
    "SUMS": [f"{name} = EXCLUDED.{name}" for name in ledger.COUNTED],
    "COUNTED": ledger.COUNTED,
    "PROVEN": [ledger.PROVEN],
}.items():
    DIFFERING = DIFFERING.replace(_mark, ", ".join(_names))
    REMEMBER = REMEMBER.replace(_mark, ", ".join(_names))


@dataclass(frozen=True)
class Differing:
    """A person-year, or the account of a person (year 0), in fen: as remembered, and by the ledger."""

    person: int
    year: int
    scheme: str
    was: dict[str, Any]
    made: dict[str, Any]

    @property
    def name(self) -> str:
        """What events call it: never by number or name of the person."""
        return f"person:{self.person} {f'{self.year} {self.scheme}' if self.year else 'account'}"


def differing(persons: Sequence[int] | None = None, most: int = SHOWN) -> list[Differing]:
    """Caches that differ from the ledger, of some persons or of all. Run with scope `*`."""
    given = {"persons": None if persons is None else list(persons), "most": most}
    with connection.cursor() as cursor:
        cursor.execute(DIFFERING, given)
        return [Differing(*row) for row in cursor.fetchall()]


def watch(*, by: str, at: dt.datetime) -> str:
    """Open the alarm when anything differs, close it when nothing does; the sentence, empty: nothing.

    Run where every row is visible (scope `*`).
    """
    found = ledger.balance()
    if sentence := found.sentence:
        if not tasks.is_open(subject=SUBJECT, permission=PERMISSION):
            trail.record(by=by, at=at, action="ledger.differs", subject=SUBJECT, outcome="failed",
                         detail=found.counts | {"first": [one.name for one in differing()]})  # fmt: skip
        tasks.open_task(
            subject=SUBJECT, permission=PERMISSION, at=at, title=sentence[:200],
            url=reverse("periods"), status="账目不符",
        )  # fmt: skip
    elif tasks.close(subject=SUBJECT, by=by, at=at):
        trail.record(by=by, at=at, action="ledger.agrees", subject=SUBJECT)
    return sentence


@transaction.atomic
def recompute(*, persons: Sequence[int], reason: str, by: str, at: dt.datetime) -> list[Differing]:
    """Write the person-years and accounts of named persons anew from the ledger; what differed.

    One event per person with the values before and after. Refused while the ledger itself does not add
    up, and where it makes what no cache may hold (an account below zero): that is a matter of money.
    Run with scope `*`.
    """
    if not reason.strip():
        raise Refusal(422, "REASON_MISSING", ("须写明理由", "a reason is needed"))
    with connection.cursor() as cursor:
        cursor.execute(LOCK, [sorted(persons)])
        if words := ledger.balance().of_itself:
            raise Refusal(
                409, "LEDGER_UNSOUND", (f"{words}；先查清账目，不能据以重算", "the legs differ")
            )
        found = differing(persons, most=100 * len(persons))
        try:
            with transaction.atomic():
                cursor.execute(REMEMBER, {"persons": list(persons)})
        except IntegrityError as fault:
            words = "按账目推算的累计或账户余额为负，不能写入；须先由经办机构处理账目（追回或重新申报余额）"
            raise Refusal(409, "NOT_TO_BE_HELD", (words, "below zero by the ledger")) from fault
    for person in dict.fromkeys(one.person for one in found):
        own = [one for one in found if one.person == person]
        trail.record(
            by=by, at=at, action="ledger.recomputed", subject=f"person:{person}",
            detail={"reason": reason, "was": {one.name: one.was for one in own},
                    "made": {one.name: one.made for one in own}},
        )  # fmt: skip
    watch(by=by, at=at)
    return found
