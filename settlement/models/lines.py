"""Lines and maintenance of the telemedicine network, and their yearly bills. (吉卫便函〔2021〕3号 二)"""

from django.db import models
from django.db.models import F, Q

from audit.models import ScopedQuerySet
from institutions.models import Document, Institution


class RegisterQuerySet(ScopedQuerySet):
    def standing(self):
        """What was not registered by mistake."""
        return self.filter(voided_at=None)


class Voidable(models.Model):
    """A row of the register, never deleted.

    What was registered by mistake is voided by a second person; its number is free again.
    """

    recorded_at = models.DateTimeField()
    recorded_by = models.CharField(max_length=150)
    voided_at = models.DateTimeField(null=True, blank=True)
    voided_by = models.CharField(max_length=150, blank=True, default="")
    void_reason = models.CharField("作废理由", max_length=200, blank=True, default="")

    objects = RegisterQuerySet.as_manager()

    class Meta:
        abstract = True


def _voided_by_another(name):
    return models.CheckConstraint(
        condition=Q(voided_at=None, voided_by="", void_reason="")
        | Q(voided_at__isnull=False)
        & ~Q(voided_by="")
        & ~Q(void_reason="")
        & ~Q(voided_by=F("recorded_by")),
        name=name,
    )


class NetworkLine(Voidable):
    """Lines of one kind that an institution opened on one day; closed, never deleted."""

    class Service(models.TextChoices):
        SINGLE = "single", "单业务"
        MULTI = "multi", "多业务"

    class Tier(models.TextChoices):
        PROVINCIAL = "provincial", "省级"
        MUNICIPAL = "municipal", "市级"
        COUNTY = "county", "县级"
        TOWNSHIP = "township", "乡镇"
        COMMUNITY = "community", "社区"

    institution = models.ForeignKey(Institution, models.PROTECT, related_name="+")
    number = models.CharField("线路编号", max_length=40)
    service = models.CharField("业务", max_length=6, choices=Service)
    bandwidth_mb = models.PositiveIntegerField("带宽（兆）")
    count = models.PositiveSmallIntegerField("条数", default=1)
    tier = models.CharField("层级", max_length=10, choices=Tier)
    opened_on = models.DateField("开通日")
    closed_on = models.DateField("停用日", null=True, blank=True)
    construction_note = models.CharField("开通工程", max_length=200, blank=True)
    construction_fee = models.BigIntegerField("工程费用", null=True, blank=True, help_text="fen")
    construction_payer = models.CharField("工程费用承担方", max_length=80, blank=True)
    region_code = models.CharField(max_length=6)
    institution_code = models.CharField(max_length=12)

    class Meta:
        ordering = ("institution_id", "opened_on", "id")
        constraints = (
            models.UniqueConstraint(
                fields=["number"], condition=Q(voided_at=None), name="line_number_once"
            ),
            _voided_by_another("line_voided_by_another"),
            models.CheckConstraint(
                condition=Q(bandwidth_mb__gt=0, count__gt=0), name="line_has_width"
            ),
            models.CheckConstraint(
                condition=Q(closed_on__isnull=True) | Q(closed_on__gte=F("opened_on")),
                name="line_closed_after_opening",
            ),
            models.CheckConstraint(
                condition=Q(construction_fee__isnull=True) | Q(construction_fee__gte=0),
                name="line_construction_fee",
            ),
        )

    def __str__(self):
        return self.number


class MaintenanceContract(Voidable):
    """What an institution agreed for maintenance: base and rate; owed from `starts_on` (I-JL-7)."""

    institution = models.ForeignKey(Institution, models.PROTECT, related_name="+")
    number = models.CharField("合同编号", max_length=60)
    base = models.BigIntegerField("协议金额", help_text="fen")
    rate = models.IntegerField("维保费率", help_text="per ten thousand")
    accepted_on = models.DateField("验收合格日", null=True, blank=True)
    starts_on = models.DateField("维保起始日")
    ends_on = models.DateField("终止日", null=True, blank=True)
    document = models.ForeignKey(Document, models.PROTECT, null=True, blank=True)
    region_code = models.CharField(max_length=6)
    institution_code = models.CharField(max_length=12)

    class Meta:
        ordering = ("institution_id", "starts_on", "id")
        constraints = (
            models.UniqueConstraint(
                fields=["number"], condition=Q(voided_at=None), name="contract_number_once"
            ),
            _voided_by_another("contract_voided_by_another"),
            models.CheckConstraint(
                condition=Q(base__gte=0, rate__gt=0, rate__lte=10_000), name="maintenance_rate"
            ),
            models.CheckConstraint(
                condition=Q(ends_on__isnull=True) | Q(ends_on__gte=F("starts_on")),
                name="maintenance_span",
            ),
        )

    def __str__(self):
        return self.number


class FeeBillQuerySet(ScopedQuerySet):
    def overdue(self, *, on):
        """Bills of which the institution or the commission owes a part whose last day has passed.

        No roll-over (I-JL-6).
        """
        owed = Q(state=FeeBill.State.CONFIRMED) | (
            ~Q(state=FeeBill.State.DRAFT) & Q(commission__gt=0, commission_paid_on=None)
        )
        return self.filter(owed, due_on__lt=on)


