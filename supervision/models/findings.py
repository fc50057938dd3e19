"""What the rules found: runs, findings (疑点), the claims that carry them.

A finding is one suspicion about one subject. While it is open, later looks add the records they find;
what is merged into it before the institution is told adds to it too; nothing else changes its content
(trigger). Its state moves: open, then confirmed, refuted or merged into another.
(温州 第二十四、二十五条；通医保发〔2020〕25号 四（三）)
"""

from django.db import models
from django.db.models import F, Q

from audit.models import ScopedQuerySet


class Run(models.Model):
    """One audit of a period (事后审核) by all rules, or a replay with other thresholds (`trial`)."""

    class State(models.TextChoices):
        WAITING = "waiting", "排队"
        RUNNING = "running", "运行中"
        DONE = "done", "已完成"
        FAILED = "failed", "失败"

    pool = models.CharField("统筹区", max_length=30)
    region_code = models.CharField(max_length=6)
    institution_code = models.CharField(max_length=12, blank=True)
    first_day = models.DateField("服务日起")
    last_day = models.DateField("服务日止")
    trial = models.BooleanField("仅试运行", default=False)
    rules = models.JSONField("规则及参数", default=dict, help_text="as they were used, by code")
    state = models.CharField(max_length=8, choices=State, default=State.WAITING)
    claims = models.BigIntegerField("审核单据数", default=0)
    found = models.JSONField("各规则疑点数", default=dict)
    fault = models.CharField(max_length=400, blank=True)
    asked_at = models.DateTimeField()
    asked_by = models.CharField(max_length=150)
    started_at = models.DateTimeField(null=True, blank=True)
    #: when whoever does it last said so: a run that is silent too long is taken up by another
    alive_at = models.DateTimeField(null=True, blank=True)
    attempts = models.SmallIntegerField(default=0, db_default=0)
    finished_at = models.DateTimeField(null=True, blank=True)

    objects = ScopedQuerySet.as_manager()

    class Meta:
        ordering = ("-pk",)
        constraints = (
            models.CheckConstraint(condition=Q(last_day__gte=F("first_day")), name="run_days"),
        )

    def __str__(self):
        return f"{self.pool} {self.first_day}–{self.last_day}"


class FindingQuerySet(ScopedQuerySet):
    def visible_to(self, user):
        """Findings in a user's scope; an institution sees its own once confirmed and told, not before."""
        rows = super().visible_to(user)
        if not user.institution_id:
            return rows
        return rows.filter(state=Finding.State.CONFIRMED, told_at__isnull=False)


class FindingClaimQuerySet(ScopedQuerySet):
    def visible_to(self, user):
        """The evidence of the findings that a user sees."""
        rows = super().visible_to(user)
        if not user.institution_id:
            return rows
        return rows.filter(finding__state=Finding.State.CONFIRMED, finding__told_at__isnull=False)


