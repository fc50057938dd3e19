"""The terms of agreements: an end that comes near, an end that has come, a new term.

A supplementary agreement ends with its main agreement (温医保办〔2021〕6号 七). Renewing is not
regulated: it is a new signature, the main agreement first (I-WZ-4).
"""

import datetime as dt
import logging
from dataclasses import dataclass

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet

from agreements import lifecycle, papers
from agreements.assessment import known_results, scheme_of
from agreements.lifecycle import DAY, DECIDE, GONE, OPEN, RENEWAL, Kind, State
from agreements.models import Agreement, AgreementState, Assessment, Contract
from audit.models import Task
from audit.procedure import PROCEDURES
from institutions import news
from institutions.models import Document
from institutions.refusals import Refusal, refused

log = logging.getLogger(__name__)
SERIES = "XQ"  #: numbers of renewals where no procedure of the area numbers its agreements


# --- What the assessment advises (温医保办〔2021〕6号 二十一) ---


@dataclass(frozen=True)
class Advice:
    """The latest yearly result; `against`: it advises anything but what the best grade advises."""

    result: Assessment | None
    against: bool

    def detail(self, reason: str) -> dict[str, object]:
        """What the event of a renewal keeps of it."""
        if self.result is None:
            return {"assessment": None, "reason": reason}
        return {
            "assessment": self.result.pk, "year": self.result.year, "total": self.result.total,
            "coefficient": self.result.coefficient, "advice": self.result.renewal, "reason": reason,
        }  # fmt: skip


def advice_on(agreement: Agreement) -> Advice:
    """What the assessments of the institution advise; without a scheme to compare with, caution."""
    result = known_results(agreement.institution).first()
    if result is None:
        return Advice(None, against=False)
    try:
        scheme = scheme_of(agreement.institution, year=result.year)
    except Refusal:
        scheme = None
    return Advice(result, against=scheme is None or result.renewal != scheme.grades[0].renewal)


def weighed(agreement: Agreement, reason: str) -> Advice:
    """The advice, weighed: Refusal 422 when a renewal against it gives no reason."""
    advice = advice_on(agreement)
    if advice.result is not None and advice.against and not reason.strip():
        raise refused(
            "reason",
            "REASON_MISSING",
            f"{advice.result.year}年度考核结果为“{advice.result.renewal}”，续签请写明理由",
            "the assessment advises otherwise: give a reason",
        )
    limit = Contract._meta.get_field("reason").max_length or 0
    if len(reason.strip()) > limit:
        raise refused("reason", "TOO_LONG", f"续签理由不超过{limit}字", "the reason is too long")
    return advice


# --- A new term ---


@dataclass(frozen=True)
class Term:
    """The days of a new term, and the main agreement that a supplementary one ends with."""

    since: dt.date
    until: dt.date | None
    main: Agreement | None


def term_of(old: Agreement, *, signed_on: dt.date, valid_until: dt.date | None) -> Term:
    """The term that follows an agreement; a supplementary one ends with its main agreement."""
    since = _first_day(old, signed_on)
    main = None
    if old.kind == Kind.SUPPLEMENTARY:
        main = _renewed_main(old, since)
        valid_until = main.valid_until
    if valid_until is not None and valid_until < since:
        raise refused(
            "valid_until",
            "DATES_OUT_OF_ORDER",
            f"新协议终止日不得早于{since}",
            "the new term ends before it begins",
        )
    return Term(since, valid_until, main)


