"""Ningxia's batches: cases through the real models, places, plans, progress, the board and its files."""

import datetime as dt
import io
import json
from contextlib import closing

import pypdfium2
import pytest
import python_calamine
from django.db import transaction

from agreements import checks, commands, contracts, plans, waves
from agreements.board import Board, narrow, promoted_by
from agreements.gantt import Line, Span, gantt
from agreements.handbook import HANDBOOK
from agreements.models import Agreement, Application, WavePlace
from agreements.onboarding import SUBJECTS
from audit.models import Event, Move
from audit.procedure import Handbook, Refused, Step, Turn, advance
from config.roles import ROLES
from institutions import commands as registry
from institutions.documents import store
from institutions.holidays import load_calendar
from institutions.models import (
    Institution,
    Office,
    PlatformConnection,
    Qualification,
    Region,
    User,
)
from institutions.refusals import Refusal
from tests.agreements import ningxia
from tests.agreements.cast import KEYS_FROM, KEYS_UNTIL, moment
from tests.agreements.law import cases_of
from tests.agreements.ningxia import FLOW, LAW, NAMES, OPENED, TABLE, TODAY
from tests.factories import log_in

Day = dt.date
CASES = {
    subject: [case for case in cases_of(SUBJECTS) if case["subject"] == subject]
    for subject in SUBJECTS
}
AT = moment(TODAY)


def each(cases):
    """Every case in a transaction of its own that leaves nothing behind."""
    assert cases
    for case in cases:
        with transaction.atomic():
            yield case
            transaction.set_rollback(True)


@pytest.fixture
def people(db, settings) -> dict[str, User]:
    settings.DEMO_TODAY = TODAY
    return ningxia.country()


def made(people, on=OPENED) -> plans.Made:
    return plans.make_places(who=people["policy.province"], on=on, by="region", at=moment(on))


def turn(found, *, on=TODAY, reason="") -> Turn:
    step = Step(key="open", label="申请", source=("",), target="joining", permission="")
    case = Application(institution=found, procedure="ningxia", region_code=found.region_id)
    return Turn(case=case, procedure=TABLE, step=step, by="x", at=moment(on), on=on,
                facts={"override_reason": reason})  # fmt: skip


# --- Cases through the real models ---


def test_cases_wave_plan(people):
    for case in each(CASES["wave_plan"]):
        check_wave_plan(case, people)


def check_wave_plan(case, people):
    ningxia.everyone()
    answer = made(people)
    counts, deadlines = [], []
    for batch in Board(people["policy.province"], today=TODAY).batches():
        assert {entry.place.deadline for entry in batch.entries} == {batch.deadline}
        counts.append(len(batch.entries))
        deadlines.append(batch.deadline.isoformat())
    assert (sum(counts), answer) == (case["expected"]["total"], plans.Made(38, 0, ()))
    assert deadlines == case["expected"]["deadlines"]
    assert counts == case["input"].get("counts", counts)


def test_cases_wave(people):
    for case in each(CASES["wave"]):
        check_wave(case, people)


def check_wave(case, people):
    given, expected = case["input"], case["expected"]
    name = given.get("hospital") or NAMES[-15]  # of the third batch
    found = ningxia.hospital(name)
    made(people)
    live = given.get("go_live")
    if live:
        ningxia.live(found, Day.fromisoformat(live))
    today = max(Day(2021, 12, 1), Day.fromisoformat(live or "2021-12-01"))
    (entry,) = Board(people["policy.province"], today=today).entries
    answer = {
        "deadline": entry.place.deadline.isoformat(), "days_late": entry.days_late,
        "on_time": bool(entry.live_on) and not entry.days_late,
    }  # fmt: skip
    assert {key: answer[key] for key in expected} == expected
    assert entry.place.batch == given.get("batch", entry.place.batch)


EMPTY = Handbook(
    guards=dict.fromkeys(HANDBOOK.guards, lambda case: True),
    checks=dict.fromkeys(HANDBOOK.checks, lambda turn: None),
    effects=dict.fromkeys(HANDBOOK.effects, lambda turn: None),
)
ASKED = [
    case for case in CASES["prerequisites"]
    if case["input"].get("step") and case["input"]["step"] not in case["input"]["done"]
    # whether the optional steps apply is what applying for them decides
    and case["input"].get("applies_major_disease") is not False
]  # fmt: skip


