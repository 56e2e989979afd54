"""What travels on the wire, read and written by pure functions over bytes: no I/O, no framework, no clock."""
