"""Addresses of the trail."""

from django.urls import path

from audit import paper_views, proof_views, views

urlpatterns = [
    path("trail/", views.search, name="trail"),
    path("trail/person/", views.find_person, name="trail-person"),
    path("trail/export.<slug:kind>", views.export, name="trail-export"),
    path("trail/bundle.jsonl", proof_views.bundle, name="trail-bundle"),
    path("trail/checkpoints/", proof_views.checkpoints, name="checkpoints"),
    path("trail/altered/", proof_views.explain, name="trail-altered"),
    path("trail/checkpoints/<int:size>.txt", proof_views.checkpoint, name="checkpoint"),
    path("trail/<uuid:pk>/", views.event, name="trail-event"),
    path("public/trail/checkpoint.txt", proof_views.newest, name="public-checkpoint"),
    path("public/trail/key.pem", proof_views.key, name="public-seal-key"),
    path("public/trail/verify.py", proof_views.verifier, name="public-verifier"),
    path("check/<uuid:pk>/", paper_views.paper, name="report-check"),
    path("check/<uuid:pk>/proof.jsonl", paper_views.paper_proof, name="report-proof"),
]
