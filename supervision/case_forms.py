"""Queries and forms of the pages of supervision cases."""

import datetime as dt
from collections.abc import Mapping
from typing import Any

from django import forms

from agreements.forms import FILE_HELP, FILE_TYPES
from audit.procedure import PROCEDURES
from institutions.departments import department
from institutions.documents import LARGEST
from institutions.forms import day_field
from institutions.money import MoneyError, fen
from settlement.models import Scheme
from supervision import law
from supervision.models import CaseEvidence, Sanction, SupervisionCase
from supervision.sanctions import DEPARTMENT, departments_of
from supervision.writs import table_of

ANY = ("", "全部")
BECAUSE = "损失已由另一案件计入的须填写；一笔损失只在一案计入。"


class YuanField(forms.CharField):
    """An amount in yuan, kept as fen; empty is None."""

    def clean(self, value: Any) -> int | None:
        text = super().clean(value).strip()
        if not text:
            return None
        try:
            return fen(text)
        except MoneyError:
            raise forms.ValidationError("应为金额（元），至多两位小数，如 12.00。") from None


class CaseQuery(forms.Form):
    """Which cases."""

    q = forms.CharField(
        label="案件", required=False, max_length=60,
        widget=forms.TextInput({"placeholder": "案号、案由或对象"}),
    )  # fmt: skip
    state = forms.ChoiceField(label="状态", required=False)
    subject = forms.ChoiceField(
        label="对象类别", required=False, choices=[ANY, *SupervisionCase.Subject.choices]
    )
    route = forms.ChoiceField(
        label="途径", required=False, choices=[ANY, *SupervisionCase.Route.choices]
    )

    def __init__(self, data: Any, **options: Any):
        super().__init__(data, **options)
        states = PROCEDURES["case"].states.values()
        self.fields["state"] = forms.ChoiceField(
            label="状态", required=False, choices=[ANY, *((row.key, row.label) for row in states)]
        )


class CaseForm(forms.Form):
    """What a case is opened with."""

    title = forms.CharField(label="案由", max_length=120, help_text="例如：涉嫌重复收取诊察费")
    subject_kind = forms.ChoiceField(label="对象类别", choices=SupervisionCase.Subject.choices)
    institution = forms.CharField(
        label="医疗机构编码", max_length=12, required=False,
        help_text="行为发生的机构；对象是参保人员时可不填。",
    )  # fmt: skip
    practitioner = forms.CharField(
        label="医师、药师、护士编码", max_length=20, required=False,
        help_text="对象是医师、药师或护士时填写。",
    )  # fmt: skip
    person_number = forms.CharField(
        label="参保人证件号码", max_length=18, required=False,
        help_text="对象是参保人员时填写；只用于查找，案件中显示掩码。",
    )  # fmt: skip
    acted_from = day_field("行为起日")
    acted_until = day_field("行为止日")
    origin = forms.ChoiceField(
        label="案件来源", choices=SupervisionCase.Origin.choices,
        initial=SupervisionCase.Origin.HAND,
    )  # fmt: skip
    origin_ref = forms.CharField(label="来源编号", max_length=80, required=False)
    summary = forms.CharField(label="线索摘要", max_length=2000, widget=forms.Textarea({"rows": 4}))
    because = forms.CharField(label="并列理由", max_length=200, required=False, help_text=BECAUSE)

    def __init__(self, *args: Any, of_finding: bool, **options: Any):
        super().__init__(*args, **options)
        for name in ("acted_from", "acted_until"):
            self.fields[name].required = True
        if not of_finding:
            del self.fields["because"]


class InspectorForm(forms.Form):
    """Who inquires."""

    username = forms.ChoiceField(label="检查人员")
    certificate = forms.CharField(label="执法证号", max_length=40)
    lead = forms.BooleanField(label="主办", required=False)

    def __init__(
        self, *args: Any, case: SupervisionCase, people: list[tuple[str, str]], **options: Any
    ):
        super().__init__(*args, **options)
        if not table_of(case).data["certificates"]:
            del self.fields["certificate"]
        self.fields["username"] = forms.ChoiceField(
            label="检查人员", choices=[("", "请选择"), *people]
        )


class ReplaceForm(InspectorForm):
    """Who takes the place of a recused inspector."""

    field_order: tuple[str, ...] = ("inspector", "username", "certificate")

    def __init__(self, *args: Any, inspectors: list[tuple[int, str]], **options: Any):
        super().__init__(*args, **options)
        del self.fields["lead"]
        self.fields["inspector"] = forms.TypedChoiceField(
            label="已回避的检查人员", coerce=int, choices=inspectors
        )
        self.order_fields(self.field_order)


class RecusalForm(forms.Form):
    """Why an inspector should stand back."""

    reason = forms.CharField(label="回避理由", max_length=400, widget=forms.Textarea({"rows": 2}))
    field_order: tuple[str, ...] = ("inspector", "reason")

    def __init__(self, *args: Any, inspectors: list[tuple[int, str]], **options: Any):
        super().__init__(*args, **options)
        self.fields["inspector"] = forms.TypedChoiceField(
            label="检查人员", coerce=int, choices=inspectors
        )
        self.order_fields(self.field_order)


