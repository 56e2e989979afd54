"""AWS credentials as the configuration names them, found and kept fresh by botocore. All of it blocks: never call it
on the event loop.
"""

from __future__ import annotations

import json
import logging
from typing import Any, Final, NamedTuple

from gateway.providers.base import CannotCall

CONNECT_SECONDS: Final = 5
READ_SECONDS: Final = 10
_SESSION_NAME: Final = "comptroller"
"""What CloudTrail shows of an assumed role."""
_NONE: Final = (
    "AWS gave no credentials. The administrators find the reason in the gateway's log and in a provider check."
)

# Its debug lines have tokens, signatures and whole answers of the token service in them.
logging.getLogger("botocore").setLevel(logging.INFO)


class Secret(NamedTuple):
    """What a credential's secret says."""

    access_key_id: str = ""
    secret_access_key: str = ""
    session_token: str = ""
    external_id: str = ""


def parse(method: str, identifier: str, secret: str) -> Secret:
    """The secret of `aws_static` or `aws_role`: lines, or a JSON object with the names of `Secret`.

    The lines of `aws_static` are the secret access key and, for temporary keys, the session token; `aws_role` has the
    access key's id before them, where a key of its own is to assume the role. Raises CannotCall.
    """
    if secret.lstrip().startswith("{"):
        return _from_json(secret, identifier if method == "aws_static" else "")
    lines = [line.strip() for line in secret.split("\n") if line.strip()]
    if method == "aws_static":
        lines.insert(0, identifier)
    if len(lines) > 3:
        raise CannotCall("The AWS secret has more lines than keys. Enter each key on a line of its own.")
    found = Secret(*lines)
    if found.access_key_id and not found.secret_access_key:
        raise CannotCall("The AWS secret access key is missing. Enter the secret of the access key.")
    return found


def _from_json(secret: str, access_key_id: str) -> Secret:
    try:
        values = {name: str(value) for name, value in json.loads(secret).items() if value}
        return Secret(**{"access_key_id": access_key_id, **values})
    except (ValueError, TypeError, AttributeError):
        names = ", ".join(Secret._fields)
        raise CannotCall(f"The AWS secret is JSON, but not an object of {names}.") from None


def find(method: str, identifier: str, secret: str, region: str) -> Any:
    """botocore's credentials, which renew themselves when they are read. Raises CannotCall."""
    # Here: a gateway without AWS needs nothing of it.
    from botocore.credentials import (
        AssumeRoleCredentialFetcher,
        Credentials,
        DeferredRefreshableCredentials,
    )
    from botocore.exceptions import BotoCoreError

    known = parse(method, identifier, secret) if method in {"aws_static", "aws_role"} else Secret()
    if method == "aws_static":
        return Credentials(known.access_key_id, known.secret_access_key, known.session_token or None)
    try:
        session = _session(identifier if method == "aws_profile" else "", region)
        if known.access_key_id:
            source = Credentials(known.access_key_id, known.secret_access_key, known.session_token or None)
        else:
            source = session.get_credentials()
        if source is None:
            raise CannotCall(
                "AWS found no credentials where the gateway runs: no variables, profile, container or instance role."
            )
        if method != "aws_role":
            return source
        asked = {"RoleSessionName": _SESSION_NAME} | ({"ExternalId": known.external_id} if known.external_id else {})
        fetcher = AssumeRoleCredentialFetcher(session.create_client, source, identifier, extra_args=asked)
        return DeferredRefreshableCredentials(fetcher.fetch_credentials, "assume-role")
    except BotoCoreError as error:
        raise CannotCall(_NONE, detail=str(error)) from None


def freeze(credentials: Any) -> Any:
    """The keys to sign with now, renewed where they are about to expire. Raises CannotCall."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return credentials.get_frozen_credentials()
    except (BotoCoreError, ClientError) as error:
        raise CannotCall(_NONE, detail=str(error)) from None
    except Exception as error:
        # What somebody in the place of a token service answers breaks botocore's parsers, which quote it.
        raise CannotCall(_NONE, detail=type(error).__name__) from None


def _session(profile: str, region: str) -> Any:
    from botocore.config import Config
    from botocore.session import Session

    session = Session(profile=profile or None)
    session.set_config_variable("region", region)
    patience = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"total_max_attempts": 2, "mode": "standard"},
    )
    session.set_default_client_config(patience)
    return session
