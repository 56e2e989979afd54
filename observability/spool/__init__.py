"""The spool: what is known of requests that are not in the database yet, in files that outlive the process.

`writer` is the part on the request path, `segments` the file format, `notes` what the records hold, `folders` who owns
which folder, `aside` the records that the database refused. `observability/replay.py` reads it all back.
"""

from observability.spool.notes import Admitted, Finished
from observability.spool.writer import Spool, SpoolState, configured_root

__all__ = ["Admitted", "Finished", "Spool", "SpoolState", "configured_root"]
