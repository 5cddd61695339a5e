"""A wheel is whole: in an empty virtualenv, without the checkout, it copies a table."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
BUILD_SECONDS = 300  # for installing a dozen packages over a slow network


def run(*command: str | Path, cwd: Path, **environ: str) -> str:
    outside = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        command, check=False, cwd=cwd, env={**outside, **environ}, timeout=BUILD_SECONDS, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_wheel_in_an_empty_virtualenv_copies_a_table(tmp_path: Path, cache_dir: Path) -> None:
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    run(*pip, "wheel", "--no-deps", "--wheel-dir", tmp_path, CHECKOUT, cwd=tmp_path)
    (wheel,) = tmp_path.glob("syncell-*.whl")
    run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    run(python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", wheel, cwd=tmp_path)
    for name in ("in", "out"):
        (tmp_path / name).mkdir()
    (tmp_path / "in" / "orders.csv").write_text("id,note\n1,a\n2,b\n")
    syncell = tmp_path / "venv" / "bin" / "syncell"
    folders = {"SYNCELL_STATE_DIR": str(tmp_path / "state"), "SYNCELL_CACHE_DIR": str(cache_dir)}
    run(syncell, "copy", "csv://directory=in#orders", "sqlite://database_path=out/o.db#orders", cwd=tmp_path, **folders)
    told = run(syncell, "load", "sqlite://database_path=out/o.db#orders", "--format", "csv", cwd=tmp_path, **folders)
    assert told.splitlines() == ["id,note", "1,a", "2,b"]
    assert str(tmp_path) in run(python, "-c", "import syncell; print(syncell.__file__)", cwd=tmp_path)
