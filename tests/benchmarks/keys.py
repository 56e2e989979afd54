"""Virtual keys in bulk: what a benchmark needs before its first request, made inside Django.

The gateway runs on one provider that every key may use; each key has a daily budget of its own (the first 10,000 do),
as its team and its customer have.
"""

from __future__ import annotations

from typing import Any

BATCH = 5_000
MOST_BUDGETS = 10_000
DOLLARS = 10**9
"""In nano-dollars. The limits are out of reach: what is measured is the counting."""


def make(base_url: str, count: int, used: int, enforcement: str) -> list[str]:
    """Make everything; gives the secrets of `used` keys, spread evenly over all of them."""
    from django.conf import settings
    from django.contrib.auth.models import User
    from django.utils import timezone

    from governance.catalog import seed_prices
    from governance.domain.keys import make_secret
    from governance.models import Budget, Customer, KeySecret, Provider, ProviderCredential, Team, VirtualKey

    seed_prices()
    User.objects.create_superuser("root", "root@example.test", "correct horse battery staple")
    provider = Provider.objects.create(name="mock", kind=Provider.Kind.ANTHROPIC, base_url=base_url)
    ProviderCredential.objects.create(provider=provider, secret_env="BENCH_CREDENTIAL")
    customer = Customer.objects.create(name="Bench")
    teams = [Team.objects.create(customer=customer, name=f"Team {n}") for n in range(max(1, min(200, count // 50)))]
    pepper = settings.COMPTROLLER["COMPTROLLER_KEY_PEPPER"]
    now = timezone.now()

    def budget(**scope: Any) -> Budget:
        return Budget(limit_nano_usd=10**9 * DOLLARS, period="day", enforcement=enforcement, customer=customer, **scope)

    budgets = [budget(scope="customer"), *(budget(scope="team", team=team) for team in teams)]
    secrets = []
    for start in range(0, count, BATCH):
        size = min(BATCH, count - start)
        keys = VirtualKey.objects.bulk_create(
            VirtualKey(team=teams[n % len(teams)], name=f"key-{n}") for n in range(start, start + size)
        )
        fresh = [make_secret() for _ in keys]
        KeySecret.objects.bulk_create(
            KeySecret(virtual_key=key, public_id=secret.public_id, digest=secret.digest(pepper), created_at=now)
            for key, secret in zip(keys, fresh, strict=True)
        )
        secrets += fresh
        if start < MOST_BUDGETS:
            budgets += [budget(scope="virtual_key", team=key.team, virtual_key=key) for key in keys]
    Budget.objects.bulk_create(budgets, batch_size=BATCH)
    return [str(secret) for secret in secrets[:: max(1, count // used)]][:used]
