"""What both kinds of webhook share: post a JSON body, judge the answer."""

from __future__ import annotations

from collections.abc import Mapping

from django.conf import settings

from governance import outbound
from governance.alerts.channels import NotDelivered

_HEADERS = {"content-type": "application/json", "user-agent": "Comptroller", "accept": "*/*"}


def post(url: str, body: bytes, headers: Mapping[str, str] | None = None) -> int:
    """The status of a 2xx answer. Raises NotDelivered."""
    allow_private = settings.COMPTROLLER["COMPTROLLER_ALLOW_PRIVATE_UPSTREAMS"]
    try:
        status = outbound.post(url, body, {**_HEADERS, **(headers or {})}, allow_private=allow_private)
    except outbound.OutboundError as error:
        raise NotDelivered(str(error), permanent=error.permanent) from None
    if 200 <= status < 300:
        return status
    if 300 <= status < 400:
        raise NotDelivered(f"it answered {status}: redirects are not followed, enter the final address", status=status)
    # Nothing that it wrote: many repeat the address, which is a secret, and readers may be outside our network.
    raise NotDelivered(f"it answered {status}", status=status, permanent=status == 410)
