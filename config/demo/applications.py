"""Applications of the demonstration in every state that matters, each step by its own command.

The table says who did what on which day; deadlines, notices, papers and signatures follow from the
procedures themselves.
"""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from agreements import commands, contracts
from agreements.handbook import procedure_of
from agreements.models import Application
from audit.procedure import PROCEDURES
from config.demo import ACTOR, moment
from config.demo.applicants import code_of
from config.demo.registry import CHECKER, sample_pdf
from institutions.commands import add_qualification, check_record, connect_platform
from institutions.documents import store
from institutions.models import Institution, User

Day = dt.date
KEYS_FROM, KEYS_UNTIL = moment(Day(2020, 1, 1)), moment(Day(2029, 12, 31))
#: the accounts that act, by role and policy region
OFFICERS = {
    ("reviewer", "wenzhou"): "reviewer.wenzhou", ("reviewer", "nantong"): "reviewer.nantong",
    ("information", "wenzhou"): "information.wenzhou",
    ("information", "ningxia"): "information.yinchuan",
    ("signing_officer", "wenzhou"): "signer.wenzhou",
    ("signing_officer", "nantong"): "signer.nantong",
    ("signing_officer", "ningxia"): "signer.yinchuan",
}  # fmt: skip
STATED = "已具备，制度与截图等证明材料见附件（示例）。"
INTENTION = "拟开展常见病、慢性病线上复诊与续方（示例）。"
LICENCE = "internet_hospital"
PLATFORMS = ("integrated_platform", "supervision_platform", "prescription_review_platform",
             "online_offline_synced")  # fmt: skip


@dataclass(frozen=True)
class Act:
    """One act on a day: a step of the table, or one of `OTHERS` (judge, object, lapse)."""

    step: str
    role: str
    on: Day
    note: str = ""
    part: str = "materials"
    unmet: tuple[tuple[str, str], ...] = ()  #: of `judge`: (no, what is to be improved)
    delivered: str = ""


@dataclass(frozen=True)
class Path:
    """An application: whose, from which day, and every act on it. `stated`: how many lines."""

    key: str
    since: Day
    acts: tuple[Act, ...] = ()
    stated: int = 99
    together: bool = False


def day(text: str) -> Day:
    """`1215` → 15 December 2021."""
    return Day(2021, int(text[:2]), int(text[2:]))


def received(on: str) -> tuple[Act, ...]:
    """Submitted and accepted on a day."""
    return Act("submit", "hospital", day(on)), Act("accept", "reviewer", day(on))


def rebuilding(on: str, passed: str, delivered: str) -> tuple[Act, ...]:
    """A review that passed, its result delivered."""
    return (
        *received(on), Act("judge", "reviewer", day(passed)),
        Act("pass_review", "reviewer", day(passed)),
        Act("deliver_pass", "reviewer", day(delivered), delivered="portal"),
    )  # fmt: skip


def tested(on: str) -> tuple[Act, ...]:
    """Every line of the test passed; the application is published."""
    return (
        Act("judge", "information", day(on), part="acceptance"),
        Act("pass_test_publish", "information", day(on)),
    )


