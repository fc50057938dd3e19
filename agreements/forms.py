"""Queries and forms of the agreement pages; the form of a step is made from the procedure's table."""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from django import forms
from django.core.files.uploadedfile import UploadedFile

from agreements.models import AgreementState, Requirement
from audit.procedure import Ask, Procedure, Step
from institutions.documents import LARGEST
from institutions.forms import InstitutionQuery, day_field
from institutions.models import Document, Institution

NOT_SIGNED = "none"
MEGABYTE = 1024 * 1024
MOST_FILES = 10
FILE_TYPES = ".pdf,.jpg,.jpeg,.png,.xlsx"
FILE_HELP = f"PDF、JPG、PNG 或 XLSX，每个不超过 {LARGEST // MEGABYTE} MB，至多 {MOST_FILES} 个"
#: what a deadline filter asks for
DUE_CHOICES = (
    ("", "全部"), ("late", "已逾期"), ("soon", "三个工作日内到期"), ("stopped", "计时停止"),
    ("unknown", "期限未知"),
)  # fmt: skip
SOON = 3  #: working days; how early a deadline turns amber on our pages (a matter of display)


class AgreementQuery(InstitutionQuery):
    """Which institutions by the state of their supplementary agreement on the day, too."""

    agreement = forms.ChoiceField(
        label="补充协议", required=False,
        choices=[("", "全部"), *AgreementState.State.choices, (NOT_SIGNED, "未签订")],
    )  # fmt: skip
    field_order = ("q", "agreement", "on", "region", "price_class", "ownership")


class ApplicationQuery(forms.Form):
    """Which applications: whose, where, how far, how late."""

    q = forms.CharField(
        label="申请", required=False, max_length=60,
        widget=forms.TextInput({"placeholder": "受理编号、机构名称或编码"}),
    )  # fmt: skip
    state = forms.ChoiceField(label="状态", required=False)
    due = forms.ChoiceField(label="期限", required=False, choices=DUE_CHOICES)
    holding = forms.ChoiceField(
        label="由谁办理", required=False,
        choices=[("", "全部"), ("mine", "待我方办理"), ("others", "待其他方办理"), ("done", "已办结")],
    )  # fmt: skip
    phase = forms.ChoiceField(label="阶段", required=False)
    region = forms.ChoiceField(label="所在区域", required=False)
    procedure = forms.ChoiceField(label="办理事项", required=False)

    def __init__(
        self, data: Any, *, regions: Iterable[Any], procedures: Sequence[Procedure], **options: Any
    ):
        super().__init__(data, **options)
        phases = dict.fromkeys(
            state.phase for table in procedures for state in table.states.values() if state.phase
        )
        self._choose("region", [(row.code, row.name) for row in regions])
        self._choose("procedure", [(table.slug, table.title) for table in procedures])
        self._choose("phase", [(phase, phase) for phase in phases])
        self._choose("state", [(table.title, _states(table)) for table in procedures])

    def _choose(self, name: str, choices: Sequence[Any]) -> None:
        field = self.fields[name]
        self.fields[name] = forms.ChoiceField(
            label=field.label, required=False, choices=[("", "全部"), *choices]
        )


def _states(table: Procedure) -> list[tuple[str, str]]:
    return [(f"{table.slug}.{key}", state.label) for key, state in table.states.items()]


class Files(forms.ClearableFileInput):
    """A file input that takes several files."""

    allow_multiple_selected = True


class FilesField(forms.FileField):
    """Uploaded files, each not too large; what they are is looked at when they are stored."""

    def __init__(self, **options: Any):
        options.setdefault("widget", Files({"accept": FILE_TYPES}))
        options.setdefault("help_text", FILE_HELP)
        super().__init__(**options)

    def clean(self, data: Any, initial: Any = None) -> list[UploadedFile]:
        given = [file for file in (data or []) if file]
        if self.required and not given:
            raise forms.ValidationError("请选择文件。", code="required")
        if len(given) > MOST_FILES:
            raise forms.ValidationError(f"一次至多上传 {MOST_FILES} 个文件。")
        for file in given:
            if (file.size or 0) > LARGEST:
                raise forms.ValidationError(f"“{file.name}”超过 {LARGEST // MEGABYTE} MB。")
        return [super(FilesField, self).clean(file, initial) for file in given]


def _text(ask: Ask, lines: int = 0) -> forms.Field:
    attributes = {"rows": lines} if lines else {}
    widget = forms.Textarea(attributes) if lines else forms.TextInput()
    return forms.CharField(max_length=4000 if lines else 200, widget=widget, **_about(ask))


