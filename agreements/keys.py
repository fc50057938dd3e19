"""Signing certificates of a licensed authority: registered by their holders, trusted by their issuer.

Only a holder with such a certificate signs online; the authority's own certificate is registered first
(`manage.py signing_authority`). (电子签名法13、16; 通医保发〔2020〕25号 三（一）网上互签)
"""

import datetime as dt

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from django.db import transaction

from agreements import identities
from agreements.identities import SigningError, names_of
from agreements.models import Signature, SigningKey
from audit import clock, trail
from institutions.models import Institution, Office
from institutions.refusals import refused

Side = SigningKey.Side
SUBJECT = "signing-keys"
ONE = dt.timedelta(days=1)
CODE = SigningKey._meta.get_field("holder_code").max_length or 0
NAME = SigningKey._meta.get_field("subject").max_length or 0


@transaction.atomic
def register_key(
    *, side: str, holder_code: str, pkcs12: bytes, password: str, by: str, at: dt.datetime
) -> SigningKey:  # fmt: skip
    """From today an agency or institution signs with this PKCS#12 file; the certificate before it ends.

    Refusal 404 for an unknown holder; 422 when the file cannot be opened, is not valid, names another
    holder or was issued by nobody registered; 409 when today was signed with another one already.
    """
    region, institution = _holder(side, holder_code)
    identity = identities.read_container(pkcs12, password, holder_code=holder_code, at=at)
    roots = SigningKey.objects.filter(side=Side.AUTHORITY).values_list("certificate", flat=True)
    if not identities.leads_to(identity, list(roots), at=at):
        raise SigningError(
            "ISSUER_UNKNOWN",
            (
                "签名证书：颁发机构未登记，或证书不能用于签署文件；请先登记颁发机构证书",
                "no registered authority issued it, or it may not sign documents",
            ),
        )
    today = clock.local(at).date()
    before = _make_way(side, holder_code, today)
    made = SigningKey.objects.create(
        side=side, holder_code=holder_code, subject=identity.subject[:NAME],
        certificate=identity.certificate, key_encrypted=identity.sealed, valid_from=today,
        valid_until=clock.local(identity.valid_until).date(),
    )  # fmt: skip
    trail.record(
        by=by, at=at, action="signing_key.register", subject=SUBJECT, region_code=region,
        institution_code=institution,
        detail={"side": side, "holder": holder_code, "replaces": before,
                **_told(identity.certificate, made)},
    )  # fmt: skip
    return made


def _holder(side: str, code: str) -> tuple[str, str]:
    """Area and institution of whoever signs for a side."""
    if side == Side.AGENCY:
        offices = Office.objects.filter(kind=Office.Kind.AGENCY, region_id=code)
        if offices.exists():
            return code, ""
    if side == Side.INSTITUTION:
        found = Institution.objects.filter(pk=code, parent__isnull=True).first()
        if found is not None:
            return found.region_id, found.pk
    raise refused(
        "holder_code", "HOLDER_UNKNOWN", f"没有代码为{code}的签署方", "unknown holder", status=404
    )


def _make_way(side: str, code: str, today: dt.date) -> list[str]:
    """The days from today on are free for a new certificate; the subjects of those that end."""
    rows = SigningKey.objects.select_for_update().filter(side=side, holder_code=code)
    found = list(rows.filter(valid_until__gte=today).order_by("valid_from"))
    for row in found:
        if row.valid_from < today:
            row.valid_until = today - ONE
            row.save(update_fields=["valid_until"])
        elif Signature.objects.filter(key=row).exists():
            raise refused(
                "pkcs12",
                "SIGNED_TODAY",
                "今天已用此前登记的证书签署，请于次日登记新证书",
                "another certificate signed today already",
                status=409,
            )
        else:
            row.delete()
    return [row.subject for row in found]


def _told(pem: str, row: SigningKey) -> dict[str, str]:
    certificate = x509.load_pem_x509_certificate(pem.encode())
    return {
        "subject": row.subject, "issuer": names_of(certificate.issuer)[0],
        "sha256": certificate.fingerprint(hashes.SHA256()).hex(),
        "until": row.valid_until.isoformat(),
    }  # fmt: skip


@transaction.atomic
def register_authority(*, certificate: bytes, by: str, at: dt.datetime) -> SigningKey:
    """From now on certificates of this authority are trusted; the same one is registered once."""
    found = identities.read_authority(certificate, at=at)
    code = found.fingerprint(hashes.SHA256()).hex()[:CODE]
    known = SigningKey.objects.filter(side=Side.AUTHORITY, holder_code=code).first()
    if known is not None:
        return known
    made = SigningKey.objects.create(
        side=Side.AUTHORITY, holder_code=code, subject=identities.written(found.subject)[:NAME],
        certificate=found.public_bytes(serialization.Encoding.PEM).decode(),
        valid_from=clock.local(found.not_valid_before_utc).date(),
        valid_until=clock.local(found.not_valid_after_utc).date(),
    )  # fmt: skip
    trail.record(
        by=by, at=at, action="signing_authority.register", subject=SUBJECT,
        detail=_told(made.certificate, made),
    )  # fmt: skip
    return made
