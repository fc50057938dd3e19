"""Queries and forms of signed agreements and of their yearly assessment."""

from collections.abc import Iterable, Mapping
from typing import Any

from django import forms

from agreements.assessment import Scheme
from agreements.forms import FILE_HELP, FILE_TYPES
from agreements.models import Agreement, AgreementState, Assessment, Contract
from agreements.terms import Advice
from audit.text import rate, yuan
from institutions.documents import LARGEST
from institutions.forms import day_field

NO_STATE = "none"
REASON = AgreementState._meta.get_field("reason").max_length
CLAUSE = AgreementState._meta.get_field("clause").max_length
WHY = Contract._meta.get_field("reason").max_length
LONGEST = 1024 * 1024  #: bytes of a PKCS#12 file
REMARK = Assessment._meta.get_field("remark").max_length
ENDS = (
    ("", "全部"), ("30", "30 日内到期"), ("60", "60 日内到期"), ("90", "90 日内到期"),
    ("over", "已过终止日"),
)  # fmt: skip
MEGABYTE = 1024 * 1024


class AgreementsQuery(forms.Form):
    """Which agreements, by their state on a day."""

    q = forms.CharField(
        label="协议", required=False, max_length=60,
        widget=forms.TextInput({"placeholder": "协议编号、机构名称或编码"}),
    )  # fmt: skip
    state = forms.ChoiceField(
        label="状态", required=False,
        choices=[("", "全部"), *AgreementState.State.choices, (NO_STATE, "当日未生效")],
    )  # fmt: skip
    ends = forms.ChoiceField(label="到期", required=False, choices=ENDS)
    on = day_field("时点")
    kind = forms.ChoiceField(
        label="类型", required=False, choices=[("", "全部"), *Agreement.Kind.choices]
    )
    region = forms.ChoiceField(label="所在区域", required=False)

    def __init__(self, data: Any, *, regions: Iterable[Any], **options: Any):
        super().__init__(data, **options)
        self.fields["region"] = region_field(regions)


def region_field(regions: Iterable[Any]) -> forms.ChoiceField:
    choices = [("", "全部"), *((row.code, row.name) for row in regions)]
    return forms.ChoiceField(label="所在区域", required=False, choices=choices)


class Act(forms.Form):
    """A form of the page of an agreement; `seen` is the state of affairs that the person saw."""

    seen = forms.IntegerField(widget=forms.HiddenInput)

    def __init__(self, data: Any = None, files: Any = None, *, name: str, **options: Any):
        super().__init__(data, files, auto_id=f"{name}_%s", **options)

    @property
    def multipart(self) -> bool:
        return self.is_multipart()


class DecisionForm(Act):
    """From which day, why, by which clause."""

    on = day_field("生效日")
    reason = forms.CharField(
        label="理由", max_length=REASON, widget=forms.Textarea({"rows": 3}),
        error_messages={"required": "请写明理由。"},
    )  # fmt: skip
    clause = forms.CharField(
        label="依据条款", max_length=CLAUSE, error_messages={"required": "请填写依据的文件和条款。"},
        help_text="文件字号与条款，例如协议约定的条款或政策文件的条款。",
    )  # fmt: skip

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self.fields["on"].required = True
        self.fields["on"].error_messages["required"] = "请填写生效日。"


class DismissForm(forms.Form):
    """Nothing follows: why."""

    reason = forms.CharField(
        label="理由", max_length=REASON, widget=forms.Textarea({"rows": 2}),
        error_messages={"required": "请写明理由。"},
    )  # fmt: skip


def file_field(label: str, **options: Any) -> forms.FileField:
    widget = forms.ClearableFileInput({"accept": FILE_TYPES})
    return forms.FileField(label=label, widget=widget, help_text=FILE_HELP, **options)


class PaperForm(Act):
    """The agreement signed on paper afterwards."""

    on = day_field("补签日")
    file = file_field("纸质协议扫描件", error_messages={"required": "请上传扫描件。"})

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self.fields["on"].required = True

    def clean_file(self) -> Any:
        return small(self.cleaned_data["file"])


class OfferForm(Act):
    """The new term to be signed online: until when (the supplementary one ends with the main one).

    The latest assessment is shown; a renewal that it advises against says why.
    """

    valid_until = day_field("新协议终止日")
    number = forms.CharField(
        label="新协议编号", required=False, max_length=60, help_text="留空由系统按序编号。"
    )
    reason = forms.CharField(
        label="续签理由", required=False, max_length=WHY, widget=forms.Textarea({"rows": 2}),
        error_messages={"required": "考核结果不建议直接续签，请写明理由。"},
    )  # fmt: skip

    def __init__(self, *args: Any, own_end: bool, advice: Advice, **options: Any):
        super().__init__(*args, **options)
        if own_end:
            self.fields["valid_until"].required = True
        else:
            del self.fields["valid_until"]
        self.fields["reason"].required = advice.against
        self.fields["reason"].help_text = _result(advice)


