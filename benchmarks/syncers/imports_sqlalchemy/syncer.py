"""A syncer that imports one large library, as most do."""

import sqlalchemy


class ImportsSqlalchemy:
    """Has what a syncer must have."""

    name = "imports-sqlalchemy"

    def load(self, identifier):  # noqa: ARG002 - not a name to choose
        """Give one row."""
        return [{"version": sqlalchemy.__version__}]

    def dump(self, identifier, *, data):
        """Take rows."""
