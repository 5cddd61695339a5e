"""Policies and limits are checked where they are written, and mean what a person reads."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncell import Limits, Policy
from syncell.sandbox.policy import parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [("512MiB", 512 * 1024**2), ("1.5GB", 1_500_000_000), ("4096", 4096), (" 2 KiB ", 2048), (7, 7), ("10B", 10)],
)
def test_sizes_are_read_as_they_are_written(text: str | int, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "12 parsecs", "-1", "1e9", "0", 0, True, None, "0.1B", "NaN"])
def test_what_is_no_size_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="not a size"):
        parse_size(text)  # type: ignore[arg-type]


@given(st.text())
def test_no_text_breaks_the_reader_of_sizes(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert parse_size(text) >= 1


def test_limits_take_sizes_as_text_and_tell_the_kernel_its_part() -> None:
    limits = Limits(memory="64MiB", cpu_seconds=3, open_files=50)
    assert limits.memory == 64 * 1024**2
    # Data has room for what threads reserve and never use: the warden counts what is used.
    assert limits.rlimits() == {"CORE": 0, "NOFILE": 50, "DATA": (64 + 512) * 1024**2, "CPU": 3}
    assert limits == Limits(memory=64 * 1024**2, cpu_seconds=3, open_files=50)


@pytest.mark.parametrize("limit", ["cpu_seconds", "wall_seconds", "processes", "open_files", "rows"])
@pytest.mark.parametrize("value", [0, -1])
def test_a_limit_of_nothing_is_refused(limit: str, value: int) -> None:
    with pytest.raises(ValueError, match=limit):
        Limits(**{limit: value})


def test_paths_mean_what_they_mean_to_the_host_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    policy = Policy(read=["in", Path("~/data")], write=["/srv/../tmp"])
    assert policy.read == (str(tmp_path / "in"), str(Path.home() / "data"))
    assert policy.write == ("/tmp",)


def test_one_path_instead_of_a_list_is_refused() -> None:
    with pytest.raises(TypeError, match="takes a list of paths"):
        Policy(read="/data")


def test_an_unknown_kind_of_sandbox_is_refused() -> None:
    with pytest.raises(ValueError, match='"best-effort"'):
        Policy(sandbox="none")  # type: ignore[arg-type]


def test_a_policy_is_a_value() -> None:
    assert Policy(read=["/a"], env={"A": "1"}) == Policy(read=["/a"], env={"A": "1"})
    with pytest.raises(AttributeError):
        Policy().read = ()  # type: ignore[misc]
