"""Addresses of the trail."""

from django.urls import path

from audit import views

urlpatterns = [
    path("trail/", views.search, name="trail"),
    path("trail/export.<slug:kind>", views.export, name="trail-export"),
    path("trail/<uuid:pk>/", views.event, name="trail-event"),
]
