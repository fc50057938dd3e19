"""Claims, their settlements and the legs of the ledger.

Money is integer fen. Claims and lines are never updated: a claim's state is the existence of its
`Settlement` rows. `period` is the first day of the month to which a row is posted; the four big tables
are partitioned by it. Every row carries region_code and institution_code for row level security.
"""

from django.contrib.postgres.fields import ArrayField
from django.db import models

from audit.models import ScopedQuerySet
from settlement.models.persons import Scheme


class EnteredClaim(models.Model):
    """A claim that the agency entered for a person's request (手工报销): not the institution's business.

    Ids only, so that every scope can leave these claims out. Append-only.
    """

    claim_id = models.BigIntegerField(primary_key=True)
    reimbursement = models.ForeignKey(
        "settlement.Reimbursement", models.PROTECT, related_name="entered"
    )
    entered_at = models.DateTimeField()

    def __str__(self):
        return str(self.claim_id)

    @classmethod
    def ids(cls) -> models.QuerySet:
        """The claims, for a query that leaves them out."""
        return cls.objects.values("claim_id")


class OfClaims(ScopedQuerySet):
    """Rows of claims; an institution does not see those that were entered for a person's request."""

    claim = "claim_id"

    def visible_to(self, user):
        """Rows inside the user's scope, as `ScopedQuerySet`; people of institutions see theirs alone."""
        rows = super().visible_to(user)
        if user.scope_codes().institutions:
            return rows.exclude(**{f"{self.claim}__in": EnteredClaim.ids()})
        return rows


class ClaimQuerySet(OfClaims):
    claim = "pk"


class ClaimKey(models.Model):
    """(institution, claim number) is unique for ever, whatever partition the claim lies in."""

    pk = models.CompositePrimaryKey("institution_code", "claim_no")
    institution_code = models.CharField(max_length=12)
    claim_no = models.CharField(max_length=40)
    claim_id = models.BigIntegerField(unique=True)

    def __str__(self):
        return f"{self.institution_code}/{self.claim_no}"


class IdempotencyKey(models.Model):
    """The first thing a POST inserts; same key and body replays the stored answer byte for byte."""

    pk = models.CompositePrimaryKey("institution_code", "key")
    institution_code = models.CharField(max_length=12)
    key = models.CharField(max_length=120)
    body_sm3 = models.BinaryField(max_length=32)
    status = models.SmallIntegerField(null=True)
    answer = models.BinaryField(null=True)
    created_at = models.DateTimeField()

    def __str__(self):
        return f"{self.institution_code}/{self.key}"


class Claim(models.Model):
    """A claim as submitted (contracts/claims.md) with the facts resolved at receipt.

    `facts` is one packed record of settlement.columns.FACTS: the inputs of the kernel, kept so that
    a settlement can be recomputed from what was known.
    """

    id = models.BigAutoField(primary_key=True)
    period = models.DateField()
    institution_code = models.CharField(max_length=12)
    region_code = models.CharField(max_length=6)
    claim_no = models.CharField(max_length=40)
    person_id = models.BigIntegerField()
    service_date = models.DateField()
    fee = models.BigIntegerField()
    facts = models.BinaryField()
    encounter_id = models.CharField(max_length=60)
    encounter_key = models.BigIntegerField(help_text="hash of institution and encounter id")
    shard = models.SmallIntegerField()
    batch_id = models.BigIntegerField(null=True)
    chunk = models.IntegerField(null=True)
    received_at = models.DateTimeField()
    received_by = models.CharField(max_length=150)
    document = models.JSONField(help_text="encounter, person (hashed), consent, prescriptions, …")

    objects = ClaimQuerySet.as_manager()

    class Meta:
        managed = False
        db_table = "settlement_claim"

    def __str__(self):
        return self.claim_no


