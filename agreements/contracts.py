"""The text of an agreement as a PDF on its way to two electronic signatures, and the keys for them.

A hash alone is no signature: each side signs the file itself, and before an agreement is concluded the
file is verified against the registered authority. (通医保发〔2020〕25号 三（一）网上互签)
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models import Max

from agreements import clocks, lifecycle, papers, texts
from agreements.identities import Identity, make_authority, make_identity, open_key
from agreements.models import Agreement, Application, Contract, Signature, SigningKey
from audit import trail
from audit.procedure import PROCEDURES, Procedure, Refused
from institutions import documents
from institutions.calendar import add_months
from institutions.models import Document, Institution, Office

if TYPE_CHECKING:
    from agreements.signing import Report

Kind, Side = Agreement.Kind, SigningKey.Side
BOTH = (Side.INSTITUTION, Side.AGENCY)
FROM_SIGNING = "双方签署之日"
AUTHORITY = "示例签名证书颁发机构（仅供演示）"
ONE = dt.timedelta(days=1)


@dataclass(frozen=True)
class Renewing:
    """What is signed when there is no application: a new term of an agreement."""

    agreement: Agreement

    @property
    def subject(self) -> str:
        return lifecycle.subject_of(self.agreement)

    @property
    def number(self) -> str:
        return self.agreement.number

    @property
    def institution(self) -> Institution:
        return self.agreement.institution

    @property
    def institution_code(self) -> str:
        return self.agreement.institution_id

    @property
    def region_code(self) -> str:
        return self.agreement.institution.region_id


Cause = Application | Renewing


def make(*, application: Application, on: dt.date, by: str, at: dt.datetime) -> list[Contract]:
    """The contracts of an application in the order of signing: main before supplementary.

    (温医保办〔2021〕6号 五, 七: term of the supplementary agreement = that of the main one)
    """
    rules = PROCEDURES[application.procedure].data["contract"]
    main = lifecycle.main_of(application.institution, on=on)
    number, until = (main.number, main.valid_until) if main else ("", None)
    made = []
    if application.includes_main and main is None:
        until = _new_term(application, rules.get("term", ""), on)
        made.append(_written(application, rules["together"], "", until, on, by, at))
        number = made[0].number
    made.append(_written(application, rules["kind"], number, until, on, by, at))
    return made


def _new_term(application: Application, key: str, on: dt.date) -> dt.date | None:
    """The last day of a new main agreement: by the region's parameter, else without an end."""
    months = clocks.parameter(application.institution.region, key, on) if key else None
    return add_months(on, months) - ONE if months else None


def _written(
    application: Application, kind: str, main: str, until: dt.date | None, on: dt.date, by: str,
    at: dt.datetime,
) -> Contract:  # fmt: skip
    procedure = PROCEDURES[application.procedure]
    return write(
        cause=application, kind=kind, number=papers.number_of(procedure.slug, kind, on=on),
        main=main, valid_from=on, valid_until=until, procedure=procedure, on=on, by=by, at=at,
    )  # fmt: skip


def write(
    *, cause: Cause, kind: str, number: str, main: str, valid_from: dt.date,
    valid_until: dt.date | None, procedure: Procedure, on: dt.date, by: str, at: dt.datetime,
    since: str = FROM_SIGNING, reason: str = "",
) -> Contract:  # fmt: skip
    """The region's text of a day as a PDF that waits for signatures; `since`: the beginning in words."""
    institution = cause.institution
    region = institution.region.policy_region
    try:
        text = texts.text_for(kind, region, on)
    except texts.NoText:
        label = Kind(kind).label
        raise Refused(409, "NO_TEXT", f"本统筹区没有在{on}有效的{label}文本，请先登记") from None
    office = papers.office_of(institution, Office.Kind.AGENCY)
    supplementary = kind == Kind.SUPPLEMENTARY
    term = {
        "from": since,
        "until": papers.written(valid_until) if valid_until else "双方另行约定之日",
        "note": "本协议期限与定点协议期限一致。" if supplementary and valid_until else "",
    }
    document = papers.keep(
        application=cause, template="reports/agreement.html", kind="contract", number=number,
        shared=True, by=by, at=at,
        context={
            "text": text, "agency": papers.agency_party(office), "term": term,
            "institution": papers.institution_party(institution, on=on),
            "main_agreement": main, "facts": [],
            "paper_pending": "双方先行网上互签，纸质协议随后补签。"
            if supplementary and procedure.data["contract"].get("paper") else "",
        },
        data={
            "application": cause.number, "kind": kind, "text": text.key,
            "version": text.version, "sha256": text.sha256, "term": term, "main": main,
        },
    )  # fmt: skip
    return Contract.objects.create(
        application=None if isinstance(cause, Renewing) else cause,
        agreement=cause.agreement if isinstance(cause, Renewing) else None,
        kind=kind, text_version=f"{text.key} {text.version}", text_digest=text.sha256,
        number=number, valid_from=valid_from, valid_until=valid_until, document=document,
        made_at=at, made_by=by, reason=reason,
    )  # fmt: skip


