"""How a report came, to whom its reward was paid; restrictions of several decisions may overlap."""

from django.db import migrations, models
from django.db.models import F, Q

from institutions.models.dated import no_overlap

PAID = ("reward_paid_on", "reward_paid_by", "reward_receipt", "reward_receiver_cipher",
        "reward", "reward_approved_by")  # fmt: skip
CHANGED = " OR ".join(f"OLD.{column} IS DISTINCT FROM NEW.{column}" for column in PAID)
#: what was paid stays; so does the channel, and the institution once a case was opened against it
GUARD = f"""
CREATE TRIGGER payout_is_fixed BEFORE UPDATE ON supervision_complaint FOR EACH ROW
    WHEN (OLD.channel IS DISTINCT FROM NEW.channel
          OR OLD.reward_paid_on IS NOT NULL AND ({CHANGED})
          OR OLD.case_id IS NOT NULL AND OLD.institution_code IS DISTINCT FROM NEW.institution_code)
    EXECUTE FUNCTION refuse_change_of_record();
"""
UNDO = "DROP TRIGGER payout_is_fixed ON supervision_complaint;"
CHANNELS = [("web", "网上"), ("phone", "电话"), ("letter", "来信"), ("visit", "来访")]


def _text(name: str, length: int, label: str | None = None) -> migrations.AddField:
    return migrations.AddField(
        "complaint", name, models.CharField(label, max_length=length, blank=True, default="")
    )


class Migration(migrations.Migration):
    dependencies = (("supervision", "0016_point_repairs"),)

    operations = (
        migrations.AddField(
            "complaint", "channel",
            models.CharField("渠道", max_length=6, choices=CHANNELS, default="web"),
        ),
        migrations.AddField(
            "complaint", "reward_paid_on", models.DateField("发放日", null=True, blank=True)
        ),
        _text("reward_paid_by", 150),
        _text("reward_receipt", 60, "领取凭证号"),
        _text("reward_receiver_masked", 20),
        migrations.AddField(
            "complaint", "reward_receiver_cipher", models.BinaryField(null=True, blank=True)
        ),
        migrations.AddConstraint(
            "complaint",
            models.CheckConstraint(
                condition=Q(reward_paid_on__isnull=True, reward_paid_by="", reward_receipt="",
                            reward_receiver_cipher__isnull=True)
                | (Q(reward_paid_on__isnull=False, reward_receiver_cipher__isnull=False)
                   & ~Q(reward_paid_by="") & ~Q(reward_receipt="") & ~Q(reward_approved_by="")),
                name="complaint_payout_whole",
            ),
        ),
        migrations.AddConstraint(
            "complaint",
            models.CheckConstraint(
                condition=Q(reward_paid_by="") | ~Q(reward_paid_by=F("reward_approved_by")),
                name="complaint_payout_another_person",
            ),
        ),
        migrations.RemoveConstraint("restriction", "restriction_no_overlap"),
        migrations.AddConstraint(
            "restriction",
            no_overlap("restriction_no_overlap", "kind", "institution_code", "subject_code",
                       "source"),
        ),
        migrations.RunSQL(GUARD, UNDO),
    )  # fmt: skip
