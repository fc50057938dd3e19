"""Forms of insured persons: looking somebody up, what may be recorded, extracts, filings."""

from collections.abc import Iterable, Sequence
from typing import Any

from django import forms

from agreements.forms import FilesField
from institutions.exchange.columns import MAX_BYTES, MAX_ROWS
from institutions.forms import day_field
from institutions.models import Region
from settlement.claim_forms import PersonForm
from settlement.models import DiseaseFiling, Entitlement, RegisterDifference, Scheme
from settlement.register.commands import CHANGEABLE, NAME_MOST
from settlement.reimbursement_forms import Yuan

MEGABYTE = 1024 * 1024
CHOOSE = ("", "请选择")
Standing = Entitlement.Standing


def _day(label: str, *, required: bool = True, help_text: str = "") -> forms.DateField:
    field = day_field(label)
    field.required, field.help_text = required, help_text
    return field


def _text(label: str, most: int, *, required: bool = True, help_text: str = "") -> forms.CharField:
    return forms.CharField(
        label=label, required=required, max_length=most, help_text=help_text,
        widget=forms.TextInput({"autocomplete": "off"}),
    )  # fmt: skip


def _choice(label: str, choices: Iterable[Any]) -> forms.ChoiceField:
    return forms.ChoiceField(label=label, choices=[CHOOSE, *choices])


SCHEMES = tuple(Scheme.choices)
SOURCE = "文号、参保登记表或缴费凭证号"


class LookUp(PersonForm):
    """Who is looked for."""

    credential = forms.CharField(
        label="身份证号", max_length=40,
        widget=forms.TextInput({"autocomplete": "off", "spellcheck": "false", "inputmode": "text"}),
        help_text="18 位；号码只用于计算哈希，不显示、不记录。",
        error_messages={"required": "请输入身份证号。"},
    )  # fmt: skip


class RegionChoice(forms.Form):
    """A form with the areas inside the reader's own region."""

    def __init__(self, *args: Any, regions: Sequence[Region] = (), **options: Any):
        super().__init__(*args, **options)
        if "region_code" in self.fields:
            choices = [(row.code, row.name) for row in regions]
            field = _choice("参保地", choices)
            field.required = self.fields["region_code"].required
            self.fields["region_code"] = field


class EnrolForm(RegionChoice):
    """参保登记."""

    number = _text("身份证号", 18, help_text="18 位，按校验位核对")
    name = _text("姓名", NAME_MOST)
    region_code = forms.ChoiceField(label="参保地")
    scheme = _choice("险种", SCHEMES)
    valid_from = _day("参保生效日")
    waiting_until = _day("等待期至", required=False, help_text="没有等待期的留空")
    phone = _text(
        "联系电话", 20, required=False, help_text="可不填；加密保存，页面只显示首三末四位"
    )
    source = _text("依据", 200, help_text=SOURCE)


class StandingForm(forms.Form):
    """欠费暂停、恢复、等待期、终止."""

    standing = _choice("参保状态", [(value, Standing(value).label) for value in CHANGEABLE])
    valid_from = _day("自")
    valid_until = _day("至", required=False, help_text="留空：直至另有登记")
    source = _text("依据", 200, help_text=SOURCE)


class ConvertForm(RegionChoice):
    """险种转换."""

    scheme = _choice("转为", SCHEMES)
    region_code = forms.ChoiceField(label="参保地", required=False)
    valid_from = _day("自")
    waiting_until = _day("等待期至", required=False, help_text="没有等待期的留空")
    source = _text("依据", 200, help_text=SOURCE)


class DeathForm(forms.Form):
    """死亡登记."""

    died_on = _day("死亡日", help_text="当日仍享受待遇，次日起终止")
    source = _text("依据", 200, help_text="死亡证明或比对结果")
    confirmed = forms.BooleanField(label="我已核对，确认登记死亡")


class CorrectForm(RegionChoice):
    """更正: what was recorded of some days was wrong."""

    scheme = _choice("险种", SCHEMES)
    standing = _choice("参保状态", Standing.choices)
    region_code = forms.ChoiceField(label="参保地", required=False)
    valid_from = _day("自")
    valid_until = _day("至", required=False, help_text="留空：更正至此后全部登记")
    source = _text("依据", 200, help_text=SOURCE)
    reason = _text("更正原因", 200, help_text="更正前的登记永久保留，可按“当时所知”查询")


class IdentityForm(forms.Form):
    """Name and telephone."""

    name = _text("更正后的姓名", NAME_MOST, required=False)
    phone = _text("更正后的电话", 20, required=False)
    reason = _text("更正原因", 200, help_text="记入全程留痕；姓名和电话本身不记")


class BalanceForm(forms.Form):
    """The balance of the personal account."""

    balance = Yuan("个人账户余额（元）", help_text="登记时的余额，已扣除此前在本门户结算支付的金额")
    reason = _text("登记原因", 200, help_text="余额来源，如个人账户系统对账单")


