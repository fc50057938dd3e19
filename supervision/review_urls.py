"""Addresses of fee reviews."""

from django.urls import path

from supervision.views import review, reviews, samples

urlpatterns = [
    path("reviews/", reviews.queue, name="reviews"),
    path("reviews/open/", reviews.open_one, name="review-open"),
    path("reviews/collect/", reviews.collect, name="reviews-collect"),
    path("reviews/recoveries/", reviews.recoveries, name="recoveries"),
    path("reviews/plans/", samples.plans, name="sampling-plans"),
    path("reviews/plans/<int:pk>/", samples.plan, name="sampling-plan"),
    path("reviews/plans/<int:pk>/verify/", samples.verify, name="sampling-verify"),
    path("reviews/finding/<int:pk>/", reviews.open_finding, name="review-finding"),
    path("reviews/<int:pk>/", review.review, name="review"),
    path("reviews/<int:pk>/take/", review.take, name="review-take"),
    path("reviews/<int:pk>/rest/", review.rest, name="review-rest"),
    path("reviews/<int:pk>/line/<int:no>/", review.line, name="review-line"),
    path("reviews/<int:pk>/line/<int:no>/alike/", review.alike, name="review-alike"),
    path("reviews/<int:pk>/<slug:key>/", review.step, name="review-step"),
]
