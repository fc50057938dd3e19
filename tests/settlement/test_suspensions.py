"""Restrictions act on money: suspended persons, practitioners, departments; one by one and as a file.

(国务院令第735号 第38、40、41条；温医保办〔2021〕6号 二十八)
"""

import datetime as dt
from collections.abc import Iterator

import pytest
from django.db import Error, connection, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from institutions import commands as registry
from institutions.access import EVERYTHING, set_scope
from institutions.models import (
    DepartmentSuspension,
    Institution,
    Physician,
    Region,
    ServiceSuspension,
)
from institutions.refusals import Refusal
from pricing import releases
from pricing.document import Policy
from pricing.policy import compile_rules
from settlement import facts, persons
from settlement.facts import Claimant
from settlement.models import InsuredPerson, OnlineSuspension
from settlement.register.commands import suspend_online
from settlement.trial import run
from tests import factories
from tests.factories import line
from tests.settlement.agency import Agency
from tests.settlement.benefits import both, entitle
from tests.settlement.hospital import Hospital, forget_databases

DAY = factories.DAY
ONE = dt.timedelta(days=1)
ARTICLE = {"document": "国务院令第735号", "clause": "第四十一条", "text": ""}
SIGN = {"clause": "国务院令第735号 第41条", "by": "chief", "at": factories.RECORDED}
FIRST, LAST = DAY - 2 * ONE, DAY + ONE


@pytest.fixture
def hospital(committed_db: str) -> Iterator[Hospital]:
    forget_databases()
    factories.policies("nantong")
    yield Hospital()
    forget_databases()


def barred(person: InsuredPerson, source: str = "restriction:1", **more: object) -> None:
    given = {"since": FIRST, "until": LAST, **SIGN} | more
    suspend_online(person=person, source=source, **given)


def stopped(doctor: Physician, source: str = "restriction:9", **more: object) -> None:
    given = {"since": FIRST, "until": LAST, **SIGN} | more
    registry.suspend_practitioner(physician=doctor, source=source, **given)


def shut(
    place: Institution, code: str = "A03", source: str = "restriction:5", **more: object
) -> None:
    given = {"since": FIRST, "until": LAST, **SIGN} | more
    registry.suspend_department(institution=place, department=code, source=source, **given)


def seen(person: InsuredPerson, doctor: Physician, code: str = "A03", **more: object) -> dict:
    """A claim of a visit in a department."""
    claim = factories.body(person, doctor, **more)
    claim["encounter"]["department_code"] = code
    return claim


def told(claim: dict) -> tuple:
    row = claim["lines"][0]
    return (claim["state"], row["reason"], claim["totals"]["fund"])


PAID = ("payable", None, "6.00")
ONLINE, DOCTOR = ("reject", "ONLINE_SUSPENDED", "0.00"), ("reject", "PHYSICIAN_SUSPENDED", "0.00")
SHUT = ("reject", "DEPARTMENT_SUSPENDED", "0.00")


# --- The same answer one by one and as a file ---


def test_a_suspended_person_is_refused_online_on_both_edges_and_not_beyond(hospital: Hospital):
    pair = [factories.person("nantong") for _ in range(2)]
    for number, person in enumerate(pair):
        barred(person, f"restriction:{number}")
    days = (FIRST - ONE, FIRST, LAST, LAST + ONE)
    claims = both(
        hospital, *pair,
        lambda p: [factories.body(p, hospital.doctor, day=day) for day in days],
    )  # fmt: skip
    assert [told(claim) for claim in claims] == [PAID, ONLINE, ONLINE, PAID]
    refused = claims[1]["lines"][0]
    assert refused["reason_text"] == (
        "就诊日在参保人员被暂停医疗费用联网结算的期间内，不能联网结算，可先行支付后凭电子发票手工报销"
    )
    assert refused["clauses"][0] == ARTICLE
    assert refused["clauses"][1]["clause"] == "四（三）"
    assert (refused["settlement_channel"], refused["requires"]) == (
        "manual",
        ["electronic_invoice"],
    )
    set_scope(EVERYTHING)
    assert hospital.get(claims[1]["links"]["self"]).json() == claims[1]


