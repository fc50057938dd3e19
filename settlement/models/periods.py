"""Settlement periods, and vouchers: every posting of money that is not a claim's settlement."""

from django.db import models
from django.db.models import Q

from audit.models import ScopedQuerySet
from settlement.models.persons import Scheme


class Period(models.Model):
    """A settlement month of a pooling region (统筹区). A month without a row is open.

    Posting share-locks the month (`settlement.periods.posting_month`), closing locks it exclusively;
    a row posted into a month that is closing or closed is refused by the database.
    """

    class State(models.TextChoices):
        OPEN = "open", "开放"
        CLOSING = "closing", "关账中"
        CLOSED = "closed", "已关账"

    pool = models.SlugField(
        max_length=30, help_text="policy region: institutions.Region.policy_region"
    )
    month = models.DateField()
    state = models.CharField(max_length=7, choices=State, default=State.OPEN)
    closing_at = models.DateTimeField(null=True, blank=True)
    closing_by = models.CharField(max_length=150, blank=True)
    closed_at = models.DateTimeField(null=True, blank=True)
    closed_by = models.CharField(max_length=150, blank=True)
    totals = models.JSONField(default=dict, blank=True)
    totals_sm3 = models.CharField(max_length=64, blank=True)

    class Meta:
        ordering = ("-month",)
        constraints = (
            models.UniqueConstraint(fields=["pool", "month"], name="period_once"),
            models.CheckConstraint(condition=Q(month__day=1), name="period_is_a_month"),
        )

    def __str__(self):
        return f"{self.month:%Y年%m月}"


class Voucher(models.Model):
    """A posting of money beside the claims: deduction, deposit, advance, payment, adjustment, fee …

    Its id is drawn from the sequence of claims and its legs lie in the one ledger (`Leg.claim_id` = id,
    version 1). `effect` is what the posting brings about, unique for ever: no retry posts twice.
    Append-only; a mistake is undone by a voucher that `reverses` it.
    """

    class Kind(models.TextChoices):
        DEDUCTION = "deduction", "审核扣款"
        DEPOSIT = "deposit", "质量保证金预留"
        DEPOSIT_RETURN = "deposit_return", "质量保证金返还"
        ADVANCE = "advance", "拨付预付款"
        SET_OFF = "set_off", "预付款冲抵"
        ASSESSMENT = "assessment", "考核扣减"
        PAYMENT = "payment", "拨付"
        BANK_RETURN = "bank_return", "银行退票"
        REFUND = "refund", "退回基金"
        ADJUSTMENT = "adjustment", "特殊调整"
        CLEARING = "clearing", "年终清算"
        REIMBURSEMENT = "reimbursement", "手工报销支付"
        REGIONAL = "regional", "异地清算"
        REGIONAL_PAID = "regional_paid", "异地清算划款"
        CONSULTATION = "consultation", "会诊费收取"
        SPLIT = "split", "会诊费分配"
        LINE_FEE = "line_fee", "专线与维保费应缴"
        LINE_PAYMENT = "line_payment", "专线与维保费缴纳"

    id = models.BigIntegerField(primary_key=True)
    number = models.CharField("凭证号", max_length=40, unique=True)
    kind = models.CharField(max_length=14, choices=Kind)
    effect = models.CharField(max_length=120, unique=True)
    subject = models.CharField("所属事项", max_length=80)
    period = models.DateField()
    region_code = models.CharField(max_length=6)
    institution_code = models.CharField(max_length=12, blank=True)
    scheme = models.CharField(max_length=8, choices=Scheme, blank=True)
    amount = models.BigIntegerField(help_text="fen, the sum of the debits")
    reason = models.CharField(max_length=200, blank=True)
    clause = models.CharField(max_length=120, blank=True)
    detail = models.JSONField(default=dict, blank=True)
    reverses = models.OneToOneField(
        "self", models.PROTECT, null=True, blank=True, related_name="reversed_by"
    )
    posted_at = models.DateTimeField()
    posted_by = models.CharField("制单", max_length=150)
    approved_by = models.CharField("复核", max_length=150, blank=True)

    objects = ScopedQuerySet.as_manager()

    class Meta:
        ordering = ("id",)
        indexes = (
            models.Index(fields=["subject"], name="voucher_subject"),
            models.Index(fields=["institution_code", "period"], name="voucher_institution"),
            models.Index(fields=["region_code", "period"], name="voucher_region"),
        )
        constraints = (
            models.CheckConstraint(condition=Q(amount__gt=0), name="voucher_moves_money"),
            models.CheckConstraint(
                condition=Q(approved_by="") | ~Q(approved_by=models.F("posted_by")),
                name="voucher_second_person",
            ),
            models.CheckConstraint(
                condition=~Q(kind="regional")
                | (Q(institution_code="", subject__startswith="claim:") & ~Q(scheme="")),
                name="voucher_regional_of_a_claim",
            ),
            models.CheckConstraint(
                condition=~Q(kind="deduction", institution_code="") | Q(detail__has_key="side"),
                name="voucher_deduction_of_whom",
            ),
        )

    def __str__(self):
        return self.number
