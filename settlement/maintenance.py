"""Commands of maintenance contracts: registered, ended, put away; yearly bills are drawn by `lines`.

What a contract says is never changed: one that was registered wrongly is voided and registered anew.
(吉卫便函〔2021〕3号 二第2款)
"""

import datetime as dt

from django.db import transaction

from audit import clock
from institutions.models import Document, Institution
from institutions.refusals import refused
from settlement import consultation, line_fees, lines
from settlement.models import FeeBill, MaintenanceContract

NAME, CODE = "合同", "CONTRACT"


@transaction.atomic
def record_contract(
    *, institution: Institution, number: str, base: int, rate: int,
    accepted_on: dt.date | None = None, ends_on: dt.date | None = None,
    document: Document | None = None, by: str, at: dt.datetime,
) -> MaintenanceContract:  # fmt: skip
    """Register what was agreed for maintenance; `rate` per ten thousand lies within the printed bounds."""
    release = lines.law_of(institution.region.policy_region, clock.local(at).date())
    law = release.policy.data
    if not line_fees.rate_fits(rate * consultation.TEN_THOUSANDTH, law):
        bounds = law["maintenance"]["rate"]
        raise refused(
            "rate", line_fees.RATE_OUT_OF_RANGE,
            f"维保费率应在{bounds['min'] // 100}%至{bounds['max'] // 100}%之间", "out of range",
            clause=bounds["clause"],
        )  # fmt: skip
    starts = line_fees.maintenance_start(accepted_on, law)
    if ends_on and ends_on < starts:
        raise refused("ends_on", line_fees.UNDER_WARRANTY,
                      f"维保自{starts}起，此前在质保期内", "it ends before it begins",
                      clause=law["maintenance"]["clause"])  # fmt: skip
    if MaintenanceContract.objects.standing().filter(number=number).exists():
        raise refused("number", "CONTRACT_KNOWN", "该合同编号已登记", "known already", status=409)
    row = MaintenanceContract.objects.create(
        institution=institution, number=number, base=base, rate=rate, accepted_on=accepted_on,
        starts_on=starts, ends_on=ends_on, document=document, region_code=institution.region_id,
        institution_code=institution.pk, recorded_at=at, recorded_by=by,
    )  # fmt: skip
    lines.noted(row, "maintenancecontract.record", by=by, at=at, number=number, rate=rate)
    return row


@transaction.atomic
def end_contract(
    *, contract: MaintenanceContract, ends_on: dt.date, by: str, at: dt.datetime
) -> None:
    """The last day of a contract; maintenance years that have begun by then stay owed whole.

    Drafts that hold later years are drawn anew. Refused: 409 voided, ended by that day already, or a later
    year is on a bill that was confirmed.
    """
    row = _locked(contract, at=at)
    lines.still_stands(row, name=NAME, code=CODE)
    if row.ends_on and row.ends_on <= ends_on:
        raise lines.conflict(
            "CONTRACT_ENDED", f"该合同已于 {row.ends_on} 终止，只能提前", "it has ended by that day"
        )
    if ends_on < row.starts_on:
        raise refused("ends_on", "DAY_NOT_POSSIBLE",
                      f"终止日不能早于维保起始日（{row.starts_on}）；登记有误的请作废",
                      "not before it begins")  # fmt: skip
    later = FeeBill.objects.filter(items__contract=row, items__first__gt=ends_on)
    lines.not_confirmed(later, f"该合同 {ends_on} 以后的维保年度", code=CODE)
    before, row.ends_on = row.ends_on, ends_on
    row.save(update_fields=["ends_on"])
    open_ones = FeeBill.objects.filter(
        items__contract=row, year__gte=ends_on.year, state=FeeBill.State.DRAFT
    )
    for bill in list(open_ones.order_by("pk").distinct()):
        lines.redraw(bill=bill, by=by, at=at)
    lines.noted(row, "maintenancecontract.end", by=by, at=at, ends_on=ends_on, before=before)


@transaction.atomic
def void_contract(*, contract: MaintenanceContract, reason: str, by: str, at: dt.datetime) -> None:
    """Put away what was registered by mistake: another person, with a reason; drafts are drawn anew.

    Refused: 403 who registered it; 409 voided before, or on a bill that was confirmed.
    """
    row = _locked(contract, at=at)
    bills = FeeBill.objects.filter(items__contract=row)
    lines.put_away(row, bills, name=NAME, code=CODE, reason=reason, by=by, at=at)
    lines.noted(row, "maintenancecontract.void", by=by, at=at, number=row.number,
                reason=row.void_reason)  # fmt: skip


def _locked(contract: MaintenanceContract, *, at: dt.datetime) -> MaintenanceContract:
    """The contract, while nobody draws a bill of it."""
    lines.alone_since(contract.starts_on, at=at)
    return MaintenanceContract.objects.select_for_update().get(pk=contract.pk)
