"""Delivery: the institution signs for a notice itself; what it sees when; no name in the trail."""

import datetime as dt
import json

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse

from agreements import papers
from agreements.models import Application
from audit.models import Event, Move
from audit.procedure import Refused
from institutions.commands.facts import record_facts
from institutions.crypto import keyed_hash
from institutions.models import Document, User
from tests.agreements.cast import PDF, Cast, moment, refused

Day = dt.date
MONDAY = Day(2021, 3, 15)
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def quick(monkeypatch) -> None:
    """Papers of a few bytes: what is in them, other tests look at."""
    monkeypatch.setattr(papers.pdf, "render", lambda *args, **kwargs: PDF)


def review_failed(cast: Cast, day: dt.date = MONDAY) -> Application:
    case = cast.reviewing(day)
    cast.judge(case, day, "5")
    cast.go(case, "fail_review", "reviewer", day)
    return case


def after_test(cast: Cast, step: str, *failing: str) -> Application:
    case = cast.testing(Day(2021, 3, 10), Day(2021, 3, 12), Day(2021, 4, 1))
    cast.judge(case, Day(2021, 4, 2), *failing, part="acceptance", role="information")
    cast.go(case, step, "information", Day(2021, 4, 2))
    return case


def report_of(case: Application) -> Document:
    return Document.objects.get(subject=case.subject, kind="acceptance_report")


def client_of(cast: Cast, role: str) -> Client:
    client = Client()
    client.force_login(cast.people[role])
    return client


def everything_recorded() -> str:
    """All that can never be removed: the bodies of events, the inputs of moves."""
    bodies = [bytes(body).decode() for body in Event.objects.values_list("body", flat=True)]
    moves = [json.dumps(facts, ensure_ascii=False)
             for facts in Move.objects.values_list("facts", flat=True)]  # fmt: skip
    return "\n".join([*bodies, *moves])


# --- The institution signs for it ---


def test_the_institution_signs_for_a_notice_and_the_clock_runs_from_that_day():
    cast = Cast()
    User.objects.filter(pk=cast.people["hospital"].pk).update(display_name="李签收")
    cast.people["hospital"].refresh_from_db()
    case = review_failed(cast)
    cast.go(case, "acknowledge_review_notice", "hospital", Day(2021, 3, 17))
    notice = case.notices.get()
    assert (notice.delivered_on, notice.delivery, notice.receipt) == (
        Day(2021, 3, 17), "portal", "李签收",
    )  # fmt: skip
    assert (case.state, notice.document.institution) == ("rectifying", cast.hospital)
    with pytest.raises(Refused, match="2021-06-18起方可再次申请"):
        cast.apply(Day(2021, 6, 17))
    assert "李签收" not in everything_recorded()


def test_it_signs_for_today_only_and_for_what_the_notice_is():
    cast = Cast()
    case = review_failed(cast)
    go = (cast.go, case)
    earlier = refused(
        *go, "acknowledge_review_notice", "hospital", Day(2021, 3, 17), on=Day(2021, 3, 16)
    )
    assert earlier[1] == "DAY_NOT_YOURS"
    assert (
        refused(*go, "acknowledge_review_ban", "hospital", Day(2021, 3, 17))[1]
        == "STEP_NOT_POSSIBLE"
    )
    assert refused(*go, "acknowledge_review_notice", "reviewer", MONDAY)[0] == 403
    cast.go(case, "deliver_review_notice", "reviewer", MONDAY, facts={"delivery": "mail"})
    assert (
        refused(*go, "acknowledge_review_notice", "hospital", Day(2021, 3, 17))[1]
        == "STEP_NOT_POSSIBLE"
    )


def test_the_second_failure_is_signed_for_as_a_ban():
    cast = Cast()
    cast.failed(MONDAY, Day(2021, 3, 18))
    case = review_failed(cast, Day(2021, 6, 21))
    cast.go(case, "acknowledge_review_ban", "hospital", Day(2021, 6, 22))
    assert case.state == "banned_1y"


def test_on_its_page_the_institution_signs_and_then_reads(monkeypatch):
    monkeypatch.setattr(settings, "DEMO_TODAY", MONDAY)
    cast = Cast()
    case = review_failed(cast)
    hospital, page = client_of(cast, "hospital"), reverse("application", args=[case.pk])
    before = hospital.get(page)
    assert [entry["step"].key for entry in before.context["steps"]] == ["acknowledge_review_notice"]
    assert "须改进" not in before.content.decode()
    address = reverse("application-step", args=[case.pk, "acknowledge_review_notice"])
    assert hospital.post(address, {"version": case.version}).status_code == 302
    after = hospital.get(page).content.decode()
    assert "须改进" in after
    assert f"签收：{cast.people['hospital']}" in after


