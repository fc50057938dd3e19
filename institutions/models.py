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

from audit.models import Case, ScopedQuerySet


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
    mail_news = models.BooleanField("通知同时发邮件", default=False)

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

    @property
    def level(self) -> str:
        """The level of the own office (province, prefecture, county); empty at an institution."""
        return self.region.level if self.region else ""

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

    def known_at(self, moment):
        """Rows as they were known at a moment: recorded by then and not replaced yet."""
        replaced = Q(superseded_at__isnull=True) | Q(superseded_at__gt=moment)
        return self.filter(replaced, recorded_at__lte=moment)

    def facts_on(self, day, known_at=None):
        """What was true on a day, as known at a moment (None: as known now); None if nothing was."""
        rows = self.known() if known_at is None else self.known_at(known_at)
        return rows.in_force(on=day).first()


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


class DocumentQuerySet(models.QuerySet):
    def visible_to(self, user):
        """Files of institutions and regions inside the reader's scope."""
        scope = user.scope_codes()
        if scope.everything:
            return self
        inside = Q(institution__in=scope.institutions) if scope.institutions else Q(pk__in=[])
        for prefix in scope.regions:
            inside |= Q(region_code__startswith=prefix)
        return self.filter(inside)


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


class CodeMappingQuerySet(DatedQuerySet):
    def valid(self, *, on):
        """Mappings that hold on a day: approved, or approved once and ended later."""
        return self.in_force(on=on).filter(state__in=("approved", "expired"))


class CodeMapping(Case):
    """对码: a local code of an institution and the national code that it stands for."""

    class Kind(models.TextChoices):
        ITEM = "item", "医疗服务项目"
        DRUG = "drug", "药品"
        PHYSICIAN = "physician", "医师"
        DEPARTMENT = "department", "科室"

    institution = models.ForeignKey(Institution, models.PROTECT, related_name="mappings")
    kind = models.CharField(max_length=10, choices=Kind)
    local_code = models.CharField("院内编码", max_length=60)
    local_name = models.CharField("院内名称", max_length=120)
    national_code = models.CharField("国家编码", max_length=60)
    national_name = models.CharField("国家名称", max_length=120, blank=True)
    valid_from = models.DateField()
    valid_until = models.DateField(null=True, blank=True)

    objects = CodeMappingQuerySet.as_manager()

    class Meta:
        constraints = (
            no_overlap(
                "code_mapping_no_overlap",
                "institution",
                "kind",
                "local_code",
                condition=Q(state="approved"),
            ),
        )

    def __str__(self):
        return f"{self.local_code} → {self.national_code}"


class Change(Case):
    """变更备案: new facts of an institution, filed by it, checked by the agency, valid from a day."""

    class Kind(models.TextChoices):
        REPRESENTATIVE = "representative", "法定代表人"
        ACCOUNT = "account", "银行结算账户"
        NAME = "name", "机构名称"
        ADDRESS = "address", "地址"
        PRICE_CLASS = "price_class", "价格类别"
        GRADE = "grade", "等级"
        OWNERSHIP = "ownership", "所有制与经营性质"
        DEPARTMENTS = "departments", "诊疗科目"

    institution = models.ForeignKey(Institution, models.PROTECT, related_name="changes")
    number = models.CharField("备案号", max_length=40, unique=True)
    kind = models.CharField("变更事项", max_length=20, choices=Kind)
    effective_from = models.DateField("生效日")
    #: new values by field; an account's number and holder only as hex of their ciphertext
    content = models.JSONField(default=dict)
    reason = models.CharField("变更原因", max_length=200, blank=True)

    def __str__(self):
        return f"{self.number} {self.get_kind_display()}"


class Delegation(models.Model):
    """委托: while somebody is away, another person of the same office sees and does that work."""

    giver = models.ForeignKey(User, models.PROTECT, related_name="given")
    taker = models.ForeignKey(User, models.PROTECT, related_name="taken")
    valid_from = models.DateField()
    valid_until = models.DateField()
    reason = models.CharField(max_length=200, blank=True)
    recorded_at = models.DateTimeField()
    recorded_by = models.CharField(max_length=150)
    ended_at = models.DateTimeField(null=True, blank=True)

    objects = DatedQuerySet.as_manager()

    class Meta:
        constraints = (
            models.CheckConstraint(condition=~Q(giver=F("taker")), name="delegation_to_another"),
            models.CheckConstraint(
                condition=Q(valid_until__gte=F("valid_from")), name="delegation_dates_in_order"
            ),
        )

    def __str__(self):
        return f"{self.giver} → {self.taker}"


class Notification(models.Model):
    """A message to a person inside the portal; mail and webhooks leave through `Dispatch`."""

    user = models.ForeignKey(User, models.CASCADE, related_name="notifications")
    subject = models.CharField(max_length=80, blank=True)
    text = models.CharField(max_length=300)
    url = models.CharField(max_length=200, blank=True)
    at = models.DateTimeField()
    read_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = (models.Index(fields=["user", "read_at", "-at"], name="notification_unread"),)

    def __str__(self):
        return self.text


class Webhook(models.Model):
    """Where an institution's system wants to be told: HTTPS address, secret for the signature."""

    institution = models.ForeignKey(Institution, models.PROTECT, related_name="webhooks")
    url = models.URLField(max_length=300)
    secret_encrypted = models.BinaryField()
    active = models.BooleanField(default=True)
    created_at = models.DateTimeField()
    created_by = models.CharField(max_length=150)

    def __str__(self):
        return self.url


class Dispatch(models.Model):
    """One message that leaves the portal; tried again with growing pauses until it arrives."""

    class Channel(models.TextChoices):
        WEBHOOK = "webhook", "回调"
        EMAIL = "email", "邮件"

    channel = models.CharField(max_length=7, choices=Channel)
    webhook = models.ForeignKey(Webhook, models.PROTECT, null=True, blank=True)
    address = models.CharField(max_length=300)
    body = models.JSONField()
    created_at = models.DateTimeField()
    next_at = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    sent_at = models.DateTimeField(null=True, blank=True)
    error = models.CharField(max_length=300, blank=True)

    class Meta:
        indexes = (
            models.Index(fields=["next_at"], name="dispatch_waiting", condition=Q(sent_at=None)),
        )

    def __str__(self):
        return f"{self.channel} {self.address}"


class Import(models.Model):
    """A registry sheet as uploaded, judged and, once confirmed, written as a whole or not at all."""

    class State(models.TextChoices):
        CHECKED = "checked", "待确认"
        WAITING = "waiting", "正在导入"
        DONE = "done", "已导入"
        FAILED = "failed", "未导入"

    kind = models.SlugField("内容", max_length=20)
    file_name = models.CharField(max_length=200)
    file = models.BinaryField()
    file_sm3 = models.CharField(max_length=64)
    plan_sm3 = models.CharField("计划的摘要", max_length=64)
    state = models.CharField(max_length=8, choices=State, default=State.CHECKED)
    rows = models.PositiveIntegerField()
    counts = models.JSONField(default=dict)
    errors = models.JSONField(default=list)
    region_code = models.CharField(max_length=6, blank=True)
    institution_code = models.CharField(max_length=12, blank=True)
    created_at = models.DateTimeField()
    created_by = models.CharField(max_length=150)
    confirmed_at = models.DateTimeField(null=True, blank=True)
    confirmed_by = models.CharField(max_length=150, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    objects = ScopedQuerySet.as_manager()

    class Meta:
        indexes = (
            models.Index(
                fields=["confirmed_at"], name="import_waiting", condition=Q(state="waiting")
            ),
        )

    def __str__(self):
        return self.file_name