def person_for(permission: str, level: str) -> User:
    role = next(key for key, role in ROLES.items() if permission in role.permissions)
    return User(username=f"{role}.{level}", role=role, is_active=True)


def can(case: Application, number: int, level: str) -> bool:
    """Whether the engine lets some move be taken that completes a step."""
    for move in TABLE.steps:
        if TABLE.data["onboarding"].get(move.key) != number:
            continue
        try:
            with transaction.atomic():
                advance(
                    case=case, procedure=TABLE, handbook=EMPTY, step=move.key, by="x", note="x",
                    who=person_for(move.permission, level), level=level, at=AT, on=TODAY,
                )  # fmt: skip
                transaction.set_rollback(True)
        except Refused:
            continue
        return True
    return False


def test_cases_prerequisites(people):
    for case in each(ASKED):
        check_prerequisites(case)


def check_prerequisites(case):
    given, expected = case["input"], case["expected"]
    done = frozenset(given["done"])
    states = [state for state, numbers in waves.done_in(TABLE).items() if numbers == done]
    assert states
    found = ningxia.hospital("银川市第一人民医院")
    acting = given.get("actor_level", "county" if given["step"] not in (6,) else "prefecture_city")
    level = waves.LEVELS[acting]
    answers = set()
    for state in set(states) - {"withdrawn"}:
        application = ningxia.standing(found, state)
        answers.add(can(application, given["step"], level))
        Application.objects.filter(pk=application.pk).update(closed_at=AT)
    # a signature takes both sides: one of the states of signing goes on
    assert (True in answers) is expected["allowed"]
    progress = waves.Progress(None, dict.fromkeys(done, TODAY))
    if "missing" in expected:
        applies = given.get("applies_major_disease", given["step"] > 6)
        assert FLOW.missing(
            given["step"], done=set(progress.days), applies_major_disease=applies
        ) == expected["missing"]  # fmt: skip


def test_cases_docking(people):
    for case in each(CASES["docking"]):
        check_docking(case, people)


def check_docking(case, people):
    found = ningxia.hospital("银川市第一人民医院")
    ningxia.joined(found, *(key for key, held in case["input"].items() if held is True))
    if case["expected"]["allowed"]:
        waves.docking_platforms_joined(turn(found))
        return
    with pytest.raises(Refused) as refused:
        waves.docking_platforms_joined(turn(found))
    names = [row["name"] for row in LAW["platforms"] if row["key"] in case["expected"]["missing"]]
    assert refused.value.detail == f"尚未接入：{'、'.join(names)}"
    assert (refused.value.status, refused.value.clause) == (422, "宁医保发〔2021〕152号 二")


def test_a_connection_of_another_day_does_not_count(people):
    found = ningxia.hospital("银川市第一人民医院")
    ningxia.joined(found, "supervision_platform", "prescription_review_platform",
                   "online_offline_synced")  # fmt: skip
    found.platforms.update(valid_until=Day(2021, 12, 19))
    with pytest.raises(Refused, match="审方平台"):
        waves.docking_platforms_joined(turn(found))
    waves.docking_platforms_joined(turn(found, on=Day(2021, 12, 19)))


def test_cases_promotion(people):
    for case in each(CASES["promotion"]):
        check_promotion(case, people)


def check_promotion(case, people):
    law = waves.read_waves(Region.objects.get(pk="640000"), TODAY)
    levels, planners = [], []
    for name in case["input"]["hospitals"]:
        found = ningxia.hospital(name)
        made(people)
        row = WavePlace.objects.get(institution=found)
        levels.append(
            "region"
            if promoted_by(row, law)[0] == "自治区医保局、自治区卫生健康委"
            else "territory"
        )
        planners.append(plans.planners(row, LAW, law))
    expected = case["expected"]["promoted_by"]
    assert levels == (expected if isinstance(expected, list) else [expected] * len(levels))
    words = {"region": ("province",), "territory": ("county", "prefecture")}
    assert planners == [words[level] for level in levels]


def test_cases_admission(people):
    for case in each(CASES["admission"]):
        check_admission(case, people)


