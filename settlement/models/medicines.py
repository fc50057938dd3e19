"""Prescriptions, what was dispensed and delivered, the evidence of an encounter (温州 十四、十五、二十六).

A prescription's content never changes (trigger); its state moves. Dispensings, deliveries and charges
are append-only. Rows are seen by the institution that issued the prescription, by the pharmacy that it
was released to and by the agencies of both (row level security).
"""

from django.db import models
from django.db.models import F, Q

from audit.models import ScopedQuerySet
from institutions.models import Document
from settlement.models.claims import Evidence
from settlement.models.persons import InsuredPerson


class PrescriptionQuerySet(ScopedQuerySet):
    def visible_to(self, user):
        """Issued inside the user's scope, or released to a pharmacy inside it."""
        scope = user.scope_codes()
        if scope.everything:
            return self
        if not scope.regions and not scope.institutions:
            return self.none()
        released = Q(institution_code__in=scope.institutions)
        for prefix in scope.regions:
            released |= Q(region_code__within=prefix)
        releases = PrescriptionRelease.objects.filter(
            released, prescription=models.OuterRef("pk"), recalled_at__isnull=True
        )
        own = Q(institution_code__in=scope.institutions)
        for prefix in scope.regions:
            own |= Q(region_code__within=prefix)
        return self.filter(own | Q(models.Exists(releases)))

    def to_dispense(self, institution, *, on):
        """Reviewed, in time, not handed out whole, and its turn: issued and kept, or released to it."""
        live = PrescriptionRelease.objects.filter(
            prescription=models.OuterRef("pk"), recalled_at__isnull=True
        )
        left = PrescriptionLine.objects.filter(
            prescription=models.OuterRef("pk"), dispensed__lt=F("quantity") + F("returned")
        )
        turn = Q(models.Exists(live.filter(institution_code=institution))) | (
            Q(institution_code=institution) & ~Q(models.Exists(live))
        )
        ready = [
            Prescription.State.REVIEWED,
            Prescription.State.RELEASED,
            Prescription.State.PARTLY,
        ]
        in_time = Q(expires_on__isnull=True) | Q(expires_on__gte=on)
        return self.filter(turn, in_time, models.Exists(left), state__in=ready)


