"""What a person says: which syncer, with which options, and which resource inside its data store.

A spec is one line, `csv://directory=in&delimiter=;#orders`, or names a definition file, `csv://orders.toml#orders`.
Query-string rules hold for the options: percent and plus are decoded, the first value wins, blanks are dropped.

What must not be broken: an option's value may be a secret, so no message quotes one, nor the text of a whole spec. This
module imports nothing of the project but its errors.
"""

from __future__ import annotations

import dataclasses
import os
import re
import stat
import tomllib
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from syncell.errors import Problem, SpecError

MANIFEST_NAME = "MANIFEST.json"

MAX_TEXT_BYTES = 1024 * 1024
"""Of a manifest, a definition file or a referenced secret. Real ones hold a few KiB; a mistaken path leads to more."""

_FORMS = f"write name://key=value, name://definition.toml, ./folder or ./folder/{MANIFEST_NAME}"
_NOT_UTF8 = "what the percent signs encode is not UTF-8; write a plain '%' as %25"
_BACKSLASH_ADVICE = "a Windows path needs '/' or doubled backslashes, or single quotes around it"

_WINDOWS_PATH = re.compile(r"[A-Za-z]:/|.*\\", re.DOTALL)
# `"C:\temp"` in TOML is `C:`, a tab and `emp`: it parses, and is never what was meant.
_EATEN_BACKSLASH = re.compile(r"[A-Za-z]:[\b\t\n\f\r][^\n\r\t:]+")
_STARTS_WITH_OPTION = re.compile(r"[^/\\=&]+=")


@dataclasses.dataclass(frozen=True)
class Spec:
    """A syncer's name or path as written, its options, and the name of a resource inside its data store, if any.

    Options of a spec string are text; those of a definition file have TOML's types. `repr` does not show them.
    """

    syncer: str
    options: dict[str, Any] = dataclasses.field(repr=False)
    identifier: str | None = None


def parse_spec(text: str) -> Spec:
    """Read any of the forms in which a person names a syncer; a definition file is read too.

    The first `://` divides, and the first `#` after it begins the identifier. Raises SpecError with all problems.
    """
    problems: list[Problem] = []
    options: dict[str, Any] = {}
    syncer, divider, rest = text.partition("://")
    configuration, _, fragment = rest.partition("#")
    if not divider:
        syncer, _, fragment = text.partition("#")
    problems.extend(_syncer_problems(syncer, divided=bool(divider)))
    if _names_definition(configuration):
        manifest, options = _read_definition(expand_user(configuration), problems)
        if manifest is not None and is_path(syncer):
            problems.append(Problem(f"{configuration}: manifest", "names a second syncer beside the path before '://'"))
        syncer = manifest or syncer
    else:
        options = _parse_options(configuration, problems)
    identifier = _decode(fragment)
    if identifier is None:
        problems.append(Problem("identifier", _NOT_UTF8))
    if problems:
        raise SpecError(f"spec {_shown(syncer)}", problems)
    return Spec(syncer, options, identifier or None)


def is_path(reference: str) -> bool:
    """Whether a reference to a syncer is the path of a folder or a manifest, not a name."""
    return "/" in reference or reference.startswith((".", "~")) or reference == MANIFEST_NAME


def read_text(path: Path, *, admit: Callable[[str], None] | None = None) -> str:
    """The text of a small UTF-8 file that a person wrote, without its byte order mark; line ends are kept.

    `admit` is told the real path of the file once it is open, and may raise ValueError instead of having it read.
    Raises ValueError with the reason, which neither names the file nor quotes it. Never waits: a pipe is refused.
    """
    try:
        # O_NONBLOCK: opening a pipe that nobody writes to would wait for ever.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ValueError("is not a regular file")
            if admit is not None:
                admit(os.path.realpath(f"/proc/self/fd/{file.fileno()}"))
            content = file.read(MAX_TEXT_BYTES + 1)
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    if len(content) > MAX_TEXT_BYTES:
        raise ValueError(f"is longer than {MAX_TEXT_BYTES} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 text (at byte {error.start})") from None


