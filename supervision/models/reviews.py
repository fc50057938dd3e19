"""Fee reviews (费用审核): a claim before a person, its lines with their verdicts, what the institution says.

A review is of one settled version of a claim. Its content never changes (trigger); verdicts may until
it is closed. (温医保办〔2021〕6号 二十四；通医保发〔2020〕25号 四（三）；国务院令第735号 第三十一条)
"""

from django.db import models
from django.db.models import F, Q

from audit.models import Case, ScopedQuerySet
from settlement.models import Deduction, Scheme
from supervision.models.findings import Finding


class SamplingPlan(models.Model):
    """A drawn sample (抽样审核): stated seed, shares by stratum, population fixed by a moment (append-only).

    The population is what was settled and counted at `drawn_at`; `population_sm3` is the digest of its
    claims, so that anybody who has the same claims draws the same sample (supervision.sampling).
    """

    number = models.CharField("方案号", max_length=40, unique=True)
    name = models.CharField("名称", max_length=80)
    pool = models.SlugField(max_length=30)
    region_code = models.CharField(max_length=6)
    institution_code = models.CharField(max_length=12, blank=True)
    first_day = models.DateField("服务日起")
    last_day = models.DateField("服务日止")
    seed = models.CharField("随机种子", max_length=80)
    shares = models.JSONField("抽样比例", help_text="per ten thousand, by stratum")
    population = models.IntegerField("总体单据数")
    population_sm3 = models.CharField(max_length=64)
    drawn = models.IntegerField("抽中单据数")
    strata = models.JSONField(
        "各层", help_text="[{institution, band, rule, population, share, drawn}]"
    )
    drawn_sm3 = models.CharField(max_length=64)
    drawn_at = models.DateTimeField()
    drawn_by = models.CharField("抽样人", max_length=150)

    objects = ScopedQuerySet.as_manager()

    class Meta:
        ordering = ("-pk",)
        constraints = (
            models.CheckConstraint(condition=Q(last_day__gte=F("first_day")), name="sampling_days"),
            models.CheckConstraint(
                condition=Q(drawn__gt=0, population__gte=F("drawn")),
                name="sampling_within_population",
            ),
            models.CheckConstraint(condition=~Q(seed=""), name="sampling_has_a_seed"),
        )

    def __str__(self):
        return self.number


class Review(Case):
    """One claim before a reviewer, in the version that counted when it was opened.

    `stake` is what the lines in question cost: held fee, or what the fund paid (fen); `cut` what the
    decision takes of it. First, second and third person are three different ones.
    """

    class Source(models.TextChoices):
        HELD = "held", "待审结算"
        FINDING = "finding", "疑点"
        SAMPLE = "sample", "抽样"
        MANUAL = "manual", "人工发起"

    class Severity(models.IntegerChoices):
        USUAL = 1, "一般"
        DOUBT = 2, "可疑"
        GRAVE = 3, "严重"

    claim_id = models.BigIntegerField()
    claim_no = models.CharField("单据号", max_length=40)
    claim_version = models.SmallIntegerField("结算版本")
    person_id = models.BigIntegerField()
    service_date = models.DateField("服务日")
    scheme = models.CharField("险种", max_length=8, choices=Scheme)
    pool = models.SlugField(max_length=30)
    source = models.CharField("来源", max_length=7, choices=Source)
    severity = models.SmallIntegerField("程度", choices=Severity)
    reason = models.CharField("事由", max_length=400)
    finding = models.ForeignKey(
        Finding, models.PROTECT, null=True, blank=True, related_name="reviews"
    )
    plan = models.ForeignKey(
        SamplingPlan, models.PROTECT, null=True, blank=True, related_name="reviews"
    )
    fee = models.BigIntegerField("费用")
    stake = models.BigIntegerField("涉审金额")
    cut = models.BigIntegerField("核减金额", default=0)
    round = models.SmallIntegerField("申诉轮次", default=0)
    decided_by = models.CharField("初审人", max_length=150, blank=True)
    decided_at = models.DateTimeField(null=True, blank=True)
    seconded_by = models.CharField("复核人", max_length=150, blank=True)
    seconded_at = models.DateTimeField(null=True, blank=True)
    ruled_by = models.CharField("复审人", max_length=150, blank=True)
    ruled_at = models.DateTimeField(null=True, blank=True)
    posted_version = models.SmallIntegerField("重新结算版本", null=True, blank=True)
    example = models.BooleanField("使用示例参数", default=False)

    objects = ScopedQuerySet.as_manager()

    class Meta:
        ordering = (F("due").asc(nulls_last=True), "-severity", "-stake", "pk")
        indexes = (
            models.Index(fields=["region_code", "state", "due"], name="review_region"),
            models.Index(fields=["institution_code", "state", "due"], name="review_institution"),
            models.Index(fields=["claim_id"], name="review_claim"),
            models.Index(
                fields=["due"], name="review_open", condition=Q(closed_at__isnull=True)
            ),
        )  # fmt: skip
        constraints = (
            models.UniqueConstraint(
                fields=["claim_id"], condition=Q(closed_at__isnull=True), name="review_one_open"
            ),
            models.CheckConstraint(
                condition=Q(seconded_by="") | ~Q(seconded_by=F("decided_by")),
                name="review_second_person",
            ),
            models.CheckConstraint(
                condition=Q(ruled_by="")
                | (~Q(ruled_by=F("decided_by")) & ~Q(ruled_by=F("seconded_by"))),
                name="review_third_person",
            ),
            models.CheckConstraint(
                condition=Q(seconded_by="", ruled_by="") | ~Q(decided_by=""),
                name="review_decided_first",
            ),
            models.CheckConstraint(
                condition=~Q(state="done") | ~Q(decided_by=""), name="review_done_by_a_person"
            ),
            models.CheckConstraint(
                condition=Q(claim_version__gt=0, fee__gte=0, stake__gte=0, cut__gte=0),
                name="review_sane",
            ),
            models.CheckConstraint(
                condition=(~Q(source="finding") | Q(finding__isnull=False))
                & (~Q(source="sample") | Q(plan__isnull=False)),
                name="review_has_its_source",
            ),
        )  # fmt: skip

    def __str__(self):
        return self.number

    @property
    def number(self) -> str:
        """审核单号."""
        return f"SH{self.pk:09d}"


