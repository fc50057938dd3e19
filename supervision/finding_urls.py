"""Addresses of findings, audits, thresholds and reminding."""

from django.urls import path

from supervision.views import assessing, audits, finding_papers, findings, prechecks

urlpatterns = [
    path("findings/", findings.listing, name="findings"),
    path("findings/<int:pk>/", findings.finding, name="finding"),
    path("findings/<int:pk>/paper/", finding_papers.paper, name="finding-paper"),
    path("findings/<int:pk>/acts/<slug:key>/", findings.act, name="finding-act"),
    path("findings/notice/<int:claim>/", findings.notice, name="finding-notice"),
    path("rules/", findings.quality, name="rules-quality"),
    path("rules/tuning/", audits.tuning, name="tuning"),
    path("audits/", audits.listing, name="audits"),
    path("audits/<int:pk>/", audits.run, name="audit-run"),
    path("assessments/", assessing.listing, name="assess-list"),
    path("assessments/<str:code>/<int:year>/", assessing.one, name="assess"),
    path("prechecks/", prechecks.sample, name="precheck-sample"),
    path("prechecks/panel/", prechecks.panel, name="precheck-panel"),
]
