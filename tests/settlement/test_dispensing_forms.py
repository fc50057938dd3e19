"""调配、配送、签收 in the portal: the rows of the interface, refusals at their fields, who may, when."""

import datetime as dt
import json
from collections.abc import Callable

import pytest
from django.db import transaction
from django.db.models import Model
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse

from agreements.models import AgreementState
from audit.models import Event
from institutions.models import Institution
from pricing.models import Drug, DrugList
from settlement import medicines
from settlement.models import (
    Delivery,
    DeliveryEvent,
    Dispensing,
    DispensingLine,
    Prescription,
    TraceCode,
)
from tests import factories
from tests.settlement.drugs import (
    DRUG,
    OTHER,
    START,
    Pharmacy,
    carrier,
    code,
    dispensing,
    moment,
    pharmacist,
    post,
    released,
    reviewed,
)
from tests.settlement.hospital import Hospital
from tests.settlement.test_drug_returns import hospital
from tests.settlement.test_medicine_pages import words

__all__ = ["hospital"]
CODES = ["81000000000000000001", "81000000000000000002"]
GOODS = (Dispensing, DispensingLine, TraceCode, Delivery, DeliveryEvent)
#: What differs between two ways of the same act: the rows' own ids, and who typed.
OWN = {"id", "prescription_id", "dispensing_id", "delivery_id", "recorded_by"}


def minute(minutes: int) -> str:
    return f"{START + dt.timedelta(minutes=minutes):%Y-%m-%dT%H:%M}"


def logged_in(place: Institution) -> Client:
    return factories.log_in(Client(), factories.user("hospital", place))


def address(made: dict) -> str:
    return reverse("prescription-dispense", args=[made["id"]])


def home(made: dict) -> str:
    return reverse("prescription", args=[made["id"]])


def filled(**more: object) -> dict:
    """Two boxes of the drug of the second line, nothing of the first."""
    return {"number": "FY1", "dispensed_at": minute(30), "pharmacist": "", "quantity_0": "",
            "traces_0": "", "quantity_1": "2", "traces_1": "\n".join(CODES)} | more  # fmt: skip


def counted_in_boxes() -> None:
    """A published catalogue of Wenzhou that counts both drugs in boxes."""
    listed = DrugList.objects.create(
        region="wenzhou", version="1", title="示例", source_kind="example", source_ref="示例",
        valid_from=factories.LONG_AGO, drafted_by="one", drafted_at=factories.RECORDED,
    )  # fmt: skip
    for number, drug in enumerate((OTHER, DRUG)):
        Drug.objects.create(
            catalogue=listed, code=drug, name=f"示例药{number}", unit="盒", category="A"
        )
    DrugList.objects.filter(pk=listed.pk).update(
        state="published", published_by="two", published_at=factories.RECORDED, sm3="0" * 64,
        drugs_count=2,
    )  # fmt: skip


def undone(act: Callable[[], None]) -> list:
    """What an act stored and told the trail; then it is taken away again."""
    with transaction.atomic():
        before = set(Event.objects.values_list("pk", flat=True))
        act()
        found: list = [Prescription.objects.values_list("state", flat=True).get()]
        for model in GOODS:
            found += [_bare(row) for row in model.objects.order_by("pk").values()]
        events = Event.objects.filter(action__startswith="d").exclude(pk__in=before)
        found += sorted((event.action, str(detail_of(event))) for event in events)
        transaction.set_rollback(True)
    return found


def detail_of(event: Event) -> dict:
    return json.loads(bytes(event.body))["detail"]


def _bare(row: dict) -> dict:
    return {name: value for name, value in row.items() if name not in OWN}


def nothing_stored() -> bool:
    models: tuple[type[Model], ...] = (Dispensing, TraceCode, Delivery, DeliveryEvent)
    return not any(model._default_manager.exists() for model in models)


def errors(answer: HttpResponse, form: str = "dispense") -> dict[str, str]:
    """Field → what is said at it; the page is the prescription's, as it was typed (422)."""
    assert answer.status_code == 422
    act = next(one for one in answer.context["acts"] if one["key"].startswith(form))
    assert act["opened"]
    return {name: " ".join(told) for name, told in act["form"].errors.items()}


