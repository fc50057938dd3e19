"""Interviews (约谈): the minutes of one, as one inspector records them and another confirms.

(国务院令第735号 第38、39条)
"""

from django.db import models
from django.db.models import F, Q

from supervision.models.cases import CasePaper, Sanction


class Interview(models.Model):
    """What was said on the day that a 约谈通知书 named; fixed but for the second person's word."""

    sanction = models.ForeignKey(Sanction, models.PROTECT, related_name="interviews")
    notice = models.ForeignKey(CasePaper, models.PROTECT, related_name="+")
    held_on = models.DateField("约谈日")
    place = models.CharField("约谈时间与地点", max_length=120)
    present = models.CharField("到场人员", max_length=400)
    statements = models.CharField("陈述", max_length=4000)
    commitments = models.CharField("承诺", max_length=4000)
    recorded_at = models.DateTimeField()
    recorded_by = models.CharField("记录人", max_length=150)
    agreed = models.BooleanField("是否确认", null=True, blank=True)
    reason = models.CharField("退回理由", max_length=400, blank=True)
    confirmed_at = models.DateTimeField(null=True, blank=True)
    confirmed_by = models.CharField("确认人", max_length=150, blank=True)
    minutes = models.OneToOneField(
        CasePaper, models.PROTECT, null=True, blank=True, related_name="+"
    )

    class Meta:
        ordering = ("pk",)
        constraints = (
            models.UniqueConstraint(
                fields=["sanction"], condition=~Q(agreed=False) | Q(agreed__isnull=True),
                name="interview_minutes_once",
            ),
            models.CheckConstraint(
                condition=Q(agreed__isnull=True, confirmed_by="", confirmed_at__isnull=True,
                            minutes__isnull=True)
                | (Q(agreed__isnull=False, confirmed_at__isnull=False) & ~Q(confirmed_by="")
                   & ~Q(confirmed_by=F("recorded_by"))),
                name="interview_confirmed_by_another",
            ),
            models.CheckConstraint(
                condition=Q(agreed__isnull=True)
                | Q(agreed=True, minutes__isnull=False)
                | (Q(agreed=False, minutes__isnull=True) & ~Q(reason="")),
                name="interview_decision_whole",
            ),
            models.CheckConstraint(
                condition=~Q(present="") & ~Q(statements="") & ~Q(commitments=""),
                name="interview_minutes_whole",
            ),
        )  # fmt: skip

    def __str__(self) -> str:
        return f"{self.sanction_id} {self.held_on}"