def _about(ask: Ask) -> dict[str, Any]:
    return {"label": ask.label, "required": ask.required, "help_text": ask.help,
            "error_messages": {"required": f"请填写“{ask.label}”。"}}  # fmt: skip


def _field(ask: Ask) -> forms.Field:
    """The form field of one input of a step."""
    if ask.kind == "day":
        field = day_field(ask.label)
        field.required, field.help_text = ask.required, ask.help
        return field
    if ask.kind == "choice":
        return forms.ChoiceField(choices=[("", "请选择"), *ask.choices], **_about(ask))
    if ask.kind == "yes":
        return forms.BooleanField(**_about(ask))
    if ask.kind == "files":
        about = _about(ask)
        return FilesField(**about | {"help_text": ask.help or FILE_HELP})
    return _text(ask, lines={"long": 4, "items": 6}.get(ask.kind, 0))


class StepForm(forms.Form):
    """What a step asks for: its inputs, its day in law by its own name, and a confirmation if grave.

    `version` is what the person saw of the case; a case moved since is refused with 409.
    """

    version = forms.IntegerField(widget=forms.HiddenInput)

    def __init__(self, data: Any = None, files: Any = None, *, step: Step, version: int,
                 today: dt.date):  # fmt: skip
        super().__init__(data, files, auto_id=f"{step.key}_%s", initial={"version": version})
        self.step = step
        for ask in step.asks:
            self.fields[ask.key] = _field(ask)
        if step.day:
            field = day_field(step.day)
            field.required, field.initial = True, today
            field.widget.attrs["max"] = today.isoformat()
            field.error_messages["required"] = f"请填写{step.day}。"
            self.fields["on"] = field
        if step.tone == "danger":
            self.fields["confirmed"] = forms.BooleanField(
                label=f"我已核对，确认办理“{step.label}”",
                error_messages={"required": "请先勾选确认。"},
            )

    @property
    def multipart(self) -> bool:
        return self.is_multipart()

    @property
    def note(self) -> str:
        return self.cleaned_data.get("note", "")

    def facts(self) -> dict[str, Any]:
        """The inputs beside note and files, as they are kept with the move."""
        kept = {}
        for ask in self.step.asks:
            value = self.cleaned_data.get(ask.key)
            if ask.key == "note" or ask.kind == "files" or value in (None, ""):
                continue
            if ask.kind == "items":
                value = [line.strip() for line in value.splitlines() if line.strip()]
            kept[ask.key] = value.isoformat() if isinstance(value, dt.date) else value
        return kept

    def uploads(self) -> dict[str, list[UploadedFile]]:
        """Uploaded files by input."""
        return {
            ask.key: self.cleaned_data[ask.key] for ask in self.step.asks if ask.kind == "files"
        }


class NewApplication(forms.Form):
    """What an institution applies for, in its own words."""

    includes_main = forms.BooleanField(
        label="同时申请定点协议", required=False,
        help_text="尚未纳入定点的实体医疗机构可一并申请定点协议与补充协议。",
    )  # fmt: skip
    intention = forms.CharField(
        label="申请说明", required=False, max_length=2000, widget=forms.Textarea({"rows": 4}),
        help_text="拟开展的“互联网+”医疗服务、科室与联系方式；提交前可在申请中逐项填写条件与材料。",
    )  # fmt: skip
    override_reason = forms.CharField(
        label="先于名单内医院的理由", required=False, max_length=300,
        widget=forms.Textarea({"rows": 2}),
        help_text="名单外的医院一般在名单内医院全部完成后申请；需要提前的，写明理由。",
    )  # fmt: skip

    def __init__(self, *args: Any, together: bool, waves: bool, **options: Any):
        super().__init__(*args, **options)
        if not together:
            del self.fields["includes_main"]
        if not waves:
            del self.fields["override_reason"]


