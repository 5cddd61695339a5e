"""What a syncer says of itself: MANIFEST.json, read and checked before anything of the syncer runs.

A manifest is written by the third party whom the host does not trust. So nothing in it grants anything: a permission is
a template over options, and `Permissions.expand` tells what the host named itself, by passing an option, from what the
manifest merely asks for. That line must not be blurred. All problems of a manifest are reported at once.
"""

from __future__ import annotations

import collections
import dataclasses
import difflib
import ipaddress
import json
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import packaging.requirements
import packaging.specifiers
import pydantic
from pydantic import AfterValidator, BeforeValidator
from pydantic_core import ErrorDetails

from syncell.errors import ManifestError, Problem
from syncell.spec import MANIFEST_NAME, read_text


class ManifestWarning(UserWarning):
    """A manifest holds keys that mean nothing here: they are ignored, and may be typos."""


@dataclasses.dataclass(frozen=True)
class Requirement:
    """A requirement as its author wrote it, and arguments for the installer that go with it alone.

    The text is PEP 508, or a direct reference (URL, version control, path, editable), which environments refuse by
    policy. It is one line, and begins with no argument of an installer other than `-e`.
    """

    text: str
    arguments: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Access:
    """Paths to read, paths to write and `host:port` texts to connect to: as filled in, neither resolved nor checked."""

    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    connect: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Expansion:
    """Permissions over given options: what the host named by passing them, and what the manifest only asks for."""

    named: Access
    requested: Access


_SHOWN_CHARACTERS = 60
"""Of a wrong value in a message: enough to find it in the file."""

_PLACEHOLDER = re.compile(r"\{([A-Za-z_][\w-]*)(?::([^{}]*))?\}")
_PATH_BY_OPTION = re.compile(r"\{[^{}]*\}(/|/\.\.)?")
_HOST_BY_OPTION = re.compile(r"\{[^{}]*\}(:(\d+|\{[^{}]*\}))?")


def _one_line(text: str) -> str:
    if not text or not text.isprintable() or text != text.strip():
        raise ValueError(f"expected one line of text without spaces around it, found {_shown(text)}")
    return text


def _name(text: str) -> str:
    if re.search(r"[/\\:#]", text) or text.startswith((".", "~")):
        raise ValueError(f"expected a name without / \\ : # that does not begin with . or ~, found {_shown(text)}")
    return text


def _class_name(text: str) -> str:
    if not text.isidentifier():
        raise ValueError(f"expected the name of a class in syncer.py, found {_shown(text)}")
    return text


def _python(text: str) -> str:
    try:
        packaging.specifiers.SpecifierSet(text)
    except packaging.specifiers.InvalidSpecifier:
        raise ValueError(f"expected versions such as '>=3.9,<3.13', found {_shown(text)}") from None
    return text


def _template(text: str) -> str:
    if re.search("[{}]", _PLACEHOLDER.sub("", text)):
        raise ValueError(f"expected only {{option}} and {{option:default}} in braces, found {_shown(text)}")
    return text


def _requirement(entry: Any) -> Any:
    """From `"requirement"` or `["requirement", "--argument", ...]`."""
    if isinstance(entry, Requirement):
        return entry
    parts = [entry] if isinstance(entry, str) else entry
    if not isinstance(parts, list) or not parts or not all(isinstance(part, str) for part in parts):
        raise ValueError(f'expected "requirement" or ["requirement", "--argument", ...], found {_shown(entry)}')
    text, *arguments = (_one_line(part.strip()) for part in parts)
    try:
        packaging.requirements.Requirement(text)
    except packaging.requirements.InvalidRequirement:
        if not _is_direct_reference(text):
            advice = '; arguments stand apart: ["requirement", "--argument", ...]' if "-" in text else ""
            raise ValueError(f"expected a requirement such as 'idna>=3', found {_shown(text)}{advice}") from None
    return Requirement(text, tuple(arguments))


def _is_direct_reference(text: str) -> bool:
    if text.startswith("-"):
        return re.match("(-e|--editable)[ =]", text) is not None
    return text.startswith(".") or "/" in text or "\\" in text


_Line = Annotated[str, AfterValidator(_one_line)]
_Template = Annotated[_Line, AfterValidator(_template)]


class Permissions(pydantic.BaseModel):
    """What a syncer needs: templates over its options, as `{directory}` or `{host}:{port:5432}`, and subprocesses."""

    model_config = pydantic.ConfigDict(frozen=True)

    read: tuple[_Template, ...] = ()
    write: tuple[_Template, ...] = ()
    connect: tuple[_Template, ...] = ()
    subprocess: pydantic.StrictBool = False

    def expand(self, options: Mapping[str, Any]) -> Expansion:
        """Fill the templates. One whose option is absent, None or blank, and has no default, yields nothing.

        The host named a path by its option when the template is that option alone, said to be a folder
        (`{directory}/`), or the folder that holds it (`{database_path}/..`); and a host when the template is that
        option alone, a port beside it or not. Anything longer could reach what nobody named:
        `{directory}/../../etc`, `{account}.attacker.example:443`.
        """
        kinds = ((self.read, _PATH_BY_OPTION), (self.write, _PATH_BY_OPTION), (self.connect, _HOST_BY_OPTION))
        filled = [[_fill(template, options, by_option) for template in templates] for templates, by_option in kinds]
        return Expansion(
            named=Access(*(tuple(text for text, is_named in texts if text and is_named) for texts in filled)),
            requested=Access(*(tuple(text for text, is_named in texts if text and not is_named) for texts in filled)),
        )


