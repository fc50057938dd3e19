"""Payments: lists that two persons make, their orders with what the bank answered, money that comes back."""

from django.db import models
from django.db.models import F, Q

from audit.models import ScopedQuerySet
from institutions.models import Institution
from settlement.models.persons import InsuredPerson
from settlement.models.undoing import Undoable, by_two


class SealedAccount(models.Model):
    """A bank account as kept: bank and last digits readable, number and holder encrypted. Abstract.

    `number_hash` says that two accounts are the same one. Empty `bank`: no account is needed.
    """

    bank = models.CharField("开户行", max_length=120, blank=True)
    holder_masked = models.CharField("户名", max_length=120, blank=True)
    number_tail = models.CharField(max_length=4, blank=True)
    holder_cipher = models.BinaryField(default=b"", blank=True)
    number_cipher = models.BinaryField(default=b"", blank=True)
    number_hash = models.BinaryField(max_length=32, null=True, blank=True)

    class Meta:
        abstract = True

    @property
    def account_masked(self) -> str:
        """What a page shows of the number."""
        return f"**** {self.number_tail}" if self.number_tail else ""


class Way(models.TextChoices):
    """How money reaches a payee. (医疗保障基金使用监督管理条例 第四十五条: a refund goes back that way)"""

    BANK = "bank", "银行转账"
    ACCOUNT = "account", "划入医保个人账户"


class Payee(models.TextChoices):
    INSTITUTION = "institution", "定点医疗机构"
    PERSON = "person", "参保人员"


class PaymentList(models.Model):
    """拨付清单: prepared by one person, approved by another, sent to the bank as one file.

    Its sum and its orders do not change after approval; `file_sm3` is the hash of the file that went
    out, so that it can be made again byte for byte and never differently.
    """

    class State(models.TextChoices):
        PREPARED = "prepared", "待复核"
        APPROVED = "approved", "已复核，待导出"
        EXPORTED = "exported", "已送银行"
        DONE = "done", "已办结"
        REFUSED = "refused", "复核退回"

    number = models.CharField("清单号", max_length=40, unique=True)
    region_code = models.CharField(max_length=6)
    institution_code = models.CharField(max_length=12, blank=True)
    state = models.CharField(max_length=8, choices=State, default=State.PREPARED)
    count = models.IntegerField("笔数")
    total = models.BigIntegerField("金额", help_text="fen")
    note = models.CharField("用途", max_length=200, blank=True)
    prepared_at = models.DateTimeField()
    prepared_by = models.CharField("制单", max_length=150)
    approved_at = models.DateTimeField(null=True, blank=True)
    approved_by = models.CharField("复核", max_length=150, blank=True)
    refusal = models.CharField("退回理由", max_length=200, blank=True)
    exports = models.IntegerField("导出次数", default=0)
    exported_at = models.DateTimeField("首次导出", null=True, blank=True)
    exported_by = models.CharField(max_length=150, blank=True)
    file_sm3 = models.JSONField("银行文件 SM3", default=dict, blank=True, help_text="format → hash")
    closed_at = models.DateTimeField(null=True, blank=True)

    objects = ScopedQuerySet.as_manager()

    class Meta:
        ordering = ("-pk",)
        constraints = (
            models.CheckConstraint(
                condition=Q(count__gt=0, total__gt=0), name="payment_list_moves_money"
            ),
            models.CheckConstraint(
                condition=Q(approved_by="") | ~Q(approved_by=F("prepared_by")),
                name="payment_list_second_person",
            ),
            models.CheckConstraint(
                condition=Q(state="prepared", approved_by="")
                | ~Q(state="prepared") & ~Q(approved_by="") & Q(approved_at__isnull=False),
                name="payment_list_approved_by_a_person",
            ),
            models.CheckConstraint(
                condition=~Q(state="exported") | Q(exports__gt=0),
                name="payment_list_exported_before_sent",
            ),
            models.CheckConstraint(
                condition=Q(institution_code=""), name="payment_list_is_the_agencys"
            ),
        )

    def __str__(self):
        return self.number

    @property
    def subject(self) -> str:
        """What events and tasks call it."""
        return f"paymentlist:{self.pk}"


