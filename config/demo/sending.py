"""Sends the claims the way hospitals do: files by month, single claims as they happen, reversals.

Everything goes through the commands of the portal. What is already there is passed over, so that an
interrupted run goes on where it stopped.
"""

import datetime as dt
import json
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from celery import Celery, current_app

from config.demo import ACTOR, TODAY, moment
from config.demo.accounts import ACCOUNTS, client_id
from config.demo.claims import Draft, Maker
from config.demo.hospitals import HOSPITALS, Hospital
from config.demo.oddities import oddities
from institutions.access import EVERYTHING, scoped
from institutions.calendar import add_months
from institutions.models import Institution
from settlement.batch import checking
from settlement.batch import commands as batches
from settlement.batch.chunk import settle_chunk
from settlement.commands import receive, reverse
from settlement.facts import Claimant
from settlement.models import Batch, Chunk, ClaimKey, Settlement

Day = dt.date
REGION_SHARES = {"nantong": 55, "wenzhou": 37, "jilin": 8}
#: From this day on claims are sent one by one where there are not too many.
SINGLE_FROM = Day(2021, 12, 13)
SINGLE_SHARE = 100  #: at most one claim in so many is sent on its own
REVERSAL_SHARE, REVERSAL_EVERY = 600, 20
REVERSAL_REASONS = ("患者退费", "录入差错，重新申报", "处方作废", "重复提交")
#: Hospitals with a larger share of their region's claims send a file a month, others a quarter.
MONTHLY_WEIGHT = 22
#: A demonstration with fewer claims, as in tests, sends a file a year.
SMALL = 1000
PAUSED_FILE = "南通示例第一医院-补报.jsonl"


@dataclass(order=True)
class Parcel:
    """What is sent at one time: a single claim, or a file."""

    at: dt.datetime
    hospital: str
    drafts: list[Draft] = field(compare=False)
    file_name: str = field(default="", compare=False)


def drafts(maker: Maker, claims: int) -> list[Draft]:
    """`claims` claims in all: the oddities, the rest ordinary."""
    made = oddities(maker, claims)
    regions, shares = list(REGION_SHARES), list(REGION_SHARES.values())
    while len(made) < claims:
        region = maker.chance.weighted(regions, shares)
        made.append(maker.ordinary[region](maker.visit(region)))
    return made


@contextmanager
def doorbells_unplugged() -> Iterator[None]:
    """Chunks are settled here by the functions that workers call; nobody is rung for."""
    before = current_app._get_current_object()
    Celery("demonstration", broker="memory://").set_current()
    try:
        yield
    finally:
        before.set_current()


def send(maker: Maker, claims: int) -> tuple[int, int]:
    """Send everything in the order of its arrival; (files, single claims)."""
    files = singles = 0
    for parcel in sorted(parcels(drafts(maker, claims), claims)):
        institution = _institution(HOSPITALS[parcel.hospital])
        if parcel.file_name:
            upload(institution, parcel)
            files += 1
        else:
            _single(institution, parcel)
            singles += 1
    return files, singles