class Manifest(pydantic.BaseModel):
    """A checked MANIFEST.json. `python` is a version specifier for the environment's interpreter."""

    model_config = pydantic.ConfigDict(frozen=True)

    name: Annotated[_Line, AfterValidator(_name)]
    syncer_class: Annotated[str, AfterValidator(_class_name)]
    requirements: tuple[Annotated[Requirement, BeforeValidator(_requirement)], ...] = ()
    python: Annotated[_Line, AfterValidator(_python)] | None = None
    permissions: Permissions = Permissions()


class _ManifestFile(Manifest):
    """The file as it may be written: older syncers keep the arguments of the requirements in a list beside them."""

    pip_args: tuple[tuple[_Line, ...], ...] = ()

    @pydantic.field_validator("pip_args")
    @classmethod
    def _one_a_requirement(cls, pip_args: tuple[Any, ...], info: pydantic.ValidationInfo) -> tuple[Any, ...]:
        requirements = info.data.get("requirements", pip_args)
        if any(pip_args[len(requirements) :]):
            raise ValueError(f"expected one list a requirement, {len(requirements)} in all; found {len(pip_args)}")
        return pip_args


def read_manifest(path: Path) -> Manifest:
    """The manifest in this file. Raises ManifestError with all problems; warns of unknown keys (ManifestWarning)."""
    subject = f"syncer {path.parent}"
    problems: list[Problem] = []
    content = _parse(path, problems)
    manifest = _check(content, path, problems) if content is not None else None
    if content is None or manifest is None or problems:
        raise ManifestError(subject, problems)
    ignored = [*_unknown(content, _ManifestFile), *_unknown(content.get("permissions", {}), Permissions)]
    if ignored:
        warnings.warn(f"{subject}: {MANIFEST_NAME}: ignored {', '.join(ignored)}", ManifestWarning, stacklevel=2)
    return manifest


def _parse(path: Path, problems: list[Problem]) -> dict[str, Any] | None:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        counted = collections.Counter(key for key, _ in pairs)
        problems.extend(
            Problem(f"{MANIFEST_NAME}: {key}", f"expected once, found {count} times")
            for key, count in counted.items()
            if count > 1
        )
        return dict(pairs)

    try:
        content = json.loads(read_text(path), object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        where = f"{MANIFEST_NAME}: line {error.lineno}, column {error.colno}"
        problems.append(Problem(where, f"is not JSON: {error.msg}"))
        return None
    except RecursionError:
        problems.append(Problem(MANIFEST_NAME, "is nested too deeply"))
        return None
    except ValueError as error:
        problems.append(Problem(MANIFEST_NAME, str(error)))
        return None
    if not isinstance(content, dict):
        problems.append(Problem(MANIFEST_NAME, f"expected an object, found {_shown(content)}"))
        return None
    return content


def _check(content: dict[str, Any], path: Path, problems: list[Problem]) -> Manifest | None:
    # abspath, since resolve() would name a linked folder after another one, and absolute() keeps `..`.
    folder = Path(os.path.abspath(path)).parent  # noqa: PTH100
    try:
        file = _ManifestFile.model_validate({"name": folder.stem, **content})
    except pydantic.ValidationError as error:
        problems.extend(_problem(details) for details in error.errors(include_url=False))
        return None
    padded = [*file.pip_args, *(() for _ in file.requirements)]
    return Manifest(
        name=file.name,
        syncer_class=file.syncer_class,
        requirements=tuple(
            Requirement(requirement.text, requirement.arguments + arguments)
            for requirement, arguments in zip(file.requirements, padded, strict=False)
        ),
        python=file.python,
        permissions=file.permissions,
    )


_EXPECTED = {
    "string_type": "expected text",
    "bool_type": "expected true or false",
    "tuple_type": "expected a list",
    "model_type": "expected an object",
}


def _problem(details: ErrorDetails) -> Problem:
    """A problem from pydantic's, in a manifest's words."""
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in details["loc"]).removeprefix(".")
    kind = details["type"]
    if kind == "missing":
        message = "required, and missing"
    elif kind == "value_error":
        message = str(details["ctx"]["error"])
    elif kind in _EXPECTED:
        message = f"{_EXPECTED[kind]}, found {_shown(details['input'])}"
    else:
        message = details["msg"]
    return Problem(f"{MANIFEST_NAME}: {where}", message)


def _unknown(content: Mapping[str, Any], model: type[pydantic.BaseModel]) -> Iterator[str]:
    for key in content:
        if key in model.model_fields:
            continue
        near = difflib.get_close_matches(key, model.model_fields, 1)
        yield f"{_shown(key)} (did you mean {near[0]}?)" if near else _shown(key)


def _shown(value: Any) -> str:
    """A value of the file, short enough for a message."""
    if isinstance(value, (list, dict)):
        return "a list" if isinstance(value, list) else "an object"
    text = json.dumps(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."


def _fill(template: str, options: Mapping[str, Any], by_option: re.Pattern[str]) -> tuple[str, bool]:
    """The text, empty when an option is missing, and whether the host named it by passing an option."""
    placeholders = _PLACEHOLDER.findall(template)
    passed = [_as_text(options.get(option)) for option, _ in placeholders]
    values = [value or default for value, (_, default) in zip(passed, placeholders, strict=True)]
    if not all(values):
        return "", False
    remaining = iter(map(_bracketed, values) if by_option is _HOST_BY_OPTION else values)
    is_named = by_option.fullmatch(template) is not None and passed[0] != ""
    return _PLACEHOLDER.sub(lambda _: next(remaining), template), is_named


def _bracketed(host: str) -> str:
    """An IPv6 address in brackets, so that a port can stand beside it; anything else as it is."""
    try:
        return f"[{ipaddress.IPv6Address(host)}]"
    except ValueError:
        return host


def _as_text(value: Any) -> str:
    """An option as part of a path or an address, empty when it is neither text, nor a path, nor a number."""
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) else ""
