"""Agreements with their dated states, applications and everything that is filed on the way."""

import datetime as dt

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Coalesce

from audit.models import Case, ScopedQuerySet
from institutions.models import DatedQuerySet, Document, FactsQuerySet, Institution, no_overlap


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
    previous = models.ForeignKey("self", models.PROTECT, null=True, blank=True, related_name="next")
    paper = models.ForeignKey(
        Document, models.PROTECT, null=True, blank=True, verbose_name="纸质协议扫描件"
    )

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


class AgreementStateQuerySet(FactsQuerySet):
    def supplementary(self, *, on):
        """States of supplementary agreements on a day."""
        return self.known().in_force(on=on).filter(agreement__kind=Agreement.Kind.SUPPLEMENTARY)

    def of(self, institutions, *, kind, on):
        """Institution code → state of its agreement of a kind on a day; the later agreement wins."""
        rows = (
            self.known()
            .in_force(on=on)
            .filter(agreement__institution__in=institutions, agreement__kind=kind)
            .select_related("agreement")
            .order_by("agreement__valid_from")
        )
        return {row.agreement.institution_id: row for row in rows}


class AgreementState(models.Model):
    """The state of an agreement in a span of days, known from `recorded_at` until `superseded_at`.

    A later decision never changes a row: it supersedes it, so that what was known on any day
    can be asked.
    """

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
    superseded_at = models.DateTimeField(null=True, blank=True)
    reason = models.CharField(max_length=200, blank=True)
    clause = models.CharField(max_length=120, blank=True)

    objects = AgreementStateQuerySet.as_manager()

    class Meta:
        constraints = (
            no_overlap(
                "agreement_state_no_overlap",
                "agreement",
                condition=Q(superseded_at__isnull=True),
            ),
        )

    def __str__(self):
        return f"{self.agreement_id} {self.state}"


class ApplicationQuerySet(ScopedQuerySet):
    def running(self):
        """Applications that somebody still has to act on."""
        return self.filter(closed_at__isnull=True)

    def failed(self, *, institution, procedure):
        """Applications that ended with a delivered notice (不合格) since the last success, oldest first.

        Each has `delivered_on`. A lapse, a withdrawal or a file still under way is no failure.
        """
        ours = self.filter(institution=institution, procedure=procedure)
        success = ours.filter(agreement__isnull=False).order_by("-pk").values("pk")[:1]
        since = ours.filter(closed_at__isnull=False, notices__delivered_on__isnull=False).alias(
            success=Coalesce(models.Subquery(success), 0)
        )
        return list(
            since.filter(pk__gt=F("success"))
            .annotate(delivered_on=models.Max("notices__delivered_on"))
            .order_by("pk")
        )


class Application(Case):
    """An institution's way through a region's procedure, from the first draft to its end.

    Wenzhou's supplementary agreement, Nantong's filing and Ningxia's docking are tables of the same
    mechanism (agreements/procedures/). A new attempt is a new application with `previous`.
    """

    number = models.CharField("受理编号", max_length=40, unique=True)
    institution = models.ForeignKey(Institution, models.PROTECT, related_name="applications")
    previous = models.ForeignKey(
        "self", models.PROTECT, null=True, blank=True, related_name="later"
    )
    includes_main = models.BooleanField("同时申请定点协议", default=False)
    agreement = models.ForeignKey(
        Agreement, models.PROTECT, null=True, blank=True, related_name="applications"
    )
    intention = models.TextField("申请说明", blank=True)

    objects = ApplicationQuerySet.as_manager()

    delivered_on: dt.date  #: set by `failed`

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=["institution", "procedure"],
                condition=Q(closed_at__isnull=True),
                name="application_one_running",
            ),
        )
        indexes = (
            models.Index(fields=["region_code", "state"], name="application_region_state"),
            models.Index(fields=["institution", "-id"], name="application_institution"),
        )

    def __str__(self):
        return self.number


