"""What lies under `/bedrock`: what a client of Amazon Bedrock asks, with a virtual key in the place of an API key.

Claude Code sends here, with `ANTHROPIC_BEDROCK_BASE_URL`, also what it asks of Bedrock's control plane: at its start it
lists the inference profiles, and where it gets none it invokes every model it knows to find out which there are; before
it counts tokens it asks for the model behind a profile.
"""

from __future__ import annotations

from typing import Final

from gateway import errors, pipeline
from gateway.authorize import accesses_of, allowed_models
from gateway.exchange import Exchange
from gateway.formats.bedrock import BEDROCK, BEDROCK_COUNT
from gateway.line import Line
from gateway.providers import PROVIDERS
from gateway.surfaces.common import answer, asks_for_models, check, opened
from gateway.wire.forms import Form
from gateway.wire.headers import secret_from
from governance.domain.access import Grant
from governance.domain.bedrock_ids import anthropic_id, bedrock_id, profile_of, split_prefix
from governance.snapshot import ProviderConfig

PREFIX: Final = "/bedrock"
_MODEL: Final = "/model/"
_PROFILES: Final = "/inference-profiles"
_SERVED: Final = (
    "POST /bedrock/model/{id}/invoke, POST /bedrock/model/{id}/invoke-with-response-stream, "
    "POST /bedrock/model/{id}/count-tokens and GET /bedrock/inference-profiles"
)
_SIGNED: Final = "AWS4-"
_EVERYWHERE: Final = "global"
"""The profile that a model is listed by where no provider of Bedrock's says another: it promises no geography."""


async def bedrock(line: Line) -> None:
    """Answer one request."""
    path = line.path.removeprefix(PREFIX).rstrip("/") or "/"
    model, action = _invoked(path)
    exchange = await opened(line, path, BEDROCK_COUNT if action == "count-tokens" else BEDROCK)
    if model:
        exchange.path_model, exchange.path_stream = anthropic_id(model), action == "invoke-with-response-stream"
        exchange.own_model = model if model != exchange.path_model else ""
    await pipeline.run(exchange, _dispatch)


def _invoked(path: str) -> tuple[str, str]:
    """(model, action); both empty for a path of another kind. An ARN has slashes of its own."""
    if not path.startswith(_MODEL):
        return "", ""
    model, _, action = path.removeprefix(_MODEL).rpartition("/")
    return model, action


async def _dispatch(exchange: Exchange) -> None:
    check(exchange)
    method, (model, action) = exchange.line.method, _invoked(exchange.path)
    if secret_from(exchange.headers) is None and (exchange.headers.get(b"authorization") or "").startswith(_SIGNED):
        raise errors.key_in_signature()
    match action:
        case "invoke" | "invoke-with-response-stream" | "count-tokens" if model and method != "POST":
            raise errors.method_not_allowed(method, PREFIX + exchange.path, "POST")
        case "invoke" | "invoke-with-response-stream" if model:
            await pipeline.messages(exchange)
        case "count-tokens" if model:
            await pipeline.count_tokens(exchange)
        case _ if method == "GET" and exchange.path.partition(_PROFILES)[:2] == ("", _PROFILES):
            _profiles(exchange, exchange.path.removeprefix(_PROFILES).lstrip("/"))
        case _:
            raise errors.not_found(method, PREFIX + exchange.path, _SERVED)


def _profiles(exchange: Exchange, wanted: str) -> None:
    """ListInferenceProfiles: the models that this key may use, by the ids that its first Bedrock provider has for them.
    With an id GetInferenceProfile: any that could be listed, in whatever geography.
    """
    ids = _ids(exchange, asks_for_models(exchange))
    if not wanted:
        answer(exchange, {"inferenceProfileSummaries": [_summary(name) for name in ids]})
    elif anthropic_id(wanted) in map(anthropic_id, ids):
        answer(exchange, _summary(profile_of(wanted)))
    else:
        raise errors.not_found("GET", PREFIX + exchange.path, _SERVED)


def _ids(exchange: Exchange, grant: Grant) -> list[str]:
    at = _first_of_bedrock(exchange, grant)
    names = (
        PROVIDERS[at.kind].model_id(at, model) if at else bedrock_id(model, _EVERYWHERE)
        for model in allowed_models(grant, exchange)
    )
    return list(dict.fromkeys(names))


def _first_of_bedrock(exchange: Exchange, grant: Grant) -> ProviderConfig | None:
    for access in accesses_of(grant, exchange.snapshot):
        provider = exchange.snapshot.providers[access.provider_id]
        if PROVIDERS[provider.kind].form is Form.BEDROCK:
            return provider
    return None


def _summary(name: str) -> dict[str, object]:
    """As botocore's service model has it; the account's number is nobody's."""
    _, base = split_prefix(name)
    return {
        "inferenceProfileName": name,
        "inferenceProfileId": name,
        "inferenceProfileArn": f"arn:aws:bedrock:us-east-1:000000000000:inference-profile/{name}",
        "models": [{"modelArn": f"arn:aws:bedrock:us-east-1::foundation-model/{base}"}],
        "status": "ACTIVE",
        "type": "SYSTEM_DEFINED",
    }
