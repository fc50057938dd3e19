"""Addresses of the portal."""

from django.urls import include, path

from config.health import healthz
from config.views import favicon, find, front, gallery, status
from settlement.api import Claims
from settlement.trial_api import TrialView

urlpatterns = [
    path("api/v1/claims", Claims.as_view(), name="api-claims"),  # asked most: found first
    path("", front, name="front"),  # before the workbench, which stands at the same address
    path("favicon.ico", favicon, name="favicon"),
    path("find/", find, name="find"),
    path("system/", status, name="system-status"),
    path("healthz", healthz, name="healthz"),
    path("api/v1/", include("settlement.batch_api")),
    path("api/v1/", include("settlement.corrections_api")),
    path("api/v1/", include("settlement.medicines_api")),
    path("api/v1/", include("settlement.statement_api")),
    path("api/v1/", include("settlement.money_api")),
    path("api/v1/", include("settlement.consultations_api")),
    path("api/v1/", include("settlement.consultation_money_api")),
    path("api/v1/", include("settlement.persons_api")),
    path("api/v1/", include("supervision.prechecks_api")),
    path("api/v1/", include("supervision.reviews_api")),
    path("api/v1/", include("supervision.told_api")),
    path("api/v1/", include("supervision.reports_api")),
    path("api/v1/", include("agreements.api")),
    path("api/v1/", include("institutions.api")),
    path("api/v1/trials", TrialView.as_view(), name="trials"),
    path("api/v1/trail/", include("audit.api_urls")),
    path("api/v1/", include("config.api")),
    path("gallery/", gallery, name="gallery"),
    path("accounts/", include("config.accounts")),
    path("", include("audit.urls")),
    path("", include("pricing.urls")),
    path("", include("agreements.urls")),  # its list of institutions comes before their files
    path("", include("institutions.urls")),
    path("", include("settlement.urls")),
    path("", include("supervision.case_urls")),
    path("supervision/", include("supervision.finding_urls")),
    path("supervision/", include("supervision.report_urls")),
    path("", include("supervision.review_urls")),
]
