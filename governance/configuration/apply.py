"""Bring the database to what a configuration file says: all of it, or nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping

from django.db import transaction

from governance.configuration import schema
from governance.configuration.providers import put_provider
from governance.configuration.report import Outcome
from governance.configuration.routes import put_routes
from governance.configuration.tenants import put_customers
from governance.configuration.writer import Writer

__all__ = ["Outcome", "apply"]


def apply(document: schema.Document, *, dry_run: bool = False, environ: Mapping[str, str] | None = None) -> Outcome:
    """Create and change what the document names; nothing else is touched. Raises ConfigurationError.

    A dry run does the same work, so that it meets the same errors, and takes it back.
    """
    writer = Writer(os.environ if environ is None else environ)
    with transaction.atomic():
        for index, provider in enumerate(document.providers):
            put_provider(writer, provider, f"providers[{index}]")
        put_customers(writer, document)
        put_routes(writer, document)
        if dry_run:
            transaction.set_rollback(True)
    return writer.outcome
