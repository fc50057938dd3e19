"""Addresses of claims and money."""

from django.urls import include, path

from settlement import interface
from settlement.views import batches, claims, entry, trial, workbench

urlpatterns = [
    path("public/interface/", interface.interface, name="public-interface"),
    path("public/interface/<str:name>", interface.sample, name="public-sample"),
    path("", workbench.workbench, name="workbench"),
    path("trial/", trial.trial, name="trial"),
    path("claims/", claims.claims, name="claims"),
    path("claims/new/", entry.enter, name="claim-new"),
    path("claims/person/", claims.find_person, name="claims-person"),
    path("claims/export.csv", claims.export_csv, name="claims-csv"),
    path("claims/export.xlsx", claims.export_xlsx, name="claims-xlsx"),
    path("claims/<int:claim_id>/", claims.claim, name="claim"),
    path("claims/<int:claim_id>/reverse/", claims.reverse_claim, name="claim-reverse"),
    path("", include("settlement.correction_urls")),
    path("", include("settlement.person_urls")),
    path("", include("settlement.statement_urls")),
    path("", include("settlement.jilin_urls")),
    path("", include("settlement.payment_urls")),
    path("", include("settlement.medicine_urls")),
    path("batches/", batches.batches, name="batches"),
    path("batches/template.<str:ending>", batches.blank, name="batch-template"),
    path("batches/<int:batch_id>/", batches.batch, name="batch"),
    path("batches/<int:batch_id>/result.csv", batches.result, name="batch-result"),
    path("batches/<int:batch_id>/annotated.xlsx", batches.annotated, name="batch-annotated"),
    path("batches/<int:batch_id>/<slug:action>/", batches.move, name="batch-move"),
]
