"""The page "Models without a price": what was charged without one, and what to do about each."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import urlencode

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils import timezone

from governance.catalog import price_book
from governance.domain.pricing import PriceBook
from governance.models import Price
from governance.selectors_prices import PriceGap, unpriced_models, zero_cost_models

CHOICES = (7, 30, 90)


def unpriced(request: HttpRequest) -> TemplateResponse:
    """`/admin/unpriced/`. Wrap it in `admin_view`."""
    if not request.user.has_perm("governance.view_price"):
        raise PermissionDenied
    given = request.GET.get("days", "")
    days = int(given) if given in {str(choice) for choice in CHOICES} else 30
    now = timezone.now()
    gaps = unpriced_models(now - timedelta(days=days), user=request.user)
    book = price_book()
    context = {
        **admin.site.each_context(request),
        "title": "Models without a price",
        "unpriced": [(gap, _has_price(book, gap), _links(gap)) for gap in gaps],
        "charged": sum(gap.charged_nano_usd for gap in gaps),
        "free": zero_cost_models(now - timedelta(days=days), user=request.user),
        "days": days,
        "choices": CHOICES,
        "now": now,
        "everything": getattr(request.user, "is_superuser", False),
    }
    request.current_app = admin.site.name
    return TemplateResponse(request, "admin/governance/unpriced.html", context)


def _platform(gap: PriceGap) -> str:
    """Where it was served; where the log does not tell any more, what the id looks like."""
    if gap.platform in Price.Platform.values:
        return gap.platform
    return Price.Platform.BEDROCK if gap.model.startswith("arn:") else Price.Platform.ANTHROPIC


def _has_price(book: PriceBook, gap: PriceGap) -> bool:
    return book.find(_platform(gap), gap.priced_as or gap.model, timezone.now()) is not None


def _links(gap: PriceGap) -> dict[str, str]:
    """Queries that fill the forms: the id, and what an ARN says about its model and region."""
    platform, name = _platform(gap), gap.priced_as or gap.model
    arn = name.startswith("arn:")
    tail = name.rpartition("/")[2]
    known = arn and Price.objects.filter(platform=platform, model_id=tail).exists()
    alias = {
        "platform": platform,
        "alias": name,
        "model_id": tail if known else "",
        "region": "us-gov" if name.startswith("arn:aws-us-gov:") and not known else "",
    }
    first, last = gap.first_seen, gap.last_seen + timedelta(minutes=1)
    period = {"starts_at": f"{first:%Y-%m-%dT%H:%M}", "ends_at": f"{last:%Y-%m-%dT%H:%M}", "model_patterns": gap.model}
    return {
        "alias": urlencode({name: value for name, value in alias.items() if value}),
        "price": urlencode({"platform": platform, "model_id": name}),
        "repricing": urlencode({**period, "reason": f"{gap.model} had no price"[:300]}),
        "log": urlencode({"model": gap.model}),
    }
