"""Lets monitors ask by any name: balancers and Prometheus call a process by its address, not by an allowed host."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import iscoroutinefunction
from typing import Any

from django.http import HttpRequest
from django.utils.decorators import sync_and_async_middleware

PROBES = frozenset({"/healthz", "/readyz", "/metrics"})


@sync_and_async_middleware
def probes_on_any_host(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Must stand before CommonMiddleware. These answers hold no link, so a forged host name has nothing to gain."""

    def accept(request: HttpRequest) -> HttpRequest:
        if request.path_info in PROBES:
            request.META["HTTP_HOST"] = "localhost"
        return request

    if iscoroutinefunction(get_response):

        async def asynchronous(request: HttpRequest) -> Any:
            answer: Awaitable[Any] = get_response(accept(request))
            return await answer

        return asynchronous
    return lambda request: get_response(accept(request))
