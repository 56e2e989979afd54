"""The soak: a provider and a client of their own processes, and the mix of everything that may happen."""
