"""What corrects money that is posted: re-settlement, adjustments by hand, outages, reconciliation.

Money is integer fen. Nothing here changes a posted row: corrections are new versions and vouchers.
"""

from django.db import models
from django.db.models import F, Q

from audit.models import ScopedQuerySet
from institutions.models import Document
from settlement.models.claims import OfClaims
from settlement.models.payments import SealedAccount, Way
from settlement.models.periods import Voucher
from settlement.models.persons import Scheme


class Resettlement(models.Model):
    """A list of claims that a release with past validity settles differently, and its approval.

    Asked for by one person and drawn by workers, approved by another, then posted in chunks: per claim
    a reversal and a new version, at most once. `digest` is the SM3 of what was approved.
    """

    class State(models.TextChoices):
        DRAWING = "drawing", "列单中"
        DRAWN = "drawn", "待核准"
        NOTHING = "nothing", "无变化"
        APPROVED = "approved", "入账中"
        POSTED = "posted", "已入账"
        REFUSED = "refused", "未核准"
        WITHDRAWN = "withdrawn", "已撤回"

    OPEN = (State.DRAWING, State.DRAWN, State.APPROVED)

    pool = models.SlugField(max_length=30, help_text="policy region of the releases")
    region_code = models.CharField(max_length=6)
    institution_code = models.CharField(max_length=12, blank=True, help_text="empty: all of them")
    first_day = models.DateField("服务日起")
    last_day = models.DateField("服务日止")
    releases = models.JSONField("政策版本", default=list, help_text="ids that now decide")
    reason = models.CharField("事由", max_length=200)
    state = models.CharField(max_length=9, choices=State, default=State.DRAWING)
    claims = models.IntegerField("应重新结算", default=0)
    examined = models.IntegerField("重算单据", default=0)
    totals = models.JSONField(default=dict, blank=True, help_text="sums of the differences, fen")
    digest = models.CharField("清单摘要", max_length=64, blank=True, default="")
    person_years = models.IntegerField(default=0, help_text="to be recomputed")
    recomputed = models.IntegerField(default=0, help_text="person-years of them")
    drawn_to = models.JSONField(
        default=list, blank=True, help_text="the last person-year that was recomputed"
    )
    moved_at = models.DateTimeField(null=True, help_text="by the database's clock")
    drawn_at = models.DateTimeField()
    drawn_by = models.CharField(max_length=150)
    decided_at = models.DateTimeField(null=True, blank=True)
    decided_by = models.CharField(max_length=150, blank=True)
    note = models.CharField("审批意见", max_length=200, blank=True)
    posted_at = models.DateTimeField(null=True, blank=True)

    objects = ScopedQuerySet.as_manager()

    class Meta:
        ordering = ("-pk",)
        constraints = (
            models.CheckConstraint(
                condition=Q(decided_by="") | Q(state="withdrawn") | ~Q(decided_by=F("drawn_by")),
                name="resettlement_second_person",
            ),
            models.CheckConstraint(
                condition=Q(state__in=("drawing", "nothing", "withdrawn")) | ~Q(digest=""),
                name="resettlement_drawn_with_digest",
            ),
            models.CheckConstraint(
                condition=Q(last_day__gte=F("first_day")), name="resettlement_span"
            ),
        )

    def __str__(self):
        return f"重新结算第 {self.pk} 单"


class ResettlementItem(models.Model):
    """One claim of a list: what stands (`version`), what it becomes, and what became of it."""

    class Kind(models.TextChoices):
        DIRECT = "direct", "政策变化"
        CONSEQUENT = "consequent", "年度累计连带"

    class State(models.TextChoices):
        WAITING = "waiting", "待入账"
        POSTED = "posted", "已入账"
        LEFT_OUT = "left_out", "未处理"

    resettlement = models.ForeignKey(Resettlement, models.CASCADE, related_name="items")
    claim_id = models.BigIntegerField()
    claim_no = models.CharField(max_length=40)
    version = models.SmallIntegerField(help_text="the current, odd version when drawn")
    region_code = models.CharField(max_length=6)
    institution_code = models.CharField(max_length=12)
    person_id = models.BigIntegerField()
    year = models.SmallIntegerField()
    scheme = models.CharField(max_length=8, choices=Scheme)
    service_date = models.DateField()
    kind = models.CharField(max_length=10, choices=Kind)
    state_before = models.CharField(max_length=9)
    state_after = models.CharField(max_length=9)
    before = models.JSONField(help_text="totals that stand, fen")
    after = models.JSONField(help_text="totals recomputed, fen")
    fund = models.BigIntegerField(help_text="difference; > 0 the fund pays more")
    account = models.BigIntegerField()
    cash = models.BigIntegerField(help_text="difference; < 0 the patient gets back")
    state = models.CharField(max_length=8, choices=State, default=State.WAITING)
    reason = models.CharField("未处理原因", max_length=200, blank=True)
    posted_version = models.SmallIntegerField(null=True, blank=True)

    objects = OfClaims.as_manager()

    class Meta:
        ordering = ("claim_id",)
        indexes = (
            models.Index(
                fields=["resettlement", "state", "person_id"], name="resettlement_item_waiting"
            ),
        )
        constraints = (
            models.UniqueConstraint(
                fields=["resettlement", "claim_id"], name="resettlement_claim_once"
            ),
            models.UniqueConstraint(
                fields=["claim_id", "posted_version"],
                condition=Q(state="posted"),
                name="resettlement_effect_once",
            ),
            models.CheckConstraint(
                condition=~Q(state="posted") | Q(posted_version=F("version") + 2),
                name="resettlement_posts_next_version",
            ),
        )

    def __str__(self):
        return self.claim_no


