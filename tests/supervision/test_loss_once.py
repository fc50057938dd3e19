"""A loss is counted in one case and taken back once, as far as the ledger still holds it."""

import pytest
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse

from institutions.access import EVERYTHING, set_scope
from institutions.refusals import Refusal
from settlement import commands, statement_steps
from settlement.facts import Claimant
from settlement.models import Adjustment, Claim, Deduction
from supervision import cases, sanctions
from supervision.models import CaseEvidence, Sanction, SupervisionCase
from tests import factories
from tests.settlement.test_pages import AT
from tests.supervision.casework import PDF, SIGNED, Office
from tests.supervision.test_fair_findings import on_claims

pytestmark = pytest.mark.django_db


@pytest.fixture
def office() -> Office:
    return Office()


def begun(office: Office) -> SupervisionCase:
    """A case with a file as evidence that lost nothing yet."""
    case = office.open()
    office.take(case, "accept", office.chief)
    for person, lead in ((office.handler, True), (office.second, False)):
        cases.name_inspector(case=case, username=person.username, certificate="苏F-01", lead=lead,
                             by=office.handler.username, at=AT)  # fmt: skip
    cases.add_file(case=case, title="笔录", file=PDF, by=office.handler.username, at=AT)
    return case


def recovered(office: Office, case: SupervisionCase, amount: int) -> Sanction:
    """A recovery decided on the way of the agreement, and carried out."""
    office.propose(case, "recovery", amount=amount, scheme="resident")
    office.decided(case, "agreement", loss=f"{cases.loss_of(case) / 100:.2f}")
    return office.execute(case)[0]


# --- Within the limit, all together ---


def test_all_recoveries_of_a_case_stay_within_its_loss(office: Office) -> None:
    case = office.inquired()
    loss = cases.loss_of(case)
    office.propose(case, "recovery", amount=loss - 100, scheme="resident")
    with pytest.raises(Refusal, match="MORE_THAN_LOST") as error:
        office.propose(case, "recovery", amount=101, scheme="employee")
    assert "本案另有追回" in error.value.faults[0].detail[0]
    values = {"case": case, "kind": "recovery", "clause": "x", "scheme": "resident",
              "proposed_at": AT, "proposed_by": "x"}  # fmt: skip
    with pytest.raises(IntegrityError, match="more is recovered"), transaction.atomic():
        Sanction.objects.create(amount=101, **values)
    office.propose(case, "recovery", amount=100, scheme="employee")
    office.notify(case, "agreement", loss=f"{loss / 100:.2f}")
    SupervisionCase.objects.filter(pk=case.pk).update(loss=loss - 1)
    with pytest.raises(IntegrityError, match="more is recovered"), transaction.atomic():
        Sanction.objects.filter(case=case).update(state="ordered")


def test_all_fines_of_a_case_stay_within_the_range_of_the_article(office: Office) -> None:
    case = office.inquired()
    loss = cases.loss_of(case)
    first = office.propose(case, "fine", article="38", amount=loss)
    for article, amount in (("38", loss + 1), ("40", 2 * loss)):  # 40 alone would allow 3×
        with pytest.raises(Refusal, match="OUT_OF_RANGE") as error:
            office.propose(case, "fine", article=article, amount=amount)
        assert "本案另有罚款" in error.value.faults[0].detail[0]
    office.propose(case, "fine", article="38", amount=loss)
    office.propose(
        case,
        "fine",
        article="39",
        amount=1_000_000,
        condition="defiance",
        note="责令改正后逾期未改正",
    )  # no multiple of the loss
    sanctions.drop(sanction=first, by=office.handler.username, at=AT)
    office.notify(case, "penalty", "38", loss=f"{loss / 100:.2f}")


# --- In one case ---


