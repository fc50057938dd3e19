"""Main and supplementary agreements with their dated states."""

from django.db import models
from django.db.models import F, Q

from institutions.models import DatedQuerySet, Institution, no_overlap


class Agreement(models.Model):
    """A main (定点) or supplementary (“互联网+”) agreement of an institution and its term."""

    class Kind(models.TextChoices):
        MAIN = "main", "定点协议"
        SUPPLEMENTARY = "supplementary", "补充协议"

    institution = models.ForeignKey(Institution, models.PROTECT, related_name="agreements")
    kind = models.CharField(max_length=13, choices=Kind)
    number = models.CharField(max_length=60, unique=True)
    valid_from = models.DateField()
    valid_until = models.DateField(null=True, blank=True)
    signed_on = models.DateField(null=True, blank=True)
    clause = models.CharField(max_length=120, blank=True)

    objects = DatedQuerySet.as_manager()

    class Meta:
        constraints = (
            no_overlap("agreement_no_overlap", "institution", "kind"),
            models.CheckConstraint(
                condition=Q(valid_until__isnull=True) | Q(valid_until__gte=F("valid_from")),
                name="agreement_dates_in_order",
            ),
        )

    def __str__(self):
        return self.number


class AgreementStateQuerySet(DatedQuerySet):
    def supplementary(self, *, on):
        """States of supplementary agreements on a day."""
        return self.in_force(on=on).filter(agreement__kind=Agreement.Kind.SUPPLEMENTARY)

    def of(self, institutions, *, kind, on):
        """Institution code → state of its agreement of a kind on a day; the later agreement wins."""
        rows = (
            self.in_force(on=on)
            .filter(agreement__institution__in=institutions, agreement__kind=kind)
            .select_related("agreement")
            .order_by("agreement__valid_from")
        )
        return {row.agreement.institution_id: row for row in rows}


class AgreementState(models.Model):
    """The state of an agreement in a span of days; `recorded_at` says since when we know it."""

    class State(models.TextChoices):
        ACTIVE = "active", "生效"
        SIGNED = "signed", "已签署"
        PAPER_PENDING = "online_signed_paper_pending", "网上互签待补签"
        SUSPENDED = "suspended", "中止"
        TERMINATED = "terminated", "解除"
        EXPIRED = "expired", "到期"

    agreement = models.ForeignKey(Agreement, models.PROTECT, related_name="states")
    state = models.CharField(max_length=30, choices=State)
    valid_from = models.DateField()
    valid_until = models.DateField(null=True, blank=True)
    recorded_at = models.DateTimeField()
    recorded_by = models.CharField(max_length=150)
    reason = models.CharField(max_length=200, blank=True)

    objects = AgreementStateQuerySet.as_manager()

    class Meta:
        constraints = (no_overlap("agreement_state_no_overlap", "agreement"),)

    def __str__(self):
        return f"{self.agreement_id} {self.state}"
