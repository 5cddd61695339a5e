"""`syncell list` and `syncell show`: what there is to open, told without running any of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.command import MakeSyncer, Run

NEVER = "raise SystemExit('this must not run')"


@pytest.fixture
def with_packages(environ: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """Variables under which two distributions are installed: one whose syncer is fine, one whose is broken."""
    site = tmp_path / "site"
    for name, manifest in (("good", '{"name": "good", "syncer_class": "Good"}'), ("bad", '{"name": "bad"}')):
        (site / name).mkdir(parents=True)
        (site / name / "MANIFEST.json").write_text(manifest)
        for file in ("__init__.py", "syncer.py"):
            (site / name / file).write_text(NEVER)
        metadata = site / f"{name}_syncers-1.2.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-syncers\nVersion: 1.2\n")
        (metadata / "entry_points.txt").write_text(f"[syncell.syncers]\n{name} = {name}\n")
    return environ | {"PYTHONPATH": f"{environ['PYTHONPATH']}:{site}"}


def test_the_built_in_syncers_and_those_of_packages_are_listed(syncell: Run, with_packages: dict[str, str]) -> None:
    done = syncell("list", environ=with_packages)
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()[2:]] == ["csv", "json", "sqlite", "good"]
    assert "good-syncers 1.2" in done.stdout
    # The broken one is told of, and is no reason to fail.
    assert "syncell: bad (bad-syncers 1.2) cannot be opened: " in done.stderr
    assert "syncer_class" in done.stderr


def test_the_list_is_json_for_a_machine(syncell: Run, with_packages: dict[str, str]) -> None:
    listed = {it["name"]: it for it in json.loads(syncell("list", "--json", environ=with_packages).stdout)}
    assert list(listed) == ["csv", "json", "sqlite", "bad", "good"]
    assert listed["csv"]["class"] == "CSV"
    assert listed["csv"]["origin"] == "built in"
    assert "syncer_class" in listed["bad"]["error"]
    assert Path(listed["good"]["folder"], "MANIFEST.json").exists()


def test_a_syncer_is_shown_without_running(syncell: Run, make_syncer: MakeSyncer) -> None:
    folder = make_syncer(
        NEVER,
        requirements=["idna>=3", ["six", "--no-deps"]],
        python=">=3.9",
        permissions={"read": ["{directory}"], "connect": ["{host}:{port:5432}"], "subprocess": True},
    )
    shown = json.loads(syncell("show", str(folder), "--json").stdout)
    environment = shown.pop("environment")
    assert shown == {
        "name": "acme",
        "origin": "path",
        "folder": str(folder),
        "class": "Acme",
        "requirements": [["idna>=3"], ["six", "--no-deps"]],
        "python": ">=3.9",
        "permissions": {
            "read": ["{directory}"],
            "write": [],
            "connect": ["{host}:{port:5432}"],
            "subprocess": True,
        },
        "locked": False,
    }
    assert environment["key"]
    assert environment["ready"] is False
    assert environment["path"] is None

    lines = dict(line.split(": ", 1) for line in syncell("show", str(folder)).stdout.splitlines())
    assert lines["requirements"].strip() == "idna>=3, six --no-deps"
    assert lines["permissions"].strip() == "read {directory}, connect {host}:{port:5432}, subprocess"
    assert lines["environment"].strip() == f"{environment['key']}, built when the syncer is first opened"


def test_a_ready_environment_is_shown_as_ready(syncell: Run) -> None:
    (built,) = json.loads(syncell("env", "build", "csv", "--json").stdout)
    environment = json.loads(syncell("show", "csv://directory=in#orders", "--json").stdout)["environment"]
    assert environment == {"key": built["key"], "ready": True, "path": built["path"]}
    assert "ready in " in syncell("show", "csv").stdout
