"""Ningxia for tests: its area, the listed hospitals as institutions, people of every level, moves on days."""

import datetime as dt
from itertools import count

from agreements import plans
from agreements.models import Application, WavePlace
from agreements.onboarding import Flow
from audit.models import Move
from audit.procedure import PROCEDURES, Step, Turn
from config.demo.identity import credit_code
from institutions.models import Institution, InstitutionFacts, PlatformConnection, Region, User
from tests.agreements.cast import KEYS_FROM, calendar, moment
from tests.agreements.law import document
from tests.factories import policies

Day = dt.date
LAW = document("ningxia")
FLOW = Flow.read(LAW)
TABLE = PROCEDURES["ningxia"]
TODAY = Day(2021, 12, 20)
OPENED = Day(2021, 11, 22)
AT = moment(TODAY)
AREAS = {
    "640000": ("宁夏回族自治区", "province", None), "640100": ("银川市", "prefecture", "640000"),
    "640122": ("贺兰县", "county", "640100"), "640500": ("中卫市", "prefecture", "640000"),
    "640521": ("中宁县", "county", "640500"),
}  # fmt: skip
#: where a listed hospital lies when it is not in Yinchuan
PLACES = {"贺兰县": "640122", "中宁县": "640521", "中卫市": "640500"}
NAMES = [row["name"] for batch in LAW["waves"]["batches"] for row in batch["hospitals"]]
_serial = count(1)


def country(*years: int) -> dict[str, User]:
    """Regions, law, calendar and people; role.level → person."""
    policies("ningxia")
    calendar(*(years or (2021, 2022, 2023)))
    for code, (name, level, parent) in AREAS.items():
        Region.objects.create(
            code=code, name=name, level=level, parent_id=parent, policy_region="ningxia"
        )
    seats = {"province": "640000", "prefecture": "640100", "county": "640122", "zhongwei": "640500"}
    regions = {name: Region.objects.get(pk=code) for name, code in seats.items()}
    return {
        f"policy.{name}": person("policy_staff", region) for name, region in regions.items()
    } | {
        f"{role}.{name}": person(role, regions[name])
        for role in ("information", "signing_officer", "auditor", "health_commission")
        for name in ("province", "prefecture", "county")
    }


def person(role: str, place: Region | Institution) -> User:
    """Somebody who never logs in by a password."""
    where = {"institution": place} if isinstance(place, Institution) else {"region": place}
    return User.objects.create(username=f"{role}-nx-{next(_serial)}", role=role, **where)


def hospital(name: str, area: str = "") -> Institution:
    """A registered public hospital; a listed name lies where its name says."""
    code = area or next(
        (code for start, code in PLACES.items() if name.startswith(start)), "640100"
    )
    number = next(_serial)
    made = Institution.objects.create(
        code=f"H{code}{number:05d}",
        name=name,
        region_id=code,
        credit_code=credit_code(number),
    )
    InstitutionFacts.objects.create(
        institution=made, valid_from=Day(2019, 1, 1), recorded_at=KEYS_FROM, price_class="3",
        ownership="public", nonprofit=True, representative="测试法人", address="银川市测试路1号",
    )  # fmt: skip
    return made


def everyone() -> list[Institution]:
    """All 38."""
    return [hospital(name) for name in NAMES]


def joined(found: Institution, *platforms: str, checked: bool = True) -> None:
    """Connections to platforms from the year's begin on, compared with their scan by another person."""
    seen = {"checked_at": KEYS_FROM, "checked_by": "checker"} if checked else {}
    for platform in platforms:
        PlatformConnection.objects.create(
            institution=found, platform=platform, valid_from=Day(2021, 1, 1),
            recorded_at=KEYS_FROM, recorded_by="test", **seen,
        )  # fmt: skip


def place(found: Institution, batch: int | None, deadline: dt.date | None) -> WavePlace:
    return WavePlace.objects.create(
        institution=found, policy_region="ningxia", batch=batch, listed_name=found.name,
        deadline=deadline, recorded_at=KEYS_FROM, recorded_by="test",
    )  # fmt: skip


def standing(found: Institution, state: str, opened: dt.date = OPENED) -> Application:
    """An application that stands in a state without having gone there."""
    return Application.objects.create(
        number=f"NX-{next(_serial)}", institution=found, procedure="ningxia", state=state,
        entered_on=opened, version=1, region_code=found.region_id, institution_code=found.pk,
        opened_at=moment(opened), opened_by="somebody",
    )  # fmt: skip


PATH = ("qualify", "apply", "prepare_last", "pass_test", "sign_institution", "sign_agency",
        "open_payment")  # fmt: skip


def live(found: Institution, on: dt.date) -> Application:
    """An application whose every needed step was taken, the last of them on a day."""
    case = standing(found, "open", opened=min(on, OPENED))
    Move.objects.bulk_create(
        Move(
            subject=case.subject, procedure="ningxia", step=key, label=key, target="x",
            on=on if key == PATH[-1] else min(on, Day(2021, 12, 1)), at=moment(on), by="test",
            region_code=found.region_id, institution_code=found.pk,
        )
        for key in PATH
    )  # fmt: skip
    return case


def made(people, on=OPENED) -> plans.Made:
    return plans.make_places(who=people["policy.province"], on=on, by="region", at=moment(on))


def turn(found, *, on=TODAY, reason="") -> Turn:
    step = Step(key="open", label="申请", source=("",), target="joining", permission="")
    case = Application(institution=found, procedure="ningxia", region_code=found.region_id)
    return Turn(case=case, procedure=TABLE, step=step, by="x", at=moment(on), on=on,
                facts={"override_reason": reason})  # fmt: skip


def planned(people, name="银川市第一人民医院") -> WavePlace:
    found = hospital(name)
    made(people)
    return WavePlace.objects.select_related("institution__region").get(institution=found)
