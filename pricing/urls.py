"""Addresses of the price catalogue and the releases."""

from django.urls import path

from pricing import drug_views, public, public_drugs, views

PLACE = "public/prices/<slug:region>/"
DRUGS = "public/drugs/<slug:region>/"
HOSPITAL = "public/prices/institutions/<str:code>/"

urlpatterns = [
    path("public/drugs/", public_drugs.search, name="public-drugs"),
    path("public/drugs/index.json", public_drugs.index_json, name="public-drugs-index"),
    path(DRUGS, public_drugs.region_today, name="public-drugs-region-today"),
    path(f"{DRUGS}<str:on>/", public_drugs.region_list, name="public-drugs-region"),
    path(f"{DRUGS}<str:on>/drugs.csv", public_drugs.region_list, {"form": "csv"}),
    path(f"{DRUGS}<str:on>/drugs.json", public_drugs.region_list, {"form": "json"}),
    path("public/prices/", public.search, name="public-prices"),
    path("public/prices/index.json", public.index_json, name="public-prices-index"),
    path(HOSPITAL, public.institution_today, name="public-prices-institution-today"),
    path(f"{HOSPITAL}qr.svg", public.institution_qr, name="public-prices-qr"),
    path(f"{HOSPITAL}<str:on>/", public.institution_sheet, name="public-prices-institution"),
    path(f"{HOSPITAL}<str:on>/prices.csv", public.institution_sheet, {"form": "csv"}),
    path(f"{HOSPITAL}<str:on>/prices.json", public.institution_sheet, {"form": "json"}),
    path(f"{HOSPITAL}<str:on>/prices.pdf", public.institution_sheet, {"form": "pdf"}),
    path(f"{HOSPITAL}<str:on>/board/", public.institution_board, name="public-prices-board"),
    path(PLACE, public.region_today, name="public-prices-region-today"),
    path(f"{PLACE}<str:on>/", public.region_sheet, name="public-prices-region"),
    path(f"{PLACE}<str:on>/prices.csv", public.region_sheet, {"form": "csv"}),
    path(f"{PLACE}<str:on>/prices.json", public.region_sheet, {"form": "json"}),
    path(f"{PLACE}<str:on>/prices.pdf", public.region_sheet, {"form": "pdf"}),
    path("prices/", views.prices, name="prices"),
    path("prices/prices.csv", views.prices_csv, name="prices-csv"),
    path("prices/prices.json", views.prices_json, name="prices-json"),
    path("prices/files/<int:pk>/", views.document_file, name="document-file"),
    path("prices/files/<slug:slug>/attach", views.attach_file, name="attach-file"),
    path("drugs/", drug_views.versions, name="drug-lists"),
    path("drugs/template.<str:ending>", drug_views.blank, name="drug-template"),
    path("drugs/<int:pk>/", drug_views.version, name="drug-list"),
    path("drugs/<int:pk>/sheet/", drug_views.replace, name="drug-list-replace"),
    path("drugs/<int:pk>/publish/", drug_views.publish, name="drug-list-publish"),
    path("drugs/<int:pk>/discard/", drug_views.discard, name="drug-list-discard"),
    path("drugs/<int:pk>/annotated.xlsx", drug_views.annotated, name="drug-list-annotated"),
    path("drugs/<int:pk>/drugs.<str:ending>", drug_views.export, name="drug-list-export"),
    path("releases/", views.release_list, name="releases"),
    path("releases/<int:pk>/", views.release_detail, name="release"),
]
