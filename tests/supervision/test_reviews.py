"""Fee reviews: from a held line to its money, four eyes, objection and third person, samples, recovery."""

import datetime as dt

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction

from audit.models import Event, Task
from audit.procedure import Refused
from institutions.access import EVERYTHING, set_scope
from institutions.models import Notification
from institutions.refusals import Refusal
from pricing.rules import DECISIONS
from settlement import ledger, statement_steps
from settlement.models import Deduction, LineResult, Period, Settlement
from settlement.periods import differences
from supervision import review_steps, reviews, sampling
from supervision.models import Finding, FindingClaim, Review, ReviewLine
from supervision.review_sources import collect, open_by_hand, open_from_finding
from supervision.reviews import Marking
from tests import factories
from tests.factories import line
from tests.settlement.agency import calendar
from tests.settlement.hospital import Hospital
from tests.settlement.test_resettlement import publish

AT = dt.datetime(2021, 7, 1, 2, tzinfo=dt.UTC)
DAY = dt.date(2021, 7, 1)
COUNT = {name: "SELECT count(*) FROM supervision_" + name for name in ("review", "reviewline")}
CUT = Marking("cut", 300, "overcharge")
REJECTED, HELD = DECISIONS.index("reject"), DECISIONS.index("review")


class Bureau:
    """An agency with reviewers and supervisors, a hospital with a held overcharge and a paid claim."""

    def __init__(self) -> None:
        factories.policies("nantong")
        calendar(2021)
        self.hospital = Hospital()
        self.region = self.hospital.row.region
        self.first, self.colleague = (factories.user("reviewer", self.region) for _ in "12")
        self.second, self.third = (factories.user("supervisor", self.region) for _ in "12")
        self.office = factories.user("hospital", self.hospital.row)

    def held(self, fee: str = "15.00") -> dict:
        found = self.hospital.settled(line(fee=fee))
        set_scope(EVERYTHING)
        return found

    def paid(self) -> dict:
        found = self.hospital.settled(line(fee="12.00"))
        set_scope(EVERYTHING)
        return found

    def collected(self, fee: str = "15.00") -> Review:
        claim = self.held(fee)
        collect(since=dt.date(2020, 1, 1), by="system", at=AT)
        return Review.objects.get(claim_id=claim["id"], closed_at=None)

    def mark(self, case: Review, marking: Marking = CUT, who=None) -> None:
        who = who or self.first
        for row in case.lines.all():
            reviews.mark(line=row, marking=marking, who=who, by=who.username, at=AT)

    def take(self, case: Review, step: str, who, *, at: dt.datetime = AT, note: str = "", **facts):
        set_scope(EVERYTHING)
        case.refresh_from_db()
        found = review_steps.take(
            case=case, step=step, who=who, by=who.username, at=at, note=note, facts=facts,
            version=case.version,
        )  # fmt: skip
        case.refresh_from_db()
        return found


@pytest.fixture
def bureau(db) -> Bureau:
    return Bureau()


def standing(case: Review) -> Settlement:
    return Settlement.objects.filter(claim_id=case.claim_id).order_by("-version")[0]


def sound() -> None:
    set_scope(EVERYTHING)
    assert ledger.balance().sound
    for period in Period.objects.all():
        assert differences(period) == []


def test_a_held_claim_is_reviewed_told_and_settled_again(bureau: Bureau) -> None:
    case = bureau.collected()
    assert (case.source, case.stake, case.state, case.due) == (
        "held",
        1500,
        "waiting",
        dt.date(2021, 7, 15),
    )
    assert collect(since=dt.date(2020, 1, 1), by="system", at=AT) == 0
    task = Task.objects.get(subject=case.subject)
    assert (task.permission, task.due) == ("reviews.decide", case.due)
    with pytest.raises(Refusal, match="OVERCHARGE_KEPT"):
        bureau.mark(case, Marking("pass"))
    with pytest.raises(Refused, match="第1项还没有审核意见"):
        bureau.take(case, "decide", bureau.first)
    bureau.mark(case)
    assert Task.objects.get(subject=case.subject).assignee == bureau.first.username
    outcome = reviews.expected(case)
    assert outcome is not None
    assert (outcome.after["hospital"], outcome.after["fund"]) == (300, 600)
    bureau.take(case, "decide", bureau.first)
    assert (case.state, case.cut, case.due) == ("told", 300, dt.date(2021, 7, 8))
    assert standing(case).version == 1
    assert Notification.objects.filter(user=bureau.office, subject=case.subject).exists()
    bureau.take(case, "accept", bureau.office, signed_name="张三")
    row = standing(case)
    assert (case.state, case.posted_version, row.version, row.fund, row.hospital) == (
        "done", 3, 3, 600, 300,
    )  # fmt: skip
    sound()
    assert "张三" not in str(
        [bytes(e.body).decode() for e in Event.objects.filter(subject=case.subject)]
    )
    with pytest.raises(DatabaseError, match="stay"), transaction.atomic():
        case.lines.update(note="别的")


