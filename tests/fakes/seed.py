"""A plausible installation: 3 customers, 6 teams, 20 developers, sixty days of requests with a working week's rhythm.

The same seed always gives the same rows, so figures can be compared with sums made another way.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import Permission, User
from ulid import ULID

from governance.domain.money import usd_to_nano
from governance.models import (
    Budget,
    Customer,
    Developer,
    LedgerEntry,
    Membership,
    Price,
    Project,
    Provider,
    ProviderCredential,
    Team,
    VirtualKey,
)
from observability import rollups
from observability.models import Request

TENANTS = {
    "Acme": ("Europe/Berlin", {"Core": 5, "Data": 4, "Mobile": 3}),
    "Globex": ("Europe/Berlin", {"Platform": 4, "Research": 2}),
    "Initech": ("UTC", {"Reports": 2}),
}
NAMES = [
    "ada", "grace", "alan", "edsger", "barbara", "donald", "margaret", "ken", "dennis", "bjarne", "guido", "linus",
    "radia", "tim", "vint", "hedy", "katherine", "john", "leslie", "frances",
]  # fmt: skip
PROJECTS = ("billing", "checkout", "search", "ledger", "mobile-app")
RATES: dict[str, tuple[str, str, str, str, str]] = {
    "claude-opus-5-5": ("4", "20", "0.40", "5", "8"),
    "claude-sonnet-5-5": ("2", "10", "0.10", "2.50", "4"),
    "claude-haiku-5-5": ("0.10", "0.50", "0.01", "0.125", "0.20"),
    "claude-fable-5-2": ("8", "40", "0.80", "10", "16"),
}
"""Input, output, cache read, cache write 5 minutes, 1 hour: USD per million tokens."""
SHARES = {"claude-opus-5-5": 30, "claude-sonnet-5-5": 45, "claude-haiku-5-5": 20, "claude-fable-5-2": 5}


@dataclass(frozen=True)
class Installation:
    """What `install` made."""

    customers: dict[str, Customer]
    teams: dict[str, Team]
    keys: list[VirtualKey]
    prices: dict[str, Price]


def install(now: datetime) -> Installation:
    """Tenants, keys, prices and budgets; no requests yet."""
    provider = Provider.objects.create(name="simulated", kind=Provider.Kind.SIMULATED)
    ProviderCredential.objects.create(provider=provider, name="main")
    prices = {
        model: Price.objects.get_or_create(
            model_id=model,
            platform=Price.Platform.ANTHROPIC,
            effective_from=datetime(2025, 1, 1, tzinfo=UTC),
            defaults={
                **dict(
                    zip(
                        ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h"),
                        map(Decimal, rates),
                        strict=True,
                    )
                ),
                "web_search": Decimal("0.01"),
                "source": "tests/fakes/seed.py",
            },
        )[0]
        for model, rates in RATES.items()
    }
    customers, teams, keys = {}, {}, []
    people = iter(NAMES)
    for customer_name, (zone, groups) in TENANTS.items():
        customer = Customer.objects.create(name=customer_name, timezone=zone)
        customers[customer_name] = customer
        projects = [Project.objects.create(customer=customer, name=name) for name in PROJECTS]
        for team_name, size in groups.items():
            team = Team.objects.create(customer=customer, name=team_name, cost_center=f"CC-{len(teams) + 1}00")
            teams[f"{customer_name}/{team_name}"] = team
            for _ in range(size):
                person = next(people)
                developer = Developer.objects.create(
                    customer=customer, team=team, email=f"{person}@{customer_name.lower()}.test", name=person.title()
                )
                project = projects[len(keys) % len(projects)]
                name = f"{person}-laptop"
                key = VirtualKey.objects.create(team=team, developer=developer, name=name, project=project)
                keys.append(key)
    return Installation(customers, teams, keys, prices)


def budgets(installation: Installation, spent_usd: dict[str, Decimal]) -> None:
    """A monthly budget for each customer and team, around what it spent: some in order, one at risk, one exceeded."""
    shares = {
        "Acme": "1.9", "Globex": "1.08", "Initech": "3", "Acme/Core": "1.4", "Acme/Data": "0.97", "Acme/Mobile": "2.5",
    }  # fmt: skip
    for name, share in shares.items():
        limit = max(Decimal(10), (spent_usd.get(name, Decimal(0)) * Decimal(share)).quantize(Decimal(1)))
        target: dict[str, Any] = (
            {"scope": "team", "team": installation.teams[name]}
            if "/" in name
            else {"scope": "customer", "customer": installation.customers[name]}
        )
        Budget.objects.create(**target, limit_nano_usd=usd_to_nano(limit), alerts=[50, 80, 95, 100])


def requests(
    installation: Installation, now: datetime, *, days: int = 60, rows: int = 4000, seed: int = 1
) -> list[Request]:
    """About `rows` requests over the last `days` days with their ledger entries, written to the database."""
    made = list(_requests(installation, now, days, rows, random.Random(seed)))
    Request.objects.bulk_create(made, batch_size=500)
    rollups.mark(row.started_at for row in made)
    LedgerEntry.objects.bulk_create(
        [
            LedgerEntry(
                id=row.id,
                request_id=row.id,
                occurred_at=row.started_at,
                customer_id=row.customer_id,
                team_id=row.team_id,
                project_id=row.project_id,
                developer_id=row.developer_id,
                virtual_key_id=row.virtual_key_id,
                model=row.model,
                amount_nano_usd=row.cost_nano_usd,
                tokens=row.input_tokens + row.output_tokens,
                price_id=row.price_id,
            )
            for row in made
            if row.cost_nano_usd
        ],
        batch_size=500,
    )
    return made


def cost(model: str, tokens: Sequence[int], web_searches: int = 0) -> int:
    """Nano-dollars of (input, output, cache read, write 5m, write 1h) tokens: the plain rule, without tiers."""
    amount = sum((Decimal(count) * Decimal(rate) for count, rate in zip(tokens, RATES[model], strict=True)), Decimal(0))
    return int((amount * 1000 + web_searches * 10_000_000).to_integral_value())


def member(name: str, *, customer: Customer | None = None, team: Team | None = None) -> User:
    """A staff user who may see the log of one customer or one team."""
    user = User.objects.create_user(name, password=f"{name}-password-1", is_staff=True)
    viewing = Permission.objects.filter(codename__startswith="view_")
    user.user_permissions.set(viewing.filter(content_type__app_label__in=("observability", "governance")))
    if team is not None:
        Membership.objects.create(user=user, customer=team.customer, team=team)
    elif customer is not None:
        Membership.objects.create(user=user, customer=customer)
    return user


def one_request(
    key: VirtualKey, at: datetime, dice: random.Random, prices: dict[str, Price], session: str = ""
) -> Request:
    """One finished request of a key, unsaved."""
    model = dice.choices(list(SHARES), weights=list(SHARES.values()))[0]
    status = dice.choices(["success", "refused", "error", "cancelled"], weights=[93, 3, 3, 1])[0]
    ttft = dice.lognormvariate(6.7, 0.5)
    latency = ttft + dice.lognormvariate(8.2, 0.9)
    served = status in ("success", "cancelled")
    tokens = (
        (
            dice.randint(3, 4000),
            int(dice.lognormvariate(6.3, 1.0)),
            dice.choice((0, dice.randint(12_000, 180_000), dice.randint(12_000, 90_000))),
            dice.choice((0, dice.randint(200, 9000))),
            dice.choice((0, 0, 0, dice.randint(5000, 20_000))),
        )
        if served
        else (0, 0, 0, 0, 0)
    )
    searches = dice.choice((0, 0, 0, 0, 0, 0, 0, 0, 0, 1)) if served else 0
    charge = cost(model, tokens, searches)
    if status == "refused":
        latency = 0.4
    refusal = f"Budget “{key.team} per month” is spent: 500.00 of 500.00 USD. It resets on 2026-12-01 00:00."
    return Request(
        id=str(ULID.from_datetime(at)),
        started_at=at,
        finished_at=at + timedelta(milliseconds=latency),
        status=status,
        http_status={"success": 200, "refused": 429, "error": 529, "cancelled": 200}[status],
        error_type={"refused": "billing_error", "error": "overloaded_error"}.get(status, ""),
        error_message={"refused": refusal, "error": "The provider answered 529: Overloaded."}.get(status, ""),
        customer=key.team.customer.name,
        customer_id=key.team.customer_id,
        team=key.team.name,
        team_id=key.team_id,
        project=key.project.name if key.project else "",
        project_id=key.project_id,
        developer=key.developer.email if key.developer else "",
        developer_id=key.developer_id,
        virtual_key=key.name,
        virtual_key_id=key.pk,
        session_id=session,
        request_class=dice.choice(("main", "main", "main", "subagent", "auxiliary")),
        client="claude-cli/2.1.330",
        device_id=f"{key.pk:064x}",
        working_directory=f"/home/{key.name.partition('-')[0]}/src/{key.project.name if key.project else 'app'}",
        client_ip="10.0.4.17",
        endpoint="messages",
        provider="" if status == "refused" else "simulated",
        provider_credential="" if status == "refused" else "main",
        model_requested=model,
        model=model if served else "",
        attempts=[]
        if status == "refused"
        else [
            {
                "provider": "simulated",
                "credential": "main",
                "status": 200 if served else 529,
                "latency_ms": round(latency, 1),
                "tokens": sum(tokens),
                "cost_nano_usd": charge,
            }
        ],
        stream=dice.random() < 0.9,
        input_tokens=tokens[0],
        output_tokens=tokens[1],
        thinking_tokens=tokens[1] // 3,
        cache_read_tokens=tokens[2],
        cache_write_5m_tokens=tokens[3],
        cache_write_1h_tokens=tokens[4],
        web_searches=searches,
        service_tier="standard" if served else "",
        cost_nano_usd=charge,
        cost_quality="estimated" if status == "cancelled" else "exact",
        price_id=prices[model].pk if served else None,
        latency_ms=round(latency, 1),
        ttft_ms=round(ttft, 1) if served else None,
        gateway_overhead_us=dice.randint(180, 900),
        stop_reason=dice.choice(("end_turn", "tool_use")) if status == "success" else "",
        tool_calls={"Edit": 1, "Bash": dice.randint(1, 3)} if served else {},
        lines_added=dice.randint(0, 60) if served else 0,
        lines_removed=dice.randint(0, 20) if served else 0,
        provider_request_id=f"req_{dice.getrandbits(80):020x}" if served else "",
        request_bytes=dice.randint(49_000, 400_000),
        budget_decision=[
            {
                "budget_id": 1,
                "budget": f"{key.team} per month",
                "scope": "team",
                "spent_nano_usd": 500_000_000_000 if status == "refused" else 412_100_000_000,
                "held_nano_usd": 0 if status == "refused" else 180_000_000,
                "limit_nano_usd": 500_000_000_000,
                "enforcement": "stop",
            }
            | ({"refused": True} if status == "refused" else {})
        ],
    )


def _requests(
    installation: Installation, now: datetime, days: int, rows: int, dice: random.Random
) -> Iterator[Request]:
    first = now - timedelta(days=days)
    activity = [dice.lognormvariate(0, 0.8) for _ in installation.keys]
    made = 0
    while made < rows:
        key = dice.choices(installation.keys, weights=activity)[0]
        at = first + timedelta(seconds=dice.random() * days * 86400)
        # Nights and week-ends are quiet, and the company grows.
        busy = (0.15 if at.weekday() >= 5 else 1.0) * (1.0 if 7 <= at.hour < 18 else 0.12)
        if dice.random() > busy * (0.5 + 0.5 * (at - first) / timedelta(days=days)):
            continue
        session = f"{dice.getrandbits(32):08x}-{dice.getrandbits(16):04x}-4000-8000-{dice.getrandbits(48):012x}"
        for _ in range(min(rows - made, dice.randint(1, 6))):
            if at >= now:
                break
            yield one_request(key, at, dice, installation.prices, session)
            made += 1
            at += timedelta(seconds=dice.uniform(2, 90))
