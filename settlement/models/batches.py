"""Batches: a file of claims, checked, frozen, settled in chunks, closed when all add up."""

from django.db import models

from audit.models import ScopedQuerySet


class Batch(models.Model):
    """A file of claims: checked, frozen as a manifest, settled in chunks, closed when all add up."""

    class State(models.TextChoices):
        CHECKED = "checked", "已试算校验"
        LOADING = "loading", "装载中"
        RUNNING = "running", "结算中"
        PAUSED = "paused", "已暂停"
        CLOSED = "closed", "已完成"
        FAILED = "failed", "失败"

    institution_code = models.CharField(max_length=12)
    region_code = models.CharField(max_length=6)
    file_name = models.CharField(max_length=200)
    file_sm3 = models.CharField(max_length=64)
    file = models.BinaryField(null=True)
    annotated = models.BinaryField(null=True)
    result = models.BinaryField(null=True)
    errors = models.JSONField(default=list)
    state = models.CharField(max_length=8, choices=State)
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

    def __str__(self):
        return self.file_name


class Chunk(models.Model):
    """A share of a batch by person; one transaction settles it; `epoch` fences late workers."""

    class State(models.TextChoices):
        WAITING = "waiting", "等待"
        DONE = "done", "完成"
        QUARANTINED = "quarantined", "隔离"

    batch = models.ForeignKey(Batch, models.PROTECT, related_name="chunks")
    number = models.IntegerField()
    state = models.CharField(max_length=11, choices=State, default=State.WAITING)
    claims = models.IntegerField()
    lines = models.IntegerField()
    first_claim = models.BigIntegerField()
    last_claim = models.BigIntegerField()
    attempts = models.IntegerField(default=0)
    epoch = models.IntegerField(default=0)
    leased_at = models.DateTimeField(null=True)
    digest = models.BinaryField(max_length=32, null=True)
    totals = models.JSONField(default=dict)
    error = models.TextField(blank=True)
    done_at = models.DateTimeField(null=True)

    class Meta:
        constraints = (models.UniqueConstraint(fields=["batch", "number"], name="chunk_once"),)

    def __str__(self):
        return f"{self.batch_id}/{self.number}"
