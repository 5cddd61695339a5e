"""What a syncer is to write and is not there yet is made before its jail, and removed when it was not needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import MakeSyncer
from syncell import AccessDenied, Policy, Runner, SyncerError

WRITING = """
    class Acme:
        name = "acme"

        def __init__(self, path):
            self.path = path

        def load(self, identifier):
            return [{"content": open(self.path).read()}]

        def dump(self, identifier, *, data):
            with open(self.path if identifier == "." else f"{self.path}/{identifier}", "w") as file:
                file.write(str(len(data)))
"""
WRITES = {"permissions": {"write": ["{path}"]}}
READS_AND_WRITES = {"permissions": {"read": ["{path}"], "write": ["{path}"]}}


def test_a_file_that_is_only_written_is_made(runner: Runner, make_syncer: MakeSyncer, tmp_path: Path) -> None:
    with runner.open(make_syncer(WRITING, **WRITES), {"path": str(tmp_path / "out.txt")}) as acme:
        acme.dump(".", data=[{"a": 1}])
    assert (tmp_path / "out.txt").read_text() == "1"


@pytest.mark.parametrize("name", ["out.txt", "out/"])
def test_what_was_made_and_not_used_is_removed(
    runner: Runner, make_syncer: MakeSyncer, tmp_path: Path, name: str
) -> None:
    with runner.open(make_syncer(WRITING, **WRITES), {"path": f"{tmp_path}/{name}"}):
        assert (tmp_path / name).exists()
    assert not (tmp_path / name).exists()


def test_what_was_made_and_then_left_empty_by_the_syncer_stays(
    runner: Runner, make_syncer: MakeSyncer, tmp_path: Path
) -> None:
    empty = WRITING.replace("str(len(data))", "''")
    with runner.open(make_syncer(empty, **WRITES), {"path": str(tmp_path / "out.txt")}) as acme:
        acme.dump(".", data=[])
    assert (tmp_path / "out.txt").read_text() == ""


def test_a_path_with_a_slash_at_its_end_is_a_folder(runner: Runner, make_syncer: MakeSyncer, tmp_path: Path) -> None:
    with runner.open(make_syncer(WRITING, **READS_AND_WRITES), {"path": f"{tmp_path}/out/"}) as acme:
        acme.dump("orders", data=[{"a": 1}])
    assert (tmp_path / "out" / "orders").read_text() == "1"


def test_a_policy_makes_files_and_folders_too(runner: Runner, make_syncer: MakeSyncer, tmp_path: Path) -> None:
    policy = Policy(write=[f"{tmp_path}/made/", f"{tmp_path}/made/file", f"{tmp_path}/no/where"])
    with runner.open(make_syncer(WRITING), {"path": f"{tmp_path}/made/file"}, policy=policy) as acme:
        acme.dump(".", data=[{"a": 1}])
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["file"]
    assert not (tmp_path / "no").exists()


def test_a_misspelt_file_to_read_is_not_made(runner: Runner, make_syncer: MakeSyncer, tmp_path: Path) -> None:
    folder = make_syncer(WRITING, **READS_AND_WRITES)
    for path in (str(tmp_path / "misspelt.txt"), tmp_path / "misspelt.txt"):
        with runner.open(folder, {"path": path}) as acme:
            with pytest.raises(SyncerError, match="FileNotFoundError"):
                acme.load(".")
            with pytest.raises(AccessDenied, match="did not exist when the syncer was opened"):
                acme.dump(".", data=[])
    assert not (tmp_path / "misspelt.txt").exists()
