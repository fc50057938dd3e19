"""PURE. A year of honest practice in columns: invented, seeded, and like real practice in what the rules see.

Persons with a chronic disease come back when their drugs run out, mostly to the same physician; video
sessions of a physician follow each other; families share telephones; prices differ a little between
institutions; some institutions do not scan every trace code; physicians differ in how much they do.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from pricing.rules import CODES, SERVICES
from settlement.columns import day_number

Array = np.ndarray
FIRST = day_number(dt.date(2021, 1, 4))
DAYS = 350
CONSULT, DRUG, PACK = (SERVICES.index(s) for s in ("consult", "drug", "self_defined_item"))
REVISIT = CODES["visit_type"].index("revisit")
TITLES = tuple(CODES["doctor_title"].index(t) for t in ("attending", "associate_chief", "chief"))
CONSULT_FEES = (1_200, 2_200, 3_500)  #: fen, by title
DISEASES, DRUGS_OF_DISEASE = 8, 6
DRUGS = DISEASES * DRUGS_OF_DISEASE
SUPPLIES = (28, 28, 30, 60)
OPENS, SLOT = 8 * 60, 15  #: minutes of the day, minutes between the starts of sessions
LATEST = 19 * 60 + 30  #: invented evenings begin here: no honest session is later


@dataclass
class Practice:
    """Visits and lines by columns; texts are small numbers that `store` and `as_visits` name."""

    visits: dict[str, Array]
    lines: dict[str, Array]
    physician_place: Array
    physician_title: Array
    physician_department: Array
    person_place: Array
    n_places: int
    #: rule → the planted suspicions, each the visits that carry it
    planted: dict[str, list[list[int]]] = field(default_factory=dict)

    @property
    def n(self) -> int:
        return len(self.visits["person"])


def practice(n: int, *, seed: int) -> Practice:
    """About n honest visits."""
    chance = np.random.default_rng(seed)
    places = int(np.clip(n // 8_000, 12, 120))
    per_place = int(np.clip(n // (places * 45), 10, 16))
    physician_place = np.repeat(np.arange(places), per_place)
    physicians = len(physician_place)
    title = np.tile(np.arange(3), physicians)[:physicians]
    department = np.tile(np.repeat(np.arange(3), 3), physicians)[:physicians]
    people = max(n // 6, 60)
    place = chance.integers(0, places, people)
    made = Practice({}, {}, physician_place, title, department, place, places)
    visits = _courses(chance, made, people, per_place, n)
    made.visits = visits | _ordinary(chance, made, visits)
    _clock(made)
    made.lines = _lines(chance, made)
    return made


def _courses(
    chance: np.random.Generator, made: Practice, people: int, per_place: int, n: int
) -> dict[str, Array]:
    """Who comes when to whom: each person's visits lie a supply and some days apart."""
    supply = np.array(SUPPLIES)[chance.integers(0, len(SUPPLIES), people)]
    most = 12
    begin = chance.integers(0, 40, people)
    gap = supply[:, None] + chance.integers(-4, 12, (people, most))
    day = begin[:, None] + np.cumsum(gap, axis=1) - gap[:, :1]
    kept = (day < DAYS) & (chance.random((people, most)) > 0.08)
    person, number = np.nonzero(kept)
    order = chance.permutation(len(person))[:n]
    person, number = person[order], number[order]
    popular = chance.lognormal(0, 0.35, (made.n_places, per_place))
    popular /= popular.sum(axis=1, keepdims=True)
    regular = _drawn(chance, popular, made.person_place)
    other = _drawn(chance, popular, made.person_place[person])
    chosen = np.where(chance.random(len(person)) < 0.88, regular[person], other)
    on = day[person, number]
    on -= np.where((on + FIRST + 3) % 7 == 6, 1, 0)  # few work on Sundays
    return {
        "person": person, "place": made.person_place[person], "day": FIRST + np.maximum(on, 0),
        "physician": made.person_place[person] * per_place + chosen,
        "supply": supply[person], "disease": person % DISEASES,
    }  # fmt: skip


