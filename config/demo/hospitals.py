"""Hospitals of the demonstration: a table of what was true of them and when, and its storing."""

import datetime as dt
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from functools import cache, partial

from agreements.models import Agreement, AgreementState
from config.demo import ACTOR, identity, moment
from institutions.models import Institution, InstitutionFacts
from pricing.commands import SHIPPED
from pricing.document import parse

Day = dt.date
RECORDED = moment(Day(2020, 1, 2))
OPENED = Day(2020, 1, 1)
TERM_END = Day(2021, 12, 31)
FILED, SIGNED_ON = Day(2020, 3, 10), Day(2020, 3, 16)
INTERNET_DEPARTMENTS = ("A03", "A03.03", "A03.04", "A03.07", "A50")
OFFLINE_DEPARTMENTS = (*INTERNET_DEPARTMENTS, "A02", "A04.01")
#: A department that hospitals have offline only.
OFFLINE_ONLY = "A04.01"
ACTIVE, SIGNED = AgreementState.State.ACTIVE, AgreementState.State.SIGNED
PAPER, SUSPENDED = AgreementState.State.PAPER_PENDING, AgreementState.State.SUSPENDED


@dataclass(frozen=True)
class Hospital:
    """One invented hospital. `classes` are (from, price class), `states` the supplement's."""

    key: str
    name: str
    area: str
    region: str
    classes: tuple[tuple[Day, str], ...]
    grade: str = ""
    tier: str = "county"
    ownership: str = "public"
    nonprofit: bool = True
    filed: Day | None = FILED
    online: bool = True
    supplement: Day | None = SIGNED_ON
    states: tuple[tuple[Day, str, str], ...] = ()
    suspended: tuple[Day, Day] | None = None
    main_too: bool = False
    main: bool = True  #: a main agreement from the opening on
    term: Day = TERM_END  #: the last day of its agreements
    weight: int = 0  #: share of its region's ordinary claims
    serial: int = field(default=0, compare=False)

    @property
    def code(self) -> str:
        return identity.institution_code(self.area, self.serial)

    def class_on(self, day: Day) -> str:
        """The price class on a day."""
        return [price_class for since, price_class in self.classes if since <= day][-1]


def _always(price_class: str) -> tuple[tuple[Day, str], ...]:
    return ((OPENED, price_class),)


CLAUSES = {"wenzhou": "温医保办〔2021〕6号 七", "nantong": "通医保发〔2020〕25号 三（一）"}
of_wenzhou = partial(Hospital, region="wenzhou", filed=None, supplement=Day(2021, 3, 15))
of_jilin = partial(Hospital, region="jilin", filed=None, supplement=None)

_TABLE = (
    Hospital(
        "nt1", "南通示例第一医院", "320613", "nantong",
        _always("3"), "三级甲等", "municipal", weight=34,
    ),
    Hospital(
        "nt2", "南通示例第二医院", "320613", "nantong",
        ((OPENED, "2"), (Day(2021, 7, 1), "3")), "三级乙等", "municipal", weight=22,
    ),
    Hospital("nt3", "海门示例医院", "320614", "nantong", _always("2"), "二级甲等", weight=18),
    Hospital(
        "nt4", "启东示例医院", "320681", "nantong", _always("2"), "二级甲等", weight=12,
        states=((Day(2020, 3, 16), PAPER, "疫情防控期间网上互签，纸质协议待补签"),),
    ),
    Hospital(
        "nt5", "海安示例医院", "320685", "nantong", _always("2"), "二级乙等", weight=8,
        suspended=(Day(2021, 5, 1), Day(2021, 6, 30)),
    ),
    Hospital(
        "nt6", "如皋示例医院", "320682", "nantong", _always("2"), "二级甲等", weight=6,
        online=False,
    ),
    Hospital("nt7", "通州示例卫生院", "320612", "nantong", _always("1"), "一级", "township"),
    Hospital("nt8", "如东示例医院", "320623", "nantong", _always("2"), "二级甲等", filed=None),
    Hospital(
        "nt9", "南通示例民营医院", "320613", "nantong", _always("3"), "三级", "municipal",
        ownership="private", nonprofit=False,
    ),
    Hospital(
        "nt10", "通州示例医院", "320612", "nantong", _always("2"), "二级甲等",
        supplement=Day(2021, 9, 1),
    ),
    of_wenzhou(
        "wz1", "温州示例第一医院", "330302",
        classes=_always("3"), grade="三级甲等", tier="municipal", weight=40,
    ),
    of_wenzhou(
        "wz2", "温州示例中医院", "330304",
        classes=_always("3"), grade="三级乙等", tier="municipal", weight=24,
    ),
    of_wenzhou(
        "wz3", "瑞安示例医院", "330381",
        classes=_always("2"), grade="二级甲等", weight=20,
    ),
    of_wenzhou(
        "wz4", "乐清示例医院", "330382", classes=_always("2"), grade="二级甲等", weight=10,
        suspended=(Day(2021, 8, 1), Day(2021, 8, 31)), main_too=True,
    ),
    of_wenzhou(
        "wz5", "温州示例民营医院", "330303", classes=_always("2"), grade="二级", tier="municipal",
        ownership="private", nonprofit=False, weight=6,
    ),
    Hospital(
        "wz6", "苍南示例医院", "330327", "wenzhou", _always("2"), "二级甲等", filed=None,
        supplement=None,
    ),
    of_jilin(
        "jl1", "吉林示例市中心医院", "220200",
        classes=_always("3"), grade="三级甲等", tier="municipal", weight=60,
    ),
    of_jilin(
        "jl2", "延吉示例医院", "222401",
        classes=_always("2"), grade="二级甲等", weight=40,
    ),
    of_jilin(
        "jl3", "长春示例省级第一医院", "220100",
        classes=_always("3"), grade="三级甲等", tier="provincial",
    ),
    of_jilin(
        "jl4", "长春示例省级第二医院", "220100",
        classes=_always("3"), grade="三级甲等", tier="provincial",
    ),
)  # fmt: skip

