"""Addresses of pages that show institutions with their agreements."""

from django.urls import path

from agreements import views

urlpatterns = [
    path("institutions/", views.institution_list, name="institutions"),
    path("institutions/<str:code>/agreements/", views.agreement_panel, name="agreement-panel"),
]
