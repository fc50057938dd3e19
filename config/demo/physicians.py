"""Physicians of the demonstration: every title, one too young, one promoted, one no clinician."""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

from config.demo import ACTOR, identity
from config.demo.hospitals import HOSPITALS, RECORDED, Hospital
from institutions.models import Physician, PhysicianTitle

Day = dt.date
Title = PhysicianTitle.Title
PROMOTED_ON = Day(2021, 7, 1)
#: when the agency registered and checked them
CHECKED = {"recorded_by": ACTOR, "checked_at": RECORDED, "checked_by": ACTOR}
PROMOTED, YOUNG, TECHNICIAN = "promoted", "young", "technician"

#: part at the hospital → (title, in independent practice since, clinician)
POSTS: dict[str, tuple[str, Day, bool]] = {
    "resident": (Title.RESIDENT, Day(2015, 9, 1), True),
    "attending": (Title.ATTENDING, Day(2012, 8, 1), True),
    "attending2": (Title.ATTENDING, Day(2010, 8, 1), True),
    "associate": (Title.ASSOCIATE_CHIEF, Day(2005, 7, 1), True),
    "chief": (Title.CHIEF, Day(1998, 7, 1), True),
    "expert": (Title.EXPERT, Day(1990, 7, 1), True),
    PROMOTED: (Title.ATTENDING, Day(2011, 7, 1), True),
    YOUNG: (Title.RESIDENT, Day(2020, 8, 1), True),
    TECHNICIAN: (Title.ATTENDING, Day(2014, 7, 1), False),
}


@dataclass(frozen=True)
class Doctor:
    """A physician as claims name them; `post` is the key of POSTS."""

    code: str
    name: str
    post: str
    hospital: Hospital

    def title_on(self, day: Day) -> str:
        """The title on a day, as the register has it."""
        if self.post == PROMOTED and day >= PROMOTED_ON:
            return Title.ASSOCIATE_CHIEF
        return POSTS[self.post][0]


def roster() -> dict[str, dict[str, Doctor]]:
    """hospital key → post → physician."""
    return {hospital.key: dict(_posts(hospital)) for hospital in HOSPITALS.values()}


def _posts(hospital: Hospital) -> Iterator[tuple[str, Doctor]]:
    for number, post in enumerate(POSTS):
        serial = hospital.serial * 20 + number
        code = identity.physician_code(hospital.area, serial)
        yield post, Doctor(code, identity.person_name(50_000 + serial), post, hospital)


def make_physicians() -> int:
    """Store the register of physicians with their dated titles."""
    doctors = [doctor for posts in roster().values() for doctor in posts.values()]
    Physician.objects.bulk_create(
        Physician(
            code=doctor.code,
            name=doctor.name,
            institution_id=doctor.hospital.code,
            licence_no=f"示例{doctor.code[1:]}",
            is_clinician=POSTS[doctor.post][2],
            independent_since=POSTS[doctor.post][1],
            is_demo=True,
            **CHECKED,
        )
        for doctor in doctors
    )
    PhysicianTitle.objects.bulk_create(title for doctor in doctors for title in _titles(doctor))
    return len(doctors)


def _titles(doctor: Doctor) -> Iterator[PhysicianTitle]:
    title, since, _ = POSTS[doctor.post]
    spans: list[tuple[str, Day, Day | None]] = [(title, since, None)]
    if doctor.post == PROMOTED:
        day_before = PROMOTED_ON - dt.timedelta(days=1)
        spans = [(title, since, day_before), (Title.ASSOCIATE_CHIEF, PROMOTED_ON, None)]
    for name, first, last in spans:
        yield PhysicianTitle(
            physician_id=doctor.code, title=name, valid_from=first, valid_until=last,
            recorded_at=RECORDED, **CHECKED,
        )  # fmt: skip
