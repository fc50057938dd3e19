"""What a case's measures do where they are carried out: to later claims and to the agreement's state."""

import datetime as dt
import json
from typing import Any

import pytest

from agreements import lifecycle
from agreements.models import Agreement
from audit.models import Event
from institutions.access import EVERYTHING, set_scope
from institutions.refusals import Refusal
from settlement import commands
from settlement.facts import Claimant
from supervision import sanctions
from supervision.models import Restriction, SupervisionCase
from tests import factories
from tests.factories import line
from tests.settlement.test_pages import AT
from tests.supervision.casework import TODAY, Office

pytestmark = pytest.mark.django_db
PAID = ("payable", None, "6.00")


@pytest.fixture
def office() -> Office:
    return Office()


def sent(office: Office) -> tuple[str, str | None, str]:
    """What becomes of a new patient's visit of today: its state, the reason, the fund's part."""
    house, person = office.house, factories.person("nantong")
    set_scope(EVERYTHING)
    body = factories.body(person, house.doctor, line(item="111102003", fee="35.00"))
    given = commands.receive(institution=Claimant.of(house.row), claim=body, by="test", at=AT)
    told = json.loads(given.body)
    return told["state"], told["lines"][0]["reason"], told["totals"]["fund"]


def decided(office: Office, kind: str, **given: Any) -> SupervisionCase:
    case = office.inquired()
    office.propose(case, kind, **given)
    office.decided(case, "agreement")
    return case


def test_a_suspended_practitioner_s_next_claim_is_refused(office: Office) -> None:
    doctor = office.house.doctor
    case = decided(office, "suspend_practitioner", target=doctor.pk, months=3)
    assert sent(office) == PAID
    (row,) = office.execute(case)
    made = Restriction.objects.get()
    assert row.effects == [{"restriction": made.pk, "from": "2021-06-15", "until": "2021-09-14"}]
    assert doctor.suspensions.facts_on(TODAY).clause == row.clause
    assert sent(office) == ("reject", "PHYSICIAN_SUSPENDED", "0.00")
    office.take(case, "close", office.chief, note="结案")


def test_a_terminated_agreement_pays_no_later_claim(office: Office) -> None:
    case = decided(office, "terminate_agreement", note="骗取基金")
    assert sent(office) == PAID
    (row,) = case.sanctions.all()
    with pytest.raises(Refusal, match="NOT_YOURS"):
        sanctions.execute(sanction=row, on=TODAY, record="x", who=office.handler, at=AT)
    (row,) = office.execute(case, office.agency)
    agreement = Agreement.objects.get(institution=office.place, kind="supplementary")
    state = lifecycle.state_on(agreement, TODAY + dt.timedelta(days=1))
    assert state is not None
    assert (state.state, row.effects) == (
        "terminated",
        [{"agreement": agreement.number, "decision": "terminated", "on": "2021-06-15"}],
    )
    assert sent(office) == ("reject", "NO_AGREEMENT", "0.00")
    assert Event.objects.filter(action="sanction.execute", subject=case.subject).exists()
