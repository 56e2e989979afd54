"""The data plane and the settings. Read `pipeline.py` first: it is the life of one request."""
