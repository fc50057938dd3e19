"""Samples for review (抽样审核): stratified, by a stated seed, drawn again by anybody with the same result.

In each stratum claims stand in the order of SM3(seed ‖ claim) and the first ⌈n · share⌉ are drawn. The
population is what counted at the moment of drawing, so it can be read again later.
"""

import datetime as dt
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction

from audit import clock, trail
from audit.tasks import next_number
from institutions.models import Region
from institutions.refusals import Refusal, refused
from settlement import reviewed
from settlement.resettlement_lists import area_of
from settlement.terms import WHOLE
from supervision.models import Review, SamplingPlan
from supervision.review_sources import open_review
from supervision.reviews import pool_of

DRAWN_MOST = 500
MOST_DAYS = 366
POPULATION = """SELECT s.claim_id, c.institution_code || '/' || c.claim_no, c.institution_code,
    s.fund, s.version, (SELECT coalesce(array_agg(DISTINCT f.rule), '{}')
        FROM supervision_findingclaim e JOIN supervision_finding f ON f.id = e.finding_id
        WHERE e.claim_id = s.claim_id AND f.found_at <= %(at)s)
FROM settlement_settlement s JOIN settlement_claim c ON c.id = s.claim_id
WHERE s.service_date BETWEEN %(first)s AND %(last)s AND s.period >= %(month)s
    AND c.period >= %(month)s
    AND s.settled_at <= %(at)s AND s.version %% 2 = 1 AND s.fund > 0
    AND starts_with(s.region_code, %(area)s)
    AND (%(institution)s = '' OR s.institution_code = %(institution)s)
    AND NOT EXISTS (SELECT FROM settlement_settlement later WHERE later.claim_id = s.claim_id
        AND later.version > s.version AND later.settled_at <= %(at)s)"""


@dataclass(frozen=True)
class Member:
    """A claim of the population: its key is institution/number; `fund` in fen."""

    claim_id: int
    key: str
    institution: str
    fund: int
    version: int
    rules: tuple[str, ...]


@dataclass(frozen=True)
class Shares:
    """What share of which claims is drawn, per ten thousand; the highest that fits a claim holds."""

    base: int
    institutions: Mapping[str, int]
    rules: Mapping[str, int]
    amounts: tuple[tuple[int, int], ...]  #: (fund above, share), rising

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "Shares":
        """From a plan's record."""
        amounts = tuple((row["above"], row["share"]) for row in given.get("amounts", ()))
        return cls(given["base"], given.get("institutions", {}), given.get("rules", {}), amounts)

    def record(self) -> dict[str, Any]:
        """As a plan keeps it."""
        return {
            "base": self.base, "institutions": dict(self.institutions), "rules": dict(self.rules),
            "amounts": [{"above": above, "share": share} for above, share in self.amounts],
        }  # fmt: skip

    def sound(self) -> bool:
        """Every share lies between nothing and all, and something is drawn."""
        shares = [self.base, *self.institutions.values(), *self.rules.values(),
                  *(share for _, share in self.amounts)]  # fmt: skip
        return all(0 <= share <= WHOLE for share in shares) and any(shares)

    def stratum(self, one: Member) -> tuple[str, int, str]:
        """Institution, band of the amount (0: below the first), and the rule that weighs most."""
        band = sum(one.fund > above for above, _ in self.amounts)
        known = sorted(rule for rule in one.rules if rule in self.rules)
        rule = max(known, key=lambda name: self.rules[name], default="")
        return one.institution, band, rule

    def share(self, stratum: tuple[str, int, str]) -> int:
        """The share of a stratum."""
        institution, band, rule = stratum
        amount = self.amounts[band - 1][1] if band else 0
        return max(
            self.base, self.institutions.get(institution, 0), self.rules.get(rule, 0), amount
        )


@dataclass(frozen=True)
class Drawn:
    """A sample: its members in the order of their keys, its strata, the digests of both sets."""

    members: Sequence[Member]
    strata: Sequence[dict[str, Any]]
    population: int
    population_sm3: str
    drawn_sm3: str


