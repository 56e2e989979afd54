"""What clients speak to, one module a prefix: which path and method is which pipeline."""

from collections.abc import Mapping

from gateway.line.base import Surface
from gateway.surfaces import anthropic, bedrock, openai, vertex

SURFACES: Mapping[str, Surface] = {
    anthropic.PREFIX: anthropic.anthropic,
    bedrock.PREFIX: bedrock.bedrock,
    vertex.PREFIX: vertex.vertex,
    openai.PREFIX: openai.openai,
}
"""The data plane: prefix and what answers under it."""
