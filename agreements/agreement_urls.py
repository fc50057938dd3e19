"""Addresses of signed agreements and their yearly assessment."""

from django.urls import path

from agreements.views import agreements, assessments, deciding, renewing, signing_keys

urlpatterns = [
    path("agreements/", agreements.agreements, name="agreements"),
    path("agreements/<int:pk>/", deciding.agreement, name="agreement"),
    path("agreements/<int:pk>/decide/<slug:act>/", deciding.decide, name="agreement-decide"),
    path("agreements/<int:pk>/leave/<slug:question>/", deciding.leave, name="agreement-leave"),
    path("agreements/<int:pk>/renew/", deciding.renew, name="agreement-renew"),
    path("agreements/<int:pk>/paper/", deciding.paper, name="agreement-paper"),
    path("agreements/<int:pk>/offer/", renewing.offer, name="agreement-offer"),
    path("agreements/<int:pk>/sign/<slug:side>/", renewing.sign, name="agreement-sign"),
    path("agreements/<int:pk>/contracts/<int:contract>/", renewing.verify, name="agreement-verify"),
    path("signing-keys/", signing_keys.signing_keys, name="signing-keys"),
    path("signing-keys/register/", signing_keys.register, name="signing-keys-register"),
    path("assessments/", assessments.assessments, name="assessments"),
    path("assessments/<str:code>/<int:year>/", assessments.assessment, name="assessment"),
    path("assessments/<str:code>/<int:year>/score/", assessments.score, name="assessment-score"),
]
