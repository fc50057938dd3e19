"""年终清算: a service year of a physical institution and scheme against its indicator, and its deposits.

By the year of the service (Settlement.year): a December visit uploaded in January belongs to December's
year. Surplus and overrun are shared by tiers of the indicator, nothing without one; deposits come back
by the year's assessment either way. Two persons; once a year, again only after a reversal.
(温医保办〔2021〕6号 十八、二十一)
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Sum
from django.urls import reverse

from agreements.models import Assessment
from audit import clock, tasks, trail
from audit.text import yuan
from institutions.access import EVERYTHING, scoped
from institutions.models import Institution
from institutions.refusals import Refusal, refused
from settlement.budgets import Budget, budgets
from settlement.models import Clearing, Leg, Period, Scheme, Statement, Voucher
from settlement.periods import in_turn, region_codes
from settlement.terms import DEPOSIT_RETURN, SHARING, WHOLE, Terms, cite, half_up, terms_of
from settlement.vouchers import post_voucher, reverse_voucher

Account = Leg.Account
Kind = Voucher.Kind
State = Clearing.State
CLAUSE = "十八"


def shared(amount: int, indicator: int, tiers: Sequence[Mapping[str, int]]) -> list[dict[str, int]]:
    """How a surplus or overrun falls into tiers of the indicator: from, slice, ratio, part (fen).

    The parts are rounded so that their sum is the half-up rounding of the exact whole.
    """
    rows: list[dict[str, int]] = []
    exact = given = 0
    for number, tier in enumerate(tiers):
        low = indicator * tier["above"] // WHOLE
        later = tiers[number + 1 :]
        high = indicator * later[0]["above"] // WHOLE if later else amount
        size = max(min(amount, high) - low, 0)
        exact += size * tier["ratio"]
        part = (2 * exact + WHOLE) // (2 * WHOLE) - given
        given += part
        rows.append({"from": low, "slice": size, "ratio": tier["ratio"], "part": part})
    return rows


@transaction.atomic
def propose(
    *, institution: Institution, scheme: str, year: int, by: str, at: dt.datetime
) -> Clearing:
    """Work out the clearing of a year; another person approves it.

    Refused: 409 before December is closed, without an indicator and deposits, without the assessment
    that the return of deposits needs, or when it was done before; 422 an internet hospital or no terms.
    """
    if institution.parent_id is not None:
        raise refused("institution", "BUDGET_OF_PARENT", "互联网医院随实体医疗机构清算",
                      "it is cleared with its parent", clause=CLAUSE)  # fmt: skip
    Institution.objects.select_for_update(no_key=True).get(pk=institution.pk)
    _once(institution, scheme, year)
    pool = institution.region.policy_region
    _year_closed(pool, year)
    terms = terms_of(pool, dt.date(year, 12, 31))
    row = Clearing(
        region_code=institution.region_id, institution_code=institution.pk, scheme=scheme,
        year=year, proposed_at=at, proposed_by=by, claims=_count(institution, scheme, year),
        **_figures(institution, _budget(institution, scheme, year), terms),
    )  # fmt: skip
    row.save()
    tasks.open_task(
        subject=f"clearing:{row.pk}", permission="periods.close", at=at,
        title=f"{institution.name}{year}年{row.get_scheme_display()}年终清算待复核",
        region_code=row.region_code, institution_code=row.institution_code,
        url=reverse("clearing", args=[row.pk]), status=row.get_state_display(),
    )  # fmt: skip
    _record(row, "clearing.propose", by=by, at=at)
    return row


@transaction.atomic
def decide(*, clearing: Clearing, agree: bool, decision: str, by: str, at: dt.datetime) -> Clearing:
    """Another person posts the clearing (CLEARING, DEPOSIT_RETURN) or refuses it.

    Figures that have changed since the proposal (a late upload) refuse it: 409 FIGURES_CHANGED; so does
    a December that was opened again: 409 YEAR_OPEN.
    """
    row = Clearing.objects.select_for_update().get(pk=clearing.pk)
    if row.proposed_by == by:
        raise refused("by", "SAME_PERSON", "提出人不能复核自己的清算", "another person decides",
                      status=403)  # fmt: skip
    if row.state != State.PROPOSED:
        raise refused("state", "ALREADY_DECIDED", "该清算已办结", "decided before", status=409)
    if agree:
        _unchanged(row)
        _post(row, by=by, at=at)
    row.state = State.APPROVED if agree else State.REFUSED
    row.decided_at, row.decided_by, row.decision = at, by, decision.strip()[:200]
    row.save()
    tasks.close(subject=f"clearing:{row.pk}", by=by, at=at)
    _record(row, "clearing.approve" if agree else "clearing.refuse", by=by, at=at)
    return row


@transaction.atomic
def reverse_clearing(*, clearing: Clearing, reason: str, by: str, at: dt.datetime) -> Clearing:
    """Undo an approved clearing by vouchers the other way round; another person than its approver."""
    row = Clearing.objects.select_for_update().get(pk=clearing.pk)
    if row.state != State.APPROVED:
        raise refused(
            "state", "NOT_CLEARED", "该清算未生效或已冲销", "nothing to reverse", status=409
        )
    if row.decided_by == by:
        raise refused("by", "SAME_PERSON", "清算的冲销须由复核人以外的人办理", "another person decides",
                      status=403)  # fmt: skip
    if not reason.strip():
        raise refused("reason", "REASON_MISSING", "请填写冲销理由", "a reason is needed")
    for voucher in Voucher.objects.filter(
        subject=f"clearing:{row.pk}", reverses__isnull=True, reversed_by__isnull=True
    ).order_by("pk"):
        reverse_voucher(voucher=voucher, reason=reason, by=by, approved_by=row.decided_by, at=at)
    row.state, row.reversed_at, row.reversed_by = State.REVERSED, at, by
    row.reversal_reason = reason.strip()[:200]
    row.save()
    tasks.close(subject=f"clearing:{row.pk}", by=by, at=at)
    _record(row, "clearing.reverse", by=by, at=at)
    return row


def refuse_cleared(period: Period) -> None:
    """409 YEAR_CLEARED while a clearing of the month's year is in force for an institution of its pool:
    what it gave back stands on the year's statements."""
    with scoped(EVERYTHING):  # whichever district it is of
        row = Clearing.objects.filter(
            region_code__in=region_codes(period.pool), year=period.month.year, state=State.APPROVED
        ).order_by("pk").first()  # fmt: skip
    if row is not None:
        name = Institution.objects.get(pk=row.institution_code).name
        raise refused("month", "YEAR_CLEARED",
                      f"{name}{row.year}年{row.get_scheme_display()}已年终清算，"
                      f"{period}的结算单不能变动；请先冲销年终清算",
                      "the year was cleared", status=409, clause=CLAUSE)  # fmt: skip


