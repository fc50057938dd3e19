"""Who acts: users with one role and scope, systems of institutions, delegations."""

from dataclasses import dataclass

from django.conf import settings
from django.contrib.auth.models import AbstractUser
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.utils.module_loading import import_string
from oauth2_provider.models import AbstractApplication

from institutions.models.dated import DatedQuerySet
from institutions.models.parties import Institution
from institutions.models.places import Region, area_prefix


@dataclass(frozen=True)
class Scope:
    """What a user may see: area-code prefixes and institution codes, or everything."""

    regions: tuple[str, ...] = ()
    institutions: tuple[str, ...] = ()
    everything: bool = False

    def setting(self) -> str:
        """The value of the database setting `app.scope` that row level security reads."""
        if self.everything:
            return "*"
        parts = [f"R:{prefix}" for prefix in self.regions]
        return ",".join(parts + [f"I:{code}" for code in self.institutions])


class User(AbstractUser):
    """A person with one role, in one region or at one institution."""

    display_name = models.CharField("姓名", max_length=40, blank=True)
    role = models.SlugField("角色", max_length=40, blank=True)
    region = models.ForeignKey(Region, models.PROTECT, null=True, blank=True)
    institution = models.ForeignKey(
        "institutions.Institution", models.PROTECT, null=True, blank=True, related_name="users"
    )
    password_changed_at = models.DateTimeField(null=True, blank=True)
    mail_news = models.BooleanField("通知同时发邮件", default=False)

    class Meta(AbstractUser.Meta):
        constraints = (
            models.CheckConstraint(
                condition=Q(region__isnull=True) | Q(institution__isnull=True),
                name="user_region_or_institution",
            ),
        )

    def __str__(self):
        return self.display_name or self.username

    def may(self, permission: str) -> bool:
        """Whether this person's role has a permission (config/roles.py, one table)."""
        role = import_string(settings.ROLE_TABLE).get(self.role)
        return self.is_active and role is not None and permission in role.permissions

    @property
    def level(self) -> str:
        """The level of the own office (province, prefecture, county); empty at an institution."""
        return self.region.level if self.region else ""

    def scope_codes(self) -> Scope:
        if self.institution_id:
            return Scope(institutions=(self.institution_id,))
        if self.region_id:
            return Scope(regions=(area_prefix(self.region_id),))
        return Scope()


class ApiClient(AbstractApplication):
    """An OAuth client of exactly one institution (the token says who claims), or of a region's office.

    `institutions/clients.py` issues its secret, changes it and ends it.
    """

    class Rate(models.TextChoices):
        """How often it may ask: the names of rates (settings.THROTTLES)."""

        USUAL = "client", "标准"
        LOW = "client_low", "低频"
        TRIAL = "client_trial", "联调"

    institution = models.ForeignKey(
        Institution, models.PROTECT, null=True, blank=True, related_name="api_clients"
    )
    region = models.ForeignKey(
        Region, models.PROTECT, null=True, blank=True, related_name="api_clients"
    )
    purpose = models.CharField("用途", max_length=60, blank=True)
    rate = models.CharField("频率", max_length=20, choices=Rate.choices, default=Rate.USUAL)
    scopes = ArrayField(models.CharField(max_length=40), default=list, blank=True)
    secret_no = models.SmallIntegerField("密钥次数", default=1)
    issued_at = models.DateTimeField("发放时间", null=True, blank=True)
    issued_by = models.CharField("发放人", max_length=150, blank=True)
    rotated_at = models.DateTimeField("换发时间", null=True, blank=True)
    rotated_by = models.CharField("换发人", max_length=150, blank=True)
    used_at = models.DateTimeField("最近领取令牌", null=True, blank=True)
    ended_at = models.DateTimeField("停用时间", null=True, blank=True)
    ended_by = models.CharField("停用人", max_length=150, blank=True)
    ended_for = models.CharField("停用事由", max_length=200, blank=True)

    class Meta(AbstractApplication.Meta):
        constraints = (
            models.CheckConstraint(
                condition=~Q(authorization_grant_type="client-credentials")
                | Q(institution__isnull=False, region__isnull=True)
                | Q(institution__isnull=True, region__isnull=False),
                name="api_client_bound_to_one",
            ),
            models.CheckConstraint(
                condition=Q(rate__in=["client", "client_low", "client_trial"], secret_no__gte=1),
                name="api_client_known_rate",
            ),
            models.CheckConstraint(
                condition=Q(ended_at=None, ended_by="", ended_for="")
                | Q(ended_at__isnull=False) & ~Q(ended_by="") & ~Q(ended_for=""),
                name="api_client_ended_for_a_reason",
            ),
            models.CheckConstraint(
                condition=Q(secret_no=1, rotated_at=None, rotated_by="")
                | Q(secret_no__gt=1, rotated_at__isnull=False) & ~Q(rotated_by=""),
                name="api_client_rotated_by_a_person",
            ),
            *(
                models.UniqueConstraint(
                    fields=[holder, "purpose"], condition=Q(ended_at=None) & ~Q(purpose=""),
                    name=f"api_client_{holder}_purpose",
                )
                for holder in ("institution", "region")
            ),
        )  # fmt: skip

    def __str__(self):
        return self.name or self.client_id

    def is_usable(self, request: object) -> bool:
        """Whether it is given tokens."""
        return self.ended_at is None

    @property
    def holder(self) -> "Institution | Region":
        """Whose system it is."""
        found = self.institution or self.region
        if found is None:
            raise ValueError("a client belongs to an institution or a region")
        return found


class Delegation(models.Model):
    """委托: while somebody is away, another person of the same office sees and does that work."""

    giver = models.ForeignKey(User, models.PROTECT, related_name="given")
    taker = models.ForeignKey(User, models.PROTECT, related_name="taken")
    valid_from = models.DateField()
    valid_until = models.DateField()
    reason = models.CharField(max_length=200, blank=True)
    recorded_at = models.DateTimeField()
    recorded_by = models.CharField(max_length=150)
    ended_at = models.DateTimeField(null=True, blank=True)

    objects = DatedQuerySet.as_manager()

    class Meta:
        constraints = (
            models.CheckConstraint(condition=~Q(giver=F("taker")), name="delegation_to_another"),
            models.CheckConstraint(
                condition=Q(valid_until__gte=F("valid_from")), name="delegation_dates_in_order"
            ),
        )

    def __str__(self):
        return f"{self.giver} → {self.taker}"