# --- The same rows as over the interface ---


@pytest.mark.parametrize("circulated", [False, True])
def test_every_act_stores_what_the_interface_stores(hospital: Hospital, circulated: bool) -> None:
    counted_in_boxes()
    place: Hospital = Pharmacy() if circulated else hospital
    made = released(hospital, place) if circulated else reviewed(hospital)
    who, logistics = pharmacist(place.row).code, carrier().code

    def over_the_interface() -> None:
        lines = [{"drug_code": DRUG, "quantity": "2", "trace_codes": CODES}]
        given = post(place, dispensing(pharmacist=who, lines=lines), made["links"]["dispensings"],
                     201)  # fmt: skip
        parcel = post(place, {"logistics": logistics, "waybill": "SF1"},
                      given["links"]["deliveries"], 201)  # fmt: skip
        for kind, at, more in (
            ("picked_up", 40, {}), ("delivered", 60, {}), ("signed", 61, {"relation": "agent"}),
        ):  # fmt: skip
            post(place, {"kind": kind, "at": moment(at)} | more, parcel["links"]["steps"], 201)

    def on_the_page() -> None:
        client = logged_in(place.row)
        typed = filled(pharmacist=who, traces_1=f" {CODES[0]} \r\n\r\n{CODES[1]}\r\n")
        assert client.post(address(made), typed)["Location"] == home(made)
        send = reverse("dispensing-delivery", args=[Dispensing.objects.get().pk])
        sent = {"logistics": logistics, "waybill": "SF1", "handed_at": minute(40)}
        assert client.post(send, sent)["Location"] == home(made)
        step = reverse("delivery-step", args=[Delivery.objects.get().pk])
        for kind, at, relation in (("delivered", 60, ""), ("signed", 61, "agent")):
            typed = {"kind": kind, "at": minute(at), "relation": relation}
            assert client.post(step, typed)["Location"] == home(made)
        assert "签收（代收人）" in words(client.get(home(made)))

    expected = undone(over_the_interface)
    assert undone(on_the_page) == expected
    assert len(expected) == 1 + 1 + 1 + 2 + 1 + 3 + 5  # state, rows of five tables, events


def test_a_parcel_that_is_refused_goes_back(hospital: Hospital) -> None:
    made = reviewed(hospital)
    given = post(hospital, dispensing(), made["links"]["dispensings"], 201)
    client = logged_in(hospital.row)
    send = reverse("dispensing-delivery", args=[given["id"]])
    client.post(send, {"logistics": carrier().code, "waybill": "SF1", "handed_at": minute(40)})
    step = reverse("delivery-step", args=[Delivery.objects.get().pk])
    told = client.post(step, {"kind": "returned", "at": minute(50)}, follow=True)
    assert "运单 SF1 已登记退回" in words(told)
    assert client.get(step).status_code == 404
    assert client.get(send).status_code == 200  # the goods are here again and may be sent anew
    assert reverse("drug-return", args=[given["id"]]) in told.content.decode()


# --- Refusals at their fields ---


