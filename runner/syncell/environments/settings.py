"""Where packages come from: the settings of uv and of pip on this machine, as one environment for uv.

A machine is often set up for pip alone (a mirror, a folder of wheels, a certificate), so pip's files and variables are
translated; uv's own win where both speak of the same thing. uv's configuration files are left to uv, and only digested.
Everything that decides what is installed is part of an environment's key. Credentials never are: the key is on disk.
"""

from __future__ import annotations

import configparser
import dataclasses
import hashlib
import os
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from syncell.errors import EnvironmentBuildError

_NAME_OF_INDEX = re.compile(r"^[\w.-]+=")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
# Besides UV_*: how to reach the network and which certificates to trust, and where users keep their settings.
_PASSED = {
    "PATH", "HOME", "LANG", "NETRC", "XDG_CONFIG_HOME", "XDG_CONFIG_DIRS", "XDG_DATA_HOME",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "SSL_CLIENT_CERT", "NO_PROXY", "no_proxy", *_PROXIES,
}  # fmt: skip

# What the builder decides itself: setting one of these would install elsewhere, run code of a wheel, or check less.
_DECIDED_HERE = {
    "UV_BREAK_SYSTEM_PACKAGES", "UV_CACHE_DIR", "UV_COMPILE_BYTECODE", "UV_CONSTRAINT", "UV_ENV_FILE", "UV_LINK_MODE",
    "UV_NO_BINARY", "UV_NO_BINARY_PACKAGE", "UV_NO_BUILD", "UV_NO_BUILD_ISOLATION", "UV_NO_BUILD_PACKAGE",
    "UV_NO_VERIFY_HASHES", "UV_PROJECT", "UV_PYTHON", "UV_SYSTEM_PYTHON", "UV_WORKING_DIR",
}  # fmt: skip

_DECIDE_CONTENT = (
    "UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_INDEX_STRATEGY",
    "UV_EXCLUDE_NEWER", "UV_FORK_STRATEGY", "UV_PRERELEASE", "UV_REQUIRE_HASHES", "UV_RESOLUTION", "UV_TORCH_BACKEND",
)  # fmt: skip
_FILES_THAT_DECIDE_CONTENT = ("UV_BUILD_CONSTRAINT", "UV_EXCLUDE", "UV_OVERRIDE")