# --- Late figures ---

#: What a clearing rests on, the field that says it in one amount, and its word.
COMPARED = (
    ("budget", "budget", "年度总额指标"), ("used", "used", "统筹基金使用"),
    ("deposits", "deposit_held", "质量保证金余额"), ("returned", "returned", "返还质量保证金"),
)  # fmt: skip


def changes(clearing: Clearing, *, budget: Budget | None = None) -> list[str]:
    """In words, what came after a clearing in force (a late upload, a reversal, a deduction made final):
    it is reversed and made anew. Empty while today's figures are the clearing's."""
    if clearing.state != State.APPROVED:
        return []
    with scoped(EVERYTHING):  # an institution sees nothing of its internet hospital's
        institution = _institution(clearing)
        budget = budget or _budget(institution, clearing.scheme, clearing.year)
        try:
            return _differing(clearing, institution, budget)
        except Refusal as refusal:
            return [refusal.detail[0]]


def watch(*, by: str, at: dt.datetime) -> int:
    """A task for each clearing in force that `changes` names; closed when its figures agree again."""
    count = 0
    rows = Clearing.objects.filter(state=State.APPROVED).order_by("year", "pk")
    for year, group in groupby(rows, key=lambda row: row.year):
        found = list(group)
        places = Institution.objects.select_related("region").in_bulk(
            {row.institution_code for row in found}
        )
        known = {(one.institution, one.scheme): one for one in budgets(year, places.values())}
        for row in found:
            told = changes(row, budget=known.get((row.institution_code, row.scheme)))
            if not told:
                tasks.close(subject=f"clearing:{row.pk}", by=by, at=at)
                continue
            place = places[row.institution_code]
            clause = cite(place.region.policy_region, dt.date(year, 12, 31), CLAUSE)
            tasks.open_task(
                subject=f"clearing:{row.pk}", permission="periods.close", at=at,
                title=f"{place.name}{year}年{row.get_scheme_display()}年终清算与现有数据不符，须冲销重算",
                region_code=row.region_code, institution_code=row.institution_code,
                url=reverse("clearing", args=[row.pk]), status=told[0][:60],
                clause=f"{clause['document']} {clause['clause']}" if clause else "",
            )  # fmt: skip
            count += 1
    return count


