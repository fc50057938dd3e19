"""Tasks that wait on the demonstration's today, with the law's deadline and its clause."""

import datetime as dt
from collections.abc import Iterator, Mapping
from typing import Any

from agreements.models import Application
from audit.models import Task
from config.demo import ACTOR, TODAY, moment
from config.demo.hospitals import HOSPITALS, TERM_END, listed
from institutions import duties, overdue
from institutions.models import Delegation, Notification, User
from pricing.commands import draft
from pricing.models import Release
from pricing.releases import Catalogue
from settlement.models import Settlement

Day = dt.date
WENZHOU, NANTONG = "温医保办〔2021〕6号", "通医保发〔2020〕25号"
NINGXIA = "宁医保发〔2021〕152号"
REVIEWS_SHOWN = 6
READ_UNTIL = dt.timedelta(days=7)
DRAFTED_BY = "policy.nantong"
NAMES = ("policy.nantong", "policy2.nantong", "signer.wenzhou", "reviewer.wenzhou",
         "supervisor.nantong", "reviewer.nantong")  # fmt: skip
#: who assigns tasks of which kind to whom
ASSIGNED = (
    ("signer.wenzhou", "reviewer.wenzhou", "applications.review"),
    ("supervisor.nantong", "reviewer.nantong", "claims.review"),
)


def make_tasks(catalogue: Catalogue) -> int:
    """Store the open tasks that no procedure makes, and share the work; again adds none."""
    tasks = [
        *_nantong(),
        *_ningxia(_section(catalogue, "ningxia", "waves")),
        *_reviews(),
        *_draft(),
    ]
    Task.objects.bulk_create(tasks, ignore_conflicts=True)
    _share()
    overdue.watch(on=TODAY, by=ACTOR, at=moment(TODAY, 1))
    return Task.objects.filter(state=Task.State.OPEN).count()


def _share() -> None:
    """Some tasks have somebody; one colleague does another's work this week."""
    people = User.objects.in_bulk(NAMES, field_name="username")
    at = moment(TODAY, 9)
    for overseer, to, permission in ASSIGNED:
        open_ones = Task.objects.visible_to(people[overseer]).filter(
            state=Task.State.OPEN, permission=permission
        )
        keys = list(open_ones.order_by("due", "pk").values_list("pk", flat=True)[:2])
        if keys:
            duties.assign(keys=keys, to=people[to], who=people[overseer], by=overseer, at=at)
    Notification.objects.filter(at__lt=moment(TODAY - READ_UNTIL)).update(read_at=at)
    giver, taker = people["policy.nantong"], people["policy2.nantong"]
    drafts = Task.objects.filter(state=Task.State.OPEN, permission="releases.publish")
    keys = list(drafts.visible_to(giver).values_list("pk", flat=True))
    duties.take(keys=keys, who=giver, by=giver.username, at=at)
    if not Delegation.objects.filter(giver=giver).exists():
        duties.delegate(
            giver=giver, taker=taker, valid_from=TODAY, valid_until=TERM_END, reason="年休假（示例）",
            who=giver, by=giver.username, at=at, on=TODAY,
        )  # fmt: skip


def _task(subject: str, title: str, permission: str, area: str, **more: Any) -> Task:
    created = more.pop("created", TODAY - dt.timedelta(days=3))
    return Task(
        subject=subject, title=title, permission=permission, region_code=area,
        created_at=moment(created), **more,
    )  # fmt: skip


def _section(catalogue: Catalogue, region: str, name: str) -> Mapping[str, Any]:
    release = catalogue.policy(region, TODAY)
    if release is None:
        raise LookupError("the shipped policies are not loaded")
    return release.policy.data[name]


def _nantong() -> Iterator[Task]:
    paper, refused = HOSPITALS["nt4"], HOSPITALS["nt8"]
    yield _task(
        f"institution:{paper.code}:paper", f"{paper.name}：补充协议已网上互签，纸质协议待补签",
        "claims.review", paper.area, institution_code=paper.code, clause=f"{NANTONG} 三（一）",
    )  # fmt: skip
    yield _task(
        f"institution:{refused.code}:filing", f"{refused.name}：已上报费用但未备案，待核实",
        "claims.review", refused.area, institution_code=refused.code, clause=f"{NANTONG} 一",
    )  # fmt: skip


def _ningxia(waves: Mapping[str, Any]) -> Iterator[Task]:
    """Hospitals of the first wave that did not apply yet."""
    applied = set(Application.objects.values_list("institution_code", flat=True))
    first = next(batch for batch in waves["batches"] if batch["batch"] == 1)
    for hospital in listed():
        if hospital.batch == first["batch"] and hospital.code not in applied:
            yield _task(
                f"institution:{hospital.code}:onboarding",
                f"{hospital.name}：{first['name']}，医保支付对接待完成",
                "institutions.view", hospital.area, institution_code=hospital.code,
                due=first["deadline"], clause=f"{NINGXIA} {first['clause']}",
            )  # fmt: skip


def _reviews() -> Iterator[Task]:
    """The latest claims that wait for a person, some of each region."""
    for prefix in ("32", "33"):
        held = Settlement.objects.filter(
            state=Settlement.State.REVIEW, version=1, region_code__within=prefix
        ).order_by("-claim_id")
        for row in held[:REVIEWS_SHOWN]:
            yield _task(
                f"claim:{row.claim_id}", f"费用申报 {row.claim_id}：待人工审核", "claims.review",
                row.region_code, institution_code=row.institution_code, created=TODAY,
                clause=f"{WENZHOU} 二十四" if prefix == "33" else f"{NANTONG} 四（三）",
            )  # fmt: skip


def _draft() -> Iterator[Task]:
    """New example parameters from New Year: a draft that a second person publishes."""
    release = Release.objects.filter(slug="parameters-nantong").order_by("valid_from").first()
    if release is None:
        return
    start = Day(TODAY.year + 1, 1, 1)
    text = release.text.replace(release.valid_from.isoformat(), start.isoformat())
    existing = Release.objects.filter(slug=release.slug, state=Release.State.DRAFT).first()
    new = existing or draft(text=text, by=DRAFTED_BY, at=moment(TODAY, 10))
    yield _task(
        f"release:{new.pk}", f"南通示例参数（{start:%Y年}）：草案待第二人发布", "releases.publish",
        "320600", due=TERM_END, created=TODAY, clause=f"{NANTONG} 二（二）第1款",
    )  # fmt: skip