def test_the_manual_channel_stays_open(hospital: Hospital):
    pair = [factories.person("nantong") for _ in range(2)]
    for number, person in enumerate(pair):
        barred(person, f"restriction:{number}")
    numbers = iter(("26312000000000000013", "26312000000000000021"))
    (claim,) = both(
        hospital, *pair,
        lambda p: [factories.body(p, hospital.doctor, channel="manual", e_invoice_no=next(numbers))],
    )  # fmt: skip
    assert told(claim) == PAID


def test_a_suspended_physician_is_refused_in_every_channel(hospital: Hospital):
    away = factories.physician(factories.institution("wenzhou"))
    stopped(hospital.doctor)
    stopped(away, "restriction:8")
    pair = [factories.person("nantong") for _ in range(2)]
    numbers = iter(("26312000000000000013", "26312000000000000021"))
    claims = both(
        hospital, *pair,
        lambda p: [
            *(factories.body(p, hospital.doctor, day=day)
              for day in (FIRST - ONE, FIRST, LAST, LAST + ONE)),
            factories.body(p, hospital.doctor, channel="manual", e_invoice_no=next(numbers)),
        ],
    )  # fmt: skip
    assert [told(claim) for claim in claims] == [PAID, DOCTOR, DOCTOR, PAID, DOCTOR]
    row = claims[1]["lines"][0]
    assert (row["clauses"][0]["clause"], row["settlement_channel"]) == ("四（三）", None)


def test_an_early_end_and_a_termination_act_alike_on_both_paths(hospital: Hospital):
    pair = [factories.person("nantong") for _ in range(2)]
    for number, person in enumerate(pair):
        barred(person, f"restriction:{number}", until=DAY + 30 * ONE)
        registry.end_early(OnlineSuspension, source=f"restriction:{number}", last=DAY, by="other",
                           at=factories.RECORDED + ONE)  # fmt: skip
    other = factories.physician(hospital.row)
    stopped(other, until=None)
    claims = both(
        hospital, *pair,
        lambda p: [factories.body(p, hospital.doctor, day=DAY),
                   factories.body(p, hospital.doctor, day=DAY + ONE),
                   factories.body(p, other, day=DAY + 100 * ONE)],
    )  # fmt: skip
    assert [told(claim) for claim in claims] == [ONLINE, PAID, DOCTOR]


def test_a_suspended_department_is_refused_on_both_edges_in_every_channel(hospital: Hospital):
    shut(hospital.row)
    pair = [factories.person("nantong") for _ in range(2)]
    numbers = iter(("26312000000000000013", "26312000000000000021"))
    claims = both(
        hospital, *pair,
        lambda p: [
            *(seen(p, hospital.doctor, day=day) for day in (FIRST - ONE, FIRST, LAST, LAST + ONE)),
            seen(p, hospital.doctor, channel="manual", e_invoice_no=next(numbers)),
        ],
    )  # fmt: skip
    assert [told(claim) for claim in claims] == [PAID, SHUT, SHUT, PAID, SHUT]
    row = claims[1]["lines"][0]
    assert row["reason_text"] == "就诊科室在被责令暂停涉及医保基金使用的医药服务的期间内"
    assert row["clauses"][0] == ARTICLE | {"clause": "第三十八条、第四十条"}
    assert row["clauses"][1]["clause"] == "四（三）"
    set_scope(EVERYTHING)
    assert hospital.get(claims[1]["links"]["self"]).json() == claims[1]


def test_other_departments_and_the_same_one_elsewhere_are_paid(hospital: Hospital):
    elsewhere = factories.institution("nantong")
    shut(elsewhere, "A04")
    shut(hospital.row, "A04.01", "restriction:6")
    shut(hospital.row, "A05", "restriction:7")
    pair = [factories.person("nantong") for _ in range(2)]
    codes = ("A03", "A04", "A04.01", "A04.02", "A05", "A05.01", "A051", "A0")
    claims = both(
        hospital, *pair, lambda p: [seen(p, hospital.doctor, code, day=DAY) for code in codes]
    )
    assert [told(claim) for claim in claims] == [PAID, PAID, SHUT, PAID, SHUT, SHUT, PAID, PAID]


