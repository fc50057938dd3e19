"""Addresses of reports and of the auditor's place, below /supervision/."""

from django.urls import path

from supervision import auditing_views, report_views
from supervision.views import monthly, statement_reports

urlpatterns = [
    path("monthly/", monthly.listing, name="monthly"),
    path("monthly/new/", monthly.new, name="monthly-new"),
    path("monthly/<int:pk>/", monthly.report, name="monthly-report"),
    path("monthly/<int:pk>/steps/<slug:key>/", monthly.act, name="monthly-act"),
    path("reports/", report_views.listed, name="reports"),
    path("reports/new/<slug:kind>/", report_views.new, name="report-new"),
    path("reports/<int:pk>/", report_views.one, name="report"),
    path("reports/<int:pk>/cancel/", report_views.cancel, name="report-cancel"),
    path("reports/<int:pk>/check/", report_views.check, name="report-recheck"),
    path("reports/<int:pk>/report.pdf", report_views.file, name="report-file"),
    path("reports/<int:pk>/data.<slug:ending>", report_views.data, name="report-data"),
    path("reports/statements/<int:pk>/", statement_reports.panel, name="statement-report-panel"),
    path("reports/statements/<int:pk>/new/", statement_reports.make, name="statement-report-new"),
    path("audit/", auditing_views.desk, name="audit-desk"),
    path("audit/samples/new/", auditing_views.new, name="sample-new"),
    path("audit/samples/<int:pk>/", auditing_views.sample, name="sample"),
    path("audit/samples/<int:pk>/redraw/", auditing_views.redraw, name="sample-redraw"),
    path("audit/samples/<int:pk>/bundle.zip", auditing_views.bundle, name="sample-bundle"),
    path("audit/samples/<int:pk>/claims/<int:claim_id>/", auditing_views.chain, name="claim-chain"),
]
