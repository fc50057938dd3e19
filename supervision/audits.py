"""Auditing a period (事后审核): all rules over its columns, new suspicions stored once; replays.

A run is asked for (by the night, a person or the command line) and done by a worker; the row says how
far it is. A replay uses other numbers and stores nothing but what would be found and what would not be
any more. (温医保办〔2021〕6号 二十四；PV 二（五）)
"""

import datetime as dt
import time
from calendar import monthrange
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.conf import settings
from django.db import connections, transaction
from django.db.models import Q

from audit import clock, trail
from audit.doorbell import ring
from institutions.access import EVERYTHING, scoped, set_scope
from institutions.models import Institution, Region
from institutions.refusals import refused
from pricing.releases import Span, current
from pricing.watching import NUMBERS, Switch
from settlement.models import Claim
from supervision.load import Period, load
from supervision.models import Finding, Run
from supervision.rules import RULES
from supervision.suspicions import Cited, Looked, Names, Suspicion, look, store, suspicions

TASK = "supervision.audit"
MOMENT = "audit"
SETTLER = "settler"
LONGEST = 366  #: days of one run
SILENT = dt.timedelta(minutes=45)  #: a run whose worker said nothing for so long has no worker
ATTEMPTS = 3  #: then a run that kills its workers is given up
FAULT = 400
OVERLAP = dt.timedelta(days=1)  #: claims that were being loaded while the night before asked
DECIDED = (Finding.State.CONFIRMED, Finding.State.REFUTED)


def ask(
    *, pool: str, first: dt.date, last: dt.date, by: str, at: dt.datetime, trial: bool = False,
    numbers: Mapping[str, Mapping[str, int]] | None = None, wake: bool = True,
) -> Run:  # fmt: skip
    """Ask for an audit of service days, or (`trial`) for a replay with other numbers. Refusal 422, 409.

    Without `wake` the caller does the run at once.
    """
    if not first <= last <= clock.local(at).date():
        raise refused("last", "PERIOD", "审核期间的止日不得早于起日、晚于今天", "not a period")
    if (last - first).days >= LONGEST:
        raise refused("last", "PERIOD_LONG", f"一次最多审核 {LONGEST} 天", "too long a period")
    if not stretches(pool, first, last):
        raise refused("pool", "NO_RULES", "该统筹区没有启用审核规则", "no rule is on", status=409)
    _known_numbers(numbers or {})
    with transaction.atomic():
        run = Run.objects.create(
            pool=pool, region_code=region_of(pool), first_day=first, last_day=last, trial=trial,
            rules={"numbers": {k: dict(v) for k, v in (numbers or {}).items()}},
            asked_at=at, asked_by=by,
        )  # fmt: skip
        trail.record(
            by=by, at=at, action="run.replay" if trial else "run.ask", subject=f"run:{run.pk}",
            region_code=run.region_code,
            detail={"pool": pool, "first": first, "last": last, "numbers": run.rules["numbers"]},
        )  # fmt: skip
        if wake:
            transaction.on_commit(lambda: ring(TASK, [run.pk]))
    return run


def _known_numbers(numbers: Mapping[str, Mapping[str, int]]) -> None:
    for rule, given in numbers.items():
        if rule not in NUMBERS or set(given) - set(NUMBERS[rule]):
            raise refused("numbers", "NUMBER_UNKNOWN", f"规则 {rule} 没有这样的参数", "unknown")


def region_of(pool: str) -> str:
    """The highest region of a pool: whose people see its runs."""
    codes = (
        Region.objects.filter(policy_region=pool).order_by("code").values_list("code", flat=True)
    )
    return next(iter(codes), "")


@dataclass(frozen=True)
class Stretch:
    """Days of a period that the same rules with the same numbers judge; in `spans` their law."""

    spans: tuple[Span, ...]
    switches: tuple[Switch, ...]

    @property
    def first(self) -> dt.date:
        return self.spans[0].first

    @property
    def last(self) -> dt.date:
        return self.spans[-1].last

    def goes_on(self, span: Span) -> bool:
        """Whether the days of a span follow without a gap, under the same rules of the same document."""
        law = self.spans[-1].rules
        return (self.last + dt.timedelta(days=1), self.switches, law.policy.document) == (
            span.first, span.rules.watching, span.rules.policy.document
        )  # fmt: skip

    def told(self) -> dict[str, Any]:
        """As a run keeps it: days, releases and the numbers that were used."""
        rules, used = self.spans[-1].rules, [s for s in self.switches if s.speaks(MOMENT)]
        return {
            "first": self.first.isoformat(), "last": self.last.isoformat(),
            "release": rules.release_id, "parameters": rules.parameters_id,
            "used": {s.rule: dict(s.numbers) for s in used}, "example": any(s.example for s in used),
        }  # fmt: skip