def test_how_many_codes_belong_to_a_quantity_is_told_and_held(hospital: Hospital) -> None:
    counted_in_boxes()
    made = reviewed(hospital)
    client = logged_in(hospital.row)
    page = words(client.get(home(made)))
    assert "调配 2 盒应有 2 个追溯码" in page
    assert "调配 1.5 盒应有 1 至 2 个追溯码" in page
    for typed, told in (
        (
            {"traces_1": CODES[0]},
            "追溯码 1 个，与调配数量不符，应为 2 个（温医保办〔2021〕6号 二十六）。",
        ),
        (
            {"traces_1": "A B,C"},
            "追溯码 3 个，与调配数量不符，应为 2 个（温医保办〔2021〕6号 二十六）。",
        ),
        (
            {"traces_1": ""},
            "请扫入追溯码，应为 2 个；包装上没有追溯码的，请在下方勾选（温医保办〔2021〕6号 二十六）。",
        ),
        (
            {"traces_1": f"{CODES[0]}；{CODES[0]}"},
            "追溯码在本单中重复（温医保办〔2021〕6号 二十六）。",
        ),
        ({"traces_1": f"{CODES[0]} 码"}, "只能用字母、数字和 . _ -"),
    ):
        assert told in errors(client.post(address(made), filled(**typed)))["traces_1"], typed
    both = filled(quantity_0="12345678", traces_0="码", traces_1="A A")
    found = errors(client.post(address(made), both))
    assert {name: told.count("。") for name, told in found.items()} == {
        "quantity_0": 1, "traces_0": 1,
    }  # fmt: skip
    assert nothing_stored()
    body = dispensing()
    answer = hospital.post(body, url=made["links"]["dispensings"])
    assert code(answer) == (422, "TRACE_CODE_COUNT")
    assert answer.json()["errors"][0]["pointer"] == "/lines/0/trace_codes"
    untraced = filled(traces_1="", untraced="on")
    assert client.post(address(made), untraced)["Location"] == home(made)
    assert "缺少：药品追溯码" in words(client.get(home(made)))


def test_a_smaller_unit_has_at_most_a_code_each(hospital: Hospital) -> None:
    """No catalogue counts the drug in this unit: a package holds some of it, nobody knows how many."""
    made = reviewed(hospital)
    client = logged_in(hospital.row)
    assert "调配 2 盒应有 1 至 2 个追溯码" in words(client.get(home(made)))
    assert (
        "应为 1 至 2 个" in errors(client.post(address(made), filled(traces_1="A B C")))["traces_1"]
    )
    assert client.post(address(made), filled(traces_1="A")).status_code == 302


def test_a_code_is_sold_once_whoever_sold_it(hospital: Hospital) -> None:
    """Also a code of an institution that the reader cannot see; it is named, at its drug."""
    stranger = Hospital("wenzhou", "employee")
    factories.offline_visit(stranger.patient, stranger.row)
    stranger.pharmacist = pharmacist(stranger.row)
    theirs = reviewed(stranger)
    post(stranger, dispensing(lines=[{"drug_code": DRUG, "quantity": "1",
                                      "trace_codes": [CODES[1]]}]),
         theirs["links"]["dispensings"], 201)  # fmt: skip
    made = reviewed(hospital)
    client = logged_in(hospital.row)
    typed = filled(quantity_0="1", traces_0="C1", note="x")
    answer = client.post(address(made), typed)
    assert errors(answer) == {
        "traces_1": f"药品追溯码 {CODES[1]} 已登记过销售（温医保办〔2021〕6号 二十六）。"
    }
    page = answer.content.decode()
    assert 'value="FY1"' in page
    assert all(word in page for word in (*CODES, "C1"))
    assert Dispensing.objects.filter(prescription=made["id"]).count() == 0
    assert TraceCode.objects.count() == 1
    refused = Event.objects.get(action="dispensing.record", outcome="refused")
    assert (detail_of(refused), refused.institution_code) == (
        {"code": "TRACE_CODE_USED"}, hospital.row.code,
    )  # fmt: skip


def test_what_else_a_dispensing_must_fulfil_is_said_at_its_field(hospital: Hospital) -> None:
    made = reviewed(hospital)
    client = logged_in(hospital.row)
    for typed, field, told in (
        ({"quantity_1": "", "traces_1": ""}, "__all__", "请至少填写一种药品的调配数量"),
        ({"quantity_1": ""}, "quantity_1", "已填追溯码，请填写调配数量"),
        ({"quantity_1": "3"}, "quantity_1", "超过处方尚可调配数量 2（温医保办〔2021〕6号 十四）"),
        ({"dispensed_at": minute(8)}, "dispensed_at", "早于药师审核时间（温医保办〔2021〕6号 十四）"),
        ({"dispensed_at": minute(600)}, "dispensed_at", "晚于接收时间"),
        ({"dispensed_at": "soon"}, "dispensed_at", ""),
        ({"number": "单号"}, "number", "只能用字母、数字"),
        ({"pharmacist": "NOBODY"}, "pharmacist", ""),
    ):  # fmt: skip
        found = errors(client.post(address(made), filled(**typed)))
        assert list(found) == [field], typed
        assert told in found[field], typed
    assert nothing_stored()