class RevealForm(forms.Form):
    """Why the full numbers are needed."""

    reason = _text("查看原因", 120, help_text="查看行为将记入全程留痕")


# --- Extracts ---


class SheetForm(forms.Form):
    """An extract to import, or to compare with."""

    file = forms.FileField(
        label="文件", widget=forms.ClearableFileInput({"accept": ".csv,.xlsx"}),
        help_text=f"XLSX 或 CSV，至多 {MAX_ROWS // 10_000} 万行、{MAX_BYTES // MEGABYTE} MB；"
        "编码自动识别（UTF-8、GBK）。",
        error_messages={"required": "请选择文件。", "empty": "文件是空的。"},
    )  # fmt: skip

    def clean_file(self):
        """Too large a file is refused before it is read."""
        file = self.cleaned_data["file"]
        if file.size > MAX_BYTES:
            raise forms.ValidationError(f"文件超过 {MAX_BYTES // MEGABYTE} MB 上限。")
        return file


class CompareForm(SheetForm):
    """An extract and the day as of which it is compared."""

    on = _day("核对时点", help_text="比较这一天双方的险种、状态与起止日")
    field_order = ("on", "file")


class DifferenceQuery(forms.Form):
    """Which differences."""

    kind = forms.ChoiceField(
        label="差异", required=False, choices=[("", "全部"), *RegisterDifference.Kind.choices]
    )
    state = forms.ChoiceField(
        label="处理", required=False, choices=[("", "全部"), *RegisterDifference.State.choices]
    )


class DecideForm(forms.Form):
    """Which differences are decided how, and why."""

    action = forms.ChoiceField(choices=[("adopt", ""), ("keep", "")])
    reason = forms.CharField(
        label="处理理由", max_length=200,
        help_text="先填理由，再在表中勾选差异并选择处理方式；每一处都记入全程留痕。",
        widget=forms.TextInput({"autocomplete": "off", "form": "differences-bulk"}),
    )  # fmt: skip
    selected = forms.TypedMultipleChoiceField(coerce=int, required=False)
    all_matching = forms.BooleanField(required=False)

    def __init__(self, data: Any, *, known: Iterable[int]):
        super().__init__(data)
        self.fields["selected"] = forms.TypedMultipleChoiceField(
            coerce=int, required=False, choices=[(key, key) for key in known]
        )


# --- Filings ---


class FilingQuery(forms.Form):
    """Which applications."""

    q = forms.CharField(
        label="认定号",
        required=False,
        max_length=40,
        widget=forms.TextInput({"autocomplete": "off"}),
    )
    state = forms.ChoiceField(label="状态", required=False)
    code = forms.ChoiceField(label="病种", required=False)

    def __init__(self, data: Any, *, states: Iterable[Any], codes: Iterable[Any]):
        super().__init__(data, auto_id="filing_%s")
        for name, choices in (("state", states), ("code", codes)):
            self.fields[name] = forms.ChoiceField(
                label=self.fields[name].label, required=False, choices=[("", "全部"), *choices]
            )


class FilingForm(forms.Form):
    """An application: for whom, which disease, with which materials."""

    number = _text("身份证号", 18, help_text="18 位；须与参保登记的姓名一致")
    name = _text("姓名", NAME_MOST)
    code = forms.ChoiceField(label="病种")
    reason = forms.CharField(
        label="申请说明", required=False, max_length=DiseaseFiling._meta.get_field("reason").max_length,
        widget=forms.Textarea({"rows": 3}),
    )  # fmt: skip

    def __init__(
        self, data: Any = None, files: Any = None, *, diseases: Iterable[Any],
        materials: Iterable[tuple[str, str]], known: bool = False,
    ):  # fmt: skip
        super().__init__(data, files)
        self.fields["code"] = _choice("病种", diseases)
        if known:  # a renewal: the person and the disease are given
            for name in ("number", "name", "code"):
                del self.fields[name]
        self.materials = dict(materials)
        for key, label in self.materials.items():
            self.fields[f"file_{key}"] = FilesField(label=label, required=False)

    def papers(self) -> list[tuple[str, str, bytes]]:
        """What was uploaded, by material."""
        return filing_files(self, self.materials)


def filing_files(form: forms.Form, materials: Iterable[str]) -> list[tuple[str, str, bytes]]:
    """The uploads of a form with a field for each material."""
    return [
        (key, file.name or key, file.read())
        for key in materials
        for file in form.cleaned_data.get(f"file_{key}") or ()
    ]


class PapersForm(forms.Form):
    """More materials of an application."""

    material = forms.ChoiceField(label="材料")
    papers = FilesField(label="文件")

    def __init__(
        self, data: Any = None, files: Any = None, *, materials: Iterable[Any], **options: Any
    ):
        super().__init__(data, files, auto_id="papers_%s", **options)
        self.fields["material"] = _choice("材料", materials)