def check_admission(case, people):
    given = case["input"]
    if given.get("listed_all_done"):
        listed = ningxia.everyone()
        made(people)
        for one in listed:
            ningxia.live(one, Day(2021, 12, 15))
    found = ningxia.hospital(given["hospital"])
    ningxia.joined(found, "integrated_platform")
    if case["expected"]["allowed"]:
        waves.admitted(turn(found))
        return
    with pytest.raises(Refused) as refused:
        waves.admitted(turn(found))
    assert (refused.value.status, refused.value.field) == (409, "override_reason")
    assert refused.value.clause == "宁医保发〔2021〕152号 四第2款"
    waves.admitted(turn(found, reason="自治区试点"))


def test_the_39th_waits_for_the_last_of_the_38(people):
    listed = ningxia.everyone()
    made(people)
    for one in listed[:-1]:
        ningxia.live(one, Day(2021, 12, 15))
    other = ningxia.hospital("某县中医医院")
    ningxia.joined(other, "integrated_platform")
    with pytest.raises(Refused, match="尚未全部完成"):
        waves.admitted(turn(other))
    half = ningxia.live(listed[-1], Day(2021, 12, 16))
    Application.objects.filter(pk=half.pk).update(state="agreed")  # signed, not yet live
    with pytest.raises(Refused, match="尚未全部完成"):
        waves.admitted(turn(other))
    Application.objects.filter(pk=half.pk).update(state="open")
    waves.admitted(turn(other))


@pytest.mark.parametrize("reason", ["", "自治区试点"])
def test_whoever_is_not_listed_must_meet_the_condition_of_the_list(people, reason):
    """The integrated platform first, whatever the reason; joined is not yet checked. (二)"""
    other, listed = ningxia.hospital("某县中医医院"), ningxia.hospital("银川市第一人民医院")
    waves.admitted(turn(listed))

    def refusal():
        with pytest.raises(Refused) as refused:
            waves.admitted(turn(other, reason=reason))
        return refused.value

    found = refusal()
    assert (found.status, found.code, found.field) == (422, "PLATFORM_MISSING", "platforms")
    assert found.clause == "宁医保发〔2021〕152号 二"
    assert found.detail == "尚未接入：“互联网+医疗健康”一体化平台"
    ningxia.joined(other, "integrated_platform", checked=False)
    assert refusal().detail == "已登记但未核验：“互联网+医疗健康”一体化平台"
    PlatformConnection.objects.update(checked_at=AT, checked_by="checker")
    if reason:
        waves.admitted(turn(other, reason=reason))
    else:
        assert refusal().code == "NOT_ADMITTED"


def test_step_one_rests_on_what_another_person_checked(people):
    """Neither platforms nor the qualification are the hospital's own word. (二、附件2 一)"""
    found = ningxia.hospital("银川市第一人民医院")
    mine = {"by": "hospital", "at": moment(OPENED)}
    proof = store(
        content=b"%PDF-1.7 proof", name="proof.pdf", kind="scan", institution=found, **mine
    )
    ningxia.joined(found, "prescription_review_platform")
    rows = [
        registry.connect_platform(
            institution=found, platform=key, valid_from=OPENED, document=proof, **mine
        )
        for key in ("supervision_platform", "online_offline_synced")
    ]
    rows.append(registry.add_qualification(
        institution=found, kind="internet_hospital", number="PDY1", valid_from=Day(2020, 1, 1),
        document=proof, **mine,
    ))  # fmt: skip
    asked = turn(found)
    with pytest.raises(Refused) as refused:
        waves.docking_platforms_joined(asked)
    assert refused.value.detail == "已登记但未核验：自治区互联网医院监管平台、业务数据线上线下协同"
    with pytest.raises(Refused, match="互联网医院执业登记（PDY1）已登记但未核验") as refused:
        checks.qualification_held(asked)
    assert (refused.value.status, refused.value.code) == (422, "QUALIFICATION_UNCHECKED")
    for row in rows:
        with pytest.raises(Refusal, match="SAME_PERSON"):
            registry.check_record(record=row, **mine)
        registry.check_record(record=row, by="reviewer", at=moment(OPENED))
    waves.docking_platforms_joined(asked)
    checks.qualification_held(asked)