def test_when_the_time_passes_the_decision_is_final(bureau: Bureau) -> None:
    case = bureau.collected()
    bureau.mark(case, Marking("refuse", wording="fictitious"))
    bureau.take(case, "decide", bureau.first)
    assert review_steps.sweep(on=case.due, at=AT) == 0
    late = AT + dt.timedelta(days=8)
    assert review_steps.sweep(on=dt.date(2021, 7, 9), at=late) == 1
    case.refresh_from_db()
    assert (case.state, standing(case).state, standing(case).hospital) == ("done", "reject", 1500)
    sound()


def test_an_objection_is_decided_by_a_third_person(bureau: Bureau) -> None:
    case = bureau.collected()
    bureau.mark(case, Marking("refuse", wording="records"))
    bureau.take(case, "decide", bureau.first)
    bureau.take(case, "object", bureau.office, reason="病历已补传", signed_name="李四")
    assert (case.state, case.round) == ("objected", 1)
    assert Task.objects.get(subject=case.subject, state="open").permission == "reviews.second"
    bureau.mark(case, CUT, who=bureau.third)
    with pytest.raises(Refused, match="不能"):
        bureau.take(case, "rule", bureau.first, answer="维持")
    bureau.take(case, "rule", bureau.third, answer="采纳，仅核减多收部分")
    reply = case.replies.get()
    assert (reply.text, reply.answer, reply.answered_by) == (
        "病历已补传", "采纳，仅核减多收部分", bureau.third.username,
    )  # fmt: skip
    assert (case.state, case.ruled_by, case.cut, standing(case).fund) == (
        "done", bureau.third.username, 300, 600,
    )  # fmt: skip
    sound()


def test_the_last_day_ends_an_objection_and_a_supplement_at_that_moment(bureau: Bureau) -> None:
    """The portal's hourly sweep may come later: the last minute of the day counts, not the next."""
    told, returned = bureau.collected(), bureau.collected("16.00")
    bureau.mark(told)
    bureau.take(told, "decide", bureau.first)
    bureau.take(returned, "return", bureau.first, note="请补传当日病历")
    assert told.due == returned.due == dt.date(2021, 7, 8)
    next_day = dt.datetime(2021, 7, 9, tzinfo=factories.ZONE)
    said = {
        told: ("object", {"reason": "病历已补传", "signed_name": "李四"}),
        returned: ("supply", {"text": "已上传病历"}),
    }
    for case, (step, facts) in said.items():
        with pytest.raises(Refused, match="期限已于2021-07-08届满") as caught:
            bureau.take(case, step, bureau.office, at=next_day, **facts)
        found = caught.value
        assert (found.status, found.code, found.field, found.clause) == (
            409, "TOO_LATE", next(iter(facts)), case.due_clause,
        )  # fmt: skip
        assert found.clause
        bureau.take(case, step, bureau.office, at=next_day - dt.timedelta(minutes=1), **facts)
    assert (told.state, returned.state) == ("objected", "waiting")


