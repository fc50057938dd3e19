"""One claim from fee to payment and to its proof: every station with its figures, link and event.

Claim → lines → settlement versions → ledger legs → deductions → statement → payment list → bank →
vouchers → events, each recomputed up to the sealed log's root, and the digest of the claim's chunk from
the ledger as it stands. Read inside the reader's scope, in a number of queries that grows with
nothing but the lists that settled the claim anew.
(温医保办〔2021〕6号 二十六: 信息流、资金流、实物流可追溯)
"""

import functools
import io
import json
import operator
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.db import connection
from django.db.models import Count, F, Q, Window
from django.db.models.functions import RowNumber
from django.urls import reverse
from django.utils.http import urlencode

from audit import bundles, clock, proven, trail, verify
from audit.models import Checkpoint, Event
from audit.procedure import PROCEDURES
from audit.text import yuan
from audit.words import READS, act
from audit.words import subject as subject_word
from institutions.models import Institution, User
from institutions.naming import Login, Told
from settlement.batch import later, recheck
from settlement.models import (
    Claim,
    ClaimLine,
    Deduction,
    InsuredPerson,
    Leg,
    PaymentOrder,
    Refund,
    ResettlementItem,
    Settlement,
    Statement,
    Voucher,
)
from supervision.models import Sample
from supervision.reports.wish import SCHEMES

EVENTS_SHOWN = 20  #: newest acts of each subject; the others are counted and linked
README = """本压缩包由门户导出，可在任何装有 Python 3.11+ 与 openssl 的机器上离线核验：

    python verify.py bundle.jsonl --key 自行保存的公钥.pem
    python verify.py bundle.jsonl --older 自行保存的检查点.txt   （导出时填写了该检查点的条数）

bundle.jsonl  所抽单据从受理、结算到结算单、拨付清单和凭证的留痕事件，
              附包含证明与签名检查点（RFC 9162，SM3/SM2）
sample.json   抽样条件、随机种子、总体摘要与所抽单据
verify.py     核验程序（只用标准库和 openssl 命令）
"""


@dataclass(frozen=True)
class Payment:
    """How settled claims were paid: the statements that hold them, lists, refunds, vouchers."""

    statements: list[Statement]
    orders: list[PaymentOrder]
    refunds: list[Refund]
    vouchers: list[Voucher]

    @classmethod
    def of(cls, versions: Iterable[Settlement], *, user: User) -> "Payment":
        """Read the way of these settlements, in as many queries as for one."""
        places = {(row.institution_code, row.period, row.scheme) for row in versions}
        codes, periods, schemes = ({place[at] for place in places} for at in range(3))
        rows = Statement.objects.visible_to(user).filter(
            institution_code__in=codes, period__in=periods, scheme__in=schemes
        )
        statements = [
            row for row in rows.order_by("period", "pk")
            if (row.institution_code, row.period, row.scheme) in places
        ]  # fmt: skip
        paid_for = [row.subject for row in statements]
        orders = list(
            PaymentOrder.objects.visible_to(user).filter(subject__in=paid_for)
            .select_related("list").order_by("pk")
        )  # fmt: skip
        vouchers = Voucher.objects.visible_to(user).filter(subject__in=paid_for).order_by("pk")
        refunds = Refund.objects.visible_to(user).filter(order__in=orders)
        return cls(statements, orders, list(refunds), list(vouchers))

    @property
    def subjects(self) -> list[str]:
        """What the acts of paying stand under."""
        lists = {row.list.subject: None for row in self.orders}
        return [
            *(row.subject for row in self.statements), *lists,
            *(f"voucher:{row.pk}" for row in self.vouchers),
            *(f"refund:{row.pk}" for row in self.refunds),
        ]  # fmt: skip


