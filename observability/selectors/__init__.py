"""Reads for the pages: each takes the rows a user may see and returns plain values."""
