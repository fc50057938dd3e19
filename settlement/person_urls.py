"""Addresses of insured persons: the query, the register, chronic-disease filings."""

from django.urls import path

from settlement.views import filings, handed_in, person_acts, persons, register, requests

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
    path("requests/", requests.listing, name="person-requests"),
    path("requests/<int:pk>/", requests.one, name="person-request"),
    path("requests/<int:pk>/files/<int:document>/", requests.file, name="person-request-file"),
    path("requests/<int:pk>/take/", requests.take, name="person-request-take"),
    path("requests/<int:pk>/reveal/", requests.reveal, name="person-request-reveal"),
    path("requests/<int:pk>/<slug:key>/", requests.act, name="person-request-act"),
    path("public/requests/", handed_in.areas, name="public-requests"),
    path("public/requests/progress/", handed_in.progress, name="public-request-progress"),
    path("public/requests/<str:region>/disease/", handed_in.disease, name="public-disease"),
    path("public/requests/<str:region>/booking/", handed_in.booking, name="public-booking"),
]
