"""Addresses of applications, agreements and institutions with their agreements."""

from django.urls import include, path

from agreements import public
from agreements.views import (
    applications,
    form_lists,
    handling,
    institutions,
    official_forms,
    panel,
    waves,
)

ROLL = "public/institutions/<str:area>/"

urlpatterns = [
    path("public/institutions/", public.search, name="public-institutions"),
    path("public/institutions/index.json", public.index_json, name="public-institutions-index"),
    path("public/notices/", public.notices, name="public-notices"),
    path(
        "public/notices/notices.json", public.notices, {"form": "json"},
        name="public-notices-json",
    ),
    path(ROLL, public.area_today, name="public-institutions-area-today"),
    path(f"{ROLL}<str:on>/", public.area_roll, name="public-institutions-area"),
    path(f"{ROLL}<str:on>/institutions.csv", public.area_roll, {"form": "csv"}),
    path(f"{ROLL}<str:on>/institutions.json", public.area_roll, {"form": "json"}),
    path("institutions/", institutions.institution_list, name="institutions"),
    path(
        "institutions/export/<slug:key>.<str:ending>", institutions.institutions_export,
        name="institutions-export",
    ),
    path(
        "institutions/<str:code>/agreements/", panel.agreement_panel, name="agreement-panel"
    ),
    path("", include("agreements.agreement_urls")),
    path("applications/", applications.applications, name="applications"),
    path("applications/new/", applications.application_new, name="application-new"),
    path("applications/<int:pk>/", handling.application, name="application"),
    path(
        "applications/<int:pk>/steps/<slug:step>/", handling.take_step, name="application-step"
    ),
    path(
        "applications/<int:pk>/<slug:part>/judgement/", handling.judge, name="application-judge"
    ),
    path(
        "applications/<int:pk>/<slug:part>/<str:no>/statement/", handling.state,
        name="application-state",
    ),
    path(
        "applications/<int:pk>/objections/", handling.raise_objection, name="application-object"
    ),
    path(
        "applications/<int:pk>/objections/<int:objection>/", handling.answer_objection,
        name="application-answer",
    ),
    path(
        "applications/<int:pk>/contracts/<int:contract>/", handling.verify_contract,
        name="application-verify",
    ),
    path("waves/", waves.waves, name="waves"),
    path("waves/export/<slug:kind>/", waves.waves_export, name="waves-export"),
    path("waves/make/", waves.waves_make, name="waves-make"),
    path("waves/<int:pk>/", waves.wave, name="wave"),
    path("waves/<int:pk>/plan/", waves.wave_plan, name="wave-plan"),
    path("waves/<int:pk>/draw/", waves.wave_draw, name="wave-draw"),
    path("forms/", form_lists.forms_list, name="forms-list"),
    path("forms/export/<slug:kind>/", form_lists.forms_export, name="forms-export"),
    path("forms/new/<slug:form>/", official_forms.forms_new, name="forms-new"),
    path("forms/collection/<slug:form>/", form_lists.collection, name="forms-collection"),
    path("forms/collection/<slug:form>/file/", form_lists.collection_file, name="forms-file"),
    path("forms/<int:pk>/", official_forms.form, name="forms-item"),
    path("forms/<int:pk>/content/", official_forms.content, name="forms-content"),
    path("forms/<int:pk>/steps/<slug:step>/", official_forms.take_step, name="forms-step"),
    path("forms/<int:pk>/paper/", official_forms.paper, name="forms-paper"),
    path("forms/<int:pk>/reveal/", official_forms.reveal, name="forms-reveal"),
]  # fmt: skip