@dataclass
class Chain:
    """Everything that happened with the money of one claim, as far as the reader may see it."""

    claim: Claim
    institution: Institution
    person: InsuredPerson | None
    lines: list[ClaimLine]
    versions: list[Settlement]
    legs: list[Leg]
    deductions: list[Deduction]
    statements: list[Statement]
    orders: list[PaymentOrder]
    refunds: list[Refund]
    vouchers: list[Voucher]
    events: list[Event]
    proofs: Mapping[Any, proven.Proof]
    acts: Mapping[str, int]  #: how many there are of each subject
    looks: int
    digest: recheck.Verdict | None
    later: list[recheck.Verdict]  #: reversals, reviews and re-settlements against what was sealed
    checkpoint: Checkpoint | None

    @classmethod
    def of(cls, claim: Claim, *, user: User) -> "Chain":
        """Read the chain of a claim."""
        versions = list(Settlement.objects.filter(claim_id=claim.pk).order_by("version"))
        paid = Payment.of(versions, user=user)
        own = recheck.subjects_of_claim(claim)
        batch = [f"batch:{claim.batch_id}"] if claim.batch_id else []
        events, looks = cls._events([*own, *paid.subjects, *batch], user)
        return cls(
            claim=claim, versions=versions, statements=paid.statements, orders=paid.orders,
            refunds=paid.refunds, vouchers=paid.vouchers, events=events,
            institution=Institution.objects.get(pk=claim.institution_code),
            person=InsuredPerson.objects.filter(pk=claim.person_id).first(),
            lines=list(
                ClaimLine.objects.filter(claim_id=claim.pk, period=claim.period).order_by("line_no")
            ),
            legs=list(Leg.objects.filter(claim_id=claim.pk).order_by("version", "account")),
            deductions=list(Deduction.objects.visible_to(user).filter(claim_id=claim.pk)),
            proofs=proven.proofs_of(events), looks=looks, checkpoint=trail.checkpoint(),
            acts={row.subject: row.of_subject for row in events},
            digest=cls._digest(claim, versions), later=cls._later(claim, own),
        )  # fmt: skip

    @staticmethod
    def _events(subjects: Sequence[str], user: User) -> tuple[list[Any], int]:
        """The newest acts of each subject, each with the number of them all; how many looks."""
        rows = Event.objects.visible_to(user).filter(subject__in=subjects)
        looked = Q(action__endswith=READS[0])
        for ending in READS[1:]:
            looked |= Q(action__endswith=ending)
        acts = rows.exclude(looked).annotate(
            place=Window(RowNumber(), partition_by=F("subject"), order_by=(F("at").desc(), F("id"))),
            of_subject=Window(Count("*"), partition_by=F("subject")),
        )  # fmt: skip
        shown = acts.filter(place__lte=EVENTS_SHOWN).order_by("-at", "id")
        return list(shown), rows.filter(looked).count()

    @staticmethod
    def _digest(claim: Claim, versions: Sequence[Settlement]) -> recheck.Verdict | None:
        """What the ledger says today against what was sealed: the chunk's digest, or the totals."""
        first = next((vars(row) for row in versions if row.version == 1), None)
        with connection.cursor() as cursor:
            return recheck.of_claim(cursor, claim, first)

    @staticmethod
    def _later(claim: Claim, subjects: Sequence[str]) -> list[recheck.Verdict]:
        with connection.cursor() as cursor:
            return later.of_claim(cursor, claim.pk, subjects)

    # --- Stations ---

    def stations(self) -> list[dict[str, Any]]:
        """The stations in their order: title, what it comes to, state, rows with links."""
        return [
            self._fee(), self._settled(), self._booked(), self._stated(), self._paid(),
            self._returned(), self._proven(),
        ]  # fmt: skip

    def _fee(self) -> dict[str, Any]:
        whole = sum(line.fee for line in self.lines)
        same = whole == self.claim.fee
        return _station(
            "费用与明细", f"{yuan(self.claim.fee)} 元，{len(self.lines)} 项",
            "ok" if same else "bad", "明细之和等于申报费用" if same else f"明细之和为 {yuan(whole)} 元",
            [{"text": f"单据 {self.claim.claim_no}", "url": reverse("claim", args=[self.claim.pk]),
              "note": f"服务日期 {self.claim.service_date}，{self.institution.name}"},
             *({"text": f"第 {line.line_no} 项 {line.item_code or line.service_type}",
                "note": f"{yuan(line.fee)} 元"} for line in self.lines)],
        )  # fmt: skip

    def _settled(self) -> dict[str, Any]:
        net = sum(row.fund for row in self.versions)
        return _station(
            "结算版本", f"统筹基金净额 {yuan(net)} 元", "ok" if self.versions else "wait",
            "奇数版本为结算，偶数版本为冲正" if self.versions else "尚未结算",
            [{"text": f"第 {row.version} 版 {row.get_state_display()}",
              "note": f"统筹 {yuan(row.fund)}，个人账户 {yuan(row.account)}，现金 {yuan(row.cash)}，"
                      f"入账 {row.period:%Y-%m}，{SCHEMES[row.scheme]}"
                      + ("，示例参数" if row.example else "")} for row in self.versions],
        )  # fmt: skip

    def _booked(self) -> dict[str, Any]:
        sums: dict[int, int] = {}
        for leg in self.legs:
            sums[leg.version] = sums.get(leg.version, 0) + leg.amount
        balanced = not any(sums.values())
        return _station(
            "总账分录", f"{len(self.legs)} 条", "ok" if balanced else "bad",
            "每一版本借贷相抵" if balanced else "借贷不平",
            [{"text": f"第 {leg.version} 版 {Leg.Account(leg.account).label}",
              "note": f"{yuan(leg.amount, sign=True)} 元"} for leg in self.legs],
        )  # fmt: skip

    def _stated(self) -> dict[str, Any]:
        states = PROCEDURES["statement"].states
        cut = sum(row.amount for row in self.deductions if row.state != "withdrawn")
        final = any(row.is_final for row in self.statements)
        return _station(
            "月结算单与扣款", f"审核扣款 {yuan(cut)} 元" if self.deductions else "无审核扣款",
            "ok" if final else "wait", "" if self.statements else "所在结算期尚未生成结算单",
            [*({"text": row.number, "url": reverse("statement", args=[row.pk]),
                "note": f"{states[row.state].label}，申报 {yuan(row.declared)}，应付 {yuan(row.payable)} 元"}
               for row in self.statements),
             *({"text": f"扣款 {row.get_reason_display()}",
                "note": f"{yuan(row.amount)} 元，{row.note}，{row.get_state_display()}"}
               for row in self.deductions)],
        )  # fmt: skip

    def _paid(self) -> dict[str, Any]:
        paid = [row for row in self.orders if row.state == "paid"]
        rows = [
            {"text": f"清单 {row.list.number}　指令 {row.number}",
             "url": reverse("payment-order", args=[row.pk]),
             "note": Told(f"{yuan(row.amount)} 元，{row.get_state_display()}，制单 ",
                          Login(row.list.prepared_by), "，复核 ",
                          Login(row.list.approved_by) or "—")} for row in self.orders
        ]  # fmt: skip
        rows += [
            {"text": f"凭证 {row.number}", "url": reverse("voucher", args=[row.pk]),
             "note": f"{row.get_kind_display()} {yuan(row.amount)} 元"} for row in self.vouchers
        ]  # fmt: skip
        amount = sum(row.amount for row in paid)
        return _station(
            "拨付清单与凭证", f"已支付 {yuan(amount)} 元" if paid else "尚未支付",
            "ok" if paid else "wait", "" if self.orders else "结算单尚未列入拨付清单", rows,
        )  # fmt: skip

    def _returned(self) -> dict[str, Any]:
        answers = [row for row in self.orders if row.result_on]
        bad = [row for row in answers if row.state in ("returned", "rejected")]
        rows = [
            {"text": f"银行流水 {row.bank_serial or '—'}", "url": reverse("payment-order", args=[row.pk]),
             "note": f"{row.result_on}，{row.get_state_display()}"
                     + (f"，{row.reason}" if row.reason else "")} for row in answers
        ]  # fmt: skip
        rows += [
            {"text": f"退款 {row.number}",
             "note": f"{yuan(row.amount)} 元，{row.get_state_display()}，{row.reason}"}
            for row in self.refunds
        ]  # fmt: skip
        tone = "warn" if bad or self.refunds else "ok" if answers else "wait"
        return _station("银行结果与退回", f"{len(answers)} 条回执，{len(self.refunds)} 笔退款", tone,
                        "" if answers else "尚无银行回执", rows)  # fmt: skip

    def _proven(self) -> dict[str, Any]:
        """Each act recomputed from its stored row to the signed root; the chunk's digest besides."""
        shown = [self.proofs[row.pk] for row in self.events]
        sealed = sum(1 for one in shown if one.sealed)
        signed = proven.signed(self.checkpoint) if self.checkpoint else True
        broken = [one for one in shown if not one.holds]
        about = [f"检查点 {self.checkpoint.size:,} 条，签名{proven.SIGNATURE[signed][0]}"
                 if self.checkpoint else "尚无检查点"]  # fmt: skip
        if broken:
            about.append(f"{len(broken)} 条不成立，请保存现场并报告审计管理员")
        elif shown:
            about.append("由正文重算叶哈希，经包含证明推至树根")
        differs = any(one.differs for one in (self.digest, *self.later) if one)
        whole = shown and sealed == len(shown) and signed
        tone = "bad" if broken or differs or signed is False else "ok" if whole else "wait"
        return _station(
            "留痕与证明", f"{sum(self.acts.values())} 条操作，所列 {len(shown)} 条中 {sealed} 条已封存",
            tone, "；".join(about), [*self._digest_row(), *map(self._told, self.events), *self._others()],
        )  # fmt: skip

    def _digest_row(self) -> list[dict[str, Any]]:
        """The ledger against the trail: digests of what was posted, then and now."""
        rows = []
        for what, found in (("首次结算", self.digest), *(("其后入账", one) for one in self.later)):
            if found:
                same = f"由入库账目重算，与封存的一致：{found.sealed}"
                text = f"{subject_word(found.subject)} {what}的摘要（SM3）"
                tone = "bad" if found.differs else ""
                rows.append({"text": text, "note": found.fault or same, "tone": tone})
        return rows

    def _told(self, row: Event) -> dict[str, Any]:
        proof = self.proofs[row.pk]
        if not proof.holds:
            state = "不成立：" + "；".join(proof.faults)
        elif proof.sealed:
            state = f"日志位置 {proof.seq:,}，包含证明 {len(proof.way)} 级，重算成立"
        else:
            state = "待封存"
        return {
            "text": f"{act(row.action)}　{clock.local(row.at):%Y-%m-%d %H:%M:%S}",
            "url": reverse("trail-event", args=[row.pk]),
            "note": Told(Login(row.actor), f"，{state}"), "tone": "" if proof.holds else "bad",
        }  # fmt: skip

    def _others(self) -> list[dict[str, Any]]:
        """What is not listed: older acts by their subject, and looks."""
        rows = [
            {"text": f"{subject_word(subject)}：其余 {count - EVENTS_SHOWN} 条见留痕",
             "url": _trail_of(subject), "note": ""}
            for subject, count in self.acts.items() if count > EVENTS_SHOWN
        ]  # fmt: skip
        if self.looks:
            rows.append({"text": f"查看 {self.looks} 次见留痕", "note": "查看不改变账目，不列入上表",
                         "url": _trail_of(f"claim:{self.claim.pk}")})  # fmt: skip
        return rows


