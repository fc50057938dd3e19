"""The trail of acts and the inbox of tasks. Nothing here points at another app: subjects are text."""

import uuid

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Left


class ScopedQuerySet(models.QuerySet):
    """Rows that carry `region_code` and `institution_code`, seen only inside a user's scope."""

    def visible_to(self, user):
        """Rows inside `user.scope_codes()`: area-code prefixes and institution codes; none denies."""
        scope = user.scope_codes()
        if scope.everything:
            return self
        if not scope.regions and not scope.institutions:
            return self.none()
        inside = Q(institution_code__in=scope.institutions)
        if scope.regions:  # acts on the whole portal (calendar, releases) belong to every region
            inside |= Q(region_code="", institution_code="")
        for prefix in scope.regions:
            inside |= Q(region_code__within=prefix)
        return self.filter(inside)


class Event(models.Model):
    """One act: who did what to which subject, when, with what result. Append-only (trigger).

    `body` is the canonical UTF-8 JSON of the act, `leaf` = SM3(0x00 ‖ body) as in RFC 9162.
    Personal data appears only as keyed hashes. (通医保发〔2020〕25号 三（四）全程留痕)
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    at = models.DateTimeField(db_index=True)
    actor = models.CharField(max_length=150)
    action = models.CharField(max_length=60)
    subject = models.CharField(max_length=80)
    outcome = models.CharField(max_length=10, default="ok")
    region_code = models.CharField(max_length=6, blank=True)
    institution_code = models.CharField(max_length=12, blank=True)
    person_hash = models.BinaryField(max_length=32, null=True)
    alg = models.CharField(max_length=8, default="sm3")
    body = models.BinaryField()
    leaf = models.BinaryField(max_length=32)

    objects = ScopedQuerySet.as_manager()

    class Meta:
        indexes = (
            models.Index(  # found by its beginning, too
                fields=["subject", "at"],
                opclasses=["varchar_pattern_ops", "timestamptz_ops"],
                name="event_subject",
            ),
            models.Index(  # of the most frequent act every list shows plenty without it
                fields=["action", "at"], condition=~Q(action="claim.receive"), name="event_action"
            ),
            models.Index(fields=["at"], condition=~Q(outcome="ok"), name="event_not_ok"),
            models.Index(fields=["actor", "at"], name="event_actor"),
            models.Index(fields=["region_code", "-at"], name="event_region"),
            models.Index(fields=["institution_code", "-at"], name="event_institution"),
            models.Index(
                fields=["person_hash"], name="event_person", condition=Q(person_hash__isnull=False)
            ),
        )

    def __str__(self):
        return f"{self.at:%F %T} {self.actor} {self.action} {self.subject}"


class Task(models.Model):
    """Something that waits for a person, with its legal deadline and the clause that sets it."""

    class State(models.TextChoices):
        OPEN = "open", "待办"
        DONE = "done", "已办"
        VOID = "void", "撤销"

    subject = models.CharField(max_length=80)
    title = models.CharField(max_length=200)
    permission = models.CharField(max_length=60)
    region_code = models.CharField(max_length=6, blank=True)
    #: the prefecture (first four digits): what most readers' inboxes are found by
    area = models.GeneratedField(
        expression=Left("region_code", 4), output_field=models.CharField(max_length=4),
        db_persist=True,
    )  # fmt: skip
    institution_code = models.CharField(max_length=12, blank=True)
    procedure = models.SlugField(max_length=40, blank=True)
    status = models.CharField("所处状态", max_length=60, blank=True)
    url = models.CharField(max_length=200, blank=True)
    due = models.DateField(null=True, blank=True)
    due_unknown = models.SmallIntegerField("缺少的日历年", null=True, blank=True)
    stopped = models.BooleanField("计时停止", default=False)
    clause = models.CharField(max_length=120, blank=True)
    assignee = models.CharField("经办人", max_length=150, blank=True)
    assigned_by = models.CharField(max_length=150, blank=True)
    escalated_at = models.DateTimeField("上报时间", null=True, blank=True)
    state = models.CharField(max_length=4, choices=State, default=State.OPEN)
    created_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True, blank=True)
    closed_by = models.CharField(max_length=150, blank=True)

    objects = ScopedQuerySet.as_manager()

    class Meta:
        indexes = (
            models.Index(fields=["state", "due"], name="task_open"),
            models.Index(
                fields=["permission", "area", "due", "id"],
                name="task_inbox_area",
                condition=Q(state="open"),
            ),
            models.Index(
                fields=["permission", "institution_code", "due", "id"],
                name="task_inbox_institution",
                condition=Q(state="open"),
            ),
            models.Index(  # readers of one county
                fields=["permission", "region_code", "due", "id"],
                name="task_inbox_region",
                condition=Q(state="open"),
            ),
            models.Index(
                fields=["assignee", "due", "id"],
                name="task_inbox_assignee",
                condition=Q(state="open") & ~Q(assignee=""),
            ),
        )
        constraints = (
            models.UniqueConstraint(
                fields=["subject", "permission"],
                condition=Q(state="open"),
                name="task_one_open_per_subject",
            ),
        )

    def __str__(self):
        return self.title


class Counter(models.Model):
    """The last number given out of a series (“温申2021”): numbers have no gaps and no doubles."""

    series = models.CharField(max_length=60, primary_key=True)
    last = models.PositiveIntegerField(default=0)

    def __str__(self):
        return f"{self.series} {self.last}"


class Move(models.Model):
    """One step of a procedure that was taken: from which state to which, on which day, by whom.

    `on` is the day in law (receipt, delivery, signature), `at` when it was recorded. Append-only.
    """

    subject = models.CharField(max_length=80)
    procedure = models.SlugField(max_length=40)
    step = models.SlugField(max_length=40)
    label = models.CharField(max_length=60)
    source = models.SlugField(max_length=40, blank=True)
    target = models.SlugField(max_length=40)
    on = models.DateField()
    at = models.DateTimeField()
    by = models.CharField(max_length=150)
    note = models.TextField(blank=True)
    facts = models.JSONField(default=dict, blank=True)
    clause = models.CharField(max_length=120, blank=True)
    due = models.DateField("当时的期限", null=True, blank=True)
    on_time = models.BooleanField(null=True, blank=True)
    region_code = models.CharField(max_length=6, blank=True)
    institution_code = models.CharField(max_length=12, blank=True)

    objects = ScopedQuerySet.as_manager()

    class Meta:
        ordering = ("pk",)
        indexes = (models.Index(fields=["subject", "id"], name="move_subject"),)

    def __str__(self):
        return f"{self.subject} {self.step} {self.on}"


class Case(models.Model):
    """Something that a procedure moves from state to state (audit/procedure.py). Abstract.

    `due` is the last day in law for whoever holds it now; `due_unknown` names the calendar year that
    is missing for it; `version` counts the moves, so that two people cannot move the same state.
    """

    procedure = models.SlugField(max_length=40)
    state = models.SlugField(max_length=40)
    entered_on = models.DateField("进入本状态日")
    due = models.DateField(null=True, blank=True)
    due_nominal = models.DateField("顺延前的末日", null=True, blank=True)
    due_clause = models.CharField(max_length=120, blank=True)
    due_unknown = models.SmallIntegerField(null=True, blank=True)
    stopped = models.BooleanField(default=False)
    version = models.PositiveIntegerField(default=0)
    region_code = models.CharField(max_length=6)
    institution_code = models.CharField(max_length=12, blank=True)
    opened_at = models.DateTimeField()
    opened_by = models.CharField(max_length=150)
    closed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        abstract = True

    @property
    def subject(self) -> str:
        """What events, moves and tasks call it: `application:17`."""
        return f"{self._meta.model_name}:{self.pk}"


class Leaf(models.Model):
    """The place of an event in the sealed log (RFC 9162), given by the sealer. Append-only.

    `hash` is the leaf hash at the time of sealing: what the event's own column says later is compared.
    """

    seq = models.BigIntegerField(primary_key=True)
    event = models.UUIDField(unique=True)
    hash = models.BinaryField(max_length=32)

    def __str__(self):
        return f"{self.seq} {self.event}"


class Node(models.Model):
    """The hash of one complete subtree of 2^level leaves; level 0 stands in Leaf. Append-only."""

    pk = models.CompositePrimaryKey("level", "idx")
    level = models.SmallIntegerField()
    idx = models.BigIntegerField()
    hash = models.BinaryField(max_length=32)

    def __str__(self):
        return f"{self.level}/{self.idx}"


class SealKey(models.Model):
    """A public key that checkpoints were signed with; the private one is a file of the server."""

    id = models.CharField(primary_key=True, max_length=8)
    name = models.CharField(max_length=100)
    alg = models.CharField("签名算法", max_length=12)
    pem = models.TextField("公钥")
    at = models.DateTimeField()

    def __str__(self):
        return f"{self.name}+{self.id}"


class Checkpoint(models.Model):
    """The signed statement “the log of this size has this root” (C2SP checkpoint). Append-only."""

    size = models.BigIntegerField("条数")
    root = models.BinaryField("树根", max_length=32)
    alg = models.CharField("摘要算法", max_length=8, default="sm3")
    origin = models.CharField("日志名称", max_length=100)
    key = models.ForeignKey(SealKey, models.PROTECT, related_name="+")
    text = models.TextField("签名文本")
    at = models.DateTimeField("签发时间", db_index=True)

    class Meta:
        ordering = ("size",)
        constraints = (
            models.UniqueConstraint(fields=["size", "key"], name="checkpoint_once_per_size"),
            models.CheckConstraint(condition=Q(size__gt=0), name="checkpoint_of_something"),
        )

    def __str__(self):
        return f"{self.origin} {self.size}"


class SealState(models.Model):
    """Where the sealer stands (one row): which transactions its last run could not see yet.

    A cursor, not a record: whatever it says, an event without a leaf is found (`sealer.unsealed`).
    """

    id = models.SmallIntegerField(primary_key=True, default=1)
    upper = models.BigIntegerField(default=0)
    open = models.JSONField(default=list)
    cluster = models.CharField(max_length=60, blank=True)
    ran_at = models.DateTimeField(null=True)

    class Meta:
        constraints = (models.CheckConstraint(condition=Q(id=1), name="seal_state_is_one"),)

    def __str__(self):
        return f"{self.upper} {self.ran_at}"


class Archive(models.Model):
    """Bodies of the entries [first, last) as a bundle that verifies elsewhere. Append-only."""

    first = models.BigIntegerField()
    last = models.BigIntegerField()
    before = models.DateField("归档截止日")
    name = models.CharField("文件名", max_length=120)
    sm3 = models.CharField("文件 SM3", max_length=64)
    size = models.BigIntegerField("字节数")
    checkpoint = models.ForeignKey(Checkpoint, models.PROTECT, related_name="+")
    at = models.DateTimeField("归档时间")
    by = models.CharField("归档人", max_length=150)

    class Meta:
        ordering = ("first",)
        constraints = (
            models.CheckConstraint(condition=Q(last__gt=F("first")), name="archive_of_something"),
            models.UniqueConstraint(fields=["first"], name="archive_follows_archive"),
        )

    def __str__(self):
        return f"{self.name} [{self.first}, {self.last})"


class Report(models.Model):
    """A paper that was made: by whom, when, from which parameters, under which checkpoint. Append-only.

    No personal data stands here (keyed hashes in `parameters`); the content is in ReportBody. The same
    user, time, checkpoint and content give the same bytes again (`supervision.reports.press`).
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.SlugField(max_length=40)
    number = models.CharField("编号", max_length=60, blank=True)
    title = models.CharField("标题", max_length=200)
    template = models.CharField(max_length=80)
    parameters = models.JSONField(default=dict, blank=True)
    region_code = models.CharField(max_length=6, blank=True)
    institution_code = models.CharField(max_length=12, blank=True)
    by = models.CharField("制作人", max_length=150)
    at = models.DateTimeField("制作时间")
    checkpoint = models.ForeignKey(Checkpoint, models.PROTECT, null=True, related_name="+")
    sm3 = models.CharField("文件 SM3", max_length=64)
    size = models.BigIntegerField("字节数")
    content_sm3 = models.CharField("数据 SM3", max_length=64)
    renderer = models.CharField("排版程序", max_length=60)

    objects = ScopedQuerySet.as_manager()

    class Meta:
        ordering = ("-at",)
        indexes = (
            models.Index(fields=["region_code", "-at"], name="report_region"),
            models.Index(fields=["kind", "-at"], name="report_kind"),
        )
        constraints = (
            models.UniqueConstraint(
                fields=["kind", "number"], condition=~Q(number=""), name="report_number_once"
            ),
        )

    def __str__(self):
        return f"{self.title} {self.number}".rstrip()


class ReportBody(models.Model):
    """What a report says: its canonical data (zlib) and the file. Under row level security."""

    report = models.OneToOneField(Report, models.PROTECT, primary_key=True, related_name="body")
    region_code = models.CharField(max_length=6, blank=True)
    institution_code = models.CharField(max_length=12, blank=True)
    content = models.BinaryField()
    file = models.CharField(max_length=120)

    objects = ScopedQuerySet.as_manager()

    def __str__(self):
        return self.file
