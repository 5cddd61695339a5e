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


def test_a_syncer_is_shown_with_what_it_says_and_what_it_takes(syncell: Run, make_syncer: MakeSyncer) -> None:
    folder = make_syncer(
        """
        import dataclasses, enum, pathlib, typing

        class Region(enum.Enum):
            NORTH = "north"
            SOUTH = "south"

        @dataclasses.dataclass
        class Acme:
            directory: pathlib.Path
            region: Region = Region.NORTH
            port: typing.Optional[int] = None
            name: str = "acme"

            def __post_init__(self):
                raise AssertionError("nothing is built to be shown")

            def load(self, identifier): ...
            def dump(self, identifier, *, data): ...
            def close(self): ...
        """,
        requirements=["idna>=3", ["six", "--no-deps"]],
        python=">=3.9",
        permissions={"read": ["{directory}"], "connect": ["{host}:{port:5432}"], "subprocess": True},
    )
    lines = syncell("show", str(folder)).stdout.splitlines()
    told = dict(line.split(": ", 1) for line in lines if ": " in line)
    assert told["requirements"].strip() == "idna>=3, six --no-deps"
    assert told["permissions"].strip() == "read {directory}, connect {host}:{port:5432}, subprocess"
    assert told["environment"].endswith("built just now")
    assert told["members"].strip() == "load, dump, close"
    table = [line.split() for line in lines if line.startswith(("directory", "region", "port "))]
    assert table == [
        ["directory", "path", "(required)"],
        ["region", "north", "|", "south", '"north"'],
        ["port", "integer", "null"],
    ]

    shown = json.loads(syncell("show", str(folder), "--json").stdout)
    environment, options = shown.pop("environment"), shown.pop("options")
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
        "members": ["close"],
    }
    assert environment["ready"] is True
    assert options["required"] == ["directory"]
    assert options["properties"]["region"] == {"enum": ["north", "south"], "default": "north"}


def test_a_ready_environment_is_shown_as_ready(syncell: Run) -> None:
    (built,) = json.loads(syncell("env", "build", "csv", "--json").stdout)
    environment = json.loads(syncell("show", "csv://directory=in#orders", "--json").stdout)["environment"]
    assert environment == {"key": built["key"], "ready": True}
    assert "ready" in syncell("show", "csv").stdout
