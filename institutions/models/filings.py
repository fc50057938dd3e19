"""What institutions file: changes, code mappings, tables to import."""

from django.db import models
from django.db.models import Q

from audit.models import Case, ScopedQuerySet
from institutions.models.dated import DatedQuerySet, no_overlap
from institutions.models.parties import Institution


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
