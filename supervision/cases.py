"""Supervision cases: opening, who inquires, who takes a recused one's place, the evidence list.

Whoever opens a case does not approve its filing; whoever inquires does not decide. A recused inspector
stays on record and does not come back. (国务院令第735号 第29条；温医保办〔2021〕6号 二十七、二十八)
"""

import datetime as dt
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Max, Sum

from audit import clock, moves, procedure, trail
from audit.text import yuan
from institutions import documents
from institutions.models import Physician, Region, User
from institutions.refusals import Refusal, refused
from settlement import payers
from settlement.models import Claim, InsuredPerson, Settlement
from supervision import case_losses, case_steps, law, writs
from supervision.hands import covers, of_agency, refuse_recused
from supervision.models import (
    CaseEvidence,
    CaseInspector,
    Finding,
    SupervisionCase,
)

INQUIRY = ("proposed", "investigating", "answered")
#: a recused inspector is replaced as long as nothing is decided
UNDECIDED = (*INQUIRY, "statement", "hearing_asked", "hearing", "deciding")
OPEN = "cases.open"  #: who may open a case: of the bureau, or of the agency by the agreement
CARRY = "inspections.carry"  #: who may be named as an inspector
Subject, Kind = SupervisionCase.Subject, CaseEvidence.Kind
PRACTITIONERS = (Subject.PHYSICIAN, Subject.PHARMACIST, Subject.NURSE)
#: what a finding's content is, as it goes into the evidence
OF_FINDING = (
    "rule", "behaviour", "severity", "clause", "message", "moment", "subject_kind", "subject_code",
    "claims", "fee", "fund", "figures", "parameters", "state", "reason", "decided_by",
)  # fmt: skip
OF_SETTLEMENT = (
    "version", "state", "scheme", "service_date", "fee", "in_scope", "over_cap", "out_of_scope", "fund",
    "account", "cash", "hospital",
)  # fmt: skip


@dataclass(frozen=True)
class Wanted:
    """What a case is opened with. `institution_code` is where it happened, empty for a person's own act."""

    title: str
    subject_kind: str
    subject_code: str
    summary: str
    acted_from: dt.date
    acted_until: dt.date
    institution_code: str = ""
    person: InsuredPerson | None = None
    behaviour: str = ""
    because: str = ""  #: why findings stand in a second case
    origin: str = SupervisionCase.Origin.HAND
    origin_ref: str = ""


# --- Opening ---


@transaction.atomic
def open_case(
    *, region: Region, wanted: Wanted, by: str, at: dt.datetime,
    findings: Sequence[Finding] = (),
) -> SupervisionCase:  # fmt: skip
    """Open a case that waits for its approval; findings become its first evidence."""
    today = clock.local(at).date()
    _sound(wanted, today)
    table = procedure.PROCEDURES[_table_of(wanted, by)]
    case = SupervisionCase(
        number=writs.number_of("case", region, today, table.slug), title=wanted.title.strip(),
        origin=wanted.origin, origin_ref=wanted.origin_ref, subject_kind=wanted.subject_kind,
        subject_code=wanted.subject_code, subject_name=_name_of(wanted),
        person_id=wanted.person.pk if wanted.person else None, behaviour=wanted.behaviour,
        acted_from=wanted.acted_from, acted_until=wanted.acted_until,
        summary=wanted.summary.strip(), region_code=region.code,
        institution_code=wanted.institution_code, procedure=table.slug,
        route=SupervisionCase.Route.AGREEMENT if table.slug == writs.AGREEMENT else "",
        state=table.first.key, entered_on=today, opened_at=at,
        opened_by=by,
    )  # fmt: skip
    case.save()
    moves.opened(
        case=case, procedure=table, handbook=case_steps.HANDBOOK, by=by, at=at, on=today,
        note=case.get_origin_display(),
    )  # fmt: skip
    _event(case, "open", by, at, number=case.number, origin=case.origin, ref=case.origin_ref)
    for finding in findings:
        add_finding(case=case, finding=finding, because=wanted.because, by=by, at=at)
    return case


def _table_of(wanted: Wanted, by: str) -> str:
    """What moves the case: the agency handles breaches of the agreement, the bureau everything."""
    if not of_agency(by):
        return writs.TABLE
    if wanted.subject_kind == Subject.PERSON:
        raise refused("subject_kind", "NO_AGREEMENT_OF_A_PERSON",
                      "参保人员不是协议的当事人，其违法行为由医疗保障行政部门立案", "not of the agreement",
                      clause=law.decree().cite("13"))  # fmt: skip
    return writs.AGREEMENT


