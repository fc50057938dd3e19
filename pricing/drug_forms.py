"""Forms of the drug catalogue: a new version with its sheet, another sheet, the query bar."""

from typing import Any

import django_filters
from django import forms
from django.db.models import Q, QuerySet

from institutions.exchange.columns import MAX_BYTES, MAX_ROWS
from pricing.models import Drug, DrugList

MEGABYTE = 1024 * 1024
DAY = forms.DateInput({"type": "date"}, format="%Y-%m-%d")
TOO_LARGE = f"文件超过 {MAX_BYTES // MEGABYTE} MB 上限。"


def sheet_field() -> forms.FileField:
    """The sheet of a version."""
    return forms.FileField(
        label="药品表格", widget=forms.ClearableFileInput({"accept": ".csv,.xlsx"}),
        help_text=f"XLSX 或 CSV，至多 {MAX_ROWS // 10_000} 万行；编码自动识别（UTF-8、GBK）。"
        "上传即校验全部行，存为草案，不生效。",
        error_messages={"required": "请选择文件。", "empty": "文件是空的。"},
    )  # fmt: skip


class SheetForm(forms.Form):
    """Another sheet for a draft."""

    file = sheet_field()

    def clean_file(self) -> Any:
        """Too large a file is refused before it is read."""
        file = self.cleaned_data["file"]
        if file.size > MAX_BYTES:
            raise forms.ValidationError(TOO_LARGE)
        return file


class VersionForm(SheetForm):
    """A new version: what it is, from when, on which basis, and its sheet."""

    region = forms.ChoiceField(label="统筹区")
    version = forms.RegexField(
        r"^[0-9A-Za-z一-鿿._-]{1,40}$", label="版本", max_length=40,
        widget=forms.TextInput({"placeholder": "如 2021-2"}),
        error_messages={"invalid": "只能用汉字、字母、数字和 . _ -"},
    )  # fmt: skip
    title = forms.CharField(label="名称", max_length=200)
    source_kind = forms.ChoiceField(
        label="来源", choices=DrugList.Source.choices, initial=DrugList.Source.OFFICIAL
    )
    source_ref = forms.CharField(label="文件依据", max_length=200)
    clause = forms.CharField(label="条款", max_length=120, required=False)
    valid_from = forms.DateField(label="生效日", widget=DAY)
    file = sheet_field()
    field_order = (
        "region", "version", "title", "valid_from", "source_kind", "source_ref", "clause", "file",
    )  # fmt: skip

    def __init__(self, *args: Any, regions: list[tuple[str, str]], **options: Any):
        super().__init__(*args, **options)
        self.fields["region"] = forms.ChoiceField(label="统筹区", choices=regions)
        self.order_fields(self.field_order)


class DrugFilter(django_filters.FilterSet):
    """The query bar of a version's drugs."""

    words = django_filters.CharFilter(
        label="药品", method="by_words", max_length=60,
        widget=forms.TextInput({"placeholder": "编码开头或名称", "type": "search"}),
    )  # fmt: skip
    category = django_filters.ChoiceFilter(
        label="类别", choices=Drug.Category.choices, empty_label="全部"
    )
    disease = django_filters.CharFilter(
        label="限定病种", method="by_disease", max_length=20,
        widget=forms.TextInput({"placeholder": "病种编码，如 M03900"}),
    )  # fmt: skip
    chronic = django_filters.BooleanFilter(
        label="慢性病用药", method="by_chronic",
        widget=forms.Select(choices=[("", "全部"), ("true", "仅限定病种的"), ("false", "不限病种的")]),
    )  # fmt: skip

    class Meta:
        model = Drug
        fields = ()

    def by_words(self, drugs: QuerySet, name: str, value: str) -> QuerySet:
        return drugs.filter(Q(code__startswith=value.upper()) | Q(name__icontains=value))

    def by_disease(self, drugs: QuerySet, name: str, value: str) -> QuerySet:
        return drugs.filter(diseases__contains=[value])

    def by_chronic(self, drugs: QuerySet, name: str, value: bool) -> QuerySet:
        return drugs.exclude(diseases=[]) if value else drugs.filter(diseases=[])

    def found(self) -> QuerySet:
        """The drugs of a valid query; a query with an error finds nothing."""
        return self.qs if self.form.is_valid() else Drug.objects.none()


class PublicDrugQuery(forms.Form):
    """What the public may ask of the catalogues: region, day, words, category, chronic diseases."""

    region = forms.ChoiceField(label="统筹区", required=False)
    q = forms.CharField(
        label="药品", required=False, max_length=60,
        widget=forms.TextInput({"placeholder": "药品名称或编码", "type": "search"}),
    )  # fmt: skip
    category = forms.ChoiceField(
        label="类别", required=False, choices=[("", "全部"), *Drug.Category.choices]
    )
    chronic = forms.ChoiceField(
        label="病种", required=False, choices=[("", "全部药品"), ("only", "慢性病限定病种用药")]
    )
    on = forms.DateField(label="日期", widget=DAY, input_formats=["%Y-%m-%d"])

    def __init__(self, data: Any, *, regions: list[tuple[str, str]]):
        super().__init__(data, auto_id="public_%s")
        self.fields["region"] = forms.ChoiceField(
            label="统筹区", required=False, choices=[("", "全部统筹区"), *regions]
        )
