"""The portal's form of 退药: what it asks, what it refuses, what it does to goods and money."""

import datetime as dt

from django.test import Client
from django.urls import reverse

from audit import clock
from audit.models import Event
from settlement.models import Dispensing, DispensingReturn, Prescription
from tests import factories
from tests.settlement.hospital import Hospital
from tests.settlement.test_drug_returns import CODES, handed_out, hospital
from tests.settlement.test_medicine_pages import words

__all__ = ["hospital"]


def opened(hospital: Hospital) -> tuple[Client, str, str]:
    """The hospital's client, the address of the form and that of the prescription."""
    _, given = handed_out(hospital)
    found = Dispensing.objects.get(pk=given["id"])
    client = factories.log_in(Client(), factories.user("hospital", hospital.row))
    home = reverse("prescription", args=[found.prescription_id])
    return client, reverse("drug-return", args=[found.pk]), home


def filled(**more: object) -> dict:
    return {"number": "TY9", "returned_at": "2021-12-10T12:00", "reason": "quality",
            "quantity_0": "1", "traces_0": [CODES[0]]} | more  # fmt: skip


def test_the_prescription_leads_to_the_form_that_offers_what_is_out(hospital: Hospital) -> None:
    client, address, home = opened(hospital)
    assert address in client.get(home).content.decode()
    page = client.get(address)
    assert "尚可退回 2" in words(page)
    assert all(code in page.content.decode() for code in CODES)


def test_a_part_comes_back_and_then_the_rest_and_then_nothing_is_left(
    hospital, time_machine
) -> None:
    client, address, home = opened(hospital)
    moment = Dispensing.objects.get().dispensed_at + dt.timedelta(hours=1)
    time_machine.move_to(moment, tick=False)
    typed = f"{clock.local(moment):%Y-%m-%dT%H:%M}"
    reply = client.post(address, filled(returned_at=typed), follow=True)
    assert "退药 TY9 已登记" in words(reply)
    assert reply.redirect_chain[0][0] == home
    made = DispensingReturn.objects.get()
    assert (made.number, made.reason, [t.trace_id for t in made.traces.all()]) == (
        "TY9", "quality", [CODES[0]],
    )  # fmt: skip
    assert Prescription.objects.get().state == Prescription.State.PARTLY
    assert CODES[0] not in client.get(address).content.decode()
    rest = filled(number="TY10", returned_at=typed, traces_0=[CODES[1]])
    assert client.post(address, rest).status_code == 302
    assert client.get(address).status_code == 404
    assert address not in client.get(home).content.decode()


def test_what_is_missing_or_too_much_is_said_at_its_field_and_the_input_is_kept(hospital) -> None:
    client, address, _ = opened(hospital)
    for wrong, told in (
        ({"quantity_0": "", "traces_0": []}, "请至少填写一种药品的退回数量"),
        ({"quantity_0": "", "note": "外包装破损"}, "已勾选追溯码，请填写退回数量"),
        ({"traces_0": []}, "请勾选退回的追溯码"),
        ({"quantity_0": "3"}, "2"),
        ({"returned_at": "2020-01-01T08:00"}, "早于调配时间"),
    ):
        reply = client.post(address, filled(**wrong))
        assert reply.status_code == 422
        assert told in reply.content.decode(), wrong
        assert 'value="TY9"' in reply.content.decode()
    assert not DispensingReturn.objects.exists()
    refusals = Event.objects.filter(action="dispensing.return", outcome="refused")
    assert refusals.count() == 1  # the last one reached the command


def test_only_the_institution_that_dispensed_takes_back(hospital: Hospital) -> None:
    _, address, home = opened(hospital)
    other = factories.log_in(Client(), factories.user("hospital", factories.institution("wenzhou")))
    clerk = factories.log_in(Client(), factories.user("settlement_clerk", hospital.row.region))
    assert other.get(address).status_code == 404
    assert clerk.get(address).status_code == 403
    assert address not in clerk.get(home).content.decode()
