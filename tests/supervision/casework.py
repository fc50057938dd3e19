"""People and cases of tests: a supervisor's office, an agency, a hospital with settled claims."""

import datetime as dt
from typing import Any

from audit.models import Move
from institutions.access import EVERYTHING, set_scope
from institutions.models import Institution, Region, User
from settlement.models import Claim, Settlement
from supervision import case_steps, cases, interviews, sanctions
from supervision.cases import Wanted
from supervision.models import Sanction, SupervisionCase
from supervision.writs import Service
from tests import factories
from tests.settlement.test_pages import AT, House

TODAY = AT.date()
SERVED = Service("direct", "王某", TODAY)
SIGNED = {"method": "direct", "receiver": "王某"}
ACTED = dt.date(2021, 6, 1)
PDF = ("笔录.pdf", b"%PDF-1.4 record")


class Office:
    """The people of an area: who handles, who inspects, who decides, and the hospital concerned."""

    def __init__(self, region: str = "nantong") -> None:
        factories.policies(region)
        set_scope(EVERYTHING)
        self.house = House(region)
        self.place: Institution = self.house.row
        self.region = Region.objects.get(pk=self.place.region_id)
        self.handler = factories.user("supervisor", self.region)
        self.second = factories.user("supervisor", self.region)
        self.third = factories.user("supervisor", self.region)
        self.chief = factories.user("supervisor", self.region)
        self.agency = factories.user("signing_officer", self.region)
        self.reviewer = factories.user("reviewer", self.region)
        self.finance = factories.user("finance_officer", self.region)
        self.hospital = self.house.staff
        set_scope(EVERYTHING)

    def claim(self) -> tuple[Claim, int]:
        """A settled claim and what the fund paid for it."""
        made = self.house.send()
        set_scope(EVERYTHING)
        return made, Settlement.objects.get(claim_id=made.pk, version=1).fund

    def open(self, **given: Any) -> SupervisionCase:
        wanted: dict[str, Any] = {
            "title": "涉嫌重复收取诊察费", "subject_kind": "institution",
            "subject_code": self.place.code, "institution_code": self.place.code,
            "summary": "同一患者同日两次收取诊察费", "acted_from": ACTED, "acted_until": TODAY,
        }  # fmt: skip
        return cases.open_case(
            region=self.region, wanted=Wanted(**wanted | given), by=self.handler.username, at=AT
        )

    def take(self, case: SupervisionCase, step: str, who: User, **given: Any) -> Move:
        return case_steps.take_step(
            case=case, step=step, who=who, by=who.username, at=AT, **given
        )  # fmt: skip

    def inquired(self, **given: Any) -> SupervisionCase:
        """A case whose inquiry has two inspectors and one claim as evidence."""
        case = self.open(**given)
        self.take(case, "accept", self.chief)
        for person, lead in ((self.handler, True), (self.second, False)):
            cases.name_inspector(
                case=case, username=person.username, certificate="苏F-01", lead=lead,
                by=self.handler.username, at=AT,
            )  # fmt: skip
        if case.subject_kind == "institution":
            claim, fund = self.claim()
            cases.add_claim(case=case, claim_no=claim.claim_no, loss=fund, note="重复收费",
                            by=self.handler.username, at=AT)  # fmt: skip
        else:
            cases.add_file(case=case, title="询问笔录", file=PDF, by=self.handler.username, at=AT)
        return case

    def propose(self, case: SupervisionCase, kind: str, **given: Any) -> Sanction:
        return sanctions.propose(case=case, kind=kind, by=self.handler.username, at=AT, **given)

    def notify(self, case: SupervisionCase, route: str, article: str = "", loss: str = "0") -> None:
        facts = {"route": route, "article": article, "found": "查明属实", "loss": loss,
                 "method": "portal", "receiver": "王某"}  # fmt: skip
        self.take(case, "notify", self.handler, facts=facts)

    def decided(
        self, case: SupervisionCase, route: str, article: str = "", loss: str = "0"
    ) -> None:
        """Told, without a statement, decided, served."""
        self.notify(case, route, article, loss)
        if case.party:
            self.take(case, "waive", self.hospital)
        else:  # a person has no account: the clerk records what was said
            self.take(case, "record", self.handler, facts={"text": "无异议", "waived": True})
            self.take(case, "consider", self.handler, note="采纳")
        decider = self.agency if route == "agreement" else self.chief
        self.take(case, f"decide_{route}", decider, note="同意")
        self.take(case, "serve", self.handler, facts={"method": "direct", "receiver": "王某"})

    def execute(self, case: SupervisionCase, who: User | None = None) -> list[Sanction]:
        return [
            self.interviewed(row) if row.kind == interviews.KIND else
            sanctions.execute(
                sanction=row, on=TODAY, record="已办理", who=who or self.handler, at=AT
            )
            for row in case.sanctions.filter(state="ordered")
        ]  # fmt: skip

    def interviewed(self, row: Sanction) -> Sanction:
        """An interview from its notice to its confirmed minutes."""
        interviews.notify(
            sanction=row, wanted=interviews.Appointment(TODAY, "上午9时，302会议室", "院长", "重复收费"),
            service=Service("direct", "王某", TODAY), who=self.handler, at=AT,
        )  # fmt: skip
        made = interviews.record(
            sanction=row, minutes=interviews.Minutes(TODAY, "院长、承办人", "系重复上传", "七日内整改"),
            who=self.handler, at=AT,
        )  # fmt: skip
        interviews.confirm(interview=made, agree=True, reason="", who=self.second, at=AT)
        row.refresh_from_db()
        return row
