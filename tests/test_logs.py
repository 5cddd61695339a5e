"""What a syncer logs and prints reaches the host's log, in bounds, and never the wire."""

from __future__ import annotations

import logging
import os
import select
import tracemalloc

import pytest

from conftest import MakeSyncer, loading
from syncell import Runner
from syncell.logs import MAX_LINE, SyncerLog
from syncell.secrets import Redactor


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


def test_bytes_that_are_no_text_are_written_out_and_known_in_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    log = SyncerLog("acme", Redactor(["to\udcffken"]))
    with caplog.at_level(logging.INFO, "syncell"):
        log.feed(b"caf\xe9 to\xffken\n")
    assert [record.getMessage() for record in caplog.records] == ["caf\\xe9 ***"]
    assert log.tail == "caf\\xe9 ***"


def test_a_secret_of_several_short_lines_is_hidden_where_the_last_lines_are_together() -> None:
    log = SyncerLog("acme", Redactor(["one\ntwo"]))
    log.feed(b"said: one\ntwo, and more\n")
    assert log.tail == "said: ***, and more"


@pytest.mark.parametrize("offset", range(-8, 3))
def test_no_piece_of_a_secret_is_left_where_a_line_is_cut(caplog: pytest.LogCaptureFixture, offset: int) -> None:
    log = SyncerLog("acme", Redactor(["äöhunter2"]))
    line = f"{'ü' * (MAX_LINE + offset)}äöhunter2, and more".encode()
    with caplog.at_level(logging.INFO, "syncell"):
        for start in range(0, len(line), 1000):
            log.feed(line[start : start + 1000])
        log.feed(b"\n")
        log.record(logging.INFO, "root", line.decode())
    for text in (*(record.getMessage() for record in caplog.records), log.tail):
        assert len(text) <= MAX_LINE
        assert not set(text) & set("äöhunter2")


def test_a_line_that_does_not_end_takes_no_more_memory_than_is_shown_of_it() -> None:
    log = SyncerLog("acme", Redactor(["hunter2"]))
    data = b"x" * MAX_LINE
    tracemalloc.start()
    for _ in range(1000):
        log.feed(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 32 * MAX_LINE
    log.flush()
    assert log.tail == "x" * MAX_LINE
    assert log.size == 1000 * MAX_LINE
