"""Queries of the institution pages."""

from django import forms

from institutions.models import InstitutionFacts

CLASSES = {"3": "三类", "2": "二类", "1": "一类"}


def day_field(label: str) -> forms.DateField:
    """A day of the calendar, as browsers send it."""
    return forms.DateField(
        label=label, required=False, widget=forms.DateInput({"type": "date"}, "%Y-%m-%d")
    )


class InstitutionQuery(forms.Form):
    """Which institutions, as of a day."""

    q = forms.CharField(
        label="医疗机构", required=False, max_length=60,
        widget=forms.TextInput({"placeholder": "名称、别名或编码"}),
    )  # fmt: skip
    region = forms.ChoiceField(label="所在区域", required=False)
    price_class = forms.ChoiceField(
        label="价格类别", required=False, choices=[("", "全部"), *CLASSES.items()]
    )
    ownership = forms.ChoiceField(
        label="所有制", required=False, choices=[("", "全部"), *InstitutionFacts.Ownership.choices]
    )
    on = day_field("时点")

    def __init__(self, data, *, regions, **options):
        super().__init__(data, **options)
        self.fields["region"] = forms.ChoiceField(
            label="所在区域", required=False,
            choices=[("", "全部"), *((r.code, r.name) for r in regions)],
        )  # fmt: skip

    @property
    def facts(self) -> dict[str, str]:
        """The dated facts that were asked for."""
        given = self.cleaned_data
        return {key: given[key] for key in ("price_class", "ownership") if given.get(key)}


class OnDay(forms.Form):
    """The day on which a page stands."""

    on = day_field("时点")


class OnDayAsKnown(OnDay):
    """The day in question, and until when what was recorded counts (empty: all that is known now)."""

    known = day_field("截至何日的登记")