class Prescription(models.Model):
    """An electronic prescription: who, for whom, which drugs; signed, reviewed, released, dispensed."""

    class State(models.TextChoices):
        UNSIGNED = "unsigned", "未签名"
        SIGNED = "signed", "待药师审核"
        RETURNED = "returned", "药师退回"
        REVIEWED = "reviewed", "已审核"
        RELEASED = "released", "流转中"
        PARTLY = "partly", "部分调配"
        DISPENSED = "dispensed", "已调配"
        EXPIRED = "expired", "已过期"
        WITHDRAWN = "withdrawn", "已撤回"

    class Review(models.TextChoices):
        PASSED = "passed", "审核通过"
        RETURNED = "returned", "审核退回"

    class Source(models.TextChoices):
        UPLOAD = "upload", "处方上传"
        CLAIM = "claim", "随结算申请"

    region_code = models.CharField(max_length=6)
    institution_code = models.CharField(max_length=12)
    number = models.CharField("处方号", max_length=40)
    person = models.ForeignKey(InsuredPerson, models.PROTECT, db_constraint=False)
    encounter_id = models.CharField(max_length=60)
    encounter_key = models.BigIntegerField(help_text="hash of institution and encounter id")
    issued_on = models.DateField("开具日")
    visit = models.JSONField(help_text="the encounter of the contract, device and address left out")
    physician_code = models.CharField("开方医师", max_length=20)
    signed_by = models.CharField("签名医师", max_length=20, blank=True)
    signed_at = models.DateTimeField(null=True, blank=True)
    signature = models.BinaryField("电子签名摘要", max_length=32, null=True)
    review = models.CharField(max_length=8, choices=Review, blank=True)
    reviewed_by = models.CharField("审方药师", max_length=20, blank=True)
    reviewed_at = models.DateTimeField(null=True, blank=True)
    review_reason = models.CharField("退回原因", max_length=200, blank=True)
    source = models.CharField(max_length=6, choices=Source)
    uploaded_at = models.DateTimeField()
    uploaded_by = models.CharField(max_length=150)
    expires_on = models.DateField("有效期至", null=True, blank=True)
    state = models.CharField(max_length=9, choices=State)
    state_reason = models.CharField(max_length=200, blank=True)
    content_sm3 = models.CharField(max_length=64)
    first_claim = models.BigIntegerField(
        null=True, help_text="the claim that brought it; empty: uploaded, or in a file"
    )

    objects = PrescriptionQuerySet.as_manager()

    class Meta:
        ordering = ("-pk",)
        indexes = (
            models.Index(fields=["encounter_key"], name="prescription_encounter"),
            models.Index(fields=["person", "-issued_on"], name="prescription_person"),
            models.Index(fields=["institution_code", "-id"], name="prescription_institution"),
            models.Index(
                fields=["expires_on"], name="prescription_open",
                condition=Q(state__in=["signed", "reviewed", "released"]),
            ),
        )  # fmt: skip
        constraints = (
            models.UniqueConstraint(
                fields=["institution_code", "number"], name="prescription_number"
            ),
            models.CheckConstraint(
                condition=Q(signed_by="", signed_at__isnull=True)
                | (~Q(signed_by="") & Q(signed_at__isnull=False)),
                name="prescription_signature_whole",
            ),
            models.CheckConstraint(
                condition=Q(review="", reviewed_by="", reviewed_at__isnull=True)
                | (~Q(review="") & ~Q(reviewed_by="") & Q(reviewed_at__isnull=False)),
                name="prescription_review_whole",
            ),
            models.CheckConstraint(
                condition=Q(reviewed_by="") | ~Q(reviewed_by=F("signed_by")),
                name="prescription_second_person_reviews",
            ),
            models.CheckConstraint(
                condition=~Q(review="returned") | ~Q(review_reason=""),
                name="prescription_return_has_reason",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=["reviewed", "released", "partly", "dispensed"])
                | Q(review="passed", signed_at__isnull=False),
                name="prescription_signed_and_reviewed",
            ),
            models.CheckConstraint(
                condition=Q(expires_on__isnull=True) | Q(expires_on__gte=F("issued_on")),
                name="prescription_dates_in_order",
            ),
        )

    def __str__(self):
        return self.number


class PrescriptionLine(models.Model):
    """A prescribed drug, how much of it was dispensed and came back: never more is out than prescribed."""

    prescription = models.ForeignKey(Prescription, models.PROTECT, related_name="lines")
    drug_code = models.CharField("药品编码", max_length=40)
    quantity = models.BigIntegerField(help_text="1/10000 of a unit")
    days_supply = models.SmallIntegerField("用药天数")
    unit = models.CharField("单位", max_length=20)
    dispensed = models.BigIntegerField(default=0, help_text="1/10000 of a unit")
    returned = models.BigIntegerField(default=0, db_default=0, help_text="1/10000 of a unit")

    class Meta:
        ordering = ("drug_code",)
        constraints = (
            models.UniqueConstraint(
                fields=["prescription", "drug_code"], name="prescription_drug_once"
            ),
            models.CheckConstraint(
                condition=Q(quantity__gt=0, days_supply__gte=0), name="prescription_line_sane"
            ),
            models.CheckConstraint(
                condition=Q(
                    dispensed__gte=F("returned"),
                    returned__gte=0,
                    dispensed__lte=F("quantity") + F("returned"),
                ),
                name="prescription_not_dispensed_twice",
            ),
        )

    def __str__(self):
        return self.drug_code