def test_an_unchecked_pharmacist_is_refused_at_the_field(hospital: Hospital) -> None:
    made = reviewed(hospital)
    new = pharmacist(hospital.row)
    new.checked_at = None
    new.save()
    told = errors(logged_in(hospital.row).post(address(made), filled(pharmacist=new.code)))
    assert "不是本机构登记在岗的药师" in told["pharmacist"]


def test_an_expired_prescription_is_refused_and_not_offered(
    hospital: Hospital, time_machine
) -> None:
    made = reviewed(hospital)
    time_machine.move_to(START + dt.timedelta(days=4), tick=False)
    client = logged_in(hospital.row)
    assert address(made) not in client.get(home(made)).content.decode()
    assert client.get(address(made)).status_code == 404
    late = filled(dispensed_at=minute(60 * 24 * 4 - 5))
    found = errors(client.post(address(made), late))
    assert found == {
        "dispensed_at": "处方有效期至 2021-06-18（温医保办〔2021〕6号 二十三（一））。"
    }
    medicines.expire(on=dt.date(2021, 6, 20), by="test", at=START)
    answer = client.post(address(made), late)
    assert errors(answer) == {"dispensed_at": "处方已过期（温医保办〔2021〕6号 十四）。"}
    assert all(code in answer.content.decode() for code in CODES)
    assert nothing_stored()


def test_what_another_pharmacy_took_meanwhile_is_refused_with_what_was_typed(
    hospital: Hospital,
) -> None:
    first, second = Pharmacy(), Pharmacy()
    made = released(hospital, first, second)
    both = [{"drug_code": DRUG, "quantity": "2"}, {"drug_code": OTHER, "quantity": "1.5"}]
    post(first, dispensing(lines=both), made["links"]["dispensings"], 201)
    answer = logged_in(second.row).post(address(made), filled())
    assert errors(answer) == {"__all__": "处方已调配（温医保办〔2021〕6号 十四）。"}
    assert CODES[0] in answer.content.decode()


def test_a_waybill_belongs_to_one_parcel_whoever_sent_it(hospital: Hospital) -> None:
    logistics = carrier().code
    stranger = Hospital("wenzhou", "employee")
    factories.offline_visit(stranger.patient, stranger.row)
    stranger.pharmacist = pharmacist(stranger.row)
    theirs = post(stranger, dispensing(), reviewed(stranger)["links"]["dispensings"], 201)
    post(stranger, {"logistics": logistics, "waybill": "SF1"}, theirs["links"]["deliveries"], 201)
    lines = [{"drug_code": DRUG, "quantity": "1"}]
    given = post(hospital, dispensing(lines=lines), reviewed(hospital)["links"]["dispensings"], 201)
    client, send = logged_in(hospital.row), reverse("dispensing-delivery", args=[given["id"]])
    typed = {"logistics": logistics, "waybill": "SF1", "handed_at": minute(40)}
    assert errors(client.post(send, typed), "send") == {"waybill": "运单号已用于另一次配送。"}
    answer = hospital.post({"logistics": logistics, "waybill": "SF1"},
                           url=given["links"]["deliveries"])  # fmt: skip
    assert code(answer) == (409, "WAYBILL_USED")
    for wrong, field, told in (
        ({"handed_at": minute(20)}, "handed_at", "早于调配时间（温医保办〔2021〕6号 二十六）"),
        ({"logistics": ""}, "logistics", ""),
        ({"waybill": "顺丰1"}, "waybill", "只能用字母、数字"),
    ):
        found = errors(client.post(send, typed | {"waybill": "SF2"} | wrong), "send")
        assert told in found[field]
    assert Delivery.objects.count() == 1


