"""The claims of a period as columns, by COPY: one run of numbers after another, no object per claim.

Texts are told apart by PostgreSQL's own 64-bit hash of them; `Names` says what the numbers of
institutions and physicians stand for. A reversed claim is not there; a refused line is marked.
"""

import datetime as dt
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from institutions.models import Institution
from pricing.releases import Span
from settlement.columns import FACTS, day_number, day_of
from settlement.copy import ALL_CORES, columns, copy_out
from settlement.facts import whole_facts
from settlement.kernel import REJECT
from supervision import goods, near
from supervision.rules.data import Array, Visits, runs
from supervision.suspicions import Names, Place

MEMORY = "256MB"  #: for sorting and joining inside one statement
#: A month that grew faster than its statistics must not be joined row by row: that never ends. Claims,
#: versions, lines and results are joined here, in columns.
SETTINGS = """SELECT set_config('work_mem', %s, true), set_config('enable_nestloop', 'off', true)"""
EVER, NEVER = -(2**30), 2**30  #: days without beginning and end
GOODS_LATE = 90  #: days after the last visit in which goods may still be handed over

BLOCK = 100_000  #: claim numbers read at once: memory holds their rows beside the columns

#: Where the claims are: months of arrival, cut at claim numbers.
BLOCKS = """SELECT period, min(id), max(id) FROM settlement_claim
WHERE service_date BETWEEN %(first)s AND %(last)s AND institution_code = ANY (%(places)s)
GROUP BY period, id / %(block)s ORDER BY min(id)"""
RUN = "BETWEEN %(low)s AND %(high)s AND institution_code = ANY (%(places)s)"
WHOSE = f"period = %(period)s AND id {RUN} AND service_date BETWEEN %(first)s AND %(last)s"


def _told(text: str) -> str:
    """SQL with its short forms written out: NUMBER[text], DOCUMENT[path], FACTS, WHOSE, RUN."""
    text = re.sub(r"DOCUMENT\[(.*?)\]", r"(document #>> '{\1}')", text)
    text = re.sub(r"NUMBER\[(.*?)\]", r"coalesce(hashtextextended(\1, 0), 0)", text)
    text = text.replace("WHOSE", WHOSE).replace("RUN", RUN)
    return text.replace("FACTS", whole_facts("facts"))


VISITS = _told("""SELECT id, NUMBER[institution_code], NUMBER[DOCUMENT[physician,code]], person_id,
    (service_date - '1970-01-01'::date),
    coalesce(extract(epoch FROM DOCUMENT[encounter,started_at]::timestamptz)::int8, 0),
    coalesce(extract(epoch FROM DOCUMENT[encounter,ended_at]::timestamptz)::int8, 0),
    (DOCUMENT[encounter,session,medium] IN %(video)s) IS TRUE,
    NUMBER[left(jsonb_path_query_first(document, %(main)s) #>> '{}', 3)],
    NUMBER[DOCUMENT[encounter,session,device]], NUMBER[DOCUMENT[encounter,session,address]],
    encounter_key, NUMBER[DOCUMENT[encounter,department_code]], fee, FACTS
FROM settlement_claim WHERE WHOSE ORDER BY id""")
VISIT_ROW = columns(
    id="int8", institution="int8", physician="int8", person="int8", day="int4", start="int8",
    end="int8", video="bool", disease="int8", device="int8", address="int8", encounter="int8",
    department="int8", fee="int8", facts=f"bytea:{FACTS.itemsize}",
)  # fmt: skip
MAIN = "$.encounter.diagnoses[*] ? (@.main == true).code"

#: All versions: an even one is a reversal, the sum of all is what the funds have paid.
VERSIONS = _told("""SELECT claim_id, version, (period - '1970-01-01'::date), fund + major + assistance
FROM settlement_settlement WHERE claim_id RUN""")
VERSION_ROW = columns(id="int8", version="int2", month="int4", fund="int8")

LINES = _told("""SELECT claim_id, line_no, service, NUMBER[item_code], quantity, unit_price, fee,
    coalesce(cardinality(trace_codes), 0)
FROM settlement_claimline WHERE period = %(period)s AND claim_id RUN""")
LINE_ROW = columns(
    id="int8", line_no="int2", service="int2", item="int8", quantity="int8", unit_price="int8",
    fee="int8", traces="int4",
)  # fmt: skip

#: Of the months in which the versions that stand were posted: no other month is looked into.
RESULTS = _told("""SELECT claim_id, version, line_no, decision, greatest(overcharge, 0)
FROM settlement_lineresult WHERE period = ANY (%(months)s::date[]) AND claim_id RUN""")
RESULT_ROW = columns(id="int8", version="int2", line_no="int2", decision="int2", overcharge="int8")

