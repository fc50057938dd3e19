"""Forms of inspections, complaints and restrictions."""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django import forms

from institutions.forms import day_field
from supervision import law
from supervision.case_forms import ANY, YuanField
from supervision.models import Complaint, ConductFlag, InspectionPlan, InspectionTask, Restriction

#: the five behaviours and their neighbours, as findings name them (通医保发〔2020〕25号 四（三）)
BEHAVIOURS = (
    ("", "其他"), ("fictitious_service", "虚构医药服务"), ("split_service", "分解服务"),
    ("forced_service", "强制服务"), ("inflated_price", "虚报价格"), ("substituted_item", "串换诊疗项目"),
    ("duplicate_charge", "重复收费"),
)  # fmt: skip
LINES = "每行一项"


class PlanQuery(forms.Form):
    """Which plans."""

    q = forms.CharField(
        label="计划", required=False, max_length=60,
        widget=forms.TextInput({"placeholder": "计划号或名称"}),
    )  # fmt: skip
    side = forms.ChoiceField(
        label="类别", required=False, choices=[ANY, *InspectionPlan.Side.choices]
    )
    state = forms.ChoiceField(
        label="状态", required=False, choices=[ANY, *InspectionPlan.State.choices]
    )


class PlanForm(forms.Form):
    """A plan: what is looked at, when, how many."""

    title = forms.CharField(label="计划名称", max_length=120)
    reason = forms.CharField(label="检查事项", max_length=400, widget=forms.Textarea({"rows": 3}))
    first_day, last_day = day_field("检查期间起"), day_field("检查期间止")
    service_from, service_until = day_field("核查服务日起"), day_field("核查服务日止")
    wanted = forms.IntegerField(label="抽取机构数", min_value=1, max_value=500)
    per_task = forms.IntegerField(label="每家检查人数", min_value=1, max_value=20)
    checklist = forms.CharField(
        label="检查清单", widget=forms.Textarea({"rows": 6}), max_length=4000, help_text=LINES
    )

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self.fields["per_task"].initial = law.inspectors_needed()
        for name in ("first_day", "last_day", "service_from", "service_until"):
            self.fields[name].required = True

    def lines(self) -> list[dict[str, str]]:
        """The checklist as rows with keys."""
        rows = [row.strip() for row in self.cleaned_data["checklist"].splitlines() if row.strip()]
        return [{"key": f"c{number}", "text": row} for number, row in enumerate(rows, 1)]


class DecisionForm(forms.Form):
    """Approved or not."""

    approve = forms.ChoiceField(label="审批", choices=[("yes", "批准"), ("no", "不批准")])
    note = forms.CharField(
        label="审批意见", max_length=400, required=False, widget=forms.Textarea({"rows": 2})
    )


class SeedForm(forms.Form):
    """The seed of the draw."""

    seed = forms.CharField(
        label="随机种子", max_length=80,
        help_text="事先约定、公开可查的数字，如某日彩票开奖号码；同一名单与种子总得出同一结果。",
    )  # fmt: skip


class TextForm(forms.Form):
    """A text that closes something."""

    text = forms.CharField(label="说明", max_length=1000, widget=forms.Textarea({"rows": 3}))

    def __init__(self, *args: Any, label: str, **options: Any):
        super().__init__(*args, **options)
        self.fields["text"].label = label


SHOWN = "certificate_"  #: fields of certificates, by the row of the draw


class NoticeForm(forms.Form):
    """The day of the visit, what the institution has ready, the certificate that each inspector shows."""

    on = day_field("检查日")
    prepare = forms.CharField(
        label="请机构准备", max_length=2000, widget=forms.Textarea({"rows": 4}),
        help_text="例如：抽查期间的电子病历、处方、收费明细和购药记录。",
    )  # fmt: skip

    def __init__(
        self, *args: Any, today: dt.date, inspectors: Iterable[tuple[int, str, str]], **options: Any
    ):
        super().__init__(*args, **options)
        self.fields["on"].required, self.fields["on"].initial = True, today
        self.fields["on"].widget.attrs["min"] = today.isoformat()
        for key, name, known in inspectors:
            self.fields[f"{SHOWN}{key}"] = forms.CharField(
                label=f"{name}的证件号", max_length=40, initial=known
            )


