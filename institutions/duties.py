"""Who does a task: taken, given back, assigned by an overseer, done for an absent colleague.

An assignment says who works on a task; who may take a step is still decided by permission and scope.
"""

import datetime as dt
from collections.abc import Collection, Sequence

from django.db import transaction
from django.db.models import Q, QuerySet
from django.urls import reverse

from audit import clock, trail
from audit.models import Task
from institutions import inbox, news
from institutions.holidays import areas_above
from institutions.models import Delegation, User
from institutions.refusals import Refusal

LONGEST_DELEGATION = dt.timedelta(days=366)


@transaction.atomic
def take(*, keys: Collection[int], who: User, by: str, at: dt.datetime) -> int:
    """Take tasks that nobody has (or an absent colleague, whose taker I am); how many."""
    mine = _mine(who, at)
    tasks = _locked(keys, who, office=False)
    for task in tasks:
        if task.assignee and task.assignee not in mine and not who.may(inbox.OVERSEE):
            text = f"“{task.title}”已由{task.assignee}领取，不能重复领取"
            raise Refusal(409, "TASK_TAKEN", (text, "somebody else has the task"))
    return _give([task for task in tasks if task.assignee != by], by, "take", by=by, at=at)


@transaction.atomic
def give_back(*, keys: Collection[int], who: User, by: str, at: dt.datetime) -> int:
    """Give own tasks back to the pool; an overseer may do it for others."""
    mine = _mine(who, at)
    tasks = _locked(keys, who)
    for task in tasks:
        if not task.assignee:
            text = f"“{task.title}”尚未有人领取，无须退回"
            raise Refusal(409, "TASK_FREE", (text, "nobody has the task"))
        if task.assignee not in mine and not who.may(inbox.OVERSEE):
            text = f"“{task.title}”由{task.assignee}经办，只能由本人或督办人员退回"
            raise Refusal(403, "TASK_NOT_YOURS", (text, "the task is somebody else's"))
    return _give(tasks, "", "return", by=by, at=at)


@transaction.atomic
def assign(*, keys: Collection[int], to: User, who: User, by: str, at: dt.datetime) -> int:
    """Give tasks to a colleague who may do each of them; only for overseers."""
    if not who.may(inbox.OVERSEE):
        raise Refusal(403, "ASSIGN_NOT_PERMITTED", ("您的角色不能分派待办", "not permitted"))
    tasks = _locked(keys, who)
    for task in tasks:
        if not candidates([task]).filter(pk=to.pk).exists():
            text = f"{to}没有“{task.title}”所需的权限或不在其辖区内，不能分派"
            raise Refusal(422, "ASSIGNEE_UNFIT", (text, "that person may not do the task"))
    done = _give(tasks, to.username, "assign", by=by, at=at)
    if done and to.username != by:
        text = f"{who}将“{tasks[0].title}”" + (f"等{done}项" if done > 1 else "") + "分派给您"
        url = inbox.address(tasks[0]) if done == 1 else f"{reverse('inbox')}?holder=me"
        news.tell_people(people=[to], text=text, url=url, subject=tasks[0].subject, at=at)
    return done


def candidates(tasks: Sequence[Task]) -> QuerySet[User]:
    """Who may do all of these tasks: by permission and scope."""
    people = User.objects.filter(is_active=True)
    for permission, region, institution in {
        (task.permission, task.region_code, task.institution_code) for task in tasks
    }:
        inside = Q(region__in=areas_above(region)) if region else Q(region__isnull=False)
        if institution:
            inside |= Q(institution=institution)
        people = people.filter(inside, role__in=news.roles_with(permission))
    return people.select_related("region", "institution").order_by("region", "username")


@transaction.atomic
def delegate(
    *, giver: User, taker: User, valid_from: dt.date, valid_until: dt.date, reason: str,
    who: User, by: str, at: dt.datetime, on: dt.date,
) -> Delegation:  # fmt: skip
    """While the giver is away the taker does the giver's tasks: same role and office only."""
    _delegable(giver, taker, who)
    _dates(valid_from, valid_until, on)
    User.objects.select_for_update().get(pk=giver.pk)
    overlapping = Delegation.objects.filter(
        giver=giver, ended_at=None, valid_from__lte=valid_until, valid_until__gte=valid_from
    )
    if found := overlapping.select_related("taker").first():
        text = f"{found.valid_from}至{found.valid_until}已委托{found.taker}，请先结束原委托"
        raise Refusal(409, "DELEGATION_OVERLAPS", (text, "there is a delegation for these days"))
    row = Delegation.objects.create(
        giver=giver, taker=taker, valid_from=valid_from, valid_until=valid_until,
        reason=reason.strip(), recorded_at=at, recorded_by=by,
    )  # fmt: skip
    _record(row, "give", by=by, at=at)
    text = f"{giver}将{valid_from}至{valid_until}的待办委托给您办理"
    url = reverse("delegations")
    news.tell_people(people=[taker], text=text, url=url, subject=f"delegation:{row.pk}", at=at)
    return row


