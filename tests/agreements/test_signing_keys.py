"""Signing certificates of an authority: who registers which, what is refused, the one before ends."""

import datetime as dt
import io

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    NoEncryption,
    pkcs12,
)
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from agreements import contracts, identities, keys
from agreements.models import SigningKey
from audit.models import Event
from institutions.access import EVERYTHING, set_scope
from institutions.models import Institution, Office
from institutions.refusals import Refusal
from tests import factories
from tests.agreements.test_lifecycle import at

DAY = dt.date(2021, 12, 20)
FROM, UNTIL = at(dt.date(2021, 1, 1)), at(dt.date(2024, 1, 1))
PASSWORD = "Xukezheng-1"


@pytest.fixture
def hospital(db) -> Institution:
    factories.policies("wenzhou")
    set_scope(EVERYTHING)
    found = factories.institution("wenzhou")
    Office.objects.get_or_create(
        region=found.region, kind="agency", defaults={"name": "测试经办机构"}
    )
    return found


@pytest.fixture
def authority() -> identities.Identity:
    return identities.make_authority(name="测试电子认证机构", valid_from=FROM, valid_until=UNTIL)


@pytest.fixture
def trusted(hospital, authority) -> identities.Identity:
    keys.register_authority(certificate=authority.certificate.encode(), by="ops", at=at(DAY, 8))
    return authority


def container(
    authority: identities.Identity, code: str, *, until: dt.datetime = UNTIL, algorithm: str = "ec"
) -> bytes:
    made = identities.make_identity(
        authority=authority, holder_kind="institution", holder_code=code, name="测试持有者",
        valid_from=FROM, valid_until=until, algorithm=algorithm,
    )  # fmt: skip
    opened = identities.open_key(made.sealed, holder_code=code)
    whole, *above = (
        x509.load_pem_x509_certificate(pem.encode()) for pem in (opened.certificate, *opened.chain)
    )
    locked = BestAvailableEncryption(PASSWORD.encode())
    return pkcs12.serialize_key_and_certificates(b"x", opened.key, whole, above, locked)


def register(code: str, content: bytes, day: dt.date = DAY, **more) -> SigningKey:
    given = {"side": "institution", "password": PASSWORD, "by": "hospital", "at": at(day)} | more
    return keys.register_key(holder_code=code, pkcs12=content, **given)


def refusal(*given, **more) -> str:
    with pytest.raises(Refusal) as caught:
        register(*given, **more)
    return caught.value.code


@pytest.mark.parametrize("algorithm", ["ec", "rsa"])
def test_a_certificate_of_a_registered_authority_signs_from_today(hospital, trusted, algorithm):
    made = register(hospital.pk, container(trusted, hospital.pk, algorithm=algorithm))
    assert (made.valid_from, made.valid_until, made.is_demo) == (DAY, UNTIL.date(), False)
    opened = identities.open_key(bytes(made.key_encrypted), holder_code=hospital.pk)
    assert opened.certificate == made.certificate
    assert PASSWORD.encode() not in bytes(made.key_encrypted)
    [event] = Event.objects.filter(action="signing_key.register")
    assert event.institution_code == hospital.pk
    assert PASSWORD not in bytes(event.body).decode()


def test_the_next_certificate_ends_the_one_before(hospital, trusted):
    content = container(trusted, hospital.pk)
    first = register(hospital.pk, content, dt.date(2021, 6, 1))
    second = register(hospital.pk, content)
    first.refresh_from_db()
    assert (first.valid_until, second.valid_from) == (dt.date(2021, 12, 19), DAY)
    third = register(hospital.pk, content)
    assert list(SigningKey.objects.in_force(on=DAY).filter(side="institution")) == [third]


