"""Remote consultations: the hospitals' agreement on the split, the case, who took part, receipts.

A consultation belongs to the inviting hospital (`institution_code`); every invited one sees it too
(`parties`). Money of an invited hospital is seen by itself and by the inviting one.
(吉卫便函〔2021〕3号 一)
"""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q

from audit.models import Case, ScopedQuerySet
from institutions.models import Document, Institution, no_overlap

RATIO_ONE = 10_000  #: ratios are per ten thousand


class PartiesQuerySet(ScopedQuerySet):
    """Rows of two hospitals: whoever may see one of them sees the row."""

    second = "invited_id"

    def visible_to(self, user):
        """Rows in the user's scope by either side; none denies."""
        scope = user.scope_codes()
        if scope.everything:
            return self
        inside = Q(institution_code__in=scope.institutions)
        inside |= Q(**{f"{self.second}__in": scope.institutions})
        for prefix in scope.regions:
            inside |= Q(region_code__within=prefix)
        return self.filter(inside)


class AgreementQuerySet(PartiesQuerySet):
    def known(self):
        """Agreements that were not put away."""
        return self.filter(superseded_at__isnull=True)

    def binding(self, *, inviting, invited, on):
        """The agreement of two hospitals that both confirmed and that holds on a day, or none."""
        lasting = Q(valid_until__isnull=True) | Q(valid_until__gte=on)
        return self.known().filter(
            lasting, valid_from__lte=on, inviting=inviting, invited=invited,
            confirmed_at__isnull=False,
        )  # fmt: skip


class SplitAgreement(models.Model):
    """What two hospitals agreed on: the invited side's part of a consultation's fee, dated.

    It counts once the invited hospital has confirmed it. (一第2款: 协议约定的比例)
    """

    inviting = models.ForeignKey(Institution, models.PROTECT, related_name="+")
    invited = models.ForeignKey(Institution, models.PROTECT, related_name="+")
    number = models.CharField("协议编号", max_length=60)
    ratio_invited = models.IntegerField("受邀方比例", help_text="per ten thousand")
    valid_from = models.DateField()
    valid_until = models.DateField(null=True, blank=True)
    document = models.ForeignKey(Document, models.PROTECT, null=True, blank=True)
    region_code = models.CharField(max_length=6)
    institution_code = models.CharField(max_length=12)
    recorded_at = models.DateTimeField()
    recorded_by = models.CharField(max_length=150)
    confirmed_at = models.DateTimeField(null=True, blank=True)
    confirmed_by = models.CharField(max_length=150, blank=True)
    superseded_at = models.DateTimeField(null=True, blank=True)

    objects = AgreementQuerySet.as_manager()

    class Meta:
        ordering = ("-valid_from", "-id")
        constraints = (
            no_overlap(
                "split_agreement_no_overlap", "inviting", "invited",
                condition=Q(superseded_at__isnull=True),
            ),
            models.CheckConstraint(
                condition=Q(ratio_invited__gte=0, ratio_invited__lte=RATIO_ONE),
                name="split_ratio_is_a_part",
            ),
            models.CheckConstraint(
                condition=~Q(inviting=F("invited")), name="split_between_two_hospitals"
            ),
            models.CheckConstraint(
                condition=Q(valid_until__isnull=True) | Q(valid_until__gte=F("valid_from")),
                name="split_agreement_span",
            ),
            models.CheckConstraint(
                condition=Q(institution_code=F("inviting")), name="split_belongs_to_inviting"
            ),
        )  # fmt: skip

    def __str__(self):
        return self.number

    @property
    def ratio_inviting(self) -> int:
        return RATIO_ONE - self.ratio_invited


class ConsultationQuerySet(models.QuerySet):
    def visible_to(self, user):
        """Consultations in which the user's hospital invites or is invited, or of the user's area."""
        scope = user.scope_codes()
        if scope.everything:
            return self
        inside = Q(parties__overlap=list(scope.institutions))
        for prefix in scope.regions:
            inside |= Q(region_code__within=prefix)
        return self.filter(inside)


