"""Renewing online: both sides sign the paper of the new term, the assessment is weighed, tasks follow."""

import datetime as dt
import json

import pytest

from agreements import assessment, contracts, renewals, terms
from agreements.models import Agreement, AgreementState
from audit.models import Event, Task
from audit.procedure import Refused
from institutions.access import EVERYTHING, set_scope
from institutions.models import Office
from institutions.refusals import Refusal
from tests import factories
from tests.agreements.cast import KEYS_FROM, KEYS_UNTIL
from tests.agreements.test_assessment import GOOD
from tests.agreements.test_lifecycle import END, at, days, pair_of

DEC_20 = dt.date(2021, 12, 20)
NEW_YEAR = dt.date(2022, 1, 1)
UNTIL = dt.date(2022, 12, 31)


@pytest.fixture
def pair(db) -> tuple[Agreement, Agreement]:
    factories.policies("wenzhou")
    set_scope(EVERYTHING)
    found = pair_of(dt.date(2021, 3, 15), END)
    region = found[0].institution.region
    Office.objects.get_or_create(region=region, kind="agency", defaults={"name": "测试经办机构"})
    contracts.make_signing_keys(
        valid_from=KEYS_FROM, valid_until=KEYS_UNTIL, by="keys", at=KEYS_FROM
    )
    return found


def offer(agreement: Agreement, **more):
    given = {"valid_until": UNTIL, "by": "signer", "at": at(DEC_20)} | more
    return renewals.offer(agreement=agreement, **given)


def sign(agreement: Agreement, side: str, hour: int = 11, day: dt.date = DEC_20):
    return renewals.sign(agreement=agreement, side=side, by=f"{side}.person", at=at(day, hour))


def waiting(agreement: Agreement) -> list[tuple[str, str]]:
    rows = Task.objects.filter(subject=f"agreement:{agreement.pk}:renewal_signing", state="open")
    return list(rows.values_list("permission", "status"))


def test_the_new_term_begins_only_when_both_have_signed(pair):
    main, supplement = pair
    paper = offer(main)
    assert waiting(main) == [("agreements.countersign", "待医疗机构签署")]
    assert sign(main, "institution") is None
    assert (main.next.count(), waiting(main)) == (0, [("agreements.sign", "待经办机构签署")])
    made = sign(main, "agency", 12)
    assert (made.number, made.valid_from, made.valid_until, made.paper) == (
        paper.number, NEW_YEAR, UNTIL, None
    )  # fmt: skip
    assert days(made) == [("active", NEW_YEAR, UNTIL)]
    paper.refresh_from_db()
    assert (paper.complete, paper.agreement) == (True, made)
    assert contracts.report_on(contracts.Renewing(made), paper).valid
    assert waiting(main) == []
    offer(supplement)
    sign(supplement, "institution")
    assert sign(supplement, "agency", 12).valid_until == UNTIL


def test_the_agency_signs_second_and_each_side_once(pair):
    main, _ = pair
    with pytest.raises(Refused) as nothing:
        sign(main, "institution")
    assert nothing.value.code == "NO_CONTRACT"
    offer(main)
    with pytest.raises(Refused) as early:
        sign(main, "agency")
    assert early.value.code == "SIGNATURE_INVALID"
    sign(main, "institution")
    with pytest.raises(Refusal) as twice:
        sign(main, "institution")
    assert twice.value.code == "SIGNED_ALREADY"
    assert main.next.count() == 0


def test_a_paper_made_anew_voids_the_signatures_before(pair):
    main, _ = pair
    offer(main)
    sign(main, "institution")
    again = offer(main, valid_until=dt.date(2023, 12, 31), at=at(DEC_20, 12))
    assert waiting(main) == [("agreements.countersign", "待医疗机构签署")]
    with pytest.raises(Refused):
        sign(main, "agency", 13)
    sign(main, "institution", 13)
    assert sign(main, "agency", 14).number == again.number


