"""How well the rules find what was planted, what they find where nothing was, and how fast."""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from django.db import connections, transaction

from institutions.access import EVERYTHING, scoped, set_scope
from pricing.document import Parameter
from pricing.policy import Rules
from pricing.releases import Span, current
from pricing.watching import NUMBERS, SECTION, Switch, switched
from settlement.bench import portal
from settlement.bench.data import AT
from settlement.columns import day_of
from supervision import audits
from supervision.bench.plants import plant
from supervision.bench.practice import DAYS, FIRST, Practice, practice
from supervision.bench.store import BY, POOL, as_visits, register, store
from supervision.models import Finding, FindingClaim, Run
from supervision.rules import RULES, Found, Visits
from supervision.suspicions import look

SEED = 7
MOMENT = "audit"
RANKS = {"rule": "rank_mismatch", "behaviour": "substituted_item", "severity": 3, "moments": [MOMENT],
         "clause": "附件"}  # fmt: skip
WINDOW = "disease_window"


@dataclass
class Quality:
    """Of one rule: planted suspicions, how many were found; findings, right and false ones.

    A finding that touches what was planted for another rule is neither: it is counted apart.
    """

    planted: int = 0
    found: int = 0
    right: int = 0
    false: int = 0
    crossed: int = 0

    @property
    def recall(self) -> float:
        return self.found / self.planted if self.planted else 1.0

    @property
    def precision(self) -> float:
        return self.right / (self.right + self.false) if self.right + self.false else 1.0


@dataclass
class Measured:
    """A year of n claims: seconds for all rules, and the quality of each."""

    n: int
    seconds: float = 0.0
    rules: dict[str, Quality] = field(default_factory=dict)


def all_rules(rules: Mapping[str, Rules]) -> tuple[Switch, ...]:
    """Every rule with the shipped example numbers: Wenzhou's, and the one about ranks."""
    wenzhou = rules["wenzhou"]
    section = dict(wenzhou.policy.section(SECTION, {}))
    numbers = {s.rule: dict(s.numbers) for s in wenzhou.watching}
    section["rules"] = [*section["rules"], RANKS]
    switches = switched(section, Parameter(numbers))
    if {s.rule for s in switches} != set(NUMBERS):
        raise LookupError("a rule has no numbers")
    return switches


def judged(made: Practice, found: Iterable[tuple[str, Iterable[set[int]]]]) -> dict[str, Quality]:
    """The quality of findings, each given as its visits, against what was planted."""
    every = {row for ones in made.planted.values() for one in ones for row in one}
    result = {}
    for rule, ones in found:
        planted = [set(one) for one in made.planted.get(rule, ())]
        own = set().union(*planted) if planted else set()
        seen: set[int] = set()
        quality = result[rule] = Quality(planted=len(planted))
        for rows in ones:
            seen |= rows & own
            if rows & own:
                quality.right += 1
            elif rows & every:
                quality.crossed += 1
            else:
                quality.false += 1
        quality.found = sum(1 for one in planted if one & seen)
    return result


def rows_of(found: Found) -> list[set[int]]:
    """The visits of each suspicion."""
    return [
        set(found.rows[start:end].tolist())
        for start, end in zip(found.starts, found.ends(), strict=True)
    ]


def in_columns(made: Practice, visits: Visits, switches: Iterable[Switch]) -> dict[str, Quality]:
    """The quality of the rules on columns, without a database."""
    return judged(
        made, ((switch.rule, rows_of(hits)) for switch, _, hits in look(visits, switches, MOMENT))
    )


def year(n: int, *, seed: int = SEED, k: int = 20) -> tuple[Practice, np.ndarray]:
    """About n claims of a year with k plants of each violation, stored; and the claims' ids."""
    made = plant(practice(n, seed=seed), k=k, seed=seed)
    with scoped(EVERYTHING):
        register(made)
    return made, store(made)


def audited(made: Practice, ids: np.ndarray) -> Measured:
    """An audit of the stored year by all rules, as `audit_claims` does it, and its quality."""
    rules = current().rules(POOL, AT.date())
    wenzhou = current().rules("wenzhou", AT.date())
    if rules is None or wenzhou is None:
        raise LookupError("the shipped policies are not loaded")
    switches = all_rules({"wenzhou": wenzhou})
    with scoped(EVERYTHING):
        run = Run.objects.create(
            pool=POOL, region_code=audits.region_of(POOL), first_day=day_of(FIRST),
            last_day=day_of(FIRST + DAYS + 60), rules={"numbers": {}}, state=Run.State.RUNNING,
            asked_at=AT, asked_by=BY,
        )  # fmt: skip
    began = time.perf_counter()
    span = Span(run.first_day, run.last_day, rules)
    audits.judge(run, [audits.Stretch((span,), switches)], by=BY, at=AT)
    passed = time.perf_counter() - began
    row_of = {int(key): row for row, key in enumerate(ids)}
    with transaction.atomic(using="settler"):
        set_scope(EVERYTHING, using="settler")
        connections["settler"].cursor().close()
        found = {
            rule: [
                {row_of[key] for key in FindingClaim.objects.using("settler").filter(
                    finding_id=finding).values_list("claim_id", flat=True)}
                for finding in Finding.objects.using("settler").filter(run=run, rule=rule)
                .values_list("pk", flat=True)
            ]
            for rule in RULES
        }  # fmt: skip
    return Measured(made.n, passed, judged(made, found.items()))


MOST_SECONDS = 60.0  #: for a year of a million claims
MILLION = 1_000_000


def figures(n: int) -> Iterator[tuple[str, float, str, float | None, int]]:
    """(name, value, unit, floor, n): the time of an audit, recall and precision of every rule."""
    rules = current().rules("wenzhou", AT.date())
    if rules is None:
        raise LookupError("the shipped policies are not loaded")
    switches = all_rules({"wenzhou": rules})
    honest = practice(n, seed=SEED)
    clean = in_columns(honest, as_visits(honest), switches)
    made, ids = year(n)
    portal.settled_down()
    done = audited(made, ids)
    yield "audit.year_1m", done.seconds * MILLION / done.n, "s", MOST_SECONDS, done.n
    for rule, one in done.rules.items():
        yield f"rules.recall.{rule}", one.recall, "share", None, one.planted
        yield f"rules.precision.{rule}", one.precision, "share", None, one.right + one.false
        yield f"rules.crossed.{rule}", one.crossed, "findings", None, one.right + one.crossed
    false = sum(one.false for one in clean.values())
    yield "rules.false_findings", false, "findings", None, honest.n
    for rule, one in clean.items():
        yield f"rules.false_findings.{rule}", one.false, "findings", None, honest.n
