"""Queries and forms of monthly supervision reports."""

import datetime as dt
from typing import Any

from django import forms

from institutions.calendar import add_months

MONTH = forms.DateInput({"type": "month"}, format="%Y-%m")
MONTHS = 24  #: how far back a report can be made


class MonthQuery(forms.Form):
    """Which month, and whether only what is late."""

    month = forms.DateField(
        label="月份", required=False, input_formats=["%Y-%m", "%Y-%m-%d"], widget=MONTH
    )
    late = forms.ChoiceField(
        label="期限", required=False, choices=[("", "全部"), ("1", "只看逾期")]
    )

    def chosen(self, today: dt.date) -> dt.date:
        """The first day of the month asked for; last month by default."""
        given = self.cleaned_data.get("month") if self.is_valid() else None
        return (given or add_months(today.replace(day=1), -1)).replace(day=1)


class MakeForm(forms.Form):
    """The month of a report that is made."""

    month = forms.ChoiceField(label="月份")

    def __init__(self, *args: Any, months: list[tuple[str, str]], **more: Any):
        super().__init__(*args, **more)
        self.fields["month"] = forms.ChoiceField(label="月份", choices=months)

    def day(self) -> dt.date:
        """The first day of the chosen month."""
        return dt.date.fromisoformat(f"{self.cleaned_data['month']}-01")


class NoteForm(forms.Form):
    """Words to a step: a remark, or the reason of a return."""

    version = forms.IntegerField(widget=forms.HiddenInput)
    note = forms.CharField(max_length=400, required=False, widget=forms.Textarea({"rows": 3}))

    def __init__(self, *args: Any, label: str, needed: bool, version: int, **more: Any):
        super().__init__(*args, **more)
        self.fields["version"].initial = version
        self.fields["note"].label, self.fields["note"].required = label, needed


class PlainForm(forms.Form):
    """A step that needs nothing but the version that was read."""

    version = forms.IntegerField(widget=forms.HiddenInput)

    def __init__(self, *args: Any, version: int, **more: Any):
        super().__init__(*args, **more)
        self.fields["version"].initial = version