class Adjustment(SealedAccount):
    """A special adjustment by hand (特殊调整): why, for whom, how much, with a file, by two persons.

    `amount` > 0 is paid in addition, < 0 is taken back. Approved by the level that the limit names;
    posted as a voucher of its own kind; undone once, by a second pair of persons' acts. Without an
    institution the money is a person's: paid to the account by a list, or collected from the person.
    """

    class Subject(models.TextChoices):
        INSTITUTION = "institution", "医疗机构"
        PERSON = "person", "参保人员"
        CLAIM = "claim", "单据"

    class State(models.TextChoices):
        PROPOSED = "proposed", "待复核"
        POSTED = "posted", "已入账"
        REFUSED = "refused", "未批准"
        WITHDRAWN = "withdrawn", "已撤回"
        REVERSED = "reversed", "已冲销"

    number = models.CharField("调整单号", max_length=40, unique=True)
    reason_class = models.SlugField("事由类别", max_length=40)
    reason = models.CharField("说明", max_length=200)
    subject = models.CharField("对象", max_length=11, choices=Subject)
    region_code = models.CharField(max_length=6)
    institution_code = models.CharField(max_length=12, blank=True)
    person_id = models.BigIntegerField(null=True, blank=True)
    claim_id = models.BigIntegerField(null=True, blank=True)
    scheme = models.CharField("险种", max_length=8, choices=Scheme)
    amount = models.BigIntegerField("金额", help_text="fen; > 0 paid in addition")
    document = models.ForeignKey(Document, models.PROTECT, verbose_name="附件")
    level = models.CharField("审批层级", max_length=10)
    limit = models.BigIntegerField(
        "本级限额", null=True, blank=True, help_text="fen; null: no limit"
    )
    example = models.BooleanField("使用示例参数", default=False)
    clause = models.CharField(max_length=120, blank=True)
    state = models.CharField(max_length=9, choices=State, default=State.PROPOSED)
    proposed_at = models.DateTimeField()
    proposed_by = models.CharField(max_length=150)
    decided_at = models.DateTimeField(null=True, blank=True)
    decided_by = models.CharField(max_length=150, blank=True)
    note = models.CharField("审批意见", max_length=200, blank=True)
    voucher = models.OneToOneField(
        Voucher, models.PROTECT, null=True, blank=True, related_name="adjustment"
    )
    reversal_asked_by = models.CharField(max_length=150, blank=True)
    reversal_reason = models.CharField("冲销原因", max_length=200, blank=True)
    way = models.CharField("收款方式", max_length=8, choices=Way, default=Way.BANK)
    collected_on = models.DateField("追回到账日", null=True, blank=True)
    collected_serial = models.CharField("追回银行流水号", max_length=60, blank=True)
    collected_by = models.CharField("追回登记人", max_length=150, blank=True)

    objects = ScopedQuerySet.as_manager()

    class Meta:
        ordering = ("-pk",)
        indexes = (models.Index(fields=["state", "region_code"], name="adjustment_state"),)
        constraints = (
            models.CheckConstraint(condition=~Q(amount=0), name="adjustment_moves_money"),
            models.CheckConstraint(
                condition=Q(decided_by="") | Q(state="withdrawn") | ~Q(decided_by=F("proposed_by")),
                name="adjustment_second_person",
            ),
            models.CheckConstraint(
                condition=Q(subject="institution", person_id=None, claim_id=None)
                & ~Q(institution_code="")
                | Q(subject="person", person_id__isnull=False, claim_id=None)
                | Q(subject="claim", claim_id__isnull=False)
                & (~Q(institution_code="") | Q(person_id__isnull=False)),
                name="adjustment_has_its_subject",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=["posted", "reversed"]) | Q(voucher__isnull=False),
                name="adjustment_posted_by_voucher",
            ),
            models.CheckConstraint(
                condition=Q(collected_on__isnull=True, collected_by="", collected_serial="")
                | Q(collected_on__isnull=False, institution_code="", amount__lt=0)
                & ~Q(collected_by="")
                & ~Q(collected_serial=""),
                name="adjustment_collected_from_a_person",
            ),
            models.UniqueConstraint(
                fields=["region_code", "collected_serial"],
                condition=~Q(collected_serial=""),
                name="adjustment_collected_once",
            ),
        )

    def __str__(self):
        return self.number

    @property
    def bound_to(self) -> str:
        """What its encrypted account is bound to; what vouchers, orders and tasks call it."""
        return f"adjustment:{self.number}"

    @property
    def of_person(self) -> bool:
        """Whether its money is a person's."""
        return not self.institution_code


