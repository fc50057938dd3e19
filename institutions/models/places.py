"""Regions by national area code, their offices, and which days are worked."""

from django.db import models
from django.db.models import Q


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


class Office(models.Model):
    """An authority of a region: the bureau (行政), its agency (经办), its information department."""

    class Kind(models.TextChoices):
        BUREAU = "bureau", "医疗保障局"
        AGENCY = "agency", "经办机构"
        INFORMATION = "information", "信息部门"
        HEALTH = "health", "卫生健康部门"

    region = models.ForeignKey(Region, models.PROTECT, related_name="offices")
    kind = models.CharField(max_length=12, choices=Kind)
    name = models.CharField(max_length=120)
    address = models.CharField(max_length=200, blank=True)
    phone = models.CharField("办公电话", max_length=40, blank=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=["region", "kind"], name="office_one_of_a_kind"),
        )

    def __str__(self):
        return self.name