class PaymentOrder(SealedAccount):
    """One payment of a list to one payee for one source; a further try is a new order (`attempt`).

    `subject` is the source (`statement:<id>`, `reimbursement:<id>`, `adjustment:<number>`): one live
    order each. What money moved stands in vouchers of the effects `order:<id>/payment` and
    `order:<id>/return`.
    """

    class State(models.TextChoices):
        LISTED = "listed", "在清单"
        SENT = "sent", "已送银行"
        PAID = "paid", "已支付"
        RETURNED = "returned", "银行退票"
        REJECTED = "rejected", "银行拒付"
        DROPPED = "dropped", "已撤下"

    LIVE = ("listed", "sent")

    list = models.ForeignKey(PaymentList, models.PROTECT, related_name="orders")
    number = models.CharField("指令号", max_length=48, unique=True)
    region_code = models.CharField(max_length=6)
    institution_code = models.CharField(max_length=12, blank=True)
    subject = models.CharField("款项来源", max_length=80)
    attempt = models.SmallIntegerField("第几次支付", default=1)
    payee = models.CharField("收款方", max_length=11, choices=Payee)
    payee_institution = models.ForeignKey(Institution, models.PROTECT, null=True, blank=True)
    payee_person = models.ForeignKey(InsuredPerson, models.PROTECT, null=True, blank=True)
    scheme = models.CharField(max_length=8, blank=True)
    purpose = models.CharField("用途", max_length=120)
    way = models.CharField(max_length=8, choices=Way, default=Way.BANK)
    amount = models.BigIntegerField("金额", help_text="fen")
    warning = models.CharField("疑似重复", max_length=200, blank=True)
    state = models.CharField(max_length=8, choices=State, default=State.LISTED)
    bank_serial = models.CharField("银行流水号", max_length=60, blank=True)
    result_on = models.DateField("银行处理日", null=True, blank=True)
    reason = models.CharField("退票或拒付原因", max_length=200, blank=True)
    result_at = models.DateTimeField(null=True, blank=True)
    result_by = models.CharField("结果登记人", max_length=150, blank=True)

    objects = ScopedQuerySet.as_manager()

    class Meta:
        ordering = ("pk",)
        indexes = (models.Index(fields=["subject"], name="payment_order_subject"),)
        constraints = (
            models.UniqueConstraint(
                fields=["subject"], condition=Q(state__in=("listed", "sent")),
                name="payment_one_live_order",
            ),
            models.UniqueConstraint(fields=["subject", "attempt"], name="payment_attempt_once"),
            models.UniqueConstraint(
                fields=["region_code", "bank_serial"], condition=~Q(bank_serial=""),
                name="payment_bank_serial_once",
            ),
            models.CheckConstraint(condition=Q(amount__gt=0), name="payment_moves_money"),
            models.CheckConstraint(
                condition=Q(payee="institution", payee_institution__isnull=False,
                            payee_person__isnull=True)
                | Q(payee="person", payee_institution__isnull=True, payee_person__isnull=False),
                name="payment_has_its_payee",
            ),
            models.CheckConstraint(
                condition=~Q(bank="") & ~Q(number_tail="") & Q(way="bank")
                | Q(way="account", payee="person"),
                name="payment_knows_its_way",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=("paid", "returned", "rejected")) | ~Q(result_by=""),
                name="payment_result_has_a_name",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=("returned", "rejected")) | ~Q(reason=""),
                name="payment_failure_says_why",
            ),
            models.CheckConstraint(
                condition=Q(institution_code=""), name="payment_order_is_the_agencys"
            ),
        )  # fmt: skip

    def __str__(self):
        return self.number

    @property
    def bound_to(self) -> str:
        """What the encrypted account of this order is bound to."""
        return f"order:{self.number}"


