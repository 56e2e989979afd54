"""How the product starts and keeps running: bootstrap, the processes and their supervisor, what `up` says."""
