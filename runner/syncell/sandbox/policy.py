"""What a host allows. Plain data; an empty allow-list means deny."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterable, Mapping
from typing import Literal

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


@dataclasses.dataclass(frozen=True)
class Limits:
    """What one cell may use. `None` means no limit of syncell's own.

    - `memory`: private memory of a process, in bytes or as `"512MiB"`.
    - `cpu_seconds`: processor time of a process over its life.
    - `wall_seconds`: how long the host waits for the cell within one call, opening included. The time that the host
      itself spends between two batches does not count.
    - `open_files`: descriptors that a process may hold at once.
    """

    memory: int | str | None = None
    cpu_seconds: int | None = None
    wall_seconds: float = 3600.0  # an hour: long for a table, short for a hang that nobody watches
    open_files: int = 1024

    def __post_init__(self) -> None:
        if self.memory is not None:
            object.__setattr__(self, "memory", parse_size(self.memory))
        for name in ("cpu_seconds", "wall_seconds", "open_files"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"Limits({name}={value!r}): it must be more than zero")

    def rlimits(self) -> dict[str, int]:
        """The part that the kernel enforces on each process, by the names of its resources."""
        limits = {"CORE": 0, "NOFILE": self.open_files}
        if self.memory is not None:
            limits["DATA"] = parse_size(self.memory)
        if self.cpu_seconds is not None:
            limits["CPU"] = self.cpu_seconds
        return limits


@dataclasses.dataclass(frozen=True)
class Policy:
    """What a syncer is allowed beyond nothing.

    - `read`, `write`: files and folders, apart: to write is not to read. A folder covers everything beneath it.
    - `connect`: hosts that it may connect to, as `"host:port"`. Without one it can make no socket at all.
    - `env`: variables that its process gets, besides a scrubbed few.
    - `indexes`: addresses of package indexes, or of folders of wheels, that its requirements may name for themselves.
    - `source_builds`: whether its requirements may be built from source, which runs their code, in a jail.
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
        if isinstance(connect, str):
            raise TypeError("Policy(connect=...) takes a list of hosts, not one host")
        if sandbox not in ("required", "best-effort", "off"):
            raise ValueError(f'Policy(sandbox={sandbox!r}): one of "required", "best-effort", "off"')
        values = {
            "read": _paths("read", read),
            "write": _paths("write", write),
            "connect": tuple(connect),
            "env": dict(env or {}),
            "indexes": tuple(indexes),
            "source_builds": source_builds,
            "subprocess": subprocess,
            "limits": limits or Limits(),
            "sandbox": sandbox,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)


def _paths(name: str, paths: Iterable[Path]) -> tuple[str, ...]:
    if isinstance(paths, (str, bytes, os.PathLike)):
        raise TypeError(f"Policy({name}=...) takes a list of paths, not one path")
    # Relative paths mean what they mean to the host at this moment.
    return tuple(os.path.abspath(os.path.expanduser(os.fspath(path))) for path in paths)  # noqa: PTH100, PTH111
