"""Releases: the published, immutable text of a policy document or parameter set."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Func, Q, Value

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


class Combination(models.Model):
    """Parameter sets that hold together on some day, in the order in which later rows prevail.

    A settlement names what it used by one number: a release or, of several sets, a combination; both
    are numbered by one sequence. `sm3` is the hash of the sets' hashes.
    """

    id = models.BigIntegerField(
        primary_key=True, db_default=Func(Value("pricing_release_id_seq"), function="nextval")
    )
    releases = ArrayField(models.BigIntegerField(), unique=True)
    sm3 = models.CharField(max_length=64)

    class Meta:
        constraints = (
            models.CheckConstraint(
                condition=Q(releases__len__gte=2), name="combination_of_several"
            ),
        )

    def __str__(self):
        return " + ".join(map(str, self.releases))


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


class DrugList(models.Model):
    """One version of a region's drug catalogue (药品目录): immutable once published, by two people.

    Where a list is published for a service day, drugs are judged by it: category, first self-pay
    share, price ceiling, chronic diseases. Where none is, the documents alone decide (温州 二十三).
    """

    class State(models.TextChoices):
        DRAFT = "draft", "草案"
        PUBLISHED = "published", "已发布"

    class Source(models.TextChoices):
        OFFICIAL = "official", "正式文件"
        IMPORTED = "imported", "外部导入"
        EXAMPLE = "example", "示例"

    region = models.SlugField(max_length=30, help_text="policy region")
    version = models.CharField("版本", max_length=40)
    title = models.CharField(max_length=200)
    source_kind = models.CharField(max_length=8, choices=Source)
    source_ref = models.CharField("文件依据", max_length=200)
    clause = models.CharField(max_length=120, blank=True)
    valid_from = models.DateField()
    valid_until = models.DateField(null=True, blank=True)
    state = models.CharField(max_length=9, choices=State, default=State.DRAFT)
    sm3 = models.CharField("内容摘要", max_length=64, blank=True)
    drugs_count = models.IntegerField(default=0)
    drafted_by = models.CharField(max_length=150)
    drafted_at = models.DateTimeField()
    published_by = models.CharField(max_length=150, blank=True)
    published_at = models.DateTimeField(null=True, blank=True)
    file_name = models.CharField("文件名", max_length=200, blank=True)
    file = models.BinaryField(default=b"")
    rows = models.IntegerField("数据行", default=0)
    errors = models.JSONField(default=list, blank=True)

    objects = DatedQuerySet.as_manager()

    class Meta:
        ordering = ("region", "-valid_from")
        constraints = (
            no_overlap("drug_list_no_overlap", "region", condition=Q(state="published")),
            models.UniqueConstraint(fields=["region", "version"], name="drug_list_version"),
            models.CheckConstraint(
                condition=Q(state="draft")
                | (
                    Q(published_at__isnull=False)
                    & ~Q(published_by="")
                    & ~Q(published_by=F("drafted_by"))
                ),
                name="drug_list_second_person_publishes",
            ),
            models.CheckConstraint(
                condition=Q(state="draft") | (Q(errors=[], drugs_count__gt=0) & ~Q(sm3="")),
                name="drug_list_sound_when_published",
            ),
            models.CheckConstraint(
                condition=Q(valid_until__isnull=True) | Q(valid_until__gte=F("valid_from")),
                name="drug_list_dates_in_order",
            ),
        )

    def __str__(self):
        return f"{self.title} {self.version}"


class Drug(models.Model):
    """A drug of a list: national code, category 甲/乙/丙, first self-pay share, ceiling, diseases."""

    class Category(models.TextChoices):
        A = "A", "甲类"
        B = "B", "乙类"
        C = "C", "丙类"

    catalogue = models.ForeignKey(DrugList, models.CASCADE, related_name="drugs")
    code = models.CharField("医保药品编码", max_length=30)
    name = models.CharField(max_length=120)
    specification = models.CharField("规格", max_length=120, blank=True)
    unit = models.CharField("计价单位", max_length=20, blank=True)
    category = models.CharField(max_length=1, choices=Category)
    first_self_pay = models.IntegerField("先行自付比例", default=0, help_text="per ten thousand")
    ceiling = models.BigIntegerField(
        "支付限价", null=True, blank=True, help_text="per unit, 1/1000000 yuan"
    )
    diseases = ArrayField(
        models.CharField(max_length=20), default=list, blank=True,
        help_text="payable only for these filed chronic diseases; empty: no limit",
    )  # fmt: skip

    class Meta:
        ordering = ("code",)
        constraints = (
            models.UniqueConstraint(fields=["catalogue", "code"], name="drug_once_per_list"),
            models.CheckConstraint(
                condition=Q(first_self_pay__gte=0, first_self_pay__lte=10_000),
                name="drug_share_in_range",
            ),
            models.CheckConstraint(
                condition=Q(ceiling__isnull=True) | Q(ceiling__gte=0), name="drug_ceiling_sane"
            ),
        )

    def __str__(self):
        return self.name