class ClaimLine(models.Model):
    pk = models.CompositePrimaryKey("claim_id", "line_no")
    claim_id = models.BigIntegerField()
    line_no = models.SmallIntegerField()
    period = models.DateField()
    region_code = models.CharField(max_length=6)
    institution_code = models.CharField(max_length=12)
    service = models.SmallIntegerField(help_text="settlement.columns.SERVICES")
    item_code = models.CharField(max_length=30)
    service_type = models.CharField(max_length=40, blank=True)
    quantity = models.BigIntegerField(help_text="1/10000")
    unit_price = models.BigIntegerField(help_text="1/1000000 yuan")
    fee = models.BigIntegerField()
    prescription_no = models.CharField(max_length=40, blank=True)
    trace_codes = ArrayField(models.CharField(max_length=40), default=list)

    class Meta:
        managed = False
        db_table = "settlement_claimline"

    def __str__(self):
        return f"{self.claim_id}/{self.line_no}"


class Settlement(models.Model):
    """The effect of a claim, version by version: odd = settled, even = the one before reversed.

    The highest version is the claim's state: 1 settled, 2 reversed (negative amounts), 3 settled again
    after a change of policy or a review. (claim, version) is the effect key: inserting it twice is
    impossible, so no retry pays twice.
    """

    class State(models.TextChoices):
        PAYABLE = "payable", "可支付"
        REJECTED = "reject", "不予支付"
        REVIEW = "review", "待人工审核"
        NO_RULE = "no_rule", "无规则"
        MIXED = "partial", "部分支付"
        REVERSED = "reversed", "已冲正"

    pk = models.CompositePrimaryKey("claim_id", "version")
    claim_id = models.BigIntegerField()
    version = models.SmallIntegerField()
    state = models.CharField(max_length=9, choices=State)
    period = models.DateField()
    region_code = models.CharField(max_length=6)
    institution_code = models.CharField(max_length=12)
    person_id = models.BigIntegerField()
    scheme = models.CharField(max_length=8, choices=Scheme)
    year = models.SmallIntegerField()
    service_date = models.DateField()
    fee = models.BigIntegerField()
    in_scope = models.BigIntegerField()
    over_cap = models.BigIntegerField()
    out_of_scope = models.BigIntegerField(help_text="rejected lines")
    held = models.BigIntegerField(help_text="lines that wait for a person; nothing is posted")
    fund = models.BigIntegerField()
    account = models.BigIntegerField()
    cash = models.BigIntegerField()
    hospital = models.BigIntegerField(help_text="rejected and not chargeable to the patient")
    deductible = models.BigIntegerField()
    first_self_pay = models.BigIntegerField(default=0, help_text="先行自付, part of in_scope")
    major = models.BigIntegerField(default=0, help_text="大病保险")
    assistance = models.BigIntegerField(default=0, help_text="医疗救助")
    insured_pool = models.CharField(
        max_length=30, blank=True, default="", help_text="the region that pays; '': this one"
    )
    example = models.BooleanField()
    batch_id = models.BigIntegerField(null=True)
    settled_at = models.DateTimeField()
    settled_by = models.CharField(max_length=150)
    reason = models.CharField(max_length=200, blank=True)

    objects = OfClaims.as_manager()

    class Meta:
        managed = False
        db_table = "settlement_settlement"

    def __str__(self):
        return f"{self.claim_id} v{self.version} {self.state}"


class LineResult(models.Model):
    """The decision and split of one line in one version; what every fen cites is recomputed from it."""

    pk = models.CompositePrimaryKey("claim_id", "version", "line_no")
    claim_id = models.BigIntegerField()
    version = models.SmallIntegerField()
    line_no = models.SmallIntegerField()
    period = models.DateField()
    region_code = models.CharField(max_length=6)
    institution_code = models.CharField(max_length=12)
    decision = models.SmallIntegerField()
    reason = models.SmallIntegerField()
    check_no = models.SmallIntegerField(help_text="position of the deciding requirement")
    flags = models.IntegerField()
    release_id = models.IntegerField()
    parameters_id = models.IntegerField()
    fee = models.BigIntegerField()
    in_scope = models.BigIntegerField()
    over_cap = models.BigIntegerField()
    overcharge = models.BigIntegerField()
    first_self_pay = models.BigIntegerField(default=0)
    deductible = models.BigIntegerField()
    fund = models.BigIntegerField()
    major = models.BigIntegerField(default=0)
    assistance = models.BigIntegerField(default=0)
    drug_list = models.IntegerField(default=0, help_text="pricing.DrugList; 0: none was in force")

    objects = OfClaims.as_manager()

    class Meta:
        managed = False
        db_table = "settlement_lineresult"

    def __str__(self):
        return f"{self.claim_id}/{self.line_no}"


