"""What one institution may do now with the goods of a prescription: hand out, send, record the outcome.

An act is offered while its command would take it (十四、十五、二十六); one that was just refused is shown
with what was typed, whether it is offered or not.
"""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from django.http import QueryDict
from django.urls import reverse

from audit import clock
from institutions.models import Institution
from institutions.refusals import Refusal
from settlement import goods, trace_codes
from settlement.drug_returns import left_of
from settlement.facts import Claimant
from settlement.flow import Flow
from settlement.goods_forms import DeliveryForm, DispensingForm, GoodsForm, Kind, StepForm
from settlement.medicines import designated
from settlement.models import Delivery, Dispensing, Prescription

ENDED = {Kind.SIGNED, Kind.RETURNED}
DISPENSE, SEND, STEP = "dispense", "send", "step"


@dataclass
class Desk:
    """A prescription on the desk of an institution, with the flow that its page has read."""

    place: Institution
    found: Prescription
    flow: Flow
    at: dt.datetime
    #: the act that is under way: its key and its form
    bound: dict[str, GoodsForm] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.claimant = Claimant.of(self.place)
        self.mine = [
            one for one in self.flow.dispensings if one.institution_code == self.place.code
        ]

    # --- Forms ---

    def dispensing_form(self, data: QueryDict | None = None) -> DispensingForm:
        """What is handed out now."""
        today = clock.local(self.at).date()
        return DispensingForm(
            data, prescription=self.found, names=self.flow.drug_names, at=self.at,
            packages=goods.packaged(self.found, self.claimant, today), own=self.claimant.own,
            law=self._cited(trace_codes.CLAUSE), auto_id="dispense-%s",
        )  # fmt: skip

    def delivery_form(self, one: Dispensing, data: QueryDict | None = None) -> DeliveryForm:
        """To whom a dispensing is handed for delivery."""
        return DeliveryForm(data, at=self.at, auto_id=f"send-{one.pk}-%s")

    def step_form(self, parcel: Delivery, data: QueryDict | None = None) -> StepForm:
        """What became of a parcel."""
        known = {step.kind for step in parcel.steps.all()}
        return StepForm(data, known=known, at=self.at, auto_id=f"step-{parcel.pk}-%s")

    # --- Acts ---

    def acts(self) -> list[dict[str, Any]]:
        """The acts that can be taken, as the page shows them; the next one stands open."""
        shown = list(self._acts())
        if shown and not self.bound:
            shown[0]["opened"] = True
        return shown

    def _acts(self) -> Iterator[dict[str, Any]]:
        for one in self.mine:
            for parcel in one.deliveries.all():
                yield from self._step(parcel)
        if DISPENSE in self.bound or self.dispenses():
            yield self._act(
                DISPENSE, "调配", self.bound.get(DISPENSE) or self.dispensing_form(),
                reverse("prescription-dispense", args=[self.found.pk]), button="登记调配",
                hint="逐盒登记药品追溯码，每码只能销售一次；可分次调配。",
            )  # fmt: skip
        for one in self.mine:
            if f"{SEND}-{one.pk}" in self.bound or self.sends(one):
                yield self._send(one)

    def _send(self, one: Dispensing) -> dict[str, Any]:
        key = f"{SEND}-{one.pk}"
        form = self.bound.get(key) or self.delivery_form(one)
        return self._act(
            key, f"委托配送 {one.number}", form,
            reverse("dispensing-delivery", args=[one.pk]), button="登记配送", hint=self._fee(),
        )  # fmt: skip

    def _step(self, parcel: Delivery) -> Iterator[dict[str, Any]]:
        key = f"{STEP}-{parcel.pk}"
        if key not in self.bound and not self.follows(parcel):
            return
        form = self.bound.get(key) or self.step_form(parcel)
        word = "签收或拒收" if "relation" in form.fields else "揽收"
        yield self._act(
            key, f"{word} 运单 {parcel.waybill}", form,
            reverse("delivery-step", args=[parcel.pk]), button="登记配送结果",
            hint="拒收的药品退回本机构后，另行登记退药。",
        )  # fmt: skip

    def _act(
        self, key: str, title: str, form: GoodsForm, url: str, *, button: str, hint: str
    ) -> dict[str, Any]:
        return {
            "key": key, "title": title, "form": form, "url": url, "button": button, "hint": hint,
            "opened": key in self.bound,
        }  # fmt: skip

    def _fee(self) -> str:
        """Who does not pay for the delivery, as the region's document says; else nothing."""
        release = self.flow.catalogue.policy(self.flow.region, clock.local(self.at).date())
        flow = release.policy.section("prescription_flow", {}) if release else {}
        if flow.get("delivery_fee_payable", True):
            return ""
        return f"药品配送费不纳入医保支付范围，不得申报（{self._cited(flow['clause'])}）。"

    def _cited(self, number: str) -> str:
        """A clause with the document of the region that it stands in."""
        return " ".join(filter(None, (self.flow.cited(number)["document"], number)))

    # --- When ---

    def dispenses(self) -> bool:
        """Whether the command would take a dispensing of today by this institution."""
        today = clock.local(self.at).date()
        rows = Prescription.objects.filter(pk=self.found.pk)
        if not rows.to_dispense(self.place.code, on=today).exists():
            return False
        own = self.place.code == self.found.institution_code
        return own or designated(self.place.code, on=today)

    def sends(self, one: Dispensing) -> bool:
        """Whether something of a dispensing is out that nobody has signed for."""
        signed = any(
            step.kind == Kind.SIGNED for parcel in one.deliveries.all()
            for step in parcel.steps.all()
        )  # fmt: skip
        return not signed and any(left_of(line) for line in one.lines.all())

    def follows(self, parcel: Delivery) -> bool:
        """Whether a parcel is still on its way."""
        return not {step.kind for step in parcel.steps.all()} & ENDED

    # --- Refusals ---

    def explain(self, form: GoodsForm, refusal: Refusal) -> None:
        """Every fault of a refusal at its field, with the document and clause."""
        faults = [(one.pointer, one.code, one.detail, one.clause) for one in refusal.faults]
        told = [
            (form.field_of(pointer, code), detail[0], number)
            for pointer, code, detail, number in faults or [("", refusal.code, refusal.detail, "")]
        ]  # every place first: an error takes its field's value away
        for name, text, number in told:
            form.add_error(name, f"{text}{f'（{self._cited(number)}）' if number else ''}。")
