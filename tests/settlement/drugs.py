"""What tests of prescriptions share: a hospital that issues, pharmacies, the bodies of their requests."""

import datetime as dt

from django.test import Client

from institutions.models import Institution, Physician, Qualification
from tests import factories
from tests.factories import ZONE, line
from tests.settlement.hospital import Hospital

API = "/api/v1"
START = dt.datetime(2021, 6, 15, 9, 30, tzinfo=ZONE)
DRUG, OTHER = "XC08CAA000A001010100001", "XA10BBA000A001010100002"


def moment(minutes: int) -> str:
    return (START + dt.timedelta(minutes=minutes)).isoformat()


class Pharmacy(Hospital):
    """A retail pharmacy with its token; no online-hospital agreement, designated or not."""

    def __init__(self, region: str = "wenzhou", *, designated: bool = True):
        self.row = factories.institution(region, agreements=False)
        self.row.kind = Institution.Kind.PHARMACY
        self.row.save()
        if designated:
            factories.agreement(self.row, "main")
        self.token = factories.token(self.row)
        self.client = Client(raise_request_exception=False)
        self.calls = 0


def pharmacist(place: Institution) -> Physician:
    return factories.physician(place, kind=Physician.Kind.PHARMACIST)


def prescription(hospital: Hospital, number: str = "CF1", **more: object) -> dict:
    """A signed prescription of two drugs."""
    claim = hospital.body()
    return {
        "no": number, "encounter": claim["encounter"],
        "person": {"credential_type": "e_credential", "credential": hospital.patient.credential},
        "signed_by": hospital.doctor.code, "signed_at": moment(5), "signature": "ab" * 32,
        "lines": [
            {"drug_code": DRUG, "quantity": "2", "days_supply": 28, "unit": "盒"},
            {"drug_code": OTHER, "quantity": "1.5", "days_supply": 28, "unit": "盒"},
        ],
    } | more  # fmt: skip


def post(place: Hospital, body: dict, url: str, status: int = 200) -> dict:
    answer = place.post(body, url=url)
    assert answer.status_code == status, answer.content.decode()
    return answer.json()


def issued(hospital: Hospital, **more: object) -> dict:
    return post(hospital, prescription(hospital, **more), f"{API}/prescriptions", 201)


def reviewed(hospital: Hospital, **more: object) -> dict:
    made = issued(hospital, **more)
    body = {"reviewed_by": hospital.pharmacist.code, "reviewed_at": moment(10), "passed": True}
    return post(hospital, body, made["links"]["review"])


def released(hospital: Hospital, *pharmacies: Hospital, **more: object) -> dict:
    made = reviewed(hospital, **more)
    for pharmacy in pharmacies:
        made = post(hospital, {"pharmacy": pharmacy.row.code}, made["links"]["releases"])
    return made


def dispensing(number: str = "FY1", quantity: str = "2", **more: object) -> dict:
    lines = [{"drug_code": DRUG, "quantity": quantity, "trace_codes": [f"81{number}0001"]}]
    return {"no": number, "dispensed_at": moment(30), "lines": lines} | more


def charged(hospital: Hospital, *, number: str = "YD1", quantity: int = 2, **more: object) -> dict:
    """A pharmacy's claim for boxes at 10 yuan."""
    return {
        "claim_no": number, "person": hospital.body()["person"],
        "lines": [{"line_no": 1, "item_code": DRUG, "quantity": str(quantity),
                   "unit_price": "10.00", "fee": f"{10 * quantity}.00"}],
    } | more  # fmt: skip


def code(answer) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def issuer(time_machine) -> Hospital:
    """A hospital of Wenzhou with a pharmacist and a patient who was seen before; two hours after START."""
    time_machine.move_to(START + dt.timedelta(hours=2), tick=False)
    factories.policies("wenzhou")
    made = Hospital("wenzhou", "employee")
    factories.offline_visit(made.patient, made.row)
    made.pharmacist = pharmacist(made.row)
    return made


def drug_line(
    number: str = "CF1", quantity: str = "2", item: str = DRUG, fee: str = "20.00"
) -> dict:
    return line(2, kind="drug", item=item, fee=fee, quantity=quantity, unit_price="10.00",
                prescription_no=number)  # fmt: skip


def sent(hospital: Hospital, given: dict, *lines: dict, **more: object) -> dict:
    """A hospital's claim under prescriptions as the contract carries them; its drug line."""
    carried = as_carried(hospital, given)
    claim = hospital.settled(*(lines or (drug_line(given["no"]),)), prescriptions=[carried], **more)
    return claim["lines"][-1]


def carrier(**more: object) -> Institution:
    made = factories.institution("wenzhou", agreements=False)
    made.kind = Institution.Kind.LOGISTICS
    made.save()
    Qualification.objects.create(
        institution=made, kind=Qualification.Kind.TRANSPORT, number="YS-1",
        recorded_at=factories.RECORDED, recorded_by="test",
        **({"valid_from": factories.LONG_AGO} | more),
    )  # fmt: skip
    return made


def as_carried(hospital: Hospital, given: dict) -> dict:
    return {
        "no": given["no"], "signed_by": hospital.doctor.code, "signed_at": moment(5),
        "reviewed_by": hospital.pharmacist.code, "reviewed_at": moment(10),
        "lines": given["lines"],
    }  # fmt: skip
