"""PURE. Violations planted among honest visits; what was planted is kept as the ground truth."""

from collections.abc import Callable, Iterable

import numpy as np

from settlement.columns import NO_DAY
from supervision.bench.practice import CONSULT, DRUG, DRUGS, LATEST, PACK, Array, Practice

USUAL = 20
EVENING = LATEST * 60
PLANTS: dict[str, Callable[["Garden", int], None]] = {}


class Garden:
    """Plants choose visits, persons and physicians that no other plant has touched."""

    def __init__(self, made: Practice, seed: int):
        self.made = made
        self.chance = np.random.default_rng(seed + 1)
        self.free_visits = np.ones(made.n, bool)
        self.free_physicians = np.ones(len(made.physician_place), bool)
        people, first = np.unique(made.visits["person"], return_index=True)
        self.first_visit = np.zeros(len(made.person_place), np.int64)
        self.first_visit[people] = first
        self.free_persons = np.zeros(len(made.person_place), bool)
        self.free_persons[people] = True
        self.more: list[dict[str, int]] = []
        self.more_lines: list[dict[str, int]] = []
        self.honest = made.n
        self.of_physician = np.argsort(made.visits["physician"], kind="stable")
        count = np.bincount(made.visits["physician"], minlength=len(made.physician_place))
        self.ends = np.cumsum(count)
        self.met = count

    def visits(self, k: int, wanted: Array | None = None) -> list[int]:
        """k free visits of free persons and physicians (one per person)."""
        visits = self.made.visits
        fine = self.free_visits & self.free_persons[visits["person"]]
        fine &= self.free_physicians[visits["physician"]]
        if wanted is not None:
            fine &= wanted
        found: list[int] = []
        for row in self.chance.permutation(np.flatnonzero(fine)).tolist():
            if len(found) == k:
                break
            if self.free_persons[visits["person"][row]]:
                self.take(row)
                found.append(row)
        return found

    def take(self, row: int) -> None:
        self.free_visits[row] = False
        self.free_persons[self.made.visits["person"][row]] = False

    def physicians(self, k: int, least: int = 0) -> list[int]:
        """k free physicians with at least so many visits, the busiest last."""
        fine = np.flatnonzero(self.free_physicians & (self.met >= least))
        chosen = self.chance.permutation(fine)[:k].tolist()
        self.free_physicians[chosen] = False
        return chosen

    def of(self, physician: int) -> Array:
        end = self.ends[physician]
        return self.of_physician[end - self.met[physician] : end]

    def persons(self, k: int, place: int) -> list[int]:
        """k free persons, of a place as long as there are some."""
        here = self.free_persons & (self.made.person_place == place)
        chosen = self.chance.permutation(np.flatnonzero(here))[:k].tolist()
        if len(chosen) < k:
            there = np.flatnonzero(self.free_persons & ~here)
            chosen += self.chance.permutation(there)[: k - len(chosen)].tolist()
        self.free_persons[chosen] = False
        return chosen

    def add(self, like: int, *, drug: int = 0, **other: int) -> int:
        """One more visit like another, a consultation alone unless `drug` (2: another one); its number."""
        visits = {name: int(column[like]) for name, column in self.made.visits.items()}
        row = self.honest + len(self.more)
        visits |= {"encounter": row, "delivered": -1, "video": 0} | other
        self.more.append(visits)
        lines = self.made.lines
        for at in (like, *((self.honest + like,) if drug else ())):  # lines of a visit lie n apart
            line = {name: int(column[at]) for name, column in lines.items()} | {"claim": row}
            if line["service"] == CONSULT:
                line["item"] = int(self.made.physician_title[visits["physician"]])
            elif drug == 2:
                line["item"] = (line["item"] + DRUGS // 2) % DRUGS
            self.more_lines.append(line)
        return row

    def planted(self, rule: str, rows: Iterable[int]) -> None:
        self.made.planted.setdefault(rule, []).append([int(row) for row in rows])

    def finish(self) -> Practice:
        """The practice with everything that was added."""
        made = self.made
        for columns, rows in ((made.visits, self.more), (made.lines, self.more_lines)):
            for name in columns:
                extra = np.array([row[name] for row in rows], columns[name].dtype)
                columns[name] = np.concatenate([columns[name], extra])
        return made


def plant(made: Practice, *, k: int = USUAL, seed: int, only: Iterable[str] = ()) -> Practice:
    """Plant k of every violation (or only of some rules)."""
    garden = Garden(made, seed)
    for rule, planting in PLANTS.items():
        if not only or rule in only:
            planting(garden, k)
    return garden.finish()


def planting(rule: str) -> Callable:
    def register(function: Callable[[Garden, int], None]) -> Callable:
        PLANTS[rule] = function
        return function

    return register


def _spoil(rule: str, column: str, value: int) -> None:
    """A violation that is one fact of one visit."""

    def spoil(garden: Garden, k: int) -> None:
        for row in garden.visits(k):
            garden.made.visits[column][row] = value
            garden.planted(rule, [row])

    PLANTS[rule] = spoil


# Physicians first: they need all their visits to be free.


@planting("physician_fee_outlier")
def _dear_physicians(garden: Garden, k: int) -> None:
    lines = garden.made.lines
    for physician in garden.physicians(k, least=32):
        rows = garden.of(physician)
        mine = np.isin(lines["claim"], rows) & (lines["service"] == DRUG)
        lines["quantity"][mine] *= 4
        lines["ordered"][mine] *= 4
        garden.free_persons[garden.made.visits["person"][rows]] = False
        garden.planted("physician_fee_outlier", rows)


@planting("physician_volume_outlier")
def _busy_physicians(garden: Garden, k: int) -> None:
    """All visits of the physician come together on every seventh of the days."""
    visits, lines = garden.made.visits, garden.made.lines
    for physician in garden.physicians(k, least=32):
        rows = garden.of(physician)
        days = np.unique(visits["day"][rows])[::7]
        near = np.abs(visits["day"][rows][:, None] - days[None]).argmin(axis=1)
        visits["day"][rows] = days[near]
        visits["last_offline"][rows] = days[near] - 10
        visits["video"][rows] = 0
        for day in range(len(days)):
            same = rows[near == day]
            visits["start"][same] = 8 * 3_600 + np.arange(len(same)) * 600
        lines["service"][np.isin(lines["claim"], rows) & (lines["service"] == DRUG)] = -1
        garden.free_persons[visits["person"][rows]] = False
        garden.planted("physician_volume_outlier", rows)


@planting("bundled_item")
def _bundles(garden: Garden, k: int) -> None:
    for number, physician in enumerate(garden.physicians(k, least=32)):
        rows = garden.of(physician)
        for row in rows[: len(rows) * 95 // 100].tolist():
            garden.more_lines.append({
                "claim": row, "line_no": 4, "service": PACK, "item": number, "quantity": 1,
                "unit": 300, "traces": 0, "days": -1, "ordered": -1, "overcharge": 0,
            })  # fmt: skip
        garden.free_persons[garden.made.visits["person"][rows]] = False
        garden.planted("bundled_item", rows)


@planting("institution_fee_outlier")
def _dear_places(garden: Garden, k: int) -> None:
    made = garden.made
    for place in range(1, min(k, made.n_places // 6) + 1):
        rows = np.flatnonzero(made.visits["place"] == place)
        mine = np.isin(made.lines["claim"], rows) & (made.lines["service"] == DRUG)
        made.lines["quantity"][mine] *= 3
        made.lines["ordered"][mine] *= 3
        garden.planted("institution_fee_outlier", rows)


@planting("price_above_peers")
def _dear_drugs(garden: Garden, k: int) -> None:
    made, lines = garden.made, garden.made.lines
    drugs = garden.chance.permutation(DRUGS)[:k]
    for number, drug in enumerate(drugs):
        place = made.n_places - 1 - number % (made.n_places // 2)
        mine = (lines["service"] == DRUG) & (lines["item"] == drug)
        mine &= made.visits["place"][lines["claim"]] == place
        lines["unit"][mine] = lines["unit"][mine] * 3 // 2
        if mine.any():
            garden.planted("price_above_peers", np.unique(lines["claim"][mine]))


@planting("missing_trace_codes")
def _unscanned(garden: Garden, k: int) -> None:
    made, lines = garden.made, garden.made.lines
    month = made.visits["day"].astype("datetime64[D]").astype("datetime64[M]").astype(int)
    for number in range(k):
        place, when = number % made.n_places, month.min() + 2 + number // made.n_places
        rows = np.flatnonzero((made.visits["place"] == place) & (month == when))
        mine = np.isin(lines["claim"], rows) & (lines["service"] == DRUG)
        if mine.sum() >= 40:
            lines["traces"][mine] = 0
            garden.planted("missing_trace_codes", rows)


@planting("dense_network")
def _networks(garden: Garden, k: int) -> None:
    made = garden.made
    for _ in range(k):
        free = np.flatnonzero(garden.free_physicians)
        places, count = np.unique(made.physician_place[free], return_counts=True)
        place = int(places[count.argmax()])
        one, other = free[made.physician_place[free] == place][:2].tolist()
        garden.free_physicians[[one, other]] = False
        rows = []
        for seat, person in enumerate(garden.persons(5, place)):
            like = int(garden.first_visit[person])
            for visit in range(3):
                for at, physician in enumerate((one, other)):
                    rows.append(garden.add(
                        like, physician=physician, day=int(made.visits["day"].min()) + 40 * visit
                        + 11 * at + 5 * seat, start=EVENING + 900 * seat,
                        last_offline=int(made.visits["day"].min()) + 40 * visit + 5 * seat - 5,
                    ))  # fmt: skip
        garden.planted("dense_network", rows)


@planting("overlapping_sessions")
def _overlaps(garden: Garden, k: int) -> None:
    visits = garden.made.visits
    for row in garden.visits(k, visits["video"] == 1):
        person = garden.persons(1, int(visits["place"][row]))
        like = int(garden.first_visit[person[0]]) if person else row
        at = {name: int(visits[name][row]) for name in ("physician", "day", "place")}
        # the earlier of the two ends later: a planted session must not end inside a slot's pause
        visits["minutes"][row] = 12
        added = garden.add(
            like, **at, video=1, start=int(visits["start"][row]) + 240, minutes=9,
            last_offline=at["day"] - 5,
        )  # fmt: skip
        garden.planted("overlapping_sessions", [row, added])


@planting("sessions_per_hour")
def _full_hours(garden: Garden, k: int) -> None:
    for rows in _evenings(garden, k, people=14, apart=240):
        garden.planted("sessions_per_hour", rows)


@planting("shared_address")
def _one_address(garden: Garden, k: int) -> None:
    """Two addresses in one evening of a physician are two facts."""
    evenings = _evenings(garden, (k + 1) // 2, people=14, apart=900)
    halves = [half for rows in evenings for half in (rows[:7], rows[7:])][:k]
    for number, rows in enumerate(halves):
        for row in rows:
            garden.more[row - garden.honest]["address"] = 9_000_000 + number
        garden.planted("shared_address", rows)


def _evenings(garden: Garden, k: int, *, people: int, apart: int) -> list[list[int]]:
    """Evenings of a physician with many patients, `apart` seconds from start to start."""
    visits, found = garden.made.visits, []
    for row in garden.visits(k):
        place, day = int(visits["place"][row]), int(visits["day"][row])
        rows = []
        for seat, person in enumerate(garden.persons(people, place)):
            like = int(garden.first_visit[person])
            rows.append(garden.add(
                like, physician=int(visits["physician"][row]), day=day, place=place,
                start=EVENING + apart * seat, minutes=3, last_offline=day - 5,
            ))  # fmt: skip
        found.append(rows)
    return found


@planting("outside_licence")
def _strangers(garden: Garden, k: int) -> None:
    made = garden.made
    for number, row in enumerate(garden.visits(k)):
        place = (int(made.visits["place"][row]) + 1) % made.n_places
        made.visits["physician"][row] = np.flatnonzero(made.physician_place == place)[0]
        made.visits["start"][row] = EVENING + 600 * number
        made.visits["video"][row] = 0
        level = made.physician_title[made.visits["physician"][row]]
        made.lines["item"][row] = level  # the first n lines are the consultations
        garden.planted("outside_licence", [row])


@planting("shared_device")
def _one_device(garden: Garden, k: int) -> None:
    for number in range(k):
        rows = garden.visits(7)
        garden.made.visits["device"][rows] = 9_000_000 + number
        garden.planted("shared_device", rows)


@planting("delivery_without_dispensing")
def _no_goods(garden: Garden, k: int) -> None:
    for row in garden.visits(k):
        garden.made.visits["delivered"][row] = 1
        garden.made.visits["dispensed"][row] = 0
        garden.planted("delivery_without_dispensing", [row])


@planting("split_visits")
def _splits(garden: Garden, k: int) -> None:
    visits = garden.made.visits
    for row in garden.visits(k):
        day = int(visits["day"][row])
        rows = [row]
        for later in (0, 1):
            rows.append(garden.add(row, day=day + later, start=EVENING + 1_800 * later))
        garden.planted("split_visits", rows)


@planting("duplicate_charge")
def _doubles(garden: Garden, k: int) -> None:
    lines = garden.made.lines
    for row in garden.visits(k):
        line = {name: int(column[garden.honest + row]) for name, column in lines.items()}
        garden.more_lines.append(line | {"line_no": 4})
        garden.planted("duplicate_charge", [row])


@planting("over_price")
def _over_price(garden: Garden, k: int) -> None:
    lines = garden.made.lines
    for row in garden.visits(k):
        lines["overcharge"][row] = 800
        lines["unit"][row] += 800
        garden.planted("over_price", [row])


@planting("rank_mismatch")
def _higher_items(garden: Garden, k: int) -> None:
    made = garden.made
    for row in garden.visits(k, made.physician_title[made.visits["physician"]] < 2):
        made.lines["item"][row] += 1
        garden.planted("rank_mismatch", [row])


@planting("drug_not_prescribed")
def _other_drugs(garden: Garden, k: int) -> None:
    lines = garden.made.lines
    for row in garden.visits(k):
        at = garden.honest + row
        lines["item"][at] = (lines["item"][at] + DRUGS // 2) % DRUGS
        lines["ordered"][at] = 0
        garden.planted("drug_not_prescribed", [row])


@planting("disease_window")
def _late(garden: Garden, k: int) -> None:
    visits = garden.made.visits
    for number, row in enumerate(garden.visits(k)):
        if number % 2:
            visits["last_offline"][row] = visits["day"][row] - 150
        else:
            visits["same_disease"][row] = 0
        garden.planted("disease_window", [row])


@planting("early_refill")
def _hoarders(garden: Garden, k: int) -> None:
    """A person who hoards two drugs in the same weeks is two facts."""
    visits = garden.made.visits
    hoarded: list[list[int]] = []
    for row in garden.visits((k + 1) // 2, visits["day"] < visits["day"].max() - 20):
        day = int(visits["day"][row])
        one, other = (
            [garden.add(row, drug=drug, day=day + later, start=EVENING, last_offline=day - 5)
             for later in days]
            for drug, days in ((1, (5, 10)), (2, (1, 6, 11)))
        )  # fmt: skip
        hoarded += [[row, *one], other]
    for rows in hoarded[:k]:
        garden.planted("early_refill", rows)


_spoil("no_consent", "explained", 0)
_spoil("first_visit_as_revisit", "last_offline", NO_DAY)
_spoil("prescription_unreviewed", "reviewed", 0)
