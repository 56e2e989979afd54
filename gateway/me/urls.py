"""Addresses under /me/."""

from __future__ import annotations

from django.contrib.auth.views import LogoutView
from django.urls import path

from gateway.me import views

app_name = "me"
urlpatterns = [
    path("", views.home, name="home"),
    path("login/", views.SignIn.as_view(), name="login"),
    path("logout/", LogoutView.as_view(next_page="me:login"), name="logout"),
    path("raises/", views.ask, name="ask"),
    path("raises/<int:pk>/withdraw/", views.withdraw, name="withdraw"),
]