def test_a_department_lifted_early_is_paid_from_the_next_day_on(hospital: Hospital):
    shut(hospital.row, until=DAY + 30 * ONE)
    registry.end_early(DepartmentSuspension, source="restriction:5", last=DAY, by="other",
                       at=factories.RECORDED + ONE)  # fmt: skip
    pair = [factories.person("nantong") for _ in range(2)]
    claims = both(
        hospital, *pair,
        lambda p: [seen(p, hospital.doctor, day=DAY), seen(p, hospital.doctor, day=DAY + ONE)],
    )  # fmt: skip
    assert [told(claim) for claim in claims] == [SHUT, PAID]


def reviewed_by(person: InsuredPerson, hospital: Hospital, code: str, day: dt.date) -> dict:
    """A claim of a consultation and a drug whose prescription a pharmacist reviewed on a day."""
    drug = line(2, kind="drug", item="D1", fee="20.00", prescription_no="P1")
    claim = factories.body(person, hospital.doctor, line(), drug, day=day)
    claim["prescriptions"][0]["reviewed_by"] = code
    return claim


def test_drugs_reviewed_by_a_suspended_pharmacist_are_refused_on_both_edges(committed_db: str):
    forget_databases()
    factories.policies("wenzhou")
    hospital = Hospital("wenzhou", "employee")
    barred_one, other = (
        factories.physician(hospital.row, kind=Physician.Kind.PHARMACIST) for _ in range(2)
    )
    stopped(barred_one)
    pair = [factories.person("wenzhou", "employee") for _ in range(2)]
    for person in pair:
        factories.offline_visit(person, hospital.row)
    acts = [(day, barred_one.pk) for day in (FIRST - ONE, FIRST, LAST, LAST + ONE)]
    acts.append((DAY, other.pk))
    claims = both(
        hospital, *pair,
        lambda p: [reviewed_by(p, hospital, code, day) for day, code in acts],
    )  # fmt: skip
    found = [[(row["decision"], row["reason"]) for row in claim["lines"]] for claim in claims]
    paid, refused = ("payable", None), ("reject", "PHARMACIST_SUSPENDED")
    assert [drug for _, drug in found] == [paid, refused, refused, paid, paid]
    assert len({visit for visit, _ in found}) == 1  # the consultation is nobody's prescription
    row = claims[1]["lines"][1]
    assert row["clauses"][0]["clause"] == "二十八"
    assert row["reason_text"] == "处方由在被暂停或终止医保服务资格期间内的药师审核或调配"
    forget_databases()


def test_a_department_is_named_before_a_person_who_could_claim_by_hand(db) -> None:
    factories.policies("nantong")
    made = Hospital()
    shut(made.row)
    barred(made.patient)
    stopped(made.doctor)
    claim = made.settled()
    assert told(claim) == SHUT
    assert claim["lines"][0]["settlement_channel"] is None


# --- Two times ---


def test_what_is_recorded_later_changes_no_settled_claim(db) -> None:
    factories.policies("nantong")
    made = Hospital()
    before = made.settled()
    asked_at = timezone.now()
    barred(made.patient, at=timezone.now())
    stopped(made.doctor, at=timezone.now())
    assert told(made.settled()) == ONLINE
    shut(made.row, at=timezone.now())
    assert told(made.settled()) == SHUT
    assert made.get(before["links"]["self"]).json() == before
    claim, rules = made.body(), releases.current().rules("nantong", DAY)
    claimant = Claimant.of(made.row)
    for at, known in ((asked_at, True), (timezone.now(), False)):
        found = facts.read(claimant, claim, rules, at=at)
        assert (found.online_permitted, found.physician_permitted) == (known, known)
        assert found.department_permitted is known


def test_what_was_known_before_an_early_end_can_be_asked(db) -> None:
    person = factories.person()
    barred(person)
    later = factories.RECORDED + 10 * ONE
    registry.end_early(
        OnlineSuspension, source="restriction:1", last=FIRST, by="other", at=later
    )  # fmt: skip
    rows = person.suspensions
    assert rows.facts_on(DAY, later - ONE).valid_until == LAST
    assert rows.facts_on(DAY, later) is None
    assert rows.facts_on(FIRST, later).recorded_by == "other"
    assert [str(row) for row in persons.suspensions(person, later)] == [f"{FIRST} 至 {FIRST}"]