class VisitForm(forms.Form):
    """What was seen: every line of the checklist, the result, the problems."""

    def __init__(
        self, *args: Any, checklist: Iterable[Mapping[str, str]], today: dt.date, **options: Any
    ):
        super().__init__(*args, **options)
        self.fields["visited_on"] = day_field("检查日")
        self.fields["visited_on"].required = True
        self.fields["visited_on"].initial = today
        self.keys = []
        for row in checklist:
            self.keys.append(row["key"])
            self.fields[row["key"]] = forms.CharField(
                label=row["text"], max_length=400, help_text="写明所查内容与情况"
            )
        self.fields["result"] = forms.ChoiceField(
            label="结果", choices=InspectionTask.Result.choices
        )
        self.fields["behaviour"] = forms.ChoiceField(
            label="发现问题的类别", choices=BEHAVIOURS, required=False
        )
        self.fields["problems"] = forms.CharField(
            label="发现的问题", max_length=2000, required=False, help_text=f"{LINES}；没有问题不填",
            widget=forms.Textarea({"rows": 3}),
        )  # fmt: skip
        self.fields["report"] = forms.CharField(
            label="检查报告", max_length=4000, widget=forms.Textarea({"rows": 5})
        )

    def answers(self) -> dict[str, str]:
        """The answers by key of the checklist."""
        return {key: self.cleaned_data[key] for key in self.keys}

    def found(self) -> list[tuple[str, str]]:
        """(behaviour, problem) of every line."""
        behaviour = self.cleaned_data["behaviour"]
        lines = self.cleaned_data["problems"].splitlines()
        return [(behaviour, line.strip()) for line in lines if line.strip()]


# --- Complaints ---


class ComplaintQuery(forms.Form):
    """Which complaints."""

    q = forms.CharField(
        label="举报", required=False, max_length=60,
        widget=forms.TextInput({"placeholder": "编号或被举报对象"}),
    )  # fmt: skip
    state = forms.ChoiceField(label="状态", required=False, choices=[ANY, *Complaint.State.choices])


def place_field(help_text: str) -> forms.CharField:
    """An institution by code or name; the page offers those of the area under the id `places`."""
    return forms.CharField(
        label="定点机构", max_length=200, required=False, help_text=help_text,
        widget=forms.TextInput({"list": "places", "autocomplete": "off"}),
    )  # fmt: skip


class PublicReport(forms.Form):
    """What anybody reports without log-in; who reports is asked, never required."""

    region = forms.ChoiceField(label="统筹地区")
    about = forms.CharField(
        label="被举报的机构或个人", max_length=120, help_text="例如：某医院互联网门诊"
    )
    institution = place_field(
        "知道是哪家定点机构的，请从名单中选择，或填写全称、编码；不清楚可以不填。"
    )
    behaviour = forms.ChoiceField(label="涉嫌的行为", choices=BEHAVIOURS, required=False)
    text = forms.CharField(
        label="举报内容", max_length=4000, widget=forms.Textarea({"rows": 6}),
        help_text="请写明时间、地点、经过和线索。请勿填写他人的身份证号。",
    )  # fmt: skip
    name = forms.CharField(
        label="您的姓名",
        max_length=40,
        required=False,
        help_text="可以匿名；实名举报经查实可获奖励，信息加密保存。",
    )
    phone = forms.RegexField(
        r"^\+?\d[\d-]{5,18}\d$", label="联系电话", required=False,
        error_messages={"invalid": "请填写有效的电话号码。"},
    )  # fmt: skip

    def __init__(self, *args: Any, regions: Sequence[tuple[str, str]], **options: Any):
        super().__init__(*args, **options)
        self.fields["region"] = forms.ChoiceField(
            label="统筹地区", choices=[("", "请选择"), *regions]
        )


