"""Paths that monitors ask: liveness, readiness and metrics."""

from django.urls import path

from observability import views

urlpatterns = [
    path("healthz", views.healthz),
    path("readyz", views.readyz),
    path("metrics", views.metrics),
]
