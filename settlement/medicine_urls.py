"""Addresses of prescriptions, goods and evidence."""

from django.urls import path

from settlement.views import dispensing, drug_returns, medicines

urlpatterns = [
    path("medicines/", medicines.prescriptions, name="prescriptions"),
    path("medicines/evidence/", medicines.gaps, name="evidence-gaps"),
    path("medicines/<int:pk>/", medicines.prescription, name="prescription"),
    path("medicines/<int:pk>/dispense/", dispensing.dispense, name="prescription-dispense"),
    path("medicines/dispensings/<int:pk>/delivery/", dispensing.send, name="dispensing-delivery"),
    path("medicines/deliveries/<int:pk>/step/", dispensing.step, name="delivery-step"),
    path("medicines/dispensings/<int:pk>/return/", drug_returns.take_back, name="drug-return"),
    path("claims/<int:claim_id>/flow/", medicines.claim_flow, name="claim-flow"),
]
