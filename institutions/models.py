"""Regions, calendar days, users, institutions with dated facts, physicians, API clients."""

from dataclasses import dataclass

from django.conf import settings
from django.contrib.auth.models import AbstractUser
from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import ArrayField, RangeOperators
from django.db import models
from django.db.models import F, Func, Q
from django.utils.module_loading import import_string
from oauth2_provider.models import AbstractApplication


class DateRange(Func):
    """`daterange(valid_from, valid_until, '[]')`; a null end is open."""

    function = "daterange"
    template = "%(function)s(%(expressions)s, '[]')"


def no_overlap(name: str, *keys: str, condition: Q | None = None) -> ExclusionConstraint:
    """Rows with the same keys never overlap in [valid_from, valid_until]."""
    return ExclusionConstraint(
        name=name,
        expressions=[
            (DateRange("valid_from", "valid_until"), RangeOperators.OVERLAPS),
            *((F(key), RangeOperators.EQUAL) for key in keys),
        ],
        condition=condition,
    )


class DatedQuerySet(models.QuerySet):
    def in_force(self, *, on):
        """Rows valid on a day (both ends included)."""
        return self.filter(Q(valid_until__isnull=True) | Q(valid_until__gte=on), valid_from__lte=on)


class Region(models.Model):
    """A national area code (6 digits) and the policy region (统筹区) whose rules apply there."""

    class Level(models.TextChoices):
        PROVINCE = "province", "省级"
        PREFECTURE = "prefecture", "地市级"
        COUNTY = "county", "县级"

    code = models.CharField(max_length=6, primary_key=True)
    name = models.CharField(max_length=60)
    level = models.CharField(max_length=10, choices=Level)
    parent = models.ForeignKey("self", models.PROTECT, null=True, blank=True)
    policy_region = models.SlugField(max_length=30, help_text="region of the policy documents")

    class Meta:
        constraints = (
            models.CheckConstraint(condition=Q(code__regex=r"^\d{6}$"), name="region_code_digits"),
        )

    def __str__(self):
        return self.name

    @property
    def prefix(self) -> str:
        """The code without trailing 00 pairs: what codes inside this region start with."""
        return area_prefix(self.code)


def area_prefix(code: str) -> str:
    """`320600` → `3206`, `640000` → `64`: the prefix shared by every code inside the area."""
    while code.endswith("00") and len(code) > 2:
        code = code[:-2]
    return code


class CalendarDay(models.Model):
    """Whether a day is a working day. region_code '' = national (国务院通知), else a local override."""

    region_code = models.CharField(max_length=6, blank=True, default="")
    day = models.DateField()
    working = models.BooleanField()
    label = models.CharField(max_length=40, blank=True)
    notice = models.CharField(max_length=200, blank=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=["region_code", "day"], name="calendar_one_row_per_day"),
        )

    def __str__(self):
        return f"{self.day} {'工作日' if self.working else '休息日'}"


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

    def scope_codes(self) -> Scope:
        if self.institution_id:
            return Scope(institutions=(self.institution_id,))
        if self.region_id:
            return Scope(regions=(area_prefix(self.region_id),))
        return Scope()


class FactsQuerySet(DatedQuerySet):
    def known(self):
        """Rows that no correction has replaced."""
        return self.filter(superseded_at__isnull=True)


class InstitutionQuerySet(models.QuerySet):
    def search(self, words):
        """Institutions whose code, name, internet hospital or one of their aliases contains `words`."""
        aliases = Func(F("aliases"), models.Value("\n"), function="array_to_string",
                       output_field=models.TextField())  # fmt: skip
        return self.alias(aliases_text=aliases).filter(
            Q(code__startswith=words.upper())
            | Q(name__icontains=words)
            | Q(internet_hospital_name__icontains=words)
            | Q(aliases_text__icontains=words)
        )

    def with_facts(self, *, on, **facts):
        """Institutions with `facts_on`: what holds on a day; `facts` (field=value) must hold then."""
        known = InstitutionFacts.objects.known().in_force(on=on)
        rows = self.prefetch_related(models.Prefetch("facts", known, to_attr="facts_on"))
        if facts:
            held = known.filter(institution=models.OuterRef("pk"), **facts)
            rows = rows.filter(models.Exists(held))
        return rows

    def visible_to(self, user):
        scope = user.scope_codes()
        if scope.everything:
            return self
        if not scope.regions and not scope.institutions:
            return self.none()
        inside = Q(code__in=scope.institutions)
        for prefix in scope.regions:
            inside |= Q(region__code__startswith=prefix)
        return self.filter(inside)