class Leg(models.Model):
    """One side of a double entry; the legs of (claim or voucher, version) sum to zero (trigger).

    Claims and vouchers draw their ids from one sequence, so `claim_id` names either.
    """

    class Account(models.IntegerChoices):
        POOLED_FUND = 1, "统筹基金"
        PERSONAL_ACCOUNT = 2, "个人账户"
        PATIENT_CASH = 3, "个人现金"
        OVER_CAP = 4, "超标准自费（丙2类）"
        OUT_OF_SCOPE = 5, "范围外自费"
        INSTITUTION_PAYABLE = 6, "应付医疗机构"
        INSTITUTION_COLLECTED = 7, "机构已向个人收取"
        DEPOSIT = 8, "质量保证金"
        ADVANCE = 9, "预付款"
        BANK = 10, "基金支出户存款"
        ASSESSMENT = 11, "考核扣减"
        DEDUCTION = 12, "审核扣款"
        MAJOR_ILLNESS = 13, "大病保险"
        ASSISTANCE = 14, "医疗救助"
        REGIONAL_CLEARING = 15, "异地清算往来"
        PERSON_PAYABLE = 16, "应付参保人员"
        ADJUSTMENT = 17, "特殊调整"
        YEAR_CLEARING = 18, "年终清算"
        CONSULTATION_COLLECTED = 19, "会诊费收款（邀请方）"
        CONSULTATION_REVENUE = 20, "会诊医疗收入（邀请方）"
        INVITED_PAYABLE = 21, "应付受邀方"
        LINE_FEE_DUE = 22, "应缴专线与维保费"
        LINE_FEE_PAYEE = 23, "应付运营商"
        COMMISSION = 24, "省卫生健康委承担"

    pk = models.CompositePrimaryKey("claim_id", "version", "account")
    claim_id = models.BigIntegerField()
    version = models.SmallIntegerField()
    account = models.SmallIntegerField(choices=Account)
    amount = models.BigIntegerField(help_text="fen; debit > 0 > credit")
    period = models.DateField()
    region_code = models.CharField(max_length=6)
    institution_code = models.CharField(max_length=12)

    class Meta:
        managed = False
        db_table = "settlement_leg"

    def __str__(self):
        return f"{self.claim_id} {self.account} {self.amount}"


class Evidence(models.Model):
    """A record of an encounter kept elsewhere: its kind, content hash and where it lies (append-only).

    Electronic record, prescription, purchase, delivery and real-name records (温州 第二十六条).
    """

    class Kind(models.TextChoices):
        RECORD = "record", "电子病历"
        PRESCRIPTION = "prescription", "电子处方"
        PURCHASE = "purchase", "购药记录"
        DELIVERY = "delivery", "配送记录"
        REAL_NAME = "realname", "实名记录"

    region_code = models.CharField(max_length=6)
    institution_code = models.CharField(max_length=12)
    encounter_id = models.CharField(max_length=60)
    encounter_key = models.BigIntegerField(help_text="hash of institution and encounter id")
    kind = models.CharField(max_length=12, choices=Kind)
    alg = models.CharField(max_length=8, default="sm3")
    content_hash = models.BinaryField(max_length=32)
    at = models.DateTimeField(help_text="when the record was made")
    reference = models.CharField(max_length=200)
    received_at = models.DateTimeField()
    received_by = models.CharField(max_length=150)

    objects = ScopedQuerySet.as_manager()

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=["encounter_key", "institution_code", "kind", "content_hash"],
                name="evidence_once",
            ),
        )

    def __str__(self):
        return f"{self.encounter_id} {self.kind}"
