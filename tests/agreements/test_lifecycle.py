"""States of signed agreements: what follows for the other one, what a claim of the day is told."""

import datetime as dt
import json

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import IntegrityError, transaction
from django.utils import timezone

from agreements import lifecycle, terms
from agreements.models import Agreement, AgreementState
from audit.models import Event, Task
from institutions.access import EVERYTHING, set_scope
from institutions.models import Notification
from institutions.refusals import Refusal
from settlement.batch import commands as batches
from settlement.batch.chunk import settle_chunk
from settlement.models import Chunk, Claim
from tests import factories
from tests.agreements import law
from tests.factories import ZONE
from tests.settlement.hospital import Hospital, forget_databases

AUG_2 = dt.date(2021, 8, 2)
NOV_2 = dt.date(2021, 11, 2)
END = dt.date(2021, 12, 31)


def at(day: dt.date, hour: int = 10) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(hour), ZONE)


@pytest.fixture
def pair(db) -> tuple[Agreement, Agreement]:
    """The main and supplementary agreement of a Wenzhou hospital, both until the end of 2021."""
    factories.policies("wenzhou")
    set_scope(EVERYTHING)
    hospital = factories.institution("wenzhou", agreements=False)
    made = []
    for kind, state in (("main", "active"), ("supplementary", "signed")):
        row = factories.agreement(hospital, kind, state, valid_until=END)
        Agreement.objects.filter(pk=row.pk).update(valid_until=END)
        row.refresh_from_db()
        made.append(row)
    return made[0], made[1]


def decide(agreement: Agreement, decision: str, on: dt.date, recorded: dt.date | None = None):
    return lifecycle.decide(
        agreement=agreement, decision=decision, on=on, reason="核查需要", by="signer",
        at=at(recorded or on),
    )  # fmt: skip


def days(agreement: Agreement) -> list[tuple[str, dt.date, dt.date | None]]:
    rows = agreement.states.known().order_by("valid_from")
    return [(row.state, row.valid_from, row.valid_until) for row in rows]


def open_tasks() -> dict[str, str]:
    rows = Task.objects.filter(state="open", permission="agreements.decide")
    return {row.procedure: row.clause for row in rows}


# --- What follows (AG-C01, AG-C03, AG-C06) ---


@pytest.mark.parametrize(
    ("decision", "state"), [("suspended", "suspended"), ("terminated", "terminated")]
)
def test_the_supplement_follows_the_main_agreement_at_the_same_moment(pair, decision, state):
    main, supplement = pair
    decide(main, decision, AUG_2)
    assert days(supplement) == [
        ("signed", factories.LONG_AGO, dt.date(2021, 8, 1)), (state, AUG_2, END)
    ]  # fmt: skip
    followed = supplement.states.known().get(state=state)
    assert followed.recorded_by == "系统"
    assert followed.clause == "温医保办〔2021〕6号 二十二第1款"
    assert followed.recorded_at == main.states.known().get(state=state).recorded_at
    assert open_tasks() == {}


@pytest.mark.parametrize("decision", ["suspended", "terminated"])
def test_upward_it_is_the_agency_that_decides(pair, decision):
    main, supplement = pair
    decide(supplement, decision, AUG_2)
    assert [state for state, _, _ in days(main)] == ["active"]
    assert open_tasks() == {"decide-main-agreement": "温医保办〔2021〕6号 二十二第2款"}
    lifecycle.dismiss(
        agreement=main, question="decide_main_agreement", reason="实体服务不受影响", by="signer",
        at=at(AUG_2, 11),
    )  # fmt: skip
    assert open_tasks() == {}


def test_resumption_needs_a_decision_of_its_own(pair):
    main, supplement = pair
    decide(main, "suspended", AUG_2)
    decide(main, "resumed", NOV_2)
    assert lifecycle.state_on(supplement, NOV_2).state == "suspended"
    assert open_tasks() == {"decide-supplementary-resume": "温医保办〔2021〕6号 二十二第1款"}
    decide(supplement, "resumed", dt.date(2021, 11, 5))
    assert lifecycle.state_on(supplement, dt.date(2021, 11, 5)).state == "signed"
    assert open_tasks() == {}


