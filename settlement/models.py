"""Insured persons, claims, their settlements, the ledger, batches.

Money is integer fen. Claims and lines are never updated: a claim's state is the existence of its
`Settlement` rows. `period` is the first day of the month in which a row was made; the four big tables
are partitioned by it. Every row carries region_code and institution_code for row level security.
"""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q

from audit.models import ScopedQuerySet
from institutions.models import DatedQuerySet


class Scheme(models.TextChoices):
    EMPLOYEE = "employee", "职工医保"
    RESIDENT = "resident", "居民医保"
    LIXIU = "lixiu", "离休统筹"


class InsuredPerson(models.Model):
    """An insured person. The ID number is kept as keyed hash, masked text and SM4-GCM ciphertext."""

    id_hash = models.BinaryField(max_length=32, unique=True)
    id_masked = models.CharField(max_length=24)
    id_cipher = models.BinaryField()
    name_masked = models.CharField(max_length=20)
    name_cipher = models.BinaryField()
    region_code = models.CharField(max_length=6, db_index=True)
    scheme = models.CharField(max_length=8, choices=Scheme)
    account_balance = models.BigIntegerField(default=0, help_text="fen, as last reported")
    is_demo = models.BooleanField(default=False)

    def __str__(self):
        return f"{self.name_masked} {self.id_masked}"


class ChronicDisease(models.Model):
    """A chronic disease filed for a person (门诊慢特病认定), dated."""

    person = models.ForeignKey(InsuredPerson, models.PROTECT, related_name="diseases")
    code = models.CharField(max_length=20)
    name = models.CharField(max_length=60)
    valid_from = models.DateField()
    valid_until = models.DateField(null=True, blank=True)

    objects = DatedQuerySet.as_manager()

    def __str__(self):
        return self.name


class OfflineVisit(models.Model):
    """A reported visit at the physical institution: what a revisit follows (温州 第二十三条（三）)."""

    person = models.ForeignKey(InsuredPerson, models.PROTECT, related_name="offline_visits")
    institution_code = models.CharField(max_length=12)
    day = models.DateField()
    department_code = models.CharField(max_length=20, blank=True)
    diagnosis_code = models.CharField(max_length=20)
    reported_at = models.DateTimeField()

    class Meta:
        indexes = (
            models.Index(fields=["person", "institution_code", "day"], name="offline_visit_last"),
        )

    def __str__(self):
        return f"{self.institution_code} {self.day}"


class Accumulator(models.Model):
    """What a person has used of a year's deductible and limit in a scheme (fen); locked to settle."""

    person = models.ForeignKey(InsuredPerson, models.PROTECT, db_constraint=False)
    year = models.SmallIntegerField()
    scheme = models.CharField(max_length=8, choices=Scheme)
    deductible_used = models.BigIntegerField(default=0)
    in_scope_used = models.BigIntegerField(default=0)
    fund_used = models.BigIntegerField(default=0)
    account_left = models.BigIntegerField(default=0, help_text="personal account, fen")
    region_code = models.CharField(max_length=6)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=["person", "year", "scheme"], name="accumulator_key"),
            models.CheckConstraint(
                condition=Q(deductible_used__gte=0, fund_used__gte=0, account_left__gte=0)
                & Q(fund_used__lte=F("in_scope_used"))
                & Q(deductible_used__lte=F("in_scope_used")),
                name="accumulator_sane",
            ),
        )

    def __str__(self):
        return f"{self.person_id} {self.year} {self.scheme}"


class Batch(models.Model):
    """A file of claims: checked, frozen as a manifest, settled in chunks, closed when all add up."""

    class State(models.TextChoices):
        CHECKED = "checked", "已试算校验"
        LOADING = "loading", "装载中"
        RUNNING = "running", "结算中"
        PAUSED = "paused", "已暂停"
        CLOSED = "closed", "已完成"
        FAILED = "failed", "失败"

    institution_code = models.CharField(max_length=12)
    region_code = models.CharField(max_length=6)
    file_name = models.CharField(max_length=200)
    file_sm3 = models.CharField(max_length=64)
    file = models.BinaryField(null=True)
    annotated = models.BinaryField(null=True)
    result = models.BinaryField(null=True)
    errors = models.JSONField(default=list)
    state = models.CharField(max_length=8, choices=State)
    claims = models.IntegerField(default=0)
    lines = models.IntegerField(default=0)
    fee_total = models.BigIntegerField(default=0)
    period = models.DateField(null=True, help_text="of its claims; their ids are one range")
    first_claim = models.BigIntegerField(null=True)
    last_claim = models.BigIntegerField(null=True)
    manifest_sm3 = models.CharField(max_length=64, blank=True)
    result_sm3 = models.CharField(max_length=64, blank=True)
    totals = models.JSONField(default=dict)
    created_at = models.DateTimeField()
    created_by = models.CharField(max_length=150)
    started_at = models.DateTimeField(null=True)
    closed_at = models.DateTimeField(null=True)

    objects = ScopedQuerySet.as_manager()

    def __str__(self):
        return self.file_name


class Chunk(models.Model):
    """A share of a batch by person; one transaction settles it; `epoch` fences late workers."""

    class State(models.TextChoices):
        WAITING = "waiting", "等待"
        DONE = "done", "完成"
        QUARANTINED = "quarantined", "隔离"

    batch = models.ForeignKey(Batch, models.PROTECT, related_name="chunks")
    number = models.IntegerField()
    state = models.CharField(max_length=11, choices=State, default=State.WAITING)
    claims = models.IntegerField()
    lines = models.IntegerField()
    first_claim = models.BigIntegerField()
    last_claim = models.BigIntegerField()
    attempts = models.IntegerField(default=0)
    epoch = models.IntegerField(default=0)
    leased_at = models.DateTimeField(null=True)
    digest = models.BinaryField(max_length=32, null=True)
    totals = models.JSONField(default=dict)
    error = models.TextField(blank=True)
    done_at = models.DateTimeField(null=True)

    class Meta:
        constraints = (models.UniqueConstraint(fields=["batch", "number"], name="chunk_once"),)

    def __str__(self):
        return f"{self.batch_id}/{self.number}"


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

    objects = ScopedQuerySet.as_manager()

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
    item_code = models.CharField(max_length=20)
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
    """The effect of a claim, version by version: 1 = settled, 2 = reversed (negative amounts).

    (claim, version) is the effect key: inserting it twice is impossible, so no retry pays twice.
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
    example = models.BooleanField()
    batch_id = models.BigIntegerField(null=True)
    settled_at = models.DateTimeField()
    settled_by = models.CharField(max_length=150)
    reason = models.CharField(max_length=200, blank=True)

    objects = ScopedQuerySet.as_manager()

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
    deductible = models.BigIntegerField()
    fund = models.BigIntegerField()

    objects = ScopedQuerySet.as_manager()

    class Meta:
        managed = False
        db_table = "settlement_lineresult"

    def __str__(self):
        return f"{self.claim_id}/{self.line_no}"


class Leg(models.Model):
    """One side of a double entry; the legs of (claim, version) sum to zero (statement trigger)."""

    class Account(models.IntegerChoices):
        POOLED_FUND = 1, "统筹基金"
        PERSONAL_ACCOUNT = 2, "个人账户"
        PATIENT_CASH = 3, "个人现金"
        OVER_CAP = 4, "超标准自费（丙2类）"
        OUT_OF_SCOPE = 5, "范围外自费"
        INSTITUTION_PAYABLE = 6, "应付医疗机构"
        INSTITUTION_COLLECTED = 7, "机构已向个人收取"

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