def _sound(wanted: Wanted, today: dt.date) -> None:
    if not wanted.title.strip() or not wanted.summary.strip():
        raise refused("summary", "REQUIRED", "请填写案由和线索摘要", "title and summary are needed")
    if wanted.acted_until < wanted.acted_from:
        raise refused("acted_until", "DATES_REVERSED", "止日不得早于起日", "the end precedes")
    if wanted.acted_until > today:
        raise refused("acted_until", "DAY_IN_FUTURE", "行为止日不能晚于今天", "it is in the future")
    if (wanted.subject_kind == Subject.PERSON) != (wanted.person is not None):
        raise refused("person", "PERSON_UNKNOWN", "没有此参保人员", "no such insured person")
    if wanted.subject_kind != Subject.PERSON and not wanted.institution_code:
        raise refused(
            "institution", "INSTITUTION_UNKNOWN", "请指明医疗机构", "an institution is needed"
        )


def _name_of(wanted: Wanted) -> str:
    if wanted.person is not None:
        return f"{wanted.person.name_masked}（{wanted.person.id_masked}）"
    if wanted.subject_kind in PRACTITIONERS:
        row = Physician.objects.filter(pk=wanted.subject_code).first()
        if row is None or row.kind != wanted.subject_kind:
            raise refused("subject_code", "PRACTITIONER_UNKNOWN", "没有此医师、药师或护士",
                          "no such practitioner")  # fmt: skip
        return row.name
    place = writs.institution_of(wanted.institution_code)
    if place is None:
        raise refused("institution", "INSTITUTION_UNKNOWN", "没有此医疗机构", "no such institution")
    return place.name


# --- Who inquires ---


@transaction.atomic
def name_inspector(
    *, case: SupervisionCase, username: str, by: str, at: dt.datetime, certificate: str = "",
    lead: bool = False, states: Sequence[str] = INQUIRY,
) -> CaseInspector:  # fmt: skip
    """Name somebody who may inspect where it happened; never twice, never the decider.

    The bureau's show a certificate (第29条); the agency's are its own staff and need none.
    """
    found = _open(case, by, states)
    person = User.objects.filter(username=username, is_active=True).first()
    if person is None or not person.may(CARRY) or not covers(person, found.region_code):
        raise refused("username", "NOT_AN_INSPECTOR", "该账号不是本辖区的检查人员",
                      "not an inspector of this area")  # fmt: skip
    certified = writs.table_of(found).data["certificates"]
    if not certified and not of_agency(username):
        raise refused(
            "username", "NOT_AN_INSPECTOR", "协议案件由经办机构人员调查", "not of the agency"
        )
    if certified and not certificate.strip():
        raise refused("certificate", "REQUIRED", "请填写执法证号", "the certificate is needed")
    before = found.inspectors.filter(username=username).first()
    if before is not None:
        word = "已回避，不能再次参加本案" if before.recused else "已是本案检查人员"
        raise refused("username", "INSPECTOR_TWICE", word, "named before", status=409)
    role = CaseInspector.Role.LEAD if lead else CaseInspector.Role.MEMBER
    try:
        with transaction.atomic():
            row = CaseInspector.objects.create(
                case=found, username=username, role=role, certificate=certificate.strip(),
                named_at=at, named_by=by,
            )  # fmt: skip
    except IntegrityError as error:
        raise refused(
            "role", "LEAD_TWICE", "已有主办人员", "there is a lead", status=409
        ) from error
    if lead:
        SupervisionCase.objects.filter(pk=found.pk).update(handled_by=username)
    _event(found, "name", by, at, inspector=username, role=role)
    return row


@transaction.atomic
def replace_inspector(
    *, inspector: CaseInspector, username: str, by: str, at: dt.datetime, certificate: str = ""
) -> CaseInspector:
    """Somebody else takes the place of a recused inspector, in the same role."""
    row = CaseInspector.objects.select_for_update().get(pk=inspector.pk)
    if not row.recused or row.replaced_by:
        raise refused("inspector", "NOT_RECUSED", "该检查人员没有回避或已有人接替",
                      "the inspector was not recused", status=409)  # fmt: skip
    made = name_inspector(
        case=row.case, username=username, certificate=certificate, by=by, at=at,
        lead=row.role == CaseInspector.Role.LEAD, states=UNDECIDED,
    )  # fmt: skip
    CaseInspector.objects.filter(pk=row.pk).update(replaced_by=username)
    return made


# --- The evidence list ---