def test_the_queue_is_in_the_order_of_day_gravity_and_amount(bureau: Bureau) -> None:
    """URGENT: the nearest last day, then the gravest, then the most money; without a day last."""
    cases = [bureau.collected(f"{fee}.00") for fee in (15, 16, 17, 18, 19)]
    soon, later = dt.date(2021, 7, 5), dt.date(2021, 7, 9)
    wanted = [(soon, 1), (later, 3), (later, 2), (later, 2), (None, 3)]
    order = [cases[place] for place in (4, 0, 3, 1, 2)]  # of two alike the greater stake first
    for case, (due, severity) in zip(order, wanted, strict=True):
        Review.objects.filter(pk=case.pk).update(due=due, severity=severity)
    rows = reviews.seen_by(bureau.first).order_by(*reviews.URGENT)
    assert list(rows) == order
    assert [row.stake for row in rows] == [1900, 1500, 1800, 1600, 1700]


def test_a_line_is_decided_and_another_stays_held(db) -> None:
    """Part of a claim is put off: the rest is settled, what is held comes back as a new review."""
    factories.policies("wenzhou")
    calendar(2021)
    bureau = Bureau.__new__(Bureau)
    bureau.hospital = Hospital("wenzhou", "employee")
    factories.offline_visit(bureau.hospital.patient, bureau.hospital.row)
    bureau.region = bureau.hospital.row.region
    bureau.first = factories.user("reviewer", bureau.region)
    bureau.office = factories.user("hospital", bureau.hospital.row)
    drug = line(2, kind="drug", item="D1", fee="20.00")
    claim = bureau.hospital.settled(line(fee="5.00"), drug, prescriptions=[])
    set_scope(EVERYTHING)
    assert [row["decision"] for row in claim["lines"]] == ["review", "review"]
    collect(since=dt.date(2020, 1, 1), by="system", at=AT)
    case = Review.objects.get(claim_id=claim["id"])
    one, two = case.lines.order_by("line_no")
    for row, marking in ((one, Marking("refuse", wording="records")), (two, Marking("hold"))):
        reviews.mark(line=row, marking=marking, who=bureau.first, by=bureau.first.username, at=AT)
    bureau.take(case, "decide", bureau.first)
    assert case.state == "told"
    bureau.take(case, "accept", bureau.office, signed_name="张三")
    rows = LineResult.objects.filter(claim_id=case.claim_id, version=3).order_by("line_no")
    assert [row.decision for row in rows] == [REJECTED, HELD]
    assert standing(case).held == 2000
    assert (case.state, case.posted_version) == ("done", 3)
    collect(since=dt.date(2020, 1, 1), by="system", at=AT)
    again = Review.objects.get(claim_id=claim["id"], closed_at=None)
    assert [row.line_no for row in again.lines.filter(kind="held")] == [2]
    sound()


def test_a_second_person_over_the_amount_and_three_different_people(bureau, monkeypatch) -> None:
    monkeypatch.setattr(review_steps, "over_limit", lambda case: True)
    monkeypatch.setitem(review_steps.HANDBOOK.guards, "over_limit", lambda case: True)
    monkeypatch.setitem(review_steps.HANDBOOK.guards, "within_limit", lambda case: False)
    case = bureau.collected()
    bureau.mark(case)
    bureau.take(case, "decide", bureau.first)
    assert case.state == "second"
    with pytest.raises(Refused):
        bureau.take(case, "agree", bureau.colleague)  # no permission
    bureau.take(case, "send_back", bureau.second, note="请补充依据")
    assert (case.state, case.decided_by) == ("waiting", "")
    bureau.take(case, "decide", bureau.first)
    bureau.take(case, "agree", bureau.second)
    assert (case.state, case.seconded_by) == ("told", bureau.second.username)
    bureau.take(case, "object", bureau.office, reason="不认可", signed_name="李四")
    with pytest.raises(Refused, match="不能复审"):
        bureau.take(case, "rule", bureau.second, answer="维持")
    with pytest.raises(IntegrityError, match="third_person"), transaction.atomic():
        Review.objects.filter(pk=case.pk).update(ruled_by=bureau.second.username)
    with pytest.raises(IntegrityError, match="second_person"), transaction.atomic():
        Review.objects.filter(pk=case.pk).update(seconded_by=bureau.first.username)
    bureau.take(case, "rule", bureau.third, answer="维持")
    assert standing(case).version == 3
    sound()


def test_the_limit_is_the_regions(bureau: Bureau) -> None:
    case = bureau.collected()
    bureau.mark(case)
    assert reviews.weight_of(case) == 1500
    assert not review_steps.over_limit(case)  # 1,000.00 yuan in the example
    case.pool = "nowhere"
    assert review_steps.over_limit(case)


