"""Institutions with their dated facts, documents, qualifications, platforms, accounts, contacts."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Func, Q

from institutions.models.dated import DatedQuerySet, FactsQuerySet, Suspension, no_overlap
from institutions.models.places import Region


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
            inside |= Q(region__code__within=prefix)
        return self.filter(inside)


class Institution(models.Model):
    """A party by its national 12-character code; facts that change are in `facts`.

    Retail pharmacies and logistics companies are parties too. (温医保办〔2021〕6号 十四、十五)
    """

    class Kind(models.TextChoices):
        MEDICAL = "medical", "医疗机构"
        PHARMACY = "retail_pharmacy", "零售药店"
        LOGISTICS = "logistics_company", "物流企业"

    code = models.CharField(max_length=12, primary_key=True)
    kind = models.CharField(max_length=20, choices=Kind, default=Kind.MEDICAL)
    name = models.CharField(max_length=120)
    aliases = ArrayField(models.CharField(max_length=120), default=list, blank=True)
    internet_hospital_name = models.CharField(max_length=160, blank=True)  #: today's, of the facts
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

    def departments(self) -> list[str]:
        """Codes of the departments that it has or had, offline and internet, as known now."""
        rows = self.facts.known().values_list("offline_departments", "internet_departments")
        return sorted({code for row in rows for codes in row for code in codes})


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
    #: the name of that span where it differs from today's
    name = models.CharField("机构名称", max_length=120, blank=True)
    internet_hospital_name = models.CharField("互联网医院名称", max_length=160, blank=True)
    price_class = models.CharField("价格类别", max_length=2, blank=True)
    hospital_grade = models.CharField("等级", max_length=10, blank=True)
    ownership = models.CharField(max_length=8, choices=Ownership)
    #: the internet hospital's own status; the physical institution's may differ (温州 八第1款, I-WZ-10)
    nonprofit = models.BooleanField("互联网医院非营利")
    physical_nonprofit = models.BooleanField("实体机构非营利", null=True, blank=True)
    representative = models.CharField("法定代表人", max_length=40, blank=True)
    address = models.CharField("地址", max_length=200, blank=True)
    filed_on = models.DateField("备案日", null=True, blank=True)
    online_settlement = models.BooleanField("可联网结算", default=True)
    offline_departments = ArrayField(models.CharField(max_length=20), default=list, blank=True)
    internet_departments = ArrayField(models.CharField(max_length=20), default=list, blank=True)
    recorded_by = models.CharField(max_length=150, blank=True)
    source = models.CharField("依据", max_length=120, blank=True)

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


class DepartmentSuspension(Suspension):
    """暂停责任部门涉及医保基金使用的医药服务: visits in a department of these days are not paid for.

    A department of the first level stands for those below it (A03 内科: A03.04 心血管内科, too).
    (国务院令第735号 第38、40条)
    """

    institution = models.ForeignKey(
        Institution, models.PROTECT, related_name="department_suspensions"
    )
    department = models.CharField("诊疗科目", max_length=20)

    class Meta(Suspension.Meta):
        constraints = (
            *Suspension.Meta.constraints,
            models.CheckConstraint(condition=~Q(department=""), name="%(class)s_of_one"),
        )


PERSONAL = "personal:"  #: kinds of files that hold papers of an insured person


class DocumentQuerySet(models.QuerySet):
    def visible_to(self, user):
        """Files of institutions and regions inside the reader's scope.

        Papers of insured persons (kinds that begin with PERSONAL) are only read on their own pages.
        """
        scope = user.scope_codes()
        if scope.everything:
            return self
        inside = Q(institution__in=scope.institutions) if scope.institutions else Q(pk__in=[])
        for prefix in scope.regions:
            inside |= Q(region_code__within=prefix)
        return self.filter(inside).exclude(kind__startswith=PERSONAL)


class Document(models.Model):
    """An uploaded or made file. Bytes lie in private storage; the digest is SM3 of the bytes."""

    name = models.CharField("文件名", max_length=200)
    kind = models.CharField("类别", max_length=40)
    media_type = models.CharField(max_length=100)
    size = models.PositiveIntegerField()
    digest = models.CharField("SM3", max_length=64)
    file = models.FileField(upload_to="documents/%Y/%m", max_length=200)
    subject = models.CharField("所属事项", max_length=80, blank=True, db_index=True)
    institution = models.ForeignKey(
        Institution, models.PROTECT, null=True, blank=True, related_name="documents"
    )
    region_code = models.CharField(max_length=6, blank=True)
    uploaded_by = models.CharField(max_length=150)
    uploaded_at = models.DateTimeField()

    objects = DocumentQuerySet.as_manager()

    def __str__(self):
        return self.name


class Qualification(models.Model):
    """A licence, certificate or report of an institution with its validity and scan.

    MLPS evidence (备案证明, 测评报告) is one of them. (通医保发〔2020〕25号 三（四）)
    """

    class Kind(models.TextChoices):
        PRACTICE = "practice_licence", "医疗机构执业许可证"
        INTERNET_HOSPITAL = "internet_hospital", "互联网医院执业登记"
        INTERNET_DIAGNOSIS = "internet_diagnosis", "互联网诊疗许可"
        BUSINESS = "business_licence", "营业执照"
        DRUG = "drug_licence", "药品经营许可证"
        TRANSPORT = "transport_licence", "道路运输或快递业务许可"
        MLPS_RECORD = "mlps_record", "网络安全等级保护备案证明"
        MLPS_REPORT = "mlps_report", "网络安全等级测评报告"
        OTHER = "other", "其他资质"

    institution = models.ForeignKey(Institution, models.PROTECT, related_name="qualifications")
    kind = models.CharField("资质", max_length=20, choices=Kind)
    number = models.CharField("证照编号", max_length=80)
    issuer = models.CharField("发证机关", max_length=120, blank=True)
    level = models.CharField("级别", max_length=20, blank=True)
    valid_from = models.DateField()
    valid_until = models.DateField(null=True, blank=True)
    document = models.ForeignKey(Document, models.PROTECT, null=True, blank=True)
    recorded_at = models.DateTimeField()
    recorded_by = models.CharField(max_length=150)
    superseded_at = models.DateTimeField(null=True, blank=True)
    checked_at = models.DateTimeField("核验时间", null=True, blank=True)
    checked_by = models.CharField(max_length=150, blank=True)

    objects = FactsQuerySet.as_manager()

    class Meta:
        constraints = (
            no_overlap(
                "qualification_no_overlap",
                "institution",
                "kind",
                "number",
                condition=Q(superseded_at__isnull=True),
            ),
        )

    def __str__(self):
        return f"{self.get_kind_display()} {self.number}"


class PlatformConnection(models.Model):
    """A platform that an institution is joined to; the key is the policy's (宁夏 二: 三个平台)."""

    institution = models.ForeignKey(Institution, models.PROTECT, related_name="platforms")
    platform = models.SlugField("平台", max_length=40)
    valid_from = models.DateField("接入日")
    valid_until = models.DateField(null=True, blank=True)
    document = models.ForeignKey(Document, models.PROTECT, null=True, blank=True)
    recorded_at = models.DateTimeField()
    recorded_by = models.CharField(max_length=150)
    superseded_at = models.DateTimeField(null=True, blank=True)
    checked_at = models.DateTimeField(null=True, blank=True)
    checked_by = models.CharField(max_length=150, blank=True)

    objects = FactsQuerySet.as_manager()

    class Meta:
        constraints = (
            no_overlap(
                "platform_connection_no_overlap",
                "institution",
                "platform",
                condition=Q(superseded_at__isnull=True),
            ),
        )

    def __str__(self):
        return f"{self.institution_id} {self.platform}"


