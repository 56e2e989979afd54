"""Decisions over values: money, prices, windows, limits, access, keys. No framework, no I/O, `now` is an argument."""
