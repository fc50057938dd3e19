"""Re-settlement after a release with past validity: list, approval, reversal and new version.

One person draws the list, another approves it, workers post it person-year by person-year. What is
posted is what was approved: where the replay comes out differently meanwhile, the claims of that
person-year are left out with the reason. (claim, version) is the effect key: nothing is posted twice.
"""

import datetime as dt
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from django.db import connection, transaction
from django.db.models import Count, Q, Sum
from django.urls import reverse as address

from audit import tasks, trail
from audit.doorbell import ring
from audit.text import yuan
from institutions import news
from institutions.access import EVERYTHING, scoped
from institutions.models import Region
from institutions.refusals import Refusal, refused
from pricing import releases
from settlement import ledger
from settlement.ledger import RESULT, TOTALS
from settlement.models import Claim, Resettlement
from settlement.models import ResettlementItem as Item
from settlement.periods import posting_month
from settlement.posting import STATES
from settlement.replay import PersonYear, Replayed, law_of_days, replay

POST_TASK = "settlement.post_resettlement"
PERSON_YEARS = 500  #: drawn or posted at once
MOST_DAYS = 3 * 366
State = Resettlement.State
DIFFERING = ("fund", "account", "cash")

#: Claims that count, of days of the span, that other law decides today than the law that decided them.
AFFECTED = """SELECT c.id, s.person_id, s.year, s.scheme
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
    ORDER BY s.person_id, s.year, s.scheme, c.id"""
LOCK = """SELECT a.id FROM settlement_accumulator a
    JOIN unnest(%s::bigint[], %s::smallint[], %s::varchar[]) y (person, year, scheme)
        ON a.person_id = y.person AND a.year = y.year AND a.scheme = y.scheme
    ORDER BY a.id FOR UPDATE OF a"""


# --- Drawing the list ---


def propose(
    *, region: Region, first_day: dt.date, last_day: dt.date, reason: str, institution_code: str = "",
    by: str, at: dt.datetime,
) -> Resettlement:  # fmt: skip
    """Draw the list of a span: every claim that comes out differently, recomputed as a replay.

    Only claims of institutions inside `region` are asked for. Raises Refusal: 422 for an odd span or
    a region without law, 409 when nothing comes out differently or a list of the span is open.
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
        catalogue = releases.current()
        law = law_of_days(catalogue, made.pool, first_day, last_day)
        if not law:
            raise refused("first_day", "NO_POLICY", "该区间没有已发布的政策", "no law in the span")
        made.releases = sorted({key for _, *keys in law for key in keys if key})
        made.save(force_insert=True)
        with scoped(EVERYTHING):
            items = [item for part in _drawn(made, law) for item in part]
        if not items:
            raise Refusal(
                409, "NOTHING_DIFFERS",
                ("该区间没有结算结果发生变化的单据", "no claim comes out differently"),
            )  # fmt: skip
        _keep(made, items)
        _record("resettlement.propose", made, by=by, at=at, claims=made.claims, **made.totals)
        tasks.open_task(
            subject=_subject(made), permission="corrections.approve", at=at,
            title=f"核准重新结算清单：{made.claims} 张单据", region_code=made.region_code,
            url=address("resettlement", args=[made.pk]),
        )  # fmt: skip
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
        for claim, *key in cursor.fetchall():
            found[tuple(key)].append(claim)
    return dict(found)


def area_of(region_code: str) -> str:
    """What the codes of a region's area begin with: 320600 → 3206."""
    code = region_code
    while code.endswith("00"):
        code = code[:-2]
    return code


def _drawn(made: Resettlement, law: Sequence[tuple]) -> Iterable[list[Item]]:
    """The items of the list, some person-years at a time."""
    asked = affected(made, law)
    keys = list(asked)
    for start in range(0, len(keys), PERSON_YEARS):
        part = {key: asked[key] for key in keys[start : start + PERSON_YEARS]}
        with connection.cursor() as cursor:
            found = replay(cursor, releases.current(), part)
        if found is not None:
            made.examined += len(found.claims)
            yield items_of(made, found)


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


