"""Re-settlement after a release with past validity: approval, reversal and new version.

One person asks for the list (settlement.resettlement_lists), another approves it, workers post it
person-year by person-year. What is
posted is what was approved: where the replay comes out differently meanwhile, the claims of that
person-year are left out with the reason. (claim, version) is the effect key: nothing is posted twice.
"""

import datetime as dt
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
from institutions.refusals import Refusal, refused
from pricing import releases
from settlement import bookings, ledger, reimbursements
from settlement.models import EnteredClaim, Resettlement
from settlement.models import ResettlementItem as Item
from settlement.periods import posting_month
from settlement.posting import RESULT, STATES, TOTALS
from settlement.replay import PersonYear, Replayed, law_of_days, replay
from settlement.resettlement_lists import (
    DRAW_TASK,
    affected,
    items_of,
    record,
    stale,
    subject_of,
)

POST_TASK = "settlement.post_resettlement"
PERSON_YEARS = 500  #: posted at once
State = Resettlement.State
LOCK = """SELECT a.id FROM settlement_accumulator a
    JOIN unnest(%s::bigint[], %s::smallint[]) y (person, year)
        ON a.person_id = y.person AND a.year = y.year
    ORDER BY a.id FOR UPDATE OF a"""


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
        may = (State.DRAWN, State.DRAWING) if target == State.WITHDRAWN else (State.DRAWN,)
        if found.state not in may:
            detail = (f"清单{found.get_state_display()}，不能再处理", f"the list is {found.state}")
            raise Refusal(409, "RESETTLEMENT_STATE", detail)
        if (found.drawn_by == by) != (target == State.WITHDRAWN):
            raise second_person(target == State.WITHDRAWN)
        found.state, found.note, found.decided_by, found.decided_at = target, note.strip(), by, at
        found.save()
        tasks.close(subject=subject_of(found), by=by, at=at)
        record(f"resettlement.{target}", found, by=by, at=at, digest=found.digest, note=note)
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
            waiting.order_by("person_id", "year")
            .values_list("person_id", "year").distinct()[:PERSON_YEARS]
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
    persons, years = (list(column) for column in zip(*keys, strict=True))
    with connection.cursor() as cursor:
        ledger.lock_persons(sorted(set(persons)))
        cursor.execute(LOCK, [persons, years])
        waiting = Item.objects.select_for_update().filter(
            resettlement=made, state=Item.State.WAITING, person_id__in=persons
        )
        listed = by_year(waiting.order_by("claim_id"))
        listed = {key: listed[key] for key in keys if key in listed}
        law = law_of_days(releases.current(), made.pool, made.first_day, made.last_day)
        asked = affected(made, law, persons)
        asked = {key: found for key, found in asked.items() if key in listed}
        found = replay(cursor, releases.current(), asked)
    now = by_year(items_of(made, found) if found else ())
    posted: list[Item] = []
    for key, items in listed.items():
        if reason := _why_not(items, now.get(key, ())):
            _leave_out(items, reason)
        else:
            posted += items
    if found is not None and posted:
        _write(made, found, posted, months, by=by, at=at)
    _record_part(made, posted, listed, by=by, at=at)
    return sum(map(len, listed.values()))


def by_year(items: Iterable[Item]) -> dict[PersonYear, list[Item]]:
    """Items by person-year, in the order given."""
    found: dict[PersonYear, list[Item]] = defaultdict(list)
    for item in items:
        found[item.person_id, item.year].append(item)
    return found


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
    reimbursements.follow(ids, by=by, at=at)


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
    of: dict[tuple[str, str], list[Item]] = defaultdict(list)
    for item in posted:
        of[item.region_code, item.institution_code].append(item)
    for (region, institution), items in sorted(of.items()):
        keys = [(item.claim_id, item.version + more) for item in items for more in (1, 2)]
        trail.record(
            by=by, at=at, action="resettlement.claims", subject=subject_of(made), region_code=region,
            institution_code=institution,
            detail={"claims": [item.claim_id for item in items], "digest": made.digest,
                    **bookings.written(keys)},
        )  # fmt: skip
    left = sum(map(len, listed.values())) - len(posted)
    record("resettlement.part", made, by=by, at=at, posted=len(posted), left_out=left)


def _finish(pk: int, *, by: str, at: dt.datetime) -> None:
    """The list is posted: its institutions are told, each by a message and a task to take note."""
    made = Resettlement.objects.select_for_update().get(pk=pk)
    if made.state != State.APPROVED:
        return
    made.state, made.posted_at = State.POSTED, at
    made.save(update_fields=["state", "posted_at"])
    record("resettlement.post", made, by=by, at=at)
    for row in sums_by_institution(made, told=True):
        text = (
            f"重新结算第 {made.pk} 单已入账：{row['claims']} 张单据，统筹基金"
            f"{'增加' if row['fund'] >= 0 else '减少'} {yuan(abs(row['fund']))} 元"
        )
        url = address("resettlement-claims", args=[made.pk])
        news.tell(
            permission="statements.confirm", region_code=row["region_code"], at=at, text=text,
            institution_code=row["institution_code"], url=url, subject=subject_of(made),
        )  # fmt: skip
        tasks.open_task(
            subject=f"{subject_of(made)}/{row['institution_code']}", permission="statements.confirm",
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


def sums_by_institution(made: Resettlement, *, told: bool = False) -> list[dict[str, Any]]:
    """Claims and differences per institution of a list; `told`: what of it was posted and is its own."""
    rows = Item.objects.filter(resettlement=made)
    if told:
        rows = rows.filter(state=Item.State.POSTED).exclude(claim_id__in=EnteredClaim.ids())
    sums = (
        rows.values("region_code", "institution_code").annotate(
            refund=Sum("cash", filter=Q(cash__lt=0), default=0),
            charge=Sum("cash", filter=Q(cash__gt=0), default=0),
            claims=Count("pk"), fund=Sum("fund"), account=Sum("account"), cash=Sum("cash"),
        ).order_by("institution_code")
    )  # fmt: skip
    return [dict(row) for row in sums]


def sweep() -> int:
    """Ring again for lists that stand still while they are drawn, and for approved ones that are not
    posted; harmless to ring twice."""
    with scoped(EVERYTHING):
        undrawn = stale()
        approved = Resettlement.objects.filter(state=State.APPROVED)
        unposted = list(approved.values_list("pk", flat=True))
    for task, lists in ((DRAW_TASK, undrawn), (POST_TASK, unposted)):
        if lists:
            ring(task, lists)
    return len(undrawn) + len(unposted)
