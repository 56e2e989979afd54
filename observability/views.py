"""`/healthz`, `/readyz` and `/metrics`: asynchronous, so that neither a slow page nor a scrape holds the
other up.
"""

from __future__ import annotations

import asyncio
import hmac

from django.conf import settings
from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST

from observability import exposition, health


@require_safe
async def healthz(request: HttpRequest) -> HttpResponse:
    """The process is alive; nothing is asked of anything else."""
    return HttpResponse("ok\n", content_type="text/plain")


@never_cache
@require_safe
async def readyz(request: HttpRequest) -> JsonResponse:
    """200 when requests may be sent here, else 503; `checks` says why."""
    status, checks = await asyncio.to_thread(health.report)
    return JsonResponse({"status": status, "checks": checks}, status=status.http)


@never_cache
@require_safe
async def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus text; asks for `COMPTROLLER_METRICS_TOKEN` as a bearer token where that is set."""
    token = settings.COMPTROLLER["COMPTROLLER_METRICS_TOKEN"]
    if token:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), token.encode()):
            refusal = HttpResponse(
                "Send the metrics token as `Authorization: Bearer …`.\n",
                status=401,
                content_type="text/plain",
            )
            refusal["WWW-Authenticate"] = "Bearer"
            return refusal
    # The writer's process renders them: tens of milliseconds of this one's interpreter lock otherwise.
    text = await exposition.remote() if exposition.remote is not None else b""
    return HttpResponse(text or await asyncio.to_thread(_render), content_type=CONTENT_TYPE_LATEST)


def _render() -> bytes:
    try:
        return exposition.render()
    finally:
        connection.close()  # the pool's thread may not be used again for long