def test_the_board_marks_who_lacks_the_condition_of_the_list(people, client):
    rows = [ningxia.hospital(name) for name in NAMES[:3]]
    ningxia.joined(rows[0], "integrated_platform")
    ningxia.joined(rows[1], "integrated_platform", checked=False)
    made(people)
    words = ("未核验“互联网+医疗健康”一体化平台", "未接入“互联网+医疗健康”一体化平台")
    entries = Board(people["policy.province"], today=TODAY).entries
    assert [entry.lacking for entry in entries] == [(), words[:1], words[1:]]
    log_in(client, people["policy.province"])
    page = client.get("/waves/").content.decode()
    assert [page.count(text) for text in words] == [1, 1]
    page = client.get(f"/waves/{entries[1].place.pk}/").content.decode()
    assert words[0] in page
    assert "未核验</span>" in page


# --- Places ---


def test_places_are_made_by_name_and_alias_and_again_after_a_change(people):
    by_alias = ningxia.hospital("宁夏医科大学总院")
    registered = ningxia.hospital("某医院")
    registered.aliases = ["自治区第三人民医院"]
    registered.save()
    answer = made(people)
    assert (answer.made, answer.changed, len(answer.missing)) == (2, 0, 36)
    rows = {row.institution_id: row for row in WavePlace.objects.all()}
    assert rows[by_alias.pk].listed_name == "宁夏医科大学总医院"
    assert (rows[registered.pk].batch, rows[registered.pk].deadline) == (2, Day(2022, 6, 30))
    assert Board(people["policy.province"], today=TODAY).missing() == list(answer.missing)
    assert Board(people["policy.county"], today=TODAY).missing() == []

    WavePlace.objects.filter(pk=rows[by_alias.pk].pk).update(deadline=Day(2021, 10, 1))
    case = ningxia.standing(by_alias, "joining")
    Move.objects.create(
        subject=case.subject, procedure="ningxia", step="open", label="x", target="joining",
        on=case.entered_on, at=AT, by="x",
    )  # fmt: skip
    assert made(people) == plans.Made(0, 1, answer.missing)
    case.refresh_from_db()
    assert case.due == Day(2021, 12, 31)
    Institution.objects.filter(pk=registered.pk).update(name="某医院", aliases=[])
    assert made(people).changed == 1
    assert WavePlace.objects.get(institution=registered).batch is None


@pytest.mark.parametrize("who", ["policy.prefecture", "policy.county", "auditor.province"])
def test_only_the_region_makes_places(people, who):
    with pytest.raises(Refusal) as refused:
        plans.make_places(who=people[who], on=TODAY, by="x", at=AT)
    assert refused.value.status == 403


# --- Plans ---


def planned(people, name="银川市第一人民医院") -> WavePlace:
    found = ningxia.hospital(name)
    made(people)
    return WavePlace.objects.select_related("institution__region").get(institution=found)


def test_a_plan_is_counted_back_with_example_lengths(people):
    row = planned(people)
    assert row.plan_example
    assert row.plan == {
        slot.step.key: {
            "start": slot.latest_start.isoformat(), "end": slot.latest_end.isoformat()
        }
        for slot in FLOW.schedule(
            deadline=Day(2021, 12, 31), calendar=load_calendar("640100"),
            working_days=plans.lengths_of(row.institution.region, TODAY).days,
        )
    }  # fmt: skip
    assert row.plan["mobile_payment"] == {"start": "2021-12-29", "end": "2021-12-31"}
    assert "major_disease_application" not in row.plan


def test_the_plan_of_a_missing_calendar_year_stays_empty(db, settings):
    settings.DEMO_TODAY = TODAY
    people = ningxia.country(2021)
    row = planned(people, "贺兰县人民医院")
    assert row.plan == {}
    with pytest.raises(Refusal) as refused:
        plans.draw_plan(place=row, major=False, who=people["policy.county"], on=TODAY,
                        version=row.plan_version, by="x", at=AT)  # fmt: skip
    assert refused.value.detail[0] == "缺少2023年工作日历，不能倒排工期"


def spans(row: WavePlace, **changes) -> dict:
    found = {
        key: (Day.fromisoformat(span["start"]), Day.fromisoformat(span["end"]))
        for key, span in row.plan.items()
    }
    return found | changes


def change(row, people, who="policy.prefecture", reason="", version=None, **changes):
    return plans.change_plan(
        place=row, spans=spans(row, **changes), reason=reason, who=people[who], on=TODAY,
        version=row.plan_version if version is None else version, by=who, at=AT,
    )  # fmt: skip


