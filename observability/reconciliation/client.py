"""Read the cost and usage reports from Anthropic's Admin API: pages, retries, time limits; every failure a sentence."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

import httpx

from observability.reconciliation.parse import BadReport, Kind, Page, Report, combine, decode, parse_page

logger = logging.getLogger(__name__)

PATHS: dict[Kind, str] = {
    "cost": "/v1/organizations/cost_report",
    "usage": "/v1/organizations/usage_report/messages",
}
GROUPS: dict[Kind, tuple[str, ...]] = {
    "cost": ("workspace_id", "description"),
    "usage": ("workspace_id", "model", "service_tier", "context_window", "inference_geo"),
}
VERSION = "2023-06-01"
DAYS_A_PAGE = 31
"""The most that the API gives in one page of daily buckets."""
MAX_PAGES = 200
MAX_BYTES = 64 * 1024 * 1024
MAX_RETRY_AFTER_S = 120.0


class Unreachable(Exception):
    """The reports could not be read; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class AdminApi:
    """One organisation's Admin API. `pause` sleeps, in seconds."""

    base_url: str
    key: str = field(repr=False)
    tries: int = 5
    timeout_s: float = 30.0
    pause: Callable[[float], None] = time.sleep

    def report(self, kind: Kind, first: date, last: date) -> Report:
        """The days from `first` to `last`, both included (UTC). Raises Unreachable or BadReport."""
        parameters: list[tuple[str, str]] = [
            ("starting_at", f"{first}T00:00:00Z"),
            ("ending_at", f"{last + timedelta(days=1)}T00:00:00Z"),
            ("bucket_width", "1d"),
            ("limit", str(DAYS_A_PAGE)),
            *(("group_by[]", group) for group in GROUPS[kind]),
        ]
        headers = {"x-api-key": self.key, "anthropic-version": VERSION, "accept": "application/json"}
        pages: list[Page] = []
        seen: set[str] = set()
        received = hashlib.sha256()
        with httpx.Client(base_url=self.base_url, headers=headers, timeout=self.timeout_s) as client:
            following = ""
            while True:
                asked = [*parameters, *([("page", following)] if following else [])]
                content, page = self._page(client, kind, asked)
                received.update(content)
                pages.append(page)
                following = page.next_page
                if not page.has_more:
                    break
                if following in seen or len(pages) >= MAX_PAGES:
                    raise BadReport(f"The {kind} report does not end: page {following!r} came again. Try again later.")
                seen.add(following)
        report = combine(pages, kind, received.hexdigest())
        outside = [day for day in report.days if not first <= day <= last]
        if outside:
            raise BadReport(f"The {kind} report holds {outside[0]}, which was not asked for. Nothing was imported.")
        return report

    def _page(self, client: httpx.Client, kind: Kind, asked: list[tuple[str, str]]) -> tuple[bytes, Page]:
        """One page. What may pass by itself (limits, failures, a broken answer) is tried again a few times."""
        reason = ""
        for attempt in range(self.tries):
            wait = min(2.0**attempt, 30.0)
            try:
                content, response = self._get(client, PATHS[kind], asked)
            except httpx.HTTPError as error:
                reason = f"{self.base_url} cannot be reached: {error or type(error).__name__}"
            else:
                if response.status_code == httpx.codes.OK:
                    try:
                        document = decode(content)
                    except BadReport as error:
                        # A broken answer may be a passing fault of a proxy; one of the wrong shape would come again.
                        reason = f"The answer of {self.base_url} cannot be used: {error}"
                    else:
                        return content, parse_page(document, kind)
                elif response.status_code == httpx.codes.TOO_MANY_REQUESTS or response.status_code >= 500:
                    reason = f"{self.base_url} answered {response.status_code}"
                    wait = _retry_after(response, wait)
                else:
                    raise Unreachable(_refusal(response.status_code, content))
            if attempt + 1 < self.tries:
                logger.info("The %s report is asked for again in %.1f s: %s", kind, wait, reason)
                self.pause(wait)
        raise Unreachable(f"{reason} ({self.tries} tries). The next run asks again.")

    def _get(self, client: httpx.Client, path: str, asked: Sequence[tuple[str, str]]) -> tuple[bytes, httpx.Response]:
        content = bytearray()
        with client.stream("GET", path, params=tuple(asked)) as response:
            for chunk in response.iter_bytes():
                content += chunk
                if len(content) > MAX_BYTES:
                    raise BadReport(f"A page of the report is larger than {MAX_BYTES:,} bytes. Ask for fewer days.")
        return bytes(content), response


def _retry_after(response: httpx.Response, otherwise: float) -> float:
    """Seconds that the provider asks to wait, within reason; dates are not sent here."""
    try:
        return min(max(float(response.headers["retry-after"]), 0.0), MAX_RETRY_AFTER_S)
    except (KeyError, ValueError):
        return otherwise


def _refusal(status: int, content: bytes) -> str:
    try:
        message = str(decode(content)["error"]["message"])[:300]
    except (BadReport, KeyError, TypeError):
        message = ""
    said = f": {message}" if message else ""
    match status:
        case 401:
            return (
                f"Anthropic does not know the admin key (401{said}). Set ANTHROPIC_ADMIN_KEY to a key that starts with "
                "sk-ant-admin, made under Admin keys in the Anthropic Console."
            )
        case 403:
            return f"The admin key may not read the reports (403{said}). Use a key of the organisation's admin."
        case 404:
            return f"There are no reports at this address (404{said}). Check COMPTROLLER_ANTHROPIC_ADMIN_BASE_URL."
    return f"Anthropic refused the report ({status}{said})."