class Requirement(models.Model):
    """One line of an application's checklist: a condition of the law (材料) or a test item (验收)."""

    class Part(models.TextChoices):
        MATERIALS = "materials", "申请条件"
        ACCEPTANCE = "acceptance", "测试验收"

    application = models.ForeignKey(Application, models.PROTECT, related_name="requirements")
    part = models.CharField(max_length=10, choices=Part)
    no = models.CharField("序号", max_length=8)
    text = models.CharField("内容", max_length=200)
    clause = models.CharField(max_length=40)
    statement = models.TextField("机构说明", blank=True)
    met = models.BooleanField("是否符合", null=True, blank=True)
    remark = models.CharField("审核意见", max_length=300, blank=True)
    judged_by = models.CharField(max_length=150, blank=True)
    judged_at = models.DateTimeField(null=True, blank=True)
    documents = models.ManyToManyField(Document, blank=True, related_name="requirements")

    class Meta:
        ordering = ("part", "pk")
        constraints = (
            models.UniqueConstraint(
                fields=["application", "part", "no"], name="requirement_once_per_application"
            ),
        )

    def __str__(self):
        return f"{self.no} {self.text}"


class Notice(models.Model):
    """一次性告知书: everything to be improved, told once; clocks run from its delivery. (温州 七)"""

    application = models.ForeignKey(Application, models.PROTECT, related_name="notices")
    number = models.CharField("文号", max_length=60, unique=True)
    kind = models.CharField("不合格环节", max_length=10, choices=Requirement.Part)
    items = models.JSONField("需改进完善的内容")
    made_on = models.DateField("作出日")
    made_by = models.CharField(max_length=150)
    document = models.ForeignKey(Document, models.PROTECT, null=True, blank=True)
    delivered_on = models.DateField("送达日", null=True, blank=True)
    delivery = models.CharField("送达方式", max_length=20, blank=True)
    delivered_by = models.CharField(max_length=150, blank=True)
    receipt = models.CharField("签收人", max_length=60, blank=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=["application", "kind"], name="notice_once_per_failure"),
            models.CheckConstraint(
                condition=Q(delivered_on__isnull=True) | Q(delivered_on__gte=F("made_on")),
                name="notice_delivered_after_made",
            ),
        )

    def __str__(self):
        return self.number


class Objection(models.Model):
    """An objection raised in the public notice before signing (公示期异议)."""

    class Outcome(models.TextChoices):
        OPEN = "open", "待处理"
        UPHELD = "upheld", "成立"
        DISMISSED = "dismissed", "不成立"

    application = models.ForeignKey(Application, models.PROTECT, related_name="objections")
    raised_on = models.DateField()
    raised_by = models.CharField("异议人", max_length=60)
    text = models.TextField()
    outcome = models.CharField(max_length=10, choices=Outcome, default=Outcome.OPEN)
    answer = models.TextField(blank=True)
    decided_on = models.DateField(null=True, blank=True)
    decided_by = models.CharField(max_length=150, blank=True)
    recorded_at = models.DateTimeField()
    recorded_by = models.CharField(max_length=150)

    def __str__(self):
        return f"{self.application_id} {self.raised_by}"


class SigningKey(models.Model):
    """A signer's X.509 certificate and, for the demonstration, its encrypted private key."""

    class Side(models.TextChoices):
        AGENCY = "agency", "经办机构"
        INSTITUTION = "institution", "医疗机构"
        AUTHORITY = "authority", "证书颁发机构"

    side = models.CharField(max_length=12, choices=Side)
    holder_code = models.CharField("区划或机构代码", max_length=12)
    subject = models.CharField(max_length=200)
    certificate = models.TextField("证书（PEM）")
    key_encrypted = models.BinaryField(null=True, blank=True)
    valid_from = models.DateField()
    valid_until = models.DateField()
    is_demo = models.BooleanField(default=False)

    objects = DatedQuerySet.as_manager()

    class Meta:
        constraints = (no_overlap("signing_key_no_overlap", "side", "holder_code"),)

    def __str__(self):
        return self.subject


class Contract(models.Model):
    """The text of an agreement as a PDF on its way to two signatures. (通医保 三（一）网上互签)"""

    application = models.ForeignKey(
        Application, models.PROTECT, null=True, blank=True, related_name="contracts"
    )
    agreement = models.ForeignKey(
        Agreement, models.PROTECT, null=True, blank=True, related_name="contracts"
    )
    kind = models.CharField(max_length=13, choices=Agreement.Kind)
    text_version = models.CharField("文本版本", max_length=60)
    text_digest = models.CharField(max_length=64)
    number = models.CharField(max_length=60)
    valid_from = models.DateField()
    valid_until = models.DateField(null=True, blank=True)
    document = models.ForeignKey(Document, models.PROTECT, related_name="+")
    made_at = models.DateTimeField()
    made_by = models.CharField(max_length=150)
    complete = models.BooleanField("双方已签", default=False)
    reason = models.CharField("续签理由", max_length=200, blank=True)

    def __str__(self):
        return self.number


