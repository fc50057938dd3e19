"""Ningxia: places of the listed hospitals and their plans, counted back and by hand."""

import pytest

from agreements import plans, waves
from agreements.board import Board
from agreements.models import WavePlace
from audit.models import Event, Move
from institutions.holidays import load_calendar
from institutions.models import (
    Institution,
)
from institutions.refusals import Refusal
from tests.agreements import ningxia
from tests.agreements.ningxia import AT, FLOW, LAW, TODAY, Day, made, planned

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
