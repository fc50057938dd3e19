"""Special adjustments: class, file, limit by level, two persons, own voucher, reversal, report."""

import datetime as dt

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse

from audit.models import Task
from institutions.access import EVERYTHING, set_scope
from institutions.models import Region, User
from institutions.refusals import Refusal
from settlement import adjustments, ledger, sealed
from settlement.adjustments import Wanted
from settlement.models import Adjustment, Leg, Voucher
from tests import factories
from tests.settlement.hospital import Hospital

AT = dt.datetime(2021, 12, 20, 2, tzinfo=dt.UTC)
PERSON = object()  #: stands for somebody who is insured
FILE = ("依据.pdf", b"%PDF-1.4 basis")


@pytest.fixture
def region(db, settings, tmp_path) -> Region:
    settings.MEDIA_ROOT = tmp_path
    factories.policies("nantong")
    set_scope(EVERYTHING)
    return factories.region()


@pytest.fixture
def boss(region: Region) -> User:
    return factories.user("finance_officer", region)


def wanted(place, **more) -> Wanted:
    given = {"reason_class": "review", "reason": "审核差错", "subject": "institution",
             "amount": 12_345, "scheme": "resident", "institution_code": place.code}  # fmt: skip
    return Wanted(**(given | more))


def proposed(region: Region, **more) -> Adjustment:
    place = more.pop("place", None) or factories.institution()
    return adjustments.propose(
        region=region, wanted=wanted(place, **more), file=FILE, by="clerk", at=AT
    )


def test_two_persons_post_a_voucher_of_its_own_kind(region: Region, boss: User) -> None:
    made = proposed(region)
    assert (made.level, made.limit, made.example) == ("prefecture", 5_000_000, True)
    task = Task.objects.get(subject=f"adjustment:{made.number}")
    assert (task.permission, task.state) == ("adjustments.approve", "open")
    done = adjustments.approve(adjustment=made, who=boss, at=AT)
    voucher = done.voucher
    assert (voucher.kind, voucher.posted_by, voucher.approved_by) == (
        Voucher.Kind.ADJUSTMENT, "clerk", boss.username,
    )  # fmt: skip
    legs = dict(Leg.objects.filter(claim_id=voucher.pk).values_list("account", "amount"))
    assert legs == {Leg.Account.ADJUSTMENT: 12_345, Leg.Account.INSTITUTION_PAYABLE: -12_345}
    task.refresh_from_db()
    assert task.state == "done"
    with pytest.raises(Refusal, match="ADJUSTMENT_STATE"):
        adjustments.approve(adjustment=made, who=boss, at=AT)
    adjustments.ask_reversal(adjustment=made, reason="重复", by="clerk", at=AT)
    with pytest.raises(Refusal, match="REVERSAL_ASKED"):
        adjustments.ask_reversal(adjustment=made, reason="重复", by="clerk", at=AT)
    back = adjustments.reverse(adjustment=made, who=boss, at=AT)
    assert back.state == "reversed"
    assert Voucher.objects.get(reverses=voucher).amount == 12_345
    found = ledger.balance()
    assert found.sound
    assert found.accounts[Leg.Account.ADJUSTMENT] == 0


@pytest.mark.parametrize(("level", "amount", "decides"), [
    ("county", 500_000, "county"), ("county", 500_001, "prefecture"),
    ("county", -5_000_001, "province"), ("prefecture", 1, "prefecture"),
])  # fmt: skip
def test_the_limit_names_the_level(region: Region, level: str, amount: int, decides: str) -> None:
    found, _, _ = adjustments.level_for("nantong", AT.date(), amount, level)
    assert found == decides


def test_a_lower_level_and_the_same_person_do_not_decide(region: Region) -> None:
    made = proposed(region, amount=5_000_001)
    assert made.level == "province"
    low = factories.user("finance_officer", region)
    with pytest.raises(Refusal, match="LEVEL_TOO_LOW"):
        adjustments.approve(adjustment=made, who=low, at=AT)
    Adjustment.objects.filter(pk=made.pk).update(proposed_by=low.username)
    with pytest.raises(Refusal, match="SECOND_PERSON"):
        adjustments.approve(adjustment=made, who=low, at=AT)
    adjustments.withdraw(adjustment=made, who=low, at=AT)
    assert not Voucher.objects.exists()


