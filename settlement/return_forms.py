"""The form of drugs that come back (退药): how much of each drug, which packages, why, who took them."""

import datetime as dt
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from django import forms
from django.utils import timezone

from audit import clock
from settlement.contract import QUANTITY_DIGITS
from settlement.drug_returns import left_of
from settlement.goods import quantity_text
from settlement.goods_forms import CHOOSE, MINUTE, pharmacists
from settlement.models import Dispensing, DispensingReturn, TraceReturn


class ReturnForm(forms.Form):
    """One return of one dispensing; `content()` is what the interface takes, too."""

    number = forms.CharField(label="退药单号", max_length=40)
    returned_at = forms.DateTimeField(
        label="退药时间", input_formats=[MINUTE],
        widget=forms.DateTimeInput({"type": "datetime-local"}, MINUTE),
    )  # fmt: skip
    reason = forms.ChoiceField(label="退药原因", choices=[CHOOSE, *DispensingReturn.Reason.choices])
    pharmacist = forms.ChoiceField(label="接收药师", required=False)
    note = forms.CharField(label="说明", max_length=200, required=False)

    def __init__(
        self, *args: Any, dispensing: Dispensing, names: Mapping[str, str], at: dt.datetime,
        **options: Any,
    ):  # fmt: skip
        super().__init__(*args, **options)
        self.dispensing = dispensing
        made = dispensing.returns.count() + 1
        self.fields["number"].initial = f"TY{dispensing.number}-{made}"
        self.fields["returned_at"].initial = clock.local(at).replace(second=0, microsecond=0)
        self.fields["pharmacist"] = forms.ChoiceField(
            label="接收药师",
            required=False,
            choices=[("", "不登记"), *pharmacists([dispensing.institution_code], at)],
        )
        self.drugs = list(self._ask(names))
        self.order_fields([
            *(name for _, *inputs in self.drugs for name in inputs if name),
            "number", "returned_at", "reason", "pharmacist", "note",
        ])  # fmt: skip

    def _ask(self, names: Mapping[str, str]) -> Any:
        """For every drug that is still out: its code and the names of its one or two inputs."""
        back = TraceReturn.objects.filter(trace__dispensing=self.dispensing).values("trace_id")
        out = self.dispensing.traces.exclude(pk__in=back).order_by("code")
        codes: dict[str, list[str]] = {}
        for trace in out:
            codes.setdefault(trace.drug_code, []).append(trace.code)
        for number, line in enumerate(self.dispensing.lines.prefetch_related("returns")):
            left, name = left_of(line), names.get(line.drug_code, line.drug_code)
            if not left:
                continue
            quantity, traces = f"quantity_{number}", f"traces_{number}"
            self.fields[quantity] = forms.DecimalField(
                label=f"{name} 退回数量", required=False, min_value=Decimal(1).scaleb(-QUANTITY_DIGITS),
                max_value=Decimal(left).scaleb(-QUANTITY_DIGITS), decimal_places=QUANTITY_DIGITS,
                help_text=f"尚可退回 {quantity_text(left)}；不退的留空",
            )  # fmt: skip
            found = codes.get(line.drug_code, [])
            if found:
                self.fields[traces] = forms.MultipleChoiceField(
                    label=f"{name} 退回的追溯码", required=False, choices=[(c, c) for c in found],
                    widget=forms.CheckboxSelectMultiple,
                )  # fmt: skip
            yield line.drug_code, quantity, traces if found else ""

    def clean_returned_at(self) -> dt.datetime:
        """The moment in the time of the portal."""
        given = self.cleaned_data["returned_at"]
        return timezone.make_aware(given) if timezone.is_naive(given) else given

    def clean(self) -> dict[str, Any]:
        """At least one drug comes back; packages only with their quantity."""
        given = super().clean() or self.cleaned_data
        for _, quantity, traces in self.drugs:
            if given.get(traces) and given.get(quantity) is None and quantity not in self.errors:
                self.add_error(quantity, "已勾选追溯码，请填写退回数量。")
            elif given.get(quantity) and traces and not given.get(traces):
                self.add_error(traces, "该药品按追溯码调配，请勾选退回的追溯码。")
        if not self.errors and not any(given.get(quantity) for _, quantity, _ in self.drugs):
            raise forms.ValidationError("请至少填写一种药品的退回数量。")
        return given

    def content(self) -> dict[str, Any]:
        """The return as `settlement.drug_returns.take_back` reads it."""
        given = self.cleaned_data
        lines = [
            {"drug_code": drug, "quantity": f"{given[quantity].normalize():f}"}
            | ({"trace_codes": given[traces]} if traces else {})
            for drug, quantity, traces in self.drugs
            if given[quantity]
        ]
        told = {name: given[name] for name in ("note", "pharmacist") if given[name]}
        return {
            "no": given["number"].strip(), "returned_at": given["returned_at"].isoformat(),
            "reason": given["reason"], "lines": lines,
        } | told  # fmt: skip
