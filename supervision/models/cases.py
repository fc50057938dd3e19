"""Supervision cases (监管案件): who is accused of what, who inquires, the evidence, the decision, its papers.

A case is moved by its table (procedures/case.yaml). Evidence and papers are only added; whoever
inquires does not decide. (国务院令第735号 第29、31、38至41、45条；温医保办〔2021〕6号 二十七、二十八)
"""

from django.db import models
from django.db.models import F, Q

from audit.models import Case, ScopedQuerySet
from institutions.models import Document


class CaseQuerySet(ScopedQuerySet):
    def visible_to(self, user):
        """Cases inside a user's scope; an institution sees those it is party to, once it was told."""
        rows = super().visible_to(user)
        if not user.institution_id:
            return rows
        return rows.filter(told_on__isnull=False).exclude(subject_kind="person")


class SupervisionCase(Case):
    """A case about one subject: an institution, a practitioner there, or an insured person.

    `institution_code` is where it happened: that institution answers for itself and its
    practitioners, not for an insured person (`party`). `loss` is what the fund lost, as found by
    the inquiry (fen).
    """

    class Origin(models.TextChoices):
        FINDING = "finding", "审核疑点"
        COMPLAINT = "complaint", "举报投诉"
        INSPECTION = "inspection", "稽核检查"
        TRANSFER = "transfer", "其他部门移交"
        HAND = "hand", "自行发现"

    class Subject(models.TextChoices):
        INSTITUTION = "institution", "定点医疗机构"
        PHYSICIAN = "physician", "医保服务医师"
        PHARMACIST = "pharmacist", "药师"
        NURSE = "nurse", "护士"
        PERSON = "person", "参保人员"

    class Route(models.TextChoices):
        AGREEMENT = "agreement", "协议处理"
        PENALTY = "penalty", "行政处罚"
        TRANSFER = "transfer", "移送公安机关"

    number = models.CharField("案号", max_length=40, unique=True)
    title = models.CharField("案由", max_length=120)
    origin = models.CharField("来源", max_length=10, choices=Origin)
    origin_ref = models.CharField("来源编号", max_length=80, blank=True)
    subject_kind = models.CharField("对象类别", max_length=11, choices=Subject)
    subject_code = models.CharField("对象编码", max_length=64)
    subject_name = models.CharField("对象名称", max_length=120)
    person_id = models.BigIntegerField(null=True, blank=True)
    behaviour = models.CharField("行为", max_length=40, blank=True)
    acted_from = models.DateField("行为起日")
    acted_until = models.DateField("行为止日")
    summary = models.TextField("线索摘要", max_length=2000)
    facts = models.TextField("查明的事实", max_length=4000, blank=True)
    loss = models.BigIntegerField("造成基金损失", default=0, help_text="fen")
    route = models.CharField("拟办途径", max_length=9, choices=Route, blank=True)
    article = models.CharField("适用条款", max_length=8, blank=True)
    statement = models.TextField("陈述申辩", max_length=4000, blank=True)
    statement_at = models.DateTimeField(null=True, blank=True)
    statement_by = models.CharField(max_length=150, blank=True)
    told_on = models.DateField("告知日", null=True, blank=True)
    handled_by = models.CharField("承办人", max_length=150, blank=True)
    decided_by = models.CharField("决定人", max_length=150, blank=True)
    decided_on = models.DateField("决定日", null=True, blank=True)
    final_on = models.DateField("生效日", null=True, blank=True)
    archive_no = models.CharField("档号", max_length=40, blank=True)

    objects = CaseQuerySet.as_manager()

    class Meta:
        ordering = ("-pk",)
        indexes = (
            models.Index(fields=["region_code", "-id"], name="case_region"),
            models.Index(fields=["institution_code", "-id"], name="case_institution"),
            models.Index(fields=["subject_kind", "subject_code"], name="case_subject"),
        )
        constraints = (
            models.CheckConstraint(
                condition=Q(acted_until__gte=F("acted_from")), name="case_days_in_order"
            ),
            models.CheckConstraint(condition=Q(loss__gte=0), name="case_loss_not_negative"),
            models.CheckConstraint(
                condition=Q(decided_by="") | ~Q(decided_by=F("handled_by")),
                name="case_decided_by_another",
            ),
            models.CheckConstraint(
                condition=Q(decided_by="", decided_on__isnull=True)
                | (~Q(decided_by="") & Q(decided_on__isnull=False)),
                name="case_decision_whole",
            ),
            models.CheckConstraint(
                condition=Q(subject_kind="person", person_id__isnull=False)
                | (~Q(subject_kind="person") & Q(person_id__isnull=True)),
                name="case_person_named",
            ),
            models.CheckConstraint(
                condition=~Q(procedure="agreement_case")
                | (Q(route="agreement") & ~Q(subject_kind="person")),
                name="case_of_the_agreement",
            ),
            models.UniqueConstraint(
                fields=["archive_no"], condition=~Q(archive_no=""), name="case_archive_no_once"
            ),
        )

    def __str__(self):
        return f"{self.number} {self.title}"

    @property
    def party(self):
        """The institution that speaks for the subject; empty where an insured person speaks alone."""
        return "" if self.subject_kind == self.Subject.PERSON else self.institution_code

    def stood_back(self, username):
        """Whether somebody was recused, or declared it and waits: no further act in this case."""
        rows = self.inspectors.filter(username=username)
        return rows.filter(Q(recused=True) | Q(recusal="declared", recused=None)).exists()


