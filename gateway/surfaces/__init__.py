"""What clients speak to, one module a prefix: which path and method is which pipeline."""

from collections.abc import Awaitable, Callable, Mapping

from gateway.line import Line
from gateway.surfaces import anthropic

SURFACES: Mapping[str, Callable[[Line], Awaitable[None]]] = {anthropic.PREFIX: anthropic.anthropic}
"""The data plane: prefix and what answers under it."""