ORDERED = _told("""SELECT id, NUMBER[d ->> 'drug_code'], (d ->> 'days_supply')::int4,
    ((d ->> 'quantity')::numeric * 10000)::int8
FROM settlement_claim, jsonb_path_query(document, '$.prescriptions[*].lines[*]') d WHERE WHOSE""")
ORDERED_ROW = columns(id="int8", drug="int8", days="int4", quantity="int8")

GOODS = """SELECT encounter, bool_or(dispensed), bool_or(delivered) FROM (
    SELECT encounter_key AS encounter, kind = 'purchase' AS dispensed, kind = 'delivery' AS delivered
    FROM settlement_evidence WHERE kind IN ('purchase', 'delivery')
        AND institution_code = ANY (%(places)s)
        AND at >= %(first)s::date AND at < %(last)s::date + %(late)s
    UNION ALL
    SELECT p.encounter_key, true, EXISTS (
        SELECT FROM settlement_delivery w WHERE w.dispensing_id = d.id)
    FROM settlement_dispensing d JOIN settlement_prescription p ON p.id = d.prescription_id
    WHERE p.institution_code = ANY (%(places)s) AND p.issued_on BETWEEN %(first)s AND %(last)s) goods
GROUP BY encounter"""
GOODS_ROW = columns(encounter="int8", dispensed="bool", delivered="bool")

HANDED = _told("""SELECT g.claim_id, NUMBER[h.drug], sum(h.needed)::int4, sum(h.codes)::int4
FROM (HANDED) h
JOIN (SELECT DISTINCT prescription_id, claim_id, institution_code FROM settlement_prescriptioncharge
    WHERE claim_id RUN) g ON g.prescription_id = h.prescription AND g.institution_code = h.place
GROUP BY g.claim_id, h.drug""").replace(
    "HANDED", goods.HANDED.replace("WHICH", "p.issued_on BETWEEN %(first)s AND %(last)s")
)
HANDED_ROW = columns(id="int8", drug="int8", needed="int4", recorded="int4")

POSTS = _told("""SELECT NUMBER[physician], NUMBER[place], coalesce(since - '1970-01-01'::date, %(ever)s),
    coalesce(until - '1970-01-01'::date, %(never)s) FROM (POSTS) post""").replace(
    "POSTS", near.POSTS
)
POST_ROW = columns(physician="int8", place="int8", since="int4", until="int4")


@dataclass(frozen=True)
class Period:
    """Columns of a period and what their numbers stand for."""

    visits: Visits
    names: Names
    claims: int


def load(
    cursor: Any, pool: str, first: dt.date, last: dt.date, *, back: int, spans: Sequence[Span]
) -> Period:
    """The visits of a pooling region from `back` days before `first` to `last`; those are neighbours.

    `spans` say whose titles an item asks for on a day; before the first of them, its own hold.
    """
    cursor.execute(SETTINGS, [MEMORY])
    cursor.execute(ALL_CORES)
    places = _Places(cursor, pool)
    span = {"first": first - dt.timedelta(days=back), "last": last, "places": places.codes}
    parts = [_part(cursor, places, given) for given in _blocks(cursor, span)]
    visits = {name: np.concatenate([part[0][name] for part in parts]) for name in parts[0][0]}
    before = np.cumsum([0, *(len(part[0]["id"]) for part in parts)])
    lines = {name: np.concatenate([part[1][name] for part in parts]) for name in parts[0][1]}
    lines["claim"] += np.repeat(before[:-1], [len(part[1]["claim"]) for part in parts])
    lines["title_min"] = _title_min(cursor, spans, lines["item"], visits["day"][lines["claim"]])
    visits["registered"] = _registered(cursor, visits)
    visits["dispensed"], visits["delivered"] = _goods(cursor, places, visits, first, last)
    if len(visits["id"]):
        low, high = int(visits["id"].min()), int(visits["id"].max())
        given = span | {"pool": pool, "low": low, "high": high}
        lines |= _handed(cursor, visits["id"][lines["claim"]], lines["item"], given)
    cursor.execute("SELECT set_config('enable_nestloop', 'on', true)")
    focus = visits["day"] >= day_number(first)
    return Period(Visits(visits, lines, focus), places.names(cursor), int(focus.sum()))


