"""What a syncer logs and prints reaches the host's log, in bounds, and never the wire."""

from __future__ import annotations

import logging
import os
import select

import pytest

from conftest import MakeSyncer, loading
from syncell import (
    Runner,
)


def test_prints_from_python_and_from_c_reach_the_log_and_never_the_wire(
    runner: Runner, make_syncer: MakeSyncer, caplog: pytest.LogCaptureFixture
) -> None:
    body = """
import ctypes, logging
print("from python")
os.write(1, b"to descriptor 1\\n")
libc = ctypes.CDLL(None)
libc.puts(b"from C")
libc.fflush(None)
os.system("true")
logging.getLogger("inner.part").warning("from %s", "logging")
logging.getLogger("inner.part").debug("too low")
return []
"""
    with caplog.at_level(logging.INFO, "syncell"), runner.open(make_syncer(loading(body))) as acme:
        assert acme.load("orders") == []
    said = {(record.name, record.levelname, record.getMessage()) for record in caplog.records}
    logger = "syncell.syncer.acme"
    assert said >= {
        (logger, "INFO", "from python"),
        (logger, "INFO", "to descriptor 1"),
        (logger, "INFO", "from C"),
        (logger, "WARNING", "from logging"),
    }
    assert not any("too low" in message for _, _, message in said)


def test_a_flood_of_lines_is_bounded_and_counted(
    runner: Runner, make_syncer: MakeSyncer, caplog: pytest.LogCaptureFixture
) -> None:
    body = "for n in range(100_000): print('x' * 50)\nprint('y' * 1_000_000)\nreturn []"
    with caplog.at_level(logging.INFO, "syncell"), runner.open(make_syncer(loading(body))) as acme:
        assert acme.load("orders") == []
    assert 1_000 <= len(caplog.records) < 20_000
    assert max(len(record.getMessage()) for record in caplog.records) <= 8 * 1024
    assert any("lines were left out" in record.getMessage() for record in caplog.records)


def test_a_child_of_the_syncer_cannot_speak_in_its_name_and_dies_with_it(
    runner: Runner, make_syncer: MakeSyncer
) -> None:
    body = """
child = os.fork()
if child == 0:
    import logging
    logging.getLogger().error("from the child")
    raise RuntimeError("the child goes on in the worker's own loop")
os.waitpid(child, 0)
sleeper = os.fork()
if sleeper == 0:
    import time
    time.sleep(600)
return [{"sleeper": sleeper}]
"""
    with runner.open(make_syncer(loading(body))) as acme:
        sleeper = os.pidfd_open(acme.load("orders")[0]["sleeper"])
    try:
        assert select.select([sleeper], [], [], 30)[0], "the child outlived its cell"
    finally:
        os.close(sleeper)
