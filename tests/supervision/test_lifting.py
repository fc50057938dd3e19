"""A suspension that the law fixes ends before its shortest time only by a review on paper."""

import datetime as dt
from importlib import import_module

import pytest
from django.apps import apps
from django.db import Error, IntegrityError, transaction
from django.test import Client
from django.urls import reverse

from audit.models import Event, Task
from institutions.access import EVERYTHING, set_scope
from institutions.refusals import Refusal
from supervision import case_papers, lifting, subjects
from supervision.models import Restriction, SupervisionCase
from supervision.writs import Service
from tests import factories
from tests.settlement.test_pages import AT
from tests.supervision.casework import SERVED, TODAY, Office

pytestmark = pytest.mark.django_db
LATER = TODAY + dt.timedelta(days=10)


@pytest.fixture
def office(settings) -> Office:
    settings.DEMO_TODAY = TODAY
    return Office()


def barred(office: Office) -> tuple[SupervisionCase, Restriction]:
    """A person who may not settle online for five months; three are the least (第41条)."""
    person = office.house.patient
    case = office.inquired(subject_kind="person", subject_code=person.subject, person=person,
                           institution_code="", title="出借医保凭证")  # fmt: skip
    office.propose(case, "suspend_person", article="41", months=5)
    office.decided(case, "penalty", "41")
    office.execute(case)
    return case, Restriction.objects.get()


def test_before_the_laws_shortest_time_only_a_review_ends_it(office: Office) -> None:
    _, row = barred(office)
    assert (str(row.least_until), str(row.valid_until)) == ("2021-09-14", "2021-11-14")
    given = {"restriction": row, "reason": "整改到位", "at": AT}
    with pytest.raises(Refusal, match="BEFORE_LEAST") as error:
        lifting.lift(on=LATER, who=office.chief, **given)
    fault = error.value.faults[0]
    assert "第41条" in fault.clause
    assert "2021-09-14" in fault.detail[0]
    with pytest.raises(IntegrityError, match="least_or_reviewed"), transaction.atomic():
        Restriction.objects.filter(pk=row.pk).update(
            valid_until=LATER, lifted_at=AT, lifted_by="x", lift_reason="x"
        )
    with pytest.raises(Error, match="stays"), transaction.atomic():
        Restriction.objects.filter(pk=row.pk).update(least_until=None)
    lifting.lift(on=row.least_until, who=office.chief, **given)
    row.refresh_from_db()
    assert (row.valid_until, row.lift_paper) == (row.least_until, "")


def test_a_review_is_asked_for_by_one_and_decided_by_another_on_paper(office: Office) -> None:
    case, row = barred(office)
    asked = {"restriction": row, "at": AT, "reason": "原决定认定有误"}
    with pytest.raises(Refusal, match="NO_REVIEW_NEEDED"):
        lifting.ask_review(on=row.least_until, who=office.third, **asked)
    lifting.ask_review(on=LATER, who=office.third, **asked)
    task = Task.objects.get(subject=f"restrictionreview:{row.pk}", state="open")
    assert task.permission == "cases.decide"
    with pytest.raises(Refusal, match="REVIEW_ASKED"):
        lifting.ask_review(on=LATER, who=office.third, **asked)
    decided = {"restriction": row, "grant": True, "reason": "撤销", "service": SERVED, "at": AT}
    for who, code in ((office.third, "SAME_PERSON"), (office.handler, "SAME_PERSON"),
                      (office.reviewer, "NOT_YOURS")):  # fmt: skip
        with pytest.raises(Refusal, match=code):
            lifting.review(who=who, **decided)
    paper = lifting.review(who=office.chief, **decided)
    row.refresh_from_db()
    assert (row.valid_until, row.lifted_by, row.lift_paper, row.review_by) == (
        LATER, office.chief.username, "南通医保监复〔2021〕1号", office.third.username,
    )  # fmt: skip
    assert case.papers.get(serves=paper).content["paper"] == "复查决定书"
    shown = case_papers.context_of(paper)
    assert "该项措施至2021-06-25止" in shown["after"][0]
    assert case_papers.pdf_of(paper).startswith(b"%PDF")
    person = office.house.patient
    assert person.suspensions.facts_on(LATER) is not None
    assert person.suspensions.facts_on(LATER + dt.timedelta(days=1)) is None
    assert Event.objects.filter(action="restriction.review").count() == 1
    assert not Task.objects.filter(subject=f"restrictionreview:{row.pk}", state="open").exists()


def test_a_review_that_keeps_the_decision_changes_nothing(office: Office) -> None:
    case, row = barred(office)
    with pytest.raises(Refusal, match="NOTHING_ASKED"):
        lifting.review(restriction=row, grant=False, reason="x", service=SERVED, who=office.chief,
                       at=AT)  # fmt: skip
    lifting.ask_review(restriction=row, on=LATER, reason="申诉", who=office.third, at=AT)
    late = Service("direct", "本人", TODAY + dt.timedelta(days=1))
    with pytest.raises(Refusal, match="DAY_OUTSIDE"):
        lifting.review(restriction=row, grant=False, reason="x", service=late, who=office.chief,
                       at=AT)  # fmt: skip
    paper = lifting.review(restriction=row, grant=False, reason="事实清楚", service=SERVED,
                           who=office.chief, at=AT)  # fmt: skip
    row.refresh_from_db()
    assert (str(row.valid_until), row.lifted_at, row.review_by) == ("2021-11-14", None, "")
    assert "维持原处理决定" in case_papers.context_of(paper)["after"][0]
    lifting.ask_review(restriction=row, on=LATER, reason="新证据", who=office.third, at=AT)
    assert case.papers.filter(kind="review").count() == 1


def test_a_review_goes_its_way_in_the_browser(office: Office) -> None:
    _, row = barred(office)
    asker, head = (factories.log_in(Client(), who) for who in (office.third, office.chief))
    page = reverse("restriction", args=[row.pk])
    assert "提出复查" in asker.get(page).content.decode()
    act = {key: reverse("restriction-act", args=[row.pk, key])
           for key in ("lift", "ask-review", "review")}  # fmt: skip
    refused = head.post(act["lift"], {"on": f"{LATER}", "reason": "x"})
    assert (refused.status_code, "由他人作出复查决定" in refused.content.decode()) == (422, True)
    given = {"on": f"{LATER}", "reason": "原决定认定有误"}
    assert asker.post(act["ask-review"], given).status_code == 302
    assert "作出复查决定" not in asker.get(page).content.decode()
    decision = {
        "grant": "yes",
        "reason": "撤销",
        "method": "direct",
        "receiver": "本人",
        "on": f"{TODAY}",
    }
    assert head.post(act["review"], decision).status_code == 302
    set_scope(EVERYTHING)
    assert Restriction.objects.get().lift_paper in head.get(page).content.decode()


def test_restrictions_of_before_last_as_long_as_their_article_wants(office: Office) -> None:
    case, row = barred(office)
    before = subjects.restrict(
        kind="online", region_code=row.region_code, institution_code="", person_id=row.person_id,
        subject_code=row.subject_code, since=TODAY, months=5, clause=row.clause, source="old",
        by=office.handler.username, at=AT,
    )  # fmt: skip
    case.sanctions.update(effects=[{"restriction": before.pk}])
    import_module("supervision.migrations.0024_fair_cases").keep_least(apps, None)
    set_scope(EVERYTHING)
    before.refresh_from_db()
    assert str(before.least_until) == "2021-09-14"