class Outage(models.Model):
    """An outage of an institution's line: services in it are uploaded afterwards, until `upload_due`.

    `upload_due` is None until the agency accepts the report, or while a calendar year is missing.
    """

    class State(models.TextChoices):
        REPORTED = "reported", "待确认"
        ACCEPTED = "accepted", "已确认"
        REFUSED = "refused", "不予确认"

    region_code = models.CharField(max_length=6)
    institution_code = models.CharField(max_length=12)
    began = models.DateTimeField("中断开始")
    ended = models.DateTimeField("恢复时间")
    reason = models.CharField("原因", max_length=200)
    document = models.ForeignKey(
        Document, models.PROTECT, null=True, blank=True, verbose_name="证明材料"
    )
    upload_due = models.DateTimeField("补传截止", null=True, blank=True)
    clause = models.CharField(max_length=120, blank=True)
    example = models.BooleanField("使用示例参数", default=False)
    state = models.CharField(max_length=8, choices=State, default=State.REPORTED)
    reported_at = models.DateTimeField()
    reported_by = models.CharField(max_length=150)
    decided_at = models.DateTimeField(null=True, blank=True)
    decided_by = models.CharField(max_length=150, blank=True)
    note = models.CharField("意见", max_length=200, blank=True)

    objects = ScopedQuerySet.as_manager()

    class Meta:
        ordering = ("-began",)
        indexes = (models.Index(fields=["institution_code", "began"], name="outage_institution"),)
        constraints = (
            models.CheckConstraint(condition=Q(ended__gt=F("began")), name="outage_span"),
            models.CheckConstraint(
                condition=Q(decided_by="") | ~Q(decided_by=F("reported_by")),
                name="outage_second_person",
            ),
            models.UniqueConstraint(
                fields=["institution_code", "began"],
                condition=~Q(state="refused"),
                name="outage_once",
            ),
        )

    def __str__(self):
        return f"{self.institution_code} {self.began}"


class HospitalLedger(models.Model):
    """A hospital's own ledger of a month, uploaded to be compared with ours line by line.

    The latest of a month counts; an earlier one is superseded. `balanced` is 已对平.
    """

    class State(models.TextChoices):
        CHECKED = "checked", "已校验"
        DIFFERENT = "different", "有差异"
        BALANCED = "balanced", "已对平"
        SUPERSEDED = "superseded", "已被替代"

    region_code = models.CharField(max_length=6)
    institution_code = models.CharField(max_length=12)
    period = models.DateField("结算期")
    file_name = models.CharField(max_length=200)
    file_sm3 = models.CharField(max_length=64)
    state = models.CharField(max_length=10, choices=State, default=State.CHECKED)
    rows = models.IntegerField("行数", default=0)
    errors = models.JSONField(default=list, blank=True)
    totals = models.JSONField(default=dict, blank=True, help_text="theirs and ours, fen")
    uploaded_at = models.DateTimeField()
    uploaded_by = models.CharField(max_length=150)
    matched_at = models.DateTimeField(null=True, blank=True)
    balanced_at = models.DateTimeField(null=True, blank=True)

    objects = ScopedQuerySet.as_manager()

    class Meta:
        ordering = ("-pk",)
        constraints = (
            models.UniqueConstraint(
                fields=["institution_code", "period"],
                condition=Q(state__in=["different", "balanced"]),
                name="hospital_ledger_counts_once",
            ),
            models.CheckConstraint(condition=Q(period__day=1), name="hospital_ledger_of_a_month"),
        )

    def __str__(self):
        return f"{self.institution_code} {self.period:%Y-%m}"


