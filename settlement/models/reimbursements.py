"""手工报销: requests of insured persons, electronic invoices used once for ever, appointment slots."""

from django.db import models
from django.db.models import F, Q

from audit.models import Case, ScopedQuerySet
from institutions.models import Institution, Office
from settlement.models.payments import SealedAccount, Way
from settlement.models.persons import InsuredPerson


class EInvoice(models.Model):
    """The use of an electronic invoice (代码 and 号码): by one claim or request, once for ever.

    Given free (`released_at`) by a request that ended without a claim, and by a claim of a batch that was
    left out of it and so is never settled; the database refuses others.
    (通医保发〔2020〕25号 三（三）第2款)
    """

    number = models.CharField("电子发票号", max_length=40)
    holder = models.CharField(
        "使用者",
        max_length=80,
        help_text="claim:<institution>/<claim number> or reimbursement:<id>",
    )
    region_code = models.CharField(max_length=6)
    institution_code = models.CharField(max_length=12, blank=True)
    used_at = models.DateTimeField()
    released_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=["number"], condition=Q(released_at__isnull=True), name="einvoice_used_once"
            ),
        )

    def __str__(self):
        return self.number


class AppointmentSlot(models.Model):
    """A time at a counter of an office that persons can book (预约报销); never more than its capacity."""

    office = models.ForeignKey(Office, models.PROTECT, related_name="slots")
    region_code = models.CharField(max_length=6)
    institution_code = models.CharField(max_length=12, blank=True)
    day = models.DateField()
    starts = models.TimeField("开始")
    ends = models.TimeField("结束")
    capacity = models.SmallIntegerField("可预约数")
    booked = models.SmallIntegerField("已预约数", default=0)
    made_at = models.DateTimeField()
    made_by = models.CharField(max_length=150)

    objects = ScopedQuerySet.as_manager()

    class Meta:
        ordering = ("day", "starts")
        constraints = (
            models.UniqueConstraint(fields=["office", "day", "starts"], name="slot_once"),
            models.CheckConstraint(condition=Q(ends__gt=F("starts")), name="slot_lasts"),
            models.CheckConstraint(
                condition=Q(booked__gte=0, booked__lte=F("capacity")), name="slot_not_overbooked"
            ),
        )

    def __str__(self):
        return f"{self.day} {self.starts:%H:%M}–{self.ends:%H:%M}"


class Reimbursement(Case, SealedAccount):
    """手工报销: a person asks the agency for the fund's part of an invoice paid in full at an institution.

    `institution_code` stays empty: institutions see nothing of it. `payable` is what was calculated or
    approved last; what is paid is asked of the ledger (settlement.payment_sources).
    (通医保发〔2020〕25号 三（三）第2款; 社会保险经办条例 第二十条)
    """

    class Kind(models.TextChoices):
        MAIL = "mail", "邮寄报销"
        APPOINTMENT = "appointment", "预约报销"
        DEFERRED = "deferred", "延时报销"

    class Cause(models.TextChoices):
        NO_FUNCTION = "no_function", "机构没有联网结算功能"
        OUTAGE = "outage", "就诊当日结算系统故障"
        SUSPENDED = "suspended", "就诊当日本人被暂停联网结算"

    OVER = ("refused", "withdrawn")  #: its claim, if it had one, is its own no more

    number = models.CharField("申请号", max_length=40, unique=True)
    kind = models.CharField("报销方式", max_length=11, choices=Kind)
    person = models.ForeignKey(InsuredPerson, models.PROTECT)
    credential_cipher = models.BinaryField()
    phone_cipher = models.BinaryField(default=b"", blank=True)
    phone_tail = models.CharField("联系电话", max_length=4, blank=True)
    provider = models.ForeignKey(Institution, models.PROTECT, related_name="+")
    cause = models.CharField("未联网结算原因", max_length=11, choices=Cause)
    service_date = models.DateField("就诊日期")
    e_invoice_no = models.CharField("电子发票号", max_length=40)
    amount = models.BigIntegerField("发票金额", help_text="fen")
    way = models.CharField("收款方式", max_length=8, choices=Way, default=Way.BANK)
    tracking_no = models.CharField("快递单号", max_length=60, blank=True)
    deferred_until = models.DateField("约定提交日", null=True, blank=True)
    slot = models.ForeignKey(
        AppointmentSlot, models.PROTECT, null=True, blank=True, related_name="requests"
    )
    pending_account = models.JSONField("待复核的账户更正", default=dict, blank=True)
    pending_by = models.CharField(max_length=150, blank=True)
    claim_id = models.BigIntegerField(null=True, blank=True, unique=True)
    payable = models.BigIntegerField("应付个人", null=True, blank=True, help_text="fen")
    calculated_by = models.CharField("计算人", max_length=150, blank=True)
    approved_by = models.CharField("复核人", max_length=150, blank=True)

    objects = ScopedQuerySet.as_manager()

    class Meta:
        ordering = ("-pk",)
        indexes = (
            models.Index(fields=["person"], name="reimbursement_person"),
            models.Index(fields=["region_code", "state"], name="reimbursement_state"),
        )
        constraints = (
            models.UniqueConstraint(
                fields=["e_invoice_no"],
                condition=~Q(state__in=("refused", "withdrawn")),
                name="reimbursement_invoice_once",
            ),
            models.CheckConstraint(condition=Q(amount__gt=0), name="reimbursement_of_money"),
            models.CheckConstraint(
                condition=Q(institution_code=""), name="reimbursement_is_the_agencys"
            ),
            models.CheckConstraint(
                condition=~Q(state__in=("approved", "paying", "paid", "returned", "account_check"))
                | Q(claim_id__isnull=False, payable__gt=0) & ~Q(approved_by=""),
                name="reimbursement_paid_for_a_claim",
            ),
            models.CheckConstraint(
                condition=Q(approved_by="") | ~Q(approved_by=F("calculated_by")),
                name="reimbursement_second_person",
            ),
            models.CheckConstraint(
                condition=Q(way="account") | ~Q(bank="") & ~Q(number_tail=""),
                name="reimbursement_knows_its_way",
            ),
            models.CheckConstraint(
                condition=Q(slot__isnull=True) | Q(kind="appointment"),
                name="reimbursement_slot_of_an_appointment",
            ),
        )

    def __str__(self):
        return self.number

    @property
    def bound_to(self) -> str:
        """What its encrypted fields are bound to."""
        return f"reimbursement:{self.number}"
