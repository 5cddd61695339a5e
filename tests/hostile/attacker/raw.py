"""System calls by number, so that no library is in the way."""

from __future__ import annotations

import ctypes
import errno
import os
from typing import Any

X86 = os.uname().machine == "x86_64"
libc = ctypes.CDLL(None, use_errno=True)
REFUSALS = (errno.EPERM, errno.EACCES, errno.ENOSYS)


def call(numbers: tuple[int | None, int | None], *arguments: Any) -> int:
    """The result of a call, by its number on x86_64 and on aarch64. Raises OSError."""
    number = numbers[0 if X86 else 1]
    if number is None:
        raise OSError(errno.ENOSYS, "no such call on this architecture")
    wide = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    result: int = libc.syscall(ctypes.c_long(number), *wide)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def reach(numbers: tuple[int | None, int | None], *arguments: Any) -> str:
    """Make a call that cannot succeed: an answer other than a refusal means that the kernel looked at its arguments."""
    try:
        return f"returned {call(numbers, *arguments)}"
    except OSError as error:
        if error.errno in REFUSALS:
            raise
        return f"the kernel answered {errno.errorcode[error.errno or 0]}"
