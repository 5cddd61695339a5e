"""Options as a class's constructor takes them: names checked, text turned into the annotated types.

A class of pydantic's, of either generation, validates its options itself, and its refusals are told in the same form.
No message quotes a value: it may be a secret.
"""

from __future__ import annotations

import dataclasses
import difflib
import enum
import inspect
import pathlib
import typing
from collections.abc import Iterator
from typing import Any, Callable, Union

from syncell_worker import wire


class OptionProblems(Exception):
    """Options that the class does not take: one problem a field."""

    def __init__(self, problems: list[wire.Problem]) -> None:
        self.problems = problems
        super().__init__()


def is_pydantic_1_dataclass(syncer_class: type) -> bool:
    """Whether the class was decorated by pydantic 1, which keeps a model of it."""
    return "__pydantic_model__" in vars(syncer_class)


def validates_itself(syncer_class: type) -> bool:
    """Whether the class is a model or dataclass of pydantic's."""
    marks = ("__pydantic_validator__", "__pydantic_model__", "__fields__")
    return any(hasattr(syncer_class, mark) for mark in marks)


def arguments(syncer_class: type, options: dict[str, Any]) -> dict[str, Any]:
    """The constructor's arguments: options as they are for a class of pydantic's, which validates them itself."""
    if is_pydantic_1_dataclass(syncer_class):
        # It takes fields, not aliases: its model reads both, and drops what it does not know.
        parsed = vars(syncer_class)["__pydantic_model__"](**options)
        return {field.name: getattr(parsed, field.name) for field in dataclasses.fields(syncer_class) if field.init}
    if validates_itself(syncer_class):
        return options
    return _convert(syncer_class, options)


def validation_problems(error: Exception, options: dict[str, Any]) -> list[wire.Problem] | None:
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
    hints = hints_of(syncer_class)
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


def hints_of(syncer_class: type) -> dict[str, Any]:
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
    alike = [choice for choice in choices if isinstance(value, str) and str(choice).lower() == value.lower()]
    if len(alike) == 1:
        return alike[0]
    raise ValueError(f"expected one of {', '.join(map(str, choices))}")


def _convert_enum(value: Any, annotation: Any) -> Any:
    if isinstance(value, annotation):
        return value
    for member in annotation:
        if value in (member.value, member.name) or (isinstance(value, str) and str(member.value) == value):
            return member
    raise ValueError(f"expected one of {', '.join(str(member.value) for member in annotation)}")