def test_a_row_is_replaced_and_never_changed(db) -> None:
    person = factories.person()
    barred(person)
    row = person.suspensions.get()
    for spoil in (
        lambda: OnlineSuspension.objects.filter(pk=row.pk).update(valid_until=DAY),
        lambda: OnlineSuspension.objects.filter(pk=row.pk).update(clause="别的"),
        lambda: barred(person),  # the same decision twice
        lambda: barred(person, "restriction:2", clause=""),
        lambda: OnlineSuspension.objects.create(
            person=person, valid_from=LAST, valid_until=FIRST, clause="x", source="y",
            recorded_at=factories.RECORDED, recorded_by="z",
        ),
        lambda: _as_app("DELETE FROM settlement_onlinesuspension"),
        lambda: _as_app("DELETE FROM institutions_servicesuspension"),
        lambda: _as_app("DELETE FROM institutions_departmentsuspension"),
    ):  # fmt: skip
        with pytest.raises(Error), transaction.atomic():
            spoil()
    with pytest.raises(Refusal, match="DATES_REVERSED"):
        barred(person, "restriction:3", until=FIRST - ONE)
    barred(person, "restriction:4")  # another decision of the same days stands beside it
    registry.end_early(OnlineSuspension, source="restriction:1", last=FIRST, by="o", at=SIGN["at"])
    assert person.suspensions.facts_on(LAST).source == "restriction:4"


def test_a_row_of_a_department_is_replaced_and_never_changed(db) -> None:
    place = factories.institution()
    shut(place)
    row = place.department_suspensions.get()
    for spoil in (
        lambda: DepartmentSuspension.objects.filter(pk=row.pk).update(department="A04"),
        lambda: DepartmentSuspension.objects.filter(pk=row.pk).update(valid_until=DAY),
        lambda: shut(place),  # the same decision twice
        lambda: shut(place, source="restriction:2", clause=""),
        lambda: DepartmentSuspension.objects.create(
            institution=place, department="", valid_from=FIRST, clause="x", source="y",
            recorded_at=factories.RECORDED, recorded_by="z",
        ),
    ):  # fmt: skip
        with pytest.raises(Error), transaction.atomic():
            spoil()
    with pytest.raises(Refusal, match="DATES_REVERSED"):
        shut(place, source="restriction:3", until=FIRST - ONE)
    for code in ("", "内科", "A99"):
        with pytest.raises(Refusal, match="DEPARTMENT_UNKNOWN"):
            shut(place, code, "restriction:3")
    own = factories.institution(internet_departments=["A99"])
    shut(own, "A99", "restriction:3")  # a code that the institution has registered
    shut(place, source="restriction:4")  # another decision of the same days stands beside it
    registry.end_early(DepartmentSuspension, source="restriction:5", last=FIRST, by="o",
                       at=SIGN["at"])  # fmt: skip
    assert place.department_suspensions.facts_on(LAST).source == "restriction:4"


