"""A syncer that only connects, and says how long that takes."""

import socket
import time


class Connects:
    """`load("PORT COUNT")` gives one row: the milliseconds of one connection, on average."""

    name = "connects"

    def load(self, identifier):
        """Connect to a port of loopback, so many times."""
        port, count = map(int, identifier.split())
        taken = 0.0
        for _ in range(count):
            with socket.socket() as connection:
                started = time.perf_counter()
                connection.connect(("127.0.0.1", port))
                taken += time.perf_counter() - started
        return [{"milliseconds": taken / count * 1e3}]

    def dump(self, identifier, *, data):
        """Take rows."""