def faults(refused) -> dict[str, str]:
    return {fault.pointer: fault.detail[0] for fault in refused.value.faults}


def test_a_plan_by_hand_keeps_order_and_deadline(people):
    row = planned(people)
    with pytest.raises(Refusal) as refused:
        change(
            row, people, acceptance_test=(Day(2021, 12, 1), Day(2021, 11, 30)),
            mobile_payment=(Day(2022, 1, 4), Day(2022, 1, 5)),
        )  # fmt: skip
    assert faults(refused) == {
        "/acceptance_test.end": "完成日不能早于开始日",
        "/acceptance_test.start": "不能早于“信息系统对接准备”的计划完成日（2021-12-16）",
        "/reason": "计划完成日2022-01-05晚于批次时限2021-12-31，请写明理由",
    }
    kept = change(
        row, people, reason="设备到货延期", mobile_payment=(Day(2022, 1, 4), Day(2022, 1, 5))
    )
    assert (kept.plan_example, kept.plan_reason, kept.planned_by) == (
        False, "设备到货延期", "policy.prefecture"
    )  # fmt: skip
    assert Event.objects.filter(action="waveplace.plan", subject=f"waveplace:{row.pk}").count() == 1
    with pytest.raises(Refusal) as refused:
        change(kept, people, version=row.plan_version)
    assert (refused.value.status, refused.value.code) == (409, "PLAN_MOVED")
    drawn = plans.draw_plan(
        place=kept, major=True, who=people["policy.prefecture"], on=TODAY,
        version=kept.plan_version, by="x", at=AT,
    )  # fmt: skip
    assert (len(drawn.plan), drawn.plan_reason, drawn.plan_example) == (8, "", True)
    with pytest.raises(Refusal) as refused:
        plans.change_plan(
            place=drawn, reason="", who=people["policy.prefecture"], on=TODAY, by="x", at=AT,
            spans={key: span for key, span in spans(drawn).items() if key != "application"},
            version=drawn.plan_version,
        )  # fmt: skip
    assert "/application.end" in faults(refused)


@pytest.mark.parametrize(
    ("name", "may"),
    [
        ("银川市第一人民医院", {"policy.prefecture"}),
        ("贺兰县人民医院", {"policy.prefecture", "policy.county"}),
        ("自治区人民医院", {"policy.province"}),
    ],
)
def test_who_plans_for_whom(people, name, may):
    row = planned(people, name)
    law = waves.read_waves(row.institution.region, TODAY)
    assert {who for who in people if plans.may_plan(row, people[who], LAW, law)} == may
    for who in sorted(set(people) - may):
        with pytest.raises(Refusal) as refused:
            change(row, people, who=who)
        assert (refused.value.status, refused.value.code) == (403, "NOT_PLANNER")
    for who in sorted(may):
        row = change(row, people, who=who)


# --- Progress ---


def test_what_is_done_in_a_state_holds_whichever_way_a_case_came():
    done = {state: set(numbers) for state, numbers in waves.done_in(TABLE).items()}
    assert done == {
        "joining": set(), "qualified": {1}, "applied": {1, 2}, "prepared": {1, 3},
        "ready": {1, 2, 3}, "signing": {1, 2, 3, 4}, "countersigning": {1, 2, 3, 4},
        "agreed": {1, 2, 3, 4, 5}, "open": {1, 2, 3, 4, 5, 6},
        "major_applied": {1, 2, 3, 4, 5, 6, 7}, "major_open": {1, 2, 3, 4, 5, 6, 7, 8},
        "withdrawn": set(),
    }  # fmt: skip


