"""Records for tests: institutions, physicians, persons, and bodies of claims for them."""

import datetime as dt
import functools
import itertools
import shutil
import tempfile
from pathlib import Path
from zoneinfo import ZoneInfo

from django.contrib.auth.hashers import make_password
from django.test import Client
from django.utils import timezone
from oauth2_provider.models import get_access_token_model

from agreements.models import Agreement, AgreementState
from institutions import crypto
from institutions.models import (
    ApiClient,
    Institution,
    InstitutionFacts,
    Physician,
    PhysicianTitle,
    Region,
    User,
)
from pricing.commands import SHIPPED, load_shipped
from settlement.models import ChronicDisease, InsuredPerson, OfflineVisit

ZONE = ZoneInfo("Asia/Shanghai")
LONG_AGO = dt.date(2019, 1, 1)
RECORDED = dt.datetime(2019, 1, 1, 8, tzinfo=ZONE)
DAY = dt.date(2021, 6, 15)
VISIT_DAY = dt.date(2021, 5, 20)
OFFICE_SCOPE = "reports:read reports:write"
SCOPES = (
    "claims:read claims:write trial institution:read institution:write payments:read"
    " consultations:read consultations:write lines:read persons:read"
)
REGIONS = {
    "nantong": ("320600", "南通市"),
    "wenzhou": ("330300", "温州市"),
    "jilin": ("220000", "吉林省"),
    "ningxia": ("640100", "银川市"),
}
HYPERTENSION = {"code": "I10.x00x002", "name": "高血压", "main": True}
PASSWORD = "Ceshi-Mima-2021"
_serial = itertools.count(1)


def policies(*regions: str, at: dt.datetime = RECORDED) -> None:
    """Publish the shipped documents and example parameters, of some regions only to be faster."""
    with tempfile.TemporaryDirectory() as folder:
        for path in SHIPPED.glob("*.yaml"):
            if not regions or any(name in path.name for name in regions):
                shutil.copy(path, folder)
        load_shipped(by="loader", at=at, folder=Path(folder))


def region(name: str = "nantong") -> Region:
    code, title = REGIONS[name]
    found, _ = Region.objects.get_or_create(
        code=code, defaults={"name": title, "level": "prefecture", "policy_region": name}
    )
    return found


def institution(name: str = "nantong", *, agreements: bool = True, **facts: object) -> Institution:
    """A public class 3 hospital with a filed internet hospital and both agreements in force."""
    place = region(name)
    number = next(_serial)
    hospital = Institution.objects.create(
        code=f"H{place.code}{number:05d}", name=f"测试医院{number}", region=place
    )
    standard = {
        "valid_from": LONG_AGO, "recorded_at": RECORDED, "price_class": "3", "ownership": "public",
        "nonprofit": True, "filed_on": LONG_AGO, "online_settlement": True,
        "offline_departments": ["A03"], "internet_departments": ["A03"],
    }  # fmt: skip
    InstitutionFacts.objects.create(institution=hospital, **(standard | facts))
    if agreements:
        agreement(hospital, "main")
        agreement(hospital, "supplementary")
    return hospital


def agreement(hospital: Institution, kind: str, state: str = "active", **more: object) -> Agreement:
    made = Agreement.objects.create(
        institution=hospital, kind=kind, number=f"{kind}-{hospital.code}", valid_from=LONG_AGO
    )
    AgreementState.objects.create(
        agreement=made, state=state, recorded_at=RECORDED, recorded_by="test",
        **({"valid_from": LONG_AGO} | more),
    )  # fmt: skip
    return made


def physician(hospital: Institution, title: str = "attending", **more: object) -> Physician:
    doctor = Physician.objects.create(
        code=f"D{next(_serial):07d}", name="测试医师", institution=hospital,
        **({"independent_since": dt.date(2010, 1, 1), "checked_at": RECORDED} | more),
    )  # fmt: skip
    physician_title(doctor, title)
    return doctor


def physician_title(doctor: Physician, title: str, **more: object) -> PhysicianTitle:
    """A title that the agency has checked."""
    return PhysicianTitle.objects.create(
        physician=doctor, title=title, recorded_by="test",
        **({"valid_from": LONG_AGO, "recorded_at": RECORDED, "checked_at": RECORDED} | more),
    )  # fmt: skip


def id_number(serial: int | None = None) -> str:
    """A number with a right check digit that belongs to nobody (area 999999)."""
    body = f"99999919700101{(serial or next(_serial)) % 1000:03d}"
    return body + crypto.check_digit(body)


