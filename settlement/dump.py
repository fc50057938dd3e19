"""The canonical dump of the ledger: what is owed and why, in an order and in words of its own.

Free of ids, moments and names of processes: two histories that settled the same claims alike have the
same dump, whatever was killed on the way. One line per row: claims by institution and number, persons
by the hash of their identity number, releases by the hash of their text. A column that a table gets
later is in the dump without further ado; those left out are named here.
"""

import hashlib
from collections.abc import Callable
from typing import Any

from psycopg2 import sql

#: Numbers that a database gives, moments, and who was at work: they differ from run to run.
LEFT_OUT = frozenset({
    "id", "pk", "claim_id", "person_id", "batch_id", "chunk", "shard", "period", "received_at",
    "received_by", "settled_at", "settled_by", "release_id", "parameters_id", "document",
    "institution_code", "claim_no", "drug_list", "prescription_id", "used_at", "released_at", "number",
    "effect", "subject", "detail", "reverses_id", "posted_at", "posted_by",
})  # fmt: skip
CLAIM = "JOIN settlement_claim k ON k.id = t.claim_id"
PERSON = "JOIN settlement_insuredperson p ON p.id = {}.person_id"
RELEASES = """LEFT JOIN pricing_release r ON r.id = t.release_id
    LEFT JOIN pricing_release e ON e.id = t.parameters_id
    LEFT JOIN pricing_combination m ON m.id = t.parameters_id"""
#: The claim that a voucher stands for, if it stands for one; what it is called then, or itself.
POSTED = "LEFT JOIN settlement_claim k ON {0}.subject = 'claim:' || k.id"
NAMED = (
    "coalesce(k.institution_code, '')",
    "coalesce(k.claim_no, split_part({0}.subject, ':', 1))",
)
#: Section: table, joins, columns that name a row and stand first in its line and in the order.
SECTIONS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "claim": (
        "settlement_claim", PERSON.format("t"),
        ("t.institution_code", "t.claim_no", "encode(p.id_hash, 'hex')"),
    ),
    "line": (
        "settlement_claimline", CLAIM, ("k.institution_code", "k.claim_no", "t.line_no"),
    ),
    "settlement": (
        "settlement_settlement", f"{CLAIM} {PERSON.format('t')}",
        ("k.institution_code", "k.claim_no", "t.version", "encode(p.id_hash, 'hex')"),
    ),
    "result": (
        "settlement_lineresult",
        f"{CLAIM} {RELEASES}",
        ("k.institution_code", "k.claim_no", "t.version", "t.line_no", "coalesce(r.sm3, '')",
         "coalesce(e.sm3, m.sm3, '')"),
    ),
    "leg": (
        "settlement_leg", CLAIM,
        ("k.institution_code", "k.claim_no", "t.version", "t.account"),
    ),
    "voucher": (
        "settlement_voucher", POSTED.format("t"),
        (NAMED[0], NAMED[1].format("t"), "t.kind", "t.region_code", "t.scheme"),
    ),
    "posting": (
        "settlement_leg", f"JOIN settlement_voucher v ON v.id = t.claim_id {POSTED.format('v')}",
        (NAMED[0], NAMED[1].format("v"), "v.kind", "t.region_code", "t.account", "t.amount"),
    ),
    "key": ("settlement_claimkey", "", ("t.institution_code", "t.claim_no")),
    "charge": (
        "settlement_prescriptioncharge",
        f"{CLAIM} JOIN settlement_prescription p ON p.id = t.prescription_id",
        ("k.institution_code", "k.claim_no", "p.number", "t.drug_code"),
    ),
    "invoice": ("settlement_einvoice", "", ("t.number", "t.holder", "t.released_at IS NULL")),
    "year": (
        "settlement_accumulator", PERSON.format("t"),
        ("encode(p.id_hash, 'hex')", "t.year", "t.scheme"),
    ),
    "account": (
        "settlement_personalaccount", PERSON.format("t"), ("encode(p.id_hash, 'hex')",),
    ),
}  # fmt: skip
COLUMNS = """SELECT column_name FROM information_schema.columns
    WHERE table_schema = 'public' AND table_name = %s ORDER BY column_name"""


def query(cursor: Any, section: str) -> sql.Composed:
    """The COPY of a section: its key, then every other column by its name."""
    table, joins, key = SECTIONS[section]
    cursor.execute(COLUMNS, [table])
    named = {part.removeprefix("t.") for part in key}
    rest = [name for (name,) in cursor.fetchall() if name not in LEFT_OUT | named]
    shown = [sql.SQL(part) for part in key] + [sql.Identifier("t", name) for name in rest]
    return sql.SQL("COPY (SELECT {}, {} FROM {} t {} ORDER BY {}) TO STDOUT").format(
        sql.Literal(section), sql.SQL(", ").join(shown), sql.Identifier(table), sql.SQL(joins),
        sql.SQL(", ".join(key)),
    )  # fmt: skip


def write(sink: Callable[[bytes], object], cursor: Any) -> str:
    """Hand the dump to `sink` in pieces; returns its SM3. `cursor` is the settler's: it sees all rows.

    One snapshot, in a transaction of its own: it may run beside a batch.
    """
    digest = hashlib.new("sm3")
    out = _Sink(sink, digest.update)
    cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    try:
        for section in SECTIONS:
            cursor.copy_expert(query(cursor, section), out)
    finally:
        cursor.execute("ROLLBACK")
    return digest.hexdigest()


class _Sink:
    """What copy_expert writes to: each piece goes to the caller and into the digest."""

    def __init__(self, *takers: Callable[[bytes], object]):
        self.takers = takers

    def write(self, piece: bytes) -> None:
        for take in self.takers:
            take(piece)
