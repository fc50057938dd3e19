"""Inspections (稽核、巡查、执法检查): a plan, what was drawn from which lists, a task per institution.

The agency's own patrols are distinct from the bureau's enforcement (温医保办〔2021〕6号 四、二十四). Who is
inspected and who inspects are both drawn by a stated seed that anybody can repeat (双随机).
"""

from django.db import models
from django.db.models import F, Q

from audit.models import ScopedQuerySet
from supervision.models.cases import NumberedPaper


class InspectionPlan(models.Model):
    """A plan of a year: what is looked at, how many institutions, by which seed they are drawn."""

    class Side(models.TextChoices):
        AGENCY = "agency", "经办稽核巡查"
        BUREAU = "bureau", "行政执法检查"

    class State(models.TextChoices):
        DRAFT = "draft", "待批准"
        APPROVED = "approved", "待抽取"
        DRAWN = "drawn", "检查中"
        CLOSED = "closed", "已完成"
        REFUSED = "refused", "未批准"

    number = models.CharField("计划号", max_length=40, unique=True)
    region_code = models.CharField(max_length=6)
    institution_code = models.CharField(max_length=12, blank=True)
    title = models.CharField("计划名称", max_length=120)
    side = models.CharField("检查类别", max_length=6, choices=Side)
    reason = models.CharField("检查事项", max_length=400)
    first_day = models.DateField("检查期间起")
    last_day = models.DateField("检查期间止")
    service_from = models.DateField("核查服务日起")
    service_until = models.DateField("核查服务日止")
    wanted = models.SmallIntegerField("抽取机构数")
    per_task = models.SmallIntegerField("每家检查人数")
    checklist = models.JSONField("检查清单", default=list, help_text="[{key, text, clause}]")
    state = models.CharField(max_length=8, choices=State, default=State.DRAFT)
    made_at = models.DateTimeField()
    made_by = models.CharField(max_length=150)
    approved_at = models.DateTimeField(null=True, blank=True)
    approved_by = models.CharField(max_length=150, blank=True)
    note = models.CharField("审批意见", max_length=400, blank=True)
    seed = models.CharField("随机种子", max_length=80, blank=True)
    drawn_at = models.DateTimeField(null=True, blank=True)
    drawn_by = models.CharField(max_length=150, blank=True)
    pool = models.JSONField(
        "抽取名单", default=dict, blank=True, help_text="institutions, inspectors: as drawn from"
    )
    result = models.CharField("总结", max_length=2000, blank=True)

    objects = ScopedQuerySet.as_manager()

    class Meta:
        ordering = ("-pk",)
        indexes = (models.Index(fields=["region_code", "-id"], name="inspection_plan_region"),)
        constraints = (
            models.CheckConstraint(
                condition=Q(last_day__gte=F("first_day"), service_until__gte=F("service_from")),
                name="inspection_plan_days",
            ),
            models.CheckConstraint(
                condition=Q(wanted__gte=1, per_task__gte=1), name="inspection_plan_sizes"
            ),
            models.CheckConstraint(
                condition=Q(approved_by="") | ~Q(approved_by=F("made_by")),
                name="inspection_plan_second_person",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=["drawn", "closed"]) | (~Q(seed="") & ~Q(drawn_by="")),
                name="inspection_plan_drawn_by_a_seed",
            ),
        )

    def __str__(self):
        return f"{self.number} {self.title}"


class InspectionTaskQuerySet(ScopedQuerySet):
    def visible_to(self, user):
        """Tasks inside a user's scope; an institution sees its own once told or inspected, not before."""
        rows = super().visible_to(user)
        known = Q(state="done") | Q(told_on__isnull=False)
        return rows.filter(known) if user.institution_id else rows


