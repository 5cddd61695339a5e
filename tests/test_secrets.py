"""Secrets: what references stand for and who may use them; and that nothing said of a cell holds a secret."""

from __future__ import annotations

import base64
import itertools
import json
import logging
import os
import pickle
import sys
import traceback
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import keyring
import keyring.backends.fail
import pydantic
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from keyrings.alt.file import PlaintextKeyring  # type: ignore[import-untyped]

from conftest import MakeSyncer
from syncell import OptionsError, Problem, ProtocolError, Runner, SpecError, SyncellError, SyncerError, WorkerCrashed
from syncell.secrets import HOST, MASK, Redactor, Scope, resolve_references

SECRET = "hunter2"


def reference_problems(scope: Scope = HOST, **options: object) -> list[str]:
    with pytest.raises(SpecError) as caught:
        resolve_references(options, {"SET": SECRET}, syncer="acme", scope=scope)
    return [str(problem) for problem in caught.value.problems]


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[PlaintextKeyring]:
    """A keyring of this test's own."""
    before = keyring.get_keyring()
    vault = PlaintextKeyring()
    vault.file_path = str(tmp_path / "keyring.cfg")
    keyring.set_keyring(vault)
    yield vault
    keyring.set_keyring(before)


def test_references_are_resolved_wherever_text_stands(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_bytes(b"abc\n\n")
    options = {
        "password": "${env:PASSWORD}",
        "url": "https://${env:USER}:${env:PASSWORD}@example.com",
        "nested": {"tokens": [f"${{file:{path}}}", 1, None], "pair": ("${env:USER}", "x")},
        "blank": "${env:BLANK}",
        "plain": Path("in"),
    }
    resolved, secrets = resolve_references(
        options, {"PASSWORD": SECRET, "USER": "me ${env:PASSWORD}", "BLANK": ""}, syncer="acme"
    )
    assert resolved == {
        "password": SECRET,
        "url": f"https://me ${{env:PASSWORD}}:{SECRET}@example.com",
        "nested": {"tokens": ["abc\n", 1, None], "pair": ("me ${env:PASSWORD}", "x")},
        "blank": "",
        "plain": Path("in"),
    }
    assert secrets == {SECRET, "me ${env:PASSWORD}", "abc\n"}


def test_windows_line_end_of_a_referenced_file_is_dropped_too(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(b"abc\r\n")
    resolved, _ = resolve_references({"token": f"${{file:{tmp_path}/token}}"}, {}, syncer="acme")
    assert resolved == {"token": "abc"}


@given(st.text(alphabet="$ab{}:\n"))
def test_any_text_can_be_written_with_escaped_references(text: str) -> None:
    assert resolve_references({"a": text.replace("${", "$${")}, {}, syncer="acme") == ({"a": text}, frozenset())


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("${env:TOKEN}", "option a: ${env:TOKEN}: this variable is not set"),
        ("${file:/nowhere}", "option a: ${file:/nowhere}: cannot be read: No such file or directory"),
        ("${file:\0}", "option a: ${file:\0}: embedded null byte"),
        (f"${{vault:{SECRET}}}", "option a: ${vault:...}: unknown scheme; expected ${env:NAME}, ${file:PATH} or"),
        (f"${{{SECRET}}}", "option a: '${' begins no reference; expected"),
        (f"${{{SECRET}", "option a: '${' begins no reference; expected"),
        ({"b": ["x", "${env:TOKEN}"]}, "option a.b[1]: ${env:TOKEN}: this variable is not set"),
    ],
)
def test_bad_reference_names_option_and_reference_but_no_value(value: object, expected: str) -> None:
    (problem,) = reference_problems(a=value)
    assert expected in problem
    assert SECRET not in problem


def test_all_bad_references_are_reported_at_once() -> None:
    assert len(reference_problems(a="${env:A}${env:B}", b=["${x:y}"])) == 3


