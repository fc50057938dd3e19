"""One record of each kind in Nantong and one in Wenzhou, and the addresses of their pages."""

import datetime as dt

from django.urls import reverse

from agreements.models import Application
from audit import trail
from institutions import documents
from institutions.models import Document, Institution, Region
from pricing.models import DrugList, Release
from settlement.models import (
    Consultation,
    Delivery,
    DiseaseFiling,
    Dispensing,
    FeeBill,
    HospitalLedger,
    MaintenanceContract,
    Outage,
    Prescription,
    Statement,
)
from supervision import monthly_counts
from supervision.models import (
    Finding,
    MonthlyReport,
    ReportOrder,
    Review,
    Run,
    Sample,
    SamplingPlan,
)
from tests import factories
from tests.settlement import agency
from tests.supervision import watched

AT = dt.datetime(2021, 12, 1, 9, tzinfo=dt.UTC)


def addresses() -> dict[str, str]:
    """The addresses of the table of roles, for records in Nantong and (foreign) in Wenzhou."""
    factories.policies()
    ours, theirs = factories.institution("nantong"), factories.institution("wenzhou")
    seen, unseen = (
        trail.record(
            by="someone", at=AT, action="claim.receive", subject="claim:1",
            region_code=place.region_id, institution_code=place.code,
        )
        for place in (ours, theirs)
    )  # fmt: skip
    applied, foreign = (_application(place) for place in (ours, theirs))
    scan, hidden = (_document(place) for place in (ours, theirs))
    due, undue = (_statement(place) for place in (ours, theirs))
    return {
        **{name: reverse(name) for name in (
            "prices", "prices-csv", "prices-json", "releases", "institutions", "trail",
            "account_change_password", "mfa_index", "healthz", "system-status", "inbox", "notifications",
            "delegations", "applications", "application-new", "agreements", "assessments", "waves",
            "consultations", "consultation-new", "split-agreements", "split-agreement-new",
            "consultation-statements", "lines", "line-new", "line-contracts", "line-contract-new",
            "fee-bills", "forms-list", "registry-changes", "registry-mappings", "registry-expiries",
            "registry-regions", "registry-calendars", "registry-imports", "registry-register",
            "clients", "client-new", "webhooks", "signing-keys", "reimbursements",
            "reimbursement-new",
            "reimbursement-slots", "payments", "payments-due", "refunds", "regional",
            "regional-csv", "vouchers",
            "vouchers-csv", "public-prices", "public-drugs", "public-institutions", "public-notices",
            "public-interface", "persons", "person-new", "register", "disease-filings", "person-requests",
            "public-requests", "public-request-progress",
            "disease-filing-new")},
        "client": reverse("client", args=[factories.api_client(region=ours.region).pk]),
        **_insured(ours, theirs),
        **{name: reverse(name) for name in (
            "statements", "periods", "advances", "budgets", "clearings")},
        "statement": reverse("statement", args=[due.pk]),
        "foreign statement": reverse("statement", args=[undue.pk]),
        "statement-report-panel": reverse("statement-report-panel", args=[due.pk]),
        "foreign report panel": reverse("statement-report-panel", args=[undue.pk]),
        "period": reverse("period", args=["nantong", "2021-11"]),
        "foreign period": reverse("period", args=["wenzhou", "2021-11"]),
        "budget": reverse("budget", args=[ours.code, 2021]),
        "foreign budget": reverse("budget", args=[theirs.code, 2021]),
        "consultation": reverse("consultation", args=[_consultation(ours).pk]),
        "foreign consultation": reverse("consultation", args=[_consultation(theirs).pk]),
        "line-contract": reverse("line-contract", args=[_contract(ours).pk]),
        "foreign contract": reverse("line-contract", args=[_contract(theirs).pk]),
        "fee-bill": reverse("fee-bill", args=[_fee_bill(ours).pk]),
        "foreign fee-bill": reverse("fee-bill", args=[_fee_bill(theirs).pk]),
        **{name: reverse(name) for name in (
            "resettlements", "adjustments", "adjustment-new", "adjustments-csv", "reconciliations",
            "reconciliation-template", "outages")},
        "reconciliation": reverse("reconciliation", args=[_ledger(ours).pk]),
        "foreign reconciliation": reverse("reconciliation", args=[_ledger(theirs).pk]),
        "foreign outage": reverse("outage", args=[_outage(theirs).pk]),
        "registry-offices": reverse("registry-offices", args=[ours.region_id]),
        "registry-office": reverse("registry-office", args=[ours.region_id, "agency"]),
        "foreign offices": reverse("registry-offices", args=[theirs.region_id]),
        "application": reverse("application", args=[applied.pk]),
        "foreign application": reverse("application", args=[foreign.pk]),
        "agreement": reverse("agreement", args=[ours.agreements.first().pk]),
        "foreign agreement": reverse("agreement", args=[theirs.agreements.first().pk]),
        "document": reverse("document", args=[scan.pk]),
        "foreign document": reverse("document", args=[hidden.pk]),
        "release": reverse("release", args=[Release.objects.order_by("pk").first().pk]),
        "institution": reverse("institution", args=[ours.code]),
        "agreement-panel": reverse("agreement-panel", args=[ours.code]),
        "foreign institution": reverse("institution", args=[theirs.code]),
        "foreign panel": reverse("agreement-panel", args=[theirs.code]),
        "trail-event": reverse("trail-event", args=[seen.pk]),
        "foreign event": reverse("trail-event", args=[unseen.pk]),
        "trail-export": reverse("trail-export", args=["csv"]),
        **{name: reverse(name) for name in ("checkpoints", "api-checkpoints", "public-verifier")},
        **_money(ours, theirs),
        **_medicines(ours, theirs),
        **_reviews(ours, theirs),
        **_findings(ours, theirs),
        **_reports(ours, theirs),
        **watched.addresses(ours, theirs, at=AT),
    }  # fmt: skip