class Consultation(Case):
    """One remote consultation of an inpatient from the request to the settled split."""

    class Consenter(models.TextChoices):
        PATIENT = "patient", "患者本人"
        RELATIVE = "relative", "近亲属"
        GUARDIAN = "guardian", "监护人"

    number = models.CharField("会诊编号", max_length=40, unique=True)
    inviting = models.ForeignKey(Institution, models.PROTECT, related_name="+")
    parties = ArrayField(models.CharField(max_length=12))
    patient_hash = models.BinaryField(max_length=32)
    patient_masked = models.CharField("证件号码", max_length=24)
    inpatient_no = models.CharField("住院号", max_length=40)
    department = models.CharField("申请科室", max_length=40)
    purpose = models.TextField("会诊目的")
    wanted_on = models.DateField("拟会诊日期")
    explained_price = models.BigIntegerField(null=True, blank=True, help_text="fen per hospital")
    consented_at = models.DateTimeField(null=True, blank=True)
    consenter = models.CharField(max_length=8, choices=Consenter, blank=True)
    session_on = models.DateField("会诊日期", null=True, blank=True)
    minutes = models.PositiveSmallIntegerField("时长", null=True, blank=True)
    summary = models.TextField("会诊意见", blank=True)
    release_id = models.IntegerField(null=True, blank=True)
    unit_price = models.BigIntegerField(null=True, blank=True)
    example = models.BooleanField(default=False)
    charge_count = models.SmallIntegerField(null=True, blank=True)
    amount = models.BigIntegerField(null=True, blank=True, help_text="fen: count × price")
    entry = models.CharField("住院病历记录", max_length=80, blank=True)
    entered_at = models.DateTimeField(null=True, blank=True)
    invoice_no = models.CharField("票据号", max_length=40, blank=True)
    collected_at = models.DateTimeField(null=True, blank=True)
    distributed_at = models.DateTimeField(null=True, blank=True)
    settled_on = models.DateField(null=True, blank=True)
    late_reason = models.CharField("逾期原因", max_length=200, blank=True)
    refund_no = models.CharField("退费票据号", max_length=40, blank=True)
    refunded_at = models.DateTimeField(null=True, blank=True)
    claim_id = models.BigIntegerField("结算单据", null=True, blank=True, unique=True)

    objects = ConsultationQuerySet.as_manager()

    class Meta:
        ordering = ("-id",)
        indexes = (
            models.Index(fields=["institution_code", "session_on"], name="consultation_inviting"),
            models.Index(fields=["state", "due"], name="consultation_clock"),
        )
        constraints = (
            models.CheckConstraint(
                condition=Q(institution_code=F("inviting")), name="consultation_of_inviting"
            ),
            models.CheckConstraint(
                condition=Q(minutes__isnull=True) | Q(minutes__gt=0), name="consultation_lasts"
            ),
            models.CheckConstraint(
                condition=Q(amount__isnull=True)
                | Q(amount=F("charge_count") * F("unit_price"), amount__gt=0),
                name="consultation_amount",
            ),
            models.CheckConstraint(
                condition=Q(collected_at__isnull=True, invoice_no="")
                | (
                    Q(collected_at__isnull=False, amount__isnull=False,
                      consented_at__isnull=False, entered_at__isnull=False)
                    & ~Q(invoice_no="")
                ),
                name="consultation_charged_by_invoice",
            ),
            models.CheckConstraint(
                condition=Q(session_on__isnull=True) | Q(consented_at__isnull=False),
                name="consultation_after_consent",
            ),
            models.UniqueConstraint(
                fields=["institution_code", "invoice_no"], condition=~Q(invoice_no=""),
                name="consultation_invoice_once",
            ),
        )  # fmt: skip

    def __str__(self):
        return self.number


class ParticipantQuerySet(PartiesQuerySet):
    second = "hospital_id"


