"""Building blocks of dated rows: a span of days, known from one moment to another."""

import datetime as dt
from typing import ClassVar

from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import RangeOperators
from django.db import models
from django.db.models import F, Func, Q


class DateRange(Func):
    """`daterange(valid_from, valid_until, '[]')`; a null end is open."""

    function = "daterange"
    template = "%(function)s(%(expressions)s, '[]')"


def no_overlap(name: str, *keys: str, condition: Q | None = None) -> ExclusionConstraint:
    """Rows with the same keys never overlap in [valid_from, valid_until]."""
    return ExclusionConstraint(
        name=name,
        expressions=[
            (DateRange("valid_from", "valid_until"), RangeOperators.OVERLAPS),
            *((F(key), RangeOperators.EQUAL) for key in keys),
        ],
        condition=condition,
    )


class DatedQuerySet(models.QuerySet):
    def in_force(self, *, on):
        """Rows valid on a day (both ends included)."""
        return self.filter(Q(valid_until__isnull=True) | Q(valid_until__gte=on), valid_from__lte=on)


class FactsQuerySet(DatedQuerySet):
    def known(self):
        """Rows that no correction has replaced."""
        return self.filter(superseded_at__isnull=True)

    def known_at(self, moment):
        """Rows as they were known at a moment: recorded by then and not replaced yet."""
        replaced = Q(superseded_at__isnull=True) | Q(superseded_at__gt=moment)
        return self.filter(replaced, recorded_at__lte=moment)

    def facts_on(self, day, known_at=None):
        """What was true on a day, as known at a moment (None: as known now); None if nothing was."""
        rows = self.known() if known_at is None else self.known_at(known_at)
        return rows.in_force(on=day).first()


class Suspension(models.Model):
    """Days in which somebody may not do something, known from one moment to another.

    Who decided keeps the case and names it in `source`; here stands what settlement reads. Days of one
    subject may overlap: each decision ends with its own day.
    """

    valid_from = models.DateField("起日")
    valid_until = models.DateField("止日", null=True, blank=True)
    clause = models.CharField("依据", max_length=160)
    source = models.CharField(
        "来源", max_length=80, help_text="the decision: one row of it is known"
    )
    recorded_at = models.DateTimeField()
    recorded_by = models.CharField(max_length=150)
    superseded_at = models.DateTimeField(null=True, blank=True)

    objects = FactsQuerySet.as_manager()

    class Meta:
        abstract = True
        ordering = ("-valid_from", "-pk")
        constraints: ClassVar[tuple[models.BaseConstraint, ...]] = (
            models.UniqueConstraint(
                fields=["source"], condition=Q(superseded_at__isnull=True),
                name="%(class)s_known_once",
            ),
            models.CheckConstraint(
                condition=Q(valid_until__isnull=True) | Q(valid_until__gte=F("valid_from")),
                name="%(class)s_days",
            ),
            models.CheckConstraint(
                condition=~Q(clause="") & ~Q(source="") & ~Q(recorded_by=""),
                name="%(class)s_says_why",
            ),
        )  # fmt: skip

    def __str__(self):
        return f"{self.valid_from} 至 {self.valid_until or '长期'}"

    def covers(self, day: dt.date) -> bool:
        """Whether the day lies in the span."""
        return self.valid_from <= day and (self.valid_until is None or day <= self.valid_until)
