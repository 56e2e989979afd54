"""What an account may call: Claude's models and inference profiles, as Bedrock's own API lists them. Blocking."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gateway.providers.base import CannotCall
from gateway.providers.bedrock import credentials
from governance.snapshot import CredentialConfig, ProviderConfig


def models(provider: ProviderConfig, credential: CredentialConfig) -> list[str]:
    """Ids of inference profiles, then of models that are called without one. Raises CannotCall."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        client = _client(provider, credential)
        return [*_profiles(client), *_models(client)]
    except (BotoCoreError, ClientError) as error:
        raise CannotCall(f"Bedrock did not list its models: {error}") from None


def _client(provider: ProviderConfig, credential: CredentialConfig) -> Any:
    from botocore import UNSIGNED
    from botocore.config import Config
    from botocore.session import Session

    bearer = credential.method == "api_key"
    config = Config(
        connect_timeout=credentials.CONNECT_SECONDS,
        read_timeout=credentials.READ_SECONDS,
        retries={"total_max_attempts": 2, "mode": "standard"},
        # Said outright: a Bedrock API key in the gateway's own environment would take the credential's place.
        signature_version=UNSIGNED if bearer else "v4",
    )
    keys = {}
    if not bearer:
        found = credentials.find(credential.method, credential.identifier, credential.secret, provider.region)
        frozen = credentials.freeze(found)
        keys = {
            "aws_access_key_id": frozen.access_key,
            "aws_secret_access_key": frozen.secret_key,
            "aws_session_token": frozen.token,
        }
    client = Session().create_client(
        "bedrock", region_name=provider.region, endpoint_url=provider.base_url or None, config=config, **keys
    )
    if bearer:

        def present(request: Any, **_: Any) -> None:
            request.headers["Authorization"] = f"Bearer {credential.secret}"

        client.meta.events.register("before-send.bedrock.*", present)
    return client


def _profiles(client: Any) -> Iterator[str]:
    for page in client.get_paginator("list_inference_profiles").paginate():
        for profile in page.get("inferenceProfileSummaries", ()):
            name = str(profile["inferenceProfileId"])
            # A profile of the account's own is called by its ARN.
            if profile.get("type") == "APPLICATION":
                name = str(profile["inferenceProfileArn"])
            if any("anthropic." in str(model.get("modelArn", "")) for model in profile.get("models", ())):
                yield name


def _models(client: Any) -> Iterator[str]:
    for model in client.list_foundation_models(byProvider="Anthropic").get("modelSummaries", ()):
        if "ON_DEMAND" in model.get("inferenceTypesSupported", ()):
            yield str(model["modelId"])
