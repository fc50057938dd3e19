"""Our own staff's acts that ask for an explanation, decided cases made public, files lent from the archive.

(温医保办〔2021〕6号 二十七、二十九；国务院令第735号 第34条)
"""

from django.db import models
from django.db.models import F, Q

from audit.models import ScopedQuerySet
from supervision.models.cases import SupervisionCase


class ConductFlag(models.Model):
    """An act or a day of acts of one of our own people; another person acknowledges it (第二十九条).

    `evidence` names the events of the trail; nothing of it changes, only its acknowledgement is added.
    """

    class Kind(models.TextChoices):
        SELF_DEALING = "self_dealing", "一人两岗"
        MASS_REVEAL = "mass_reveal", "大量查看个人信息"
        OFF_HOURS = "off_hours", "非工作时间办理"

    class State(models.TextChoices):
        OPEN = "open", "待核查"
        EXPLAINED = "explained", "情况属实且合理"
        REFERRED = "referred", "移交处理"

    region_code = models.CharField(max_length=6)
    institution_code = models.CharField(max_length=12, blank=True)
    kind = models.CharField("类别", max_length=12, choices=Kind)
    actor = models.CharField("人员", max_length=150)
    other = models.CharField("另一账号", max_length=150, blank=True)
    day = models.DateField("日期")
    count = models.IntegerField("次数")
    message = models.CharField("说明", max_length=300)
    example = models.BooleanField("使用示例参数", default=False)
    evidence = models.JSONField("留痕记录", default=list, help_text="ids of events")
    key = models.BinaryField(max_length=32, unique=True)
    found_at = models.DateTimeField()
    state = models.CharField(max_length=9, choices=State, default=State.OPEN)
    note = models.CharField("核查意见", max_length=400, blank=True)
    decided_at = models.DateTimeField(null=True, blank=True)
    decided_by = models.CharField(max_length=150, blank=True)

    objects = ScopedQuerySet.as_manager()

    class Meta:
        ordering = ("-pk",)
        indexes = (models.Index(fields=["region_code", "state", "-id"], name="conduct_region"),)
        constraints = (
            models.CheckConstraint(condition=Q(count__gte=1), name="conduct_counts"),
            models.CheckConstraint(
                condition=Q(state="open", decided_by="", decided_at__isnull=True)
                | (~Q(state="open") & ~Q(note="") & ~Q(decided_by="")
                   & Q(decided_at__isnull=False)),
                name="conduct_decision_whole",
            ),
            models.CheckConstraint(
                condition=Q(decided_by="")
                | (~Q(decided_by=F("actor")) & ~Q(decided_by=F("other"))),
                name="conduct_decided_by_another",
            ),
        )  # fmt: skip

    def __str__(self):
        return f"{self.get_kind_display()} {self.actor} {self.day}"


class Disclosure(models.Model):
    """A decided, final case as the public reads it: masked, from a day to a day, by two persons."""

    case = models.OneToOneField(SupervisionCase, models.PROTECT, related_name="disclosure")
    region_code = models.CharField(max_length=6)
    institution_code = models.CharField(max_length=12, blank=True)
    subject = models.CharField("当事人", max_length=120, help_text="persons are masked")
    subject_kind = models.CharField(max_length=11, choices=SupervisionCase.Subject)
    title = models.CharField("案由", max_length=120)
    decision_no = models.CharField("决定书文号", max_length=60)
    decided_on = models.DateField("决定日")
    text = models.TextField("公开内容", max_length=2000)
    measures = models.JSONField("处理结果", default=list)
    first_day = models.DateField("公布日")
    last_day = models.DateField("公布期满", null=True, blank=True)
    example = models.BooleanField("使用示例参数", default=False)
    proposed_by = models.CharField(max_length=150)
    proposed_at = models.DateTimeField()
    approved_by = models.CharField(max_length=150, blank=True)
    approved_at = models.DateTimeField(null=True, blank=True)
    withdrawn_at = models.DateTimeField(null=True, blank=True)
    withdrawn_by = models.CharField(max_length=150, blank=True)
    withdrawn_for = models.CharField("撤下理由", max_length=300, blank=True)

    objects = ScopedQuerySet.as_manager()

    class Meta:
        ordering = ("-first_day", "-pk")
        constraints = (
            models.CheckConstraint(
                condition=Q(last_day__isnull=True) | Q(last_day__gte=F("first_day")),
                name="disclosure_days",
            ),
            models.CheckConstraint(
                condition=Q(approved_by="") | ~Q(approved_by=F("proposed_by")),
                name="disclosure_second_person",
            ),
            models.CheckConstraint(
                condition=Q(withdrawn_at__isnull=True, withdrawn_by="", withdrawn_for="")
                | (Q(withdrawn_at__isnull=False) & ~Q(withdrawn_by="") & ~Q(withdrawn_for="")),
                name="disclosure_withdrawn_for_a_reason",
            ),
        )

    def __str__(self):
        return f"{self.decision_no} {self.subject}"


class ArchiveLoan(models.Model):
    """A file of the archive lent to somebody: asked for, approved by another, given back."""

    case = models.ForeignKey(SupervisionCase, models.PROTECT, related_name="loans")
    purpose = models.CharField("借阅事由", max_length=300)
    until = models.DateField("应还日")
    asked_by = models.CharField("借阅人", max_length=150)
    asked_at = models.DateTimeField()
    approved_by = models.CharField("批准人", max_length=150, blank=True)
    approved_at = models.DateTimeField(null=True, blank=True)
    returned_at = models.DateTimeField("归还", null=True, blank=True)
    returned_to = models.CharField("收回人", max_length=150, blank=True)

    class Meta:
        ordering = ("-pk",)
        constraints = (
            models.UniqueConstraint(
                fields=["case"], condition=Q(returned_at__isnull=True), name="loan_one_at_a_time"
            ),
            models.CheckConstraint(
                condition=Q(approved_by="") | ~Q(approved_by=F("asked_by")),
                name="loan_second_person",
            ),
            models.CheckConstraint(
                condition=Q(returned_at__isnull=True, returned_to="")
                | (Q(returned_at__isnull=False) & ~Q(returned_to="")),
                name="loan_return_whole",
            ),
        )

    def __str__(self):
        return f"{self.case_id} {self.asked_by}"
