"""Two syncers whose requirements cannot be installed together, open at the same time in this one process."""

import sys
from pathlib import Path

from syncell import Runner

HERE = Path(__file__).parent


def progress(line: str) -> None:
    """Show the steps of a build."""
    print(line, file=sys.stderr)


with (
    Runner() as runner,
    runner.open(HERE / "past", {"greeting": "hello from then"}, progress=progress) as past,
    runner.open(HERE / "present", {"greeting": "hello from now"}, progress=progress) as present,
):
    for syncer in (past, present):
        for row in syncer.load("versions"):
            print(f"{syncer.name:8} imported pydantic {row['pydantic']}, SQLAlchemy {row['sqlalchemy']}: {row['says']}")
