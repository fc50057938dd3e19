"""Terms of agreements: the end that comes near, the end, the new term, and the daily task."""

import datetime as dt

import pytest

from agreements import lifecycle, tasks, terms
from agreements.models import Agreement
from audit.models import Event, Task
from institutions.access import EVERYTHING, set_scope
from institutions.models import Notification
from institutions.refusals import Refusal
from tests import factories
from tests.agreements.test_lifecycle import END, at, days, decide, pair_of

DEC_20 = dt.date(2021, 12, 20)
NEW_YEAR = dt.date(2022, 1, 1)
UNTIL = dt.date(2022, 12, 31)


@pytest.fixture
def pair(db) -> tuple[Agreement, Agreement]:
    factories.policies("wenzhou")
    set_scope(EVERYTHING)
    return pair_of(dt.date(2021, 3, 15), END)


def renew(agreement: Agreement, **more) -> Agreement:
    given = {"valid_until": UNTIL, "signed_on": DEC_20, "by": "signer", "at": at(DEC_20)} | more
    return terms.renew(agreement=agreement, **given)


def refusal(agreement: Agreement, **more) -> str:
    with pytest.raises(Refusal) as refused:
        renew(agreement, **more)
    return refused.value.code


def test_a_new_term_is_numbered_in_the_series_of_the_area(pair):
    made = renew(pair[0])
    assert (made.number, made.valid_from, made.previous) == ("WZ-定-2021-0001", NEW_YEAR, pair[0])
    assert days(made) == [("active", NEW_YEAR, UNTIL)]


def test_what_cannot_be_renewed(pair):
    main, supplement = pair
    assert refusal(supplement) == "MAIN_NOT_RENEWED"
    assert refusal(main, valid_until=dt.date(2021, 12, 31)) == "DATES_OUT_OF_ORDER"
    assert refusal(main, number=supplement.number) == "NUMBER_USED"
    assert refusal(main, number="定" * 61) == "TOO_LONG"
    renew(main)
    assert refusal(main) == "RENEWED_ALREADY"
    decide(supplement, "terminated", DEC_20)
    assert refusal(supplement) == "STATE_NOT_POSSIBLE"
    endless = factories.agreement(factories.institution("wenzhou", agreements=False), "main")
    assert refusal(endless) == "NO_END"


def test_a_suspension_goes_on_in_the_new_term(pair):
    main, supplement = pair
    decide(main, "suspended", DEC_20)
    assert days(renew(main)) == [("suspended", NEW_YEAR, UNTIL)]
    assert days(renew(supplement)) == [("suspended", NEW_YEAR, UNTIL)]


def test_nothing_is_renewed_for_days_before_it_was_signed(pair):
    main, _ = pair
    day = dt.date(2022, 1, 10)
    terms.expire_due(on=dt.date(2022, 1, 5), by="beat", at=at(dt.date(2022, 1, 5)))
    made = renew(main, signed_on=day, at=at(day))
    assert made.valid_from == day
    assert days(main)[-1] == ("expired", NEW_YEAR, dt.date(2022, 1, 9))
    assert lifecycle.state_on(made, day).state == "active"


def test_the_day_after_the_last_both_are_expired_once(pair):
    main, supplement = pair
    terms.ask_for_renewals(on=DEC_20, within=60, at=at(DEC_20))
    assert terms.expire_due(on=END, by="beat", at=at(END)) == 0
    assert terms.expire_due(on=NEW_YEAR, by="beat", at=at(NEW_YEAR)) == 2
    assert terms.expire_due(on=NEW_YEAR, by="beat", at=at(NEW_YEAR)) == 0
    for row in (main, supplement):
        known = lifecycle.state_on(row, NEW_YEAR)
        assert (known.state, known.clause) == ("expired", "温医保办〔2021〕6号 七")
        assert lifecycle.state_on(row, END).state == "active"
    assert not Task.objects.filter(procedure="renewal", state="open").exists()
    assert Event.objects.filter(action="agreement.expired").count() == 2


def test_a_supplement_that_names_no_end_ends_with_the_main_agreement(pair):
    _, supplement = pair
    Agreement.objects.filter(pk=supplement.pk).update(valid_until=None)
    supplement.states.update(valid_until=None)
    assert terms.expire_due(on=NEW_YEAR, by="beat", at=at(NEW_YEAR)) == 1
    assert lifecycle.state_on(supplement, NEW_YEAR).state == "expired"
    assert lifecycle.state_on(supplement, END).state == "active"


def test_a_terminated_agreement_does_not_expire(pair):
    decide(pair[0], "terminated", DEC_20)
    assert terms.expire_due(on=NEW_YEAR, by="beat", at=at(NEW_YEAR)) == 0


def test_every_day_the_task_asks_tells_once_and_expires(pair, settings):
    person = factories.user("hospital", pair[0].institution)
    settings.DEMO_TODAY, settings.AGREEMENT_WARN_DAYS = DEC_20, 60
    assert tasks.watch_terms() == {"expired": 0, "asked": 2}
    assert tasks.watch_terms() == {"expired": 0, "asked": 0}
    told = list(Notification.objects.filter(user=person).values_list("text", flat=True))
    assert len(told) == 2
    assert all("将于2021-12-31到期" in text for text in told)
    settings.DEMO_TODAY = NEW_YEAR
    assert tasks.watch_terms() == {"expired": 2, "asked": 0}


def test_an_end_that_is_wanted_is_not_asked_about_again(pair):
    main, _ = pair
    terms.ask_for_renewals(on=DEC_20, within=60, at=at(DEC_20))
    lifecycle.dismiss(
        agreement=main, question="renewal", reason="机构不再续签", by="signer", at=at(DEC_20)
    )
    assert terms.ask_for_renewals(on=DEC_20, within=60, at=at(DEC_20)) == 0


def test_the_service_promise_decides_how_early_it_asks(pair):
    early = dt.date(2021, 11, 1)
    assert terms.ask_for_renewals(on=early, within=59, at=at(early)) == 0
    assert terms.ask_for_renewals(on=early, within=60, at=at(early)) == 2
