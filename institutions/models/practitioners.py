"""Physicians, pharmacists and nurses with their posts, titles and agreements."""

from django.db import models
from django.db.models import Q

from institutions.models.dated import DatedQuerySet, FactsQuerySet, Suspension, no_overlap
from institutions.models.parties import Institution


class PhysicianQuerySet(models.QuerySet):
    def of(self, institution, *, on):
        """The physicians of an institution, each with `titles_on`: the title of a day."""
        titles = PhysicianTitle.objects.counted().in_force(on=on)
        return (
            self.filter(institution=institution)
            .prefetch_related(models.Prefetch("titles", titles, to_attr="titles_on"))
            .order_by("code")
        )


class Physician(models.Model):
    """A physician or pharmacist of the register; the title is dated, experience counts from a day.

    `institution`, `joined_on`, `left_on` are the last post (`joined_on` empty: since ever), `posts`
    the earlier ones. What an institution says itself counts from `checked_at` on.
    """

    class Kind(models.TextChoices):
        PHYSICIAN = "physician", "医师"
        PHARMACIST = "pharmacist", "药师"
        NURSE = "nurse", "护士"

    kind = models.CharField("类别", max_length=10, choices=Kind, default=Kind.PHYSICIAN)

    code = models.CharField(max_length=20, primary_key=True)
    name = models.CharField(max_length=40)
    institution = models.ForeignKey(Institution, models.PROTECT, related_name="physicians")
    licence_no = models.CharField(max_length=30, blank=True)
    is_clinician = models.BooleanField(default=True)
    licence_until = models.DateField("执业证书有效期至", null=True, blank=True)
    registered_area = models.CharField("执业注册地", max_length=6, blank=True)
    independent_since = models.DateField("独立临床工作起始日")
    joined_on = models.DateField("到岗日", null=True, blank=True)
    left_on = models.DateField("离职日", null=True, blank=True)
    recorded_by = models.CharField(max_length=150, blank=True)
    checked_at = models.DateTimeField("核验时间", null=True, blank=True)
    checked_by = models.CharField(max_length=150, blank=True)
    is_demo = models.BooleanField(default=False)

    objects = PhysicianQuerySet.as_manager()

    titles_on: "list[PhysicianTitle]"  #: set by `of`

    def __str__(self):
        return self.name


class Post(models.Model):
    """An earlier post of a practitioner; `checked_at` is that of the registration there."""

    physician = models.ForeignKey(Physician, models.PROTECT, related_name="posts")
    institution = models.ForeignKey(Institution, models.PROTECT, related_name="former_posts")
    valid_from = models.DateField(null=True, blank=True)
    valid_until = models.DateField()
    checked_at = models.DateTimeField(null=True, blank=True)
    checked_by = models.CharField(max_length=150, blank=True)
    recorded_at = models.DateTimeField()
    recorded_by = models.CharField(max_length=150)

    objects = DatedQuerySet.as_manager()

    class Meta:
        constraints = (no_overlap("post_no_overlap", "physician"),)

    def __str__(self):
        return f"{self.physician_id} {self.institution_id}"


class TitleQuerySet(FactsQuerySet):
    def counted(self):
        """Titles that count: checked by the agency and not replaced since."""
        return self.known().filter(checked_at__isnull=False)

    def proposed(self):
        """Titles that an institution filed and that wait for the agency's check."""
        return self.known().filter(checked_at__isnull=True)


class PhysicianTitle(models.Model):
    """A title in two times: in which days it holds, and since when (and until when) it was known.

    It counts from `checked_at` on; what an institution proposes does not count before.
    """

    class Title(models.TextChoices):
        RESIDENT = "resident_doctor", "住院医师"
        ATTENDING = "attending", "主治医师"
        ASSOCIATE_CHIEF = "associate_chief", "副主任医师"
        CHIEF = "chief", "主任医师"
        EXPERT = "special_allowance_expert", "享受政府特殊津贴专家"
        PHARMACIST = "pharmacist", "药师"
        PHARMACIST_IN_CHARGE = "pharmacist_in_charge", "主管药师"
        ASSOCIATE_CHIEF_PHARMACIST = "associate_chief_pharmacist", "副主任药师"
        CHIEF_PHARMACIST = "chief_pharmacist", "主任药师"

    physician = models.ForeignKey(Physician, models.PROTECT, related_name="titles")
    title = models.CharField(max_length=30, choices=Title)
    valid_from = models.DateField()
    valid_until = models.DateField(null=True, blank=True)
    recorded_at = models.DateTimeField()
    recorded_by = models.CharField(max_length=150)
    superseded_at = models.DateTimeField(null=True, blank=True)
    checked_at = models.DateTimeField("核验时间", null=True, blank=True)
    checked_by = models.CharField(max_length=150, blank=True)

    objects = TitleQuerySet.as_manager()

    class Meta:
        constraints = (
            no_overlap(
                "physician_title_no_overlap",
                "physician",
                condition=Q(superseded_at__isnull=True, checked_at__isnull=False),
            ),
        )

    def __str__(self):
        return self.get_title_display()


class PhysicianAgreement(models.Model):
    """One of the agreements that bind a physician (the policy lists them; 温州 二十)."""

    physician = models.ForeignKey(Physician, models.PROTECT, related_name="agreements")
    name = models.CharField("协议名称", max_length=60)
    number = models.CharField(max_length=60, blank=True)
    signed_on = models.DateField()
    valid_from = models.DateField()
    valid_until = models.DateField(null=True, blank=True)

    objects = DatedQuerySet.as_manager()

    class Meta:
        constraints = (no_overlap("physician_agreement_no_overlap", "physician", "name"),)

    def __str__(self):
        return self.name


class ServiceSuspension(Suspension):
    """暂停、终止医保服务资格: a practitioner's services of these days are not paid for, wherever given."""

    physician = models.ForeignKey(Physician, models.PROTECT, related_name="suspensions")