def draw(population: Sequence[Member], shares: Shares, seed: str) -> Drawn:
    """Draw from a population; the same arguments, in any order of members, give the same sample."""
    strata: dict[tuple[str, int, str], list[Member]] = {}
    for one in sorted(population, key=lambda member: member.key):
        strata.setdefault(shares.stratum(one), []).append(one)
    members, told = [], []
    for stratum in sorted(strata):
        share, here = shares.share(stratum), strata[stratum]
        count = -(-len(here) * share // WHOLE)
        members += sorted(here, key=lambda member: _place(seed, member.key))[:count]
        institution, band, rule = stratum
        told.append({"institution": institution, "band": band, "rule": rule,
                     "population": len(here), "share": share, "drawn": count})  # fmt: skip
    members.sort(key=lambda member: member.key)
    return Drawn(members, told, len(population), digest(population), digest(members))


def _place(seed: str, key: str) -> bytes:
    return hashlib.new("sm3", f"{seed}\n{key}".encode()).digest()


def digest(members: Iterable[Member]) -> str:
    """SM3 over the keys and versions, one a line, sorted."""
    lines = sorted(f"{one.key} {one.version}" for one in members)
    return hashlib.new("sm3", "\n".join(lines).encode()).hexdigest()


def population_of(
    *, region_code: str, institution_code: str, first_day: dt.date, last_day: dt.date,
    at: dt.datetime,
) -> list[Member]:  # fmt: skip
    """The claims of an area that the fund paid for and that counted at a moment."""
    with connection.cursor() as cursor:
        cursor.execute(POPULATION, {
            "first": first_day, "last": last_day, "month": first_day.replace(day=1), "at": at,
            "area": area_of(region_code), "institution": institution_code,
        })  # fmt: skip
        return [
            Member(claim_id, key, institution, fund, version, tuple(rules))
            for claim_id, key, institution, fund, version, rules in cursor.fetchall()
        ]


@transaction.atomic
def make_plan(
    *, region: Region, name: str, first_day: dt.date, last_day: dt.date, shares: Shares, seed: str,
    institution_code: str = "", by: str, at: dt.datetime,
) -> SamplingPlan:  # fmt: skip
    """Draw a sample and bring its claims before reviewers; the seed is part of the record.

    Claims under review already stay in the sample and are not opened twice. Raises Refusal (422).
    """
    _sound(name, first_day, last_day, shares, seed)
    population = population_of(
        region_code=region.code, institution_code=institution_code, first_day=first_day,
        last_day=last_day, at=at,
    )  # fmt: skip
    found = draw(population, shares, seed)
    if not found.members:
        raise refused(
            "first_day", "NOTHING_DRAWN", "该区间没有可抽取的单据", "nothing to draw from"
        )
    if len(found.members) > DRAWN_MOST:
        raise refused("base", "TOO_MANY", f"抽中{len(found.members)}张，一次至多{DRAWN_MOST}张，请降低比例",
                      "too many are drawn")  # fmt: skip
    series = f"CY{region.code}-{clock.local(at):%Y}"
    plan = SamplingPlan.objects.create(
        number=f"{series}-{next_number(series):04d}", name=name.strip()[:80],
        pool=pool_of(region.code), region_code=region.code, institution_code=institution_code,
        first_day=first_day, last_day=last_day, seed=seed.strip(), shares=shares.record(),
        population=found.population, population_sm3=found.population_sm3, drawn=len(found.members),
        strata=list(found.strata), drawn_sm3=found.drawn_sm3, drawn_at=at, drawn_by=by,
    )  # fmt: skip
    opened = sum(_open(plan, one, by, at) for one in found.members)
    trail.record(
        by=by, at=at, action="samplingplan.draw", subject=f"samplingplan:{plan.number}",
        region_code=region.code, institution_code=institution_code,
        detail={"seed": plan.seed, "population": plan.population, "drawn": plan.drawn,
                "population_sm3": plan.population_sm3, "drawn_sm3": plan.drawn_sm3,
                "opened": opened},
    )  # fmt: skip
    return plan


def _sound(name: str, first: dt.date, last: dt.date, shares: Shares, seed: str) -> None:
    if not name.strip():
        raise refused("name", "REQUIRED", "请填写方案名称", "a name is required")
    if not seed.strip():
        raise refused("seed", "REQUIRED", "请填写随机种子", "a seed is required")
    if last < first or (last - first).days > MOST_DAYS:
        raise refused("last_day", "SPAN", "服务日区间应从先到后，至多一年", "an odd span of days")
    if not shares.sound():
        raise refused("base", "SHARES", "抽样比例应在0与100%之间，且不全为0", "odd shares")


def _open(plan: SamplingPlan, one: Member, by: str, at: dt.datetime) -> bool:
    settled = reviewed.standing(one.claim_id)
    if settled is None:
        return False
    try:
        open_review(settled=settled, source=Review.Source.SAMPLE, plan=plan,
                    reason=f"抽样方案 {plan.number} {plan.name}", by=by, at=at)  # fmt: skip
    except Refusal:
        return False
    return True


def redrawn(plan: SamplingPlan) -> bool:
    """Whether the plan drawn again from what counted then gives the same population and sample."""
    population = population_of(
        region_code=plan.region_code, institution_code=plan.institution_code,
        first_day=plan.first_day, last_day=plan.last_day, at=plan.drawn_at,
    )  # fmt: skip
    found = draw(population, Shares.of(plan.shares), plan.seed)
    return (found.population_sm3, found.drawn_sm3) == (plan.population_sm3, plan.drawn_sm3)