@pytest.mark.parametrize(("more", "code"), [
    ({"amount": 0}, "ZERO"), ({"reason": " "}, "REQUIRED"),
    ({"reason_class": "nothing"}, "CLASS_UNKNOWN"),
    ({"reason_class": "recovery", "amount": 5}, "CLASS_DOES_NOT_COVER"),
    ({"reason_class": "review", "subject": "person"}, "CLASS_DOES_NOT_COVER"),
    ({"institution_code": "H0"}, "INSTITUTION_UNKNOWN"),
    ({"subject": "claim", "claim_no": "none"}, "CLAIM_UNKNOWN"),
    ({"reason_class": "appeal", "subject": "person"}, "PERSON_UNKNOWN"),
    ({"reason_class": "appeal", "subject": "person", "amount": 1, "person": PERSON},
     "ACCOUNT_MISSING"),
])  # fmt: skip
def test_what_is_not_taken(region: Region, more: dict, code: str) -> None:
    if "person" in more:
        more = more | {"person": factories.person()}
    with pytest.raises(Refusal, match=code):
        proposed(region, **more)


def test_without_a_file_or_with_an_odd_one_nothing_is_proposed(region: Region) -> None:
    for content in (b"", b"MZ program"):
        with pytest.raises(Refusal, match="FILE"):
            adjustments.propose(
                region=region, wanted=wanted(factories.institution()), file=("x.pdf", content),
                by="clerk", at=AT,
            )  # fmt: skip
    assert not Adjustment.objects.exists()


def test_money_for_a_person_and_for_a_claim(region: Region, boss: User) -> None:
    hospital = Hospital()
    claim = hospital.settled()
    set_scope(EVERYTHING)
    person = proposed(
        region, reason_class="appeal", subject="person", person=hospital.patient, amount=700,
        account=sealed.Account("测试", "示例银行", "6222021111222233334"),
    )  # fmt: skip
    of_claim = proposed(region, place=hospital.row, subject="claim", claim_no=claim["claim_no"],
                        reason_class="recovery", amount=-300)  # fmt: skip
    for made in (person, of_claim):
        adjustments.approve(adjustment=made, who=boss, at=AT)
    sums = ledger.balance().accounts
    assert sums[Leg.Account.PERSON_PAYABLE] == -700
    assert sums[Leg.Account.ADJUSTMENT] == 400
    assert of_claim.claim_id == claim["id"]
    totals = {row["reason_class"]: row["net"] for row in
              adjustments.sums_by_class(Adjustment.objects.all())}  # fmt: skip
    assert totals == {"appeal": 700, "recovery": -300}


def test_the_database_refuses_nonsense(region: Region) -> None:
    made = proposed(region)
    for name, values in (
        ("adjustment_moves_money", {"amount": 0}),
        ("adjustment_second_person", {"decided_by": "clerk", "state": "refused"}),
        ("adjustment_has_its_subject", {"institution_code": ""}),
        ("adjustment_posted_by_voucher", {"state": "posted"}),
    ):
        with pytest.raises(IntegrityError, match=name), transaction.atomic():
            Adjustment.objects.filter(pk=made.pk).update(**values)


def test_pages_from_the_proposal_to_the_report(region: Region, boss: User) -> None:
    place = factories.institution()
    clerk = factories.log_in(Client(), factories.user("settlement_clerk", region))
    page = clerk.get(reverse("adjustment-new"))
    assert "审核差错更正" in page.content.decode()
    sent = clerk.post(reverse("adjustment-new"), {
        "reason_class": "recovery", "subject": "institution", "institution": place.pk,
        "scheme": "employee", "direction": "take", "amount": "1,200.50", "reason": "复核追回",
        "document": SimpleUploadedFile("依据.pdf", FILE[1]),
    })  # fmt: skip
    set_scope(EVERYTHING)
    made = Adjustment.objects.get()
    assert sent.status_code == 302
    assert (made.amount, made.scheme) == (-120_050, "employee")
    own = clerk.get(reverse("adjustment", args=[made.pk])).content.decode()
    assert "撤回" in own
    assert "批准并入账" not in own
    decider = factories.log_in(Client(), boss)
    assert "批准并入账" in decider.get(reverse("adjustment", args=[made.pk])).content.decode()
    refused = decider.post(reverse("adjustment-move", args=[made.pk, "refuse"]), {"note": ""})
    assert refused.status_code == 422
    done = decider.post(reverse("adjustment-move", args=[made.pk, "approve"]), {"note": "同意"})
    assert done.status_code == 302
    report = decider.get(reverse("adjustments")).content.decode()
    assert "1,200.50" in report
    csv = b"".join(decider.get(reverse("adjustments-csv")).streaming_content).decode()
    assert made.number in csv
    assert "-1200.50" in csv
    paper = decider.get(reverse("adjustments-pdf"))
    assert paper.content.startswith(b"%PDF-")
    assert decider.post(reverse("adjustment-move", args=[made.pk, "nothing"])).status_code == 404
    asked = clerk.post(reverse("adjustment-move", args=[made.pk, "ask-reversal"]), {"reason": "错"})
    assert asked.status_code == 302
    undone = decider.post(reverse("adjustment-move", args=[made.pk, "reverse"]))
    assert undone.status_code == 302
    set_scope(EVERYTHING)
    made.refresh_from_db()
    assert made.state == "reversed"