class InspectionTask(models.Model):
    """One drawn institution: who goes, what was seen, what came of it."""

    class State(models.TextChoices):
        OPEN = "open", "待检查"
        DONE = "done", "已检查"

    class Result(models.TextChoices):
        CLEAN = "clean", "未发现问题"
        ADVICE = "advice", "责令改正"
        CASE = "case", "移交立案"

    plan = models.ForeignKey(InspectionPlan, models.PROTECT, related_name="tasks")
    number = models.CharField("检查号", max_length=40, unique=True)
    region_code = models.CharField(max_length=6)
    institution_code = models.CharField(max_length=12)
    draw_no = models.SmallIntegerField("抽取次序")
    state = models.CharField(max_length=4, choices=State, default=State.OPEN)
    told_on = models.DateField("通知日", null=True, blank=True)
    answers = models.JSONField("检查记录", default=dict, blank=True)
    visited_on = models.DateField("检查日", null=True, blank=True)
    result = models.CharField("结果", max_length=6, choices=Result, blank=True)
    report = models.TextField("检查报告", max_length=4000, blank=True)
    done_at = models.DateTimeField(null=True, blank=True)
    done_by = models.CharField(max_length=150, blank=True)
    case = models.ForeignKey(
        "supervision.SupervisionCase", models.PROTECT, null=True, blank=True,
        related_name="inspections",
    )  # fmt: skip

    objects = InspectionTaskQuerySet.as_manager()

    class Meta:
        ordering = ("draw_no",)
        indexes = (models.Index(fields=["institution_code", "-id"], name="inspection_institution"),)
        constraints = (
            models.UniqueConstraint(
                fields=["plan", "institution_code"], name="inspection_once_in_a_plan"
            ),
            models.CheckConstraint(
                condition=Q(state="open", result="", visited_on__isnull=True, done_by="")
                | (Q(state="done", visited_on__isnull=False)
                   & ~Q(result="") & ~Q(report="") & ~Q(done_by="")),
                name="inspection_result_whole",
            ),
        )  # fmt: skip

    def __str__(self):
        return f"{self.number} {self.institution_code}"


class InspectionInspector(models.Model):
    """Who was drawn for a task; a recused one is replaced by the next of the draw."""

    task = models.ForeignKey(InspectionTask, models.PROTECT, related_name="inspectors")
    username = models.CharField("检查人员", max_length=150)
    certificate = models.CharField("证件号", max_length=40, blank=True)
    recused_at = models.DateTimeField(null=True, blank=True)
    recused_by = models.CharField(max_length=150, blank=True)
    reason = models.CharField("回避理由", max_length=400, blank=True)

    class Meta:
        ordering = ("pk",)
        constraints = (
            models.UniqueConstraint(fields=["task", "username"], name="inspection_inspector_once"),
            models.CheckConstraint(
                condition=Q(recused_at__isnull=True, recused_by="", reason="")
                | (Q(recused_at__isnull=False) & ~Q(recused_by="") & ~Q(reason="")),
                name="inspection_recusal_has_reason",
            ),
        )

    def __str__(self):
        return f"{self.task_id} {self.username}"


class InspectionPaperQuerySet(models.QuerySet):
    def visible_to(self, user):
        """Papers of a visible task; an institution reads what was served on it, with the receipts."""
        served = Q(kind="receipt") | Q(receipt__isnull=False)
        return self.filter(served) if user.institution_id else self


class InspectionPaper(NumberedPaper):
    """Papers of an inspection: who comes, when, why, on which basis; numbered by side and year.

    A recusal is asked for on paper (回避申请登记表) and open until its 回避决定书 names that paper.
    """

    class Kind(models.TextChoices):
        NOTICE = "notice", "检查通知书"
        RECEIPT = "receipt", "送达回证"
        REQUEST = "request", "回避申请登记表"
        RECUSAL = "recusal", "回避决定书"

    task = models.ForeignKey(InspectionTask, models.PROTECT, related_name="papers")
    kind = models.CharField("文书", max_length=8, choices=Kind)

    objects = InspectionPaperQuerySet.as_manager()

    class Meta:
        ordering = ("pk",)
        constraints = (
            models.CheckConstraint(
                condition=Q(kind="receipt", serves__isnull=False)
                | (~Q(kind="receipt") & Q(serves__isnull=True)),
                name="inspection_receipt_of_a_paper",
            ),
        )

    def __str__(self):
        return f"{self.get_kind_display()} {self.number}"
