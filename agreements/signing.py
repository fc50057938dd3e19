"""Electronic signatures in the agreement's own PDF: `sign` adds one, `verify` judges a file (电子签名法13).

PAdES signatures (ISO 32000-2 12.8, ETSI EN 319 142-1): X.509, SHA-256, one incremental revision each.
Nothing here reaches a network or a clock: no time-stamp authority, no revocation fetch. The time is the
caller's and stands in the signed bytes; that it is true is what the trail proves.
"""

import asyncio
import datetime as dt
import hashlib
import io
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from asn1crypto import cms
from asn1crypto import keys as asn1_keys
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from pyhanko.pdf_utils import layout
from pyhanko.pdf_utils.content import PdfContent
from pyhanko.pdf_utils.generic import ArrayObject
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign import signers
from pyhanko.sign.fields import MDPPerm, SigFieldSpec, SigSeedSubFilter, append_signature_field
from pyhanko.sign.signers.pdf_cms import PdfCMSSignedAttributes
from pyhanko.sign.validation import EmbeddedPdfSignature, validate_pdf_signature
from pyhanko.sign.validation.status import PdfSignatureStatus, SignatureCoverageLevel
from pyhanko.stamp import StaticStampStyle
from pyhanko_certvalidator import ValidationContext
from pyhanko_certvalidator.registry import SimpleCertificateStore

from agreements.identities import SIDES, PrivateKey, SigningError, names_of
from audit import clock, pdf

MM = 72 / 25.4
STAMP_SIZE = (
    67 * MM,
    31 * MM,
)  #: page `stamp` of static/css/report.css; MARGIN more on each side than `.place`
MARGIN = 0.5 * MM
STAMP = "reports/stamp.html"
NO_SIGNATURE = "无签名"
ADDED = "签名后文件被追加了签名以外的内容"
logging.getLogger("pyhanko").setLevel(logging.ERROR)  # what it warns of stands in the Report


@dataclass(frozen=True)
class Signature:
    """One signature and what is wrong with it (`reasons`, Chinese; empty when it holds).

    intact: not one signed byte was changed · complete: only further signatures were added after it
    trusted: the certificate leads to a root that was given and was valid at the time of signing
    """

    side: str
    signer: str
    holder_code: str
    fingerprint: str
    signed_at: dt.datetime | None
    intact: bool
    complete: bool
    trusted: bool
    reasons: tuple[str, ...]

    @property
    def valid(self) -> bool:
        """Whether nothing at all is wrong with it."""
        return not self.reasons


@dataclass(frozen=True)
class Report:
    """What verification found: signatures in the order of signing, sides that did not sign."""

    signatures: tuple[Signature, ...]
    missing: tuple[str, ...]
    readable: bool = True

    @property
    def valid(self) -> bool:
        """Whether every required side signed and every signature holds."""
        held = all(signature.valid for signature in self.signatures)
        return self.readable and held and bool(self.signatures) and not self.missing

    @property
    def reasons(self) -> tuple[str, ...]:
        """Everything that is wrong, in Chinese; empty for a valid file."""
        if not self.readable:
            return ("文件结构已损坏，无法读取签名",)
        if not self.signatures:
            return (NO_SIGNATURE,)
        found = [
            f"{SIDES.get(signature.side, signature.side)}签名：{reason}"
            for signature in self.signatures
            for reason in signature.reasons
        ]
        return (*found, *(f"缺少{SIDES.get(side, side)}签名" for side in self.missing))

    @property
    def text(self) -> str:
        """The result as one sentence."""
        return "；".join(self.reasons) or "签名有效"


# --- Signing ---


def sign(
    document: bytes,
    *,
    side: str,
    key: PrivateKey,
    certificate: str,
    chain: Sequence[str],
    at: dt.datetime,
    reason: str,
    location: str,
) -> bytes:
    """The document with one more revision: the signature of a side, shown at its place.

    The first signature makes the fields of both sides and certifies the document for signing only
    (DocMDP 2): afterwards nothing but the other side's signature may be added.
    """
    holder = x509.load_pem_x509_certificate(certificate.encode())
    _check_key(holder, key, at)
    signed = _check_document(document, side)
    writer = IncrementalPdfFileWriter(io.BytesIO(document))
    if not signed:
        _make_fields(writer)
    meta = signers.PdfSignatureMetadata(
        field_name=side,
        name=names_of(holder.subject)[0],
        reason=reason,
        location=location,
        md_algorithm="sha256",
        subfilter=SigSeedSubFilter.PADES,
        certify=not signed,
        docmdp_permissions=MDPPerm.FILL_FORMS,
    )
    stamp = _stamp(holder, at=at, reason=reason)
    signer = signers.PdfSigner(meta, signer=_signer(key, holder, chain), stamp_style=stamp)
    return asyncio.run(_write(signer, writer, at))


