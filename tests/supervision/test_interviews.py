"""约谈: numbered notice, its service, minutes that two inspectors stand for, who sees what."""

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError, transaction
from django.test import Client
from django.urls import reverse

from audit.models import Event, Task
from institutions.models import Notification, User
from institutions.refusals import Refusal
from supervision import case_papers, conduct, interviews, sanctions
from supervision.cases import name_inspector
from supervision.interviews import Appointment, Minutes
from supervision.models import Interview, Sanction
from supervision.writs import Service
from tests import factories
from tests.settlement.test_pages import AT
from tests.supervision.casework import TODAY, Office

pytestmark = pytest.mark.django_db
NEXT = TODAY + dt.timedelta(days=3)
ON_THE_DAY = AT + dt.timedelta(days=3)
ASKED = Appointment(
    NEXT, "上午9时，本局302会议室", "法定代表人、医保办负责人", "同日重复收取诊察费"
)
SERVED = Service("direct", "王某", TODAY)
SAID = Minutes(NEXT, "王某（院长）、检查人员二人", "系接口重复上传", "七日内完成整改")


@pytest.fixture
def office() -> Office:
    return Office()


@pytest.fixture
def talk(office: Office) -> Sanction:
    """An interview that was ordered by agreement and waits to be held."""
    case = office.inquired()
    office.propose(case, "interview", note="约谈负责人")
    office.decided(case, "agreement")
    return case.sanctions.get()


def notified(office: Office, row: Sanction, **changes: Any):
    given: dict[str, Any] = {"sanction": row, "wanted": ASKED, "service": SERVED,
                             "who": office.handler, "at": AT}  # fmt: skip
    return interviews.notify(**given | changes)


def recorded(office: Office, row: Sanction, **changes: Any) -> Interview:
    given: dict[str, Any] = {"sanction": row, "minutes": SAID, "who": office.handler,
                             "at": ON_THE_DAY}  # fmt: skip
    return interviews.record(**given | changes)


def confirmed(found: Interview, who: User, **changes: Any) -> Interview:
    given = {"agree": True, "reason": "", "who": who, "at": ON_THE_DAY}
    return interviews.confirm(interview=found, **given | changes)


def test_an_interview_has_a_notice_a_receipt_and_confirmed_minutes(office: Office, talk) -> None:
    Notification.objects.all().delete()
    notice = notified(office, talk)
    assert notice.number == "南通医保监约〔2021〕1号"
    said = notice.content
    assert (said["clause"], said["held_on"], said["place"], said["persons"], said["subject"]) == (
        talk.clause, str(NEXT), ASKED.place, ASKED.persons, ASKED.subject,
    )  # fmt: skip
    assert len(said["interviewers"]) == 2
    assert notice.receipt.content["receiver"] == "王某"
    assert (
        Notification.objects.get(user=office.hospital).text == f"约谈通知 {notice.number}：{NEXT}"
    )
    made = recorded(office, talk)
    talk.refresh_from_db()
    assert talk.state == "ordered"  # one person's word carries out nothing
    task = Task.objects.get(subject=f"interview:{made.pk}", state="open")
    assert (task.permission, task.status) == ("inspections.carry", "待确认")
    done = confirmed(made, office.second)
    talk.refresh_from_db()
    paper = done.minutes
    assert paper is not None
    assert paper.number == "南通医保监约录〔2021〕1号"
    assert (talk.state, talk.done_on, talk.record) == ("done", NEXT, f"约谈笔录 {paper.number}")
    assert (paper.content["statements"], paper.content["commitments"]) == (
        SAID.statements, SAID.commitments,
    )  # fmt: skip
    assert paper.content["recorded_by"] != paper.content["confirmed_by"]
    assert not Task.objects.filter(subject=f"interview:{made.pk}", state="open").exists()
    acts = Event.objects.filter(action__startswith="interview.", subject=talk.case.subject)
    assert set(acts.values_list("action", flat=True)) == {
        "interview.notify", "interview.record", "interview.confirm",
    }  # fmt: skip
    for one in (notice, paper):
        assert case_papers.pdf_of(one).startswith(b"%PDF")
        assert case_papers.pdf_of(one) == case_papers.pdf_of(one)
        assert one in case_papers.of_party(talk.case.papers.all())
    assert sanctions.unfinished(talk.case) == 0


def test_an_inspector_of_the_agency_may_stand_for_the_minutes(office: Office) -> None:
    case = office.inquired()
    name_inspector(case=case, username=office.reviewer.username, certificate="苏F-03", lead=False,
                   by=office.handler.username, at=AT)  # fmt: skip
    office.propose(case, "interview")
    office.decided(case, "agreement")
    row = case.sanctions.get()
    with pytest.raises(Refusal, match="NOT_YOURS"):
        notified(office, row, who=office.reviewer)
    notified(office, row)
    assert confirmed(recorded(office, row), office.reviewer).agreed
    row.refresh_from_db()
    assert (row.state, row.done_by) == ("done", office.reviewer.username)


def test_a_note_carries_out_no_interview(office: Office, talk) -> None:
    with pytest.raises(Refusal, match="INTERVIEW_NOT_HELD"):
        sanctions.execute(sanction=talk, on=TODAY, record="已约谈", who=office.handler, at=AT)
    talk.refresh_from_db()
    assert talk.state == "ordered"


