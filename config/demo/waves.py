"""Ningxia in the demonstration: places and plans of the 38, hospitals on their way, official forms.

Who stands in a batch is the notice's own list; everything that is said of these hospitals besides is
invented. Every step is taken by its command on its day.
"""

import datetime as dt
from collections.abc import Mapping

from agreements import clocks, plans, submissions
from agreements.models import Application, FormSubmission, WavePlace
from agreements.official_forms import Filled, Form, forms_of
from config.demo import ACTOR, TODAY, identity, moment
from config.demo.applicants import code_of
from config.demo.applications import OFFICERS, Act, Path, day, step, walk
from institutions import commands
from institutions.models import Institution, Region, User

Day = dt.date
LISTED_ON = Day(2021, 11, 19)
REGION, PREFECTURE = "policy.ningxia", "policy.yinchuan"
#: of the first batch two are open (one of them on its way to 门诊大病), one is late; two more walk
#: with the other applications
SIGNED = (
    Act("qualify", "hospital", day("1125")),
    Act("prepare", "hospital", day("1129"), note="系统对接准备完成（示例）。"),
    Act("apply_last", "hospital", day("1130")), Act("judge", "information", day("1206")),
    Act("pass_test", "information", day("1206"), note="逐项测试通过（示例）。"),
    Act("sign_institution", "hospital", day("1208")),
    Act("sign_agency", "signing_officer", day("1209")),
)  # fmt: skip
QUICK = (
    Act("qualify", "hospital", day("1125")), Act("apply", "hospital", day("1126")),
    Act("prepare_last", "hospital", day("1201"), note="系统对接准备完成（示例）。"),
    Act("judge", "information", day("1203")),
    Act("pass_test", "information", day("1203"), note="逐项测试通过（示例）。"),
    Act("sign_institution", "hospital", day("1206")),
    Act("sign_agency", "signing_officer", day("1207")),
)  # fmt: skip
PATHS = (
    (Path("nx1", day("1122"), SIGNED), day("1213"), False),
    (Path("nx2", day("1122"), QUICK), day("1210"), True),
    (Path("nx5", day("1213")), None, False),
)
WRITTEN = "情况属实，同意接入（示例）。"


def make_waves() -> str:
    """Make the places, walk the hospitals, fill in the forms; how much of each."""
    people = {row.username: row for row in User.objects.select_related("region__parent").filter(
        username__in=[*OFFICERS.values(), REGION, PREFECTURE])}  # fmt: skip
    plans.make_places(who=people[REGION], on=LISTED_ON, by=REGION, at=moment(LISTED_ON))
    _plan(people)
    for path, opened, major in PATHS:
        _walk(path, people, opened, major=major)
    places = WavePlace.objects.count()
    return f"{places} 家名单内医院，{len(PATHS)} 项对接，{_forms(people)} 份申请表"


def _walk(path: Path, people: Mapping[str, User], opened: Day | None, *, major: bool) -> None:
    case: Application = walk(path, dict(people))
    if opened is None:
        return
    officer = people[PREFECTURE]
    step(case, Act("open_payment", "policy_staff", opened), officer, moment(opened, 15))
    if major:
        hospital = User(username=f"hospital.{path.key}", role="hospital",
                        institution=case.institution)  # fmt: skip
        asked = Act(
            "apply_major", "hospital", opened, note="高血压、糖尿病等门诊大病病种（示例）。"
        )
        step(case, asked, hospital, moment(opened, 16))


def _plan(people: Mapping[str, User]) -> None:
    """银川市第一人民医院 is planned by hand: preparation takes longer, with a day to spare."""
    place = WavePlace.objects.get(institution=code_of("nx4"))
    spans = {
        key: (Day.fromisoformat(span["start"]), Day.fromisoformat(span["end"]))
        for key, span in place.plan.items()
    }
    spans["qualification"] = (day("1119"), day("1124"))
    spans["preparation"] = (day("1125"), day("1215"))
    plans.change_plan(
        place=place, spans=spans, reason="", who=people[PREFECTURE], on=day("1122"),
        version=place.plan_version, by=PREFECTURE, at=moment(day("1122"), 10),
    )  # fmt: skip


