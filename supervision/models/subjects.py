"""Subjects besides institutions: points of practitioners, restrictions, complaints.

(温医保办〔2021〕6号 二十七、二十八；国务院令第735号 第41条)
"""

from django.db import models
from django.db.models import F, Q

from audit.models import ScopedQuerySet
from institutions.models import Document, no_overlap


class PointEntry(models.Model):
    """Points of a practitioner (记分) in a year, or their repair (< 0, 信用修复). Append-only."""

    class Kind(models.TextChoices):
        POINTS = "points", "记分"
        REPAIR = "repair", "修复"

    region_code = models.CharField(max_length=6)
    institution_code = models.CharField(max_length=12)
    practitioner_code = models.CharField("医师药师护士", max_length=20)
    year = models.SmallIntegerField("记分年度")
    kind = models.CharField(max_length=6, choices=Kind)
    points = models.SmallIntegerField("分值")
    behaviour = models.CharField("行为", max_length=80)
    clause = models.CharField("依据", max_length=160)
    example = models.BooleanField("使用示例参数", default=False)
    source = models.CharField(
        "来源", max_length=80, help_text="the case, or the course that repairs"
    )
    proposed_by = models.CharField(max_length=150)
    entered_at = models.DateTimeField()
    entered_by = models.CharField(max_length=150)

    objects = ScopedQuerySet.as_manager()

    class Meta:
        ordering = ("-pk",)
        indexes = (
            models.Index(fields=["practitioner_code", "year"], name="point_practitioner"),
            models.Index(fields=["region_code", "-id"], name="point_region"),
        )
        constraints = (
            models.CheckConstraint(
                condition=Q(kind="points", points__gt=0) | Q(kind="repair", points__lt=0),
                name="point_sign",
            ),
            models.CheckConstraint(
                condition=~Q(entered_by=F("proposed_by")), name="point_second_person"
            ),
            models.UniqueConstraint(
                fields=["source", "practitioner_code", "kind"], name="point_once_per_source"
            ),
        )

    def __str__(self):
        return f"{self.practitioner_code} {self.points}"


class PointRepair(models.Model):
    """A repair of points (信用修复) as proposed with its paper, until a second person decides."""

    class State(models.TextChoices):
        PROPOSED = "proposed", "待审批"
        APPROVED = "approved", "已修复"
        REFUSED = "refused", "不予修复"

    region_code = models.CharField(max_length=6)
    institution_code = models.CharField(max_length=12)
    practitioner_code = models.CharField("医师药师护士", max_length=20)
    year = models.SmallIntegerField("记分年度")
    points = models.SmallIntegerField("修复分值")
    course = models.CharField("修复事由", max_length=80)
    document = models.ForeignKey(Document, models.PROTECT, related_name="+")
    proposed_at = models.DateTimeField()
    proposed_by = models.CharField("提出人", max_length=150)
    state = models.CharField(max_length=8, choices=State, default=State.PROPOSED)
    note = models.CharField("审批意见", max_length=200, blank=True)
    decided_at = models.DateTimeField(null=True, blank=True)
    decided_by = models.CharField("审批人", max_length=150, blank=True)
    entry = models.OneToOneField(
        PointEntry, models.PROTECT, null=True, blank=True, related_name="repair"
    )

    objects = ScopedQuerySet.as_manager()

    class Meta:
        ordering = ("-pk",)
        indexes = (models.Index(fields=["practitioner_code", "year"], name="repair_practitioner"),)
        constraints = (
            models.CheckConstraint(condition=Q(points__gt=0), name="repair_points_positive"),
            models.CheckConstraint(
                condition=Q(state="proposed", decided_by="", decided_at__isnull=True, entry__isnull=True)
                | (Q(state="approved", entry__isnull=False, decided_at__isnull=False)
                   & ~Q(decided_by=""))
                | (Q(state="refused", entry__isnull=True, decided_at__isnull=False)
                   & ~Q(note="") & ~Q(decided_by="")),
                name="repair_decision_whole",
            ),
            models.CheckConstraint(
                condition=~Q(decided_by=F("proposed_by")), name="repair_second_person"
            ),
            models.UniqueConstraint(
                fields=["practitioner_code"], condition=Q(state="proposed"), name="repair_one_open"
            ),
        )  # fmt: skip

    def __str__(self):
        return f"{self.practitioner_code} −{self.points}"