def open_contracts(cause: Cause) -> list[Contract]:
    """The contracts of an application or of a renewal that wait for signatures, in the order of signing.

    Files made anew take the place of those made before, whose signatures then count for nothing.
    """
    owner = cause.agreement if isinstance(cause, Renewing) else cause
    rows = owner.contracts.filter(complete=False).order_by("pk").select_related("document")
    latest = rows.aggregate(made=Max("made_at"))["made"]
    return list(rows.filter(made_at=latest))


def file_of(contract: Contract) -> Document:
    """The file with the signatures made so far."""
    last = contract.signatures.select_related("document").order_by("-pk").first()
    return last.document if last else contract.document


# --- Signing ---


def sign(*, application: Cause, side: str, by: str, at: dt.datetime) -> list[Signature]:
    """One side signs every open contract with its registered key."""
    contracts = open_contracts(application)
    if not contracts:
        raise Refused(409, "NO_CONTRACT", "没有待签署的协议文件")
    key = _key_of(application, side, papers.today_of(at))
    return [_sign(application, contract, side, key, by, at) for contract in contracts]


def _holder(application: Cause, side: str) -> str:
    if side == Side.INSTITUTION:
        return application.institution_code
    return papers.office_of(application.institution, Office.Kind.AGENCY).region_id


def _key_of(application: Cause, side: str, on: dt.date) -> SigningKey:
    holder = _holder(application, side)
    key = SigningKey.objects.in_force(on=on).filter(side=side, holder_code=holder).first()
    if key is None or not key.key_encrypted:
        raise Refused(
            409,
            "NO_SIGNING_KEY",
            f"{Side(side).label}（{holder}）没有在有效期内的签名证书，请先登记",
        )
    return key


def _sign(
    application: Cause, contract: Contract, side: str, key: SigningKey, by: str,
    at: dt.datetime,
) -> Signature:  # fmt: skip
    from agreements.signing import sign as sign_file  # pyHanko: a second, only for who signs

    opened = open_key(_sealed(key), holder_code=key.holder_code)
    signed = sign_file(
        documents.content_of(file_of(contract)), side=side, key=opened.key,
        certificate=opened.certificate, chain=opened.chain, at=at,
        reason=f"签署{contract.get_kind_display()}{contract.number}",
        location=application.institution.region.name,
    )  # fmt: skip
    document = documents.store(
        content=signed, name=f"{contract.number}.pdf", kind="contract_signed", by=by, at=at,
        subject=application.subject, institution=application.institution,
        region_code=application.region_code,
    )  # fmt: skip
    signature = Signature.objects.create(
        contract=contract, side=side, key=key, document=document, signed_at=at, signed_by=by,
        digest=document.digest,
    )  # fmt: skip
    trail.record(
        by=by, at=at, action="contract.sign", subject=application.subject,
        region_code=application.region_code, institution_code=application.institution_code,
        detail={"contract": contract.number, "side": side, "certificate": key.subject,
                "sm3": document.digest},
    )  # fmt: skip
    return signature


