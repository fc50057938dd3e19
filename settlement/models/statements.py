"""机构月结算单: what an institution is owed for a month in a scheme, from what was declared to what is paid.

Money is integer fen. Every step of the chain is a column, and the database checks that they add up.
"""

import datetime as dt

from django.db import models
from django.db.models import F, Q

from audit.models import Case, ScopedQuerySet
from institutions.models import Document
from settlement.models.claims import OfClaims
from settlement.models.persons import Scheme
from settlement.models.undoing import Undoable, by_two


class StatementQuerySet(ScopedQuerySet):
    def final(self):
        """Statements that nobody can change any more: confirmed by the institution, or decided."""
        return self.filter(state__in=Statement.FINAL)

    def payable(self):
        """Final statements with money to pay: what a payment list is made of."""
        return self.final().filter(payable__gt=0)


class Statement(Case):
    """One institution, scheme and month: declared → deducted → deposit → set-off → assessment → payable.

    `declared` is what the ledger owes for the claims of the month (`fund`: pooled fund, major illness and
    assistance; `account`: personal account; reversals included). `payable` below zero is carried to the
    next month, never paid. While `state` is not in FINAL the figures are a draft; their vouchers (subject
    `statement:<id>`) are posted once, when it becomes final. Its lines are the month's `Settlement` rows.
    (温医保办〔2021〕6号 十八、二十一、二十四)
    """

    FINAL = ("confirmed", "decided")

    scheme = models.CharField("险种", max_length=8, choices=Scheme)
    period = models.DateField("结算期", help_text="first day of the month")
    pool = models.SlugField(max_length=30, help_text="policy region, as in Period")

    claims = models.IntegerField("结算笔数", default=0)
    reversals = models.IntegerField("冲正笔数", default=0)
    held_claims = models.IntegerField("待审笔数", default=0)
    fee = models.BigIntegerField("费用总额", default=0)
    held = models.BigIntegerField("待审金额", default=0)
    fund = models.BigIntegerField("申报统筹基金", default=0)
    account = models.BigIntegerField("申报个人账户", default=0)
    declared = models.BigIntegerField("申报金额", default=0)
    deducted = models.BigIntegerField(
        "审核扣款", default=0, help_text="returned deductions negative"
    )
    deposit = models.BigIntegerField("质量保证金", default=0)
    set_off = models.BigIntegerField("预付款冲抵", default=0)
    assessment = models.BigIntegerField("考核扣减", default=0)
    adjustments = models.BigIntegerField(
        "特殊调整", default=0, help_text="owed more > 0 > owed less"
    )
    carried = models.BigIntegerField("上期结转", default=0, help_text="never above zero")
    payable = models.BigIntegerField("应付金额", default=0)

    deposit_ratio = models.IntegerField("保证金比例（万分比）", default=0)
    set_off_ratio = models.IntegerField("预付冲抵比例（万分比）", default=0)
    coefficient = models.IntegerField("考核系数（万分比）", default=10_000)
    example = models.BooleanField("使用示例参数", default=False)
    basis = models.JSONField(
        default=dict, blank=True, help_text="step → label and clause behind it"
    )
    digest = models.CharField(max_length=64, blank=True, help_text="SM3 of the figures as signed")

    edition = models.SmallIntegerField(
        "版次", default=1, help_text="raised when the month is reopened"
    )
    round = models.SmallIntegerField("送达次数", default=0)
    signed_name = models.CharField("机构确认人", max_length=60, blank=True)
    signed_at = models.DateTimeField("机构确认时间", null=True, blank=True)
    finalised_at = models.DateTimeField(null=True, blank=True)

    objects = StatementQuerySet.as_manager()

    class Meta:
        ordering = ("-period", "institution_code", "scheme")
        indexes = (
            models.Index(fields=["pool", "period"], name="statement_period"),
            models.Index(fields=["state", "period"], name="statement_state"),
        )
        constraints = (
            models.UniqueConstraint(
                fields=["institution_code", "scheme", "period"], name="statement_once"
            ),
            models.CheckConstraint(condition=Q(period__day=1), name="statement_of_a_month"),
            models.CheckConstraint(
                condition=Q(declared=F("fund") + F("account")), name="statement_declared_adds_up"
            ),
            models.CheckConstraint(
                condition=Q(
                    payable=F("declared") - F("deducted") - F("deposit") - F("set_off")
                    - F("assessment") + F("adjustments") + F("carried")
                ),
                name="statement_parts_add_up",
            ),
            models.CheckConstraint(
                condition=Q(deposit__gte=0, set_off__gte=0, assessment__gte=0, carried__lte=0),
                name="statement_signs",
            ),
            models.CheckConstraint(
                condition=Q(coefficient__range=(0, 10_000))
                & Q(deposit_ratio__range=(0, 10_000)) & Q(set_off_ratio__range=(0, 10_000)),
                name="statement_ratios",
            ),
            models.CheckConstraint(
                condition=Q(state__in=("confirmed", "decided"), finalised_at__isnull=False)
                | (~Q(state__in=("confirmed", "decided")) & Q(finalised_at__isnull=True)),
                name="statement_final_has_a_time",
            ),
            models.CheckConstraint(
                condition=~Q(state="confirmed") | ~Q(signed_name=""),
                name="statement_confirmed_is_signed",
            ),
        )  # fmt: skip

    def __str__(self):
        return self.number

    @property
    def number(self) -> str:
        """结算单号."""
        return f"JS{self.period:%Y%m}-{self.pk:07d}"

    @property
    def is_final(self) -> bool:
        return self.state in self.FINAL

    @property
    def is_sent(self) -> bool:
        """Whether its institution is asked to confirm it: its figures stand still."""
        return self.state == "sent"

    @property
    def next_period(self) -> dt.date:
        """The month after."""
        return (self.period + dt.timedelta(days=31)).replace(day=1)