class Institution(models.Model):
    """A medical institution by its national 12-character code; facts that change are in `facts`."""

    code = models.CharField(max_length=12, primary_key=True)
    name = models.CharField(max_length=120)
    aliases = ArrayField(models.CharField(max_length=120), default=list, blank=True)
    internet_hospital_name = models.CharField(max_length=160, blank=True)
    region = models.ForeignKey(Region, models.PROTECT)
    credit_code = models.CharField(max_length=18, blank=True)
    tier = models.CharField(max_length=20, blank=True)
    parent = models.ForeignKey("self", models.PROTECT, null=True, blank=True)
    is_demo = models.BooleanField(default=False)

    objects = InstitutionQuerySet.as_manager()

    facts_on: "list[InstitutionFacts]"  #: set by `with_facts`

    class Meta:
        ordering = ("code",)
        constraints = (
            models.CheckConstraint(
                condition=Q(code__regex=r"^[A-Z0-9]{12}$"), name="institution_code_12"
            ),
        )

    def __str__(self):
        return self.name


class InstitutionFacts(models.Model):
    """What was true of an institution in a span of days; corrections add rows (recorded_at)."""

    class Ownership(models.TextChoices):
        PUBLIC = "public", "公立"
        PRIVATE = "private", "非公立"

    institution = models.ForeignKey(Institution, models.PROTECT, related_name="facts")
    valid_from = models.DateField()
    valid_until = models.DateField(null=True, blank=True)
    recorded_at = models.DateTimeField()
    superseded_at = models.DateTimeField(null=True, blank=True)
    price_class = models.CharField("价格类别", max_length=2)
    hospital_grade = models.CharField("等级", max_length=10, blank=True)
    ownership = models.CharField(max_length=8, choices=Ownership)
    nonprofit = models.BooleanField("非营利")
    filed_on = models.DateField("备案日", null=True, blank=True)
    online_settlement = models.BooleanField("可联网结算", default=True)
    offline_departments = ArrayField(models.CharField(max_length=20), default=list, blank=True)
    internet_departments = ArrayField(models.CharField(max_length=20), default=list, blank=True)

    objects = FactsQuerySet.as_manager()

    class Meta:
        constraints = (
            no_overlap(
                "institution_facts_no_overlap",
                "institution",
                condition=Q(superseded_at__isnull=True),
            ),
        )

    def __str__(self):
        return f"{self.institution_id} {self.valid_from}"


class PhysicianQuerySet(models.QuerySet):
    def of(self, institution, *, on):
        """The physicians of an institution, each with `titles_on`: the title of a day."""
        titles = PhysicianTitle.objects.in_force(on=on)
        return (
            self.filter(institution=institution)
            .prefetch_related(models.Prefetch("titles", titles, to_attr="titles_on"))
            .order_by("code")
        )


class Physician(models.Model):
    """A physician of the register; the title is dated, experience counts from a day."""

    code = models.CharField(max_length=20, primary_key=True)
    name = models.CharField(max_length=40)
    institution = models.ForeignKey(Institution, models.PROTECT, related_name="physicians")
    licence_no = models.CharField(max_length=30, blank=True)
    is_clinician = models.BooleanField(default=True)
    independent_since = models.DateField("独立临床工作起始日")
    is_demo = models.BooleanField(default=False)

    objects = PhysicianQuerySet.as_manager()

    titles_on: "list[PhysicianTitle]"  #: set by `of`

    def __str__(self):
        return self.name


class PhysicianTitle(models.Model):
    class Title(models.TextChoices):
        RESIDENT = "resident_doctor", "住院医师"
        ATTENDING = "attending", "主治医师"
        ASSOCIATE_CHIEF = "associate_chief", "副主任医师"
        CHIEF = "chief", "主任医师"
        EXPERT = "special_allowance_expert", "享受政府特殊津贴专家"

    physician = models.ForeignKey(Physician, models.PROTECT, related_name="titles")
    title = models.CharField(max_length=30, choices=Title)
    valid_from = models.DateField()
    valid_until = models.DateField(null=True, blank=True)

    objects = DatedQuerySet.as_manager()

    class Meta:
        constraints = (no_overlap("physician_title_no_overlap", "physician"),)

    def __str__(self):
        return self.get_title_display()


class ApiClient(AbstractApplication):
    """An OAuth client of exactly one institution: the token says who claims."""

    institution = models.ForeignKey(
        Institution, models.PROTECT, null=True, blank=True, related_name="api_clients"
    )

    class Meta(AbstractApplication.Meta):
        constraints = (
            models.CheckConstraint(
                condition=~Q(authorization_grant_type="client-credentials")
                | Q(institution__isnull=False),
                name="api_client_bound_to_institution",
            ),
        )

    def __str__(self):
        return self.name or self.client_id
