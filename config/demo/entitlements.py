"""The insured register of the demonstration: entitlements, some of them broken; filings in each state."""

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from config.demo import ACTOR, TODAY, identity, moment
from config.demo.people import DISEASES, ORDINARY, Person, population
from config.demo.registry import sample_pdf
from institutions import crypto
from institutions.models import User
from settlement import filings
from settlement.models import DiseaseFiling, Entitlement, InsuredPerson
from settlement.register import commands, compare
from settlement.register.sheet import COLUMNS

Day = dt.date
ENROLLED = Day(2019, 1, 1)
ROSTER = "参保名册（示例）"
#: regions whose registers have broken entitlements, and how many persons of each kind
BROKEN_REGIONS = ("nantong", "wenzhou", "jilin")
ARREARS, CONVERTED, WAITING, DECEASED, STOPPED = 5, 4, 2, 2, 2
CLERKS = {"nantong": "clerk.nantong", "wenzhou": "clerk.wenzhou", "jilin": "clerk.jilin"}
STRANGER = 9_001  #: somebody whom only the insurer's list knows


def make_entitlements() -> str:
    """Store it; returns how much."""
    people = population()
    rows = {bytes(row.id_hash): row for row in InsuredPerson.objects.filter(is_demo=True)}
    of = {person.number: rows[crypto.person_hash(person.credential)] for person in people}
    since = moment(ENROLLED)
    Entitlement.objects.bulk_create(
        (
            Entitlement(
                person=row, scheme=row.scheme, standing=Entitlement.Standing.ACTIVE,
                region_code=row.region_code, valid_from=ENROLLED, source=ROSTER,
                recorded_at=since, recorded_by=ACTOR,
            )
            for row in of.values()
        ),
        batch_size=1000,
    )  # fmt: skip
    broken = sum(_broken(region, people, of) for region in BROKEN_REGIONS)
    filed = sum(1 for _ in _filings(people, of))
    differ = _comparison(people, of)
    filings.watch(on=TODAY, by=ACTOR, at=moment(TODAY, 1))
    return f"{len(of)} 人，其中变动 {broken} 人；慢特病认定 {filed} 件；名册核对差异 {differ} 处"


def _of(region: str, people: list[Person]) -> list[Person]:
    """Ordinary persons of a region, the last of the population first: those made here are few."""
    found = [p for p in people if p.region == region and p.cohort == ORDINARY
             and p.scheme != "lixiu"]  # fmt: skip
    return found[::-1]


def _broken(region: str, people: list[Person], of: dict[int, InsuredPerson]) -> int:
    """Arrears, conversions, waiting periods, deaths and ends, each by its own command."""
    chosen = iter(_of(region, people))
    by, source = CLERKS[region], "示例"
    for _ in range(ARREARS):
        commands.change_standing(
            person=of[next(chosen).number], standing="arrears", valid_from=Day(2021, 9, 1),
            valid_until=Day(2021, 10, 31), at=moment(Day(2021, 9, 6)), by=by, source=source,
        )  # fmt: skip
    for number in range(CONVERTED + WAITING):
        person = next(chosen)
        commands.convert_scheme(
            person=of[person.number], valid_from=Day(2021, 7, 1), at=moment(Day(2021, 6, 25)),
            scheme="resident" if person.scheme == "employee" else "employee",
            waiting_until=Day(2021, 9, 30) if number >= CONVERTED else None, by=by, source=source,
        )  # fmt: skip
    for _ in range(DECEASED):
        commands.record_death(
            person=of[next(chosen).number], died_on=Day(2021, 12, 12),
            at=moment(Day(2021, 12, 15)), by=by, source=source,
        )  # fmt: skip
    for _ in range(STOPPED):
        commands.change_standing(
            person=of[next(chosen).number], standing="stopped", valid_from=Day(2021, 12, 1),
            at=moment(Day(2021, 11, 29)), by=by, source=source,
        )  # fmt: skip
    return ARREARS + CONVERTED + WAITING + DECEASED + STOPPED


# --- Filings ---


@dataclass(frozen=True)
class Taken:
    """A step that was taken of an application; `who` plays which part."""

    key: str
    who: str
    on: Day
    note: str = ""
    facts: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Filed:
    """An application: who enters it, when, with how many of the materials, and what follows."""

    filer: str
    on: Day
    materials: int
    steps: tuple[Taken, ...] = ()


def _approved(on: Day, until: Day) -> Taken:
    days = {"valid_from": on.isoformat(), "valid_until": until.isoformat()}
    return Taken("approve", "reviewer", on, facts=days)


