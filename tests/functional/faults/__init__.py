"""The fault matrix: who fails, when, and what must come of it. `table.py` is the file to read."""
