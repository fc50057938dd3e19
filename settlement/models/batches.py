"""Batches: a file of claims, checked, frozen, settled in chunks, closed when all add up."""

from django.db import models

from audit.models import ScopedQuerySet


class Batch(models.Model):
    """A file of claims: checked, frozen as a manifest, settled in chunks, closed when all add up."""

    class State(models.TextChoices):
        CHECKING = "checking", "检查中"
        CHECKED = "checked", "已试算校验"
        LOADING = "loading", "装载中"
        RUNNING = "running", "结算中"
        PAUSED = "paused", "已暂停"
        CLOSED = "closed", "已完成"
        FAILED = "failed", "失败"
        CANCELLED = "cancelled", "已取消"
        REVERSING = "reversing", "冲正中"
        REVERSED = "reversed", "已冲正"

    institution_code = models.CharField(max_length=12)
    region_code = models.CharField(max_length=6)
    file_name = models.CharField(max_length=200)
    file_sm3 = models.CharField(max_length=64)
    file = models.BinaryField(null=True)
    annotated = models.BinaryField(null=True)
    result = models.BinaryField(null=True)
    errors = models.JSONField(default=list)
    state = models.CharField(max_length=9, choices=State)
    attempts = models.IntegerField(default=0, help_text="of checking it, then of loading it")
    start_when_sound = models.BooleanField(
        default=False, help_text="without another word of a person"
    )
    set_aside_claims = models.IntegerField(default=0, help_text="left out by a person's decision")
    set_aside_fee = models.BigIntegerField(default=0)
    reason = models.CharField(max_length=200, blank=True, help_text="of leaving out or cancelling")
    claims = models.IntegerField(default=0)
    lines = models.IntegerField(default=0)
    fee_total = models.BigIntegerField(default=0)
    period = models.DateField(null=True, help_text="of its claims; their ids are one range")
    first_claim = models.BigIntegerField(null=True)
    last_claim = models.BigIntegerField(null=True)
    manifest_sm3 = models.CharField(max_length=64, blank=True)
    result_sm3 = models.CharField(max_length=64, blank=True)
    totals = models.JSONField(default=dict)
    created_at = models.DateTimeField()
    created_by = models.CharField(max_length=150)
    started_at = models.DateTimeField(null=True)
    closed_at = models.DateTimeField(null=True)

    objects = ScopedQuerySet.as_manager()

    class Meta:
        constraints = (
            models.CheckConstraint(
                name="batch_cancelled_with_reason",
                condition=~models.Q(state__in=("cancelled", "reversing", "reversed"))
                | ~models.Q(reason=""),
            ),
        )

    def __str__(self):
        return self.file_name


class ChunkQuerySet(models.QuerySet):
    def undone_spans(self) -> list[tuple[int, int]]:
        """Ranges of claim ids in which claims without a settlement may lie, in rising order.

        A claim that comes alone is settled as it is stored.
        """
        spans: list[tuple[int, int]] = []
        rows = self.filter(UNDONE).order_by("first_claim").values_list("first_claim", "last_claim")
        for first, last in rows:
            if spans and first <= spans[-1][1] + 1:
                spans[-1] = (spans[-1][0], max(spans[-1][1], last))
            else:
                spans.append((first, last))
        return spans


#: A split chunk's claims are those of its parts.
UNDONE = ~models.Q(state__in=["done", "split"])


class Chunk(models.Model):
    """A share of a batch by person; one transaction settles it; `epoch` fences late workers.

    A chunk that keeps failing is split, by person, then by claim, until what fails stands alone. Its
    parts are settled in the order of their numbers; person bounds are empty in a whole chunk.
    """

    class State(models.TextChoices):
        WAITING = "waiting", "等待"
        DONE = "done", "完成"
        QUARANTINED = "quarantined", "隔离"
        SPLIT = "split", "已拆分"
        SET_ASIDE = "set_aside", "已剔除"
        CANCELLED = "cancelled", "已取消"

    LEFT_OUT = (State.SET_ASIDE, State.CANCELLED)  #: their claims are never settled

    batch = models.ForeignKey(Batch, models.PROTECT, related_name="chunks")
    number = models.IntegerField()
    state = models.CharField(max_length=11, choices=State, default=State.WAITING)
    claims = models.IntegerField()
    lines = models.IntegerField()
    first_claim = models.BigIntegerField()
    last_claim = models.BigIntegerField()
    first_person = models.BigIntegerField(null=True)
    last_person = models.BigIntegerField(null=True)
    fee = models.BigIntegerField(default=0)
    part_of = models.IntegerField(null=True, help_text="number of the chunk that was split")
    manifest_sm3 = models.CharField(
        max_length=64, blank=True, default="", db_default="", help_text="of its claims, frozen"
    )
    layout = models.CharField(max_length=8, help_text="of the records (settlement.batch.layout)")
    attempts = models.IntegerField(default=0)
    epoch = models.IntegerField(default=0)
    leased_at = models.DateTimeField(null=True)
    digest = models.BinaryField(max_length=32, null=True)
    totals = models.JSONField(default=dict)
    error = models.TextField(blank=True)
    done_at = models.DateTimeField(null=True)

    objects = ChunkQuerySet.as_manager()

    class Meta:
        indexes = (models.Index(fields=["first_claim"], name="chunk_undone", condition=UNDONE),)
        constraints = (
            models.UniqueConstraint(fields=["batch", "number"], name="chunk_once"),
            models.CheckConstraint(
                name="chunk_done_with_digest",
                condition=models.Q(state="done", digest__isnull=False, done_at__isnull=False)
                | (~models.Q(state="done") & models.Q(digest__isnull=True)),
            ),
            models.CheckConstraint(
                name="chunk_has_claims",
                condition=models.Q(claims__gt=0, first_claim__lte=models.F("last_claim")),
            ),
        )

    def __str__(self):
        return f"{self.batch_id}/{self.number}"
