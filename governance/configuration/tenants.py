"""Customers, teams, developers and projects of the file."""

from __future__ import annotations

from governance.configuration import schema
from governance.configuration.errors import problem
from governance.configuration.keys import put_key
from governance.configuration.limits import nano, put_limits
from governance.configuration.writer import Writer
from governance.models import Customer, Developer, Project, Team


def put_customers(writer: Writer, document: schema.Document) -> None:
    """Everything below `customers` and `projects`: keys come last, because they name projects and developers."""
    customers = [_put_customer(writer, said, f"customers[{index}]") for index, said in enumerate(document.customers)]
    teams: list[tuple[Team, schema.Team, str]] = []
    for index, (customer, said) in enumerate(zip(customers, document.customers, strict=True)):
        teams += _put_teams(writer, customer, said, f"customers[{index}]")
        for position, developer in enumerate(said.developers):
            _put_developer(writer, customer, developer, f"customers[{index}].developers[{position}]")
    for index, project in enumerate(document.projects):
        _put_project(writer, project, f"projects[{index}]")
    for team, said_team, path in teams:
        for position, key in enumerate(said_team.keys):
            put_key(writer, team, key, f"{path}.keys[{position}]")


def _put_customer(writer: Writer, said: schema.Customer, path: str) -> Customer:
    writer.once("customer", said.name.lower(), path)
    customer = Customer.objects.filter(name__iexact=said.name).first() or Customer()
    label = f"customer {said.name}"
    writer.put(
        customer,
        label=label,
        path=path,
        values={
            "name": said.name,
            "timezone": said.timezone,
            "currency_display": said.currency_display,
            "content_policy": said.content_policy,
            "unpriced_policy": said.unpriced_policy,
            "contact": said.contact,
            "emergency_reserve_nano_usd": None
            if said.emergency_reserve_usd is None
            else nano(said.emergency_reserve_usd, f"{path}.emergency_reserve_usd"),
            "is_active": said.active,
        },
    )
    put_limits(writer, customer, said, label=label, path=path)
    return customer


def _put_teams(
    writer: Writer, customer: Customer, said: schema.Customer, path: str
) -> list[tuple[Team, schema.Team, str]]:
    found = []
    for index, said_team in enumerate(said.teams):
        place = f"{path}.teams[{index}]"
        writer.once("team", (customer.pk, said_team.name.lower()), place)
        team = customer.teams.filter(name__iexact=said_team.name).first() or Team(customer=customer)
        label = f"team {customer.name}/{said_team.name}"
        writer.put(
            team,
            label=label,
            path=place,
            values={
                "name": said_team.name,
                "cost_center": said_team.cost_center,
                "model_aliases": said_team.model_aliases,
                "is_active": said_team.active,
            },
        )
        put_limits(writer, team, said_team, label=label, path=place)
        found.append((team, said_team, place))
    return found


def _put_developer(writer: Writer, customer: Customer, said: schema.Developer, path: str) -> None:
    writer.once("developer", (customer.pk, said.email.lower()), path)
    developer = customer.developers.filter(email__iexact=said.email).first() or Developer(customer=customer)
    label = f"developer {customer.name}/{said.email}"
    writer.put(
        developer,
        label=label,
        path=path,
        values={
            "email": said.email,
            "name": said.name,
            "team": said.team and _team(customer, said.team, path),
            "is_active": said.active,
        },
    )
    put_limits(writer, developer, said, label=label, path=path)


def _put_project(writer: Writer, said: schema.Project, path: str) -> None:
    customer = Customer.objects.filter(name__iexact=said.customer).first()
    if customer is None:
        raise problem(f"{path}.customer", f"there is no customer {said.customer!r}.")
    writer.once("project", (customer.pk, said.name.lower()), path)
    project = customer.projects.filter(name__iexact=said.name).first() or Project(customer=customer)
    label = f"project {customer.name}/{said.name}"
    writer.put(
        project,
        label=label,
        path=path,
        values={
            "name": said.name,
            "team": said.team and _team(customer, said.team, path),
            "directories": said.directories,
            "is_active": said.active,
        },
    )
    put_limits(writer, project, said, label=label, path=path)


def _team(customer: Customer, name: str, path: str) -> Team:
    team: Team | None = customer.teams.filter(name__iexact=name).first()
    if team is None:
        raise problem(f"{path}.team", f"{customer.name} has no team {name!r}.")
    return team
