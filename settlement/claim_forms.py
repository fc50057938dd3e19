"""Forms of the claim pages: who is looked for, why a claim is reversed."""

from django import forms

from institutions import crypto


class PersonForm(forms.Form):
    """An insured person's ID number: hashed at once, never shown again."""

    credential = forms.CharField(
        label="按参保人查询", max_length=40, required=True,
        widget=forms.TextInput({"autocomplete": "off", "placeholder": "身份证号", "spellcheck": "false"}),
        error_messages={"required": "请输入身份证号。"},
    )  # fmt: skip

    def clean_credential(self) -> str:
        """A valid ID number in upper case."""
        try:
            return crypto.id_number(self.cleaned_data["credential"])
        except crypto.IdNumberError as error:
            raise forms.ValidationError(f"{error}。") from None


class ReversalForm(forms.Form):
    """The reason of a reversal: it stands in the ledger and in the trail."""

    reason = forms.CharField(
        label="冲正原因", max_length=200, min_length=2, widget=forms.Textarea({"rows": 3}),
        help_text="将记入分录与全程留痕，不可修改。",
    )  # fmt: skip
