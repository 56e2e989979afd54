"""Between steps 2 and 3: which model, on which targets? What aliases of the key or its team and routing rules say."""

from __future__ import annotations

from gateway.exchange import Exchange
from governance.domain.access import Grant, matches


def steer(exchange: Exchange, grant: Grant, model: str) -> str:
    """The model to go on with."""
    return _aliased(exchange, grant, model) if grant.aliases else model


def _aliased(exchange: Exchange, grant: Grant, model: str) -> str:
    """What the first alias that fits puts in the place of the model; an alias of an alias is none."""
    for pattern, other in grant.aliases:
        if matches((pattern,), model):
            if other == model:
                return model
            exchange.aliased_from = model
            exchange.record.route_rule = f"alias {pattern} → {other}"[:120]
            return other
    return model
