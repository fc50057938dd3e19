"""审计抽样: claims drawn by a stated seed, so that anybody who has the population draws the same ones.

The population is every claim in force (its last version settled, not reversed) of the days, places and
scheme chosen, in the order of claim numbers of the portal; its SM3 is kept with the sample.

- Simple random: claims stand in the order of SM3(seed ‖ LF ‖ claim); the first n are drawn.
- Monetary unit: every n-th part of the whole fee is drawn from a start that is SM3(seed ‖ LF ‖ fee ‖ LF
  ‖ n) modulo the interval; a claim larger than the interval is drawn for certain, counted by its hits.

(温医保办〔2021〕6号 二十四: 智能审核与人工重点审核)
"""

import datetime as dt
import hashlib
import heapq
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from django.db import transaction
from django.db.models import Exists, F, OuterRef, QuerySet

from audit import clock, trail
from audit.tasks import next_number
from institutions.models import Institution, User
from institutions.models.places import area_prefix
from institutions.refusals import refused
from settlement.models import Settlement
from supervision.models import Sample, SampledClaim

MOST = 1_000  #: claims of one sample
MOST_IN_FRAME = 3_000_000  #: claims that a page draws from: seconds, 48 MB
READ = 10_000  #: claims read at once
Method = Sample.Method


@dataclass(frozen=True, kw_only=True)
class Frame:
    """What is drawn from: days of service, place, institutions (none: all of it), scheme."""

    region: str
    first_day: dt.date
    last_day: dt.date
    institutions: tuple[str, ...] = ()
    scheme: str = ""


@dataclass(frozen=True)
class Drawn:
    """One claim of a sample: `hits` monetary units of it were drawn."""

    claim_id: int
    fee: int
    hits: int = 1


@dataclass(frozen=True)
class Population:
    """The claims that are drawn from, in the order of their ids: two int64 each, however many."""

    ids: np.ndarray
    fees: np.ndarray  #: fen

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        for at in range(0, len(self), READ):
            yield from zip(
                self.ids[at : at + READ].tolist(), self.fees[at : at + READ].tolist(), strict=True
            )

    @property
    def value(self) -> int:
        """The whole fee (fen) that monetary units are drawn from."""
        return int(np.maximum(self.fees, 0).sum())


# --- Drawing: pure ---


def digest(population: Population) -> str:
    """SM3 over `claim:fee` and a line feed for every claim, in order."""
    found = hashlib.new("sm3")
    for claim_id, fee in population:
        found.update(f"{claim_id}:{fee}\n".encode())
    return found.hexdigest()


def simple(population: Population, *, seed: str, size: int) -> list[Drawn]:
    """`size` claims, each as likely as any other; in the order of the population."""

    def rank(row: tuple[int, int]) -> bytes:
        return hashlib.new("sm3", f"{seed}\n{row[0]}".encode()).digest()

    return [Drawn(*row) for row in sorted(heapq.nsmallest(size, population, key=rank))]


def monetary(population: Population, *, seed: str, size: int) -> list[Drawn]:
    """The claims that hold the drawn units of the whole fee; at most `size`, larger ones likelier."""
    whole = population.value
    interval = whole // size
    start = (
        int.from_bytes(hashlib.new("sm3", f"{seed}\n{whole}\n{size}".encode()).digest()) % interval
    )
    ends = np.cumsum(np.maximum(population.fees, 0))  # a claim holds the units before its end
    units = start + interval * np.arange(size, dtype=np.int64)
    places, hits = np.unique(np.searchsorted(ends, units, side="right"), return_counts=True)
    rows = (population.ids[places], population.fees[places], hits)
    return [Drawn(*row) for row in zip(*(part.tolist() for part in rows), strict=True)]


def select(population: Population, *, method: str, seed: str, size: int) -> list[Drawn]:
    """The sample of a population."""
    draw_by = monetary if method == Method.MONETARY else simple
    return draw_by(population, seed=seed, size=size)


# --- The population ---


def population(frame: Frame, user: User) -> Population:
    """The claims in force of a frame that `user` may see; Refusal when there are more than MOST_IN_FRAME."""
    rows = _in_force(frame, user).order_by("claim_id").values_list("claim_id", "fee")
    read = itertools.islice(rows.iterator(chunk_size=READ), MOST_IN_FRAME + 1)
    found = np.fromiter(read, dtype=[("id", np.int64), ("fee", np.int64)])
    if len(found) > MOST_IN_FRAME:
        words = f"总体超过{MOST_IN_FRAME:,}笔，请缩短期间或选择医疗机构"
        raise refused("last_day", "TOO_MANY", words, "too many claims to draw from")
    return Population(found["id"], found["fee"])


def _in_force(frame: Frame, user: User) -> QuerySet[Settlement]:
    later = Settlement.objects.filter(
        claim_id=OuterRef("claim_id"), version=OuterRef("version") + 1
    )
    rows: QuerySet[Settlement] = (
        Settlement.objects.visible_to(user)
        .annotate(odd=F("version") % 2)
        .filter(
            ~Exists(later), odd=1, service_date__gte=frame.first_day,
            service_date__lte=frame.last_day, period__gte=frame.first_day.replace(day=1),
            region_code__within=area_prefix(frame.region),
        )
    )  # fmt: skip
    if frame.institutions:
        rows = rows.filter(institution_code__in=frame.institutions)
    return rows.filter(scheme=frame.scheme) if frame.scheme else rows


def frame_of(sample: Sample) -> Frame:
    """What a sample was drawn from."""
    return Frame(
        region=sample.region_code, first_day=sample.first_day, last_day=sample.last_day,
        institutions=tuple(sample.institutions), scheme=sample.scheme,
    )  # fmt: skip