class LedgerRow(models.Model):
    """One line of a hospital's ledger; the person is a keyed hash, never the number."""

    class State(models.TextChoices):
        SETTLED = "settled", "已结算"
        REVERSED = "reversed", "已冲正"

    ledger = models.ForeignKey(HospitalLedger, models.CASCADE, related_name="lines")
    region_code = models.CharField(max_length=6)
    institution_code = models.CharField(max_length=12)
    row = models.IntegerField()
    claim_no = models.CharField(max_length=40)
    line_no = models.SmallIntegerField()
    person_hash = models.BinaryField(max_length=32)
    service_date = models.DateField()
    item_code = models.CharField(max_length=30)
    fee = models.BigIntegerField()
    fund = models.BigIntegerField()
    state = models.CharField(max_length=8, choices=State)

    objects = ScopedQuerySet.as_manager()

    class Meta:
        constraints = (models.UniqueConstraint(fields=["ledger", "row"], name="ledger_row_once"),)

    def __str__(self):
        return f"{self.claim_no}/{self.line_no}"


class Discrepancy(models.Model):
    """A difference between a hospital's ledger and ours, worked off with a reason."""

    class Kind(models.TextChoices):
        ONLY_OURS = "only_ours", "中心有、机构无"
        ONLY_THEIRS = "only_theirs", "机构有、中心无"
        NUMBER = "number", "单据号不一致"
        IDENTITY = "identity", "人员、日期或项目不符"
        AMOUNT = "amount", "金额不符"
        STATE = "state", "状态不符"
        DUPLICATE = "duplicate", "机构账重复"

    class Resolution(models.TextChoices):
        OURS = "ours", "以中心为准"
        REVERSE = "reverse", "冲正中心结算"
        RESEND = "resend", "请机构重新上传"
        REVERSE_RESEND = "reverse_resend", "冲正并请机构重传"

    ledger = models.ForeignKey(HospitalLedger, models.CASCADE, related_name="differences")
    region_code = models.CharField(max_length=6)
    institution_code = models.CharField(max_length=12)
    kind = models.CharField("差异类别", max_length=11, choices=Kind)
    claim_id = models.BigIntegerField(null=True, blank=True)
    claim_no = models.CharField("单据号", max_length=40)
    line_no = models.SmallIntegerField("行号")
    claim_no_theirs = models.CharField(
        "机构单据号",
        max_length=50,
        blank=True,
        help_text="theirs with its line, where it is another",
    )
    row = models.IntegerField("机构账行", null=True, blank=True)
    service_date = models.DateField("服务日期")
    fee_ours = models.BigIntegerField(null=True, blank=True)
    fee_theirs = models.BigIntegerField(null=True, blank=True)
    fund_ours = models.BigIntegerField(null=True, blank=True)
    fund_theirs = models.BigIntegerField(null=True, blank=True)
    state_ours = models.CharField(max_length=8, blank=True)
    state_theirs = models.CharField(max_length=8, blank=True)
    resolution = models.CharField(max_length=14, choices=Resolution, blank=True)
    reason = models.CharField("处理说明", max_length=200, blank=True)
    resolved_at = models.DateTimeField(null=True, blank=True)
    resolved_by = models.CharField(max_length=150, blank=True)

    objects = ScopedQuerySet.as_manager()

    class Meta:
        ordering = ("kind", "claim_no", "line_no", "row")
        indexes = (
            models.Index(fields=["ledger"], condition=Q(resolution=""), name="discrepancy_open"),
        )
        constraints = (
            models.CheckConstraint(
                condition=Q(resolution="", resolved_at=None, resolved_by="")
                | ~Q(resolution="")
                & Q(resolved_at__isnull=False)
                & ~Q(resolved_by="")
                & ~Q(reason=""),
                name="discrepancy_resolved_with_reason",
            ),
            models.CheckConstraint(
                condition=Q(kind="number") & ~Q(claim_no_theirs="")
                | ~Q(kind="number") & Q(claim_no_theirs=""),
                name="discrepancy_names_their_number",
            ),
            models.CheckConstraint(
                condition=~Q(kind="number", resolution__in=("reverse", "resend")),
                name="discrepancy_number_is_settled_once",
            ),
        )

    def __str__(self):
        return f"{self.get_kind_display()} {self.claim_no}"
