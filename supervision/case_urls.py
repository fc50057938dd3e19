"""Addresses of cases, inspections, restrictions and complaints."""

from django.urls import path

from supervision.views import (
    case_acts,
    cases,
    complaints,
    conduct,
    credit,
    disclosed,
    inspections,
    restrictions,
)

urlpatterns = [
    path("cases/", cases.listing, name="cases"),
    path("cases/new/", cases.new, name="case-new"),
    path("cases/<int:pk>/", cases.case, name="case"),
    path("cases/<int:pk>/steps/<slug:step>/", cases.step, name="case-step"),
    path("cases/<int:pk>/acts/<slug:key>/", case_acts.act, name="case-act"),
    path("cases/<int:pk>/papers/<int:paper>/", cases.paper, name="case-paper"),
    path("cases/<int:pk>/evidence/<int:item>/", cases.evidence, name="case-evidence"),
    path("inspections/", inspections.listing, name="inspections"),
    path("inspections/new/", inspections.new, name="inspection-new"),
    path("inspections/<int:pk>/", inspections.plan, name="inspection-plan"),
    path("inspections/<int:pk>/acts/<slug:key>/", inspections.plan_act, name="inspection-plan-act"),
    path("inspections/tasks/<int:pk>/", inspections.task, name="inspection-task"),
    path("inspections/tasks/<int:pk>/acts/<slug:key>/", inspections.task_act,
         name="inspection-task-act"),
    path("restrictions/", restrictions.listing, name="restrictions"),
    path("restrictions/<int:pk>/", restrictions.restriction, name="restriction"),
    path("restrictions/<int:pk>/acts/<slug:key>/", restrictions.act, name="restriction-act"),
    path("complaints/", complaints.listing, name="complaints"),
    path("complaints/<int:pk>/", complaints.complaint, name="complaint"),
    path("complaints/<int:pk>/acts/<slug:key>/", complaints.act, name="complaint-act"),
    path("complaints/<int:pk>/reveal/", complaints.reveal, name="complaint-reveal"),
    path("credit/", credit.listing, name="credit"),
    path("credit/<int:pk>/", credit.one, name="credit-score"),
    path("conduct/", conduct.listing, name="conduct"),
    path("conduct/<int:pk>/", conduct.flag, name="conduct-flag"),
    path("conduct/<int:pk>/acts/<slug:key>/", conduct.act, name="conduct-act"),
    path("public/cases/", disclosed.page, name="public-cases"),
    path("public/cases/cases.csv", disclosed.csv, name="public-cases-csv"),
    path("public/cases/cases.json", disclosed.json, name="public-cases-json"),
    path("public/report/", complaints.report, name="public-report"),
    path("public/report/progress/", complaints.progress, name="public-report-progress"),
]  # fmt: skip
