"""Google's token service on loopback: it verifies what a service account signs, and its tokens end.

Written from RFC 7523 and Google's guide to service accounts, with `cryptography` alone, so that google-auth, which the
gateway uses, is judged by something else than itself.
"""

from __future__ import annotations

import json
import secrets
import time
from base64 import urlsafe_b64decode
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

CLOUD_PLATFORM = "https://www.googleapis.com/auth/cloud-platform"
EMAIL = "gateway@fake-project.iam.gserviceaccount.com"
KEY_ID = "fake-key-1"
AUDIENCE = "https://oauth2.googleapis.com/token"
"""Of an assertion, wherever it is sent: Google's guide says so, and google-auth does."""
JWT_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
USER = {"client_id": "fake-client", "client_secret": "fake-client-secret", "refresh_token": "fake-refresh-token"}


class Denied(Exception):
    """The service's `error`, with its description."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(description)
        self.error = error


@dataclass
class TokenService:
    """Issues tokens for one service account and one person."""

    lifetime: float = 3600
    """Seconds that a token lasts, as it is told; the service counts by its own clock."""
    issued: dict[str, float] = field(default_factory=dict)
    """When each token ends, in Unix seconds."""
    asked: int = 0
    failing: tuple[int, bytes] | None = None
    """What is answered instead, once set: (status, body)."""

    def __post_init__(self) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def service_account(self, url: str) -> dict[str, str]:
        """The JSON key that Google would give out."""
        pem = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return {
            "type": "service_account",
            "project_id": "fake-project",
            "private_key_id": KEY_ID,
            "private_key": pem.decode(),
            "client_email": EMAIL,
            "client_id": "1",
            "token_uri": f"{url}/token",
        }

    def authorized_user(self) -> dict[str, str]:
        """What `gcloud auth application-default login` writes; the library asks Google's own address for its token."""
        return {"type": "authorized_user", **USER}

    def accepts(self, token: str) -> bool:
        return self.issued.get(token, 0) > time.time()

    def token(self, form: bytes) -> tuple[int, bytes]:
        """The answer to a request at the token address: (status, body)."""
        self.asked += 1
        if self.failing is not None:
            return self.failing
        asked = {name: values[0] for name, values in parse_qs(form.decode()).items()}
        try:
            match asked.get("grant_type"):
                case str(grant) if grant == JWT_GRANT:
                    self._verify(asked.get("assertion", ""))
                case "refresh_token":
                    if any(asked.get(name) != value for name, value in USER.items()):
                        raise Denied("invalid_grant", "Token has been expired or revoked.")
                case _:
                    raise Denied("unsupported_grant_type", "Invalid grant_type")
        except Denied as error:
            return 400, json.dumps({"error": error.error, "error_description": str(error)}).encode()
        token = f"ya29.fake-{secrets.token_urlsafe(16)}"
        self.issued[token] = time.time() + self.lifetime
        answer = {"access_token": token, "expires_in": int(self.lifetime), "token_type": "Bearer"}
        return 200, json.dumps(answer).encode()

    def _verify(self, assertion: str) -> None:
        parts = assertion.split(".")
        if len(parts) != 3:
            raise Denied("invalid_grant", "Bad Request")
        head, claims = (json.loads(_decoded(part)) for part in parts[:2])
        if head.get("alg") != "RS256" or head.get("kid") != KEY_ID:
            raise Denied("invalid_grant", "Invalid JWT: unknown algorithm or key.")
        signed = f"{parts[0]}.{parts[1]}".encode()
        try:
            self._key.public_key().verify(_decoded(parts[2]), signed, padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            raise Denied("invalid_grant", "Invalid JWT Signature.") from None
        _judge(claims, time.time())


def _judge(claims: Any, now: float) -> None:
    if claims.get("iss") != EMAIL:
        raise Denied("invalid_grant", "Invalid grant: account not found")
    if claims.get("aud") != AUDIENCE:
        raise Denied("invalid_grant", f"Invalid JWT: aud must be {AUDIENCE}.")
    if not (claims["iat"] - 300 <= now < claims["exp"] <= claims["iat"] + 3600 + 1):
        raise Denied("invalid_grant", "Invalid JWT: Token must be a short-lived token (60 minutes)")
    if CLOUD_PLATFORM not in claims.get("scope", "").split():
        raise Denied("invalid_scope", "Invalid OAuth scope or ID token audience provided.")


def _decoded(part: str) -> bytes:
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))