MISSING = {"missing": ["缺少检查检验报告", "诊断证明未写明病程"]}
FILED = (
    Filed("clerk", Day(2021, 12, 17), 3),
    Filed("hospital", Day(2021, 12, 13), 3),
    Filed("hospital", Day(2021, 12, 14), 1,
          (Taken("notice", "reviewer", Day(2021, 12, 16), facts=MISSING),)),
    Filed("hospital", Day(2021, 3, 22), 3, (_approved(Day(2021, 3, 26), Day(2022, 1, 25)),)),
    Filed("clerk", Day(2021, 5, 11), 3, (_approved(Day(2021, 5, 14), Day(2023, 5, 13)),)),
    Filed("clerk", Day(2021, 10, 18), 3,
          (Taken("refuse", "reviewer", Day(2021, 10, 22), "检查结果未达到认定标准（示例）。"),)),
    Filed("hospital", Day(2021, 11, 8), 0,
          (Taken("withdraw", "hospital", Day(2021, 11, 9), "患者改在窗口申请（示例）。"),)),
)  # fmt: skip
#: a region with an example list of its own (the notice of Nantong prints none): who plays which part
PARTS = {
    region: {part: f"{part}.{region}" for part in ("clerk", "reviewer")}
    | {"hospital": f"hospital.{region}1"}
    for region in ("wenzhou", "nantong")
}
HOMES = {"wenzhou": ("wz1", FILED), "nantong": ("nt1", (*FILED[:3], FILED[4], FILED[3]))}


def _filings(people: list[Person], of: dict[int, InsuredPerson]) -> Iterator[DiseaseFiling]:
    for region, (home, cases) in HOMES.items():
        users = {part: User.objects.select_related("institution").get(username=name)
                 for part, name in PARTS[region].items()}  # fmt: skip
        there = [p for p in people if p.region == region and p.cohort == ORDINARY
                 and p.home is not None and p.home.key == home][:40]  # fmt: skip
        for case, person in zip(cases, there[::5], strict=False):
            yield _filed(case, person, of[person.number], users)


def _filed(
    case: Filed, person: Person, row: InsuredPerson, users: dict[str, User]
) -> DiseaseFiling:
    """A second disease of somebody who has one recognised."""
    code = next(d.listed for d in DISEASES if d.listed and d.listed != person.disease.listed)
    filer = users[case.filer]
    names = list(filings.Law.of(row.region_code, case.on).materials)[: case.materials]
    made = filings.apply(
        person=row, code=code, reason="长期服药，病情稳定（示例）", institution=filer.institution,
        files=[(name, "示例.pdf", sample_pdf(name)) for name in names], by=filer.username,
        at=moment(case.on),
    )  # fmt: skip
    for step in case.steps:
        filings.take_step(
            filing=made, step=step.key, who=users[step.who], by=users[step.who].username,
            at=moment(step.on, 15), note=step.note, facts=step.facts,
        )  # fmt: skip
    return made


# --- A comparison with differences to work off ---


def _comparison(people: list[Person], of: dict[int, InsuredPerson]) -> int:
    """The insurer's list of a few persons of one county, which differs in every way."""
    mine = [p for p in people if p.region == "jilin"]
    lines = [",".join(column.label for column in COLUMNS)]
    spoil: dict[int, Callable[[list[str]], list[str]]] = {
        7: lambda cells: [*cells[:2], "居民医保" if cells[2] == "职工医保" else "职工医保", *cells[3:]],
        11: lambda cells: [*cells[:3], "欠费暂停", *cells[4:]],
        13: lambda cells: [*cells[:4], "2019-03-01", *cells[5:]],
    }  # fmt: skip
    rows = {row.person_id: row for row in Entitlement.objects.known().in_force(on=TODAY)
            .filter(person__in=[of[p.number].pk for p in mine])}  # fmt: skip
    for position, person in enumerate(mine[:-2]):
        row = rows[of[person.number].pk]
        until = row.valid_until.isoformat() if row.valid_until else ""
        cells = [person.credential, person.name, row.get_scheme_display(), row.get_standing_display(),
                 row.valid_from.isoformat(), until, row.region_code, "", "", "示例名册"]  # fmt: skip
        lines.append(",".join(spoil.get(position, list)(cells)))
    stranger = identity.id_number(Day(1980, 1, 1), STRANGER)
    lines.append(f"{stranger},示例,职工医保,正常参保,2019-01-01,,220000,,示例名册")
    clerk = User.objects.get(username=CLERKS["jilin"])
    sheet = compare.compare(
        file_name="示例-省级参保名册.csv", content="\n".join(lines).encode(), on=TODAY, who=clerk,
        by=clerk.username, at=moment(TODAY, 8),
    )  # fmt: skip
    return sheet.differences.count()