def parcels(made: list[Draft], claims: int) -> Iterator[Parcel]:
    """Small hospitals and the last days send single claims, everybody else a file per month."""
    files: dict[tuple[str, Day], list[Draft]] = defaultdict(list)
    left = max(claims // SINGLE_SHARE, 1)
    for draft in made:
        small = not draft.hospital.weight
        if small or (draft.day >= SINGLE_FROM and left > 0):
            left -= not small
            yield Parcel(_ended(draft) + dt.timedelta(minutes=2), draft.hospital.key, [draft])
        else:
            files[draft.hospital.key, last_month(draft, claims)].append(draft)
    for (key, month), of_month in files.items():
        name = f"{HOSPITALS[key].name}-{month:%Y年%m月}申报.jsonl"
        yield Parcel(_closing(month), key, sorted(of_month, key=_ended), name)


def last_month(draft: Draft, claims: int) -> Day:
    """The month that closes the file: the claim's own, the last of its quarter or of the year."""
    first = draft.day.replace(day=1)
    monthly = draft.hospital.weight >= MONTHLY_WEIGHT and draft.hospital.region != "jilin"
    months = 12 if claims < SMALL else 1 if monthly else 3
    return add_months(first, -first.month % months)


def _ended(draft: Draft) -> dt.datetime:
    return dt.datetime.fromisoformat(draft.body["encounter"]["ended_at"])


def _closing(month: Day) -> dt.datetime:
    """The 3rd of the next month, or this morning for the current one."""
    following = add_months(month, 1).replace(day=3)
    return moment(min(following, TODAY), 8, 30)


def _institution(hospital: Hospital) -> Institution:
    return Institution.objects.select_related("region").get(pk=hospital.code)


def sender(key: str) -> str:
    """Who sends for a hospital: its log-in when it has one, else its system."""
    named = (account.username for account in ACCOUNTS if account.place == key)
    return next(named, f"client:{client_id(key)}")


def content(made: list[Draft]) -> bytes:
    """The claims as JSON Lines."""
    return b"".join(
        json.dumps(draft.body, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        for draft in made
    )


def upload(institution: Institution, parcel: Parcel, *, settle: bool = True) -> Batch:
    """Check, confirm and load a file; settle its chunks here and now, or leave it paused."""
    by = sender(parcel.hospital)
    batch = _checked(institution, parcel, by)
    if batch.state == Batch.State.CHECKED:
        batches.confirm(batch_id=batch.pk, by=by, at=parcel.at)
        batch.state = Batch.State.LOADING
    if batch.state == Batch.State.LOADING:
        with scoped(EVERYTHING):
            batches.load(batch_id=batch.pk, by=by, at=parcel.at)
    if not settle:
        if batch.state == Batch.State.LOADING:
            batches.pause(batch_id=batch.pk, by=by, at=parcel.at)
        return batch
    waiting = Chunk.objects.using(batches.SETTLER).filter(batch=batch, state=Chunk.State.WAITING)
    for chunk in list(waiting.order_by("number").values_list("pk", flat=True)):
        settle_chunk(chunk, by=ACTOR, at=parcel.at)
    return batch


def _checked(institution: Institution, parcel: Parcel, by: str) -> Batch:
    with scoped(EVERYTHING):
        known = Batch.objects.filter(
            institution_code=institution.code, file_name=parcel.file_name
        ).first()
        if known is not None:
            return known
        batch = checking.check(
            institution=institution, file_name=parcel.file_name,
            content=content(parcel.drafts), by=by, at=parcel.at,
        )  # fmt: skip
    if batch.errors:
        raise ValueError(f"{parcel.file_name}: {batch.errors[:3]}")
    return batch


def _single(institution: Institution, parcel: Parcel) -> None:
    claim = parcel.drafts[0].body
    with scoped(EVERYTHING):
        if not ClaimKey.objects.filter(pk=(institution.code, claim["claim_no"])).exists():
            receive(
                institution=Claimant.of(institution), claim=claim, by=sender(parcel.hospital),
                at=parcel.at,
            )  # fmt: skip


def send_reversals(claims: int) -> int:
    """Take some paid claims back, the latest first; nothing when some were taken back before."""
    wanted = max(claims // REVERSAL_SHARE, 1)
    with scoped(EVERYTHING):
        if Settlement.objects.filter(version=2).exists():
            return 0
        paid = Settlement.objects.filter(
            version=1, state=Settlement.State.PAYABLE, fee__gt=0
        ).order_by("-claim_id")
        rows = list(paid[: wanted * REVERSAL_EVERY : REVERSAL_EVERY])
        by_code = {hospital.code: hospital for hospital in HOSPITALS.values()}
        for number, row in enumerate(rows):
            hospital = by_code[row.institution_code]
            reverse(
                institution=Claimant.of(_institution(hospital)), claim_id=row.claim_id,
                reason=REVERSAL_REASONS[number % len(REVERSAL_REASONS)],
                by=sender(hospital.key), at=moment(TODAY, 9, number % 60),
            )  # fmt: skip
    return len(rows)


def send_paused(maker: Maker, claims: int) -> Batch:
    """A large file of one hospital, loaded and paused: the visitor presses resume."""
    hospital = HOSPITALS["nt1"]
    made = [maker.nantong(maker.visit("nantong", hospital=hospital.key)) for _ in range(claims)]
    parcel = Parcel(moment(TODAY, 8, 50), hospital.key, made, PAUSED_FILE)
    return upload(_institution(hospital), parcel, settle=False)
