"""Anthropic's name for an error of each HTTP status, as other providers' errors are told by it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

ERROR_TYPES: Final[Mapping[int, str]] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
"""Source: the errors page of Anthropic's API; 503 is how others say that they are overloaded."""
