"""The admin's page that really asks a provider: with each credential, for its models. Costs nothing."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString

from gateway.providers import PROVIDERS
from gateway.providers.base import CannotCall
from gateway.upstream.errors import PrivateAddress
from governance.admin import cells
from governance.domain.addresses import is_public
from governance.models import Provider
from governance.snapshot import CredentialConfig, ProviderConfig, provider_config

SHOWN_MODELS = 12
AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Found:
    """What one credential met. `said` is one sentence."""

    name: str
    works: bool
    said: str
    seconds: float = 0.0
    models: tuple[str, ...] = ()

    @property
    def badge(self) -> SafeString:
        return cells.state("ok", "✓", "Works") if self.works else cells.state("blocked", "■", "Does not work")


def provider_test(request: HttpRequest, pk: int) -> HttpResponse:
    """Asks on POST. For who may change providers."""
    if not request.user.has_perm("governance.change_provider"):
        raise PermissionDenied
    provider = get_object_or_404(Provider, pk=pk)
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": f"Test: {provider}",
        "opts": Provider._meta,
        "provider": provider,
        "back_url": reverse("admin:governance_provider_change", args=[pk]),
        "now": timezone.now(),
        "found": ask(provider_config(provider)) if request.method == "POST" else None,
    }
    return TemplateResponse(request, "admin/governance/provider_test.html", context)


def ask(provider: ProviderConfig) -> list[Found]:
    """Ask with each credential, some at a time; blocks for seconds where it does not answer."""
    kind = PROVIDERS.get(provider.kind)
    credentials = provider.credentials
    if kind is None:
        return [Found(provider.name, False, f"This gateway cannot call the kind {provider.kind!r}.")]
    if not kind.needs_credential:
        credentials = credentials[:1] or (CredentialConfig("no credential needed", 1.0, ""),)
    if not credentials:
        return [Found("none", False, "It has no active credential: add one.")]
    with ThreadPoolExecutor(min(AT_ONCE, len(credentials))) as threads:
        return list(threads.map(lambda credential: _ask(provider, credential), credentials))


def _ask(provider: ProviderConfig, credential: CredentialConfig) -> Found:
    if credential.problem:
        return Found(credential.name, False, credential.problem)
    began = time.monotonic()
    if _is_forbidden(provider.base_url):
        return Found(credential.name, False, f"It cannot be asked: {PrivateAddress('')}.")
    try:
        models = PROVIDERS[provider.kind].models(provider, credential)
    except CannotCall as error:
        return Found(credential.name, False, f"{error} {error.detail}".rstrip(), time.monotonic() - began)
    took = time.monotonic() - began
    if not models:
        return Found(credential.name, True, "It answers, and lists no model that this account can use.", took)
    first = f", the first {SHOWN_MODELS}" if len(models) > SHOWN_MODELS else ""
    said = f"It answers with {len(models)} model{'' if len(models) == 1 else 's'}{first}:"
    return Found(credential.name, True, said, took, tuple(models[:SHOWN_MODELS]))


def _is_forbidden(base_url: str) -> bool:
    """Whether requests may not go to the configured address either."""
    host = urlsplit(base_url).hostname
    if not host or settings.COMPTROLLER["COMPTROLLER_ALLOW_PRIVATE_UPSTREAMS"]:
        return False
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return not all(is_public(str(entry[4][0])) for entry in found)
