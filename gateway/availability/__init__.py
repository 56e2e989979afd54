"""Whether providers and their credentials may be asked: circuit breakers, cool-downs, limits, health."""

from gateway.availability.health import CredentialHealth, CredentialState, ProviderHealth, State
from gateway.availability.outcomes import Outcome, Reason, Result, Unusable
from gateway.availability.pool import Availability, Turn

__all__ = [
    "Availability",
    "CredentialHealth",
    "CredentialState",
    "Outcome",
    "ProviderHealth",
    "Reason",
    "Result",
    "State",
    "Turn",
    "Unusable",
]
