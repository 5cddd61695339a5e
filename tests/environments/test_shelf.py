"""Folders that are published whole and never change."""

from __future__ import annotations

from pathlib import Path

import pytest

from syncell.environments.shelf import ATTEMPTS, Shelf
from syncell.errors import EnvironmentBuildError


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "shelf")


def fill(aside: Path, final: Path) -> None:
    (aside / "content").write_text(final.name)


def not_waiting() -> None:
    pytest.fail("there was nobody to wait for")


def test_folder_is_published_whole_or_not_at_all(shelf: Shelf) -> None:
    def fail(aside: Path, final: Path) -> None:
        fill(aside, final)
        assert not final.exists()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shelf.hold("one", "key", fail, not_waiting)
    assert shelf.digests() == []
    shelf.hold("one", "key", fill, not_waiting).release()
    assert shelf.digests() == ["one"]
    assert (shelf.path("one") / "content").read_text() == "one"


def test_folder_published_while_the_lock_changed_hands_is_not_built_again(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.hold("one", "key", fill, not_waiting).release()
    look, looks = shelf.ready, []

    def not_at_first(digest: str, key: str) -> bool:
        looks.append(digest)
        return len(looks) > 1 and look(digest, key)

    monkeypatch.setattr(shelf, "ready", not_at_first)
    shelf.hold("one", "key", lambda *_: pytest.fail("it was built again"), not_waiting).release()


def test_folder_that_is_removed_again_and_again_is_an_error(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "ready", lambda digest, key: False)
    with pytest.raises(EnvironmentBuildError, match=f"removed {ATTEMPTS} times"):
        shelf.hold("one", "key", fill, not_waiting)


def test_lock_that_is_never_free_is_an_error(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("syncell.environments.shelf.LOCK_SECONDS", 0.0)

    def meanwhile(aside: Path, final: Path) -> None:
        with pytest.raises(EnvironmentBuildError, match="another process has held"):
            shelf.hold("one", "key", fill, lambda: None)
        fill(aside, final)

    shelf.hold("one", "key", meanwhile, not_waiting).release()


def test_folder_in_use_is_not_removed(shelf: Shelf) -> None:
    first = shelf.hold("one", "key", fill, not_waiting)
    second = shelf.hold("one", "key", fill, not_waiting)
    first.release()
    assert shelf.in_use("one")
    assert not shelf.remove("one")
    second.release()
    assert not shelf.in_use("one")
    assert shelf.remove("one")
    assert not shelf.path("one").exists()
