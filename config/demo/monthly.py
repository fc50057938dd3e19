"""Monthly reports of the demonstration: a county's October received, November waiting, another late.

Made by the real commands from the demonstration's own claims.
"""

import datetime as dt

from config.demo import TODAY, moment
from institutions.access import EVERYTHING, scoped
from institutions.models import User
from supervision import monthly
from supervision.models import MonthlyReport
from supervision.reports import orders

MAKER, SECOND = "supervisor.ruian", "supervisor2.ruian"
ABOVE, ABOVE_MAKER = "supervisor.wenzhou", "reviewer.wenzhou"
OCTOBER, NOVEMBER = dt.date(2021, 10, 1), dt.date(2021, 11, 1)


def make_monthly() -> str:
    """Ruian's October returned once and received, Wenzhou's October, Ruian's November; the reminders."""
    with scoped(EVERYTHING):
        row = _made(MAKER, OCTOBER, dt.date(2021, 11, 4))
        _take(row, "submit", SECOND, dt.date(2021, 11, 5), "数据已核对（示例）")
        _take(row, "return", ABOVE, dt.date(2021, 11, 8), "请补充十月末的案件情况（示例）")
        _take(row, "remake", MAKER, dt.date(2021, 11, 9))
        _take(row, "submit", SECOND, dt.date(2021, 11, 9))
        _take(row, "receive", ABOVE, dt.date(2021, 11, 10))
        above = _made(ABOVE_MAKER, OCTOBER, dt.date(2021, 11, 11))
        _take(above, "submit", ABOVE, dt.date(2021, 11, 11))
        waiting = _made(MAKER, NOVEMBER, dt.date(2021, 12, 15))
        _take(waiting, "submit", SECOND, dt.date(2021, 12, 17))
        asked = monthly.remind(on=TODAY, by="system:beat", at=moment(TODAY, 0, 30))
        order = monthly.printed(monthly.current(above))
    if order is not None:
        orders.make_now(order_id=order.pk, at=moment(TODAY, 8))
    return f"3 份，另有 {asked} 个地区待编制"


def _made(maker: str, month: dt.date, day: dt.date) -> MonthlyReport:
    person = User.objects.select_related("region").get(username=maker)
    if person.region is None:
        raise LookupError(f"{maker} has no region")
    return monthly.make(region=person.region, month=month, who=person, by=maker, at=moment(day, 10))


def _take(row: MonthlyReport, step: str, by: str, day: dt.date, note: str = "") -> None:
    monthly.take(report=row, step=step, who=User.objects.get(username=by), by=by, note=note,
                 at=moment(day, 15))  # fmt: skip