class StatementForm(forms.Form):
    """How an institution meets a condition, with evidence; what is stored already can be kept."""

    statement = forms.CharField(
        label="情况说明", max_length=2000, required=False, widget=forms.Textarea({"rows": 3})
    )
    keep = forms.ModelMultipleChoiceField(
        label="已上传的材料（取消勾选即移除）", required=False, queryset=Document.objects.none(),
        widget=forms.CheckboxSelectMultiple,
    )  # fmt: skip
    evidence = FilesField(label="上传证明材料", required=False)

    def __init__(self, data: Any = None, files: Any = None, *, row: Requirement):
        stored = row.documents.all()
        super().__init__(
            data, files, auto_id=f"state_{row.pk}_%s",
            initial={"statement": row.statement, "keep": [found.pk for found in stored]},
        )  # fmt: skip
        if stored:
            kept = cast(forms.ModelMultipleChoiceField, self.fields["keep"])
            kept.queryset = stored
        else:
            del self.fields["keep"]

    def clean(self) -> dict[str, Any]:
        found = super().clean() or self.cleaned_data
        given = found.get("statement") or found.get("evidence") or found.get("keep")
        if not self.errors and not given:
            self.add_error("statement", "请填写情况说明或上传证明材料。")
        return found


class JudgementForm(forms.Form):
    """Met or not, for every line of a checklist at once; a line that is not met says why."""

    def __init__(self, data: Any = None, *, part: str, requirements: Sequence[Requirement]):
        super().__init__(data, auto_id="judge_%s")
        self.part, self.requirements = part, requirements
        place = {"form": f"judge-{part}"}  # the lines stand beside the form, not in it
        for row in requirements:
            given = {True: "yes", False: "no", None: ""}[row.met]
            self.fields[f"met_{row.pk}"] = forms.ChoiceField(
                label=f"{row.no} {row.text}", required=False, initial=given,
                choices=[("yes", "符合"), ("no", "不符合")], widget=forms.RadioSelect(place),
            )  # fmt: skip
            self.fields[f"remark_{row.pk}"] = forms.CharField(
                label=f"第 {row.no} 项审核意见", required=False, max_length=300, initial=row.remark,
                widget=forms.TextInput(
                    {"placeholder": "不符合时必填：存在的问题与完善要求", **place}
                ),
            )  # fmt: skip

    def of(self, row: Requirement) -> Mapping[str, Any]:
        """The two fields of a line."""
        return {"met": self[f"met_{row.pk}"], "remark": self[f"remark_{row.pk}"]}

    def clean(self) -> dict[str, Any]:
        found = super().clean() or self.cleaned_data
        for row in self.requirements:
            if found.get(f"met_{row.pk}") == "no" and not found.get(f"remark_{row.pk}"):
                self.add_error(f"remark_{row.pk}", "请写明存在的问题与完善要求。")
        return found

    def judged(self) -> list[tuple[Requirement, bool, str]]:
        """Lines with an answer that differs from what is stored."""
        answers = []
        for row in self.requirements:
            answer = self.cleaned_data[f"met_{row.pk}"]
            remark = self.cleaned_data[f"remark_{row.pk}"]
            if answer and (answer == "yes", remark) != (row.met, row.remark):
                answers.append((row, answer == "yes", remark))
        return answers


class ObjectionForm(forms.Form):
    """An objection against signing, as the agency records it."""

    raised_by = forms.CharField(label="异议人", max_length=60)
    text = forms.CharField(label="异议内容", max_length=2000, widget=forms.Textarea({"rows": 3}))
    on = day_field("提出日")

    def __init__(self, data: Any = None, **options: Any):
        super().__init__(data, auto_id="objection_%s", **options)
        self.fields["on"].required = True


class AnswerForm(forms.Form):
    """The decision on an objection with its reasons."""

    upheld = forms.TypedChoiceField(
        label="处理结果", coerce=lambda value: value == "yes",
        choices=[("", "请选择"), ("no", "异议不成立"), ("yes", "异议成立")],
    )  # fmt: skip
    answer = forms.CharField(label="处理意见", max_length=2000, widget=forms.Textarea({"rows": 3}))


class PublicRollQuery(forms.Form):
    """What the public may ask of the roll: area, kind of party, day, words."""

    q = forms.CharField(
        label="机构", required=False, max_length=60,
        widget=forms.TextInput({"placeholder": "名称、曾用名、互联网医院名称或编码", "type": "search"}),
    )  # fmt: skip
    region = forms.ChoiceField(label="所在区域", required=False)
    on = forms.DateField(
        label="日期", widget=forms.DateInput({"type": "date"}, "%Y-%m-%d"),
        input_formats=["%Y-%m-%d"],
    )  # fmt: skip
    kind = forms.ChoiceField(
        label="机构类别", required=False, choices=[("", "全部类别"), *Institution.Kind.choices]
    )

    def __init__(self, data: Any, *, regions: Iterable[tuple[str, str]]):
        super().__init__(data, auto_id="public_%s")
        self.fields["region"] = forms.ChoiceField(
            label="所在区域", required=False, choices=[("", "全部区域"), *regions]
        )