def _keep(made: Resettlement, items: list[Item]) -> None:
    made.claims = len(items)
    sums = {name: sum(getattr(item, name) for item in items) for name in DIFFERING}
    made.totals = sums | {
        "refund": -sum(item.cash for item in items if item.cash < 0),
        "charge": sum(item.cash for item in items if item.cash > 0),
        "institutions": len({item.institution_code for item in items}),
        "persons": len({item.person_id for item in items}),
        "consequent": sum(item.kind == Item.Kind.CONSEQUENT for item in items),
        "before": {name: sum(item.before[name] for item in items) for name in DIFFERING},
        "after": {name: sum(item.after[name] for item in items) for name in DIFFERING},
    }
    made.digest = digest_of(items)
    made.save()
    with scoped(EVERYTHING):
        Item.objects.bulk_create(items, batch_size=1_000)


def digest_of(items: Iterable[Item]) -> str:
    """SM3 of what is approved: claims, versions and amounts in the order of claims."""
    rows = [
        [item.claim_id, item.version, item.state_after, item.before, item.after]
        for item in sorted(items, key=lambda item: item.claim_id)
    ]
    return hashlib.new("sm3", json.dumps(rows, sort_keys=True).encode()).hexdigest()


# --- Decision ---


def approve(
    *, resettlement: Resettlement, note: str = "", by: str, at: dt.datetime
) -> Resettlement:
    """A second person approves the list; workers post it. Raises Refusal (409)."""
    return _decide(resettlement, State.APPROVED, note, by=by, at=at)


def refuse(*, resettlement: Resettlement, note: str, by: str, at: dt.datetime) -> Resettlement:
    """A second person does not approve the list; nothing is posted."""
    if not note.strip():
        raise refused("note", "REQUIRED", "请填写不予核准的理由", "a reason is required")
    return _decide(resettlement, State.REFUSED, note, by=by, at=at)


def withdraw(*, resettlement: Resettlement, by: str, at: dt.datetime) -> Resettlement:
    """Whoever drew the list takes it back."""
    return _decide(resettlement, State.WITHDRAWN, "", by=by, at=at)


def _decide(
    resettlement: Resettlement, target: State, note: str, *, by: str, at: dt.datetime
) -> Resettlement:
    with transaction.atomic():
        found = Resettlement.objects.select_for_update().get(pk=resettlement.pk)
        if found.state != State.DRAWN:
            detail = (f"清单{found.get_state_display()}，不能再处理", f"the list is {found.state}")
            raise Refusal(409, "RESETTLEMENT_STATE", detail)
        if (found.drawn_by == by) != (target == State.WITHDRAWN):
            raise second_person(target == State.WITHDRAWN)
        found.state, found.note, found.decided_by, found.decided_at = target, note.strip(), by, at
        found.save()
        tasks.close(subject=_subject(found), by=by, at=at)
        _record(f"resettlement.{target}", found, by=by, at=at, digest=found.digest, note=note)
        if target == State.APPROVED:
            transaction.on_commit(lambda: ring(POST_TASK, [found.pk]))
    return found


def second_person(own: bool) -> Refusal:
    """The refusal of an act by the wrong one of two persons."""
    if own:
        return Refusal(403, "OWN_ONLY", ("只有经办人本人可以撤回", "only its maker withdraws it"))
    return Refusal(
        403, "SECOND_PERSON", ("须由经办人以外的第二人核准", "a second person has to decide")
    )


# --- Posting ---


def post_all(*, resettlement_id: int, by: str, at: dt.datetime) -> int:
    """Post an approved list to its end, some person-years a transaction; how many claims."""
    posted = 0
    while (found := post_next(resettlement_id=resettlement_id, by=by, at=at)) is not None:
        posted += found
    return posted


def post_next(*, resettlement_id: int, by: str, at: dt.datetime) -> int | None:
    """Post the next person-years of a list; how many claims, None when nothing waits.

    One transaction: months, person-years in the order of their ids, replay, reversals, new versions.
    """
    with scoped(EVERYTHING):
        made = Resettlement.objects.filter(pk=resettlement_id, state=State.APPROVED).first()
        if made is None:
            return None
        waiting = Item.objects.filter(resettlement=made, state=Item.State.WAITING)
        keys = list(
            waiting.order_by("person_id", "year", "scheme")
            .values_list("person_id", "year", "scheme").distinct()[:PERSON_YEARS]
        )  # fmt: skip
        if not keys:
            _finish(made.pk, by=by, at=at)
            return None
        persons = {key[0] for key in keys}
        regions = waiting.filter(person_id__in=persons).values_list("region_code", flat=True)
        months = {code: posting_month(code, at) for code in sorted(set(regions))}
        return _post(made, keys, months, by=by, at=at)


