"""Building blocks of dated rows: a span of days, known from one moment to another."""

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
