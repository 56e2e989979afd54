"""The log's writer as a process of its own: neither database nor metrics hold the event loop's interpreter lock.

`client` is the gateway's end and has the recorder's interface, `child` its process, `link` and `messages` are what lies
between, `process` is the other end: the recorder itself, fed from the link. `choice` gives what the settings ask for.
"""
