"""Electronic signatures: both sides, every kind of damage refused, and openssl as the second opinion."""

import datetime as dt
import io
import random
import re
import socket
import subprocess
from contextlib import closing
from functools import cache

import pypdfium2
import pytest
from pyhanko.pdf_utils.generic import NameObject, TextStringObject
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter

from agreements import identities, signing, texts
from audit import pdf
from audit.clock import ZONE
from institutions import crypto
from institutions.crypto import CipherError

AT = dt.datetime(2021, 12, 20, 10, 30, tzinfo=ZONE)
LATER = AT + dt.timedelta(hours=5)
FROM, UNTIL = dt.datetime(2021, 1, 1, tzinfo=ZONE), dt.datetime(2024, 1, 1, tzinfo=ZONE)
CODES = {"agency": "330300", "institution": "H33030000001"}
NAMES = {"agency": "温州市医疗保险管理中心（示例）", "institution": "温州市示例第一人民医院"}
CHANGED = "签名后文件内容被改动，或签名值不符"
BYTE_RANGE = re.compile(rb"/ByteRange \[(\d+) (\d+) (\d+) (\d+)\s*\]")


ISSUER = "示例证书颁发机构（仅供演示）"


@pytest.fixture(autouse=True)
def trail(db):
    """Papers and stamps name the checkpoint of the trail."""


def new_authority(name):
    return identities.make_authority(name=name, valid_from=FROM, valid_until=UNTIL)


@cache
def authority():
    return new_authority(ISSUER)


@cache
def identity(side, algorithm="ec"):
    return identities.make_identity(
        authority=authority(),
        holder_kind=side,
        holder_code=CODES[side],
        name=NAMES[side],
        valid_from=FROM,
        valid_until=UNTIL,
        algorithm=algorithm,
    )


@cache
def agreement():
    text = texts.text_for("supplementary", "wenzhou", AT.date())
    context = {
        "text": text,
        "number": "WZ-BC-2021-0001",
        "agency": {"name": NAMES["agency"]},
        "institution": {"name": NAMES["institution"], "code": CODES["institution"]},
        "term": {"from": "2021年12月20日", "until": "2022年12月31日"},
        "demo": True,
    }
    identifier = pdf.identifier_of("agreement", "WZ-BC-2021-0001")
    data = pdf.json_attachment("agreement.json", {"number": "WZ-BC-2021-0001"}, "协议数据")
    return pdf.render(
        "reports/agreement.html", context, identifier=identifier, at=AT, attachments=[data]
    )


def sign(document, side, *, at=AT, who=None):
    opened = identities.open_key((who or identity(side)).sealed, holder_code=CODES[side])
    return signing.sign(
        document,
        side=side,
        key=opened.key,
        certificate=opened.certificate,
        chain=opened.chain,
        at=at,
        reason="签订补充协议",
        location="浙江省温州市",
    )


@cache
def half():
    return sign(agreement(), "institution")


@cache
def whole():
    return sign(half(), "agency", at=LATER, who=identity("agency", "rsa"))


def verify(document, **options):
    return signing.verify(document, **{"roots": [authority().certificate]} | options)


# --- Both sides ---


def test_both_sides_sign_one_after_the_other():
    report = verify(whole(), holders=CODES)
    assert report.valid
    assert report.text == "签名有效"
    found = [
        (one.side, one.signer, one.holder_code, one.signed_at, one.fingerprint)
        for one in report.signatures
    ]
    assert found == [
        (side, NAMES[side], CODES[side], at, who.fingerprint)
        for side, at, who in [
            ("institution", AT, identity("institution")),
            ("agency", LATER, identity("agency", "rsa")),
        ]
    ]


def test_either_side_may_be_the_first():
    document = sign(sign(agreement(), "agency"), "institution", at=LATER)
    assert verify(document).valid


def test_a_signature_is_an_addition_and_changes_nothing_before_it():
    assert half().startswith(agreement())
    assert whole().startswith(half())