async def _write(
    signer: signers.PdfSigner, writer: IncrementalPdfFileWriter, at: dt.datetime
) -> bytes:
    """What PdfSigner.sign_pdf does, with the caller's time instead of the machine's."""
    session = signer.init_signing_session(writer, existing_fields_only=True)
    session.system_time = clock.local(at)
    size = await session.estimate_signature_container_size(None)
    prepared = session.prepare_tbs_document(validation_info=None, bytes_reserved=size)
    digest, output = prepared.digest_tbs_document()
    attributes = PdfCMSSignedAttributes(signing_time=session.system_time)
    done = await prepared.perform_signature(digest.document_digest, attributes)
    await done.post_signature_processing(output)
    output.seek(0)
    return output.read()


def _check_key(holder: x509.Certificate, key: PrivateKey, at: dt.datetime) -> None:
    if at.tzinfo is None:
        raise ValueError("at must be an aware datetime")
    if holder.public_key() != key.public_key():
        raise SigningError("KEY_MISMATCH", ("签名证书：与密钥不符", "key and certificate differ"))
    if not holder.not_valid_before_utc <= at <= holder.not_valid_after_utc:
        until = clock.local(holder.not_valid_after_utc)
        raise SigningError(
            "CERTIFICATE_NOT_VALID",
            (
                f"签名证书：签署时不在有效期内（至{until:%Y-%m-%d}）",
                f"the certificate is not valid at that time (until {until:%Y-%m-%d})",
            ),
        )


def _check_document(document: bytes, side: str) -> bool:
    """Whether another side has signed already; a changed or fully signed document is refused."""
    if side not in SIDES:
        raise ValueError(f"unknown side: {side}")
    report = verify(document, roots=())
    whole = all(signature.intact and signature.complete for signature in report.signatures)
    if not report.readable or not whole:
        raise SigningError(
            "DOCUMENT_CHANGED",
            ("协议文件：已损坏或在签名后被改动，不能再签名", "the file is damaged or was changed"),
        )
    if any(signature.side == side for signature in report.signatures):
        raise SigningError(
            "SIGNED_ALREADY", (f"协议文件：{SIDES[side]}已签名", "this side has signed already")
        )
    return bool(report.signatures)


def _make_fields(writer: IncrementalPdfFileWriter) -> None:
    for side, (page, left, top) in _places(writer.prev).items():
        x, y = round(left - MARGIN), round(top + MARGIN - STAMP_SIZE[1])
        box = (x, y, x + math.ceil(STAMP_SIZE[0]), y + math.ceil(STAMP_SIZE[1]))
        spec = SigFieldSpec(side, on_page=page, box=box, readable_field_name=SIDES[side])
        append_signature_field(writer, spec)


def _places(reader: PdfFileReader) -> dict[str, tuple[int, float, float]]:
    """Side → page number and upper left corner of the element with the id `sign-<side>`."""
    try:
        entries = reader.root["/Names"]["/Dests"]["/Names"]
        pages = [kid.reference for kid in reader.root["/Pages"].raw_get("/Kids")]
        found = {str(entries[at]): entries[at + 1] for at in range(0, len(entries), 2)}
        return {side: _corner(found[f"sign-{side}"], pages) for side in SIDES}
    except (KeyError, ValueError) as missing:
        raise SigningError(
            "NO_PLACE",
            ("协议文件：没有签名位置，须用协议模板生成", "the file has no place to sign"),
        ) from missing


def _corner(target: ArrayObject, pages: list) -> tuple[int, float, float]:
    return pages.index(target.raw_get(0).reference), float(target[2]), float(target[3])


def _signer(
    key: PrivateKey, holder: x509.Certificate, chain: Iterable[str]
) -> signers.SimpleSigner:
    der = key.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return signers.SimpleSigner(
        signing_cert=asn1_x509.Certificate.load(holder.public_bytes(serialization.Encoding.DER)),
        signing_key=asn1_keys.PrivateKeyInfo.load(der),
        cert_registry=SimpleCertificateStore.from_certs(_asn1(pem) for pem in chain),
    )


class _Drawing(PdfContent):
    """The first page of a PDF as a drawing of the same size."""

    def __init__(self, page: bytes):
        super().__init__(box=layout.BoxConstraints(width=STAMP_SIZE[0], height=STAMP_SIZE[1]))
        self.page = page

    def render(self) -> bytes:
        """The operator that draws it; fonts and colours come with the page."""
        reader = PdfFileReader(io.BytesIO(self.page))
        self.resources.xobject["/Signature"] = self._ensure_writer.import_page_as_xobject(reader)
        return b"/Signature Do"


