"""A syncer that imports nothing: what it takes to open it is all syncell's."""


class Bare:
    """Has what a syncer must have."""

    name = "bare"

    def load(self, identifier):  # noqa: ARG002 - not a name to choose
        """Give no rows."""
        return []

    def dump(self, identifier, *, data):
        """Take rows."""
