"""Insured persons: who they are, what they are entitled to, what they have used."""

from django.db import models
from django.db.models import F, Q

from institutions.models import DatedQuerySet, FactsQuerySet, no_overlap


class Scheme(models.TextChoices):
    EMPLOYEE = "employee", "职工医保"
    RESIDENT = "resident", "居民医保"
    LIXIU = "lixiu", "离休统筹"


class InsuredPerson(models.Model):
    """An insured person. The ID number is kept as keyed hash, masked text and SM4-GCM ciphertext."""

    id_hash = models.BinaryField(max_length=32, unique=True)
    id_masked = models.CharField(max_length=24)
    id_cipher = models.BinaryField()
    name_masked = models.CharField(max_length=20)
    name_cipher = models.BinaryField()
    region_code = models.CharField(max_length=6, db_index=True)
    scheme = models.CharField(max_length=8, choices=Scheme)
    account_balance = models.BigIntegerField(default=0, help_text="fen, as last reported")
    is_demo = models.BooleanField(default=False)

    def __str__(self):
        return f"{self.name_masked} {self.id_masked}"


class ChronicDisease(models.Model):
    """A chronic disease filed for a person (门诊慢特病认定), dated."""

    person = models.ForeignKey(InsuredPerson, models.PROTECT, related_name="diseases")
    code = models.CharField(max_length=20)
    name = models.CharField(max_length=60)
    valid_from = models.DateField()
    valid_until = models.DateField(null=True, blank=True)

    objects = DatedQuerySet.as_manager()

    def __str__(self):
        return self.name


class OfflineVisit(models.Model):
    """A reported visit at the physical institution: what a revisit follows (温州 第二十三条（三）)."""

    person = models.ForeignKey(InsuredPerson, models.PROTECT, related_name="offline_visits")
    institution_code = models.CharField(max_length=12)
    day = models.DateField()
    department_code = models.CharField(max_length=20, blank=True)
    diagnosis_code = models.CharField(max_length=20)
    reported_at = models.DateTimeField()

    class Meta:
        indexes = (
            models.Index(fields=["person", "institution_code", "day"], name="offline_visit_last"),
        )

    def __str__(self):
        return f"{self.institution_code} {self.day}"


class Accumulator(models.Model):
    """What a person has used of a year's deductible and limit in a scheme (fen); locked to settle."""

    person = models.ForeignKey(InsuredPerson, models.PROTECT, db_constraint=False)
    year = models.SmallIntegerField()
    scheme = models.CharField(max_length=8, choices=Scheme)
    deductible_used = models.BigIntegerField(default=0)
    in_scope_used = models.BigIntegerField(default=0)
    fund_used = models.BigIntegerField(default=0)
    account_left = models.BigIntegerField(default=0, help_text="personal account, fen")
    region_code = models.CharField(max_length=6)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=["person", "year", "scheme"], name="accumulator_key"),
            models.CheckConstraint(
                condition=Q(deductible_used__gte=0, fund_used__gte=0, account_left__gte=0)
                & Q(fund_used__lte=F("in_scope_used"))
                & Q(deductible_used__lte=F("in_scope_used")),
                name="accumulator_sane",
            ),
        )

    def __str__(self):
        return f"{self.person_id} {self.year} {self.scheme}"


class Entitlement(models.Model):
    """What a person may claim in a span of days: scheme and standing, known from one moment on.

    A correction supersedes, it never overwrites: the entitlement of a service day as known on a
    settlement day can always be asked (`objects.facts_on(day, known_at)`).
    """

    class Standing(models.TextChoices):
        ACTIVE = "active", "正常参保"
        ARREARS = "arrears", "欠费暂停"
        WAITING = "waiting", "等待期"
        STOPPED = "stopped", "终止参保"
        DECEASED = "deceased", "死亡"

    person = models.ForeignKey(InsuredPerson, models.PROTECT, related_name="entitlements")
    scheme = models.CharField(max_length=8, choices=Scheme)
    standing = models.CharField(max_length=8, choices=Standing)
    region_code = models.CharField(max_length=6)
    valid_from = models.DateField()
    valid_until = models.DateField(null=True, blank=True)
    recorded_at = models.DateTimeField()
    recorded_by = models.CharField(max_length=150)
    superseded_at = models.DateTimeField(null=True, blank=True)
    source = models.CharField("依据", max_length=200, blank=True)

    objects = FactsQuerySet.as_manager()

    class Meta:
        ordering = ("valid_from", "recorded_at")
        constraints = (
            no_overlap("entitlement_no_overlap", "person", condition=Q(superseded_at__isnull=True)),
            models.CheckConstraint(
                condition=Q(valid_until__isnull=True) | Q(valid_until__gte=F("valid_from")),
                name="entitlement_span",
            ),
        )

    def __str__(self):
        return f"{self.get_scheme_display()} {self.get_standing_display()} {self.valid_from}"
