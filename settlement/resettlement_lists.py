"""The list of a re-settlement: asked for in a request, drawn by workers, a part at a time.

Every claim of the span that other law decides today is recomputed as a replay, some person-years a
transaction; those that come out differently are the list. A lost message or a dead worker loses
nothing: `drawn_to` says how far it is, and of two workers the second finds it moved and stops.
"""

import datetime as dt
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from django.db import connection, transaction
from django.db.models import BigIntegerField, Count, Q, QuerySet, Sum
from django.db.models.fields.json import KT
from django.db.models.functions import Cast, Now
from django.urls import reverse as address

from audit import tasks, trail
from audit.doorbell import ring
from institutions import news
from institutions.access import EVERYTHING, scoped
from institutions.models import Region
from institutions.refusals import Refusal, refused
from pricing import releases
from settlement.models import Claim, Resettlement
from settlement.models import ResettlementItem as Item
from settlement.replay import PersonYear, Replayed, law_of_days, replay

DRAW_TASK = "settlement.draw_resettlement"
PERSON_YEARS = 500  #: recomputed at once
MOST_DAYS = 3 * 366
STALE = dt.timedelta(minutes=2)  #: a list under way in which nothing moves is rung for again
State = Resettlement.State
DIFFERING = ("fund", "account", "cash")

#: Claims that count, of days of the span, that other law decides today than the law that decided them.
AFFECTED = """SELECT c.id, s.person_id, s.year
    FROM settlement_claim c
    JOIN unnest(%(days)s::date[], %(releases)s::integer[], %(parameters)s::integer[])
        law (day, release, parameters) ON law.day = c.service_date
    JOIN institutions_region r ON r.code = c.region_code AND r.policy_region = %(pool)s
    JOIN LATERAL (SELECT * FROM settlement_settlement
        WHERE claim_id = c.id ORDER BY version DESC LIMIT 1) s ON s.version %% 2 = 1
    JOIN LATERAL (SELECT release_id, parameters_id FROM settlement_lineresult
        WHERE claim_id = c.id AND version = s.version LIMIT 1) l ON true
    WHERE c.period >= %(since)s AND starts_with(c.region_code, %(area)s)
        AND (%(institution)s = '' OR c.institution_code = %(institution)s)
        AND (%(persons)s::bigint[] IS NULL OR c.person_id = ANY (%(persons)s))
        AND (l.release_id, l.parameters_id) IS DISTINCT FROM (law.release, law.parameters)
    ORDER BY s.person_id, s.year, c.id"""


# --- Asking for it ---


def propose(
    *, region: Region, first_day: dt.date, last_day: dt.date, reason: str, institution_code: str = "",
    by: str, at: dt.datetime,
) -> Resettlement:  # fmt: skip
    """Ask for the list of a span; workers draw it.

    Only claims of institutions inside `region` are asked for. Raises Refusal: 422 for an odd span or
    a region without law, 409 when a list of the span is open.
    """
    if last_day < first_day or (last_day - first_day).days > MOST_DAYS:
        raise refused("last_day", "SPAN", "服务日区间应从先到后，至多三年", "an odd span of days")
    if not reason.strip():
        raise refused("reason", "REQUIRED", "请填写事由", "a reason is required")
    with transaction.atomic():
        _refuse_open(region, first_day, last_day)
        made = Resettlement(
            pool=region.policy_region, region_code=region.code, institution_code=institution_code,
            first_day=first_day, last_day=last_day, reason=reason.strip(), drawn_by=by, drawn_at=at,
        )  # fmt: skip
        law = law_of_days(releases.current(), made.pool, first_day, last_day)
        if not law:
            raise refused("first_day", "NO_POLICY", "该区间没有已发布的政策", "no law in the span")
        made.releases = sorted({key for _, *keys in law for key in keys if key})
        made.save(force_insert=True)
        record("resettlement.propose", made, by=by, at=at)
        transaction.on_commit(lambda: ring(DRAW_TASK, [made.pk]))
    return made