def test_a_paper_signed_late_begins_when_it_is_signed(pair):
    main, _ = pair
    offer(main)
    day = dt.date(2022, 1, 10)
    terms.expire_due(on=day, by="beat", at=at(day, 1))
    sign(main, "institution", day=day)
    assert sign(main, "agency", 12, day=day).valid_from == day


def test_renewed_on_paper_meanwhile_nothing_is_left_to_sign(pair):
    main, _ = pair
    offer(main)
    terms.renew(agreement=main, signed_on=DEC_20, valid_until=UNTIL, by="signer", at=at(DEC_20))
    assert (renewals.pending(main), waiting(main)) == (None, [])
    with pytest.raises(Refused) as late:
        sign(main, "institution")
    assert late.value.code == "RENEWED_ALREADY"


def test_what_cannot_be_renewed_gets_no_paper(pair):
    with pytest.raises(Refusal) as early:
        offer(pair[1])
    assert early.value.code == "MAIN_NOT_RENEWED"


# --- Assessment ---


def score(agreement: Agreement, **scores: int):
    return assessment.record_assessment(
        institution=agreement.institution, year=2021, scores=GOOD | scores, remark="", by="r",
        at=at(DEC_20, 9),
    )  # fmt: skip


def test_a_renewal_against_the_assessment_says_why(pair):
    main, _ = pair
    result = score(main, price=0)
    assert terms.advice_on(main).against
    for act in (offer, renew_on_paper):
        with pytest.raises(Refusal) as silent:
            act(main)
        assert (silent.value.code, silent.value.faults[0].pointer) == ("REASON_MISSING", "/reason")
    offer(main, reason="已完成整改")
    sign(main, "institution")
    made = sign(main, "agency", 12)
    told = renewed(made)
    assert {key: told[key] for key in ("assessment", "total", "coefficient", "reason")} == {
        "assessment": result.pk, "total": 7385, "coefficient": 9500, "reason": "已完成整改",
    }  # fmt: skip


def renewed(agreement: Agreement) -> dict:
    """What the event of a renewal keeps."""
    event = Event.objects.get(action="agreement.renewed", subject=f"agreement:{agreement.pk}")
    return json.loads(bytes(event.body))["detail"]


def renew_on_paper(agreement: Agreement, **more):
    given = {"signed_on": DEC_20, "valid_until": UNTIL, "by": "signer", "at": at(DEC_20)} | more
    return terms.renew(agreement=agreement, **given)


def test_a_good_result_needs_no_reason_and_is_kept_in_the_event(pair):
    main, _ = pair
    result = score(main)
    assert not terms.advice_on(main).against
    made = renew_on_paper(main)
    told = renewed(made)
    assert (told["assessment"], told["advice"]) == (result.pk, "建议续签")
    with pytest.raises(Refusal) as long:
        terms.weighed(main, "长" * 201)
    assert long.value.code == "TOO_LONG"


# --- The daily watch ---


def test_one_broken_agreement_stops_no_other(pair, monkeypatch, caplog):
    main, _ = pair
    other, _ = pair_of(dt.date(2021, 3, 15), END)
    whole = terms.lifecycle.write

    def broken(agreement, *rest):
        if agreement.pk == main.pk:
            AgreementState.objects.create(
                agreement=agreement, state="active", valid_from=END, valid_until=DEC_20,
                recorded_at=at(NEW_YEAR), recorded_by="x",
            )  # fmt: skip
        return whole(agreement, *rest)

    monkeypatch.setattr(terms.lifecycle, "write", broken)
    assert terms.expire_due(on=NEW_YEAR, by="beat", at=at(NEW_YEAR)) >= 1
    assert terms.lifecycle.state_on(other, NEW_YEAR).state == "expired"
    assert terms.lifecycle.state_on(main, NEW_YEAR) is None
    assert f"agreement {main.pk} could not be expired" in caplog.text