class CaseInspector(models.Model):
    """Somebody who inquires; a recused one stays on record and does not come back (回避)."""

    class Role(models.TextChoices):
        LEAD = "lead", "主办"
        MEMBER = "member", "协办"

    class Recusal(models.TextChoices):
        DECLARED = "declared", "自行回避"
        ASKED = "asked", "当事人申请回避"
        ORDERED = "ordered", "指令回避"

    case = models.ForeignKey(SupervisionCase, models.PROTECT, related_name="inspectors")
    username = models.CharField("检查人员", max_length=150)
    role = models.CharField(max_length=6, choices=Role)
    certificate = models.CharField("执法证号", max_length=40, blank=True)
    named_at = models.DateTimeField()
    named_by = models.CharField(max_length=150)
    recusal = models.CharField(max_length=8, choices=Recusal, blank=True)
    recusal_reason = models.CharField("回避理由", max_length=400, blank=True)
    recusal_by = models.CharField("提出人", max_length=150, blank=True)
    recusal_at = models.DateTimeField(null=True, blank=True)
    recusal_for = models.CharField("申请人", max_length=120, blank=True)
    recusal_on = models.DateField("申请日", null=True, blank=True)
    recused = models.BooleanField("是否回避", null=True, blank=True)
    decided_by = models.CharField(max_length=150, blank=True)
    decided_at = models.DateTimeField(null=True, blank=True)
    decision_reason = models.CharField("决定理由", max_length=400, blank=True)
    replaced_by = models.CharField("接替人", max_length=150, blank=True)

    class Meta:
        ordering = ("role", "pk")
        constraints = (
            models.UniqueConstraint(fields=["case", "username"], name="case_inspector_once"),
            models.UniqueConstraint(
                fields=["case"], condition=Q(role="lead") & (Q(recused=False) | Q(recused=None)),
                name="case_one_lead",
            ),
            models.CheckConstraint(
                condition=Q(recusal="", recused=None)
                | (~Q(recusal="") & ~Q(recusal_reason="") & ~Q(recusal_by="")),
                name="case_recusal_has_reason",
            ),
            models.CheckConstraint(
                condition=Q(recused=None)
                | (~Q(decided_by="") & ~Q(decision_reason="")
                   & ~Q(decided_by=F("recusal_by")) & ~Q(decided_by=F("username")))
                # rows of before: without a reason, a declared recusal took effect at once
                | (~Q(decided_by="") & Q(decision_reason="", recusal_on=None)
                   & (~Q(recusal="asked") | ~Q(decided_by=F("recusal_by")))),
                name="case_recusal_decided_by_another",
            ),
        )  # fmt: skip

    def __str__(self):
        return f"{self.case_id} {self.username}"


