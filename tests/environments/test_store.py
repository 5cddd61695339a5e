"""Environments as a host uses them: leased, shared, listed, pruned, and never built twice."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from environments.elsewhere import Opener
from environments.wheels import WheelFolder
from syncell.environments import EnvironmentStore, Lease, Recipe, process
from syncell.environments.shelf import KEY_NAME
from syncell.errors import EnvironmentBuildError, SandboxUnavailable
from syncell.manifest import Requirement

Acquire = Callable[..., Lease]
ACME = "syncelltest-acme"


def test_environment_is_built_once_and_then_ready(wheels: WheelFolder, acquire: Acquire) -> None:
    lines: list[str] = []
    first = acquire(ACME, progress=lines.append).environment
    assert lines
    assert all(line.startswith("acme: ") for line in lines)
    assert acquire(ACME, progress=pytest.fail).environment == first
    assert first.versions == {"pydantic": "1.0", "sqlalchemy": "1.0", ACME: "1.0"}
    assert (first.site_packages / "syncelltest_acme.py").is_file()
    assert first.path in first.site_packages.parents


def test_opening_a_ready_environment_imports_neither_uv_nor_virtualenv(
    wheels: WheelFolder, cache: Path, acquire: Acquire
) -> None:
    acquire(ACME)
    program = f"""
import sys
from pathlib import Path
from syncell.environments import EnvironmentStore, Recipe
from syncell.manifest import Requirement
with EnvironmentStore(Path({str(cache)!r})).acquire(
    Recipe(requirements=(Requirement({ACME!r}),)), syncer="acme", progress=sys.exit
):
    print([name for name in ("uv", "virtualenv", "python_discovery") if name in sys.modules])
