"""Tasks that wait on the demonstration's today, with the law's deadline and its clause."""

import datetime as dt
from collections.abc import Iterator, Mapping
from typing import Any

from agreements.deadlines import step_due
from audit.models import Task
from config.demo import TODAY, moment
from config.demo.hospitals import HOSPITALS, TERM_END, listed
from institutions.calendar import add_months
from institutions.holidays import load_calendar
from pricing.commands import draft
from pricing.models import Release
from pricing.releases import Catalogue
from settlement.models import Settlement

Day = dt.date
WENZHOU, NANTONG = "温医保办〔2021〕6号", "通医保发〔2020〕25号"
JILIN, NINGXIA = "吉卫便函〔2021〕3号", "宁医保发〔2021〕152号"
REVIEWS_SHOWN = 6
DRAFTED_BY = "policy.nantong"


def make_tasks(catalogue: Catalogue) -> int:
    """Store the open tasks; doing it again adds none."""
    tasks = [
        *_wenzhou(_section(catalogue, "wenzhou", "procedures")),
        *_nantong(),
        *_jilin(catalogue),
        *_ningxia(_section(catalogue, "ningxia", "waves")),
        *_reviews(),
        *_draft(),
    ]
    Task.objects.bulk_create(tasks, ignore_conflicts=True)
    return len(tasks)


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


def _wenzhou(procedures: Mapping[str, Any]) -> Iterator[Task]:
    calendar = load_calendar("330300")
    applicant, private = HOSPITALS["wz6"], HOSPITALS["wz5"]
    rebuilding, passed = HOSPITALS["wz4"], HOSPITALS["wz3"]
    review, seen, act = "claims.review", "institutions.view", "batches.run"
    steps = (
        ("material_review", Day(2021, 12, 15), applicant, review, "补充协议申请材料待审核"),
        ("acceptance_test", Day(2021, 12, 8), private, seen, "系统改造待测试验收"),
        ("rebuild", Day(2021, 9, 28), rebuilding, act, "线上结算改造待完成并申请验收"),
        ("sign", Day(2021, 12, 14), passed, review, "验收合格，补充协议待签订"),
    )
    for step, start, hospital, permission, title in steps:
        due = step_due(step=step, start=start, procedures=procedures, calendar=calendar)
        yield _task(
            f"institution:{hospital.code}:{step}",
            f"{hospital.name}：{title}",
            permission,
            hospital.area,
            institution_code=hospital.code,
            due=due.day,
            clause=f"{WENZHOU} {due.clause}",
            created=start,
        )
    term = procedures["supplementary_term"]["clause"]
    for key in ("wz1", "wz2"):
        hospital = HOSPITALS[key]
        yield _task(
            f"institution:{hospital.code}:renewal",
            f"{hospital.name}：补充协议随定点协议到期，待续签",
            "claims.review", hospital.area, institution_code=hospital.code, due=TERM_END,
            clause=f"{WENZHOU} {term}",
        )  # fmt: skip


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


def _jilin(catalogue: Catalogue) -> Iterator[Task]:
    tariffs = _section(catalogue, "jilin", "tariffs")["payment"]
    within = _section(catalogue, "jilin", "distribution")["settle_within"]
    due = Day(TODAY.year, tariffs["due_month"], tariffs["due_day"])
    for key in ("jl1", "jl2"):
        hospital = HOSPITALS[key]
        yield _task(
            f"institution:{hospital.code}:line-fee:{TODAY.year}",
            f"{hospital.name}：{TODAY.year}年度专线与维护费待缴清",
            "institutions.view", hospital.area, institution_code=hospital.code, due=due,
            clause=f"{JILIN} {tariffs['clause']}",
        )  # fmt: skip
        consulted = Day(2021, 9, 24)
        yield _task(
            f"institution:{hospital.code}:share:{consulted:%Y%m}",
            f"{hospital.name}：{consulted:%Y年%m月}会诊费用待与受邀方结算",
            "claims.reverse", hospital.area, institution_code=hospital.code,
            due=add_months(consulted, within["months"]),
            clause=f"{JILIN} {within['clause']}",
        )  # fmt: skip


def _ningxia(waves: Mapping[str, Any]) -> Iterator[Task]:
    first = next(batch for batch in waves["batches"] if batch["batch"] == 1)
    for hospital in listed():
        if hospital.batch == first["batch"]:
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
            state=Settlement.State.REVIEW, version=1, region_code__startswith=prefix
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
