"""The upload form of registry sheets."""

from typing import Any

from django import forms

from institutions.exchange.columns import MAX_BYTES, MAX_ROWS
from institutions.exchange.intake import KINDS
from institutions.exchange.kinds import Kind
from institutions.models import User

MEGABYTE = 1024 * 1024


class SheetForm(forms.Form):
    """A sheet and what stands in it; only kinds that the person may import."""

    kind = forms.ChoiceField(label="内容", widget=forms.RadioSelect)
    file = forms.FileField(
        label="文件", widget=forms.ClearableFileInput({"accept": ".csv,.xlsx"}),
        help_text=f"XLSX 或 CSV，至多 {MAX_ROWS // 10_000} 万行、{MAX_BYTES // MEGABYTE} MB。"
        "编码自动识别（UTF-8、GBK）。先校验全部行，确认后才写入。",
        error_messages={"required": "请选择文件。", "empty": "文件是空的。"},
    )  # fmt: skip

    def __init__(self, *args: Any, user: User, **options: Any):
        super().__init__(*args, **options)
        open_ones = [(key, kind.title) for key, kind in KINDS.items() if kind.open_to(user)]
        self.fields["kind"] = forms.ChoiceField(
            label="内容", choices=open_ones, widget=forms.RadioSelect, initial=open_ones[0][0],
            error_messages={"required": "请选择内容。", "invalid_choice": "不能导入这一内容。"},
        )  # fmt: skip

    def clean_file(self):
        """Too large a file is refused before it is read."""
        file = self.cleaned_data["file"]
        if file.size > MAX_BYTES:
            raise forms.ValidationError(f"文件超过 {MAX_BYTES // MEGABYTE} MB 上限。")
        return file

    @property
    def wanted(self) -> Kind:
        """The kind that was chosen."""
        return KINDS[self.cleaned_data["kind"]]
