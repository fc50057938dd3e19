"""Addresses of the institution files."""

from django.urls import path

from institutions import views

urlpatterns = [
    path("institutions/<str:code>/", views.institution, name="institution"),
]
