"""The upload form of batches, and the templates to fill in."""

import csv
import io
import json
from typing import Any

from django import forms
from django.db.models import QuerySet

from institutions.models import Institution, User
from settlement import sheets

MEGABYTE = 1024 * 1024
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


class DecisionForm(forms.Form):
    """Why claims are left out, or a batch is stopped or given back: it stands in the trail."""

    reason = forms.CharField(
        label="理由", min_length=2, max_length=200, widget=forms.Textarea({"rows": 2}),
        error_messages={"required": "请填写理由。"},
    )  # fmt: skip


class UploadForm(forms.Form):
    """A file of claims of one institution; hospital staff upload for their own."""

    file = forms.FileField(
        label="申报文件", widget=forms.ClearableFileInput({"accept": ".csv,.xlsx,.jsonl"}),
        help_text=f"CSV、XLSX 或 JSON Lines，至多 {sheets.MAX_CLAIMS // 10_000} 万张申请单、"
        f"{sheets.MAX_BYTES // MEGABYTE} MB。先校验，确认后才结算。",
        error_messages={"required": "请选择文件。", "empty": "文件是空的。"},
    )  # fmt: skip

    def __init__(self, *args: Any, user: User, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.own = user.institution
        if self.own is None:
            self.fields["institution"] = _among(Institution.objects.visible_to(user))
            self.order_fields(["institution", "file"])

    def clean_file(self):
        """Too large a file is refused before it is read."""
        file = self.cleaned_data["file"]
        if file.size > sheets.MAX_BYTES:
            raise forms.ValidationError(f"文件超过 {sheets.MAX_BYTES // MEGABYTE} MB 上限。")
        return file

    def claimant(self) -> Institution:
        """The institution that claims."""
        return self.own or self.cleaned_data["institution"]


def _among(institutions: QuerySet[Institution]) -> forms.Field:
    return forms.ModelChoiceField(
        label="申报机构", queryset=institutions.select_related("region"), empty_label="请选择",
        error_messages={"invalid_choice": "请选择辖区内的机构。", "required": "请选择申报机构。"},
    )  # fmt: skip


def template(ending: str) -> tuple[bytes, str]:
    """An empty form with one example row: (content, content type) for xlsx, csv or jsonl."""
    if ending == "xlsx":
        return sheets.template(), XLSX
    if ending == "csv":
        sink = io.StringIO()
        rows = csv.writer(sink)
        rows.writerow(column.label for column in sheets.FIELDS)
        rows.writerow(column.example for column in sheets.FIELDS)
        return sink.getvalue().encode("utf-8-sig"), "text/csv; charset=utf-8"
    entry = sheets.read("template.xlsx", sheets.template()).entries[0]
    return (json.dumps(entry.claim, ensure_ascii=False) + "\n").encode(), "application/x-ndjson"
