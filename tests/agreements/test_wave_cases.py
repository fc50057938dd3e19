"""Ningxia: the case files through the real models, and who is admitted to docking."""

import pytest
from django.db import transaction

from agreements import checks, plans, waves
from agreements.board import Board, promoted_by
from agreements.handbook import HANDBOOK
from agreements.models import Application, WavePlace
from agreements.onboarding import SUBJECTS
from audit.moves import advance
from audit.procedure import Handbook, Refused
from config.roles import ROLES
from institutions import commands as registry
from institutions.documents import store
from institutions.models import (
    PlatformConnection,
    Region,
    User,
)
from institutions.refusals import Refusal
from tests.agreements import ningxia
from tests.agreements.cast import moment
from tests.agreements.law import cases_of
from tests.agreements.ningxia import AT, FLOW, LAW, NAMES, OPENED, TABLE, TODAY, Day, made, turn
from tests.factories import log_in

CASES = {
    subject: [case for case in cases_of(SUBJECTS) if case["subject"] == subject]
    for subject in SUBJECTS
}


def each(cases):
    """Every case in a transaction of its own that leaves nothing behind."""
    assert cases
    for case in cases:
        with transaction.atomic():
            yield case
            transaction.set_rollback(True)


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