def test_a_loss_stands_in_one_case_and_in_a_second_only_with_a_reason(office: Office) -> None:
    (one, fund), (two, other) = office.claim(), office.claim()
    finding = on_claims(office, (one.pk, fund), (two.pk, other))
    first, second, by = begun(office), begun(office), office.handler.username
    cases.add_finding(case=first, finding=finding, by=by, at=AT)
    given = {"case": second, "by": by, "at": AT}
    with pytest.raises(Refusal, match="COUNTED_ELSEWHERE") as error:
        cases.add_finding(finding=finding, **given)
    assert first.number in error.value.faults[0].detail[0]
    with pytest.raises(Refusal, match="COUNTED_ELSEWHERE"):
        cases.add_claim(claim_no=one.claim_no, loss=fund, note="x", **given)
    three, more = office.claim()
    wider = on_claims(office, (two.pk, other), (three.pk, more), rule="over_price")
    row = cases.add_finding(finding=wider, because="系另一行为", **given)
    assert (row.loss, row.content["elsewhere"]) == (more, [two.pk])
    assert row.title.endswith("元已由另案计入，本案不计）")
    page = factories.log_in(Client(), office.chief).get(reverse("case", args=[second.pk]))
    assert f"另案{first.number}；并列理由：系另一行为" in page.content.decode()
    set_scope(EVERYTHING)
    whole = cases.add_finding(finding=finding, because="同一事实的旁证", **given)
    assert (whole.loss, cases.loss_of(second)) == (0, more)
    with pytest.raises(IntegrityError, match="another case"), transaction.atomic():
        CaseEvidence.objects.create(
            case=begun(office), no=9, kind="finding", reference=f"finding:{finding.pk}", loss=1,
            title="x", content={}, digest="0" * 64, taken_at=AT, taken_by="x",
        )  # fmt: skip


def test_a_dismissed_case_lets_go_of_the_loss(office: Office) -> None:
    case = office.inquired()
    number, loss = case.evidence.get().reference, cases.loss_of(case)
    office.notify(case, "agreement", loss=f"{loss / 100:.2f}")
    office.take(case, "waive", office.hospital)
    office.take(case, "dismiss", office.chief, note="证据不足", facts=SIGNED)
    again, by = begun(office), office.handler.username
    cases.add_claim(case=again, claim_no=number, loss=loss, note="重新查明", by=by, at=AT)
    assert cases.loss_of(again) == loss


def test_the_reason_is_asked_for_in_the_browser(office: Office) -> None:
    claim, fund = office.claim()
    finding = on_claims(office, (claim.pk, fund))
    first, second = begun(office), begun(office)
    cases.add_finding(case=first, finding=finding, by=office.handler.username, at=AT)
    client = factories.log_in(Client(), office.handler)
    act = reverse("case-act", args=[second.pk, "finding"])
    refused = client.post(act, {"finding": finding.pk})
    assert (refused.status_code, first.number in refused.content.decode()) == (409, True)
    assert client.post(act, {"finding": finding.pk, "because": "旁证"}).status_code == 302
    new = f"{reverse('case-new')}?finding={finding.pk}"
    form = client.get(new).context["form"]
    given = {key: form.initial.get(key, "") for key in form.fields}
    assert client.post(new, given).status_code == 409
    assert client.post(new, given | {"because": "另一对象"}).status_code == 302
    assert "because" not in client.get(reverse("case-new")).context["form"].fields
    set_scope(EVERYTHING)
    assert cases.loss_of(SupervisionCase.objects.latest("pk")) == 0


# --- As far as the ledger holds it ---


def reverse_claim(office: Office, claim: Claim) -> None:
    """The hospital takes a claim back: the fund has its money again."""
    commands.reverse(institution=Claimant.of(office.house.row), claim_id=claim.pk, reason="重复上传",
                     by=office.hospital.username, at=AT)  # fmt: skip
    set_scope(EVERYTHING)


