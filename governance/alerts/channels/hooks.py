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
        answer = outbound.post(url, body, {**_HEADERS, **(headers or {})}, allow_private=allow_private)
    except outbound.OutboundError as error:
        raise NotDelivered(str(error), permanent=error.permanent) from None
    if 200 <= answer.status < 300:
        return answer.status
    if 300 <= answer.status < 400:
        raise NotDelivered(
            f"it answered {answer.status}: redirects are not followed, enter the final address", status=answer.status
        )
    # What an address inside our network answers is not shown: its readers may be outside.
    said = "" if allow_private else " ".join(answer.text.split())[:200]
    raise NotDelivered(
        f"it answered {answer.status}{f': {said}' if said else ''}",
        status=answer.status,
        permanent=answer.status == 410,
    )
