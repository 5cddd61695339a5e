"""The facts about a machine and its software without which a figure says nothing."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

import syncell


def facts() -> dict[str, str]:
    """What was measured on, and with what. The load is that of the last minute, this run's own included."""
    return {
        "processor": f"{_processor()}, {len(os.sched_getaffinity(0))} usable of {os.cpu_count()} cores",
        "load": f"{os.getloadavg()[0]:.1f}",
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "syncell": syncell.__version__,
        **{name: version(name) for name in ("msgspec", "uv", "virtualenv")},
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model"):
            return value.strip()
    return platform.machine()
