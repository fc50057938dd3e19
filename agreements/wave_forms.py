"""Query of the board of batches, and the form of a hospital's plan: two days a step."""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django import forms

from agreements.board import LATENESS, STATES, Batch
from agreements.onboarding import Step
from institutions.forms import day_field
from institutions.models import Region
from institutions.refusals import Refusal


class BoardQuery(forms.Form):
    """Which hospitals of the batches."""

    batch = forms.ChoiceField(label="批次", required=False)
    region = forms.ChoiceField(label="所在地", required=False)
    late = forms.ChoiceField(label="逾期", required=False, choices=LATENESS)
    state = forms.ChoiceField(label="进度", required=False, choices=STATES)
    q = forms.CharField(
        label="医院", required=False, max_length=60, strip=True,
        widget=forms.TextInput({"placeholder": "医院名称"}),
    )  # fmt: skip

    def __init__(self, data: Any, *, batches: Sequence[Batch], regions: Iterable[Region]):
        super().__init__(data, auto_id="board_%s")
        numbers = [
            (str(batch.wave.number if batch.wave else "other"), batch.name) for batch in batches
        ]
        places = [(row.code, row.name) for row in regions]
        self._choose("batch", numbers)
        self._choose("region", places)

    def _choose(self, name: str, choices: Iterable[tuple[str, str]]) -> None:
        field = self.fields[name]
        self.fields[name] = forms.ChoiceField(
            label=field.label, required=False, choices=[("", "全部"), *choices]
        )


class PlanForm(forms.Form):
    """A start and an end for every step; optional steps (门诊大病) may stay empty together."""

    version = forms.IntegerField(widget=forms.HiddenInput)

    def __init__(
        self, data: Any = None, *, steps: Sequence[Step], plan: Mapping[str, Any], version: int,
        reason: str,
    ):  # fmt: skip
        super().__init__(data, auto_id="plan_%s", initial={"version": version, "reason": reason})
        self.steps = steps
        for step in steps:
            span = plan.get(step.key, {})
            for word, label in (("start", "开始"), ("end", "完成")):
                field = day_field(f"计划{label}日")
                field.initial, field.required = span.get(word), step.when is None
                field.error_messages["required"] = f"请填写计划{label}日。"
                self.fields[f"{step.key}.{word}"] = field
        self.fields["reason"] = forms.CharField(
            label="理由", required=False, max_length=300, widget=forms.Textarea({"rows": 2}),
            help_text="计划完成日晚于批次时限时必填。",
        )  # fmt: skip

    def lines(self) -> list[dict[str, Any]]:
        """Each step with its two bound fields, for the table of the form."""
        return [
            {"step": step, "start": self[f"{step.key}.start"], "end": self[f"{step.key}.end"]}
            for step in self.steps
        ]

    def clean(self) -> dict[str, Any]:
        found = super().clean() or self.cleaned_data
        for step in self.steps:
            start, end = (found.get(f"{step.key}.{word}") for word in ("start", "end"))
            if step.when is not None and bool(start) != bool(end):
                self.add_error(
                    f"{step.key}.{'end' if start else 'start'}", "请同时填写开始日和完成日。"
                )
        return found

    def spans(self) -> dict[str, tuple[dt.date, dt.date]]:
        """Step key → start and end, of the steps that are planned."""
        found = self.cleaned_data
        return {
            step.key: (found[f"{step.key}.start"], found[f"{step.key}.end"])
            for step in self.steps
            if found.get(f"{step.key}.start") and found.get(f"{step.key}.end")
        }

    def take(self, refusal: Refusal) -> int:
        """Put every fault at its field; the status of the answer."""
        for fault in refusal.faults:
            name = fault.pointer.removeprefix("/")
            text = f"{fault.detail[0]}（{fault.clause}）" if fault.clause else fault.detail[0]
            self.add_error(name if name in self.fields else None, text)
        if not refusal.faults:
            self.add_error(None, refusal.detail[0])
        return refusal.status


class DrawForm(forms.Form):
    """Count the plan back anew, with or without the steps of 门诊大病."""

    version = forms.IntegerField(widget=forms.HiddenInput)
    major = forms.BooleanField(label="包含门诊大病两步", required=False)