class Walk:
    """A real hospital going through the real commands."""

    def __init__(self, people, name="银川市第一人民医院") -> None:
        self.people = dict(people)
        self.found = ningxia.hospital(name)
        self.people["hospital"] = ningxia.person("hospital", self.found)
        ningxia.joined(self.found, "supervision_platform", "prescription_review_platform",
                       "online_offline_synced")  # fmt: skip
        Qualification.objects.create(
            institution=self.found, kind="internet_hospital", number="Q", recorded_by="test",
            valid_from=Day(2020, 1, 1), recorded_at=KEYS_FROM, checked_at=KEYS_FROM,
            checked_by="checker",
        )  # fmt: skip
        who = self.people["hospital"]
        self.case = commands.apply(
            institution=self.found, procedure="ningxia", who=who, by=who.username,
            at=moment(Day(2021, 11, 22)),
        )  # fmt: skip
        for row in self.case.requirements.all():
            commands.state_requirement(
                application=self.case, part="materials", no=row.no, statement="已接入", who=who,
                by=who.username, at=moment(Day(2021, 11, 22)),
            )  # fmt: skip

    def go(self, step: str, who: str, on: dt.date) -> None:
        person = self.people[who]
        commands.take_step(
            application=self.case, step=step, who=person, by=person.username, at=moment(on), on=on,
            note="说明",
        )  # fmt: skip

    def judge(self, on: dt.date) -> None:
        person = self.people["information.prefecture"]
        for row in self.case.requirements.all():
            commands.judge_requirement(
                application=self.case, part="materials", no=row.no, met=True, who=person,
                by=person.username, at=moment(on),
            )  # fmt: skip

    def days(self) -> dict[int, dt.date]:
        return dict(waves.progress_of([self.found.pk])[self.found.pk].days)


ORDERS = {
    "application first": (("apply", Day(2021, 11, 24)), ("prepare_last", Day(2021, 12, 2))),
    "preparation first": (("prepare", Day(2021, 11, 24)), ("apply_last", Day(2021, 12, 2))),
}


@pytest.mark.parametrize("order", ORDERS)
def test_application_and_preparation_go_in_both_orders(people, order):
    walk = Walk(people)
    made(people)
    assert walk.case.due == Day(2021, 12, 31)
    walk.go("qualify", "hospital", Day(2021, 11, 23))
    for step, on in ORDERS[order]:
        walk.go(step, "hospital", on)
    numbers = [TABLE.data["onboarding"][step] for step, _ in ORDERS[order]]
    expected = {1: Day(2021, 11, 23)} | dict(
        zip(numbers, [on for _, on in ORDERS[order]], strict=True)
    )
    assert (walk.case.state, walk.days()) == ("ready", expected)
    # a failed test undoes the preparation, not the application
    walk.go("fail_test", "information.prefecture", Day(2021, 12, 3))
    assert set(walk.days()) == {1, 2}
    walk.go("prepare_last", "hospital", Day(2021, 12, 6))
    assert walk.days()[3] == Day(2021, 12, 6)


def test_a_hospital_goes_all_the_way_and_the_county_cannot_open_payment(people):
    walk = Walk(people, "贺兰县人民医院")
    Office.objects.create(region_id="640122", kind="agency", name="贺兰县医疗保险事务所")
    contracts.make_signing_keys(
        valid_from=KEYS_FROM, valid_until=KEYS_UNTIL, by="keys", at=KEYS_FROM
    )
    made(people)
    walk.go("qualify", "hospital", Day(2021, 11, 23))
    walk.go("prepare", "hospital", Day(2021, 11, 24))
    walk.go("apply_last", "hospital", Day(2021, 11, 25))
    walk.judge(Day(2021, 11, 26))
    walk.go("pass_test", "information.prefecture", Day(2021, 11, 26))
    walk.go("sign_institution", "hospital", Day(2021, 11, 29))
    walk.go("sign_agency", "signing_officer.county", Day(2021, 11, 30))
    for who in ("policy.county", "policy.province"):
        with pytest.raises(Refused) as refused:
            walk.go("open_payment", who, Day(2021, 12, 1))
        assert (refused.value.status, refused.value.code) == (403, "LEVEL_NOT_PERMITTED")
        assert refused.value.clause == "附件2 六"
    walk.go("open_payment", "policy.prefecture", Day(2021, 12, 2))
    progress = waves.progress_of([walk.found.pk])[walk.found.pk]
    assert progress.live_on(FLOW) == Day(2021, 12, 2)
    walk.go("apply_major", "hospital", Day(2021, 12, 3))
    walk.go("refuse_major", "policy.county", Day(2021, 12, 6))
    assert set(walk.days()) == {1, 2, 3, 4, 5, 6}
    walk.go("apply_major", "hospital", Day(2021, 12, 7))
    walk.go("open_major", "policy.county", Day(2021, 12, 8))
    assert walk.days()[8] == Day(2021, 12, 8)
    assert Agreement.objects.filter(institution=walk.found).count() == 1
    (entry,) = Board(people["policy.county"], today=TODAY).entries
    assert [mark.state for mark in entry.marks] == ["done"] * 8
    assert entry.state == "done"


