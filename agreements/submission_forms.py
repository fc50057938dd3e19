"""The page form of an official form: its blanks and rows as fields, hidden values never written out.

A restricted blank shows what is stored masked beside an empty field; left empty it stays as it was.
Rows are added and removed by buttons that send the whole form, without any script.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from django import forms

from agreements.official_forms import LONGEST_REMARK, SEQUENCE, Field, Filled, Form, blank_row, mask
from institutions.refusals import Fault

CARRIED = "选择后由机构档案带入已登记的信息；银行账号等加密带入，不在页面显示。"
ADD, REMOVE, SAVE, SUBMIT = "add", "remove-", "save", "submit"


class SubmissionQuery(forms.Form):
    """Which submissions: form, state, number or institution."""

    q = forms.CharField(
        label="申请表", required=False, max_length=60,
        widget=forms.TextInput({"placeholder": "编号或机构名称"}),
    )  # fmt: skip
    form = forms.ChoiceField(label="表名", required=False)
    state = forms.ChoiceField(label="状态", required=False)

    def __init__(
        self, data: Any, *, kinds: Iterable[tuple[str, str]], states: Iterable[tuple[str, str]]
    ):
        super().__init__(data, auto_id="submission_%s")
        for name, choices in (("form", kinds), ("state", states)):
            label = self.fields[name].label
            self.fields[name] = forms.ChoiceField(
                label=label, required=False, choices=[("", "全部"), *choices]
            )


class NewSubmission(forms.Form):
    """For which institution a form is opened; its registry entry fills in what is known."""

    def __init__(self, data: Any = None, *, institutions: Any, needed: bool):
        super().__init__(data, auto_id="new_%s")
        self.fields["institution"] = forms.ModelChoiceField(
            label="医疗机构或零售药店", queryset=institutions, required=needed,
            empty_label="请选择" if needed else "不指定", help_text=CARRIED,
            error_messages={"required": "请选择医疗机构或零售药店。"},
        )  # fmt: skip


class ContentForm(forms.Form):
    """Every blank and row of an official form. What is right is judged by the form's own rules."""

    version = forms.IntegerField(widget=forms.HiddenInput)
    row_ids = forms.CharField(required=False, widget=forms.HiddenInput, max_length=2000)

    def __init__(self, data: Any = None, *, form: Form, stored: Filled, version: int):
        ids = [row["id"] for row in stored.rows]
        super().__init__(data, auto_id="blank_%s",
                         initial={"version": version, "row_ids": ",".join(ids)})  # fmt: skip
        self.form = form
        self.ids = _ids(data.get("row_ids", "")) if data is not None else ids
        for blank in form.fields:
            self.fields[blank.key] = _field(blank, stored.fields)
        before = {row["id"]: row for row in stored.rows}
        for number in self.ids:
            for blank in self._columns():
                self.fields[_name(number, blank)] = _field(blank, before.get(number, {}))

    @classmethod
    def of(cls, form: Form, stored: Filled, *, version: int) -> "ContentForm":
        """What is stored as if it had been sent, restricted values left out: to show its faults."""
        data = {"version": str(version), "row_ids": ",".join(row["id"] for row in stored.rows)}
        data |= {b.key: stored.fields.get(b.key, "") for b in form.fields if not b.restricted}
        for row in stored.rows:
            data |= {_name(row["id"], b): row.get(b.key, "")
                     for b in form.columns if not b.restricted}  # fmt: skip
        made = cls(data, form=form, stored=stored, version=version)
        made.full_clean()
        return made

    def _columns(self) -> list[Field]:
        return [blank for blank in self.form.columns if blank.key != SEQUENCE]

    def blanks(self) -> list[Any]:
        """The bound fields of the single blanks."""
        return [self[blank.key] for blank in self.form.fields]

    def rows(self) -> list[dict[str, Any]]:
        """Each row with its bound fields."""
        return [
            {"id": number, "no": place, "fields": [self[_name(number, b)] for b in self._columns()]}
            for place, number in enumerate(self.ids, 1)
        ]

    def filled(self) -> Filled:
        """What was sent, as it is judged and stored."""
        given = self.cleaned_data
        return Filled(
            {blank.key: given.get(blank.key, "") for blank in self.form.fields},
            [
                {"id": number, **{b.key: given.get(_name(number, b), "") for b in self._columns()}}
                for number in self.ids
            ],
        )

    def take(self, faults: Sequence[Fault]) -> None:
        """Put every fault at its blank."""
        for fault in faults:
            name = self._place(fault.pointer)
            text = f"{fault.detail[0]}（{fault.clause}）" if fault.clause else fault.detail[0]
            self.add_error(name if name in self.fields else None, text)

    def _place(self, pointer: str) -> str:
        """`/rows/0/phone` → the field of that row."""
        parts = pointer.strip("/").split("/")
        if parts[0] == "rows" and len(parts) > 2 and int(parts[1]) < len(self.ids):
            return f"row-{self.ids[int(parts[1])]}-{parts[2]}"
        return parts[-1]


def changed_rows(data: Any, form: Form, action: str) -> Any:
    """The sent form with a row more (prefilled) or less."""
    changed = data.copy()
    ids = _ids(changed.get("row_ids", ""))
    if action == ADD:
        number = str(max(map(int, ids), default=0) + 1)
        ids.append(number)
        row = blank_row(form, int(number))
        for blank in form.columns:
            changed[_name(number, blank)] = row.get(blank.key, "")
    else:
        ids = [number for number in ids if number != action.removeprefix(REMOVE)]
    changed["row_ids"] = ",".join(ids)
    return changed


def _ids(text: str) -> list[str]:
    found = [
        part for part in text.split(",") if part.isascii() and part.isdigit() and len(part) < 5
    ]
    return list(dict.fromkeys(found))


def _name(number: str, blank: Field) -> str:
    return f"row-{number}-{blank.key}"


def _field(blank: Field, stored: dict[str, str]) -> forms.Field:
    """A text field, whatever the blank's kind: the form's own rules say what is wrong."""
    widget: forms.Widget = forms.TextInput({"autocomplete": "off"})
    if blank.kind == "date":
        widget = forms.DateInput({"type": "date"})
    elif blank.choices:
        widget = forms.Select(choices=[("", "请选择"), *((word, word) for word in blank.choices)])
    elif not blank.required:
        widget = forms.TextInput({"maxlength": LONGEST_REMARK})
    value = stored.get(blank.key, "")
    help_text = blank.help
    if blank.restricted and value:
        help_text = f"已填写：{mask(blank, stored)}，留空则不变"
    return forms.CharField(
        label=blank.label, required=False, widget=widget, help_text=help_text,
        initial="" if blank.restricted else value,
    )  # fmt: skip