def _blocks(cursor: Any, span: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The span with each run of claim numbers in it; one empty run where there is no claim."""
    cursor.execute(BLOCKS, span | {"block": BLOCK})
    for period, low, high in cursor.fetchall() or [(span["first"], 0, 0)]:
        yield span | {"period": period, "low": low, "high": high, "video": near.VIDEO, "main": MAIN}


class _Places:
    """The institutions of a pooling region by number."""

    def __init__(self, cursor: Any, pool: str):
        rows = Institution.objects.filter(region__policy_region=pool).values_list(
            "code", "region_id", "parent_id", "kind"
        )
        found = list(rows)
        self.codes = [row[0] for row in found]
        numbers = hashes(cursor, [code for row in found for code in (row[0], row[2] or "")])
        self.places = {n: Place(row[0], row[1]) for n, row in zip(numbers[::2], found, strict=True)}
        self.number = np.array(numbers[::2], np.int64)
        self.parent = np.array(
            [n if row[2] else 0 for n, row in zip(numbers[1::2], found, strict=True)], np.int64
        )
        self.pharmacy = np.array([row[3] == Institution.Kind.PHARMACY for row in found], np.int8)
        order = np.argsort(self.number)
        self.number, self.parent = self.number[order], self.parent[order]
        self.pharmacy = self.pharmacy[order]

    def names(self, cursor: Any) -> Names:
        cursor.execute("SELECT hashtextextended(code, 0), code FROM institutions_physician")
        return Names(self.places, dict(cursor.fetchall()))


def hashes(cursor: Any, texts: Sequence[str]) -> list[int]:
    """PostgreSQL's numbers of some texts."""
    cursor.execute(
        "SELECT hashtextextended(t, 0) FROM unnest(%s::text[]) WITH ORDINALITY u (t, k) ORDER BY k",
        [list(texts)],
    )
    return [row[0] for row in cursor.fetchall()]


def _part(
    cursor: Any, places: _Places, given: dict[str, Any]
) -> tuple[dict[str, Array], dict[str, Array]]:
    rows = copy_out(cursor, VISITS, VISIT_ROW, given)
    standing = _standing(rows["id"], copy_out(cursor, VERSIONS, VERSION_ROW, given))
    version = standing["version"]
    counts = (version == 0) | (version % 2 == 1)  # not one that was reversed
    rows, standing = rows[counts], standing[counts]
    facts = np.ascontiguousarray(rows["facts"]).view(FACTS)
    kept = [c.name for c in VISIT_ROW if c.name != "facts"]
    visits = {name: np.ascontiguousarray(rows[name]) for name in kept}
    visits |= {
        name: facts[fact].copy() for name, fact in (
            ("title", "doctor_title"), ("price_class", "price_class"), ("visit_type", "visit_type"),
            ("last_offline", "last_offline_day"), ("same_disease", "same_disease"),
            ("consent", "consent"), ("explained", "explained_item_and_price"),
            ("prescribed", "prescription_issued"), ("reviewed", "pharmacist_reviewed"),
        )
    }  # fmt: skip
    visits["fund"] = standing["fund"].copy()
    at = np.searchsorted(places.number, visits["institution"])
    visits["parent"], visits["pharmacy"] = places.parent[at], places.pharmacy[at]
    rows = copy_out(cursor, LINES, LINE_ROW, given)
    whose, ours = _where(visits["id"], rows["id"])
    order = np.flatnonzero(ours)[np.argsort(whose[ours], kind="stable")]
    lines = {c.name: rows[c.name][order] for c in LINE_ROW}
    ids, lines["claim"] = lines.pop("id"), whose[order]
    months = [day_of(month) for month in np.unique(standing["month"]).tolist()]
    decided = copy_out(cursor, RESULTS, RESULT_ROW, given | {"months": months})
    lines |= _decided(visits["id"], standing["version"], lines, decided)
    ordered = copy_out(cursor, ORDERED, ORDERED_ROW, given)
    lines["days"], lines["ordered"] = _ordered(ids, lines["item"], ordered)
    return visits, lines


def _where(among: Array, wanted: Array) -> tuple[Array, Array]:
    """Where each wanted number stands in a sorted column, and whether it is there."""
    if not len(among):
        return np.zeros(len(wanted), np.int64), np.zeros(len(wanted), bool)
    at = np.minimum(np.searchsorted(among, wanted), len(among) - 1)
    return at, among[at] == wanted


def _standing(ids: Array, versions: Array) -> Array:
    """Per claim its latest version, the month in which that was posted, what the funds paid in all; or 0."""
    found = np.zeros(len(ids), [("version", "i2"), ("month", "i4"), ("fund", "i8")])
    at, ours = _where(ids, versions["id"])
    order = np.flatnonzero(ours)[np.argsort(versions["version"][ours], kind="stable")]
    at, versions = at[order], versions[order]
    for name in ("version", "month"):
        found[name][at] = versions[name]  # of several the last
    np.add.at(found["fund"], at, versions["fund"])
    return found


def _decided(
    ids: Array, version: Array, lines: Mapping[str, Array], rows: Array
) -> dict[str, Array]:
    """Of each line whether the version that stands refuses it, and how far it is above its price."""
    at, ours = _where(ids, rows["id"])
    ours &= version[at] == rows["version"]
    key, rows = at[ours] << 16 | rows["line_no"][ours], rows[ours]
    order = np.argsort(key)
    at, hit = _where(key[order], lines["claim"] << 16 | lines["line_no"])
    rejected, over = np.zeros(len(hit), np.int8), np.zeros(len(hit), np.int64)
    rejected[hit] = rows["decision"][order][at[hit]] == REJECT
    over[hit] = rows["overcharge"][order][at[hit]]
    return {"rejected": rejected, "overcharge": over}


def _ordered(ids: Array, item: Array, rows: Array) -> tuple[Array, Array]:
    """Per line the days of supply and quantity prescribed of its drug (-1: no prescription at all)."""
    days, amount = np.full(len(ids), -1, np.int32), np.full(len(ids), -1, np.int64)
    if not len(rows):
        return days, amount
    amount[np.isin(ids, rows["id"])] = 0
    rows = rows[np.lexsort((rows["drug"], rows["id"]))]
    _, starts = runs(rows["id"], rows["drug"])
    total = np.add.reduceat(rows["quantity"], starts)
    longest = np.maximum.reduceat(rows["days"], starts)
    place, hit = _drugs(rows[starts], ids, item)
    days[hit], amount[hit] = longest[place], total[place]
    return days, amount


def _drugs(rows: Array, ids: Array, item: Array) -> tuple[Array, Array]:
    """Lines that have a row of their claim and drug: the places of those rows, and which lines they are."""
    mixed = _mix(rows["id"], rows["drug"])
    order = np.argsort(mixed)
    place = order[_where(mixed[order], _mix(ids, item))[0]]
    hit = (rows["id"][place] == ids) & (rows["drug"][place] == item)
    return place[hit], hit


def _handed(cursor: Any, ids: Array, item: Array, span: dict[str, Any]) -> dict[str, Array]:
    """Per line the trace codes that its drug needs at least, as far as it was handed out, and has."""
    found = {name: np.zeros(len(ids), np.int32) for name in ("needed", "recorded")}
    rows = copy_out(cursor, HANDED, HANDED_ROW, span)
    if len(rows):
        place, hit = _drugs(rows, ids, item)
        for name, column in found.items():
            column[hit] = rows[name][place]
    return found


def _mix(one: Array, other: Array) -> Array:
    """Two numbers as one; equal pairs are equal, others practically never."""
    with np.errstate(over="ignore"):
        return one.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) ^ other.astype(np.uint64)