@pytest.mark.parametrize(
    ("options", "secrets"),
    [
        ({"password": SECRET, "user": "me"}, {SECRET}),
        ({"apiKey": SECRET, "access-token": "t", "PRIVATE_KEY": "k"}, {SECRET, "t", "k"}),
        ({"credentials": [SECRET, 12]}, {SECRET, "12"}),
        ({"headers": {"Authorization": f"Basic {SECRET}"}}, {f"Basic {SECRET}"}),
        ({"login": {"secret": {"value": SECRET}}}, {SECRET}),
        ({"token_type": "bearer", "password_file": "/run/x", "max_tokens": "9", "token": True, "secret": ""}, set()),
        ({"url": "postgresql://me:p%40ss@db/orders"}, {"p%40ss", "p@ss"}),
        ({"url": "https://example.com:80/a@b"}, set()),
        ({"url": f"https://me:${{env:SET}}@{SECRET}.com"}, {SECRET}),
        ({"key": pydantic.SecretStr(SECRET), "keys": [pydantic.SecretStr("${env:SET}")]}, {SECRET, "${env:SET}"}),
    ],
)
def test_what_counts_as_a_secret_without_a_reference(options: dict[str, object], secrets: set[str]) -> None:
    assert resolve_references(options, {"SET": SECRET}, syncer="acme")[1] == secrets


def test_a_secret_of_pydantics_is_handed_on_as_the_text_it_holds() -> None:
    options = {"a": pydantic.SecretStr(SECRET), "b": {"c": [pydantic.SecretStr("${env:SET}")]}}
    assert resolve_references(options, {}, syncer="acme")[0] == {"a": SECRET, "b": {"c": ["${env:SET}"]}}