def stretches(pool: str, first: dt.date, last: dt.date) -> list[Stretch]:
    """A period cut where other rules or numbers begin to hold: each day is judged by its own law."""
    found: list[Stretch] = []
    for span in current().spans(pool, first, last, examples=settings.EXAMPLE_PARAMETERS):
        before = found[-1] if found else None
        if before is not None and before.goes_on(span):
            found[-1] = replace(before, spans=(*before.spans, span))
        elif span.rules.watching:
            found.append(Stretch((span,), span.rules.watching))
    return found


def execute(*, run_id: int, by: str, at: dt.datetime) -> Run | None:
    """Do a run that waits or whose worker died; None when it is done, in other hands or unknown."""
    with scoped(EVERYTHING):
        rows = Run.objects.select_for_update(skip_locked=True).filter(waits(at), pk=run_id)
        run = rows.first()
        if run is None:
            return None
        if run.attempts >= ATTEMPTS:
            _move(run, state=Run.State.FAILED, finished_at=at, fault=f"{ATTEMPTS}次办理均中断")
            return run
        _move(run, state=Run.State.RUNNING, started_at=at, alive_at=at, attempts=run.attempts + 1)
    ends = _Ends(at)
    try:
        parts = stretches(run.pool, run.first_day, run.last_day)
        if not parts:
            raise LookupError("no document of the region is published any more")
        parts = [replace(p, switches=_with(p.switches, run.rules["numbers"])) for p in parts]
        judge(run, parts, by=by, at=at, ends=ends)
    except Exception as error:
        with scoped(EVERYTHING):
            _move(run, state=Run.State.FAILED, fault=f"{type(error).__name__}: {error}"[:FAULT],
                  finished_at=ends.now())  # fmt: skip
        raise
    return run


def waits(at: dt.datetime) -> Q:
    """Runs for a worker: waiting, or running without a sign of life."""
    silent = Q(alive_at__lt=at - SILENT) | Q(alive_at=None, started_at__lt=at - SILENT)
    return Q(state=Run.State.WAITING) | (Q(state=Run.State.RUNNING) & silent)


class _Ends:
    """When a run that began at a moment ends: so much later as the machine took for it."""

    def __init__(self, at: dt.datetime) -> None:
        self.at, self.began = at, time.monotonic()

    def now(self) -> dt.datetime:
        """The moment of the run's own time."""
        return self.at + dt.timedelta(seconds=time.monotonic() - self.began)


def _move(run: Run, **fields: Any) -> None:
    for name, value in fields.items():
        setattr(run, name, value)
    run.save(update_fields=list(fields))


def judge(
    run: Run, parts: Sequence[Stretch], *, by: str, at: dt.datetime, ends: "_Ends | None" = None
) -> None:
    """Read each stretch of a run, look with each rule, store what is new; the row says how far it is."""
    ends = ends or _Ends(at)
    told = [part.told() for part in parts]
    _scoped_move(run, claims=0, rules=run.rules | {"stretches": told}, alive_at=ends.now())
    found: dict[str, dict[str, int]] = {}
    for part in parts:
        period = read(run.pool, part)
        _scoped_move(run, claims=run.claims + period.claims, alive_at=ends.now())
        cited = Cited(part.spans[-1].rules.policy)
        for switch, rule, hits in look(period.visits, part.switches, MOMENT):
            names = _all_names(period, hits.rows)
            ones = list(suspicions(period.visits, switch, rule, hits, names))
            counts = (
                _compared(run, part, switch, ones)
                if run.trial
                else _stored(run, ones, Looked(cited, MOMENT, by, at, run.pk, SETTLER))
            )
            sums = Counter(found.get(switch.rule, {}))
            sums.update(counts)
            found[switch.rule] = dict(sums)
            _scoped_move(run, found=found, alive_at=ends.now())
    _scoped_move(run, state=Run.State.DONE, finished_at=ends.now())
    with scoped(EVERYTHING):
        trail.record(
            by=by, at=at, action="run.done", subject=f"run:{run.pk}", region_code=run.region_code,
            detail={"claims": run.claims, "found": found, "trial": run.trial},
        )  # fmt: skip


def _scoped_move(run: Run, **fields: Any) -> None:
    with scoped(EVERYTHING):
        _move(run, **fields)


def _with(
    switches: tuple[Switch, ...], numbers: Mapping[str, Mapping[str, int]]
) -> tuple[Switch, ...]:
    return tuple(
        replace(s, numbers={**s.numbers, **numbers[s.rule]}) if s.rule in numbers else s
        for s in switches
    )


def read(pool: str, part: Stretch) -> Period:
    """The columns of a stretch with as many days before it as its rules look back."""
    speaking = [s for s in part.switches if s.speaks(MOMENT)]
    back = max((RULES[s.rule].lookback(s.numbers) for s in speaking), default=0)
    with transaction.atomic(using=SETTLER):
        set_scope(EVERYTHING, using=SETTLER)
        with connections[SETTLER].cursor() as cursor:
            return load(cursor, pool, part.first, part.last, back=back, spans=part.spans)


