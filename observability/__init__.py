"""Request rows, the live log, dashboards, roll-ups, exports and metrics."""