def test_the_supplement_does_not_resume_before_the_main_agreement(pair):
    main, supplement = pair
    decide(main, "suspended", AUG_2)
    with pytest.raises(Refusal) as refused:
        decide(supplement, "resumed", NOV_2)
    assert (refused.value.status, refused.value.code) == (409, "MAIN_NOT_ACTIVE")


@pytest.mark.parametrize(
    ("state", "decision"),
    [("suspended", "suspended"), ("terminated", "suspended"), ("terminated", "resumed"),
     ("terminated", "terminated"), ("active", "resumed")],
)  # fmt: skip
def test_decisions_that_a_state_does_not_allow(pair, state, decision):
    main, _ = pair
    if state != "active":
        decide(main, state, AUG_2)
    before = days(main)
    with pytest.raises(Refusal) as refused:
        decide(main, decision, NOV_2)
    assert (refused.value.status, refused.value.code) == (409, "STATE_NOT_POSSIBLE")
    assert days(main) == before


def test_a_decision_needs_a_reason_and_a_day_of_the_term(pair):
    main, _ = pair
    with pytest.raises(Refusal) as unsaid:
        lifecycle.decide(
            agreement=main, decision="suspended", on=AUG_2, reason=" ", by="s", at=at(AUG_2)
        )
    assert unsaid.value.code == "REASON_MISSING"
    with pytest.raises(Refusal):
        decide(main, "suspended", dt.date(2022, 1, 1))


# --- Two times: valid and recorded ---


def test_a_late_record_keeps_what_was_known_before(pair):
    main, supplement = pair
    decide(main, "suspended", AUG_2, recorded=dt.date(2021, 9, 10))
    known_in_august = supplement.states.filter(recorded_at__lte=at(dt.date(2021, 8, 20))).exclude(
        superseded_at__lte=at(dt.date(2021, 8, 20))
    )
    assert [row.state for row in known_in_august.in_force(on=dt.date(2021, 8, 15))] == ["signed"]
    assert lifecycle.state_on(supplement, dt.date(2021, 8, 15)).state == "suspended"


def test_the_database_refuses_two_known_states_on_a_day(pair):
    main, _ = pair
    with pytest.raises(IntegrityError), transaction.atomic():
        AgreementState.objects.create(
            agreement=main, state="suspended", valid_from=AUG_2, recorded_at=at(AUG_2),
            recorded_by="x",
        )  # fmt: skip


# --- Renewal and expiry ---


def test_renewal_begins_with_the_main_agreement(pair):
    main, supplement = pair
    with pytest.raises(Refusal) as refused:
        terms.renew(
            agreement=supplement, number="补-2022", valid_until=None,
            signed_on=dt.date(2021, 12, 20), by="signer", at=at(dt.date(2021, 12, 20)),
        )  # fmt: skip
    assert refused.value.code == "MAIN_NOT_RENEWED"
    until = dt.date(2022, 12, 31)
    terms.renew(
        agreement=main, number="定-2022", valid_until=until, signed_on=dt.date(2021, 12, 20),
        by="signer", at=at(dt.date(2021, 12, 20)),
    )  # fmt: skip
    assert open_tasks() == {"renew-supplementary": "温医保办〔2021〕6号 七"}
    renewed = terms.renew(
        agreement=supplement, number="补-2022", valid_until=dt.date(2030, 1, 1),
        signed_on=dt.date(2021, 12, 21), by="signer", at=at(dt.date(2021, 12, 21)),
    )  # fmt: skip
    assert (renewed.valid_from, renewed.valid_until) == (dt.date(2022, 1, 1), until)
    assert days(renewed) == [("signed", dt.date(2022, 1, 1), until)]
    assert renewed.previous == supplement
    assert open_tasks() == {}


def test_an_ending_agreement_asks_once_for_its_renewal(pair):
    today = dt.date(2021, 12, 1)
    for _ in range(2):
        terms.ask_for_renewals(on=today, within=60, at=at(today))
    tasks = Task.objects.filter(procedure="renewal", state="open")
    assert [task.due for task in tasks] == [END, END]
    assert terms.ask_for_renewals(on=dt.date(2021, 6, 1), within=60, at=at(today)) == 0