HOSPITALS: dict[str, Hospital] = {
    row.key: replace(row, serial=number) for number, row in enumerate(_TABLE, 1)
}

#: Where the notice's hospitals stand when their name does not say it; others lie by their prefix.
NINGXIA_AREAS = {
    "自治区第五人民医院": "640200",
    "自治区宁东医院": "640181",
    "宁夏医科大学附属回医中医医院": "640300",
    "石嘴山": "640200", "吴忠市": "640300", "固原市": "640400", "中卫市": "640500",
    "灵武市": "640181", "平罗县": "640221", "盐池县": "640323", "中宁县": "640521",
    "贺兰县": "640122", "永宁县": "640121", "同心县": "640324", "青铜峡市": "640381",
    "红寺堡区": "640303", "沙坡头区": "640502", "海原县": "640522", "原州区": "640402",
    "西吉县": "640422", "彭阳县": "640425", "泾源县": "640424", "隆德县": "640423",
    "惠农区": "640205",
}  # fmt: skip
YINCHUAN = "640100"
FIRST_NINGXIA_SERIAL = 101


@dataclass(frozen=True)
class Listed:
    """One of the hospitals that the Ningxia notice lists, in the order of its annex."""

    name: str
    aliases: tuple[str, ...]
    batch: int
    area: str
    serial: int

    @property
    def code(self) -> str:
        return identity.institution_code(self.area, self.serial)


@cache
def listed() -> tuple[Listed, ...]:
    """The 38 hospitals as the shipped notice names them (宁医保发〔2021〕152号 附件1)."""
    policy = parse((SHIPPED / "ningxia-2021-152.yaml").read_text(encoding="utf-8"))
    rows = [
        (hospital, batch["batch"])
        for batch in policy.data["waves"]["batches"]
        for hospital in batch["hospitals"]
    ]
    return tuple(
        Listed(
            hospital["name"], tuple(hospital.get("aliases", ())), batch, _area_of(hospital["name"]),
            FIRST_NINGXIA_SERIAL + number,
        )
        for number, (hospital, batch) in enumerate(rows)
    )  # fmt: skip


def _area_of(name: str) -> str:
    return next((code for start, code in NINGXIA_AREAS.items() if name.startswith(start)), YINCHUAN)


def make_hospitals() -> int:
    """Store institutions, their dated facts, agreements and states."""
    Institution.objects.bulk_create(_ningxia())
    InstitutionFacts.objects.bulk_create(_ningxia_facts())
    return store(HOSPITALS.values()) + len(listed())


def store(rows: Collection[Hospital]) -> int:
    """Store invented hospitals with their facts and agreements; how many."""
    Institution.objects.bulk_create(_invented(rows))
    InstitutionFacts.objects.bulk_create(_facts(rows))
    agreements = list(_agreements(rows))
    Agreement.objects.bulk_create(agreement for agreement, _ in agreements)
    AgreementState.objects.bulk_create(state for _, states in agreements for state in states)
    return len(rows)