def _medicines(ours: Institution, theirs: Institution) -> dict[str, str]:
    """A draft of a drug catalogue, and a prescription of both places."""
    drugs = DrugList.objects.create(
        region="nantong", version="1", title="示例", source_kind="example", source_ref="示例",
        valid_from=AT.date(), drafted_by="someone", drafted_at=AT,
    )  # fmt: skip
    mine, hidden = (_prescription(place) for place in (ours, theirs))
    ready, closed = (_to_dispense(place) for place in (ours, theirs))
    sent, away = (_parcel(mine), _parcel(hidden))
    return {
        **{name: reverse(name) for name in ("drug-lists", "prescriptions", "evidence-gaps")},
        "drug-list": reverse("drug-list", args=[drugs.pk]),
        "drug-template": reverse("drug-template", args=["csv"]),
        "prescription": reverse("prescription", args=[mine.pk]),
        "foreign prescription": reverse("prescription", args=[hidden.pk]),
        "drug-return": reverse("drug-return", args=[sent.dispensing_id]),
        "foreign drug-return": reverse("drug-return", args=[away.dispensing_id]),
        "prescription-dispense": reverse("prescription-dispense", args=[ready.pk]),
        "foreign dispense": reverse("prescription-dispense", args=[closed.pk]),
        "dispensing-delivery": reverse("dispensing-delivery", args=[sent.dispensing_id]),
        "foreign delivery": reverse("dispensing-delivery", args=[away.dispensing_id]),
        "delivery-step": reverse("delivery-step", args=[sent.pk]),
        "foreign step": reverse("delivery-step", args=[away.pk]),
    }  # fmt: skip


def _reports(ours: Institution, theirs: Institution) -> dict[str, str]:
    """A report that waits and a sample, of both places."""
    found = {name: reverse(name) for name in ("reports", "audit-desk", "sample-new")}
    found |= {"report-new": reverse("report-new", args=["fund"]), **_monthly(ours, theirs)}
    for prefix, place in (("", ours), ("foreign ", theirs)):
        days = {"since": f"{AT:%Y-%m-%d}", "until": f"{AT:%Y-%m-%d}"}
        order = ReportOrder.objects.create(
            kind="fund", title="示例", number=f"示例{place.code}", region_code=place.region_id,
            parameters={"region": place.region_id, "institution": "", **days}, asked_at=AT,
            asked_by="someone",
        )  # fmt: skip
        sample = Sample.objects.create(
            number=f"SJ-{place.code}", region_code=place.region_id, first_day=AT.date(),
            last_day=AT.date(), method="random", seed="1", size=1, population=1, value=1,
            population_sm3="0" * 64, drawn_at=AT, drawn_by="someone",
        )  # fmt: skip
        found[f"{prefix}report"] = reverse("report", args=[order.pk])
        found[f"{prefix}sample"] = reverse("sample", args=[sample.pk])
    return found


def _monthly(ours: Institution, theirs: Institution) -> dict[str, str]:
    """A monthly report of both places, to the province above."""
    found = {
        name: reverse(name)
        for name in ("monthly", "monthly-new", "archive", "archive-loans", "claim-new")
    }
    for prefix, place in (("", ours), ("foreign ", theirs)):
        code = f"{place.region_id[:2]}0000"
        above, _ = Region.objects.get_or_create(
            code=code, defaults={"name": code, "level": "province", "policy_region": "none"}
        )
        if above != place.region:
            Region.objects.filter(pk=place.region_id).update(parent=above)
        row = MonthlyReport.objects.create(
            number=f"月报{place.code}", month=dt.date(2021, 11, 1), to_region="990000",
            made_by="someone", region_code=place.region_id, procedure="monthly", state="made",
            entered_on=AT.date(), opened_at=AT, opened_by="someone", latest=1,
        )  # fmt: skip
        sheet, _ = monthly_counts.count(monthly_counts.Place(place.region_id, row.month))
        row.versions.create(
            version=1, region_code=place.region_id, digest="0" * 64, made_at=AT, made_by="someone",
            figures={"month": "2021-11", "region": place.region_id, "name": "示例", "direct": sheet,
                     "areas": [], "missing": [], "whole": sheet, "example": False},
        )  # fmt: skip
        found["foreign monthly" if prefix else "monthly-report"] = reverse(
            "monthly-report", args=[row.pk]
        )
    return found