def test_days_late_of_steps_and_of_the_batch(people):
    row = planned(people)
    case = ningxia.standing(row.institution, "qualified")
    Move.objects.create(
        subject=case.subject, procedure="ningxia", step="qualify", label="x", target="qualified",
        on=Day(2021, 11, 29), at=AT, by="x",
    )  # fmt: skip
    (entry,) = Board(people["policy.prefecture"], today=TODAY).entries
    ends = {key: Day.fromisoformat(span["end"]) for key, span in row.plan.items()}
    assert [(mark.state, mark.days_late) for mark in entry.marks] == [
        ("done", (Day(2021, 11, 29) - ends["qualification"]).days),
        ("late", (TODAY - ends["application"]).days),
        ("late", (TODAY - ends["preparation"]).days),
        ("waiting", 0), ("waiting", 0), ("waiting", 0), ("none", 0), ("none", 0),
    ]  # fmt: skip
    assert (entry.lateness, entry.days_late) == ("plan", 0)
    (entry,) = Board(people["policy.prefecture"], today=Day(2022, 1, 3)).entries
    assert (entry.lateness, entry.days_late) == ("deadline", 3)
    found = narrow([entry], batch="1", state="running", lateness="deadline", region="6401")
    assert found == [entry]
    assert narrow([entry], state="done") == narrow([entry], words="中卫") == []


# --- The picture ---


def test_the_picture_stands_in_months_and_marks_deadline_and_today():
    line = Line(
        label="甲医院", planned=[Span(Day(2021, 12, 1), Day(2021, 12, 31), "计划")],
        done=[Span(Day(2021, 12, 6), Day(2021, 12, 20), "办理中", "b")], deadline=Day(2021, 12, 31),
    )  # fmt: skip
    picture = gantt(title="图", lines=[line], today=TODAY)
    (row,) = picture["rows"]
    assert [(bar["x"], bar["width"]) for bar in row["bars"]] == [
        ("0%", "100%"),
        ("16.13%", "48.39%"),
    ]
    assert (row["deadline"], picture["today"], row["words"]) == ("100%", "61.29%", "计划；办理中")
    assert [month["label"] for month in picture["months"]] == ["2021-12"]
    assert gantt(title="图", lines=[Line(label="乙")], today=TODAY)["rows"] == []


def test_months_over_two_years_are_thinned_out():
    line = Line(label="甲", planned=[Span(Day(2021, 11, 1), Day(2023, 6, 30), "计划")])
    months = gantt(title="图", lines=[line], today=Day(2026, 1, 1))["months"]
    shown = [month["label"] for month in months if month["label"]]
    assert (len(months), shown[0], shown[-1]) == (20, "2021-11", "2023-05")
    assert len(shown) == 10


# --- Pages and files ---


@pytest.fixture
def whole(people):
    """All 38 with one live and one on its way."""
    rows = {row.name: row for row in ningxia.everyone()}
    made(people)
    ningxia.live(rows["银川市第一人民医院"], Day(2021, 12, 10))
    return rows


def test_the_region_sees_all_the_county_its_own(
    whole, people, client, django_assert_max_num_queries
):
    log_in(client, people["policy.province"])
    with django_assert_max_num_queries(30):
        page = client.get("/waves/").content.decode()
    assert all(name in page for name in NAMES)
    assert "名单内未登记" not in page
    assert "style=" not in page
    log_in(client, people["policy.county"])
    page = client.get("/waves/").content.decode()
    assert [name for name in NAMES if name in page] == ["贺兰县人民医院"]
    assert "名单共 13 家" in page
    place_of = WavePlace.objects.get(institution=whole["银川市第一人民医院"])
    assert client.get(f"/waves/{place_of.pk}/").status_code == 404
    log_in(client, people["policy.prefecture"])
    assert client.get(f"/waves/{place_of.pk}/").status_code == 200
    assert [name for name in NAMES if name in client.get("/waves/?batch=1&state=done").content.decode()] == [
        "银川市第一人民医院"
    ]  # fmt: skip


