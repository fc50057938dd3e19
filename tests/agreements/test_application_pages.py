"""The pages of applications: who sees and does what, what a refusal leaves, and what a page costs."""

import datetime as dt
import re
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from agreements.models import Application, Requirement
from audit import clock
from audit.models import Case
from tests import factories
from tests.agreements.cast import PDF, Cast, moment

Day = dt.date
TODAY = Day(2021, 6, 16)  # a Wednesday after a holiday that ended on Monday
MONDAY = Day(2021, 6, 7)
pytestmark = pytest.mark.django_db


@pytest.fixture
def cast(monkeypatch: pytest.MonkeyPatch) -> Cast:
    at(monkeypatch, TODAY)
    return Cast()


def at(monkeypatch: pytest.MonkeyPatch, day: dt.date) -> None:
    """The portal stands on a day."""
    monkeypatch.setattr(clock, "today", lambda: day)
    monkeypatch.setattr(clock, "now", lambda: moment(day, 15))


def of(cast: Cast, role: str) -> Client:
    return factories.log_in(Client(), cast.people[role])


def page(case: Case) -> str:
    return reverse("application", args=[case.pk])


def step(case: Case, key: str) -> str:
    return reverse("application-step", args=[case.pk, key])


def words(answer: Any) -> str:
    """The text of a page without its tags."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode()))


def keys(answer: Any) -> list[str]:
    return [entry["step"].key for entry in answer.context["steps"]]


# --- Who sees what ---


def test_the_list_tells_state_days_left_and_holder(cast: Cast) -> None:
    case = cast.reviewing(MONDAY)
    (row,) = of(cast, "reviewer").get(reverse("applications")).context["table"].rows
    due = [cell.text for cell in row.cells]
    assert case.due == Day(2021, 6, 15)
    assert due == [
        case.number,
        case.institution.name,
        "材料审核",
        "逾期 1 个工作日",
        "经办审核",
        "2021-06-07",
    ]
    assert row.tone == "bad"


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, 1), ({"q": "WZ-申"}, 1), ({"q": "测试医院"}, 1), ({"q": "nobody"}, 0),
        ({"state": "wenzhou.reviewing"}, 1), ({"state": "wenzhou.draft"}, 0),
        ({"phase": "审核"}, 1), ({"phase": "签约"}, 0), ({"due": "late"}, 1), ({"due": "soon"}, 0),
        ({"due": "stopped"}, 0), ({"due": "unknown"}, 0), ({"holding": "mine"}, 1),
        ({"holding": "others"}, 0), ({"holding": "done"}, 0), ({"procedure": "wenzhou"}, 1),
        ({"region": "330300"}, 1), ({"region": "320600"}, 0), ({"state": "wenzhou.gone"}, 0),
    ],
)  # fmt: skip
def test_what_a_query_finds(cast: Cast, query: dict, found: int) -> None:
    cast.reviewing(MONDAY)
    answer = of(cast, "reviewer").get(reverse("applications"), query)
    assert len(answer.context["table"].rows) == found


def test_an_application_of_another_hospital_does_not_exist(cast: Cast) -> None:
    case = cast.apply(MONDAY)
    other = factories.user("hospital", factories.institution("wenzhou", agreements=False))
    elsewhere = factories.user("reviewer", factories.region("nantong"))
    for person in (other, elsewhere):
        client = factories.log_in(Client(), person)
        assert client.get(page(case)).status_code == 404
        assert client.post(step(case, "submit"), {"version": case.version}).status_code == 404
        assert client.get(reverse("applications")).context["table"].rows == []
    line = reverse("application-state", args=[case.pk, "materials", "2"])
    answer = factories.log_in(Client(), other).post(line, {"statement": "别人填写"})
    assert answer.status_code == 404


@pytest.mark.parametrize(
    ("role", "steps"),
    [
        ("hospital", ["withdraw"]),
        ("reviewer", ["return_for_completion", "pass_review", "fail_review"]),
        ("information", []), ("signing_officer", []), ("auditor", []), ("supervisor", []),
    ],
)  # fmt: skip
def test_each_role_is_offered_its_own_steps(cast: Cast, role: str, steps: list[str]) -> None:
    case = cast.reviewing(MONDAY)
    answer = of(cast, role).get(page(case))
    assert answer.status_code == 200
    assert keys(answer) == steps


def test_a_step_of_another_role_is_refused_with_the_reason(cast: Cast) -> None:
    case = cast.reviewing(MONDAY)
    answer = of(cast, "information").post(step(case, "pass_review"), {"version": case.version})
    assert answer.status_code == 403
    assert "您的角色不能办理“审核通过”（七）" in words(answer)
    case.refresh_from_db()
    assert case.state == "reviewing"


# --- Refusals ---


def test_an_incomplete_draft_says_what_is_missing(cast: Cast) -> None:
    case = cast.apply(MONDAY)
    case.requirements.filter(no__in=["3", "4"]).update(statement="")
    hospital = of(cast, "hospital")
    assert "未齐 2 项" in words(hospital.get(page(case)))
    answer = hospital.post(step(case, "submit"), {"version": case.version})
    assert answer.status_code == 422
    assert "请填写说明或上传材料：第3项" in words(answer)
    assert "温医保办〔2021〕6号" in words(answer)


def test_what_was_typed_stays_after_a_refusal(cast: Cast) -> None:
    case = cast.reviewing(MONDAY)
    sent = {"version": case.version, "note": "", "confirmed": "on"}
    answer = of(cast, "hospital").post(step(case, "withdraw"), sent)
    (entry,) = answer.context["steps"]
    assert answer.status_code == 422
    assert entry["form"].errors == {"note": ["请填写“撤回原因”。"]}
    assert entry["open"]
    late = {"version": case.version, "note": "请补充第四项的流程说明"}
    cast.go(case, "return_for_completion", "reviewer", Day(2021, 6, 8))
    moved = of(cast, "hospital").post(
        step(case, "withdraw"), {**late, "version": case.version - 1, "confirmed": "on"}
    )
    assert moved.status_code == 409
    assert "您的操作没有保存" in words(moved)
    assert "请补充第四项的流程说明" in moved.content.decode()


def test_a_grave_step_wants_a_confirmation(cast: Cast) -> None:
    case = cast.reviewing(MONDAY)
    sent = {"version": case.version, "note": "不再申请"}
    hospital = of(cast, "hospital")
    refused = hospital.post(step(case, "withdraw"), sent)
    assert refused.status_code == 422
    assert "请先勾选确认" in words(refused)
    assert hospital.post(step(case, "withdraw"), {**sent, "confirmed": "on"}).status_code == 302
    case.refresh_from_db()
    assert case.state == "withdrawn"


def test_a_day_in_the_future_is_refused_at_its_field(cast: Cast) -> None:
    case = cast.apply(MONDAY)
    cast.go(case, "submit", "hospital", MONDAY)
    sent = {"version": case.version, "on": "2021-06-17"}
    answer = of(cast, "reviewer").post(step(case, "accept"), sent)
    (entry,) = [entry for entry in answer.context["steps"] if entry["step"].key == "accept"]
    assert answer.status_code == 422
    assert entry["form"]["on"].label == "收到申请日"
    assert entry["form"].errors["on"] == ["收到申请日不能晚于今天（2021-06-16）"]
    assert entry["form"]["on"].value() == "2021-06-17"


def test_an_unknown_step_is_no_page(cast: Cast) -> None:
    case = cast.apply(MONDAY)
    assert of(cast, "hospital").post(step(case, "conclude"), {}).status_code == 404


# --- Checklists ---


def test_a_line_is_stated_with_evidence_and_its_files_can_be_removed(cast: Cast) -> None:
    case = cast.apply(MONDAY)
    hospital = of(cast, "hospital")
    address = reverse("application-state", args=[case.pk, "materials", "4"])
    file = SimpleUploadedFile("调阅截图.pdf", PDF)
    assert hospital.post(address, {"statement": "见附件", "evidence": [file]}).status_code == 302
    line = case.requirements.get(no="4")
    (document,) = line.documents.all()
    assert (line.statement, document.name, document.kind) == ("见附件", "调阅截图.pdf", "evidence")
    assert document.institution == cast.hospital
    kept = {"statement": "改写", "keep": [document.pk]}
    assert hospital.post(address, kept).status_code == 302
    assert [found.pk for found in line.documents.all()] == [document.pk]
    assert hospital.post(address, {"statement": "改写"}).status_code == 302
    assert line.documents.count() == 0
    program = SimpleUploadedFile("a.pdf", b"MZ\x00\x00")
    refused = hospital.post(address, {"statement": "留下这句话", "evidence": [program]})
    assert refused.status_code == 422
    assert "只接受 PDF、JPG、PNG 和 XLSX 文件" in words(refused)
    assert "留下这句话" in refused.content.decode()
    empty = hospital.post(address, {"statement": ""})
    assert "请填写情况说明或上传证明材料" in words(empty)


def test_a_checklist_is_judged_at_once(cast: Cast) -> None:
    case = cast.reviewing(MONDAY)
    rows = list(case.requirements.all())
    address = reverse("application-judge", args=[case.pk, "materials"])
    reviewer = of(cast, "reviewer")
    sent = {f"met_{row.pk}": "no" if row.no == "5" else "yes" for row in rows}
    refused = reviewer.post(address, sent)
    assert refused.status_code == 422
    assert "请写明存在的问题与完善要求" in words(refused)
    assert not case.requirements.filter(met__isnull=False).exists()
    sent[f"remark_{rows[4].pk}"] = "购药记录不完整"
    assert reviewer.post(address, sent).status_code == 302
    assert (
        list(case.requirements.values_list("met", flat=True)) == [True] * 4 + [False] + [True] * 2
    )
    assert reviewer.post(address, {"action": "all"}).status_code == 302
    assert set(case.requirements.values_list("met", flat=True)) == {True}
    assert of(cast, "information").post(address, sent).status_code == 403


def test_the_institution_is_told_nothing_before_the_notice_is_delivered(cast: Cast) -> None:
    case = cast.reviewing(MONDAY)
    cast.judge(case, MONDAY, "5")
    hospital = of(cast, "hospital")
    assert "须改进" not in words(hospital.get(page(case)))
    cast.go(case, "fail_review", "reviewer", Day(2021, 6, 8))
    before = hospital.get(page(case))
    assert before.context["notices"] == []
    assert "须改进" not in words(before)
    facts = {"delivery": "mail", "receipt": "张某"}
    cast.go(case, "deliver_review_notice", "reviewer", Day(2021, 6, 9), facts=facts)
    after = hospital.get(page(case))
    (notice,) = after.context["notices"]
    assert [item["no"] for item in notice["items"]] == ["5"]
    assert "邮寄送达" in words(after)
    assert "2021-09-10起方可再次申请（温医保办〔2021〕6号 七）" in words(after)


# --- A new application ---


def test_a_hospital_applies_and_again_after_the_waiting_time(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = cast.failed(MONDAY, Day(2021, 6, 9))
    hospital = of(cast, "hospital")
    early = hospital.get(reverse("application-new"))
    assert "2021-09-10起方可再次申请" in early.context["opening"]["why"]
    assert hospital.post(reverse("application-new"), {"intention": "再次申报"}).status_code == 409
    assert Application.objects.count() == 1
    at(monkeypatch, Day(2021, 9, 10))
    address = hospital.get(page(case)).context["again"]["url"]
    assert address.endswith(f"?previous={case.pk}")
    sent = {"intention": "已整改", "previous": case.pk}
    assert hospital.post(reverse("application-new"), sent).status_code == 302
    made = Application.objects.latest("pk")
    assert (made.previous, made.state, made.intention) == (case, "draft", "已整改")
    assert set(made.requirements.values_list("statement", flat=True)) >= {"已具备"}
    again = hospital.get(reverse("applications"))
    assert f"申请{made.number}正在办理" in again.context["opening"]["why"]


def test_who_is_not_designated_applies_for_both(monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, TODAY)
    cast = Cast(main_until=None)
    hospital = of(cast, "hospital")
    form = hospital.get(reverse("application-new")).context["form"]
    assert form["includes_main"].value() is True
    alone = hospital.post(reverse("application-new"), {"intention": ""})
    assert alone.status_code == 422
    assert "includes_main" in alone.context["form"].errors
    sent = {"includes_main": "on", "intention": ""}
    assert hospital.post(reverse("application-new"), sent).status_code == 302
    assert Application.objects.get().includes_main


def test_only_hospitals_apply(cast: Cast) -> None:
    assert of(cast, "reviewer").get(reverse("application-new")).status_code == 403
    assert of(cast, "reviewer").get(reverse("applications")).context["opening"] is None


# --- Clocks and objections on the page ---


def test_a_stopped_and_an_unknown_clock_are_said_in_words(cast: Cast) -> None:
    case = cast.reviewing(MONDAY)
    cast.go(case, "return_for_completion", "reviewer", Day(2021, 6, 8))
    answer = of(cast, "hospital").get(page(case))
    assert answer.context["deadline"]["left"].words == "计时停止"
    assert "自 2021-06-08 起停止计时" in words(answer)
    Application.objects.update(stopped=False, due=None, due_unknown=2027)
    unknown = of(cast, "hospital").get(page(case))
    assert unknown.context["deadline"]["left"].words == "期限未知（缺2027年日历）"


def test_both_dates_of_a_deadline_that_rolls_over(cast: Cast) -> None:
    case = cast.rebuilding(Day(2021, 3, 9), Day(2021, 3, 12))  # 2021-06-12 begins a holiday
    answer = of(cast, "hospital").get(page(case))
    assert (case.due_nominal, case.due) == (Day(2021, 6, 12), Day(2021, 6, 15))
    assert "顺延前末日 2021-06-12" in words(answer)


def test_an_objection_is_recorded_and_answered_on_the_page(cast: Cast) -> None:
    case = cast.testing(Day(2021, 5, 10), Day(2021, 5, 12), Day(2021, 6, 1))
    cast.judge(case, Day(2021, 6, 10), part="acceptance", role="information")
    cast.go(case, "pass_test_publish", "information", Day(2021, 6, 15))
    reviewer = of(cast, "reviewer")
    raised = {"raised_by": "某居民", "text": "信息不实", "on": "2021-06-16"}
    address = reverse("application-object", args=[case.pk])
    assert reviewer.post(address, {**raised, "on": "2021-06-01"}).status_code == 422
    assert reviewer.post(address, raised).status_code == 302
    objection = case.objections.get()
    assert "某居民" in words(reviewer.get(page(case)))
    told = words(of(cast, "hospital").get(page(case)))
    assert "信息不实" in told
    assert "某居民" not in told  # the institution never learns who objected
    answered = reverse("application-answer", args=[case.pk, objection.pk])
    assert "公示至 2021-06-22" in words(reviewer.get(page(case)))
    assert reviewer.post(answered, {"upheld": "no", "answer": ""}).status_code == 422
    assert reviewer.post(answered, {"upheld": "no", "answer": "查无此事"}).status_code == 302
    objection.refresh_from_db()
    assert (objection.outcome, objection.answer) == ("dismissed", "查无此事")
    assert of(cast, "hospital").post(address, raised).status_code == 403


# --- What a page costs ---


def test_the_list_costs_the_same_with_200_applications(cast: Cast) -> None:
    reviewer = of(cast, "reviewer")
    cast.reviewing(MONDAY)
    few = queries(reviewer)
    for number in range(200):
        hospital = factories.institution("wenzhou", agreements=False)
        Application.objects.create(
            number=f"T-{number}", institution=hospital, procedure="wenzhou", state="reviewing",
            entered_on=MONDAY, due=Day(2021, 6, 15), region_code="330300",
            institution_code=hospital.pk, opened_at=moment(MONDAY), opened_by="test",
        )  # fmt: skip
    assert queries(reviewer) == few <= 18


def queries(client: Client) -> int:
    with CaptureQueriesContext(connection) as caught:
        assert client.get(reverse("applications"), {"size": 100}).status_code == 200
    return len(caught)


def test_a_page_costs_the_same_for_every_length_of_checklist(cast: Cast) -> None:
    case = cast.reviewing(MONDAY)
    reviewer = of(cast, "reviewer")
    with CaptureQueriesContext(connection) as few:
        reviewer.get(page(case))
    Requirement.objects.bulk_create(
        Requirement(application=case, part="materials", no=f"x{n}", text="更多", clause="六")
        for n in range(30)
    )
    with CaptureQueriesContext(connection) as many:
        reviewer.get(page(case))
    assert len(many) == len(few) <= 24