def _reviews(ours: Institution, theirs: Institution) -> dict[str, str]:
    """A sampling plan of both places, a review of the other."""
    found = {name: reverse(name) for name in ("reviews", "recoveries", "sampling-plans")}
    for prefix, place in (("", ours), ("foreign ", theirs)):
        plan = SamplingPlan.objects.create(
            number=f"CY-{place.code}", name="示例", pool=place.region.policy_region,
            region_code=place.region_id, first_day=AT.date(), last_day=AT.date(), seed="1",
            shares={"base": 100}, population=1, population_sm3="0" * 64, drawn=1, strata=[],
            drawn_sm3="0" * 64, drawn_at=AT, drawn_by="someone",
        )  # fmt: skip
        found[f"{prefix}sampling-plan"] = reverse("sampling-plan", args=[plan.pk])
    hidden = Review.objects.create(
        procedure="review", state="told", entered_on=AT.date(), region_code=theirs.region_id,
        institution_code=theirs.code, opened_at=AT, opened_by="someone", claim_id=1, claim_no="C1",
        claim_version=1, person_id=1, service_date=AT.date(), scheme="resident", source="held",
        pool=theirs.region.policy_region, severity=1, reason="示例", fee=1, stake=1,
    )  # fmt: skip
    return found | {"foreign review": reverse("review", args=[hidden.pk])}


def _findings(ours: Institution, theirs: Institution) -> dict[str, str]:
    """A confirmed finding and an audit of both places."""
    names = ("findings", "rules-quality", "audits", "tuning", "precheck-sample", "assess-list")
    found = {name: reverse(name) for name in names}
    for prefix, place in (("", ours), ("foreign ", theirs)):
        row = Finding.objects.create(
            region_code=place.region_id, institution_code=place.code, rule="no_consent",
            severity=1, clause="示例", message="示例", moment="audit", subject_kind="claim",
            subject_code="1", first_day=AT.date(), last_day=AT.date(), claims=1, fee=1, fund=1,
            key=place.code.encode(), found_at=AT, state="confirmed", decided_at=AT,
            decided_by="someone", reason="示例", told_at=AT, told_by="someone",
        )  # fmt: skip
        run = Run.objects.create(
            pool=place.region.policy_region, region_code=place.region_id, first_day=AT.date(),
            last_day=AT.date(), asked_at=AT, asked_by="someone",
        )  # fmt: skip
        found[f"{prefix}finding"] = reverse("finding", args=[row.pk])
        found[f"{prefix}run" if prefix else "audit-run"] = reverse("audit-run", args=[run.pk])
    return found | {
        "finding-paper": found["finding"].rstrip("/") + "/paper/",
        "finding-notice": reverse("finding-notice", args=[1]),
        "foreign assess": reverse("assess", args=[theirs.pk, AT.year]),
    }


def _prescription(place: Institution, **more: object) -> Prescription:
    visit = {"visit_type": "revisit", "started_at": AT.isoformat(), "ended_at": AT.isoformat(),
             "department_code": "A03", "session": {"medium": "video"}, "diagnoses": []}  # fmt: skip
    return Prescription.objects.create(**({
        "region_code": place.region_id, "institution_code": place.code, "number": "CF1",
        "person": factories.person(place.region.policy_region), "encounter_id": "E1",
        "encounter_key": 1, "issued_on": AT.date(), "visit": visit, "physician_code": "D1",
        "source": "upload", "uploaded_at": AT, "uploaded_by": "someone", "state": "unsigned",
        "content_sm3": "0" * 64,
    } | more))  # fmt: skip


def _to_dispense(place: Institution) -> Prescription:
    """A prescription that its own institution may hand out now."""
    made = _prescription(
        place, number="CF2", signed_by="D1", signed_at=AT, review="passed", reviewed_by="Y1",
        reviewed_at=AT, state="reviewed",
    )  # fmt: skip
    made.lines.create(drug_code="D1", quantity=10_000, days_supply=1, unit="盒")
    return made


def _parcel(found: Prescription) -> Delivery:
    return _dispensing(found).deliveries.create(
        logistics_code="L1", waybill=f"W{found.pk}", recorded_at=AT, recorded_by="someone"
    )