# --- Money ---


@pytest.fixture
def wenzhou(db) -> Hospital:
    factories.policies("wenzhou")
    made = Hospital("wenzhou", "employee")
    factories.offline_visit(made.patient, made.row)
    return made


def test_a_claim_of_a_day_in_suspension_is_refused_with_the_clause(wenzhou: Hospital):
    supplement = wenzhou.row.agreements.get(kind="supplementary")
    main = wenzhou.row.agreements.get(kind="main")
    line = factories.line(fee="10.00")
    before = wenzhou.settled(line)
    assert before["state"] == "payable"
    decide(main, "suspended", factories.DAY, recorded=dt.date(2021, 6, 20))
    assert lifecycle.state_on(supplement, factories.DAY).state == "suspended"
    again = wenzhou.settled(line)
    assert again["state"] == "reject"
    assert again["lines"][0]["reason"] == "AGREEMENT_SUSPENDED"
    clauses = [one["clause"] for one in again["lines"][0]["clauses"]]
    assert "二十二第1款" in clauses
    assert wenzhou.get(before["links"]["self"]).json()["state"] == "payable"
    earlier = wenzhou.settled(line, day=factories.DAY - dt.timedelta(days=1))
    assert earlier["state"] == "payable"


def test_every_decision_is_an_event(pair):
    main, supplement = pair
    decide(main, "suspended", AUG_2)
    subjects = Event.objects.filter(action="agreement.suspended").values_list("subject", "actor")
    assert set(subjects) == {
        (f"agreement:{main.pk}", "signer"), (f"agreement:{supplement.pk}", "系统")
    }  # fmt: skip


# --- The case files, by the real commands ---

CASES = [
    case for case in law.cases_of({"cascade"}) if case["input"].get("region") in (None, "wenzhou")
]


def outcome(given: dict, main: Agreement, supplement: Agreement, on: dt.date) -> dict:
    """What the records say on a day, in the words of the case files."""
    latest = main.next.first() or main  # a renewed agreement runs on in its next term
    above = lifecycle.state_on(latest, max(on, latest.valid_from))
    below = lifecycle.state_on(supplement, on)
    questions = {task.subject.rpartition(":")[2] for task in Task.objects.filter(state="open")}
    followed = supplement.states.known().filter(valid_from=on, recorded_by="系统").exists()
    together = "main_end" in given and supplement.valid_until == main.valid_until
    return {
        "main_state": above.state,
        "supplementary_state": below.state,
        "supplementary_from": below.valid_from.isoformat(),
        "supplementary_last_day": supplement.valid_until.isoformat(),
        "supplementary_end": supplement.valid_until.isoformat(),
        "automatic": not questions and (followed or together),
        "task": next(iter(questions), None),
    }


def pair_of(begin: dt.date, end: dt.date) -> tuple[Agreement, Agreement]:
    """A hospital's two agreements, both active; the supplementary one from a day on."""
    hospital = factories.institution("wenzhou", agreements=False)
    made = []
    for kind, since in (("main", factories.LONG_AGO), ("supplementary", begin)):
        row = factories.agreement(hospital, kind, valid_from=since, valid_until=end)
        Agreement.objects.filter(pk=row.pk).update(valid_from=since, valid_until=end)
        row.refresh_from_db()
        made.append(row)
    return made[0], made[1]