PHYSICIANS = """SELECT DISTINCT hashtextextended(code, 0), code FROM (
    SELECT document #>> '{physician,code}' AS code FROM settlement_claim WHERE id = ANY (%s)) c
WHERE code IS NOT NULL"""


def _all_names(period: Period, rows: Any) -> Names:
    """The names with those of physicians whom no register knows, read from their claims."""
    known = period.names
    visits = period.visits
    ids = {
        int(n): int(i)
        for n, i in zip(visits["physician"][rows], visits["id"][rows], strict=True)
        if n and int(n) not in known.physicians
    }
    if not ids:
        return known
    with transaction.atomic(using=SETTLER):
        set_scope(EVERYTHING, using=SETTLER)
        with connections[SETTLER].cursor() as cursor:
            cursor.execute(PHYSICIANS, [list(ids.values())])
            return Names(known.places, {**known.physicians, **dict(cursor.fetchall())})


def _stored(run: Run, ones: list[Suspicion], look: Looked) -> dict[str, int]:
    """How many were found, and how many of them this run was the first to find, by whichever worker."""
    keys = {one.key for one in ones}
    with transaction.atomic(using=SETTLER):
        set_scope(EVERYTHING, using=SETTLER)
        new = len(store(ones, look))
        if run.attempts > 1:
            new = Finding.objects.using(SETTLER).filter(run_id=run.pk, key__in=keys).count()
    return {"found": len(keys), "new": new}


def _compared(run: Run, part: Stretch, switch: Switch, ones: list[Suspicion]) -> dict[str, int]:
    """What a replay would find: how many, new, vanished; what was decided of the kept and the gone."""
    keys = {one.key for one in ones}
    with scoped(EVERYTHING):
        known = {
            bytes(key): state for key, state in Finding.objects.filter(
                rule=switch.rule, region_code__within=run.region_code.rstrip("0") or "0",
                last_day__gte=part.first, last_day__lte=part.last,
            ).exclude(moment=Finding.Moment.MANUAL).order_by("sequence").values_list("key", "state")
        }  # fmt: skip
    counts = {"found": len(keys), "new": len(keys - known.keys()), "gone": len(known.keys() - keys)}
    for key, state in known.items():
        if state in DECIDED:
            name = f"{'kept' if key in keys else 'gone'}_{state}"
            counts[name] = counts.get(name, 0) + 1
    return counts


def nightly(*, by: str, at: dt.datetime) -> list[Run]:
    """Ask for the audit of this month and the last, in every region with rules: batches come late.

    Older months are audited again when claims of them came in since the night before.
    """
    today = clock.local(at).date()
    first = _month_before(today)
    made = []
    for pool in current().regions():
        if not region_of(pool):
            continue
        with scoped(EVERYTHING):
            for since, until in [*_late(pool, first, by=by, at=at), (first, today)]:
                if stretches(pool, since, until):
                    made.append(ask(pool=pool, first=since, last=until, by=by, at=at))
    return made


def _month_before(day: dt.date) -> dt.date:
    return (day.replace(day=1) - dt.timedelta(days=1)).replace(day=1)


def _late(pool: str, before: dt.date, *, by: str, at: dt.datetime) -> list[tuple[dt.date, dt.date]]:
    """Months of service before a day of which claims came in since the last night, neighbours as one."""
    asked = Run.objects.filter(pool=pool, asked_by=by, trial=False, asked_at__lt=at)
    last = asked.order_by("-asked_at").values_list("asked_at", flat=True).first()
    since = (last or at) - OVERLAP
    rows = Claim.objects.filter(
        period__gte=clock.local(since).date().replace(day=1), received_at__gte=since,
        received_at__lt=at, service_date__lt=before,
        institution_code__in=Institution.objects.filter(region__policy_region=pool).values("pk"),
    )  # fmt: skip
    found: list[tuple[dt.date, dt.date]] = []
    for month in rows.order_by().dates("service_date", "month"):
        last_day = month.replace(day=monthrange(month.year, month.month)[1])
        joins = found and (last_day - found[-1][0]).days < LONGEST
        if joins and found[-1][1] + dt.timedelta(days=1) == month:
            found[-1] = (found[-1][0], last_day)
        else:
            found.append((month, last_day))
    return found


def sweep(*, at: dt.datetime) -> int:
    """Ring again for runs that wait or lost their worker: a lost message loses nothing."""
    with scoped(EVERYTHING):
        waiting = list(Run.objects.filter(waits(at)).values_list("pk", flat=True)[:20])
    ring(TASK, waiting)
    return len(waiting)