def test_a_tenants_own_secrets_are_found_before_the_keyring_and_may_refer_to_the_host(
    vault: PlaintextKeyring, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text("from a file\n")
    keyring.set_password("syncell/acme", "PLAIN", "from the keyring")
    scope = Scope(
        tenant="acme",
        secrets={"PLAIN": SECRET, "TOKEN": "Bearer ${env:ACME}", "KEY": f"${{file:{tmp_path}/key}}"},
        env=(),
        files=(),
    )
    options = {"a": "${secret:PLAIN}", "b": "${secret:TOKEN}", "c": "x${secret:KEY}"}
    resolved, secrets = resolve_references(options, {"ACME": "t"}, syncer="acme", scope=scope)
    assert resolved == {"a": SECRET, "b": "Bearer t", "c": "xfrom a file"}
    assert secrets == {SECRET, "Bearer t", "t", "from a file"}
    assert SECRET not in repr(scope)


def test_the_keyring_holds_secrets_of_the_host_and_of_each_tenant_apart(vault: PlaintextKeyring) -> None:
    keyring.set_password("syncell", "TOKEN", "of the host")
    keyring.set_password("syncell/acme", "TOKEN", SECRET)
    options = {"a": "${secret:TOKEN}"}
    assert resolve_references(options, {}, syncer="csv") == (
        {"a": "of the host"},
        frozenset({"of the host"}),
    )
    tenant = Scope(tenant="acme", env=(), files=())
    assert resolve_references(options, {}, syncer="csv", scope=tenant) == (
        {"a": SECRET},
        frozenset({SECRET}),
    )
    (problem,) = reference_problems(Scope(tenant="other", env=(), files=()), a="${secret:TOKEN}")
    assert "keyring set syncell/other TOKEN" in problem


def test_a_keyring_is_asked_once_for_a_secret_that_is_named_twice(
    vault: PlaintextKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def ask(service: str, name: str) -> str:
        asked.append(name)
        return SECRET

    monkeypatch.setattr(keyring, "get_password", ask)
    resolve_references({"a": "${secret:TOKEN}", "b": ["${secret:TOKEN}"]}, {}, syncer="acme")
    assert asked == ["TOKEN"]


def test_an_unknown_secret_says_where_to_store_it(vault: PlaintextKeyring) -> None:
    (problem,) = reference_problems(a="${secret:TOKEN}")
    assert problem == (
        "option a: ${secret:TOKEN}: no such secret; to store one in the system's keyring: keyring set syncell TOKEN"
    )


def test_a_keyring_that_cannot_be_asked_is_an_error_without_its_words(
    vault: PlaintextKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyring.set_keyring(keyring.backends.fail.Keyring())  # type: ignore[no-untyped-call]
    assert "cannot be asked (NoKeyringError); see `keyring diagnose`" in reference_problems(a="${secret:TOKEN}")[0]

    def locked(service: str, name: str) -> str:
        raise OSError(SECRET)

    monkeypatch.setattr(keyring, "get_password", locked)
    (problem,) = reference_problems(a="${secret:TOKEN}")
    assert "(OSError)" in problem
    assert SECRET not in problem


def test_without_the_package_keyring_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    (problem,) = reference_problems(Scope(tenant="acme"), a="${secret:TOKEN}")
    assert (
        "no such secret of tenant acme; to look in the system's keyring too: pip install 'syncell[keyring]'" in problem
    )


@pytest.mark.parametrize("name", ["SET", "UNSET"])
def test_a_tenant_refers_to_no_variable_of_the_host_and_learns_nothing_of_it(name: str) -> None:
    (problem,) = reference_problems(Scope(tenant="acme", env=("OTHER",), files=()), a=f"${{env:{name}}}")
    assert problem == (
        f"option a: ${{env:{name}}}: tenant acme may not refer to this variable of the host; use ${{secret:NAME}}, or "
        "have its operator name it in allow_env"
    )


def test_a_tenant_refers_to_the_variables_and_files_that_it_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "own")
    (tmp_path / "own").mkdir()
    (tmp_path / "own/key").write_text(SECRET)
    scope = Scope(tenant="acme", env=("SET",), files=(str(tmp_path / "link"),))
    options = {"a": "${env:SET}", "b": f"${{file:{tmp_path}/own/key}}", "c": f"${{file:{tmp_path}/link/key}}"}
    assert resolve_references(options, {"SET": SECRET}, syncer="acme", scope=scope)[0] == dict.fromkeys("abc", SECRET)


@pytest.mark.parametrize(
    "path", ["secret", "missing", "own/../secret", "own/link", "owned/key", "own/missing/../../secret"]
)
def test_a_tenant_refers_to_no_other_file_and_learns_nothing_of_it(tmp_path: Path, path: str) -> None:
    for name in ("own", "owned"):
        (tmp_path / name).mkdir()
    for name in ("secret", "owned/key"):
        (tmp_path / name).write_text(SECRET)
    (tmp_path / "own/link").symlink_to(tmp_path / "secret")
    scope = Scope(tenant="acme", env=(), files=(str(tmp_path / "own"),))
    (problem,) = reference_problems(scope, a=f"${{file:{tmp_path}/{path}}}")
    assert problem.endswith(
        "tenant acme may not refer to this file of the host; use ${secret:NAME}, or have its operator name its folder "
        "in allow_files"
    )


def test_a_link_that_is_changed_between_the_check_and_the_opening_leads_to_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "secret").write_text(SECRET)
    (tmp_path / "own/link").symlink_to(tmp_path / "secret")
    honest = os.path.realpath
    link = str(tmp_path / "own/link")
    monkeypatch.setattr(os.path, "realpath", lambda path: link if str(path) == link else honest(path))
    scope = Scope(tenant="acme", env=(), files=(str(tmp_path / "own"),))
    assert "may not refer to this file" in reference_problems(scope, a=f"${{file:{link}}}")[0]


def spellings(secret: str) -> dict[str, str]:
    """A secret as clients, serialisers and Python itself write it."""
    data = secret.encode("utf-8", "backslashreplace")
    return {
        "as it is": secret,
        "stripped": secret.strip(),
        "quote": urllib.parse.quote(data),
        "quote all": urllib.parse.quote(data, safe=""),
        "quote lower": urllib.parse.quote(data, safe="").lower() if secret == secret.lower() else secret,
        "quote_plus": urllib.parse.quote_plus(data),
        "urlencode": urllib.parse.urlencode({"": data})[1:],
        "json": json.dumps(secret)[1:-1],
        "json unicode": json.dumps(secret, ensure_ascii=False)[1:-1],
        "repr": repr(secret)[1:-1],
        "repr beside quotes": repr(f"'\"{secret}")[4:-1],
        "ascii": ascii(secret)[1:-1],
        "bytes": repr(data)[2:-1],
        "base64": base64.b64encode(data).decode(),
        "base64 unpadded": base64.b64encode(data).decode().rstrip("="),
        "base64 urlsafe": base64.urlsafe_b64encode(data).decode(),
    }


# Without the mask's own character: what a mask and its neighbours happen to spell is no leak.
characters = st.characters(exclude_characters="*")
few = st.text(alphabet="ab'\" \\\n%é/+", max_size=6)
secrets = st.text(characters) | few


@given(secrets.filter(bool), st.text(characters) | few, st.text(characters) | few)
@example("p'a\"ss", "", "")
@example("\ud800", "", "")
def test_no_spelling_of_a_secret_survives(secret: str, before: str, after: str) -> None:
    redactor = Redactor([secret])
    for name, spelling in spellings(secret).items():
        if spelling:
            assert spelling not in redactor.text(f"{before}{spelling}{after}"), name
            assert MASK in redactor.text(spelling), name


@given(st.lists(few, max_size=4), st.text(alphabet="ab'\" \\\n%é/+", max_size=30))
def test_no_secret_is_left_in_any_text_and_hiding_again_changes_nothing(hidden: list[str], text: str) -> None:
    redactor = Redactor(hidden)
    once = redactor.text(text)
    assert not any(secret and secret in once for secret in hidden)
    assert redactor.text(once) == once
    if not any(spelling and spelling in text for secret in hidden for spelling in spellings(secret).values()):
        assert once == text


@given(few.filter(bool), few, st.integers(0, 20))
def test_a_text_that_is_cut_never_ends_in_the_start_of_a_secret(secret: str, before: str, limit: int) -> None:
    whole = Redactor([secret]).text(f"{before}{secret}{secret}")
    cut = Redactor([secret]).text(f"{before}{secret}{secret}", limit)
    assert len(cut) <= limit
    assert whole.startswith(cut) or cut.rstrip("*") == whole[: len(cut.rstrip("*"))]


def test_text_without_secrets_is_untouched() -> None:
    assert Redactor().text("all of it") == "all of it"
    assert Redactor(["", SECRET]).text("all of it") == "all of it"


@pytest.mark.parametrize(
    ("hidden", "text", "expected"),
    [
        (["abc", "cde"], "xabcdex", "x***x"),
        (["abc", "bc"], "abc bc", "*** ***"),
        (["abcabc", "abc"], "abcabcabc", "***"),
        (["aba"], "xababax", "x***x"),
        (["a"], "banana", "b***n***n***"),
        (["*"], "a*b**", "a***b***"),
        (["token\n"], "the token is", "the *** is"),
        (["{\n  'key': 'abcdefgh'\n}"], "{ 'key': 'abcdefgh' }", "{ *** }"),
    ],
)
def test_overlapping_and_repeated_secrets_are_hidden_whole(hidden: list[str], text: str, expected: str) -> None:
    for order in itertools.permutations(hidden):
        assert Redactor(order).text(text) == expected


def test_plain_data_is_redacted_at_any_depth() -> None:
    data = {
        "text": f"x{SECRET}",
        SECRET: [SECRET.encode(), (f"{SECRET}y", None, True)],
        "pin": 4711,
        "problem": Problem(f"option {SECRET}", SECRET),
        "other": 47,
    }
    assert Redactor([SECRET, "4711"]).value(data) == {
        "text": f"x{MASK}",
        MASK: [MASK.encode(), (f"{MASK}y", None, True)],
        "pin": MASK,
        "problem": Problem(f"option {MASK}", MASK),
        "other": 47,
    }


def test_an_error_is_redacted_with_its_causes_and_what_it_was_made_from() -> None:
    try:
        try:
            raise KeyError(SECRET)
        except KeyError:
            raise SyncellError(f"cause {SECRET}") from None
    except SyncellError as cause:
        error = OptionsError("acme", [Problem("token", SECRET)])
        error.__cause__ = cause
        error.add_note(SECRET)
    assert Redactor([SECRET]).error(error) is error
    assert_hidden(error)
    assert error.problems == (Problem("token", MASK),)


def assert_hidden(error: BaseException) -> None:
    """Nothing of a secret is shown by an error, or kept in it or in what caused it."""
    said = ["".join(traceback.format_exception(error)), pickle.dumps(error).decode("latin-1")]
    chain: list[BaseException | None] = [error]
    while chain:
        if (current := chain.pop()) is not None:
            said += [str(current), repr(current), repr(vars(current))]
            chain += [current.__cause__, current.__context__]
    for text in said:
        for name, spelling in spellings(PASSWORD).items():
            assert spelling not in text, name
        assert SECRET not in text


# Every format has to write it in its own way.
PASSWORD = "pä ss'w\"or/d+?\\\\&\nsecond line"

LEAKY = """
    import base64, fcntl, json, logging, os, sys, urllib.parse

    wire = sys.modules["syncell_worker.wire"]

    class Acme:
        def __init__(self, token, login=None, refuse=False):
            if refuse:
                raise ValueError(f"no such token: {token}")
            self.token = token
            self.name = f"acme of {token}"

        @property
        def spelt(self):
            return {
                "plain": self.token,
                "quoted": urllib.parse.quote_plus(self.token),
                "json": json.dumps({"token": self.token}),
                "repr": repr([self.token]),
                "base64": base64.b64encode(self.token.encode()).decode(),
            }

        def load(self, identifier):
            return getattr(self, identifier)()

        def dump(self, identifier, *, data):
            raise KeyError(self.token)

        def raises(self):
            class Refused(Exception):
                pass

            Refused.__qualname__ = self.token
            error = Refused(self.spelt)
            error.token = self.token
            error.url = f"https://me:{self.spelt['quoted']}@acme.com"
            try:
                raise ValueError(f"inner {self.token}")
            except ValueError as cause:
                raise error from cause

        def says(self):
            for text in self.spelt.values():
                print("printed", text, flush=True)
                logging.getLogger(self.token).warning("logged %s", text)
            return []

        def crashes(self):
            print("x" * 8180 + self.token, file=sys.stderr)
            for text in self.spelt.values():
                print("crashed", text, file=sys.stderr)
            sys.stderr.flush()
            os._exit(3)

        def no_message(self):
            self.write(wire._CONTROL, wire._encoder.encode({"type": self.token}))

        def no_type(self):
            head = wire.encode_head(1, ("a",), {"a": self.token})
            self.write(wire._ROWS, head + wire._encoder.encode([{"a": 1}]), len(head))

        def write(self, kind, payload, head=0):
            # What the worker alone should write to: the one pipe for writing besides standard error.
            for descriptor in range(3, 256):
                try:
                    flags, inode = fcntl.fcntl(descriptor, fcntl.F_GETFL), os.fstat(descriptor).st_ino
                except OSError:
                    continue
                if flags & os.O_ACCMODE == os.O_WRONLY and inode != os.fstat(2).st_ino:
                    os.write(descriptor, wire._HEADER.pack(len(payload), kind, 1, head) + payload)
            return []

        def denied(self):
            open("/etc/shadow-" + self.token)
"""


@pytest.fixture
def leaky(make_syncer: MakeSyncer, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, dict[str, object]]:
    monkeypatch.setenv("ACME_TOKEN", PASSWORD)
    return make_syncer(LEAKY), {"token": "${env:ACME_TOKEN}"}


def test_nothing_of_a_password_is_in_what_a_syncer_raises(
    runner: Runner, leaky: tuple[Path, dict[str, object]]
) -> None:
    with runner.open(*leaky) as acme:
        for call in (lambda: acme.load("raises"), lambda: acme.dump("x", data=[]), lambda: acme.load("denied")):
            with pytest.raises(SyncellError) as caught:
                call()
            assert_hidden(caught.value)
        with pytest.raises(SyncerError) as refused:
            acme.load("raises")
    assert refused.value.type == f"syncer_acme.{MASK}"
    assert refused.value.attributes == {"token": MASK, "url": f"https://me:{MASK}@acme.com"}
    assert f"inner {MASK}" in refused.value.traceback


@pytest.mark.parametrize("call", ["no_message", "no_type"])
def test_nothing_of_a_password_is_in_the_error_of_a_broken_conversation(
    runner: Runner, leaky: tuple[Path, dict[str, object]], call: str
) -> None:
    with runner.open(*leaky) as acme, pytest.raises(ProtocolError) as caught:
        acme.load(call)
    assert_hidden(caught.value)
    assert MASK in str(caught.value)


def test_nothing_of_a_password_is_in_the_name_of_a_syncer(
    runner: Runner, leaky: tuple[Path, dict[str, object]]
) -> None:
    with runner.open(*leaky) as acme:
        assert acme.name == f"acme of {MASK}"


def test_secrets_are_hidden_in_what_is_told_of_the_building_of_an_environment(
    runner: Runner, make_syncer: MakeSyncer
) -> None:
    told: list[str] = []
    folder = make_syncer(LEAKY)
    options = {"token": pydantic.SecretStr("compiling")}
    runner.open(folder, options, constraints=["no-such-package<2"], progress=told.append).close()
    assert any(MASK in line for line in told)
    assert not any("compiling" in line for line in told)


def test_nothing_of_a_password_is_in_what_a_constructor_raises(
    runner: Runner, leaky: tuple[Path, dict[str, object]]
) -> None:
    folder, options = leaky
    with pytest.raises(SyncellError, match="no such token") as caught:
        runner.open(folder, {**options, "refuse": True})
    assert_hidden(caught.value)


def test_nothing_of_a_password_is_in_what_a_syncer_prints_and_logs(
    runner: Runner, leaky: tuple[Path, dict[str, object]], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "syncell"), runner.open(*leaky) as acme:
        acme.load("says")
    said = [f"{record.getMessage()} {vars(record)}" for record in caplog.records]
    assert sum("printed" in text for text in said) == 5
    assert sum("logged" in text for text in said) == 5
    for text, (name, spelling) in itertools.product(said, spellings(PASSWORD).items()):
        assert spelling not in text, name
        assert "second line" not in text
    assert {record.syncer_logger for record in caplog.records if hasattr(record, "syncer_logger")} == {MASK}


def test_nothing_of_a_password_is_in_the_last_words_of_a_crash(
    runner: Runner, leaky: tuple[Path, dict[str, object]], caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.INFO, "syncell"),
        runner.open(*leaky) as acme,
        pytest.raises(WorkerCrashed) as caught,
    ):
        acme.load("crashes")
    assert caught.value.stderr.count("crashed") == 5
    assert caught.value.stderr.count(MASK) >= 5
    assert_hidden(caught.value)
    for record in caplog.records:
        assert not any(spelling in record.getMessage() for spelling in spellings(PASSWORD).values())


def test_nothing_of_a_password_is_in_the_refusal_of_an_option(runner: Runner, make_syncer: MakeSyncer) -> None:
    folder = make_syncer(LEAKY, permissions={"read": ["{token}"], "connect": ["{login}"]})
    with pytest.raises(OptionsError) as caught:
        runner.open(folder, {"token": pydantic.SecretStr(str(Path.home())), "login": "x"})
    assert str(Path.home()) not in f"{caught.value} {caught.value.problems} {caught.value.args}"
    (refused, *_) = runner.explain(folder, {"token": pydantic.SecretStr(str(Path.home()))}).refused
    assert str(Path.home()) not in f"{refused} {vars(refused)}"


def test_a_line_is_cut_before_a_secret_that_the_cut_would_divide(
    runner: Runner, leaky: tuple[Path, dict[str, object]], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "syncell"), runner.open(*leaky) as acme, pytest.raises(WorkerCrashed):
        acme.load("crashes")
    (long,) = (record.getMessage() for record in caplog.records if "xxxx" in record.getMessage())
    assert long.strip("x") == MASK