def _dispensing(found: Prescription) -> Dispensing:
    made = Dispensing.objects.create(
        prescription=found, number="TP1", region_code=found.region_code,
        institution_code=found.institution_code, issuer_region=found.region_code,
        issuer_code=found.institution_code, dispensed_at=AT, recorded_at=AT, recorded_by="someone",
        content_sm3="0" * 64,
    )  # fmt: skip
    made.lines.create(drug_code="D1", quantity=10_000)
    return made


def _application(place: Institution) -> Application:
    return Application.objects.create(
        number=f"A-{place.code}", institution=place, procedure=place.region.policy_region,
        state="draft", entered_on=AT.date(), region_code=place.region_id,
        institution_code=place.code, opened_at=AT, opened_by="someone",
    )  # fmt: skip


def _statement(place: Institution) -> Statement:
    return Statement.objects.create(
        institution_code=place.code, region_code=place.region_id, scheme="resident",
        pool=place.region.policy_region, period=dt.date(2021, 11, 1), procedure="statement",
        state="sent", entered_on=AT.date(), opened_at=AT, opened_by="someone",
    )  # fmt: skip


def _money(ours: Institution, theirs: Institution) -> dict[str, str]:
    """Requests, payments and vouchers of both places."""
    found = {}
    for prefix, place in (("", ours), ("foreign ", theirs)):
        case, order, voucher = agency.records(place, at=AT)
        found |= {
            f"{prefix}reimbursement": reverse("reimbursement", args=[case.pk]),
            f"{prefix}payment": reverse("payment", args=[order.list_id]),
            f"{prefix}voucher": reverse("voucher", args=[voucher.pk]),
        }
        if not prefix:
            found |= {
                "reimbursement-reveal": reverse("reimbursement-reveal", args=[case.pk]),
                "payment-order": reverse("payment-order", args=[order.pk]),
                "refund-new": reverse("refund-new", args=[order.pk]),
            }
    return found


def _consultation(place: Institution) -> Consultation:
    return Consultation.objects.create(
        number=f"C-{place.code}", inviting=place, parties=[place.code], patient_hash=bytes(32),
        patient_masked="330***", inpatient_no="1", department="内科", purpose="示例",
        wanted_on=AT.date(), procedure="consultation", state="draft", entered_on=AT.date(),
        region_code=place.region_id, institution_code=place.code, opened_at=AT, opened_by="someone",
    )  # fmt: skip


def _fee_bill(place: Institution) -> FeeBill:
    return FeeBill.objects.create(
        institution=place, year=2021, number=f"B-{place.code}", due_on=AT.date(), release_id=1,
        region_code=place.region_id, institution_code=place.code, made_at=AT, made_by="someone",
    )  # fmt: skip


def _contract(place: Institution) -> MaintenanceContract:
    return MaintenanceContract.objects.create(
        institution=place, number=f"W-{place.code}", base=1, rate=1000, starts_on=AT.date(),
        region_code=place.region_id, institution_code=place.code, recorded_at=AT,
        recorded_by="someone",
    )  # fmt: skip


def _insured(ours: Institution, theirs: Institution) -> dict[str, str]:
    """A person of Nantong and one of Wenzhou, each with an application that their hospital filed."""
    found = {}
    for place, region, lead in ((ours, "nantong", ""), (theirs, "wenzhou", "foreign ")):
        person = factories.person(region)
        filing = DiseaseFiling.objects.create(
            number=f"MB-{place.code}", person=person, code="M01600", name="糖尿病",
            procedure="diseasefiling", state="submitted", entered_on=AT.date(),
            region_code=place.region_id, institution_code=place.code, opened_at=AT,
            opened_by="someone",
        )  # fmt: skip
        found[f"{lead}person"] = reverse("person", args=[person.pk])
        found[f"{lead}filing" if lead else "disease-filing"] = reverse(
            "disease-filing", args=[filing.pk]
        )
        if not lead:
            found["person-reveal"] = reverse("person-reveal", args=[person.pk])
    return found


def _ledger(place: Institution) -> HospitalLedger:
    return HospitalLedger.objects.create(
        region_code=place.region_id, institution_code=place.code, period=AT.date().replace(day=1),
        file_name="a.csv", file_sm3="0" * 64, uploaded_at=AT, uploaded_by="someone",
    )  # fmt: skip


def _outage(place: Institution) -> Outage:
    return Outage.objects.create(
        region_code=place.region_id, institution_code=place.code, began=AT - dt.timedelta(hours=9),
        ended=AT, reason="x", reported_at=AT, reported_by="someone",
    )  # fmt: skip


def _document(place: Institution) -> Document:
    return documents.store(
        content=b"%PDF-1.4 scan", name="scan.pdf", kind="evidence", institution=place, by="someone",
        at=AT,
    )  # fmt: skip
