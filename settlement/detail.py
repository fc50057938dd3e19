"""One claim with everything known of it, read in a fixed number of queries and prepared for its page."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone

from audit.models import Event
from audit.text import yuan
from audit.words import ACTS, act
from institutions.departments import department
from institutions.models import Institution, Physician, User
from institutions.naming import Login
from pricing.policy import Rules
from pricing.releases import Catalogue
from pricing.rules import CODES, SERVICES
from settlement import answer, explain, picture, words
from settlement.columns import facts_as_dict, records
from settlement.invoices import MANUAL
from settlement.models import (
    Claim,
    ClaimLine,
    InsuredPerson,
    Leg,
    LineResult,
    Reimbursement,
    Settlement,
    Voucher,
)
from settlement.posting import TOTALS

CASH_LEGS = {
    Leg.Account.PATIENT_CASH: "cash_scope",
    Leg.Account.OVER_CAP: "cash_over",
    Leg.Account.OUT_OF_SCOPE: "cash_out",
}
#: What the history of versions shows, in the order of words.TOTALS.
DIFFERING = tuple(name for name in words.TOTALS if name in TOTALS)
UNITS_QUANTITY, UNITS_PRICE = 10_000, 1_000_000


@dataclass
class Detail:
    """A claim, its lines, settlements, legs, events and parties. Amounts in fen."""

    claim: Claim
    lines: list[ClaimLine]
    versions: list[Settlement]
    results: list[LineResult]
    legs: list[Leg]
    events: list[Event]
    institution: Institution | None
    request: Reimbursement | None  #: that the agency entered the claim for (手工报销)
    person: InsuredPerson | None
    physician: Physician | None
    catalogue: Catalogue
    rules: Rules | None = None
    answers: list[dict] = field(default_factory=list)

    @classmethod
    def of(cls, claim: Claim, *, user: User, catalogue: Catalogue) -> "Detail":
        """Everything about a claim that `user` may see, in a fixed number of queries."""
        lines = list(
            ClaimLine.objects.filter(claim_id=claim.pk, period=claim.period).order_by("line_no")
        )
        doctor = claim.document.get("physician", {}).get("code", "")
        mine = Q(claim_id=claim.pk)
        versions = list(Settlement.objects.filter(mine).order_by("version"))
        current = max((row.version for row in versions if row.version % 2), default=0)
        subjects = [f"claim:{claim.pk}"] + ([f"batch:{claim.batch_id}"] if claim.batch_id else [])
        found = cls(
            claim=claim,
            lines=lines,
            versions=versions,
            results=list(LineResult.objects.filter(mine, version=current).order_by("line_no")),
            legs=list(Leg.objects.filter(mine).order_by("version", "account")),
            events=list(
                Event.objects.visible_to(user).filter(subject__in=subjects).order_by("at", "id")
            ),
            institution=Institution.objects.filter(pk=claim.institution_code).first(),
            request=Reimbursement.objects.filter(entered__claim_id=claim.pk).first()
            if claim.document.get("channel") == MANUAL
            else None,
            person=InsuredPerson.objects.filter(pk=claim.person_id).first(),
            physician=Physician.objects.filter(pk=doctor).first(),
            catalogue=catalogue,
        )
        stored = answer.read(claim.pk) if found.results else None
        if stored:
            found.rules = answer.rules_of(stored, catalogue)
            home = answer.home_of(stored, found.rules, catalogue)
            cited = {"account_clause": account_clause(home or found.rules, stored.record)}
            told = answer.represent(stored, found.rules, home)["lines"]
            found.answers = [line | cited for line in told]
        return found

    @property
    def last(self) -> Settlement | None:
        return self.versions[-1] if self.versions else None

    @property
    def current(self) -> Settlement | None:
        """The settlement that counts, or counted last: the highest odd version."""
        return next((row for row in reversed(self.versions) if row.version % 2), None)

    @property
    def reversed(self) -> bool:
        return self.last is not None and self.last.version % 2 == 0

    @cached_property
    def names(self) -> dict[str, str]:
        """Names of the price items in the release used, by code."""
        items = self.rules.policy.section("items", ()) if self.rules else ()
        return {item["code"]: item["name"] for item in items}

    def badges(self) -> list[dict[str, str]]:
        """State and stamps of the header."""
        if self.last is None:
            return [{"label": "已受理", "tone": "info"}]
        state = self.last.state
        found = [{"label": self.last.get_state_display(), "tone": words.STATE_TONES[state]}]
        if any(row.example for row in self.versions):
            found.append({"label": "示例参数", "tone": "warn"})
        return found

    def chart(self) -> dict[str, Any] | None:
        """The waterfall of the claim as it is, or was last, settled."""
        settled = self.current
        if not self.answers or settled is None:
            return None
        totals = {name: getattr(settled, name) for name in TOTALS}
        totals |= dict.fromkeys(CASH_LEGS.values(), 0)
        for leg in self.legs:
            name = CASH_LEGS.get(Leg.Account(leg.account))
            if leg.version == settled.version and name:
                totals[name] = leg.amount
        return picture.claim_chart(totals, self.answers, title="费用分解")

    def shown_lines(self) -> list[dict[str, Any]]:
        """Lines with decision, reason, clauses and their own waterfall."""
        return [
            self._line(line, result, answer)
            for line, result, answer in zip(self.lines, self.results, self.answers, strict=True)
        ]

    def _line(self, line: ClaimLine, result: LineResult, answer: dict) -> dict[str, Any]:
        service = answer["canonical_code"] or line.item_code
        kind = words.VALUES["service"].get(SERVICES[line.service], "其他")
        paid = answer["decision"] == "payable"
        title = f"第 {line.line_no} 项费用分解"
        return {
            "no": line.line_no,
            "name": self.names.get(service) or line.service_type or kind,
            "code": line.item_code,
            "kind": kind,
            "quantity": f"{line.quantity / UNITS_QUANTITY:g}",
            "price": f"{line.unit_price / UNITS_PRICE:,.2f}",
            "fee": yuan(line.fee),
            "in_scope": yuan(result.in_scope) if paid else "—",
            "over_cap": yuan(result.over_cap) if paid else "—",
            "first_self_pay": yuan(result.first_self_pay) if paid else "—",
            "fund": yuan(result.fund) if paid else "—",
            "decision": words.DECISIONS[answer["decision"]],
            "tone": words.DECISION_TONES[answer["decision"]],
            "reason": answer["reason_text"],
            "reason_code": answer["reason"],
            "clauses": answer["clauses"],
            "flags": [words.FLAGS.get(flag, flag) for flag in answer["flags"]],
            "chart": picture.line_chart(answer, fee=line.fee, title=title),
        }

    @staticmethod
    def verdicts(lines: Iterable[dict[str, Any]]) -> list[dict[str, str]]:
        """Why something is not paid, each decision and reason once, with the lines it meets."""
        met: dict[tuple[str, str, str], list[str]] = {}
        for line in lines:
            if line["reason"]:
                met.setdefault((line["decision"], line["tone"], line["reason"]), []).append(
                    str(line["no"])
                )
        return [
            {"title": decision, "tone": tone, "text": f"第 {'、'.join(numbers)} 项：{reason}"}
            for (decision, tone, reason), numbers in met.items()
        ]

    def ledger(self) -> list[dict[str, Any]]:
        """Double entries of each version: legs with debit and credit, and their sums."""
        books = []
        for version in self.versions:
            legs = [leg for leg in self.legs if leg.version == version.version]
            debit = sum(leg.amount for leg in legs if leg.amount > 0)
            credit = -sum(leg.amount for leg in legs if leg.amount < 0)
            books.append({
                "title": title_of(version),
                "at": moment(version.settled_at), "reason": version.reason,
                "legs": [
                    {"account": leg.get_account_display(),
                     "debit": yuan(leg.amount) if leg.amount > 0 else "",
                     "credit": yuan(-leg.amount) if leg.amount < 0 else ""}
                    for leg in legs],
                "debit": yuan(debit), "credit": yuan(credit), "balanced": debit == credit,
            })  # fmt: skip
        return books

    def history(self) -> list[dict[str, Any]]:
        """Every version with its amounts and, for a claim settled again, what became different."""
        shown, before = [], None
        for row in self.versions:
            amounts = [
                {"label": words.TOTALS[name], "value": yuan(getattr(row, name)),
                 "change": _change(row, before, name)}
                for name in DIFFERING
            ]  # fmt: skip
            shown.append({
                "no": row.version, "title": title_of(row), "state": row.get_state_display(),
                "tone": words.STATE_TONES[row.state], "at": moment(row.settled_at),
                "by": row.settled_by, "reason": row.reason, "posted": f"{row.period:%Y年%m月}",
                "year": row.year, "amounts": amounts, "now": row is self.last,
            })  # fmt: skip
            before = row if row.version % 2 else before
        return shown

    def refunds(self) -> list[dict[str, str]]:
        """Where a reversal gives each part back to: whatever paid it (条例 第四十五条)."""
        settled = self.current
        if settled is None:
            return []
        legs = [(leg.account, leg.amount) for leg in self.legs if leg.version == settled.version]
        return [
            {
                "label": words.REFUNDS[to],
                "value": f"{yuan(amount)} 元",
                "sub": words.REFUND_WAYS[to],
            }
            for to, amount in answer.refunds(legs).items()
        ]

    def facts(self) -> list[dict[str, Any]]:
        """The facts that were used, in Chinese words."""
        known = facts_as_dict(records(bytes(self.claim.facts))[0])
        return [
            {"label": words.FACTS.get(name, name), "value": words.word(name, value)}
            for name, value in known.items()
        ]

    def releases(self) -> list[dict[str, Any]]:
        """The releases that the lines name, and every parameter set that applied with them."""
        named = dict.fromkeys((row.release_id, row.parameters_id) for row in self.results)
        found = {
            release.id: release
            for key, parameters in named if key
            for release in (self.catalogue.release(key), *self.catalogue.sets_of(parameters))
        }  # fmt: skip
        return [
            {"label": release.policy.data["title"], "value": release.policy.document,
             "sub": f"版本 {release.id} · SM3 {release.sm3[:16]}…"}
            for release in found.values()
        ]  # fmt: skip

    def regional(self) -> list[dict[str, Any]]:
        """The vouchers by which the insured region owes what it pays for the claim (异地清算)."""
        if not any(row.insured_pool for row in self.versions):
            return []
        rows = Voucher.objects.filter(
            kind=Voucher.Kind.REGIONAL, subject=f"claim:{self.claim.pk}"
        ).order_by("pk")
        return [
            {"label": f"第 {row.detail['version']} 版", "value": row.number, "code": True,
             "sub": f"{row.period:%Y年%m月} · {yuan(-row.amount if row.reverses_id else row.amount)} 元",
             "url": reverse("voucher", args=[row.pk])}
            for row in rows
        ]  # fmt: skip

    def timeline(self) -> list[dict[str, Any]]:
        """What happened to the claim, newest last; the trail's words in Chinese."""
        return [
            {"at": moment(event.at), "by": event.actor,
             "title": act(event.action),
             "tone": "ok" if event.outcome == "ok" else "bad"}
            for event in in_order(self.events)
        ]  # fmt: skip

    def sections(self) -> list[dict[str, Any]]:
        """Description lists: claim, encounter, person, physician, prescriptions."""
        document, claim = self.claim.document, self.claim
        return [
            {"title": "申报", "items": [
                {"label": "单据号", "value": claim.claim_no, "code": True},
                {"label": "医疗机构", "value": str(self.institution or claim.institution_code),
                 "sub": claim.institution_code},
                {"label": "申报时间", "value": moment(claim.received_at), "sub": Login(claim.received_by)},
                self._channel(document.get("channel", "")),
                {"label": "电子发票", "value": document.get("e_invoice_no") or ""},
                {"label": "个人账户", "value": "使用" if document.get("pay_from_account") else "不使用"}]},
            {"title": "参保人与核验", "items": self._person(document.get("person", {}),
                                                        document.get("consent") or {})},
            {"title": "就诊与医师", "items": self._encounter(document.get("encounter", {}))},
        ]  # fmt: skip

    def _channel(self, channel: str) -> dict[str, Any]:
        """Online, manual by the institution, or entered for a person's request."""
        if self.request is None:
            return {
                "label": "结算渠道",
                "value": "手工报销" if channel == "manual" else "联网结算",
            }
        return {"label": "结算渠道", "value": "手工报销（参保人申请）", "sub": self.request.number,
                "url": reverse("reimbursement", args=[self.request.pk])}  # fmt: skip

    def _person(self, given: dict, consent: dict) -> list[dict[str, Any]]:
        person = self.person
        scheme = self.current.get_scheme_display() if self.current else ""
        return [
            {"label": "参保人", "value": person.name_masked if person else "未登记",
             "sub": person.id_masked if person else ""},
            {"label": "险种", "value": scheme},
            {"label": "核验凭证", "value": words.CREDENTIALS.get(given.get("credential_type", ""), "")},
            {"label": "人证核验", "value": "相符" if given.get("matched") else "不符",
             "tone": "ok" if given.get("matched") else "bad"},
            {"label": "核验时间", "value": _iso(given.get("verified_at"))},
            {"label": "知情同意", "sub": _iso(consent.get("given_at")),
             "value": "已说明项目与收费" if consent.get("item_and_price_explained") else "没有记录"},
        ]  # fmt: skip

    def _encounter(self, given: dict) -> list[dict[str, Any]]:
        doctor, session = self.physician, given.get("session", {})
        diagnoses = [
            f"{d.get('name', '')}（{d.get('code', '')}）" for d in given.get("diagnoses", ())
        ]
        return [
            {"label": "服务日期", "value": self.claim.service_date.isoformat(),
             "sub": f"{_iso(given.get('started_at'))} 起"},
            {"label": "就诊编号", "value": self.claim.encounter_id, "code": True},
            {"label": "业务与就诊", "value": " · ".join(
                words.word(name, given[name]) for name in ("business_type", "visit_type")
                if given.get(name))},
            {"label": "诊断", "value": "、".join(diagnoses)},
            {"label": "科室与方式", "value": department(given.get("department_code", "")),
             "sub": words.MEDIA.get(session.get("medium", ""), "")},
            {"label": "医师", "value": doctor.name if doctor else "未登记",
             "sub": self.claim.document.get("physician", {}).get("code", "")},
        ]  # fmt: skip

    def prescriptions(self) -> list[dict[str, str]]:
        """Prescriptions with their two signatures."""
        return [
            {"no": p.get("no", ""), "drugs": str(len(p.get("lines", ()))),
             "signed": f"{p.get('signed_by') or '未签名'} {_iso(p.get('signed_at'))}",
             "reviewed": f"{p.get('reviewed_by') or '未审核'} {_iso(p.get('reviewed_at'))}"}
            for p in self.claim.document.get("prescriptions", ())
        ]  # fmt: skip


