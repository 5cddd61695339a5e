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

# Besides UV_*: how to reach the network and which certificates to trust, and where users keep their settings.
_PASSED = {
    "PATH", "HOME", "LANG", "NETRC", "XDG_CONFIG_HOME", "XDG_CONFIG_DIRS", "XDG_DATA_HOME",
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "SSL_CLIENT_CERT",
}  # fmt: skip

# What the builder decides itself: setting one of these would install elsewhere, run code of a wheel, or check less.
_DECIDED_HERE = {
    "UV_BREAK_SYSTEM_PACKAGES", "UV_CACHE_DIR", "UV_COMPILE_BYTECODE", "UV_CONSTRAINT", "UV_ENV_FILE", "UV_LINK_MODE",
    "UV_NO_BINARY", "UV_NO_BINARY_PACKAGE", "UV_NO_BUILD", "UV_NO_BUILD_ISOLATION", "UV_NO_BUILD_PACKAGE",
    "UV_NO_VERIFY_HASHES", "UV_PROJECT", "UV_PYTHON", "UV_SYSTEM_PYTHON", "UV_WORKING_DIR",
}  # fmt: skip

_DECIDE_CONTENT = (
    "UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_NO_INDEX",
    "UV_INDEX_STRATEGY", "UV_EXCLUDE_NEWER", "UV_FORK_STRATEGY", "UV_PRERELEASE", "UV_REQUIRE_HASHES", "UV_RESOLUTION",
    "UV_TORCH_BACKEND",
)  # fmt: skip
_FILES_THAT_DECIDE_CONTENT = ("UV_BUILD_CONSTRAINT", "UV_EXCLUDE", "UV_OVERRIDE")


@dataclasses.dataclass(frozen=True)
class Settings:
    """The settings in force. `environ` is for uv; `constraints` are files or addresses; `cache` is uv's cache folder.

    `key` holds what decides the content of an environment; `files` what of the settings is read from this machine.
    """

    environ: Mapping[str, str]
    constraints: tuple[str, ...]
    cache: Path
    key: Mapping[str, Any]
    files: tuple[Path, ...]


def read_settings(environ: Mapping[str, str]) -> Settings:
    """The settings of this machine and user. Raises `EnvironmentBuildError` for a file that cannot be understood."""
    pip = _pip_options(environ)
    uv_files = _uv_files(environ)
    configured = [_parsed_toml(path) for path in uv_files]
    uv = {name: value for name, value in environ.items() if name.startswith("UV_") and name not in _DECIDED_HERE}
    for name in _FILES_THAT_DECIDE_CONTENT:
        if name in uv:
            uv[name] = " ".join(map(_absolute, uv[name].split()))

    if pip_default := pip.get("index-url"):
        own_default = "UV_DEFAULT_INDEX" in uv or "UV_INDEX_URL" in uv or any(map(_names_default_index, configured))
        if not own_default:
            uv["UV_DEFAULT_INDEX"] = pip_default
    pip_extra = _present(pip.get("extra-index-url", "").split())
    _extend(uv, "UV_EXTRA_INDEX_URL", " ", pip_extra)
    uv_links = uv.pop("UV_FIND_LINKS", "")
    _extend(
        uv, "UV_FIND_LINKS", ",", _present([*filter(None, uv_links.split(",")), *pip.get("find-links", "").split()])
    )
    _extend(uv, "UV_INSECURE_HOST", " ", pip.get("trusted-host", "").split())
    if pip_extra:
        # pip looks at all places and takes the best version, uv stops at the first place that knows the name.
        uv.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    if pip.get("no-index", "").lower() in ("1", "true", "yes", "on"):
        uv.setdefault("UV_NO_INDEX", "1")
    if timeout := pip.get("timeout") or pip.get("default-timeout"):
        uv.setdefault("UV_HTTP_TIMEOUT", timeout)

    passed = {name: value for name, value in environ.items() if name in _PASSED}
    if certificates := pip.get("cert") or environ.get("REQUESTS_CA_BUNDLE") or environ.get("CURL_CA_BUNDLE"):
        passed.setdefault("SSL_CERT_FILE", certificates)
    if client := pip.get("client-cert"):
        passed.setdefault("SSL_CLIENT_CERT", client)
    if proxy := pip.get("proxy"):
        passed.setdefault("ALL_PROXY", proxy)

    constraints = tuple(map(_absolute, [*pip.get("constraint", "").split(), *environ.get("UV_CONSTRAINT", "").split()]))
    deciding_files = [*constraints, *(path for name in _FILES_THAT_DECIDE_CONTENT for path in uv.get(name, "").split())]
    # uv looks for a project's settings from its working folder upwards; it is run where there is none.
    return Settings(
        environ={**passed, **uv, "UV_NO_PROGRESS": "1", "NO_COLOR": "1", "UV_PYTHON_DOWNLOADS": "never"},
        constraints=constraints,
        cache=_uv_cache(environ, configured),
        key={
            "variables": {name: without_credentials(uv[name]) for name in _DECIDE_CONTENT if name in uv},
            "files": {name: _digest(name) for name in [*map(str, uv_files), *deciding_files]},
        },
        files=tuple(
            _local(place)
            for place in [
                *map(str, uv_files),
                *deciding_files,
                *_split_places(uv),
                *(passed[name] for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSL_CLIENT_CERT") if name in passed),
            ]
            if not _remote(place)
        ),
    )


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
    """The places that are remote or exist: pip passes over a missing folder, and uv refuses to run."""
    return [
        place if _remote(place) else _absolute(place) for place in places if _remote(place) or _local(place).exists()
    ]


def _split_places(variables: Mapping[str, str]) -> list[str]:
    indexes = [
        name for name in ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL") if name in variables
    ]
    places = [place.rpartition("=")[2] for name in indexes for place in variables[name].split()]
    return [*places, *filter(None, variables.get("UV_FIND_LINKS", "").split(","))]


def _remote(place: str) -> bool:
    return "://" in place and not place.startswith("file://")


def _local(place: str) -> Path:
    return Path(place.removeprefix("file://"))


def _absolute(path: str) -> str:
    return path if "://" in path else os.path.abspath(os.path.expanduser(path))  # noqa: PTH100, PTH111 - may not exist


def _digest(file: str) -> str | None:
    if _remote(file):
        return None
    try:
        return hashlib.sha256(_local(file).read_bytes()).hexdigest()
    except OSError:
        return None
