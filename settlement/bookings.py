"""What a posting put into the ledger, as one SM3 that its event keeps.

Of claims that came alone, of every later version of any claim (reversal, review, re-settlement) and of every
voucher: totals, line results and legs. First versions that a batch settled hang on the digests of chunks
(settlement.batch.recheck). `settlement.batch.later` computes the digests once more from the rows.
(docs/decisions/merkle-trail.md)
"""

import datetime as dt
import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import connections

from settlement.posting import RESULT, TOTALS

#: (id of a claim or voucher, version); a voucher has version 1 alone.
Key = tuple[int, int]
HEAD = ("state", "example", "person_id", "scheme", "year", "insured_pool")
OF_VOUCHER = ("number", "kind", "effect", "subject", "scheme", "amount", "reverses_id")
LINE = ("line_no", "release_id", "parameters_id", *RESULT)
#: Which columns are digested: an event of other columns is not comparable.
FORM = hashlib.new("sm3", repr((HEAD, TOTALS, OF_VOUCHER, LINE)).encode()).hexdigest()[:8]


@dataclass
class Entry:
    """One version of a claim, or one voucher, as the ledger has it."""

    period: dt.date
    place: tuple[str, str]  #: area and institution
    head: Sequence[Any]
    lines: list[Sequence[int]] = field(default_factory=list)
    legs: list[Sequence[int]] = field(default_factory=list)  #: (account, fen)


#: The rows of the keys asked for; of lines and legs in the months of their entries.
SETTLED = """SELECT claim_id, version, period, region_code, institution_code, NAMES
    FROM settlement_settlement ASKED"""
VOUCHERS = """SELECT id, 1, period, region_code, institution_code, NAMES
    FROM settlement_voucher WHERE id = ANY (%(ids)s)"""
LINES = """SELECT claim_id, version, period, region_code, institution_code, NAMES
    FROM settlement_lineresult ASKED WHERE period = ANY (%(months)s)"""
LEGS = """SELECT claim_id, version, period, region_code, institution_code, account, amount
    FROM settlement_leg ASKED WHERE period = ANY (%(months)s)"""
ASKED = """JOIN unnest(%(ids)s::bigint[], %(versions)s::smallint[]) g (claim_id, version)
    USING (claim_id, version)"""
SETTLED = SETTLED.replace("ASKED", ASKED).replace("NAMES", ", ".join((*HEAD, *TOTALS)))
VOUCHERS = VOUCHERS.replace("NAMES", ", ".join(OF_VOUCHER))
LINES = LINES.replace("ASKED", ASKED).replace("NAMES", ", ".join(LINE))
LEGS = LEGS.replace("ASKED", ASKED)


def read(cursor: Any, keys: Collection[Key]) -> dict[Key, Entry]:
    """The entries of these keys as they stand; what is not there is left out."""
    ids, versions = [key[0] for key in keys], [key[1] for key in keys]
    given: dict[str, Any] = {"ids": ids, "versions": versions}
    found: dict[Key, Entry] = {}
    for statement in (SETTLED, VOUCHERS):
        cursor.execute(statement, given)
        for number, version, period, area, institution, *head in cursor.fetchall():
            found[number, version] = Entry(period, (area, institution), head)
    given["months"] = list({entry.period for entry in found.values()})
    for statement, part in ((LINES, "lines"), (LEGS, "legs")):
        cursor.execute(statement, given)
        for number, version, period, area, institution, *values in cursor.fetchall():
            entry = found.get((number, version))
            if entry is None:  # told elsewhere
                continue
            own = (period, (area, institution)) == (entry.period, entry.place)
            moved = [] if own else [str(period), area, institution]
            getattr(entry, part).append([*values, *moved])
    return {key: found[key] for key in keys if key in found}


def received(values: Mapping[str, Any], release: int, parameters: int) -> tuple[Key, Entry]:
    """The first version of a claim that is about to be stored (`values` fill ledger.POST)."""
    known = {**values, "person_id": values["person"]}
    lines = zip(values["result_line"], *(values[f"result_{name}"] for name in RESULT), strict=True)
    return (values["id"], values["version"]), Entry(
        values["period"], (values["region"], values["institution"]),
        [known[name] for name in (*HEAD, *TOTALS)],
        [(line_no, release, parameters, *line) for line_no, *line in lines],
        list(zip(values["leg_account"], values["leg_amount"], strict=True)),
    )  # fmt: skip


def sm3(entries: Mapping[Key, Entry]) -> str:
    """The digest of entries in the order of their keys, lines and legs in theirs."""
    digest = hashlib.new("sm3", f"posted {FORM}\n".encode())
    for key, entry in sorted(entries.items()):
        row = [
            *key,
            str(entry.period),
            *entry.place,
            *entry.head,
            sorted(map(list, entry.lines)),
            sorted(entry.legs),
        ]
        text = json.dumps(row, ensure_ascii=False, separators=(",", ":"))
        digest.update(f"{text}\n".encode())
    return digest.hexdigest()


def told(entries: Mapping[Key, Entry]) -> dict[str, Any]:
    """What an event says of the entries it wrote."""
    months = sorted({str(entry.period) for entry in entries.values()})
    return {
        "booked": {"keys": sorted(entries), "months": months, "sm3": sm3(entries), "form": FORM}
    }


def written(keys: Collection[Key], *, using: str = "default") -> dict[str, Any]:
    """`told` of what this transaction has just written."""
    with connections[using].cursor() as cursor:
        return told(read(cursor, keys))
