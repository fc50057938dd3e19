"""Hospitals of Jilin that consult each other, and a consultation brought to any stage by its commands."""

import datetime as dt
from dataclasses import dataclass

import pytest

from institutions.models import Institution, Region, User
from settlement import consultations
from settlement.consultations import Invited
from settlement.models import Consultation, Leg, Participant, SplitAgreement, Voucher
from tests import factories

ZONE = factories.ZONE
CONSENT = {"consenter": "patient", "explained": True, "agreed": True}
STAGES = ("draft", "invited", "scheduled", "held", "entered", "charged", "distributed")


def at(day: dt.date, hour: int = 9) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(hour), ZONE)


def hospital(name: str, tier: str = "provincial", area: str = "220000") -> Institution:
    place = factories.region("jilin")
    if area != place.code:
        place, _ = Region.objects.get_or_create(
            code=area,
            defaults={"name": f"区域{area}", "level": "prefecture", "policy_region": "jilin",
                      "parent": place},
        )  # fmt: skip
    number = Institution.objects.count() + 1
    return Institution.objects.create(
        code=f"H{area}{number:05d}", name=name, region=place, tier=tier
    )


def person(place: Institution | Region, role: str = "hospital") -> User:
    """Somebody of a hospital, or with another role in an area."""
    where = {"institution": place} if isinstance(place, Institution) else {"region": place}
    name = f"{role}.{place.pk}"
    made, _ = User.objects.get_or_create(
        username=name, defaults={"role": role, "password": "!", **where}
    )
    return made


def agreed(
    inviting: Institution, invited: Institution, ratio: int = 7000,
    since: dt.date = dt.date(2020, 1, 1), confirmed: bool = True,
) -> SplitAgreement:  # fmt: skip
    row = consultations.record_agreement(
        inviting=inviting, invited=invited, number=f"协议-{invited.pk}", ratio_invited=ratio,
        valid_from=since, by="财务", at=at(since),
    )  # fmt: skip
    if confirmed:
        who = person(invited)
        consultations.confirm_agreement(agreement=row, who=who, by=who.username, at=at(since))
    return row


@dataclass
class Story:
    """A consultation of a hospital, moved on by the people of both sides."""

    inviting: Institution
    case: Consultation

    @classmethod
    def begin(
        cls, inviting: Institution, *invited: Institution, day: dt.date = dt.date(2021, 4, 12),
        experts: int = 1, id_number: str = "",
    ) -> "Story":  # fmt: skip
        names = tuple(f"专家{n}" for n in range(1, experts + 1))
        case = consultations.request(
            inviting=inviting, id_number=id_number or factories.id_number(), inpatient_no="ZY001",
            department="呼吸内科", purpose="疑难病例", wanted_on=day,
            invited=[Invited(row, names) for row in invited],
            by=person(inviting).username, at=at(day),
        )  # fmt: skip
        return cls(inviting, case)

    @property
    def who(self) -> User:
        return person(self.inviting)

    def participant(self, hospital: Institution) -> Participant:
        return self.case.participants.get(hospital=hospital)

    def step(self, key: str, day: dt.date, hour: int = 10, note: str = "", **facts: object) -> None:
        consultations.take_step(
            case=self.case, step=key, who=self.who, by=self.who.username, at=at(day, hour),
            facts=facts, note=note,
        )  # fmt: skip

    def answers(self, day: dt.date, *declining: Institution) -> None:
        for row in self.case.participants.select_related("hospital"):
            who = person(row.hospital)
            no = row.hospital in declining
            consultations.answer(
                participant=row, accept=not no, note="另有安排" if no else "", who=who,
                by=who.username, at=at(day, 11),
            )  # fmt: skip
        self.case.refresh_from_db()

    def to(self, stage: str, day: dt.date = dt.date(2021, 4, 12), **more: object) -> "Story":
        """Bring it on, all on one day."""
        facts: dict[str, dict] = {
            "consent": CONSENT,
            "hold": {"session_on": day.isoformat(), "minutes": "45", "summary": "建议"},
            "enter": {"entry": "病程记录 12"},
        }
        keys = {"invited": "consent", "held": "hold", "entered": "enter", "charged": "collect",
                "distributed": "distribute"}  # fmt: skip
        for name in STAGES[STAGES.index(self.case.state) + 1 : STAGES.index(stage) + 1]:
            if name == "scheduled":
                self.answers(day)
                continue
            given = facts.get(keys[name], {})
            if name == "held":
                given = given | {"attended": self.coming()}
            given = given | more.get(keys[name], {})
            if name == "charged":
                given = self.collected() | given
            self.step(keys[name], day, 12, **given)
        return self

    def coming(self) -> list[str]:
        """The hospitals that said yes."""
        said = self.case.participants.filter(answer="accepted")
        return list(said.values_list("hospital_id", flat=True))

    def collected(self) -> dict:
        amount = self.case.amount or 0
        return {
            "invoice_no": f"PJ{self.case.pk:06d}",
            "amount": f"{amount // 100}.{amount % 100:02d}",
        }

    def pay(self, hospital: Institution, day: dt.date, amount: int | None = None) -> None:
        row = self.participant(hospital)
        consultations.pay(
            participant=row, amount=row.share if amount is None else amount,
            payment_no=f"FK{row.pk}", who=self.who, by=self.who.username, at=at(day, 13),
        )  # fmt: skip

    def receipt(
        self, hospital: Institution, day: dt.date, amount: int | None = None, number: str = "SJ1"
    ):
        row, who = self.participant(hospital), person(hospital)
        return consultations.issue_receipt(
            participant=row, number=number, amount=row.share if amount is None else amount,
            issued_on=day, who=who, by=who.username, at=at(day, 14),
        )  # fmt: skip

    def reduce(self, hospital: Institution, day: dt.date, late_reason: str = "") -> None:
        consultations.reduce_revenue(
            participant=self.participant(hospital), late_reason=late_reason, who=self.who,
            by=self.who.username, at=at(day, 15),
        )  # fmt: skip
        self.case.refresh_from_db()


def balances(story: Story) -> dict[int, int]:
    """Net amount of every account touched by a consultation."""
    ids = Voucher.objects.filter(subject=story.case.subject).values("pk")
    found: dict[int, int] = {}
    for account, amount in Leg.objects.filter(claim_id__in=ids).values_list("account", "amount"):
        found[account] = found.get(account, 0) + amount
    return {account: amount for account, amount in found.items() if amount}


def code_of(stopped: pytest.ExceptionInfo) -> str:
    return stopped.value.code
