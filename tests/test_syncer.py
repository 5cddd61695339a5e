"""A sandboxed syncer is still a syncer; and whatever it does wrong, its host gets an error and goes on."""

from __future__ import annotations

import logging
import os
import select
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import MakeSyncer
from syncell import (
    AccessDenied,
    CallTimeout,
    CellUnusable,
    DataError,
    LimitExceeded,
    Limits,
    ManifestError,
    OptionsError,
    Policy,
    ProtocolError,
    Runner,
    SpecError,
    SyncerError,
    WorkerCrashed,
)

ECHO = """
    class Acme:
        name = "acme"

        def load(self, identifier):
            return [{"identifier": identifier}]

        def dump(self, identifier, *, data):
            pass
"""


def loading(body: str) -> str:
    """A syncer whose `load` has this body."""
    lines = "\n".join(f"            {line}" for line in body.strip().splitlines())
    return f"""
    import os, sys

    class Acme:
        name = "acme"

        def load(self, identifier):
            if identifier == "alive":
                return [{{"alive": True}}]
{lines}

        def dump(self, identifier, *, data):
            pass
    """


def test_a_syncer_is_named_loaded_and_dumped_as_if_it_were_imported(runner: Runner, make_syncer: MakeSyncer) -> None:
    folder = make_syncer(
        """
        class Acme:
            def __init__(self, region, port: int = 1):
                self.name = "acme in " + region
                self.port = port
                self.kept = []

            def load(self, table):
                return [{"table": table, "port": self.port, "kept": self.kept}]

            def dump(self, table, *, data):
                assert type(data) is list and type(data[0]) is dict, data
                self.kept = [list(data[0].keys()), len(data)]
        """
    )
    with runner.open(folder, {"region": "north", "port": "8080"}) as acme:
        assert acme.name == "acme in north"
        assert acme.load("orders") == [{"table": "orders", "port": 8080, "kept": []}]
        acme.dump("orders", data=[{"b": 1, "a": 2}] * 2500)
        assert acme.load("orders")[0]["kept"] == [["b", "a"], 2500]


def test_an_empty_list_is_passed_on_to_dump(runner: Runner, make_syncer: MakeSyncer) -> None:
    folder = make_syncer(
        """
        class Acme:
            name = "acme"
            seen = None

            def load(self, table):
                return [{"seen": self.seen}]

            def dump(self, table, *, data):
                self.seen = data
        """
    )
    with runner.open(folder) as acme:
        acme.dump("orders", data=[])
        assert acme.load("orders") == [{"seen": []}]


def test_a_stream_holds_few_rows_and_can_be_left_half_way(runner: Runner, make_syncer: MakeSyncer) -> None:
    folder = make_syncer(
        """
        class Acme:
            name = "acme"
            closed = False

            def load(self, identifier):
                if identifier == "closed":
                    return [{"closed": self.closed}]
                return self.endless()

            def endless(self):
                number = 0
                try:
                    while True:
                        yield {"number": number, "filler": "x" * 100}
                        number += 1
                finally:
                    self.closed = True

            def dump(self, identifier, *, data):
                pass
        """
    )
    with runner.open(folder) as acme:
        stream = acme.stream("numbers")
        first = next(stream)
        assert [row["number"] for row in first] == list(range(len(first)))
        assert 0 < len(first) <= 1000
        stream.close()
        assert acme.load("closed") == [{"closed": True}]


def test_rows_before_a_generator_raises_are_delivered_then_the_error(runner: Runner, make_syncer: MakeSyncer) -> None:
    folder = make_syncer(loading("yield {'n': 1}\nyield {'n': 2}\nraise KeyError('gone')"))
    with runner.open(folder) as acme:
        stream = acme.stream("orders")
        assert next(stream) == [{"n": 1}, {"n": 2}]
        with pytest.raises(SyncerError, match="KeyError: 'gone'"):
            next(stream)
        assert acme.load("alive") is not None


def test_dump_takes_any_iterable_and_batches_bound_its_memory(runner: Runner, make_syncer: MakeSyncer) -> None:
    folder = make_syncer(
        """
        class Acme:
            name = "acme"

            def load(self, identifier):
                return [{"sizes": self.sizes}]

            def dump(self, identifier, *, data):
                raise AssertionError("batches were offered")

            def dump_batches(self, identifier, *, batches):
                self.sizes = [len(batch) for batch in batches]
        """
    )
    with runner.open(folder) as acme:
        acme.dump("orders", data=({"n": n} for n in range(2500)))
        assert acme.load("sizes") == [{"sizes": [1000, 1000, 500]}]