def test_a_recovery_of_a_finding_cuts_its_claims_and_says_what_it_cannot(office: Office) -> None:
    claims = [office.claim() for _ in range(3)]
    (kept, fund), (gone, back), (cut, part) = claims
    case, by = begun(office), office.handler.username
    finding = on_claims(office, *[(claim.pk, paid) for claim, paid in claims])
    cases.add_finding(case=case, finding=finding, by=by, at=AT)
    loss = cases.loss_of(case)
    reverse_claim(office, gone)
    statement_steps.deduct(claim_id=cut.pk, amount=part - 100, reason="other", note="费用审核",
                           clause="二十四", by=office.reviewer.username, at=AT)  # fmt: skip
    assert cases.loss_of(case) == loss
    row = recovered(office, case, loss)
    assert [{key: made[key] for key in made if key != "deduction"} for made in row.effects] == [
        {"claim": kept.claim_no, "amount": fund}, {"claim": cut.claim_no, "amount": 100},
        {"claim": gone.claim_no, "unrecovered": back, "why": "单据已冲正，基金已收回"},
        {"claim": cut.claim_no, "unrecovered": part - 100,
         "why": "此前已扣款或追回，没有可扣的余额"},
    ]  # fmt: skip
    assert not Adjustment.objects.exists()
    assert sanctions.unfinished(case) == 0
    office.take(case, "close", office.chief, note="结案")
    closing = case.papers.get(kind="closing").content["measures"][0]["record"]
    assert f"不能追回 {back / 100:.2f}元（{gone.claim_no}）：单据已冲正" in closing
    page = factories.log_in(Client(), office.chief).get(reverse("case", args=[case.pk]))
    assert f"不能追回 {back / 100:.2f}元（{gone.claim_no}）" in page.content.decode()


def test_a_listed_claim_that_was_reversed_does_not_stop_the_others(office: Office) -> None:
    case, by = office.inquired(), office.handler.username
    gone = Claim.objects.get(pk=case.evidence.get().claim_id)
    claim, fund = office.claim()
    cases.add_claim(case=case, claim_no=claim.claim_no, loss=fund, note="重复收费", by=by, at=AT)
    loss = cases.loss_of(case)
    reverse_claim(office, gone)
    row = recovered(office, case, loss)
    assert Deduction.objects.get(amount__gt=0).claim_id == claim.pk
    assert [made.get("unrecovered") for made in row.effects] == [None, loss - fund]


def test_less_than_the_loss_is_taken_from_what_is_still_there(office: Office) -> None:
    case, by = office.inquired(), office.handler.username
    gone = Claim.objects.get(pk=case.evidence.get().claim_id)
    claim, fund = office.claim()
    cases.add_claim(case=case, claim_no=claim.claim_no, loss=fund, note="重复收费", by=by, at=AT)
    reverse_claim(office, gone)
    row = recovered(office, case, fund)
    assert [(made["claim"], made["amount"]) for made in row.effects] == [(claim.claim_no, fund)]


def test_two_recoveries_take_each_part_once(office: Office) -> None:
    case = office.inquired()
    claim = case.evidence.get()
    CaseEvidence.objects.create(
        case=case, no=2, kind="record", reference="document:0", title="清点笔录", content={},
        digest="0" * 64, loss=5_000, taken_at=AT, taken_by=office.handler.username,
    )  # fmt: skip
    statement_steps.deduct(claim_id=claim.claim_id or 0, amount=claim.loss, reason="other", note="审核",
                           clause="二十四", by=office.reviewer.username, at=AT)  # fmt: skip
    for amount in (4_000, 1_000 + claim.loss):
        office.propose(case, "recovery", amount=amount, scheme="resident")
    office.decided(case, "agreement", loss=f"{cases.loss_of(case) / 100:.2f}")
    first, second = office.execute(case)
    assert [made["amount"] for made in first.effects] == [4_000]
    assert [made.get("amount", made.get("unrecovered")) for made in second.effects] == [
        1_000, claim.loss,
    ]  # fmt: skip
    assert sum(Adjustment.objects.values_list("amount", flat=True)) == -5_000
