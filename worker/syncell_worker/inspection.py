"""What a syncer's class takes, as a JSON Schema, without building an object of it.

pydantic of either generation says so itself; for any other class it follows from the constructor's signature.
"""

from __future__ import annotations

import enum
import inspect
import json
import pathlib
import typing
from typing import Any, Union

from syncell_worker import options


def options_schema(syncer_class: type) -> dict[str, Any]:
    """A JSON Schema (an object) of the class's options."""
    schema = _of_pydantic(syncer_class)
    if schema is None:
        schema = _of_signature(syncer_class)
    plain: dict[str, Any] = json.loads(json.dumps(schema, default=str))
    return plain


def _of_pydantic(syncer_class: type) -> Any:
    if options.is_pydantic_1_dataclass(syncer_class):
        return vars(syncer_class)["__pydantic_model__"].schema()
    if not options.validates_itself(syncer_class):
        return None
    if hasattr(syncer_class, "model_json_schema"):
        return syncer_class.model_json_schema()
    if hasattr(syncer_class, "schema"):
        return syncer_class.schema()
    import pydantic  # the environment's: a dataclass of pydantic 2

    return pydantic.TypeAdapter(syncer_class).json_schema()


def _of_signature(syncer_class: type) -> dict[str, Any]:
    hints = options.hints_of(syncer_class)
    properties: dict[str, Any] = {}
    required = []
    additional = False
    for name, parameter in inspect.signature(syncer_class).parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            additional = True
        elif parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            properties[name] = _of_annotation(hints.get(name, Any))
            if parameter.default is parameter.empty:
                required.append(name)
            elif type(parameter.default).__name__ != "_HAS_DEFAULT_FACTORY_CLASS":
                properties[name]["default"] = _plain(parameter.default)
    return {
        "title": syncer_class.__name__,
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": additional,
    }


_NAMES = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array", dict: "object"}


def _of_annotation(annotation: Any) -> dict[str, Any]:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Union or type(annotation).__name__ == "UnionType":
        choices = [_of_annotation(choice) for choice in arguments]
        return choices[0] if len(choices) == 1 else {"anyOf": choices}
    if origin is typing.Literal:
        return {"enum": list(arguments)}
    if annotation is type(None):
        return {"type": "null"}
    kind = origin or annotation
    if isinstance(kind, type):
        if issubclass(kind, enum.Enum):
            return {"enum": [_plain(member) for member in kind]}
        if issubclass(kind, pathlib.PurePath):
            return {"type": "string", "format": "path"}
        for base, name in _NAMES.items():
            if issubclass(kind, base):
                return {"type": name}
    return {}


def _plain(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.value
    return value if isinstance(value, (str, bool, int, float, type(None), list, dict)) else str(value)
