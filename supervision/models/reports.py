"""Reports that were ordered and their parts, samples that auditors drew.

A finished report is an `audit.Report`; an order is the way there: asked for, gathered once, laid out in
parts by workers, joined. What a sample holds never changes; the auditor's remark on a claim does.
(通医保发〔2020〕25号 三（四）、四（三）)
"""

from django.db import models
from django.db.models import F, Q

from audit.models import Report, ScopedQuerySet


class ReportOrder(models.Model):
    """One report that somebody asked for. `document` is the canonical JSON from which it is printed."""

    class State(models.TextChoices):
        WAITING = "waiting", "排队"
        PRINTING = "printing", "排版中"
        DONE = "done", "已完成"
        FAILED = "failed", "失败"
        CANCELLED = "cancelled", "已取消"

    OPEN = ("waiting", "printing")

    kind = models.SlugField("报告种类", max_length=40)
    title = models.CharField("标题", max_length=200)
    number = models.CharField("文号", max_length=60, unique=True)
    parameters = models.JSONField("参数", default=dict)
    region_code = models.CharField(max_length=6)
    institution_code = models.CharField(max_length=12, blank=True)
    state = models.CharField(max_length=9, choices=State, default=State.WAITING)
    asked_at = models.DateTimeField("提出时间")
    asked_by = models.CharField("提出人", max_length=150)
    attempts = models.SmallIntegerField(default=0, help_text="of gathering it")
    document = models.BinaryField(null=True)
    rows = models.IntegerField("明细行数", default=0)
    parts_total = models.IntegerField(default=0)
    parts_done = models.IntegerField(default=0)
    pages = models.IntegerField("页数", default=0)
    fault = models.CharField(max_length=300, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    report = models.OneToOneField(
        Report, models.PROTECT, null=True, blank=True, related_name="order"
    )

    objects = ScopedQuerySet.as_manager()

    class Meta:
        ordering = ("-pk",)
        indexes = (
            models.Index(fields=["region_code", "-id"], name="report_order_region"),
            models.Index(fields=["state"], name="report_order_state"),
        )
        constraints = (
            models.CheckConstraint(
                condition=Q(state="done", report__isnull=False)
                | ~Q(state="done") & Q(report__isnull=True),
                name="report_order_done_has_a_report",
            ),
            models.CheckConstraint(
                condition=Q(parts_done__gte=0) & Q(parts_done__lte=F("parts_total")),
                name="report_order_parts",
            ),
            models.CheckConstraint(
                condition=Q(state__in=("waiting", "printing"), finished_at__isnull=True)
                | ~Q(state__in=("waiting", "printing")) & Q(finished_at__isnull=False),
                name="report_order_end_has_a_time",
            ),
            models.CheckConstraint(
                condition=~Q(state="failed") | ~Q(fault=""), name="report_order_failure_says_why"
            ),
        )

    def __str__(self):
        return f"{self.title} {self.number}"

    @property
    def subject(self) -> str:
        """What events call it."""
        return f"reportorder:{self.pk}"

    @property
    def is_open(self) -> bool:
        return self.state in self.OPEN


class ReportPart(models.Model):
    """A run of a register's rows that one worker lays out; part 0 is cover and text.

    `slice` is all that its pages say, as JSON: whoever lays it out reads nothing else of the report.
    """

    order = models.ForeignKey(ReportOrder, models.PROTECT, related_name="parts")
    number = models.IntegerField()
    region_code = models.CharField(max_length=6)
    institution_code = models.CharField(max_length=12, blank=True)
    first_row = models.IntegerField()
    rows = models.IntegerField()
    first_page = models.IntegerField()
    pages = models.IntegerField()
    slice = models.BinaryField(null=True, help_text="until it is laid out")
    content = models.BinaryField(null=True)
    leased_at = models.DateTimeField(null=True)
    done_at = models.DateTimeField(null=True)

    objects = ScopedQuerySet.as_manager()

    class Meta:
        ordering = ("order", "number")
        constraints = (
            models.UniqueConstraint(fields=["order", "number"], name="report_part_once"),
            models.CheckConstraint(
                condition=Q(number=0) | Q(rows__gt=0, first_row__gte=0, pages__gt=0),
                name="report_part_has_rows",
            ),
            models.CheckConstraint(
                condition=Q(done_at__isnull=False) | Q(slice__isnull=False),
                name="report_part_waits_with_its_slice",
            ),
        )

    def __str__(self):
        return f"{self.order_id}/{self.number}"


class Sample(models.Model):
    """Claims drawn by a stated seed from a population of which the digest is kept. Append-only.

    The same seed over the same population is the same sample, in any language: `supervision/auditing.py`.
    """

    class Method(models.TextChoices):
        RANDOM = "random", "简单随机抽样"
        MONETARY = "monetary", "货币单位抽样"

    number = models.CharField("抽样编号", max_length=40, unique=True)
    region_code = models.CharField(max_length=6)
    institution_code = models.CharField(max_length=12, blank=True)
    institutions = models.JSONField("医疗机构", default=list, help_text="codes; empty: all")
    scheme = models.CharField("险种", max_length=8, blank=True)
    first_day = models.DateField("服务日起")
    last_day = models.DateField("服务日止")
    method = models.CharField("方法", max_length=8, choices=Method)
    seed = models.CharField("随机种子", max_length=80)
    size = models.IntegerField("应抽数")
    population = models.IntegerField("总体单据数")
    value = models.BigIntegerField("总体费用", help_text="fen")
    population_sm3 = models.CharField("总体摘要", max_length=64)
    drawn_at = models.DateTimeField("抽取时间")
    drawn_by = models.CharField("抽取人", max_length=150)
    note = models.CharField("用途", max_length=200, blank=True)

    objects = ScopedQuerySet.as_manager()

    class Meta:
        ordering = ("-pk",)
        constraints = (
            models.CheckConstraint(condition=Q(last_day__gte=F("first_day")), name="sample_days"),
            models.CheckConstraint(
                condition=Q(size__gt=0, population__gte=F("size"), value__gte=0),
                name="sample_of_a_population",
            ),
            models.CheckConstraint(condition=~Q(seed=""), name="sample_states_its_seed"),
        )

    def __str__(self):
        return self.number

    @property
    def subject(self) -> str:
        """What events call it."""
        return f"sample:{self.pk}"


class SampledClaim(models.Model):
    """A claim of a sample, with what the auditor found in it."""

    class Verdict(models.TextChoices):
        OPEN = "", "待核查"
        CLEAN = "clean", "未见异常"
        DOUBT = "doubt", "存在疑问"

    sample = models.ForeignKey(Sample, models.PROTECT, related_name="claims")
    no = models.IntegerField("序号")
    region_code = models.CharField(max_length=6)
    institution_code = models.CharField(max_length=12)
    claim_id = models.BigIntegerField()
    fee = models.BigIntegerField()
    hits = models.IntegerField(
        "命中次数", default=1, help_text="monetary units of it that were drawn"
    )
    verdict = models.CharField(max_length=5, choices=Verdict, blank=True, default="")
    remark = models.CharField("核查记录", max_length=400, blank=True)
    judged_at = models.DateTimeField(null=True, blank=True)
    judged_by = models.CharField("核查人", max_length=150, blank=True)

    objects = ScopedQuerySet.as_manager()

    class Meta:
        ordering = ("sample", "no")
        constraints = (
            models.UniqueConstraint(fields=["sample", "claim_id"], name="sampled_claim_once"),
            models.UniqueConstraint(fields=["sample", "no"], name="sampled_claim_no"),
            models.CheckConstraint(condition=Q(hits__gt=0), name="sampled_claim_hit"),
            models.CheckConstraint(
                condition=Q(verdict="", judged_by="", judged_at__isnull=True)
                | ~Q(verdict="") & ~Q(judged_by="") & Q(judged_at__isnull=False),
                name="sampled_claim_judged_by_a_person",
            ),
            models.CheckConstraint(
                condition=~Q(verdict="doubt") | ~Q(remark=""), name="sampled_claim_doubt_says_why"
            ),
        )

    def __str__(self):
        return f"{self.sample_id}/{self.no}"
