"""A request as one of its targets is to get it."""

from __future__ import annotations

from gateway.exchange import Exchange, Target
from gateway.providers import PROVIDERS
from gateway.providers.base import Call, Operation
from gateway.wire import forms
from gateway.wire.foreign import without_foreign_thinking
from gateway.wire.forms import OPENAI, Form
from gateway.wire.openai_clients.fit import fitted
from governance.snapshot import Snapshot


def call_of(
    exchange: Exchange, target: Target, *, operation: Operation | None = None, body: bytes | None = None
) -> Call:
    """What a provider needs to make its request; with `body`, of an Anthropic body that is not the client's own."""
    spoken = exchange.format.form
    provider = PROVIDERS[target.provider.kind]
    peek = exchange.peek
    asked = peek.model if peek else ""
    model = exchange.called(provider, target.model)
    form = spoken if body is None and spoken in forms.CLAUDE else Form.ANTHROPIC
    sent = exchange.body if body is None else body
    if provider.form in forms.CLAUDE and _may_hold_foreign_thinking(exchange.snapshot):
        sent = without_foreign_thinking(sent)
    if exchange.untranslated and model != asked and spoken in OPENAI:
        sent = fitted(sent, model)
    return Call(
        provider=target.provider,
        credential=target.credential,
        operation=operation or exchange.operation,
        model=model,
        stream=peek.stream if peek and operation is None else False,
        form=form,
        body=sent,
        body_model=asked if form is Form.ANTHROPIC and not exchange.path_model else "",
        headers=exchange.headers,
        query=exchange.line.query,
        betas=forms.betas(spoken, exchange.headers.get(b"anthropic-beta"), exchange.body),
        untranslated=exchange.untranslated if body is None else b"",
        client_form=spoken,
        extra_headers=exchange.extra_headers,
    )


def _may_hold_foreign_thinking(snapshot: Snapshot) -> bool:
    """Whether a conversation may have had another model's turns: else nobody need look through it."""
    return snapshot.remembered(
        "foreign thinking",
        lambda: any(PROVIDERS[each.kind].form not in forms.CLAUDE for each in snapshot.providers.values()),
    )