def title_of(row: Settlement) -> str:
    """What a version is called: settlement, reversal, settlement anew."""
    if row.version % 2 == 0:
        return "冲正分录"
    return "结算分录" if row.version == 1 else f"重新结算分录（第 {(row.version + 1) // 2} 次）"


def _change(row: Settlement, before: Settlement | None, name: str) -> str:
    """The difference to the settlement before, where this one was made anew."""
    if before is None or row.version % 2 == 0:
        return ""
    difference = getattr(row, name) - getattr(before, name)
    return yuan(difference, sign=True) if difference else ""


def in_order(events: Iterable[Event]) -> list[Event]:
    """Events by time; acts of the same moment in the order in which they can happen."""
    places = {action: place for place, action in enumerate(ACTS)}
    return sorted(events, key=lambda event: (event.at, places.get(event.action, len(places))))


def account_clause(rules: Rules, record: np.void) -> dict | None:
    """The clause that lets the personal account of this scheme pay."""
    scheme = CODES["scheme"][record["scheme"]]
    for rule in rules.account_rules:
        if scheme in rule["schemes"]:
            return explain.cite(rules, rule["clause"])
    return None


def moment(at: Any) -> str:
    """A time in Shanghai to the second."""
    return timezone.localtime(at).strftime("%Y-%m-%d %H:%M:%S")


def _iso(text: str | None) -> str:
    """The contract's ISO time to the minute, as it was sent."""
    return text[:16].replace("T", " ") if text else ""
