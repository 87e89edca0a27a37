"""Real servers on loopback, for tests and benchmarks: each module starts one kind.

Every starter is a context manager: it takes an empty folder, starts the server on free ports, waits until it answers,
yields what a client needs, and ends the process it started. Where the server is not installed it raises
:class:`~real_servers.process.NotInstalled`, whose text has the command that installs it.
"""