class Deduction(models.Model):
    """A part of what was paid for a claim that the agency does not accept (第二十四条).

    `major`, `assistance` and `account` are the parts of `amount` that those payers get back, the rest is
    the pooled fund's. `amount` < 0 gives back what was deducted for a claim reversed later. A row bears on
    the statement that it is counted in; without one it waits for the next. Only its answer changes, by
    another person.
    """

    class Reason(models.TextChoices):
        FICTITIOUS = "fictitious", "虚构医药服务"
        SPLIT = "split", "分解服务"
        FORCED = "forced", "强制服务"
        INFLATED = "inflated", "虚报价格"
        SUBSTITUTED = "substituted", "串换项目"
        DUPLICATE = "duplicate", "重复收费"
        NOT_FOLLOW_UP = "not_follow_up", "不符合复诊规定"
        NOT_IN_LIST = "not_in_list", "不符合病种、目录或用药规定"
        RECORDS = "records", "病历、处方等材料不全"
        OTHER = "other", "其他违规"
        RETURNED = "returned", "冲正退回扣款"

    class State(models.TextChoices):
        MADE = "made", "已扣款"
        DISPUTED = "disputed", "机构有异议"
        KEPT = "kept", "维持"
        WITHDRAWN = "withdrawn", "撤销"

    statement = models.ForeignKey(
        Statement, models.PROTECT, null=True, blank=True, related_name="deductions"
    )
    region_code = models.CharField(max_length=6)
    institution_code = models.CharField(max_length=12)
    scheme = models.CharField(max_length=8, choices=Scheme)
    claim_id = models.BigIntegerField(db_index=True)
    line_no = models.SmallIntegerField("行号", null=True, blank=True)
    amount = models.BigIntegerField("扣款金额", help_text="fen")
    major = models.BigIntegerField("大病保险部分", default=0)
    assistance = models.BigIntegerField("医疗救助部分", default=0)
    account = models.BigIntegerField("个人账户部分", default=0)
    reason = models.CharField("扣款类别", max_length=14, choices=Reason)
    note = models.CharField("说明", max_length=200)
    clause = models.CharField("依据", max_length=120)
    state = models.CharField(max_length=9, choices=State, default=State.MADE)
    made_at = models.DateTimeField()
    made_by = models.CharField("审核人", max_length=150)
    dispute = models.CharField("机构异议", max_length=500, blank=True)
    answer = models.CharField("答复", max_length=500, blank=True)
    answered_at = models.DateTimeField(null=True, blank=True)
    answered_by = models.CharField("答复人", max_length=150, blank=True)

    objects = OfClaims.as_manager()

    class Meta:
        ordering = ("pk",)
        indexes = (
            models.Index(fields=["institution_code", "scheme"], name="deduction_institution"),
        )
        constraints = (
            models.CheckConstraint(
                condition=Q(amount__gt=0) & ~Q(reason="returned")
                | Q(amount__lt=0, reason="returned"),
                name="deduction_sign",
            ),
            models.CheckConstraint(
                condition=Q(
                    amount__gt=0,
                    major__gte=0,
                    assistance__gte=0,
                    account__gte=0,
                    amount__gte=F("major") + F("assistance") + F("account"),
                )
                | Q(
                    amount__lt=0,
                    major__lte=0,
                    assistance__lte=0,
                    account__lte=0,
                    amount__lte=F("major") + F("assistance") + F("account"),
                ),
                name="deduction_parts",
            ),
            models.CheckConstraint(
                condition=Q(answered_by="") | ~Q(answered_by=F("made_by")),
                name="deduction_second_person",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=("kept", "withdrawn"))
                | (~Q(answered_by="") & ~Q(answer="") & Q(answered_at__isnull=False)),
                name="deduction_answered",
            ),
            models.CheckConstraint(
                condition=~Q(state="disputed") | ~Q(dispute=""), name="deduction_dispute_says_why"
            ),
        )

    def __str__(self):
        return f"{self.claim_id} {self.amount}"


