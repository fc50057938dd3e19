"""Ningxia: what is done and late, in either order of the steps that run side by side."""

import datetime as dt

import pytest

from agreements import commands, contracts, waves
from agreements.board import Board, narrow
from agreements.models import Agreement
from audit.models import Move
from audit.procedure import Refused
from institutions.models import (
    Office,
    Qualification,
)
from tests.agreements import ningxia
from tests.agreements.cast import KEYS_FROM, KEYS_UNTIL, moment
from tests.agreements.ningxia import (
    AT,
    FLOW,
    TABLE,
    TODAY,
    Day,
    made,
    planned,
)

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