def _post(
    made: Resettlement, keys: Sequence[PersonYear], months: dict[str, dt.date], *, by: str,
    at: dt.datetime,
) -> int:  # fmt: skip
    persons, years, schemes = (list(column) for column in zip(*keys, strict=True))
    with connection.cursor() as cursor:
        ledger.lock_persons(sorted(set(persons)))
        cursor.execute(LOCK, [persons, years, schemes])
        waiting = Item.objects.select_for_update().filter(
            resettlement=made, state=Item.State.WAITING, person_id__in=persons
        )
        listed: dict[PersonYear, list[Item]] = defaultdict(list)
        for item in waiting.order_by("claim_id"):
            listed[item.person_id, item.year, item.scheme].append(item)
        listed = {key: listed[key] for key in keys if key in listed}
        law = law_of_days(releases.current(), made.pool, made.first_day, made.last_day)
        asked = affected(made, law, persons)
        asked = {key: found for key, found in asked.items() if key in listed}
        found = replay(cursor, releases.current(), asked)
    now: dict[PersonYear, list[Item]] = defaultdict(list)
    for item in items_of(made, found) if found else ():
        now[item.person_id, item.year, item.scheme].append(item)
    posted: list[Item] = []
    for key, items in listed.items():
        if reason := _why_not(items, now[key]):
            _leave_out(items, reason)
        else:
            posted += items
    if found is not None and posted:
        _write(made, found, posted, months, by=by, at=at)
    _record_part(made, posted, listed, by=by, at=at)
    return sum(map(len, listed.values()))


def _why_not(listed: Sequence[Item], now: Sequence[Item]) -> str:
    """Why the items of a person-year cannot be posted as approved; empty when they can."""
    standing = {item.claim_id: item for item in now}
    for item in listed:
        same = standing.pop(item.claim_id, None)
        if same is None:
            return f"单据 {item.claim_no} 已被冲正、重新结算或不再受影响，须重新列单"
        if (same.version, same.before) != (item.version, item.before):
            return f"单据 {item.claim_no} 的结算版本已变化，须重新列单"
        if (same.state_after, same.after) != (item.state_after, item.after):
            return f"单据 {item.claim_no} 的重算结果与核准的不一致，须重新列单"
    if standing:
        return f"核准后该年度有 {len(standing)} 张新增受影响单据，须重新列单"
    return ""


def _leave_out(items: Sequence[Item], reason: str) -> None:
    Item.objects.filter(pk__in=[item.pk for item in items]).update(
        state=Item.State.LEFT_OUT, reason=reason[:200]
    )


def _write(
    made: Resettlement, found: Replayed, items: Sequence[Item], months: dict[str, dt.date], *,
    by: str, at: dt.datetime,
) -> None:  # fmt: skip
    """All reversals of the person-years first (accounts are refilled), then all new versions."""
    ids = {item.claim_id for item in items}
    places = [int(i) for i in np.flatnonzero(found.changed) if int(found.claims["id"][i]) in ids]
    region = {item.claim_id: item.region_code for item in items}
    rows = [
        (int(found.claims["id"][i]), int(found.claims["version"][i]),
         months[region[int(found.claims["id"][i])]])
        for i in places
    ]  # fmt: skip
    reason = f"重新结算第 {made.pk} 单：{made.reason}"[:200]
    ledger.reverse(rows, reason=reason, by=by, at=at)
    ledger.settle_again(values_of(found, places, rows) | {"reason": reason, "by": by, "at": at})
    for item in items:
        item.state, item.posted_version = Item.State.POSTED, item.version + 2
    Item.objects.bulk_update(items, ["state", "posted_version"], batch_size=1_000)


def values_of(found: Replayed, places: Sequence[int], rows: Sequence[tuple]) -> dict[str, Any]:
    """What ledger.AGAIN needs of the claims at `places`; `rows` are (claim, version, month)."""
    claims, versions, periods = (list(column) for column in zip(*rows, strict=True))
    at_claim = np.searchsorted(found.claims["id"], found.lines["claim"])
    lines = np.flatnonzero(np.isin(at_claim, places))
    legs = np.flatnonzero(np.isin(found.posted.leg_claim, places))
    which = found.which[lines]
    return {
        "claims": claims, "versions": versions, "periods": periods,
        "state": [STATES[found.posted.state[i]] for i in places],
        "example": [bool(found.posted.example[i]) for i in places],
        **{name: getattr(found.posted, name)[places].tolist() for name in TOTALS},
        "line_claim": found.lines["claim"][lines].tolist(),
        "line_no": found.lines["line_no"][lines].tolist(),
        "release": [found.rules[k].release_id for k in which],
        "parameters": [found.rules[k].parameters_id for k in which],
        **{f"result_{name}": getattr(found.results, name)[lines].tolist() for name in RESULT},
        "leg_claim": found.claims["id"][found.posted.leg_claim[legs]].tolist(),
        "leg_account": found.posted.leg_account[legs].tolist(),
        "leg_amount": found.posted.leg_amount[legs].tolist(),
    }  # fmt: skip