@transaction.atomic
def end_delegation(*, delegation: Delegation, who: User, by: str, at: dt.datetime) -> None:
    """The giver (or an overseer of the office) takes the work back."""
    row = Delegation.objects.select_for_update().get(pk=delegation.pk)
    if not _speaks_for(who, row.giver):
        raise Refusal(403, "DELEGATION_NOT_YOURS", ("只能结束本人的委托", "not yours"))
    if row.ended_at is not None:
        raise Refusal(409, "DELEGATION_ENDED", ("该委托已经结束", "it has ended"))
    row.ended_at = at
    row.save(update_fields=["ended_at"])
    _record(row, "end", by=by, at=at)


def office_of(user: User) -> QuerySet[User]:
    """Everybody of a person's office, the person included."""
    return User.objects.filter(
        is_active=True, region=user.region_id, institution=user.institution_id
    ).order_by("username")  # fmt: skip


def colleagues(user: User) -> QuerySet[User]:
    """Who can take over a person's tasks: the same role in the same office."""
    return User.objects.filter(
        is_active=True, role=user.role, region=user.region_id, institution=user.institution_id
    ).exclude(pk=user.pk).order_by("username")  # fmt: skip


def _delegable(giver: User, taker: User, who: User) -> None:
    if not _speaks_for(who, giver):
        text = "只能委托本人的待办；他人的待办由同一机构的督办人员委托"
        raise Refusal(403, "DELEGATION_NOT_YOURS", (text, "not yours"))
    if not colleagues(giver).filter(pk=taker.pk).exists():
        text = f"{taker}与{giver}不是同一机构的同一岗位，不能受托"
        raise Refusal(422, "TAKER_UNFIT", (text, "another role or office"))


def _dates(valid_from: dt.date, valid_until: dt.date, on: dt.date) -> None:
    if valid_until < max(valid_from, on):
        raise Refusal(
            422, "DELEGATION_DATES", ("委托止日不得早于起日和今天", "the end is too early")
        )
    if valid_until - valid_from > LONGEST_DELEGATION:
        raise Refusal(422, "DELEGATION_LONG", ("一次委托不超过一年", "a year at most"))


def _speaks_for(who: User, giver: User) -> bool:
    if who.pk == giver.pk:
        return True
    if who.region_id is None or not who.may(inbox.OVERSEE):
        return False
    return User.objects.filter(pk=giver.pk, region__code__within=who.region_id).exists()


def _mine(who: User, at: dt.datetime) -> set[str]:
    on = clock.local(at).date()
    given = inbox.delegations_to(who, on=on).values_list("giver__username", flat=True)
    return {who.username, *given}


def _locked(keys: Collection[int], who: User, *, office: bool = True) -> list[Task]:
    """The tasks, locked; all of them must be open and visible to the person."""
    wanted = set(keys)
    if not wanted:
        raise Refusal(422, "NOTHING_CHOSEN", ("请至少选择一项待办", "choose a task"))
    rows = inbox.visible(who, wanted, office=office).select_for_update().order_by("pk")
    found = list(rows)
    if len(found) < len(wanted):
        text = f"所选{len(wanted)}项中有{len(wanted) - len(found)}项已办结或不在您的办理范围内，未作改动"
        raise Refusal(409, "TASK_GONE", (text, "some tasks are closed or not yours to see"))
    return found


def _give(tasks: Sequence[Task], to: str, act: str, *, by: str, at: dt.datetime) -> int:
    Task.objects.filter(pk__in=[task.pk for task in tasks]).update(
        assignee=to, assigned_by=by if to else ""
    )
    for task in tasks:
        trail.record(
            by=by, at=at, action=f"task.{act}", subject=task.subject, region_code=task.region_code,
            institution_code=task.institution_code,
            detail={"task": task.pk, "title": task.title, "from": task.assignee, "to": to},
        )  # fmt: skip
    return len(tasks)


def _record(row: Delegation, act: str, *, by: str, at: dt.datetime) -> None:
    area = row.giver.institution.region_id if row.giver.institution else row.giver.region_id
    trail.record(
        by=by, at=at, action=f"delegation.{act}", subject=f"delegation:{row.pk}",
        region_code=area or "", institution_code=row.giver.institution_id or "",
        detail={"giver": row.giver.username, "taker": row.taker.username,
                "from": row.valid_from, "until": row.valid_until, "reason": row.reason},
    )  # fmt: skip