def _as_app(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL ROLE mip_app")
        cursor.execute(statement)


def test_nobody_without_a_scope_reads_a_suspension(db) -> None:
    barred(factories.person())
    doctor = factories.physician(factories.institution())
    stopped(doctor)
    shut(doctor.institution)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL ROLE mip_app")
        cursor.execute("SELECT set_config('app.scope', '', true)")
        assert not OnlineSuspension.objects.exists()
        assert not ServiceSuspension.objects.exists()
        assert not DepartmentSuspension.objects.exists()
        cursor.execute("RESET ROLE")


# --- Every place that says why ---


def test_presettlement_the_page_of_the_person_and_the_sentence_say_so(db) -> None:
    factories.policies("nantong")
    made = Hospital()
    barred(made.patient)
    entitle(made.patient)
    dry = made.post(made.body(), url="/api/v1/claims/presettlement").json()
    assert told(dry) == ONLINE
    made.settled()
    set_scope(EVERYTHING)
    client = Client()
    client.force_login(factories.user("reviewer", Region.objects.get(pk="320600")))
    address = reverse("person", args=[made.patient.pk])
    page = client.get(address, {"on": DAY.isoformat()}).content.decode()
    assert "已暂停" in page
    assert f"{FIRST} 至 {LAST}，手工报销不受影响" in page
    assert "可以联网结算" in client.get(address, {"on": "2021-12-01"}).content.decode()
    why = client.get(address, {"tab": "claims"}).content.decode()
    assert "不能联网结算，可先行支付后凭电子发票手工报销（国务院令第735号 第四十一条）" in why


def test_presettlement_and_the_sentence_name_a_suspended_department(db) -> None:
    factories.policies("nantong")
    made = Hospital()
    shut(made.row)
    dry = made.post(made.body(), url="/api/v1/claims/presettlement").json()
    assert told(dry) == SHUT
    made.settled()
    set_scope(EVERYTHING)
    client = Client()
    client.force_login(factories.user("reviewer", Region.objects.get(pk="320600")))
    page = client.get(reverse("person", args=[made.patient.pk]), {"tab": "claims"}).content.decode()
    assert (
        "就诊那天这家医院的就诊科室正被责令暂停使用医保基金的医药服务"
        "（国务院令第735号 第三十八条、第四十条）"
    ) in page


def test_the_file_of_the_institution_names_a_suspended_practitioner(db) -> None:
    factories.policies("nantong")
    made = Hospital()
    stopped(made.doctor)
    client = Client()
    client.force_login(factories.user("reviewer", Region.objects.get(pk="320600")))
    address = reverse("institution", args=[made.row.pk])
    query = {"tab": "practitioners", "on": DAY.isoformat()}
    words = f"医保服务资格已暂停 {FIRST} 至 {LAST}"
    assert words in client.get(address, query).content.decode()
    assert words not in client.get(address, query | {"on": "2021-12-01"}).content.decode()


def test_a_trial_may_state_a_suspension_and_is_not_asked_for_it(db) -> None:
    factories.policies("nantong")
    given = {
        "region": "nantong", "service_date": DAY.isoformat(), "scheme": "resident",
        "item_code": "111102001", "fee": "12.00", "visit_type": "revisit", "condition": "chronic",
        "ownership": "public", "price_class": 3, "doctor_title": "attending",
        "doctor_independent_months": 60, "insured_area": "nantong",
    }  # fmt: skip
    catalogue = releases.current()
    assert run(given, catalogue)["decision"] == "payable"
    answer = run(given | {"online_permitted": False}, catalogue)
    assert (answer["reason"], answer["clauses"][0]) == ("ONLINE_SUSPENDED", ARTICLE)
    assert run(given | {"physician_permitted": False}, catalogue)["reason"] == "PHYSICIAN_SUSPENDED"
    answer = run(given | {"department_permitted": False}, catalogue)
    assert answer["reason"] == "DEPARTMENT_SUSPENDED"


def test_a_request_by_hand_may_name_the_suspension_as_its_cause(db) -> None:
    factories.policies("nantong")
    agency = Agency()
    with pytest.raises(Refusal, match="NOT_SUSPENDED"):
        agency.submitted(cause="suspended")
    barred(agency.person)
    assert agency.submitted(cause="suspended").state == "submitted"


# --- Texts of before ---


def test_an_earlier_text_refuses_too_and_keeps_the_numbers_of_its_checks() -> None:
    data = {
        "kind": "policy", "slug": "x", "region": "x", "document": "X〔2021〕1号",
        "effective": {"from": DAY, "until": None},
        "services": {"drug": {"priced_by": "none", "clause": "一"}},
        "requires": [{"rule": "consent", "clause": "二"}],
        "supervision": {"clause": "三"},
    }  # fmt: skip
    rules = compile_rules(Policy(data))
    found = {check.rule.name: (check.number, check.clause) for check in rules.checks}
    assert found == {
        "in_force": (1, ""), "item_known": (2, ""), "item_billable": (3, ""),
        "class_offered": (4, ""), "consent": (5, "二"), "tariff_known": (6, "一"),
        "no_overcharge": (7, "一"), "category_covered": (8, "一"), "online_permitted": (9, "三"),
        "physician_permitted": (10, "三"), "department_permitted": (11, "三"),
        "pharmacist_permitted": (12, "三"),
    }  # fmt: skip
