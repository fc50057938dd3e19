"""One prescription or claim as three flows: information, money, goods, with the gaps shown (二十六).

Read in a fixed number of queries inside the reader's scope and prepared for its page. What the law asks
for and nobody uploaded stands as a step of its own, with its clause: within its time, late or missing.
"""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from django.urls import reverse

from audit.text import yuan
from institutions.departments import department
from institutions.models import Document, Institution, Physician, User
from institutions.shape import moment as parsed
from pricing.models import Drug
from pricing.releases import Catalogue
from settlement import evidence, words
from settlement.detail import moment
from settlement.goods import quantity_text
from settlement.models import (
    Claim,
    Delivery,
    Dispensing,
    DispensingReturn,
    Evidence,
    EvidenceGap,
    Leg,
    Prescription,
    PrescriptionCharge,
    Settlement,
    Statement,
)

Kind = Evidence.Kind
PRESCRIBED = {"signature": "十四", "review": "十四", "delivery": "十四", "release": "十五"}
CODES_SHOWN = 6


@dataclass
class Flow:
    """Everything about a prescription (or a claim without one) that a reader may see."""

    catalogue: Catalogue
    region: str
    at: dt.datetime
    encounter: dict
    prescription: Prescription | None = None
    claims: list[Claim] = field(default_factory=list)
    settlements: dict[int, list[Settlement]] = field(default_factory=dict)
    legs: dict[int, list[Leg]] = field(default_factory=dict)
    charges: list[PrescriptionCharge] = field(default_factory=list)
    dispensings: list[Dispensing] = field(default_factory=list)
    evidence: dict[str, Evidence] = field(default_factory=dict)
    gaps: dict[str, EvidenceGap] = field(default_factory=dict)
    statements: list[Statement] = field(default_factory=list)
    institutions: dict[str, str] = field(default_factory=dict)
    practitioners: dict[str, Physician] = field(default_factory=dict)
    drug_names: dict[str, str] = field(default_factory=dict)
    missing: list[dict] = field(default_factory=list)

    # --- Reading ---

    @classmethod
    def of_prescription(
        cls, found: Prescription, *, user: User, catalogue: Catalogue, at: dt.datetime
    ) -> "Flow":
        """The flow of a prescription with every claim under it that the reader may see."""
        charges = list(PrescriptionCharge.objects.filter(prescription=found).order_by("claim_id"))
        claims = list(
            Claim.objects.visible_to(user).filter(pk__in={c.claim_id for c in charges})
            .order_by("pk")
        )  # fmt: skip
        made = cls(catalogue, "", at, found.visit, found, claims, charges=charges)
        made._read(found.institution_code, found.encounter_key)
        return made

    @classmethod
    def of_claim(cls, claim: Claim, *, user: User, catalogue: Catalogue, at: dt.datetime) -> "Flow":
        """The flow of a claim without a prescription."""
        made = cls(catalogue, "", at, claim.document["encounter"], None, [claim])
        made._read(claim.institution_code, claim.encounter_key)
        return made

    def _read(self, institution: str, encounter_key: int) -> None:
        ids = [claim.pk for claim in self.claims]
        for row in Settlement.objects.filter(claim_id__in=ids).order_by("version"):
            self.settlements.setdefault(row.claim_id, []).append(row)
        for leg in Leg.objects.filter(claim_id__in=ids).order_by("version", "account"):
            self.legs.setdefault(leg.claim_id, []).append(leg)
        of = {"encounter_key": encounter_key, "institution_code": institution}
        for found in Evidence.objects.filter(**of).order_by("-received_at"):
            self.evidence[found.kind] = found
        self.gaps = {gap.kind: gap for gap in EvidenceGap.objects.filter(**of)}
        if self.prescription:
            self.dispensings = list(
                self.prescription.dispensings.prefetch_related(
                    "lines__returns",
                    "traces",
                    "deliveries__steps",
                    "returns__lines__line",
                    "returns__traces",
                ).order_by("dispensed_at", "pk")
            )
        self._names(institution)
        self._statements()

    def _names(self, institution: str) -> None:
        codes = {institution} | {claim.institution_code for claim in self.claims}
        codes |= {one.institution_code for one in self.dispensings}
        codes |= {parcel.logistics_code for parcel in self._parcels()}
        people = {claim.document.get("physician", {}).get("code", "") for claim in self.claims}
        people |= {one.pharmacist_code for one in self.dispensings}
        people |= {back.pharmacist_code for one in self.dispensings for back in one.returns.all()}
        if found := self.prescription:
            codes |= {one.institution_code for one in found.releases.all()}
            people |= {found.signed_by, found.reviewed_by}
        places = Institution.objects.select_related("region").in_bulk(codes)
        self.institutions = {code: place.name for code, place in places.items()}
        self.region = places[institution].region.policy_region if institution in places else ""
        self.practitioners = Physician.objects.in_bulk(people - {""})
        drugs = {line.drug_code for line in found.lines.all()} if found else set()
        listed = Drug.objects.filter(code__in=drugs, catalogue__state="published")
        self.drug_names = dict(listed.values_list("code", "name"))

    def _statements(self) -> None:
        for versions in self.settlements.values():
            last = versions[-1]
            self.statements += Statement.objects.filter(
                institution_code=last.institution_code, scheme=last.scheme, period=last.period
            )

    def _parcels(self) -> Iterator[Delivery]:
        for one in self.dispensings:
            yield from one.deliveries.all()

    # --- Steps ---

    def _step(
        self, title: str, at: Any = None, *, text: str = "", by: str = "", tone: str = "ok",
        url: str = "", clause: str = "",
    ) -> dict:  # fmt: skip
        shown = at if isinstance(at, str) else moment(at)[:16] if at else ""
        return {"title": title, "at": shown, "text": text, "by": by, "tone": tone, "url": url,
                "clause": self.cited(clause) if clause else None}  # fmt: skip

    def _gap(self, title: str, text: str, clause: str, *, tone: str = "bad") -> dict:
        """A step that is not there: it stands in its flow and in the list of gaps."""
        step = self._step(title, text=text, tone=tone, clause=clause)
        if tone in ("bad", "warn"):
            self.missing.append({"title": title, "text": text, "tone": tone})
        return step

    def cited(self, number: str) -> dict[str, str]:
        """A clause of the region's document as pages show it."""
        release = self.catalogue.policy(self.region, self.at.date())
        if release is None:
            return {"document": "", "clause": number, "text": ""}
        texts = release.policy.section("clauses", {})
        return {
            "document": release.policy.document,
            "clause": number,
            "text": texts.get(number, ""),
        }

    def _asked(self, kind: str) -> dt.datetime | None:
        """Until when a kind of evidence is awaited; None where the region does not ask for it."""
        hours = evidence.wanted(self.catalogue, self.region, self.at.date())
        ended = parsed(self.encounter["ended_at"])
        if kind not in hours or ended is None:
            return None
        return ended + dt.timedelta(hours=hours[kind])

    def _uploaded(self, kind: str, title: str, came: dt.datetime | None = None) -> dict | None:
        """The step of a kind of evidence: in time, late, awaited or missing; None: not asked for."""
        row, due = self.evidence.get(kind), self._asked(kind)
        at = min(filter(None, (came, row.received_at if row else None)), default=None)
        if at is None and due is None:
            return None
        limit = f"最迟 {moment(due)[:16]}" if due else ""
        if at is None and due and due > self.at:
            return self._step(f"待上传：{title}", text=limit, tone="wait", clause="二十六")
        if at is None:
            return self._gap(f"缺少：{title}", f"{limit}，尚未上传", "二十六")
        if due and at > due:
            return self._gap(
                f"迟交：{title}", f"{limit}，收到 {moment(at)[:16]}", "二十六", tone="warn"
            )
        return self._step(title, at, text=_reference(row), url=_url(row))

    def information(self) -> list[dict]:
        """Visit, real name, record, prescription, signature, review, circulation."""
        visit = self.encounter
        steps = [
            self._step(
                "就诊", _iso(visit["started_at"]), tone="info",
                text=" · ".join(filter(None, (
                    words.word("visit_type", visit["visit_type"]),
                    words.MEDIA.get(visit["session"]["medium"], ""),
                    department(visit["department_code"])))),
            ),
            self._real_name(),
            self._uploaded(Kind.RECORD, "电子病历"),
        ]  # fmt: skip
        found = self.prescription
        if found is None:
            steps.append(self._step("处方", text="本次就诊没有处方", tone="mute"))
        else:
            steps += [*self._signed(found), *self._checked(found), *self._released(found)]
        return [step for step in steps if step]

    def _real_name(self) -> dict | None:
        verified = [claim.document["person"].get("verified_at") for claim in self.claims]
        log = self._uploaded(Kind.REAL_NAME, "实名认证记录")
        told = next((_iso(at) for at in verified if at), "")
        if log and log["tone"] == "ok" and told:
            log["text"] = f"电子凭证核验 {told}"
        return log

    def _person(self, code: str) -> str:
        known = self.practitioners.get(code)
        return f"{known.name}（{code}）" if known else f"{code}，未登记"

    def _signed(self, found: Prescription) -> Iterator[dict]:
        if found.signed_at is None:
            yield self._gap("缺少：医师电子签名", "处方没有电子签名", PRESCRIBED["signature"])
            return
        known = found.signed_by in self.practitioners
        digest = bytes(found.signature).hex()[:16] if found.signature else ""
        yield self._step(
            "医师电子签名", found.signed_at, by=self._person(found.signed_by),
            text=f"签名摘要 {digest}…" if digest else "随申请上报，没有签名摘要",
            tone="ok" if known else "warn", clause="" if known else PRESCRIBED["signature"],
        )  # fmt: skip

    def _checked(self, found: Prescription) -> list[dict]:
        """Upload and review in the order in which they happened."""
        uploaded, reviewed = self._prescribed(found), list(self._reviewed(found))
        first = found.reviewed_at is not None and found.reviewed_at <= found.uploaded_at
        return [*reviewed, uploaded] if first else [uploaded, *reviewed]

    def _reviewed(self, found: Prescription) -> Iterator[dict]:
        if found.state == Prescription.State.SIGNED and not self.charges:
            yield self._step("待药师审核", text="由医院药师在本院系统中审核", tone="wait",
                             clause=PRESCRIBED["review"])  # fmt: skip
        elif found.reviewed_at is None:
            yield self._gap("缺少：药师审核", "处方未经药师审核", PRESCRIBED["review"])
        elif found.review == Prescription.Review.RETURNED:
            yield self._gap("药师退回", found.review_reason, PRESCRIBED["review"])
        else:
            known = found.reviewed_by in self.practitioners
            yield self._step("药师审核通过", found.reviewed_at, by=self._person(found.reviewed_by),
                             tone="ok" if known else "warn")  # fmt: skip

    def _prescribed(self, found: Prescription) -> dict:
        told = self._uploaded(Kind.PRESCRIPTION, "处方上传", found.uploaded_at)
        step = told or self._step("处方上传", found.uploaded_at)
        if not step["text"] and found.source == Prescription.Source.CLAIM:
            step["text"] = found.get_source_display()
        return step

    def _released(self, found: Prescription) -> Iterator[dict]:
        for one in found.releases.all():
            name = self.institutions.get(one.institution_code, one.institution_code)
            yield self._step(f"流转至 {name}", one.released_at, tone="info",
                             clause=PRESCRIBED["release"])  # fmt: skip
            if one.recalled_at:
                yield self._step(f"从 {name} 收回", one.recalled_at, tone="mute")
        if found.state == Prescription.State.WITHDRAWN:
            yield self._step("处方已撤回", text=found.state_reason, tone="bad")
        if found.state == Prescription.State.EXPIRED:
            yield self._step("处方已过期", text=f"有效期至 {found.expires_on}", tone="bad")

    def money(self) -> list[dict]:
        """Claims, settlements, their legs, reversals and the month's statement."""
        steps = []
        for claim in self.claims:
            name = self.institutions.get(claim.institution_code, claim.institution_code)
            steps.append(self._step(
                f"申报 {claim.claim_no}", claim.received_at, by=name, tone="info",
                text=f"费用 {yuan(claim.fee)} 元", url=reverse("claim", args=[claim.pk]),
            ))  # fmt: skip
            steps += [
                self._settled(row, self.legs.get(claim.pk, []))
                for row in self.settlements.get(claim.pk, ())
            ]
            if claim.pk not in self.settlements:
                steps.append(self._step("待批量结算", tone="wait"))
        hidden = {c.claim_id for c in self.charges} - {claim.pk for claim in self.claims}
        if hidden:
            steps.append(
                self._step(f"另有 {len(hidden)} 笔申报", text="不在您的数据范围内", tone="mute")
            )
        if not self.charges and not self.claims:
            steps.append(self._step("尚未申报", text="没有医保结算申请", tone="mute"))
        return steps + [self._statement(row) for row in self.statements]

    def _settled(self, row: Settlement, legs: list[Leg]) -> dict:
        title = "冲正" if row.version % 2 == 0 else "结算" if row.version == 1 else "重新结算"
        posted = "，".join(
            f"{leg.get_account_display()} {yuan(leg.amount)}"
            for leg in legs if leg.version == row.version and leg.amount > 0
        )  # fmt: skip
        return self._step(
            f"{title}：{row.get_state_display()}", row.settled_at,
            text=f"借方 {posted}" if posted else "没有入账",
            tone=words.STATE_TONES.get(row.state, "info"),
        )  # fmt: skip

    def _statement(self, row: Statement) -> dict:
        return self._step(
            f"{row.period:%Y年%m月}结算单", text=f"应付 {yuan(row.payable)} 元", tone="info",
            url=reverse("statement", args=[row.pk]),
        )  # fmt: skip

    def goods(self) -> list[dict]:
        """Dispensings with their trace codes, parcels to the patient; the delivery fee is nobody's."""
        steps: list[dict | None] = []
        recorded = min((one.recorded_at for one in self.dispensings), default=None)
        for one in self.dispensings:
            steps += [self._dispensed(one), *self._untraced(one)]
            for parcel in one.deliveries.all():
                steps += self._parcel(parcel)
            steps += [self._came_back(back) for back in one.returns.all()]
        charged = any(charge.quantity for charge in self.charges)
        if charged or self.dispensings or Kind.PURCHASE in self.evidence:
            steps.append(self._uploaded(Kind.PURCHASE, "购药记录", recorded))
        if charged and not self.dispensings:
            steps.append(self._gap("缺少：调配记录", "已申报药品费，没有调配和追溯码", "二十六"))
        if not steps:
            steps.append(self._step("尚未调配", tone="mute"))
        return [step for step in steps if step]

    def _dispensed(self, one: Dispensing) -> dict:
        told = "，".join(
            f"{self.drug_names.get(line.drug_code, line.drug_code)} × {quantity_text(line.quantity)}"
            for line in one.lines.all()
        )
        by = [self.institutions.get(one.institution_code, one.institution_code)]
        if one.pharmacist_code:
            by.append(self._person(one.pharmacist_code))
        return self._step(f"调配 {one.number}", one.dispensed_at, by=" ".join(by), text=told)

    def _untraced(self, one: Dispensing) -> Iterator[dict]:
        codes = [trace.code for trace in one.traces.all()]
        if codes:
            yield self._step("药品追溯码", text=self._codes(codes))
        else:
            yield self._gap(
                "缺少：药品追溯码", "逐步实行扫码销售，本次没有登记", "二十六", tone="warn"
            )

    def _came_back(self, back: DispensingReturn) -> dict:
        told = [
            f"{self.drug_names.get(one.line.drug_code, one.line.drug_code)}"
            f" × {quantity_text(one.quantity)}"
            for one in back.lines.all()
        ]
        codes = [one.trace_id for one in back.traces.all()]
        if codes:
            told.append("追溯码 " + self._codes(codes))
        reason = "：".join(filter(None, (back.get_reason_display(), back.note)))
        if back.claims:
            reason += f"；冲正申请 {len(back.claims)} 笔"
        by = self._person(back.pharmacist_code) if back.pharmacist_code else ""
        name = self.institutions.get(back.institution_code, back.institution_code)
        return self._step(
            f"退药 {back.number}", back.returned_at, tone="warn", by=by or name,
            text=f"{'，'.join(told)}（{reason}）", clause="二十六",
        )  # fmt: skip

    @staticmethod
    def _codes(codes: list[str]) -> str:
        more = f" 等 {len(codes)} 个" if len(codes) > CODES_SHOWN else ""
        return "、".join(codes[:CODES_SHOWN]) + more

    def _parcel(self, parcel: Delivery) -> Iterator[dict]:
        name = self.institutions.get(parcel.logistics_code, parcel.logistics_code)
        yield self._step("委托配送", parcel.recorded_at, by=name, text=f"运单号 {parcel.waybill}",
                         tone="info", clause=PRESCRIBED["delivery"])  # fmt: skip
        steps = list(parcel.steps.all())
        for one in steps:
            relation = f"（{one.get_relation_display()}）" if one.relation else ""
            tone = "bad" if one.kind == "returned" else "ok"
            yield self._step(f"{one.get_kind_display()}{relation}", one.at, tone=tone)
        if not {one.kind for one in steps} & {"signed", "returned"}:
            due = self._asked(Kind.DELIVERY)
            late = due is not None and due <= self.at
            text = f"最迟 {moment(due)[:16]}" if due else ""
            yield (
                self._gap("缺少：签收记录", text, "二十六") if late
                else self._step("待签收", text=text, tone="wait")
            )  # fmt: skip

    # --- Tables ---

    def drugs(self) -> list[dict]:
        """Per drug: prescribed, dispensed, charged; a drug charged without being prescribed is a gap."""
        if self.prescription is None:
            return []
        charged: dict[str, int] = {}
        seen = {claim.pk for claim in self.claims}
        hidden = any(charge.claim_id not in seen for charge in self.charges)
        for charge in self.charges:
            if charge.quantity and charge.claim_id in seen and self._live(charge.claim_id):
                charged[charge.drug_code] = charged.get(charge.drug_code, 0) + charge.quantity
        rows = []
        for line in self.prescription.lines.all():
            kept, claimed = line.dispensed - line.returned, charged.pop(line.drug_code, 0)
            if line.returned and claimed > kept:
                self._gap("退药未冲正", f"{line.drug_code} 已申报 {quantity_text(claimed)}，退药后"
                          f"患者留有 {quantity_text(kept)}", "二十六")  # fmt: skip
            rows.append({
                "code": line.drug_code, "name": self.drug_names.get(line.drug_code, ""),
                "prescribed": f"{quantity_text(line.quantity)} {line.unit}",
                "days": line.days_supply, "dispensed": quantity_text(line.dispensed),
                "returned": quantity_text(line.returned),
                "charged": "—" if hidden and not claimed else quantity_text(claimed),
            })  # fmt: skip
        for code, quantity in sorted(charged.items()):
            self._gap("处方外药品", f"{code} 已申报 {quantity_text(quantity)}，处方中没有", "十四",
                      tone="warn")  # fmt: skip
            rows.append({"code": code, "name": "处方外药品", "prescribed": "—", "days": "",
                         "dispensed": "—", "returned": "—", "charged": quantity_text(quantity)})  # fmt: skip
        return rows

    def _live(self, claim_id: int) -> bool:
        versions = self.settlements.get(claim_id)
        return not versions or (
            versions[-1].version % 2 == 1 and versions[-1].state != Settlement.State.REJECTED
        )


def _iso(text: str) -> str:
    found = parsed(text)
    return moment(found)[:16] if found else ""


def _reference(row: Evidence | None) -> str:
    if row is None:
        return ""
    stored = row.reference.startswith("document:")
    return f"摘要 {bytes(row.content_hash).hex()[:16]}…" + ("" if stored else f"，{row.reference}")


def _url(row: Evidence | None) -> str:
    """Where the file behind evidence is read, when it was uploaded."""
    if row is None or not row.reference.startswith("document:"):
        return ""
    number = row.reference.removeprefix("document:")
    known = number.isdigit() and Document.objects.filter(pk=int(number)).exists()
    return reverse("document", args=[int(number)]) if known else ""