class RestrictionQuerySet(ScopedQuerySet):
    def in_force(self, *, on):
        """Rows valid on a day (both ends included)."""
        return self.filter(Q(valid_until__isnull=True) | Q(valid_until__gte=on), valid_from__lte=on)


class Restriction(models.Model):
    """A span of days in which a practitioner or department may not serve insured persons, or a person
    not settle online. A department is named by its code (institutions.departments).

    It ends with `valid_until`; a lift moves that day forward and says why, nothing else changes.
    One decision (`source`) counts once; those of several decisions may overlap. `least_until` is the
    end of the law's shortest time: before it a review of the decision (`lift_paper`) alone ends the row.
    """

    class Kind(models.TextChoices):
        PRACTITIONER = "practitioner", "暂停医保服务资格"
        TERMINATED = "terminated", "终止医保服务资格"
        DEPARTMENT = "department", "科室暂停医药服务"
        ONLINE = "online", "暂停联网结算"

    region_code = models.CharField(max_length=6)
    institution_code = models.CharField(max_length=12, blank=True)
    kind = models.CharField(max_length=12, choices=Kind)
    subject_code = models.CharField("对象", max_length=64)
    person_id = models.BigIntegerField(null=True, blank=True)
    valid_from = models.DateField("起日")
    valid_until = models.DateField("止日", null=True, blank=True)
    clause = models.CharField("依据", max_length=160)
    source = models.CharField("来源", max_length=80)
    made_at = models.DateTimeField()
    made_by = models.CharField(max_length=150)
    lifted_at = models.DateTimeField(null=True, blank=True)
    lifted_by = models.CharField(max_length=150, blank=True)
    lift_reason = models.CharField("提前解除理由", max_length=400, blank=True)
    least_until = models.DateField("法定最短期限", null=True, blank=True)
    review_on = models.DateField("提请复查的最后一日", null=True, blank=True)
    review_reason = models.CharField("复查理由", max_length=400, blank=True, db_default="")
    review_by = models.CharField("提出复查的人", max_length=150, blank=True, db_default="")
    review_at = models.DateTimeField(null=True, blank=True)
    lift_paper = models.CharField("复查决定书", max_length=60, blank=True, db_default="")

    objects = RestrictionQuerySet.as_manager()

    class Meta:
        ordering = ("-pk",)
        indexes = (
            models.Index(fields=["person_id"], condition=Q(person_id__isnull=False),
                         name="restriction_person"),
        )  # fmt: skip
        constraints = (
            no_overlap("restriction_no_overlap", "kind", "institution_code", "subject_code",
                       "source"),
            models.CheckConstraint(
                condition=Q(valid_until__isnull=True) | Q(valid_until__gte=F("valid_from")),
                name="restriction_days",
            ),
            models.CheckConstraint(
                condition=Q(lifted_at__isnull=True, lifted_by="", lift_reason="")
                | (Q(lifted_at__isnull=False) & ~Q(lift_reason="")
                   & ~Q(lifted_by="") & ~Q(lifted_by=F("made_by"))),
                name="restriction_lifted_by_another",
            ),
            models.CheckConstraint(
                condition=Q(lifted_at__isnull=True) | Q(least_until__isnull=True)
                | Q(valid_until__gte=F("least_until"))
                | (~Q(lift_paper="") & ~Q(review_by="") & ~Q(review_by=F("lifted_by"))),
                name="restriction_least_or_reviewed",
            ),
            models.CheckConstraint(
                condition=Q(review_by="", review_reason="", review_on__isnull=True, review_at__isnull=True)
                | (~Q(review_by="") & ~Q(review_reason="")
                   & Q(review_on__isnull=False, review_at__isnull=False)),
                name="restriction_review_whole",
            ),
            models.CheckConstraint(
                condition=Q(kind="online", person_id__isnull=False)
                | (~Q(kind="online") & Q(person_id__isnull=True)),
                name="restriction_person_named",
            ),
        )  # fmt: skip

    def __str__(self):
        return f"{self.get_kind_display()} {self.subject_code}"


