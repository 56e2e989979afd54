"""The golden requests, streams and answers of Gemini's; most requests are those of OpenAI's corpus."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parents[3] / "golden" / "providers"
GEMINI = FOLDER / "gemini"
REQUESTS = sorted(path.name.removesuffix(".gemini.json") for path in (GEMINI / "requests").glob("*.gemini.json"))
STREAMS = sorted(path.name.removesuffix(".gemini.sse") for path in (GEMINI / "streams").glob("*.gemini.sse"))
ANSWERS = sorted(path.name.removesuffix(".gemini.json") for path in (GEMINI / "answers").glob("*.gemini.json"))
MODEL = "gemini-3.8-flash"


def asked(name: str) -> bytes:
    """The Messages body of a request."""
    own = GEMINI / "requests" / f"{name}.messages.json"
    return (own if own.exists() else FOLDER / "openai" / "requests" / own.name).read_bytes()


def file(kind: str, name: str) -> bytes:
    return (GEMINI / kind / name).read_bytes()