DEFAULT_INDEX, DEFAULT_INDEX_FILES = "https://pypi.org/simple", "https://files.pythonhosted.org"
"""What uv takes where no default index is named, and where that one keeps its files."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """The settings in force. `environ` is for uv; `constraints` are files or addresses; `cache` is uv's cache folder.

    `no_index` says that packages come from folders of wheels alone, which uv takes as an argument only. `key` holds
    what decides the content of an environment; `files` what of the settings is read from this machine, `places` the
    addresses that are read from elsewhere or on the way there, the `default_index` apart, which a plan may replace.
    """

    environ: Mapping[str, str]
    constraints: tuple[str, ...]
    no_index: bool
    cache: Path
    key: Mapping[str, Any]
    files: tuple[Path, ...]
    places: tuple[str, ...]
    default_index: tuple[str, ...]


def read_settings(environ: Mapping[str, str]) -> Settings:
    """The settings of this machine and user. Raises `EnvironmentBuildError` for a file that cannot be understood."""
    pip = _pip_options(environ)
    uv_files = _uv_files(environ)
    configured = [_parsed_toml(path) for path in uv_files]
    uv = _package_places(environ, pip, configured)
    network = _network(environ, pip)
    no_index = pip.get("no-index", "").lower() in ("1", "true", "yes", "on")
    default, indexes, links = _indexes(uv, configured, no_index=no_index)
    constraints = tuple(map(_absolute, [*pip.get("constraint", "").split(), *environ.get("UV_CONSTRAINT", "").split()]))
    files = [
        *map(str, uv_files),
        *constraints,
        *(path for name in _FILES_THAT_DECIDE_CONTENT for path in uv.get(name, "").split()),
    ]
    return Settings(
        environ={**network, **uv, "UV_NO_PROGRESS": "1", "NO_COLOR": "1", "UV_PYTHON_DOWNLOADS": "never"},
        constraints=constraints,
        no_index=no_index,
        cache=_uv_cache(environ, configured),
        key={
            "variables": {name: without_credentials(uv[name]) for name in _DECIDE_CONTENT if name in uv},
            "files": {file: _digest(file) for file in files},
            "no_index": no_index,
        },
        files=(
            *(_local(file) for file in files if not remote(file)),
            *folders([*default, *indexes], links),
            *(Path(network[name]) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSL_CLIENT_CERT") if name in network),
        ),
        places=(
            *filter(remote, [*indexes, *links, *files]),
            *(proxy if "://" in proxy else f"http://{proxy}" for name in _PROXIES if (proxy := network.get(name))),
        ),
        default_index=tuple(filter(remote, default)),
    )


def _package_places(
    environ: Mapping[str, str], pip: Mapping[str, str], configured: Iterable[Mapping[str, Any]]
) -> dict[str, str]:
    """uv's variables, with pip's package places added to them."""
    uv = {name: value for name, value in environ.items() if name.startswith("UV_") and name not in _DECIDED_HERE}
    for name in _FILES_THAT_DECIDE_CONTENT:
        if name in uv:
            uv[name] = " ".join(map(_absolute, uv[name].split()))
    named = "UV_DEFAULT_INDEX" in uv or "UV_INDEX_URL" in uv or any(map(_names_default_index, configured))
    if "index-url" in pip and not named:
        uv["UV_DEFAULT_INDEX"] = pip["index-url"]
    if extra := _present(pip.get("extra-index-url", "").split()):
        _extend(uv, "UV_EXTRA_INDEX_URL", " ", extra)
        # pip looks at all places and takes the best version, uv stops at the first place that knows the name.
        uv.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    links = [*uv.pop("UV_FIND_LINKS", "").split(","), *pip.get("find-links", "").split()]
    _extend(uv, "UV_FIND_LINKS", ",", _present(filter(None, links)))
    _extend(uv, "UV_INSECURE_HOST", " ", pip.get("trusted-host", "").split())
    if timeout := pip.get("timeout") or pip.get("default-timeout"):
        uv.setdefault("UV_HTTP_TIMEOUT", timeout)
    return uv


def _network(environ: Mapping[str, str], pip: Mapping[str, str]) -> dict[str, str]:
    """What passes through besides, with pip's certificates and proxy where there are none."""
    passed = {name: value for name, value in environ.items() if name in _PASSED}
    certificates = pip.get("cert") or environ.get("REQUESTS_CA_BUNDLE") or environ.get("CURL_CA_BUNDLE")
    for name, value in (
        ("SSL_CERT_FILE", certificates),
        ("SSL_CLIENT_CERT", pip.get("client-cert")),
        ("ALL_PROXY", pip.get("proxy")),
    ):
        if value:
            passed.setdefault(name, value)
    return passed


def without_credentials(text: str) -> str:
    """`text` without the user names and passwords of the addresses in it."""
    return re.sub(r"(?<=://)[^/@\s]+@", "", text)


def _pip_options(environ: Mapping[str, str]) -> dict[str, str]:
    """pip's options for `pip install` by their long names: variables over files, later files over earlier ones."""
    home = Path(environ.get("HOME", "/"))
    last = environ.get("PIP_CONFIG_FILE")
    files = [
        *(Path(folder, "pip/pip.conf") for folder in environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":") if folder),
        Path("/etc/pip.conf"),
        home / ".pip/pip.conf",
        Path(environ.get("XDG_CONFIG_HOME") or home / ".config", "pip/pip.conf"),
        Path(sys.prefix, "pip.conf"),
        *([Path(last)] if last else []),
    ]
    if last == os.devnull:
        files = []
    parser = configparser.RawConfigParser()
    try:
        # Files that are missing, or that this user may not read, are passed over, as pip does.
        parser.read([file for file in files if os.access(file, os.R_OK)], encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError) as error:
        raise EnvironmentBuildError(f"pip's settings cannot be read: {error}. Correct that file") from None
    options: dict[str, str] = {}
    for section in ("global", "install"):
        if parser.has_section(section):
            options |= {_option(name): value for name, value in parser.items(section)}
    return options | {_option(name[4:]): value for name, value in environ.items() if name.startswith("PIP_") and value}