class RecusalRecord(RecusalForm):
    """What a party asked on paper or by word of mouth, and when it came."""

    applicant = forms.CharField(label="申请人", max_length=120)
    on = day_field("收到日")
    field_order: tuple[str, ...] = ("inspector", "applicant", "on", "reason")

    def __init__(self, *args: Any, today: dt.date, **options: Any):
        super().__init__(*args, **options)
        self.fields["on"].required, self.fields["on"].initial = True, today
        self.fields["on"].widget.attrs["max"] = today.isoformat()
        self.order_fields(self.field_order)


class ServiceForm(forms.Form):
    """How a paper was served, to whom, when."""

    method = forms.ChoiceField(label="送达方式")
    receiver = forms.CharField(label="签收人", max_length=80)
    on = day_field("送达日")

    def __init__(self, *args: Any, methods: Mapping[str, str], today: dt.date, **options: Any):
        super().__init__(*args, **options)
        self.fields["method"] = forms.ChoiceField(label="送达方式", choices=[*methods.items()])
        self.fields["on"].required, self.fields["on"].initial = True, today
        self.fields["on"].widget.attrs["max"] = today.isoformat()


class RecusalDecision(RecusalForm, ServiceForm):
    """Whether somebody stands back, why, and how the decision was served."""

    grant = forms.ChoiceField(label="决定", choices=[("yes", "同意回避"), ("no", "驳回申请")])
    field_order: tuple[str, ...] = ("inspector", "grant", "reason", "method", "receiver", "on")

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self.fields["reason"].label = "决定理由"


class ReviewDecision(ServiceForm):
    """Whether a decision is changed on review, why, and how the paper was served."""

    grant = forms.ChoiceField(
        label="决定", choices=[("yes", "变更原决定，提前解除"), ("no", "维持原决定")]
    )
    reason = forms.CharField(label="决定理由", max_length=400, widget=forms.Textarea({"rows": 2}))
    field_order: tuple[str, ...] = ("grant", "reason", "method", "receiver", "on")

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self.order_fields(self.field_order)


class ClaimEvidence(forms.Form):
    """A settled claim as evidence."""

    claim_no = forms.CharField(label="单据号", max_length=40)
    institution = forms.CharField(
        label="医疗机构编码", max_length=12, required=False, help_text="两家机构有同号单据时填写。"
    )
    loss = YuanField(
        label="造成的损失（元）", help_text="不超过统筹、大病、救助和个人账户已支付的金额。"
    )
    note = forms.CharField(label="证明内容", max_length=200)
    because = forms.CharField(label="并列理由", max_length=200, required=False, help_text=BECAUSE)

    def __init__(self, *args: Any, case: SupervisionCase, **options: Any):
        super().__init__(*args, **options)
        if case.institution_code:
            del self.fields["institution"]


class FindingEvidence(forms.Form):
    """A finding as evidence."""

    because = forms.CharField(label="并列理由", max_length=200, required=False, help_text=BECAUSE)
    field_order: tuple[str, ...] = ("finding", "because")

    def __init__(self, *args: Any, findings: list[tuple[int, str]], **options: Any):
        super().__init__(*args, **options)
        self.fields["finding"] = forms.TypedChoiceField(
            label="审核疑点", coerce=int, choices=findings
        )
        self.order_fields(self.field_order)


class FileEvidence(forms.Form):
    """A document or a record as evidence."""

    kind = forms.ChoiceField(
        label="类别",
        choices=[(key, label) for key, label in CaseEvidence.Kind.choices
                 if key in ("document", "record")],
    )  # fmt: skip
    title = forms.CharField(label="名称与证明内容", max_length=300)
    loss = YuanField(
        label="证明的损失（元）", required=False,
        help_text="测算书等证明的、所列单据之外的损失；没有的不填。",
    )  # fmt: skip
    file = forms.FileField(
        label="文件", widget=forms.ClearableFileInput({"accept": FILE_TYPES}), help_text=FILE_HELP
    )

    internal = forms.BooleanField(
        label="内部材料，不向当事人公开", required=False,
        help_text="例如证人、举报人的询问笔录；证据清单只列类别和摘要，当事人看不到名称和内容。",
    )  # fmt: skip

    def clean_file(self) -> Any:
        """Not larger than a file may be."""
        file = self.cleaned_data["file"]
        if (file.size or 0) > LARGEST:
            raise forms.ValidationError("文件太大。")
        return file