class Complaint(models.Model):
    """A report of misuse (举报), anonymous or named; who reported is ciphertext, seen by a reveal."""

    class State(models.TextChoices):
        RECEIVED = "received", "待受理"
        ACCEPTED = "accepted", "核查中"
        PROVEN = "proven", "查实"
        UNPROVEN = "unproven", "未查实"
        DECLINED = "declined", "不予受理"

    class Channel(models.TextChoices):
        WEB = "web", "网上"
        PHONE = "phone", "电话"
        LETTER = "letter", "来信"
        VISIT = "visit", "来访"

    number = models.CharField("举报编号", max_length=40, unique=True)
    query_hash = models.BinaryField(max_length=32, help_text="keyed hash of the query code")
    region_code = models.CharField(max_length=6)
    institution_code = models.CharField(max_length=12, blank=True)
    channel = models.CharField("渠道", max_length=6, choices=Channel, default=Channel.WEB)
    about = models.CharField("被举报对象", max_length=120)
    behaviour = models.CharField("行为", max_length=40, blank=True)
    text = models.TextField("举报内容", max_length=4000)
    named = models.BooleanField("实名", default=False)
    name_masked = models.CharField(max_length=20, blank=True)
    name_cipher = models.BinaryField(null=True, blank=True)
    phone_masked = models.CharField(max_length=20, blank=True)
    phone_cipher = models.BinaryField(null=True, blank=True)
    state = models.CharField(max_length=8, choices=State, default=State.RECEIVED)
    received_at = models.DateTimeField()
    due = models.DateField("答复期限", null=True, blank=True)
    due_unknown = models.SmallIntegerField("缺少的日历年", null=True, blank=True)
    clause = models.CharField(max_length=160, blank=True)
    handled_by = models.CharField("承办人", max_length=150, blank=True)
    answer = models.CharField("答复", max_length=1000, blank=True)
    answered_at = models.DateTimeField(null=True, blank=True)
    recovered = models.BigIntegerField("查实金额", default=0, help_text="fen")
    case = models.ForeignKey(
        "supervision.SupervisionCase", models.PROTECT, null=True, blank=True,
        related_name="complaints",
    )  # fmt: skip
    reward = models.BigIntegerField("奖励金额", default=0, help_text="fen")
    reward_basis = models.CharField(max_length=200, blank=True)
    reward_example = models.BooleanField(default=False)
    reward_proposed_by = models.CharField(max_length=150, blank=True)
    reward_approved_by = models.CharField(max_length=150, blank=True)
    reward_approved_at = models.DateTimeField(null=True, blank=True)
    reward_paid_on = models.DateField("发放日", null=True, blank=True)
    reward_paid_by = models.CharField(max_length=150, blank=True, default="")
    reward_receipt = models.CharField("领取凭证号", max_length=60, blank=True, default="")
    reward_receiver_masked = models.CharField(max_length=20, blank=True, default="")
    reward_receiver_cipher = models.BinaryField(null=True, blank=True)

    objects = ScopedQuerySet.as_manager()

    class Meta:
        ordering = ("-pk",)
        indexes = (models.Index(fields=["region_code", "state", "-id"], name="complaint_region"),)
        constraints = (
            models.CheckConstraint(
                condition=Q(named=False, name_cipher__isnull=True, phone_cipher__isnull=True)
                | Q(named=True, name_cipher__isnull=False),
                name="complaint_named_or_not",
            ),
            models.CheckConstraint(
                condition=Q(state__in=["received", "accepted"])
                | (~Q(answer="") & Q(answered_at__isnull=False) & ~Q(handled_by="")),
                name="complaint_answer_whole",
            ),
            models.CheckConstraint(
                condition=Q(reward=0)
                | (Q(reward__gt=0, named=True, state="proven") & ~Q(reward_proposed_by="")),
                name="complaint_reward_of_a_proven_named_one",
            ),
            models.CheckConstraint(
                condition=Q(reward_approved_by="") | ~Q(reward_approved_by=F("reward_proposed_by")),
                name="complaint_reward_second_person",
            ),
            models.CheckConstraint(
                condition=Q(reward_paid_on__isnull=True, reward_paid_by="", reward_receipt="",
                            reward_receiver_cipher__isnull=True)
                | (Q(reward_paid_on__isnull=False, reward_receiver_cipher__isnull=False)
                   & ~Q(reward_paid_by="") & ~Q(reward_receipt="") & ~Q(reward_approved_by="")),
                name="complaint_payout_whole",
            ),
            models.CheckConstraint(
                condition=Q(reward_paid_by="") | ~Q(reward_paid_by=F("reward_approved_by")),
                name="complaint_payout_another_person",
            ),
        )  # fmt: skip

    def __str__(self):
        return self.number
