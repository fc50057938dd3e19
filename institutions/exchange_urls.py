"""Addresses of registry sheets: templates, imports, what comes back."""

from django.urls import path

from institutions.views import exchange

urlpatterns = [
    path("registry/imports/", exchange.imports, name="registry-imports"),
    path("registry/imports/<slug:key>.<str:ending>", exchange.blank, name="registry-template"),
    path("registry/imports/<int:pk>/", exchange.one_import, name="registry-import"),
    path("registry/imports/<int:pk>/confirm/", exchange.confirm, name="registry-import-confirm"),
    path("registry/imports/<int:pk>/annotated.xlsx", exchange.annotated, name="registry-annotated"),
]
