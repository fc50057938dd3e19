"""Credit scores (信用评价): an explained sum of what was decided in a year, version by version.

(温医保办〔2021〕6号 二十七：纳入信用监管)
"""

from django.db import models
from django.db.models import Q

from audit.models import ScopedQuerySet


class CreditScore(models.Model):
    """The score of a subject in a year as known at a moment; a new one is a new version (append-only).

    `parts` explains the sum: [{key, label, count, each, points}]; start and parts add up to `score`.
    """

    class Subject(models.TextChoices):
        INSTITUTION = "institution", "定点医疗机构"
        PRACTITIONER = "practitioner", "医师药师护士"
        PERSON = "person", "参保人员"

    region_code = models.CharField(max_length=6)
    institution_code = models.CharField(max_length=12, blank=True)
    subject_kind = models.CharField("对象类别", max_length=12, choices=Subject)
    subject_code = models.CharField("对象", max_length=64)
    year = models.SmallIntegerField("年度")
    version = models.SmallIntegerField("版本")
    start = models.SmallIntegerField("基准分")
    parts = models.JSONField("构成", default=list)
    score = models.SmallIntegerField("得分")
    level = models.CharField("等级", max_length=20)
    clause = models.CharField("依据", max_length=160)
    example = models.BooleanField("使用示例参数", default=False)
    made_at = models.DateTimeField()
    made_by = models.CharField(max_length=150)

    objects = ScopedQuerySet.as_manager()

    class Meta:
        ordering = ("-year", "score", "-pk")
        indexes = (models.Index(fields=["region_code", "year", "score"], name="credit_region"),)
        constraints = (
            models.UniqueConstraint(
                fields=["subject_kind", "subject_code", "year", "version"], name="credit_version"
            ),
            models.CheckConstraint(
                condition=Q(score__gte=0, version__gte=1), name="credit_not_negative"
            ),
        )

    def __str__(self):
        return f"{self.subject_code} {self.year} {self.score}"