class EvidenceQuerySet(models.QuerySet):
    def shown_to(self, *, own):
        """The pieces that somebody reads: the party (`own`) no internal one."""
        return self.filter(internal=False) if own else self


class CaseEvidence(models.Model):
    """One item of the evidence list, as it was when taken: `digest` is SM3 of `content` (append-only).

    An `internal` file (the record of a witness, say) is the office's: the party reads neither it nor
    its title.
    """

    class Kind(models.TextChoices):
        FINDING = "finding", "审核疑点"
        CLAIM = "claim", "结算单据"
        DOCUMENT = "document", "书证与电子文件"
        RECORD = "record", "检查与询问笔录"

    case = models.ForeignKey(SupervisionCase, models.PROTECT, related_name="evidence")
    no = models.SmallIntegerField("序号")
    kind = models.CharField("类别", max_length=8, choices=Kind)
    reference = models.CharField("编号", max_length=80)
    title = models.CharField("名称与证明内容", max_length=300)
    content = models.JSONField(help_text="canonical JSON: what was taken")
    digest = models.CharField("摘要（SM3）", max_length=64)
    loss = models.BigIntegerField("涉及基金", default=0, help_text="fen")
    claim_id = models.BigIntegerField(null=True, blank=True)
    document = models.ForeignKey(Document, models.PROTECT, null=True, blank=True)
    internal = models.BooleanField("内部材料", default=False, db_default=False)
    taken_at = models.DateTimeField()
    taken_by = models.CharField(max_length=150)

    objects = EvidenceQuerySet.as_manager()

    class Meta:
        ordering = ("no",)
        indexes = (
            models.Index(fields=["reference"], name="case_evidence_reference"),
            models.Index(fields=["claim_id"], condition=Q(claim_id__isnull=False),
                         name="case_evidence_claim"),
        )  # fmt: skip
        constraints = (
            models.UniqueConstraint(fields=["case", "no"], name="case_evidence_no"),
            models.UniqueConstraint(
                fields=["case", "kind", "reference"], name="case_evidence_once"
            ),
            models.CheckConstraint(
                condition=Q(loss__gte=0, digest__regex=r"^[0-9a-f]{64}$"), name="case_evidence_sane"
            ),
            models.CheckConstraint(
                condition=Q(internal=False) | Q(loss=0, document__isnull=False),
                name="case_evidence_internal_file",
            ),
        )

    def __str__(self):
        return f"{self.no}. {self.title}"


