"""`os.chmod` and `os.utime` through a descriptor, since the filter of a jail refuses them by path.

Landlock does not look at either, so by path they would reach every file of the user's. A descriptor of a file is had
only by opening it, which Landlock decides. This is for the convenience of Python programs (`shutil.copy` and the like);
nothing depends on it for safety.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any, Optional

_chmod, _utime = os.chmod, os.utime


def by_descriptor() -> None:
    """Replace both for this process."""
    for name, replacement, original in (("chmod", chmod, _chmod), ("utime", utime, _utime)):
        setattr(os, name, replacement)
        for supports in (os.supports_fd, os.supports_dir_fd, os.supports_follow_symlinks):
            if original in supports:  # `shutil` asks
                supports.add(replacement)
        if hasattr(pathlib, "_NormalAccessor"):  # until Python 3.10 it keeps functions of `os` for itself
            setattr(pathlib._NormalAccessor, name, staticmethod(replacement))


def chmod(path: Any, mode: int, *, dir_fd: Optional[int] = None, follow_symlinks: bool = True) -> None:
    """As `os.chmod`."""
    _through_descriptor(lambda fd: os.fchmod(fd, mode), path, dir_fd, follow_symlinks)


def utime(
    path: Any,
    times: Optional[tuple[float, float]] = None,
    *,
    dir_fd: Optional[int] = None,
    follow_symlinks: bool = True,
    **more: Any,
) -> None:
    """As `os.utime`; but the times of a symbolic link itself, which has no descriptor, stay as they are."""
    try:
        _through_descriptor(lambda fd: _utime(fd, times, **more), path, dir_fd, follow_symlinks)
    except OSError as error:
        if follow_symlinks or error.errno != errno.ELOOP:
            raise


def _through_descriptor(change: Callable[[int], None], path: Any, dir_fd: Optional[int], follow_symlinks: bool) -> None:
    if isinstance(path, int):
        change(path)
        return
    with _opened(path, dir_fd, follow_symlinks) as fd:
        try:
            change(fd)
        except OSError as error:
            raise OSError(error.errno, error.strerror, path) from None


@contextlib.contextmanager
def _opened(path: Any, dir_fd: Optional[int], follow_symlinks: bool) -> Iterator[int]:
    flags = os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY | (0 if follow_symlinks else os.O_NOFOLLOW)
    try:
        fd = os.open(path, os.O_RDONLY | flags, dir_fd=dir_fd)
    except PermissionError as refused:
        try:  # it may be one to write only
            fd = os.open(path, os.O_WRONLY | flags, dir_fd=dir_fd)
        except OSError:
            raise refused from None
    try:
        yield fd
    finally:
        os.close(fd)
