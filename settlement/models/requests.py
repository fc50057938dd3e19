"""参保人申请: what a person hands in without log-in, until staff have compared who it is."""

from django.db import models
from django.db.models import Q

from audit.models import ScopedQuerySet
from settlement.models.filings import DiseaseFiling
from settlement.models.reimbursements import AppointmentSlot, Reimbursement


class PersonRequest(models.Model):
    """An application to recognise a disease, or a place booked at a counter, by an unproven somebody.

    Nothing says whether the person is insured: that is found when a clerk compares it with the register,
    and what goes on then is a filing or a reimbursement like any other. `query_hash` is of the code that
    was shown once.
    """

    class Kind(models.TextChoices):
        DISEASE = "disease", "门诊慢特病认定"
        BOOKING = "booking", "预约报销"

    class State(models.TextChoices):
        RECEIVED = "received", "待核对"
        ASKED = "asked", "待补材料"
        TAKEN = "taken", "已受理"
        DECLINED = "declined", "不予受理"
        WITHDRAWN = "withdrawn", "已取消"

    OPEN = (State.RECEIVED, State.ASKED)

    number = models.CharField("申请号", max_length=40, unique=True)
    query_hash = models.BinaryField(max_length=32)
    kind = models.CharField("事项", max_length=8, choices=Kind)
    state = models.CharField("状态", max_length=9, choices=State, default=State.RECEIVED)
    region_code = models.CharField(max_length=6)
    institution_code = models.CharField(max_length=12, blank=True)
    id_hash = models.BinaryField(max_length=32)
    id_masked = models.CharField("证件号码", max_length=18)
    id_cipher = models.BinaryField()
    name_masked = models.CharField("姓名", max_length=40)
    name_cipher = models.BinaryField()
    phone_tail = models.CharField("联系电话", max_length=4)
    phone_cipher = models.BinaryField()
    code = models.CharField("病种编码", max_length=20, blank=True)
    name = models.CharField("病种", max_length=60, blank=True)
    hospital = models.CharField("就诊医疗机构", max_length=120, blank=True)
    reason = models.CharField("申请说明", max_length=500, blank=True)
    slot = models.ForeignKey(
        AppointmentSlot, models.PROTECT, null=True, blank=True, related_name="bookings"
    )
    filing = models.OneToOneField(
        DiseaseFiling, models.PROTECT, null=True, blank=True, related_name="handed_in"
    )
    reimbursement = models.OneToOneField(
        Reimbursement, models.PROTECT, null=True, blank=True, related_name="booked"
    )
    answer = models.CharField("答复", max_length=500, blank=True)
    received_at = models.DateTimeField()
    handled_by = models.CharField(max_length=150, blank=True)

    objects = ScopedQuerySet.as_manager()

    class Meta:
        ordering = ("-pk",)
        indexes = (models.Index(fields=["region_code", "state"], name="person_request_state"),)
        constraints = (
            models.CheckConstraint(
                name="person_request_institutions_see_none", condition=Q(institution_code="")
            ),
            models.CheckConstraint(
                name="person_request_of_its_kind",
                condition=Q(kind="disease", slot__isnull=True, reimbursement__isnull=True)
                & ~Q(code="")
                | Q(kind="booking", slot__isnull=False, filing__isnull=True, code=""),
            ),
            models.CheckConstraint(
                name="person_request_taken_up",
                condition=Q(state="taken", filing__isnull=False)
                | Q(state="taken", reimbursement__isnull=False)
                | ~Q(state="taken") & Q(filing__isnull=True, reimbursement__isnull=True),
            ),
            models.CheckConstraint(
                name="person_request_told_why",
                condition=~Q(state__in=("asked", "declined")) | ~Q(answer=""),
            ),
        )

    def __str__(self):
        return self.number

    @property
    def subject(self) -> str:
        """Its name in trail, tasks and documents."""
        return f"personrequest:{self.pk}"