def happen(given: dict, main: Agreement, supplement: Agreement) -> dt.date:
    """The event of a case, by the commands; returns the day that is asked about."""
    if "event" in given:
        kind, decision = given["event"].split("_")
        day = dt.date.fromisoformat(given["date"])
        if decision == "resumed":
            decide(main, "suspended", dt.date(2021, 8, 2))
            if kind == "supplementary":
                decide(main, "resumed", day - dt.timedelta(days=2))
        decide(main if kind == "main" else supplement, decision, day)
        return day
    if "main_renewed_to" in given:
        until = dt.date.fromisoformat(given["main_renewed_to"])
        terms.renew(
            agreement=main, valid_until=until, signed_on=dt.date(2021, 12, 20), by="signer",
            at=at(dt.date(2021, 12, 20)),
        )  # fmt: skip
    today = dt.date.fromisoformat(given.get("today") or given.get("main_end", "2021-12-30"))
    terms.expire_due(on=today, by="beat", at=at(today))
    return today


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_the_records_answer_the_case_files(db, case):
    factories.policies("wenzhou")
    set_scope(EVERYTHING)
    given, expected = case["input"], dict(case["expected"])
    end = given.get("main_end") or given.get("supplementary_end") or "2021-12-31"
    begin = given.get("supplementary_signed") or "2021-05-13"
    main, supplement = pair_of(dt.date.fromisoformat(begin), dt.date.fromisoformat(end))
    day = happen(given, main, supplement)
    got = outcome(given, main, supplement, day)
    assert {key: got[key] for key in expected} == expected


# --- Terms, later decisions, new agreements ---


def test_a_decision_reaches_the_term_that_was_agreed_on_already(pair):
    main, _ = pair
    until = dt.date(2022, 12, 31)
    renewed = terms.renew(
        agreement=main, valid_until=until, signed_on=dt.date(2021, 12, 20), by="signer",
        at=at(dt.date(2021, 12, 20)),
    )  # fmt: skip
    decide(main, "suspended", dt.date(2021, 12, 27))
    assert days(renewed) == [("suspended", dt.date(2022, 1, 1), until)]
    decide(renewed, "resumed", dt.date(2022, 2, 1))
    assert lifecycle.state_on(renewed, dt.date(2022, 2, 1)).state == "active"


def test_the_supplement_falls_although_it_was_to_resume_later(pair):
    main, supplement = pair
    decide(supplement, "suspended", AUG_2)
    decide(supplement, "resumed", NOV_2)
    decide(main, "suspended", dt.date(2021, 10, 1))
    assert lifecycle.state_on(supplement, NOV_2).state == "suspended"


def test_a_known_termination_outlasts_an_earlier_suspension(pair):
    main, supplement = pair
    decide(supplement, "terminated", NOV_2)
    decide(main, "suspended", AUG_2)
    states = [(state, since) for state, since, _ in days(supplement)]
    assert states[-2:] == [("suspended", AUG_2), ("terminated", NOV_2)]


def test_what_would_follow_is_told_before_and_nothing_is_stored(pair):
    main, supplement = pair
    before = AgreementState.objects.count()
    effects = lifecycle.effects_of(agreement=main, decision="suspended", on=AUG_2)
    assert [(row.agreement, row.state, row.own) for row in effects] == [
        (main, "suspended", True), (supplement, "suspended", False)
    ]  # fmt: skip
    up = lifecycle.effects_of(agreement=supplement, decision="suspended", on=AUG_2)
    assert [(row.agreement, row.question) for row in up[1:]] == [(main, "decide_main_agreement")]
    assert (AgreementState.objects.count(), open_tasks()) == (before, {})


def test_whoever_saw_an_older_state_is_told(pair):
    main, _ = pair
    seen = lifecycle.version_of(main)
    decide(main, "suspended", AUG_2)
    with pytest.raises(Refusal) as late:
        lifecycle.decide(
            agreement=main, decision="terminated", on=NOV_2, reason="核查", by="other",
            at=at(NOV_2), seen=seen,
        )  # fmt: skip
    assert (late.value.status, late.value.code) == (409, "CHANGED_MEANWHILE")


def test_a_question_about_a_decision_and_one_about_the_end_stand_side_by_side(pair):
    main, supplement = pair
    terms.ask_for_renewals(on=NOV_2, within=60, at=at(NOV_2))
    decide(supplement, "suspended", NOV_2)
    asked = {task.procedure for task in lifecycle.questions_about(main)}
    assert asked == {"renewal", "decide-main-agreement"}
    decide(main, "suspended", NOV_2)
    assert [task.procedure for task in lifecycle.questions_about(main)] == ["renewal"]