def test_rows_that_the_syncer_left_unread_are_an_error(runner: Runner, make_syncer: MakeSyncer) -> None:
    folder = make_syncer(
        """
        class Acme:
            name = "acme"

            def load(self, identifier): ...
            def dump(self, identifier, *, data): ...
            def dump_batches(self, identifier, *, batches):
                next(batches)
        """
    )
    with runner.open(folder) as acme, pytest.raises(SyncerError, match="after 1000 of 5000 rows"):
        acme.dump("orders", data=[{"n": n} for n in range(5000)])


def test_an_identifier_has_to_be_text_that_can_be_sent(runner: Runner, make_syncer: MakeSyncer) -> None:
    with runner.open(make_syncer(ECHO)) as acme:
        with pytest.raises(SpecError, match="UTF-8"):
            acme.load("\ud800")
        with pytest.raises(TypeError, match="not int"):
            acme.load(1)  # type: ignore[arg-type]
        assert acme.load("x") == [{"identifier": "x"}]


def test_an_error_of_the_data_cancels_the_dump_and_the_syncer_lives_on(runner: Runner, make_syncer: MakeSyncer) -> None:
    def rows() -> Iterator[dict[str, Any]]:
        yield from ({"n": n} for n in range(5000))
        raise ZeroDivisionError

    with runner.open(make_syncer(ECHO)) as acme:
        with pytest.raises(ZeroDivisionError):
            acme.dump("orders", data=rows())
        with pytest.raises(DataError, match=r"column 'n', row 1.*complex"):
            acme.dump("orders", data=[{"n": 1}, {"n": 1j}])
        with pytest.raises(DataError, match="row 0 is not a mapping"):
            acme.dump("orders", data=["text"])  # type: ignore[list-item]
        assert acme.load("x") == [{"identifier": "x"}]


def test_a_dump_that_fails_early_stops_the_rows_that_follow(runner: Runner, make_syncer: MakeSyncer) -> None:
    folder = make_syncer(
        """
        class Acme:
            name = "acme"

            def load(self, identifier):
                return [{"alive": True}]

            def dump(self, identifier, *, data): ...

            def dump_batches(self, identifier, *, batches):
                next(batches)
                raise ConnectionError("the server went away")
        """
    )
    with runner.open(folder) as acme:
        with pytest.raises(SyncerError, match="the server went away"):
            acme.dump("orders", data=({"n": n, "filler": "x" * 500} for n in range(100_000)))
        assert acme.load("x") == [{"alive": True}]


# What is wrong with a syncer's class or module.


@pytest.mark.parametrize(
    ("source", "kind", "message"),
    [
        ("class Acne: ...", ManifestError, "no class Acme; did you mean Acne?"),
        ("class Acme:\n    name = 'a'\n    def load(self, t): ...", ManifestError, "class Acme has no dump"),
        ("class Acme:\n    def load(self, t): ...\n    def dump(self, t): ...", ManifestError, "has no name"),
        ("class Acme(:", SyncerError, "SyntaxError"),
        ("import not_installed_anywhere", SyncerError, "No module named 'not_installed_anywhere'"),
        ("raise SystemExit(3)", SyncerError, "SystemExit: 3"),
    ],
)
def test_a_module_or_class_that_is_no_syncer_is_told(
    runner: Runner, make_syncer: MakeSyncer, source: str, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind) as caught:
        runner.open(make_syncer(source))
    assert message in str(caught.value)


def test_a_missing_module_names_the_requirement_to_add(runner: Runner, make_syncer: MakeSyncer) -> None:
    with pytest.raises(SyncerError, match="requirements"):
        runner.open(make_syncer("import not_installed_anywhere"))


def test_refused_options_are_told_all_at_once_and_never_quoted(runner: Runner, make_syncer: MakeSyncer) -> None:
    folder = make_syncer(
        """
        import dataclasses

        @dataclasses.dataclass
        class Acme:
            token: str
            port: int
            region: str = "north"
            name: str = "acme"

            def load(self, t): ...
            def dump(self, t, *, data): ...
        """
    )
    with pytest.raises(OptionsError) as caught:
        runner.open(folder, {"port": "s3cret", "regoin": "s3cret"})
    assert {problem.where for problem in caught.value.problems} == {"token", "port", "regoin"}
    assert "did you mean region?" in str(caught.value)
    assert "s3cret" not in str(caught.value)


