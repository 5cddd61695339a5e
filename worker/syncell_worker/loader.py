"""Import `syncer.py` and build its object from options.

Duck typing is the contract: no base class, three members. The module is imported as a package whose search location is
the syncer's folder, so `from . import sibling` works; the folder also stands last on `sys.path`, so that a sibling
never shadows an installed package.
"""

from __future__ import annotations

import dataclasses
import difflib
import enum
import importlib.util
import inspect
import pathlib
import re
import sys
import typing
from collections.abc import Iterator
from types import ModuleType
from typing import Any, Callable, Union

from syncell_worker import wire

_MEMBERS = ("load", "dump")
_OPTIONAL_MEMBERS = ("load_batches", "dump_batches", "describe", "close")


class ManifestProblems(Exception):
    """What the manifest promises is not in the module."""

    def __init__(self, *problems: wire.Problem) -> None:
        self.problems = list(problems)
        super().__init__()


class OptionProblems(Exception):
    """Options that the class does not take. Messages never quote a value: it may be a secret."""

    def __init__(self, problems: list[wire.Problem]) -> None:
        self.problems = problems
        super().__init__()


def import_syncer(folder: str, name: str) -> ModuleType:
    """Run `syncer.py` of this folder; what it raises is the syncer's."""
    module_name = "syncer_" + re.sub(r"\W", "_", name)
    path = pathlib.Path(folder, "syncer.py")
    sys.path.append(folder)
    spec = importlib.util.spec_from_file_location(module_name, path, submodule_search_locations=[folder])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    spec.loader.exec_module(module)
    return module