# --- Commands ---


@transaction.atomic
def draw(
    *, frame: Frame, method: str, seed: str, size: int, note: str, user: User, by: str,
    at: dt.datetime,
) -> Sample:  # fmt: skip
    """Draw a sample; the seed, the digest of the population and the claims are in the event."""
    _check(frame, user)
    rows = population(frame, user)
    whole = rows.value
    if not 0 < size <= MOST:
        raise refused("size", "SIZE", f"应在1至{MOST:,}之间", "out of range")
    if len(rows) < size:
        raise refused(
            "size", "TOO_FEW", f"总体只有{len(rows):,}笔，不足应抽数", "not so many claims"
        )
    if method == Method.MONETARY and whole < size:
        raise refused(
            "method", "NO_VALUE", "总体费用不足，不能按货币单位抽样", "no value to draw by"
        )
    drawn = select(rows, method=method, seed=seed, size=size)
    day = clock.local(at).date()
    sample = Sample.objects.create(
        number=f"SJ{day:%Y%m%d}-{next_number(f'sample:{day:%Y%m%d}'):03d}", region_code=frame.region,
        institution_code=frame.institutions[0] if len(frame.institutions) == 1 else "",
        institutions=list(frame.institutions), scheme=frame.scheme, first_day=frame.first_day,
        last_day=frame.last_day, method=method, seed=seed, size=size, population=len(rows),
        value=whole, population_sm3=digest(rows), drawn_at=at, drawn_by=by, note=note,
    )  # fmt: skip
    of_drawn = _in_force(frame, user).filter(claim_id__in=[row.claim_id for row in drawn])
    places = {
        claim_id: where
        for claim_id, *where in of_drawn.values_list("claim_id", "region_code", "institution_code")
    }
    SampledClaim.objects.bulk_create(
        SampledClaim(
            sample=sample, no=no, claim_id=row.claim_id, fee=row.fee, hits=row.hits,
            region_code=places[row.claim_id][0], institution_code=places[row.claim_id][1],
        )
        for no, row in enumerate(drawn, 1)
    )  # fmt: skip
    _record(sample, "sample.draw", by, at, {
        "method": method, "seed": seed, "size": size, "population": len(rows), "value": whole,
        "population_sm3": sample.population_sm3, "first_day": frame.first_day,
        "last_day": frame.last_day, "institutions": list(frame.institutions),
        "scheme": frame.scheme, "claims": [row.claim_id for row in drawn],
    })  # fmt: skip
    return sample


def _check(frame: Frame, user: User) -> None:
    if frame.last_day < frame.first_day:
        raise refused("last_day", "SPAN", "不得早于起始日期", "ends before it begins")
    scope = user.scope_codes()
    if not scope.everything and not any(frame.region.startswith(part) for part in scope.regions):
        raise refused("region", "SCOPE", "不在管辖范围内", "outside your scope", status=403)
    seen = set(
        Institution.objects.visible_to(user).filter(pk__in=frame.institutions)
        .values_list("pk", flat=True)
    )  # fmt: skip
    if seen != set(frame.institutions):
        raise refused("institutions", "SCOPE", "没有此医疗机构", "no such institution")


@dataclass(frozen=True)
class Redrawn:
    """A sample drawn once more: whether population and claims are those of then."""

    same_population: bool
    same_claims: bool
    population: int


def redraw(*, sample: Sample, user: User, by: str, at: dt.datetime) -> Redrawn:
    """Draw again by the stated seed and compare; recorded, nothing changes."""
    rows = population(frame_of(sample), user)
    same = digest(rows) == sample.population_sm3
    enough = len(rows) >= sample.size and (
        sample.method != Method.MONETARY or rows.value >= sample.size
    )
    drawn = select(rows, method=sample.method, seed=sample.seed, size=sample.size) if enough else []
    kept = sample.claims.values_list("claim_id", "hits")
    result = Redrawn(same, [(row.claim_id, row.hits) for row in drawn] == list(kept), len(rows))
    _record(sample, "sample.redraw", by, at, {
        "same_population": same, "same_claims": result.same_claims, "population": len(rows),
    })  # fmt: skip
    return result


@transaction.atomic
def judge(*, sampled_id: int, verdict: str, remark: str, by: str, at: dt.datetime) -> SampledClaim:
    """Note what was found in a drawn claim; the last word counts, every word is an event."""
    row = (
        SampledClaim.objects.select_for_update(of=("self",))
        .select_related("sample")
        .get(pk=sampled_id)
    )
    if verdict not in (SampledClaim.Verdict.CLEAN, SampledClaim.Verdict.DOUBT):
        raise refused("verdict", "VERDICT", "请选择核查结论", "choose a verdict")
    if verdict == SampledClaim.Verdict.DOUBT and not remark.strip():
        raise refused("remark", "REQUIRED", "存在疑问的，请写明问题", "say what is doubtful")
    row.verdict, row.remark, row.judged_at, row.judged_by = verdict, remark.strip(), at, by
    row.save(update_fields=["verdict", "remark", "judged_at", "judged_by"])
    _record(row.sample, "sample.judge", by, at, {
        "claim": row.claim_id, "verdict": verdict, "remark": row.remark,
    })  # fmt: skip
    return row


def _record(sample: Sample, action: str, by: str, at: dt.datetime, detail: dict) -> None:
    trail.record(
        by=by, at=at, action=action, subject=sample.subject, region_code=sample.region_code,
        institution_code=sample.institution_code, detail={"number": sample.number, **detail},
    )  # fmt: skip