def _refuse_open(region: Region, first: dt.date, last: dt.date) -> None:
    """One open list for a day of a pooling region: two would each count on what stands."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashtext('resettlement'), hashtext(%s))",
            [region.policy_region],
        )
    other = Resettlement.objects.filter(
        pool=region.policy_region, state__in=Resettlement.OPEN, first_day__lte=last,
        last_day__gte=first,
    ).first()  # fmt: skip
    if other is not None:
        detail = (f"第 {other.pk} 单尚未办结，服务日与其重叠", f"list {other.pk} is still open")
        raise Refusal(409, "RESETTLEMENT_OPEN", detail)


# --- Drawing it ---


def draw_all(*, resettlement_id: int, by: str, at: dt.datetime) -> int:
    """Draw a list to its end, some person-years a transaction; how many of them this call did.

    A list that is drawn, withdrawn, unknown or in other hands is passed over.
    """
    with scoped(EVERYTHING):
        made = Resettlement.objects.filter(pk=resettlement_id, state=State.DRAWING).first()
        if made is None:
            return 0
        law = law_of_days(releases.current(), made.pool, made.first_day, made.last_day)
        asked = affected(made, law)
        keys = [key for key in asked if list(key) > made.drawn_to]
        if not _still_ours(made):
            return 0
        made.person_years = made.recomputed + len(keys)
        _moved(made, "person_years")
    for start in range(0, len(keys), PERSON_YEARS):
        part = {key: asked[key] for key in keys[start : start + PERSON_YEARS]}
        if not _draw(made, part):
            return start
    _end(made, by=by, at=at)
    return len(keys)


def _draw(made: Resettlement, part: dict[PersonYear, list[int]]) -> bool:
    """Recompute some person-years and keep what differs; False where the list has moved elsewhere."""
    with scoped(EVERYTHING):
        if not _still_ours(made):
            return False
        with connection.cursor() as cursor:
            found = replay(cursor, releases.current(), part)
        items = items_of(made, found) if found is not None else []
        Item.objects.bulk_create(items, batch_size=1_000)
        made.claims += len(items)
        made.examined += len(found.claims) if found is not None else 0
        made.recomputed += len(part)
        made.drawn_to = list(max(part))
        _moved(made, "claims", "examined", "recomputed", "drawn_to")
    return True


def _still_ours(made: Resettlement) -> bool:
    """Lock the list; whether it is being drawn and stands where this worker left it."""
    rows = Resettlement.objects.select_for_update(skip_locked=True)
    return rows.filter(pk=made.pk, state=State.DRAWING, drawn_to=made.drawn_to).exists()


def _moved(made: Resettlement, *names: str) -> None:
    values: dict[str, Any] = {name: getattr(made, name) for name in names}
    Resettlement.objects.filter(pk=made.pk).update(**values, moved_at=Now())


def _end(made: Resettlement, *, by: str, at: dt.datetime) -> None:
    """The list is whole: it waits for a second person, or nothing comes out differently."""
    with scoped(EVERYTHING):
        if not _still_ours(made):
            return
        items = Item.objects.filter(resettlement=made)
        made.state = State.DRAWN if made.claims else State.NOTHING
        made.totals, made.digest = totals_of(made), digest_of(items) if made.claims else ""
        _moved(made, "state", "totals", "digest")
        if not made.claims:
            record("resettlement.nothing", made, by=by, at=at, examined=made.examined)
            news.tell(
                permission="corrections.propose", region_code=made.region_code,
                institution_code="", at=at,
                text=f"{made}：没有结算结果发生变化的单据", subject=subject_of(made),
                url=address("resettlement", args=[made.pk]),
            )  # fmt: skip
            return
        record("resettlement.draw", made, by=by, at=at, claims=made.claims, **made.totals)
        tasks.open_task(
            subject=subject_of(made), permission="corrections.approve", at=at,
            title=f"核准重新结算清单：{made.claims} 张单据", region_code=made.region_code,
            url=address("resettlement", args=[made.pk]),
        )  # fmt: skip


def affected(
    made: Resettlement, law: Sequence[tuple], persons: Iterable[int] | None = None
) -> dict[PersonYear, list[int]]:
    """The claims of the list's span that other law decides today, by person-year."""
    days, release_ids, parameters = (list(column) for column in zip(*law, strict=True))
    found: dict[PersonYear, list[int]] = defaultdict(list)
    with connection.cursor() as cursor:
        cursor.execute(AFFECTED, {
            "days": days, "releases": release_ids, "parameters": parameters, "pool": made.pool,
            "since": made.first_day.replace(day=1), "area": area_of(made.region_code),
            "institution": made.institution_code,
            "persons": None if persons is None else sorted(set(persons)),
        })  # fmt: skip
        for claim, person, year in cursor.fetchall():
            found[person, year].append(claim)
    return dict(found)


