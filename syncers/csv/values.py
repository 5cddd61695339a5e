"""What stands in a CSV file for each Python value."""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import functools
import json
import uuid
from typing import Any

# What csv.writer writes as one expects: text as it is, numbers by repr, None as nothing.
PLAIN = frozenset({str, int, float, type(None)})


def as_text(value: Any, date_time_format: str | None) -> Any:
    """Return the value as text, or as a number. Raises TypeError for one that has no such form."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dt.datetime):
        return value.strftime(date_time_format) if date_time_format else value.isoformat(sep=" ")
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, dt.timedelta):
        return value.total_seconds()
    if isinstance(value, (str, int, float, decimal.Decimal, uuid.UUID)):
        return str(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, (list, tuple, dict)):
        inside = functools.partial(as_text, date_time_format=date_time_format)
        return json.dumps(value, ensure_ascii=False, default=inside)
    raise TypeError(f"a {type(value).__name__} has no form in CSV")
