"""Find the row that a caller names: by id, by name, or by path such as `Acme/Core/ada-laptop`."""

from __future__ import annotations

from typing import Any

from django.db.models import Model, QuerySet
from rest_framework.exceptions import ValidationError

from governance.models import (
    Budget,
    Customer,
    Developer,
    KeySecret,
    Project,
    Provider,
    ProviderAccess,
    Team,
    VirtualKey,
)

PATHS: dict[type[Model], tuple[str, ...]] = {
    Customer: ("name",),
    Team: ("customer__name", "name"),
    Project: ("customer__name", "name"),
    Developer: ("customer__name", "email"),
    VirtualKey: ("team__customer__name", "team__name", "name"),
    ProviderAccess: (
        "virtual_key__team__customer__name",
        "virtual_key__team__name",
        "virtual_key__name",
        "provider__name",
    ),
    Provider: ("name",),
}
"""Columns of the names that lead to a row, outermost first; the last one is the row's own name."""

PUBLIC_ID_LENGTH = 8


def rows_visible_to(model: type[Model], user: Any) -> QuerySet[Any]:
    """Rows of a model that a user may refer to; providers belong to the installation, not to a customer."""
    manager: Any = model._default_manager
    rows: QuerySet[Any] = manager.all() if model is Provider else manager.visible_to(user)
    return rows


def find(model: type[Model], value: Any, user: Any, within: Customer | None = None) -> Any:
    """The one visible row that `value` names. Raises ValidationError with a sentence.

    A whole number is an id. A text is a name (case does not matter), a path of names, or the digits of an id;
    a key may also be named by its public id `sk-cmp-XXXXXXXX`. `within` keeps to the rows of one customer.
    """
    label = str(model._meta.verbose_name)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValidationError(f"Give the name or the id of a {label}.")
    rows: Any = rows_visible_to(model, user)
    if within is not None and model is not Provider:
        rows = rows.filter(**{rows.customer_path: within.pk})
    for matching in _readings(model, rows, value):
        found = list(matching[:2])
        if len(found) == 1:
            return found[0]
        if found:
            raise ValidationError(f"Several rows are called “{value}”: give {_example(model)} or the id.")
    raise ValidationError(f"There is no {label} “{value}” that you can see. Give a name, {_example(model)} or an id.")


def public_id_of(text: str) -> str | None:
    """The public id in `sk-cmp-XXXXXXXX` or `sk-cmp-XXXXXXXX-…`; None for any other text."""
    prefix, _, rest = text.partition("sk-cmp-")
    public_id, _, secret = rest.partition("-")
    if prefix or len(public_id) != PUBLIC_ID_LENGTH or secret not in {"", "…"}:
        return None
    return public_id


def _readings(model: type[Model], rows: QuerySet[Any], value: int | str) -> list[QuerySet[Any]]:
    """What a value may mean, the likeliest first."""
    if isinstance(value, int):
        return [rows.filter(pk=value)]
    path = PATHS[model]
    readings = [rows.filter(**{f"{path[-1]}__iexact": value})]
    parts = [part.strip() for part in value.split("/")]
    if 1 < len(parts) <= len(path):
        names = zip(path[-len(parts) :], parts, strict=True)
        readings.append(rows.filter(**{f"{column}__iexact": part for column, part in names}))
    if value.isascii() and value.isdigit() and len(value) < 19:
        readings.append(rows.filter(pk=int(value)))
    public_id = public_id_of(value)
    if model is VirtualKey and public_id is not None:
        readings.append(rows.filter(pk__in=KeySecret.objects.filter(public_id=public_id).values("virtual_key_id")))
    return readings


def _example(model: type[Model]) -> str:
    examples: dict[type[Model], str] = {
        Team: "a path such as “Acme/Core”",
        Project: "a path such as “Acme/billing”",
        Developer: "a path such as “Acme/ada@acme.test”",
        VirtualKey: "a path such as “Acme/Core/ada-laptop”",
        ProviderAccess: "a path such as “Core/ada-laptop/anthropic”",
    }
    return examples.get(model, "its exact name")


def name_of(row: Any) -> str:
    """The name that `find` takes for a row, without those of what it lies in."""
    match row:
        case Developer():
            return row.email
        case ProviderAccess():
            return f"{row.virtual_key.name}/{row.provider.name}"
        case Budget():
            return str(row)
    return str(row.name)
