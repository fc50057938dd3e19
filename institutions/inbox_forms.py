"""Queries and small forms of the inbox: what waits, delegations, webhooks."""

import datetime as dt
from typing import Any

from django import forms

from audit.procedure import PROCEDURES
from institutions.forms import day_field
from institutions.inbox import Wanted
from institutions.models import Region, User

WHEN = (("", "全部"), ("late", "已逾期"), ("soon", "本周到期"))
HOLDERS = (("", "全部"), ("me", "由我经办"), ("nobody", "尚未领取"))


class InboxQuery(forms.Form):
    """Which of the open tasks."""

    words = forms.CharField(
        label="事项", required=False, max_length=60,
        widget=forms.TextInput({"placeholder": "标题中的文字"}),
    )  # fmt: skip
    procedure = forms.ChoiceField(label="业务", required=False)
    holder = forms.ChoiceField(label="经办", required=False, choices=HOLDERS)
    region = forms.ChoiceField(label="所在区域", required=False)
    when = forms.ChoiceField(required=False, choices=WHEN, widget=forms.HiddenInput)
    office = forms.BooleanField(required=False, widget=forms.HiddenInput)

    def __init__(self, data: Any, *, regions: list[Region]) -> None:
        super().__init__(data)
        titles = [(slug, row.title) for slug, row in sorted(PROCEDURES.items())]
        self.fields["procedure"] = forms.ChoiceField(
            label="业务", required=False, choices=[("", "全部"), *titles, ("other", "其他")]
        )
        self.fields["region"] = forms.ChoiceField(
            label="所在区域", required=False,
            choices=[("", "全部"), *((row.code, row.name) for row in regions)],
        )  # fmt: skip
        if len(regions) < 2:
            del self.fields["region"]

    def wanted(self) -> Wanted:
        """The filters; a value that is none of the choices does not filter."""
        self.is_valid()
        given = self.cleaned_data
        return Wanted(**{name: given[name] for name in given if given[name]})


class PersonField(forms.ModelChoiceField):
    """A choice of people: `张三（zhang.san）· 温州市`, so that namesakes are told apart."""

    def label_from_instance(self, obj: User) -> str:
        return f"{obj}（{obj.username}）· {obj.institution or obj.region}"


class AssignForm(forms.Form):
    """To whom."""

    to = forms.ModelChoiceField(queryset=User.objects.none(), label="分派给", empty_label="请选择")

    def __init__(self, data: Any, *, people: Any) -> None:
        super().__init__(data)
        self.fields["to"] = PersonField(queryset=people, label="分派给", empty_label="请选择")


class DelegationForm(forms.Form):
    """Who does my tasks (an overseer: also an absent colleague's), from when until when."""

    giver = forms.ModelChoiceField(
        queryset=User.objects.none(), label="委托人", required=False, empty_label="本人"
    )
    taker = forms.ModelChoiceField(
        queryset=User.objects.none(), label="受托人", empty_label="请选择"
    )
    valid_from = day_field("自")
    valid_until = day_field("至")
    reason = forms.CharField(label="事由", required=False, max_length=200)

    def __init__(self, data: Any, *, people: Any, givers: Any, today: dt.date) -> None:
        super().__init__(data, initial={"valid_from": today})
        if givers is None:
            del self.fields["giver"]
        else:
            self.fields["giver"] = PersonField(
                queryset=givers, label="委托人", required=False, empty_label="本人",
                help_text="同事不在岗时，督办人员可代其登记；受托人须与其同岗位",
            )  # fmt: skip
        self.fields["taker"] = PersonField(
            queryset=people, label="受托人", empty_label="请选择同岗位的同事"
        )
        for name in ("valid_from", "valid_until"):
            self.fields[name].required = True


class WebhookForm(forms.Form):
    """Where an institution's system wants to be told."""

    url = forms.CharField(
        label="回调地址", max_length=300,
        widget=forms.URLInput({"placeholder": "https://his.example.cn/portal/events"}),
    )  # fmt: skip
