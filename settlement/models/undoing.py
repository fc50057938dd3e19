"""What two persons undo: one asks with a reason, another does it."""

from django.db import models
from django.db.models import F, Q


class Undoable(models.Model):
    """Who asked that a row be undone, why, and who did it; emptied where it is not undone. Abstract."""

    undo_reason = models.CharField("撤回或冲销理由", max_length=200, blank=True, default="")
    undo_asked_at = models.DateTimeField(null=True, blank=True)
    undo_asked_by = models.CharField(max_length=150, blank=True, default="")
    undone_at = models.DateTimeField(null=True, blank=True)
    undone_by = models.CharField(max_length=150, blank=True, default="")

    class Meta:
        abstract = True


def by_two(name: str, *, asked: str, undone: str) -> models.CheckConstraint:
    """In the state `asked` there is one who asked, in `undone` another who did it, else neither."""
    nobody = Q(undo_asked_by="", undone_by="")
    return models.CheckConstraint(
        condition=Q(state=asked, undone_by="") & ~Q(undo_asked_by="")
        | Q(state=undone)
        & ~Q(undone_by="")
        & ~Q(undo_asked_by="")
        & ~Q(undone_by=F("undo_asked_by"))
        | ~Q(state__in=(asked, undone)) & nobody,
        name=name,
    )
