"""Findings of the demonstration: a few planted violations, the nightly audit, and what people made of it.

Real commands on the demonstration's own claims; what is planted is invented (示例).
"""

import datetime as dt

from config.demo import TODAY, moment
from config.demo.claims import Draft, Maker, Visit
from config.demo.hospitals import HOSPITALS
from institutions.access import EVERYTHING, scoped
from institutions.models import Institution, User
from settlement.commands import receive
from settlement.facts import Claimant
from settlement.models import Claim
from supervision import audits, findings
from supervision.models import Finding, Run

SINCE = dt.date(2021, 10, 1)
#: Region → who decides there, the hospital of the planted claims.
PEOPLE = {"nantong": ("reviewer.nantong", "supervisor.nantong", "nt1"),
          "wenzhou": ("reviewer.wenzhou", "reviewer.wenzhou", "wz1")}  # fmt: skip
BEAT = "system:beat"
PLANTED_ON = dt.date(2021, 12, 14)
REASONS = ("调阅电子病历与会话记录，情况属实（示例）", "经核对为系统时钟误差，不属于违规（示例）")


def make_findings(maker: Maker) -> str:
    """Plant, audit, decide some; says how many."""
    with scoped(EVERYTHING):
        planted = sum(_plant(maker, region) for region in PEOPLE)
    at = moment(TODAY, 6)
    for region in PEOPLE:
        with scoped(EVERYTHING):
            run = audits.ask(pool=region, first=SINCE, last=TODAY, by=BEAT, at=at, wake=False)
        audits.execute(run_id=run.pk, by=BEAT, at=at)
    with scoped(EVERYTHING):
        for number, (region, (first, second, _)) in enumerate(PEOPLE.items()):
            _decide(region, first, second, moment(TODAY, 8, 10 * number))
        claims = sum(Run.objects.values_list("claims", flat=True))
        return f"{Finding.objects.count()} 条，审核 {claims} 张，另植入 {planted} 张示例"


def _plant(maker: Maker, region: str) -> int:
    """A physician with two patients at once, a visit split in three, a charge without consent."""
    place = HOSPITALS[PEOPLE[region][2]]
    first = maker.visit(region, hospital=place.key, post="attending", day=PLANTED_ON)
    made = [_video(maker.ordinary[region](first))]
    other = Visit(
        place, first.doctor, maker.person(region, home=place.key), first.day, first.minute + 3
    )
    made.append(_video(maker.ordinary[region](other)))
    patient = maker.visit(region, hospital=place.key, post="resident", day=PLANTED_ON)
    for hour in (14, 16, 18):
        again = Visit(place, patient.doctor, patient.person, patient.day, 60 * hour)
        made.append(maker.ordinary[region](again))
    silent = maker.ordinary[region](maker.visit(region, hospital=place.key, day=PLANTED_ON))
    silent.body["consent"] = {"item_and_price_explained": False, "given_at": None}
    made.append(silent)
    institution = Institution.objects.select_related("region").get(pk=place.code)
    for draft in made:
        receive(
            institution=Claimant.of(institution), claim=draft.body, by="client:demo-nt1",
            at=moment(PLANTED_ON, 20),
        )  # fmt: skip
    return len(made)


def _video(draft: Draft) -> Draft:
    encounter = draft.body["encounter"]
    encounter["session"] = {"medium": "video"}
    start = dt.datetime.fromisoformat(encounter["started_at"])
    encounter["ended_at"] = (start + dt.timedelta(minutes=15)).isoformat()
    return draft


def _decide(region: str, first: str, second: str, at: dt.datetime) -> None:
    """Some are true, one is not, one is handed over, one a person noticed."""
    place = HOSPITALS[PEOPLE[region][2]].code
    rows = list(Finding.objects.filter(institution_code=place).order_by("-severity", "pk")[:8])
    for number, row in enumerate(rows[:6]):
        if number < 3:
            findings.confirm(finding=row, reason=REASONS[0], by=first, at=at)
            if number:  # one is true and the hospital does not know it yet
                findings.tell(finding=row, by=first, at=at)
        elif number == 3:
            findings.refute(finding=row, reason=REASONS[1], by=first, at=at)
        else:
            findings.hand_over(finding=row, to=User.objects.get(username=second), by=first, at=at)
    claim = Claim.objects.filter(institution_code=place).order_by("-pk").first()
    if claim is not None:
        findings.record(
            claim=claim, behaviour="other", severity=2, clause="审核发现（示例）",
            message="病历记载的用药与处方不一致，建议核查（示例）", by=first, at=at,
        )  # fmt: skip
