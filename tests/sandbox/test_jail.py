"""A cell touches what was granted to it and nothing else, and uses no more than its limits."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from conftest import ECHO, MakeSyncer, loading
from syncell import (
    AccessDenied,
    LimitExceeded,
    Limits,
    OptionsError,
    Policy,
    Runner,
    SyncerError,
)


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


@pytest.mark.parametrize(("name", "granted"), [("notes.txt", False), ("notes.db", True)])
def test_a_path_to_a_file_grants_that_file_and_to_a_database_its_folder(
    runner: Runner, make_syncer: MakeSyncer, tmp_path: Path, name: str, granted: bool
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    (place / name).write_text("named")
    (place / "beside").write_text("beside")
    folder = make_syncer(
        """
        class Acme:
            name = "acme"
            def __init__(self, file): self.file = file
            def load(self, identifier):
                return [{"text": self.file.with_name(identifier).read_text()}]
            def dump(self, identifier, *, data): ...
        """
    )
    with runner.open(folder, {"file": place / name}) as acme:
        assert acme.load(name) == [{"text": "named"}]
        if granted:
            assert acme.load("beside") == [{"text": "beside"}]
        else:
            with pytest.raises(AccessDenied):
                acme.load("beside")


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
