"""Register extracts: sheets of insured persons to import or to compare with, and what differs."""

from django.db import models
from django.db.models import Q

from audit.models import ScopedQuerySet
from settlement.models.persons import InsuredPerson


class RegisterSheet(models.Model):
    """An extract of the insured register as uploaded and judged. The file is kept encrypted.

    An import is written as a whole once a person confirms it; a comparison only finds differences.
    The same file is taken once (`file_sm3`).
    """

    class Purpose(models.TextChoices):
        IMPORT = "import", "导入参保信息"
        COMPARE = "compare", "核对参保信息"

    class State(models.TextChoices):
        CHECKED = "checked", "待确认"
        WAITING = "waiting", "正在导入"
        DONE = "done", "已完成"
        FAILED = "failed", "未导入"

    purpose = models.CharField(max_length=7, choices=Purpose)
    file_name = models.CharField(max_length=200)
    file_cipher = models.BinaryField()
    file_sm3 = models.CharField(max_length=64)
    plan_sm3 = models.CharField("计划的摘要", max_length=64)
    on = models.DateField("核对时点", null=True, blank=True)
    state = models.CharField(max_length=7, choices=State, default=State.CHECKED)
    rows = models.PositiveIntegerField()
    counts = models.JSONField(default=dict)
    errors = models.JSONField(default=list)
    region_code = models.CharField(max_length=6)
    institution_code = models.CharField(max_length=12, blank=True)
    created_at = models.DateTimeField()
    created_by = models.CharField(max_length=150)
    confirmed_at = models.DateTimeField(null=True, blank=True)
    confirmed_by = models.CharField(max_length=150, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    objects = ScopedQuerySet.as_manager()

    class Meta:
        ordering = ("-pk",)
        constraints = (
            models.UniqueConstraint(
                fields=["purpose", "region_code", "file_sm3", "on"],
                condition=~Q(state="failed"),
                nulls_distinct=False,
                name="register_sheet_once",
            ),
            models.CheckConstraint(
                condition=Q(purpose="import", on__isnull=True)
                | Q(purpose="compare", on__isnull=False),
                name="register_sheet_day",
            ),
        )

    def __str__(self):
        return self.file_name


class RegisterDifference(models.Model):
    """A person in whom the register and an extract differ, and what was decided about it."""

    class Kind(models.TextChoices):
        ONLY_HERE = "only_here", "仅本门户登记"
        ONLY_THERE = "only_there", "仅核对表列有"
        SCHEME = "scheme", "险种不同"
        STANDING = "standing", "参保状态不同"
        DATES = "dates", "起止日不同"

    class State(models.TextChoices):
        OPEN = "open", "待处理"
        ADOPTED = "adopted", "已按核对表更正"
        KEPT = "kept", "保留本门户登记"

    sheet = models.ForeignKey(RegisterSheet, models.PROTECT, related_name="differences")
    kind = models.CharField(max_length=10, choices=Kind)
    person = models.ForeignKey(InsuredPerson, models.PROTECT, null=True, blank=True)
    id_hash = models.BinaryField(max_length=32)
    id_masked = models.CharField(max_length=24)
    name_masked = models.CharField(max_length=20)
    row = models.PositiveIntegerField("核对表的行", null=True, blank=True)
    ours = models.JSONField(default=dict)
    theirs = models.JSONField(default=dict)
    state = models.CharField(max_length=7, choices=State, default=State.OPEN)
    reason = models.CharField("理由", max_length=200, blank=True)
    decided_at = models.DateTimeField(null=True, blank=True)
    decided_by = models.CharField(max_length=150, blank=True)
    region_code = models.CharField(max_length=6)
    institution_code = models.CharField(max_length=12, blank=True)

    objects = ScopedQuerySet.as_manager()

    class Meta:
        ordering = ("pk",)
        indexes = (models.Index(fields=["sheet", "state", "kind"], name="register_difference_of"),)
        constraints = (
            models.UniqueConstraint(fields=["sheet", "id_hash"], name="register_difference_once"),
            models.CheckConstraint(
                condition=Q(state="open", decided_at__isnull=True)
                | (~Q(state="open") & Q(decided_at__isnull=False) & ~Q(reason="")),
                name="register_difference_decided",
            ),
            models.CheckConstraint(
                condition=Q(kind="only_there") | Q(person__isnull=False),
                name="register_difference_person",
            ),
        )

    def __str__(self):
        return f"{self.get_kind_display()} {self.id_masked}"
