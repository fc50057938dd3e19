"""Dispensed drugs that came back (退药): which, how many, which packages. Append-only."""

from django.db import models
from django.db.models import Q

from audit.models import ScopedQuerySet
from settlement.models.medicines import Dispensing, DispensingLine, TraceCode


class DispensingReturn(models.Model):
    """Dispensed drugs that came back, in part or whole (退药, append-only).

    A package that came back is not sold again: its trace code stays used.
    """

    class Reason(models.TextChoices):
        QUALITY = "quality", "药品质量问题"
        WRONG = "wrong", "调配差错"
        REFUSED = "refused", "患者拒收"
        UNDELIVERED = "undelivered", "无法送达"
        RECALL = "recall", "药品召回"
        CHANGED = "changed", "医嘱变更或停用"

    dispensing = models.ForeignKey(Dispensing, models.PROTECT, related_name="returns")
    number = models.CharField("退药单号", max_length=40)
    region_code = models.CharField(max_length=6)
    institution_code = models.CharField("退药机构", max_length=12)
    issuer_region = models.CharField(max_length=6)
    issuer_code = models.CharField(max_length=12)
    returned_at = models.DateTimeField("退药时间")
    reason = models.CharField("退药原因", max_length=11, choices=Reason)
    note = models.CharField("说明", max_length=200, blank=True)
    pharmacist_code = models.CharField("接收药师", max_length=20, blank=True)
    claims = models.JSONField(
        "冲正的申请", default=list, help_text="ids of the claims reversed by it"
    )
    recorded_at = models.DateTimeField()
    recorded_by = models.CharField(max_length=150)
    content_sm3 = models.CharField(max_length=64)

    objects = ScopedQuerySet.as_manager()

    class Meta:
        ordering = ("returned_at", "pk")
        constraints = (
            models.UniqueConstraint(
                fields=["institution_code", "number"], name="dispensing_return_number"
            ),
        )

    def __str__(self):
        return self.number


class DispensingReturnLine(models.Model):
    """How much of a dispensed drug came back: never more than was handed out (append-only)."""

    taken_back = models.ForeignKey(DispensingReturn, models.PROTECT, related_name="lines")
    line = models.ForeignKey(DispensingLine, models.PROTECT, related_name="returns")
    quantity = models.BigIntegerField(help_text="1/10000 of a unit")

    class Meta:
        ordering = ("line__drug_code",)
        constraints = (
            models.UniqueConstraint(
                fields=["taken_back", "line"], name="dispensing_return_drug_once"
            ),
            models.CheckConstraint(
                condition=Q(quantity__gt=0), name="dispensing_return_moves_goods"
            ),
        )

    def __str__(self):
        return f"{self.taken_back_id} {self.line_id}"


class TraceReturn(models.Model):
    """A package that came back, by its trace code, once (append-only)."""

    trace = models.OneToOneField(TraceCode, models.PROTECT, related_name="came_back")
    taken_back = models.ForeignKey(DispensingReturn, models.PROTECT, related_name="traces")

    class Meta:
        ordering = ("trace",)

    def __str__(self):
        return self.trace_id
