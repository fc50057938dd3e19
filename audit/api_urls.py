"""Addresses of the sealed log for auditors' programs, under /api/v1/trail/."""

from django.urls import path

from audit import proof_views

urlpatterns = [
    path("checkpoint", proof_views.api_checkpoint, name="api-checkpoint"),
    path("checkpoints", proof_views.api_checkpoints, name="api-checkpoints"),
    path("proofs/inclusion", proof_views.api_inclusion, name="api-inclusion"),
    path("proofs/consistency", proof_views.api_consistency, name="api-consistency"),
]
