"""The query of the trail."""

import datetime as dt
from typing import Any

from django import forms
from django.db.models import QuerySet
from django.utils import timezone


def _day(label: str) -> forms.DateField:
    return forms.DateField(
        label=label, required=False, widget=forms.DateInput({"type": "date"}, "%Y-%m-%d")
    )


def _word(label: str, hint: str) -> forms.CharField:
    return forms.CharField(
        label=label, required=False, max_length=150, widget=forms.TextInput({"placeholder": hint})
    )


class TrailQuery(forms.Form):
    """Who did what to which subject, when and where; every empty field means any."""

    actor = _word("操作人", "账号，完整填写")
    action = _word("动作", "如 claim 或 claim.reverse")
    subject = _word("对象", "如 claim: 或 release:3")
    since = _day("自")
    until = _day("至")
    institution = _word("机构编码", "12 位编码")
    outcome = forms.ChoiceField(
        label="结果", required=False, choices=[("", "全部"), ("ok", "成功"), ("refused", "未成功")]
    )

    def clean(self) -> dict[str, Any]:
        """The span must not end before it begins."""
        found = super().clean() or self.cleaned_data
        if found.get("since") and found.get("until") and found["until"] < found["since"]:
            self.add_error("until", "不得早于起始日期")
        return found

    def narrow(self, rows: QuerySet) -> QuerySet:
        """The events that fit; days are those of Shanghai, subject and action are beginnings."""
        given = {key: value for key, value in self.cleaned_data.items() if value}
        exact = {"actor": "actor", "institution": "institution_code"}
        begins = {"subject": "subject__startswith", "action": "action__startswith"}
        for key, lookup in (exact | begins).items():
            if key in given:
                rows = rows.filter(**{lookup: given[key]})
        if "since" in given:
            rows = rows.filter(at__gte=_midnight(given["since"]))
        if "until" in given:
            rows = rows.filter(at__lt=_midnight(given["until"] + dt.timedelta(days=1)))
        if outcome := given.get("outcome"):
            rows = rows.filter(outcome="ok") if outcome == "ok" else rows.exclude(outcome="ok")
        return rows


def _midnight(day: dt.date) -> dt.datetime:
    return timezone.make_aware(dt.datetime.combine(day, dt.time.min))
