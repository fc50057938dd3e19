"""The trail of acts and the inbox of tasks. Nothing here points at another app: subjects are text."""

import uuid

from django.db import models
from django.db.models import Q


class ScopedQuerySet(models.QuerySet):
    """Rows that carry `region_code` and `institution_code`, seen only inside a user's scope."""

    def visible_to(self, user):
        """Rows inside `user.scope_codes()`: area-code prefixes and institution codes; none denies."""
        scope = user.scope_codes()
        if scope.everything:
            return self
        if not scope.regions and not scope.institutions:
            return self.none()
        inside = Q(institution_code__in=scope.institutions)
        if scope.regions:  # acts on the whole portal (calendar, releases) belong to every region
            inside |= Q(region_code="", institution_code="")
        for prefix in scope.regions:
            inside |= Q(region_code__startswith=prefix)
        return self.filter(inside)


class Event(models.Model):
    """One act: who did what to which subject, when, with what result. Append-only (trigger).

    `body` is the canonical UTF-8 JSON of the act, `leaf` = SM3(0x00 ‖ body) as in RFC 9162.
    Personal data appears only as keyed hashes. (通医保发〔2020〕25号 三（四）全程留痕)
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    at = models.DateTimeField(db_index=True)
    actor = models.CharField(max_length=150)
    action = models.CharField(max_length=60)
    subject = models.CharField(max_length=80)
    outcome = models.CharField(max_length=10, default="ok")
    region_code = models.CharField(max_length=6, blank=True)
    institution_code = models.CharField(max_length=12, blank=True)
    person_hash = models.BinaryField(max_length=32, null=True)
    alg = models.CharField(max_length=8, default="sm3")
    body = models.BinaryField()
    leaf = models.BinaryField(max_length=32)

    objects = ScopedQuerySet.as_manager()

    class Meta:
        indexes = (
            models.Index(fields=["subject", "at"], name="event_subject"),
            models.Index(fields=["actor", "at"], name="event_actor"),
            models.Index(fields=["region_code", "-at"], name="event_region"),
            models.Index(fields=["institution_code", "-at"], name="event_institution"),
            models.Index(
                fields=["person_hash"], name="event_person", condition=Q(person_hash__isnull=False)
            ),
        )

    def __str__(self):
        return f"{self.at:%F %T} {self.actor} {self.action} {self.subject}"


class Task(models.Model):
    """Something that waits for a person, with its legal deadline and the clause that sets it."""

    class State(models.TextChoices):
        OPEN = "open", "待办"
        DONE = "done", "已办"
        VOID = "void", "撤销"

    subject = models.CharField(max_length=80)
    title = models.CharField(max_length=200)
    permission = models.CharField(max_length=60)
    region_code = models.CharField(max_length=6, blank=True)
    institution_code = models.CharField(max_length=12, blank=True)
    due = models.DateField(null=True, blank=True)
    clause = models.CharField(max_length=120, blank=True)
    state = models.CharField(max_length=4, choices=State, default=State.OPEN)
    created_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True, blank=True)

    objects = ScopedQuerySet.as_manager()

    class Meta:
        indexes = (models.Index(fields=["state", "due"], name="task_open"),)
        constraints = (
            models.UniqueConstraint(
                fields=["subject", "permission"],
                condition=Q(state="open"),
                name="task_one_open_per_subject",
            ),
        )

    def __str__(self):
        return self.title
