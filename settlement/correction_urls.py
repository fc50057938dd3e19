"""Addresses of corrections: re-settlement, special adjustments, outages, reconciliation."""

from django.urls import path

from settlement.views import adjustments, outages, reconciliations, resettlements

urlpatterns = [
    path("resettlements/", resettlements.resettlements, name="resettlements"),
    path("resettlements/<int:pk>/", resettlements.one, name="resettlement"),
    path("resettlements/<int:pk>/claims/", resettlements.claims, name="resettlement-claims"),
    path("resettlements/<int:pk>/list.csv", resettlements.export, name="resettlement-csv"),
    path(
        "resettlements/<int:pk>/<slug:action>/", resettlements.decide, name="resettlement-decide"
    ),
    path("adjustments/", adjustments.adjustments, name="adjustments"),
    path("adjustments/new/", adjustments.new, name="adjustment-new"),
    path("adjustments/report.csv", adjustments.export_csv, name="adjustments-csv"),
    path("adjustments/report.pdf", adjustments.export_pdf, name="adjustments-pdf"),
    path("adjustments/<int:pk>/", adjustments.one, name="adjustment"),
    path("adjustments/<int:pk>/<slug:action>/", adjustments.move, name="adjustment-move"),
    path("outages/", outages.outages, name="outages"),
    path("outages/<int:pk>/", outages.one, name="outage"),
    path("outages/<int:pk>/<slug:action>/", outages.decide, name="outage-decide"),
    path("reconciliations/", reconciliations.reconciliations, name="reconciliations"),
    path("reconciliations/template.xlsx", reconciliations.template, name="reconciliation-template"),
    path("reconciliations/<int:pk>/", reconciliations.one, name="reconciliation"),
    path("reconciliations/<int:pk>/match/", reconciliations.match, name="reconciliation-match"),
    path("reconciliations/<int:pk>/resent/", reconciliations.resent, name="reconciliation-resent"),
    path("reconciliations/<int:pk>/resolve/", reconciliations.resolve,
         name="reconciliation-resolve"),
]  # fmt: skip