"""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    opened = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environ)
    assert opened.stdout.strip() == "[]"


def test_scripts_of_an_environment_find_it_where_it_was_published(wheels: WheelFolder, acquire: Acquire) -> None:
    wheels.add(
        "syncelltest_tool",
        files={"syncelltest_tool-1.0.dist-info/entry_points.txt": "[console_scripts]\ntool = syncelltest_tool:main\n"},
    )
    environment = acquire("syncelltest-tool").environment
    said = (environment.path / "bin/tool").read_text()
    assert "building-" not in said


def test_bytecode_is_there_for_every_module_and_names_the_published_files(
    wheels: WheelFolder, acquire: Acquire
) -> None:
    wheels.add("syncelltest_broken", files={"syncelltest_template.py": "def {{ name }}:\n"})
    environment = acquire(ACME, "syncelltest-broken").environment
    sources = list(environment.site_packages.rglob("*.py"))
    compiled = [path for path in sources if list(path.parent.glob(f"__pycache__/{path.stem}.*.pyc"))]
    assert [path.name for path in sources if path not in compiled] == ["syncelltest_template.py"]
    for path in compiled:
        (bytecode,) = path.parent.glob(f"__pycache__/{path.stem}.*.pyc")
        assert str(path).encode() in bytecode.read_bytes()


def test_another_constraint_gives_another_environment(wheels: WheelFolder, acquire: Acquire) -> None:
    wheels.add("syncelltest_acme", "2.0")
    newest = acquire(ACME).environment
    bounded = acquire(ACME, constraints=(f"{ACME}<2",)).environment
    assert newest.key != bounded.key
    assert (newest.versions[ACME], bounded.versions[ACME]) == ("2.0", "1.0")


def test_requirement_picks_the_version_of_what_every_syncer_may_import(wheels: WheelFolder, acquire: Acquire) -> None:
    wheels.add("pydantic", "2.0")
    assert acquire(ACME).environment.versions["pydantic"] == "2.0"
    assert acquire(ACME, "pydantic<2").environment.versions["pydantic"] == "1.0"
    assert acquire(ACME, constraints=("pydantic<2",)).environment.versions["pydantic"] == "1.0"


def test_requirement_without_dependencies_is_installed_alone(wheels: WheelFolder, acquire: Acquire) -> None:
    wheels.add("syncelltest_needy", requires=(ACME,))
    assert ACME in acquire("syncelltest-needy").environment.versions
    alone = acquire(Requirement("syncelltest-needy", ("--no-deps",))).environment
    assert "syncelltest-needy" in alone.versions
    assert ACME not in alone.versions


def test_version_without_dependencies_wins_over_what_others_depend_on(wheels: WheelFolder, acquire: Acquire) -> None:
    wheels.add("syncelltest_acme", "2.0")
    wheels.add("syncelltest_needy", requires=(f"{ACME}>=2",))
    versions = acquire("syncelltest-needy", Requirement(f"{ACME}==1.0", ("--no-deps",))).environment.versions
    assert (versions["syncelltest-needy"], versions[ACME]) == ("1.0", "1.0")


def test_damaged_environment_is_built_again(wheels: WheelFolder, acquire: Acquire) -> None:
    lease = acquire(ACME)
    lease.close()
    key = lease.environment.path.parent / KEY_NAME
    key.parent.chmod(0o755)
    key.write_text("something else")
    lines: list[str] = []
    assert acquire(ACME, progress=lines.append).environment.key == lease.environment.key
    assert any("building" in line for line in lines)
    assert key.read_text() != "something else"


def test_environment_in_use_is_not_pruned(
    wheels: WheelFolder, store: EnvironmentStore, acquire: Acquire, open_elsewhere: Callable[..., Opener]
) -> None:
    elsewhere = open_elsewhere(ACME)
    elsewhere.wait_for("leased")
    mine = acquire("syncelltest-acme==1.0")
    assert [listed.in_use for listed in store.list()] == [True, True]
    assert store.prune(timedelta(0)) == ()
    mine.close()
    assert [removed.environment.key for removed in store.prune(timedelta(0))] == [mine.environment.key]
    elsewhere.go_on()
    elsewhere.end()
    assert len(store.prune(timedelta(0))) == 1
    assert store.list() == ()
    assert list(mine.environment.path.parents[1].iterdir()) == []


def test_environment_used_lately_is_not_pruned(wheels: WheelFolder, store: EnvironmentStore, acquire: Acquire) -> None:
    acquire(ACME).close()
    assert store.prune(timedelta(hours=1)) == ()
    assert len(store.list()) == 1


def test_list_says_who_used_an_environment_and_when(wheels: WheelFolder, store: EnvironmentStore) -> None:
    recipe = Recipe(requirements=(Requirement(ACME),))
    for syncer in ("acme", "../ümlaut & more"):
        store.acquire(recipe, syncer=syncer, progress=lambda _: None).close()
    (listed,) = store.list()
    assert set(listed.users) == {"acme", "../ümlaut & more"}
    assert listed.last_used >= listed.environment.created
    assert listed.environment.size > 0
    assert not listed.in_use


def test_build_that_fails_says_whose_and_leaves_nothing(
    wheels: WheelFolder, cache: Path, store: EnvironmentStore, acquire: Acquire
) -> None:
    with pytest.raises(EnvironmentBuildError, match=r"acme: .*syncelltest-missing.*\n.*spelling") as raised:
        acquire("syncelltest-missing")
    assert "syncelltest-missing" in raised.value.log
    assert store.list() == ()
    assert [path.suffix for path in (cache / "environments").iterdir()] == [".lock"]


def test_conflict_with_a_constraint_names_both(wheels: WheelFolder, acquire: Acquire) -> None:
    with pytest.raises(EnvironmentBuildError) as raised:
        acquire(f"{ACME}>=2", constraints=(f"{ACME}<2", "unrelated<9"))
    message = str(raised.value)
    assert f"{ACME}>=2" in message
    assert f"{ACME}<2 is a constraint of the host" in message
    assert "unrelated" not in message


def test_cache_that_cannot_be_written_is_an_error_of_the_tree(wheels: WheelFolder, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = EnvironmentStore(tmp_path / "file" / "cache")
    with pytest.raises(EnvironmentBuildError, match=r"acme: .*could not be built: .*Not a directory"):
        store.acquire(Recipe(), syncer="acme", progress=lambda _: None)


def test_where_a_layer_is_missing_only_a_policy_that_allows_it_builds_and_nobody_else_is_given_that(
    wheels: WheelFolder,
    store: EnvironmentStore,
    acquire: Acquire,
    without_landlock: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wheels.add("msgspec", "0.20")
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(process, "GUEST", without_landlock)
        with pytest.raises(SandboxUnavailable, match=r"acme: .*no Landlock.*best-effort"):
            acquire("syncelltest_acme")
        said: list[str] = []
        unconfined = acquire("syncelltest_acme", required=False, progress=said.append).environment
        assert not unconfined.confined
        assert any("with what stands of it" in line for line in said)
        assert acquire("syncelltest_acme", required=False).environment.key == unconfined.key
        with pytest.raises(SandboxUnavailable):
            acquire("syncelltest_acme")
        with pytest.raises(SandboxUnavailable):
            store.kit(unconfined.interpreter)
        loose = store.kit(unconfined.interpreter, required=False)
    confined = acquire("syncelltest_acme").environment
    assert confined.confined
    assert confined.key != unconfined.key
    # Where there is a jail it is used, whether or not it is required.
    assert acquire("syncelltest_acme", required=False).environment.key == confined.key
    assert store.kit(unconfined.interpreter) != loose