def _trail_of(subject: str) -> str:
    return f"{reverse('trail')}?{urlencode({'subject': subject})}"


def _station(
    title: str, figure: str, tone: str, about: str, rows: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    return {"title": title, "figure": figure, "tone": tone, "about": about, "rows": list(rows),
            "word": {"ok": "相符", "wait": "未到", "warn": "注意", "bad": "不符"}[tone]}  # fmt: skip


# --- What an auditor takes away ---


def facts_of(sample: Sample) -> dict[str, Any]:
    """A sample as plain JSON: conditions, seed, digest and claims, so that it can be drawn again."""
    return {
        "number": sample.number, "region": sample.region_code, "institutions": sample.institutions,
        "scheme": sample.scheme, "first_day": f"{sample.first_day}", "last_day": f"{sample.last_day}",
        "method": sample.method, "seed": sample.seed, "size": sample.size,
        "population": sample.population, "fee_fen": sample.value,
        "population_sm3": sample.population_sm3, "drawn_by": sample.drawn_by,
        "drawn_at": clock.local(sample.drawn_at).isoformat(timespec="seconds"),
        "claims": [
            {"no": row.no, "claim": row.claim_id, "institution": row.institution_code,
             "fee_fen": row.fee, "hits": row.hits, "verdict": row.verdict, "remark": row.remark}
            for row in sample.claims.all()
        ],
    }  # fmt: skip


def events_of(sample: Sample, user: User) -> Any:
    """The events of a sample, of its claims (those of a batch stand under the batch) and of how these
    were settled anew, stated, listed, paid, returned and booked."""
    claims = list(sample.claims.values_list("claim_id", flat=True))
    versions = Settlement.objects.visible_to(user).filter(claim_id__in=claims)
    anew = ResettlementItem.objects.filter(claim_id__in=claims, posted_version__isnull=False)
    batches = set(
        Claim.objects.visible_to(user).filter(pk__in=claims, batch_id__isnull=False)
        .values_list("batch_id", flat=True)
    )  # fmt: skip
    subjects = [
        sample.subject,
        *(f"claim:{pk}" for pk in claims),
        *(f"batch:{pk}" for pk in batches),
        *(f"resettlement:{pk}" for pk in set(anew.values_list("resettlement_id", flat=True))),
        *Payment.of(versions, user=user).subjects,
    ]
    chunks = [f"batch:{pk}/" for pk in batches]
    return Event.objects.visible_to(user).filter(
        functools.reduce(
            operator.or_,
            (Q(subject__startswith=beginning, action=recheck.ACTION) for beginning in chunks),
            Q(subject__in=subjects),
        )
    )


def bundle(
    sample: Sample, *, user: User, by: str, at: Any, older: Sequence[int] = ()
) -> bytes | None:
    """A zip that verifies elsewhere with nothing but verify.py; None before the first checkpoint."""
    top = trail.checkpoint()
    if top is None:
        return None
    seqs = bundles.seqs_of(events_of(sample, user))
    lines = bundles.selection(seqs=seqs, top=top, by=by, at=at, older=older)
    parts = {
        "bundle.jsonl": "".join(lines), "README.txt": README,
        "sample.json": json.dumps(facts_of(sample), ensure_ascii=False, sort_keys=True, indent=1),
        "verify.py": Path(verify.__file__).read_text(encoding="utf-8"),
    }  # fmt: skip
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts.items():
            archive.writestr(zipfile.ZipInfo(name, clock.local(at).timetuple()[:6]), text)
    return sink.getvalue()
