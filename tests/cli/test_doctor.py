"""`syncell doctor`: what is tried is what is said, with a layer and without it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from cli.command import Run
from syncell import Runner
from syncell.environments import process

PROTECTIONS = ["files", "network", "processes", "kernel surface", "privileges", "resources"]


def test_every_protection_is_tried_and_the_exit_code_says_whether_all_hold(syncell: Run) -> None:
    done = syncell("doctor", "--json")
    said = json.loads(done.stdout)
    assert list(dict.fromkeys(finding["protection"] for finding in said["findings"])) == PROTECTIONS
    assert said["ok"] == all(finding["ok"] for finding in said["findings"])
    assert done.returncode == (0 if said["ok"] else 4)
    assert all(finding["why"] for finding in said["findings"])
    assert all(finding["remedy"] for finding in said["findings"] if not finding["ok"])
    told = syncell("doctor")
    assert told.returncode == done.returncode
    assert told.stdout.startswith("files: protected\n")


def test_modes_and_times_by_path_are_tried_in_a_jail_such_as_a_cell_has(runner: Runner) -> None:
    """Where installers may change them, the answer would say nothing about cells."""
    found = {finding.deed: finding for finding in runner.doctor()}
    for deed in ("change the mode of a file by its path", "change its times"):
        assert found[deed].ok
        assert "in a jail only" in found[deed].why


def test_without_a_jail_nothing_is_said_to_be_protected_by_one(
    runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker's code whose `jail` refuses stands in for a kernel without Landlock, since this one has it."""
    guest = tmp_path / "syncell_worker"
    shutil.copytree(process.GUEST, guest)
    (guest / "jail.py").write_text(
        "class Unavailable(Exception): pass\ndef enter(**_): raise Unavailable('files: this kernel has no Landlock')\n"
    )
    monkeypatch.setattr(process, "GUEST", guest)
    findings = runner.doctor()
    files = [finding for finding in findings if finding.protection == "files"]
    assert files
    assert not any(finding.ok for finding in files)
    assert "this kernel has no Landlock" in files[0].why
    assert "lsm=" in files[0].remedy
    gated = [finding for finding in findings if "another one was" in finding.deed]
    assert [finding.ok for finding in gated] == [False]
    assert "5.19" in gated[0].remedy
    # The warden needs no jail.
    assert findings[-1].ok
    assert list(runner.state_dir.glob("doctor-*")) == []
