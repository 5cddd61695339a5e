"""Each layer taken away: opening is refused, and says which protection is missing; or goes on with the others."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from conftest import MakeSyncer
from syncell import Policy, Runner, SandboxUnavailable, SyncellError

PLAIN = """
    class Acme:
        name = "acme"
        def load(self, identifier):
            return [{"a": 1}]
        def dump(self, identifier, *, data): ...
"""

# The kernel cannot be changed here; what a layer makes of its answer can, in the worker's copy of the module.
LAYERS = {
    "files": ("jail.py", "return max(int(version), 0)", "return 0", "landlock-"),
    "kernel surface, processes and network": (
        "seccomp.py",
        "flags if listener else 0",
        "flags if listener else 1 << 31",
        "seccomp",
    ),
    "privileges": ("capabilities.py", "== 0 and held.raw == _NONE", "== 99", "capabilities"),
}


def patch(kit: Path, copy: Path, module: str, given: str, without: str) -> Path:
    """A copy of the kit in which a module of the worker holds something else."""
    path = shutil.copytree(kit, copy) / "syncell_worker" / module
    bytecode = path.parent / "__pycache__"
    for published in (path, path.parent, bytecode):
        published.chmod(0o755)
    assert given in path.read_text()
    path.write_text(path.read_text().replace(given, without))
    shutil.rmtree(bytecode)
    return copy


@pytest.mark.parametrize("protection", LAYERS)
def test_a_missing_layer_is_refused_or_named(
    runner: Runner, make_syncer: MakeSyncer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protection: str
) -> None:
    module, given, without, layer = LAYERS[protection]
    folder = make_syncer(PLAIN)
    with runner.open(folder) as acme:
        kit = runner.environments.kit(acme.environment.interpreter)
        whole = acme.jail
    patched = patch(kit, tmp_path / "kit", module, given, without)
    monkeypatch.setattr(type(runner.environments), "kit", lambda self, interpreter, required: patched)
    with pytest.raises(SandboxUnavailable, match=protection):
        runner.open(folder)
    with runner.open(folder, policy=Policy(sandbox="best-effort")) as acme:
        assert acme.load("orders") == [{"a": 1}]
        assert [lacking.partition(":")[0] for lacking in acme.lacking] == [protection]
        assert acme.jail == tuple(each for each in whole if not each.startswith(layer))


def test_a_gate_that_is_not_there_is_no_way_to_the_network(
    runner: Runner, make_syncer: MakeSyncer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_syncer(PLAIN.replace('return [{"a": 1}]', "import socket; socket.socket()"))
    with runner.open(folder) as acme:
        kit = runner.environments.kit(acme.environment.interpreter)
    patched = patch(kit, tmp_path / "kit", "seccomp.py", "flags if listener else 0", "1 << 31 if listener else 0")
    monkeypatch.setattr(type(runner.environments), "kit", lambda self, interpreter, required: patched)
    with pytest.raises(SandboxUnavailable, match=r"network: no egress gate: the kernel refused .* Linux 5\.19"):
        runner.open(folder, policy=Policy(connect=["db.example.com:5432"]))
    with runner.open(folder, policy=Policy(connect=["db.example.com:5432"], sandbox="best-effort")) as acme:
        assert [lacking.partition(":")[0] for lacking in acme.lacking] == ["network"]
        with pytest.raises(SyncellError, match="Permission denied"):
            acme.load("orders")
