"""Whatever a worker process does, its host gets an error that says so, and nothing of it is left."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from conftest import MakeSyncer, loading
from syncell import (
    CallTimeout,
    CellUnusable,
    Limits,
    Policy,
    ProtocolError,
    Runner,
    WorkerCrashed,
)


@pytest.mark.parametrize(
    ("body", "exit_code", "signal_name"),
    [
        ("os._exit(3)", 3, None),
        ("os._exit(0)", 0, None),
        ("import ctypes; ctypes.string_at(0)", None, "SIGSEGV"),
        ("os.kill(os.getpid(), 9)", None, "SIGKILL"),
        ("os.abort()", None, "SIGABRT"),
    ],
)
def test_a_process_that_dies_is_a_crash_that_says_how(
    runner: Runner, make_syncer: MakeSyncer, body: str, exit_code: int | None, signal_name: str | None
) -> None:
    said = "print('last words', file=sys.stderr)\n"
    with runner.open(make_syncer(loading(said + body))) as acme:
        with pytest.raises(WorkerCrashed) as caught:
            acme.load("orders")
        assert (caught.value.exit_code, caught.value.signal) == (exit_code, signal_name)
        assert "last words" in caught.value.stderr
        with pytest.raises(CellUnusable, match="open it again"):
            acme.load("alive")


def test_a_worker_killed_from_outside_is_a_crash(runner: Runner, make_syncer: MakeSyncer) -> None:
    with runner.open(make_syncer(loading("yield {'pid': os.getpid()}\nimport time; time.sleep(600)"))) as acme:
        stream = acme.stream("orders")
        os.kill(acme.cell.pid, signal.SIGKILL)
        with pytest.raises(WorkerCrashed, match="SIGKILL"):
            list(stream)


def test_a_hanging_call_is_ended_in_time_and_blamed(runner: Runner, make_syncer: MakeSyncer) -> None:
    policy = Policy(limits=Limits(wall_seconds=1))
    with runner.open(make_syncer(loading("import time; time.sleep(600)")), policy=policy) as acme:
        with pytest.raises(CallTimeout, match=r"acme: limit wall_seconds=1 exceeded.*--timeout"):
            acme.load("orders")
        assert not acme.cell.alive


def test_a_stream_that_ignores_its_cancellation_is_ended(
    runner: Runner, make_syncer: MakeSyncer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("syncell.syncer.CANCEL_SECONDS", 0.2)
    asleep = tmp_path / "asleep"
    os.mkfifo(asleep)
    body = "for n in range(100): yield {'n': n}\nopen(identifier, 'w').close()\nimport time; time.sleep(600)"
    with runner.open(make_syncer(loading(body)), policy=Policy(write=[asleep])) as acme:
        stream = acme.stream(str(asleep))
        next(stream)
        assert asleep.read_text() == ""  # opens once the syncer opens its end, past the last batch
        stream.close()
        assert not acme.cell.alive


@pytest.mark.parametrize(
    "body",
    [
        "for fd in range(3, 256):\n    try: os.close(fd)\n    except OSError: pass\nimport time; time.sleep(600)",
        "os.closerange(0, 256)\nreturn [{'a': 1}]",
    ],
)
def test_closed_descriptors_end_the_cell_and_not_the_host(runner: Runner, make_syncer: MakeSyncer, body: str) -> None:
    with runner.open(make_syncer(loading(body))) as acme, pytest.raises(WorkerCrashed):
        acme.load("orders")


def test_garbage_on_any_inherited_descriptor_is_a_protocol_error(runner: Runner, make_syncer: MakeSyncer) -> None:
    body = """
for fd in range(3, 256):
    try: os.write(fd, b'\\xff' * 64)
    except OSError: pass
return []
"""
    with runner.open(make_syncer(loading(body))) as acme, pytest.raises(ProtocolError, match="not a frame"):
        acme.load("orders")


def test_a_forged_answer_is_a_protocol_error(runner: Runner, make_syncer: MakeSyncer) -> None:
    # A well-formed frame out of turn: the answer to a call that nobody made.
    body = """
import struct
payload = b'\\x81\\xa4type\\xa4done'
for fd in range(3, 256):
    try: os.write(fd, struct.pack('>4I', len(payload), 1, 99, 0) + payload)
    except OSError: pass
return []
"""
    with runner.open(make_syncer(loading(body))) as acme, pytest.raises(ProtocolError, match="call 99"):
        acme.load("orders")
