"""Manifests: both generations are read, every problem is reported, and nothing in one grants anything by itself."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any

import pytest

from syncell.errors import ManifestError
from syncell.manifest import (
    Access,
    Manifest,
    ManifestWarning,
    Permissions,
    Requirement,
    read_manifest,
)


def write(folder: Path, content: Any) -> Path:
    """A MANIFEST.json in this folder: text and bytes as they are, all else as JSON."""
    path = folder / "MANIFEST.json"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return path


def problems_of(folder: Path, content: Any) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        read_manifest(write(folder, content))
    return [str(problem) for problem in caught.value.problems]


def test_smallest_manifest_has_defaults(tmp_path: Path) -> None:
    folder = tmp_path / "acme-orders.v2"
    folder.mkdir()
    manifest = read_manifest(write(folder, {"syncer_class": "Acme"}))
    assert manifest == Manifest(name="acme-orders", syncer_class="Acme")
    assert (manifest.requirements, manifest.python, manifest.permissions) == ((), None, Permissions())


def test_default_name_is_that_of_the_folder_as_it_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "releases" / "inside").mkdir(parents=True)
    (tmp_path / "acme").symlink_to("releases")
    write(tmp_path / "acme", {"syncer_class": "Acme"})
    assert read_manifest(tmp_path / "acme" / "MANIFEST.json").name == "acme"
    monkeypatch.chdir(tmp_path / "releases" / "inside")
    assert read_manifest(Path("../MANIFEST.json")).name == "releases"


def test_whole_manifest_is_read(tmp_path: Path) -> None:
    content = {
        "name": "acme",
        "syncer_class": "Acme",
        "requirements": ["trino[sqlalchemy] == 0.327.0", ["sqlalchemy-redshift >= 0.8.14", "--no-deps"]],
        "python": ">=3.9,<3.13",
        "permissions": {"read": ["{directory}"], "connect": ["{host}:{port:5432}"], "subprocess": True},
    }
    assert read_manifest(write(tmp_path, content)) == Manifest(
        name="acme",
        syncer_class="Acme",
        requirements=(
            Requirement("trino[sqlalchemy] == 0.327.0"),
            Requirement("sqlalchemy-redshift >= 0.8.14", ("--no-deps",)),
        ),
        python=">=3.9,<3.13",
        permissions=Permissions(read=("{directory}",), connect=("{host}:{port:5432}",), subprocess=True),
    )


def test_older_arguments_beside_the_requirements_are_padded(tmp_path: Path) -> None:
    content = {
        "syncer_class": "Snowflake",
        "requirements": ["setuptools", ["snowflake-sqlalchemy == 1.4.6", "--pre"], "wheel"],
        "pip_args": [[], ["--no-use-pep517"]],
    }
    assert read_manifest(write(tmp_path, content)).requirements == (
        Requirement("setuptools"),
        Requirement("snowflake-sqlalchemy == 1.4.6", ("--pre", "--no-use-pep517")),
        Requirement("wheel"),
    )


@pytest.mark.parametrize(
    "requirement",
    [
        "six",
        "six>=1 ; python_version < '4'",
        "tool @ git+https://example.com/tool.git",
        "git+https://example.com/tool.git",
        "https://example.com/tool.whl",
        "./tool",
        "tool/",
        "-e .",
        "--editable=./tool",
        ".",
    ],
)
def test_direct_references_are_kept_for_the_environment_to_refuse(tmp_path: Path, requirement: str) -> None:
    manifest = read_manifest(write(tmp_path, {"syncer_class": "A", "requirements": [requirement]}))
    assert manifest.requirements == (Requirement(requirement),)


@pytest.mark.parametrize(
    ("requirement", "expected"),
    [
        ("six six", "expected a requirement such as 'idna>=3', found \"six six\""),
        ("six --no-deps", 'arguments stand apart: ["requirement", "--argument", ...]'),
        ("--index-url https://example.com", "expected a requirement"),
        ("-r requirements.txt", "expected a requirement"),
        ("-evil/..", "expected a requirement"),
        ("", "expected one line of text"),
        ("./a\n--index-url https://example.com", "expected one line of text"),
        (["six", "--pre\n-r x"], "expected one line of text"),
        (["six", ""], "expected one line of text"),
        ([], 'expected "requirement" or ["requirement", "--argument", ...], found a list'),
        (["six", 1], "found a list"),
        (None, "found null"),
        ({"six": 1}, "found an object"),
    ],
)
def test_what_is_no_requirement_is_refused(tmp_path: Path, requirement: object, expected: str) -> None:
    (problem,) = problems_of(tmp_path, {"syncer_class": "A", "requirements": ["six", requirement]})
    assert problem.startswith("MANIFEST.json: requirements[1]: ")
    assert expected in problem


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({}, "MANIFEST.json: syncer_class: required, and missing"),
        ({"syncer_class": 1}, "MANIFEST.json: syncer_class: expected text, found 1"),
        (
            {"syncer_class": "a.B"},
            'MANIFEST.json: syncer_class: expected the name of a class in syncer.py, found "a.B"',
        ),
        ({"name": None}, "MANIFEST.json: name: expected text, found null"),
        (
            {"name": "a/b"},
            'MANIFEST.json: name: expected a name without / \\ : # that does not begin with . or ~, found "a/b"',
        ),
        ({"name": "~a"}, "MANIFEST.json: name: expected a name"),
        ({"name": " a"}, "MANIFEST.json: name: expected one line of text without spaces around it"),
        ({"name": "\ud800"}, "MANIFEST.json: name: "),
        ({"requirements": "six"}, 'MANIFEST.json: requirements: expected a list, found "six"'),
        ({"requirements": {"six": ">1"}}, "MANIFEST.json: requirements: expected a list, found an object"),
        ({"python": "3.9"}, "MANIFEST.json: python: expected versions such as '>=3.9,<3.13', found \"3.9\""),
        ({"python": 3.9}, "MANIFEST.json: python: expected text, found 3.9"),
        ({"python": ""}, "MANIFEST.json: python: expected one line of text"),
        ({"pip_args": [1]}, "MANIFEST.json: pip_args[0]: expected a list, found 1"),
        ({"pip_args": [["--pre", 1]]}, "MANIFEST.json: pip_args[0][1]: expected text, found 1"),
        ({"pip_args": [[], ["--pre"]]}, "MANIFEST.json: pip_args: expected one list a requirement, 0 in all; found 2"),
        ({"permissions": ["read"]}, "MANIFEST.json: permissions: expected an object, found a list"),
        ({"permissions": {"read": "{a}"}}, 'MANIFEST.json: permissions.read: expected a list, found "{a}"'),
        ({"permissions": {"subprocess": 1}}, "MANIFEST.json: permissions.subprocess: expected true or false, found 1"),
        ([], "MANIFEST.json: expected an object, found a list"),
        ('{"syncer_class": "A",\n "name": }', "MANIFEST.json: line 2, column 10: is not JSON: Expecting value"),
        ('{"name": "a", "syncer_class": "A", "name": "b"}', "MANIFEST.json: name: expected once, found 2 times"),
        (b"\xff\xfe", "MANIFEST.json: is not UTF-8 text (at byte 0)"),
        (b"[" * 200_000, "MANIFEST.json: is nested too deeply"),
        (b"9" * 5000, "MANIFEST.json: Exceeds the limit"),
    ],
)
def test_wrong_manifest_says_where_and_what_was_expected(tmp_path: Path, content: Any, expected: str) -> None:
    if isinstance(content, dict) and content and "syncer_class" not in content:
        content = {"syncer_class": "A", **content}
    (problem,) = problems_of(tmp_path, content)
    assert problem.startswith(expected)


def test_all_problems_of_a_manifest_are_reported_at_once(tmp_path: Path) -> None:
    content = """{
        "name": 1, "requirements": [2, "a b"], "python": "x", "python": "y", "pip_args": 3,
        "permissions": {"read": ["{"]}
    }"""
    assert {problem.split(": ")[1] for problem in problems_of(tmp_path, content)} == {
        "name",
        "syncer_class",
        "requirements[0]",
        "requirements[1]",
        "python",
        "pip_args",
        "permissions.read[0]",
    }


def test_error_names_the_syncer(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=f"^syncer {tmp_path}: MANIFEST.json: cannot be read: No such file"):
        read_manifest(tmp_path / "MANIFEST.json")


def test_long_values_are_cut_in_messages(tmp_path: Path) -> None:
    (problem,) = problems_of(tmp_path, {"syncer_class": "x y" * 100_000})
    assert len(problem) < 200


def test_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    assert read_manifest(write(tmp_path, b'\xef\xbb\xbf{"name": "a", "syncer_class": "A"}')).name == "a"


def test_manifest_that_is_a_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "MANIFEST.json")
    with pytest.raises(ManifestError, match="is not a regular file"):
        read_manifest(tmp_path / "MANIFEST.json")


def test_unknown_keys_are_ignored_with_a_warning_that_names_them(tmp_path: Path) -> None:
    content = {"syncer_class": "A", "requirement": [], "zzz": 1, "permissions": {"reads": []}}
    with pytest.warns(ManifestWarning) as caught:
        read_manifest(write(tmp_path, content))
    (warning,) = caught
    assert str(warning.message) == (
        f"syncer {tmp_path}: MANIFEST.json: ignored "
        '"requirement" (did you mean requirements?), "zzz", "reads" (did you mean read?)'
    )
    assert warning.filename == __file__


def test_known_keys_raise_no_warning(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_manifest(write(tmp_path, {"name": "a", "syncer_class": "A", "pip_args": [], "permissions": {}}))


def test_manifest_cannot_be_changed() -> None:
    manifest = Manifest(name="a", syncer_class="A")
    with pytest.raises(ValueError, match="frozen"):
        manifest.name = "b"


@pytest.mark.parametrize(
    "template", ["{", "}", "{}", "{0}", "{a.b}", "{a!r}", "{{a}}", "{a", "a}", "{a:{b}}", "", " ", "a\0"]
)
@pytest.mark.parametrize("kind", ["read", "write", "connect"])
def test_malformed_template_is_refused(tmp_path: Path, kind: str, template: str) -> None:
    (problem,) = problems_of(tmp_path, {"syncer_class": "A", "permissions": {kind: [template]}})
    assert problem.startswith(f"MANIFEST.json: permissions.{kind}[0]: expected ")


@pytest.mark.parametrize(
    ("template", "options", "path"),
    [
        ("{directory}", {"directory": "in"}, "in"),
        ("{directory}", {"directory": Path("in")}, "in"),
        ("{directory:out}", {"directory": "in"}, "in"),
        ("{database_path}/..", {"database_path": "a/b.db"}, "a/b.db/.."),
        ("{directory}/", {"directory": "out"}, "out/"),
    ],
)
def test_path_of_an_option_and_its_folder_are_named_by_the_host(
    template: str, options: dict[str, Any], path: str
) -> None:
    permissions = Permissions(read=(template,), write=(template,))
    assert permissions.expand(options).named == Access(read=(path,), write=(path,))
    assert permissions.expand(options).requested == Access()


@pytest.mark.parametrize(
    ("template", "path"),
    [
        ("/etc/ssl", "/etc/ssl"),
        ("{absent:/etc}", "/etc"),
        ("/etc/{directory}", "/etc/in"),
        ("{directory}/../..", "in/../.."),
        ("{directory}/../etc", "in/../etc"),
        ("{directory}/.ssh", "in/.ssh"),
        ("{directory}-secrets", "in-secrets"),
        ("{directory}{absent:/../../etc}", "in/../../etc"),
        ("{directory}{directory}", "inin"),
    ],
)
def test_path_that_no_option_names_is_only_requested(template: str, path: str) -> None:
    expansion = Permissions(read=(template,)).expand({"directory": "in"})
    assert expansion.named == Access()
    assert expansion.requested == Access(read=(path,))


@pytest.mark.parametrize(
    ("template", "options", "address"),
    [
        ("{host}:{port:5432}", {"host": "db"}, "db:5432"),
        ("{host}:{port:5432}", {"host": "db", "port": 1}, "db:1"),
        ("{host}:443", {"host": "db"}, "db:443"),
        ("{url}", {"url": "https://db"}, "https://db"),
    ],
)
def test_host_of_an_option_is_named_by_the_host(template: str, options: dict[str, Any], address: str) -> None:
    assert Permissions(connect=(template,)).expand(options).named == Access(connect=(address,))


@pytest.mark.parametrize(
    ("template", "address"),
    [
        ("api.example.com:443", "api.example.com:443"),
        ("{account}.example.com:443", "me.example.com:443"),
        ("{absent:api.example.com}:443", "api.example.com:443"),
        ("evil.example:{account}", "evil.example:me"),
        ("{account}:443.example.com", "me:443.example.com"),
    ],
)
def test_host_that_no_option_names_is_only_requested(template: str, address: str) -> None:
    expansion = Permissions(connect=(template,)).expand({"account": "me"})
    assert expansion.named == Access()
    assert expansion.requested == Access(connect=(address,))


@pytest.mark.parametrize("value", [None, "", True, 1.5, ["in"], {"a": "in"}, b"in"])
def test_option_that_is_no_path_fills_nothing(value: object) -> None:
    expansion = Permissions(read=("{directory}", "/data/{directory}")).expand({"directory": value})
    assert expansion.named == expansion.requested == Access()


def test_absent_option_takes_its_default_or_yields_nothing() -> None:
    expansion = Permissions(read=("{a}", "{b:}", "{c:x}")).expand({})
    assert expansion.requested == Access(read=("x",))


def test_braces_in_an_option_are_not_filled_again() -> None:
    assert Permissions(read=("{a}",)).expand({"a": "{b}", "b": "/etc"}).named == Access(read=("{b}",))
