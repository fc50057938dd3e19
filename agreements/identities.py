"""Who signs: certificates (X.509) and private keys of agencies and institutions, sealed for the database.

A demonstration has an authority of its own (`make_authority`); in production the PKCS#12 file of a licensed
authority (电子签名法16) is sealed the same way. No network, no clock: days come from the caller.
"""

import asyncio
import base64
import datetime as dt
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import NameOID

from audit import clock
from institutions import crypto
from institutions.refusals import Refusal, Texts

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
RSA_BITS, PUBLIC_EXPONENT = 2048, 65537
EC_BITS = 256  #: of the shortest curve that may sign: P-256
SIGNS_DOCUMENTS = "non_repudiation"  #: the key usage that `signing.verify` asks for
NAME_LENGTH = 64  #: RFC 5280 A.1: characters of an organisation; for common names checked as bytes
#: who signs an agreement: holder kind of the key, side of the signature, name of its field
SIDES = {"agency": "经办机构", "institution": "医疗机构"}


class SigningError(Refusal):
    """The file cannot be signed, or not with this key."""

    def __init__(self, code: str, detail: Texts):
        super().__init__(422, code, detail)


@dataclass(frozen=True)
class Identity:
    """A certificate (PEM) with its issuers, and the private key sealed for the database."""

    subject: str
    holder_code: str
    certificate: str
    chain: tuple[str, ...]
    sealed: bytes
    valid_from: dt.datetime
    valid_until: dt.datetime

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate, as verification reports it."""
        certificate = x509.load_pem_x509_certificate(self.certificate.encode())
        return certificate.fingerprint(hashes.SHA256()).hex()


@dataclass(frozen=True)
class Opened:
    """What a sealed identity holds: what `sign` takes."""

    key: PrivateKey
    certificate: str
    chain: tuple[str, ...]


def make_authority(
    *, name: str, valid_from: dt.datetime, valid_until: dt.datetime, algorithm: str = "ec"
) -> Identity:
    """A certificate authority of its own: for demonstrations; a real one issues real certificates."""
    key = _new_key(algorithm)
    subject = _name(name, code="", unit="")
    certificate = (
        _builder(subject, subject, key, valid_from, valid_until)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(authority=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return _identity(name, "", key, certificate, ())


def make_identity(
    *,
    authority: Identity,
    holder_kind: str,
    holder_code: str,
    name: str,
    valid_from: dt.datetime,
    valid_until: dt.datetime,
    algorithm: str = "ec",
) -> Identity:
    """A signing certificate of an agency or institution; `algorithm` is `ec` (P-256) or `rsa` (2048)."""
    issuer = open_key(authority.sealed, holder_code=authority.holder_code)
    above = x509.load_pem_x509_certificate(authority.certificate.encode())
    key = _new_key(algorithm)
    subject = _name(name, code=holder_code, unit=SIDES[holder_kind])
    certificate = (
        _builder(subject, above.subject, key, valid_from, valid_until)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(authority=False), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()),
            critical=False,
        )
        .sign(issuer.key, hashes.SHA256())
    )
    return _identity(name, holder_code, key, certificate, (above,))


def seal(container: bytes, password: bytes, *, holder_code: str) -> bytes:
    """A PKCS#12 file and its password as the database keeps them: SM4-GCM, bound to the holder.

    Also for a container that a licensed authority issued.
    """
    both = b"\n".join(map(base64.b64encode, (password, container))).decode()
    return crypto.encrypt(both, bound_to=f"signing key:{holder_code}")


def open_key(sealed: bytes, *, holder_code: str) -> Opened:
    """The key of `seal`; CipherError when it was changed or belongs to another holder."""
    both = crypto.decrypt(sealed, bound_to=f"signing key:{holder_code}").encode()
    password, container = map(base64.b64decode, both.split(b"\n"))
    return _opened(container, password)


def _opened(container: bytes, password: bytes | None) -> Opened:
    key, certificate, above = pkcs12.load_key_and_certificates(container, password)
    if certificate is None or not isinstance(key, PrivateKey):
        raise SigningError(
            "KEY_UNUSABLE",
            (
                "密钥文件：缺少证书，或密钥不是椭圆曲线、RSA 密钥",
                "no certificate, or no EC or RSA key",
            ),
        )
    return Opened(key, _pem(certificate), tuple(_pem(issuer) for issuer in above))


# --- Certificates of a licensed authority ---


def read_container(
    container: bytes, password: str, *, holder_code: str, at: dt.datetime
) -> Identity:
    """A PKCS#12 file as its holder hands it in, sealed; SigningError when it cannot be used now.

    The subject's serial number is the holder's code: by it every verification knows who signed.
    """
    try:
        opened = _opened(container, password.encode() or None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as fault:
        raise SigningError(
            "KEY_FILE_UNREADABLE",
            (
                "密钥文件：不是 PKCS#12 文件，口令有误，或算法不受支持",
                "no PKCS#12 file, wrong password, or unknown algorithm",
            ),
        ) from fault
    certificate = x509.load_pem_x509_certificate(opened.certificate.encode())
    smallest = RSA_BITS if isinstance(opened.key, rsa.RSAPrivateKey) else EC_BITS
    if certificate.public_key() != opened.key.public_key() or opened.key.key_size < smallest:
        raise SigningError(
            "KEY_UNUSABLE",
            ("密钥文件：密钥与证书不符，或密钥过短", "key and certificate differ, or a weak key"),
        )
    _valid_at(certificate, at)
    code = names_of(certificate.subject)[1]
    if code != holder_code:
        raise SigningError(
            "HOLDER_MISMATCH",
            (
                f"签名证书：主体序列号为{code or '空'}，应为{holder_code}",
                f"the subject's serial number must be {holder_code}",
            ),
        )
    return Identity(
        subject=written(certificate.subject), holder_code=holder_code,
        certificate=opened.certificate, chain=opened.chain,
        sealed=seal(container, password.encode(), holder_code=holder_code),
        valid_from=certificate.not_valid_before_utc, valid_until=certificate.not_valid_after_utc,
    )  # fmt: skip


def read_authority(content: bytes, *, at: dt.datetime) -> x509.Certificate:
    """The certificate (PEM) of an authority; SigningError unless it may issue certificates now."""
    try:
        found = x509.load_pem_x509_certificate(content)
        constraints = found.extensions.get_extension_for_class(x509.BasicConstraints).value
    except (ValueError, x509.ExtensionNotFound) as fault:
        raise _no_authority() from fault
    if not constraints.ca:
        raise _no_authority()
    _valid_at(found, at)
    return found


def _no_authority() -> SigningError:
    return SigningError(
        "NO_AUTHORITY",
        ("证书文件：不是颁发机构的证书（PEM）", "not the certificate of an authority (PEM)"),
    )


def _valid_at(certificate: x509.Certificate, at: dt.datetime) -> None:
    since, until = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not since <= at <= until:
        raise SigningError(
            "CERTIFICATE_NOT_VALID",
            (
                f"签名证书：不在有效期内（{clock.local(since):%Y-%m-%d} 至 {clock.local(until):%Y-%m-%d}）",
                "the certificate is not valid now",
            ),
        )


def leads_to(identity: Identity, roots: Iterable[str], *, at: dt.datetime) -> bool:
    """Whether a certificate leads to a registered authority and may sign documents; no network."""
    from asn1crypto import x509 as asn1_x509  # with pyHanko: a second, only for who registers
    from pyhanko_certvalidator import CertificateValidator, ValidationContext
    from pyhanko_certvalidator.errors import PathError, ValidationError

    def load(pem: str) -> asn1_x509.Certificate:
        whole = x509.load_pem_x509_certificate(pem.encode())
        return asn1_x509.Certificate.load(whole.public_bytes(serialization.Encoding.DER))

    context = ValidationContext(
        trust_roots=[load(pem) for pem in roots], moment=at, allow_fetching=False
    )
    validator = CertificateValidator(
        load(identity.certificate), [load(pem) for pem in identity.chain], context
    )
    try:
        asyncio.run(validator.async_validate_usage({SIGNS_DOCUMENTS}))
    except (PathError, ValidationError):
        return False
    return True


def _new_key(algorithm: str) -> PrivateKey:
    if algorithm == "rsa":
        return rsa.generate_private_key(public_exponent=PUBLIC_EXPONENT, key_size=RSA_BITS)
    return ec.generate_private_key(ec.SECP256R1())


def _name(name: str, *, code: str, unit: str) -> x509.Name:
    """X.500 name: the holder's code is its serial number, which no spelling of a name changes."""
    name = name[:NAME_LENGTH]
    short = name.encode()[:NAME_LENGTH].decode(errors="ignore")
    parts = [(NameOID.COUNTRY_NAME, "CN"), (NameOID.ORGANIZATION_NAME, name)]
    parts += [(NameOID.ORGANIZATIONAL_UNIT_NAME, unit)] if unit else []
    parts += [(NameOID.COMMON_NAME, short)]
    parts += [(NameOID.SERIAL_NUMBER, code)] if code else []
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: PrivateKey,
    valid_from: dt.datetime,
    valid_until: dt.datetime,
) -> x509.CertificateBuilder:
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return (
        x509.CertificateBuilder(subject_name=subject, issuer_name=issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(valid_from)
        .not_valid_after(valid_until)
        .add_extension(identifier, critical=False)
    )


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=not authority,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _identity(
    name: str,
    code: str,
    key: PrivateKey,
    certificate: x509.Certificate,
    above: tuple[x509.Certificate, ...],
) -> Identity:
    password = secrets.token_hex(16).encode()
    container = pkcs12.serialize_key_and_certificates(
        name.encode(), key, certificate, above, serialization.BestAvailableEncryption(password)
    )
    return Identity(
        subject=written(certificate.subject),
        holder_code=code,
        certificate=_pem(certificate),
        chain=tuple(map(_pem, above)),
        sealed=seal(container, password, holder_code=code),
        valid_from=certificate.not_valid_before_utc,
        valid_until=certificate.not_valid_after_utc,
    )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def written(name: x509.Name) -> str:
    """A subject as text (RFC 4514), its serial number by name instead of by object identifier."""
    return name.rfc4514_string({NameOID.SERIAL_NUMBER: "SERIALNUMBER"})


def names_of(name: x509.Name) -> tuple[str, str]:
    """Organisation (else common name) and holder's code of a subject or issuer."""
    texts = {attribute.oid: str(attribute.value) for attribute in name}
    common = texts.get(NameOID.COMMON_NAME, "")
    return texts.get(NameOID.ORGANIZATION_NAME, common), texts.get(NameOID.SERIAL_NUMBER, "")
