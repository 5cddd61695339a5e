"""The package places of a machine, as pip and uv know them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from syncell.environments.settings import DEFAULT_INDEX, Settings, read_settings
from syncell.errors import EnvironmentBuildError

Read = Callable[..., Settings]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Read settings with a home, system folders and variables of the test's own."""

    def read(**variables: str) -> Settings:
        return read_settings(
            {
                "HOME": str(tmp_path),
                "XDG_CONFIG_DIRS": str(tmp_path / "system"),
                "PATH": "/usr/bin",
                "AWS_SECRET_ACCESS_KEY": "hunter2",
                **variables,
            }
        )

    return read


def pip_conf(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_settings_of_pip_are_translated(read: Read, tmp_path: Path) -> None:
    (tmp_path / "links").mkdir()
    (tmp_path / "bounds.txt").write_text("a<2")
    pip_conf(
        tmp_path / ".config/pip/pip.conf",
        f"""
[global]
index-url = https://main.invalid/simple
extra-index-url = https://one.invalid/simple
    https://two.invalid/simple
find-links = {tmp_path / "links"}
trusted-host = one.invalid
cert = /etc/our.pem
proxy = http://proxy.invalid:8080
constraint = {tmp_path / "bounds.txt"}
""",
    )
    settings = read()
    environ = settings.environ
    assert environ["UV_DEFAULT_INDEX"] == "https://main.invalid/simple"
    assert environ["UV_EXTRA_INDEX_URL"] == "https://one.invalid/simple https://two.invalid/simple"
    assert environ["UV_INDEX_STRATEGY"] == "unsafe-best-match"
    assert environ["UV_FIND_LINKS"] == str(tmp_path / "links")
    assert environ["UV_INSECURE_HOST"] == "one.invalid"
    assert environ["SSL_CERT_FILE"] == "/etc/our.pem"
    assert environ["ALL_PROXY"] == "http://proxy.invalid:8080"
    assert settings.constraints == (str(tmp_path / "bounds.txt"),)
    assert not settings.no_index


def test_variable_wins_over_file_user_over_system_and_install_over_global(read: Read, tmp_path: Path) -> None:
    pip_conf(tmp_path / "system/pip/pip.conf", "[global]\nindex-url = https://system.invalid\nno-index = true\n")
    assert read().environ["UV_DEFAULT_INDEX"] == "https://system.invalid"
    assert read().no_index
    pip_conf(tmp_path / ".pip/pip.conf", "[global]\nindex-url = https://user.invalid\n")
    assert read().environ["UV_DEFAULT_INDEX"] == "https://user.invalid"
    pip_conf(tmp_path / ".config/pip/pip.conf", "[install]\nindex-url = https://install.invalid\n")
    assert read().environ["UV_DEFAULT_INDEX"] == "https://install.invalid"
    assert read(PIP_INDEX_URL="https://variable.invalid").environ["UV_DEFAULT_INDEX"] == "https://variable.invalid"
    assert "UV_DEFAULT_INDEX" not in read(PIP_CONFIG_FILE=os.devnull).environ


def test_own_default_index_of_uv_wins_over_pips(read: Read, tmp_path: Path) -> None:
    pip = {"PIP_INDEX_URL": "https://pip.invalid"}
    assert read(UV_DEFAULT_INDEX="https://uv.invalid", **pip).environ["UV_DEFAULT_INDEX"] == "https://uv.invalid"
    assert "UV_DEFAULT_INDEX" not in read(UV_INDEX_URL="https://uv.invalid", **pip).environ
    pip_conf(tmp_path / ".config/uv/uv.toml", 'index-url = "https://uv.invalid"')
    assert "UV_DEFAULT_INDEX" not in read(**pip).environ


def test_places_are_named_whichever_way_they_are_said(read: Read, tmp_path: Path) -> None:
    pip_conf(tmp_path / ".config/pip/pip.conf", "[global]\nproxy = proxy.invalid:3128\n")
    pip_conf(
        tmp_path / ".config/uv/uv.toml",
        """
find-links = ["https://links.invalid/wheels", "/no/address"]
[[index]]
url = "https://main.invalid/simple"
default = true
[[index]]
url = "https://more.invalid/simple"
[pip]
extra-index-url = ["https://extra.invalid/simple"]
""",
    )
    settings = read(
        UV_INDEX="ours=https://ours.invalid/simple?of=us",
        UV_OVERRIDE="https://bounds.invalid/overrides.txt",
        HTTPS_PROXY="https://secure.invalid:8443",
        PIP_CONSTRAINT="https://bounds.invalid/constraints.txt",
    )
    assert settings.default_index == ("https://main.invalid/simple",)
    assert set(settings.places) == {
        "https://ours.invalid/simple?of=us",
        "https://more.invalid/simple",
        "https://extra.invalid/simple",
        "https://links.invalid/wheels",
        "https://bounds.invalid/overrides.txt",
        "https://bounds.invalid/constraints.txt",
        "https://secure.invalid:8443",
        "http://proxy.invalid:3128",
    }


def test_default_index_is_the_one_that_uv_takes(read: Read) -> None:
    assert read().default_index == (DEFAULT_INDEX,)
    assert read(UV_INDEX="https://ours.invalid/simple").default_index == (DEFAULT_INDEX,)
    named = {"UV_INDEX_URL": "https://old.invalid", "UV_DEFAULT_INDEX": "https://new.invalid"}
    assert read(**named).default_index == ("https://new.invalid",)
    assert read(UV_INDEX_URL="https://old.invalid").default_index == ("https://old.invalid",)
    assert read(UV_DEFAULT_INDEX="file:///srv/simple").default_index == ()
    alone = read(PIP_NO_INDEX="1", UV_INDEX="https://ours.invalid/simple", UV_FIND_LINKS="https://links.invalid")
    assert (alone.default_index, alone.places) == ((), ("https://links.invalid",))


def test_folders_of_packages_may_be_read_and_those_that_are_anothers_may_not(read: Read, tmp_path: Path) -> None:
    pip_conf(tmp_path / ".config/uv/uv.toml", f'find-links = ["{tmp_path / "links"}"]\nindex-url = "./simple"\n')
    files = read(UV_INDEX=f"ours=file://{tmp_path / 'mirror/simple'}").files
    assert {tmp_path / "links", tmp_path / "mirror"} <= set(files)
    assert all(file.is_absolute() for file in files)


def test_missing_folder_of_wheels_is_passed_over(read: Read, tmp_path: Path) -> None:
    (tmp_path / "links").mkdir()
    links = f"/nowhere/at/all {tmp_path / 'links'} https://links.invalid"
    assert read(PIP_FIND_LINKS=links).environ["UV_FIND_LINKS"] == f"{tmp_path / 'links'},https://links.invalid"
    assert "UV_FIND_LINKS" not in read(UV_FIND_LINKS="/nowhere/at/all").environ


def test_only_what_an_installer_needs_is_passed_on(read: Read) -> None:
    environ = read(UV_COMPILE_BYTECODE="1", UV_NO_VERIFY_HASHES="1", UV_SYSTEM_PYTHON="1", PYTHONPATH="/x").environ
    assert "AWS_SECRET_ACCESS_KEY" not in environ
    assert "PYTHONPATH" not in environ
    assert environ.keys() & {"UV_COMPILE_BYTECODE", "UV_NO_VERIFY_HASHES", "UV_SYSTEM_PYTHON"} == set()


def test_key_changes_with_places_and_files_but_holds_no_credentials(read: Read, tmp_path: Path) -> None:
    bounds = tmp_path / "bounds.txt"
    bounds.write_text("a<2")
    variables = {"PIP_CONSTRAINT": str(bounds), "UV_INDEX": "ours=https://user:hunter2@ours.invalid/simple"}
    before = read(**variables).key
    assert "hunter2" not in repr(before)
    assert read(PIP_CONSTRAINT=str(bounds), UV_INDEX="ours=https://other.invalid/simple").key != before
    assert read(**variables, PIP_NO_INDEX="1").key != before
    bounds.write_text("a<3")
    assert read(**variables).key != before


@pytest.mark.parametrize(
    ("path", "text", "message"),
    [
        (".config/pip/pip.conf", "index-url = https://no.section.invalid", "pip's settings cannot be read"),
        (".config/uv/uv.toml", "index-url =", "uv's settings in .*uv.toml cannot be read"),
    ],
)
def test_settings_that_cannot_be_understood_are_not_passed_over(
    path: str, text: str, message: str, read: Read, tmp_path: Path
) -> None:
    pip_conf(tmp_path / path, text)
    with pytest.raises(EnvironmentBuildError, match=message):
        read()


def test_cache_of_uv_is_the_users_own(read: Read, tmp_path: Path) -> None:
    assert read().cache == tmp_path / ".cache/uv"
    assert read(XDG_CACHE_HOME="/caches").cache == Path("/caches/uv")
    pip_conf(tmp_path / ".config/uv/uv.toml", 'cache-dir = "/configured"')
    assert read().cache == Path("/configured")
    assert read(UV_CACHE_DIR="/named").cache == Path("/named")
