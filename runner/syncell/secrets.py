"""Secrets: what references in options stand for, and the redactor that keeps values out of what is said of a cell.

A reference is `${env:NAME}`, `${file:PATH}` or `${secret:NAME}`. A `Scope` says whose references they are: the host's
own may lead anywhere, a tenant's only to its own secrets and to what its definition allows, since whoever writes
`${env:NAME}` names a variable of the host.

What must not be broken: no message quotes a value, and a tenant learns nothing of what it may not refer to, not even
whether it is there. May import: errors, spec; the package `keyring` once a reference needs it.
"""

from __future__ import annotations

import base64
import dataclasses
import functools
import json
import os
import re
import urllib.parse
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pydantic

from syncell.errors import Problem, RemoteTraceback, SpecError, SyncellError
from syncell.spec import expand_user, read_text

KEYRING_SERVICE = "syncell"
"""The keyring's service that holds the host's secrets; a tenant's are in `syncell/<tenant>`."""

MASK = "***"

LINE_CHARACTERS = 8
"""From this length on, a line of a secret is hidden where it stands alone: shorter ones, as `{`, are everywhere."""

REFERENCE = re.compile(r"\$\$\{|\$\{(?:([^{}:]*):([^{}]*)\})?")
"""A reference, with its scheme and target; or `$${`, an escaped `${`; or `${`, which is neither."""

_FORMS = "${env:NAME}, ${file:PATH} or ${secret:NAME}, or $${ for a plain '${'"
# How options that hold a secret are named. At the end: `token_type`, `password_file` and `max_tokens` hold none.
_SECRET_NAME = re.compile(
    r"(passw(or)?d|pwd|passphrase|secret|token|authorization|credentials?|(api|access|private|secret)[_-]?key)\Z",
    re.IGNORECASE,
)
_URL_PASSWORD = re.compile(r"://[^/?#\s:@]*:([^/?#\s]+)@")

E = TypeVar("E", bound=BaseException)


@dataclasses.dataclass(frozen=True)
class Scope:
    """What the references of one writer may lead to. By default the writer is the host, which may refer to anything.

    `secrets` are what `${secret:NAME}` finds before the keyring is asked; references in their values are the host's.
    `env` are the variables that may be referred to, `files` the folders whose files may be; `None` is any.
    """

    tenant: str = ""
    secrets: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    env: Collection[str] | None = None
    files: Collection[str] | None = None

    @property
    def service(self) -> str:
        """The keyring's service that holds the secrets of this writer."""
        return f"{KEYRING_SERVICE}/{self.tenant}" if self.tenant else KEYRING_SERVICE


HOST = Scope()


def resolve_references(
    options: Mapping[str, Any], environ: Mapping[str, str], *, syncer: str, scope: Scope = HOST
) -> tuple[dict[str, Any], frozenset[str]]:
    """Options with every reference replaced, and the secrets among them, of which a `Redactor` is made.

    References stand anywhere in text values, nested ones included; `$${` is a plain `${`. What a reference brings is
    not searched again. A relative PATH belongs to the working folder; one newline at the end of a file is dropped.
    Secrets are what references brought; every `pydantic.SecretStr`, which becomes the text that it holds; the value of
    an option that is named as secrets are (`password`, `api_key`, `access_token`); and the password in an address.

    A keyring may ask the user to unlock it, for as long as the user likes: that is waited for in the caller's thread.
    Raises SpecError with all problems: option and reference, never a value.
    """
    problems: list[Problem] = []
    secrets: set[str] = set()

    @functools.cache  # a keyring is asked once
    def look_up(reference: str) -> str:
        matched = REFERENCE.fullmatch(reference)
        assert matched is not None
        return _look_up(matched, scope, environ, secrets)

    def replace(reference: re.Match[str], where: str) -> str:
        try:
            return look_up(reference[0])
        except ValueError as error:
            problems.append(Problem(where, str(error)))
            return ""

    def resolve(value: Any, where: str, *, secret: bool) -> Any:
        if isinstance(value, pydantic.SecretStr):
            value, secret = value.get_secret_value(), True
        elif isinstance(value, str):
            value = REFERENCE.sub(lambda reference: replace(reference, where), value)
        if isinstance(value, str):
            for password in _URL_PASSWORD.findall(value):
                secrets.update((password, urllib.parse.unquote(password)))
        if secret and isinstance(value, (str, int)) and not isinstance(value, bool):
            secrets.add(str(value))
        if isinstance(value, Mapping):
            return {
                key: resolve(item, f"{where}.{key}", secret=secret or _is_secret(key)) for key, item in value.items()
            }
        if isinstance(value, (list, tuple)):
            items = [resolve(item, f"{where}[{position}]", secret=secret) for position, item in enumerate(value)]
            return items if isinstance(value, list) else tuple(items)
        return value

    resolved = {key: resolve(value, f"option {key}", secret=_is_secret(key)) for key, value in options.items()}
    if problems:
        raise SpecError(f"syncer {syncer}", problems)
    return resolved, frozenset(secrets - {""})