class Refund(models.Model):
    """Money of a payment that came back from its payee, the way it went; confirmed by a second person.

    (医疗保障基金使用监督管理条例 第四十五条: 退回的基金退回原账户)
    """

    class State(models.TextChoices):
        RECORDED = "recorded", "待复核"
        POSTED = "posted", "已入账"
        REFUSED = "refused", "复核退回"

    number = models.CharField("退款单号", max_length=40, unique=True)
    region_code = models.CharField(max_length=6)
    institution_code = models.CharField(max_length=12, blank=True)
    order = models.ForeignKey(PaymentOrder, models.PROTECT, related_name="refunds")
    amount = models.BigIntegerField("金额", help_text="fen")
    way = models.CharField("退回途径", max_length=8, choices=Way)
    bank_serial = models.CharField("银行流水号", max_length=60, blank=True)
    received_on = models.DateField("到账日")
    reason = models.CharField("退款事由", max_length=200)
    clause = models.CharField("依据", max_length=120, blank=True)
    state = models.CharField(max_length=8, choices=State, default=State.RECORDED)
    recorded_at = models.DateTimeField()
    recorded_by = models.CharField("登记人", max_length=150)
    decided_at = models.DateTimeField(null=True, blank=True)
    decided_by = models.CharField("复核人", max_length=150, blank=True)

    objects = ScopedQuerySet.as_manager()

    class Meta:
        ordering = ("-pk",)
        constraints = (
            models.CheckConstraint(condition=Q(amount__gt=0), name="refund_moves_money"),
            models.CheckConstraint(
                condition=Q(decided_by="") | ~Q(decided_by=F("recorded_by")),
                name="refund_second_person",
            ),
            models.CheckConstraint(
                condition=Q(state="recorded", decided_by="")
                | ~Q(state="recorded") & ~Q(decided_by=""),
                name="refund_decided_by_a_person",
            ),
            models.CheckConstraint(
                condition=~Q(bank_serial="") | Q(way="account"), name="refund_names_its_serial"
            ),
            models.UniqueConstraint(
                fields=["region_code", "bank_serial"],
                condition=~Q(bank_serial="") & ~Q(state="refused"), name="refund_serial_once",
            ),
            models.CheckConstraint(
                condition=Q(institution_code=""), name="refund_is_the_agencys"
            ),
        )  # fmt: skip

    def __str__(self):
        return self.number


class RegionalTransfer(Undoable):
    """异地清算划款: what an insured region paid a treating one, as a person of the latter confirms.

    Registered by the region that owes (`payer`, `region_code`), seen by both; posted by two vouchers.
    A person of either region (`undo_pool`) asks for its reversal, one of the other reverses both.
    """

    class State(models.TextChoices):
        RECORDED = "recorded", "待到账核对"
        POSTED = "posted", "已入账"
        REFUSED = "refused", "退回"
        REVERSING = "reversing", "待冲销复核"
        REVERSED = "reversed", "已冲销"

    region_code = models.CharField(max_length=6)
    receiver_code = models.CharField(max_length=6)
    payer = models.SlugField("付款统筹区", max_length=30)
    receiver = models.SlugField("收款统筹区", max_length=30)
    amount = models.BigIntegerField("金额", help_text="fen")
    paid_on = models.DateField("付款日")
    bank_serial = models.CharField("银行流水号", max_length=60)
    state = models.CharField(max_length=9, choices=State, default=State.RECORDED)
    recorded_at = models.DateTimeField()
    recorded_by = models.CharField("登记人", max_length=150)
    decided_at = models.DateTimeField(null=True, blank=True)
    decided_by = models.CharField("核对人", max_length=150, blank=True)
    reason = models.CharField("退回理由", max_length=200, blank=True)
    undo_pool = models.SlugField("申请冲销的统筹区", max_length=30, blank=True, default="")

    class Meta:
        ordering = ("-pk",)
        constraints = (
            models.CheckConstraint(
                condition=Q(amount__gt=0) & ~Q(payer=F("receiver")),
                name="regional_transfer_moves_money",
            ),
            models.CheckConstraint(
                condition=Q(decided_by="") | ~Q(decided_by=F("recorded_by")),
                name="regional_transfer_second_person",
            ),
            models.CheckConstraint(
                condition=Q(state="recorded", decided_by="")
                | ~Q(state="recorded") & ~Q(decided_by=""),
                name="regional_transfer_decided_by_a_person",
            ),
            models.UniqueConstraint(
                fields=["payer", "bank_serial"], condition=~Q(state__in=("refused", "reversed")),
                name="regional_transfer_serial_once",
            ),
            by_two("regional_transfer_reversed_by_two", asked="reversing", undone="reversed"),
        )  # fmt: skip

    def __str__(self):
        return f"{self.payer} {self.receiver} {self.amount}"

    @property
    def subject(self) -> str:
        """What events, tasks and vouchers call it."""
        return f"regionaltransfer:{self.pk}"
