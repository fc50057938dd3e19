"""Forms of an interview: the notice with its service, the minutes, the second person's word."""

import datetime as dt
from typing import Any

from django import forms

from institutions.forms import day_field
from supervision.case_forms import PickMeasure, ServiceForm


def _long(label: str, most: int, **options: Any) -> forms.CharField:
    return forms.CharField(
        label=label, max_length=most, widget=forms.Textarea({"rows": 3}), **options
    )


class NoticeForm(PickMeasure, ServiceForm):
    """On which day, where, who comes, about what; how the notice was served."""

    held_on = day_field("约谈日")
    place = forms.CharField(
        label="约谈时间与地点", max_length=120, help_text="例如：上午9时，本局302会议室。"
    )
    persons = forms.CharField(
        label="被约谈人员", max_length=200, help_text="例如：法定代表人、医保办负责人。"
    )
    subject = _long("约谈事由", 1000)
    field_order: tuple[str, ...] = (
        "sanction", "held_on", "place", "persons", "subject", "method", "receiver", "on",
    )  # fmt: skip

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self.fields["held_on"].required = True
        self.order_fields(self.field_order)


class MinutesForm(PickMeasure):
    """What was said on the day of the notice."""

    held_on = day_field("约谈日")
    present = forms.CharField(label="到场人员", max_length=400, help_text="双方人员的姓名和职务。")
    statements = _long("被约谈人员的陈述", 4000)
    commitments = _long("作出的承诺", 4000, help_text="整改措施与期限；没有承诺的写“无”。")
    field_order: tuple[str, ...] = ("sanction", "held_on", "present", "statements", "commitments")

    def __init__(self, *args: Any, today: dt.date, **options: Any):
        super().__init__(*args, **options)
        self.fields["held_on"].required = True
        self.fields["held_on"].widget.attrs["max"] = today.isoformat()
        self.order_fields(self.field_order)


class ConfirmForm(forms.Form):
    """Whether the minutes are as it was."""

    agree = forms.ChoiceField(
        label="结论", choices=[("yes", "与约谈情况一致，予以确认"), ("no", "退回记录人重新登记")]
    )
    reason = forms.CharField(label="退回理由", max_length=400, required=False)

    def __init__(self, *args: Any, minutes: list[tuple[int, str]], **options: Any):
        super().__init__(*args, **options)
        self.fields["interview"] = forms.TypedChoiceField(label="笔录", coerce=int, choices=minutes)
        self.order_fields(("interview", "agree", "reason"))