class Signature(models.Model):
    """One side's electronic signature in a contract's PDF; `document` is the file signed so far."""

    contract = models.ForeignKey(Contract, models.PROTECT, related_name="signatures")
    side = models.CharField(max_length=12, choices=SigningKey.Side)
    key = models.ForeignKey(SigningKey, models.PROTECT, related_name="+")
    document = models.ForeignKey(Document, models.PROTECT, related_name="+")
    signed_at = models.DateTimeField()
    signed_by = models.CharField(max_length=150)
    digest = models.CharField("文件 SM3", max_length=64)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=["contract", "side"], name="signature_once_per_side"),
        )

    def __str__(self):
        return f"{self.contract_id} {self.side}"


class Assessment(models.Model):
    """考核: scores of an institution's year by weighted indicators (温州 二十一); corrections add rows."""

    institution = models.ForeignKey(Institution, models.PROTECT, related_name="assessments")
    year = models.PositiveSmallIntegerField()
    scheme = models.CharField("指标版本", max_length=80)
    scores = models.JSONField()
    total = models.PositiveIntegerField("总分（万分制）")
    coefficient = models.PositiveIntegerField("支付系数（万分比）")
    renewal = models.CharField("续签建议", max_length=20)
    example = models.BooleanField("示例参数", default=False)
    remark = models.CharField(max_length=300, blank=True)
    recorded_at = models.DateTimeField()
    recorded_by = models.CharField(max_length=150)
    superseded_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=["institution", "year"],
                condition=Q(superseded_at__isnull=True),
                name="assessment_one_known_per_year",
            ),
        )

    def __str__(self):
        return f"{self.institution_id} {self.year}"


class WavePlaceQuerySet(models.QuerySet):
    def visible_to(self, user):
        """Places of the institutions inside the reader's scope."""
        return self.filter(institution__in=Institution.objects.visible_to(user))


class WavePlace(models.Model):
    """A hospital's place in the batches of the notice, with its own plan (宁医保发〔2021〕152号 附件1)."""

    institution = models.OneToOneField(Institution, models.PROTECT, related_name="wave_place")
    policy_region = models.SlugField(max_length=30)
    batch = models.PositiveSmallIntegerField(null=True, blank=True)
    listed_name = models.CharField(max_length=120)
    deadline = models.DateField(null=True, blank=True)
    #: step key → {"start": day, "end": day}: drawn up backwards from the deadline, then by hand
    plan = models.JSONField(default=dict, blank=True)
    plan_example = models.BooleanField("工期为示例参数", default=False)
    plan_reason = models.CharField("计划超出时限的理由", max_length=300, blank=True)
    plan_version = models.PositiveIntegerField(default=0)
    planned_at = models.DateTimeField(null=True, blank=True)
    planned_by = models.CharField(max_length=150, blank=True)
    override_reason = models.CharField("先于名单内医院的理由", max_length=300, blank=True)
    recorded_at = models.DateTimeField()
    recorded_by = models.CharField(max_length=150)

    objects = WavePlaceQuerySet.as_manager()

    def __str__(self):
        return f"{self.batch} {self.listed_name}"


class FormSubmission(Case):
    """One of the official forms of 附件3, filled in; restricted fields lie encrypted in `restricted`."""

    number = models.CharField("编号", max_length=40, unique=True)
    form = models.SlugField(max_length=40)
    institution = models.ForeignKey(
        Institution, models.PROTECT, null=True, blank=True, related_name="forms"
    )
    content = models.JSONField(default=dict)
    restricted = models.BinaryField(null=True, blank=True)
    document = models.ForeignKey(Document, models.PROTECT, null=True, blank=True)

    objects = ScopedQuerySet.as_manager()

    def __str__(self):
        return self.number