def _title_min(cursor: Any, spans: Sequence[Span], item: Array, day: Array) -> Array:
    """The lowest title that may charge each line's item on its day."""
    found = np.zeros(len(item), np.int8)
    for place, span in enumerate(spans):
        rules = span.rules
        theirs = slice(None) if place == 0 else day >= day_number(span.first)
        least = np.zeros_like(found[theirs])
        for code, number in enumerate(hashes(cursor, rules.codes), 1):
            if title := rules.title_min[rules.row_of_code[code]]:
                least[item[theirs] == number] = title
        found[theirs] = least
    return found


def _registered(cursor: Any, visits: dict[str, Array]) -> Array:
    """1 where the physician is registered at the institution or its parent that day, else 0."""
    posts = copy_out(cursor, POSTS, POST_ROW, {"ever": EVER, "never": NEVER})
    found = (visits["physician"] == 0).astype(np.int8)
    if not len(posts):
        return found
    key = _mix(posts["physician"], posts["place"])
    order = np.argsort(key, kind="stable")
    posts, key = posts[order], key[order]
    most = int(np.diff(np.append(runs(key)[1], len(key))).max())
    for place in ("institution", "parent"):
        wanted = _mix(visits["physician"], visits[place])
        begin = np.searchsorted(key, wanted)
        for step in range(most):
            at = np.minimum(begin + step, len(key) - 1)
            row = posts[at]
            found |= (
                (key[at] == wanted) & (row["since"] <= visits["day"])
                & (visits["day"] <= row["until"])
            ).astype(np.int8)  # fmt: skip
    return found


def _goods(
    cursor: Any, places: _Places, visits: dict[str, Array], first: dt.date, last: dt.date
) -> tuple[Array, Array]:
    """Per visit whether goods were dispensed and delivered; -1 where no record says."""
    n = len(visits["id"])
    dispensed, delivered = np.full(n, -1, np.int8), np.full(n, -1, np.int8)
    begin = day_of(int(visits["day"].min())) if n else first
    rows = copy_out(cursor, GOODS, GOODS_ROW, {
        "places": places.codes, "first": begin, "last": last, "late": GOODS_LATE,
    })  # fmt: skip
    if not len(rows):
        return dispensed, delivered
    rows = rows[np.argsort(rows["encounter"])]
    at, hit = _where(rows["encounter"], visits["encounter"])
    dispensed[hit], delivered[hit] = rows["dispensed"][at[hit]], rows["delivered"][at[hit]]
    return dispensed, delivered