# --- The report of a test ---


def test_the_report_of_a_failed_test_is_shared_with_the_notice():
    cast = Cast()
    case = after_test(cast, "fail_test", "6")
    hospital = cast.people["hospital"]
    seen = Document.objects.visible_to(hospital).filter(subject=case.subject)
    assert report_of(case).institution is None
    assert not seen.exists()
    facts = {"delivery": "direct"}
    cast.go(case, "deliver_test_notice", "reviewer", Day(2021, 4, 6), facts=facts)
    assert set(seen.values_list("kind", flat=True)) == {"notice", "acceptance_report"}


def test_the_report_of_a_passed_test_is_shared_at_once():
    cast = Cast()
    case = after_test(cast, "pass_test_publish")
    assert report_of(case).institution == cast.hospital


# --- No names of persons where nothing can be removed ---


def test_who_signed_for_it_stands_with_the_notice_only():
    cast = Cast()
    case = cast.failed(MONDAY, Day(2021, 3, 18))
    assert case.notices.get().receipt == "张某"
    assert Move.objects.get(step="deliver_review_notice").facts == {"delivery": "mail"}
    assert "张某" not in everything_recorded()


def test_of_objections_the_trail_says_only_that_they_were_raised_and_answered(monkeypatch):
    monkeypatch.setattr(settings, "DEMO_TODAY", Day(2021, 4, 6))
    cast = Cast()
    case = after_test(cast, "pass_test_publish")
    reviewer = client_of(cast, "reviewer")
    raised = {"raised_by": "某居民", "text": "王某信息不实", "on": "2021-04-06"}
    reviewer.post(reverse("application-object", args=[case.pk]), raised)
    objection = case.objections.get()
    address = reverse("application-answer", args=[case.pk, objection.pk])
    reviewer.post(address, {"upheld": "no", "answer": "经查王某无误"})
    objection.refresh_from_db()
    assert (objection.raised_by, objection.answer) == ("某居民", "经查王某无误")
    events = Event.objects.filter(action__startswith="application.objection").order_by("at")
    assert [json.loads(bytes(event.body))["detail"] for event in events] == [
        {"objection": objection.pk, "on": "2021-04-06"},
        {"objection": objection.pk, "outcome": "dismissed"},
    ]
    recorded = everything_recorded()
    assert [name for name in ("某居民", "王某") if name in recorded] == []


def test_a_representative_is_recorded_as_a_keyed_hash():
    cast = Cast()
    record_facts(
        institution=cast.hospital, valid_from=MONDAY, source="任免", by="test", at=moment(MONDAY),
        changes={"representative": "赵院长", "address": "学院路1号"},
    )  # fmt: skip
    assert cast.hospital.facts.facts_on(MONDAY).representative == "赵院长"
    body = json.loads(bytes(Event.objects.get(action="facts.record").body))
    assert body["detail"]["changes"] == {
        "representative": keyed_hash("representative", "赵院长").hex(), "address": "学院路1号",
    }  # fmt: skip


# --- What was told before ---


def test_a_new_attempt_shows_what_the_notice_before_told(monkeypatch):
    cast = Cast()
    first = cast.failed(MONDAY, Day(2021, 3, 18))
    again = Day(2021, 6, 21)
    monkeypatch.setattr(settings, "DEMO_TODAY", again)
    second = cast.apply(again)
    for role in ("hospital", "reviewer"):
        answer = client_of(cast, role).get(reverse("application", args=[second.pk]))
        before = answer.context["before"]
        lines = {row.no: row.pk for row in second.requirements.all()}
        assert [(item["no"], item["remark"], item["line"]) for item in before["items"]] == [
            ("5", "须改进", lines["5"]), ("6", "须改进", lines["6"]),
        ]  # fmt: skip
        assert before["row"] == first.notices.get()
        (part,) = answer.context["checklists"]
        assert {line["row"].no for line in part["rows"] if line["before"]} == {"5", "6"}
        assert "前次一次性告知的问题" in answer.content.decode()
    page = client_of(cast, "hospital").get(reverse("application", args=[first.pk]))
    assert page.context["before"] is None
