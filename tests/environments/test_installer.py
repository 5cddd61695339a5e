"""Where builds from source may connect to, as the rules of the egress gate."""

from __future__ import annotations

import os

import pytest

from syncell.environments.installer import reachable
from syncell.environments.recipe import Plan
from syncell.environments.settings import DEFAULT_INDEX, DEFAULT_INDEX_FILES, read_settings
from syncell.errors import EnvironmentBuildError


def rules(plan: Plan | None = None, **variables: str) -> list[str]:
    nothing = {"PIP_CONFIG_FILE": os.devnull, "UV_NO_CONFIG": "1"}
    return reachable(plan or Plan(requirements=()), read_settings({**nothing, **variables}))


def of(*addresses: str) -> list[str]:
    return [f"{address.split('/')[2]}:443" for address in addresses]


def test_where_no_index_is_named_it_is_uvs_own_and_the_host_of_its_files() -> None:
    assert rules() == of(DEFAULT_INDEX, DEFAULT_INDEX_FILES)
    assert rules(PIP_INDEX_URL=f"{DEFAULT_INDEX}/") == of(DEFAULT_INDEX, DEFAULT_INDEX_FILES)
    assert rules(PIP_INDEX_URL="https://mirror.invalid/simple") == ["mirror.invalid:443"]


def test_each_place_is_one_host_and_one_port() -> None:
    named = rules(
        UV_DEFAULT_INDEX="http://user:hunter2@127.0.0.1:8080/simple",
        UV_EXTRA_INDEX_URL="http://[::1]/simple https://Packages.invalid:8443/simple",
        UV_FIND_LINKS="http://localhost:8000/wheels,https://packages.invalid:8443/wheels",
        http_proxy="proxy.invalid",
        ALL_PROXY="socks5h://proxy.invalid:1080",
    )
    assert set(named) == {
        *("127.0.0.1:8080", "[::1]:80", "packages.invalid:8443", "localhost:8000"),
        *("proxy.invalid:80", "proxy.invalid:1080"),
    }


def test_places_of_a_plan_are_added_and_its_default_index_takes_the_place_of_the_machines() -> None:
    plan = Plan(
        requirements=(),
        default_index=("https://main.invalid/simple",),
        extra_indexes=("https://extra.invalid/simple",),
        find_links=("https://links.invalid", "/srv/wheels"),
        trusted_hosts=("trusted.invalid",),
        reachable=("https://files.invalid", "/srv/wheels", "file:///srv/wheels", "trusted.invalid"),
    )
    named = rules(plan, UV_INDEX="https://ours.invalid/simple")
    assert set(named) == {f"{host}.invalid:443" for host in ("main", "extra", "links", "files", "ours")}


def test_places_that_are_none_are_named_together_without_credentials() -> None:
    with pytest.raises(EnvironmentBuildError) as raised:
        rules(UV_INDEX="https://user:hunter2@*/simple", ALL_PROXY="user:hunter2@one:two")
    assert "https://*/simple: expected an address" in str(raised.value)
    assert "http://one:two: expected an address" in str(raised.value)
    assert "hunter2" not in str(raised.value)
