"""门诊慢特病认定: an application for an insured person, moved by its table, and what it decides."""

from django.db import models
from django.db.models import F, Q

from audit.models import Case, ScopedQuerySet
from institutions.models import FactsQuerySet, no_overlap
from settlement.models.persons import InsuredPerson


class DiseaseFiling(Case):
    """An application to have a chronic disease recognised (温医保办〔2021〕6号 十三).

    `region_code` is where the person is insured: that agency reviews it. `institution_code` is the
    hospital that files it on the person's behalf; empty when the agency's own clerk did.
    """

    number = models.CharField("认定号", max_length=40, unique=True)
    person = models.ForeignKey(InsuredPerson, models.PROTECT, related_name="filings")
    code = models.CharField("病种编码", max_length=20)
    name = models.CharField("病种", max_length=60)
    reason = models.CharField("申请说明", max_length=500, blank=True)
    renews = models.ForeignKey(
        "settlement.ChronicDisease", models.PROTECT, null=True, blank=True, related_name="renewals"
    )
    valid_from = models.DateField("有效期自", null=True, blank=True)
    valid_until = models.DateField("有效期至", null=True, blank=True)

    objects = ScopedQuerySet.as_manager()

    class Meta:
        ordering = ("-opened_at", "-pk")
        indexes = (
            models.Index(fields=["region_code", "-opened_at"], name="disease_filing_region"),
            models.Index(
                fields=["institution_code", "-opened_at"], name="disease_filing_institution"
            ),
        )
        constraints = (
            models.UniqueConstraint(
                fields=["person", "code"],
                condition=Q(closed_at__isnull=True),
                name="disease_filing_one_open",
            ),
            models.CheckConstraint(
                condition=Q(valid_until__isnull=True) | Q(valid_until__gte=F("valid_from")),
                name="disease_filing_span",
            ),
        )

    def __str__(self):
        return f"{self.number} {self.name}"


class ChronicDisease(models.Model):
    """A chronic disease that is recognised for a person in a span of days, known from one moment on.

    What was decided later never changes what was known when a claim was settled.
    """

    person = models.ForeignKey(InsuredPerson, models.PROTECT, related_name="diseases")
    code = models.CharField(max_length=20)
    name = models.CharField(max_length=60)
    valid_from = models.DateField()
    valid_until = models.DateField(null=True, blank=True)
    filing = models.ForeignKey(
        DiseaseFiling, models.PROTECT, null=True, blank=True, related_name="diseases"
    )
    recorded_at = models.DateTimeField()
    recorded_by = models.CharField(max_length=150, blank=True)
    superseded_at = models.DateTimeField(null=True, blank=True)

    objects = FactsQuerySet.as_manager()

    class Meta:
        ordering = ("valid_from", "recorded_at")
        constraints = (
            no_overlap(
                "chronic_disease_no_overlap",
                "person",
                "code",
                condition=Q(superseded_at__isnull=True),
            ),
            models.CheckConstraint(
                condition=Q(valid_until__isnull=True) | Q(valid_until__gte=F("valid_from")),
                name="chronic_disease_span",
            ),
        )

    def __str__(self):
        return self.name
