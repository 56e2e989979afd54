"""A provider that fails at random, in every way that a request can be sent elsewhere for."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field

from tests.fakes.wire_provider import EVENTS, LAST_CHUNK, START, Wire, chunk, error, error_body, head, whole

WAYS = ("429", "529", "500", "cut", "timeout", "overloaded event", "cut after the start")


@dataclass
class Storm:
    """`play` is its script. `weights` say how often each way, or `ok`, is taken; `met` counts what was."""

    weights: dict[str, float]
    seed: int = 7
    met: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    async def play(self, wire: Wire) -> None:
        while True:
            await wire.request()
            (way,) = self._random.choices(list(self.weights), list(self.weights.values()))
            self.met[way] += 1
            match way:
                case "ok":
                    await wire.send(head(), *(chunk(each) for each in EVENTS), LAST_CHUNK)
                case "429":
                    await wire.send(whole(error_body("rate_limit_error"), "429 Too Many Requests", "retry-after: 0"))
                case "529":
                    await wire.send(whole(error_body("overloaded_error"), "529 Overloaded"))
                case "500":
                    await wire.send(whole(error_body("api_error"), "500 Internal Server Error"))
                case "overloaded event":
                    await wire.send(head(), chunk(error("overloaded_error")), LAST_CHUNK)
                case "cut after the start":
                    await wire.send(head(), chunk(START))
                    return
                case "cut":
                    return
                case "timeout":
                    await wire.silence()
                    return