class MeasureForm(forms.Form):
    """A measure with its size; the article's range is checked when it is proposed."""

    kind = forms.ChoiceField(label="措施")
    article = forms.ChoiceField(
        label="适用条款", required=False, help_text="罚款、责令科室暂停、暂停联网结算须选择。"
    )
    target = forms.CharField(
        label="对象", max_length=64, required=False, help_text="医师、药师、护士的编码。"
    )
    department = forms.ChoiceField(label="科室", required=False)
    amount = YuanField(label="金额（元）", required=False, help_text="罚款或追回金额。")
    months = forms.IntegerField(label="期限（月）", required=False, min_value=1, max_value=60)
    points = forms.IntegerField(label="分值", required=False, min_value=1, max_value=100)
    scheme = forms.ChoiceField(
        label="险种", required=False, choices=[("", "—"), *Scheme.choices],
        help_text="追回基金须选择。",
    )  # fmt: skip
    condition = forms.ChoiceField(
        label="情形", required=False, choices=[("", "—"), *Sanction.Condition.choices],
        help_text="第38条的责令暂停、第39条的罚款、第41条的罚款须选择，并在说明中写明事实。",
    )  # fmt: skip
    note = forms.CharField(label="说明", max_length=400, required=False)

    def __init__(self, *args: Any, case: SupervisionCase, **options: Any):
        super().__init__(*args, **options)
        open_to = law.routes()[case.route].measures if case.route else law.measures()
        kinds = [(row.key, row.label) for row in law.measures().values() if row.key in open_to]
        sized = [row for row in law.decree().articles.values()
                 if row.times or row.amount or row.department_months or row.online_months]  # fmt: skip
        self.fields["kind"] = forms.ChoiceField(label="措施", choices=[("", "请选择"), *kinds])
        self.fields["article"] = forms.ChoiceField(
            label="适用条款", required=False, help_text=self.fields["article"].help_text,
            choices=[("", "—"), *((row.number, f"第{row.number}条") for row in sized)],
        )  # fmt: skip
        self.fields["department"] = forms.ChoiceField(
            label="科室", required=False,
            help_text="责令科室暂停须选择；暂停一级科目的，其下二级科目一并暂停。",
            choices=[("", "—"), *((code, department(code)) for code in departments_of(case))],
        )  # fmt: skip

    def clean(self) -> dict[str, Any]:
        """What `sanctions.propose` takes: a department is the target of its suspension."""
        given = super().clean() or self.cleaned_data
        chosen = given.pop("department", "")
        if given.get("kind") == DEPARTMENT:
            given["target"] = chosen
            if not chosen and "department" not in self.errors:
                self.add_error("department", "请选择科室")
        return given


class DisclosureForm(forms.Form):
    """What the public reads of a case."""

    text = forms.CharField(
        label="公开内容", max_length=2000, widget=forms.Textarea({"rows": 4}),
        help_text="不写个人姓名和证件号码；经另一人审批后在公开页面公布。",
    )  # fmt: skip


class ReasonForm(forms.Form):
    """Why."""

    reason = forms.CharField(label="理由", max_length=300, widget=forms.Textarea({"rows": 2}))


class InformForm(forms.Form):
    """To whom a decided case is told, and what is asked."""

    organ = forms.ChoiceField(label="部门")
    text = forms.CharField(label="通报内容", max_length=2000, widget=forms.Textarea({"rows": 4}))

    def __init__(self, *args: Any, organs: list[tuple[str, str]], **options: Any):
        super().__init__(*args, **options)
        self.fields["organ"] = forms.ChoiceField(label="部门", choices=organs)


class LoanForm(forms.Form):
    """Why a file is asked for, and until when."""

    purpose = forms.CharField(label="借阅事由", max_length=300)
    until = day_field("应还日")

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self.fields["until"].required = True


class Nothing(forms.Form):
    """An act that asks for nothing but to be done."""


class PickMeasure(forms.Form):
    """One of the proposed measures."""

    def __init__(self, *args: Any, measures: list[tuple[int, str]], **options: Any):
        super().__init__(*args, **options)
        self.fields["sanction"] = forms.TypedChoiceField(label="措施", coerce=int, choices=measures)


class EndForm(PickMeasure):
    """Which measure cannot be carried out, and why."""

    reason = forms.CharField(
        label="终结执行的理由", max_length=300, widget=forms.Textarea({"rows": 2}),
        help_text="例如：协议已届满，单据已冲正，对象已注销。",
    )  # fmt: skip
    field_order: tuple[str, ...] = ("sanction", "reason")

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self.order_fields(self.field_order)


class ExecuteForm(PickMeasure):
    """What was carried out, when, by which record."""

    record = forms.CharField(
        label="执行记录", max_length=400, widget=forms.Textarea({"rows": 2}),
        help_text="缴款凭证号、整改情况等。",
    )  # fmt: skip
    on = day_field("执行日")
    field_order: tuple[str, ...] = ("sanction", "on", "record")

    def __init__(self, *args: Any, today: dt.date, **options: Any):
        super().__init__(*args, **options)
        self.fields["on"].required, self.fields["on"].initial = True, today
        self.order_fields(self.field_order)
