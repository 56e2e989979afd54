"""Template tags of observability."""
