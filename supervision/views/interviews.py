"""Interviews on the page of a case: what its forms choose from, what they do, the list."""

from collections.abc import Mapping
from typing import Any

from audit import clock
from audit.tables import Cell, Column, Row, Table
from institutions.models import User
from institutions.naming import Login, Told
from supervision import interviews, writs
from supervision.models import Interview, SupervisionCase


def to_notify(case: SupervisionCase, user: User) -> dict[str, Any]:
    """Interviews that a notice can be written for, and how it is served."""
    return {"measures": _measures(case, noticed=False), "methods": writs.methods(),
            "today": clock.today()}  # fmt: skip


def to_record(case: SupervisionCase, user: User) -> dict[str, Any]:
    """Interviews whose notice is served."""
    return {"measures": _measures(case, noticed=True), "today": clock.today()}


def to_confirm(case: SupervisionCase, user: User) -> dict[str, Any]:
    """Minutes that wait for this person."""
    found = interviews.waiting(case.sanctions.all(), user)
    return {"minutes": [(one.pk, f"{one.held_on} {one.place}"[:80]) for one in found]}


def _measures(case: SupervisionCase, *, noticed: bool) -> list[tuple[int, str]]:
    found = []
    for row in interviews.ordered(case.sanctions.all()):
        notice = interviews.notice_of(row)
        if notice is not None or not noticed:
            told = f"约谈 {notice.number}（{notice.content['held_on']}）" if notice else "约谈"
            found.append((row.pk, " ".join(filter(None, (told, row.note)))[:80]))
    return found


def notify(case: SupervisionCase, given: Mapping[str, Any], who: User) -> object:
    """约谈通知书 and its receipt."""
    asked = {name: given[name] for name in ("held_on", "place", "persons", "subject")}
    return interviews.notify(
        sanction=case.sanctions.get(pk=given["sanction"]), who=who, at=clock.now(),
        wanted=interviews.Appointment(**asked),
        service=writs.Service(given["method"], given["receiver"], given["on"]),
    )  # fmt: skip


def record(case: SupervisionCase, given: Mapping[str, Any], who: User) -> object:
    """约谈笔录, for another inspector to confirm."""
    said = {name: given[name] for name in ("held_on", "present", "statements", "commitments")}
    return interviews.record(
        sanction=case.sanctions.get(pk=given["sanction"]), who=who, at=clock.now(),
        minutes=interviews.Minutes(**said),
    )  # fmt: skip


def confirm(case: SupervisionCase, given: Mapping[str, Any], who: User) -> object:
    """The second inspector's word."""
    return interviews.confirm(
        interview=Interview.objects.get(pk=given["interview"], sanction__case=case),
        agree=given["agree"] == "yes", reason=given["reason"], who=who, at=clock.now(),
    )  # fmt: skip


def table(case: SupervisionCase) -> Table | None:
    """Minutes of the case, confirmed or not; None where there are none. Not for the party."""
    found = Interview.objects.filter(sanction__case=case).select_related("notice", "minutes")
    rows = [
        Row(key=str(one.pk), label=one.notice.number, cells=[
            Cell(text=one.notice.number, sub=f"{one.held_on} {one.place}"),
            Cell(text=one.present), Cell(text=one.statements), Cell(text=one.commitments),
            _state(one),
        ]) for one in found
    ]  # fmt: skip
    if not rows:
        return None
    return Table(
        id="interviews", caption="约谈笔录", actions=False, rows=rows,
        columns=[Column(label="约谈通知书", wide=True), Column(label="到场人员", wide=True),
                 Column(label="陈述", wide=True), Column(label="承诺", wide=True), Column(label="状态")],
    )  # fmt: skip


def _state(one: Interview) -> Cell:
    if one.agreed is None:
        return Cell(
            text="待另一检查人员确认", tone="warn", sub=Told("记录人 ", Login(one.recorded_by))
        )
    if not one.agreed:
        return Cell(text="已退回", tone="bad", sub=one.reason)
    return Cell(text="已确认", tone="ok", sub=one.minutes.number if one.minutes else "",
                url="")  # fmt: skip
