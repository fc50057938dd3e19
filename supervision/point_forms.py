"""Forms of points, their repair, and the queues of practitioners and persons."""

from typing import Any

from django import forms

from agreements.forms import FILE_HELP, FILE_TYPES
from institutions.documents import LARGEST
from institutions.models import Physician
from supervision.case_forms import ANY

#: where a practitioner stands → how the queue calls it
STANDINGS = (
    ("repair", "修复待审批"), ("suspended", "暂停中"), ("terminated", "已终止"), ("near", "临近标准"),
    ("counted", "已有记分"),
)  # fmt: skip
#: where the suspended online settlement of a person stands
PERSON_STATES = (
    ("proposed", "拟暂停"), ("ordered", "待执行"), ("running", "暂停中"), ("over", "已届满"),
)  # fmt: skip


class PointsQuery(forms.Form):
    """Which practitioners."""

    q = forms.CharField(
        label="医师、药师、护士", required=False, max_length=60,
        widget=forms.TextInput({"placeholder": "姓名或编码"}),
    )  # fmt: skip
    kind = forms.ChoiceField(label="类别", required=False, choices=[ANY, *Physician.Kind.choices])
    standing = forms.ChoiceField(label="状态", required=False, choices=[ANY, *STANDINGS])


class PersonsQuery(forms.Form):
    """Which persons."""

    state = forms.ChoiceField(label="状态", required=False, choices=[ANY, *PERSON_STATES])


class RepairForm(forms.Form):
    """A repair: how many points, after what, by which paper."""

    points = forms.IntegerField(label="修复分值", min_value=1)
    course = forms.CharField(
        label="修复事由", max_length=80, help_text="如：参加医保政策培训并考核合格"
    )
    file = forms.FileField(
        label="证明材料",
        widget=forms.ClearableFileInput({"accept": FILE_TYPES}),
        help_text=FILE_HELP,
    )

    def clean_file(self) -> Any:
        """Not larger than a file may be."""
        file = self.cleaned_data["file"]
        if (file.size or 0) > LARGEST:
            raise forms.ValidationError("文件太大。")
        return file


class RepairNote(forms.Form):
    """The words of whoever decides on a repair."""

    note = forms.CharField(
        label="审批意见", max_length=200, required=False, widget=forms.Textarea({"rows": 2})
    )


class RepairRefusal(RepairNote):
    """Why a repair is refused."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self.fields["note"].required = True
