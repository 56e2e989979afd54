"""The simulated provider: a scriptable fake Claude. Read `app.py` first; docs/simulator.md tells its use."""
