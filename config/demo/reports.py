"""Reports and an audit sample of the demonstration: asked for by real people of the bureau, made at once."""

import datetime as dt

from config.demo import TODAY, moment
from institutions.access import EVERYTHING, scoped
from institutions.models import User
from supervision import auditing
from supervision.auditing import Frame
from supervision.reports import orders
from supervision.reports.wish import Wish

SUPERVISOR, AUDITOR = "supervisor.nantong", "auditor.nantong"
REGION = "320600"
SEED = "20211220-3-17-25"
SIZE = 12


def make_reports() -> str:
    """A fund analysis of the year for Nantong, and a sample of November's claims by monetary units."""
    at = moment(TODAY, 16, 20)
    with scoped(EVERYTHING):
        person = User.objects.get(username=SUPERVISOR)
        wish = Wish(since=dt.date(TODAY.year, 1, 1), until=TODAY, region=REGION)
        row = orders.order(kind="fund", wish=wish, user=person, by=person.username, at=at)
        made = orders.make_now(order_id=row.pk, at=at)
        auditor = User.objects.get(username=AUDITOR)
        frame = Frame(region=REGION, first_day=dt.date(2021, 11, 1), last_day=dt.date(2021, 11, 30))
        size = min(SIZE, len(auditing.population(frame, auditor)))
        if not size:
            return f"报告 {made.number}（{made.pages} 页）"
        sample = auditing.draw(
            frame=frame, method="monetary", seed=SEED, size=size, note="四季度专项审计（示例）", user=auditor,
            by=auditor.username, at=at,
        )  # fmt: skip
        first = sample.claims.first()
        if first is not None:
            auditing.judge(
                sampled_id=first.pk, verdict="clean", remark="处方、结算与拨付相符（示例）",
                by=auditor.username, at=at,
            )  # fmt: skip
    return (
        f"报告 {made.number}（{made.pages} 页），样本 {sample.number}（{sample.claims.count()} 笔）"
    )