REQUEST = partial(Act, "request_test", "hospital", note="电子凭证、移动支付与结算接口改造完成。")
TRACES = (("5", "购药记录未能关联到处方，无法全程追溯"), ("6", "异地与“互联网+”业务未分开标识"))
PATHS: tuple[Path, ...] = (
    Path("wz16", day("0802"), (*rebuilding("0802", "0806", "0809"),
                               Act("lapse", "", day("1110")))),  # 改造期满未申请验收
    Path("wz15", day("0510"), (*received("0510"), Act("judge", "reviewer", day("0513"), unmet=TRACES),
                               Act("fail_review", "reviewer", day("0513")),
                               Act("deliver_review_notice", "reviewer", day("0514"), delivered="mail"))),
    Path("wz15", day("0816"), (*received("0816"), Act("judge", "reviewer", day("0820"), unmet=TRACES[:1]),
                               Act("fail_review", "reviewer", day("0820")),
                               Act("deliver_review_ban", "reviewer", day("0823"), delivered="direct"))),
    Path("wz10", day("1008"), (*received("1008"), Act("judge", "reviewer", day("1013"), unmet=TRACES),
                               Act("fail_review", "reviewer", day("1013")),
                               Act("deliver_review_notice", "reviewer", day("1015"), delivered="direct"))),
    Path("wz14", day("0906"), (
        *rebuilding("0906", "0910", "0913"), REQUEST(on=day("1101")), *tested("1108"),
        Act("end_publicity", "reviewer", day("1116")),
        Act("sign_institution", "hospital", day("1117")),
        Act("sign_agency", "signing_officer", day("1118")),
    )),
    Path("wz8", day("0910"), rebuilding("0910", "0916", "0923")),
    Path("wz9", day("0927"), (*rebuilding("0927", "1009", "1011"), REQUEST(on=day("1201")))),
    Path("wz12", day("1018"), (
        *rebuilding("1018", "1022", "1025"), REQUEST(on=day("1203")), *tested("1215"),
        Act("object", "reviewer", day("1217"), note="异议人认为该院互联网门诊出诊医师公示信息不全。"),
    )),
    Path("wz7", day("1208"), (*received("1208"), Act("return_for_completion", "reviewer", day("1213"),
                                                    note="第（四）项请补充复诊核验流程说明与调阅截图。"))),
    Path("wz6", day("1214"), (*received("1215"), Act("judge", "reviewer", day("1217"), unmet=TRACES[1:]))),
    Path("wz13", day("1216"), stated=3, together=True),
    Path("nt12", day("1119"), (
        Act("submit", "hospital", day("1122")), Act("judge", "reviewer", day("1126")),
        Act("file", "reviewer", day("1126")), Act("sign_institution", "hospital", day("1129")),
        Act("sign_agency", "signing_officer", day("1130")),
    )),
    Path("nt11", day("1217"), (Act("submit", "hospital", day("1217")),)),
    Path("nx4", day("1122"), (
        Act("qualify", "hospital", day("1126")), Act("apply", "hospital", day("1129")),
        Act("prepare_last", "hospital", day("1206"), note="电子凭证与移动支付接口联调完成。"),
    )),
    Path("nx3", day("1122"), (
        Act("qualify", "hospital", day("1126")), Act("apply", "hospital", day("1129")),
        Act("prepare_last", "hospital", day("1203"), note="系统对接准备完成。"),
        Act("judge", "information", day("1210")),
        Act("pass_test", "information", day("1210"), note="逐项测试通过。"),
    )),
    Path("nx6", day("1125"), (Act("qualify", "hospital", day("1126")),)),
)  # fmt: skip


def make_applications() -> int:
    """Walk every path; how many applications there are."""
    contracts.make_signing_keys(
        valid_from=KEYS_FROM, valid_until=KEYS_UNTIL, by=ACTOR, at=moment(Day(2020, 1, 2))
    )
    officers = {row.username: row for row in User.objects.filter(username__in=OFFICERS.values())}
    for path in PATHS:
        walk(path, officers)
    return len(PATHS)


def walk(path: Path, officers: dict[str, User]) -> Application:
    """One application, from the first day to the last act."""
    institution = Institution.objects.select_related("region__parent").get(pk=code_of(path.key))
    procedure = procedure_of(institution)
    people = {role: officers[name] for (role, region), name in OFFICERS.items()
              if region == procedure.region}  # fmt: skip
    people["hospital"] = applicant_of(institution, path.key)
    _register(institution, path)
    who, at = people["hospital"], moment(path.since)
    case = commands.apply(
        institution=institution, procedure=procedure.slug, includes_main=path.together,
        intention=INTENTION, who=who, by=who.username, at=at,
    )  # fmt: skip
    _state(case, path, who, at)
    for hour, act in enumerate(path.acts, 9):
        OTHERS.get(act.step, step)(case, act, people.get(act.role, who), moment(act.on, hour))
    return case


