"""The whole visit of a claim under review at once, read in a fixed number of queries (FIELD: 费用审核).

Last offline visit and what is left of the window, disease, prescription with signature and pharmacist,
purchase and delivery, real name, gaps, the person's other visits, findings, and how it is settled.
"""

import datetime as dt
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.db.models import OuterRef, Subquery
from django.urls import reverse

from audit.text import yuan
from institutions.calendar import add_months
from institutions.models import Institution, User
from pricing.releases import Catalogue
from settlement import words
from settlement.columns import NO_DAY, UNKNOWN_DAY, day_of, records
from settlement.detail import Detail, moment
from settlement.flow import Flow
from settlement.models import (
    ChronicDisease,
    Claim,
    Evidence,
    Prescription,
    PrescriptionCharge,
    Settlement,
)
from supervision.models import Finding, Review

HISTORY = 12
STEPS_SHOWN = {"information": "信息流", "goods": "物流"}


@dataclass
class Visit:
    """What a reviewer has to know of the visit; every value is prepared for its page."""

    case: Review
    claim: Claim
    detail: Detail
    flow: Flow
    user: User

    @classmethod
    def of(cls, case: Review, *, user: User, catalogue: Catalogue, at: dt.datetime) -> "Visit":
        """Everything of the visit that the reader may see."""
        claim = Claim.objects.get(pk=case.claim_id)
        detail = Detail.of(claim, user=user, catalogue=catalogue)
        charge = PrescriptionCharge.objects.filter(claim_id=claim.pk).order_by("pk").first()
        found = (
            Prescription.objects.visible_to(user).filter(pk=charge.prescription_id).first()
            if charge
            else None
        )
        flow = (
            Flow.of_prescription(found, user=user, catalogue=catalogue, at=at)
            if found
            else Flow.of_claim(claim, user=user, catalogue=catalogue, at=at)
        )
        return cls(case, claim, detail, flow, user)

    # --- Signals: what a reviewer looks at first ---

    def signals(self) -> list[dict[str, Any]]:
        """The facts that decide most reviews, each with its tone."""
        return [self._window(), self._disease(), self._prescription(), self._pharmacist(),
                self._goods(), self._real_name(), self._evidence(), self._rules()]  # fmt: skip

    def _window(self) -> dict[str, Any]:
        last = int(records(bytes(self.claim.facts))[0]["last_offline_day"])
        if last in (NO_DAY, UNKNOWN_DAY):
            return _signal("末次线下就诊", "没有记录", "warn")
        day, months = day_of(last), self._months()
        if not months:
            apart = (self.claim.service_date - day).days
            return _signal(
                "末次线下就诊", str(day), "info", f"服务日前 {apart} 天，本统筹区没有规定期限"
            )
        end = add_months(day, months)
        left = (end - self.claim.service_date).days
        text = f"{months}个月窗口至 {end}，"
        note = text + (f"服务日距期满 {left} 天" if left >= 0 else f"服务日已超过 {-left} 天")
        return _signal("末次线下就诊", str(day), "ok" if left >= 0 else "bad", note)

    def _months(self) -> int:
        """The window of revisits in the law that settled the claim; 0: it has none."""
        checks = self.detail.rules.checks if self.detail.rules else ()
        found = (row.numbers["months"] for row in checks if row.rule.name == "revisit_window")
        return int(next(found, 0))

    def _disease(self) -> dict[str, Any]:
        given = self.claim.document.get("encounter", {}).get("diagnoses", ())
        said = "、".join(row.get("name", "") for row in given) or "没有诊断"
        rows = ChronicDisease.objects.filter(person_id=self.claim.person_id)
        filed = [row.name for row in rows.in_force(on=self.claim.service_date)]
        known = f"已认定：{'、'.join(filed)}" if filed else "没有认定的慢特病"
        return _signal("病种", said, "ok" if filed else "info", known)

    def _prescription(self) -> dict[str, Any]:
        found = self.flow.prescription
        if found is None:
            return _signal("处方与医师签名", "本次没有处方", "info")
        if found.signed_at is None:
            return _signal("处方与医师签名", "没有电子签名", "bad", f"处方号 {found.number}")
        return _signal("处方与医师签名", f"{self._who(found.signed_by)} 已签名", "ok",
                       f"处方号 {found.number} · {moment(found.signed_at)[:16]}")  # fmt: skip

    def _pharmacist(self) -> dict[str, Any]:
        found = self.flow.prescription
        if found is None:
            return _signal("药师审核", "不适用", "mute")
        if found.reviewed_at is None:
            return _signal("药师审核", "未经药师审核", "bad")
        returned = found.review == Prescription.Review.RETURNED
        return _signal("药师审核", f"{self._who(found.reviewed_by)} {found.get_review_display()}",
                       "bad" if returned else "ok", moment(found.reviewed_at)[:16])  # fmt: skip

    def _who(self, code: str) -> str:
        known = self.flow.practitioners.get(code)
        return known.name if known else f"{code}（未登记）"

    def _goods(self) -> dict[str, Any]:
        count = len(self.flow.dispensings)
        if not count:
            charged = any(row.quantity for row in self.flow.charges)
            return _signal("购药与配送", "没有调配记录" if charged else "本次没有购药",
                           "bad" if charged else "mute")  # fmt: skip
        parcels = [row for one in self.flow.dispensings for row in one.deliveries.all()]
        signed = sum(any(step.kind == "signed" for step in row.steps.all()) for row in parcels)
        note = f"配送 {len(parcels)} 件，签收 {signed} 件" if parcels else "没有配送"
        return _signal(
            "购药与配送", f"调配 {count} 次", "ok" if signed == len(parcels) else "warn", note
        )

    def _real_name(self) -> dict[str, Any]:
        given = self.claim.document.get("person", {})
        matched = bool(given.get("matched"))
        way = words.CREDENTIALS.get(given.get("credential_type", ""), "")
        stored = Evidence.Kind.REAL_NAME in self.flow.evidence
        return _signal("实名核验", "人证相符" if matched else "人证不符", "ok" if matched else "bad",
                       f"{way} · {'有' if stored else '没有'}实名记录")  # fmt: skip

    def _evidence(self) -> dict[str, Any]:
        gaps = self.gaps
        if not gaps:
            return _signal("就诊材料", "齐全", "ok")
        return _signal(
            "就诊材料", f"{len(gaps)} 处缺口", "bad", "、".join(row["title"] for row in gaps)
        )

    def _rules(self) -> dict[str, Any]:
        found = self.findings()
        if not found:
            return _signal("规则命中", "没有疑点", "ok")
        grave = any(row["severity"] == Finding.Severity.GRAVE for row in found)
        return _signal(
            "规则命中", f"{len(found)} 条疑点", "bad" if grave else "warn", found[0]["message"]
        )

    # --- Parts of the page ---

    @cached_property
    def gaps(self) -> list[dict[str, Any]]:
        """What the law asks for and is not there; filled while the flows are drawn."""
        self.flow.missing.clear()
        self.flow.information(), self.flow.goods(), self.flow.drugs()
        return list(self.flow.missing)

    def flows(self) -> list[dict[str, Any]]:
        """Records and goods as timelines."""
        return [
            {"key": key, "title": title, "steps": steps}
            for key, title in STEPS_SHOWN.items()
            if (steps := [row for row in getattr(self.flow, key)() if row])
        ]

    @cached_property
    def _found(self) -> list[dict[str, Any]]:
        rows = Finding.objects.visible_to(self.user).filter(evidence__claim_id=self.claim.pk)
        tones = {1: "info", 2: "warn", 3: "bad"}
        return [
            {"message": row.message, "rule": row.rule, "severity": row.severity,
             "label": row.get_severity_display(), "tone": tones[row.severity], "clause": row.clause,
             "state": row.get_state_display(), "moment": row.get_moment_display()}
            for row in rows.distinct().order_by("-severity", "pk")
        ]  # fmt: skip

    def findings(self) -> list[dict[str, Any]]:
        """What the rules found of this claim, the gravest first."""
        return self._found

    def history(self) -> list[dict[str, Any]]:
        """The person's other visits that the reader may see, newest first."""
        last = Settlement.objects.filter(claim_id=OuterRef("pk")).order_by("-version")
        rows = list(
            Claim.objects.visible_to(self.user).filter(person_id=self.claim.person_id)
            .exclude(pk=self.claim.pk)
            .annotate(state=Subquery(last.values("state")[:1]), paid=Subquery(last.values("fund")[:1]))
            .order_by("-service_date", "-pk")[:HISTORY]
        )  # fmt: skip
        names = dict(
            Institution.objects.filter(pk__in={row.institution_code for row in rows})
            .values_list("pk", "name")
        )  # fmt: skip
        states = dict(Settlement.State.choices)
        return [
            {"url": reverse("claim", args=[row.pk]), "no": row.claim_no, "day": row.service_date,
             "apart": (self.claim.service_date - row.service_date).days,
             "place": names.get(row.institution_code, row.institution_code),
             "same": row.institution_code == self.claim.institution_code,
             "disease": "、".join(d.get("name", "") for d in
                                 row.document.get("encounter", {}).get("diagnoses", ())),
             "fee": yuan(row.fee), "fund": yuan(row.paid) if row.paid is not None else "—",
             "state": states.get(row.state, "待结算"),
             "tone": words.STATE_TONES.get(row.state, "info")}
            for row in rows
        ]  # fmt: skip

    def person(self) -> dict[str, str]:
        """The person, masked."""
        person = self.detail.person
        return {"name": person.name_masked if person else "未登记",
                "id": person.id_masked if person else ""}  # fmt: skip

    def doctor(self) -> str:
        """The physician of the visit."""
        code = self.claim.document.get("physician", {}).get("code", "")
        found = self.detail.physician
        return f"{found.name}（{code}）" if found else f"{code}（未登记）"


def _signal(label: str, value: str, tone: str, note: str = "") -> dict[str, Any]:
    return {"label": label, "value": value, "tone": tone, "note": note}
