"""Rows from memory: what they cost to make is paid when the syncer opens, so that only their way is measured."""

from __future__ import annotations

import datetime as dt
import random
import uuid
from collections.abc import Iterator
from itertools import cycle, islice
from typing import Any

Row = dict[str, Any]

_START = dt.datetime(2024, 1, 1, 3, 4, 5)


def make_rows(count: int) -> list[Row]:
    """The row that every benchmark uses: ten columns, one of them a datetime. The same rows at every call."""
    chance = random.Random(0)
    return [
        {
            "guid": str(uuid.UUID(int=chance.getrandbits(128), version=4)),
            "username": f"user{number}",
            "visits": number,
            "account": chance.getrandbits(60),
            "score": chance.random(),
            "active": number % 2 == 0,
            "manager": None,
            "joined": _START + dt.timedelta(seconds=number, microseconds=number),
            "email": f"user{number}@example.com",
            "note": "a short text of some words",
        }
        for number in range(count)
    ]


class Rows:
    """Loads as many rows as the identifier says, over and over the same; dumps by counting."""

    name = "rows"

    def __init__(self, prepared: int) -> None:
        self._rows = make_rows(prepared)

    def load(self, identifier: str) -> Iterator[Row]:
        """Give as many rows as the identifier says."""
        return islice(cycle(self._rows), int(identifier))

    def dump(self, identifier: str, *, data: list[Row]) -> None:
        """Take the rows, all of them at once."""
        self.dump_batches(identifier, batches=iter([data]))

    def dump_batches(self, identifier: str, *, batches: Iterator[list[Row]]) -> None:
        """Take the rows, and refuse a wrong number of them."""
        count = sum(map(len, batches))
        if count != int(identifier):
            raise ValueError(f"{count} rows instead of {identifier}")
