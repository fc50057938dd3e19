"""Renewing online: the region's text for the new term, signed by both sides, then the new agreement.

Renewing is not regulated; it is a new signature (I-WZ-4), made like the first one: the institution
signs, then the agency, and only a file that verifies becomes an agreement. (通医保发〔2020〕25号 三（一）)
"""

import datetime as dt

from django.db import transaction

from agreements import contracts, lifecycle, papers, terms
from agreements.contracts import FROM_SIGNING, Renewing
from agreements.handbook import procedure_of
from agreements.lifecycle import DAY, SIGNING
from agreements.models import Agreement, Contract, SigningKey
from audit import tasks
from audit.procedure import Refused
from institutions import news

Side = SigningKey.Side
HOLDERS = {Side.INSTITUTION: lifecycle.TOLD, Side.AGENCY: "agreements.sign"}


@transaction.atomic
def offer(
    *, agreement: Agreement, by: str, at: dt.datetime, valid_until: dt.date | None = None,
    number: str = "", reason: str = "", seen: int | None = None,
) -> Contract:  # fmt: skip
    """The paper of a new term, put before the institution to sign; one made before is void.

    Refused as the renewal itself would be, without a text of the region, and where the latest
    assessment advises otherwise and no reason is given.
    """
    old = lifecycle.lock_family(agreement)
    lifecycle.unchanged_since(old, seen)
    on = papers.today_of(at)
    term = terms.term_of(old, signed_on=on, valid_until=valid_until)
    advice = terms.weighed(old, reason)
    first = old.valid_until + DAY if old.valid_until else on
    made = contracts.write(
        cause=Renewing(old), kind=old.kind, number=terms.number_of(old, number, on),
        main=term.main.number if term.main else "", valid_from=term.since, valid_until=term.until,
        since=f"{papers.written(first)}（双方签署在后的，自{FROM_SIGNING}）",
        procedure=procedure_of(old.institution), on=on, reason=reason.strip(), by=by, at=at,
    )  # fmt: skip
    _wait_for(old, Side.INSTITUTION, by, at)
    news.tell(
        permission=lifecycle.TOLD, region_code=old.institution.region_id,
        institution_code=old.institution_id, subject=lifecycle.subject_of(old),
        text=f"{old.get_kind_display()}{old.number}的续签协议文本已制作，请网上签署",
        url=lifecycle.address(old), at=at,
    )  # fmt: skip
    detail = {"contract": made.number, "until": term.until, **advice.detail(made.reason)}
    lifecycle.record(old, "renewal_offered", by, at, on, detail)
    return made


@transaction.atomic
def sign(*, agreement: Agreement, side: str, by: str, at: dt.datetime) -> Agreement | None:
    """A side signs the paper of the new term; with the agency's signature the new agreement begins.

    The institution signs first. Refused without a paper, a key, or when a signature does not verify.
    """
    old = lifecycle.lock_family(agreement)
    if old.next.exists():
        raise Refused(409, "RENEWED_ALREADY", f"协议{old.number}已续签")
    contract = pending(old)
    if contract is None:
        raise Refused(409, "NO_CONTRACT", "没有待签署的续签协议文件")
    cause = Renewing(old)
    if side == Side.AGENCY:
        contracts.prove(cause, sides=[Side.INSTITUTION])
    contracts.sign(application=cause, side=side, by=by, at=at)
    if side == Side.INSTITUTION:
        _wait_for(old, Side.AGENCY, by, at)
        return None
    return _conclude(cause, contract, by, at)


def _conclude(cause: Renewing, contract: Contract, by: str, at: dt.datetime) -> Agreement:
    """Both signed and the file verifies: the term that it prints begins."""
    contracts.prove(cause)
    renewed = terms.renew(
        agreement=cause.agreement, signed_on=papers.today_of(at), valid_until=contract.valid_until,
        number=contract.number, reason=contract.reason, by=by, at=at,
    )  # fmt: skip
    if renewed.valid_until != contract.valid_until:
        raise Refused(
            409, "TERM_CHANGED",
            f"定点协议期限已变为至{renewed.valid_until}，与{contract.number}所载不符，请重新制作",
        )  # fmt: skip
    contract.agreement, contract.complete = renewed, True
    contract.valid_from = renewed.valid_from
    contract.save(update_fields=["agreement", "complete", "valid_from"])
    return renewed


def pending(agreement: Agreement) -> Contract | None:
    """The paper of a new term that waits for signatures, if one does."""
    if agreement.next.exists():
        return None
    found = contracts.open_contracts(Renewing(agreement))
    return found[-1] if found else None


def next_side(contract: Contract) -> str:
    """Whose signature is missing: the institution's, then the agency's."""
    signed = set(contract.signatures.values_list("side", flat=True))
    return Side.AGENCY if Side.INSTITUTION in signed else Side.INSTITUTION


def _wait_for(old: Agreement, side: Side, by: str, at: dt.datetime) -> None:
    """The inbox of whoever signs next."""
    institution = old.institution
    tasks.replace(
        subject=lifecycle.subject_of(old, SIGNING), permission=HOLDERS[side], by=by, at=at,
        title=f"{institution.name}：签署续签的{old.get_kind_display()}"[:200],
        region_code=institution.region_id, institution_code=institution.pk,
        procedure=SIGNING.replace("_", "-"), status=f"待{side.label}签署", due=old.valid_until,
        url=lifecycle.address(old), clause=old.clause,
    )  # fmt: skip
