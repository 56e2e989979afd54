"""Which providers and credentials may be asked now, from what became of the requests before; no I/O.

On the path of every request, so a lone healthy target costs under a microsecond
(`tests/benchmarks/test_availability.py`). Called from the event loop alone. Times are seconds of one clock,
`time.monotonic` in the gateway.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from statistics import median
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.availability import ratelimits
from gateway.availability.breaker import Breaker
from gateway.availability.credentials import Credential
from gateway.availability.health import CredentialHealth, CredentialState, ProviderHealth, State, judge
from gateway.availability.limits import Limits
from gateway.availability.outcomes import TROUBLE, HeaderPairs, Outcome, Reason, Result, Unusable
from gateway.availability.window import KEPT_SECONDS
from governance.domain.provider_kinds import KINDS

if TYPE_CHECKING:
    from governance.snapshot import CredentialConfig, ProviderConfig

MOST_SAMPLES = 500
"""Latencies kept of each provider."""
MOST_DETAIL = 250
"""Characters of an error that are kept for people."""


class _Provider:
    """The state of one provider."""

    __slots__ = ("breaker", "credentials", "last_error", "last_error_at", "samples", "shown", "shown_at", "trouble")

    def __init__(self, now: float) -> None:
        self.breaker = Breaker()
        self.credentials: dict[str, tuple[bytes, Credential]] = {}
        """(digest of its configuration, state) by name."""
        self.samples: deque[tuple[float, float, float | None]] = deque(maxlen=MOST_SAMPLES)
        """(moment, latency, time to first token)."""
        self.last_error = ""
        self.last_error_at = 0.0
        self.trouble = ""
        """The last thing that counted against the provider itself, as anybody may read it."""
        self.shown = State.UP
        self.shown_at = now


class Turn(msgspec.Struct, gc=False):
    """One attempt at a target, from `Availability.began` on. It ends once; a second end is ignored."""

    _owner: Availability
    _provider: ProviderConfig
    _config: CredentialConfig
    _began: float
    _tokens: int
    _state: _Provider | None
    _credential: Credential

    def answered(self, now: float, headers: HeaderPairs = ()) -> None:
        """A 2xx answer begins: an open breaker closes, a dead credential lives, what headers say is taken in.

        Optional: `ended` does the same, minutes later where the answer is a long stream.
        """
        if self._state is not None:
            if self._state.breaker.opened_at is not None:
                self._state.breaker.answered(self._began, now)
            self._credential.answered_at = now
            if self._credential.marked:
                self._credential.accepted(self._began)
            if headers and self._credential.to_look(now):
                self._look(now, headers)

    def ended(self, now: float, outcome: Outcome) -> None:
        """It is over, in whatever way."""
        state = self._state
        if state is None:
            return
        self._state = None
        credential = self._credential
        credential.running -= 1
        if outcome.tokens is not None and not credential.at_ease:
            credential.limits.correct(now, outcome.tokens - self._tokens)
        if outcome.result is Result.OK:
            breaker = state.breaker
            if breaker.opened_at is None:
                breaker.window.add(now)
            else:
                breaker.ended(self._began, now, failed=False)
            if outcome.latency is not None:
                state.samples.append((now, outcome.latency, outcome.ttft))
            credential.answered_at = now
            if credential.marked:
                credential.accepted(self._began)
            if outcome.headers and credential.to_look(now):
                self._look(now, outcome.headers)
        else:
            self._went_wrong(state, now, outcome)

    def _went_wrong(self, state: _Provider, now: float, outcome: Outcome) -> None:
        result, credential = outcome.result, self._credential
        if result is Result.NOTHING or result is Result.CANNOT_CALL:
            state.breaker.unheard()
        else:
            state.breaker.ended(self._began, now, failed=result in TROUBLE)
        if result is Result.NOTHING or result is Result.RELAY:
            return
        words, detail = outcome.in_words()[:MOST_DETAIL], outcome.in_detail()[:MOST_DETAIL]
        state.last_error, state.last_error_at = detail, now
        if result in TROUBLE:
            state.trouble = words
        credential.failed(now, detail)
        wait = outcome.retry_after
        if wait is None and outcome.headers:
            wait = ratelimits.retry_after(outcome.headers, self._owner.wall())
        if result is Result.RATE_LIMITED:
            credential.cool(now, wait, f"was refused: {words}")
        elif result is Result.CREDENTIAL:
            self._owner.rejected(self._provider, self._config, credential, now, outcome)
        elif result is Result.CANNOT_CALL:
            credential.uncallable(now, words)
        elif wait is not None and result in TROUBLE:
            credential.cool(now, wait, f"is to wait: {words}")

    def _look(self, now: float, headers: HeaderPairs) -> None:
        rest = ratelimits.rest(headers, self._owner.wall())
        if rest is not None:
            seconds, what = rest
            self._credential.rest(now, seconds, f"has no {what} left")


class Availability:
    """What this process knows of its providers and credentials."""

    def __init__(
        self,
        *,
        wall: Callable[[], float] = time.time,
        on_rejected: Callable[[str, str, int | None, bool, str], None] = lambda *what: None,
    ) -> None:
        """`wall` gives seconds since 1970, for dates in headers. `on_rejected` hears of each refusal of a credential:
        provider, credential, status, whether it was accepted before, and the provider's own words."""
        self.wall = wall
        self._on_rejected = on_rejected
        self._states: dict[int, _Provider] = {}
        self._providers: tuple[ProviderConfig, ...] = ()
        self._places: dict[int, bytes] = {}
        """Digest of where each provider is, by id."""
        self._key = secrets.token_bytes(32)

    def usable(self, provider: ProviderConfig, credential: CredentialConfig, now: float) -> Unusable | None:
        """Why this target is not to be asked now; None where it may. Asking changes nothing."""
        state = self._states.get(provider.id)
        if state is None:
            return None
        if state.breaker.opened_at is not None and not state.breaker.lets(now):
            return Unusable(Reason.BREAKER, state.breaker.asks_at, _open(state))
        found = state.credentials.get(credential.name)
        return None if found is None or found[1].at_ease else found[1].unusable(now)

    def began(self, provider: ProviderConfig, credential: CredentialConfig, now: float, tokens: int = 0) -> Turn:
        """A request goes to this target; `tokens` is what it will probably use. The turn must be ended."""
        state = self._states.get(provider.id)
        found = state.credentials.get(credential.name) if state is not None else None
        if state is None or found is None:
            state, found = self._enter(provider, credential, now)
        if state.breaker.opened_at is not None:
            state.breaker.began(now)
        known = found[1]
        if known.at_ease:
            known.running += 1
        else:
            known.began(now, tokens)
        return Turn(self, provider, credential, now, tokens, state, known)

    def configured(self, providers: Iterable[ProviderConfig], now: float) -> None:
        """The configuration changed. What did not change keeps its state; a credential whose secret, or whose
        provider's address, was replaced begins anew."""
        self._providers = tuple(providers)
        places = {provider.id: self._place(provider) for provider in self._providers}
        for gone in [pk for pk in self._states if places.get(pk) != self._places.get(pk)]:
            del self._states[gone]
        self._places = places
        for provider in self._providers:
            state = self._states.get(provider.id)
            if state is None:
                state = self._states[provider.id] = _Provider(now)
            before = state.credentials
            state.credentials = {}
            for config in provider.credentials:
                digest = self._digest_of(config)
                old_digest, credential = before.get(config.name) or (digest, _credential(config))
                if old_digest != digest:
                    credential.renew()
                credential.limit(config.requests_per_minute, config.tokens_per_minute, config.concurrent)
                state.credentials[config.name] = (digest, credential)

    def rejected(
        self, provider: ProviderConfig, config: CredentialConfig, credential: Credential, now: float, outcome: Outcome
    ) -> None:
        """The provider refused the credential. One that was replaced meanwhile is not what was refused."""
        state = self._states.get(provider.id)
        known = state.credentials.get(config.name) if state is not None else None
        if known is None or known[1] is not credential or known[0] != self._digest_of(config):
            return
        status = f" with {outcome.status}" if outcome.status else ""
        moment = datetime.fromtimestamp(self.wall(), UTC)
        news = credential.rejected(now, f"rejected{status} at {moment:%H:%M:%S} UTC")
        self._on_rejected(provider.name, config.name, outcome.status, news, outcome.said)

    def health(self, now: float) -> list[ProviderHealth]:
        """Every configured provider, in the configuration's order."""
        return [self._health(provider, self._states[provider.id], now) for provider in self._providers]

    def _health(self, provider: ProviderConfig, state: _Provider, now: float) -> ProviderHealth:
        breaker = state.breaker
        needs_credential = bool(KINDS[provider.kind].methods) if provider.kind in KINDS else True
        credentials = tuple(
            self._credential_health(config, state.credentials[config.name][1], now) for config in provider.credentials
        )
        requests, failures = breaker.window.since(now - KEPT_SECONDS)
        shown, why = judge(
            breaker=_open(state) if breaker.opened_at is not None else "",
            needs_credential=needs_credential,
            credentials=credentials,
            requests=requests,
            failures=failures,
        )
        if shown != state.shown:
            state.shown, state.shown_at = shown, now
        recent = [sample for sample in state.samples if sample[0] > now - KEPT_SECONDS]
        first = [ttft for _, _, ttft in recent if ttft is not None]
        return ProviderHealth(
            id=provider.id,
            name=provider.name,
            state=shown,
            why=why,
            since=self._moment(breaker.opened_at if breaker.opened_at is not None else state.shown_at, now),
            breaker_open=breaker.opened_at is not None,
            asks_at=self._moment(max(breaker.asks_at, now), now) if breaker.opened_at is not None else None,
            requests=requests,
            failures=failures,
            latency_p50=median(latency for _, latency, _ in recent) if recent else None,
            ttft_p50=median(first) if first else None,
            last_error=state.last_error,
            last_error_at=self._moment(state.last_error_at, now) if state.last_error else None,
            credentials=credentials,
        )

    def _credential_health(self, config: CredentialConfig, credential: Credential, now: float) -> CredentialHealth:
        if config.problem:
            return CredentialHealth(config.name, CredentialState.PROBLEM, config.problem)
        unusable = credential.unusable(now)
        shown = CredentialState.DEAD if credential.dead else CredentialState.READY
        if unusable is not None:
            shown = CredentialState(unusable.reason.value)
        troubled = shown not in {CredentialState.READY, CredentialState.LIMIT}
        return CredentialHealth(
            config.name,
            shown,
            unusable.why if unusable is not None else credential.why if credential.dead else "",
            self._moment(credential.since, now) if troubled else None,
            self._moment(unusable.until, now) if unusable is not None else None,
            credential.running,
            credential.last_error,
            self._moment(credential.last_error_at, now) if credential.last_error else None,
            self._moment(credential.answered_at, now) if credential.answered_at > float("-inf") else None,
        )

    def _moment(self, then: float, now: float) -> datetime:
        return datetime.fromtimestamp(self.wall() + then - now, UTC)

    def _enter(
        self, provider: ProviderConfig, credential: CredentialConfig, now: float
    ) -> tuple[_Provider, tuple[bytes, Credential]]:
        """Something the last `configured` did not name: the simulated provider's credential, or one that is gone."""
        state = self._states.setdefault(provider.id, _Provider(now))
        return state, state.credentials.setdefault(
            credential.name, (self._digest_of(credential), _credential(credential))
        )

    def _place(self, provider: ProviderConfig) -> bytes:
        return self._digest(provider.kind, provider.base_url, provider.region, provider.project)

    def _digest_of(self, credential: CredentialConfig) -> bytes:
        return self._digest(credential.secret, credential.method, credential.identifier)

    def _digest(self, *facts: Any) -> bytes:
        """Under a key of this process: of a secret that was replaced nothing else is kept."""
        return hashlib.blake2b(repr(facts).encode(), key=self._key, digest_size=16).digest()


def _credential(config: CredentialConfig) -> Credential:
    limits = Limits(config.requests_per_minute, config.tokens_per_minute, config.concurrent)
    return Credential(config.name, limits)


def _open(state: _Provider) -> str:
    return f"not asked after too many failures, the last: {state.trouble}"
