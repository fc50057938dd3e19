"""What later looks find: an open finding grows, a decided one does not; all its claims are its evidence."""

import datetime as dt

import numpy as np
import pytest
from django.db import Error, transaction
from django.test import Client
from django.urls import reverse

from audit.models import Event
from pricing.releases import current
from pricing.rules import SERVICES
from pricing.watching import Switch
from settlement.columns import day_number
from supervision import case_losses, cases, findings, suspicions
from supervision.models import Finding
from supervision.rules import RULES, Found, Visits
from supervision.suspicions import Cited, Looked, Names, Place
from tests import factories
from tests.settlement.test_pages import AT
from tests.supervision.casework import ACTED, TODAY, Office
from tests.supervision.test_fair_findings import found

pytestmark = pytest.mark.django_db
BARE, DRUG = 900_000, SERVICES.index("drug")


@pytest.fixture
def office(settings) -> Office:
    settings.DEMO_TODAY = TODAY
    return Office()


def night(
    office: Office, claims: range, *, moment: str = "audit", elsewhere: Place | None = None
) -> list[tuple[int, str, str]]:
    """A look at so many claims of this month, each with one drug line without trace codes."""
    n = len(claims)
    ids = np.arange(claims.start, claims.stop) + BARE
    visits = Visits(
        {"id": ids, "institution": np.ones(n, np.int64), "physician": np.full(n, 5),
         "person": np.arange(n) + 1, "day": day_number(ACTED) + np.arange(n) % 3,
         "fee": np.full(n, 1_000), "fund": np.full(n, 600)},
        {"claim": np.arange(n), "line_no": np.full(n, 2), "service": np.full(n, DRUG)},
    )  # fmt: skip
    rule = RULES["missing_trace_codes"]
    switch = Switch(1_000, rule.code, rule.behaviour, 2, "二十四", ("audit",), "pay",
                    numbers={"share": 1_000, "lines": 1})  # fmt: skip
    hits = rule.find(visits, switch.numbers)
    names = Names({1: elsewhere or Place(office.place.pk, office.region.pk)}, {5: "D1"})
    ones = list(suspicions.suspicions(visits, switch, rule, hits, names))
    policy = current().rules("nantong", ACTED, examples=True).policy
    return suspicions.store(ones, Looked(Cited(policy), moment, "night", AT))


def sums(row: Finding) -> tuple[int, int, int, int]:
    row.refresh_from_db()
    return row.claims, row.fee, row.fund, row.figures["missing"]


def test_an_open_finding_grows_with_each_later_look(office: Office) -> None:
    assert len(night(office, range(20))) == 1
    row = Finding.objects.get()
    assert sums(row) == (20, 20_000, 12_000, 20)
    assert night(office, range(1_200)) == []
    assert sums(row) == (1_200, 1_200_000, 720_000, 1_200)
    assert row.evidence.count() == 1_200
    assert row.last_day == ACTED + dt.timedelta(days=2)
    event = Event.objects.get(action="finding.grow")
    assert (event.subject, event.actor) == (f"finding:{row.pk}", "night")
    assert night(office, range(1_200)) == []  # the same again is nothing new
    assert Event.objects.filter(action="finding.grow").count() == 1
    assert night(office, range(1_199, 1_210)) == []  # some of the claims alone: no sum shrinks
    assert sums(row)[:3] == (1_210, 1_210_000, 726_000)


@pytest.mark.parametrize("decide", [findings.confirm, findings.refute])
def test_what_is_new_after_a_decision_is_a_finding_of_its_own(office: Office, decide) -> None:
    night(office, range(20))
    first = Finding.objects.get()
    decide(finding=first, reason="已核查", by="reviewer", at=AT)
    assert night(office, range(20)) == []
    assert len(night(office, range(50))) == 1
    assert sums(first) == (20, 20_000, 12_000, 20)
    second = Finding.objects.get(state="open")
    assert (second.key, second.sequence) == (first.key, 2)
    assert sums(second)[:3] == (30, 30_000, 18_000)
    assert not set(first.evidence.values_list("claim_id")) & set(
        second.evidence.values_list("claim_id")
    )
    assert night(office, range(60)) == []
    assert sums(second)[:3] == (40, 40_000, 24_000)
    supervisor = factories.user("supervisor", office.region)
    page = factories.log_in(Client(), supervisor).get(reverse("finding", args=[second.pk]))
    assert "本条只含其后发现的记录" in page.content.decode()


