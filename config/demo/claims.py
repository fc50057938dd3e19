"""Ordinary claims in the shape of the contract; every price is the law's or an example's."""

import datetime as dt
from bisect import bisect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from config.demo import FIRST_DAY, TODAY, moment
from config.demo.chance import Chance
from config.demo.drugs import DRUGS
from config.demo.hospitals import HOSPITALS, Hospital
from config.demo.people import ORDINARY, Person, population
from config.demo.physicians import PROMOTED, Doctor, roster
from institutions.money import yuan
from pricing.releases import Catalogue

Day = dt.date
ONE_DAY = dt.timedelta(days=1)
#: First day on which an ordinary claim of a region can be made.
STARTS = {"nantong": FIRST_DAY, "wenzhou": Day(2021, 3, 16), "jilin": Day(2021, 4, 16)}
WEEKDAY_SHARES = (11, 10, 10, 10, 10, 6, 3)
POSTS = ("resident", "attending", "attending2", "associate", "chief", "expert", PROMOTED)
POST_SHARES = (10, 28, 22, 20, 12, 3, 5)
CONSULT_ITEM = "110200001"  #: 普通门诊诊查费; the Wenzhou measures print no item of their own
REMOTE_ITEM = "SL-MDT-001"
PROVINCIAL = ("jl3", "jl4")
MEDIA = ("video", "text", "voice")
#: A physician's sessions do not overlap: minutes of one, how many in the twelve hours of a day.
SLOT, SLOTS = 20, 36


@dataclass
class Draft:
    """A claim before it is sent: the hospital that sends it, the service day, the body."""

    hospital: Hospital
    day: Day
    body: dict


@dataclass(frozen=True)
class Visit:
    """Who meets whom, where and when."""

    hospital: Hospital
    doctor: Doctor
    person: Person
    day: Day
    minute: int  #: of the day


class Prices:
    """What the law and the example parameters charge, in fen."""

    def __init__(self, catalogue: Catalogue):
        nantong = catalogue.policy("nantong", TODAY)
        if nantong is None:
            raise LookupError("the shipped policies are not loaded")
        self.items: dict[str, dict] = {
            item["code"]: item for item in nantong.policy.data["items"] if item.get("titles")
        }
        self.item_of = {
            title: code for code, item in self.items.items() for title in item["titles"]
        }
        rows: dict = {}
        for region in catalogue.regions():
            rows |= catalogue.rows(region, TODAY, examples=True)
        self.consult = int(rows["public_ordinary_consult_price"].value)
        self.remote = int(rows["mdt_price"].value)

    def of(self, item: str, price_class: str) -> int:
        """An annex price of Nantong."""
        return self.items[item]["price_by_class"][price_class]


