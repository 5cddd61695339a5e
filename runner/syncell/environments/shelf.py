"""A shelf of folders that never change: each is built aside, published whole under its digest, and leased while in use.

One lock file a digest says it all: who builds or removes a folder holds it alone, who uses the folder shares it. A
folder counts only under its own name with its full key inside, and gets that name by one rename, so whatever a killed
build left is none, and is swept by the next holder of the lock. Locks are the kernel's (flock): they end with their
holder, however that ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from syncell import cancellation
from syncell.errors import EnvironmentBuildError
from syncell.sandbox.private import remove_tree

LOCK_SECONDS = 7200.0
"""For whoever builds the same folder to end: longer than a build's own bounds together, so that only a lock held for
another reason runs into it."""

POLL_SECONDS = 0.05
"""Between two looks at a lock. The kernel's own waiting cannot be bounded; a build takes a second or more."""

ATTEMPTS = 3
"""Times that a folder may vanish between its build and its lease, by pruning, before that is called an error."""

KEY_NAME = "key.json"

Build = Callable[[Path, Path], None]
"""Fills the folder given first, which will be published as the second. Raises to publish nothing."""


class Shelf:
    """The folders under `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, digest: str) -> Path:
        """Where a folder stands, or will."""
        return self._root / digest

    def hold(self, digest: str, key: str, build: Build, waiting: Callable[[], None]) -> Lock:
        """The shared lock of a folder, which is built first when it is not there.

        `waiting` is called when another process has to be waited for.
        Raises what `build` raises, and `EnvironmentBuildError` when the lock cannot be had in time.
        """
        for _ in range(ATTEMPTS):
            lock = self._lock(digest, fcntl.LOCK_SH, waiting)
            if self.ready(digest, key):
                return lock
            lock.release()
            with self._lock(digest, fcntl.LOCK_EX, waiting):
                self._sweep(digest)
                if not self.ready(digest, key):
                    self._build(digest, key, build)
        raise EnvironmentBuildError(
            f"{self.path(digest)} was removed {ATTEMPTS} times while it was opened; stop pruning it"
        )

    def ready(self, digest: str, key: str) -> bool:
        """Whether a folder is published. It may be removed at any time, unless its lock is held."""
        with contextlib.suppress(OSError):
            return (self.path(digest) / KEY_NAME).read_text() == key
        return False

    def digests(self) -> list[str]:
        """Everything that is published."""
        with contextlib.suppress(FileNotFoundError):
            names = (path.name for path in self._root.iterdir())
            # A name with a dot is a lock, or a folder aside, which counts as nothing however complete it is.
            return sorted(name for name in names if "." not in name)
        return []

    def in_use(self, digest: str) -> bool:
        """Whether any process holds a folder at this moment."""
        with self._try_alone(digest) as alone:
            return not alone

    def remove(self, digest: str) -> bool:
        """Remove a folder unless it is in use; False when it is."""
        with self._try_alone(digest) as alone:
            if alone:
                with contextlib.suppress(FileNotFoundError):  # renamed first, so that it is whole or not there
                    self.path(digest).rename(self._aside(digest, "removing"))
                self._sweep(digest)
                self._lock_path(digest).unlink(missing_ok=True)
            return alone

    def sweep(self) -> None:
        """Remove what killed builds left, where nobody builds at this moment."""
        for lock in self._root.glob("*.lock"):
            with self._try_alone(lock.stem) as alone:
                if alone:
                    self._sweep(lock.stem)
                    if not self.path(lock.stem).exists():  # a build that failed
                        lock.unlink(missing_ok=True)

    def _build(self, digest: str, key: str, build: Build) -> None:
        if self.path(digest).exists():  # of another key, or damaged
            self.path(digest).rename(self._aside(digest, "removing"))
        aside = self._aside(digest, "building")
        try:
            build(aside, self.path(digest))
            (aside / KEY_NAME).write_text(key)
            close_folders(aside)
            aside.rename(self.path(digest))
        finally:
            self._sweep(digest)

    def _aside(self, digest: str, why: str) -> Path:
        return Path(tempfile.mkdtemp(prefix=f"{digest}.{why}-", dir=self._root))

    def _sweep(self, digest: str) -> None:
        for leftover in self._root.glob(f"{digest}.*-*"):
            remove_tree(leftover)

    def _lock_path(self, digest: str) -> Path:
        return self._root / f"{digest}.lock"

    def _lock(self, digest: str, kind: int, waiting: Callable[[], None]) -> Lock:
        deadline = time.monotonic() + LOCK_SECONDS
        looks = 0
        while (lock := self._try_lock(digest, kind)) is None:
            if time.monotonic() > deadline:
                raise EnvironmentBuildError(
                    f"another process has held {self._lock_path(digest)} for {LOCK_SECONDS:g} s; end it and try again"
                )
            looks += 1
            if looks == 2:  # not for somebody who only looked whether the folder is in use
                waiting()
            cancellation.sleep(POLL_SECONDS, "waiting for an environment that another process builds")
        return lock

    @contextlib.contextmanager
    def _try_alone(self, digest: str) -> Iterator[bool]:
        lock = self._try_lock(digest, fcntl.LOCK_EX)
        try:
            yield lock is not None
        finally:
            if lock is not None:
                lock.release()

    def _try_lock(self, digest: str, kind: int) -> Lock | None:
        path = self._lock_path(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            # Whoever removed the folder removed this file with it; a lock on the file that was is a lock on nothing.
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return Lock(descriptor)
        except (BlockingIOError, FileNotFoundError):
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        return None


class Lock:
    """A lock that is held until it is released, or the process ends."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def __enter__(self) -> None:
        return

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Let go of the lock. Safe to call twice."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def close_folders(folder: Path) -> None:
    """Make every folder beneath `folder` read-only, following no links: nothing can be added, removed or replaced.

    The files keep their modes: they may be hard links into the installer's cache, which others use. No jail lets a
    cell write to them.
    """
    for _, _, _, descriptor in os.fwalk(folder, follow_symlinks=False):
        os.fchmod(descriptor, 0o555)


def size_of(folder: Path) -> int:
    """Bytes of all files beneath `folder`, following no links."""
    return sum(
        os.lstat(name, dir_fd=descriptor).st_size
        for _, _, names, descriptor in os.fwalk(folder, follow_symlinks=False)
        for name in names
    )
