"""Electronic invoices of the manual channel: each pays once for ever (通医保发〔2020〕25号 三（三）第2款)."""

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from django.db import connection

from institutions.refusals import Fault, Refusal
from pricing.policy import Rules
from settlement.facts import Claimant
from settlement.models import EInvoice

MANUAL = "manual"
REQUIREMENT = "electronic_invoice"
USE = """WITH put AS (
    INSERT INTO settlement_einvoice (number, holder, region_code, institution_code, used_at)
    VALUES (%s, %s, %s, %s, %s)
    ON CONFLICT (number) WHERE released_at IS NULL DO NOTHING RETURNING id)
SELECT id FROM put"""
USE_MANY = """INSERT INTO settlement_einvoice (number, holder, region_code, institution_code, used_at)
    SELECT given.number, given.holder, %s, %s, %s
    FROM unnest(%s::text[], %s::text[]) given (number, holder)"""


def normal(number: str) -> str:
    """代码 and 号码 as one text: two spellings of an invoice are the same invoice."""
    return number.upper().replace("-", "").replace(" ", "")


def holder_of(institution_code: str, claim_no: str) -> str:
    """What a claim of an institution is called as the user of an invoice."""
    return f"claim:{institution_code}/{claim_no}"


def missing(claim: dict, rules: Rules | None) -> Fault | None:
    """The fault of a manual claim without invoice; the clause is that of the region's policy."""
    if claim["channel"] != MANUAL or normal(claim.get("e_invoice_no") or ""):
        return None
    manual = rules.policy.section("manual_channel", {}) if rules else {}
    asked = rules is not None and REQUIREMENT in manual.get("requires", ())
    clause = f"{rules.policy.document} {manual['clause']}" if rules and asked else ""
    detail = (
        "手工报销须填写电子发票号（代码和号码）",
        "a manual claim names its electronic invoice",
    )
    return Fault("/e_invoice_no", "INVOICE_MISSING", detail, clause)


def use_for_claim(
    institution: Claimant, claim: dict, rules: Rules, *, request: str, at: dt.datetime
) -> None:
    """Use a manual claim's invoice; `request` is the reimbursement that holds it already, if any."""
    fault = missing(claim, rules)
    if fault is not None:
        raise Refusal(422, fault.code, fault.detail, (fault,))
    holder = request or holder_of(institution.code, claim["claim_no"])
    use(
        number=claim["e_invoice_no"], holder=holder, region_code=institution.region_code,
        institution_code="" if request else institution.code, at=at,
    )  # fmt: skip


def use(
    *, number: str, holder: str, region_code: str, institution_code: str = "", at: dt.datetime
) -> None:
    """Use an invoice; Refusal (409) when somebody else did, whoever was first. Own use is no fault.

    A use under way in another transaction is waited for.
    """
    row: list[Any] = [normal(number), holder, region_code, institution_code, at]
    with connection.cursor() as cursor:
        cursor.execute(USE, row)
        if cursor.fetchone() is not None:
            return
    held = holder_now(number)
    if held != holder:
        raise Refusal(409, "INVOICE_USED", (used_words(number), "the invoice was used before"),
                      (used(number),))  # fmt: skip


def used(number: str) -> Fault:
    """The fault of an invoice that was used before."""
    return Fault(
        "/e_invoice_no", "INVOICE_USED", (used_words(number), "the invoice was used before")
    )


def used_words(number: str) -> str:
    """The sentence; it does not tell an institution who used the invoice."""
    return f"电子发票 {number} 已用于报销，不能重复使用"


def holder_now(number: str) -> str:
    """Who uses an invoice now; empty: nobody."""
    row = EInvoice.objects.filter(number=normal(number), released_at__isnull=True).first()
    return row.holder if row else ""


def used_among(numbers: Iterable[str]) -> set[str]:
    """Those of many (normal) numbers that are in use."""
    found = EInvoice.objects.filter(number__in=list(numbers), released_at__isnull=True)
    return set(found.values_list("number", flat=True))


def release(*, holder: str, at: dt.datetime) -> int:
    """A request that ended without a claim gives its invoice free."""
    return EInvoice.objects.filter(holder=holder, released_at__isnull=True).update(released_at=at)


# --- Many at once: a batch ---


def repeated(invoices: Sequence[str]) -> Iterator[tuple[int, Fault]]:
    """(place, fault) of invoices of manual claims that are in use or come twice among them."""
    numbers = [normal(text) for text in invoices]
    times = Counter(numbers)
    in_use = used_among(numbers)
    for place, number in enumerate(numbers):
        if number and (number in in_use or times[number] > 1):
            yield place, used(invoices[place])


def use_many(
    cursor: Any, institution: Claimant, manual: Sequence[tuple[str, str]], *, at: dt.datetime
) -> None:
    """Use the invoices of a batch's manual claims (invoice, claim number), all or none: a unique key."""
    if manual:
        numbers = [normal(invoice) for invoice, _ in manual]
        holders = [holder_of(institution.code, claim_no) for _, claim_no in manual]
        cursor.execute(USE_MANY, [institution.region_code, institution.code, at, numbers, holders])