class StaffReport(PublicReport):
    """A report that came by telephone, by letter or in person."""

    channel = forms.ChoiceField(label="渠道", choices=Complaint.Channel.choices[1:])
    field_order = ("channel",)

    def __init__(self, *args: Any, regions: Sequence[tuple[str, str]], **options: Any):
        super().__init__(*args, regions=regions, **options)
        self.fields["name"].label, self.fields["phone"].label = "举报人姓名", "举报人电话"
        if len(regions) == 1:
            self.fields["region"].initial = regions[0][0]


class PlaceForm(forms.Form):
    """Which institution a report is about."""

    institution = place_field("从名单中选择，或填写机构全称、编码。")

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self.fields["institution"].required = True


class PayoutForm(forms.Form):
    """When a reward was paid, to whom, by which receipt."""

    on = day_field("发放日")
    receiver = forms.CharField(
        label="领取人", max_length=40, help_text="举报人本人或其委托的人；加密保存，页面显示掩码。"
    )
    receipt = forms.CharField(label="领取凭证号", max_length=60)

    def __init__(self, *args: Any, today: dt.date, **options: Any):
        super().__init__(*args, **options)
        self.fields["on"].required, self.fields["on"].initial = True, today
        self.fields["on"].widget.attrs["max"] = today.isoformat()


class ProgressForm(forms.Form):
    """The number and the query code of a report."""

    number = forms.CharField(label="举报编号", max_length=40)
    code = forms.CharField(label="查询码", max_length=20)


class AnswerForm(forms.Form):
    """How a complaint ends."""

    state = forms.ChoiceField(
        label="结果", choices=[("proven", "查实"), ("unproven", "未查实"), ("declined", "不予受理")]
    )
    recovered = YuanField(
        label="查实金额（元）", required=False, help_text="查实的违规基金；奖励按此计算。"
    )
    text = forms.CharField(
        label="答复", max_length=1000, widget=forms.Textarea({"rows": 3}),
        help_text="举报人凭查询码可以看到，请勿写明他人个人信息。",
    )  # fmt: skip


class CaseOfComplaint(forms.Form):
    """A case from a complaint."""

    title = forms.CharField(label="案由", max_length=120)
    acted_from, acted_until = day_field("行为起日"), day_field("行为止日")
    person_number = forms.CharField(
        label="参保人证件号码", max_length=18, required=False,
        help_text="被举报的是参保人员时填写；只用于查找，案件中显示掩码。",
    )  # fmt: skip

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        for name in ("acted_from", "acted_until"):
            self.fields[name].required = True


# --- Points and restrictions ---


class RestrictionQuery(forms.Form):
    """Which restrictions."""

    q = forms.CharField(
        label="对象", required=False, max_length=60,
        widget=forms.TextInput({"placeholder": "医师编码或科室"}),
    )  # fmt: skip
    kind = forms.ChoiceField(label="类别", required=False, choices=[ANY, *Restriction.Kind.choices])
    on = day_field("时点")


class ConductQuery(forms.Form):
    """Which flags."""

    q = forms.CharField(label="人员", required=False, max_length=60)
    kind = forms.ChoiceField(label="类别", required=False, choices=[ANY, *ConductFlag.Kind.choices])
    state = forms.ChoiceField(
        label="状态", required=False, choices=[ANY, *ConductFlag.State.choices]
    )


class ConductForm(forms.Form):
    """What an act of our own people was."""

    state = forms.ChoiceField(
        label="核查结果", choices=[("explained", "情况属实且合理"), ("referred", "移交处理")]
    )
    note = forms.CharField(label="核查意见", max_length=400, widget=forms.Textarea({"rows": 3}))


class LiftForm(forms.Form):
    """The last day of a restriction that ends early."""

    on = day_field("最后一日")
    reason = forms.CharField(label="理由", max_length=400, widget=forms.Textarea({"rows": 2}))

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self.fields["on"].required = True
