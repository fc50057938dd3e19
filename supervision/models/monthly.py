"""Monthly supervision reports (监管月报): what a region tells the one above of a month, version by version.

The report is moved by its table (procedures/monthly.yaml); what a version says never changes.
(通医保发〔2020〕25号 四（三）；温医保办〔2021〕6号 二十四、二十五)
"""

from django.db import models
from django.db.models import F, Q

from audit.models import Case, ScopedQuerySet


class MonthlyReportQuerySet(ScopedQuerySet):
    def visible_to(self, user):
        """Those of the own region, and those of the regions inside it once they were submitted."""
        own = getattr(user, "region_id", None) or ""
        return super().visible_to(user).filter(Q(region_code=own) | Q(submitted_at__isnull=False))


class MonthlyReport(Case):
    """One region's report of one month to the region above (`to_region`)."""

    number = models.CharField("文号", max_length=60, unique=True)
    month = models.DateField("月份")
    to_region = models.CharField("上级区域", max_length=6)
    latest = models.SmallIntegerField("版本", default=0)
    made_by = models.CharField("编制人", max_length=150)
    submitted_at = models.DateTimeField("首次报送", null=True, blank=True)
    submitted_by = models.CharField("报送人", max_length=150, blank=True)
    received_at = models.DateTimeField("接收", null=True, blank=True)
    received_by = models.CharField("接收人", max_length=150, blank=True)
    returned_for = models.CharField("退回理由", max_length=400, blank=True)

    objects = MonthlyReportQuerySet.as_manager()

    class Meta:
        ordering = ("-month", "region_code")
        indexes = (models.Index(fields=["to_region", "month"], name="monthly_above"),)
        constraints = (
            models.UniqueConstraint(fields=["region_code", "month"], name="monthly_once"),
            models.CheckConstraint(condition=Q(month__day=1), name="monthly_of_a_whole_month"),
            models.CheckConstraint(
                condition=~Q(region_code=F("to_region")), name="monthly_goes_upward"
            ),
            models.CheckConstraint(
                condition=Q(submitted_by="") | ~Q(submitted_by=F("made_by")),
                name="monthly_second_person",
            ),
            models.CheckConstraint(
                condition=Q(state__in=["made", "returned"])
                | Q(submitted_at__isnull=False) & ~Q(submitted_by=""),
                name="monthly_submitted_by_a_person",
            ),
            models.CheckConstraint(
                condition=~Q(state="received") & Q(received_at__isnull=True, received_by="")
                | Q(state="received", received_at__isnull=False) & ~Q(received_by=""),
                name="monthly_received_whole",
            ),
            models.CheckConstraint(
                condition=~Q(state="returned") | ~Q(returned_for=""),
                name="monthly_returned_for_a_reason",
            ),
        )  # fmt: skip

    def __str__(self):
        return self.number


class MonthlyVersion(models.Model):
    """The figures of a report as they were counted; `digest` is SM3 of them (append-only)."""

    report = models.ForeignKey(MonthlyReport, models.PROTECT, related_name="versions")
    version = models.SmallIntegerField("版本")
    region_code = models.CharField(max_length=6)
    institution_code = models.CharField(max_length=12, blank=True)
    figures = models.JSONField(help_text="supervision/monthly_counts.py")
    digest = models.CharField("摘要（SM3）", max_length=64)
    made_at = models.DateTimeField("编制时间")
    made_by = models.CharField("编制人", max_length=150)

    objects = ScopedQuerySet.as_manager()

    class Meta:
        ordering = ("report", "-version")
        constraints = (
            models.UniqueConstraint(fields=["report", "version"], name="monthly_version_once"),
            models.CheckConstraint(
                condition=Q(version__gte=1, digest__regex=r"^[0-9a-f]{64}$"),
                name="monthly_version_sane",
            ),
        )

    def __str__(self):
        return f"{self.report_id} v{self.version}"
