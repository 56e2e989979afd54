"""Step 1: find the grant of the presented virtual key. No I/O: everything is in the snapshot."""

from __future__ import annotations

from gateway import errors
from gateway.exchange import Exchange
from gateway.wire.headers import secret_from
from governance.domain import keys
from governance.domain.access import Grant, SecretGrant


def authenticate(exchange: Exchange) -> Grant:
    """Set the exchange's grant and the record's names.

    That a key was revoked or has expired is told only to who holds its secret; anything else is an unknown key.
    """
    presented = secret_from(exchange.headers)
    if presented is None:
        raise errors.key_missing(exchange.format.form)
    known = exchange.gateway.proven.get(presented) or _prove(exchange, presented)
    grant = known.grant
    exchange.grant = grant
    record = exchange.record
    record.customer, record.customer_id = grant.customer_name, grant.customer_id
    record.team, record.team_id = grant.team_name, grant.team_id
    record.developer, record.developer_id = grant.developer_name, grant.developer_id
    record.virtual_key, record.virtual_key_id = grant.key_name, grant.key_id
    if grant.revoked_at is not None:
        raise errors.key_revoked(grant)
    if grant.expires_at is not None and grant.expires_at <= record.started_at:
        raise errors.key_expired(grant, grant.expires_at)
    if known.valid_until is not None and known.valid_until <= record.started_at:
        raise errors.secret_replaced(grant, known.valid_until)
    if grant.inactive:
        raise errors.owner_inactive(grant)
    return grant


def _prove(exchange: Exchange, presented: str) -> SecretGrant:
    """Compare a secret with its stored digest; what was proven holds until the configuration changes."""
    secret = keys.parse_secret(presented)
    known = exchange.snapshot.secrets.get(secret.public_id) if secret else None
    if secret is None or known is None or not keys.same_digest(secret.digest(exchange.gateway.pepper), known.digest):
        raise errors.key_unknown(exchange.format.form)
    if exchange.snapshot is exchange.gateway.snapshot:
        exchange.gateway.prove(presented, known)
    return known