class PrescriptionRelease(models.Model):
    """A prescription released to a designated retail pharmacy (处方流转, 第十五条), until recalled."""

    prescription = models.ForeignKey(Prescription, models.PROTECT, related_name="releases")
    region_code = models.CharField(max_length=6, help_text="of the pharmacy")
    institution_code = models.CharField("零售药店", max_length=12)
    issuer_region = models.CharField(max_length=6)
    issuer_code = models.CharField(max_length=12)
    released_at = models.DateTimeField()
    released_by = models.CharField(max_length=150)
    recalled_at = models.DateTimeField(null=True, blank=True)
    recalled_by = models.CharField(max_length=150, blank=True)

    class Meta:
        ordering = ("pk",)
        indexes = (
            models.Index(fields=["institution_code", "-id"], name="prescription_released_to"),
        )
        constraints = (
            models.UniqueConstraint(
                fields=["prescription", "institution_code"], condition=Q(recalled_at__isnull=True),
                name="prescription_released_once",
            ),
            models.CheckConstraint(
                condition=~Q(institution_code=F("issuer_code")), name="release_to_another"
            ),
        )  # fmt: skip

    def __str__(self):
        return f"{self.prescription_id} → {self.institution_code}"


class PrescriptionCharge(models.Model):
    """What a claim charges under a prescription, by drug; a claim without its drugs: code empty, 0."""

    prescription = models.ForeignKey(
        Prescription, models.PROTECT, related_name="charges", db_constraint=False
    )
    claim_id = models.BigIntegerField()
    drug_code = models.CharField(max_length=40, blank=True)
    quantity = models.BigIntegerField(help_text="1/10000 of a unit")
    region_code = models.CharField(max_length=6)
    institution_code = models.CharField(max_length=12)
    issuer_region = models.CharField(max_length=6)
    issuer_code = models.CharField(max_length=12)

    class Meta:
        indexes = (models.Index(fields=["claim_id"], name="prescription_charge_claim"),)
        constraints = (
            models.UniqueConstraint(
                fields=["prescription", "claim_id", "drug_code"], name="prescription_charge_once"
            ),
            models.CheckConstraint(
                condition=Q(quantity__gte=0), name="prescription_charge_quantity"
            ),
        )

    def __str__(self):
        return f"{self.claim_id} {self.drug_code}"


class Dispensing(models.Model):
    """Drugs handed out under a prescription by the institution or a pharmacy (append-only)."""

    prescription = models.ForeignKey(Prescription, models.PROTECT, related_name="dispensings")
    number = models.CharField("调配单号", max_length=40)
    region_code = models.CharField(max_length=6)
    institution_code = models.CharField("调配机构", max_length=12)
    issuer_region = models.CharField(max_length=6)
    issuer_code = models.CharField(max_length=12)
    dispensed_at = models.DateTimeField("调配时间")
    pharmacist_code = models.CharField("调配药师", max_length=20, blank=True)
    recorded_at = models.DateTimeField()
    recorded_by = models.CharField(max_length=150)
    content_sm3 = models.CharField(max_length=64)

    objects = ScopedQuerySet.as_manager()

    class Meta:
        ordering = ("pk",)
        constraints = (
            models.UniqueConstraint(
                fields=["institution_code", "number"], name="dispensing_number"
            ),
        )

    def __str__(self):
        return self.number


class DispensingLine(models.Model):
    """A drug of a dispensing (append-only)."""

    dispensing = models.ForeignKey(Dispensing, models.PROTECT, related_name="lines")
    drug_code = models.CharField(max_length=40)
    quantity = models.BigIntegerField(help_text="1/10000 of a unit")

    class Meta:
        ordering = ("drug_code",)
        constraints = (
            models.UniqueConstraint(
                fields=["dispensing", "drug_code"], name="dispensing_drug_once"
            ),
            models.CheckConstraint(condition=Q(quantity__gt=0), name="dispensing_moves_goods"),
        )

    def __str__(self):
        return self.drug_code


class TraceCode(models.Model):
    """The trace code of one package (药品追溯码): sold once, for ever (append-only)."""

    code = models.CharField("药品追溯码", max_length=40, primary_key=True)
    dispensing = models.ForeignKey(Dispensing, models.PROTECT, related_name="traces")
    drug_code = models.CharField(max_length=40)

    class Meta:
        ordering = ("code",)

    def __str__(self):
        return self.code