@transaction.atomic
def renew(
    *, agreement: Agreement, signed_on: dt.date, by: str, at: dt.datetime, number: str = "",
    valid_until: dt.date | None = None, document: Document | None = None, seen: int | None = None,
    reason: str = "",
) -> Agreement:  # fmt: skip
    """A new term from the day after the old one ends, but not from before it was signed.

    A supplementary agreement ends with its main agreement, whatever `valid_until` says, and stands as
    the old one stood: suspended if that was. `number` empty: the next of the series. `reason`: why,
    when the latest assessment advises otherwise.
    """
    old = lifecycle.lock_family(agreement)
    lifecycle.unchanged_since(old, seen)
    term = term_of(old, signed_on=signed_on, valid_until=valid_until)
    advice, since = weighed(old, reason), term.since
    carried = _carried(old, term.main, since)
    lifecycle.make_room(institution=old.institution, kind=old.kind, since=since, by=by, at=at)
    renewed = Agreement.objects.create(
        institution=old.institution, kind=old.kind, number=number_of(old, number, signed_on),
        valid_from=since, valid_until=term.until, signed_on=signed_on, clause=old.clause,
        previous=old, paper=document,
    )  # fmt: skip
    lifecycle.set_state(
        agreement=renewed, state=carried, on=since, reason=f"续签{old.number}"[:200], by=by, at=at,
        clause=old.clause,
    )  # fmt: skip
    lifecycle.answered(old, "renewed", by=by, at=at)
    detail = {"previous": old.number, **advice.detail(reason.strip())}
    lifecycle.record(renewed, "renewed", by, at, signed_on, detail)
    if old.kind == Kind.MAIN:
        _ask_supplement(old, at)
    return renewed


def _first_day(old: Agreement, signed_on: dt.date) -> dt.date:
    if old.valid_until is None:
        raise refused(
            "state", "NO_END", "协议没有终止日，无需续签", "the agreement has no end", status=409
        )
    known = lifecycle.state_on(old, old.valid_until)
    if known is not None and known.state in GONE:
        word = known.get_state_display()
        raise refused(
            "state",
            "STATE_NOT_POSSIBLE",
            f"协议已{word}，不能续签；如需恢复服务，请重新申请",
            "the agreement is over",
            status=409,
        )
    if old.next.exists():
        raise refused(
            "state", "RENEWED_ALREADY", f"协议{old.number}已续签", "renewed already", status=409
        )
    return max(old.valid_until + DAY, signed_on)


def _renewed_main(old: Agreement, since: dt.date) -> Agreement:
    main = lifecycle.main_of(old.institution, on=since)
    if main is None:
        rule = lifecycle.cascade_of(old, "main_renewed", old.valid_until or since)
        raise refused(
            "state",
            "MAIN_NOT_RENEWED",
            "定点协议尚未续签，补充协议不能续签",
            "renew the main agreement first",
            status=409,
            clause=str(rule.get("clause", "")),
        )
    return main


def _carried(old: Agreement, main: Agreement | None, since: dt.date) -> str:
    """The state in which the new term begins."""
    last = lifecycle.state_on(old, old.valid_until or since)
    above = lifecycle.state_on(main, since) if main else None
    follows = lifecycle.cascade_of(old, "main_suspended", since).get("automatic")
    if above is not None and above.state == State.SUSPENDED and follows:
        return State.SUSPENDED
    return last.state if last else State.ACTIVE


def number_of(old: Agreement, number: str, on: dt.date) -> str:
    """The number of a renewal: the one given, which must be free, else the next of the series."""
    number = number.strip() or _next_number(old, on)
    limit = Agreement._meta.get_field("number").max_length or 0
    if len(number) > limit:
        raise refused("number", "TOO_LONG", f"协议编号不超过{limit}字", "too long")
    if Agreement.objects.filter(number=number).exists():
        raise refused("number", "NUMBER_USED", f"协议编号{number}已使用", "the number is used")
    return number


def _next_number(old: Agreement, on: dt.date) -> str:
    region = old.institution.region.policy_region
    for table in PROCEDURES.values():
        if table.region == region and old.kind in table.data.get("numbers", {}):
            return papers.number_of(table.slug, old.kind, on=on)
    return f"{old.number}-{SERIES}{on.year}"


def _ask_supplement(main: Agreement, at: dt.datetime) -> None:
    """The supplementary agreement keeps its end: the agency is asked to renew it, too."""
    end = main.valid_until
    if end is None:
        return
    rule = lifecycle.cascade_of(main, "main_renewed", end)
    for other in lifecycle.others(main, end) if "task" in rule else ():
        known = lifecycle.state_on(other, min(other.valid_until or end, end))
        if known is None or known.state in GONE or other.next.exists():
            continue
        lifecycle.ask(
            agreement=other, question=rule["task"], clause=rule["clause"], at=at,
            due=other.valid_until,
        )  # fmt: skip


