"""The page for authors is true: every example on it is written down, opened and used."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import sqlalchemy as sa

from syncell import OptionsError, Runner

PAGE = (Path(__file__).parents[1] / "docs" / "writing-a-syncer.md").read_text()
EXAMPLES = re.findall(r"^```json\n(\{.*?)```\n\n```python\n(.*?)```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def syncers(tmp_path: Path) -> Path:
    """A folder with every example as the page shows it."""
    for manifest, source in EXAMPLES:
        folder = tmp_path / "syncers" / json.loads(manifest)["name"]
        folder.mkdir(parents=True)
        (folder / "MANIFEST.json").write_text(manifest)
        (folder / "syncer.py").write_text(source)
    return tmp_path / "syncers"


def test_these_are_all_the_examples() -> None:
    assert [json.loads(manifest)["name"] for manifest, _ in EXAMPLES] == ["files", "settings", "vintage", "store"]


def test_files_move_in_bounded_memory(runner: Runner, syncers: Path, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    (place / "today").write_text("".join(f"line {number}\n" for number in range(2500)))
    spec = f"{syncers}/files://directory={place}&batch=500"
    report = runner.copy(f"{spec}#today", f"{spec}#copy")
    assert report.rows == 2500
    assert (place / "copy").read_text() == (place / "today").read_text()
    with runner.open(spec) as files:
        assert files.members == {"load_batches", "dump_batches"}
        assert files.load("copy")[2] == {"line": "line 2"}

        def broken() -> object:
            yield {"line": "x"}
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            files.dump("copy", data=broken())  # type: ignore[arg-type]
    assert (place / "copy").read_text() == (place / "today").read_text()
    assert sorted(path.name for path in place.iterdir()) == ["copy", "today"]


def test_a_model_takes_its_alias_and_refuses_the_rest(runner: Runner, syncers: Path) -> None:
    with runner.open(f"{syncers}/settings://accountName=acme&pages=2") as settings:
        assert settings.load("users")[1] == {"page": 1, "from": "https://acme.example/users"}
    with pytest.raises(OptionsError, match="account"):
        runner.open(f"{syncers}/settings://account=acme")


def test_a_syncer_of_years_ago(runner: Runner, syncers: Path) -> None:
    with runner.open(f"{syncers}/vintage://host=db&port=1") as vintage:
        assert vintage.name == "vintage"
        assert vintage.load("x") == [{"address": "db:1", "directive": "x"}]
        vintage.dump("x", data=[])
        vintage.dump("x", data=[{"a": 1}])


@pytest.mark.parametrize("constraint", ["sqlalchemy<2", "sqlalchemy>=2"])
def test_tables_of_the_host_in_a_database(runner: Runner, syncers: Path, tmp_path: Path, constraint: str) -> None:
    place = tmp_path / "place"
    place.mkdir()
    orders = sa.Table("orders", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True), sa.Column("day", sa.Date))
    spec = f"{syncers}/store://database_path={place}/store.db"
    with runner.open(spec, tables=[orders], constraints=[constraint]) as store:
        store.dump("orders", data=[{"id": 1, "day": None}])
    with runner.open(spec, tables=[orders], constraints=[constraint]) as store:
        assert store.load("orders") == [{"id": 1, "day": None}]
