"""Log exports: rows of the request log as files, on demand or by schedule."""