class Finding(models.Model):
    """A suspicion: which rule, about whom, on which claims, with which figures, how grave.

    `key` says which fact it is: the same rule on the same subject, found once however often the rules
    run. What is found of it after a decision, or once it is evidence of a case (`fixed`), is the next of
    its `sequence`. `fee` and `fund` are what the claims cost and what the funds paid (fen).
    """

    class Moment(models.TextChoices):
        WATCH = "watch", "事中监督"
        AUDIT = "audit", "事后审核"
        MANUAL = "manual", "人工发现"

    class Severity(models.IntegerChoices):
        REMIND = 1, "提示"
        DOUBT = 2, "可疑"
        GRAVE = 3, "严重"

    class Subject(models.TextChoices):
        CLAIM = "claim", "申报"
        PHYSICIAN = "physician", "医师"
        INSTITUTION = "institution", "医疗机构"
        PERSON = "person", "参保人员"
        NETWORK = "network", "关联关系"

    class State(models.TextChoices):
        OPEN = "open", "待核查"
        CONFIRMED = "confirmed", "查实"
        REFUTED = "refuted", "排除"
        MERGED = "merged", "已并案"

    region_code = models.CharField(max_length=6)
    institution_code = models.CharField(max_length=12)
    rule = models.CharField("规则", max_length=40)
    behaviour = models.CharField("行为", max_length=40, blank=True)
    severity = models.SmallIntegerField("程度", choices=Severity)
    clause = models.CharField("条款", max_length=160)
    message = models.CharField("说明", max_length=400)
    moment = models.CharField("环节", max_length=6, choices=Moment)
    subject_kind = models.CharField(max_length=11, choices=Subject)
    subject_code = models.CharField("对象", max_length=64)
    physician_code = models.CharField("医师", max_length=20, blank=True)
    person_id = models.BigIntegerField(null=True, blank=True)
    first_day = models.DateField("服务日起")
    last_day = models.DateField("服务日止")
    claims = models.IntegerField("涉及单据")
    fee = models.BigIntegerField("涉及费用")
    fund = models.BigIntegerField("涉及基金")
    figures = models.JSONField("依据", default=dict, help_text="what the picture and the text show")
    parameters = models.JSONField("参数", default=dict, help_text="thresholds used, with sources")
    key = models.BinaryField(max_length=32)
    sequence = models.SmallIntegerField(default=1, db_default=1)
    fixed = models.BooleanField(default=False, db_default=False)
    #: rows of evidence that the looks of rules have listed
    records = models.IntegerField(default=0, db_default=0)
    run = models.ForeignKey(Run, models.PROTECT, null=True, blank=True, related_name="findings")
    found_at = models.DateTimeField()
    state = models.CharField(max_length=9, choices=State, default=State.OPEN)
    merged_into = models.ForeignKey("self", models.PROTECT, null=True, blank=True)
    assignee = models.CharField("经办人", max_length=150, blank=True)
    decided_at = models.DateTimeField(null=True, blank=True)
    decided_by = models.CharField(max_length=150, blank=True)
    reason = models.CharField("认定理由", max_length=400, blank=True)
    told_at = models.DateTimeField("告知机构", null=True, blank=True)
    told_by = models.CharField(max_length=150, blank=True, default="", db_default="")

    objects = FindingQuerySet.as_manager()

    class Meta:
        ordering = ("-pk",)
        indexes = (
            models.Index(fields=["region_code", "state", "-id"], name="finding_region"),
            models.Index(fields=["institution_code", "state", "-id"], name="finding_institution"),
            models.Index(fields=["rule", "state"], name="finding_rule"),
            models.Index(fields=["subject_kind", "subject_code"], name="finding_subject"),
        )
        constraints = (
            models.UniqueConstraint(fields=["key", "sequence"], name="finding_once"),
            models.CheckConstraint(
                condition=Q(last_day__gte=F("first_day"), claims__gte=0), name="finding_sane"
            ),
            models.CheckConstraint(
                condition=Q(state="open", decided_at__isnull=True, decided_by="")
                | (~Q(state="open") & Q(decided_at__isnull=False) & ~Q(decided_by="")),
                name="finding_decision_whole",
            ),
            models.CheckConstraint(
                condition=Q(told_at__isnull=True, told_by="")
                | (Q(told_at__isnull=False, state="confirmed") & ~Q(told_by="")),
                name="finding_told_when_confirmed",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=["confirmed", "refuted"]) | ~Q(reason=""),
                name="finding_decision_has_reason",
            ),
            models.CheckConstraint(
                condition=Q(state="merged", merged_into__isnull=False)
                | (~Q(state="merged") & Q(merged_into__isnull=True)),
                name="finding_merged_into_one",
            ),
        )

    def __str__(self):
        return f"{self.rule} {self.subject_code}"

    def share_of(self, code):
        """What one institution has in it: (claims, fee, fund), all three 0 when it has no part."""
        alone = {self.institution_code: (self.claims, self.fee, self.fund)}
        return tuple(self.parameters.get("shares", alone).get(code, (0, 0, 0)))


class FindingClaim(models.Model):
    """A claim (or one line of it) that carries a finding: the evidence list (append-only).

    `fee` and `fund`: what the claim counts in the sums of the finding, the same on each of its lines; of
    a claim that was only a neighbour of the one submitted the fund is 0. NULL where a person listed it.
    """

    #: its index is that of the constraint below
    finding = models.ForeignKey(Finding, models.PROTECT, related_name="evidence", db_index=False)
    claim_id = models.BigIntegerField()
    line_no = models.SmallIntegerField(default=0, help_text="0: the whole claim")
    region_code = models.CharField(max_length=6)
    institution_code = models.CharField(max_length=12)
    note = models.CharField(max_length=200, blank=True)
    fee = models.BigIntegerField("费用", null=True, blank=True)
    fund = models.BigIntegerField("基金", null=True, blank=True)

    objects = FindingClaimQuerySet.as_manager()

    class Meta:
        ordering = ("claim_id", "line_no")
        indexes = (models.Index(fields=["claim_id"], name="finding_claim"),)
        constraints = (
            models.UniqueConstraint(
                fields=["finding", "claim_id", "line_no"], name="finding_claim_once"
            ),
        )

    def __str__(self):
        return f"{self.finding_id}: {self.claim_id}/{self.line_no}"
