"""Addresses of the registry: institution files, forms, changes, mappings, documents."""

from django.urls import include, path

from institutions.views import acts, calendars, cases, clients, hidden, offices, overviews, tabs

urlpatterns = [
    path("", include("institutions.inbox_urls")),
    path("", include("institutions.exchange_urls")),
    path("institutions/new/", acts.register, name="registry-register"),
    path("institutions/<str:code>/", tabs.institution, name="institution"),
    path("institutions/<str:code>/do/<slug:act>/", acts.act, name="registry-act"),
    path("institutions/<str:code>/do/<slug:act>/<str:key>/", acts.act, name="registry-row-act"),
    path("registry/changes/", cases.changes, name="registry-changes"),
    path("registry/changes/<int:pk>/", cases.change, name="registry-change"),
    path("registry/changes/<int:pk>/account/", hidden.filed_account, name="change-reveal"),
    path("registry/mappings/", cases.mappings, name="registry-mappings"),
    path("registry/mappings/<int:pk>/", cases.mapping, name="registry-mapping"),
    path("registry/expiries/", overviews.expiries, name="registry-expiries"),
    path("registry/regions/", overviews.regions, name="registry-regions"),
    path("registry/regions/<str:code>/", offices.offices, name="registry-offices"),
    path("registry/regions/<str:code>/<slug:kind>/", offices.office, name="registry-office"),
    path("registry/calendars/", calendars.calendars, name="registry-calendars"),
    path("registry/accounts/<int:pk>/", hidden.account, name="account-reveal"),
    path("registry/contacts/<int:pk>/", hidden.contact, name="contact-reveal"),
    path("documents/<int:pk>/", hidden.document, name="document"),
    path("clients/", clients.listing, name="clients"),
    path("clients/new/", clients.new, name="client-new"),
    path("clients/<int:pk>/", clients.client, name="client"),
    path("clients/<int:pk>/rotate/", clients.rotate, name="client-rotate"),
    path("clients/<int:pk>/end/", clients.end, name="client-end"),
]