def applicant_of(institution: Institution, key: str) -> User:
    """Who applies for a hospital: its log-in, else a person without one."""
    found = User.objects.filter(institution=institution, role="hospital").first()
    return found or User(username=f"hospital.{key}", role="hospital", institution=institution)


def _register(institution: Institution, path: Path) -> None:
    """What the register holds of an applicant: its qualification, and platforms where they count."""
    at, region = moment(path.since, 8), procedure_of(institution).region
    checker = OFFICERS.get(("reviewer", region), CHECKER)
    scan = partial(
        store, content=sample_pdf("LICENCE"), kind="scan", institution=institution, by=ACTOR, at=at,
        subject=f"institution:{institution.pk}",
    )  # fmt: skip
    if not institution.qualifications.filter(kind=LICENCE).exists():
        made = add_qualification(
            institution=institution, kind=LICENCE, number=f"示例互联网医院-{institution.pk}",
            valid_from=Day(2020, 1, 1), issuer="示例发证机关", by=ACTOR, at=at,
            document=scan(name="互联网医院执业登记（示例）.pdf"),
        )  # fmt: skip
        check_record(record=made, by=checker, at=at)
    held = set(institution.platforms.values_list("platform", flat=True))
    needed = PLATFORMS if region == "ningxia" else ()
    for platform in needed:
        if platform not in held:
            row = connect_platform(
                institution=institution, platform=platform, valid_from=path.since, by=ACTOR, at=at,
                document=scan(name="平台接入证明（示例）.pdf"),
            )  # fmt: skip
            check_record(record=row, by=checker, at=at)


def _state(case: Application, path: Path, who: User, at: dt.datetime) -> None:
    """Statements to the conditions, with one sheet of evidence."""
    sheet = store(
        content=sample_pdf("EVIDENCE"), name="制度与系统截图（示例）.pdf", kind="evidence",
        subject=case.subject, institution=case.institution, by=who.username, at=at,
    )  # fmt: skip
    for number, row in enumerate(case.requirements.filter(statement="")[: path.stated]):
        commands.state_requirement(
            application=case, part=row.part, no=row.no, statement=STATED, who=who,
            by=who.username, at=at, documents=[] if number % 2 else [sheet],
        )  # fmt: skip


def step(case: Application, act: Act, who: User, at: dt.datetime) -> None:
    """A step of the table, with the inputs that it asks for."""
    given = {"delivery": act.delivered, "receipt": "机构医保办签收（示例）"}
    asked = {ask.key for ask in PROCEDURES[case.procedure].step(act.step).asks}
    commands.take_step(
        application=case, step=act.step, who=who, by=who.username, at=at, note=act.note,
        facts={key: value for key, value in given.items() if key in asked},
    )  # fmt: skip


def judge(case: Application, act: Act, who: User, at: dt.datetime) -> None:
    """A checklist, line by line."""
    unmet = dict(act.unmet)
    for row in case.requirements.filter(part=act.part):
        commands.judge_requirement(
            application=case, part=act.part, no=row.no, met=row.no not in unmet,
            remark=unmet.get(row.no, ""), who=who, by=who.username, at=at,
        )  # fmt: skip


def object_to(case: Application, act: Act, who: User, at: dt.datetime) -> None:
    """An objection within the public notice."""
    commands.raise_objection(
        application=case,
        raised_by="某参保居民（示例）",
        text=act.note,
        who=who,
        by=who.username,
        at=at,
    )


def lapse(case: Application, act: Act, who: User, at: dt.datetime) -> None:
    """What is overdue lapses by itself."""
    commands.lapse_overdue(by=ACTOR, at=at)


OTHERS: dict[str, Callable[[Application, Act, User, dt.datetime], None]] = {
    "judge": judge, "object": object_to, "lapse": lapse,
}  # fmt: skip
