"""Queries and uploads of the price pages."""

from django import forms

from pricing.documents import TYPES


class PriceQuery(forms.Form):
    """Which prices: region, service day, price class (empty: every class)."""

    region = forms.ChoiceField(label="统筹区")
    on = forms.DateField(
        label="服务日期", required=False, widget=forms.DateInput({"type": "date"}, "%Y-%m-%d")
    )
    price_class = forms.ChoiceField(
        label="价格类别", required=False,
        choices=[("", "全部类别"), ("3", "三类"), ("2", "二类"), ("1", "一类")],
    )  # fmt: skip

    def __init__(self, data, *, regions):
        super().__init__(data, auto_id="price_%s")
        self.fields["region"] = forms.ChoiceField(label="统筹区", choices=regions)


class PublicPriceQuery(forms.Form):
    """What the public may ask: region, institution, class, day, words; regions and classes as published."""

    region = forms.ChoiceField(label="统筹区", required=False)
    institution = forms.CharField(
        label="医疗机构", required=False, max_length=60,
        widget=forms.TextInput({"placeholder": "名称、曾用名或编码", "type": "search"}),
    )  # fmt: skip
    price_class = forms.ChoiceField(label="价格类别", required=False)
    on = forms.DateField(
        label="服务日期", widget=forms.DateInput({"type": "date"}, "%Y-%m-%d"),
        input_formats=["%Y-%m-%d"],
    )  # fmt: skip
    q = forms.CharField(
        label="项目", required=False, max_length=60,
        widget=forms.TextInput({"placeholder": "项目名称、编码或内涵中的字词", "type": "search"}),
    )  # fmt: skip

    def __init__(self, data, *, regions: dict[str, str], classes: dict[str, str]):
        super().__init__(data, auto_id="public_%s")
        self.fields["region"] = forms.ChoiceField(
            label="统筹区", required=False, choices=[("", "全部统筹区"), *regions.items()]
        )
        self.fields["price_class"] = forms.ChoiceField(
            label="价格类别", required=False, choices=[("", "全部类别"), *classes.items()]
        )


class ReleaseQuery(forms.Form):
    """Which releases: words of title or number, kind, state."""

    q = forms.CharField(
        label="文件", required=False, max_length=60,
        widget=forms.TextInput({"placeholder": "文号、标题或统筹区"}),
    )  # fmt: skip
    kind = forms.ChoiceField(
        label="类型", required=False,
        choices=[("", "全部"), ("policy", "政策文件"), ("parameters", "参数集")],
    )  # fmt: skip
    state = forms.ChoiceField(
        label="状态", required=False,
        choices=[("", "全部"), ("published", "已发布"), ("draft", "草案")],
    )  # fmt: skip


class FileForm(forms.Form):
    """The official file of a document."""

    file = forms.FileField(
        label="正式文件",
        help_text="PDF、OFD、DOCX、JPG 或 PNG，不超过 8 MB。附后不能删除。",
        widget=forms.FileInput({"accept": ",".join(f".{ending}" for ending in TYPES)}),
    )
