"""One visit and its neighbourhood as columns: what reminding and watching look at.

One statement reads the person's recent claims and the physician's claims of that day, whatever
institution they belong to, and what is recorded of the visit's goods; texts become numbers here, so nothing
else is asked.
"""

import datetime as dt
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from django.db import connection

from audit import prepared
from pricing.watching import Switch
from settlement.columns import Columns, day_number
from settlement.contract import fee, local_day, quantity, unit_price
from settlement.facts import Claimant, Law, encounter_key, main_diagnosis
from settlement.kernel import REJECT, Results
from settlement.records import ICD_CATEGORY, Known
from supervision import goods
from supervision.goods import Goods
from supervision.rules import RULES, Visits
from supervision.suspicions import Names, Place

#: Registered posts of clinicians, each until its end and no longer than the licence.
POSTS = """SELECT d.code AS physician, post.place, post.since, least(post.until, d.licence_until) AS until
FROM institutions_physician d
CROSS JOIN LATERAL (
    SELECT d.institution_id AS place, d.joined_on AS since, d.left_on AS until, d.checked_at
    UNION ALL
    SELECT institution_id, valid_from, valid_until, checked_at FROM institutions_post
    WHERE physician_id = d.code) post
WHERE post.checked_at IS NOT NULL AND d.is_clinician"""
#: First whether the physician is registered that day at the institution or its parent, and the visit's
#: goods, then the neighbours.
NEAR = """SELECT registered.*, coalesce(place.kind = 'pharmacy', false), near.*
FROM (SELECT EXISTS (
    SELECT FROM (POSTS) post
    WHERE post.physician = %(physician)s
        AND post.place IN (SELECT unnest(ARRAY[i.code, i.parent_id]) FROM institutions_institution i
            WHERE i.code = %(place)s)
        AND coalesce(post.since, '-infinity') <= %(day)s
        AND coalesce(post.until, 'infinity') >= %(day)s) AS here, GOODS) registered
LEFT JOIN supervision_near(%(person)s, %(physician)s, %(day)s, %(since)s, %(but)s) near ON true
LEFT JOIN institutions_institution place ON place.code = near.institution""".replace("POSTS", POSTS)
WITHOUT_GOODS = NEAR.replace("GOODS", "-1 AS dispensed, -1 AS delivered, NULL::json AS handed")
WITH_GOODS = NEAR.replace("GOODS", goods.COLUMNS)
VIDEO = ("video", "voice")  #: media that take the physician's whole attention
Row = dict[str, int]


@dataclass(frozen=True)
class Asked:
    """A visit to be judged: as it came, with what the records say and the law that decides it."""

    claimant: Claimant
    claim: dict
    known: Known
    record: np.ndarray
    law: Law
    columns: Columns
    checked: Results
    decided: bool = False  #: lines that the law refuses are looked at no more (watching)


@lru_cache(maxsize=4_096)
def number_of(text: str) -> int:
    """A text as a number of 63 bits, 0 for the empty text."""
    if not text:
        return 0
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def visits_near(asked: Asked, switches: Iterable[Switch]) -> tuple[Visits, Names]:
    """The visit as the last row, judged; its neighbours before it."""
    switches = tuple(switches)
    day = local_day(asked.claim["encounter"]["started_at"])
    back = max((RULES[s.rule].lookback(s.numbers) for s in switches), default=0)
    physician = asked.claim["physician"]["code"]
    registered, found, rows, lines = _neighbours(asked, day, back, switches)
    texts = {number_of(physician): physician}
    place = Place(asked.claimant.code, asked.claimant.region_code)
    lines += _own_lines(asked, len(rows), found)
    rows.append(_own(asked, day) | {
        "registered": int(registered or not physician), "dispensed": found.dispensed,
        "delivered": found.delivered,
    })  # fmt: skip
    focus = np.zeros(len(rows), bool)
    focus[-1] = True
    names = Names({number_of(place.code): place}, texts)
    return Visits(_columns(rows), _columns(lines) or {"claim": np.zeros(0, np.int64)}, focus), names


def _columns(rows: list[Row]) -> Mapping[str, np.ndarray]:
    """Rows of equal keys as columns."""
    if not rows:
        return {}
    return {name: np.array([row[name] for row in rows], np.int64) for name in rows[-1]}