def _result(advice: Advice) -> str:
    row = advice.result
    if row is None:
        return "该机构没有年度考核结果。"
    return (
        f"{row.year}年度考核{yuan(row.total)}分，支付系数{rate(row.coefficient)}，{row.renewal}"
        f"{'（示例参数）' if row.example else ''}。"
    )


class RenewalForm(OfferForm):
    """The new term, signed on paper already."""

    signed_on = day_field("签订日")
    file = file_field("双方签署的纸质协议", error_messages={"required": "请上传双方签署的文件。"})
    field_order = ("seen", "signed_on", "valid_until", "number", "reason", "file")

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self.fields["signed_on"].required = True

    def clean_file(self) -> Any:
        return small(self.cleaned_data["file"])


class KeyForm(forms.Form):
    """A signing certificate with its key, as a licensed authority hands it out."""

    file = forms.FileField(
        label="签名证书文件", widget=forms.ClearableFileInput({"accept": ".p12,.pfx"}),
        help_text="依法设立的电子认证服务机构颁发的 PKCS#12 文件（.p12、.pfx），不超过 1 MB。",
        error_messages={"required": "请选择证书文件。"},
    )  # fmt: skip
    password = forms.CharField(
        label="证书口令", max_length=128, strip=False,
        widget=forms.PasswordInput({"autocomplete": "off"}),
        help_text="口令与私钥加密保存，不在任何页面显示。",
        error_messages={"required": "请输入证书口令。"},
    )  # fmt: skip

    def clean_file(self) -> Any:
        file = self.cleaned_data["file"]
        if (file.size or 0) > LONGEST:
            raise forms.ValidationError("证书文件超过 1 MB。")
        return file


def small(file: Any) -> Any:
    """A file that is not too large."""
    if file and (file.size or 0) > LARGEST:
        raise forms.ValidationError(f"“{file.name}”超过 {LARGEST // MEGABYTE} MB。")
    return file


# --- Assessment ---


class AssessmentsQuery(forms.Form):
    """Which institutions' results of a year."""

    q = forms.CharField(
        label="医疗机构", required=False, max_length=60,
        widget=forms.TextInput({"placeholder": "名称、别名或编码"}),
    )  # fmt: skip
    year = forms.TypedChoiceField(label="考核年度", coerce=int)
    result = forms.ChoiceField(
        label="考核结果", required=False,
        choices=[("", "全部"), ("done", "已考核"), (NO_STATE, "未考核")],
    )  # fmt: skip
    region = forms.ChoiceField(label="所在区域", required=False)

    def __init__(
        self, data: Any, *, years: Iterable[int], regions: Iterable[Any], **options: Any
    ):  # fmt: skip
        super().__init__(data, **options)
        choices = [(year, f"{year} 年") for year in years]
        self.fields["year"] = forms.TypedChoiceField(label="考核年度", coerce=int, choices=choices)
        self.fields["region"] = region_field(regions)


class ScoreForm(forms.Form):
    """A score for every indicator; a correction says why. `seen` is the result seen, 0 for none."""

    seen = forms.IntegerField(widget=forms.HiddenInput)

    def __init__(
        self, data: Any = None, *, scheme: Scheme, before: Assessment | None, **options: Any
    ):
        given: Mapping[str, int] = before.scores if before else {}
        initial = {f"score_{key}": value for key, value in given.items()}
        super().__init__(
            data, auto_id="score_%s", initial=initial | {"seen": before.pk if before else 0},
            **options,
        )  # fmt: skip
        self.scheme = scheme
        for one in scheme.indicators:
            self.fields[f"score_{one.key}"] = forms.IntegerField(
                label=one.name, min_value=0, max_value=scheme.full,
                help_text=f"权重 {rate(one.weight)}，0 至 {scheme.full} 分",
                error_messages={"required": f"请填写“{one.name}”的得分。"},
            )  # fmt: skip
        self.fields["remark"] = forms.CharField(
            label="更正理由" if before else "考核说明", required=before is not None,
            max_length=REMARK, widget=forms.Textarea({"rows": 3}),
            error_messages={"required": "更正考核结果须写明理由。"},
        )  # fmt: skip

    def scores(self) -> dict[str, int]:
        """The scores by indicator."""
        return {one.key: self.cleaned_data[f"score_{one.key}"] for one in self.scheme.indicators}