class BankAccount(models.Model):
    """The account that payments go to, by day. Number and holder are encrypted, shown masked."""

    institution = models.ForeignKey(Institution, models.PROTECT, related_name="accounts")
    holder_encrypted = models.BinaryField()
    bank = models.CharField("开户行", max_length=120)
    number_encrypted = models.BinaryField()
    number_hash = models.BinaryField(max_length=32)
    number_tail = models.CharField(max_length=4)
    valid_from = models.DateField()
    valid_until = models.DateField(null=True, blank=True)
    recorded_at = models.DateTimeField()
    recorded_by = models.CharField(max_length=150)
    superseded_at = models.DateTimeField(null=True, blank=True)

    objects = FactsQuerySet.as_manager()

    class Meta:
        constraints = (
            no_overlap(
                "bank_account_no_overlap", "institution", condition=Q(superseded_at__isnull=True)
            ),
        )

    def __str__(self):
        return f"{self.bank} 尾号{self.number_tail}"


class PaymentFreeze(models.Model):
    """Days on which nothing is paid to an institution: while its account changes, or by decision."""

    institution = models.ForeignKey(Institution, models.PROTECT, related_name="freezes")
    valid_from = models.DateField()
    valid_until = models.DateField(null=True, blank=True)
    reason = models.CharField(max_length=200)
    subject = models.CharField("所因事项", max_length=80, blank=True)
    recorded_at = models.DateTimeField()
    recorded_by = models.CharField(max_length=150)

    objects = DatedQuerySet.as_manager()

    def __str__(self):
        return f"{self.institution_id} {self.valid_from} 暂停拨付"


class Contact(models.Model):
    """Whom to call at an institution, for what. The number is encrypted."""

    institution = models.ForeignKey(Institution, models.PROTECT, related_name="contacts")
    purpose = models.CharField("事务", max_length=40)
    name = models.CharField("姓名", max_length=40)
    phone_encrypted = models.BinaryField()
    phone_tail = models.CharField(max_length=4, blank=True)
    email = models.EmailField(blank=True)
    valid_from = models.DateField()
    valid_until = models.DateField(null=True, blank=True)
    recorded_at = models.DateTimeField()
    recorded_by = models.CharField(max_length=150)

    objects = DatedQuerySet.as_manager()

    def __str__(self):
        return f"{self.purpose} {self.name}"