class ReviewLine(models.Model):
    """A line in question and its verdict. Of a held line the fee is cut, of a paid one what was paid."""

    class Kind(models.TextChoices):
        HELD = "held", "待审"
        PAID = "paid", "已支付"

    class Verdict(models.TextChoices):
        PASS = "pass", "通过"
        CUT = "cut", "核减"
        HOLD = "hold", "暂缓"
        REFUSE = "refuse", "拒付（机构承担）"
        SELF_PAID = "self_paid", "转个人自费"

    review = models.ForeignKey(Review, models.PROTECT, related_name="lines")
    region_code = models.CharField(max_length=6)
    institution_code = models.CharField(max_length=12)
    line_no = models.SmallIntegerField("行号")
    kind = models.CharField(max_length=4, choices=Kind)
    item_code = models.CharField("项目", max_length=30)
    held_for = models.CharField("待审原因", max_length=40, blank=True)
    fee = models.BigIntegerField("费用")
    overcharge = models.BigIntegerField("多收", default=0)
    fund = models.BigIntegerField("统筹基金", default=0)
    verdict = models.CharField(max_length=9, choices=Verdict, blank=True)
    amount = models.BigIntegerField("核减金额", default=0)
    category = models.CharField("违规类别", max_length=14, choices=Deduction.Reason, blank=True)
    note = models.CharField("审核意见", max_length=200, blank=True)
    clause = models.CharField("依据", max_length=120, blank=True)
    marked_by = models.CharField(max_length=150, blank=True)
    marked_at = models.DateTimeField(null=True, blank=True)
    deduction_id = models.BigIntegerField(null=True, blank=True)

    objects = ScopedQuerySet.as_manager()

    class Meta:
        ordering = ("review_id", "line_no")
        indexes = (
            models.Index(
                fields=["institution_code", "item_code", "held_for"], name="review_line_alike"
            ),
        )
        constraints = (
            models.UniqueConstraint(fields=["review", "line_no"], name="review_line_once"),
            models.CheckConstraint(
                condition=Q(verdict="", marked_by="", marked_at__isnull=True)
                | (~Q(verdict="") & ~Q(marked_by="") & Q(marked_at__isnull=False)),
                name="review_line_marked_whole",
            ),
            models.CheckConstraint(
                condition=(Q(verdict="cut") & Q(amount__gt=0)) | (~Q(verdict="cut") & Q(amount=0)),
                name="review_line_cut_has_amount",
            ),
            models.CheckConstraint(
                condition=(Q(kind="held") & (Q(amount=0) | Q(amount__lt=F("fee"))))
                | (Q(kind="paid", amount__lte=F("fund")) & Q(verdict__in=["", "pass", "cut"])),
                name="review_line_cut_within",
            ),
            models.CheckConstraint(
                condition=Q(verdict__in=["", "pass", "hold"])
                | (~Q(note="") & ~Q(clause="") & ~Q(category="")),
                name="review_line_adverse_has_reason",
            ),
        )

    def __str__(self):
        return f"{self.review_id}/{self.line_no}"

    @property
    def taken(self) -> int:
        """What the verdict takes from the institution (or lays on the person), in fen."""
        return self.fee if self.verdict in ("refuse", "self_paid") else self.amount


class ReviewReply(models.Model):
    """What the institution says: material that was asked for, or an objection; and the answer to it."""

    class Kind(models.TextChoices):
        SUPPLEMENT = "supplement", "补充材料"
        OBJECTION = "objection", "申诉"

    review = models.ForeignKey(Review, models.PROTECT, related_name="replies")
    region_code = models.CharField(max_length=6)
    institution_code = models.CharField(max_length=12)
    kind = models.CharField(max_length=10, choices=Kind)
    text = models.CharField("内容", max_length=500)
    made_at = models.DateTimeField()
    made_by = models.CharField(max_length=150)
    signed_name = models.CharField("经办人", max_length=60, blank=True)
    answer = models.CharField("答复", max_length=500, blank=True)
    answered_at = models.DateTimeField(null=True, blank=True)
    answered_by = models.CharField(max_length=150, blank=True)

    objects = ScopedQuerySet.as_manager()

    class Meta:
        ordering = ("pk",)
        constraints = (
            models.CheckConstraint(
                condition=Q(answer="", answered_by="", answered_at__isnull=True)
                | (~Q(answer="") & ~Q(answered_by="") & Q(answered_at__isnull=False)),
                name="review_reply_answer_whole",
            ),
            models.CheckConstraint(
                condition=Q(answered_by="") | ~Q(answered_by=F("made_by")),
                name="review_reply_second_person",
            ),
        )

    def __str__(self):
        return f"{self.review_id} {self.kind}"
