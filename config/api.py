"""Addresses under /api/v1/: tokens, one claim, evidence, the description and its pages."""

from django.urls import path, re_path
from drf_spectacular.views import SpectacularJSONAPIView, SpectacularSwaggerSplitView
from oauth2_provider.views import TokenView

from audit.access import public
from config.problems import unknown
from settlement.api import Evidence, OneClaim, Presettlement, Reversal

description = SpectacularJSONAPIView.as_view()
pages = SpectacularSwaggerSplitView.as_view(
    url_name="openapi", template_name="settlement/api_docs.html"
)

urlpatterns = [
    path("oauth/token", public(TokenView.as_view()), name="api-token"),
    path("claims/presettlement", Presettlement.as_view(), name="api-presettlement"),
    path("claims/<int:claim_id>", OneClaim.as_view(), name="api-claim"),
    path("claims/<int:claim_id>/reversal", Reversal.as_view(), name="api-reversal"),
    path("encounters/<str:encounter>/evidence", Evidence.as_view(), name="api-evidence"),
    path("openapi.json", public(description), name="openapi"),
    path("docs/", public(pages), name="api-docs"),
    re_path(r"^(?P<rest>.*)$", public(unknown), name="api-unknown"),
]
