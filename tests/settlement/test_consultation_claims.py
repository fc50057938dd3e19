"""A consultation and its claim: which may be linked when, and what goes back first in a refund."""

import shutil
from pathlib import Path

import pytest
from django.db import transaction
from django.test import Client
from django.urls import reverse

from audit.procedure import Refused
from institutions.refusals import Refusal
from pricing.commands import SHIPPED, load_shipped
from settlement import consultations
from settlement.models import Leg
from tests import factories
from tests.settlement.hospital import Hospital
from tests.settlement.jilin import Story, agreed, at, balances, code_of, hospital, person

DAY = factories.DAY
Account = Leg.Account
TAKEN_IN = (
    "  - {key: pool_inclusion, value: [{area: '220000', from: 2021-03-25, until: null}],"
    " from: 2021-03-25, until: null, source_kind: example, source_ref: 示例（自拟，非官方）,"
    " label: 示例：全省纳入支付范围, clause: 三第3款}\n"
)
REFUND = {"note": "重复收费", "refund_no": "TF1"}


class Linking:
    """An inviting hospital that sends claims, with an agreement with a provincial one."""

    def __init__(self) -> None:
        self.api, self.there = Hospital("jilin"), hospital("示例省级医院", area="220100")
        self.api.row.tier = "municipal"
        self.api.row.save()
        agreed(self.api.row, self.there)

    def claimed(self) -> dict:
        charge = factories.line(
            kind="remote_consult", item="JL001", fee="400.00", unit_price="400.00"
        )
        consulted = {"charged_by": "inviting", "inpatient": True,
                     "hospitals": [{"name": self.there.name, "provincial": True}]}  # fmt: skip
        return self.api.settled(charge, consultation=consulted)

    def story(self, stage: str = "charged") -> Story:
        number = self.api.patient.credential
        return Story.begin(self.api.row, self.there, day=DAY, id_number=number).to(stage, DAY)

    def link(self, story: Story, claim: dict) -> str:
        who = person(self.api.row)
        try:
            with transaction.atomic():
                consultations.link_claim(
                    case=story.case,
                    claim_no=claim["claim_no"],
                    who=who,
                    by=who.username,
                    at=at(DAY),
                )
        except Refusal as refusal:
            return refusal.code
        return "ok"


@pytest.fixture
def linking(db, tmp_path: Path) -> Linking:
    """Where the locality has taken remote consultations into its pool."""
    for path in SHIPPED.glob("*jilin*.yaml"):
        shutil.copy(path, tmp_path)
    with (tmp_path / "parameters-jilin.yaml").open("a", encoding="utf-8") as file:
        file.write(TAKEN_IN)
    load_shipped(by="loader", at=factories.RECORDED, folder=tmp_path)
    return Linking()


def test_the_fee_is_not_refunded_while_its_claim_stands(linking):
    """The fund's part goes back first: until the claim is reversed the fee stays collected."""
    claim, story = linking.claimed(), linking.story()
    assert (claim["state"], claim["totals"]["fund"]) == ("payable", "216.00")
    assert linking.link(story, claim) == "ok"
    with pytest.raises(Refused) as stopped:
        story.step("refund", DAY, 16, **REFUND)
    assert code_of(stopped) == "CLAIM_STANDS"
    assert stopped.value.detail == (
        f"关联的结算单据 {claim['claim_no']} 尚未冲正，请先冲正该单据再退费"
    )
    assert balances(story)[Account.CONSULTATION_COLLECTED] == 40000
    assert linking.api.reverse(claim).status_code == 201
    story.step("refund", DAY, 16, **REFUND)
    assert (story.case.state, balances(story)) == ("refunded", {})


@pytest.mark.parametrize(("step", "state"), [("correct", "scheduled"), ("withdraw", "cancelled")])
def test_a_session_is_not_taken_back_while_its_claim_stands(linking, step, state):
    """Before the fee is collected a claim may be bound already: it goes back first, as in a refund."""
    claim, story = linking.claimed(), linking.story("entered")
    assert linking.link(story, claim) == "ok"
    with pytest.raises(Refused) as stopped:
        story.step(step, DAY, 16, note="登记有误")
    assert code_of(stopped) == "CLAIM_STANDS"
    assert f"请先冲正该单据再{ {'correct': '更正会诊登记', 'withdraw': '取消会诊'}[step] }" in str(
        stopped.value.detail
    )
    assert linking.api.reverse(claim).status_code == 201
    story.step(step, DAY, 16, note="登记有误")
    assert (story.case.state, story.case.claim_id) == (state, None)
    if step == "correct":
        assert linking.link(story.to("entered", DAY), linking.claimed()) == "ok"


def test_nothing_is_linked_to_a_refunded_consultation(linking):
    story = linking.story()
    story.step("refund", DAY, 16, **REFUND)
    assert linking.link(story, linking.claimed()) == "CONSULTATION_ENDED"
    story.case.refresh_from_db()
    assert story.case.claim_id is None
    client = factories.log_in(Client(), person(linking.api.row))
    page = client.get(reverse("consultation", args=[story.case.pk])).content.decode()
    assert 'name="claim_no"' not in page


def test_a_reversed_claim_gives_way_to_the_one_sent_instead(linking):
    claim, story, other = linking.claimed(), linking.story(), linking.story()
    assert linking.link(story, claim) == "ok"
    assert linking.link(other, claim) == "CLAIM_LINKED"
    assert linking.api.reverse(claim).status_code == 201
    instead = linking.claimed()
    assert linking.link(story, instead) == "ok"
    assert linking.link(other, claim) == "CLAIM_REVERSED"
    assert linking.link(story, linking.claimed()) == "CLAIM_LINKED"
    story.case.refresh_from_db()
    assert story.case.claim_id == instead["id"]


def test_a_claim_is_linked_over_rest(linking):
    claim, story = linking.claimed(), linking.story()
    address = f"/api/v1/consultations/{story.case.pk}/claim"
    unknown = linking.api.post({"claim_no": "X"}, url=address)
    assert (unknown.status_code, unknown.json()["code"]) == (404, "CLAIM_UNKNOWN")
    linked = linking.api.post({"claim_no": claim["claim_no"]}, url=address)
    assert (linked.status_code, linked.json()["claim"]) == (200, claim["id"])
