"""What the tests of the inbox share: tasks, places and people."""

import datetime as dt

from audit.models import Task
from institutions.inbox import Inbox, Wanted
from institutions.models import Region, User
from tests import factories
from tests.factories import ZONE

TODAY = dt.date(2021, 12, 20)  # a Monday
AT = dt.datetime(2021, 12, 20, 9, tzinfo=ZONE)
REVIEW = "applications.review"


def task(number: int, **more: object) -> Task:
    standard = {
        "subject": f"application:{number}", "title": f"申请{number}：材料待审核", "permission": REVIEW,
        "region_code": "330300", "procedure": "wenzhou", "status": "待审核", "created_at": AT,
        "due": TODAY + dt.timedelta(days=3), "clause": "五（三）", "url": f"/applications/{number}/",
    }  # fmt: skip
    return Task.objects.create(**(standard | more))


def wenzhou() -> Region:
    return factories.region("wenzhou")


def reviewer(**more: object) -> User:
    return factories.user("reviewer", wenzhou(), **more)


def titles(user: User, **wanted: object) -> list[str]:
    return [row.title for row in Inbox(user, today=TODAY, wanted=Wanted(**wanted)).page().rows]


def county() -> Region:
    return Region.objects.get_or_create(
        code="330381",
        defaults={"name": "瑞安市", "level": "county", "policy_region": "wenzhou",
                  "parent": wenzhou()},
    )[0]  # fmt: skip


def province() -> Region:
    return Region.objects.get_or_create(
        code="330000",
        defaults={"name": "浙江省", "level": "province", "policy_region": "wenzhou"},
    )[0]