def test_above_the_limit_a_second_person_decides(bureau: Bureau) -> None:
    """The limit of the region's parameters: at it one person decides, one fen above it two do."""
    shipped = "review_second_amount, value: 100000"
    for since, limit, state in (("2021-01-01", 1500, "told"), ("2021-01-02", 1499, "second")):
        publish(shipped, shipped.replace("100000", str(limit)), since=since)
        case = bureau.collected()
        bureau.mark(case)
        bureau.take(case, "decide", bureau.first)
        assert case.state == state


def test_material_is_asked_for_and_comes(bureau: Bureau) -> None:
    case = bureau.collected()
    with pytest.raises(Refused, match="请填写"):
        bureau.take(case, "return", bureau.first)
    bureau.take(case, "return", bureau.first, note="请补传当日病历")
    assert (case.state, case.due) == ("returned", dt.date(2021, 7, 8))
    bureau.take(case, "supply", bureau.office, text="已上传病历")
    assert (case.state, case.replies.get().kind) == ("waiting", "supplement")
    bureau.take(case, "return", bureau.first, note="还缺处方")
    assert review_steps.sweep(on=dt.date(2021, 7, 12), at=AT + dt.timedelta(days=11)) == 1
    case.refresh_from_db()
    assert case.state == "waiting"


def test_a_paid_line_is_taken_back_by_the_next_statement(bureau: Bureau) -> None:
    claim = bureau.paid()
    found = finding(bureau, claim)
    (case,) = open_from_finding(finding=found, by=bureau.first.username, at=AT)
    assert (case.source, case.severity, case.stake) == ("finding", 3, 600)
    with pytest.raises(Refusal, match="CUT_TOO_LARGE"):
        bureau.mark(case, Marking("cut", 601, "duplicate"))
    with pytest.raises(Refusal, match="LINE_IS_PAID") as refused:
        bureau.mark(case, Marking("refuse", wording="duplicate"))
    assert refused.value.detail[0].endswith(
        "（扣回医保已付）"
    )  # whoever paid, not the pooled fund alone
    bureau.mark(case, Marking("cut", 600, "duplicate"))
    bureau.take(case, "decide", bureau.first)
    bureau.take(case, "accept", bureau.office, signed_name="张三")
    made = Deduction.objects.get()
    assert (made.amount, made.reason, made.statement, case.lines.get().deduction_id) == (
        600, "duplicate", None, made.pk,
    )  # fmt: skip
    assert reviews.recovered(case.lines.all())[made.pk]["state"] == "waiting"
    assert standing(case).version == 1
    with pytest.raises(Refusal, match="DEDUCTION_TOO_LARGE"):
        statement_steps.deduct(
            claim_id=case.claim_id, amount=1, reason="other", note="x", by="y", at=AT
        )
    sound()


def test_recovery_bears_on_the_statement_and_the_month_is_proved(bureau: Bureau) -> None:
    from settlement import closing, statements
    from settlement.models import Statement

    claim, held = bureau.paid(), bureau.held()
    (case,) = open_from_finding(finding=finding(bureau, claim), by=bureau.first.username, at=AT)
    bureau.mark(case, Marking("cut", 250, "duplicate"))
    bureau.take(case, "decide", bureau.first)
    bureau.take(case, "accept", bureau.office, signed_name="张三")
    collect(since=dt.date(2020, 1, 1), by="system", at=AT)
    other = Review.objects.get(claim_id=held["id"])
    bureau.mark(other)
    bureau.take(other, "decide", bureau.first)
    posted = Settlement.objects.filter(claim_id=claim["id"]).get().period
    now = dt.datetime.combine(posted, dt.time(3), dt.UTC) + dt.timedelta(days=20)
    bureau.take(other, "accept", bureau.office, signed_name="张三", at=now)
    after = (posted + dt.timedelta(days=32)).replace(day=1)
    closing.begin_closing(pool="nantong", month=posted, by="finance",
                          at=dt.datetime.combine(after, dt.time(3), dt.UTC))  # fmt: skip
    row = Statement.objects.get()
    assert (row.fund, row.deducted, row.held) == (1200, 250, 0)
    assert reviews.recovered(case.lines.all())[Deduction.objects.get().pk]["state"] == "listed"
    assert statements.paid_of([row]) == {}
    sound()