class Sanction(models.Model):
    """One measure that a case proposes, its decision orders, and somebody carries out.

    `amount` is of a fine or a recovery (fen), `months` of a suspension, `points` of points; `condition` is
    the ground on which alone the article allows the measure (law/decree-735.yaml).
    """

    class Condition(models.TextChoices):
        DEFIANCE = "defiance", "拒不改正"
        GRAVE = "grave", "造成严重后果"
        FRAUD = "fraud", "骗取医疗保障基金"

    class State(models.TextChoices):
        PROPOSED = "proposed", "拟议"
        ORDERED = "ordered", "待执行"
        DONE = "done", "已执行"
        DROPPED = "dropped", "未采纳"
        ENDED = "ended", "终结执行"

    case = models.ForeignKey(SupervisionCase, models.PROTECT, related_name="sanctions")
    kind = models.CharField("措施", max_length=20)
    article = models.CharField("条款", max_length=8, blank=True)
    clause = models.CharField("依据", max_length=160)
    target = models.CharField(
        "对象", max_length=64, blank=True, help_text="practitioner, department"
    )
    amount = models.BigIntegerField("金额", null=True, blank=True, help_text="fen")
    months = models.SmallIntegerField("期限（月）", null=True, blank=True)
    points = models.SmallIntegerField("分值", null=True, blank=True)
    scheme = models.CharField("险种", max_length=8, blank=True)
    condition = models.CharField(
        "情形", max_length=8, blank=True, choices=Condition, default="", db_default=""
    )
    note = models.CharField("说明", max_length=400, blank=True)
    state = models.CharField(max_length=8, choices=State, default=State.PROPOSED)
    proposed_at = models.DateTimeField()
    proposed_by = models.CharField(max_length=150)
    done_on = models.DateField("执行日", null=True, blank=True)
    done_at = models.DateTimeField(null=True, blank=True)
    done_by = models.CharField("执行人", max_length=150, blank=True)
    record = models.CharField("执行记录", max_length=400, blank=True)
    effects = models.JSONField("落实", default=list, blank=True)

    class Meta:
        ordering = ("pk",)
        constraints = (
            models.CheckConstraint(
                condition=(Q(amount__isnull=True) | Q(amount__gt=0))
                & (Q(months__isnull=True) | Q(months__gt=0))
                & (Q(points__isnull=True) | Q(points__gt=0)),
                name="sanction_sizes_positive",
            ),
            models.CheckConstraint(
                condition=~Q(kind__in=["fine", "recovery"]) | Q(amount__isnull=False),
                name="sanction_money_has_amount",
            ),
            models.CheckConstraint(
                condition=Q(condition="")
                | (Q(condition__in=["defiance", "grave", "fraud"]) & ~Q(note="")),
                name="sanction_condition_with_facts",
            ),
            models.CheckConstraint(
                condition=(~Q(state__in=["done", "ended"]) & Q(done_on__isnull=True, done_by=""))
                | (
                    Q(state__in=["done", "ended"], done_on__isnull=False)
                    & ~Q(done_by="")
                    & ~Q(record="")
                ),
                name="sanction_execution_whole",
            ),
        )

    def __str__(self):
        return f"{self.case_id} {self.kind}"


class NumberedPaper(models.Model):
    """A paper with its own number: what it says is fixed from then on (append-only)."""

    number = models.CharField("文号", max_length=60, unique=True)
    addressee = models.CharField("受文者", max_length=120)
    content = models.JSONField()
    digest = models.CharField("摘要（SM3）", max_length=64)
    made_on = models.DateField("制作日")
    made_at = models.DateTimeField()
    made_by = models.CharField(max_length=150)
    serves = models.OneToOneField(
        "self", models.PROTECT, null=True, blank=True, related_name="receipt",
        verbose_name="所送达的文书",
    )  # fmt: skip

    class Meta:
        abstract = True


class CasePaper(NumberedPaper):
    """A paper of a case: content is fixed, its service is recorded once."""

    class Kind(models.TextChoices):
        FILING = "filing", "立案审批表"
        NOTICE = "notice", "处理告知书"
        EVIDENCE = "evidence", "证据清单"
        REQUEST = "request", "当事人申请登记表"
        RECUSAL = "recusal", "回避决定书"
        HEARING = "hearing", "听证通知书"
        NO_HEARING = "nohear", "不予听证通知书"
        DECISION = "decision", "处理决定书"
        DISMISSAL = "dismiss", "不予处理决定书"
        TRANSFER = "transfer", "案件移送书"
        RECEIPT = "receipt", "送达回证"
        INFORM = "inform", "案件通报函"
        CLOSING = "closing", "结案报告"
        TALK = "talk", "约谈通知书"
        MINUTES = "minutes", "约谈笔录"
        REVIEW = "review", "复查决定书"

    case = models.ForeignKey(SupervisionCase, models.PROTECT, related_name="papers")
    kind = models.CharField("文书", max_length=8, choices=Kind)

    class Meta:
        ordering = ("pk",)
        constraints = (
            models.CheckConstraint(
                condition=Q(kind="receipt", serves__isnull=False)
                | (~Q(kind="receipt") & Q(serves__isnull=True)),
                name="case_receipt_of_a_paper",
            ),
        )

    def __str__(self):
        return f"{self.get_kind_display()} {self.number}"
