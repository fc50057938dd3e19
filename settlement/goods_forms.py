"""Forms of goods under a prescription: dispensed (调配), sent (配送), signed for or refused (签收).

Each form's `content()` is what the interface takes, too; `field_of()` is where a refusal belongs.
"""

import datetime as dt
import re
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from django import forms

from audit import clock
from institutions.models import Institution, Physician
from settlement import trace_codes
from settlement.contract import QUANTITY_DIGITS
from settlement.goods import carriers, quantity_text
from settlement.models import DeliveryEvent, Prescription, PrescriptionLine

CHOOSE = ("", "请选择")
MINUTE = "%Y-%m-%dT%H:%M"
BETWEEN = re.compile(r"[\s,，;；、]+")
Kind = DeliveryEvent.Kind
#: What a parcel can meet once it is on its way, as the form asks for it.
OUTCOMES = ((Kind.SIGNED, "签收"), (Kind.DELIVERED, "送达，尚未签收"), (Kind.RETURNED, "拒收退回"))


class CodesInput(forms.Widget):
    """A text area that takes the width of one column, beside the quantity that it belongs to."""

    template_name = "django/forms/widgets/textarea.html"

    def __init__(self) -> None:
        super().__init__({
            "rows": 3, "spellcheck": "false", "autocomplete": "off", "autocapitalize": "off",
            "class": "code",
        })  # fmt: skip


class TraceCodesField(forms.Field):
    """Trace codes as scanners and sheets give them: one a line, or with commas or spaces between."""

    widget = CodesInput

    def to_python(self, value: Any) -> list[str]:
        return [code for code in BETWEEN.split(value or "") if code]


class GoodsForm(forms.Form):
    """What the three forms share: a time of the portal, and where a refusal belongs."""

    #: pointer of the command → field
    places: Mapping[str, str] = {}

    def field_of(self, pointer: str, code: str) -> str | None:
        """The field that a refusal of the command means; None: the act as a whole."""
        return self.places.get(pointer.strip("/").partition("/")[0])


def _moment(label: str, at: dt.datetime, **more: Any) -> forms.DateTimeField:
    return forms.DateTimeField(
        label=label, input_formats=[MINUTE],
        initial=clock.local(at).replace(second=0, microsecond=0),
        widget=forms.DateTimeInput({"type": "datetime-local"}, MINUTE), **more,
    )  # fmt: skip


def pharmacists(institutions: Iterable[str], at: dt.datetime) -> list[tuple[str, str]]:
    """Pharmacists of institutions who have not left them, to choose from."""
    rows = Physician.objects.filter(
        kind=Physician.Kind.PHARMACIST, institution__in=institutions
    ).exclude(left_on__lt=clock.local(at).date())
    return [(row.code, f"{row.name}（{row.code}）") for row in rows.order_by("code")]


