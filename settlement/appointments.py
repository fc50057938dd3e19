"""预约报销: times at the counters of a region's offices, on working days, booked up to their capacity."""

import datetime as dt
import itertools
from collections.abc import Sequence

from django.db import transaction
from django.db.models import F

from audit import trail
from institutions.calendar import MissingYear, days
from institutions.holidays import load_calendar
from institutions.models import Office
from institutions.refusals import Refusal, refused
from settlement.models import AppointmentSlot

LONGEST = 92  #: days that are opened at once
Span = tuple[dt.time, dt.time]


@transaction.atomic
def open_slots(
    *, office: Office, first: dt.date, last: dt.date, spans: Sequence[Span], capacity: int, by: str,
    at: dt.datetime,
) -> int:  # fmt: skip
    """Open the same times on every working day from first to last; how many are new.

    Times that are open already stay as they are. A year without calendar opens nothing and says so.
    """
    _sound(first, last, spans, capacity)
    try:
        calendar = load_calendar(office.region_id)
        working = [day for day in days(first, last) if calendar.is_working_day(day)]
    except MissingYear as missing:
        raise refused("last", "CALENDAR_MISSING", str(missing), "a calendar year is missing",
                      status=409) from None  # fmt: skip
    held = set(
        office.slots.filter(day__range=(first, last)).values_list("day", "starts")
    )  # fmt: skip
    made = AppointmentSlot.objects.bulk_create(
        AppointmentSlot(
            office=office, region_code=office.region_id, day=day, starts=starts, ends=ends,
            capacity=capacity, made_at=at, made_by=by,
        )
        for day in working for starts, ends in spans if (day, starts) not in held
    )  # fmt: skip
    if not made:
        raise refused("first", "NOTHING_OPENED", "所选日期没有可新增的时段：均为休息日或已开放",
                      "no working day without these times")  # fmt: skip
    trail.record(
        by=by, at=at, action="appointment.open", subject=f"office:{office.pk}",
        region_code=office.region_id,
        detail={"first": first, "last": last, "slots": len(made), "capacity": capacity},
    )  # fmt: skip
    return len(made)


def _sound(first: dt.date, last: dt.date, spans: Sequence[Span], capacity: int) -> None:
    if last < first or (last - first).days > LONGEST:
        raise refused("last", "DATES_REVERSED", f"止日不得早于起日，一次至多开放 {LONGEST} 日",
                      "the span of days is wrong")  # fmt: skip
    if capacity < 1:
        raise refused("capacity", "CAPACITY", "每个时段至少可预约1人", "at least one person")
    if not spans or any(ends <= starts for starts, ends in spans):
        raise refused("spans", "TIMES", "时段的结束须晚于开始", "a time ends after it starts")
    ordered = sorted(spans)
    if any(after[0] < before[1] for before, after in itertools.pairwise(ordered)):
        raise refused("spans", "TIMES", "时段不能互相重叠", "times overlap")


@transaction.atomic
def set_capacity(
    *, slot: AppointmentSlot, capacity: int, by: str, at: dt.datetime
) -> AppointmentSlot:
    """Take more or fewer persons at a time, never fewer than are booked; 0 closes a free one."""
    found = AppointmentSlot.objects.select_for_update().get(pk=slot.pk)
    if capacity < found.booked:
        raise refused("capacity", "BOOKED", f"该时段已预约 {found.booked} 人，不能少于此数",
                      "more persons are booked", status=409)  # fmt: skip
    before, found.capacity = found.capacity, capacity
    found.save(update_fields=["capacity"])
    trail.record(
        by=by, at=at, action="appointment.capacity", subject=f"slot:{found.pk}",
        region_code=found.region_code, detail={"before": before, "after": capacity},
    )  # fmt: skip
    return found


def book(*, slot_id: int, region_code: str, at: dt.datetime, on: dt.date) -> AppointmentSlot:
    """Take one place of a time, or Refusal: the row is locked, so that nobody books past the capacity."""
    slot = AppointmentSlot.objects.select_for_update().filter(pk=slot_id).first()
    if slot is None or not slot.region_code.startswith(region_code[:4]):
        raise refused("slot", "SLOT_UNKNOWN", "没有这一预约时段", "no such time", status=404)
    if slot.day < on:
        raise refused("slot", "SLOT_PAST", f"预约时段{slot}已过", "the time has passed")
    if slot.booked >= slot.capacity:
        raise Refusal(
            409, "SLOT_FULL", (f"预约时段{slot}已约满，请选择其他时段", "the time is full")
        )
    AppointmentSlot.objects.filter(pk=slot.pk).update(booked=F("booked") + 1)
    slot.booked += 1
    return slot


def give_back(*, slot: AppointmentSlot) -> None:
    """A booking is cancelled: its place is free again."""
    AppointmentSlot.objects.filter(pk=slot.pk).update(booked=F("booked") - 1)