def _record_part(
    made: Resettlement, posted: Sequence[Item], listed: dict, *, by: str, at: dt.datetime
) -> None:
    """One event for the claims of each institution, and one for the list."""
    of: dict[tuple[str, str], list[int]] = defaultdict(list)
    for item in posted:
        of[item.region_code, item.institution_code].append(item.claim_id)
    for (region, institution), claims in sorted(of.items()):
        trail.record(
            by=by, at=at, action="resettlement.claims", subject=_subject(made), region_code=region,
            institution_code=institution, detail={"claims": claims, "digest": made.digest},
        )  # fmt: skip
    left = sum(map(len, listed.values())) - len(posted)
    _record("resettlement.part", made, by=by, at=at, posted=len(posted), left_out=left)


def _finish(pk: int, *, by: str, at: dt.datetime) -> None:
    """The list is posted: its institutions are told, each by a message and a task to take note."""
    made = Resettlement.objects.select_for_update().get(pk=pk)
    if made.state != State.APPROVED:
        return
    made.state, made.posted_at = State.POSTED, at
    made.save(update_fields=["state", "posted_at"])
    _record("resettlement.post", made, by=by, at=at)
    for row in sums_by_institution(made, state=Item.State.POSTED):
        text = (
            f"重新结算第 {made.pk} 单已入账：{row['claims']} 张单据，统筹基金"
            f"{'增加' if row['fund'] >= 0 else '减少'} {yuan(abs(row['fund']))} 元"
        )
        url = address("resettlement-claims", args=[made.pk])
        news.tell(
            permission="statements.confirm", region_code=row["region_code"], at=at, text=text,
            institution_code=row["institution_code"], url=url, subject=_subject(made),
        )  # fmt: skip
        tasks.open_task(
            subject=f"{_subject(made)}/{row['institution_code']}", permission="statements.confirm",
            at=at, title=text[:200], region_code=row["region_code"], url=url,
            institution_code=row["institution_code"],
        )  # fmt: skip


def take_note(*, resettlement_id: int, institution_code: str, by: str, at: dt.datetime) -> None:
    """An institution has taken note of a posted list: its task is done, patients are its to inform."""
    subject = f"resettlement:{resettlement_id}/{institution_code}"
    with transaction.atomic():
        if tasks.close(subject=subject, by=by, at=at):
            trail.record(
                by=by, at=at, action="resettlement.note", subject=f"resettlement:{resettlement_id}",
                institution_code=institution_code,
                detail={},
            )  # fmt: skip


def sums_by_institution(made: Resettlement, *, state: str = "") -> list[dict[str, Any]]:
    """Claims and differences per institution of a list; of a state only, if given."""
    rows = Item.objects.filter(resettlement=made)
    rows = rows.filter(state=state) if state else rows
    sums = (
        rows.values("region_code", "institution_code").annotate(
            refund=Sum("cash", filter=Q(cash__lt=0), default=0),
            charge=Sum("cash", filter=Q(cash__gt=0), default=0),
            claims=Count("pk"), fund=Sum("fund"), account=Sum("account"), cash=Sum("cash"),
        ).order_by("institution_code")
    )  # fmt: skip
    return [dict(row) for row in sums]


def sweep() -> int:
    """Ring again for approved lists that are not posted; harmless to ring twice."""
    with scoped(EVERYTHING):
        open_ones = list(
            Resettlement.objects.filter(state=State.APPROVED).values_list("pk", flat=True)
        )
    if open_ones:
        ring(POST_TASK, open_ones)
    return len(open_ones)


def _subject(made: Resettlement) -> str:
    return f"resettlement:{made.pk}"


def _record(action: str, made: Resettlement, *, by: str, at: dt.datetime, **detail: object) -> None:
    trail.record(
        by=by, at=at, action=action, subject=_subject(made), region_code=made.region_code,
        institution_code=made.institution_code, detail={"reason": made.reason, **detail},
    )  # fmt: skip
