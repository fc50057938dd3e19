"""Releases: the published, immutable text of a policy document or parameter set."""

from django.db import models
from django.db.models import F, Q

from institutions.models import DatedQuerySet, no_overlap


class ReleaseQuerySet(DatedQuerySet):
    def published(self):
        return self.filter(state=Release.State.PUBLISHED)


class Release(models.Model):
    """One text of one document for one region, in force from `valid_from` to `valid_until`.

    A draft is edited; a published release never changes (trigger): a new one replaces it.
    `sm3` is the hash of `text`; two people are needed (four-eyes): drafted_by ≠ published_by.
    """

    class State(models.TextChoices):
        DRAFT = "draft", "草案"
        PUBLISHED = "published", "已发布"

    class Kind(models.TextChoices):
        POLICY = "policy", "政策文件"
        PARAMETERS = "parameters", "参数集"

    slug = models.SlugField(max_length=60)
    kind = models.CharField(max_length=10, choices=Kind)
    region = models.SlugField(max_length=30)
    document = models.CharField(max_length=60)
    title = models.CharField(max_length=200)
    text = models.TextField()
    sm3 = models.CharField(max_length=64)
    valid_from = models.DateField()
    valid_until = models.DateField(null=True, blank=True)
    state = models.CharField(max_length=9, choices=State, default=State.DRAFT)
    drafted_by = models.CharField(max_length=150)
    drafted_at = models.DateTimeField()
    published_by = models.CharField(max_length=150, blank=True)
    published_at = models.DateTimeField(null=True, blank=True)
    evidence = models.JSONField(default=dict, blank=True)

    objects = ReleaseQuerySet.as_manager()

    class Meta:
        ordering = ("region", "slug", "valid_from")
        constraints = (
            no_overlap("release_no_overlap", "slug", "region", condition=Q(state="published")),
            models.CheckConstraint(
                condition=Q(state="draft")
                | (
                    Q(published_at__isnull=False)
                    & ~Q(published_by="")
                    & ~Q(published_by=F("drafted_by"))
                ),
                name="release_second_person_publishes",
            ),
            models.CheckConstraint(
                condition=Q(valid_until__isnull=True) | Q(valid_until__gte=F("valid_from")),
                name="release_dates_in_order",
            ),
        )

    def __str__(self):
        return f"{self.document} {self.valid_from}"


class DocumentFile(models.Model):
    """The official file of a document, attached by a person; shown beside prices that cite it."""

    slug = models.SlugField(max_length=60)
    name = models.CharField(max_length=200)
    content_type = models.CharField(max_length=80)
    content = models.BinaryField()
    sm3 = models.CharField(max_length=64)
    attached_by = models.CharField(max_length=150)
    attached_at = models.DateTimeField()

    class Meta:
        constraints = (models.UniqueConstraint(fields=["slug", "sm3"], name="document_file_once"),)

    def __str__(self):
        return self.name