def area_of(region_code: str) -> str:
    """What the codes of a region's area begin with: 320600 → 3206."""
    code = region_code
    while code.endswith("00"):
        code = code[:-2]
    return code


def items_of(made: Resettlement, found: Replayed) -> list[Item]:
    """Items for the claims of a replay that come out differently (unsaved)."""
    places = np.flatnonzero(found.changed)
    claims = Claim.objects.in_bulk([int(found.claims["id"][i]) for i in places])
    return [_item(made, found, int(i), claims[int(found.claims["id"][i])]) for i in places]


def _item(made: Resettlement, found: Replayed, i: int, claim: Claim) -> Item:
    before, after = found.before(i), found.after(i)
    state_before, state_after = found.states(i)
    row = found.claims[i]
    return Item(
        resettlement=made, claim_id=claim.pk, claim_no=claim.claim_no, version=int(row["version"]),
        region_code=claim.region_code, institution_code=claim.institution_code,
        person_id=claim.person_id, year=int(row["year"]), scheme=found.scheme(i),
        service_date=claim.service_date,
        kind=Item.Kind.DIRECT if found.direct[i] else Item.Kind.CONSEQUENT,
        state_before=state_before, state_after=state_after, before=before, after=after,
        **{name: after[name] - before[name] for name in DIFFERING},
    )  # fmt: skip


def totals_of(made: Resettlement) -> dict[str, Any]:
    """Sums of a list's differences (fen), its claims, persons and institutions."""
    rows = Item.objects.filter(resettlement=made)
    stood = rows.aggregate(
        **{f"stood_{name}": Sum(Cast(KT(f"before__{name}"), BigIntegerField()), default=0)
           for name in DIFFERING}
    )  # fmt: skip
    before = {name: int(stood[f"stood_{name}"]) for name in DIFFERING}
    sums = rows.aggregate(
        refund=Sum("cash", filter=Q(cash__lt=0), default=0),
        charge=Sum("cash", filter=Q(cash__gt=0), default=0),
        institutions=Count("institution_code", distinct=True),
        persons=Count("person_id", distinct=True),
        consequent=Count("pk", filter=Q(kind=Item.Kind.CONSEQUENT)),
        **{f"more_{name}": Sum(name, default=0) for name in DIFFERING},
    )
    totals: dict[str, Any] = {name.removeprefix("more_"): int(n) for name, n in sums.items()}
    totals["refund"] = -totals["refund"]
    after = {name: before[name] + totals[name] for name in DIFFERING}
    return totals | {"before": before, "after": after}


def digest_of(items: QuerySet[Item]) -> str:
    """SM3 of what is approved: claims, versions and amounts in the order of claims, as a JSON array."""
    names = ("claim_id", "version", "state_after", "before", "after")
    digest = hashlib.new("sm3")
    for number, row in enumerate(items.order_by("claim_id").values_list(*names).iterator()):
        digest.update(b", " if number else b"[")
        digest.update(json.dumps(row, sort_keys=True).encode())
    digest.update(b"]")
    return digest.hexdigest()


def stale() -> list[int]:
    """Lists that are being drawn and in which nothing moves, by the database's clock."""
    rows = Resettlement.objects.filter(state=State.DRAWING)
    return list(
        rows.filter(Q(moved_at=None) | Q(moved_at__lt=Now() - STALE)).values_list("pk", flat=True)
    )


def subject_of(made: Resettlement) -> str:
    """What the trail calls a list."""
    return f"resettlement:{made.pk}"


def record(action: str, made: Resettlement, *, by: str, at: dt.datetime, **detail: object) -> None:
    """The event of an act on a list."""
    trail.record(
        by=by, at=at, action=action, subject=subject_of(made), region_code=made.region_code,
        institution_code=made.institution_code, detail={"reason": made.reason, **detail},
    )  # fmt: skip