def test_the_hospital_is_told(pair):
    main, _ = pair
    person = factories.user("hospital", main.institution)
    decide(main, "suspended", AUG_2)
    told = Notification.objects.filter(user=person).values_list("text", flat=True)
    assert sorted(told) == sorted(
        f"{label}{row.number}自2021-08-02起中止"
        for label, row in zip(("定点协议", "补充协议"), pair, strict=True)
    )


def test_a_terminated_agreement_gives_way_to_a_new_one(pair):
    _, supplement = pair
    decide(supplement, "terminated", AUG_2)
    hospital = supplement.institution
    before = lifecycle.make_room(
        institution=hospital, kind="supplementary", since=NOV_2, by="signer", at=at(NOV_2)
    )
    supplement.refresh_from_db()
    assert before == supplement
    assert supplement.valid_until == dt.date(2021, 11, 1)
    assert days(supplement)[-1] == ("terminated", AUG_2, dt.date(2021, 11, 1))
    with pytest.raises(Refusal) as refused:
        lifecycle.make_room(
            institution=hospital, kind="main", since=NOV_2, by="signer", at=at(NOV_2)
        )
    assert refused.value.code == "AGREEMENT_EXISTS"


def test_a_region_whose_law_is_silent_lets_nothing_follow(db):
    factories.policies("nantong")
    set_scope(EVERYTHING)
    hospital = factories.institution("nantong")
    main, supplement = (hospital.agreements.get(kind=kind) for kind in ("main", "supplementary"))
    decide(main, "suspended", AUG_2)
    assert lifecycle.state_on(supplement, AUG_2).state == "active"
    assert open_tasks() == {}


def test_the_paper_is_registered_once_and_only_where_it_is_missing(db):
    factories.policies("nantong")
    set_scope(EVERYTHING)
    hospital = factories.institution("nantong", agreements=False)
    row = factories.agreement(hospital, "supplementary", "online_signed_paper_pending")
    given = {"agreement": row, "document": None, "state": "signed", "on": AUG_2, "by": "signer",
             "at": at(AUG_2)}  # fmt: skip
    lifecycle.register_paper(**given)
    assert [state for state, _, _ in days(row)] == ["online_signed_paper_pending", "signed"]
    with pytest.raises(Refusal) as refused:
        lifecycle.register_paper(**given)
    assert refused.value.code == "STATE_NOT_POSSIBLE"


# --- The other way in: files ---


def test_a_file_of_claims_is_told_the_same(committed_db: str):
    forget_databases()
    factories.policies("wenzhou")
    hospital = Hospital("wenzhou", "employee")
    factories.offline_visit(hospital.patient, hospital.row)
    line = factories.line(fee="10.00")
    during, earlier = hospital.body(line), hospital.body(line, day=factories.DAY - lifecycle.DAY)
    known_before = sent(hospital, hospital.body(line))
    decide(hospital.row.agreements.get(kind="main"), "suspended", factories.DAY)
    assert known_before["state"] == "payable"
    assert sent(hospital, earlier)["state"] == "payable"
    refused = sent(hospital, during)
    assert (refused["state"], refused["lines"][0]["reason"]) == ("reject", "AGREEMENT_SUSPENDED")
    assert "二十二第1款" in [row["clause"] for row in refused["lines"][0]["clauses"]]
    assert hospital.get(known_before["links"]["self"]).json()["state"] == "payable"


def sent(hospital: Hospital, claim: dict) -> dict:
    """A claim sent in a file, and what the hospital reads of it afterwards."""
    content = json.dumps(claim, ensure_ascii=False).encode()
    answer = hospital.client.post(
        "/api/v1/batches", {"file": SimpleUploadedFile("a.jsonl", content), "start": "true"},
        headers={"Authorization": f"Bearer {hospital.token}"},
    )  # fmt: skip
    assert answer.status_code == 201, answer.content.decode()
    number = answer.json()["id"]
    assert batches.load(batch_id=number, by="clerk", at=timezone.now())
    chunks = Chunk.objects.using("settler").filter(batch_id=number)
    for key in chunks.values_list("pk", flat=True):
        settle_chunk(key, by="clerk", at=timezone.now())
    found = Claim.objects.using("settler").get(claim_no=claim["claim_no"])
    return hospital.get(f"/api/v1/claims/{found.pk}").json()
