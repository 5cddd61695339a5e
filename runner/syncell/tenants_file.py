"""The TOML file in which an operator defines tenants (see `docs/operating.md`).

The file is committed and copied, so a secret in it is a reference: a plain value is refused, and no message quotes one.
All problems of a file are reported at once. Few hosts have such a file, and its models take as long to make as a cell
takes to answer: this module is imported when one is read. May import: errors, spec, secrets, sandbox, tenants.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import pydantic
from pydantic import AfterValidator, BeforeValidator
from pydantic_core import ErrorDetails

from syncell.errors import Problem, TenantsError
from syncell.sandbox import Limits, Policy, egress
from syncell.sandbox.policy import parse_size
from syncell.secrets import REFERENCE
from syncell.spec import expand_user, read_text
from syncell.tenants import TenantDefinition, checked_id


def read_tenants(path: str | os.PathLike[str]) -> dict[str, TenantDefinition]:
    """The tenants that a file defines, by their ids. Relative paths in it belong to its folder.

    Raises TenantsError with all problems.
    """
    file = Path(os.path.abspath(expand_user(os.fspath(path))))  # noqa: PTH100 - as it is named, links and all
    try:
        content = tomllib.loads(read_text(file))
    except tomllib.TOMLDecodeError as error:
        raise TenantsError(str(file), [Problem(file.name, f"is not TOML: {error}")]) from None
    except RecursionError:
        raise TenantsError(str(file), [Problem(file.name, "is nested too deeply")]) from None
    except ValueError as error:
        raise TenantsError(str(file), [Problem(file.name, str(error))]) from None
    try:
        parsed = _File.model_validate(content, context=file.parent)
    except pydantic.ValidationError as error:
        problems = [_problem(details, file.name) for details in error.errors(include_url=False)]
        raise TenantsError(str(file), problems) from None
    return {name: _definition(name, tenant) for name, tenant in parsed.tenants.items()}


def _in_folder(text: str, info: pydantic.ValidationInfo) -> str:
    """A path of the file made absolute. A slash at its end stays."""
    if not text or "\0" in text:
        raise ValueError("expected a path")
    assert isinstance(info.context, Path)
    return os.path.join(info.context, os.path.expanduser(text))  # noqa: PTH111, PTH118 - they drop a slash at the end


def _index(text: str, info: pydantic.ValidationInfo) -> str:
    return text if "://" in text else _in_folder(text, info)


def _place(text: str) -> str:
    return egress.parse(text).text


def _size(value: object) -> object:
    if value == "unlimited":
        return None
    if not isinstance(value, (str, int)):
        raise ValueError('expected a size: bytes, or text such as "512MiB"')  # noqa: TRY004 - pydantic collects these
    return parse_size(value)


def _unlimited(value: object) -> object:
    return None if value == "unlimited" else value


def _positive(value: float | None) -> float | None:
    if value is not None and not value > 0:
        raise ValueError("it must be more than zero")
    return value


def _variable(text: str) -> str:
    if not text or "=" in text or "\0" in text:
        raise ValueError("expected the name of a variable")
    return text


def _plain(text: str) -> str:
    if "${" in text:
        raise ValueError("a reference is not looked up here: what a syncer needs to know is an option, ${secret:NAME}")
    return text


def _secret_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", text):
        raise ValueError("expected a name of letters, digits, '_', '.' and '-'")
    return text


def _secret(text: str, info: pydantic.ValidationInfo) -> str:
    reference = REFERENCE.fullmatch(text)
    if reference is None or reference[1] not in ("env", "file", "secret") or not reference[2]:
        raise ValueError(
            "expected one reference, ${env:NAME}, ${file:PATH} or ${secret:NAME}, and not the secret itself: files "
            "like this one are committed and copied"
        )
    if reference[1] != "file":
        return text
    absolute = f"${{file:{_in_folder(reference[2], info)}}}"
    if not REFERENCE.fullmatch(absolute):
        raise ValueError("the folder of this file has a brace in its name; write an absolute path without one")
    return absolute


_Path = Annotated[str, AfterValidator(_in_folder)]
_Size = Annotated[int | None, BeforeValidator(_size)]
_Count = Annotated[int | None, BeforeValidator(_unlimited), AfterValidator(_positive)]


class _Table(pydantic.BaseModel):
    # Built when a file is read: most hosts have none.
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True)


class _Limits(_Table):
    memory: _Size = None
    cpu_seconds: _Count = None
    wall_seconds: Annotated[float, AfterValidator(_positive)] = 0
    processes: _Count = None
    open_files: Annotated[int, AfterValidator(_positive)] = 0
    disk: _Size = None
    rows: _Count = None
    row_bytes: _Size = None
    log: _Size = None


class _Policy(_Table):
    read: list[_Path] = []
    write: list[_Path] = []
    connect: list[Annotated[str, AfterValidator(_place)]] = []
    env: dict[Annotated[str, AfterValidator(_variable)], Annotated[str, AfterValidator(_plain)]] = {}
    indexes: list[Annotated[str, AfterValidator(_index)]] = []
    source_builds: bool = False
    subprocess: bool = False
    limits: _Limits = _Limits()
    sandbox: Literal["required", "best-effort", "off"] = "required"


class _Tenant(_Table):
    max_cells: _Count = None
    memory: _Size = None
    max_queued: _Count = None
    policy: _Policy | None = None
    secrets: dict[Annotated[str, AfterValidator(_secret_name)], Annotated[str, AfterValidator(_secret)]] = {}
    allow_env: list[Annotated[str, AfterValidator(_variable)]] = []
    allow_files: list[_Path] = []


class _File(_Table):
    tenants: dict[Annotated[str, AfterValidator(checked_id)], _Tenant]


def _definition(name: str, tenant: _Tenant) -> TenantDefinition:
    # What the file does not say is as `Policy` and `Limits` have it.
    policy = None
    if tenant.policy is not None:
        limits = Limits(**tenant.policy.limits.model_dump(exclude_unset=True))
        policy = Policy(**tenant.policy.model_dump(exclude_unset=True, exclude={"limits"}), limits=limits)
    return TenantDefinition(
        id=name,
        policy=policy,
        max_cells=tenant.max_cells,
        memory=tenant.memory,
        max_queued=tenant.max_queued,
        secrets=tenant.secrets,
        allow_env=tuple(tenant.allow_env),
        allow_files=tuple(tenant.allow_files),
    )


_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
}

# By how deep in the file their keys are: `tenants`, `tenants.acme.memory`, `tenants.acme.policy.read`...
_TABLES: Mapping[int, type[_Table]] = {1: _File, 3: _Tenant, 4: _Policy, 5: _Limits}


def _problem(details: ErrorDetails, file: str) -> Problem:
    """A problem from pydantic's, in the words of TOML and without the value: it may be a secret in the wrong place."""
    place = [part for part in details["loc"] if part != "[key]"]
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).removeprefix(".")
    kind = details["type"]
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(str(place[-1]), _TABLES[len(place)].model_fields, 1)
        message = f"unknown{f'; did you mean {near[0]}?' if near else ''}"
    elif kind == "missing":
        message = "no tenants are defined; a tenant begins with the line [tenants.NAME]"
    elif kind == "value_error":
        message = str(details["ctx"]["error"])
    elif kind == "literal_error":
        message = f"expected {details['ctx']['expected']}"
    elif kind in _EXPECTED:
        message = f"expected {_EXPECTED[kind]}"
    else:
        message = details["msg"]
    return Problem(f"{file}: {where}", message)
