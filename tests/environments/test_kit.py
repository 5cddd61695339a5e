"""The worker's kit, as a cell finds it."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from syncell.environments import EnvironmentStore, kit, process
from syncell.environments.interpreters import Interpreter, find_interpreter


@pytest.fixture
def interpreter(cache: Path) -> Interpreter:
    return find_interpreter(None, cache, os.environ)


def test_bare_interpreter_runs_the_worker_from_its_kit(store: EnvironmentStore, interpreter: Interpreter) -> None:
    folder = store.kit(interpreter)
    program = f"""
import sys
sys.path.insert(0, {str(folder)!r})
import msgspec, syncell_worker.wire
print(msgspec.__file__, syncell_worker.wire.__file__, syncell_worker.wire.__cached__, sep="\\n")
"""
    command = [str(interpreter.executable), "-I", "-S", "-B", "-c", program]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, env={})
    for file in ran.stdout.split():
        assert Path(file).is_relative_to(folder)
        assert Path(file).exists(), "its bytecode is compiled, since nothing can be written there later"
    assert store.kit(interpreter) == folder


def test_kit_is_read_only_and_holds_nothing_else(store: EnvironmentStore, interpreter: Interpreter) -> None:
    folder = store.kit(interpreter)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o555
    names = {path.name for path in folder.iterdir() if not path.name.startswith(("msgspec", "__pycache__"))}
    assert names == {"syncell_worker", "key.json"}


def test_other_worker_or_other_python_has_another_kit(
    store: EnvironmentStore, interpreter: Interpreter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = store.kit(interpreter)
    changed = tmp_path / "syncell_worker"
    shutil.copytree(process.GUEST, changed)
    (changed / "__init__.py").write_text("changed = True\n")
    monkeypatch.setattr(kit, "GUEST", changed)
    after = store.kit(interpreter)
    assert before != after
    assert before.exists()
    assert (after / "syncell_worker/__init__.py").read_text() == "changed = True\n"
