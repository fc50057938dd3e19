"""Addresses of insured persons: the query, the register, chronic-disease filings."""

from django.urls import path

from settlement.views import filings, person_acts, persons, register

urlpatterns = [
    path("persons/", persons.persons, name="persons"),
    path("persons/find/", persons.find, name="persons-find"),
    path("persons/new/", person_acts.enrol, name="person-new"),
    path("persons/<int:pk>/", persons.person, name="person"),
    path("persons/<int:pk>/reveal/", persons.reveal, name="person-reveal"),
    path("persons/<int:pk>/<slug:key>/", person_acts.act, name="person-act"),
    path("register/", register.sheets, name="register"),
    path("register/template.<str:ending>", register.blank, name="register-template"),
    path("register/<int:pk>/", register.sheet, name="register-sheet"),
    path("register/<int:pk>/confirm/", register.confirm, name="register-confirm"),
    path("register/<int:pk>/decide/", register.decide, name="register-decide"),
    path("register/<int:pk>/annotated.xlsx", register.annotated, name="register-annotated"),
    path("diseases/", filings.listing, name="disease-filings"),
    path("diseases/new/", filings.new, name="disease-filing-new"),
    path("diseases/<int:pk>/", filings.filing, name="disease-filing"),
    path("diseases/<int:pk>/files/", filings.upload, name="disease-filing-upload"),
    path("diseases/<int:pk>/files/<int:document>/", filings.material, name="disease-filing-file"),
    path("diseases/<int:pk>/<slug:step>/", filings.step, name="disease-filing-step"),
]