class Redactor:
    """Replaces secrets in text by `***`: as they are, and as they look when quoted for an address, in JSON, by `repr`
    or in base64. Where they overlap, all that belongs to any is replaced.

    There is no shortest secret: "a" hides every "a". A secret of several lines is hidden whole and, where they have
    `LINE_CHARACTERS` or more, line by line. `longest` is the longest text, in characters, that can be one.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        # Searched for one by one: a pattern of all is no faster, and of a long secret takes seconds to compile.
        self._forms = sorted({form for secret in secrets for form in _forms(secret) if form})
        self.longest = max(map(len, self._forms), default=0)

    def text(self, text: str, limit: int | None = None) -> str:
        """The text, or its first `limit` characters, without secrets; also without the start of one at the limit."""
        if limit is not None:
            text = text[: limit + self.longest]
        pieces, end = [], 0
        for start, stop in self._spans(text):
            if limit is not None and start >= limit:
                break
            pieces += [text[end:start], MASK]
            end = stop
        return "".join([*pieces, text[end:limit]])[:limit]

    def value(self, value: Any) -> Any:
        """Plain data without secrets in its texts, keys and numbers. What is of any other type stays as it is."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, bytes):
            return self.text(value.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return value if self.text(str(value)) == str(value) else MASK
        if isinstance(value, Mapping):
            return {self.value(key): self.value(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            items = map(self.value, value)
            return list(items) if isinstance(value, list) else tuple(items)
        if isinstance(value, Problem):
            return Problem(self.text(value.where), self.text(value.message))
        return value

    def error(self, error: E) -> E:
        """The error itself, changed: without secrets in its text, its attributes and those errors that caused it.

        Numbers of its own, as an exit code or a limit, stay. A cause that is not of this project's tree is left alone.
        """
        current: BaseException | None = error
        while self._forms and current is not None:
            current.args = self.value(current.args)
            own = vars(current)
            own.update({name: it if isinstance(it, (int, float)) else self.value(it) for name, it in own.items()})
            if current.__suppress_context__:  # nobody is shown it, and it quotes what the error was made from
                current.__context__ = None
            cause = current.__cause__ or current.__context__
            current = cause if isinstance(cause, (SyncellError, RemoteTraceback)) else None
        return error

    def _spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Where secrets stand, those that overlap or touch as one."""
        start = end = -1
        for found, stop in sorted(
            (found, found + len(form)) for form in self._forms for found in _occurrences(form, text)
        ):
            if found > end:
                if end > 0:
                    yield start, end
                start = found
            end = max(end, stop)
        if end > 0:
            yield start, end


def _occurrences(form: str, text: str) -> Iterator[int]:
    found = text.find(form)
    while found >= 0:
        yield found
        found = text.find(form, found + 1)


def _forms(secret: str) -> Iterator[str]:
    """The texts by which a secret is recognised."""
    for text in (secret, secret.strip()):
        yield from _spellings(text)
    yield from (line for line in map(str.strip, secret.splitlines()) if len(line) >= LINE_CHARACTERS)


def _spellings(text: str) -> Iterator[str]:
    """A text as it is and as it is written in other formats."""
    data = text.encode("utf-8", "backslashreplace")  # as a cell writes what has no form in UTF-8
    yield from (text, data.decode())
    for safe in (
        "",
        "/",
        "!'()*",
        "!#$%&'()*+,/:;=?@[]~",
    ):  # of Python, of browsers, of clients that quote what is left
        for quoted in (urllib.parse.quote(data, safe), urllib.parse.quote_plus(data, safe)):
            yield from (quoted, re.sub("%..", lambda escape: escape[0].lower(), quoted))
    yield from (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1])
    # A double quote before it makes `repr` escape the single ones, as it does where both are in a longer text.
    for shown in (repr('"' + text)[2:-1], ascii('"' + text)[2:-1], repr(b'"' + data)[3:-1]):
        yield from (shown, shown.replace("\\'", "'"))
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        encoded = encode(data).decode()
        yield from (encoded, encoded.rstrip("="))


def _is_secret(name: object) -> bool:
    return isinstance(name, str) and _SECRET_NAME.search(name) is not None


def _look_up(reference: re.Match[str], scope: Scope, environ: Mapping[str, str], secrets: set[str]) -> str:
    """What a reference stands for; it is one of the `secrets` then. Raises ValueError with the reason."""
    if reference[0] == "$${":
        return "${"
    scheme, target = reference.groups()
    value: str | None
    try:
        match scheme:
            case "env":
                value = _variable(target, scope, environ)
            case "file":
                value = _file(target, scope)
            case "secret":
                value = _secret(target, scope, environ, secrets)
            case _:
                value = None
    except ValueError as error:
        raise ValueError(f"{reference[0]}: {error}") from None
    if value is None:
        # Only a scheme is quoted: what merely looks like a reference may be a piece of a password.
        found = "'${' begins no reference" if scheme is None else f"${{{scheme}:...}}: unknown scheme"
        raise ValueError(f"{found}; expected {_FORMS}")
    secrets.add(value)
    return value


def _variable(name: str, scope: Scope, environ: Mapping[str, str]) -> str:
    if scope.env is not None and name not in scope.env:
        raise ValueError(f"{_not_allowed(scope, 'variable')} name it in allow_env")
    if name not in environ:
        raise ValueError("this variable is not set")
    return environ[name]


def _file(name: str, scope: Scope) -> str:
    path = expand_user(name)
    if scope.files is None:
        return _without_line_end(read_text(path))
    folders = [os.path.realpath(folder) for folder in scope.files]

    def admit(found: str) -> None:
        if not any(Path(found).is_relative_to(folder) for folder in folders):
            raise ValueError(f"{_not_allowed(scope, 'file')} name its folder in allow_files")

    # Before it is opened, so that nothing is told of it; and afterwards, since a link may have been changed meanwhile.
    admit(os.path.realpath(path))
    return _without_line_end(read_text(path, admit=admit))


def _without_line_end(text: str) -> str:
    return re.sub(r"\r?\n\Z", "", text)


def _secret(name: str, scope: Scope, environ: Mapping[str, str], secrets: set[str]) -> str:
    if name in scope.secrets:
        return REFERENCE.sub(lambda inner: _look_up(inner, HOST, environ, secrets), scope.secrets[name])
    unknown = f"no such secret{f' of tenant {scope.tenant}' if scope.tenant else ''}"
    try:
        import keyring
    except ImportError:
        raise ValueError(f"{unknown}; to look in the system's keyring too: pip install 'syncell[keyring]'") from None
    try:
        value = keyring.get_password(scope.service, name)
    except Exception as error:  # each back end raises what it likes, and may quote what it holds
        raise ValueError(
            f"{unknown}, and the system's keyring cannot be asked ({type(error).__name__}); see `keyring diagnose`"
        ) from None
    if value is None:
        raise ValueError(f"{unknown}; to store one in the system's keyring: keyring set {scope.service} {name}")
    return value


def _not_allowed(scope: Scope, kind: str) -> str:
    return f"tenant {scope.tenant} may not refer to this {kind} of the host; use ${{secret:NAME}}, or have its operator"
