"""The pages of /me/: sign in, how I stand, ask for more, withdraw."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import LoginView
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from gateway.launch.paste import claude_code_lines
from gateway.me.forms import AskForm
from gateway.me.standing import Standing, standing_of
from governance.domain.money import show_usd
from governance.models import Raise
from governance.services import raises

MOST_WAITING = 10
"""Requests of one person that wait at a time."""
PLACEHOLDER = "YOUR_VIRTUAL_KEY"

_signed_in = partial(login_required, login_url="me:login")


class SignIn(LoginView):
    """The same session as the admin's, without its condition that one is staff."""

    template_name = "me/login.html"
    next_page = "me:home"
    redirect_authenticated_user = True


@never_cache
@require_GET
@_signed_in
def home(request: HttpRequest) -> HttpResponse:
    return _page(request, None)


@never_cache
@require_POST
@_signed_in
def ask(request: HttpRequest) -> HttpResponse:
    """Ask for more of an own budget."""
    now = timezone.now()
    form = AskForm(request.POST, statuses=standing_of(request.user, now).askable)
    if form.is_valid():
        if _mine(request.user).filter(status=Raise.Status.REQUESTED, ends_at__gt=now).count() >= MOST_WAITING:
            form.add_error(None, f"{MOST_WAITING} of your requests wait already. Withdraw one, or wait for a decision.")
        elif (row := form.ask(request.user, now)) is not None:
            messages.success(request, f"Asked for {show_usd(row.amount_nano_usd)} more. Another person decides.")
            return redirect("me:home")
    return _page(request, form)


@require_POST
@_signed_in
def withdraw(request: HttpRequest, pk: int) -> HttpResponse:
    """Take an own request back."""
    row = get_object_or_404(_mine(request.user), pk=pk)
    try:
        raises.withdraw(row=row, actor=request.user)
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
    else:
        messages.success(request, "Withdrawn.")
    return redirect("me:home")


def _page(request: HttpRequest, form: AskForm | None) -> HttpResponse:
    now = timezone.now()
    standing = standing_of(request.user, now)
    context = {
        "standing": standing,
        "now": now,
        "state": _state(standing),
        "verdict": _verdict(standing),
        "form": form or (AskForm(statuses=standing.askable) if standing.askable else None),
        "raises": [(row, raises.state_of(row, now)) for row in _mine(request.user)[:20]],
        "lines": "\n".join(claude_code_lines(settings.GATEWAY_URL, PLACEHOLDER)),
        "placeholder": PLACEHOLDER,
        "gateway_url": settings.GATEWAY_URL,
        "contacts": sorted({row.customer.contact for row in standing.developers if row.customer.contact}),
    }
    return render(request, "me/home.html", context, status=400 if form and form.errors else 200)


def _mine(user: Any) -> Any:
    rows = Raise.objects.filter(requester=user, customer__in=user.memberships.values("customer"))
    return rows.select_related("budget", "customer", "counterpart")


def _state(standing: Standing) -> str:
    if standing.partly:
        return "at_risk"
    if standing.works:
        binding = standing.binding
        near = binding is not None and (binding.state in {"at_risk", "blocked"} or binding.may_refuse)
        return "at_risk" if near else "works"
    return "blocked" if standing.keys else "off"


def _verdict(standing: Standing) -> str:
    """One sentence: can I send requests, how much is left, and until when."""
    if not standing.developers:
        return "You are signed in, but no developer record is yours yet."
    if not standing.keys:
        return "You have no key yet. Ask your team lead for one."
    if not standing.works:
        # The newest key that is not simply gone says why.
        key = next((key for key in standing.keys if key.status.state not in {"revoked", "expired"}), standing.keys[0])
        return f"You cannot send requests. {key.status.reason}"
    binding, can = standing.binding, "You can send requests."
    if standing.partly:
        can = f"You can send requests, not all. {standing.partly}"
    if binding is None:
        return can if standing.partly else f"{can} No budget limits you."
    until = f" until {binding.resets_at:%Y-%m-%d %H:%M}" if binding.resets_at else ""
    left = f"{can} {show_usd(binding.remaining)} left{until}, by “{binding.budget}”."
    return f"{left} {binding.may_refuse}".rstrip()
