"""总额预算 of a physical institution (温医保办〔2021〕6号 十八) and the clearing at the end of its year."""

from django.db import models
from django.db.models import F, Q

from audit.models import ScopedQuerySet
from settlement.models.persons import Scheme


class BudgetEntry(models.Model):
    """A line of the history of a yearly indicator: the first sets it, the others change it.

    `amount` is what is added (fen, below zero: taken away); the indicator is the sum of the approved
    lines. Append-only but for the decision of a second person. The institution is the physical one:
    the volume of its internet hospital counts inside it.
    """

    class Kind(models.TextChoices):
        INITIAL = "initial", "年初下达"
        ADJUSTMENT = "adjustment", "年中调整"

    class State(models.TextChoices):
        PROPOSED = "proposed", "待复核"
        APPROVED = "approved", "已生效"
        REFUSED = "refused", "不予同意"

    region_code = models.CharField(max_length=6)
    institution_code = models.CharField(max_length=12)
    scheme = models.CharField("险种", max_length=8, choices=Scheme)
    year = models.SmallIntegerField("年度")
    kind = models.CharField(max_length=10, choices=Kind)
    amount = models.BigIntegerField("金额")
    reason = models.CharField("理由", max_length=200)
    document = models.CharField("依据文件", max_length=120)
    state = models.CharField(max_length=8, choices=State, default=State.PROPOSED)
    proposed_at = models.DateTimeField()
    proposed_by = models.CharField("提出人", max_length=150)
    decided_at = models.DateTimeField(null=True, blank=True)
    decided_by = models.CharField("复核人", max_length=150, blank=True)
    decision = models.CharField("复核意见", max_length=200, blank=True)

    objects = ScopedQuerySet.as_manager()

    class Meta:
        ordering = ("pk",)
        indexes = (models.Index(fields=["institution_code", "year"], name="budget_institution"),)
        constraints = (
            models.UniqueConstraint(
                fields=["institution_code", "scheme", "year"],
                condition=Q(kind="initial") & ~Q(state="refused"),
                name="budget_set_once",
            ),
            models.CheckConstraint(
                condition=Q(kind="initial", amount__gt=0) | Q(kind="adjustment") & ~Q(amount=0),
                name="budget_amount",
            ),
            models.CheckConstraint(
                condition=Q(decided_by="") | ~Q(decided_by=F("proposed_by")),
                name="budget_second_person",
            ),
            models.CheckConstraint(
                condition=Q(state="proposed", decided_by="")
                | ~Q(state="proposed") & ~Q(decided_by=""),
                name="budget_decided_by_a_person",
            ),
            models.CheckConstraint(
                condition=~Q(reason="") & ~Q(document=""), name="budget_has_a_reason"
            ),
        )

    def __str__(self):
        return f"{self.institution_code} {self.year} {self.amount}"


class Clearing(models.Model):
    """年终清算: a service year of a physical institution and scheme against its indicator.

    `used` is what the pooled fund paid for the services of the year, whenever they were uploaded.
    `retained` (surplus left to the institution) or `borne` (its share of an overrun) moves money by
    CLEARING; `returned` of the deposits held by DEPOSIT_RETURN, the rest is `forfeited`.
    Once a year; again only after a reversal.
    """

    class State(models.TextChoices):
        PROPOSED = "proposed", "待复核"
        APPROVED = "approved", "已清算"
        REFUSED = "refused", "不予通过"
        REVERSED = "reversed", "已冲销"

    region_code = models.CharField(max_length=6)
    institution_code = models.CharField(max_length=12)
    scheme = models.CharField("险种", max_length=8, choices=Scheme)
    year = models.SmallIntegerField("服务年度")
    state = models.CharField(max_length=8, choices=State, default=State.PROPOSED)
    budget = models.BigIntegerField("年度总额指标")
    used = models.BigIntegerField("统筹基金使用")
    claims = models.IntegerField("结算笔数", default=0)
    retained = models.BigIntegerField("结余留用", default=0)
    borne = models.BigIntegerField("超支分担（机构）", default=0)
    deposit_held = models.BigIntegerField("保证金余额", default=0)
    returned = models.BigIntegerField("返还保证金", default=0)
    forfeited = models.BigIntegerField("不予返还保证金", default=0)
    return_ratio = models.IntegerField("返还比例（万分比）", default=0)
    score = models.IntegerField("考核得分（万分比）", null=True, blank=True)
    grade = models.CharField("考核等次", max_length=20, blank=True)
    tiers = models.JSONField("分担档次", default=list, help_text="how the difference was shared")
    deposits = models.JSONField(default=dict, help_text="institution code → fen held")
    basis = models.JSONField(default=dict)
    example = models.BooleanField("使用示例参数", default=False)
    proposed_at = models.DateTimeField()
    proposed_by = models.CharField("提出人", max_length=150)
    decided_at = models.DateTimeField(null=True, blank=True)
    decided_by = models.CharField("复核人", max_length=150, blank=True)
    decision = models.CharField("复核意见", max_length=200, blank=True)
    reversed_at = models.DateTimeField(null=True, blank=True)
    reversed_by = models.CharField(max_length=150, blank=True)
    reversal_reason = models.CharField(max_length=200, blank=True)

    objects = ScopedQuerySet.as_manager()

    class Meta:
        ordering = ("-year", "institution_code", "scheme", "-pk")
        constraints = (
            models.UniqueConstraint(
                fields=["institution_code", "scheme", "year"],
                condition=Q(state__in=("proposed", "approved")),
                name="clearing_once_a_year",
            ),
            models.CheckConstraint(
                condition=Q(decided_by="") | ~Q(decided_by=F("proposed_by")),
                name="clearing_second_person",
            ),
            models.CheckConstraint(
                condition=Q(retained__gte=0, borne__gte=0, returned__gte=0, forfeited__gte=0)
                & (Q(retained=0) | Q(borne=0))
                & Q(deposit_held=F("returned") + F("forfeited")),
                name="clearing_parts_add_up",
            ),
            models.CheckConstraint(
                condition=Q(retained__lte=0) | Q(retained__lte=F("budget") - F("used")),
                name="clearing_within_surplus",
            ),
            models.CheckConstraint(
                condition=Q(borne__lte=0) | Q(borne__lte=F("used") - F("budget")),
                name="clearing_within_overrun",
            ),
        )

    def __str__(self):
        return f"{self.institution_code} {self.year}"

    @property
    def difference(self) -> int:
        """What is left of the indicator (below zero: overrun)."""
        return self.budget - self.used

    @property
    def balance(self) -> int:
        """What the clearing gives the institution beside its deposits (below zero: takes back)."""
        return self.retained - self.borne