def _option(name: str) -> str:
    return name.lower().replace("_", "-").removeprefix("--")


def _uv_files(environ: Mapping[str, str]) -> list[Path]:
    """The configuration files that uv reads when it is run outside of any project."""
    if named := environ.get("UV_CONFIG_FILE"):
        return [Path(_absolute(named))]
    if environ.get("UV_NO_CONFIG"):
        return []
    user = Path(environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME", "/"), ".config"))
    system = [Path(folder) for folder in environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":") if folder]
    files = [folder / "uv/uv.toml" for folder in [user, *system, Path("/etc")]]
    return [file for file in files if os.access(file, os.R_OK)]


def _parsed_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise EnvironmentBuildError(f"uv's settings in {path} cannot be read: {error}. Correct that file") from None


def _names_default_index(configured: Mapping[str, Any]) -> bool:
    return (
        "index-url" in configured
        or "index-url" in configured.get("pip", {})
        or any(index.get("default") for index in configured.get("index", ()))
    )


def _uv_cache(environ: Mapping[str, str], configured: Iterable[Mapping[str, Any]]) -> Path:
    named = [environ.get("UV_CACHE_DIR"), *(each.get("cache-dir") for each in configured)]
    for path in filter(None, named):
        return Path(_absolute(path))
    return Path(environ.get("XDG_CACHE_HOME") or Path(environ.get("HOME", "/"), ".cache"), "uv")


def _extend(variables: dict[str, str], name: str, separator: str, more: list[str]) -> None:
    values = [*filter(None, variables.get(name, "").split(separator)), *more]
    if values:
        variables[name] = separator.join(dict.fromkeys(values))


def _present(places: Iterable[str]) -> list[str]:
    """The places that are remote or exist: a missing folder is passed over, as pip does, where uv refuses to run."""
    return [place if remote(place) else _absolute(place) for place in places if remote(place) or _local(place).exists()]


def _indexes(
    variables: Mapping[str, str], configured: Iterable[Mapping[str, Any]], *, no_index: bool
) -> tuple[list[str], list[str], list[str]]:
    """The default index, the other indexes and the folders of wheels in force: uv's variables win over its files."""

    def named(name: str) -> list[str]:
        return [_NAME_OF_INDEX.sub("", place) for place in variables.get(name, "").split()]

    default: list[str] = []
    indexes = [*named("UV_INDEX"), *named("UV_EXTRA_INDEX_URL")]
    links = [*filter(None, variables.get("UV_FIND_LINKS", "").split(","))]
    for table in (table for each in configured for table in (each, each.get("pip", {}))):
        default += [table["index-url"]] if "index-url" in table else []
        for index in table.get("index", ()):
            (default if index.get("default") else indexes).append(index.get("url", ""))
        indexes += table.get("extra-index-url", ())
        links += table.get("find-links", ())
    if no_index:
        return [], [], links
    return named("UV_DEFAULT_INDEX") or named("UV_INDEX_URL") or default or [DEFAULT_INDEX], indexes, links


def folders(indexes: Iterable[str], links: Iterable[str]) -> list[Path]:
    """What of these places is on this machine: with an index, the files beside it that it links to.

    A path that is not absolute is left out, since the installer works in another folder.
    """
    local = [_local(place) for place in links if not remote(place)]
    local += [_local(place).parent for place in indexes if not remote(place)]
    return [folder for folder in local if folder.is_absolute()]


def remote(place: str) -> bool:
    """Whether a place of packages is an address, and no path of this machine."""
    return "://" in place and not place.startswith("file://")


def _local(place: str) -> Path:
    return Path(place.removeprefix("file://"))


def _absolute(path: str) -> str:
    return path if "://" in path else os.path.abspath(os.path.expanduser(path))  # noqa: PTH100, PTH111 - may not exist


def _digest(file: str) -> str | None:
    if remote(file):
        return None
    try:
        return hashlib.sha256(_local(file).read_bytes()).hexdigest()
    except OSError:
        return None