# --- Figures ---

COUNT = """SELECT count(*) FROM settlement_settlement s
JOIN institutions_institution i ON i.code = s.institution_code
WHERE s.year = %s AND s.scheme = %s AND s.version %% 2 = 1 AND s.period >= make_date(%s, 1, 1)
    AND s.insured_pool = '' AND coalesce(i.parent_id, i.code) = %s"""


def _count(institution: Institution, scheme: str, year: int) -> int:
    with connection.cursor() as cursor:
        cursor.execute(COUNT, [year, scheme, year, institution.pk])
        return cursor.fetchone()[0]


def _budget(institution: Institution, scheme: str, year: int) -> Budget:
    found = (row for row in budgets(year, [institution]) if row.scheme == scheme)
    return next(found, Budget(institution.pk, scheme, year))


def _figures(institution: Institution, budget: Budget, terms: Terms) -> dict[str, Any]:
    scheme, year = budget.scheme, budget.year
    deposits = _deposits(institution, scheme, year)
    if budget.indicator <= 0 and not deposits:
        raise refused("budget", "NOTHING_TO_CLEAR",
                      f"{year}年{Scheme(scheme).label}没有已生效的总额指标，也没有预留保证金，无须清算",
                      "neither an indicator nor a deposit", status=409, clause=CLAUSE)  # fmt: skip
    keys = (SHARING, DEPOSIT_RETURN) if budget.indicator > 0 else (DEPOSIT_RETURN,)
    tiers = _tiers(budget, terms)
    amount, surplus = sum(tier["part"] for tier in tiers), budget.indicator - budget.used
    result = _result(institution, year)
    back = _return_ratio(result, terms, year) if deposits else 0
    returned = sum(half_up(held, back) for held in deposits.values())
    used = {key: terms[key] for key in keys if key in terms}
    return {
        "budget": budget.indicator, "used": budget.used, "tiers": tiers,
        "retained": amount if surplus >= 0 else 0, "borne": amount if surplus < 0 else 0,
        "deposit_held": sum(deposits.values()), "deposits": deposits, "returned": returned,
        "forfeited": sum(deposits.values()) - returned, "return_ratio": back,
        "score": result.total if result else None, "grade": result.renewal if result else "",
        "example": any(term.example for term in used.values()),
        "basis": {key: {"label": term.label, "clause": term.reference}
                  for key, term in used.items()},
    }  # fmt: skip


def _tiers(budget: Budget, terms: Terms) -> list[dict[str, int]]:
    """How the difference from the indicator is shared; without an indicator nothing is."""
    if budget.indicator <= 0:
        return []
    if SHARING not in terms:
        raise refused("terms", "TERMS_MISSING", "本统筹区没有结余留用与超支分担办法", "no terms",
                      clause=CLAUSE)  # fmt: skip
    surplus = budget.indicator - budget.used
    side = "surplus" if surplus >= 0 else "overrun"
    return shared(abs(surplus), budget.indicator, terms[SHARING].value[side])


def _deposits(institution: Institution, scheme: str, year: int) -> dict[str, int]:
    """Institution → deposits kept back by its final statements of the year's months (fen)."""
    group = Institution.objects.filter(parent=institution).values_list("pk", flat=True)
    rows = (
        Statement.objects.final()
        .filter(institution_code__in=[institution.pk, *group], scheme=scheme, period__year=year)
        .values_list("institution_code")
        .annotate(sum=Sum("deposit"))
        .order_by("institution_code")
    )
    return {code: amount for code, amount in rows if amount}


def _result(institution: Institution, year: int) -> Assessment | None:
    row = Assessment.objects.filter(
        institution=institution, year=year, superseded_at__isnull=True
    ).first()
    return row if row and (settings.EXAMPLE_PARAMETERS or not row.example) else None


def _return_ratio(result: Assessment | None, terms: Terms, year: int) -> int:
    """The share of the deposits that comes back, by the year's score."""
    if result is None:
        raise refused("assessment", "NOT_ASSESSED", f"{year}年度尚未考核，不能返还质量保证金",
                      "the year is not assessed", status=409, clause="二十一")  # fmt: skip
    if DEPOSIT_RETURN not in terms:
        raise refused("terms", "TERMS_MISSING", "本统筹区没有保证金返还办法", "no terms",
                      clause="二十一")  # fmt: skip
    rows = terms[DEPOSIT_RETURN].value
    return next(int(row["ratio"]) for row in rows if result.total >= row["from"])


