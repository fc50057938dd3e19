"""The query of the trail."""

import datetime as dt
from typing import Any

from django import forms
from django.conf import settings
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.module_loading import import_string

from audit import words
from audit.models import Checkpoint


def _day(label: str) -> forms.DateField:
    return forms.DateField(
        label=label, required=False, widget=forms.DateInput({"type": "date"}, "%Y-%m-%d")
    )


def _word(label: str, hint: str) -> forms.CharField:
    return forms.CharField(
        label=label, required=False, max_length=150, widget=forms.TextInput({"placeholder": hint})
    )


def about(text: str) -> Q:
    """Events about a subject with its parts (`batch:1`), about a kind of them (`claim`, `batch:1/`).

    What else the acts of a subject stand under (a claim of a batch under its chunk) the room that knows
    it says, and what a number on a paper means. (settings.TRAIL_SUBJECTS)
    """
    kind = ":" not in text or text.endswith((":", "/"))
    subjects = {*import_string(settings.TRAIL_SUBJECTS)(text), *([] if kind else [text])}
    found = Q(subject__in=sorted(subjects)) if subjects else Q(subject__startswith=text)
    for subject in sorted(subjects):
        found |= Q(subject__startswith=f"{subject}/")
    return found


class TrailQuery(forms.Form):
    """Who did what to which subject, when and where; every empty field means any."""

    actor = _word("操作人", "账号，完整填写")
    action = forms.CharField(
        label="动作", required=False, max_length=60,
        widget=forms.Select(choices=[("", "全部"), *words.choices()]),
    )  # fmt: skip
    subject = _word("对象", "如 claim:12、release:3 或单据号")
    since = _day("自")
    until = _day("至")
    institution = _word("机构编码", "12 位编码")
    outcome = forms.ChoiceField(
        label="结果", required=False, choices=[("", "全部"), ("ok", "成功"), ("refused", "未成功")]
    )
    person = forms.RegexField(
        r"^[0-9a-f]{64}$", label="参保人", required=False, widget=forms.HiddenInput
    )
    event = forms.UUIDField(label="事件编号", required=False, widget=forms.HiddenInput)

    def clean(self) -> dict[str, Any]:
        """The span must not end before it begins."""
        found = super().clean() or self.cleaned_data
        if found.get("since") and found.get("until") and found["until"] < found["since"]:
            self.add_error("until", "不得早于起始日期")
        return found

    def narrow(self, rows: QuerySet) -> QuerySet:
        """The events that fit; days are those of Shanghai."""
        given = {key: value for key, value in self.cleaned_data.items() if value}
        lookups = {"actor": "actor", "institution": "institution_code", "event": "pk"}
        for key, lookup in lookups.items():
            if key in given:
                rows = rows.filter(**{lookup: given[key]})
        if subject := given.get("subject"):
            rows = rows.filter(about(subject))
        if "action" in given:
            rows = rows.filter(action__in=words.same(given["action"]))
        if digest := self.person_hash():
            rows = rows.filter(person_hash=digest)
        return self._between(rows, given)

    def _between(self, rows: QuerySet, given: dict[str, Any]) -> QuerySet:
        if "since" in given:
            rows = rows.filter(at__gte=_midnight(given["since"]))
        if "until" in given:
            rows = rows.filter(at__lt=_midnight(given["until"] + dt.timedelta(days=1)))
        if outcome := given.get("outcome"):
            rows = rows.filter(outcome="ok") if outcome == "ok" else rows.exclude(outcome="ok")
        return rows

    def person_hash(self) -> bytes | None:
        """The keyed hash of the person asked for."""
        text = self.cleaned_data.get("person") or ""
        return bytes.fromhex(text) if text else None

    def told(self) -> dict[str, str]:
        """What was asked, for the event of asking."""
        return {key: str(value) for key, value in self.cleaned_data.items() if value}


class OlderCheckpoint(forms.Form):
    """The checkpoint that the reader kept: a bundle proves that the log of today continues it."""

    older = forms.IntegerField(
        label="较早检查点的条数（可不填）", required=False, min_value=1,
        error_messages={"min_value": "应为不小于1的整数。", "invalid": "应为整数。"},
    )  # fmt: skip

    def clean_older(self) -> int | None:
        """A size that was signed."""
        size = self.cleaned_data["older"]
        if size and not Checkpoint.objects.filter(size=size).exists():
            raise forms.ValidationError(f"没有条数为 {size} 的检查点。")
        return size

    def sizes(self) -> list[int]:
        """The sizes to prove growth from: one or none."""
        size = self.cleaned_data["older"]
        return [size] if size else []


class PersonLookUp(forms.Form):
    """A person by ID number; only the keyed hash of it goes on."""

    credential = forms.CharField(
        label="身份证号", max_length=40,
        widget=forms.TextInput({"autocomplete": "off", "inputmode": "text"}),
    )  # fmt: skip

    def clean_credential(self) -> str:
        """The keyed hash as text; the rule that the number breaks is told."""
        try:
            return import_string(settings.PERSON_KEY)(self.cleaned_data["credential"]).hex()
        except ValueError as fault:
            raise forms.ValidationError(getattr(fault, "texts", ("证件号码有误",))[0]) from fault


def _midnight(day: dt.date) -> dt.datetime:
    return timezone.make_aware(dt.datetime.combine(day, dt.time.min))
