"""`--explain`: what a command would allow, and who said so; nothing is built, made or run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.command import MakeSyncer, Run

RUNS = "raise SystemExit('this syncer was run')"


def test_every_grant_is_named_with_its_origin_and_nothing_runs(
    syncell: Run, make_syncer: MakeSyncer, tmp_path: Path
) -> None:
    folder = make_syncer(RUNS, permissions={"read": ["{source}"]}, requirements=["no-such-package-anywhere"])
    (tmp_path / "in").mkdir()
    done = syncell(
        *("copy", f"{folder}://source=in#orders", "csv://directory=new/#orders", "--explain", "--json"),
        *("--allow-write", "out.txt", "--memory", "64MiB", "--max-rows", "10"),
    )
    assert (done.returncode, done.stderr) == (0, "")
    acme, csv = json.loads(done.stdout)
    granted = {(it["action"], it["place"]): it for it in acme["grants"]}
    assert granted.keys() == {("write", f"{tmp_path}/out.txt"), ("read", f"{tmp_path}/in")}
    assert granted["read", f"{tmp_path}/in"]["origin"] == "option {source}, which the manifest asks to read"
    made = granted["write", f"{tmp_path}/out.txt"]
    assert (made["origin"], made["missing"], made["made"]) == ("--allow-write", True, True)
    assert acme["limits"]["memory"] == {"value": 64 * 1024**2, "origin": "--memory"}
    assert acme["limits"]["rows"] == {"value": 10, "origin": "--max-rows"}
    assert acme["limits"]["processes"]["origin"] == "default"
    assert {it["place"]: it["made"] for it in csv["grants"]} == {
        f"{tmp_path}/out.txt": True,
        f"{tmp_path}/new": True,
    }
    assert not (tmp_path / "new").exists()
    assert not (tmp_path / "out.txt").exists()


@pytest.mark.parametrize("verb", ["load", "dump"])
def test_what_would_be_refused_is_said_and_is_the_exit_code(syncell: Run, make_syncer: MakeSyncer, verb: str) -> None:
    folder = make_syncer(RUNS, permissions={"read": ["/etc/shadow"], "subprocess": True})
    done = syncell(verb, f"{folder}#orders", "--explain")
    assert done.returncode == 4
    assert "refused   acme: the sandbox refused to start programs" in done.stdout
    assert "Policy(read=['/etc/shadow']) or --allow-read /etc/shadow" in done.stdout
    assert "limit     disk 10.0 GiB: default" in done.stdout


def test_places_to_connect_to_are_named_with_their_origin(syncell: Run, make_syncer: MakeSyncer) -> None:
    folder = make_syncer(RUNS, permissions={"connect": ["{host}:{port:5432}", "api.acme.com:443"]})
    command = ("load", f"{folder}://host=db.acme.com#orders", "--explain", "--allow-net", "*.acme.com:443")
    done = syncell(*command)
    assert (done.returncode, done.stderr) == (0, "")
    assert "connect   *.acme.com:443: --allow-net\n" in done.stdout
    origin = "option {host}:{port:5432}, which the manifest asks to connect to"
    assert f"connect   db.acme.com:5432: {origin}\n" in done.stdout
    (said,) = json.loads(syncell(*command, "--json").stdout)
    assert said["grants"][1] == {
        "action": "connect",
        "place": "db.acme.com:5432",
        "origin": origin,
        "missing": False,
        "made": False,
    }
    refused = syncell(*command[:3])
    assert refused.returncode == 4
    assert "--allow-net api.acme.com:443" in refused.stdout
    assert "network   none" in syncell("load", "csv://directory=in#orders", "--explain").stdout


def test_what_builds_are_allowed_is_named_without_credentials(syncell: Run, make_syncer: MakeSyncer) -> None:
    command = ("load", f"{make_syncer(RUNS)}#orders", "--explain")
    assert "builds    none, wheels only\n" in syncell(*command).stdout
    allowed = (*command, "--allow-source-builds", "--allow-index", "https://user:hunter2@packages.acme.com/simple")
    said = syncell(*allowed).stdout
    assert "index     https://packages.acme.com/simple: --allow-index\n" in said
    assert "builds    from source, in a sandbox: --allow-source-builds\n" in said
    (plain,) = json.loads(syncell(*allowed, "--json").stdout)
    assert (plain["indexes"], plain["source_builds"]) == (["https://packages.acme.com/simple"], True)
