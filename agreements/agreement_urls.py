"""Addresses of signed agreements and their yearly assessment."""

from django.urls import path

from agreements.views import agreements, assessments, deciding

urlpatterns = [
    path("agreements/", agreements.agreements, name="agreements"),
    path("agreements/<int:pk>/", deciding.agreement, name="agreement"),
    path("agreements/<int:pk>/decide/<slug:act>/", deciding.decide, name="agreement-decide"),
    path("agreements/<int:pk>/leave/<slug:question>/", deciding.leave, name="agreement-leave"),
    path("agreements/<int:pk>/renew/", deciding.renew, name="agreement-renew"),
    path("agreements/<int:pk>/paper/", deciding.paper, name="agreement-paper"),
    path("assessments/", assessments.assessments, name="assessments"),
    path("assessments/<str:code>/<int:year>/", assessments.assessment, name="assessment"),
    path("assessments/<str:code>/<int:year>/score/", assessments.score, name="assessment-score"),
]