def _invented(rows: Collection[Hospital]) -> Iterator[Institution]:
    for hospital in rows:
        kind = "12" if hospital.ownership == "public" else "91"
        yield Institution(
            code=hospital.code,
            name=hospital.name,
            internet_hospital_name=f"{hospital.name}互联网医院",
            region_id=hospital.area,
            credit_code=identity.credit_code(hospital.serial, kind),
            tier=hospital.tier,
            is_demo=True,
        )


def _ningxia() -> Iterator[Institution]:
    for hospital in listed():
        yield Institution(
            code=hospital.code,
            name=hospital.name,
            aliases=list(hospital.aliases),
            region_id=hospital.area,
            credit_code=identity.credit_code(hospital.serial),
            tier="provincial" if hospital.name.startswith(("自治区", "宁夏")) else "municipal",
            is_demo=True,
        )


def _facts(rows: Collection[Hospital]) -> Iterator[InstitutionFacts]:
    for hospital in rows:
        ends = [since - dt.timedelta(days=1) for since, _ in hospital.classes[1:]] + [None]
        for (since, price_class), until in zip(hospital.classes, ends, strict=True):
            yield InstitutionFacts(
                institution_id=hospital.code,
                valid_from=since,
                valid_until=until,
                recorded_at=max(RECORDED, moment(since)),
                price_class=price_class,
                hospital_grade=hospital.grade,
                ownership=hospital.ownership,
                nonprofit=hospital.nonprofit,
                internet_hospital_name=f"{hospital.name}互联网医院",
                filed_on=hospital.filed,
                online_settlement=hospital.online,
                offline_departments=list(OFFLINE_DEPARTMENTS),
                internet_departments=list(INTERNET_DEPARTMENTS),
            )


def _ningxia_facts() -> Iterator[InstitutionFacts]:
    for hospital in listed():
        yield InstitutionFacts(
            institution_id=hospital.code,
            valid_from=OPENED,
            recorded_at=RECORDED,
            price_class="3" if hospital.batch == 1 else "2",
            ownership="public",
            nonprofit=True,
            offline_departments=list(OFFLINE_DEPARTMENTS),
            internet_departments=list(INTERNET_DEPARTMENTS),
        )


def _agreements(rows: Collection[Hospital]) -> Iterator[tuple[Agreement, list[AgreementState]]]:
    for hospital in rows:
        if hospital.main:
            yield _main(hospital)
        if hospital.supplement is not None:
            yield _supplement(hospital, hospital.supplement)


def _main(hospital: Hospital) -> tuple[Agreement, list[AgreementState]]:
    agreement = Agreement(
        institution_id=hospital.code,
        kind=Agreement.Kind.MAIN,
        number=f"示例定点-{hospital.code}-2020",
        valid_from=OPENED,
        valid_until=hospital.term,
        signed_on=OPENED,
    )
    spans: list[tuple[Day, str, str]] = [(OPENED, ACTIVE, "")]
    return agreement, _states(agreement, spans, hospital.suspended if hospital.main_too else None)


def _supplement(hospital: Hospital, since: Day) -> tuple[Agreement, list[AgreementState]]:
    clause = CLAUSES[hospital.region]
    agreement = Agreement(
        institution_id=hospital.code,
        kind=Agreement.Kind.SUPPLEMENTARY,
        number=f"示例补充-{hospital.code}-{since.year}",
        valid_from=since,
        valid_until=hospital.term,
        signed_on=since,
        clause=clause,
    )
    spans = list(hospital.states) or [(since, SIGNED, "")]
    return agreement, _states(agreement, spans, hospital.suspended)


def _states(
    agreement: Agreement, spans: list[tuple[Day, str, str]], suspended: tuple[Day, Day] | None
) -> list[AgreementState]:
    """Dated states without gaps: the given ones, with a suspension cut into the last of them."""
    if suspended is not None:
        resumed = suspended[1] + dt.timedelta(days=1)
        pause = (suspended[0], SUSPENDED, "示例：核查期间中止")
        spans = [*spans, pause, (resumed, ACTIVE, "示例：恢复")]
    ends = [since - dt.timedelta(days=1) for since, _, _ in spans[1:]] + [agreement.valid_until]
    return [
        AgreementState(
            agreement=agreement,
            state=state,
            valid_from=since,
            valid_until=until,
            recorded_at=moment(since),
            recorded_by=ACTOR,
            reason=reason,
        )
        for (since, state, reason), until in zip(spans, ends, strict=True)
    ]
