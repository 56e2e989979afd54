"""Google's credentials by google-auth: a service account's key, or what the environment has.

Blocking, all of it: `tokens.py` runs it in threads.
"""

from __future__ import annotations

import json
import re
from datetime import UTC
from functools import partial
from typing import Any, Final

import google.auth
import urllib3
from django.conf import settings
from google.auth import exceptions
from google.auth.transport.urllib3 import Request
from google.oauth2 import service_account

from gateway.providers.base import CannotCall
from gateway.providers.vertex.tokens import Token, Tokens, held
from governance.snapshot import CredentialConfig

SCOPES: Final = ("https://www.googleapis.com/auth/cloud-platform",)
_SECONDS: Final = 10.0
_GOOGLES: Final = re.compile(r"https://[a-z0-9.-]+\.googleapis\.com(?:/[\w./-]*)?", re.ASCII)
"""Where a key may say that its tokens are: any other address could be inside the gateway's own network."""


def tokens(credential: CredentialConfig) -> Tokens:
    """The holder of a credential's tokens. Raises CannotCall for a method that is not Google's."""
    match credential.method:
        case "google_service_account":
            return held(credential.method, credential.secret, partial(_of_service_account, credential.secret))
        case "google_default":
            return held(credential.method, "", _of_environment)
    raise CannotCall(
        f"The credential {credential.name!r} is none of Google's. Choose a method that begins with google."
    )


def _of_service_account(secret: str) -> Token:
    try:
        info = json.loads(secret)
        found = service_account.Credentials.from_service_account_info(info, scopes=SCOPES)  # type: ignore[no-untyped-call]
    except (ValueError, TypeError, AttributeError, KeyError, exceptions.GoogleAuthError):
        # The library quotes what it could not read: that may be the key.
        raise CannotCall(
            "The secret is not the JSON key of a service account. Enter the whole file that Google gave out."
        ) from None
    if not (settings.COMPTROLLER["COMPTROLLER_ALLOW_PRIVATE_UPSTREAMS"] or _GOOGLES.fullmatch(str(info["token_uri"]))):
        raise CannotCall(
            "The service account's token_uri is none of Google's. Enter the file as Google gave it out, with "
            "https://oauth2.googleapis.com/token; another address needs COMPTROLLER_ALLOW_PRIVATE_UPSTREAMS=1."
        )
    return _refreshed(found)


def _of_environment() -> Token:
    try:
        found, _ = google.auth.default(scopes=SCOPES, request=_transport())
    except exceptions.GoogleAuthError as error:
        raise CannotCall(
            "The environment has no Google credentials. Set GOOGLE_APPLICATION_CREDENTIALS or run where Google's "
            "metadata server gives some.",
            detail=str(error)[:300],
        ) from None
    return _refreshed(found)


def _refreshed(found: Any) -> Token:
    try:
        found.refresh(_transport())
    except exceptions.GoogleAuthError as error:
        raise CannotCall(
            "Google gives no token for the credential. The administrators find the reason in the gateway's log and in "
            "a provider check.",
            detail=str(error)[:300],
        ) from None
    if not found.token or found.expiry is None:
        raise CannotCall("Google gives a token without an end for the credential, which cannot be kept.")
    return Token(found.token, found.expiry.replace(tzinfo=UTC).timestamp())


def _transport() -> Request:
    """With a pool of its own for each refresh: once an hour, and nothing stays open. google-auth retries by itself."""
    pool = urllib3.PoolManager(num_pools=2, retries=False, timeout=urllib3.Timeout(_SECONDS))
    return Request(pool)  # type: ignore[no-untyped-call]
