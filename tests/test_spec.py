"""Specs: what a person may write, and that no message ever quotes what may be a secret."""

from __future__ import annotations

import contextlib
import datetime
import os
import urllib.parse
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from syncell.errors import SpecError
from syncell.spec import MAX_TEXT_BYTES, Spec, is_path, parse_spec, read_text

SECRET = "hunter2"


def problems_of(text: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        parse_spec(text)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("csv", Spec("csv", {})),
        ("csv#orders", Spec("csv", {}, "orders")),
        ("csv://", Spec("csv", {})),
        ("csv://#orders", Spec("csv", {}, "orders")),
        ("csv://directory=in#orders", Spec("csv", {"directory": "in"}, "orders")),
        ("csv://directory=in&delimiter=;", Spec("csv", {"directory": "in", "delimiter": ";"})),
        ("./acme", Spec("./acme", {})),
        ("./acme#orders", Spec("./acme", {}, "orders")),
        ("./acme://#orders", Spec("./acme", {}, "orders")),
        ("/opt/acme://token=x#orders", Spec("/opt/acme", {"token": "x"}, "orders")),
        ("../a=b&c/acme", Spec("../a=b&c/acme", {})),
        ("./acme/MANIFEST.json#orders", Spec("./acme/MANIFEST.json", {}, "orders")),
        ("MANIFEST.json", Spec("MANIFEST.json", {})),
        ("./no#1/acme://#orders", Spec("./no#1/acme", {}, "orders")),
        ("http://url=https://example.com/a?b", Spec("http", {"url": "https://example.com/a?b"})),
        ("csv://file=orders.toml", Spec("csv", {"file": "orders.toml"})),
        ("csv://directory=a/orders.toml", Spec("csv", {"directory": "a/orders.toml"})),
    ],
)
def test_every_form_of_a_spec_is_understood(text: str, spec: Spec) -> None:
    assert parse_spec(text) == spec


@pytest.mark.parametrize(
    ("options", "parsed"),
    [
        ("a=1&a=2", {"a": "1"}),
        ("a=&b=1&&c=&", {"b": "1"}),
        ("a=&a=2", {"a": "2"}),
        ("a=x+y%2Bz%26", {"a": "x y+z&"}),
        ("a%20b=1", {"a b": "1"}),
        ("a=b=c", {"a": "b=c"}),
        ("format=%Y-%m", {"format": "%Y-%m"}),
        ("a=%23b", {"a": "#b"}),
    ],
)
def test_options_follow_query_string_rules(options: str, parsed: dict[str, str]) -> None:
    assert parse_spec(f"csv://{options}").options == parsed


def test_identifier_is_percent_decoded_and_keeps_its_plus() -> None:
    assert parse_spec("csv://#a%20b+c%23d#e").identifier == "a b+c#d#e"


def test_blank_identifier_is_none() -> None:
    assert parse_spec("csv://a=1#").identifier is None


texts = st.text(min_size=1)


@given(st.dictionaries(texts, texts), st.none() | texts, st.sampled_from([urllib.parse.quote, urllib.parse.quote_plus]))
def test_quoted_options_come_back_as_they_were(
    options: dict[str, str], identifier: str | None, quote: Callable[..., str]
) -> None:
    pairs = "&".join(f"{quote(key, safe='')}={quote(value, safe='')}" for key, value in options.items())
    fragment = "" if identifier is None else "#" + urllib.parse.quote(identifier, safe="")
    spec = parse_spec(f"csv://{pairs}{fragment}")
    assert (spec.options, spec.identifier) == (options, identifier)


pieces = st.sampled_from(
    ["://", "#", "&", "=", "%", "%ff", "+", "./", "~", "\\", "\0", ":", "a", ".toml", "\ud800", "?"]
)


@given(st.text() | st.lists(pieces).map("".join))
@example("a://~\0.toml")
@example("a://\ud800.toml")
@settings(max_examples=500)
def test_reading_a_spec_raises_nothing_but_spec_errors(text: str) -> None:
    with contextlib.suppress(SpecError):
        parse_spec(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "no name and no path; write name://key=value"),
        ("://a=1", "no name and no path"),
        ("csv:directory=in", "no '://' between the syncer and its options; write name://key=value"),
        ("csv:/directory=in", "no '://'"),
        ("csv?directory=in", "no '://'"),
        (r"C:\data\acme", "looks like a Windows path; write it with '/'"),
        ("C:/data/acme", "looks like a Windows path"),
        (r"..\acme://token=x", "looks like a Windows path"),
        ("csv://in", "part 1 between '&': expected key=value, found no '='"),
        ("csv://=in", "part 1 between '&': expected key=value, found no key"),
        ("csv://a=%ff", "option a: what the percent signs encode is not UTF-8"),
        ("csv://%ff=a", "part 1 between '&': what the percent signs encode is not UTF-8"),
        ("csv://#%ff", "identifier: what the percent signs encode is not UTF-8"),
    ],
)
def test_malformed_spec_says_what_to_write(text: str, expected: str) -> None:
    (problem,) = problems_of(text)
    assert expected in problem