def test_what_is_not_registered(hospital, trusted, authority):
    good = container(trusted, hospital.pk)
    assert refusal(hospital.pk, b"no container") == "KEY_FILE_UNREADABLE"
    assert refusal(hospital.pk, good, password="wrong") == "KEY_FILE_UNREADABLE"
    assert refusal(hospital.pk, good, day=dt.date(2024, 5, 1)) == "CERTIFICATE_NOT_VALID"
    assert refusal(hospital.pk, container(trusted, "H0")) == "HOLDER_MISMATCH"
    assert refusal("H33039999999", good) == "HOLDER_UNKNOWN"
    assert refusal("330000", good, side="agency") == "HOLDER_UNKNOWN"
    stranger = identities.make_authority(name="他人", valid_from=FROM, valid_until=UNTIL)
    assert refusal(hospital.pk, container(stranger, hospital.pk)) == "ISSUER_UNKNOWN"
    assert not SigningKey.objects.filter(side="institution").exists()


def test_an_agency_registers_its_own(hospital, trusted):
    code = hospital.region_id
    made = register(code, container(trusted, code), side="agency")
    assert (made.side, made.holder_code) == ("agency", code)


def test_a_container_without_a_certificate_is_unusable(hospital, trusted):
    opened = identities.open_key(trusted.sealed, holder_code="")
    bare = pkcs12.serialize_key_and_certificates(b"x", opened.key, None, None, NoEncryption())
    assert refusal(hospital.pk, bare, password="") == "KEY_UNUSABLE"


# --- The authority ---


def test_the_command_registers_an_authority_once(hospital, authority, tmp_path, monkeypatch):
    monkeypatch.setattr("django.utils.timezone.now", lambda: at(DAY))
    file = tmp_path / "authority.pem"
    file.write_text(authority.certificate)
    for _ in range(2):
        call_command("signing_authority", str(file), stdout=io.StringIO())
    [row] = SigningKey.objects.filter(side="authority")
    assert (row.certificate, row.is_demo) == (authority.certificate, False)
    assert Event.objects.filter(action="signing_authority.register").count() == 1
    signer = identities.make_identity(
        authority=authority, holder_kind="agency", holder_code="330300", name="甲",
        valid_from=FROM, valid_until=UNTIL,
    )  # fmt: skip
    for wrong in (signer.certificate, "text"):
        file.write_text(wrong)
        with pytest.raises(CommandError, match="不是颁发机构的证书"):
            call_command("signing_authority", str(file))
    with pytest.raises(CommandError, match="无法读取"):
        call_command("signing_authority", str(tmp_path / "none.pem"))


# --- The page ---


def client_of(role: str, place) -> Client:
    return factories.log_in(Client(), factories.user(role, place))


def post(client: Client, content: bytes, password: str = PASSWORD):
    file = SimpleUploadedFile("sign.p12", content)
    return client.post(
        reverse("signing-keys-register"), {"file": file, "password": password}
    )  # fmt: skip


def test_a_hospital_and_an_agency_register_on_the_page_for_themselves(hospital, trusted, settings):
    settings.DEMO_TODAY = DAY
    hand = client_of("hospital", hospital)
    wrong = post(hand, container(trusted, hospital.pk), "falsch-1")
    assert wrong.status_code == 422
    assert "口令有误" in wrong.content.decode()
    assert "falsch-1" not in wrong.content.decode()
    assert post(hand, container(trusted, hospital.pk)).status_code == 302
    officer = client_of("signing_officer", hospital.region)
    code = hospital.region_id
    assert post(officer, container(trusted, code)).status_code == 302
    own = hand.get(reverse("signing-keys")).content.decode()
    assert "测试电子认证机构" in own
    assert hospital.pk in own
    assert SigningKey.objects.filter(side="agency", holder_code=code).count() == 1


def test_others_only_look(hospital, trusted, settings):
    settings.DEMO_TODAY = DAY
    contracts.make_signing_keys(valid_from=FROM, valid_until=UNTIL, by="k", at=at(DAY))
    other = factories.institution("wenzhou")
    reviewer = client_of("reviewer", hospital.region)
    shown = reviewer.get(reverse("signing-keys"))
    assert shown.status_code == 200
    assert "登记签名证书</h2>" not in shown.content.decode()
    assert post(reviewer, b"x").status_code == 403
    mine = client_of("hospital", hospital).get(reverse("signing-keys")).content.decode()
    assert "演示证书" in mine
    assert other.pk not in mine
