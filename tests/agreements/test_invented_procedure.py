"""A new region's procedure is a table and a policy: tests/policies/invented-*.yaml, no line of Python."""

import datetime as dt
from dataclasses import replace
from pathlib import Path

import pytest

from agreements import commands, papers, texts
from agreements.handbook import HANDBOOK, procedure_of
from agreements.models import Application
from audit.models import Task
from audit.procedure import PROCEDURES, Refused, checked, diagram, load
from institutions.models import Region
from pricing.commands import load_shipped
from tests.agreements.cast import PDF, Cast, moment
from tests.factories import RECORDED, REGIONS

Day = dt.date
FOLDER = Path(__file__).parents[1] / "policies"
TABLE = load(FOLDER / "invented-procedure.yaml")
CONDITIONS = """
conditions:
  - {"no": "甲", name: premises, text: 有独立的线上诊室, clause: 第1条}
  - {"no": "乙", name: staff, text: 有专职药师, clause: 第1条}
"""
DELIVERED = {"delivery": "当面"}


@pytest.fixture
def cast(db, tmp_path, monkeypatch) -> Cast:
    text = (FOLDER / "invented-city.yaml").read_text(encoding="utf-8") + CONDITIONS
    (tmp_path / "invented-city.yaml").write_text(text, encoding="utf-8")
    load_shipped(by="loader", at=RECORDED, folder=tmp_path)
    Region.objects.create(
        code="990100", name="虚构市", level="prefecture", policy_region="invented"
    )
    monkeypatch.setitem(REGIONS, "invented", ("990100", "虚构市"))
    monkeypatch.setitem(PROCEDURES, TABLE.slug, TABLE)
    ours = [replace(texts.text_for("supplementary", "wenzhou", Day(2022, 4, 1)), region="invented")]
    monkeypatch.setattr(texts, "all_texts", lambda: tuple(ours))
    return Cast("invented", years=(2022, 2023), law=False)


def test_its_words_are_those_of_the_handbook():
    checked(HANDBOOK, [TABLE])
    assert "desk --> hold : 暂缓" in diagram(TABLE)


def test_it_runs_to_its_agreement(cast):
    cast.keys()
    assert procedure_of(cast.hospital) is TABLE
    case = cast.apply(Day(2022, 4, 1))
    assert case.number == "虚申2022/1"
    assert [(row.no, row.text) for row in case.requirements.all()] == [
        ("甲", "有独立的线上诊室"), ("乙", "有专职药师"),
    ]  # fmt: skip
    cast.go(case, "hand_in", "hospital", Day(2022, 4, 11))
    assert case.due == Day(2022, 4, 20)  # seven working days
    cast.go(case, "pause", "reviewer", Day(2022, 4, 13))
    assert (case.due, case.stopped) == (None, True)
    cast.go(case, "go_on", "reviewer", Day(2022, 4, 25))
    assert case.due == Day(2022, 5, 5)  # five left: 26, 27, 28, 29, holidays to 05-04
    cast.judge(case, Day(2022, 4, 26))
    cast.go(case, "admit", "reviewer", Day(2022, 4, 26))
    assert (case.due_nominal, case.due) == (Day(2022, 9, 26), Day(2022, 9, 26))
    cast.go(case, "report", "hospital", Day(2022, 9, 26))
    cast.go(case, "seal", "signing_officer", Day(2022, 9, 27))
    cast.go(case, "sign", "hospital", Day(2022, 9, 28))
    assert (case.state, case.agreement.valid_until) == ("done", Day(2024, 12, 31))
    assert case.agreement.states.get().state == "signed"
    assert case.contracts.get().complete


def failed(cast: Cast, day: dt.date, told: dt.date, step: str) -> Application:
    case = cast.apply(day)
    cast.go(case, "hand_in", "hospital", day)
    cast.judge(case, day, "乙")
    cast.go(case, "reject", "reviewer", day)
    cast.go(case, step, "reviewer", told, facts=DELIVERED)
    return case


def test_its_own_failures_ban_and_lapse(cast, monkeypatch):
    monkeypatch.setattr(papers.pdf, "render", lambda *args, **kwargs: PDF)
    for day, told, too_early in (  # six months after the delivery
        (Day(2022, 4, 1), Day(2022, 4, 11), Day(2022, 10, 11)),
        (Day(2022, 10, 12), Day(2022, 10, 21), Day(2023, 4, 21)),
    ):
        failed(cast, day, told, "tell")
        with pytest.raises(Refused, match="整改期未满"):
            cast.apply(too_early)
    case = failed(cast, Day(2023, 4, 22), Day(2023, 4, 24), "tell_last")
    assert case.state == "barred"
    with pytest.raises(Refused, match="2025-04-25起方可再次申请"):  # two years
        cast.apply(Day(2024, 4, 24))
    cast.next_hospital()
    case = cast.apply(Day(2022, 4, 1))
    cast.go(case, "hand_in", "hospital", Day(2022, 4, 1))
    cast.judge(case, Day(2022, 4, 1))
    cast.go(case, "admit", "reviewer", Day(2022, 4, 1))
    assert commands.lapse_overdue(by="beat", at=moment(Day(2022, 9, 2))) == 1
    assert Application.objects.get(pk=case.pk).state == "dropped"
    assert not Task.objects.filter(subject=case.subject, state=Task.State.OPEN).exists()