def find_class(module: ModuleType, class_name: str) -> type:
    """The syncer's class, with its members checked. Raises `ManifestProblems`."""
    found = getattr(module, class_name, None)
    if not isinstance(found, type):
        classes = [name for name, value in vars(module).items() if isinstance(value, type)]
        near = difflib.get_close_matches(class_name, classes, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ManifestProblems(wire.Problem("syncer_class", f"syncer.py has no class {class_name}{hint}"))
    missing = [member for member in _MEMBERS if not hasattr(found, member)]
    if missing:
        raise ManifestProblems(
            *(wire.Problem("syncer_class", f"class {class_name} has no {member}, and needs it") for member in missing)
        )
    return found


def build(syncer_class: type, options: dict[str, Any]) -> Any:
    """The syncer's object. Raises `OptionProblems`, `ManifestProblems`, or what the syncer's constructor raises."""
    try:
        syncer = syncer_class(**_arguments(syncer_class, options))
    except Exception as error:
        problems = _validation_problems(error, options)
        if problems is None:
            raise
        raise OptionProblems(problems) from None
    if not hasattr(syncer, "name"):
        raise ManifestProblems(wire.Problem("syncer_class", f"class {syncer_class.__name__} has no name, and needs it"))
    return syncer


def members(syncer: Any) -> list[str]:
    """The optional members that this syncer offers."""
    return [member for member in _OPTIONAL_MEMBERS if callable(getattr(syncer, member, None))]


def _arguments(syncer_class: type, options: dict[str, Any]) -> dict[str, Any]:
    """The constructor's arguments: options as they are for a class of pydantic's, which validates them itself."""
    model = getattr(syncer_class, "__pydantic_model__", None)
    if model is not None:
        # A dataclass of pydantic 1 takes fields, not aliases: its model reads both, and drops what it does not know.
        parsed = model(**options)
        return {field.name: getattr(parsed, field.name) for field in dataclasses.fields(syncer_class) if field.init}
    if hasattr(syncer_class, "__pydantic_validator__") or hasattr(syncer_class, "__fields__"):
        return options
    return _convert(syncer_class, options)


def _validation_problems(error: Exception, options: dict[str, Any]) -> list[wire.Problem] | None:
    """The fields that a pydantic of any version refused, or None when this is some other exception."""
    if type(error).__name__ != "ValidationError" or not callable(getattr(error, "errors", None)):
        return None
    problems = []
    for found in error.errors():  # type: ignore[attr-defined]
        where = ".".join(str(part) for part in found.get("loc", ())) or "options"
        given = f" (got {type(found['input']).__name__})" if "input" in found and found["type"] != "missing" else ""
        message = str(found.get("msg", "refused"))
        for text in _texts(options):  # a validator of the syncer's own may quote what it refuses
            message = message.replace(text, "...")
        problems.append(wire.Problem(where, f"{message}{given}"))
    return problems


_SHORTEST_SECRET = 4  # characters; hiding what is shorter would only make messages unreadable


def _texts(value: Any) -> Iterator[str]:
    """Every text in a value, as it is and as `repr` shows it."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif value is not None and not isinstance(value, bool):
        text = str(value)
        if len(text) >= _SHORTEST_SECRET:
            yield from (text, repr(text)[1:-1])


def _convert(syncer_class: type, options: dict[str, Any]) -> dict[str, Any]:
    """Options as the signature takes them: names checked, text turned into the annotated types."""
    parameters = inspect.signature(syncer_class).parameters
    hints = _hints(syncer_class)
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    named = {
        name: parameter
        for name, parameter in parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    problems = []
    arguments = {}
    for name, value in options.items():
        if name not in named and not takes_any:
            near = difflib.get_close_matches(name, named, 1)
            known = f"did you mean {near[0]}?" if near else f"known: {', '.join(named) or 'none'}"
            problems.append(wire.Problem(name, f"no such option; {known}"))
            continue
        try:
            arguments[name] = convert(value, hints.get(name, Any))
        except ValueError as error:
            problems.append(wire.Problem(name, str(error)))
    problems.extend(
        wire.Problem(name, "required, and missing")
        for name, parameter in named.items()
        if parameter.default is parameter.empty and name not in options
    )
    if problems:
        raise OptionProblems(problems)
    return arguments


def _hints(syncer_class: type) -> dict[str, Any]:
    hints: dict[str, Any] = {}
    for source in (syncer_class, inspect.getattr_static(syncer_class, "__init__")):
        try:
            hints.update(typing.get_type_hints(source))
        except Exception:  # noqa: S112 - annotations are foreign code; without them, values go as they are
            continue
    return hints


_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def _to_bool(text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ValueError


_SCALARS: dict[Any, Callable[[str], Any]] = {bool: _to_bool, int: int, float: float, pathlib.Path: pathlib.Path}


def convert(value: Any, annotation: Any) -> Any:
    """The value as the annotated type when it is text (or plainly of the wrong kind); else as it is. ValueError."""
    origin = typing.get_origin(annotation)
    if origin is Union or type(annotation).__name__ == "UnionType":
        return _convert_union(value, typing.get_args(annotation))
    if origin is typing.Literal:
        return _convert_literal(value, typing.get_args(annotation))
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return _convert_enum(value, annotation)
    if not isinstance(annotation, type) or annotation not in _SCALARS or isinstance(value, annotation):
        return value
    if isinstance(value, str):
        try:
            return _SCALARS[annotation](value)
        except ValueError:
            raise ValueError(f"expected {_NAMES[annotation]}, got other text") from None
    if isinstance(value, (bool, int, float)) and annotation in (bool, int, float):
        return value
    raise ValueError(f"expected {_NAMES[annotation]}, got {type(value).__name__}")


_NAMES = {bool: "true or false", int: "a whole number", float: "a number", pathlib.Path: "a path"}


def _convert_union(value: Any, choices: Any) -> Any:
    if value is None and type(None) in choices:
        return None
    choices = [choice for choice in choices if choice is not type(None)]
    if isinstance(value, str) and (str in choices or Any in choices):
        return value
    failure = ValueError("does not fit")
    for choice in choices:
        try:
            return convert(value, choice)
        except ValueError as error:
            failure = error
    raise failure


def _convert_literal(value: Any, choices: Any) -> Any:
    for choice in choices:
        if value == choice or (isinstance(value, str) and str(choice) == value):
            return choice
    raise ValueError(f"expected one of {', '.join(map(str, choices))}")


def _convert_enum(value: Any, annotation: Any) -> Any:
    if isinstance(value, annotation):
        return value
    for member in annotation:
        if value in (member.value, member.name) or (isinstance(value, str) and str(member.value) == value):
            return member
    raise ValueError(f"expected one of {', '.join(str(member.value) for member in annotation)}")
