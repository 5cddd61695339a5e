"""The built-in syncers, imported straight from their folders, and a process that can be ended half way in a dump."""

from __future__ import annotations

import importlib.util
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

# Dumps one batch, tells its parent, and dumps another one when the parent says so.
_DUMP = """
import importlib, json, pathlib, sys

def batches():
    yield [{"a": number, "b": "x" * 100} for number in range(5_000)]
    print("half way", flush=True)
    sys.stdin.readline()
    yield [{"a": number, "b": "x" * 100} for number in range(5_000)]

root, syncer, name_of_class, place, options = sys.argv[1:]
options = json.loads(options)
options[place] = pathlib.Path(options[place])
sys.path.insert(0, root)
module = importlib.import_module(f"syncers.{syncer}.syncer")
getattr(module, name_of_class)(**options).dump_batches("orders", batches=batches())
"""


def import_syncer(name: str) -> ModuleType:
    """Import syncer.py the way the syncer contract says: as a package-like module with the folder as its location."""
    module_name = f"builtin_{name}"
    if module_name not in sys.modules:
        file = ROOT / "syncers" / name / "syncer.py"
        spec = importlib.util.spec_from_file_location(module_name, file, submodule_search_locations=[str(file.parent)])
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        spec.loader.exec_module(module)
    return sys.modules[module_name]


@pytest.fixture(scope="session")
def syncer_module() -> Callable[[str], ModuleType]:
    return import_syncer


@pytest.fixture
def half_way() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a process that dumps into `orders`, and return it once the syncer took the first batch."""
    started = []

    def start(syncer: str, name_of_class: str, **options: Any) -> subprocess.Popen[str]:
        place, *_ = options
        process = subprocess.Popen(
            [sys.executable, "-B", "-c", _DUMP, ROOT, syncer, name_of_class, place, json.dumps(options, default=str)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "half way\n", process.communicate()[1]
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture(params=[signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
def ending(request: pytest.FixtureRequest) -> signal.Signals:
    """A way for a process to end in the middle of a dump."""
    found: signal.Signals = request.param
    return found