def _drawn(chance: np.random.Generator, shares: Array, row: Array) -> Array:
    """A column drawn by its share for each row."""
    return (np.cumsum(shares, axis=1)[row] < chance.random(len(row))[:, None]).sum(axis=1)


def _ordinary(
    chance: np.random.Generator, made: Practice, visits: Mapping[str, Array]
) -> dict[str, Array]:
    n = len(visits["person"])
    person = visits["person"]
    shared = person // 3  # every fourth person uses a telephone of the family
    own = person + 1_000_000
    device = np.where(person % 4 == 0, shared * 4, own)
    return {
        "encounter": np.arange(n), "video": (chance.random(n) < 0.6).astype(np.int64),
        "device": device, "address": np.where(chance.random(n) < 0.03, person % 5_000, own),
        "last_offline": visits["day"] - chance.integers(1, 80, n),
        "same_disease": np.ones(n, np.int64), "consent": np.ones(n, np.int64),
        "explained": np.ones(n, np.int64), "reviewed": np.ones(n, np.int64),
        "visit_type": np.full(n, REVISIT), "delivered": _goods(chance, n),
        "dispensed": np.ones(n, np.int64), "start": np.zeros(n, np.int64),
        "minutes": chance.integers(6, SLOT - 1, n), "extra": np.zeros(n, np.int64),
    }  # fmt: skip


def _goods(chance: np.random.Generator, n: int) -> Array:
    """Which visits have records of goods: -1 none, 1 delivered (and dispensed)."""
    return np.where(chance.random(n) < 0.1, 1, -1)


def _clock(made: Practice) -> None:
    """Sessions of a physician's day follow each other, a slot apart; the day is long enough."""
    visits = made.visits
    order = np.lexsort((visits["person"], visits["day"], visits["physician"]))
    key = visits["physician"][order] * 1_000 + (visits["day"][order] - FIRST)
    new = np.ones(len(order), bool)
    new[1:] = key[1:] != key[:-1]
    first = np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))
    slot = (np.arange(len(order)) - first) % ((LATEST - OPENS) // SLOT)
    visits["start"][order] = (OPENS + slot * SLOT) * 60


def _lines(chance: np.random.Generator, made: Practice) -> dict[str, Array]:
    """A consultation by title and two drugs of the disease, as prescribed, at the place's price."""
    visits, n = made.visits, made.n
    level = made.physician_title[visits["physician"]]
    first = visits["disease"] * DRUGS_OF_DISEASE + visits["person"] % DRUGS_OF_DISEASE
    second = visits["disease"] * DRUGS_OF_DISEASE + (visits["person"] + 1) % DRUGS_OF_DISEASE
    price = drug_prices(chance, made.n_places)
    claim = np.tile(np.arange(n), 3)
    item = np.concatenate([level, first, second])
    service = np.repeat([CONSULT, DRUG, DRUG], n)
    unit = np.concatenate([
        np.array(CONSULT_FEES)[level], price[visits["place"], first], price[visits["place"], second],
    ])  # fmt: skip
    scans = np.where(np.arange(made.n_places) % 7 == 3, 0.85, 0.98)
    traced = chance.random(3 * n) < scans[visits["place"][claim]]
    return {
        "claim": claim, "line_no": np.repeat([1, 2, 3], n), "service": service, "item": item,
        "quantity": np.ones(3 * n, np.int64), "unit": unit,
        "traces": (traced & (service == DRUG)).astype(np.int64),
        "days": np.where(service == DRUG, visits["supply"][claim], -1),
        "ordered": np.where(service == DRUG, 1, -1), "overcharge": np.zeros(3 * n, np.int64),
    }  # fmt: skip


def drug_prices(chance: np.random.Generator, places: int) -> Array:
    """Fen by place and drug: a price of the drug, a few per cent up and down by place."""
    usual = chance.integers(1_500, 6_000, DRUGS)
    return (usual * chance.uniform(0.95, 1.05, (places, DRUGS))).astype(np.int64)