def test_what_a_notice_must_say_and_when(office: Office, talk) -> None:
    for field in ("place", "persons", "subject"):
        with pytest.raises(Refusal, match="REQUIRED"):
            notified(office, talk, wanted=replace(ASKED, **{field: " "}))
    yesterday = TODAY - dt.timedelta(days=1)
    with pytest.raises(Refusal, match="DAY_OUTSIDE"):
        notified(office, talk, wanted=replace(ASKED, held_on=yesterday))
    with pytest.raises(Refusal, match="DAY_OUTSIDE"):
        notified(office, talk, service=replace(SERVED, on=NEXT))
    with pytest.raises(Refusal, match="REQUIRED"):
        notified(office, talk, service=replace(SERVED, receiver=""))
    with pytest.raises(Refusal, match="NOT_YOURS"):
        notified(office, talk, who=office.hospital)
    assert not talk.case.papers.filter(kind="talk").exists()
    first = notified(office, talk)
    later = NEXT + dt.timedelta(days=1)
    second = notified(office, talk, wanted=replace(ASKED, held_on=later))
    assert second.content["replaces"] == first.number
    with pytest.raises(Refusal, match="NOT_AS_NOTIFIED"):
        recorded(office, talk)
    recorded(office, talk, minutes=replace(SAID, held_on=later), at=AT + dt.timedelta(days=4))
    with pytest.raises(Refusal, match="MINUTES_RECORDED"):
        notified(office, talk)


def test_minutes_are_of_two_inspectors_after_the_notice(office: Office, talk) -> None:
    with pytest.raises(Refusal, match="NOT_NOTIFIED"):
        recorded(office, talk)
    notified(office, talk)
    with pytest.raises(Refusal, match="FUTURE"):
        recorded(office, talk, at=AT)
    for field in ("present", "statements", "commitments"):
        with pytest.raises(Refusal, match="REQUIRED"):
            recorded(office, talk, minutes=replace(SAID, **{field: ""}))
    with pytest.raises(Refusal, match="NOT_AN_INSPECTOR"):
        recorded(office, talk, who=office.third)
    made = recorded(office, talk)
    with pytest.raises(Refusal, match="MINUTES_RECORDED"):
        recorded(office, talk, who=office.second)
    with pytest.raises(Refusal, match="SAME_PERSON"):
        confirmed(made, office.handler)
    with pytest.raises(Refusal, match="NOT_AN_INSPECTOR"):
        confirmed(made, office.third)
    with pytest.raises(Refusal, match="REQUIRED"):
        confirmed(made, office.second, agree=False)
    back = confirmed(made, office.second, agree=False, reason="漏记承诺期限")
    assert (back.agreed, back.minutes, talk.state) == (False, None, "ordered")
    with pytest.raises(Refusal, match="DECIDED"):
        confirmed(made, office.second)
    again = recorded(office, talk, who=office.second)
    assert confirmed(again, office.handler).agreed
    assert conduct.pairs()["interview.confirm"] == {"interview.record"}


def test_the_database_keeps_minutes_and_asks_for_two_people(office: Office, talk) -> None:
    notified(office, talk)
    made = recorded(office, talk)
    rows = Interview.objects.filter(pk=made.pk)
    whole = {"agreed": False, "reason": "x", "confirmed_at": AT}
    for change in (
        {"statements": "别的"}, {"held_on": TODAY}, whole | {"confirmed_by": made.recorded_by},
        whole | {"confirmed_by": ""}, whole | {"confirmed_by": "x", "reason": ""},
        whole | {"confirmed_by": "x", "agreed": True},
    ):  # fmt: skip
        with pytest.raises((IntegrityError, DatabaseError)), transaction.atomic():
            rows.update(**change)
    confirmed(made, office.second)
    with pytest.raises(DatabaseError, match="stays"), transaction.atomic():
        rows.update(reason="别的")


def test_the_page_shows_minutes_to_the_office_and_papers_to_the_party(
    office: Office, talk, settings
) -> None:
    settings.DEMO_TODAY = TODAY
    address = reverse("case", args=[talk.case_id])
    handler, second, party = (
        factories.log_in(Client(), who) for who in (office.handler, office.second, office.hospital)
    )

    def act(client: Client, key: str, **given: object) -> int:
        return client.post(reverse("case-act", args=[talk.case_id, key]), given).status_code

    def shown(client: Client) -> str:
        return client.get(address).content.decode()

    assert "登记约谈笔录</" not in shown(handler)  # nothing is served yet
    notice = {"sanction": talk.pk, "held_on": TODAY, "place": "302会议室", "persons": "院长",
              "subject": "重复收费", "method": "direct", "receiver": "王某", "on": TODAY}  # fmt: skip
    assert act(handler, "interview", **notice | {"persons": ""}) == 422
    assert act(party, "interview", **notice) == 403
    assert act(handler, "interview", **notice) == 302
    assert "约谈通知书" in shown(party)
    minutes = {"sanction": talk.pk, "held_on": TODAY, "present": "院长、检查人员",
               "statements": "承认重复上传", "commitments": "七日内整改"}  # fmt: skip
    assert act(handler, "minutes", **minutes) == 302
    assert "承认重复上传" in shown(second)
    assert "承认重复上传" not in shown(party)
    assert "确认约谈笔录</" not in shown(handler)
    made = Interview.objects.get()
    assert act(handler, "confirm-minutes", interview=made.pk, agree="yes") == 422
    assert act(second, "confirm-minutes", interview=made.pk, agree="yes") == 302
    paper = Interview.objects.get().minutes
    assert paper is not None
    assert paper.number in shown(handler)
    pdf = party.get(reverse("case-paper", args=[talk.case_id, paper.pk]))
    assert (pdf.status_code, pdf["Content-Type"]) == (200, "application/pdf")
