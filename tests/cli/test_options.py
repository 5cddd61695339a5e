"""What several verbs take: lengths of time, constraints, folders; and what a start costs."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from cli.command import Run
from syncell.cli.options import Constraints, duration


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90", dt.timedelta(seconds=90)),
        ("0.5s", dt.timedelta(seconds=0.5)),
        ("15m", dt.timedelta(minutes=15)),
        ("1.5h", dt.timedelta(minutes=90)),
        ("30d", dt.timedelta(days=30)),
        ("2w", dt.timedelta(days=14)),
    ],
)
def test_a_length_of_time_is_a_number_and_a_unit(text: str, expected: dt.timedelta) -> None:
    assert duration(text) == expected


@pytest.mark.parametrize("text", ["", "d", "-1", "1e9", "5 minutes", "1y", "nan", "9" * 30])
def test_what_is_no_length_of_time_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="no length of time"):
        duration(text)


def test_constraints_are_requirements_or_files_of_them_as_pip_takes(tmp_path: Path) -> None:
    file = tmp_path / "constraints.txt"
    file.write_text("# all of them\nidna<3  # old\n\n  six==1.16 ; python_version < '4'\n")
    assert Constraints(["sqlalchemy<2", str(file)]).requirements() == [
        "sqlalchemy<2",
        "idna<3",
        "six==1.16 ; python_version < '4'",
    ]


def test_a_constraints_file_that_holds_options_is_refused_with_the_line(tmp_path: Path) -> None:
    (tmp_path / "constraints.txt").write_text("idna<3\n--pre\n")
    with pytest.raises(typer.BadParameter, match=r"constraints.txt, line 2: "):
        Constraints([str(tmp_path / "constraints.txt")]).requirements()


def test_options_win_over_the_variables_that_name_folders(syncell: Run, tmp_path: Path) -> None:
    done = syncell("env", "list", "--json", "--cache-dir", str(tmp_path / "elsewhere"))
    assert (done.returncode, done.stdout) == (0, "[]\n")


@pytest.mark.parametrize("arguments", [["--version"], ["list"], ["load", "--help"]], ids=" ".join)
def test_a_start_imports_nothing_heavy(arguments: list[str], environ: dict[str, str]) -> None:
    program = f"""
import sys
sys.argv = ["syncell", *{arguments!r}]
from syncell.cli import main
try:
    main()
finally:
    heavy = {{"virtualenv", "uv", "sqlalchemy", "asyncio"}} & set(sys.modules)
    assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
