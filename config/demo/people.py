"""2,000 insured persons who cannot exist: their diseases, offline visits and personal accounts."""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

from config.demo import ACTOR, FIRST_DAY, TODAY, identity, moment
from config.demo.chance import Chance
from config.demo.hospitals import HOSPITALS, Hospital
from institutions import crypto
from settlement.models import ChronicDisease, InsuredPerson, OfflineVisit

Day = dt.date


@dataclass(frozen=True)
class Disease:
    """A main diagnosis (ICD-10, insurance edition) and the outpatient list's code, if any."""

    icd: str
    name: str
    listed: str = ""
    condition: str = "chronic"


DISEASES = (
    Disease("I10.x00x002", "高血压", "M03900"),
    Disease("E11.900", "2型糖尿病", "M01600"),
    Disease("I25.103", "冠状动脉粥样硬化性心脏病", "M04600"),
    Disease("J44.900", "慢性阻塞性肺病", "M05300"),
    Disease("I69.300", "脑梗死后遗症", "M04803"),
    Disease("J45.900", "支气管哮喘", "M05400"),
    Disease("G20.x00", "帕金森病", "M02300"),
)
DISEASE_SHARES = (36, 26, 12, 8, 8, 6, 4)
#: A chronic disease that the example list does not hold, a common and an acute one.
UNLISTED = Disease("M06.900", "类风湿性关节炎", "M06900")
COMMON = Disease("J00.x00", "急性鼻咽炎（普通感冒）", condition="common")
ACUTE = Disease("K35.900", "急性阑尾炎", condition="acute_not_common")
SCHEMES = ("employee", "resident", "lixiu")
SCHEME_SHARES = {
    "nantong": (52, 44, 4),
    "wenzhou": (55, 42, 3),
    "jilin": (58, 38, 4),
    "ningxia": (50, 48, 2),
}
PERSONS = {"nantong": 900, "wenzhou": 800, "jilin": 200, "ningxia": 100}
NINGXIA_AREAS = ("640100", "640200", "640300", "640400", "640500")

#: Cohorts of Wenzhou persons whose records themselves make a revisit unpayable, and their size.
STALE, OTHER_DISEASE, NOT_LISTED, ORDINARY = "stale", "other_disease", "not_listed", ""
COHORTS = {STALE: 15, OTHER_DISEASE: 12, NOT_LISTED: 12}
VISIT_EVERY = 70  #: days between the offline visits of a person
STALE_VISIT = Day(2020, 8, 3)


@dataclass(frozen=True)
class Person:
    """An insured person as claims need it."""

    number: int
    credential: str
    name: str
    region: str
    area: str
    scheme: str
    disease: Disease
    home: Hospital | None
    cohort: str = ORDINARY


def population() -> list[Person]:
    """All persons, the same every time."""
    chance = Chance(1)
    return [
        _person(chance, number, region, position)
        for number, (region, position) in enumerate(
            (region, position) for region, count in PERSONS.items() for position in range(count)
        )
    ]


def _person(chance: Chance, number: int, region: str, position: int) -> Person:
    birth = Day(1936, 1, 1) + dt.timedelta(days=chance.below(365 * 55))
    scheme = chance.weighted(SCHEMES, SCHEME_SHARES[region])
    if scheme == "lixiu":  # 离休: in work before October 1949
        birth = Day(1926, 1, 1) + dt.timedelta(days=chance.below(365 * 7))
    homes = [h for h in HOSPITALS.values() if h.region == region and h.weight]
    home = chance.weighted(homes, [h.weight for h in homes]) if homes else None
    cohort = _cohort(position) if region == "wenzhou" else ORDINARY
    disease = chance.weighted(DISEASES, DISEASE_SHARES)
    return Person(
        number=number,
        credential=identity.id_number(birth, number),
        name=identity.person_name(number),
        region=region,
        area=home.area if home else chance.one(NINGXIA_AREAS),
        scheme=scheme,
        disease=UNLISTED if cohort == NOT_LISTED else disease,
        home=home,
        cohort=cohort,
    )


def _cohort(position: int) -> str:
    for cohort, size in COHORTS.items():
        if position < size:
            return cohort
        position -= size
    return ORDINARY


def make_people() -> tuple[int, int]:
    """Store the persons, their filed diseases and offline visits; returns both counts."""
    chance = Chance(2)
    people = population()
    rows = [_row(chance, person) for person in people]
    InsuredPerson.objects.bulk_create(rows, batch_size=1000)
    ChronicDisease.objects.bulk_create(
        (
            ChronicDisease(
                person=row, code=person.disease.listed, name=person.disease.name,
                valid_from=Day(2019, 1, 1), recorded_at=moment(Day(2019, 1, 1)), recorded_by=ACTOR,
            )
            for person, row in zip(people, rows, strict=True)
        ),
        batch_size=1000,
    )  # fmt: skip
    visits = [
        visit
        for person, row in zip(people, rows, strict=True)
        for visit in _visits(chance, person, row)
    ]
    OfflineVisit.objects.bulk_create(visits, batch_size=2000)
    return len(rows), len(visits)


def _row(chance: Chance, person: Person) -> InsuredPerson:
    digest = crypto.person_hash(person.credential)
    row = digest.hex()
    balance = 20_000 + chance.below(380_000) if person.scheme == "employee" else 0
    if balance and person.number % 25 == 0:
        balance = chance.below(2_000)  # some accounts are nearly empty
    return InsuredPerson(
        id_hash=digest,
        id_masked=crypto.mask_id(person.credential),
        id_cipher=crypto.encrypt(person.credential, bound_to=f"person:{row}:id"),
        name_masked=crypto.mask_name(person.name),
        name_cipher=crypto.encrypt(person.name, bound_to=f"person:{row}:name"),
        region_code=person.area,
        scheme=person.scheme,
        account_balance=balance,
        is_demo=True,
    )


def _visits(chance: Chance, person: Person, row: InsuredPerson) -> Iterator[OfflineVisit]:
    """Visits at the home hospital: every ten weeks in Wenzhou, where the law asks; else one."""
    if person.home is None:
        return
    if person.cohort == STALE:
        yield _visit(person, row, STALE_VISIT, person.disease)
        return
    disease = COMMON if person.cohort == OTHER_DISEASE else person.disease
    first = FIRST_DAY - dt.timedelta(days=1 + chance.below(VISIT_EVERY))
    if person.region != "wenzhou":
        yield _visit(person, row, first, disease)
        return
    for number in range((TODAY - first).days // VISIT_EVERY + 1):
        yield _visit(person, row, first + dt.timedelta(days=VISIT_EVERY * number), disease)


def _visit(person: Person, row: InsuredPerson, day: Day, disease: Disease) -> OfflineVisit:
    return OfflineVisit(
        person=row,
        institution_code=person.home.code if person.home else "",
        day=day,
        department_code="A03",
        diagnosis_code=disease.icd,
        reported_at=moment(day, 18),
    )
