"""Virtual keys: their form, their digest, and how a secret is read out of a request's headers."""

from __future__ import annotations

import hmac
import re
import secrets
import string
from dataclasses import dataclass

_BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
_FORM = re.compile(r"sk-cmp-([0-9A-Za-z]{8})-([0-9A-Za-z]{43})")


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """A virtual key's secret, in full; exists only while it is made or checked. Its repr shows the public id alone."""

    public_id: str
    random: str

    def __str__(self) -> str:
        return f"sk-cmp-{self.public_id}-{self.random}"

    def __repr__(self) -> str:
        return f"<Secret sk-cmp-{self.public_id}-…>"

    def digest(self, pepper: str) -> str:
        """HMAC-SHA-256 of the whole secret under the pepper, as 64 hex digits."""
        return hmac.digest(pepper.encode(), str(self).encode(), "sha256").hex()


def make_secret() -> Secret:
    """A new secret with 256 bits of randomness."""
    return Secret(_random(8), _random(43))


def parse_secret(text: str) -> Secret | None:
    """The secret, or None where the text is not of the form `sk-cmp-<8 base62>-<43 base62>`."""
    match = _FORM.fullmatch(text)
    return Secret(match[1], match[2]) if match else None


def same_digest(left: str, right: str) -> bool:
    """Compare two digests in constant time."""
    return hmac.compare_digest(left, right)


def _random(length: int) -> str:
    return "".join(secrets.choice(_BASE62) for _ in range(length))