@transaction.atomic
def add_finding(
    *, case: SupervisionCase, finding: Finding, by: str, at: dt.datetime, because: str = ""
) -> CaseEvidence:
    """A finding with the claims that carry it and what was paid for each: refuted ones are no evidence."""
    finding = Finding.objects.select_for_update().get(pk=finding.pk)
    if finding.state == Finding.State.REFUTED:
        raise refused("finding", "FINDING_REFUTED", "该疑点已排除，不能作为证据", "it was refuted")
    if case.person_id and finding.person_id != case.person_id:
        raise refused(
            "finding", "FINDING_OF_ANOTHER", "该疑点不是本案参保人员的", "of somebody else"
        )
    code, rows = case.institution_code, finding.evidence.all()
    claims, fee, fund = finding.claims, finding.fee, finding.fund
    if code:
        claims, fee, fund = finding.share_of(code)
        rows = rows.filter(institution_code=code)
    if code and not claims and finding.institution_code != code:
        raise refused("finding", "FINDING_ELSEWHERE", "该疑点不属于本案机构", "another institution")
    if not finding.fixed:  # what is found of it from now on is a finding of its own
        Finding.objects.filter(pk=finding.pk).update(fixed=True)
    content = {name: getattr(finding, name) for name in OF_FINDING}
    named = list(rows.values_list("claim_id", "line_no"))
    watched = finding.moment == Finding.Moment.WATCH
    counted = {f"{claim}": amount for claim, amount in rows.values_list("claim_id", "fund")
               if amount and watched}  # fmt: skip
    content |= {"claims": claims, "fee": fee, "fund": fund,
                "days": [str(finding.first_day), str(finding.last_day)],
                "claims_of": named, "counted": counted,
                "paid": case_losses.paid_of(
                    content | {"fund": fund, "claims_of": named, "counted": counted}
                ),
                "parameters": {key: value for key, value in finding.parameters.items()
                               if key != "shares"}}  # fmt: skip
    return _add(case, Kind.FINDING, f"finding:{finding.pk}", finding.message[:300], content,
               loss=fund, because=because, by=by, at=at)  # fmt: skip


@transaction.atomic
def add_claim(
    *, case: SupervisionCase, claim_no: str, loss: int, note: str, by: str, at: dt.datetime,
    institution: str = "", because: str = "",
) -> CaseEvidence:  # fmt: skip
    """A settled claim of the case; `loss` is at most what was paid for it, whoever paid."""
    claim = _claim_of(case, claim_no, institution.strip())
    settled = Settlement.objects.filter(claim_id=claim.pk).order_by("-version").first()
    if settled is None:
        raise refused("claim_no", "CLAIM_UNKNOWN", "该单据尚未结算", "it is not settled")
    if not 0 <= loss <= max(sum(payers.paid(settled).values()), 0):
        raise refused("loss", "LOSS_TOO_LARGE", "损失不能超过统筹、大病、救助和个人账户已支付的金额",
                      "more than was paid")  # fmt: skip
    content = {name: getattr(settled, name) for name in OF_SETTLEMENT} | {
        "claim_no": claim.claim_no, "facts": hashlib.new("sm3", bytes(claim.facts)).hexdigest(),
        "loss": loss,
    }  # fmt: skip
    return _add(case, Kind.CLAIM, claim.claim_no, note.strip() or f"结算单据 {claim.claim_no}", content,
                loss=loss, claim=claim.pk, because=because, by=by, at=at)  # fmt: skip


def _claim_of(case: SupervisionCase, claim_no: str, institution: str) -> Claim:
    """The claim of a number: of the case's institution, and of its insured person."""
    rows = Claim.objects.filter(claim_no=claim_no)
    if place := case.institution_code or institution:
        rows = rows.filter(institution_code=place)
    if case.person_id:
        rows = rows.filter(person_id=case.person_id)
    found = list(rows[:2])
    if not found:
        whose = "本案参保人员" if case.person_id else "该机构"
        raise refused("claim_no", "CLAIM_UNKNOWN", f"{whose}没有此单据", "no such claim")
    if len(found) > 1:
        raise refused("institution", "CLAIM_AMBIGUOUS", "两家机构有同号单据，请填写医疗机构编码",
                      "name the institution")  # fmt: skip
    return found[0]