class Delivery(models.Model):
    """A parcel of a dispensing with a registered logistics company (append-only; 第十四条)."""

    dispensing = models.ForeignKey(Dispensing, models.PROTECT, related_name="deliveries")
    logistics_code = models.CharField("物流企业", max_length=12)
    waybill = models.CharField("运单号", max_length=40)
    recorded_at = models.DateTimeField()
    recorded_by = models.CharField(max_length=150)

    class Meta:
        ordering = ("pk",)
        constraints = (
            models.UniqueConstraint(fields=["logistics_code", "waybill"], name="delivery_waybill"),
        )

    def __str__(self):
        return self.waybill


class DeliveryEvent(models.Model):
    """A step of a parcel: picked up, delivered, signed for, sent back (append-only)."""

    class Kind(models.TextChoices):
        PICKED_UP = "picked_up", "揽收"
        DELIVERED = "delivered", "送达"
        SIGNED = "signed", "签收"
        RETURNED = "returned", "退回"

    class Relation(models.TextChoices):
        SELF = "self", "本人"
        FAMILY = "family", "家属"
        AGENT = "agent", "代收人"
        STATION = "station", "代收点"

    delivery = models.ForeignKey(Delivery, models.PROTECT, related_name="steps")
    kind = models.CharField(max_length=9, choices=Kind)
    at = models.DateTimeField()
    relation = models.CharField("签收人与患者关系", max_length=7, choices=Relation, blank=True)
    recorded_at = models.DateTimeField()
    recorded_by = models.CharField(max_length=150)

    class Meta:
        ordering = ("at", "pk")
        constraints = (
            models.UniqueConstraint(fields=["delivery", "kind"], name="delivery_step_once"),
            models.CheckConstraint(
                condition=Q(kind="signed") & ~Q(relation="") | ~Q(kind="signed") & Q(relation=""),
                name="delivery_signed_by_somebody",
            ),
        )

    def __str__(self):
        return f"{self.delivery_id} {self.kind}"


class EvidenceFile(models.Model):
    """The file behind a piece of evidence, stored with its digest (append-only)."""

    evidence = models.OneToOneField(Evidence, models.PROTECT, related_name="file")
    document = models.ForeignKey(Document, models.PROTECT, related_name="+")

    def __str__(self):
        return f"{self.evidence_id}"


class EvidenceGap(models.Model):
    """Evidence of an encounter that is missing after the tolerated delay, or came later (二十六).

    A gap is a finding for people to work off; the claim and its money stay as they are.
    """

    class State(models.TextChoices):
        MISSING = "missing", "未上传"
        LATE = "late", "迟交"

    region_code = models.CharField(max_length=6)
    institution_code = models.CharField(max_length=12)
    encounter_id = models.CharField(max_length=60)
    encounter_key = models.BigIntegerField()
    claim_id = models.BigIntegerField()
    kind = models.CharField(max_length=12, choices=Evidence.Kind)
    due_at = models.DateTimeField("最迟上传时间")
    state = models.CharField(max_length=7, choices=State)
    received_at = models.DateTimeField(null=True, blank=True)
    noted_at = models.DateTimeField()

    objects = ScopedQuerySet.as_manager()

    class Meta:
        ordering = ("-due_at", "-pk")
        indexes = (
            models.Index(fields=["institution_code", "state"], name="evidence_gap_institution"),
        )
        constraints = (
            models.UniqueConstraint(
                fields=["encounter_key", "institution_code", "kind"], name="evidence_gap_once"
            ),
            models.CheckConstraint(
                condition=Q(state="missing", received_at__isnull=True)
                | Q(state="late", received_at__isnull=False, received_at__gt=F("due_at")),
                name="evidence_gap_says_when",
            ),
        )

    def __str__(self):
        return f"{self.encounter_id} {self.kind}"
