"""Where an identifier's file is, and how that file is replaced: whole or not at all.

Two rules must not be broken. An identifier never leaves the directory that was granted. And whatever ends a dump half
way, an exception, a full disk, a kill, leaves the old file as it was and nothing beside it.

The csv and the json syncer each hold a copy of this file, since a syncer's folder stands on its own; a test keeps the
copies the same.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

# Enough to recognise the name one meant to write, and still one line of text.
_NAMES_SHOWN = 10


def resource(directory: Path, identifier: str, suffix: str) -> Path:
    """Return the file of `identifier`, which may name a folder inside `directory` (`2024/orders`).

    Raises ValueError when the identifier is empty, absolute, or climbs with `..`.
    """
    relative = PurePosixPath(identifier)
    if not relative.name or relative.is_absolute() or ".." in relative.parts or "\0" in identifier:
        raise ValueError(f"identifier {identifier!r}: expected the name of a file inside {directory}, without {suffix}")
    return directory / relative.with_name(relative.name + suffix)


def missing(path: Path) -> FileNotFoundError:
    """Return the error for a `path` that is not there; it names what is there instead."""
    if not path.parent.is_dir():
        return FileNotFoundError(f"{path} does not exist, since there is no folder {path.parent}")
    names = sorted(entry.name for entry in path.parent.iterdir() if not entry.name.startswith("."))
    held = ", ".join(names[:_NAMES_SHOWN]) or "nothing"
    more = f" and {len(names) - _NAMES_SHOWN:,} more" if len(names) > _NAMES_SHOWN else ""
    return FileNotFoundError(f"{path} does not exist; {path.parent} holds {held}{more}")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Give an empty binary file, open for writing and reading, that becomes `path` when the block ends well.

    The file has no name until it is complete, so that even a killed process leaves nothing; where the file system has
    no such files (NFS), it has a hidden name, which every exception removes. It is synced to the disk before it is
    renamed: some file systems write the new name before the content, and a power cut would then leave an empty file
    where a whole one was. A file that is replaced keeps its permissions, as far as the umask allows.
    """
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o666
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        descriptor, nameless = os.open(path.parent, os.O_TMPFILE | os.O_RDWR, mode), True
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        descriptor, nameless = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, mode), False
    try:
        with open(descriptor, "w+b") as file:  # noqa: PTH123 - a descriptor, not a path
            yield file
            file.flush()
            os.fsync(descriptor)
            if nameless:
                _give_name(descriptor, temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _give_name(descriptor: int, path: Path) -> None:
    """Link an unnamed file as `path`, the way open(2) shows under O_TMPFILE."""
    # os.link follows the symlink in /proc only when it has folders to start from (linkat, not link).
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.link(f"/proc/self/fd/{descriptor}", path.name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=True)
    finally:
        os.close(folder)
