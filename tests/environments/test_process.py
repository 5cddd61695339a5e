"""Confined processes: what they may write, and that they end."""

from __future__ import annotations

import contextlib
import os
import select
import sys
from pathlib import Path

import pytest

from syncell.environments import process
from syncell.environments.interpreters import Interpreter, find_interpreter
from syncell.errors import EnvironmentBuildError, SandboxUnavailable


@pytest.fixture
def interpreter(cache: Path) -> Interpreter:
    return find_interpreter(None, cache, os.environ)


def run(
    interpreter: Interpreter, program: str, *, write: tuple[str, ...] = (), seconds: float = 60.0
) -> process.Finished:
    return process.run(
        interpreter,
        "confine.py",
        *(str(interpreter.executable), "-I", "-S", "-c", program),
        jail=process.Jail(execute=("/",), write=write),
        environ={},
        seconds=seconds,
    )


def test_process_writes_where_it_may_and_nowhere_else(interpreter: Interpreter, tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    program = f"open({str(inside / 'file')!r}, 'w'); open({str(outside)!r}, 'w')"
    finished = run(interpreter, program, write=(str(inside),))
    assert finished.code == 1
    assert "PermissionError" in finished.output
    assert (inside / "file").exists()
    assert not outside.exists()


def test_process_that_does_not_end_is_killed(interpreter: Interpreter) -> None:
    program = "import os; print(os.getpid(), flush=True); os.read(os.pipe()[0], 1)"
    with pytest.raises(EnvironmentBuildError, match="did not end within 3 s") as raised:
        run(interpreter, program, seconds=3.0)
    with pytest.raises(ProcessLookupError):
        os.kill(int(raised.value.log), 0)


def test_what_a_process_leaves_running_is_killed_with_its_group(interpreter: Interpreter) -> None:
    program = """
import os
read, write = os.pipe()
pid = os.fork()
if pid:
    print(pid, flush=True)
else:
    os.read(read, 1)
"""
    child = int(run(interpreter, program).output)
    with contextlib.suppress(ProcessLookupError):  # gone already
        ended = os.pidfd_open(child)
        assert select.select([ended], [], [], 20)[0], "it lives on"
        os.close(ended)


def test_endless_output_is_kept_from_its_end(interpreter: Interpreter) -> None:
    program = "import sys; sys.stdout.write('x' * 5_000_000 + 'end')"
    output = run(interpreter, program).output
    assert len(output) == process.OUTPUT_BYTES
    assert output.endswith("xend")


def test_machine_without_a_jail_builds_nothing(
    interpreter: Interpreter, without_landlock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "GUEST", without_landlock)
    with pytest.raises(SandboxUnavailable, match="this kernel has no Landlock"):
        run(interpreter, "open('/dev/null')")


def test_host_and_worker_agree_on_the_exit_code_for_no_jail() -> None:
    sys.path.insert(0, str(process.GUEST.parent))
    try:
        from syncell_worker import confine
    finally:
        sys.path.pop(0)
    assert confine.JAIL_UNAVAILABLE == process.JAIL_UNAVAILABLE