def test_a_step_that_does_not_fit_is_refused_at_its_field(hospital: Hospital) -> None:
    made = reviewed(hospital)
    given = post(hospital, dispensing(), made["links"]["dispensings"], 201)
    parcel = post(hospital, {"logistics": carrier().code, "waybill": "SF1"},
                  given["links"]["deliveries"], 201)  # fmt: skip
    client, step = logged_in(hospital.row), reverse("delivery-step", args=[parcel["id"]])
    assert [
        one[0] for one in client.get(step).context["acts"][0]["form"].fields["kind"].choices
    ] == ["picked_up"]
    assert client.post(step, {"kind": "picked_up", "at": minute(40)}).status_code == 302
    signed = {"kind": "signed", "at": minute(50), "relation": "self"}
    for wrong, field, told in (
        ({"relation": ""}, "relation", "签收须注明签收人与患者的关系"),
        ({"kind": "returned"}, "relation", "其他环节不填（温医保办〔2021〕6号 二十六）"),
        ({"at": minute(35)}, "at", "早于前一配送环节"),
        ({"kind": "picked_up"}, "kind", ""),
    ):
        assert told in errors(client.post(step, signed | wrong), "step")[field]
    assert DeliveryEvent.objects.count() == 1


# --- To whom, when ---


def test_an_act_is_offered_to_whom_and_when_it_would_be_taken(hospital: Hospital) -> None:
    pharmacy, other = Pharmacy(), Pharmacy()
    made = reviewed(hospital)
    own, shop = logged_in(hospital.row), logged_in(pharmacy.row)
    assert address(made) in own.get(home(made)).content.decode()
    assert "调配" in _actions(own)
    post(hospital, {"pharmacy": pharmacy.row.code}, made["links"]["releases"])
    assert address(made) not in own.get(home(made)).content.decode()
    assert "调配" not in _actions(own)
    assert errors(own.post(address(made), filled())) == {
        "number": "处方已流转至零售药店，须先收回（温医保办〔2021〕6号 十五）。"
    }
    assert address(made) in shop.get(home(made)).content.decode()
    assert "调配" in _actions(shop)
    assert logged_in(other.row).get(address(made)).status_code == 404
    assert logged_in(other.row).post(address(made), filled()).status_code == 404
    AgreementState.objects.filter(agreement__institution=pharmacy.row).update(state="suspended")
    assert shop.get(address(made)).status_code == 404
    assert "调配日不是定点零售药店" in errors(shop.post(address(made), filled()))["dispensed_at"]
    assert nothing_stored()


def _actions(client: Client) -> str:
    table = client.get(reverse("prescriptions")).context["table"]
    return " ".join(action.label for row in table.rows for action in row.actions)


def test_goods_of_others_are_not_there(hospital: Hospital) -> None:
    pharmacy = Pharmacy()
    made = released(hospital, pharmacy)
    given = post(pharmacy, dispensing(), made["links"]["dispensings"], 201)
    send = reverse("dispensing-delivery", args=[given["id"]])
    client = logged_in(pharmacy.row)
    typed = {"logistics": carrier().code, "waybill": "SF1", "handed_at": minute(40)}
    page = words(client.get(home(made)))
    assert "药品配送费不纳入医保支付范围，不得申报（温医保办〔2021〕6号 十四）" in page
    assert client.post(send, typed).status_code == 302
    step = reverse("delivery-step", args=[Delivery.objects.get().pk])
    clerk = factories.log_in(Client(), factories.user("settlement_clerk", hospital.row.region))
    for url in (address(made), send, step):
        assert logged_in(Pharmacy().row).post(url, typed).status_code == 404
        assert clerk.post(url, typed).status_code == 403
    for url in (send, step):  # the issuing hospital sees the goods, it does not move them
        assert logged_in(hospital.row).post(url, typed).status_code == 404
    assert step not in words(logged_in(hospital.row).get(home(made)))
    assert client.get(reverse("prescription-dispense", args=[2**63])).status_code == 404
    assert client.get(reverse("delivery-step", args=[2**63])).status_code == 404