def test_all_problems_of_a_spec_are_reported_at_once() -> None:
    assert len(problems_of("://in&=x&a=%ff#%ff")) == 5


@pytest.mark.parametrize(
    "text",
    [
        f"db://user=me&{SECRET}#%ff",
        f"db://password={SECRET}%ff",
        f"db:password={SECRET}",
        f"db:{SECRET}",
        f"db?{SECRET}",
        f"db&{SECRET}",
    ],
)
def test_no_message_quotes_what_may_be_a_secret(text: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec(text)
    assert SECRET not in str(caught.value)


def test_repr_of_a_spec_hides_its_options() -> None:
    assert SECRET not in repr(parse_spec(f"db://password={SECRET}"))


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("csv", False),
        ("acme.v2", False),
        ("./csv", True),
        (".", True),
        ("MANIFEST.json", True),
        ("~", True),
        ("a/b", True),
        ("/a", True),
    ],
)
def test_paths_are_told_from_names(reference: str, expected: bool) -> None:
    assert is_path(reference) is expected


def test_definition_file_gives_typed_options(tmp_path: Path) -> None:
    path = tmp_path / "a=b.toml"
    path.write_text('[configuration]\ndirectory = "in"\nzipped = true\nport = 1\nday = 2024-01-01\n', "utf-8")
    spec = parse_spec(f"csv://{path}#orders")
    options = {"directory": "in", "zipped": True, "port": 1, "day": datetime.date(2024, 1, 1)}
    assert spec == Spec("csv", options, "orders")


def test_definition_file_is_found_from_the_working_folder_and_from_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "orders.TOML").write_bytes("\ufeff[configuration]\r\na = 1\r\n".encode())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert parse_spec("csv://orders.TOML") == parse_spec("csv://~/orders.TOML") == Spec("csv", {"a": 1})


@pytest.mark.parametrize("manifest", ["acme/MANIFEST.json", "{folder}/acme/MANIFEST.json", "~/acme/MANIFEST.json"])
def test_definition_file_names_a_custom_syncer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, manifest: str) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / "acme.toml"
    path.write_text(f"manifest = '{manifest.format(folder=tmp_path)}'\n[configuration]\n", "utf-8")
    assert parse_spec(f"acme://{path}").syncer == str(tmp_path / "acme/MANIFEST.json")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"directory = 'in'", "add the line [configuration]"),
        (b"configuration = 1", "configuration: expected a table"),
        (b"a = ", "is not TOML: Invalid value (at "),
        (b"[configuration]\na = " + b"[" * 5000, "is not TOML: nested too deeply"),
        (b"[configuration]\na = " + b"9" * 5000, "is not TOML: "),
        (b"\xff", "is not UTF-8 text (at byte 0)"),
        (b"[configuration]\na = 'C:\\Users\\x'\nb = \"C:\\Users\\x\"", "or doubled backslashes, or single quotes"),
        (b'[configuration]\na = "C:\\temp"', "a: a control character follows the drive; a Windows path needs '/'"),
        (b"manifest = 1\n[configuration]", "manifest: expected the path of a MANIFEST.json"),
        (b"manifest = ''\n[configuration]", "manifest: expected the path of a MANIFEST.json"),
        (b"#" * (MAX_TEXT_BYTES + 1), f"is longer than {MAX_TEXT_BYTES} bytes"),
    ],
)
def test_definition_file_with_a_problem_says_where_and_what_to_write(
    tmp_path: Path, content: bytes, expected: str
) -> None:
    path = tmp_path / "orders.toml"
    path.write_bytes(content)
    (problem,) = problems_of(f"csv://{path}")
    assert problem.startswith(str(path))
    assert expected in problem


def test_all_problems_of_a_definition_file_are_reported_at_once(tmp_path: Path) -> None:
    path = tmp_path / "orders.toml"
    path.write_text('manifest = 1\n[configuration]\na = "C:\\temp"\nb = "D:\\new"', "utf-8")
    assert len(problems_of(f"csv://{path}#%ff")) == 4


def test_missing_definition_file_is_a_spec_error(tmp_path: Path) -> None:
    assert "No such file" in problems_of(f"csv://{tmp_path}/orders.toml")[0]
    assert "write the path with '/'" in problems_of(r"csv://in\orders.toml")[0]


def test_definition_file_names_no_second_syncer(tmp_path: Path) -> None:
    path = tmp_path / "acme.toml"
    path.write_text("manifest = 'acme/MANIFEST.json'\n[configuration]\n", "utf-8")
    assert "names a second syncer" in problems_of(f"./other://{path}")[0]


def test_reading_a_pipe_or_a_folder_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="is not a regular file"):
        read_text(tmp_path / "pipe")
    with pytest.raises(ValueError, match="Is a directory"):
        read_text(tmp_path)