def finding(bureau: Bureau, claim: dict, state: str = "open") -> Finding:
    row = Settlement.objects.get(claim_id=claim["id"])
    made = Finding.objects.create(
        region_code=row.region_code, institution_code=row.institution_code, rule="DUPLICATE_CHARGE",
        severity=3, clause="四（三）", message="重复收费", moment="audit", subject_kind="claim",
        subject_code=str(row.claim_id), first_day=row.service_date, last_day=row.service_date,
        claims=1, fee=row.fee, fund=row.fund, key=claim["claim_no"].encode(), found_at=AT, state=state,
        **({} if state == "open" else {"decided_at": AT, "decided_by": "x", "reason": "y"}),
    )  # fmt: skip
    FindingClaim.objects.create(finding=made, claim_id=row.claim_id, line_no=1,
                                region_code=row.region_code, institution_code=row.institution_code)  # fmt: skip
    return made


def test_a_refuted_finding_opens_nothing_and_nothing_is_opened_twice(bureau: Bureau) -> None:
    claim = bureau.paid()
    with pytest.raises(Refusal, match="FINDING_CLOSED"):
        open_from_finding(finding=finding(bureau, claim, "refuted"), by="x", at=AT)
    from settlement.models import Claim

    row = Claim.objects.get(pk=claim["id"])
    case = open_by_hand(claim=row, reason="举报", by=bureau.first.username, at=AT)
    with pytest.raises(Refusal, match="REVIEW_OPEN"):
        open_by_hand(claim=row, reason="再次", by=bureau.first.username, at=AT)
    bureau.mark(case, Marking("pass"))
    bureau.take(case, "decide", bureau.first)  # nothing to object to: done at once
    assert (case.state, case.posted_version) == ("done", None)


def test_a_claim_reversed_meanwhile_ends_its_review(bureau: Bureau) -> None:
    claim = bureau.paid()
    from settlement.models import Claim

    case = open_by_hand(claim=Claim.objects.get(pk=claim["id"]), reason="举报", by="x", at=AT)
    assert bureau.hospital.reverse(claim).status_code == 201
    move = bureau.take(case, "decide", bureau.first)
    assert (move.step, case.state) == ("lapse", "lapsed")


def test_a_colleagues_case_is_not_marked(bureau: Bureau) -> None:
    case = bureau.collected()
    bureau.mark(case)
    with pytest.raises(Refusal, match="TASK_TAKEN"):
        bureau.mark(case, who=bureau.colleague)
    with pytest.raises(Refusal, match="NOT_PERMITTED"):
        bureau.mark(case, who=bureau.office)
    other = bureau.collected("16.00")
    bureau.mark(other, Marking("hold"))
    with pytest.raises(Refused, match="全部暂缓"):
        bureau.take(other, "decide", bureau.first)


def test_similar_lines_are_marked_as_previewed(bureau: Bureau) -> None:
    cases = [bureau.collected(fee) for fee in ("15.00", "14.00", "15.00")]
    base = cases[0].lines.get()
    found = reviews.alike(base, CUT, bureau.first)
    assert [amount for amount in found.amounts] == [300, 200, 300]
    assert found.total == 800
    bureau.mark(cases[2], Marking("refuse", wording="records"), who=bureau.colleague)
    args = {
        "line": base,
        "marking": CUT,
        "who": bureau.first,
        "by": bureau.first.username,
        "at": AT,
    }
    with pytest.raises(Refusal, match="ALIKE_CHANGED"):
        reviews.mark_alike(digest=found.digest, **args)
    again = reviews.alike(base, CUT, bureau.first)
    assert reviews.mark_alike(digest=again.digest, **args) == 2
    assert sorted(ReviewLine.objects.values_list("verdict", "amount")) == [
        ("cut", 200), ("cut", 300), ("refuse", 0),
    ]  # fmt: skip