# --- Forms ---


def _forms(people: Mapping[str, User]) -> int:
    """Two of each form: one sealed by the region, one handed in or still a draft."""
    officer, sealer = people[PREFECTURE], people[REGION]
    law = clocks.law_of(_region(officer), TODAY)
    hospitals = [Institution.objects.get(pk=code_of(key)) for key in ("nx1", "nx4")]
    for number, hospital in enumerate(hospitals):
        _register(hospital, number)
    count = 0
    for form in forms_of(law).values():
        for number, hospital in enumerate(hospitals):
            case = _fill(form, hospital, officer, day("1214"), count)
            if number == 0:
                _send(case, officer, sealer)
            elif count % 4 == 1:
                _submit(case, officer, day("1216"))
            count += 1
    _collect(sealer)
    return count


def _region(officer: User) -> Region:
    if officer.region is None:
        raise LookupError(officer.username)
    return officer.region


def _register(hospital: Institution, number: int) -> None:
    """An account and a contact in the registry, which the merchants' forms take over."""
    at = moment(day("1201"), 9)
    commands.set_account(
        institution=hospital, holder=hospital.name, bank=f"示例银行银川分行营业部{number + 1}",
        number=f"62{9900000000000 + number:014}", valid_from=day("1201"), by=ACTOR, at=at,
    )  # fmt: skip
    commands.add_contact(
        institution=hospital, purpose="移动支付", name=identity.person_name(900 + number),
        phone=f"1990000{number:04}", email=f"pay{number}@example.org", valid_from=day("1201"),
        by=ACTOR, at=at,
    )  # fmt: skip


def _fill(form: Form, hospital: Institution, who: User, on: Day, number: int) -> FormSubmission:
    case = submissions.open_form(
        form=form.key, who=who, institution=hospital, on=on, by=who.username, at=moment(on, 10)
    )
    known = submissions.filled_of(case)
    words = _words(number)
    fields = {
        blank.key: known.fields.get(blank.key) or words.get(blank.key, "") for blank in form.fields
    }
    rows = [
        {"id": row["id"], **{b.key: row.get(b.key) or words.get(b.key, "") for b in form.columns}}
        for row in known.rows
    ]
    return submissions.fill(
        submission=case, filled=Filled(fields, rows), who=who, version=case.version,
        by=who.username, at=moment(on, 11),
    )  # fmt: skip


def _words(number: int) -> dict[str, str]:
    """Invented values under the names that the forms use."""
    person, phone = identity.person_name(700 + number), f"1980000{number:04}"
    channel = "示例互联网医院服务平台"
    return {
        "bureau_contact": identity.person_name(800), "bureau_phone": "0951-0000000",
        "third_party_channel": channel, "channel_contact": person, "channel_phone": phone,
        "application_name": f"{channel}（示例）", "channel_name": channel, "contact": person,
        "phone": phone, "planned_on": "2021-12-27", "coverage": "全省",
        "channel_and_credit_code": f"{channel}{identity.credit_code(990 + number, '91')}",
        "address": "银川市示例路1号", "representative": person,
        "contact_id_number": identity.id_number(Day(1985, 5, 12), number),
        "representative_id_number": identity.id_number(Day(1975, 3, 8), number),
    }  # fmt: skip


def _submit(case: FormSubmission, who: User, on: Day) -> None:
    submissions.take_step(
        submission=case, step="submit", who=who, by=who.username, at=moment(on, 9)
    )


def _send(case: FormSubmission, who: User, sealer: User) -> None:
    """Handed in and sealed."""
    _submit(case, who, day("1215"))
    submissions.take_step(
        submission=case, step="approve", who=sealer, by=sealer.username, note=WRITTEN,
        at=moment(day("1217"), 9),
    )  # fmt: skip


def _collect(sealer: User) -> None:
    """The channel forms that are sealed were reported."""
    rows = FormSubmission.objects.filter(form="channel", state=submissions.APPROVED)
    submissions.collect(
        submissions=list(rows), who=sealer, on=TODAY, by=sealer.username, at=moment(TODAY, 8)
    )
