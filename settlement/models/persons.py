"""Insured persons: who they are, what they are entitled to, what they have used."""

from django.apps import apps
from django.db import models
from django.db.models import Exists, F, OuterRef, Q

from institutions.models import FactsQuerySet, Suspension, no_overlap


class Scheme(models.TextChoices):
    EMPLOYEE = "employee", "职工医保"
    RESIDENT = "resident", "居民医保"
    LIXIU = "lixiu", "离休统筹"


class PersonQuerySet(models.QuerySet):
    def visible_to(self, user):
        """Persons insured inside a user's area; at an institution those with a claim of its own."""
        scope = user.scope_codes()
        if scope.everything:
            return self
        inside = Q(pk__in=())
        for prefix in scope.regions:
            inside |= Q(region_code__within=prefix)
        if scope.institutions:
            claims = apps.get_model("settlement", "Claim").objects
            treated = claims.filter(
                person_id=OuterRef("pk"), institution_code__in=scope.institutions
            )
            inside |= Q(Exists(treated))
        return self.filter(inside)


class InsuredPerson(models.Model):
    """An insured person. ID number, name and telephone are kept masked and as SM4-GCM ciphertext.

    `scheme` and `region_code` are those of today; every other day is asked of `Entitlement`.
    """

    id_hash = models.BinaryField(max_length=32, unique=True)
    id_masked = models.CharField(max_length=24)
    id_cipher = models.BinaryField()
    name_masked = models.CharField(max_length=20)
    name_cipher = models.BinaryField()
    phone_masked = models.CharField("电话", max_length=20, blank=True, default="", db_default="")
    phone_cipher = models.BinaryField(null=True, blank=True)
    region_code = models.CharField(max_length=6, db_index=True)
    scheme = models.CharField(max_length=8, choices=Scheme)
    account_balance = models.BigIntegerField(default=0, help_text="fen, as last reported")
    is_demo = models.BooleanField(default=False)

    objects = PersonQuerySet.as_manager()

    def __str__(self):
        return f"{self.name_masked} {self.id_masked}"

    @property
    def subject(self) -> str:
        """What events and tasks call a person: never by number or name."""
        return f"person:{self.pk}"


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


class PersonalAccount(models.Model):
    """What is left on a person's personal account: one row for all years, and the lock of the person.

    Opened with the balance last reported; a newly reported balance replaces it (trigger), and keeps
    what the ledger says was drawn before: the balance, less what was drawn since, is what is left.
    """

    person = models.OneToOneField(
        InsuredPerson, models.PROTECT, primary_key=True, db_constraint=False,
        related_name="personal_account",
    )  # fmt: skip
    account_left = models.BigIntegerField(help_text="fen")
    drawn_before = models.BigIntegerField(
        default=0, db_default=0, help_text="fen, till the balance was last reported"
    )
    region_code = models.CharField(max_length=6)

    class Meta:
        constraints = (
            models.CheckConstraint(condition=Q(account_left__gte=0), name="account_not_overdrawn"),
        )

    def __str__(self):
        return f"{self.person_id} {self.account_left}"


class Accumulator(models.Model):
    """What a person has used of a year in a scheme (fen): settlement.ledger.COUNTED says of what.

    `in_scope_used` is what the basic fund saw (in scope less first self-pay), `own_used` what it left
    to the person; major illness insurance and assistance have paid of that.
    """

    person = models.ForeignKey(InsuredPerson, models.PROTECT, db_constraint=False)
    year = models.SmallIntegerField()
    scheme = models.CharField(max_length=8, choices=Scheme)
    deductible_used = models.BigIntegerField(default=0)
    in_scope_used = models.BigIntegerField(default=0)
    fund_used = models.BigIntegerField(default=0)
    own_used = models.BigIntegerField(default=0)
    major_used = models.BigIntegerField(default=0)
    assistance_used = models.BigIntegerField(default=0)
    region_code = models.CharField(max_length=6)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=["person", "year", "scheme"], name="accumulator_key"),
            models.CheckConstraint(
                condition=Q(
                    deductible_used__gte=0,
                    fund_used__gte=0,
                    own_used__gte=0,
                    major_used__gte=0,
                    assistance_used__gte=0,
                )
                & Q(fund_used__lte=F("in_scope_used"))
                & Q(deductible_used__lte=F("in_scope_used"))
                & Q(own_used__gte=F("major_used") + F("assistance_used")),
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

    class Assistance(models.TextChoices):
        EXTREME_POVERTY = "extreme_poverty", "特困人员"
        SUBSISTENCE = "subsistence", "最低生活保障对象"
        MARGINAL = "marginal", "低保边缘家庭成员"
        RELAPSE = "relapse", "防止返贫监测对象"

    person = models.ForeignKey(InsuredPerson, models.PROTECT, related_name="entitlements")
    scheme = models.CharField(max_length=8, choices=Scheme)
    standing = models.CharField(max_length=8, choices=Standing)
    assistance = models.CharField(
        "医疗救助对象", max_length=15, choices=Assistance, blank=True, default=""
    )
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


class OnlineSuspension(Suspension):
    """暂停联网结算: what a person spends on these days is not settled online (国务院令第735号 第41条).

    It is no loss of insurance: the entitlement stays, and so does the manual channel.
    """

    person = models.ForeignKey(InsuredPerson, models.PROTECT, related_name="suspensions")
