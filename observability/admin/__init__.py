"""Admin pages of observability: the request log, the live log, exports and the dashboard on the index."""

from observability.admin import exports, key_panel, reconciliation, repricing, requests, usage  # noqa: F401  (registers them)