def test_the_signatures_can_be_read_on_the_paper():
    with closing(pypdfium2.PdfDocument(whole())) as opened:
        opened.init_forms()
        page = opened[len(opened) - 1]
        drawn = page.render(scale=1, may_draw_forms=True).to_numpy().astype(int)
        red = (drawn[:, :, 2] > 150) & (drawn[:, :, 1] < 90)  # blue, green, red
        assert red[:, : red.shape[1] // 2].sum() > 500
        assert red[:, red.shape[1] // 2 :].sum() > 500
    for name in NAMES.values():
        assert name in stamp_texts(whole())


def stamp_texts(document):
    """The text of the signature appearances, flattened into the page by another maker's program."""
    with closing(pypdfium2.PdfDocument(document)) as opened:
        opened.init_forms()
        page = opened[len(opened) - 1]
        page.flatten()
        again = io.BytesIO()
        opened.save(again)
    with closing(pypdfium2.PdfDocument(again.getvalue())) as opened:
        return "".join(page.get_textpage().get_text_bounded() for page in opened)


# --- What is not valid ---


def test_a_file_without_signature_has_none_whatever_hash_was_noted():
    report = verify(agreement())
    assert (report.valid, report.text, report.missing) == (
        False,
        "无签名",
        ("agency", "institution"),
    )


def test_a_missing_second_signature_is_named():
    report = verify(half())
    assert (report.valid, report.text) == (False, "缺少经办机构签名")
    assert verify(half(), required=["institution"]).valid


def test_an_unknown_authority_is_not_trusted():
    report = signing.verify(whole(), roots=[new_authority("他人的颁发机构").certificate])
    assert not report.valid
    assert all(one.intact and one.complete and not one.trusted for one in report.signatures)
    assert f"颁发者“{ISSUER}”不受信任" in report.text
    assert not signing.verify(whole(), roots=[]).valid


def test_a_namesake_of_the_authority_is_not_trusted():
    twin = new_authority(ISSUER)
    assert not signing.verify(whole(), roots=[twin.certificate]).valid


def test_a_certificate_of_another_holder_is_named():
    report = verify(whole(), holders=CODES | {"agency": "330400"})
    assert report.text == "经办机构签名：证书持有者编码为330300，应为330400"


def signed_places(document):
    """Places in the bytes that the last signature covers: ends, edges of revisions, and some between."""
    *_, last = BYTE_RANGE.finditer(document)
    start, before, after, rest = map(int, last.groups())
    assert (start, after + rest) == (0, len(document))
    chance = random.Random(20211220)
    inside = [0, 9, before - 1, after, len(document) - 2, len(agreement()) - 3, len(half()) - 3]
    ranges = [range(before), range(after, len(document))]
    return inside + [chance.choice(among) for among in ranges for _ in range(12)]


def test_one_changed_byte_anywhere_in_the_signed_bytes_is_refused():
    document = whole()
    accepted = []
    for place in signed_places(document):
        changed = bytearray(document)
        changed[place] ^= 1
        if verify(bytes(changed)).valid:
            accepted.append(place)
    assert accepted == []


def test_a_changed_byte_is_named_as_such():
    document = whole()
    place = document.index(b"stream", len(agreement()) // 2) + 40
    changed = document[:place] + bytes([document[place] ^ 1]) + document[place + 1 :]
    report = verify(changed)
    assert not report.valid
    assert [one.intact for one in report.signatures] == [False, False] or not report.readable
    assert CHANGED in report.text or not report.readable


def test_the_gap_holds_nothing_but_the_signature():
    document = whole()
    *_, last = BYTE_RANGE.finditer(document)
    _, before, after, _ = map(int, last.groups())
    assert document[after - 2 : after] == b"0>"
    hidden = document[: after - 2] + b"7>" + document[after:]
    assert len(hidden) == len(document)
    assert not verify(hidden).valid
    end = before + 1 + 2 * len(cut(document, last)[1])  # the signature's value ends it
    wrong = document[: end - 2] + b"%02x" % (int(document[end - 2 : end], 16) ^ 1) + document[end:]
    assert len(wrong) == len(document)
    assert not verify(wrong).valid


def appended(document, change):
    writer = IncrementalPdfFileWriter(io.BytesIO(document))
    change(writer)
    output = io.BytesIO()
    writer.write(output)
    return output.getvalue()


def retitle(writer):
    info = writer.trailer["/Info"]
    info[NameObject("/Title")] = TextStringObject("另一份协议")
    writer.update_container(info)


def rename_language(writer):
    writer.root[NameObject("/Lang")] = TextStringObject("en")
    writer.update_root()


@pytest.mark.parametrize("change", [retitle, rename_language, lambda writer: writer.update_root()])
def test_whatever_is_added_after_signing_is_refused(change):
    for document in (half(), whole()):
        report = verify(appended(document, change))
        assert not report.valid
        assert "签名后文件被追加了签名以外的内容" in report.text


def test_bytes_added_at_the_end_are_refused():
    assert not verify(whole() + b"\n% more\n").valid


def test_a_shortened_file_lacks_the_second_signature():
    report = verify(whole()[: len(half())])
    assert report.text == "缺少经办机构签名"


@pytest.mark.parametrize("content", [b"", b"%PDF-1.7\n", b"<html></html>", b"\0" * 4096])
def test_what_is_no_file_is_reported_not_raised(content):
    assert verify(content).text == "文件结构已损坏，无法读取签名"


# --- What cannot be signed ---


def refused(document, side, **options):
    with pytest.raises(identities.SigningError) as refusal:
        sign(document, side, **options)
    return refusal.value.code, refusal.value.detail[0]


def test_a_side_signs_once():
    assert refused(half(), "institution") == ("SIGNED_ALREADY", "协议文件：医疗机构已签名")


def test_a_changed_file_is_not_signed():
    code, _ = refused(appended(half(), retitle), "agency")
    assert code == "DOCUMENT_CHANGED"
    assert refused(b"no file", "agency")[0] == "DOCUMENT_CHANGED"


def test_an_expired_certificate_signs_nothing():
    code, text = refused(agreement(), "agency", at=dt.datetime(2024, 6, 1, tzinfo=ZONE))
    assert (code, text) == (
        "CERTIFICATE_NOT_VALID",
        "签名证书：签署时不在有效期内（至2024-01-01）",
    )


def test_a_paper_without_a_place_is_not_signed():
    bare = pdf.render(
        "reports/base.html", {}, identifier=b"x" * 16, at=AT, styles=["css/report.css"]
    )
    assert refused(bare, "agency")[0] == "NO_PLACE"


def test_key_and_certificate_belong_together():
    mine = identities.open_key(identity("agency").sealed, holder_code=CODES["agency"])
    other = identity("institution").certificate
    with pytest.raises(identities.SigningError, match="KEY_MISMATCH"):
        signing.sign(
            agreement(), side="agency", key=mine.key, certificate=other, chain=(), at=AT,
            reason="", location="",
        )  # fmt: skip


def test_a_certificate_that_had_expired_by_its_own_time_is_not_trusted(monkeypatch):
    monkeypatch.setattr(signing, "_check_key", lambda *_: None)
    late = sign(agreement(), "agency", at=dt.datetime(2024, 6, 1, tzinfo=ZONE))
    assert "签署时证书不在有效期内" in verify(late).text


# --- Keys ---


@pytest.mark.parametrize("algorithm", ["ec", "rsa"])
def test_a_sealed_key_opens_for_its_holder_only(algorithm):
    made = identity("agency", algorithm)
    opened = identities.open_key(made.sealed, holder_code=CODES["agency"])
    assert (opened.certificate, opened.chain) == (made.certificate, made.chain)
    assert made.chain == (authority().certificate,)
    assert b"PRIVATE" not in made.sealed
    with pytest.raises(CipherError):
        identities.open_key(made.sealed, holder_code=CODES["institution"])


def test_a_container_without_certificate_is_refused():
    sealed = identities.seal(b"", b"", holder_code="1")
    assert crypto.decrypt(sealed, bound_to="signing key:1")
    with pytest.raises(ValueError, match="PKCS12"):
        identities.open_key(sealed, holder_code="1")


def test_a_long_name_is_signed_and_shown():
    name = "示例省示例自治州示例县人民医院暨示例医科大学附属示例医院（示例县医疗健康集团总医院）"
    who = identities.make_identity(
        authority=authority(), holder_kind="institution", holder_code=CODES["institution"],
        name=name + name, valid_from=FROM, valid_until=UNTIL,
    )  # fmt: skip
    document = sign(agreement(), "institution", who=who)
    assert verify(document).signatures[0].signer == (name + name)[:64]
    assert name[:15] in stamp_texts(document)


# --- No network, and the second opinion ---


def test_signing_and_verifying_open_no_connection(monkeypatch):
    def refuse(*_):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert verify(sign(half(), "agency", at=LATER)).valid


def openssl_accepts(folder, signed, signature, root):
    """Whether `openssl cms -verify` accepts a detached signature; no code of ours takes part."""
    for name, content in [("s", signed), ("c", signature), ("r", root.encode())]:
        (folder / name).write_bytes(content)
    command = ["openssl", "cms", "-verify", "-binary", "-inform", "DER", "-in", folder / "c"]
    command += ["-content", folder / "s", "-CAfile", folder / "r", "-purpose", "any"]
    command += ["-attime", str(int(AT.timestamp())), "-out", folder / "out"]
    done = subprocess.run(command, capture_output=True, check=False)
    return done.returncode == 0 and (folder / "out").read_bytes() == signed


def cut(document, entry):
    """The signed bytes and the signature, cut out by the numbers that the file itself states."""
    start, before, after, rest = map(int, entry.groups())
    signature = bytes.fromhex(document[before + 1 : after - 1].decode())
    head = 2 + (signature[1] & 0x7F)  # DER: tag, length of the length, length
    length = head + int.from_bytes(signature[2:head], "big")
    return document[start:before] + document[after : after + rest], signature[:length]


def test_openssl_accepts_both_and_refuses_one_changed_byte(tmp_path):
    document = whole()
    entries = list(BYTE_RANGE.finditer(document))
    assert len(entries) == 2
    for entry in entries:
        signed, signature = cut(document, entry)
        assert openssl_accepts(tmp_path, signed, signature, authority().certificate)
        middle = len(signed) // 2
        changed = signed[:middle] + bytes([signed[middle] ^ 1]) + signed[middle + 1 :]
        assert not openssl_accepts(tmp_path, changed, signature, authority().certificate)
        stranger = new_authority("他人的颁发机构").certificate
        assert not openssl_accepts(tmp_path, signed, signature, stranger)


def test_the_time_of_signing_is_among_the_signed_bytes():
    first, second = (cut(whole(), entry)[0] for entry in BYTE_RANGE.finditer(whole()))
    stated = [re.findall(rb"/M \(D\\072(\d{14})\\05308", signed) for signed in (first, second)]
    assert stated == [[b"20211220103000"], [b"20211220103000", b"20211220153000"]]
