"""Signed checkpoints: notes in the form of C2SP tlog-checkpoint, signed with SM2 by the openssl command.

Three lines (origin, size, base64 of the root), two more that name the algorithm and the moment, an empty
line, and “— name base64(key id ‖ signature)”. Anybody with the public key and openssl can check one:
SM2 with SM3 and the distinguishing identifier of GM/T 0009-2012. The private key is a file of the server.
"""

import base64
import binascii
import contextlib
import datetime as dt
import hashlib
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

SIGNATURE_ALG = "sm2-sm3"
DISTID = "distid:1234567812345678"
DASH = "\u2014"  # the mark of a signature line
#: An algorithm without a number of its own in C2SP signed-note: 0xff and its name.
KEY_TYPE = b"\xff" + SIGNATURE_ALG.encode()
ID_BYTES = 4
SECONDS = 20


class SigningError(Exception):
    """The openssl command is missing, too old, or refuses the key."""


@dataclass(frozen=True)
class Note:
    """A parsed checkpoint; whether its signature is right, `verify` says."""

    origin: str
    size: int
    root: bytes
    alg: str
    at: str
    name: str
    key_id: str
    signature: bytes
    signed: bytes


def text_of(*, origin: str, size: int, root: bytes, alg: str, at: dt.datetime) -> str:
    """The lines that are signed, each with its line break."""
    moment = at.astimezone(dt.UTC).isoformat(timespec="seconds")
    return f"{origin}\n{size}\n{base64.b64encode(root).decode()}\nalg {alg}\nat {moment}\n"


def sign(text: str, *, name: str) -> str:
    """The note of a text: signed with this server's key under `name`."""
    signature = openssl(
        "dgst", "-sm3", "-sign", str(key_file()), "-sigopt", DISTID, given=text.encode()
    )
    line = base64.b64encode(bytes.fromhex(key_id(name, public_key())) + signature).decode()
    return f"{text}\n{DASH} {name} {line}\n"


def parse(note: str) -> Note:
    """The parts of a note; ValueError (English) for anything else."""
    text, mark, last = note.replace("\r\n", "\n").partition(f"\n\n{DASH} ")
    lines = text.split("\n")
    try:
        name, signature = last.split("\n")[0].split(" ")
        origin, size, root, alg, moment = lines
        raw = base64.b64decode(signature, validate=True)
        found = Note(
            origin, int(size), base64.b64decode(root, validate=True), _after("alg ", alg),
            _after("at ", moment), name, raw[:ID_BYTES].hex(), raw[ID_BYTES:],
            f"{text}\n".encode(),
        )  # fmt: skip
    except (ValueError, binascii.Error) as fault:
        raise ValueError(f"not a checkpoint: {fault}") from fault
    if not mark or str(found.size) != size or found.size < 1:
        raise ValueError("not a checkpoint")
    return found


def _after(word: str, line: str) -> str:
    if not line.startswith(word):
        raise ValueError(f"no line “{word}…”")
    return line.removeprefix(word)


def verify(note: Note, pem: str) -> bool:
    """Whether this key signed the note."""
    if key_id(note.name, pem) != note.key_id:
        return False
    with tempfile.TemporaryDirectory() as folder:
        key, signature = Path(folder, "key.pem"), Path(folder, "signature")
        key.write_text(pem)
        signature.write_bytes(note.signature)
        done = _run(
            "dgst", "-sm3", "-verify", str(key), "-sigopt", DISTID, "-signature", str(signature),
            given=note.signed,
        )  # fmt: skip
    return done.returncode == 0


def key_id(name: str, pem: str) -> str:
    """The eight hexadecimal digits of a key: SHA-256 over name, type and key, as signed-note says."""
    der = base64.b64decode("".join(pem.split("\n")[1:-2]))
    return hashlib.sha256(name.encode() + b"\n" + KEY_TYPE + der).digest()[:ID_BYTES].hex()


def public_key() -> str:
    """The public half of this server's key (PEM)."""
    return openssl("pkey", "-in", str(key_file()), "-pubout").decode()


def key_file() -> Path:
    """The private key, made at the first use: a file that nobody else may read."""
    path = Path(settings.SEAL_KEY_FILE)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:SM2")
        mine = path.with_name(f"{path.name}.{os.getpid()}")
        with open(os.open(mine, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
            stream.write(fresh)
        with contextlib.suppress(FileExistsError):  # whoever came first keeps his
            os.link(mine, path)
        mine.unlink()
    return path


def openssl(*words: str, given: bytes = b"") -> bytes:
    """The output of an openssl command, or SigningError with what it said."""
    done = _run(*words, given=given)
    if done.returncode:
        raise SigningError(done.stderr.decode(errors="replace").strip()[:500])
    return done.stdout


def _run(*words: str, given: bytes) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            ["openssl", *words], input=given, capture_output=True, timeout=SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SigningError(f"openssl: {error}") from error