def test_a_finding_in_a_case_stays_as_it_was_taken(office: Office) -> None:
    night(office, range(20))
    first = Finding.objects.get()
    case = office.inquired()
    cases.add_finding(case=case, finding=first, by=office.handler.username, at=AT)
    assert len(night(office, range(30))) == 1
    assert sums(first)[0] == 20
    assert sums(Finding.objects.get(sequence=2))[0] == 10
    with pytest.raises(Error, match="keeps its content"), transaction.atomic():
        Finding.objects.filter(pk=first.pk).update(fixed=False)


def test_no_finding_grows_without_its_claims(office: Office) -> None:
    night(office, range(20))
    for given in ({"fund": 12_001}, {"claims": 21}, {"fee": 20_001}):
        with pytest.raises(Error, match="keeps its content"), transaction.atomic():
            Finding.objects.update(**given)


def test_claims_of_another_institution_are_its_share(office: Office) -> None:
    other = factories.institution("nantong")
    night(office, range(20))
    there = Place(other.pk, other.region_id)
    row = Finding.objects.get()
    suspicion = _of_two(office, there)
    policy = current().rules("nantong", ACTED, examples=True).policy
    suspicions.store([suspicion], Looked(Cited(policy), "audit", "night", AT))
    row = Finding.objects.get(rule="sessions_per_hour")
    more = _of_two(office, there, more=3)
    assert suspicions.store([more], Looked(Cited(policy), "watch", "hospital", AT)) == []
    row.refresh_from_db()
    assert row.claims == 2  # whoever submits sees its own share only: the night adds it
    suspicions.store([more], Looked(Cited(policy), "audit", "night", AT))
    row.refresh_from_db()
    assert row.share_of(office.place.pk) == (4, 4_000, 2_400)
    assert row.share_of(other.pk) == (1, 1_000, 600)
    assert row.fund == 3_000


def _of_two(office: Office, there: Place, more: int = 0) -> suspicions.Suspicion:
    n = 2 + more
    visits = Visits(
        {"id": np.arange(n) + 77, "institution": np.array([2] + [1] * (n - 1)),
         "physician": np.full(n, 5), "person": np.arange(n), "day": np.full(n, day_number(ACTED)),
         "fee": np.full(n, 1_000), "fund": np.full(n, 600)},
        {"claim": np.zeros(0, np.int64)},
    )  # fmt: skip
    rule = RULES["sessions_per_hour"]
    hits = Found.groups(
        np.arange(n), np.zeros(n, np.int64), subject=np.array([5]), mark=np.array([1])
    )
    switch = Switch(1_000, rule.code, rule.behaviour, 2, "二十四", ("audit",), "pay")
    names = Names({1: Place(office.place.pk, office.region.pk), 2: there}, {5: "D1"})
    return next(iter(suspicions.suspicions(visits, switch, rule, hits, names)))


def test_two_hits_of_one_key_are_one_finding_with_the_claims_of_both(office: Office) -> None:
    there = Place(factories.institution("nantong").pk, office.region.pk)
    one, other = _of_two(office, there), _of_two(office, there, more=2)
    policy = current().rules("nantong", ACTED, examples=True).policy
    made = suspicions.store(
        [one.only([(77, 0)]), other.only([(79, 0), (80, 0)])],
        Looked(Cited(policy), "audit", "n", AT),
    )
    assert len(made) == 1
    row = Finding.objects.get()
    assert (row.claims, row.fund, row.evidence.count()) == (3, 1_800, 3)


def test_every_claim_of_a_large_finding_counts_once_in_a_case(office: Office) -> None:
    """Two findings on the same 620 claims: the second adds nothing to the loss."""
    night(office, range(620))
    large = Finding.objects.get()
    again = found(office, rule="over_price", claims=620, fund=0)
    again.evidence.model.objects.bulk_create(
        again.evidence.model(finding=again, claim_id=BARE + k, region_code=again.region_code,
                             institution_code=again.institution_code) for k in range(620)
    )  # fmt: skip
    case = office.inquired()
    rows = [cases.add_finding(case=case, finding=row, by=office.handler.username, at=AT)
            for row in (large, again)]  # fmt: skip
    assert [len(row.content["claims_of"]) for row in rows] == [620, 620]
    assert len(case_losses.losses([rows[1]])) == len(case_losses.losses([rows[0]]))
