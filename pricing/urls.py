"""Addresses of the price catalogue and the releases."""

from django.urls import path

from pricing import views

urlpatterns = [
    path("prices/", views.prices, name="prices"),
    path("prices/prices.csv", views.prices_csv, name="prices-csv"),
    path("prices/prices.json", views.prices_json, name="prices-json"),
    path("prices/files/<int:pk>/", views.document_file, name="document-file"),
    path("prices/files/<slug:slug>/attach", views.attach_file, name="attach-file"),
    path("releases/", views.release_list, name="releases"),
    path("releases/<int:pk>/", views.release_detail, name="release"),
]