# What is wrong with what it returns or raises.


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return None", "load returned None instead of rows"),
        ("return 7", "load returned int instead of an iterable of rows"),
        ("return {'a': 1}", "load returned dict instead of an iterable of rows"),
        ("return [{'a': 1}, 'text']", "row 1 is not a mapping but str"),
        ("return [{'a': 1}, {'a': object()}]", "column 'a', row 1: object has no faithful form"),
        ("return [{1: 1}]", "row 0 has a column whose name is not text but int: 1"),
        ("raise ValueError('no such table')", "ValueError: no such table"),
        ("raise SystemExit('bye')", "SystemExit: bye"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("raise type('Odd', (Exception,), {'__str__': lambda self: 1 / 0})()", "__str__ raised ZeroDivisionError"),
        ("raise RuntimeError('\\ud800')", "RuntimeError: \\ud800"),
        ("raise RuntimeError('x' * 10_000_000)", "characters left out"),
    ],
)
def test_what_a_syncer_does_wrong_is_its_own_error_and_it_lives_on(
    runner: Runner, make_syncer: MakeSyncer, body: str, message: str
) -> None:
    with runner.open(make_syncer(loading(body))) as acme:
        with pytest.raises(SyncerError) as caught:
            acme.load("orders")
        assert message in str(caught.value)
        assert acme.load("alive") == [{"alive": True}]


def test_an_error_carries_type_attributes_and_the_remote_traceback(runner: Runner, make_syncer: MakeSyncer) -> None:
    folder = make_syncer(
        """
        class QuotaError(Exception):
            def __init__(self, left):
                super().__init__(f"{left} left")
                self.left = left
                self.handle = object()

        class Acme:
            name = "acme"

            def load(self, identifier):
                try:
                    {}["missing"]
                except KeyError as error:
                    raise QuotaError(3) from error

            def dump(self, identifier, *, data): ...
        """
    )
    with runner.open(folder) as acme, pytest.raises(SyncerError) as caught:
        acme.load("orders")
    error = caught.value
    assert error.type.endswith("QuotaError")
    assert error.message == "3 left"
    assert error.attributes == {"left": 3}
    assert error.traceback.count("syncer.py") == 2
    assert "syncell_worker" not in error.traceback
    assert "KeyError: 'missing'" in str(error.__cause__)


# What it does to its process.


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


def test_two_threads_on_one_syncer_get_an_error_and_no_corrupted_stream(
    runner: Runner, make_syncer: MakeSyncer
) -> None:
    with runner.open(make_syncer(loading("for n in range(5000): yield {'n': n}"))) as acme:
        stream = acme.stream("orders")
        rows = next(stream)
        caught: list[BaseException] = []

        def use() -> None:
            try:
                acme.load("alive")
            except CellUnusable as error:
                caught.append(error)

        thread = threading.Thread(target=use)
        thread.start()
        thread.join()
        assert "still under way" in str(caught[0])
        assert [row["n"] for row in rows + [row for batch in stream for row in batch]] == list(range(5000))


def test_threads_use_their_own_syncers_at_once(runner: Runner, make_syncer: MakeSyncer) -> None:
    folder = make_syncer(loading("return [{'n': n} for n in range(3000)]"))
    counts = []

    def use() -> None:
        with runner.open(folder) as acme:
            counts.append(len(acme.load("orders")))

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [3000] * 4


# What it may touch.


