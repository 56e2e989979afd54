"""The last requests of a key, on the key's own page."""

from __future__ import annotations

from django.http import HttpRequest
from django.template.loader import render_to_string

from governance.admin.keys import KeyAdmin
from governance.models import VirtualKey
from observability.models import Request
from observability.selectors.log import LISTED
from observability.selectors.reporting import reporting_zone

ROWS = 20


def last_requests(request: HttpRequest, key: VirtualKey) -> str:
    """A table of at most `ROWS` requests; empty for whoever may not see the log."""
    if not request.user.has_perm("observability.view_request"):
        return ""
    rows = Request.objects.visible_to(request.user).filter(virtual_key_id=key.pk).only(*LISTED)[:ROWS]
    context = {"rows": rows, "key": key, "zone": reporting_zone(request.user), "limit": ROWS}
    return render_to_string("admin/observability/key_panel.html", context)


# Here and not in AppConfig.ready: admin modules may be imported only after unfold has put its site in place.
KeyAdmin.panels.append(last_requests)