def test_a_hospital_sees_its_own_plan_only(whole, client):
    mine, other = whole["银川市第一人民医院"], whole["贺兰县人民医院"]
    log_in(client, ningxia.person("hospital", mine))
    page = client.get("/waves/").content.decode()
    assert [name for name in NAMES if name in page] == [mine.name]
    data = json.loads(client.get("/waves/export/json/").content)
    assert [row["name"] for batch in data["batches"] for row in batch["hospitals"]] == [mine.name]
    place = WavePlace.objects.get(institution=mine)
    page = client.get(f"/waves/{place.pk}/").content.decode()
    assert "倒排工期使用示例参数" in page
    assert "编制工作计划" not in page
    assert client.post(f"/waves/{place.pk}/plan/", {}).status_code == 403
    foreign = WavePlace.objects.get(institution=other)
    assert client.get(f"/waves/{foreign.pk}/").status_code == 404


def test_files_of_the_board(whole, people, client):
    log_in(client, people["policy.province"])
    answer = client.get("/waves/export/xlsx/")
    book = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(answer.content))
    rows = book.get_sheet_by_index(0).to_python()
    assert (len(rows), rows[1][1], rows[1][6]) == (39, NAMES[0], "2021-12-31")
    data = json.loads(client.get("/waves/export/json/?batch=1").content)
    assert [batch["done"] for batch in data["batches"]] == [1]
    text = client.get("/waves/export/csv/?q=贺兰").content.decode("utf-8-sig")
    assert len(text.splitlines()) == 2
    paper = client.get("/waves/export/pdf/").content
    with closing(pypdfium2.PdfDocument(paper)) as opened:
        words = "".join(page.get_textpage().get_text_bounded() for page in opened)
        width, height = opened[0].get_size()
    assert "隆德县人民医院" in "".join(words.split())
    assert width > height
    assert client.get("/waves/export/exe/").status_code == 404
    assert Event.objects.filter(action="waves.export").count() == 4


def test_the_plan_page_keeps_what_was_typed_and_tells_each_fault(whole, people, client):
    row = WavePlace.objects.get(institution=whole["银川市第一人民医院"])
    data = {"version": row.plan_version, "reason": ""}
    for key, span in row.plan.items():
        data |= {f"{key}.start": span["start"], f"{key}.end": span["end"]}
    bad = data | {"mobile_payment.end": "2022-02-01", "acceptance_test.start": "2021-01-01"}
    log_in(client, people["policy.prefecture"])
    answer = client.post(f"/waves/{row.pk}/plan/", bad)
    page = answer.content.decode()
    assert answer.status_code == 422
    assert "晚于批次时限2021-12-31，请写明理由（附件1）" in page
    assert 'value="2022-02-01"' in page
    assert "的计划完成日（2021-12-16）" in page
    assert client.post(f"/waves/{row.pk}/plan/", data).status_code == 302
    assert client.post(f"/waves/{row.pk}/plan/", data).status_code == 409
    fresh = WavePlace.objects.get(pk=row.pk)
    answer = client.post(f"/waves/{row.pk}/draw/", {"version": fresh.plan_version, "major": "on"})
    assert answer.status_code == 302
    assert len(WavePlace.objects.get(pk=row.pk).plan) == 8
    log_in(client, people["auditor.prefecture"])
    assert client.post(f"/waves/{row.pk}/plan/", data).status_code == 403


def test_the_region_makes_the_list_from_the_page(people, client):
    ningxia.hospital("银川市第一人民医院")
    log_in(client, people["policy.province"])
    assert "还没有建立分批名单" in client.get("/waves/").content.decode()
    page = client.post("/waves/make/", follow=True).content.decode()
    assert "新建 1 家" in page
    assert "名单内未登记" in page
    log_in(client, people["policy.prefecture"])
    client.post("/waves/make/", follow=True)
    assert WavePlace.objects.count() == 1


def test_a_region_without_batches_says_so(people, client):
    wenzhou = Region.objects.create(
        code="330300", name="温州市", level="prefecture", policy_region="wenzhou"
    )
    log_in(client, ningxia.person("policy_staff", wenzhou))
    assert "本地区没有分批推进的名单" in client.get("/waves/").content.decode()
    assert client.get("/waves/export/pdf/").status_code == 404
