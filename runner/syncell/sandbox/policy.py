"""What a host allows. Plain data; an empty allow-list means deny."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterable, Mapping
from typing import Literal

from syncell.sandbox import egress

Path = str | os.PathLike[str]

_UNITS = {"": 1, "B": 1}
_UNITS |= {f"{prefix}iB": 1024**power for power, prefix in enumerate("KMGT", 1)}
_UNITS |= {f"{prefix}B": 1000**power for power, prefix in enumerate(("k", "M", "G", "T"), 1)}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")


def parse_size(size: int | str) -> int:
    """Bytes of `"512MiB"`, `"1.5GB"`, `"4096"` or a plain number. Raises ValueError."""
    if isinstance(size, int) and not isinstance(size, bool):
        value = float(size)
    else:
        matched = _SIZE.fullmatch(str(size))
        if matched is None or matched[2] not in _UNITS:
            raise ValueError(f"not a size: {size!r}; write bytes, or a number with one of {', '.join(_UNITS)[2:]}")
        value = float(matched[1]) * _UNITS[matched[2]]
    if value < 1:
        raise ValueError(f"not a size: {size!r}; it must be at least one byte")
    return int(value)


# Threads reserve memory that they do not use: 8 MiB of address space each, which counts as data. The kernel's own bound
# on data leaves room for that, since what is used is the warden's to count.
_RESERVED = 512 * 1024**2


@dataclasses.dataclass(frozen=True)
class Limits:
    """What one cell may use: its worker and every process it starts, together. `None` means no limit of syncell's own.

    - `memory`: of every kind that cannot be dropped (anonymous, shared, in memory files, swapped out), in bytes or as
      `"512MiB"`.
    - `cpu_seconds`: processor time over the cell's life.
    - `wall_seconds`: how long the host waits for the cell within one call, opening included. The time that the host
      itself spends between two batches does not count.
    - `processes`: processes and threads at once.
    - `open_files`: descriptors that each process may hold at once.
    - `disk`: of its private home and temporary folder, deleted files that are still open included; a size.
    - `rows`, `row_bytes`: that one call of `load` returns; `row_bytes` is a size, as on the wire.
    - `log`: what it logs and prints over its life; a size.

    Reaching one ends the cell with `LimitExceeded`, except `open_files`, at which opening fails in the syncer.
    """

    memory: int | str | None = None
    cpu_seconds: int | None = None
    wall_seconds: float = 3600.0  # an hour: long for a table, short for a hang that nobody watches
    processes: int | None = 512  # numerical libraries start a thread for each processor; a bomb starts thousands
    open_files: int = 1024
    disk: int | str | None = 10 * 1024**3  # more than syncers spool, less than what fills most disks
    rows: int | None = None
    row_bytes: int | str | None = None
    log: int | str | None = 1024**3  # seconds of a flood, and months of what anyone reads

    def __post_init__(self) -> None:
        for name in ("memory", "disk", "row_bytes", "log"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, parse_size(getattr(self, name)))
        for name in ("cpu_seconds", "wall_seconds", "processes", "open_files", "rows"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"Limits({name}={value!r}): it must be more than zero")

    @property
    def watched(self) -> bool:
        """Whether any of them is a total that no process's own limits can hold."""
        return any(limit is not None for limit in (self.memory, self.cpu_seconds, self.processes, self.disk))

    def rlimits(self) -> dict[str, int]:
        """The part that the kernel enforces on each process, by the names of its resources."""
        limits = {"CORE": 0, "NOFILE": self.open_files}
        if self.memory is not None:
            limits["DATA"] = parse_size(self.memory) + _RESERVED
        if self.cpu_seconds is not None:
            limits["CPU"] = self.cpu_seconds
        return limits


@dataclasses.dataclass(frozen=True)
class Policy:
    """What a syncer is allowed beyond nothing.

    - `read`, `write`: files and folders, apart: to write is not to read. A folder covers everything beneath it. What
      may be written and does not exist is made: a folder when it is written with a slash at its end, else a file.
    - `connect`: where it may connect to: `"db.acme.com:5432"`, `"*.acme.com:443"`, `"10.0.0.0/8:5432"`, `"[::1]:443"`,
      `"unix:/path"`; a port may be a range, `"8000-8010"`, or `"*"`. Without one it can make no socket at all.
    - `env`: variables that its process gets, besides a scrubbed few.
    - `indexes`: addresses of package indexes, or of folders of wheels, that its requirements may name for themselves;
      and to whose hosts builds from source may connect.
    - `source_builds`: whether its requirements may be built from source, which runs their code, in a jail that connects
      to the package indexes in force and nowhere else.
    - `subprocess`: whether it may start programs. They stay in the same jail.
    - `sandbox`: `"required"` refuses to open where a protection is missing; `"best-effort"` opens, and
      `Syncer.jail` says what is missing; `"off"` confines nothing.
    """

    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    connect: tuple[str, ...] = ()
    env: Mapping[str, str] = dataclasses.field(default_factory=dict)
    indexes: tuple[str, ...] = ()
    source_builds: bool = False
    subprocess: bool = False
    limits: Limits = Limits()
    sandbox: Literal["required", "best-effort", "off"] = "required"

    def __init__(
        self,
        *,
        read: Iterable[Path] = (),
        write: Iterable[Path] = (),
        connect: Iterable[str] = (),
        env: Mapping[str, str] | None = None,
        indexes: Iterable[str] = (),
        source_builds: bool = False,
        subprocess: bool = False,
        limits: Limits | None = None,
        sandbox: Literal["required", "best-effort", "off"] = "required",
    ) -> None:
        if sandbox not in ("required", "best-effort", "off"):
            raise ValueError(f'Policy(sandbox={sandbox!r}): one of "required", "best-effort", "off"')
        values = {
            "read": _paths("read", read),
            "write": _paths("write", write),
            "connect": _places(connect),
            "env": dict(env or {}),
            "indexes": tuple(indexes),
            "source_builds": source_builds,
            "subprocess": subprocess,
            "limits": limits or Limits(),
            "sandbox": sandbox,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)


def _places(places: Iterable[str]) -> tuple[str, ...]:
    if isinstance(places, str):
        raise TypeError("Policy(connect=...) takes a list of places, not one place")
    return tuple(egress.parse(place).text for place in places)


def _paths(name: str, paths: Iterable[Path]) -> tuple[str, ...]:
    if isinstance(paths, (str, bytes, os.PathLike)):
        raise TypeError(f"Policy({name}=...) takes a list of paths, not one path")
    return tuple(_absolute(os.fspath(path)) for path in paths)


def _absolute(path: str) -> str:
    """A relative path as the host means it at this moment. A slash at its end stays: it says that this is a folder."""
    absolute = os.path.abspath(os.path.expanduser(path))  # noqa: PTH100, PTH111
    return f"{absolute}/" if path.endswith("/") and absolute != "/" else absolute