class FeeBill(models.Model):
    """What an institution owes for a calendar year: service years that begin in it, whole (I-JL-4).

    `part` 1 is the bill of the year; later parts (追加账单) hold what was registered after it was confirmed.
    """

    class State(models.TextChoices):
        DRAFT = "draft", "待确认"
        CONFIRMED = "confirmed", "待缴"
        PAID = "paid", "已缴清"
        NOTHING = "nothing", "无须缴纳"

    institution = models.ForeignKey(Institution, models.PROTECT, related_name="+")
    year = models.SmallIntegerField()
    part = models.PositiveSmallIntegerField("份次", default=1)
    number = models.CharField("账单号", max_length=40, unique=True)
    state = models.CharField(max_length=9, choices=State, default=State.DRAFT)
    amount = models.BigIntegerField(default=0, help_text="fen, borne by the institution")
    commission = models.BigIntegerField(default=0, help_text="fen, borne by the commission")
    by_month = models.BigIntegerField(default=0, help_text="fen, the other reading")
    open_items = models.SmallIntegerField(default=0)
    due_on = models.DateField("缴费期限")
    release_id = models.IntegerField()
    region_code = models.CharField(max_length=6)
    institution_code = models.CharField(max_length=12)
    made_at = models.DateTimeField()
    made_by = models.CharField(max_length=150)
    confirmed_at = models.DateTimeField(null=True, blank=True)
    confirmed_by = models.CharField(max_length=150, blank=True)
    paid_on = models.DateField("缴费日", null=True, blank=True)
    paid_by = models.CharField(max_length=150, blank=True)
    payment_no = models.CharField("缴费凭据", max_length=60, blank=True)
    commission_paid_on = models.DateField(null=True, blank=True)
    commission_payment_no = models.CharField(max_length=60, blank=True)
    handled_on = models.DateField("处理日", null=True, blank=True)
    handled_note = models.CharField("逾期处理", max_length=200, blank=True)
    handled_by = models.CharField(max_length=150, blank=True)

    objects = FeeBillQuerySet.as_manager()

    class Meta:
        ordering = ("-year", "institution_id", "part")
        indexes = (models.Index(fields=["state", "due_on"], name="fee_bill_due"),)
        constraints = (
            models.UniqueConstraint(
                fields=["institution", "year", "part"], name="fee_bill_part_of_a_year"
            ),
            models.UniqueConstraint(
                fields=["institution", "year"],
                condition=Q(state="draft"),
                name="fee_bill_one_draft_of_a_year",
            ),
            models.CheckConstraint(condition=Q(part__gt=0), name="fee_bill_part"),
            models.CheckConstraint(
                condition=Q(amount__gte=0, commission__gte=0, by_month__gte=0, open_items__gte=0),
                name="fee_bill_amounts",
            ),
            models.CheckConstraint(
                condition=Q(state="draft", confirmed_at__isnull=True)
                | (~Q(state="draft") & Q(confirmed_at__isnull=False, open_items=0)),
                name="fee_bill_confirmed",
            ),
            models.CheckConstraint(
                condition=Q(state="paid", paid_on__isnull=False, amount__gt=0)
                | (~Q(state="paid") & Q(paid_on__isnull=True)),
                name="fee_bill_paid",
            ),
            models.CheckConstraint(
                condition=~Q(state="confirmed") | Q(amount__gt=0), name="fee_bill_owed"
            ),
            models.UniqueConstraint(
                fields=["payment_no"], condition=~Q(payment_no=""), name="fee_payment_once"
            ),
        )

    def __str__(self):
        return self.number

    @property
    def commission_owed(self) -> bool:
        """Whether the commission has still to pay its part."""
        return (
            self.state != self.State.DRAFT
            and self.commission > 0
            and self.commission_paid_on is None
        )

    @property
    def owed(self) -> bool:
        """Whether anybody has still to pay."""
        return self.state == self.State.CONFIRMED or self.commission_owed


class FeeItem(models.Model):
    """A service year of a line or a maintenance year of a contract on a bill.

    An item that the tariff does not answer (`decision` review) is open until a person decides it.
    """

    bill = models.ForeignKey(FeeBill, models.CASCADE, related_name="items")
    line = models.ForeignKey(NetworkLine, models.PROTECT, null=True, blank=True)
    contract = models.ForeignKey(MaintenanceContract, models.PROTECT, null=True, blank=True)
    number = models.SmallIntegerField(help_text="which service or maintenance year")
    first = models.DateField()
    last = models.DateField()
    amount = models.BigIntegerField(null=True, blank=True, help_text="fen, institution")
    commission = models.BigIntegerField(null=True, blank=True)
    decision = models.CharField(max_length=8)
    reason = models.CharField(max_length=30, blank=True)
    clause = models.CharField(max_length=20)
    decided_note = models.CharField("认定说明", max_length=200, blank=True)
    decided_by = models.CharField(max_length=150, blank=True)
    region_code = models.CharField(max_length=6)
    institution_code = models.CharField(max_length=12)

    objects = ScopedQuerySet.as_manager()

    class Meta:
        ordering = ("id",)
        constraints = (
            models.UniqueConstraint(fields=["line", "number"], name="line_year_billed_once"),
            models.UniqueConstraint(
                fields=["contract", "number"], name="maintenance_year_billed_once"
            ),
            models.CheckConstraint(
                condition=Q(line__isnull=False, contract__isnull=True)
                | Q(line__isnull=True, contract__isnull=False),
                name="fee_item_of_line_or_contract",
            ),
            models.CheckConstraint(
                condition=Q(first__lte=F("last"), number__gt=0), name="fee_item_span"
            ),
            models.CheckConstraint(
                condition=Q(amount__isnull=True, commission__isnull=True)
                | Q(amount__gte=0, commission__gte=0),
                name="fee_item_amounts",
            ),
        )

    def __str__(self):
        return f"{self.bill_id} {self.number}"
