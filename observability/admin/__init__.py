"""Admin pages of observability: the request log, the live log, exports and the dashboard on the index."""

from observability.admin import (  # noqa: F401  (registers them)
    exports,
    key_panel,
    reconciliation,
    repricing,
    requests,
    rule_matches,
    usage,
)
