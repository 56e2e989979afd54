"""What clients speak to, one module a prefix: which path and method is which pipeline."""

from collections.abc import Mapping

from gateway.line.base import Surface
from gateway.surfaces import anthropic, openai, vertex

SURFACES: Mapping[str, Surface] = {
    anthropic.PREFIX: anthropic.anthropic,
    vertex.PREFIX: vertex.vertex,
    openai.PREFIX: openai.openai,
}
"""The data plane: prefix and what answers under it."""
