"""Forms of the interface's keys: which, a new one, another secret, the end."""

from typing import Any, cast

from django import forms
from django.conf import settings
from django.core.validators import RegexValidator

from institutions.grants import scopes_of
from institutions.models import ApiClient

SIDES = {"office": "医保部门", "institution": "医疗机构"}
STATES = {"used": "在用", "unused": "未使用", "ended": "已停用"}
UNITS = {"second": "秒", "minute": "分钟", "hour": "小时"}


def rate_words(rate: ApiClient.Rate) -> str:
    """A rate with its number: `标准（每分钟 60,000 次）`."""
    number, _, unit = settings.THROTTLES[rate.value].partition("/")
    return (
        f"{rate.label}（每{UNITS[unit]} {int(number):,} 次）" if number else f"{rate.label}（不限）"
    )


class ClientQuery(forms.Form):
    """Which keys."""

    q = forms.CharField(
        label="持有方或用途", required=False, max_length=60,
        widget=forms.TextInput({"placeholder": "名称、编码、用途或客户端编号"}),
    )  # fmt: skip
    side = forms.ChoiceField(
        label="持有方类别", required=False, choices=[("", "全部"), *SIDES.items()]
    )
    state = forms.ChoiceField(label="状态", required=False, choices=[("", "全部"), *STATES.items()])


class IssueForm(forms.Form):
    """A new key for a system of an office or of an institution."""

    holder = forms.CharField(max_length=12, widget=forms.TextInput({"autocomplete": "off"}))
    purpose = forms.CharField(
        label="用途", max_length=60, widget=forms.TextInput({"autocomplete": "off"}),
        help_text="哪个系统、做什么；同一持有方同一用途只有一个在用密钥",
    )  # fmt: skip
    rate = forms.ChoiceField(label="频率", help_text="超过时答复 429，下一时间窗内恢复")
    scopes = forms.MultipleChoiceField(
        label="授权范围", widget=forms.CheckboxSelectMultiple, help_text="只选该用途需要的"
    )

    def __init__(self, data: Any, *, side: str) -> None:
        office = side == "office"
        rate = ApiClient.Rate.LOW if office else ApiClient.Rate.USUAL
        super().__init__(data, initial={"rate": rate.value})
        self.fields["holder"].label = "行政区划代码" if office else "机构编码"
        self.fields["holder"].help_text = (
            "医保部门所在区域的 6 位代码，其数据范围为本区域及所辖区域"
            if office else "医疗机构或零售药店在本平台的编码，只能读写本机构的数据"
        )  # fmt: skip
        pattern = RegexValidator(r"^[0-9]{6}$", "应为 6 位行政区划代码") if office else (
            RegexValidator(r"^[0-9A-Za-z]{7,12}$", "应为机构编码"))  # fmt: skip
        self.fields["holder"].validators.append(pattern)
        self._choices("rate", [(one.value, rate_words(one)) for one in ApiClient.Rate])
        self._choices("scopes", list(scopes_of(office=office).items()))

    def _choices(self, name: str, choices: list[tuple[str, str]]) -> None:
        cast(forms.ChoiceField, self.fields[name]).choices = choices


class RotateForm(forms.Form):
    """Why another secret; `seen`: how many were given when the page was read."""

    seen = forms.IntegerField(min_value=1, max_value=32767, widget=forms.HiddenInput)
    reason = forms.CharField(
        label="换发事由", max_length=200, widget=forms.TextInput({"autocomplete": "off"})
    )


class EndForm(forms.Form):
    """Why a key ends."""

    reason = forms.CharField(
        label="停用事由", max_length=200, widget=forms.TextInput({"autocomplete": "off"})
    )