class Participant(models.Model):
    """An invited hospital of a consultation: its answer, its experts, its share and the payment."""

    class Answer(models.TextChoices):
        ASKED = "", "待确认"
        ACCEPTED = "accepted", "已接受"
        DECLINED = "declined", "已婉拒"

    consultation = models.ForeignKey(Consultation, models.PROTECT, related_name="participants")
    hospital = models.ForeignKey(Institution, models.PROTECT, related_name="+")
    region_code = models.CharField(max_length=6)
    institution_code = models.CharField(max_length=12, help_text="the inviting hospital")
    tier = models.CharField("层级", max_length=20)
    experts = ArrayField(models.CharField(max_length=40), default=list, blank=True)
    answer = models.CharField(max_length=8, choices=Answer, default=Answer.ASKED, blank=True)
    answered_at = models.DateTimeField(null=True, blank=True)
    answered_by = models.CharField(max_length=150, blank=True)
    note = models.CharField(max_length=200, blank=True)
    attended = models.BooleanField("到会", null=True, blank=True)
    agreement = models.ForeignKey(SplitAgreement, models.PROTECT, null=True, blank=True)
    fee = models.BigIntegerField(null=True, blank=True, help_text="fen charged for it; None: open")
    share = models.BigIntegerField(null=True, blank=True, help_text="fen of the fee")
    paid_at = models.DateTimeField(null=True, blank=True)
    paid_by = models.CharField(max_length=150, blank=True)
    payment_no = models.CharField("付款凭据", max_length=60, blank=True)
    reversed_at = models.DateTimeField("冲减收入时间", null=True, blank=True)
    returned_at = models.DateTimeField("退回时间", null=True, blank=True)

    objects = ParticipantQuerySet.as_manager()

    class Meta:
        ordering = ("id",)
        constraints = (
            models.UniqueConstraint(
                fields=["consultation", "hospital"], name="participant_once_per_session"
            ),
            models.CheckConstraint(
                condition=~Q(institution_code=F("hospital")), name="participant_is_invited"
            ),
            models.CheckConstraint(
                condition=Q(share__isnull=True)
                | Q(share__gte=0, share__lte=F("fee"), agreement__isnull=False),
                name="participant_share_by_agreement",
            ),
            models.CheckConstraint(
                condition=Q(paid_at__isnull=True) | Q(share__isnull=False, share__gt=0),
                name="participant_paid_a_share",
            ),
            models.CheckConstraint(
                condition=Q(reversed_at__isnull=True) | Q(paid_at__isnull=False),
                name="participant_reversed_after_payment",
            ),
        )

    def __str__(self):
        return f"{self.consultation_id}/{self.hospital_id}"


class Receipt(models.Model):
    """A receipt (医疗收费票据) of an invited hospital over what it was paid: basis of the reversal."""

    participant = models.ForeignKey(Participant, models.PROTECT, related_name="receipts")
    hospital = models.ForeignKey(Institution, models.PROTECT, related_name="+")
    region_code = models.CharField(max_length=6)
    institution_code = models.CharField(max_length=12, help_text="the inviting hospital")
    number = models.CharField("票据号", max_length=40)
    amount = models.BigIntegerField(help_text="fen")
    issued_on = models.DateField("开票日")
    recorded_at = models.DateTimeField()
    recorded_by = models.CharField(max_length=150)
    void_at = models.DateTimeField("作废时间", null=True, blank=True)
    void_reason = models.CharField(max_length=200, blank=True)

    objects = ParticipantQuerySet.as_manager()

    class Meta:
        ordering = ("id",)
        constraints = (
            models.UniqueConstraint(fields=["hospital", "number"], name="receipt_once"),
            models.CheckConstraint(condition=Q(amount__gt=0), name="receipt_over_money"),
        )

    def __str__(self):
        return self.number


class AccountReport(models.Model):
    """What an inviting hospital reports of its separate account in a month (财务专账).

    `staff_pay`: how much of the retained income went to staff (一第2款: 主要用于补贴医务人员劳务支出).
    """

    institution = models.ForeignKey(Institution, models.PROTECT, related_name="+")
    month = models.DateField()
    account_name = models.CharField("专账名称", max_length=80)
    staff_pay = models.BigIntegerField("劳务补贴支出", help_text="fen")
    note = models.CharField("说明", max_length=200, blank=True)
    region_code = models.CharField(max_length=6)
    institution_code = models.CharField(max_length=12)
    reported_at = models.DateTimeField()
    reported_by = models.CharField(max_length=150)

    objects = ScopedQuerySet.as_manager()

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=["institution", "month"], name="account_report_once_a_month"
            ),
            models.CheckConstraint(
                condition=Q(staff_pay__gte=0, month__day=1), name="account_report_sane"
            ),
        )

    def __str__(self):
        return f"{self.institution_id} {self.month:%Y-%m}"