def expand_user(path: str) -> Path:
    """The path with its leading `~` replaced; without a home to put there it stays, and will not be found."""
    try:
        return Path(path).expanduser()
    except (RuntimeError, ValueError):
        return Path(path)


def _syncer_problems(syncer: str, *, divided: bool) -> list[Problem]:
    if not syncer:
        return [Problem("syncer", f"no name and no path; {_FORMS}")]
    if _WINDOWS_PATH.match(syncer):
        return [Problem("syncer", "looks like a Windows path; write it with '/', as ./folder or /folder")]
    if not divided and re.search("[:=&?]", syncer.partition("/")[0]):
        return [Problem("syncer", f"no '://' between the syncer and its options; {_FORMS}")]
    return []


def _shown(syncer: str) -> str:
    """A syncer for an error's subject, cut where a malformed spec's options, and so a secret, could begin."""
    return repr(re.split("[:=&?]", syncer, maxsplit=1)[0])


def _decode(text: str) -> str | None:
    """Percent-decoded text, or None when it is not UTF-8."""
    try:
        return urllib.parse.unquote(text, errors="strict")
    except UnicodeDecodeError:
        return None


def _parse_options(text: str, problems: list[Problem]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for position, part in enumerate(text.split("&"), 1):
        if not part:
            continue
        # The part itself stays out of the messages: a password with an unquoted '&' ends up in one.
        where = f"part {position} between '&'"
        name, equals, raw_value = part.partition("=")
        key, value = _decode(name.replace("+", " ")), _decode(raw_value.replace("+", " "))
        if not equals:
            problems.append(Problem(where, "expected key=value, found no '='; an '&' in a value is written %26"))
        elif key is None:
            problems.append(Problem(where, _NOT_UTF8))
        elif not key:
            problems.append(Problem(where, "expected key=value, found no key before '='"))
        elif value is None:
            problems.append(Problem(f"option {key}", _NOT_UTF8))
        elif value:
            options.setdefault(key, value)
    return options


def _names_definition(configuration: str) -> bool:
    """`orders.toml` and `./a=b/orders.toml` are files, `path=orders.toml` is an option."""
    return configuration.lower().endswith(".toml") and not _STARTS_WITH_OPTION.match(configuration)


def _read_definition(path: Path, problems: list[Problem]) -> tuple[str | None, dict[str, Any]]:
    """The absolute path of the manifest that the file names, if any, and the options."""
    try:
        text = read_text(path)
    except ValueError as error:
        advice = "; write the path with '/'" if "\\" in str(path) else ""
        problems.append(Problem(str(path), f"{error}{advice}"))
        return None, {}
    try:
        content = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        reason = error if isinstance(error, ValueError) else "nested too deeply"
        advice = f"; {_BACKSLASH_ADVICE}" if "\\" in text else ""
        problems.append(Problem(str(path), f"is not TOML: {reason}{advice}"))
        return None, {}
    options, manifest = content.get("configuration", {}), content.get("manifest")
    if "configuration" not in content:
        problems.append(Problem(str(path), "no table of options; add the line [configuration] above them"))
    elif not isinstance(options, dict):
        problems.append(Problem(f"{path}: configuration", "expected a table: the line [configuration], then options"))
        options = {}
    for key, value in [("manifest", manifest), *options.items()]:
        if isinstance(value, str) and _EATEN_BACKSLASH.match(value):
            problems.append(Problem(f"{path}: {key}", f"a control character follows the drive; {_BACKSLASH_ADVICE}"))
    if manifest is None:
        return None, options
    if not isinstance(manifest, str) or not manifest:
        problems.append(Problem(f"{path}: manifest", f"expected the path of a {MANIFEST_NAME}"))
        return None, options
    return str((path.parent / expand_user(manifest)).absolute()), options
