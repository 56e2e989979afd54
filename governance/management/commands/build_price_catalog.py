"""`manage.py build_price_catalog SOURCE`: make the shipped price catalog from an extract of LiteLLM's map."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from governance.catalog import SHIPPED
from governance.corrections import ALIASES, CORRECTIONS, KEPT, complete, fields_of, history
from governance.pricing_source import PriceSourceError, Source, read


class Command(BaseCommand):
    requires_system_checks = []
    help = "Make governance/data/claude_prices.json from an extract of LiteLLM's price map."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("source", type=Path, help="JSON file with `models` and the supplement.")
        parser.add_argument("--output", type=Path, default=SHIPPED)

    def handle(self, *args: Any, source: Path, output: Path, **options: Any) -> None:
        try:
            content = source.read_bytes()
            text = dump(build(read(content), json.loads(content)["source"]))
        except (OSError, PriceSourceError, KeyError) as error:
            raise CommandError(f"{source} cannot be used: {error}") from None
        output.write_text(text, encoding="utf-8")
        rows = text.count('"effective_from"')
        self.stdout.write(f"{output}: {rows} price rows")


def build(source: Source, origin: dict[str, Any]) -> dict[str, Any]:
    """The catalog: where it comes from, what was corrected and left out, and one price row a line."""
    fields: dict[tuple[str, str], dict[str, Any]] = {}
    corrected: dict[str, list[str]] = defaultdict(list)
    left_out = Counter(source.left_out)
    for listing in source.listings:
        completed, reasons = complete(listing)
        for reason in reasons:
            corrected[reason].append(f"{listing.platform} {listing.model_id}")
        if completed is None:
            left_out["known to be wrong"] += 1
        else:
            fields[listing.platform, listing.model_id] = fields_of(completed)
    for (platform, alias), model_id in ALIASES.items():
        fields[platform, alias] = fields["anthropic", model_id]
    return {
        "source": {
            "name": f"{origin['package']} {origin['version']}, corrected",
            "version": source.version,
            "sha256": origin["sha256"],
            "extracted": origin["extracted"],
        },
        "unit": "USD per million tokens; web_search in USD per search",
        "corrections": [
            {"reason": correction.reason, "listings": sorted(corrected[correction.reason])}
            for correction in CORRECTIONS
        ],
        "kept": list(KEPT),
        "added": {f"{platform} {alias}": model_id for (platform, alias), model_id in ALIASES.items()},
        "left_out": dict(sorted(left_out.items())),
        "prices": [
            {"platform": platform, "model_id": model_id, "effective_from": moment.isoformat(), **row}
            for (platform, model_id), today in sorted(fields.items())
            for moment, row in history(today, model_id)
        ],
    }


def dump(catalog: dict[str, Any]) -> str:
    """JSON with one price row a line, so that a change shows as a line."""
    prices = ",\n".join(f"  {json.dumps(row)}" for row in catalog["prices"])
    head = json.dumps({**catalog, "prices": []}, indent=1, ensure_ascii=False)
    return head.replace('"prices": []', f'"prices": [\n{prices}\n ]') + "\n"