def _stamp(holder: x509.Certificate, *, at: dt.datetime, reason: str) -> StaticStampStyle:
    name, code = names_of(holder.subject)
    context = {
        "signer": name,
        "code": code,
        "signed_at": f"{clock.local(at):%Y年%m月%d日 %H:%M:%S}",
        "issuer": names_of(holder.issuer)[0],
        "serial": f"{holder.serial_number:X}"[:24],
        "reason": reason,
    }
    identifier = hashlib.sha256(repr(sorted(context.items())).encode()).digest()[:16]
    page = pdf.render(STAMP, context, identifier=identifier, at=at)
    return StaticStampStyle(
        border_width=0,
        background=_Drawing(page),
        background_layout=layout.SimpleBoxLayoutRule(
            x_align=layout.AxisAlignment.ALIGN_MIN, y_align=layout.AxisAlignment.ALIGN_MIN
        ),
        background_opacity=1.0,
    )


# --- Verifying ---


def verify(
    document: bytes,
    *,
    roots: Sequence[str],
    required: Iterable[str] = SIDES,
    holders: Mapping[str, str] | None = None,
) -> Report:
    """Judge every signature of a file; never raises, however the file was made.

    `roots` are PEM certificates of the authorities that are trusted, `required` the sides that must
    have signed, `holders` the code that the certificate of a side must name (side → code).
    """
    try:
        reader = PdfFileReader(io.BytesIO(document))
        embedded = sorted(reader.embedded_signatures, key=lambda one: one.signed_revision)
        revisions = range(
            reader.xrefs.total_revisions - len(embedded), reader.xrefs.total_revisions
        )
        signatures = tuple(
            _judge(
                one,
                document,
                revision=own,
                last=own == revisions[-1],
                roots=roots,
                holders=holders or {},
            )
            for own, one in zip(revisions, embedded, strict=True)
        )
    except Exception:  # a damaged or hostile file makes the reader raise anything
        return Report((), tuple(required), readable=False)
    signed = {signature.side for signature in signatures}
    return Report(signatures, tuple(side for side in required if side not in signed))


def _judge(
    embedded: EmbeddedPdfSignature,
    document: bytes,
    *,
    revision: int,
    last: bool,
    roots: Sequence[str],
    holders: Mapping[str, str],
) -> Signature:
    """`revision` is where the signature stands when nothing but signatures follow it."""
    moment = embedded.self_reported_timestamp
    context = ValidationContext(
        trust_roots=[_asn1(root) for root in roots], moment=moment, allow_fetching=False
    )
    status = validate_pdf_signature(embedded, context)
    holder = x509.load_der_x509_certificate(embedded.signer_cert.dump())
    signer, code = names_of(holder.subject)
    facts = {
        "intact": bool(status.intact and status.valid) and _gap_is_signature(embedded, document),
        "complete": embedded.signed_revision == revision and _nothing_but_signatures(status, last),
        "trusted": bool(status.trusted),
    }
    side = embedded.field_name
    return Signature(
        side=side,
        signer=signer,
        holder_code=code,
        fingerprint=holder.fingerprint(hashes.SHA256()).hex(),
        signed_at=moment,
        reasons=tuple(_reasons(facts, holder, moment, side, holders.get(side, code))),
        **facts,
    )


def _gap_is_signature(embedded: EmbeddedPdfSignature, document: bytes) -> bool:
    """Whether the one gap in the signed bytes holds the signature, zeros after it, and nothing else."""
    start, before, after, _ = embedded.byte_range
    gap = bytes.fromhex(document[before + 1 : after - 1].decode("ascii"))
    signature = cms.ContentInfo.load(embedded.pkcs7_content).dump()
    enclosed = document[before:after][:: after - before - 1] == b"<>"
    return start == 0 and enclosed and gap == signature.ljust(len(gap), b"\0")


def _nothing_but_signatures(status: PdfSignatureStatus, last: bool) -> bool:
    """The last signature covers the whole file; what follows an earlier one is compared by pyHanko."""
    levels = SignatureCoverageLevel
    expected = levels.ENTIRE_FILE if last else levels.ENTIRE_REVISION
    return status.coverage == expected and bool(status.docmdp_ok)


def _reasons(
    facts: Mapping[str, bool],
    holder: x509.Certificate,
    moment: dt.datetime | None,
    side: str,
    expected: str,
) -> Iterable[str]:
    if not facts["intact"]:
        yield "签名后文件内容被改动，或签名值不符"
    if not facts["complete"]:
        yield ADDED
    if not facts["trusted"]:
        yield _distrust(holder, moment)
    if side not in SIDES:
        yield "签名位置不属于协议任何一方"
    code = names_of(holder.subject)[1]
    if code != expected:
        yield f"证书持有者编码为{code or '空'}，应为{expected}"


def _distrust(holder: x509.Certificate, moment: dt.datetime | None) -> str:
    if moment is None:
        return "没有签署时间"
    if not holder.not_valid_before_utc <= moment <= holder.not_valid_after_utc:
        return "签署时证书不在有效期内"
    return f"证书颁发者“{names_of(holder.issuer)[0]}”不受信任"


def _asn1(pem: str) -> asn1_x509.Certificate:
    certificate = x509.load_pem_x509_certificate(pem.encode())
    return asn1_x509.Certificate.load(certificate.public_bytes(serialization.Encoding.DER))