def test_nothing_is_readable_that_was_not_granted(runner: Runner, make_syncer: MakeSyncer, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("top secret")
    folder = make_syncer(loading("return [{'text': open(identifier).read()}]"))
    with runner.open(folder) as acme:
        with pytest.raises(AccessDenied) as caught:
            acme.load(str(secret))
        assert caught.value.what == str(secret)
        assert caught.value.flag == f"--allow-read {secret}"
        assert isinstance(caught.value.__cause__, SyncerError)
    with runner.open(folder, policy=Policy(sandbox="off")) as acme:
        assert acme.load(str(secret)) == [{"text": "top secret"}]
    with runner.open(folder, policy=Policy(read=[secret])) as acme:
        assert acme.load(str(secret)) == [{"text": "top secret"}]


def test_read_is_not_write_and_write_is_not_read(runner: Runner, make_syncer: MakeSyncer, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    (place / "old.txt").write_text("old")
    folder = make_syncer(loading("open(identifier, 'w').write('new')\nreturn []"))
    with runner.open(folder, policy=Policy(read=[place])) as acme:
        for name in ("old.txt", "new.txt"):
            with pytest.raises(AccessDenied, match="--allow-write"):
                acme.load(str(place / name))
    assert (place / "old.txt").read_text() == "old"
    with runner.open(folder, policy=Policy(write=[place])) as acme:
        acme.load(str(place / "new.txt"))
    assert (place / "new.txt").read_text() == "new"


def test_a_path_option_grants_what_the_host_named(runner: Runner, make_syncer: MakeSyncer, tmp_path: Path) -> None:
    named = tmp_path / "named"
    named.mkdir()
    (named / "a.txt").write_text("a")
    source = """
    import pathlib

    class Acme:
        name = "acme"

        def __init__(self, folder):
            self.folder = folder

        def load(self, identifier):
            return [{"text": pathlib.Path(self.folder, identifier).read_text(), "type": type(self.folder).__name__}]

        def dump(self, identifier, *, data): ...
    """
    folder = make_syncer(source)
    with runner.open(folder, {"folder": named}) as acme:
        assert acme.load("a.txt") == [{"text": "a", "type": "PosixPath"}]
    with runner.open(folder, {"folder": str(named)}) as acme, pytest.raises(AccessDenied):
        acme.load("a.txt")
    asking = make_syncer(source, name="asking", permissions={"read": ["{folder}"]})
    with runner.open(asking, {"folder": str(named)}) as acme:
        assert acme.load("a.txt") == [{"text": "a", "type": "str"}]


@pytest.mark.parametrize("place", ["/", "~", "~/..", "state", "cache"])
def test_an_option_never_grants_the_machine_a_home_or_syncells_own_folders(
    runner: Runner, make_syncer: MakeSyncer, place: str
) -> None:
    folder = make_syncer(ECHO.replace('name = "acme"', 'name = "acme"\n        def __init__(self, folder): ...'))
    path = {"state": runner.state_dir, "cache": runner.cache_dir}.get(place, Path(place).expanduser())
    with pytest.raises(OptionsError, match="--allow-read"):
        runner.open(folder, {"folder": path})


def test_the_environment_is_scrubbed_and_home_and_tmp_are_private(
    runner: Runner, make_syncer: MakeSyncer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    body = """
import tempfile
with tempfile.NamedTemporaryFile() as file:
    file.write(b"x")
open(os.path.expanduser("~/.config"), "w").close()
return [{"env": dict(os.environ), "argv": sys.argv, "cwd": os.getcwd()}]
"""
    with runner.open(make_syncer(loading(body)), policy=Policy(env={"MODE": "test"})) as acme:
        (seen,) = acme.load("orders")
        home = Path(seen["env"]["HOME"])
        assert home.is_relative_to(runner.state_dir)
        assert (home / ".config").exists()
    assert not home.exists()
    assert seen["env"]["MODE"] == "test"
    assert not {"AWS_SECRET_ACCESS_KEY", "PYTHONPATH"} & seen["env"].keys()
    assert seen["cwd"] == str(Path.cwd())


def test_programs_are_not_started_unless_allowed(runner: Runner, make_syncer: MakeSyncer) -> None:
    folder = make_syncer(loading("import subprocess\nreturn [{'out': subprocess.check_output(['echo', 'hi'])}]"))
    with runner.open(folder) as acme, pytest.raises(AccessDenied):
        acme.load("orders")
    with runner.open(folder, policy=Policy(subprocess=True)) as acme:
        assert acme.load("orders") == [{"out": b"hi\n"}]


def test_no_new_privileges_and_no_inherited_descriptors(
    runner: Runner, make_syncer: MakeSyncer, tmp_path: Path
) -> None:
    leaky = os.open(tmp_path, os.O_RDONLY)
    os.set_inheritable(leaky, True)
    body = """
status = open("/proc/self/status").read()
links = ["/proc/self/fd/" + fd for fd in os.listdir("/proc/self/fd")]
targets = [os.readlink(link) for link in links if os.path.lexists(link)]
return [{"status": status, "targets": targets, "sid": os.getsid(0), "pid": os.getpid()}]
"""
    try:
        with runner.open(make_syncer(loading(body))) as acme:
            (seen,) = acme.load("orders")
    finally:
        os.close(leaky)
    assert "NoNewPrivs:\t1" in seen["status"]
    assert seen["sid"] == seen["pid"]
    assert not [target for target in seen["targets"] if target.startswith(str(tmp_path))]


def test_limits_of_memory_files_and_processor_time_hold(runner: Runner, make_syncer: MakeSyncer) -> None:
    bodies = {
        "memory": "held = bytearray(800 * 1024 * 1024)\nreturn []",
        "cpu_seconds": "while True: pass",
    }
    policy = Policy(limits=Limits(memory="256MiB", cpu_seconds=1, wall_seconds=60))
    for limit, body in bodies.items():
        with runner.open(make_syncer(loading(body), name=limit), policy=policy) as acme:
            with pytest.raises(LimitExceeded) as caught:
                acme.load("orders")
            assert caught.value.limit == limit
    many = loading("held = [open('/dev/null') for _ in range(100)]\nreturn []")
    few = Policy(limits=Limits(open_files=64))
    with runner.open(make_syncer(many, name="files"), policy=few) as acme, pytest.raises(SyncerError, match="Too many"):
        acme.load("orders")