class Maker:
    """Draws visits and writes their claims; the same every time."""

    def __init__(self, catalogue: Catalogue):
        self.prices = Prices(catalogue)
        self.chance = Chance(3)
        self.people = population()
        self.doctors = roster()
        self.serial = 0
        self._groups: dict[tuple, list[Person]] = {}
        self._taken: set[tuple[str, Day, int]] = set()
        self.ordinary: dict[str, Callable[[Visit], Draft]] = {
            "nantong": self.nantong, "wenzhou": self.wenzhou, "jilin": self.jilin,
        }  # fmt: skip

    # --- drawing ---

    def visit(
        self,
        region: str,
        *,
        hospital: str = "",
        post: str = "",
        cohort: str = ORDINARY,
        day: Day | None = None,
        insured: str = "",
    ) -> Visit:
        """A visit at the person's own hospital, or at a named one; `insured` elsewhere."""
        own = hospital if hospital and HOSPITALS[hospital].weight and not insured else ""
        person = self.person(insured or region, cohort, own)
        place = HOSPITALS[hospital] if hospital else person.home
        if place is None:
            raise LookupError(f"{region} has no hospital for ordinary visits")
        if day is None:
            day = self.day(region)
            while not open_on(place, day):
                day = self.day(region)
        post = post or self.chance.weighted(POSTS, POST_SHARES)
        doctor = self.doctors[place.key][post]
        slot = self.chance.below(12 * 60) // SLOT
        others = ((slot + later) % SLOTS for later in range(SLOTS))
        slot = next((s for s in others if (doctor.code, day, s) not in self._taken), slot)
        self._taken.add((doctor.code, day, slot))
        return Visit(place, doctor, person, day, 8 * 60 + slot * SLOT)

    def person(self, region: str, cohort: str = ORDINARY, home: str = "") -> Person:
        """An insured person of a region, cohort, hospital; Jilin prints nothing for 离休."""
        key = (region, cohort, home)
        if key not in self._groups:
            self._groups[key] = [
                person
                for person in self.people
                if person.region == region
                and person.cohort == cohort
                and (not home or (person.home is not None and person.home.key == home))
                and (region != "jilin" or person.scheme != "lixiu")
            ]
        return self.chance.one(self._groups[key])

    @cached_property
    def _days(self) -> dict[str, tuple[list[Day], list[int]]]:
        table = {}
        for region, first in STARTS.items():
            days = [first + ONE_DAY * n for n in range((TODAY - first).days)]
            growth = (WEEKDAY_SHARES[day.weekday()] * (200 + n) for n, day in enumerate(days))
            table[region] = (days, list(accumulate(growth)))
        return table

    def day(self, region: str) -> Day:
        """A service day: fewer at weekends, more every month."""
        days, sums = self._days[region]
        return days[bisect(sums, self.chance.below(sums[-1]))]

    # --- writing ---

    def draft(self, visit: Visit, lines: list[dict], **more: object) -> Draft:
        """A claim that fulfils every requirement; oddities are made by changing it afterwards."""
        self.serial += 1
        number = f"{visit.day:%y%m%d}{self.serial:06d}"
        start = moment(visit.day, *divmod(visit.minute, 60))
        end = start + dt.timedelta(minutes=6 + self.chance.below(14))
        person = visit.person
        body = {
            "claim_no": number,
            "encounter": {
                "id": f"JZ{number}",
                "business_type": "internet",
                "visit_type": "revisit",
                "condition": person.disease.condition,
                "started_at": start.isoformat(),
                "ended_at": end.isoformat(),
                "department_code": "A03",
                "diagnoses": [
                    {"code": person.disease.icd, "name": person.disease.name, "main": True}
                ],
                "session": {"medium": self.chance.one(MEDIA)},
            },
            "person": {
                "credential_type": "e_credential",
                "credential": person.credential,
                "verified_at": start.isoformat(),
                "matched": True,
            },
            "consent": {"item_and_price_explained": True, "given_at": start.isoformat()},
            "physician": {"code": visit.doctor.code},
            "lines": [{"line_no": number, **line} for number, line in enumerate(lines, 1)],
            "channel": "online" if visit.hospital.online else "manual",
            "pay_from_account": person.scheme == "employee" and self.chance.happens(800),
            **more,
        }
        if not visit.hospital.online:
            body["e_invoice_no"] = f"SLFP{number}"
        return Draft(visit.hospital, visit.day, body)

    def nantong(self, visit: Visit, item: str = "", fee: int | None = None) -> Draft:
        """An online revisit charged by the annex."""
        item = item or self.prices.item_of[visit.doctor.title_on(visit.day)]
        if fee is None:
            fee = self.prices.of(item, visit.hospital.class_on(visit.day))
        return self.draft(visit, [line("consult", item, fee)])

    def wenzhou(self, visit: Visit, fee: int | None = None) -> Draft:
        """A revisit with prescription: the consultation and one to three drugs."""
        if fee is None:
            private = visit.hospital.ownership == "private"
            fee = self.prices.consult * 3 // 2 if private else self.prices.consult
        start = moment(visit.day, *divmod(visit.minute, 60))
        number = f"CF{visit.day:%y%m%d}{self.serial + 1:06d}"
        drugs = [self._drug(number) for _ in range(1 + self.chance.below(3))]
        prescription = {
            "no": number,
            "signed_by": visit.doctor.code,
            "signed_at": (start + dt.timedelta(minutes=4)).isoformat(),
            "reviewed_by": f"Y{visit.hospital.area}99{visit.hospital.serial:04d}",
            "reviewed_at": (start + dt.timedelta(minutes=5)).isoformat(),
            "lines": [
                {"drug_code": drug["item_code"], "quantity": drug["quantity"],
                 "days_supply": 28, "unit": "盒"}
                for drug in drugs
            ],
        }  # fmt: skip
        lines = [line("consult", CONSULT_ITEM, fee), *drugs]
        return self.draft(visit, lines, prescriptions=[prescription])

    def _drug(self, prescription: str) -> dict:
        sold, boxes = DRUGS[self.chance.below(len(DRUGS))], 1 + self.chance.below(3)
        drug = line("drug", sold.code, sold.price, boxes)
        trace = f"81{self.chance.below(10**9):09d}{self.chance.below(10**9):09d}"
        return drug | {"prescription_no": prescription, "trace_codes": [trace]}

    def jilin(self, visit: Visit, hospitals: tuple[str, ...] = ()) -> Draft:
        """A remote consultation of an inpatient with experts of one or two provincial hospitals."""
        hospitals = hospitals or PROVINCIAL[: 1 + self.chance.happens(250)]
        consultation = {
            "charged_by": "inviting",
            "hospitals": [
                {"name": HOSPITALS[key].name, "provincial": HOSPITALS[key].tier == "provincial"}
                for key in hospitals
            ],
            "inpatient": True,
        }
        charge = line("remote_consult", REMOTE_ITEM, self.prices.remote, len(hospitals))
        return self.draft(visit, [charge], consultation=consultation)


def line(kind: str, item: str, price: int, quantity: int = 1, **more: object) -> dict:
    """One line of a claim; `price` in fen."""
    return {
        "kind": kind,
        "item_code": item,
        "quantity": str(quantity),
        "unit_price": yuan(price),
        "fee": yuan(price * quantity),
        **more,
    }


def open_on(hospital: Hospital, day: Day) -> bool:
    """Whether ordinary claims of that day are paid: outside a suspension, inside the agreement."""
    if hospital.suspended and hospital.suspended[0] <= day <= hospital.suspended[1]:
        return False
    return hospital.supplement is None or hospital.supplement <= day