@transaction.atomic
def add_file(
    *, case: SupervisionCase, title: str, file: tuple[str, bytes], by: str, at: dt.datetime,
    kind: str = Kind.DOCUMENT, loss: int = 0, internal: bool = False,
) -> CaseEvidence:  # fmt: skip
    """A document or a record of an inspection, kept as a file with its digest.

    `loss` is what it proves beside the claims of the list, as a written estimate does; an `internal`
    one is not shown to the party.
    """
    if not title.strip():
        raise refused("title", "REQUIRED", "请写明证明内容", "say what it proves")
    if loss < 0:
        raise refused("loss", "LOSS_NEGATIVE", "损失不能为负数", "a loss is not negative")
    name, content = file
    stored = documents.store(
        content=content, name=name, kind="case_evidence", subject=case.subject,
        region_code=case.region_code, by=by, at=at,
    )  # fmt: skip
    told = {"name": stored.name, "size": stored.size, "sm3": stored.digest}
    told |= {"loss": loss} if loss else {}
    return _add(case, kind, f"document:{stored.pk}", title.strip(), told, document=stored, loss=loss,
                internal=internal, by=by, at=at)  # fmt: skip


def _add(
    case: SupervisionCase, kind: str, reference: str, title: str, content: dict[str, Any], *,
    by: str, at: dt.datetime, loss: int = 0, claim: int | None = None, document: Any = None,
    because: str = "", internal: bool = False,
) -> CaseEvidence:  # fmt: skip
    found = _open(case, by)
    if found.evidence.filter(kind=kind, reference=reference).exists():
        raise refused(
            "reference", "EVIDENCE_TWICE", "该证据已在清单内", "listed already", status=409
        )
    row = CaseEvidence(case=found, kind=kind, reference=reference, content=content, loss=loss,
                       claim_id=claim)  # fmt: skip
    elsewhere = case_losses.elsewhere(row)
    if elsewhere and not because.strip():
        raise refused("because", "COUNTED_ELSEWHERE",
                      f"损失已由案件{elsewhere.number}计入，一笔损失只在一案计入；仍要列入的，请填写并列理由，"
                      "本案不再计这笔损失", "another case carries the loss", status=409)  # fmt: skip
    title, loss = _counted(row, title, elsewhere)
    if elsewhere:
        content |= {"elsewhere": sorted(elsewhere.claims), "other": elsewhere.number,
                    "because": because.strip()[:200]}  # fmt: skip
    no = (found.evidence.aggregate(last=Max("no"))["last"] or 0) + 1
    plain = writs.canonical(content)
    row = CaseEvidence.objects.create(
        case=found, no=no, kind=kind, reference=reference[:80], title=title[:300],
        content=json.loads(plain), digest=hashlib.new("sm3", plain).hexdigest(), loss=loss,
        claim_id=claim, document=document, internal=internal, taken_at=at, taken_by=by,
    )  # fmt: skip
    _event(found, "evidence", by, at, no=no, kind=kind, reference=reference, sm3=row.digest)
    return row


def _counted(row: CaseEvidence, title: str, elsewhere: case_losses.Elsewhere) -> tuple[str, int]:
    """The title and the loss of a new piece: without what this case or another one counted before.

    The title goes to the party, who may know nothing of the other case.
    """
    before = case_losses.losses(row.case.evidence.all())
    said, loss = case_losses.losses([row]), row.loss
    counted = sum(
        min(before.get(claim, 0), amount)
        for claim, amount in said.items() if claim not in elsewhere.claims
    )  # fmt: skip
    if counted and loss:
        title = f"{title[:260]}（其中{yuan(min(counted, loss))}元已由前列证据计入）"
    held = loss if elsewhere.whole else sum(said[claim] for claim in elsewhere.claims)
    if elsewhere:
        title = f"{title[:220]}（其中{yuan(min(held, loss))}元已由另案计入，本案不计）"
    return title, max(loss - counted - held, 0)


def loss_of(case: SupervisionCase) -> int:
    """What the listed evidence says that the fund lost (fen), each claim counted once."""
    return case.evidence.aggregate(sum=Sum("loss", default=0))["sum"]


# --- Shared ---


def _open(
    case: SupervisionCase, by: str, states: Sequence[str] = INQUIRY
) -> SupervisionCase:  # fmt: skip
    """The case while it is inquired into, locked; not for whoever stood back."""
    found = SupervisionCase.objects.select_for_update().get(pk=case.pk)
    refuse_recused(found, by)
    if found.state not in states:
        raise Refusal(409, "NOT_INVESTIGATING",
                      ("案件不在调查阶段，不能再增加检查人员或证据", "the inquiry is over"))  # fmt: skip
    return found


def _event(case: SupervisionCase, what: str, by: str, at: dt.datetime, **detail: object) -> None:
    trail.record(
        by=by, at=at, action=f"supervisioncase.{what}", subject=case.subject,
        region_code=case.region_code, institution_code=case.institution_code, detail=detail,
    )  # fmt: skip