# --- Ends ---


def ending(*, on: dt.date, within: int) -> QuerySet[Agreement]:
    """Open agreements that end within so many days and are not renewed, soonest first."""
    states = AgreementState.objects.known().in_force(on=on)
    open_states = states.filter(agreement=OuterRef("pk"), state__in=(*OPEN, State.SUSPENDED))
    rows = Agreement.objects.filter(
        Exists(open_states), valid_until__gte=on, valid_until__lte=on + within * DAY,
        next__isnull=True,
    )  # fmt: skip
    return rows.select_related("institution__region").order_by("valid_until", "pk")


@transaction.atomic
def ask_for_renewals(*, on: dt.date, within: int, at: dt.datetime) -> int:
    """One task for every end that is near, its institution is told; how many are new.

    What was answered (不续签) is not asked again.
    """
    rows = list(ending(on=on, within=within))
    asked = Task.objects.filter(
        subject__in=[lifecycle.subject_of(row, RENEWAL) for row in rows], permission=DECIDE
    )
    known = set(asked.values_list("subject", "due"))
    fresh = [
        row for row in rows if (lifecycle.subject_of(row, RENEWAL), row.valid_until) not in known
    ]
    for row in fresh:
        lifecycle.ask(
            agreement=row, question=RENEWAL, clause=row.clause, due=row.valid_until, at=at
        )
        institution = row.institution
        news.tell(
            permission=lifecycle.TOLD, region_code=institution.region_id,
            institution_code=institution.pk, subject=lifecycle.subject_of(row),
            text=f"{row.get_kind_display()}{row.number}将于{row.valid_until}到期，请与经办机构办理续签",
            url=lifecycle.address(row), at=at,
        )  # fmt: skip
    return len(fresh)


def expire_due(*, on: dt.date, by: str, at: dt.datetime) -> int:
    """Agreements whose last day has passed are expired from the day after it; how many.

    One that cannot be expired is logged and stops no other.
    """
    gone = AgreementState.objects.known().filter(agreement=OuterRef("pk"), state__in=GONE)
    rows = Agreement.objects.filter(~Exists(gone), valid_until__lt=on, next__isnull=True)
    count = 0
    for key in list(rows.order_by("valid_until", "kind", "pk").values_list("pk", flat=True)):
        try:
            count += _expire(key, by, at)
        except Exception:
            log.exception("agreement %s could not be expired", key)
    return count


@transaction.atomic
def _expire(key: int, by: str, at: dt.datetime) -> bool:
    """The end of one agreement; the policy says what ends with it. (温医保办〔2021〕6号 七)"""
    row = lifecycle.lock_family(Agreement.objects.select_related("institution").get(pk=key))
    end = row.valid_until
    if end is None or row.next.exists() or row.states.known().filter(state__in=GONE).exists():
        return False  # renewed or terminated in the meantime
    rule = lifecycle.cascade_of(row, "main_expired", end)
    follow = row.kind == Kind.MAIN and rule.get("automatic")
    clause = str(rule.get("clause") or row.clause)
    lifecycle.write(row, State.EXPIRED, end + DAY, None, "协议期满", clause, by, at)
    lifecycle.record(row, "expired", by, at, end + DAY, {"clause": clause})
    lifecycle.answered(row, "expired", by=by, at=at)
    for other in lifecycle.others(row, end + DAY) if follow else ():
        known = lifecycle.state_on(other, end + DAY)
        if known is None or known.state in GONE:
            continue
        lifecycle.set_state(
            agreement=other, state=rule[other.kind], on=end + DAY, reason="定点协议期满", by=by,
            at=at, clause=clause,
        )  # fmt: skip
        lifecycle.record(other, "expired", by, at, end + DAY, {"clause": clause})
        lifecycle.answered(other, "expired", by=by, at=at)
    return True


def watch(*, on: dt.date, within: int, by: str, at: dt.datetime) -> dict[str, int]:
    """Every day: what is over is expired, what ends soon asks to be renewed."""
    return {
        "expired": expire_due(on=on, by=by, at=at),
        "asked": ask_for_renewals(on=on, within=within, at=at),
    }
