"""Create or change one row for the file: validated, audited, and told in the outcome's diff."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db import models

from governance.configuration.errors import ConfigurationError, problem
from governance.configuration.report import FILE_NAMES, Outcome
from governance.models import ScopedLimit
from governance.services.records import difference, save_with_audit

ACTOR_NAME = "manage.py apply"
"""Who acted, in the audit trail."""

Row = TypeVar("Row", bound=models.Model)


@dataclass(slots=True)
class Writer:
    """`environ` is where `secret_env` names are looked up."""

    environ: Mapping[str, str]
    outcome: Outcome = field(default_factory=Outcome)
    _seen: dict[tuple[str, Any], str] = field(default_factory=dict)

    def put(self, row: Row, *, label: str, path: str, values: Mapping[str, Any], emptied: Iterable[str] = ()) -> Row:
        """Set those of `values` that the file says (that are not None) and save where something differs.

        `emptied` are the columns that the file wants to hold nothing.
        """
        old = None if row._state.adding else copy.copy(row)
        for column, value in values.items():
            if value is not None:
                setattr(row, column, value)
        for column in emptied:
            setattr(row, column, None)
        if isinstance(row, ScopedLimit):
            row.fill_tenancy()
        changes = difference(old, row)
        with errors_at(path):
            save_with_audit(instance=row, actor=None, actor_name=ACTOR_NAME)
        self.outcome.add(label, adding=old is None, changes=changes)
        return row

    def once(self, kind: str, name: object, path: str) -> None:
        """Refuse a thing that the file describes in two places."""
        first = self._seen.setdefault((kind, name), path)
        if first != path:
            raise problem(path, f"is the same {kind} as {first}. Keep one of them.")

    def secret(self, name: str, path: str) -> str:
        """The environment variable that a `secret_env` names."""
        value = self.environ.get(name, "").strip()
        if not value:
            raise problem(f"{path}.secret_env", f"the environment variable {name} is not set here.")
        return value


@contextmanager
def errors_at(path: str) -> Iterator[None]:
    """Turn the model's own validation into sentences that name the place in the file."""
    try:
        yield
    except ValidationError as error:
        found = error.message_dict if hasattr(error, "error_dict") else {NON_FIELD_ERRORS: error.messages}
        raise ConfigurationError(
            f"{path}{'' if column == NON_FIELD_ERRORS else '.' + FILE_NAMES.get(column, column)}: {sentence}"
            for column, sentences in found.items()
            for sentence in sentences
        ) from None