def _neighbours(
    asked: Asked, day: dt.date, back: int, switches: Iterable[Switch]
) -> tuple[bool, Goods, list[Row], list[Row]]:
    """Whether the physician is registered where the visit is, its goods, the neighbours, their lines."""
    wanted = goods.asked(asked.claim, switches)
    more = goods.given(asked.claimant, asked.claim) if wanted else {}
    with connection.cursor() as cursor:
        prepared.execute(cursor, WITH_GOODS if wanted else WITHOUT_GOODS, more | {
            "place": (asked.claimant.issuer or asked.claimant).code,
            "person": asked.known.person_id or 0, "physician": asked.claim["physician"]["code"],
            "day": day, "since": day - dt.timedelta(days=back), "but": asked.known.claim_id,
        })  # fmt: skip
        found = cursor.fetchall()
    rows: list[Row] = []
    lines: list[Row] = []
    blank = dict.fromkeys(_FACTS, -1) | {"title": 0, "visit_type": 0}
    for (_, _, _, _, pharmacy, key, place, physician, person, on, began, ended, medium, disease, encounter,
         amount, its_lines) in found:  # fmt: skip
        if key is None:  # no neighbour
            continue
        rows.append(blank | _met(key, place, physician, person, on, began, ended, medium)
                    | {"disease": number_of((disease or "")[:ICD_CATEGORY]), "fee": amount,
                       "encounter": encounter, "pharmacy": int(pharmacy)})  # fmt: skip
        for line_no, service, item, amount_of, price, line_fee, decision, days in its_lines:
            lines.append({
                "claim": len(rows) - 1, "line_no": line_no, "service": service,
                "item": number_of(item), "quantity": amount_of, "unit_price": price,
                "fee": line_fee, "rejected": int(decision == REJECT), "overcharge": 0,
                "traces": -1, "needed": 0, "recorded": 0,
                "days": -1 if days is None else days, "ordered": -1, "title_min": 0,
            })  # fmt: skip
    here, *recorded = found[0][:4]
    return bool(here), goods.told(*recorded), rows, lines


def _met(
    key: int, place: str, physician: str | None, person: int, day: dt.date, began: float | None,
    ended: float | None, medium: str | None,
) -> Row:  # fmt: skip
    return {
        "id": key, "institution": number_of(place), "physician": number_of(physician or ""),
        "person": person, "day": day_number(day), "start": int(began or 0), "end": int(ended or 0),
        "video": int(medium in VIDEO), "fund": 0, "pharmacy": 0,
    }  # fmt: skip


_FACTS = ("same_disease", "consent", "explained", "prescribed", "reviewed", "registered",
          "last_offline", "dispensed", "delivered")  # fmt: skip


def _own(asked: Asked, day: dt.date) -> Row:
    """The visit itself; a claim of a pharmacy is a hand-over of drugs, not a meeting."""
    claim, record = asked.claim, asked.record
    encounter = claim["encounter"]
    began, ended = (
        dt.datetime.fromisoformat(encounter[name]).timestamp()
        for name in ("started_at", "ended_at")
    )

    def fact(name: str) -> int:
        return int(record[name][0])

    return _met(
        asked.known.claim_id, asked.claimant.code, claim["physician"]["code"],
        asked.known.person_id or 0, day, began, ended, encounter["session"]["medium"],
    ) | {
        "disease": number_of(main_diagnosis(claim)[:ICD_CATEGORY]),
        "fee": sum(fee(line) for line in claim["lines"]),
        "encounter": encounter_key(asked.claimant.code, encounter["id"]),
        "pharmacy": int(asked.claimant.issuer is not None),
        "same_disease": fact("same_disease"), "consent": fact("consent"),
        "explained": fact("explained_item_and_price"), "prescribed": fact("prescription_issued"),
        "reviewed": fact("pharmacist_reviewed"),
        "last_offline": fact("last_offline_day"), "title": fact("doctor_title"),
        "visit_type": fact("visit_type"),
    }  # fmt: skip


def _own_lines(asked: Asked, at: int, goods: Goods) -> list[Row]:
    """Without trace codes a line is no gap yet: they may follow, unless the goods are handed out."""
    results = asked.checked
    rules, ordered = asked.law.rules, _ordered(asked.claim)
    found = []
    for k, line in enumerate(asked.claim["lines"]):
        row = int(results.row[k])
        days, amount = ordered.get(line["item_code"], (-1, 0))
        needed, recorded = goods.handed.get(line["item_code"], (0, 0))
        drug = line["kind"] == "drug" and bool(asked.claim.get("prescriptions"))
        found.append({
            "claim": at, "line_no": line["line_no"], "service": int(asked.columns["service"][k]),
            "item": number_of(line["item_code"]), "quantity": quantity(line),
            "unit_price": unit_price(line), "fee": fee(line),
            "rejected": int(asked.decided and results.decision[k] == REJECT),
            "overcharge": max(int(results.overcharge[k]), 0), "days": days,
            "ordered": amount if drug else -1, "traces": len(line.get("trace_codes") or ()) or -1,
            "needed": needed, "recorded": recorded,
            "title_min": int(rules.title_min[row]),
        })  # fmt: skip
    return found


def _ordered(claim: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """Drug → (days of supply, quantity) by the prescriptions of a claim."""
    found: dict[str, tuple[int, int]] = {}
    for prescription in claim.get("prescriptions", ()):
        for line in prescription["lines"]:
            days, amount = found.get(line["drug_code"], (0, 0))
            found[line["drug_code"]] = (max(days, line["days_supply"]), amount + quantity(line))
    return found
