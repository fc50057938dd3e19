"""A list of claims settled anew is drawn by workers: its states, its progress, what a drawn one has."""

from django.db import migrations, models
from django.db.models import Q

STATES = [
    ("drawing", "列单中"), ("drawn", "待核准"), ("nothing", "无变化"), ("approved", "入账中"),
    ("posted", "已入账"), ("refused", "未核准"), ("withdrawn", "已撤回"),
]  # fmt: skip


class Migration(migrations.Migration):
    dependencies = (("settlement", "0014_dispensing_returns"),)
    operations = (
        migrations.AlterField(
            "resettlement",
            "state",
            models.CharField(choices=STATES, default="drawing", max_length=9),
        ),
        migrations.AlterField(
            "resettlement",
            "digest",
            models.CharField("清单摘要", blank=True, default="", max_length=64),
        ),
        migrations.AddField(
            "resettlement",
            "person_years",
            models.IntegerField(default=0, help_text="to be recomputed"),
        ),
        migrations.AddField(
            "resettlement",
            "recomputed",
            models.IntegerField(default=0, help_text="person-years of them"),
        ),
        migrations.AddField(
            "resettlement",
            "drawn_to",
            models.JSONField(
                blank=True, default=list, help_text="the last person-year that was recomputed"
            ),
        ),
        migrations.AddField(
            "resettlement",
            "moved_at",
            models.DateTimeField(help_text="by the database's clock", null=True),
        ),
        migrations.AddConstraint(
            "resettlement",
            models.CheckConstraint(
                condition=Q(state__in=("drawing", "nothing", "withdrawn")) | ~Q(digest=""),
                name="resettlement_drawn_with_digest",
            ),
        ),
    )