def _unchanged(row: Clearing) -> None:
    institution = _institution(row)
    _year_closed(institution.region.policy_region, row.year)
    if found := _differing(row, institution, _budget(institution, row.scheme, row.year)):
        raise refused("state", "FIGURES_CHANGED",
                      "清算后数据有变动（补传、冲正、扣款或指标调整），请退回重新清算："
                      f"{'；'.join(found)}",
                      "figures have changed since", status=409)  # fmt: skip


def _institution(row: Clearing) -> Institution:
    return Institution.objects.select_related("region").get(pk=row.institution_code)


def _differing(row: Clearing, institution: Institution, budget: Budget) -> list[str]:
    """In words, where today's figures are others than the clearing's."""
    terms = terms_of(institution.region.policy_region, dt.date(row.year, 12, 31))
    now = _figures(institution, budget, terms)
    return [
        f"{label}现为{yuan(now[shown])}元，清算为{yuan(getattr(row, shown))}元"
        for name, shown, label in COMPARED
        if getattr(row, name) != now[name]
    ]


def _post(row: Clearing, *, by: str, at: dt.datetime) -> None:
    """The balance under the physical institution; each deposit under the one that it was kept from."""
    postings: list[tuple[Kind, str, str, dict[Account, int]]] = [
        (Kind.CLEARING, row.institution_code, "balance",
         {Account.YEAR_CLEARING: row.balance, Account.INSTITUTION_PAYABLE: -row.balance}),
    ]  # fmt: skip
    for code, held in row.deposits.items():
        back = half_up(held, row.return_ratio)
        legs = {Account.DEPOSIT: held, Account.INSTITUTION_PAYABLE: -back,
                Account.ASSESSMENT: -(held - back)}  # fmt: skip
        postings.append((Kind.DEPOSIT_RETURN, code, f"deposit/{code}", legs))
    for kind, code, name, legs in postings:
        if not any(legs.values()):
            continue
        clause = row.basis.get(SHARING if kind == Kind.CLEARING else DEPOSIT_RETURN, {}).get(
            "clause"
        )
        post_voucher(
            kind=kind, effect=f"clearing:{row.pk}/{name}", subject=f"clearing:{row.pk}",
            region_code=row.region_code, institution_code=code, scheme=row.scheme, legs=legs,
            reason=f"{row.year}年{kind.label}",
            clause=f"{clause['document']} {clause['clause']}" if clause else "",
            by=row.proposed_by, approved_by=by, at=at,
        )  # fmt: skip


def _once(institution: Institution, scheme: str, year: int) -> None:
    if scheme not in Scheme.values:
        raise refused("scheme", "SCHEME_UNKNOWN", "没有此险种", "no such scheme")
    if Clearing.objects.filter(
        institution_code=institution.pk, scheme=scheme, year=year,
        state__in=(State.PROPOSED, State.APPROVED),
    ).exists():  # fmt: skip
        raise refused("year", "ALREADY_CLEARED", f"{year}年{Scheme(scheme).label}已清算，冲销后才能重新清算",
                      "the year was cleared before", status=409, clause=CLAUSE)  # fmt: skip


def _year_closed(pool: str, year: int) -> None:
    """December is closed, or was empty and a later month is: it stays so until the transaction ends."""
    in_turn(pool)
    if not Period.objects.filter(
        pool=pool, month__gte=dt.date(year, 12, 1), state=Period.State.CLOSED
    ).exists():
        raise refused("year", "YEAR_OPEN", f"{year}年12月尚未关账，不能年终清算",
                      "December is not closed", status=409)  # fmt: skip


def _record(row: Clearing, action: str, *, by: str, at: dt.datetime) -> None:
    trail.record(
        by=by, at=at, action=action, subject=f"clearing:{row.pk}", region_code=row.region_code,
        institution_code=row.institution_code,
        detail={"year": row.year, "scheme": row.scheme, "budget": row.budget, "used": row.used,
                "retained": row.retained, "borne": row.borne, "returned": row.returned,
                "forfeited": row.forfeited, "decision": row.decision,
                "reason": row.reversal_reason, "at": clock.local(at)},
    )  # fmt: skip