def test_a_sample_is_drawn_again_with_the_same_result(bureau: Bureau) -> None:
    claims = [bureau.paid() for _ in range(4)]
    finding(bureau, claims[3])
    shares = sampling.Shares(2500, {}, {"DUPLICATE_CHARGE": 10_000}, ())
    plan = sampling.make_plan(
        region=bureau.region, name="六月抽审", first_day=dt.date(2021, 6, 1),
        last_day=dt.date(2021, 6, 30), shares=shares, seed="2021-07-01 第一次", by="planner",
        at=factories.timezone.now(),
    )  # fmt: skip
    # 3 without a finding at 25 % → 1; 1 with the rule at 100 %
    assert (plan.population, plan.drawn) == (4, 2)
    assert Review.objects.filter(plan=plan).count() == 2
    assert Review.objects.filter(plan=plan, claim_id=claims[3]["id"]).exists()
    assert sampling.redrawn(plan)
    members = [sampling.Member(n, f"H/{n}", "H", n, 1, ()) for n in range(200)]
    drawn = sampling.draw(members, sampling.Shares(1000, {}, {}, ((100, 5000),)), "a")
    assert [s["drawn"] for s in drawn.strata] == [11, 50]
    assert sampling.draw(members[::-1], sampling.Shares(1000, {}, {}, ((100, 5000),)), "a") == drawn
    assert (
        sampling.draw(members, sampling.Shares(1000, {}, {}, ()), "b").drawn_sm3 != drawn.drawn_sm3
    )
    with pytest.raises(DatabaseError, match="permission denied"), transaction.atomic():
        type(plan).objects.filter(pk=plan.pk).update(seed="z")
    with pytest.raises(Refusal, match="NOTHING_DRAWN"):
        sampling.make_plan(region=bureau.region, name="x", first_day=dt.date(2020, 1, 1),
                           last_day=dt.date(2020, 1, 2), shares=shares, seed="x", by="x", at=AT)  # fmt: skip


def test_the_database_refuses_odd_reviews(bureau: Bureau) -> None:
    case = bureau.collected()
    row = case.lines.get()
    for name, change in (
        ("review_line_cut_has_amount", {"amount": 5}),
        ("review_line_cut_within", {"verdict": "cut", "amount": 1500, "marked_by": "x", "marked_at": AT,
                                    "note": "n", "clause": "c", "category": "other"}),
        ("review_line_adverse_has_reason", {"verdict": "refuse", "marked_by": "x", "marked_at": AT}),
        ("review_line_marked_whole", {"verdict": "pass"}),
    ):  # fmt: skip
        with pytest.raises(IntegrityError, match=name), transaction.atomic():
            ReviewLine.objects.filter(pk=row.pk).update(**change)
    with pytest.raises(IntegrityError, match="keeps"), transaction.atomic():
        Review.objects.filter(pk=case.pk).update(stake=1)
    with pytest.raises(IntegrityError, match="keeps"), transaction.atomic():
        ReviewLine.objects.filter(pk=row.pk).update(fee=1)
    with pytest.raises(DatabaseError, match="permission denied"), transaction.atomic():
        row.delete()


def test_reviews_are_seen_inside_ones_scope_only(bureau: Bureau) -> None:
    case = bureau.collected()
    stranger = factories.institution("nantong")
    other = factories.user("hospital", stranger)
    assert not reviews.seen_by(other).exists()
    assert not reviews.seen_by(bureau.office).exists()  # nobody has told it yet
    bureau.mark(case)
    bureau.take(case, "decide", bureau.first)
    assert reviews.seen_by(bureau.office).get() == case
    assert reviews.seen_by(bureau.second).get() == case
    for table in ("review", "reviewline"):
        with transaction.atomic(), connection.cursor() as cursor:
            set_scope(other.scope_codes())
            cursor.execute(COUNT[table])
            assert cursor.fetchone()[0] == 0
    set_scope(EVERYTHING)


def test_results_of_the_decided_line_name_the_review(bureau: Bureau) -> None:
    case = bureau.collected()
    bureau.mark(case)
    bureau.take(case, "decide", bureau.first)
    bureau.take(case, "accept", bureau.office, signed_name="张三")
    assert case.number in standing(case).reason
    assert LineResult.objects.filter(claim_id=case.claim_id, version=3).get().fee == 1200
