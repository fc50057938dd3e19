"""What people and systems are told: notifications, webhooks, messages on their way out."""

from django.db import models
from django.db.models import Q

from institutions.models.parties import Institution
from institutions.models.people import User


class Notification(models.Model):
    """A message to a person inside the portal; mail and webhooks leave through `Dispatch`."""

    user = models.ForeignKey(User, models.CASCADE, related_name="notifications")
    subject = models.CharField(max_length=80, blank=True)
    text = models.CharField(max_length=300)
    url = models.CharField(max_length=200, blank=True)
    at = models.DateTimeField()
    read_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = (models.Index(fields=["user", "read_at", "-at"], name="notification_unread"),)

    def __str__(self):
        return self.text


class Webhook(models.Model):
    """Where an institution's system wants to be told: HTTPS address, secret for the signature."""

    institution = models.ForeignKey(Institution, models.PROTECT, related_name="webhooks")
    url = models.URLField(max_length=300)
    secret_encrypted = models.BinaryField()
    active = models.BooleanField(default=True)
    created_at = models.DateTimeField()
    created_by = models.CharField(max_length=150)

    def __str__(self):
        return self.url


class Dispatch(models.Model):
    """One message that leaves the portal; tried again with growing pauses until it arrives."""

    class Channel(models.TextChoices):
        WEBHOOK = "webhook", "回调"
        EMAIL = "email", "邮件"

    channel = models.CharField(max_length=7, choices=Channel)
    webhook = models.ForeignKey(Webhook, models.PROTECT, null=True, blank=True)
    address = models.CharField(max_length=300)
    body = models.JSONField()
    created_at = models.DateTimeField()
    next_at = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    sent_at = models.DateTimeField(null=True, blank=True)
    error = models.CharField(max_length=300, blank=True)

    class Meta:
        indexes = (
            models.Index(fields=["next_at"], name="dispatch_waiting", condition=Q(sent_at=None)),
        )

    def __str__(self):
        return f"{self.channel} {self.address}"