class Objection(models.Model):
    """What an institution says against a statement, and the answer of another person than the sender."""

    statement = models.ForeignKey(Statement, models.PROTECT, related_name="objections")
    region_code = models.CharField(max_length=6)
    institution_code = models.CharField(max_length=12)
    round = models.SmallIntegerField()
    reason = models.CharField("异议理由", max_length=500)
    claims = models.JSONField("涉及单据", default=list, blank=True)
    made_at = models.DateTimeField()
    made_by = models.CharField(max_length=150)
    signed_name = models.CharField("提出人", max_length=60)
    answer = models.CharField("答复", max_length=500, blank=True)
    answered_at = models.DateTimeField(null=True, blank=True)
    answered_by = models.CharField(max_length=150, blank=True)

    objects = ScopedQuerySet.as_manager()

    class Meta:
        ordering = ("round",)
        constraints = (
            models.UniqueConstraint(fields=["statement", "round"], name="objection_once_a_round"),
            models.CheckConstraint(
                condition=Q(answered_by="") | ~Q(answered_by=F("made_by")),
                name="objection_second_person",
            ),
        )

    def __str__(self):
        return f"{self.statement_id} {self.round}"


class Advance(Undoable):
    """预付款 to an institution: proposed by one person, approved by another, then owed.

    While it stands on no payment list and nothing of it was paid, two persons may withdraw it.
    What was paid of it stands in its vouchers (`payment_sources.paid_of`).
    """

    class State(models.TextChoices):
        PROPOSED = "proposed", "待复核"
        APPROVED = "approved", "已同意"
        REFUSED = "refused", "不予拨付"
        WITHDRAWING = "withdrawing", "待撤回复核"
        WITHDRAWN = "withdrawn", "已撤回"

    region_code = models.CharField(max_length=6)
    institution_code = models.CharField(max_length=12)
    scheme = models.CharField(max_length=8, choices=Scheme)
    amount = models.BigIntegerField()
    reason = models.CharField("事由", max_length=200)
    document = models.CharField("依据文号", max_length=120, blank=True)
    file = models.ForeignKey(
        Document, models.PROTECT, null=True, blank=True, related_name="+", help_text="附件"
    )
    state = models.CharField(max_length=11, choices=State, default=State.PROPOSED)
    proposed_at = models.DateTimeField()
    proposed_by = models.CharField("提出人", max_length=150)
    decided_at = models.DateTimeField(null=True, blank=True)
    decided_by = models.CharField("复核人", max_length=150, blank=True)
    decision = models.CharField("复核意见", max_length=200, blank=True)

    objects = ScopedQuerySet.as_manager()

    class Meta:
        ordering = ("-pk",)
        constraints = (
            models.CheckConstraint(condition=Q(amount__gt=0), name="advance_moves_money"),
            models.CheckConstraint(
                condition=Q(decided_by="") | ~Q(decided_by=F("proposed_by")),
                name="advance_second_person",
            ),
            models.CheckConstraint(
                condition=Q(state="proposed", decided_by="")
                | ~Q(state="proposed") & ~Q(decided_by=""),
                name="advance_decided_by_a_person",
            ),
            by_two("advance_withdrawn_by_two", asked="withdrawing", undone="withdrawn"),
        )

    def __str__(self):
        return f"{self.institution_code} {self.amount}"

    @property
    def subject(self) -> str:
        """What events, tasks and payments call it."""
        return f"advance:{self.pk}"


class Reopening(models.Model):
    """A closed month that is opened again: asked for by one person, done by another, with a reason."""

    class State(models.TextChoices):
        PROPOSED = "proposed", "待复核"
        DONE = "done", "已反关账"
        REFUSED = "refused", "不予反关账"

    pool = models.SlugField(max_length=30)
    month = models.DateField()
    reason = models.CharField("理由", max_length=200)
    state = models.CharField(max_length=8, choices=State, default=State.PROPOSED)
    proposed_at = models.DateTimeField()
    proposed_by = models.CharField(max_length=150)
    decided_at = models.DateTimeField(null=True, blank=True)
    decided_by = models.CharField(max_length=150, blank=True)
    decision = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering = ("-pk",)
        constraints = (
            models.UniqueConstraint(
                fields=["pool", "month"], condition=Q(state="proposed"), name="reopening_one_open"
            ),
            models.CheckConstraint(
                condition=Q(decided_by="") | ~Q(decided_by=F("proposed_by")),
                name="reopening_second_person",
            ),
            models.CheckConstraint(
                condition=Q(state="proposed", decided_by="")
                | ~Q(state="proposed") & ~Q(decided_by=""),
                name="reopening_decided_by_a_person",
            ),
        )

    def __str__(self):
        return f"{self.pool} {self.month:%Y-%m}"
