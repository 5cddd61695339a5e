"""Private folders go whole, whatever a cell made of them."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import descriptors
from syncell.sandbox.private import PrivateFolder, remove_tree, sweep


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    """This process may open a few more than it has open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, descriptors())) + 8, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_folders_nested_deeper_than_any_path_are_removed(tmp_path: Path, few_descriptors: None) -> None:
    here = Path.cwd()
    (tmp_path / "deep").mkdir()
    os.chdir(tmp_path / "deep")
    for _ in range(3000):
        Path("file").touch()
        Path("d").mkdir()
        os.chdir("d")
    os.chdir(here)
    remove_tree(tmp_path / "deep")
    assert list(tmp_path.iterdir()) == []


def test_closed_folders_are_removed_and_links_lead_nowhere(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    folder = tmp_path / "private"
    (folder / "a" / "b" / "c").mkdir(parents=True)
    (folder / "a" / "link").symlink_to(outside)
    (folder / ".0").touch()
    for closed in (folder / "a" / "b" / "c", folder / "a" / "b", folder / "a"):
        closed.chmod(0)
    remove_tree(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["outside"]
    assert (outside / "kept").exists()


def test_what_is_no_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    remove_tree(tmp_path / "link")
    remove_tree(tmp_path / "nowhere")
    assert (tmp_path / "link").is_symlink()


def test_only_folders_whose_host_is_gone_are_swept(tmp_path: Path) -> None:
    held = PrivateFolder(tmp_path)
    (tmp_path / "cell-old.lock").touch()
    (tmp_path / "cell-old" / "home").mkdir(parents=True)
    sweep(tmp_path)
    assert not (tmp_path / "cell-old").exists()
    assert held.path.exists()
    held.remove()
    assert list(tmp_path.iterdir()) == []