def prove(application: Cause, *, sides: Sequence[str] = BOTH) -> None:
    """Every open contract bears valid signatures of these sides, by the registered holders."""
    contracts = open_contracts(application)
    if not contracts:
        raise Refused(409, "NO_CONTRACT", "没有待签署的协议文件")
    for contract in contracts:
        report = report_on(application, contract, sides=sides)
        if not report.valid:
            raise Refused(
                409, "SIGNATURE_INVALID", f"{contract.number}签名未通过验证：{report.text}"
            )


def report_on(application: Cause, contract: Contract, *, sides: Sequence[str] = BOTH) -> "Report":
    """What verifying a contract's present file finds, against the registered authorities."""
    from agreements.signing import verify  # pyHanko again

    roots = list(
        SigningKey.objects.filter(side=Side.AUTHORITY).values_list("certificate", flat=True)
    )
    holders = {side: _holder(application, side) for side in sides}
    content = documents.content_of(file_of(contract))
    return verify(content, roots=roots, required=sides, holders=holders)


def conclude(*, application: Application, on: dt.date, by: str, at: dt.datetime) -> Agreement:
    """Both sides signed, the files verify: every contract becomes an agreement from this day on.

    Returns the agreement that was applied for.
    """
    prove(application)
    agreements = []
    for contract in open_contracts(application):
        if contract.valid_until is not None and contract.valid_until < on:
            raise Refused(
                409, "TERM_OVER",
                f"{contract.number}的协议期限已于{contract.valid_until}届满，请重新制作协议文件",
            )  # fmt: skip
        contract.valid_from = on
        contract.save(update_fields=["valid_from"])
        agreements.append(
            lifecycle.conclude(application=application, contract=contract, on=on, by=by, at=at)
        )
    return agreements[-1]


# --- Keys ---


@transaction.atomic
def make_signing_keys(
    *, valid_from: dt.datetime, valid_until: dt.datetime, by: str, at: dt.datetime
) -> int:
    """Demonstration keys for every agency and physical institution without one; how many were made.

    In production the PKCS#12 files of a licensed authority are registered instead. (电子签名法16)
    """
    authority = _authority(valid_from, valid_until)
    held = set(SigningKey.objects.values_list("side", "holder_code"))
    agencies = Office.objects.filter(kind=Office.Kind.AGENCY).order_by("region_id")
    hospitals = Institution.objects.filter(kind=Institution.Kind.MEDICAL)
    holders = [(Side.AGENCY, office.region_id, office.name) for office in agencies]
    holders += [(Side.INSTITUTION, row.pk, row.name) for row in hospitals]
    made = [
        make_identity(
            authority=authority, holder_kind=side, holder_code=code, name=name,
            valid_from=valid_from, valid_until=valid_until,
        )
        for side, code, name in holders
        if (side, code) not in held
    ]  # fmt: skip
    sides = {code: side for side, code, _ in holders}
    SigningKey.objects.bulk_create(_row(sides[one.holder_code], one) for one in made)
    trail.record(
        by=by, at=at, action="signing_keys.make", subject="signing-keys",
        detail={"made": len(made), "until": valid_until.date()},
    )  # fmt: skip
    return len(made)


def _authority(valid_from: dt.datetime, valid_until: dt.datetime) -> Identity:
    """The demonstration's own authority, made once."""
    row = SigningKey.objects.filter(side=Side.AUTHORITY, is_demo=True).order_by("pk").last()
    if row is None:
        made = make_authority(name=AUTHORITY, valid_from=valid_from, valid_until=valid_until)
        _row(Side.AUTHORITY, made).save()
        return made
    return Identity(
        subject=row.subject, holder_code=row.holder_code, certificate=row.certificate, chain=(),
        sealed=_sealed(row), valid_from=valid_from, valid_until=valid_until,
    )  # fmt: skip


def _sealed(row: SigningKey) -> bytes:
    """The key as it lies encrypted in the database; nothing where only a certificate is known."""
    return bytes(row.key_encrypted or b"")


def _row(side: str, identity: Identity) -> SigningKey:
    return SigningKey(
        side=side, holder_code=identity.holder_code, subject=identity.subject[:200],
        certificate=identity.certificate, key_encrypted=identity.sealed,
        valid_from=papers.today_of(identity.valid_from),
        valid_until=papers.today_of(identity.valid_until), is_demo=True,
    )  # fmt: skip