def person(name: str = "nantong", scheme: str = "resident", **more: object) -> InsuredPerson:
    """An insured person with hypertension filed; `credential` is set on the instance for claims."""
    number = id_number()
    digest = crypto.person_hash(number)
    row = digest.hex()
    made = InsuredPerson.objects.create(
        id_hash=digest, id_masked=crypto.mask_id(number),
        id_cipher=crypto.encrypt(number, bound_to=f"person:{row}:id"), name_masked="测*",
        name_cipher=crypto.encrypt("测试", bound_to=f"person:{row}:name"),
        region_code=region(name).code, scheme=scheme, **more,
    )  # fmt: skip
    ChronicDisease.objects.create(
        person=made, code="M03900", name="高血压病", valid_from=LONG_AGO, recorded_at=RECORDED
    )
    made.credential = number
    return made


def offline_visit(
    insured: InsuredPerson, hospital: Institution, day: dt.date = VISIT_DAY, icd: str = "I10.x00"
) -> OfflineVisit:
    return OfflineVisit.objects.create(
        person=insured, institution_code=hospital.code, day=day, diagnosis_code=icd,
        reported_at=dt.datetime.combine(day, dt.time(18), ZONE),
    )  # fmt: skip


def token(hospital: Institution, scope: str = SCOPES) -> str:
    """A valid access token of a client of the hospital."""
    return _token(api_client(name=hospital.name, institution=hospital), hospital.code, scope)


def office_token(place: Region, scope: str = OFFICE_SCOPE) -> str:
    """A valid access token of the system of a region's office."""
    return _token(api_client(name=f"{place.name}系统", region=place), place.code, scope)


def api_client(**facts: object) -> ApiClient:
    """A client of the interface, of an `institution` or of the office of a `region`."""
    return ApiClient.objects.create(
        client_type="confidential", authorization_grant_type="client-credentials",
        client_secret="s" * 40, hash_client_secret=False, **facts,
    )  # fmt: skip


def _token(client: ApiClient, place: str, scope: str) -> str:
    text = f"token-{place}-{client.pk}"
    get_access_token_model().objects.create(
        application=client, token=text, scope=scope,
        expires=timezone.now() + dt.timedelta(hours=1),
    )  # fmt: skip
    return text


def line(
    number: int = 1,
    *,
    kind: str = "consult",
    item: str = "111102001",
    fee: str = "12.00",
    **more: object,
) -> dict:
    standard = {"quantity": "1", "unit_price": fee}
    return {"line_no": number, "kind": kind, "item_code": item, "fee": fee} | standard | more


def body(
    insured: InsuredPerson, doctor: Physician, *lines: dict, day: dt.date = DAY, **more: object
) -> dict:
    """A claim that fulfils Nantong's requirements (and Wenzhou's, with a drug line or not)."""
    number = f"{next(_serial):06d}"
    start = dt.datetime.combine(day, dt.time(9, 30), ZONE)
    minutes = (start + dt.timedelta(minutes=part) for part in (5, 6, 10))
    signed, reviewed, ended = (moment.isoformat() for moment in minutes)
    standard = {
        "claim_no": f"C{number}",
        "encounter": {
            "id": f"E{number}", "business_type": "internet", "visit_type": "revisit",
            "condition": "chronic", "started_at": start.isoformat(), "ended_at": ended,
            "department_code": "A03", "diagnoses": [dict(HYPERTENSION)],
            "session": {"medium": "video", "device": "phone-7", "address": "10.1.2.3"},
        },
        "person": {
            "credential_type": "e_credential", "credential": insured.credential,
            "verified_at": start.isoformat(), "matched": True,
        },
        "consent": {"item_and_price_explained": True, "given_at": start.isoformat()},
        "physician": {"code": doctor.code},
        "prescriptions": [
            {"no": "P1", "signed_by": doctor.code, "signed_at": signed, "reviewed_by": "YS1",
             "reviewed_at": reviewed,
             "lines": [{"drug_code": "D1", "quantity": "1", "days_supply": 28, "unit": "盒"}]},
        ],
        "lines": list(lines) or [line()],
        "channel": "online",
        "pay_from_account": False,
    }  # fmt: skip
    return standard | more


def user(role: str, place: Region | Institution | None = None, **more: object) -> User:
    """A person with a role in a region or at an institution; the password is PASSWORD."""
    where = {"institution": place} if isinstance(place, Institution) else {"region": place}
    made = User(username=f"{role}-{next(_serial)}", role=role, **(where | more))
    made.password = _hashed()
    made.save()
    return made


@functools.cache
def _hashed() -> str:
    """PASSWORD as it is stored, hashed once: a strong hash takes half a second."""
    return make_password(PASSWORD)


def log_in(client: Client, person: User) -> Client:
    """The client, logged in as the person, without the log-in page."""
    client.force_login(person, backend="allauth.account.auth_backends.AuthenticationBackend")
    return client
