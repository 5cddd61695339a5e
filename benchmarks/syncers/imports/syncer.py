"""A syncer that imports when it is told to, and says how long that takes."""

import importlib
import time


class Imports:
    """`load("MODULE")` gives one row: the milliseconds of its import, with all that it imports."""

    name = "imports"

    def load(self, identifier):
        """Import a module that nothing has imported yet."""
        started = time.perf_counter()
        importlib.import_module(identifier)
        return [{"milliseconds": (time.perf_counter() - started) * 1e3}]

    def dump(self, identifier, *, data):
        """Take rows."""