class DispensingForm(GoodsForm):
    """One dispensing of a prescription: how much of each drug, which packages, who handed them out."""

    places = {"no": "number", "dispensed_at": "dispensed_at", "pharmacist": "pharmacist"}
    number = forms.CharField(label="调配单号", max_length=40)
    pharmacist = forms.ChoiceField(label="调配药师", required=False)
    untraced = forms.BooleanField(label="未填追溯码的药品，包装上没有追溯码", required=False)

    def __init__(
        self, *args: Any, prescription: Prescription, names: Mapping[str, str], packages: set[str],
        own: Iterable[str], law: str, at: dt.datetime, **options: Any,
    ):  # fmt: skip
        super().__init__(*args, **options)
        self.law = law
        made = prescription.dispensings.count() + 1
        self.packages = packages
        self.fields["number"].initial = f"FY{prescription.pk}-{made}"
        self.fields["dispensed_at"] = _moment("调配时间", at)
        self.fields["pharmacist"] = forms.ChoiceField(
            label="调配药师", required=False, choices=[("", "不登记"), *pharmacists(own, at)],
        )  # fmt: skip
        self.drugs = list(self._ask(prescription, names))
        asked = [name for _, *pair in self.drugs for name in pair]
        self.order_fields([*asked, "number", "dispensed_at", "pharmacist", "untraced"])

    def _ask(
        self, prescription: Prescription, names: Mapping[str, str]
    ) -> Iterator[tuple[str, str, str]]:
        """For every drug of which something is left (or was typed): its code and its two inputs."""
        for number, line in enumerate(prescription.lines.all()):
            quantity, traces = f"quantity_{number}", f"traces_{number}"
            left = line.quantity + line.returned - line.dispensed
            if not left and not self.data.get(quantity):
                continue
            name = names.get(line.drug_code, line.drug_code)
            self.fields[quantity] = forms.DecimalField(
                label=f"{name} 调配数量（{line.unit}）", required=False,
                min_value=Decimal(1).scaleb(-QUANTITY_DIGITS), decimal_places=QUANTITY_DIGITS,
                initial=Decimal(left).scaleb(-QUANTITY_DIGITS).normalize(),
                help_text=f"处方 {quantity_text(line.quantity)} {line.unit}，尚可调配 "
                          f"{quantity_text(left)} {line.unit}；本次不调配的清空",
            )  # fmt: skip
            self.fields[traces] = TraceCodesField(
                label=f"{name} 追溯码", required=False, help_text=self._told(line, left)
            )
            yield line.drug_code, quantity, traces

    def _told(self, line: PrescriptionLine, left: int) -> str:
        """How many codes the drug's rest has."""
        wanted = trace_codes.expected(left, packages=line.drug_code in self.packages)
        return (
            f"每行一个，可整批粘贴；调配 {quantity_text(left)} {line.unit}应有 {wanted}追溯码"
            if left else "已全部调配"
        )  # fmt: skip

    def clean(self) -> dict[str, Any]:
        """At least one drug is handed out; its packages with their codes, or it is said they have none."""
        given = super().clean() or self.cleaned_data
        for drug, quantity, traces in self.drugs:
            if given.get(traces) and given.get(quantity) is None and quantity not in self.errors:
                self.add_error(quantity, "已填追溯码，请填写调配数量。")
            elif given.get(quantity) and not given.get(traces) and not given.get("untraced"):
                self.add_error(traces, self._missing(drug, given[quantity]))
        if not self.errors and not any(given.get(quantity) for _, quantity, _ in self.drugs):
            raise forms.ValidationError("请至少填写一种药品的调配数量。")
        return given

    def _missing(self, drug: str, quantity: Decimal) -> str:
        wanted = trace_codes.expected(
            int(quantity.scaleb(QUANTITY_DIGITS)), packages=drug in self.packages
        )
        return f"请扫入追溯码，应为 {wanted}；包装上没有追溯码的，请在下方勾选（{self.law}）。"

    def content(self) -> dict[str, Any]:
        """The dispensing as `settlement.goods.dispense` reads it."""
        given = self.cleaned_data
        told = {"pharmacist": given["pharmacist"]} if given["pharmacist"] else {}
        return {
            "no": given["number"], "dispensed_at": given["dispensed_at"].isoformat(),
            "lines": [
                {"drug_code": drug, "quantity": f"{given[quantity].normalize():f}"}
                | ({"trace_codes": given[traces]} if given[traces] else {})
                for drug, quantity, traces in self._chosen()
            ],
        } | told  # fmt: skip

    def _chosen(self) -> list[tuple[str, str, str]]:
        return [drug for drug in self.drugs if self.cleaned_data.get(drug[1])]

    def field_of(self, pointer: str, code: str) -> str | None:
        """The field of a drug for what is wrong with a line; an expired day is the time's fault."""
        if code == "PRESCRIPTION_EXPIRED":
            return "dispensed_at"
        kind, index, *what = [*pointer.strip("/").split("/"), "", ""]
        chosen = self._chosen()
        if kind != "lines" or not index.isdigit() or int(index) >= len(chosen):
            return super().field_of(pointer, code)
        _, quantity, traces = chosen[int(index)]
        return traces if what[0] == "trace_codes" else quantity


class DeliveryForm(GoodsForm):
    """A dispensing that is handed to a carrier: which, its waybill, when it took the parcel."""

    places = {"logistics": "logistics", "waybill": "waybill", "at": "handed_at"}
    logistics = forms.ChoiceField(label="物流企业")
    waybill = forms.CharField(
        label="运单号", max_length=40, widget=forms.TextInput({"autocomplete": "off"})
    )

    def __init__(self, *args: Any, at: dt.datetime, **options: Any):
        super().__init__(*args, **options)
        found: list[Institution] = list(carriers(on=clock.local(at).date()).order_by("code"))
        self.fields["logistics"] = forms.ChoiceField(
            label="物流企业", choices=[
                CHOOSE if found else ("", "没有登记在册、资质有效的医药物流企业"),
                *((one.code, f"{one}（{one.code}）") for one in found),
            ],
            initial=found[0].code if len(found) == 1 else "",
        )  # fmt: skip
        self.fields["handed_at"] = _moment("交付时间", at, help_text="物流企业揽收的时间")
        self.order_fields(["logistics", "waybill", "handed_at"])

    def content(self) -> dict[str, Any]:
        """The parcel as `settlement.goods.send` reads it."""
        return {name: self.cleaned_data[name] for name in ("logistics", "waybill")}

    def pick_up(self) -> dict[str, Any]:
        """Its first step as `settlement.goods.step` reads it."""
        return {"kind": str(Kind.PICKED_UP), "at": self.cleaned_data["handed_at"].isoformat()}


class StepForm(GoodsForm):
    """What became of a parcel: signed for and by whom, left, or refused and sent back."""

    places = {"kind": "kind", "at": "at", "relation": "relation"}
    kind = forms.ChoiceField(label="结果")
    relation = forms.ChoiceField(
        label="签收人", required=False, choices=[("", "请选择；未签收不填"), *DeliveryEvent.Relation.choices],
    )  # fmt: skip

    def __init__(self, *args: Any, known: set[str], at: dt.datetime, **options: Any):
        super().__init__(*args, **options)
        waits = Kind.PICKED_UP not in known
        self.fields["kind"] = forms.ChoiceField(
            label="结果", choices=[(Kind.PICKED_UP, Kind.PICKED_UP.label)] if waits else
            [(kind, label) for kind, label in OUTCOMES if kind not in known],
        )  # fmt: skip
        if waits:
            self.fields.pop("relation")
        self.fields["at"] = _moment("时间", at)
        self.order_fields(["kind", "relation", "at"])

    def content(self) -> dict[str, Any]:
        """The step as `settlement.goods.step` reads it."""
        given = self.cleaned_data
        told = {"relation": given["relation"]} if given.get("relation") else {}
        return {"kind": given["kind"], "at": given["at"].isoformat()} | told
