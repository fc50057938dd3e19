"""One record of each kind of watching at a place, written directly: for the matrix of roles."""

import datetime as dt

from django.urls import reverse

from institutions.models import Institution
from supervision.models import (
    Complaint,
    ConductFlag,
    InspectionPlan,
    Restriction,
    SupervisionCase,
)
from tests import factories


def watched_records(place: Institution, *, at: dt.datetime) -> dict[str, int]:
    """The ids of a case that nobody was told of, a plan, a restriction, a complaint and a flag."""
    day, region = at.date(), place.region_id
    case = SupervisionCase.objects.create(
        number=f"A-{place.code}", title="示例", origin="hand", subject_kind="institution",
        subject_code=place.code, subject_name=place.name, acted_from=day, acted_until=day,
        summary="示例", region_code=region, institution_code=place.code, procedure="case",
        state="proposed", entered_on=day, opened_at=at, opened_by="someone",
    )  # fmt: skip
    plan = InspectionPlan.objects.create(
        number=f"P-{place.code}", region_code=region, title="示例", side="bureau", reason="示例",
        first_day=day, last_day=day, service_from=day, service_until=day, wanted=1, per_task=2,
        checklist=[], made_at=at, made_by="someone",
    )  # fmt: skip
    restriction = Restriction.objects.create(
        region_code=region, institution_code=place.code, kind="department", subject_code="内科",
        valid_from=day, clause="示例", source="示例", made_at=at, made_by="someone",
    )  # fmt: skip
    complaint = Complaint.objects.create(
        number=f"J-{place.code}", query_hash=bytes(32), region_code=region, about="示例",
        text="示例", received_at=at,
    )  # fmt: skip
    flag = ConductFlag.objects.create(
        region_code=region, kind="mass_reveal", actor="someone", day=day, count=1, message="示例",
        key=place.code.encode().ljust(32, b"0"), found_at=at,
    )  # fmt: skip
    return {"case": case.pk, "plan": plan.pk, "restriction": restriction.pk,
            "complaint": complaint.pk, "flag": flag.pk}  # fmt: skip


def addresses(ours: Institution, theirs: Institution, *, at: dt.datetime) -> dict[str, str]:
    """The addresses of the matrix: lists, and one record of each kind at both places."""
    found = {
        name: reverse(name)
        for name in (
            "public-report", "public-report-progress", "public-cases", "cases", "case-new",
            "inspections", "inspection-new", "points", "restricted-persons",
            "restrictions", "complaints", "complaint-new", "conduct", "credit",
        )
    }  # fmt: skip
    pages = {"case": "case", "plan": "inspection-plan", "restriction": "restriction",
             "complaint": "complaint", "flag": "conduct-flag"}  # fmt: skip
    for own, place in ((True, ours), (False, theirs)):
        made = watched_records(place, at=at)
        found |= {
            (page if own else f"foreign {kind}"): reverse(page, args=[made[kind]])
            for kind, page in pages.items()
        }
        doctor = factories.physician(place)
        found["practitioner-points" if own else "foreign points"] = reverse(
            "practitioner-points", args=[doctor.pk]
        )
    return found
